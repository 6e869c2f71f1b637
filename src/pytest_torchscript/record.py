"""Records: dataclasses whose fields, with their types, are the keys of the JSON that they are written as and read from.

A field is declared once, by its annotation: :meth:`Record.to_json` writes it, :meth:`Record.from_json` checks and reads it.
A key without a field is ignored, since a later version may have added it; a field with a default may be missing. Standard
library only.
"""

from __future__ import annotations

import functools
import json
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from enum import Enum
from types import NoneType
from typing import Any, ClassVar, TypeVar

from .errors import GateError

__all__ = ["Record", "RecordError", "jsonable", "shown"]

R = TypeVar("R", bound="Record")

_DEEPEST = 20
_MOST_OF_A_VALUE = 200
_MOST_SHOWN = 80


class RecordError(GateError):
    """JSON is not what a record's fields say. ``keys`` lead from the outermost value to the wrong one."""

    def __init__(self, problem: str, *keys: str | int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.keys = keys

    def inside(self, *keys: str | int) -> RecordError:
        """The same error, seen from a value further out."""
        return RecordError(self.problem, *keys, *self.keys)

    @property
    def place(self) -> str:
        """``gates[0].cells[1].dims.seq``; empty for the outermost value."""
        return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.keys).removeprefix(".")


class Record:
    """Base of the dataclasses that are written to JSON."""

    _left_out: ClassVar[tuple[str, ...]] = ()
    """Fields that few records have: their keys are left out where the value is None."""

    def to_json(self) -> dict[str, Any]:
        """The fields by name, as JSON can hold them."""
        kinds = _kinds(type(self)).items()  # type: ignore[arg-type]
        data = {name: kind.write(getattr(self, name)) for name, (kind, _) in kinds}
        for name in self._left_out:
            if data[name] is None:
                del data[name]
        return data

    @classmethod
    def from_json(cls: type[R], data: Any) -> R:
        """The record that ``data`` describes.

        Raises:
            RecordError: a key is missing, or its value is not what the field says.
        """
        if not isinstance(data, Mapping):
            raise RecordError(f"must be an object, not {shown(data)}")
        values = {}
        for name, (kind, needed) in _kinds(cls).items():  # type: ignore[arg-type]
            if name in data:
                values[name] = kind.at(name, data[name])
            elif needed:
                raise RecordError(f"has no {name!r}")
        try:
            return cls(**values)
        except ValueError as error:
            raise RecordError(str(error)) from None


def shown(value: Any) -> str:
    """A JSON value in a message: short."""
    text = json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


# Fields


@dataclass(frozen=True)
class _Kind:
    """What the values of a field are: in words, as types of Python, and how they are read from JSON and written to it."""

    words: str
    types: tuple[type, ...]
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]

    def at(self, key: str | int, value: Any) -> Any:
        """``value``, which stands under ``key``, read."""
        try:
            # To Python a truth value is a number.
            if self.types and (isinstance(value, bool) or not isinstance(value, self.types)):
                raise RecordError(f"must be {self.words}, not {shown(value)}")
            return self.read(value)
        except RecordError as error:
            raise error.inside(key) from None


@functools.cache
def _kinds(cls: Any) -> Mapping[str, tuple[_Kind, bool]]:
    """The fields of a record by name, and whether each must be there."""
    hints = typing.get_type_hints(cls)
    return {field.name: (_kind(hints[field.name]), _is_needed(field)) for field in fields(cls)}


def _is_needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _kind(hint: Any) -> _Kind:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if NoneType in inner:
        return _optional(_kind(inner[0]))
    if origin is tuple:
        entry = _kind(inner[0])
        return _Kind(
            "a list",
            (list,),
            lambda value: tuple(entry.at(index, each) for index, each in enumerate(value)),
            lambda value: [entry.write(each) for each in value],
        )
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_kind(inner[1]))
    if hint is Any:
        return _Kind("anything", (), _same, jsonable)
    if issubclass(hint, Record):
        return _Kind("an object", (dict,), hint.from_json, hint.to_json)
    if issubclass(hint, Enum):
        return _Kind("text", (str,), functools.partial(_member, hint), lambda value: value.value)
    return _PLAIN[hint]


def _optional(kind: _Kind) -> _Kind:
    return replace(
        kind,
        words=f"{kind.words} or null",
        types=(*kind.types, NoneType),
        read=lambda value: None if value is None else kind.read(value),
        write=lambda value: None if value is None else kind.write(value),
    )


def _mapping(entry: _Kind) -> _Kind:
    def read(value: Mapping[str, Any]) -> dict[str, Any]:
        return {key: entry.at(key, each) for key, each in value.items()}

    def write(value: Mapping[str, Any]) -> dict[str, Any]:
        return {str(jsonable(key)): entry.write(each) for key, each in value.items()}

    return _Kind("an object", (dict,), read, write)


def _member(kind: type[Enum], value: str) -> Enum:
    try:
        return kind(value)
    except ValueError as error:
        raise RecordError(str(error)) from None


def _same(value: Any) -> Any:
    return value


_PLAIN: Mapping[type, _Kind] = {
    str: _Kind("text", (str,), _same, _same),
    int: _Kind("a whole number", (int,), _same, _same),
    # The numbers of records are seconds: more digits than a microsecond's would be noise.
    float: _Kind("a number", (int, float), _same, lambda value: round(value, 6)),
}


# Values of any kind


def jsonable(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON can hold it, whatever a target or a rule put there.

    NaN and infinity, which JSON does not have, become the texts a reader expects; a 0-d tensor or a NumPy number becomes a
    number, another object its kind and shape, or a short text.
    """
    if isinstance(value, (bool, type(None))):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if depth == _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {str(jsonable(key)): jsonable(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(entry, depth + 1) for entry in value]
    if isinstance(value, (set, frozenset)):
        return sorted((jsonable(entry, depth + 1) for entry in value), key=repr)
    return _other(value, depth)


def _other(value: Any, depth: int) -> Any:
    try:
        shape = getattr(value, "shape", None)
        if shape is not None and not tuple(shape):
            return jsonable(value.item(), depth + 1)
        text = f"{type(value).__name__} {tuple(shape)}" if shape is not None else repr(value)
    except Exception:  # noqa: BLE001 - an object that cannot even be named
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MOST_OF_A_VALUE else text[:_MOST_OF_A_VALUE] + "…"
