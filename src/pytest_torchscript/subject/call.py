"""One call of a model's forward, split into what a trace takes (tensors) and what it bakes (constants)."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from ..errors import SubjectError
from ..nested import clone, describe, leaves, tensors
from ..tracing import private
from .surroundings import Surroundings

if TYPE_CHECKING:
    from .effects import CallEffects

__all__ = ["Call", "bind", "bound_call", "own_call", "replaced_call", "snapshot"]

_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_IMMUTABLE = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)

_Arrange = Callable[[tuple[Any, ...]], tuple[Sequence[Any], dict[str, Any]]]
"""From the values of the inputs, by position, to the arguments of a call."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """The arguments of one forward call.

    ``inputs`` are the arguments that hold a tensor, by name, in the order of the forward's signature; each is a tensor or
    a nested tuple, list or dict of tensors. ``constants`` are the others. ``positional`` names the arguments that are passed
    by position, in that order.

    Of an observed call, ``surroundings`` are the settings of the process round it, and ``effects`` what it did to the model.
    """

    inputs: Mapping[str, Any]
    constants: Mapping[str, Any] = field(default_factory=dict)
    positional: tuple[str, ...] = ()
    surroundings: Surroundings | None = None
    effects: CallEffects | None = None

    def arguments(self, inputs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """``(args, kwargs)`` of the forward for other values of the same inputs."""
        values = {**{name: _copy(value) for name, value in self.constants.items()}, **inputs}
        args = [values.pop(name) for name in self.positional]
        return args, values

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor of the inputs by path (``input_ids``, ``pair[0]``)."""
        return dict(tensors(self.inputs))

    def with_inputs(self, inputs: Mapping[str, Any]) -> Call:
        return replace(self, inputs=inputs)

    def with_constants(self, **constants: Any) -> Call:
        """The same call with these arguments bound as constants, passed by keyword unless they had a position."""
        inputs = {name: value for name, value in self.inputs.items() if name not in constants}
        return replace(self, inputs=inputs, constants={**self.constants, **constants})

    def run(self, model: torch.nn.Module, inputs: Mapping[str, Any] | None = None) -> Any:
        """Call the model with copies of the inputs, so that the originals survive in-place writes."""
        args, kwargs = self.arguments(clone(dict(self.inputs if inputs is None else inputs)))
        return model(*args, **kwargs)

    def surrounded(self) -> contextlib.AbstractContextManager[None]:
        """While open, autocast, the default dtype and the default device are those of the observed call, if it was observed."""
        return contextlib.nullcontext() if self.surroundings is None else self.surroundings.again()

    @contextlib.contextmanager
    def as_forward(self, model: torch.nn.Module) -> Iterator[tuple[Any, ...]]:
        """While open, the model takes exactly the inputs, by position, with the constants bound.

        This is how a trace gets the inputs' own names and no others; the model stays the very object it was, so hooks,
        scopes and state are untouched. Yields copies of the inputs, ready to be passed.
        """
        hooked = private.has_hooks(model)
        forward = _BoundForward if own_call(type(model)) is None and not hooked else _NamedForward
        with (
            _attribute(model, "forward", forward(model.forward, self)),
            bound_call(model, self._from_positions),
            _bound_before_hooks(model, self._from_positions) if hooked else contextlib.nullcontext(),
        ):
            yield tuple(clone(dict(self.inputs)).values())

    def _from_positions(self, values: tuple[Any, ...]) -> tuple[list[Any], dict[str, Any]]:
        return self.arguments(dict(zip(self.inputs, values, strict=True)))


class _NamedForward:
    """A forward whose parameters have the names of one call's inputs, by which a trace names its inputs.

    No function: torch.jit would try to compile that.
    """

    def __init__(self, forward: Any, call: Call) -> None:
        self._forward = forward
        self._call = call
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in call.inputs]
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)


class _BoundForward(_NamedForward):
    """A forward that takes the inputs of one call by position, and adds the constants."""

    def __call__(self, *args: Any) -> Any:
        positional, keywords = self._call._from_positions(args)
        return self._forward(*positional, **keywords)


@contextlib.contextmanager
def _attribute(model: torch.nn.Module, name: str, value: Any) -> Iterator[None]:
    """While open, the instance has this attribute, past the ``__setattr__`` of its class."""
    missing = object()
    before = model.__dict__.get(name, missing)
    model.__dict__[name] = value
    try:
        yield
    finally:
        if before is missing:
            model.__dict__.pop(name, None)
        else:
            model.__dict__[name] = before


