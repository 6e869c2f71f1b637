"""Whether an answer depends on an earlier call, shown by calling the model from the state that it had before that call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..nested import identical
from .effects import CallEffects
from .state import ModelState

__all__ = ["Dependence", "dependence", "overwritten"]

_Run = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """An input that the model answers otherwise after another call, or after the observed one.

    ``names`` are the attributes and buffers that carry it: one where one alone explains it. ``later`` is the answer after
    the other call, or ``error`` what the model raises then; ``alone`` is the answer without that call.
    """

    label: str
    names: tuple[str, ...]
    alone: Any
    later: Any = None
    error: Exception | None = None


def dependence(
    effects: CallEffects,
    run: _Run,
    first: Mapping[str, Any],
    others: Iterable[tuple[str, Mapping[str, Any]]],
    differ: Callable[[Any, Any], bool],
) -> Dependence | None:
    """The first of the ``others`` that is answered otherwise after a call on ``first``, because of what that call keeps.

    ``run`` calls the model and leaves its state as it is. A map that nobody reads, or a table that is built in the first
    call, whatever the values of that, gives the same answers.
    """
    with effects.undone() as before:
        try:
            kept, anew = _written(before, effects, run, first)
        except Exception as error:  # noqa: BLE001 - accepted after the observed call, refused without it
            return Dependence(label="the observed input", names=effects.attributes or effects.buffers, alone=None, error=error)
        for label, inputs in others if kept or anew else ():
            found = _compared(effects, run, first, label, inputs, differ, kept, anew)
            if found is not None:
                return found
    return None


def overwritten(effects: CallEffects, run: _Run, first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Buffers that the observed call wrote in place, and that calls in eval mode write too, each with other values."""
    with effects.undone() as before, contextlib.suppress(Exception):
        run(first)
        held = {name: before.held(name) for name in effects.buffers if before.differs(name)}
        copies = {name: value.detach().clone() for name, value in held.items() if isinstance(value, torch.Tensor)}
        if copies:
            run(other)
        return [name for name, copy in copies.items() if before.held(name) is held[name] and not identical(held[name], copy)]
    return []


def _written(before: ModelState, effects: CallEffects, run: _Run, first: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What the first call of a model writes, also in eval mode: what the second leaves as it is, and what it makes anew."""
    run(first)
    held = {name: before.held(name) for name in (*effects.attributes, *effects.buffers) if before.differs(name)}
    if held:
        run(first)
    # What is kept comes before the flags that say that something is.
    names = sorted(held, key=lambda name: _is_flag(held[name]))
    kept = [name for name in names if before.held(name) is held[name]]
    return kept, [name for name in names if name not in kept]


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, torch.Tensor) and value.dtype == torch.bool and value.numel() == 1)


def _compared(
    effects: CallEffects,
    run: _Run,
    first: Mapping[str, Any],
    label: str,
    inputs: Mapping[str, Any],
    differ: Callable[[Any, Any], bool],
    kept: list[str],
    anew: list[str],
) -> Dependence | None:
    def after(*earlier: Mapping[str, Any], without: str | None = None) -> Any:
        effects.undo()
        for others in earlier:
            run(others)
        if without is not None:
            effects.before.restore_one(without)
        return run(inputs)

    try:
        alone = after()
    except Exception:  # noqa: BLE001 - eager refuses this input anyway
        return None
    later = error = None
    try:
        later = after(first)
    except Exception as raised:  # noqa: BLE001 - accepted when asked first, refused when asked second
        error = raised
    # A model that draws its weights in the first call, or anew in every call, answers otherwise every time.
    if (error is None and not differ(later, alone)) or differ(after(), alone):
        return None

    def explains(name: str) -> bool:
        try:
            return not differ(after(first, without=name), alone)
        except Exception:  # noqa: BLE001 - the model is not one without this name alone
            return False

    # A counter, or the last input, is asked last: as often as not it is something that nobody reads.
    names = [*kept, *anew]
    told = next((name for name in names if len(names) > 1 and not _is_flag(effects.before.held(name)) and explains(name)), None)
    carriers = (kept or anew) if told is None else [told]
    return Dependence(label=label, names=tuple(carriers), alone=alone, later=later, error=error)
