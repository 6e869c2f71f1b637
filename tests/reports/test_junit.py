"""The JUnit report, re-read the way dashboards read it: by junitparser, by lxml, and against Jenkins' schema."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped, TestSuite
from lxml import etree

from pytest_torchscript.reports import junit
from pytest_torchscript.reports.document import Document
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Verdict

SCHEMA = Path(os.environ.get("JUNIT_SCHEMA") or Path(__file__).parents[3] / "shared" / "junit-10.xsd")
KIB64 = 64 * 1024

FINDING = Finding(
    message="output 'pooled' is off at 7 (max abs 0.81 at [0, 3])",
    path="pooled",
    file="src/head.py",
    line=41,
    function="forward",
    source="return x.sum(1) / int(x.shape[1])",
    where="baked at",
    hint="keep the size in the graph",
    details={"max_abs": 0.81, "index": [0, 3], "kind": "value"},
)
PASSED = CheckResult.passed("eager")
FAILED = CheckResult.failed("shapes", Verdict.SHAPE_SPECIALISED, FINDING)
SKIPPED = CheckResult.skipped("padding", "the inputs have no padding mask")


def failing(*messages: str, verdict: Verdict = Verdict.NOT_EQUIVALENT) -> CheckResult:
    return CheckResult.failed("equivalence", verdict, *(Finding(message=message) for message in messages))


def cell(*checks: CheckResult, **fields: Any) -> CellResult:
    return CellResult(**{"target": "torchscript", "batch_size": 2, "seq_len": 16, "checks": checks, **fields})


def gate(*cells: CellResult, **fields: Any) -> GateResult:
    outcome = Outcome.FAILED if any(each.verdict != "ok" for each in cells) else Outcome.PASSED
    given = {"id": "head", "nodeid": "tests/test_head.py::test_head", "outcome": outcome, "cells": cells, "seconds": 1.5}
    return GateResult(**{**given, **fields})


def document(*gates: GateResult, stale: Sequence[str] = ()) -> Document:
    return Document.of(gates, {"python": "3.12.1", "torch": "2.13.0", "transformers": None}, stale)


Read = Callable[..., TestSuite]


@pytest.fixture(scope="session")
def schema() -> etree.XMLSchema | None:
    return etree.XMLSchema(file=str(SCHEMA)) if SCHEMA.is_file() else None


def suites_of(text: str) -> list[TestSuite]:
    report = JUnitXml.fromstring(text.encode("utf-8"))
    assert isinstance(report, JUnitXml)
    return list(report)


@pytest.fixture
def read(schema: etree.XMLSchema | None) -> Read:
    """Render gates of one id and read them back, as junitparser's suite; every report is held against the schema."""

    def read(*gates: GateResult) -> TestSuite:
        text = junit.render(document(*gates))
        data = text.encode("utf-8")
        tree = etree.fromstring(data)
        if schema is not None:
            schema.assertValid(tree)
        (suite,) = suites_of(text)
        return suite

    return read


def names(suite: TestSuite) -> list[tuple[str, str]]:
    return [(case.classname, case.name) for case in suite]


def only(suite: TestSuite) -> Any:
    """The only testcase, with at most one result: readers show the first alone."""
    (case,) = suite
    assert len(case.result) <= 1
    return case


# The schema


@pytest.mark.skipif(not SCHEMA.is_file(), reason="Jenkins' junit-10.xsd is not beside the repository, in ../shared")
def test_the_schema_would_refuse_what_junit_xml_writes_by_itself(schema: etree.XMLSchema) -> None:
    """The tests below hold reports against the schema; one that accepted everything would show nothing."""
    from junit_xml import TestCase, TestSuite, to_xml_report_string

    plain = to_xml_report_string([TestSuite("torchscript", [TestCase("eager", "torchscript.head", 1e-9)])])
    assert not schema.validate(etree.fromstring(plain.encode()))


