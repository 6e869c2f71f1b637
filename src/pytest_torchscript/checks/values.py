"""Fresh values of the same shape."""

from __future__ import annotations

from typing import Any

from ..cell import Cell
from ..diagnosis.cause import Cause
from ..explain import COMPUTED, caused, causes_at, produced, warned
from ..nested import tensors
from ..probing.explore import explored
from ..probing.explored import Explored
from ..result import Finding, Verdict
from ..subject.inputs import is_plain
from .base import Check, Evidence, Found

__all__ = ["Values"]

_HINT = "keep the decision in the graph: torch.where, masks or tensor operations instead of Python values"


class Values(Check):
    """The trace equals eager for fresh values of the same shape: floats, integers and masks other than the traced ones."""

    name = "values"
    requires = frozenset({"eager", "trace", "equivalence"})
    reads = frozenset({"expected", "traced"})
    gives = frozenset({"explored", "value_lines"})

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        assert evidence.traced is not None
        found = explored(cell, evidence.traced)
        gives: dict[str, Any] = {"explored": found}
        metrics = {"equal": found.equal, "outside": found.outside, "failing": len(found.failing)}
        if found.failing:
            causes = _causes(cell, evidence, found)
            gives["value_lines"] = frozenset((cause.line.file, cause.line.line) for cause in causes if cause.where != COMPUTED)
            findings = _findings(cell, evidence, found, causes)
            return self.failed(Verdict.VALUE_SPECIALISED, *findings, gives=gives, **metrics)
        notes = [cell.finding(text) for text in found.notes]
        if not any(is_plain(tensor) for _, tensor in tensors(cell.inputs)):
            notes.append(cell.finding("sparse, nested and quantised inputs are not redrawn: no other values were tried"))
        elif not found.equal:
            notes.append(cell.finding("eager refuses all fresh values tried: nothing is known about other values"))
        return self.passed(notes, gives=gives, **metrics)


def _causes(cell: Cell, evidence: Evidence, found: Explored) -> list[Cause]:
    first = found.failing[0]
    causes = causes_at(cell, first.inputs) or warned(evidence.traced)
    if not causes and first.probe.mismatches and evidence.traced is not None:
        causes = produced(evidence.traced, evidence.expected, first.probe.mismatches[0].path)
    return causes


def _findings(cell: Cell, evidence: Evidence, found: Explored, causes: list[Cause]) -> tuple[Finding, ...]:
    first = found.failing[0]
    names = ", ".join(factor.changed for factor in found.failing)
    findings = []
    if first.probe.error is not None:
        failure = cell.failure(first.probe.error)
        findings.append(cell.finding(f"the trace refuses other values that eager accepts ({names}): {failure.message}"))
    findings += [
        cell.finding(
            f"the trace is silently wrong for other values of the same shape ({names}): "
            f"{mismatch.label} is off, {mismatch.text}",
            path=mismatch.path,
            details={**mismatch.details(), "variant": first.changed},
        )
        for mismatch in first.probe.mismatches
    ]
    verdict, conversions = Verdict.VALUE_SPECIALISED, evidence.conversions
    return caused(cell, findings, causes, hint=_HINT, verdict=verdict, conversions=conversions)
