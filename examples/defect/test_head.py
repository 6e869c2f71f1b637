"""One seeded defect: the head works and traces, and the trace is right at the traced length only."""

from __future__ import annotations

import pytest
import torch
from torch import nn


class MeanPoolingHead(nn.Module):
    """Scores a text from the mean of its token vectors."""

    def __init__(self, width: int = 32, classes: int = 3) -> None:
        super().__init__()
        self.score = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = x.sum(1) / int(x.shape[1])
        return self.score(pooled)


@pytest.mark.torchscript
def test_head() -> None:
    torch.manual_seed(0)
    head = MeanPoolingHead()
    assert head(torch.randn(2, 16, 32)).shape == (2, 3)
