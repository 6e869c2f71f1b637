"""Broken models whose fault shows at other sizes; the sizes are those at which plain torch tells right from wrong."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import SizedCase, into, keys_values, normal, token_ids_below

SIZES: list[SizedCase] = []
broken = into(SIZES)


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


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8), normal(2, 4, n, n)), (6,), (4,), (9,))
class HeadBias(nn.Module):
    """Bias per head and pair (batch, heads, n, n)."""

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q = x.unflatten(-1, (4, 2)).transpose(1, 2)
        s = q @ q.transpose(-1, -2) / int(bias.shape[-1]) + bias  # guilty
        return (s.softmax(-1) @ q).transpose(1, 2).flatten(2)


@broken("ShapeSpecialised", lambda n: (normal(n, 16), torch.rand(n, n)), (5,), (3,), (8,))
class GraphNoBatch(nn.Module):
    """Nodes (n, 16), adjacency (n, n), no batch axis."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(16, 4)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        return adjacency @ self.mix(nodes) / len(nodes)  # guilty


@broken("ShapeSpecialised", lambda n: (torch.rand(2, n, n),), (5,), (3,), (8,))
class LaplacianOnly(nn.Module):
    """One input with one size on two axes."""

    def forward(self, adjacency: Tensor) -> Tensor:
        d = adjacency.sum(-1)
        return torch.eye(adjacency.shape[1]) * float(adjacency.shape[1]) - adjacency / d.unsqueeze(-1)  # guilty


@broken("ShapeSpecialised", lambda n, m: (normal(2, n, 8), normal(2, m, 8), normal(2, n, m)), (4, 6), (3, 6), (4, 9))
class CrossBias(nn.Module):
    """Two lengths and a bias that has both."""

    def forward(self, query: Tensor, memory: Tensor, bias: Tensor) -> Tensor:
        scores = (query @ memory.transpose(1, 2) + bias) / math.sqrt(memory.shape[1])  # guilty
        return scores.softmax(-1) @ memory * int(query.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8), normal(n, 2, 8)), (6,), (4,), (9,))
class TwoLayouts(nn.Module):
    """One length: batch first in one input, sequence first in the other."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a + b.transpose(0, 1)).sum(1) / int(a.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, n, 3),), (8,), (5,), (12,))
class ChannelsLastSquares(nn.Module):
    """Square images with the channels last."""

    def forward(self, image: Tensor) -> Tensor:
        m = image.permute(0, 3, 1, 2)
        return torch.matmul(m, m).mean(1) * int(image.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, n, 16),), (6,), (4,), (9,))
class PairRepresentation(nn.Module):
    """A pair representation (batch, n, n, channels) as in protein models: triangle update."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(16, 4)
        self.b = nn.Linear(16, 4)

    def forward(self, z: Tensor) -> Tensor:
        return torch.einsum("bikc,bjkc->bijc", self.a(z), self.b(z)) / int(z.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(n, 8), normal(n, 8)), (6,), (4,), (11,))
class InBatchNegatives(nn.Module):
    """Contrastive scores within the batch: batch size on both axes of the output."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        n = int(a.shape[0])  # guilty
        return (a @ b.T).sum(1) / n  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8), normal(2, n * n, 4)), (4,), (3,), (5,))
class FlatPairs(nn.Module):
    """Pairs are flattened: n and n * n."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 1)

    def forward(self, x: Tensor, pairs: Tensor) -> Tensor:
        w = self.lin(pairs).reshape(x.shape[0], x.shape[1], x.shape[1]).softmax(-1)
        return w @ x / int(x.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8), normal(2, n + 1)), (6,), (4,), (9,))
class PlusOne(nn.Module):
    """The second input has one position more than the first (class token)."""

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        x = torch.cat([x.mean(1, keepdim=True), x], 1)
        return (x * weights.unsqueeze(-1)).sum(1) / int(weights.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 2 * n, 8), normal(2, n, 8)), (6,), (4,), (9,))
class HalfLength(nn.Module):
    """The second input is half as long as the first."""

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        return x[:, ::2] + coarse * int(coarse.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n: ([normal(2, n, 8), normal(2, n, 4)],), (6,), (4,), (9,))
class InAList(nn.Module):
    """Both inputs in one list."""

    def forward(self, pair: Any) -> Tensor:
        a, b = pair
        return torch.cat([a, b], -1).sum(1) / int(b.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(1, 2, n, n, n),), (6,), (3,), (12,), (4,))
class Cube(nn.Module):
    """Volumes that are cubes."""

    def forward(self, v: Tensor) -> Tensor:
        return (v + v.transpose(2, 3) + v.transpose(3, 4)).sum((2, 3, 4)) / int(v.shape[2])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8), normal(2, 3, n, n)), (6,), (4,), (9,))
class BiasThreeHeadsBroadcast(nn.Module):
    """Bias of three heads: looks like an image."""

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        s = (x @ x.mT)[:, None] + bias
        return (s.softmax(-1) @ x[:, None]).mean(1) * int(x.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8), (normal(n, 4), normal(n, 4))), (6,), (4,), (9,))
class RotaryTuple(nn.Module):
    """cos and sin (n, half) as inputs."""

    def forward(self, x: Tensor, rotary: Any) -> Tensor:
        cos, sin = rotary
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).sum(1) / int(cos.shape[0])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(n, n),), (6,), (4,), (9,))
class OneSquareMatrix(nn.Module):
    """A matrix (n, n)."""

    def forward(self, m: Tensor) -> Tensor:
        return m @ m / int(m.shape[0])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 4), torch.rand(2, n, n), torch.rand(2, n, n, 3)), (5,), (3,), (9,))
