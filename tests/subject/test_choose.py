"""Which models a test is about, and with which inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import SubjectError
from pytest_torchscript.subject.choose import NOT_GIVEN, Offered, example_inputs, models, observed_call
from pytest_torchscript.subject.observe import ObservedCall


class Model(nn.Module):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


class Other(Model):
    pass


def call(model: nn.Module, *args: Any) -> ObservedCall:
    return ObservedCall(model, args, {})


def fixtures(**values: Any) -> Offered:
    return Offered(fixtures=values, fixture=values.__getitem__)


# Models


def test_the_marker_comes_first() -> None:
    """A model that the marker names wins over what the test returned, called and took."""
    named, returned, called, taken = Model(), Model(), Model(), Model()
    offered = Offered(returned=returned, calls=[call(called)], fixtures={"taken": taken})
    assert models(named, offered) == ([named], NOT_GIVEN)


def test_the_returned_model_comes_before_the_observed_one() -> None:
    """A test that returns a module says which one it is about."""
    returned, called = Model(), Model()
    assert models(None, Offered(returned=returned, calls=[call(called)])) == ([returned], NOT_GIVEN)


def test_inputs_may_be_returned_with_the_model() -> None:
    """A pair of a module and its inputs gives both; None in their place gives none."""
    model, inputs = Model(), (torch.ones(1, 2),)
    assert models(None, Offered(returned=(model, inputs))) == ([model], inputs)
    assert models(None, Offered(returned=(model, None))) == ([model], NOT_GIVEN)


@pytest.mark.parametrize(
    "returned", [3, None, (Model(), 1, 2), (1, Model()), [Model()]], ids=["int", "None", "three", "second", "list"]
)
def test_other_returned_values_name_no_model(returned: Any) -> None:
    """Only a module, or a pair that begins with one, is about a model."""
    called = Model()
    assert models(None, Offered(returned=returned, calls=[call(called)])) == ([called], NOT_GIVEN)


def test_observed_models_come_before_fixtures_and_are_judged_each() -> None:
    """Every different model that the body called is judged."""
    first, second, taken = Model(), Other(), Model()
    offered = Offered(calls=[call(first), call(second)], fixtures={"taken": taken})
    assert models(None, offered) == ([first, second], NOT_GIVEN)


def test_the_single_module_among_the_fixtures_is_last() -> None:
    """One object under two names is one module."""
    model = Model()
    assert models(None, fixtures(number=3, net=model, same=model)) == ([model], NOT_GIVEN)


@pytest.mark.parametrize(
    ("offered", "says"),
    [
        (fixtures(number=3), "no fixture of the test is one; name it with model="),
        (fixtures(a=Model(), b=Model()), r"its fixtures hold several \(a, b\); name it with model="),
    ],
    ids=["none", "several"],
)
def test_no_model_is_an_error_that_says_what_was_looked_for(offered: Offered, says: str) -> None:
    """The places that were looked at are named, and what to do."""
    with pytest.raises(SubjectError, match=f"no model to gate: the marker names none .*{says}"):
        models(None, offered)


def test_a_fixture_can_be_named() -> None:
    """Its value is the model, and must be a module."""
    model = Model()
    assert models("net", fixtures(net=model)) == ([model], NOT_GIVEN)
    with pytest.raises(SubjectError, match=r"model='net': the fixture gives int, expected an nn\.Module; name the fixture"):
        models("net", fixtures(net=3))


def test_a_factory_makes_the_model() -> None:
    """A function, or a class that is no module."""

    class Factory:
        def __new__(cls) -> Any:
            return model

    model = Model()
    assert models(lambda: model, Offered()) == ([model], NOT_GIVEN)
    assert models(Factory, Offered()) == ([model], NOT_GIVEN)


def test_a_factory_that_raises_is_named() -> None:
    """With what it raised."""

    def broken() -> nn.Module:
        raise RuntimeError("no weights here")

    with pytest.raises(SubjectError, match="model=broken: calling it without arguments raised RuntimeError: no weights here"):
        models(broken, Offered())


def test_a_class_names_its_instances() -> None:
    """Those that the body called, else the single one among the fixtures, else a new one."""
    called, taken = Model(), Model()
    offered = Offered(calls_by_class={Model: [call(called)]}, fixtures={"taken": taken})
    assert models(Model, offered)[0] == [called]
    assert models(Model, fixtures(taken=taken))[0] == [taken]
    (made,), _ = models(Model, fixtures(one=Model(), two=Model()))
    assert type(made) is Model


# Inputs


def test_inputs_are_what_the_marker_names() -> None:
    """A fixture, a factory, or the inputs themselves; a mapping is never called."""

    class Callable(dict[str, int]):
        def __call__(self) -> Any:
            raise AssertionError("called")

    assert example_inputs("batch", fixtures(batch={"x": 1})) == {"x": 1}
    assert example_inputs("batch", fixtures(batch=None)) is None
    assert example_inputs(lambda: (1,), Offered()) == (1,)
    assert example_inputs((1, 2), Offered()) == (1, 2)
    assert example_inputs(Callable(x=1), Offered()) == {"x": 1}
    assert example_inputs(None, Offered()) is NOT_GIVEN


def test_a_factory_of_inputs_that_raises_is_named() -> None:
    """The argument is inputs, not model."""
    with pytest.raises(SubjectError, match=r"inputs=<lambda>: calling it without arguments raised KeyError"):
        example_inputs(lambda: {}["x"], Offered())


def test_the_call_of_the_very_model_is_preferred() -> None:
    """Then the call of a model with the same class and shapes, then one of the same class."""
    model = Model()
    own, alike, of_its_class = call(model), call(Model()), call(Model(width=3))
    assert observed_call(model, Offered(calls=[of_its_class, alike, own])) is own
    assert observed_call(model, Offered(calls=[of_its_class, alike])) is alike
    assert observed_call(model, Offered(calls=[of_its_class])) is of_its_class
    assert observed_call(model, Offered(calls=[call(Other())])) is None


def test_calls_of_a_named_class_are_looked_at_too() -> None:
    """They may be inside another model, where no outermost call shows them."""
    model = Model()
    inner = call(model)
    assert observed_call(model, Offered(calls=[call(Other())], calls_by_class={Model: [inner]})) is inner
