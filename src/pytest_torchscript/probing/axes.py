"""Which axes of the inputs vary: the named dims, the guessed ones, and for every other axis the reason why it is not probed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch

from ..cell import Cell
from ..nested import tensors
from ..result import UNPROBED, AxisResult
from ..subject.inputs import BATCH, Dims, has_axes, with_guessed_axes
from ..tracing.conversions import Conversion

__all__ = ["Axes", "accounted", "guessed", "probed_dims", "tied"]

_CACHE = re.compile(r"past|cache|memory|(^|_)(key|value)s?($|_|\d)")


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
        if axis not in axes.get(path, {}):
            _name_axis(cell, axes, path, axis)
    return Dims(axes)


def guessed(cell: Cell, dims: Dims) -> set[str]:
    """The dims that were guessed. If eager refuses every other size of one, it is no dim."""
    return set(dims.sizes(cell.inputs)) - set(cell.dims.sizes(cell.inputs))


def _read_by_python(cell: Cell, sized: Iterable[Conversion]) -> list[tuple[str, int]]:
    """Axes whose size the forward takes as a whole number or a decision.

    A size taken as a float is not counted: as a rule it is the width by which attention scales its scores, which never varies.
    """
    by_path = dict(tensors(cell.inputs))
    found: dict[tuple[str, int], None] = {}
    for conversion in sized:
        for path, axis in conversion.axes:
            if conversion.kind != "float" and not conversion.inside_torch and path in by_path:
                found[path, axis % by_path[path].ndim] = None
    return list(found)


def _name_axis(cell: Cell, axes: dict[str, dict[int, str]], path: str, axis: int) -> None:
    """Name one axis, and with it the free axes of other inputs that have its place, its size and its number of axes."""
    by_path = dict(tensors(cell.inputs))
    tensor = by_path[path]
    size = tensor.shape[axis]
    if size < 2 or ("mask" in path and tensor.ndim > 2):
        return
    if _CACHE.search(path) and tensor.ndim in (3, 4, 5):
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


def tied(cell: Cell, dims: Dims, dim: str) -> Dims | None:
    """The dims with every free axis that has the size of ``dim`` tied to it; None where there is none."""
    size = dims.sizes(cell.inputs)[dim]
    axes = {path: dict(named) for path, named in dims.axes.items()}
    found = False
    for path, tensor in tensors(cell.inputs):
        for axis, length in enumerate(tensor.shape if has_axes(tensor) else ()):
            if length == size and axis not in axes.get(path, {}):
                axes.setdefault(path, {})[axis] = dim
                found = True
    return Dims(axes) if found else None


def accounted(
    cell: Cell, dims: Dims, states: Mapping[str, str], reasons: Mapping[str, str], refused: Mapping[str, str]
) -> Axes:
    """The state of every axis of every tensor input, or the reason why it was not probed.

    ``states`` and ``reasons`` are by dim. ``refused`` holds the guessed dims that eager takes at no other size, with what was
    tried; ``dims`` still holds their axes.
    """
    found: dict[str, dict[str, AxisResult]] = {}
    for path, tensor in tensors(cell.inputs):
        found[path] = {}
        for axis in range(tensor.ndim):
            dim = dims.axes.get(path, {}).get(axis, "")
            if dim in states:
                known = AxisResult(dim=dim, state=states[dim], reason=reasons.get(dim, ""))
            elif dim in refused:
                known = AxisResult(dim=None, state=UNPROBED, reason=refused[dim])
            else:
                known = AxisResult(dim=None, state=UNPROBED, reason=_reason(cell, tensor, axis))
            found[path][str(axis)] = known
    return found


def _reason(cell: Cell, tensor: torch.Tensor, axis: int) -> str:
    if not has_axes(tensor):
        return "the rows of a nested or quantised tensor are not repeated"
    if cell.spec.dims is not None:
        return "dims= does not name it"
    if tensor.shape[axis] == 1:
        return "it has the size 1, and no name says that it varies: name it in dims="
    if axis == 0:
        return f"its size differs from that of the {BATCH}: name it in dims="
    return "taken for features, whose number the model fixes: name it in dims= if it varies"
