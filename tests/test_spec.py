"""What a marker may ask for, and how it is told that it asks for the impossible."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from pytest_torchscript.errors import SpecError
from pytest_torchscript.spec import (
    ARGUMENTS,
    CHECKS,
    OPTION_HELP,
    GateSpec,
    ShapeContract,
    Tolerance,
    nearest,
    parse_arguments,
    parse_option,
    spec_of_layers,
)


def refusal(**arguments: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse_arguments((), arguments)
    return str(caught.value)


def option_refusal(name: str, *lines: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_option(name, lines)
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
    """Each argument of the marker is a field of the spec; rtol and atol are the two sides of its tolerance.

    What targets declare for themselves is kept together.
    """
    fields = {field.name for field in dataclasses.fields(GateSpec)}
    assert (fields - {"tolerance", "options"}) | {"rtol", "atol"} == set(ARGUMENTS)


def test_every_argument_but_the_id_can_be_configured() -> None:
    """Project defaults exist for each argument except ``id``, which names one gate only."""
    assert set(OPTION_HELP) == set(ARGUMENTS) - {"id"}


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


# Accepting


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def factory() -> nn.Module:
    return Model()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("seq_len", 128, (128,)),
        ("seq_len", [128, 64], (128, 64)),
        ("seq_len", (1,), (1,)),
        ("batch_size", 2, (2,)),
        ("target", "torchscript", ("torchscript",)),
        ("target", ["torchscript"], ("torchscript",)),
        ("shapes", "dynamic", ShapeContract(default="dynamic")),
        ("shapes", {"seq": "fixed"}, ShapeContract(by_dim={"seq": "fixed"})),
        ("model", "net", "net"),
        ("model", Model, Model),
        ("model", factory, factory),
        ("inputs", "batch", "batch"),
        ("inputs", {"x": 1}, {"x": 1}),
        ("inputs", (1, 2), (1, 2)),
        ("inputs", factory, factory),
        ("dims", {"x": {0: "batch", -1: "seq"}}, {"x": {0: "batch", -1: "seq"}}),
        ("mask", "attention_mask", "attention_mask"),
        ("rtol", 0, 0.0),
        ("atol", 1e-3, 1e-3),
        ("skip", {"device": "CPU only"}, {"device": "CPU only"}),
        ("max_flops", 10**9, 1e9),
        ("weights", "real", "real"),
        ("weights", "meta", "meta"),
        ("id", "BERT_base-2", "BERT_base-2"),
    ],
)
def test_a_possible_value_is_normalised(name: str, value: Any, expected: Any) -> None:
    """Every documented form of an argument is accepted, and has one form afterwards."""
    assert parse_arguments((), {name: value}) == {name: expected}


def test_a_module_itself_can_be_the_model() -> None:
    """A module is taken as the very object it is, not copied."""
    model = Model()
    assert parse_arguments((), {"model": model})["model"] is model


def test_a_dim_without_a_rule_of_its_own_is_safe() -> None:
    """A mapping of shapes sets the dims it names; the others keep the default."""
    contract = parse_arguments((), {"shapes": {"seq": "dynamic"}})["shapes"]
    assert (contract.rule("seq"), contract.rule("batch")) == ("dynamic", "safe")


def test_what_is_parsed_is_no_longer_the_callers() -> None:
    """The caller's mappings can change later without changing the spec."""
    skip, dims = {"device": "CPU only"}, {"x": {0: "batch"}}
    parsed = parse_arguments((), {"skip": skip, "dims": dims})
    skip["values"], dims["x"][1] = "later", "seq"
    assert parsed == {"skip": {"device": "CPU only"}, "dims": {"x": {0: "batch"}}}


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


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"seq_len": 0}, ["seq_len must be at least 1, not 0"]),
        ({"seq_len": -4}, ["seq_len must be at least 1, not -4"]),
        ({"seq_len": []}, ["seq_len is empty"]),
        ({"seq_len": True}, ["seq_len must be an int", "not True"]),
        ({"seq_len": 1.5}, ["seq_len must be an int", "not 1.5"]),
        ({"seq_len": "128"}, ["seq_len must be an int", "not '128'"]),
        ({"seq_len": [8, "x"]}, ["seq_len must be an int", "not 'x'"]),
        ({"batch_size": [2, 2]}, ["batch_size names a size twice: [2, 2]"]),
        ({"batch_size": None}, ["batch_size must be an int", "not None"]),
        ({"target": "torchscrip"}, ["unknown target 'torchscrip'; did you mean 'torchscript'?"]),
        ({"target": "qqq"}, ["unknown target 'qqq'; expected one of torchscript"]),
        ({"target": []}, ["target is empty"]),
        ({"target": 3}, ["target must be a target's name", "not 3"]),
        ({"target": ["torchscript", "torchscript"]}, ["target names a target twice"]),
        ({"shapes": "dynamc"}, ["shapes 'dynamc' is unknown; did you mean 'dynamic'?"]),
        ({"shapes": 3}, ["shapes must be one of 'safe', 'dynamic', 'fixed', not 3"]),
        ({"shapes": {}}, ["shapes is an empty mapping"]),
        ({"shapes": {"seq": "fixd"}}, ["shapes['seq'] 'fixd' is unknown; did you mean 'fixed'?"]),
        ({"shapes": {"seq": None}}, ["shapes['seq'] must be one of", "not None"]),
        ({"shapes": {1: "fixed"}}, ["shapes maps names of dims to rules; 1 is no name"]),
        ({"shapes": {"": "fixed"}}, ["'' is no name"]),
        ({"model": 3}, ["model must be a fixture's name, an nn.Module, its class or a factory, not int"]),
        ({"model": "my model"}, ["model 'my model' is no fixture's name"]),
        ({"inputs": 3}, ["inputs must be a fixture's name, a mapping, a tuple or a factory, not int"]),
        ({"inputs": [1]}, ["inputs must be", "not list"]),
        ({"inputs": ()}, ["inputs is empty"]),
        ({"inputs": {}}, ["inputs is empty"]),
        ({"inputs": "a.b"}, ["inputs 'a.b' is no fixture's name"]),
        ({"inputs": torch.zeros(1)}, ["write inputs=(tensor,)"]),
        ({"dims": {}}, ["dims must map inputs to axes", "not {}"]),
        ({"dims": "batch"}, ["dims must map inputs to axes", "not 'batch'"]),
        ({"dims": {"x": "batch"}}, ["'x' has 'batch'"]),
        ({"dims": {"x": {}}}, ["'x' has {}"]),
        ({"dims": {1: {0: "batch"}}}, ["dims must map inputs to axes"]),
        ({"dims": {"x": {"0": "batch"}}}, ["dims['x']: an axis is an int, not '0'"]),
        ({"dims": {"x": {True: "batch"}}}, ["dims['x']: an axis is an int, not True"]),
        ({"dims": {"x": {0: ""}}}, ["dims['x'][0]: a dim is a name, not ''"]),
        ({"dims": {"x": {0: 3}}}, ["dims['x'][0]: a dim is a name, not 3"]),
        ({"mask": ""}, ["mask must be the name of an input, not ''"]),
        ({"mask": 3}, ["mask must be the name of an input, not 3"]),
        ({"rtol": -1}, ["rtol must be finite and not negative, not -1"]),
        ({"rtol": float("nan")}, ["rtol must be finite"]),
        ({"atol": float("inf")}, ["atol must be finite"]),
        ({"atol": "1e-3"}, ["atol must be a number, not '1e-3'"]),
        ({"atol": True}, ["atol must be a number, not True"]),
        ({"skip": ["device"]}, ["skip must map checks to reasons", "['device']"]),
        ({"skip": {"devise": "why"}}, ["skip names an unknown check 'devise'; did you mean 'device'?"]),
        ({"skip": {3: "why"}}, ["skip names an unknown check 3"]),
        ({"skip": {"device": ""}}, ["skip['device'] owes a reason"]),
        ({"skip": {"device": "  "}}, ["skip['device'] owes a reason"]),
        ({"skip": {"device": None}}, ["skip['device'] owes a reason", "None"]),
        ({"skip": dict.fromkeys(CHECKS, "no")}, ["skip leaves no check to run"]),
        ({"max_flops": 0}, ["max_flops must be positive and finite, not 0"]),
        ({"max_flops": float("inf")}, ["max_flops must be positive and finite"]),
        ({"max_flops": True}, ["max_flops must be a number"]),
        ({"max_flops": "1e9"}, ["max_flops must be a number"]),
        ({"weights": "fake"}, ["weights must be 'real' or 'meta', not 'fake'"]),
        ({"weights": None}, ["weights must be 'real' or 'meta', not None"]),
        ({"id": "a.b"}, ["id must be made of letters, digits, '_' and '-'", "not 'a.b'"]),
        ({"id": ""}, ["id must be made of", "not ''"]),
        ({"id": "a\n"}, ["id must be made of"]),
        ({"id": "é"}, ["id must be made of"]),
        ({"id": 3}, ["id must be made of", "not 3"]),
    ],
    ids=str,
)
def test_an_impossible_value_is_refused_by_name(arguments: dict[str, Any], fragments: list[str]) -> None:
    """A wrong type or value is an error whose text names the argument and what it was given."""
    message = refusal(**arguments)
    assert message
    for fragment in fragments:
        assert fragment in message


