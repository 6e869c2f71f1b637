"""The rule about shapes that vary."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .cases import (
    X,
    outcomes,
)
from .corpus import BREAKING


def test_shapes_are_not_judged_where_the_program_depends_on_values() -> None:
    """What varies then may follow from the branch that the check values names."""
    (case,) = (breaking.case for breaking in BREAKING if breaking.case.name == "cut_by_number")
    found = outcomes(case.build(), *case.inputs().values())
    assert (found["value-branch"], found["shape-varies"]) == ("fail", "values failed")


def test_shapes_are_not_judged_where_the_model_takes_no_other_values() -> None:
    """A model that refuses all but the observed input shows nothing."""

    class OnlyThis(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not torch.jit.is_tracing() and not torch.equal(x, X):
                raise ValueError("another input")
            return x * 2

    assert outcomes(OnlyThis(), X, skip={"values": "no"})["shape-varies"] == "the model takes no other values than these"
