"""The JSON report: the source that every other report is rendered from."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_torchscript.reports.document import Document
from pytest_torchscript.reports.json import ReportError, parse, read, render, to_json, write
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Verdict

ENVIRONMENT = {"python": "3.11.7", "torch": "2.13.0", "transformers": None, "pytest_torchscript": "0.1.0", "platform": "linux"}


def gate(id: str, message: str = "m", nodeid: str = "", **details: Any) -> GateResult:
    failed = CheckResult.failed("eager", Verdict.EAGER_FAILURE, Finding(message=message, details=details))
    cell = CellResult(target="torchscript", batch_size=2, seq_len=None, checks=(failed,))
    return GateResult.judged(id, nodeid, (cell,), 0.5)


def test_the_document_is_schema_1() -> None:
    """Schema, environment and gates, and the gates as they describe themselves."""
    data = to_json(Document.of([gate("a")], ENVIRONMENT))
    assert data == {"schema": 1, "environment": ENVIRONMENT, "gates": [gate("a").to_json()]}


def test_the_order_in_which_tests_ran_does_not_show() -> None:
    """Gates are sorted by id, those of one id by node id, so that shards and workers give the same report."""
    gates = [gate("b"), gate("a", nodeid="z"), gate("a", nodeid="y")]
    assert Document.of(gates, ENVIRONMENT) == Document.of(reversed(gates), ENVIRONMENT)
    assert [(entry.id, entry.nodeid) for entry in Document.of(gates, ENVIRONMENT).gates] == [
        ("a", "y"),
        ("a", "z"),
        ("b", ""),
    ]


def test_a_run_without_gates_has_a_report() -> None:
    """An empty list, no missing file."""
    assert json.loads(render(Document.of([], ENVIRONMENT)))["gates"] == []


def test_keys_are_sorted() -> None:
    """Two reports can be compared line by line."""
    text = render(Document.of([], {"torch": "2.13.0", "python": "3.12"}))
    assert text == '{\n"environment": {"python": "3.12", "torch": "2.13.0"},\n"gates": [],\n"schema": 1\n}\n'


def test_a_gate_is_a_line() -> None:
    """As in the baseline; and what is stale is a line of its own."""
    document = Document.of([gate("b"), gate("a")], ENVIRONMENT, ["gone"])
    lines = render(document).splitlines()
    assert lines[2] == '"gates": ['
    assert [json.loads(line.rstrip(","))["id"] for line in lines[3:5]] == ["a", "b"]
    assert lines[5:] == ["],", '"schema": 1,', '"stale": ["gone"]', "}"]
    assert parse("a.json", json.loads(render(document))) == document


def test_the_text_is_utf8_and_readable() -> None:
    """Signs of any script stay what they are, and the file ends with a line break."""
    text = render(Document.of([gate("a", "größe × 数")], ENVIRONMENT))
    assert "größe × 数" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("message", ["\ud800 lone", "\x00\x1b[31m\x7f", "\u2028 line", '"quoted" \\ back', "\U0001f916 beyond"])
def test_any_text_survives(message: str) -> None:
    """Control characters and lone surrogates are written so that any reader gives them back."""
    text = render(Document.of([gate("a", message)], ENVIRONMENT))
    text.encode("utf-8")
    read = json.loads(text)["gates"][0]["cells"][0]["checks"][0]["findings"][0]["message"]
    assert read == message


def test_the_report_is_strict_json() -> None:
    """NaN and infinities are words; a number that slipped through is an error here, not at the reader's."""
    text = render(Document.of([gate("a", amount=math.inf, other=math.nan)], ENVIRONMENT))
    read = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert read["gates"][0]["cells"][0]["checks"][0]["findings"][0]["details"] == {"amount": "inf", "other": "nan"}
    with pytest.raises(ValueError, match="JSON compliant"):
        render(Document.of([], {"x": math.nan}))


def test_results_can_be_read_back() -> None:
    """The report holds all there is to know of a gate."""
    result = gate("a", amount=1.5)
    document = Document.of([result], ENVIRONMENT, ["gone"])
    assert parse("a.json", json.loads(render(document))) == document


# Writing


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    """What is in the file is what is rendered, and nothing else is in the folder."""
    path = tmp_path / "report.json"
    data = Document.of([gate("größe")], ENVIRONMENT)
    write(path, data)
    assert path.read_text(encoding="utf-8") == render(data)
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_report_is_replaced(tmp_path: Path) -> None:
    """Nothing of it is left over."""
    path = tmp_path / "report.json"
    write(path, Document.of([gate("a" * 1000)], ENVIRONMENT))
    write(path, Document.of([], ENVIRONMENT))
    assert path.read_text(encoding="utf-8") == render(Document.of([], ENVIRONMENT))


def test_a_report_that_cannot_be_rendered_leaves_the_older_one(tmp_path: Path) -> None:
    """Whole or not at all."""
    path = tmp_path / "report.json"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(ValueError, match="JSON compliant"):
        write(path, Document.of([], {"x": math.nan}))
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
        write(path, Document.of([], {"x": 1}))
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    """The caller decides how to say it."""
    with pytest.raises(OSError, match="No such file"):
        write(tmp_path / "no" / "report.json", Document.of([], {"x": 1}))


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX's")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_others_may_read_it_as_the_umask_says(tmp_path: Path, umask: int) -> None:
    """A report is made for others, unlike a temporary file."""
    path = tmp_path / "report.json"
    before = os.umask(umask)
    try:
        write(path, Document.of([], {"x": 1}))
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


