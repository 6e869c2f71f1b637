"""The laws of the house, and that each of them finds what is planted against it.

``tests/house.py`` has the laws; here is what they are given: the order of the rooms, and the exceptions with their reasons.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

import pytest_torchscript
from pytest_torchscript.spec import CHECKS
from pytest_torchscript.targets import built_in

from . import house
from .house import Violation

PACKAGE = Path(pytest_torchscript.__file__).resolve().parent

ROOMS = (
    "errors.py",
    "tracing/private/",
    "naming.py",
    "source.py",
    "files.py",
    "record.py",
    "result.py",
    "arguments.py",
    "spec.py",
    "nested.py",
    "subject/",
    "tracing/",
    "diagnosis/",
    "survey.py",
    "cell.py",
    "explain.py",
    "prepare.py",
    "probing/",
    "checks/",
    "targets/",
    "cost.py",
    "proof.py",
    "gate.py",
    "baseline/",
    "reports/",
    "pytest_plugin/",
    "__main__.py",
    "__init__.py",
)
"""A room imports only the rooms before it: a file or a folder, whose inner order is free of circles."""

WITHOUT_TORCH = (
    *("errors.py", "naming.py", "source.py", "files.py", "record.py", "result.py", "arguments.py", "spec.py"),
    *("baseline/", "reports/"),
)
"""Loaded without anything that is not Python's own, but for junit-xml, which is a few hundred lines of plain Python."""

MAY_NAME_TORCH = (
    *(
        "tracing/",
        "nested.py",
        "subject/",
        "diagnosis/",
        "survey.py",
        "cell.py",
        "prepare.py",
        "probing/",
        "checks/",
        "targets/",
    ),
    *("cost.py", "gate.py", "pytest_plugin/fixture.py"),
)

PUBLIC = (
    *("targets/base.py", "targets/deployment.py", "targets/tools.py"),
    *("errors.py", "nested.py", "result.py", "source.py", "arguments.py", "spec.py"),
    # A target of somebody else's has no use for it: the names stand there for the built-in targets alone.
    "tracing/private/__init__.py",
)
"""What a built-in target imports."""

DECLARED = {"pytest", "_pytest", "pluggy", "torch", "junit_xml", "filelock", "platformdirs"}
OPTIONAL = {"torch_neuronx", "torch_neuron"}
TABLES = {"diagnosis/remedies.py": "the remedies, one after the other"}

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60

# Exceptions: a file and a name, with the reason. `*` stands for every file, or for every name in the file.
Exceptions = Mapping[tuple[str, str], str]

