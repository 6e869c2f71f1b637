"""Axes that have to change together with a dim, where eager refuses the dim alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from ..cell import Cell
from ..nested import tensors
from ..subject.inputs import Dims, has_axes

__all__ = ["Related", "Relation", "related"]

_LARGEST_OFFSET = 8


@dataclass(frozen=True)
class Relation:
    """A dim whose size follows from that of another one: ``past+1`` is that of ``past`` and 1, ``n*n`` its square."""

    name: str
    of: str
    offset: int = 0
    power: int = 1

    def size(self, of: int) -> int:
        """The size that goes with the size ``of`` of the other dim."""
        return int(of**self.power) + self.offset


@dataclass(frozen=True)
class Related:
    """The dims with more axes, the relations between them, and what was assumed, in words."""

    dims: Dims
    relations: tuple[Relation, ...]
    why: str


def related(cell: Cell, dims: Dims, dim: str, guessed: set[str]) -> Iterator[Related]:
    """Ways to change other axes together with ``dim``, the most likely first.

    Axes that were only ``guessed`` to be another dim may be taken, those that have a name may not.
    """
    size = dims.sizes(cell.inputs)[dim]
    free = list(_free(cell, dims, guessed - {dim}))
    same = [(path, axis) for path, axis, length in free if length == size]
    if same:
        yield Related(_with(dims, same, dim), (), f"other axes have the size of {dim}")
    moved = list(_moved(cell, dims, dim, size))
    if moved:
        yield Related(_without(_with(dims, [(path, axis) for path, _, axis in moved], dim), moved), (), f"{dim} lies elsewhere")
    by_path = dict(tensors(cell.inputs))
    apart = [entry for entry in free if dim not in dims.axes.get(entry[0], {}).values()]
    for group in ([entry for entry in apart if _is_index(entry[0], by_path[entry[0]])], apart):
        following = [(path, axis, relation) for path, axis, length in group if (relation := _relation(dim, size, length))]
        if not following:
            continue
        axes = {path: dict(named) for path, named in dims.axes.items()}
        for path, axis, relation in following:
            axes.setdefault(path, {})[axis] = relation.name
        relations = tuple(dict.fromkeys(relation for _, _, relation in following))
        yield Related(Dims(axes), relations, f"the sizes of other axes follow from {dim}")


def _is_index(path: str, tensor: torch.Tensor) -> bool:
    """Whether an input counts or masks the positions of others: such sizes follow from theirs."""
    return "mask" in path or not tensor.is_floating_point()


def _free(cell: Cell, dims: Dims, guessed: set[str]) -> Iterator[tuple[str, int, int]]:
    """Path, axis and size of every axis that no name, or only a guess, takes."""
    for path, tensor in tensors(cell.inputs):
        if has_axes(tensor):
            for axis, length in enumerate(tensor.shape):
                if dims.axes.get(path, {}).get(axis) in (None, *guessed):
                    yield path, axis, length


def _moved(cell: Cell, dims: Dims, dim: str, size: int) -> Iterator[tuple[str, int, int]]:
    """Inputs after the first in which another axis may be the dim: the states of an LSTM have their layers in front."""
    for index, (path, tensor) in enumerate(tensors(cell.inputs)):
        axes = dims.axes.get(path, {})
        here = [axis for axis, name in axes.items() if name == dim]
        if not index or len(here) != 1 or not has_axes(tensor) or tensor.ndim < 3:
            continue
        others = [axis for axis, length in enumerate(tensor.shape) if length == size and axis not in axes]
        if others:
            yield path, here[0], others[0]


def _relation(dim: str, size: int, length: int) -> Relation | None:
    """How a size follows from another one, if it can."""
    if size < 2 or length == size:
        return None
    if length == size * size:
        return Relation(f"{dim}*{dim}", dim, power=2)
    if 0 < abs(length - size) <= _LARGEST_OFFSET:
        return Relation(f"{dim}{length - size:+d}", dim, offset=length - size)
    return None


def _with(dims: Dims, places: list[tuple[str, int]], dim: str) -> Dims:
    axes = {path: dict(named) for path, named in dims.axes.items()}
    for path, axis in places:
        axes.setdefault(path, {})[axis] = dim
    return Dims(axes)


def _without(dims: Dims, moved: list[tuple[str, int, int]]) -> Dims:
    axes: dict[str, Mapping[int, str]] = dict(dims.axes)
    for path, before, _ in moved:
        axes[path] = {axis: name for axis, name in axes[path].items() if axis != before}
    return Dims(axes)
