"""What is asked of a gate: the marker's arguments, checked and merged. Standard library only."""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import SpecError

__all__ = [
    "ARGUMENTS",
    "CHECKS",
    "SHAPE_RULES",
    "GateSpec",
    "Known",
    "ShapeContract",
    "Tolerance",
    "nearest",
    "parse_arguments",
    "parse_option",
    "spec_of_layers",
]

CHECKS = (
    "eager",
    "trace",
    "equivalence",
    "values",
    "shapes",
    "padding",
    "roundtrip",
    "weights",
    "purity",
    "device",
    "target",
)
"""The checks of a cell, in the order in which they run."""

SHAPE_RULES = ("safe", "dynamic", "fixed")

Validator = Callable[[str, Any], Any]
"""Takes an argument's name and value; returns the value to use, or raises SpecError."""

Known = Mapping[str, Mapping[str, Validator]]
"""The targets there are, each with the marker arguments that it declares."""

_ONLY_TORCHSCRIPT: Known = {"torchscript": {}}


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """``rtol`` and ``atol`` of a comparison; None leaves :func:`torch.testing.assert_close`'s default for the dtype."""

    rtol: float | None = None
    atol: float | None = None


@dataclass(frozen=True, kw_only=True)
class ShapeContract:
    """Which of ``safe``, ``dynamic`` and ``fixed`` is demanded of each dim."""

    default: str = "safe"
    by_dim: Mapping[str, str] = field(default_factory=dict)

    def rule(self, dim: str) -> str:
        return self.by_dim.get(dim, self.default)


@dataclass(frozen=True, kw_only=True)
class GateSpec:
    """One gate as asked for: every argument of the marker, merged and checked; ``options`` are those that targets declare."""

    seq_len: tuple[int, ...] = ()
    batch_size: tuple[int, ...] = ()
    target: tuple[str, ...] = ("torchscript",)
    shapes: ShapeContract = ShapeContract()
    model: Any = None
    inputs: Any = None
    dims: Mapping[str, Mapping[int, str]] | None = None
    mask: str | None = None
    tolerance: Tolerance = Tolerance()
    skip: Mapping[str, str] = field(default_factory=dict)
    max_flops: float | None = None
    weights: str = "real"
    id: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def merge(cls, *layers: Mapping[str, Any]) -> GateSpec:
        """The spec of several layers of *parsed* arguments, the nearest first: each argument is the nearest one given."""
        merged: dict[str, Any] = {}
        for layer in layers:
            for name, value in layer.items():
                merged.setdefault(name, value)
        tolerance = Tolerance(rtol=merged.pop("rtol", None), atol=merged.pop("atol", None))
        options = {name: merged.pop(name) for name in list(merged) if name not in ARGUMENTS}
        return cls(tolerance=tolerance, options=options, **merged)


