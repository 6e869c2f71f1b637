"""Broken models, each broken in one way as real model code goes wrong, under the verdict of the first failing check."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any"; torch's decorators are untyped too.
# mypy: disable-error-code="no-any-return, untyped-decorator, no-untyped-call"

from __future__ import annotations

import copy
import functools
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from .case import (
    BATCH,
    BATCH_SEQ,
    SEQ_UNSAFE,
    Case,
    Inputs,
    Source,
    case_of,
    floats,
    length_scale,
    masked_floats,
    random_floats,
    random_ints,
    token_ids,
    tokens,
)

BROKEN: list[Case] = []

_Model = TypeVar("_Model", bound=type[nn.Module])


def broken(
    verdict: str,
    inputs: Callable[[], Inputs],
    *,
    helpers: Sequence[Source] = (),
    arguments: Mapping[str, Any] | None = None,
    dims: Mapping[str, str] | None = None,
) -> Callable[[_Model], _Model]:
    """Add the decorated class to the corpus with the verdict it deserves."""

    def register(cls: _Model) -> _Model:
        BROKEN.append(case_of(cls, inputs, verdict, helpers=helpers, arguments=arguments, dims=dims))
        return cls

    return register


# eager: EagerFailure


@broken("EagerFailure", floats(2, 9))
class WidthMismatch(nn.Module):
    """A head one feature narrower than what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)  # guilty


@broken("EagerFailure", floats(2, 8))
class EvalBranchForgotten(nn.Module):
    """A variable that only the training branch sets: the gate judges in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.noisy = x + 0.1
        return self.head(self.noisy)  # guilty


@broken("EagerFailure", floats(2, 8))
class NeedsGradient(nn.Module):
    """Forces as the gradient of an energy, which cannot be had under no_grad."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        energy = self.energy(x.requires_grad_()).tanh().sum()
        return torch.autograd.grad(energy, x)[0]  # guilty


@broken("EagerFailure", token_ids())
class TokenBeyondVocabulary(nn.Module):
    """Special tokens added to the tokenizer without resizing the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(16, 8)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.embedding(input_ids)  # guilty


@broken("EagerFailure", floats(2, 8))
class PrecisionClash(nn.Module):
    """A projection from a NumPy file, which is float64."""

    basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", torch.from_numpy(np.linspace(-1.0, 1.0, 32).reshape(8, 4)))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.basis  # guilty


@broken("EagerFailure", floats(2, 8))
class RunsOnlyOnce(nn.Module):
    """A prompt list consumed by the first call; it is the second run of the eager check that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts = [0.5]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.prompts.pop()  # guilty


# eager: NonDeterministic


@broken("NonDeterministic", floats(2, 16, 8))
class DropoutAlwaysOn(nn.Module):
    """F.dropout without ``training=self.training``, the classic."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(x, 0.3))  # guilty


@broken("NonDeterministic", floats(2, 8))
class SampledLatent(nn.Module):
    """A variational encoder which samples its latent in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.scale = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.mean(x) + self.scale(x).exp() * torch.randn(x.shape[0], 4)  # guilty


@broken("NonDeterministic", floats(2, 16, 8))
class SampledToken(nn.Module):
    """Sampling from the logits inside the model, hidden in the second output."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.head(x)
        sample = torch.multinomial(logits.softmax(-1).flatten(0, 1), 4)  # guilty
        return logits, {"sample": sample}


@broken("NonDeterministic", floats(2, 16, 8))
class StochasticDepth(nn.Module):
    """A layer dropped by python's own random, whatever the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) * random.uniform(0.5, 1.5)  # guilty


@broken("NonDeterministic", floats(2, 8))
class NumpyJitter(nn.Module):
    """Test-time augmentation by NumPy's global generator."""

    def forward(self, x: Tensor) -> Tensor:
        return x * float(np.random.uniform(0.8, 1.2))  # guilty


# A model whose answer depends on how often it was called already fails the second run of the eager check, so that the
# next three are NonDeterministic and not SideEffect: the check that comes first names the verdict.


@broken("NonDeterministic", floats(2, 8))
class RunningAverageInOutput(nn.Module):
    """Centres on a running mean that it updates in eval mode."""

    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        self.average.mul_(0.9).add_(0.1 * x.mean(0))  # guilty
        return x - self.average


@broken("NonDeterministic", floats(2, 8))
class AnnealedTemperature(nn.Module):
    """A temperature that falls with every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1  # guilty
        return (x * self.calls).softmax(-1)


@broken("NonDeterministic", floats(2, 16, 8))
class CarriesHiddenState(nn.Module):
    """A recurrent model that starts from where the last call ended."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.state is not None and self.state.shape[1] != x.shape[0]:
            self.state = None
        out, self.state = self.gru(x, self.state)  # guilty
        return out


# eager: NonFinite


@broken("NonFinite", masked_floats())
class NormaliseZeroVector(nn.Module):
    """Unit vectors without an epsilon; padding steps are zero vectors."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return x / x.norm(dim=-1, keepdim=True)  # guilty


@broken("NonFinite", masked_floats())
class SoftmaxOfNothing(nn.Module):
    """Padding queries that may attend to nothing, with minus infinity in every column."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        keep = (attention_mask[:, :, None] * attention_mask[:, None, :]).bool()
        scores = (x @ x.transpose(1, 2)).masked_fill(~keep, float("-inf"))
        return scores.softmax(-1) @ x  # guilty


# trace: Untraceable


@broken("Untraceable", floats(2, 16, 8))
class OutputWithNone(nn.Module):
    """A pair whose second place is None unless asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.head(x), None  # guilty


@dataclass
class HeadOutput:
    """The output of DataclassOutput."""

    logits: Tensor


@broken("Untraceable", floats(2, 8))
class DataclassOutput(nn.Module):
    """An output object of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> HeadOutput:
        return HeadOutput(self.head(x))  # guilty


@broken("Untraceable", floats(2, 8))
class LabelOutput(nn.Module):
    """The name of the class returned beside the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return self.head(x), "cat"  # guilty


@broken("Untraceable", floats(2, 8))
class FloatInOutput(nn.Module):
    """A python float returned beside a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, float]:
        return self.head(x), 0.5  # guilty


@broken("Untraceable", floats(2, 8))
class DictWithNone(nn.Module):
    """A dict of outputs whose loss is None without labels."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor | None]:
        logits = self.head(x)
        return {"logits": logits, "loss": None if labels is None else F.cross_entropy(logits, labels)}  # guilty


@broken("Untraceable", floats(2, 8))
class DictOfMixedTypes(nn.Module):
    """A dict of a tensor and a tuple of hidden states."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor | tuple[Tensor, ...]]:
        hidden = self.body(x)
        return {"logits": self.head(hidden), "hidden_states": (x, hidden)}  # guilty


