"""The baseline: what each gate is known to give, so that only a model that becomes worse fails a build.

``torchscript-baseline.json`` (schema 1) holds one gate a line::

    {
    "gate:bert": {"cells": {"torchscript[b2,s16]": {"dims": {"batch": "dynamic", "seq": "dynamic"}, "verdict": "ok"}}},
    "gate:head": {"cells": {"torchscript[b2]": {"dims": {}, "verdict": "Untraceable"}}, "reason": "issue 12"},
    "schema": 1
    }

The key ``schema`` sorts behind every ``gate:``, so that each gate's line ends with a comma: adding or removing a gate, the
last one too, changes no other line, and git's ``union`` merge of two such changes is valid. ``verdict`` is that of the first
failing check; ``also`` holds those of further ones, so that a known failure does not hide a new one. ``reason`` is for people.

Standard library only; nothing here writes but :func:`write`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

from .errors import GateError
from .files import FileError, Json, read_json, write_text
from .naming import DEFAULT_BASELINE
from .result import CellResult, GateResult, Outcome, Verdict

__all__ = [
    "DEFAULT_NAME",
    "SCHEMA",
    "Baseline",
    "BaselineError",
    "CellRecord",
    "Changes",
    "Entry",
    "Judgement",
    "State",
    "cell_name",
    "cells_of",
    "compare",
    "judge",
    "render",
    "stale",
    "update",
    "write",
]

SCHEMA = 1
DEFAULT_NAME = DEFAULT_BASELINE
UPDATE = "--torchscript-update-baseline"

_OK = "ok"
_DYNAMIC = "dynamic"
_KINDS = (_DYNAMIC, "fixed", "partial", "unsafe", "untested")
_PREFIX = "gate:"
# The cell of a gate that ended before its cells were known; as a target it stands for any.
_UNKNOWN = "*"
_MOST_NAMED = 3
_MOST_PHRASES = 5


class BaselineError(GateError):
    """A baseline that cannot be used. The message names the file, line and column; the file is never overwritten."""


class State(str, Enum):
    """What a gate is, compared with the baseline."""

    OK = "ok"
    NEW = "NEW"
    KNOWN = "KNOWN"
    REGRESSED = "REGRESSED"
    FIXED = "FIXED"
    STALE = "STALE"


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """One cell: the verdict of the first failing check or ``ok``, the verdicts of further ones, the class of each dim."""

    verdict: str = _OK
    also: tuple[str, ...] = ()
    dims: Mapping[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> frozenset[str]:
        return frozenset() if self.verdict == _OK else frozenset((self.verdict, *self.also))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One gate: its cells by name, and why it fails; ``reason`` is empty until somebody says."""

    cells: Mapping[str, CellRecord]
    reason: str | None = None

    @property
    def failures(self) -> frozenset[str]:
        """The verdicts of all failing checks of all cells."""
        return frozenset(verdict for cell in self.cells.values() for verdict in cell.failures)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The entries of a baseline, by gate id. ``path`` is for messages."""

    path: Path = Path(DEFAULT_NAME)
    entries: Mapping[str, Entry] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Baseline | None:
        """Read a baseline; None where there is none.

        Raises:
            BaselineError: what is there is no baseline of this schema, or cannot be read.
        """
        try:
            document = read_json(path)
        except FileNotFoundError:
            return None
        except FileError as error:
            raise BaselineError(f"baseline {error}") from None
        return cls(path=path, entries=_Reader(document).entries())


class _Reader:
    """Turns JSON into entries, and whatever does not belong there into an error with its place."""

    def __init__(self, document: Json) -> None:
        self._document = document

    def _refuse(self, problem: str, *keys: str | int) -> NoReturn:
        raise BaselineError(f"baseline {self._document.error(problem, *keys)}")

    def _mapping(self, value: Any, what: str, *keys: str | int) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self._refuse(f"{what} must be an object, not {_kind(value)}", *keys)
        return value

    def _text(self, value: Any, what: str, *keys: str | int) -> str:
        if not isinstance(value, str):
            self._refuse(f"{what} must be text, not {_kind(value)}", *keys)
        return value

    def _known(self, value: Mapping[str, Any], known: Iterable[str], *keys: str | int) -> None:
        for name in value:
            if name not in known:
                self._refuse(f"unknown key {name!r}{_nearest(name, known)}", *keys, name)

    def _choice(self, value: Any, choices: Iterable[str], what: str, *keys: str | int) -> str:
        text = self._text(value, what, *keys)
        if text not in choices:
            self._refuse(f"unknown {what} {text!r}{_nearest(text, choices)}", *keys)
        return text

    def entries(self) -> dict[str, Entry]:
        data = self._mapping(self._document.value, "a baseline")
        schema = data.get("schema")
        if isinstance(schema, int) and not isinstance(schema, bool) and schema > SCHEMA:
            self._refuse(f"schema {schema} is newer than this version reads ({SCHEMA}): upgrade pytest-torchscript", "schema")
        if isinstance(data.get("gates"), list):
            self._refuse(f"this is a JSON report, not a baseline; {UPDATE} writes one", "gates")
        if "schema" not in data:
            self._refuse(f'a baseline has "schema": {SCHEMA}, and this has no schema')
        if schema != SCHEMA or isinstance(schema, bool):
            self._refuse(f"schema must be {SCHEMA}, not {_kind(schema)}", "schema")
        entries = {}
        for name, value in data.items():
            if name.startswith(_PREFIX):
                entries[name[len(_PREFIX) :]] = self._entry(value, name)
            elif name != "schema":
                self._refuse(f'unknown key {name!r}; a gate\'s key is "{_PREFIX}<id>"', name)
        return entries

    def _entry(self, value: Any, name: str) -> Entry:
        data = self._mapping(value, "a gate's entry", name)
        self._known(data, ("cells", "reason"), name)
        cells = self._mapping(data.get("cells", {}), "cells", name, "cells")
        return Entry(
            cells={label: self._cell(cell, name, "cells", label) for label, cell in cells.items()},
            reason=self._text(data["reason"], "reason", name, "reason") if "reason" in data else None,
        )

    def _cell(self, value: Any, *keys: str) -> CellRecord:
        data = self._mapping(value, "a cell", *keys)
        self._known(data, ("also", "dims", "verdict"), *keys)
        verdicts = [verdict.value for verdict in Verdict]
        if "verdict" not in data:
            self._refuse("a cell owes a verdict", *keys)
        verdict = self._choice(data["verdict"], [_OK, *verdicts], "verdict", *keys, "verdict")
        also = data.get("also", [])
        if not isinstance(also, list):
            self._refuse(f"also must be a list of verdicts, not {_kind(also)}", *keys, "also")
        if also and verdict == _OK:
            self._refuse("a cell that is ok has no further verdicts", *keys, "also")
        dims = self._mapping(data.get("dims", {}), "dims", *keys, "dims")
        return CellRecord(
            verdict=verdict,
            also=tuple(self._choice(entry, verdicts, "verdict", *keys, "also", i) for i, entry in enumerate(also)),
            dims={dim: self._choice(kind, _KINDS, "class of a dim", *keys, "dims", dim) for dim, kind in dims.items()},
        )


def _kind(value: Any) -> str:
    """A JSON value in a message: what it is, and short."""
    for kinds, name in ((dict, "an object"), (list, "a list"), (type(None), "null")):
        if isinstance(value, kinds):
            return name
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _nearest(name: str, choices: Iterable[str]) -> str:
    known = list(choices)
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"


# Cells


def cell_name(cell: CellResult) -> str:
    """``torchscript[b2,s16]``, as in JUnit's names; a size that the inputs do not have is left out."""
    sizes = [f"{letter}{size}" for letter, size in (("b", cell.batch_size), ("s", cell.seq_len)) if size is not None]
    return f"{cell.target}[{','.join(sizes)}]" if sizes else cell.target


