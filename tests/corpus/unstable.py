"""Value branches whose inputs differ from run to run: the findings must not."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import SizedCase, into, normal

UNSTABLE: list[SizedCase] = []

branches = into(UNSTABLE)


def _halved(x: Tensor) -> Tensor:
    while x.abs().max() > 2:
        x = x / 2
    return x


def _root(x: Tensor) -> Tensor:
    y = x.clone()
    for _ in range(40):
        better = 0.5 * (y + x / y)
        if (better - y).abs().max() < 1e-4:
            return better
        y = better
    return y


@branches("ValueSpecialised", lambda: (normal(2, 16, 8),), ())
class MeanBranch(nn.Module):
    """The sign of the mean."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.mean() > 0 else x - 1


@branches("ValueSpecialised", lambda: (normal(2, 16, 8),), ())
class FirstBranch(nn.Module):
    """The sign of the first element."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x[0, 0, 0] > 0 else x - 1


@branches("ValueSpecialised", lambda: (normal(2, 16, 8),), ())
class ArgmaxBranch(nn.Module):
    """The position of a maximum."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, int(x[0, :, 0].argmax())]


@branches("ValueSpecialised", lambda: (normal(2, 16, 8),), ())
class StdBranch(nn.Module):
    """The spread is above one or not, by chance."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.std() > 1 else x


@branches("ValueSpecialised", lambda: (normal(2, 16, 8),), ())
class AnyAboveBranch(nn.Module):
    """Any value above a threshold."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(max=2.0) * 3 if (x > 2.5).any() else x


@branches("ValueSpecialised", lambda: (normal(2, 16, 8),), ())
class CountBranch(nn.Module):
    """The number of positive values."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x > 0).sum().item()


@branches("ValueSpecialised", lambda: (normal(2, 6, 8), normal(2, 6, 8)), ())
class BothBranch(nn.Module):
    """Two means, the second asked only after the first."""

    def forward(self, a: Tensor, c: Tensor) -> Tensor:
        return a + c if a.mean() > 0 and c.mean() > 0 else a - c


@branches("ValueSpecialised", lambda: (normal(2, 16, 8),), ())
class NestedBranch(nn.Module):
    """A branch within a branch."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 2 if x[0].mean() > 0 else x * 3) if x[1].mean() > 0 else x


@branches("ValueSpecialised", lambda: (normal(2, 16, 8),), ())
class PerRowBranch(nn.Module):
    """A branch in a loop over the rows."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([row * 2 if row.mean() > 0 else row for row in x])


@branches("ValueSpecialised", lambda: (normal(2, 16, 8), (torch.rand(2, 16) > 0.2).long()), ())
class MaskAnyBranch(nn.Module):
    """A mask without padding, or with some."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return x.mean(1) if attention_mask.all() else (x * attention_mask[..., None]).sum(1)


@branches("ValueSpecialised", lambda: (torch.randint(0, 20, (2, 12)),), ())
class TokenBranch(nn.Module):
    """Whether a token occurs."""

    def forward(self, t: Tensor) -> Tensor:
        return t * 2 if (t == 3).any() else t


@branches("ValueSpecialised", lambda: (torch.randint(0, 20, (2, 12)),), ())
class TokencountBranch(nn.Module):
    """How often a token occurs."""

    def forward(self, t: Tensor) -> Tensor:
        return t.float() * int((t == 3).sum())


@branches("ValueSpecialised", lambda: (normal(3, 10, 4), torch.randint(1, 11, (3,))), ())
class MaxlenBranch(nn.Module):
    """The longest of the lengths."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return x[:, : int(lengths.max())].sum(1)


@branches("ValueSpecialised", lambda: (torch.randint(0, 100, (2, 8)),), ())
class ParityBranch(nn.Module):
    """The parity of a sum."""

    def forward(self, t: Tensor) -> Tensor:
        return t + 1 if t.sum() % 2 == 0 else t


@branches("ValueSpecialised", lambda: (torch.randint(0, 3, (3,)), normal(3, 4)), ())
class SortednessBranch(nn.Module):
    """Kinds that are sorted by chance."""

    def forward(self, k: Tensor, x: Tensor) -> Tensor:
        return x[k.argsort()] + 1 if (k[1:] < k[:-1]).any() else x


@branches("ValueSpecialised", lambda: (normal(2, 4) * 8,), ())
class WhileBranch(nn.Module):
    """Halved until small."""

    def forward(self, x: Tensor) -> Tensor:
        return _halved(x)


@branches("ValueSpecialised", lambda: (normal(1, 3, 16, 16),), ())
class ConvBranch(nn.Module):
    """Another pool by the sign of the mean."""

    def forward(self, i: Tensor) -> Tensor:
        return F.avg_pool2d(i, 2) if i.mean() > 0 else F.max_pool2d(i, 2)


@branches("ValueSpecialised", lambda: (normal(2, 16, 8),), ())
class FloatScaleBranch(nn.Module):
    """A maximum that leaves its tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return x / float(x.abs().max())


