"""Healthy models, in the varied ways real code is written: a gate that fails one of them raises a false alarm."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import logging
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from .case import (
    BATCH,
    BATCH_SEQ,
    Case,
    Inputs,
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

HEALTHY: list[Case] = []

log = logging.getLogger(__name__)

_Model = TypeVar("_Model", bound=type[nn.Module])


def healthy(
    inputs: Callable[[], Inputs],
    *,
    arguments: Mapping[str, Any] | None = None,
    dims: Mapping[str, str] | None = None,
) -> Callable[[_Model], _Model]:
    """Add the decorated class to the corpus as a healthy model."""

    def register(cls: _Model) -> _Model:
        HEALTHY.append(case_of(cls, inputs, arguments=arguments, dims=dims))
        return cls

    return register


# Plain networks


@healthy(floats(2, 8), dims=BATCH)
class Perceptron(nn.Module):
    """A tabular classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@healthy(floats(2, 3, 12, 12), dims=BATCH)
class ConvNetLeftInTrainMode(nn.Module):
    """An image classifier with batch norm which a test forgot to switch to eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(F.relu(self.norm(self.conv(x)))).flatten(1))


@healthy(floats(2, 8), dims=BATCH)
class DropoutLeftInTrainMode(nn.Module):
    """A classifier with both kinds of dropout, the functional one driven by ``self.training``."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.head(self.drop(x)), 0.3, training=self.training)


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class LstmClassifier(nn.Module):
    """An LSTM whose last hidden state feeds a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(x)
        return self.head(hidden[-1])


@healthy(floats(2, 16, 8), arguments={"shapes": "dynamic"}, dims=BATCH_SEQ)
class GruTagger(nn.Module):
    """A GRU with one label a step and its initial state made by hand from the batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 6, num_layers=2, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        start = torch.zeros(2, x.shape[0], 6, device=x.device, dtype=x.dtype)
        return self.head(self.gru(x, start)[0])


@healthy(floats(2, 8, 16), arguments={"dims": {"x": {0: "batch", 2: "seq"}}}, dims=BATCH_SEQ)
class DepthwiseAudioNet(nn.Module):
    """Convolutions over time, channels first, as in audio and time series code."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(8, 8, 5, padding=2, groups=8)
        self.pointwise = nn.Conv1d(8, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(self.pointwise(F.silu(self.depthwise(x))), dim=1)


@healthy(floats(2, 3, 8, 8))
class UpsamplingDecoder(nn.Module):
    """Upsampling by a scale factor, as in segmentation heads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.conv(x), scale_factor=2.0, mode="bilinear", align_corners=False)


@healthy(floats(2, 3, 12, 12))
class TinyUnet(nn.Module):
    """A U-Net which upsamples to the very size of its skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.merge = nn.Conv2d(9, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = F.relu(self.down(x))
        return self.merge(torch.cat([x, F.interpolate(low, size=x.shape[-2:], mode="nearest")], dim=1))


@healthy(floats(2, 8, 6, 6))
class GroupNormBlock(nn.Module):
    """A residual block with group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, 8)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.gelu(self.norm(x)))


@healthy(floats(2, 8), dims=BATCH)
class WeightNormed(nn.Module):
    """Weight normalisation through the parametrization API."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


@healthy(floats(2, 8), dims=BATCH)
class SpectralNormed(nn.Module):
    """Spectral normalisation, whose power iteration rests in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class ResidualStack(nn.Module):
    """Residual layers in a ModuleList, one of them used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.layers, self.layers[0]):
            x = x + layer(x)
        return x


# Attention and masks


@healthy(masked_floats(), dims=BATCH_SEQ)
class EncoderWithKeyPadding(nn.Module):
    """nn.TransformerEncoder with a padding mask, which takes the nested tensor fast path in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that nested tensors are a prototype
            hidden = self.encoder(x, src_key_padding_mask=~attention_mask.bool())
        weight = attention_mask[:, :, None].to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1)


