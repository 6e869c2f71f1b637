"""Markdown: what comes first, what a table can bear, what is cut, and what differs between two reports."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_torchscript.reports import json as json_report
from pytest_torchscript.reports.document import Document
from pytest_torchscript.reports.markdown import code, diff, one_line, prose, summary, write
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Verdict

FINDING = Finding(
    message="seq is silently wrong: traced at 16",
    file="src/head.py",
    line=41,
    function="forward",
    source="return x.sum(1) / int(x.shape[1])",
    where="baked at",
    hint="keep the size in the graph",
)
HOSTILE = (
    "a | b\\| ` `` <b>&amp; *x* _y_ [l](u) $m$ ~~s~~ \x1b[31m\x00 \ud800 \u202e \ufffe ü ☃ @someone #1\r\n\n# h\n| x |\n```\n"
)


def cell(*verdicts: str, finding: Finding = FINDING, seq: int = 16, dims: Mapping[str, str] | None = None) -> CellResult:
    """One cell: eager passes, padding is skipped, and a check fails for each verdict."""
    failed = [CheckResult.failed(f"check{i}" if i else "shapes", Verdict(v), finding) for i, v in enumerate(verdicts)]
    checks = (
        CheckResult.passed("eager"),
        *(failed or [CheckResult.passed("shapes")]),
        CheckResult.skipped("padding", "no mask"),
    )
    return CellResult(
        target="torchscript", batch_size=2, seq_len=seq, checks=checks, dims={"seq": "dynamic"} if dims is None else dims
    )


def gate(
    *cells: CellResult, id: str = "head", state: str | None = None, reason: str | None = None, **fields: Any
) -> GateResult:
    return replace(GateResult.judged(id, f"tests/test_{id}.py::test", cells), baseline=state, reason=reason, **fields)


def document(*gates: GateResult, stale: Sequence[str] = ()) -> Document:
    return Document.of(gates, {"python": "3.12"}, stale)


def size(text: str) -> int:
    return len(text.encode("utf-8"))


def columns(row: str) -> int:
    """How many cells GitHub sees in a table row: pipes that no backslash escapes."""
    return len(re.findall(r"(?:\\.|[^|\\])*\|", row)) - 1


# Text


def test_a_text_becomes_one_printable_line() -> None:
    """What cannot be printed is shown as an escape, and line breaks as spaces."""
    assert one_line("a\r\n\tb\x00\x1b\ud800\u202e\ufffe ü☃ ") == "a b\\x00\\x1b\\ud800\\u202e\\ufffe ü☃"


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    """Megabytes cost no more than what is shown of them."""
    text = one_line("x" * 5_000_000)
    assert text == "x" * 1000 + " … (5,000,000 characters)"
    assert one_line(" " * 5_000_000 + "x") == " … (5,000,001 characters)"


def test_markdown_in_a_text_is_text() -> None:
    """Every sign that Markdown, GitHub's mathematics or HTML know is escaped; mentions and references are broken."""
    assert prose("a|b `c` <d> *e* _f_ [g] $h$ ~i~ \\ &lt; # j") == (
        "a\\|b \\`c\\` \\<d\\> \\*e\\* \\_f\\_ \\[g\\] \\$h\\$ \\~i\\~ \\\\ \\&lt; \\# j"
    )
    assert prose("@torch.jit #12") == "@<!-- -->torch.jit \\#<!-- -->12"
    assert prose("https://x.y/a_b www.x.y") == "https<!-- -->://x.y/a\\_b www<!-- -->.x.y"


def test_code_is_a_span_where_a_span_can_hold_it() -> None:
    """Backticks would end it, and pipes the table cell around it."""
    assert code("x[0] < 1") == "`x[0] < 1`"
    assert code("a | b") == "<code>a \\| b</code>"
    assert code("`") == "<code>\\`</code>"
    assert code("") == "<code></code>"


# The summary


