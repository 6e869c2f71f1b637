"""Small models that each break one published rule of Neuron, and healthy ones that look much the same."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...corpus.case import (
    Case,
    Inputs,
    Source,
    case_of,
    floats,
    masked_floats,
    named,
    random_floats,
    random_ints,
    scripted,
    token_ids,
    tokens,
)

__all__ = ["BREAKING", "KEEPING", "Breaking"]


@dataclass(frozen=True, eq=False)
class Breaking:
    """A model that breaks ``rule``; ``also`` are other failing rules that must name it too.

    A case without guilty lines is one in which no line can be known.
    """

    case: Case
    rule: str
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.rule}-{self.case}"


BREAKING: list[Breaking] = []
KEEPING: list[Case] = []

_Model = TypeVar("_Model", bound=type[nn.Module])


def breaks(
    rule: str,
    inputs: Callable[[], Inputs],
    *,
    also: tuple[str, ...] = (),
    arguments: Mapping[str, Any] | None = None,
    helpers: Sequence[Source] = (),
) -> Callable[[_Model], _Model]:
    """Add the decorated class as one that breaks ``rule``; its guilty lines may lie in ``helpers``."""

    def register(cls: _Model) -> _Model:
        BREAKING.append(Breaking(case_of(cls, inputs, arguments=arguments, helpers=helpers), rule, also))
        return cls

    return register


def keeps(inputs: Callable[[], Inputs], *, arguments: Mapping[str, Any] | None = None) -> Callable[[_Model], _Model]:
    """Add the decorated class as one that keeps every rule."""

    def register(cls: _Model) -> _Model:
        KEEPING.append(case_of(cls, inputs, arguments=arguments))
        return cls

    return register


def ids(*shape: int, high: int = 24) -> Callable[[], Tensor]:
    """Return a supplier of one int64 tensor."""
    return lambda: random_ints(1, high, *shape)


def real(*shape: int, dtype: torch.dtype = torch.float32) -> Callable[[], Tensor]:
    """Return a supplier of one float tensor."""
    return lambda: random_floats(*shape, dtype=dtype)


# trace


@breaks("trace", floats(2, 8))
class ScaleInAList(nn.Module):
    """A parameter in a plain list, which no module registers."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = [torch.ones(8, requires_grad=True)]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scales[0]  # guilty


# data-dependent-shape


@breaks("data-dependent-shape", floats(4, 8))
class PositiveOnly(nn.Module):
    """An index by a comparison."""

    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0]  # guilty


@breaks("data-dependent-shape", masked_floats())
class ValidTokens(nn.Module):
    """The tokens that the mask keeps, as a boolean index over two axes."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        keep = attention_mask.bool()
        return x[keep].sum(0)  # guilty


@breaks("data-dependent-shape", floats(2, 8))
class ChosenFeatures(nn.Module):
    """A boolean buffer as an index: the compiler sees a nonzero of it all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("chosen", torch.arange(8) % 2 == 0)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.chosen]  # guilty


@breaks("data-dependent-shape", floats(4, 8))
class ClippedByMask(nn.Module):
    """A write by a boolean mask, which keeps its shape and yet becomes a nonzero."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[y > 1] = 1.0  # guilty
        return y


@breaks("data-dependent-shape", floats(4, 8))
class SelectedByMask(nn.Module):
    """The function for what an index by a mask does."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.masked_select(x, x > 0).sum()  # guilty


@breaks("data-dependent-shape", floats(4, 8))
class PositivePlaces(nn.Module):
    """The places of positive values."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nonzero(x > 0)  # guilty


@breaks("data-dependent-shape", floats(4, 8))
class PositiveRows(nn.Module):
    """The rows and columns of positive values, one tensor each."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = torch.nonzero(x > 0, as_tuple=True)  # guilty
        return rows + columns


