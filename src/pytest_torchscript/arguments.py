"""One argument of the marker: how its value is checked, how it is read from pytest's configuration, and its help.

The marker's own arguments are declared by this class in :mod:`pytest_torchscript.spec`, those of a deployment target, built
in or not, in :attr:`pytest_torchscript.Target.arguments`. Standard library only.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import SpecError

__all__ = ["Argument", "Check", "FromText", "Known", "by_name", "nearest"]

Check = Callable[[str, Any], Any]
"""Takes an argument's name and a value; returns the value to use, or raises SpecError."""

FromText = Callable[[str, Sequence[str]], Any]
"""Takes an argument's name and the lines of its configuration; returns a value for ``Check``, or raises SpecError."""


def nearest(word: str, words: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for a likely slip, else the names there are."""
    known = list(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(known)}"


# Text of the configuration, which has no empty lines and no spaces around a line


def as_text(name: str, lines: Sequence[str]) -> str:
    """All lines as one text."""
    return " ".join(lines)


def as_words(name: str, lines: Sequence[str]) -> list[str]:
    """Words, separated by spaces, commas or lines."""
    return [word for line in lines for word in re.split(r"[\s,]+", line) if word]


def as_integers(name: str, lines: Sequence[str]) -> list[int]:
    """Whole numbers, separated by spaces, commas or lines."""
    return [_number(name, word, int) for word in as_words(name, lines)]


def as_number(name: str, lines: Sequence[str]) -> float:
    """One number."""
    return float(_number(name, as_text(name, lines), float))


def as_pairs(name: str, lines: Sequence[str]) -> dict[str, str]:
    """Lines of ``name: value``."""
    pairs = {}
    for line in lines:
        key, separator, value = line.partition(":")
        if not separator:
            raise SpecError(f"{name}: expected lines of 'name: value', got {line!r}")
        pairs[key.strip()] = value.strip()
    return pairs


def as_axes(name: str, lines: Sequence[str]) -> dict[str, dict[int, str]]:
    """Lines of ``input: axis=dim, axis=dim``."""
    axes: dict[str, dict[int, str]] = {}
    for entry, text in as_pairs(name, lines).items():
        pairs = (pair.partition("=") for pair in text.split(",") if pair.strip())
        axes[entry] = {_number(name, axis, int): dim.strip() for axis, _, dim in pairs}
    return axes


def _number(name: str, text: str, kind: type[int] | type[float]) -> Any:
    try:
        return kind(text.replace("_", ""))
    except ValueError:
        raise SpecError(f"{name}: {text!r} is no {'whole ' if kind is int else ''}number") from None


# The declaration


@dataclass(frozen=True)
class Argument:
    """One argument of the marker.

    ``check(name, value)`` returns the value to use, or raises :class:`pytest_torchscript.SpecError`.
    ``from_text(name, lines)`` makes a value for ``check`` of the lines of ``torchscript_<name>`` in pytest's configuration;
    unless given, it is their text. None means that there can be no default in the configuration.
    ``help`` is what ``pytest --help`` says.
    """

    name: str
    check: Check
    from_text: FromText | None = as_text
    help: str = ""


Known = Mapping[str, Mapping[str, Argument]]
"""The targets there are, each with the marker arguments that it declares, by their names."""


def by_name(declared: Iterable[Argument] | Mapping[str, Check]) -> dict[str, Argument]:
    """The arguments that a target declares, by their names: :class:`Argument` objects, or names with their checks alone."""
    if isinstance(declared, Mapping):
        return {name: Argument(name, check) for name, check in declared.items()}
    return {argument.name: argument for argument in declared}


# Checks


def check_sizes(name: str, value: Any) -> tuple[int, ...]:
    """One or several sizes of a dim."""
    several = value if isinstance(value, (list, tuple)) else (value,)
    if not several:
        raise SpecError(f"{name} is empty; give an int, or several")
    for size in several:
        if isinstance(size, bool) or not isinstance(size, int):
            raise SpecError(f"{name} must be an int, or a list or tuple of ints, not {size!r}")
        if size < 1:
            raise SpecError(f"{name} must be at least 1, not {size}")
    if len(set(several)) != len(several):
        raise SpecError(f"{name} names a size twice: {list(several)}")
    return tuple(several)


def check_target(name: str, value: Any) -> tuple[str, ...]:
    """One or several names of targets; whether there are such targets is not known here."""
    several = value if isinstance(value, (list, tuple)) else (value,)
    if not several:
        raise SpecError(f"{name} is empty; give a target's name, or several")
    for target in several:
        if not isinstance(target, str):
            raise SpecError(f"{name} must be a target's name, or several, not {target!r}")
    if len(set(several)) != len(several):
        raise SpecError(f"{name} names a target twice: {list(several)}")
    return tuple(several)


def check_model(name: str, value: Any) -> Any:
    """A module, its class, a factory or the name of a fixture."""
    if isinstance(value, str):
        return _fixture_name(name, value)
    if _is_of_torch(value, "nn.Module") or callable(value):
        return value
    raise SpecError(f"{name} must be a fixture's name, an nn.Module, its class or a factory, not {type(value).__name__}")


def check_inputs(name: str, value: Any) -> Any:
    """Example inputs, a factory or the name of a fixture."""
    if isinstance(value, str):
        return _fixture_name(name, value)
    if isinstance(value, (Mapping, tuple)):
        if not value:
            raise SpecError(f"{name} is empty; give at least one tensor")
        return value
    if _is_of_torch(value, "Tensor"):
        raise SpecError(f"{name} must be a tuple or a mapping: write inputs=(tensor,)")
    if callable(value):
        return value
    raise SpecError(f"{name} must be a fixture's name, a mapping, a tuple or a factory, not {type(value).__name__}")


def _fixture_name(name: str, value: str) -> str:
    if not value.isidentifier():
        raise SpecError(f"{name} {value!r} is no fixture's name")
    return value


def _is_of_torch(value: object, path: str) -> bool:
    """Whether a value is of a class of torch, which is not imported for it: without torch there is no such value."""
    found: Any = sys.modules.get("torch")
    for part in path.split(".") if found is not None else ():
        found = getattr(found, part)
    return found is not None and isinstance(value, found)


def check_dims(name: str, value: Any) -> dict[str, dict[int, str]]:
    """The dims of the inputs' axes."""
    shape = '{"input_ids": {0: "batch", 1: "seq"}}'
    if not isinstance(value, Mapping) or not value:
        raise SpecError(f"{name} must map inputs to axes, like {shape}, not {value!r}")
    checked: dict[str, dict[int, str]] = {}
    for entry, axes in value.items():
        if not isinstance(entry, str) or not isinstance(axes, Mapping) or not axes:
            raise SpecError(f"{name} must map inputs to axes, like {shape}; {entry!r} has {axes!r}")
        for axis, dim in axes.items():
            if isinstance(axis, bool) or not isinstance(axis, int):
                raise SpecError(f"{name}[{entry!r}]: an axis is an int, not {axis!r}")
            if not isinstance(dim, str) or not dim:
                raise SpecError(f"{name}[{entry!r}][{axis}]: a dim is a name, not {dim!r}")
        checked[entry] = dict(axes)
    return checked


def check_input_name(name: str, value: Any) -> str:
    """The name of an input; whether there is one is not known here."""
    if not isinstance(value, str) or not value:
        raise SpecError(f"{name} must be the name of an input, not {value!r}")
    return value


def check_tolerance(name: str, value: Any) -> float:
    """A number that is finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"{name} must be a number, not {value!r}")
    if not (math.isfinite(value) and value >= 0):
        raise SpecError(f"{name} must be finite and not negative, not {value!r}")
    return float(value)


def check_limit(name: str, value: Any) -> float:
    """A positive number of floating-point operations."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"{name} must be a number of floating-point operations, not {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise SpecError(f"{name} must be positive and finite, not {value!r}")
    return float(value)


def check_weights(name: str, value: Any) -> str:
    """``real`` or ``meta``."""
    if value not in ("real", "meta"):
        raise SpecError(f"{name} must be 'real' or 'meta', not {value!r}")
    return str(value)


def check_effort(name: str, value: Any) -> str:
    """``normal`` or ``thorough``."""
    if value not in ("normal", "thorough"):
        raise SpecError(f"{name} must be 'normal' or 'thorough', not {value!r}")
    return str(value)


def check_id(name: str, value: Any) -> str:
    """A name that is safe in every report."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise SpecError(f"{name} must be made of letters, digits, '_' and '-' (a dot makes false packages), not {value!r}")
    return value
