"""What is common to all checks: their order, when they are skipped, and what they work with."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import checks
from pytest_torchscript.checks import Check
from pytest_torchscript.checks.base import META, state_writes, written_at
from pytest_torchscript.diagnosis.cause import Cause
from pytest_torchscript.result import CheckResult, Finding, Status, Verdict
from pytest_torchscript.source import Line
from pytest_torchscript.spec import CHECKS
from pytest_torchscript.tracing.trace import Traced, trace

from .alone import ROOT, check_named, context_of, guilty, place

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


REQUIREMENTS = [(check.name, required) for check in checks.ALL for required in sorted(check.requires)]


# The checks there are


def test_the_checks_run_in_the_order_of_the_documentation() -> None:
    """Their names and order are a contract."""
    assert tuple(check.name for check in checks.ALL) == CHECKS


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.name)
def test_a_check_describes_itself_in_a_sentence(check: Check) -> None:
    """The docstring is what a reader of a report is told."""
    text = inspect.getdoc(type(check)) or ""
    assert text.splitlines()[0].endswith(".")


def test_a_check_requires_only_what_runs_before_it() -> None:
    """Otherwise a requirement could never have failed."""
    for name, required in REQUIREMENTS:
        assert CHECKS.index(required) < CHECKS.index(name)


# Skipping


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_the_marker_skips_gives_the_markers_reason(name: str) -> None:
    """The reason is the user's own, word for word, and the check does not run."""
    context = context_of(Plain(), (X,), skip={name: "not on this hardware"})
    result = check_named(name).judge(context)
    assert (result.status, result.reason) == (Status.SKIPPED, "not on this hardware")
    assert context.statuses[name] is Status.SKIPPED


@pytest.mark.parametrize(("name", "required"), REQUIREMENTS)
def test_a_check_whose_requirement_failed_says_which(name: str, required: str) -> None:
    """It is skipped with the reason, never silently absent."""
    context = context_of(Plain(), (X,))
    context.statuses[required] = Status.FAILED
    result = check_named(name).judge(context)
    assert (result.status, result.reason) == (Status.SKIPPED, f"{required} failed")


def test_several_failed_requirements_are_all_named() -> None:
    """In one reason."""
    context = context_of(Plain(), (X,))
    context.statuses.update(dict.fromkeys(("trace", "equivalence"), Status.FAILED))
    assert check_named("values").judge(context).reason == "equivalence and trace failed"


@pytest.mark.parametrize("name", [name for name in CHECKS if "trace" in check_named(name).requires])
def test_a_check_of_the_trace_needs_one(name: str) -> None:
    """Where the marker skips the trace, there is nothing to judge."""
    context = context_of(Plain(), (X,))
    context.statuses["trace"] = Status.SKIPPED
    assert check_named(name).judge(context).reason == "no trace was made"


@pytest.mark.parametrize("name", CHECKS)
def test_numeric_checks_need_weights(name: str) -> None:
    """On meta weights the structure alone is judged: trace, shapes, device and target."""
    context = context_of(Plain(), (X,), weights="meta")
    context.traced = trace(context.model, context.call)
    reason = check_named(name)._reason_to_skip(context)
    assert reason == (None if name in ("trace", "shapes", "device", "target") else META)


def test_the_markers_reason_comes_first() -> None:
    """What the user knows is more than what the gate found."""
    context = context_of(Plain(), (X,), skip={"values": "by design"})
    context.statuses["trace"] = Status.FAILED
    assert check_named("values").judge(context).reason == "by design"


def test_a_result_has_the_time_it_took() -> None:
    """In seconds of wall time, for checks that ran and for those that did not."""

    class Slow(Check):
        """Sleeps."""

        name = "eager"

        def run(self, context: checks.Context) -> CheckResult:
            torch.randn(300, 300).mm(torch.randn(300, 300))
            return CheckResult.passed(self.name)

    context = context_of(Plain(), (X,))
    assert 0 < Slow().judge(context).seconds < 60
    assert context.statuses["eager"] is Status.PASSED


