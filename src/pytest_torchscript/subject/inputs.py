"""Example inputs: which axes may vary, other sizes, fresh values, padding.

Every function here takes inputs as :class:`~pytest_torchscript.subject.call.Call` keeps them (name -> tensor or nested
container) and returns new ones; nothing is written in place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import SubjectError
from ..nested import join, same_mapping, tensors

__all__ = [
    "Dims",
    "FreshValues",
    "declared_dims",
    "has_axes",
    "infer_dims",
    "is_binary",
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
PADDED_AT_START = "padded at the start"

# Inputs of transformers models whose axes are known by name: input -> axes after the batch axis.
_SEQ_INPUTS = re.compile(
    r"(input_ids|attention_mask|token_type_ids|position_ids|inputs_embeds|bbox|global_attention_mask|input_values"
    r"|special_tokens_mask|segment_ids)"
)
_IMAGE_INPUTS = re.compile(r"pixel_values|pixel_mask|images?")
_DECODER = "decoder_"


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
    first = next((tensor for tensor in by_path.values() if tensor.ndim >= 2), None)
    if first is None:
        first = next((tensor for tensor in by_path.values() if tensor.ndim), None)
    if first is None:
        return Dims()
    batch = first.shape[0]
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


def with_guessed_axes(inputs: Mapping[str, Any], dims: Dims, *, convolves: bool) -> Dims:
    """The dims with the height and width of image inputs, the depth of volumes and the time of signals.

    An image is a float input of four or five axes with at most four channels, or any, if the model has convolutions; of
    five, the third is the depth, or the time of a video. The second axis of a float input of two may be time, or features
    whose number eager does not let vary. Such sizes are worth probing where the forward turns sizes into Python values: it is
    asked for then only.
    """
    axes = {path: dict(named) for path, named in dims.axes.items()}
    for path, tensor in tensors(inputs):
        if not has_axes(tensor):
            continue
        if tensor.ndim == 2 and tensor.is_floating_point() and "mask" not in path and tensor.shape[1] > 1:
            axes.setdefault(path, {}).setdefault(1, TIME)
        image = tensor.ndim in (4, 5) and tensor.is_floating_point() and "mask" not in path
        if not image or not (convolves or tensor.shape[1] <= 4) or min(tensor.shape[-2:]) < 2:
            continue
        named = axes.setdefault(path, {})
        for axis, dim in ((tensor.ndim - 2, "height"), (tensor.ndim - 1, "width")):
            named.setdefault(axis, dim)
        if tensor.ndim == 5 and tensor.shape[2] > 1:
            named.setdefault(2, DEPTH)
    sizes: dict[str, set[int]] = {}
    for path, tensor in tensors(inputs):
        for axis, dim in axes.get(path, {}).items():
            sizes.setdefault(dim, set()).add(tensor.shape[axis])
    # Two images of different sizes do not vary together.
    return Dims({path: {a: d for a, d in named.items() if len(sizes[d]) == 1} for path, named in axes.items()})


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
        return next((path for path, tensor in members.items() if tensor.ndim >= 2 and test(path, tensor)), None)

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


def mapped(inputs: Mapping[str, Any], change: Any) -> dict[str, Any]:
    """``inputs`` with every tensor replaced by ``change(path, tensor)``."""

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, torch.Tensor):
            return change(path, value)
        if isinstance(value, Mapping):
            return same_mapping(value, {key: walk(entry, join(path, key)) for key, entry in value.items()})
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(walk(entry, join(path, index)) for index, entry in enumerate(value)))
        if isinstance(value, (list, tuple)):
            entries = [walk(entry, join(path, index)) for index, entry in enumerate(value)]
            return entries if isinstance(value, list) else tuple(entries)
        return value

    return {name: walk(value, name) for name, value in inputs.items()}


def resize(inputs: Mapping[str, Any], dims: Dims, sizes: Mapping[str, int], *, mask: str | None = None) -> dict[str, Any]:
    """The inputs with the named dims at other sizes, by repeating and cropping what is there.

    ``mask`` is the path of a mask whose name does not say that it is one.
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
                index = index % observed
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


