"""What a call leaves behind."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .. import source
from ..cell import Cell
from ..diagnosis.lines import first_line_where
from ..explain import advice, lines_of
from ..nested import clone, nan_free, tensors
from ..probing.axes import probed_dims
from ..probing.values import joints, single
from ..result import Finding, Verdict
from ..subject import history
from ..subject.inputs import resize
from ..survey import overwritten
from ..tracing.trace import quiet
from .base import Check, Evidence, Found

__all__ = ["Purity"]

_Writes = list[tuple[str, source.Line | None]]


class Purity(Check):
    """Calls change neither the inputs nor the model's own state, so the answer does not depend on call history."""

    name = "purity"
    reads = frozenset({"random", "refused", "traced", "explored", "overwritten"})

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        if evidence.refused:
            return self.skipped("eager failed")
        survey = cell.survey
        writes: dict[str, Mapping[str, Any]] = dict.fromkeys(survey.inputs, cell.inputs)
        # A clamp changes only what is out of its range: the probes may have shown that, else values are tried for it.
        writes = {**(evidence.explored.overwritten if evidence.explored else {}), **writes}
        if not writes and survey.touched:
            writes = _reached(cell)
        findings = [_overwritten_input(cell, path, inputs) for path, inputs in writes.items()]
        # One fault, one verdict: `weights` has named the others.
        parameters = [name for name in survey.parameters if name not in evidence.overwritten]
        findings += [_written_state(cell, "parameter", name, line) for name, line in lines_of(cell, parameters)]
        findings += [_written_state(cell, "buffer", name, line) for name, line in lines_of(cell, survey.buffers)]
        if not findings and not evidence.random and not evidence.overwritten:
            # A written attribute is no failure by itself: many models keep an attention map there for their users.
            findings += _history(cell, evidence) if survey.attributes else []
            findings = findings or _by_observed_call(cell, evidence)
        if findings:
            return self.failed(Verdict.SIDE_EFFECT, *findings)
        return self.passed(attributes_written=list(survey.attributes))


def _reached(cell: Cell) -> dict[str, Mapping[str, Any]]:
    """By path, the inputs that a call overwrites at other values; with the first values that show it."""
    for _, inputs in itertools.chain(joints(cell), single(cell, ())):
        given = clone(dict(inputs))
        with contextlib.suppress(Exception):
            # Eager may refuse these values.
            cell.eager_on(given)
            if paths := overwritten(inputs, given):
                return dict.fromkeys(paths, inputs)
    return {}


def _overwritten_input(cell: Cell, path: str, inputs: Mapping[str, Any]) -> Finding:
    observed = dict(tensors(inputs)).get(path)
    other = "" if inputs is cell.inputs else ", at other values than the traced ones"
    what = f"overwrites its input {path!r}" if observed is not None else f"adds {path!r} to its input"
    message = f"a call {what}{other}"
    hint = advice(cell, Verdict.SIDE_EFFECT, error=message)
    return cell.finding(message, path=path, line=_overwritten_at(cell, path, inputs), where="written at", hint=hint)


def _overwritten_at(cell: Cell, path: str, inputs: Mapping[str, Any]) -> source.Line | None:
    given = clone(dict(inputs))
    args, kwargs = cell.call.arguments(given)
    with cell.trying():
        return first_line_where(lambda: cell.model(*args, **kwargs), lambda: path in overwritten(inputs, given))


def _written_state(cell: Cell, kind: str, name: str, line: source.Line | None) -> Finding:
    message = f"a call changes the {kind} {name!r}"
    hint = advice(cell, Verdict.SIDE_EFFECT, error=message)
    return cell.finding(message, path=name, line=line, where="written at", hint=hint)


def _history(cell: Cell, evidence: Evidence) -> list[Finding]:
    """A finding where the outputs for one input depend on an earlier call with another input."""
    message = _dependence(cell, evidence)
    return [] if message is None else [_by_attributes(cell, message, lines_of(cell, cell.survey.attributes))]


