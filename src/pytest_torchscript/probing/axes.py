"""Which axes of the inputs vary: the dims that are named, and those that are worth a guess."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ..subject.inputs import Dims, with_guessed_axes
from ..tracing.conversions import Conversion

__all__ = ["probed_dims"]


def probed_dims(
    model: torch.nn.Module, inputs: Mapping[str, Any], dims: Dims, conversions: Iterable[Conversion], *, guess: bool
) -> Dims:
    """The dims to probe: ``dims``, and where a size became a Python value the axes of images and signals.

    Without ``guess`` nothing is added: the marker has named the axes, or the model's config fixes their sizes.
    """
    if not guess or not any(conversion.origin == "size" for conversion in conversions):
        return dims
    convolves = any(isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)) for module in model.modules())
    return with_guessed_axes(inputs, dims, convolves=convolves)
