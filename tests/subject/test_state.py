"""What a call may change and must not: the state of the model, and of the process around it."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import os
import random
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.subject.state import ModelState, isolated


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(3))
        self.cache: list[Tensor] = []


class Helper:
    """A plain object that a model keeps: a cache, a counter."""

    def __init__(self) -> None:
        self.hits = 0
        self.keys = torch.ones(2)
        self.seen = [1]


class Model(nn.Module):
    """Every kind of state a model may have."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("count", torch.arange(3.0))
        self.register_buffer("none", None)
        self.block = Block()
        self.step = 0
        self.name = "model"
        self.history: list[Any] = [1, [2, 3]]
        self.table: dict[str, Any] = {"a": torch.ones(2), "b": {"c": 1}}
        self.seen = {1, 2}
        self.loose = torch.ones(2, 2)
        self.pair = (torch.ones(1), [torch.ones(1)])
        self.recent = deque([1, 2], maxlen=3)
        self.helper = Helper()
        self.array = np.ones(2)


def described(model: nn.Module) -> Any:
    """Everything observable of a model, as plain data."""

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            return tuple(value.shape), value.dtype, value.flatten().tolist(), value.requires_grad
        if isinstance(value, dict):
            return [(key, plain(entry)) for key, entry in value.items()]
        if isinstance(value, (list, tuple, deque)):
            return [plain(entry) for entry in value]
        if isinstance(value, nn.Module):
            return described(value)
        if isinstance(value, np.ndarray):
            return id(value), value.tolist()
        if isinstance(value, Helper):
            return plain(value.__dict__)
        if isinstance(value, set):
            return sorted(map(str, value))
        return value if isinstance(value, (int, float, str, bool, type(None))) else id(value)

    return [(name, plain(value)) for name, value in model.__dict__.items()]


def hook(*_: Any) -> None:
    pass


