"""The documents of several machines as one, the same bytes in whatever order they come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import GateError
from ..record import shown
from ..result import GateResult
from .document import Document

__all__ = ["MergeError", "merge"]

_TIMES = "seconds"
_MOST_DIFFERENCES = 3


class MergeError(GateError):
    """Reports that cannot be made one. The message names the gate, the files and what differs."""


def merge(documents: Sequence[tuple[str, Document]]) -> Document:
    """One document of the gates of all; ``documents`` are named for messages.

    A gate that is in several with the same result, times aside, is taken once. What differs between the environments is
    joined: ``3.10.14, 3.11.7``. A gate recorded as stale in one and found in another is not stale.

    Raises:
        MergeError: two documents hold different results of one gate.
    """
    taken: dict[str, tuple[str, GateResult]] = {}
    # The order of the names must not show in what is kept, but may in a message.
    for name, document in documents:
        for gate in document.gates:
            taken[gate.id] = _one_of(taken[gate.id], (name, gate)) if gate.id in taken else (name, gate)
    gone = {entry for _, document in documents for entry in document.stale} - set(taken)
    environment = _environment([document.environment for _, document in documents])
    return Document.of((gate for _, gate in taken.values()), environment, gone)


def _one_of(known: tuple[str, GateResult], other: tuple[str, GateResult]) -> tuple[str, GateResult]:
    """One of two results of a gate, which may differ in times alone."""
    one, two = known[1].to_json(), other[1].to_json()
    differences = list(_differences(_timeless(one), _timeless(two)))
    if differences:
        raise MergeError(_conflict(known[1].id, known[0], other[0], differences))
    # Times are all that differs: one of them must be chosen, and not by who came first.
    return known if _canonical(one) <= _canonical(two) else other


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _timeless(value: Any, parent: str = "gate") -> Any:
    """``value`` without the times of the gate and of its checks; figures that a check measured stay."""
    if isinstance(value, Mapping):
        dropped = (_TIMES,) if parent in ("gate", "checks") else ()
        return {name: _timeless(entry, name) for name, entry in value.items() if name not in dropped}
    if isinstance(value, list):
        return [_timeless(entry, parent) for entry in value]
    return value


def _differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two values differ: the path of the smallest parts, and both."""
    if isinstance(one, dict) and isinstance(other, dict):
        # Verdicts before what was said of them.
        for key in sorted({*one, *other}, key=lambda key: (key not in ("nodeid", "outcome", "verdict", "status"), key)):
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (entry, against) in enumerate(zip(one, other, strict=True)):
            yield from _differences(entry, against, f"{path}[{index}]")
    elif one != other or type(one) is not type(other):
        yield path, one, other


def _conflict(id: str, one: str, other: str, differences: Sequence[tuple[str, Any, Any]]) -> str:
    told = [f"{path} is {shown(before)} and {shown(after)}" for path, before, after in differences[:_MOST_DIFFERENCES]]
    more = len(differences) - _MOST_DIFFERENCES
    rest = f" and {more} more" if more > 0 else ""
    return f"gate {id!r} has different results in {one} and {other}: {'; '.join(told)}{rest}"


def _environment(environments: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    every = list(environments)
    for name in sorted({name for environment in every for name in environment}):
        found[name] = [environment.get(name) for environment in every]
    return {name: _joined(values) for name, values in found.items()}


def _joined(values: Sequence[Any]) -> Any:
    """The value, if it is one; else all of them as text, sorted. Joining what was joined changes nothing."""
    if all(_canonical(value) == _canonical(values[0]) for value in values):
        return values[0]
    texts = [value if isinstance(value, str) else "none" if value is None else _canonical(value) for value in values]
    return ", ".join(sorted({part for text in texts for part in text.split(", ")}))