def test_regressions_come_first_with_verdict_line_and_remedy() -> None:
    """Then new failures, then the table, then what changed against the baseline."""
    text = summary(
        document(
            gate(cell(), id="ok", state="ok"),
            gate(cell("ShapeSpecialised"), id="anew", state="NEW", reason="not recorded"),
            gate(cell("ShapeSpecialised"), id="worse", state="REGRESSED", reason="torchscript[b2,s16]: was ok"),
        )
    )
    assert text.startswith("## TorchScript gates: 1 regressed, 1 failed, 1 passed\n")
    assert (
        "#### ✗ `worse` · REGRESSED · ShapeSpecialised\n\n"
        "Gate `tests/test_worse.py::test`: torchscript\\[b2,s16\\]: was ok\n\n"
        "- **shapes** ShapeSpecialised in `torchscript[b2,s16]`: seq is silently wrong: traced at 16\n"
        "  - Where: baked at `src/head.py:41` in `forward`: `return x.sum(1) / int(x.shape[1])`\n"
        "  - Remedy: keep the size in the graph\n"
    ) in text
    order = ["### Regressions", "✗ `worse`", "✗ `anew`", "### Models", "| `ok` |", "### Against the baseline", "- REGRESSED"]
    assert sorted(order, key=text.index) == order


def test_the_table_has_a_row_a_model_and_a_column_a_check() -> None:
    """A check's sign is that of its worst cell; skipped everywhere is a dash."""
    table = summary(
        document(
            gate(cell(), cell("ShapeSpecialised", seq=64), id="a"),
            gate(cell(), id="b", state="ok"),
            gate(id="c", outcome=Outcome.SKIPPED, reason="no GPU"),
            gate(id="d", outcome=Outcome.CRASHED),
        )
    ).partition("### Models\n\n")[2]
    assert table.splitlines()[:6] == [
        "| model | cells | eager | shapes | padding | verdict | baseline |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| `a` | 1/2 | ✓ | ✗ | – | ShapeSpecialised | – |",
        "| `b` | 1/1 | ✓ | ✓ | – | ok | ok |",
        "| `c` | 0/0 | – | – | – | skipped | – |",
        "| `d` | 0/0 | – | – | – | Crashed | – |",
    ]


def test_changes_against_the_baseline_close_the_summary() -> None:
    """Known failures with their reasons, what is fixed, new or stale; a gate that is as recorded is not named."""
    text = summary(
        document(
            gate(cell("SideEffect"), id="known", state="KNOWN", reason="reason: issue 12", outcome=Outcome.XFAILED),
            gate(cell(), id="fixed", state="FIXED", reason="was SideEffect: remove this entry", outcome=Outcome.FAILED),
            gate(cell(), id="anew", state="NEW", reason="not recorded"),
            gate(cell(), id="plain", state="ok"),
            gate(cell(), id="better", state="ok", reason="seq is dynamic now"),
            stale=["gone", "head torchscript[b2,s64]"],
        )
    )
    assert text.partition("### Against the baseline\n\n")[2].splitlines() == [
        "- NEW `anew`: not recorded",
        "- FIXED `fixed`: was SideEffect: remove this entry",
        "- STALE `gone`: recorded, and no test gates it: coverage was lost",
        "- STALE `head torchscript[b2,s64]`: recorded, and no test gates it: coverage was lost",
        "- KNOWN `known`: reason: issue 12",
        "- ok `better`: seq is dynamic now",
    ]
    assert text.startswith("## TorchScript gates: 1 fixed, still recorded, 2 stale, 1 known, 3 passed\n")
    assert "### Regressions" not in text


def test_without_a_baseline_nothing_is_said_of_one() -> None:
    """The section is left out."""
    assert "Against the baseline" not in summary(document(gate(cell()), gate(cell("Untraceable"), id="b")))


def test_what_is_stale_is_told_once() -> None:
    """Several shards may have found the same."""
    text = summary(document(stale=["gone", "gone"]))
    assert text.count("STALE `gone`") == 1
    assert "1 stale" in text


def test_a_run_without_gates_says_so() -> None:
    """An empty summary would look like a failure to write one."""
    assert summary(document()) == "## TorchScript gates: none ran\n"