@broken("Untraceable", floats(2, 8))
class DictWithIntegerKeys(nn.Module):
    """Feature maps keyed by their stride."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        return {8: self.low(x), 16: self.high(x)}  # guilty


@broken("Untraceable", floats(2, 8))
class DistributionOutput(nn.Module):
    """A policy network that returns a distribution."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> torch.distributions.Normal:
        return torch.distributions.Normal(self.mean(x), 1.0)  # guilty


@broken("Untraceable", floats(2, 8))
class GeneratorOutput(nn.Module):
    """Outputs handed out lazily."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(8, 2) for _ in range(2))

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        return (head(x) for head in self.heads)  # guilty


@broken("Untraceable", floats(2, 8))
class LayersInPlainList(nn.Module):
    """Layers in a python list, where nobody registers their parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(8, 8), nn.Linear(8, 4)]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)  # guilty
        return x


@broken("Untraceable", floats(2, 8))
class ForceField(nn.Module):
    """Forces as a gradient taken inside forward, grad switched on for the purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            positions = x.detach().requires_grad_()
            energy = self.energy(positions).tanh().sum()  # guilty
            return -torch.autograd.grad(energy, positions)[0]  # guilty


@broken("Untraceable", floats(2, 16, 8))
class NextPowerOfTwo(nn.Module):
    """Padding to a power of two by int methods, which a traced size does not have."""

    def forward(self, x: Tensor) -> Tensor:
        longer = 1 << (x.shape[1] - 1).bit_length()  # guilty
        return F.pad(x, (0, 0, 0, longer - x.shape[1])).cumsum(1)


@broken("Untraceable", floats(2, 16, 8))
class RoundedKeepRatio(nn.Module):
    """Token pruning by ``round``, which a traced size does not support."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : round(x.shape[1] * 0.5)].tanh()  # guilty


@broken("Untraceable", floats(2, 16, 8))
class InsistsOnInt(nn.Module):
    """An argument check that wants a real int."""

    @staticmethod
    def positions(length: int) -> Tensor:
        if not isinstance(length, int):
            raise TypeError(f"length must be int, not {type(length).__name__}")  # guilty
        return torch.arange(length).float().cos()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.positions(x.shape[1])[:, None]  # guilty


@broken("Untraceable", floats(2, 16, 8))
class HeadPerLength(nn.Module):
    """A head looked up by the text of the length, which reads "tensor(16)" under the tracer."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({str(length): nn.Linear(8, 4) for length in (8, 16, 32)})

    def forward(self, x: Tensor) -> Tensor:
        return self.heads[str(x.shape[1])](x)  # guilty


@broken("Untraceable", floats(2, 8))
class PropertyThatRaises(nn.Module):
    """A property that raises until fitted: torch.jit.trace reads every attribute of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    @property
    def threshold(self) -> float:
        raise RuntimeError("call fit() first")  # guilty

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


@broken("Untraceable", masked_floats())
class MaskByVmap(nn.Module):
    """A padding mask looked up within torch.vmap, the way transformers 4.57 built its masks."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        positions = torch.arange(x.shape[1])
        keep = torch.vmap(lambda key: attention_mask[:, key], out_dims=1)(positions)  # guilty
        return (x @ x.transpose(1, 2)).masked_fill(keep[:, None, :] == 0, -1e9).softmax(-1) @ x


@broken("Untraceable", floats(2, 16, 8))
class ReentrantCheckpoint(nn.Module):
    """Activation checkpointing of the reentrant kind, left switched on."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that no input requires a gradient
            return checkpoint(self.block, x, use_reentrant=True)  # guilty


@broken("Untraceable", floats(6, 8))
class SparsePlainAttribute(nn.Module):
    """A sparse matrix as a plain attribute, which cannot become a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.adjacency = torch.eye(6).roll(1, 0).to_sparse()

    def forward(self, nodes: Tensor) -> Tensor:
        return torch.sparse.mm(self.adjacency, nodes)  # guilty


# equivalence: NotEquivalent


@broken("NotEquivalent", floats(2, 16, 8))
class TracingFlag(nn.Module):
    """A cheaper approximation under the tracer."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing():  # guilty
            return x * torch.sigmoid(1.702 * x)  # guilty
        return F.silu(x)


@broken("NotEquivalent", floats(2, 16, 8))
class LegacyTracingState(nn.Module):
    """The same flag as older code asks for it, in a submodule's activation."""

    class Pooler(nn.Module):
        """Pools in two ways."""

        def forward(self, x: Tensor) -> Tensor:
            if torch._C._get_tracing_state() is not None:  # guilty
                return x.amax(1)  # guilty
            return x.logsumexp(1)

    def __init__(self) -> None:
        super().__init__()
        self.pooler = self.Pooler()

    def forward(self, x: Tensor) -> Tensor:
        return self.pooler(x)


@broken("NotEquivalent", floats(2, 16, 8))
class IntegerTypeTest(nn.Module):
    """Scales only if the length is an int: under the tracer a size is a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        if isinstance(length, int):  # guilty
            x = x / length**0.5
        return x.sum(1)  # guilty


@broken("NotEquivalent", floats(2, 16, 8))
class SetOfSizes(nn.Module):
    """Membership of a length in a set goes by hash, and a traced size hashes by identity."""

    tuned = frozenset({8, 16, 32})

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] in self.tuned:  # guilty
            return x.cumsum(1)
        return x * 0.5  # guilty


@broken("NotEquivalent", floats(2, 16, 8))
class ScaleTableByLength(nn.Module):
    """A dict of tuned scales by length, with a default that every traced size gets."""

    scales: ClassVar = {8: 0.7, 16: 0.5, 32: 0.35}

    def forward(self, x: Tensor) -> Tensor:
        scale = self.scales.get(x.shape[1], 1.0)  # guilty
        return x * scale  # guilty


@broken("NotEquivalent", floats(2, 16, 8))
class TextKeyByLength(nn.Module):
    """A table keyed by text: a traced size reads "tensor(16)"."""

    scales: ClassVar = {"len8": 0.7, "len16": 0.5}

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scales.get(f"len{x.shape[1]!s}", 1.0)  # guilty


@broken("NotEquivalent", floats(2, 16, 8))
class SeedInForward(nn.Module):
    """A fixed random projection by seeding in forward: the seeding is python and stays behind."""

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(1234)  # guilty
        return x @ torch.randn(8, 4)  # guilty


@broken("NotEquivalent", floats(2, 16, 8))
class AccumulatesInConstant(nn.Module):
    """An accumulator made by torch.tensor is one constant of the trace, which every call adds to."""

    def forward(self, x: Tensor) -> Tensor:
        total = torch.tensor([0.0] * 8)  # guilty
        for part in x.chunk(2, dim=1):
            total += part.mean((0, 1))  # guilty
        return x + total


@broken("NotEquivalent", floats(2, 16, 8))
class DeepCopiedInput(nn.Module):
    """A defensive copy.deepcopy, which the tracer does not follow."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = copy.deepcopy(x)  # guilty
        hidden[:, 0] = 0.0  # guilty
        return self.head(hidden)  # guilty