@breaks("data-dependent-shape", floats(4, 8))
class WhereAlone(nn.Module):
    """``where`` with its condition alone."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0)[0]  # guilty


@breaks("data-dependent-shape", floats(4, 8))
class PlacesByArgwhere(nn.Module):
    """``nonzero`` under numpy's name."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.argwhere(x > 0)  # guilty


@breaks("data-dependent-shape", token_ids())
class DistinctTokens(nn.Module):
    """How many tokens are distinct."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return torch.unique(input_ids).float()  # guilty


@breaks("data-dependent-shape", token_ids())
class RunsCollapsed(nn.Module):
    """Repeated tokens collapsed, as greedy CTC decoding does."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return torch.unique_consecutive(input_ids.flatten())  # guilty


@breaks("data-dependent-shape", named(tokens=ids(16)))
class TokenCounts(nn.Module):
    """A count for each token up to the greatest."""

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.bincount(tokens)  # guilty


@breaks("data-dependent-shape", named(x=real(4, 8), durations=ids(4, high=5)))
class LengthRegulator(nn.Module):
    """Each position as often as its duration says, as in speech synthesis."""

    def forward(self, x: Tensor, durations: Tensor) -> Tensor:
        return torch.repeat_interleave(x, durations, dim=0)  # guilty


@breaks("data-dependent-shape", token_ids())
class OpenOneHot(nn.Module):
    """As many classes as the greatest value asks for."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return F.one_hot(input_ids).sum((0, 1))[:1]  # guilty


def places_in_two_ways(x: Tensor) -> Tensor:
    """A branch that TorchScript keeps."""
    found = x.long()
    if x.dim() > 1:
        found = torch.nonzero(x)  # guilty
    return found


@breaks("data-dependent-shape", floats(4, 8), helpers=(places_in_two_ways,))
class InAScriptedPart(nn.Module):
    """An operation inside a branch of a scripted function."""

    def forward(self, x: Tensor) -> Tensor:
        return scripted(places_in_two_ways)(x > 0)


# value-branch


@breaks("value-branch", floats(2, 8))
class SignBranch(nn.Module):
    """A branch on a sum."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # guilty
            return x * 2
        return x * 3


@breaks("value-branch", floats(2, 8))
class ScaledByItsLargest(nn.Module):
    """A value that leaves the graph as a number."""

    def forward(self, x: Tensor) -> Tensor:
        largest = x.abs().max().item()  # guilty
        return x / largest


@breaks("value-branch", named(x=real(3, 16), lengths=lambda: torch.tensor([4, 9, 7])))
class CutByNumber(nn.Module):
    """A size that was a value: the program has it baked, so that its own shapes do not vary."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        longest = int(lengths.max())  # guilty
        return x[:, :longest].sum(1) / lengths[:, None]


# shape-varies


@breaks("shape-varies", named(x=real(3, 16), lengths=lambda: torch.tensor([4, 9, 7])))
class CutToLongest(nn.Module):
    """The sequence cut to the longest row of the batch."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return x[:, : lengths.max()].sum(1)  # guilty


@breaks("shape-varies", named(lengths=lambda: torch.tensor([4, 9, 7])))
class PositionsToLongest(nn.Module):
    """As many positions as the longest row has."""

    def forward(self, lengths: Tensor) -> Tensor:
        positions = torch.arange(lengths.max())  # guilty
        return (positions[None] < lengths[:, None]).sum(1)


@breaks("shape-varies", masked_floats(lengths=(11, 9)))
class CutToTheMask(nn.Module):
    """The sequence cut to what the mask keeps: the same answer, at another cost for each batch."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        longest = attention_mask.sum(1).max()
        kept = x[:, :longest]  # guilty
        return (kept * attention_mask[:, :longest, None]).sum(1)


def positive_values(x: Tensor) -> Tensor:
    """Scripted: the tracer knows no dtype in here, so that the index is not known to be a mask."""
    return x[x > 0]


@breaks("shape-varies", floats(4, 8))
class UnknownInAScriptedPart(nn.Module):
    """What no rule sees in the program shows itself in the answer, without a line."""

    def forward(self, x: Tensor) -> Tensor:
        return scripted(positive_values)(x)


# padding


@breaks("padding", masked_floats())
class MeanOverPadding(nn.Module):
    """A mean that counts padded positions."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(x * attention_mask[:, :, None]).mean(1)  # guilty