def test_a_regression_without_a_failing_check_says_what_was_lost() -> None:
    """A dim that was dynamic: every check passes, and the baseline's message is all there is."""
    lost = gate(cell(dims={"seq": "fixed"}), state="REGRESSED", reason="seq was dynamic, is fixed now", outcome=Outcome.FAILED)
    assert "#### ✗ `head` · REGRESSED\n\nGate `tests/test_head.py::test`: seq was dynamic, is fixed now\n" in summary(
        document(lost)
    )


def test_a_failure_of_several_cells_at_one_line_is_told_once() -> None:
    """Its cells are named together."""
    text = summary(document(gate(*(cell("ShapeSpecialised", seq=seq) for seq in (8, 16, 32, 64, 128)))))
    assert text.count("- **shapes**") == 1
    assert "in `torchscript[b2,s8]`, `torchscript[b2,s16]`, `torchscript[b2,s32]` and 2 more cells:" in text


def test_the_summary_does_not_depend_on_the_order_of_the_gates() -> None:
    """Workers and shards come in any order."""
    gates = [gate(cell("SideEffect"), id=id, state="NEW") for id in "abc"]
    assert summary(document(*gates, stale=["x", "y"])) == summary(document(*gates[::-1], stale=["y", "x"]))


# Hostile text


def hostile_gate() -> GateResult:
    finding = Finding(message=HOSTILE, file=HOSTILE, line=1, function=HOSTILE, source=HOSTILE, where=HOSTILE, hint=HOSTILE)
    checks = (CheckResult.failed(HOSTILE, Verdict.SIDE_EFFECT, finding),)
    cells = (CellResult(target=HOSTILE, batch_size=None, seq_len=None, checks=checks, dims={HOSTILE: "unsafe"}),)
    return GateResult(id=HOSTILE, nodeid=HOSTILE, outcome=Outcome.FAILED, cells=cells, baseline="NEW", reason=HOSTILE)


def test_hostile_text_cannot_break_a_table() -> None:
    """Every row has as many cells as the header, whatever the names hold."""
    text = summary(document(hostile_gate(), gate(cell()), stale=[HOSTILE]))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {columns(row) for row in rows} == {8}


def test_hostile_text_cannot_begin_a_line() -> None:
    """No heading, list, fence or table that the report did not make; no HTML but its own; no mention."""
    for text in (summary(document(hostile_gate(), stale=[HOSTILE])), diff(document(), document(hostile_gate()))[0]):
        lines = [line for line in text.splitlines() if line]
        assert all(re.match(r"(#+ |\| | *- |Gate |Cut)", line) for line in lines)
        assert not re.search(r"(?<!\\)<(?!/?code>|!-- -->)", re.sub(r"`[^`]*`", "", text))
        assert not re.search(r"[@#]\w", text)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ufffe]", text)
        assert "ü ☃" in text
        text.encode("utf-8")


# Limits


@pytest.mark.parametrize("limit", [900_000, 60_000, 5_000, 1_000, 100, 10, 0])
def test_a_summary_stays_below_its_limit_and_says_what_was_cut(limit: int) -> None:
    """In bytes of UTF-8, whatever is in it."""
    long = replace(FINDING, message="ü☃" * 2_500_000)
    failing = [
        gate(cell("SideEffect", finding=long), id=f"{HOSTILE}-{i}", state="REGRESSED", reason="ü" * 9999) for i in range(300)
    ]
    known = [
        gate(cell("SideEffect"), id=f"known-{i}", state="KNOWN", reason="☃" * 999, outcome=Outcome.XFAILED) for i in range(500)
    ]
    text = summary(document(*failing, *known, stale=[f"gone-{i}" for i in range(500)]), limit=limit)
    assert size(text) <= limit
    if limit >= 1000:
        (line,) = re.findall(r"^\*\*Cut to stay below .*$", text, re.MULTILINE)
        assert line.endswith("The JSON report has all.")
        assert "of 300 failing models" in line
        assert "baseline entries" in line
        assert text.endswith("\n")
    if limit >= 60_000:
        assert min(text.count("\n#### ✗"), text.count("\n| "), text.count("\n- ")) >= 5


def test_a_summary_of_usual_size_is_not_cut() -> None:
    """A thousand models, fifty of them failing."""
    gates = [gate(cell(*(["SideEffect"] if i % 20 == 0 else [])), id=f"tests-test_models-py--test_{i}") for i in range(1000)]
    text = summary(document(*gates))
    assert "Cut to stay" not in text
    assert text.count("\n| `") == 1000


