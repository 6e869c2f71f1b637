"""What a call leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .. import source
from ..diagnosis.lines import first_line_where
from ..nested import clone, identical, tensors
from ..result import CheckResult, Finding, Status, Verdict
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
            findings += self._history(context, attributes)
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
        found = []
        for path in changed:
            message = f"a call overwrites its input {path!r}" if path in observed else f"a call adds {path!r} to its input"
            line = self._overwritten_at(context, path, observed.get(path))
            hint = context.advice(Verdict.SIDE_EFFECT, error=message)
            found.append(context.finding(message, path=path, line=line, where="written at", hint=hint))
        return found

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
        message = f"a call changes the {kind} {name!r}"
        hint = context.advice(Verdict.SIDE_EFFECT, error=message)
        return context.finding(message, path=name, line=line, where="written at", hint=hint)

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
            hint=context.advice(Verdict.SIDE_EFFECT),
        )


def _changed(before: torch.Tensor | None, now: torch.Tensor | None) -> bool:
    if before is None or now is None:
        return before is not now
    return not identical(before, now)
