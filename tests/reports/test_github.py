"""Annotations: their place, their order, their number, and text that cannot leave its command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_torchscript.reports import github
from pytest_torchscript.reports.document import Document
from pytest_torchscript.reports.github import linker, locator, looks_inside
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Verdict

COMMAND = re.compile(r"::(?P<level>error|warning|notice) (?P<properties>[^:]*)::(?P<text>.*)")


def gate(
    *findings: Finding, id: str = "head", verdict: Verdict | None = Verdict.UNTRACEABLE, state: str | None = None, **fields: Any
) -> GateResult:
    """A gate of one cell; with a verdict, it fails with ``findings``."""
    failed = [CheckResult.failed("trace", verdict, *findings)] if verdict else []
    cells = (CellResult(target="torchscript", batch_size=2, seq_len=16, checks=(CheckResult.passed("eager"), *failed)),)
    return replace(GateResult.judged(id, "tests/test_head.py::test", cells), baseline=state, **fields)


def annotations(gates: Sequence[GateResult], *, stale: Sequence[str] = (), **options: Any) -> list[str]:
    return github.annotations(Document.of(gates, stale=stale), **options)


def at(file: str | None, line: int | None = 41, **fields: Any) -> Finding:
    return Finding(**{"message": "it branches on a value", "file": file, "line": line, **fields})


def parsed(line: str) -> tuple[str, dict[str, str], str]:
    match = COMMAND.fullmatch(line)
    assert match
    properties = dict(entry.split("=", 1) for entry in match["properties"].split(","))
    return match["level"], properties, match["text"]


def test_a_failure_is_annotated_at_the_models_line() -> None:
    """File, line, verdict, message and remedy."""
    found = annotations(
        [gate(at("src/head.py", hint="use torch.where"), state="REGRESSED", reason="was ok, is Untraceable now")]
    )
    assert found == [
        "::error file=src/head.py,line=41,title=torchscript REGRESSED Untraceable::"
        "head: it branches on a value%0Aremedy: use torch.where%0Awas ok, is Untraceable now"
    ]


def test_the_first_line_inside_the_repository_is_taken() -> None:
    """A library's line is not the user's to mend."""
    findings = (
        at("/usr/lib/python3/site-packages/lib/a.py", 1),
        at("lib/site-packages/a.py", 2),
        at(None),
        at("src/head.py", 7),
    )
    (line,) = annotations([gate(*findings)])
    assert parsed(line)[1]["file"] == "src/head.py"
    assert parsed(line)[1]["line"] == "7"


@pytest.mark.parametrize(
    "file",
    [
        "/abs/a.py",
        "../a.py",
        "C:\\a.py",
        "C:/a.py",
        "src\\a.py",
        ".venv/lib/python3.12/site-packages/a.py",
        "lib/dist-packages/a.py",
        "<string>",
        "",
        None,
    ],
)
def test_a_file_outside_the_repository_is_not_named(file: str | None) -> None:
    """GitHub could not show it, and would show the annotation nowhere."""
    (line,) = annotations([gate(at(file))])
    assert set(parsed(line)[1]) == {"title"}


@pytest.mark.parametrize("line", [None, 0, -1])
def test_a_place_without_a_line_is_none(line: int | None) -> None:
    """Lines count from 1."""
    assert set(parsed(annotations([gate(at("src/head.py", line))])[0])[1]) == {"title"}


def test_files_are_found_in_the_checkout(tmp_path: Path) -> None:
    """Findings are relative to pytest's root directory, annotations to the repository, and only what is there counts."""
    root = tmp_path / "packages" / "one"
    (root / "src").mkdir(parents=True)
    (root / "src" / "head.py").write_text("", encoding="utf-8")
    (tmp_path / "top.py").write_text("", encoding="utf-8")
    locate = locator(root, tmp_path)
    assert locate("src/head.py") == "packages/one/src/head.py"
    # An installed package's file is given from its package on, and looks like one of the repository.
    assert locate("transformers/models/bert/modeling_bert.py") is None
    assert locate("src") is None
    assert locate("../../top.py") is None
    assert locator(root, root / "src")("src/head.py") == "head.py"
    assert locator(root, tmp_path / "elsewhere")("src/head.py") is None
    (line,) = annotations([gate(at("transformers/a.py"), at("src/head.py"))], locate=locate)
    assert parsed(line)[1]["file"] == "packages/one/src/head.py"


