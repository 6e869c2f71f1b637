"""What a person reads: one block for a failing gate, one table at the end of the run."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby

from ..naming import default_id
from ..result import OK, CellResult, CheckResult, Finding, GateResult, Outcome, Status
from .columns import Row, laid_out, shortened_in_the_middle
from .counts import sentence
from .document import Document
from .notes import notes
from .proof import NOT_JUDGED, alternatives, verdict_with_proof
from .text import one_line, printable

__all__ = ["WIDTH", "Line", "alternatives_table", "failure_block", "headline", "notes_lines", "sections", "table"]

WIDTH = 118
"""The width of what is not printed to a terminal of known width."""

Line = tuple[str, "bool | None"]
"""A line, and whether what it tells is good (None: neither good nor bad)."""

_MARKS: Mapping[Status, str] = {Status.PASSED: "✓", Status.FAILED: "✗", Status.SKIPPED: "–"}
_MOST_FINDINGS = 6
_MOST_OF_A_REASON = 100
# Columns of the tables, by number, with the widths that they keep when a terminal is narrow: the first gives way first.
_ROOM = ((4, 60), (3, 24), (4, 40), (0, 40), (3, 12), (0, 24), (1, 11), (4, 20), (0, 12), (3, 5))
_ROOM_OF_ALTERNATIVES = ((5, 40), (0, 40), (4, 16), (5, 20), (0, 20), (4, 8), (5, 8), (0, 12))
_MOST_NOTES = 12
_MOST_OF_A_MESSAGE = 2000


def failure_block(gate: GateResult) -> str:
    """The failing cells of a gate: what failed, where, by how much, the guilty line, a remedy, the command to run."""
    blocks = [_cell_block(gate, cell) for cell in gate.cells if cell.verdict != OK]
    if not blocks or gate.verdict is not None:
        word = gate.verdict.value if gate.verdict else gate.baseline or gate.outcome.value
        blocks.append(f"torchscript gate: {printable(gate.nodeid or gate.id)}   {_word(gate)}  {word}")
    if gate.reason and gate.verdict is not None and not gate.baseline:
        blocks += _wrapped(gate.reason, "  ", "  ")
    elif gate.reason:
        blocks += _wrapped(f"{gate.baseline}: {gate.reason}" if gate.baseline else gate.reason, "    baseline   ", " " * 15)
    return "\n".join([*blocks, f"    reproduce  pytest {shlex.quote(gate.nodeid)}"] if gate.nodeid else blocks)


def _word(gate: GateResult) -> str:
    return "ERROR" if gate.outcome is Outcome.ERROR else "FAILED"


def headline(gate: GateResult) -> str:
    """A failing gate in a few words, verdict first: what is left of the text in a one-line summary."""
    for cell in gate.cells:
        for check in cell.checks:
            if check.status is Status.FAILED and check.verdict is not None:
                finding = next((f for f in check.findings if f.line), None)
                at = f" at {finding.file}:{finding.line}" if finding else ""
                state = f"{gate.baseline}: " if gate.baseline else ""
                return f"{state}{check.verdict.value}{at}"
    if gate.verdict is not None:
        return f"{gate.baseline}: {gate.verdict.value}" if gate.baseline else gate.verdict.value
    return gate.baseline or gate.outcome.value


def _cell_block(gate: GateResult, cell: CellResult) -> str:
    name = gate.nodeid or gate.id
    # Two gates of one test are told apart by their ids.
    also = f" ({gate.id})" if gate.nodeid and gate.id != default_id(gate.nodeid) else ""
    lines = [f"torchscript gate: {name}{also}  [{cell.label}]   FAILED  {cell.verdict}"]
    lines.append("  " + "  ".join(f"{check.name} {_MARKS[check.status]}" for check in cell.checks))
    for check in cell.checks:
        if check.status is Status.FAILED:
            lines += _check_lines(check)
    if any(check.name == "trace" and check.status is Status.PASSED for check in cell.checks):
        lines += _evidence(cell)
    return "\n".join(lines)


def _check_lines(check: CheckResult) -> list[str]:
    lines: list[str] = []
    head = f"  {check.name}: "
    indent = " " * len(head)
    shown = check.findings[:_MOST_FINDINGS]
    remedies: list[str] = []
    for index, finding in enumerate(shown):
        if finding.hint and finding.hint not in remedies:
            remedies.append(finding.hint)
        if finding.line and index:
            # A further line of the same cause: the place leads, the message explains.
            lines.append(_place(finding) + f"   ({finding.message})")
            continue
        lines += _wrapped(finding.message, indent if index else head, indent)
        if finding.line:
            lines.append(_place(finding) + (f"   ({finding.details['cause']})" if finding.details.get("cause") else ""))
    left = len(check.findings) - len(shown)
    if left > 0:
        lines.append(f"{indent}and {left} more")
    for hint in remedies:
        lines += _wrapped(hint, "    remedy     ", " " * 15)
    if check.reason and not any(finding.message.endswith(check.reason) for finding in shown):
        lines += _wrapped(check.reason, "    because    ", " " * 15)
    return lines


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    """``text`` over several lines; words, paths and numbers stay whole."""
    return textwrap.wrap(
        one_line(text, _MOST_OF_A_MESSAGE),
        width=WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _place(finding: Finding) -> str:
    function = f" in {finding.function}" if finding.function else ""
    source = f":   {finding.source}" if finding.source else ""
    return printable(f"    {finding.where or 'at':<9}  {finding.file}:{finding.line}{function}{source}")


def _evidence(cell: CellResult) -> list[str]:
    """The tracer's warnings, as evidence: only lines no finding has named, and few."""
    named = {(f.file, f.line) for check in cell.checks if check.status is Status.FAILED for f in check.findings}
    warned = [f for f in cell.check("trace").findings if f.where == "tracer warned at" and (f.file, f.line) not in named]
    places = list(dict.fromkeys(f"{finding.file}:{finding.line}" for finding in warned))
    if not places:
        return []
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return _wrapped(f"the tracer also warned at {', '.join(places[:3])}{more}", "    evidence   ", " " * 15)


