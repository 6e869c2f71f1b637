"""The baseline: its file, the states of gates, what is stale, and what an update touches."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_torchscript.baseline import (
    Baseline,
    BaselineError,
    CellRecord,
    Entry,
    Judgement,
    State,
    cells_of,
    judge,
    render,
    stale,
    update,
    write,
)
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Verdict

DYNAMIC = {"batch": "dynamic", "seq": "dynamic"}
UNSAFE = {"batch": "dynamic", "seq": "unsafe"}


def cell(
    *verdicts: str,
    dims: Mapping[str, str] | None = None,
    batch: int | None = 2,
    seq: int | None = 16,
    target: str = "torchscript",
) -> CellResult:
    """One cell whose checks fail with ``verdicts``, in this order."""
    failed = [CheckResult.failed(f"check{i}", Verdict(v), Finding(message=f"m{i}")) for i, v in enumerate(verdicts)]
    checks = (CheckResult.passed("eager"), *failed)
    return CellResult(target=target, batch_size=batch, seq_len=seq, checks=checks, dims=DYNAMIC if dims is None else dims)


def gate(*cells: CellResult, id: str = "head") -> GateResult:
    return GateResult.judged(id, f"tests/test_models.py::test_{id}", cells)


def skipped(id: str = "head") -> GateResult:
    return GateResult(id=id, nodeid=f"tests/test_models.py::test_{id}", outcome=Outcome.SKIPPED, reason="no GPU")


def crashed(id: str = "head") -> GateResult:
    return GateResult(id=id, nodeid=f"tests/test_models.py::test_{id}", outcome=Outcome.CRASHED)


def recorded(*gates: GateResult, reason: str | None = None) -> Baseline:
    """A baseline of these results; ``reason`` is given for those that fail."""
    found = update(Baseline(), gates)
    if reason is None:
        return found
    entries = {id: replace(entry, reason=reason) if entry.failures else entry for id, entry in found.entries.items()}
    return replace(found, entries=entries)


def verdict_on(now: GateResult, *was: GateResult, reason: str | None = None) -> Judgement:
    return judge(now, recorded(*was, reason=reason))


# Cells


def test_a_cell_records_every_verdict() -> None:
    """The first failing check gives the verdict; the others are kept, so that a known failure hides no new one."""
    found = cells_of(gate(cell("ShapeSpecialised", "WeightsChanged", "SideEffect", "SideEffect", dims=UNSAFE)))
    expected = CellRecord(verdict="ShapeSpecialised", also=("SideEffect", "WeightsChanged"), dims=UNSAFE)
    assert found == {"torchscript[b2,s16]": expected}


def test_two_cells_of_one_name_are_recorded_as_the_worse() -> None:
    """Neither of them hides what the other shows."""
    cells = [cell(), cell("SideEffect", dims={"batch": "fixed", "seq": "dynamic"})]
    expected = CellRecord(verdict="SideEffect", dims={"batch": "fixed", "seq": "dynamic"})
    for order in (cells, cells[::-1]):
        assert cells_of(gate(*order)) == {"torchscript[b2,s16]": expected}


# States


def test_without_a_baseline_the_outcome_stands() -> None:
    """Everything must pass."""
    assert judge(gate(cell()), None) == Judgement(state=None, outcome=Outcome.PASSED)
    assert judge(gate(cell("Untraceable")), None) == Judgement(state=None, outcome=Outcome.FAILED)


def test_a_gate_that_passes_as_recorded_is_ok() -> None:
    """There is nothing to say."""
    assert verdict_on(gate(cell()), gate(cell())) == Judgement(state=State.OK, outcome=Outcome.PASSED)


def test_a_skipped_gate_is_not_judged() -> None:
    """What did not run is neither better nor worse."""
    found = verdict_on(skipped(), gate(cell("Untraceable")))
    assert found == Judgement(state=None, outcome=Outcome.SKIPPED)
    assert found.apply(skipped()) == skipped()


def test_a_new_gate_that_passes_is_noted() -> None:
    """It passes, and the user hears how to record it."""
    found = verdict_on(gate(cell()))
    assert (found.state, found.outcome) == (State.NEW, Outcome.PASSED)
    assert found.message == ("torchscript[b2,s16]: passes; not recorded: run with --torchscript-update-baseline to keep it so")


def test_a_new_gate_that_fails_fails() -> None:
    """Only what is recorded may fail."""
    found = verdict_on(gate(cell("Untraceable")))
    assert (found.state, found.outcome) == (State.NEW, Outcome.FAILED)
    assert found.message.startswith("torchscript[b2,s16]: is Untraceable; not recorded in torchscript-baseline.json: mend it")


def test_a_known_failure_is_expected_and_shows_its_reason() -> None:
    """The same verdict as recorded."""
    found = verdict_on(gate(cell("Untraceable")), gate(cell("Untraceable")), reason="issue 12")
    assert (found.state, found.outcome) == (State.KNOWN, Outcome.XFAILED)
    assert found.message == "torchscript[b2,s16]: is Untraceable; reason: issue 12"


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_a_known_failure_without_a_reason_asks_for_one(reason: str | None) -> None:
    """The message names the line to fill in."""
    found = verdict_on(gate(cell("Untraceable")), gate(cell("Untraceable")), reason=reason)
    assert found.state is State.KNOWN
    assert found.message.endswith('no reason is given: fill in reason on the line "gate:head" in torchscript-baseline.json')


def test_a_gate_that_was_ok_and_fails_regressed() -> None:
    """A model became untraceable: the message says what it was."""
    found = verdict_on(gate(cell("Untraceable", dims={})), gate(cell()))
    assert (found.state, found.outcome) == (State.REGRESSED, Outcome.FAILED)
    assert found.message.startswith("torchscript[b2,s16]: was ok, is Untraceable now; mend it")


def test_another_verdict_than_the_known_one_is_a_regression() -> None:
    """A known failure excuses itself only."""
    found = verdict_on(gate(cell("NotEquivalent")), gate(cell("Untraceable")), reason="issue 12")
    assert (found.state, found.outcome) == (State.REGRESSED, Outcome.FAILED)
    assert "was Untraceable, is NotEquivalent now" in found.message


def test_a_further_failure_beside_the_known_one_is_a_regression() -> None:
    """The cell's verdict is the same, and yet a second check fails."""
    found = verdict_on(gate(cell("ShapeSpecialised", "SideEffect")), gate(cell("ShapeSpecialised")))
    assert found.state is State.REGRESSED
    assert "was ShapeSpecialised, is also SideEffect now" in found.message


