"""What a person reads: one block for a failing gate, one table at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unicodedata import east_asian_width

import pytest

from pytest_torchscript.reports.document import Document
from pytest_torchscript.reports.terminal import failure_block, headline, sections, table
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Verdict

NODE = "tests/test_head.py::test_head"
ID = "tests-test_head-py--test_head"
BAKED = Finding(
    message="seq is silently wrong: traced at 16, output 'pooled' is off at 7",
    path="pooled",
    file="src/head.py",
    line=41,
    function="forward",
    source="return x.sum(1) / int(x.shape[1])",
    where="baked at",
    hint="keep the size in the graph",
    details={"cause": "as 16"},
)
EAGER = CheckResult.passed("eager")
TRACE = CheckResult.passed("trace")
SHAPES = CheckResult.failed("shapes", Verdict.SHAPE_SPECIALISED, BAKED)
PADDING = CheckResult.skipped("padding", "no mask")


def cell(*checks: CheckResult, **fields: Any) -> CellResult:
    return CellResult(**{"target": "torchscript", "batch_size": 2, "seq_len": 16, "checks": checks, **fields})


def gate(*cells: CellResult, id: str = ID, nodeid: str = NODE) -> GateResult:
    return GateResult.judged(id, nodeid, cells, 1.234)


def lines(result: GateResult) -> list[str]:
    return failure_block(result).splitlines()


def failing(*findings: Finding, name: str = "shapes", verdict: Verdict = Verdict.SHAPE_SPECIALISED) -> GateResult:
    return gate(cell(EAGER, CheckResult.failed(name, verdict, *findings)))


# The block


def test_the_block_tells_what_where_and_what_to_do() -> None:
    """Headline, a mark for each check, the finding, its line with the source, the remedy, the command."""
    assert lines(gate(cell(EAGER, TRACE, SHAPES, PADDING))) == [
        "torchscript gate: tests/test_head.py::test_head  [torchscript b2 s16]   FAILED  ShapeSpecialised",
        "  eager ✓  trace ✓  shapes ✗  padding –",
        "  shapes: seq is silently wrong: traced at 16, output 'pooled' is off at 7",
        "    baked at   src/head.py:41 in forward:   return x.sum(1) / int(x.shape[1])   (as 16)",
        "    remedy     keep the size in the graph",
        "    reproduce  pytest tests/test_head.py::test_head",
    ]


def test_only_failing_cells_are_shown() -> None:
    """A cell that passed needs no block, and the command comes once."""
    text = failure_block(gate(cell(EAGER, seq_len=8), cell(EAGER, SHAPES), cell(EAGER, SHAPES, seq_len=32)))
    assert "s8]" not in text
    assert text.count("torchscript gate: ") == 2
    assert text.count("reproduce") == 1


def test_all_failing_checks_are_shown() -> None:
    """Not the first alone; the headline has the first one's verdict."""
    purity = CheckResult.failed("purity", Verdict.SIDE_EFFECT, Finding(message="a call overwrites its input 'x'"))
    found = lines(gate(cell(EAGER, SHAPES, purity)))
    assert found[0].endswith("FAILED  ShapeSpecialised")
    assert "  purity: a call overwrites its input 'x'" in found


def test_an_id_of_ones_own_is_shown() -> None:
    """Two gates of one test are told apart."""
    assert f"{NODE} (bert)  [" in lines(gate(cell(EAGER, SHAPES), id="bert"))[0]
    assert "(" not in lines(gate(cell(EAGER, SHAPES)))[0].partition("FAILED")[0]


def test_a_gate_without_a_test_goes_by_its_id() -> None:
    """There is no command to run then."""
    found = lines(gate(cell(EAGER, SHAPES), id="bert", nodeid=""))
    assert found[0].startswith("torchscript gate: bert  [")
    assert not any("reproduce" in line for line in found)


