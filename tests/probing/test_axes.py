"""Which axes are probed, and that every axis of every input is accounted for."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.cell import Cell
from pytest_torchscript.probing.axes import accounted, guessed, probed_dims
from pytest_torchscript.result import UNPROBED
from pytest_torchscript.subject.inputs import Dims
from pytest_torchscript.tracing.trace import trace

from ..checks.alone import cell_of


def probed(model: nn.Module, inputs: Any, **arguments: Any) -> tuple[Cell, Dims]:
    cell = cell_of(model, inputs, **arguments)
    return cell, probed_dims(cell, trace(cell.model, cell.call).conversions)


class Whole(nn.Module):
    def __init__(self, read: str = "", axis: int = -1, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.read, self.axis, self.layer = read, axis, layer

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x) if self.layer is not None else x
        if self.read == "int":
            y = y / int(x.shape[self.axis])
        if self.read == "sqrt":
            y = y / math.sqrt(x.shape[self.axis])
        if self.read == "computed":
            y = y / int(y.shape[self.axis])
        if self.read == "value" and x.sum() > 0:
            y = y + 1
        return y


class Cached(nn.Module):
    def forward(self, x: Tensor, past_key: Tensor) -> Tensor:
        return torch.cat([past_key, x], 2)


@pytest.mark.parametrize(
    ("model", "shape", "axes"),
    [
        (Whole(), (2, 16, 8), {0: "batch", 1: "seq"}),
        (Whole(layer=nn.Conv2d(3, 3, 3)), (2, 3, 8, 8), {0: "batch", 2: "height", 3: "width"}),
        (Whole(), (2, 5, 8, 8), {0: "batch"}),
        (Whole(), (2, 3, 8, 8), {0: "batch", 2: "height", 3: "width"}),
        (Whole("int", 2), (2, 5, 7, 8), {0: "batch", 2: "x[2]"}),
        (Whole("sqrt", -1), (2, 5, 6, 7), {0: "batch"}),
        (Whole("value"), (2, 5, 7, 8), {0: "batch"}),
        (Whole("computed", 2, nn.Linear(8, 8)), (2, 5, 7, 8), {0: "batch", 2: "x[2]"}),
    ],
    ids=["sequence", "image", "no image", "three channels", "int", "scale of attention", "value", "computed"],
)
def test_the_axes_that_are_probed(model: nn.Module, shape: tuple[int, ...], axes: dict[int, str]) -> None:
    """Images of models that convolve, and each axis whose size the forward takes; not the width by which attention scales."""
    _, dims = probed(model, (torch.randn(shape),))
    assert {axis: dim for axis, dim in dims.axes["x"].items() if axis in axes} == axes
    assert set(dims.axes["x"]) == set(axes)


def test_the_last_size_as_a_float_is_the_time_where_the_model_convolves_over_time() -> None:
    """There it is no width."""
    _, dims = probed(Whole("sqrt", -1, nn.Conv1d(4, 4, 3, padding=1)), (torch.randn(2, 4, 20),))
    assert dims.axes["x"][2] == "time"


def test_a_cache_varies_along_its_past() -> None:
    """By its name alone: nothing in the trace tells that it grows."""
    _, dims = probed(Cached(), (torch.randn(2, 4, 1, 8), torch.randn(2, 4, 5, 8)))
    assert dims.axes["past_key"] == {0: "batch", 2: "past"}


def test_declared_dims_are_all_the_dims() -> None:
    """Nothing is guessed beside what the marker names."""
    cell, dims = probed(Whole("int", 2), (torch.randn(2, 5, 7, 8),), dims={"x": {0: "batch"}})
    assert dims.axes == cell.dims.axes
    assert guessed(cell, dims) == set()


def test_what_nobody_named_is_a_guess() -> None:
    """A guess that eager refutes is dropped; a name is not."""
    cell, dims = probed(Whole("int", 2), (torch.randn(2, 5, 7, 8),))
    assert guessed(cell, dims) == {"x[2]"}


@pytest.mark.parametrize("arguments", [{}, {"dims": {"x": {0: "batch"}}}])
def test_every_axis_of_every_input_is_accounted_for(arguments: dict[str, Any]) -> None:
    """By its dim and state, or with the reason why no other size was tried: none is passed over in silence."""

    class Many(nn.Module):
        def forward(self, x: Tensor, pair: tuple[Tensor, Tensor], scale: Tensor, kept: Tensor) -> Tensor:
            return x.sum() + pair[0].sum() + pair[1].sum() + scale + kept.sum()

    inputs = (torch.randn(2, 16, 8), (torch.randn(2, 4), torch.randn(1, 5, 6, 7)), torch.tensor(1.0), torch.randn(3))
    cell, dims = probed(Many(), inputs, **arguments)
    found = accounted(cell, dims, {"batch": "dynamic", "seq": "unsafe"}, {"batch": "right at 3", "seq": "wrong at 7"})
    assert {path: set(axes) for path, axes in found.items()} == {
        "x": {"0", "1", "2"},
        "pair[0]": {"0", "1"},
        "pair[1]": {"0", "1", "2", "3"},
        "scale": set(),
        "kept": {"0"},
    }
    assert (found["x"]["0"].dim, found["x"]["0"].state, found["x"]["0"].reason) == ("batch", "dynamic", "right at 3")
    entries = [entry for axes in found.values() for entry in axes.values()]
    assert all(entry.reason for entry in entries)
    assert all((entry.dim is None) == (entry.state == UNPROBED) for entry in entries)


@pytest.mark.parametrize(
    ("arguments", "axis", "word"),
    [
        ({"dims": {"x": {1: "seq"}}}, "0", "dims= does not name it"),
        ({}, "1", "size 1"),
        ({}, "2", "nothing says that it varies"),
    ],
)
def test_an_axis_that_is_not_probed_says_why(arguments: dict[str, Any], axis: str, word: str) -> None:
    """The reason is of this axis, and tells what to do."""
    cell, dims = probed(Whole(), (torch.randn(2, 1, 8, 4),), **({"dims": {"x": {1: "seq"}}} if arguments else {}))
    entry = accounted(cell, dims, {}, {})["x"][axis]
    assert (entry.dim, entry.state) == (None, UNPROBED)
    assert word in entry.reason


def test_rows_of_a_nested_tensor_are_not_repeated() -> None:
    """Such an input has axes, and none of them is tried."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates quantised tensors
        rows = torch.quantize_per_channel(torch.randn(2, 3), torch.ones(2), torch.zeros(2).long(), 0, torch.qint8)
    cell = cell_of(Whole(), (rows,))
    assert {entry.reason for entry in accounted(cell, Dims(), {}, {})["x"].values()} == {
        "the rows of a nested or quantised tensor are not repeated"
    }