@pytest.mark.parametrize(
    ("kind", "told"), [("fixed", "fixed"), ("partial", "partial"), ("untested", "untested"), (None, "not probed")]
)
def test_a_dim_that_was_dynamic_and_is_not_is_a_regression(kind: str | None, told: str) -> None:
    """Even though the gate passes."""
    dims = {"batch": "dynamic", **({"seq": kind} if kind else {})}
    found = verdict_on(gate(cell(dims=dims)), gate(cell()))
    assert (found.state, found.outcome) == (State.REGRESSED, Outcome.FAILED)
    assert f"torchscript[b2,s16]: seq was dynamic, is {told} now" in found.message


def test_a_dim_regresses_beside_a_known_failure() -> None:
    """The known verdict does not excuse it."""
    known = cell("PaddingUnsafe")
    found = verdict_on(gate(cell("PaddingUnsafe", dims={"batch": "fixed", "seq": "dynamic"})), gate(known), reason="known")
    assert found.state is State.REGRESSED
    assert "batch was dynamic, is fixed now" in found.message


def test_a_failure_before_the_shapes_is_told_alone() -> None:
    """That nothing was probed follows from the failure and is no news of its own."""
    assert "seq" not in verdict_on(gate(cell("Untraceable", dims={})), gate(cell())).message


