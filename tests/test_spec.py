"""What is asked of a gate: arguments of markers and targets, checked and merged."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_torchscript import Argument, SpecError
from pytest_torchscript.arguments import Known
from pytest_torchscript.spec import (
    ARGUMENTS,
    GateSpec,
    ShapeContract,
    Tolerance,
    parse_arguments,
    parse_option,
    spec_of_layers,
)


def refusal(**arguments: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse_arguments((), arguments)
    return str(caught.value)


def test_the_defaults_are_those_of_the_documentation() -> None:
    """A marker without arguments asks for the torchscript target, safe shapes, real weights and nothing else."""
    spec = GateSpec()
    assert (spec.seq_len, spec.batch_size, spec.target) == ((), (), ("torchscript",))
    assert spec.shapes == ShapeContract(default="safe")
    assert (spec.model, spec.inputs, spec.dims, spec.mask, spec.id) == (None, None, None, None, None)
    assert (spec.tolerance, dict(spec.skip), spec.max_flops) == (Tolerance(), {}, None)
    assert spec.weights == "real"


def test_every_argument_lands_in_the_spec() -> None:
    """Each argument of the marker is a field of the spec; what targets declare for themselves is kept together."""
    fields = [field.name for field in dataclasses.fields(GateSpec)]
    assert fields == [*ARGUMENTS, "options"]
    assert all(argument.name == name for name, argument in ARGUMENTS.items())


def test_rtol_and_atol_are_the_two_sides_of_the_tolerance() -> None:
    """The checks compare by both."""
    assert GateSpec(rtol=0.1, atol=0.2).tolerance == Tolerance(rtol=0.1, atol=0.2)


def test_every_argument_but_the_id_can_be_configured() -> None:
    """Project defaults exist for each argument except ``id``, which names one gate only."""
    assert {name for name, argument in ARGUMENTS.items() if argument.from_text is None} == {"id"}


def test_a_spec_cannot_be_changed() -> None:
    """A spec is shared by the cells of a gate, so that nobody may write into it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        GateSpec().weights = "meta"  # type: ignore[misc]


# Merging


def test_the_nearest_layer_wins_argument_by_argument() -> None:
    """Each argument comes from the first layer that gives it; others may come from layers behind."""
    near = parse_arguments((), {"seq_len": 128})
    far = parse_arguments((), {"seq_len": 64, "batch_size": 4, "shapes": "fixed"})
    farthest = parse_arguments((), {"batch_size": 1, "max_flops": 1e9})
    spec = GateSpec.merge(near, far, farthest)
    assert (spec.seq_len, spec.batch_size, spec.shapes.default, spec.max_flops) == ((128,), (4,), "fixed", 1e9)


def test_rtol_and_atol_merge_on_their_own() -> None:
    """A nearer rtol leaves a farther atol in force."""
    spec = GateSpec.merge({"rtol": 0.1}, {"rtol": 0.2, "atol": 0.3})
    assert spec.tolerance == Tolerance(rtol=0.1, atol=0.3)


def test_a_nearer_mapping_replaces_the_farther_one_as_a_whole() -> None:
    """Mappings are values like any other: two ``skip`` are not mixed."""
    spec = GateSpec.merge(
        parse_arguments((), {"skip": {"device": "CPU only"}}),
        parse_arguments((), {"skip": {"values": "constants by design"}}),
    )
    assert dict(spec.skip) == {"device": "CPU only"}


def test_merging_nothing_gives_the_defaults() -> None:
    """A bare marker in a project without configuration is the default spec."""
    assert GateSpec.merge() == GateSpec.merge({}, {}) == GateSpec()


def test_a_dim_without_a_rule_of_its_own_is_safe() -> None:
    """A mapping of shapes sets the dims it names; the others keep the default."""
    contract = parse_arguments((), {"shapes": {"seq": "dynamic"}})["shapes"]
    assert (contract.rule("seq"), contract.rule("batch")) == ("dynamic", "safe")


# Refusing


def test_positional_arguments_are_refused() -> None:
    """The marker takes keywords only, and shows what it was given instead."""
    with pytest.raises(SpecError, match="keyword arguments only; got 128, 'x'"):
        parse_arguments((128, "x"), {})


def test_an_unknown_argument_names_the_nearest_one() -> None:
    """A slip of the pen is answered with the name that was meant."""
    assert refusal(seq_length=3) == "unknown argument 'seq_length'; did you mean 'seq_len'?"


def test_an_unknown_argument_like_no_other_lists_them_all() -> None:
    """Where no name is near, all of them are given."""
    message = refusal(zzz=3)
    assert message.startswith("unknown argument 'zzz'; expected one of ")
    assert all(name in message for name in ARGUMENTS)


# What targets declare


def _even(name: str, value: Any) -> int:
    if int(value) % 2:
        raise SpecError(f"{name} must be even, not {value!r}")
    return int(value)


TILE = Argument("tile", _even)
KNOWN: Known = {"torchscript": {}, "libtorch": {}, "tiled": {"tile": TILE}}


