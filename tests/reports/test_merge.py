"""Merging: the same bytes in whatever order, and refusals that name the gate, the files and the difference."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_torchscript.reports import json as json_report
from pytest_torchscript.reports.document import Document
from pytest_torchscript.reports.merge import MergeError, merge
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Verdict

ENVIRONMENT = {"python": "3.12.3", "torch": "2.13.0", "transformers": None, "pytest_torchscript": "0.1.0", "platform": "linux"}


def gate(id: str, verdict: Verdict | None = None, seconds: float = 1.0) -> GateResult:
    finding = Finding(message="it branches", file="src/head.py", line=41)
    check = CheckResult.failed("trace", verdict, finding) if verdict else CheckResult.passed("trace", tracer_warnings=0)
    cells = (CellResult(target="torchscript", batch_size=2, seq_len=None, checks=(replace(check, seconds=seconds),)),)
    return GateResult.judged(id, f"tests/test_models.py::test_{id}", cells, seconds)


def document(*gates: GateResult, stale: Sequence[str] = (), **environment: Any) -> Document:
    return Document.of(gates, {**ENVIRONMENT, **environment}, stale)


def test_shards_become_what_one_run_would_have_written() -> None:
    """Gates ordered by id, and the same environment."""
    shards = [("a.json", document(gate("c"), gate("a"))), ("b.json", document(gate("b")))]
    whole = document(gate("a"), gate("b"), gate("c"))
    assert json_report.render(merge(shards)) == json_report.render(whole)


def test_the_order_of_the_shards_does_not_show() -> None:
    """The same bytes: times that differ are chosen by what they are."""
    shards = [
        ("a.json", document(gate("x"), gate("same", seconds=3.0), python="3.10", stale=["x", "gone"])),
        ("b.json", document(gate("y"), gate("same", seconds=1.0), python="3.13")),
        ("c.json", document(gate("same", seconds=2.0), transformers="5.23", stale=["other"])),
    ]
    texts = {json_report.render(merge(order)) for order in itertools.permutations(shards)}
    assert len(texts) == 1
    pairs = [("ab", merge(shards[:2])), shards[2]]
    assert json_report.render(merge(pairs)) == texts.pop()


def test_one_report_stays_as_it_is() -> None:
    """Merging it, alone or with itself, changes nothing."""
    one = document(gate("a"), gate("b", Verdict.UNTRACEABLE))
    assert merge([("a.json", one)]) == one
    assert merge([("a.json", one), ("b.json", copy.deepcopy(one))]) == one


def test_nothing_merges_to_nothing() -> None:
    """Not even an environment is known."""
    assert merge([]) == Document()


def test_a_gate_with_different_results_is_refused() -> None:
    """The message names the gate, both files and what differs, verdicts first."""
    with pytest.raises(MergeError) as caught:
        merge([("a.json", document(gate("head"))), ("b.json", document(gate("head", Verdict.UNTRACEABLE)))])
    text = str(caught.value)
    assert text.startswith(
        'gate \'head\' has different results in a.json and b.json: outcome is "passed" and "failed"; '
        'cells[0].verdict is "ok" and "Untraceable"; '
    )
    assert text.endswith(" more")


def test_one_id_of_two_tests_is_refused() -> None:
    """It would be one gate in every report."""
    other = replace(gate("head"), nodeid="tests/test_other.py::test_head")
    with pytest.raises(MergeError, match=r"gate 'head' .* nodeid is \"tests/test_models.* and \"tests/test_other"):
        merge([("a.json", document(gate("head"))), ("b.json", document(other))])


@pytest.mark.parametrize("field", ["baseline", "reason"])
def test_what_the_baseline_said_is_part_of_a_result(field: str) -> None:
    """Two shards that were judged against different baselines do not fit together."""
    fields: dict[str, Any] = {field: "REGRESSED"}
    with pytest.raises(MergeError, match=f'{field} is null and "REGRESSED"'):
        merge([("a.json", document(gate("head"))), ("b.json", document(replace(gate("head"), **fields)))])


def test_a_figure_that_happens_to_be_called_seconds_is_no_time_of_the_gate() -> None:
    """Only the times of gates and checks are set aside."""
    shards = []
    for seconds in (1, 2):
        check = CheckResult.passed("trace", seconds=seconds)
        cells = (CellResult(target="torchscript", batch_size=2, seq_len=None, checks=(check,)),)
        shards.append((f"{seconds}.json", document(GateResult.judged("head", "t", cells))))
    with pytest.raises(MergeError, match=r"metrics\.seconds is 1 and 2"):
        merge(shards)


def test_a_difference_of_megabytes_is_told_in_short() -> None:
    """The message stays a line."""
    long = replace(gate("head"), reason="x" * 5_000_000)
    with pytest.raises(MergeError) as caught:
        merge([("a.json", document(gate("head"))), ("b.json", document(long))])
    assert len(str(caught.value)) < 500


def test_environments_that_differ_are_joined() -> None:
    """Every value once, sorted; what a machine does not have is ``none``."""
    shards = [
        ("a", document(gate("a"), python="3.12.3")),
        ("b", document(gate("b"), python="3.10.14", transformers="5.23")),
        ("c", document(gate("c"), python="3.12.3", extra=[1])),
    ]
    assert merge(shards).environment == {
        **ENVIRONMENT,
        "python": "3.10.14, 3.12.3",
        "transformers": "5.23, none",
        "extra": "[1], none",
    }


def test_a_gate_that_one_shard_missed_and_another_ran_is_not_stale() -> None:
    """What is stale in all of them stays so."""
    merged = merge([("a", document(gate("a"), stale=["b", "gone"])), ("b", document(gate("b")))])
    assert merged.stale == ("gone",)


def test_a_crashed_or_skipped_gate_is_merged_like_any_other() -> None:
    """Neither has cells."""
    crash = GateResult(id="a", nodeid="t::a", outcome=Outcome.CRASHED)
    skip = GateResult(id="b", nodeid="t::b", outcome=Outcome.SKIPPED, reason="no GPU")
    assert merge([("a", document(skip)), ("b", document(crash))]) == document(crash, skip)
