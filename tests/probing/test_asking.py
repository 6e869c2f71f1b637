"""One probe: with other values first, with the observed ones second, and what it says of values and of sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.probing.asking import Asking
from pytest_torchscript.probing.relations import Relation
from pytest_torchscript.subject.inputs import Dims
from pytest_torchscript.tracing.trace import trace

from ..checks.alone import cell_of

FRESH, OBSERVED = "seq 9; all values redrawn", "seq 9"


class Eager(nn.Module):
    """Positive values at lengths up to twelve."""

    refuses_values = False

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 12 or (self.refuses_values and not torch.jit.is_tracing() and bool((x != 1).any())):
            raise ValueError("refused")
        return x.cumsum(1)


class ForOnesOnly(Eager):
    refuses_values = True


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x - 1


class Program(nn.Module):
    """A program in place of the trace: wrong for some sizes, or for some values."""

    def __init__(self, *, size: bool = False, values: bool = False) -> None:
        super().__init__()
        self.size, self.values = size, values

    def forward(self, x: Tensor) -> Tensor:
        wrong = (self.size and x.shape[1] != 6) or (self.values and bool((x != 1).any()))
        return x.cumsum(1) + (1.0 if wrong else 0.0)


def asking(model: nn.Module, program: nn.Module | None = None) -> Asking:
    cell = cell_of(model, (torch.ones(2, 6, 4),))
    traced = trace(cell.model, cell.call)
    if program is not None:
        traced = replace(traced, module=program, conversions=())
    found = Asking(cell, traced, cell.dims)
    found.note_decisions()
    return found


def told(ask: Asking) -> list[tuple[str, str]]:
    return [(record.changed, record.outcome) for record in ask.records]


def test_other_values_go_with_another_size() -> None:
    """Where they are right, one probe says both."""
    ask = asking(Eager(), Program())
    found, inputs = ask.sizes({"seq": 9}, 0, why="other sizes")
    assert found.kind == "equal"
    assert told(ask) == [(FRESH, "equal")]
    assert inputs["x"].shape == (2, 9, 4)
    assert bool((inputs["x"] != 1).any())
    assert (ask.equal, ask.outside, ask.failing) == (1, 0, [])


def test_values_that_eager_refuses_hide_no_size() -> None:
    """The observed ones, repeated, are tried second."""
    ask = asking(ForOnesOnly(), Program())
    found, inputs = ask.sizes({"seq": 9}, 0, why="other sizes")
    assert found.kind == "equal"
    assert told(ask) == [(FRESH, "outside"), (OBSERVED, "equal")]
    assert bool((inputs["x"] == 1).all())
    assert ask.equal == 0


def test_a_size_is_to_blame_where_the_observed_values_are_wrong_too() -> None:
    """No value is told for it."""
    ask = asking(Eager(), Program(size=True))
    found, _ = ask.sizes({"seq": 9}, 0, why="other sizes")
    assert found.kind == "wrong"
    assert told(ask) == [(FRESH, "wrong"), (OBSERVED, "wrong")]
    assert ask.failing == []


def test_values_are_to_blame_where_they_are_wrong_at_the_traced_size() -> None:
    """The size is right with the observed values, and the same values are wrong without another size."""
    ask = asking(Eager(), Program(values=True))
    found, _ = ask.sizes({"seq": 9}, 0, why="other sizes")
    assert found.kind == "equal"
    assert told(ask) == [(FRESH, "wrong"), (OBSERVED, "equal"), ("all values redrawn", "wrong")]
    assert [factor.changed for factor in ask.failing] == ["all values redrawn"]


def test_a_dim_that_eager_refuses_is_asked_once_from_then_on() -> None:
    """With several values at the first size, with one at the others."""
    ask = asking(Eager(), Program())
    assert ask.sizes({"seq": 13}, 0, why="")[0].kind == "outside"
    assert [outcome for _, outcome in told(ask)] == ["outside", "outside"]
    assert ask.sizes({"seq": 25}, 1, why="")[0].kind == "outside"
    assert told(ask)[2:] == [("seq 25", "outside")]
    ask.related(ask.dims, ())
    ask.sizes({"seq": 26}, 1, why="")
    assert len(ask.records) == 5


def test_the_probes_differ_in_their_values() -> None:
    """The number of the probe chooses how."""
    ask = asking(Eager(), Program())
    ways = [ask.sizes({"seq": 9}, number, why="")[1]["x"] for number in range(4)]
    assert not any(torch.equal(ways[one], ways[other]) for one, other in ((0, 1), (0, 2), (1, 2)))
    assert torch.equal(ways[0], ways[3])


def test_a_forward_that_decides_by_values_keeps_its_way() -> None:
    """Redrawn values that take another way are no probe of a size: the observed ones are."""
    ask = asking(Decides())
    found, _ = ask.sizes({"seq": 12}, 0, why="")
    assert found.kind == "equal"
    assert ask.failing == []


def test_sizes_that_follow_go_along() -> None:
    """A mask that covers the past is as long as the relation says; a size below one is not asked at all."""

    class Step(nn.Module):
        def forward(self, past: Tensor, attention_mask: Tensor) -> Tensor:
            return past.sum(1) * attention_mask.sum(1, keepdim=True)

    cell = cell_of(Step(), (torch.ones(2, 5, 3), torch.ones(2, 4)))
    ask = Asking(cell, trace(cell.model, cell.call), cell.dims)
    dims = Dims({"past": {0: "batch", 1: "past"}, "attention_mask": {0: "batch", 1: "past-1"}})
    ask.related(dims, (Relation("past-1", "past", offset=-1),))
    _, inputs = ask.sizes({"past": 9}, 0, why="")
    assert inputs["past"].shape[1] == 9
    assert inputs["attention_mask"].shape[1] == 8
    asked = len(ask.records)
    assert ask.sizes({"past": 1}, 0, why="")[0].kind == "outside"
    assert len(ask.records) == asked


@pytest.mark.parametrize(("program", "kind"), [(Program(), "equal"), (Program(values=True), "wrong")])
def test_a_probe_of_values_is_counted(program: nn.Module, kind: str) -> None:
    """What is wrong is left to the caller."""
    ask = asking(Eager(), program)
    assert ask.values("doubled", {"x": torch.ones(2, 6, 4) * 2}, why="w").kind == kind
    assert (ask.equal, ask.failing) == (int(kind == "equal"), [])
    assert ask.values("refused", {"x": torch.ones(2, 13, 4)}, why="w").kind == "outside"
    assert ask.outside == 1
    assert {(record.check, record.why) for record in ask.records} == {("values", "w")}


def test_an_input_that_is_overwritten_at_other_values_is_noted() -> None:
    """With the inputs that show it; what the model keeps whole is not."""

    class Clips(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp_(max=1.0) * 2

    ask = asking(Clips())
    ask.values("larger", {"x": torch.full((2, 6, 4), 3.0)}, why="")
    assert list(ask.overwritten) == ["x"]
    assert bool((ask.overwritten["x"]["x"] == 3).all())
