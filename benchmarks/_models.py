"""The models of `gate_cost.py`, by name, with random weights: the large ones, and a suite of 30 small ones.

Every maker gives a model in eval mode and its inputs, by the names of its forward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from torch import nn
from torch.nn import functional as F

Inputs = dict[str, torch.Tensor]
Maker = Callable[[], tuple[nn.Module, Inputs]]


def image(side: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, side, side)


def ids(length: int, vocabulary: int = 1000, batch: int = 1) -> torch.Tensor:
    return torch.randint(5, vocabulary, (batch, length))


def masked(length: int, vocabulary: int = 1000, batch: int = 1) -> Inputs:
    """Token ids and their padding mask."""
    return {"input_ids": ids(length, vocabulary, batch), "attention_mask": torch.ones(batch, length, dtype=torch.long)}


def normed(kind: str, channels: int) -> nn.Module:
    """A batch norm, or a group norm with groups of four channels."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(channels // 4, channels)


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inner: int, outer: int, stride: int, norm: str) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
        )
        self.norms = nn.ModuleList([normed(norm, outer), normed(norm, outer)])
        self.short = nn.Identity() if inner == outer and stride == 1 else nn.Conv2d(inner, outer, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.norms[0](self.first(x)))
        return torch.relu(self.norms[1](self.second(inner)) + self.short(x))


class ResNet(nn.Module):
    """A stem, stages of residual blocks, and a classifier; ``features`` are the outputs of the stages."""

    def __init__(self, width: int, depth: tuple[int, ...], norm: str = "batch") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7, 2, 3)
        stages, inner = [], width
        for index, blocks in enumerate(depth):
            outer = width * 2**index
            steps = [Block(inner if i == 0 else outer, outer, 2 if i == 0 and index else 1, norm) for i in range(blocks)]
            stages.append(nn.Sequential(*steps))
            inner = outer
        self.stages, self.head = nn.ModuleList(stages), nn.Linear(inner, 10)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        found, x = [], F.max_pool2d(torch.relu(self.stem(x)), 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x)[-1].mean((2, 3)))


class Pyramid(nn.Module):
    """A feature pyramid as segmentation models have it: group norms, upsampling to the size of the stage before."""

    def __init__(self, width: int, depth: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.body = ResNet(width, depth)
        self.lateral = nn.ModuleList(nn.Conv2d(width * 2**index, channels, 1) for index in range(len(depth)))
        self.smooth = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.GroupNorm(channels // 4, channels), nn.ReLU())
            for _ in depth
        )
        self.head = nn.Conv2d(channels, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [layer(found) for layer, found in zip(self.lateral, self.body.features(x), strict=True)]
        for index in range(len(maps) - 2, -1, -1):
            maps[index] = maps[index] + F.interpolate(maps[index + 1], scale_factor=2.0, mode="nearest")
        size = maps[0].shape[-2:]
        merged = [
            F.interpolate(step(found), size=size, mode="bilinear", align_corners=False)
            for step, found in zip(self.smooth, maps, strict=True)
        ]
        return F.interpolate(self.head(sum(merged)), scale_factor=4.0, mode="bilinear", align_corners=False)


class UNet(nn.Module):
    """Down, up, and the maps of the way down beside those of the way up."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]

        def double(inner: int, outer: int) -> nn.Sequential:
            layers = [nn.Conv2d(inner, outer, 3, 1, 1), nn.BatchNorm2d(outer), nn.ReLU(), nn.Conv2d(outer, outer, 3, 1, 1)]
            return nn.Sequential(*layers, nn.ReLU())

        self.down = nn.ModuleList(double(inner, outer) for inner, outer in zip([3, *widths], widths, strict=False))
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(inner, outer, 2, 2) for inner, outer in pairs)
        self.join = nn.ModuleList(double(2 * outer, outer) for _, outer in pairs)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for index, step in enumerate(self.down):
            x = step(x if index == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        for up, join, beside in zip(self.up, self.join, kept[-2::-1], strict=True):
            x = join(torch.cat([up(x), beside], 1))
        return self.head(x)


class Vision(nn.Module):
    """A vision transformer with attention written out, as timm's is."""

    def __init__(self, width: int, layers: int, heads: int, side: int, patch: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.position = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width))
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])


