"""Rules about dtypes, and about integers that 32 bits do not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

from ...nested import tensors
from ...result import Finding
from ..base import NotJudged
from ..deployment import Deployment
from .lint import META, UNTRACED, Place, in_program, require
from .program import Program, Value

__all__ = ["int64_range", "values"]

_INT32 = torch.iinfo(torch.int32)
_NARROW = "keep integers within 32 bits: the compiler converts int64 to int32"


def values(matches: Callable[[Value], bool], called: str, hint: str) -> Callable[[Program], Iterator[Place]]:
    """Where values of a kind come into the program."""

    def look(program: Program) -> Iterator[Place]:
        """Operations that read an input or weight of a kind, or first give such a value."""
        for operation in program.operations:
            if not operation.computes:
                continue
            inputs = [value for value in operation.inputs if matches(value)]
            named = next((name for value in inputs if (name := value.name)), None)
            if named is not None:
                yield Place(operation, f"{named} is {called}", hint)
            elif not inputs and any(map(matches, operation.outputs)):
                yield Place(operation, f"{operation.name} gives a result that is {called}", hint)

    return look


def _beyond(value: int | float) -> bool:
    return not _INT32.min <= value <= _INT32.max


def _largest(tensor: torch.Tensor) -> int | None:
    """The value of an int64 tensor that is farthest beyond int32."""
    if tensor.dtype is not torch.int64 or tensor.is_meta or tensor.layout != torch.strided or not tensor.numel():
        return None
    value = max(int(tensor.max()), int(tensor.min()), key=abs)
    return value if _beyond(value) else None


def int64_range(deployment: Deployment) -> Iterator[Finding]:
    """Values of int64 that 32 bits do not hold, among inputs, constants, weights and outputs."""
    given = dict(tensors(deployment.inputs))
    inputs = {path: value for path, tensor in given.items() if (value := _largest(tensor)) is not None}
    expected = list(tensors(deployment.expected))

    def look(program: Program) -> Iterator[Place]:
        for operation in program.operations:
            values = operation.inputs if operation.computes and operation.kind != "aten::slice" else []
            if not any(value.dtype is torch.int64 for value in [*values, *operation.outputs]):
                continue
            for value in values:
                held = _held(value, inputs)
                if held is not None:
                    yield Place(operation, f"{value.name or 'a constant'} holds {held}, beyond int32", _NARROW)
        for (path, tensor), value in zip(expected, program.returned, strict=False):
            held = _largest(tensor)
            if held is not None:
                yield Place(value.operation, f"output {path!r} holds {held}, beyond int32", _NARROW)

    yield from in_program(look)(deployment)
    program = Program.of(deployment)
    if program is None:
        return
    read = [value for operation in program.operations if operation.computes for value in operation.inputs]
    if any(_is_unread(value, given) for value in read):
        raise NotJudged(META if deployment.without_weights else UNTRACED)
    if any(value.dtype is torch.int64 for value in program.returned):
        require(deployment, "eager")


def _is_unread(value: Value, given: Mapping[str, torch.Tensor]) -> bool:
    """Whether a value of int64 is an input or a weight of which the numbers are not known."""
    if value.dtype is not torch.int64:
        return False
    tensor = value.tensor if value.path is None else given.get(value.path)
    return tensor.is_meta if tensor is not None else value.operation.kind in ("prim::Param", "prim::GetAttr")


def _held(value: Value, inputs: Mapping[str, int]) -> int | None:
    """What an operand of an operation holds beyond int32, where that is known before it runs."""
    if value.path is not None and value.path in inputs:
        return inputs[value.path]
    if value.type in ("IntType", "NumberType"):
        number = value.constant
        return number if isinstance(number, int) and _beyond(number) else None
    tensor = value.tensor
    return None if tensor is None else _largest(tensor)
