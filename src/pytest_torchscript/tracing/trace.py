"""The one place that calls :func:`torch.jit.trace`. Warnings and errors become diagnostics."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import source
from ..errors import Unavailable
from ..subject.call import Call
from . import private
from .conversions import Conversion, watching
from .execute import in_own_thread

__all__ = ["Diagnostic", "TorchScriptUnavailable", "TraceError", "Traced", "quiet", "trace"]

_DICT_OUTPUT = "Encountering a dict at the output of the tracer"


@dataclass(frozen=True)
class Diagnostic:
    """A ``TracerWarning``: evidence, never a verdict."""

    message: str
    line: source.Line | None


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A traced program, and what torch said while tracing.

    ``strict`` is False when the model returns a dict, which torch traces under ``strict=False`` only.
    """

    module: Any
    strict: bool = True
    diagnostics: tuple[Diagnostic, ...] = ()
    conversions: tuple[Conversion, ...] = ()


class TraceError(Exception):
    """Tracing failed. ``cause`` is torch's error; ``line`` the guilty source line, if the stack shows one."""

    def __init__(self, cause: BaseException, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.diagnostics = diagnostics
        self.line = source.innermost(source.traceback_frames(cause.__traceback__))


class TorchScriptUnavailable(Unavailable):
    """This torch has no usable TorchScript."""

    def __init__(self, message: str) -> None:
        super().__init__(message, name="torch.jit.trace", version=str(torch.__version__))


@dataclass
class _Recorder:
    found: list[Diagnostic] = field(default_factory=list)

    def __call__(self, message: Any, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        if category.__name__ != "TracerWarning":
            return
        line = source.innermost(source.frames(sys._getframe(1)))
        self.found.append(Diagnostic(_first_sentence(str(message)), line))


def _first_sentence(message: str) -> str:
    return re.split(r"(?<=\.)\s", message.strip(), maxsplit=1)[0]


@contextlib.contextmanager
def quiet() -> Iterator[_Recorder]:
    """Silence the warnings of our own calls, and record the tracer's.

    torch deprecates TorchScript with a DeprecationWarning (2.10 to 2.13) or a FutureWarning (2.14 and later) from every
    call; what the model itself warns about, its test has already shown.
    """
    recorder = _Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", torch.jit.TracerWarning)
        warnings.showwarning = recorder  # type: ignore[assignment]
        yield recorder


def ensure_available() -> None:
    """Whether tracing can work at all.

    Raises:
        TorchScriptUnavailable: this torch has no usable TorchScript.
        Unavailable: it lacks a private name that the gate needs.
    """
    if not hasattr(getattr(torch, "jit", None), "trace"):
        raise TorchScriptUnavailable(f"torch {torch.__version__} has no torch.jit.trace; use torch.export instead")
    private.require()
    if not private.script_enabled():
        raise TorchScriptUnavailable("TorchScript is switched off by PYTORCH_JIT=0; unset it to run the gate")


def trace(model: torch.nn.Module, call: Call) -> Traced:
    """Trace ``model`` at the inputs of ``call``, as ``torch.jit.trace(model, inputs, check_trace=False)`` does.

    A model that returns a dict is traced with ``strict=False``: torch refuses it otherwise, and says that this is the way
    if the keys do not change.

    Raises:
        TraceError: torch refuses.
        Unavailable: this torch has no usable TorchScript, or lacks a private name that the gate needs.
    """
    ensure_available()
    with ExitStack() as stack:
        recorder = stack.enter_context(quiet())
        inputs = stack.enter_context(call.as_forward(model))
        unit = stack.enter_context(private.compilation_unit())
        conversions = stack.enter_context(watching())
        try:
            module, strict = in_own_thread(lambda: _trace(model, inputs, unit))
        except Exception as error:
            raise TraceError(error, tuple(recorder.found)) from error
    if not isinstance(module, torch.jit.ScriptModule):
        raise TorchScriptUnavailable(f"torch.jit.trace gave a {type(module).__name__}, not a ScriptModule")
    return Traced(
        module=module,
        strict=strict,
        diagnostics=tuple(dict.fromkeys(recorder.found)),
        conversions=tuple(conversions),
    )


def _trace(model: torch.nn.Module, inputs: tuple[Any, ...], unit: Any) -> tuple[Any, bool]:
    try:
        return torch.jit.trace(model, inputs, check_trace=False, _compilation_unit=unit), True
    except RuntimeError as error:
        if _DICT_OUTPUT not in str(error):
            raise
    return torch.jit.trace(model, inputs, check_trace=False, strict=False, _compilation_unit=unit), False
