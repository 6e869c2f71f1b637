"""The listing of unmarked tests, and the conftest that marks them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_torchscript.reports.discover import conftest, listing

FOUND = [
    {"nodeid": "test_b.py::test_it[2]", "model": "Head", "inputs": "x float32 (2, 8)", "verdict": "ShapeSpecialised"},
    {"nodeid": "test_b.py::test_it[1]", "model": "Head", "inputs": "x float32 (2, 8)", "verdict": "ok"},
    {"nodeid": "test_a.py::test_it", "model": "Encoder", "inputs": "ids int64 (2, 8)", "verdict": "ok"},
]


def test_each_test_is_listed_with_model_inputs_verdict_and_line() -> None:
    """What to add, where, and what it would say."""
    text = "\n".join(listing(FOUND))
    for entry in FOUND:
        assert entry["nodeid"] in text
        assert f"{entry['model']}({entry['inputs']})" in text
    assert text.count("@pytest.mark.torchscript") == 3
    assert text.index("test_a.py") < text.index("test_b.py")
    assert text.endswith("3 tests could carry the marker; 2 would pass today")


def test_nothing_found_is_said() -> None:
    """An empty listing would look like a failure to look."""
    (line,) = listing([])
    assert "nothing to mark" in line


def test_the_conftest_marks_the_tests_and_no_others() -> None:
    """It is run as written; parameter sets of one test share an entry, and a verdict of today is noted."""
    text = conftest(FOUND)
    assert text.count("test_b.py::test_it") == 1
    assert "# today: ShapeSpecialised" in text
    scope: dict[str, object] = {}
    exec(compile(text, "conftest.py", "exec"), scope)
    marked: list[str] = []

    def item(nodeid: str) -> SimpleNamespace:
        return SimpleNamespace(nodeid=nodeid, add_marker=lambda mark: marked.append(f"{nodeid} {mark.name}"))

    items = [item("test_a.py::test_it"), item("test_b.py::test_it[3]"), item("test_b.py::test_other")]
    scope["pytest_collection_modifyitems"](items)  # type: ignore[operator]
    assert marked == ["test_a.py::test_it torchscript", "test_b.py::test_it[3] torchscript"]
    assert scope["pytest"] is pytest
