"""The check ``trace``: torch.jit.trace succeeds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.result import Status, Verdict

from .alone import alone, cell, guilty, place

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Warned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 3:  # guilty
            return x * 2
        return x


class OnlyEager(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise ValueError("not while tracing")  # guilty
        return x


class WithNone(nn.Module):
    def forward(self, x: Tensor) -> Any:
        y = x * 2
        return y, None  # guilty


class Mapping(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"double": x * 2}


def test_a_traceable_model_passes_without_a_word() -> None:
    """No warning, no finding."""
    result = alone("trace", nn.Linear(4, 2), (X,))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics == {"tracer_warnings": 0}


def test_the_tracers_warnings_are_evidence_and_no_verdict() -> None:
    """Most warned traces are right: the warning is shown with its line, and the check passes."""
    result = alone("trace", Warned(), (X,))
    assert result.status is Status.PASSED
    (finding,) = result.findings
    assert finding.message.startswith("Converting a tensor to a Python boolean")
    assert (finding.where, {place(finding)}) == ("tracer warned at", guilty(Warned))
    assert result.metrics["tracer_warnings"] == 1


def test_an_untraceable_model_fails_with_torchs_reason_and_the_line() -> None:
    """What the forward raised while tracing, where."""
    result = alone("trace", OnlyEager(), (X,))
    assert result.verdict is Verdict.UNTRACEABLE
    (finding,) = result.findings
    assert finding.message == "ValueError: not while tracing"
    assert (finding.where, {place(finding)}) == ("raised at", guilty(OnlyEager))
    assert finding.hint is not None


def test_refused_outputs_are_found_at_the_return() -> None:
    """torch refuses them after the forward has returned: the return is what to change."""
    result = alone("trace", WithNone(), (X,))
    assert result.verdict is Verdict.UNTRACEABLE
    (finding,) = result.findings
    assert (finding.where, {place(finding)}) == ("returned at", guilty(WithNone))
    assert "return tensors only" in str(finding.hint)


def test_a_mapping_passes_with_a_note() -> None:
    """Who deploys it must know that it was traced with strict=False."""
    result = alone("trace", Mapping(), (X,))
    assert result.status is Status.PASSED
    assert result.metrics["strict"] is False
    assert "strict=False" in result.findings[0].message


def test_a_torch_without_torchscript_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no fault of the model."""
    monkeypatch.delattr(torch.jit, "trace")
    result = alone("trace", nn.Linear(4, 2), (X,))
    assert result.verdict is Verdict.UNAVAILABLE
    assert "has no torch.jit.trace" in result.findings[0].message


def test_a_failed_trace_skips_what_needs_one() -> None:
    """With the reason, and purity, which asks eager alone, still runs."""
    found = cell(OnlyEager(), (X,))
    assert found.verdict == "Untraceable"
    for name in ("equivalence", "values", "shapes", "padding", "roundtrip", "weights", "device"):
        assert found.check(name).reason == "trace failed", name
    assert found.check("purity").status is Status.PASSED


def test_a_trace_leaves_the_model_as_it_was() -> None:
    """A forward that counts its calls does not count the trace."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x

    model = Counting()
    alone("trace", model, (X,))
    assert model.calls == 0


def test_a_model_without_weights_can_be_traced() -> None:
    """The structure is judged on the meta device."""
    assert cell(nn.Linear(4, 2), (X,), weights="meta").check("trace").status is Status.PASSED
