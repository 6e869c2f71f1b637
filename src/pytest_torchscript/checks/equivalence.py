"""The trace compared with eager, at the inputs that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cell import Cell
from ..diagnosis.cause import Cause
from ..diagnosis.lines import LineLog, branch
from ..explain import caused, produced
from ..nested import Mismatch, describe, tensors
from ..result import Verdict
from ..tracing.graph import graph_of
from ..tracing.program import writes_into_constants
from .base import Check, Evidence, Found

__all__ = ["Equivalence"]

_RUNS = 3
"""The profiling executor interprets in the first run, profiles in the second and optimises before the third."""

_HINT = (
    "let the forward do the same while it is traced: torch.jit.is_tracing() answers otherwise then, x.shape[i] is a tensor, "
    "which no dictionary holds and whose text is another one, and state kept in Python becomes a constant"
)


class Equivalence(Check):
    """Three consecutive runs under the default executor equal eager, every leaf by path, dtype, shape and structure."""

    name = "equivalence"
    requires = frozenset({"eager", "trace"})
    reads = frozenset({"expected", "traced"})
    gives = frozenset({"equal", "trace_writes"})

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        expected = evidence.expected if evidence.expected is not None else cell.eager()
        if not any(True for _ in tensors(expected)) and isinstance(expected, (tuple, list, Mapping)):
            finding = cell.finding(
                f"the model returns no tensor, but an empty {describe(expected)}: there is nothing to deploy"
            )
            return self.failed(Verdict.NOT_EQUIVALENT, finding)
        gives: dict[str, Any] = {}
        for run in range(1, _RUNS + 1):
            try:
                actual = cell.scripted(evidence.program, profiled=True, restore=False)
                gives = gives or {"trace_writes": tuple(cell.state.changed_parameters())}
                cell.restore()
            except Exception as error:  # noqa: BLE001 - an error of the traced program is the finding
                cell.restore()
                return self.failed(Verdict.NOT_EQUIVALENT, cell.failure(error))
            mismatches = cell.compare(actual, expected)
            if mismatches:
                return self._differs(cell, evidence, mismatches, run)
        return self.passed(gives={**gives, "equal": evidence.expected is not None}, runs=_RUNS)

    def _differs(self, cell: Cell, evidence: Evidence, mismatches: list[Mismatch], run: int) -> Found:
        which = "" if run == 1 else f" in run {run} (earlier runs were right)"
        findings = [
            cell.finding(
                f"the trace differs from eager on the same input{which}: {mismatch.label} by {mismatch.text}",
                path=mismatch.path,
                details={**mismatch.details(), "run": run},
            )
            for mismatch in mismatches
        ]
        causes = _branches(cell) or _written_constants(evidence) or _branches(cell, steps=True)
        if not causes and evidence.traced is not None:
            causes = produced(evidence.traced, evidence.expected, mismatches[0].path)
        if not causes and (line := cell.returned_at()) is not None:
            causes = [Cause(line, "returned at")]
        return self.failed(Verdict.NOT_EQUIVALENT, *caused(cell, findings, causes, hint=_HINT, verdict=Verdict.NOT_EQUIVALENT))


def _branches(cell: Cell, *, steps: bool = False) -> list[Cause]:
    """The line at which the forward takes another branch while it is traced; with ``steps``, also a branch within one line."""
    plain, tracing = LineLog(steps=steps), LineLog(steps=steps)
    try:
        with cell.trying():
            plain.record(lambda: cell.call.run(cell.model))
        with cell.trying():
            tracing.record(lambda: graph_of(cell.model, cell.call))
    except Exception:  # noqa: BLE001 - without a second run there is no line to name
        return []
    line = branch(plain, tracing, asked_by_caller=True)
    return [Cause(line, "branches at", "goes another way while tracing")] if line else []


def _written_constants(evidence: Evidence) -> list[Cause]:
    """The line that writes into a constant of the program, which was made once, while tracing, and which every run changes."""
    line = next(writes_into_constants(evidence.program), None)
    return [Cause(line, "written at", "into a constant of the trace, which keeps it from run to run")] if line else []
