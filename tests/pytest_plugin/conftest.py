"""Small suites that are run in this process, and the gates that their tests found."""

from __future__ import annotations

import json
from typing import Any

import pytest

HEAD = """
import pytest
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.linear = nn.Linear(width, 2)

    def forward(self, x):
        return self.linear(x)


class Other(Net):
    pass


X = torch.ones(1, 2)
"""


class Suite:
    """Runs a suite in this process."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.text = ""
        self.outcomes: dict[str, int] = {}

    def __call__(self, body: str, *arguments: str) -> list[dict[str, Any]]:
        """The gates in the JSON report, after a run of tests that may use ``Net``, ``Other`` and ``X``."""
        self._pytester.makepyfile(test_it=HEAD + body)
        run = self._pytester.runpytest_inprocess("--torchscript-json=gates.json", "-p", "no:cacheprovider", *arguments)
        self.text, self.outcomes = run.stdout.str(), run.parseoutcomes()
        gates: list[dict[str, Any]] = json.loads((self._pytester.path / "gates.json").read_text())["gates"]
        return gates


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    for name in ("CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return Suite(pytester)
