"""The check ``values``: fresh values of the same shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.result import Status, Verdict

from .alone import alone, cell, guilty, place

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(1, 9, (2, 6), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(6)[None] < torch.tensor([6, 4])[:, None]).long()


class SignBranch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # guilty
            return x * 2
        return x * 3


class BakedMaximum(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        top = x.abs().max().item()  # guilty
        return x, x / top


class RareToken(nn.Module):
    """A special token that random ids may miss: only a look at the comparison finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30000, 4)

    def forward(self, ids: Tensor) -> Tensor:
        h: Tensor = self.embedding(ids)
        if (ids == 12345).any():  # guilty
            h = h * 2
        return h


class FarThreshold(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.max() > 1e6:  # guilty
            return x / 10
        return x


class MaskedOnly(nn.Module):
    """Takes another way where nothing is padded."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        if bool(attention_mask.all()):  # guilty
            return x.amax(1)
        return (x * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True)


class Flagged(nn.Module):
    def forward(self, x: Tensor, flag: Tensor) -> Tensor:
        return x * 2 if bool(flag) else x * 3  # guilty


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (nn.Linear(4, 2), (X,)),
        (nn.Embedding(10, 4), (IDS,)),
        (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8)), (X,)),
    ],
    ids=["linear", "embedding", "stack"],
)
def test_a_model_without_decisions_passes(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Other values give other answers, the same ones from trace and eager."""
    result = alone("values", model, inputs)
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics["equal"] >= 2
    assert (result.metrics["outside"], result.metrics["failing"]) == (0, 0)


@pytest.mark.parametrize(
    ("build", "inputs", "variant"),
    [
        (SignBranch, (X,), "floats"),
        (RareToken, (IDS,), "integers holding 12345"),
        (FarThreshold, (X,), "floats"),
        (BakedMaximum, (X,), "floats"),
        (MaskedOnly, (X, torch.ones(2, 6, dtype=torch.int64)), "mask padded at the end"),
        (MaskedOnly, (X, MASK), "mask without padding"),
        (Flagged, (X, torch.tensor([True])), "flag inverted"),
    ],
    ids=["sign", "token", "threshold", "maximum", "mask of ones", "mask", "flag"],
)
def test_a_decision_on_values_fails_at_its_line(build: Callable[[], nn.Module], inputs: tuple[Any, ...], variant: str) -> None:
    """Silently wrong for other values: which, by how much, and the line that decided."""
    result = alone("values", build(), inputs)
    assert result.verdict is Verdict.VALUE_SPECIALISED
    finding = result.findings[0]
    assert finding.message.startswith("the trace is silently wrong for other values of the same shape (")
    assert variant in finding.message
    assert place(finding) in guilty(build)
    assert variant in finding.details["variant"]
    assert finding.details["max_abs"] > finding.details["allowed"]
    assert finding.hint is not None
    assert result.metrics["failing"] >= 1


def test_the_wrong_leaf_alone_is_named() -> None:
    """An output that is right is not mentioned."""
    result = alone("values", BakedMaximum(), (X,))
    assert {finding.path for finding in result.findings if finding.path} == {"[1]"}


@pytest.mark.parametrize("place", [0, 3, -1], ids=["first", "middle", "last"])
def test_a_token_is_tried_at_every_place(place: int) -> None:
    """A start token, an end token, one in between."""

    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(30000, 4)

        def forward(self, ids: Tensor) -> Tensor:
            h: Tensor = self.embedding(ids)
            return h * 2 if bool((ids[:, place] == 12345).any()) else h

    result = alone("values", Asking(), (IDS,))
    assert result.verdict is Verdict.VALUE_SPECIALISED
    assert "integers holding 12345" in result.findings[0].message


def test_more_of_the_same_is_not_tried() -> None:
    """A single failing variant tells what there is to tell."""
    assert alone("values", SignBranch(), (X,)).metrics["failing"] == 1


def test_a_program_that_refuses_other_values_fails() -> None:
    """Where eager answers, a refusal is no answer: the user's own values are other ones."""

    class Counted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            count = int((x[0, 0] > 0).sum())  # guilty
            return x[0, 0][x[0, 0] > 0].reshape(count).sum() + x

    result = alone("values", Counted(), (X.abs() * torch.tensor([1.0, -1.0, 1.0, -1.0]),))
    assert result.verdict is Verdict.VALUE_SPECIALISED
    finding = result.findings[0]
    assert finding.message.startswith("the trace refuses other values that eager accepts (")
    assert "shape '[2]' is invalid" in finding.message
    assert {place(finding)} == guilty(Counted)


def test_values_that_eager_refuses_are_outside() -> None:
    """They are counted, and no failure."""

    class Small(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if bool((x > 100).any()):
                raise ValueError("too large")
            return x * 2

    result = alone("values", Small(), (X.abs() + 1,))
    assert result.status is Status.PASSED
    assert result.metrics["outside"] > 0
    assert result.metrics["equal"] > 0


def test_a_domain_of_one_value_is_told() -> None:
    """Where eager refuses everything else, nothing is known, and the report says so."""

    class OnlyThis(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not torch.jit.is_tracing() and not torch.equal(x, X):
                raise ValueError("only this")
            return x * 2

    result = alone("values", OnlyThis(), (X,))
    assert result.status is Status.PASSED
    assert result.metrics["equal"] == 0
    assert "nothing is known about other values" in result.findings[0].message


@pytest.mark.parametrize("threshold", [math.nan])
def test_a_comparison_with_what_is_not_finite_is_no_crash(threshold: float) -> None:
    """NaN equals nothing, and is no number to draw around."""

    class Guarded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if (x == threshold).any():
                return x.nan_to_num()
            return x * 2

    assert alone("values", Guarded(), (X,)).status is Status.PASSED


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_guard_against_what_is_not_finite_is_tried(value: float) -> None:
    """Where the forward asks its inputs for values, an infinity and a NaN among them are two of them."""

    class Guard(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if bool((x.isnan() if math.isnan(value) else x == value).any()):  # guilty
                return x.nan_to_num(0.0, 0.0, 0.0)
            return x * 2

    result = alone("values", Guard(), (X,))
    assert result.verdict is Verdict.VALUE_SPECIALISED
    assert place(result.findings[0]) in guilty(Guard)


def test_integers_are_drawn_from_the_vocabulary() -> None:
    """An embedding shows which ids there are: a table for the seen ones alone is found out."""

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(1000, 4)

        def forward(self, ids: Tensor) -> Tensor:
            h: Tensor = self.embedding(ids)
            return h * 2 if bool((ids > 500).any()) else h  # guilty

    result = alone("values", Table(), (IDS,))
    assert result.verdict is Verdict.VALUE_SPECIALISED
    assert place(result.findings[0]) in guilty(Table)


def test_integers_without_a_table_stay_within_what_was_seen() -> None:
    """An index that the model was never given may be none at all."""

    class Gather(nn.Module):
        def forward(self, x: Tensor, index: Tensor) -> Tensor:
            return x.gather(1, index[..., None].expand(2, 6, 4) % 6)

    result = alone("values", Gather(), (X, IDS % 6))
    assert (result.status, result.metrics["outside"]) == (Status.PASSED, 0)


def test_a_mask_padded_at_the_start_is_a_note_for_those_who_pad_at_the_end() -> None:
    """Who never pads there reads it and passes; who does, fails."""

    class EndOnly(nn.Module):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            if bool((attention_mask[0, 0] == 0) & attention_mask.any()):
                return x * 2
            return x * attention_mask[..., None]

    ending = alone("values", EndOnly(), (X, MASK))
    assert ending.status is Status.PASSED
    assert "padded at the start" in ending.findings[0].message
    starting = alone("values", EndOnly(), (X, MASK.flip(0, 1)))
    assert starting.verdict is Verdict.VALUE_SPECIALISED


def test_a_marker_can_skip_it() -> None:
    """With a reason, and shapes then uses the observed values."""
    found = cell(SignBranch(), (X,), skip={"values": "the sign is fixed in production"})
    assert found.check("values").reason == "the sign is fixed in production"


def test_meta_weights_have_no_values() -> None:
    """There are no numbers to compare."""
    assert cell(nn.Linear(4, 2), (X,), weights="meta").check("values").reason == "meta weights"