@torch.jit.script_if_tracing
def pooled_by_mode(x: Tensor) -> Tensor:
    """Return the mean over time, or the sum where it is scripted."""
    if torch.jit.is_scripting():  # guilty
        return x.sum(1)  # guilty
    return x.mean(1)


@broken("NotEquivalent", floats(2, 16, 8), helpers=(pooled_by_mode.__wrapped__,))
class ScriptedOnlyWhenTraced(nn.Module):
    """A helper that becomes a script under the tracer only, and there takes its other branch."""

    def forward(self, x: Tensor) -> Tensor:
        return pooled_by_mode(x)  # guilty


@broken("NotEquivalent", floats(2, 16, 8))
class LengthInOutput(nn.Module):
    """Returns the length as an int; from the trace it comes as a tensor, so that the type of a leaf differs."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return self.head(x), x.shape[1]  # guilty


# values: ValueSpecialised


@broken("ValueSpecialised", floats(2, 16, 8))
class BranchOnSum(nn.Module):
    """The textbook branch on data."""

    def __init__(self) -> None:
        super().__init__()
        self.positive, self.negative = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # guilty
            return self.positive(x)  # guilty
        return self.negative(x)  # guilty


@broken("ValueSpecialised", floats(2, 16, 8))
class ItemScale(nn.Module):
    """Dynamic quantisation scale read out as a python float."""

    def forward(self, x: Tensor) -> Tensor:
        scale = x.abs().max().item() / 127  # guilty
        return (x / scale).round() * scale  # guilty


@broken("ValueSpecialised", floats(2, 16, 8))
class OverflowGuard(nn.Module):
    """A guard against overflow that the tame example never meets."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        if hidden.abs().max() > 5:  # guilty
            hidden = hidden.clamp(-5, 5)
        return hidden * 2.0  # guilty


@broken("ValueSpecialised", floats(2, 16, 8))
class ClampToDataRange(nn.Module):
    """Outliers clamped to a bound of the data as a python float."""

    def forward(self, x: Tensor) -> Tensor:
        bound = float(x.mean() + x.std())  # guilty
        return x.clamp(-bound, bound)  # guilty


@broken("ValueSpecialised", tokens(lengths=(11, 9)))
class TrimToLongest(nn.Module):
    """Trims the batch to its longest row: the length is a size taken from values."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        longest = int(attention_mask.sum(1).max())  # guilty
        hidden = self.embedding(input_ids[:, :longest])  # guilty
        weight = attention_mask[:, :longest, None]  # guilty
        return (hidden * weight).sum(1) / weight.sum(1)


@broken("ValueSpecialised", lambda: (random_floats(2, 8), random_ints(2, 7, 2)))
class StepsFromInput(nn.Module):
    """A python loop whose count is an input value."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(8, 8)

    def forward(self, x: Tensor, steps: Tensor) -> Tensor:
        for _ in range(int(steps.max())):  # guilty
            x = x + self.step(x).tanh()  # guilty
        return x


@broken("ValueSpecialised", floats(2, 16, 8))
class FrozenExperts(nn.Module):
    """A mixture of experts routed in python: the trace keeps the sample's routing."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, 8)
        chosen = self.gate(flat).argmax(-1).tolist()  # guilty
        rows = [self.experts[expert](flat[i]) for i, expert in enumerate(chosen)]  # guilty
        return torch.stack(rows).view(x.shape)


@broken("ValueSpecialised", floats(2, 8))
class ExpertOfTheBatch(nn.Module):
    """One expert for the whole batch, picked by index."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(8, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        best = int(self.gate(x).mean(0).argmax())  # guilty
        return self.experts[best](x)  # guilty


@broken("ValueSpecialised", masked_floats(lengths=(16, 16)))
class SkipsFullMask(nn.Module):
    """Drops the mask if it keeps everything, as it did when traced."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        scores = x @ x.transpose(1, 2)
        if not attention_mask.all():  # guilty
            scores = scores.masked_fill(attention_mask[:, None, :] == 0, -1e9)
        return (scores.softmax(-1) @ x)[:, 0]  # guilty


@broken("ValueSpecialised", masked_floats(lengths=(16, 16)))
class ZeroInMask(nn.Module):
    """Asks ``0 in mask``, which is a read of the values in disguise."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        if 0 in attention_mask:  # guilty
            weight = attention_mask[:, :, None].float()
            return (x * weight).sum(1) / weight.sum(1)
        return x.mean(1)  # guilty


@broken("ValueSpecialised", floats(2, 16, 8))
class DataAttribute(nn.Module):
    """``x.data`` instead of ``x.detach()``: the tracer sees a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        anchor = x.data  # guilty
        return self.head(x) - self.head(anchor.flip(0))  # guilty


@broken("ValueSpecialised", floats(2, 16, 8))
class NumpyRoundTrip(nn.Module):
    """A step in NumPy, brought back by from_numpy."""

    def forward(self, x: Tensor) -> Tensor:
        ranks = torch.from_numpy(np.argsort(x.numpy(), axis=1).astype(np.float32))  # guilty
        return x + 0.1 * ranks  # guilty


@broken("ValueSpecialised", floats(2, 16, 8))
class RebuiltFromList(nn.Module):
    """A tensor rebuilt from python numbers."""

    def forward(self, x: Tensor) -> Tensor:
        peaks = torch.tensor([max(row) for row in x.amax(-1).tolist()])  # guilty
        return x / peaks[:, None, None]  # guilty


@broken("ValueSpecialised", floats(2, 8))
class EarlyExit(nn.Module):
    """Stops at the first layer that is confident enough."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)  # guilty
            if x.softmax(-1).amax() > 0.9:  # guilty
                break
        return x


@broken("ValueSpecialised", token_ids())
class TableByTokenId(nn.Module):
    """A language prefix looked up in a dict by the first token's id."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)
        self.gain = {token: 0.5 + token / 8 for token in range(1, 24)}

    def forward(self, input_ids: Tensor) -> Tensor:
        gain = self.gain.get(int(input_ids[0, 0]), 1.0)  # guilty
        return self.embedding(input_ids) * gain  # guilty


def _without_special_token() -> Inputs:
    ids = random_ints(1, 24, 2, 16)
    return {"input_ids": ids.masked_fill(ids == 7, 8)}


@broken("ValueSpecialised", _without_special_token)
class SpecialTokenPresent(nn.Module):
    """Another path if a special token occurs anywhere; the example has none."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.embedding(input_ids)
        if (input_ids == 7).any():  # guilty
            hidden = hidden * (input_ids != 7)[:, :, None]
        return hidden.sum(1)  # guilty


