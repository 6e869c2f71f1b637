"""The values that an argument takes, from a marker and from the configuration, and how the others are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from pytest_torchscript import Argument, SpecError
from pytest_torchscript.arguments import as_axes, as_integers, as_number, as_pairs, as_text, as_words, by_name, nearest
from pytest_torchscript.spec import ARGUMENTS, CHECKS, ShapeContract, parse_arguments, parse_option


def refusal(**arguments: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse_arguments((), arguments)
    return str(caught.value)


def option_refusal(name: str, *lines: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_option(name, lines)
    return str(caught.value)


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


def test_what_is_parsed_is_no_longer_the_callers() -> None:
    """The caller's mappings can change later without changing the spec."""
    skip, dims = {"device": "CPU only"}, {"x": {0: "batch"}}
    parsed = parse_arguments((), {"skip": skip, "dims": dims})
    skip["values"], dims["x"][1] = "later", "seq"
    assert parsed == {"skip": {"device": "CPU only"}, "dims": {"x": {0: "batch"}}}


# Refusing


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


# The declaration


def unchecked(name: str, value: Any) -> Any:
    return value


def test_an_argument_is_configured_by_its_text_unless_it_says_otherwise() -> None:
    """Whoever declares one need not think of the configuration."""
    argument = Argument("level", unchecked)
    assert argument.from_text is as_text
    assert argument.help == ""


def test_the_older_declaration_is_read_as_arguments() -> None:
    """A mapping of names to checks means arguments that are configured by their text."""
    assert by_name({"level": unchecked}) == {"level": Argument("level", unchecked)}
    assert by_name([Argument("level", unchecked, None)]) == {"level": Argument("level", unchecked, None)}
    assert by_name(()) == {}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_has_help(name: str) -> None:
    """pytest --help prints it."""
    assert ARGUMENTS[name].help


@pytest.mark.parametrize(
    ("read", "lines", "value"),
    [
        (as_text, ["two", "lines"], "two lines"),
        (as_words, ["a, b", "c d"], ["a", "b", "c", "d"]),
        (as_integers, ["1 2", "3"], [1, 2, 3]),
        (as_number, ["1_0.5"], 10.5),
        (as_pairs, ["a: b: c"], {"a": "b: c"}),
        (as_axes, ["x: 0=batch"], {"x": {0: "batch"}}),
    ],
)
def test_text_is_read(read: Callable[[str, list[str]], Any], lines: list[str], value: Any) -> None:
    """By the reader that an argument names; what is read is not checked yet."""
    assert read("name", lines) == value
