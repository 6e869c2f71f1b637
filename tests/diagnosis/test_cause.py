"""The guilty line of a specialised trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.diagnosis.cause import Cause, specialisation
from pytest_torchscript.source import Line
from pytest_torchscript.subject.call import bind
from pytest_torchscript.subject.state import ModelState

from ..corpus import guilty_places
from ..corpus.case import length_scale


def x(batch: int = 2, length: int = 6) -> Tensor:
    return torch.randn(batch, length, 4, generator=torch.Generator().manual_seed(batch * 100 + length))


def causes(model: nn.Module, right: Tensor, left: Tensor | None = None) -> list[Cause]:
    call = bind(model, (x() if left is None else left,), {})
    return specialisation(model, call, call.inputs, {"x": right}, ModelState(model).restore)


def places(found: list[Cause]) -> list[tuple[str, int]]:
    return [(cause.line.file, cause.line.line) for cause in found]


class Generic(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1) / x.shape[1]


class Baked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        n = int(x.shape[1])  # guilty
        y = x.relu()
        return y.sum(1) / n


class TwoConversions(nn.Module):
    """The batch is converted too, but the sequence is what differs."""

    def forward(self, x: Tensor) -> Tensor:
        rows = int(x.shape[0])
        n = int(x.shape[1])  # guilty
        return x.sum(1) / n + rows


class SizeBranch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 6:  # guilty
            x = x * 2
        return x


class ValueBranch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # guilty
            return x * 2
        return x * 3


class LateBranch(nn.Module):
    """A branch taken anew every time comes before the one that decides."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] > 0:
            x = x + 1
        if x.shape[1] > 6:  # guilty
            return x * 2
        return x * 3


class Loop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = x[:, 0]
        for step in range(1, x.shape[1]):  # guilty
            total = total + x[:, step]
        return total


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        scale = x.data.amax(1)  # guilty
        return x.sum(1) * scale


class ThroughNumpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        table = torch.from_numpy(x.detach().numpy().max(1))  # guilty
        y = x.sum(1)
        return y + table


class NumpyMean(nn.Module):
    """A number of NumPy's is no tensor that becomes one."""

    def forward(self, x: Tensor) -> Tensor:
        mean = np.mean(x.detach().numpy())  # guilty
        y = x * 2
        return y - float(mean)


class NumpyArray(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        array = np.asarray(x)  # guilty
        top = array.max()
        return x / float(top)


class NumpyRoot(nn.Module):
    """NumPy gives a tensor back, which the trace does not follow."""

    def forward(self, x: Tensor) -> Tensor:
        root = np.sqrt(x.shape[1])  # guilty
        y = x.sum(1)
        return y / float(root)


class NumpyOfAWeight(nn.Module):
    """What is taken of a weight is the same for all inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        scale = float(self.weight.detach().numpy().max())
        n = int(x.shape[1])  # guilty
        return x.sum(1) * scale / n


class InHelper(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        scale = length_scale(x)
        return x * scale


class Item(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        top = x.max().item()  # guilty
        return x / top


class Refusing(nn.Module):
    """Cannot be traced at other lengths at all."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 6:  # guilty
            raise ValueError("six only")
        return x


SOURCES: Mapping[type[nn.Module], Any] = {InHelper: length_scale}


@pytest.mark.parametrize(
    ("cls", "right", "where"),
    [
        (Baked, x(2, 9), "baked at"),
        (TwoConversions, x(2, 9), "baked at"),
        (SizeBranch, x(2, 9), "decided at"),
        (ValueBranch, -x().abs(), "decided at"),
        (LateBranch, x(2, 9), "decided at"),
        (Loop, x(2, 9), "baked at"),
        (Detached, x() + 1, "baked at"),
        (ThroughNumpy, x() + 1, "baked at"),
        (NumpyMean, x() + 1, "baked at"),
        (NumpyArray, x() + 1, "baked at"),
        (NumpyRoot, x(2, 9), "baked at"),
        (NumpyOfAWeight, x(2, 9), "baked at"),
        (InHelper, x(2, 9), "baked at"),
        (Item, x() + 1, "baked at"),
        (Refusing, x(2, 9), "branches at"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_likeliest_cause_is_the_guilty_line(cls: type[nn.Module], right: Tensor, where: str) -> None:
    """Of all lines that ran, the first one named is where the value left the graph, or where it was decided."""
    left = x().abs() if cls is ValueBranch else None
    found = causes(cls(), right, left)
    assert places(found)[0] in guilty_places((SOURCES.get(cls, cls),))
    assert found[0].where == where


def test_a_generic_model_has_no_cause() -> None:
    """Where the programs are the same there is nothing to blame."""
    assert causes(Generic(), x(5, 9)) == []


def test_a_cause_tells_the_value_that_was_baked() -> None:
    """As a number, or as the branch that was taken."""
    assert causes(Baked(), x(2, 9))[0].detail == "as 6"
    assert causes(SizeBranch(), x(2, 9))[0].detail == "was False, now True"
    assert causes(Detached(), x() + 1)[0].detail == "the tensor left the graph"


def test_the_use_of_a_baked_value_is_named_too() -> None:
    """The line that uses the constant follows the line that made it, with both constants."""
    first, second = causes(Baked(), x(2, 9))
    assert second.where == "used at"
    made = f"which was computed from a size at test_cause.py:{first.line.line}"
    assert second.detail == f"the constant 6, {made}, would be 9 for the other inputs"
    assert first.line.line < second.line.line


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        (Cause(Line("model.py", 1), "used at", "the constant 6 would be 9"), "the constant 6 would be 9"),
        (Cause(Line("model.py", 1), "baked at", "as 6"), "a Python value is made on this line too: as 6"),
        (Cause(Line("model.py", 1), "decided at", "was True"), "a branch is decided on this line too: it was True"),
        (Cause(Line("model.py", 1), "differs at"), "from this line on, the traced operations are others"),
        (Cause(Line("model.py", 1), "computed at"), "this line is a part of the same cause"),
    ],
)
def test_a_further_cause_is_told_in_a_sentence(cause: Cause, sentence: str) -> None:
    """It says what the line does, also where no value is known."""
    assert cause.sentence == sentence


def test_no_line_is_named_twice() -> None:
    """One line that makes and uses a constant is one cause."""

    class OneLine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1) / int(x.shape[1])  # guilty

    found = causes(OneLine(), x(2, 9))
    assert set(places(found)) == guilty_places((OneLine,))
    assert len(found) == 1


def test_a_large_constant_is_not_written_out() -> None:
    """Details stay short."""
    assert all(len(cause.detail) < 150 for cause in causes(ThroughNumpy(), x() + 1))


def test_a_branch_in_python_alone_is_found_by_its_lines() -> None:
    """No tensor is converted where Python asks for the number of axes; the lines that ran still part."""

    class ByRank(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.ndim == 3:  # guilty
                return x.sum(1)
            return x * 2

    assert places(causes(ByRank(), torch.ones(2, 4)))[0] in guilty_places((ByRank,))


def test_a_model_that_cannot_be_traced_where_it_was_still_shows_its_branch() -> None:
    """The lines that ran are known even where the graph is not."""

    class Backwards(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] == 6:  # guilty
                raise ValueError("six is refused")
            return x

    found = causes(Backwards(), x(2, 9))
    assert set(places(found)) == guilty_places((Backwards,))
    assert [cause.where for cause in found] == ["branches at"]


def test_the_model_is_put_back_between_the_two_traces() -> None:
    """A model that remembers is asked twice from the same state."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * self.calls

    model = Counting()
    assert causes(model, x(2, 9)) == []
    assert model.calls == 0
