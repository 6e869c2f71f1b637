"""Healthy models whose sizes and values vary: the trace of plain torch is right at all that are named."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import logging
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import SizedCase, into, keys_values, normal, token_ids_below

VARYING: list[SizedCase] = []
varying = into(VARYING)
log = logging.getLogger(__name__)


class Attention(nn.Module):
    """Embeddings, and queries, keys and values of four heads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.qkv = nn.Linear(16, 48)
        self.o = nn.Linear(16, 16)

    def heads(self, x: Tensor) -> list[Tensor]:
        return [part.unflatten(-1, (4, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)]


# One size on axes of several inputs, or on several axes of one


@varying(lambda n: (normal(2, n, 8), normal(2, 4, n, n)), (6,), (4,), (9,), (1,))
class RightHeadBias(nn.Module):
    """A bias for each head and pair of positions."""

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q = x.unflatten(-1, (4, 2)).transpose(1, 2)
        s = q @ q.transpose(-1, -2) / math.sqrt(2) + bias
        return (s.softmax(-1) @ q).transpose(1, 2).flatten(2)


@varying(lambda n: (normal(2, n, 16), torch.rand(2, n, n)), (3,), (1,), (5,))
class Neighbours(nn.Module):
    """Nodes and the adjacency of each graph."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(16, 4)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        return adjacency @ self.mix(nodes) / nodes.shape[1]


@varying(lambda n: (torch.rand(2, n, n),), (5,), (3,), (8,))
class Laplacian(nn.Module):
    """One input with one size on two axes."""

    def forward(self, a: Tensor) -> Tensor:
        return torch.eye(a.shape[1]) - a / a.sum(-1).unsqueeze(-1)


@varying(lambda n: (normal(2, 3, n, n),), (12,), (6,), (24,))
class Squares(nn.Module):
    """Images that are square matrices."""

    def forward(self, image: Tensor) -> Tensor:
        return (image @ image).diagonal(dim1=2, dim2=3).sum(-1) / image.shape[3]


@varying(lambda n: (normal(2, n, n, 16),), (6,), (4,), (9,))
class Triangle(nn.Module):
    """A pair representation as in protein models."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(16, 4)
        self.b = nn.Linear(16, 4)

    def forward(self, z: Tensor) -> Tensor:
        return torch.einsum("bikc,bjkc->bijc", self.a(z), self.b(z)) / z.shape[1]


@varying(lambda n: (normal(n, 8), normal(n, 8)), (6,), (4,), (11,))
class InBatch(nn.Module):
    """Contrastive scores within the batch."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T).log_softmax(-1) - torch.eye(a.shape[0])


@varying(lambda n: (normal(2, n, 8), normal(2, n + 1)), (6,), (4,), (9,))
class RightPlusOne(nn.Module):
    """The second input has one position more than the first."""

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        x = torch.cat([x.mean(1, keepdim=True), x], 1)
        return (x * weights.unsqueeze(-1)).sum(1) / weights.shape[1]


@varying(lambda n, m: (normal(2, n, 8), normal(2, m, 8), normal(2, n, m)), (4, 6), (3, 6), (4, 9))
class RightCrossBias(nn.Module):
    """Two lengths, and a bias that has both."""

    def forward(self, q: Tensor, m: Tensor, bias: Tensor) -> Tensor:
        return (q @ m.transpose(1, 2) / math.sqrt(m.shape[-1]) + bias).softmax(-1) @ m


# Sizes that must be multiples of a number


@varying(lambda h, w: (torch.rand(1, 3, h, w),), (64, 64), (32, 64), (96, 32))
class Upsampled(nn.Module):
    """Multiples of 32, with a guard that the trace does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 32, 32)

    def forward(self, image: Tensor) -> Tensor:
        if not torch.jit.is_tracing() and (image.shape[-2] % 32 or image.shape[-1] % 32):
            raise ValueError("multiples of 32")
        return F.interpolate(self.down(image), size=image.shape[-2:])


