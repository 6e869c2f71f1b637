"""The line of an operation that TorchScript has no form of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.diagnosis.refused import refused_operation
from pytest_torchscript.subject.call import bind
from pytest_torchscript.tracing.trace import TraceError, trace

from ..corpus import guilty_places

X = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))


class Function(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def scatters(x: Tensor) -> Tensor:
    index = torch.zeros(2, 1, dtype=torch.long)
    zeros = torch.zeros(x.shape).scatter(-1, index, 1.0)
    kept = torch.ones(x.shape, dtype=torch.bool).scatter(-1, index, False)  # guilty
    return x.masked_fill(~kept, 0.0) + zeros


def fills(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y.fill_(2.0)
    y.fill_(True)  # guilty
    return x + y


def selects(x: Tensor) -> Tensor:
    first = torch.where(x > 0, 1.0, 0.0)
    second = torch.where(x > 0, True, False)  # guilty
    return first + second


def makes(x: Tensor) -> Tensor:
    first = torch.full((6,), 1)
    second = torch.full((6,), True)  # guilty
    return x + first + second


def compares(x: Tensor) -> Tensor:
    first = x == 1
    second = x == True  # noqa: E712 # guilty
    return first | second


def in_a_block(x: Tensor) -> Tensor:
    return nn.Sequential(nn.ReLU(), Function(scatters))(x) + 1


def refusal(model: nn.Module) -> str:
    with pytest.raises(TraceError) as caught:
        trace(model, bind(model, (X,), {}))
    assert caught.value.line is None
    return str(caught.value)


@pytest.mark.parametrize("function", [scatters, fills, selects, makes, compares])
def test_the_call_whose_operands_torch_refuses_is_named(function: Callable[[Tensor], Tensor]) -> None:
    """Not the return, and not another call of the same operation with operands that TorchScript knows."""
    model = Function(function)
    line = refused_operation(model, bind(model, (X,), {}), refusal(model))
    assert line is not None
    assert {(line.file, line.line)} == guilty_places((function,))


def test_an_operation_in_a_submodule_is_found() -> None:
    """However deep it lies."""
    model = Function(in_a_block)
    line = refused_operation(model, bind(model, (X,), {}), refusal(model))
    assert line is not None
    assert {(line.file, line.line)} == guilty_places((scatters,))


def adds(x: Tensor) -> Tensor:
    y = x.relu()
    z = torch.add(x, True)  # guilty
    return y * z


def test_an_operation_that_the_traced_program_refuses_is_found() -> None:
    """torch traces it, and finds no form of it when the program runs."""
    model = Function(adds)
    call = bind(model, (X,), {})
    with pytest.raises(RuntimeError, match="We don't have an op for aten::add") as caught:
        trace(model, call).module(X)
    line = refused_operation(model, call, str(caught.value))
    assert line is not None
    assert {(line.file, line.line)} == guilty_places((adds,))


def adds_twice(x: Tensor) -> Tensor:
    y = torch.add(x, 1)
    z = torch.add(x, True)
    return y * z


def test_of_several_calls_that_look_alike_none_is_named() -> None:
    """No line is better than a wrong one: the number and the bool were both recorded as tensors."""
    model = Function(adds_twice)
    call = bind(model, (X,), {})
    with pytest.raises(RuntimeError, match="We don't have an op for aten::add") as caught:
        trace(model, call).module(X)
    assert refused_operation(model, call, str(caught.value)) is None


def test_another_error_names_no_operation() -> None:
    """Only torch's words about an unknown form are read."""
    model = Function(scatters)
    assert refused_operation(model, bind(model, (X,), {}), "mat1 and mat2 shapes cannot be multiplied") is None


def test_an_operation_that_the_model_does_not_call_is_not_named() -> None:
    """An error of another model has no line in this one."""
    model = Function(torch.relu)
    text = "We don't have an op for aten::scatter but it isn't a special case.  Argument types: Tensor, int, Tensor, bool,"
    assert refused_operation(model, bind(model, (X,), {}), text) is None


def test_the_model_is_left_as_it_was() -> None:
    """The second trace adds no hook and no parameter, and does not count as a submodule of the model."""
    model = Function(scatters)
    before = dict(vars(model))
    refused_operation(model, bind(model, (X,), {}), refusal(model))
    assert vars(model) == before