@breaks("padding", tokens())
class LastPosition(nn.Module):
    """The last position, which is padding in a shorter input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(24, 8, padding_idx=0)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.embed(input_ids) + attention_mask[:, :, None]
        return hidden[:, -1]  # guilty


# inputs


@breaks("inputs", lambda: {"batch": {"left": random_floats(2, 8), "right": random_floats(2, 8, seed=5)}})
class DictOfInputs(nn.Module):
    """A batch as one dict."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:  # guilty
        return batch["left"] + batch["right"]


@breaks("inputs", lambda: {"x": random_floats(2, 8), "extra": ({"bias": random_floats(2, 8, seed=5)},)})
class DictInATuple(nn.Module):
    """A dict inside a tuple."""

    def forward(self, x: Tensor, extra: tuple[dict[str, Tensor]]) -> Tensor:  # guilty
        return x + extra[0]["bias"]


# outputs


@breaks("outputs", floats(2, 8), also=("trace",))
class NoneBeside(nn.Module):
    """A loss that is None without labels."""

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x * 2, None  # guilty


@breaks("outputs", floats(2, 8), also=("trace",))
class NumberInADict(nn.Module):
    """A number beside tensors."""

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"logits": x * 2, "classes": 8}  # guilty


@dataclass
class Answer:
    """An output class of the user's own."""

    logits: Tensor


@breaks("outputs", floats(2, 8), also=("trace",))
class ObjectReturned(nn.Module):
    """An object that holds the tensor."""

    def forward(self, x: Tensor) -> Answer:
        return Answer(x * 2)  # guilty


@breaks("data-dependent-shape", floats(2, 8), also=("trace", "outputs"))
class TwoFaults(nn.Module):
    """A fault of the program behind an output that cannot be traced: both are named."""

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x[x > 0], None  # guilty


# integer-topk


@breaks("integer-topk", token_ids())
class GreatestTokens(nn.Module):
    """The greatest of int64 values."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return torch.topk(input_ids, 2).values.float()  # guilty


@breaks("integer-topk", floats(2, 8))
class GreatestRounded(nn.Module):
    """The greatest of int32 values that began as floats."""

    def forward(self, x: Tensor) -> Tensor:
        rounded = x.round().to(torch.int32)
        return rounded.topk(3, dim=1).indices  # guilty


# integer-scatter-reduce


@breaks("integer-scatter-reduce", named(x=ids(8), index=ids(8, high=4)))
class SumsByGroup(nn.Module):
    """Sums of integers by group."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return torch.zeros(4, dtype=torch.int64).scatter_reduce(0, index, x, "sum")  # guilty


@breaks("integer-scatter-reduce", named(x=ids(8), index=ids(8, high=4)))
class GreatestByGroup(nn.Module):
    """The same in place."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        groups = torch.zeros(4, dtype=torch.int64)
        groups.scatter_reduce_(0, index, x, "amax")  # guilty
        return groups


@breaks("integer-scatter-reduce", named(x=ids(8), index=ids(8, high=4)))
class AddedByScatter(nn.Module):
    """``scatter`` with its older argument."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return torch.zeros(4, dtype=torch.int64).scatter(0, index, x, reduce="add")  # guilty


@breaks("integer-scatter-reduce", named(index=ids(8, high=4)))
class CountsByScatter(nn.Module):
    """Counts by ``scatter_add``, a reduction by another name."""

    def forward(self, index: Tensor) -> Tensor:
        return torch.zeros(4, dtype=torch.int64).scatter_add(0, index, torch.ones_like(index))  # guilty


