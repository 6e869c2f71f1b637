"""torch.export: what it prints and keeps, and where it takes down the conditions on sizes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from .declaring import EXPORT, is_ours, private

__all__ = ["generated_sources", "guard_location", "modules_of_export", "set_guard_location", "tree_map"]


def modules_of_export() -> tuple[ModuleType, ...]:
    """The modules of torch that print while a model is exported. Those that log are loaded too, so that they have loggers."""
    import torch._export.non_strict_utils
    import torch.export._trace
    import torch.fx.graph_module

    return torch.export._trace, torch.fx.graph_module


_QUIET = "keep off the terminal what torch prints while it exports"


@private("torch.export._trace", _QUIET, "none", by=EXPORT)
def _export_modules() -> bool:
    return all(isinstance(module, ModuleType) for module in modules_of_export())


@private("torch._export.non_strict_utils", _QUIET, "none", by=EXPORT)
def _log_modules() -> bool:
    modules_of_export()
    return isinstance(torch._export.non_strict_utils, ModuleType)


def generated_sources() -> dict[str, str]:
    """Where torch keeps the source of each exported program; it empties that never."""
    import torch.fx.graph_module

    sources: dict[str, str] = torch.fx.graph_module._loader.eval_cache
    return sources


@private("torch.fx.graph_module._loader", "free the sources that torch generates for each program", "none", by=EXPORT)
def _sources() -> bool:
    return isinstance(generated_sources(), dict)


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """``tree`` with every leaf replaced, through the containers that torch.export looks into, registered ones included."""
    from torch.utils import _pytree

    return _pytree.tree_map(function, tree)


@private("torch.utils._pytree.tree_map", "name the dims of nested inputs as torch nests them", "none", by=EXPORT)
def _map_tree() -> bool:
    return bool(tree_map(lambda leaf: leaf + 1, (1, {"a": [2]})) == (2, {"a": [3]}))


def _shape_env() -> Any:
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    return ShapeEnv


def guard_location() -> Any:
    """The method by which torch takes down where a guard on a size is made; None before torch 2.6, which keeps stacks."""
    return getattr(_shape_env(), "_get_sloc", None)


def set_guard_location(method: Any) -> None:
    """Put another method in the place of :func:`guard_location`."""
    _shape_env()._get_sloc = method


@private(
    "torch.fx.experimental.symbolic_shapes.ShapeEnv._get_sloc",
    "name the line of a condition on a size",
    "the innermost frame, which is torch's own",
    by=EXPORT,
    since=(2, 6),
)
def _locate_guards() -> bool:
    return is_ours(guard_location()) or "self" in inspect.signature(guard_location()).parameters