@healthy(masked_floats(), dims=BATCH_SEQ)
class PreNormEncoder(nn.Module):
    """nn.TransformerEncoder in pre-norm order, without the nested tensor fast path."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return self.encoder(x, src_key_padding_mask=attention_mask == 0)[:, 0]


class _SelfAttention(nn.Module):
    """Two-headed attention written out by hand, with an additive mask."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        query, key, value = (self.split(part) for part in self.qkv(x).chunk(3, dim=-1))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias
        weights = scores.softmax(-1)
        mixed = (weights @ value).transpose(1, 2).reshape(x.size(0), x.size(1), -1)
        return self.out(mixed), weights


@healthy(masked_floats(), dims=BATCH_SEQ)
class HandWrittenAttention(nn.Module):
    """Self-attention by hand, its mask extended to (batch, 1, 1, length); the head size may well be a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = _SelfAttention()

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        bias = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        return x + self.attention(x, bias)[0]


@healthy(masked_floats(), arguments={"shapes": "dynamic"}, dims=BATCH_SEQ)
class FusedAttention(nn.Module):
    """scaled_dot_product_attention with a boolean mask."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        keep = attention_mask.bool()[:, None, :]
        return F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x), attn_mask=keep)


@healthy(masked_floats(), dims=BATCH_SEQ)
class LibraryAttention(nn.Module):
    """nn.MultiheadAttention with a key padding mask, its weights returned too."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        mixed, weights = self.attention(x, x, x, key_padding_mask=attention_mask == 0)
        return mixed, weights


@healthy(tokens(), dims=BATCH_SEQ)
class MaskedMeanEmbedder(nn.Module):
    """A sentence embedder: embeddings averaged over what the mask keeps, then normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8, padding_idx=0)
        self.dense = nn.Linear(8, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        weight = attention_mask.unsqueeze(-1).expand(-1, -1, 8).float()
        pooled = (self.embedding(input_ids) * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return F.normalize(self.dense(pooled), dim=-1)


@healthy(tokens(), dims=BATCH_SEQ)
class MaskedMaxPooler(nn.Module):
    """Max pooling over what the mask keeps, padding filled with the lowest float."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.embedding(input_ids)
        return hidden.masked_fill(attention_mask[:, :, None] == 0, torch.finfo(hidden.dtype).min).amax(1)


@healthy(tokens(), dims=BATCH_SEQ)
class LastRealToken(nn.Module):
    """A causal classifier which reads the last token the mask keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)
        self.gru = nn.GRU(8, 8, batch_first=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden, _ = self.gru(self.embedding(input_ids))
        last = attention_mask.sum(1) - 1
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]


@healthy(masked_floats(), dims=BATCH_SEQ)
class PackedBidirectionalGru(nn.Module):
    """A bidirectional GRU over packed sequences, the lengths kept as a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 5, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, attention_mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])
        return hidden


@healthy(tokens(), dims=BATCH_SEQ)
class CausalLanguageModel(nn.Module):
    """A decoder with causal and padding masks, positions from an arange, and a head tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)
        self.position = nn.Embedding(64, 8)
        self.attention = _SelfAttention()
        self.head = nn.Linear(8, 24, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        length = input_ids.shape[1]
        hidden = self.embedding(input_ids) + self.position(torch.arange(length, device=input_ids.device))
        causal = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        keep = causal[None, None] & attention_mask.bool()[:, None, None, :]
        bias = torch.zeros_like(keep, dtype=hidden.dtype).masked_fill(~keep, -1e9)
        return self.head(hidden + self.attention(hidden, bias)[0])


@healthy(token_ids(), dims=BATCH_SEQ)
class FusedCausalDecoder(nn.Module):
    """A decoder that leaves causality to ``is_causal=True``."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)
        self.qkv = nn.Linear(8, 24)

    def forward(self, input_ids: Tensor) -> Tensor:
        query, key, value = self.qkv(self.embedding(input_ids)).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)


@healthy(named(source=lambda: random_floats(2, 10, 8), target=lambda: random_floats(2, 6, 8, seed=5)))
class SequenceToSequence(nn.Module):
    """nn.Transformer with a causal target mask; source and target differ in length."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        length = target.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=target.device).triu(1)
        return self.transformer(source, target, tgt_mask=causal)


@healthy(masked_floats(), dims=BATCH_SEQ)
class AttentionPooling(nn.Module):
    """A learned query pools the sequence, padding scored at the lowest float."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(8, 1)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        scores = self.score(x).squeeze(-1).masked_fill(attention_mask == 0, torch.finfo(x.dtype).min)
        return torch.einsum("bt,btd->bd", scores.softmax(1), x)


@healthy(
    named(x=lambda: random_floats(2, 16, 8), keep=lambda: torch.arange(16)[None] < torch.tensor([[16], [11]])),
    arguments={"mask": "keep"},
    dims=BATCH_SEQ,
)
class BooleanMaskByOtherName(nn.Module):
    """Masked mean with a bool mask that is not called attention_mask."""

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        return torch.where(keep[:, :, None], x.tanh(), x.new_zeros(())).sum(1) / keep.sum(1, keepdim=True)


# Structures of outputs


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class DictOutput(nn.Module):
    """Named outputs in a dict, as detection and captioning models return them."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(x), "pooled": x.mean(1)}


@healthy(floats(2, 8), dims=BATCH)
class OrderedDictOutput(nn.Module):
    """An OrderedDict of feature maps, as torchvision backbones return it."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(8, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        low = self.low(x).relu()
        return OrderedDict(low=low, high=self.high(low))


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class TupleOutput(nn.Module):
    """A pair of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(x), x.amax(1)


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class NestedTupleOutput(nn.Module):
    """Logits and a tuple of all hidden states, as older transformer code returns them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, tuple[Tensor, Tensor]]]:
        low = self.first(x).tanh()
        high = self.second(low)
        return high.sum(-1), (x + 1.0, (low, high))


@healthy(floats(2, 8, 12, 12))
class ListOutput(nn.Module):
    """A list of feature maps, as feature pyramids return it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.conv(x), self.conv(F.avg_pool2d(x, 2))]


