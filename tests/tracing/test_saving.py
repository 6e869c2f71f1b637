"""Saving and loading a traced program: what is written of its weights, and that nobody's weights change."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.subject.call import bind
from pytest_torchscript.subject.parameters import place
from pytest_torchscript.tracing.execute import run
from pytest_torchscript.tracing.saving import Loaded, light_round_trip, round_trip
from pytest_torchscript.tracing.trace import quiet, trace

X = torch.randn(2, 300, generator=torch.Generator().manual_seed(0))
LARGE = 300 * 300 * 4
CODE = 40_000
"""More bytes than the files of these models have beside their weights."""


class Model(nn.Module):
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(300, 300)
        self.register_buffer("count", torch.zeros(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.count.add_(1)
        return self.linear(x), self.count


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


class Custom(nn.Module):
    """A large weight, and an operation that no file can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(300, 300)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = Double.apply(self.linear(x))
        return result


def traced(model: nn.Module, x: Tensor = X) -> Any:
    return trace(model.eval(), bind(model, (x,), {})).module


def sent(model: nn.Module, x: Tensor = X) -> tuple[Any, Loaded]:
    """A program and what became of it, which must answer alike and keep every tensor."""
    program = traced(model, x)
    with quiet(), torch.no_grad():
        loaded = light_round_trip(program)
        assert list(loaded.saved) == list(loaded.state) == list(program.state_dict())
        assert all(loaded.kept(name) for name in loaded.saved)
        answers = run(loaded.program, {"x": x}), run(program, {"x": x})
    assert torch.equal(*answers)
    return program, loaded


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each file that is loaded."""
    load, sizes = torch.jit.load, list[int]()

    def counting(buffer: io.BytesIO, *args: Any, **kwargs: Any) -> Any:
        sizes.append(buffer.getbuffer().nbytes)
        return load(buffer, *args, **kwargs)

    monkeypatch.setattr(torch.jit, "load", counting)
    return sizes


class Two(nn.Module):
    """Two square weights of 360,000 bytes, as a subclass arranges them."""

    left: Any
    right: Any

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(300, 300, bias=False), nn.Linear(300, 300, bias=False)
        self.arrange()

    def arrange(self) -> None:
        """Nothing: the weights are two."""

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) - self.right(x) * 2


class Tied(Two):
    def arrange(self) -> None:
        self.right.weight = self.left.weight


class Halves(Two):
    """Two parts of one storage, and the second under two names."""

    again: Tensor

    def arrange(self) -> None:
        fused = torch.randn(600, 300)
        self.left.weight, self.right.weight = nn.Parameter(fused[:300]), nn.Parameter(fused[300:])
        self.register_buffer("again", self.right.weight.data)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.again[0]


class Aliased(Two):
    """Buffers that are views of a parameter."""

    whole: Tensor
    row: Tensor

    def arrange(self) -> None:
        self.register_buffer("whole", self.left.weight.data)
        self.register_buffer("row", self.left.weight.data[7])

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.whole[0] + self.row


class Frozen(Two):
    def arrange(self) -> None:
        self.left.weight.requires_grad_(False)


class SameModule(Two):
    """One module under two names."""

    def arrange(self) -> None:
        self.right = self.left


class Attribute(Two):
    """A tensor that is neither parameter nor buffer, and shares the memory of one: a constant of the trace."""

    def arrange(self) -> None:
        self.table = self.left.weight.detach()[:1]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.table


class Turned(Two):
    """Weights that are not contiguous, one of them a single number read many times."""

    def arrange(self) -> None:
        self.left.weight = nn.Parameter(torch.randn(300, 300).t())
        self.right.weight = nn.Parameter(torch.randn(300, 1).expand(300, 300))


class Numbers(Two):
    """A large table of integers, and one of half precision."""

    ids: Tensor
    short: Tensor

    def arrange(self) -> None:
        self.register_buffer("ids", torch.arange(90_000).view(300, 300))
        self.register_buffer("short", torch.randn(300, 300).to(torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.ids[5] + self.short[5]


LIGHT = [Two, Tied, Halves, Aliased, Frozen, SameModule, Turned, Numbers]


# What is written


@pytest.mark.parametrize("kind", LIGHT)
def test_large_weights_are_not_written(files: list[int], kind: type[nn.Module]) -> None:
    """The file has one number for each, however they are arranged; the answer is the same."""
    program, loaded = sent(kind())
    large = {name for name, weight in program.state_dict().items() if weight.untyped_storage().nbytes() >= 60_000}
    assert loaded.light == large
    assert files[0] < CODE


@pytest.mark.parametrize("kind", [*LIGHT, Attribute])
def test_the_state_looks_as_after_a_plain_round_trip(kind: type[nn.Module]) -> None:
    """Names, dtypes, shapes, gradients, and which names are one weight or share one memory."""
    program, loaded = sent(kind())
    with quiet():
        plain = round_trip(program)
    before, after = plain.state_dict(keep_vars=True), loaded.state
    assert list(before) == list(after)
    for name, other in before.items():
        assert (after[name].dtype, after[name].shape) == (other.dtype, other.shape)
        assert loaded.program.state_dict(keep_vars=True)[name].requires_grad == other.requires_grad
        for second in before:
            assert (place(after[name]) == place(after[second])) == (place(other) == place(before[second]))
            memories = [{state[key].untyped_storage().data_ptr() for key in (name, second)} for state in (before, after)]
            assert len(memories[0]) == len(memories[1])


def test_a_constant_is_written_whole(files: list[int]) -> None:
    """It belongs to the code, and torch writes it with all of its memory; the weight that has that memory is not."""
    _, loaded = sent(Attribute())
    assert loaded.light == {"left.weight", "right.weight"}
    assert LARGE < files[0] < LARGE + CODE


def test_small_weights_are_written(files: list[int]) -> None:
    """Their bytes are compared with those that come back."""
    _, loaded = sent(nn.Linear(100, 100), X[:, :100])
    assert loaded.light == frozenset()
    assert files[0] > 100 * 100 * 4
    loaded.state["bias"][3] += 1
    assert not loaded.kept("bias")
    assert loaded.kept("weight")


class Scripted(Two):
    """A part that was compiled before: the user's own object, which the traced program holds."""

    def arrange(self) -> None:
        with quiet():
            self.right = torch.jit.script(nn.Linear(300, 300))


