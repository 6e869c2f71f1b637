"""What a gate noticed and did not fail for: lint warnings, buckets, tied weights, a target that was not proved.

Worth a line where somebody looks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..result import OK, Finding, Status
from .document import Document
from .proof import NOTHING, proof_of

__all__ = ["Note", "notes"]


@dataclass(frozen=True, kw_only=True)
class Note:
    """A finding of a check that passed, with the gate and the first cell that have it."""

    id: str
    cell: str
    finding: Finding

    @property
    def place(self) -> str:
        """``src/head.py:41``; empty without a line."""
        return f"{self.finding.file}:{self.finding.line}" if self.finding.file and self.finding.line else ""


def notes(document: Document, checks: Collection[str]) -> list[Note]:
    """The findings of passed ``checks``, by gate; what several cells of one say alike is one note."""
    found: dict[tuple[str, str, str, int | None], Note] = {}
    for gate in document.gates:
        for cell in gate.cells:
            for check in cell.checks:
                if check.name not in checks or check.status is Status.FAILED:
                    continue
                findings = list(check.findings)
                if check.reason and check.name == "target" and cell.verdict == OK and proof_of(cell) == NOTHING:
                    findings.append(Finding(message=f"{NOTHING}: {check.reason}"))
                for finding in findings:
                    key = (gate.id, finding.message, finding.file or "", finding.line)
                    found.setdefault(key, Note(id=gate.id, cell=cell.label, finding=finding))
    return list(found.values())
