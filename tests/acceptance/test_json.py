"""The JSON report: its schema, and that it is the same however the tests were run."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from .harness import REPORT, PytestRuns, Run, comparable

SUITE = {
    "conftest.py": """
        import pytest
        import torch

        @pytest.fixture(autouse=True)
        def same_weights_in_any_order():
            torch.manual_seed(5)
    """,
    "test_zoo.py": """
        import pytest
        import torch
        from models import *

        @pytest.mark.torchscript(seq_len=(8, 16))
        def test_z_encoder():
            Encoder()(**tokens())

        @pytest.mark.torchscript
        @pytest.mark.parametrize("model", [Head, Scaler, Regularised, OtherWhileTracing, BranchesOnValues, PythonFunction])
        def test_rows(model):
            model().eval()(rows())

        @pytest.mark.torchscript
        @pytest.mark.parametrize("model", [BakedLength, LoudLength, TwiceBroken])
        def test_features(model):
            model()(features())

        @pytest.mark.torchscript(id="aaa")
        def test_several():
            Head()(rows())
            NoneBeside()(rows())

        @pytest.mark.torchscript
        def test_skipped():
            pytest.skip("not today")

        @pytest.mark.torchscript
        @pytest.mark.xfail(strict=True)
        def test_xfailed():
            Jitter()(rows())

        @pytest.mark.torchscript
        def test_no_model(): ...

        def test_explicit(torchscript):
            torchscript.check(TiedLanguageModel(), (tokens()["input_ids"],))
            torchscript.check(Head(), (rows(),))
    """,
    "test_another.py": """
        import pytest
        from models import *

        @pytest.mark.torchscript
        def test_first_file():
            Head()(rows())
    """,
}


@pytest.fixture
def run(run_suite: PytestRuns, mode: tuple[str, ...]) -> Run:
    return run_suite(SUITE, *mode)


def test_schema_is_the_contract_s(run: Run) -> None:
    """Report, environment, gates, cells, checks and findings have the keys and types of schema 1."""
    report = run.report
    assert set(report) == {"schema", "environment", "gates"}
    assert report["schema"] == 1
    assert set(report["environment"]) == {"python", "torch", "transformers", "pytest_torchscript", "platform"}
    assert report["environment"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["environment"]["platform"] == sys.platform
    assert report["gates"]
    for gate in report["gates"]:
        # `reason` says why a skipped gate did not run; the contract shows the others.
        # The verdict is that of a gate of which nothing was judged; the others have theirs in their cells.
        assert ("verdict" in gate) == (gate["outcome"] == "error")
        assert set(gate) - {"reason", "verdict"} == {"id", "nodeid", "outcome", "baseline", "seconds", "cells"}
        assert gate["outcome"] in {"passed", "failed", "xfailed", "skipped", "error", "crashed"}
        assert gate["baseline"] is None
        assert isinstance(gate["seconds"], float)
        for cell in gate["cells"]:
            _check_cell(cell)


def _check_cell(cell: dict[str, Any]) -> None:
    assert set(cell) == {"target", "batch_size", "seq_len", "verdict", "dims", "axes", "probes", "checks"}
    assert cell["target"] == "torchscript"
    for size in (cell["batch_size"], cell["seq_len"]):
        assert size is None or type(size) is int
    failed = [check["verdict"] for check in cell["checks"] if check["status"] == "failed"]
    assert cell["verdict"] == (failed[0] if failed else "ok")
    assert set(cell["dims"].values()) <= {"dynamic", "fixed", "partial", "unsafe", "untested"}
    for check in cell["checks"]:
        assert set(check) == {"name", "status", "verdict", "seconds", "reason", "findings", "metrics"}
        assert check["status"] in {"passed", "failed", "skipped"}
        assert isinstance(check["seconds"], float)
        assert isinstance(check["metrics"], dict)
        for finding in check["findings"]:
            assert {"message", "path", "file", "line", "hint"} <= set(finding)
            assert finding["message"]
            assert finding["line"] is None or type(finding["line"]) is int


def test_keys_are_sorted_at_every_level(run: Run) -> None:
    """The file's keys are sorted, so that two reports can be compared line by line."""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        assert keys == sorted(keys)
        return dict(pairs)

    json.loads((run.folder / REPORT).read_text(encoding="utf-8"), object_pairs_hook=check)


def test_gates_are_sorted_by_id(run: Run) -> None:
    """Gates stand in the order of their ids, whatever the order of the tests."""
    ids = [gate["id"] for gate in run.report["gates"]]
    assert ids == sorted(ids)
    assert ids[0].startswith("aaa")
    assert len(ids) == len(set(ids))