def test_the_command_can_be_pasted_into_a_shell() -> None:
    """Brackets and spaces of a parameter are quoted."""
    found = lines(gate(cell(EAGER, SHAPES), nodeid="tests/t.py::test[a b-$HOME]"))
    assert found[-1] == "    reproduce  pytest 'tests/t.py::test[a b-$HOME]'"


def test_a_further_cause_is_a_line_of_its_own() -> None:
    """The place leads, what it is follows."""
    used = Finding(message="the constant 16 would be 7", file="src/head.py", line=43, where="used at", source="return y / n")
    found = lines(failing(BAKED, used))
    assert "    used at    src/head.py:43:   return y / n   (the constant 16 would be 7)" in found


def test_further_leaves_are_listed_under_the_first() -> None:
    """Findings without a line stand below each other."""
    found = lines(failing(Finding(message="output 'a' is off"), Finding(message="output 'b' is off")))
    assert found[2:4] == ["  shapes: output 'a' is off", "          output 'b' is off"]


def test_a_long_list_is_cut_and_counted() -> None:
    """Six findings tell the story."""
    found = lines(failing(*(Finding(message=f"output '[{index}]' is off") for index in range(10))))
    assert "          and 4 more" in found
    assert not any("[6]" in line for line in found)


def test_a_long_message_is_wrapped_at_words() -> None:
    """Lines fit a terminal; what is longer than a line, a path say, stays whole."""
    path = "a/" * 70 + "b.py"
    found = lines(failing(Finding(message="word " * 60 + path)))
    assert all(len(line) <= 120 for line in found if path not in line)
    assert any(path in line for line in found)


def test_a_message_of_many_lines_becomes_one_paragraph() -> None:
    """A block keeps its shape whatever torch says."""
    found = lines(failing(Finding(message="first\n\n   second\tthird")))
    assert found[2] == "  shapes: first second third"


def test_a_remedy_is_told_once() -> None:
    """Several findings often have the same one."""
    hints = [Finding(message=str(index), hint="do this") for index in range(3)]
    assert sum("do this" in line for line in lines(failing(*hints))) == 1


def test_every_remedy_is_told() -> None:
    """A second finding with a line of its own has a remedy of its own."""
    first = Finding(message="a call overwrites its input", file="a.py", line=1, where="written at", hint="work on a copy")
    second = Finding(message="a call changes a buffer", file="a.py", line=2, where="written at", hint="return the state")
    text = failure_block(failing(first, second, name="purity", verdict=Verdict.SIDE_EFFECT))
    assert "work on a copy" in text
    assert "return the state" in text


def test_the_tracers_warnings_are_evidence() -> None:
    """Lines that no finding has named, three at most, each once."""

    def warned(line: int) -> Finding:
        return Finding(message="Converting a tensor", file="src/head.py", line=line, where="tracer warned at")

    trace = CheckResult.passed("trace", findings=tuple(warned(line) for line in (41, 50, 50, 51, 52, 53)))
    found = lines(gate(cell(EAGER, trace, SHAPES)))
    evidence = [line for line in found if "evidence" in line]
    assert evidence == ["    evidence   the tracer also warned at src/head.py:50, src/head.py:51, src/head.py:52 and 1 more"]


def test_without_other_warnings_there_is_no_evidence() -> None:
    """A warning on the guilty line is no further evidence, and an untraceable model has none."""
    named = Finding(message="w", file="src/head.py", line=41, where="tracer warned at")
    trace = CheckResult.passed("trace", findings=(named,))
    assert "evidence" not in failure_block(gate(cell(EAGER, trace, SHAPES)))
    broken = CheckResult.failed("trace", Verdict.UNTRACEABLE, named)
    assert "evidence" not in failure_block(gate(cell(EAGER, broken)))


def test_a_place_without_function_and_source_is_still_a_place() -> None:
    """A file that cannot be read has a line all the same."""
    assert "    at         a.py:3" in lines(failing(Finding(message="m", file="a.py", line=3)))


# With a baseline


