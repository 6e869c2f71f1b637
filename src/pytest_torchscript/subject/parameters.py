"""Parameters under several names: which names stand for one weight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch

__all__ = ["by_place", "byte_size", "place"]


def place(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What two names have in common where they are one weight: the storage, and the same part of it."""
    if tensor.is_meta:
        return (id(tensor),)
    return tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape)


def by_place(parameters: Iterable[tuple[str, torch.Tensor]]) -> list[list[str]]:
    """The names of all parameters that are not empty, in groups of those that are one weight."""
    groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, parameter in parameters:
        if parameter.numel():
            groups[place(parameter)].append(name)
    return list(groups.values())


def byte_size(tensor: torch.Tensor) -> int:
    """The bytes that the values of a tensor take, wherever they are stored."""
    return tensor.numel() * tensor.element_size()
