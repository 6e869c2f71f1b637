"""The hooks' own documentation is a program that runs."""

from __future__ import annotations

import inspect
import textwrap

import pytest

from pytest_torchscript.pytest_plugin import hookspecs

from .harness import PytestRuns

HOOKS = [hook for name, hook in vars(hookspecs).items() if name.startswith("pytest_")]


def example(hook: object) -> str:
    """The indented block of a docstring."""
    text = inspect.getdoc(hook) or ""
    _, _, block = text.partition("::\n\n")
    return textwrap.dedent("\n".join(line for line in block.splitlines() if line.startswith("    ") or not line))


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.__name__)
def test_the_example_of_a_hook_runs_as_a_conftest(run_suite: PytestRuns, hook: object) -> None:
    """Copied from the docstring as it is, its target judges a model."""
    suite = {
        "conftest.py": example(hook),
        "test_half.py": """
            import pytest
            from models import Head, rows

            @pytest.mark.torchscript(target="half")
            def test_half():
                Head()(rows())
        """,
    }
    run = run_suite(suite)
    assert run.outcomes == {"test_half": "passed"}, run.text
    target = run.check("test_half", "target")
    assert (run.cell("test_half")["target"], target["metrics"]["proof"]) == ("half", "ran")
    assert target["metrics"]["compared"] > 1


def test_every_hook_has_an_example() -> None:
    """There is one hook at least, and none without a block of code."""
    assert HOOKS
    assert all("def " in example(hook) for hook in HOOKS)
