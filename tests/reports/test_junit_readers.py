"""Programs that read JUnit, given one report with something of everything: they count right and show which model failed.

Readers that are not installed are skipped: Codecov's `test-results-parser` (pip), `junit-to-ctrf` and `xunit-viewer` (npm).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml
from lxml import etree

from pytest_torchscript.reports import junit
from pytest_torchscript.reports.document import Document
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Verdict

STRANGE = "größe \u202eabc \x00\x1b[31m\ud800 ]]> <b>"
FINDING = Finding(message=f"off at 7: {STRANGE}", file="src/head.py", line=41, hint="keep the size in the graph")
LONG = "x" * 300


def gate(id: str, *checks: CheckResult, **fields: Any) -> GateResult:
    cells = (CellResult(target="torchscript", batch_size=2, seq_len=16, checks=checks),)
    outcome = Outcome.FAILED if cells[0].failures else Outcome.PASSED
    return GateResult(**{"id": id, "nodeid": f"tests/test_{id}.py::test", "outcome": outcome, "cells": cells, **fields})


EAGER, PADDING = CheckResult.passed("eager"), CheckResult.skipped("padding", "no mask")
SHAPES = CheckResult.failed("shapes", Verdict.SHAPE_SPECIALISED, FINDING)
DOCUMENT = Document.of(
    [
        gate("good", EAGER, PADDING),
        gate("bad", EAGER, SHAPES, PADDING),
        gate(LONG, EAGER),
        gate("known", SHAPES, outcome=Outcome.XFAILED, baseline="KNOWN", reason="issue 12"),
        GateResult.not_judged("not-judged", "tests/test_lost.py::test", f"the test itself failed {STRANGE}"),
        GateResult.without_model("no-model", "tests/test_none.py::test", "no module is called", inherited=True),
        GateResult(id="crashed", nodeid="tests/test_c.py::test", outcome=Outcome.CRASHED, reason="the worker died"),
    ],
    {"python": "3.12", "torch": "2.13.0"},
    ["gone"],
)
# passed: three eager; failed: shapes, the crash, what is stale; skipped: two padding, one known, one without a model.
PASSED, FAILED, ERRORS, SKIPPED = 3, 3, 1, 4


@pytest.fixture(params=junit.FAMILIES)
def report(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "junit.xml"
    junit.write(path, DOCUMENT, request.param)
    return path


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: npm install --global {name}")
    return found


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_lxml_reads_it(report: Path) -> None:
    """As any XML parser does, with every count where it belongs."""
    root = etree.parse(str(report)).getroot()
    assert {key: root.get(key) for key in ("tests", "failures", "errors")} == {"tests": "11", "failures": "3", "errors": "1"}
    assert sum(int(suite.get("skipped")) for suite in root) == SKIPPED


def test_junitparser_counts_right(report: Path) -> None:
    """It reads what is there by itself."""
    found: Counter[str] = Counter()
    for suite in JUnitXml.fromfile(str(report)):
        found.update(case.result[0].__class__.__name__ if case.result else "Passed" for case in suite)
    assert found == {"Passed": PASSED, "Failure": FAILED, "Error": ERRORS, "Skipped": SKIPPED}


def test_codecov_counts_right(report: Path) -> None:
    """A skip is a skip, and the model is in the name of the suite."""
    parser = pytest.importorskip("test_results_parser", reason="pip install test-results-parser")
    runs = parser.parse_junit_xml(report.read_bytes()).testruns
    found = Counter(str(run.outcome).rpartition(".")[2].lower() for run in runs)
    assert found == {"pass": PASSED, "failure": FAILED, "error": ERRORS, "skip": SKIPPED}
    (failed,) = [run for run in runs if run.testsuite == "torchscript.bad" and run.failure_message]
    assert "off at 7" in failed.failure_message


def test_junit_to_ctrf_counts_right_and_shows_the_model(report: Path) -> None:
    """It shows suite and name, and no classname."""
    output = report.with_name("ctrf.json")
    run(program("junit-to-ctrf"), str(report), "--output", str(output))
    results = json.loads(output.read_text(encoding="utf-8"))["results"]
    summary = results["summary"]
    assert (summary["tests"], summary["passed"], summary["failed"], summary["skipped"]) == (
        11,
        PASSED,
        FAILED + ERRORS,
        SKIPPED,
    )
    failed = {test["name"] for test in results["tests"] if test["status"] == "failed"}
    assert any("torchscript.bad" in name for name in failed)
    assert any("torchscript.not-judged" in name for name in failed)


def test_xunit_viewer_counts_right_and_shows_the_model(report: Path) -> None:
    """Its console shows suites and names."""
    page = report.with_suffix(".html")
    text = run(program("xunit-viewer"), "--results", str(report), "--console", "--no-color", "--output", str(page))
    assert "torchscript.bad" in text
    assert "torchscript.not-judged" in text
    for count, word in ((PASSED, "passed"), (FAILED, "failure"), (ERRORS, "error"), (SKIPPED, "skipped")):
        assert f"{count} {word}" in text, text[-500:]
