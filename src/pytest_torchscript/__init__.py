"""A pytest plugin that gates the TorchScript trace of the model under test.

pytest imports this package in every run, so the names below are loaded when first used: torch does not come along.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arguments import Argument
    from .errors import GateError, SpecError, SubjectError
    from .result import CellResult, CheckResult, Finding, GateFailed, GateResult, Outcome, Status, Verdict
    from .spec import Tolerance
    from .targets import Deployment, Missing, NotJudged, Rule, Target, Unsupported

__all__ = [
    "Argument",
    "CellResult",
    "CheckResult",
    "Deployment",
    "Finding",
    "GateError",
    "GateFailed",
    "GateResult",
    "Missing",
    "NotJudged",
    "Outcome",
    "Rule",
    "SpecError",
    "Status",
    "SubjectError",
    "Target",
    "Tolerance",
    "Unsupported",
    "Verdict",
    "__version__",
]

__version__ = "0.1.0"

_HOMES: Mapping[str, str] = {
    "Argument": "arguments",
    "GateError": "errors",
    "GateFailed": "result",
    "SpecError": "errors",
    "SubjectError": "errors",
    "CellResult": "result",
    "CheckResult": "result",
    "Finding": "result",
    "GateResult": "result",
    "Outcome": "result",
    "Status": "result",
    "Verdict": "result",
    "Tolerance": "spec",
    "Deployment": "targets",
    "Missing": "targets",
    "NotJudged": "targets",
    "Rule": "targets",
    "Target": "targets",
    "Unsupported": "targets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
