"""The JSON report: the source that every other report is rendered from."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pytest_torchscript.reports.json import document, render, write
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Verdict

ENVIRONMENT = {"python": "3.11.7", "torch": "2.13.0", "transformers": None, "pytest_torchscript": "0.1.0", "platform": "linux"}


def gate(id: str, message: str = "m", nodeid: str = "", **details: Any) -> GateResult:
    failed = CheckResult.failed("eager", Verdict.EAGER_FAILURE, Finding(message=message, details=details))
    cell = CellResult(target="torchscript", batch_size=2, seq_len=None, checks=(failed,))
    return GateResult.judged(id, nodeid, (cell,), 0.5)


def test_the_document_is_schema_1() -> None:
    """Schema, environment and gates, and the gates as they describe themselves."""
    data = document([gate("a")], ENVIRONMENT)
    assert data == {"schema": 1, "environment": ENVIRONMENT, "gates": [gate("a").to_json()]}


def test_the_order_in_which_tests_ran_does_not_show() -> None:
    """Gates are sorted by id, those of one id by node id, so that shards and workers give the same report."""
    gates = [gate("b"), gate("a", nodeid="z"), gate("a", nodeid="y")]
    assert document(gates, ENVIRONMENT) == document(reversed(gates), ENVIRONMENT)
    assert [(entry["id"], entry["nodeid"]) for entry in document(gates, ENVIRONMENT)["gates"]] == [
        ("a", "y"),
        ("a", "z"),
        ("b", ""),
    ]


def test_a_run_without_gates_has_a_report() -> None:
    """An empty list, no missing file."""
    assert json.loads(render(document([], ENVIRONMENT)))["gates"] == []


def test_keys_are_sorted() -> None:
    """Two reports can be compared line by line."""
    text = render({"b": {"d": 1, "c": 2}, "a": 0})
    assert text == '{\n "a": 0,\n "b": {\n  "c": 2,\n  "d": 1\n }\n}\n'


def test_the_text_is_utf8_and_readable() -> None:
    """Signs of any script stay what they are, and the file ends with a line break."""
    text = render(document([gate("a", "größe × 数")], ENVIRONMENT))
    assert "größe × 数" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("message", ["\ud800 lone", "\x00\x1b[31m\x7f", "\u2028 line", '"quoted" \\ back', "\U0001f916 beyond"])
def test_any_text_survives(message: str) -> None:
    """Control characters and lone surrogates are written so that any reader gives them back."""
    text = render(document([gate("a", message)], ENVIRONMENT))
    text.encode("utf-8")
    read = json.loads(text)["gates"][0]["cells"][0]["checks"][0]["findings"][0]["message"]
    assert read == message


def test_the_report_is_strict_json() -> None:
    """NaN and infinities are words; a number that slipped through is an error here, not at the reader's."""
    text = render(document([gate("a", amount=math.inf, other=math.nan)], ENVIRONMENT))
    read = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert read["gates"][0]["cells"][0]["checks"][0]["findings"][0]["details"] == {"amount": "inf", "other": "nan"}
    with pytest.raises(ValueError, match="JSON compliant"):
        render({"x": math.nan})


def test_results_can_be_read_back() -> None:
    """The report holds all there is to know of a gate."""
    result = gate("a", amount=1.5)
    read = json.loads(render(document([result], ENVIRONMENT)))
    assert GateResult.from_json(read["gates"][0]) == result


# Writing


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    """What is in the file is what is rendered, and nothing else is in the folder."""
    path = tmp_path / "report.json"
    data = document([gate("größe")], ENVIRONMENT)
    write(path, data)
    assert path.read_text(encoding="utf-8") == render(data)
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_report_is_replaced(tmp_path: Path) -> None:
    """Nothing of it is left over."""
    path = tmp_path / "report.json"
    write(path, document([gate("a" * 1000)], ENVIRONMENT))
    write(path, document([], ENVIRONMENT))
    assert path.read_text(encoding="utf-8") == render(document([], ENVIRONMENT))


def test_a_report_that_cannot_be_rendered_leaves_the_older_one(tmp_path: Path) -> None:
    """Whole or not at all."""
    path = tmp_path / "report.json"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(ValueError, match="JSON compliant"):
        write(path, {"x": math.nan})
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_written_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk at the last moment destroys nothing and leaves no half of a file."""
    path = tmp_path / "report.json"
    path.write_text("before", encoding="utf-8")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, {"x": 1})
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    """The caller decides how to say it."""
    with pytest.raises(OSError, match="No such file"):
        write(tmp_path / "no" / "report.json", {"x": 1})


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX's")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_others_may_read_it_as_the_umask_says(tmp_path: Path, umask: int) -> None:
    """A report is made for others, unlike a temporary file."""
    path = tmp_path / "report.json"
    before = os.umask(umask)
    try:
        write(path, {"x": 1})
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
