"""The comment on a pull request: what became worse, better, new or gone from one document to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ..baseline import cells_of, compare
from ..result import OK, CellResult, CheckResult, Finding, GateResult, Outcome, Status, Verdict
from .document import Document
from .markup import MOST_OF_A_NAME, Page, code, prose
from .proof import verdict_with_proof, weaker

__all__ = ["COMMENT_LIMIT", "diff"]

# GitHub refuses a comment above 65,536 characters.
COMMENT_LIMIT = 60_000

_MOST_CHECKS = 8
_MOST_PLACES = 3


def diff(old: Document, new: Document, *, limit: int = COMMENT_LIMIT) -> tuple[str, bool]:
    """What became worse, better, new or gone from one document to another, for a pull request; and whether it regressed.

    It regressed when a cell has a verdict, or lost a dynamic dim, that it did not before, or a new one fails; unless the
    gate is expected to fail (``xfailed``), which somebody wrote down; and when a test fails, so that its model is no longer
    judged. A gate that is gone is shown and no regression, for
    deleting a model is no defect of it; a document without any gate, after one that had some, is one.
    """
    before = {gate.id: gate for gate in old.gates}
    after = {gate.id: gate for gate in new.gates}
    found: dict[str, list[str]] = {}
    regressed = bool(before) and not after
    for id in sorted({*before, *after}):
        for kind, line in _changes(before.get(id), after.get(id)):
            found.setdefault(kind, []).append(line)
            regressed = regressed or kind in ("worse", "failing", "lost")
    if not found:
        return f"TorchScript gates: no change in {len(after):,} {'gate' if len(after) == 1 else 'gates'}.\n", regressed
    titles = {
        "worse": "Worse",
        "failing": "New, and failing",
        "accepted": "Worse, and expected to fail",
        "better": "Better",
        "new": "New",
        "gone": "Gone",
        "lost": "No longer judged, as the test fails",
        "unjudged": "No longer judged",
        "weaker": "Proved by less",
    }
    counts = Counter({kind: len(lines) for kind, lines in found.items()})
    told = ", ".join(f"{counts[kind]:,} {title.lower()}" for kind, title in titles.items() if counts[kind])
    page = Page([f"## TorchScript gates: {told}"], limit)
    if before and not after:
        page.section([], ["**The new report holds no gate at all.**"], "notes")
    for kind, title in titles.items():
        page.section([f"### {title}", ""], found.get(kind, []), f"entries of '{title}'", 0.6)
    return page.text(), regressed


def _changes(old: GateResult | None, new: GateResult | None) -> Iterator[tuple[str, str]]:
    """What to tell of one gate: the kind of each change, and its line or lines."""
    if new is None:
        assert old is not None
        yield "gone", f"- {code(old.id)}: was {prose(_state(old))}"
        return
    name = code(new.id)
    if old is None or _is_unjudged(old):
        if old is None or not _is_unjudged(new):
            yield _new(old, new)
        return
    if _is_unjudged(new):
        why = f": {prose(new.reason)}" if new.reason else ""
        kind, mark = ("lost", "✗ ") if new.failed else ("unjudged", "")
        yield kind, f"- {mark}{name}: was {prose(_state(old))}, is {prose(_state(new))} now{why}"
        return
    changes = compare(cells_of(old), cells_of(new))
    worse = [*changes.worse, *changes.failing]
    if worse:
        accepted = new.outcome is Outcome.XFAILED
        why = f" ({prose(new.reason)})" if accepted and new.reason else ""
        line = f"- ✗ {name}: {_joined(worse)}{why}"
        yield ("accepted" if accepted else "worse"), "\n".join([line, *_failing_checks(new, "  ")])
    if changes.fixed or changes.better:
        yield "better", f"- {name}: {_joined([*changes.fixed, *changes.better])}"
    if changes.passing:
        yield "new", f"- {name}: {_joined(changes.passing)}"
    if changes.lost:
        yield "gone", f"- {name}: {', '.join(code(cell) for cell in changes.lost[:_MOST_CHECKS])}{_more(changes.lost)}"
    weaker = _weaker(old, new)
    if weaker:
        yield "weaker", f"- {name}: {_joined(list(weaker.values()))}"
    skipped = _newly_skipped(old, new, set(weaker))
    if skipped:
        yield "unjudged", f"- {name}: {_joined(skipped)}"


def _is_unjudged(gate: GateResult) -> bool:
    """Whether the gate tells nothing of its model: its test was skipped, or failed. A model that is gone tells something."""
    return gate.verdict is Verdict.NOT_JUDGED or (gate.outcome is Outcome.SKIPPED and gate.verdict is None)


def _new(old: GateResult | None, new: GateResult) -> tuple[str, str]:
    fails = new.failed and bool(new.verdicts)
    before = "not there before" if old is None else "was skipped" if old.outcome is Outcome.SKIPPED else "was not judged"
    line = f"- {'✗ ' if fails else ''}{code(new.id)}: {prose(_state(new))}, {before}"
    return ("failing" if fails else "new"), "\n".join([line, *(_failing_checks(new, "  ") if fails else [])])


def _state(gate: GateResult) -> str:
    if gate.outcome is Outcome.SKIPPED and gate.verdict is None:
        return str(gate.outcome.value)
    return verdict_with_proof(gate, ", ".join(gate.verdicts) or OK)


def _joined(phrases: Sequence[str]) -> str:
    return "; ".join(prose(phrase) for phrase in phrases[:_MOST_CHECKS]) + _more(phrases)


def _more(entries: Sequence[str]) -> str:
    return f" and {len(entries) - _MOST_CHECKS:,} more" if len(entries) > _MOST_CHECKS else ""


def _weaker(old: GateResult, new: GateResult) -> dict[str, str]:
    """What a target proved before and does not now, by cell: a pass all the same."""
    before = {cell.name: cell for cell in old.cells}
    pairs = ((cell.name, cell) for cell in new.cells if cell.verdict == OK)
    found = {name: weaker(before[name], cell) for name, cell in pairs if name in before}
    return {name: f"{name}: {words}" for name, words in found.items() if words}


def _newly_skipped(old: GateResult, new: GateResult, told: set[str]) -> list[str]:
    """Checks that ran before and are skipped in a cell where nothing fails: less is proved, and no verdict says so.

    Of the cells in ``told`` the check ``target`` is told elsewhere.
    """
    ran = {(cell.name, check.name) for cell in old.cells for check in cell.checks if check.status is not Status.SKIPPED}
    return [
        f"{cell.name}: {check.name} is skipped now: {check.reason}"
        for cell in new.cells
        if cell.verdict == OK
        for check in cell.checks
        if check.status is Status.SKIPPED
        and (cell.name, check.name) in ran
        and not (check.name == "target" and cell.name in told)
    ]


# Failing checks


def _failing_checks(gate: GateResult, indent: str = "") -> Iterator[str]:
    """Each failing check once, with the cells in which it fails for the same place; message, line and remedy."""
    groups: dict[tuple[Any, ...], tuple[CheckResult, list[CellResult]]] = {}
    for cell in gate.cells:
        for check in cell.checks:
            if check.status is Status.FAILED:
                places = tuple((finding.file, finding.line) for finding in check.findings if finding.file)
                groups.setdefault((check.name, check.verdict, places), (check, []))[1].append(cell)
    for check, cells in list(groups.values())[:_MOST_CHECKS]:
        named = ", ".join(code(cell.name) for cell in cells[:_MOST_PLACES])
        named += f" and {len(cells) - _MOST_PLACES:,} more cells" if len(cells) > _MOST_PLACES else ""
        verdict = check.verdict.value if check.verdict else ""
        message = next((prose(finding.message) for finding in check.findings if finding.message.strip()), "no message")
        yield f"{indent}- **{prose(check.name, MOST_OF_A_NAME)}** {verdict} in {named}: {message}"
        placed = [finding for finding in check.findings if finding.file]
        yield from (f"{indent}  - {_place(finding)}" for finding in placed[:_MOST_PLACES])
        hints = dict.fromkeys(finding.hint for finding in check.findings if finding.hint)
        yield from (f"{indent}  - Remedy: {prose(hint)}" for hint in list(hints)[:_MOST_PLACES])
        if check.reason:
            yield f"{indent}  - Because: {prose(check.reason)}"
    if len(groups) > _MOST_CHECKS:
        yield f"{indent}- and {len(groups) - _MOST_CHECKS:,} more failing checks"


def _place(finding: Finding) -> str:
    line = f"{finding.file}:{finding.line}" if finding.line else str(finding.file)
    function = f" in {code(finding.function)}" if finding.function else ""
    source = f": {code(finding.source)}" if finding.source else ""
    return f"Where: {prose(finding.where or 'at', MOST_OF_A_NAME)} {code(line)}{function}{source}"
