"""One model and one fault: the findings are the same from seed to seed."""

import pytest
import torch
from torch import nn


class Branch(nn.Module):
    def forward(self, x):
        if x.mean() > 0:  # guilty
            return x + 1
        return x - 1


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.torchscript(id=f"branch-{seed}")) for seed in range(12)])
def test_branch(seed):
    """Plain torch: the trace takes one side for ever, at every size alike; no size is baked.
    Right: the same dims and the same failed checks for all twelve."""
    torch.manual_seed(seed)
    Branch()(torch.randn(2, 16, 8))
