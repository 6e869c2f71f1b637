"""The check ``roundtrip``: saving and loading."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.result import CheckResult, Status, Verdict
from pytest_torchscript.tracing import execute

from .alone import alone, cell, cell_of, check_named, guilty, judged, place, statuses

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
    assert alone("roundtrip", Tracing(), (X,)).status is Status.PASSED


# How often what is run


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Each run of a program: what it is, and whether torch's default executor was asked."""
    run, seen = execute.run, list[tuple[str, bool]]()

    def counted(module: Any, inputs: Any, *, profiled: bool = False, **kwargs: Any) -> Any:
        seen.append(("traced" if isinstance(module, torch.jit.TopLevelTracedModule) else "loaded", profiled))
        return run(module, inputs, profiled=profiled, **kwargs)

    monkeypatch.setattr(execute, "run", counted)
    return seen


def after(model: nn.Module, runs: list[tuple[str, bool]], *names: str) -> CheckResult:
    """The result of the round trip after the named checks; ``runs`` has those of the round trip alone."""
    cell, names = cell_of(model, (X,)), ("eager", "trace", *names)
    with torch.no_grad():
        before, evidence = judged(cell, *names)
        runs.clear()
        return check_named("roundtrip").judge(cell, evidence, statuses(before)).result


@pytest.mark.parametrize("width", [4, 300])
def test_a_healthy_model_costs_one_run_of_the_loaded_program(width: int, runs: list[tuple[str, bool]]) -> None:
    """The traced one has been compared with eager before, so that the loaded one need only answer as eager."""
    model = nn.Sequential(nn.Linear(4, width), nn.Linear(width, width))
    assert after(model, runs, "equivalence").status is Status.PASSED
    assert runs == [("loaded", False)]


class Tracing(nn.Module):
    """Another answer while traced."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (2 if torch.jit.is_tracing() else 3)


@pytest.mark.parametrize(
    ("model", "names"),
    [(nn.Linear(4, 2), ()), (Tracing(), ()), (Tracing(), ("equivalence",))],
    ids=["equivalence skipped", "skipped and wrong", "equivalence failed"],
)
def test_a_trace_that_was_not_found_equal_is_run_too(
    model: nn.Module, names: tuple[str, ...], runs: list[tuple[str, bool]]
) -> None:
    """What eager answers says nothing of it then."""
    assert after(model, runs, *names).status is Status.PASSED
    assert runs == [("loaded", False), ("traced", True)]


def test_a_number_that_the_plain_executor_types_otherwise_is_no_change(runs: list[tuple[str, bool]]) -> None:
    """The default executor is asked, and it is what a deployment runs."""

    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0.5 * x.long()

    assert after(Half(), runs, "equivalence").status is Status.PASSED
    assert runs == [("loaded", False), ("traced", True), ("loaded", True)]


# Large weights, of which one number each is written


class Large(nn.Module):
    """Weights of 360,000 and 4,800 bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Linear(4, 300), nn.Linear(300, 300)

    def forward(self, x: Tensor) -> Tensor:
        return self.wide(self.narrow(x))


def test_a_large_model_passes_with_the_bytes_of_all_its_weights() -> None:
    """The figure does not depend on how much was written."""
    result = alone("roundtrip", Large(), (X,))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics == {"bytes": 4 * (4 * 300 + 300 + 300 * 300 + 300)}


def test_a_large_parameter_that_changes_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words for a small one, and so does the output."""

    def change(module: Any) -> None:
        module.wide.weight = torch.ones(1).expand(300, 300)

    swapped(change, monkeypatch)
    first, second = alone("roundtrip", Large(), (X,)).findings
    assert (first.path, first.message) == ("wide.weight", "'wide.weight' has other values after save and load")
    assert second.message.startswith("the output changes through save and load: max abs ")


def test_a_large_parameter_that_is_lost_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words for a small one."""
    load = torch.jit.load

    class Losing:
        def __init__(self, module: Any) -> None:
            self.module, self.named_modules = module, module.named_modules

        def state_dict(self) -> dict[str, Tensor]:
            state: dict[str, Tensor] = self.module.state_dict()
            return {name: state[name] for name in state if name != "wide.weight"}

        def __call__(self, *args: Tensor) -> Any:
            return self.module(*args)

    monkeypatch.setattr(torch.jit, "load", lambda buffer, **_: Losing(load(buffer)))
    messages = [finding.message for finding in alone("roundtrip", Large(), (X,)).findings]
    assert messages[0] == "'wide.weight' is lost after save and load"


class Counting(nn.Module):
    """A large buffer that every call writes, and an answer that does not depend on it."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(300, 300))

    def forward(self, x: Tensor) -> Tensor:
        self.table.add_(1)
        return x + self.table.clamp(max=0.5)[0, :4]


def test_a_buffer_that_the_loaded_program_writes_is_put_back() -> None:
    """The loaded program runs with the model's own; the model's user sees none of that."""
    model = Counting()
    before = model.table
    assert cell(model, (X,)).check("roundtrip").status is Status.PASSED
    assert model.table is before
    assert not model.table.any()


def test_meta_weights_skip_it() -> None:
    """There is nothing to save."""
    assert cell(nn.Linear(4, 2), (X,), weights="meta").check("roundtrip").reason == "meta weights"
