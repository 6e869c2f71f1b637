"""Images, videos, and the detected objects that some models take in place of an image."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Final

import torch

from .configs import places, size
from .request import Request

__all__ = ["pixel_values", "pixel_values_videos", "visual_feats", "visual_pos"]

DEFAULT_IMAGE_SIZE: Final = 224
"""For convolutional models, which take any size and so name none: what nearly all image processors resize to."""

_VISION_PARTS: Final = ("vision_config", "image_config", "encoder", "backbone_config")

_REGIONS: Final = 4  # detected objects in an image of LXMERT; any number will do


def pixel_values(request: Request) -> torch.Tensor | None:
    """Images, or the frames of a video, of the size that the config says."""
    found = places(request.config, _VISION_PARTS)
    sides = _image_size(found)
    if sides is None:
        if not request.needs("pixel_values"):
            return None
        sides = (DEFAULT_IMAGE_SIZE, DEFAULT_IMAGE_SIZE)
    channels = size(found, "num_channels", "in_channels", "in_chans", "n_channels") or 3
    frames = size(found, "num_frames")
    return request.normal(request.batch, *((frames,) if frames is not None else ()), channels, *sides)


def pixel_values_videos(request: Request) -> torch.Tensor | None:
    """The frames of a video, where the model cannot do without."""
    found = places(request.config, _VISION_PARTS)
    sides = _image_size(found)
    frames = size(found, "frames_per_clip", "num_frames")
    if not request.needs("pixel_values_videos") or sides is None or frames is None:
        return None
    channels = size(found, "num_channels", "in_channels", "in_chans") or 3
    return request.normal(request.batch, frames, channels, *sides)


def visual_feats(request: Request) -> torch.Tensor | None:
    """The features of detected objects."""
    features = size((request.config,), "visual_feat_dim")
    return request.normal(request.batch, _REGIONS, features) if features is not None else None


def visual_pos(request: Request) -> torch.Tensor | None:
    """The places of detected objects, as parts of the image."""
    coordinates = size((request.config,), "visual_pos_dim")
    return request.normal(request.batch, _REGIONS, coordinates).sigmoid() if coordinates is not None else None


def _image_size(places: Sequence[object]) -> tuple[int, int] | None:
    for place, name in itertools.product(places, ("image_size", "crop_size", "input_size")):
        value = getattr(place, name, None)
        if isinstance(value, Mapping):
            value = (value.get("height"), value.get("width"))
        if isinstance(value, int):
            return value, value
        if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
            return value[0], value[1]
    return None
