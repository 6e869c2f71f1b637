"""Which sizes of a dim to try, in which order, and which of them in one probe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..nested import tensors
from ..subject.inputs import BATCH, Dims, has_axes
from ..tracing.conversions import Conversion

__all__ = ["LADDER", "Price", "about", "alone", "directed", "grid", "ladder", "pairs", "rounds", "sizes_of"]

# The largest size that is tried where the forward compares a size with a constant: of any dim, and of the batch.
_FARTHEST = 2048
_FARTHEST_BATCH = 64
_MOST_DIRECTED = 6
_FAR = 128
_MOST_COST = 6.0
"""A probe costs at most this multiple of the traced call, by the number of positions."""
_SMALL, _SMALL_ALONE = 600, 4096
"""A probe of at most so many positions is always affordable: a joint one, and one of a single dim."""

LADDER = ((2, 1), (1, 2), (3, 2), (4, 1), (1, 4), (3, 1))
"""Multiples of the traced size, for a dim that is refused at other sizes: models with blocks or patches accept those."""


def grid(size: int, limit: int | None = None) -> list[int]:
    """The sizes to probe around a traced one: a smaller, a larger, 1, odd ones, and an even one where the traced size is odd.

    At 16: 7, 33, 1. At 2: 1, 5, 3. Never the traced size, never beyond ``limit``.
    """
    sizes = [_smaller(size), _larger(size, limit), 1]
    if size <= 4 or size % 2:
        sizes.append(size + 1)
    if size > 6:
        sizes.append(size - 2 if size % 2 == 0 else size - 1)
    return _fitting(sizes, size, limit)


def _smaller(size: int) -> int:
    """About a half, and odd: at 16 it is 7."""
    smaller = size // 2 - 1 if size >= 4 else max(size - 1, 1)
    return smaller - (1 - smaller % 2 if smaller > 1 else 0)


def _larger(size: int, limit: int | None) -> int:
    """About the double, and odd: at 16 it is 33."""
    larger = 2 * size + 1
    if limit is not None and larger > limit:
        larger = limit if (limit - size) < 2 or limit % 2 else limit - 1
    return larger


def _fitting(sizes: Iterable[int], size: int, limit: int | None, *, least: int = 1) -> list[int]:
    return [s for s in dict.fromkeys(sizes) if s >= least and s != size and (limit is None or s <= limit)]


def about(conversions: Iterable[Conversion], dims: Dims, dim: str) -> list[Conversion]:
    """The conversions that may concern the size of ``dim``.

    Those are the ones whose axes belong to the dim, or are unknown. Where a function of torch decides by a size to test its own
    arguments, as a group norm does, the decision concerns no dim.
    """
    mine = {(path, axis) for path, axes in dims.axes.items() for axis, name in axes.items() if name == dim}
    return [
        conversion
        for conversion in conversions
        if conversion.origin == "size"
        and not (conversion.inside_torch and conversion.kind == "bool")
        and (not conversion.axes or mine & _positive(conversion, dims))
    ]


def _positive(conversion: Conversion, dims: Dims) -> set[tuple[str, int]]:
    """The axes of a conversion. An axis that is counted from the end stands for every named axis of its input."""
    found = set(conversion.axes)
    for path, axis in conversion.axes:
        if axis < 0:
            found |= {(path, other) for other in dims.axes.get(path, {})}
    return found


def sizes_of(
    dim: str,
    sizes: Mapping[str, int],
    conversions: Sequence[Conversion],
    *,
    limit: int | None,
    thorough: bool = False,
    doubled: bool = False,
) -> list[int]:
    """The sizes of ``dim`` to try, those that find most first; ``conversions`` are those :func:`about` it.

    With ``doubled`` that is twice the traced size alone: inputs repeated as a whole keep their largest, least and mean value,
    so that a forward that decides by values goes the same way whatever the values are.
    """
    size = sizes[dim]
    if doubled:
        wanted = [2 * size]
    elif thorough:
        wanted = [*grid(size, limit), 2 * size, size // 2, *directed(dim, sizes, conversions, limit=limit)]
    elif not conversions:
        wanted = [_larger(size, limit), _smaller(size)]
    else:
        wanted = [_larger(size, limit), _smaller(size), 1, *directed(dim, sizes, conversions, limit=limit)]
    return _fitting(wanted, size, limit, least=0 if dim == BATCH else 1)


def directed(dim: str, sizes: Mapping[str, int], conversions: Iterable[Conversion], *, limit: int | None) -> list[int]:
    """Sizes of ``dim`` on both sides of every number that the forward compares a size with, as the trace shows them."""
    size = sizes[dim]
    farthest = min(limit or _FARTHEST, _FARTHEST_BATCH if dim == BATCH else max(_FARTHEST, 2 * size))
    wanted: list[float] = []
    far: list[int] = []
    least = 1
    for conversion in conversions:
        if conversion.inside_torch:
            continue
        if dim == BATCH and 0.0 in conversion.thresholds:
            # The forward asks whether the batch is empty.
            least = 0
        wanted += _around(conversion, size)
        others = math.prod(sizes.values()) // size
        if len(conversion.axes) > 1 and others > 1:
            # A product of sizes is compared, so the threshold is divided by the other sizes.
            wanted += [math.ceil(number / others) + 1 for number in conversion.thresholds]
        if conversion.kind != "bool" and dim != BATCH and not far:
            # A size that became a number may be compared with a distant one, as a table's length: one distant size is tried.
            others = math.prod(sizes.values()) // size
            far = [_FAR] if 2 * size + 1 < _FAR and _FAR * others <= _SMALL else []
    chosen = dict.fromkeys(int(other) for other in wanted)
    fitting = [other for other in chosen if least <= other <= farthest and other != size]
    return [*fitting[:_MOST_DIRECTED], *(other for other in far if other <= farthest)]


def _around(conversion: Conversion, size: int) -> list[float]:
    """Sizes at and beside the thresholds of one conversion, and multiples of what it divides by."""
    factors = [1.0, *(abs(number) for number in conversion.moduli if number)]
    wanted: list[float] = []
    for number in conversion.thresholds:
        for factor in factors:
            wanted += [number * factor + 1, number * factor, number * factor - 1, (number + 1) * factor]
    for number in conversion.moduli:
        if number >= 2:
            multiple = (size // number + 1) * number
            wanted += [multiple, multiple + 1]
    return wanted


def ladder(size: int, conversions: Iterable[Conversion], limit: int | None) -> list[int]:
    """Sizes for a dim that was refused: multiples of the traced size, and of what the forward divides by."""
    wanted = [size * up // down for up, down in LADDER if size * up % down == 0]
    for conversion in conversions:
        for number in conversion.moduli:
            if number >= 2 and number == int(number):
                wanted += [size + int(number), size - int(number)]
    return _fitting(wanted, size, limit)


def pairs(first: int, second: int) -> Iterator[tuple[int, int, str]]:
    """Other sizes of two dims that are refused alone, with the reason: the same shape, and then the same area."""
    yield 2 * first, 2 * second, "both doubled"
    if first % 2 == 0 and second % 2 == 0:
        yield first // 2, second // 2, "both halved"
    if first % 2 == 0:
        yield first // 2, second * 2, "the same area"
    if second % 2 == 0:
        yield first * 2, second // 2, "the same area"


class Price:
    """What a probe costs, by the number of positions of its largest input (a batch of 2 at length 256 has 512)."""

    def __init__(self, dims: Dims, inputs: Mapping[str, Any]) -> None:
        shapes = {path: tensor.shape for path, tensor in tensors(inputs) if has_axes(tensor)}
        self._inputs = [
            [(dims.axes[path].get(axis), size) for axis, size in enumerate(shape) if axis in dims.axes[path]]
            for path, shape in shapes.items()
            if path in dims.axes
        ]

    def positions(self, sizes: Mapping[str, int]) -> int:
        """The positions of the largest input at these sizes."""
        return max((math.prod(sizes.get(str(dim), size) for dim, size in axes) for axes in self._inputs), default=1)

    def affordable(self, sizes: Mapping[str, int]) -> bool:
        """Whether a probe costs little enough."""
        most = _SMALL_ALONE if sum(size > 1 for size in sizes.values()) <= 1 else _SMALL
        return self.positions(sizes) <= max(most, _MOST_COST * self.positions({}))


def alone(dim: str, size: int, traced: Mapping[str, int], price: Price) -> dict[str, int]:
    """The sizes of a probe of one dim: one that costs too much gets a batch of 1; empty where it still does."""
    if price.affordable({dim: size}):
        return {dim: size}
    if dim != BATCH and BATCH in traced and price.affordable({dim: size, BATCH: 1}):
        return {dim: size, BATCH: 1}
    return {}


def rounds(wanted: Mapping[str, Sequence[int]], traced: Mapping[str, int], price: Price) -> Iterator[dict[str, int]]:
    """The sizes of each joint probe: every dim at its next size with which the probe is affordable.

    Where a larger size would cost too much beside those of other dims, a later and smaller one comes first. A size that costs
    too much by itself gets a batch of 1, or is left out.
    """
    pending = {dim: [size for size in sizes if price.affordable({dim: size})] for dim, sizes in wanted.items()}
    while any(pending.values()):
        chosen: dict[str, int] = {}
        for dim in sorted((dim for dim in pending if pending[dim]), key=lambda dim: -pending[dim][0] / traced[dim]):
            fitting = [size for size in pending[dim] if not chosen or price.affordable({**chosen, dim: size})]
            if fitting:
                chosen[dim] = fitting[0]
                pending[dim].remove(fitting[0])
        yield chosen
    for dim, sizes in wanted.items():
        yield from (given for size in sizes if len(given := alone(dim, size, traced, price)) > 1)
