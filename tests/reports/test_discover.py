"""The table of unmarked tests, and the conftest that marks them."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

import pytest

from pytest_torchscript.reports.discover import Discovered, conftest, entries, listing


def found(nodeid: str, model: str = "Head", verdict: str = "ok", place: str = "", arguments: str = "") -> Discovered:
    passes = verdict.startswith("ok")
    return Discovered(nodeid=nodeid, model=model, verdict=verdict, passes=passes, seconds=0.5, place=place, arguments=arguments)


FOUND = entries(
    asdict(entry)
    for entry in (
        found("test_b.py::test_it[3]", verdict="ShapeSpecialised", place="head.py:3"),
        found("test_b.py::test_it[2]"),
        found("test_b.py::test_it[1]"),
        found("test_b.py::test_other", "Encoder"),
        found("test_a.py::test_it", "Head"),
    )
)


def test_one_table_by_model_with_parameter_sets_folded() -> None:
    """A row has the test, the verdict, what the gate cost and the line of the failure."""
    lines = [line.split() for line, _ in listing(FOUND)]
    assert lines == [
        ["model", "test", "verdict", "seconds", "at"],
        ["Encoder", "test_b.py::test_other", "ok", "0.50", "-"],
        ["Head", "test_a.py::test_it", "ok", "0.50", "-"],
        ["test_b.py::test_it[3]", "ShapeSpecialised", "0.50", "head.py:3"],
        ["test_b.py::test_it[2", "sets]", "ok", "1.00", "-"],
        ["5", "tests", "could", "carry", "the", "marker;", "4", "would", "pass", "today"],
    ]
    assert [good for _, good in listing(FOUND)] == [None, True, True, False, True, None]


def test_the_table_fits_the_terminal() -> None:
    """Names give way, the verdict does not."""
    wide = [found(f"tests/models/test_models.py::TestModels::test_{'x' * 100}", "Model" * 20, "ShapeSpecialised", "a" * 60)]
    lines = [line for line, _ in listing(wide, 80)]
    assert max(map(len, lines)) <= 80
    assert "ShapeSpecialised" in lines[1]


def test_nothing_found_is_said() -> None:
    """An empty table would look like a failure to look."""
    ((line, _),) = listing([])
    assert "nothing to mark" in line


def test_the_conftest_marks_the_tests_and_no_others() -> None:
    """It is run as written; each parameter set has its own line, and a verdict of today is noted."""
    text = conftest(FOUND)
    assert "'test_b.py::test_it[3]',  # today: ShapeSpecialised\n" in text
    assert marked(text, "test_a.py::test_it", "test_b.py::test_it[3]", "test_b.py::test_it[4]", "test_b.py::test_it") == [
        "test_a.py::test_it torchscript {}",
        "test_b.py::test_it[3] torchscript {}",
    ]


def test_the_marker_has_the_arguments_that_it_needs() -> None:
    """A target that only an option named; any, where a bare marker is a label."""
    neuron = conftest([found("test_a.py::test_it", arguments="(target='neuron')")], bare=False)
    assert marked(neuron, "test_a.py::test_it") == ["test_a.py::test_it torchscript {'target': 'neuron'}"]
    plain = conftest([found("test_a.py::test_it")], bare=False)
    assert marked(plain, "test_a.py::test_it") == ["test_a.py::test_it torchscript {'target': 'torchscript'}"]


def marked(text: str, *nodeids: str) -> list[str]:
    """What the conftest ``text`` marks among the tests with these ids."""
    scope: dict[str, object] = {}
    exec(compile(text, "conftest.py", "exec"), scope)
    marks: list[str] = []

    def item(nodeid: str) -> SimpleNamespace:
        def add_marker(mark: pytest.MarkDecorator) -> None:
            marks.append(f"{nodeid} {mark.name} {dict(mark.kwargs)}")

        return SimpleNamespace(nodeid=nodeid, add_marker=add_marker)

    scope["pytest_collection_modifyitems"]([item(nodeid) for nodeid in nodeids])  # type: ignore[operator]
    assert scope["pytest"] is pytest
    return marks
