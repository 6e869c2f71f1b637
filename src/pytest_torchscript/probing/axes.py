"""Which axes of the inputs vary: the named dims, the guessed ones, and for every other axis the reason why it is not probed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from ..cell import Cell
from ..nested import tensors
from ..result import UNPROBED, AxisResult
from ..subject.inputs import Dims, has_axes, is_cache, with_guessed_axes
from ..tracing.conversions import Conversion

__all__ = ["Axes", "accounted", "guessed", "probed_dims"]


Axes = Mapping[str, Mapping[str, AxisResult]]
"""By input path, and by the number of the axis as text."""


def probed_dims(cell: Cell, conversions: Iterable[Conversion]) -> Dims:
    """The dims to probe: those of the cell, and the axes that the inputs' kinds and the trace point to.

    Those are the height and width of images, the depth of volumes, the time of signals whose sizes became Python values,
    and each axis whose size became a whole number or a decision. Nothing is added where the marker has named the axes.
    """
    if cell.spec.dims is not None:
        return cell.dims
    sized = [conversion for conversion in conversions if conversion.origin == "size"]
    convolves = any(isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)) for module in cell.model.modules())
    dims = with_guessed_axes(cell.inputs, cell.dims, convolves=convolves, signals=bool(sized))
    axes = {path: dict(named) for path, named in dims.axes.items()}
    for path, axis in _read_by_python(cell, sized):
        named = axes.get(path, {})
        # The axis before the height holds the channels of an image, which seldom vary.
        if axis not in named and named.get(axis + 1) != "height":
            _name_axis(cell, axes, path, axis)
    return Dims(axes)


def guessed(cell: Cell, dims: Dims) -> set[str]:
    """The dims that were guessed. If eager refuses every other size of one, it is no dim."""
    return set(dims.sizes(cell.inputs)) - set(cell.dims.sizes(cell.inputs))


def _read_by_python(cell: Cell, sized: Iterable[Conversion]) -> list[tuple[str, int]]:
    """Axes whose size the forward takes as a whole number or a decision.

    A float made of the last size is not counted: as a rule, attention scales its scores by that width, which does not vary. In
    a model that convolves over time, the last axis is the time, and counts.
    """
    by_path = {path: tensor for path, tensor in tensors(cell.inputs) if has_axes(tensor)}
    over_time = any(isinstance(module, torch.nn.Conv1d) for module in cell.model.modules())
    found: dict[tuple[str, int], None] = {}
    for conversion in sized:
        if conversion.inside_torch:
            continue
        places = [(path, axis % by_path[path].ndim) for path, axis in conversion.axes if path in by_path]
        if not conversion.axes and isinstance(conversion.value, (int, float)) and conversion.value > 1:
            # The size of something that was computed: it may be that of any axis that is as long.
            places = [
                (path, a) for path, tensor in by_path.items() for a, n in enumerate(tensor.shape) if n == conversion.value
            ]
        for path, axis in places:
            if conversion.kind != "float" or axis != by_path[path].ndim - 1 or over_time:
                found[path, axis] = None
    # What a model keeps from step to step grows along one axis: (batch, past, width), or (batch, heads, past, width).
    found |= {(path, t.ndim - 2): None for path, t in by_path.items() if is_cache(path) and t.ndim in (3, 4)}
    return list(found)


def _as_long(tensor: torch.Tensor, size: float) -> list[int]:
    return [axis for axis, length in enumerate(tensor.shape) if length == size]


def _name_axis(cell: Cell, axes: dict[str, dict[int, str]], path: str, axis: int) -> None:
    """Name one axis, and with it the free axes of other inputs that have its place, its size and its number of axes."""
    by_path = dict(tensors(cell.inputs))
    tensor = by_path[path]
    size = tensor.shape[axis]
    if size < 2 or ("mask" in path and tensor.ndim > 2):
        return
    if is_cache(path) and tensor.ndim in (3, 4, 5):
        name = "past"
    elif axis == tensor.ndim - 1 and tensor.ndim == 3 and tensor.is_floating_point():
        name = "time"
    else:
        name = f"{path}[{axis}]"
    taken = {dim: by_path[p].shape[a] for p, named in axes.items() for a, dim in named.items()}
    if taken.get(name, size) != size:
        name = f"{path}[{axis}]"
    for other, value in by_path.items():
        if has_axes(value) and value.ndim == tensor.ndim and value.shape[axis] == size and value.dtype == tensor.dtype:
            axes.setdefault(other, {}).setdefault(axis, name)


def accounted(cell: Cell, dims: Dims, states: Mapping[str, str], reasons: Mapping[str, str]) -> Axes:
    """The state of every axis of every tensor input, with the reason; ``states`` and ``reasons`` are by dim."""
    found: dict[str, dict[str, AxisResult]] = {}
    for path, tensor in tensors(cell.inputs):
        found[path] = {}
        for axis in range(tensor.ndim):
            dim = dims.axes.get(path, {}).get(axis, "")
            state = states.get(dim, UNPROBED)
            reason = reasons[dim] if dim in reasons else _reason(cell, tensor, axis)
            found[path][str(axis)] = AxisResult(dim=None if state == UNPROBED else dim, state=state, reason=reason)
    return found


def _reason(cell: Cell, tensor: torch.Tensor, axis: int) -> str:
    if not has_axes(tensor):
        return "the rows of a nested or quantised tensor are not repeated"
    if cell.spec.dims is not None:
        return "dims= does not name it"
    if tensor.shape[axis] == 0:
        return "it is empty: there is no entry to repeat, so no other size was tried"
    if tensor.shape[axis] == 1:
        return "it has the size 1, and no name says that it varies: name it in dims= if it does"
    return (
        "nothing says that it varies (no name, no kind of input, no size that the forward reads): name it in dims= if it does"
    )
