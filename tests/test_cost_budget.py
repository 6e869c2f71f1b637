"""The check ``target``: what the deployment target adds."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import checks, gate
from pytest_torchscript.result import CheckResult, Status, Verdict
from pytest_torchscript.spec import GateSpec, parse_arguments

from .checks.alone import NOT_ASKED, cell

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
FLOPS = 2 * 2 * 6 * 4 * 8
"""Of a linear layer from 4 to 8 at X: a product and a sum for each of 2 x 6 rows."""


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Linear(4, 2), nn.Linear(4, 200)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.small(x), self.large(x)


def budgeted(model: nn.Module, inputs: Any, **arguments: Any) -> CheckResult:
    """The result of the target's check; of the others, ``eager`` alone runs."""
    skip = {check.name: NOT_ASKED for check in checks.ALL if check.name != "eager"}
    return cell(model, inputs, skip=skip, **arguments).check("target")


def test_without_a_budget_there_is_nothing_to_check() -> None:
    """The reason says what would make it a check."""
    result = budgeted(nn.Linear(4, 8), (X,))
    assert (result.status, result.reason) == (
        Status.SKIPPED,
        "the torchscript target adds nothing without max_flops",
    )


@pytest.mark.parametrize("budget", [FLOPS, FLOPS * 10])
def test_a_call_within_the_budget_passes_with_its_figures(budget: int) -> None:
    """The budget itself is still within."""
    result = budgeted(nn.Linear(4, 8), (X,), max_flops=budget)
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics == {"flops": FLOPS, "max_flops": budget}


def test_a_call_beyond_the_budget_fails_with_its_figures() -> None:
    """How many, how far beyond, against which budget."""
    result = budgeted(nn.Linear(4, 8), (X,), max_flops=FLOPS / 2)
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert finding.message.startswith("one call takes 768 floating-point operations, 2.00 times the budget of 384")
    assert finding.hint == "make the model cheaper at this size, or raise max_flops knowingly"
    assert finding.details == {"flops": FLOPS, "max_flops": FLOPS / 2}
    assert result.metrics == {"flops": FLOPS, "max_flops": FLOPS / 2}


def test_the_dearest_module_is_named() -> None:
    """That is where to save."""
    (finding,) = budgeted(Heads(), (X,), max_flops=1).findings
    assert "most in Heads.large (19,200)" in finding.message


def test_the_dearest_is_a_part_that_the_model_names() -> None:
    """Not one of that one's parts, which may cost as much."""
    wrapped: nn.Module = nn.Linear(4, 8)
    for _ in range(8):
        wrapped = nn.Sequential(wrapped)
    (finding,) = budgeted(nn.Sequential(wrapped), (X,), max_flops=1).findings
    assert "most in Sequential.0 (768)" in finding.message


def test_the_budget_holds_at_the_traced_size() -> None:
    """A longer cell costs more."""
    spec = {"max_flops": FLOPS}
    assert cell(nn.Linear(4, 8), (X,), **spec).verdict == "ok"
    assert cell(nn.Linear(4, 8), (X,), seq_len=12, **spec).verdict == "TargetFailure"


def test_a_budget_is_judged_without_weights() -> None:
    """Operations are counted on the meta device."""
    result = cell(nn.Linear(4, 8), (X,), max_flops=1, weights="meta").check("target")
    assert result.metrics["flops"] == FLOPS


def test_a_call_that_cannot_be_counted_fails() -> None:
    """Without weights, what looks at values does not run."""

    class Looking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    result = cell(Looking(), (X,), max_flops=1, weights="meta").check("target")
    assert result.verdict is Verdict.TARGET_FAILURE
    assert "meta" in result.findings[0].message


def test_a_call_that_cannot_be_counted_fails_no_budget_where_there_is_none() -> None:
    """Several lengths are counted for their plan alone."""

    class Looking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    spec = GateSpec.merge(parse_arguments((), {"seq_len": (4, 6), "weights": "meta"}))
    model = Looking()
    result = gate.judge(gate.Subject(model=model, call=gate.call_of(model, (X,))), spec, id="several")
    assert [entry.check("target").findings for entry in result.cells] == [(), ()]


def test_counting_leaves_the_model_alone() -> None:
    """No hook stays behind."""
    model = nn.Linear(4, 8)
    budgeted(model, (X,), max_flops=FLOPS)
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_counting_is_silent() -> None:
    """What a model warns of was heard when it was traced; a suite that turns warnings into errors counts too."""

    class Deprecated(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            warnings.warn("this model is deprecated", DeprecationWarning, stacklevel=1)
            return super().forward(x)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = budgeted(Deprecated(4, 8), (X,), max_flops=FLOPS)
    assert (result.status, result.metrics["flops"]) == (Status.PASSED, FLOPS)


def test_a_failed_eager_skips_it() -> None:
    """What does not run cannot be counted."""

    class Raising(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no")

    assert cell(Raising(), (X,), max_flops=1).check("target").reason == "eager failed"


class Attending(nn.Module):
    """Two products of 6 x 4 by 4 x 6 and 6 x 6 by 6 x 4, whichever kernel computes them."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x)


def test_fused_attention_is_counted() -> None:
    """As the products it is made of: on the CPU torch's counter takes the fused kernel for nothing."""
    result = budgeted(Attending(), (X,), max_flops=1e9)
    assert result.metrics["flops"] == 2 * (2 * 2 * 6 * 6 * 4)


def test_the_fast_path_of_encoders_is_counted() -> None:
    """Another fused kernel; afterwards it is as fast as before."""
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    per_row = 2 * (4 * 12 + 4 * 4 + 2 * 4 * 8)
    result = budgeted(layer, (X,), max_flops=1e9)
    assert result.metrics["flops"] == 12 * per_row + 2 * (2 * 2 * 6 * 6 * 4)
    assert torch.backends.mha.get_fastpath_enabled()
