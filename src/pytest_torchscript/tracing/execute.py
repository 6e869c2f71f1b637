"""Running a traced program, saving and loading it, and keeping torch's registries from growing."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..subject.outputs import clone, map_tensors

__all__ = ["detached", "private_compilation", "round_trip", "run"]


def detached(value: Any) -> Any:
    """A copy of an output that no later call can change; its structure stays, numbers and None included."""
    return map_tensors(lambda tensor: tensor.detach().clone(), value)


@contextlib.contextmanager
def private_compilation() -> Iterator[Any]:
    """A compilation unit of our own, in which everything that tracing registers lives and dies.

    torch registers one class for every traced submodule in a process-wide compilation unit and never lets go: about 6 MB
    a trace of a 4-layer model. Clearing that registry would break the ScriptModules the user's tests hold, so ours are
    registered elsewhere: torch looks the unit up as ``torch.jit._state._python_cu``.
    """
    state, recursive = torch.jit._state, torch.jit._recursive
    before = state._python_cu, recursive._python_cu, recursive.concrete_type_store
    unit = torch._C.CompilationUnit()
    state._python_cu = recursive._python_cu = unit
    recursive.concrete_type_store = recursive.ConcreteTypeStore()
    try:
        yield unit
    finally:
        state._python_cu, recursive._python_cu, recursive.concrete_type_store = before


def run(module: Any, inputs: Mapping[str, Any], *, profiled: bool = False) -> Any:
    """Call a traced module with copies of the inputs, by position; the outputs are copies too.

    An output may alias a buffer, and would change under the caller with the next run. ``profiled`` runs under torch's
    default executor, which specialises the program to what it saw in the first runs; the plain one interprets the graph
    as it is, which is several times faster for a handful of runs.
    """
    arguments = tuple(clone(dict(inputs)).values())
    if profiled:
        return detached(module(*arguments))
    with torch.jit.optimized_execution(False):
        return detached(module(*arguments))


def round_trip(module: Any) -> tuple[Any, int]:
    """``torch.jit.save`` then ``torch.jit.load`` in memory: the loaded module and the file's size in bytes."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    size = buffer.tell()
    buffer.seek(0)
    return torch.jit.load(buffer), size