class Layer(nn.Module):
    """A transformer's layer, norms first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.before(x)).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(attended)
        return x + self.wide(self.after(x))


class Encoder(nn.Module):
    """torch's own encoder over features."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Recurrent(nn.Module):
    """An LSTM or a GRU with a head on its last step."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU], width: int, layers: int, *, both: bool = False) -> None:
        super().__init__()
        self.body = kind(16, width, layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(width * (1 + both), 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x)[0][:, -1])


def pictures(model: Callable[[], nn.Module], side: int, batch: int = 1) -> Maker:
    return lambda: (model().eval(), {"x": image(side, batch)})


def series(model: Callable[[], nn.Module], *shape: int) -> Maker:
    return lambda: (model().eval(), {"x": torch.randn(*shape)})


def text_model(model: type, config: Callable[[], Any], length: int = 128) -> Maker:
    return lambda: (model(config()).eval(), masked(length))


def small_bert(width: int, layers: int, **more: Any) -> Any:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 2 * width}
    return hf.BertConfig(**sizes, vocab_size=1000, **more)


def small_gpt2(width: int, layers: int) -> Any:
    return hf.GPT2Config(n_embd=width, n_layer=layers, n_head=4, vocab_size=1000, n_positions=128, use_cache=False)


def small_vit(width: int, layers: int) -> Any:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 2 * width}
    return hf.ViTConfig(**sizes, image_size=32, patch_size=8)


def vision_model(model: type, config: Callable[[], Any], side: int = 224) -> Maker:
    return lambda: (model(config()).eval(), {"pixel_values": image(side)})


def llama() -> tuple[nn.Module, Inputs]:
    """LLaMA of 7 billion parameters without any of them."""
    with torch.device("meta"):
        model = hf.LlamaModel(hf.LlamaConfig(use_cache=False))
    return model.eval(), {"input_ids": torch.zeros(1, 128, dtype=torch.long, device="meta")}


DEEP = (2, 2, 2, 2)

LARGE: dict[str, Maker] = {
    "tiny BERT": text_model(hf.BertModel, lambda: hf.BertConfig(**{**small_bert(32, 12).to_diff_dict(), "vocab_size": 30522})),
    "BERT-base": text_model(hf.BertModel, hf.BertConfig),
    "GPT-2 small": text_model(hf.GPT2Model, lambda: hf.GPT2Config(use_cache=False)),
    "ViT-base": vision_model(hf.ViTModel, hf.ViTConfig),
    "Wav2Vec2-base": lambda: (hf.Wav2Vec2Model(hf.Wav2Vec2Config()).eval(), {"input_values": torch.randn(1, 16000)}),
    "ConvNeXt-tiny": vision_model(hf.ConvNextModel, hf.ConvNextConfig),
    "FPN 64": pictures(lambda: Pyramid(64, DEEP, 128), 64),
    "FPN 224": pictures(lambda: Pyramid(64, DEEP, 128), 224),
    "ResNet group norm 64": pictures(lambda: ResNet(64, DEEP, "group"), 64),
    "ResNet group norm 224": pictures(lambda: ResNet(64, DEEP, "group"), 224),
    "LLaMA 7B meta": llama,
}
"""Each is compared with a trace with its own check; the one on the meta device with a trace alone."""

SUITE: dict[str, Maker] = {
    **{f"cnn {width}x{sum(depth)}": pictures(lambda w=width, d=depth: ResNet(w, d), 64, 2)  # type: ignore[misc]
       for width, depth in ((8, (1, 1)), (16, (1, 1, 1)), (16, (2, 2, 2)), (32, (1, 1, 1, 1)))},
    **{f"cnn group norm {width}": pictures(lambda w=width: ResNet(w, (1, 1, 1), "group"), 32, 2)  # type: ignore[misc]
       for width in (8, 16)},
    **{f"vit {width}x{layers}": pictures(lambda w=width, n=layers: Vision(w, n, 4, 32, 8), 32, 2)  # type: ignore[misc]
       for width, layers in ((32, 2), (64, 4), (64, 6), (96, 8))},
    **{f"ViTModel {layers}": vision_model(hf.ViTModel, lambda n=layers: small_vit(32, n), 32)  # type: ignore[misc]
       for layers in (2, 4)},
    **{f"encoder {width}x{layers}": series(lambda w=width, n=layers: Encoder(w, n), 2, 20, width)  # type: ignore[misc]
       for width, layers in ((32, 2), (64, 3), (64, 6))},
    **{f"BertModel {width}x{layers}": text_model(hf.BertModel, lambda w=width, n=layers: small_bert(w, n), 32)  # type: ignore[misc]
       for width, layers in ((32, 2), (64, 2), (32, 4))},
    **{f"GPT2Model {width}x{layers}": text_model(hf.GPT2Model, lambda w=width, n=layers: small_gpt2(w, n), 32)  # type: ignore[misc]
       for width, layers in ((32, 2), (64, 2), (32, 4), (64, 5))},
    "lstm 32": series(lambda: Recurrent(nn.LSTM, 32, 1), 2, 20, 16),
    "lstm 64x2": series(lambda: Recurrent(nn.LSTM, 64, 2), 2, 20, 16),
    "lstm both ways": series(lambda: Recurrent(nn.LSTM, 32, 1, both=True), 2, 20, 16),
    "gru 32": series(lambda: Recurrent(nn.GRU, 32, 1), 2, 20, 16),
    **{f"unet {width}x{levels}": pictures(lambda w=width, n=levels: UNet(w, n), 32, 2)  # type: ignore[misc]
       for width, levels in ((4, 2), (8, 3), (16, 3), (8, 4))},
}  # fmt: skip
"""Models of the size that tests use: each is gated once and compared with a trace, its check, save, load and compare."""