def test_a_relative_file_may_be_inside() -> None:
    """Without a checkout to look at, the name decides."""
    assert looks_inside("./src/head.py") == "src/head.py"


def test_errors_are_ordered_by_how_much_they_are_news() -> None:
    """Regressions, new failures, failures without a baseline, entries to remove."""
    gates = [
        gate(verdict=None, id="a", state="FIXED", outcome=Outcome.FAILED, reason="remove this entry"),
        gate(at("a.py"), id="b"),
        gate(at("b.py"), id="c", state="NEW"),
        gate(at("c.py"), id="d", state="REGRESSED"),
    ]
    assert [parsed(line)[1]["title"] for line in annotations(gates, stale=["gone"])] == [
        "torchscript REGRESSED Untraceable",
        "torchscript NEW Untraceable",
        "torchscript Untraceable",
        "torchscript FIXED",
        "torchscript STALE",
    ]


def test_known_failures_are_warnings_and_new_gates_a_count() -> None:
    """What passes as recorded, and what did not run, is not annotated."""
    gates = [
        gate(at("src/head.py"), id="a", state="KNOWN", outcome=Outcome.XFAILED, reason="reason: issue 12"),
        gate(verdict=None, id="b", state="NEW", reason="not recorded"),
        gate(verdict=None, id="c", state="ok"),
        gate(verdict=None, id="d"),
        gate(verdict=None, id="e", outcome=Outcome.SKIPPED),
    ]
    assert annotations(gates) == [
        "::warning file=src/head.py,line=41,title=torchscript KNOWN Untraceable::a: it branches on a value%0Areason: issue 12",
        "::notice title=torchscript NEW::1 model passes and is not recorded in the baseline",
    ]


def test_a_crash_and_a_lost_dim_are_errors_without_a_line() -> None:
    """No check failed; the gate did."""
    crash = GateResult(id="a", nodeid="t", outcome=Outcome.CRASHED)
    lost = gate(verdict=None, id="b", state="REGRESSED", outcome=Outcome.FAILED, reason="seq was dynamic, is fixed now")
    assert annotations([crash, lost]) == [
        "::error title=torchscript REGRESSED::b: seq was dynamic, is fixed now",
        "::error title=torchscript Crashed::a: see the log",
    ]


def test_what_another_plugin_annotates_is_not_annotated_again() -> None:
    """It tells every failing test; what is stale is no test, and known failures are none that fail."""
    gates = [
        gate(at("src/head.py"), id="a", state="NEW"),
        gate(at("src/head.py"), id="b", state="KNOWN", outcome=Outcome.XFAILED),
        GateResult.not_judged("c", "t.py::c", "the test itself failed"),
    ]
    found = [parsed(line) for line in annotations(gates, stale=["gone"], tests_annotated=True)]
    assert [(level, properties["title"]) for level, properties, _ in found] == [
        ("error", "torchscript STALE"),
        ("warning", "torchscript KNOWN Untraceable"),
    ]


def test_gates_that_were_not_judged_share_an_annotation() -> None:
    """Where one fixture breaks a hundred tests, the models that fail must be seen beside it."""
    gates = [GateResult.not_judged(f"g{i}", f"t.py::{i}", "the test's setup failed") for i in range(3)]
    gates.append(GateResult.without_model("none", "t.py::none", "no model to gate", inherited=False))
    gates.append(GateResult.without_model("quiet", "t.py::quiet", "no model to gate", inherited=True))
    assert annotations(gates) == [
        "::error title=torchscript NotJudged::g0, g1, g2: the test's setup failed",
        "::error title=torchscript NoModel::none: no model to gate",
    ]


