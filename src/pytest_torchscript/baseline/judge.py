"""A gate against the baseline: its state, its outcome, and what to tell the user; what is stale; what an update records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from ..naming import cell_parts
from ..result import GateResult, Outcome, Verdict
from .compare import compare
from .file import PREFIX, UPDATE, Baseline, BaselineError
from .records import UNKNOWN, CellRecord, Entry, cells_of

__all__ = ["Judgement", "State", "facts", "judge", "stale", "update"]

_MOST_PHRASES = 5
_NO_REASON = "no reason is given"
# What ended so may still have the cells that are recorded of it.
_CUT_SHORT = (Outcome.SKIPPED, Outcome.ERROR, Outcome.CRASHED)


class State(str, Enum):
    """What a gate is, compared with the baseline."""

    OK = "ok"
    NEW = "NEW"
    KNOWN = "KNOWN"
    REGRESSED = "REGRESSED"
    FIXED = "FIXED"
    STALE = "STALE"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A gate against the baseline: its state (None if it was not judged), its outcome, and what to tell the user."""

    state: State | None
    outcome: Outcome
    message: str = ""

    def apply(self, gate: GateResult) -> GateResult:
        """The gate with this outcome, state and message; a crash that counts stays one, and so does an error."""
        outcome = self.outcome
        if outcome is Outcome.FAILED and gate.outcome is Outcome.CRASHED:
            outcome = gate.outcome
        elif outcome is Outcome.FAILED and gate.verdict is not None:
            outcome = Outcome.ERROR
        # What was looked for, and not found, is told nowhere else.
        reasons = [self.message, gate.reason] if gate.verdict is not None else [self.message or gate.reason]
        return replace(
            gate,
            outcome=outcome,
            baseline=self.state.value if self.state else None,
            reason="; ".join(filter(None, reasons)) or None,
        )


def judge(gate: GateResult, baseline: Baseline | None) -> Judgement:
    """Judge a gate by its cells. Without a baseline, and for a gate that tells nothing of a model, its own outcome stands.

    Of several cells the worst decides: regressed, new and failing, fixed, known, new and passing, ok. A cell that is
    recorded and gone changes no state, since the run may have left it out on purpose: see :func:`stale`.
    """
    if baseline is None or not _tells(gate, baseline):
        return Judgement(state=None, outcome=gate.outcome)
    entry = baseline.entries.get(gate.id, Entry(cells={}))
    found = cells_of(gate)
    changes = compare(entry.cells, found)
    record = f"run with {UPDATE}"
    line = f'the line "{PREFIX}{gate.id}" in {baseline.path.name}'
    if changes.worse:
        told = [*_told(changes.worse), *_told(changes.failing), f"mend it, or if this is meant {record}"]
        return Judgement(state=State.REGRESSED, outcome=Outcome.FAILED, message="; ".join(told))
    if changes.failing:
        gone = [f"{cell}, recorded as {entry.cells[cell].verdict}, is gone" for cell in changes.lost]
        how = f"not recorded in {baseline.path.name}: mend it, or {record} and give the reason there"
        told = [*_told(changes.failing), *_told(gone), how]
        return Judgement(state=State.NEW, outcome=Outcome.FAILED, message="; ".join(told))
    if changes.fixed:
        failing = any(cell.failures for cell in found.values())
        how = f"bring this entry up to date: {record}" if failing else f"remove this entry: {record}, or delete {line}"
        return Judgement(state=State.FIXED, outcome=Outcome.FAILED, message="; ".join([*_told(changes.fixed), how]))
    notes = [*_told(changes.passing), *_told(changes.better)]
    if notes:
        notes.append(f"{'not recorded' if changes.passing else 'the record is behind'}: {record} to keep it so")
    if changes.known:
        reason = (entry.reason or "").strip()
        why = f"reason: {reason}" if reason else f"{_NO_REASON}: fill in reason on {line}"
        return Judgement(state=State.KNOWN, outcome=Outcome.XFAILED, message="; ".join([*_told(changes.known), why, *notes]))
    state = State.NEW if changes.passing else State.OK
    return Judgement(state=state, outcome=Outcome.PASSED, message="; ".join(notes))