# What is no report


def branching(id: str, verdict: Verdict | None = Verdict.UNTRACEABLE) -> GateResult:
    finding = Finding(message="it branches", file="src/head.py", line=41)
    check = CheckResult.failed("trace", verdict, finding) if verdict else CheckResult.passed("trace")
    cells = (CellResult(target="torchscript", batch_size=2, seq_len=None, checks=(check,)),)
    return GateResult.judged(id, f"tests/test_models.py::test_{id}", cells)


def document(*gates: GateResult) -> Document:
    return Document.of(gates, ENVIRONMENT)


EXPECTED = 'expected a report of --torchscript-json: an object with "schema": 1, "environment" and "gates"'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], EXPECTED),
        (None, EXPECTED),
        ({}, EXPECTED),
        ({"schema": 1}, EXPECTED),
        ({"schema": True, "environment": {}, "gates": []}, EXPECTED),
        ({"schema": "1", "environment": {}, "gates": []}, EXPECTED),
        ({"schema": 1, "environment": [], "gates": []}, EXPECTED),
        ({"schema": 1, "environment": {}, "gates": {}}, EXPECTED),
        ({"schema": 1, "gate:head": {}}, EXPECTED),
        ({"schema": 2, "environment": {}, "gates": []}, "schema 2, and this version reads schema 1"),
        ({"schema": 1, "environment": {}, "gates": [], "stale": [1]}, "stale must be a list of texts"),
        ({"schema": 1, "environment": {}, "gates": [3]}, "gates[0]: must be an object, not 3"),
        ({"schema": 1, "environment": {}, "gates": [{}]}, "gates[0]: has no 'id'"),
    ],
)
def test_another_document_is_refused(data: Any, expected: str) -> None:
    """The message names the file and what was expected."""
    with pytest.raises(ReportError) as caught:
        parse("bad.json", data)
    assert str(caught.value).startswith(f"bad.json: {expected}")


def _set(*keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        place: Any = data
        for key in keys[:-2]:
            place = place[key]
        place[keys[-2]] = keys[-1]

    return change


CHECK = ("gates", 0, "cells", 0, "checks", 0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("gates", 0, "id", 3), "gates[0].id: must be text, not 3"),
        (_set("gates", 0, "outcome", "maybe"), "gates[0].outcome: 'maybe' is not a valid Outcome"),
        (_set("gates", 0, "reason", []), "gates[0].reason: must be text or null, not []"),
        (_set("gates", 0, "seconds", True), "gates[0].seconds: must be a number, not true"),
        (_set("gates", 0, "cells", 0, "seq_len", 1.5), "gates[0].cells[0].seq_len: must be a whole number or null, not 1.5"),
        (_set("gates", 0, "cells", 0, "dims", {"seq": 1}), "gates[0].cells[0].dims.seq: must be text, not 1"),
        (_set(*CHECK, "status", "odd"), "gates[0].cells[0].checks[0].status: 'odd' is not a valid Status"),
        (
            _set(*CHECK, "verdict", None),
            "gates[0].cells[0].checks[0]: check 'trace': a verdict goes with a failure and with nothing else",
        ),
        (_set(*CHECK, "findings", [{}]), "gates[0].cells[0].checks[0].findings[0]: has no 'message'"),
        (
            _set(*CHECK, "findings", 0, "line", "41"),
            'gates[0].cells[0].checks[0].findings[0].line: must be a whole number or null, not "41"',
        ),
    ],
)
def test_a_part_of_another_type_is_refused_with_its_place(change: Callable[[dict[str, Any]], None], expected: str) -> None:
    """Whoever wrote the file can find it."""
    data = to_json(document(branching("head")))
    change(data)
    with pytest.raises(ReportError) as caught:
        parse("bad.json", data)
    assert str(caught.value).startswith(f"bad.json: {expected}")


def test_a_key_that_a_later_version_added_is_ignored() -> None:
    """Additions keep the number of the schema, at every level."""
    data = to_json(document(branching("head")))
    check = data["gates"][0]["cells"][0]["checks"][0]
    for part in (data, data["gates"][0], data["gates"][0]["cells"][0], check, check["findings"][0]):
        part["colour"] = "red"
    assert parse("new.json", data) == document(branching("head"))


def test_an_id_that_is_there_twice_is_refused() -> None:
    """In one document, whatever the results."""
    with pytest.raises(ReportError, match=r"a\.json: gates\[1\]: the id 'head' is there twice, of 'tests/.*' and 'tests/.*'"):
        parse("a.json", to_json(document(branching("head"), branching("head"))))


# Files


def test_a_report_is_read_from_its_file(tmp_path: Path) -> None:
    """As ``--torchscript-json`` wrote it."""
    path = tmp_path / "a.json"
    write(path, document(branching("a")))
    assert read(path) == document(branching("a"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "there is no such file"),
        ("{", "line 1, column 2: not JSON: Expecting property name"),
        ('{"schema": 1,\n"schema": 1}', "line 2, column 1: 'schema' is there twice"),
        (json.dumps({"schema": 7, "environment": {}, "gates": []}), "schema 7, and this version reads schema 1"),
    ],
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: str | None, expected: str) -> None:
    """The message begins with its path."""
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ReportError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {expected}")