@breaks("integer-scatter-reduce", named(x=real(8), index=ids(8, high=4)))
class AnyByGroup(nn.Module):
    """Whether any of a group is positive, in booleans."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return torch.zeros(4, dtype=torch.bool).scatter_reduce(0, index, x > 0, "amax")  # guilty


@breaks("integer-scatter-reduce", named(x=ids(8), index=ids(8, high=4)))
class AddedByIndex(nn.Module):
    """``index_add``, out of place and in place."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        groups = torch.zeros(4, dtype=torch.int64).index_add(0, index, x)  # guilty
        groups.index_add_(0, index, x)  # guilty
        return groups.float()


@breaks("integer-scatter-reduce", named(x=ids(8), index=ids(8, high=4)))
class ReducedByIndex(nn.Module):
    """``index_reduce``, out of place and in place."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        groups = torch.zeros(4, dtype=torch.int64).index_reduce(0, index, x, "amax")  # guilty
        groups.index_reduce_(0, index, x, "amin")  # guilty
        return groups.float()


@breaks("integer-scatter-reduce", named(index=ids(8, high=4)))
class CountsByIndexPut(nn.Module):
    """``index_put`` that accumulates, out of place and in place."""

    def forward(self, index: Tensor) -> Tensor:
        one = torch.ones((), dtype=torch.int32)
        counts = torch.zeros(4, dtype=torch.int32).index_put((index,), one, accumulate=True)  # guilty
        counts.index_put_((index,), one, accumulate=True)  # guilty
        return counts.float()


@breaks("integer-scatter-reduce", named(index=ids(8, high=4)))
class CountsByIndexPutInside(nn.Module):
    """The operation by which torch itself accumulates."""

    def forward(self, index: Tensor) -> Tensor:
        counts = torch.zeros(4, dtype=torch.int64)
        torch._index_put_impl_(counts, [index], torch.ones_like(index), True)  # guilty
        return counts.float()


# fft


@breaks("fft", floats(2, 16))
class Spectrum(nn.Module):
    """The magnitudes of a spectrum."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x).abs()  # guilty


@breaks("fft", floats(2, 8, 4))
class FourierMixing(nn.Module):
    """Token mixing as in FNet."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x).real  # guilty


@breaks("fft", floats(2, 64))
class Spectrogram(nn.Module):
    """A short-time transform, computed in the model."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(16))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stft(x, 16, window=self.window, return_complex=True).abs()  # guilty


@breaks("fft", floats(2, 64))
class ThereAndBack(nn.Module):
    """A transform and its inverse."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(16))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.stft(x, 16, window=self.window, return_complex=True)  # guilty
        return torch.istft(spectrum * 2, 16, window=self.window)  # guilty


# triangular-solve


class _Triangle(nn.Module):
    triangle: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("triangle", torch.eye(4) * 2 + torch.ones(4, 4).triu(1))


@breaks("triangular-solve", floats(4, 3))
class BackSubstitution(_Triangle):
    """A triangular system."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.triangle, x, upper=True)  # guilty


@breaks("triangular-solve", floats(4, 3))
class OldBackSubstitution(_Triangle):
    """The same by the function that the documentation names."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.triangular_solve(x, self.triangle).solution  # guilty


# dynamic-batch

DYNAMIC = {"dynamic_batch": True}


@breaks("dynamic-batch", floats(4, 8), arguments=DYNAMIC)
class CentredOverTheBatch(nn.Module):
    """Rows less the mean of all rows."""

    def forward(self, x: Tensor) -> Tensor:
        scaled = x * 2
        return scaled - scaled.mean(0, keepdim=True)  # guilty


@breaks("dynamic-batch", floats(4, 8), arguments=DYNAMIC)
class SoftmaxOverTheBatch(nn.Module):
    """A softmax along the wrong axis."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x, 0)  # guilty