class EdgeTensor(nn.Module):
    """Nodes, adjacency and features of the edges (batch, n, n, 3)."""

    def forward(self, x: Tensor, adjacency: Tensor, edge: Tensor) -> Tensor:
        m = (adjacency[..., None] * edge).sum(2)
        return torch.cat([adjacency @ x, m], -1) / int(edge.shape[2])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(1, 3, n, n), torch.ones(1, 1, n, n)), (16,), (8,), (24,))
class Inpainting(nn.Module):
    """Image and mask, sizes in multiples of 8 by a hidden guard."""

    def __init__(self) -> None:
        super().__init__()
        self.d = nn.Conv2d(4, 4, 8, 8)
        self.u = nn.ConvTranspose2d(4, 3, 8, 8)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        if not torch.jit.is_tracing() and image.shape[-1] % 8:
            raise ValueError("multiples of 8")
        y = self.u(self.d(torch.cat([image, mask], 1)))
        return y * mask + image / int(image.shape[-1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(1, 3, 4 * n, 4 * n), normal(1, 8, n, n)), (4,), (3,), (6,))
class Pyramid(nn.Module):
    """An image and its features at a quarter of the size."""

    def forward(self, image: Tensor, feats: Tensor) -> Tensor:
        up = F.interpolate(feats, size=image.shape[-2:])
        return up[:, :3] * image / int(feats.shape[-1])  # guilty


# Sizes that must be multiples of a number


@broken("ShapeSpecialised", lambda h, w: (torch.rand(1, 3, h, w),), (96, 64), (64, 64), (96, 96), (128, 64))
class HiddenGuard24(nn.Module):
    """Multiples of 16, guard hidden while tracing; not square."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 16, 16)

    def forward(self, image: Tensor) -> Tensor:
        h, w = image.shape[-2:]
        if not torch.jit.is_tracing():
            assert (h % 16, w % 16) == (0, 0), "multiples of 16"
        return F.interpolate(self.down(image), size=(int(h), int(w)), mode="bilinear")  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 4, n),), (24,), (12,), (36,))
class TimesTwelve(nn.Module):
    """Multiples of 12 by pixel shuffle in time."""

    def forward(self, x: Tensor) -> Tensor:
        b, c, t = x.shape
        y = x.reshape(b, c * 12, t // 12)
        return y - y.sum(-1, keepdim=True) / (int(t) // 12)  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8),), (6,), (5,), (7,), (11,))
class RemainderFour(nn.Module):
    """Right but where the length is 3 modulo 8."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % 8 == 3:  # guilty
            return x.mean(1) * 2
        return x.mean(1)


@broken(
    "ShapeSpecialised",
    lambda n: (normal(2, n, 8),),
    (50,),
    (75,),
    (100,),
    (25,),
)
class Segments25(nn.Module):
    """Segments of 25 with a check; the number of segments is baked."""

    def forward(self, x: Tensor) -> Tensor:
        n = int(x.shape[1]) // 25  # guilty
        if n * 25 != x.shape[1]:
            raise ValueError("multiples of 25")
        parts = [x[:, i * 25 : (i + 1) * 25].mean(1) for i in range(n)]  # guilty
        return torch.stack(parts, 1)


# Blocks


@broken("ShapeSpecialised", lambda n: (normal(2, n, 4),), (30,), (60,), (90,), (15,))
class TwoChunks(nn.Module):
    """Local attention in blocks of 10, number of blocks fixed by int()."""

    def forward(self, x: Tensor) -> Tensor:
        n = int(x.shape[1]) // 10  # guilty
        if x.shape[1] % 10:
            raise ValueError("length must be a multiple of 10")
        y = x.reshape(x.shape[0] * n, -1, 4)  # guilty
        return ((y @ y.transpose(1, 2)).softmax(-1) @ y).reshape(x.shape)


@broken("ShapeSpecialised", lambda n: (normal(2, n, 4),), (16,), (32,), (48,), arguments={"shapes": {"seq": "fixed"}})
class BlocksFixed(nn.Module):
    """Declared fixed, silently wrong at multiples."""

    def forward(self, x: Tensor) -> Tensor:
        n = int(x.shape[1]) // 4  # guilty
        return x.view(x.shape[0], n, -1, 4).max(2).values  # guilty


