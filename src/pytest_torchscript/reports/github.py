"""GitHub Actions: annotations at the model's own source line, as workflow commands.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

# No `from __future__ import annotations`: it would give that name to something else than the function below.
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from ..baseline import State
from ..result import Finding, GateResult, Outcome, Status
from .document import Document
from .text import one_line

__all__ = ["annotations", "linker", "locator", "looks_inside"]

Locate = Callable[[str], str | None]

# GitHub shows this many of each level a step and drops the rest without a word.
_MOST = 10
_MOST_GATES = 5
_MOST_OF_A_MESSAGE = 1000
_LEVELS = ("error", "warning", "notice")
# A server's address, owner/name, a commit: https://docs.github.com/en/actions/reference/workflows-and-actions/variables
_ADDRESS = (re.compile(r"https?://[\w.:-]+"), re.compile(r"[\w.-]+/[\w.-]+"), re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}"))
_INSTALLED = re.compile(r"(^|/)(site|dist)-packages/")


def looks_inside(file: str) -> str | None:
    """``file`` if it may lie in the repository: relative, and not of an installed package."""
    path = PurePosixPath(file)
    outside = path.is_absolute() or ".." in path.parts or "\\" in file or ":" in file or _INSTALLED.search(file)
    return None if outside or not path.parts or file.startswith("<") else str(path)


def locator(root: Path, repository: Path) -> Locate:
    """How to find a finding's file in a checkout: findings are relative to ``root``, annotations to ``repository``.

    The file of an installed package is given from its package on (``transformers/models/…``), which looks like one of
    the repository; so only what is there counts.
    """
    top = os.path.realpath(repository)

    def locate(file: str) -> str | None:
        if looks_inside(file) is None:
            return None
        path = Path(os.path.realpath(root / file))
        return looks_inside(path.relative_to(top).as_posix()) if path.is_relative_to(top) and path.is_file() else None

    return locate


def linker(root: Path, environ: Mapping[str, str]) -> Callable[[str, int], str | None] | None:
    """How to link a line of a finding's file at the commit of a job on GitHub; None outside one.

    A commit, a repository or a server that does not look like one is not linked to, and neither is a file that is not in
    the checkout. ``root`` is what the files of findings are relative to.
    """
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_SHA")
    values = [environ.get(name, "") for name in names]
    if not all(pattern.fullmatch(value) for pattern, value in zip(_ADDRESS, values, strict=True)):
        return None
    server, repository, commit = values
    locate = locator(root, Path(environ.get("GITHUB_WORKSPACE") or root))

    def link(file: str, line: int) -> str | None:
        place = locate(file)
        return f"{server}/{repository}/blob/{commit}/{quote(place)}#L{line}" if place and line > 0 else None

    return link


@dataclass
class _Annotation:
    """One place and what is wrong there, for all gates that it fails."""

    level: str
    title: str
    text: str
    file: str | None = None
    line: int | None = None
    ids: list[str] = field(default_factory=list)


def annotations(document: Document, *, locate: Locate = looks_inside, tests_annotated: bool = False) -> list[str]:
    """Workflow commands, one a line, to be printed as they are: errors, then warnings, then notices, at most 10 of each.

    Errors are failing gates, those that regressed first, and what is stale; warnings are known failures; a notice counts
    the new gates that pass. What fails at one line for one reason in several gates is one annotation. Where there are more than
    GitHub shows, the last one counts the rest.

    Args:
        document: the gates, judged.
        locate: a finding's file relative to the repository, None if it is not in there; see :func:`locator`.
        tests_annotated: whether something else annotates every failing test (the plugin
            ``pytest-github-actions-annotate-failures``): what failed is then not told a second time.
    """
    found: dict[tuple[object, ...], _Annotation] = {}
    for gate in sorted(document.gates, key=_rank):
        for entry in _of_gate(gate, locate):
            if tests_annotated and entry.level == "error":
                continue
            known = found.setdefault((entry.level, entry.title, *_where(entry, gate)), entry)
            if gate.id not in known.ids:
                known.ids.append(gate.id)
    entries = list(found.values())
    new = [gate.id for gate in document.gates if gate.baseline == State.NEW.value and not gate.failed]
    if new:
        text = f"{len(new):,} {'model passes and is' if len(new) == 1 else 'models pass and are'} not recorded in the baseline"
        entries.append(_Annotation("notice", State.NEW.value, text))
    entries += [
        _Annotation("error", "STALE", "recorded, and no test gates it: coverage was lost", ids=[s]) for s in document.stale
    ]
    return [line for level in _LEVELS for line in _level(level, [entry for entry in entries if entry.level == level])]


def _where(entry: _Annotation, gate: GateResult) -> tuple[object, ...]:
    """What makes two annotations of one title one: the line; else, of gates that were not judged, the reason."""
    if entry.file is not None:
        return entry.file, entry.line
    return (entry.text,) if gate.verdict is not None else (gate.id, gate.nodeid)


def _rank(gate: GateResult) -> int:
    if gate.failed:
        order = (State.REGRESSED.value, State.NEW.value, None)
        return order.index(gate.baseline) if gate.baseline in order else len(order)
    return 10


def _of_gate(gate: GateResult, locate: Locate) -> list[_Annotation]:
    """An annotation for each failing check; for a gate that only its baseline judges otherwise, one for the gate."""
    state = gate.baseline or ""
    if not (gate.failed or gate.outcome is Outcome.XFAILED):
        return []
    level = "error" if gate.failed else "warning"
    why = [gate.reason] if gate.reason else []
    entries = []
    for cell in gate.cells:
        for check in cell.checks:
            if check.status is Status.FAILED and check.verdict is not None:
                place = _place(check.findings, locate)
                message = next((f.message for f in check.findings if f.message.strip()), f"the check {check.name} failed")
                hint = next((f.hint for f in check.findings if f.hint), None)
                lines = [message, *([f"remedy: {hint}"] if hint else []), *why]
                title = " ".join(filter(None, [state, check.verdict.value]))
                entries.append(_Annotation(level, title, _text(lines), *place))
    if not entries:
        verdict = next(iter(gate.verdicts), "")
        entries.append(_Annotation(level, " ".join(filter(None, [state, verdict])) or "failed", _text(why or ["see the log"])))
    return entries


def _place(findings: Sequence[Finding], locate: Locate) -> tuple[str | None, int | None]:
    for finding in findings:
        if finding.file and finding.line and finding.line > 0:
            file = locate(finding.file)
            if file is not None:
                return file, finding.line
    return None, None


def _text(lines: Iterable[str]) -> str:
    return "\n".join(one_line(line, _MOST_OF_A_MESSAGE) for line in lines)


def _level(level: str, entries: Sequence[_Annotation]) -> list[str]:
    shown = entries if len(entries) <= _MOST else entries[: _MOST - 1]
    lines = [_command(entry) for entry in shown]
    left = entries[len(shown) :]
    if left:
        ids = list(dict.fromkeys(id for entry in left for id in entry.ids))
        text = f"{len(left):,} more of {len(entries):,}: {_some(ids)}; the summary and the JSON report have all"
        lines.append(_command(_Annotation(level, "more", text)))
    return lines


def _some(ids: Sequence[str]) -> str:
    named = ", ".join(one_line(id, 200) for id in ids[:_MOST_GATES])
    return f"{named} and {len(ids) - _MOST_GATES:,} more" if len(ids) > _MOST_GATES else named


def _command(entry: _Annotation) -> str:
    properties = {"title": f"torchscript {one_line(entry.title, 200)}"}
    if entry.file is not None:
        properties = {"file": entry.file, "line": str(entry.line), **properties}
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    text = f"{_some(entry.ids)}: {entry.text}" if entry.ids else entry.text
    return f"::{entry.level} {told}::{_data(text)}"


def _data(text: str) -> str:
    """A command's message: one line, whatever it holds."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(one_line(text)).replace(":", "%3A").replace(",", "%2C")
