"""The guilty line of a trace that holds for its own inputs only.

The model is traced at its own inputs and at others. Compared are the two graphs, the lines that ran, and the conversions:
tensors that became Python values.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from .. import source
from ..subject.call import Call
from ..tracing.conversions import Conversion
from ..tracing.graph import Difference, Graph, differences, graph_of
from .lines import LineLog, branch

__all__ = ["Cause", "specialisation"]

_WORDS: Mapping[str, str] = {
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


# What a line does that is one cause among others, in a sentence.
_SENTENCES: Mapping[str, str] = {
    "baked at": "a Python value is made on this line too",
    "unrolled at": "a loop is unrolled on this line too",
    "decided at": "a branch is decided on this line too",
    "branches at": "the forward goes another way after this line",
    "differs at": "from this line on, the traced operations are others",
}
# The same conversion in two traces.
_Pair = tuple[Conversion, Conversion]


@dataclass(frozen=True)
class Cause:
    """A source line and what it has to do with the failure, as ``baked at``; ``detail`` says which value, where it is known."""

    line: source.Line
    where: str
    detail: str = ""

    @property
    def sentence(self) -> str:
        """What the line has to do with the failure, for a cause that is not the first: that one has the message."""
        if self.detail and not self.detail.startswith(("as ", "was ")):
            return self.detail
        sentence = _SENTENCES.get(self.where, "this line is a part of the same cause")
        joined = self.detail.replace("was ", "it was ", 1) if self.detail.startswith("was ") else self.detail
        return f"{sentence}: {joined}" if joined else sentence


def _record(model: torch.nn.Module, call: Call, inputs: Mapping[str, Any]) -> tuple[Graph | None, LineLog]:
    """The graph at ``inputs``, None where tracing fails there, and the lines that ran."""
    log = LineLog()
    try:
        return log.record(lambda: graph_of(model, call, inputs)), log
    except Exception:  # noqa: BLE001 - a forward that cannot be traced at other inputs still shows its lines
        return None, log


def specialisation(
    model: torch.nn.Module, call: Call, left: Mapping[str, Any], right: Mapping[str, Any], restore: Any
) -> list[Cause]:
    """Why a trace made at ``left`` is not the program for ``right``.

    Returns the lines, the likeliest first; none where nothing differs. ``restore`` puts the model's state back after a trace.
    """
    graph, lines = _record(model, call, left)
    restore()
    other_graph, other_lines = _record(model, call, right)
    restore()
    branched = branch(lines, other_lines)
    branching = [Cause(branched, "branches at")] if branched else []
    if graph is None:
        return branching
    if other_graph is None:
        return branching + [_converted(c) for c in graph.conversions[:1] if c.line]
    differing = differences(graph, other_graph, most=64)
    if not differing:
        return branching
    return _unique(_attribute(differing, _changed(graph, other_graph), graph.conversions, branching))


def _converted(conversion: Conversion) -> Cause:
    """The cause that a conversion is, whose line is known."""
    assert conversion.line is not None
    return Cause(conversion.line, _WORDS[conversion.kind], _value(conversion))


def _changed(left: Graph, right: Graph) -> list[_Pair]:
    """The conversions that gave the two traces different values."""
    return [(a, b) for a, b in _paired(left.conversions, right.conversions) if a.value != b.value and a.line is not None]


def _paired(left: tuple[Conversion, ...], right: tuple[Conversion, ...]) -> list[_Pair]:
    """Conversions of the same kind on the same line, in order, up to the first that the other run does not have."""
    pairs = []
    for a, b in zip(left, right, strict=False):
        if (a.kind, a.line) != (b.kind, b.line):
            break
        pairs.append((a, b))
        if a.kind == "bool" and a.value != b.value:
            break
    return pairs


def _value(conversion: Conversion) -> str:
    """What a conversion gave, in words."""
    if conversion.kind == "data":
        return "the tensor left the graph"
    if conversion.kind == "bool":
        return f"was {conversion.value}"
    return f"as {conversion.value!r}" if isinstance(conversion.value, (int, float)) else ""


def _attribute(
    differing: list[Difference], pairs: list[_Pair], conversions: tuple[Conversion, ...], branching: list[Cause]
) -> list[Cause]:
    """The lines for the differences between two graphs, the likeliest first."""
    # Where the structure differs, what it was decided by explains the constants too.
    difference = next((found for found in differing if found.constants is None), differing[0])
    before = [(a, b) for a, b in pairs if not 0 <= difference.node.first_value < a.after]
    decided = [replace(_converted(a), detail=f"{_value(a)}, now {b.value}") for a, b in before if a.kind == "bool"][-1:]
    if difference.constants is not None:
        return decided + _constant(difference, difference.constants, before, conversions, explained=bool(decided))
    baked = [] if decided else [_converted(a) for a, _ in before[-1:]]
    causes = decided + baked + branching
    entered = difference.node.line
    return causes + ([Cause(entered, "differs at" if causes else "baked at")] if entered else [])


def _constant(
    difference: Difference,
    constants: tuple[str, str],
    before: list[_Pair],
    conversions: tuple[Conversion, ...],
    *,
    explained: bool,
) -> list[Cause]:
    """The lines for an operand that is another constant: where it left the graph, and where it is used."""
    left, right = constants
    entered = difference.node.line
    exact = [pair for pair in before if (repr(pair[0].value), repr(pair[1].value)) == (_plain(left), _plain(right))]
    numbers = [pair for pair in before if pair[0].kind != "bool"]
    near = [pair for pair in numbers if entered and pair[0].line and pair[0].line.file == entered.file]
    found = [a for a, _ in (exact or near or numbers)[-1:]]
    if not found or found[0].origin is None:
        # What became a number here had left the graph before, or was no tensor any more.
        found = _left_unseen(difference, conversions, tensor="tensor of shape" in left) or found
    causes = [_converted(conversion) for conversion in found]
    if entered is not None:
        where = "used at" if causes or explained else "baked at"
        text = f"the constant {_short(left)}{_made(found)} would be {_short(right)} for the other inputs"
        causes.append(Cause(entered, where, text))
    return causes


def _left_unseen(difference: Difference, conversions: tuple[Conversion, ...], *, tensor: bool) -> list[Conversion]:
    """The conversion by which a constant left the graph as an array or a tensor, whose contents are not compared.

    It is the last one before the node that holds the constant; a number can have left by NumPy only.
    """
    first = difference.node.first_value
    known = [c for c in conversions if c.line and c.origin and (c.kind == "numpy" or (tensor and c.kind == "data"))]
    return ([c for c in known if not 0 <= first < c.after] or known)[-1:]


def _made(conversions: list[Conversion]) -> str:
    """Where and from what a constant was made, as a part of a sentence."""
    for conversion in conversions:
        if conversion.line is not None:
            what = f"computed from a {conversion.origin}" if conversion.origin else "made"
            return f", which was {what} at {os.path.basename(conversion.line.file)}:{conversion.line.line},"
    return ""


def _plain(constant: str) -> str:
    """A constant's text without the word that says that it is a tensor."""
    return constant.removeprefix("tensor ")


def _short(constant: str) -> str:
    """A constant's text, cut where it is long."""
    text = _plain(constant)
    return text if len(text) <= 40 else text[:40].rpartition(" ")[0].rstrip(",") + " …"


def _unique(causes: list[Cause]) -> list[Cause]:
    """The first cause of each line."""
    seen: set[tuple[str, int]] = set()
    unique = []
    for cause in causes:
        key = (cause.line.file, cause.line.line)
        if key not in seen:
            seen.add(key)
            unique.append(cause)
    return unique
