"""``python -m pytest_torchscript``: exit codes, what is written, and one line for bad input."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pytest_torchscript import baseline
from pytest_torchscript.__main__ import main
from pytest_torchscript.reports import json as json_report
from pytest_torchscript.reports import markdown
from pytest_torchscript.reports.document import Document
from pytest_torchscript.reports.json import read
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Verdict


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative, as on a command line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def gate(id: str, verdict: Verdict | None = None, **fields: Any) -> GateResult:
    check = CheckResult.failed("trace", verdict, Finding(message="it branches")) if verdict else CheckResult.passed("trace")
    cells = (CellResult(target="torchscript", batch_size=2, seq_len=16, checks=(check,)),)
    return replace(GateResult.judged(id, f"tests/test_models.py::test_{id}", cells), **fields)


def shard(name: str, *gates: GateResult) -> str:
    json_report.write(Path(name), Document.of(gates, {"python": "3.12"}))
    return name


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that is said of bad input, without the command's name; nothing may have been written."""
    before = sorted(Path().rglob("*"))
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return err.removeprefix(f"pytest_torchscript {arguments[0]}: ").rstrip("\n")


# merge


def test_merge_writes_one_report_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """All is well: 0."""
    shards = [shard("a.json", gate("b")), shard("b.json", gate("a"))]
    assert main(["merge", *shards, "--output", "out.json", "--summary", "summary.md"]) == 0
    assert read(Path("out.json")) == Document.of([gate("a"), gate("b")], {"python": "3.12"})
    assert Path("summary.md").read_text(encoding="utf-8") == markdown.summary(read(Path("out.json")))
    assert capsys.readouterr().out.endswith("2 gates of 2 reports, 0 failing, written to out.json\n")


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.FAILED, 1),
        (Outcome.ERROR, 1),
        (Outcome.CRASHED, 1),
        (Outcome.XFAILED, 0),
        (Outcome.SKIPPED, 0),
        (Outcome.PASSED, 0),
    ],
)
def test_merge_ends_with_1_if_a_gate_failed(outcome: Outcome, status: int) -> None:
    """A known failure and a skipped gate are none; the report is written either way."""
    shards = [shard("a.json", gate("a")), shard("b.json", gate("b", outcome=outcome))]
    assert main(["merge", *shards, "--output", "out.json"]) == status
    assert len(read(Path("out.json")).gates) == 2


def test_merge_gives_the_same_bytes_in_any_order() -> None:
    """The shell's order of files is no part of the result."""
    shards = [shard(f"{name}.json", gate(name)) for name in "cab"]
    main(["merge", *shards, "--output", "one.json", "--summary", "one.md"])
    main(["merge", *reversed(shards), "--output", "two.json", "--summary", "two.md"])
    assert Path("one.json").read_bytes() == Path("two.json").read_bytes()
    assert Path("one.md").read_bytes() == Path("two.md").read_bytes()


def test_merge_may_write_over_a_shard() -> None:
    """Everything is read before anything is written."""
    shard("a.json", gate("a"))
    assert main(["merge", "a.json", shard("b.json", gate("b")), "--output", "a.json"]) == 0
    assert len(read(Path("a.json")).gates) == 2


def test_merge_appends_to_the_summary_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """``$GITHUB_STEP_SUMMARY`` belongs to all commands of the step."""
    Path("step.md").write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", os.path.abspath("step.md"))
    main(["merge", shard("a.json", gate("a")), "--output", "out.json", "--summary", "step.md"])
    assert Path("step.md").read_text(encoding="utf-8").startswith("before\n\n## TorchScript gates: 1 passed")


def test_merge_writes_junit() -> None:
    """From the same document as the others."""
    junit = pytest.importorskip("pytest_torchscript.reports.junit")
    pytest.importorskip("junit_xml")
    assert main(["merge", shard("a.json", gate("a")), "--output", "out.json", "--junit", "out.xml"]) == 0
    assert Path("out.xml").read_text(encoding="utf-8") == junit.render(read(Path("out.json")))


