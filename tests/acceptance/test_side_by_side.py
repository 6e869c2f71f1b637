"""Beside other plugins of pytest: the same outcomes, the same gates, and a failure whose place is the model's line."""

from __future__ import annotations

from importlib import metadata

import pytest

from .harness import PytestRuns, Run, comparable

SUITE = {
    "baked.py": """
        import torch

        class Baked(torch.nn.Module):
            def forward(self, x):
                return x.sum(1) / int(x.shape[1])
    """,
    "test_it.py": """
        import pytest
        import torch
        from baked import Baked
        from models import *

        @pytest.mark.torchscript(id="good")
        def test_good():
            torch.manual_seed(0)
            Head()(rows())

        @pytest.mark.torchscript(id="bad")
        def test_bad():
            torch.manual_seed(0)
            Baked()(features())

        @pytest.mark.torchscript(id="known")
        @pytest.mark.xfail(reason="issue 12")
        def test_known():
            torch.manual_seed(0)
            Baked()(features())

        @pytest.mark.torchscript(id="failing")
        def test_failing():
            assert Head()(rows()).shape == ()

        def test_plain(): ...
    """,
}
OUTCOMES = {
    "test_good": "passed",
    "test_bad": "failed",
    "test_known": "xfailed",
    "test_failing": "failed",
    "test_plain": "passed",
}
# The usual plugins, with arguments that make them do something; those that are not installed are left out.
PLUGINS = {
    "pytest-xdist": ("-n", "2"),
    "pytest-timeout": ("--timeout=200",),
    "pytest-cov": ("--cov=.",),
    "pytest-randomly": (),
    "pytest-rerunfailures": ("--reruns=1",),
    "pytest-asyncio": (),
    "pytest-html": ("--html=report.html",),
    "pytest-sugar": ("--force-sugar",),
    "pytest-split": ("--splits=1", "--group=1"),
    "pytest-benchmark": (),
    "allure-pytest": ("--alluredir=allure",),
    "pytest-json-report": ("--json-report",),
    "pytest-github-actions-annotate-failures": (),
    "hypothesis": (),
    "pytest-subtests": (),
}


def needs(plugin: str) -> None:
    """Skip the running test where ``plugin`` is not installed."""
    try:
        metadata.version(plugin)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{plugin} is not installed")


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_same_beside_another_plugin(run_suite: PytestRuns, plugin: str) -> None:
    """Every test ends as without it, every gate too, and nothing of the gate's own files is shown."""
    needs(plugin)
    run, plain = run_suite(SUITE, *PLUGINS[plugin]), run_suite(SUITE)
    assert run.outcomes == plain.outcomes == OUTCOMES, run.text
    assert comparable(run.report) == comparable(plain.report)
    assert "pytest_torchscript/" not in run.text
    assert run.text.count("torchscript gate: test_it.py::test_bad") >= 1


def test_a_failure_stands_at_the_models_line(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """In pytest's own log and JUnit, where other plugins look; the headline is the message, the block is there once."""
    run = run_suite(SUITE, *mode)
    assert "\nbaked.py:5: ShapeSpecialised\n" in run.output
    assert run.output.count("torchscript gate: test_it.py::test_bad") == 1
    assert "FAILED test_it.py::test_bad - ShapeSpecialised at baked.py:5" in run.output


def test_annotations_of_failures_point_to_the_model(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """By pytest-github-actions-annotate-failures, which takes the place from pytest's report."""
    needs("pytest-github-actions-annotate-failures")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    pytester.makepyfile(
        baked="import torch\nclass Baked(torch.nn.Module):\n"
        "    def forward(self, x):\n        return x.sum(1) / int(x.shape[1])\n",
        test_it="import pytest, torch, baked\n@pytest.mark.torchscript\n"
        "def test_bad():\n    baked.Baked()(torch.ones(2, 16, 8))\n",
    )
    errors = [line for line in pytester.runpytest_subprocess().errlines if line.startswith("::error")]
    assert len(errors) == 1
    assert errors[0].startswith("::error file=baked.py,line=4::")


REPEAT = """
import pytest

@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc):
    if metafunc.config.getoption("--count", 1) > 1:
        metafunc.fixturenames.append("__pytest_repeat_step_number")
        metafunc.parametrize("__pytest_repeat_step_number", range(2), indirect=True, ids=["1-2", "2-2"])

@pytest.fixture
def __pytest_repeat_step_number(request):
    return request.param
"""
REPEATED = """
import pytest
import torch
from models import *

class Odd(nn.Module):
    runs = 0

    def forward(self, x):
        return x * int(x.shape[0])

@pytest.mark.torchscript
@pytest.mark.parametrize("width", [8, 4])
def test_default(width):
    torch.manual_seed(0)
    Head(width)(rows(2, width))

@pytest.mark.torchscript(id="own")
def test_own():
    torch.manual_seed(0)
    Odd()(rows())
"""


def test_repetitions_are_one_gate(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """A baseline that was recorded without pytest-repeat holds for every repetition, and nothing is new or stale."""
    option = 'def pytest_addoption(parser):\n    parser.addoption("--count", type=int, default=1)\n'
    try:
        metadata.version("pytest-repeat")
        files = {"test_it.py": REPEATED}
    except metadata.PackageNotFoundError:
        # What that plugin does, as of 0.9.4.
        files = {"test_it.py": REPEATED, "conftest.py": option + REPEAT}
    recorded: Run = run_suite(files, "--torchscript-update-baseline")
    baseline = (recorded.folder / "torchscript-baseline.json").read_text()
    run = run_suite({**files, "torchscript-baseline.json": baseline}, "--count=2", *mode)
    assert (run.code, set(run.outcomes.values())) == (0, {"passed", "xfailed"}), run.text
    assert len(run.outcomes) == 6
    ids = [gate["id"] for gate in run.report["gates"]]
    assert ids == [gate["id"] for gate in recorded.report["gates"]]
    assert {gate["baseline"] for gate in run.report["gates"]} == {"ok", "KNOWN"}
    assert "stale" not in run.report
