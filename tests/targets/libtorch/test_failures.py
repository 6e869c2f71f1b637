"""Models that no C++ program can run, and what the target says of them."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import checks
from pytest_torchscript.result import Verdict
from pytest_torchscript.targets import Deployment, LibTorch, libtorch
from pytest_torchscript.targets.libtorch import failures
from pytest_torchscript.tracing.program import Program

from ...checks.alone import guilty, place
from .cases import Takes, X, deployment, judged
from .compilers import NEEDS_COMPILER

# Models that do not


@contextlib.contextmanager
def operators(*lines: str, **implementations: Callable[..., Any]) -> Iterator[None]:
    """Operators of a library `mylib` that Python registers, for as long as the context is open."""
    library = torch.library.Library("mylib", "FRAGMENT")
    try:
        for line in lines:
            library.define(line)
        for name, function in implementations.items():
            library.impl(name, function, "CompositeExplicitAutograd")
        yield
    finally:
        library._destroy()


class CallsPython(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        return torch.ops.mylib.twice(y) - 1  # guilty


@NEEDS_COMPILER
def test_a_trace_that_only_python_can_run_is_refused() -> None:
    """An operation that Python registers traces, saves and loads in Python: C++ has never heard of it."""
    with operators("twice(Tensor x) -> Tensor", twice=lambda x: x * 2):
        result = judged(CallsPython(), (X,), run=[check.name for check in checks.ALL])
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    (finding,) = result.findings
    assert finding.message.startswith("C++ knows no operation 'mylib::twice'")
    assert {place(finding)} == guilty(CallsPython)
    assert finding.hint is not None
    assert "aten" in finding.hint


@NEEDS_COMPILER
def test_such_an_operation_is_found_in_a_block_too() -> None:
    """A scripted function inside the trace keeps its branches."""

    def either(x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            return torch.ops.mylib.twice(x)  # guilty
        return x

    with operators("twice(Tensor x) -> Tensor", twice=lambda x: x * 2), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = Program(torch.jit.script(either).inlined_graph, {})
        line = failures._line_of(cast("Deployment", SimpleNamespace(program=program)), "mylib::twice")
    assert line is not None
    assert line.text.endswith("# guilty")


class SavesNot(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _Doubling.apply(x)  # guilty


class _Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient * 2


@NEEDS_COMPILER
def test_a_trace_that_cannot_be_saved_is_refused() -> None:
    """With torch's reason and the line."""
    result = judged(SavesNot(), (X,))
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    (finding,) = result.findings
    assert finding.message.startswith("the trace cannot be saved: ")
    # The cause, without torch's advice for a script.
    assert finding.message.endswith("Could not export Python function call '_Doubling'")
    assert {place(finding)} == guilty(SavesNot)


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.embedding(ids) + 1  # guilty


class TwoInputs(LibTorch):
    """Tries two inputs of the table's range."""

    def probe(self, deployment: Any) -> list[Mapping[str, Any]]:
        return [{"ids": torch.tensor([1, 2])}, {"ids": torch.tensor([1, 9])}]


@NEEDS_COMPILER
def test_an_error_says_at_which_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause is torch's last word, the line that of the Python source."""
    # Out of range on the way to C++, and not before: eager takes both.
    honest = libtorch._known
    monkeypatch.setattr(libtorch, "_known", lambda path, leaf: honest(path, leaf) + (90 if 9 in leaf else 0))
    result = judged(Table(), (torch.tensor([1, 2]),), target=TwoInputs())
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert "while running input 2 of 2: index out of range in self" in finding.message
    assert {place(finding)} == guilty(Table)
    assert finding.hint is not None
    assert "vocabulary" in finding.hint


@NEEDS_COMPILER
def test_a_name_that_no_saved_trace_may_have_is_said() -> None:
    """torch writes it as code that nobody can read, not even Python: the check `roundtrip` has the verdict."""
    model = nn.Linear(4, 4)
    model.register_buffer("größe", torch.ones(4))
    model.forward = lambda x: x * getattr(model, "größe")  # type: ignore[method-assign] # noqa: B009
    result = judged(model, (X,))
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    (finding,) = result.findings
    assert finding.message == "the saved trace cannot be loaded, in Python neither: see the check roundtrip"
    assert "ASCII" in str(finding.hint)


@NEEDS_COMPILER
def test_a_folder_that_is_no_text_will_do(tmp_path: Path) -> None:
    """As TMPDIR may be where the locale is C."""
    given = deployment(tmp_path / os.fsdecode(b"gr\xf6\xdfe"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (output,) = libtorch.run(libtorch.build(given), given, [{"x": X}])
    assert torch.equal(output, X * 2)


@NEEDS_COMPILER
def test_an_input_that_no_file_holds_for_cpp_is_said() -> None:
    """The gate's own limit, not the model's."""
    result = judged(Takes(lambda x, _: x.int()), (torch.tensor([1, 2], dtype=torch.uint16),))
    assert result.verdict is Verdict.TARGET_FAILURE
    assert "while reading the inputs: " in result.findings[0].message


@NEEDS_COMPILER
def test_a_kernel_that_python_replaces_gives_other_outputs_there() -> None:
    """The trace is right in this process; the deployed file is not."""
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.impl("special_i1e", lambda x: x * 0 + 7, "CPU")
    try:
        result = judged(Takes(lambda x, _: {"left": torch.special.i1e(x), "right": x}), (X,))
    finally:
        library._destroy()
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert finding.message.startswith("libtorch gives another answer than eager: output 'left' by max abs")
