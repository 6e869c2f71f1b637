"""The summary: what comes first, how causes are grouped, what is folded, what is left out, what is cut."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_torchscript.baseline import Baseline, judge, update
from pytest_torchscript.reports import json as json_report
from pytest_torchscript.reports.diff import diff
from pytest_torchscript.reports.markdown import summary, write
from pytest_torchscript.result import GateResult, Outcome

from .page import FINDING, HOSTILE, cell, columns, document, gate, hostile_gate, size


def rows(text: str, title: str) -> list[str]:
    """The rows of the table below a title, without its two lines of head."""
    return re.findall(r"^\|.*", text.partition(title)[2].partition("\n\n|")[2].partition("\n\n")[0], re.MULTILINE)[1:]


# What comes first


def test_the_first_line_says_what_was_not_judged() -> None:
    """No word of a skip where tests failed."""
    lost = [GateResult.not_judged(id, f"t.py::{id}", "the test itself failed") for id in "ab"]
    text = summary(document(*lost))
    assert text.startswith("## TorchScript gates: 2 not judged: the test itself failed\n")
    assert "skipped" not in text
    assert "#### ✗ NotJudged: 2 models\n\n- `a`, `b`: the test itself failed\n" in text


def test_regressions_come_before_new_failures() -> None:
    """Then the table, then what changed against the baseline, then what passes, folded."""
    text = summary(
        document(
            gate(cell(), id="ok", state="ok"),
            gate(cell("SideEffect"), id="anew", state="NEW", reason="not recorded"),
            gate(cell("ShapeSpecialised"), id="worse", state="REGRESSED", reason="torchscript[b2,s16]: was ok; mend it"),
            gate(cell("SideEffect"), id="known", state="KNOWN", reason="reason: issue 12", outcome=Outcome.XFAILED),
            stale=["gone"],
        )
    )
    order = [
        "## TorchScript gates: 1 regressed, 1 failed, 1 stale, 1 known, 1 passed\n",
        "### Failures",
        "#### ✗ ShapeSpecialised (shapes): 1 model",
        "#### ✗ SideEffect (shapes): 1 model",
        "### Failing models",
        "### Against the baseline",
        "- STALE `gone`",
        "<summary>1 known failure</summary>",
        "- `known`: reason: issue 12",
        "<summary>1 passed</summary>",
    ]
    assert sorted(order, key=text.index) == order


def test_a_cause_says_where_what_and_what_to_do() -> None:
    """The line with its source, the message, the models, the remedy, the command."""
    assert (
        "#### ✗ ShapeSpecialised (shapes): 1 model\n\n"
        "- Baked at `src/head.py:41` `return x.sum(1) / int(x.shape[1])` in `forward`: "
        "seq is silently wrong: traced at 16\n"
        "  - In `head`\n"
        "  - Remedy: keep the size in the graph\n"
        "\nReproduce: `pytest tests/test_head.py::test`\n"
    ) in summary(document(gate(cell("ShapeSpecialised"))))


def test_models_that_fail_at_one_line_are_one_cause() -> None:
    """Twelve are named, the rest is counted; each is a row of the table."""
    text = summary(document(*(gate(cell("ShapeSpecialised"), id=f"m{i:02}") for i in range(15))))
    assert text.count("####") == 1
    assert "#### ✗ ShapeSpecialised (shapes): 15 models" in text
    assert "`m11` and 3 more\n" in text
    assert len(rows(text, "### Failing models")) == 15


def test_a_remedy_is_given_once() -> None:
    """Also where one mistake is made at many lines, the most frequent of which comes first."""
    other = replace(FINDING, line=50)
    gates = [gate(cell("ShapeSpecialised", finding=f), id=f"m{i}") for i, f in enumerate([FINDING, other, other])]
    text = summary(document(*gates))
    assert text.count("Remedy: ") == 1
    assert text.index("src/head.py:50") < text.index("src/head.py:41")


def test_many_places_are_counted() -> None:
    """The table has every model, and the JSON report every line."""
    gates = [gate(cell("ShapeSpecialised", finding=replace(FINDING, line=i + 1)), id=f"m{i}") for i in range(20)]
    assert "- and at 8 other places\n" in summary(document(*gates))


def test_further_places_of_a_failure_are_named() -> None:
    """Where the wrong value is made, and where it is used."""
    used = replace(FINDING, line=43, where="used at")
    failing = cell("ShapeSpecialised")
    check = replace(failing.checks[1], findings=(FINDING, used), reason="why")
    text = summary(document(gate(replace(failing, checks=(check,)))))
    assert "  - Also `src/head.py:43`\n" in text
    assert "  - Because: why\n" in text


def test_a_regression_without_a_failing_check_says_what_was_lost() -> None:
    """A dim that was dynamic: every check passes, and the baseline's message is all there is."""
    lost = gate(cell(dims={"seq": "fixed"}), state="REGRESSED", reason="seq was dynamic, is fixed now", outcome=Outcome.FAILED)
    assert "#### ✗ REGRESSED: 1 model\n\n- `head`: seq was dynamic, is fixed now\n" in summary(document(lost))


