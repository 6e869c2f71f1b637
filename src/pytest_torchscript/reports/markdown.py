"""Markdown: the summary of a CI job, and the comment on a pull request. Rendered from the document alone.

Whatever a model or a test put into a name or a message stays text: it cannot open a table cell, a code span, HTML, a
mention or a link. Long texts are cut one by one, and a report that is still too long is cut by entries and says so.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ..baseline import State, cells_of, compare
from ..files import write_text
from ..result import OK, CellResult, CheckResult, Finding, GateResult, Outcome, Status
from .document import Document
from .notes import Note, notes
from .proof import Alternative, alternatives, verdict_with_proof, weaker
from .text import one_line, printable

__all__ = ["code", "diff", "one_line", "printable", "prose", "summary", "write"]

# GitHub refuses a step summary above 1 MiB, and a comment above 65,536 characters.
SUMMARY_LIMIT = 900_000
COMMENT_LIMIT = 60_000

_MOST_OF_A_MESSAGE = 1000
_MOST_OF_A_NAME = 200
_MOST_CHECKS = 8
_MOST_PLACES = 3
_MARKS: Mapping[Status, str] = {Status.PASSED: "✓", Status.FAILED: "✗", Status.SKIPPED: "–"}
# Room for the line that says what was cut.
_NOTICE = 400

_SPECIAL = re.compile(r"[\\`*_\[\]<>|~#&$]")
# Mentions, issue numbers, mail addresses, and what GitHub makes a link by itself.
_REFERENCE = re.compile(r"[@#](?=\S)|(?:https?|ftp)(?=://)|www(?=\.)|(?:mailto|xmpp)(?=:)", re.IGNORECASE)


# Text


def prose(text: str, most: int = _MOST_OF_A_MESSAGE) -> str:
    """Text as Markdown that shows just that text, in a table as well; never at the beginning of a line."""
    escaped = _SPECIAL.sub(r"\\\g<0>", one_line(text, most))
    # An empty comment keeps GitHub from notifying whoever is called like a decorator, and from linking what is escaped.
    return _REFERENCE.sub(r"\g<0><!-- -->", escaped)


def code(text: str, most: int = _MOST_OF_A_NAME) -> str:
    """Text as code, in a table as well."""
    line = one_line(text, most)
    # A code span cannot hold every text: backticks end it, and a pipe ends the table cell around it.
    return f"<code>{prose(text, most)}</code>" if "`" in line or "|" in line or not line else f"`{line}`"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "backslashreplace"))


def _fitting(blocks: Iterable[str], budget: int) -> tuple[list[str], int]:
    """The first blocks that fit into ``budget`` bytes, and how many are left."""
    kept: list[str] = []
    left = 0
    for block in blocks:
        size = _size(block) + 1
        if left or size > budget:
            left += 1
        else:
            budget -= size
            kept.append(block)
    return kept, left


class _Page:
    """A heading and sections, each of a title and of blocks, within a number of bytes."""

    def __init__(self, heading: Sequence[str], limit: int) -> None:
        self._heading = "\n".join(heading)
        self._limit = limit
        self._room = limit - _size(self._heading) - _NOTICE
        self._parts: list[str] = []
        self._cut: list[str] = []

    def section(self, title: Sequence[str], blocks: Sequence[str], what: str, share: float = 1.0) -> None:
        """Add a section; it takes at most ``share`` of the room that is left. ``what`` the blocks are, in the plural."""
        if not blocks:
            return
        head = "\n".join(title)
        kept, left = _fitting(blocks, int(self._room * share) - _size(head) - 3)
        if left:
            self._cut.append(f"{left:,} of {len(blocks):,} {what}")
        if kept:
            part = "\n".join(["", head, *kept, ""])
            self._room -= _size(part)
            self._parts.append(part)

    def text(self) -> str:
        lines = [self._heading, ""]
        if self._cut:
            lines += [f"**Cut to stay below {self._limit // 1000:,} kB:** {'; '.join(self._cut)}. The JSON report has all.", ""]
        text = "\n".join(lines) + "".join(self._parts)
        # A limit so low that not even the heading fits is still one.
        return text.encode("utf-8", "backslashreplace")[: max(self._limit, 0)].decode("utf-8", "ignore")


# The summary


def summary(document: Document, *, limit: int = SUMMARY_LIMIT) -> str:
    """The summary of a run: what regressed or newly fails, then model × check, then what changed against the baseline.

    ``limit`` is the most bytes of UTF-8; what does not fit is counted in a line at the top.
    """
    gates, gone = document.gates, document.stale
    page = _Page([f"## TorchScript gates: {_count(gates, gone)}"], limit)
    failing = sorted(filter(_is_news, gates), key=lambda gate: (_rank(gate), gate.id, gate.nodeid))
    page.section(["### Regressions and new failures", ""], [_failure(gate) for gate in failing], "failing models", 0.5)
    if gates:
        names = list(dict.fromkeys(check.name for gate in gates for cell in gate.cells for check in cell.checks))
        header = ["model", "cells", *(prose(name, _MOST_OF_A_NAME) for name in names), "verdict", "baseline"]
        title = ["### Models", "", _row(header), _row(["---"] * len(header))]
        page.section(title, [_model(gate, names) for gate in gates], "models in the table", 0.7)
    for program, entries in groupby(alternatives(document), key=lambda entry: entry.program):
        header = ["model", "cell", "TorchScript", prose(program), "dims", "why"]
        title = ["### What could leave TorchScript today", "", _row(header), _row(["---"] * len(header))]
        page.section(title, [_leaving(entry) for entry in entries], f"models in the table of {prose(program)}", 0.7)
    told = [_note(note) for note in notes(document, ("weights", "device", "target"))]
    page.section(["### Notes", ""], told, "notes", 0.5)
    page.section(["### Against the baseline", ""], list(_against(gates, gone)), "baseline entries")
    return page.text()


def write(path: Path, document: Document) -> None:
    """Write the summary whole or not at all.

    The file that ``$GITHUB_STEP_SUMMARY`` names is shared by all commands of a step: the summary is appended to what is
    there, and together they stay below the limit.

    Raises:
        OSError: the file cannot be written.
    """
    shared = os.environ.get("GITHUB_STEP_SUMMARY")
    if not shared or os.path.realpath(shared) != os.path.realpath(path):
        write_text(path, summary(document))
        return
    there = path.stat().st_size if path.exists() else 0
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(("\n" if there else "") + summary(document, limit=max(SUMMARY_LIMIT - there - 1, 0)))


def _is_news(gate: GateResult) -> bool:
    return gate.failed and gate.baseline != State.FIXED.value


def _rank(gate: GateResult) -> int:
    order = (State.REGRESSED.value, State.NEW.value)
    return order.index(gate.baseline) if gate.baseline in order else len(order)


def _count(gates: Sequence[GateResult], gone: Sequence[str]) -> str:
    names = {
        "regressed": sum(gate.failed and gate.baseline == State.REGRESSED.value for gate in gates),
        "failed": sum(_is_news(gate) and gate.baseline != State.REGRESSED.value for gate in gates),
        "fixed, still recorded": sum(gate.failed and gate.baseline == State.FIXED.value for gate in gates),
        "stale": len(gone),
        "known": sum(gate.outcome is Outcome.XFAILED for gate in gates),
        "passed": sum(gate.outcome is Outcome.PASSED for gate in gates),
        "skipped": sum(gate.outcome is Outcome.SKIPPED for gate in gates),
    }
    return ", ".join(f"{count:,} {name}" for name, count in names.items() if count) or "none ran"


def _failure(gate: GateResult) -> str:
    verdicts = gate.verdicts
    head = [code(gate.id), *([prose(gate.baseline)] if gate.baseline else []), *verdicts]
    lines = [f"#### ✗ {' · '.join(head)}", ""]
    about = [*([code(gate.nodeid)] if gate.nodeid else []), *([prose(gate.reason)] if gate.reason else [])]
    lines += [f"Gate {': '.join(about)}", ""] if about else []
    return "\n".join([*lines, *_failing_checks(gate), ""])


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
        yield f"{indent}- **{prose(check.name, _MOST_OF_A_NAME)}** {verdict} in {named}: {message}"
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
    return f"Where: {prose(finding.where or 'at', _MOST_OF_A_NAME)} {code(line)}{function}{source}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _model(gate: GateResult, names: Sequence[str]) -> str:
    """One row: the sign of each check over all cells, the worst one deciding."""
    found: dict[str, set[Status]] = {}
    for cell in gate.cells:
        for check in cell.checks:
            found.setdefault(check.name, set()).add(check.status)
    good = sum(cell.verdict == OK for cell in gate.cells)
    signs = [
        next((_MARKS[status] for status in (Status.FAILED, Status.PASSED) if status in found.get(name, ())), "–")
        for name in names
    ]
    skipped = gate.outcome is Outcome.SKIPPED
    verdict = gate.outcome.value if skipped else verdict_with_proof(gate, ", ".join(gate.verdicts) or OK)
    return _row([code(gate.id), f"{good}/{len(gate.cells)}", *signs, verdict, prose(gate.baseline or "–")])


def _leaving(entry: Alternative) -> str:
    why = prose(entry.why) or "–"
    return _row([code(entry.id), entry.cell or "–", entry.torchscript, entry.verdict, prose(entry.dims), why])


def _note(note: Note) -> str:
    where = f" ({code(note.place)})" if note.place else ""
    return f"- {code(note.id)} {code(note.cell)}: {prose(note.finding.message)}{where}"


def _against(gates: Sequence[GateResult], gone: Sequence[str]) -> Iterator[str]:
    """What is not as recorded, one line an entry; of what regressed or newly fails only the names, as it is told above."""
    for state in (State.REGRESSED, State.NEW, State.FIXED, State.STALE, State.KNOWN, State.OK):
        if state is State.STALE:
            yield from (f"- STALE {code(name)}: recorded, and no test gates it: coverage was lost" for name in gone)
        for gate in gates:
            if gate.baseline != state.value or gate.outcome is Outcome.SKIPPED:
                continue
            if _is_news(gate):
                yield f"- {state.value} {code(gate.id)}: {', '.join(gate.verdicts) or 'see above'}"
            elif gate.reason or state is not State.OK:
                yield f"- {state.value} {code(gate.id)}" + (f": {prose(gate.reason)}" if gate.reason else "")


# The difference


def diff(old: Document, new: Document, *, limit: int = COMMENT_LIMIT) -> tuple[str, bool]:
    """What became worse, better, new or gone from one document to another, for a pull request; and whether it regressed.

    It regressed when a cell has a verdict, or lost a dynamic dim, that it did not before, or a new one fails; unless the
    gate is expected to fail (``xfailed``), which somebody wrote down. A gate that is gone is shown and no regression, for
    deleting a model is no defect of it; a document without any gate, after one that had some, is one.
    """
    before = {gate.id: gate for gate in old.gates}
    after = {gate.id: gate for gate in new.gates}
    found: dict[str, list[str]] = {}
    regressed = bool(before) and not after
    for id in sorted({*before, *after}):
        for kind, line in _changes(before.get(id), after.get(id)):
            found.setdefault(kind, []).append(line)
            regressed = regressed or kind in ("worse", "failing")
    if not found:
        return f"TorchScript gates: no change in {len(after):,} {'gate' if len(after) == 1 else 'gates'}.\n", regressed
    titles = {
        "worse": "Worse",
        "failing": "New, and failing",
        "accepted": "Worse, and expected to fail",
        "better": "Better",
        "new": "New",
        "gone": "Gone",
        "unjudged": "No longer judged",
        "weaker": "Proved by less",
    }
    counts = Counter({kind: len(lines) for kind, lines in found.items()})
    told = ", ".join(f"{counts[kind]:,} {title.lower()}" for kind, title in titles.items() if counts[kind])
    page = _Page([f"## TorchScript gates: {told}"], limit)
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
    if old is None or old.outcome is Outcome.SKIPPED:
        if old is not None and new.outcome is Outcome.SKIPPED:
            return
        fails = new.failed and bool(new.verdicts)
        line = f"- {'✗ ' if fails else ''}{name}: {prose(_state(new))}, {'not there before' if old is None else 'was skipped'}"
        yield ("failing" if fails else "new"), "\n".join([line, *(_failing_checks(new, "  ") if fails else [])])
        return
    if new.outcome is Outcome.SKIPPED:
        yield (
            "unjudged",
            f"- {name}: was {prose(_state(old))}, is skipped now" + (f": {prose(new.reason)}" if new.reason else ""),
        )
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


def _state(gate: GateResult) -> str:
    if gate.outcome is Outcome.SKIPPED:
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
