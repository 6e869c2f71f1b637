"""The JUnit report, for dashboards: a suite for each gate, with a testcase for each cell and check.

Dashboards keep their history by suite, classname and name, so these never hold what changes from run to run:
``torchscript.<id>`` / ``torchscript.<id>`` / ``<target>[b<batch>,s<seq>].<check>``. A suite for each gate, since many readers
show the suite and no classname. What is true of a gate and of no check of it (it crashed, it did not run, its baseline
failed it, the baseline has it and no test does) is a testcase called ``gate``. Written by the package ``junit-xml``.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..baseline import State
from ..errors import GateError
from ..files import write_text
from ..result import CellResult, CheckResult, Finding, GateResult, Outcome, Status, Verdict
from .document import Document

__all__ = ["DEFAULT_FAMILY", "FAMILIES", "FamilyError", "checked_family", "render", "write"]

DEFAULT_FAMILY = "xunit2"
FAMILIES = ("xunit1", "legacy", DEFAULT_FAMILY)
"""The values of pytest's ``junit_family``. All but the default let a testcase say its file and line."""

_SUITE = "torchscript"
_GATE = "gate"
_MOST_OF_A_MESSAGE = 500  # characters; where pytest's own --junitxml cuts
_MOST_OF_A_BODY = 64 * 1024  # bytes; readers break on bodies of megabytes
_HEAD_OF_A_BODY = 48 * 1024
_TAIL_OF_A_BODY = 15 * 1024

_COLOUR = re.compile("\x1b\\[[0-9;]*m")
# What XML 1.0 cannot hold, and the C1 controls, which it advises against (https://www.w3.org/TR/xml/#charsets).
_UNFIT = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class FamilyError(GateError):
    """A ``junit_family`` that there is not."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One testcase. ``type``, ``message`` and ``body`` say why it failed or was skipped, ``out`` what a pass leaves open.

    ``is_error`` tells a failure of the test, which leaves the model unjudged, from one of the model; ``source`` is the file of
    the suite's test, ``file`` and ``line`` are those to look at.
    """

    classname: str
    name: str
    seconds: float
    status: Status
    type: str = ""
    message: str = ""
    body: str = ""
    out: str = ""
    is_error: bool = False
    source: str = ""
    file: str | None = None
    line: int | None = None


def checked_family(text: str) -> str:
    """``text``, if it is a value of pytest's ``junit_family``.

    Raises:
        FamilyError: it is none; the message names those that there are.
    """
    if text not in FAMILIES:
        raise FamilyError(f"junit_family must be one of {', '.join(FAMILIES)}, not {text!r}")
    return text


def render(document: Document, family: str = DEFAULT_FAMILY) -> str:
    """The document as JUnit XML.

    Of ``xunit2`` it is valid against the schema of Jenkins' xUnit plugin. That schema knows no file and line of a testcase,
    which readers take all the same: under another family failing testcases have those of the guilty line.

    Raises:
        FamilyError: there is no such family.
    """
    places = checked_family(family) != DEFAULT_FAMILY
    cases = [case for gate in document.gates for case in _of_gate(gate)]
    cases += [_stale(entry) for entry in document.stale]
    suites: dict[str, list[_Case]] = {}
    for case in _unique(cases):
        suites.setdefault(case.classname, []).append(case)
    return _xml(suites or {_SUITE: []}, document.environment, places=places)


def write(path: Path, document: Document, family: str = DEFAULT_FAMILY) -> None:
    """Write the report whole or not at all.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
        FamilyError: there is no such family.
    """
    write_text(path, render(document, family))


# From gates to testcases


def _of_gate(gate: GateResult) -> Iterator[_Case]:
    cases = [_of_check(gate, cell, check) for cell in gate.cells for check in cell.checks]
    yield from cases
    outcome, state, reason = gate.outcome, gate.baseline, gate.reason
    whole = _case(gate, _GATE, gate.seconds, Status.PASSED)
    failures = {case.type for case in cases if case.status is Status.FAILED}
    if outcome == Outcome.ERROR:
        verdict = gate.verdict or Verdict.NOT_JUDGED
        yield replace(_failed(whole, verdict, reason or "nothing was judged", _about(gate)), is_error=True)
    elif outcome == Outcome.CRASHED:
        if Verdict.CRASHED not in failures:
            yield _failed(whole, Verdict.CRASHED, reason or "the process died or hung", _about(gate))
    elif outcome == Outcome.FAILED and (not failures or state == State.FIXED):
        # The baseline failed it (what failed passes now, or a dim that was dynamic is not), or nothing was judged.
        otherwise = f"baseline: {state}" if state else "nothing was judged"
        yield _failed(whole, state or "Failed", reason or otherwise, _about(gate))
    elif not cases and outcome == Outcome.XFAILED:
        yield _skipped(whole, f"known: {reason or 'the gate was expected to fail'}", _about(gate))
    elif not cases and outcome == Outcome.SKIPPED:
        why = f"{gate.verdict.value}: " if gate.verdict else ""
        yield _skipped(whole, f"{why}{reason or 'the gate did not run'}", _about(gate))
    elif not cases:
        yield whole