def test_a_dim_that_becomes_dynamic_passes_with_a_note() -> None:
    """The record is behind, and a later loss would go unseen."""
    found = verdict_on(gate(cell()), gate(cell(dims={"batch": "dynamic", "seq": "fixed"})))
    assert (found.state, found.outcome) == (State.OK, Outcome.PASSED)
    assert found.message.startswith("torchscript[b2,s16]: seq was fixed, is dynamic now; the record is behind: run with")


def test_a_dim_that_was_never_dynamic_may_change() -> None:
    """Only what was dynamic can be lost."""
    was = gate(cell(dims={"seq": "partial"}))
    assert verdict_on(gate(cell(dims={"seq": "fixed"})), was) == Judgement(state=State.OK, outcome=Outcome.PASSED)


def test_a_fixed_failure_fails_until_its_entry_is_removed() -> None:
    """The file stays true, and the message says both ways to make it so."""
    found = verdict_on(gate(cell()), gate(cell("Untraceable", dims={})), reason="issue 12")
    assert (found.state, found.outcome) == (State.FIXED, Outcome.FAILED)
    assert found.message == (
        "torchscript[b2,s16]: was Untraceable, passes now; remove this entry: run with --torchscript-update-baseline, "
        'or delete the line "gate:head" in torchscript-baseline.json'
    )


def test_deleting_the_line_of_a_fixed_failure_passes() -> None:
    """The advice works."""
    assert judge(gate(cell()), Baseline()).outcome is Outcome.PASSED


def test_one_of_two_known_failures_fixed_asks_to_bring_the_entry_up_to_date() -> None:
    """The entry is still needed, but no longer true."""
    found = verdict_on(gate(cell("SideEffect")), gate(cell("ShapeSpecialised", "SideEffect")), reason="known")
    assert (found.state, found.outcome) == (State.FIXED, Outcome.FAILED)
    assert "was ShapeSpecialised and SideEffect, is SideEffect only now; bring this entry up to date" in found.message


# Several cells


SMALL, LARGE = {"seq": 16}, {"seq": 512}


@pytest.mark.parametrize(
    ("was", "now", "state", "outcome"),
    [
        # One cell regresses; whatever the other does, that is the news.
        (["", ""], ["Untraceable", ""], State.REGRESSED, Outcome.FAILED),
        (["", "SideEffect"], ["Untraceable", ""], State.REGRESSED, Outcome.FAILED),
        (["", "SideEffect"], ["Untraceable", "SideEffect"], State.REGRESSED, Outcome.FAILED),
        # One known cell is fixed, the other still fails as known.
        (["SideEffect", "SideEffect"], ["", "SideEffect"], State.FIXED, Outcome.FAILED),
        (["SideEffect", ""], ["", ""], State.FIXED, Outcome.FAILED),
        # Known in one, ok in the other.
        (["SideEffect", ""], ["SideEffect", ""], State.KNOWN, Outcome.XFAILED),
        # The second cell is new.
        ([""], ["", ""], State.NEW, Outcome.PASSED),
        ([""], ["", "Untraceable"], State.NEW, Outcome.FAILED),
        (["SideEffect"], ["SideEffect", ""], State.KNOWN, Outcome.XFAILED),
        (["SideEffect"], ["SideEffect", "SideEffect"], State.NEW, Outcome.FAILED),
        (["SideEffect"], ["", "Untraceable"], State.NEW, Outcome.FAILED),
        # The second cell is gone: see `stale`.
        (["", ""], [""], State.OK, Outcome.PASSED),
        (["", "Untraceable"], [""], State.OK, Outcome.PASSED),
        (["SideEffect", ""], ["SideEffect"], State.KNOWN, Outcome.XFAILED),
    ],
)
def test_the_worst_cell_decides(was: list[str], now: list[str], state: State, outcome: Outcome) -> None:
    """Regressed, new and failing, fixed, known, new and passing, ok: in this order."""

    def of(verdicts: list[str]) -> GateResult:
        return gate(*(cell(*filter(None, [verdict]), seq=16 * (1 + i)) for i, verdict in enumerate(verdicts)))

    found = verdict_on(of(now), of(was))
    assert (found.state, found.outcome) == (state, outcome)


