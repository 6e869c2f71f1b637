"""Merging: the same bytes in whatever order, and refusals that name the gate, the files and the difference."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_torchscript.reports import json as json_report
from pytest_torchscript.reports.merge import MergeError, merge, read, validate
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Verdict

ENVIRONMENT = {"python": "3.12.3", "torch": "2.13.0", "transformers": None, "pytest_torchscript": "0.1.0", "platform": "linux"}


def gate(id: str, verdict: Verdict | None = None, seconds: float = 1.0) -> GateResult:
    finding = Finding(message="it branches", file="src/head.py", line=41)
    check = CheckResult.failed("trace", verdict, finding) if verdict else CheckResult.passed("trace", tracer_warnings=0)
    cells = (CellResult(target="torchscript", batch_size=2, seq_len=None, checks=(replace(check, seconds=seconds),)),)
    return GateResult.judged(id, f"tests/test_models.py::test_{id}", cells, seconds)


def document(*gates: GateResult, **environment: Any) -> dict[str, Any]:
    return json_report.document(gates, {**ENVIRONMENT, **environment})


def test_shards_become_what_one_run_would_have_written() -> None:
    """Gates ordered by id, and the same environment."""
    shards = [("a.json", document(gate("c"), gate("a"))), ("b.json", document(gate("b")))]
    whole = document(gate("a"), gate("b"), gate("c"))
    assert json_report.render(merge(shards)) == json_report.render(whole)


def test_the_order_of_the_shards_does_not_show() -> None:
    """The same bytes: times that differ are chosen by what they are."""
    shards = [
        ("a.json", {**document(gate("x"), gate("same", seconds=3.0), python="3.10"), "stale": ["x", "gone"]}),
        ("b.json", document(gate("y"), gate("same", seconds=1.0), python="3.13")),
        ("c.json", {**document(gate("same", seconds=2.0), transformers="5.23"), "stale": ["other"]}),
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
    assert merge([]) == {"schema": 1, "environment": {}, "gates": []}


def test_the_shards_are_not_changed() -> None:
    """The caller may still need them."""
    one, other = document(gate("a", seconds=1.0)), document(gate("a", seconds=2.0))
    before = copy.deepcopy((one, other))
    merge([("a.json", one), ("b.json", other)])
    assert (one, other) == before


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
        data = document(gate("head"))
        data["gates"][0]["cells"][0]["checks"][0]["metrics"] = {"seconds": seconds}
        shards.append((f"{seconds}.json", data))
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
    assert merge(shards)["environment"] == {
        **ENVIRONMENT,
        "python": "3.10.14, 3.12.3",
        "transformers": "5.23, none",
        "extra": "[1], none",
    }


def test_a_gate_that_one_shard_missed_and_another_ran_is_not_stale() -> None:
    """What is stale in all of them stays so."""
    merged = merge([("a", {**document(gate("a")), "stale": ["b", "gone"]}), ("b", document(gate("b")))])
    assert merged["stale"] == ["gone"]


def test_a_crashed_or_skipped_gate_is_merged_like_any_other() -> None:
    """Neither has cells."""
    crash = GateResult(id="a", nodeid="t::a", outcome=Outcome.CRASHED)
    skip = GateResult(id="b", nodeid="t::b", outcome=Outcome.SKIPPED, reason="no GPU")
    assert merge([("a", document(skip)), ("b", document(crash))]) == document(crash, skip)


# What is no report

EXPECTED = 'expected a report of --torchscript-json: an object with "schema": 1, "environment" and "gates"'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], EXPECTED),
        (None, EXPECTED),
        ({}, EXPECTED),
        ({"schema": 1}, EXPECTED),
        ({"schema": True, "environment": {}, "gates": []}, EXPECTED),
        ({"schema": "1", "environment": {}, "gates": []}, EXPECTED),
        ({"schema": 1, "environment": [], "gates": []}, EXPECTED),
        ({"schema": 1, "environment": {}, "gates": {}}, EXPECTED),
        ({"schema": 1, "gate:head": {}}, EXPECTED),
        ({"schema": 2, "environment": {}, "gates": []}, "schema 2, and this version reads schema 1"),
        ({"schema": 1, "environment": {}, "gates": [], "more": 1}, f"unknown key 'more'; {EXPECTED}"),
        ({"schema": 1, "environment": {}, "gates": [], "stale": [1]}, "stale must be a list of texts"),
        ({"schema": 1, "environment": {}, "gates": [3]}, "gates[0]: must be an object, not 3"),
        ({"schema": 1, "environment": {}, "gates": [{}]}, "gates[0]: has no 'id'"),
    ],
)
def test_another_document_is_refused(data: Any, expected: str) -> None:
    """The message names the file and what was expected."""
    with pytest.raises(MergeError) as caught:
        merge([("good.json", document(gate("a"))), ("bad.json", data)])
    assert str(caught.value) == f"bad.json: {expected}"


def _set(*keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        place: Any = data
        for key in keys[:-2]:
            place = place[key]
        place[keys[-2]] = keys[-1]

    return change


CHECK = ("gates", 0, "cells", 0, "checks", 0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("gates", 0, "id", 3), "gates[0].id: must be text, not 3"),
        (_set("gates", 0, "outcome", "maybe"), "gates[0]: 'maybe' is not a valid Outcome"),
        (_set("gates", 0, "reason", []), "gates[0].reason: must be text or null, not []"),
        (_set("gates", 0, "seconds", True), "gates[0].seconds: must be a number, not true"),
        (_set("gates", 0, "cells", 0, "seq_len", 1.5), "gates[0].cells[0].seq_len: must be a whole number or null, not 1.5"),
        (_set("gates", 0, "cells", 0, "dims", {"seq": 1}), "gates[0].cells[0].dims.seq: must be text, not 1"),
        (_set(*CHECK, "status", "odd"), "gates[0]: 'odd' is not a valid Status"),
        (_set(*CHECK, "verdict", None), "gates[0]: check 'trace': a verdict goes with a failure and with nothing else"),
        (_set(*CHECK, "findings", [{}]), "gates[0].cells[0].checks[0].findings[0]: has no 'message'"),
        (
            _set(*CHECK, "findings", 0, "line", "41"),
            'gates[0].cells[0].checks[0].findings[0].line: must be a whole number or null, not "41"',
        ),
    ],
)
def test_a_part_of_another_type_is_refused_with_its_place(change: Callable[[dict[str, Any]], None], expected: str) -> None:
    """Whoever wrote the file can find it."""
    data = document(gate("head", Verdict.UNTRACEABLE))
    change(data)
    with pytest.raises(MergeError) as caught:
        validate("bad.json", data)
    assert str(caught.value) == f"bad.json: {expected}"


def test_an_unknown_key_of_a_finding_is_refused() -> None:
    """It may be of a later version, and would get lost."""
    data = document(gate("head", Verdict.UNTRACEABLE))
    data["gates"][0]["cells"][0]["checks"][0]["findings"][0]["colour"] = "red"
    with pytest.raises(MergeError, match=r"bad\.json: gates\[0\]: .*colour"):
        validate("bad.json", data)


def test_an_id_that_is_there_twice_is_refused() -> None:
    """In one document, whatever the results."""
    with pytest.raises(MergeError, match=r"a\.json: gates\[1\]: the id 'head' is there twice, of 'tests/.*' and 'tests/.*'"):
        merge([("a.json", document(gate("head"), gate("head")))])


# Files


def test_a_report_is_read_from_its_file(tmp_path: Path) -> None:
    """As ``--torchscript-json`` wrote it."""
    path = tmp_path / "a.json"
    json_report.write(path, document(gate("a", Verdict.UNTRACEABLE)))
    assert read(path) == document(gate("a", Verdict.UNTRACEABLE))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "there is no such file"),
        ("{", "line 1, column 2: not JSON: Expecting property name"),
        ('{"schema": 1,\n"schema": 1}', "line 2, column 1: 'schema' is there twice"),
        (json.dumps({"schema": 7, "environment": {}, "gates": []}), "schema 7, and this version reads schema 1"),
    ],
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: str | None, expected: str) -> None:
    """The message begins with its path."""
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(MergeError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {expected}")
