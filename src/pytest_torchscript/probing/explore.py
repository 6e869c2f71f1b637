"""Probes of one cell: joint ones first, then single ones where a joint one disagrees, so that a verdict names one factor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..cell import Cell
from ..nested import tensors
from ..result import UNPROBED
from ..subject.fresh import PADDED_AT_START
from ..subject.inputs import BATCH, Dims, has_axes
from ..tracing.trace import Traced
from . import plan, values
from .asking import Asking
from .axes import PAST, accounted, guessed, probed_dims
from .explored import Explored, Factor, state_of, tried, worded
from .plan import Price
from .relations import related
from .run import Probe

__all__ = ["explored"]

_MOST_FAILING = 2
_MOST_WRONG = 3
_MOST_LADDER = 4
_MOST_REFUSED = 2
_MOST_PARTNERS = 2


def explored(cell: Cell, traced: Traced) -> Explored:
    """Try other values and other sizes of the inputs of a cell."""
    return _Explorer(cell, traced).run()


class _Explorer:
    """Runs the probes one after the other, and collects what an :class:`Explored` holds."""

    def __init__(self, cell: Cell, traced: Traced) -> None:
        self.cell = cell
        self.conversions = traced.conversions
        self.thorough = cell.spec.effort == "thorough"
        dims = probed_dims(cell, self.conversions)
        self.guessed = guessed(cell, dims)
        self.ask = Asking(cell, traced, dims)
        self.traced = dims.sizes(cell.inputs)
        self.price = Price(dims, cell.inputs)
        self.probes: dict[str, dict[int, Probe]] = {dim: {} for dim in self.traced}
        self.inputs: dict[tuple[str, int], Mapping[str, Any]] = {}
        self.together: list[Factor] = []
        self.notes: list[str] = []
        self.costly: dict[str, list[int]] = {}
        self._relation_tried: set[str] = set()

    def run(self) -> Explored:
        if self.ask.guards or self.thorough:
            self._values()
        if "shapes" not in self.cell.left_out:
            self.ask.check = "shapes"
            self._sizes()
            self.ask.check = "values"
        if not self.ask.equal and not self.ask.failing:
            self._plain_values()
        following = {relation.name: relation.of for relation in self.ask.relations}
        states = {dim: self._state(following.get(dim, dim)) for dim in self.traced}
        reasons = {dim: self._reason(following.get(dim, dim)) for dim in self.traced}
        refused = {dim for dim, state in states.items() if dim in self.guessed and state == "untested"}
        kept = [dim for dim in self.probes if dim not in refused and dim not in following]
        found = Explored(
            failing=tuple(self.ask.failing),
            notes=tuple(self.notes),
            equal=self.ask.equal,
            outside=self.ask.outside,
            dims=self.ask.dims,
            sizes={dim: self.traced[dim] for dim in kept},
            probes={dim: self.probes[dim] for dim in kept},
            inputs=self.inputs,
            together=tuple(self.together),
            overwritten=self.ask.overwritten,
            axes=accounted(self.cell, self.ask.dims, {d: UNPROBED if d in refused else s for d, s in states.items()}, reasons),
            records=tuple(self.ask.records),
        )
        if not self.ask.failing or "values" in self.cell.spec.skip:
            return found
        # Whether the values of another size happen to take the way of the trace depends on the values of the test.
        return found.undecided({dim: f"values failed; {reasons[dim]}" for dim in kept if states[dim] == "dynamic"})

    # Values

    def _values(self) -> None:
        """Probe values at the traced size, for a forward that takes values out of its tensors, until a few have failed."""
        guards = self.ask.guards
        if self.thorough:
            self._until_failing(values.thorough(self.cell, guards), _MOST_FAILING)
            return
        joint: list[Factor] = []
        if self._until_failing(values.joints(self.cell), 1):
            joint, self.ask.failing = self.ask.failing, []
        self._until_failing(values.single(self.cell, guards), 1 if joint else _MOST_FAILING)
        # A failure where one thing changed is easier to act on than one where everything changed.
        self.ask.failing = self.ask.failing or joint

    def _until_failing(self, variants: Iterable[values.Variant], most: int) -> bool:
        """Try variants until ``most`` of them have failed."""
        for label, inputs in variants:
            if not values.same(inputs, self.cell.inputs):
                self._value(label, inputs, why="the forward takes values out of its tensors")
                if len(self.ask.failing) >= most:
                    return True
        return False

    def _plain_values(self) -> None:
        """Probe two joint variants of the traced size, if no probe of another size could be given other values."""
        for index in range(2):
            label, inputs = values.joint(self.cell, self.cell.inputs, index)
            if not values.same(inputs, self.cell.inputs):
                self._value(label, inputs, why="no other size could be tried with other values")

    def _value(self, label: str, inputs: Mapping[str, Any], *, why: str) -> None:
        found = self.ask.values(label, inputs, why=why)
        if found.kind in ("equal", "outside"):
            return
        if PADDED_AT_START in label and not self.cell.pads_at_start:
            # torch's own TransformerEncoder takes another path for such a mask. A deployment that pads at the end, as the
            # observed mask does, never takes that path; the note is for one that pads at the start.
            self.notes.append(f"the trace is not right for a {label}, unlike the observed one: pad at the end")
        else:
            self.ask.failing.append(Factor(label, inputs, found))

    # Sizes

    def _sizes(self) -> None:
        self.ask.note_decisions()
        wanted = {dim: self._wanted(dim) for dim in self.traced}
        for number, sizes in enumerate(plan.rounds(wanted, self.traced, self.price)):
            open_dims = {dim: size for dim, size in sizes.items() if not self._done(dim, size)}
            if open_dims and not self.price.affordable(open_dims):
                # Such a size was chosen for a batch of 1.
                open_dims |= {BATCH: 1}
            if open_dims:
                self._round(open_dims, number)
        if not self.ask.failing:
            for dim in list(self.probes):
                self._refused(dim)
            self._pairs()
            self._partners()
            self._splits()
            self._crossed()

    def _wanted(self, dim: str) -> list[int]:
        conversions = plan.about(self.conversions, self.ask.dims, dim)
        limit = self.cell.limits.get(dim)
        failing = bool(self.ask.failing)
        sizes = plan.sizes_of(dim, self.traced, conversions, limit=limit, thorough=self.thorough, doubled=failing)
        self.costly[dim] = [size for size in sizes if not plan.alone(dim, size, self.traced, self.price)]
        return sizes

    def _done(self, dim: str, size: int) -> bool:
        """Whether a size was tried, or no further size is needed: the dim is wrong already, or a guess that eager refutes."""
        kinds = [found.kind for found in self.probes[dim].values()]
        refuted = dim in self.guessed and kinds.count("outside") == len(kinds) >= _MOST_REFUSED
        return size in self.probes[dim] or refuted or self._is_wrong(dim)

    def _is_wrong(self, dim: str) -> bool:
        return [found.kind for found in self.probes[dim].values()].count("wrong") >= _MOST_WRONG

    def _round(self, sizes: Mapping[str, int], number: int) -> None:
        """Run one joint probe, of all ``sizes`` at once, and single ones where it is not equal."""
        changed = {dim: size for dim, size in sizes.items() if size != self.traced[dim]}
        found, inputs = self.ask.sizes(sizes, number, why="other sizes" if len(changed) == 1 else "all dims at once")
        named = {dim: size for dim, size in sizes.items() if dim not in self.guessed}
        if found.kind == "equal":
            for dim, size in changed.items():
                self.probes[dim][size] = found
        elif len(changed) == 1:
            ((dim, size),) = changed.items()
            self._alone(dim, size, number, (found, inputs))
        elif found.kind == "outside" and named and len(named) < len(sizes):
            # Eager may refuse because of a guessed dim alone, so the named dims get a probe without it.
            self._round(named, number)
            self._round({dim: size for dim, size in sizes.items() if dim in self.guessed}, number)
        else:
            self._apart(changed, number, found, inputs)

    def _apart(self, sizes: Mapping[str, int], number: int, found: Probe, inputs: Mapping[str, Any]) -> None:
        """Probe each dim of a joint probe alone, and note where only the sizes together disagree."""
        alone: dict[str, str] = {}
        for dim, size in sizes.items():
            given = self.ask.sizes({dim: size}, number, why=f"{worded(sizes)} together: {found.kind}")
            alone[dim] = self._alone(dim, size, number, given).kind
        explained = {"wrong"} if found.kind == "wrong" else {"wrong", "raises"}
        if found.kind not in ("wrong", "raises") or explained & set(alone.values()):
            return
        bound = {dim: size for dim, size in sizes.items() if alone[dim] == "outside"}
        if 1 < len(bound) < len(sizes):
            again, given_again = self.ask.sizes(bound, number, why="eager takes them only together")
            if again.kind == found.kind:
                self.together.append(Factor(worded(bound), given_again, again, bound))
                return
        self.together.append(Factor(worded(sizes), inputs, found, dict(sizes)))

    def _alone(self, dim: str, size: int, number: int, given: tuple[Probe, Mapping[str, Any]]) -> Probe:
        """Note the probe of one dim; where eager refuses it, look for the axes that must change with it, once."""
        found, inputs = given
        if found.kind == "outside" and dim not in self._relation_tried:
            self._relation_tried.add(dim)
            if self._relate(dim):
                found, inputs = self.ask.sizes({dim: size}, number, why=f"with what goes with {dim}")
        self.probes[dim][size] = found
        if found.kind in ("wrong", "raises"):
            self.inputs[dim, size] = inputs
        return found

    def _relate(self, dim: str) -> bool:
        """Change a dim together with other axes; True where eager accepts that."""
        size = self.traced[dim]
        for other in related(self.cell, self.ask.dims, dim, self.guessed):
            before = self.ask.dims, self.ask.relations
            self.ask.related(other.dims, (*before[1], *other.relations))
            for attempt in (2 * size + 1, 2 * size, size // 2 or 1):
                if attempt == size or not self.price.affordable({dim: attempt}):
                    continue
                found, inputs = self.ask.sizes({dim: attempt}, 0, why=other.why)
                if found.kind != "outside":
                    self.traced |= {entry.name: entry.size(size) for entry in other.relations}
                    self.price = Price(other.dims, self.cell.inputs)
                    self.probes[dim][attempt] = found
                    if found.kind != "equal":
                        self.inputs[dim, attempt] = inputs
                    return True
            self.ask.related(*before)
        return False

    def _refused(self, dim: str) -> None:
        """Try more sizes of a dim that the trace, or eager, has refused at every size so far."""
        # A size of 1 is broadcast: being right there says little about other sizes.
        kinds = {found.kind for size, found in self.probes[dim].items() if size > 1}
        if not kinds or kinds & {"equal", "wrong"} or any(dim in factor.sizes for factor in self.together):
            return
        conversions = plan.about(self.conversions, self.ask.dims, dim)
        count = 0
        for size in plan.ladder(self.traced[dim], conversions, self.cell.limits.get(dim)):
            if (
                size in self.probes[dim]
                or count == _MOST_LADDER
                or self._is_wrong(dim)
                or not self.price.affordable({dim: size})
            ):
                continue
            count += 1
            why = f"{dim} was refused at {', '.join(map(str, self.probes[dim]))}"
            self._alone(dim, size, 0, self.ask.sizes({dim: size}, 0, why=why))

    # Two axes at once

    def _pairs(self) -> None:
        """Try two dims of one input that are refused alone: both doubled or halved, then one halved and the other doubled."""
        refused = [dim for dim in self.probes if self._is_refused(dim)]
        for index, first in enumerate(refused):
            for second in refused[index + 1 :]:
                if any({first, second} <= set(axes.values()) for axes in self.ask.dims.axes.values()):
                    self._pair(first, second)

    def _is_refused(self, dim: str) -> bool:
        probes = self.probes[dim]
        if any(dim in factor.sizes for factor in self.together):
            return False
        return dim != BATCH and bool(probes) and {found.kind for found in probes.values()} <= {"outside", "raises"}

    def _pair(self, first: str, second: str, *, only: str | None = None) -> None:
        for one, other, why in plan.pairs(self.traced[first], self.traced[second]):
            sizes = {first: one, second: other}
            if only not in (None, why) or not self.price.affordable(sizes):
                continue
            found, inputs = self.ask.sizes(sizes, 0, why=why)
            if found.kind == "equal":
                self.probes[first].setdefault(one, found)
                self.probes[second].setdefault(other, found)
            elif found.kind == "wrong":
                self.together.append(Factor(worded(sizes), inputs, found, sizes))
                return

    def _partners(self) -> None:
        """Try a dim that is refused at other sizes together with an axis without a name: one halved, the other doubled."""
        for dim in [dim for dim in self.probes if self._is_refused(dim) and plan.about(self.conversions, self.ask.dims, dim)]:
            for path, axis in self._free_beside(dim)[:_MOST_PARTNERS]:
                before = self.ask.dims, self.ask.relations
                name = f"{path}[{axis}]"
                axes = {**before[0].axes, path: {**before[0].axes[path], axis: name}}
                self.ask.related(Dims(axes), before[1])
                self.traced[name] = dict(tensors(self.cell.inputs))[path].shape[axis]
                self.probes[name] = {}
                self.guessed.add(name)
                self._pair(dim, name, only="the same area")
                if not self.probes[name] and not any(name in factor.sizes for factor in self.together):
                    self.ask.related(*before)
                    del self.traced[name], self.probes[name]
                    self.guessed.discard(name)

    def _free_beside(self, dim: str) -> list[tuple[str, int]]:
        """The axes without a name, behind the first, of the inputs that have the dim."""
        return [
            (path, axis)
            for path, tensor in tensors(self.cell.inputs)
            if dim in self.ask.dims.axes.get(path, {}).values() and has_axes(tensor)
            for axis in range(1, tensor.ndim)
            if axis not in self.ask.dims.axes[path] and tensor.shape[axis] > 1
        ]

    def _splits(self) -> None:
        """Try other lengths of the second of two inputs: they may have one length by chance."""
        if self.cell.spec.dims is not None:
            return
        # Keys and values have one length: torch's attention reads beyond the shorter one and does not refuse it.
        for dim in [dim for dim in self.probes if dim not in (BATCH, PAST) and self._state(dim) in ("dynamic", "partial")]:
            holders = [
                path
                for path, tensor in tensors(self.cell.inputs)
                if dim in self.ask.dims.axes.get(path, {}).values() and tensor.ndim >= 3 and tensor.is_floating_point()
            ]
            if len(holders) == 2 and "mask" not in holders[1]:
                self._split(dim, holders[1])

    def _split(self, dim: str, path: str) -> None:
        before = self.ask.dims, self.ask.relations
        name = f"{dim} of {path}"
        axes = {axis: name if known == dim else known for axis, known in before[0].axes[path].items()}
        self.ask.related(Dims({**before[0].axes, path: axes}), before[1])
        self.traced[name], self.probes[name] = self.traced[dim], {}
        self.guessed.add(name)
        # Longer and shorter than the other one.
        for size in (2 * self.traced[dim] + 1, self.traced[dim] // 2):
            if size >= 1 and size != self.traced[dim] and not (self.probes[name] and self._state(name) == "untested"):
                found, inputs = self.ask.sizes({name: size}, 0, why=f"{path} may have a length of its own")
                self.probes[name][size] = found
                if found.kind in ("wrong", "raises"):
                    self.inputs[name, size] = inputs
        if self._state(name) == "untested":
            self.ask.related(*before)
            del self.traced[name], self.probes[name]
            self.guessed.discard(name)

    def _crossed(self) -> None:
        """Two sizes that the forward compares with each other: one larger and the other smaller, and the other way round."""
        names = {(path, axis): dim for path, axes in self.ask.dims.axes.items() for axis, dim in axes.items()}
        for conversion in self.conversions:
            dims = list(dict.fromkeys(names[place] for place in conversion.axes if place in names))
            if conversion.origin != "size" or conversion.kind != "bool" or conversion.thresholds or len(dims) != 2:
                continue
            for grows, shrinks in (dims, reversed(dims)):
                sizes = {grows: 2 * self.traced[grows] + 1, shrinks: max(self.traced[shrinks] // 2, 1)}
                if self.price.affordable(sizes):
                    found, inputs = self.ask.sizes(sizes, 0, why="the forward compares the two sizes")
                    if found.kind == "wrong" and not any(self._is_wrong(dim) for dim in dims):
                        self.together.append(Factor(worded(sizes), inputs, found, sizes))

    # What is known

    def _state(self, dim: str) -> str:
        return state_of(dim, self.probes.get(dim, {}), self.together)

    def _reason(self, dim: str) -> str:
        costly = [size for size in self.costly.get(dim, []) if size not in self.probes[dim]]
        left = f"; too costly to try: {', '.join(map(str, costly))}" if costly else ""
        return tried(self.traced[dim], self.probes.get(dim, {})) + left