def test_outcomes_are_told_apart(run: Run) -> None:
    """A gate is passed, failed, xfailed or skipped, the latter with a reason and without cells."""
    assert run.gate("test_z_encoder")["outcome"] == "passed"
    assert run.gate("test_features[BakedLength]")["outcome"] == "failed"
    assert run.gate("test_xfailed")["outcome"] == "xfailed"
    assert run.outcomes["test_xfailed"] == "xfailed"
    skipped = run.gate("test_skipped")
    assert (skipped["outcome"], skipped["cells"]) == ("skipped", [])
    assert skipped["reason"]


WAYS: list[tuple[str, ...]] = [
    ("-n", "2"),
    ("-W", "error", "-p", "no:cacheprovider"),
    ("-p", "no:terminal", "test_zoo.py", "test_another.py"),
]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_findings_are_the_same_however_the_tests_are_run(run_suite: PytestRuns, way: tuple[str, ...]) -> None:
    """Over workers, with warnings as errors, without cache or terminal, in another order: every finding is the same."""
    plain, other = run_suite(SUITE), run_suite(SUITE, *way)
    assert other.outcomes == plain.outcomes
    left, right = comparable(plain.report, "metrics"), comparable(other.report, "metrics")
    for mine, theirs in zip(left["gates"], right["gates"], strict=True):
        assert mine == theirs
    assert left == right


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_metrics_are_the_same_however_the_tests_are_run(run_suite: PytestRuns, way: tuple[str, ...]) -> None:
    """What was measured does not depend on how pytest was started either, times aside."""
    plain, other = comparable(run_suite(SUITE).report), comparable(run_suite(SUITE, *way).report)
    different = [
        (gate["id"], check["name"], check["metrics"], twin["metrics"])
        for gate, same in zip(plain["gates"], other["gates"], strict=True)
        for cell, matching in zip(gate["cells"], same["cells"], strict=True)
        for check, twin in zip(cell["checks"], matching["checks"], strict=True)
        if check["metrics"] != twin["metrics"]
    ]
    assert different == []


ODD = {
    "pytest.ini": """
        [pytest]
        disable_test_id_escaping_and_forfeit_all_rights_to_community_support = true
    """,
    "test_größe.py": """
        import pytest
        from models import *

        @pytest.mark.torchscript
        @pytest.mark.parametrize("size", ["größe", "☃", "a\\tb", "<&'\\">"])
        def test_ünïcode(size):
            Head()(rows())

        class Complains(nn.Module):
            def forward(self, x):
                raise ValueError("surrogate \\ud800, null \\0, escape \\x1b[31m, snowman ☃")

        @pytest.mark.torchscript(model=Complains, inputs=(rows(),), skip={"device": "Gründe ☃ \\udcff"})
        def test_message(): ...

        @pytest.mark.torchscript
        def test_reason():
            pytest.skip("weil ☃")
    """,
}


@pytest.fixture
def odd(run_suite: PytestRuns, mode: tuple[str, ...]) -> Run:
    return run_suite(ODD, *mode)


def test_unicode_names_survive(odd: Run) -> None:
    """Names in any script, with control and markup characters, are in the report as they are, as UTF-8."""
    nodeids = {gate["nodeid"] for gate in odd.report["gates"]}
    assert "test_größe.py::test_ünïcode[größe]" in nodeids
    assert "test_größe.py::test_ünïcode[☃]" in nodeids
    assert "test_größe.py::test_ünïcode[<&'\">]" in nodeids
    assert len(nodeids) == 6
    assert "größe".encode() in (odd.folder / REPORT).read_bytes()
    ids = {gate["id"] for gate in odd.report["gates"]}
    assert len(ids) == 6, ids


def test_any_text_survives_in_messages(odd: Run) -> None:
    """Lone surrogates and control characters in a model's error stop neither the run, nor xdist, nor the report."""
    assert "INTERNALERROR" not in odd.text
    assert odd.outcomes["test_message"] == "failed"
    said = odd.said("test_message")
    assert "snowman ☃" in said
    assert "\ud800" in said or "\\ud800" in said
    assert odd.gate("test_message")["outcome"] == "failed"
    assert "Gründe ☃" in odd.check("test_message", "device")["reason"]


