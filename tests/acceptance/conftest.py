"""Runs of small suites, shared by all tests and all workers of this session."""

from __future__ import annotations

import os

import pytest

from .harness import PytestRuns


@pytest.fixture(scope="session")
def run_suite(tmp_path_factory: pytest.TempPathFactory) -> PytestRuns:
    """Run a suite by pytest: ``run_suite(files, *arguments)``. The same run is made once in the whole session."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return PytestRuns(folder / "suites")


@pytest.fixture(scope="session", params=[(), ("-n", "2")], ids=["plain", "-n2"])
def mode(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The arguments of a run in one process, and of one over two workers of xdist."""
    arguments: tuple[str, ...] = request.param
    return arguments
