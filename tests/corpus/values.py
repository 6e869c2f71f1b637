"""Broken models whose fault shows at other values of the same size."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import SizedCase, into, normal, token_ids_below, two_full

VALUES: list[SizedCase] = []
broken = into(VALUES)


# Integers that leave their tensors


@broken(
    "ValueSpecialised",
    lambda g: (normal(4, 8), torch.tensor(g), torch.randint(0, 4, (2, 5))),
    ((0, 0, 0, 0),),
    ((0, 0, 1, 1),),
    ((0, 1, 2, 2),),
)
class GraphsInAnotherOrder(nn.Module):
    """Number of graphs from the largest one, batch vector second."""

    def forward(self, nodes: Tensor, batch: Tensor, edges: Tensor) -> Tensor:
        n = int(batch.max().item()) + 1  # guilty
        m = nodes.index_add(0, edges[1], nodes[edges[0]])
        return nodes.new_zeros(n, 8).index_add(0, batch, m)


@broken(
    "ValueSpecialised",
    lambda s, t: (token_ids_below(2, 6), torch.full((2,), s), torch.full((2,), t)),
    (2, 4),
    (0, 4),
    (2, 5),
    (1, 3),
)
class SpanSlice(nn.Module):
    """Spans: start and end by int()."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, input_ids: Tensor, start: Tensor, end: Tensor) -> Tensor:
        return self.e(input_ids)[:, int(start[0]) : int(end[0])].sum(1)  # guilty


@broken("ValueSpecialised", lambda lengths: (normal(3, 6, 4), torch.tensor(lengths)), ((6, 4, 2),), ((6, 6, 2),), ((3, 2, 2),))
class MaxLength(nn.Module):
    """Cropped to the longest."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = x[:, : int(lengths.max())]  # guilty
        mask = torch.arange(x.shape[1])[None] < lengths[:, None]
        return (x * mask[..., None]).sum(1) / x.shape[1]


@broken("ValueSpecialised", lambda lengths: (normal(3, 6, 4), torch.tensor(lengths)), ((6, 4, 2),), ((6, 6, 2),), ((3, 3, 1),))
class LoopOverLengths(nn.Module):
    """Loops over lengths."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return torch.stack([x[i, :n].mean(0) for i, n in enumerate(lengths.tolist())])  # guilty


# Two inputs compared


@broken(
    "ValueSpecialised",
    lambda a, b: (torch.full((2, 4), a), torch.full((2, 4), b)),
    (1.0, -1.0),
    (1.0, 1.0),
    (-1.0, -1.0),
    (-1.0, 1.0),
)
class BothPositive(nn.Module):
    """`and` of two conversions."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if bool(a.mean() > 0) and bool(b.mean() > 0):  # guilty
            return a + b
        return a - b


@broken("ValueSpecialised", lambda a, b: (torch.full((2, 4), a), torch.full((2, 4), b)), (1.0, -1.0), (1.0, 3.0))
class AmongEachOther(nn.Module):
    """Two items compared in one expression."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a if a.sum().item() > b.sum().item() else b * 2  # guilty


@broken("ValueSpecialised", lambda a, b: (torch.full((2, 4), a), torch.full((2, 4), b)), (1.0, 1.0), (-1.0, -1.0), (1.0, -1.0))
class SameSign(nn.Module):
    """XOR: changing both together keeps it."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if (a.mean() > 0).item() != (b.mean() > 0).item():  # guilty
            return a + b
        return a - b


@broken("ValueSpecialised", lambda a, b: two_full(a, b), (1, 2), (2, 2))
class AllClose(nn.Module):
    """Two inputs that are close take another path."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if torch.allclose(a, b):  # guilty
            return a * 0 + 7
        return a - b