@pytest.mark.skipif(not SCHEMA.is_file(), reason="Jenkins' junit-10.xsd is not beside the repository, in ../shared")
def test_a_report_of_every_kind_of_gate_is_valid(schema: etree.XMLSchema) -> None:
    """Readers with a schema refuse a whole file for one wrong attribute."""
    gates = [
        gate(cell(PASSED, FAILED, SKIPPED), cell(PASSED, batch_size=None)),
        gate(cell(FAILED), id="known", outcome=Outcome.XFAILED, baseline="KNOWN", reason="see the tracker"),
        gate(id="crashed", outcome=Outcome.CRASHED),
        gate(id="skipped", outcome=Outcome.SKIPPED, reason="the test itself failed"),
        gate(cell(PASSED), id="fixed", outcome=Outcome.FAILED, baseline="FIXED"),
        GateResult.not_judged("not-judged", "tests/test_head.py::test_head", "the test itself failed"),
        GateResult.not_judged("torn", "tests/test_head.py::test_head", "the test's teardown failed", (cell(PASSED),)),
        GateResult.without_model("none", "tests/test_head.py::test_head", "no module is called", inherited=True),
        GateResult.without_inputs("bare", "tests/test_head.py::test_head", "no inputs", inherited=False),
    ]
    tree = etree.fromstring(junit.render(document(*gates)).encode())
    schema.assertValid(tree)
    assert not tree.xpath("//@disabled")


def test_no_gates_make_an_empty_suite(read: Read) -> None:
    """A run in which nothing is marked still gives the file that was asked for."""
    suite = read()
    assert (suite.name, suite.tests, list(suite)) == ("torchscript", 0, [])


# Names


def test_a_gate_is_a_suite_with_a_testcase_for_each_cell_and_check(read: Read) -> None:
    """Dashboards key history on the suite, the classname and the name."""
    suite = read(gate(cell(PASSED, FAILED), cell(PASSED, SKIPPED, target="export", batch_size=8)))
    assert suite.name == "torchscript.head"
    assert names(suite) == [
        ("torchscript.head", "torchscript[b2,s16].eager"),
        ("torchscript.head", "torchscript[b2,s16].shapes"),
        ("torchscript.head", "export[b8,s16].eager"),
        ("torchscript.head", "export[b8,s16].padding"),
    ]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (4, 1, 0, 1)


def test_each_gate_is_a_suite_of_its_own() -> None:
    """Readers that show no classname show which model failed; the totals stand above."""
    gates = [gate(cell(FAILED), id="b"), gate(cell(PASSED), id="a", nodeid="tests/test_a.py::test_a")]
    text = junit.render(document(*gates, gate(outcome=Outcome.SKIPPED, id="c", nodeid=""), stale=["b", "gone"]))
    suites = suites_of(text)
    assert [(suite.name, suite.tests, suite.failures, suite.skipped) for suite in suites] == [
        ("torchscript.a", 1, 0, 0),
        ("torchscript.b", 2, 2, 0),
        ("torchscript.c", 1, 0, 1),
        ("torchscript.gone", 1, 1, 0),
    ]
    root = etree.fromstring(text.encode())
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("5", "3", "0")
    files = [suite.get("file") for suite in root]
    assert files == ["tests/test_a.py", "tests/test_head.py", None, None]


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        ((2, 16), "torchscript[b2,s16].eager"),
        ((2, None), "torchscript[b2].eager"),
        ((None, 16), "torchscript[s16].eager"),
        ((None, None), "torchscript.eager"),
    ],
)
def test_a_size_that_the_inputs_do_not_have_is_left_out(read: Read, sizes: tuple[int | None, int | None], name: str) -> None:
    """The name is the terminal's label, with brackets."""
    assert only(read(gate(cell(PASSED, batch_size=sizes[0], seq_len=sizes[1])))).name == name


def test_names_do_not_depend_on_the_order_of_the_tests() -> None:
    """Workers and shards finish in any order; the file is the same."""
    one, two = gate(cell(PASSED), id="a"), gate(cell(FAILED), id="b")
    assert junit.render(document(one, two)) == junit.render(document(two, one))


