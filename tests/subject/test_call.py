"""One call of a forward, split into inputs and constants."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.errors import SubjectError
from pytest_torchscript.subject.call import Call, bind, snapshot
from pytest_torchscript.tracing.trace import trace


class Recording(nn.Module):
    """Notes what its forward was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def note(self, *args: Any, **kwargs: Any) -> None:
        self.given.append((args, kwargs))


class Plain(Recording):
    def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0, *, flag: bool = False) -> Tensor:
        self.note(x, mask, scale, flag=flag)
        return x * scale


class Starred(Recording):
    def forward(self, first: Tensor, *others: Any, **named: Any) -> Tensor:
        self.note(first, *others, **named)
        return first


class PositionalOnly(Recording):
    def forward(self, x: Tensor, scale: float = 2.0, /, bias: float = 0.0) -> Tensor:
        self.note(x, scale, bias)
        return x * scale + bias


class Container(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor], table: dict[str, Tensor]) -> Tensor:
        return pair[0] + pair[1] + table["bias"]


X = torch.arange(6.0).reshape(2, 3)


# Binding


def test_positional_arguments_get_their_parameters_names() -> None:
    """Inputs are known by name, however they were passed."""
    call = bind(Plain(), (X, X > 0), {})
    assert list(call.inputs) == ["x", "mask"]
    assert call.positional == ("x", "mask")


def test_keywords_stay_keywords() -> None:
    """What was passed by name is passed by name again."""
    call = bind(Plain(), (), {"mask": X > 0, "x": X})
    assert list(call.inputs) == ["x", "mask"]
    assert call.positional == ()


def test_arguments_without_tensors_are_constants() -> None:
    """None, numbers and flags are bound into the program, tensors are its inputs."""
    call = bind(Plain(), (X, None, 3.0), {"flag": True})
    assert list(call.inputs) == ["x"]
    assert call.constants == {"mask": None, "scale": 3.0, "flag": True}
    assert call.positional == ("x", "mask", "scale")


def test_defaults_are_not_passed() -> None:
    """An argument that nobody gave is left to the forward."""
    model = Plain()
    bind(model, (X,), {}).run(model)
    assert bind(model, (X,), {}).constants == {}
    assert model.given[0][0][1:] == (None, 1.0)


def test_starred_arguments_are_numbered() -> None:
    """``*others`` become ``others_0`` and so on, and are passed by position."""
    model = Starred()
    call = bind(model, (X, 2, X), {"extra": X, "flag": True})
    assert list(call.inputs) == ["first", "others_1", "extra"]
    assert call.constants == {"others_0": 2, "flag": True}
    assert call.positional == ("first", "others_0", "others_1")
    call.run(model)
    args, kwargs = model.given[0]
    assert (len(args), args[1]) == (3, 2)
    assert torch.equal(kwargs["extra"], X)
    assert kwargs["flag"] is True


def test_a_positional_only_parameter_is_passed_by_position() -> None:
    """A parameter that has no keyword is never given one."""
    model = PositionalOnly()
    call = bind(model, (X,), {"bias": 1.0})
    assert call.positional == ("x",)
    call.run(model)
    assert model.given[0][0][1:] == (2.0, 1.0)


def test_nested_inputs_have_paths() -> None:
    """A tensor inside a tuple or a dict is an input by its path."""
    call = bind(Container(), ((X, X),), {"table": {"bias": X}})
    assert list(call.tensors()) == ["pair[0]", "pair[1]", "table.bias"]


def test_inputs_that_do_not_fit_are_refused_with_the_signature() -> None:
    """The error shows the forward, what it lacks, and what was given, without the values."""
    with pytest.raises(SubjectError) as caught:
        bind(Plain(), (), {"y": X})
    message = str(caught.value)
    assert "do not fit Plain.forward(x, mask, scale, flag)" in message
    assert "missing a required argument: 'x'" in message
    assert "y=float32 (2, 3)" in message
    assert "tensor(" not in message


def test_a_forward_without_a_signature_takes_what_it_is_given() -> None:
    """A compiled forward may have none: positions are numbered, names kept."""
    model = nn.Module()
    model.__dict__["forward"] = max
    call = bind(model, (X, 3), {"key": X})
    assert list(call.inputs) == ["args_0", "key"]
    assert call.positional == ("args_0", "args_1")


def test_inputs_without_any_tensor_are_refused() -> None:
    """A trace needs something to trace."""
    with pytest.raises(SubjectError, match=r"no tensor is among the inputs of Plain \(x, scale\)"):
        bind(Plain(), (1,), {"scale": 2.0})


# Running


