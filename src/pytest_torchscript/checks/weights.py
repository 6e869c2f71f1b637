"""Parameters: tied ones, and whether any changes."""

from __future__ import annotations

import contextlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from ..diagnosis.lines import first_line_where
from ..nested import clone, identical
from ..result import CheckResult, Finding, Verdict
from ..subject.synthesise import is_transformers_model
from ..tracing.trace import quiet
from .base import Check, Context

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
        if context.loaded is not None:
            metrics |= self._size(context)
        flagged = _flagged(context.model)
        flag_is_read = bool(flagged) and _transformers_major() < _WITHOUT_FLAG
        untied = _untied(context.model, flagged) if flag_is_read else []
        if untied:
            metrics["untied_by_flag"] = untied
        changed = self._changed(context)
        if changed:
            return CheckResult.failed(self.name, Verdict.WEIGHTS_CHANGED, *changed, **metrics)
        notes = [self._about(context, tie) for tie in ties if tie["kept"] is not None]
        notes += [self._about_untied(context, entry) for entry in untied]
        if flagged and not flag_is_read:
            notes.append(
                context.finding(
                    "config.torchscript=True has no effect in transformers 5: tied weights stay tied, and it makes no tuples",
                    hint="drop the flag, and call with return_dict=False for tuples",
                )
            )
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
    def _about_untied(context: Context, entry: Mapping[str, Any]) -> Finding:
        names, size, copies = entry["names"], entry["bytes"], entry["copies"]
        return context.finding(
            f"{_listed(names)} are tied by the config but cloned by its torchscript=True: {copies} equal copies, "
            f"{size} bytes each, {size * (copies - 1)} more than tied",
            path=names[0],
            hint="drop the flag: torch.jit.save keeps ties, and return_dict=False in the call gives tuples",
        )

    @staticmethod
    def _size(context: Context) -> dict[str, int]:
        """The bytes of the parameters in the loaded program, and what they were if every name had its own."""
        state = context.loaded.state_dict()
        saved = [state[name] for name, _ in context.model.named_parameters(remove_duplicate=False) if name in state]
        once = {_place(tensor): tensor for tensor in saved}
        return {
            "parameter_bytes": sum(tensor.numel() * tensor.element_size() for tensor in once.values()),
            "parameter_bytes_untied": sum(tensor.numel() * tensor.element_size() for tensor in saved),
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
            # By the version counter too: an earlier call may have left nothing to change.
            with quiet():
                line = first_line_where(lambda: context.call.run(context.model), lambda name=name: context.state.written(name))  # type: ignore[misc]
            context.state.restore(thorough=True)
            kept = "; it is too large to be copied, and keeps the new values" if name in context.state.lost else ""
            found.append(
                context.finding(
                    f"parameter {name!r} is overwritten when {who} is called{_by_max_norm(context.model, name)}{kept}",
                    path=name,
                    line=line,
                    where="written at",
                    hint=_HINT,
                )
            )
        return found or _changed_by_observed_call(context)


_HINT = "compute the changed weight without writing it back, or do it once before tracing"


def _changed_by_observed_call(context: Context) -> list[Finding]:
    """Parameters that the observed call has changed, and that a call writes in eval mode too."""
    effects = context.call.effects
    if effects is None or not effects.parameters or effects.before.model is not context.model:
        return []

    def run() -> None:
        context.call.run(context.model)

    found = []
    with quiet(), effects.undone() as before:
        run()
        lost = () if effects.training else before.lost
        for name in [name for name in effects.parameters if before.written(name) or name in lost]:
            effects.undo()
            line = first_line_where(run, lambda name=name: before.written(name))  # type: ignore[misc]
            message = f"the observed call changed parameter {name!r}{_by_max_norm(context.model, name)}"
            found.append(context.finding(message, path=name, line=line, where="written at", hint=_HINT))
    return found


def _by_max_norm(model: torch.nn.Module, name: str) -> str:
    """Which argument of torch's own makes a table be written; empty for other modules."""
    owner = model.get_submodule(name.rpartition(".")[0])
    if getattr(owner, "max_norm", None) is None or not isinstance(owner, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
        return ""
    return f": max_norm={owner.max_norm:g} of {type(owner).__name__} shortens the rows that a call looks up, in place"


def _tied(model: torch.nn.Module) -> list[list[str]]:
    """Groups of names that share one parameter, or one storage with the same layout."""
    return [names for names in _by_place(model.named_parameters(remove_duplicate=False)).values() if len(names) > 1]


def _by_place(parameters: Iterable[tuple[str, torch.Tensor]]) -> dict[tuple[Any, ...], list[str]]:
    groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, parameter in parameters:
        if parameter.numel():
            groups[_place(parameter)].append(name)
    return groups


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What two names have in common where they are one weight."""
    if tensor.is_meta:
        return (id(tensor),)
    return tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape)


def _bytes(model: torch.nn.Module, name: str) -> int:
    parameter = model.get_parameter(name)
    return parameter.numel() * parameter.element_size()


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


# The flag torchscript=True of transformers 4

_WITHOUT_FLAG = 5
"""The major version of transformers that took the flag out: a config keeps it as an attribute that nothing reads."""


def _transformers_major() -> int:
    version: str = sys.modules["transformers"].__version__
    return int(version.partition(".")[0])


def _flagged(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """The transformers models, in or at ``model``, whose config has the flag; outer ones first."""
    return [
        (path, module)
        for path, module in model.named_modules()
        if is_transformers_model(module) and getattr(module.config, "torchscript", False) is True
    ]


def _untied(model: torch.nn.Module, flagged: list[tuple[str, torch.nn.Module]]) -> list[dict[str, Any]]:
    """What the config ties and the flag has cloned: names, the bytes of one copy, and how many copies there are."""
    found: list[dict[str, Any]] = []
    for path, module in flagged:
        prefix = f"{path}." if path else ""
        for names, copies in _clones(module):
            full = [prefix + name for name in names]
            # A model within a model ties the same weights once more.
            if not any(set(full) <= set(entry["names"]) for entry in found):
                found.append({"names": full, "bytes": _bytes(model, full[0]), "copies": copies})
    return found


def _clones(module: torch.nn.Module) -> Iterator[tuple[list[str], int]]:
    """Groups of names whose parameters are equal, in storages of their own, and tied but for the flag."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    declared = set(_declared(module, parameters))
    left = list(_by_place(parameters.items()).values())
    for group in [names for names in left if declared.intersection(names)]:
        weight = parameters[group[0]]
        # Parameters of one value throughout (biases of zero, norms of one) are equal without being copies.
        if group not in left or not bool((weight != weight.flatten()[0]).any()):
            continue
        equal = [names for names in left if identical(weight, parameters[names[0]])]
        left = [names for names in left if names not in equal]
        if len(equal) > 1:
            yield [name for names in equal for name in names], len(equal)


def _declared(module: torch.nn.Module, names: Iterable[str]) -> Iterator[str]:
    """Those of ``names`` that a transformers model ties to another by its class and its config."""
    config: Any = module.config
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    if not getattr(text, "tie_word_embeddings", True):
        return
    patterns = getattr(module, "_tied_weights_keys", None) or ()
    head = module.get_output_embeddings()  # type: ignore[operator]
    for name in names:
        if any(re.search(pattern, name) for pattern in patterns) or (
            head is not None and module.get_parameter(name) is getattr(head, "weight", None)
        ):
            yield name
