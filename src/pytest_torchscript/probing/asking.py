"""One probe: the inputs at other sizes, with the first values that eager accepts and for which it decides as in the trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..cell import Cell
from ..nested import clone
from ..result import ProbeResult
from ..subject.inputs import Dims, resize
from ..survey import overwritten
from ..tracing.decisions import Decisions, same_way, watching_decisions
from ..tracing.trace import Traced
from . import values
from .explored import Factor, worded
from .relations import Relation
from .run import Probe, probe

__all__ = ["Asking"]

Inputs = Mapping[str, Any]


class Asking:
    """Gives inputs to eager and to the program, and keeps the outcomes.

    ``failing`` are values for which the program is wrong; ``equal`` and ``outside`` count the other values that were tried.
    ``overwritten`` holds, by the path of an input, the first inputs of which the model overwrote it, which it did not at the
    traced ones. ``records`` holds every probe.
    """

    def __init__(self, cell: Cell, traced: Traced, dims: Dims) -> None:
        self.cell = cell
        self.program = traced.module
        self.dims = dims
        self.relations: tuple[Relation, ...] = ()
        self.guards = [conversion for conversion in traced.conversions if conversion.origin != "size"]
        self.failing: list[Factor] = []
        self.overwritten: dict[str, Inputs] = {}
        self.records: list[ProbeResult] = []
        self.equal = self.outside = 0
        self.check = "values"
        self._known: Decisions = []
        self._refusing: set[str] = set()

    def note_decisions(self) -> None:
        """Note by which values eager decides at the traced inputs."""
        if self.guards:
            with watching_decisions() as self._known:
                self.cell.eager()

    def values(self, label: str, inputs: Inputs, *, why: str) -> Probe:
        """A probe of the traced size. The caller decides what a program that is wrong, or refuses, means."""
        found = self._ask(label, why, inputs)
        self.equal += found.kind == "equal"
        self.outside += found.kind == "outside"
        return found

    def sizes(self, sizes: Mapping[str, int], number: int, *, why: str) -> tuple[Probe, Inputs]:
        """A probe at other sizes; ``number`` chooses its other values, where the forward does not decide by values."""
        if any(size < 1 for size in self._following(sizes).values()):
            return Probe("outside", error=ValueError("a size that goes with it would be less than 1")), self.cell.inputs
        refused: tuple[Probe, Inputs] | None = None
        wrong: Factor | None = None
        strayed = False
        for label, inputs, fresh in self._candidates(sizes, number):
            changed = worded(sizes) + (f"; {label}" if label else "")
            found, clean = self._asked(changed, why, inputs)
            if found.kind == "outside" or (not clean and self.failing):
                refused = refused or (Probe("outside", error=found.error), inputs)
            elif found.kind == "equal":
                self.equal += fresh
                if wrong is None or self._is_of_values(number, wrong, strayed):
                    return found, inputs
                break
            elif not fresh and clean:
                return (wrong.probe, wrong.inputs) if wrong is not None else (found, inputs)
            elif wrong is None:
                wrong, strayed = Factor(label, inputs, found), not clean
        if wrong is not None:
            return wrong.probe, wrong.inputs
        assert refused is not None
        if len(sizes) == 1:
            self._refusing.update(sizes)
        return refused

    def related(self, dims: Dims, relations: tuple[Relation, ...]) -> None:
        """Set the dims, and the sizes that follow from others, for the probes after this."""
        self.dims, self.relations = dims, relations
        self._refusing.clear()

    def _candidates(self, sizes: Mapping[str, int], number: int) -> Iterator[tuple[str, Inputs, bool]]:
        """``(label, inputs, whether the values are fresh)``: other values first, then the observed ones repeated."""
        repeated = self._resized(sizes)
        if self._refusing.intersection(sizes):
            # Eager refused other sizes of this dim with several values, so one candidate is enough.
            pass
        elif not self.guards:
            yield *values.joint(self.cell, repeated, number % values.THAT_SHOW_SIZES), True
        elif not self.failing:
            yield "values redrawn", self.cell.fresh.redrawn(repeated, seed=sum(sizes.values())), True
        yield "", repeated, False
        if self.guards:
            yield "each entry repeated in place", self._resized(sizes, stretched=True), False

    def _resized(self, sizes: Mapping[str, int], *, stretched: bool = False) -> dict[str, Any]:
        every = {**self._following(sizes), **sizes}
        return resize(self.cell.inputs, self.dims, every, mask=self.cell.mask, stretched=stretched)

    def _following(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """The sizes that go with these, by the relations that are known."""
        return {entry.name: entry.size(sizes[entry.of]) for entry in self.relations if entry.of in sizes}

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

    def _asked(self, changed: str, why: str, inputs: Inputs) -> tuple[Probe, bool]:
        """One probe, and whether eager decided by values as it did at the traced inputs."""
        if not self.guards:
            return self._ask(changed, why, inputs), True
        with watching_decisions() as decisions:
            found = self._ask(changed, why, inputs)
        return found, same_way(self._known, decisions)

    def _ask(self, changed: str, why: str, inputs: Inputs) -> Probe:
        found = probe(self.cell, self.program, inputs, eager=self._eager)
        self.records.append(ProbeResult(changed=changed, why=why, outcome=found.kind, check=self.check))
        return found

    def _eager(self, inputs: Inputs) -> Any:
        """Eager's outputs; what it writes to its inputs is noted."""
        given = clone(dict(inputs))
        outputs = self.cell.eager_on(given)
        for path in overwritten(inputs, given):
            self.overwritten.setdefault(path, inputs)
        return outputs