@varying(lambda h, w: (torch.rand(1, 3, h, w),), (64, 64), (32, 64), (96, 32))
class AssertedMultiples(nn.Module):
    """Multiples of 32, asserted."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 32, 32)

    def forward(self, image: Tensor) -> Tensor:
        assert (image.shape[-2] % 32, image.shape[-1] % 32) == (0, 0)
        return F.interpolate(self.down(image), scale_factor=32.0)


@varying(lambda n: (normal(2, 4, n),), (64,), (32,), (96,))
class Frames(nn.Module):
    """Frames of 16 samples on the last axis."""

    def forward(self, sound: Tensor) -> Tensor:
        b, c, s = sound.shape
        return sound.reshape(b, c, -1, 16).square().sum(-1) / (s // 16)


# Height and width of one area


@varying(lambda h, w: (normal(2, 3, h, w),), (16, 16), (8, 16), (8, 32), (32, 8))
class PatchesResized(nn.Module):
    """Patches, and positions resized to them."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.position = nn.Parameter(torch.randn(1, 8, 4, 4))

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch(image)
        p = F.interpolate(self.position, size=x.shape[2:], mode="bilinear")
        return (x + p).flatten(2).transpose(1, 2)


# Caches of keys and values


@varying(lambda p, b=2: (token_ids_below(b, 1), *keys_values(b, 4, p, 4)), (5,), (3,), (9,), (5, 3))
class RightCacheBHPW(Attention):
    """Keys and values (batch, heads, past, width)."""

    def forward(self, input_ids: Tensor, past_key: Tensor, past_value: Tensor) -> Any:
        q, k, v = self.heads(self.embed(input_ids))
        k, v = (torch.cat([past_key, k], 2), torch.cat([past_value, v], 2))
        return (F.scaled_dot_product_attention(q, k, v), k, v)


@varying(lambda p: (token_ids_below(2, 1), (keys_values(2, 4, p, 4), keys_values(2, 4, p, 4))), (5,), (3,), (9,))
class RightCacheNested(Attention):
    """Keys and values of two layers, nested; positions after the past."""

    def __init__(self) -> None:
        super().__init__()
        self.pos = nn.Embedding(64, 16)

    def forward(self, input_ids: Tensor, past_key_values: Any) -> Any:
        past = past_key_values[0][0].shape[2]
        x = self.embed(input_ids) + self.pos(torch.arange(past, past + 1))
        new = []
        for key, value in past_key_values:
            q, k, v = self.heads(x)
            k, v = (torch.cat([key, k], 2), torch.cat([value, v], 2))
            new.append((k, v))
            x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return (x, tuple(new))


@varying(
    lambda p: {
        "input_ids": token_ids_below(2, 1),
        "attention_mask": torch.ones(2, p + 1, dtype=torch.long),
        "past": keys_values(2, 4, p, 4),
    },
    (5,),
    (3,),
    (9,),
)
class RightCacheWithMask(Attention):
    """A mask that covers the past and the new token."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, past: Any) -> Tensor:
        q, k, v = self.heads(self.embed(input_ids))
        k, v = (torch.cat([past[0], k], 2), torch.cat([past[1], v], 2))
        return (q @ k.transpose(2, 3) + (1.0 - attention_mask[:, None, None, :].float()) * -1000000000.0).softmax(-1) @ v


# States of recurrent networks


@varying(lambda b, n: (normal(b, n, 8), normal(2, b, 16), normal(2, b, 16)), (3, 5), (1, 5), (3, 9))
class RightLstmState(nn.Module):
    """An LSTM of two layers with its states."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 16, 2, batch_first=True)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Any:
        y, (h, c) = self.rnn(x, (h, c))
        return (y, h, c)


@varying(lambda b, n: (normal(b, n, 8), (normal(2, b, 16), normal(2, b, 16))), (2, 5), (1, 5), (3, 9))
class LstmStateTupleAmbiguous(nn.Module):
    """Batch 2 and layers 2."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 16, 2, batch_first=True)

    def forward(self, x: Tensor, state: Any) -> Any:
        return self.rnn(x, state)


@varying(lambda b, n: (normal(n, b, 8), normal(1, b, 16)), (3, 5), (1, 5), (3, 9))
class RightGruSequenceFirst(nn.Module):
    """A GRU with the sequence first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 16)

    def forward(self, x: Tensor, h: Tensor) -> Any:
        return self.rnn(x, h)