def test_merge_writes_junit_of_the_family_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """As pytest's own setting; one that there is not is refused."""
    pytest.importorskip("junit_xml")
    arguments = ["merge", shard("a.json", gate("a", Verdict.UNTRACEABLE)), "--output", "out.json", "--junit", "out.xml"]
    main([*arguments, "--junit-family", "xunit1"])
    assert ' file="tests/test_models.py"' in Path("out.xml").read_text(encoding="utf-8").partition("<testcase")[2]
    main(arguments)
    assert ' file="tests/test_models.py"' not in Path("out.xml").read_text(encoding="utf-8").partition("<testcase")[2]
    for path in (Path("out.json"), Path("out.xml")):
        path.unlink()
    capsys.readouterr()
    text = refusal(capsys, *arguments, "--junit-family", "xunit3")
    assert text == "junit_family must be one of xunit1, legacy, xunit2, not 'xunit3'"


def test_merge_without_junit_xml_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written."""
    monkeypatch.setitem(sys.modules, "junit_xml", None)
    text = refusal(capsys, "merge", shard("a.json", gate("a")), "--output", "out.json", "--junit", "out.xml")
    assert text.startswith("--junit: ")
    assert "junit_xml" in text


def test_merge_finds_what_no_shard_gates(capsys: pytest.CaptureFixture[str]) -> None:
    """Each shard alone is filtered; together they are the whole suite, and a baseline can be held against it."""
    baseline.write(Path("b.json"), baseline.update(baseline.Baseline(), [gate("a"), gate("b"), gate("gone")]))
    shards = [shard("1.json", gate("a")), shard("2.json", gate("b", outcome=Outcome.SKIPPED, cells=()))]
    assert main(["merge", *shards, "--output", "out.json", "--summary", "out.md", "--baseline", "b.json"]) == 1
    assert read(Path("out.json")).stale == ("gone",)
    assert "STALE `gone`" in Path("out.md").read_text(encoding="utf-8")
    assert "STALE: gone is recorded in b.json, but no test gates it: coverage was lost\n" in capsys.readouterr().out


def test_a_baseline_overrides_what_the_shards_called_stale() -> None:
    """They were judged each for itself."""
    baseline.write(Path("b.json"), baseline.update(baseline.Baseline(), [gate("a")]))
    json_report.write(Path("a.json"), Document.of([gate("a")], stale=["gone"]))
    assert main(["merge", "a.json", "--output", "out.json"]) == 1
    assert main(["merge", "a.json", "--output", "out.json", "--baseline", "b.json"]) == 0
    assert not read(Path("out.json")).stale


def test_merge_refuses_bad_shards(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Missing, a directory, no JSON, another schema, different results: each in one line, and nothing is written."""
    good = shard("good.json", gate("a"))
    shard("other.json", gate("a", Verdict.UNTRACEABLE))
    Path("broken.json").write_text('{"schema": 1,\n', encoding="utf-8")
    Path("schema.json").write_text('{"schema": 2, "environment": {}, "gates": []}', encoding="utf-8")
    Path("folder").mkdir()
    expected = {
        "missing.json": "missing.json: there is no such file",
        "folder": "folder: is a directory; give the file",
        "broken.json": "broken.json: line 2, column 1: not JSON: Expecting property name enclosed in double quotes",
        "schema.json": "schema.json: schema 2, and this version reads schema 1",
        "other.json": "gate 'a' has different results in good.json and other.json: outcome is",
    }
    for bad, text in expected.items():
        assert refusal(capsys, "merge", good, bad, "--output", "out.json", "--summary", "out.md").startswith(text)


def test_merge_refuses_outputs_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Before any of them is written, and whatever was there stays."""
    good = shard("good.json", gate("a"))
    Path("folder").mkdir()
    Path("out.json").write_text("old", encoding="utf-8")
    cases = {
        ("--output", "folder"): "--output: folder: is a directory; give the file to write",
        ("--output", "no/out.json"): "--output: no/out.json: the directory 'no' does not exist; make it first",
        ("--output", "out.json", "--summary", "folder"): "--summary: folder: is a directory",
        ("--output", "out.json", "--summary", "no/out.md"): "--summary: no/out.md: the directory 'no' does not exist",
        ("--output", "out.json", "--summary", "./out.json"): "--summary: out.json: is the file of --output too",
    }
    for arguments, text in cases.items():
        assert refusal(capsys, "merge", good, *arguments).startswith(text)
    assert Path("out.json").read_text(encoding="utf-8") == "old"


def test_merge_says_when_writing_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk cannot be foreseen."""

    def full(path: Path, document: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json_report, "write", full)
    path = Path("good.json")
    path.write_text(json_report.render(Document.of([gate("a")])), encoding="utf-8")
    text = refusal(capsys, "merge", "good.json", "--output", "out.json")
    assert text == "--output: out.json: cannot be written: No space left on device"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "--baseline: b.json: there is no such file"), ("{", "baseline b.json: line 1, column 2: not JSON: ")],
)
def test_merge_refuses_a_bad_baseline(capsys: pytest.CaptureFixture[str], content: str | None, expected: str) -> None:
    """A name that is given must be there."""
    good = shard("good.json", gate("a"))
    if content is not None:
        Path("b.json").write_text(content, encoding="utf-8")
    assert refusal(capsys, "merge", good, "--output", "out.json", "--baseline", "b.json").startswith(expected)


