"""Probes of one cell: joint ones first, then single ones where a joint one disagrees, so that a verdict names one factor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cell import Cell
from ..result import ProbeResult
from ..subject.fresh import PADDED_AT_START
from ..subject.inputs import Dims, resize
from ..tracing.conversions import Conversion
from ..tracing.decisions import Decisions, same_way, watching_decisions
from ..tracing.trace import Traced
from . import plan, values
from .axes import Axes, accounted, guessed, probed_dims, tied
from .run import Probe, classify, probe

__all__ = ["Explored", "Factor", "explored", "tried"]

_MOST_FAILING = 2
_MOST_WRONG = 3
_MOST_LADDER = 4
_MOST_REFUSED = 2


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
    ``together`` are sizes that disagree only together. ``axes`` holds the state of every axis, ``records`` every probe.
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
    axes: Axes = field(default_factory=dict)
    records: tuple[ProbeResult, ...] = ()

    def kinds(self, dim: str) -> dict[int, str]:
        """The outcome at each size of a dim."""
        return {size: found.kind for size, found in sorted(self.probes[dim].items())}

    def reason(self, dim: str) -> str:
        """The sizes of a dim that were tried, by outcome."""
        return tried(self.sizes[dim], self.probes[dim])

    def state(self, dim: str) -> str:
        """The class of a dim."""
        wrong = any(dim in factor.sizes and factor.probe.kind == "wrong" for factor in self.together)
        return "unsafe" if wrong else classify(self.kinds(dim))


def explored(cell: Cell, traced: Traced) -> Explored:
    """Try other values and other sizes of the inputs of a cell."""
    return _Explorer(cell, traced).run()


class _Explorer:
    """Runs the probes one after the other, and collects what an :class:`Explored` holds."""

    def __init__(self, cell: Cell, traced: Traced) -> None:
        self.cell = cell
        self.program = traced.module
        self.conversions: tuple[Conversion, ...] = traced.conversions
        self.guards = [conversion for conversion in self.conversions if conversion.origin != "size"]
        self.thorough = cell.spec.effort == "thorough"
        self.dims = probed_dims(cell, self.conversions)
        self.guessed = guessed(cell, self.dims)
        self.traced = self.dims.sizes(cell.inputs)
        self.probes: dict[str, dict[int, Probe]] = {dim: {} for dim in self.traced}
        self.inputs: dict[tuple[str, int], Mapping[str, Any]] = {}
        self.failing: list[Factor] = []
        self.together: list[Factor] = []
        self.notes: list[str] = []
        self.records: list[ProbeResult] = []
        self.equal = self.outside = 0
        self.known: Decisions = []
        self.refusing: set[str] = set()
        self.check = "values"

    def run(self) -> Explored:
        if self.guards or self.thorough:
            self._values()
        if "shapes" not in self.cell.left_out:
            self.check = "shapes"
            self._sizes()
            self.check = "values"
        if not self.equal and not self.failing:
            self._plain_values()
        states = {dim: self._state(dim) for dim in self.probes}
        refused = {dim: self._tried(dim) for dim in self.guessed if states[dim] == "untested"}
        kept = {dim: state for dim, state in states.items() if dim not in refused}
        return Explored(
            failing=tuple(self.failing),
            notes=tuple(self.notes),
            equal=self.equal,
            outside=self.outside,
            dims=self.dims,
            sizes={dim: self.traced[dim] for dim in kept},
            probes={dim: self.probes[dim] for dim in kept},
            inputs=self.inputs,
            together=tuple(self.together),
            axes=accounted(self.cell, self.dims, kept, {dim: self._tried(dim) for dim in kept}, refused),
            records=tuple(self.records),
        )

    # Values

    def _values(self) -> None:
        """Probe values at the traced size, for a forward that takes values out of its tensors, until a few have failed."""
        if self.thorough:
            self._until_failing(values.thorough(self.cell, self.guards), _MOST_FAILING)
            return
        joint: list[Factor] = []
        if self._until_failing(values.joints(self.cell), 1):
            joint, self.failing = self.failing, []
        self._until_failing(values.single(self.cell, self.guards), 1 if joint else _MOST_FAILING)
        # A failure where one thing changed is easier to act on than one where everything changed.
        self.failing = self.failing or joint

    def _until_failing(self, variants: Iterable[values.Variant], most: int) -> bool:
        """Try variants until ``most`` of them have failed."""
        for label, inputs in variants:
            if not values.same(inputs, self.cell.inputs):
                self._value(label, inputs, why="the forward takes values out of its tensors")
                if len(self.failing) >= most:
                    return True
        return False

    def _plain_values(self) -> None:
        """Probe two joint variants of the traced size, if no probe of another size could be given other values."""
        for index in range(2):
            label, inputs = values.joint(self.cell, self.cell.inputs, index)
            if not values.same(inputs, self.cell.inputs):
                self._value(label, inputs, why="no other size could be tried with other values")

    def _value(self, label: str, inputs: Mapping[str, Any], *, why: str) -> None:
        found = self._ask(label, why, inputs)
        if found.kind == "equal":
            self.equal += 1
        elif found.kind == "outside":
            self.outside += 1
        elif PADDED_AT_START in label and not self.cell.pads_at_start:
            # torch's own TransformerEncoder takes another path for such a mask. A deployment that pads at the end, as the
            # observed mask does, never takes that path; the note is for one that pads at the start.
            self.notes.append(f"the trace is not right for a {label}, unlike the observed one: pad at the end")
        else:
            self.failing.append(Factor(label, inputs, found))

    # Sizes

    def _sizes(self) -> None:
        if self.guards:
            with watching_decisions() as self.known:
                self.cell.eager()
        wanted = {dim: self._wanted(dim) for dim in self.traced}
        for number, sizes in enumerate(plan.rounds(wanted, self.traced)):
            open_dims = {dim: size for dim, size in sizes.items() if size not in self.probes[dim] and not self._settled(dim)}
            if open_dims:
                self._round(open_dims, number)
        for dim in list(self.traced):
            self._refused(dim)
        self._pairs()

    def _wanted(self, dim: str) -> list[int]:
        conversions = plan.about(self.conversions, self.dims, dim)
        limit = self.cell.limits.get(dim)
        return plan.sizes_of(dim, self.traced, conversions, limit=limit, thorough=self.thorough)

    def _settled(self, dim: str) -> bool:
        """Whether no further size is needed: the dim is wrong already, or it is a guess that eager does not confirm."""
        kinds = [found.kind for found in self.probes[dim].values()]
        refuted = dim in self.guessed and kinds.count("outside") == len(kinds) >= _MOST_REFUSED
        return refuted or self._is_wrong(dim)

    def _is_wrong(self, dim: str) -> bool:
        return [found.kind for found in self.probes[dim].values()].count("wrong") >= _MOST_WRONG

    def _round(self, sizes: Mapping[str, int], number: int) -> None:
        """Run one joint probe, of all ``sizes`` at once, and single ones where it is not equal."""
        found, inputs = self._at(sizes, number, why="other sizes" if len(sizes) == 1 else "all dims at once")
        if found.kind == "equal":
            for dim, size in sizes.items():
                self.probes[dim][size] = found
        elif len(sizes) == 1:
            ((dim, size),) = sizes.items()
            self._noted(dim, size, found, inputs)
        elif (
            found.kind == "outside"
            and (named := {dim: size for dim, size in sizes.items() if dim not in self.guessed})
            and (len(named) < len(sizes))
        ):
            # Eager may refuse because of a guessed dim alone, so the named dims get a probe without it.
            self._round(named, number)
            self._round({dim: size for dim, size in sizes.items() if dim in self.guessed}, number)
        else:
            self._apart(sizes, number, found, inputs)

    def _apart(self, sizes: Mapping[str, int], number: int, found: Probe, inputs: Mapping[str, Any]) -> None:
        """Probe each dim of a joint probe alone, and note where only the sizes together disagree."""
        alone: dict[str, Probe] = {}
        for dim, size in sizes.items():
            alone[dim], given = self._at({dim: size}, number, why=f"{_worded(sizes)} together: {found.kind}")
            self._noted(dim, size, alone[dim], given)
        kinds = {outcome.kind for outcome in alone.values()}
        if found.kind in ("wrong", "raises") and not kinds & {"wrong", "raises"}:
            bound = {dim: size for dim, size in sizes.items() if alone[dim].kind == "outside"} or dict(sizes)
            if 1 < len(bound) < len(sizes):
                found, inputs = self._at(bound, number, why="eager takes them only together")
            if found.kind in ("wrong", "raises"):
                self.together.append(Factor(_worded(bound), inputs, found, bound))

    def _noted(self, dim: str, size: int, found: Probe, inputs: Mapping[str, Any]) -> None:
        self.probes[dim][size] = found
        if found.kind in ("wrong", "raises"):
            self.inputs[dim, size] = inputs

    def _refused(self, dim: str) -> None:
        """Try more sizes of a dim that the trace, or eager, has refused at every size so far."""
        kinds = {found.kind for found in self.probes[dim].values()}
        if not kinds or kinds & {"equal", "wrong"} or any(dim in factor.sizes for factor in self.together):
            return
        if kinds == {"outside"} and self._tie(dim):
            return
        conversions = plan.about(self.conversions, self.dims, dim)
        tried = 0
        for size in plan.ladder(self.traced[dim], conversions, self.cell.limits.get(dim)):
            affordable = plan.affordable({dim: size}, self.traced)
            if size in self.probes[dim] or tried == _MOST_LADDER or self._is_wrong(dim) or not affordable:
                continue
            tried += 1
            found, inputs = self._at({dim: size}, 0, why=f"{dim} was refused at {', '.join(map(str, self.probes[dim]))}")
            self._noted(dim, size, found, inputs)

    def _tie(self, dim: str) -> bool:
        """Try a dim together with every free axis of the same size; True where eager accepts that."""
        dims = tied(self.cell, self.dims, dim)
        if dims is None:
            return False
        before, self.dims = self.dims, dims
        for size in self._wanted(dim):
            if not plan.affordable({dim: size}, self.traced):
                continue
            found, inputs = self._at({dim: size}, 0, why=f"other axes have the size of {dim}")
            if found.kind == "outside" and all(other.kind == "outside" for other in self.probes[dim].values()):
                if size == self._wanted(dim)[0]:
                    continue
                break
            self._noted(dim, size, found, inputs)
        if all(found.kind == "outside" for found in self.probes[dim].values()):
            self.dims = before
            return False
        return True

    def _pairs(self) -> None:
        """Try two dims of one input that are refused alone: both doubled or halved, then one halved and the other doubled."""
        refused = [
            dim
            for dim, probes in self.probes.items()
            if probes and {found.kind for found in probes.values()} <= {"outside", "raises"} and dim not in ("batch",)
        ]
        for index, first in enumerate(refused):
            for second in refused[index + 1 :]:
                if not self._share_an_input(first, second):
                    continue
                for one, other, why in plan.pairs(self.traced[first], self.traced[second]):
                    sizes = {first: one, second: other}
                    if not plan.affordable(sizes, self.traced):
                        continue
                    found, inputs = self._at(sizes, 0, why=why)
                    if found.kind == "wrong":
                        self.together.append(Factor(_worded(sizes), inputs, found, sizes))
                        break

    def _share_an_input(self, first: str, second: str) -> bool:
        return any({first, second} <= set(axes.values()) for axes in self.dims.axes.values())

    # One probe

    def _at(self, sizes: Mapping[str, int], number: int, *, why: str) -> tuple[Probe, Mapping[str, Any]]:
        """The probe at these sizes, with the first values that eager accepts and for which it takes the trace's decisions."""
        last: tuple[Probe, Mapping[str, Any]] | None = None
        wrong: Factor | None = None
        strayed = False
        for label, inputs, fresh in self._candidates(sizes, number):
            changed = _worded(sizes) + (f"; {label}" if label else "")
            found, clean = self._asked(changed, why, inputs)
            if found.kind == "outside" or (not clean and self.failing):
                last = last or (Probe("outside", error=found.error), inputs)
                continue
            if found.kind == "equal":
                self.equal += fresh
                if wrong is None or self._is_of_values(number, wrong, strayed):
                    return found, inputs
                break
            if not fresh and clean:
                return (wrong.probe, wrong.inputs) if wrong is not None else (found, inputs)
            if wrong is None:
                wrong, strayed = Factor(label, inputs, found), not clean
        if wrong is not None:
            return wrong.probe, wrong.inputs
        assert last is not None
        if len(sizes) == 1:
            self.refusing.update(sizes)
        return last

    def _candidates(self, sizes: Mapping[str, int], number: int) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
        """``(label, inputs, whether the values are fresh)``: other values first, then the observed ones repeated."""
        mask = self.cell.mask
        repeated = resize(self.cell.inputs, self.dims, sizes, mask=mask)
        if any(dim in self.refusing for dim in sizes):
            # Eager refused other sizes of this dim with several values, so one candidate is enough.
            pass
        elif not self.guards:
            yield *values.joint(self.cell, repeated, number % values.THAT_SHOW_SIZES), True
        elif not self.failing:
            yield "values redrawn", self.cell.fresh.redrawn(repeated, seed=sum(sizes.values())), True
        yield "", repeated, False
        if self.guards:
            yield "each entry repeated in place", resize(self.cell.inputs, self.dims, sizes, mask=mask, stretched=True), False

    def _is_of_values(self, number: int, wrong: Factor, strayed: bool) -> bool:
        """Whether the values are to blame, where fresh ones are wrong and repeated ones right; else the size mixes up rows."""
        if self.guards:
            # All values of the traced size were right, so these are to blame only if they made the forward decide otherwise.
            if strayed:
                self.failing.append(Factor(f"{wrong.changed} at another size", wrong.inputs, wrong.probe))
            return strayed
        label, inputs = values.joint(self.cell, self.cell.inputs, number % values.THAT_SHOW_SIZES)
        again = self._ask(label, "wrong at another size for these values alone", inputs)
        if again.kind in ("wrong", "raises"):
            self.failing.append(Factor(label, inputs, again))
            return True
        return False

    def _asked(self, changed: str, why: str, inputs: Mapping[str, Any]) -> tuple[Probe, bool]:
        """One probe, and whether eager decided by values as it did at the traced inputs."""
        if not self.guards:
            return self._ask(changed, why, inputs), True
        with watching_decisions() as decisions:
            found = self._ask(changed, why, inputs)
        return found, same_way(self.known, decisions)

    def _ask(self, changed: str, why: str, inputs: Mapping[str, Any]) -> Probe:
        found = probe(self.cell, self.program, inputs)
        self.records.append(ProbeResult(changed=changed, why=why, outcome=found.kind, check=self.check))
        return found

    def _state(self, dim: str) -> str:
        wrong = any(dim in factor.sizes and factor.probe.kind == "wrong" for factor in self.together)
        return "unsafe" if wrong else classify({size: found.kind for size, found in self.probes[dim].items()})

    def _tried(self, dim: str) -> str:
        return tried(self.traced[dim], self.probes[dim])


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


def _worded(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{dim} {size}" for dim, size in sizes.items())