def test_cells_of_which_the_same_is_true_share_a_phrase() -> None:
    """A gate of many cells does not repeat itself."""
    sizes = (8, 16, 32, 64, 128)
    was, now = gate(*(cell(seq=s) for s in sizes)), gate(*(cell("Untraceable", dims={}, seq=s) for s in sizes))
    assert verdict_on(now, was).message.startswith(
        "torchscript[b2,s8], torchscript[b2,s16], torchscript[b2,s32] and 2 more cells: was ok, is Untraceable now; mend"
    )


def test_a_message_stays_short_however_many_cells_differ() -> None:
    """The first few phrases, and how many more there are."""
    verdicts = [verdict.value for verdict in Verdict if verdict is not Verdict.SIDE_EFFECT]
    was = gate(*(cell("SideEffect", seq=i + 1) for i in range(len(verdicts))))
    now = gate(*(cell(verdict, seq=i + 1) for i, verdict in enumerate(verdicts)))
    message = verdict_on(now, was).message
    assert message.count("was SideEffect") == 5
    assert f"; and {len(verdicts) - 5} more; mend it" in message


def test_a_new_failing_cell_says_which_recorded_ones_are_gone() -> None:
    """A changed size is a new cell, and its failure is easier to understand beside the old one."""
    message = verdict_on(gate(cell("Untraceable", seq=32)), gate(cell())).message
    assert "torchscript[b2,s32]: is Untraceable; torchscript[b2,s16], recorded as ok, is gone; not recorded" in message


@pytest.mark.parametrize("failing", [gate(cell("EagerFailure", dims={}, batch=None, seq=None)), crashed()])
def test_a_gate_that_fails_before_its_sizes_are_known_regressed(failing: GateResult) -> None:
    """No inputs, or a crash: the cell has no size, and is still compared with what was recorded."""
    found = verdict_on(failing, gate(cell(seq=16), cell(seq=512)))
    assert found.state is State.REGRESSED
    assert "was ok" in found.message


def test_a_failure_recorded_before_the_sizes_were_known_can_be_fixed() -> None:
    """The other way round."""
    for was in (gate(cell("EagerFailure", dims={}, batch=None, seq=None)), crashed()):
        assert verdict_on(gate(cell(seq=16), cell(seq=512)), was).state is State.FIXED
        assert verdict_on(gate(cell("Untraceable")), was).state is State.REGRESSED


def test_other_targets_are_other_cells() -> None:
    """A target added to a marker is new, and no regression of the others."""
    found = verdict_on(gate(cell(), cell("TargetUnsupported", target="neuron")), gate(cell()))
    assert (found.state, found.message.split(":")[0]) == (State.NEW, "neuron[b2,s16]")


# Crashes


def test_a_crash_after_ok_is_a_regression_and_stays_a_crash() -> None:
    """The report still says that the process died."""
    found = verdict_on(crashed(), gate(cell()))
    assert (found.state, found.outcome) == (State.REGRESSED, Outcome.FAILED)
    assert "torchscript[b2,s16]: was ok, is Crashed now" in found.message
    applied = found.apply(crashed())
    assert (applied.outcome, applied.baseline) == (Outcome.CRASHED, "REGRESSED")


def test_a_known_crash_is_expected() -> None:
    """A suite with a model that kills its process can adopt the gate, too."""
    found = verdict_on(crashed(), crashed(), reason="out of memory on small machines")
    applied = found.apply(crashed())
    assert (found.state, applied.outcome) == (State.KNOWN, Outcome.XFAILED)
    assert cells_of(applied) == cells_of(crashed())


# No model, and not judged


def lost(*, inherited: bool = False, id: str = "head") -> GateResult:
    return GateResult.without_model(id, f"tests/test_models.py::test_{id}", "the test calls no module", inherited=inherited)


def not_judged(id: str = "head") -> GateResult:
    return GateResult.not_judged(id, f"tests/test_models.py::test_{id}", "the test itself failed")


