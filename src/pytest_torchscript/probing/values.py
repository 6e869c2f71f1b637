"""Which other values to try: joint variants that change every input at once, and single ones that change one input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..cell import Cell
from ..nested import identical, tensors
from ..subject.fresh import PADDED_AT_START
from ..subject.inputs import is_plain, mapped
from ..tracing.conversions import Conversion

__all__ = ["JOINT", "THAT_SHOW_SIZES", "Variant", "joint", "joints", "same", "single", "thorough"]

Inputs = Mapping[str, Any]
Variant = tuple[str, Inputs]
"""What was changed, in words, and the inputs."""

_MOST_NUMBERS = 8
_MOST_TOKENS = 4
_WAYS = (
    *("redrawn", "shuffled", "least", "greatest", "raised by 1", "lowered by 1", "last raised by 1", "first raised by 1"),
    *("halved", "raised by turns", "raised in the second half"),
)


@dataclass(frozen=True)
class Joint:
    """One way to change floats, integers and booleans together. ``mask`` names the mask to use; None keeps the observed."""

    name: str
    floats: Callable[[torch.Tensor, torch.Generator], torch.Tensor]
    integers: str
    booleans: str
    mask: str | None


def _each_scaled(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Every element drawn from the observed ones, times a tenth, one or ten."""
    wide = tensor.detach().reshape(-1)
    order = torch.randint(0, wide.numel(), (wide.numel(),), generator=generator)
    scales = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    factors = scales[torch.randint(0, 3, (wide.numel(),), generator=generator)]
    drawn = wide[order.to(wide.device)] * factors.to(wide.device)
    return drawn.reshape(tensor.shape).to(tensor.dtype)


JOINT: tuple[Joint, ...] = (
    Joint("all values redrawn", _each_scaled, "redrawn", "redrawn", "padded at the end"),
    Joint("large and positive values", lambda t, _: _large(t), "greatest", "true", "without padding"),
    Joint("negated values", lambda t, _: -t, "shuffled", "false", None),
    Joint("zeros and least values", lambda t, _: torch.zeros_like(t), "least", "false", "mostly padding"),
)
"""Those that found most on 529 judged gates come first (``docs/checks.md``)."""


def _large(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.abs() if not tensor.is_complex() else tensor) * 1000


THAT_SHOW_SIZES = 3
"""The number of ways, from the first, whose values show a wrong size; the zeros of the others would hide it."""


def joint(cell: Cell, inputs: Inputs, index: int) -> Variant:
    """The inputs, of any size, with all values changed in the way number ``index`` of :data:`JOINT`."""
    way = JOINT[index]
    generator = torch.Generator().manual_seed(0x5EED + index)
    fresh = cell.fresh
    by_path = dict(tensors(inputs))
    masks = fresh.mask_paths(by_path)

    def change(path: str, tensor: torch.Tensor) -> torch.Tensor:
        if not is_plain(tensor):
            return tensor.clone()
        if path in masks:
            return fresh.mask_named(path, tensor, way.mask)
        if tensor.is_floating_point() or tensor.is_complex():
            # torch has no arithmetic on floats of eight bits.
            wide = tensor.float() if tensor.element_size() == 1 else tensor
            return way.floats(wide, generator).to(tensor.dtype) if tensor.numel() else tensor.clone()
        if tensor.dtype == torch.bool:
            return fresh.booleans(tensor, way.booleans, generator)
        return fresh.integers(path, tensor, way.integers, generator)

    return way.name, mapped(inputs, change)


def joints(cell: Cell) -> Iterator[Variant]:
    """All values of the traced size changed at once, in each way."""
    for index in range(len(JOINT)):
        yield joint(cell, cell.inputs, index)


def single(cell: Cell, guards: Iterable[Conversion]) -> Iterator[Variant]:
    """Values of the traced size, one thing changed; ``guards`` are where the forward takes values out of its tensors."""
    observed = dict(tensors(cell.inputs))
    guards = list(guards)
    yield from _floats(cell, observed)
    yield from _masks(cell, observed)
    yield from _integers(cell, observed)
    yield from _alike(cell, observed)
    yield from _directed(cell, observed, guards)


def thorough(cell: Cell, guards: Iterable[Conversion]) -> Iterator[Variant]:
    """Every variant: of each kind of input alone, and of all together."""
    yield from cell.fresh.variants(cell.inputs)
    yield from joints(cell)
    yield from single(cell, guards)


