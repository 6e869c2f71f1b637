"""Watching which models a test body calls, and with what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..tracing import private
from .call import snapshot

__all__ = ["ObservedCall", "Observer", "signature_of"]


@dataclass(frozen=True)
class ObservedCall:
    """The first call of a model: the module itself, and copies of the arguments as they were given."""

    model: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def signature_of(model: torch.nn.Module) -> tuple[Any, ...]:
    """What makes two models different ones: the class, and names and shapes of the parameters."""
    shapes = tuple((name, tuple(parameter.shape)) for name, parameter in model.named_parameters())
    return type(model), shapes


def is_candidate(model: torch.nn.Module) -> bool:
    """Whether a module can be the model under test: no ScriptModule, no loss, no metric."""
    if isinstance(model, torch.jit.ScriptModule) or any(
        cls.__module__ == "torch.nn.modules.loss" for cls in type(model).__mro__
    ):
        return False
    if isinstance(model, torch.nn.utils.parametrize.ParametrizationList):
        # Called whenever a parametrised weight is looked at.
        return False
    names = [cls.__name__ for cls in type(model).__mro__]
    if any(cls.__module__.partition(".")[0] == "torchmetrics" for cls in type(model).__mro__) or "Metric" in names:
        return False
    return not names[0].lower().endswith(("loss", "criterion", "metric"))


class Observer:
    """While :meth:`watching`, records the outermost module calls: the first one of each different model.

    ``only`` records the outermost calls of one class instead, also inside other modules.
    """

    def __init__(self, only: type | None = None) -> None:
        self.calls: list[ObservedCall] = []
        self._only = only
        self._seen: set[tuple[Any, ...]] = set()
        self._local = threading.local()

    @contextmanager
    def watching(self) -> Iterator[Observer]:
        """Record every module call in the block, from any thread."""
        private.require(*private.OBSERVER)
        with private.module_calls(lambda call: lambda module, *args, **kwargs: self._enter(call, module, args, kwargs)):
            yield self

    def _enter(self, call: Any, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        depth = getattr(self._local, "depth", 0)
        wanted = depth == 0 and is_candidate(module)
        if self._only is not None:
            wanted = isinstance(module, self._only) and not getattr(self._local, "inside", False)
        if not wanted or private.is_tracing():
            self._local.depth = depth + 1
            try:
                return call(module, *args, **kwargs)
            finally:
                self._local.depth = depth
        # As given: the call may write into its arguments. That it was accepted, and by what model (a lazy one takes its
        # shape in its first call), is known only afterwards.
        given = snapshot(args), snapshot(kwargs)
        self._local.depth, self._local.inside = depth + 1, True
        try:
            result = call(module, *args, **kwargs)
        finally:
            self._local.depth, self._local.inside = depth, False
        key = signature_of(module)
        if key not in self._seen:
            self._seen.add(key)
            self.calls.append(ObservedCall(module, *given))
        return result
