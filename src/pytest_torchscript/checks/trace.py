"""The trace itself."""

from __future__ import annotations

from typing import Any

from ..cell import Cell
from ..diagnosis.error_text import root_cause, text_of
from ..diagnosis.refused import refused_operation
from ..errors import Unavailable
from ..explain import advice
from ..result import Finding, Verdict
from ..tracing.trace import TraceError, trace
from .base import Check, Evidence, Found

__all__ = ["Trace"]


class Trace(Check):
    """``torch.jit.trace`` succeeds (``check_trace=False``); what the tracer warned of is kept as evidence."""

    name = "trace"
    requires = frozenset({"eager"})
    gives = frozenset({"traced"})
    numeric = False

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        try:
            with cell.trying():
                traced = trace(cell.model, cell.call)
        except Unavailable as error:
            return self.failed(Verdict.UNAVAILABLE, cell.finding(str(error)))
        except TraceError as error:
            return self.failed(Verdict.UNTRACEABLE, self._finding(cell, error))
        warnings = [cell.finding(entry.message, line=entry.line, where="tracer warned at") for entry in traced.diagnostics]
        metrics: dict[str, Any] = {"tracer_warnings": len(warnings)}
        if not traced.strict:
            metrics["strict"] = False
            note = cell.finding("the model returns a dict: traced with strict=False", hint="deploy it with strict=False too")
            warnings = [note, *warnings]
        return self.passed(warnings, gives={"traced": traced}, **metrics)

    @staticmethod
    def _finding(cell: Cell, error: TraceError) -> Finding:
        text = text_of(error.cause)
        line, where = error.line, "raised at"
        if line is None:
            # torch checks some operations only after the forward has returned.
            with cell.trying():
                line = refused_operation(cell.model, cell.call, text)
        if line is None:
            # torch refused the outputs, after the forward had returned: its return statement has to change.
            line, where = cell.returned_at(), "returned at"
        hint = advice(cell, Verdict.UNTRACEABLE, error=text, lines=[line] if line else [])
        usual = "make the forward a plain function of tensors; torch.jit.trace follows tensors only"
        return cell.finding(root_cause(error.cause), line=line, where=where, hint=hint or usual)
