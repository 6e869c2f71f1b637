"""A failing gate as pytest's failure: a headline, the place of the guilty line, and the block of the report as its text."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ..reports import terminal
from ..result import GateFailed, GateResult
from .handover import sendable

__all__ = ["GateFailure", "show"]


class GateFailure(pytest.fail.Exception):  # type: ignore[name-defined, misc]
    """Fails a test because of its gates. The message is the headline, which is all that a summary of one line has room for."""

    def __init__(self, gates: Sequence[GateResult]) -> None:
        headlines = dict.fromkeys(map(terminal.headline, gates))
        super().__init__(sendable(", ".join(headlines)), pytrace=False)
        self.gates = tuple(gates)


def show(report: pytest.TestReport, error: BaseException, root: Path) -> None:
    """Let the report of a test tell its failing gates: pytest and other plugins read place and text from it.

    The place of a failure is the first guilty line that lies below ``root``, else the test. An explicit gate keeps its own
    traceback, which ends in the test.
    """
    shown: Any = report.longrepr
    crash = getattr(shown, "reprcrash", None)
    if isinstance(error, GateFailed) and crash is not None:
        crash.message = sendable(terminal.headline(error.result))
    if not isinstance(error, GateFailure):
        return
    blocks = "\n\n".join(map(terminal.failure_block, error.gates))
    text = f"{error.msg}\n{sendable(blocks)}"
    entries = getattr(getattr(shown, "reprtraceback", None), "reprentries", ())
    if crash is None or not entries:
        # Another plugin, or a later pytest, shows failures in another way.
        report.longrepr = text
        return
    crash.path, crash.lineno = _place(error.gates, report, root)
    crash.message = str(error.msg)
    place = copy.copy(crash)
    place.path, place.message = _short(crash.path), crash.message.partition(" at ")[0]
    entries[-1].lines, entries[-1].reprfileloc = text.splitlines(), place


def _place(gates: Sequence[GateResult], report: pytest.TestReport, root: Path) -> tuple[str, int]:
    findings = (f for gate in gates for cell in gate.cells for check in cell.checks if check.verdict for f in check.findings)
    for finding in findings:
        if finding.file and finding.line and (path := root / finding.file).is_relative_to(root) and path.is_file():
            return str(path), finding.line
    file, line, _ = report.location
    return str(root / file), (line or 0) + 1


def _short(path: str) -> str:
    """A path as pytest prints it: from the current directory on where it lies below it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
