"""Every way in which a run can go wrong is red in the exit code and in each report, with the reason in words."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest

from .harness import PytestRuns, Run

HEAD = """
import os, signal, time
import pytest
import torch
from models import *

"""
HEALTHY = """
@pytest.mark.torchscript(id="healthy")
def test_healthy():
    Head()(rows())
"""
BODY = """
@pytest.mark.torchscript(id="bad")
def test_bad():
    Head()(rows())
    assert 1 == 2
"""
FIXTURE = """
@pytest.fixture
def weights():
    raise OSError("no disk")

@pytest.mark.torchscript(id="bad")
def test_bad(weights): ...
"""
IMPORT = """
import no_such_package

@pytest.mark.torchscript(id="bad")
def test_bad(): ...
"""
USAGE = """
@pytest.mark.torchscript(seq_lne=3)
def test_bad(): ...
"""
DIES = """
class Dies(nn.Module):
    def forward(self, x):
        if torch.jit.is_tracing():
            os.kill(os.getpid(), signal.SIGKILL)
        return x

@pytest.mark.torchscript(id="bad")
def test_bad():
    Dies()(rows())
"""
HANGS = """
class Hangs(nn.Module):
    calls = 0

    def forward(self, x):
        Hangs.calls += 1
        time.sleep(60 if Hangs.calls == 2 else 0)
        return x

@pytest.mark.torchscript(id="bad")
@pytest.mark.timeout(5)
def test_bad():
    Hangs()(rows())
"""
BAKED = """
class Baked(nn.Module):
    def forward(self, x):
        return x.sum(1) / int(x.shape[1])

@pytest.mark.torchscript(id="bad")
def test_bad():
    Baked()(features())
"""
INTERRUPTED = """
@pytest.mark.torchscript(id="bad")
def test_bad():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(9)
"""
NONE = "none"
"""In place of what a report says: it was not written."""


@dataclass(frozen=True)
class Wrong:
    """One way to go wrong, and what must be seen of it.

    ``junit`` is the type of the only failure or error, ``gate`` the outcome in JSON, ``summary`` words of its first line,
    ``said`` words of the log; ``NONE`` stands for a report that is not written, an empty text for one without the gate.
    """

    name: str
    body: str
    code: int
    junit: str
    gate: str
    summary: str
    said: str
    arguments: tuple[str, ...] = ()
    reason: str = ""


MATRIX = [
    Wrong(
        "body", BODY, 1, "NotJudged", "error", "1 not judged: the test itself failed", "assert 1 == 2", (), "the test itself"
    ),
    Wrong("body -n2", BODY, 1, "NotJudged", "error", "1 not judged: the test itself failed", "assert 1 == 2", ("-n", "2")),
    Wrong("fixture", FIXTURE, 1, "NotJudged", "error", "1 not judged", "no disk", (), "the test's setup failed"),
    Wrong("import", IMPORT, 2, "NotJudged", "error", "1 not judged", "no_such_package", (), "not be collected"),
    Wrong("import -n2", IMPORT, 1, "NotJudged", "error", "1 not judged", "no_such_package", ("-n", "2"), "not be collected"),
    Wrong("usage", USAGE, 4, NONE, NONE, NONE, "did you mean 'seq_len'?"),
    Wrong("usage -n2", USAGE, 4, NONE, NONE, NONE, "did you mean 'seq_len'?", ("-n", "2")),
    Wrong("crash", DIES, -9, NONE, NONE, NONE, ""),
    Wrong(
        "worker lost", DIES, 1, "Crashed", "crashed", "1 crashed", "crashed while running", ("-n", "1"), "in the check trace"
    ),
    Wrong("hang", HANGS, 1, "Crashed", "crashed", "1 crashed", "Timeout", (), "cut off in the check"),
    Wrong("-x", BAKED, 1, "ShapeSpecialised", "failed", "1 failed", "stopping after 1 failures", ("-x",)),
    Wrong("ctrl-C", INTERRUPTED, 2, "NotJudged", "error", "1 not judged", "KeyboardInterrupt", (), "the run was stopped"),
    Wrong("all deselected", BODY, 5, "", "", NONE, "2 deselected", ("-k", "nothing_at_all")),
]


@pytest.mark.parametrize("wrong", MATRIX, ids=[wrong.name for wrong in MATRIX])
def test_each_way_to_go_wrong_is_red_everywhere(run_suite: PytestRuns, wrong: Wrong) -> None:
    """In the exit code, JUnit, JSON and the summary; where no report can be made, none is there to be read as green."""
    reports = ("--torchscript-junit=gates.xml", "--torchscript-summary=summary.md")
    run = run_suite({"test_it.py": HEAD + wrong.body + HEALTHY}, *reports, *wrong.arguments)
    assert run.code == wrong.code, run.text
    assert wrong.said in run.text
    assert junit_of(run.folder / "gates.xml") == wrong.junit
    assert first_line(run.folder / "summary.md", wrong.summary)
    if wrong.gate == NONE:
        assert run.report is None
        return
    bad = [gate for gate in run.report["gates"] if gate["id"] != "healthy"]
    assert [gate["outcome"] for gate in bad] == ([wrong.gate] if wrong.gate else [])
    assert all(wrong.reason in (gate["reason"] or "") for gate in bad)


def test_a_report_that_cannot_be_written_is_red(run_suite: PytestRuns) -> None:
    """Its option and the reason are in the log; the other reports are there."""
    run = run_suite({"test_it.py": HEAD + HEALTHY}, "--torchscript-junit=/proc/gates.xml", "--torchscript-summary=summary.md")
    assert run.code == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --torchscript-junit: cannot write '/proc/gates.xml'" in run.output
    assert "1 passed" in (run.folder / "summary.md").read_text()
    assert [gate["outcome"] for gate in run.report["gates"]] == ["passed"]


def test_no_gate_is_lost_among_the_others(run_suite: PytestRuns) -> None:
    """What went right beside it is reported as ever."""
    run: Run = run_suite(
        {"test_it.py": HEAD + BODY + HEALTHY}, "--torchscript-junit=gates.xml", "--torchscript-summary=summary.md"
    )
    assert {gate["id"]: gate["outcome"] for gate in run.report["gates"]} == {"bad": "error", "healthy": "passed"}


def junit_of(file: Path) -> str:
    """The types of all failures and errors."""
    if not file.exists():
        return NONE
    root = ElementTree.parse(file).getroot()
    return " ".join(str(entry.get("type")) for kind in ("failure", "error") for entry in root.iter(kind))


def first_line(file: Path, words: str) -> bool:
    if not file.exists():
        return words == NONE
    return words in next(line for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