@broken("ShapeSpecialised", lambda h, w: (normal(1, 2, h, w),), (16, 24), (32, 24), (16, 48))
class Grid(nn.Module):
    """Image in a grid of blocks of 8: numbers of blocks baked."""

    def forward(self, image: Tensor) -> Tensor:
        b, c, h, w = image.shape
        return image.reshape(b, c, int(h) // 8, -1, int(w) // 8, w // (int(w) // 8)).mean((3, 5))  # guilty


# Height and width of one area


@broken("ShapeSpecialised", lambda h, w: (normal(1, 4, h, w),), (6, 6), (4, 9), (9, 4), (3, 12))
class FixedPositions36(nn.Module):
    """Position for 36 places; resized for others, other aspect of the same area is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.pos = nn.Parameter(torch.randn(1, 4, 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        pos: Tensor = self.pos
        if x.shape[2] != 6 or x.shape[3] != 6:  # guilty
            pos = F.interpolate(pos, size=x.shape[2:], mode="bicubic")
        return (x.flatten(2) + pos.flatten(2)).mean(-1)


@broken("ShapeSpecialised", lambda h, w: (normal(1, 3, h, w),), (32, 64), (64, 32), (16, 128))
class RelativeGrid(nn.Module):
    """Patches of 8 put back on a baked grid."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 8, 8)
        self.pos = nn.Parameter(torch.randn(32, 8))
        self.dw = nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch(image)
        h, w = (int(x.shape[2]), int(x.shape[3]))  # guilty
        t = x.flatten(2).transpose(1, 2) + self.pos
        return self.dw(t.transpose(1, 2).reshape(-1, 8, h, w)).flatten(2)  # guilty


@broken("ShapeSpecialised", lambda h, w: (normal(2, h, w, 4),), (8, 8), (4, 16), (16, 4))
class ChannelsLastArea(nn.Module):
    """Channels last, 64 places, rows by int()."""

    def __init__(self) -> None:
        super().__init__()
        self.pos = nn.Parameter(torch.randn(64, 4))

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        return (x.reshape(b, h * w, c) * self.pos).reshape(b, int(h), -1, c).sum(2)  # guilty


@broken("ShapeSpecialised", lambda h, w: (normal(1, 3, h, w),), (24, 16), (16, 24), (24, 24))
class Portrait(nn.Module):
    """Portrait or landscape: transposed if it is wider than high."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[3] > x.shape[2]:  # guilty
            x = x.transpose(2, 3)
        return x.cumsum(2)


# Caches of keys and values


@broken("ShapeSpecialised", lambda p: (token_ids_below(2, 1), *keys_values(2, 4, p, 4)), (5,), (3,), (9,))
class CacheBHPW(Attention):
    """(batch, heads, past, width)."""

    def forward(self, input_ids: Tensor, past_key: Tensor, past_value: Tensor) -> Any:
        q, k, v = self.heads(self.embed(input_ids))
        k, v = (torch.cat([past_key, k], 2), torch.cat([past_value, v], 2))
        return ((q @ k.transpose(2, 3) / float(k.shape[2])).softmax(-1) @ v, k, v)  # guilty


@broken(
    "ShapeSpecialised", lambda p: (token_ids_below(2, 1), (keys_values(2, 4, p, 4), keys_values(2, 4, p, 4))), (5,), (3,), (9,)
)
class CacheNested(Attention):
    """Two layers, ((k, v), (k, v)), position from the past's length."""

    def __init__(self) -> None:
        super().__init__()
        self.pos = nn.Embedding(64, 16)

    def forward(self, input_ids: Tensor, past_key_values: Any) -> Any:
        past = past_key_values[0][0].shape[2]
        x = self.embed(input_ids) + self.pos(torch.arange(int(past), int(past) + 1))  # guilty
        new = []
        for key, value in past_key_values:
            q, k, v = self.heads(x)
            k, v = (torch.cat([key, k], 2), torch.cat([value, v], 2))
            new.append((k, v))
            x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return (x, tuple(new))


@broken("ShapeSpecialised", lambda p: (token_ids_below(2, 1), normal(2, 2, 2, 4, p, 4)), (5,), (3,), (9,))
class CacheOneTensor(Attention):
    """All layers' keys and values in one tensor (layers, 2, batch, heads, past, width)."""

    def forward(self, input_ids: Tensor, past: Tensor) -> Tensor:
        x = self.embed(input_ids)
        for layer in past:
            q, k, v = self.heads(x)
            k, v = (torch.cat([layer[0], k], 2), torch.cat([layer[1], v], 2))
            x = x + self.o((q @ k.mT / int(k.shape[2])).softmax(-1).matmul(v).transpose(1, 2).flatten(2))  # guilty
        return x


@broken("ShapeSpecialised", lambda p: (token_ids_below(2, 1), normal(p, 2, 16), normal(p, 2, 16)), (7,), (3,), (12,))
class CachePastFirst(Attention):
    """(past, batch, width)."""

    def forward(self, input_ids: Tensor, past_key: Tensor, past_value: Tensor) -> Any:
        q, k, v = self.qkv(self.embed(input_ids)).transpose(0, 1).chunk(3, -1)
        k, v = (torch.cat([past_key, k]), torch.cat([past_value, v]))
        s = torch.einsum("qbw,kbw->bqk", q, k) / int(k.shape[0])  # guilty
        return (torch.einsum("bqk,kbw->bqw", s.softmax(-1), v), k, v)


@broken("ShapeSpecialised", lambda p: (token_ids_below(2, 1), normal(2, 4, 4, p), normal(2, 4, p, 4)), (7,), (3,), (12,))
class CacheKeysTransposed(Attention):
    """Keys (batch, heads, width, past), values (batch, heads, past, width) (bloom, old)."""

    def forward(self, input_ids: Tensor, past_key: Tensor, past_value: Tensor) -> Tensor:
        q, k, v = self.heads(self.embed(input_ids))
        k, v = (torch.cat([past_key, k.transpose(2, 3)], 3), torch.cat([past_value, v], 2))
        return (q @ k / math.sqrt(k.shape[-1])).softmax(-1) @ v  # guilty


@broken(
    "ShapeSpecialised",
    lambda p, n=1: {
        "input_ids": token_ids_below(2, n),
        "attention_mask": torch.ones(2, p + n, dtype=torch.long),
        "past": keys_values(2, 4, p, 4),
    },
    (5,),
    (3,),
    (9,),
)
class CacheWithMask(Attention):
    """Mask covers past and new: attention_mask (batch, past + 1)."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, past: Any) -> Tensor:
        q, k, v = self.heads(self.embed(input_ids))
        k, v = (torch.cat([past[0], k], 2), torch.cat([past[1], v], 2))
        s = q @ k.transpose(2, 3) + (1.0 - attention_mask[:, None, None, :].float()) * -1000000000.0
        return s.softmax(-1) @ v * int(past[0].shape[2])  # guilty


@broken(
    "ShapeSpecialised",
    lambda p: (token_ids_below(2, 3), normal(2, 2, p, 8), normal(2, 2, p, 8), torch.ones(2, 1, 3, p + 3).bool()),
    (5,),
    (3,),
    (8,),
)
class CacheChunkMask4d(nn.Module):
    """Three new tokens, mask (batch, 1, 3, past + 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 16)

    def forward(self, input_ids: Tensor, past_key: Tensor, past_value: Tensor, mask: Tensor) -> Tensor:
        q = self.e(input_ids).unflatten(-1, (2, 8)).transpose(1, 2)
        k, v = (torch.cat([past_key, q], 2), torch.cat([past_value, q], 2))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask) / int(k.shape[2])  # guilty


