"""The private names of torch that this package uses: for what, in place of which public way, and what is expected of each.

No other folder uses one. A name without an underscore counts as private too where torch does not document it. torch may
change any of them in any release, so each has a test of its own, which :func:`require` runs before a gate begins: a name
that is missing or behaves otherwise is :class:`~pytest_torchscript.errors.Unavailable`, and no model is judged without it.
"""

from __future__ import annotations

from . import declaring, export, graphs, process, scripts, tensors
from .declaring import Name
from .export import (
    SizeGuard,
    forget_symbolic_operations,
    generated_sources,
    guard_location,
    guards_on_sizes,
    modules_of_export,
    set_guard_location,
    symbols_of_sizes,
    tree_map,
)
from .graphs import graph_by_tracing, graph_under_way, inline, is_tracing, parse_schema, value_trace
from .process import compilation_unit, function_modes, kept_executor, push_function_mode, script_enabled, scripted_as
from .scripts import is_one_trace, with_tensors
from .tensors import (
    BUFFERS,
    PARAMETERS,
    REGISTRIES,
    buffers_of,
    default_tolerances,
    flop_counter,
    has_hooks,
    module_calls,
    version_of,
)

__all__ = [
    "BUFFERS",
    "EXPORT",
    "GATE",
    "NAMES",
    "OBSERVER",
    "PARAMETERS",
    "REGISTRIES",
    "Name",
    "SizeGuard",
    "buffers_of",
    "compilation_unit",
    "default_tolerances",
    "flop_counter",
    "forget_symbolic_operations",
    "function_modes",
    "generated_sources",
    "graph_by_tracing",
    "graph_under_way",
    "guard_location",
    "guards_on_sizes",
    "has_hooks",
    "inline",
    "is_one_trace",
    "is_tracing",
    "kept_executor",
    "module_calls",
    "modules_of_export",
    "parse_schema",
    "push_function_mode",
    "require",
    "script_enabled",
    "scripted_as",
    "set_guard_location",
    "symbols_of_sizes",
    "tree_map",
    "value_trace",
    "version_of",
    "with_tensors",
]

_ROOMS = (graphs, process, scripts, tensors, export)
NAMES = tuple(entry for room in _ROOMS for entry in vars(room).values() if isinstance(entry, Name))
GATE, OBSERVER, EXPORT = (
    tuple(entry.name for entry in NAMES if entry.by == by) for by in (declaring.GATE, declaring.OBSERVER, declaring.EXPORT)
)


def require(*names: str) -> None:
    """Test the names, by default all that every gate needs. It costs a few milliseconds once, and next to nothing again.

    Raises:
        Unavailable: one is missing, or behaves otherwise.
    """
    for entry in NAMES:
        if entry.name in (names or GATE):
            declaring.verify(entry)