@pytest.mark.parametrize("inherited", [False, True])
@pytest.mark.parametrize("was", [cell(), cell("Untraceable")])
def test_a_recorded_gate_without_its_model_regressed(was: CellResult, inherited: bool) -> None:
    """It had a model. The gate is an error, also where a marker of the module would only have skipped it."""
    found = verdict_on(lost(inherited=inherited), gate(was), reason="issue 12")
    assert (found.state, found.outcome) == (State.REGRESSED, Outcome.FAILED)
    applied = found.apply(lost(inherited=inherited))
    assert (applied.outcome, applied.baseline, applied.verdicts) == (Outcome.ERROR, "REGRESSED", ["NoModel"])
    assert f"was {was.verdict}, is NoModel now" in str(applied.reason)
    assert str(applied.reason).endswith("; the test calls no module")


def test_an_unrecorded_gate_without_a_model_is_new_on_its_own_marker_alone() -> None:
    """A marker of the module skips it, and the baseline asks for no entry."""
    found = verdict_on(lost())
    assert (found.state, found.apply(lost()).outcome) == (State.NEW, Outcome.ERROR)
    found = verdict_on(lost(inherited=True))
    assert found == Judgement(state=None, outcome=Outcome.SKIPPED)
    assert update(Baseline(), [lost(inherited=True)]) == Baseline()


@pytest.mark.parametrize("inherited", [False, True])
def test_that_a_model_is_gone_can_be_recorded(inherited: bool) -> None:
    """After an update the gate is known; with its model back it is fixed."""
    was = update(recorded(gate(cell())), [lost(inherited=inherited)])
    assert judge(lost(inherited=inherited), was).state is State.KNOWN
    assert judge(gate(cell()), was).state is State.FIXED


def test_a_gate_that_was_not_judged_is_neither_better_nor_worse() -> None:
    """The test's failure is the news: the error stands, the record stays, and nothing is stale."""
    for was in (recorded(gate(cell())), recorded(gate(cell("Untraceable"))), Baseline()):
        found = judge(not_judged(), was)
        assert found == Judgement(state=None, outcome=Outcome.ERROR)
        assert found.apply(not_judged()) == not_judged()
        assert update(was, [not_judged()]) == was
        assert stale(was, ["head"], [not_judged()]) == []


# What a result carries


def test_a_judged_gate_carries_its_state_and_message() -> None:
    """The reports render both from the JSON alone."""
    known = gate(cell("Untraceable"))
    found = verdict_on(known, known, reason="issue 12").apply(known)
    assert (found.outcome, found.baseline) == (Outcome.XFAILED, "KNOWN")
    assert found.reason == "torchscript[b2,s16]: is Untraceable; reason: issue 12"
    assert found.cells == known.cells


# What is stale


def test_a_record_that_no_test_gates_is_stale() -> None:
    """Coverage was lost; what ran is not stale, nor what is new."""
    was = recorded(gate(cell(), id="b"), gate(cell(), id="a"), gate(cell(), id="c"))
    assert stale(was, ["c", "d"], [gate(cell(), id="c"), gate(cell(), id="d")]) == ["a", "b"]


@pytest.mark.parametrize("results", [[], [skipped()], [crashed()], [GateResult.not_judged("head", "t", "it failed")]])
def test_a_gate_that_did_not_run_is_not_stale(results: list[GateResult]) -> None:
    """Deselected, skipped or crashed: there still is a test that asks for it."""
    assert stale(recorded(gate(cell())), ["head"], results) == []


def test_a_test_of_several_models_is_not_stale_while_it_does_not_run() -> None:
    """Its gates have ids of their own, known only once it runs; then a model that is no longer there is stale."""
    was = recorded(gate(cell(), id="head-Left"), gate(cell(), id="head-Right"))
    assert stale(was, ["head"]) == []
    assert stale(was, ["head"], [skipped()]) == []
    assert stale(was, ["head"], [gate(cell(), id="head-Left")]) == ["head-Right"]


def test_a_neighbour_with_a_longer_id_says_nothing_of_a_gate() -> None:
    """``head-2`` is a collected gate of its own, and that it ran does not mean that ``head`` did."""
    was = recorded(gate(cell(), id="head-Left"), gate(cell(), id="head-2"))
    assert stale(was, ["head", "head-2"], [gate(cell(), id="head-2")]) == []