@breaks("dynamic-batch", floats(1, 8), arguments=DYNAMIC)
class AloneInItsBatch(nn.Module):
    """Traced with one row: a second one shows that rows meet."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.sum(0)  # guilty


@breaks("dynamic-batch", floats(4, 8), arguments=DYNAMIC)
class OneNumber(nn.Module):
    """One answer for the batch, not one for each row."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().mean()  # guilty


@breaks("dynamic-batch", floats(4, 8), arguments=DYNAMIC)
class RowsAgainstRows(nn.Module):
    """Every row multiplied with every other: a row alone is found again in the corner of the product."""

    def forward(self, x: Tensor) -> Tensor:
        scaled = x * 2
        product = scaled @ scaled.t()  # guilty
        return torch.relu(product)


@breaks("dynamic-batch", floats(4, 8), arguments=DYNAMIC)
class TwiceOverTheBatch(nn.Module):
    """Rows that meet once, and then again in a product."""

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(x, 0)  # guilty
        return weights @ weights.t()


@breaks("dynamic-batch", floats(4, 2, 8), arguments=DYNAMIC)
class RowsAndPositionsAsOne(nn.Module):
    """Rows and positions folded into one axis, in which no operation gives a row anything else."""

    def forward(self, x: Tensor) -> Tensor:
        scaled = x * 2
        return scaled.reshape(-1, 8)  # guilty


@breaks("dynamic-batch", named(x=real(4, 8), bias=real(1, 8)), arguments=DYNAMIC)
class SharedBias(nn.Module):
    """An input for all rows together beside one for each."""

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:  # guilty
        return x + bias


@breaks("dynamic-batch", floats(2, 8), arguments=DYNAMIC)
class BatchBaked(nn.Module):
    """The number of rows as a Python number: others are cut off."""

    def forward(self, x: Tensor) -> Tensor:
        rows = int(x.shape[0])  # guilty
        return x[:rows] * 2


# float64


@breaks("float64", floats(2, 8))
class DoubleInside(nn.Module):
    """A step in double precision."""

    def forward(self, x: Tensor) -> Tensor:
        exact = x.double()  # guilty
        return (exact * 3).float()


@breaks("float64", floats(2, 8))
class DoubleBuffer(nn.Module):
    """A buffer that numpy made: the result stays double."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(0, 1, 8, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.scale).float()  # guilty


@breaks("float64", floats(2, 8, dtype=torch.float64))
class DoubleInput(nn.Module):
    """A double input, made a float at once."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float() * 2  # guilty


@breaks("float64", floats(2, 8))
class DoubleRamp(nn.Module):
    """A ramp that is computed in double precision."""

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, 8, dtype=torch.float64)  # guilty
        return x + ramp.float()


# complex


@breaks("complex", floats(2, 8))
class Rotated(nn.Module):
    """Pairs turned as complex numbers, as some rotary embeddings do."""

    def forward(self, x: Tensor) -> Tensor:
        turned = torch.view_as_complex(x.reshape(2, 4, 2)) * 1j  # guilty
        return torch.view_as_real(turned).flatten(1)


@breaks("complex", floats(2, 8))
class Polar(nn.Module):
    """Magnitude and phase made one number."""

    def forward(self, x: Tensor) -> Tensor:
        point = torch.complex(x, x * 2)  # guilty
        return point.abs()


# int64-range


@breaks("int64-range", token_ids())
class Hashed(nn.Module):
    """A hash by a large prime."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return (input_ids * 9_007_199_254_740_881) % 97  # guilty


@breaks("int64-range", named(times=lambda: torch.tensor([[1_700_000_000_000], [1_700_000_060_000]])))
class Timestamps(nn.Module):
    """Milliseconds since 1970 as an input."""

    def forward(self, times: Tensor) -> Tensor:
        return times - times[:1]  # guilty


@breaks("int64-range", token_ids())
class Sentinel(nn.Module):
    """The least int64 as a value that never wins."""

    def forward(self, input_ids: Tensor) -> Tensor:
        lowest = torch.full((2, 16), torch.iinfo(torch.int64).min)  # guilty
        return torch.maximum(input_ids, lowest)


@breaks("int64-range", token_ids())
class LargeBuffer(nn.Module):
    """A table of large numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(24) * 2**33)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.table[input_ids] // 2**30  # guilty


