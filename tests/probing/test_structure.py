"""Probes without weights: a trace at another size must be the same program."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pytest_torchscript.probing.explored import Explored
from pytest_torchscript.probing.structure import explored_structure
from pytest_torchscript.result import UNPROBED
from pytest_torchscript.tracing.trace import trace

from ..checks.alone import cell_of


class Model(nn.Module):
    """A linear layer, and what the length does beside it."""

    def __init__(self, what: str = "") -> None:
        super().__init__()
        self.what = what
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(x)
        if self.what == "divided":
            return y / int(x.shape[1])
        if self.what == "reshaped":
            return y.reshape(int(x.shape[0]) * int(x.shape[1]), 4).reshape(x.shape[0], -1, 4)
        if self.what == "refused" and x.shape[1] != 16:
            raise ValueError("sixteen only")
        if self.what == "picky" and x.shape[1] == 7:
            raise ValueError("never seven")
        return y


def explored(model: nn.Module) -> Explored:
    with torch.device("meta"):
        model = model.to("meta")
    cell = cell_of(model, (torch.zeros(2, 16, 8, device="meta"),), weights="meta")
    return explored_structure(cell, trace(cell.model, cell.call))


def test_one_other_size_of_each_dim_and_all_together() -> None:
    """That is three traces of a healthy model: another size that gives the same program is enough."""
    found = explored(Model())
    assert {dim: found.kinds(dim) for dim in found.sizes} == {"batch": {5: "equal"}, "seq": {7: "equal"}}
    assert [record.changed for record in found.records] == ["batch 5", "seq 7", "batch 5, seq 7"]
    assert [record.outcome for record in found.records] == ["equal"] * 3
    assert found.together == ()


def test_a_constant_that_differs_is_another_program() -> None:
    """Without weights there are no values to compare: the size in the graph is the evidence."""
    found = explored(Model("divided"))
    assert (found.state("seq"), found.state("batch")) == ("unsafe", "dynamic")


def test_a_program_that_refuses_raises() -> None:
    """A loud refusal is no silent fault."""
    found = explored(Model("reshaped"))
    assert set(found.kinds("seq").values()) == {"raises"}
    assert found.state("seq") == "fixed"


def test_a_size_at_which_the_model_does_not_trace_is_outside() -> None:
    """Three sizes are tried, and not one more."""
    found = explored(Model("refused"))
    assert (found.state("seq"), len(found.kinds("seq"))) == ("untested", 3)
    assert 1 not in found.kinds("seq")


def test_after_a_size_that_is_outside_the_next_one_is_tried() -> None:
    """One refusal says nothing of the others."""
    assert explored(Model("picky")).kinds("seq") == {7: "outside", 33: "equal"}


def test_every_axis_is_accounted_for() -> None:
    """The width is not probed, and the reason is said."""
    axes = explored(Model()).axes["x"]
    assert {axis: entry.state for axis, entry in axes.items()} == {"0": "dynamic", "1": "dynamic", "2": UNPROBED}
    assert all(entry.reason for entry in axes.values())
