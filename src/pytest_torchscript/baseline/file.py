"""The baseline's file: read with the place of whatever is wrong with it, written whole or not at all.

Schema 1 holds one gate a line::

    {
    "gate:bert": {"cells": {"torchscript[b2,s16]": {"dims": {"batch": "dynamic", "seq": "dynamic"}, "verdict": "ok"}}},
    "gate:head": {"cells": {"torchscript[b2]": {"dims": {}, "verdict": "Untraceable"}}, "reason": "issue 12"},
    "schema": 1
    }

The key ``schema`` sorts behind every ``gate:``, so that each gate's line ends with a comma: adding or removing a gate, the
last one too, changes no other line, and git's ``union`` merge of two such changes is valid.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ..errors import GateError
from ..files import FileError, Json, read_json, write_text
from ..naming import DEFAULT_BASELINE
from ..result import DIMS, OK, Verdict
from .records import CellRecord, Entry

__all__ = ["PREFIX", "SCHEMA", "UPDATE", "Baseline", "BaselineError", "render", "write"]

SCHEMA = 1
PREFIX = "gate:"
UPDATE = "--torchscript-update-baseline"


class BaselineError(GateError):
    """A baseline that cannot be used. The message names the file, line and column; the file is never overwritten."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The entries of a baseline, by gate id. ``path`` is for messages."""

    path: Path = Path(DEFAULT_BASELINE)
    entries: Mapping[str, Entry] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Baseline | None:
        """Read a baseline; None where there is none.

        Raises:
            BaselineError: what is there is no baseline of this schema, or cannot be read.
        """
        try:
            document = read_json(path)
        except FileNotFoundError:
            return None
        except FileError as error:
            raise BaselineError(f"baseline {error}") from None
        return cls(path=path, entries=_Reader(document).entries())


class _Reader:
    """Turns JSON into entries, and whatever does not belong there into an error with its place."""

    def __init__(self, document: Json) -> None:
        self._document = document

    def _refuse(self, problem: str, *keys: str | int) -> NoReturn:
        raise BaselineError(f"baseline {self._document.error(problem, *keys)}")

    def _mapping(self, value: Any, what: str, *keys: str | int) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self._refuse(f"{what} must be an object, not {_kind(value)}", *keys)
        return value

    def _text(self, value: Any, what: str, *keys: str | int) -> str:
        if not isinstance(value, str):
            self._refuse(f"{what} must be text, not {_kind(value)}", *keys)
        return value

    def _known(self, value: Mapping[str, Any], known: Iterable[str], *keys: str | int) -> None:
        for name in value:
            if name not in known:
                self._refuse(f"unknown key {name!r}{_nearest(name, known)}", *keys, name)

    def _choice(self, value: Any, choices: Iterable[str], what: str, *keys: str | int) -> str:
        text = self._text(value, what, *keys)
        if text not in choices:
            self._refuse(f"unknown {what} {text!r}{_nearest(text, choices)}", *keys)
        return text

    def entries(self) -> dict[str, Entry]:
        data = self._mapping(self._document.value, "a baseline")
        schema = data.get("schema")
        if isinstance(schema, int) and not isinstance(schema, bool) and schema > SCHEMA:
            self._refuse(f"schema {schema} is newer than this version reads ({SCHEMA}): upgrade pytest-torchscript", "schema")
        if isinstance(data.get("gates"), list):
            self._refuse(f"this is a JSON report, not a baseline; {UPDATE} writes one", "gates")
        if "schema" not in data:
            self._refuse(f'a baseline has "schema": {SCHEMA}, and this has no schema')
        if schema != SCHEMA or isinstance(schema, bool):
            self._refuse(f"schema must be {SCHEMA}, not {_kind(schema)}", "schema")
        entries = {}
        for name, value in data.items():
            if name.startswith(PREFIX):
                entries[name[len(PREFIX) :]] = self._entry(value, name)
            elif name != "schema":
                self._refuse(f'unknown key {name!r}; a gate\'s key is "{PREFIX}<id>"', name)
        return entries

    def _entry(self, value: Any, name: str) -> Entry:
        data = self._mapping(value, "a gate's entry", name)
        self._known(data, ("cells", "reason"), name)
        cells = self._mapping(data.get("cells", {}), "cells", name, "cells")
        return Entry(
            cells={label: self._cell(cell, name, "cells", label) for label, cell in cells.items()},
            reason=self._text(data["reason"], "reason", name, "reason") if "reason" in data else None,
        )

    def _cell(self, value: Any, *keys: str) -> CellRecord:
        data = self._mapping(value, "a cell", *keys)
        self._known(data, ("also", "dims", "verdict"), *keys)
        verdicts = [verdict.value for verdict in Verdict]
        if "verdict" not in data:
            self._refuse("a cell owes a verdict", *keys)
        verdict = self._choice(data["verdict"], [OK, *verdicts], "verdict", *keys, "verdict")
        also = data.get("also", [])
        if not isinstance(also, list):
            self._refuse(f"also must be a list of verdicts, not {_kind(also)}", *keys, "also")
        if also and verdict == OK:
            self._refuse("a cell that is ok has no further verdicts", *keys, "also")
        dims = self._mapping(data.get("dims", {}), "dims", *keys, "dims")
        return CellRecord(
            verdict=verdict,
            also=tuple(self._choice(entry, verdicts, "verdict", *keys, "also", i) for i, entry in enumerate(also)),
            dims={dim: self._choice(kind, DIMS, "class of a dim", *keys, "dims", dim) for dim, kind in dims.items()},
        )


def _kind(value: Any) -> str:
    """A JSON value in a message: what it is, and short."""
    for kinds, name in ((dict, "an object"), (list, "a list"), (type(None), "null")):
        if isinstance(value, kinds):
            return name
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _nearest(name: str, choices: Iterable[str]) -> str:
    known = list(choices)
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"


def render(baseline: Baseline) -> str:
    """The file's text: sorted keys, one gate a line. A lone surrogate, which UTF-8 cannot hold, is written ``\\udXXX``."""
    lines = [f"{_dump(PREFIX + id)}: {_dump(_to_json(entry))},\n" for id, entry in sorted(baseline.entries.items())]
    text = "".join(["{\n", *lines, f'"schema": {SCHEMA}\n', "}\n"])
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _to_json(entry: Entry) -> dict[str, Any]:
    cells = {}
    for name, cell in entry.cells.items():
        cells[name] = {"verdict": cell.verdict, "dims": dict(cell.dims), **({"also": list(cell.also)} if cell.also else {})}
    return {"cells": cells, **({} if entry.reason is None else {"reason": entry.reason})}


def write(path: Path, baseline: Baseline) -> None:
    """Write the baseline whole or not at all.

    Raises:
        BaselineError: what is there now is broken or of a newer schema; it is left as it is.
        OSError: the file cannot be written; what was there before is untouched.
    """
    Baseline.load(path)
    write_text(path, render(baseline))