# diff


def test_diff_prints_the_comment_and_ends_with_1_on_regression(capsys: pytest.CaptureFixture[str]) -> None:
    """What the pull request made worse."""
    shard("old.json", gate("a"))
    shard("new.json", gate("a", Verdict.UNTRACEABLE))
    assert main(["diff", "old.json", "new.json"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("## TorchScript gates: 1 worse\n")
    assert "was ok, is Untraceable now" in out


def test_diff_writes_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """The other way round it is better: 0."""
    shard("old.json", gate("a", Verdict.UNTRACEABLE))
    shard("new.json", gate("a"))
    assert main(["diff", "old.json", "new.json", "--output", "comment.md"]) == 0
    assert Path("comment.md").read_text(encoding="utf-8").startswith("## TorchScript gates: 1 better\n")
    assert capsys.readouterr().out == ""


def test_diff_of_equal_reports_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A failure that was there before is no regression."""
    shard("old.json", gate("a", Verdict.UNTRACEABLE))
    assert main(["diff", "old.json", "old.json"]) == 0
    assert capsys.readouterr().out == "TorchScript gates: no change in 1 gate.\n"


def test_diff_refuses_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    """Either file, and an output that cannot be written."""
    good = shard("good.json", gate("a"))
    Path("broken.json").write_text("<<<<<<< HEAD\n", encoding="utf-8")
    assert refusal(capsys, "diff", "missing.json", good) == "missing.json: there is no such file"
    assert refusal(capsys, "diff", good, "broken.json").startswith("broken.json: line 1, column 1: a merge conflict")
    assert refusal(capsys, "diff", good, good, "--output", "no/out.md").startswith("--output: no/out.md: the directory")


def test_diff_may_be_written_to_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """``/dev/stdout`` can be written to, and nothing can be put beside it."""
    os.mkfifo("pipe")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert main(["diff", shard("a.json", gate("a")), "a.json", "--output", "pipe"]) == 0
        assert os.read(reader, 100) == b"TorchScript gates: no change in 1 gate.\n"
    finally:
        os.close(reader)


def test_diff_may_be_written_to_standard_output() -> None:
    """Which is a pipe as often as a terminal."""
    command = [
        sys.executable,
        "-m",
        "pytest_torchscript",
        "diff",
        shard("a.json", gate("a")),
        "a.json",
        "--output",
        "/dev/stdout",
    ]
    run = subprocess.run(command, capture_output=True, check=False)
    assert (run.returncode, run.stdout) == (0, b"TorchScript gates: no change in 1 gate.\n")


# The command


@pytest.mark.parametrize("arguments", [[], ["check"], ["merge", "a.json"], ["merge", "--output", "o.json"], ["diff", "a.json"]])
def test_a_command_that_is_not_understood_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As bad input does, with the usage."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m pytest_torchscript" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """What a report of a fault should name."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"pytest-torchscript {metadata.version('pytest-torchscript')}\n"


def test_the_module_runs_without_torch_and_pytest() -> None:
    """A job that only merges needs neither; text the terminal cannot show is escaped, and controls never reach it."""
    shard("a.json", gate("ü-\ud800-\x1b[31m", Verdict.UNTRACEABLE))
    script = (
        "import runpy, sys\n"
        "sys.modules.update(torch=None, pytest=None)\n"
        "runpy.run_module('pytest_torchscript', run_name='__main__', alter_sys=True)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, "merge", "a.json", "--output", "out.json"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (1, b"")
    assert read(Path("out.json")).gates[0].id == "ü-\ud800-\x1b[31m"
    assert b"\x1b" not in run.stdout
    assert b"\\xfc-\\ud800-\\x1b[31m" in run.stdout
