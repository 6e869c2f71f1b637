"""The laws of the house: who may import what."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_torchscript

PACKAGE = Path(pytest_torchscript.__file__).resolve().parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

MAY_IMPORT_PYTEST = {name for name in FILES if name.startswith("pytest_plugin/")}
MAY_IMPORT_TORCH = {"cell.py", "cost.py", "gate.py", "nested.py", "prepare.py", "pytest_plugin/fixture.py"}
FOLDERS_WITH_TORCH = ("subject/", "probing/", "tracing/", "checks/", "targets/", "diagnosis/")
STDLIB_ONLY = [
    name
    for name in FILES
    if name in {"result.py", "arguments.py", "record.py", "spec.py", "naming.py", "source.py", "errors.py"}
    or name.startswith(("baseline/", "reports/"))
]


# junit-xml is a few hundred lines of plain Python without dependencies: the JUnit report is written by it.
ALLOWED = {"pytest_torchscript", "junit_xml"}


def tree(name: str) -> ast.Module:
    return ast.parse((PACKAGE / name).read_text(encoding="utf-8"))


class _Imports(ast.NodeVisitor):
    """Absolute names of everything a file imports, inside functions too; not what only a type checker reads."""

    def __init__(self, name: str) -> None:
        self.parts = ["pytest_torchscript", *Path(name).parent.parts]
        self.found: list[str] = []

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                self.visit(other)
            return
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [alias.name for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self.parts[: len(self.parts) + 1 - node.level] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        self.found += [f"{module}.{alias.name}" for alias in node.names]


def imports(name: str) -> list[str]:
    visitor = _Imports(name)
    visitor.visit(tree(name))
    return visitor.found


def packages(name: str) -> set[str]:
    return {imported.partition(".")[0] for imported in imports(name)}


def calls(name: str) -> Iterator[str]:
    """Dotted names of everything that a file calls."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def in_a_fresh_process(script: str, cwd: Path | None = None) -> str:
    """What a script prints in an interpreter of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Who imports what


@pytest.mark.parametrize("name", FILES)
def test_only_the_entry_knows_pytest(name: str) -> None:
    """The core can be used, and tested, without pytest."""
    if name not in MAY_IMPORT_PYTEST:
        assert not packages(name) & {"pytest", "_pytest", "xdist"}


@pytest.mark.parametrize("name", FILES)
def test_only_the_judging_rooms_know_torch(name: str) -> None:
    """Everything else is there without torch, at import and later."""
    if name not in MAY_IMPORT_TORCH and not name.startswith(FOLDERS_WITH_TORCH):
        assert "torch" not in packages(name)


@pytest.mark.parametrize("name", STDLIB_ONLY)
def test_results_and_reports_are_made_of_the_standard_library(name: str) -> None:
    """Data and its rendering know neither torch nor pytest, nor anything else that has to be installed for them."""
    assert packages(name) <= set(sys.stdlib_module_names) | ALLOWED


@pytest.mark.parametrize("name", STDLIB_ONLY)
def test_results_and_reports_load_nothing_else(name: str) -> None:
    """Not by way of a third file either."""
    module = ".".join(["pytest_torchscript", *Path(name).with_suffix("").parts]).removesuffix(".__init__")
    loaded = in_a_fresh_process(
        f"""
        import sys
        before = set(sys.modules)
        import {module}
        print(*(set(sys.modules) - before))
        """
    ).split()
    roots = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - ALLOWED
    # CPython names this file of its own after the platform.
    assert not {root for root in roots if not root.startswith("_sysconfigdata")}


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("checks/")])
def test_checks_never_import_each_other(name: str) -> None:
    """Each can be understood, and run, alone; what they share is in ``base``."""
    if name in {"checks/__init__.py", "checks/base.py"}:
        return
    rooms = {imported.split(".")[2] for imported in imports(name) if imported.startswith("pytest_torchscript.checks.")}
    assert rooms <= {"base"}


def test_base_knows_no_check() -> None:
    """What all share depends on none of them."""
    assert not [imported for imported in imports("checks/base.py") if imported.startswith("pytest_torchscript.checks.")]


@pytest.mark.parametrize("name", FILES)
def test_transformers_is_never_imported(name: str) -> None:
    """A model of it can only exist where the user's process has imported it already: that one is looked up."""
    assert "transformers" not in packages(name)
    assert not [call for call in calls(name) if call.endswith("import_module") and "transformers" in call]


def test_one_place_traces() -> None:
    """Options and hygiene of a trace are decided once."""
    traces = {"torch.jit.trace", "jit.trace", "torch.jit.trace_module", "jit.trace_module"}
    assert {name for name in FILES if traces & set(calls(name))} == {"tracing/trace.py"}


@pytest.mark.parametrize("name", FILES)
def test_every_import_stands_for_a_file_or_a_dependency(name: str) -> None:
    """Nothing undeclared is needed."""
    declared = {"pytest_torchscript", "pytest", "_pytest", "pluggy", "torch", "junit_xml", "filelock"}
    optional = {"torch_neuronx", "torch_neuron"}
    assert packages(name) <= set(sys.stdlib_module_names) | declared | optional


# What loading costs


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
