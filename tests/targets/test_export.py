"""The target ``export``: ``torch.export`` of what is traced, its dims, and its refusals reduced to cause, line and remedy."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import ShapeEnv, statically_known_true

from pytest_torchscript import checks, gate
from pytest_torchscript.result import CellResult, CheckResult, Status, Verdict
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.targets import built_in

from ..checks.alone import NOT_ASKED, ROOT, guilty, place


def floats(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).abs() + 0.1


X = floats(2, 6, 4)


def cell(model: nn.Module, inputs: Any, *, everything: bool = False, timeout: float = 600, **arguments: Any) -> CellResult:
    """The only cell of a gate for this target, with no check but ``eager`` and ``target`` unless ``everything`` is asked."""
    skip = {} if everything else {check.name: NOT_ASKED for check in checks.ALL if check.name not in ("eager", "target")}
    parsed = parse_arguments((), {**arguments, "target": "export", "skip": skip}, built_in().arguments)
    subject = gate.Subject(model=model, call=gate.call_of(model, inputs))
    targets = replace(built_in(), timeout=timeout)
    (only,) = gate.judge(subject, GateSpec.merge(parsed), id="export", root=str(ROOT), targets=targets).cells
    return only


def export(model: nn.Module, inputs: Any, **arguments: Any) -> CheckResult:
    return cell(model, inputs, **arguments).check("target")


# What exports


class Pair(NamedTuple):
    low: Tensor
    high: Tensor


class Nested(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor], more: dict[str, Tensor]) -> dict[str, Any]:
        return {"sum": pair[0] + more["x"], "rest": (pair[1] * 2, [Pair(pair[0], pair[1])])}


class Calling(nn.Module):
    def forward(self, x: Tensor, kind: torch.dtype, *others: Tensor, scale: float = 1.0, **more: Any) -> Tensor:
        return (x + others[0] + more["y"]).to(kind) * scale


class Numbers(nn.Module):
    """What no trace may return."""

    def forward(self, x: Tensor) -> tuple[Any, ...]:
        return x * 2, None, 3, "text"


@pytest.mark.parametrize(
    ("model", "inputs", "dims"),
    [
        (nn.Linear(4, 3), (X,), {"batch": "dynamic", "seq": "dynamic"}),
        (nn.Conv2d(3, 4, 3), (floats(2, 3, 8, 8),), {"batch": "dynamic"}),
        (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), (X,), {"batch": "dynamic", "seq": "dynamic"}),
        (Nested(), ((X, X + 1), {"x": X}), {"batch": "dynamic", "seq": "dynamic"}),
        (Numbers(), (X,), {"batch": "dynamic", "seq": "dynamic"}),
    ],
    ids=["linear", "conv", "attention", "nested", "numbers"],
)
def test_a_healthy_model_exports_with_dynamic_dims(model: nn.Module, inputs: Any, dims: dict[str, str]) -> None:
    """Its program was run, gave eager's outputs, and did so at other sizes."""
    result = export(model, inputs, shapes="dynamic")
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics["export_dims"] == dims
    assert (result.metrics["exportable"], result.metrics["proof"]) == (True, "ran")
    assert result.metrics["graph_nodes"] > 0


def _tiny(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """A transformers model of one layer and its inputs."""
    import transformers

    ids = torch.randint(3, 50, (2, 12), generator=torch.Generator().manual_seed(0))
    text = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    bert = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50}
    torch.manual_seed(0)
    if name == "bert":
        return transformers.BertModel(transformers.BertConfig(**bert)), text
    if name == "roberta":
        return transformers.RobertaModel(transformers.RobertaConfig(**bert)), text
    if name == "distilbert":
        config = transformers.DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=32, vocab_size=50)
        return transformers.DistilBertModel(config), text
    if name == "gpt2":
        ends = {"bos_token_id": 1, "eos_token_id": 2}
        config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, **ends)
        return transformers.GPT2LMHeadModel(config), text
    if name == "t5":
        config = transformers.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=50)
        return transformers.T5ForConditionalGeneration(config), {**text, "decoder_input_ids": ids[:, :5]}
    config = transformers.ViTConfig(**{**bert, "vocab_size": None}, image_size=16, patch_size=8)
    return transformers.ViTModel(config), {"pixel_values": floats(2, 3, 16, 16)}


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "gpt2", "t5", "vit"])
def test_transformers_models_export_with_dynamic_dims(name: str) -> None:
    """By their own call, ``return_dict=False`` and no cache, though ``**kwargs`` takes some of it."""
    model, inputs = _tiny(name)
    result = export(model, inputs, shapes="dynamic")
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert set(result.metrics["export_dims"].values()) == {"dynamic"}


