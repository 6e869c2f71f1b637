"""What is asked for: example inputs for one model, of certain sizes, from one source of randomness."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import torch

from .configs import places

__all__ = ["DEFAULT_SEQ_LEN", "MEDIA", "Request", "positions_of"]

DEFAULT_SEQ_LEN: Final = 16
"""Long enough to hold padding, short enough to be quick; never 1, at which SDPA bakes `is_causal` into a trace."""

MEDIA: Final = ("pixel_values", "pixel_values_videos", "input_values", "input_features")
"""Arguments for images, videos and sound."""

# Where each half of a model that reads tokens is described.
_TEXT_PARTS: Final = ("text_config", "text_encoder", "encoder")
_DECODER_PARTS: Final = ("decoder", "text_config", "decoder_config")


def _fixed_generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """What the rules may ask: the model's config and signature, the sizes that are wanted, and random values.

    `seq_len` is the length of the token inputs; `asked_seq_len` is None where nobody asked for one.
    """

    model: torch.nn.Module
    batch: int = 1
    asked_seq_len: int | None = None
    seq_len: int = DEFAULT_SEQ_LEN
    generator: torch.Generator = field(default_factory=_fixed_generator)

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def name(self) -> str:
        return type(self.model).__name__

    # ---- the signature

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.model.forward).parameters

    def takes(self, name: str) -> bool:
        return name in self.parameters

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The arguments without a default."""
        starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return tuple(
            name
            for name, parameter in self.parameters.items()
            if parameter.kind not in starred and parameter.default is parameter.empty
        )

    def needs(self, name: str) -> bool:
        """Whether an argument must be made: it has no default, or the class names it as its main input."""
        return name in self.required or (self.takes(name) and name == getattr(self.model, "main_input_name", None))

    # ---- the configs of the halves that read tokens

    @cached_property
    def text(self) -> tuple[object, ...]:
        return places(self.config, _TEXT_PARTS)

    @cached_property
    def decoder(self) -> tuple[object, ...]:
        return places(self.config, _DECODER_PARTS)

    @property
    def rows(self) -> tuple[int, ...]:
        """The axes before the sequence. Only the class name tells a multiple-choice head from the others."""
        return (self.batch, 2) if self.name.endswith("ForMultipleChoice") else (self.batch,)

    # ---- drawing

    @cached_property
    def _floats(self) -> tuple[torch.Tensor, ...]:
        tensors = itertools.chain(self.model.parameters(), self.model.buffers())
        # One-byte floats are storage for quantised weights; no model computes, or takes inputs, in them.
        return tuple(tensor for tensor in tensors if tensor.is_floating_point() and tensor.element_size() > 1)

    @property
    def dtype(self) -> torch.dtype:
        return self._floats[0].dtype if self._floats else torch.get_default_dtype()

    @property
    def device(self) -> torch.device:
        # Any of them on the meta device means all: wav2vec2's first parameter stays behind when it is built there.
        floats = sorted(self._floats, key=lambda tensor: not tensor.is_meta)
        return floats[0].device if floats else torch.get_default_device()

    # Everything is made on the CPU, by name and whatever the default device, and moved once, when all is done.

    def integers(self, below: int, *shape: int) -> torch.Tensor:
        return torch.randint(below, shape, generator=self.generator, device=self.generator.device).cpu()

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal values, which is what the processors' normalisation aims at, in the model's dtype."""
        # Drawn in float32 whatever the dtype, so that models of two dtypes see the same example.
        values = torch.randn(shape, generator=self.generator, device=self.generator.device, dtype=torch.float32)
        return values.to("cpu", self.dtype)

    def lengths(self, rows: Sequence[int], length: int) -> torch.Tensor:
        """How much of each row is real: all of the first, less of those after it, at least one and about half."""
        step = max(1, length // 4)
        shortest = max(1, length // 2)
        real = [max(shortest, length - row * step) for row in range(math.prod(rows))]
        return torch.tensor(real, device="cpu").view(*rows)

    def mask(self, rows: Sequence[int], length: int) -> torch.Tensor:
        """1 at the real positions and 0 at the padding after them; int64, as tokenizers give it."""
        return (positions_of(length) < self.lengths(rows, length).unsqueeze(-1)).long()


def positions_of(length: int) -> torch.Tensor:
    """0, 1, … up to a length."""
    return torch.arange(length, device="cpu")
