"""Other sizes: the shape contract on a grid of probes around the traced size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cell import Cell
from ..diagnosis.cause import Cause
from ..explain import caused, causes_at, produced, warned
from ..nested import Mismatch, compare
from ..probing.axes import probed_dims
from ..probing.plan import directed, grid
from ..probing.run import Probe, classify, probe
from ..result import Finding, Verdict
from ..subject.inputs import DEPTH, TIME, Dims, resize
from ..tracing.graph import differences
from .base import Check, Evidence, Found

__all__ = ["Shapes"]

_MOST_SIZES = 3
_META_SIZES = 3
_ALLOWED = {"safe": {"equal", "raises"}, "dynamic": {"equal"}, "fixed": {"raises"}}


@dataclass
class _Dim:
    """The probes of one dim, by size; ``size`` is the traced one."""

    name: str
    size: int
    probes: dict[int, Probe] = field(default_factory=dict)
    wrong_together: bool = False

    @property
    def kinds(self) -> dict[int, str]:
        return {size: probe.kind for size, probe in sorted(self.probes.items())}

    @property
    def kind(self) -> str:
        return "unsafe" if self.wrong_together else classify(self.kinds)

    @property
    def details(self) -> dict[str, Any]:
        return {"dim": self.name, "traced": self.size, "probes": {str(size): kind for size, kind in self.kinds.items()}}


class Shapes(Check):
    """The shape contract holds at sizes around the traced one: each dim is dynamic, fixed, partial, unsafe or untested."""

    name = "shapes"
    requires = frozenset({"eager", "trace", "equivalence"})
    reads = frozenset({"expected", "traced", "values_hold"})
    gives = frozenset({"dims"})
    numeric = False

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        dims = probed_dims(cell, evidence.conversions)
        sizes = dims.sizes(cell.inputs)
        if not sizes:
            return self.skipped("no axis of the inputs is known to vary: declare dims=")
        unknown = sorted(set(cell.spec.shapes.by_dim) - set(sizes))
        if unknown:
            finding = cell.finding(
                f"shapes names a dim that the inputs do not have: {', '.join(unknown)}; there are {', '.join(sizes)}",
                hint="name the dim in dims=, or correct shapes=",
            )
            return self.failed(Verdict.SHAPE_SPECIALISED, finding)
        prober = _Prober(cell, evidence, dims)
        found = [prober.probed(name) for name in sizes]
        # A guess that eager refutes: the axis holds features.
        guessed = {TIME, DEPTH} - set(cell.dims.sizes(cell.inputs))
        found = [dim for dim in found if dim.name not in guessed or dim.kind != "untested"]
        findings = prober.judged(found)
        gives = {"dims": {dim.name: dim.kind for dim in found}}
        metrics = {"dims": {dim.name: {"traced": dim.size, "probes": dim.details["probes"]} for dim in found}}
        if findings:
            return self.failed(Verdict.SHAPE_SPECIALISED, *findings, gives=gives, **metrics)
        notes = [
            cell.finding(f"{dim.name} is untested: eager itself refuses every size but {dim.size}")
            for dim in found
            if dim.kind == "untested"
        ]
        return self.passed(notes, gives=gives, **metrics)


@dataclass(frozen=True)
class _Prober:
    """The probes of one cell, and what they say of each dim."""

    cell: Cell
    evidence: Evidence
    dims: Dims

    # Probing

    def probed(self, name: str) -> _Dim:
        sizes = self.dims.sizes(self.cell.inputs)
        limit = self.cell.limits.get(name)
        dim = _Dim(name, sizes[name])
        wanted = grid(dim.size, limit)
        if self.cell.meta:
            # One other size shows whether the program is another one; values would need more, and there are none. A trace
            # made at 1 is often another program (a broadcast, a causal flag), and there is nothing else to ask.
            wanted = [size for size in wanted if size > 1][:_META_SIZES] or wanted[:1]
        for size in wanted:
            dim.probes[size] = self._probe({name: size})
        if dim.kind in ("dynamic", "partial", "untested"):
            least = 2 if self.cell.meta else 1
            conversions = self.evidence.conversions
            for size in directed(name, sizes, conversions, limit=limit, least=least, tried=list(dim.probes)):
                dim.probes[size] = self._probe({name: size})
        return dim

    def _inputs(self, sizes: Mapping[str, int], *, fresh: bool = True) -> dict[str, Any]:
        resized = resize(self.cell.inputs, self.dims, sizes, mask=self.cell.mask)
        # Repeated rows could hide that one row was taken for another; other values must have passed for this to be fair.
        if fresh and not self.cell.meta and self.evidence.values_hold:
            return self.cell.fresh.redrawn(resized, seed=sum(sizes.values()))
        return resized

    def _probe(self, sizes: Mapping[str, int]) -> Probe:
        if self.cell.meta:
            return self._probe_structure(sizes)
        found = probe(self.cell, self.evidence.program, self._inputs(sizes))
        if found.kind == "outside":
            # Redrawn values may be what eager refused; the observed ones, repeated, have its approval at the traced size.
            again = probe(self.cell, self.evidence.program, self._inputs(sizes, fresh=False))
            return again if again.kind != "outside" else found
        return found

    def _probe_structure(self, sizes: Mapping[str, int]) -> Probe:
        """Without weights: the traced program must give the shapes, and be the program, that a trace made there has."""
        inputs = self._inputs(sizes)
        try:
            there = self.cell.graph_at(inputs)
        except Exception as error:  # noqa: BLE001 - the model does not trace there: outside its domain
            return Probe("outside", error=error)
        try:
            actual = self.cell.scripted(self.evidence.program, inputs)
        except Exception as error:  # noqa: BLE001 - a loud refusal
            return Probe("raises", error=error)
        mismatches = tuple(compare(actual, there.outputs))
        return Probe("wrong" if mismatches or differences(self.cell.graph, there) else "equal", mismatches)

    def _together(self, found: list[_Dim]) -> tuple[dict[str, int], Probe] | None:
        """One probe with all dims changed at once: two sizes may be right alone and wrong together."""
        able = [dim for dim in found if dim.kind == "dynamic"]
        if len(able) < 2:
            return None
        # The smallest sizes that are no special case: the probe is about the combination, and costs their product.
        equal = {dim.name: [size for size, kind in dim.kinds.items() if kind == "equal"] for dim in able}
        sizes = {name: next((size for size in found if size > 1), 1) for name, found in equal.items()}
        probe = self._probe(sizes)
        for dim in able:
            dim.wrong_together = probe.kind == "wrong"
        return (sizes, probe) if probe.kind in ("wrong", "raises") else None

    # Judging

    def judged(self, found: list[_Dim]) -> list[Finding]:
        together = self._together(found)
        findings = [finding for dim in found for finding in self._judged_alone(dim, found)]
        if together is not None and not findings:
            findings = self._judged_together(*together, found)
        return findings

    def _judged_alone(self, dim: _Dim, found: list[_Dim]) -> list[Finding]:
        rule = self.cell.spec.shapes.rule(dim.name)
        offending = [size for size, kind in dim.kinds.items() if kind not in _ALLOWED[rule] and kind != "outside"]
        if not offending:
            return []
        others = _others(dim, found)
        wrong = [size for size in dim.probes if dim.kinds[size] == "wrong"]
        if not wrong and rule == "fixed":
            return [self._declared_fixed(dim, offending, others)]
        findings = self._wrong(dim, wrong, others) if wrong else [self._declared_dynamic(dim, offending, others)]
        first = wrong[0] if wrong else offending[0]
        causes = causes_at(self.cell, self._inputs({dim.name: first}))
        if not causes:
            findings[0] = self._with_place(findings[0], dim.probes[first])
            causes = self._lesser_causes(dim.probes[first])
        hint = (
            "keep the size in the graph: x.shape[i] without int(), len() or a Python loop; "
            f'or let the model refuse other sizes and declare shapes={{"{dim.name}": "fixed"}}'
        )
        return list(caused(self.cell, findings, causes, hint=hint))

    def _declared_fixed(self, dim: _Dim, offending: list[int], others: str) -> Finding:
        message = (
            f"{dim.name} is {dim.kind}, declared fixed: traced at {dim.size}, the trace accepts "
            f"{', '.join(map(str, offending))} and is right{others}"
        )
        hint = f'declare shapes={{"{dim.name}": "dynamic"}}, which is what the model gives'
        return self.cell.finding(message, details=dim.details, hint=hint)

    def _declared_dynamic(self, dim: _Dim, offending: list[int], others: str) -> Finding:
        error = dim.probes[offending[0]].error
        message = (
            f"{dim.name} is {dim.kind}, declared dynamic: traced at {dim.size}, the trace refuses "
            f"{', '.join(map(str, offending))}: {self.cell.failure(error).message if error else ''}{others}"
        )
        return self.cell.finding(message, details=dim.details)

    def _with_place(self, finding: Finding, probe: Probe) -> Finding:
        """The finding with the place where the program raised, if it did."""
        failure = self.cell.failure(probe.error) if probe.error is not None else None
        if failure is None or not failure.file:
            return finding
        return self.cell.finding(f"{finding.message} (raised at {failure.file}:{failure.line})", details=finding.details)

    def _lesser_causes(self, probe: Probe) -> list[Cause]:
        found = warned(self.evidence.traced)
        if found or not probe.mismatches or self.evidence.traced is None:
            return found
        return produced(self.evidence.traced, self.evidence.expected, probe.mismatches[0].path)

    def _wrong(self, dim: _Dim, wrong: list[int], others: str) -> list[Finding]:
        """One finding an output leaf, with every size at which it is wrong."""
        by_path: dict[str | None, list[tuple[int, Mismatch | None]]] = {}
        for size in wrong:
            for mismatch in dim.probes[size].mismatches or (None,):
                by_path.setdefault(mismatch.path if mismatch else None, []).append((size, mismatch))
        findings: list[Finding] = []
        for path, found in by_path.items():
            size, first = found[0]
            head, tail = ("", "") if findings else (f"{dim.name} is silently wrong: ", others)
            findings.append(
                self.cell.finding(
                    f"{head}traced at {dim.size}, {_sizes_of_a_leaf(found)}{tail}",
                    path=path,
                    details={**dim.details, "size": size, **(first.details() if first else {})},
                )
            )
        return findings

    def _judged_together(self, sizes: Mapping[str, int], probe: Probe, found: list[_Dim]) -> list[Finding]:
        able = [dim for dim in found if dim.name in sizes]
        if probe.kind == "raises" and all(self.cell.spec.shapes.rule(dim.name) == "safe" for dim in able):
            return []
        names = " and ".join(f"{name} {size}" for name, size in sizes.items())
        what = self.cell.failure(probe.error).message if probe.error else probe.mismatches[0].text
        verb = "refuses" if probe.kind == "raises" else "is silently wrong at"
        findings = [self.cell.finding(f"the trace {verb} {names} together, though right at each alone: {what}")]
        causes = causes_at(self.cell, self._inputs(sizes))
        return list(caused(self.cell, findings, causes, hint="take both sizes from x.shape inside the forward"))


def _others(dim: _Dim, found: list[_Dim]) -> str:
    """What is known of the other dims, to be put behind a message."""
    others = ", ".join(
        f"{other.name} is {other.kind} ({', '.join(map(str, other.kinds))})"
        for other in found
        if other is not dim and other.kind != "untested"
    )
    return f"; {others}" if others else ""


def _sizes_of_a_leaf(found: list[tuple[int, Mismatch | None]]) -> str:
    """One output leaf, and the sizes at which it is wrong."""
    size, first = found[0]
    if first is None:
        return f"the program is another one at {', '.join(str(size) for size, _ in found)}"
    verb = f"is off at {size} ({first.text})" if first.kind == "value" else f"at {size} has {first.text}"
    rest = "".join(f" and at {size} ({_amount(m)})" for size, m in found[1:_MOST_SIZES] if m is not None)
    more = len(found) - _MOST_SIZES
    return f"{first.label} {verb}{rest}" + (f" and {more} more size{'s'[: more > 1]}" if more > 0 else "")


def _amount(mismatch: Mismatch) -> str:
    return f"max abs {mismatch.amount:.3g}" if mismatch.kind == "value" else mismatch.text