def _dependence(cell: Cell, evidence: Evidence) -> str | None:
    asked: list[tuple[str, Mapping[str, Any], Any]] = []
    for label, inputs in _others(cell, evidence):
        try:
            fresh = cell.eager(inputs)
        except Exception:  # noqa: BLE001, S112 - an input that eager refuses is outside the model's domain
            continue
        if nan_free(fresh):
            asked.append((label, inputs, fresh))
    with cell.trying():
        cell.eager(restore=False)
        for label, inputs, fresh in asked:
            try:
                later = cell.eager(inputs, restore=False)
            except Exception as error:  # noqa: BLE001 - eager accepted this input before, so the error is the finding
                return f"{label} is refused after another call, though accepted before: {cell.failure(error).message}"
            mismatches = cell.compare(later, fresh)
            if mismatches:
                return f"{label}: the answer depends on the call before, {mismatches[0].label} by {mismatches[0].text}"
    return None


def _by_observed_call(cell: Cell, evidence: Evidence) -> list[Finding]:
    """Findings where the outputs depend on what the observed call left in the model."""
    effects = cell.call.effects
    if effects is None or effects.before.model is not cell.model:
        return []
    others = _others(cell, evidence)

    def run(inputs: Mapping[str, Any]) -> Any:
        return cell.eager(inputs, restore=False)

    def written_at(name: str) -> source.Line | None:
        with effects.undone() as before, quiet():
            return first_line_where(lambda: cell.call.run(cell.model), lambda: before.differs(name))

    written = history.overwritten(effects, run, cell.inputs, others[0][1]) if effects.buffers else []
    if written:
        return [_written_state(cell, "buffer", name, written_at(name)) for name in written]
    found = history.dependence(effects, run, cell.inputs, others, lambda left, right: bool(cell.compare(left, right)))
    if found is None:
        return []
    if found.error is not None and found.alone is None:
        failure = cell.failure(found.error)
        message = f"{found.label} is refused by a model in eval mode that was never called before: {failure.message}"
        return [replace(failure, message=message, hint="set in the constructor what a call needs")]
    if found.error is not None:
        cause = cell.failure(found.error).message
        message = f"{found.label} is refused after another call, though accepted by a model never called before: {cause}"
    else:
        first = cell.compare(found.later, found.alone)[0]
        message = f"{found.label}: the answer depends on the first call of the model, {first.label} by {first.text}"
    line = written_at(found.names[0])
    return [_by_attributes(cell, message, [(name, line) for name in found.names])]


def _others(cell: Cell, evidence: Evidence) -> list[tuple[str, Mapping[str, Any]]]:
    """Another input of the same shape, and one with every dim at another size."""
    others: list[tuple[str, Mapping[str, Any]]] = [("another input", cell.fresh.redrawn(cell.inputs, seed=7))]
    tried: list[Mapping[str, int]] = [{}]
    # Both kinds of dims are tried, since eager may refuse another size of a guessed axis.
    for dims in (cell.dims, probed_dims(cell, evidence.conversions)):
        sizes = {
            dim: size + 1 if size < cell.limits.get(dim, size + 1) else max(size - 1, 1)
            for dim, size in dims.sizes(cell.inputs).items()
        }
        if sizes not in tried:
            tried.append(sizes)
            label = "an input with " + " and ".join(f"{dim} {size}" for dim, size in sizes.items())
            others.append((label, resize(cell.inputs, dims, sizes, mask=cell.mask)))
    return others


def _by_attributes(cell: Cell, message: str, attributes: _Writes) -> Finding:
    kept = f" (kept in {', '.join(name for name, _ in attributes[:3])})" if attributes else ""
    return cell.finding(
        message + kept,
        path=attributes[0][0] if attributes else None,
        line=next((line for _, line in attributes if line), None),
        where="written at",
        hint=advice(cell, Verdict.SIDE_EFFECT),
    )
