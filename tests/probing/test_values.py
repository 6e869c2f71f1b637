"""Which other values are tried: joint ways that change every input, and single ones that change one thing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.cell import Cell
from pytest_torchscript.nested import identical, tensors
from pytest_torchscript.probing.values import JOINT, THAT_SHOW_SIZES, joint, joints, same, single, thorough
from pytest_torchscript.tracing.conversions import Conversion

from ..checks.alone import cell_of


class Mixed(nn.Module):
    def forward(self, x: Tensor, y: Tensor, ids: Tensor, kind: Tensor, flag: Tensor, attention_mask: Tensor) -> Tensor:
        return x * attention_mask[..., None] + y + ids[:, :, None] + kind[:, :, None] + flag[:, :, None]


def mixed() -> Cell:
    generator = torch.Generator().manual_seed(3)
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[1, 4:] = 0
    return cell_of(
        Mixed(),
        {
            "x": torch.randn(2, 6, 3, generator=generator),
            "y": torch.randn(2, 6, 3, generator=generator),
            "ids": torch.tensor([[3, 5, 9, 4, 7, 8], [6, 3, 3, 5, 9, 4]]),
            "kind": torch.tensor([[0, 1, 2, 0, 1, 2], [2, 1, 1, 0, 0, 1]]),
            "flag": torch.tensor([[True, False] * 3, [False, True] * 3]),
            "attention_mask": mask,
        },
    )


def changed(cell: Cell, inputs: Any) -> set[str]:
    """The paths of the inputs that differ from the observed ones."""
    observed = dict(tensors(cell.inputs))
    return {path for path, tensor in tensors(inputs) if not identical(tensor, observed[path])}


def guard(kind: str = "bool", *thresholds: float) -> Conversion:
    return Conversion(kind=kind, value=True, line=None, after=0, origin="value", thresholds=thresholds)


@pytest.mark.parametrize("index", range(len(JOINT)), ids=[way.name for way in JOINT])
def test_each_joint_way_changes_every_kind_of_input(index: int) -> None:
    """Floats, integers, booleans and masks, in one probe; a mask stays where the way keeps it."""
    cell = mixed()
    name, inputs = joint(cell, cell.inputs, index)
    kept = {"attention_mask"} if JOINT[index].mask is None else set()
    assert name == JOINT[index].name
    assert changed(cell, inputs) == {"x", "y", "ids", "kind", "flag", "attention_mask"} - kept
    assert {path: (t.shape, t.dtype) for path, t in tensors(inputs)} == {
        path: (t.shape, t.dtype) for path, t in tensors(cell.inputs)
    }


def test_the_joint_ways_reach_both_ends_of_what_an_input_may_hold() -> None:
    """The least and the greatest integers, true and false throughout, zeros, negative and large floats, and padding or none."""
    found = dict(joints(mixed()))
    assert [
        set(inputs["kind"].flatten().tolist())
        for inputs in (found["large and positive values"], found["zeros and least values"])
    ] == [{2}, {0}]
    assert [bool(found[name]["flag"].all()) for name in ("large and positive values", "negated values")] == [True, False]
    assert bool((found["large and positive values"]["x"] >= 0).all())
    assert float(found["large and positive values"]["x"].max()) > 500
    assert not found["zeros and least values"]["x"].any()
    assert torch.equal(found["negated values"]["x"], -mixed().inputs["x"])
    assert bool(found["large and positive values"]["attention_mask"].all())
    assert not bool(found["all values redrawn"]["attention_mask"].all())


def test_zeros_do_not_go_with_other_sizes() -> None:
    """They would hide a wrong size: the ways that show one come first."""
    assert 0 < THAT_SHOW_SIZES <= len(JOINT)
    cell = mixed()
    assert all(bool(joint(cell, cell.inputs, index)[1]["x"].any()) for index in range(THAT_SHOW_SIZES))


def test_a_joint_way_is_the_same_at_every_run() -> None:
    """No verdict depends on chance."""
    (_, one), (_, other) = (joint(mixed(), mixed().inputs, 0) for _ in range(2))
    assert same(one, other)


@pytest.mark.parametrize(
    ("label", "paths"),
    [
        ("floats times 10", {"x", "y"}),
        ("floats negated", {"x", "y"}),
        ("floats shuffled", {"x", "y"}),
        ("floats made zero", {"x", "y"}),
        ("one NaN among the floats", {"x", "y"}),
        ("one infinity among the floats", {"x", "y"}),
        ("one minus infinity among the floats", {"x", "y"}),
        ("all floats equal", {"x", "y"}),
        ("x alone negated and times 10", {"x"}),
        ("y alone negated and times 10", {"y"}),
        ("mask without padding", {"attention_mask"}),
        ("mask padded at the end", {"attention_mask"}),
        ("mask mostly padding", {"attention_mask"}),
        ("mask padded at the start", {"attention_mask"}),
        ("mask all padding", {"attention_mask"}),
        ("integers redrawn", {"ids", "kind"}),
        ("integers shuffled", {"ids", "kind"}),
        ("integers least", {"ids", "kind"}),
        ("integers greatest", {"ids", "kind"}),
        ("integers raised by 1", {"ids", "kind"}),
        ("integers lowered by 1", {"ids", "kind"}),
        ("integers last raised by 1", {"ids", "kind"}),
        ("integers first raised by 1", {"ids", "kind"}),
        ("integers halved", {"ids", "kind"}),
        ("integers raised by turns", {"ids", "kind"}),
        ("integers raised in the second half", {"ids", "kind"}),
        ("kind raised by 1", {"kind"}),
        ("ids redrawn", {"ids"}),
        ("flag inverted", {"flag"}),
        ("flag true", {"flag"}),
        ("flag false", {"flag"}),
        ("y like x", {"y"}),
    ],
)
def test_a_single_variant_changes_one_thing(label: str, paths: set[str]) -> None:
    """One kind of input, or one input: what fails then is named by it."""
    cell = mixed()
    assert changed(cell, dict(single(cell, [guard()]))[label]) == paths


@pytest.mark.parametrize(
    "label",
    [
        "floats scaled around 7",
        "x alone scaled to 7",
        "integers holding 7 at the middle position",
        "integers holding 7 at the first position",
        "integers holding 7 at the last position",
        "integers holding 7 at the every position",
        "integers without 7",
    ],
)
def test_values_lie_around_what_the_forward_compares_with(label: str) -> None:
    """The trace shows the number: without it none of these is tried."""
    cell = mixed()
    assert label in dict(single(cell, [guard("bool", 7.0)]))
    assert label not in dict(single(cell, [guard()]))


def test_floats_are_scaled_and_moved_to_both_sides_of_a_threshold() -> None:
    """Just above, far above, below and just below: their largest value, and all of them."""
    cell = mixed()
    variants = list(single(cell, [guard("bool", 7.0)]))
    scaled = [
        float(max(inputs["x"].abs().max(), inputs["y"].abs().max()))
        for label, inputs in variants
        if label.startswith("floats scaled")
    ]
    assert scaled == pytest.approx([7.35, 14.0, 14.0, 6.65], rel=1e-3)
    moved = [inputs["x"] for label, inputs in variants if label.startswith("floats moved")]
    assert [bool((x >= 7 - 1e-3).all()) for x in moved] == [True, False]
    assert bool((moved[1] <= 7 + 1e-3).all())


def test_a_number_that_left_its_tensor_is_looked_up_among_the_smallest() -> None:
    """First and last, in all integer inputs and in each."""
    labels = [label for label, _ in single(mixed(), [guard("int")])]
    for number in range(4):
        for what in ("integers", "ids", "kind"):
            assert f"{what} holding {number} at the first position" in labels
            assert f"{what} holding {number} at the last position" in labels


def test_a_float_that_left_its_tensor_may_be_huge() -> None:
    """Beyond half precision, for one."""
    assert "floats scaled by 1e5" in dict(single(mixed(), [guard("float")]))
    assert "floats scaled by 1e5" not in dict(single(mixed(), [guard("bool")]))


def test_thorough_has_every_variant() -> None:
    """Whatever a usual gate tries, a thorough one does too."""
    cell = mixed()
    labels = {label for label, _ in thorough(cell, [guard("bool", 7.0)])}
    assert labels >= {label for label, _ in single(cell, [guard("bool", 7.0)])} | {way.name for way in JOINT}


def test_an_empty_float_input_is_not_changed() -> None:
    """There is nothing to scale."""

    class Empty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    labels = [label for label, _ in single(cell_of(Empty(), (torch.zeros(0, 3),)), [guard("float", 7.0)])]
    assert not [label for label in labels if "floats" in label]


def test_the_same_values_are_known_to_be_the_same() -> None:
    """A variant of zeros is none where all is zero: it is not tried."""
    one = {"x": torch.tensor([1.0, float("nan")]), "y": [torch.tensor([2])]}
    assert same(one, {"x": torch.tensor([1.0, float("nan")]), "y": [torch.tensor([2])]})
    assert not same(one, {"x": torch.tensor([1.0, float("nan")]), "y": [torch.tensor([3])]})