CHANGES: dict[str, Callable[[Model], Any]] = {
    "a buffer in place": lambda m: m.count.add_(1),
    "a buffer through data": lambda m: m.count.data.add_(1),
    "a buffer through numpy": lambda m: m.count.numpy().fill(9),
    "a buffer replaced": lambda m: setattr(m, "count", torch.zeros(5)),
    "a buffer's data replaced": lambda m: setattr(m.count, "data", torch.zeros(5)),
    "a buffer of a submodule": lambda m: m.block.count.add_(1),  # type: ignore[operator]
    "a buffer added": lambda m: m.register_buffer("more", torch.zeros(1)),
    "a buffer deleted": lambda m: delattr(m, "count"),
    "a buffer filled in": lambda m: setattr(m, "none", torch.ones(1)),
    "statistics": lambda m: m.norm.train()(torch.randn(4, 2)),
    "a parameter in place": lambda m: m.linear.weight.data.mul_(2),
    "a parameter replaced": lambda m: setattr(m.linear, "weight", nn.Parameter(torch.zeros(2, 3))),
    "a parameter's data replaced": lambda m: setattr(m.linear.weight, "data", torch.zeros(4, 3)),
    "a parameter frozen": lambda m: m.linear.weight.requires_grad_(False),
    "a parameter added": lambda m: m.register_parameter("more", nn.Parameter(torch.zeros(1))),
    "a module added": lambda m: m.add_module("more", nn.Linear(1, 1)),
    "a module replaced": lambda m: setattr(m, "linear", nn.Identity()),
    "a module deleted": lambda m: delattr(m, "block"),
    "a number": lambda m: setattr(m, "step", 1),
    "a new attribute": lambda m: setattr(m, "fresh", object()),
    "a deleted attribute": lambda m: delattr(m, "name"),
    "a list appended": lambda m: m.history.append(3),
    "a list entry": lambda m: m.history.__setitem__(0, 7),
    "a list in a list": lambda m: m.history[1].clear(),
    "an empty list filled": lambda m: m.block.cache.append(torch.ones(1)),
    "a dict entry": lambda m: m.table.update(z=1),
    "a dict in a dict": lambda m: m.table["b"].update(c=2),
    "a tensor in a dict": lambda m: m.table["a"].zero_(),
    "a set": lambda m: m.seen.add(3),
    "a loose tensor": lambda m: m.loose.zero_(),
    "a loose tensor through data": lambda m: m.loose.data.zero_(),
    "a tensor in a tuple": lambda m: m.pair[0].zero_(),
    "a tensor in a list in a tuple": lambda m: m.pair[1][0].zero_(),
    "an array in place": lambda m: m.array.__setitem__(0, 7),
    "an array": lambda m: setattr(m, "array", np.zeros(2)),
    "an array like it": lambda m: setattr(m, "array", np.ones(2)),
    "a deque": lambda m: m.recent.extend([3, 4]),
    "a helper's number": lambda m: setattr(m.helper, "hits", 1),
    "a helper's list": lambda m: m.helper.seen.append(2),
    "a helper's tensor": lambda m: m.helper.keys.zero_(),
    "a helper's new attribute": lambda m: setattr(m.helper, "fresh", 1),
    "a forward hook": lambda m: m.linear.register_forward_hook(hook),
    "a forward pre-hook": lambda m: m.register_forward_pre_hook(hook),
    # Public since torch 2.6.
    "a state-dict hook": lambda m: getattr(m, "register_state_dict_post_hook", m._register_state_dict_hook)(hook),
    "the mode": lambda m: m.eval(),
    "a submodule's mode": lambda m: m.norm.eval(),
    "a forward of its own": lambda m: setattr(m, "forward", hook),
}
# These move no version counter; torch's batch norm writes its statistics so.
SILENT = {
    "a buffer through data",
    "a buffer through numpy",
    "a buffer's data replaced",
    "a loose tensor through data",
    "a parameter in place",
    "a parameter's data replaced",
    "statistics",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_everything_is_put_back(change: Callable[[Model], Any]) -> None:
    """Whatever a call changed of a model, on a thorough look it is as before."""
    model = Model()
    before = described(model)
    state = ModelState(model)
    change(model)
    assert described(model) != before
    state.restore(thorough=True)
    assert described(model) == before


@pytest.mark.parametrize("name", sorted(set(CHANGES) - SILENT))
def test_what_moves_a_counter_is_put_back_at_a_glance(name: str) -> None:
    """Without a thorough look, everything but a write that no version counter shows is put back."""
    model = Model()
    before = described(model)
    state = ModelState(model)
    CHANGES[name](model)
    state.restore()
    assert described(model) == before


def test_a_state_can_be_restored_again_and_again() -> None:
    """One snapshot serves for all the calls of a gate."""
    model = Model()
    before = described(model)
    state = ModelState(model)
    for change in CHANGES.values():
        change(model)
        state.restore(thorough=True)
    assert described(model) == before


def test_tensors_are_put_back_in_place() -> None:
    """Whoever holds a parameter or a buffer, an optimiser say, holds the same one afterwards."""
    model = Model()
    held = [*model.parameters(), *model.buffers(), model.loose]
    addresses = [tensor.data_ptr() for tensor in held]
    state = ModelState(model)
    for name in ("a buffer in place", "a parameter in place", "a loose tensor", "a buffer replaced"):
        CHANGES[name](model)
    state.restore(thorough=True)
    now = [*model.parameters(), *model.buffers(), model.loose]
    assert all(mine is theirs for mine, theirs in zip(now, held, strict=True))
    assert [tensor.data_ptr() for tensor in now] == addresses


def test_containers_are_put_back_in_place() -> None:
    """A list that the test holds is the list the model has."""
    model = Model()
    history = model.history
    state = ModelState(model)
    model.history = []
    history.append(9)
    state.restore()
    assert model.history is history
    assert history == [1, [2, 3]]


def test_a_graph_built_before_can_still_be_used() -> None:
    """Putting a parameter back does not break the test's own backward pass."""
    model = Model()
    loss = model.linear(torch.ones(1, 3)).sum()
    state = ModelState(model)
    model.linear.weight.data.mul_(2)
    state.restore(thorough=True)
    loss.backward()
    assert model.linear.weight.grad is not None


def test_gradients_survive() -> None:
    """The snapshot takes nothing away from a parameter."""
    model = Model()
    model.linear(torch.ones(1, 3)).sum().backward()
    gradient = model.linear.weight.grad
    state = ModelState(model)
    model.linear.weight.data.mul_(2)
    state.restore(thorough=True)
    assert model.linear.weight.grad is gradient


def test_parameters_can_be_left_as_a_call_made_them() -> None:
    """``parameters=False`` puts back all the rest."""
    model = Model()
    state = ModelState(model)
    model.linear.weight.data.fill_(5)
    model.count.add_(1)
    state.restore(thorough=True, parameters=False)
    assert bool((model.linear.weight == 5).all())
    assert model.count.tolist() == [0, 1, 2]
    assert state.changed_parameters() == ["linear.weight"]


def test_a_silent_write_once_found_is_looked_for_ever_after() -> None:
    """After one write through ``.data``, a glance is thorough: the model is known to do this."""
    model = Model()
    state = ModelState(model)
    model.count.data.add_(1)
    state.restore()
    assert model.count.tolist() == [1, 2, 3]
    state.restore(thorough=True)
    model.loose.data.zero_()
    state.restore()
    assert model.count.tolist() == [0, 1, 2]
    assert bool((model.loose == 1).all())


def test_shared_tensors_are_put_back_once() -> None:
    """Tied parameters and a buffer that is also an attribute stay tied."""
    model = Model()
    other = nn.Linear(3, 2)
    other.weight = model.linear.weight
    model.other = other
    state = ModelState(model)
    model.linear.weight.data.zero_()
    state.restore(thorough=True)
    assert model.other.weight is model.linear.weight
    assert bool(model.linear.weight.any())


def test_a_container_that_holds_itself_ends() -> None:
    """A cycle is no endless walk."""
    model = Model()
    model.history.append(model.history)
    state = ModelState(model)
    model.history.clear()
    state.restore()
    assert len(model.history) == 3


GENERATORS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "torch": (torch.Generator(), lambda g: torch.rand(2, generator=g).tolist()),
    "Python": (random.Random(3), lambda g: g.random()),
    "NumPy": (np.random.default_rng(3), lambda g: g.random()),
    "NumPy, its bits": (np.random.MT19937(3), lambda g: g.random_raw()),
    "NumPy before 1.17": (np.random.RandomState(3), lambda g: g.rand()),
}