def test_a_line_is_linked_at_the_commit_of_the_job(tmp_path: Path) -> None:
    """Relative to the checkout, with every sign of the name escaped; what is not in the checkout has no link."""
    root = tmp_path / "packages" / "one"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a b#.py").touch()
    variables = {
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "owner/na.me",
        "GITHUB_SHA": "0123456789abcdef0123456789abcdef01234567",
        "GITHUB_WORKSPACE": str(tmp_path),
    }
    link = linker(root, variables)
    assert link is not None
    assert link("src/a b#.py", 7) == (
        f"https://github.com/owner/na.me/blob/{variables['GITHUB_SHA']}/packages/one/src/a%20b%23.py#L7"
    )
    assert link("transformers/a.py", 7) is None
    assert link("src/a b#.py", 0) is None
    for name, value in [
        ("GITHUB_SHA", "unknown"),
        ("GITHUB_SHA", "main)"),
        ("GITHUB_REPOSITORY", ""),
        ("GITHUB_REPOSITORY", "a/b/c"),
        ("GITHUB_SERVER_URL", "javascript:x"),
    ]:
        assert linker(root, {**variables, name: value}) is None
    assert linker(root, {}) is None


def test_gates_that_fail_at_one_line_share_an_annotation() -> None:
    """One defect in a shared layer must not use up all that GitHub shows."""
    (line,) = annotations([gate(at("src/layer.py"), id=f"model-{i}") for i in range(20)])
    assert parsed(line)[2].startswith("model-0, model-1, model-10, model-11, model-12 and 15 more: it branches on a value")


@pytest.mark.parametrize("count", [9, 10, 11, 500])
def test_at_most_ten_of_each_level_are_printed(count: int) -> None:
    """GitHub drops the rest without a word, so the tenth line counts it; regressions are not what is dropped."""
    gates = [gate(at("src/a.py", i + 1), id=f"fail-{i:03}") for i in range(count)]
    gates += [gate(at("src/b.py", i + 1), id=f"known-{i:03}", state="KNOWN", outcome=Outcome.XFAILED) for i in range(count)]
    gates += [gate(verdict=None, id=f"new-{i:03}", state="NEW") for i in range(count)]
    gates += [gate(at("src/z.py", 3), id="zzz", state="REGRESSED")]
    found = [parsed(line) for line in annotations(gates)]
    levels = [level for level, _, _ in found]
    assert levels == sorted(levels, key=["error", "warning", "notice"].index)
    assert (levels.count("warning"), levels.count("notice")) == (min(count, 10), 1)
    assert levels.count("error") == min(count + 1, 10)
    assert found[0][1]["title"] == "torchscript REGRESSED Untraceable"
    if count > 10:
        assert found[9][1] == {"title": "torchscript more"}
        assert found[9][2].startswith(f"{count + 1 - 9:,} more of {count + 1:,}: fail-008, fail-009")


def test_hostile_text_stays_inside_its_command() -> None:
    """Percent signs, line breaks, colons and commas are escaped; what cannot be printed is shown as an escape."""
    hostile = "100%, a:b\r\n::error::no\x1b[31m \ud800 %0A ü"
    (line,) = annotations([gate(at("src/a,b%.py", message=hostile, hint=hostile), id=hostile, state=hostile, reason=hostile)])
    assert "\n" not in line
    assert "\r" not in line
    level, properties, text = parsed(line)
    assert level == "error"
    assert properties["file"] == "src/a%2Cb%25.py"
    shown = "100%25, a:b ::error::no\\x1b[31m \\ud800 %250A ü"
    assert properties["title"] == f"torchscript {shown} Untraceable".replace(":", "%3A").replace(",", "%2C")
    assert text == f"{shown}: {shown}%0Aremedy: {shown}%0A{shown}"
    line.encode("utf-8")


def test_a_message_of_megabytes_is_cut() -> None:
    """GitHub refuses long commands."""
    (line,) = annotations([gate(at("src/a.py", message="x" * 5_000_000))])
    assert len(line) < 2000
    assert "(5,000,000 characters)" in line


def test_the_order_of_the_gates_does_not_show() -> None:
    """Workers finish in any order."""
    gates = [gate(at(f"src/{i}.py"), id=f"g{i}") for i in range(30)]
    assert annotations(gates, stale=["a", "b"]) == annotations(gates[::-1], stale=["b", "a"])
