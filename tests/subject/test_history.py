"""Whether an answer depends on an earlier call."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.subject.effects import effects_of
from pytest_torchscript.subject.history import Dependence, dependence, overwritten

FIRST = {"x": torch.tensor([1.0, 2.0])}
OTHERS = [("like it", dict(FIRST)), ("another", {"x": torch.tensor([3.0, 5.0])}), ("longer", {"x": torch.ones(3)})]


def found(model: nn.Module) -> Dependence | None:
    with effects_of(model) as effects:
        model(**FIRST)
    return dependence(
        effects[0], lambda inputs: model(**inputs), FIRST, OTHERS, lambda left, right: not torch.equal(left, right)
    )


class Kept(nn.Module):
    """The first input is kept; the others are written beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Tensor | None = None
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.map = x * 2
        self.noted = True
        if self.kept is None:
            self.kept = x.clone()
        return x + self.kept


class KeptLength(Kept):
    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = torch.ones(len(x))
        return x + self.kept


class Table(Kept):
    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None or len(self.kept) < len(x):
            self.kept = torch.arange(float(len(x) + 4))
        return x + self.kept[: len(x)]


class DrawsWeights(Kept):
    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = torch.rand(3)
        return x + self.kept[: len(x)]


class Everywhere(Kept):
    """Two attributes that hold the same: neither alone explains it."""

    other: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = x.clone()
        if self.other is None:
            self.other = x.clone()
        return x + self.kept + self.other


def test_the_input_that_is_answered_otherwise_is_told() -> None:
    """With what carries it, the answer after the first call and the one without."""
    told = found(Kept())
    assert told is not None
    assert (told.label, told.names, told.error) == ("another", ("kept",), None)
    assert (told.later.tolist(), told.alone.tolist()) == ([4, 7], [6, 10])


def test_a_refusal_after_the_first_call_is_told() -> None:
    """An input that a fresh model accepts."""
    told = found(KeptLength())
    assert told is not None
    assert (told.label, told.names, type(told.error)) == ("longer", ("kept",), RuntimeError)


def test_attributes_of_which_none_alone_explains_it_are_all_told() -> None:
    """They belong together."""
    told = found(Everywhere())
    assert told is not None
    assert told.names == ("kept", "other")


def test_a_table_that_no_value_went_into_is_none() -> None:
    """It is the same after any call, or made anew where it is too short."""
    assert found(Table()) is None


def test_weights_drawn_in_the_first_call_are_none() -> None:
    """A fresh model answers otherwise every time: that is no memory."""
    assert found(DrawsWeights()) is None


class Counted(Kept):
    """The first call is answered otherwise; every call writes the counter."""

    def forward(self, x: Tensor) -> Tensor:
        self.map = x * 2
        self.calls += 1
        return x * 2 if self.calls > 1 else x


class PreviousInput(Kept):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        previous, self.kept = self.kept, x
        return x if previous is None else x - previous.sum()


@pytest.mark.parametrize(("model", "name"), [(Counted, "calls"), (PreviousInput, "kept")])
def test_what_every_call_makes_anew_and_the_next_reads_is_told(model: type[nn.Module], name: str) -> None:
    """A counter and the last input are read, a map is not."""
    told = found(model())
    assert told is not None
    assert told.names == (name,)


class NeedsTraining(Kept):
    """Has in eval mode what a call in train mode has set."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.scale = 2.0
        return x * self.scale


class Workspace(nn.Module):
    """One buffer is written by every call, one by the first, one is replaced."""

    every: Tensor
    once: Tensor
    new: Tensor
    ready = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("every", "once", "new"):
            self.register_buffer(name, torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.every.copy_(x)
        self.new = x * 2
        if not self.ready:
            self.ready = True
            self.once.copy_(torch.arange(2.0) + 1)
        return x + self.every + self.once


def test_an_input_that_is_refused_without_the_observed_call_is_told() -> None:
    """A program that loads the weights and calls the model has made no such call."""
    told = found(NeedsTraining())
    assert told is not None
    assert (told.label, told.names, type(told.error)) == ("the observed input", ("scale",), AttributeError)


def test_buffers_that_every_call_writes_are_told() -> None:
    """In place and with other values; the model is as it was afterwards."""
    model = Workspace()
    with effects_of(model) as effects:
        model(**FIRST)
    assert set(effects[0].buffers) == {"every", "once", "new"}
    assert overwritten(effects[0], lambda inputs: model(**inputs), FIRST, OTHERS[1][1]) == ["every"]
    assert overwritten(effects[0], lambda inputs: model(**inputs), FIRST, FIRST) == []
    assert overwritten(effects[0], lambda inputs: model(**inputs), FIRST, {"y": 1}) == []
    assert torch.equal(model.every, FIRST["x"])