@broken("ValueSpecialised", lambda a, b: two_full(a, b), (1, 1), (1, 1.5), (3, 3))
class AllCloseTracedEqual(nn.Module):
    """Traced with two equal inputs, where others take another path."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if torch.allclose(a, b):  # guilty
            return a * 0 + 7
        return a - b


@broken("ValueSpecialised", lambda a, b: two_full(a, b), (1, 2), (20, 20), (-3, 4))
class ProductThreshold(nn.Module):
    """The product of two inputs decides."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if (a * b).sum() > 100:  # guilty
            return a / 2
        return a + b


@broken("ValueSpecialised", lambda a, b: two_full(a, b), (1, 2), (2, 1))
class PythonMax(nn.Module):
    """Python's max of two tensors."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return max(a.mean(), b.mean()) + a  # guilty


@broken("ValueSpecialised", lambda a, b: (torch.tensor(a), torch.tensor(b)), (3, 5), (9, 5), (5, 5), (3, 10))
class IntRange(nn.Module):
    """start..stop range."""

    def forward(self, start: Tensor, stop: Tensor) -> Tensor:
        return torch.arange(max(0, int(stop) - int(start)) + 1).float().sum()[None]  # guilty


# Equal inputs


@broken("ValueSpecialised", lambda a, b: (torch.full((2, 4), a), torch.full((2, 4), b)), (1.0, 2.0), (2.0, 2.0), (1.0, 1.0))
class EqualInputs(nn.Module):
    """torch.equal: siamese shortcut."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if torch.equal(a, b):  # guilty
            return torch.ones_like(a)
        return (a - b).abs()


# Infinities and NaN


@broken("ValueSpecialised", lambda v: (torch.tensor([[1.0, v], [2.0, 3.0]]),), (4.0,), (float("inf"),), (float("-inf"),))
class Infinite(nn.Module):
    """Another path for infinities."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.isinf(x).any():  # guilty
            x = torch.where(torch.isinf(x), torch.zeros_like(x), x)
        return x * 2


@broken("ValueSpecialised", lambda v: (torch.tensor([[1.0, v], [2.0, 3.0]]),), (4.0,), (float("nan"),))
class NanClean(nn.Module):
    """Another path for NaN."""

    def forward(self, x: Tensor) -> Tensor:
        if x.isnan().any():  # guilty
            x = x.nan_to_num(0.0)
        return x * 2


@broken("ValueSpecialised", lambda v: (torch.tensor([[0.5, v, 1.0]]),), (2.0,), (float("-inf"),))
class NegativeInfinity(nn.Module):
    """Minus infinity is replaced."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.isneginf(x).any():  # guilty
            x = x.masked_fill(torch.isneginf(x), 0)
        return x


@broken("ValueSpecialised", lambda v: (normal(1, 4, 4), torch.full((4, 4), v)), (0.0,), (float("-inf"),))
class AllMaskedAdditive(nn.Module):
    """An additive mask of -inf alone."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if (mask == float("-inf")).all():  # guilty
            return torch.zeros_like(x)
        return (x @ x.mT + mask.clamp(min=-10000.0)).softmax(-1) @ x


# Zeros


@broken("ValueSpecialised", lambda m: (normal(2, 4, 8), torch.full((2, 4), m)), (1,), (0,))
class AllZeroMask(nn.Module):
    """An all-zero mask."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        if not attention_mask.any():  # guilty
            return x.new_zeros(2, 8)
        return (x * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True).clamp(min=1) + 1