def test_a_cell_that_a_gate_no_longer_has_is_stale() -> None:
    """Dropping a size from a marker loses coverage as deleting a test does."""
    was = recorded(gate(cell(seq=16), cell(seq=512)))
    assert stale(was, ["head"], [gate(cell(seq=16))]) == ["head torchscript[b2,s512]"]


def test_a_gate_that_failed_before_its_sizes_loses_no_cell() -> None:
    """The failure is the news."""
    was = recorded(gate(cell(seq=16), cell(seq=512)))
    assert stale(was, ["head"], [gate(cell("EagerFailure", dims={}, batch=None, seq=None))]) == []


# Updating


def test_an_update_records_what_ran_and_touches_nothing_else() -> None:
    """Neither gates that did not run nor those that were skipped."""
    was = recorded(gate(cell(), id="a"), gate(cell("Untraceable"), id="b"), gate(cell(), id="c"), reason="issue 12")
    found = update(was, [skipped("a"), gate(cell("SideEffect"), id="c"), gate(cell(), id="d")])
    assert list(found.entries) == ["a", "b", "c", "d"]
    assert (found.entries["a"], found.entries["b"]) == (was.entries["a"], was.entries["b"])
    assert found.entries["c"] == Entry(cells=cells_of(gate(cell("SideEffect"))), reason="")


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (["Untraceable"], "issue 12"),
        (["Untraceable", "SideEffect"], "issue 12"),
        (["NotEquivalent"], ""),
        ([], None),
    ],
)
def test_a_reason_stays_with_the_failure_it_explains(now: list[str], reason: str | None) -> None:
    """Another failure asks for another reason, and a gate that passes needs none."""
    was = recorded(gate(cell("Untraceable")), reason="issue 12")
    assert update(was, [gate(cell(*now))]).entries["head"].reason == reason


def test_an_update_for_one_target_keeps_the_cells_of_others() -> None:
    """A run with ``--torchscript-target`` says nothing of them; cells of its own target that are gone are removed."""
    was = recorded(gate(cell(), cell(target="neuron"), cell(target="neuron", seq=512)))
    found = update(was, [gate(cell("TargetUnsupported", target="neuron"))])
    assert {name: record.verdict for name, record in found.entries["head"].cells.items()} == {
        "torchscript[b2,s16]": "ok",
        "neuron[b2,s16]": "TargetUnsupported",
    }


VERDICTS: list[list[str]] = [[], ["Untraceable"], ["ShapeSpecialised"], ["ShapeSpecialised", "SideEffect"]]


@pytest.mark.parametrize(("was", "now"), list(itertools.product(VERDICTS, VERDICTS)))
def test_after_an_update_the_same_results_are_as_recorded(was: list[str], now: list[str]) -> None:
    """Whatever changed, the next run finds nothing but ``ok`` and ``KNOWN``, and nothing stale."""
    results = [gate(cell(*now), cell(seq=512)), crashed("tail"), gate(cell(*now, batch=None, seq=None), id="third")]
    found = update(recorded(gate(cell(*was), cell(seq=64)), gate(cell(*was), id="tail"), gate(cell(*was), id="third")), results)
    states = [judge(result, found).state for result in results]
    expected = State.KNOWN if now else State.OK
    assert states == [expected, State.KNOWN, expected]
    assert stale(found, ["head", "tail", "third"], results) == []
    assert update(found, results) == found


def test_two_tests_with_one_id_cannot_be_recorded() -> None:
    """One line cannot hold both, and which came last is chance."""
    one = gate(cell())
    other = replace(one, nodeid="tests/test_other.py::test_head")
    with pytest.raises(BaselineError, match=r"test_models\.py::test_head and tests/test_other\.py::test_head share .* 'head'"):
        update(Baseline(), [one, other])
    assert update(Baseline(), [one, one]).entries.keys() == {"head"}


# The file


