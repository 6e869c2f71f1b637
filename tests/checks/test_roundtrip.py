"""The check ``roundtrip``: saving and loading."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.result import Status, Verdict

from .alone import alone, cell, guilty, place

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Double(torch.autograd.Function):
    """An operation in Python, which no file can hold."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


class Custom(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        z: Tensor = Double.apply(y)  # guilty
        return z


def test_a_program_of_torch_operations_passes_with_its_size() -> None:
    """The file's size in bytes is a figure of the report."""
    result = alone("roundtrip", nn.Sequential(nn.Linear(4, 100), nn.BatchNorm1d(6)), (X,))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics["bytes"] > 4 * 4 * 100


def test_a_python_operation_fails_at_its_line() -> None:
    """torch cannot write it down; which one, and what to do."""
    result = alone("roundtrip", Custom(), (X,))
    assert result.verdict is Verdict.NOT_SERIALISABLE
    (finding,) = result.findings
    assert "Could not export Python function" in finding.message
    assert {place(finding)} == guilty(Custom)
    assert "autograd.Function" in str(finding.hint)


def swapped(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading that gives another program than was saved."""
    load = torch.jit.load

    def changed(buffer: io.BytesIO, *args: Any, **kwargs: Any) -> Any:
        loaded = load(buffer, *args, **kwargs)
        change(loaded)
        return loaded

    monkeypatch.setattr(torch.jit, "load", changed)


def test_a_parameter_that_changes_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does the output that it changes, with the amount."""
    swapped(lambda module: module.weight.data.add_(1), monkeypatch)
    result = alone("roundtrip", nn.Linear(4, 2), (X,))
    assert result.verdict is Verdict.NOT_SERIALISABLE
    first, second = result.findings
    assert (first.path, first.message) == ("weight", "'weight' has other values after save and load")
    assert second.message.startswith("the output changes through save and load: max abs ")
    assert second.details["max_abs"] > 0


def test_a_parameter_that_is_lost_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is gone and a name that is new are both told."""

    class Renamed:
        def __init__(self, module: Any) -> None:
            self.module = module

        def state_dict(self) -> dict[str, Tensor]:
            weight, bias = self.module.state_dict().values()
            return {"weight": weight, "bias_": bias}

        def __call__(self, *args: Tensor) -> Any:
            return self.module(*args)

    load = torch.jit.load
    monkeypatch.setattr(torch.jit, "load", lambda buffer, **_: Renamed(load(buffer)))
    messages = [finding.message for finding in alone("roundtrip", nn.Linear(4, 2), (X,)).findings]
    assert messages == ["'bias' is lost after save and load", "'bias_' is new after save and load"]


def test_a_buffer_of_nan_is_no_change() -> None:
    """NaN is kept as NaN."""

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.tensor([1.0, float("nan")]))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.table[0]  # type: ignore[index]

    assert alone("roundtrip", Table(), (X,)).status is Status.PASSED


def test_a_program_that_runs_no_more_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the loaded program raises is told."""

    class Broken:
        def __init__(self, module: Any) -> None:
            self.state_dict = module.state_dict

        def __call__(self, *args: Tensor) -> Any:
            raise RuntimeError("no such operator")

    load = torch.jit.load
    monkeypatch.setattr(torch.jit, "load", lambda buffer, **_: Broken(load(buffer)))
    result = alone("roundtrip", nn.Linear(4, 2), (X,))
    assert result.verdict is Verdict.NOT_SERIALISABLE
    assert "no such operator" in result.findings[0].message


def test_a_program_that_draws_is_not_changed_by_the_file() -> None:
    """Two runs of it differ before it is saved, too: that is another check's matter."""

    class Seeded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch.manual_seed(0)
            return x + torch.rand(4)

    assert alone("roundtrip", Seeded(), (X,)).status is Status.PASSED


def test_a_failure_does_not_hide_the_other_checks() -> None:
    """Weights need the loaded program; the rest is judged."""
    found = cell(Custom(), (X,))
    assert found.verdict == "NotSerialisable"
    assert found.check("weights").reason == "roundtrip failed"
    assert found.check("shapes").status is Status.PASSED


def test_a_trace_that_is_wrong_can_still_be_saved() -> None:
    """Saving is judged whether or not the trace equals eager."""

    class Tracing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (2 if torch.jit.is_tracing() else 3)

    assert alone("roundtrip", Tracing(), (X,)).status is Status.PASSED


def test_meta_weights_skip_it() -> None:
    """There is nothing to save."""
    assert cell(nn.Linear(4, 2), (X,), weights="meta").check("roundtrip").reason == "meta weights"