class TracedPart(Two):
    def arrange(self) -> None:
        with quiet():
            self.right = torch.jit.trace(nn.Sequential(nn.Linear(300, 300)), (X,))


@pytest.mark.parametrize("kind", [Scripted, TracedPart])
def test_a_script_module_of_the_users_is_written_whole(files: list[int], kind: type[Two]) -> None:
    """What else it holds cannot be listed; it stays the object that it was."""
    model = kind()
    part = model.right
    addresses = [parameter.data_ptr() for parameter in part.parameters()]
    _, loaded = sent(model)
    assert loaded.light == frozenset()
    assert files[0] > 2 * LARGE
    assert model.right is part
    assert [parameter.data_ptr() for parameter in part.parameters()] == addresses


class Marked(Tensor):
    """A subclass without a torch function of its own."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


def subclass() -> Tensor:
    return torch.randn(300, 300).as_subclass(Marked)


def quantised() -> Tensor:
    with quiet():
        return torch.quantize_per_tensor(torch.randn(300, 300), 0.1, 0, torch.qint8)


def small_float() -> Tensor:
    return torch.randn(300, 300).to(torch.float8_e5m2)


def sparse() -> Tensor:
    return torch.eye(300).to_sparse()


def on_meta() -> Tensor:
    return torch.empty(300, 300, device="meta")


class Other(nn.Module):
    """A large weight beside a buffer of another kind."""

    other: Tensor

    def __init__(self, other: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(300, 300)
        self.register_buffer("other", other)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


@pytest.mark.parametrize("make", [subclass, quantised, small_float, sparse, on_meta])
def test_tensors_of_other_kinds_are_left_to_torch(make: Any) -> None:
    """Of those a stand-in might be read otherwise; the weight beside them is a plain one."""
    _, loaded = sent(Other(make()))
    assert loaded.light == {"linear.weight"}


def test_a_conjugate_view_is_left_to_torch() -> None:
    """And so is the plain tensor in the same memory, so that both stay one."""
    model = Other(torch.view_as_complex(torch.randn(300, 300, 2)))
    model.register_buffer("turned", model.other.conj())
    with quiet():
        assert light_round_trip(traced(model)).light == {"linear.weight"}


def test_an_empty_part_of_a_large_memory_is_left_to_torch() -> None:
    """It has no element that could be written for it."""
    model = Other(torch.zeros(1))
    model.other = model.linear.weight.data[:0]
    _, loaded = sent(model)
    assert loaded.light == frozenset()


def test_the_file_knows_which_weights_require_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch writes that too, and may refuse it."""
    load, seen = torch.jit.load, dict[str, bool]()

    def looked_at(*args: Any, **kwargs: Any) -> Any:
        loaded = load(*args, **kwargs)
        seen.update({name: parameter.requires_grad for name, parameter in loaded.named_parameters()})
        return loaded

    monkeypatch.setattr(torch.jit, "load", looked_at)
    sent(Frozen())
    assert seen == {"left.weight": False, "right.weight": True}


