"""What is common to all checks: their order, when they are skipped, what they read and give."""

from __future__ import annotations

import ast
import dataclasses
import inspect

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import checks
from pytest_torchscript.cell import Cell
from pytest_torchscript.checks import Check, Evidence, Found
from pytest_torchscript.checks.base import META
from pytest_torchscript.result import Status, Verdict
from pytest_torchscript.spec import CHECKS
from pytest_torchscript.tracing.trace import trace

from .alone import cell_of, check_named, judged

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


REQUIREMENTS = [(check.name, required) for check in checks.ALL for required in sorted(check.requires)]


# The checks there are


def test_the_checks_run_in_the_order_of_the_documentation() -> None:
    """Their names and order are a contract."""
    assert (*(check.name for check in checks.ALL), "target") == CHECKS


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.name)
def test_a_check_describes_itself_in_a_sentence(check: Check) -> None:
    """The docstring is what a reader of a report is told."""
    text = inspect.getdoc(type(check)) or ""
    assert text.splitlines()[0].endswith(".")


def test_a_check_requires_only_what_runs_before_it() -> None:
    """Otherwise a requirement could never have failed."""
    for name, required in REQUIREMENTS:
        assert CHECKS.index(required) < CHECKS.index(name)


def test_a_check_reads_only_what_an_earlier_one_gives() -> None:
    """Evidence goes in one direction: what a check reads is there when it runs."""
    given: set[str] = set()
    for check in checks.ALL:
        assert check.reads <= given, check.name
        given |= check.gives


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.name)
def test_a_check_declares_what_it_reads(check: Check) -> None:
    """The fields that its file asks of the evidence are those that it names, and no others."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(type(check))))  # type: ignore[arg-type]
    asked = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("evidence", "self.evidence")
    }
    behind = {"program": "traced", "conversions": "traced"}
    assert {behind.get(name, name) for name in asked} == set(check.reads)


# Skipping


@pytest.mark.parametrize("name", [check.name for check in checks.ALL])
def test_a_check_the_marker_skips_gives_the_markers_reason(name: str) -> None:
    """The reason is the user's own, word for word, and the check does not run."""
    cell = cell_of(Plain(), (X,), skip={name: "not on this hardware"})
    result = check_named(name).judge(cell, Evidence(), {}).result
    assert (result.status, result.reason) == (Status.SKIPPED, "not on this hardware")


@pytest.mark.parametrize(("name", "required"), REQUIREMENTS)
def test_a_check_whose_requirement_failed_says_which(name: str, required: str) -> None:
    """It is skipped with the reason, never silently absent."""
    result = check_named(name).judge(cell_of(Plain(), (X,)), Evidence(), {required: Status.FAILED}).result
    assert (result.status, result.reason) == (Status.SKIPPED, f"{required} failed")


def test_several_failed_requirements_are_all_named() -> None:
    """In one reason."""
    failed = dict.fromkeys(("trace", "equivalence"), Status.FAILED)
    result = check_named("values").judge(cell_of(Plain(), (X,)), Evidence(), failed).result
    assert result.reason == "equivalence and trace failed"


@pytest.mark.parametrize("name", [check.name for check in checks.ALL if "trace" in check.requires])
def test_a_check_of_the_trace_needs_one(name: str) -> None:
    """Where the marker skips the trace, there is nothing to judge."""
    result = check_named(name).judge(cell_of(Plain(), (X,)), Evidence(), {"trace": Status.SKIPPED}).result
    assert result.reason == "no trace was made"


@pytest.mark.parametrize("name", [check.name for check in checks.ALL])
def test_numeric_checks_need_weights(name: str) -> None:
    """On meta weights the structure alone is judged: trace, shapes and device."""
    cell = cell_of(Plain(), (X,), weights="meta")
    evidence = Evidence(traced=trace(cell.model, cell.call))
    reason = check_named(name)._reason_to_skip(cell, evidence, {})
    assert reason == (None if name in ("trace", "shapes", "device") else META)


def test_the_markers_reason_comes_first() -> None:
    """What the user knows is more than what the gate found."""
    cell = cell_of(Plain(), (X,), skip={"values": "by design"})
    assert check_named("values").judge(cell, Evidence(), {"trace": Status.FAILED}).result.reason == "by design"


def test_an_excuse_of_all_targets_skips_a_check() -> None:
    """What says nothing about any target of the gate is not run."""
    found = check_named("eager").judge(cell_of(Plain(), (X,)), Evidence(), {}, excuse="one shape only")
    assert (found.result.status, found.result.reason) == (Status.SKIPPED, "one shape only")


# Running


def test_a_result_has_the_time_it_took() -> None:
    """In seconds of wall time."""

    class Slow(Check):
        """Multiplies."""

        name = "eager"

        def run(self, cell: Cell, evidence: Evidence) -> Found:
            torch.randn(300, 300).mm(torch.randn(300, 300))
            return self.passed()

    assert 0 < Slow().judge(cell_of(Plain(), (X,)), Evidence(), {}).result.seconds < 60


def test_a_check_that_raises_does_not_take_the_others_along() -> None:
    """An error of this package's own is a failure that says so, with the place; the model is put back."""

    class Raising(Check):
        """Raises."""

        name = "values"

        def run(self, cell: Cell, evidence: Evidence) -> Found:
            cell.model.__dict__["left"] = "behind"
            raise ZeroDivisionError("over its own feet")

    cell = cell_of(Plain(), (X,))
    result = Raising().judge(cell, Evidence(), {}).result
    assert (result.status, result.verdict) == (Status.FAILED, Verdict.CRASHED)
    (finding,) = result.findings
    assert "the check could not be carried out: ZeroDivisionError: over its own feet" in finding.message
    assert "test_base.py" in finding.message
    assert "left" not in cell.model.__dict__


def test_a_check_is_given_what_it_reads_and_nothing_else() -> None:
    """A check cannot depend on evidence that it does not name."""
    seen = []

    class Looking(Check):
        """Looks."""

        name = "values"
        reads = frozenset({"random"})

        def run(self, cell: Cell, evidence: Evidence) -> Found:
            seen.append(evidence)
            return self.passed()

    Looking().judge(cell_of(Plain(), (X,)), Evidence(random=True, expected=X), {})
    assert seen == [Evidence(random=True)]


def test_a_check_gives_only_what_it_declares() -> None:
    """Evidence that no declaration names is a fault of the check."""

    class Giving(Check):
        """Gives."""

        name = "values"

        def run(self, cell: Cell, evidence: Evidence) -> Found:
            return self.passed(gives={"dims": {}})

    with pytest.raises(AssertionError, match="gives \\['dims'\\]"):
        Giving().judge(cell_of(Plain(), (X,)), Evidence(), {})


def test_no_check_can_change_a_cell() -> None:
    """What one check is given, the next one finds as it was."""
    cell = cell_of(Plain(), (X,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        cell.dims = cell.dims  # type: ignore[misc]


def test_no_check_passes_with_a_verdict() -> None:
    """The verdicts belong to failures alone; every check can be judged on a healthy model."""
    results, _ = judged(cell_of(Plain(), (X,)), *(check.name for check in checks.ALL))
    assert {result.status for result in results.values()} <= {Status.PASSED, Status.SKIPPED}
    assert not any(isinstance(result.verdict, Verdict) for result in results.values())
