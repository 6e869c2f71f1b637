"""What the product knows of the libraries that models come from, a file each.

Nothing here imports such a library: a model of one can only exist where the user's process has already imported it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch

from ...errors import SubjectError
from .base import WAY_OUT, Clones, Family, Flag
from .transformers import Transformers

__all__ = ["FAMILIES", "Clones", "Family", "Flag", "family_of"]

FAMILIES: Final[tuple[Family, ...]] = (Transformers(),)
"""The libraries that are known; the first that owns a model describes it."""


class _Plain(Family):
    """Modules of no known library. They may hold modules of one."""

    def synthesise(
        self, model: torch.nn.Module, *, batch_size: int | None = None, seq_len: int | None = None
    ) -> Mapping[str, torch.Tensor]:
        able = " and ".join(family.library for family in FAMILIES if type(family).synthesise is not Family.synthesise)
        raise SubjectError(f"inputs can only be made for {able} models, which {type(model).__name__} is not: {WAY_OUT}")

    def flag(self, model: torch.nn.Module) -> Flag | None:
        return next((flag for family in FAMILIES if (flag := family.flag(model)) is not None), None)


def family_of(model: torch.nn.Module) -> Family:
    """The family of a model, by its base class; that of a plain torch module where no library is recognised."""
    return next((family for family in FAMILIES if family.owns(model)), _Plain())
