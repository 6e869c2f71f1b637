"""Shorter inputs, padded to the traced length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..cell import Cell
from ..diagnosis.cause import Cause
from ..diagnosis.ops import OperationLog, crop_to, first_leak
from ..explain import caused, produced
from ..nested import Mismatch, compare, map_tensors, nan_free, tensors
from ..result import Verdict
from ..spec import Tolerance
from ..subject.inputs import BATCH, mapped, pad, shorten
from ..tracing.private import default_tolerances
from ..tracing.program import operations
from .base import Check, Evidence, Found

__all__ = ["Padding"]

# A padded and an unpadded input are computed differently: matrix products are summed in another order. Ten times the tolerance
# of a dtype is above that rounding error and, for the models measured, three orders of magnitude below a real leak.
_SLACK = 10.0

_CHOOSING = frozenset(
    {"all", "amax", "amin", "any", "argmax", "argmin", "argsort", "kthvalue", "max", "median", "min", "sort", "topk"}
)


@dataclass(frozen=True)
class _Pair:
    """``short`` valid positions along ``dim``, unpadded and padded to the traced ``size``."""

    dim: str
    short: int
    size: int
    shorter: Mapping[str, Any]
    padded: Mapping[str, Any]


class Padding(Check):
    """With a mask: shorter inputs padded to the traced length give what eager gives for them unpadded."""

    name = "padding"
    requires = frozenset({"eager", "trace", "equivalence"})
    reads = frozenset({"expected", "traced", "explored"})

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        dim, reason = _padded_dim(cell)
        if dim is None:
            return self.skipped(reason)
        size = cell.dims.sizes(cell.inputs)[dim]
        tried: dict[str, str] = {}
        every = cell.spec.effort == "thorough" or _chooses(evidence.program)
        for short in dict.fromkeys((max(size // 2, 1), size - 1, min(2, size - 1))):
            if "equal" in tried.values() and not every:
                # One length finds what the others find, but for a greatest value: that may be a valid one by chance.
                break
            pair = _pair(cell, dim, short, size)
            expected = _unpadded(cell, pair)
            if expected is None:
                tried[str(short)] = "outside"
                continue
            try:
                actual = cell.scripted(evidence.program, pair.padded)
            except Exception as error:  # noqa: BLE001 - an error of the program at its own size is the finding
                return self.failed(Verdict.PADDING_UNSAFE, cell.failure(error), lengths=tried)
            mismatches = _compared(cell, actual, expected)
            tried[str(short)] = "wrong" if mismatches else "equal"
            if mismatches and evidence.explored and evidence.explored.failing and not _leaks(cell, pair):
                return self.skipped("values failed, and padding is other values: eager itself keeps it out")
            if mismatches:
                return self._unsafe(cell, evidence, mismatches, pair, tried)
        if "equal" not in tried.values():
            return self.skipped(f"eager refuses shorter inputs ({', '.join(tried)})")
        return self.passed(lengths=tried, traced=size)

    def _unsafe(
        self, cell: Cell, evidence: Evidence, mismatches: list[Mismatch], pair: _Pair, tried: Mapping[str, str]
    ) -> Found:
        findings = [
            cell.finding(
                f"{pair.dim} {pair.short} padded to {pair.size} changes {mismatch.label}: {mismatch.text}",
                path=mismatch.path,
                details={**mismatch.details(), "length": pair.short, "traced": pair.size},
            )
            for mismatch in mismatches
        ]
        if _leaks(cell, pair):
            hint = f"let {cell.mask} keep padded positions out of every sum, mean, maximum, softmax and last position"
            causes = _causes(cell, pair)
            if not causes and evidence.traced is not None:
                causes = produced(evidence.traced, evidence.expected, mismatches[0].path)
        else:
            # Eager is right for the padded input, so no line of the model lets padding in: the trace differs from the model.
            hint = "see the other checks: eager answers the padded input right, the trace does not"
            causes = []
        found = caused(cell, findings, causes, hint=hint)
        return self.failed(Verdict.PADDING_UNSAFE, *found, lengths=tried, traced=pair.size)


def _chooses(program: Any) -> bool:
    """Whether the program chooses among values, so that padding shows only where it is chosen."""
    return any(operation.kind.removeprefix("aten::") in _CHOOSING for operation in operations(program))


def _padded_dim(cell: Cell) -> tuple[str | None, str]:
    """The dim that the mask pads; or None, and the reason why nothing can be padded."""
    if cell.mask is None and cell.spec.mask is not None:
        return None, f"the mask {cell.spec.mask!r} does not hold 0 and 1 alone: nothing says what is padding"
    if cell.mask is None:
        return None, "the inputs have no padding mask: name it with mask="
    dim = next((name for name in cell.dims.axes.get(cell.mask, {}).values() if name != BATCH), None)
    if dim is None:
        return None, f"no axis of the mask {cell.mask!r} is known to be a sequence"
    size = cell.dims.sizes(cell.inputs)[dim]
    return (None, f"{dim} is traced at {size}: nothing shorter to pad") if size < 2 else (dim, "")


def _pair(cell: Cell, dim: str, short: int, size: int) -> _Pair:
    """``short`` positions, all valid, and the same padded to ``size`` on the side where the observed mask pads."""
    valid = 0 if cell.mask_inverted else 1
    shorter = mapped(
        shorten(cell.inputs, cell.dims, dim, short, at_start=cell.pads_at_start),
        lambda path, tensor: torch.full_like(tensor, valid) if path == cell.mask else tensor,
    )
    fill: dict[str, int] = {**cell.pad_values, str(cell.mask): 1 - valid}
    padded = pad(shorter, cell.dims, dim, size, fill, at_start=cell.pads_at_start)
    return _Pair(dim, short, size, shorter, padded)


def _unpadded(cell: Cell, pair: _Pair) -> Any:
    """Eager's outputs without padding; None where eager refuses that length, or where its outputs hold NaN."""
    try:
        expected = cell.eager(pair.shorter)
    except Exception:  # noqa: BLE001 - eager refuses that length, so there is nothing to compare with
        return None
    return expected if nan_free(expected) else None


