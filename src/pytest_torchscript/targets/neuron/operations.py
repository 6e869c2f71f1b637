"""Rules about single operations of the traced program."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping

import torch

from ..tools import Operation, Program, Value
from .lint import Place

__all__ = ["INTEGERS", "data_dependent", "integer_scatter_reduce", "operations"]

INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)


def operations(
    kinds: str, message: str, hint: str, dtypes: Collection[torch.dtype] | None = None
) -> Callable[[Program], Iterator[Place]]:
    """Operations whose kind matches; where ``dtypes`` are given, those alone whose first result has one of them."""

    def look(program: Program) -> Iterator[Place]:
        """Operations of some kinds."""
        for operation in program.operations:
            if re.fullmatch(kinds, operation.kind) and (dtypes is None or operation.outputs[0].dtype in dtypes):
                yield Place(operation, message.format(operation.name), hint)

    return look


_ALL_POSITIONS = "keep every position and its mask: torch.where(mask, x, y) with three arguments, or a product with the mask"
_OUTSIDE = "leave unique to the code before or after the model"
_OUTSIDE_TOO = "leave it to the code before or after the model"
_DATA_DEPENDENT: Mapping[str, tuple[str, str]] = {
    "nonzero": ("nonzero", _ALL_POSITIONS),
    "nonzero_numpy": ("nonzero", _ALL_POSITIONS),
    "argwhere": ("argwhere", _ALL_POSITIONS),
    "masked_select": ("masked_select", _ALL_POSITIONS),
    "_unique": ("unique", _OUTSIDE),
    "_unique2": ("unique", _OUTSIDE),
    "unique_dim": ("unique", _OUTSIDE),
    "unique_consecutive": ("unique_consecutive", _OUTSIDE_TOO),
    "unique_dim_consecutive": ("unique_consecutive", _OUTSIDE_TOO),
    "bincount": ("bincount", "count with one_hot(x, num_classes).sum(0), whose size is given"),
}
_INDEXING = ("index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_")


def data_dependent(program: Program) -> Iterator[Place]:
    """Operations whose result has a shape that values decide."""
    for operation in program.operations:
        found = _depends_on_values(program, operation)
        if found is not None:
            yield Place(operation, *found)


def _depends_on_values(program: Program, operation: Operation) -> tuple[str, str] | None:
    """Why the shape of an operation's result depends on values, and the remedy; None where it does not."""
    name, inputs = operation.kind.removeprefix("aten::"), operation.inputs
    if name in _DATA_DEPENDENT:
        called, hint = _DATA_DEPENDENT[name]
        return f"the shape of what {called} gives depends on values", hint
    if name == "where" and len(inputs) == 1:
        return "where with one argument gives a shape that depends on values", _ALL_POSITIONS
    if name in _INDEXING and any(program.dtype(index) in (torch.bool, torch.uint8) for index in inputs[1].made_by.inputs):
        writes = "write with masked_fill(mask, value) or torch.where(mask, values, x)"
        message = "an index by a boolean mask becomes nonzero, whose shape depends on values"
        return message, writes if "put" in name else _ALL_POSITIONS
    # repeat_interleave takes (repeats, output_size), or (x, repeats, dim, output_size).
    if name == "repeat_interleave" and inputs[-1].is_none and not _comes_from_sizes(inputs[len(inputs) > 2]):
        hint = "give the number of repeats as an int, or repeat before the model"
        return "repeat_interleave by values gives a shape that depends on them", hint
    if name == "one_hot" and inputs[1].constant == -1:
        return "one_hot without num_classes gives a shape that depends on values", "say how many: one_hot(x, num_classes)"
    return None


def _comes_from_sizes(value: Value) -> bool:
    """Whether a value comes from sizes and constants alone, as a number does that Python computed."""
    seen: set[str] = set()
    left = [value]
    while left:
        value = left.pop()
        if value.name in seen:
            continue
        seen.add(value.name)
        operation = value.made_by
        if operation.kind in ("prim::Param", "prim::GetAttr"):
            return False
        if operation.kind != "aten::size":
            left += operation.inputs
    return True


def integer_scatter_reduce(program: Program) -> Iterator[Place]:
    """Scatters that combine integers or booleans: with a reduction, added, or accumulated."""
    for operation in program.operations:
        called = _combining(operation)
        if called and operation.outputs[0].dtype in INTEGERS:
            yield Place(operation, f"{called} combines integers or booleans", "scatter floats: x.float(), source.float()")


def _combining(operation: Operation) -> str | None:
    """What a scatter is called that combines what meets in one place; None for any other operation."""
    name = operation.name.removesuffix("_")
    if not operation.kind.startswith("aten::"):
        return None
    if name in ("scatter_reduce", "scatter_add", "index_add", "index_reduce"):
        return name
    if name == "scatter" and len(operation.inputs) == 5:
        return "scatter with reduce="
    if name in ("index_put", "index_put_impl") and operation.inputs[3].constant is True:
        return "index_put with accumulate=True"
    return None
