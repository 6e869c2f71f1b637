"""The trace itself."""

from __future__ import annotations

from typing import Any

from ..diagnosis.hints import hint_for, root_cause
from ..errors import Unavailable
from ..result import CheckResult, Verdict
from ..tracing.trace import TraceError, trace
from .base import Check, Context

__all__ = ["Trace"]


class Trace(Check):
    """``torch.jit.trace`` succeeds (``check_trace=False``); what the tracer warned of is kept as evidence."""

    name = "trace"
    requires = frozenset({"eager"})
    numeric = False

    def run(self, context: Context) -> CheckResult:
        try:
            traced = trace(context.model, context.call)
        except Unavailable as error:
            return CheckResult.failed(self.name, Verdict.UNAVAILABLE, context.finding(str(error)))
        except TraceError as error:
            return CheckResult.failed(self.name, Verdict.UNTRACEABLE, self._finding(context, error))
        finally:
            context.restore()
        context.traced = traced
        warnings = tuple(
            context.finding(entry.message, line=entry.line, where="tracer warned at") for entry in traced.diagnostics
        )
        metrics: dict[str, Any] = {"tracer_warnings": len(warnings)}
        if not traced.strict:
            metrics["strict"] = False
            note = context.finding("the model returns a dict: traced with strict=False", hint="deploy it with strict=False too")
            warnings = (note, *warnings)
        return CheckResult.passed(self.name, findings=warnings, **metrics)

    def _finding(self, context: Context, error: TraceError) -> Any:
        line, where = error.line, "raised at"
        if line is None:
            # torch refused the outputs after forward had returned: the return is what to change.
            line, where = context.returned_at(), "returned at"
        text = str(error.cause)
        return context.finding(
            root_cause(error.cause),
            line=line,
            where=where,
            hint=hint_for(text) or "make the forward a plain function of tensors; torch.jit.trace follows tensors only",
        )
