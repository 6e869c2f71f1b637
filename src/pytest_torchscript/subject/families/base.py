"""What the gate may ask about the library that a model comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from ...errors import SubjectError
from ..call import Call

__all__ = ["WAY_OUT", "Clones", "Family", "Flag", "Note"]

WAY_OUT = "give inputs= or a torchscript_inputs fixture"


@dataclass(frozen=True)
class Clones:
    """Parameters that are equal copies of one weight: all their names, the bytes of one copy, and how many there are."""

    names: tuple[str, ...]
    bytes: int
    copies: int


@dataclass(frozen=True)
class Note:
    """What a user should know of a model, and what to do; ``path`` names the parameter that it is about, if any."""

    message: str
    hint: str
    path: str | None = None


@dataclass(frozen=True)
class Flag:
    """A setting of a library that is meant to prepare its models for TorchScript, as it is found switched on.

    ``has_effect`` is False where the installed version of the library ignores the flag; ``clones`` are the weights that
    the model ties without the flag and has several times because of it; ``notes`` say both in words.
    """

    has_effect: bool
    clones: tuple[Clones, ...] = ()
    notes: tuple[Note, ...] = ()


class Family:
    """The models of one library. This base class describes a plain torch module; a library's own overrides what differs.

    A new family is a file in this folder with a subclass, and an entry in ``FAMILIES``. It must not import its library:
    a model of it can only exist where the user's process has already done so.
    """

    library = "torch"

    def owns(self, model: object) -> bool:
        """Whether ``model`` belongs to this family."""
        return isinstance(model, torch.nn.Module)

    def limits(self, model: torch.nn.Module) -> dict[str, int]:
        """The largest size of each dim that the model has a limit for: ``{"seq": 512, "decoder_seq": 512}``."""
        return {}

    def as_deployed(self, model: torch.nn.Module, call: Call, restore: Callable[[], None], *, try_it: bool = True) -> Call:
        """``call`` as the library's documentation says to trace the model.

        With ``try_it`` the model may be run to find out what it accepts; ``restore`` then undoes what the run has
        changed in it.
        """
        return call

    def pad_values(self, model: torch.nn.Module, paths: Iterable[str]) -> dict[str, int]:
        """What the integer inputs at these paths are padded with, as far as the library says."""
        return {}

    def fixes_image_sizes(self, model: torch.nn.Module) -> bool:
        """Whether the model takes images of one size only, so that no other is worth probing."""
        return False

    def synthesise(
        self, model: torch.nn.Module, *, batch_size: int | None = None, seq_len: int | None = None
    ) -> Mapping[str, torch.Tensor]:
        """Example inputs by forward argument, in forward's order, for a model that nobody gave any for.

        Raises:
            SubjectError: this family makes no inputs, or none for this model or at these sizes.
        """
        raise SubjectError(f"no inputs can be made for {type(model).__name__}: {WAY_OUT}")

    def flag(self, model: torch.nn.Module) -> Flag | None:
        """The library's flag for TorchScript where ``model``, or a module of this family within it, has it switched on."""
        return None
