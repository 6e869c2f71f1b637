"""Saving and loading."""

from __future__ import annotations

from typing import Any

from ..cell import Cell
from ..diagnosis.cause import Cause
from ..explain import caused
from ..result import Finding, Verdict
from ..tracing.program import python_operations
from ..tracing.saving import Loaded, light_round_trip
from ..tracing.trace import quiet
from .base import Check, Evidence, Found

__all__ = ["RoundTrip"]


class RoundTrip(Check):
    """``torch.jit.save`` then ``torch.jit.load`` keeps outputs, parameters and buffers."""

    # Of large weights one element is written: that torch writes their bytes right is not proved, nor a file over 4 GB.

    name = "roundtrip"
    requires = frozenset({"eager", "trace"})
    reads = frozenset({"traced", "expected", "equal"})
    gives = frozenset({"loaded"})

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        program = evidence.program
        try:
            with quiet():
                loaded = light_round_trip(program)
        except Exception as error:  # noqa: BLE001 - torch's refusal to save or to load is the finding
            return self.failed(Verdict.NOT_SERIALISABLE, _refused(cell, program, error))
        gives = {"loaded": loaded}
        findings = _state_differences(cell, loaded)
        try:
            findings += _output_differences(cell, evidence, loaded.program)
        except Exception as error:  # noqa: BLE001 - an error of either program is the finding
            return self.failed(Verdict.NOT_SERIALISABLE, *findings, cell.failure(error), gives=gives)
        # The size of the file is not used: torch puts counters of the process into the names of the classes that it saves.
        size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict().values())
        if findings:
            return self.failed(Verdict.NOT_SERIALISABLE, *findings, gives=gives, bytes=size)
        return self.passed(gives=gives, bytes=size)


def _state_differences(cell: Cell, loaded: Loaded) -> list[Finding]:
    before, after = loaded.saved, loaded.state
    found = []
    for name in dict.fromkeys((*before, *after)):
        if name not in after or name not in before:
            where = "lost" if name not in after else "new"
            found.append(cell.finding(f"{name!r} is {where} after save and load", path=name))
        elif not loaded.kept(name):
            found.append(cell.finding(f"{name!r} has other values after save and load", path=name))
    return found


def _output_differences(cell: Cell, evidence: Evidence, loaded: Any) -> list[Finding]:
    program, after = evidence.program, _plainly(cell, loaded)
    if evidence.equal and not cell.compare(after, evidence.expected):
        # The traced program answers as eager too: it has been run on these inputs three times.
        return []
    before = cell.scripted(program, profiled=True)
    if cell.compare(after, before):
        # In a loaded program, the plain executor may give another dtype to the product of a number and an integer tensor.
        # Deployments run the default executor, which costs more, so it runs only where the plain one disagrees.
        after = cell.scripted(loaded, profiled=True)
    if cell.compare(after, before) and cell.compare(cell.scripted(program, profiled=True), before):
        # A program that draws random numbers differs from run to run, with or without a file.
        return []
    return [
        cell.finding(
            f"{mismatch.label} changes through save and load: {mismatch.text}", path=mismatch.path, details=mismatch.details()
        )
        for mismatch in cell.compare(after, before)
    ]


def _plainly(cell: Cell, loaded: Any) -> Any:
    """The outputs of the loaded program under the plain executor; None where it raises there."""
    try:
        return cell.scripted(loaded)
    except Exception:  # noqa: BLE001 - the default executor runs next, and decides
        return None


def _refused(cell: Cell, program: Any, error: Exception) -> Finding:
    finding = cell.failure(error)
    if finding.line is not None:
        return finding
    causes = [Cause(line, "python operation at") for line in python_operations(program)]
    if not causes and (line := cell.returned_at()) is not None:
        causes = [Cause(line, "in the program of")]
    return caused(cell, [finding], causes[:1], hint=finding.hint or "use torch operations only")[0]