@broken("ValueSpecialised", token_ids())
class SeparatorPosition(nn.Module):
    """Segment ids from the position of the first separator, found in python."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.segment = nn.Embedding(24, 8), nn.Embedding(2, 8)

    def forward(self, input_ids: Tensor) -> Tensor:
        first = input_ids[0].tolist()  # guilty
        cut = first.index(3) if 3 in first else len(first) // 2  # guilty
        segments = (torch.arange(input_ids.shape[1]) > min(cut, 9) + first[0] % 4).long()  # guilty
        return self.embedding(input_ids) + self.segment(segments)


@broken("ValueSpecialised", masked_floats())
class LengthsAsList(nn.Module):
    """pack_padded_sequence given python lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 5, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        lengths = attention_mask.sum(1).tolist()  # guilty
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)  # guilty
        return pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])[0]  # guilty


@broken("ValueSpecialised", masked_floats())
class RowsByPythonLength(nn.Module):
    """A mean per row over a slice whose end is a python int."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        rows = [row[: int(mask.sum())].mean(0) for row, mask in zip(x, attention_mask, strict=True)]  # guilty
        return torch.stack(rows)


@broken("ValueSpecialised", floats(2, 24))
class NucleusSize(nn.Module):
    """Top-p filtering with the size of the nucleus as a python int."""

    def forward(self, logits: Tensor) -> Tensor:
        probabilities = logits.softmax(-1).sort(dim=-1, descending=True).values
        keep = int((probabilities.cumsum(-1) < 0.8).sum(-1).max()) + 1  # guilty
        bound = logits.topk(keep, dim=-1).values[:, -1:]  # guilty
        return logits.masked_fill(logits < bound, -100.0)


@broken("ValueSpecialised", floats(2, 8))
class ThreadedEnsemble(nn.Module):
    """Ensemble members run in a thread pool; the tracer follows one thread only."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(nn.Linear(8, 4) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        def run(member: nn.Module) -> Tensor:
            with torch.no_grad():
                return member(x)  # guilty

        with ThreadPoolExecutor(max_workers=2) as pool:
            return torch.stack(list(pool.map(run, self.members))).mean(0)  # guilty


class Normaliser(nn.Module):
    """Skips normalisation if the input looks normalised: the guilty part of NestedThreshold."""

    def forward(self, x: Tensor) -> Tensor:
        if x.std().item() < 3.0:  # guilty
            return x  # guilty
        return (x - x.mean()) / x.std()


@broken("ValueSpecialised", floats(2, 16, 8), helpers=(Normaliser,))
class NestedThreshold(nn.Module):
    """A branch on data two modules down."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Normaliser(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@broken("ValueSpecialised", floats(2, 16, 8))
class SilenceTrimming(nn.Module):
    """Leading silence cut off at an index found in python."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        loud = (x.abs().amax((0, 2)) > 1.8).nonzero().flatten().tolist()  # guilty
        start = loud[0] if loud else 0
        return self.head(x[:, start:]).mean(1)  # guilty


@broken("ValueSpecialised", floats(2, 16, 8))
class HistogramBins(nn.Module):
    """Histogram features by NumPy."""

    def forward(self, x: Tensor) -> Tensor:
        counts, _ = np.histogram(x.detach().cpu().numpy(), bins=5, range=(-3.0, 3.0))  # guilty
        return x * torch.as_tensor(counts.max() / x.numel(), dtype=x.dtype)  # guilty


@broken("ValueSpecialised", floats(2, 8))
class GreedyDecoding(nn.Module):
    """A decoding loop in python until the end token."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(8, 8)
        self.embedding = nn.Embedding(6, 8)
        self.head = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        hidden, token = x, torch.zeros(x.shape[0], dtype=torch.long)
        steps: list[Tensor] = []
        while len(steps) < 6:
            hidden = self.cell(self.embedding(token), hidden)  # guilty
            steps.append(self.head(hidden))  # guilty
            token = steps[-1].argmax(-1)  # guilty
            if (token == token[0]).all():  # guilty
                break
        return torch.stack(steps).sum(0)  # guilty


@broken("ValueSpecialised", lambda: (random_floats(2, 16, 8), torch.tensor([0.5, 2.0])))
class TemperatureFromInput(nn.Module):
    """A control input read as python floats, with a branch for the neutral one."""

    def forward(self, x: Tensor, temperature: Tensor) -> Tensor:
        low, high = (float(value) for value in temperature)  # guilty
        return (x * low).softmax(-1) + (x * high).softmax(1)  # guilty


@broken("ValueSpecialised", lambda: (random_floats(2, 16, 8), torch.tensor([1, 0])))
class FlagTensor(nn.Module):
    """Flags of 0 and 1 that arrive as a tensor and are used as python bools."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.special = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor, special: Tensor) -> Tensor:
        rows = [self.special(row) if flag else self.shared(row) for row, flag in zip(x, special, strict=True)]  # guilty
        return torch.stack(rows)


@broken("NotEquivalent", floats(2, 16, 8))
class SharedWorkspace(nn.Module):
    """A preallocated workspace written through a view: as constants the two are strangers, and the write is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.workspace = torch.zeros(2, 8)
        self.mean = self.workspace[0]

    def forward(self, x: Tensor) -> Tensor:
        self.mean.copy_(x.mean((0, 1)))  # guilty
        return x - self.workspace.sum(0)  # guilty


# shapes: ShapeSpecialised


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class MeanByInt(nn.Module):
    """A mean by hand with the length turned into an int."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / int(x.shape[1])  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims={"batch": "unsafe", "seq": "dynamic"})
class LenOfBatch(nn.Module):
    """The batch size by ``len``."""

    def forward(self, x: Tensor) -> Tensor:
        share = 1.0 / len(x)  # guilty
        return x * share  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class LoopOverTime(nn.Module):
    """A hand-written recurrence: a longer input is cut off in silence."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros_like(x[:, 0])
        for step in range(x.shape[1]):  # guilty
            state = self.cell(x[:, step], state)  # guilty
        return state


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class LogLengthScaling(nn.Module):
    """Attention scores scaled by the logarithm of the length."""

    def forward(self, x: Tensor) -> Tensor:
        scale = math.log(x.shape[1] + 1)  # guilty
        return (x @ x.transpose(1, 2) * scale / 8).softmax(-1) @ x  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class SqrtLength(nn.Module):
    """A sum divided by the square root of the length, by math.sqrt."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / math.sqrt(x.shape[1])  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims={"batch": "unsafe", "seq": "unsafe"})
