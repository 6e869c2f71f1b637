"""What the probes of one cell found, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..result import ProbeResult
from ..subject.inputs import Dims
from .axes import Axes
from .run import Probe, classify

__all__ = ["Explored", "Factor", "state_of", "tried", "worded"]


@dataclass(frozen=True)
class Factor:
    """A probe that disagrees: what was changed, in words, the inputs, the outcome, and the sizes that were changed."""

    changed: str
    inputs: Mapping[str, Any]
    probe: Probe
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Explored:
    """What the probes of one cell found.

    ``failing`` are values for which the trace is wrong, or refuses what eager accepts; ``equal`` and ``outside`` count the
    other values. ``probes`` holds, by dim, the probe of each size, ``inputs`` what was given to those that disagree.
    ``together`` are sizes that disagree only together. ``overwritten`` holds, by the path of an input, the first probe in which
    eager wrote to it. ``of_values`` are dims that are wrong by the values of their probes. ``axes`` holds the state of
    every axis, ``records`` every probe.
    """

    failing: tuple[Factor, ...] = ()
    notes: tuple[str, ...] = ()
    equal: int = 0
    outside: int = 0
    dims: Dims = field(default_factory=Dims)
    sizes: Mapping[str, int] = field(default_factory=dict)
    probes: Mapping[str, Mapping[int, Probe]] = field(default_factory=dict)
    inputs: Mapping[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    together: tuple[Factor, ...] = ()
    overwritten: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    of_values: frozenset[str] = frozenset()
    axes: Axes = field(default_factory=dict)
    records: tuple[ProbeResult, ...] = ()

    def kinds(self, dim: str) -> dict[int, str]:
        """The outcome at each size of a dim."""
        return {size: found.kind for size, found in sorted(self.probes[dim].items())}

    def undecided(self, dims: Mapping[str, str]) -> Explored:
        """The same with ``dims`` untested; by dim, the reasons."""
        axes = {
            path: {
                axis: replace(entry, state="untested", reason=reason) if (reason := dims.get(entry.dim or "")) else entry
                for axis, entry in by_axis.items()
            }
            for path, by_axis in self.axes.items()
        }
        return replace(self, axes=axes, of_values=self.of_values | frozenset(dims))

    def reason(self, dim: str) -> str:
        """The sizes of a dim that were tried, by outcome."""
        return tried(self.sizes[dim], self.probes[dim])

    def state(self, dim: str) -> str:
        """The class of a dim."""
        return "untested" if dim in self.of_values else state_of(dim, self.probes[dim], self.together)


def state_of(dim: str, probes: Mapping[int, Probe], together: Iterable[Factor]) -> str:
    """The class of a dim, by its probes and by those of several dims together."""
    if any(dim in factor.sizes and factor.probe.kind == "wrong" for factor in together):
        return "unsafe"
    kinds = {size: found.kind for size, found in probes.items()}
    if kinds.get(1) == "equal" and len(kinds) > 1 and {kind for size, kind in kinds.items() if size > 1} == {"outside"}:
        # A size of 1 is broadcast, and eager accepts no other size: nothing shows whether the dim varies.
        return "untested"
    return classify(kinds)


_WORDS: Mapping[str, str] = {
    "equal": "right at",
    "raises": "the trace refuses",
    "wrong": "wrong at",
    "outside": "eager refused",
}


def tried(traced: int, probes: Mapping[int, Probe]) -> str:
    """The sizes of a dim that were tried, by outcome: ``right at 7, 33; eager refused 1``."""
    by_kind: dict[str, list[int]] = {}
    for size, found in sorted(probes.items()):
        by_kind.setdefault(found.kind, []).append(size)
    parts = [f"{_WORDS[kind]} {', '.join(map(str, sizes))}" for kind, sizes in by_kind.items()]
    return "; ".join(parts) or f"no size other than {traced} was tried"


def worded(sizes: Mapping[str, int]) -> str:
    """Sizes in words: ``batch 5, seq 33``."""
    return ", ".join(f"{dim} {size}" for dim, size in sizes.items())
