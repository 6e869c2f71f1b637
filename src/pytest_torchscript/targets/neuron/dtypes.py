"""Rules about dtypes, and about integers that 32 bits do not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

from ...nested import tensors
from ...result import Finding
from ..base import NotJudged
from ..deployment import Deployment
from ..tools import Program, Value
from .lint import META, UNTRACED, Place, in_program, require

__all__ = ["int64_range", "values"]

_INT32 = torch.iinfo(torch.int32)
_NARROW = "keep integers within 32 bits: the compiler converts int64 to int32"


def values(matches: Callable[[Program, Value], bool], called: str, hint: str) -> Callable[[Program], Iterator[Place]]:
    """Where values of a kind come into the program."""

    def look(program: Program) -> Iterator[Place]:
        """Operations that read an input or weight of a kind, or first give such a value."""
        for operation in program.operations:
            if not operation.computes:
                continue
            inputs = [value for value in operation.inputs if matches(program, value)]
            named = next((name for value in inputs if (name := _called(program, value))), None)
            if named is not None:
                yield Place(operation, f"{named} is {called}", hint)
            elif not inputs and any(matches(program, value) for value in operation.outputs):
                yield Place(operation, f"{operation.name} gives a result that is {called}", hint)

    return look


def _called(program: Program, value: Value) -> str | None:
    """What the user calls a value: ``input 'x'``, ``weight 'head.scale'``; None for what is computed."""
    path = program.path(value)
    if path is not None:
        return f"input {path!r}"
    if value.attribute is not None:
        return f"weight {value.attribute!r}"
    return "a constant" if value.made_by.kind == "prim::Constant" else None


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
            if not any(program.dtype(value) is torch.int64 for value in [*values, *operation.outputs]):
                continue
            for value in values:
                held = _held(program, value, inputs)
                if held is not None:
                    yield Place(operation, f"{_called(program, value) or 'a constant'} holds {held}, beyond int32", _NARROW)
        for (path, tensor), value in zip(expected, program.outputs, strict=False):
            held = _largest(tensor)
            if held is not None:
                yield Place(value.made_by, f"output {path!r} holds {held}, beyond int32", _NARROW)

    yield from in_program(look)(deployment)
    program = deployment.program
    read = [value for operation in program.operations if operation.computes for value in operation.inputs]
    if any(_is_unread(program, value, given) for value in read):
        raise NotJudged(META if deployment.without_weights else UNTRACED)
    if any(program.dtype(value) is torch.int64 for value in program.outputs):
        require(deployment, "eager")


def _is_unread(program: Program, value: Value, given: Mapping[str, torch.Tensor]) -> bool:
    """Whether a value of int64 is an input or a weight of which the numbers are not known."""
    if program.dtype(value) is not torch.int64:
        return False
    path = program.path(value)
    tensor = program.tensor(value) if path is None else given.get(path)
    return tensor.is_meta if tensor is not None else value.made_by.kind in ("prim::Param", "prim::GetAttr")


def _held(program: Program, value: Value, inputs: Mapping[str, int]) -> int | None:
    """What an operand of an operation holds beyond int32, where that is known before it runs."""
    path = program.path(value)
    if path is not None and path in inputs:
        return inputs[path]
    tensor = program.tensor(value)
    if tensor is not None:
        return _largest(tensor)
    number = value.constant
    return number if isinstance(number, int) and _beyond(number) else None