@broken("ShapeSpecialised", lambda p: (token_ids_below(2, 1), normal(2, p, 2, 8), normal(2, p, 2, 8)), (5,), (3,), (8,))
class CacheBPHW(nn.Module):
    """(batch, past, heads, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 16)

    def forward(self, input_ids: Tensor, past_key: Tensor, past_value: Tensor) -> Tensor:
        q = self.e(input_ids).unflatten(-1, (2, 8))
        k, v = (torch.cat([past_key, q], 1), torch.cat([past_value, q], 1))
        s = torch.einsum("bqhd,bkhd->bhqk", q, k) / int(k.shape[1])  # guilty
        return torch.einsum("bhqk,bkhd->bqhd", s.softmax(-1), v)


@broken("ShapeSpecialised", lambda p: (token_ids_below(2, 1), normal(2, p, 16)), (5,), (3,), (9,))
class ContextSqrt(nn.Module):
    """Named otherwise: context (batch, past, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 16)

    def forward(self, input_ids: Tensor, context: Tensor) -> Tensor:
        k = torch.cat([context, self.e(input_ids)], 1)
        return k.sum(1) / math.sqrt(k.shape[1])  # guilty


# States of recurrent networks


@broken("ShapeSpecialised", lambda b, n: (normal(b, n, 8), normal(2, b, 16), normal(2, b, 16)), (3, 5), (1, 5), (4, 5), (3, 8))
class LstmState(nn.Module):
    """LSTM with states (layers, batch, hidden); batch baked in the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 16, 2, batch_first=True)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Any:
        y, (h, c) = self.rnn(x, (h, c))
        return (y - y.sum(0, keepdim=True) / int(x.shape[0]), h, c)  # guilty


@broken("ShapeSpecialised", lambda b, n: (normal(n, b, 8), normal(1, b, 16)), (3, 5), (3, 8), (1, 5), (3, 2))
class GruSequenceFirst(nn.Module):
    """GRU, sequence first, with state; length baked."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 16)

    def forward(self, x: Tensor, h: Tensor) -> Any:
        y, h = self.rnn(x, h)
        return (y.sum(0) / int(x.shape[0]), h)  # guilty


@broken("ShapeSpecialised", lambda b, n: (normal(b, n, 8), (normal(2, b, 16), normal(2, b, 16))), (3, 5), (1, 5), (5, 5))
class LstmStateTuple(nn.Module):
    """States as a tuple; batch of the state baked."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 16, 2, batch_first=True)

    def forward(self, x: Tensor, state: Any) -> Tensor:
        y, (h, _) = self.rnn(x, state)
        return y[:, -1] + torch.arange(int(h.shape[1])).float().sum()  # guilty


@broken("ShapeSpecialised", lambda b: (normal(b, 8), normal(b, 16)), (3,), (1,), (5,))
class Cell(nn.Module):
    """GRU cell, batch baked."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(8, 16)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        h = self.cell(x, h)
        return h + h.sum(0) / len(h)  # guilty