@branches("ValueSpecialised", lambda: (torch.rand(4),), ())
class MaxcountBranch(nn.Module):
    """The number of selected values."""

    def forward(self, s: Tensor) -> Tensor:
        return s[s > 0.5].sum()[None] / max(1, s[s > 0.5].shape[0])


@branches("ValueSpecialised", lambda: (torch.rand(3),), ())
class EmptyselBranch(nn.Module):
    """A selection that is empty by chance."""

    def forward(self, s: Tensor) -> Tensor:
        return s[s > 0.7].mean()[None] if len(s[s > 0.7]) else s.max()[None]


@branches("ValueSpecialised", lambda: (torch.randint(0, 3, (5,)), normal(5, 4)), ())
class ExpertsBranch(nn.Module):
    """Experts without tokens."""

    def forward(self, k: Tensor, x: Tensor) -> Tensor:
        parts = [x * (k == i)[:, None] if (k == i).nonzero().numel() else x * 0 + 0.5 for i in range(3)]
        return torch.stack(parts).sum(0)


@branches("ValueSpecialised", lambda: (normal(2, 16, 8),), ())
class ElifBranch(nn.Module):
    """Three ways by the mean."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.mean() > 0.05 else x * 3 if x.mean() < -0.05 else x


@branches("ValueSpecialised", lambda: (normal(2, 6),), ())
class AnyBuiltinBranch(nn.Module):
    """Python's any over the elements."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if any(v > 1.5 for v in x[0]) else x


@branches("ValueSpecialised", lambda: (normal(3, 4) * 5,), ())
class HalvingRowsBranch(nn.Module):
    """Each row halved until small."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([_halved(v) for v in x])


@branches("ValueSpecialised", lambda: (torch.rand(2, 4) * 50 + 1,), ())
class NewtonBranch(nn.Module):
    """Newton's method until the step is small."""

    def forward(self, x: Tensor) -> Tensor:
        return _root(x)


@branches("ValueSpecialised", lambda: (normal(3, 3),), ())
class KabschBranch(nn.Module):
    """The sign of a determinant."""

    def forward(self, m: Tensor) -> Tensor:
        return m * torch.tensor([1.0, 1.0, -1.0]) if torch.det(m) < 0 else m


@branches("ValueSpecialised", lambda: (normal(2, 10, 4), torch.randint(0, 5, (2,)), torch.randint(5, 10, (2,))), ())
class SpanBranch(nn.Module):
    """A span by its start and end."""

    def forward(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return x[:, int(a[0]) : int(b[0])].sum(1)


@branches("ValueSpecialised", lambda: (torch.randint(0, 5, (6,)),), ())
class UniqueBranch(nn.Module):
    """The number of kinds."""

    def forward(self, k: Tensor) -> Tensor:
        return torch.ones(6) / len(k.unique())


@branches("ValueSpecialised", lambda: (torch.randint(0, 5, (6,)), normal(6, 4)), ())
class BincountBranch(nn.Module):
    """As many rows as the largest kind says."""

    def forward(self, k: Tensor, x: Tensor) -> Tensor:
        return torch.zeros(int(k.max()) + 1, 4).index_add(0, k, x)


@branches("ValueSpecialised", lambda: (torch.rand(1, 3, 8, 8),), ())
class ImagemaxBranch(nn.Module):
    """Images in bytes or in shares of one."""

    def forward(self, i: Tensor) -> Tensor:
        return i / 255 if i.max() > 1 else i


@branches("ValueSpecialised", lambda: (normal(2, 3),), ())
class AllposBranch(nn.Module):
    """A logarithm where all is positive."""

    def forward(self, x: Tensor) -> Tensor:
        return x.log() if (x > 0).all() else x
