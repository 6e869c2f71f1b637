"""`--torchscript-discover`: an unmarked suite is observed, and what the marker would make of it is told."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from .harness import PytestRuns, run_pytest

SUITE = {
    "test_plain.py": """
        import unittest
        import torch
        from models import *

        def test_head():
            assert Head()(rows()).shape[0] == 2

        def test_baked():
            x = features()
            class Baked(torch.nn.Module):
                def forward(self, x):
                    return x.sum(1) / int(x.shape[1])
            Baked()(x)

        class TestUnit(unittest.TestCase):
            def test_head(self):
                Head()(rows())

        def test_no_model():
            assert 1 + 1 == 2

        def test_fails():
            Head()(rows())
            raise ValueError("as before")
    """
}


def test_unmarked_tests_are_listed_and_keep_their_outcomes(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """By model, with verdict and line; a bad verdict fails no test, a failed test is not listed. A path may follow."""
    run = run_suite(SUITE, "--torchscript-discover", "test_plain.py", *mode)
    assert run.outcomes["test_baked"] == "passed"
    assert run.outcomes["test_fails"] == "failed"
    listed = [line.split() for line in run.text.partition("torchscript discover")[2].splitlines()]
    assert listed[2][:3] == ["Baked", "test_plain.py::test_baked", "ShapeSpecialised"]
    assert listed[2][4] == "test_plain.py:12"
    assert [row[:-2] for row in listed[3:5]] == [
        ["Head", "test_plain.py::TestUnit::test_head", "ok"],
        ["test_plain.py::test_head", "ok"],
    ]
    assert " ".join(listed[5]) == "3 tests could carry the marker; 2 would pass today"


def test_the_printed_conftest_gates_the_suite(run_suite: PytestRuns) -> None:
    """Put beside the tests as printed, it marks them: no test is edited."""
    run = run_suite(SUITE, "--torchscript-discover-write=-")
    printed = run.text.partition(" conftest.py ")[2].partition("\n")[2].partition("\n---")[0]
    gated = run_suite({**SUITE, "conftest.py": printed})
    assert gated.gate("test_baked")["outcome"] == "failed"
    assert gated.outcomes["test_baked"] == "failed"
    assert len(gated.gates("test_head")) == 2
    assert gated.gates("test_no_model") == []


PARAMETERS = {
    "test_sets.py": """
        import pytest
        from models import *

        @pytest.mark.parametrize("good", [False, True])
        def test_sets(good):
            if good:
                Head()(rows())
    """
}


def test_parameter_sets_are_marked_apart(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """The set that calls no model carries no marker, and the suite passes at once."""
    run = run_suite(PARAMETERS, "--torchscript-discover=write", *mode)
    printed = run.text.partition(" conftest.py ")[2].partition("\n")[2].partition("\n---")[0]
    gated = run_suite({**PARAMETERS, "conftest.py": printed})
    assert (gated.code, gated.outcomes) == (0, {"test_sets[False]": "passed", "test_sets[True]": "passed"})
    assert [gate["nodeid"] for gate in gated.report["gates"]] == ["test_sets.py::test_sets[True]"]


EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_suites_pass_under_what_is_written(tmp_path: Path) -> None:
    """Their markers taken out: a conftest is written, a baseline recorded beside it, and the next run passes."""
    (tmp_path / "pytest.ini").touch()
    for name in ("defect", "healthy"):
        shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in tmp_path.glob("*/test_*.py"):
        file.write_text(re.sub(r"(?m)^@pytest\.mark\.torchscript(\(.*\))?\n", "", file.read_text()))
        assert "mark.torchscript" not in file.read_text()
    found = run_pytest(tmp_path, "--torchscript-discover-write=conftest.py", ".")
    assert (found.code, found.report["gates"]) == (0, []), found.text
    written = (tmp_path / "conftest.py").read_text()
    assert "'defect/test_head.py::test_head',  # today: ShapeSpecialised" in written
    again = run_pytest(tmp_path, "--torchscript-discover-write=conftest.py", ".")
    assert (again.code, (tmp_path / "conftest.py").read_text()) == (4, written)
    assert "exists already" in again.errors
    recorded = run_pytest(tmp_path, "--torchscript-update-baseline")
    assert recorded.code == 0, recorded.text
    gated = run_pytest(tmp_path)
    assert gated.code == 0, gated.text
    assert {gate["outcome"] for gate in gated.report["gates"]} == {"passed", "xfailed"}
    assert len(gated.report["gates"]) == len(re.findall(r"(?m)^    '", written))
