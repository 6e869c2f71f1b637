"""Which operation first gave another result: two eager runs compared call by call.

A torch-function mode sees every torch call that user and library code makes. Used after a failure only.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .. import source
from ..nested import identical, tensors

__all__ = ["Operation", "OperationLog", "crop_to", "first_difference", "first_non_finite"]

# Copies of outputs kept for one comparison; beyond it the log stops and later operations are not compared.
_MOST_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Operation:
    """One call into torch: its name, the user's line, and copies of the tensors it returned."""

    name: str
    line: source.Line | None
    results: tuple[torch.Tensor, ...]


class OperationLog(TorchFunctionMode):
    """Records the operations of one run."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self._bytes = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", str(func))
        if name == "__get__":
            return result
        line = source.innermost(source.frames(sys._getframe(1)))
        found = tuple(leaf for _, leaf in tensors(result))
        if found and self._bytes < _MOST_BYTES:
            self._bytes += sum(tensor.numel() * tensor.element_size() for tensor in found)
            self.operations.append(Operation(name, line, tuple(tensor.detach().clone() for tensor in found)))
        return result

    def record(self, function: Callable[[], Any]) -> Any:
        with self, torch.no_grad():
            return function()


def crop_to(larger: torch.Tensor, shape: torch.Size, *, at_start: bool = False) -> torch.Tensor | None:
    """``larger`` cropped to ``shape`` at the end, or ``at_start`` of each axis; None when that is impossible."""
    if larger.ndim != len(shape):
        return None
    for axis, size in enumerate(shape):
        if larger.shape[axis] < size:
            return None
        larger = larger.narrow(axis, larger.shape[axis] - size if at_start else 0, size)
    return larger


def _close(left: torch.Tensor, right: torch.Tensor, slack: float) -> bool:
    if left.dtype != right.dtype or left.is_meta:
        return left.dtype == right.dtype
    if identical(left, right):
        return True
    if left.layout != torch.strided or not (left.is_floating_point() or left.is_complex()):
        return False
    scale = float(right.abs().nan_to_num(0, 0, 0).max()) if right.numel() else 0.0
    return bool(torch.isclose(left, right, rtol=slack, atol=slack * max(scale, 1e-6), equal_nan=True).all())


def first_difference(
    left: OperationLog, right: OperationLog, *, crop: bool = False, at_start: bool = False, slack: float = 1e-4
) -> Operation | None:
    """The first operation of ``left`` whose result is not that of ``right``, relative to the result's own magnitude.

    With ``crop``, results of ``right`` may be larger, padded at the end or ``at_start``, and are cropped to those of ``left``.
    """
    for mine, theirs in itertools.zip_longest(left.operations, right.operations):
        if mine is None or theirs is None:
            return mine or theirs
        if mine.name != theirs.name or len(mine.results) != len(theirs.results):
            return mine
        for result, other in zip(mine.results, theirs.results, strict=True):
            if crop and not result.ndim and not result.is_floating_point():
                # A count or a question about the mask, not something computed from the input at one position.
                continue
            if result.shape != other.shape:
                cropped = crop_to(other, result.shape, at_start=at_start) if crop else None
                if cropped is None:
                    return mine
                other = cropped
            if not _close(result, other, slack):
                return mine
    return None


def first_non_finite(log: OperationLog, *, nan: bool) -> Operation | None:
    """The first operation whose result holds a NaN (``nan``), or an infinity."""
    for operation in log.operations:
        for result in operation.results:
            if (result.is_floating_point() or result.is_complex()) and bool((result.isnan() if nan else result.isinf()).any()):
                return operation
    return None