def test_names_hold_no_times_and_no_versions(read: Read) -> None:
    """What changes from run to run would start a new history each time."""
    before = read(gate(cell(PASSED, FAILED), seconds=1.0))
    after = read(gate(cell(PASSED, failing("off by 0.5"), FAILED), seconds=99.0))
    assert set(names(before)) <= set(names(after))


def test_two_cells_of_one_name_are_told_apart(read: Read) -> None:
    """A dashboard would show the one that comes last."""
    suite = read(gate(cell(PASSED), cell(PASSED)), gate(cell(PASSED), nodeid="tests/test_other.py::test_head"))
    assert [name for _, name in names(suite)] == [
        "torchscript[b2,s16].eager",
        "torchscript[b2,s16].eager#2",
        "torchscript[b2,s16].eager#3",
    ]


# Places


@pytest.mark.parametrize("family", ["xunit1", "legacy"])
def test_a_failing_testcase_has_the_file_and_line_of_the_guilty_line(family: str) -> None:
    """Where pytest's ``junit_family`` allows it: the first finding's that has a line, else the file of the test."""
    placeless = CheckResult.failed("values", Verdict.VALUE_SPECIALISED, Finding(message="off"))
    second = CheckResult.failed("purity", Verdict.SIDE_EFFECT, Finding(message="off"), FINDING)
    found = gate(cell(PASSED, FAILED, placeless, second, SKIPPED))
    lost = GateResult.not_judged("lost", "tests/test_lost.py::test", "the test itself failed")
    root = etree.fromstring(junit.render(document(found, lost), family).encode())
    places = {case.get("name"): (case.get("file"), case.get("line")) for case in root.iter("testcase")}
    assert places == {
        "torchscript[b2,s16].eager": (None, None),
        "torchscript[b2,s16].shapes": ("src/head.py", "41"),
        "torchscript[b2,s16].values": ("tests/test_head.py", None),
        "torchscript[b2,s16].purity": ("src/head.py", "41"),
        "torchscript[b2,s16].padding": (None, None),
        "gate": ("tests/test_lost.py", None),
    }


def test_a_testcase_of_the_strict_family_has_no_place(read: Read) -> None:
    """The schema knows none; the fixture holds the report against it."""
    read(gate(cell(FAILED)))
    assert junit.render(document(gate(cell(FAILED)))) == junit.render(document(gate(cell(FAILED))), "xunit2")
    assert 'line="' not in junit.render(document(gate(cell(FAILED))))


def test_a_family_that_there_is_not_is_refused(tmp_path: Path) -> None:
    """In one clear error, and nothing is written."""
    with pytest.raises(junit.FamilyError, match=r"^junit_family must be one of xunit1, legacy, xunit2, not 'xunit3'$"):
        junit.write(tmp_path / "junit.xml", document(gate(cell(PASSED))), "xunit3")
    assert not list(tmp_path.iterdir())
    assert junit.checked_family("legacy") == "legacy"


# Failures


def test_a_failure_has_the_verdict_as_its_type_and_the_first_finding_as_its_message(read: Read) -> None:
    """A dashboard groups by type and lists messages."""
    result = only(read(gate(cell(FAILED)))).result[0]
    assert isinstance(result, Failure)
    assert (result.type, result.message) == ("ShapeSpecialised", FINDING.message)


def test_the_body_says_where_how_much_and_what_to_do(read: Read) -> None:
    """Whoever reads the dashboard need not open the log."""
    assert only(read(gate(cell(FAILED)))).result[0].text.splitlines() == [
        "output 'pooled' is off at 7 (max abs 0.81 at [0, 3])",
        "  path       pooled",
        "  amounts    index=[0, 3], kind=value, max_abs=0.81",
        "  baked at   src/head.py:41 in forward:   return x.sum(1) / int(x.shape[1])",
        "  remedy     keep the size in the graph",
        "  reproduce  pytest tests/test_head.py::test_head",
    ]


