"""Fresh values of the same shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..nested import tensors
from ..result import CheckResult, Finding, Verdict
from ..subject.inputs import PADDED_AT_START, mapped
from .base import Check, Context, Probe

__all__ = ["Values"]


class Values(Check):
    """The trace equals eager for fresh values of the same shape: floats, integers and masks other than the traced ones."""

    name = "values"
    requires = frozenset({"eager", "trace", "equivalence"})

    def run(self, context: Context) -> CheckResult:
        failing: list[tuple[str, Mapping[str, Any], Probe]] = []
        notes: list[Finding] = []
        equal = outside = 0
        for label, inputs in self._probes(context):
            probe = context.probe(inputs)
            if probe.kind == "equal":
                equal += 1
            elif probe.kind == "outside":
                outside += 1
            elif PADDED_AT_START in label and not context.pads_at_start:
                # torch's own TransformerEncoder takes another path there. Who pads at the end, as the observed mask does,
                # never meets it; who does not reads it here.
                notes.append(context.finding(f"the trace is not right for a {label}, unlike the observed one: pad at the end"))
            else:
                failing.append((label, inputs, probe))
                if len(failing) == 3:  # more of the same tells nothing new
                    break
        metrics = {"equal": equal, "outside": outside, "failing": len(failing)}
        if not failing:
            if not equal:
                notes.append(context.finding("eager refuses all fresh values tried: nothing is known about other values"))
            return CheckResult.passed(self.name, findings=tuple(notes), **metrics)
        label, inputs, probe = failing[0]
        names = ", ".join(name for name, _, _ in failing)
        findings = []
        if probe.error is not None:
            failure = context.failure(probe.error)
            findings.append(context.finding(f"the trace refuses other values that eager accepts ({names}): {failure.message}"))
        findings += [
            context.finding(
                f"the trace is silently wrong for other values of the same shape ({names}): "
                f"{mismatch.label} is off, {mismatch.text}",
                path=mismatch.path,
                details={**mismatch.details(), "variant": label},
            )
            for mismatch in probe.mismatches
        ]
        causes = context.causes(inputs) or context.warned()
        if not causes and probe.mismatches:
            causes = context.produced(probe.mismatches[0].path)
        hint = "keep the decision in the graph: torch.where, masks or tensor operations instead of Python values"
        caused = context.caused(findings, causes, hint=hint, verdict=Verdict.VALUE_SPECIALISED)
        return CheckResult.failed(self.name, Verdict.VALUE_SPECIALISED, *caused, **metrics)

    def _probes(self, context: Context) -> Iterator[tuple[str, Mapping[str, Any]]]:
        observed = dict(tensors(context.inputs))
        for label, inputs in context.fresh.variants(context.inputs):
            if any(not torch.equal(tensor, observed[path]) for path, tensor in tensors(inputs)):
                yield label, inputs
        if any(conversion.origin == "value" for conversion in context.conversions):
            yield from self._guarded(context, observed)
        yield from self._alike(context, observed)
        yield from self._directed(context, observed)

    @staticmethod
    def _guarded(context: Context, observed: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """A NaN, which a forward that asks its inputs may be on guard against; most models answer it with NaN."""
        floats = {path for path, tensor in observed.items() if tensor.is_floating_point() and tensor.numel()}
        if floats:
            yield "one NaN among the floats", mapped(context.inputs, lambda p, t: _first_nan(t) if p in floats else t)

    @staticmethod
    def _alike(context: Context, observed: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Two inputs that hold the same: equality is asked without a trace of it."""
        floats = [path for path, tensor in observed.items() if tensor.is_floating_point() and path != context.mask]
        for index, path in enumerate(floats[1:], start=1):
            twin = next((o for o in floats[:index] if observed[o].shape == observed[path].shape), None)
            if twin is not None and observed[twin].dtype == observed[path].dtype:
                yield (
                    f"{path} like {twin}",
                    mapped(context.inputs, lambda p, t, a=path, b=twin: observed[b].clone() if p == a else t),
                )
                return

    def _directed(self, context: Context, observed: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Values around the numbers that the forward compares its inputs with, as the trace shows them."""
        guards = [conversion for conversion in context.conversions if conversion.origin == "value"]
        numbers = sorted({number for guard in guards for number in guard.thresholds})[:8]
        largest = max((float(t.abs().max()) for t in observed.values() if t.is_floating_point() and t.numel()), default=0.0)
        for number in numbers:
            if largest and number:
                # Just above, far above and just below: a threshold few values pass is another case than one that all pass.
                for factor in (1.05, 2.0, -2.0, 0.95):
                    scale = factor * abs(number) / largest
                    yield f"floats scaled around {number:g}", context.fresh.scaled(context.inputs, scale)
            if largest:
                for offset in (number + largest, number - largest):
                    yield (
                        f"floats moved to {offset:g}",
                        mapped(
                            context.inputs,
                            lambda path, t, by=offset: t + by if t.is_floating_point() and path != context.mask else t.clone(),
                        ),
                    )
            if number == int(number):
                for place in ("middle", "first", "last", "every"):
                    yield (
                        f"integers holding {int(number)} at the {place} position",
                        mapped(
                            context.inputs,
                            lambda path, t, n=int(number), at=place: _holding(context, path, t, n, at),
                        ),
                    )
                yield (
                    f"integers without {int(number)}",
                    mapped(context.inputs, lambda path, t, n=int(number): _without(context, path, t, n)),
                )
        if any(guard.kind in ("float", "number") for guard in guards) and largest:
            yield "floats scaled by 1e5", context.fresh.scaled(context.inputs, 1e5)


def _is_plain_integer(context: Context, path: str, tensor: torch.Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool or path == context.mask)


def _holding(context: Context, path: str, tensor: torch.Tensor, number: int, place: str) -> torch.Tensor:
    """``number`` at one place of every row, or everywhere, if the input may hold it."""
    tensor = tensor.clone()
    low, high = context.fresh.range_of(path, tensor)
    if _is_plain_integer(context, path, tensor) and tensor.ndim and tensor.numel() and low <= number < high:
        index: Any = {"first": 0, "last": -1, "middle": tensor.shape[-1] // 2, "every": slice(None)}[place]
        tensor[..., index] = number
    return tensor


def _without(context: Context, path: str, tensor: torch.Tensor, number: int) -> torch.Tensor:
    """Every ``number`` replaced by a neighbour that the input may hold."""
    low, high = context.fresh.range_of(path, tensor)
    if not _is_plain_integer(context, path, tensor) or high - low < 2:
        return tensor.clone()
    other = number + 1 if number + 1 < high else number - 1
    return torch.where(tensor == number, torch.full_like(tensor, other), tensor)


def _first_nan(tensor: torch.Tensor) -> torch.Tensor:
    changed = tensor.detach().clone()
    changed[(0,) * changed.ndim] = float("nan")
    return changed