@pytest.mark.parametrize(("generator", "draw"), GENERATORS.values(), ids=GENERATORS)
def test_a_generator_of_the_models_own_is_put_back(generator: Any, draw: Callable[[Any], Any]) -> None:
    """It goes on for its owner as if nothing had been drawn; that it was drawn from is no change in itself."""
    model = Model()
    model.helper.seen.append(generator)
    state = ModelState(model)
    drawn = draw(generator)
    assert state.changed_attributes() == []
    state.restore()
    assert draw(generator) == drawn


def test_a_generator_without_a_state_is_left_alone() -> None:
    """That of the operating system has none."""
    model = Model()
    model.__dict__["generator"] = random.SystemRandom()
    ModelState(model).restore()


def test_a_part_that_is_compiled_is_put_back() -> None:
    """A ScriptModule's buffers are in C++, and a call may write them all the same."""

    class Counting(nn.Module):
        count: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return x * self.count

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(torch.jit.trace(Counting(), (torch.ones(1),), check_trace=False))
    before = model.state_dict()["0.count"].clone()
    state = ModelState(model)
    model(torch.ones(1))
    assert state.changed_buffers() == ["0.count"]
    state.restore()
    assert torch.equal(model.state_dict()["0.count"], before)


def test_a_meta_model_has_no_values_to_restore() -> None:
    """Without weights the attributes are kept all the same."""
    with torch.device("meta"):
        model = nn.Linear(3, 2)
    state = ModelState(model)
    model.__dict__["extra"] = 1
    assert state.changed_parameters() == []
    state.restore(thorough=True)
    assert "extra" not in model.__dict__


def test_a_model_made_in_inference_mode_is_restored() -> None:
    """Its tensors have no version counter; they are looked at every time or not, and are put back on a thorough look."""
    with torch.inference_mode():
        model = nn.Linear(3, 2)
        model.register_buffer("count", torch.zeros(2))
    state = ModelState(model)
    with torch.inference_mode():
        model.count.add_(1)  # type: ignore[operator]
    assert state.changed_buffers() == ["count"]
    state.restore(thorough=True)
    assert model.count.tolist() == [0, 0]  # type: ignore[operator]


# What changed


