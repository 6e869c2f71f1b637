"""Gates, deployments and programs for the tests of `libtorch`."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import checks, gate
from pytest_torchscript.result import CheckResult
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.targets import Target, built_in, libtorch

from ...checks.alone import NOT_ASKED, ROOT

__all__ = ["Takes", "X", "built", "deployment", "is_gone", "judged", "until", "use"]

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
NEEDED = ("eager", "trace", "target")


def judged(
    model: nn.Module,
    inputs: Any,
    *,
    run: Sequence[str] = NEEDED,
    timeout: float = 600,
    require_sdk: bool = False,
    target: Target | None = None,
    **arguments: Any,
) -> CheckResult:
    """The check `target` of a gate with `target="libtorch"`, in which only the checks of `run` are run."""
    targets = replace(built_in(), timeout=timeout, require_sdk=require_sdk)
    if target is not None:
        targets = replace(targets, by_name={**targets.by_name, "libtorch": target})
    skip = {check.name: NOT_ASKED for check in checks.ALL if check.name not in run}
    spec = GateSpec.merge(parse_arguments((), {"target": "libtorch", "skip": skip, **arguments}, targets.arguments))
    subject = gate.Subject(model=model, call=gate.call_of(model, inputs))
    (cell,) = gate.judge(subject, spec, id="libtorch", root=str(ROOT), targets=targets).cells
    return cell.check("target")


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)


def deployment(directory: Path, timeout: float = 600) -> Any:
    """As much of a deployment as building and running ask of it; the model doubles, in place."""
    directory.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.trace(Double(), X.clone())
    return SimpleNamespace(directory=directory, timeout=timeout, module=module, notes=[])


def built(directory: Path, timeout: float = 600) -> libtorch.Artefact:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return libtorch.build(deployment(directory, timeout))


def use(monkeypatch: pytest.MonkeyPatch, compiler: Path | str) -> None:
    monkeypatch.setenv("CXX", str(compiler))


def is_gone(pid: int) -> bool:
    """Whether a process has ended, or does so within a second."""
    for _ in range(20):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class Takes(nn.Module):
    """Whatever is given, by a function of the arguments."""

    def __init__(self, make: Callable[..., Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, one: Any, two: Any = None) -> Any:
        return self.make(one, two)
