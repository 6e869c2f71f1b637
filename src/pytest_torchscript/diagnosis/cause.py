"""The guilty line of a specialised trace: two traces, two line logs and the conversions between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .. import source
from ..subject.call import Call
from ..tracing.conversions import Conversion
from ..tracing.graph import Difference, Graph, differences, graph_of
from .lines import LineLog, branch

__all__ = ["Cause", "specialisation"]

_WORDS = {
    "bool": "decided at",
    "int": "baked at",
    "float": "baked at",
    "len": "baked at",
    "number": "baked at",
    "iteration": "unrolled at",
    "list": "baked at",
    "numpy": "baked at",
    "data": "baked at",
    "complex": "baked at",
    "text": "baked at",
}


@dataclass(frozen=True)
class Cause:
    """A source line and what it is to the failure, with the baked value in words where one is known."""

    line: source.Line
    where: str
    detail: str = ""


def _record(model: torch.nn.Module, call: Call, inputs: Mapping[str, Any]) -> tuple[Graph | None, LineLog]:
    log = LineLog()
    try:
        return log.record(lambda: graph_of(model, call, inputs)), log
    except Exception:  # noqa: BLE001 - a forward that cannot be traced at other inputs still shows its lines
        return None, log


def specialisation(
    model: torch.nn.Module, call: Call, left: Mapping[str, Any], right: Mapping[str, Any], restore: Any
) -> list[Cause]:
    """Why a trace made at ``left`` is not the program for ``right``; the likeliest line first, empty when nothing differs.

    ``restore`` puts the model back between the two traces.
    """
    mine, left_log = _record(model, call, left)
    restore()
    theirs, right_log = _record(model, call, right)
    restore()
    parted = branch(left_log, right_log)
    if mine is None:
        return [Cause(parted, "branches at")] if parted else []
    if theirs is None:
        found = [Cause(parted, "branches at")] if parted else []
        return found + [Cause(c.line, _WORDS[c.kind], _value(c)) for c in mine.conversions[:1] if c.line]
    differing = differences(mine, theirs, most=64)
    pairs = [(a, b) for a, b in _paired(mine.conversions, theirs.conversions) if a.value != b.value and a.line is not None]
    if not differing:
        return [Cause(parted, "branches at")] if parted else []
    return _unique(_attribute(differing, pairs, mine.conversions, parted))


def _paired(left: tuple[Conversion, ...], right: tuple[Conversion, ...]) -> list[tuple[Conversion, Conversion]]:
    """Conversions of the same kind on the same line, in step up to where the two runs part."""
    pairs = []
    for a, b in zip(left, right, strict=False):
        if (a.kind, a.line) != (b.kind, b.line):
            break
        pairs.append((a, b))
        if a.kind == "bool" and a.value != b.value:
            break
    return pairs


def _value(conversion: Conversion) -> str:
    if conversion.kind == "data":
        return "the tensor left the graph"
    if conversion.kind == "bool":
        return f"was {conversion.value}"
    return f"as {conversion.value!r}" if isinstance(conversion.value, (int, float)) else ""


def _plain(constant: str) -> str:
    return constant.removeprefix("tensor ")


def _attribute(
    differing: list[Difference],
    pairs: list[tuple[Conversion, Conversion]],
    conversions: tuple[Conversion, ...],
    parted: source.Line | None,
) -> list[Cause]:
    causes: list[Cause] = []
    # Where the structure differs, what it was decided by explains the constants too.
    difference = next((found for found in differing if found.constants is None), differing[0])
    entered = difference.node.line
    before = [(a, b) for a, b in pairs if not 0 <= difference.node.first_value < a.after]
    decided = [(a, b) for a, b in before if a.kind == "bool"][-1:]
    for a, b in decided:
        assert a.line is not None
        causes.append(Cause(a.line, _WORDS[a.kind], f"{_value(a)}, now {b.value}"))
    if difference.constants is not None:
        left, right = difference.constants
        exact = [(a, b) for a, b in before if (repr(a.value), repr(b.value)) == (_plain(left), _plain(right))]
        near = [(a, b) for a, b in before if a.kind != "bool" and entered and a.line and a.line.file == entered.file]
        chosen = (exact or near or [pair for pair in before if pair[0].kind != "bool"])[-1:]
        causes += [Cause(a.line, _WORDS[a.kind], _value(a)) for a, _ in chosen if a.line]
        detached = [c for c in conversions if c.kind in ("data", "numpy") and c.line]
        if not chosen and "tensor of shape" in left and detached:
            causes += [Cause(c.line, _WORDS[c.kind], _value(c)) for c in detached[:1] if c.line]
        if entered is not None:
            where = "used at" if causes else "baked at"
            causes.append(Cause(entered, where, f"the constant {_short(left)} would be {_short(right)}"))
        return causes
    if not decided:
        causes += [Cause(a.line, _WORDS[a.kind], _value(a)) for a, _ in before[-1:] if a.line]
    if parted is not None:
        causes.append(Cause(parted, "branches at"))
    if entered is not None:
        causes.append(Cause(entered, "differs at" if causes else "baked at"))
    return causes


def _short(constant: str) -> str:
    text = _plain(constant)
    return text if len(text) <= 40 else text[:40] + "…"


def _unique(causes: list[Cause]) -> list[Cause]:
    seen: set[tuple[str, int]] = set()
    unique = []
    for cause in causes:
        key = (cause.line.file, cause.line.line)
        if key not in seen:
            seen.add(key)
            unique.append(cause)
    return unique
