"""Parameters: tied ones, and whether any changes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch

from ..nested import clone
from ..result import CheckResult, Finding, Verdict
from ..subject.families import family_of
from ..subject.parameters import by_place, byte_size, place
from ..tracing.trace import quiet
from .base import Check, Context, written_at

__all__ = ["Weights"]


class Weights(Check):
    """Tied weights are reported, kept or cloned through the round trip and at what cost; no call changes a parameter."""

    name = "weights"
    requires = frozenset({"eager", "trace", "roundtrip"})

    def run(self, context: Context) -> CheckResult:
        ties: list[dict[str, Any]] = [
            {"names": names, "bytes": byte_size(context.model.get_parameter(names[0])), "kept": self._kept(context, names)}
            for names in _tied(context.model)
        ]
        cloned = sum(tie["bytes"] * (len(tie["names"]) - 1) for tie in ties if tie["kept"] is False)
        metrics: dict[str, Any] = {"tied": ties, "cloned_bytes": cloned}
        if context.loaded is not None:
            metrics |= self._size(context)
        flag = family_of(context.model).flag(context.model)
        untied = [
            {"names": list(clones.names), "bytes": clones.bytes, "copies": clones.copies}
            for clones in (flag.clones if flag else ())
        ]
        if untied:
            metrics["untied_by_flag"] = untied
        changed = self._changed(context)
        if changed:
            return CheckResult.failed(self.name, Verdict.WEIGHTS_CHANGED, *changed, **metrics)
        notes = [self._about(context, tie) for tie in ties if tie["kept"] is not None]
        notes += [context.finding(note.message, path=note.path, hint=note.hint) for note in (flag.notes if flag else ())]
        return CheckResult.passed(self.name, findings=tuple(notes), **metrics)

    @staticmethod
    def _about(context: Context, tie: Mapping[str, Any]) -> Finding:
        names, size = tie["names"], tie["bytes"]
        apart = size * len(names)
        return context.finding(
            f"{_listed(names)} are tied, "
            + (
                f"and stay so through save and load: {size} bytes once, {apart} if they were not"
                if tie["kept"]
                else f"but cloned by save and load: {size} bytes once become {apart}, {apart - size} more"
            ),
            path=names[0],
        )

    @staticmethod
    def _size(context: Context) -> dict[str, int]:
        """The bytes of the parameters in the loaded program, and what they were if every name had its own."""
        state = context.loaded.state_dict()
        saved = [state[name] for name, _ in context.model.named_parameters(remove_duplicate=False) if name in state]
        once = {place(tensor): tensor for tensor in saved}
        return {
            "parameter_bytes": sum(map(byte_size, once.values())),
            "parameter_bytes_untied": sum(map(byte_size, saved)),
        }

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
    return [names for names in by_place(model.named_parameters(remove_duplicate=False)) if len(names) > 1]


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