JIT: Exceptions = {
    ("*", "torch.jit.ScriptModule"): "the public class: whether a module is one is asked, and a function says it returns one",
    (
        "targets/libtorch/__init__.py",
        "torch.jit.load",
    ): "the C++ program writes its outputs as a module, which this alone reads",
}
PRIVATE: Exceptions = {
    ("*", "_getframe"): "sys: Python documents it, and inspect.currentframe is slower by the whole stack",
    ("*", "_fields"): "a namedtuple's: Python documents it; the underscore keeps it apart from the fields",
    ("*", "_asdict"): "a namedtuple's: Python documents it; the underscore keeps it apart from the fields",
    ("subject/families/transformers.py", "_tied_weights_keys"): "transformers: each model class declares its tied weights so",
    ("pytest_plugin/markers.py", "_fixturemanager"): "pytest: no public way tells whether a test can use a fixture",
    ("pytest_plugin/subjects.py", "_request"): "pytest: no public way gives an item's fixture after its body has run",
    ("pytest_plugin/body.py", "_excinfo"): "pytest: keeps there, and only there, why a unittest.TestCase test failed",
    ("pytest_plugin/configuration.py", "_inicfg"): "pytest 9 deprecates the public name of the configured options",
}
STATE: Exceptions = {
    ("checks/__init__.py", "ALL"): "the checks have no attributes: an instance stands for its class",
    ("subject/families/__init__.py", "FAMILIES"): "the families have no attributes: an instance stands for its class",
    ("targets/__init__.py", "_BUILT_IN"): "one instance of each target a session, as the hook gives for any other target",
    ("record.py", "_kinds"): "cache: the fields of a class do not change",
    ("source.py", "_statements"): "cache: the statements of a file are read for every line of a graph",
    ("source.py", "is_foreign"): "cache: asked for every line of a graph, and it resolves links",
    ("tracing/private/declaring.py", "_tested"): "cache: a private name of torch is tested once, and again when it is another",
    ("targets/libtorch/compiler.py", "attempts"): "a C++ compiler that has failed in this process is not tried for each model",
    ("targets/libtorch/compiler.py", "own_folder"): "a folder that lives as long as the process, where no cache can be written",
    ("targets/export/turn.py", "_turn"): "torch.export patches classes of the process, so one thread at a time exports",
    ("targets/export/turn.py", "_taking"): "the lock of that turn",
}
MAKERS = {
    "_rule": "returns a Rule, which is frozen",
    "repeated": "returns the function that checks a rule",
    "operations": "returns the function that checks a rule",
    "values": "returns the function that checks a rule",
    "private": "returns the function that it decorates",
}
DYNAMIC: Exceptions = {
    ("__init__.py", "importlib.import_module"): "the public names are loaded when they are used",
    ("__main__.py", "importlib.import_module"): "the JUnit report, and the package it needs, are loaded if it is asked for",
    ("tracing/private/declaring.py", "importlib.import_module"): "parts of torch that torch itself does not load",
    ("targets/neuron/sdk.py", "importlib.import_module"): "the SDK of the vendor, absent from most machines",
}
NAMED: Exceptions = {}

LAWS: Mapping[str, tuple[Callable[[Path], list[Violation]], Exceptions]] = {
    "rooms import only those before them": (lambda root: house.order(root, ROOMS), {}),
    "no imports in a circle": (house.circles, {}),
    "checks do not import each other": (house.checks_apart, {}),
    "targets import what is public": (lambda root: house.targets_apart(root, PUBLIC), {}),
    "only the plugin knows pytest": (
        lambda root: house.imported_only_in(root, ("pytest", "_pytest", "xdist"), ["pytest_plugin/"]),
        {},
    ),
    "only the judging rooms know torch": (lambda root: house.imported_only_in(root, ["torch"], MAY_NAME_TORCH), {}),
    "results and reports are light": (lambda root: house.light(root, WITHOUT_TORCH, ["junit_xml"]), {}),
    "transformers is looked up, not imported": (lambda root: house.imported_only_in(root, ["transformers"], ()), {}),
    "what is imported is declared": (lambda root: house.undeclared(root, DECLARED | OPTIONAL), {}),
    "imports can be read in the source": (house.dynamic, DYNAMIC),
    "torch.jit and graphs stay in tracing": (lambda root: house.jit_only_in(root, "tracing/"), JIT),
    "a target touches no graph": (lambda root: house.attributes_in(root, ["targets/"], ("raw", "owner", "_context")), {}),
    "private names stay in tracing/private": (lambda root: house.private_only_in(root, "tracing/private/"), PRIVATE),
    "nothing is kept at module level": (lambda root: house.kept_state(root, MAKERS), STATE),
    "the gate names no check": (lambda root: house.named_in(root, ["gate.py"], CHECKS, word=".+"), {}),
    "reports name no target": (lambda root: house.named_in(root, WITHOUT_TORCH, TARGETS), {}),
    "checks name no target": (lambda root: house.named_in(root, ["checks/", "cell.py", "probing/", "gate.py"], TARGETS), {}),
    "files are short": (lambda root: house.long_files(root, MOST_LINES), {(name, "*"): TABLES[name] for name in TABLES}),
    "functions are short": (lambda root: house.long_functions(root, MOST_LINES_OF_A_FUNCTION), {}),
}

# `torchscript` is this package's own name too.
TARGETS = set(built_in().by_name) - {"torchscript"}


