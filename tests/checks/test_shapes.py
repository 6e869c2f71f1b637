"""The check ``shapes``: the shape contract on a grid of other sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.result import CheckResult, Status, Verdict

from .alone import alone, cell, guilty, place


def x(batch: int = 2, length: int = 16) -> Tensor:
    return torch.randn(batch, length, 4, generator=torch.Generator().manual_seed(0))


class Generic(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.reshape(x.shape[0], -1, 2) / x.shape[1]).sum(1)


class BakedLength(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled = x.sum(1) / int(x.shape[1])  # guilty
        return x, pooled


class BakedReshape(nn.Module):
    """Refuses every other length, loudly."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], int(x.shape[1]) * 4)  # guilty


class BakedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum() / int(x.shape[0]) + x  # guilty


class LongOnly(nn.Module):
    """Another way beyond a length that no grid would reach."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 500:  # guilty
            return x * 2
        return x


class Even(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % 64 == 0:  # guilty
            return x * 2
        return x


class Loop(nn.Module):
    """Unrolled: right at the traced length, silently short for longer inputs."""

    def forward(self, x: Tensor) -> Tensor:
        total = x[:, 0]
        for step in range(1, x.shape[1]):  # guilty
            total = total + x[:, step]
        return total


class FixedTable(nn.Module):
    """Mixes sixteen positions, whatever the program."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mixing(x.transpose(1, 2))
        return mixed * torch.ones(4, 1)


class Together(nn.Module):
    """Right when one size changes, wrong when both do."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + int(x.shape[0] != 2) * int(x.shape[1] != 16))  # guilty


class Collected(nn.Module):
    """Partly refused: at most the traced length."""

    def forward(self, x: Tensor) -> Tensor:
        table = torch.ones(1, int(x.shape[1]), 4)
        return x + table[:, : x.shape[1]]


def probes(result: CheckResult, dim: str) -> dict[str, str]:
    return result.metrics["dims"][dim]["probes"]  # type: ignore[no-any-return]


# The contract


@pytest.mark.parametrize("rule", ["safe", "dynamic"])
def test_a_generic_model_is_dynamic(rule: str) -> None:
    """Every probe is equal, and the figures show which there were."""
    found = cell(Generic(), (x(),), shapes=rule)
    result = found.check("shapes")
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert found.dims == {"batch": "dynamic", "seq": "dynamic"}
    assert set(probes(result, "seq").values()) == {"equal"}
    assert set(probes(result, "seq")) == {"7", "33"}
    assert result.metrics["dims"]["seq"]["traced"] == 16


def test_a_baked_size_is_silently_wrong() -> None:
    """The traced size, the wrong ones, by how much, which output, and the line."""
    found = cell(BakedLength(), (x(),))
    result = found.check("shapes")
    assert result.verdict is Verdict.SHAPE_SPECIALISED
    assert found.dims == {"batch": "dynamic", "seq": "unsafe"}
    finding = result.findings[0]
    assert finding.message.startswith("seq is silently wrong: traced at 16, output '[1]' is off at ")
    assert "batch is dynamic (1, 5)" in finding.message
    assert (finding.path, {place(finding)}) == ("[1]", guilty(BakedLength))
    assert finding.details["dim"] == "seq"
    assert finding.details["max_abs"] > finding.details["allowed"]
    assert finding.details["probes"]["7"] == finding.details["probes"]["33"] == "wrong"
    assert "as 16" in finding.details["cause"]
    assert "x.shape" in str(finding.hint)


def test_a_baked_batch_is_silently_wrong_too() -> None:
    """The batch is a dim like any other."""
    found = cell(BakedBatch(), (x(),))
    assert found.verdict == "ShapeSpecialised"
    assert found.dims["batch"] == "unsafe"
    assert place(found.check("shapes").findings[0]) in guilty(BakedBatch)


def test_a_loud_refusal_is_safe() -> None:
    """A fixed dim passes the default contract."""
    found = cell(BakedReshape(), (x(),))
    assert found.check("shapes").status is Status.PASSED
    assert found.dims == {"batch": "dynamic", "seq": "fixed"}
    assert set(probes(found.check("shapes"), "seq").values()) == {"raises"}


def test_a_refusal_fails_where_dynamic_was_asked() -> None:
    """With what the program said and the line that baked the size."""
    result = alone("shapes", BakedReshape(), (x(),), shapes={"seq": "dynamic"})
    assert result.verdict is Verdict.SHAPE_SPECIALISED
    finding = result.findings[0]
    assert finding.message.startswith("seq is fixed, declared dynamic: traced at 16, the trace refuses ")
    assert "is invalid for input of size" in finding.message
    assert {place(finding)} == guilty(BakedReshape)


def test_a_fixed_dim_is_what_fixed_asks_for() -> None:
    """All probes raise; the other dims keep the default."""
    assert alone("shapes", BakedReshape(), (x(),), shapes={"seq": "fixed"}).status is Status.PASSED


def test_a_dynamic_dim_fails_where_fixed_was_asked() -> None:
    """The declaration is wrong, and the remedy says what to declare."""
    result = alone("shapes", Generic(), (x(),), shapes={"seq": "fixed"})
    assert result.verdict is Verdict.SHAPE_SPECIALISED
    finding = result.findings[0]
    assert finding.message.startswith("seq is dynamic, declared fixed: traced at 16, the trace accepts ")
    assert 'shapes={"seq": "dynamic"}' in str(finding.hint)


def test_fixed_for_all_is_asked_of_every_dim() -> None:
    """A default rule holds for each dim of its own."""
    messages = [finding.message for finding in alone("shapes", Generic(), (x(),), shapes="fixed").findings]
    assert [message.split()[0] for message in messages] == ["batch", "seq"]


def test_a_wrong_answer_is_never_what_was_asked_for() -> None:
    """Under fixed, a silently wrong answer is not a refusal."""
    result = alone("shapes", BakedLength(), (x(),), shapes={"seq": "fixed"})
    assert "silently wrong" in result.findings[0].message


def test_a_dim_that_is_partly_refused_is_partial() -> None:
    """Safe, but not dynamic."""
    found = cell(Collected(), (x(),))
    assert found.dims["seq"] == "partial"
    assert found.verdict == "ok"
    assert alone("shapes", Collected(), (x(),), shapes="dynamic").verdict is Verdict.SHAPE_SPECIALISED


def test_a_model_that_takes_one_size_alone_is_untested() -> None:
    """Eager refuses every probe: that is the model's domain, no failure, and shown as such."""
    found = cell(FixedTable(), (x(),))
    assert found.dims == {"batch": "dynamic", "seq": "untested"}
    (note,) = found.check("shapes").findings
    assert note.message.startswith("seq is untested: eager refused 7, 8, ")
    assert set(probes(found.check("shapes"), "seq").values()) == {"outside"}