@broken("ShapeSpecialised", lambda b: (normal(b, 5, 8), normal(2, b, 16), normal(2, b, 16)), (2,), (1,), (4,))
class LayersEqualBatch(nn.Module):
    """Two layers and a batch of 2."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 16, 2, batch_first=True)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
        y, _ = self.rnn(x, (h, c))
        return y - y.sum(0) / int(x.shape[0])  # guilty


@broken("ShapeSpecialised", lambda b: (normal(b, 5, 8), normal(1, b, 16)), (1,), (2,), (4,))
class StateBatchOne(nn.Module):
    """Batch 1, one layer: which 1 is the batch?"""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 16, batch_first=True)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        y, _ = self.rnn(x, h)
        return y - y.sum(0) / int(x.shape[0])  # guilty


# Axes in other places


@broken("ShapeSpecialised", lambda n, b: (normal(n, b, 8),), (9, 2), (4, 2), (12, 2))
class SequenceFirst(nn.Module):
    """(length, batch, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.att = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.att(x, x, x, need_weights=False)[0].sum(0) / int(x.shape[0])  # guilty


@broken("ShapeSpecialised", lambda t, n=8: (normal(1, 3, t, n, n),), (6,), (4,), (10,))
class Video(nn.Module):
    """(batch, channels, frames, height, width); frames baked."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv3d(3, 4, 3, padding=1)

    def forward(self, video: Tensor) -> Tensor:
        return self.c(video).sum(2) / int(video.shape[2])  # guilty


@broken("ShapeSpecialised", lambda t, h=8: (normal(1, t, 3, h, 8),), (6,), (4,), (10,))
class VideoFramesFirst(nn.Module):
    """(batch, frames, channels, height, width); frames baked."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, video: Tensor) -> Tensor:
        y = self.c(video.flatten(0, 1)).mean((2, 3))
        return y.reshape(video.shape[0], -1, 4).sum(1) / int(video.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n, m: (normal(1, 3, n, n), normal(1, 3, m, m)), (16, 8), (12, 8), (16, 12))
class TemplateSearch(nn.Module):
    """Two images of different size; size of the template baked."""

    def forward(self, search: Tensor, template: Tensor) -> Tensor:
        return F.conv2d(search, template) / (template.shape[-1] * int(template.shape[-2]))  # guilty


@broken("ShapeSpecialised", lambda n, m: (normal(1, 3, n, n), normal(1, 3, m, m)), (16, 24), (12, 24), (16, 12))
class TwoImages(nn.Module):
    """Two images; the second is resized to the first's baked size."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        resized = F.interpolate(right, size=[int(s) for s in left.shape[-2:]])  # guilty
        return resized.mean((2, 3)) - left.sum((2, 3)) / left[0, 0].numel()  # guilty


@broken("ShapeSpecialised", lambda d, h=6: (normal(1, 2, d, h, 7),), (5,), (3,), (9,))
class Volume(nn.Module):
    """Depth baked."""

    def forward(self, volume: Tensor) -> Tensor:
        return (volume.cumsum(2) / int(volume.shape[2])).mean((3, 4))  # guilty


@broken("ShapeSpecialised", lambda d: (normal(1, 2, 6, 7, d),), (5,), (3,), (9,))
class VolumeDepthLast(nn.Module):
    """Depth on the last axis baked (MONAI)."""

    def forward(self, volume: Tensor) -> Tensor:
        return F.max_pool3d(volume, 2).mean((2, 3)) * int(volume.shape[-1])  # guilty


@broken("ShapeSpecialised", lambda b, n=6: (normal(8, n, b),), (3,), (1,), (5,))
class BatchLast(nn.Module):
    """Batch on the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1) - x.mean(1).sum(-1, keepdim=True) / int(x.shape[2])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(n),), (20,), (10,), (33,))
class OneAxis(nn.Module):
    """A vector."""

    def forward(self, signal: Tensor) -> Tensor:
        return torch.fft.rfft(signal).abs().sum() / int(signal.shape[0])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 3, n, 8),), (5,), (3,), (9,))
class Agents(nn.Module):
    """(batch, time, agents, features): axis 2 baked."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(2) / int(x.shape[2])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 10, 4), token_ids_below(2, n, below=10)), (5,), (3,), (9,))
class GatherIndices(nn.Module):
    """Number of selected positions baked; long index input."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return x.gather(1, index.unsqueeze(-1).expand(-1, -1, 4)).sum(1) / int(index.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n, b=4: (normal(n, b, 8),), (4,), (7,), (2,))
class SequenceFirstSquare(nn.Module):
    """Length equals batch."""

    def __init__(self) -> None:
        super().__init__()
        self.att = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.att(x, x, x, need_weights=False)[0].sum(0) / int(x.shape[0])  # guilty


@broken(
    "ShapeSpecialised",
    lambda n: {"pixel_values": normal(1, 3, n, n), "pixel_mask": torch.ones(1, n, n, dtype=torch.long)},
    (16,),
    (8,),
    (24,),
)
class PixelMask(nn.Module):
    """DETR-like mask of the pixels."""

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> Tensor:
        m = F.interpolate(pixel_mask[:, None].float(), size=pixel_values.shape[-2:])
        return (pixel_values * m).sum((2, 3)) / (int(pixel_values.shape[2]) * pixel_values.shape[3])  # guilty


@broken("ShapeSpecialised", lambda h, w: (normal(2, h, w, 4),), (6, 10), (4, 10), (6, 7))
class ChannelsLastFree(nn.Module):
    """Channels last, width baked; height free."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((1, 2)) / (x.shape[1] * int(x.shape[2]))  # guilty


@broken("ShapeSpecialised", lambda h, w: (normal(h, w),), (6, 10), (4, 10), (6, 7))
class PlainMatrix(nn.Module):
    """One image without batch and channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / int(x.shape[1])  # guilty


