"""Refusals of `torch.export`, reduced to cause, line and remedy."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.result import Status, Verdict

from ...checks.alone import guilty, place
from .cases import BranchesOnCount, BranchesOnSum, X, export


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
