"""The built-in targets are made of what any other target may use, and touch torch's inner parts in one module each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_torchscript import targets

FOLDER = Path(targets.__file__).resolve().parent
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.py"))

SHARED = {"base", "deployment"}
PACKAGE = {"errors", "nested", "result", "source", "diagnosis.error_text", "diagnosis.remedies", "diagnosis.ops"}
INNER = {
    "_C",
    "ShapeEnv",
    "ScriptModule",
    "inlined_graph",
    "sourceRange",
    "kindOf",
    "attributeNames",
    "raw",
    "owner",
    "_context",
}
ROOMS = {"export/private.py", "neuron/program.py"}


def imported(name: str) -> Iterator[tuple[int, str]]:
    """The level and the module of every relative import of a file, those inside functions too."""
    for node in ast.walk(ast.parse((FOLDER / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from ((node.level, node.module or alias.name) for alias in node.names)


@pytest.mark.parametrize("name", FILES)
def test_a_target_imports_what_is_public(name: str) -> None:
    """No check, no gate, no tracing, no other target."""
    assert {module for level, module in imported(name) if level == 2} <= SHARED
    assert {module for level, module in imported(name) if level == 3} <= PACKAGE
    assert all(level <= 3 for level, _ in imported(name))


@pytest.mark.parametrize("name", [name for name in FILES if name not in ROOMS])
def test_inner_parts_of_torch_are_touched_in_one_module_of_a_target(name: str) -> None:
    """Neither nodes of its graphs nor private names appear in any other file; pytree has no public name in every torch."""
    nodes = list(ast.walk(ast.parse((FOLDER / name).read_text(encoding="utf-8"))))
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in nodes
        if isinstance(node, ast.Attribute | ast.Name)
    }
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert names & INNER == set()
    assert [module for module in modules if "._" in module and module != "torch.utils._pytree"] == []
