"""Tensors that become Python values while tracing: where a trace stops following the program.

The tracer warns of most of them. For a cause the value matters too, and what it was computed from; so the methods by
which Python asks a tensor for a value are watched. (A torch-function mode would see them as well, but it changes the
program: ``nn.MultiheadAttention`` takes another path while one is active.)
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from .. import source

__all__ = ["METHODS", "Conversion", "origin_of", "value_number", "watching"]


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


# The methods by which Python takes a value out of a tensor, and what comes out.
METHODS = {
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
    "item": "number",
    "tolist": "list",
    "numpy": "numpy",
}


@contextmanager
def watching() -> Iterator[list[Conversion]]:
    """Collect the conversions of traced tensors in the block; ``torch.Tensor`` is as before afterwards."""
    found: list[Conversion] = []
    own = vars(torch.Tensor)
    before = {name: own[name] for name in (*METHODS, "data") if name in own}
    try:
        for name, kind in METHODS.items():
            setattr(torch.Tensor, name, _watched(getattr(torch.Tensor, name), kind, found))
        torch.Tensor.data = _watched_data(torch._C.TensorBase.data, found)  # type: ignore[assignment]
        yield found
    finally:
        for name in (*METHODS, "data"):
            if name in before:
                setattr(torch.Tensor, name, before[name])
            else:
                delattr(torch.Tensor, name)


def _watched(method: Callable[..., Any], kind: str, found: list[Conversion]) -> Callable[..., Any]:
    def convert(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        result = method(tensor, *args, **kwargs)
        _note(kind, tensor, result, found)
        return result

    return convert


def _watched_data(data: Any, found: list[Conversion]) -> property:
    def get(tensor: torch.Tensor) -> torch.Tensor:
        result = data.__get__(tensor, type(tensor))
        _note("data", tensor, result, found)
        assert isinstance(result, torch.Tensor)
        return result

    return property(get, lambda tensor, value: data.__set__(tensor, value))


def _note(kind: str, tensor: torch.Tensor, result: Any, found: list[Conversion]) -> None:
    if torch._C._get_tracing_state() is None or not torch._C._is_tracing():
        return
    value: Any = result
    if isinstance(value, torch.Tensor):
        value = "tensor"
    elif not isinstance(value, (bool, int, float, complex)):
        value = repr(value)[:80] if kind in ("list", "text") else type(value).__name__
    frame = sys._getframe(2)
    line = source.innermost(source.frames(frame))
    traced = torch._C._get_value_trace(tensor)  # type: ignore[attr-defined]
    origin, thresholds, moduli, axes = _origin(traced)
    inside = frame.f_code.co_filename.startswith(_TORCH)
    found.append(Conversion(kind, value, line, value_number(traced), origin, thresholds, moduli, axes, inside))


_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep


def value_number(value: Any) -> int:
    """The number torch gave a traced value; it grows in the order of tracing. -1 for a value with a name."""
    name = value.debugName().rsplit(".", 1)[-1]
    return int(name) if name.isdigit() else -1


_COMPARISONS = {"aten::gt", "aten::ge", "aten::lt", "aten::le", "aten::eq", "aten::ne"}
_DIVISIONS = {"aten::remainder", "aten::fmod", "aten::floor_divide", "aten::div", "aten::mul"}


# Operations whose result is, or shares the memory of, their first argument.
_ALIASES = {"aten::lift_fresh", "aten::detach", "aten::alias", "aten::view", "aten::slice", "aten::select", "aten::to"}


def origin_of(value: Any) -> Any:
    """The traced value that ``value`` is another name, or a view, of."""
    while value.node().kind() in _ALIASES:
        value = next(iter(value.node().inputs()))
    return value


def _number_of(value: Any) -> float | None:
    node = origin_of(value).node()
    if node.kind() != "prim::Constant" or "value" not in node.attributeNames():
        return None
    constant = node.output().toIValue()
    if isinstance(constant, torch.Tensor):
        if constant.numel() != 1 or constant.is_meta or constant.is_complex():
            return None
        constant = constant.item()
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


def _origin(
    value: Any,
) -> tuple[str | None, tuple[float, ...], tuple[float, ...], tuple[tuple[str, int], ...]]:
    """What a traced value was computed from, the constants it met on the way, and the axes whose sizes it holds."""
    axes: dict[tuple[str, int], None] = {}
    thresholds: list[float] = []
    moduli: list[float] = []
    seen: set[str] = set()
    pending = [value]
    sized = valued = False
    while pending and len(seen) < 200:
        current = pending.pop()
        if current.debugName() in seen:
            continue
        seen.add(current.debugName())
        node = current.node()
        kind = node.kind()
        if kind == "aten::size":
            sized = True
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