def sections(document: Document, width: int = WIDTH, *, baseline: str = "the baseline") -> list[tuple[str, list[Line]]]:
    """All that the end of a run shows: titles, each with its lines, for a terminal of ``width`` places.

    ``baseline`` is the name of the file in which what is stale is recorded.
    """
    if not document.gates and not document.stale:
        return []
    lines: list[Line] = [(one_line(sentence(document)), None)]
    lines += table(document, width) if document.gates else []
    lines += [(line, None) for line in unprobed_lines(document)]
    lines += [
        (f"STALE: {printable(entry)} is recorded in {baseline}, but no test gates it: coverage was lost", False)
        for entry in document.stale
    ]
    others = alternatives_table(document, width)
    found = [("torchscript gates", lines), *([("what could leave TorchScript today", others)] if others else [])]
    found[-1][1].extend((line, None) for line in notes_lines(document))
    return found


def table(document: Document, width: int = WIDTH) -> list[Line]:
    """The table of gates: good is whether the gate passed, None for the headline and for a gate that did not run."""
    rows: list[Row] = [(("model", "target", "cells", "dims", "verdict", "seconds"), None)]
    for gate in document.gates:
        good = sum(cell.verdict == OK for cell in gate.cells)
        targets = ", ".join(dict.fromkeys(cell.target for cell in gate.cells)) or "-"
        row = (gate.id, targets, f"{good}/{len(gate.cells)}", _dims(gate.cells), _verdict(gate), f"{gate.seconds:.2f}")
        rows.append((row, None if not gate.cells and not gate.failed else not gate.failed))
    return laid_out(rows, width, _ROOM, numbers=5)


def _verdict(gate: GateResult) -> str:
    state = "" if gate.baseline in (None, OK) else f" ({gate.baseline})"
    if gate.cells and gate.verdict is None:
        return f"{verdict_with_proof(gate, ', '.join(gate.verdicts) or OK)}{state}"
    skipped = gate.outcome is Outcome.SKIPPED or gate.verdict is None
    words = [*([gate.outcome.value] if skipped else []), *([gate.verdict.value] if gate.verdict else [])]
    reason = f": {one_line(gate.reason, _MOST_OF_A_REASON)}" if gate.reason else ""
    return f"{': '.join(words)}{state}{reason}"


def alternatives_table(document: Document, width: int = WIDTH) -> list[Line]:
    """What could leave TorchScript today, as :func:`table`; empty where no target makes a program of its own."""
    lines: list[Line] = []
    for target, entries in groupby(alternatives(document), key=lambda entry: entry.target):
        rows: list[Row] = [(("model", "cell", "torchscript", target, "dims", "why"), None)]
        for entry in entries:
            why = shortened_in_the_middle(" ".join(entry.why.split()), _MOST_OF_A_REASON)
            row = (entry.id, entry.cell or "-", entry.torchscript, entry.verdict, entry.dims, why)
            rows.append((row, None if entry.verdict == NOT_JUDGED else entry.verdict.startswith(OK)))
        lines += laid_out(rows, width, _ROOM_OF_ALTERNATIVES, names=(0, 5))
    return lines


def unprobed_lines(document: Document) -> list[str]:
    """How many axes of the inputs no probe changed, so that nothing is known of other sizes there."""
    by_gate = {gate.id: {axis for cell in gate.cells for axis in cell.unprobed} for gate in document.gates}
    count, gates = sum(map(len, by_gate.values())), sum(map(bool, by_gate.values()))
    if not count:
        return []
    axes, models = f"{count} {'axis' if count == 1 else 'axes'}", f"{gates} model{'s'[: gates > 1]}"
    return [f"unprobed: {axes} of the inputs of {models}; the JSON report says why, and dims= names what varies"]


def notes_lines(document: Document) -> list[str]:
    """What targets noticed in models that pass, a line or two each; the rest is counted."""
    found = notes(document, ("target",))
    lines: list[str] = []
    for note in found[:_MOST_NOTES]:
        place = f" ({note.place})" if note.place else ""
        lines += _wrapped(f"{note.id} [{note.cell}]: {note.finding.message}{place}", "note  ", "      ")
    left = len(found) - _MOST_NOTES
    return [*lines, *([f"and {left} more notes; the JSON report has all"] if left > 0 else [])]


def _dims(cells: Sequence[CellResult]) -> str:
    """Each dim's class; where cells disagree, each of the classes."""
    classes: dict[str, list[str]] = {}
    for cell in cells:
        for dim, kind in cell.dims.items():
            if kind not in classes.setdefault(dim, []):
                classes[dim].append(kind)
    return " ".join(f"{dim}={'/'.join(kinds)}" for dim, kinds in classes.items()) or "-"
