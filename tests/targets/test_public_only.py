"""The built-in targets are made of what any other target may use, and leave torch's inner parts alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_torchscript import targets
from pytest_torchscript.targets import tools

FOLDER = Path(targets.__file__).resolve().parent
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.py"))

PUBLIC = {
    *("errors", "nested", "result", "source", "arguments", "spec.Tolerance"),
    *("targets.base", "targets.deployment", "targets.tools"),
    # No target of somebody else's has a use for the private names of torch: they are declared for these ones.
    "tracing.private",
}
TOOLS = {"diagnosis.error_text", "diagnosis.ops", "diagnosis.remedies", "probing.run", "tracing.program"}
INNER = {"_C", "ShapeEnv", "inlined_graph", "sourceRange", "kindOf", "attributeNames", "raw", "owner", "_context"}


def imported(name: str) -> Iterator[str]:
    """Every file or name of this package that a file imports from outside its own folder, inside functions too."""
    for node in ast.walk(ast.parse((FOLDER / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (here := name.count("/")) < node.level:
            room = ["targets"] if node.level == here + 1 else []
            parts = [*room, *(node.module or "").split(".")] if node.module else room
            yield from (".".join([*parts, alias.name]) for alias in node.names)


def is_public(dotted: str) -> bool:
    return any(dotted == entry or dotted.startswith(f"{entry}.") for entry in PUBLIC)


@pytest.mark.parametrize("name", FILES)
def test_a_target_imports_what_is_public(name: str) -> None:
    """No check, no gate, no tracing, no other target."""
    assert [dotted for dotted in imported(name) if not is_public(dotted)] == []


def test_the_tools_of_a_target_are_in_one_file() -> None:
    """Classes that the deployment gives, and words for errors: a target of somebody else's finds them there as well."""
    found = list(imported("tools.py"))
    assert {dotted.rpartition(".")[0] for dotted in found} == TOOLS
    assert sorted(dotted.rpartition(".")[2] for dotted in found) == sorted(tools.__all__)


@pytest.mark.parametrize("name", FILES)
def test_inner_parts_of_torch_are_left_alone(name: str) -> None:
    """Neither nodes of its graphs nor private names appear in any file of a target."""
    nodes = list(ast.walk(ast.parse((FOLDER / name).read_text(encoding="utf-8"))))
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in nodes
        if isinstance(node, ast.Attribute | ast.Name)
    }
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert names & INNER == set()
    assert [module for module in modules if "._" in module] == []
