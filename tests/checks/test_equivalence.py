"""The check ``equivalence``: the trace against eager, at the very inputs it was made from."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pytest_torchscript.result import Status, Verdict

from .alone import alone, cell, cell_of, guilty, judged, place

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Tracing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing():  # guilty
            return x * 2
        return x * 3


class ConstantWritten(nn.Module):
    """A constant of the trace that every run adds to: right once, then no longer."""

    def forward(self, x: Tensor) -> Tensor:
        total = torch.tensor([0.0, 0.0, 0.0, 0.0])
        total.add_(1)  # guilty
        return x + total


class SecondOutput(nn.Module):
    def forward(self, x: Tensor) -> Any:
        factor = 2 if torch.jit.is_tracing() else 3
        return x, (x * factor, x)


class Pair(NamedTuple):
    left: Tensor
    right: Any


class Silent(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return ()


def test_a_healthy_trace_passes_three_runs() -> None:
    """The third run is the first of the optimised program."""
    result = alone("equivalence", nn.Linear(4, 2), (X,))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics == {"runs": 3}


def test_containers_of_every_kind_pass() -> None:
    """A trace returns tuples and dicts where the model has its own classes."""

    class Nested(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return Pair(x, (x * 2, [x * 3, x * 4]))

    assert alone("equivalence", Nested(), (X,)).status is Status.PASSED


def test_another_way_while_tracing_fails_at_the_branch() -> None:
    """By how much, against which tolerance, and where the forward goes another way."""
    result = alone("equivalence", Tracing(), (X,))
    assert result.verdict is Verdict.NOT_EQUIVALENT
    finding = result.findings[0]
    assert finding.message.startswith("the trace differs from eager on the same input: the output by max abs ")
    assert (finding.where, {place(finding)}) == ("branches at", guilty(Tracing))
    assert finding.details["run"] == 1
    assert finding.details["differing"] == finding.details["total"] == 48
    assert "is_tracing()" in str(finding.hint)


def test_every_leaf_that_differs_is_named() -> None:
    """By its path in the output."""
    result = alone("equivalence", SecondOutput(), (X,))
    assert [finding.path for finding in result.findings if finding.path] == ["[1][0]"]
    assert "output '[1][0]' by max abs" in result.findings[0].message


def test_a_program_that_changes_from_run_to_run_fails() -> None:
    """One run is not enough: a constant that is written accumulates."""
    result = alone("equivalence", ConstantWritten(), (X,))
    assert result.verdict is Verdict.NOT_EQUIVALENT
    assert guilty(ConstantWritten) & {place(finding) for finding in result.findings if finding.file}


def test_a_model_without_a_tensor_among_its_outputs_fails() -> None:
    """There would be nothing to deploy, and nothing was compared."""
    result = alone("equivalence", Silent(), (X,))
    assert result.verdict is Verdict.NOT_EQUIVALENT
    assert "returns no tensor" in result.findings[0].message


def test_a_program_that_fails_is_not_equivalent() -> None:
    """What raises where eager answered is a failure with torch's own words."""

    class Refusing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not torch.jit.is_tracing():
                return x
            calls = torch.tensor([0.0])
            calls.add_(1)
            return _refuse_later(x, calls)

    result = alone("equivalence", Refusing(), (X,))
    assert result.verdict is Verdict.NOT_EQUIVALENT
    assert "too late" in result.findings[0].message


def _refuse_later(x: Tensor, calls: Tensor) -> Tensor:
    return _scripted()(x, calls)  # type: ignore[no-any-return]


def _scripted() -> Any:
    return torch.jit.script(_check)


def _check(x: Tensor, calls: Tensor) -> Tensor:
    if bool(calls.sum() > 1.5):
        raise ValueError("too late")
    return x


def test_a_tolerance_of_the_marker_is_used() -> None:
    """A difference that the marker grants passes."""

    class Near(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (1.001 if torch.jit.is_tracing() else 1.0)

    assert alone("equivalence", Near(), (X,)).verdict is Verdict.NOT_EQUIVALENT
    assert alone("equivalence", Near(), (X,), rtol=1e-2).status is Status.PASSED


def test_a_dtype_that_only_eager_has_is_named() -> None:
    """Values alike in another precision are another output."""

    class Precise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if torch.jit.is_tracing() else x.double()

    assert "dtype float32 instead of float64" in alone("equivalence", Precise(), (X,)).findings[0].message


def test_the_checks_after_it_are_told_that_the_trace_equals_eager() -> None:
    """Only where eager's answer is at hand: a later check compares with that."""

    def equal(model: nn.Module, *names: str) -> bool:
        with torch.no_grad():
            return judged(cell_of(model, (X,)), "trace", "equivalence", *names)[1].equal

    assert equal(nn.Linear(4, 2), "eager")
    assert not equal(nn.Linear(4, 2))
    assert not equal(Tracing(), "eager")


def test_a_failure_skips_what_compares_with_the_trace() -> None:
    """A trace that is wrong at its own inputs is not asked about others."""
    found = cell(Tracing(), (X,))
    for name in ("values", "shapes"):
        assert found.check(name).reason == "equivalence failed"
    assert found.check("roundtrip").status is Status.PASSED
