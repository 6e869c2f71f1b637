"""Tensors that become Python values while tracing: where a trace stops following the program.

The tracer warns of most of them. For a cause the value matters too, and what it was computed from; so the methods by
which Python asks a tensor for a value are watched. (A torch-function mode would see them as well, but it changes the
program: ``nn.MultiheadAttention`` takes another path while one is active.)
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from .. import source
from . import private
from .nodes import origin_of, shaped_by_values, value_number

__all__ = ["FUNCTIONS", "METHODS", "Conversion", "origin_of", "value_number", "watching"]


@dataclass(frozen=True)
class Conversion:
    """A tensor that became a Python value while tracing: ``int(x.shape[1])``, ``if x.sum() > 0``, ``x.tolist()``.

    ``after`` is the number of the traced value that was converted, for ordering against the graph's nodes. ``origin`` is
    ``"size"`` or ``"value"``, by what it was computed from, None when from neither. ``thresholds`` are the constants it was
    compared with on the way, ``moduli`` those it was divided by: the numbers around which another branch may lie. ``axes`` are
    the inputs, by name, and their axes whose sizes it was computed from. ``inside_torch`` says that a function of torch's own
    took it, for a test of its arguments for one.
    """

    kind: str
    value: Any
    line: source.Line | None
    after: int
    origin: str | None = None
    thresholds: tuple[float, ...] = ()
    moduli: tuple[float, ...] = ()
    axes: tuple[tuple[str, int], ...] = ()
    inside_torch: bool = False


_item = torch.Tensor.item
"""As it is while nothing is watched: a constant that is read here is no conversion of the model's."""

# The methods by which Python takes a value out of a tensor, and what comes out.
METHODS: Mapping[str, str] = {
    "__bool__": "bool",
    "__int__": "int",
    "__float__": "float",
    "__complex__": "complex",
    "__index__": "int",
    "__len__": "len",
    "__iter__": "iteration",
    "__array__": "numpy",
    "__contains__": "bool",
    "__format__": "text",
    "allclose": "bool",
    "equal": "bool",
    "is_nonzero": "bool",
    "item": "number",
    "tolist": "list",
    "numpy": "numpy",
}
# The functions that do, which never ask the tensor's class.
FUNCTIONS = ("allclose", "equal", "is_nonzero")


@contextmanager
def watching() -> Iterator[list[Conversion]]:
    """Collect the conversions of traced tensors in the block; ``torch`` and its ``Tensor`` are as before afterwards."""
    found: list[Conversion] = []
    own = vars(torch.Tensor)
    before = {name: own[name] for name in (*METHODS, "data") if name in own}
    functions = {name: getattr(torch, name) for name in FUNCTIONS}
    watched = {name: _watched(function, "bool", found) for name, function in functions.items()}
    try:
        for name, kind in METHODS.items():
            setattr(torch.Tensor, name, _watched(getattr(torch.Tensor, name), kind, found))
        torch.Tensor.data = _watched_data(torch.Tensor.data, found)  # type: ignore[assignment]
        vars(torch).update(watched)
        with private.scripted_as({watched[name]: functions[name] for name in FUNCTIONS}):
            yield found
    finally:
        vars(torch).update(functions)
        for name in (*METHODS, "data"):
            if name in before:
                setattr(torch.Tensor, name, before[name])
            else:
                delattr(torch.Tensor, name)


