"""The check ``device``: constants that pin a trace to one device."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.cell import Cell
from pytest_torchscript.checks import Evidence, device
from pytest_torchscript.result import Status

from .alone import alone, cell, cell_of, check_named, guilty, judged, place

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Free(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale * 2 + x.new_ones(4)  # type: ignore[operator]


class ConstantTensor(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        table = torch.tensor([1.0, 2.0, 3.0, 4.0])  # guilty
        return x + table


class MadeOnCpu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        positions = torch.arange(x.shape[1])  # guilty
        return x + positions[:, None]


class Many(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.tensor([1.0] * 4)
        x = x + torch.tensor([2.0] * 4)
        x = x + torch.tensor([3.0] * 4)
        x = x + torch.tensor([4.0] * 4)
        x = x + torch.tensor([5.0] * 4)
        x = x + torch.tensor([6.0] * 4)
        return x + torch.tensor([7.0] * 4)


class Number(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.maximum(torch.tensor(0.5))


def test_buffers_and_what_is_made_like_an_input_may_say_where_they_are() -> None:
    """A buffer moves with the module, and a Python number lives on every device: neither is a tensor constant."""
    result = alone("device", Free(), (X,))
    assert result.status is Status.PASSED
    assert not [note for note in result.findings if "tensor constant" in note.message]


def test_a_number_made_a_tensor_pins_nothing() -> None:
    """A tensor without axes joins tensors on any device."""
    result = alone("device", Number(), (X,))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics["constants"] == 0


def test_a_tensor_constant_is_a_note_with_its_line() -> None:
    """On this machine it is no failure: the trace runs here."""
    result = alone("device", ConstantTensor(), (X,))
    assert result.status is Status.PASSED
    note = result.findings[0]
    assert note.message == "a tensor constant of shape (4,) stays on cpu"
    assert (note.where, {place(note)}) == ("pinned at", guilty(ConstantTensor))
    assert "buffer" in str(note.hint)


def test_an_operation_that_names_a_device_is_a_note() -> None:
    """``torch.arange`` without ``device=`` is told to use the tracing machine's."""
    result = alone("device", MadeOnCpu(), (X,))
    assert result.status is Status.PASSED
    note = result.findings[0]
    assert note.message == "aten::arange is told to use cpu"
    assert {place(note)} == guilty(MadeOnCpu)
    assert result.metrics["constants"] >= 1


def test_there_are_few_notes_and_the_count_is_whole() -> None:
    """Five notes are enough to see the point; the figures count them all."""
    result = alone("device", Many(), (X,))
    assert len(result.findings) == 5
    assert result.metrics["constants"] >= 7


def test_where_there_is_no_gpu_nothing_is_moved() -> None:
    """The figures say so; a real move is made where there is one."""
    moved = alone("device", Free(), (X,)).metrics["moved"]
    assert moved == ("cuda" if torch.cuda.is_available() else None)


def traced(model: nn.Module) -> tuple[Cell, Evidence]:
    """A cell and its evidence after eager and trace, ready for a move."""
    at = cell_of(model, (X,))
    results, evidence = judged(at, "eager", "trace")
    assert all(result.status is Status.PASSED for result in results.values())
    return at, evidence


def test_a_move_compares_with_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here onto the CPU, which is no move; another answer there is found with its leaf and its amount."""
    at, evidence = traced(Free())
    assert device._moved(at, evidence, "cpu") is None
    original = device.run
    monkeypatch.setattr(device, "run", lambda module, inputs: original(module, inputs) + 0.01)
    finding = device._moved(at, evidence, "cpu")
    assert finding is not None
    assert finding.message.startswith("moved to cpu, the output differs: max abs 0.01")


def test_what_a_device_refuses_is_the_finding() -> None:
    """One that is not there, for one: its own words."""
    finding = device._moved(*traced(Free()), "xla")
    assert finding is not None
    assert finding.message


def test_a_full_gpu_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing of the model, and the check says that nothing was moved."""

    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "_moved", full)
    result = check_named("device").judge(*traced(Free()), {}).result
    assert (result.status, result.metrics["moved"]) == (Status.PASSED, None)
    assert "no room for this model" in result.findings[0].message


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a move to a GPU is shown on a machine that has one")
@pytest.mark.parametrize(("model", "verdict"), [(Free(), "ok"), (MadeOnCpu(), "DevicePinned")])
def test_the_trace_runs_on_a_gpu(model: nn.Module, verdict: str) -> None:
    """Made on the CPU, moved and compared; what is pinned to the CPU fails there."""
    found = cell(model, (X,))
    assert (found.verdict, found.check("device").metrics["moved"]) == (verdict, "cuda")


def test_it_is_judged_without_weights() -> None:
    """The structure is enough."""
    assert cell(Free(), (X,), weights="meta").check("device").status is Status.PASSED


def test_a_failed_trace_skips_it() -> None:
    """There is no program to look into."""

    class Raising(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if torch.jit.is_tracing():
                raise ValueError("no")
            return x

    assert cell(Raising(), (X,)).check("device").reason == "trace failed"
