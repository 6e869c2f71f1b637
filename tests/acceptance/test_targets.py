"""Deployment targets as users meet them: named by a marker, added by a conftest, missing, misspelt, broken."""

from __future__ import annotations

import re
import textwrap
import xml.etree.ElementTree as ElementTree

import pytest

from .harness import PytestRuns

BERT = """
    import pytest
    from transformers import BertConfig, BertForSequenceClassification


    @pytest.fixture
    def model():
        config = BertConfig(
            vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, num_labels=3
        )
        return BertForSequenceClassification(config)


    @pytest.fixture
    def batch():
        import torch

        ids = torch.randint(1, 64, (1, 12))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


    @pytest.mark.torchscript(seq_len=128, target="neuron")
    def test_classifier(model, batch):
        assert model(**batch).logits.shape == (1, 3)
"""

HALF = """
    import torch

    from pytest_torchscript import SpecError, Target, Tolerance


    def level(name, value):
        if value not in (1, 2):
            raise SpecError(f"{name} must be 1 or 2, not {value!r}")
        return value


    class Half(Target):
        name = "half"
        tolerance = {"float32": Tolerance(rtol=2e-2, atol=2e-2)}
        arguments = {"level": level}

        def build(self, deployment):
            deployment.metrics["level"] = deployment.arguments.get("level", 0)
            return deployment.module

        def run(self, artefact, deployment, inputs):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return [artefact(*sample.values()).float() for sample in inputs]


    def pytest_torchscript_targets():
        return Half()
"""


def suite(body: str, conftest: str = HALF, **files: str) -> dict[str, str]:
    head = "import pytest\nfrom models import *\n\n"
    return {"conftest.py": conftest, "test_it.py": head + body, **files}


# The marker of the mission