def test_surrogates_in_test_ids_survive(run_suite: PytestRuns) -> None:
    """A test id that is no valid text, as made of undecodable bytes, has its gate in the report."""
    suite = {
        "pytest.ini": ODD["pytest.ini"],
        "test_bytes.py": """
            import pytest
            from models import *

            @pytest.mark.torchscript
            @pytest.mark.parametrize("name", ["caf\\udce9"])
            def test_bytes(name):
                NoneBeside()(rows())
        """,
    }
    # pytest itself cannot cache the name of such a test.
    run = run_suite(suite, "-p", "no:cacheprovider")
    assert "INTERNALERROR" not in run.text, run.text
    (gate,) = run.report["gates"]
    assert gate["nodeid"].startswith("test_bytes.py::test_bytes[caf")
    assert gate["outcome"] == "failed"


SMALL = {
    "test_small.py": """
        import pytest
        from models import *

        @pytest.mark.torchscript
        def test_head():
            Head()(rows())

        @pytest.mark.torchscript
        def test_none():
            NoneBeside()(rows())

        @pytest.mark.torchscript
        def test_other():
            OtherHead()(rows())
    """
}
NO_TORCH = {"test_plain.py": "def test_plain(): ...\n"}


@pytest.mark.parametrize(
    ("path", "says"), [(".", "directory"), ("", "file"), ("missing/gates.json", "missing"), ("pytest.ini/x.json", "pytest.ini")]
)
def test_a_path_that_cannot_be_written_is_a_usage_error(run_suite: PytestRuns, path: str, says: str) -> None:
    """A directory, nothing, or a file in no directory is told before any test runs, with the option's name."""
    run = run_suite(NO_TORCH, f"--torchscript-json={path}")
    assert run.code == pytest.ExitCode.USAGE_ERROR
    assert "--torchscript-json" in run.text
    assert says in run.text
    assert not run.outcomes
    assert "Traceback" not in run.text


def test_a_report_without_gates_is_a_report(run_suite: PytestRuns) -> None:
    """A run without any gate writes a report with none."""
    run = run_suite(NO_TORCH)
    assert run.report["gates"] == []
    assert run.report["schema"] == 1


def test_a_stopped_run_replaces_the_old_report_by_what_it_has(run_suite: PytestRuns) -> None:
    """Under `-x` the gates that ran replace an older report, at a path relative to the caller, and nothing else stays."""
    files = {**SMALL, "old/gates.json": "{]" * 10_000}
    run = run_suite(files, "--torchscript-json=old/gates.json", "-p", "no:cacheprovider", "-x")
    gates = json.loads((run.folder / "old/gates.json").read_text(encoding="utf-8"))["gates"]
    assert {gate["nodeid"].rpartition("::")[2] for gate in gates} == {"test_head", "test_none"}
    assert [path.name for path in (run.folder / "old").iterdir()] == ["gates.json"]


def test_collecting_only_writes_no_report(run_suite: PytestRuns) -> None:
    """`--collect-only` runs no gate and so writes nothing."""
    run = run_suite({"test_marked.py": "import pytest\n@pytest.mark.torchscript\ndef test_it(): ...\n"}, "--collect-only")
    assert run.report is None
    assert run.code == 0


def test_a_worker_that_dies_takes_no_other_gate_along(run_suite: PytestRuns) -> None:
    """If a test kills its worker, the gates of all others are in the report."""
    suite = {
        **SMALL,
        "test_killer.py": """
            import os

            def test_killer():
                os._exit(11)
        """,
    }
    run = run_suite(suite, "-n", "2")
    assert {gate["nodeid"].rpartition("::")[2] for gate in run.report["gates"]} == {"test_head", "test_none", "test_other"}


def test_pytest_s_own_report_holds_the_gate_s_message(run: Run) -> None:
    """pytest's `--junitxml` works as ever, and its failure is the gate's block."""
    assert run.outcomes["test_z_encoder"] == "passed"
    assert run.outcomes["test_several"] == "failed"
    headline = "torchscript gate: test_zoo.py::test_several (aaa-NoneBeside)  [torchscript b2]   FAILED  Untraceable"
    assert headline in run.messages["test_several"]


def test_the_table_at_the_end_lists_every_gate(run: Run) -> None:
    """The terminal's table has a line for each gate, with its verdict, and says where the report is."""
    table = run.output.partition(" torchscript gates ")[2]
    for gate in run.report["gates"]:
        line = next(line for line in table.splitlines() if line.split()[:1] == [gate["id"]])
        failing = [cell["verdict"] for cell in gate["cells"] if cell["verdict"] != "ok"]
        for verdict in failing or ["ok" if gate["cells"] else gate.get("verdict", gate["outcome"])]:
            assert verdict in line
    assert REPORT in table
