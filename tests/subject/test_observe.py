"""Watching the module calls of a test body."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.utils import parametrizations

from pytest_torchscript.errors import SubjectError
from pytest_torchscript.subject.observe import ObservedCall, Observer, signature_of
from pytest_torchscript.tracing.trace import quiet


class Inner(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2)

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        out: Tensor = self.linear(x) * scale
        return out


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out


class FocalLoss(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class Accuracy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class Metric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class Recall(Metric):
    pass


X = torch.ones(4, 3)


def observed(*calls: tuple[nn.Module, Tensor], only: type[nn.Module] | None = None) -> list[ObservedCall]:
    observer = Observer(only)
    with observer.watching():
        for model, x in calls:
            model(x)
    return observer.calls


def test_the_outermost_call_is_observed() -> None:
    """What a module calls inside is not the model under test."""
    outer = Outer()
    assert [call.model for call in observed((outer, X))] == [outer]


def test_arguments_are_seen_as_given() -> None:
    """Positional arguments stay positional, keywords keywords."""
    model, observer = Inner(), Observer()
    with observer.watching():
        model(X, scale=2.0)
    (call,) = observer.calls
    assert torch.equal(call.args[0], X)
    assert call.kwargs == {"scale": 2.0}


def test_arguments_are_copies() -> None:
    """What the test does with its tensors later is not what the model was given."""
    x = X.clone()
    (call,) = observed((Inner(), x))
    x.zero_()
    assert torch.equal(call.args[0], X)


def test_a_later_call_counts_where_the_first_has_no_values() -> None:
    """Inside of vmap, and among fake tensors, there are none to trace with."""
    model, other, observer = Inner(), Inner(4), Observer()
    with observer.watching():
        torch.func.vmap(model)(X)
        torch.func.vmap(model)(X)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            other(mode.from_tensor(torch.ones(4, 4)))
        model(X)
        torch.func.vmap(model)(X)
        other(torch.ones(4, 4))
    assert [(call.model, call.readable, tuple(call.args[0].shape)) for call in observer.calls] == [
        (model, True, (4, 3)),
        (other, True, (4, 4)),
    ]


def test_calls_that_have_no_values_are_told() -> None:
    """The model is found, and what to do about it is said."""
    model, observer = Inner(), Observer()
    with observer.watching():
        torch.func.vmap(model)(X)
        torch.func.vmap(Outer())(X)
        torch.func.vmap(model)(X)
    assert [type(call.model) for call in observer.calls] == [Inner, Outer]
    with pytest.raises(SubjectError, match=r"calls Inner only inside a transform such as torch.func.vmap.*: give inputs="):
        observer.calls[0].bound_to(model)


def test_a_call_that_is_differentiated_has_values() -> None:
    """They can be read in the function that torch.func.grad takes the gradient of."""
    model, observer = Inner(), Observer()
    with observer.watching():
        torch.func.grad(lambda x: model(x).sum())(X)
    assert [call.readable for call in observer.calls] == [True]


def test_the_first_call_of_a_model_counts() -> None:
    """Further calls of the same model are not recorded."""
    model = Inner()
    (call,) = observed((model, X), (model, X[:1]))
    assert call.args[0].shape == (4, 3)


def test_models_of_like_class_and_shapes_are_one() -> None:
    """A second instance with the same parameters is the same model to a gate."""
    assert len(observed((Inner(), X), (Inner(), X))) == 1


def test_models_of_other_classes_or_shapes_are_several() -> None:
    """A suite that loops over models has each observed, in order."""
    models = [Inner(), Inner(width=5), Outer()]
    calls = observed((models[0], X), (models[1], torch.ones(1, 5)), (models[2], X))
    assert [call.model for call in calls] == models


def test_the_signature_is_class_and_parameter_shapes() -> None:
    """Values do not count, names and shapes do."""
    assert signature_of(Inner()) == signature_of(Inner())
    assert signature_of(Inner()) != signature_of(Inner(width=5))
    assert signature_of(Inner()) != signature_of(Outer())


@pytest.mark.parametrize("module", [nn.MSELoss(), FocalLoss(), Recall()], ids=["torch loss", "own loss", "metric"])
def test_losses_and_metrics_are_no_candidates(module: nn.Module) -> None:
    """They take outputs, and are not what is deployed."""
    observer = Observer()
    with observer.watching():
        module(X, X) if isinstance(module, nn.MSELoss) else module(X)
    assert observer.calls == []


def test_a_parametrisation_is_no_candidate() -> None:
    """It is called whenever a weight is looked at, by the test itself too."""
    model = parametrizations.weight_norm(Inner().linear)
    observer = Observer()
    with observer.watching():
        _ = model.weight
        model(X)
    assert [call.model for call in observer.calls] == [model]


def test_arguments_that_are_written_in_the_call_are_seen_as_given() -> None:
    """An input that the model overwrites, and a cache that it fills."""

    class Filling(nn.Module):
        def forward(self, x: Tensor, cache: list[Tensor], notes: list[str]) -> Tensor:
            cache.append(x.clone())
            notes.append("called")
            return x.zero_()

    observer, cache, notes = Observer(), [X], ["before"]
    with observer.watching():
        Filling()(X.clone(), cache, notes=notes)
    (call,) = observer.calls
    assert torch.equal(call.args[0], X)
    assert (len(call.args[1]), call.kwargs["notes"]) == (1, ["before"])


def test_torchmetrics_are_no_candidates() -> None:
    """By the package that their classes come from, whatever they are called."""
    cls = type("Perplexity", (nn.Module,), {"forward": lambda self, x: x.mean(), "__module__": "torchmetrics.text"})
    assert observed((cls(), X)) == []


def test_script_modules_are_no_candidates() -> None:
    """What is traced already needs no gate."""
    with quiet():
        traced = torch.jit.trace(Inner(), (X,))
    assert observed((traced, X)) == []


def test_a_model_inside_a_loss_is_not_observed() -> None:
    """A loss that calls a network is a loss all the same: the network is not the outermost call."""

    class PerceptualLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = Inner()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.network(x).mean()
            return out

    assert observed((PerceptualLoss(), X)) == []


def test_only_narrows_to_a_class_wherever_it_is_called() -> None:
    """``model=SomeClass`` finds the instance inside another module."""
    outer = Outer()
    assert [call.model for call in observed((outer, X), only=Inner)] == [outer.inner]


def test_only_takes_the_outermost_of_its_class() -> None:
    """A class inside itself is observed once, from outside."""

    class Tree(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.depth = depth
            self.bias = nn.Parameter(torch.zeros(depth + 1))
            self.child = Tree(depth - 1) if depth else None

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.child(x) if self.child is not None else x
            return out

    tree = Tree(2)
    assert [call.model for call in observed((tree, X), only=Tree)] == [tree]


def test_a_call_that_raises_leaves_the_next_one_outermost() -> None:
    """An expected error inside a test neither counts nor hides the model called after it."""
    bad, good, observer = Inner(width=5), Outer(), Observer()
    with observer.watching():
        with pytest.raises(RuntimeError):
            bad(X)
        good(X)
    assert [call.model for call in observer.calls] == [good]


def test_calls_while_tracing_are_not_observed() -> None:
    """The tensors of a trace that the test makes are not example inputs."""
    observer = Observer()
    with observer.watching(), quiet():
        torch.jit.trace(Inner(), (X,), check_trace=False)
    assert observer.calls == []


def test_other_threads_are_observed_with_depths_of_their_own() -> None:
    """A model called in a worker thread is outermost there, whatever runs elsewhere."""
    model, observer = Outer(), Observer()
    with observer.watching():
        thread = threading.Thread(target=model, args=(X,))
        thread.start()
        thread.join()
    assert [call.model for call in observer.calls] == [model]


def test_the_answer_is_the_models_own() -> None:
    """Watching changes no result."""
    model, observer = Inner(), Observer()
    expected = model(X)
    with observer.watching():
        assert torch.equal(model(X), expected)


class Renaming(Inner):
    """Hands on to its forward other arguments than it takes."""

    def __call__(self, y: Tensor, factor: float) -> Tensor:
        out: Tensor = super().__call__(y, scale=factor)
        return out


class Direct(Inner):
    """Goes to its forward past ``Module.__call__``."""

    def __call__(self, y: Tensor) -> Tensor:
        return self.forward(y, scale=2.0)


class Mixin:
    def __call__(self, y: Tensor) -> Tensor:
        out: Tensor = super().__call__(y, scale=2.0)  # type: ignore[misc]
        return out


class Mixed(Mixin, Inner):
    pass


def test_a_call_of_ones_own_is_seen_as_it_was_made() -> None:
    """What a model's own ``__call__`` was given is what its user wrote, not what it hands on."""
    model, observer = Renaming(), Observer()
    with observer.watching():
        model(X, factor=3.0)
    (call,) = observer.calls
    assert (len(call.args), call.kwargs) == (1, {"factor": 3.0})


