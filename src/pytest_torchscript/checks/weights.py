"""Parameters: tied ones, and whether any changes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch

from ..cell import Cell
from ..diagnosis.lines import first_line_where
from ..explain import advice
from ..result import Finding, Verdict
from ..subject.families import family_of
from ..subject.parameters import by_place, byte_size, place
from ..tracing.trace import quiet
from .base import Check, Evidence, Found

__all__ = ["Weights"]


class Weights(Check):
    """Tied weights are reported, kept or cloned through the round trip and at what cost; no call changes a parameter."""

    name = "weights"
    requires = frozenset({"eager", "trace", "roundtrip"})
    reads = frozenset({"traced", "trace_writes", "loaded"})
    gives = frozenset({"overwritten"})

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        state = None if evidence.loaded is None else evidence.loaded.state
        ties = [_tie(cell, state, names) for names in _tied(cell.model)]
        cloned = sum(tie["bytes"] * (len(tie["names"]) - 1) for tie in ties if tie["kept"] is False)
        metrics: dict[str, Any] = {"tied": ties, "cloned_bytes": cloned}
        if state is not None:
            metrics |= _size(cell, state)
        flag = family_of(cell.model).flag(cell.model)
        untied = [
            {"names": list(clones.names), "bytes": clones.bytes, "copies": clones.copies}
            for clones in (flag.clones if flag else ())
        ]
        if untied:
            metrics["untied_by_flag"] = untied
        overwritten = _overwritten(cell, evidence)
        if overwritten:
            gives = {"overwritten": frozenset(finding.path for finding in overwritten)}
            return self.failed(Verdict.WEIGHTS_CHANGED, *overwritten, gives=gives, **metrics)
        notes = [_about(cell, tie) for tie in ties if tie["kept"] is not None]
        notes += [cell.finding(note.message, path=note.path, hint=note.hint) for note in (flag.notes if flag else ())]
        return self.passed(notes, **metrics)


def _tie(cell: Cell, state: Mapping[str, torch.Tensor] | None, names: list[str]) -> dict[str, Any]:
    return {"names": names, "bytes": byte_size(cell.model.get_parameter(names[0])), "kept": _kept(state, names)}


def _about(cell: Cell, tie: Mapping[str, Any]) -> Finding:
    names, size = tie["names"], tie["bytes"]
    apart = size * len(names)
    return cell.finding(
        f"{_listed(names)} are tied, "
        + (
            f"and stay so through save and load: {size} bytes once, {apart} if they were not"
            if tie["kept"]
            else f"but cloned by save and load: {size} bytes once become {apart}, {apart - size} more"
        ),
        path=names[0],
    )


def _size(cell: Cell, state: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """The bytes of the parameters in the loaded program, and what they would be if no two names shared a tensor."""
    saved = [state[name] for name, _ in cell.model.named_parameters(remove_duplicate=False) if name in state]
    once = {place(tensor): tensor for tensor in saved}
    return {
        "parameter_bytes": sum(map(byte_size, once.values())),
        "parameter_bytes_untied": sum(map(byte_size, saved)),
    }


def _kept(state: Mapping[str, torch.Tensor] | None, names: list[str]) -> bool | None:
    """Whether the loaded program still shares the storage; None where a name did not survive tracing."""
    if state is None or any(name not in state for name in names):
        return None
    return len({state[name].untyped_storage().data_ptr() for name in names}) == 1


def _overwritten(cell: Cell, evidence: Evidence) -> list[Finding]:
    """Findings for the parameters that a call of the model, or of its trace, overwrites."""
    by_model = cell.survey.parameters
    cell.restore_all()
    by_trace = evidence.trace_writes
    if by_trace is None:
        # An error of the program is for other checks to report, unless the marker skips them.
        with contextlib.suppress(Exception):
            cell.scripted(evidence.program, restore=False)
        by_trace = tuple(cell.state.changed_parameters())
        cell.restore_all()
    found = []
    for name in dict.fromkeys((*by_model, *by_trace)):
        who = "the model" if name in by_model else "the trace"
        # The version counter shows a write of equal values too, as after an earlier call.
        with quiet():
            line = first_line_where(lambda: cell.call.run(cell.model), lambda name=name: cell.state.written(name))  # type: ignore[misc]
        cell.restore_all()
        kept = "; it is too large to be copied, and keeps the new values" if name in cell.state.lost else ""
        message = f"parameter {name!r} is overwritten when {who} is called{_by_max_norm(cell.model, name)}{kept}"
        hint = advice(cell, Verdict.WEIGHTS_CHANGED, error=message)
        found.append(cell.finding(message, path=name, line=line, where="written at", hint=hint))
    return found or _changed_by_observed_call(cell)


def _changed_by_observed_call(cell: Cell) -> list[Finding]:
    """Findings for the parameters that the observed call has changed, and that a call in eval mode writes too."""
    effects = cell.call.effects
    if effects is None or not effects.parameters or effects.before.model is not cell.model:
        return []

    def run() -> None:
        cell.call.run(cell.model)

    found = []
    with quiet(), effects.undone() as before:
        run()
        lost = () if effects.training else before.lost
        for name in [name for name in effects.parameters if before.written(name) or name in lost]:
            effects.undo()
            line = first_line_where(run, lambda name=name: before.written(name))  # type: ignore[misc]
            message = f"the observed call changed parameter {name!r}{_by_max_norm(cell.model, name)}"
            hint = advice(cell, Verdict.WEIGHTS_CHANGED, error=message)
            found.append(cell.finding(message, path=name, line=line, where="written at", hint=hint))
    return found


def _by_max_norm(model: torch.nn.Module, name: str) -> str:
    """How ``max_norm`` of torch's embeddings writes into the table, in words; empty for other modules."""
    owner = model.get_submodule(name.rpartition(".")[0])
    if getattr(owner, "max_norm", None) is None or not isinstance(owner, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
        return ""
    return f": max_norm={owner.max_norm:g} of {type(owner).__name__} shortens the rows that a call looks up, in place"


def _tied(model: torch.nn.Module) -> list[list[str]]:
    """Groups of names that share one parameter, or one storage with the same layout."""
    return [names for names in by_place(model.named_parameters(remove_duplicate=False)) if len(names) > 1]


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