def test_the_marker_of_the_readme_works_without_the_sdk(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """Verbatim, on a BERT test as people have it: the gate passes and says lint in the terminal and in every report."""
    reports = ("--torchscript-junit=gates.xml", "--torchscript-summary=summary.md")
    run = run_suite({"test_bert.py": BERT}, *reports, *mode)
    assert run.outcomes == {"test_classifier": "passed"}, run.text
    cell = run.cell("test_classifier")
    assert (cell["target"], cell["seq_len"], cell["verdict"]) == ("neuron", 128, "ok")
    target = run.check("test_classifier", "target")
    assert (target["status"], target["metrics"]["proof"]) == ("passed", "lint")
    assert target["reason"].startswith("lint: torch_neuronx is not installed")
    assert "nothing was compiled" in target["reason"]
    assert set(target["metrics"]["rules"].values()) in ({"ok"}, {"ok", "warn"})
    assert run.check("test_classifier", "padding")["status"] == "passed"
    assert "padding carries the proof" in run.check("test_classifier", "shapes")["reason"]
    assert "ok (lint)" in run.output
    assert "ok (lint)" in (run.folder / "summary.md").read_text()
    cases = {case.get("name"): case for case in ElementTree.parse(run.folder / "gates.xml").iter("testcase")}
    assert (cases["neuron[b1,s128].target"].findtext("system-out") or "").startswith("lint: ")
    assert "will compile" not in run.text
    assert "what could leave TorchScript today" not in run.output


def test_required_tools_make_it_fail(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """With --torchscript-require-sdk lint is not enough."""
    run = run_suite({"test_bert.py": BERT}, "--torchscript-require-sdk", *mode)
    assert run.outcomes == {"test_classifier": "failed"}
    assert run.verdict("test_classifier") == "TargetFailure"
    assert "neuron cannot be proved here, and --torchscript-require-sdk asks for it: torch_neuronx is not installed" in (
        run.said("test_classifier")
    )


# A target of one's own


def test_a_conftest_adds_a_target(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """With its tolerance, its argument and its artefact."""
    body = '@pytest.mark.torchscript(target=["torchscript", "half"], level=2)\ndef test_it():\n    Head()(rows())\n'
    run = run_suite(suite(body), *mode)
    assert run.outcomes == {"test_it": "passed"}, run.text
    first, second = run.gate("test_it")["cells"]
    assert (first["target"], second["target"]) == ("torchscript", "half")
    assert second["checks"][-1]["metrics"] == {"level": 2, "proof": "ran", "compared": 4}


def test_the_option_takes_it_too(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """Where the conftest is at the root; what another target declares is then without effect, and no mistake."""
    body = "@pytest.mark.torchscript(level=2, target='half')\ndef test_it():\n    Head()(rows())\n"
    assert run_suite(suite(body), "--torchscript-target=torchscript", *mode).cell("test_it")["target"] == "torchscript"
    body = "@pytest.mark.torchscript\ndef test_it():\n    Head()(rows())\n"
    assert run_suite(suite(body), "--torchscript-target=half", *mode).cell("test_it")["target"] == "half"


def test_a_conftest_below_adds_one_for_its_tests(run_suite: PytestRuns) -> None:
    """Markers are read when every conftest is there."""
    body = "import pytest\nfrom models import *\n@pytest.mark.torchscript(target='half')\ndef test_it():\n    Head()(rows())\n"
    run = run_suite({"inner/conftest.py": HALF, "inner/test_it.py": body, "pytest.ini": "[pytest]\npythonpath = .\n"})
    assert run.outcomes == {"test_it": "passed"}, run.text


def test_its_default_comes_from_the_configuration(run_suite: PytestRuns) -> None:
    """For what a built-in target declares: torchscript_dynamic_batch."""
    body = "@pytest.mark.torchscript(target='neuron')\ndef test_it():\n    Head()(rows())\n"
    run = run_suite(suite(body, **{"pytest.ini": "[pytest]\ntorchscript_dynamic_batch = true\n"}))
    assert run.check("test_it", "target")["metrics"]["rules"]["dynamic-batch"] == "ok"
    assert run.outcomes == {"test_it": "passed"}


# The configuration of a target's own argument

LEVELLED = """
    from pytest_torchscript import Argument, SpecError, Target


    def check_level(name, value):
        if value not in (1, 2):
            raise SpecError(f"{name} must be 1 or 2, not {value!r}")
        return value


    def level_of_lines(name, lines):
        return int(lines[0])


    class Levelled(Target):
        name = "levelled"
        arguments = [Argument("level", check_level, level_of_lines, "how much is left out: 1 or 2")]

        def build(self, deployment):
            deployment.metrics["level"] = deployment.arguments.get("level", 0)


    def pytest_torchscript_targets():
        return Levelled()
"""
LEVELLED_TEST = "@pytest.mark.torchscript(target='levelled')\ndef test_it():\n    Head()(rows())\n"
LEVEL_2 = {"pytest.ini": "[pytest]\ntorchscript_level = 2\n"}

ENTRY_POINT = {
    "vendor.py": LEVELLED,
    "vendor-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: vendor\nVersion: 1.0\n",
    "vendor-1.0.dist-info/entry_points.txt": "[pytest_torchscript]\nlevelled = vendor\n",
}
"""An installed package, as far as Python can tell: pytest is run in the folder that holds it."""

HALF_AGAIN = HALF.replace('name = "half"', 'name = "levelled"').replace(
    "    if value not in (1, 2):", "    value = int(value)\n        if value not in (1, 2):"
)
"""Declares its argument in the older way: a name and its check, which is given the text of the configuration."""


CONFIGURED = {
    "conftest": (LEVELLED, {}, ()),
    "strict conftest": (LEVELLED, {}, ("--strict-config",)),
    "strict package": ("", ENTRY_POINT, ("--strict-config",)),
    "strict and older": (HALF_AGAIN, {}, ("--strict-config",)),
}


@pytest.mark.parametrize(("conftest", "package", "strict"), CONFIGURED.values(), ids=CONFIGURED)
def test_the_argument_of_any_target_can_be_configured(
    run_suite: PytestRuns, mode: tuple[str, ...], conftest: str, package: dict[str, str], strict: tuple[str, ...]
) -> None:
    """As a built-in target's: the value arrives, and pytest knows the option."""
    run = run_suite({**suite(LEVELLED_TEST, conftest), **package, **LEVEL_2}, *strict, *mode)
    assert run.outcomes == {"test_it": "passed"}, run.text
    assert run.check("test_it", "target")["metrics"]["level"] == 2
    assert "Unknown config option" not in run.text


@pytest.mark.parametrize(
    ("files", "arguments"),
    [({"conftest.py": LEVELLED}, ()), (ENTRY_POINT, ("--no-torchscript",))],
    ids=["conftest", "package, no gates"],
)
def test_a_suite_without_gates_may_be_configured_too(
    run_suite: PytestRuns, mode: tuple[str, ...], files: dict[str, str], arguments: tuple[str, ...]
) -> None:
    """The option is known although no gate asks for the target."""
    run = run_suite({**files, **LEVEL_2, "test_it.py": "def test_it(): ...\n"}, "--strict-config", *arguments, *mode)
    assert run.code == 0, run.text
    assert "Unknown config option" not in run.text


def test_a_conftest_below_may_be_configured_too(run_suite: PytestRuns) -> None:
    """Its target is known when the tests are collected, with and without a gate."""
    inner = {
        "inner/test_it.py": "import pytest\nfrom models import *\n" + LEVELLED_TEST,
        "test_plain.py": "def test_plain(): ...\n",
    }
    ini = {"pytest.ini": "[pytest]\npythonpath = .\ntorchscript_level = 2\n"}
    run = run_suite({"inner/conftest.py": LEVELLED, **inner, **ini}, "--strict-config")
    assert run.check("test_it", "target")["metrics"]["level"] == 2, run.text
    run = run_suite({"inner/conftest.py": LEVELLED, **inner, **ini}, "--strict-config", "-k", "plain", json=False)
    assert run.outcomes == {"test_plain": "passed"}, run.text
    inner["inner/test_it.py"] = "def test_it(): ...\n"
    run = run_suite({"inner/conftest.py": LEVELLED, **inner, **ini}, "--strict-config", json=False)
    assert run.outcomes == {"test_plain": "passed", "test_it": "passed"}, run.text


@pytest.mark.parametrize(
    ("level", "says"),
    [("3", "level must be 1 or 2, not 3"), ("x", "level: 'x' could not be read: the function that target 'levelled'")],
)
@pytest.mark.parametrize("folder", ["", "inner/"], ids=["root", "below"])
def test_a_bad_default_of_a_target_is_a_usage_error(run_suite: PytestRuns, folder: str, level: str, says: str) -> None:
    """It names the option and what is wrong."""
    body = {f"{folder}conftest.py": LEVELLED, f"{folder}test_it.py": "import pytest\n" + LEVELLED_TEST}
    run = run_suite({**body, "pytest.ini": f"[pytest]\ntorchscript_level = {level}\n"})
    assert run.code == pytest.ExitCode.USAGE_ERROR, run.text
    assert f"configuration torchscript_level: {says}" in run.text
    assert "Traceback" not in run.text


def test_a_misspelt_option_of_a_target_is_told(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """By pytest, as any other: a warning, and an error under --strict-config."""
    files = {**suite(LEVELLED_TEST, LEVELLED), "pytest.ini": "[pytest]\ntorchscript_levle = 2\n"}
    assert "Unknown config option: torchscript_levle" in run_suite(files, *mode).text
    run = run_suite(files, "--strict-config", *mode)
    assert run.code == pytest.ExitCode.USAGE_ERROR, run.text
    assert "Unknown config option: torchscript_levle" in run.text


def test_a_default_for_one_target_leaves_the_others_alone(run_suite: PytestRuns) -> None:
    """It is without use for them, and no mistake; nor is a marker's argument for the target that is the default."""
    files = suite("@pytest.mark.torchscript\ndef test_it():\n    Head()(rows())\n")
    run = run_suite({**files, "pytest.ini": "[pytest]\ntorchscript_dynamic_batch = true\n"})
    assert run.outcomes == {"test_it": "passed"}, run.text
    files = suite("@pytest.mark.torchscript(level=2)\ndef test_it():\n    Head()(rows())\n")
    files["pytest.ini"] = "[pytest]\ntorchscript_target = half\n"
    assert run_suite(files).check("test_it", "target")["metrics"]["level"] == 2
    assert run_suite(files, "--torchscript-target=torchscript").cell("test_it")["target"] == "torchscript"


CHECKED = """
    def test_own(torchscript):
        torchscript.check(Head(), (rows(),), target="half", level=2)

    def test_of_another(torchscript):
        with pytest.raises(SpecError, match="level is an argument of target 'half', and this gate is for 'export'"):
            torchscript.check(Head(), (rows(),), target="export", level=2)

    def test_misspelt(torchscript):
        with pytest.raises(SpecError, match="unknown target 'halve'; did you mean 'half'"):
            torchscript.check(Head(), (rows(),), target="halve")
"""


def test_an_explicit_check_takes_it_too(run_suite: PytestRuns) -> None:
    """And refuses what a marker would."""
    body = "from pytest_torchscript import SpecError\n" + textwrap.dedent(CHECKED)
    run = run_suite(suite(body))
    assert set(run.outcomes.values()) == {"passed"}, run.text
    assert run.check("test_own", "target")["metrics"] == {"level": 2, "proof": "ran", "compared": 4}
    run = run_suite(suite(body), "--torchscript-target=torchscript", "-k", "own")
    assert run.cell("test_own")["target"] == "torchscript"


def test_discover_judges_by_it(run_suite: PytestRuns) -> None:
    """What the marker would make of an unmarked test, and how far that reaches."""
    targets = ("--torchscript-target=half", "--torchscript-target=neuron")
    run = run_suite(suite("def test_it():\n    Head()(rows())\n"), "--torchscript-discover", *targets, json=False)
    assert re.search(r"test_it\.py::test_it +ok \(neuron: lint\)", run.text)
    assert "1 tests could carry the marker; 1 would pass today" in run.text


# Bad input


BAD = {
    "target='neurn'": "unknown target 'neurn'; did you mean 'neuron'?",
    "target='halve'": "unknown target 'halve'; did you mean 'half'?",
    "target='half', level=3": "level must be 1 or 2, not 3",
    "target='half', levle=2": "unknown argument 'levle'; did you mean 'level'?",
    "level=2": "level is an argument of target 'half', and this gate is for 'torchscript'",
    "target='neuron', dynamic_batch='maybe'": "dynamic_batch must be True or False, not 'maybe'",
    "target='half', dynamic_batch=True": (
        "dynamic_batch is an argument of target 'neuron' and 'neuron-inf1', and this gate is for 'half'"
    ),
}


def test_bad_targets_are_a_usage_error(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """At collection and all at once, each with its test, the argument and the nearest name."""
    tests = (f"@pytest.mark.torchscript({marker})\ndef test_{number}(): ...\n" for number, marker in enumerate(BAD))
    run = run_suite({"conftest.py": HALF, "test_it.py": "import pytest\n" + "\n".join(tests)}, *mode)
    assert run.code == pytest.ExitCode.USAGE_ERROR
    for number, says in enumerate(BAD.values()):
        assert f"test_it.py::test_{number}: @pytest.mark.torchscript: {says}" in run.text
    assert not run.outcomes
    assert "Traceback" not in run.text


TWICE = """
    from pytest_torchscript import Target


    class Mine(Target):
        name = "libtorch"


    def pytest_torchscript_targets():
        return Mine()
"""
RAISING = """
    def pytest_torchscript_targets():
        raise RuntimeError("no licence for the compiler")
"""
NO_TARGET = """
    def pytest_torchscript_targets():
        return ["half"]
"""


@pytest.mark.parametrize(
    ("conftest", "says"),
    [
        (TWICE, "two targets are called 'libtorch': one of pytest-torchscript itself, one of "),
        (RAISING, "raised RuntimeError: no licence for the compiler"),
        (NO_TARGET, "must give pytest_torchscript.Target objects, not str"),
    ],
    ids=["twice", "raising", "no target"],
)
@pytest.mark.parametrize("option", [(), ("--torchscript-target=torchscript",)], ids=["marker", "option"])
def test_a_bad_hook_is_a_usage_error(
    run_suite: PytestRuns, mode: tuple[str, ...], conftest: str, says: str, option: tuple[str, ...]
) -> None:
    """One line that names the conftest, and no test runs."""
    marked = "import pytest\n@pytest.mark.torchscript\ndef test_it(): ...\n"
    run = run_suite({"conftest.py": conftest, "test_it.py": marked}, *option, *mode)
    assert run.code == pytest.ExitCode.USAGE_ERROR, run.text
    assert says in run.text
    assert "conftest.py" in run.text
    assert "Traceback" not in run.text
    assert not run.outcomes


def test_a_suite_without_gates_asks_no_hook(run_suite: PytestRuns) -> None:
    """Who does not use the plugin is not stopped by a target."""
    files = {"conftest.py": RAISING, "pytest.ini": "[pytest]\ntorchscript_seq_len = 8\n"}
    run = run_suite({**files, "test_plain.py": "def test_plain(): ...\n"}, json=False)
    assert run.outcomes == {"test_plain": "passed"}


@pytest.mark.parametrize("seconds", ["0", "soon", "-1", "inf"])
def test_a_bad_time_limit_is_a_usage_error(run_suite: PytestRuns, seconds: str) -> None:
    """It names the setting."""
    ini = f"[pytest]\ntorchscript_target_timeout = {seconds}\n"
    run = run_suite({"pytest.ini": ini, "test_it.py": "def test_it(): ...\n"})
    assert run.code == pytest.ExitCode.USAGE_ERROR
    assert f"torchscript_target_timeout: must be a positive number of seconds, not '{seconds}'" in run.text


HANGING = """
    import time

    from pytest_torchscript import Target


    class Hanging(Target):
        name = "hanging"

        def build(self, deployment):
            time.sleep(600)


    def pytest_torchscript_targets():
        return Hanging()
"""


def test_a_compiler_that_hangs_fails_one_gate(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """Within the time that is set; the other tests run, and the process ends."""
    body = (
        "@pytest.mark.torchscript(target='hanging')\ndef test_hangs():\n    Head()(rows())\n\n"
        "@pytest.mark.torchscript\ndef test_after():\n    Head()(rows())\n"
    )
    files = suite(body, HANGING, **{"pytest.ini": "[pytest]\ntorchscript_target_timeout = 0.5\n"})
    run = run_suite(files, *mode)
    assert run.outcomes == {"test_hangs": "failed", "test_after": "passed"}
    assert run.verdict("test_hangs") == "TargetFailure"
    assert run.check("test_hangs", "target")["findings"][0]["message"] == "hanging: build() did not end within 0.5 seconds"


STAND_IN = """
    import torch


    class Compiled(torch.nn.Module):
        def __init__(self, func, inputs):
            super().__init__()
            self.program = torch.jit.trace(func, inputs, check_trace=False)

        def forward(self, *inputs):
            return self.program(*inputs)


    def analyze(func, example_inputs):
        return {"support_percentage": "100.00%", "unsupported_operators": []}


    def trace(func, example_inputs, *, compiler_workdir=None, compiler_args=None, cpu_backend=False):
        assert cpu_backend and compiler_args == "--target inf2"
        if example_inputs[0].shape[1] == 7:
            raise RuntimeError("neuronx-cc failed with 70")
        return Compiled(func, example_inputs)
"""


def test_a_stand_in_sdk_is_found_and_used(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """Off the device: compiled and not run, and the reports say so; a compiler that fails in the middle is one finding."""
    body = (
        "@pytest.mark.torchscript(target='neuron')\ndef test_good():\n    Encoder()(**tokens())\n\n"
        "@pytest.mark.torchscript(target='neuron', seq_len=7)\ndef test_bad():\n    Encoder()(**tokens())\n"
    )
    files = suite(body, "", **{"torch_neuronx/__init__.py": STAND_IN, "pytest.ini": "[pytest]\npythonpath = .\n"})
    run = run_suite(files, *mode)
    assert run.outcomes == {"test_good": "passed", "test_bad": "failed"}, run.text
    assert run.check("test_good", "target")["metrics"]["proof"] == "built"
    assert "ok (built, not run)" in run.output
    assert "neuron: RuntimeError: neuronx-cc failed with 70" in run.said("test_bad")


def test_the_help_names_what_targets_bring(run_suite: PytestRuns) -> None:
    """The option, the default of a target's argument, and the time limit."""
    text = run_suite({"test_none.py": ""}, "--help", json=False).output
    for name in ("--torchscript-require-sdk", "torchscript_dynamic_batch", "torchscript_target_timeout"):
        assert name in text
    text = " ".join(run_suite({"test_none.py": "", "conftest.py": LEVELLED}, "--help", json=False).output.split())
    assert "argument level, of target levelled: how much is left out: 1 or 2" in text
    assert "argument dynamic_batch, of target neuron: compile for any batch size: true or false" in text


ODD = """
    import torch

    from pytest_torchscript import Target


    class Odd(Target):
        name = "odd"

        def build(self, deployment):
            deployment.metrics.update(tensor=torch.ones(2), kinds={1, 2}, path=deployment.directory, nan=float("nan"))
            deployment.note(3, details={"one": torch.tensor(2.5)})


    def pytest_torchscript_targets():
        return Odd()
"""


def test_whatever_a_target_tells_every_report_is_written(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """Tensors, sets and numbers where text belongs end no run, in one process or over workers, and lose no gate."""
    body = "@pytest.mark.torchscript(target='odd')\ndef test_odd():\n    Head()(rows())\n\ndef test_after(): ...\n"
    reports = ("--torchscript-junit=gates.xml", "--torchscript-summary=summary.md")
    run = run_suite(suite(body, ODD), *reports, *mode)
    assert run.outcomes == {"test_odd": "passed", "test_after": "passed"}, run.text
    target = run.check("test_odd", "target")
    assert (target["metrics"]["tensor"], target["metrics"]["kinds"], target["metrics"]["nan"]) == ("Tensor (2,)", [1, 2], "nan")
    assert "Odd" not in run.errors
    assert (run.folder / "summary.md").exists()
    assert ElementTree.parse(run.folder / "gates.xml").getroot().get("failures") == "0"


def test_defaults_for_other_targets_disturb_nobody(run_suite: PytestRuns) -> None:
    """The configuration speaks to Neuron; gates for other targets, explicit ones too, are not about it."""
    body = (
        "@pytest.mark.torchscript(level=2)\ndef test_it():\n    Head()(rows())\n\n"
        "def test_explicit(torchscript):\n    torchscript.check(Head(), (rows(),), target='torchscript')\n"
    )
    ini = "[pytest]\ntorchscript_dynamic_batch = true\ntorchscript_target = half\n"
    run = run_suite(suite(body, **{"pytest.ini": ini}))
    assert run.outcomes == {"test_it": "passed", "test_explicit": "passed"}, run.text
    assert run.cell("test_it")["target"] == "half"


def test_discover_names_the_target_it_was_asked_for(run_suite: PytestRuns) -> None:
    """The line to add judges what was judged."""
    run = run_suite(
        {"test_it.py": "from models import *\ndef test_it():\n    Head()(rows())\n"},
        "--torchscript-discover=write",
        "--torchscript-target=neuron",
    )
    assert "item.add_marker(pytest.mark.torchscript(target='neuron'))" in run.output