def _watched(method: Callable[..., Any], kind: str, found: list[Conversion]) -> Callable[..., Any]:
    def convert(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        operands = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        _note(kind, operands, result, found)
        return result

    return convert


def _watched_data(data: Any, found: list[Conversion]) -> property:
    def get(tensor: torch.Tensor) -> torch.Tensor:
        result = data.__get__(tensor, type(tensor))
        _note("data", [tensor], result, found)
        assert isinstance(result, torch.Tensor)
        return result

    return property(get, lambda tensor, value: data.__set__(tensor, value))


def _note(kind: str, operands: Sequence[torch.Tensor], result: Any, found: list[Conversion]) -> None:
    if not private.is_tracing():
        return
    value: Any = result
    if isinstance(value, torch.Tensor):
        value = "tensor"
    elif not isinstance(value, (bool, int, float, complex)):
        value = repr(value)[:80] if kind in ("list", "text") else type(value).__name__
    frame = sys._getframe(2)
    line = source.innermost(source.frames(frame))
    # Weights are the same in every run. The trace is not asked for what may be one: a tensor that requires grad and is no
    # parameter of the model can be no constant either, and torch's error leaves a trace behind of which the process dies.
    traced = [private.value_trace(tensor) for tensor in operands if not _is_weight(tensor)]
    origin, thresholds, moduli, axes = _origin(traced)
    after = max(map(value_number, traced), default=-1)
    inside = frame.f_code.co_filename.startswith(_TORCH)
    found.append(Conversion(kind, value, line, after, origin, thresholds, moduli, axes, inside))


_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep


def _is_weight(tensor: torch.Tensor) -> bool:
    return tensor.requires_grad and tensor.is_leaf


_COMPARISONS = frozenset({"aten::gt", "aten::ge", "aten::lt", "aten::le", "aten::eq", "aten::ne"})
_DIVISIONS = frozenset({"aten::remainder", "aten::fmod", "aten::floor_divide", "aten::div", "aten::mul"})
_SIZES = frozenset({"aten::size", "aten::numel"})
_MOST_VALUES = 200
"""Values of a graph that are looked at for the origin of one."""


def _number_of(value: Any) -> float | None:
    value = origin_of(value)
    constant = value.toIValue()
    if isinstance(constant, torch.Tensor):
        # Its own sizes would be traced, and compared by a method that is watched.
        sizes = value.type().sizes()
        if sizes is None or math.prod(sizes) != 1 or constant.is_meta or constant.is_complex():
            return None
        constant = _item(constant)
    # Minus infinity is a common thing to look for in a mask, and no number to try values around.
    return float(constant) if isinstance(constant, (int, float)) and math.isfinite(constant) else None


def _size_of(node: Any) -> Iterator[tuple[str, int]]:
    """The input and the axis whose size a node reads, if it reads one of an input itself."""
    tensor, *axis = node.inputs()
    owner = origin_of(tensor)
    if owner.node().kind() == "prim::Param" and axis:
        number = _number_of(axis[0])
        if number is not None:
            yield owner.debugName().partition(".")[0], int(number)


_Axes = tuple[tuple[str, int], ...]


def _origin(values: Sequence[Any]) -> tuple[str | None, tuple[float, ...], tuple[float, ...], _Axes]:
    """What traced values were computed from, the constants they met on the way, and the axes whose sizes they hold.

    What is not known after many values counts as a value: it asks for more probes, where a size asks for others.
    """
    thresholds: list[float] = []
    moduli: list[float] = []
    axes: dict[tuple[str, int], None] = {}
    seen: set[str] = set()
    pending = list(values)
    sized = valued = False
    while pending:
        current = pending.pop()
        if current.debugName() in seen:
            continue
        if len(seen) == _MOST_VALUES:
            valued = True
            break
        seen.add(current.debugName())
        node = current.node()
        kind = node.kind()
        if kind in _SIZES:
            by_values = shaped_by_values(next(iter(node.inputs())))
            sized, valued = sized or not by_values, valued or by_values
            axes.update(dict.fromkeys(_size_of(node)))
            continue
        if kind == "prim::Param":
            valued = True
            continue
        inputs = list(node.inputs())
        if kind in _COMPARISONS or kind in _DIVISIONS:
            into = thresholds if kind in _COMPARISONS else moduli
            into.extend(number for number in map(_number_of, inputs[:2]) if number is not None)
        pending.extend(inputs)
    return ("value" if valued else "size" if sized else None), tuple(thresholds), tuple(moduli), tuple(axes)