def nearest(word: str, words: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for a likely slip, else the names there are."""
    known = list(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(known)}"


def _is_module(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _sizes(name: str, value: Any) -> tuple[int, ...]:
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


def _target(name: str, value: Any) -> tuple[str, ...]:
    several = value if isinstance(value, (list, tuple)) else (value,)
    if not several:
        raise SpecError(f"{name} is empty; give a target's name, or several")
    for target in several:
        if not isinstance(target, str):
            raise SpecError(f"{name} must be a target's name, or several, not {target!r}")
    if len(set(several)) != len(several):
        raise SpecError(f"{name} names a target twice: {list(several)}")
    return tuple(several)


def _rule(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SpecError(f"{name} must be one of {', '.join(map(repr, SHAPE_RULES))}, not {value!r}")
    if value not in SHAPE_RULES:
        raise SpecError(f"{name} {value!r} is unknown{nearest(value, SHAPE_RULES)}")
    return value


def _shapes(name: str, value: Any) -> ShapeContract:
    if not isinstance(value, Mapping):
        return ShapeContract(default=_rule(name, value))
    by_dim = {}
    for dim, rule in value.items():
        if not isinstance(dim, str) or not dim:
            raise SpecError(f"{name} maps names of dims to rules; {dim!r} is no name")
        by_dim[dim] = _rule(f"{name}[{dim!r}]", rule)
    if not by_dim:
        raise SpecError(f"{name} is an empty mapping; name a dim, or leave it out")
    return ShapeContract(by_dim=by_dim)


def _model(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _fixture_name(name, value)
    if _is_module(value) or callable(value):
        return value
    raise SpecError(f"{name} must be a fixture's name, an nn.Module, its class or a factory, not {type(value).__name__}")


def _inputs(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _fixture_name(name, value)
    if isinstance(value, (Mapping, tuple)):
        if not value:
            raise SpecError(f"{name} is empty; give at least one tensor")
        return value
    if _is_tensor(value):
        raise SpecError(f"{name} must be a tuple or a mapping: write inputs=(tensor,)")
    if callable(value):
        return value
    raise SpecError(f"{name} must be a fixture's name, a mapping, a tuple or a factory, not {type(value).__name__}")


def _fixture_name(name: str, value: str) -> str:
    if not value.isidentifier():
        raise SpecError(f"{name} {value!r} is no fixture's name")
    return value


def _dims(name: str, value: Any) -> dict[str, dict[int, str]]:
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


def _name(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise SpecError(f"{name} must be the name of an input, not {value!r}")
    return value


def _tolerance(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"{name} must be a number, not {value!r}")
    if not (math.isfinite(value) and value >= 0):
        raise SpecError(f"{name} must be finite and not negative, not {value!r}")
    return float(value)


def _skip(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise SpecError(f'{name} must map checks to reasons, like {{"device": "runs on CPU only"}}, not {value!r}')
    for check, reason in value.items():
        if check not in CHECKS:
            raise SpecError(f"{name} names an unknown check {check!r}{nearest(str(check), CHECKS)}")
        if not isinstance(reason, str) or not reason.strip():
            raise SpecError(f"{name}[{check!r}] owes a reason, a text that is not empty; got {reason!r}")
    if set(CHECKS) <= set(value):
        raise SpecError(f"{name} leaves no check to run; remove the marker instead")
    return dict(value)


def _max_flops(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"{name} must be a number of floating-point operations, not {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise SpecError(f"{name} must be positive and finite, not {value!r}")
    return float(value)


def _weights(name: str, value: Any) -> str:
    choices = ("real", "meta")
    if value not in choices:
        raise SpecError(f"{name} must be 'real' or 'meta', not {value!r}")
    return str(value)


def _id(name: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise SpecError(f"{name} must be made of letters, digits, '_' and '-' (a dot makes false packages), not {value!r}")
    return value


ARGUMENTS: Mapping[str, Validator] = {
    "seq_len": _sizes,
    "batch_size": _sizes,
    "target": _target,
    "shapes": _shapes,
    "model": _model,
    "inputs": _inputs,
    "dims": _dims,
    "mask": _name,
    "rtol": _tolerance,
    "atol": _tolerance,
    "skip": _skip,
    "max_flops": _max_flops,
    "weights": _weights,
    "id": _id,
}
"""Every argument of the marker, with the function that checks and normalises it."""


def parse_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], known: Known = _ONLY_TORCHSCRIPT) -> dict[str, Any]:
    """Check the arguments of one marker or call and normalise them, for :meth:`GateSpec.merge`.

    Raises:
        SpecError: a positional or unknown argument, an unknown target, a wrong type or an impossible value; it names the
            argument.
    """
    declared: dict[str, Validator] = {}
    for arguments in known.values():
        declared = {**arguments, **declared}
    if args:
        raise SpecError(f"takes keyword arguments only; got {', '.join(repr(arg)[:60] for arg in args)}")
    parsed = {}
    for name, value in kwargs.items():
        check = ARGUMENTS.get(name) or declared.get(name)
        if check is None:
            raise SpecError(f"unknown argument {name!r}{nearest(name, [*ARGUMENTS, *declared])}")
        try:
            parsed[name] = check(name, value)
        except SpecError:
            raise
        except Exception as error:
            owners = " and ".join(repr(target) for target, arguments in known.items() if name in arguments)
            raise SpecError(
                f"{name}={value!r} could not be checked: the function that target {owners} declares for it raised "
                f"{type(error).__name__}: {error}; it takes the argument's name and value"
            ) from error
    for target in parsed.get("target", ()):
        _refuse_unknown(target, known)
    return parsed


def _refuse_unknown(target: str, known: Known) -> None:
    if target not in known:
        raise SpecError(f"unknown target {target!r}{nearest(target, known)}")


def spec_of_layers(layers: Sequence[Mapping[str, Any]], known: Known) -> GateSpec:
    """The spec of several layers of parsed arguments, the nearest first, with the arguments of its own targets alone.

    What a farther layer says to a target that a nearer one replaced (a module's marker, the option) is without effect, and
    so is what the last layer, the configuration, says to targets that nobody asks for.

    Raises:
        SpecError: an argument stands beside or before the target, and none of the gate's targets declares it.
    """
    spec = GateSpec.merge(*layers)
    chosen = next((index for index, layer in enumerate(layers) if "target" in layer), len(layers))
    options = {}
    for name, value in spec.options.items():
        owners = [target for target, arguments in known.items() if name in arguments]
        if set(owners) & set(spec.target):
            options[name] = value
        elif next(index for index, layer in enumerate(layers) if name in layer) <= min(chosen, len(layers) - 2):
            raise SpecError(
                f"{name} is an argument of target {' and '.join(map(repr, owners))}, and this gate is for "
                f"{' and '.join(map(repr, spec.target))}"
            )
    return replace(spec, options=options)


# Configuration: the same arguments as text. `id` is a name for one gate, so there is no default for it.

OPTION_HELP: Mapping[str, str] = {
    "seq_len": "sequence length(s) to trace at",
    "batch_size": "batch size(s) to trace at",
    "target": "deployment target(s)",
    "shapes": "shape contract: safe, dynamic, fixed, or lines of 'dim: rule'",
    "model": "name of the fixture that is the model under test",
    "inputs": "name of the fixture that is its example inputs",
    "dims": "lines of 'input: axis=dim, axis=dim'",
    "mask": "name of the padding mask among the inputs",
    "rtol": "relative tolerance",
    "atol": "absolute tolerance",
    "skip": "lines of 'check: reason'",
    "max_flops": "budget of floating-point operations for one call at the traced size",
    "weights": "real or meta",
}


def _number(name: str, text: str, kind: type[int] | type[float]) -> Any:
    try:
        return kind(text.replace("_", ""))
    except ValueError:
        raise SpecError(f"{name}: {text!r} is no {'whole ' if kind is int else ''}number") from None


def _pairs(name: str, lines: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for line in lines:
        key, separator, value = line.partition(":")
        if not separator:
            raise SpecError(f"{name}: expected lines of 'name: value', got {line!r}")
        pairs[key.strip()] = value.strip()
    return pairs


def parse_option(name: str, lines: Sequence[str], known: Known = _ONLY_TORCHSCRIPT) -> Any:
    """The value of ``torchscript_<name>`` in pytest's configuration, given its lines of text.

    Raises:
        SpecError: as :func:`parse_arguments`, and for text that is no number or no pair.
    """
    words = [word for line in lines for word in re.split(r"[\s,]+", line) if word]
    value: Any
    if name not in ARGUMENTS:
        return parse_arguments((), {name: " ".join(lines)}, known)[name]
    if name in ("seq_len", "batch_size"):
        value = [_number(name, word, int) for word in words]
    elif name == "target":
        value = words
    elif name in ("rtol", "atol", "max_flops"):
        value = _number(name, " ".join(lines), float)
    elif name == "skip" or (name == "shapes" and any(":" in line for line in lines)):
        value = _pairs(name, lines)
    elif name == "dims":
        value = {
            entry: {
                _number(name, axis, int): dim.strip()
                for axis, _, dim in (pair.partition("=") for pair in axes.split(",") if pair.strip())
            }
            for entry, axes in _pairs(name, lines).items()
        }
    else:
        value = " ".join(lines)
    return parse_arguments((), {name: value}, known)[name]