# What the grid alone would miss


@pytest.mark.parametrize(("model", "size"), [(LongOnly(), "501"), (Even(), "64")], ids=["threshold", "multiple"])
def test_a_size_that_the_forward_asks_for_is_probed(model: nn.Module, size: str) -> None:
    """Sizes on the other side of every number that a size is compared with or divided by."""
    result = alone("shapes", model, (x(),))
    assert result.verdict is Verdict.SHAPE_SPECIALISED
    assert probes(result, "seq")[size] == "wrong"
    assert place(result.findings[0]) in guilty(type(model))


def test_an_unrolled_loop_is_found() -> None:
    """It refuses shorter inputs, and drops the end of longer ones silently."""
    result = alone("shapes", Loop(), (x(),))
    assert result.verdict is Verdict.SHAPE_SPECIALISED
    assert probes(result, "seq")["33"] == "wrong"
    assert place(result.findings[0]) in guilty(Loop)


def test_two_sizes_can_be_wrong_together() -> None:
    """Each alone is right; the finding says that it is the combination."""
    result = alone("shapes", Together(), (x(),))
    assert result.verdict is Verdict.SHAPE_SPECIALISED
    finding = result.findings[0]
    assert "together" in finding.message
    assert place(finding) in guilty(Together)


def test_repeated_rows_hide_nothing() -> None:
    """Larger batches are filled with fresh values once other values have passed: a mixed-up row is seen."""

    class FirstTwo(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[[0, 1]].repeat(x.shape[0] // 2 + 1, 1, 1)[: x.shape[0]] if torch.jit.is_tracing() else x

    assert cell(FirstTwo(), (x(),)).dims["batch"] == "unsafe"


def test_a_value_that_the_marker_excuses_is_not_blamed_on_a_size() -> None:
    """Fresh values at other sizes are fair only where other values have passed."""

    class FirstValue(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x[0, 0, 0].item()

    found = cell(FirstValue(), (x(),), skip={"values": "the first value is a constant in production"})
    assert found.verdict == "ok"
    assert found.dims == {"batch": "dynamic", "seq": "dynamic"}
    assert cell(FirstValue(), (x(),)).verdict == "ValueSpecialised"


class SelectsByNumpy(nn.Module):
    """What is taken out with numpy is a constant of the trace: other values, and with them other sizes, are wrong."""

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.from_numpy(x.detach().numpy().sum((0, 1)))  # guilty
        return x + bias


def test_a_dim_that_is_wrong_by_the_line_of_values_is_untested() -> None:
    """One factor, one verdict: other sizes have other values, and a line that bakes values says nothing about sizes."""
    judged = cell(SelectsByNumpy(), (torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)),))
    assert judged.check("values").verdict is Verdict.VALUE_SPECIALISED
    assert judged.check("shapes").status is Status.PASSED
    assert set(judged.dims.values()) == {"untested"}
    assert "unsafe" not in {axis.state for axes in judged.axes.values() for axis in axes.values()}


def test_fresh_values_that_eager_refuses_do_not_hide_a_size() -> None:
    """The observed values, repeated, have its approval."""

    class Known(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not torch.jit.is_tracing() and float(x.abs().max()) > 2:
                raise ValueError("no such value")
            return x.sum(1) / int(x.shape[1])

    ones = torch.ones(2, 16, 4)
    ones[0, 0, 0] = 2.0
    found = cell(Known(), (ones,))
    assert found.check("values").status is Status.PASSED
    assert found.dims["seq"] == "unsafe"


def test_a_length_without_limit_is_no_crash() -> None:
    """A maximum of infinity is a common default, and no size to probe at."""

    class Unlimited(nn.Module):
        longest = math.inf

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] > self.longest:
                x = x[:, :8]
            return x * 2

    assert alone("shapes", Unlimited(), (x(),)).status is Status.PASSED


# Dims


def test_declared_dims_are_probed_by_their_names() -> None:
    """Any name, any axis; nothing else varies."""
    found = cell(Generic(), (x(),), dims={"x": {1: "frames"}})
    assert found.dims == {"frames": "dynamic"}


def test_a_contract_for_a_dim_that_is_not_there_fails() -> None:
    """A misspelt dim would otherwise be a contract that nobody keeps."""
    result = alone("shapes", Generic(), (x(),), shapes={"sequence": "dynamic"})
    assert result.verdict is Verdict.SHAPE_SPECIALISED
    assert "shapes names a dim that the inputs do not have: sequence; there are batch, seq" in result.findings[0].message


def test_inputs_without_a_dim_are_skipped_with_a_reason() -> None:
    """A scalar has no axis."""
    result = alone("shapes", Scalar(), (torch.tensor(2.0),))
    assert (result.status, result.reason) == (
        Status.SKIPPED,
        "no axis of the inputs is known to vary: declare dims=",
    )


class Scalar(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def test_a_mask_by_another_name_stays_a_mask_at_other_sizes() -> None:
    """What ``mask=`` names is padded at the end wherever it is probed, without the holes that repeating makes."""
    seen: list[Tensor] = []

    class Kept(nn.Module):
        def forward(self, x: Tensor, keep: Tensor) -> Tensor:
            seen.append(keep.clone())
            return x * keep[..., None]

    keep = (torch.arange(16)[None] < torch.tensor([16, 11])[:, None]).long()
    assert cell(Kept(), {"x": x(), "keep": keep}, mask="keep").verdict == "ok"
    assert any(mask.shape[1] > 16 for mask in seen)
    at_end, at_start = ([bool((mask.diff() * sign <= 0).all()) for mask in seen] for sign in (1, -1))
    assert all(a or b for a, b in zip(at_end, at_start, strict=True))


def test_another_shape_is_told_in_its_own_words() -> None:
    """There is no amount by which a shape is off."""

    class Wide(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.new_zeros(x.shape[0], int(x.shape[1]))

    (finding, *_) = alone("shapes", Wide(), (x(),)).findings
    assert "the output at 33 has shape (2, 16) instead of (2, 33) and at 7 (shape (2, 16) instead of (2, 7))" in finding.message
    assert finding.details["kind"] == "shape"


def test_every_wrong_leaf_is_told_once() -> None:
    """With all the sizes at which it is wrong."""

    class Two(nn.Module):
        def forward(self, x: Tensor) -> Any:
            n = int(x.shape[1])
            return x.sum(1) / n, x, x.sum(1) * n

    result = alone("shapes", Two(), (x(),))
    assert [finding.path for finding in result.findings if finding.path] == ["[0]", "[2]"]
    assert all(" and at " in finding.message for finding in result.findings[:2])


# Without weights


def test_structure_is_enough_to_find_a_baked_size() -> None:
    """On meta weights two traces are compared: the program must be the same."""
    found = cell(BakedLength(), (x(),), weights="meta")
    assert found.verdict == "ShapeSpecialised"
    assert found.dims == {"batch": "dynamic", "seq": "unsafe"}
    assert place(found.check("shapes").findings[0]) in guilty(BakedLength)


def test_structure_is_enough_to_pass_a_generic_model() -> None:
    """No number is looked at, and none is needed."""
    found = cell(nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8)), (x(),), weights="meta")
    assert found.verdict == "ok"
    assert found.dims == {"batch": "dynamic", "seq": "dynamic"}


class ByBroadcast(nn.Module):
    """Right everywhere; a batch of one is traced as another program."""

    def forward(self, x: Tensor) -> Tensor:
        scale = x.new_ones(1, 1, 1) if x.shape[0] == 1 else x.new_ones(x.shape[0], 1, 1)
        return x * scale


def test_without_weights_a_size_of_one_is_not_asked() -> None:
    """There, a program that is another one may be as right, and no numbers tell."""
    found = cell(ByBroadcast(), (x(),), weights="meta")
    assert found.dims["batch"] == "dynamic"
    assert "1" not in found.check("shapes").metrics["dims"]["batch"]["probes"]