def test_the_advice_of_the_baseline_is_given_once() -> None:
    """Each gate says it of itself; a page says it for all."""
    was = update(Baseline(), [gate(cell(), id=f"m{i}") for i in range(5)])
    now = [gate(cell("SideEffect"), id=f"m{i}") for i in range(5)] + [gate(cell(), id=f"new{i}") for i in range(5)]
    text = summary(document(*(judge(one, was).apply(one) for one in now)))
    assert text.count("--torchscript-update-baseline") == 1
    assert text.count("mend it") == 0
    assert "- NEW: 5 models passing, and not recorded\n" in text


# Links


def test_a_place_is_a_link_where_its_address_is_known() -> None:
    """A file that is not in the checkout has none."""
    failing = document(gate(cell("ShapeSpecialised")))
    text = summary(failing, link=lambda file, line: f"https://x.y/{file}#L{line}")
    assert "Baked at [`src/head.py:41`](https://x.y/src/head.py#L41) `return" in text
    assert "Baked at `src/head.py:41` `return" in summary(failing, link=lambda file, line: None)


def test_the_summary_of_a_job_links_to_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the job say where it is; with a commit unknown there is no link."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "head.py").touch()
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("GITHUB_SHA", "a" * 40)
    path = tmp_path / "summary.md"
    write(path, document(gate(cell("ShapeSpecialised"))), root=tmp_path)
    assert f"(https://github.com/owner/name/blob/{'a' * 40}/src/head.py#L41)" in path.read_text(encoding="utf-8")
    monkeypatch.setenv("GITHUB_SHA", "unknown")
    write(path, document(gate(cell("ShapeSpecialised"))), root=tmp_path)
    assert "https://" not in path.read_text(encoding="utf-8")


# Tables


def test_verdict_and_target_are_the_first_columns() -> None:
    """They are seen where a page is narrow."""
    text = summary(document(gate(cell(), cell("ShapeSpecialised", seq=64, dims={"seq": "unsafe"}), id="a", state="NEW")))
    assert "| verdict | target | model | fails in | cells | dims | baseline |\n| --- |" in text
    assert rows(text, "### Failing models") == [
        "| ShapeSpecialised | torchscript | `a` | shapes | 1/2 | seq dynamic/unsafe | NEW |"
    ]


def test_columns_that_say_ok_everywhere_are_left_out() -> None:
    """What passes is a name and what it leaves open."""
    text = summary(document(gate(cell(), id="a"), gate(cell(), id="b")))
    assert "| target | model |\n| --- | --- |\n| torchscript | `a` |\n| torchscript | `b` |\n" in text
    text = summary(document(gate(cell(), id="a"), gate(cell(dims={"seq": "fixed"}), id="b")))
    assert "| target | model | dims |\n" in text
    assert "| torchscript | `a` | – |\n| torchscript | `b` | seq fixed |\n" in text


def test_a_long_id_is_shortened_in_the_middle() -> None:
    """The table stays within the page."""
    text = summary(document(gate(cell("SideEffect"), id="a" * 150 + "b" * 150)))
    assert max(map(len, re.findall(r"`(a+…b+)`", text))) == 60


def test_what_was_skipped_is_told_by_reason() -> None:
    """A marker on a module may skip dozens for want of a model."""
    none = [GateResult.without_model(id, f"t.py::{id}", "no model to gate", inherited=True) for id in "ab"]
    text = summary(
        document(*none, gate(id="c", outcome=Outcome.SKIPPED, reason="no GPU"), gate(id="d", outcome=Outcome.SKIPPED))
    )
    assert text.startswith("## TorchScript gates: 2 skipped, 2 skipped without a model or inputs\n")
    folded = text.partition("<details><summary>4 skipped</summary>\n\n")[2]
    assert folded.splitlines()[:3] == ["- NoModel: no model to gate: `a`, `b`", "- no GPU: `c`", "- no reason given: `d`"]


# Against the baseline


def test_changes_against_the_baseline() -> None:
    """What is stale, fixed or better; a gate that is as recorded is not named."""
    text = summary(
        document(
            gate(cell(), id="fixed", state="FIXED", reason="was SideEffect, passes now", outcome=Outcome.FAILED),
            gate(cell(), id="anew", state="NEW", reason="not recorded"),
            gate(cell(), id="plain", state="ok"),
            gate(cell(), id="better", state="ok", reason="seq is dynamic now"),
            stale=["gone", "head torchscript[b2,s64]"],
        )
    )
    assert text.partition("### Against the baseline\n\n")[2].splitlines()[:7] == [
        "- STALE `gone`: recorded, and no test gates it: coverage was lost",
        "- STALE `head torchscript[b2,s64]`: recorded, and no test gates it: coverage was lost",
        "- FIXED `fixed`: was SideEffect, passes now",
        "- ok `better`: seq is dynamic now",
        "- NEW: 1 model passing, and not recorded",
        "",
        "What is meant to stay so is recorded, or removed, by `pytest --torchscript-update-baseline` on your machine.",
    ]
    assert text.startswith("## TorchScript gates: 1 fixed, still recorded, 2 stale, 3 passed\n")
    assert "### Failures" not in text


