"""Which sizes of a dim to try, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ..subject.inputs import BATCH
from ..tracing.conversions import Conversion

__all__ = ["directed", "grid"]

# The largest probe beyond the usual grid, when the forward compares a size with a constant: as a size, and for batches.
_FARTHEST = 2048
_FARTHEST_BATCH = 64
_MOST_DIRECTED = 10
_FAR_SIZES = (64, 128, 256, 512)
_FAR_BATCHES = (8, 16)
# Far sizes are for small inputs: so many positions in all, a batch of 2 at length 256 for one.
_DEAREST = 600


def grid(size: int, limit: int | None = None) -> list[int]:
    """The sizes to probe around a traced one: smaller, larger, one, odd, and even where the traced size is odd.

    At 16: 7, 33, 1. At 2: 1, 5, 3. Never the traced size, never beyond ``limit``.
    """
    smaller = size // 2 - 1 if size >= 4 else size - 1
    smaller -= 1 - smaller % 2 if smaller > 1 else 0
    larger = 2 * size + 1
    if limit is not None and larger > limit:
        larger = limit if (limit - size) < 2 or limit % 2 else limit - 1
    sizes = [smaller, larger, 1]
    if size <= 4 or size % 2:
        sizes.append(size + 1)
    if size > 6:
        sizes.append(size - 2 if size % 2 == 0 else size - 1)
    return [s for s in dict.fromkeys(sizes) if s >= 1 and s != size and (limit is None or s <= limit)]


def directed(
    dim: str,
    sizes: Mapping[str, int],
    conversions: Iterable[Conversion],
    *,
    limit: int | None,
    least: int,
    tried: Iterable[int],
) -> list[int]:
    """Sizes of ``dim`` on the other side of every number that the forward compares a size with, as the trace shows them.

    ``sizes`` holds the traced size of each dim; nothing below ``least`` or among ``tried`` is given.
    """
    size = sizes[dim]
    farthest = min(limit or _FARTHEST, _FARTHEST_BATCH if dim == BATCH else max(_FARTHEST, 2 * size))
    wanted: list[float] = []
    for conversion in conversions:
        if conversion.origin == "size":
            wanted += _around(conversion, size)
            if conversion.kind != "bool":
                # A size that became a number can meet a table or a power of two anywhere: a few sizes far off.
                far = _FAR_BATCHES if dim == BATCH else _FAR_SIZES
                others = math.prod(sizes.values()) // size
                wanted += [other for other in far if other > 2 * size + 1 and other * others <= _DEAREST]
    known = {size, *tried}
    chosen = dict.fromkeys(int(other) for other in wanted)
    return [other for other in chosen if least <= other <= farthest and other not in known][:_MOST_DIRECTED]


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
