"""Fresh values of the same shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..cell import Cell
from ..explain import caused, causes_at, produced, warned
from ..nested import tensors
from ..probing.run import Probe, probe
from ..result import Finding, Verdict
from ..subject.inputs import PADDED_AT_START, mapped
from ..tracing.conversions import Conversion
from .base import Check, Evidence, Found

__all__ = ["Values"]

_MOST_FAILING = 3
_HINT = "keep the decision in the graph: torch.where, masks or tensor operations instead of Python values"


class Values(Check):
    """The trace equals eager for fresh values of the same shape: floats, integers and masks other than the traced ones."""

    name = "values"
    requires = frozenset({"eager", "trace", "equivalence"})
    reads = frozenset({"expected", "traced"})
    gives = frozenset({"values_hold"})

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        failing: list[tuple[str, Mapping[str, Any], Probe]] = []
        notes: list[Finding] = []
        equal = outside = 0
        for label, inputs in _probes(cell, evidence):
            outcome = probe(cell, evidence.program, inputs)
            if outcome.kind == "equal":
                equal += 1
            elif outcome.kind == "outside":
                outside += 1
            elif PADDED_AT_START in label and not cell.pads_at_start:
                # torch's own TransformerEncoder takes another path there. A deployment that pads at the end, as the
                # observed mask does, never meets it; one that pads at the start is warned here.
                notes.append(cell.finding(f"the trace is not right for a {label}, unlike the observed one: pad at the end"))
            else:
                failing.append((label, inputs, outcome))
                if len(failing) == _MOST_FAILING:
                    break
        metrics: dict[str, Any] = {"equal": equal, "outside": outside, "failing": len(failing)}
        if failing:
            return self.failed(Verdict.VALUE_SPECIALISED, *_findings(cell, evidence, failing), **metrics)
        if not equal:
            notes.append(cell.finding("eager refuses all fresh values tried: nothing is known about other values"))
        return self.passed(notes, gives={"values_hold": True}, **metrics)


def _findings(cell: Cell, evidence: Evidence, failing: list[tuple[str, Mapping[str, Any], Probe]]) -> tuple[Finding, ...]:
    label, inputs, first = failing[0]
    names = ", ".join(name for name, _, _ in failing)
    findings = []
    if first.error is not None:
        failure = cell.failure(first.error)
        findings.append(cell.finding(f"the trace refuses other values that eager accepts ({names}): {failure.message}"))
    findings += [
        cell.finding(
            f"the trace is silently wrong for other values of the same shape ({names}): "
            f"{mismatch.label} is off, {mismatch.text}",
            path=mismatch.path,
            details={**mismatch.details(), "variant": label},
        )
        for mismatch in first.mismatches
    ]
    causes = causes_at(cell, inputs) or warned(evidence.traced)
    if not causes and first.mismatches and evidence.traced is not None:
        causes = produced(evidence.traced, evidence.expected, first.mismatches[0].path)
    return caused(cell, findings, causes, hint=_HINT)


def _probes(cell: Cell, evidence: Evidence) -> Iterator[tuple[str, Mapping[str, Any]]]:
    observed = dict(tensors(cell.inputs))
    guards = [conversion for conversion in evidence.conversions if conversion.origin == "value"]
    for label, inputs in cell.fresh.variants(cell.inputs):
        if any(not torch.equal(tensor, observed[path]) for path, tensor in tensors(inputs)):
            yield label, inputs
    if guards:
        yield from _with_a_nan(cell, observed)
    yield from _alike(cell, observed)
    yield from _directed(cell, observed, guards)


def _with_a_nan(cell: Cell, observed: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A NaN, which a forward that asks its inputs may be on guard against; most models answer it with NaN."""
    floats = {path for path, tensor in observed.items() if tensor.is_floating_point() and tensor.numel()}
    if floats:
        yield "one NaN among the floats", mapped(cell.inputs, lambda p, t: _first_nan(t) if p in floats else t)


def _alike(cell: Cell, observed: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Two inputs that hold the same: equality is asked without a trace of it."""
    floats = [path for path, tensor in observed.items() if tensor.is_floating_point() and path != cell.mask]
    for index, path in enumerate(floats[1:], start=1):
        twin = next((o for o in floats[:index] if observed[o].shape == observed[path].shape), None)
        if twin is not None and observed[twin].dtype == observed[path].dtype:
            yield (
                f"{path} like {twin}",
                mapped(cell.inputs, lambda p, t, a=path, b=twin: observed[b].clone() if p == a else t),
            )
            return


def _directed(
    cell: Cell, observed: Mapping[str, torch.Tensor], guards: list[Conversion]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Values around the numbers that the forward compares its inputs with, as the trace shows them."""
    numbers = sorted({number for guard in guards for number in guard.thresholds})[:8]
    largest = max((float(t.abs().max()) for t in observed.values() if t.is_floating_point() and t.numel()), default=0.0)
    for number in numbers:
        if largest and number:
            # Just above, far above and just below: a threshold few values pass is another case than one that all pass.
            for factor in (1.05, 2.0, -2.0, 0.95):
                scale = factor * abs(number) / largest
                yield f"floats scaled around {number:g}", cell.fresh.scaled(cell.inputs, scale)
        if largest:
            for offset in (number + largest, number - largest):
                yield (
                    f"floats moved to {offset:g}",
                    mapped(
                        cell.inputs,
                        lambda path, t, by=offset: t + by if t.is_floating_point() and path != cell.mask else t.clone(),
                    ),
                )
        if number == int(number):
            for place in ("middle", "first", "last", "every"):
                yield (
                    f"integers holding {int(number)} at the {place} position",
                    mapped(
                        cell.inputs,
                        lambda path, t, n=int(number), at=place: _holding(cell, path, t, n, at),
                    ),
                )
            yield (
                f"integers without {int(number)}",
                mapped(cell.inputs, lambda path, t, n=int(number): _without(cell, path, t, n)),
            )
    if any(guard.kind in ("float", "number") for guard in guards) and largest:
        yield "floats scaled by 1e5", cell.fresh.scaled(cell.inputs, 1e5)


def _is_plain_integer(cell: Cell, path: str, tensor: torch.Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool or path == cell.mask)


def _holding(cell: Cell, path: str, tensor: torch.Tensor, number: int, place: str) -> torch.Tensor:
    """``number`` at one place of every row, or everywhere, if the input may hold it."""
    tensor = tensor.clone()
    low, high = cell.fresh.range_of(path, tensor)
    if _is_plain_integer(cell, path, tensor) and tensor.ndim and tensor.numel() and low <= number < high:
        index: Any = {"first": 0, "last": -1, "middle": tensor.shape[-1] // 2, "every": slice(None)}[place]
        tensor[..., index] = number
    return tensor


def _without(cell: Cell, path: str, tensor: torch.Tensor, number: int) -> torch.Tensor:
    """Every ``number`` replaced by a neighbour that the input may hold."""
    low, high = cell.fresh.range_of(path, tensor)
    if not _is_plain_integer(cell, path, tensor) or high - low < 2:
        return tensor.clone()
    other = number + 1 if number + 1 < high else number - 1
    return torch.where(tensor == number, torch.full_like(tensor, other), tensor)


def _first_nan(tensor: torch.Tensor) -> torch.Tensor:
    changed = tensor.detach().clone()
    changed[(0,) * changed.ndim] = float("nan")
    return changed
