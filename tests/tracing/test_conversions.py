"""Tensors that become Python values while tracing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.subject.call import bind
from pytest_torchscript.tracing.conversions import Conversion, watching
from pytest_torchscript.tracing.graph import graph_of
from pytest_torchscript.tracing.trace import trace

from ..corpus import guilty_places

X = torch.ones(2, 6)
# As imported, before any trace of these tests.


def tensor_class() -> dict[str, Any]:
    """What the class holds, without the list of slots that Python keeps there once somebody has copied a tensor."""
    return {name: value for name, value in vars(torch.Tensor).items() if name != "__slotnames__"}


TENSOR = tensor_class()
FUNCTIONS = {name: getattr(torch, name) for name in ("allclose", "equal", "is_nonzero")}
FIVE, PAIR = torch.tensor(5.0), torch.tensor([1.0, 2.0])


class Applied(nn.Module):
    """A model that is one function."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        self.function(x)
        return x * self.weight


def conversions(function: Callable[[Tensor], Any], x: Tensor = X) -> tuple[Conversion, ...]:
    model = Applied(function)
    return trace(model, bind(model, (x,), {})).conversions


@pytest.mark.parametrize(
    ("function", "kind", "value", "origin"),
    [
        (lambda x: int(x.shape[1]), "int", 6, "size"),
        (lambda x: float(x.shape[1]), "float", 6.0, "size"),
        (lambda x: range(x.shape[1]), "int", 6, "size"),
        (lambda x: bool(x.sum() > 0), "bool", True, "value"),
        (lambda x: 1 if x.shape[1] > 4 else 2, "bool", True, "size"),
        (lambda x: x.sum().item(), "number", 12.0, "value"),
        (lambda x: x[0, :2].tolist(), "list", "[1.0, 1.0]", "value"),
        (lambda x: x.detach().numpy(), "numpy", "ndarray", "value"),
        (lambda x: x.data + 1, "data", "tensor", "value"),
        (lambda x: range(len(x)), "int", 2, "size"),
        (lambda x: list(x), "iteration", "tuple_iterator", "size"),
        (lambda x: list(x.nonzero()), "iteration", "tuple_iterator", "value"),
        (lambda x: complex(x.sum()), "complex", 12 + 0j, "value"),
        (lambda x: f"{x.sum():.1f}", "text", "'12.0'", "value"),
        (lambda x: torch.tensor([x.shape[0], x.shape[1]]), "int", 6, "size"),
        (lambda x: torch.tensor([x.shape[1] > FIVE]), "int", 1, "size"),
        (lambda x: float(x.numel()), "float", 12.0, "size"),
        (lambda x: x.numel() > 3 or x, "bool", True, "size"),
        (lambda x: int(x.nonzero().shape[0]), "int", 12, "value"),
        (lambda x: int(x[x > 0].reshape(-1, 1).numel()), "int", 12, "value"),
        (lambda x: int(x[:, torch.tensor([0, 1])].shape[1]), "int", 2, "size"),
        (lambda x: torch.equal(x, x * 2), "bool", False, "value"),
        (lambda x: torch.equal(PAIR, x[0, :2]), "bool", False, "value"),
        (lambda x: x.equal(x * 1), "bool", True, "value"),
        (lambda x: torch.equal(input=x, other=x), "bool", True, "value"),
        (lambda x: torch.equal(torch.zeros(x.shape), X), "bool", False, "size"),
        (lambda x: torch.equal(PAIR, PAIR + 1), "bool", False, None),
        (lambda x: torch.allclose(x, X), "bool", True, "value"),
        (lambda x: x.allclose(X + 1), "bool", False, "value"),
        (lambda x: torch.is_nonzero(x[0, 0]), "bool", True, "value"),
        (lambda x: x[0, 0].is_nonzero(), "bool", True, "value"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_way_out_of_the_graph_is_seen(function: Callable[[Tensor], Any], kind: str, value: Any, origin: str) -> None:
    """What was converted, to what, and whether it came from a size or from a value."""
    found = conversions(function)
    assert (kind, value, origin) in [(c.kind, c.value if c.kind != "iteration" else value, c.origin) for c in found]


def test_an_operand_that_can_be_no_constant_is_left_out() -> None:
    """One that requires grad and is none of the model's: torch must not be asked for it; the other operand tells."""
    loose = torch.ones(2, 6, requires_grad=True)
    (found,) = conversions(lambda x: torch.equal(x, loose))
    assert (found.value, found.origin) == (True, "value")


def test_a_weight_has_no_origin() -> None:
    """It is the same in every run."""
    model = Applied(lambda x: None)
    model.function = lambda x: bool(model.weight.sum() > 0) and float(model.weight)
    found = trace(model, bind(model, (X,), {})).conversions
    assert [(c.kind, c.origin) for c in found] == [("bool", None), ("float", None)]


def test_an_origin_far_away_counts_as_a_value() -> None:
    """A walk that is cut knows nothing, and a size on the way is no proof that all is size."""

    def function(x: Tensor) -> None:
        far = x.sum()
        for _ in range(300):
            far = far + 1
        int(far * 0 + x.shape[1])

    assert [c.origin for c in conversions(function) if c.kind == "int"] == ["value"]


def test_a_long_way_to_sizes_alone_counts_as_a_value_too() -> None:
    """More probes cost time; a size that was a value would cost the proof."""

    def function(x: Tensor) -> None:
        far = x.shape[1] + torch.tensor(0)
        for _ in range(300):
            far = far + 1
        int(far)

    assert [c.origin for c in conversions(function) if c.kind == "int"] == ["value"]


def test_reading_a_constant_is_no_conversion_of_the_model() -> None:
    """What is looked at to tell the origin is neither taken down nor traced."""
    assert [c.kind for c in conversions(lambda x: bool(x.sum() > FIVE))] == ["bool"]


def test_a_part_that_is_scripted_while_tracing_may_compare() -> None:
    """The compiler knows torch.equal, not what watches it."""

    @torch.jit.script_if_tracing
    def scripted(x: Tensor) -> Tensor:
        return x * 2 if torch.equal(x, x + 1) or torch.allclose(x, x + 1) else x

    model = Applied(scripted)
    assert torch.equal(trace(model, bind(model, (X,), {})).module(X), model(X))


def test_a_model_that_stays_in_the_graph_converts_nothing() -> None:
    """Shapes handed from operation to operation never become Python values."""
    assert conversions(lambda x: x.reshape(x.shape[0], -1).softmax(-1) / x.shape[1]) == ()


def test_a_conversion_names_its_line() -> None:
    """The innermost line of the user's code, under whatever torch put on top."""

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / int(x.shape[1])  # guilty

    model = Model()
    (found,) = trace(model, bind(model, (X,), {})).conversions
    assert found.line is not None
    assert {(found.line.file, found.line.line)} == guilty_places((Model,))
    assert found.line.function == "forward"


@pytest.mark.parametrize(
    ("function", "thresholds", "moduli"),
    [
        (lambda x: bool(x.shape[1] > 4), (4.0,), ()),
        (lambda x: bool(x.abs().max() <= 2.5), (2.5,), ()),
        (lambda x: bool(x.shape[1] % 8 == 0), (0.0,), (8.0,)),
        (lambda x: bool((x == 3).any()), (3.0,), ()),
        (lambda x: bool(x.sum() > FIVE), (5.0,), ()),
        (lambda x: bool((x[0, :2] > PAIR).all()), (), ()),
        (lambda x: int(x.shape[1]), (), ()),
        (lambda x: bool(x.sum() > x.max()), (), ()),
    ],
    ids=["size", "value", "remainder", "equal", "tensor", "tensor of two", "no comparison", "no constant"],
)
def test_the_numbers_on_the_way_are_kept(
    function: Callable[[Tensor], Any], thresholds: tuple[float, ...], moduli: tuple[float, ...]
) -> None:
    """What a value was compared with and divided by says where another branch may lie."""
    found = conversions(function)[-1]
    assert (found.thresholds, found.moduli) == (thresholds, moduli)


def test_a_value_of_both_counts_as_a_value() -> None:
    """What depends on the data depends on more than the size."""
    assert conversions(lambda x: bool(x.sum() > x.shape[1]))[-1].origin == "value"


def test_a_constant_has_no_origin() -> None:
    """A tensor made from nothing is the same in every run."""
    found = [c for c in conversions(lambda x: int(torch.zeros(1, dtype=torch.int64) + 3)) if c.kind == "int"]
    assert [(c.value, c.origin) for c in found] == [(3, None)]


def test_conversions_come_in_order() -> None:
    """In a graph each says after which traced value it came, so that it can be laid beside the nodes."""

    def function(x: Tensor) -> None:
        int(x.shape[0])
        y = x * 2
        bool(y.sum() > 0)

    model = Applied(function)
    first, second = graph_of(model, bind(model, (X,), {})).conversions
    assert (first.kind, second.kind) == ("int", "bool")
    assert 0 <= first.after < second.after


def test_long_lists_are_kept_short() -> None:
    """A conversion is evidence, no dump."""
    (found,) = conversions(lambda x: x.flatten().tolist(), torch.ones(30, 30))
    assert len(found.value) <= 80


def test_outside_a_trace_nothing_is_collected() -> None:
    """Only what leaves a graph matters."""
    with watching() as found:
        assert int(X.sum()) == 12
        assert X.tolist()[0] == [1.0] * 6
    assert found == []


def test_values_are_what_they_were() -> None:
    """Watching changes no answer: bool, int, float, len, data, NumPy and text."""
    x = torch.tensor([1.5, 2.5])
    with watching():
        assert int(x[0]) == 1
        assert math.isclose(float(x[1]), 2.5)
        assert bool(x[0])
        assert len(x) == 2
        assert x.tolist() == [1.5, 2.5]
        assert x.numpy().sum() == 4
        assert 1.5 in x
        assert f"{x[0]:.2f}" == "1.50"
        x.data = torch.zeros(2)
    assert x.tolist() == [0, 0]


def test_the_tensor_class_is_as_before() -> None:
    """Not one method of torch.Tensor, nor a function of torch, is another one afterwards, also after a failure."""
    with watching():
        assert tensor_class() != TENSOR
        assert torch.equal is not FUNCTIONS["equal"]
    assert tensor_class() == TENSOR
    assert {name: getattr(torch, name) for name in FUNCTIONS} == FUNCTIONS
    with pytest.raises(ZeroDivisionError), watching():
        raise ZeroDivisionError
    assert tensor_class() == TENSOR
    assert {name: getattr(torch, name) for name in FUNCTIONS} == FUNCTIONS


def test_watching_nests() -> None:
    """A trace inside a trace's block puts back what it found, and both see the conversion."""
    with watching():
        assert [c.kind for c in conversions(lambda x: int(x.shape[1]))] == ["int"]
    assert tensor_class() == TENSOR
