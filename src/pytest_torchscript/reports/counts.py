"""How the gates of a run ended, in one sentence: first what nobody should overlook."""

from __future__ import annotations

from ..baseline import State
from ..result import GateResult, Outcome, Verdict
from .document import Document

__all__ = ["is_news", "sentence"]

_NOT_JUDGED = "not judged: the test itself failed"
_ORDER = ("without a model or inputs", "crashed", "regressed", "failed", "fixed, still recorded", "stale", "known", "passed")
_LAST = ("skipped", "skipped without a model or inputs")


def is_news(gate: GateResult) -> bool:
    """Whether the gate fails for something that somebody has to mend, not for a record that is behind."""
    return gate.failed and gate.baseline != State.FIXED.value


def sentence(document: Document) -> str:
    """``2 not judged: the test itself failed; 1 regressed, 40 passed``."""
    found = dict.fromkeys((_NOT_JUDGED, *_ORDER, *_LAST), 0)
    found["stale"] = len(document.stale)
    for gate in document.gates:
        found[_ending(gate)] += 1
    first = found.pop(_NOT_JUDGED)
    rest = ", ".join(f"{count:,} {name}" for name, count in found.items() if count)
    return "; ".join(filter(None, [f"{first:,} {_NOT_JUDGED}" if first else "", rest])) or "none ran"


def _ending(gate: GateResult) -> str:
    if gate.verdict is Verdict.NOT_JUDGED:
        return _NOT_JUDGED
    if gate.failed and gate.baseline in (State.REGRESSED.value, State.FIXED.value):
        return "regressed" if gate.baseline == State.REGRESSED.value else "fixed, still recorded"
    if gate.outcome is Outcome.SKIPPED and gate.verdict is not None:
        return "skipped without a model or inputs"
    return {
        Outcome.FAILED: "failed",
        Outcome.ERROR: "without a model or inputs",
        Outcome.CRASHED: "crashed",
        Outcome.XFAILED: "known",
        Outcome.PASSED: "passed",
        Outcome.SKIPPED: "skipped",
    }[gate.outcome]
