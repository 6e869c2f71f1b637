"""The model itself, before any trace."""

from __future__ import annotations

from dataclasses import replace

from ..cell import Cell
from ..diagnosis.ops import OperationLog, first_difference, first_non_finite
from ..explain import advice, lines_of
from ..nested import Mismatch, describe, leaves, nan_free, numbers
from ..result import Finding, Verdict
from .base import Check, Evidence, Found

__all__ = ["Eager"]


class Eager(Check):
    """The model runs, twice, with equal outputs that hold no NaN."""

    name = "eager"
    gives = frozenset({"expected", "random", "refused"})

    def run(self, cell: Cell, evidence: Evidence) -> Found:
        survey = cell.survey
        if survey.error is not None:
            return self.failed(Verdict.EAGER_FAILURE, _refused(cell, survey.error), gives={"refused": True})
        first, second = survey.outputs
        if not nan_free(first):
            return self.failed(Verdict.NON_FINITE, *_non_finite(cell, first), gives={"expected": first})
        mismatches = cell.compare(second, first)
        if mismatches:
            return self._non_deterministic(cell, first, mismatches)
        outputs = {path: describe(leaf) for path, leaf in leaves(first)}
        return self.passed(gives={"expected": first}, outputs=outputs)

    def _non_deterministic(self, cell: Cell, first: object, mismatches: list[Mismatch]) -> Found:
        # Two runs from the same state tell randomness from memory: if they agree, the model keeps state from call to call.
        again = []
        for _ in range(2):
            cell.restore_all()
            again.append(cell.eager())
        cell.restore_all()
        random = bool(cell.compare(again[1], again[0]))
        if random:
            operation = first_difference(_recorded(cell), _recorded(cell), slack=0.0)
            line, where = (operation.line if operation else None), "first differs at"
            hint = "a trace repeats one random draw, or draws anew in every run: switch it off in eval mode"
            hint = advice(cell, Verdict.NON_DETERMINISTIC, lines=[line] if line else []) or hint
        else:
            changed = (*cell.survey.parameters, *cell.survey.buffers, *cell.survey.attributes)
            line, where = next((line for _, line in lines_of(cell, changed) if line), None), "state written at"
            hint = "keep no state between calls: take it as an input, return it as an output"
        kept = "" if random else ", because the model remembers the call before"
        findings = [
            cell.finding(
                f"two runs on the same input differ{kept}: {mismatch.label} by {mismatch.text}",
                path=mismatch.path,
                details=mismatch.details(),
                line=None if index else line,
                where=where,
                hint=None if index else hint,
            )
            for index, mismatch in enumerate(mismatches)
        ]
        return self.failed(Verdict.NON_DETERMINISTIC, *findings, gives={"expected": first, "random": random})


def _refused(cell: Cell, error: Exception) -> Finding:
    """The finding for the model's own error. A size beyond what the config allows is named as the likely cause."""
    failure = cell.failure(error, verdict=Verdict.EAGER_FAILURE)
    sizes = cell.dims.sizes(cell.inputs)
    beyond = {dim: limit for dim, limit in cell.limits.items() if sizes.get(dim, 0) > limit}
    if not beyond:
        return _resized(cell, failure)
    words = ", ".join(
        f"{dim} {sizes[dim]} is beyond the {limit} positions of the model's config" for dim, limit in beyond.items()
    )
    return replace(failure, message=f"{failure.message} ({words})", hint=f"gate it at {min(beyond.values())} at most")


def _resized(cell: Cell, failure: Finding) -> Finding:
    """Where the gate resized a float input of two axes, its second one may hold features and not a sequence."""
    inputs = cell.call.tensors()
    for (path, axis), size in cell.resized.items():
        tensor = inputs[path]
        if axis == 1 and tensor.ndim == 2 and tensor.is_floating_point():
            asked = f"seq_len={tensor.shape[1]}"
            said = f"the gate resized axis 1 of {path!r} from {size} to {tensor.shape[1]}, as {asked} asks"
            hint = (
                f'if axis 1 of {path!r} holds features, leave out {asked}, or name the axes: dims={{"{path}": {{0: "seq"}}}}; '
                "an axis that is not named keeps its size"
            )
            return replace(failure, message=f"{failure.message} ({said})", hint=hint)
    return failure


def _recorded(cell: Cell) -> OperationLog:
    log = OperationLog()
    with cell.trying():
        log.record(lambda: cell.call.run(cell.model))
    return log


def _non_finite(cell: Cell, output: object) -> list[Finding]:
    findings: list[Finding] = []
    for path, leaf in numbers(output):
        if leaf.isnan().any():
            nan, first = int(leaf.isnan().sum()), leaf.isnan().nonzero()[0].tolist()
            operation = first_non_finite(_recorded(cell), nan=True) if not findings else None
            findings.append(
                cell.finding(
                    f"output {path!r} holds NaN: {nan} of {leaf.numel()} values, first at {first}",
                    path=path,
                    line=operation.line if operation else None,
                    where="first at",
                    hint="give inputs the model answers with numbers; a fully masked row gives NaN after softmax",
                    details={"nan": nan, "index": first},
                )
            )
    return findings
