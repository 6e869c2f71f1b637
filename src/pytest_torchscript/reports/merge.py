"""The JSON reports of several machines as one, the same bytes in whatever order they come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import GateError
from ..files import FileError, read_json
from ..result import SCHEMA, GateResult

__all__ = ["MergeError", "merge", "read", "validate"]

_EXPECTED = f'expected a report of --torchscript-json: an object with "schema": {SCHEMA}, "environment" and "gates"'
_TIMES = "seconds"
_MOST_DIFFERENCES = 3
_OBJECT, _LIST, _TEXT, _WHOLE, _NUMBER, _ABSENT = "an object", "a list", "text", "a whole number", "a number", "null"
_TYPES: dict[str, tuple[type, ...]] = {
    _OBJECT: (dict,),
    _LIST: (list,),
    _TEXT: (str,),
    _WHOLE: (int,),
    _NUMBER: (int, float),
    _ABSENT: (type(None),),
}
_GATE = {
    "id": (_TEXT,),
    "nodeid": (_TEXT,),
    "outcome": (_TEXT,),
    "baseline": (_TEXT, _ABSENT),
    "seconds": (_NUMBER,),
    "cells": (_LIST,),
}
_CELL = {
    "target": (_TEXT,),
    "batch_size": (_WHOLE, _ABSENT),
    "seq_len": (_WHOLE, _ABSENT),
    "verdict": (_TEXT,),
    "dims": (_OBJECT,),
    "checks": (_LIST,),
}
_CHECK = {
    "name": (_TEXT,),
    "status": (_TEXT,),
    "verdict": (_TEXT, _ABSENT),
    "seconds": (_NUMBER,),
    "reason": (_TEXT, _ABSENT),
    "findings": (_LIST,),
    "metrics": (_OBJECT,),
}
_FINDING = {"message": (_TEXT,)}
_OPTIONAL = {
    "path": (_TEXT, _ABSENT),
    "file": (_TEXT, _ABSENT),
    "line": (_WHOLE, _ABSENT),
    "function": (_TEXT, _ABSENT),
    "source": (_TEXT, _ABSENT),
    "where": (_TEXT, _ABSENT),
    "hint": (_TEXT, _ABSENT),
    "details": (_OBJECT,),
    "reason": (_TEXT, _ABSENT),
}


class MergeError(GateError):
    """Reports that cannot be read or made one. The message names the files and what is wrong with them."""


def read(path: Path) -> dict[str, Any]:
    """Read a JSON report.

    Raises:
        MergeError: it cannot be read, is no JSON (with line and column), or no report of this schema.
    """
    try:
        value = read_json(path).value
    except FileNotFoundError:
        raise MergeError(f"{path}: there is no such file") from None
    except FileError as error:
        raise MergeError(str(error)) from None
    return validate(str(path), value)


def validate(name: str, value: Any) -> dict[str, Any]:
    """``value``, if it is a JSON report of this schema.

    Raises:
        MergeError: it is not; the message names the file, the place in it, and what was expected.
    """
    if not isinstance(value, dict):
        raise MergeError(f"{name}: {_EXPECTED}")
    schema = value.get("schema")
    if type(schema) is not int:  # for Python, True is 1
        raise MergeError(f"{name}: {_EXPECTED}")
    if schema != SCHEMA:
        raise MergeError(f"{name}: schema {schema}, and this version reads schema {SCHEMA}")
    if not isinstance(value.get("environment"), dict) or not isinstance(value.get("gates"), list):
        raise MergeError(f"{name}: {_EXPECTED}")
    unknown = sorted(set(value) - {"schema", "environment", "gates", "stale"})
    if unknown:
        raise MergeError(f"{name}: unknown key {unknown[0]!r}; {_EXPECTED}")
    gone = value.get("stale", [])
    if not isinstance(gone, list) or not all(isinstance(entry, str) for entry in gone):
        raise MergeError(f"{name}: stale must be a list of texts")
    owners: dict[str, str] = {}
    for index, gate in enumerate(value["gates"]):
        _gate(f"{name}: gates[{index}]", gate)
        owner = owners.get(gate["id"])
        if owner is not None:
            raise MergeError(
                f"{name}: gates[{index}]: the id {gate['id']!r} is there twice, of {owner!r} and {gate['nodeid']!r}"
            )
        owners[gate["id"]] = gate["nodeid"]
    return value


def _gate(where: str, gate: Any) -> None:
    _fields(where, gate, _GATE)
    for i, cell in enumerate(gate["cells"]):
        _fields(f"{where}.cells[{i}]", cell, _CELL)
        for dim, kind in cell["dims"].items():
            _typed(f"{where}.cells[{i}].dims.{dim}", kind, (_TEXT,))
        for j, check in enumerate(cell["checks"]):
            _fields(f"{where}.cells[{i}].checks[{j}]", check, _CHECK)
            for k, finding in enumerate(check["findings"]):
                _fields(f"{where}.cells[{i}].checks[{j}].findings[{k}]", finding, _FINDING)
    try:
        GateResult.from_json(gate)
    except (KeyError, TypeError, ValueError) as error:  # an outcome, a status or a verdict that there is not, an unknown key
        raise MergeError(f"{where}: {error}") from None


def _fields(where: str, value: Any, fields: Mapping[str, Sequence[str]]) -> None:
    _typed(where, value, (_OBJECT,))
    for name, kinds in fields.items():
        if name not in value:
            raise MergeError(f"{where}: has no {name!r}")
        _typed(f"{where}.{name}", value[name], kinds)
    for name, kinds in _OPTIONAL.items():
        if name in value:
            _typed(f"{where}.{name}", value[name], kinds)


def _typed(where: str, value: Any, kinds: Sequence[str]) -> None:
    # To Python a truth value is a number.
    if isinstance(value, bool) or not any(isinstance(value, _TYPES[kind]) for kind in kinds):
        raise MergeError(f"{where}: must be {' or '.join(kinds)}, not {_shown(value)}")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def merge(documents: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """One document of the gates of all; ``documents`` are named for messages. Gates are ordered by id.

    A gate that is in several with the same result, times aside, is taken once. What differs between the environments is
    joined: ``3.10.14, 3.11.7``. A gate recorded as stale in one and found in another is not stale.

    Raises:
        MergeError: a document is no report, or two hold different results of one gate.
    """
    taken: dict[str, tuple[str, Mapping[str, Any]]] = {}
    # The order of the names must not show in what is kept, but may in a message.
    for name, document in documents:
        for gate in validate(name, document)["gates"]:
            if gate["id"] not in taken:
                taken[gate["id"]] = (name, gate)
                continue
            other, known = taken[gate["id"]]
            differences = list(_differences(_timeless(known), _timeless(gate)))
            if differences:
                raise MergeError(_conflict(gate["id"], other, name, differences))
            # Times are all that differs: one of them must be chosen, and not by who came first.
            taken[gate["id"]] = min((other, known), (name, gate), key=lambda entry: _canonical(entry[1]))
    gates = sorted((gate for _, gate in taken.values()), key=lambda gate: (gate["id"], gate["nodeid"]))
    gone = {entry for _, document in documents for entry in document.get("stale", ())} - set(taken)
    merged = {"schema": SCHEMA, "environment": _environment([document["environment"] for _, document in documents])}
    return {**merged, "gates": [dict(gate) for gate in gates], **({"stale": sorted(gone)} if gone else {})}


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
    told = [f"{path} is {_shown(before)} and {_shown(after)}" for path, before, after in differences[:_MOST_DIFFERENCES]]
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
