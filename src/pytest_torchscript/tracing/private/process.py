"""What torch keeps for the process or a thread: compiled classes, the executor"s switches, torch-function modes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .declaring import private

__all__ = ["compilation_unit", "function_modes", "kept_executor", "push_function_mode", "script_enabled", "scripted_as"]


# Compilation


@contextmanager
def compilation_unit() -> Iterator[Any]:
    """A compilation unit of our own, in which everything that tracing registers lives and dies.

    torch registers one class for every traced submodule in a process-wide compilation unit and never lets go: about 6 MB
    a trace of a 4-layer model. Clearing that registry would break the ScriptModules the user's tests hold, so ours are
    registered elsewhere: torch looks the unit up as ``torch.jit._state._python_cu``.
    """
    state, recursive = torch.jit._state, torch.jit._recursive
    before = state._python_cu, recursive._python_cu, recursive.concrete_type_store
    unit = torch.jit.CompilationUnit()
    state._python_cu = recursive._python_cu = unit
    recursive.concrete_type_store = recursive.ConcreteTypeStore()
    try:
        yield unit
    finally:
        state._python_cu, recursive._python_cu, recursive.concrete_type_store = before


_FREED = "free what a trace registers"


@private("torch.jit._state._python_cu", _FREED, "none")
def _unit_of_state() -> bool:
    return isinstance(torch.jit._state._python_cu, torch.jit.CompilationUnit)


@private("torch.jit._recursive._python_cu", _FREED, "none")
def _unit_of_recursive() -> bool:
    return isinstance(torch.jit._recursive._python_cu, torch.jit.CompilationUnit)


@private("torch.jit._recursive.ConcreteTypeStore", _FREED, "none")
def _make_store() -> bool:
    return dict(torch.jit._recursive.ConcreteTypeStore().type_store) == {}


@private("torch.jit._recursive.concrete_type_store", _FREED, "none")
def _store() -> bool:
    return isinstance(torch.jit._recursive.concrete_type_store, torch.jit._recursive.ConcreteTypeStore)


@private("torch.jit.trace(_compilation_unit=)", _FREED, "none", at="torch.jit.trace")
def _trace_into_unit() -> bool:
    arguments = {"check_trace": False, "strict": False, "_compilation_unit": None}
    return inspect.signature(torch.jit.trace).bind(None, (), **arguments).kwargs is not None


@contextmanager
def scripted_as(originals: dict[Callable[..., Any], Callable[..., Any]]) -> Iterator[None]:
    """Let torch's compiler take each key for its value, a function of torch's own: it knows these by their identity."""
    builtins: Any = torch.jit._builtins
    find = builtins._find_builtin

    def found(fn: Any) -> Any:
        return find(next((theirs for ours, theirs in originals.items() if ours is fn), fn))

    builtins._find_builtin = found
    try:
        yield
    finally:
        builtins._find_builtin = find


@private("torch.jit._builtins._find_builtin", "watch functions of torch that a scripted part may call too", "none")
def _find_builtin() -> bool:
    # It is not asked: the first question of a process imports all of torch that scripts may call.
    return list(inspect.signature(torch.jit._builtins._find_builtin).parameters) == ["fn"]


def script_enabled() -> bool:
    """Whether TorchScript is on: under ``PYTORCH_JIT=0``, ``torch.jit.trace`` returns what it is given."""
    return bool(torch.jit._state._enabled)


@private("torch.jit._state._enabled", "say that TorchScript is switched off", "the environment, which a program may overrule")
def _enabled() -> bool:
    return isinstance(torch.jit._state._enabled.enabled, bool)


@contextmanager
def kept_executor() -> Iterator[None]:
    """The switches of the executor, which are the process's, are afterwards as they were before."""
    optimised = torch._C._get_graph_executor_optimize()
    profiling = torch._C._jit_set_profiling_executor(True)
    torch._C._jit_set_profiling_executor(profiling)
    try:
        yield
    finally:
        torch._C._set_graph_executor_optimize(optimised)
        torch._C._jit_set_profiling_executor(profiling)


def _switched() -> bool:
    before = torch._C._get_graph_executor_optimize()
    with kept_executor():
        torch._C._set_graph_executor_optimize(not before)
        profiling = torch._C._jit_set_profiling_executor(False)
        changed = torch._C._get_graph_executor_optimize(), torch._C._jit_set_profiling_executor(profiling)
    return changed == (not before, False) and torch._C._get_graph_executor_optimize() is before


_KEPT = "leave the executor of the process as it was"
_get_optimize = private("torch._C._get_graph_executor_optimize", _KEPT, "none")(_switched)
_set_optimize = private("torch._C._set_graph_executor_optimize", _KEPT, "torch.jit.optimized_execution, for a block")(_switched)
_set_profiling = private("torch._C._jit_set_profiling_executor", _KEPT, "none")(_switched)


# Torch-function modes


def function_modes() -> list[TorchFunctionMode]:
    """The torch-function modes of this thread, the outermost first; a default device is one."""
    return list(torch.overrides._get_current_function_mode_stack())


def push_function_mode(mode: TorchFunctionMode) -> None:
    """Enter a mode in this thread. Its own ``__enter__`` would overwrite what the thread that has it open keeps in it."""
    torch._C._push_on_torch_function_stack(mode)


_TAKEN = "trace in another thread under the modes of this one"


@private("torch.overrides._get_current_function_mode_stack", _TAKEN, "none")
def _list_modes() -> bool:
    with (mode := TorchFunctionMode()):
        return function_modes()[-1:] == [mode]


@private("torch._C._push_on_torch_function_stack", _TAKEN, "with mode:, in one thread")
def _push_mode() -> bool:
    before, mode = function_modes(), TorchFunctionMode()
    push_function_mode(mode)
    entered = function_modes() == [*before, mode]
    if entered:
        mode.__exit__(None, None, None)
    return entered
