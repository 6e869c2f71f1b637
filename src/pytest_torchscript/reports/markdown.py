"""The summary of a CI job, in Markdown: one sentence, then causes, then models; what passes is folded.

It is made for the page of a run on GitHub, which is about 1,000 pixels wide, and for hundreds of gates: failures that have
one cause are told once, and the same advice is given once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ..baseline import UPDATE, State, facts
from ..files import write_text
from ..result import OK, CheckResult, Finding, GateResult, Outcome, Status, Verdict
from .columns import shortened, shortened_in_the_middle
from .counts import is_news, sentence
from .document import Document
from .github import linker
from .markup import Page, code, prose, row, table_head
from .notes import Note, notes
from .proof import Alternative, alternatives, verdict_with_proof

__all__ = ["SUMMARY_LIMIT", "Link", "summary", "write"]

# GitHub refuses a step summary above 1 MiB.
SUMMARY_LIMIT = 900_000

Link = Callable[[str, int], "str | None"]
"""The address of a line of a file; None where it is unknown."""

_MOST_OF_AN_ID = 60
_MOST_OF_A_REASON = 160
_MOST_OF_A_MESSAGE = 300
_MOST_MODELS = 12
_MOST_PLACES = 3
_NOT_JUDGED = (Verdict.NOT_JUDGED, Verdict.NO_MODEL, Verdict.NO_INPUTS)


def summary(document: Document, *, limit: int = SUMMARY_LIMIT, link: Link | None = None) -> str:
    """The summary of a run.

    Args:
        document: the gates, judged.
        limit: the most bytes of UTF-8; what does not fit is counted in a line at the top.
        link: where a line can be seen; without it no place is a link.
    """
    page = Page([f"## TorchScript gates: {sentence(document)}"], limit)
    page.section(["### Failures", ""], [_cause(cause, link) for cause in _causes(document)], "causes", 0.5)
    failing = sorted(filter(is_news, document.gates), key=_rank)
    _models(page, failing, "### Failing models", "failing models")
    _baseline(page, document)
    for program, entries in groupby(alternatives(document), key=lambda entry: entry.program):
        head = table_head(["model", "cell", "TorchScript", prose(program), "dims", "why"])
        what = f"models in the table of {prose(program)}"
        page.section(["### What could leave TorchScript today", "", *head], [_leaving(entry) for entry in entries], what, 0.6)
    told = [_note(note) for note in notes(document, ("weights", "device", "target"))]
    page.section([], told, "notes", 0.5, fold=_counted(len(told), "note"))
    passing = [gate for gate in document.gates if gate.outcome is Outcome.PASSED]
    _models(page, passing, "", "passing models", fold=f"{len(passing):,} passed")
    _skipped(page, [gate for gate in document.gates if gate.outcome is Outcome.SKIPPED])
    return page.text()


def write(path: Path, document: Document, *, root: Path | None = None) -> None:
    """Write the summary whole or not at all.

    The file that ``$GITHUB_STEP_SUMMARY`` names is shared by all commands of a step: the summary is appended to what is
    there, and together they stay below the limit. ``root`` is the folder that the files of findings are relative to.

    Raises:
        OSError: the file cannot be written.
    """
    link = linker(root or Path.cwd(), os.environ)
    shared = os.environ.get("GITHUB_STEP_SUMMARY")
    if not shared or os.path.realpath(shared) != os.path.realpath(path):
        write_text(path, summary(document, link=link))
        return
    there = path.stat().st_size if path.exists() else 0
    with path.open("a", encoding="utf-8", newline="\n") as file:
        room = max(SUMMARY_LIMIT - there - 1, 0)
        file.write(("\n" if there else "") + summary(document, limit=room, link=link))


# Causes


@dataclass(kw_only=True)
class _Place:
    """A line, or none, at which a check fails, and the gates in which it does."""

    check: CheckResult
    gates: list[GateResult] = field(default_factory=list)

    @property
    def finding(self) -> Finding | None:
        return next((finding for finding in self.check.findings if finding.file and finding.line), None)


@dataclass(kw_only=True)
class _Cause:
    """What fails for one reason: the gates, and the places by file and line; none where no check was reached."""

    word: str
    check: str
    gates: list[GateResult] = field(default_factory=list)
    places: dict[object, _Place] = field(default_factory=dict)

    def add(self, gate: GateResult, check: CheckResult | None) -> None:
        if gate not in self.gates:
            self.gates.append(gate)
        if check is not None:
            place = _Place(check=check)
            where = (place.finding.file, place.finding.line) if place.finding else None
            known = self.places.setdefault(where, place)
            known.gates += [] if gate in known.gates else [gate]


def _causes(document: Document) -> list[_Cause]:
    """Each cause once: what was not judged, then what regressed, then what concerns the most gates."""
    found: dict[tuple[str, str], _Cause] = {}
    for gate in sorted(filter(is_news, document.gates), key=_rank):
        for word, check in _of_gate(gate):
            name = check.name if check else ""
            found.setdefault((word, name), _Cause(word=word, check=name)).add(gate, check)
    return sorted(found.values(), key=lambda cause: (min(map(_rank, cause.gates)), -len(cause.gates)))


def _of_gate(gate: GateResult) -> Iterator[tuple[str, CheckResult | None]]:
    checks = [check for cell in gate.cells for check in cell.checks if check.verdict is not None]
    if gate.verdict is not None or not checks:
        yield next(iter(gate.verdicts), gate.baseline or gate.outcome.value), None
    yield from ((check.verdict.value, check) for check in checks if check.verdict is not None)


def _rank(gate: GateResult) -> int:
    if gate.verdict in _NOT_JUDGED:
        return _NOT_JUDGED.index(gate.verdict)
    order = (State.REGRESSED.value, State.NEW.value)
    return len(_NOT_JUDGED) + (order.index(gate.baseline) if gate.baseline in order else len(order))


def _cause(cause: _Cause, link: Link | None) -> str:
    check = f" ({prose(cause.check)})" if cause.check else ""
    lines = [f"#### ✗ {prose(cause.word)}{check}: {_counted(len(cause.gates), 'model')}", ""]
    if not cause.places:
        return "\n".join([*lines, *_reasons(cause.gates), ""])
    told: set[str] = set()
    places = sorted(cause.places.values(), key=lambda place: -len(place.gates))
    for place in places[:_MOST_MODELS]:
        lines += _at(place, told, link)
    if len(places) > _MOST_MODELS:
        lines.append(f"- and at {_counted(len(places) - _MOST_MODELS, 'other place')}")
    first = next((gate.nodeid for gate in cause.gates if gate.nodeid), "")
    lines += ["", f"Reproduce: {code(f'pytest {first}')}"] if first else []
    return "\n".join([*lines, ""])


def _at(place: _Place, told: set[str], link: Link | None) -> Iterator[str]:
    """One place: the line, what is wrong there, the models; a remedy that is in ``told`` is not given again."""
    finding, findings = place.finding, place.check.findings
    first = next((other.message for other in findings if other.message.strip()), f"the check {place.check.name} failed")
    message = prose(first, _MOST_OF_A_MESSAGE)
    yield f"- {_line(finding, link)}{message}" if finding else f"- {message}"
    yield f"  - In {_named(place.gates)}"
    here = _linked(finding, link) if finding else ""
    others = [_linked(other, link) for other in findings if finding and other.file and other.line]
    yield from (f"  - Also {other}" for other in [o for o in dict.fromkeys(others) if o != here][:_MOST_PLACES])
    hints = [hint for hint in dict.fromkeys(finding.hint for finding in findings) if hint and hint not in told]
    yield from (f"  - Remedy: {prose(hint)}" for hint in hints)
    told.update(hints)
    if place.check.reason:
        yield f"  - Because: {prose(place.check.reason)}"


def _line(finding: Finding, link: Link | None) -> str:
    function = f" in {code(finding.function)}" if finding.function else ""
    source = f" {code(finding.source)}" if finding.source else ""
    return f"{prose((finding.where or 'at').capitalize())} {_linked(finding, link)}{source}{function}: "


def _reasons(gates: Sequence[GateResult]) -> Iterator[str]:
    """A line for each reason, with the gates that have it."""
    found: dict[str, list[GateResult]] = {}
    for gate in gates:
        found.setdefault(facts(gate.reason or ""), []).append(gate)
    for reason, alike in list(found.items())[:_MOST_MODELS]:
        yield f"- {_named(alike)}" + (f": {prose(reason, _MOST_OF_A_REASON)}" if reason else "")
    if len(found) > _MOST_MODELS:
        yield f"- and {len(found) - _MOST_MODELS:,} more"


def _linked(finding: Finding, link: Link | None) -> str:
    text = code(f"{finding.file}:{finding.line}")
    address = link(finding.file, finding.line) if link and finding.file and finding.line else None
    return f"[{text}]({address})" if address else text


def _id(id: str) -> str:
    return code(shortened_in_the_middle(id, _MOST_OF_AN_ID))


def _named(gates: Sequence[GateResult]) -> str:
    more = f" and {len(gates) - _MOST_MODELS:,} more" if len(gates) > _MOST_MODELS else ""
    return ", ".join(_id(gate.id) for gate in gates[:_MOST_MODELS]) + more


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# Models


def _models(page: Page, gates: Sequence[GateResult], title: str, what: str, *, fold: str | None = None) -> None:
    """A table with a row a model; columns in which nothing stands, or everywhere the same good word, are left out."""
    columns: list[tuple[str, Callable[[GateResult], str]]] = [
        ("verdict", _verdict),
        ("target", lambda gate: ", ".join(dict.fromkeys(prose(cell.target) for cell in gate.cells))),
        ("model", lambda gate: _id(gate.id)),
        ("fails in", _failing),
        ("cells", lambda gate: f"{sum(cell.verdict == OK for cell in gate.cells)}/{len(gate.cells)}" if gate.cells else ""),
        ("dims", _dims),
        ("baseline", _state),
    ]
    texts = {name: [text(gate) for gate in gates] for name, text in columns}
    kept = [name for name in texts if name == "model" or set(texts[name]) - {"", OK, "1/1"}]
    head = [*([title, ""] if title else []), *table_head(kept)]
    rows = [row(texts[name][index] or "–" for name in kept) for index in range(len(gates))]
    page.section(head, rows, what, 0.6, fold=fold)


def _verdict(gate: GateResult) -> str:
    words = ", ".join(gate.verdicts) or (gate.outcome.value if gate.failed and not gate.baseline else OK)
    return prose(words if gate.verdict else verdict_with_proof(gate, words))


def _failing(gate: GateResult) -> str:
    names = (check.name for cell in gate.cells for check in cell.checks if check.status is Status.FAILED)
    return ", ".join(dict.fromkeys(prose(name) for name in names))


def _dims(gate: GateResult) -> str:
    """The dims that a reader has to know of: all are dynamic where nothing is said."""
    found: dict[str, dict[str, None]] = {}
    for cell in gate.cells:
        for dim, kind in cell.dims.items():
            found.setdefault(dim, {})[kind] = None
    return prose(", ".join(f"{dim} {'/'.join(kinds)}" for dim, kinds in found.items() if list(kinds) != ["dynamic"]))


def _state(gate: GateResult) -> str:
    if gate.baseline in (None, State.OK.value):
        return ""
    if gate.verdict is not None:
        return prose(gate.baseline)
    told = facts(gate.reason or "") if gate.baseline == State.REGRESSED.value else ""
    return prose(shortened(f"{gate.baseline}: {told}" if told else str(gate.baseline), _MOST_OF_A_REASON))


def _leaving(entry: Alternative) -> str:
    why = prose(entry.why) or "–"
    return row([_id(entry.id), entry.cell or "–", entry.torchscript, entry.verdict, prose(entry.dims), why])


def _note(note: Note) -> str:
    where = f" ({code(note.place)})" if note.place else ""
    return f"- {code(note.id)} {code(note.cell)}: {prose(note.finding.message)}{where}"


def _skipped(page: Page, gates: Sequence[GateResult]) -> None:
    """The reasons of what did not run, each with its gates."""
    found: dict[str, list[GateResult]] = {}
    for gate in gates:
        found.setdefault(": ".join(filter(None, [*gate.verdicts, gate.reason or ""])), []).append(gate)
    lines = [f"- {prose(reason, _MOST_OF_A_REASON) or 'no reason given'}: {_named(alike)}" for reason, alike in found.items()]
    page.section([], lines, "reasons of skipped models", fold=f"{len(gates):,} skipped")


# Against the baseline


def _baseline(page: Page, document: Document) -> None:
    """What is not as recorded, and is not told above; what to do about it once."""
    lines = [f"- STALE {code(name)}: recorded, and no test gates it: coverage was lost" for name in document.stale]
    lines += [
        f"- FIXED {_id(gate.id)}: {prose(facts(gate.reason or ''), _MOST_OF_A_REASON)}"
        for gate in document.gates
        if gate.failed and gate.baseline == State.FIXED.value
    ]
    lines += [f"- ok {_id(gate.id)}: {prose(facts(gate.reason or ''))}" for gate in document.gates if _is_better(gate)]
    new = [gate for gate in document.gates if gate.baseline == State.NEW.value and not gate.failed]
    lines += [f"- NEW: {_counted(len(new), 'model')} passing, and not recorded"] if new else []
    if lines or any(gate.failed and gate.baseline for gate in document.gates):
        lines.append(f"\nWhat is meant to stay so is recorded, or removed, by {code(f'pytest {UPDATE}')} on your machine.")
    page.section(["### Against the baseline", ""], lines, "baseline entries", 0.6)
    known = [gate for gate in document.gates if gate.outcome is Outcome.XFAILED]
    reasons = [f"- {_id(gate.id)}: {prose(facts(gate.reason or ''), _MOST_OF_A_REASON)}" for gate in known]
    page.section([], reasons, "known failures", 0.5, fold=f"{_counted(len(known), 'known failure')}")


def _is_better(gate: GateResult) -> bool:
    return gate.outcome is Outcome.PASSED and gate.baseline == State.OK.value and bool(gate.reason)
