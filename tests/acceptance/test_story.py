"""The story of a suite that adopts the gate with a known failure, and of the pull requests that follow."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from .harness import REPORT, PytestRuns, Run, write_suite

BASELINE = "torchscript-baseline.json"
REPORTS = ("--torchscript-junit=torchscript.xml", "--torchscript-summary=summary.md")
SCHEMA = Path(os.environ.get("JUNIT_SCHEMA") or Path(__file__).parents[3] / "shared" / "junit-10.xsd")

CLASSIFIER = """
    from torch import nn

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 4)

        def forward(self, x):
            return self.linear(x)
"""
POOLING = """
    from torch import nn

    class Pooling(nn.Module):
        def forward(self, x):
            return x.mean(1)
"""
EXOTIC = """
    from torch import nn

    class Exotic(nn.Module):
        def forward(self, x):
            return x * 2, None
"""
SUITE = {
    "conftest.py": """
        import pytest

        @pytest.fixture(autouse=True)
        def same_weights_in_any_order():
            import torch

            torch.manual_seed(5)
    """,
    "classifier.py": CLASSIFIER,
    "pooling.py": POOLING,
    "exotic.py": EXOTIC,
    "test_classifier.py": """
        import pytest
        from classifier import Classifier
        from models import rows

        @pytest.mark.torchscript(id="classifier")
        def test_classifier():
            assert Classifier()(rows()) is not None
    """,
    "test_exotic.py": """
        import pytest
        from exotic import Exotic
        from models import rows

        @pytest.mark.torchscript(id="exotic")
        def test_exotic():
            assert Exotic()(rows()) is not None
    """,
    "test_pooling.py": """
        import pytest
        from models import features
        from pooling import Pooling

        @pytest.mark.torchscript(id="pooling")
        def test_pooling():
            assert Pooling()(features()) is not None
    """,
}

UNTRACEABLE = {"classifier.py": CLASSIFIER.replace("self.linear(x)", "self.linear(x), None")}
BAKED = {"pooling.py": POOLING.replace("x.mean(1)", "x.view(x.shape[0], int(x.shape[1]), 8).mean(1)")}
MENDED = {"pooling.py": POOLING.replace("x.mean(1)", "x.sum(1) / x.shape[1]")}
CLEANED = {"exotic.py": EXOTIC.replace("x * 2, None", "x * 2")}

OK = '"cells": {"torchscript[b2]": {"dims": {"batch": "dynamic"}, "verdict": "ok"}}'
LOST = f"""{{
"gate:kept": {{{OK}}},
"gate:lost": {{{OK}}},
"gate:other": {{{OK}}},
"schema": 1
}}
"""
# No gate runs here, and so none of these suites has to import torch.
WAITING = {
    BASELINE: LOST,
    "test_one.py": """
        import pytest

        @pytest.mark.torchscript(id="kept")
        @pytest.mark.skip(reason="no accelerator")
        def test_kept(): ...
    """,
    "test_two.py": """
        import pytest

        @pytest.mark.torchscript(id="other")
        @pytest.mark.skip(reason="no accelerator")
        def test_other(): ...
    """,
}


@pytest.fixture
def step(run_suite: PytestRuns) -> Callable[..., Run]:
    """A run of the suite with some files changed (None: deleted), against the baseline that its adoption wrote."""

    def run(mode: tuple[str, ...], changed: Mapping[str, str | None], *arguments: str) -> Run:
        adopted = run_suite(SUITE, *mode, *REPORTS, "--torchscript-update-baseline")
        files: dict[str, str | None] = {**SUITE, BASELINE: written(adopted), **changed}
        return run_suite({name: text for name, text in files.items() if text is not None}, *mode, *REPORTS, *arguments)

    return run


def written(run: Run) -> str:
    """The baseline as it lies in the suite's directory after the run."""
    return (run.folder / BASELINE).read_text(encoding="utf-8")


def state(run: Run, id: str) -> tuple[str, str | None]:
    """Outcome and state of the gate with this id."""
    gate = next(gate for gate in run.report["gates"] if gate["id"] == id)
    return gate["outcome"], gate["baseline"]


def timeless(path: Path) -> bytes:
    """A report's bytes without its times."""
    text = re.sub(rb'("seconds": )[0-9.e-]+', rb"\1T", path.read_bytes())
    return re.sub(rb'( time=")[0-9.e-]+"', rb'\1T"', text)


def pytest_in(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with further environment variables, without those of an outer run."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GITHUB_")) and k != "CI"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


