"""Writing the reports of a run, and showing what the gates found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_torchscript import GateError
from pytest_torchscript.pytest_plugin import reporting
from pytest_torchscript.pytest_plugin.settings import Settings
from pytest_torchscript.result import CellResult, CheckResult, GateResult

SETTINGS = Settings(
    defaults={},
    override={},
    ignore_bare=False,
    json=None,
    junit=None,
    summary=None,
    baseline_path=Path("torchscript-baseline.json"),
    baseline=None,
    update=False,
    discover=False,
)


FOUND = [{"nodeid": "test_it.py::test_one", "model": "Net", "verdict": "ok", "passes": True}]


def gate(id: str = "one") -> GateResult:
    cell = CellResult(target="torchscript", batch_size=1, seq_len=None, checks=(CheckResult.passed("eager"),))
    return GateResult.judged(id, "test_it.py::test_one", (cell,))


class Screen:
    """Stands for pytest's terminal reporter, and keeps what is written."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.red: list[str] = []

    def write_sep(self, sign: str, title: str) -> None:
        self.lines.append(f"{sign} {title}")

    def write_line(self, line: str, **colours: bool) -> None:
        self.lines.append(line)
        if colours.get("red"):
            self.red.append(line)


def shown(show: Callable[..., None], *arguments: Any, **options: Any) -> Screen:
    screen = Screen()
    show(screen, *arguments, **options)
    return screen


def test_the_environment_names_versions() -> None:
    """Of what a reader of a report wants to know; what is not installed is None."""
    found = reporting.environment()
    assert set(found) == {"python", "torch", "transformers", "pytest_torchscript", "platform"}
    assert found["torch"]
    assert reporting._version("no-such-package-anywhere") is None


def test_only_what_is_asked_for_is_written(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without options leaves no file."""
    monkeypatch.chdir(tmp_path)
    assert reporting.write_reports(pytestconfig, SETTINGS, [gate()], stale=[]) == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_every_report_is_written(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """In one order, with the gates and the stale ones."""
    files = {name: tmp_path / name for name in ("json", "junit", "summary")}
    update = replace(SETTINGS, **files, update=True, baseline_path=tmp_path / "baseline")
    written, problems = reporting.write_reports(pytestconfig, update, [gate()], stale=["lost"])
    assert (written, problems) == ([tmp_path / "baseline", *files.values()], [])
    document = json.loads(files["json"].read_text())
    assert ([entry["id"] for entry in document["gates"]], document["stale"]) == (["one"], ["lost"])
    assert "gate:one" in (tmp_path / "baseline").read_text()
    assert "torchscript.one" in files["junit"].read_text()
    assert "lost" in files["summary"].read_text()


def test_a_run_without_gates_leaves_baseline_and_summary_alone(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """The summary of a build may hold other things; the JSON report says that there was no gate."""
    settings = replace(
        SETTINGS, json=tmp_path / "json", summary=tmp_path / "summary", update=True, baseline_path=tmp_path / "baseline"
    )
    assert reporting.write_reports(pytestconfig, settings, [], stale=[]) == ([tmp_path / "json"], [])


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(13, "Permission denied"), "--torchscript-json: cannot write '{path}': Permission denied"),
        (GateError("made of something else"), "--torchscript-json: made of something else"),
        (ValueError("odd"), "--torchscript-json: {name} could not be made: ValueError: odd"),
    ],
    ids=["system", "own", "other"],
)
def test_one_report_that_fails_leaves_the_others(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    """It is named with its option, and the next one is written."""

    def write(path: Path, document: Any) -> None:
        raise error

    monkeypatch.setattr(reporting.json_report, "write", write)
    path, junit = tmp_path / "gates.json", tmp_path / "gates.xml"
    written, problems = reporting.write_reports(pytestconfig, replace(SETTINGS, json=path, junit=junit), [gate()], stale=[])
    assert (written, problems) == ([junit], [says.format(path=path, name=path.name)])


def test_gates_are_shown_in_a_table() -> None:
    """Nothing is shown without a gate."""
    assert shown(reporting.show_gates, [], stale=[], baseline="b.json").lines == []
    lines = shown(reporting.show_gates, [gate()], stale=["lost"], baseline="b.json").lines
    assert lines[0] == "= torchscript gates"
    assert any(line.startswith("one ") for line in lines)
    assert "= what could leave TorchScript today" not in lines
    assert "STALE: lost is recorded in b.json, but no test gates it: coverage was lost" in lines


def test_what_could_be_marked_is_listed() -> None:
    """The conftest is printed only where it is asked for, and where it would mark something."""
    printed, written = replace(SETTINGS, discover_write="-"), replace(SETTINGS, discover_write="conftest.py")
    listed = shown(reporting.show_discovered, FOUND, SETTINGS).lines
    assert listed[0] == "= torchscript discover"
    assert "test_it.py::test_one" in listed[2]
    assert "- conftest.py" not in listed
    assert "- conftest.py" in shown(reporting.show_discovered, FOUND, printed).lines
    assert "- conftest.py" not in shown(reporting.show_discovered, [], printed).lines
    assert "- conftest.py" not in shown(reporting.show_discovered, FOUND, written).lines


def test_a_conftest_is_written_where_it_is_asked_for(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """Not if there is nothing to mark."""
    path = tmp_path / "conftest.py"
    settings = replace(SETTINGS, discover_write=str(path))
    assert reporting.write_reports(pytestconfig, settings, [], stale=[]) == ([], [])
    assert reporting.write_reports(pytestconfig, settings, [], stale=[], discovered=FOUND) == ([path], [])
    assert "'test_it.py::test_one'," in path.read_text()


def test_the_end_names_what_is_wrong_and_written() -> None:
    """What is wrong is red."""
    screen = shown(reporting.show_end, problems=["why"], written=[Path("gates.json")])
    assert screen.lines == ["ERROR: why", "torchscript gates written to gates.json"]
    assert screen.red == ["ERROR: why"]


def test_github_is_told_only_on_github(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    """By the commands that its log understands."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert shown(reporting.annotate, [], stale=["lost"], config=pytestconfig).lines == []
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    (line,) = shown(reporting.annotate, [], stale=["lost"], config=pytestconfig).lines
    assert line.startswith("::error")
    assert "lost" in line
    assert shown(reporting.annotate, [], stale=[], config=pytestconfig).lines == []