@breaks("int64-range", token_ids())
class LargeKeys(nn.Module):
    """Keys that grow beyond 32 bits by small steps."""

    def forward(self, input_ids: Tensor) -> Tensor:
        shifted = input_ids * 2**20
        return shifted * 2**20  # guilty


# int64-matmul


@breaks("int64-matmul", named(x=ids(2, 8), weights=ids(8, 4)))
class IntegerProduct(nn.Module):
    """A product of integer matrices."""

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return x @ weights  # guilty


@breaks("int64-matmul", named(x=ids(2, 8), weights=ids(8, 4)))
class IntegerEinsum(nn.Module):
    """The same in Einstein's notation."""

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return torch.einsum("bi,io->bo", x, weights)  # guilty


# sort


@breaks("sort", floats(2, 8))
class Sorted(nn.Module):
    """Sorted values."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sort(dim=1).values  # guilty


@breaks("sort", floats(2, 8))
class Ranked(nn.Module):
    """The order of values."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.argsort(x, dim=1, descending=True)  # guilty


@breaks("sort", floats(4, 8))
class SortedRows(nn.Module):
    """Sorted along the first axis."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.msort(x)  # guilty


@breaks("sort", floats(2, 8))
class Quartile(nn.Module):
    """A quantile, which is a sort inside."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.quantile(x, 0.25, dim=1)  # guilty


# unused-input


@breaks("unused-input", named(x=real(2, 8), labels=real(2, 8)))
class LabelsForTraining(nn.Module):
    """An input that only training reads."""

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:  # guilty
        return x * 2


@breaks("unused-input", named(x=real(2, 8), template=real(2, 8)))
class TemplateForItsShape(nn.Module):
    """An input of which the shape alone is used."""

    def forward(self, x: Tensor, template: Tensor) -> Tensor:  # guilty
        return x + torch.ones_like(template) * template.shape[1]


@breaks("unused-input", lambda: {"pair": (random_floats(2, 8), random_floats(2, 8, seed=5))})
class HalfOfPair(nn.Module):
    """A pair of which one half is used."""

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:  # guilty
        first, _ = pair
        return first * 2


# in-place-input


@breaks("in-place-input", floats(2, 8))
class AddedInPlace(nn.Module):
    """A sum written into the input."""

    def forward(self, x: Tensor) -> Tensor:
        x.add_(1)  # guilty
        return x * 2


@breaks("in-place-input", floats(2, 8))
class ColumnCleared(nn.Module):
    """A write into a part of the input."""

    def forward(self, x: Tensor) -> Tensor:
        x[:, 0] = 0  # guilty
        return x * 2


@breaks("in-place-input", floats(2, 8))
class ViewWritten(nn.Module):
    """A write through views of the input."""

    def forward(self, x: Tensor) -> Tensor:
        halves = x.reshape(2, 2, 4).transpose(1, 2)
        halves.mul_(3)  # guilty
        return x + 1


@breaks("in-place-input", floats(2, 8))
class WrittenBehindDropout(nn.Module):
    """Dropout in place, which hands the input on outside of training, and a write into what it hands on."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(x)
        y.mul_(2)  # guilty
        return y + 1


@breaks("in-place-input", floats(2, 8))
class AllDropped(nn.Module):
    """Dropout in place that trains in eval mode too; it drops all, so that answers do not vary."""

    def forward(self, x: Tensor) -> Tensor:
        doubled = x * 2
        F.dropout(x, 1.0, training=True, inplace=True)  # guilty
        return doubled + x


@breaks("in-place-input", floats(2, 8))
class ChunkWritten(nn.Module):
    """A write into one of the pieces that the input was split into."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        left.relu_()  # guilty
        return x + torch.cat([right, right], 1)


