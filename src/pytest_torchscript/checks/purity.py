"""What a call leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from .. import source
from ..diagnosis.lines import first_line_where
from ..nested import clone, identical, tensors
from ..result import CheckResult, Finding, Status, Verdict
from ..subject.history import dependence, overwritten
from ..subject.inputs import resize
from ..tracing.trace import quiet
from .base import Check, Context, finite, state_writes

__all__ = ["Purity"]


class Purity(Check):
    """Calls change neither the inputs nor the model's own state, so the answer does not depend on call history."""

    name = "purity"

    def run(self, context: Context) -> CheckResult:
        if context.expected is None and context.statuses.get("eager") is Status.FAILED:
            return CheckResult.skipped(self.name, "eager failed")
        writes = state_writes(context)
        registered = {name: "buffer" for name, _ in context.model.named_buffers()}
        registered |= {name: "parameter" for name, _ in context.model.named_parameters()}
        findings = self._inputs(context) + [
            self._written_state(context, registered[name], name, line) for name, line in writes if name in registered
        ]
        # Plain attributes are no failure in themselves: many models keep an attention map there for whoever wants it.
        attributes = [write for write in writes if write[0] not in registered]
        if not findings and not context.random:
            findings += self._history(context, attributes) or self._observed(context)
        if findings:
            return CheckResult.failed(self.name, Verdict.SIDE_EFFECT, *findings)
        return CheckResult.passed(self.name, attributes_written=[name for name, _ in attributes])

    def _inputs(self, context: Context) -> list[Finding]:
        """Inputs that a call overwrites."""
        given = clone(dict(context.inputs))
        with quiet(), torch.no_grad():
            try:
                args, kwargs = context.call.arguments(given)
                context.model(*args, **kwargs)
            finally:
                context.restore()
        observed = dict(tensors(context.inputs))
        left = dict(tensors(given))
        changed = [path for path in {**observed, **left} if _changed(observed.get(path), left.get(path))]
        return [
            context.finding(
                f"a call overwrites its input {path!r}" if path in observed else f"a call adds {path!r} to its input",
                path=path,
                line=self._overwritten_at(context, path, observed.get(path)),
                where="written at",
                hint="work on a copy of the input: clone(), or the operation without the trailing underscore",
            )
            for path in changed
        ]

    @staticmethod
    def _overwritten_at(context: Context, path: str, observed: torch.Tensor | None) -> source.Line | None:
        given = clone(dict(context.inputs))
        args, kwargs = context.call.arguments(given)
        with quiet():
            try:
                return first_line_where(
                    lambda: context.model(*args, **kwargs), lambda: _changed(observed, dict(tensors(given)).get(path))
                )
            finally:
                context.restore()

    @staticmethod
    def _written_state(context: Context, kind: str, name: str, line: source.Line | None) -> Finding:
        return context.finding(
            f"a call changes the {kind} {name!r}",
            path=name,
            line=line,
            where="written at",
            hint="return the new state as an output, and take the old one as an input",
        )

    def _history(self, context: Context, attributes: list[tuple[str, source.Line | None]]) -> list[Finding]:
        """Whether the answer to one input depends on another having been asked before."""
        asked: list[tuple[str, Mapping[str, Any], Any]] = []
        for label, inputs in self._others(context):
            try:
                fresh = context.eager(inputs)
            except Exception:  # noqa: BLE001, S112 - eager refuses this input anyway
                continue
            if finite(fresh):
                asked.append((label, inputs, fresh))
        try:
            context.eager(restore=False)
            for label, inputs, fresh in asked:
                try:
                    later = context.eager(inputs, restore=False)
                except Exception as error:  # noqa: BLE001 - accepted when asked first, refused when asked second
                    cause = context.failure(error).message
                    message = f"{label} is refused after another call, though accepted before: {cause}"
                    return [self._by_attributes(context, message, attributes)]
                mismatches = context.compare(later, fresh)
                if mismatches:
                    first = mismatches[0]
                    message = f"{label}: the answer depends on the call before, {first.label} by {first.text}"
                    return [self._by_attributes(context, message, attributes)]
        finally:
            context.restore()
        return []

    def _observed(self, context: Context) -> list[Finding]:
        """Whether the answer depends on what the observed call left in the model."""
        effects = context.call.effects
        if effects is None or effects.before.model is not context.model:
            return []
        others = self._others(context)

        def run(inputs: Mapping[str, Any]) -> Any:
            return context.eager(inputs, restore=False)

        def written_at(name: str) -> source.Line | None:
            with effects.undone() as before, quiet():
                return first_line_where(lambda: context.call.run(context.model), lambda: before.differs(name))

        written = overwritten(effects, run, context.inputs, others[0][1]) if effects.buffers else []
        if written:
            return [self._written_state(context, "buffer", name, written_at(name)) for name in written]
        found = dependence(effects, run, context.inputs, others, lambda left, right: bool(context.compare(left, right)))
        if found is None:
            return []
        if found.error is not None and found.alone is None:
            failure = context.failure(found.error)
            message = f"{found.label} is refused by a model in eval mode that was never called before: {failure.message}"
            return [replace(failure, message=message, hint="set in the constructor what a call needs")]
        line = written_at(found.names[0])
        if found.error is not None:
            cause = context.failure(found.error).message
            message = f"{found.label} is refused after another call, though accepted by a model never called before: {cause}"
        else:
            first = context.compare(found.later, found.alone)[0]
            message = f"{found.label}: the answer depends on the first call of the model, {first.label} by {first.text}"
        return [self._by_attributes(context, message, [(name, line) for name in found.names])]

    def _others(self, context: Context) -> list[tuple[str, Mapping[str, Any]]]:
        """Another input of the same shape, and one with every dim at another size."""
        others: list[tuple[str, Mapping[str, Any]]] = [("another input", context.fresh.redrawn(context.inputs, seed=7))]
        sizes = {
            dim: size + 1 if size < context.limits.get(dim, size + 1) else max(size - 1, 1)
            for dim, size in context.dims.sizes(context.inputs).items()
        }
        if sizes:
            label = "an input with " + " and ".join(f"{dim} {size}" for dim, size in sizes.items())
            others.append((label, resize(context.inputs, context.dims, sizes, mask=context.mask)))
        return others

    @staticmethod
    def _by_attributes(context: Context, message: str, attributes: list[tuple[str, source.Line | None]]) -> Finding:
        kept = f" (kept in {', '.join(name for name, _ in attributes[:3])})" if attributes else ""
        return context.finding(
            message + kept,
            path=attributes[0][0] if attributes else None,
            line=next((line for _, line in attributes if line), None),
            where="written at",
            hint="keep no state between calls: return it, or compute it anew",
        )


def _changed(before: torch.Tensor | None, now: torch.Tensor | None) -> bool:
    if before is None or now is None:
        return before is not now
    return not identical(before, now)
