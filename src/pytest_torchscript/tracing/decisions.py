"""The Python values that a forward takes out of its tensors in eager mode: by these it decides which way to go."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .conversions import FUNCTIONS, METHODS

__all__ = ["Decisions", "same_way", "watching_decisions"]

Decisions = list[tuple[str, int, str]]
"""File, line and value of each, in the order in which they were taken."""

_LONGEST = 80
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
"""What this package itself asks of tensors is no decision of the model."""


@contextmanager
def watching_decisions() -> Iterator[Decisions]:
    """Collect the values that leave tensors in the block; ``torch.Tensor`` is as before afterwards."""
    found: Decisions = []
    places: list[tuple[Any, str]] = [(torch.Tensor, name) for name in METHODS]
    places += [(torch, name) for name in FUNCTIONS]
    before = [(owner, name, vars(owner).get(name)) for owner, name in places]
    try:
        for owner, name in places:
            setattr(owner, name, _noting(getattr(owner, name), found))
        yield found
    finally:
        for owner, name, original in before:
            if original is not None:
                setattr(owner, name, original)
            else:
                delattr(owner, name)


def _noting(method: Callable[..., Any], found: Decisions) -> Callable[..., Any]:
    def ask(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        frame = sys._getframe(1)
        if frame.f_code.co_filename.startswith(_OURS):
            return result
        text = repr(result)[:_LONGEST] if isinstance(result, (bool, int, float, complex, list, str)) else ""
        found.append((frame.f_code.co_filename, frame.f_lineno, text))
        return result

    return ask


def same_way(known: Decisions, other: Decisions) -> bool:
    """Whether the same decisions were taken at the same lines, in the same order and with the same values."""
    return known == other
