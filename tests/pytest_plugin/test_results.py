"""Gathering what the gates found, from one process or from xdist's workers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_torchscript.pytest_plugin import handover
from pytest_torchscript.pytest_plugin.gatekeeper import GATES_BY_ID
from pytest_torchscript.pytest_plugin.results import Results
from pytest_torchscript.pytest_plugin.settings import SETTINGS
from pytest_torchscript.result import GateResult, Outcome

NODEID = "test_it.py::test_one"


@pytest.fixture(autouse=True)
def no_outer_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine that runs these tests sets would be read too."""
    for name in ("CI", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


class Run:
    """A run whose reports and end are given by hand."""

    def __init__(self, pytester: pytest.Pytester, *arguments: str, recorded: tuple[str, ...] = ()) -> None:
        if recorded:
            entries = [f'"gate:{id}": {{"cells": {{"torchscript": {{"dims": {{}}, "verdict": "ok"}}}}}},\n' for id in recorded]
            (pytester.path / "torchscript-baseline.json").write_text("{\n" + "".join(entries) + '"schema": 1\n}\n')
        self.config = pytester.parseconfigure("--torchscript-json=gates.json", *arguments)
        self.results = Results(self.config, self.config.stash[SETTINGS])
        self.file = pytester.path / "gates.json"
        self.status: int = 0

    def report(
        self,
        when: str = "call",
        outcome: str = "passed",
        *,
        longrepr: str = "",
        node: Any = None,
        reporter: str = "",
        **data: Any,
    ) -> None:
        made: Any = SimpleNamespace(
            nodeid=NODEID + reporter, when=when, failed=outcome == "failed", longrepr=longrepr, node=node
        )
        handover.attach(made, **data)
        self.results.pytest_runtest_logreport(made)

    def gate(self, outcome: Outcome = Outcome.PASSED, id: str = "one", reporter: str = "") -> None:
        self.report(reporter=reporter, gates=[GateResult(id=id, nodeid=NODEID, outcome=outcome, reason="why").to_json()])

    def worker(self, **output: Any) -> None:
        self.results.pytest_testnodedown(SimpleNamespace(workeroutput=output), None)

    def end(self, status: int = 0) -> dict[str, str]:
        """The outcome of every gate in the JSON report."""
        session: Any = SimpleNamespace(exitstatus=status, shouldstop=False, shouldfail=False)
        self.results.pytest_sessionfinish(session)
        self.status = session.exitstatus
        if not self.file.exists():
            return {}
        self.document = json.loads(self.file.read_text())
        return {gate["id"]: gate["outcome"] for gate in self.document["gates"]}


def test_a_test_that_runs_again_replaces_what_it_found(pytester: pytest.Pytester) -> None:
    """A plugin that repeats failing tests reports each run."""
    run = Run(pytester)
    run.gate(Outcome.FAILED)
    run.gate(Outcome.PASSED)
    assert run.end() == {"one": "passed"}
    assert run.status == 0


def test_of_the_repetitions_of_a_test_a_failing_one_stays(pytester: pytest.Pytester) -> None:
    """pytest-repeat runs one test under several node ids, and the gate is one."""
    run = Run(pytester)
    for reporter, outcome in (("[1-3]", Outcome.PASSED), ("[2-3]", Outcome.FAILED), ("[3-3]", Outcome.PASSED)):
        run.gate(outcome, reporter=reporter)
    assert run.end() == {"one": "failed"}


def test_a_gate_that_the_end_of_the_run_cut_off_is_not_judged(pytester: pytest.Pytester) -> None:
    """Its test began, and no report of it came; one that ended is as it was."""
    run = Run(pytester)
    run.config.stash[GATES_BY_ID] = {"one": NODEID, "other": "test_it.py::test_other"}
    run.results.pytest_runtest_logstart("test_it.py::test_other")
    run.results.pytest_runtest_logfinish("test_it.py::test_other")
    run.results.pytest_runtest_logstart(NODEID)
    assert run.end(status=int(pytest.ExitCode.INTERRUPTED)) == {"one": "error"}
    (gate,) = run.document["gates"]
    assert (gate["verdict"], gate["reason"]) == ("NotJudged", "the run was stopped while its test ran")


@pytest.mark.parametrize(("text", "recorded"), [("@pytest.mark.torchscript", ()), ("", ("test_it-py--test_one",)), ("", ())])
def test_a_module_that_cannot_be_collected_is_not_judged(
    pytester: pytest.Pytester, text: str, recorded: tuple[str, ...]
) -> None:
    """If its text or the baseline says that it has gates."""
    run = Run(pytester, recorded=recorded)
    (pytester.path / "test_it.py").write_text(text)
    fail_to_collect(run)
    assert run.end(status=2) == ({"test_it-py": "error"} if text or recorded else {})


@pytest.mark.parametrize("status", [pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR])
def test_a_run_that_could_not_begin_writes_no_report(pytester: pytest.Pytester, status: pytest.ExitCode) -> None:
    """A report without gates would be read as green."""
    assert Run(pytester).end(status=int(status)) == {}
    assert not (pytester.path / "gates.json").exists()


@pytest.mark.parametrize(
    ("check", "says"),
    [("values", "in the check values of its gate"), ("", "in the test itself, outside of its gate")],
)
def test_a_crash_names_the_check_that_was_under_way(pytester: pytest.Pytester, check: str, says: str) -> None:
    """The worker notes it in a file, which is gone after the run."""
    run = Run(pytester)
    node: Any = SimpleNamespace(gateway=SimpleNamespace(id="gw0"), workerinput={})
    run.results.pytest_configure_node(node)
    worker: Any = SimpleNamespace(workerinput=node.workerinput)
    handover.Progress(worker)(check)
    run.report("setup", ids=["one"])
    run.report("???", "failed", longrepr="worker 'gw0' crashed", node=node)
    assert run.end() == {"one": "crashed"}
    assert f"worker 'gw0' crashed {says}; reproduce it" in run.document["gates"][0]["reason"]
    run.results.pytest_unconfigure()
    assert not Path(node.workerinput[handover.PROGRESS]).exists()


def test_a_gate_whose_worker_died_has_crashed(pytester: pytest.Pytester) -> None:
    """Its id came with the setup; its reason is the first line of what xdist says."""
    run = Run(pytester)
    run.report("setup", ids=["one"])
    run.report("???", "failed", longrepr="worker 'gw0' crashed\nmore")
    assert run.end() == {"one": "crashed"}
    reason = f"worker 'gw0' crashed; reproduce it with: pytest {NODEID}"
    assert run.document["gates"][0]["reason"] == reason


def test_a_gate_that_was_reported_has_not_crashed(pytester: pytest.Pytester) -> None:
    """The worker may die later, in the test's teardown."""
    run = Run(pytester)
    run.report("setup", ids=["one"])
    run.gate()
    run.report("???", "failed", longrepr="worker 'gw0' crashed")
    assert run.end() == {"one": "passed"}


def test_a_workers_problem_stops_the_reports(pytester: pytest.Pytester) -> None:
    """Every worker has the same one; nothing is written, and the run is a usage error."""
    run = Run(pytester)
    run.worker(**{handover.USAGE_ERROR: "bad marker"})
    run.worker(**{handover.USAGE_ERROR: "bad marker"})
    assert run.end() == {}
    assert run.status == pytest.ExitCode.USAGE_ERROR
    assert run.results._problems == ["bad marker"]


def test_a_report_that_cannot_be_written_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """Whoever asked for the file must not miss that it is not there."""
    run = Run(pytester)
    run.file.mkdir()
    session: Any = SimpleNamespace(exitstatus=0, shouldstop=False, shouldfail=False)
    run.results.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.USAGE_ERROR


def test_collecting_alone_writes_nothing(pytester: pytest.Pytester) -> None:
    """No gate has run."""
    assert Run(pytester, "--collect-only").end() == {}


# What is recorded, and gated no more


def test_a_recorded_gate_that_no_test_asks_for_is_stale(pytester: pytest.Pytester) -> None:
    """The run fails for it, and the report names it."""
    run = Run(pytester, recorded=("lost",))
    run.end()
    assert run.document["stale"] == ["lost"]
    assert run.status == pytest.ExitCode.TESTS_FAILED


def test_what_was_collected_is_not_stale(pytester: pytest.Pytester) -> None:
    """In this process, or in a worker."""
    run = Run(pytester, recorded=("here", "there"))
    run.config.stash[GATES_BY_ID] = {"here": NODEID}
    run.worker(**{handover.COLLECTED: json.dumps({"there": NODEID})})
    run.end()
    assert "stale" not in run.document


@pytest.mark.parametrize(
    "arguments",
    [("-k", "x"), ("-m", "x"), ("--deselect=x",), ("--ignore=x",), ("--lf",), ("--torchscript-target=torchscript",), ("x",)],
    ids=" ".join,
)
def test_a_run_of_some_tests_loses_nothing(pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    """What was left out on purpose may be gated in another run."""
    (pytester.path / "x").mkdir()
    run = Run(pytester, *arguments, recorded=("lost",))
    run.end()
    assert "stale" not in run.document


def deselect(run: Run) -> None:
    run.results.pytest_deselected()


def deselect_in_worker(run: Run) -> None:
    run.worker(**{handover.FILTERED: True})


def fail_to_collect(run: Run) -> None:
    report: Any = SimpleNamespace(passed=False, failed=True, nodeid="test_it.py")
    run.results.pytest_collectreport(report)


@pytest.mark.parametrize("happens", [deselect, deselect_in_worker, fail_to_collect])
def test_a_test_that_was_kept_from_running_is_not_lost(pytester: pytest.Pytester, happens: Any) -> None:
    """By a plugin, in a worker, or by a module that cannot be collected."""
    run = Run(pytester, recorded=("lost",))
    happens(run)
    run.end()
    assert "stale" not in run.document


def test_a_run_that_was_stopped_loses_nothing(pytester: pytest.Pytester) -> None:
    """What it did not reach is not known."""
    run = Run(pytester, recorded=("lost",))
    run.end(status=int(pytest.ExitCode.INTERRUPTED))
    assert "stale" not in run.document
