"""What pytest meets first: options, registration, collection."""

from __future__ import annotations

import types
from typing import Any

import pytest

from pytest_torchscript.pytest_plugin import handover, plugin
from pytest_torchscript.pytest_plugin.gatekeeper import Gatekeeper
from pytest_torchscript.pytest_plugin.results import Results

MARKED = "import pytest\n@pytest.mark.torchscript\ndef test_it(): ...\n"


def test_a_suite_without_gates_has_no_gatekeeper(pytester: pytest.Pytester) -> None:
    """Nothing is watched and no target is asked for; with a marker there is one."""
    _, recorder = pytester.inline_genitems(pytester.makepyfile("def test_it(): ..."))
    config = recorder.getcall("pytest_collection_modifyitems").config
    assert isinstance(config.pluginmanager.get_plugin("torchscript-results"), Results)
    assert not config.pluginmanager.has_plugin("torchscript-gates")
    _, recorder = pytester.inline_genitems(pytester.makepyfile(MARKED))
    config = recorder.getcall("pytest_collection_modifyitems").config
    assert isinstance(config.pluginmanager.get_plugin("torchscript-gates"), Gatekeeper)


def test_a_worker_reports_nothing_itself(pytester: pytest.Pytester) -> None:
    """The controller gathers."""
    config = pytester.parseconfig()
    config.workerinput = {}  # type: ignore[attr-defined]
    config._do_configure()
    assert not config.pluginmanager.has_plugin("torchscript-results")
    config._ensure_unconfigure()


def test_a_worker_notes_that_tests_were_deselected() -> None:
    """The controller deselects nothing itself; a single process knows by the same hook."""
    output: dict[str, Any] = {}
    worker: Any = types.SimpleNamespace(config=types.SimpleNamespace(workeroutput=output))
    alone: Any = types.SimpleNamespace(config=types.SimpleNamespace())
    plugin.pytest_deselected([worker])
    plugin.pytest_deselected([alone])
    plugin.pytest_deselected([])
    assert output == {handover.FILTERED: True}


def test_a_worker_that_meets_a_bad_marker_collects_nothing(pytester: pytest.Pytester) -> None:
    """An exception would end xdist's controller with an internal error: the message travels instead."""
    items = pytester.getitems(MARKED.replace("torchscript", "torchscript(seq_len=0)"))
    config, output = items[0].config, {}
    config.workeroutput = output
    hook = plugin.pytest_collection_modifyitems(config, items)
    next(hook)
    with pytest.raises(StopIteration):
        next(hook)
    assert items == []
    assert "seq_len must be at least 1" in output[handover.USAGE_ERROR]


def test_the_fixture_skips_where_gates_are_switched_off(pytester: pytest.Pytester) -> None:
    """The test has nothing to ask then."""
    pytester.makepyfile("def test_it(torchscript): ...")
    pytester.runpytest_inprocess("--no-torchscript").assert_outcomes(skipped=1)
