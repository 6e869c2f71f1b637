"""Models for which too many probes would be slow: few sizes tell all."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn


class Groups(nn.Module):
    """Group norms of 32 groups, as in BiT."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 64, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(32, 64) for _ in range(4))
        self.convs = nn.ModuleList(nn.Conv2d(64, 64, 3, padding=1) for _ in range(4))

    def forward(self, image):
        x = self.first(image)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = x + conv(F.relu(norm(x)))
        return x.mean((2, 3))


@pytest.mark.torchscript(id="group-norm")
def test_group_norm():
    """Plain torch: right at every batch size; one forward of 1x3x64x64 is some 10 ms.
    Right: ok, with batches of 2 to 4 only."""
    torch.manual_seed(0)
    Groups()(torch.randn(1, 3, 64, 64))


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, mask):
        q, k, v = self.mix(self.norm(x)).unflatten(-1, (3, 8, -1)).permute(2, 0, 3, 1, 4)
        x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        return x + self.down(F.silu(self.up(x)))


class Large(nn.Module):
    """A decoder of 32 layers of width 4096, on the meta device."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(32000, 4096)
        self.layers = nn.ModuleList(Layer(4096) for _ in range(32))

    def forward(self, input_ids):
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        mask = positions[None, :] <= positions[:, None]
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x, mask)
        return x


def large():
    with torch.device("meta"):
        return Large()


@pytest.mark.torchscript(id="meta-large", model=large, inputs=(torch.randint(0, 32000, (1, 16)),), weights="meta")
def test_meta_large():
    """Plain torch: one trace on meta takes a fraction of a second.
    Right: ok with one other size for each dim and one for both: another size that gives the same program is enough."""
