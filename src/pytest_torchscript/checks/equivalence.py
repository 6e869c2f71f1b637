"""The trace against eager, at the very inputs it was made from."""

from __future__ import annotations

from collections.abc import Mapping

from .. import source
from ..diagnosis.cause import Cause
from ..diagnosis.lines import LineLog, branch
from ..nested import Mismatch, describe, tensors
from ..result import CheckResult, Verdict
from ..tracing.conversions import origin_of
from ..tracing.graph import graph_of
from ..tracing.trace import quiet
from .base import Check, Context

__all__ = ["Equivalence"]

_RUNS = 3
"""The profiling executor interprets, profiles, then optimises: the third run is the first of the final program."""


class Equivalence(Check):
    """Three consecutive runs under the default executor equal eager, every leaf by path, dtype, shape and structure."""

    name = "equivalence"
    requires = frozenset({"eager", "trace"})

    def run(self, context: Context) -> CheckResult:
        expected = context.expected if context.expected is not None else context.eager()
        if not any(True for _ in tensors(expected)) and isinstance(expected, (tuple, list, Mapping)):
            finding = context.finding(
                f"the model returns no tensor, but an empty {describe(expected)}: there is nothing to deploy"
            )
            return CheckResult.failed(self.name, Verdict.NOT_EQUIVALENT, finding)
        for run in range(1, _RUNS + 1):
            try:
                actual = context.scripted(profiled=True)
            except Exception as error:  # noqa: BLE001 - the program that torch made fails: that is the finding
                return CheckResult.failed(self.name, Verdict.NOT_EQUIVALENT, context.failure(error))
            mismatches = context.compare(actual, expected)
            if mismatches:
                return self._failed(context, mismatches, run)
        return CheckResult.passed(self.name, runs=_RUNS)

    def _failed(self, context: Context, mismatches: list[Mismatch], run: int) -> CheckResult:
        which = "" if run == 1 else f" in run {run} (earlier runs were right)"
        findings = [
            context.finding(
                f"the trace differs from eager on the same input{which}: {mismatch.label} by {mismatch.text}",
                path=mismatch.path,
                details={**mismatch.details(), "run": run},
            )
            for mismatch in mismatches
        ]
        hint = "let the forward do while tracing what it does in eager: no is_tracing() branch, no state kept in Python"
        causes = self._causes(context) or self._written_constants(context) or self._causes(context, steps=True)
        causes = causes or context.produced(mismatches[0].path)
        if not causes and (line := context.returned_at()) is not None:
            causes = [Cause(line, "returned at")]
        caused = context.caused(findings, causes, hint=hint, verdict=Verdict.NOT_EQUIVALENT)
        return CheckResult.failed(self.name, Verdict.NOT_EQUIVALENT, *caused)

    def _causes(self, context: Context, *, steps: bool = False) -> list[Cause]:
        """Where the forward goes another way while it is traced; with ``steps``, also within one line."""
        plain, tracing = LineLog(steps=steps), LineLog(steps=steps)
        with quiet():
            try:
                plain.record(lambda: context.call.run(context.model))
                context.restore()
                tracing.record(lambda: graph_of(context.model, context.call))
            except Exception:  # noqa: BLE001 - no line to name then
                return []
            finally:
                context.restore()
        parted = branch(plain, tracing, asked_by_caller=True)
        return [Cause(parted, "branches at", "goes another way while tracing")] if parted else []

    @staticmethod
    def _written_constants(context: Context) -> list[Cause]:
        """Where the program writes into one of its own constants: made once while tracing, changed by every run."""
        graph = context.module.inlined_graph  # made anew by each look; its nodes die with it
        for node in graph.nodes():
            if not node.kind().endswith("_"):
                continue
            written = origin_of(next(iter(node.inputs()))).node()
            if written.kind() == "prim::Constant":
                line = source.innermost(source.parse_stack(node.sourceRange()))
                if line is not None:
                    return [Cause(line, "written at", "into a constant of the trace, which keeps it from run to run")]
        return []
