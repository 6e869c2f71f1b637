"""A broken model for each remedy. Each holds the remedy's ``before``: with ``after`` in its place it is mended."""

# Parts of torch are untyped, and a model may return anything.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["EXAMPLES", "Example"]

Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class Example:
    """The broken model of a remedy.

    ``verdict`` is what plain torch, and the gate, say of it; ``others`` are inputs that the mended model answers as eager
    does. ``helpers`` are functions beside the class in which the fault, or the mend, lies. ``used`` models have answered
    their inputs once, with gradients on, before they are judged. Only ``by_error`` examples are for errors that the gate
    does not meet in this way: the remedy is looked up by the error's text alone. ``same`` says that the mended model
    answers as the broken one does in eager.
    """

    kind: str
    model: type[nn.Module]
    inputs: Inputs
    others: tuple[Inputs, ...]
    verdict: str
    helpers: tuple[Callable[..., Any], ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    used: bool = False
    by_error: bool = False
    same: bool = True

    def __str__(self) -> str:
        return self.kind


def features(length: int = 16, rows: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(rows, length, 8, generator=torch.Generator().manual_seed(seed))


EXAMPLES: list[Example] = []
SIZES: tuple[Inputs, ...] = ((features(7),), (features(33),))
VALUES: tuple[Inputs, ...] = ((features(seed=1),), (-features(),))


def example(kind: str, verdict: str, inputs: Inputs | None = None, others: tuple[Inputs, ...] = SIZES, **more: Any) -> Any:
    """Class decorator: the class is the broken model of ``kind``."""

    def register(model: type[nn.Module]) -> type[nn.Module]:
        EXAMPLES.append(Example(kind, model, (features(),) if inputs is None else inputs, others, verdict, **more))
        return model

    return register


IDS = torch.randint(0, 50, (2, 6), generator=torch.Generator().manual_seed(0))
MASK = torch.ones(2, 16)
ZEROS = torch.cat([torch.ones(2, 10), torch.zeros(2, 6)], 1)


# The model itself refuses


@example("ids-beyond-a-table", "EagerFailure", (IDS,), ((IDS[:1],),), same=False)
class IdsBeyond(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)

    def forward(self, ids: Tensor) -> Tensor:
        return self.embed(torch.full_like(ids, 50))  # guilty


@example("index-beyond-an-axis", "EagerFailure", same=False)
class IndexBeyond(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 99]  # guilty


@example("inputs-do-not-fit", "EagerFailure", same=False)
class DoesNotFit(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(3)  # guilty


@example("dtypes-do-not-fit", "EagerFailure", same=False)
class OtherDtype(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.double())  # guilty


# The tracer refuses


@example("lookup-under-vmap", "Untraceable", (features(), ZEROS), ((features(7), ZEROS[:, :7]),))
class Vmap(nn.Module):
    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        positions = torch.arange(x.shape[1])
        keep = torch.vmap(lambda key: attention_mask[:, key], out_dims=1)(positions)  # guilty
        return x * keep[:, :, None]


@example("rounding-of-a-size", "Untraceable", others=((features(8),), (features(33),)))
class Rounds(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, : round(x.shape[1] * 0.5)].sum(1)  # guilty


@example("divmod-of-a-size", "Untraceable")
class Divmod(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rest = divmod(x.shape[1], 4)[1]  # guilty
        return x[:, : x.shape[1] - rest].mean(1)


@example("causal-by-size", "Untraceable")
class Causal(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, is_causal=x.shape[1] > 1)  # guilty


@example("option-by-size", "Untraceable")
class Unbiased(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.std(1, unbiased=x.shape[1] > 8)  # guilty


@example("option-without-a-name", "Untraceable")
class AlignCorners(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="linear", align_corners=x.shape[1] > 8)  # guilty


@example("dictionary-by-size", "Untraceable")
class Dictionary(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * {7: 1.0, 16: 2.0, 33: 3.0}[x.shape[1]]  # guilty


@example("method-of-a-number", "Untraceable")
class IsInteger(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (x.shape[1] / 2).is_integer()  # guilty


@example("scale-by-size", "Untraceable")
class ScaleBySize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=x.shape[1] / 8).sum(-1)  # guilty


@example("function-of-numbers", "Untraceable")
class PowerOfThree(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * pow(2, x.shape[1], 5)  # guilty


def scale_of(x: Tensor) -> float:
    return 4.0 / x.shape[1]


@example("scripted-number", "Untraceable", helpers=(scale_of,))
class ScriptedNumber(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.jit.script(scale_of)(x)  # guilty


@example("kept-result", "Untraceable", (features(), features(seed=1)), ((features(7), features(7)),), used=True, same=False)
class KeptResult(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.template: Tensor | None = None

    def forward(self, template: Tensor, x: Tensor) -> Tensor:
        if self.template is None:
            self.template = self.fc(template).mean(1, keepdim=True)
        kept = self.template
        return self.fc(x) * kept  # guilty


@example("unregistered-parameter", "Untraceable")
class Unregistered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scales = [torch.ones(8, requires_grad=True)]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scales[0]  # guilty


@example("unregistered-module", "Untraceable")
class ModulesInAList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = [nn.Linear(8, 8), nn.Linear(8, 8)]

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)  # guilty
        return x


SCALE = torch.ones(8, requires_grad=True)


@example("unknown-constant-with-gradient", "Untraceable")
class GlobalScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return x * SCALE  # guilty


@example("unknown-overload", "Untraceable", (features(), torch.zeros(2, 16, 2, dtype=torch.long)), ())
class Overload(nn.Module):
    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        others = torch.ones(x.shape, dtype=torch.bool).scatter(-1, index, False)  # guilty
        y = x.masked_fill(~others, 0.0)
        return y + 1


@example("nested-dict-in-output", "Untraceable", same=False)
class NestedDict(nn.Module):
    def forward(self, x: Tensor) -> Any:
        y, z = x * 2, x * 3
        return {"out": {"y": y, "z": z}}  # guilty


@example("none-in-output", "Untraceable", same=False)
class NoneInOutput(nn.Module):
    def forward(self, x: Tensor) -> Any:
        y = x * 2
        return y, None  # guilty


@example("list-in-dict-output", "Untraceable", same=False)
class ListInDict(nn.Module):
    def forward(self, x: Tensor) -> Any:
        y, z = x * 2, x * 3
        return {"out": [y, z]}  # guilty


class DynamicCache:
    """As transformers names its cache."""


@example("cache-in-output", "Untraceable", same=False)
class CacheInOutput(nn.Module):
    def forward(self, x: Tensor) -> Any:
        y = x * 2
        return {"y": y, "cache": DynamicCache()}  # guilty


@example("object-in-output", "Untraceable", same=False)
class TextInOutput(nn.Module):
    def forward(self, x: Tensor) -> Any:
        y = x * 2
        return y, "text"  # guilty


@example("dict-in-strict-trace", "Untraceable", same=False, by_error=True)
class FlatDict(nn.Module):
    def forward(self, x: Tensor) -> Any:
        y = x * 2
        return {"y": y}


@example("values-on-meta", "Untraceable", (features().to("meta"),), (), arguments={"weights": "meta"})
class ItemOnMeta(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sum().item()  # guilty


@example("numpy-of-a-tensor", "Untraceable", (features().to("meta"),), (), arguments={"weights": "meta"})
class NumpyOnMeta(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.exp(x.numpy()))  # guilty


@example("functional-transform", "Untraceable")
class Derivative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.func.grad(lambda row: (row * row).sum())(x)  # guilty


@example("compiled-module", "Untraceable")
class Compiled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.compile(nn.Linear(8, 8), backend="eager")

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)  # guilty


# The saved program


class Double(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone() * 2

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


@example("python-autograd-function", "NotSerialisable")
class OwnFunction(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Double.apply(x)  # guilty


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, 8))


@example("weights-written-in-forward", "WeightsChanged", by_error=True)
class WritesWeightsWithGradients(Weighted):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.clamp_(-0.1, 0.1)
            weight = self.weight
        return x @ weight


@example("weights-written", "WeightsChanged")
class WritesWeights(Weighted):
    def forward(self, x: Tensor) -> Tensor:
        self.weight.data.clamp_(-0.1, 0.1)  # guilty
        weight = self.weight
        return x @ weight


@example("embedding-with-max-norm", "WeightsChanged", (IDS,), ((IDS[:1],),), same=False)
class MaxNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8, max_norm=1.0)

    def forward(self, ids: Tensor) -> Tensor:
        return self.embed(ids) * 2  # guilty


@example("size-in-view", "ShapeSpecialised", others=((features(rows=3),),), by_error=True, arguments={"shapes": "dynamic"})
class ViewOfInt(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(int(x.shape[0]), 128)


@example("size-baked", "ShapeSpecialised", others=SIZES, by_error=True, arguments={"shapes": "dynamic"})
class OnesOfInt(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.ones(int(x.shape[1]), 1)


# Eager and trace differ


@example("type-test-of-a-size", "NotEquivalent")
class TypeTest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        scale = 2.0 if isinstance(x.shape[1], int) else 3.0  # guilty
        return x * scale  # guilty


@example("branch-on-tracing", "NotEquivalent")
class AsksTracing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x if torch.jit.is_tracing() else x * 2) + 1  # guilty


@example("size-returned", "NotEquivalent", same=False)
class ReturnsSize(nn.Module):
    def forward(self, x: Tensor) -> Any:
        y = x * 2
        return y, x.shape[1]  # guilty


@example("lookup-by-size", "NotEquivalent")
class LooksUpSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * {7: 1.0, 16: 2.0}.get(x.shape[1], 3.0)  # guilty


@example("text-of-a-size", "NotEquivalent")
class TextOfSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (2 if str(x.shape[1]).endswith("6") else 1)  # guilty


@example("dropout-always-on", "NonDeterministic", same=False)
class DropsAlways(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5)  # guilty


# Calls that leave something behind


@example("input-written", "SideEffect")
class WritesInput(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.mul_(2)  # guilty
        return y + 1


@example("buffer-written", "SideEffect", same=False)
class WritesBuffer(nn.Module):
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Any:
        self.seen += 1  # guilty
        seen = self.seen
        return x * 2, seen * 0


@example("state-kept", "SideEffect", others=((features(seed=1),),), same=False)
class KeepsFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.first is None:
            self.first = x.mean()  # guilty
        first = self.first
        return x - first


# A size became a number of Python


@lru_cache
def ramp(length: int) -> Tensor:
    return torch.arange(length) * 0.1


@example("cached-function", "ShapeSpecialised")
class CachedFunction(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * ramp(int(x.shape[1]))[:, None]  # guilty


@example("table-kept-in-an-attribute", "ShapeSpecialised", used=True)
class KeptTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None or self.table.shape[0] != x.shape[1]:  # guilty
            self.table = torch.arange(x.shape[1]) * 0.1
        return x * self.table[:, None]  # guilty


@example("ceil-of-a-size", "ShapeSpecialised")
class Ceil(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / math.ceil(x.shape[1] / 4)  # guilty


@example("floor-of-a-size", "ShapeSpecialised")
class Floor(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / math.floor(x.shape[1] / 4)  # guilty


@example("integer-root-of-a-size", "ShapeSpecialised")
class IntegerRoot(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, : math.isqrt(x.shape[1])].sum(1)  # guilty


@example("root-of-a-size", "ShapeSpecialised")
class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / math.sqrt(x.shape[1])  # guilty


@example("function-of-a-size", "ShapeSpecialised")
class Log(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * math.log(x.shape[1])  # guilty


@example("numpy-of-sizes", "ShapeSpecialised")
class NumpyOfSizes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., :2] / torch.from_numpy(np.array(x.shape[1:]))  # guilty


@example("tensor-of-sizes", "ShapeSpecialised")
class TensorOfSizes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., :2] / torch.tensor([x.shape[1], x.shape[2]])  # guilty


@example("strides-of-the-example", "ShapeSpecialised", others=((features(33),), (features(24),)))
class Strides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        frames = x.as_strided((x.shape[0], x.shape[1] // 2 - 1, 32), (x.stride(0), 16, 1))  # guilty
        return frames.mean(-1)


@example("value-as-a-number", "ShapeSpecialised")
class ItemOfSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / torch.as_tensor(x.shape[1]).item()  # guilty


@example("option-by-bool", "ShapeSpecialised")
class OptionByBool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.std(1, unbiased=bool(x.shape[1] > 8))  # guilty


def decay(x: Tensor) -> Tensor:
    state = torch.zeros_like(x[:, 0])
    for step in range(x.shape[1]):  # guilty
        state = state * 0.5 + x[:, step]
    return state


@example("loop-over-a-size", "ShapeSpecialised", helpers=(decay,))
class Loop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return decay(x)


@example("number-of-each-size", "ShapeSpecialised")
class IntOfEachSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / [int(n) for n in x.shape][1]  # guilty


@example("length-of-a-tensor", "ShapeSpecialised", others=((features(rows=3),),))
class Length(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(0) / len(x)  # guilty


@example("part-of-a-size", "ShapeSpecialised")
class PartOfSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, : int(x.shape[1] * 0.75)].sum(1)  # guilty


@example("number-of-a-size", "ShapeSpecialised")
class IntOfSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / int(x.shape[1])  # guilty


@example("smallest-or-largest-of-sizes", "ShapeSpecialised")
class Largest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / max(x.shape[1], 20)  # guilty


@example("branch-on-a-size", "ShapeSpecialised")
class BranchOnSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 2 if x.shape[1] > 20 else x) + 1  # guilty


# A value became a number of Python


@example("slice-by-a-value", "ValueSpecialised", (features(), MASK), ((features(), ZEROS),))
class SliceByValue(nn.Module):
    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return x[:, : int(attention_mask.sum(1).max())].sum(1)  # guilty


@example("mask-of-ones", "ValueSpecialised", (features(), MASK), ((features(), ZEROS),))
class MaskOfOnes(nn.Module):
    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        scores = x @ x.transpose(1, 2)
        bias = (1 - attention_mask[:, None, :]) * -1e9
        return (scores if attention_mask.all() else scores + bias).softmax(-1) @ x  # guilty


@example("item-of-a-value", "ValueSpecialised", others=VALUES)
class Item(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sum().item()  # guilty


@example("list-of-values", "ValueSpecialised", others=VALUES)
class ListOfValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum((1, 2)) * torch.tensor(x[:, 0, 0].tolist())  # guilty


@example("numpy-of-values", "ValueSpecialised", others=VALUES)
class NumpyOfValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(np.exp(x.numpy()))  # guilty


@example("data-of-a-tensor", "ValueSpecialised", others=VALUES)
class DataOfTensor(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        return y - y.data.mean()  # guilty


@example("branch-on-a-value", "ValueSpecialised", others=VALUES)
class BranchOnValue(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 2 if x.sum() > 0 else x) + 1  # guilty


@example("number-of-a-value", "ValueSpecialised", others=VALUES)
class NumberOfValue(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(x.sum())  # guilty


# A device became a constant


@example("device-of-the-trace", "DevicePinned", others=SIZES)
class OnOneDevice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(8, device="cpu")  # guilty