def test_a_comment_stays_below_githubs_limit() -> None:
    """A comment may have 65,536 characters."""
    text, regressed = diff(document(), document(*(gate(cell("SideEffect"), id=f"gate-{i}") for i in range(5000))))
    assert regressed
    assert size(text) < 65_536
    assert "of 5,000 entries of 'New, and failing'" in text


# Writing


def test_a_summary_file_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any file but the step's own."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    path = tmp_path / "summary.md"
    path.write_text("old\n", encoding="utf-8")
    write(path, document(gate(cell())))
    assert path.read_text(encoding="utf-8") == summary(document(gate(cell())))


@pytest.mark.parametrize("there", ["", "other\n", "other"])
def test_the_summary_of_a_step_is_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    """Other commands of the step write to the same file."""
    path = tmp_path / "summary.md"
    path.write_text(there, encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    write(path, document(gate(cell())))
    text = path.read_text(encoding="utf-8")
    assert text.startswith(there)
    assert text.endswith("\n" * bool(there) + summary(document(gate(cell()))))


def test_the_summary_of_a_step_leaves_room_for_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub drops the whole file when it is too long."""
    path = tmp_path / "summary.md"
    path.write_text("x" * 890_000, encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    write(path, document(*(gate(cell("SideEffect"), id=f"gate-{i}") for i in range(500))))
    assert 890_000 < path.stat().st_size <= 900_000
    assert "Cut to stay below" in path.read_text(encoding="utf-8")


# The difference


def changed(old: Sequence[GateResult], new: Sequence[GateResult]) -> tuple[dict[str, list[str]], bool]:
    """The top-level lines of each section, and whether it regressed."""
    text, regressed = diff(document(*old), document(*new))
    sections: dict[str, list[str]] = {}
    for block in text.split("\n### ")[1:]:
        title, *lines = block.splitlines()
        sections[title] = [line for line in lines if line.startswith("- ")]
    return sections, regressed


def test_identical_reports_differ_in_one_line() -> None:
    """Times, messages and places of failures that were there before are no difference."""
    old = gate(cell("SideEffect"), cell(seq=8))
    new = replace(gate(cell("SideEffect", finding=Finding(message="other words")), cell(seq=8)), seconds=9.0)
    assert diff(document(old), document(new)) == ("TorchScript gates: no change in 1 gate.\n", False)
    assert diff(document(), document()) == ("TorchScript gates: no change in 0 gates.\n", False)


def test_what_got_worse_is_a_regression_with_its_line_and_remedy() -> None:
    """Cell by cell, as the baseline would say it."""
    text, regressed = diff(document(gate(cell(), cell(seq=64))), document(gate(cell(), cell("ShapeSpecialised", seq=64))))
    assert regressed
    assert text == (
        "## TorchScript gates: 1 worse\n\n### Worse\n\n"
        "- ✗ `head`: torchscript\\[b2,s64\\]: was ok, is ShapeSpecialised now\n"
        "  - **shapes** ShapeSpecialised in `torchscript[b2,s64]`: seq is silently wrong: traced at 16\n"
        "    - Where: baked at `src/head.py:41` in `forward`: `return x.sum(1) / int(x.shape[1])`\n"
        "    - Remedy: keep the size in the graph\n"
    )


def test_a_dim_that_is_no_longer_dynamic_is_a_regression() -> None:
    """Even where the gate passes, without any baseline."""
    sections, regressed = changed([gate(cell())], [gate(cell(dims={"seq": "fixed"}))])
    assert (sections, regressed) == ({"Worse": ["- ✗ `head`: torchscript\\[b2,s16\\]: seq was dynamic, is fixed now"]}, True)


def test_a_crash_is_a_regression() -> None:
    """It has no cells, and is compared all the same."""
    sections, regressed = changed([gate(cell())], [gate(outcome=Outcome.CRASHED)])
    assert (sections, regressed) == ({"Worse": ["- ✗ `head`: torchscript\\[b2,s16\\]: was ok, is Crashed now"]}, True)


def test_worse_but_expected_to_fail_is_no_regression() -> None:
    """Somebody wrote the failure down; it is shown with the reason."""
    now = gate(cell("SideEffect"), state="KNOWN", reason="reason: issue 12", outcome=Outcome.XFAILED)
    sections, regressed = changed([gate(cell())], [now])
    assert not regressed
    assert sections == {
        "Worse, and expected to fail": ["- ✗ `head`: torchscript\\[b2,s16\\]: was ok, is SideEffect now (reason: issue 12)"]
    }


def test_what_got_better_is_told() -> None:
    """Verdicts that are gone, and dims that became dynamic."""
    old = [gate(cell("SideEffect"), id="a"), gate(cell(dims={"seq": "fixed"}), id="b")]
    sections, regressed = changed(old, [gate(cell(), id="a"), gate(cell(), id="b")])
    assert not regressed
    assert sections == {
        "Better": [
            "- `a`: torchscript\\[b2,s16\\]: was SideEffect, passes now",
            "- `b`: torchscript\\[b2,s16\\]: seq was fixed, is dynamic now",
        ]
    }


def test_new_and_gone_gates_and_cells_are_told() -> None:
    """Deleting a model is shown and is no defect; a new one that passes neither."""
    sections, regressed = changed([gate(cell(), id="a"), gate(cell())], [gate(cell(), id="b"), gate(cell(seq=64))])
    assert not regressed
    assert sections == {
        "New": ["- `b`: ok, not there before", "- `head`: torchscript\\[b2,s64\\]: passes"],
        "Gone": ["- `a`: was ok", "- `head`: `torchscript[b2,s16]`"],
    }


def test_a_new_gate_or_cell_that_fails_is_a_regression() -> None:
    """A pull request that adds a model adds it traceable."""
    sections, regressed = changed([], [gate(cell("SideEffect"))])
    assert (sections, regressed) == ({"New, and failing": ["- ✗ `head`: SideEffect, not there before"]}, True)
    sections, regressed = changed([gate(cell())], [gate(cell(), cell("SideEffect", seq=64))])
    assert (sections, regressed) == ({"Worse": ["- ✗ `head`: torchscript\\[b2,s64\\]: is SideEffect"]}, True)


def test_a_gate_that_does_not_run_any_more_is_told() -> None:
    """So is a check that is skipped now: less is proved than before."""
    quieter = CheckResult.skipped("eager", "too slow")
    now = replace(cell(), checks=(quieter, *cell().checks[1:]))
    skip = gate(id="b", outcome=Outcome.SKIPPED, reason="no GPU")
    sections, regressed = changed([gate(cell()), gate(cell(), id="b")], [gate(now), skip])
    assert not regressed
    assert sections == {
        "No longer judged": [
            "- `b`: was ok, is skipped now: no GPU",
            "- `head`: torchscript\\[b2,s16\\]: eager is skipped now: too slow",
        ]
    }


def test_a_gate_that_was_skipped_is_judged_as_a_new_one() -> None:
    """Nothing is known of what it was."""
    skip = gate(outcome=Outcome.SKIPPED)
    assert changed([skip], [gate(cell())]) == ({"New": ["- `head`: ok, was skipped"]}, False)
    assert changed([skip], [gate(cell("SideEffect"))])[1]
    assert changed([skip], [skip]) == ({}, False)


def test_a_report_without_any_gate_is_a_regression() -> None:
    """A run that broke before its first gate must not look like one in which nothing got worse."""
    text, regressed = diff(document(gate(cell())), document())
    assert regressed
    assert "**The new report holds no gate at all.**" in text


def test_a_failure_that_was_there_before_is_no_regression() -> None:
    """The difference is about the change."""
    assert changed([gate(cell("SideEffect"))], [gate(cell("SideEffect"))]) == ({}, False)


def test_a_document_read_from_a_file_renders_the_same() -> None:
    """The reports are functions of the JSON alone."""
    data = document(gate(cell("SideEffect"), state="NEW"), hostile_gate())
    again = json_report.parse("a.json", json.loads(json_report.render(data)))
    assert summary(again) == summary(data)
