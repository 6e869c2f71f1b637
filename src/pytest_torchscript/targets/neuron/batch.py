"""The rule about ``dynamic_batch``: Neuron cuts the inputs along dim 0, and joins the outputs there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ... import source
from ...nested import map_tensors, tensors
from ...result import Finding
from ..base import NotJudged
from ..deployment import Deployment
from ..tools import first_difference
from .lint import META, NO_BATCH, UNTRACED, declared_at, program_of

__all__ = ["dynamic_batch"]


def dynamic_batch(deployment: Deployment) -> Iterator[Finding]:
    """What stands against ``dynamic_batch``: inputs without a common dim 0, rows that depend on others, a fixed batch."""
    if not deployment.arguments.get("dynamic_batch"):
        return
    sizes = {path: tensor.shape[0] if tensor.ndim else None for path, tensor in tensors(deployment.inputs)}
    if len(set(sizes.values())) > 1 or None in sizes.values():
        text = ", ".join(f"{path} {'has none' if size is None else size}" for path, size in sizes.items())
        yield deployment.finding(
            f"the inputs disagree on dim 0, along which dynamic_batch cuts them: {text}",
            line=declared_at(deployment),
            where="declared at",
            hint="give every input the batch as its first axis, or leave dynamic_batch out",
        )
        return
    if deployment.without_weights:
        raise NotJudged(META)
    unjudged = None
    for look in (_dependent_rows, _other_batch):
        try:
            finding = look(deployment)
        except NotJudged as reason:
            unjudged = unjudged or reason
            continue
        if finding is not None:
            yield finding
            return
    if unjudged is not None:
        raise unjudged


def _rows(deployment: Deployment) -> int:
    return next(tensor for _, tensor in tensors(deployment.inputs)).shape[0]


def _row(inputs: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    row: Mapping[str, Any] = map_tensors(lambda tensor: tensor[index : index + 1].clone(), dict(inputs))
    return row


def _resized(deployment: Deployment, size: int) -> Mapping[str, Any]:
    if "batch" not in deployment.sizes:
        raise NotJudged(NO_BATCH)
    return deployment.resized({"batch": size})


def _eager(deployment: Deployment, inputs: Mapping[str, Any], what: str) -> Any:
    try:
        return deployment.eager(inputs)
    except Exception:  # noqa: BLE001 - the inputs are outside the model's domain: nothing to compare
        raise NotJudged(f"eager refuses {what}") from None


def _dependent_rows(deployment: Deployment) -> Finding | None:
    """A row that alone gives another answer than in its batch."""
    hint = "let each row be computed from itself alone, or leave dynamic_batch out"
    size = _rows(deployment)
    inputs = deployment.inputs
    if size == 1:
        inputs, size = _resized(deployment, 2), 2
    together = _eager(deployment, inputs, f"a batch of {size}")
    for path, tensor in tensors(together):
        if not tensor.ndim or tensor.shape[0] != size:
            message = f"output {path!r} has shape {tuple(tensor.shape)}: dim 0 is not the batch of {size}"
            line, where = _differs_at(deployment, inputs, 0, path)
            return deployment.finding(message, line=line, where=where, path=path, hint=hint)
    for index in (0, size - 1):
        alone = _eager(deployment, _row(inputs, index), "a single row")
        rows = map_tensors(lambda tensor, at=index: tensor[at : at + 1], together)
        for mismatch in deployment.compare(alone, rows):
            message = f"the answer for a row depends on the other rows of its batch: {mismatch.label} by {mismatch.text}"
            line, where = _differs_at(deployment, inputs, index, mismatch.path)
            details = mismatch.details()
            return deployment.finding(message, line=line, where=where, path=mismatch.path, hint=hint, details=details)
    return None


def _differs_at(
    deployment: Deployment, inputs: Mapping[str, Any], index: int, path: str
) -> tuple[source.Line | None, str | None]:
    """The first operation that gives a row something else alone than in its batch; failing that, what computes ``path``."""
    try:
        alone, together = deployment.operations(_row(inputs, index)), deployment.operations(inputs)
    except Exception:  # noqa: BLE001 - no operations to compare then
        return _computed_at(deployment, path), "computed at"
    differing = first_difference(alone, together, crop=True, at_start=index > 0, slack=1e-3)
    for mine, theirs in zip(alone.operations, together.operations, strict=False):
        if mine is differing:
            break
        if any(_rows_meet(*pair) for pair in zip(mine.results, theirs.results, strict=False)):
            differing = mine
            break
    if differing is None or differing.line is None:
        return _computed_at(deployment, path), "computed at"
    return differing.line, None


def _rows_meet(alone: torch.Tensor, together: torch.Tensor) -> bool:
    """Whether a result grows with the batch along two axes: rows against rows. Cropped to one row, it looks the same."""
    return alone.ndim == together.ndim and sum(a != b for a, b in zip(alone.shape, together.shape, strict=True)) > 1


def _computed_at(deployment: Deployment, path: str) -> source.Line | None:
    """The line of the operation in the program that gives an output."""
    program = program_of(deployment)
    paths = [name for name, _ in tensors(deployment.expected)]
    if program is None or path not in paths or len(program.outputs) != len(paths):
        return None
    return program.outputs[paths.index(path)].made_by.line


def _other_batch(deployment: Deployment) -> Finding | None:
    """A program that is silently wrong for another number of rows."""
    if deployment.module is None:
        raise NotJudged(UNTRACED)
    size = deployment.sizes.get("batch", 0) + 1
    inputs = _resized(deployment, size)
    expected = _eager(deployment, inputs, f"a batch of {size}")
    try:
        mismatches = deployment.compare(deployment.traced(inputs), expected)
    except Exception:  # noqa: BLE001 - a loud refusal is no wrong answer
        return None
    for mismatch in mismatches:
        return deployment.finding(
            f"the program is silently wrong for a batch of {size}: {mismatch.label} by {mismatch.text}",
            line=next((warning.line for warning in deployment.warnings if warning.line), None),
            where="tracer warned at",
            path=mismatch.path,
            hint="keep the batch in the graph: x.shape[0] without int()",
            details=mismatch.details(),
        )
    return None
