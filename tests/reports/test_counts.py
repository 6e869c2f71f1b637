"""The sentence that every report begins with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_torchscript.reports.counts import is_news, sentence
from pytest_torchscript.reports.document import Document
from pytest_torchscript.result import GateResult, Outcome


def gate(id: str, outcome: Outcome, baseline: str | None = None) -> GateResult:
    return GateResult(id=id, nodeid=f"t.py::{id}", outcome=outcome, baseline=baseline)


def lost(id: str, *, inherited: bool) -> GateResult:
    return GateResult.without_model(id, f"t.py::{id}", "no model", inherited=inherited)


GATES = [
    GateResult.not_judged("a", "t.py::a", "the test itself failed"),
    GateResult.not_judged("b", "t.py::b", "the test's setup failed"),
    lost("c", inherited=False),
    gate("d", Outcome.CRASHED),
    gate("e", Outcome.FAILED, "REGRESSED"),
    gate("f", Outcome.FAILED, "NEW"),
    gate("g", Outcome.FAILED, "FIXED"),
    gate("h", Outcome.XFAILED, "KNOWN"),
    gate("i", Outcome.PASSED),
    gate("j", Outcome.SKIPPED),
    lost("k", inherited=True),
]


def test_what_was_not_judged_comes_first() -> None:
    """A run in which every gated test failed must not look like one in which nothing was to be judged."""
    assert sentence(Document.of(GATES[:2])) == "2 not judged: the test itself failed"
    assert sentence(Document.of([*GATES[:2], GATES[8]])) == "2 not judged: the test itself failed; 1 passed"


def test_every_ending_is_counted_once() -> None:
    """What is red before what is not."""
    assert sentence(Document.of(GATES, stale=["l"])) == (
        "2 not judged: the test itself failed; 1 without a model or inputs, 1 crashed, 1 regressed, 1 failed, "
        "1 fixed, still recorded, 1 stale, 1 known, 1 passed, 1 skipped, 1 skipped without a model or inputs"
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(lost("c", inherited=False), baseline="REGRESSED"), "1 regressed"),
        (replace(lost("c", inherited=False), baseline="KNOWN", outcome=Outcome.XFAILED), "1 known"),
        (gate("d", Outcome.CRASHED, "REGRESSED"), "1 regressed"),
    ],
)
def test_a_baseline_has_the_last_word(found: GateResult, words: str) -> None:
    """A model that is gone, or that crashes, is worse than it was, or known."""
    assert sentence(Document.of([found])) == words


def test_a_run_without_gates_says_so() -> None:
    """An empty sentence would look like a failure to write one."""
    assert sentence(Document.of([])) == "none ran"


def test_large_numbers_are_grouped() -> None:
    """They are read by people."""
    gates = [gate(str(number), Outcome.PASSED) for number in range(1234)]
    assert sentence(Document.of(gates)) == "1,234 passed"


def test_a_record_that_is_behind_is_no_news() -> None:
    """It fails the run, and no model has to be mended."""
    assert [found.id for found in GATES if is_news(found)] == ["a", "b", "c", "d", "e", "f"]