# Healthy


@keeps(floats(4, 8))
class WhereOfThree(nn.Module):
    """``where`` with its two branches."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * 0.1)


@keeps(floats(4, 8))
class WhereOfScalars(nn.Module):
    """``where`` between numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, -1.0) * x


@keeps(floats(4, 8))
class MaskedFill(nn.Module):
    """A fill by a mask."""

    def forward(self, x: Tensor) -> Tensor:
        return x.masked_fill(x > 1, 1.0)


@keeps(floats(4, 8))
class GreatestFloats(nn.Module):
    """``topk`` of floats."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = x.topk(3, dim=1)
        return values, indices


@keeps(named(x=real(8), index=ids(8, high=4)))
class FloatSumsByGroup(nn.Module):
    """``scatter_reduce`` and ``scatter_add`` of floats."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        sums = torch.zeros(4).scatter_reduce(0, index, x, "sum")
        return sums + torch.zeros(4).scatter_add(0, index, x)


@keeps(named(x=ids(2, 8), index=ids(2, 8, high=4)))
class IntegersPlaced(nn.Module):
    """``scatter`` of integers without a reduction."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return torch.zeros(2, 8, dtype=torch.int64).scatter(1, index, x).float()


@keeps(named(x=real(8, 4), index=ids(5, high=8)))
class RowsByNumber(nn.Module):
    """An index by integers, also in a write."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        y = torch.zeros(8, 4)
        y[index] = x[index]
        return y + x


@keeps(named(x=real(8), y=ids(3), index=ids(8, high=4)))
class FloatsAddedByIndex(nn.Module):
    """Floats that accumulate, and integers that ``index_put`` overwrites."""

    def forward(self, x: Tensor, y: Tensor, index: Tensor) -> Tensor:
        sums = torch.zeros(4).index_add(0, index, x).index_reduce(0, index, x, "amax")
        sums = sums.index_put((index,), x, accumulate=True)
        placed = torch.zeros(4, dtype=torch.int64).index_put((torch.arange(3),), y)
        return sums + placed.float()


@keeps(floats(2, 4, 8))
class DropoutInPlace(nn.Module):
    """Dropout in place, which writes nothing outside of training."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(x, 0.5, training=False, inplace=True)
        x = F.alpha_dropout(x, 0.5, training=False, inplace=True)
        x = F.dropout1d(x, 0.5, training=False, inplace=True)
        x = F.feature_alpha_dropout(x, 0.5, training=False, inplace=True)
        return x * 2


@keeps(floats(2, 8))
class WritesOnACopy(nn.Module):
    """In-place operations on what the model made itself."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y.add_(1)
        y[:, 0] = 0
        z = x.float() * 2
        z.relu_()
        return y + z


@keeps(lambda: (random_floats(8, 2).t(),))
class WritesOnAContiguousCopy(nn.Module):
    """``contiguous`` and ``reshape`` copy what is not contiguous."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.contiguous()
        y.add_(1)
        z = x.reshape(16)
        z.mul_(2)
        return y + z.view(2, 8)


@keeps(floats(2, 8))
class WritesOnAnotherDtype(nn.Module):
    """A conversion to another dtype copies."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.to(torch.bfloat16)
        y.add_(1)
        return y.float() + x


@keeps(floats(2, 8))
class DictReturned(nn.Module):
    """A dict of tensors."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"double": x * 2, "half": x / 2}


@keeps(floats(2, 8))
class NestedReturned(nn.Module):
    """Tuples and lists of tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, list[Tensor]]]:
        return x * 2, (x * 3, [x + 1, x + 2])


@keeps(lambda: {"x": random_floats(2, 8), "pair": (random_floats(2, 8, seed=3), [random_floats(2, 8, seed=5)])})
class NestedTaken(nn.Module):
    """Tuples and lists of tensors as inputs."""

    def forward(self, x: Tensor, pair: tuple[Tensor, list[Tensor]]) -> Tensor:
        left, (right,) = pair
        return x + left * right