def test_a_target_must_be_known() -> None:
    """The nearest name is suggested, else the names there are."""
    assert parse_arguments((), {"target": ("tiled", "libtorch")}, KNOWN)["target"] == ("tiled", "libtorch")
    with pytest.raises(SpecError, match=r"unknown target 'libtroch'; did you mean 'libtorch'\?"):
        parse_arguments((), {"target": "libtroch"}, KNOWN)
    with pytest.raises(SpecError, match=r"unknown target 'tield'; did you mean 'tiled'\?"):
        parse_arguments((), {"target": ("libtorch", "tield")}, KNOWN)
    with pytest.raises(SpecError, match="unknown target 'xyz'; expected one of torchscript, libtorch, tiled"):
        parse_arguments((), {"target": "xyz"}, KNOWN)


def test_an_argument_of_a_target_is_checked_by_the_target() -> None:
    """Its value is the target's to judge, and its name is suggested like any other."""
    assert parse_arguments((), {"tile": 4}, KNOWN) == {"tile": 4}
    assert parse_option("tile", ["6"], KNOWN) == 6
    with pytest.raises(SpecError, match="unknown target 'tield'"):
        parse_option("target", ["libtorch, tield"], KNOWN)
    assert parse_option("target", ["libtorch, tiled"], KNOWN) == ("libtorch", "tiled")
    assert (
        parse_option("note", ["two", "lines"], {"noting": {"note": Argument("note", lambda name, value: value)}}) == "two lines"
    )
    with pytest.raises(SpecError, match="tile must be even, not 3"):
        parse_arguments((), {"tile": 3}, KNOWN)
    with pytest.raises(SpecError, match=r"unknown argument 'tiel'; did you mean 'tile'\?"):
        parse_arguments((), {"tiel": 4}, KNOWN)
    with pytest.raises(SpecError, match="unknown argument 'tile'"):
        parse_arguments((), {"tile": 4})


def test_arguments_of_targets_are_kept_together() -> None:
    """The nearest layer wins for them too."""
    spec = GateSpec.merge({"tile": 4}, {"tile": 8, "target": ("tiled",)})
    assert (spec.options, spec.target) == ({"tile": 4}, ("tiled",))
    spec = GateSpec.merge({"weights": "meta", "tile": 4}, {"fast": True})
    assert (spec.options, spec.weights) == ({"tile": 4, "fast": True}, "meta")


def test_an_argument_of_another_target_is_told() -> None:
    """It would be without effect."""
    with pytest.raises(SpecError, match="tile is an argument of target 'tiled', and this gate is for 'libtorch'"):
        spec_of_layers(({"tile": 4, "target": ("libtorch",)}, {}), KNOWN)
    assert spec_of_layers(({"tile": 4, "target": ("libtorch", "tiled")}, {}), KNOWN).options == {"tile": 4}
    several = {**KNOWN, "paved": {"tile": TILE}}
    with pytest.raises(SpecError, match="argument of target 'tiled' and 'paved', and this gate is for 'torchscript'"):
        spec_of_layers(({"tile": 4}, {}), several)
    assert spec_of_layers(({"tile": 4, "target": ("paved",)}, {}), several).options == {"tile": 4}


def test_what_is_said_to_a_target_that_was_replaced_is_without_effect() -> None:
    """A nearer target, the option's for one, is no mistake of the farther marker; nor is the configuration's default."""
    assert spec_of_layers(({"target": ("libtorch",)}, {"target": ("tiled",), "tile": 4}, {}), KNOWN).options == {}
    assert spec_of_layers(({}, {"seq_len": (8,)}, {"tile": 4}), KNOWN).options == {}
    with pytest.raises(SpecError, match="tile is an argument"):
        spec_of_layers(({"tile": 4}, {"target": ("libtorch",)}, {}), KNOWN)


def test_a_check_that_raises_is_the_targets_mistake() -> None:
    """Somebody wrote int, which takes no name."""
    with pytest.raises(
        SpecError, match=r"tile=4 could not be checked: the function that target 'odd' declares .* raised ValueError"
    ):
        parse_arguments((), {"tile": 4}, {"odd": {"tile": Argument("tile", int)}})


def test_an_argument_may_read_its_configuration_itself() -> None:
    """Its check sees what its reader made of the lines; a reader that raises is the target's mistake."""
    declared = Argument("tiles", lambda name, value: tuple(value), lambda name, lines: [int(line) for line in lines])
    known = {"tiled": {"tiles": declared}}
    assert parse_option("tiles", ["1", "2"], known) == (1, 2)
    with pytest.raises(SpecError, match=r"tiles: 'x' could not be read: the function that target 'tiled' .* raised ValueError"):
        parse_option("tiles", ["x"], known)


def test_an_unknown_option_is_refused_like_an_argument() -> None:
    """The nearest name is suggested."""
    with pytest.raises(SpecError, match=r"unknown argument 'tiel'; did you mean 'tile'\?"):
        parse_option("tiel", ["4"], KNOWN)