def test_a_baseline_says_what_was() -> None:
    """The state and its reason stand below the failure, wrapped like the rest."""
    result = replace(gate(cell(EAGER, SHAPES)), baseline="REGRESSED", reason="seq was dynamic")
    assert "    baseline   REGRESSED: seq was dynamic" in lines(result)


def test_a_gate_that_fails_for_its_baseline_alone_has_a_block() -> None:
    """What passes and is recorded as failing fails too, and says so."""
    result = replace(gate(cell(EAGER)), outcome=Outcome.FAILED, baseline="FIXED", reason="remove this entry")
    assert lines(result) == [
        f"torchscript gate: {NODE}   FAILED  FIXED",
        "    baseline   FIXED: remove this entry",
        f"    reproduce  pytest {NODE}",
    ]


# A headline


def test_the_headline_is_verdict_and_place() -> None:
    """What is left where a summary has one line."""
    assert headline(gate(cell(EAGER, SHAPES))) == "ShapeSpecialised at src/head.py:41"
    assert headline(failing(Finding(message="m"))) == "ShapeSpecialised"


def test_the_headline_leads_with_the_baseline() -> None:
    """A regression is more than a failure."""
    result = replace(gate(cell(EAGER, SHAPES)), baseline="REGRESSED")
    assert headline(result) == "REGRESSED: ShapeSpecialised at src/head.py:41"
    assert headline(replace(gate(cell(EAGER)), baseline="FIXED")) == "FIXED"
    assert headline(gate(cell(EAGER))) == "passed"


# The table


def texts(*gates: GateResult) -> list[str]:
    return [line for line, _ in table(Document.of(gates))]


def test_the_table_has_a_row_for_each_gate() -> None:
    """Model, target, cells, dims, verdict, seconds, in columns, by id."""
    bad = gate(cell(EAGER, SHAPES, dims={"batch": "dynamic", "seq": "unsafe"}), id="b")
    good = gate(cell(EAGER, dims={"batch": "dynamic"}), cell(EAGER, dims={"batch": "fixed"}), id="a")
    assert texts(bad, good) == [
        "model  target       cells  dims                      verdict           seconds",
        "a      torchscript  2/2    batch=dynamic/fixed       ok                   1.23",
        "b      torchscript  0/1    batch=dynamic seq=unsafe  ShapeSpecialised     1.23",
    ]


def test_a_row_is_good_unless_its_gate_failed() -> None:
    """The headline is neither."""
    failed, passed = gate(cell(EAGER, SHAPES), id="b"), gate(cell(EAGER), id="a")
    assert [good for _, good in table(Document.of([failed, passed]))] == [None, True, False]


@pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.CRASHED])
def test_a_gate_without_cells_shows_its_outcome(outcome: Outcome) -> None:
    """It did not run, or did not end."""
    row = texts(GateResult(id="a", nodeid="", outcome=outcome))[1]
    assert row.split() == ["a", "-", "0/0", "-", outcome.value, "0.00"]


def test_every_verdict_of_a_gate_is_shown_once() -> None:
    """Cells may fail in different ways."""
    purity = CheckResult.failed("purity", Verdict.SIDE_EFFECT, Finding(message="m"))
    row = texts(gate(cell(SHAPES), cell(purity), cell(SHAPES), cell(EAGER)))[1]
    assert "1/4" in row
    assert "ShapeSpecialised, SideEffect" in row


# Widths