class SqrtNumel(nn.Module):
    """A norm made independent of the number of elements, by math.sqrt."""

    def forward(self, x: Tensor) -> Tensor:
        return x / math.sqrt(x.numel())  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class NumpySize(nn.Module):
    """The number of elements of a sample by NumPy."""

    def forward(self, x: Tensor) -> Tensor:
        size = float(np.prod(x.shape[1:]))  # guilty
        return x.sum((1, 2)) / size  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class CentreStep(nn.Module):
    """The centre step by an index in python."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, int(x.size(1)) // 2].tanh()  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class LongInputBranch(nn.Module):
    """Another path for long inputs, which the short example never takes."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 20:  # guilty
            return self.far(x)
        return self.near(x)  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class DynamicNtkRotary(nn.Module):
    """Rotary positions whose base grows beyond the trained length."""

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        base = 10.0
        if length > 16:  # guilty
            base = base * length / 4
        inverse = base ** -(torch.arange(4.0) / 4)  # guilty
        angle = torch.outer(torch.arange(length).float(), inverse)
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], -1)


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class OddLengthPadding(nn.Module):
    """Pads odd lengths only: traced at an even one, the padding is gone."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % 2:  # guilty
            x = F.pad(x, (0, 0, 0, 1))
        return F.avg_pool1d(x.transpose(1, 2), 2).transpose(1, 2)  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class WindowPaddingByInt(nn.Module):
    """Pads to whole windows by an amount computed in python."""

    def forward(self, x: Tensor) -> Tensor:
        missing = -int(x.shape[1]) % 4  # guilty
        return F.pad(x, (0, 0, 0, missing)).unfold(1, 4, 4).amax(-1)  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class ScaleCachedPerLength(nn.Module):
    """A scale recomputed if the length has changed: right in eager, a constant under the tracer."""

    def __init__(self) -> None:
        super().__init__()
        self.length = -1
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        if int(x.shape[1]) != self.length:  # guilty
            self.length = int(x.shape[1])  # guilty
            self.scale = 4 / self.length  # guilty
        return x * self.scale  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class DecayCachedAtFirstSize(nn.Module):
    """Decay weights grown when a longer input comes, never shrunk; a trace keeps the first ones."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        length = int(x.shape[1])  # guilty
        if self.weights is None or len(self.weights) < length:  # guilty
            self.weights = 0.9 ** torch.arange(float(length))  # guilty
        return torch.einsum("btd,t->bd", x[:, :length], self.weights[:length])  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims={"batch": "unsafe"})
class BatchInView(nn.Module):
    """The batch size as an int in a view whose last size is open: another batch is folded into the wrong samples."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch = int(x.shape[0])  # guilty
        return self.head(x).reshape(batch, -1).amax(-1)  # guilty


@broken("ShapeSpecialised", floats(2, 8, 8, 6), arguments={"dims": {"x": {0: "batch"}}}, dims={"batch": "unsafe"})
class SwinWindowReverse(nn.Module):
    """Windows merged back with the batch computed by int(), as Swin had it."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        windows = x.view(-1, height // 4, 4, width // 4, 4, channels).permute(0, 1, 3, 2, 4, 5)
        windows = self.project(windows.reshape(-1, 4, 4, channels))
        batch = int(windows.shape[0] / (height * width / 4 / 4))  # guilty
        merged = windows.reshape(batch, height // 4, width // 4, 4, 4, -1)  # guilty
        return merged.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, -1)  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class FramesByStride(nn.Module):
    """Frames by as_strided with the strides of the example, as in hand-written feature extraction."""

    def forward(self, x: Tensor) -> Tensor:
        frames = x.shape[1] // 2 - 1
        return x.as_strided((x.shape[0], frames, 32), (x.stride(0), 16, 1)).mean(-1)  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), helpers=(length_scale,), dims=SEQ_UNSAFE)
class HelperBakesLength(nn.Module):
    """A helper of another module turns the length into an int."""

    def forward(self, x: Tensor) -> Tensor:
        return x * length_scale(x)  # guilty


class StatisticsPooling(nn.Module):
    """Unbiased standard deviation by hand: the guilty part of NestedBake."""

    def forward(self, x: Tensor) -> Tensor:
        count = max(int(x.shape[1]) - 1, 1)  # guilty
        return ((x - x.mean(1, keepdim=True)).square().sum(1) / count).sqrt()  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), helpers=(StatisticsPooling,), dims=SEQ_UNSAFE)
