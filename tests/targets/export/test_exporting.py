"""What `torch.export` takes, and with which dims dynamic."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import gate
from pytest_torchscript.result import Status, Verdict
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.targets import built_in

from .cases import X, cell, export, floats


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


class Scaled(nn.Linear):
    """A module with a ``__call__`` of its own that hands arguments on by name."""

    def __init__(self) -> None:
        super().__init__(4, 4)

    def forward(self, x: Tensor, scale: Tensor, power: int = 1) -> Tensor:
        return super().forward(x) * scale**power

    def __call__(self, x: Tensor, scale: Tensor, power: int = 1) -> Tensor:
        return super().__call__(x, scale=scale + 1, power=power)


class Holding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scaled = Scaled()

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.scaled(x, scale=scale).relu()


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Scaled(), (X, floats(2, 1, 1))),
        (Scaled(), {"x": X, "scale": floats(2, 1, 1), "power": 2}),
        (Holding(), (X, floats(2, 1, 1))),
    ],
    ids=["by position", "with a constant", "inside"],
)
def test_a_model_with_a_call_of_its_own_exports(model: nn.Module, inputs: Any) -> None:
    """What its ``__call__`` does to the arguments is part of the program, and the class is as before."""
    call = type(model).__call__
    result = export(model, inputs, shapes="dynamic")
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "dynamic"}
    assert type(model).__call__ is call


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
