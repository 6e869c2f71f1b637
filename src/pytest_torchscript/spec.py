"""What is asked of a gate: the marker's arguments, declared once and merged. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .arguments import (
    Argument,
    Check,
    FromText,
    Known,
    as_axes,
    as_integers,
    as_number,
    as_pairs,
    as_text,
    as_words,
    check_dims,
    check_effort,
    check_id,
    check_input_name,
    check_inputs,
    check_limit,
    check_model,
    check_sizes,
    check_target,
    check_tolerance,
    check_weights,
    nearest,
)
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

_ONLY_TORCHSCRIPT: Mapping[str, Mapping[str, Argument]] = {"torchscript": {}}


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


def _check_rule(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SpecError(f"{name} must be one of {', '.join(map(repr, SHAPE_RULES))}, not {value!r}")
    if value not in SHAPE_RULES:
        raise SpecError(f"{name} {value!r} is unknown{nearest(value, SHAPE_RULES)}")
    return value


def _check_shapes(name: str, value: Any) -> ShapeContract:
    if not isinstance(value, Mapping):
        return ShapeContract(default=_check_rule(name, value))
    by_dim = {}
    for dim, rule in value.items():
        if not isinstance(dim, str) or not dim:
            raise SpecError(f"{name} maps names of dims to rules; {dim!r} is no name")
        by_dim[dim] = _check_rule(f"{name}[{dim!r}]", rule)
    if not by_dim:
        raise SpecError(f"{name} is an empty mapping; name a dim, or leave it out")
    return ShapeContract(by_dim=by_dim)


def _shapes_from_text(name: str, lines: Sequence[str]) -> str | dict[str, str]:
    read = as_pairs if any(":" in line for line in lines) else as_text
    return read(name, lines)


def _check_skip(name: str, value: Any) -> dict[str, str]:
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


def _argument(check: Check, from_text: FromText | None, help: str) -> dict[str, Any]:
    """What makes a field of :class:`GateSpec` an argument of the marker."""
    return {"check": check, "from_text": from_text, "help": help}


@dataclass(frozen=True, kw_only=True)
class GateSpec:
    """One gate as asked for, merged and checked. This is where the marker's arguments are declared: a field each.

    ``options`` are the arguments that targets declare.
    """

    seq_len: tuple[int, ...] = field(default=(), metadata=_argument(check_sizes, as_integers, "sequence length(s) to trace at"))
    batch_size: tuple[int, ...] = field(default=(), metadata=_argument(check_sizes, as_integers, "batch size(s) to trace at"))
    target: tuple[str, ...] = field(
        default=("torchscript",), metadata=_argument(check_target, as_words, "deployment target(s)")
    )
    shapes: ShapeContract = field(
        default=ShapeContract(),
        metadata=_argument(_check_shapes, _shapes_from_text, "shape contract: safe, dynamic, fixed, or lines of 'dim: rule'"),
    )
    model: Any = field(
        default=None, metadata=_argument(check_model, as_text, "name of the fixture that is the model under test")
    )
    inputs: Any = field(
        default=None, metadata=_argument(check_inputs, as_text, "name of the fixture that is its example inputs")
    )
    dims: Mapping[str, Mapping[int, str]] | None = field(
        default=None, metadata=_argument(check_dims, as_axes, "lines of 'input: axis=dim, axis=dim'")
    )
    mask: str | None = field(
        default=None, metadata=_argument(check_input_name, as_text, "name of the padding mask among the inputs")
    )
    rtol: float | None = field(default=None, metadata=_argument(check_tolerance, as_number, "relative tolerance"))
    atol: float | None = field(default=None, metadata=_argument(check_tolerance, as_number, "absolute tolerance"))
    skip: Mapping[str, str] = field(default_factory=dict, metadata=_argument(_check_skip, as_pairs, "lines of 'check: reason'"))
    max_flops: float | None = field(
        default=None,
        metadata=_argument(check_limit, as_number, "budget of floating-point operations for one call at the traced size"),
    )
    weights: str = field(default="real", metadata=_argument(check_weights, as_text, "real or meta"))
    effort: str = field(default="normal", metadata=_argument(check_effort, as_text, "how many probes: normal or thorough"))
    # An id names one gate: there is no default for it in the configuration.
    id: str | None = field(default=None, metadata=_argument(check_id, None, "the gate's name in every report"))
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tolerance(self) -> Tolerance:
        return Tolerance(rtol=self.rtol, atol=self.atol)

    @classmethod
    def merge(cls, *layers: Mapping[str, Any]) -> GateSpec:
        """The spec of several layers of *parsed* arguments, the nearest first: each argument is the nearest one given."""
        merged: dict[str, Any] = {}
        for layer in layers:
            for name, value in layer.items():
                merged.setdefault(name, value)
        options = {name: merged.pop(name) for name in list(merged) if name not in ARGUMENTS}
        return cls(options=options, **merged)


ARGUMENTS: Mapping[str, Argument] = {
    entry.name: Argument(entry.name, **entry.metadata) for entry in fields(GateSpec) if entry.metadata
}
"""Every argument of the marker by its name, as :class:`GateSpec` declares it."""


def parse_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], known: Known = _ONLY_TORCHSCRIPT) -> dict[str, Any]:
    """Check the arguments of one marker or call and normalise them, for :meth:`GateSpec.merge`.

    Raises:
        SpecError: a positional or unknown argument, an unknown target, a wrong type or an impossible value; it names the
            argument.
    """
    if args:
        raise SpecError(f"takes keyword arguments only; got {', '.join(repr(arg)[:60] for arg in args)}")
    parsed = {}
    for name, value in kwargs.items():
        argument = _declared(name, known)
        parsed[name] = _ask_target(argument, argument.check, value, f"{name}={value!r} could not be checked", known)
    for target in parsed.get("target", ()):
        if target not in known:
            raise SpecError(f"unknown target {target!r}{nearest(target, known)}")
    return parsed


def parse_option(name: str, lines: Sequence[str], known: Known = _ONLY_TORCHSCRIPT) -> Any:
    """The value of ``torchscript_<name>`` in pytest's configuration, given its lines of text.

    Raises:
        SpecError: as :func:`parse_arguments`, and for text that is no number or no pair.
    """
    argument = _declared(name, known)
    read = argument.from_text or as_text
    value = _ask_target(argument, read, lines, f"{name}: {' '.join(lines)!r} could not be read", known)
    return parse_arguments((), {name: value}, known)[name]


def _declared(name: str, known: Known) -> Argument:
    """The argument of this name: the marker's own, or the first target's that declares it."""
    declared = dict(ARGUMENTS)
    for of_target in known.values():
        declared = {**declared, **{name: argument for name, argument in of_target.items() if name not in declared}}
    if name not in declared:
        raise SpecError(f"unknown argument {name!r}{nearest(name, declared)}")
    return declared[name]


def _ask_target(argument: Argument, function: Callable[[str, Any], Any], value: Any, problem: str, known: Known) -> Any:
    """What a function of an argument's declaration gives; any error but SpecError is a mistake in that function."""
    try:
        return function(argument.name, value)
    except SpecError:
        raise
    except Exception as error:
        owners = " and ".join(repr(target) for target, declared in known.items() if argument.name in declared)
        raise SpecError(
            f"{problem}: the function that target {owners} declares for it raised "
            f"{type(error).__name__}: {error}; it takes the argument's name and value"
        ) from error


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
        owners = [target for target, declared in known.items() if name in declared]
        if set(owners) & set(spec.target):
            options[name] = value
        elif next(index for index, layer in enumerate(layers) if name in layer) <= min(chosen, len(layers) - 2):
            raise SpecError(
                f"{name} is an argument of target {' and '.join(map(repr, owners))}, and this gate is for "
                f"{' and '.join(map(repr, spec.target))}"
            )
    return replace(spec, options=options)