class Prediction(NamedTuple):
    """The output of NamedTupleOutput."""

    logits: Tensor
    embedding: Tensor


@healthy(floats(2, 8), dims=BATCH)
class NamedTupleOutput(nn.Module):
    """A named tuple, which a trace returns as a plain one."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Prediction:
        hidden = self.body(x).tanh()
        return Prediction(self.head(hidden), hidden)


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class DictInsideTuple(nn.Module):
    """A tuple which ends in a dict of auxiliary outputs."""

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return x.cumsum(1), {"mean": x.mean(-1), "peak": x.amax(-1)}


@healthy(floats(2, 8), dims=BATCH)
class IntegerOutput(nn.Module):
    """A classifier that returns the class index."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).argmax(-1)


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class BooleanOutput(nn.Module):
    """A detector that returns yes or no at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).squeeze(-1) > 0


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class ScalarOutput(nn.Module):
    """A reduction to one number, as a loss or an energy."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).square().mean()


@healthy(floats(2, 16, 8))
class NonzeroRows(nn.Module):
    """As many output rows as there are detections."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        keep = self.head(x).squeeze(-1) > 0
        return x[keep], keep.nonzero()


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class SameTensorTwice(nn.Module):
    """One tensor returned under two positions, as last hidden state and as embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.head(x)
        return hidden, hidden


@healthy(floats(2, 8))
class OutputAliasesBuffer(nn.Module):
    """A detector that also returns its anchor buffer as it is."""

    anchors: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.register_buffer("anchors", torch.arange(4.0) + 0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(x) * self.anchors, self.anchors


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class OutputAliasesInput(nn.Module):
    """Hidden states which begin with the untouched input and a view of it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x, x.transpose(1, 2), self.head(x)


# Structures of inputs


@healthy(lambda: (random_floats(2, 16, 8), random_floats(2, 16, 8, seed=5)), dims=BATCH_SEQ)
class TwoTower(nn.Module):
    """A Siamese encoder over two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(8, 8), nn.Tanh())

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return F.cosine_similarity(self.tower(left).mean(1), self.tower(right).mean(1), dim=-1)