def facts(message: str) -> str:
    """What the message of a judgement says of the gate, without the advice, which is the same for many gates."""
    return "; ".join(part for part in message.split("; ") if UPDATE not in part and not part.startswith(_NO_REASON))


def _tells(gate: GateResult, baseline: Baseline) -> bool:
    """Whether the gate can be better or worse than its record: one that did not run cannot.

    A gate that was skipped because there is no model lost the one that is recorded of it.
    """
    if gate.outcome is Outcome.SKIPPED:
        return gate.verdict is not None and gate.id in baseline.entries
    return gate.verdict is not Verdict.NOT_JUDGED


def _told(phrases: Iterable[str]) -> list[str]:
    """The first few, and how many more there are."""
    every = list(phrases)
    more = len(every) - _MOST_PHRASES
    return [*every[:_MOST_PHRASES], *([f"and {more} more"] if more > 0 else [])]


def stale(baseline: Baseline, collected: Iterable[str], gates: Iterable[GateResult] = ()) -> list[str]:
    """What is recorded and gated by no test: ids of gates, and ``<id> <cell>`` where a gate lost a cell. Sorted.

    To be asked only after a complete, unfiltered run: no ``-k``, no paths, no ``--torchscript-target``, not stopped early.

    Args:
        baseline: what is recorded.
        collected: the id of every gate that a collected test asks for, whether it ran or not: a gate that was skipped,
            deselected, not judged or crashed is not stale.
        gates: the results. A gate of several models has ids of its own, ``<collected id>-<class>``, known only once it
            ran; while it has not, every such id counts as gated.
    """
    asked = set(collected)
    results = {gate.id: gate for gate in gates}
    judged = {id for id, gate in results.items() if gate.outcome not in _CUT_SHORT}
    ran = {id for id in asked if id in judged or any(other.startswith(f"{id}-") for other in judged - asked)}
    waiting = tuple(f"{id}-" for id in asked - ran)
    found = []
    for id, entry in baseline.entries.items():
        if id in judged:
            lost = compare(entry.cells, cells_of(results[id])).lost
            found += [f"{id} {cell}" for cell in lost]
        elif id not in asked and id not in results and not id.startswith(waiting):
            found.append(id)
    return sorted(found)


# What an update records


def update(baseline: Baseline, gates: Iterable[GateResult]) -> Baseline:
    """The baseline with the entries of what ran, and nothing else touched.

    Cells of a target for which a gate did not run now stay. A reason stays while the gate fails with a verdict that was
    recorded with it; another failure asks for another reason.

    Raises:
        BaselineError: two tests share a gate id, so that one line would have to hold both.
    """
    entries = dict(baseline.entries)
    owners: dict[str, str] = {}
    for gate in gates:
        if not _tells(gate, baseline):
            continue
        owner = owners.setdefault(gate.id, gate.nodeid)
        if owner != gate.nodeid:
            raise BaselineError(
                f"baseline {baseline.path}: {owner} and {gate.nodeid} share the gate id {gate.id!r}; give one of them an id="
            )
        entries[gate.id] = _entry(entries.get(gate.id), cells_of(gate))
    return replace(baseline, entries=entries)


def _entry(former: Entry | None, cells: Mapping[str, CellRecord]) -> Entry:
    targets = {cell_parts(name)[0] for name in cells}
    recorded = {} if former is None or UNKNOWN in targets else former.cells
    kept = {name: cell for name, cell in recorded.items() if cell_parts(name)[0] not in {*targets, UNKNOWN}}
    entry = Entry(cells={**kept, **cells})
    if not entry.failures:
        return entry
    same = former is not None and entry.failures & former.failures
    return replace(entry, reason=(former.reason or "") if former is not None and same else "")
