"""Other sizes: the shape contract on a grid of probes around the traced size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..diagnosis.merging import merged_dims, without_repeats
from ..nested import Mismatch, compare
from ..result import CheckResult, Finding, Status, Verdict
from ..spec import ShapeContract
from ..subject.inputs import BATCH, DEPTH, TIME, resize, with_guessed_axes
from ..subject.synthesise import is_transformers_model
from ..tracing.graph import differences, graph_of
from ..tracing.trace import quiet
from .base import Check, Context, Probe

__all__ = ["Shapes", "classify", "grid"]

# The largest probe beyond the usual grid, when the forward compares a size with a constant: as a size, and for batches.
_FARTHEST = 2048
_FARTHEST_BATCH = 64
_MOST_DIRECTED = 10
_FAR_SIZES = (64, 128, 256, 512)
_FAR_BATCHES = (8, 16)
# Far sizes are for small inputs: so many positions in all, a batch of 2 at length 256 for one.
_DEAREST = 600
_MOST_SIZES = 3
_META_SIZES = 3


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


def classify(kinds: Mapping[int, str]) -> str:
    """The class of a dim, from the kind of every probe: dynamic, fixed, partial, unsafe or untested."""
    seen = set(kinds.values()) - {"outside"}
    if not seen:
        return "untested"
    if "wrong" in seen:
        return "unsafe"
    if seen == {"equal"}:
        return "dynamic"
    return "fixed" if seen == {"raises"} else "partial"


@dataclass
class _Dim:
    """The probes of one dim; ``size`` is the traced one."""

    name: str
    size: int
    probes: dict[int, Probe]
    wrong_together: bool = False

    @property
    def kinds(self) -> dict[int, str]:
        return {size: probe.kind for size, probe in sorted(self.probes.items())}

    @property
    def kind(self) -> str:
        return "unsafe" if self.wrong_together else classify(self.kinds)


def _convolves(model: torch.nn.Module) -> bool:
    return any(isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)) for module in model.modules())


class Shapes(Check):
    """The shape contract holds at sizes around the traced one: each dim is dynamic, fixed, partial, unsafe or untested."""

    name = "shapes"
    requires = frozenset({"eager", "trace", "equivalence"})
    numeric = False

    def run(self, context: Context) -> CheckResult:
        # A transformers model's images have the size its config says.
        fixed = context.spec.dims is not None or is_transformers_model(context.model)
        known = set(context.dims.sizes(context.inputs))
        if not fixed and any(guard.origin == "size" for guard in context.conversions):
            context.dims = with_guessed_axes(context.inputs, context.dims, convolves=_convolves(context.model))
        sizes = context.dims.sizes(context.inputs)
        if not sizes:
            return CheckResult.skipped(self.name, "no axis of the inputs is known to vary: declare dims=")
        unknown = sorted(set(context.spec.shapes.by_dim) - set(sizes))
        if unknown:
            finding = context.finding(
                f"shapes names a dim that the inputs do not have: {', '.join(unknown)}; there are {', '.join(sizes)}",
                hint="name the dim in dims=, or correct shapes=",
            )
            return CheckResult.failed(self.name, Verdict.SHAPE_SPECIALISED, finding)
        guessed = {TIME, DEPTH} - known
        found = [_Dim(name, size, {}) for name, size in sizes.items()]
        for dim in found:
            limit = context.limits.get(dim.name)
            # One other size shows whether the program is another one; values would need more, and there are none.
            probed = grid(dim.size, limit)
            if context.meta:
                # A trace made at 1 is often another program (a broadcast, a causal flag), and there is nothing else to ask.
                probed = [size for size in probed if size > 1][:_META_SIZES] or probed[:1]
            for size in probed:
                dim.probes[size] = self._probe(context, {dim.name: size})
            if dim.kind in ("dynamic", "partial", "untested"):
                for size in self._directed(context, dim, limit):
                    dim.probes[size] = self._probe(context, {dim.name: size})
        # A guess that eager refutes: the axis holds features.
        found = [dim for dim in found if dim.name not in guessed or dim.kind != "untested"]
        together = self._together(context, found)
        context.found_dims.update({dim.name: dim.kind for dim in found})
        metrics = {
            "dims": {dim.name: {"traced": dim.size, "probes": {str(s): k for s, k in dim.kinds.items()}} for dim in found}
        }
        findings = merged_dims(self._judge(context, context.spec.shapes, dim, found) for dim in found)
        if (values := context.results.get("values")) is not None:
            findings = without_repeats(findings, values.findings)
        if together is not None and not findings:
            findings += self._judge_together(context, *together, found)
        if findings:
            return CheckResult.failed(self.name, Verdict.SHAPE_SPECIALISED, *findings, **metrics)
        notes = tuple(
            context.finding(f"{dim.name} is untested: eager itself refuses every size but {dim.size}")
            for dim in found
            if dim.kind == "untested"
        )
        return CheckResult.passed(self.name, findings=notes, **metrics)

    # Probing

    def _inputs(self, context: Context, sizes: Mapping[str, int], *, fresh: bool = True) -> dict[str, Any]:
        resized = resize(context.inputs, context.dims, sizes, mask=context.mask)
        # Repeated rows could hide that one row was taken for another; other values must have passed for this to be fair.
        if fresh and not context.meta and context.statuses.get("values") is Status.PASSED:
            return context.fresh.redrawn(resized, seed=sum(sizes.values()))
        return resized

    def _probe(self, context: Context, sizes: Mapping[str, int]) -> Probe:
        if context.meta:
            return self._probe_structure(context, sizes)
        probe = context.probe(self._inputs(context, sizes))
        if probe.kind == "outside":
            # Redrawn values may be what eager refused; the observed ones, repeated, have its approval at the traced size.
            again = context.probe(self._inputs(context, sizes, fresh=False))
            return again if again.kind != "outside" else probe
        return probe

    def _probe_structure(self, context: Context, sizes: Mapping[str, int]) -> Probe:
        """Without weights: the traced program must give the shapes, and be the program, that a trace made there has."""
        inputs = self._inputs(context, sizes)
        with quiet():
            try:
                there = graph_of(context.model, context.call, inputs)
            except Exception as error:  # noqa: BLE001 - the model does not trace there: outside its domain
                return Probe("outside", error=error)
            finally:
                context.restore()
        try:
            actual = context.scripted(inputs)
        except Exception as error:  # noqa: BLE001 - a loud refusal
            return Probe("raises", error=error)
        mismatches = tuple(compare(actual, there.outputs))
        return Probe("wrong" if mismatches or differences(context.graph, there) else "equal", mismatches)

    def _directed(self, context: Context, dim: _Dim, limit: int | None) -> list[int]:
        """Sizes on the other side of every number that the forward compares a size with, as the trace shows them."""
        farthest = min(limit or _FARTHEST, _FARTHEST_BATCH if dim.name == BATCH else max(_FARTHEST, 2 * dim.size))
        wanted: list[float] = []
        for guard in context.conversions:
            if guard.origin != "size":
                continue
            factors = [1.0, *(abs(number) for number in guard.moduli if number)]
            for number in guard.thresholds:
                for factor in factors:
                    wanted += [number * factor + 1, number * factor, number * factor - 1, (number + 1) * factor]
            for number in guard.moduli:
                if number >= 2:
                    multiple = (dim.size // number + 1) * number
                    wanted += [multiple, multiple + 1]
            if guard.kind != "bool":
                # A size that became a number can meet a table or a power of two anywhere: a few sizes far off.
                far = _FAR_BATCHES if dim.name == BATCH else _FAR_SIZES
                others = math.prod(context.dims.sizes(context.inputs).values()) // dim.size
                wanted += [size for size in far if size > 2 * dim.size + 1 and size * others <= _DEAREST]
        chosen = dict.fromkeys(int(size) for size in wanted)
        least = 2 if context.meta else 1
        return [s for s in chosen if least <= s <= farthest and s != dim.size and s not in dim.probes][:_MOST_DIRECTED]

    def _together(self, context: Context, found: list[_Dim]) -> tuple[dict[str, int], Probe] | None:
        """One probe with all dims changed at once: two sizes may be right alone and wrong together."""
        able = [dim for dim in found if dim.kind == "dynamic"]
        if len(able) < 2:
            return None
        # The smallest sizes that are no special case: the probe is about the combination, and costs their product.
        equal = {dim.name: [size for size, kind in dim.kinds.items() if kind == "equal"] for dim in able}
        sizes = {name: next((size for size in found if size > 1), 1) for name, found in equal.items()}
        probe = self._probe(context, sizes)
        for dim in able:
            dim.wrong_together = probe.kind == "wrong"
        return (sizes, probe) if probe.kind in ("wrong", "raises") else None

    # Judging

    def _judge(self, context: Context, contract: ShapeContract, dim: _Dim, found: list[_Dim]) -> list[Finding]:
        rule = contract.rule(dim.name)
        kinds = dim.kinds
        allowed = {"safe": {"equal", "raises"}, "dynamic": {"equal"}, "fixed": {"raises"}}[rule]
        offending = [size for size, kind in kinds.items() if kind not in allowed and kind != "outside"]
        if not offending:
            return []
        wrong = [size for size in dim.probes if kinds[size] == "wrong"]
        others = ", ".join(
            f"{other.name} is {other.kind} ({', '.join(map(str, other.kinds))})"
            for other in found
            if other is not dim and other.kind != "untested"
        )
        others = f"; {others}" if others else ""
        if wrong:
            findings = self._wrong(context, dim, wrong, others)
        elif rule == "dynamic":
            error = dim.probes[offending[0]].error
            message = (
                f"{dim.name} is {dim.kind}, declared dynamic: traced at {dim.size}, the trace refuses "
                f"{', '.join(map(str, offending))}: {context.failure(error).message if error else ''}{others}"
            )
            findings = [context.finding(message, details=self._details(dim))]
        else:
            message = (
                f"{dim.name} is {dim.kind}, declared fixed: traced at {dim.size}, the trace accepts "
                f"{', '.join(map(str, offending))} and is right{others}"
            )
            hint = f'declare shapes={{"{dim.name}": "dynamic"}}, which is what the model gives'
            return [context.finding(message, details=self._details(dim), hint=hint)]
        first = wrong[0] if wrong else offending[0]
        causes = context.causes(self._inputs(context, {dim.name: first}))
        if not causes and dim.probes[first].error is not None:
            failure = context.failure(dim.probes[first].error)  # type: ignore[arg-type]
            if failure.file:
                findings[0] = context.finding(
                    f"{findings[0].message} (raised at {failure.file}:{failure.line})", details=findings[0].details
                )
        if not causes:
            mismatches = dim.probes[first].mismatches
            causes = context.warned() or (context.produced(mismatches[0].path) if mismatches else [])
        hint = "keep the size in the graph: use x.shape[i] with tensor operations, and make no Python number of it"
        fixed = f'; or let the model refuse other sizes and declare shapes={{"{dim.name}": "fixed"}}'
        return list(context.caused(findings, causes, hint=hint, also=fixed, verdict=Verdict.SHAPE_SPECIALISED))

    def _wrong(self, context: Context, dim: _Dim, wrong: list[int], others: str) -> list[Finding]:
        """One finding an output leaf, with every size at which it is wrong."""
        by_path: dict[str | None, list[tuple[int, Mismatch | None]]] = {}
        for size in wrong:
            for mismatch in dim.probes[size].mismatches or (None,):
                by_path.setdefault(mismatch.path if mismatch else None, []).append((size, mismatch))
        findings: list[Finding] = []
        for path, found in by_path.items():
            size, first = found[0]
            if first is None:
                text = f"the program is another one at {', '.join(str(size) for size, _ in found)}"
            else:
                rest = [f"{size} ({_amount(m)})" for size, m in found[1:_MOST_SIZES] if m is not None]
                more = len(found) - _MOST_SIZES
                verb = f"is off at {size} ({first.text})" if first.kind == "value" else f"at {size} has {first.text}"
                text = f"{first.label} {verb}" + "".join(f" and at {entry}" for entry in rest)
                text += f" and {more} more size{'s'[: more > 1]}" if more > 0 else ""
            head = f"{dim.name} is silently wrong: " if not findings else ""
            findings.append(
                context.finding(
                    f"{head}traced at {dim.size}, {text}{others if not findings else ''}",
                    path=path,
                    details={**self._details(dim), "size": size, **(first.details() if first else {})},
                )
            )
        return findings

    def _judge_together(self, context: Context, sizes: Mapping[str, int], probe: Probe, found: list[_Dim]) -> list[Finding]:
        able = [dim for dim in found if dim.name in sizes]
        if probe.kind == "raises" and all(context.spec.shapes.rule(dim.name) == "safe" for dim in able):
            return []
        names = " and ".join(f"{name} {size}" for name, size in sizes.items())
        what = context.failure(probe.error).message if probe.error else probe.mismatches[0].text
        verb = "refuses" if probe.kind == "raises" else "is silently wrong at"
        findings = [context.finding(f"the trace {verb} {names} together, though right at each alone: {what}")]
        causes = context.causes(self._inputs(context, sizes))
        hint = "take both sizes from x.shape inside the forward"
        return list(context.caused(findings, causes, hint=hint, verdict=Verdict.SHAPE_SPECIALISED))

    @staticmethod
    def _details(dim: _Dim) -> dict[str, Any]:
        return {"dim": dim.name, "traced": dim.size, "probes": {str(size): kind for size, kind in dim.kinds.items()}}


def _amount(mismatch: Mismatch) -> str:
    return f"max abs {mismatch.amount:.3g}" if mismatch.kind == "value" else mismatch.text