def test_the_body_says_what_the_baseline_says(read: Read) -> None:
    """A regression is told from a failure that is new."""
    body = only(read(gate(cell(FAILED), baseline="REGRESSED", reason="was ok"))).result[0].text
    assert "was ok\n  baseline   REGRESSED\n" in body


def test_several_findings_are_one_failure(read: Read) -> None:
    """Readers show the first failure of a testcase; a remedy that two findings share is given once."""
    second = Finding(message="output 'logits' is off", hint=FINDING.hint)
    case = only(read(gate(cell(CheckResult.failed("shapes", Verdict.SHAPE_SPECIALISED, FINDING, second)))))
    assert case.result[0].message == FINDING.message
    assert "output 'logits' is off" in case.result[0].text
    assert case.result[0].text.count("remedy") == 1


@pytest.mark.parametrize("messages", [(), ("",), (" \n",), ("\x1b[31m\x1b[0m",)])
def test_a_failure_without_a_message_is_a_failure_all_the_same(read: Read, messages: tuple[str, ...]) -> None:
    """junit-xml alone would report a pass."""
    suite = read(gate(cell(failing(*messages))))
    result = only(suite).result[0]
    assert isinstance(result, Failure)
    assert result.type == "NotEquivalent"
    assert result.message
    assert suite.failures == 1


def test_a_long_message_is_cut(read: Read) -> None:
    """The message is a headline; the body has the rest."""
    result = only(read(gate(cell(failing("off " * 200))))).result[0]
    assert len(result.message) == 500
    assert result.message.endswith("…")
    assert "off " * 200 in result.text


def test_a_message_is_one_line(read: Read) -> None:
    """Lists of failures have one line for each."""
    assert only(read(gate(cell(failing("a\n  b\r\nc"))))).result[0].message == "a b c"


# Skipped and known


def test_a_skipped_check_says_why(read: Read) -> None:
    """Nothing is skipped silently."""
    result = only(read(gate(cell(SKIPPED)))).result[0]
    assert isinstance(result, Skipped)
    assert result.message == "the inputs have no padding mask"
    assert result.text == "the inputs have no padding mask"


@pytest.mark.parametrize("reason", ["why", " ", "\x1b[31m\x1b[0m", "a\x00b"])
def test_every_skip_has_a_reason_in_its_body(reason: str) -> None:
    """Codecov's reader takes a skip with an empty body for a pass."""
    skip = CheckResult.skipped("padding", reason)
    gates = [
        gate(cell(skip), id="a"),
        gate(outcome=Outcome.SKIPPED, reason=reason, id="b", nodeid=""),
        gate(outcome=Outcome.XFAILED, id="c", nodeid=""),
        gate(cell(FAILED), outcome=Outcome.XFAILED, id="d"),
        GateResult.without_model("e", "", reason, inherited=True),
    ]
    skipped = list(etree.fromstring(junit.render(document(*gates)).encode()).iter("skipped"))
    assert len(skipped) == 5
    assert all((element.text or "").strip() and element.get("message") for element in skipped)


def test_a_known_failure_is_skipped_and_says_so(read: Read) -> None:
    """A dashboard stays green over what the baseline records, and shows what it is."""
    known = gate(cell(PASSED, FAILED), outcome=Outcome.XFAILED, baseline="KNOWN", reason="waits for the new pooling")
    suite = read(known)
    assert (suite.failures, suite.skipped) == (0, 1)
    (_, case) = suite
    assert isinstance(case.result[0], Skipped)
    assert case.result[0].message == f"known ShapeSpecialised (waits for the new pooling): {FINDING.message}"
    assert "src/head.py:41" in case.result[0].text


def test_a_failure_beside_a_known_one_is_red(read: Read) -> None:
    """The baseline excuses a gate as a whole or not at all."""
    assert read(gate(cell(FAILED), cell(failing("new")), outcome=Outcome.FAILED, baseline="REGRESSED")).failures == 2


# Not judged