@varying(lambda b: (normal(b, 8), normal(b, 16), normal(b, 16)), (3,), (1,), (5,))
class LstmCell(nn.Module):
    """An LSTM cell with its states."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(8, 16)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Any:
        return self.cell(x, (h, c))


# Axes in other places


@varying(lambda n, b: (normal(n, b, 8), torch.zeros(b, n, dtype=torch.bool)), (9, 2), (4, 2), (12, 3))
class SequenceFirstAttention(nn.Module):
    """Attention with the sequence first and a padding mask with the batch first."""

    def __init__(self) -> None:
        super().__init__()
        self.att = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor, key_padding_mask: Tensor) -> Tensor:
        return self.att(x, x, x, key_padding_mask=key_padding_mask, need_weights=False)[0]


@varying(lambda t, n: (normal(1, 3, t, n, n),), (6, 8), (4, 8), (10, 12))
class RightVideo(nn.Module):
    """Videos (batch, channels, frames, height, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv3d(3, 4, 3, padding=1)

    def forward(self, v: Tensor) -> Tensor:
        return self.c(v).mean((2, 3, 4))


@varying(lambda b, t: (normal(b, t, 3, 8, 8),), (1, 6), (2, 4), (1, 10))
class RightVideoFramesFirst(nn.Module):
    """Videos with the frames before the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, v: Tensor) -> Tensor:
        b, t = v.shape[:2]
        return self.c(v.flatten(0, 1)).mean((2, 3)).reshape(b, t, 4).mean(1)


@varying(lambda n, m: (normal(1, 3, n, n), normal(1, 3, m, m)), (16, 8), (12, 8), (16, 12))
class RightTemplateSearch(nn.Module):
    """Two images of different sizes."""

    def forward(self, search: Tensor, template: Tensor) -> Tensor:
        return F.conv2d(search, template) / template[0, 0].numel() ** 1


@varying(lambda d: (normal(1, 2, d, 6, 7),), (6,), (4,), (9,))
class RightVolume(nn.Module):
    """Volumes through pooling and interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv3d(2, 4, 3, padding=1)
        self.n = nn.InstanceNorm3d(4)

    def forward(self, v: Tensor) -> Tensor:
        return F.interpolate(F.max_pool3d(self.n(self.c(v)), 2), scale_factor=2.0)


@varying(lambda b: (normal(8, 6, b),), (3,), (1,), (5,))
class RightBatchLast(nn.Module):
    """The batch on the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1) - x.mean(1).mean(-1, keepdim=True)


@varying(lambda n: (normal(n, 3),), (20,), (10,), (33,))
class RightPointCloud(nn.Module):
    """Points without a batch."""

    def forward(self, p: Tensor) -> Tensor:
        return torch.cdist(p, p).topk(3, largest=False).values.mean(-1)


# Graphs as lists of edges


@varying(lambda n, e: (normal(n, 8), torch.randint(0, n, (2, e))), (5, 7), (3, 7), (9, 4))
class EdgeList(nn.Module):
    """A graph as a list of edges."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(8, 8)

    def forward(self, nodes: Tensor, edge_index: Tensor) -> Tensor:
        src, dst = edge_index
        out = torch.zeros_like(nodes).index_add(0, dst, self.lin(nodes)[src])
        deg = torch.zeros(nodes.shape[0]).index_add(0, dst, torch.ones(edge_index.shape[1])).clamp(min=1)
        return out / deg[:, None]


# Masks


@varying(lambda n: (normal(2, n, 8), torch.ones(2, 1, n, n, dtype=torch.bool).tril()), (6,), (4,), (9,))
class RightMaskFourAxes(nn.Module):
    """A mask (batch, 1, length, length)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], attn_mask=mask)[:, 0]


@varying(lambda n: (normal(n, 2, 8), torch.ones(n, n).tril().log()), (6,), (4,), (9,))
class RightMaskAdditive(nn.Module):
    """An additive mask (length, length) of minus infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.att = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.att(x, x, x, attn_mask=mask)[0]


# Attention


@varying(lambda n: (normal(2, n, 8),), (6,), (4,), (9,))
class SdpaCausal(nn.Module):
    """Causal attention by torch."""

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)


