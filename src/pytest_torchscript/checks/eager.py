"""The model itself, before any trace."""

from __future__ import annotations

from dataclasses import replace

from ..diagnosis.ops import OperationLog, first_difference, first_non_finite
from ..nested import Mismatch, describe, leaves, tensors
from ..result import CheckResult, Finding, Verdict
from ..tracing.trace import quiet
from .base import Check, Context, finite, state_writes

__all__ = ["Eager"]


class Eager(Check):
    """The model runs, twice, with equal and finite outputs."""

    name = "eager"

    def run(self, context: Context) -> CheckResult:
        try:
            first = context.eager(restore=False)
            second = context.eager()
        except Exception as error:  # noqa: BLE001 - whatever the model raises is the finding
            context.restore()
            return CheckResult.failed(self.name, Verdict.EAGER_FAILURE, self._refused(context, error))
        context.expected = first
        if not finite(first):
            return self._non_finite(context, first)
        mismatches = context.compare(second, first)
        if mismatches:
            return self._non_deterministic(context, mismatches)
        return CheckResult.passed(self.name, outputs={path: describe(leaf) for path, leaf in leaves(first)})

    @staticmethod
    def _refused(context: Context, error: Exception) -> Finding:
        """The model's own error; beyond what its config allows, the size is the likelier cause than what the error names."""
        failure = context.failure(error, verdict=Verdict.EAGER_FAILURE)
        sizes = context.dims.sizes(context.inputs)
        beyond = {dim: limit for dim, limit in context.limits.items() if sizes.get(dim, 0) > limit}
        if not beyond:
            return failure
        told = ", ".join(
            f"{dim} {sizes[dim]} is beyond the {limit} positions of the model's config" for dim, limit in beyond.items()
        )
        return replace(failure, message=f"{failure.message} ({told})", hint=f"gate it at {min(beyond.values())} at most")

    def _recorded(self, context: Context) -> OperationLog:
        log = OperationLog()
        with quiet():
            try:
                log.record(lambda: context.call.run(context.model))
            finally:
                context.restore()
        return log

    def _non_finite(self, context: Context, output: object) -> CheckResult:
        findings: list[Finding] = []
        for path, leaf in tensors(output):
            if (leaf.is_floating_point() or leaf.is_complex()) and not leaf.isfinite().all():
                nan, infinite = int(leaf.isnan().sum()), int(leaf.isinf().sum())
                at = leaf.isfinite().logical_not().nonzero()[0].tolist()
                operation = first_non_finite(self._recorded(context), nan=nan > 0) if not findings else None
                findings.append(
                    context.finding(
                        f"output {path!r} is not finite: {nan} NaN and {infinite} infinite of {leaf.numel()} values, "
                        f"first at {at}",
                        path=path,
                        line=operation.line if operation else None,
                        where="first at",
                        hint="give inputs the model answers with finite numbers; a fully masked row gives NaN after softmax",
                        details={"nan": nan, "infinite": infinite, "index": at},
                    )
                )
        return CheckResult.failed(self.name, Verdict.NON_FINITE, *findings)

    def _non_deterministic(self, context: Context, mismatches: list[Mismatch]) -> CheckResult:
        # From the same state, is it the same answer? Then it is no randomness but memory, and `purity` says of what.
        again = []
        for _ in range(2):
            context.state.restore(thorough=True)
            again.append(context.eager())
        context.state.restore(thorough=True)
        context.random = bool(context.compare(again[1], again[0]))
        if context.random:
            operation = first_difference(self._recorded(context), self._recorded(context), slack=0.0)
            line, where = (operation.line if operation else None), "first differs at"
            hint = "a trace repeats one random draw, or draws anew in every run: switch it off in eval mode"
            hint = context.advice(Verdict.NON_DETERMINISTIC, lines=[line] if line else []) or hint
        else:
            line, where = next((line for _, line in state_writes(context) if line), None), "state written at"
            hint = "keep no state between calls: take it as an input, return it as an output"
        kept = "" if context.random else ", because the model remembers the call before"
        findings = [
            context.finding(
                f"two runs on the same input differ{kept}: {mismatch.label} by {mismatch.text}",
                path=mismatch.path,
                details=mismatch.details(),
                line=None if index else line,
                where=where,
                hint=None if index else hint,
            )
            for index, mismatch in enumerate(mismatches)
        ]
        return CheckResult.failed(self.name, Verdict.NON_DETERMINISTIC, *findings)