def test_a_gate_that_was_not_judged_is_an_error(read: Read) -> None:
    """A build server that counts failures and errors is red when every gated test fails."""
    suite = read(GateResult.not_judged("head", "tests/test_head.py::test_head", "the test itself failed"))
    case = only(suite)
    assert (suite.errors, suite.failures, suite.skipped) == (1, 0, 0)
    assert isinstance(case.result[0], Error)
    assert (case.name, case.result[0].type, case.result[0].message) == ("gate", "NotJudged", "the test itself failed")
    assert "reproduce  pytest tests/test_head.py::test_head" in case.result[0].text


def test_what_was_judged_before_a_teardown_failed_stays_in_the_report(read: Read) -> None:
    """The error stands beside it."""
    suite = read(GateResult.not_judged("head", "t", "the test's teardown failed", (cell(PASSED, FAILED),)))
    assert [case.name for case in suite] == ["torchscript[b2,s16].eager", "torchscript[b2,s16].shapes", "gate"]
    assert (suite.errors, suite.failures) == (1, 1)


@pytest.mark.parametrize("inherited", [False, True])
def test_a_gate_without_a_model_says_so(read: Read, inherited: bool) -> None:
    """An error on the test's own marker, a skip under an inherited one."""
    suite = read(GateResult.without_model("head", "t", "the test calls no module", inherited=inherited))
    (result,) = only(suite).result
    assert (suite.errors, suite.skipped) == ((0, 1) if inherited else (1, 0))
    if inherited:
        assert result.message == "NoModel: the test calls no module"
    else:
        assert (result.type, result.message) == ("NoModel", "the test calls no module")


# Whole gates


def test_a_crashed_gate_is_one_failing_testcase(read: Read) -> None:
    """The process is gone and with it every check; the gate is not."""
    case = only(read(gate(outcome=Outcome.CRASHED, reason="the worker 'gw1' died while it ran")))
    assert (case.classname, case.name) == ("torchscript.head", "gate")
    assert isinstance(case.result[0], Failure)
    assert (case.result[0].type, case.result[0].message) == ("Crashed", "the worker 'gw1' died while it ran")
    assert case.time == 1.5


def test_a_crash_that_a_check_reports_is_not_counted_twice(read: Read) -> None:
    """One crash, one failure."""
    assert read(gate(cell(failing("killed", verdict=Verdict.CRASHED)), outcome=Outcome.CRASHED)).failures == 1


def test_a_crash_after_some_checks_is_shown_beside_them(read: Read) -> None:
    """What was found before the crash is not lost, and does not hide it."""
    suite = read(gate(cell(PASSED), outcome=Outcome.CRASHED))
    assert [name for _, name in names(suite)] == ["torchscript[b2,s16].eager", "gate"]
    assert suite.failures == 1


def test_a_gate_that_did_not_run_is_one_skipped_testcase(read: Read) -> None:
    """It has no cells; a report without it would look complete."""
    case = only(read(gate(outcome=Outcome.SKIPPED, reason="the test itself failed")))
    assert (case.classname, case.name) == ("torchscript.head", "gate")
    assert isinstance(case.result[0], Skipped)
    assert case.result[0].message == "the test itself failed"


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (Outcome.PASSED, []),
        (Outcome.FAILED, [Failure]),
        (Outcome.CRASHED, [Failure]),
        (Outcome.XFAILED, [Skipped]),
        (Outcome.SKIPPED, [Skipped]),
    ],
)
def test_a_gate_without_cells_does_not_vanish(read: Read, outcome: Outcome, result: list[type]) -> None:
    """Whatever its outcome and without any reason, it is one testcase that says so."""
    case = only(read(gate(outcome=outcome)))
    assert [type(each) for each in case.result] == result
    assert all(each.message for each in case.result)


@pytest.mark.parametrize("state", ["FIXED", "REGRESSED"])
def test_a_gate_that_only_its_baseline_fails_is_a_failure(read: Read, state: str) -> None:
    """Every check passed, and the build is red: the report says why."""
    suite = read(gate(cell(PASSED), outcome=Outcome.FAILED, baseline=state, reason="remove this entry"))
    (check, whole) = suite
    assert check.is_passed
    assert (whole.name, whole.result[0].type, whole.result[0].message) == ("gate", state, "remove this entry")