def test_the_file_has_one_gate_a_line_and_sorted_keys() -> None:
    """Small diffs, easy merges; no times, versions, line numbers or messages."""
    text = render(recorded(gate(cell("Untraceable", dims={}), id="tail"), gate(cell(), id="head")))
    assert text == (
        "{\n"
        '"gate:head": {"cells": {"torchscript[b2,s16]": {"dims": {"batch": "dynamic", "seq": "dynamic"}, "verdict": "ok"}}},\n'
        '"gate:tail": {"cells": {"torchscript[b2,s16]": {"dims": {}, "verdict": "Untraceable"}}, "reason": ""},\n'
        '"schema": 1\n'
        "}\n"
    )
    assert json.loads(text)["schema"] == 1


@pytest.mark.parametrize("id", ["aaa", "mmm", "zzz"])
def test_adding_a_gate_adds_one_line_and_changes_none(id: str) -> None:
    """Wherever it sorts to: the last entry too ends with a comma."""
    was = recorded(gate(cell(), id="ccc"), gate(cell(), id="nnn"))
    before, after = render(was).splitlines(), render(update(was, [gate(cell(), id=id)])).splitlines()
    assert len(after) == len(before) + 1
    assert [line for line in after if f"gate:{id}" not in line] == before


def test_a_changed_gate_changes_its_line_only() -> None:
    """A pull request that touches one test file changes only that model's line."""
    was = recorded(*(gate(cell(), id=id) for id in "abc"))
    before, after = render(was).splitlines(), render(update(was, [gate(cell("Untraceable"), id="b")])).splitlines()
    assert [index for index, (one, other) in enumerate(zip(before, after, strict=True)) if one != other] == [2]