class TestStory:
    """Adopt, break, mend, clean up: each chapter is a run against the baseline that the adoption wrote."""

    def test_adopting_records_every_gate(self, run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
        """The first run writes one line a gate, the known failure with an empty reason, and does not fail."""
        run = run_suite(SUITE, *mode, *REPORTS, "--torchscript-update-baseline")
        assert run.code == 0, run.text
        assert written(run) == (
            "{\n"
            '"gate:classifier": {"cells": {"torchscript[b2]": {"dims": {"batch": "dynamic"}, "verdict": "ok"}}},\n'
            '"gate:exotic": {"cells": {"torchscript[b2]": {"dims": {}, "verdict": "Untraceable"}}, "reason": ""},\n'
            '"gate:pooling": {"cells": {"torchscript[b2,s16]": '
            '{"dims": {"batch": "dynamic", "seq": "dynamic"}, "verdict": "ok"}}},\n'
            '"schema": 1\n'
            "}\n"
        )
        assert BASELINE in run.output
        assert run.outcomes == {"test_classifier": "passed", "test_exotic": "xfailed", "test_pooling": "passed"}

    def test_the_adopted_suite_is_green(self, step: Callable[..., Run], mode: tuple[str, ...]) -> None:
        """The known failure is xfailed, its empty reason is asked for, and the baseline is left as it is."""
        run = step(mode, {}, "-rx")
        assert run.code == 0, run.text
        assert run.outcomes == {"test_classifier": "passed", "test_exotic": "xfailed", "test_pooling": "passed"}
        assert state(run, "classifier") == ("passed", "ok")
        assert state(run, "exotic") == ("xfailed", "KNOWN")
        asked = 'no reason is given: fill in reason on the line "gate:exotic" in torchscript-baseline.json'
        assert asked in run.messages["test_exotic"]
        assert asked in run.output.replace("\n", " ")
        assert "stale" not in run.report
        assert written(run).count("\n") == 6

    def test_a_model_that_becomes_untraceable_fails_the_build(self, step: Callable[..., Run], mode: tuple[str, ...]) -> None:
        """A pull request that breaks a model fails with what the model was, and the known failure stays expected."""
        run = step(mode, UNTRACEABLE)
        assert run.code == 1
        assert state(run, "classifier") == ("failed", "REGRESSED")
        assert state(run, "exotic") == ("xfailed", "KNOWN")
        assert state(run, "pooling") == ("passed", "ok")
        assert "was ok, is Untraceable now" in run.messages["test_classifier"]
        assert "classifier.py" in run.messages["test_classifier"]

    def test_a_dim_that_is_only_baked_fails_the_build(self, step: Callable[..., Run], mode: tuple[str, ...]) -> None:
        """A model that still passes every check, but no longer at other lengths, regressed; the dim is named."""
        run = step(mode, BAKED)
        assert run.code == 1
        assert run.verdict("test_pooling") == "ok"
        assert state(run, "pooling") == ("failed", "REGRESSED")
        assert "seq was dynamic, is fixed now" in run.messages["test_pooling"]
        assert "batch was dynamic" not in run.messages["test_pooling"]

    def test_the_fix_passes(self, step: Callable[..., Run], mode: tuple[str, ...]) -> None:
        """Once mended, in other words than before, the same gate passes and nothing needs recording."""
        run = step(mode, MENDED)
        assert run.code == 0, run.text
        assert state(run, "pooling") == ("passed", "ok")

    def test_a_fixed_known_failure_asks_to_remove_its_entry(self, step: Callable[..., Run], mode: tuple[str, ...]) -> None:
        """A recorded failure that passes now fails the build until the record says so."""
        run = step(mode, CLEANED)
        assert run.code == 1
        assert state(run, "exotic") == ("failed", "FIXED")
        assert "was Untraceable, passes now; remove this entry" in run.messages["test_exotic"]

    def test_a_deleted_test_is_stale(self, step: Callable[..., Run]) -> None:
        """Coverage that is lost fails the build, although every test that is left passes."""
        run = step((), {"test_classifier.py": None})
        assert run.code == 1
        assert set(run.outcomes.values()) == {"passed", "xfailed"}
        assert run.report["stale"] == ["classifier"]
        assert "STALE: classifier is recorded in torchscript-baseline.json, but no test gates it" in run.output
        assert "classifier" in (run.folder / "summary.md").read_text(encoding="utf-8")

    def test_an_update_changes_the_lines_of_what_ran_only(self, step: Callable[..., Run]) -> None:
        """Recording one gate leaves every other line as it was, byte for byte, reasons and lost gates included."""
        before = (
            "{\n"
            f'"gate:ancient": {{{OK}, "reason": "näher — “so” \\\\ {{"}},\n'
            '"gate:classifier": {"cells": {"torchscript[b2]": {"dims": {}, "verdict": "NotEquivalent"}}, "reason": "x"},\n'
            '"gate:exotic": {"cells": {"torchscript[b2]": {"dims": {}, "verdict": "Untraceable"}}, "reason": "issue 12"},\n'
            f'"gate:zoo": {{{OK}}},\n'
            '"schema": 1\n'
            "}\n"
        )
        run = step((), {BASELINE: before, **CLEANED}, "--torchscript-update-baseline", "-k", "exotic")
        assert run.code == 0, run.text
        expected = re.sub(r'"gate:exotic": .*', lambda _: f'"gate:exotic": {{{OK}}},', before)
        assert written(run).splitlines() == expected.splitlines()

    @pytest.mark.parametrize(
        "changed", [{}, UNTRACEABLE, BAKED, MENDED, CLEANED], ids=["green", "untraceable", "baked", "mended", "cleaned"]
    )
    @pytest.mark.parametrize("name", [REPORT, "torchscript.xml", "summary.md", BASELINE])
    def test_reports_of_two_workers_are_those_of_one_process(
        self, step: Callable[..., Run], changed: Mapping[str, str | None], name: str
    ) -> None:
        """Every chapter leaves the same files, byte for byte apart from times, with `-n 2`."""
        arguments = ["-rx"] if not changed else []
        one, two = (step(mode, changed, *arguments) for mode in ((), ("-n", "2")))
        assert timeless(one.folder / name) == timeless(two.folder / name)

    def test_merged_shards_are_the_whole(self, step: Callable[..., Run], tmp_path: Path) -> None:
        """Two shards, merged in either order, give the files and the exit code of one run: a regression, a lost gate."""
        changed = {**UNTRACEABLE, "test_pooling.py": None}
        whole = step((), changed)
        assert whole.report["stale"] == ["pooling"]
        shards = [step((), changed, "test_exotic.py"), step((), changed, "--deselect=test_exotic.py")]
        assert ["stale" in shard.report for shard in shards] == [False, False]
        outputs = {"--output": REPORT, "--junit": "torchscript.xml", "--summary": "summary.md"}
        for order in (shards, shards[::-1]):
            options = [f"{option}={tmp_path / name}" for option, name in outputs.items()]
            given = [str(shard.folder / REPORT) for shard in order]
            baseline = f"--baseline={whole.folder / BASELINE}"
            done = pytest_in(tmp_path, "pytest_torchscript", "merge", *given, baseline, *options)
            assert done.returncode == whole.code == 1, done.stdout + done.stderr
            differing = [n for n in outputs.values() if timeless(tmp_path / n) != timeless(whole.folder / n)]
            assert differing == []

    def test_junit_is_valid(self, step: Callable[..., Run]) -> None:
        """The report of a regression is valid against Jenkins' schema."""
        if not SCHEMA.is_file():
            pytest.skip("Jenkins' junit-10.xsd is not beside the repository, in ../shared")
        etree = pytest.importorskip("lxml.etree")
        schema = etree.XMLSchema(etree.parse(str(SCHEMA)))
        schema.assertValid(etree.parse(str(step((), UNTRACEABLE).folder / "torchscript.xml")))

    def test_pytest_s_own_junit_shows_the_message(self, step: Callable[..., Run], mode: tuple[str, ...]) -> None:
        """pytest's `--junitxml` can be parsed, and its failure is the gate's block with the verdict and the remedy."""
        run = step(mode, UNTRACEABLE)
        root = ElementTree.parse(run.folder.parent / f"{run.folder.name}.xml").getroot()
        assert len(root.findall(".//failure")) == 1
        assert "FAILED  Untraceable" in run.messages["test_classifier"]
        assert "remedy" in run.messages["test_classifier"]


class TestStaleness:
    """Coverage is lost only where a whole run does not find it."""

    def test_a_whole_run_reports_it(self, run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
        """Skipped gates are gated, the lost one is not, and that alone makes the exit code 1."""
        run = run_suite(WAITING, *mode, *REPORTS)
        assert run.code == 1
        assert run.report["stale"] == ["lost"]
        assert set(run.outcomes.values()) == {"skipped"}
        alone = run_suite(WAITING, *REPORTS)
        for name in (REPORT, "torchscript.xml", "summary.md"):
            assert timeless(run.folder / name) == timeless(alone.folder / name)

    @pytest.mark.parametrize("argument", [".", "--ff"])
    def test_an_argument_that_filters_nothing_reports_it_too(self, run_suite: PytestRuns, argument: str) -> None:
        """The root directory as an argument, or another order, is still the whole suite."""
        assert run_suite(WAITING, argument).report["stale"] == ["lost"]

    @pytest.mark.parametrize(
        "arguments",
        [
            "-k kept",
            "-k test",
            "-m torchscript",
            "--deselect test_two.py::test_other",
            "--ignore test_two.py",
            "--ignore-glob *two.py",
            "test_one.py",
            "test_one.py::test_kept",
            "test_one.py test_two.py",
            "--torchscript-target torchscript",
        ],
    )
    def test_a_filtered_run_does_not(self, run_suite: PytestRuns, arguments: str) -> None:
        """A run that chooses tests reports none as lost."""
        assert_not_stale(run_suite(WAITING, *arguments.split()), 0)

    @pytest.mark.parametrize("arguments", ["-k kept", "--deselect test_two.py::test_other", "test_one.py"])
    def test_a_filtered_run_over_workers_does_not(self, run_suite: PytestRuns, arguments: str) -> None:
        """The same where the workers filter, and the controller collects nothing."""
        assert_not_stale(run_suite(WAITING, "-n", "2", *arguments.split()), 0)

    def test_a_run_that_stops_early_does_not(self, run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
        """With `-x`, what comes after the failure was never reached."""
        assert_not_stale(run_suite({**WAITING, "test_a.py": "def test_wrong(): assert False"}, *mode, "-x"), *(1, 2))

    @pytest.mark.parametrize("argument", ["--lf", "--sw", "--nf --lf"])
    def test_running_what_failed_last_does_not(self, tmp_path: Path, argument: str) -> None:
        """With `--lf` and `--stepwise` the cache of the last run is a filter."""
        folder = write_suite(tmp_path / "suite", {**WAITING, "test_a.py": "def test_wrong(): assert False"})
        first = pytest_in(folder, "pytest")
        assert "STALE: lost" in first.stdout
        again = pytest_in(folder, "pytest", *argument.split())
        assert again.returncode in (1, 2)
        assert "STALE" not in again.stdout

    def test_a_run_from_a_subdirectory_does_not(self, tmp_path: Path) -> None:
        """pytest collects the working directory only, if it is told nothing."""
        files = {**WAITING, "sub/test_three.py": WAITING["test_two.py"]}
        del files["test_two.py"]
        folder = write_suite(tmp_path / "suite", files)
        done = pytest_in(folder / "sub", "pytest")
        assert "STALE" not in done.stdout
        assert done.returncode == 0

    def test_a_module_that_skips_itself_is_not_lost(self, run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
        """Where a module skips while it is collected, its gates are unknown, and none is reported."""
        skipped = 'import pytest\npytest.importorskip("no_such_package")\n'
        assert_not_stale(run_suite({**WAITING, "test_two.py": skipped}, *mode), 0)

    def test_a_module_that_cannot_be_imported_is_not_lost(self, run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
        """A module that fails while it is collected is an error of its own, and no gate of it is lost."""
        files = {**WAITING, "test_two.py": "import no_such_package"}
        assert_not_stale(run_suite(files, *mode, "--continue-on-collection-errors"), 1)


def assert_not_stale(run: Run, *codes: int) -> None:
    """Nothing was reported as lost, and the run ended with one of these codes."""
    assert "STALE" not in run.output
    assert "stale" not in (run.report or {})
    assert run.code in codes, run.text


CONFLICT = LOST.replace(f'"gate:lost": {{{OK}}},\n', f'<<<<<<< HEAD\n"gate:lost": {{{OK}}},\n=======\n>>>>>>> main\n')
UNUSABLE = {
    "cut off": (LOST[:-30], "line"),
    "conflict": (CONFLICT, "line 3"),
    "newer schema": (LOST.replace('"schema": 1', '"schema": 2'), "upgrade pytest-torchscript"),
    "unknown verdict": (LOST.replace('"verdict": "ok"', '"verdict": "okay"', 1), "line 2"),
    "twice": (LOST.replace("gate:other", "gate:lost"), "gate:lost"),
    "empty": ("", BASELINE),
}


class TestUsageErrors:
    """What cannot be used stops the run before any test, with exit code 4, and is left as it is."""

    @pytest.mark.parametrize("kind", UNUSABLE)
    def test_a_broken_baseline(self, run_suite: PytestRuns, kind: str) -> None:
        """The error names the file and the place, whether the run would judge or update."""
        text, place = UNUSABLE[kind]
        for arguments in ((), ("--torchscript-update-baseline",)):
            run = run_suite({**WAITING, BASELINE: text}, *arguments)
            assert run.code == 4, run.text
            assert BASELINE in run.errors
            assert place in run.errors
            assert "Traceback" not in run.text
            assert written(run) == text
            assert not run.outcomes

    def test_a_broken_baseline_over_workers(self, run_suite: PytestRuns) -> None:
        """With `-n 2` the controller says so, before any worker starts."""
        run = run_suite({**WAITING, BASELINE: CONFLICT}, "-n", "2")
        assert run.code == 4, run.text
        assert "line 3" in run.errors
        assert written(run) == CONFLICT

    @pytest.mark.parametrize("arguments", [(), ("--torchscript-update-baseline",)], ids=["judge", "update"])
    def test_a_directory_for_a_baseline(self, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        """A directory in the baseline's place is refused, and nothing is written into it."""
        folder = write_suite(tmp_path / "suite", {name: text for name, text in WAITING.items() if name != BASELINE})
        (folder / BASELINE).mkdir()
        done = pytest_in(folder, "pytest", *arguments)
        assert done.returncode == 4
        assert BASELINE in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert list((folder / BASELINE).iterdir()) == []

    @pytest.mark.parametrize("existing", [True, False], ids=["there", "not there"])
    def test_an_update_on_a_build_server(self, tmp_path: Path, existing: bool) -> None:
        """Where CI is set, updating is refused, and the baseline is neither changed nor made."""
        folder = write_suite(tmp_path / "suite", {n: t for n, t in WAITING.items() if existing or n != BASELINE})
        done = pytest_in(folder, "pytest", "--torchscript-update-baseline", CI="true")
        assert done.returncode == 4
        assert "--torchscript-update-baseline: refused in CI" in done.stderr
        assert (folder / BASELINE).exists() is existing
        assert not existing or (folder / BASELINE).read_text(encoding="utf-8") == LOST


DYING = {
    BASELINE: LOST.replace("gate:lost", "gate:dying"),
    "test_one.py": """
        import pytest
        from models import Head, rows

        @pytest.mark.torchscript(id="kept")
        def test_kept():
            Head()(rows())

        @pytest.mark.torchscript(id="other")
        def test_other():
            Head()(rows())
    """,
    "test_two.py": """
        import os

        import pytest
        import torch
        from models import Head, rows

        class Dying(Head):
            def forward(self, x):
                if torch.jit.is_tracing():
                    FAULT
                return super().forward(x)

        @pytest.mark.torchscript(id="dying")
        def test_dying():
            Dying()(rows())
    """,
}


def dying(fault: str) -> dict[str, str]:
    """A suite in which one model does ``fault`` while it is traced."""
    return {name: text.replace("FAULT", fault) for name, text in DYING.items()}


class TestCrashes:
    """A process that dies or hangs in one gate costs that gate alone."""

    def test_a_worker_that_dies(self, run_suite: PytestRuns) -> None:
        """The gate is crashed, in every report, it is not stale, and every other gate is there."""
        run = run_suite(dying("os._exit(11)"), "-n", "2", *REPORTS)
        assert run.code == 1, run.text
        assert state(run, "dying")[0] == "crashed"
        assert state(run, "kept") == ("passed", "ok")
        assert state(run, "other") == ("passed", "ok")
        assert "stale" not in run.report
        for name in ("torchscript.xml", "summary.md"):
            text = (run.folder / name).read_text(encoding="utf-8")
            assert "dying" in text
            assert "Crashed" in text or "crashed" in text

    @pytest.mark.parametrize("restart", [(), ("--max-worker-restart=0",)], ids=["replaced", "not replaced"])
    def test_a_worker_that_dies_in_the_only_gate(self, run_suite: PytestRuns, restart: tuple[str, ...]) -> None:
        """The gate is crashed even if no other worker ever knew of it."""
        files = dying("os._exit(11)")
        del files["test_one.py"], files[BASELINE]
        run = run_suite(files, "-n", "1", *restart)
        assert run.code == 1, run.text
        assert state(run, "dying") == ("crashed", None)

    @pytest.mark.skipif(importlib.util.find_spec("pytest_timeout") is None, reason="pytest-timeout is not installed")
    def test_a_hang_with_a_timeout(self, run_suite: PytestRuns) -> None:
        """With pytest-timeout a trace that never ends is crashed, and the gates after it run."""
        run = run_suite(dying("__import__('time').sleep(60)"), "--timeout=5", "--timeout-method=signal", *REPORTS)
        assert run.code == 1, run.text
        assert state(run, "dying")[0] == "crashed"
        assert state(run, "kept") == ("passed", "ok")
        assert state(run, "other") == ("passed", "ok")
        assert "stale" not in run.report
        assert "Timeout" in run.messages["test_dying"]