def cells_of(gate: GateResult) -> dict[str, CellRecord]:
    """What a baseline would record of a gate that ran, by cell name; of a gate that ended before its cells, one ``*``."""
    if not gate.cells:
        # A known crash is an expected failure (see Judgement.apply), and still a crash.
        verdict = Verdict.EAGER_FAILURE if gate.outcome is Outcome.FAILED else Verdict.CRASHED
        return {_UNKNOWN: CellRecord(verdict=verdict.value)}
    cells: dict[str, CellRecord] = {}
    for cell in gate.cells:
        verdicts = list(dict.fromkeys(check.verdict.value for check in cell.checks if check.verdict is not None))
        record = CellRecord(
            verdict=verdicts[0] if verdicts else _OK,
            also=tuple(sorted(verdicts[1:])),
            dims=dict(sorted(cell.dims.items())),
        )
        name = cell_name(cell)
        cells[name] = _together(cells[name], record) if name in cells else record
    return cells


def _together(one: CellRecord, other: CellRecord) -> CellRecord:
    """Two cells of one name: both sets of failures, and a dim is dynamic only if it is so in both."""
    failures = one.failures | other.failures
    verdict = next((record.verdict for record in (one, other) if record.failures), _OK)
    dims = {**one.dims, **{dim: kind for dim, kind in other.dims.items() if one.dims.get(dim, _DYNAMIC) == _DYNAMIC}}
    return CellRecord(verdict=verdict, also=tuple(sorted(failures - {verdict})), dims=dims)


