"""Parameters: tied ones, and whether any changes."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import Any

import torch

from ..result import CheckResult, Finding, Verdict
from ..subject.outputs import clone
from ..tracing.trace import quiet
from .base import Check, Context, written_at

__all__ = ["Weights"]


class Weights(Check):
    """Tied weights are reported, kept or cloned through the round trip and at what cost; no call changes a parameter."""

    name = "weights"
    requires = frozenset({"eager", "trace", "roundtrip"})

    def run(self, context: Context) -> CheckResult:
        ties: list[dict[str, Any]] = [
            {"names": names, "bytes": _bytes(context.model, names[0]), "kept": self._kept(context, names)}
            for names in _tied(context.model)
        ]
        cloned = sum(tie["bytes"] * (len(tie["names"]) - 1) for tie in ties if tie["kept"] is False)
        metrics: dict[str, Any] = {"tied": ties, "cloned_bytes": cloned}
        changed = self._changed(context)
        if changed:
            return CheckResult.failed(self.name, Verdict.WEIGHTS_CHANGED, *changed, **metrics)
        notes = tuple(
            context.finding(
                f"{' and '.join(tie['names'])} are tied, "
                + ("and stay so" if tie["kept"] else f"but cloned: {tie['bytes'] * (len(tie['names']) - 1)} bytes more"),
                path=tie["names"][0],
            )
            for tie in ties
            if tie["kept"] is not None
        )
        return CheckResult.passed(self.name, findings=notes, **metrics)

    def _kept(self, context: Context, names: list[str]) -> bool | None:
        """Whether the loaded program still shares the storage; None where a name did not survive tracing."""
        if context.loaded is None:
            return None
        state = context.loaded.state_dict()
        if any(name not in state for name in names):
            return None
        return len({state[name].untyped_storage().data_ptr() for name in names}) == 1

    @staticmethod
    def _changed(context: Context) -> list[Finding]:
        """Parameters that a call of the model, or of its trace, has overwritten by now."""
        with quiet(), torch.no_grad():
            context.call.run(context.model)
            by_model = context.state.changed_parameters()
            context.state.restore(thorough=True)
            # A program that fails has been reported, unless the marker skips the checks that do.
            with contextlib.suppress(Exception):
                context.module(*clone(dict(context.inputs)).values())
            by_trace = context.state.changed_parameters()
            context.state.restore(thorough=True)
        found = []
        for name in dict.fromkeys((*by_model, *by_trace)):
            who = "the model" if name in by_model else "the trace"
            line = written_at(context, name)
            context.state.restore(thorough=True)
            found.append(
                context.finding(
                    f"parameter {name!r} is overwritten when {who} is called",
                    path=name,
                    line=line,
                    where="written at",
                    hint="compute the changed weight without writing it back, or do it once before tracing",
                )
            )
        return found


def _tied(model: torch.nn.Module) -> list[list[str]]:
    """Groups of names that share one parameter, or one storage with the same layout."""
    groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.numel():
            key = (parameter.untyped_storage().data_ptr(), parameter.storage_offset(), tuple(parameter.shape))
            groups[key if not parameter.is_meta else (id(parameter),)].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _bytes(model: torch.nn.Module, name: str) -> int:
    parameter = model.get_parameter(name)
    return parameter.numel() * parameter.element_size()