def broken(law: str, root: Path = PACKAGE) -> list[str]:
    """The violations of a law that no exception excuses."""
    find, exceptions = LAWS[law]
    return [str(violation) for violation in find(root) if not violation.is_one_of(exceptions)]


@pytest.mark.parametrize("law", LAWS)
def test_the_package_keeps_the_law(law: str) -> None:
    """No file breaks it, but for the named exceptions."""
    assert broken(law) == []


@pytest.mark.parametrize("law", [law for law, (_, exceptions) in LAWS.items() if exceptions])
def test_every_exception_is_needed(law: str) -> None:
    """An exception that excuses nothing any more is taken off the list."""
    find, exceptions = LAWS[law]
    found = find(PACKAGE)
    assert [pair for pair in exceptions if not any(violation.is_one_of([pair]) for violation in found)] == []


def test_every_room_and_table_is_there() -> None:
    """A room that was moved or removed leaves the lists too."""
    rooms = {*ROOMS, *WITHOUT_TORCH, *MAY_NAME_TORCH, *PUBLIC, *TABLES}
    assert [room for room in rooms if not (PACKAGE / room).exists()] == []


def test_one_file_traces() -> None:
    """Options and hygiene of a trace are decided once; the self-tests of private names trace beside it."""
    traces = {"torch.jit.trace", "torch.jit.trace_module"}
    found = [name for name, module in house.modules(PACKAGE).items() if traces & {text for text, _ in module.dotted}]
    assert [name for name in found if not name.startswith("tracing/private/")] == ["tracing/trace.py"]


def test_transformers_is_not_imported_by_a_text_either() -> None:
    """A model of it can only exist where the user's process has imported it already: that one is looked up."""
    calls = [
        ast.unparse(node) for module in house.modules(PACKAGE).values() for node in module.nodes if isinstance(node, ast.Call)
    ]
    assert [call for call in calls if "import_module(" in call and "transformers" in call] == []


# What is written of it

ROOT = Path(__file__).resolve().parent.parent
GUIDES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("docs/architecture.md", "CONTRIBUTING.md")}


def test_the_rooms_are_told_in_their_order() -> None:
    """The table of docs/architecture.md has a row for each room, in the order of the list."""
    assert tuple(re.findall(r"^\| `([^`]+)` \|", GUIDES["docs/architecture.md"], re.MULTILINE)) == ROOMS


@pytest.mark.parametrize("guide", GUIDES)
def test_files_that_are_named_are_there(guide: str) -> None:
    """By their path in the checkout or in the package; a file beside one that was just named, by its name."""
    named = re.findall(r"`((?:[\w.-]+/)*[\w.-]*(?:/|\.(?:py|md|txt|toml)))`", GUIDES[guide])
    there = {*house.modules(PACKAGE), *(Path(name).name for name in house.modules(PACKAGE))}
    assert named
    assert [name for name in named if name not in there and not (ROOT / name).exists() and not (PACKAGE / name).exists()] == []