def test_a_memory_of_two_dtypes_is_left_to_torch() -> None:
    """It refuses to load that, in the same words whatever the size."""
    model = Other(torch.zeros(1))
    model.other = model.linear.weight.data.view(torch.int32)
    program = traced(model)
    with quiet(), pytest.raises(RuntimeError) as plain:
        round_trip(program)
    with quiet(), pytest.raises(RuntimeError) as light:
        light_round_trip(program)
    assert str(light.value) == str(plain.value)


# Nobody's weights change


def test_the_models_weights_are_the_same_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even while the file is written are those of the model, or of its trace, other ones."""
    model = Tied()
    program = traced(model)
    seen = []

    def looked_at() -> list[Any]:
        parameters = [module.left.weight for module in (model, program)] + [module.right.weight for module in (model, program)]
        return [(id(parameter), parameter.data_ptr(), parameter.shape, parameter.stride()) for parameter in parameters]

    save, before = torch.jit.save, looked_at()

    def saving(*args: Any, **kwargs: Any) -> None:
        seen.append(looked_at())
        save(*args, **kwargs)
        seen.append(looked_at())

    monkeypatch.setattr(torch.jit, "save", saving)
    values = model.left.weight.detach().clone()
    with quiet():
        light_round_trip(program)
    assert seen == [before, before]
    assert looked_at() == before
    assert torch.equal(model.left.weight, values)


def test_the_weights_are_there_when_saving_fails() -> None:
    """torch's own refusal passes through, and the trace answers as before."""
    model = Custom()
    program = traced(model)
    before = run(program, {"x": X})
    addresses = [parameter.data_ptr() for parameter in program.parameters()]
    with quiet(), pytest.raises(RuntimeError, match="Could not export Python function"):
        light_round_trip(program)
    assert [parameter.data_ptr() for parameter in program.parameters()] == addresses
    assert program.linear.weight is model.linear.weight
    assert torch.equal(run(program, {"x": X}), before)


def test_the_loaded_program_runs_with_the_models_weights() -> None:
    """A large one is the model's own, in the loaded program alone; the state stays as the file gave it."""
    model = Two()
    program, loaded = sent(model)
    assert loaded.program.left.weight.data_ptr() == model.left.weight.data_ptr()
    assert loaded.state["left.weight"].untyped_storage().nbytes() == 4
    assert program.left.weight is model.left.weight


# What is told of a file that is wrong


def wider(number: Tensor) -> Tensor:
    return number.double().expand(300, 300)


def narrower(number: Tensor) -> Tensor:
    return number.expand(299, 300)


def spelled_out(number: Tensor) -> Tensor:
    return number.expand(300, 300).clone()


def another(number: Tensor) -> Tensor:
    return (number + 1).expand(300, 300)


@pytest.mark.parametrize("other", [wider, narrower, spelled_out, another])
def test_a_large_weight_that_comes_back_otherwise_is_told(monkeypatch: pytest.MonkeyPatch, other: Any) -> None:
    """By its dtype, its shape, how it lies in memory, or its one number; it stays in the loaded program as it is."""
    load = torch.jit.load

    def changed(*args: Any, **kwargs: Any) -> Any:
        loaded = load(*args, **kwargs)
        loaded.left.weight = other(loaded.left.weight.detach()[0, 0])
        return loaded

    monkeypatch.setattr(torch.jit, "load", changed)
    program = traced(Two())
    with quiet():
        loaded = light_round_trip(program)
    assert [loaded.kept(name) for name in ("left.weight", "right.weight")] == [False, True]
    assert loaded.program.left.weight.data_ptr() == loaded.state["left.weight"].data_ptr()
    assert loaded.program.right.weight.data_ptr() == program.right.weight.data_ptr()


def test_weights_that_change_places_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two weights of one shape are not one another's stand-ins."""
    load = torch.jit.load

    def changed(*args: Any, **kwargs: Any) -> Any:
        loaded = load(*args, **kwargs)
        loaded.left.weight, loaded.right.weight = loaded.right.weight, loaded.left.weight
        return loaded

    monkeypatch.setattr(torch.jit, "load", changed)
    with quiet():
        loaded = light_round_trip(traced(Two()))
    assert [loaded.kept(name) for name in ("left.weight", "right.weight")] == [False, False]


# All of it


def test_a_round_trip_gives_a_program_of_its_own() -> None:
    """What was loaded answers alike, and shares no memory with what was saved."""
    model = Model()
    module = traced(model)
    with quiet():
        loaded = round_trip(module)
    assert torch.equal(run(loaded, {"x": X})[0], run(module, {"x": X})[0])
    with torch.no_grad():
        model.linear.weight.zero_()
    assert bool(loaded.linear.weight.any())


def test_a_program_that_cannot_be_saved_says_so() -> None:
    """torch's own refusal passes through."""
    with quiet(), pytest.raises(RuntimeError, match="Could not export Python function"):
        round_trip(traced(Custom()))
