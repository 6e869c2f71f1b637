"""The rule that two inputs of one shape must be answered in one shape, operation by operation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch.overrides import TorchFunctionMode

from ... import source
from ...nested import tensors
from ...result import Finding, Status
from ..base import NotJudged
from ..deployment import Deployment
from .lint import META, program_of
from .operations import data_dependent

__all__ = ["shape_varies"]

_KINDS = ("floats redrawn", "floats negated", "integers redrawn", "integers all at their least", "booleans inverted")
_PADDINGS = ("mostly padding", "without padding")


class _Step(NamedTuple):
    """An operation and the shapes of its results."""

    name: str
    shapes: tuple[tuple[int, ...], ...]


class _ShapeLog(TorchFunctionMode):
    """The shapes of every operation's results in one run; the line of the one at ``asked`` alone, for lines cost time."""

    def __init__(self, asked: int | None = None) -> None:
        super().__init__()
        self.steps: list[_Step] = []
        self.line: source.Line | None = None
        self._asked = asked

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", str(func))
        if name == "__get__":
            return result
        if len(self.steps) == self._asked:
            self.line = source.innermost(source.frames(inspect.currentframe()))
        found = tuple(tuple(leaf.shape) for _, leaf in tensors(result))
        self.steps.append(_Step(name, found))
        return result


def _shape_log(deployment: Deployment, inputs: Mapping[str, Any], asked: int | None = None) -> _ShapeLog | None:
    log = _ShapeLog(asked)
    try:
        with log:
            deployment.eager(inputs)
    except Exception:  # noqa: BLE001 - values that the model refuses say nothing of its shapes
        return None
    return log


def shape_varies(deployment: Deployment) -> list[Finding]:
    """Operations whose result has another shape for another input of the same shape.

    Where the program depends on values as a whole, or the first such operation is one that always does, another rule says so.
    """
    if deployment.without_weights:
        raise NotJudged(META)
    if deployment.status("values") is Status.FAILED:
        raise NotJudged("values failed")
    compared = 0
    for first, other in _logs(deployment):
        compared += 1
        for index, (mine, theirs) in enumerate(zip(first.steps, other.steps, strict=False)):
            if mine.name != theirs.name:
                break
            if mine.shapes != theirs.shapes:
                return _reported(deployment, index, mine, theirs)
    if not compared:
        raise NotJudged("the model takes no other values than these")
    return []


def _logs(deployment: Deployment) -> Iterator[tuple[_ShapeLog, _ShapeLog]]:
    """The run of the observed input, beside runs of a few that are unlike it, masks included."""
    first = _shape_log(deployment, deployment.inputs)
    for label, inputs in deployment.variants() if first else ():
        if label in _KINDS or label.endswith(_PADDINGS):
            other = _shape_log(deployment, inputs)
            if first is not None and other is not None:
                yield first, other


def _reported(deployment: Deployment, index: int, mine: _Step, theirs: _Step) -> list[Finding]:
    """The finding about an operation of two shapes, unless another rule names its line."""
    again = _shape_log(deployment, deployment.inputs, index)
    line = again.line if again else None
    program = program_of(deployment)
    named = [place.operation.line for place in data_dependent(program)] if program else []
    # An operation without a line is not the model's: its results come from a scripted part, unseen until returned.
    if named and (line is None or any(entry and (entry.file, entry.line) == (line.file, line.line) for entry in named)):
        return []
    pair = next(((a, b) for a, b in zip(mine.shapes, theirs.shapes, strict=False) if a != b), None)
    shapes = f": {pair[0]} and {pair[1]}" if pair else ""
    gives = f"give {mine.name.strip('_')} two shapes" if line else "are answered in two shapes"
    hint = "compute at the full size and mask what is not wanted; no size may come from a value"
    return [deployment.finding(f"two inputs of the same shape {gives}{shapes}", line=line, hint=hint)]