def _stale(entry: str) -> _Case:
    """What is recorded and gated by no test: the id of a gate, or ``<id> <cell>``."""
    id, _, cell = entry.partition(" ")
    name = f"{cell}.{_GATE}" if cell else _GATE
    case = _Case(classname=f"{_SUITE}.{id}", name=name, seconds=0.0, status=Status.FAILED)
    return _failed(case, State.STALE.value, "recorded in the baseline, and no test gates it: coverage was lost")


def _of_check(gate: GateResult, cell: CellResult, check: CheckResult) -> _Case:
    case = _case(gate, f"{cell.name}.{check.name}", check.seconds, check.status)
    if check.status is Status.SKIPPED:
        return _skipped(case, check.reason or "no reason given")
    if check.verdict is None:
        if not check.reason:
            return case
        # Lint is a pass that proves less: the output of the testcase says so, with what was found.
        return replace(case, out="\n".join([check.reason, *_findings(check.findings)]))
    place = next((finding for finding in check.findings if finding.file and finding.line), None)
    if place is not None:
        case = replace(case, file=place.file, line=place.line)
    messages = (finding.message for finding in check.findings)
    message = next((text for text in messages if text.strip()), check.reason or f"the check {check.name} failed")
    because = [check.reason] if check.reason else []
    body = "\n".join([*_findings(check.findings or (Finding(message=message),)), *because, *_about(gate)])
    if gate.outcome is Outcome.XFAILED:
        # A failure that everyone knows of does not redden a dashboard; one that is new does.
        why = f" ({gate.reason})" if gate.reason else ""
        return _skipped(case, f"known {check.verdict.value}{why}: {message}", [body])
    return _failed(case, check.verdict, message, [body])


def _case(gate: GateResult, name: str, seconds: float, status: Status) -> _Case:
    source = gate.nodeid.partition("::")[0]
    classname = f"{_SUITE}.{gate.id}"
    return _Case(classname=classname, name=name, seconds=seconds, status=status, source=source, file=source or None)


def _failed(case: _Case, type: str, message: str, lines: Iterable[str] = ()) -> _Case:
    # A verdict is a text, but its str() is not the text.
    name = type.value if isinstance(type, Verdict) else type
    return replace(case, status=Status.FAILED, type=name, message=message, body="\n".join(lines) or message)


def _skipped(case: _Case, message: str, lines: Iterable[str] = ()) -> _Case:
    # In the body too: some readers take a skip without one for a pass.
    body = "\n".join(lines)
    return replace(case, status=Status.SKIPPED, message=message, body=body if message in body else f"{message}\n{body}".strip())


def _findings(findings: Iterable[Finding]) -> Iterator[str]:
    """Every finding in full: the message, the leaf, the amounts, the line, and each remedy once."""
    remedies: set[str] = set()
    for finding in findings:
        yield finding.message
        if finding.path:
            yield f"  path       {finding.path}"
        if finding.details:
            amounts = (f"{name}={_plain(value)}" for name, value in sorted(finding.to_json()["details"].items()))
            yield f"  amounts    {', '.join(amounts)}"
        if finding.file:
            line = f":{finding.line}" if finding.line else ""
            function = f" in {finding.function}" if finding.function else ""
            source = f":   {finding.source}" if finding.source else ""
            yield f"  {finding.where or 'at':<9}  {finding.file}{line}{function}{source}"
        if finding.hint and finding.hint not in remedies:
            remedies.add(finding.hint)
            yield f"  remedy     {finding.hint}"


def _about(gate: GateResult) -> Iterator[str]:
    """What holds for all of a gate: its baseline, why it did not run, how to run it again."""
    if gate.reason:
        yield gate.reason
    if gate.baseline:
        yield f"  baseline   {gate.baseline}"
    if gate.nodeid:
        yield f"  reproduce  pytest {shlex.quote(gate.nodeid)}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _unique(cases: Iterable[_Case]) -> list[_Case]:
    """The cases with names that no other has: a dashboard would take two of one name for one."""
    seen: Counter[tuple[str, str]] = Counter()
    named = []
    for case in cases:
        # In attributes, a line is a line: what breaks it would break whatever lists the names.
        key = classname, name = _line(case.classname), _line(case.name)
        seen[key] += 1
        if seen[key] > 1:
            name = f"{name}#{seen[key]}"
        same = (classname, name) == (case.classname, case.name)
        named.append(case if same else replace(case, classname=classname, name=name))
    return named