@broken("ShapeSpecialised", lambda h, w: (normal(3, h, w),), (8, 8), (6, 8), (8, 12))
class UnbatchedImage(nn.Module):
    """(channels, height, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(x).sum((1, 2)) / (int(x.shape[1]) * int(x.shape[2]))  # guilty


@broken(
    "ShapeSpecialised",
    lambda n: {"features": {"a": normal(2, n, 4), "b": normal(2, n)}, "kind": token_ids_below(2, n)},
    (6,),
    (4,),
    (9,),
)
class DictOfFeatures(nn.Module):
    """Features in a dictionary, beside the kinds of the same length."""

    def forward(self, features: Any, kind: Tensor) -> Tensor:
        return (features["a"] * features["b"].unsqueeze(-1)).sum(1) / int(kind.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n, m: (normal(2, n, 8), normal(2, m, 8)), (6, 6), (6, 9), (9, 6), (9, 9))
class DifferentLengthsOnly(nn.Module):
    """Right when both lengths are equal; wrong when they differ."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if a.shape[1] == b.shape[1]:  # guilty
            return a.mean(1) - b.mean(1)
        return a.mean(1) - b.mean(1) + 1


@broken("ShapeSpecialised", lambda n, m: (normal(1, 3, n, n), normal(1, 3, m, m)), (16, 8), (12, 8), (16, 12))
class TwoImagesSqrt(nn.Module):
    """Two images of different size, no convolution module."""

    def forward(self, search: Tensor, template: Tensor) -> Tensor:
        return F.conv2d(search, template) / math.sqrt(template.shape[-1] * template.shape[-2])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 4, n),), (20,), (12,), (30,))
class TimeLastSqrt(nn.Module):
    """The square root of the length on the last axis, without any layer."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(-1) / math.sqrt(x.shape[-1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 4, n),), (20,), (12,), (30,))
class TimeLastConvSqrt(nn.Module):
    """The length on the last axis behind a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv1d(4, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(x)
        return y.sum(-1) / float(y.shape[-1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 6, n, 8),), (5,), (3,), (9,))
class AgentsSqrt(nn.Module):
    """The square root of an axis in the middle."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(2) * float(x.shape[2]) ** (-0.5)  # guilty


# Graphs as lists of edges


@broken("ShapeSpecialised", lambda e, n=4: (normal(n, 8), torch.randint(0, n, (2, e))), (6,), (4,), (9,))
class EdgeCount(nn.Module):
    """Edge list (2, edges): number of edges baked."""

    def forward(self, nodes: Tensor, edge_index: Tensor) -> Tensor:
        m = torch.zeros_like(nodes).index_add(0, edge_index[1], nodes[edge_index[0]])
        return m / int(edge_index.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n, e=7: (normal(n, 8), torch.randint(0, n, (2, e))), (5,), (3,), (9,))
class NodeCount(nn.Module):
    """Edge list: number of nodes baked."""

    def forward(self, nodes: Tensor, edge_index: Tensor) -> Tensor:
        deg = torch.zeros(int(nodes.shape[0])).index_add(0, edge_index[1], torch.ones(edge_index.shape[1]))  # guilty
        return nodes.sum(0) / int(nodes.shape[0]) + deg.sum()  # guilty


# Masks


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8), torch.ones(2, 1, n, n, dtype=torch.bool).tril()), (6,), (4,), (9,))
class MaskFourAxes(nn.Module):
    """Mask (batch, 1, n, n)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        s = (x @ x.transpose(1, 2))[:, None].masked_fill(~mask, -1000000000.0)
        return s.softmax(-1)[:, 0] @ x / int(mask.shape[-1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(n, 2, 8), torch.ones(n, n).tril().log()), (6,), (4,), (9,))
class MaskAdditive(nn.Module):
    """Additive mask (n, n) with -inf, x (n, batch, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.att = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.att(x, x, x, attn_mask=mask)[0].sum(0) / int(x.shape[0])  # guilty


@broken(
    "ShapeSpecialised",
    lambda n, m: (normal(2, n, 8), normal(2, m, 8), torch.ones(2, n, m, dtype=torch.bool)),
    (4, 6),
    (3, 6),
    (4, 9),
)
class CrossMask(nn.Module):
    """Mask (batch, targets, sources)."""

    def forward(self, target: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        s = (target @ source.transpose(1, 2)).masked_fill(~mask, -10000.0)
        return s.softmax(-1) @ source / int(source.shape[1])  # guilty


@broken(
    "ShapeSpecialised",
    lambda n: (token_ids_below(2, n), torch.zeros(2, n, dtype=torch.long), torch.arange(n)[None]),
    (6,),
    (4,),
    (9,),
)
class PositionsInput(nn.Module):
    """Tokens, types, positions (1, n)."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)
        self.t = nn.Embedding(2, 8)
        self.p = nn.Embedding(64, 8)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, position_ids: Tensor) -> Tensor:
        return (self.e(input_ids) + self.t(token_type_ids) + self.p(position_ids)).sum(1) / int(position_ids.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 1, 8), normal(2, n, 8), torch.zeros(2, 1, 1, n)), (7,), (4,), (12,))
class ExtendedMask(nn.Module):
    """Extended additive mask (batch, 1, 1, n)."""

    def forward(self, query: Tensor, memory: Tensor, extended: Tensor) -> Tensor:
        s = (query @ memory.mT)[:, None] + extended
        return s.softmax(-1)[:, 0] @ memory * int(extended.shape[3])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8), torch.ones(n, dtype=torch.bool)), (7,), (4,), (12,))
class MaskVector(nn.Module):
    """One mask (n,) for all of the batch."""

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        return (x * keep[:, None]).sum(1) / int(keep.shape[0])  # guilty