@healthy(named(query=lambda: random_floats(2, 16, 8), context=lambda: random_floats(2, 16, 8, seed=5)))
class KeywordOnly(nn.Module):
    """Inputs that can only be given by name."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)

    def forward(self, *, query: Tensor, context: Tensor) -> Tensor:
        return torch.softmax(query @ self.project(context).transpose(1, 2), dim=-1) @ context


@healthy(lambda: (random_floats(2, 16, 8), None, random_floats(2, 16, 8, seed=5)), dims=BATCH_SEQ)
class OptionalInTheMiddle(nn.Module):
    """An optional argument left out between two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)

    def forward(self, x: Tensor, bias: Tensor | None, residual: Tensor) -> Tensor:
        hidden = self.project(x)
        if bias is not None:
            hidden = hidden + bias
        return hidden + residual


@healthy(lambda: (random_floats(2, 16, 8), 3), dims=BATCH_SEQ)
class IntegerArgument(nn.Module):
    """The number of refinement steps as a plain int."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(8, 8)

    def forward(self, x: Tensor, steps: int = 1) -> Tensor:
        for _ in range(steps):
            x = x + self.step(x).tanh()
        return x


@healthy(named(x=lambda: random_floats(2, 16, 8), output_weights=lambda: True), dims=BATCH_SEQ)
class BooleanArgument(nn.Module):
    """A flag that adds an output, as ``output_attentions`` does."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = _SelfAttention()

    def forward(self, x: Tensor, output_weights: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        mixed, weights = self.attention(x, x.new_zeros(()))
        return (mixed, weights) if output_weights else mixed


@healthy(named(x=lambda: random_floats(2, 16, 8), pooling=lambda: "max"), dims=BATCH_SEQ)
class TextArgument(nn.Module):
    """The kind of pooling named by a string."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor, pooling: str = "mean") -> Tensor:
        return self.head(x.amax(1) if pooling == "max" else x.mean(1))


@healthy(lambda: (random_floats(2, 8), (random_floats(2, 8, seed=3), random_floats(2, 8, seed=5))), dims=BATCH)
class TupleArgument(nn.Module):
    """A recurrent cell which takes its state as a tuple and returns the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(8, 8)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden, cell = self.cell(x, state)
        return hidden.tanh(), (hidden, cell)


@healthy(lambda: ([random_floats(2, 4, 8), random_floats(2, 6, 8, seed=5)],), dims=BATCH)
class ListArgument(nn.Module):
    """Feature maps given as a list."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 4)

    def forward(self, features: list[Tensor]) -> Tensor:
        return torch.stack([self.project(feature).mean(1) for feature in features], dim=1)


@healthy(lambda: ({"image": random_floats(2, 8), "text": random_floats(2, 6, seed=5)},), dims=BATCH)
class DictArgument(nn.Module):
    """A batch given as one dict."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(8, 4), nn.Linear(6, 4)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.image(batch["image"]) * self.text(batch["text"])


@healthy(lambda: tuple(random_floats(2, 8, seed=seed) for seed in range(3)), dims=BATCH)
class StarArguments(nn.Module):
    """Any number of positional tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(24, 4)

    def forward(self, *features: Tensor) -> Tensor:
        return self.head(torch.cat(features, dim=-1))


@healthy(named(edge_index=lambda: random_ints(0, 6, 2, 14), nodes=lambda: random_floats(6, 8)))
class GraphConvolution(nn.Module):
    """Message passing over an edge list: ids as indices, and a first axis of 2 that is no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)

    def forward(self, nodes: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index[0], edge_index[1]
        messages = self.project(nodes).index_select(0, source)
        return nodes + torch.zeros_like(nodes).index_add(0, target, messages)


# Types, buffers, constants


@healthy(floats(2, 8, dtype=torch.float64), dims=BATCH)
class DoublePrecision(nn.Module):
    """A float64 model, as in physics code."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 2)).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@healthy(floats(2, 16, 8, dtype=torch.bfloat16), dims=BATCH_SEQ)
class BrainFloat(nn.Module):
    """A bfloat16 model that takes its softmax in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(8, 8).bfloat16(), nn.Linear(8, 8).bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        scores = (self.query(x) @ x.transpose(1, 2)).softmax(-1, dtype=torch.float32)
        return scores.to(x.dtype) @ self.value(x)


@healthy(token_ids(), dims=BATCH_SEQ)
class TiedHead(nn.Module):
    """A language model head that shares the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)
        self.head = nn.Linear(8, 24)
        self.head.weight = self.embedding.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.head(self.embedding(input_ids).tanh())


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class NonPersistentBuffer(nn.Module):
    """Sinusoidal positions in a buffer that is not saved in the state dict."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        angle = torch.arange(64.0)[:, None] / 10.0 ** torch.linspace(0, 2, 8)
        self.register_buffer("table", angle.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[: x.shape[1]]


@healthy(floats(2, 3, 8, 8), dims=BATCH)
class PlainTensorAttribute(nn.Module):
    """Image statistics kept as plain tensors, which become constants of the trace."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.tensor([0.48, 0.45, 0.40]).view(1, 3, 1, 1)
        self.std = torch.tensor([0.26, 0.25, 0.27]).view(1, 3, 1, 1)
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv((x - self.mean) / self.std)


@healthy(floats(6, 8))
class SparseAdjacency(nn.Module):
    """A fixed graph held as a sparse buffer."""

    adjacency: Tensor

    def __init__(self) -> None:
        super().__init__()
        edges = torch.tensor([[0, 1, 2, 3, 4, 5, 5], [1, 2, 3, 4, 5, 0, 2]])
        weight = torch.linspace(0.5, 1.5, 7)
        adjacency = torch.sparse_coo_tensor(edges, weight, (6, 6), check_invariants=True)
        self.register_buffer("adjacency", adjacency.coalesce())
        self.project = nn.Linear(8, 4)

    def forward(self, nodes: Tensor) -> Tensor:
        return self.project(torch.sparse.mm(self.adjacency, nodes))


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class ComplexRotary(nn.Module):
    """Rotary positions as complex numbers, as in the first LLaMA code."""

    inverse: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("inverse", 1.0 / 100.0 ** (torch.arange(4.0) / 4))

    def forward(self, x: Tensor) -> Tensor:
        angle = torch.outer(torch.arange(x.shape[1], device=x.device).float(), self.inverse)
        turn = torch.polar(torch.ones_like(angle), angle)
        pairs = torch.view_as_complex(x.reshape(x.shape[0], x.shape[1], 4, 2))
        return torch.view_as_real(pairs * turn).flatten(2)


# Sizes that stay in the graph


@healthy(token_ids(), arguments={"shapes": "dynamic"}, dims=BATCH_SEQ)
class ArangePositions(nn.Module):
    """Position embeddings by an arange over the traced length."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(24, 8), nn.Embedding(128, 8)

    def forward(self, input_ids: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
        return self.embedding(input_ids) + self.position(positions)


@healthy(floats(2, 16, 8), arguments={"shapes": {"seq": "dynamic"}}, dims=BATCH_SEQ)
class RelativeBias(nn.Module):
    """Bucketed relative positions, as in T5."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Embedding(9, 1)

    def forward(self, x: Tensor) -> Tensor:
        position = torch.arange(x.shape[1], device=x.device)
        bucket = (position[None, :] - position[:, None]).clamp(-4, 4) + 4
        return (x @ x.transpose(1, 2) / 8**0.5 + self.bias(bucket).squeeze(-1)).softmax(-1) @ x


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class LinearDistanceBias(nn.Module):
    """Attention scores lowered with distance, as in ALiBi; slopes from a python list."""

    def forward(self, x: Tensor) -> Tensor:
        slopes = torch.tensor([2.0**-power for power in (1, 2)]).view(1, 2, 1, 1)
        position = torch.arange(x.size(1), device=x.device)
        distance = (position[None, :] - position[:, None]).abs()
        heads = x.view(x.size(0), x.size(1), 2, 4).transpose(1, 2)
        mixed = (heads @ heads.transpose(-1, -2) - slopes * distance).softmax(-1) @ heads
        return mixed.transpose(1, 2).flatten(2)


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class PaddedWindows(nn.Module):
    """Windows of four steps, the length rounded up with tensor arithmetic only."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 0, 0, (4 - x.shape[1] % 4) % 4))
        return self.project(padded.reshape(x.shape[0], padded.shape[1] // 4, 32))


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class SpectralMixing(nn.Module):
    """A learned filter in the frequency domain, back to the very length that came in."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x, dim=1)
        return torch.fft.irfft(spectrum * self.gain, n=x.shape[1], dim=1)


@healthy(floats(2, 64))
class Spectrogram(nn.Module):
    """Log power of a short-time Fourier transform."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(16))

    def forward(self, wave: Tensor) -> Tensor:
        spectrum = torch.stft(wave, 16, hop_length=8, window=self.window, return_complex=True)
        return spectrum.abs().square().clamp(min=1e-6).log()


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class ClassToken(nn.Module):
    """A class token, expanded to the batch by the traced size."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1))[:, 0]


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class SizeAsTensorDivision(nn.Module):
    """A mean by hand whose divisor is never turned into an int."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / x.shape[1]


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class PatchMerging(nn.Module):
    """Every other step concatenated to its neighbour, as Swin does in two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        even = x[:, 0::2]
        odd = x[:, 1::2]
        return self.reduce(torch.cat([even[:, : odd.shape[1]], odd], dim=-1))


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class FrameUnfolding(nn.Module):
    """Overlapping frames by ``unfold``."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.pad(x, (0, 0, 2, 2)).unfold(1, 5, 1).mean(-1))


# Domains that end


@healthy(token_ids(), dims={"batch": "dynamic"})
class LearnedPositions(nn.Module):
    """Learned positions for at most 24 steps: eager refuses longer inputs, and so does the trace."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 8)
        self.position = nn.Parameter(torch.randn(24, 8))

    def forward(self, input_ids: Tensor) -> Tensor:
        if input_ids.shape[1] > 24:
            raise ValueError("at most 24 tokens")
        return self.embedding(input_ids) + self.position[: input_ids.shape[1]]


@healthy(floats(2, 16, 8), dims=BATCH)
class FlattenedSequence(nn.Module):
    """A head over the flattened sequence: one length only, in eager too."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


@healthy(floats(2, 3, 12, 12), dims=BATCH)
class FixedImageSize(nn.Module):
    """A patch embedding that asserts its image size, as vision transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.position = nn.Parameter(torch.randn(9, 8))

    def forward(self, pixel_values: Tensor) -> Tensor:
        _, _, height, width = pixel_values.shape
        assert height == 12, f"expected height 12, got {height}"
        assert width == 12, f"expected width 12, got {width}"
        return self.patch(pixel_values).flatten(2).transpose(1, 2) + self.position


@healthy(floats(2, 16, 8), dims={"batch": "fixed", "seq": "dynamic"})
class LoudlyFixedBatch(nn.Module):
    """A loop over the samples: the trace refuses another batch size out loud, which the safe contract allows."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.head(sample).amax(0) for sample in x])


@healthy(floats(2, 16, 8), arguments={"shapes": {"batch": "fixed", "seq": "dynamic"}}, dims={"batch": "fixed"})
class DeclaredFixedBatch(nn.Module):
    """A batch written into the graph, declared as fixed."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.token.expand(int(x.shape[0]), -1, -1), x], dim=1).tanh()


# Python in forward that does no harm


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class InPlaceOnIntermediate(nn.Module):
    """In-place operations and slice assignment on tensors that forward made itself."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.project(x)
        hidden.relu_()
        hidden[:, 0] = 0.5
        hidden[..., 2:4] *= 3.0
        return hidden.add_(1.0)


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class BooleanAssignment(nn.Module):
    """Assignment through a boolean mask on a clone."""

    def forward(self, x: Tensor) -> Tensor:
        out = x.clone()
        out[x < 0] = 0.25
        return out.square()


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class PreallocatedResult(nn.Module):
    """A result allocated first and filled by slices."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.empty(x.shape[0], x.shape[1], 8, device=x.device, dtype=x.dtype)
        out[..., :4] = self.left(x)
        out[..., 4:] = self.right(x)
        return out


def decay_scan(x: Tensor) -> Tensor:
    """Return the exponentially decaying sum over axis 1; the loop stays a loop once it is scripted."""
    state = torch.zeros_like(x[:, 0])
    out = torch.zeros_like(x)
    for step in range(x.size(1)):
        state = state * 0.5 + x[:, step]
        out[:, step] = state
    return out


@healthy(floats(2, 16, 8), arguments={"shapes": "dynamic"}, dims=BATCH_SEQ)
class ScriptedLoop(nn.Module):
    """A recurrence in a scripted helper, the documented way to keep a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        scan = scripted(decay_scan)
        return scan(self.project(x))


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class BranchesByWhere(nn.Module):
    """Data-dependent choice in the graph, by torch.where."""

    def __init__(self) -> None:
        super().__init__()
        self.positive, self.negative = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        choice = (x.sum((1, 2), keepdim=True) > 0).expand_as(x)
        return torch.where(choice, self.positive(x), self.negative(x))


@healthy(floats(2, 16, 8), dims=BATCH)
class TopSteps(nn.Module):
    """The four best-scored steps, in order of time."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        index = self.score(x).squeeze(-1).topk(min(4, x.shape[1]), dim=1).indices.sort(dim=1).values
        return x.gather(1, index[:, :, None].expand(-1, -1, 8))


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class GatedExperts(nn.Module):
    """A mixture of experts that runs each expert on all tokens and weights them by the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        weight, index = self.gate(x).softmax(-1).topk(2, dim=-1)
        dense = torch.zeros_like(self.gate(x)).scatter(-1, index, weight)
        return sum((dense[..., i, None] * expert(x) for i, expert in enumerate(self.experts)), torch.zeros_like(x))


@healthy(token_ids(), dims=BATCH_SEQ)
class BagOfWords(nn.Module):
    """Counts of token ids by scatter_add."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(24, 4)

    def forward(self, input_ids: Tensor) -> Tensor:
        counts = torch.zeros(input_ids.shape[0], 24, device=input_ids.device)
        counts = counts.scatter_add(1, input_ids, torch.ones_like(input_ids, dtype=counts.dtype))
        return self.head(counts)


@healthy(token_ids(), dims=BATCH_SEQ)
class OneHotEncoder(nn.Module):
    """One-hot input with the number of classes given."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(24, 4)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.head(F.one_hot(input_ids, 24).float())


@healthy(lambda: (random_floats(2, 16, 8), random_floats(2, 16, 8, seed=5)), dims=BATCH_SEQ)
class BilinearMatching(nn.Module):
    """Interaction by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8) / 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.einsum("bid,de,bje->bij", left, self.weight, right)


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class KeepsAttentionMap(nn.Module):
    """Saves its last attention map to a plain attribute for a notebook to plot, and logs its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = _SelfAttention()
        self.last_weights: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        mixed, weights = self.attention(x, x.new_zeros(()))
        self.last_weights = weights.detach()
        log.debug("attention over %s", tuple(weights.shape))
        return mixed


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class CountsItsCalls(nn.Module):
    """A python counter and a list of timings that no answer depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.seen: list[str] = []
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(f"call {self.calls}")
        return self.head(x)


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class LazyFrequencies(nn.Module):
    """Inverse frequencies computed at the first call; they depend on the width alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inverse: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.inverse is None:
            self.inverse = 1.0 / 100.0 ** (torch.arange(8.0) / 8)
        return x * torch.outer(torch.arange(x.shape[1], device=x.device).float(), self.inverse).cos()


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class CachePerLength(nn.Module):
    """Causal masks kept in a dict by length; a traced size is never a hit, so the trace computes its own."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: dict[int, Tensor] = {}

    def causal(self, length: int) -> Tensor:
        if length not in self.masks:
            self.masks[length] = torch.ones(length, length).tril()
        return self.masks[length]

    def forward(self, x: Tensor) -> Tensor:
        scores = (x @ x.transpose(1, 2)).masked_fill(self.causal(x.shape[1]) == 0, -1e9)
        return scores.softmax(-1) @ x


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class BranchOnConfig(nn.Module):
    """Python branches on configuration flags."""

    def __init__(self, activation: str = "swish", residual: bool = True) -> None:
        super().__init__()
        self.config = {"activation": activation, "residual": residual}
        self.project = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.silu(self.project(x)) if self.config["activation"] == "swish" else F.relu(self.project(x))
        return x + hidden if self.config["residual"] else hidden


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class BranchOnRank(nn.Module):
    """A branch on the number of axes, which no input of the same rank can change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            x = x.unsqueeze(0)
        if x.ndim != 3 or not x.is_floating_point():
            raise ValueError("expected (batch, time, features)")
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


@healthy(lambda: (random_floats(2, 16, 8), random_floats(2, 16, 8, seed=5)), dims=BATCH_SEQ)
class ShapeAsserts(nn.Module):
    """Asserts on shapes, which warn under the tracer and are right."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        batch, length, width = x.shape
        assert width == 8
        assert memory.shape == (batch, length, width), "x and memory must agree"
        if x.size(0) != memory.size(0):
            raise ValueError("batch sizes differ")
        return self.project(x) * memory


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class FiniteAssert(nn.Module):
    """A sanity check on values, which warns under the tracer and never fires."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.project(x)
        if torch.isnan(hidden).any():
            raise FloatingPointError("hidden states are not finite")
        return hidden


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class HookedBackbone(nn.Module):
    """A forward hook that rescales a layer's output."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 8)
        self.body.register_forward_hook(self.rescale)

    @staticmethod
    def rescale(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output * 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).tanh()


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class CheckpointedBlock(nn.Module):
    """Activation checkpointing of the non-reentrant kind, left switched on."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.block, x, use_reentrant=False)


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class NoGradForward(nn.Module):
    """A forward decorated with torch.no_grad, as frozen backbones have it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 8)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).sigmoid()


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class MixedPrecisionInside(nn.Module):
    """An autocast region within forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = self.body(x)
        return self.head(hidden.float())


@healthy(floats(2, 8), arguments={"batch_size": [1, 3]}, dims=BATCH)
class BareSqueeze(nn.Module):
    """A squeeze without an axis: it drops a batch of one, in eager and trace alike."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).squeeze()


@healthy(floats(2, 16, 8), arguments={"seq_len": [8, 12], "batch_size": 3}, dims=BATCH_SEQ)
class TracedAtOtherSizes(nn.Module):
    """Statistics over time, gated at sizes other than those of the example."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(1), x.amax(1), x.median(1).values, x.quantile(0.25, dim=1)], dim=-1)


@healthy(floats(2, 16, 8), arguments={"rtol": 1e-4, "atol": 1e-4}, dims=BATCH_SEQ)
class CumulativeScan(nn.Module):
    """A gated recurrence written with cumulative sums."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.value = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.gate(x).sigmoid() + 0.1
        return (weight * self.value(x)).cumsum(1) / weight.cumsum(1)


@healthy(floats(2, 8), dims={"batch": "dynamic"})
class FeaturesOfFixedNumber(nn.Module):
    """A size becomes a number, and eager lets no other through: these are features, not time."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) / int(x.shape[1])


@healthy(floats(2, 16, 8), dims=BATCH_SEQ)
class NanInTheGraph(nn.Module):
    """Bad values are replaced by an operation, and looked at without a decision."""

    def forward(self, x: Tensor) -> Tensor:
        assert not bool(x.isnan().all())
        return torch.nan_to_num(x) * 2


@healthy(floats(2, 8))
class LogOfZero(nn.Module):
    """The logarithm of an unclamped probability: minus infinity is an answer that trace and eager share."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(F.relu(x))


@healthy(floats(2, 16, 8))
class HalfPrecisionOverflow(nn.Module):
    """A sum of squares in float16: infinity is an answer that trace and eager share."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.half() * 100).square().sum(-1)


@healthy(floats(2, 8))
class LogitsAtMinusInfinity(nn.Module):
    """Forbidden classes set to minus infinity in the output itself: deliberate in sampling code."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).masked_fill(torch.arange(6) < 2, float("-inf"))
