"""Gathers what the gates found: in the only process, or in xdist's controller, from the reports of all workers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ..naming import default_id
from ..result import GateResult, Outcome
from . import handover, reporting
from .gatekeeper import GATES_BY_ID
from .settings import Settings

__all__ = ["Results"]


class Results:
    """Gathers what the gates found, adds what is missing (crashed, stale), and has it reported."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._gates: dict[tuple[str, str], GateResult] = {}
        self._reporters: dict[tuple[str, str], str] = {}
        self._running: dict[str, None] = {}
        self._uncollected: set[str] = set()
        self._problems: list[str] = []
        self._crashed: dict[str, str] = {}
        self._collected: dict[str, str] = {}
        self._filtered = False
        self._stale: list[str] = []
        self._discovered: list[dict[str, str]] = []
        self._written: list[Path] = []
        self._folder: TemporaryDirectory[str] | None = None

    # Gathering

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for data in handover.attached(report, "gates"):
            self._add(GateResult.from_json(data), report.nodeid)
        self._collected.update(dict.fromkeys(handover.attached(report, "ids"), report.nodeid))
        self._discovered += handover.attached(report, "discovered")
        if str(report.when) == "???" and report.failed:
            # xdist's word for a test in which the worker died.
            self._crashed[report.nodeid] = _last_words(report)

    def _add(self, result: GateResult, reporter: str) -> None:
        """Take over a result. A test that is run again replaces what it found; of pytest-repeat's runs, a failing one stays."""
        key = result.nodeid, result.id
        known = self._gates.get(key)
        if known is None or not known.failed or self._reporters[key] == reporter:
            self._gates[key], self._reporters[key] = result, reporter

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._running[nodeid] = None

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._running.pop(nodeid, None)

    def pytest_deselected(self) -> None:
        self._filtered = True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        # A module that cannot be collected, or skips itself, is kept from running: its gates are not lost.
        self._filtered = self._filtered or not report.passed
        if report.failed and report.nodeid:
            self._uncollected.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take over what an xdist worker could not report on a test."""
        output = getattr(node, "workeroutput", None) or {}
        problem = output.get(handover.USAGE_ERROR)
        # Every worker has the same to say.
        if problem and not self._problems:
            self._problems.append(problem)
        self._collected.update(json.loads(output.get(handover.COLLECTED, "{}")))
        self._filtered = self._filtered or bool(output.get(handover.FILTERED))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give an xdist worker a file for its progress."""
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="pytest-torchscript-")
        node.workerinput[handover.PROGRESS] = str(Path(self._folder.name, str(node.gateway.id)))

    def pytest_unconfigure(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    # The end of the run

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._config.option.collectonly:
            return
        here: dict[str, str] = self._config.stash.get(GATES_BY_ID, {})
        self._collected.update(here)
        stopped_early = getattr(session, "exitstatus", 0) in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR)
        if not self._problems and not stopped_early:
            self._add_crashed()
            self._add_unfinished()
            self._stale = self._find_stale(session)
            self._written, self._problems = reporting.write_reports(
                self._config, self._settings, list(self._gates.values()), stale=self._stale, discovered=self._discovered
            )
        if self._problems:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif self._stale and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        gates = list(self._gates.values())
        record = self._settings.baseline_path.name
        reporting.show_gates(terminalreporter, gates, stale=self._stale, baseline=record)
        if self._settings.discover:
            reporting.show_discovered(terminalreporter, self._discovered, self._settings)
        reporting.show_end(terminalreporter, problems=self._problems, written=self._written)
        reporting.annotate(terminalreporter, gates, stale=self._stale, config=self._config)

    def _add_crashed(self) -> None:
        """Add a gate for each that a dead worker could not report."""
        done = {nodeid for nodeid, _ in self._gates}
        for id, nodeid in self._collected.items():
            if nodeid in self._crashed and nodeid not in done:
                reason = f"{self._crashed[nodeid]}; reproduce it with: pytest {shlex.quote(nodeid)}"
                gate = GateResult(id=id, nodeid=nodeid, outcome=Outcome.CRASHED, reason=reason)
                self._gates[nodeid, id] = self._settings.judged(gate)

    def _add_unfinished(self) -> None:
        """Add a gate for each that the end of the run cut off, and for each module with gates that cannot be collected."""
        done = {nodeid for nodeid, _ in self._gates}
        why = "the run was stopped while its test ran"
        unfinished = {id: (n, why) for id, n in self._collected.items() if n in self._running and n not in done}
        for nodeid in sorted(self._uncollected):
            if self._mentions_gates(nodeid):
                unfinished[default_id(nodeid)] = nodeid, "the module could not be collected, and none of its gates ran"
        for id, (nodeid, reason) in unfinished.items():
            self._gates[nodeid, id] = self._settings.judged(GateResult.not_judged(id, nodeid, reason))

    def _mentions_gates(self, nodeid: str) -> bool:
        """Whether a module that cannot be imported would have had gates, as far as its text and the baseline say."""
        recorded = self._settings.baseline.entries if self._settings.baseline else {}
        file = self._config.rootpath / nodeid.partition("::")[0]
        said = file.is_file() and b"torchscript" in file.read_bytes()
        return said or any(id.startswith(default_id(nodeid)) for id in recorded)

    def _find_stale(self, session: pytest.Session) -> list[str]:
        """The recorded gates that no test of a complete run asks for."""
        recorded = self._settings.baseline
        if recorded is None or self._settings.update or not self._is_complete(session):
            return []
        from .. import baseline

        return baseline.stale(recorded, self._collected, self._gates.values())

    def _is_complete(self, session: pytest.Session) -> bool:
        """Whether every test was to run, and none was kept from it: what a run leaves out is not lost."""
        option = self._config.option
        chosen = option.keyword or option.markexpr or "target" in self._settings.override
        chosen = chosen or any(getattr(option, name, None) for name in ("deselect", "ignore", "ignore_glob"))
        stopped = session.shouldstop or session.shouldfail or session.exitstatus not in (0, 1, 5)
        named = self._config.args_source is not pytest.Config.ArgsSource.TESTPATHS and any(
            Path(self._config.invocation_params.dir, arg).resolve() != self._config.rootpath.resolve()
            for arg in self._config.args
        )
        return not (self._filtered or chosen or stopped or named or getattr(option, "lf", False))


def _last_words(report: pytest.TestReport) -> str:
    """What is known of a worker that died: what xdist says, and the check that was under way."""
    said = str(report.longrepr).splitlines()[0]
    file = getattr(getattr(report, "node", None), "workerinput", {}).get(handover.PROGRESS)
    try:
        check = Path(file).read_text(encoding="utf-8") if file else None
    except OSError:
        check = ""
    if check is None:
        return said
    return f"{said} {f'in the check {check} of its gate' if check else 'in the test itself, outside of its gate'}"
