"""The check ``eager``: the model itself, before any trace."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_torchscript.result import Status, Verdict

from .alone import alone, cell, cell_of, guilty, judged, place

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return {"logits": x * 2, "rest": (x.sum(), None)}


class Raising(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(7, 7)  # guilty


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5)  # guilty


class Remembering(nn.Module):
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.total += x.sum((0, 1))  # guilty
        return x + self.total


class Dividing(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        share = x / (x - x)  # guilty
        return x, share * 0


class OnlyOnce(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = [1.0]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.left.pop()  # guilty


def test_a_healthy_model_passes_and_shows_its_outputs() -> None:
    """Every leaf with its dtype and shape, so that a report can be compared with the next."""
    result = alone("eager", Plain(), (X,))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics["outputs"] == {
        "logits": "float32 (2, 6, 4)",
        "rest[0]": "float32 ()",
        "rest[1]": "NoneType",
    }


def test_a_model_that_raises_fails_with_the_error_and_its_line() -> None:
    """The root cause, the guilty line, a remedy."""
    result = alone("eager", Raising(), (X,))
    assert result.verdict is Verdict.EAGER_FAILURE
    (finding,) = result.findings
    assert finding.message == "RuntimeError: shape '[7, 7]' is invalid for input of size 48"
    assert (finding.where, {place(finding)}) == ("raised at", guilty(Raising))
    assert finding.hint is not None


def test_a_model_that_raises_the_second_time_fails() -> None:
    """It is called twice in a row."""
    result = alone("eager", OnlyOnce(), (X,))
    assert result.verdict is Verdict.EAGER_FAILURE
    assert {place(result.findings[0])} == guilty(OnlyOnce)


def test_a_random_model_fails_where_it_draws() -> None:
    """Two runs differ, by how much is said, and the operation that drew is named."""
    result = alone("eager", Noisy(), (X,))
    assert result.verdict is Verdict.NON_DETERMINISTIC
    finding = result.findings[0]
    assert "two runs on the same input differ" in finding.message
    assert "remembers" not in finding.message
    assert (finding.where, {place(finding)}) == ("first differs at", guilty(Noisy))
    assert finding.details["kind"] == "value"
    assert finding.details["max_abs"] > 0
    assert "eval mode" in str(finding.hint)


def test_a_model_that_remembers_is_told_from_a_random_one() -> None:
    """From the same state it answers alike: the line that writes the state is named."""
    result = alone("eager", Remembering(), (X,))
    assert result.verdict is Verdict.NON_DETERMINISTIC
    finding = result.findings[0]
    assert "because the model remembers the call before" in finding.message
    assert (finding.where, {place(finding)}) == ("state written at", guilty(Remembering))


def test_every_output_that_differs_is_a_finding() -> None:
    """The line and the remedy are told once."""

    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            noise = torch.rand(4)
            return x + noise, x, x - noise

    result = alone("eager", Two(), (X,))
    assert [finding.path for finding in result.findings] == ["[0]", "[2]"]
    assert [finding.hint is None for finding in result.findings] == [False, True]


def test_an_output_that_is_not_finite_fails_where_it_arose() -> None:
    """How many, where first, and the operation that made the first one."""
    result = alone("eager", Dividing(), (X,))
    assert result.verdict is Verdict.NON_FINITE
    (finding,) = result.findings
    assert finding.path == "[1]"
    assert finding.message == "output '[1]' holds NaN: 48 of 48 values, first at [0, 0, 0]"
    assert finding.details == {"nan": 48, "index": [0, 0, 0]}
    assert finding.hint is not None


def test_an_infinity_is_an_answer() -> None:
    """A masked logit is minus infinity on purpose, and the trace shares it."""

    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.masked_fill(x > 0, float("-inf"))

    found = cell(Masked(), (X,))
    assert found.check("eager").status is Status.PASSED
    assert found.verdict == "ok"


def test_a_complex_output_that_is_not_finite_has_a_finding() -> None:
    """A failure without a finding would say nothing."""

    class Complex(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.complex(x, x * float("nan"))

    result = alone("eager", Complex(), (X.abs() + 1,))
    assert result.verdict is Verdict.NON_FINITE
    assert result.findings


def test_a_sparse_output_that_is_not_finite_has_a_finding() -> None:
    """The layout of a tensor hides no NaN, and the place is that in the whole tensor."""

    class Sparse(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([torch.zeros_like(x[0, 0]), x[0, 0] * float("nan")]).to_sparse()

    (finding,) = alone("eager", Sparse(), (X,)).findings
    assert finding.details == {"nan": 4, "index": [1, 0]}


def test_a_model_in_training_mode_is_judged_in_eval_mode() -> None:
    """Dropout that knows its mode is no randomness."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    assert model.training
    assert alone("eager", model, (X,)).status is Status.PASSED
    assert model.training


def test_a_tolerance_holds_for_the_two_runs() -> None:
    """What the marker grants is granted here too."""

    class Jitter(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand(1) * 1e-3

    torch.manual_seed(0)
    assert alone("eager", Jitter(), (X,)).verdict is Verdict.NON_DETERMINISTIC
    assert alone("eager", Jitter(), (X,), atol=1e-2).status is Status.PASSED


def test_a_failure_of_eager_skips_what_follows() -> None:
    """Nothing is traced of a model that does not run."""
    found = cell(Raising(), (X,))
    assert found.verdict == "EagerFailure"
    for check in found.checks:
        if check.name != "eager":
            assert check.status is Status.SKIPPED, check.name
            assert "eager" in str(check.reason) or "trace" in str(check.reason), check.name


def test_eager_is_not_asked_of_meta_weights() -> None:
    """There are no numbers to look at."""
    result = cell(nn.Linear(4, 2), (X,), weights="meta").check("eager")
    assert (result.status, result.reason) == (Status.SKIPPED, "meta weights")


def test_nan_in_an_integer_output_cannot_be() -> None:
    """Integers, booleans and numbers are finite."""

    class Integers(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, float]:
            return x.argmax(-1), x > 0, math.pi

    assert alone("eager", Integers(), (X,)).status is Status.PASSED


def test_a_length_beyond_the_config_is_told_as_such() -> None:
    """The model's own error speaks of sizes that do not fit, which is no help."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=16,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=32,
    )
    found = cell(BertModel(config), {"input_ids": torch.ones(1, 8, dtype=torch.long)}, seq_len=64)
    (finding,) = found.check("eager").findings
    assert found.verdict == "EagerFailure"
    assert finding.message.endswith("(seq 64 is beyond the 32 positions of the model's config)")
    assert finding.hint == "gate it at 32 at most"


def test_the_first_run_looks_thoroughly() -> None:
    """A write that moves no version counter is found there, and looked for from then on."""

    class Sneaking(nn.Module):
        count: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.count.data.add_(1)
            return x * 2

    cell = cell_of(Sneaking(), (X,))
    judged(cell, "eager")
    cell.eager()
    assert float(cell.model.count) == 0  # type: ignore[arg-type]