def test_commands_that_are_named_are_there() -> None:
    """Each ``make`` of CONTRIBUTING.md is a target of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([\w-]+)", GUIDES["CONTRIBUTING.md"], re.MULTILINE))
    assert len(named) > 5
    assert named - targets == set()


# Planted violations

# By law: a file, what is added to it, and what the law then says of the last line.
PLANTED: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "rooms import only those before them": [
        ("subject/inputs.py", "from ..checks import ALL", "imports from a later room checks/__init__.py"),
        ("tracing/graph.py", "from .. import reports", "imports from a later room reports/__init__.py"),
        ("nested.py", "def f():\n    from .cell import Cell", "imports from a later room cell.py"),
        ("spec.py", "if TYPE_CHECKING:\n    from .gate import Subject", "imports from a later room gate.py"),
        ("diagnosis/ops.py", "import pytest_torchscript.cell", "imports from a later room cell.py"),
    ],
    "no imports in a circle": [
        ("reports/text.py", "def f():\n    from . import terminal", "is led back to itself by reports/terminal.py"),
    ],
    "checks do not import each other": [
        ("checks/values.py", "from .shapes import Shapes", "imports another check, checks/shapes.py"),
        ("checks/base.py", "from . import eager", "imports another check, checks/eager.py"),
    ],
    "targets import what is public": [
        ("targets/neuron/lint.py", "from ..export import build", "imports targets/export/__init__.py"),
        ("targets/libtorch/process.py", "from ...cell import Cell", "imports cell.py"),
    ],
    "only the plugin knows pytest": [
        ("gate.py", "def f():\n    import pytest", "imports pytest"),
    ],
    "only the judging rooms know torch": [
        ("reports/json.py", "if TYPE_CHECKING:\n    import torch", "imports torch"),
    ],
    "results and reports are light": [
        ("reports/json.py", "def f():\n    import torch", "imports torch"),
        ("reports/json.py", "from .. import nested", "loads more than it may by way of nested.py"),
    ],
    "transformers is looked up, not imported": [
        ("subject/families/transformers.py", "import transformers as t", "imports transformers"),
    ],
    "what is imported is declared": [
        ("cost.py", "import numpy.linalg", "imports numpy"),
    ],
    "imports can be read in the source": [
        ("cell.py", "X = __import__('json')", "calls __import__"),
    ],
    "torch.jit and graphs stay in tracing": [
        ("checks/trace.py", "import torch\nX = torch.jit.trace", "names torch.jit.trace"),
        ("cell.py", "from torch import jit\nX = jit.freeze", "names torch.jit.freeze"),
        ("cell.py", "def f(t=torch):\n    return t.jit.script", "names torch.jit.script"),
        ("cell.py", "X = getattr(torch, 'jit')", "names jit"),
        ("explain.py", "def f(m):\n    return m.inlined_graph", "names inlined_graph"),
    ],
    "a target touches no graph": [
        ("targets/neuron/shapes.py", "def f(value):\n    return value.raw", "touches raw"),
    ],
    "private names stay in tracing/private": [
        ("tracing/trace.py", "X = torch._C", "uses the private name _C"),
        ("cell.py", "from torch._C import Node", "uses the private name _C"),
        ("nested.py", "X = getattr(torch, '_C')", "uses the private name _C"),
        ("nested.py", "X = vars(torch)['_C']", "uses the private name _C"),
    ],
    "nothing is kept at module level": [
        ("tracing/graph.py", "SEEN: dict[str, int] = {}", "keeps state in SEEN"),
        ("cell.py", "class A:\n    seen = []", "keeps state in seen"),
        ("cost.py", "import collections\nX = collections.Counter()", "keeps state in X"),
        ("cost.py", "X = None or [0] * 3", "keeps state in X"),
        ("gate.py", "def f():\n    global CHECKS", "keeps state in CHECKS"),
        ("gate.py", "def f():\n    globals()['X'] = 1", "keeps state in globals()"),
        ("spec.py", "@functools.cache\ndef f(): pass", "keeps state in f"),
    ],
    "the gate names no check": [
        ("gate.py", "X = 'shapes'", "names shapes"),
    ],
    "reports name no target": [
        ("reports/terminal.py", "X = 'for neuron only'", "names neuron"),
    ],
    "checks name no target": [
        ("checks/padding.py", "X = 'libtorch'", "names libtorch"),
    ],
    "functions are short": [
        ("files.py", "def f():" + "\n    f()" * 60, "has a function that is too long, f"),
    ],
}


@pytest.mark.parametrize(
    ("law", "file", "text", "says"), [(law, *planted) for law, violations in PLANTED.items() for planted in violations]
)
def test_a_planted_violation_is_found(tmp_path: Path, law: str, file: str, text: str, says: str) -> None:
    """The law names the file and the line."""
    root = copied(tmp_path)
    lines = (root / file).read_text(encoding="utf-8").splitlines()
    (root / file).write_text("\n".join([*lines, text, ""]), encoding="utf-8")
    line = len(lines) + (1 if says.startswith("has a function") else len(text.splitlines()))
    assert f"{file}:{line} {says}" in broken(law, root)


def test_a_file_that_grew_too_long_is_found(tmp_path: Path) -> None:
    """The law names the file and its number of lines."""
    root = copied(tmp_path)
    (root / "cell.py").write_text("\n" * (MOST_LINES + 1))
    assert broken("files are short", root) == [f"cell.py:{MOST_LINES + 1} is too long, with more lines than {MOST_LINES}"]


def test_a_file_without_a_room_is_found(tmp_path: Path) -> None:
    """A new file has its place in the order before it has a line."""
    root = copied(tmp_path)
    (root / "helpers.py").write_text("")
    assert broken("rooms import only those before them", root) == ["helpers.py:1 stands in no room of the list"]


def copied(folder: Path) -> Path:
    root = folder / "package"
    shutil.copytree(PACKAGE, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


# What loading costs


def in_a_fresh_process(script: str, cwd: Path | None = None) -> str:
    """What a script prints in an interpreter of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_results_and_reports_load_nothing_else() -> None:
    """What the imports of the light rooms promise is so when they are loaded, one after the other."""
    files = [name for name in house.modules(PACKAGE) if house.room_of(name, WITHOUT_TORCH) is not None]
    modules = [".".join(["pytest_torchscript", *Path(name).with_suffix("").parts]).removesuffix(".__init__") for name in files]
    printed = in_a_fresh_process(
        f"""
        import importlib, sys
        before = set(sys.modules)
        for module in {modules!r}:
            importlib.import_module(module)
            print(module, *{{name.partition(".")[0] for name in set(sys.modules) - before}})
        """
    )
    allowed = {*house.STDLIB, "pytest_torchscript", "junit_xml"}
    for line in printed.splitlines():
        module, *loaded = line.split()
        # CPython names this file of its own after the platform.
        assert {root for root in set(loaded) - allowed if not root.startswith("_sysconfigdata")} == set(), module
    assert len(printed.splitlines()) == len(files)


