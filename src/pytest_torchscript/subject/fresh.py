"""Other values of the same shapes and dtypes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..nested import tensors
from .inputs import BATCH, Dims, is_binary, is_plain, mapped, mask_inverted

__all__ = ["PADDED_AT_START", "FreshValues"]

PADDED_AT_START = "padded at the start"

_Variant = tuple[str, dict[str, Any]]
"""A description and the inputs it describes."""


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

    def variants(self, inputs: Mapping[str, Any]) -> Iterator[_Variant]:
        """``(description, inputs)``: floats redrawn, negated, scaled; ints redrawn; other masks.

        Kinds vary one at a time, so that values the model refuses in one input do not hide another; the last varies all.
        """
        generator = torch.Generator().manual_seed(self.seed + 0x5EED)
        by_path = dict(tensors(inputs))
        masks = self.mask_paths(by_path)
        # A sparse or quantised input is kept: there is no drawing another of the same pattern.
        plain = [path for path, t in by_path.items() if path not in masks and is_plain(t)]
        floats = [path for path in plain if by_path[path].is_floating_point() or by_path[path].is_complex()]
        ints = [path for path in plain if path not in floats and by_path[path].dtype != torch.bool]
        bools = [path for path in plain if by_path[path].dtype == torch.bool]

        yield from self._of_floats(inputs, floats, generator) if floats else ()
        yield from self._of_integers(inputs, ints, generator) if ints else ()
        yield from self._of_booleans(inputs, bools, generator) if bools else ()
        for path in masks:
            for name, mask in self._masks(path, by_path[path]):
                label = f"{'mask' if path == self.mask else path} {name}"
                yield label, _changed(inputs, [path], lambda _, tensor, mask=mask: mask)
        if len(floats) + len(ints) + len(bools) > 1:
            everything = _changed(inputs, floats, lambda _, tensor: _normal_like(tensor, generator))

            def other(path: str, tensor: torch.Tensor) -> torch.Tensor:
                return self._drawn_integers(path, tensor, generator) if path in ints else _coin(tensor, generator)

            yield "everything redrawn", _changed(everything, [*ints, *bools], other)

    def _of_floats(self, inputs: Mapping[str, Any], paths: list[str], generator: torch.Generator) -> Iterator[_Variant]:
        def change(how: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Any]:
            return _changed(inputs, paths, lambda _, tensor: how(tensor))

        yield "floats redrawn", change(lambda tensor: _normal_like(tensor, generator))
        yield "floats redrawn again", change(lambda tensor: _normal_like(tensor, generator))
        yield "floats negated", change(lambda tensor: -tensor)
        yield "floats shuffled", change(lambda tensor: _shuffled(tensor, generator))
        for factor in (0.1, 10.0, 1000.0):
            yield f"floats scaled by {factor:g}", change(lambda tensor, by=factor: tensor * by)  # type: ignore[misc]
        yield "floats made positive", change(lambda tensor: tensor.abs() if not tensor.is_complex() else -tensor)
        yield "floats made zero", change(torch.zeros_like)

    def _of_integers(self, inputs: Mapping[str, Any], paths: list[str], generator: torch.Generator) -> Iterator[_Variant]:
        def drawn(path: str, tensor: torch.Tensor) -> torch.Tensor:
            return self._drawn_integers(path, tensor, generator)

        def bound(which: int, less: int) -> dict[str, Any]:
            return _changed(
                inputs, paths, lambda path, tensor: torch.full_like(tensor, self.range_of(path, tensor)[which] - less)
            )

        yield "integers redrawn", _changed(inputs, paths, drawn)
        yield "integers redrawn again", _changed(inputs, paths, drawn)
        narrow = [path for path in paths if path not in self.ranges]
        if narrow:
            # Without a vocabulary the observed values are all there is to draw from, often one: eager says whether
            # their neighbours are values too.
            yield "integers raised by 1", _changed(inputs, narrow, lambda _, tensor: tensor + 1)
            yield "integers lowered by 1", _changed(inputs, narrow, lambda _, tensor: tensor - 1)
            yield "integers in the last row raised by 1", _changed(inputs, narrow, _last_raised)
            yield "integers halved", _changed(inputs, narrow, lambda _, tensor: tensor // 2)
        yield "integers shuffled", _changed(inputs, paths, lambda _, tensor: _shuffled(tensor, generator))
        yield "integers all at their least", bound(0, 0)
        yield "integers all at their greatest", bound(1, 1)

    @staticmethod
    def _of_booleans(inputs: Mapping[str, Any], paths: list[str], generator: torch.Generator) -> Iterator[_Variant]:
        yield "booleans inverted", _changed(inputs, paths, lambda _, tensor: ~tensor)
        yield "booleans redrawn", _changed(inputs, paths, lambda _, tensor: _coin(tensor, generator))
        yield "booleans all true", _changed(inputs, paths, lambda _, tensor: torch.ones_like(tensor))
        yield "booleans all false", _changed(inputs, paths, lambda _, tensor: torch.zeros_like(tensor))

    def mask_paths(self, by_path: Mapping[str, torch.Tensor]) -> list[str]:
        """The padding mask, and every other input that is a mask by name and by content: random bits would be no mask."""
        return [path for path, tensor in by_path.items() if path == self.mask or ("mask" in path and is_binary(tensor))]

    def _masks(self, path: str, mask: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        main = path == self.mask
        inverted = self._is_inverted(path, mask)
        valid = 1 - mask.to(torch.int64) if inverted else mask
        for name, other in _masks(valid, self.dims.axes.get(path, {})):
            if main or name != PADDED_AT_START:
                yield name, (1 - other if inverted else other).to(mask.dtype)

    def _is_inverted(self, path: str, mask: torch.Tensor) -> bool:
        return self.inverted if path == self.mask else mask_inverted(path, mask)

    def mask_named(self, path: str, mask: torch.Tensor, name: str | None) -> torch.Tensor:
        """Another mask of the same shape by its name (``"padded at the end"``); the observed one where there is none."""
        if name == "all padding":
            return torch.full_like(mask, self._is_inverted(path, mask))
        return next((other for known, other in self._masks(path, mask) if known == name), mask.clone())

    def integers(self, path: str, tensor: torch.Tensor, way: str, generator: torch.Generator) -> torch.Tensor:
        """An integer input changed in one way: redrawn, shuffled, least, greatest, or beside the observed values."""
        low, high = self.range_of(path, tensor)
        if way not in ("redrawn", "shuffled", "least", "greatest") and path in self.ranges:
            # The vocabulary is known: within it values are redrawn, beyond it eager refuses them.
            return tensor.clone()
        changed = {
            "redrawn": lambda: self._drawn_integers(path, tensor, generator),
            "shuffled": lambda: self.shuffled(tensor, generator),
            "least": lambda: torch.full_like(tensor, low),
            "greatest": lambda: torch.full_like(tensor, high - 1),
            "raised by 1": lambda: tensor + 1,
            "lowered by 1": lambda: tensor - 1,
            "last raised by 1": lambda: _last_raised(path, tensor),
            "first raised by 1": lambda: _first_raised(tensor),
            "halved": lambda: tensor // 2,
            "raised by turns": lambda: tensor + _ramp(tensor) % 2,
            "raised in the second half": lambda: tensor + 2 * _ramp(tensor) // max(tensor.numel(), 1),
        }[way]()
        return changed.to(tensor.dtype)

    @staticmethod
    def booleans(tensor: torch.Tensor, way: str, generator: torch.Generator) -> torch.Tensor:
        """A boolean input redrawn, inverted, or true or false throughout."""
        if way == "redrawn":
            return _coin(tensor, generator)
        return ~tensor if way == "inverted" else torch.full_like(tensor, way == "true")

    @staticmethod
    def shuffled(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The same values in another order."""
        return _shuffled(tensor, generator)

    def moved(self, inputs: Mapping[str, Any], offset: float) -> dict[str, Any]:
        """The inputs with ``offset`` added to every float tensor but the mask."""
        return mapped(
            inputs,
            lambda path, tensor: tensor + offset if tensor.is_floating_point() and path != self.mask else tensor.clone(),
        )

    def holding(self, inputs: Mapping[str, Any], number: int, place: str, only: str | None = None) -> dict[str, Any]:
        """``number`` at one place of every row of the integer inputs, or of ``only`` one, where an input may hold it."""

        def change(path: str, tensor: torch.Tensor) -> torch.Tensor:
            tensor = tensor.clone()
            low, high = self.range_of(path, tensor)
            wanted = only in (None, path) and self.is_plain_integer(path, tensor)
            if wanted and tensor.ndim and tensor.numel() and (path not in self.ranges or low <= number < high):
                index: Any = {"first": 0, "last": -1, "middle": tensor.shape[-1] // 2, "every": slice(None)}[place]
                tensor[..., index] = number
            return tensor

        return mapped(inputs, change)

    def without(self, inputs: Mapping[str, Any], number: int) -> dict[str, Any]:
        """Every ``number`` in the integer inputs replaced by a neighbour that the input may hold."""

        def change(path: str, tensor: torch.Tensor) -> torch.Tensor:
            low, high = self.range_of(path, tensor)
            if not self.is_plain_integer(path, tensor) or high - low < 2:
                return tensor.clone()
            other = number + 1 if number + 1 < high else number - 1
            return torch.where(tensor == number, torch.full_like(tensor, other), tensor)

        return mapped(inputs, change)

    def is_plain_integer(self, path: str, tensor: torch.Tensor) -> bool:
        """Whether an input holds integers that are no mask."""
        return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool or path == self.mask)

    def scaled(self, inputs: Mapping[str, Any], factor: float, only: str | None = None) -> dict[str, Any]:
        """The inputs with every float tensor but the mask multiplied by ``factor``, or ``only`` one of them."""

        def change(path: str, tensor: torch.Tensor) -> torch.Tensor:
            wanted = only in (None, path) and tensor.is_floating_point() and path != self.mask
            return tensor * factor if wanted else tensor.clone()

        return mapped(inputs, change)

    def redrawn(self, inputs: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Every input but masks redrawn."""
        generator = torch.Generator().manual_seed(seed)
        masks = self.mask_paths(dict(tensors(inputs)))

        def change(path: str, tensor: torch.Tensor) -> torch.Tensor:
            if path in masks or tensor.is_meta or not is_plain(tensor):
                return tensor.clone()
            if tensor.is_floating_point() or tensor.is_complex():
                return _normal_like(tensor, generator)
            if tensor.dtype == torch.bool:
                return _coin(tensor, generator)
            return self._drawn_integers(path, tensor, generator)

        return mapped(inputs, change)

    def range_of(self, path: str, tensor: torch.Tensor) -> tuple[int, int]:
        if path in self.ranges:
            return self.ranges[path]
        if not tensor.numel():
            return 0, 1
        return int(tensor.min()), int(tensor.max()) + 1

    def _drawn_integers(self, path: str, tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        low, high = self.range_of(path, tensor)
        drawn = torch.randint(low, high, tensor.shape, generator=generator, dtype=torch.int64)
        return drawn.to(dtype=tensor.dtype, device=tensor.device)


def _changed(inputs: Mapping[str, Any], paths: Collection[str], how: Callable[..., torch.Tensor]) -> dict[str, Any]:
    """The inputs with the tensors at ``paths`` replaced by ``how(path, tensor)``, the others copied."""
    return mapped(inputs, lambda path, tensor: how(path, tensor) if path in paths else tensor.clone())


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


def _first_raised(tensor: torch.Tensor) -> torch.Tensor:
    raised = tensor.clone()
    if raised.ndim:
        raised[0] += 1
    return raised


def _ramp(tensor: torch.Tensor) -> torch.Tensor:
    return torch.arange(tensor.numel(), device=tensor.device).reshape(tensor.shape)


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
