"""Which sizes of a dim to try, in which order, and which of them in one probe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..subject.inputs import BATCH, Dims
from ..tracing.conversions import Conversion

__all__ = ["LADDER", "about", "affordable", "directed", "grid", "ladder", "pairs", "rounds", "sizes_of"]

# The largest size that is tried where the forward compares a size with a constant: of any dim, and of the batch.
_FARTHEST = 2048
_FARTHEST_BATCH = 64
_MOST_DIRECTED = 6
_FAR = 128
_MOST_COST = 6.0
"""A probe costs at most this multiple of the traced call, by the number of positions."""
_SMALL, _SMALL_ALONE = 600, 2048
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
    smaller = size // 2 - 1 if size >= 4 else size - 1
    return smaller - (1 - smaller % 2 if smaller > 1 else 0)


def _larger(size: int, limit: int | None) -> int:
    """About the double, and odd: at 16 it is 33."""
    larger = 2 * size + 1
    if limit is not None and larger > limit:
        larger = limit if (limit - size) < 2 or limit % 2 else limit - 1
    return larger


def _fitting(sizes: Iterable[int], size: int, limit: int | None) -> list[int]:
    return [s for s in dict.fromkeys(sizes) if s >= 1 and s != size and (limit is None or s <= limit)]


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
    dim: str, sizes: Mapping[str, int], conversions: Sequence[Conversion], *, limit: int | None, thorough: bool = False
) -> list[int]:
    """The sizes of ``dim`` to try, those that find most first; ``conversions`` are those :func:`about` it."""
    size = sizes[dim]
    if thorough:
        wanted = [*grid(size, limit), 2 * size, size // 2, *directed(dim, sizes, conversions, limit=limit)]
    elif not conversions:
        wanted = [_larger(size, limit), _smaller(size)]
    else:
        wanted = [_larger(size, limit), _smaller(size), 1, *directed(dim, sizes, conversions, limit=limit)]
    return _fitting(wanted, size, limit)


def directed(dim: str, sizes: Mapping[str, int], conversions: Iterable[Conversion], *, limit: int | None) -> list[int]:
    """Sizes of ``dim`` on both sides of every number that the forward compares a size with, as the trace shows them."""
    size = sizes[dim]
    farthest = min(limit or _FARTHEST, _FARTHEST_BATCH if dim == BATCH else max(_FARTHEST, 2 * size))
    wanted: list[float] = []
    far: list[int] = []
    for conversion in conversions:
        if conversion.inside_torch:
            continue
        wanted += _around(conversion, size)
        if conversion.kind != "bool" and dim != BATCH and not far:
            # A size that became a number may be compared with a distant one, as a table's length: one distant size is tried.
            others = math.prod(sizes.values()) // size
            far = [_FAR] if 2 * size + 1 < _FAR and _FAR * others <= _SMALL else []
    chosen = dict.fromkeys(int(other) for other in wanted)
    fitting = [other for other in chosen if 1 <= other <= farthest and other != size]
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


def affordable(sizes: Mapping[str, int], traced: Mapping[str, int]) -> bool:
    """Whether a probe costs little enough, by its number of positions (a batch of 2 at length 256 has 512)."""
    positions = math.prod(sizes.get(dim, size) for dim, size in traced.items())
    return positions <= max(_SMALL_ALONE if len(sizes) == 1 else _SMALL, _MOST_COST * math.prod(traced.values()))


def rounds(wanted: Mapping[str, Sequence[int]], traced: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """The sizes of each joint probe: every dim at its next size with which the probe is affordable.

    Where a larger size would cost too much beside those of other dims, a later and smaller one comes first. A size that costs
    too much by itself is left out.
    """
    pending = {dim: [size for size in sizes if affordable({dim: size}, traced)] for dim, sizes in wanted.items()}
    while any(pending.values()):
        chosen: dict[str, int] = {}
        for dim in sorted((dim for dim in pending if pending[dim]), key=lambda dim: -pending[dim][0] / traced[dim]):
            fitting = [size for size in pending[dim] if not chosen or affordable({**chosen, dim: size}, traced)]
            if fitting:
                chosen[dim] = fitting[0]
                pending[dim].remove(fitting[0])
        yield chosen
