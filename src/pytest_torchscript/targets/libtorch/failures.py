"""What a C++ program that failed reports, as errors with a cause, a line and a remedy."""

from __future__ import annotations

import re

from ... import source
from ...errors import GateError
from ..base import Unsupported
from ..deployment import Deployment
from ..tools import hint_for, root_cause
from .process import signal_name

__all__ = ["ProgramFailed", "activity", "failure", "not_saved"]

_NOT_LINKED = "deploy with the library that registers it (the gate links torch alone)"
_REFUSALS = (
    (
        r"Unknown builtin op: (\w+::\w+)",
        "C++ knows no operation {!r}: Python code registers it, or a library that the program does not link",
        f"write it with aten operations, or {_NOT_LINKED}",
    ),
    (
        r"Unknown type name '__torch__\.(torch\.classes\.[\w.]+)'",
        "C++ knows no class {!r}: a library that the program does not link registers it",
        f"{_NOT_LINKED}, or keep to tensors",
    ),
    (
        r"(ill formed octal specifier)",
        "the saved trace cannot be loaded, in Python neither: see the check roundtrip",
        "give parameters, buffers and submodules names in ASCII letters",
    ),
)
_STACK = "Traceback of TorchScript, original code"


class ProgramFailed(GateError):
    """The C++ program ended with an error. The first line is the cause, the others are torch's stack of the source."""


def not_saved(deployment: Deployment, error: Exception) -> Unsupported:
    """torch's reason for not saving the trace."""
    line = _line_of(deployment, "prim::PythonOp") or source.innermost(source.parse_stack(str(error)))
    # The cause comes first; torch's advice follows it and is meant for scripted code.
    cause = root_cause(error).removeprefix("RuntimeError: ").partition(". Remove calls to Python functions")[0]
    return Unsupported(
        f"the trace cannot be saved: {cause}", line=line, hint=hint_for(str(error)) or "use torch operations only"
    )


def failure(deployment: Deployment, code: int, text: str, doing: str) -> GateError:
    """The error of a program that ended with the status ``code`` and wrote ``text``, while it did something."""
    if code < 0:
        return ProgramFailed(f"the C++ program was ended by {signal_name(-code)} while {doing}")
    for pattern, message, hint in _REFUSALS:
        found = re.search(pattern, text)
        if found:
            line = _line_of(deployment, found[1]) if "::" in found[1] else None
            return Unsupported(message.format(found[1]), line=line, hint=hint)
    cause = root_cause(text).removeprefix("RuntimeError: ")
    stack = text.partition(_STACK)[2].partition("\n")[2]
    return ProgramFailed(f"C++ fails while {doing}: {cause}\n{stack}".rstrip())


def activity(step: str, count: int) -> str:
    """What the program was doing at a step; the program writes its steps into the file ``at``."""
    if step.startswith("input "):
        return f"running input {step.removeprefix('input ')} of {count}"
    known = {"load": "loading the saved trace", "inputs": "reading the inputs", "end": "about to end"}
    return known.get(step, "starting")


def _line_of(deployment: Deployment, kind: str) -> source.Line | None:
    """The source line of the first operation of a kind, in the program or in a block of it."""
    return next((operation.line for operation in deployment.program.operations if operation.kind == kind), None)
