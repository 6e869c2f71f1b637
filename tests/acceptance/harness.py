"""Runs a small suite by a pytest of its own and gives what a user would see of it."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import pickle
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Any

__all__ = ["MODELS", "REPORT", "PytestRuns", "Run", "comparable", "guilty_line", "run_pytest"]

MODELS = Path(__file__).with_name("models.py").read_text(encoding="utf-8")
"""The text of `models.py`, which every suite that is run gets beside its own files."""

REPORT = "gates.json"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One pytest process that has ended.

    ``outcomes`` gives, by test name, ``passed``, ``failed``, ``error``, ``skipped`` or ``xfailed``, and ``messages``
    what pytest says of a test that did not pass; both are read from pytest's own ``--junitxml``. ``report`` is the JSON
    of the gates, None if none was written.
    """

    folder: Path
    code: int
    output: str
    errors: str
    outcomes: Mapping[str, str]
    messages: Mapping[str, str]
    report: Any

    @property
    def text(self) -> str:
        """All that was printed."""
        return self.output + self.errors

    def gates(self, test: str) -> list[dict[str, Any]]:
        """The gates of the test with this name, parameters included, in the order of the report."""
        assert self.report is not None, self.text
        return [gate for gate in self.report["gates"] if gate["nodeid"].rpartition("::")[2] == test]

    def gate(self, test: str) -> dict[str, Any]:
        """The only gate of a test."""
        gates = self.gates(test)
        assert len(gates) == 1, f"{test} has {len(gates)} gates: {[gate['id'] for gate in gates]}\n{self.text}"
        return gates[0]

    def cell(self, test: str) -> dict[str, Any]:
        """The only cell of the only gate of a test."""
        cells: list[dict[str, Any]] = self.gate(test)["cells"]
        assert len(cells) == 1, f"{test} has {len(cells)} cells"
        return cells[0]

    def verdict(self, test: str) -> str:
        """The verdict of the only cell of the only gate of a test."""
        return str(self.cell(test)["verdict"])

    def check(self, test: str, name: str) -> dict[str, Any]:
        """One check of the only cell of the only gate of a test."""
        return next(check for check in self.cell(test)["checks"] if check["name"] == name)

    def said(self, test: str) -> str:
        """All messages, reasons and hints in the gates of a test."""
        texts: list[str] = []
        for gate in self.gates(test):
            texts.append(gate.get("reason") or "")
            for check in (check for cell in gate["cells"] for check in cell["checks"]):
                texts.append(check["reason"] or "")
                texts += [f"{finding['message']} {finding.get('hint') or ''}" for finding in check["findings"]]
        return "\n".join(filter(None, texts))


def run_pytest(folder: Path, *arguments: str, json: bool = True) -> Run:
    """Run pytest in ``folder`` with ``arguments``, its output captured and no terminal around.

    ``json`` asks for the report of the gates, unless ``arguments`` do so themselves.
    """
    report, junit = folder / REPORT, folder.parent / f"{folder.name}.xml"
    report.unlink(missing_ok=True)
    junit.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", f"--junitxml={junit}"]
    if json and not any(argument.startswith("--torchscript-json") for argument in arguments):
        command.append(f"--torchscript-json={report}")
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=300,
        check=False,
    )
    outcomes, messages = _outcomes(junit)
    return Run(
        folder=folder,
        code=done.returncode,
        output=done.stdout,
        errors=done.stderr,
        outcomes=outcomes,
        messages=messages,
        report=loads(report.read_text(encoding="utf-8")) if report.exists() else None,
    )


def _environment() -> dict[str, str]:
    """The environment without what an outer pytest, a build server or a user's own settings would add."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "GITHUB_")) and name not in ("CI", "PYTHONWARNINGS")
    }
    own = {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "140",
    }
    return {**kept, **own}


def _outcomes(junit: Path) -> tuple[dict[str, str], dict[str, str]]:
    outcomes: dict[str, str] = {}
    messages: dict[str, str] = {}
    if not junit.exists():
        return outcomes, messages
    for case in ElementTree.parse(junit).iter("testcase"):
        name, outcome = case.get("name", ""), "passed"
        for kind, meaning in (("skipped", "skipped"), ("failure", "failed"), ("error", "error")):
            for entry in case.findall(kind):
                outcome = "xfailed" if entry.get("type") == "pytest.xfail" else meaning
                # A failure's attribute is the beginning of its text; a skip has its reason in the attribute alone.
                reason = entry.get("message") if kind == "skipped" else ""
                messages[name] = f"{reason}\n{entry.text or ''}".strip()
        outcomes[name] = outcome
    return outcomes, messages


class PytestRuns:
    """Runs suites, each with the same arguments once only, whichever worker of xdist asks first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done: dict[str, Run] = {}
        folder.mkdir(exist_ok=True)

    def __call__(self, files: Mapping[str, str], *arguments: str, json: bool = True) -> Run:
        """The run of the suite made of ``files`` (path -> text, dedented) and of `models.py`."""
        asked = [sorted(files.items()), MODELS, arguments, json]
        key = hashlib.sha256(repr(asked).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        if key not in self._done:
            with _locked(self._folder / f"{key}.lock"):
                result = self._folder / f"{key}.pickle"
                if not result.exists():
                    run = run_pytest(write_suite(self._folder / key, files), *arguments, json=json)
                    result.write_bytes(pickle.dumps(run))
            self._done[key] = pickle.loads(result.read_bytes())
        return self._done[key]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_suite(folder: Path, files: Mapping[str, str]) -> Path:
    """Write the files of a suite, `models.py` and an empty configuration, which makes ``folder`` the root directory."""
    folder.mkdir(parents=True)
    defaults = {"models.py": MODELS}
    if not {"pytest.ini", "pyproject.toml"} & set(files):
        defaults["pytest.ini"] = "[pytest]\n"
    for name, text in {**defaults, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return folder


def comparable(report: Any, *without: str) -> Any:
    """A report of gates without its times, which alone may differ from run to run, and without the keys named."""
    if isinstance(report, dict):
        return {key: comparable(value, *without) for key, value in report.items() if key not in ("seconds", *without)}
    if isinstance(report, list):
        return [comparable(entry, *without) for entry in report]
    return report


@functools.cache
def guilty_line(model: str) -> int:
    """The number of the line marked ``# guilty`` in a class of `models.py`."""
    lines = MODELS.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"class {model}("))
    return next(number for number in range(start, len(lines)) if "# guilty" in lines[number]) + 1