# From testcases to XML


def _xml(suites: Mapping[str, Sequence[_Case]], environment: Mapping[str, Any], *, places: bool) -> str:
    versions = {_line(str(name)): _line(str(value)) for name, value in environment.items() if value is not None}
    elements = [_suite(name, cases, versions, places=places) for name, cases in suites.items()]
    milliseconds = sum(_milliseconds(case.seconds) for cases in suites.values() for case in cases)
    totals = {count: str(sum(int(element.get(count, 0)) for element in elements)) for count in ("tests", "failures", "errors")}
    root = ElementTree.Element("testsuites", {**totals, "time": f"{milliseconds / 1000:.3f}"})
    root.extend(elements)
    ElementTree.indent(root, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(name: str, cases: Sequence[_Case], versions: Mapping[str, str], *, places: bool) -> ElementTree.Element:
    """The one place that knows ``junit-xml``, and that undoes what it gets wrong:

    its attribute ``disabled`` is in no schema; it writes 1e-9 s as ``1e-09`` and leaves 0 s out; it drops a failure
    without message and body, and so reports a pass; it strips control characters down to debris, and stops at a lone
    surrogate. So its texts are cleaned before it sees them, its times are set after, and it does not write the file.
    """
    # Here, so that a run which writes no JUnit does not load it.
    from junit_xml import TestSuite

    element: ElementTree.Element = TestSuite(name, [_entry(case) for case in cases], properties=versions).build_xml_doc()
    element.attrib.pop("disabled", None)
    milliseconds = [_milliseconds(case.seconds) for case in cases]
    for case, testcase, duration in zip(cases, element.iter("testcase"), milliseconds, strict=True):
        testcase.set("time", f"{duration / 1000:.3f}")
        if places and case.status is Status.FAILED and case.file:
            testcase.set("file", _line(case.file))
            if case.line:
                testcase.set("line", str(case.line))
    element.set("time", f"{sum(milliseconds) / 1000:.3f}")
    source = next((case.source for case in cases if case.source), "")
    if source:
        element.set("file", _line(source))
    return element


def _entry(case: _Case) -> Any:
    from junit_xml import TestCase

    out = {"stdout": _body(case.out)} if case.out else {}
    entry = TestCase(case.name, classname=case.classname, allow_multiple_subelements=True, **out)
    message, body = _message(case.message), _body(case.body)
    if case.status is Status.FAILED:
        add = entry.add_error_info if case.is_error else entry.add_failure_info
        add(message or case.type, body, case.type)
    elif case.status is Status.SKIPPED:
        entry.add_skipped_info(message or "no reason given", body.strip() or "no reason given")
    return entry


def _milliseconds(seconds: Any) -> int:
    """Whole milliseconds; a time that is none (infinite, negative) is 0."""
    return round(seconds * 1000) if isinstance(seconds, (int, float)) and math.isfinite(seconds) and seconds > 0 else 0


def _clean(text: str) -> str:
    """Text that XML can hold: colours are dropped, any other character it cannot hold is written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    text = _COLOUR.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _UNFIT.sub(lambda found: f"\\x{ord(found[0]):02x}" if found[0] < "\u0100" else f"\\u{ord(found[0]):04x}", text)


def _line(text: str) -> str:
    return " ".join(_clean(text).split())


def _message(text: str) -> str:
    """One line, and not a long one; of megabytes no more is read than that takes."""
    line = _line(text[: 100 * _MOST_OF_A_MESSAGE])
    return line if len(line) <= _MOST_OF_A_MESSAGE else line[: _MOST_OF_A_MESSAGE - 1] + "…"


def _body(text: str) -> str:
    """The text, or the head and the tail of one that is too long."""
    if len(text) <= _MOST_OF_A_BODY:
        whole = _clean(text)
        if len(whole.encode()) <= _MOST_OF_A_BODY:
            return whole
    head = _clean(text[:_HEAD_OF_A_BODY]).encode()[:_HEAD_OF_A_BODY].decode(errors="ignore")
    tail = _clean(text[-_TAIL_OF_A_BODY:]).encode()[-_TAIL_OF_A_BODY:].decode(errors="ignore")
    return f"{head}\n[… the middle of {len(text)} characters is left out here; the JSON report has it …]\n{tail}"
