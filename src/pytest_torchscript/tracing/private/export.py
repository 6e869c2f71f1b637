"""torch.export: what it prints and keeps, and where it takes down the conditions on sizes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import torch

from .declaring import EXPORT, is_ours, private

__all__ = [
    "SizeGuard",
    "forget_symbolic_operations",
    "generated_sources",
    "guard_location",
    "guards_on_sizes",
    "modules_of_export",
    "set_guard_location",
    "symbols_of_sizes",
    "tree_map",
]


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


class SizeGuard(NamedTuple):
    """A condition on sizes that an exported program takes for granted.

    ``location`` is what :func:`guard_location` gave for it; before torch 2.6 it is None, and ``frames`` gives the stack.
    """

    expression: Any
    location: Any
    frames: Callable[[], list[Any]]


def guards_on_sizes(environment: Any) -> Iterator[SizeGuard]:
    """The conditions of the environment of one export, in the order in which they were made."""
    for guard in environment.guards:
        yield SizeGuard(guard.expr, getattr(guard, "sloc", None), getattr(getattr(guard, "stack", None), "summary", list))


def symbols_of_sizes(environment: Any) -> dict[Any, list[str]]:
    """The symbols that conditions are made of, each with torch's names for the sizes that it stands for."""
    named = environment.var_to_sources.items()
    return {symbol: [s.name() if callable(s.name) else s.name for s in sources] for symbol, sources in named}


def forget_symbolic_operations(environment: Any) -> None:
    """Empty what torch keeps of each operation on symbolic sizes; it keeps the environment of an export for good."""
    environment.fake_tensor_cache.clear()


def _compared() -> Any:
    """An environment in which a size of 5, called ``x``, was found to be larger than 3."""
    from torch._dynamo.source import ConstantSource

    environment, source = _shape_env()(), ConstantSource("x")
    size = environment.create_symintnode(environment.create_symbol(5, source), hint=5, source=source)
    assert size > 3
    return environment


_ENVIRONMENT = "torch.fx.experimental.symbolic_shapes.ShapeEnv"
_BROKEN = "name the line of the condition that a size breaks"


@private(f"{_ENVIRONMENT}.guards", _BROKEN, "the text of an error", by=EXPORT, at=_ENVIRONMENT)
def _guards() -> bool:
    environment = _compared()
    (guard,), (symbol,) = guards_on_sizes(environment), symbols_of_sizes(environment)
    return [bool(guard.expression.subs({symbol: size})) for size in (3, 4)] == [False, True]


@private(f"{_ENVIRONMENT}.var_to_sources", _BROKEN, "the text of an error", by=EXPORT, at=_ENVIRONMENT)
def _symbols() -> bool:
    return list(symbols_of_sizes(_compared()).values()) == [["x"]]


@private(
    "torch.fx.experimental.symbolic_shapes.ShapeGuard.sloc",
    _BROKEN,
    "the text of an error",
    by=EXPORT,
    since=(2, 6),
    at=_ENVIRONMENT,
)
def _guard_locations() -> bool:
    return all(guard.location is not None for guard in guards_on_sizes(_compared()))


@private(f"{_ENVIRONMENT}.fake_tensor_cache", "free what torch keeps of each export", "none", by=EXPORT, at=_ENVIRONMENT)
def _cached_operations() -> bool:
    environment = _compared()
    environment.fake_tensor_cache["key"] = "entry"
    forget_symbolic_operations(environment)
    return len(environment.fake_tensor_cache) == 0
