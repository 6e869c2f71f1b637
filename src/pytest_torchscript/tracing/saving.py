"""Saving and loading a traced program in memory."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..nested import identical
from . import private

__all__ = ["Loaded", "light_round_trip", "round_trip"]

_LARGE = 64 * 1024
"""How many bytes of one storage are written at most; to write, read and compare as many takes less than a tenth of a ms."""

_DTYPES = (
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A program that was saved and loaded, ready to run.

    ``saved`` are its tensors by name as they went into the file, ``state`` as they came out. ``light`` names the large
    ones of which the file has one element alone: they have the shapes, dtypes and ties of the weights they stand for.
    ``program`` has the weights themselves again, which are the model's.
    """

    program: Any
    saved: Mapping[str, torch.Tensor]
    state: Mapping[str, torch.Tensor]
    light: frozenset[str] = frozenset()

    def kept(self, name: str) -> bool:
        """Whether the file gave a tensor back as it was written: its dtype, shape and values."""
        before, after = self.saved[name], self.state[name]
        if name not in self.light:
            return identical(before, after)
        if (before.shape, before.stride()) != (after.shape, after.stride()):
            return False
        first = (0,) * before.ndim
        return identical(before[first], after[first])


def round_trip(module: Any, *, device: str | None = None) -> Any:
    """``torch.jit.save`` then ``torch.jit.load`` in memory; the loaded program lies on ``device``, else where it was."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer, map_location=device)


def light_round_trip(module: Any) -> Loaded:
    """:func:`round_trip` of a traced program, but for the bytes of its large weights.

    It does not prove that torch writes those bytes right, nor that it can write a file of more than 4 GB.

    The program itself is never changed: its weights are the live model's. What is written is a copy of its modules, in
    which large weights are replaced. A model with a script module of the user's inside, whose attributes cannot be listed
    and may share memory with any weight, is written whole.
    """
    weights = module.state_dict(keep_vars=True)
    stand_ins = _stand_ins(weights) if private.is_one_trace(module) else {}
    program = round_trip(private.with_tensors(module, stand_ins) if stand_ins else module)
    state = program.state_dict()
    loaded = Loaded(program=program, saved={**weights, **stand_ins}, state=state, light=frozenset(stand_ins))
    parts = dict(program.named_modules()) if stand_ins else {}
    for name in stand_ins.keys() & state.keys():
        if loaded.kept(name):
            owner, _, attribute = name.rpartition(".")
            setattr(parts[owner], attribute, weights[name])
    return loaded


def _stand_ins(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """For each large weight a tensor that looks like it, and all of whose elements are one element in memory.

    What shares a storage shares one again, and what begins at the same place in it does so there.
    """
    found: dict[str, torch.Tensor] = {}
    for tensors in _by_storage(weights):
        # Two dtypes in one memory, or a view with a conjugate bit beside a plain one, are left to torch.
        if all(map(_is_plain, tensors.values())) and len({tensor.dtype for tensor in tensors.values()}) == 1:
            found |= _sharing(tensors)
    return found


def _by_storage(weights: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """The tensors of each large storage."""
    groups: dict[int, tuple[torch.UntypedStorage, dict[str, torch.Tensor]]] = {}
    for name, tensor in weights.items():
        # Only a strided tensor has a storage of its own, and a subclass need not have one.
        with contextlib.suppress(RuntimeError, NotImplementedError):
            storage = tensor.untyped_storage()
            # torch gives the same object for a storage as long as it is held.
            groups.setdefault(id(storage), (storage, {}))[1][name] = tensor
    return [tensors for storage, tensors in groups.values() if storage.nbytes() > _LARGE]


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is nothing but numbers in the memory of the CPU."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.device.type == "cpu"
        and tensor.dtype in _DTYPES
        and tensor.numel() > 0
        and not (tensor.is_nested or tensor.is_conj() or tensor.is_neg())
    )


def _sharing(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Stand-ins for the tensors of one storage: the first element of each stands for the rest of it."""
    firsts = {tensor.storage_offset(): tensor.detach()[(0,) * tensor.ndim] for tensor in tensors.values()}
    memory, places = torch.stack(list(firsts.values())), list(firsts)

    def standing_for(tensor: torch.Tensor) -> torch.Tensor:
        stand_in = memory.as_strided(tensor.shape, (0,) * tensor.ndim, places.index(tensor.storage_offset()))
        return stand_in.requires_grad_(tensor.requires_grad)

    return {name: standing_for(tensor) for name, tensor in tensors.items()}
