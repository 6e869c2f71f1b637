"""The results of gates that say nothing of a model: why not, and whether that is a fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .. import gate
from ..diagnosis.remedies import remedy_for
from ..result import GateResult, Outcome, Verdict
from ..spec import GateSpec
from .body import is_skip
from .markers import Request
from .subjects import UnfitModel

__all__ = ["as_expected", "cut_off", "torn_down", "unfit"]


def unfit(subject: UnfitModel, spec: GateSpec, id: str, nodeid: str, *, inherited: bool) -> GateResult:
    """The result of a gate without a model or without inputs; it fails for a mistake, under any marker.

    A test that does not use the model that its own marker names is one too.
    """
    no_model = subject.verdict is Verdict.NO_MODEL
    if subject.mistake or (no_model and spec.model is not None and not inherited):
        return GateResult.judged(id, nodeid, gate.refused(subject.reason, spec))
    make = GateResult.without_model if no_model else GateResult.without_inputs
    return make(id, nodeid, subject.reason, inherited=inherited)


def cut_off(request: Request, nodeid: str, error: BaseException, check: str = "") -> GateResult:
    """The result of a gate that an exception ended: a fixture that failed or skipped, a timeout; ``check`` was under way."""
    during = f" in the check {check}" if check else ""
    reason = f"the gate was cut off{during}: {type(error).__name__}: {error}"
    # A fixture may build the model as no release of its library does any more.
    remedy = remedy_for(error_text=f"{type(error).__name__}: {error}") if isinstance(error, Exception) else None
    reason += f"; {remedy.hint}" if remedy is not None else ""
    if isinstance(error, pytest.fail.Exception) and str(error).startswith("Timeout"):
        return GateResult(id=request.id, nodeid=nodeid, outcome=Outcome.CRASHED, reason=reason)
    if is_skip(error):
        return GateResult(id=request.id, nodeid=nodeid, outcome=Outcome.SKIPPED, reason=reason)
    if check:
        return GateResult(id=request.id, nodeid=nodeid, outcome=Outcome.FAILED, reason=reason)
    return GateResult.not_judged(request.id, nodeid, reason)


def as_expected(result: GateResult) -> GateResult:
    """The result of a gate that failed where pytest's ``xfail`` expects a failure, of the gate or of the test itself."""
    if result.verdict is Verdict.NOT_JUDGED:
        return replace(result, outcome=Outcome.SKIPPED, verdict=None, reason=f"{result.reason}, as its xfail expects")
    return replace(result, outcome=Outcome.XFAILED) if result.outcome in (Outcome.FAILED, Outcome.ERROR) else result


def torn_down(result: GateResult) -> GateResult:
    """The result of a gate whose test failed in its teardown, after the gate; one that failed before has more to say."""
    if result.failed:
        return result
    found = GateResult.not_judged(result.id, result.nodeid, "the test's teardown failed", result.cells)
    return replace(found, seconds=result.seconds)