def test_what_is_stale_is_a_failure(schema: etree.XMLSchema | None) -> None:
    """A gate or a cell that the baseline has and no test gates: there is nothing else in the report to be red."""
    data = document(gate(cell(PASSED)), stale=["tail", "head torchscript[b8,s16]"])
    tree = etree.fromstring(junit.render(data).encode())
    assert schema is None or schema.validate(tree)
    failed = tree.xpath("//testcase[failure/@type='STALE']")
    assert [(case.get("classname"), case.get("name")) for case in failed] == [
        ("torchscript.head", "torchscript[b8,s16].gate"),
        ("torchscript.tail", "gate"),
    ]
    assert tree.get("failures") == "2"


def test_a_gate_that_is_fixed_in_part_says_so(read: Read) -> None:
    """What still fails is known; the gate failed for what passes."""
    suite = read(gate(cell(FAILED), outcome=Outcome.FAILED, baseline="FIXED", reason="bring this entry up to date"))
    assert [case.result[0].type for case in suite] == ["ShapeSpecialised", "FIXED"]


def test_a_failed_gate_is_not_counted_beside_its_failed_checks(read: Read) -> None:
    """The failing check is the failure."""
    assert [name for _, name in names(read(gate(cell(FAILED), baseline="NEW")))] == ["torchscript[b2,s16].shapes"]


# Times and properties


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0, "0.000"),
        (1e-9, "0.000"),
        (0.0126, "0.013"),
        (123456.789, "123456.789"),
        (float("inf"), "0.000"),
        (float("nan"), "0.000"),
        (-1.0, "0.000"),
    ],
)
def test_times_are_plain_decimals(schema: etree.XMLSchema | None, seconds: float, written: str) -> None:
    """An exponent is no time to the schema."""
    data = document(gate(cell(replace(PASSED, seconds=seconds))))
    tree = etree.fromstring(junit.render(data).encode())
    assert schema is None or schema.validate(tree)
    assert tree.xpath("//testcase/@time") == [written]
    assert tree.xpath("//testsuite/@time") == [written]


def test_the_time_of_the_suite_is_the_sum_of_its_testcases(read: Read) -> None:
    """Readers add up and compare."""
    checks = [CheckResult.from_json({**PASSED.to_json(), "name": f"check{i}", "seconds": 0.1}) for i in range(30)]
    suite = read(gate(cell(*checks)))
    assert suite.time == pytest.approx(sum(case.time for case in suite))


def test_the_environment_is_the_properties_of_the_suite(read: Read) -> None:
    """Versions belong there, and not in names."""
    found = {each.name: each.value for each in read(gate(cell(PASSED))).properties()}
    assert found == {"python": "3.12.1", "torch": "2.13.0"}


# Hostile text