def test_a_run_gives_the_forward_copies() -> None:
    """A forward that overwrites its input does not reach the original."""

    class Doubling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2)

    original = X.clone()
    call = bind(Doubling(), (original,), {})
    assert torch.equal(call.run(Doubling()), X * 2)
    assert torch.equal(original, X)


def test_a_run_takes_other_values() -> None:
    """The same call with other inputs keeps the constants."""
    model = Plain()
    call = bind(model, (X,), {"scale": 3.0})
    assert torch.equal(call.run(model, {"x": X + 1}), (X + 1) * 3)


def test_a_tensor_that_requires_grad_still_does() -> None:
    """A model that looks at the flag sees what its test gave it."""
    model = Plain()
    bind(model, (X.clone().requires_grad_(),), {}).run(model)
    bind(model, (X.clone(),), {}).run(model)
    assert [args[0].requires_grad for args, _ in model.given] == [True, False]


def test_an_object_among_the_constants_is_fresh_for_every_call() -> None:
    """A cache that the forward fills does not grow from call to call."""

    class Caching(nn.Module):
        def forward(self, x: Tensor, cache: list[int]) -> Tensor:
            cache.append(1)
            return x + len(cache)

    call = bind(Caching(), (X, []), {})
    assert torch.equal(call.run(Caching()), X + 1)
    assert torch.equal(call.run(Caching()), X + 1)


def test_an_object_that_cannot_be_copied_is_shared() -> None:
    """A constant that refuses to be copied is passed as it is."""

    class Stubborn:
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("no")

    stubborn = Stubborn()
    with pytest.raises(RuntimeError):
        copy.deepcopy(stubborn)
    call = bind(Starred(), (X, stubborn), {})
    args, _ = call.arguments(call.inputs)
    assert args[1] is stubborn


def test_an_object_whose_copy_is_another_thing_is_shared() -> None:
    """A copy that is no object of the same class is none."""

    class Singleton:
        def __deepcopy__(self, memo: Any) -> Any:
            return None

    only = Singleton()
    assert bind(Starred(), (X, only), {}).arguments({"first": X})[0][1] is only


def test_a_module_among_the_constants_is_shared() -> None:
    """Its weights are nobody's to copy."""
    other = nn.Linear(1, 1)
    assert bind(Starred(), (X, other), {}).arguments({"first": X})[0][1] is other


class Mapped(dict[str, Any]):
    __getattr__ = dict.__getitem__


def test_a_snapshot_keeps_the_class_of_a_mapping() -> None:
    """The forward may ask for its entries by name."""
    given = Mapped(x=X, n=1)
    noted = snapshot((given, {"a": Mapped(n=1)}))
    assert noted[0].x is not X
    assert (type(noted[0]), type(noted[1]["a"])) == (Mapped, Mapped)


# Changing


def test_constants_can_be_added_by_keyword() -> None:
    """An argument bound later is passed by name."""
    call = bind(Plain(), (X,), {}).with_constants(scale=2.0)
    assert (call.constants, call.positional) == ({"scale": 2.0}, ("x",))


def test_an_input_can_become_a_constant() -> None:
    """A constant of the same name replaces the input, in its position."""
    model = Plain()
    call = bind(model, (X, X > 0), {}).with_constants(mask=None)
    assert list(call.inputs) == ["x"]
    call.run(model)
    assert model.given[0][0][1] is None


def test_changing_a_call_leaves_the_original() -> None:
    """A call is a value."""
    call = bind(Plain(), (X,), {"scale": 1.0})
    call.with_constants(scale=2.0)
    call.with_inputs({"x": X + 1})
    assert call.constants == {"scale": 1.0}
    assert torch.equal(call.inputs["x"], X)


# As the model's forward


def test_the_bound_forward_takes_the_inputs_alone() -> None:
    """While open, the forward's signature is that of the trace: the inputs by their names, constants bound."""
    model = Plain()
    call = bind(model, (), {"mask": X > 0, "scale": 5.0, "x": X})
    with call.as_forward(model) as inputs:
        assert list(inspect.signature(model.forward).parameters) == ["x", "mask"]
        assert torch.equal(model(*inputs), X * 5)


def test_the_bound_forward_yields_copies() -> None:
    """What is passed to the trace may be overwritten."""
    model = Plain()
    call = bind(model, (X,), {})
    with call.as_forward(model) as inputs:
        inputs[0].zero_()
    assert torch.equal(call.inputs["x"], torch.arange(6.0).reshape(2, 3))


def test_the_models_own_forward_comes_back() -> None:
    """Afterwards the model has no forward of its own, as before, even where the block failed."""
    model = Plain()
    call = bind(model, (X,), {})
    with pytest.raises(ZeroDivisionError), call.as_forward(model):
        raise ZeroDivisionError
    assert "forward" not in model.__dict__
    assert model.forward.__func__ is Plain.forward  # type: ignore[attr-defined]


