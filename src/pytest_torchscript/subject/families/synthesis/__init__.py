"""Example inputs for a transformers model, made from its config and its forward signature.

Nothing here knows a model class. `RULES` has one small function for each forward argument that can be made, and each
reads the sizes it needs from the config, so a new architecture that keeps the usual argument and config names works
unseen. A rule gives None where the model does not want the argument or the config does not say enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import torch

from ....errors import SubjectError
from ..base import WAY_OUT
from . import images, sound, tokens
from .configs import kind
from .positions import longest, refuse_too_long, token_length
from .request import MEDIA, Request

__all__ = ["max_length", "synthesise"]

# Arguments that only a processor can fill, beside images that it has cut into patches or whose place it has marked.
_PROCESSOR_ARGUMENTS: Final = ("spatial_shapes", "pixel_position_ids", "tgt_sizes", "image_embeds_position_mask")

RULES: Final[Mapping[str, Callable[[Request], torch.Tensor | None]]] = {
    "input_ids": tokens.input_ids,
    "attention_mask": tokens.attention_mask,
    "token_type_ids": tokens.token_type_ids,
    "bbox": tokens.bbox,
    "visual_feats": images.visual_feats,
    "visual_pos": images.visual_pos,
    "decoder_input_ids": tokens.decoder_input_ids,
    "decoder_attention_mask": tokens.decoder_attention_mask,
    "decoder_input_values": tokens.decoder_input_values,
    "pixel_values": images.pixel_values,
    "pixel_values_videos": images.pixel_values_videos,
    "input_values": sound.input_values,
    "input_features": sound.input_features,
}


def max_length(model: torch.nn.Module) -> int | None:
    """The largest sequence length that a transformers model allows, see :func:`.positions.longest`."""
    return longest(Request(model=model))


def synthesise(
    model: torch.nn.Module,
    *,
    batch_size: int | None = None,
    seq_len: int | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, torch.Tensor]:
    """Example inputs for a transformers model, by forward argument and in forward's order.

    Args:
        model: a `transformers.PreTrainedModel`, on any device, the meta device included. It is not called.
        batch_size: rows, 1 by default.
        seq_len: length of the token inputs, of the decoder's too, or, where the sequence is sound, of its time axis
            (samples or frames). By default 16, or what the config allows if that is less; for raw sound what gives 16
            frames, for spectrograms 64. Without meaning where no input has a free sequence axis (images,
            spectrograms of one fixed length).
        generator: the source of randomness. By default one with a fixed seed: the global one is never drawn from.

    Returns:
        Token inputs `(batch, seq)`, int64, on the device of the model's first floating-point parameter: `input_ids`,
        `attention_mask`, and where the model has them `token_type_ids`, `bbox` `(batch, seq, 4)` and the decoder's
        `decoder_input_ids` and `decoder_attention_mask`. Heads for multiple choice get two choices: `(batch, 2, seq)`.
        Float inputs also take that parameter's dtype: `pixel_values` `(batch, channels, height, width)`, or
        `(batch, frames, channels, height, width)` for video; `input_values` `(batch, samples)` or
        `(batch, frames, mel bins)`; `input_features` in the layout of the model.
        Each row but the first is really padded, at its end, with the padding token wherever the config names one.

    Raises:
        SubjectError: a forward argument that the model needs cannot be made; `seq_len` is more than its absolute
            positions hold or less than its convolutions need; either size is less than 1.
    """
    for label, size in (("batch_size", batch_size), ("seq_len", seq_len)):
        if size is not None and size < 1:
            raise SubjectError(f"{label} must be at least 1 to make inputs for {type(model).__name__}, not {size}")
    request = Request(model=model, batch=batch_size or 1, asked_seq_len=seq_len)
    if generator is not None:
        request = replace(request, generator=generator)
    _refuse_placeholders(request)
    refuse_too_long(request)
    request = replace(request, seq_len=token_length(request))
    rules = {name: RULES[name] for name in request.parameters if name in RULES}
    made = {name: tensor for name, rule in rules.items() if (tensor := rule(request)) is not None}
    _refuse_incomplete(request, made)
    return {name: tensor.to(request.device) for name, tensor in made.items()}


def _refuse_incomplete(request: Request, made: Mapping[str, torch.Tensor]) -> None:
    """Refuse inputs that lack an argument that the model needs, or all that the model is about."""
    wanted = [name for name in request.parameters if name in request.required or (name in RULES and request.needs(name))]
    missing = [name for name in wanted if name not in made]
    if missing or not made.keys() & {"input_ids", *MEDIA}:
        what = " and ".join(missing) or str(getattr(request.model, "main_input_name", "any input"))
        raise SubjectError(f"{what} of {request.name}.forward cannot be made from its {kind(request.config)}: {WAY_OUT}")


def _refuse_placeholders(request: Request) -> None:
    """Refuse models whose images or sound only their processor can cut up and place.

    It puts one placeholder token into the text for each feature, or says beside cut-out patches where they were. Most
    of these models would run on text alone, and a gate on that would pass without having seen half of the model.
    """
    media = [name for name in MEDIA if request.takes(name)]
    signs = [name for name in _PROCESSOR_ARGUMENTS if request.takes(name)]
    if request.takes("input_ids"):
        signs += tokens.placeholders(request.config)
    if media and signs:
        what = f"{' and '.join(media)} of {request.name}.forward"
        raise SubjectError(
            f"{what} cannot be made from its {kind(request.config)}, as only the model's processor knows what has to go "
            f"with them ({signs[0]}): {WAY_OUT}"
        )
