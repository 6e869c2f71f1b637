"""Constants that pin the trace to one device."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from ..cell import Cell
from ..explain import advice
from ..nested import compare, map_tensors
from ..result import Finding, Verdict
from ..spec import Tolerance
from ..tracing.execute import run
from ..tracing.program import Pin, device_pins
from ..tracing.saving import round_trip
from .base import Check, Evidence, Found

__all__ = ["Device"]

# Another device adds in another order. These are the tolerances of torch's own tests of CUDA against the CPU, for float32.
_ACROSS_DEVICES = Tolerance(rtol=1e-3, atol=1e-4)
_MOST_NOTES = 5


class Device(Check):
    """No constant pins the trace to one device: a note on this machine, a real move where there is a GPU."""

    name = "device"
    requires = frozenset({"trace"})
    reads = frozenset({"expected", "traced"})
    numeric = False

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        pins = list(device_pins(evidence.program))
        notes = _notes(cell, pins)
        if cell.meta or not torch.cuda.is_available():
            return self.passed(notes, constants=len(pins), moved=None)
        try:
            error = _moved(cell, evidence, "cuda")
        except torch.cuda.OutOfMemoryError:
            full = cell.finding("the GPU has no room for this model: it was not moved")
            return self.passed((full, *notes), constants=len(pins), moved=None)
        if error is not None:
            return self.failed(Verdict.DEVICE_PINNED, error, *notes, constants=len(pins), moved="cuda")
        return self.passed(notes, constants=len(pins), moved="cuda")


def _notes(cell: Cell, pins: list[Pin]) -> list[Finding]:
    """Findings for the first few pins, one for each text and line. To read a line from torch is slow, so no more are read."""
    places = dict.fromkeys((pin.text, pin.line) for pin in itertools.islice(pins, _MOST_NOTES))
    hint = advice(cell, Verdict.DEVICE_PINNED)
    return [cell.finding(text, line=line, where="pinned at", hint=hint) for text, line in places]


def _moved(cell: Cell, evidence: Evidence, device: str) -> Finding | None:
    """The saved trace, loaded onto a device and run there, against eager where the model is.

    Raises:
        torch.cuda.OutOfMemoryError: the device is full, which says nothing about the model.
    """
    with cell.trying():
        try:
            moved = round_trip(evidence.program, device=device)
            inputs = map_tensors(lambda tensor: tensor.to(device), dict(cell.inputs))
            actual: Any = map_tensors(lambda tensor: tensor.cpu(), run(moved, inputs))
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - an error on the other device is the finding
            return cell.failure(error)
    mismatches = compare(actual, evidence.expected, _ACROSS_DEVICES)
    if not mismatches:
        return None
    first = mismatches[0]
    message = f"moved to {device}, {first.label} differs: {first.text}"
    return cell.finding(message, path=first.path, details=first.details())
