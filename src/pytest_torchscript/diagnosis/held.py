"""What a model holds that no trace can hold: results of earlier calls, hidden parameters, weights that write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

__all__ = ["model_facts"]

_DEEPEST = 4


def model_facts(model: torch.nn.Module) -> Iterator[str]:
    """Sentences such as ``result kept in self.template``, ``module kept in self.blocks[0]`` and ``max_norm in embed``.

    A result has a ``grad_fn``: an operation computed it. A parameter is a leaf that requires grad.
    """
    known = {id(parameter) for parameter in model.parameters()}
    for path, module in model.named_modules():
        where = path or "self"
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                yield from _kept(value, f"{where}.{name}", known)
        for name, buffer in module.named_buffers(recurse=False):
            yield from _kept(buffer, f"{where}.{name}", known)
        if isinstance(module, torch.nn.Embedding) and module.max_norm is not None:
            yield f"max_norm in {path}"


def _kept(value: Any, path: str, known: set[int], depth: int = 0) -> Iterator[str]:
    """Sentences for the tensors that require grad in an attribute, its containers and plain objects."""
    if isinstance(value, torch.Tensor):
        if value.requires_grad and id(value) not in known:
            yield f"{'parameter' if value.is_leaf else 'result'} kept in {path}"
        return
    if isinstance(value, torch.nn.Module):
        if any(id(parameter) not in known for parameter in value.parameters()):
            yield f"module kept in {path}"
        return
    if depth == _DEEPEST or isinstance(value, (type, str)):
        return
    for name, entry in _entries(value):
        yield from _kept(entry, f"{path}{name}", known, depth + 1)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """What a container or an object of the user's own holds, with how it is reached."""
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", entry) for key, entry in list(value.items()))
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", entry) for index, entry in enumerate(value))
    elif not callable(value):
        yield from ((f".{name}", entry) for name, entry in list(getattr(value, "__dict__", {}).items()))