@broken(
    "ValueSpecialised",
    lambda m: (normal(2, 4, 8), torch.tensor(m)),
    ([[1, 1, 1, 1], [1, 1, 1, 1]],),
    ([[1, 1, 0, 0], [1, 1, 1, 1]],),
)
class AllOnesShortcut(nn.Module):
    """Full mask: attention without a mask (transformers' shortcut)."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        mask = None if attention_mask.all() else attention_mask[:, None].bool()  # guilty
        return F.scaled_dot_product_attention(x, x, x, attn_mask=mask)


@broken("ValueSpecialised", lambda v: (torch.full((2, 3), v),), (1.0,), (0.0,))
class ZeroInput(nn.Module):
    """An all-zero input is left as it is."""

    def forward(self, x: Tensor) -> Tensor:
        n = x.norm()
        return x / n if n > 0 else x + 1  # guilty


@broken("ValueSpecialised", lambda v: (normal(2, 4, 8), torch.full((2, 4), v)), (True,), (False,))
class ValidAllFalse(nn.Module):
    """`valid` (bool, no mask in its name) all false."""

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        if not valid.any():  # guilty
            return torch.zeros(2, 8)
        return (x * valid[..., None]).sum(1) + 1


@broken(
    "ValueSpecialised",
    lambda m: (normal(2, 4, 8), torch.tensor(m)),
    (((1.0, 1.0, 1.0, 0.0), (1.0, 1.0, 1.0, 1.0)),),
    (((0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0)),),
)
class OneRowZero(nn.Module):
    """One row of the mask is all zero."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        n = attention_mask.sum(1)
        if (n == 0).any():  # guilty
            n = n.clamp(min=1)
            x = x + 1
        return (x * attention_mask[..., None]).sum(1) / n[:, None] + x.mean(1)


# Ties


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ([1.0, 2.0, 3.0],), ([1.0, 3.0, 3.0],))
class Ties(nn.Module):
    """Ties of the maximum."""

    def forward(self, x: Tensor) -> Tensor:
        best = x == x.max()
        if best.sum() > 1:  # guilty
            return best.float() / 2
        return best.float()


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ([3, 1, 2],), ([3, 3, 2],))
class Unique(nn.Module):
    """Number of unique values."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(3) / len(x.unique())  # guilty


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ((1.0, 5.0, 3.0),), ((1.0, 5.0, 5.0),))
class TopTie(nn.Module):
    """The two best are equal."""

    def forward(self, x: Tensor) -> Tensor:
        top = x.topk(2).values
        if top[0] == top[1]:  # guilty
            return top.mean()[None]
        return top[:1] * 2


# Sorted or not


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ([1.0, 2.0, 3.0, 4.0],), ([4.0, 2.0, 3.0, 1.0],))
class SortedBranch(nn.Module):
    """Sorted input: no sort (wrongly baked as not needed)."""

    def forward(self, x: Tensor) -> Tensor:
        if (x[1:] < x[:-1]).any():  # guilty
            x = x.sort().values
        return x.cumsum(0)


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ([4.0, 2.0, 3.0, 1.0],), ([1.0, 2.0, 3.0, 4.0],))
class UnsortedTraced(nn.Module):
    """Traced unsorted; a sorted one takes the shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        if not bool((x.diff() >= 0).all()):  # guilty
            return x - x.mean()
        return x


# Nothing selected, or nothing there


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ([[0.1, 0.9], [0.8, 0.3]],), ([[0.1, 0.2], [0.2, 0.3]],))
class EmptySelection(nn.Module):
    """Nothing above the score: another answer."""

    def forward(self, scores: Tensor) -> Tensor:
        keep = scores[scores > 0.5]
        if keep.numel() == 0:  # guilty
            return torch.full((1,), -1.0)
        return keep.sum()[None]


@broken("ValueSpecialised", lambda k: (torch.tensor(k), normal(5, 4)), ((0, 2, 1, 2, 0),), ((0, 0, 1, 0, 0),))
class EmptyExpert(nn.Module):
    """Experts without tokens are skipped."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, kind: Tensor, x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        for i, e in enumerate(self.e):
            rows = (kind == i).nonzero().flatten()  # guilty
            if rows.numel() == 0:  # guilty
                out = out + 0.5  # guilty
                continue
            out = out.index_add(0, rows, e(x[rows]))  # guilty
        return out


# Rare tokens


@broken("ValueSpecialised", lambda t: (torch.tensor(t),), ([[5, 6, 7, 8]],), ([[5, 3, 7, 8]],))
class RareToken(nn.Module):
    """Separator token 3 switches the path."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.e(input_ids)
        if (input_ids == 3).any():  # guilty
            x = x + 1
        return x.mean(1)