_CELL = re.compile(r"(?P<target>.*?)(?:\[(?:b(?P<batch>\d+))?,?(?:s(?P<seq>\d+))?\])?", re.DOTALL)


def _parts(name: str) -> tuple[str, str | None, str | None]:
    match = _CELL.fullmatch(name)
    assert match is not None  # the target alone matches anything
    return match["target"], match["batch"], match["seq"]


def _stands_for(general: str, cell: str) -> bool:
    """Whether ``general`` is ``cell`` with sizes or the target unknown: a gate that failed before it knew them."""
    if general == _UNKNOWN:
        return True
    (target, *sizes), (other, *others) = _parts(general), _parts(cell)
    return target == other and all(size is None or size == known for size, known in zip(sizes, others, strict=True))


def _pairs(recorded: Iterable[str], found: Iterable[str]) -> list[tuple[str | None, str | None]]:
    """Which recorded cell each found one is compared with; None for one that has no counterpart.

    Equal names first. What is left pairs where one side is the other without its sizes, so that a model which fails
    before its sizes are known is still compared with what it was.
    """
    left, right = list(recorded), list(found)
    pairs: list[tuple[str | None, str | None]] = [(name, name) for name in right if name in left]
    left, right = [name for name in left if name not in right], [name for name in right if name not in left]
    loose = [(one, other) for other in right for one in left if _stands_for(other, one) or _stands_for(one, other)]
    pairs += loose
    pairs += [(None, name) for name in right if name not in [other for _, other in loose]]
    pairs += [(name, None) for name in left if name not in [one for one, _ in loose]]
    return pairs


# Comparing


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs between two states of one gate: phrases that each begin with the names of cells.

    ``worse``: a verdict that was not there, or a dim that was dynamic and is not. ``failing`` and ``passing``: cells
    without a counterpart in the former state. ``fixed``: a verdict that is gone. ``known``: the same failures as before.
    ``better``: a dim that became dynamic. ``lost``: names of cells that have no counterpart now.
    """

    worse: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    passing: tuple[str, ...] = ()
    better: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def compare(recorded: Mapping[str, CellRecord], found: Mapping[str, CellRecord]) -> Changes:
    """Compare two states of one gate, cell by cell. Cells of which the same is to be told share a phrase."""
    told: dict[str, dict[str, list[str]]] = {}
    lost: list[str] = []

    def note(kind: str, cell: str, *phrases: str) -> None:
        if phrases:
            told.setdefault(kind, {}).setdefault("; ".join(phrases), []).append(cell)

    for was, now in _pairs(recorded, found):
        if now is None:
            lost.append(str(was))
            continue
        after = found[now]
        if was is None:
            if after.failures:
                note("failing", now, f"is {_names(after)}")
            else:
                note("passing", now, "passes")
            continue
        before = recorded[was]
        cell = was if now == _UNKNOWN else now
        worse = [*_worse_verdict(before, after), *_worse_dims(before, after)]
        if worse:
            note("worse", cell, *worse)
        elif before.failures - after.failures:
            note("fixed", cell, f"was {_names(before)}, {f'is {_names(after)} only' if after.failures else 'passes'} now")
        else:
            note("known", cell, *([f"is {_names(after)}"] if after.failures else []))
            note("better", cell, *(f"{d} was {k}, is dynamic now" for d, k in before.dims.items() if _improved(k, after, d)))
    phrases = {kind: tuple(f"{_few(cells)}: {text}" for text, cells in found.items()) for kind, found in told.items()}
    return Changes(**phrases, lost=tuple(lost))


def _few(cells: Sequence[str]) -> str:
    more = len(cells) - _MOST_NAMED
    return f"{', '.join(cells[:_MOST_NAMED])}{f' and {more} more cells' if more > 0 else ''}"


def _names(record: CellRecord) -> str:
    return " and ".join((record.verdict, *record.also))


def _worse_verdict(before: CellRecord, after: CellRecord) -> list[str]:
    new = after.failures - before.failures
    if not new:
        return []
    if before.failures and before.failures < after.failures:
        return [f"was {_names(before)}, is also {' and '.join(sorted(new))} now"]
    return [f"was {_names(before)}, is {_names(after)} now"]


def _worse_dims(before: CellRecord, after: CellRecord) -> list[str]:
    # A check that failed before the shapes were probed is the news; that they were not probed follows.
    unreached = bool(after.failures - before.failures)
    return [
        f"{dim} was dynamic, is {after.dims.get(dim, 'not probed')} now"
        for dim, kind in before.dims.items()
        if kind == _DYNAMIC and after.dims.get(dim) != _DYNAMIC and (dim in after.dims or not unreached)
    ]


def _improved(kind: str, after: CellRecord, dim: str) -> bool:
    return kind != _DYNAMIC and after.dims.get(dim) == _DYNAMIC


# Judging


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A gate against the baseline: its state (None if it was not judged), its outcome, and what to tell the user."""

    state: State | None
    outcome: Outcome
    message: str = ""

    def apply(self, gate: GateResult) -> GateResult:
        """The gate with this outcome, state and message; a crash that counts stays one."""
        crashed = gate.outcome is Outcome.CRASHED and self.outcome is Outcome.FAILED
        return replace(
            gate,
            outcome=gate.outcome if crashed else self.outcome,
            baseline=self.state.value if self.state else None,
            reason=self.message or gate.reason,
        )


