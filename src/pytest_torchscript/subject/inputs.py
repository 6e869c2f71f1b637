"""Example inputs: which axes may vary, other sizes, fresh values, padding.

Every function here takes inputs as :class:`~pytest_torchscript.subject.call.Call` keeps them (name -> tensor or nested
container) and returns new ones; nothing is written in place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import SubjectError
from ..nested import map_with_path, tensors

__all__ = [
    "Dims",
    "declared_dims",
    "has_axes",
    "infer_dims",
    "is_binary",
    "is_cache",
    "is_plain",
    "mapped",
    "mask_inverted",
    "mask_name",
    "pad",
    "resize",
    "shorten",
]

BATCH = "batch"
SEQ = "seq"
DECODER_SEQ = "decoder_seq"
TIME, DEPTH = "time", "depth"

# Inputs of transformers models whose axes are known by name: input -> axes after the batch axis.
_SEQ_INPUTS = re.compile(
    r"(input_ids|attention_mask|token_type_ids|position_ids|inputs_embeds|bbox|global_attention_mask|input_values"
    r"|special_tokens_mask|segment_ids)"
)
_IMAGE_INPUTS = re.compile(r"pixel_values|pixel_mask|images?")
_DECODER = "decoder_"
# What a model keeps from step to step: (batch, past, width), or (batch, heads, past, width).
# Transformers gives images as pixel_values and sound as input_values.
_CACHE = re.compile(r"past|cache|memory|(^|(?<!pixel)(?<!input)_)(key|value)s?($|_|\d|\[)")


@dataclass(frozen=True)
class Dims:
    """Which axis of which input is which dim: ``axes["input_ids"] == {0: "batch", 1: "seq"}``, by leaf path."""

    axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    def sizes(self, inputs: Mapping[str, Any]) -> dict[str, int]:
        """The size each dim has in these inputs, in the order batch, seq, others."""
        found: dict[str, int] = {}
        for path, tensor in tensors(inputs):
            for axis, dim in self.axes.get(path, {}).items():
                found.setdefault(dim, tensor.shape[axis])
        order = {BATCH: 0, SEQ: 1}
        return dict(sorted(found.items(), key=lambda item: order.get(item[0], 2)))

    def without(self, path: str) -> Dims:
        return Dims({name: axes for name, axes in self.axes.items() if name != path})


def declared_dims(inputs: Mapping[str, Any], declared: Mapping[str, Mapping[int, str]]) -> Dims:
    """The dims a marker declares, checked against the inputs.

    Raises:
        SubjectError: an input or an axis that is not there, or one dim with two sizes.
    """
    by_path = dict(tensors(inputs))
    axes: dict[str, dict[int, str]] = {}
    sizes: dict[str, tuple[str, int]] = {}
    for path, named in declared.items():
        if path not in by_path:
            raise SubjectError(f"dims names no input: {path!r}; the inputs are {', '.join(map(repr, by_path))}")
        tensor = by_path[path]
        for axis, dim in named.items():
            if not -tensor.ndim <= axis < tensor.ndim:
                raise SubjectError(f"dims[{path!r}] names axis {axis}, but {path!r} has shape {tuple(tensor.shape)}")
            size = tensor.shape[axis]
            if not size:
                raise SubjectError(
                    f"dims[{path!r}] names axis {axis}, which is empty in the shape {tuple(tensor.shape)}: it has no entry "
                    "that could be repeated; give at least one, or leave the axis out of dims"
                )
            first, known = sizes.setdefault(dim, (path, size))
            if known != size:
                raise SubjectError(f"dims calls two sizes {dim!r}: {known} in {first!r}, {size} in {path!r}")
            axes.setdefault(path, {})[axis % tensor.ndim] = dim
    return Dims(axes)


def infer_dims(inputs: Mapping[str, Any], *, seq_asked: bool = False) -> Dims:
    """Which axes of these inputs may vary, by the inputs' names, dtypes and sizes.

    Axis 0 is the batch in every tensor that has the first tensor's size there. The sequence is axis 1 of known text
    inputs, of a 2-d integer tensor and of a 3-d float tensor (batch, seq, features), and any axis of a mask that has the
    same size. A 2-d float tensor is (batch, features), unless a ``seq_len`` was asked for and nothing else has one.
    Images' height and width are added by :func:`with_guessed_axes`, where they matter.
    """
    by_path = {path: tensor for path, tensor in tensors(inputs) if has_axes(tensor)}
    axes: dict[str, dict[int, str]] = {path: {} for path in by_path}
    # An axis of no entries has none that could be repeated.
    lengths = [(tensor.shape[0], tensor.ndim) for tensor in by_path.values() if tensor.ndim and tensor.shape[0]]
    if not lengths:
        return Dims()
    batch = next((length for length, axes_there in lengths if axes_there >= 2), lengths[0][0])
    for path, tensor in by_path.items():
        if tensor.ndim and tensor.shape[0] == batch:
            axes[path][0] = BATCH

    for decoder, dim in ((False, SEQ), (True, DECODER_SEQ)):
        members = {path: tensor for path, tensor in by_path.items() if path.startswith(_DECODER) == decoder}
        lead = _sequence_lead(members, seq_asked=seq_asked and not decoder)
        if lead is None:
            continue
        size = members[lead].shape[1]
        for path, tensor in members.items():
            for axis in range(tensor.ndim):
                free = axis not in axes[path] and tensor.shape[axis] == size
                if free and ((path == lead and axis == 1) or (path != lead and _along_sequence(path, tensor, axis))):
                    axes[path][axis] = dim
    return Dims({path: named for path, named in axes.items() if named})


_WITH_AXES = (torch.strided, torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)


def is_cache(path: str) -> bool:
    """Whether an input is, by its name, what a model keeps from step to step."""
    return bool(_CACHE.search(path))


def has_axes(tensor: torch.Tensor) -> bool:
    """Whether rows of a tensor can be repeated and left out; a nested one has none, of a quantised one they may have scales."""
    if tensor.is_nested or tensor.layout not in _WITH_AXES:
        return False
    return not tensor.is_quantized or tensor.qscheme() == torch.per_tensor_affine


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether other values of a tensor can be drawn: of a sparse, nested or quantised one they cannot be written in place."""
    return tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_quantized


