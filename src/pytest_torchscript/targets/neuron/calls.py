"""Rules about the call: what goes in, what comes out, and what the program does with its inputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import torch

from ...nested import describe, leaves
from ...result import Finding
from ..base import NotJudged
from ..deployment import Deployment
from ..tools import Operation, Program
from .lint import MOST_LINES, UNTRACED, Place, declared_at, program_of, require

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


def inputs(deployment: Deployment) -> Iterator[Finding]:
    """Inputs other than tensors and nested tuples or lists of them."""
    found = (
        (path, leaf)
        for name, value in deployment.inputs.items()
        for path, leaf in leaves(value, name, lambda entry: isinstance(entry, Mapping))
        if not isinstance(leaf, torch.Tensor)
    )
    for path, value in itertools.islice(found, MOST_LINES):
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
    unlike = [(path, leaf) for path, leaf in leaves(deployment.expected) if not isinstance(leaf, torch.Tensor)]
    line = deployment.returned_at() if unlike else None
    for path, value in unlike[:MOST_LINES]:
        whole = value is deployment.expected
        yield deployment.finding(
            f"{'the output' if whole else f'output {path!r}'} is a {describe(value)}; "
            "Neuron gives tensors, and nested tuples, lists or dicts of them",
            line=line,
            where="returned at",
            path=None if whole else path,
            hint="return tensors alone: leave None out, and make a number a tensor in the graph",
        )


_SIZE_ONLY = ("aten::size", "aten::dim", "aten::numel", "prim::dtype", "prim::device")
_LIKE = ("_like", "aten::new_zeros", "aten::new_ones", "aten::new_full", "aten::new_empty")


def unused_input(deployment: Deployment) -> Iterator[Finding]:
    """Inputs that no operation reads; Neuron ignores them, with a warning of its own."""
    # The graph of a model that cannot be traced lacks the outputs that stand in the way, and what computes them.
    program = program_of(deployment) if deployment.module is not None else None
    if program is None:
        raise NotJudged(UNTRACED)
    unused: list[tuple[str, str]] = []
    for path, value in program.inputs.items():
        readers = {reader.kind for reader in value.read_by}
        if not readers:
            unused.append((path, "is not used"))
        elif all(kind in _SIZE_ONLY or kind.endswith(_LIKE) for kind in readers):
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
    shared = {value.name: path for path, value in program.inputs.items()}
    for operation in program.operations:
        if not any(value.name in shared for value in operation.inputs):
            continue
        for effect in operation.effects():
            path = shared.get(effect.operand.name)
            if path is None:
                continue
            if effect.writes and _changes(operation):
                message = f"{operation.name} writes into the input {path!r}, which stays as it was on the device"
                yield Place(operation, message, "work on a copy: clone(), or the operation without the trailing underscore")
            shared.update({value.name: path for value in effect.shared_by})
