"""Small models that the suites of the acceptance tests judge; a copy lies beside each suite.

A model that is broken is so in one way. The line that is to blame carries the comment ``# guilty``.
"""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import torch
from torch import Tensor, nn


def features(batch: int = 2, length: int = 16, width: int = 8) -> Tensor:
    """Floats (batch, length, width), the same at every call."""
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1))


def rows(batch: int = 2, width: int = 8) -> Tensor:
    """Floats (batch, width), the same at every call."""
    return features(batch, 1, width)[:, 0]


def tokens(batch: int = 2, length: int = 16) -> dict[str, Tensor]:
    """Token ids and their mask (batch, length), the last row padded at its end."""
    ids = torch.randint(1, 24, (batch, length), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[-1, length * 2 // 3 :] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


# Healthy ones


class Head(nn.Module):
    """Rows of features to four logits."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class OtherHead(Head):
    """The same by another name."""


class Encoder(nn.Module):
    """Tokens to the mean of their embeddings, padding left out; right at every size."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8, padding_idx=0)
        self.head = Head()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[:, :, None].float()
        return self.head((self.embedding(input_ids) * mask).sum(1) / mask.sum(1).clamp(min=1.0))


class Scaler(nn.Module):
    """A float scaled by what the caller passes beside it: constants of every kind."""

    def forward(
        self, x: Tensor, scale: float = 1.0, negate: bool = False, bias: Tensor | None = None, mode: str = "plain"
    ) -> Tensor:
        x = x * scale
        if negate:
            x = -x
        if mode == "double":
            x = x * 2
        return x if bias is None else x + bias


class Regularised(nn.Module):
    """Dropout and batch norm, which are random and write to buffers in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(self.linear(x)))


class Pair(nn.Module):
    """Two inputs in a tuple and one in a mapping, two outputs."""

    def forward(self, pair: tuple[Tensor, Tensor], more: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return pair[0] + pair[1], pair[0] * more["factor"]


class TiedLanguageModel(nn.Module):
    """Input and output embeddings are one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)
        self.output = nn.Linear(8, 24, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.output(self.embedding(input_ids))


class OneLength(nn.Module):
    """A layer along 16 positions: eager itself refuses every other length."""

    def __init__(self) -> None:
        super().__init__()
        self.mixer = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixer(x.transpose(1, 2)).transpose(1, 2)


class ScaledLoss(nn.Module):
    """A user's own loss."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels) * 2


# Broken ones, in the order of the checks


class Refuses(nn.Module):
    """Raises whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("the vocabulary file is missing")  # guilty


class Jitter(nn.Module):
    """Noise in eval mode too."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(x.shape)  # guilty


class LogOfNegatives(nn.Module):
    """NaN for each negative value."""

    def forward(self, x: Tensor) -> Tensor:
        return x.log()  # guilty


class NoneBeside(nn.Module):
    """None beside the output, which torch.jit.trace refuses."""

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x * 2, None  # guilty


class Unregistered(nn.Module):
    """A parameter in a plain list: torch prints all of it in its error."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = [nn.Parameter(torch.randn(1000, 32))]

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.tables[0][: x.shape[-1]]  # guilty


class OtherWhileTracing(nn.Module):
    """Goes another way under the tracer."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing():  # guilty
            return x * 2 + 1e-3
        return x * 2


class BranchesOnValues(nn.Module):
    """A Python branch on the sign of the sum."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # guilty
            return x * 2
        return x - 1


class BakedLength(nn.Module):
    """A mean over the traced length, at whatever length it runs."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"pooled": x.sum(1) / int(x.shape[1])}  # guilty


class LoudLength(nn.Module):
    """The traced length in a view: any other is refused."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], int(x.shape[1]), x.shape[2]).flatten(1)  # guilty


class IgnoresMask(Encoder):
    """A mean over padding too."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.embedding(input_ids).mean(1) + 0 * attention_mask.sum(1, keepdim=True))  # guilty


class _Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient * 2


class PythonFunction(nn.Module):
    """A Python autograd.Function, which a saved program cannot hold."""

    def forward(self, x: Tensor) -> Tensor:
        return _Doubling.apply(x)


class NormalisesInPlace(nn.Module):
    """Writes to its own parameter in every call, always the same value."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((8,), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data.clamp_(max=2.0)  # guilty
        return x * self.weight


class Counts(nn.Module):
    """Counts its calls in a buffer that no output shows."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1  # guilty
        return x * 2


class TwiceBroken(nn.Module):
    """Wrong at other lengths, and it counts: two checks fail."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.sum(1) / int(x.shape[1])


class Remembers(nn.Module):
    """Keeps tensors, lists and a new attribute from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Tensor] = []
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        self.history.append(x)
        self.last = x
        return self.linear(x)