@broken("ShapeSpecialised", lambda n: (token_ids_below(n, 2), torch.ones(2, n, dtype=torch.bool)), (7,), (4,), (12,))
class TransposedMask(nn.Module):
    """Sequence-first tokens and a batch-first mask."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return (self.e(tokens) * mask.T[..., None]).sum(0) / int(tokens.shape[0])  # guilty


# Sizes that decide


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8),), (16,), (15,), (17,), (40,))
class LongPath(nn.Module):
    """Another path from 32 positions on."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 32:  # guilty
            return x[:, :32].mean(1) + 1
        return x.mean(1)


@broken("ShapeSpecialised", lambda n, b=2: (normal(b, n, 4),), (8,), (7,), (9,), (6,))
class OddEven(nn.Module):
    """Even lengths are right, odd ones are wrong."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % 2:  # guilty
            x = torch.cat([x, x[:, -1:] * 3], 1)
        return x.mean(1)


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8),), (6,), (1,), (4,))
class LengthOneSqueezed(nn.Module):
    """A single position takes another path."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == 1:  # guilty
            return x[:, 0] * 3
        return x.mean(1)


@broken("ShapeSpecialised", lambda n, m: (normal(2, n, 8), normal(2, m, 8)), (4, 6), (6, 4), (9, 6))
class LongerOne(nn.Module):
    """Two lengths compared."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if a.shape[1] > b.shape[1]:  # guilty
            a, b = (b, a)
        return a.sum(1) - b.mean(1)


# Thresholds far off


@broken("ShapeSpecialised", lambda n: (normal(4, n, 8),), (16,), (900,), (1001,))
class Threshold1000(nn.Module):
    """A text is cut after 1000 positions: the other path lies far off."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 1000:  # guilty
            x = x[:, :1000]
        return x.mean(1)


@broken("ShapeSpecialised", lambda n: (token_ids_below(8, n),), (16,), (512,), (513,))
class Tokens512(nn.Module):
    """Tokens are cut after 512 positions, at a batch of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, t: Tensor) -> Tensor:
        if t.shape[1] > 512:  # guilty
            t = t[:, :512]
        return self.e(t).mean(1)


@broken("ShapeSpecialised", lambda h, w: (normal(1, 3, h, w),), (32, 32), (64, 64), (300, 300), (32, 300))
class TiledAbove256(nn.Module):
    """Images above 256 pixels are made smaller first."""

    def forward(self, x: Tensor) -> Tensor:
        if max(x.shape[-2:]) > 256:  # guilty
            x = F.avg_pool2d(x, 2)
        return x.mean((2, 3)) + x.amax((2, 3))


# Products of sizes


@broken("ShapeSpecialised", lambda h, w: (normal(1, 3, h, w),), (16, 16), (12, 20), (40, 40))
class AreaThreshold(nn.Module):
    """The product of height and width decides."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] * x.shape[3] > 1000:  # guilty
            x = x * 0.5
        return x.mean((2, 3))


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8),), (16,), (17,), (70,))
class NumelThreshold(nn.Module):
    """The number of elements decides."""

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() > 1024:  # guilty
            return x.mean(1)
        return x.sum(1) / x.shape[1] + 1


@broken("ShapeSpecialised", lambda b, n: (normal(b, n, 8),), (2, 8), (2, 9), (8, 20))
class TokensThreshold(nn.Module):
    """Batch times length decides."""

    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) * x.size(1) >= 128:  # guilty
            return x.amax(1)
        return x.mean(1)


@broken("ShapeSpecialised", lambda h: (normal(1, 3, 16 * h, 32), token_ids_below(1, 2 * h, below=64)), (2,), (3,), (4,))
class PatchPositions(nn.Module):
    """Image and ids of the patches' positions."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Conv2d(3, 8, 16, 16)
        self.e = nn.Embedding(64, 8)

    def forward(self, pixel_values: Tensor, position_ids: Tensor) -> Tensor:
        x = self.p(pixel_values).flatten(2).transpose(1, 2) + self.e(position_ids)
        return x.sum(1) / int(x.shape[1])  # guilty


@broken("ShapeSpecialised", lambda b, k: (normal(b * k, 8), normal(b, 8)), (2, 3), (2, 5), (4, 3), (1, 4))
class Candidates(nn.Module):
    """Candidates flattened (batch * k, width), query (batch, width)."""

    def forward(self, candidates: Tensor, query: Tensor) -> Tensor:
        c = candidates.reshape(query.shape[0], -1, 8)
        return (c @ query[..., None]).squeeze(-1) / int(c.shape[1])  # guilty


# Ways in which a size leaves the graph


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8),), (6,), (4,), (9,))
class LoopRows(nn.Module):
    """A recurrence in a Python loop over the steps."""

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 8)
        for t in range(x.shape[1]):  # guilty
            h = torch.tanh(h + x[:, t])
        return h


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8),), (6,), (4,), (9,))
class ShapeInTuple(nn.Module):
    """The shape is compared with a tuple."""

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) == (6, 8):  # guilty
            return x.sum(1)
        return x.mean(1)


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8),), (6,), (4,), (9,))
class NumpyOfSize(nn.Module):
    """A table is made by NumPy from the length."""

    def forward(self, x: Tensor) -> Tensor:
        table = np.sin(np.arange(int(x.shape[1]))).sum()  # guilty
        return x.sum(1) * float(table)


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8),), (6,), (7,), (9,))
class StrideBaked(nn.Module):
    """The stride holds the length."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / x.stride(0)  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8),), (6,), (4,), (9,))