@pytest.mark.parametrize("cls", [Direct, Mixed])
def test_a_call_past_torchs_own_is_seen(cls: type[nn.Module]) -> None:
    """A ``__call__`` that goes to the forward directly, or that a class outside torch's modules defines."""
    model = cls()
    assert [(call.model, call.kwargs) for call in observed((model, X))] == [(model, {})]


def test_a_class_that_the_body_defines_is_watched() -> None:
    """Tests write their models where they need them."""
    observer, inner = Observer(), Observer()
    with observer.watching(), inner.watching():

        class Local(Inner):
            def __call__(self, y: Tensor) -> Tensor:
                return self.forward(y)

        model = Local()
        model(X)
    assert [call.model for call in observer.calls] == [call.model for call in inner.calls] == [model]
    assert Local.__call__.__name__ == "__call__"


def test_a_part_with_a_call_of_its_own_is_not_the_outermost() -> None:
    """Depth is counted through such calls too."""

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Direct()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.part(x)
            return out

    model = Whole()
    assert [call.model for call in observed((model, X))] == [model]


def test_calls_of_ones_own_are_as_before_afterwards() -> None:
    """The classes have the ``__call__`` that they had, and ``nn.Module`` its ``__init__``."""
    made, names = nn.Module.__init__, sorted(vars(nn.Module))
    before = [vars(cls)["__call__"] for cls in (Renaming, Direct, Mixin)]
    with Observer().watching(), Observer(Inner).watching():
        assert vars(Direct)["__call__"] is not before[1]
        assert sorted(vars(nn.Module)) == names
    assert [vars(cls)["__call__"] for cls in (Renaming, Direct, Mixin)] == before
    assert nn.Module.__init__ is made