def test_without_a_baseline_nothing_is_said_of_one() -> None:
    """The section is left out, and so is the column."""
    text = summary(document(gate(cell()), gate(cell("Untraceable"), id="b")))
    assert "baseline" not in text


def test_what_is_stale_is_told_once() -> None:
    """Several shards may have found the same."""
    text = summary(document(stale=["gone", "gone"]))
    assert text.count("STALE `gone`") == 1
    assert "1 stale" in text


def test_a_run_without_gates_says_so() -> None:
    """An empty summary would look like a failure to write one."""
    assert summary(document()) == "## TorchScript gates: none ran\n"


def test_the_summary_does_not_depend_on_the_order_of_the_gates() -> None:
    """Workers and shards come in any order."""
    gates = [gate(cell("SideEffect"), id=id, state="NEW") for id in "abc"]
    assert summary(document(*gates, stale=["x", "y"])) == summary(document(*gates[::-1], stale=["y", "x"]))


# Hostile text


def test_hostile_text_cannot_break_a_table() -> None:
    """Every row has as many cells as its header, whatever the names hold."""
    text = summary(document(hostile_gate(), gate(cell()), stale=[HOSTILE]))
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({columns(row) for row in table.splitlines()}) == 1


def test_hostile_text_cannot_begin_a_line() -> None:
    """No heading, list, fence or table that the report did not make; no HTML but its own; no mention."""
    own = r"(#+ |\| | *- |Gate |Cut|Reproduce: |What is meant|</?details>)"
    for text in (summary(document(hostile_gate(), stale=[HOSTILE])), diff(document(), document(hostile_gate()))[0]):
        lines = [line for line in text.splitlines() if line]
        assert all(re.match(own, line) for line in lines)
        assert not re.search(r"(?<!\\)<(?!/?(code|details|summary)>|!-- -->)", re.sub(r"`[^`]*`", "", text))
        assert not re.search(r"[@#](?!#)\w", text)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ufffe]", text)
        assert "ü ☃" in text
        text.encode("utf-8")


# Limits


@pytest.mark.parametrize("limit", [900_000, 60_000, 5_000, 1_000, 100, 10, 0])
def test_a_summary_stays_below_its_limit_and_says_what_was_cut(limit: int) -> None:
    """In bytes of UTF-8, whatever is in it."""
    failing = [
        gate(
            cell("SideEffect", finding=replace(FINDING, message="ü☃" * 2_500_000, line=i + 1)),
            id=f"{HOSTILE}-{i}",
            state="REGRESSED",
            reason="ü" * 9999,
        )
        for i in range(300)
    ]
    known = [
        gate(cell("SideEffect"), id=f"known-{i}", state="KNOWN", reason="☃" * 999, outcome=Outcome.XFAILED) for i in range(500)
    ]
    text = summary(document(*failing, *known, stale=[f"gone-{i}" for i in range(500)]), limit=limit)
    assert size(text) <= limit
    if 1000 <= limit <= 60_000:
        (line,) = re.findall(r"^\*\*Cut to stay below .*$", text, re.MULTILINE)
        assert line.endswith("The JSON report has all.")
        assert "baseline entries" in line or "known failures" in line
        assert text.endswith("\n")
    if limit >= 60_000:
        assert min(text.count("\n#### ✗"), text.count("\n| "), text.count("\n- ")) >= 1


def test_the_summary_of_a_thousand_models_is_not_cut() -> None:
    """Fifty of them fail; and it stays below what GitHub takes."""
    gates = [gate(cell(*(["SideEffect"] if i % 20 == 0 else [])), id=f"tests-test_models-py--test_{i}") for i in range(1000)]
    text = summary(document(*gates))
    assert "Cut to stay" not in text
    assert size(text) < 900_000
    assert len(re.findall(r"^\| (?:SideEffect|torchscript) ", text, re.MULTILINE)) == 1000


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


def test_a_summary_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    """The caller decides how to say it."""
    with pytest.raises(OSError, match="absent"):
        write(tmp_path / "absent" / "summary.md", document(gate(cell())))


def test_a_document_read_from_a_file_renders_the_same() -> None:
    """The reports are functions of the JSON alone."""
    data = document(gate(cell("SideEffect"), state="NEW"), hostile_gate())
    again = json_report.parse("a.json", json.loads(json_report.render(data)))
    assert summary(again) == summary(data)