def test_lines_added_by_two_sides_can_simply_be_put_together() -> None:
    """As git's ``union`` merge does."""
    was = recorded(gate(cell(), id="a"))
    left, right = (render(update(was, [gate(cell(), id=id)])).splitlines() for id in ("b", "c"))
    assert json.loads("\n".join([*left[:-2], *[line for line in right if line not in left], *left[-2:]])).keys() == {
        *("gate:a", "gate:b", "gate:c", "schema")
    }


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Any id and any reason survives: unicode, lone surrogates, control characters."""
    path = tmp_path / "torchscript-baseline.json"
    strange = 'ü "quoted" \\ \n\x00\ud800 ☃'
    was = recorded(
        gate(cell("ShapeSpecialised", "SideEffect", dims=UNSAFE), cell(batch=None, seq=None), id=strange),
        gate(cell(), id="schema"),
        reason=strange,
    )
    write(path, was)
    found = Baseline.load(path)
    assert found is not None
    assert (found.path, found.entries) == (path, was.entries)
    write(path, found)
    assert path.read_text(encoding="utf-8") == render(was)


def test_the_order_of_the_results_does_not_show() -> None:
    """Workers finish in any order."""
    results = [gate(cell(seq=seq), cell("SideEffect", seq=1), id=id) for id, seq in (("a", 2), ("b", 3), ("c", 4))]
    texts = {render(update(Baseline(), order)) for order in itertools.permutations(results)}
    assert len(texts) == 1


def test_no_file_is_no_baseline(tmp_path: Path) -> None:
    """Without the file everything must pass, and that is no error."""
    assert Baseline.load(tmp_path / "missing.json") is None


def test_what_a_person_left_out_stays_out(tmp_path: Path) -> None:
    """Dims and reason may be missing; an update of other gates does not add them."""
    path = tmp_path / "b.json"
    path.write_text('{"gate:a": {"cells": {"torchscript": {"verdict": "Untraceable"}}}, "schema": 1}', encoding="utf-8")
    found = Baseline.load(path)
    assert found is not None
    assert found.entries == {"a": Entry(cells={"torchscript": CellRecord(verdict="Untraceable")})}
    assert '"reason"' not in render(update(found, [gate(cell(), id="b")]))


LINE = '"gate:a": {"cells": {"torchscript": {"verdict": "ok"}}}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{\n"gate:a": {,\n"schema": 1}', "line 2, column 12: not JSON: Expecting property name"),
        ("", "line 1, column 1: the file is empty"),
        (
            f'{{\n<<<<<<< HEAD\n{LINE},\n=======\n>>>>>>> b\n"schema": 1}}',
            "line 2, column 1: a merge conflict was not resolved",
        ),
        (f'{{\n{LINE},\n{LINE},\n"schema": 1}}', "line 3, column 1: 'gate:a' is there twice, first in line 2"),
        ("[1]", "line 1, column 1: a baseline must be an object, not a list"),
        (f"{{\n{LINE}}}", 'line 1, column 1: a baseline has "schema": 1, and this has no schema'),
        (f'{{\n{LINE},\n"schema": 2}}', "line 3, column 11: schema 2 is newer than this version reads (1): upgrade"),
        ('{"schema": "1"}', 'line 1, column 12: schema must be 1, not "1"'),
        ('{"schema": true}', "line 1, column 12: schema must be 1, not true"),
        ('{"schema": 0}', "line 1, column 12: schema must be 1, not 0"),
        ('{"schema": 1, "environment": {}, "gates": []}', "line 1, column 43: this is a JSON report, not a baseline"),
        ('{"head": {}, "schema": 1}', "line 1, column 10: unknown key 'head'; a gate's key is \"gate:<id>\""),
        ('{"gate:a": 3, "schema": 1}', "line 1, column 12: a gate's entry must be an object, not 3"),
        ('{"gate:a": {"cell": {}}, "schema": 1}', "line 1, column 21: unknown key 'cell'; did you mean 'cells'?"),
        ('{"gate:a": {"cells": [], "reason": ""}, "schema": 1}', "line 1, column 22: cells must be an object, not a list"),
        ('{"gate:a": {"reason": null}, "schema": 1}', "line 1, column 23: reason must be text, not null"),
        ('{"gate:a": {"cells": {"t": {}}}, "schema": 1}', "line 1, column 28: a cell owes a verdict"),
        ('{"gate:a": {"cells": {"t": "ok"}}, "schema": 1}', 'line 1, column 28: a cell must be an object, not "ok"'),
        (
            '{"gate:a": {"cells": {"t": {"verdict": "Untracable"}}}, "schema": 1}',
            "line 1, column 40: unknown verdict 'Untracable'; did you mean 'Untraceable'?",
        ),
        (
            '{"gate:a": {"cells": {"t": {"verdict": "ok", "also": ["SideEffect"]}}}, "schema": 1}',
            "line 1, column 54: a cell that is ok has no further verdicts",
        ),
        (
            '{"gate:a": {"cells": {"t": {"verdict": "Crashed", "also": "SideEffect"}}}, "schema": 1}',
            'line 1, column 59: also must be a list of verdicts, not "SideEffect"',
        ),
        (
            '{"gate:a": {"cells": {"t": {"verdict": "ok", "dims": {"seq": "dynamik"}}}}, "schema": 1}',
            "line 1, column 62: unknown class of a dim 'dynamik'; did you mean 'dynamic'?",
        ),
    ],
)
def test_a_broken_file_is_refused_with_its_place_and_never_overwritten(tmp_path: Path, text: str, expected: str) -> None:
    """The message names file, line and column; what a person must mend is left to them."""
    path = tmp_path / "torchscript-baseline.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BaselineError) as caught:
        Baseline.load(path)
    assert str(caught.value).startswith(f"baseline {path}: {expected}")
    with pytest.raises(BaselineError):
        write(path, recorded(gate(cell())))
    assert path.read_text(encoding="utf-8") == text


def test_a_directory_is_no_baseline(tmp_path: Path) -> None:
    """The message says what to give."""
    with pytest.raises(BaselineError, match="is a directory; give the file"):
        Baseline.load(tmp_path)
    with pytest.raises(BaselineError, match="is a directory"):
        write(tmp_path, Baseline())


def test_a_missing_directory_is_not_made(tmp_path: Path) -> None:
    """The system's own error is passed on."""
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "missing" / "b.json", Baseline())
    assert list(tmp_path.iterdir()) == []
