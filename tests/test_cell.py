"""What a cell does for the checks: runs, probes, findings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.result import Finding
from pytest_torchscript.source import Line
from pytest_torchscript.tracing.trace import trace

from .checks.alone import ROOT, cell_of, guilty, place

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


class Counting(nn.Module):
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count.add_(1)  # guilty
        self.calls += 1
        return x * self.count


def test_eager_puts_the_model_back() -> None:
    """A model that counts is asked from the same state every time, unless its writes are what is looked for."""
    cell = cell_of(Counting(), (X,))
    assert torch.equal(cell.eager(), cell.eager())
    cell.eager(restore=False)
    assert float(cell.model.count) == 1  # type: ignore[arg-type]
    cell.restore()
    assert float(cell.model.count) == 0  # type: ignore[arg-type]


def test_the_program_puts_the_model_back() -> None:
    """A trace shares the model's buffers."""
    cell = cell_of(Counting(), (X,))
    program = trace(cell.model, cell.call).module
    cell.restore()
    assert torch.equal(cell.scripted(program), cell.scripted(program))
    assert float(cell.model.count) == 0  # type: ignore[arg-type]


def test_a_parameter_keeps_what_a_call_made_of_it() -> None:
    """A forward that overwrites its weights is judged with what it makes of them, until ``weights`` says so."""

    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((1,), 3.0))

        def forward(self, x: Tensor) -> Tensor:
            self.weight.data = self.weight.data / 2
            return x * self.weight

    cell = cell_of(Overwriting(), (X,))
    before = cell.model.weight.item()  # type: ignore[operator]
    cell.eager()
    assert cell.model.weight.item() == before / 2  # type: ignore[operator]


def test_findings_are_relative_to_the_root_and_show_their_source() -> None:
    """A finding can be read without opening the file."""
    cell = cell_of(Plain(), (X,))
    found = cell.finding("m", line=Line(__file__, 1, "forward"), where="baked at", path="x", hint="h", details={"a": 1})
    assert found == Finding(
        message="m",
        path="x",
        file="tests/test_cell.py",
        line=1,
        function="forward",
        source='"""What a cell does for the checks: runs, probes, findings."""',
        where="baked at",
        hint="h",
        details={"a": 1},
    )
    assert cell.finding("m").where is None
    assert (ROOT / str(found.file)).is_file()


def test_a_failure_has_cause_line_and_remedy() -> None:
    """An exception becomes a finding."""

    class Raising(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(7, 7)  # guilty

    cell = cell_of(Raising(), (X,))
    with pytest.raises(RuntimeError) as caught:
        cell.eager()
    found = cell.failure(caught.value)
    assert found.message == "RuntimeError: shape '[7, 7]' is invalid for input of size 48"
    assert {place(found)} == guilty(Raising)
    assert found.where == "raised at"
    assert "x.shape" in str(found.hint)
