"""Which axes of the inputs vary: the dims that are named, and those that are worth a guess."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..cell import Cell
from ..subject.inputs import Dims, with_guessed_axes
from ..tracing.conversions import Conversion

__all__ = ["probed_dims"]


def probed_dims(cell: Cell, conversions: Iterable[Conversion]) -> Dims:
    """The dims to probe: those of the cell, and where a size became a Python value the axes of images and signals.

    Nothing is added where the marker has named the axes, or the model's config fixes their sizes.
    """
    if not cell.guesses_axes or not any(conversion.origin == "size" for conversion in conversions):
        return cell.dims
    convolves = any(isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)) for module in cell.model.modules())
    return with_guessed_axes(cell.inputs, cell.dims, convolves=convolves)
