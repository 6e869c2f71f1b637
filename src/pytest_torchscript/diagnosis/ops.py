"""Which operation first gave another result: two eager runs compared call by call.

A torch-function mode sees every torch call that user and library code makes. Used after a failure only.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .. import source
from ..nested import identical, tensors

__all__ = ["Operation", "OperationLog", "crop_to", "first_difference", "first_leak", "first_non_finite"]

# Copies of outputs kept for one comparison; beyond it the log stops and later operations are not compared.
_MOST_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Operation:
    """One call into torch: its name, the user's line, and copies of the tensors it returned.

    ``sources`` are the numbers of the recorded operations whose results it was given.
    """

    name: str
    line: source.Line | None
    results: tuple[torch.Tensor, ...]
    sources: tuple[int, ...] = ()


class OperationLog(TorchFunctionMode):
    """Records the operations of one run; ``ends`` are the numbers of those whose results the run returned."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.ends: tuple[int, ...] = ()
        self._bytes = 0
        self._made: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sources = self._makers((args, kwargs))
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", str(func))
        if name == "__get__":
            return result
        # `x[0] = 1` returns nothing: the tensor that was written into is what came of it.
        found = _tensors_in(args[0] if name == "__setitem__" else result)
        if found and self._bytes < _MOST_BYTES:
            self._bytes += sum(tensor.numel() * tensor.element_size() for tensor in found)
            self._made |= {id(tensor): (weakref.ref(tensor), len(self.operations)) for tensor in found}
            line = source.innermost(source.frames(sys._getframe(1)))
            self.operations.append(Operation(name, line, tuple(tensor.detach().clone() for tensor in found), sources))
        return result

    def _makers(self, values: Any) -> tuple[int, ...]:
        """The numbers of the operations that gave the tensors in nested values."""
        # The identity of a tensor that is gone may be that of another one by now.
        made = [(tensor, self._made.get(id(tensor))) for tensor in _tensors_in(values)]
        return tuple(dict.fromkeys(entry[1] for tensor, entry in made if entry and entry[0]() is tensor))

    def record(self, function: Callable[[], Any]) -> Any:
        """Call ``function`` without gradients and record; its exception passes through."""
        with self, torch.no_grad():
            output = function()
        self.ends = self._makers(output)
        return output


def _tensors_in(values: Any) -> list[torch.Tensor]:
    return [leaf for _, leaf in tensors(values)]


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


def first_leak(
    unpadded: OperationLog, padded: OperationLog, *, lengths: tuple[int, int], at_start: bool = False, slack: float = 1e-4
) -> Operation | None:
    """The first operation of the unpadded run whose result at valid positions is another one once the input is padded.

    ``lengths`` are the number of valid positions and that with padding; padding is at the end, or ``at_start``. The two runs
    may call different operations, as where a mask without zeros is left out: those that both call, at the same line in the
    same order, are compared. An operation from which nothing differing reaches the model's output is no leak, and neither is
    anything where both runs end alike.
    """
    pairs = dict(_pairs(unpadded.operations, padded.operations))
    differing = {
        mine
        for mine, theirs in pairs.items()
        if _differs(unpadded.operations[mine], padded.operations[theirs], lengths, at_start, slack)
    }
    leaking = _reaching(unpadded, differing, compared=set(pairs))
    if not leaking and not (unpadded.ends and set(unpadded.ends) <= set(pairs)):
        # What the run returned was not compared: nothing shows which of the differences reach it.
        leaking = differing
    return unpadded.operations[min(leaking)] if leaking else None


def _pairs(left: list[Operation], right: list[Operation]) -> Iterator[tuple[int, int]]:
    """The numbers of the operations that two runs have in common, by name and line, each in order."""
    keys = [[(operation.name, operation.line) for operation in run] for run in (left, right)]
    if keys[0] == keys[1]:
        yield from ((number, number) for number in range(len(left)))
        return
    for start, other, size in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_matching_blocks():
        yield from ((start + offset, other + offset) for offset in range(size))


def _differs(left: Operation, right: Operation, lengths: tuple[int, int], at_start: bool, slack: float) -> bool:
    """Whether a padded operation's results, at valid positions, are not those of the unpadded one."""
    if len(left.results) != len(right.results):
        return True
    return not all(
        # A count or a question about the mask is not something computed from the input at one position.
        (not mine.ndim and not mine.is_floating_point())
        or any(_close(mine, valid, slack) for valid in _valid(theirs, mine.shape, lengths, at_start))
        for mine, theirs in zip(left.results, right.results, strict=True)
    )


def _valid(tensor: torch.Tensor, shape: torch.Size, lengths: tuple[int, int], at_start: bool) -> Iterator[torch.Tensor]:
    """A padded result as ``shape`` has it: the padding cut off each axis, also where one axis holds rows and positions."""
    cropped = crop_to(tensor, shape, at_start=at_start)
    if cropped is not None:
        yield cropped
    short, full = lengths
    for axis in range(tensor.ndim if tensor.ndim == len(shape) else 0):
        rows = tensor.shape[axis] // full
        if rows < 2 or tensor.shape[axis] != rows * full or shape[axis] != rows * short:
            continue
        # Rows and positions were made one axis, rows first or positions first.
        for sizes, inner in (((rows, full), axis + 1), ((full, rows), axis)):
            apart = tensor.unflatten(axis, sizes).narrow(inner, full - short if at_start else 0, short)
            yield from _valid(apart.flatten(axis, axis + 1), shape, lengths, at_start)


def _reaching(log: OperationLog, differing: set[int], *, compared: set[int]) -> set[int]:
    """The differing operations from which a difference goes on, by differing or uncompared ones, to what the run returned."""
    found: set[int] = set()
    seen: set[int] = set()
    pending = list(log.ends)
    while pending:
        number = pending.pop()
        if number in seen or (number in compared and number not in differing):
            continue
        seen.add(number)
        found |= {number} & differing
        pending += log.operations[number].sources
    return found


def first_non_finite(log: OperationLog, *, nan: bool) -> Operation | None:
    """The first operation whose result holds a NaN (``nan``), or an infinity."""
    for operation in log.operations:
        for result in operation.results:
            if (result.is_floating_point() or result.is_complex()) and bool((result.isnan() if nan else result.isinf()).any()):
                return operation
    return None
