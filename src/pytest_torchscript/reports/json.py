"""The JSON report, schema 1: it holds all there is to know, and every other report can be made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import GateError
from ..files import FileError, read_json, write_text
from ..record import RecordError
from ..result import SCHEMA, GateResult
from .document import Document

__all__ = ["ReportError", "parse", "read", "render", "to_json", "write"]

_EXPECTED = f'expected a report of --torchscript-json: an object with "schema": {SCHEMA}, "environment" and "gates"'


class ReportError(GateError):
    """A file is no JSON report that can be read. The message names the file, the place in it and what was expected."""


def to_json(document: Document) -> dict[str, Any]:
    """The report as data; the key ``stale`` is there only if something is."""
    data: dict[str, Any] = {"schema": SCHEMA, "environment": dict(document.environment)}
    data["gates"] = [gate.to_json() for gate in document.gates]
    return {**data, "stale": list(document.stale)} if document.stale else data


def render(document: Document) -> str:
    """The report as text: UTF-8, sorted keys, a gate a line.

    A lone surrogate, which UTF-8 cannot hold, is written as ``\\udXXX``. Indented, a thousand gates would take seconds, since
    only what is not indented is written by compiled code.
    """
    data = to_json(document)
    gates = ",".join(f"\n{_dump(gate)}" for gate in data["gates"])
    parts = {name: _dump(value) for name, value in data.items() if name != "gates"}
    parts["gates"] = f"[{gates}\n]" if gates else "[]"
    text = ",\n".join(f"{_dump(name)}: {part}" for name, part in sorted(parts.items()))
    return f"{{\n{text}\n}}\n".encode("utf-8", "backslashreplace").decode("utf-8")


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def write(path: Path, document: Document) -> None:
    """Write the report whole or not at all.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
    """
    write_text(path, render(document))


def read(path: Path) -> Document:
    """Read a report.

    Raises:
        ReportError: it cannot be read, is no JSON (with line and column), or no report of this schema.
    """
    try:
        value = read_json(path).value
    except FileNotFoundError:
        raise ReportError(f"{path}: there is no such file") from None
    except FileError as error:
        raise ReportError(str(error)) from None
    return parse(str(path), value)


def parse(name: str, value: Any) -> Document:
    """The document in ``value``, which was read from what ``name`` names. Keys that this version does not know are ignored.

    Raises:
        ReportError: it is no JSON report of this schema.
    """
    # For Python, True is 1.
    if not isinstance(value, dict) or type(value.get("schema")) is not int:
        raise ReportError(f"{name}: {_EXPECTED}")
    if value["schema"] != SCHEMA:
        raise ReportError(f"{name}: schema {value['schema']}, and this version reads schema {SCHEMA}")
    if not isinstance(value.get("environment"), dict) or not isinstance(value.get("gates"), list):
        raise ReportError(f"{name}: {_EXPECTED}")
    stale = value.get("stale", [])
    if not isinstance(stale, list) or not all(isinstance(entry, str) for entry in stale):
        raise ReportError(f"{name}: stale must be a list of texts")
    gates: dict[str, GateResult] = {}
    for index, data in enumerate(value["gates"]):
        gate = _gate(name, index, data)
        if gate.id in gates:
            owners = f"of {gates[gate.id].nodeid!r} and {gate.nodeid!r}"
            raise ReportError(f"{name}: gates[{index}]: the id {gate.id!r} is there twice, {owners}")
        gates[gate.id] = gate
    return Document.of(gates.values(), value["environment"], stale)


def _gate(name: str, index: int, data: Mapping[str, Any]) -> GateResult:
    try:
        return GateResult.from_json(data)
    except RecordError as error:
        error = error.inside("gates", index)
        raise ReportError(f"{name}: {error.place}: {error.problem}") from None