def test_a_call_that_the_body_replaced_stays_replaced() -> None:
    """What a test puts in place of a ``__call__`` is the test's to take away."""

    def other(self: nn.Module, y: Tensor) -> Tensor:
        return y

    before = Direct.__call__
    try:
        with Observer().watching():
            Direct.__call__ = other  # type: ignore[method-assign, assignment]
        assert vars(Direct)["__call__"] is other
    finally:
        Direct.__call__ = before  # type: ignore[method-assign]


def test_a_compiled_model_is_observed_as_the_model() -> None:
    """torch.compile's wrapper is no model of anybody's; what it wraps is."""
    model = Inner()
    compiled = torch.compile(model, backend="eager")
    observer = Observer()
    with observer.watching():
        compiled(X)
    assert [call.model for call in observer.calls] == [model]


def test_quantisation_observers_are_no_candidates() -> None:
    """They note the range of a tensor, and are called beside the model."""
    assert observed((torch.ao.quantization.MinMaxObserver(), X), (torch.ao.quantization.FakeQuantize(), X)) == []


def test_module_calls_are_as_before_afterwards() -> None:
    """torch's own ``Module._call_impl`` is put back, also after a failure."""
    before = nn.Module._call_impl
    with Observer().watching():
        assert nn.Module._call_impl is not before
    assert nn.Module._call_impl is before
    with pytest.raises(ZeroDivisionError), Observer().watching():
        raise ZeroDivisionError
    assert nn.Module._call_impl is before


def test_observers_nest() -> None:
    """One that watches for a class and one that watches for all see the same call."""
    general, narrow = Observer(), Observer(Inner)
    outer = Outer()
    with general.watching(), narrow.watching():
        outer(X)
    assert [call.model for call in general.calls] == [outer]
    assert [call.model for call in narrow.calls] == [outer.inner]
