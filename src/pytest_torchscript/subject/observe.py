"""Watching which models a test body calls, and with what."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..errors import SubjectError
from ..nested import leaves
from ..tracing import private
from .call import Call, bind, own_call, replaced_call, snapshot
from .effects import CallEffects, effects_of
from .surroundings import Surroundings

__all__ = ["ObservedCall", "Observer", "signature_of"]

_HELPERS_OF_TORCH = frozenset({"ObserverBase", "FakeQuantizeBase"})
"""Base classes of torch that watch a tensor for quantisation: they are called beside the model, and are none."""
_WITHOUT_VALUES = frozenset({"FakeTensor", "FunctionalTensor"})
"""Tensors of torch's compiler; to ask one for a value is noted by what traces with it."""


@dataclass(frozen=True)
class ObservedCall:
    """The first call of a model: the module itself, and copies of the arguments as they were given.

    ``surroundings`` are the settings of the process round the call, ``effects`` what it did to the model, if anything.
    Of a call that is not ``readable``, because its inputs hold no values of their own, the arguments are left out.
    """

    model: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    surroundings: Surroundings | None = None
    effects: CallEffects | None = None
    readable: bool = True

    def bound_to(self, model: torch.nn.Module) -> Call:
        """The call as one of ``model``, this one or another of its kind; only this one has the effects.

        Raises:
            SubjectError: the arguments do not fit the model, or hold no values.
        """
        if not self.readable:
            raise SubjectError(
                f"the test calls {type(model).__name__} only inside a transform such as torch.func.vmap, or with fake tensors, "
                "whose values cannot be read: give inputs=, or call the model once outside"
            )
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

    ``only`` records the outermost calls of one class instead, also inside other modules. ``bypassed`` are the classes of
    models whose ``forward`` ran without a call of the model itself: their parts are called there, and are no candidates.
    """

    def __init__(self, only: type | None = None) -> None:
        self.calls: list[ObservedCall] = []
        self.bypassed: dict[type, None] = {}
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
        if wanted and self._only is None and (whole := _bypassed()) is not None:
            self.bypassed[type(whole)] = None
            wanted = False
        if not wanted or _known(module, self._seen) or private.is_tracing():
            return self._unseen(call, args, kwargs)
        if not _readable(args, kwargs):
            result = self._unseen(call, args, kwargs)
            # What a transform gives its function means something inside of it, and nothing afterwards: it is not kept.
            if all(signature_of(seen.model) != signature_of(module) for seen in self.calls):
                self.calls.append(ObservedCall(module, (), {}, readable=False))
            return result
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
            # A call with values takes the place of one without.
            self.calls[:] = [seen for seen in self.calls if seen.readable or signature_of(seen.model) != key]
            self.calls.append(ObservedCall(module, *given, Surroundings.now(), next(iter(effects), None)))
        return result

    def _unseen(self, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a call, and take none that it makes for an outermost one."""
        depth = getattr(self._local, "depth", 0)
        self._local.depth = depth + 1
        try:
            return call(*args, **kwargs)
        finally:
            self._local.depth = depth


def _readable(*arguments: Any) -> bool:
    """Whether the tensors among the arguments hold values: those of vmap and fake ones do not."""
    try:
        given = [leaf for _, leaf in leaves(arguments) if isinstance(leaf, torch.Tensor)]
    except Exception:  # noqa: BLE001 - a container that cannot be looked into
        return True
    return all(map(_has_values, given))


def _has_values(tensor: torch.Tensor) -> bool:
    if type(tensor).__name__ in _WITHOUT_VALUES:
        return False
    if tensor.is_meta or tensor.layout != torch.strided or tensor.is_nested or not tensor.numel():
        return True
    if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
        # To read one would break the graph that the test is capturing.
        return True
    try:
        tensor.detach()[(0,) * tensor.ndim].item()
    except RuntimeError as error:
        # Other kinds of tensors have no numbers in Python, and are copied all the same.
        return "vmap" not in str(error)
    return True


def _bypassed() -> torch.nn.Module | None:
    """The candidate whose ``forward`` is running; it runs without a call of the model where no call is known further out."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "forward":
            owner = frame.f_locals.get("self")
            if isinstance(owner, torch.nn.Module) and is_candidate(owner):
                return owner
    return None


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
