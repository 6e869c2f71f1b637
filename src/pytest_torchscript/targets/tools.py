"""What a target may use beside its :class:`.Deployment`: the classes that it gives, and how errors become sentences."""

from __future__ import annotations

from ..diagnosis.error_text import root_cause
from ..diagnosis.ops import OperationLog, first_difference
from ..diagnosis.remedies import hint_for
from ..probing.run import Probe, classify
from ..tracing.program import Effect, Operation, Program, Value

__all__ = [
    "Effect",
    "Operation",
    "OperationLog",
    "Probe",
    "Program",
    "Value",
    "classify",
    "first_difference",
    "hint_for",
    "root_cause",
]