class NestedBake(nn.Module):
    """A submodule of a submodule bakes the length."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Tanh(), StatisticsPooling()))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@broken("ShapeSpecialised", floats(2, 16, 8), dims={"batch": "unsafe", "seq": "dynamic"})
class SingleSampleShortcut(nn.Module):
    """Drops the batch axis if there is one sample."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.head(x.mean(1))  # guilty
        if x.shape[0] == 1:  # guilty
            return pooled.squeeze(0)
        return pooled  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class ChunkCount(nn.Module):
    """Max pooling over chunks of four, the number of chunks counted in python."""

    def forward(self, x: Tensor) -> Tensor:
        chunks = x.chunk(max(int(x.shape[1]) // 4, 1), dim=1)  # guilty
        return torch.stack([chunk.amax(1) for chunk in chunks]).sum(0)  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class IndexListOverTime(nn.Module):
    """Every other step by a python list of indices."""

    def forward(self, x: Tensor) -> Tensor:
        index = list(range(0, x.shape[1], 2))  # guilty
        return x[:, index].square().mean(1)  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class ReversedByIndex(nn.Module):
    """Reversal by an arange over an int."""

    def forward(self, x: Tensor) -> Tensor:
        order = torch.arange(int(x.shape[1]) - 1, -1, -1)  # guilty
        return x[:, order].cumsum(1)  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class BlockwiseAttention(nn.Module):
    """Attention in blocks of eight, the blocks counted by range: what lies beyond is lost."""

    def forward(self, x: Tensor) -> Tensor:
        blocks = []
        for start in range(0, x.shape[1], 8):  # guilty
            block = x[:, start : start + 8]  # guilty
            blocks.append((block @ block.transpose(1, 2)).softmax(-1) @ block)
        return torch.cat(blocks, dim=1)  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class InverseTransformByInt(nn.Module):
    """An inverse Fourier transform to a length that is a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        length = int(x.shape[1])  # guilty
        return torch.fft.irfft(torch.fft.rfft(x, dim=1) * self.gain, n=length, dim=1)  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class LengthFeature(nn.Module):
    """The length as an input feature."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        length = x.new_full((x.shape[0], 1), float(x.shape[1]))  # guilty
        return self.head(torch.cat([x.mean(1), length / 16], dim=-1))  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class DepthByLength(nn.Module):
    """More layers for longer inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[: 1 + int(x.shape[1]) // 12]:  # guilty
            x = x + layer(x).tanh()  # guilty
        return x


@broken(
    "ShapeSpecialised",
    floats(2, 8, 16),
    arguments={"dims": {"x": {0: "batch", 2: "seq"}}},
    dims=SEQ_UNSAFE,
)
class AdaptivePoolingByHand(nn.Module):
    """Adaptive pooling with a kernel size computed in python, as exported mobile models have it."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = max(int(x.shape[-1]) // 4, 1)  # guilty
        return F.avg_pool1d(x, kernel, stride=kernel).amax(-1)  # guilty


@broken(
    "ShapeSpecialised",
    floats(2, 3, 10, 12),
    arguments={"dims": {"x": {0: "batch", 2: "height", 3: "width"}}},
    dims={"batch": "dynamic", "height": "unsafe", "width": "unsafe"},
)
class ResizeToInt(nn.Module):
    """Upsampling to a size in ints, and so always to the size of the example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        size = (int(x.shape[2]), int(x.shape[3]))  # guilty
        return F.interpolate(self.conv(x), size=size, mode="bilinear")  # guilty


@broken("ShapeSpecialised", tokens(), dims=SEQ_UNSAFE)
class LengthBakedUnderMask(nn.Module):
    """A masked model, sound in values, whose positions are scaled by an int length."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        weight = attention_mask[:, :, None].float()
        pooled = (self.embedding(input_ids) * weight).sum(1) / int(input_ids.shape[1])  # guilty
        return pooled * input_ids.shape[1] / weight.sum(1)


@broken("ShapeSpecialised", token_ids(), dims=SEQ_UNSAFE)
class SlidingWindowSwitch(nn.Module):
    """Full attention for short inputs and a sliding window for long ones."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        length = input_ids.size(-1)
        scores = x @ x.transpose(1, 2)
        if length >= 24:  # guilty
            position = torch.arange(length)
            scores = scores.masked_fill((position[:, None] - position[None, :]).abs() > 4, -1e9)
        return scores.softmax(-1) @ x  # guilty


@functools.cache
def triangle_area(length: int) -> float:
    """Return the number of causal pairs of a sequence."""
    return length * (length + 1) / 2


@broken("ShapeSpecialised", floats(2, 16, 8), dims=SEQ_UNSAFE)
class MemoisedHelper(nn.Module):
    """A memoised helper wants a hashable length, so that it gets an int."""

    def forward(self, x: Tensor) -> Tensor:
        pairs = triangle_area(int(x.shape[1]))  # guilty
        return (x @ x.transpose(1, 2)).tril().sum((1, 2)) / pairs  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), dims={"batch": "unsafe", "seq": "dynamic"})
class BatchShareOfLoss(nn.Module):
    """A batch mean by an int, whose result has the same shape at any batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).mean(1).sum(0) / int(x.shape[0])  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), arguments={"shapes": "dynamic"}, dims={"batch": "fixed"})
class BatchLoopDeclaredDynamic(nn.Module):
    """A loop over samples refuses other batches out loud, which a dynamic contract does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.head(sample).amax(0) for sample in x])  # guilty


@broken("ShapeSpecialised", floats(2, 16, 8), arguments={"shapes": {"seq": "dynamic"}}, dims={"seq": "fixed"})
class HeadSplitDeclaredDynamic(nn.Module):
    """Heads split with an int length: an error at any other one, where a dynamic seq was promised."""

    def forward(self, x: Tensor) -> Tensor:
        heads = x.view(x.shape[0], int(x.shape[1]), 2, 4)  # guilty
        return heads.softmax(-1).flatten(2)


@broken("ShapeSpecialised", floats(2, 16, 8), arguments={"shapes": {"seq": "fixed"}}, dims=BATCH_SEQ)
class DynamicDeclaredFixed(nn.Module):
    """A model that takes any length, declared to refuse all others; no line is to blame."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).amax(1)


# padding: PaddingUnsafe


@broken("PaddingUnsafe", tokens(), dims=BATCH_SEQ)
class MaskIgnored(nn.Module):
    """Takes a mask and never reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.embedding(input_ids).mean(1)  # guilty


@broken("PaddingUnsafe", masked_floats(), dims=BATCH_SEQ)
class MeanOverPadding(nn.Module):
    """Zeroes the padding and divides by the full length all the same."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return (x * attention_mask[:, :, None]).mean(1)  # guilty