def _selected(tensor: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    """The entries of one axis at ``index``, in the layout of the tensor."""
    index = index.to(tensor.device)
    if tensor.layout in (torch.strided, torch.sparse_coo):
        return tensor.index_select(axis, index)
    return tensor.to_dense().index_select(axis, index).to_sparse(layout=tensor.layout)


def with_guessed_axes(inputs: Mapping[str, Any], dims: Dims, *, convolves: bool, signals: bool) -> Dims:
    """The dims with the height and width of image inputs, the depth of volumes and the time of signals.

    An image is a float input of four or five axes with at most four channels, or any, if the model has convolutions; of
    five, the third is the depth, or the time of a video. With ``signals`` the second axis of a float input of two is taken for
    time; it may be features as well, whose number eager does not let vary.
    """
    axes = {path: dict(named) for path, named in dims.axes.items()}
    for path, tensor in tensors(inputs):
        if not has_axes(tensor):
            continue
        if signals and tensor.ndim == 2 and tensor.is_floating_point() and "mask" not in path and tensor.shape[1] > 1:
            axes.setdefault(path, {}).setdefault(1, TIME)
        image = tensor.ndim in (4, 5) and tensor.is_floating_point() and "mask" not in path and not is_cache(path)
        if not image or not (convolves or tensor.shape[1] <= 4) or min(tensor.shape[-2:]) < 2:
            continue
        named = axes.setdefault(path, {})
        for axis, dim in ((tensor.ndim - 2, "height"), (tensor.ndim - 1, "width")):
            named.setdefault(axis, dim)
        if tensor.ndim == 5 and tensor.shape[2] > 1:
            named.setdefault(2, DEPTH)
    return _apart(inputs, Dims(axes))


def _apart(inputs: Mapping[str, Any], dims: Dims) -> Dims:
    """The dims with a name of its own for each input in which one has another size: two images may differ."""
    known: dict[str, int] = {}
    axes: dict[str, dict[int, str]] = {}
    for path, tensor in tensors(inputs):
        for axis, dim in dims.axes.get(path, {}).items():
            same = known.setdefault(dim, tensor.shape[axis]) == tensor.shape[axis]
            axes.setdefault(path, {})[axis] = dim if same else f"{dim} of {path}"
    return Dims(axes)


def _along_sequence(path: str, tensor: torch.Tensor, axis: int) -> bool:
    """Whether an axis of the lead's length runs along the sequence, rather than by chance."""
    if _IMAGE_INPUTS.match(path):
        return False
    if "mask" in path:
        return True
    return axis == 1 and tensor.ndim < 4


def other_sequence_axis(inputs: Mapping[str, Any], dims: Dims) -> Dims | None:
    """The dims with the last axis of the 3-d float inputs as the sequence, as convolutions over time have it.

    None where the sequence is known from an input's name or from an integer input.
    """
    by_path = dict(tensors(inputs))
    along = [path for path, axes in dims.axes.items() if SEQ in axes.values()]
    if not along or any(by_path[path].ndim != 3 or not by_path[path].is_floating_point() for path in along):
        return None
    if any(_SEQ_INPUTS.search(path) for path in along):
        return None
    turned = {path: {0: BATCH, 2: SEQ} if path in along else axes for path, axes in dims.axes.items()}
    return Dims(turned) if len({by_path[path].shape[2] for path in along}) == 1 else None


def _sequence_lead(members: Mapping[str, torch.Tensor], *, seq_asked: bool) -> str | None:
    """The input whose axis 1 is the sequence; the one the others are measured by."""

    def pick(test: Any) -> str | None:
        return next(
            (path for path, tensor in members.items() if tensor.ndim >= 2 and tensor.shape[1] and test(path, tensor)), None
        )

    def integral(tensor: torch.Tensor) -> bool:
        return not tensor.is_floating_point() and not tensor.is_complex()

    return (
        pick(lambda path, tensor: _SEQ_INPUTS.search(path) and "mask" not in path and tensor.ndim in (2, 3))
        or pick(lambda path, tensor: integral(tensor) and tensor.ndim == 2 and "mask" not in path and tensor.shape[0] != 2)
        or pick(lambda path, tensor: tensor.ndim == 3 and not _IMAGE_INPUTS.match(path))
        or pick(lambda path, tensor: integral(tensor) and tensor.ndim == 2)
        or (pick(lambda path, tensor: tensor.ndim == 2) if seq_asked else None)
    )


def mask_name(inputs: Mapping[str, Any], asked: str | None) -> str | None:
    """The path of the padding mask: the one asked for, else ``attention_mask`` if it is there.

    Raises:
        SubjectError: the mask asked for is no input.
    """
    by_path = dict(tensors(inputs))
    if asked is not None and asked not in by_path:
        raise SubjectError(f"mask={asked!r} names no input; the inputs are {', '.join(map(repr, by_path))}")
    return asked or ("attention_mask" if "attention_mask" in by_path else None)


def mapped(inputs: Mapping[str, Any], change: Callable[..., torch.Tensor]) -> dict[str, Any]:
    """``inputs`` with every tensor replaced by ``change(path, tensor)``."""
    changed: dict[str, Any] = map_with_path(
        lambda path, leaf: change(path, leaf) if isinstance(leaf, torch.Tensor) else leaf, dict(inputs)
    )
    return changed


def resize(
    inputs: Mapping[str, Any], dims: Dims, sizes: Mapping[str, int], *, mask: str | None = None, stretched: bool = False
) -> dict[str, Any]:
    """The inputs with the named dims at other sizes, by repeating and cropping what is there.

    ``stretched`` repeats each entry in place instead of all of them in turn: what was sorted stays so. ``mask`` is the path of
    a mask whose name does not say that it is one.
    """

    def change(path: str, tensor: torch.Tensor) -> torch.Tensor:
        for axis, dim in dims.axes.get(path, {}).items():
            size = sizes.get(dim)
            if size is None or size == tensor.shape[axis]:
                continue
            observed = tensor.shape[axis]
            index = torch.arange(size)
            if ("mask" in path or path == mask) and dim != BATCH and not tensor.is_meta:
                # Repeated, a padded mask would have holes, which no tokenizer makes; cropped, one that is padded at the
                # start would keep nothing. It is stretched, from the side on which it keeps.
                along = list(dims.axes[path].values()).count(dim)
                at_start = (
                    along == 1
                    and bool((tensor.select(axis, 0) != tensor.select(axis, -1)).any())
                    and not bool(tensor.select(axis, 0).to(torch.bool).all())
                )
                if at_start:
                    index = ((index + 1) * observed - 1) // size
                else:
                    index = index * observed // size if size > observed else index
            else:
                index = index * observed // size if stretched else index % observed
            tensor = _selected(tensor, axis, index)
        return tensor.detach().clone()

    return mapped(inputs, change)


def shorten(inputs: Mapping[str, Any], dims: Dims, dim: str, size: int, *, at_start: bool = False) -> dict[str, Any]:
    """The inputs cropped to ``size`` along one dim: the first positions, or the last where padding is ``at_start``."""

    def change(path: str, tensor: torch.Tensor) -> torch.Tensor:
        for axis, name in dims.axes.get(path, {}).items():
            if name == dim:
                tensor = tensor.narrow(axis, tensor.shape[axis] - size if at_start else 0, size)
        return tensor.clone()

    return mapped(inputs, change)


def pad(
    inputs: Mapping[str, Any], dims: Dims, dim: str, size: int, fill: Mapping[str, float | int], *, at_start: bool = False
) -> dict[str, Any]:
    """The inputs padded, at the end or ``at_start``, to ``size`` along one dim, each with its value from ``fill`` (else 0)."""

    def change(path: str, tensor: torch.Tensor) -> torch.Tensor:
        for axis, name in dims.axes.get(path, {}).items():
            if name == dim and tensor.shape[axis] < size:
                shape = list(tensor.shape)
                shape[axis] = size - tensor.shape[axis]
                filler = torch.full(shape, fill.get(path, 0), dtype=tensor.dtype, device=tensor.device)
                tensor = torch.cat([filler, tensor] if at_start else [tensor, filler], axis)
        return tensor.clone()

    return mapped(inputs, change)


def is_binary(tensor: torch.Tensor) -> bool:
    """Whether a mask says keep or drop; an additive float mask is an input like any other."""
    if tensor.is_meta or not is_plain(tensor):
        return tensor.dtype == torch.bool
    return tensor.dtype == torch.bool or (not tensor.is_complex() and bool(((tensor == 0) | (tensor == 1)).all()))


def mask_inverted(path: str, mask: torch.Tensor) -> bool:
    """Whether True marks padding, as in :class:`torch.nn.TransformerEncoder`'s ``src_key_padding_mask``, not what is kept."""
    return mask.dtype == torch.bool and ("pad" in path or not bool(mask.any()))