def test_nearest_prefers_a_likely_slip_over_a_list() -> None:
    """The suggestion is the closest name, and only where one is close."""
    assert nearest("shape", ["shapes", "seq_len"]) == "; did you mean 'shapes'?"
    assert nearest("qqq", ["shapes", "seq_len"]) == "; expected one of shapes, seq_len"


# Configuration


@pytest.mark.parametrize(
    ("name", "lines", "expected"),
    [
        ("seq_len", ["128"], (128,)),
        ("seq_len", ["128, 64", "1_024"], (128, 64, 1024)),
        ("batch_size", ["1 2"], (1, 2)),
        ("target", ["torchscript"], ("torchscript",)),
        ("shapes", ["dynamic"], ShapeContract(default="dynamic")),
        ("shapes", ["seq: fixed", "batch:dynamic"], ShapeContract(by_dim={"seq": "fixed", "batch": "dynamic"})),
        ("model", ["net"], "net"),
        ("inputs", ["batch"], "batch"),
        ("dims", ["x: 0=batch, 1 = seq", "y:0=batch"], {"x": {0: "batch", 1: "seq"}, "y": {0: "batch"}}),
        ("mask", ["attention_mask"], "attention_mask"),
        ("rtol", ["1e-3"], 1e-3),
        ("atol", ["0"], 0.0),
        ("skip", ["device: runs on CPU only: always", "values: no"], {"device": "runs on CPU only: always", "values": "no"}),
        ("max_flops", ["2_000_000"], 2e6),
        ("weights", ["meta"], "meta"),
    ],
)
def test_an_option_is_the_argument_as_text(name: str, lines: list[str], expected: Any) -> None:
    """A line of configuration means what the marker's argument means."""
    assert parse_option(name, lines) == expected


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("seq_len", ["12x"], "seq_len: '12x' is no whole number"),
        ("seq_len", ["1.5"], "seq_len: '1.5' is no whole number"),
        ("seq_len", ["0"], "seq_len must be at least 1, not 0"),
        ("rtol", ["tight"], "rtol: 'tight' is no number"),
        ("rtol", ["nan"], "rtol must be finite and not negative, not nan"),
        ("skip", ["device"], "skip: expected lines of 'name: value', got 'device'"),
        ("skip", ["device:"], "skip['device'] owes a reason, a text that is not empty; got ''"),
        ("dims", ["x"], "dims: expected lines of 'name: value', got 'x'"),
        ("dims", ["x: a=batch"], "dims: 'a' is no whole number"),
        ("dims", ["x: 0"], "dims['x'][0]: a dim is a name, not ''"),
        ("target", ["torchscrip"], "unknown target 'torchscrip'; did you mean 'torchscript'?"),
        ("model", ["two words"], "model 'two words' is no fixture's name"),
        ("weights", ["none"], "weights must be 'real' or 'meta', not 'none'"),
    ],
)
def test_an_impossible_option_is_refused_by_name(name: str, lines: list[str], message: str) -> None:
    """Text that is no value of the argument is an error of its own words."""
    assert option_refusal(name, *lines) == message


@pytest.mark.parametrize("value", [Model, factory, lambda: (1,)], ids=["class", "function", "lambda"])
def test_anything_callable_is_a_factory(value: Callable[[], Any]) -> None:
    """A model or its inputs can be made on demand."""
    assert parse_arguments((), {"model": value, "inputs": value}) == {"model": value, "inputs": value}


# What targets declare


def _even(name: str, value: Any) -> int:
    if int(value) % 2:
        raise SpecError(f"{name} must be even, not {value!r}")
    return int(value)


KNOWN = {"torchscript": {}, "libtorch": {}, "tiled": {"tile": _even}}


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
    assert parse_option("note", ["two", "lines"], {"noting": {"note": lambda name, value: value}}) == "two lines"
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
    several = {**KNOWN, "paved": {"tile": _even}}
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
        parse_arguments((), {"tile": 4}, {"odd": {"tile": int}})
