"""The rule about integers beyond 32 bits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from .cases import (
    Doubled,
    X,
    lint,
    outcomes,
    reasons,
)


class TableRead(nn.Module):
    """A lookup of integers, and a constant beyond 32 bits where that is asked for."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(24))
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.table[:8] * self.factor).float()


@pytest.mark.parametrize(
    ("how", "reason"), [({"weights": "meta"}, "meta weights"), ({"skip": {"trace": "no"}}, "no trace was made")]
)
def test_integers_that_cannot_be_read_are_not_judged(how: dict[str, object], reason: str) -> None:
    """What a buffer holds is unknown then; floats alone leave nothing unknown, and a constant is known."""
    assert outcomes(TableRead(3), X, **how)["int64-range"] == reason
    assert outcomes(Doubled(), X, **how)["int64-range"] == "ok"
    result = lint(TableRead(2**33), X, **how)
    assert result.metrics["rules"]["int64-range"] == "warn"
    assert reasons(result)["int64-range"] == reason


def test_integers_of_inputs_and_outputs_are_not_judged_unread() -> None:
    """On the meta device an input holds nothing; without an eager run no output is known."""

    class Counted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x > 0).sum(1)

    class Halved(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 2

    ids = torch.arange(12).reshape(2, 6)
    assert outcomes(Halved(), ids, weights="meta")["int64-range"] == "meta weights"
    assert outcomes(Halved(), ids)["int64-range"] == "ok"
    assert outcomes(Counted(), X, skip={"eager": "not today"})["int64-range"] == "not today"
    assert outcomes(Doubled(), X, skip={"eager": "not today"})["int64-range"] == "ok"
