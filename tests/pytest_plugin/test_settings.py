"""The options and the configuration of one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_torchscript import SpecError
from pytest_torchscript.baseline import Baseline
from pytest_torchscript.pytest_plugin.settings import SETTINGS, Settings
from pytest_torchscript.result import GateResult, Outcome


@pytest.fixture(autouse=True)
def no_outer_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine that runs these tests sets would be read too."""
    for name in ("CI", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def settings(pytester: pytest.Pytester, *arguments: str) -> Settings:
    return pytester.parseconfigure(*arguments).stash[SETTINGS]


def refusal(pytester: pytest.Pytester, *arguments: str) -> str:
    with pytest.raises(SpecError) as caught:
        Settings.from_config(pytester.parseconfig(*arguments))
    return str(caught.value)


def test_a_run_without_options_asks_for_nothing(pytester: pytest.Pytester) -> None:
    """No report, no default, no override; the baseline would be at the root directory."""
    made = settings(pytester)
    assert (made.defaults, made.override, made.ignore_bare) == ({}, {}, False)
    assert (made.json, made.junit, made.summary, made.baseline) == (None, None, None, None)
    assert made.baseline_path == pytester.path / "torchscript-baseline.json"
    assert (made.update, made.discover, made.require_sdk, made.target_timeout) == (False, False, False, 600.0)


def test_gates_that_are_switched_off_have_no_settings(pytester: pytest.Pytester) -> None:
    """So that nothing of the plugin acts."""
    assert SETTINGS not in pytester.parseconfigure("--no-torchscript").stash


def test_configuration_is_read_as_arguments(pytester: pytest.Pytester) -> None:
    """Line by line; empty lines and empty values are none."""
    pytester.makeini("[pytest]\ntorchscript_seq_len =\n  8\n\n  16\ntorchscript_rtol =\ntorchscript_bare_marker = ignore\n")
    made = settings(pytester)
    assert made.defaults == {"seq_len": (8, 16)}
    assert made.ignore_bare


def test_the_option_overrides_targets(pytester: pytest.Pytester) -> None:
    """A name that is given twice counts once."""
    made = settings(pytester, "--torchscript-target=libtorch", "--torchscript-target=export", "--torchscript-target=libtorch")
    assert made.override == {"target": ("libtorch", "export")}


def test_the_targets_of_a_run_know_its_limits(pytester: pytest.Pytester) -> None:
    """The configured seconds, and whether tools are required; no thread can wait forever."""
    config = pytester.parseconfigure("--torchscript-require-sdk", "-o", "torchscript_target_timeout=1e300")
    targets = config.stash[SETTINGS].targets(config)
    assert targets.require_sdk
    assert 600 < targets.timeout < 1e300
    assert "torchscript" in targets.by_name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "torchscript_seq_len=x"], "configuration torchscript_seq_len: seq_len: 'x' is no whole number"),
        (["-o", "torchscript_bare_marker=x"], "configuration torchscript_bare_marker: must be 'gate' or 'ignore', not 'x'"),
        (["-o", "torchscript_target_timeout=x"], "configuration torchscript_target_timeout: must be a positive number"),
        (["-o", "torchscript_target_timeout=nan"], "must be a positive number of seconds, not 'nan'"),
        (["--torchscript-target=libtorhc"], "--torchscript-target: unknown target 'libtorhc'; did you mean 'libtorch'?"),
        (["--torchscript-json=."], "--torchscript-json: '.' is a directory; give the file to write"),
        (["--torchscript-junit="], "--torchscript-junit: '' is a directory; give the file to write"),
        (["--torchscript-summary=no/a.md"], "--torchscript-summary: the directory "),
        (["--torchscript-baseline=no.json"], "does not exist; record it with --torchscript-update-baseline"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_an_impossible_value_names_its_option(pytester: pytest.Pytester, arguments: list[str], says: str) -> None:
    """Before anything is collected."""
    assert says in refusal(pytester, *arguments)


def test_a_baseline_is_not_updated_in_ci(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is committed by a person."""
    monkeypatch.setenv("CI", "true")
    assert "refused in CI" in refusal(pytester, "--torchscript-update-baseline")


def test_reports_are_relative_to_where_pytest_was_called(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell would have it; GitHub's summary file is the default of the summary."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/summary.md")
    made = settings(pytester, "--torchscript-json=gates.json")
    assert (made.json, made.summary) == (pytester.path / "gates.json", Path("/summary.md"))
    assert settings(pytester, "--torchscript-summary=own.md").summary == pytester.path / "own.md"


def test_the_baseline_may_be_elsewhere(pytester: pytest.Pytester) -> None:
    """By configuration relative to the root directory, by option relative to the caller's; a broken one is an error."""
    (pytester.path / "base.json").write_text('{\n"schema": 1\n}\n')
    (pytester.path / "broken.json").write_text("{")
    configured = settings(pytester, "-o", "torchscript_baseline=base.json")
    assert configured.baseline == Baseline(path=pytester.path / "base.json", entries={})
    assert settings(pytester, "--torchscript-baseline=base.json").baseline_path == pytester.path / "base.json"
    assert "broken.json" in refusal(pytester, "--torchscript-baseline=broken.json")


def failed_gate() -> GateResult:
    return GateResult(id="one", nodeid="test_it.py::test_one", outcome=Outcome.FAILED, reason="why")


def test_gates_are_judged_against_the_baseline(pytester: pytest.Pytester) -> None:
    """Without a file a gate stands as it is; with one it is new, and a failure that is being recorded is known."""
    assert settings(pytester).judged(failed_gate()).baseline is None
    (pytester.path / "torchscript-baseline.json").write_text('{\n"schema": 1\n}\n')
    assert settings(pytester).judged(failed_gate()).baseline == "NEW"