def judge(gate: GateResult, baseline: Baseline | None) -> Judgement:
    """Judge a gate by its cells. Without a baseline, and for a gate that was skipped, its own outcome stands.

    Of several cells the worst decides: regressed, new and failing, fixed, known, new and passing, ok. A cell that is
    recorded and gone changes no state, since the run may have left it out on purpose: see :func:`stale`.
    """
    if baseline is None or gate.outcome is Outcome.SKIPPED:
        return Judgement(state=None, outcome=gate.outcome)
    entry = baseline.entries.get(gate.id, Entry(cells={}))
    found = cells_of(gate)
    changes = compare(entry.cells, found)
    record = f"run with {UPDATE}"
    line = f'the line "{_PREFIX}{gate.id}" in {baseline.path.name}'
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
        why = f"reason: {reason}" if reason else f"no reason is given: fill in reason on {line}"
        return Judgement(state=State.KNOWN, outcome=Outcome.XFAILED, message="; ".join([*_told(changes.known), why, *notes]))
    state = State.NEW if changes.passing else State.OK
    return Judgement(state=state, outcome=Outcome.PASSED, message="; ".join(notes))


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
            deselected or crashed is not stale.
        gates: the results. A gate of several models has ids of its own, ``<collected id>-<class>``, known only once it
            ran; while it has not, every such id counts as gated.
    """
    asked = set(collected)
    results = {gate.id: gate for gate in gates}
    judged = {id for id, gate in results.items() if gate.outcome not in (Outcome.SKIPPED, Outcome.CRASHED)}
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


# Writing


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
        if gate.outcome is Outcome.SKIPPED:
            continue
        owner = owners.setdefault(gate.id, gate.nodeid)
        if owner != gate.nodeid:
            raise BaselineError(
                f"baseline {baseline.path}: {owner} and {gate.nodeid} share the gate id {gate.id!r}; give one of them an id="
            )
        entries[gate.id] = _entry(entries.get(gate.id), cells_of(gate))
    return replace(baseline, entries=entries)


def _entry(former: Entry | None, cells: Mapping[str, CellRecord]) -> Entry:
    targets = {_parts(name)[0] for name in cells}
    kept = {} if former is None or _UNKNOWN in targets else former.cells
    entry = Entry(cells={**{name: cell for name, cell in kept.items() if _parts(name)[0] not in {*targets, _UNKNOWN}}, **cells})
    if not entry.failures:
        return entry
    same = former is not None and entry.failures & former.failures
    return replace(entry, reason=(former.reason or "") if former is not None and same else "")


def render(baseline: Baseline) -> str:
    """The file's text: sorted keys, one gate a line. A lone surrogate, which UTF-8 cannot hold, is written ``\\udXXX``."""
    lines = [f"{_dump(_PREFIX + id)}: {_dump(_to_json(entry))},\n" for id, entry in sorted(baseline.entries.items())]
    text = "".join(["{\n", *lines, f'"schema": {SCHEMA}\n', "}\n"])
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _to_json(entry: Entry) -> dict[str, Any]:
    cells = {}
    for name, cell in entry.cells.items():
        cells[name] = {"verdict": cell.verdict, "dims": dict(cell.dims), **({"also": list(cell.also)} if cell.also else {})}
    return {"cells": cells, **({} if entry.reason is None else {"reason": entry.reason})}


def write(path: Path, baseline: Baseline) -> None:
    """Write the baseline whole or not at all.

    Raises:
        BaselineError: what is there now is broken or of a newer schema; it is left as it is.
        OSError: the file cannot be written; what was there before is untouched.
    """
    Baseline.load(path)
    write_text(path, render(baseline))