class NumelBaked(nn.Module):
    """The number of elements becomes a Python number."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / int(x.numel())  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8),), (6,), (4,), (9,))
class NbytesBaked(nn.Module):
    """The number of bytes becomes a Python number."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / x.nbytes  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8),), (12,), (16,), (24,))
class TopFraction(nn.Module):
    """The best half of the positions: their number becomes a Python number."""

    def forward(self, x: Tensor) -> Tensor:
        return x.topk(max(1, int(0.5 * x.shape[1])), dim=1).values.mean(1)  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 4, n),), (12,), (16,), (24,))
class FftLength(nn.Module):
    """The next power of two of a length on the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        n = 2 ** math.ceil(math.log2(int(x.shape[-1])))  # guilty
        return torch.fft.rfft(x, n=n).abs().mean(-1)  # guilty


# Nothing selected, or nothing there


@broken("ShapeSpecialised", lambda n: (normal(n, 4),), (3,), (1,), (0,))
class NoBoxes(nn.Module):
    """No boxes at all: eager answers zero, the trace NaN."""

    def forward(self, boxes: Tensor) -> Tensor:
        if boxes.shape[0] == 0:  # guilty
            return torch.zeros(4)
        return boxes.mean(0)


# Sizes that are wrong together only


@broken("ShapeSpecialised", lambda b, n: (normal(b, n, 4),), (2, 5), (2, 11), (5, 5), (5, 11), (10, 7))
class JointDropped(nn.Module):
    """Wrong only with both changed; the length alone is refused loudly."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, int(x.shape[1]), 4).amax(1).sum(0)  # guilty


# Sizes that follow from others


@broken("ShapeSpecialised", lambda p: (normal(p[-1], 8), torch.tensor(p)), ((0, 3, 7),), ((0, 3, 5, 7),))
class Pointers(nn.Module):
    """ptr (graphs + 1,): number of graphs baked."""

    def forward(self, nodes: Tensor, ptr: Tensor) -> Tensor:
        n = len(ptr) - 1
        index = torch.arange(n).repeat_interleave(ptr[1:] - ptr[:-1], output_size=nodes.shape[0])
        return torch.zeros(n, 8).index_add(0, index, nodes)  # guilty


@broken("ShapeSpecialised", lambda n: (token_ids_below(2, n), token_ids_below(2, n - 1)), (7,), (5,), (12,))
class Shifted(nn.Module):
    """Targets are one shorter than the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 50)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        scores = self.e(tokens)[:, :-1].log_softmax(-1)
        return scores.gather(2, targets[..., None]).sum(1) / int(targets.shape[1])  # guilty


# Sizes read behind a layer, or inside a nested input


@broken("ShapeSpecialised", lambda p: (normal(2, 32), normal(2, 8, p, 4), normal(2, 8, p, 4)), (5,), (3,), (9,))
class StepBehindCat(nn.Module):
    """One step x (batch, width), eight heads, size read behind cat."""

    def forward(self, x: Tensor, past_key: Tensor, past_value: Tensor) -> Tensor:
        q = x.unflatten(-1, (8, 1, 4))
        k, v = (torch.cat([past_key, q], 2), torch.cat([past_value, q], 2))
        return (q @ k.mT / int(k.shape[2])).softmax(-1) @ v  # guilty


@broken("ShapeSpecialised", lambda p: (normal(2, 32), ((normal(2, 8, p, 4), normal(2, 8, p, 4)),)), (5,), (3,), (9,))
class StepNested(nn.Module):
    """The same, nested, size read of the input itself."""

    def forward(self, x: Tensor, past: Any) -> Tensor:
        q = x.unflatten(-1, (8, 1, 4))
        n = int(past[0][0].shape[2])  # guilty
        k, v = (torch.cat([past[0][0], q], 2), torch.cat([past[0][1], q], 2))
        return (q @ k.mT / n).softmax(-1) @ v  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 6, n, 8),), (5,), (3,), (9,))
class AgentsBehindLinear(nn.Module):
    """(batch, time, agents, features), size read behind a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.lin(x)
        return y.sum(2) / int(y.shape[2])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 6, n),), (20,), (12,), (31,))
class TimeLastBehindRelu(nn.Module):
    """The length on the last axis behind an activation."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.relu()
        return y.cumsum(-1) / int(y.shape[-1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, n, 8, 3),), (7,), (12,), (3,))
class FourAxesTime(nn.Module):
    """(batch, time, joints, 3): skeletons."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.lin(x)
        return y.sum(1) / float(y.shape[1])  # guilty


@broken("ShapeSpecialised", lambda n: (normal(2, 3, n), normal(2, n, 16)), (7,), (12,), (4,))
class WeightsFirst(nn.Module):
    """The same, weights first: axis 1 of the first input is a fixed three."""

    def forward(self, weights: Tensor, x: Tensor) -> Tensor:
        y = weights @ x
        return y / int(x.shape[1])  # guilty


# Packed sequences


@broken("ShapeSpecialised", lambda n: (normal(3, n, 4), torch.tensor([n, n - 1, n - 2])), (6,), (4,), (9,))
class PackedLengths(nn.Module):
    """Lengths, total length baked."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 8, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        y, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return y.sum(1) / int(x.shape[1])  # guilty
