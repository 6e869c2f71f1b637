"""What was found, as data: its rules, its JSON, and the way back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

import pytest_torchscript
from pytest_torchscript.naming import cell_name
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Status, Verdict

FINDING = Finding(
    message="output 'pooled' is off",
    path="pooled",
    file="src/head.py",
    line=41,
    function="forward",
    source="return x.sum(1) / int(x.shape[1])",
    where="baked at",
    hint="keep the size in the graph",
    details={"max_abs": 0.81, "index": [0, 3]},
)
PASSED = CheckResult.passed("eager", outputs={"output": "float32 (2, 3)"})
FAILED = CheckResult.failed("shapes", Verdict.SHAPE_SPECIALISED, FINDING, dims={"seq": {"traced": 16}})
SKIPPED = CheckResult.skipped("padding", "the inputs have no padding mask")


def cell(*checks: CheckResult, **fields: Any) -> CellResult:
    return CellResult(**{"target": "torchscript", "batch_size": 2, "seq_len": 16, "checks": checks, **fields})


def gate(*cells: CellResult) -> GateResult:
    return GateResult.judged("head", "tests/test_head.py::test_head", cells, 1.25)


# Checks


def test_a_failed_check_has_a_verdict() -> None:
    """A failure without a verdict would have no type in a report."""
    with pytest.raises(ValueError, match="check 'eager': a verdict goes with a failure"):
        CheckResult(name="eager", status=Status.FAILED)


@pytest.mark.parametrize("status", [Status.PASSED, Status.SKIPPED])
def test_only_a_failed_check_has_a_verdict(status: Status) -> None:
    """A verdict on what did not fail would be read as a failure."""
    with pytest.raises(ValueError, match="a verdict goes with a failure and with nothing else"):
        CheckResult(name="eager", status=status, verdict=Verdict.UNTRACEABLE, reason="so")


@pytest.mark.parametrize("reason", [None, ""])
def test_a_skipped_check_owes_a_reason(reason: str | None) -> None:
    """Nothing is skipped silently."""
    with pytest.raises(ValueError, match="check 'padding': a skipped check owes a reason"):
        CheckResult(name="padding", status=Status.SKIPPED, reason=reason)


def test_the_figures_of_a_check_are_its_metrics() -> None:
    """Whatever a check measures is kept under its own name."""
    assert PASSED.metrics == {"outputs": {"output": "float32 (2, 3)"}}
    assert FAILED.findings == (FINDING,)
    assert FAILED.metrics == {"dims": {"seq": {"traced": 16}}}


# Cells


def test_a_cell_is_ok_when_nothing_failed() -> None:
    """Skipped checks do not fail a cell."""
    assert cell(PASSED, SKIPPED).verdict == "ok"


def test_a_cell_has_the_verdict_of_its_first_failure() -> None:
    """Later failures are often consequences of the first."""
    late = CheckResult.failed("purity", Verdict.SIDE_EFFECT, FINDING)
    assert cell(PASSED, FAILED, late).verdict == "ShapeSpecialised"


@pytest.mark.parametrize(
    ("sizes", "label"),
    [
        ((2, 16), "torchscript b2 s16"),
        ((None, 16), "torchscript s16"),
        ((2, None), "torchscript b2"),
        ((None, None), "torchscript"),
    ],
)
def test_a_label_names_the_sizes_there_are(sizes: tuple[int | None, int | None], label: str) -> None:
    """A size that the inputs do not have is not named."""
    found = cell(batch_size=sizes[0], seq_len=sizes[1])
    assert found.label == label
    assert found.sizes == label.removeprefix("torchscript").strip()
    assert found.name == cell_name("torchscript", *sizes)


def test_a_cell_lists_each_failure_once() -> None:
    """Two checks may fail with one verdict."""
    late = CheckResult.failed("purity", Verdict.SIDE_EFFECT, FINDING)
    assert cell(PASSED, FAILED, late, late).failures == ["ShapeSpecialised", "SideEffect"]
    assert cell(PASSED, SKIPPED).failures == []


def test_a_check_is_found_by_name() -> None:
    """A cell gives the result of one check, or a KeyError with the name asked for."""
    assert cell(PASSED, FAILED).check("shapes") is FAILED
    with pytest.raises(KeyError, match="weights"):
        cell(PASSED).check("weights")


# Gates


def test_one_failing_cell_fails_the_gate() -> None:
    """Every cell must pass."""
    assert gate(cell(PASSED), cell(FAILED)).outcome is Outcome.FAILED
    assert gate(cell(PASSED), cell(PASSED)).outcome is Outcome.PASSED


def test_a_gate_without_cells_fails() -> None:
    """Nothing judged is nothing proved."""
    assert gate().failed


@pytest.mark.parametrize(
    ("outcome", "failed"),
    [
        (Outcome.PASSED, False),
        (Outcome.FAILED, True),
        (Outcome.XFAILED, False),
        (Outcome.SKIPPED, False),
        (Outcome.CRASHED, True),
        (Outcome.ERROR, True),
    ],
)
def test_a_gate_failed_when_its_outcome_says_so(outcome: Outcome, failed: bool) -> None:
    """A failure expected and a gate not run fail no test; a crash and an error do."""
    assert GateResult(id="head", nodeid="", outcome=outcome).failed is failed


def test_a_gate_whose_test_failed_is_an_error() -> None:
    """Its model was not judged, which must not look like a skip."""
    result = GateResult.not_judged("head", "t::head", "the test itself failed")
    assert (result.outcome, result.verdicts, result.reason) == (Outcome.ERROR, ["NotJudged"], "the test itself failed")
    assert result.failed


@pytest.mark.parametrize(("made", "verdict"), [(GateResult.without_model, "NoModel"), (GateResult.without_inputs, "NoInputs")])
def test_a_gate_without_a_subject_fails_on_its_own_marker_only(made: Any, verdict: str) -> None:
    """A marker on a whole module also meets tests that call no model: these are skipped, and say why."""
    own = made("head", "t::head", "nothing was found", inherited=False)
    inherited = made("head", "t::head", "nothing was found", inherited=True)
    assert (own.outcome, own.failed, own.verdicts) == (Outcome.ERROR, True, [verdict])
    assert (inherited.outcome, inherited.failed, inherited.verdicts) == (Outcome.SKIPPED, False, [verdict])
    assert own.reason == inherited.reason == "nothing was found"


@pytest.mark.parametrize(
    ("outcome", "verdicts"),
    [
        (Outcome.FAILED, ["EagerFailure"]),
        (Outcome.CRASHED, ["Crashed"]),
        (Outcome.XFAILED, ["Crashed"]),
        (Outcome.SKIPPED, []),
        (Outcome.PASSED, []),
    ],
)
def test_a_gate_that_ended_before_its_cells_has_the_verdict_of_its_outcome(outcome: Outcome, verdicts: list[str]) -> None:
    """A crash that a baseline expects is a crash all the same."""
    assert GateResult(id="head", nodeid="", outcome=outcome).verdicts == verdicts


def test_the_verdicts_of_a_gate_are_those_of_its_cells() -> None:
    """The first of each, each once."""
    late = CheckResult.failed("purity", Verdict.SIDE_EFFECT, FINDING)
    assert gate(cell(FAILED, late), cell(late), cell(PASSED), cell(FAILED)).verdicts == ["ShapeSpecialised", "SideEffect"]


def test_a_renamed_gate_is_the_same_but_for_its_id() -> None:
    """Several models of one test get ids of their own."""
    renamed = gate(cell(PASSED)).renamed("head-Tail")
    assert renamed.id == "head-Tail"
    assert renamed.renamed("head") == gate(cell(PASSED))


# JSON


def test_the_json_has_the_keys_of_schema_1() -> None:
    """The names are a contract: dashboards and baselines depend on them."""
    data = gate(cell(PASSED, FAILED, SKIPPED, dims={"seq": "unsafe"})).to_json()
    assert {"id", "nodeid", "outcome", "baseline", "seconds", "cells"} <= set(data)
    assert (data["id"], data["outcome"], data["baseline"], data["seconds"]) == ("head", "failed", None, 1.25)
    (found,) = data["cells"]
    assert set(found) == {"target", "batch_size", "seq_len", "verdict", "dims", "axes", "probes", "checks"}
    assert (found["verdict"], found["dims"]) == ("ShapeSpecialised", {"seq": "unsafe"})
    keys = {"name", "status", "verdict", "seconds", "reason", "findings", "metrics"}
    assert [set(check) for check in found["checks"]] == [keys] * 3
    assert [check["status"] for check in found["checks"]] == ["passed", "failed", "skipped"]
    assert [check["verdict"] for check in found["checks"]] == [None, "ShapeSpecialised", None]
    assert found["checks"][2]["reason"] == "the inputs have no padding mask"
    assert cell(PASSED, program="torch.export").to_json()["program"] == "torch.export"
    (finding,) = found["checks"][1]["findings"]
    assert {"message", "path", "file", "line", "hint"} <= set(finding)
    assert (finding["file"], finding["line"], finding["where"]) == ("src/head.py", 41, "baked at")


def test_a_result_survives_json() -> None:
    """What a worker sends is what the controller reads."""
    result = gate(cell(PASSED, FAILED, SKIPPED, dims={"seq": "unsafe"}), cell(PASSED, batch_size=None))
    assert GateResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_a_reason_survives_json() -> None:
    """A gate that did not run still says why in the merged report."""
    result = GateResult(id="head", nodeid="t", outcome=Outcome.SKIPPED, reason="the test itself failed")
    assert GateResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_a_verdict_without_cells_survives_json() -> None:
    """Whether it was a skip or an error, what was missing is known; a gate that was judged has no such key."""
    result = GateResult.without_model("head", "t", "nothing was found", inherited=True)
    assert result.to_json()["verdict"] == "NoModel"
    assert GateResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    assert "verdict" not in gate(cell(PASSED)).to_json()


def test_a_report_without_reasons_can_be_read() -> None:
    """The key ``reason`` of a gate is no part of the contract, and its absence no error."""
    data = gate(cell(PASSED)).to_json()
    del data["reason"]
    assert GateResult.from_json(data) == gate(cell(PASSED))


def test_numbers_that_json_lacks_become_text() -> None:
    """NaN and infinities are written as words, at any depth, so that strict readers accept the report."""
    details: dict[Any, Any] = {"max_abs": math.inf, "nested": [{"x": math.nan}, (-math.inf, 1.0)], 3: True}
    written = Finding(message="m", details=details).to_json()["details"]
    assert written == {"max_abs": "inf", "nested": [{"x": "nan"}, ["-inf", 1.0]], "3": True}
    metrics = CheckResult.passed("target", flops=math.nan).to_json()["metrics"]
    assert json.loads(json.dumps(metrics, allow_nan=False)) == {"flops": "nan"}


def test_seconds_are_written_to_the_microsecond() -> None:
    """More digits would be noise."""
    assert GateResult.judged("a", "", (cell(PASSED),), 0.123456789).to_json()["seconds"] == 0.123457
    check = CheckResult(name="eager", status=Status.PASSED, seconds=1.00000049)
    assert check.to_json()["seconds"] == 1.0


def test_the_verdicts_are_those_of_the_documentation() -> None:
    """Their texts are the failure types in every report, and final."""
    assert {verdict.value for verdict in Verdict} == {
        "EagerFailure",
        "NonDeterministic",
        "NonFinite",
        "Untraceable",
        "NotEquivalent",
        "ValueSpecialised",
        "ShapeSpecialised",
        "PaddingUnsafe",
        "NotSerialisable",
        "WeightsChanged",
        "SideEffect",
        "DevicePinned",
        "TargetUnsupported",
        "TargetFailure",
        "Crashed",
        "Unavailable",
        "NoModel",
        "NoInputs",
        "NotJudged",
    }


# The package


def test_the_public_names_come_from_the_package() -> None:
    """Everything in ``__all__`` can be imported from the top, and is the thing itself."""
    assert pytest_torchscript.GateResult is GateResult
    assert all(getattr(pytest_torchscript, name) is not None for name in pytest_torchscript.__all__)
    assert dir(pytest_torchscript) == sorted(pytest_torchscript.__all__)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    """Loading names lazily does not change what a wrong one gives."""
    with pytest.raises(AttributeError, match="no attribute 'Gate'"):
        _ = pytest_torchscript.Gate
