"""What two runs of a model show."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.gate import call_of
from pytest_torchscript.subject.state import ModelState
from pytest_torchscript.survey import Survey, integers, overwritten, surveyed


def survey(model: nn.Module, inputs: Any) -> Survey:
    model.eval()
    return surveyed(model, call_of(model, inputs), ModelState(model))


class Table(nn.Module):
    def __init__(self, padding_idx: int | None = None, offset: int = 0) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 4, padding_idx=padding_idx)
        self.offset = offset

    def forward(self, ids: Tensor, kind: Tensor) -> Tensor:
        looked: Tensor = self.table(ids + self.offset)
        return looked * kind[..., None]


class Counts(nn.Module):
    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(1))
        self.weight = nn.Parameter(torch.ones(3))
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.mul_(2)
        self.steps += 1
        self.last = x
        return x * self.steps


class Writes(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.add_(1) + y.add_(0)


def test_both_outputs_are_kept() -> None:
    """The second run starts from what the first one left."""
    first, second = survey(Counts(), (torch.ones(3),)).outputs
    assert (first.tolist(), second.tolist()) == ([1.0] * 3, [2.0] * 3)


def test_what_the_first_run_changed_of_the_model_is_named() -> None:
    """Parameters, buffers and attributes, each by its name."""
    found = survey(Counts(), (torch.ones(3),))
    assert (found.parameters, found.buffers) == (("weight",), ("steps",))
    assert any("last" in name for name in found.attributes)
    assert found.error is None


def test_a_model_that_keeps_nothing_has_nothing_named() -> None:
    """No false alarm."""
    found = survey(nn.Linear(3, 2), (torch.ones(2, 3),))
    assert (found.parameters, found.buffers, found.attributes, found.inputs, found.touched) == ((), (), (), (), ())


def test_buffers_and_attributes_are_put_back() -> None:
    """The checks begin with the model as it was."""
    model = Counts()
    survey(model, (torch.ones(3),))
    assert model.steps.tolist() == [0.0]
    assert model.last is None


def test_inputs_that_are_overwritten_are_told_from_those_written_with_their_own_values() -> None:
    """The call keeps its inputs: a copy is given."""
    x, y = torch.ones(3), torch.ones(3)
    found = survey(Writes(), (x, y))
    assert (found.inputs, found.touched) == (("x",), ("y",))
    assert x.tolist() == [1.0] * 3


def test_an_error_is_kept_for_the_check_eager() -> None:
    """It is not raised, and there are no outputs."""
    found = survey(nn.Linear(3, 2), (torch.ones(2, 4),))
    assert isinstance(found.error, RuntimeError)
    assert found.outputs == ()


IDS, KIND = torch.tensor([[3, 5, 9]]), torch.tensor([[1, 2, 1]])


def test_an_embedding_tells_the_range_of_its_ids() -> None:
    """Of the input that it looks up, not of the other one."""
    assert survey(Table(), (IDS, KIND)).ranges == {"ids": (0, 50)}


def test_ids_that_are_changed_before_have_no_known_range() -> None:
    """An offset makes other ids: the table's length is not theirs."""
    assert survey(Table(offset=1), (IDS, KIND)).ranges == {}


@pytest.mark.parametrize(("padding_idx", "expected"), [(None, {}), (7, {"ids": 7})])
def test_an_embedding_tells_what_pads(padding_idx: int | None, expected: dict[str, int]) -> None:
    """By its padding_idx, where it has one."""
    assert survey(Table(padding_idx), (IDS, KIND)).pad_values == expected


def test_no_hook_is_left_behind() -> None:
    """The embeddings are as before."""
    model = Table()
    survey(model, (IDS, KIND))
    assert not model.table._forward_pre_hooks


def test_overwritten_inputs_by_their_paths() -> None:
    """Nested ones too; an input that came or went is one."""
    before = {"x": torch.ones(2), "pair": (torch.ones(2), torch.zeros(2))}
    assert overwritten(before, {"x": torch.ones(2), "pair": (torch.ones(2), torch.zeros(2))}) == []
    assert overwritten(before, {"x": torch.ones(2), "pair": (torch.ones(2), torch.ones(2))}) == ["pair[1]"]
    assert overwritten(before, {"pair": (torch.ones(2), torch.zeros(2)), "z": torch.ones(2)}) == ["x", "z"]


def test_integers_are_neither_floats_nor_booleans() -> None:
    """By path, nested ones too."""

    class Many(nn.Module):
        def forward(self, x: Tensor, ids: Tensor, flag: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
            return x

    call = call_of(
        Many(), (torch.ones(2), torch.ones(2).long(), torch.ones(2).bool(), (torch.ones(2).int(), torch.ones(2) * 1j))
    )
    assert set(integers(call)) == {"ids", "pair[0]"}
