"""Two states of one gate, cell by cell: what became worse, better, new or lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..naming import cell_parts
from ..result import DYNAMIC
from .records import UNKNOWN, CellRecord

__all__ = ["Changes", "compare"]

_MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs between two states of one gate: phrases that each begin with the names of cells, where these are known.

    ``worse``: a verdict that was not there, or a dim that was dynamic and is not. ``failing`` and ``passing``: cells
    without a counterpart in the former state. ``fixed``: a verdict that is gone. ``known``: the same failures as before.
    ``better``: a dim that became dynamic. ``lost``: names of cells that have no counterpart now.
    """

    worse: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    passing: tuple[str, ...] = ()
    better: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def compare(recorded: Mapping[str, CellRecord], found: Mapping[str, CellRecord]) -> Changes:
    """Compare two states of one gate, cell by cell. Cells of which the same is to be told share a phrase."""
    told: dict[str, dict[str, list[str]]] = {}
    lost: list[str] = []

    def note(kind: str, cell: str, *phrases: str) -> None:
        if phrases:
            told.setdefault(kind, {}).setdefault("; ".join(phrases), []).append(cell)

    for was, now in _pairs(recorded, found):
        if now is None:
            lost.append(str(was))
            continue
        after = found[now]
        if was is None:
            if after.failures:
                note("failing", now, f"is {_names(after)}")
            else:
                note("passing", now, "passes")
            continue
        before = recorded[was]
        cell = was if now == UNKNOWN else now
        worse = [*_worse_verdict(before, after), *_worse_dims(before, after)]
        if worse:
            note("worse", cell, *worse)
        elif before.failures - after.failures:
            note("fixed", cell, f"was {_names(before)}, {f'is {_names(after)} only' if after.failures else 'passes'} now")
        else:
            note("known", cell, *([f"is {_names(after)}"] if after.failures else []))
            note("better", cell, *(f"{d} was {k}, is dynamic now" for d, k in before.dims.items() if _improved(k, after, d)))
    phrases = {kind: tuple(f"{_few(cells)}{text}" for text, cells in found.items()) for kind, found in told.items()}
    return Changes(**phrases, lost=tuple(lost))


def _few(cells: Sequence[str]) -> str:
    """The first cells, with a colon; of a gate whose cells are unknown there is none to name."""
    if list(cells) == [UNKNOWN]:
        return ""
    more = len(cells) - _MOST_NAMED
    return f"{', '.join(cells[:_MOST_NAMED])}{f' and {more} more cells' if more > 0 else ''}: "


def _names(record: CellRecord) -> str:
    return " and ".join((record.verdict, *record.also))


def _worse_verdict(before: CellRecord, after: CellRecord) -> list[str]:
    new = after.failures - before.failures
    if not new:
        return []
    if before.failures and before.failures < after.failures:
        return [f"was {_names(before)}, is also {' and '.join(sorted(new))} now"]
    return [f"was {_names(before)}, is {_names(after)} now"]


def _worse_dims(before: CellRecord, after: CellRecord) -> list[str]:
    # A check that failed before the shapes were probed is the news; that they were not probed follows.
    unreached = bool(after.failures - before.failures)
    return [
        f"{dim} was dynamic, is {after.dims.get(dim, 'not probed')} now"
        for dim, kind in before.dims.items()
        if kind == DYNAMIC and after.dims.get(dim) != DYNAMIC and (dim in after.dims or not unreached)
    ]


def _improved(kind: str, after: CellRecord, dim: str) -> bool:
    return kind != DYNAMIC and after.dims.get(dim) == DYNAMIC


# Cells that belong together


def _stands_for(general: str, cell: str) -> bool:
    """Whether ``general`` is ``cell`` with sizes or the target unknown: a gate that failed before it knew them."""
    if general == UNKNOWN:
        return True
    (target, *sizes), (other, *others) = cell_parts(general), cell_parts(cell)
    return target == other and all(size is None or size == known for size, known in zip(sizes, others, strict=True))


def _pairs(recorded: Iterable[str], found: Iterable[str]) -> list[tuple[str | None, str | None]]:
    """Which recorded cell each found one is compared with; None for one that has no counterpart.

    Equal names first. What is left pairs where one side is the other without its sizes, so that a model which fails
    before its sizes are known is still compared with what it was.
    """
    left, right = list(recorded), list(found)
    pairs: list[tuple[str | None, str | None]] = [(name, name) for name in right if name in left]
    left, right = [name for name in left if name not in right], [name for name in right if name not in left]
    loose = [(one, other) for other in right for one in left if _stands_for(other, one) or _stands_for(one, other)]
    pairs += loose
    pairs += [(None, name) for name in right if name not in [other for _, other in loose]]
    pairs += [(name, None) for name in left if name not in [one for one, _ in loose]]
    return pairs
