"""Models of Hugging Face transformers, versions 4 and 5."""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from ...nested import identical
from ..call import Call
from ..parameters import by_place, byte_size
from .base import Clones, Family, Flag, Note
from .synthesis import max_length, synthesise

__all__ = ["Transformers"]

_IGNORED_LABEL = -100
"""The index that the losses of transformers ignore."""

_WITHOUT_FLAG = 5
"""The major version that took the flag ``torchscript=True`` out: a config keeps it as an attribute that nothing reads."""


class Transformers(Family):
    """Subclasses of ``transformers.PreTrainedModel``."""

    library = "transformers"

    def owns(self, model: object) -> bool:
        # The class lives in `modeling_utils`; asking the lazy top module for it would import that, and much else, now.
        modeling_utils = sys.modules.get("transformers.modeling_utils")
        base = getattr(modeling_utils, "PreTrainedModel", None)
        return isinstance(base, type) and isinstance(model, base)

    def limits(self, model: torch.nn.Module) -> dict[str, int]:
        longest = max_length(model)
        return {"seq": longest, "decoder_seq": longest} if longest else {}

    def as_deployed(self, model: torch.nn.Module, call: Call, restore: Callable[[], None], *, try_it: bool = True) -> Call:
        """The call with tuples for outputs and without a cache, as far as the forward takes the arguments for these."""
        parameters = inspect.signature(model.forward).parameters
        takes_more = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
        if "use_cache" in parameters or (takes_more and getattr(model.config, "use_cache", False)):
            call = _without_cache(call)
        tuples = call.with_constants(return_dict=False)
        if "return_dict" in parameters:
            return tuples
        # Since 5.x decorators take return_dict off the keywords, unseen by the signature: a run tells.
        refused = _refuses_return_dict(model, tuples, restore) if try_it else not takes_more
        return call if refused else tuples

    def pad_values(self, model: torch.nn.Module, paths: Iterable[str]) -> dict[str, int]:
        padding = getattr(model.config, "pad_token_id", None)
        by_ending = {"input_ids": padding, "labels": _IGNORED_LABEL}
        return {
            path: value
            for path in paths
            for ending, value in by_ending.items()
            if path.endswith(ending) and isinstance(value, int)
        }

    def fixes_image_sizes(self, model: torch.nn.Module) -> bool:
        # The config says the size of the images.
        return True

    def synthesise(
        self, model: torch.nn.Module, *, batch_size: int | None = None, seq_len: int | None = None
    ) -> Mapping[str, torch.Tensor]:
        return synthesise(model, batch_size=batch_size, seq_len=seq_len)

    def flag(self, model: torch.nn.Module) -> Flag | None:
        """``config.torchscript``. transformers 4 clones tied weights for it and returns tuples; transformers 5 ignores it."""
        flagged = [(path, module) for path, module in model.named_modules() if self._has_flag(module)]
        if not flagged:
            return None
        if _major() >= _WITHOUT_FLAG:
            return Flag(has_effect=False, notes=(_NO_EFFECT,))
        clones = tuple(_clones_within(model, flagged))
        return Flag(has_effect=True, clones=clones, notes=tuple(map(_about, clones)))

    def _has_flag(self, module: torch.nn.Module) -> bool:
        return self.owns(module) and getattr(module.config, "torchscript", False) is True


def _without_cache(call: Call) -> Call:
    call = call.with_constants(use_cache=False)
    cache = call.constants.get("past_key_values")
    if cache is not None and getattr(cache, "get_seq_length", lambda: 1)() == 0:
        # What generate() hands to its first step: without use_cache an empty cache is none.
        call = call.with_constants(past_key_values=None)
    return call


def _refuses_return_dict(model: torch.nn.Module, call: Call, restore: Callable[[], None]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call.run(model)
        except TypeError as error:
            return "return_dict" in str(error)
        except Exception:  # noqa: BLE001 - the check `eager` says what is wrong
            return False
        finally:
            restore()
    return False


# The flag of transformers 4

_NO_EFFECT = Note(
    "config.torchscript=True has no effect in transformers 5: tied weights stay tied, and it makes no tuples",
    hint="drop the flag, and call with return_dict=False for tuples",
)


def _about(clones: Clones) -> Note:
    return Note(
        f"{', '.join(clones.names[:-1])} and {clones.names[-1]} are tied by the config but cloned by its torchscript=True: "
        f"{clones.copies} equal copies, {clones.bytes} bytes each, {clones.bytes * (clones.copies - 1)} more than tied",
        path=clones.names[0],
        hint="drop the flag: torch.jit.save keeps ties, and return_dict=False in the call gives tuples",
    )


def _major() -> int:
    version: str = sys.modules["transformers"].__version__
    return int(version.partition(".")[0])


def _clones_within(model: torch.nn.Module, flagged: Iterable[tuple[str, torch.nn.Module]]) -> Iterator[Clones]:
    """What the configs of the flagged modules in ``model``, outer ones first, tie and the flag has cloned."""
    found: list[set[str]] = []
    for path, module in flagged:
        prefix = f"{path}." if path else ""
        for names, copies in _clones(module):
            full = tuple(prefix + name for name in names)
            # A model within a model ties the same weights once more.
            if not any(known.issuperset(full) for known in found):
                found.append(set(full))
                yield Clones(full, byte_size(model.get_parameter(full[0])), copies)


def _clones(module: torch.nn.Module) -> Iterator[tuple[list[str], int]]:
    """Groups of names whose parameters are equal, in storages of their own, and tied but for the flag."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    declared = set(_declared(module, parameters))
    left = by_place(parameters.items())
    for group in [names for names in left if declared.intersection(names)]:
        weight = parameters[group[0]]
        # Parameters of one value throughout (biases of zero, norms of one) are equal without being copies.
        if group not in left or not bool((weight != weight.flatten()[0]).any()):
            continue
        equal = [names for names in left if identical(weight, parameters[names[0]])]
        left = [names for names in left if names not in equal]
        if len(equal) > 1:
            yield [name for names in equal for name in names], len(equal)


def _declared(module: torch.nn.Module, names: Iterable[str]) -> Iterator[str]:
    """Those of ``names`` that a transformers model ties to another by its class and its config."""
    config: Any = module.config
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    if not getattr(text, "tie_word_embeddings", True):
        return
    patterns = getattr(module, "_tied_weights_keys", None) or ()
    head = module.get_output_embeddings()  # type: ignore[operator]
    for name in names:
        if any(re.search(pattern, name) for pattern in patterns) or (
            head is not None and module.get_parameter(name) is getattr(head, "weight", None)
        ):
            yield name