def test_constants_are_bound_and_any_signature_will_do() -> None:
    """As in the trace: a dtype, a float and what ``**more`` takes."""
    call = gate.bind(Calling(), (X, torch.float64, X), {"scale": 2.0, "y": X})
    spec = GateSpec.merge(parse_arguments((), {"target": "export"}, built_in().arguments))
    (only,) = gate.judge(gate.Subject(model=Calling(), call=call), spec, id="export").cells
    result = only.check("target")
    assert result.status is Status.PASSED, result.findings
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "dynamic"}


def test_a_traced_size_of_one_is_no_obstacle() -> None:
    """torch specialises a size of 1; the program is exported at a larger one, and still takes the traced."""
    result = export(nn.Linear(4, 3), (floats(1, 1, 4),), shapes="dynamic")
    assert result.status is Status.PASSED
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "dynamic"}


def test_what_takes_a_size_of_one_only_is_exported_at_one() -> None:
    """The user's own call counts more than a dynamic dim."""

    class OneRow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(0) if x.shape[0] == 1 else x * 2

    result = export(OneRow(), (floats(1, 6, 4),))
    assert result.status is Status.PASSED
    assert result.metrics["export_dims"]["batch"] == "fixed"


def test_structure_alone_is_exported_without_weights() -> None:
    """Nothing is compared, and the dims are known all the same."""

    class Long(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.shape[1] > 4 else x

    result = export(nn.Linear(4, 3), (X,), weights="meta")
    assert (result.status, result.metrics["proof"]) == (Status.PASSED, "built")
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "dynamic"}
    assert "compared" not in result.metrics
    assert export(Long(), (X,), weights="meta").metrics["export_dims"]["seq"] == "partial"


def test_export_and_trace_can_disagree() -> None:
    """None among the outputs stops a trace only; a branch on values stops an export only."""

    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    numbers = cell(Numbers(), (X,), everything=True)
    assert numbers.check("trace").verdict is Verdict.UNTRACEABLE
    assert numbers.check("target").status is Status.PASSED
    branch = cell(Branch(), (X,), everything=True)
    assert branch.check("trace").status is Status.PASSED
    assert branch.check("target").verdict is Verdict.TARGET_UNSUPPORTED


# Dims


class ComparesSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[1] == 6 else x  # guilty


