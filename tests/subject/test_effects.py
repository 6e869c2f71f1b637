"""What one call did to its model."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver

from pytest_torchscript.subject.effects import CallEffects, effects_of


class Model(nn.Module):
    """Does what it is told to itself."""

    count: Tensor

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.register_buffer("count", torch.zeros(1))
        self.kept: list[Tensor] = []

    def forward(self, x: Tensor, change: Callable[[Model], object]) -> Tensor:
        change(self)
        return self.norm(self.fc(x))


X = torch.randn(4, 8)


def effects(change: Callable[[Model], object], *, training: bool = True, model: Model | None = None) -> CallEffects | None:
    model = (model or Model()).train(training)
    with effects_of(model) as found:
        model(torch.randn(4, model.fc.in_features), change)
    return found[0] if found else None


def test_a_call_that_changes_nothing_has_none() -> None:
    """Nor have the statistics of batch norm, which train mode is there for."""
    assert effects(lambda model: None, training=True) is None
    assert effects(lambda model: None, training=False) is None


def test_a_range_that_is_observed_is_no_statistic_of_training() -> None:
    """The observer of a fake quantisation follows the inputs in eval mode too."""
    model = FakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255)
    with effects_of(model) as found:
        model(X)
    assert {"scale", "activation_post_process.min_val"} <= set(found[0].buffers)


def test_a_write_of_the_same_values_is_none() -> None:
    """A counter that moved is not enough: the weights are what they were."""
    assert effects(lambda model: model.fc.weight.data.clamp_(-100, 100)) is None


@pytest.mark.parametrize(
    ("change", "parameters", "buffers", "attributes"),
    [
        (lambda m: m.fc.weight.data.mul_(2), ("fc.weight",), (), ()),
        (lambda m: m.count.add_(1), (), ("count",), ()),
        (lambda m: m.register_buffer("more", torch.ones(1)), (), ("more",), ()),
        (lambda m: setattr(m, "scale", 2.0), (), (), ("scale",)),
        (lambda m: m.kept.append(X), (), (), ("kept",)),
    ],
    ids=["parameter", "buffer", "new buffer", "new attribute", "longer list"],
)
def test_what_changed_is_named(
    change: Callable[[Model], object], parameters: tuple[str, ...], buffers: tuple[str, ...], attributes: tuple[str, ...]
) -> None:
    """By the names of the state dict, and of the attributes."""
    found = effects(change)
    assert found is not None
    assert (found.parameters, found.buffers, found.attributes) == (parameters, buffers, attributes)


def test_a_large_parameter_is_seen_to_change() -> None:
    """It is not copied: its new values stay where the rest is undone for a look."""
    model = Model(1100)

    def change(model: Model) -> None:
        model.fc.weight.data[7, 3] += 1
        model.fc.bias.data.zero_()

    found = effects(change, model=model)
    assert found is not None
    assert found.parameters == ("fc.weight", "fc.bias")
    with found.undone() as before:
        assert before.lost == ("fc.weight",)
        assert model.fc.bias.any()
    assert not model.fc.bias.any()


def test_undone_is_for_a_while_and_in_eval_mode() -> None:
    """The state before the call in the block, that after the call afterwards, whatever the block does."""
    model = Model()

    def change(model: Model) -> None:
        model.scale = 2.0
        model.kept.append(X)
        model.count.add_(1)

    found = effects(change, model=model)
    assert found is not None
    with found.undone():
        assert not hasattr(model, "scale")
        assert (model.kept, float(model.count), model.training, model.norm.training) == ([], 0, False, False)
        model.kept.extend((X, X))
    assert (model.scale, len(model.kept), float(model.count), model.training) == (2.0, 1, 1, True)


def test_a_lazy_module_has_none() -> None:
    """It takes its shapes in the first call, as it says."""
    model = nn.LazyLinear(3)
    with effects_of(model) as found:
        model(X)
    assert found == []


def test_a_state_that_cannot_be_read_is_not_noted() -> None:
    """Inside a transform of torch's, and among fake tensors, the call goes on as if nobody looked."""
    model, seen = nn.Linear(8, 8), []

    def call(x: Tensor) -> Tensor:
        with effects_of(model) as found:
            out: Tensor = model(x)
        seen.append(found)
        return out

    assert torch.vmap(call)(X).shape == (4, 8)
    stacked = {name: torch.stack([value.detach()] * 2) for name, value in model.named_parameters()}

    def functional(values: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(nn.ModuleDict({"m": Calling(model)})["m"], values, (X,))

    class Calling(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return call(x)

    assert torch.vmap(functional)({f"inner.{name}": value for name, value in stacked.items()}).shape == (2, 4, 8)


def test_an_error_of_the_call_passes() -> None:
    """What the model raises is its test's to see."""

    def fail(model: Model) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        effects(fail)