# Tokens


@varying(
    lambda n: {"input_ids": token_ids_below(2, n), "attention_mask": torch.ones(2, n, dtype=torch.long)}, (8,), (5,), (13,)
)
class TokenClassifier(nn.Module):
    """Positions, attention with a mask, and a masked mean."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 16)
        self.p = nn.Embedding(128, 16)
        self.l = nn.Linear(16, 16)
        self.h = nn.Linear(16, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.e(input_ids) + self.p(torch.arange(input_ids.shape[1]))
        m = attention_mask[:, None, :] == 0
        x = x + (self.l(x) @ x.mT / 4).masked_fill(m, -1000000000.0).softmax(-1) @ x
        w = attention_mask.unsqueeze(-1).float()
        return self.h((x * w).sum(1) / w.sum(1).clamp(min=1))


@varying(
    lambda n: {"input_ids": token_ids_below(2, n), "attention_mask": torch.ones(2, n, dtype=torch.long)}, (8,), (5,), (13,)
)
class LastToken(nn.Module):
    """The state at the last token of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 16)
        self.rnn = nn.GRU(16, 16, batch_first=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        y, _ = self.rnn(self.e(input_ids))
        last = attention_mask.sum(1).clamp(min=1) - 1
        return y[torch.arange(y.shape[0]), last]


# Values that do not matter


@varying(lambda n: (normal(2, n, 8),), (6,), (4,), (9,))
class ItemLogged(nn.Module):
    """Values that are only logged."""

    def forward(self, x: Tensor) -> Tensor:
        log.debug("mean %.3f max %.3f", x.mean().item(), float(x.max()))
        return x.softmax(-1)


@varying(lambda n: (normal(2, n, 8),), (6,), (4,), (9,))
class ItemAsserted(nn.Module):
    """Values that are only asserted."""

    def forward(self, x: Tensor) -> Tensor:
        assert torch.isfinite(x).all(), "not finite"
        assert x.abs().max().item() < 1e6
        return x.tanh()


@varying(lambda n: (token_ids_below(2, n),), (6,), (4,), (9,))
class RangeAsserted(nn.Module):
    """Tokens beyond the vocabulary are refused."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, input_ids: Tensor) -> Tensor:
        if input_ids.min() < 0 or int(input_ids.max()) >= 50:
            raise ValueError("token out of the vocabulary")
        return self.e(input_ids).amax(1)


@varying(lambda n: (normal(2, n, 8), torch.tensor(0.5)), (6,), (4,), (9,))
class ScalarTensor(nn.Module):
    """A scalar tensor that stays one."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x * t.exp()


# Convolutions


@varying(lambda h, w: (normal(2, 3, h, w),), (32, 32), (24, 40), (64, 32))
class ResNetTiny(nn.Module):
    """A residual network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.a = nn.Sequential(
            nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(x + self.a(x))
        return self.fc(self.pool(x).flatten(1))


@varying(lambda h, w: (normal(1, 3, h, w),), (32, 32), (24, 40), (64, 33))
class Fpn(nn.Module):
    """A pyramid of features, with outputs in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.ModuleList(nn.Conv2d(3 if i == 0 else 8, 8, 3, 2, 1) for i in range(3))
        self.l = nn.ModuleList(nn.Conv2d(8, 4, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Any:
        f = []
        for c in self.c:
            x = c(x).relu()
            f.append(x)
        y = self.l[2](f[2])
        out = [y]
        for i in (1, 0):
            y = self.l[i](f[i]) + F.interpolate(y, size=f[i].shape[-2:])
            out.append(y)
        return out


@varying(lambda h, w: (normal(1, 3, h, w),), (32, 32), (16, 48), (64, 32))
class UNet(nn.Module):
    """A U-Net that takes multiples of two."""

    def __init__(self) -> None:
        super().__init__()
        self.d1 = nn.Conv2d(3, 8, 3, padding=1)
        self.d2 = nn.Conv2d(8, 16, 3, padding=1)
        self.u = nn.ConvTranspose2d(16, 8, 2, 2)
        self.o = nn.Conv2d(16, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.d1(x).relu()
        b = self.d2(F.max_pool2d(a, 2)).relu()
        return self.o(torch.cat([a, self.u(b)], 1))


@varying(lambda b, h: (normal(b, 8, h, h),), (2, 8), (1, 8), (3, 12))
class GroupNorms(nn.Module):
    """A group norm of 32 groups."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(8, 32, 3, padding=1)
        self.n = nn.GroupNorm(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.n(self.c(x)).mean((2, 3))


@varying(lambda n: (normal(2, 4, n),), (20,), (11,), (50,))
class Conv1dNet(nn.Module):
    """Convolutions over time, and a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Sequential(nn.Conv1d(4, 8, 5, 2), nn.BatchNorm1d(8), nn.GELU(), nn.Conv1d(8, 8, 3))
        self.p = nn.AdaptiveMaxPool1d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.p(self.c(x)).squeeze(-1)


@varying(lambda n: (normal(2, n, 4),), (20,), (11,), (50,))
class CausalConv(nn.Module):
    """A causal convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv1d(4, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2)


@varying(lambda h, w: (normal(1, 3, h, w),), (17, 20), (12, 9), (34, 20))
class SpatialPyramid(nn.Module):
    """Pools of several sizes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([F.adaptive_avg_pool2d(x, k).flatten(1) for k in (1, 2, 4)], 1)


@varying(lambda h, w: (normal(1, 3, h, w),), (16, 16), (12, 9), (34, 20))
class InterpolateScale(nn.Module):
    """Interpolation by factors."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(F.interpolate(x, scale_factor=0.5, mode="bilinear"), scale_factor=3.0, mode="nearest")


@varying(lambda h, w: (normal(1, 4, h, w),), (16, 16), (8, 32), (12, 20))
class PixelShuffle(nn.Module):
    """Pixels shuffled into channels and back."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2)


# Others


@varying(lambda b, n: (token_ids_below(b, n),), (3, 5), (1, 5), (4, 9))
class Bag(nn.Module):
    """A bag of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.EmbeddingBag(50, 8, mode="mean")

    def forward(self, t: Tensor) -> Tensor:
        return self.e(t)


@varying(lambda n, o: (token_ids_below(n), torch.tensor(o)), (9, (0, 3, 6)), (9, (0, 2, 8)), (6, (0, 3, 5)))
class BagOffsets(nn.Module):
    """Bags of tokens by offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.EmbeddingBag(50, 8, mode="sum")

    def forward(self, t: Tensor, offsets: Tensor) -> Tensor:
        return self.e(t, offsets)


@varying(lambda n: (normal(2, n, 8), token_ids_below(2, n)), (6,), (4,), (9,))
class TwoTowers(nn.Module):
    """Features and tokens of one length."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        return F.cosine_similarity(x.mean(1), self.e(tokens).mean(1))


@varying(lambda n: (normal(2, n),), (400,), (800,), (650,))
class Stft(nn.Module):
    """A spectrogram."""

    w: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("w", torch.hann_window(64))

    def forward(self, wave: Tensor) -> Tensor:
        return torch.stft(wave, 64, 16, window=self.w, return_complex=True).abs().clamp(min=1e-05).log()


@varying(lambda b: (normal(b, 8), torch.randint(0, 4, (b,)), normal(b, 3)), (5,), (2,), (9,))
class Tabular(nn.Module):
    """Numbers, kinds, and more numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(4, 4)
        self.l = nn.Linear(15, 2)

    def forward(self, a: Tensor, kind: Tensor, b: Tensor) -> Tensor:
        return self.l(torch.cat([a, self.e(kind), b], 1))


@varying(lambda n: (normal(2, n, 8),), (6,), (4,), (9,))
class SizeInMessage(nn.Module):
    """int() of a size used for a check and a text only."""

    def forward(self, x: Tensor) -> Tensor:
        n = int(x.shape[1])
        if n > 4096:
            raise ValueError(f"length {n} is too long")
        log.debug("%d positions", n)
        return x.cumsum(1)


@varying(lambda n: (normal(2, n, 8),), (6,), (4,), (9,))
class SlicedTable(nn.Module):
    """A table cut to the length."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.randn(64, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[: x.shape[1]]


@varying(lambda n: (normal(2, n, 8), torch.tensor(True)), (6,), (4,), (9,))
class FlagByWhere(nn.Module):
    """A flag that stays a tensor."""

    def forward(self, x: Tensor, flag: Tensor) -> Tensor:
        return torch.where(flag, x, -x)


@varying(lambda b, n: (normal(b, n, 2),), (1, 7), (2, 7), (1, 12))
class Trajectory(nn.Module):
    """Differences of a trajectory, read both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.GRU(2, 4, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.g(x.diff(dim=1))[0].amax(1)


@varying(lambda n: (normal(1, 3, 8, 8), torch.rand(n, 4).sort().values * 8), (3,), (1,), (5,))
class Boxes(nn.Module):
    """Boxes on another axis 0 than the batch."""

    def forward(self, image: Tensor, boxes: Tensor) -> Tensor:
        c = (boxes[:, :2] + boxes[:, 2:]) / 8 - 1
        return F.grid_sample(image.expand(c.shape[0], -1, -1, -1), c[:, None, None], align_corners=False).flatten(1)


@varying(lambda n: (normal(2, n, 8) * 10000.0,), (6,), (4,), (9,))
class LargeValues(nn.Module):
    """Large values that overflow and are clamped."""

    def forward(self, x: Tensor) -> Tensor:
        return x.exp().clamp(max=10) + x.square().mean(-1, keepdim=True).sqrt()


@varying(lambda n: (normal(2, n, 8).half(),), (6,), (4,), (9,))
class Half(nn.Module):
    """Half precision."""

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(-1) * 3


@varying(lambda n: (torch.complex(normal(2, n), normal(2, n)),), (6,), (4,), (9,))
class ComplexInput(nn.Module):
    """Complex input."""

    def forward(self, z: Tensor) -> Tensor:
        return (z * z.conj()).real.sum(1)


@varying(lambda n: (torch.randint(0, 256, (1, 3, n, n), dtype=torch.uint8),), (16,), (8,), (24,))
class ByteImage(nn.Module):
    """An image in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.c(image.float() / 255)


@varying(lambda a: (normal(*a),), ((2, 1, 3, 1, 4, 1, 2),), ((3, 1, 3, 1, 4, 1, 2),))
class SevenAxes(nn.Module):
    """Seven axes, most of them single."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


# Other decisions by values


@varying(lambda v: (torch.tensor(v),), ((0.1, 0.9, 0.8),), ((0.6, 0.7, 0.8),), ((0.1, 0.2, 0.3),))
class SelectedSum(nn.Module):
    """The sum of a selection."""

    def forward(self, s: Tensor) -> Tensor:
        return s[s > 0.5].sum()[None]


@varying(lambda t: (torch.tensor(t),), (((5, 6, 7, 2),),), (((5, 2, 7, 8),),), (((5, 6, 7, 8),),))
class EosByArgmax(nn.Module):
    """The position of the end token as a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, t: Tensor) -> Tensor:
        return self.e(t)[torch.arange(t.shape[0]), (t == 2).int().argmax(-1)]


@varying(lambda lengths: (normal(3, 6, 4), torch.tensor(lengths)), ((6, 4, 2),), ((3, 3, 1),), ((6, 6, 6),))
class LengthMask(nn.Module):
    """A mask made of lengths."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        m = torch.arange(x.shape[1])[None] < lengths[:, None]
        return (x * m[..., None]).sum(1) / lengths[:, None]


# Packed sequences


@varying(lambda n, lengths: (normal(3, n, 4), torch.tensor(lengths)), (6, (6, 4, 2)), (6, (6, 3, 1)), (8, (8, 8, 2)))
class Packed(nn.Module):
    """A packed sequence by lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 8, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        p = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.rnn(p)[1][0][-1]
