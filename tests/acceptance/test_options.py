"""Command line: choosing tests, choosing targets, switching gates off."""

from __future__ import annotations

import pytest

from .harness import PytestRuns

# No model is to be found for these tests, so that each gate would fail, and none needs torch.
SUITE = {
    "test_mixed.py": """
        import pytest

        @pytest.mark.torchscript
        def test_marked(): ...

        def test_unmarked(): ...

        @pytest.mark.torchscript(seq_len=8)
        class TestClass:
            def test_in_class(self): ...
    """
}


def test_without_gates_the_tests_run_alone(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """Under `--no-torchscript` every test runs, none is gated, and a test whose gate would fail passes."""
    run = run_suite(SUITE, "--no-torchscript", *mode)
    assert run.outcomes == dict.fromkeys(("test_marked", "test_unmarked", "test_in_class"), "passed")
    assert run.report is None
    assert "torchscript gates" not in run.output
    assert run.code == 0


def test_only_marked_tests_are_gated(run_suite: PytestRuns) -> None:
    """A test without the marker is neither gated nor reported; without a model, the test's own marker alone fails it."""
    run = run_suite(SUITE)
    assert run.outcomes == {"test_marked": "failed", "test_unmarked": "passed", "test_in_class": "passed"}
    assert run.gates("test_unmarked") == []
    assert len(run.report["gates"]) == 2


def test_without_gates_markers_are_not_looked_at(run_suite: PytestRuns) -> None:
    """Under `--no-torchscript` a bad marker and a bad configured value stop nothing."""
    files = {
        "pytest.ini": "[pytest]\ntorchscript_seq_len = many\n",
        "test_bad.py": "import pytest\n@pytest.mark.torchscript(seq_lne=3)\ndef test_bad(): ...\n",
    }
    run = run_suite(files, "--no-torchscript", "--strict-markers")
    assert run.outcomes == {"test_bad": "passed"}


def test_marker_selects(run_suite: PytestRuns) -> None:
    """`-m torchscript` runs the marked tests, and `-m "not torchscript"` the others."""
    assert set(run_suite(SUITE, "--no-torchscript", "-m", "torchscript").outcomes) == {"test_marked", "test_in_class"}
    assert set(run_suite(SUITE, "-m", "not torchscript").outcomes) == {"test_unmarked"}


def test_target_option_takes_a_target(run_suite: PytestRuns) -> None:
    """`--torchscript-target` judges every gate for that target, given once or twice."""
    files = {
        "test_it.py": "import pytest\nfrom models import *\n@pytest.mark.torchscript\ndef test_it():\n    Head()(rows())\n"
    }
    run = run_suite(files, "--torchscript-target=torchscript", "--torchscript-target", "torchscript")
    assert [cell["target"] for cell in run.gate("test_it")["cells"]] == ["torchscript"]


@pytest.mark.parametrize(
    ("target", "says"), [("torchscrip", "'torchscript'"), ("Torchscript", "'torchscript'"), ("", "torchscript")]
)
def test_unknown_target_is_a_usage_error(run_suite: PytestRuns, target: str, says: str) -> None:
    """An unknown target is told before anything is collected, with the option and the nearest name, over workers too."""
    for arguments in ((), ("-n", "2")):
        run = run_suite(SUITE, f"--torchscript-target={target}", *arguments)
        assert run.code == pytest.ExitCode.USAGE_ERROR
        assert "--torchscript-target" in run.text
        assert says in run.text
        assert not run.outcomes
        assert "Traceback" not in run.text


def test_help_and_markers_document_the_plugin(run_suite: PytestRuns) -> None:
    """`--help` lists the options and configuration, `--markers` the marker with every argument."""
    text = run_suite(SUITE, "--help").output
    for option in ("--torchscript-target", "--torchscript-json", "--no-torchscript", "torchscript_bare_marker"):
        assert option in text
    markers = run_suite(SUITE, "--markers").output.partition("@pytest.mark.torchscript(")[2].splitlines()[0]
    names = "seq_len batch_size target shapes model inputs dims mask rtol atol skip max_flops weights id"
    for name in names.split():
        assert name in markers
        assert name == "id" or f"torchscript_{name}" in text


def test_plugin_can_be_left_out(run_suite: PytestRuns) -> None:
    """`-p no:torchscript` leaves marked tests as they are without the plugin."""
    run = run_suite({**SUITE, "pytest.ini": "[pytest]\nmarkers = torchscript: a label\n"}, "-p", "no:torchscript", json=False)
    assert set(run.outcomes.values()) == {"passed"}
    assert len(run.outcomes) == 3