@broken("ValueSpecialised", lambda t: (torch.tensor(t),), ([[5, 6, 7, 2]],), ([[5, 2, 7, 8]],), ([[2, 6, 7, 8]],))
class EosIndex(nn.Module):
    """Position of the end token (exactly one in each row)."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, input_ids: Tensor) -> Tensor:
        at = (input_ids == 2).nonzero()[0, 1].item() if (input_ids == 2).any() else 0  # guilty
        return self.e(input_ids)[:, at]


@broken("ValueSpecialised", lambda t: (torch.tensor(t),), (((5, 3, 7, 8),),), (((5, 3, 7, 3),),))
class TwoSeparators(nn.Module):
    """Exactly two separators: pairs of sentences."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, t: Tensor) -> Tensor:
        x = self.e(t)
        if (t == 3).sum() == 2:  # guilty
            x = x * 2
        return x.mean(1)


# Loops


@broken("ValueSpecialised", lambda v: (torch.full((3,), v),), (10.0,), (100.0,), (1.0,))
class HalveWhile(nn.Module):
    """Halved while above 1."""

    def forward(self, x: Tensor) -> Tensor:
        while x.max() > 1:  # guilty
            x = x / 2
        return x


@broken("ValueSpecialised", lambda v: (torch.full((1,), v, dtype=torch.long), normal(2, 4)), (3,), (1,), (6,))
class RangeTensor(nn.Module):
    """range() of a tensor."""

    def forward(self, steps: Tensor, x: Tensor) -> Tensor:
        for _ in range(int(steps)):  # guilty
            x = x * 0.5 + 1
        return x


# Other decisions by values


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ((1.0, 2.0, 3.0),), ((3.0, 2.0, 1.0),))
class NumpySort(nn.Module):
    """Sorted by NumPy."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.argsort(x.detach().numpy(), kind="stable").astype("float32"))  # guilty


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ((1.0, 2.0, 3.0),), ((-3.0, 2.0, 1.0),))
class BuiltinAny(nn.Module):
    """Python's any over the elements."""

    def forward(self, x: Tensor) -> Tensor:
        if any(v < 0 for v in x):  # guilty
            return x * 0
        return x


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ((0.3, 0.4),), ((0.0, 0.0),), ((1e-09, 0.0),))
class SmallAngle(nn.Module):
    """A rotation by a small angle is left out."""

    def forward(self, w: Tensor) -> Tensor:
        theta = w.norm()
        if theta.item() < 1e-06:  # guilty
            return torch.ones(2)
        return w / theta


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ((2.0, 5.0),), ((200.0, 5.0),))
class NewtonUntil(nn.Module):
    """Newton's method until the step is small."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        for _ in range(50):
            new = 0.5 * (y + x / y)
            if (new - y).abs().max() < 1e-05:  # guilty
                break
            y = new
        return y


@broken("ValueSpecialised", lambda t: (torch.tensor(t),), (((5, 6, 7),),), (((1, 6, 7),),))
class FirstTokenInSet(nn.Module):
    """The first token is looked up in a set."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, t: Tensor) -> Tensor:
        x = self.e(t)
        if int(t[0, 0]) in (1, 2):  # guilty
            x = x[:, 1:]
        return x.mean(1)


@broken("ValueSpecialised", lambda lengths: (normal(3, 6, 4), torch.tensor(lengths)), ((6, 4, 2),), ((6, 6, 6),), ((4, 4, 4),))
class EqualLengths(nn.Module):
    """Rows of one length need no mask; traced with different ones."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if (lengths == lengths[0]).all():  # guilty
            return x.mean(1)
        m = torch.arange(6)[None] < lengths[:, None]
        return (x * m[..., None]).sum(1) / lengths[:, None]


@broken("ValueSpecialised", lambda lengths: (normal(3, 6, 4), torch.tensor(lengths)), ((6, 6, 6),), ((6, 4, 2),))
class EqualLengthsTraced(nn.Module):
    """Rows of one length need no mask; traced with such."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if (lengths == lengths[0]).all():  # guilty
            return x.mean(1)
        m = torch.arange(6)[None] < lengths[:, None]
        return (x * m[..., None]).sum(1) / lengths[:, None]


