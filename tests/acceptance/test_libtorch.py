"""The target `libtorch` as users meet it: saved traces, run by a C++ program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..targets.libtorch.compilers import NEEDS_COMPILER, calls, copying, script, shared_cache
from .harness import PytestRuns, Run, comparable

BERT = """
    import pytest
    import torch
    from models import *
    from transformers import BertConfig, BertForSequenceClassification

    @pytest.fixture
    def bert():
        torch.manual_seed(0)
        sizes = dict(vocab_size=24, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64)
        return BertForSequenceClassification(BertConfig(**sizes)).eval()

    @pytest.mark.torchscript(target="libtorch")
    def test_bert(bert):
        assert bert(**tokens()).logits.shape == (2, 2)
"""

# The two tests are in files of their own, which xdist may give to two workers.
SUITE = {
    "test_bert.py": BERT,
    "test_python.py": """
        import pytest
        import torch
        from models import *

        @torch.library.custom_op("users::twice", mutates_args=())
        def twice(x: torch.Tensor) -> torch.Tensor:
            return x * 2

        class OfPython(nn.Module):
            def forward(self, x):
                return torch.ops.users.twice(x) + 1

        @pytest.mark.torchscript(target=("torchscript", "libtorch"))
        def test_of_python():
            OfPython()(rows())

        @pytest.mark.torchscript(target="libtorch")
        def test_tokens():
            Encoder()(**tokens())
    """,
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shared_cache(tmp_path_factory)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def run(run_suite: PytestRuns, mode: tuple[str, ...]) -> Run:
    return run_suite(SUITE, *mode)


def target_check(run: Run, test: str, cell: int = -1) -> Any:
    return next(check for check in run.gate(test)["cells"][cell]["checks"] if check["name"] == "target")


@NEEDS_COMPILER
def test_bert_runs_in_cpp(run: Run) -> None:
    """The report says that the file was run, on how many inputs, and the terminal that the gate passed."""
    assert run.outcomes["test_bert"] == "passed", run.text
    assert run.cell("test_bert")["target"] == "libtorch"
    assert run.verdict("test_bert") == "ok"
    check = run.check("test_bert", "target")
    assert check["status"] == "passed"
    assert check["metrics"]["proof"] == "ran"
    assert check["metrics"]["compared"] > 1
    assert run.outcomes["test_tokens"] == "passed"


@NEEDS_COMPILER
def test_a_trace_for_python_alone_fails_there_and_nowhere_else(run: Run) -> None:
    """The message names operation, line and remedy; the same trace is good as far as Python goes."""
    assert run.outcomes["test_of_python"] == "failed"
    python, cpp = run.gate("test_of_python")["cells"]
    assert (python["target"], python["verdict"]) == ("torchscript", "ok")
    assert (cpp["target"], cpp["verdict"]) == ("libtorch", "TargetUnsupported")
    message = run.messages["test_of_python"]
    assert "C++ knows no operation 'users::twice'" in message
    assert "return torch.ops.users.twice(x) + 1" in message
    assert "aten operations" in message


@NEEDS_COMPILER
def test_the_report_is_the_same_over_workers(run_suite: PytestRuns) -> None:
    """Nothing in it depends on who compiled, or when."""
    plain, distributed = run_suite(SUITE), run_suite(SUITE, "-n", "2")
    assert comparable(plain.report) == comparable(distributed.report)


HEADS = {
    f"test_{number}.py": f"""
        import pytest
        from models import *

        @pytest.mark.torchscript(target="libtorch")
        def test_{number}():
            Head()(rows())
    """
    for number in range(2)
}


@NEEDS_COMPILER
def test_two_workers_compile_once(run_suite: PytestRuns, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever comes first; the other one waits."""
    run_suite(SUITE)
    (program,) = [path for path in (cache / "pytest-torchscript").iterdir() if path.suffix != ".lock"]
    compiler = copying(tmp_path / "copying", program)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = run_suite(HEADS, "-n", "2", "--dist", "loadfile")
    assert run.outcomes == {"test_0": "passed", "test_1": "passed"}, run.text
    assert [run.check(test, "target")["metrics"]["proof"] for test in run.outcomes] == ["ran", "ran"]
    assert calls(compiler) == 1


def test_without_a_compiler_a_gate_says_so(run_suite: PytestRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It passes on what else was shown."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    run = run_suite(HEADS, "test_0.py")
    assert run.outcomes == {"test_0": "passed"}, run.text
    check = run.check("test_0", "target")
    assert check["status"] == "skipped"
    assert check["reason"].startswith("no C++ compiler was found")


def test_without_a_compiler_a_gate_that_requires_it_fails(
    run_suite: PytestRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the option --torchscript-require-sdk."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    run = run_suite(HEADS, "test_0.py", "--torchscript-require-sdk")
    assert run.outcomes == {"test_0": "failed"}, run.text
    assert run.verdict("test_0") == "TargetFailure"
    assert "no C++ compiler was found" in run.messages["test_0"]


def test_a_compiler_that_hangs_does_not_hang_the_run(
    run_suite: PytestRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`torchscript_target_timeout` bounds it, once; the finding says what did not end."""
    compiler = script(tmp_path / "hanging", "sleep 100")
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = run_suite({**HEADS, "pytest.ini": "[pytest]\ntorchscript_target_timeout = 2\n"})
    assert run.outcomes == {"test_0": "failed", "test_1": "failed"}
    for test in run.outcomes:
        assert run.verdict(test) == "TargetFailure"
        assert f"the C++ compiler {compiler} did not end within 1.8 seconds" in run.said(test)
    assert calls(compiler) == 1
