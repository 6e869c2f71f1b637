"""Rules about the call: what goes in, what comes out, and what the program does with its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ...nested import describe, join
from ...result import Finding
from ..base import NotJudged
from ..deployment import Deployment
from .lint import MOST_LINES, UNTRACED, Place, declared_at, require
from .program import Operation, Program

__all__ = ["in_place_input", "inputs", "max_length", "outputs", "unused_input"]


def max_length(deployment: Deployment) -> Iterator[Finding]:
    """A traced length beyond what the model's config allows: its position tables end there."""
    if deployment.limits and not deployment.limits.keys() & deployment.sizes.keys():
        raise NotJudged("no axis of the inputs is known to be a sequence: declare dims=")
    for dim, limit in deployment.limits.items():
        size = deployment.sizes.get(dim)
        if size is not None and size > limit:
            yield deployment.finding(
                f"{dim} is traced at {size}, beyond the {limit} positions of the model's config",
                hint=f"trace at {limit} at most, and truncate longer inputs",
                details={"dim": dim, "size": size, "limit": limit},
            )


def _unlike(value: Any, path: str, *, mappings: bool) -> Iterator[tuple[str, Any]]:
    """What is neither a tensor nor a tuple or list (or, for outputs, a dict) of such."""
    if isinstance(value, torch.Tensor):
        return
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        entries: Any = enumerate(value)
    elif mappings and isinstance(value, Mapping):
        entries = value.items()
    else:
        yield path, value
        return
    for key, entry in entries:
        yield from _unlike(entry, join(path, key), mappings=mappings)


def inputs(deployment: Deployment) -> Iterator[Finding]:
    """Inputs other than tensors and nested tuples or lists of them."""
    unlike = [entry for name, value in deployment.inputs.items() for entry in _unlike(value, name, mappings=False)]
    for path, value in unlike[:MOST_LINES]:
        yield deployment.finding(
            f"input {path!r} is a {describe(value)}; Neuron takes tensors, and nested tuples or lists of them",
            line=declared_at(deployment),
            where="declared at",
            path=path,
            hint="take the tensors as arguments of their own, or wrap the model in a module that does",
        )


def outputs(deployment: Deployment) -> Iterator[Finding]:
    """Outputs other than tensors and nested tuples, lists or dicts of them."""
    require(deployment, "eager")
    unlike = list(_unlike(deployment.expected, "", mappings=True))
    line = deployment.returned_at() if unlike else None
    for path, value in unlike[:MOST_LINES]:
        yield deployment.finding(
            f"{f'output {path!r}' if path else 'the output'} is a {describe(value)}; "
            "Neuron gives tensors, and nested tuples, lists or dicts of them",
            line=line,
            where="returned at",
            path=path or None,
            hint="return tensors alone: leave None out, and make a number a tensor in the graph",
        )


_SIZE_ONLY = ("aten::size", "aten::dim", "aten::numel", "prim::dtype", "prim::device")
_LIKE = ("_like", "aten::new_zeros", "aten::new_ones", "aten::new_full", "aten::new_empty")


def unused_input(deployment: Deployment) -> Iterator[Finding]:
    """Inputs that no operation reads; Neuron ignores them, with a warning of its own."""
    # The graph of a model that cannot be traced lacks the outputs that stand in the way, and what computes them.
    program = Program.of(deployment) if deployment.module is not None else None
    if program is None:
        raise NotJudged(UNTRACED)
    unused: list[tuple[str, str]] = []
    for value, path in program.paths.items():
        users = {user.kind for user in value.users}
        if not users:
            unused.append((path, "is not used"))
        elif all(kind in _SIZE_ONLY or kind.endswith(_LIKE) for kind in users):
            unused.append((path, "is used for its shape alone, which is fixed"))
    for path, how in unused[:MOST_LINES]:
        yield deployment.finding(
            f"input {path!r} {how}: Neuron ignores it",
            line=declared_at(deployment),
            where="declared at",
            path=path,
            hint="leave it out of the deployed call",
        )


_DROPOUTS = ("aten::dropout_", "aten::alpha_dropout_", "aten::feature_dropout_", "aten::feature_alpha_dropout_")


def _changes(operation: Operation) -> bool:
    """Whether an operation in place changes anything: dropout outside of training does not."""
    return operation.kind not in _DROPOUTS or operation.inputs[2].constant is not False


def in_place_input(program: Program) -> Iterator[Place]:
    """Writes into an input, or into a view of one."""
    shared = dict(program.paths)
    for operation in program.operations:
        if not any(value in shared for value in operation.inputs):
            continue
        for value, writes, results in operation.aliases():
            path = shared.get(value)
            if path is None:
                continue
            if writes and _changes(operation):
                message = f"{operation.name} writes into the input {path!r}, which stays as it was on the device"
                yield Place(operation, message, "work on a copy: clone(), or the operation without the trailing underscore")
            shared.update(dict.fromkeys(results, path))