@broken("ValueSpecialised", lambda p: (token_ids_below(1, 4), torch.arange(4)[None] + p), (0,), (100,), (300,))
class PositionThreshold(nn.Module):
    """Position ids beyond 256 are scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        if position_ids.max() >= 256:  # guilty
            position_ids = position_ids / 2
        return self.e(input_ids) + position_ids[..., None].float().cos()


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ((2.0, 2.5, 7.0),), ((2.0, 2.0, 2.0),))
class ConstantImage(nn.Module):
    """A constant image is not normalised."""

    def forward(self, x: Tensor) -> Tensor:
        lo, hi = (x.min(), x.max())
        if lo == hi:  # guilty
            return torch.zeros_like(x)
        return (x - lo) / (hi - lo)


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ((0.2, 0.3, 0.9),), ((0.2, 0.3, 0.5),))
class SumsToOneTraced(nn.Module):
    """Traced with logits: probabilities are taken as they are."""

    def forward(self, p: Tensor) -> Tensor:
        if abs(p.sum().item() - 1) > 0.0001:  # guilty
            p = p.softmax(-1)
        return p


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), (((1.0, 2.0), (2.0, 1.0)),), (((1.0, 2.0), (3.0, 1.0)),))
class Symmetric(nn.Module):
    """A symmetric matrix takes another decomposition; traced with one."""

    def forward(self, m: Tensor) -> Tensor:
        if torch.equal(m, m.T):  # guilty
            return torch.linalg.eigvalsh(m)
        return torch.linalg.svdvals(m)


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), (((1.0, 2.0), (3.0, 1.0)),), (((1.0, 2.0), (2.0, 1.0)),))
class SymmetricTraced(nn.Module):
    """The other way round: traced with a matrix that is not symmetric."""

    def forward(self, m: Tensor) -> Tensor:
        if (m == m.T).all():  # guilty
            return m * 2
        return m + m.T + 1


@broken(
    "ValueSpecialised", lambda v: (torch.tensor(v),), ((0.2, 0.3, 0.5, 0.1),), ((0.1, 0.2, 0.3, 0.4),), ((0.1, 0.1, 0.2, 0.1),)
)
class SelectedMean(nn.Module):
    """Selection by mask, count in Python."""

    def forward(self, s: Tensor) -> Tensor:
        keep = s[s > 0.25]
        return keep.sum()[None] / max(1, keep.shape[0])  # guilty


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ((0.2, 0.3, 0.5, 0.1),), ((0.9, 0.8, 0.3, 0.4),))
class LoopNonzero(nn.Module):
    """A loop over the positions that were selected."""

    def forward(self, s: Tensor) -> Tensor:
        total = torch.zeros(1)
        for i in (s > 0.25).nonzero().flatten():  # guilty
            total = total + s[i] ** 2
        return total


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ((0.2, 0.3, 0.5, 0.1),), ((0.9, 0.2, 0.3, 0.4),))
class Experts(nn.Module):
    """The largest feature chooses an expert."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.ModuleList(nn.Linear(4, 2) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.e[int(x.argmax())](x)  # guilty


