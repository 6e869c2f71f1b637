"""How far a target's result reaches: run, built, lint or nothing; and what other programs than a trace make of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..naming import DEFAULT_TARGET
from ..result import OK, CellResult, CheckResult, GateResult, Status, Verdict
from .document import Document

__all__ = ["NOT_JUDGED", "Alternative", "alternatives", "proof_of", "verdict_with_proof", "weaker"]

RAN, BUILT, LINT, NOTHING = "ran", "built", "lint", "not proved"
_STRENGTH = (NOTHING, LINT, BUILT, RAN)
_WORDS: Mapping[str, str] = {RAN: "", BUILT: "built, not run", LINT: "lint", NOTHING: "not proved"}
_BY_STRENGTH = tuple(_WORDS[proof] for proof in _STRENGTH)
NOT_JUDGED = "not judged"


def _target(cell: CellResult) -> CheckResult | None:
    return next((check for check in cell.checks if check.name == "target"), None)


def proof_of(cell: CellResult) -> str | None:
    """``ran``, ``built``, ``lint`` or ``not proved``; None where the target has nothing of its own to prove."""
    check = _target(cell)
    if check is None or cell.target == DEFAULT_TARGET:
        return None
    proof = check.metrics.get("proof")
    if proof in _STRENGTH:
        return str(proof)
    # What fails is told as a failure, and why a check was not reached is its reason.
    return NOTHING if check.status is not Status.FAILED and cell.verdict == OK else None


def weaker(old: CellResult, new: CellResult) -> str | None:
    """What was proved before and is not now, in words; None when the proof is as strong as it was."""
    before, after = proof_of(old), proof_of(new)
    if before is None or after is None or _STRENGTH.index(after) >= _STRENGTH.index(before):
        return None
    check = _target(new)
    why = f": {check.reason}" if check is not None and check.reason else ""
    return f"target was {_WORDS[before] or 'run'}, is {_WORDS[after]} now{why}"


def verdict_with_proof(gate: GateResult, verdict: str) -> str:
    """``verdict`` with what it does not prove: ``ok (lint)``, or ``ok (neuron: lint)`` where there are other targets."""
    words: dict[str, str] = {}
    for cell in gate.cells:
        word = _WORDS.get(proof_of(cell) or RAN, "")
        check = _target(cell)
        # Beside a failure the proof of a pass says nothing; that the failure itself is lint does.
        if word and (cell.verdict == OK or (check is not None and check.verdict is Verdict.TARGET_UNSUPPORTED)):
            weakest = min(words.get(cell.target, word), word, key=_BY_STRENGTH.index)
            words[cell.target] = weakest
    if not words:
        return verdict
    alone = len({cell.target for cell in gate.cells}) == 1
    return f"{verdict} ({', '.join(word if alone else f'{target}: {word}' for target, word in words.items())})"


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One model at one size: its verdict as TorchScript, and as the ``program`` that its target makes instead."""

    program: str
    target: str
    id: str
    cell: str
    torchscript: str
    verdict: str
    dims: str
    why: str


def alternatives(document: Document) -> list[Alternative]:
    """What could leave TorchScript today: each cell of a target that makes a program of its own, by program and gate."""
    found = [
        _alternative(gate, cell, cell.program, check)
        for gate in document.gates
        for cell in gate.cells
        if cell.program and (check := _target(cell)) is not None
    ]
    return sorted(found, key=lambda entry: entry.program)


def _alternative(gate: GateResult, cell: CellResult, program: str, check: CheckResult) -> Alternative:
    others = [other.verdict.value for other in cell.checks if other is not check and other.verdict is not None]
    verdict = _verdict(check)
    why = check.reason or ""
    finding = next((finding for finding in check.findings if finding.message.strip()), None)
    if verdict != NOT_JUDGED and not verdict.startswith(OK) and finding is not None:
        place = f" ({finding.file}:{finding.line})" if finding.file and finding.line else ""
        why = f"{finding.message}{place}"
    # Its own classes of the dims; the cell's are those of the trace.
    dims = check.metrics.get(f"{cell.target}_dims", {})
    return Alternative(
        program=program,
        target=cell.target,
        id=gate.id,
        cell=cell.sizes,
        torchscript=others[0] if others else OK,
        verdict=verdict,
        dims=" ".join(f"{dim}={kind}" for dim, kind in dims.items()) or "-",
        why=why,
    )


def _verdict(check: CheckResult) -> str:
    """What the target made of the model; that only a budget failed is no matter of leaving."""
    if check.metrics.get("proved", check.status is Status.PASSED):
        return f"{OK} ({_WORDS[BUILT]})" if check.metrics.get("proof") == BUILT else OK
    return NOT_JUDGED if check.verdict is None or "proved" in check.metrics else check.verdict.value