HOSTILE: Mapping[str, tuple[str, str]] = {
    "markup": ("<b>&amp;\"'</b><!-- --><?xml?>", "<b>&amp;\"'</b><!-- --><?xml?>"),
    "cdata": ("a]]>b<![CDATA[c", "a]]>b<![CDATA[c"),
    "null": ("a\x00b", r"a\x00b"),
    "controls": ("a\x08\x0b\x0c\x1f\x7f\x85\x9fb", r"a\x08\x0b\x0c\x1f\x7f\x85\x9fb"),
    "colours": ("a\x1b[1;31mred\x1b[0mb", "aredb"),
    "escape": ("a\x1b]0;title\x07b", r"a\x1b]0;title\x07b"),
    "lone surrogate": ("a\ud800b\udfffc", r"a\ud800b\udfffc"),
    "noncharacters": ("a\ufffe\uffffb", r"a\ufffe\uffffb"),
    "unicode": ("größe_模型_😀", "größe_模型_😀"),
    "right to left": ("\u202eabc", "\u202eabc"),
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_any_text_survives(read: Read, text: str, shown: str) -> None:
    """What XML cannot hold is there as an escape, in ids, messages, bodies and reasons."""
    finding = Finding(message=text, path=text, file=text, line=1, function=text, source=text, hint=text, details={text: text})
    broken = CheckResult.failed("shapes", Verdict.SHAPE_SPECIALISED, finding)
    fields = {"id": text, "nodeid": text, "reason": text}
    suite = read(gate(cell(broken, CheckResult.skipped("padding", text), target=text), **fields))
    failed, skipped = suite
    assert failed.classname == f"torchscript.{shown}"
    assert failed.name == f"{shown}[b2,s16].shapes"
    assert failed.result[0].message == shown
    assert failed.result[0].text.count(shown) >= 7
    assert skipped.result[0].message == shown


def test_text_that_breaks_lines_keeps_them_in_the_body(read: Read) -> None:
    """Tabs and line ends are XML; a carriage return would be lost on the way."""
    assert "a\tb\nc\nd" in only(read(gate(cell(failing("a\tb\r\nc\rd"))))).result[0].text


@pytest.mark.parametrize("character", ["x", "\x00", "\ud800", "é", "😀", "]]>"])
def test_megabytes_are_cut_to_head_and_tail(read: Read, character: str) -> None:
    """Readers break on bodies of megabytes; the start and the end say most. And it does not take long."""
    message = "first words " + character * 5_000_000 + " last words"
    started = time.perf_counter()
    result = only(read(gate(cell(failing(message, "another"))))).result[0]
    assert time.perf_counter() - started < 5
    assert len(result.text.encode()) <= KIB64
    assert len(result.text.encode()) > KIB64 * 0.9
    assert result.text.startswith("first words")
    assert "left out" in result.text
    assert result.text.endswith("last words\nanother\n  reproduce  pytest tests/test_head.py::test_head")
    assert len(result.message) == 500


def test_a_body_that_just_fits_is_whole(read: Read) -> None:
    """Nothing is left out without need."""
    text = only(read(gate(cell(failing("y" * 65_000))))).result[0].text
    assert "y" * 65_000 in text
    assert "left out" not in text


def test_a_huge_reason_and_a_huge_name_do_no_harm(read: Read) -> None:
    """They come from the same places as messages do."""
    text = junit.render(
        document(gate(outcome=Outcome.SKIPPED, reason="why " * 1_000_000), gate(cell(PASSED), id="x" * 100_000))
    )
    assert len(suites_of(text)) == 2


# The file


def test_the_file_is_what_was_rendered(tmp_path: Path) -> None:
    """UTF-8, with the same bytes on every platform."""
    data = document(gate(cell(failing("größe"))))
    junit.write(tmp_path / "junit.xml", data)
    assert (tmp_path / "junit.xml").read_bytes().decode("utf-8") == junit.render(data)
    assert [path.name for path in tmp_path.iterdir()] == ["junit.xml"]


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """No half of a report, and no temporary file."""
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "absent" / "junit.xml", tmp_path / "folder"):
        with pytest.raises(OSError, match=r"absent|folder"):
            junit.write(path, document(gate(cell(PASSED))))
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_loading_the_module_does_not_load_junit_xml() -> None:
    """Most runs write no JUnit."""
    code = "import sys; from pytest_torchscript.reports import junit; assert 'junit_xml' not in sys.modules, 'loaded'"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_a_pass_says_what_it_leaves_open(read: Read) -> None:
    """Lint is a pass, and its reason goes where readers show a passing test's output; any text in it stays valid."""
    reason = "lint: no compiler \x00 ]]> \ud800 here"
    noticed = Finding(message="lint sort: sort is slow there", file="model.py", line=3)
    linted = replace(CheckResult.passed("target", findings=(noticed,), proof="lint"), reason=reason)
    case = only(read(gate(cell(linted))))
    assert case.result == []
    assert str(case.system_out).startswith("lint: no compiler ")
    assert "model.py:3" in str(case.system_out)
