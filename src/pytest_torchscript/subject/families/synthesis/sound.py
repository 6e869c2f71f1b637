"""Sound: raw samples and spectrograms, in the layout that the model's config implies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from ....errors import SubjectError
from .configs import places, size, value
from .request import DEFAULT_SEQ_LEN, Request

__all__ = ["Sound", "input_features", "input_values", "sound_of"]

_AUDIO_PARTS: Final = ("audio_config", "speech_config", "audio_encoder", "encoder", "encoder_config")
_ARGUMENTS: Final = ("input_values", "input_features")


@dataclass(frozen=True, kw_only=True)
class Sound:
    """One model's sound input: the argument, its axes after the batch axis, and which of those is time."""

    argument: str
    shape: tuple[int, ...]
    time: int = 0
    masked: bool = False
    raw: bool = False
    frames: int | None = None

    @property
    def length(self) -> int:
        return self.shape[self.time]


def sound_of(request: Request) -> Sound | None:
    """The sound that a model takes; None where it takes none, or its config does not say enough."""
    found = places(request.config, _AUDIO_PARTS)
    if len(found) == 1 and request.takes("input_ids") and not any(map(request.needs, _ARGUMENTS)):
        return None  # without a tower of its own the sound replaces the text (SeamlessM4T), it does not go with it
    for argument, names, describe in _LAYOUTS:
        values = [value(found, name) for name in names]
        if request.takes(argument) and None not in values:
            return describe(request, found, *values)
    return None


def input_values(request: Request) -> torch.Tensor | None:
    """Samples, or a spectrogram whose model calls it so."""
    return _made(request, "input_values")


def input_features(request: Request) -> torch.Tensor | None:
    """A spectrogram."""
    return _made(request, "input_features")


def _made(request: Request, argument: str) -> torch.Tensor | None:
    sound = sound_of(request)
    if sound is None or sound.argument != argument:
        return None
    values = request.normal(request.batch, *sound.shape)
    if sound.masked and not request.takes("input_ids"):
        # Padding is silence: zeros, as the feature extractors write it.
        mask = request.mask((request.batch,), sound.length)
        values *= mask.view(request.batch, sound.length, *(1 for _ in sound.shape[1:]))
    return values


def _waveform(request: Request, places: Sequence[object], kernels: Sequence[int], strides: Sequence[int]) -> Sound:
    def samples(frames: int) -> int:
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            frames = (frames - 1) * stride + kernel
        return frames

    def frames(samples: int) -> int:
        for kernel, stride in zip(kernels, strides, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    length = samples(DEFAULT_SEQ_LEN) if request.asked_seq_len is None else request.asked_seq_len
    if length < samples(1):
        raise SubjectError(
            f"seq_len {length} is too short for {request.name}, whose convolutions need {samples(1)} "
            f"samples to give one frame: ask for {samples(1)} at least"
        )
    # Those normalised over groups were trained without a mask, and their processor gives none: `return_attention_mask`
    # in https://huggingface.co/docs/transformers/model_doc/wav2vec2
    masked = request.takes("attention_mask") and value(places, "feat_extract_norm") != "group"
    return Sound(argument="input_values", shape=(length,), masked=masked, raw=True, frames=frames(length))


def _codec(request: Request, places: Sequence[object], ratios: Sequence[int], _rate: int) -> Sound:
    length = math.prod(ratios) * DEFAULT_SEQ_LEN if request.asked_seq_len is None else request.asked_seq_len
    return Sound(argument="input_values", shape=(size(places, "audio_channels") or 1, length), time=1, raw=True)


def _fixed_spectrogram(_request: Request, _places: Sequence[object], length: int, bins: int, _stride: int) -> Sound:
    return Sound(argument="input_values", shape=(length, bins))


def _spectrogram_image(_request: Request, _places: Sequence[object], side: int, bins: int) -> Sound:
    # CLAP folds a long spectrogram into a square image of this side.
    return Sound(argument="input_features", shape=(1, side * (side // bins), bins), time=1)


def _whisper_spectrogram(_request: Request, _places: Sequence[object], positions: int, bins: int) -> Sound:
    # The encoder has a position for each pair of frames, its second convolution having a stride of 2, and wants all.
    return Sound(argument="input_features", shape=(bins, 2 * positions), time=1)


def _frames(request: Request, _places: Sequence[object], *factors: int) -> Sound:
    length = _DEFAULT_FRAMES if request.asked_seq_len is None else request.asked_seq_len
    masked = request.takes("attention_mask")
    return Sound(argument="input_features", shape=(length, math.prod(factors)), masked=masked)


_DEFAULT_FRAMES: Final = 4 * DEFAULT_SEQ_LEN  # most encoders of frames first join four or so into one position

# The argument, the config entries that tell this layout from the others, and what makes it of them; the first wins.
_LAYOUTS: Final[tuple[tuple[str, tuple[str, ...], Callable[..., Sound]], ...]] = (
    ("input_values", ("conv_kernel", "conv_stride"), _waveform),
    ("input_values", ("upsampling_ratios", "sampling_rate"), _codec),
    ("input_values", ("max_length", "num_mel_bins", "time_stride"), _fixed_spectrogram),
    ("input_features", ("spec_size", "num_mel_bins"), _spectrogram_image),
    ("input_features", ("feature_projection_input_dim",), _frames),
    ("input_features", ("input_feat_per_channel", "input_channels"), _frames),
    ("input_features", ("max_source_positions", "num_mel_bins"), _whisper_spectrogram),
    ("input_features", ("num_mel_bins",), _frames),
)
