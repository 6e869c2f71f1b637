"""The JSON report, schema 1: the source that every other report is rendered from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..files import write_text
from ..result import SCHEMA, GateResult

__all__ = ["document", "render", "write"]


def document(gates: Iterable[GateResult], environment: Mapping[str, Any]) -> dict[str, Any]:
    """The report as data; gates sorted by id, so that the order in which tests ran does not show."""
    ordered = sorted(gates, key=lambda gate: (gate.id, gate.nodeid))
    return {"schema": SCHEMA, "environment": dict(sorted(environment.items())), "gates": [gate.to_json() for gate in ordered]}


def render(data: Mapping[str, Any]) -> str:
    """The document as text: UTF-8, sorted keys. A lone surrogate, which UTF-8 cannot hold, is written as ``\\udXXX``."""
    text = json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Write the report whole or not at all.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
    """
    write_text(path, render(data))
