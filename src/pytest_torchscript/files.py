"""Files: text is written whole or not at all; JSON is read with the place of whatever is wrong with it.

Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import GateError

__all__ = ["FileError", "Json", "is_special", "read_json", "write_text"]

Keys = tuple[str | int, ...]

# Inside a JSON string there are no line breaks, so no valid document has such a line.
_CONFLICT = re.compile(r"^(<{7}|\|{7}|={7}|>{7})(?=\s|$)", re.MULTILINE)
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


class FileError(GateError):
    """A file does not hold what it should. The message names the file and, where there is one, the line and column."""


@dataclass(frozen=True)
class Json:
    """A JSON file that was read: its ``value``, and where in the ``text`` a part of it stands."""

    path: Path
    text: str
    value: Any

    def error(self, problem: str, *keys: str | int) -> str:
        """``problem`` with the file, and the line and column of the value that ``keys`` lead to."""
        offset = next((start for found, start, _ in _values(self.text) if found == keys), 0)
        return f"{self.path}: {_place(self.text, offset)}: {problem}"


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all, with the same bytes on every platform.

    A symbolic link stays one and its target is replaced; a device or a pipe (``/dev/stdout``) is written to as it is.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
    """
    # Before links are resolved: /dev/stdout may lead to a pipe, whose name is no path.
    if is_special(path):
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        return
    path = Path(os.path.realpath(path))
    # Part of the name only: with the addition, a name of the greatest length would be too long.
    descriptor, name = tempfile.mkstemp(prefix=path.name[:32], suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        # mkstemp makes files for one user only; a report is read by others.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def is_special(path: Path) -> bool:
    """Whether replacing the path would put a file in the place of a device, a pipe or a socket."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def read_json(path: Path) -> Json:
    """Read a JSON file: UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: there is no such file.
        FileError: it cannot be read, or is no JSON: a directory, another encoding, a syntax error, a merge conflict that
            was not resolved, a key that is there twice.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        if path.is_dir():  # which Windows calls a lack of permission
            raise FileError(f"{path}: is a directory; give the file") from None
        raise FileError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise FileError(f"{path}: {_place(before, len(before))}: byte 0x{data[error.start]:02x} is not UTF-8") from None
    conflict = _CONFLICT.search(text)
    if conflict:
        raise FileError(
            f"{path}: {_place(text, conflict.start())}: a merge conflict was not resolved here (marker {conflict[1]!r})"
        )
    return Json(path, text, _parsed(path, text))


class _NotFinite(ValueError):
    """A number that JSON cannot hold."""


def _parsed(path: Path, text: str) -> Any:
    repeated = False

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(pairs)
        repeated = repeated or len(found) != len(pairs)
        return found

    def number(written: str) -> float:
        found = float(written)
        # Python reads NaN, Infinity and 1e999; JSON has no such values, and no report could be written with them.
        if not math.isfinite(found):
            raise _NotFinite(written)
        return found

    try:
        value = json.loads(text, object_pairs_hook=members, parse_float=number, parse_constant=number)
    except _NotFinite as error:
        written = str(error)
        start = next(start for _, start, _ in _values(text) if _TOKEN.match(text, start)[0] == written)  # type: ignore[index]
        raise FileError(f"{path}: {_place(text, start)}: not JSON: {written} is no finite number") from None
    except json.JSONDecodeError as error:
        problem = "the file is empty" if not text.strip() else f"not JSON: {error.msg}"
        raise FileError(f"{path}: line {error.lineno}, column {error.colno}: {problem}") from None
    except (RecursionError, ValueError) as error:  # ValueError: an integer of thousands of digits
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise FileError(f"{path}: line 1, column 1: cannot be read: {reason}") from None
    if repeated:
        seen: dict[Keys, int] = {}
        for keys, _, name in _values(text):
            if keys in seen:
                first = _place(text, seen[keys]).partition(",")[0]
                raise FileError(f"{path}: {_place(text, name)}: {keys[-1]!r} is there twice, first in {first}")
            seen[keys] = name
    return value


def _values(text: str) -> Iterator[tuple[Keys, int, int]]:
    """The keys that lead to each value of valid JSON, where the value starts, and where its own key does."""
    # For each open container: whether it is an object that waits for a key, the current key or index, where it starts.
    containers: list[list[Any]] = []
    objects: list[bool] = []
    for match in _TOKEN.finditer(text):
        token, start = match[0], match.start()
        if token in "}]":
            containers.pop()
            objects.pop()
        elif token == ",":
            if objects[-1]:
                containers[-1][0] = True
            else:
                containers[-1][1] += 1
        elif token == ":":
            containers[-1][0] = False
        elif containers and containers[-1][0]:
            containers[-1][1:] = [json.loads(token), start]
        else:
            own = containers[-1][2] if objects and objects[-1] else start
            yield tuple(container[1] for container in containers), start, own
            if token in "{[":
                objects.append(token == "{")
                containers.append([token == "{", 0, start])


def _place(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    return f"line {line}, column {offset - text.rfind(chr(10), 0, offset)}"
