"""How far a target's result reaches: run, built, lint or nothing; and what ``torch.export`` makes of the same models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..result import CellResult, CheckResult, GateResult, Status, Verdict

__all__ = ["Leaver", "leavers", "proof_of", "verdict_with_proof", "weaker"]

RAN, BUILT, LINT, NOTHING = "ran", "built", "lint", "not proved"
_STRENGTH = (NOTHING, LINT, BUILT, RAN)
_WORDS = {RAN: "", BUILT: "built, not run", LINT: "lint", NOTHING: "not proved"}
_BY_STRENGTH = [_WORDS[proof] for proof in _STRENGTH]
# Of this one all other checks are the proof.
_PLAIN = "torchscript"
_EXPORT = "export"


def _target(cell: CellResult) -> CheckResult | None:
    return next((check for check in cell.checks if check.name == "target"), None)


def proof_of(cell: CellResult) -> str | None:
    """``ran``, ``built``, ``lint`` or ``not proved``; None where the target has nothing of its own to prove."""
    check = _target(cell)
    if check is None or cell.target == _PLAIN:
        return None
    proof = check.metrics.get("proof")
    if proof in _STRENGTH:
        return str(proof)
    # What fails is told as a failure, and why a check was not reached is its reason.
    return NOTHING if check.status is not Status.FAILED and cell.verdict == "ok" else None


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
        if word and (cell.verdict == "ok" or (check is not None and check.verdict is Verdict.TARGET_UNSUPPORTED)):
            weakest = min(words.get(cell.target, word), word, key=_BY_STRENGTH.index)
            words[cell.target] = weakest
    if not words:
        return verdict
    alone = len({cell.target for cell in gate.cells}) == 1
    return f"{verdict} ({', '.join(word if alone else f'{target}: {word}' for target, word in words.items())})"


@dataclass(frozen=True, kw_only=True)
class Leaver:
    """One model at one size: its verdict as TorchScript, and as ``torch.export``."""

    id: str
    cell: str
    torchscript: str
    export: str
    dims: str
    why: str


def leavers(gates: Iterable[GateResult]) -> list[Leaver]:
    """What could leave TorchScript today: each cell of the target ``export``, sorted by id."""
    return [
        _leaver(gate, cell, check)
        for gate in sorted(gates, key=lambda gate: (gate.id, gate.nodeid))
        for cell in gate.cells
        if cell.target == _EXPORT and (check := _target(cell)) is not None
    ]


def _leaver(gate: GateResult, cell: CellResult, check: CheckResult) -> Leaver:
    others = [other.verdict.value for other in cell.checks if other is not check and other.verdict is not None]
    status = {Status.PASSED: "ok", Status.SKIPPED: "not judged"}.get(check.status) or (
        check.verdict.value if check.verdict else ""
    )
    why = check.reason or ""
    if "proved" in check.metrics:
        # Only the budget failed, which is no matter of leaving.
        status = "ok" if check.metrics["proved"] else "not judged"
    if status == "ok" and check.metrics.get("proof") == BUILT:
        status = f"ok ({_WORDS[BUILT]})"
    finding = next((finding for finding in check.findings if finding.message.strip()), None)
    if status not in ("not judged",) and not status.startswith("ok") and finding is not None:
        place = f" ({finding.file}:{finding.line})" if finding.file and finding.line else ""
        why = f"{finding.message}{place}"
    dims = check.metrics.get("export_dims", {})
    return Leaver(
        id=gate.id,
        cell=cell.label.removeprefix(_EXPORT).strip(),
        torchscript=others[0] if others else "ok",
        export=status,
        dims=" ".join(f"{dim}={kind}" for dim, kind in dims.items()) or "-",
        why=why,
    )