@broken(
    "ValueSpecialised",
    lambda m: (normal(2, 4, 8), torch.tensor(m)),
    (((1, 1, 1, 0), (1, 1, 1, 1)),),
    (((0, 1, 1, 1), (1, 1, 1, 1)),),
)
class PaddingSide(nn.Module):
    """The side of the padding is read off the mask."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        if attention_mask[:, -1].sum() == x.shape[0]:  # guilty
            return x[:, -1]
        return x[torch.arange(x.shape[0]), attention_mask.sum(1) - 1]


@broken("ValueSpecialised", lambda s: (normal(2, 4), torch.tensor(s)), (0,), (1,), (10,))
class EveryTenth(nn.Module):
    """A step number modulo ten."""

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        return x * 2 if int(step) % 10 == 0 else x  # guilty


@broken("ValueSpecialised", lambda s: (normal(2, 8), torch.tensor(s)), (1.0,), (0.5,), (2.0,))
class Temperature(nn.Module):
    """A temperature leaves its tensor."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return (x / t.item()).softmax(-1)  # guilty


@broken("ValueSpecialised", lambda v: (torch.tensor(v),), ((1.0, 2.0, 4.0, 2.0),), ((1.0, 2.0, 4.0, 1.0),))
class ClosedPolygon(nn.Module):
    """First equals last."""

    def forward(self, p: Tensor) -> Tensor:
        if bool(p[0] == p[-1]):  # guilty
            p = p[:-1]
        return p.mean()[None]


@broken(
    "ValueSpecialised",
    lambda i, j: (normal(6, 4), torch.tensor(i), torch.tensor(j)),
    ((0, 1), (2, 3)),
    ((0, 1), (1, 2)),
    ((4, 5), (4, 5)),
)
class IndexSets(nn.Module):
    """Python sets of the indices."""

    def forward(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        both = set(a.tolist()) & set(b.tolist())  # guilty
        return x[a] - x[b] + len(both)


@broken("ValueSpecialised", lambda k: (torch.tensor(k), normal(3, 4)), ((1, 1, 1),), ((2, 1, 0),))
class SortedConstant(nn.Module):
    """Kinds that are all the same at the traced input; unsorted ones are sorted."""

    def forward(self, kind: Tensor, x: Tensor) -> Tensor:
        if (kind[1:] < kind[:-1]).any():  # guilty
            return x[kind.argsort()] + 1
        return x


@broken("ValueSpecialised", lambda k: (torch.tensor(k), normal(3, 4)), ((0, 0, 0),), ((1, 0, 0),))
class GroupsConstantZero(nn.Module):
    """All of one group; unsorted groups are sorted."""

    def forward(self, group: Tensor, x: Tensor) -> Tensor:
        if (group.diff() < 0).any():  # guilty
            group, order = group.sort()
            x = x[order] * 2
        return x


@broken("ValueSpecialised", lambda a, b: (torch.full((2, 4), a), torch.full((2, 4), b)), (1.0, 1.0), (1.0, 60.0), (20.0, 60.0))
class TwoThresholds(nn.Module):
    """Two inputs, each with a threshold of its own."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if a.max() < 10 and b.max() > 50:  # guilty
            return a - b
        return a + b


@broken("ValueSpecialised", lambda s: (token_ids_below(2, 4), torch.tensor(s)), (5,), (2000,))
class StepAbove1000(nn.Module):
    """A step number beyond 1000 beside token ids of a small vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, input_ids: Tensor, step: Tensor) -> Tensor:
        x = self.e(input_ids)
        return x * 0.1 if step > 1000 else x  # guilty


@broken("ValueSpecialised", lambda v: (token_ids_below(1, 4), torch.tensor(v)), (0.5,), (-0.5,))
class FloatScalarBesideIds(nn.Module):
    """The sign of a float scalar beside token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)

    def forward(self, input_ids: Tensor, gate: Tensor) -> Tensor:
        return self.e(input_ids) * (1 if gate > 0 else 3)  # guilty


@broken(
    "ValueSpecialised",
    lambda m: (normal(2, 4, 8), torch.tensor(m)),
    (((1, 1, 1, 1), (1, 1, 1, 1)),),
    (((1, 1, 0, 0), (1, 1, 1, 1)),),
)
class PackedByLengths(nn.Module):
    """Lengths by .tolist(): rows are cut."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.stack([row[:n].mean(0) for row, n in zip(x, attention_mask.sum(1).tolist(), strict=True)])  # guilty