@contextlib.contextmanager
def replaced_call(owner: type, replacement: Callable[..., Any]) -> Iterator[None]:
    """While open, ``replacement(original, module, *args, **kwargs)`` stands for the ``__call__`` that ``owner`` defines."""
    before = vars(owner)["__call__"]

    @functools.wraps(before)
    def called(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        original = before.__get__(module, type(module)) if hasattr(before, "__get__") else before
        return replacement(original, module, *args, **kwargs)

    owner.__call__ = called  # type: ignore[method-assign]
    try:
        yield
    finally:
        # The test may have put another one there, for a time of its own.
        if vars(owner).get("__call__") is called:
            owner.__call__ = before  # type: ignore[method-assign]


@contextlib.contextmanager
def bound_call(model: torch.nn.Module, arrange: _Arrange) -> Iterator[None]:
    """While open, a model with a ``__call__`` of its own is called with what ``arrange`` makes of the values that are passed.

    Such a model hands on to its forward what it likes, so that its arguments can be arranged only where it takes them. For
    others nothing is changed.
    """
    owner = own_call(type(model))
    inside = False

    def arranged(original: Any, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        if module is not model or inside:
            return original(*args, **kwargs)
        positional, keywords = arrange(args)
        inside = True
        try:
            return original(*positional, **keywords)
        finally:
            inside = False

    with contextlib.nullcontext() if owner is None else replaced_call(owner, arranged):
        yield


@contextlib.contextmanager
def _bound_before_hooks(model: torch.nn.Module, arrange: _Arrange) -> Iterator[None]:
    """While open, hooks of the model see its arguments as the call gives them, some by name, as its forward does."""
    if own_call(type(model)) is not None:
        # Arranged where it is called, before any hook.
        yield
        return

    def arranged(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional, keywords = arrange(args)
        return tuple(positional), keywords

    handle = model.register_forward_pre_hook(arranged, prepend=True, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def own_call(cls: type) -> type | None:
    """The class, this one or one it inherits from, that defines another ``__call__`` than torch's; mostly None."""
    if cls.__call__ is torch.nn.Module.__call__:
        return None
    owner = next(base for base in cls.__mro__ if "__call__" in vars(base))
    return None if str(owner.__module__).partition(".")[0] == "torch" else owner


def _copy(value: Any) -> Any:
    # A cache object passed by the caller would grow from call to call: each call gets its own.
    if isinstance(value, (*_IMMUTABLE, torch.nn.Module)):
        return value
    try:
        copied = copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - an object that cannot be copied is shared, as the caller shared it
        return value
    return copied if type(copied) is type(value) else value


def snapshot(arguments: Any) -> Any:
    """Copies of call arguments, in their containers, as they are now: a cache that grows later is copied while empty."""
    if type(arguments) is dict:
        return {name: snapshot(value) for name, value in arguments.items()}
    if type(arguments) in (list, tuple):
        return type(arguments)(snapshot(value) for value in arguments)
    if not _holds_tensor(arguments):
        return _copy(arguments)
    try:
        return clone(arguments)
    except Exception:  # noqa: BLE001 - a tensor of a kind that cannot be copied is shared, and the test goes on
        return arguments


def _holds_tensor(value: Any) -> bool:
    try:
        return any(isinstance(leaf, torch.Tensor) for _, leaf in leaves(value))
    except Exception:  # noqa: BLE001 - a container that cannot be looked into is a constant
        return False


def bind(model: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    """Give every argument of ``model(*args, **kwargs)`` its parameter's name.

    Raises:
        SubjectError: the arguments do not fit the forward's signature, or no tensor is among them.
    """
    signature, bound = _bound(model, args, kwargs)
    values: dict[str, Any] = {}
    positional: list[str] = []
    starred = False
    for name, parameter in signature.parameters.items():
        if name not in bound.arguments:
            continue
        value = bound.arguments[name]
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            starred = bool(value)
            for index, entry in enumerate(value):
                values[f"{name}_{index}"] = entry
                positional.append(f"{name}_{index}")
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            values.update(value)
        else:
            values[name] = value
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                positional.append(name)
    if not starred:
        # Only what was given by position, or must be, stays so: a default in between would otherwise shift the others.
        positional = [
            name
            for index, name in enumerate(positional)
            if index < len(args) or signature.parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY
        ]
    inputs = {name: value for name, value in values.items() if _holds_tensor(value)}
    constants = {name: value for name, value in values.items() if name not in inputs}
    if not inputs:
        raise SubjectError(
            f"no tensor is among the inputs of {type(model).__name__} ({', '.join(values) or 'no argument at all'}); "
            "a trace needs at least one: give inputs= or a torchscript_inputs fixture"
        )
    return Call(inputs=inputs, constants=constants, positional=tuple(positional))


def _bound(
    model: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[inspect.Signature, inspect.BoundArguments]:
    """The arguments by the parameters of what takes them: the model's own ``__call__``, else its forward."""
    forward = _signature(model.forward)
    taken = [forward]
    if own_call(type(model)) is not None:
        own = _signature(functools.partial(type(model).__call__, model))
        # One that takes anything hands it on: the forward has the better names, where they fit.
        taken = [forward, own] if all(p.kind in _STARRED for p in own.parameters.values()) else [own]
    for signature in taken:
        try:
            return signature, signature.bind(*args, **kwargs)
        except TypeError as error:
            reason = error
    given = [describe(arg) for arg in args] + [f"{name}={describe(value)}" for name, value in kwargs.items()]
    where = "forward" if taken[-1] is forward else "__call__"
    raise SubjectError(
        f"the inputs do not fit {type(model).__name__}.{where}{_short(taken[-1])}: {reason}; "
        f"given: {', '.join(given) or 'nothing'}"
    ) from None


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function; one without any is taken to accept everything."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return inspect.Signature(
            [inspect.Parameter(name, kind) for name, kind in zip(("args", "kwargs"), _STARRED, strict=True)]
        )


def _short(signature: inspect.Signature) -> str:
    return "(" + ", ".join(str(parameter).split(":")[0].split("=")[0] for parameter in signature.parameters.values()) + ")"