def test_a_patched_forward_comes_back_too() -> None:
    """A forward that the user set on the instance is used, and is there afterwards."""
    model = Plain()

    def patched(x: Tensor) -> Tensor:
        return x - 1

    model.forward = patched  # type: ignore[assignment, method-assign]
    call = bind(model, (X,), {})
    with call.as_forward(model) as inputs:
        assert torch.equal(model(*inputs), X - 1)
    assert model.__dict__["forward"] is patched


def test_a_wrong_number_of_inputs_is_an_error() -> None:
    """The bound forward does not guess which input is missing."""
    model = Plain()
    call = Call(inputs={"x": X, "mask": X > 0})
    with call.as_forward(model), pytest.raises(ValueError, match="zip"):
        model.forward(X)


# A __call__ of the model's own


class Scaled(nn.Module):
    def forward(self, x: Tensor, scale: Tensor | None = None, shift: float = 0.0) -> Tensor:
        return (x if scale is None else x * scale) + shift


class ByName(Scaled):
    def __call__(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        out: Tensor = super().__call__(x=x, scale=scale)
        return out


class Reordered(Scaled):
    def __call__(self, scale: Tensor, x: Tensor) -> Tensor:
        out: Tensor = super().__call__(x, scale=scale, shift=1.0)
        return out


class AddsConstant(Scaled):
    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = super().__call__(x, shift=2.0)
        return out


class WrapsOutputs(Scaled):
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().__call__(x), x * 2


class GoesDirectly(Scaled):
    def __call__(self, x: Tensor, *, scale: Tensor) -> Tensor:
        return self.forward(x, scale)


class TakesAnything(Scaled):
    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = super().__call__(*args, **kwargs)
        return out


class CallsItself(Scaled):
    """Takes one tensor, or a list of them."""

    def __call__(self, x: Any) -> Tensor:
        out: Tensor = sum(self(part) for part in x) if isinstance(x, list) else super().__call__(x)
        return out


S = torch.tensor([[2.0], [3.0]])
OWN_CALLS: dict[str, tuple[nn.Module, tuple[Any, ...], dict[str, Any], list[str]]] = {
    "by name": (ByName(), (X, S), {}, ["x", "scale"]),
    "by name, given by name": (ByName(), (), {"scale": S, "x": X}, ["x", "scale"]),
    "reordered": (Reordered(), (S, X), {}, ["scale", "x"]),
    "a constant added": (AddsConstant(), (X,), {}, ["x"]),
    "outputs wrapped": (WrapsOutputs(), (X,), {}, ["x"]),
    "the forward called directly": (GoesDirectly(), (X,), {"scale": S}, ["x", "scale"]),
    "anything taken": (TakesAnything(), (X,), {"scale": S, "shift": 4.0}, ["x", "scale"]),
    "itself called": (CallsItself(), ([X, X],), {}, ["x"]),
}


@pytest.mark.parametrize("case", OWN_CALLS.values(), ids=OWN_CALLS)
def test_a_call_of_ones_own_gets_what_its_user_gave(
    case: tuple[nn.Module, tuple[Any, ...], dict[str, Any], list[str]],
) -> None:
    """Run or bound, a model with its own ``__call__`` answers as it did, whatever that hands on to the forward."""
    model, args, kwargs, names = case
    expected = model(*args, **kwargs)
    before = type(model).__call__, dict(model.__dict__)
    call = bind(model, args, kwargs)
    assert list(call.inputs) == names
    torch.testing.assert_close(call.run(model), expected)
    with call.as_forward(model) as inputs:
        assert list(inspect.signature(model.forward).parameters) == names
        torch.testing.assert_close(model(*inputs), expected)
    assert (type(model).__call__, model.__dict__) == before


def test_a_trace_of_a_call_of_ones_own_names_its_inputs() -> None:
    """The traced program takes what the model takes, by the names of its own ``__call__``."""
    traced = trace(Reordered(), bind(Reordered(), (S, X), {})).module
    assert [value.debugName() for value in list(traced.graph.inputs())[1:]] == ["scale", "x"]
    torch.testing.assert_close(traced(S, X), X * S + 1)


def test_another_instance_of_the_class_is_called_as_ever() -> None:
    """Only the bound model takes the inputs by position."""
    model, other = Reordered(), Reordered()
    with bind(model, (S, X), {}).as_forward(model):
        torch.testing.assert_close(other(x=X, scale=S), X * S + 1)


def test_arguments_that_a_call_of_ones_own_refuses_are_told_with_it() -> None:
    """The error shows the signature that was to be met."""
    with pytest.raises(SubjectError, match=r"do not fit AddsConstant.__call__\(x\)"):
        bind(AddsConstant(), (X,), {"shift": 1.0})
