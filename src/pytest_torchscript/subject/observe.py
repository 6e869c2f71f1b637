"""Watching which models a test body calls, and with what."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..tracing import private
from .call import Call, bind, own_call, replaced_call, snapshot
from .effects import CallEffects, effects_of
from .surroundings import Surroundings

__all__ = ["ObservedCall", "Observer", "signature_of"]

_HELPERS_OF_TORCH = frozenset({"ObserverBase", "FakeQuantizeBase"})
"""Base classes of torch that watch a tensor for quantisation: they are called beside the model, and are none."""


@dataclass(frozen=True)
class ObservedCall:
    """The first call of a model: the module itself, and copies of the arguments as they were given.

    ``surroundings`` are the settings of the process round the call, ``effects`` what it did to the model, if anything.
    """

    model: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    surroundings: Surroundings | None = None
    effects: CallEffects | None = None

    def bound_to(self, model: torch.nn.Module) -> Call:
        """The call as one of ``model``, this one or another of its kind; only this one has the effects.

        Raises:
            SubjectError: the arguments do not fit the model.
        """
        effects = self.effects if model is self.model else None
        return replace(bind(model, self.args, self.kwargs), surroundings=self.surroundings, effects=effects)


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
    if _HELPERS_OF_TORCH.intersection(names) and any(name.startswith("torch.") for name in _modules_of(model)):
        return False
    if any(name.partition(".")[0] == "torchmetrics" for name in _modules_of(model)) or "Metric" in names:
        return False
    return not names[0].lower().endswith(("loss", "criterion", "metric"))


def _modules_of(model: torch.nn.Module) -> list[str]:
    """The names of the Python modules that define a model's class and those it inherits from."""
    return [str(cls.__module__) for cls in type(model).__mro__]


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

        def replaced(call: Any) -> Any:
            return lambda module, *args, **kwargs: self._enter(functools.partial(call, module), module, args, kwargs)

        with private.module_calls(replaced), self._watching_own_calls():
            yield self

    @contextmanager
    def _watching_own_calls(self) -> Iterator[None]:
        """Watch each class that defines a ``__call__`` too, those that the body defines included.

        What such a model was called with is known there alone: it may add, rename or drop arguments, or go to its forward
        past ``Module.__call__``.
        """

        def observed(original: Any, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(module, torch.nn.Module):
                return original(*args, **kwargs)
            return self._enter(original, module, args, kwargs)

        watched: set[type] = set()
        watching = [True]
        make = torch.nn.Module.__init__
        with ExitStack() as stack:

            def watch(cls: type) -> None:
                owner = own_call(cls)
                if owner is not None and owner not in watched:
                    watched.add(owner)
                    stack.enter_context(replaced_call(owner, observed))

            @functools.wraps(make)
            def made(module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
                # A class that the body defines is known here at the latest.
                if watching:
                    watch(type(module))
                make(module, *args, **kwargs)

            for cls in _subclasses(torch.nn.Module):
                watch(cls)
            torch.nn.Module.__init__ = made  # type: ignore[method-assign, assignment]
            stack.callback(setattr, torch.nn.Module, "__init__", make)
            stack.callback(watching.clear)
            yield

    def _enter(self, call: Any, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if type(module).__name__ == "OptimizedModule":
            # What torch.compile returns is called in place of the model that it was made from.
            module = dict(module.named_children()).get("_orig_mod", module)
        depth = getattr(self._local, "depth", 0)
        wanted = depth == 0 and is_candidate(module)
        if self._only is not None:
            wanted = isinstance(module, self._only) and not getattr(self._local, "inside", False)
        if not wanted or _known(module, self._seen) or private.is_tracing():
            self._local.depth = depth + 1
            try:
                return call(*args, **kwargs)
            finally:
                self._local.depth = depth
        # As given: the call may write into its arguments. That it was accepted, and by what model (a lazy one takes its
        # shape in its first call), is known only afterwards.
        given = snapshot(args), snapshot(kwargs)
        with effects_of(module) as effects:
            self._local.depth, self._local.inside = depth + 1, True
            try:
                result = call(*args, **kwargs)
            finally:
                self._local.depth, self._local.inside = depth, False
        key = signature_of(module)
        if key not in self._seen:
            self._seen.add(key)
            self.calls.append(ObservedCall(module, *given, Surroundings.now(), *effects))
        return result


def _known(model: torch.nn.Module, seen: set[tuple[Any, ...]]) -> bool:
    """Whether a call of such a model is recorded; of a lazy one it is not known before its first call."""
    try:
        return signature_of(model) in seen
    except RuntimeError:
        return False


def _subclasses(cls: type) -> set[type]:
    """Every class below ``cls`` that is loaded."""
    found: set[type] = set()
    waiting = [cls]
    while waiting:
        new: set[type] = set(type.__subclasses__(waiting.pop())) - found
        found |= new
        waiting += new
    return found
