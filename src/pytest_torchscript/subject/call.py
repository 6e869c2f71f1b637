"""One call of a model's forward, split into what a trace takes (tensors) and what it bakes (constants)."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..errors import SubjectError
from ..nested import clone, describe, leaves, tensors

__all__ = ["Call", "bind", "snapshot"]

_IMMUTABLE = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)


@dataclass(frozen=True, kw_only=True)
class Call:
    """The arguments of one forward call.

    ``inputs`` are the arguments that hold a tensor, by name, in the order of the forward's signature; each is a tensor or
    a nested tuple, list or dict of tensors. ``constants`` are the others. ``positional`` names the arguments that are passed
    by position, in that order.
    """

    inputs: Mapping[str, Any]
    constants: Mapping[str, Any] = field(default_factory=dict)
    positional: tuple[str, ...] = ()

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

    @contextlib.contextmanager
    def as_forward(self, model: torch.nn.Module) -> Iterator[tuple[Any, ...]]:
        """While open, the model's forward takes exactly the inputs, by position, with the constants bound.

        This is how a trace gets the inputs' own names and no others; the model stays the very object it was, so hooks,
        scopes and state are untouched. Yields copies of the inputs, ready to be passed.
        """
        had = "forward" in model.__dict__
        before = model.__dict__.get("forward")
        bound = _BoundForward(model.forward, self)
        model.__dict__["forward"] = bound
        try:
            yield tuple(clone(dict(self.inputs)).values())
        finally:
            if had:
                model.__dict__["forward"] = before
            else:
                model.__dict__.pop("forward", None)


class _BoundForward:
    """A forward whose parameters are the inputs of one :class:`Call`. No function: torch.jit would try to compile that."""

    def __init__(self, forward: Any, call: Call) -> None:
        self._forward = forward
        self._call = call
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in call.inputs]
        )

    def __call__(self, *args: Any) -> Any:
        names = list(self._call.inputs)
        positional, keywords = self._call.arguments(dict(zip(names, args, strict=True)))
        return self._forward(*positional, **keywords)


def _copy(value: Any) -> Any:
    # A cache object passed by the caller would grow from call to call: each call gets its own.
    if isinstance(value, _IMMUTABLE):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - an object that cannot be copied is shared, as the caller shared it
        return value


def snapshot(arguments: Any) -> Any:
    """Copies of call arguments, in their containers, as they are now: a cache that grows later is copied while empty."""
    if isinstance(arguments, dict):
        return {name: snapshot(value) for name, value in arguments.items()}
    if type(arguments) in (list, tuple):
        return type(arguments)(snapshot(value) for value in arguments)
    return clone(arguments) if _holds_tensor(arguments) else _copy(arguments)


def _holds_tensor(value: Any) -> bool:
    return any(isinstance(leaf, torch.Tensor) for _, leaf in leaves(value))


def bind(model: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    """Give every argument of ``model(*args, **kwargs)`` its parameter's name.

    Raises:
        SubjectError: the arguments do not fit the forward's signature, or no tensor is among them.
    """
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):
        signature = inspect.Signature(
            [
                inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
            ]
        )
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        given = [describe(arg) for arg in args] + [f"{name}={describe(value)}" for name, value in kwargs.items()]
        raise SubjectError(
            f"the inputs do not fit {type(model).__name__}.forward{_short(signature)}: {error}; "
            f"given: {', '.join(given) or 'nothing'}"
        ) from None
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


def _short(signature: inspect.Signature) -> str:
    return "(" + ", ".join(str(parameter).split(":")[0].split("=")[0] for parameter in signature.parameters.values()) + ")"
