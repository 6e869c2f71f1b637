"""The export itself: at which sizes, with which dims dynamic, and what to do where torch refuses a dim."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.export import Dim, ExportedProgram

from ...nested import clone, map_tensors, tensors
from ...tracing import private
from ..base import Unsupported
from ..deployment import Deployment
from .recording import GuardLog
from .refusals import refusal
from .turn import out_of_time

__all__ = ["Attempt", "Run", "exported"]

Run = Callable[[Mapping[str, Any]], Any]
"""An exported program: takes the inputs by name, and gives outputs that nothing which runs later changes."""


class _Example(NamedTuple):
    """The inputs of an export and the size of each dim in them."""

    inputs: Mapping[str, Any]
    sizes: Mapping[str, int]


@dataclass(kw_only=True)
class Attempt:
    """A program, the inputs it was exported at, and the dims that torch refused to take as dynamic, each with its reason."""

    program: ExportedProgram
    run: Run
    inputs: Mapping[str, Any]
    sizes: Mapping[str, int]
    log: GuardLog
    refused: dict[str, Unsupported] = field(default_factory=dict)


def exported(deployment: Deployment) -> Attempt:
    """The program with as many dynamic dims as torch grants."""
    wanted = [dim for dim in deployment.sizes if deployment.shape_rule(dim) != "fixed"]
    traced, larger = _Example(deployment.inputs, deployment.sizes), _without_ones(deployment, wanted)
    attempt = _with_most_dims(deployment, larger or traced, wanted)
    if larger is None or deployment.without_weights:
        return attempt
    if deployment.probe(attempt.run, deployment.inputs).kind in ("wrong", "raises"):
        # torch assumes that a dynamic size is never 1. A program that cannot run the user's own call is not one to deploy.
        attempt.log.forget()
        return _with_most_dims(deployment, traced, wanted)
    return attempt


def _without_ones(deployment: Deployment, wanted: Sequence[str]) -> _Example | None:
    """Larger inputs where a dynamic dim has the size 1, which torch always specialises; None if eager refuses them."""
    sizes, limits = deployment.sizes, deployment.limits
    taken = set(sizes.values())
    larger: dict[str, int] = {}
    for dim in wanted:
        if sizes[dim] != 1 or limits.get(dim, 2) < 2:
            continue
        # Two dims of one size could pass for the same.
        free = [size for size in (2, 3, 5, 7) if size not in taken and size <= limits.get(dim, size)]
        larger[dim] = free[0] if free else 2
        taken.add(larger[dim])
    if not larger:
        return None
    inputs = deployment.resized(larger)
    try:
        if not deployment.without_weights:
            deployment.eager(inputs)
    except Exception:  # noqa: BLE001 - outside the model's domain
        return None
    return _Example(inputs, {**sizes, **larger})


def _with_most_dims(deployment: Deployment, example: _Example, wanted: Sequence[str]) -> Attempt:
    try:
        return _attempt(deployment, example, wanted)
    except Unsupported as error:
        if not wanted:
            raise
        refused = error
    # A model that fails with every size static does not fail because of sizes.
    static = _attempt(deployment, example, ())
    for dim in wanted if len(wanted) > 1 else ():
        with contextlib.suppress(Unsupported):
            attempt = _attempt(deployment, example, [other for other in wanted if other != dim])
            attempt.refused = {dim: refused}
            static.log.forget()
            return attempt
    static.refused = dict.fromkeys(wanted, refused)
    return static


def _attempt(deployment: Deployment, example: _Example, dynamic: Sequence[str]) -> Attempt:
    log = GuardLog()
    try:
        with _bound(deployment, example.inputs) as arguments, log.recording():
            shapes = _dynamic_shapes(deployment, example.inputs, arguments, dynamic)
            program = torch.export.export(deployment.model, arguments, dynamic_shapes=shapes, strict=False)
            # Generates the program's code, which not every exported program allows.
            run = _by_name(program.module())
    except Exception as error:  # noqa: BLE001 - torch.export raises whatever the model does among fake tensors
        log.forget()
        raise refusal(deployment, error) from None
    return Attempt(program=program, run=run, log=log, **example._asdict())


def _by_name(program: Callable[..., Any]) -> Run:
    """A program that takes the inputs by position, as one that takes copies of them by name."""

    def run(inputs: Mapping[str, Any]) -> Any:
        return map_tensors(lambda tensor: tensor.detach().clone(), program(*clone(dict(inputs)).values()))

    return run


@contextlib.contextmanager
def _bound(deployment: Deployment, inputs: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """While open, the model's forward takes exactly the inputs, by position; yields copies of them.

    torch.export takes a call as it is, but neither dims for what a ``**kwargs`` swallows, as every transformers model does,
    nor constants that are no plain values (a dtype, a config).
    """
    model = deployment.model
    had, before, original = "forward" in model.__dict__, model.__dict__.get("forward"), model.forward
    names = list(inputs)

    def arranged(values: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return deployment.arguments_of(dict(zip(names, values, strict=True)))

    # A function: torch.export asks it for its code.
    def forward(*values: Any, **named: Any) -> Any:
        args, kwargs = (values, named) if own else arranged(values)
        return original(*args, **kwargs)

    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    model.__dict__["forward"] = forward
    try:
        with deployment.bound(arranged) as own:
            yield tuple(clone(dict(inputs)).values())
    finally:
        # If this export is out of time, a later one may have bound its own.
        if model.__dict__.get("forward") is forward:
            if had:
                model.__dict__["forward"] = before
            else:
                del model.__dict__["forward"]
        # If it is, the gate has restored the model, and its user may have changed it since.
        if not out_of_time():
            deployment.restore()


def _dynamic_shapes(
    deployment: Deployment, inputs: Mapping[str, Any], arguments: tuple[Any, ...], dynamic: Sequence[str]
) -> tuple[Any, ...] | None:
    """The shapes in the form of the arguments: ``{axis: hint}`` for a tensor with a dynamic dim, None for others."""
    hints = {dim: _hint(dim, deployment.limits.get(dim)) for dim in dynamic}
    by_tensor: dict[int, dict[int, Any]] = {}
    for path, tensor in tensors(dict(zip(inputs, arguments, strict=True))):
        named = deployment.dims.get(path, {}).items()
        axes = {axis: hints[dim] for axis, dim in named if dim in hints and tensor.shape[axis] > 1}
        if axes:
            by_tensor[id(tensor)] = axes
    if not by_tensor:
        return None
    shapes: tuple[Any, ...] = private.tree_map(lambda leaf: by_tensor.get(id(leaf)), arguments)
    return shapes


def _hint(dim: str, limit: int | None) -> Any:
    """What leaves a dim to torch: ``Dim.AUTO``; before torch 2.6, which brought it, a named dim, which must be dynamic."""
    auto = getattr(Dim, "AUTO", None)
    return auto if auto is not None else Dim(re.sub(r"\W", "_", dim), max=limit)
