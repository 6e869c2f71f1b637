"""Other sizes: the shape contract on the probes of each dim."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cell import Cell
from ..diagnosis.cause import Cause
from ..diagnosis.merging import merged_dims
from ..explain import caused, causes_at, produced, warned
from ..nested import Mismatch
from ..probing.explore import explored
from ..probing.explored import Explored, Factor
from ..probing.run import Probe
from ..probing.structure import explored_structure
from ..result import Finding, Verdict
from .base import Check, Evidence, Found

__all__ = ["Shapes"]

_MOST_SIZES = 3
_ALLOWED: Mapping[str, Collection[str]] = {"safe": ("equal", "raises"), "dynamic": ("equal",), "fixed": ("raises",)}


class Shapes(Check):
    """The shape contract holds at the sizes tried: each dim is dynamic, fixed, partial, unsafe or untested."""

    name = "shapes"
    requires = frozenset({"eager", "trace", "equivalence"})
    reads = frozenset({"expected", "traced", "explored", "value_lines"})
    gives = frozenset({"dims", "explored"})
    numeric = False

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        assert evidence.traced is not None
        found = evidence.explored
        if found is None:
            found = (explored_structure if cell.meta else explored)(cell, evidence.traced)
        if not found.sizes:
            return self.skipped("no axis of the inputs is known to vary: declare dims=")
        unknown = sorted(set(cell.spec.shapes.by_dim) - set(found.sizes))
        if unknown:
            finding = cell.finding(
                f"shapes names a dim that the inputs do not have: {', '.join(unknown)}; there are {', '.join(found.sizes)}",
                hint="name the dim in dims=, or correct shapes=",
            )
            return self.failed(Verdict.SHAPE_SPECIALISED, finding)
        judged = _Judged(cell, evidence, found)
        findings = judged.findings()
        found = found.undecided(judged.of_values)
        gives = {"dims": {dim: found.state(dim) for dim in found.sizes}, "explored": found}
        metrics = {"dims": {dim: {"traced": size, "probes": _probes(found, dim)} for dim, size in found.sizes.items()}}
        if findings:
            return self.failed(Verdict.SHAPE_SPECIALISED, *findings, gives=gives, **metrics)
        return self.passed(judged.notes(), gives=gives, **metrics)


def _probes(found: Explored, dim: str) -> dict[str, str]:
    return {str(size): kind for size, kind in found.kinds(dim).items()}


@dataclass(frozen=True)
class _Judged:
    """The probes of one cell against its shape contract.

    ``of_values`` holds the dims that are wrong by the lines which ``values`` has named, with that as the reason: what differs
    there is the values, and the size may be safe.
    """

    cell: Cell
    evidence: Evidence
    found: Explored
    of_values: dict[str, str] = field(default_factory=dict)

    def findings(self) -> list[Finding]:
        alone = merged_dims(self._alone(dim) for dim in self.found.sizes)
        return alone or [finding for factor in self.found.together for finding in self._together(factor)]

    def notes(self) -> list[Finding]:
        return [
            self.cell.finding(f"{dim} is untested: {self.of_values.get(dim) or self.found.reason(dim)}")
            for dim in self.found.sizes
            if dim in self.of_values or self.found.state(dim) == "untested"
        ]

    def _alone(self, dim: str) -> list[Finding]:
        rule = self.cell.spec.shapes.rule(dim)
        kinds, probes = self.found.kinds(dim), self.found.probes[dim]
        offending = [size for size in probes if kinds[size] not in _ALLOWED[rule] and kinds[size] != "outside"]
        if not offending:
            return []
        others = self._others(dim)
        wrong = [size for size in offending if kinds[size] == "wrong"]
        if not wrong and rule == "fixed":
            return [self._declared_fixed(dim, sorted(offending), others)]
        findings = self._wrong(dim, wrong, others) if wrong else [self._declared_dynamic(dim, sorted(offending), others)]
        first = wrong[0] if wrong else sorted(offending)[0]
        causes = causes_at(self.cell, self.found.inputs[dim, first])
        if causes and {(cause.line.file, cause.line.line) for cause in causes} <= self.evidence.value_lines:
            self.of_values[dim] = f"the line that values names makes it wrong ({self.found.reason(dim)})"
            return []
        if not causes:
            findings[0] = self._with_place(findings[0], probes[first])
            causes = self._lesser_causes(probes[first])
        hint = "keep the size in the graph: use x.shape[i] with tensor operations, and make no Python number of it"
        fixed = f'; or let the model refuse other sizes and declare shapes={{"{dim}": "fixed"}}'
        return self._caused(findings, causes, hint, also=fixed)

    def _caused(self, findings: list[Finding], causes: list[Cause], hint: str, *, also: str = "") -> list[Finding]:
        verdict, conversions = Verdict.SHAPE_SPECIALISED, self.evidence.conversions
        return list(caused(self.cell, findings, causes, hint=hint, verdict=verdict, conversions=conversions, also=also))

    def _details(self, dim: str) -> dict[str, Any]:
        return {"dim": dim, "traced": self.found.sizes[dim], "probes": _probes(self.found, dim)}

    def _others(self, dim: str) -> str:
        """What is known of the other dims, to be put behind a message."""
        states = {other: self.found.state(other) for other in self.found.sizes if other != dim}
        others = ", ".join(
            f"{other} is {state} ({', '.join(map(str, self.found.kinds(other)))})"
            for other, state in states.items()
            if state != "untested"
        )
        return f"; {others}" if others else ""

    def _declared_fixed(self, dim: str, offending: list[int], others: str) -> Finding:
        message = (
            f"{dim} is {self.found.state(dim)}, declared fixed: traced at {self.found.sizes[dim]}, the trace accepts "
            f"{', '.join(map(str, offending))} and is right{others}"
        )
        hint = f'declare shapes={{"{dim}": "dynamic"}}, which is what the model gives'
        return self.cell.finding(message, details=self._details(dim), hint=hint)

    def _declared_dynamic(self, dim: str, offending: list[int], others: str) -> Finding:
        error = self.found.probes[dim][offending[0]].error
        message = (
            f"{dim} is {self.found.state(dim)}, declared dynamic: traced at {self.found.sizes[dim]}, the trace refuses "
            f"{', '.join(map(str, offending))}: {self.cell.failure(error).message if error else ''}{others}"
        )
        return self.cell.finding(message, details=self._details(dim))

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

    def _wrong(self, dim: str, wrong: list[int], others: str) -> list[Finding]:
        """One finding an output leaf, with every size at which it is wrong."""
        by_path: dict[str | None, list[tuple[int, Mismatch | None]]] = {}
        for size in wrong:
            for mismatch in self.found.probes[dim][size].mismatches or (None,):
                by_path.setdefault(mismatch.path if mismatch else None, []).append((size, mismatch))
        findings: list[Finding] = []
        for path, found in by_path.items():
            size, first = found[0]
            head, tail = ("", "") if findings else (f"{dim} is silently wrong: ", others)
            findings.append(
                self.cell.finding(
                    f"{head}traced at {self.found.sizes[dim]}, {_sizes_of_a_leaf(found)}{tail}",
                    path=path,
                    details={**self._details(dim), "size": size, **(first.details() if first else {})},
                )
            )
        return findings

    def _together(self, factor: Factor) -> list[Finding]:
        """What disagrees only where several dims have another size at once."""
        raises = factor.probe.kind == "raises"
        if raises and all(self.cell.spec.shapes.rule(dim) == "safe" for dim in factor.sizes):
            return []
        names = " and ".join(f"{dim} {size}" for dim, size in factor.sizes.items())
        what = self.cell.failure(factor.probe.error).message if factor.probe.error else _first_text(factor.probe.mismatches)
        verb = "refuses" if raises else "is silently wrong at"
        alone = {self.found.probes[dim][size].kind for dim, size in factor.sizes.items() if size in self.found.probes[dim]}
        why = "though right at each alone" if alone == {"equal"} else "which eager takes together"
        findings = [self.cell.finding(f"the trace {verb} {names} together, {why}: {what}")]
        causes = causes_at(self.cell, factor.inputs) or self._lesser_causes(factor.probe)
        return self._caused(findings, causes, "take both sizes from x.shape inside the forward")


def _first_text(mismatches: tuple[Mismatch, ...]) -> str:
    return mismatches[0].text if mismatches else "the program is another one"


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