def test_a_check_that_stumbles_does_not_take_the_others_along() -> None:
    """An error of this package's own is a failure that says so, with the place; what comes next still runs."""

    class Stumbling(Check):
        """Falls."""

        name = "values"

        def run(self, context: checks.Context) -> CheckResult:
            context.model.__dict__["left"] = "behind"
            raise ZeroDivisionError("over its own feet")

    context = context_of(Plain(), (X,))
    result = Stumbling().judge(context)
    assert result.verdict is Verdict.CRASHED
    (finding,) = result.findings
    assert "the check could not be carried out: ZeroDivisionError: over its own feet" in finding.message
    assert "test_base.py" in finding.message
    assert context.statuses["values"] is Status.FAILED
    assert "left" not in context.model.__dict__


# The context


def test_eager_puts_the_model_back() -> None:
    """A model that counts is asked from the same state every time, unless its writes are what is looked for."""
    context = context_of(Counting(), (X,))
    assert torch.equal(context.eager(), context.eager())
    context.eager(restore=False)
    assert float(context.model.count) == 1  # type: ignore[arg-type]
    context.restore()
    assert float(context.model.count) == 0  # type: ignore[arg-type]


def test_the_first_run_looks_thoroughly() -> None:
    """A write that moves no version counter is found there, and looked for from then on."""

    class Sneaking(nn.Module):
        count: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.count.data.add_(1)
            return x * 2

    context = context_of(Sneaking(), (X,))
    context.expected = context.eager()
    assert float(context.model.count) == 0  # type: ignore[arg-type]
    context.eager()
    assert float(context.model.count) == 0  # type: ignore[arg-type]


def test_the_program_puts_the_model_back() -> None:
    """A trace shares the model's buffers."""
    context = context_of(Counting(), (X,))
    context.traced = trace(context.model, context.call)
    context.restore()
    assert torch.equal(context.scripted(), context.scripted())
    assert float(context.model.count) == 0  # type: ignore[arg-type]


def test_a_parameter_keeps_what_a_call_made_of_it() -> None:
    """A forward that overwrites its weights is judged with what it makes of them, until ``weights`` says so."""

    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((1,), 3.0))

        def forward(self, x: Tensor) -> Tensor:
            self.weight.data = self.weight.data / 2
            return x * self.weight

    context = context_of(Overwriting(), (X,))
    context.eager()
    assert context.model.weight.tolist() == [1.5]  # type: ignore[operator]


@pytest.mark.parametrize(("size", "kind"), [(6, "equal"), (7, "wrong"), (8, "raises"), (9, "outside"), (10, "outside")])
def test_a_probe_has_one_of_four_kinds(size: int, kind: str) -> None:
    """Equal, silently wrong, a loud refusal, or outside the model's own domain, which is no failure."""

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] == 9:
                raise ValueError("never nine")
            return x / (0 if x.shape[1] == 10 else 1)

    class Program(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] == 8:
                raise ValueError("not eight")
            return x * (2 if x.shape[1] == 7 else 1)

    context = context_of(Model(), (X,))
    context.traced = Traced(module=Program())
    probe = context.probe({"x": torch.ones(2, size, 4)})
    assert probe.kind == kind
    assert bool(probe.mismatches) is (kind == "wrong")
    assert (probe.error is not None) is (kind in ("raises", "outside"))


