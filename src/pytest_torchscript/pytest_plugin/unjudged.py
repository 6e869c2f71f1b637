"""The results of gates that say nothing of a model: why not, and whether that is a fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ..result import GateResult, Outcome, Verdict
from .body import is_skip
from .markers import Request
from .subjects import UnfitModel

__all__ = ["cut_off", "torn_down", "unfit"]


def unfit(subject: UnfitModel, id: str, nodeid: str, *, inherited: bool) -> GateResult:
    """The result of a gate without a model or without inputs: a mistake is an error under any marker."""
    make = GateResult.without_model if subject.verdict is Verdict.NO_MODEL else GateResult.without_inputs
    return make(id, nodeid, subject.reason, inherited=inherited and not subject.mistake)


def cut_off(request: Request, nodeid: str, error: BaseException) -> GateResult:
    """The result of a gate that an exception ended: a fixture that failed or skipped, a timeout."""
    reason = f"the gate was cut off: {type(error).__name__}: {error}"
    if isinstance(error, pytest.fail.Exception) and str(error).startswith("Timeout"):
        return GateResult(id=request.id, nodeid=nodeid, outcome=Outcome.CRASHED, reason=reason)
    if is_skip(error):
        return GateResult(id=request.id, nodeid=nodeid, outcome=Outcome.SKIPPED, reason=reason)
    return GateResult.not_judged(request.id, nodeid, reason)


def torn_down(gate: GateResult) -> GateResult:
    """The result of a gate whose test failed in its teardown, after the gate; one that failed before has more to say."""
    if gate.failed:
        return gate
    found = GateResult.not_judged(gate.id, gate.nodeid, "the test's teardown failed", gate.cells)
    return replace(found, seconds=gate.seconds)
