"""Two runs of a model at the traced inputs, and what they show."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .nested import clone, identical, tensors
from .subject.call import Call
from .subject.state import ModelState
from .tracing.execute import detached
from .tracing.private import version_of
from .tracing.trace import quiet

__all__ = ["Survey", "integers", "overwritten", "surveyed"]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What two runs of a model showed, the second without putting its state back.

    ``outputs`` are those of both; ``error`` is what one raised. ``parameters``, ``buffers`` and ``attributes`` name what the
    first run changed of the model, ``inputs`` the paths of the inputs that it overwrote or added, ``touched`` of those to which
    it wrote what they held before. ``ranges`` holds, by path, the values that an integer input may take, ``[low, high)``, where
    an embedding shows them; ``pad_values`` what pads it.
    """

    outputs: tuple[Any, ...] = ()
    error: Exception | None = None
    parameters: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    pad_values: Mapping[str, int] = field(default_factory=dict)


def surveyed(model: torch.nn.Module, call: Call, state: ModelState) -> Survey:
    """Run the model twice. Where a run raises, the survey holds the error, and the check ``eager`` fails."""
    ranges: dict[str, tuple[int, int]] = {}
    pad_values: dict[str, int] = {}
    given = clone(dict(call.inputs))
    versions = {path: version_of(tensor) for path, tensor in tensors(given)}
    with quiet():
        try:
            args, kwargs = call.arguments(given)
            with _watching_embeddings(model, call, ranges, pad_values):
                first = detached(model(*args, **kwargs))
            written = tuple(overwritten(call.inputs, given))
            moved = (path for path, tensor in tensors(given) if versions.get(path) != version_of(tensor))
            parameters, buffers = tuple(state.changed_parameters()), tuple(state.changed_buffers())
            attributes = tuple(state.changed_attributes())
            second = detached(call.run(model))
        except Exception as error:  # noqa: BLE001 - an error of the model is for the check `eager` to report
            return Survey(error=error, ranges=ranges, pad_values=pad_values)
        finally:
            # The first comparison is by values. It shows whether the model writes where no version counter moves.
            state.restore(thorough=True, parameters=False)
    return Survey(
        outputs=(first, second),
        parameters=parameters,
        buffers=buffers,
        attributes=attributes,
        inputs=written,
        touched=tuple(path for path in moved if path not in written),
        ranges=ranges,
        pad_values=pad_values,
    )


def overwritten(inputs: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """The paths at which ``given`` no longer holds what ``inputs`` hold."""
    before, after = dict(tensors(inputs)), dict(tensors(given))
    return [
        path
        for path in {**before, **after}
        if path not in before or path not in after or not identical(before[path], after[path])
    ]


def integers(call: Call) -> dict[str, torch.Tensor]:
    """The integer inputs of a call by path."""
    return {
        path: tensor
        for path, tensor in call.tensors().items()
        if not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    }


@contextlib.contextmanager
def _watching_embeddings(
    model: torch.nn.Module, call: Call, ranges: dict[str, tuple[int, int]], pad_values: dict[str, int]
) -> Iterator[None]:
    """Note which integer inputs are looked up in a table, how long that is, and which of its rows is for padding."""
    by_path = integers(call)

    def look(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        for path, tensor in by_path.items():
            if path not in ranges and args and isinstance(args[0], torch.Tensor):
                looked = args[0]
                if looked.shape == tensor.shape and torch.equal(looked, tensor.to(looked.dtype)):
                    ranges[path] = (0, module.num_embeddings)  # type: ignore[assignment]
                    if module.padding_idx is not None:
                        pad_values[path] = int(module.padding_idx)  # type: ignore[arg-type]

    embeddings = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    handles = [module.register_forward_pre_hook(look) for module in embeddings if by_path]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