def _floats(cell: Cell, observed: Mapping[str, torch.Tensor]) -> Iterator[Variant]:
    floats = {p for p, t in observed.items() if is_plain(t) and t.is_floating_point() and t.numel() and p != cell.mask}
    if not floats:
        return
    generator = torch.Generator().manual_seed(7)

    def changed(how: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
        return mapped(cell.inputs, lambda path, tensor: how(tensor) if path in floats else tensor.clone())

    yield "floats times 10", changed(lambda tensor: tensor * 10)
    yield "floats negated", changed(lambda tensor: -tensor)
    yield "floats shuffled", changed(lambda tensor: cell.fresh.shuffled(tensor, generator) * 0.1)
    yield "floats made zero", changed(torch.zeros_like)
    yield "one NaN among the floats", changed(lambda tensor: _first(tensor, float("nan")))
    yield "one infinity among the floats", changed(lambda tensor: _first(tensor, float("inf")))
    yield "one minus infinity among the floats", changed(lambda tensor: _first(tensor, float("-inf")))
    yield "all floats equal", changed(lambda tensor: torch.full_like(tensor, float(tensor.reshape(-1)[0].real)))
    if len(floats) > 1:
        for name in sorted(floats):
            yield (
                f"{name} alone negated and times 10",
                mapped(cell.inputs, lambda path, tensor, here=name: tensor * -10 if path == here else tensor.clone()),
            )


def _first(tensor: torch.Tensor, value: float) -> torch.Tensor:
    changed = tensor.detach().clone()
    changed[(0,) * changed.ndim] = value
    return changed


def _masks(cell: Cell, observed: Mapping[str, torch.Tensor]) -> Iterator[Variant]:
    for path in cell.fresh.mask_paths(observed):
        what = "mask" if path == cell.mask else path
        for name in ("without padding", "padded at the end", "mostly padding", PADDED_AT_START, "all padding"):
            mask = cell.fresh.mask_named(path, observed[path], name)
            yield f"{what} {name}", mapped(cell.inputs, lambda p, t, here=path, mask=mask: mask if p == here else t.clone())


def _integers(cell: Cell, observed: Mapping[str, torch.Tensor]) -> Iterator[Variant]:
    """Integer inputs changed together and one by one, since eager may refuse the values of one of them."""
    masks = cell.fresh.mask_paths(observed)
    paths = [
        path
        for path, tensor in observed.items()
        if is_plain(tensor) and not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool
        if path not in masks
    ]
    generator = torch.Generator().manual_seed(11)
    groups = [paths, *([path] for path in paths)] if len(paths) > 1 else [paths] if paths else []
    for group in groups:
        what = "integers" if len(group) > 1 or len(paths) == 1 else group[0]
        for way in _WAYS:
            yield (
                f"{what} {way}",
                mapped(
                    cell.inputs,
                    lambda path, tensor, group=group, way=way: (
                        cell.fresh.integers(path, tensor, way, generator) if path in group else tensor.clone()
                    ),
                ),
            )
    for path in (path for path, tensor in observed.items() if tensor.dtype == torch.bool and path not in masks):
        for way in ("inverted", "true", "false"):
            yield (
                f"{path} {way}",
                mapped(
                    cell.inputs,
                    lambda p, tensor, here=path, way=way: (
                        cell.fresh.booleans(tensor, way, generator) if p == here else tensor.clone()
                    ),
                ),
            )


def _alike(cell: Cell, observed: Mapping[str, torch.Tensor]) -> Iterator[Variant]:
    """Two inputs given the same values."""
    paths = [path for path, tensor in observed.items() if is_plain(tensor) and path != cell.mask]
    for index, path in enumerate(paths[1:], start=1):
        alike = [
            o for o in paths[:index] if (observed[o].shape, observed[o].dtype) == (observed[path].shape, observed[path].dtype)
        ]
        if alike:
            twin = observed[alike[0]]
            yield f"{path} like {alike[0]}", mapped(cell.inputs, lambda p, t, a=path, b=twin: (b if p == a else t).clone())


def _directed(cell: Cell, observed: Mapping[str, torch.Tensor], guards: list[Conversion]) -> Iterator[Variant]:
    """Values around the numbers that the forward compares its inputs with, as the trace shows them."""
    numbers = sorted({number for guard in guards for number in guard.thresholds})[:_MOST_NUMBERS]
    floats = [path for path, tensor in observed.items() if tensor.is_floating_point() and tensor.numel() and is_plain(tensor)]
    largest = max((float(observed[path].abs().max()) for path in floats), default=0.0)
    for number in numbers:
        if largest and number:
            # Just above, far above and just below: few values exceed the threshold in one case, and all of them in another.
            for factor in (1.05, 2.0, -2.0, 0.95):
                yield f"floats scaled around {number:g}", cell.fresh.scaled(cell.inputs, factor * abs(number) / largest)
        for path in floats if len(floats) > 1 and number else ():
            scale = 1.2 * abs(number) / max(float(observed[path].abs().max()), 1e-6)
            yield f"{path} alone scaled to {number:g}", cell.fresh.scaled(cell.inputs, scale, only=path)
        if largest:
            for offset in (number + largest, number - largest):
                yield f"floats moved to {offset:g}", cell.fresh.moved(cell.inputs, offset)
        if number == int(number):
            for place in ("middle", "first", "last", "every"):
                yield (
                    f"integers holding {int(number)} at the {place} position",
                    cell.fresh.holding(cell.inputs, int(number), place),
                )
            yield f"integers without {int(number)}", cell.fresh.without(cell.inputs, int(number))
    if any(guard.kind in ("int", "number") for guard in guards):
        # A number that left its tensor may be looked up anywhere: the smallest ones are what most programs ask for.
        for number in range(_MOST_TOKENS):
            yield from _holding(cell, number, ("first", "last"))
    if any(guard.kind in ("float", "number") for guard in guards) and largest:
        yield "floats scaled by 1e5", cell.fresh.scaled(cell.inputs, 1e5)


def _holding(cell: Cell, number: int, places: tuple[str, ...]) -> Iterator[Variant]:
    """The integer inputs with a number at one place, together and then one by one."""
    integers = [path for path, tensor in tensors(cell.inputs) if cell.fresh.is_plain_integer(path, tensor)]
    for only in (None, *(integers if len(integers) > 1 else ())):
        for place in places:
            yield (
                f"{only or 'integers'} holding {number} at the {place} position",
                cell.fresh.holding(cell.inputs, number, place, only),
            )


def same(inputs: Inputs, others: Inputs) -> bool:
    """Whether two sets of inputs hold the same values, so that a probe of them would show nothing new."""
    theirs = dict(tensors(others))
    return all(identical(tensor, theirs[path]) for path, tensor in tensors(inputs))
