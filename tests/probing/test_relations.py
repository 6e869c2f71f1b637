"""Axes that change together with a dim which eager refuses alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.probing.relations import Related, Relation, related
from pytest_torchscript.subject.inputs import Dims

from ..checks.alone import cell_of


class First(nn.Module):
    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        return x


class Two(nn.Module):
    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return x


class Step(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor, past: Tensor) -> Tensor:
        return past


def ways(
    model: nn.Module, inputs: Any, axes: dict[str, dict[int, str]], dim: str, guessed: set[str] | None = None
) -> list[Related]:
    return list(related(cell_of(model, inputs), Dims(axes), dim, guessed or set()))


SQUARE = (torch.zeros(2, 6, 8), torch.zeros(2, 6, 6))


def test_free_axes_of_the_same_size_are_tied() -> None:
    """A bias for each pair of positions has the length on two axes."""
    first = ways(Two(), SQUARE, {"x": {0: "batch", 1: "seq"}, "other": {0: "batch"}}, "seq")[0]
    assert first.dims.axes == {"x": {0: "batch", 1: "seq"}, "other": {0: "batch", 1: "seq", 2: "seq"}}
    assert first.relations == ()
    assert first.why == "other axes have the size of seq"


@pytest.mark.parametrize(
    ("guessed", "tied"), [(set(), {0: "batch", 1: "height", 2: "seq"}), ({"height"}, {0: "batch", 1: "seq", 2: "seq"})]
)
def test_only_a_guessed_name_is_taken(guessed: set[str], tied: dict[int, str]) -> None:
    """An axis that has a name of its own is another dim; one that was guessed to be the height may be the length."""
    first = ways(Two(), SQUARE, {"x": {0: "batch", 1: "seq"}, "other": {0: "batch", 1: "height"}}, "seq", guessed)[0]
    assert first.dims.axes["other"] == tied


def test_the_batch_of_a_state_may_lie_behind_its_layers() -> None:
    """Two layers and a batch of two: the first axis of the state is moved to the second one."""
    inputs = (torch.zeros(2, 5, 8), torch.zeros(2, 2, 16))
    found = ways(Two(), inputs, {"x": {0: "batch", 1: "seq"}, "other": {0: "batch"}}, "batch")
    assert [entry.why for entry in found[:2]] == ["other axes have the size of batch", "batch lies elsewhere"]
    assert found[0].dims.axes["other"] == {0: "batch", 1: "batch"}
    assert found[1].dims.axes["other"] == {1: "batch"}


def test_the_first_input_is_not_moved() -> None:
    """By it the dim was named."""
    found = ways(Two(), (torch.zeros(2, 2, 8), torch.zeros(2, 30)), {"x": {0: "batch"}, "other": {0: "batch"}}, "batch")
    assert "batch lies elsewhere" not in [entry.why for entry in found]


def test_a_mask_follows_the_cache_that_it_covers() -> None:
    """A mask of the past and of the new token is longer by one, whatever the past is."""
    inputs = (torch.ones(2, 1).long(), torch.ones(2, 6).long(), torch.zeros(2, 4, 5, 8))
    axes = {"input_ids": {0: "batch", 1: "seq"}, "attention_mask": {0: "batch"}, "past": {0: "batch", 2: "past"}}
    found = ways(Step(), inputs, axes, "past")[0]
    assert found.dims.axes["attention_mask"] == {0: "batch", 1: "past+1"}
    assert found.relations == (Relation("past+1", "past", offset=1),)
    assert found.relations[0].size(9) == 10


def test_integers_follow_before_floats_do() -> None:
    """A mask counts positions; that a width is near the length is chance."""
    axes = {"input_ids": {0: "batch", 1: "seq"}, "attention_mask": {0: "batch"}, "past": {0: "batch", 2: "past"}}
    inputs = (torch.ones(2, 1).long(), torch.ones(2, 6).long(), torch.zeros(2, 4, 5, 8))
    assert all(set(found.dims.axes["past"].values()) == {"batch", "past"} for found in ways(Step(), inputs, axes, "past"))


def test_pairs_that_are_flattened_follow_as_a_square() -> None:
    """Four positions have sixteen pairs."""
    inputs = (torch.zeros(2, 4, 8), torch.zeros(2, 16, 30))
    found = ways(Two(), inputs, {"x": {0: "batch", 1: "seq"}, "other": {0: "batch"}}, "seq")[-1]
    assert found.relations == (Relation("seq*seq", "seq", power=2),)
    assert found.dims.axes["other"] == {0: "batch", 1: "seq*seq"}
    assert found.relations[0].size(5) == 25


@pytest.mark.parametrize(("length", "relation"), [(12, "seq+8"), (13, None), (3, "seq-1"), (1, "seq-3")])
def test_only_a_near_size_follows(length: int, relation: str | None) -> None:
    """A size that is farther off than eight is another one."""
    inputs = (torch.zeros(2, 4, 30), torch.zeros(2, length, 30))
    found = ways(Two(), inputs, {"x": {0: "batch", 1: "seq"}, "other": {0: "batch"}}, "seq")
    assert [entry.name for way in found for entry in way.relations] == ([relation] if relation else [])


def test_from_a_size_of_one_nothing_follows() -> None:
    """Every small size is near one."""
    inputs = (torch.zeros(2, 1, 30), torch.zeros(2, 3, 30))
    assert ways(Two(), inputs, {"x": {0: "batch", 1: "seq"}, "other": {0: "batch"}}, "seq") == []