class CountsLength(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / float(int(x.shape[1]))  # guilty


class LoopsOverLength(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = x[:, 0] * 0
        for step in range(x.shape[1]):  # guilty
            total = total + x[:, step]
        return total


class AddsTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(floats(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 + self.table  # guilty


class LongOnly(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[1] > 4 else x  # guilty


class TwoLengths(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y if x.shape[1] == y.shape[1] else x + y.sum(1, True)  # guilty


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (ComparesSize(), "fixed"),
        (CountsLength(), "fixed"),
        (LoopsOverLength(), "fixed"),
        (AddsTable(), "fixed"),
        (LongOnly(), "partial"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_specialised_dim_is_a_note_or_by_contract_a_failure(model: nn.Module, kind: str) -> None:
    """``safe`` takes a loud refusal, ``dynamic`` none; either way the line that did it is named, also inside an operation."""
    safe = export(model, (X,))
    assert safe.status is Status.PASSED
    assert safe.metrics["export_dims"] == {"batch": "dynamic", "seq": kind}
    dynamic = export(model, (X,), shapes={"seq": "dynamic"})
    assert dynamic.verdict is Verdict.TARGET_FAILURE
    for result in (safe, dynamic):
        (finding,) = result.findings
        assert finding.message.startswith(f"seq is {kind} in the exported program")
        assert "exported at 6, it refuses" in finding.message
        assert {place(finding)} == guilty(type(model))
        assert finding.where == "specialised at"
        assert finding.hint


def test_a_size_that_must_be_an_int_is_a_reason() -> None:
    """Tables by length are dictionaries, often."""

    class ByLength(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * {6: 2.0}.get(x.shape[1], 1.0)  # guilty

    (note,) = export(ByLength(), (X,)).findings
    assert "a size must be a plain int for the forward" in note.message
    assert {place(note)} == guilty(ByLength)


def test_a_guard_that_divides_by_a_size_is_no_obstacle() -> None:
    """At a size of 1 half of it is 0, and the guard itself cannot be reckoned."""

    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            half = x.shape[1] // 2
            return x * 2 if half and x.shape[1] % half == 0 else x

    result = export(Halves(), (X,))
    assert result.status is Status.PASSED, result.findings
    assert result.metrics["export_dims"]["seq"] == "partial"


def test_a_dim_declared_fixed_is_exported_static() -> None:
    """There is nothing to say of sizes that nobody wants."""
    result = export(nn.Linear(4, 3), (X,), shapes={"seq": "fixed"})
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "fixed"}


def test_two_dims_that_must_be_equal_are_said() -> None:
    """Both were declared, eager takes any two sizes, and the program keeps them equal."""
    dims = {"x": {1: "seq"}, "y": {1: "other"}}
    result = export(TwoLengths(), {"x": X, "y": X}, dims=dims, shapes="dynamic")
    assert result.verdict is Verdict.TARGET_FAILURE
    assert {place(finding) for finding in result.findings} == guilty(TwoLengths)
    assert "y.size()[1]" in result.findings[0].message
    assert "one dim in dims=" in str(result.findings[0].hint)
    # Either alone is: a symbol in the program, and yet without another size.
    assert result.metrics["export_dims"] == {"seq": "fixed", "other": "fixed"}


def test_an_answer_that_is_wrong_at_another_size_fails() -> None:
    """With the size, the leaf and the amount."""

    class Hides(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            # True in eager from 13 on; while exporting, no size is known well enough.
            return {"same": x, "scaled": x * 3 if statically_known_true(x.shape[1] >= 13) else x * 2}

    result = export(Hides(), (X,))
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert finding.message.startswith(
        "seq is silently wrong in the exported program: exported at 6, off at 13: output 'scaled' by max abs"
    )
    assert finding.path == "scaled"
    assert finding.details["probes"] == {"1": "equal", "3": "equal", "7": "equal", "12": "equal", "13": "wrong"}
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "unsafe"}


def test_a_special_case_for_one_is_wrong_in_silence() -> None:
    """torch assumes that a dynamic size is never 1 and does not check it."""

    class OneRow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 3 if x.shape[0] == 1 else x * 2

    result = export(OneRow(), (X,))
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert "exported at 2, off at 1" in finding.message
    assert "never 1" in str(finding.hint)


def test_a_program_wrong_where_it_was_exported_is_said_once() -> None:
    """Other sizes and values would say the same."""

    class Exporting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 3 if torch.compiler.is_exporting() else x

    result = export(Exporting(), (X,))
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert "another answer than eager" in finding.message
    assert result.metrics["export_dims"] == {"batch": "unsafe", "seq": "unsafe"}


def test_two_dims_wrong_together_fail() -> None:
    """Each alone is right."""

    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 3 if statically_known_true((x.shape[0] - 2) * (x.shape[1] - 6) != 0) else x * 2

    result = export(Product(), (X,))
    assert result.verdict is Verdict.TARGET_FAILURE
    assert "together" in result.findings[0].message
    assert result.metrics["export_dims"] == {"batch": "unsafe", "seq": "unsafe"}


def test_a_size_that_eager_refuses_is_no_probe() -> None:
    """The model's domain is one size: nothing is known, and nothing is wrong."""

    class Strict(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch._assert(x.shape[1] == 6, "six steps")
            return x * 2

    result = export(Strict(), (X,), shapes="dynamic", dims={"x": {0: "batch", 1: "seq"}})
    assert result.status is Status.PASSED
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "untested"}


def test_a_dim_that_nothing_could_try_is_noted_where_it_is_declared_dynamic() -> None:
    """It passes on what was tried, and says what was not."""

    class Strict(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch._assert(x.shape[1] == 6, "six steps")
            return x * 2

    dims = {"x": {0: "batch", 1: "seq"}}
    (note,) = export(Strict(), (X,), dims=dims, shapes="dynamic").findings
    assert note.message == (
        "seq is untested in the exported program, declared dynamic: exported at 6, and eager takes none of 3, 13, 1, 7, 12"
    )
    assert export(Strict(), (X,), dims=dims).findings == ()


class Strides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, ::2] + x[:, 1::2] if x.shape[1] % 2 == 0 else x[:, ::2]


class Windows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        windows = x.view(x.shape[0], x.shape[1] // 8, 8, 4)
        return (windows @ windows.mT @ windows).view(x.shape)


@pytest.mark.parametrize(
    ("model", "size", "kind"),
    [(Strides(), 6, "partial"), (Windows(), 16, "partial"), (Windows(), 24, "dynamic")],
    ids=["strides", "two windows", "three windows"],
)
def test_a_size_that_must_be_divisible_is_tried_at_its_double(model: nn.Module, size: int, kind: str) -> None:
    """Neither is a dim fixed that takes others, nor is it untested where there is one to try."""
    result = export(model, (floats(2, size, 4),))
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": kind}
    for note in result.findings:
        assert "deploy such sizes only" in str(note.hint)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN], ids=lambda kind: kind.__name__)
def test_torchs_recurrent_layers_are_said_to_be_unrolled(kind: type[nn.Module]) -> None:
    """The model can keep no size in the graph where torch itself loops over it."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = kind(4, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0]  # guilty

    result = export(Recurrent(), (X,))
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "fixed"}
    (note,) = result.findings
    assert "unrolls nn.LSTM" in str(note.hint)
    assert {place(note)} == guilty(Recurrent)


class Padded(nn.Module):
    """torch's own encoder; ``wrong`` makes the program wrong at every position."""

    def __init__(self, *, wrong: bool = False) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 1)
        self.wrong = wrong

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        y = self.encoder(x, src_key_padding_mask=padding)
        return y + 1 if self.wrong and torch.compiler.is_exporting() else y


PADDING = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])


def test_the_fast_path_of_torchs_encoder_is_named() -> None:
    """It writes zeros where padding is masked; compared without it, the program is right."""
    model = Padded().eval()
    result = export(model, (X, PADDING))
    assert result.verdict is Verdict.TARGET_FAILURE
    finding = result.findings[0]
    assert "by the fast path of nn.TransformerEncoder alone" in finding.message
    assert "set_fastpath_enabled(False)" in str(finding.hint)
    assert torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert export(model, (X, PADDING)).status is Status.PASSED
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_the_fast_path_excuses_nothing_else() -> None:
    """A program that is wrong at real positions too is just wrong."""
    result = export(Padded(wrong=True).eval(), (X, PADDING))
    assert result.verdict is Verdict.TARGET_FAILURE
    assert not [finding for finding in result.findings if "fast path" in finding.message]


def test_a_size_at_which_eager_is_not_finite_is_no_probe() -> None:
    """Infinity is no answer to compare with."""

    class Overflows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 0 if statically_known_true(x.shape[1] >= 13) else x

    result = export(Overflows(), (X,))
    assert result.status is Status.PASSED
    assert result.metrics["export_dims"]["seq"] == "dynamic"


def test_tolerance_is_the_markers() -> None:
    """What is off by a hundredth passes where that is allowed."""

    class Drifts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 1.01 if statically_known_true(x.shape[1] >= 13) else x

    assert export(Drifts(), (X,)).verdict is Verdict.TARGET_FAILURE
    assert export(Drifts(), (X,), rtol=0.1, atol=0.0).status is Status.PASSED


def test_other_values_are_compared_where_the_trace_was_not() -> None:
    """An untraceable model's program is tried on more than the observed values."""

    class Exporting(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            return (x.abs() if torch.compiler.is_exporting() else x), None

    result = export(Exporting(), (X,))
    assert result.verdict is Verdict.TARGET_FAILURE
    assert "silently wrong for other values" in result.findings[0].message


# What torch refuses


class BranchesOnSum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # guilty
            return x * 2
        return x


class AssertsOnValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert (x > -100).all(), "too small"  # guilty
        return x * 2


class ComparesTensors(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if torch.equal(x, x.abs()) else x  # guilty


class ItemAsSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum() + torch.zeros(int(x.abs().sum()))  # guilty


class ItemAsBound(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, : int(x.max().item()) + 1]  # guilty


class BranchesOnCount(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        kept = x[x > 0.5]
        if kept.shape[0] == 0:  # guilty
            return x.sum()
        return kept.sum()


class UsesNumPy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)  # guilty


class ReadsMemory(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (1 if x.data_ptr() else 3)  # guilty


class NumPyFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)  # guilty


class CallsFunction(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return NumPyFunction.apply(x)


# By a schema: torch before 2.5 does not read annotations that are text.
@torch.library.custom_op("pytest_torchscript_tests::doubled", mutates_args=(), schema="(Tensor x) -> Tensor")
def doubled(x: Tensor) -> Tensor:
    return x * 2


class CallsOperator(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return doubled(x)  # guilty


class Box:
    def __init__(self, x: Tensor) -> None:
        self.x = x


class ReturnsObject(nn.Module):
    def forward(self, x: Tensor, *, scale: int = 1) -> Box:
        return Box(x * scale)  # guilty


class FailsOnFakes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if type(x) is not Tensor:
            raise TypeError("plain tensors, please")  # guilty
        return x * 2


@pytest.mark.parametrize(
    ("model", "kind", "cause", "remedy"),
    [
        (BranchesOnSum(), "data-dependent branch", "a Python branch depends on the tensor's values", "torch.where"),
        (AssertsOnValues(), "data-dependent branch", "a Python branch depends on the tensor's values", "torch.where"),
        (ComparesTensors(), "data-dependent branch", "a Python branch depends on the tensor's values", "torch.where"),
        (ItemAsSize(), "tensor as a number", "becomes a Python number", "keep it a tensor"),
        (ItemAsBound(), "tensor as a number", "becomes a Python number", "keep it a tensor"),
        (BranchesOnCount(), "data-dependent size", "a size that the tensor's values decide", "torch._check"),
        (UsesNumPy(), "NumPy", "goes to NumPy", "custom_op"),
        (ReadsMemory(), "data pointer", "reads a tensor's memory", "custom_op"),
        (CallsFunction(), "NumPy", "goes to NumPy", "custom_op"),
        (CallsOperator(), "custom operator", "(pytest_torchscript_tests::doubled)", "register_fake"),
        (ReturnsObject(), "output type", "Box", "register_dataclass"),
        (FailsOnFakes(), "other", "TypeError: plain tensors, please", "draft_export"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_refusal_is_reduced_to_cause_line_and_remedy(model: nn.Module, kind: str, cause: str, remedy: str) -> None:
    """torch's stacks, dumps and advice are gone."""
    result = export(model, {"x": X, "scale": 2} if isinstance(model, ReturnsObject) else (X,))
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    (finding,) = result.findings
    assert finding.message.startswith("torch.export refuses the model: ")
    assert cause in finding.message
    assert len(finding.message) < 200
    assert "\n" not in finding.message
    assert {place(finding)} == guilty(NumPyFunction.forward if isinstance(model, CallsFunction) else type(model))
    assert finding.hint is not None
    assert remedy in finding.hint
    assert result.metrics == {"exportable": False, "refusal": kind}


def test_a_gradient_taken_in_the_forward_is_said() -> None:
    """torch finds the tensor that is left over after the forward has ended: there is a cause, and no line."""

    class ForceField(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.energy = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                positions = x.detach().requires_grad_()
                return -torch.autograd.grad(self.energy(positions).tanh().sum(), positions)[0]

    result = export(ForceField(), (X,))
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    (finding,) = result.findings
    assert "a gradient taken inside" in finding.message
    assert result.metrics["refusal"] == "leaked tensor"


def test_a_scripted_submodule_is_named() -> None:
    """torch complains of a number of arguments."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.head = torch.jit.script(nn.Sequential(nn.Linear(4, 3)))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x)  # guilty

    result = export(Mixed(), (X,))
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    (finding,) = result.findings
    assert finding.message == "torch.export refuses the model: 'head' is a scripted module, which it does not take"
    assert {place(finding)} == guilty(Mixed)
    assert result.metrics["refusal"] == "scripted module"


def test_a_program_whose_code_cannot_be_generated_is_refused() -> None:
    """torch exports it without a word."""
    model = nn.Sequential()
    model.add_module("class", nn.Linear(4, 3))
    result = export(model, (X,))
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    assert "a Python keyword" in result.findings[0].message
    assert result.metrics == {"exportable": False, "refusal": "name"}


def test_a_program_that_does_not_run_is_refused() -> None:
    """A buffer that grows is written back into one of the old shape."""

    class Grows(nn.Module):
        history: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("history", torch.ones(1, 4))

        def forward(self, x: Tensor) -> Tensor:
            self.history = torch.cat([self.history, x.mean((0, 1))[None]])
            return x * 2

    result = export(Grows(), (X,))
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    assert result.findings[0].message.startswith(
        "the exported program refuses the very inputs of its export: output with shape"
    )
    assert (result.metrics["exportable"], result.metrics["refusal"]) == (False, "does not run")


def test_an_input_of_an_unknown_class_is_said() -> None:
    """A mapping that is no dict, as tokenizers give it."""
    from transformers import BatchEncoding

    class Takes(nn.Module):
        def forward(self, encoding: Any) -> Tensor:
            return encoding["x"] * 2

    result = export(Takes(), (BatchEncoding({"x": X}),))
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    assert "transformers.tokenization_utils_base.BatchEncoding" in result.findings[0].message
    assert result.metrics["refusal"] == "input type"


def test_a_model_that_exports_at_a_fixed_size_only_is_exported_so() -> None:
    """The dim that stands in the way is static, with the reason as a note; the other stays dynamic."""

    class Table(nn.Module):
        table: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.table is None:
                # A fake one, while exporting: of the first attempt, none may be left for the next.
                self.table = torch.ones(4)
            if type(x.shape[1]) is not int:
                raise TypeError("a plain length, please")
            return x * self.table * x.shape[1]

    result = export(Table(), (X,))
    assert result.status is Status.PASSED
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "fixed"}
    (note,) = result.findings
    assert "a plain length, please" in note.message
    assert "refusal" not in result.metrics
    assert export(Table(), (X,), shapes="dynamic").verdict is Verdict.TARGET_FAILURE


# Exports that do not end


class Waits(nn.Module):
    """Exports for as long as a function takes; otherwise doubles."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        super().__init__()
        self.wait = wait
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting() and threading.current_thread() is not threading.main_thread():
            self.wait()
        return x * 2


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_export_that_was_given_up_spoils_nothing() -> None:
    """While it runs, others are not proved rather than wrong; once it ends, torch and the model are as before."""
    # The first export of a process takes its time.
    export(nn.Linear(4, 3), (X,))
    located, called = ShapeEnv._get_sloc, nn.Module.__call__
    go_on = threading.Event()
    model = Waits(lambda: go_on.wait(20))
    steps = model.get_buffer("steps")
    try:
        result = export(model, (X,), timeout=0.5)
        assert result.verdict is Verdict.TARGET_FAILURE
        assert "did not end within 0.5 seconds" in result.findings[0].message
        later = export(nn.Linear(4, 3), (X,))
        assert (later.status, later.reason) == (Status.SKIPPED, "an earlier export is still running in this process")
        # The user goes on with the model.
        steps += 1
    finally:
        go_on.set()
    until(lambda: nn.Module.__call__ is called)
    assert export(nn.Linear(4, 3), (X,)).status is Status.PASSED
    assert ShapeEnv._get_sloc is located
    assert not torch.compiler.is_exporting()
    assert "forward" not in vars(model)
    assert model.get_buffer("steps") is steps
    assert steps.item() == 1
    assert torch.equal(model(x=X), X * 2)


def test_an_export_that_would_not_be_ended_is_asked_again() -> None:
    """A model that catches everything has taken the gate's word for an error of its own."""
    caught = []

    def wait() -> None:
        for _ in range(2):
            try:
                until(lambda: False)
            except SystemExit:
                caught.append(1)

    export(nn.Linear(4, 3), (X,))
    assert export(Waits(wait), (X,), timeout=0.5).verdict is Verdict.TARGET_FAILURE
    assert export(nn.Linear(4, 3), (X,)).status is Status.PASSED
    assert len(caught) == 2


def test_an_export_in_another_thread_is_waited_for() -> None:
    """As long as it is in its time."""
    started = threading.Event()
    order = []

    def wait() -> None:
        started.set()
        time.sleep(0.3)
        order.append("waited")

    thread = threading.Thread(target=lambda: order.append(export(Waits(wait), (X,)).status))
    thread.start()
    assert started.wait(20)
    assert export(nn.Linear(4, 3), (X,)).status is Status.PASSED
    assert order[:1] == ["waited"]
    thread.join()
    assert order[-1] is Status.PASSED


# Leaving no trace


class Writes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.seen: list[Tensor] = []
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.linear(x)
        self.seen.append(self.last)
        return self.last


def test_the_model_is_as_before() -> None:
    """What the forward keeps while it is exported, fake tensors, does not stay."""
    model = Writes().train()
    attributes, state = dict(vars(model)), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert export(model, (X,)).status is Status.PASSED
    assert vars(model) == attributes
    assert (model.seen, model.last, model.training) == ([], None, True)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert "forward" not in vars(model)


@pytest.mark.parametrize(
    "model", [nn.Linear(4, 3), BranchesOnSum(), BranchesOnCount(), LongOnly()], ids=lambda m: type(m).__name__
)
def test_nothing_is_printed_logged_or_left_in_the_process(model: nn.Module, capfd: Any, caplog: Any) -> None:
    """Neither by an export that is refused nor by a program that refuses its inputs; torch is as it was."""
    import torch.export._trace
    import torch.fx.graph_module

    loggers = [logging.getLogger("torch.fx.experimental.symbolic_shapes"), logging.getLogger("torch"), logging.getLogger()]
    state = [(logger.level, list(logger.handlers), list(logger.filters)) for logger in loggers]
    located, rng, filters = ShapeEnv._get_sloc, torch.get_rng_state(), list(warnings.filters)
    sources = len(torch.fx.graph_module._loader.eval_cache)
    export(model, (X,))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert [(logger.level, list(logger.handlers), list(logger.filters)) for logger in loggers] == state
    assert ShapeEnv._get_sloc is located
    assert "print" not in vars(torch.export._trace)
    assert "print" not in vars(torch.fx.graph_module)
    assert len(torch.fx.graph_module._loader.eval_cache) == sources
    assert torch.equal(torch.get_rng_state(), rng)
    assert list(warnings.filters) == filters
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() is torch.float32


def test_a_users_compiled_function_is_not_compiled_again() -> None:
    """The compiler's caches are the user's."""
    compiled = []

    def backend(graph: torch.fx.GraphModule, _: list[Any]) -> Any:
        compiled.append(graph)
        return graph.forward

    function = torch.compile(lambda x: x * 2, backend=backend)
    function(X)
    export(nn.Linear(4, 3), (X,))
    function(X)
    assert len(compiled) == 1
    torch._dynamo.reset()


def test_symbolic_sizes_are_let_go() -> None:
    """torch keeps an export's environment for good; its caches, most of it, are emptied."""
    import gc

    def environments() -> list[ShapeEnv]:
        gc.collect()
        # By class: isinstance asks, and wakes, whatever else lives in the process.
        return [entry for entry in gc.get_objects() if type(entry) is ShapeEnv]

    # Other tests, and whoever compiles in this process, have some of their own.
    others = environments()
    export(nn.Linear(4, 3), (X,))
    ours = [entry for entry in environments() if not any(entry is other for other in others)]
    assert not [environment for environment in ours if environment.fake_tensor_cache]
