"""What a model holds that no trace can hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pytest_torchscript.diagnosis.held import model_facts


def keeping(value: Any) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2), nn.Identity())
    model[1].kept = value
    return model


def result() -> torch.Tensor:
    return nn.Linear(2, 2)(torch.ones(2))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (result(), "1.kept"),
        ([torch.ones(1), result()], "1.kept[1]"),
        ({"first": (result(),)}, "1.kept['first'][0]"),
        (SimpleNamespace(deep=result()), "1.kept.deep"),
    ],
)
def test_a_result_of_an_earlier_call_is_found(value: Any, where: str) -> None:
    """In an attribute, in its containers and in plain objects, by the path to it."""
    assert list(model_facts(keeping(value))) == [f"result kept in {where}"]


def test_a_leaf_that_requires_grad_is_a_parameter() -> None:
    """No operation computed it, so that it can be registered."""
    model = keeping([nn.Parameter(torch.ones(2))])
    assert list(model_facts(model)) == ["parameter kept in 1.kept[0]"]


def test_a_module_that_is_kept_outside_the_modules_is_found() -> None:
    """In a plain list torch sees none of its parameters; a registered one is no fact, wherever else it is kept."""
    model = keeping([nn.Linear(2, 2), nn.ReLU()])
    assert list(model_facts(model)) == ["module kept in 1.kept[0]"]
    assert list(model_facts(keeping([nn.ReLU()]))) == []
    shared = keeping(None)
    shared[1].kept = [shared[0]]  # type: ignore[assignment]
    assert list(model_facts(shared)) == []


def test_a_result_in_a_buffer_is_found() -> None:
    """A registered name does not make a parameter of it."""
    model = nn.Identity()
    model.register_buffer("kept", result())
    assert list(model_facts(model)) == ["result kept in self.kept"]


@pytest.mark.parametrize("value", [torch.ones(2), "text", 3, None, nn.Linear, [], result().detach()])
def test_what_holds_no_gradient_is_no_fact(value: Any) -> None:
    """A constant of a trace may be any tensor without one."""
    assert list(model_facts(keeping(value))) == []


def test_a_registered_parameter_kept_twice_is_no_fact() -> None:
    """It is one of the model's own."""
    model = keeping(None)
    model[1].kept = [model[0].weight]  # type: ignore[index,union-attr]
    assert list(model_facts(model)) == []


def test_a_value_that_holds_itself_ends() -> None:
    """The search goes a few levels deep."""
    loop: list[Any] = []
    loop.append(loop)
    assert list(model_facts(keeping(loop))) == []


def test_an_embedding_with_max_norm_is_named() -> None:
    """It writes its weight in every call."""
    assert list(model_facts(nn.Sequential(nn.Embedding(4, 2, max_norm=1.0)))) == ["max_norm in 0"]
    assert list(model_facts(nn.Sequential(nn.Embedding(4, 2)))) == []