def test_an_unchanged_model_has_no_changes() -> None:
    """Nothing is reported that did not happen."""
    model = Model()
    state = ModelState(model)
    model.norm.eval()(model.linear(torch.ones(1, 3)))
    assert (state.changed_parameters(), state.changed_buffers(), state.changed_attributes()) == ([], [], [])
    assert not state.differs("count")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("a parameter in place", "linear.weight"),
        ("a parameter's data replaced", "linear.weight"),
        ("a parameter replaced", "linear.weight"),
    ],
)
def test_changed_parameters_are_named(change: str, name: str) -> None:
    """By the name that the state dict has."""
    model = Model()
    state = ModelState(model)
    CHANGES[change](model)
    assert state.changed_parameters() == [name]
    assert state.differs(name)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("a buffer in place", "count"),
        ("a buffer through data", "count"),
        ("a buffer through numpy", "count"),
        ("a buffer of a submodule", "block.count"),
        ("a buffer replaced", "count"),
        ("a buffer added", "more"),
        ("a buffer deleted", "count"),
    ],
)
def test_changed_buffers_are_named(change: str, name: str) -> None:
    """Values that differ, and buffers that came, went or are other objects."""
    model = Model()
    state = ModelState(model)
    CHANGES[change](model)
    assert state.changed_buffers() == [name]
    assert state.differs(name)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("a number", "step"),
        ("a new attribute", "fresh"),
        ("a deleted attribute", "name"),
        ("a list appended", "history"),
        ("a list in a list", "history"),
        ("an empty list filled", "block.cache"),
        ("a dict in a dict", "table"),
        ("a tensor in a dict", "table"),
        ("a set", "seen"),
        ("a loose tensor", "loose"),
        ("a loose tensor through data", "loose"),
        ("a tensor in a list in a tuple", "pair"),
        ("a deque", "recent"),
        ("a helper's number", "helper"),
        ("a helper's tensor", "helper"),
    ],
)
def test_changed_attributes_are_named(change: str, name: str) -> None:
    """Other objects, and the same objects with other content."""
    model = Model()
    state = ModelState(model)
    CHANGES[change](model)
    assert state.changed_attributes() == [name]
    assert state.differs(name)


def test_the_mode_is_no_attribute_that_a_call_changed() -> None:
    """The gate itself switches between train and eval."""
    model = Model()
    state = ModelState(model)
    model.eval()
    assert state.changed_attributes() == []


def test_an_unknown_name_does_not_differ() -> None:
    """What is not there has not changed."""
    assert not ModelState(Model()).differs("no.such")


# The process


def test_random_numbers_go_on_as_if_nothing_had_been_drawn() -> None:
    """torch's, Python's and NumPy's generators are put back."""

    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), random.random(), float(np.random.rand())

    torch_state, python_state, numpy_state = torch.get_rng_state(), random.getstate(), np.random.get_state()
    expected = draw()
    torch.set_rng_state(torch_state)
    random.setstate(python_state)
    np.random.set_state(numpy_state)
    with isolated():
        draw()
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
    assert draw() == expected


def test_the_settings_of_torch_are_as_before() -> None:
    """Default dtype, determinism and executor settings, after a block that changed and broke everything."""

    def settings() -> tuple[Any, ...]:
        profiling = torch._C._jit_set_profiling_executor(True)
        torch._C._jit_set_profiling_executor(profiling)
        return (
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch._C._get_graph_executor_optimize(),
            profiling,
            torch.is_grad_enabled(),
        )

    before = settings()

    def break_everything() -> None:
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch._C._set_graph_executor_optimize(False)
        torch._C._jit_set_profiling_executor(False)
        torch.set_grad_enabled(True)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), isolated():
        break_everything()
    assert settings() == before


def test_the_users_own_settings_are_kept() -> None:
    """What is put back is what was there, not torch's defaults."""
    try:
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        with torch.enable_grad(), isolated():
            assert not torch.is_grad_enabled()
            torch.set_default_dtype(torch.float32)
            torch.use_deterministic_algorithms(False)
        assert torch.get_default_dtype() is torch.float64
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)


def test_the_working_directory_is_as_before(tmp_path: Path) -> None:
    """A forward that goes elsewhere does not take the run along."""
    before = os.getcwd()
    with isolated():
        os.chdir(tmp_path)
    assert os.getcwd() == before


def test_warning_filters_are_as_before() -> None:
    """A filter that a forward installs does not outlive the gate."""
    before = list(warnings.filters)
    with isolated():
        warnings.simplefilter("ignore")
    assert warnings.filters == before


# Parameters without a copy


