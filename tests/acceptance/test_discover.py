"""`--torchscript-discover`: an unmarked suite is observed, and what the marker would make of it is told."""

from __future__ import annotations

import pytest

from .harness import PytestRuns

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
    """The model, its inputs and the verdict are named; a bad verdict fails no test, a failed test is not listed."""
    run = run_suite(SUITE, "--torchscript-discover", *mode)
    assert run.outcomes["test_baked"] == "passed"
    assert run.outcomes["test_fails"] == "failed"
    listed = run.text.partition("torchscript discover")[2]
    assert "test_plain.py::test_head\n    model    Head(x float32 (2, 8))\n    verdict  ok" in listed
    assert "test_plain.py::test_baked\n    model    Baked(x float32 (2, 16, 8))\n    verdict  ShapeSpecialised" in listed
    assert "test_plain.py::TestUnit::test_head" in listed
    assert "::test_no_model" not in listed
    assert "3 tests could carry the marker; 2 would pass today" in listed


def test_the_written_conftest_gates_the_suite(run_suite: PytestRuns) -> None:
    """Put beside the tests as printed, it marks them: no test is edited."""
    run = run_suite(SUITE, "--torchscript-discover=write")
    printed = run.text.partition(" conftest.py ")[2].partition("\n")[2]
    lines = []
    for line in printed.splitlines():
        if line.startswith(("=", "torchscript gates written")):
            break
        lines.append(line)
    gated = run_suite({**SUITE, "conftest.py": "\n".join(lines)})
    assert gated.gate("test_baked")["outcome"] == "failed"
    assert gated.outcomes["test_baked"] == "failed"
    assert len(gated.gates("test_head")) == 2
    with pytest.raises(AssertionError):
        gated.gate("test_no_model")