CRASH = GateResult(id="c", nodeid="t.py::c", outcome=Outcome.CRASHED, reason="the worker 'gw0' died while " * 20)
MANY = [
    gate(cell(EAGER, SHAPES, dims={"batch": "dynamic", "seq": "unsafe", "width": "partial"}), id="tests-models-" + "x" * 300),
    gate(cell(EAGER, dims={"batch": "dynamic"}), cell(EAGER, target="neuron"), id="tests-test_models-py--test_bert"),
    GateResult.not_judged("lost", "t.py::lost", "the test itself failed: " + "why " * 100),
    GateResult.without_model("none", "t.py::none", "no model to gate: " + "why " * 100, inherited=True),
    replace(gate(cell(EAGER, SHAPES), id="größe-数-模型-" * 8), baseline="REGRESSED", reason="was ok"),
    CRASH,
]


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_the_table_is_as_wide_as_the_terminal_at_most(width: int) -> None:
    """Neither a long id nor the reason of a crash widens it, and every verdict is there."""
    found = [line for line, _ in table(Document.of(MANY), width)]
    assert all(places(line) <= width for line in found)
    for word in ("ShapeSpecialised", "ok", "NotJudged", "skipped: NoModel", "crashed", "0.00", "1.23"):
        assert any(word in line for line in found), word


def places(text: str) -> int:
    return sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def test_columns_stand_below_each_other_whatever_the_script() -> None:
    """A sign of Chinese takes two places."""
    wide = gate(cell(EAGER), id="数模")
    head, row = texts(wide)
    assert places(row.partition("torchscript")[0]) == head.index("target")


def test_a_long_id_is_shortened_in_the_middle() -> None:
    """Ids begin alike: what is left of the end says which model it is."""
    one = gate(cell(EAGER), id="tests-integration-test_models-py--test_" + "long_" * 20 + "bert")
    row = table(Document.of([one]), 80)[1][0]
    assert row.startswith("tests-")
    assert "…" in row.split()[0]
    assert row.split()[0].endswith("bert")


def test_a_narrow_terminal_keeps_the_verdict() -> None:
    """Where not even the least widths fit, lines are longer than it, and whole."""
    row = table(Document.of([MANY[0]]), 20)[1][0]
    assert "ShapeSpecialised" in row


def test_controls_in_an_id_do_not_reach_the_terminal() -> None:
    """They are shown as escapes, directions of writing too."""
    row = texts(gate(cell(EAGER), id="a\x1b[31m\u202eb"))[1]
    assert row.startswith("a\\x1b[31m\\u202eb ")


# Sections


def test_the_end_of_a_run_begins_with_a_sentence() -> None:
    """What was not judged comes first, then the table; what is stale names the baseline's file."""
    ((title, found),) = sections(Document.of(MANY, stale=["gone"]), 100, baseline="b.json")
    assert title == "torchscript gates"
    assert found[0][0].startswith("1 not judged: the test itself failed; 1 crashed, 1 regressed, 1 failed, 1 stale, 1 passed")
    assert found[1][0].startswith("model ")
    assert found[-1] == ("STALE: gone is recorded in b.json, but no test gates it: coverage was lost", False)


def test_a_run_without_gates_has_no_section() -> None:
    """Who does not use the plugin sees nothing of it."""
    assert sections(Document.of([])) == []


# Not judged


def test_a_gate_without_a_model_has_a_block() -> None:
    """It says what was looked for, and that it is an error of the suite."""
    found = GateResult.without_model("head", NODE, "no model to gate: the body calls no module", inherited=False)
    assert lines(found) == [
        f"torchscript gate: {NODE}   ERROR  NoModel",
        "  no model to gate: the body calls no module",
        f"    reproduce  pytest {NODE}",
    ]
    assert headline(found) == "NoModel"
    regressed = replace(found, baseline="REGRESSED", reason="was ok, is NoModel now; no model to gate")
    assert "    baseline   REGRESSED: was ok, is NoModel now; no model to gate" in lines(regressed)
    assert headline(regressed) == "REGRESSED: NoModel"


def test_what_was_judged_before_a_teardown_failed_is_shown() -> None:
    """With the error below it."""
    found = lines(GateResult.not_judged(ID, NODE, "the test's teardown failed", (cell(EAGER, SHAPES),)))
    assert "FAILED  ShapeSpecialised" in found[0]
    assert f"torchscript gate: {NODE}   ERROR  NotJudged" in found


def test_an_empty_table_is_a_headline() -> None:
    """Whoever prints it decides whether to."""
    assert len(texts()) == 1