def test_eager_that_gives_two_answers_is_no_judge() -> None:
    """Where the model itself is random at other inputs, the trace is not blamed for it."""

    class Fitful(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + (torch.rand(4) if x.shape[1] == 9 else 0)

    context = context_of(Fitful(), (X,))
    context.traced = Traced(module=nn.Identity())
    assert context.probe({"x": torch.ones(2, 8, 4)}).kind == "equal"
    assert context.probe({"x": torch.ones(2, 9, 4)}).kind == "outside"


def test_the_line_that_computed_an_output_is_read_from_the_trace() -> None:
    """By the leaf's path, in tuples and in mappings; a leaf that is not there has none."""

    class Mapping(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            first = x * 2
            second = x * 3  # guilty
            return {"first": first, "second": second}

    context = context_of(Mapping(), (X,))
    context.expected = context.eager()
    context.traced = trace(context.model, context.call)
    (cause,) = context.produced("second")
    assert {(str(cause.line.file).removeprefix(f"{ROOT}/"), cause.line.line)} == guilty(Mapping)
    assert context.produced("third") == []


def test_findings_are_relative_to_the_root_and_show_their_source() -> None:
    """A finding can be read without opening the file."""
    context = context_of(Plain(), (X,))
    found = context.finding("m", line=Line(__file__, 1, "forward"), where="baked at", path="x", hint="h", details={"a": 1})
    assert found == Finding(
        message="m",
        path="x",
        file="tests/checks/test_base.py",
        line=1,
        function="forward",
        source='"""What is common to all checks: their order, when they are skipped, and what they work with."""',
        where="baked at",
        hint="h",
        details={"a": 1},
    )
    assert context.finding("m").where is None
    assert (ROOT / str(found.file)).is_file()


def test_causes_go_to_the_first_finding_and_after_the_last() -> None:
    """The first cause is the first finding's own line; the others follow as findings."""
    context = context_of(Plain(), (X,))
    findings = [context.finding("one", details={"amount": 1}), context.finding("two")]
    causes = [Cause(Line(__file__, line, "f"), "baked at", f"detail {line}") for line in (1, 2, 3, 4)]
    first, second, *others = context.caused(findings, causes, hint="remedy")
    assert (first.message, first.line, first.hint) == ("one", 1, "remedy")
    assert first.details == {"amount": 1, "cause": "detail 1"}
    assert second == findings[1]
    assert [(finding.message, finding.line) for finding in others] == [("detail 2", 2), ("detail 3", 3)]


def test_without_a_cause_the_remedy_is_still_told() -> None:
    """A hint of the finding's own is kept."""
    context = context_of(Plain(), (X,))
    (plain,) = context.caused([context.finding("one")], [], hint="remedy")
    (own,) = context.caused([context.finding("one", hint="own")], [], hint="remedy")
    assert (plain.hint, own.hint, plain.line) == ("remedy", "own", None)


def test_a_failure_has_cause_line_and_remedy() -> None:
    """An exception becomes a finding."""

    class Raising(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(7, 7)  # guilty

    context = context_of(Raising(), (X,))
    with pytest.raises(RuntimeError) as caught:
        context.eager()
    found = context.failure(caught.value)
    assert found.message == "RuntimeError: shape '[7, 7]' is invalid for input of size 48"
    assert {place(found)} == guilty(Raising)
    assert found.where == "raised at"
    assert "x.shape" in str(found.hint)


def test_the_writes_of_a_call_are_named_with_their_lines() -> None:
    """Buffers first, then attributes; afterwards the model is as before."""
    context = context_of(Counting(), (X,))
    (buffer, line), (attribute, _) = state_writes(context)
    assert (buffer, attribute) == ("count", "calls")
    assert line is not None
    assert {(str(line.file).removeprefix(f"{ROOT}/"), line.line)} == guilty(Counting)
    assert written_at(context, "no such") is None
    assert float(context.model.count) == 0  # type: ignore[arg-type]
    assert context.model.__dict__["calls"] == 0


def test_no_check_passes_with_a_verdict() -> None:
    """The verdicts belong to failures alone; every check can be judged on a healthy model."""
    context = context_of(Plain(), (X,))
    results = [check.judge(context) for check in checks.ALL]
    assert {result.status for result in results} <= {Status.PASSED, Status.SKIPPED}
    assert not any(isinstance(result.verdict, Verdict) for result in results)
