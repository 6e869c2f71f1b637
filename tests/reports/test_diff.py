"""The comment on a pull request: what differs between two reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_torchscript.reports.diff import diff
from pytest_torchscript.result import CheckResult, Finding, GateResult, Outcome

from .page import cell, document, gate, size


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


def test_a_test_that_fails_now_is_a_regression() -> None:
    """Its model is not judged any more, which must not look like a change that is none."""
    lost = GateResult.not_judged("head", "tests/test_head.py::test", "the test itself failed")
    sections, regressed = changed([gate(cell())], [lost])
    assert regressed
    assert sections == {"No longer judged, as the test fails": ["- ✗ `head`: was ok, is NotJudged now: the test itself failed"]}
    assert changed([lost], [lost]) == ({}, False)
    assert changed([lost], [gate(cell())]) == ({"New": ["- `head`: ok, was not judged"]}, False)
    assert changed([lost], [gate(cell("SideEffect"))])[1]


def test_a_model_that_is_gone_is_a_regression() -> None:
    """Whether the marker is the test's own or inherited."""
    for inherited in (False, True):
        lost = GateResult.without_model("head", "tests/test_head.py::test", "no model to gate", inherited=inherited)
        sections, regressed = changed([gate(cell())], [lost])
        assert regressed
        assert sections == {"Worse": ["- ✗ `head`: torchscript\\[b2,s16\\]: was ok, is NoModel now"]}


def test_a_comment_stays_below_githubs_limit() -> None:
    """A comment may have 65,536 characters."""
    text, regressed = diff(document(), document(*(gate(cell("SideEffect"), id=f"gate-{i}") for i in range(5000))))
    assert regressed
    assert size(text) < 65_536
    assert "of 5,000 entries of 'New, and failing'" in text