def test_loading_the_plugin_loads_neither_torch_nor_transformers() -> None:
    """pytest loads it in every run, of every suite."""
    loaded = in_a_fresh_process(
        """
        import sys
        import pytest_torchscript.pytest_plugin.plugin
        print(*sorted({"torch", "transformers", "numpy"} & set(sys.modules)))
        """
    )
    assert loaded.split() == []


def test_collecting_a_marked_suite_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    """A marker is read and checked without them."""
    (tmp_path / "test_marked.py").write_text(
        textwrap.dedent(
            """
            import sys
            import pytest

            pytestmark = pytest.mark.torchscript(target="torchscript")

            @pytest.mark.torchscript(seq_len=[8, 16], shapes={"seq": "dynamic"}, skip={"device": "CPU"}, id="model")
            def test_model():
                raise AssertionError("collected only")

            def test_fixture(torchscript):
                raise AssertionError("collected only")
            """
        )
    )
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent(
            """
            import sys

            def pytest_unconfigure():
                print("LOADED", *sorted({"torch", "transformers"} & set(sys.modules)))
            """
        )
    )
    script = f"""
        import sys
        import pytest
        sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", {str(tmp_path)!r}]))
    """
    printed = in_a_fresh_process(script, cwd=tmp_path)
    assert "2 tests collected" in printed
    assert printed.rstrip().splitlines()[-1].strip() == "LOADED"


def test_a_suite_without_a_marker_loads_no_torch_either(tmp_path: Path) -> None:
    """Who does not use the plugin does not pay for it."""
    (tmp_path / "test_plain.py").write_text("import sys\ndef test_plain():\n    assert 'torch' not in sys.modules\n")
    script = f"""
        import sys
        import pytest
        sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", {str(tmp_path)!r}]))
    """
    assert "1 passed" in in_a_fresh_process(script, cwd=tmp_path)