@dataclass(frozen=True, kw_only=True)
class FreshValues:
    """Other values of the same shapes and dtypes.

    ``ranges`` gives, by input path, the values an integer input may take, ``[low, high)``; without an entry the observed
    range is kept. ``mask`` is the path of the padding mask, ``dims`` says along which axis it runs.
    """

    dims: Dims
    mask: str | None = None
    inverted: bool = False
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    seed: int = 0

    def variants(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """``(description, inputs)``: floats redrawn, negated, scaled; ints redrawn; other masks.

        Kinds vary one at a time, so that values the model refuses in one input do not hide another; the last varies all.
        """
        generator = torch.Generator().manual_seed(self.seed + 0x5EED)
        by_path = dict(tensors(inputs))
        masks = self._mask_paths(by_path)
        # A sparse or quantised input is kept: there is no drawing another of the same pattern.
        plain = [path for path, t in by_path.items() if path not in masks and is_plain(t)]
        floats = [path for path in plain if by_path[path].is_floating_point() or by_path[path].is_complex()]
        ints = [path for path in plain if path not in floats and by_path[path].dtype != torch.bool]
        bools = [path for path in plain if by_path[path].dtype == torch.bool]

        def redraw(tensor: torch.Tensor) -> torch.Tensor:
            return _normal_like(tensor, generator)

        def change(paths: list[str], how: Any) -> dict[str, Any]:
            return mapped(inputs, lambda path, tensor: how(path, tensor) if path in paths else tensor.clone())

        if floats:
            yield "floats redrawn", change(floats, lambda _, tensor: redraw(tensor))
            yield "floats redrawn again", change(floats, lambda _, tensor: redraw(tensor))
            yield "floats negated", change(floats, lambda _, tensor: -tensor)
            yield "floats shuffled", change(floats, lambda _, tensor: _shuffled(tensor, generator))
            for factor in (0.1, 10.0, 1000.0):
                yield f"floats scaled by {factor:g}", change(floats, lambda _, tensor, by=factor: tensor * by)
            yield (
                "floats made positive",
                change(floats, lambda _, tensor: tensor.abs() if not tensor.is_complex() else -tensor),
            )
            yield "floats made zero", change(floats, lambda _, tensor: torch.zeros_like(tensor))
        if ints:
            yield "integers redrawn", change(ints, lambda path, tensor: self._integers(path, tensor, generator))
            yield "integers redrawn again", change(ints, lambda path, tensor: self._integers(path, tensor, generator))
            narrow = [path for path in ints if path not in self.ranges]
            if narrow:
                # Without a vocabulary the observed values are all there is to draw from, often one: eager says whether
                # their neighbours are values too.
                yield "integers raised by 1", change(narrow, lambda _, tensor: tensor + 1)
                yield "integers lowered by 1", change(narrow, lambda _, tensor: tensor - 1)
                yield "integers in the last row raised by 1", change(narrow, _last_raised)
                yield "integers halved", change(narrow, lambda _, tensor: tensor // 2)
            yield "integers shuffled", change(ints, lambda _, tensor: _shuffled(tensor, generator))
            yield (
                "integers all at their least",
                change(ints, lambda path, tensor: torch.full_like(tensor, self.range_of(path, tensor)[0])),
            )
            yield (
                "integers all at their greatest",
                change(ints, lambda path, tensor: torch.full_like(tensor, self.range_of(path, tensor)[1] - 1)),
            )
        if bools:
            yield "booleans inverted", change(bools, lambda _, tensor: ~tensor)
            yield "booleans redrawn", change(bools, lambda _, tensor: _coin(tensor, generator))
            yield "booleans all true", change(bools, lambda _, tensor: torch.ones_like(tensor))
            yield "booleans all false", change(bools, lambda _, tensor: torch.zeros_like(tensor))
        for mask_path in masks:
            for name, mask in self._masks(mask_path, by_path[mask_path]):
                yield (
                    f"{'mask' if mask_path == self.mask else mask_path} {name}",
                    mapped(
                        inputs,
                        lambda path, tensor, here=mask_path, mask=mask: mask if path == here else tensor.clone(),
                    ),
                )
        if len(floats) + len(ints) + len(bools) > 1:
            everything = change(floats, lambda _, tensor: redraw(tensor))
            yield (
                "everything redrawn",
                mapped(
                    everything,
                    lambda path, tensor: (
                        self._integers(path, tensor, generator)
                        if path in ints
                        else _coin(tensor, generator)
                        if path in bools
                        else tensor
                    ),
                ),
            )

    def _mask_paths(self, by_path: Mapping[str, torch.Tensor]) -> list[str]:
        """The padding mask, and every other input that is a mask by name and by content: random bits would be no mask."""
        return [path for path, tensor in by_path.items() if path == self.mask or ("mask" in path and is_binary(tensor))]

    def _masks(self, path: str, mask: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        main = path == self.mask
        inverted = self.inverted if main else mask_inverted(path, mask)
        valid = 1 - mask.to(torch.int64) if inverted else mask
        for name, other in _masks(valid, self.dims.axes.get(path, {})):
            if main or name != PADDED_AT_START:
                yield name, (1 - other if inverted else other).to(mask.dtype)

    def scaled(self, inputs: Mapping[str, Any], factor: float) -> dict[str, Any]:
        """The inputs with every float tensor but the mask multiplied by ``factor``."""
        return mapped(
            inputs,
            lambda path, tensor: tensor * factor if tensor.is_floating_point() and path != self.mask else tensor.clone(),
        )

    def redrawn(self, inputs: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Every input but masks redrawn."""
        generator = torch.Generator().manual_seed(seed)
        masks = self._mask_paths(dict(tensors(inputs)))

        def change(path: str, tensor: torch.Tensor) -> torch.Tensor:
            if path in masks or tensor.is_meta or not is_plain(tensor):
                return tensor.clone()
            if tensor.is_floating_point() or tensor.is_complex():
                return _normal_like(tensor, generator)
            if tensor.dtype == torch.bool:
                return _coin(tensor, generator)
            return self._integers(path, tensor, generator)

        return mapped(inputs, change)

    def range_of(self, path: str, tensor: torch.Tensor) -> tuple[int, int]:
        if path in self.ranges:
            return self.ranges[path]
        if not tensor.numel():
            return 0, 1
        return int(tensor.min()), int(tensor.max()) + 1

    def _integers(self, path: str, tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        low, high = self.range_of(path, tensor)
        drawn = torch.randint(low, high, tensor.shape, generator=generator, dtype=torch.int64)
        return drawn.to(dtype=tensor.dtype, device=tensor.device)


def _normal_like(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Normal values with the observed mean and spread, at least a spread of a hundredth."""
    if not tensor.numel():
        return tensor.clone()
    if tensor.is_complex():
        return torch.complex(_normal_like(tensor.real, generator), _normal_like(tensor.imag, generator)).to(tensor.dtype)
    wide = tensor.detach().to("cpu", torch.float64)
    finite = wide[wide.isfinite()]
    mean = float(finite.mean()) if finite.numel() else 0.0
    spread = max(float(finite.std()) if finite.numel() > 1 else 1.0, 0.01)
    drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * spread + mean
    return drawn.to(dtype=tensor.dtype, device=tensor.device)


def _shuffled(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The same values in another order."""
    order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
    return tensor.reshape(-1)[order].reshape(tensor.shape).clone()


def _last_raised(_: str, tensor: torch.Tensor) -> torch.Tensor:
    raised = tensor.clone()
    if raised.ndim:
        raised[-1] += 1
    return raised


def _coin(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return (torch.rand(tensor.shape, generator=generator) < 0.5).to(tensor.device)


def _masks(valid: torch.Tensor, axes: Mapping[int, str]) -> Iterator[tuple[str, torch.Tensor]]:
    """Other masks of the same shape and dtype, 1 where valid: nothing padded, padded at the end, padded at the start."""
    mask = valid
    everything = torch.ones_like(mask)
    if not torch.equal(mask, everything):
        yield "without padding", everything
    axis = next((axis for axis, dim in axes.items() if dim != BATCH), mask.ndim - 1)
    if mask.ndim == 0 or mask.shape[axis] < 2:
        return
    length = mask.shape[axis]
    rows = mask.shape[0] if 0 in axes and axis != 0 else 1
    position = torch.arange(length, device=mask.device).reshape([-1 if a == axis else 1 for a in range(mask.ndim)])
    row = torch.arange(rows, device=mask.device).reshape([-1 if a == 0 and axis != 0 else 1 for a in range(mask.ndim)])
    # Each row another length, from about a half upwards, so that no row is padded entirely.
    kept = (length - 1 - (row * max(length // 4, 1)) % max(length // 2, 1)).clamp(min=1)
    at_end = (position < kept).expand(mask.shape)
    yield "padded at the end", at_end.to(mask.dtype).clone()
    short = (position < max(length // 3, 1)).expand(mask.shape)
    yield "mostly padding", short.to(mask.dtype).clone()
    yield PADDED_AT_START, (position >= length - kept).expand(mask.shape).to(mask.dtype).clone()


def is_binary(tensor: torch.Tensor) -> bool:
    """Whether a mask says keep or drop; an additive float mask is an input like any other."""
    if tensor.is_meta or not is_plain(tensor):
        return tensor.dtype == torch.bool
    return tensor.dtype == torch.bool or (not tensor.is_complex() and bool(((tensor == 0) | (tensor == 1)).all()))


def mask_inverted(path: str, mask: torch.Tensor) -> bool:
    """Whether True marks padding, as in :class:`torch.nn.TransformerEncoder`'s ``src_key_padding_mask``, not what is kept."""
    return mask.dtype == torch.bool and ("pad" in path or not bool(mask.any()))