@pytest.fixture
def large() -> nn.Linear:
    return nn.Linear(300, 100)


def test_large_parameters_are_not_copied(large: nn.Linear) -> None:
    """The small ones are, first; the values of the others are gone when a call changes them, and their names are told."""
    state = ModelState(large, copied=1000)
    large.weight.data.add_(1)
    large.bias.data.add_(1)
    assert state.changed_parameters() == ["weight", "bias"]
    state.restore(thorough=True)
    assert state.lost == ("weight",)
    assert state.changed_parameters() == []
    state.restore(thorough=True)
    large.weight.data.add_(1)
    assert state.changed_parameters() == ["weight"]


def test_a_single_bit_of_a_parameter_without_a_copy_is_seen(large: nn.Linear) -> None:
    """Wherever it is, and rows that change places too."""
    state = ModelState(large, copied=0)
    for row, column in ((0, 0), (57, 123), (99, 299)):
        before = large.weight[row, column].item()
        large.weight.data[row, column] = torch.nextafter(torch.tensor(before), torch.tensor(9.0))
        assert state.changed_parameters() == ["weight"]
        large.weight.data[row, column] = before
        assert state.changed_parameters() == []
    large.weight.data.copy_(large.weight.data.flip(0))
    assert state.changed_parameters() == ["weight"]


def test_memory_that_was_exchanged_is_put_back_without_a_copy(large: nn.Linear) -> None:
    """The old memory is held, so that nothing is lost."""
    state = ModelState(large, copied=0)
    before, address = large.weight.detach().clone(), large.weight.data_ptr()
    large.weight.data = large.weight.data * 2
    assert state.changed_parameters() == ["weight"]
    state.restore(thorough=True)
    assert (state.lost, large.weight.data_ptr()) == ((), address)
    assert torch.equal(large.weight, before)


def test_a_parameter_that_is_known_to_be_written_is_copied(large: nn.Linear) -> None:
    """However large it is."""
    state = ModelState(large, copied=0, written=("weight",))
    before = large.weight.detach().clone()
    large.weight.data.add_(1)
    state.restore(thorough=True)
    assert torch.equal(large.weight, before)
    assert state.lost == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8, torch.complex64, torch.bool, torch.float64])
def test_parameters_of_any_dtype_are_noted(dtype: torch.dtype) -> None:
    """Also those whose bytes are no whole number of words: they are copied."""
    for size in (4096, 4097):
        model = nn.Module()
        model.weight = nn.Parameter(torch.zeros(size).to(dtype), requires_grad=False)
        state = ModelState(model, copied=0)
        assert state.changed_parameters() == []
        model.weight.data[-1] = 1
        assert state.changed_parameters() == ["weight"]


def test_written_sees_a_write_of_the_same_values() -> None:
    """An operation that moves the version counter, and one that does not but leaves other values."""
    model = Model()
    state = ModelState(model)
    assert not state.written("linear.weight")
    with torch.no_grad():
        model.linear.weight.clamp_(-100, 100)
    assert state.written("linear.weight")
    assert not state.differs("linear.weight")
    model.linear.bias.data.add_(1)
    assert state.written("linear.bias")


def test_a_parameter_that_is_replaced_by_its_like_has_not_changed() -> None:
    """Its values count, as those of one that is written in place do."""
    model = Model()
    state = ModelState(model)
    model.linear.weight = nn.Parameter(model.linear.weight.detach().clone())
    assert state.changed_parameters() == []
    model.linear.weight = nn.Parameter(model.linear.weight.detach() * 2)
    assert state.changed_parameters() == ["linear.weight"]
    assert state.written("linear.weight")


# One attribute


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("a number", "step"),
        ("a new attribute", "fresh"),
        ("a list in a list", "history"),
        ("a tensor in a dict", "table"),
        ("a loose tensor", "loose"),
        ("a helper's tensor", "helper"),
        ("a buffer in place", "count"),
        ("a buffer replaced", "count"),
        ("a buffer added", "more"),
        ("a buffer of a submodule", "block.count"),
    ],
)
def test_one_attribute_is_put_back_alone(change: str, name: str) -> None:
    """With all that it holds; the others stay as they are."""
    model = Model()
    state = ModelState(model)
    CHANGES[change](model)
    model.seen.add(99)
    state.restore_one(name)
    assert not state.differs(name)
    assert state.differs("seen")