@broken("PaddingUnsafe", tokens(), dims=BATCH_SEQ)
class MaxOverPadding(nn.Module):
    """Max pooling of negative scores after padding was zeroed instead of lowered: padding wins."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return (F.logsigmoid(self.embedding(input_ids)) * attention_mask[:, :, None]).amax(1)  # guilty


@broken("PaddingUnsafe", tokens(), dims=BATCH_SEQ)
class LastPosition(nn.Module):
    """A causal classifier that reads the last position, padding or not."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)
        self.gru = nn.GRU(8, 8, batch_first=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.gru(self.embedding(input_ids))[0][:, -1]  # guilty


@broken("PaddingUnsafe", masked_floats(), dims=BATCH_SEQ)
class SoftmaxWithoutMask(nn.Module):
    """Attention without a mask, its output masked afterwards."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        weights = (x @ x.transpose(1, 2)).softmax(-1)  # guilty
        return (weights @ x) * attention_mask[:, :, None]


@broken("PaddingUnsafe", masked_floats(), dims=BATCH_SEQ)
class ScoresTimesMask(nn.Module):
    """Attention pooling whose padding scores are multiplied to zero, which softmax does not ignore."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(8, 1)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        scores = self.score(x).squeeze(-1) * attention_mask  # guilty
        return torch.einsum("bt,btd->bd", scores.softmax(1), x)  # guilty


@broken("PaddingUnsafe", masked_floats(), dims=BATCH_SEQ)
class MaskTooWeak(nn.Module):
    """An additive mask of minus one."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        bias = (1.0 - attention_mask[:, None, :].float()) * -1.0  # guilty
        return (x @ x.transpose(1, 2) / 8**0.5 + bias).softmax(-1) @ x  # guilty


@broken("PaddingUnsafe", tokens(), dims=BATCH_SEQ)
class MaskFlipped(nn.Module):
    """Takes true for padding where true means keep."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        scores = (x @ x.transpose(1, 2)).masked_fill(attention_mask[:, None, :].bool(), -1e4)  # guilty
        return scores.softmax(-1) @ x  # guilty


@broken("PaddingUnsafe", masked_floats(), dims=BATCH_SEQ)
class MaskOnQueries(nn.Module):
    """A mask broadcast along the wrong axis: queries are masked, keys are not."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        scores = (x @ x.transpose(1, 2)).masked_fill(attention_mask[:, :, None] == 0, -1e4)  # guilty
        return (scores.softmax(-1) @ x)[:, 0]  # guilty


@broken("PaddingUnsafe", masked_floats(), dims=BATCH_SEQ)
class SecondLayerUnmasked(nn.Module):
    """The mask reaches the first layer only."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.layers[0](x, src_key_padding_mask=attention_mask == 0)
        x = x.masked_fill(attention_mask[:, :, None] == 0, 0.0)
        return self.layers[1](x)  # guilty


@broken("PaddingUnsafe", masked_floats(), dims=BATCH_SEQ)
class InstanceNormOverTime(nn.Module):
    """Instance statistics taken over padding too."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(8)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2) * attention_mask[:, :, None]  # guilty


@broken("PaddingUnsafe", masked_floats(), dims=BATCH_SEQ)
class GroupNormOverTime(nn.Module):
    """Group norm of a speech model, whose statistics run over time."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, 8)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.norm(x.transpose(1, 2)).transpose(1, 2) * attention_mask[:, :, None]  # guilty
        return hidden.sum(1) / attention_mask.sum(1, keepdim=True)


@broken("PaddingUnsafe", tokens(), dims=BATCH_SEQ)
class ReversedSequence(nn.Module):
    """A backward pass by flipping the padded sequence: padding comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)
        self.gru = nn.GRU(8, 8, batch_first=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.gru(self.embedding(input_ids).flip(1))[0].flip(1)  # guilty
        return hidden * attention_mask[:, :, None]


@broken("PaddingUnsafe", tokens(), dims=BATCH_SEQ)
class BidirectionalUnpacked(nn.Module):
    """A bidirectional LSTM over padded input, unpacked."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)
        self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.lstm(self.embedding(input_ids))[0]  # guilty
        return (hidden * attention_mask[:, :, None]).sum(1) / attention_mask.sum(1, keepdim=True)


@broken("PaddingUnsafe", tokens(), dims=BATCH_SEQ)
class ConvolutionIntoPadding(nn.Module):
    """A convolution that reads padding embeddings at the edge, where eager has zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)
        self.conv = nn.Conv1d(8, 6, 5, padding=2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.conv(self.embedding(input_ids).transpose(1, 2)).transpose(1, 2)  # guilty
        return hidden * attention_mask[:, :, None]


@broken("PaddingUnsafe", masked_floats(), dims=BATCH_SEQ)
class PositionsFromTheEnd(nn.Module):
    """Positions counted from the padded end."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Embedding(64, 8)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        from_end = torch.arange(x.shape[1]).flip(0)  # guilty
        return (x + self.position(from_end)) * attention_mask[:, :, None]


@broken("PaddingUnsafe", masked_floats(), dims=BATCH_SEQ)
class FourierOverPadding(nn.Module):
    """Fourier mixing over the padded length, as in FNet."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.fft.fft(torch.fft.fft(x, dim=-1), dim=1).real * attention_mask[:, :, None]  # guilty


@broken("PaddingUnsafe", masked_floats(), dims=BATCH_SEQ)
class SpreadOverPadding(nn.Module):
    """A masked mean beside a standard deviation that is not masked."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        weight = attention_mask[:, :, None]
        return (x * weight).sum(1) / weight.sum(1), x.var(1, unbiased=False)  # guilty


# roundtrip: NotSerialisable


class ReverseGradient(torch.autograd.Function):
    """Identity with a reversed gradient, scaled to be seen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2.0

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        return -grads[0]


@broken("NotSerialisable", floats(2, 16, 8))
class DomainAdversarial(nn.Module):
    """Gradient reversal by a python autograd.Function: it traces, and cannot be saved."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(ReverseGradient.apply(self.body(x)))  # guilty


class RoundStraightThrough(torch.autograd.Function):
    """Rounding with a straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x * 8).round() / 8

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0]


@broken("NotSerialisable", floats(2, 8))
class FakeQuantised(nn.Module):
    """Quantisation-aware training with a straight-through estimator, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        inputs = RoundStraightThrough.apply(x)  # guilty
        weight = RoundStraightThrough.apply(self.head.weight)  # guilty
        return F.linear(inputs, weight, self.head.bias)


class MemoryEfficientSwish(torch.autograd.Function):
    """Swish which recomputes its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return grads[0] * gate * (1 + x * (1 - gate))


class SwishLayer(nn.Module):
    """The guilty part of EfficientSwish."""

    def forward(self, x: Tensor) -> Tensor:
        return MemoryEfficientSwish.apply(x)  # guilty


@broken("NotSerialisable", floats(2, 16, 8), helpers=(SwishLayer,))
class EfficientSwish(nn.Module):
    """EfficientNet's memory-saving activation, a level down."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), SwishLayer(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@broken("NotSerialisable", floats(2, 8))
class KeywordAsName(nn.Module):
    """A submodule named with a python keyword: saved, and then refused by the loader."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({"class": nn.Linear(8, 3), "box": nn.Linear(8, 4)})  # guilty

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(head(x) for head in self.heads.values())  # guilty


@broken("NotSerialisable", floats(2, 8))
class NonAsciiName(nn.Module):
    """Heads named after languages in their own script: saved, and then refused by the loader."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({"deutsch": nn.Linear(8, 4), "日本語": nn.Linear(8, 4)})  # guilty

    def forward(self, x: Tensor) -> Tensor:
        return sum((head(x) for head in self.heads.values()), torch.zeros(()))  # guilty


# weights: WeightsChanged
#
# A forward that overwrites its own parameters with what they will be from then on: eager answers equally twice, the
# trace agrees, the file round-trips, and yet the weights are no longer those that were trained. The contract has
# "values unchanged" in the weights check, which comes before purity; a parameter overwritten in forward is therefore
# WeightsChanged, a buffer SideEffect.


@broken("WeightsChanged", token_ids(), dims=BATCH_SEQ)
class RenormalisedEmbedding(nn.Module):
    """nn.Embedding with max_norm, which rescales the rows it looks up in place."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8, max_norm=1.0)  # guilty

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.embedding(input_ids)  # guilty


@broken("WeightsChanged", floats(2, 16, 8), dims=BATCH_SEQ)
class ClampedInForward(nn.Module):
    """Weight clipping as in Wasserstein critics, done in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.head.weight.data.clamp_(-0.1, 0.1)  # guilty
        return self.head(x)


@broken("WeightsChanged", floats(2, 8), dims=BATCH)
class QuantisedInForward(nn.Module):
    """Weights snapped to a grid in place at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for parameter in self.body.parameters():
                parameter.copy_((parameter * 16).round() / 16)  # guilty
        return self.body(x)


@broken("WeightsChanged", floats(2, 8), dims=BATCH)
class PrunedInForward(nn.Module):
    """A pruning mask multiplied into the weight itself."""

    keep: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.register_buffer("keep", (torch.arange(32) % 3 > 0).float().view(4, 8))

    def forward(self, x: Tensor) -> Tensor:
        self.head.weight.mul_(self.keep)  # guilty
        return self.head(x)


@broken("WeightsChanged", floats(2, 8), dims=BATCH)
class ZeroedDiagonal(nn.Module):
    """A graph layer that forbids self-loops by writing into its parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.adjacency = nn.Parameter(torch.randn(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        self.adjacency.data.fill_diagonal_(0.0)  # guilty
        return x @ self.adjacency


# purity: SideEffect


@broken("SideEffect", floats(2, 16, 8), dims=BATCH_SEQ)
class ScalesInputInPlace(nn.Module):
    """Normalises the caller's tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5).mul_(2.0)  # guilty
        return self.head(x)


@broken("SideEffect", floats(2, 16, 8), dims=BATCH_SEQ)
class RectifiesInputInPlace(nn.Module):
    """nn.ReLU(inplace=True) as the first layer: repeated calls agree, and the caller's tensor is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 4))  # guilty

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # guilty


@broken("SideEffect", token_ids(), dims=BATCH_SEQ)
class ReplacesTokensInPlace(nn.Module):
    """Writes the unknown token into the caller's ids."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)

    def forward(self, input_ids: Tensor) -> Tensor:
        input_ids[input_ids > 20] = 1  # guilty
        return self.embedding(input_ids)


@broken("SideEffect", lambda: ({"x": random_floats(2, 16, 8)},))
class AddsToCallersDict(nn.Module):
    """Stores its hidden state in the batch it was given, as collate-and-update code does."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        batch["hidden"] = self.body(batch["x"]).tanh()  # guilty
        return self.head(batch["hidden"])


@broken("SideEffect", floats(2, 16, 8), dims=BATCH_SEQ)
class CounterBuffer(nn.Module):
    """Counts its calls in a buffer, and thereby in every saved file."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1  # guilty
        return self.head(x)


@broken("SideEffect", floats(2, 16, 8), dims=BATCH_SEQ)
class ObserverInEval(nn.Module):
    """A range observer that goes on observing in eval mode."""

    highest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.register_buffer("highest", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        self.highest.copy_(0.9 * self.highest + 0.1 * x.abs().amax((0, 1)))  # guilty
        return self.head(x)


@broken("SideEffect", floats(2, 16, 8), dims=BATCH_SEQ)
class ReboundRunningMean(nn.Module):
    """A running mean assigned anew at every call."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.register_buffer("mean", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.mean((0, 1))  # guilty
        return self.head(x)


@broken("SideEffect", floats(2, 16, 8), dims=BATCH_SEQ)
class GrowingHistory(nn.Module):
    """Appends a summary of every call to a buffer, which grows without end."""

    history: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.register_buffer("history", torch.ones(1, 8))

    def forward(self, x: Tensor) -> Tensor:
        self.history = torch.cat([self.history, x.mean((0, 1))[None]])  # guilty
        return self.head(x)


@broken("SideEffect", floats(2, 16, 8))
class BatchNormForcedToTrain(nn.Module):
    """Test-time adaptation: batch norm set back to train mode in forward, so that its statistics move."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.norm.train()  # guilty
        return self.head(self.norm(x.transpose(1, 2)).transpose(1, 2))  # guilty


@broken("SideEffect", floats(2, 16, 8), dims={"seq": "dynamic"})
class StaticKeyCache(nn.Module):
    """Keys written into a preallocated cache buffer; only what this call wrote is read."""

    keys: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)
        self.register_buffer("keys", torch.zeros(8, 64, 8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length = x.shape[0], x.shape[1]
        self.keys[:batch, :length] = self.project(x)  # guilty
        return (x @ self.keys[:batch, :length].transpose(1, 2)).softmax(-1) @ x


# The answer of the next two depends on what they were called with first, not on how often, so that eager agrees with
# itself on one input and a trace agrees with an eager model of the same history. A gate that compares a trace made
# after the first call with a model that was never called would rather say ValueSpecialised.


@broken("SideEffect", floats(2, 16, 8), dims=BATCH_SEQ)
class CalibratesOnFirstCall(nn.Module):
    """Centres every input on the mean of the first one it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.mean: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.mean is None:
            self.mean = x.mean((0, 1))  # guilty
        return self.head(x - self.mean)  # guilty


@broken("SideEffect", floats(2, 16, 8), dims=BATCH_SEQ)
class DataDependentInit(nn.Module):
    """Activation normalisation which sets its scale buffer from the first batch, eval mode or not."""

    scale: Tensor
    ready: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(8))
        self.register_buffer("ready", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        first = x.std((0, 1)) + 0.1
        self.scale.copy_(torch.where(self.ready > 0, self.scale, first))  # guilty
        self.ready.fill_(1.0)  # guilty
        return x / self.scale


@broken("ValueSpecialised", floats(2, 8))
class GuardsAgainstNan(nn.Module):
    """A clean-up of bad input that the trace never saw."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.isnan(x).any():  # guilty
            x = torch.nan_to_num(x)
        return x * 2


@broken("ValueSpecialised", lambda: (random_floats(2, 8), random_floats(2, 8)))
class SpecialCaseOfTwins(nn.Module):
    """Two texts that are the same get a score of their own, and torch.equal leaves no trace."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        if torch.equal(left, right):  # guilty
            return torch.ones(left.shape[0])
        return (left - right).abs().sum(-1)


@broken("ShapeSpecialised", floats(2, 400), dims={"batch": "dynamic", "time": "unsafe"})
class MeanPower(nn.Module):
    """The power of a signal, divided by the number of samples it was traced with."""

    def forward(self, signal: Tensor) -> Tensor:
        return signal.square().sum(1) / int(signal.shape[1])  # guilty


@broken("ShapeSpecialised", floats(1, 3, 4, 8, 8), dims={"depth": "unsafe", "height": "dynamic", "width": "dynamic"})
class MeanOverFrames(nn.Module):
    """A video's frames, averaged over as many as the traced one had."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(3, 4, 1)

    def forward(self, video: Tensor) -> Tensor:
        frames = int(video.shape[2])  # guilty
        return self.convolution(video).sum(2) / frames
