"""Running a traced program, and running a function in a thread of its own."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..nested import clone, map_tensors
from . import private

__all__ = ["StillRunning", "detached", "in_own_thread", "run"]


def detached(value: Any) -> Any:
    """A copy of an output that no later call can change; its structure stays, numbers and None included."""
    return map_tensors(lambda tensor: tensor.detach().clone(), value)


class StillRunning(Exception):
    """A function that did not end in time; its thread is left behind, and ends when it next runs Python code, if ever."""


def in_own_thread(function: Callable[[], Any], *, timeout: float | None = None) -> Any:
    """Call ``function`` in a thread of its own, under the settings of the caller's, for ``timeout`` seconds at most.

    Those are grad and inference mode, autocast, torch-function modes (a default device is one), context variables, the
    number of threads and a line log of ours. A ``threading.local`` of the model's own cannot be taken along: where the
    function misses one, it is called here.

    While tracing, torch keeps the sizes it has read for the next operation in a place of the thread. An operation that
    fails leaves them there, and the next trace in that thread dies of them, by an assertion or a segmentation fault.

    Raises:
        StillRunning: the time is over.
        BaseException: whatever the function raises.
    """
    outcome: list[Any] = []
    failure: list[BaseException] = []
    modes = private.function_modes()
    grad = torch.is_grad_enabled()
    threads = torch.get_num_threads()
    inference = torch.is_inference_mode_enabled()
    autocast = {kind: torch.get_autocast_dtype(kind) for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)}
    context = contextvars.copy_context()
    log = sys.gettrace()
    ours = type(getattr(log, "__self__", None)).__module__.startswith(__name__.partition(".")[0])

    def run_here() -> None:
        # OpenMP counts its threads by the thread that asks.
        torch.set_num_threads(threads)
        torch.set_grad_enabled(grad)
        for mode in modes:
            private.push_function_mode(mode)
        if ours:
            sys.settrace(log)
        try:
            with contextlib.ExitStack() as stack:
                if inference:
                    stack.enter_context(torch.inference_mode())
                for kind, dtype in autocast.items():
                    # Its cache would hand a cast weight to the tracer, which knows the weight alone.
                    stack.enter_context(torch.autocast(kind, dtype=dtype, cache_enabled=False))
                outcome.append(context.run(function))
        except BaseException as error:  # noqa: BLE001 - raised again where the caller is
            failure.append(error)
        finally:
            if ours:
                sys.settrace(None)

    thread = threading.Thread(target=run_here, name="torchscript-trace", daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        # Ends what waits or loops in Python, as soon as it runs there again; a system call goes on.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        raise StillRunning(f"still running after {timeout:g} seconds")
    if failure and timeout is None and isinstance(failure[0], AttributeError) and "_thread._local" in str(failure[0]):
        return function()
    if failure:
        raise failure[0]
    return outcome[0]


def run(module: Any, inputs: Mapping[str, Any], *, profiled: bool = False, autocast: bool = True) -> Any:
    """Call a traced module with copies of the inputs, by position; the outputs are copies too.

    An output may alias a buffer, and would change under the caller with the next run. ``profiled`` runs under torch's
    default executor, which specialises the program to what it saw in the first runs; the plain one interprets the graph
    as it is, which is several times faster for a handful of runs. Without ``autocast`` that is off during the run.
    """
    arguments = tuple(clone(dict(inputs)).values())
    with contextlib.ExitStack() as stack:
        if not profiled:
            stack.enter_context(torch.jit.optimized_execution(False))
        for kind in () if autocast else ("cpu", "cuda"):
            stack.enter_context(torch.autocast(kind, enabled=False))
        return detached(module(*arguments))