@keeps(token_ids())
class TokensAndPositions(nn.Module):
    """int64 arithmetic on positions, and lookups."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(24, 8), nn.Embedding(32, 8)

    def forward(self, input_ids: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1]) + 1
        return self.token(input_ids) + self.position(positions)[None]


@keeps(floats(2, 8))
class PythonNumbers(nn.Module):
    """Python numbers, which the tracer writes as double constants without axes."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 0.1 + 3.5).masked_fill(x < -1, -10_000_000_000) / x.shape[1] ** 0.5


@keeps(tokens())
class MaskedMean(nn.Module):
    """A mean that leaves padding out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(24, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[:, :, None].float()
        return (self.embed(input_ids) * mask).sum(1) / mask.sum(1).clamp(min=1)


@keeps(token_ids())
class ClosedOneHot(nn.Module):
    """A given number of classes."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return F.one_hot(input_ids, 24).float().mean(1)


@keeps(floats(2, 8))
class RepeatedTwice(nn.Module):
    """As many repeats as a Python number says."""

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, dim=1)


@keeps(floats(2, 8))
class RepeatedByASize(nn.Module):
    """As many repeats as a size says, which is a tensor to the tracer alone."""

    def forward(self, x: Tensor) -> Tensor:
        remainder = x.shape[1] % 3
        return x.repeat_interleave(remainder + 2, dim=1)


@keeps(named(x=real(4, 8), durations=lambda: torch.tensor([3, 1, 2, 2])))
class RepeatedToAGivenLength(nn.Module):
    """A tensor of repeats, and the length that they give."""

    def forward(self, x: Tensor, durations: Tensor) -> Tensor:
        return torch.repeat_interleave(x, durations.clamp(2, 2), dim=0, output_size=8)


@keeps(floats(2, 8))
class ShiftedAxes(nn.Module):
    """The functions beside the transforms that are none."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fftshift(x, dim=1) * torch.fft.fftfreq(8)


@keeps(floats(4, 4))
class InverseInstead(nn.Module):
    """An inverse, which the documentation recommends."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.inverse(torch.eye(4) * 9 + torch.tanh(x)) @ x


@keeps(floats(4, 8))
class GreatestOfEach(nn.Module):
    """Extremes, cumulative sums and counts are no sorts."""

    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(1) + (x > 0).sum(1) + x.cumsum(1).amin(1)


@keeps(named(x=ids(2, 8), y=ids(2, 8)))
class IntegerSums(nn.Module):
    """Integers multiplied element by element."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum(1) + 2**20


@keeps(floats(4, 8))
class RotatedInPairs(nn.Module):
    """A rotation in real numbers."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        return torch.cat([left * 0.6 - right * 0.8, left * 0.8 + right * 0.6], 1)


@keeps(floats(4, 8), arguments=DYNAMIC)
class RowByRow(nn.Module):
    """Rows that know nothing of each other, batch norm in eval mode included."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.head(self.norm(x)), 1)


@keeps(tokens(), arguments=DYNAMIC)
class MaskedRows(nn.Module):
    """Rows with masks of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(24, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        mask = attention_mask[:, :, None].float()
        return {"pooled": (self.embed(input_ids) * mask).sum(1)}


@keeps(floats(4, 8))
class OverTheBatchKnowingly(nn.Module):
    """Rows that depend on each other, where no dynamic batch is asked for."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


@keeps(floats(2, 16, 8))
class FixedToItsLength(nn.Module):
    """Silently wrong in plain TorchScript at another length, which Neuron rejects."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / int(x.shape[1])


@keeps(floats(2, 16, 8))
class Attention(nn.Module):
    """An encoder layer as torch has it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@keeps(floats(2, 3, 16, 16))
class SmallConvolution(nn.Module):
    """Convolution, norm and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x).flatten(1)
