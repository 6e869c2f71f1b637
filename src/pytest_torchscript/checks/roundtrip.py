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
        except Exception as error:  # noqa: BLE001 - torch refuses to save or to load: that is the finding
            return self.failed(Verdict.NOT_SERIALISABLE, _refused(cell, program, error))
        gives = {"loaded": loaded}
        findings = _state_differences(cell, loaded)
        try:
            findings += _output_differences(cell, evidence, loaded.program)
        except Exception as error:  # noqa: BLE001 - the loaded program fails where the traced one ran, or both fail
            return self.failed(Verdict.NOT_SERIALISABLE, *findings, cell.failure(error), gives=gives)
        # Not the file's size: torch numbers the classes it saves, across the process.
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
        # The plain executor types a number times an integer tensor otherwise in a loaded program: deployments
        # run the default one, which costs more and is asked only then.
        after = cell.scripted(loaded, profiled=True)
    if cell.compare(after, before) and cell.compare(cell.scripted(program, profiled=True), before):
        # A program that draws gives another answer every time; that is not the file's doing.
        return []
    return [
        cell.finding(
            f"{mismatch.label} changes through save and load: {mismatch.text}", path=mismatch.path, details=mismatch.details()
        )
        for mismatch in cell.compare(after, before)
    ]


def _plainly(cell: Cell, loaded: Any) -> Any:
    """What the loaded program gives under the plain executor; None where it fails there."""
    try:
        return cell.scripted(loaded)
    except Exception:  # noqa: BLE001 - the default executor has the last word
        return None


def _refused(cell: Cell, program: Any, error: Exception) -> Finding:
    finding = cell.failure(error)
    if finding.line is not None:
        return finding
    causes = [Cause(line, "python operation at") for line in python_operations(program)]
    if not causes and (line := cell.returned_at()) is not None:
        causes = [Cause(line, "in the program of")]
    return caused(cell, [finding], causes[:1], hint=finding.hint or "use torch operations only")[0]