def _compared(cell: Cell, actual: Any, expected: Any) -> list[Mismatch]:
    """The leaves that differ at valid positions; padded positions of the output are cut off first."""
    shapes = {path: leaf.shape for path, leaf in tensors(expected)}
    order = iter([path for path, _ in tensors(actual)])

    def crop(tensor: torch.Tensor) -> torch.Tensor:
        shape = shapes.get(next(order))
        cropped = crop_to(tensor, shape, at_start=cell.pads_at_start) if shape is not None else None
        return tensor if cropped is None else cropped

    cropped = map_tensors(crop, actual)
    asked = cell.spec.tolerance
    strict = compare(cropped, expected, asked)
    if not strict or asked.rtol is not None or asked.atol is not None:
        return strict
    widened = [m for m in compare(cropped, expected, _widened(expected)) if m.kind == "value"]
    return [m for m in strict if m.kind != "value"] + widened


def _widened(expected: Any) -> Tolerance:
    """Ten times the widest default tolerance among the leaves."""
    pairs = [default_tolerances(leaf.dtype) for _, leaf in tensors(expected)]
    return Tolerance(rtol=_SLACK * max(rtol for rtol, _ in pairs), atol=_SLACK * max(atol for _, atol in pairs))


def _leaks(cell: Cell, pair: _Pair) -> bool:
    """Whether eager's own outputs at valid positions change when the input is padded."""
    try:
        return bool(_compared(cell, cell.eager(pair.padded), cell.eager(pair.shorter)))
    except Exception:  # noqa: BLE001 - eager has to accept the padded input, and refuses it
        return True


def _causes(cell: Cell, pair: _Pair) -> list[Cause]:
    """The first operation whose result at valid positions changes when the input is padded."""
    logs = []
    for inputs in (pair.shorter, pair.padded):
        log = OperationLog()
        try:
            with cell.trying():
                log.record(lambda inputs=inputs: cell.call.run(cell.model, inputs))  # type: ignore[misc]
        except Exception:  # noqa: BLE001 - without both runs there is no line to name
            return []
        logs.append(log)
    operation = first_leak(*logs, lengths=(pair.short, pair.size), at_start=cell.pads_at_start, slack=1e-3)
    return [Cause(operation.line, "leaks at", f"in {operation.name}")] if operation and operation.line else []
