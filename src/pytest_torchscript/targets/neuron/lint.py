"""How a rule is judged: about the traced program, or by what another check found."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from ... import source
from ...result import Finding, Status
from ..base import NotJudged
from ..deployment import Deployment
from ..tools import Operation, Program

__all__ = [
    "META",
    "MOST_LINES",
    "NO_BATCH",
    "UNTRACED",
    "Place",
    "declared_at",
    "in_program",
    "program_of",
    "repeated",
    "require",
]

MOST_LINES = 3

META = "meta weights"
UNTRACED = "no trace was made"
NO_BATCH = "no axis of the inputs is known to be the batch: declare dims="


class Place(NamedTuple):
    """An operation that breaks a rule, the sentence about it, and its remedy."""

    operation: Operation
    message: str
    hint: str


def in_program(look: Callable[[Program], Iterable[Place]]) -> Callable[[Deployment], list[Finding]]:
    """A rule about the traced program: the first places that ``look`` finds, each line once."""

    def check(deployment: Deployment) -> list[Finding]:
        program = program_of(deployment)
        if program is None:
            raise NotJudged("nothing can be traced")
        by_line: dict[source.Line | None, Place] = {}
        for place in look(program):
            by_line.setdefault(place.operation.line, place)
        if len(by_line) > 1:
            by_line.pop(None, None)
        hidden = len(by_line) - MOST_LINES
        shown = list(by_line.items())[:MOST_LINES]
        findings = [deployment.finding(place.message, line=line, hint=place.hint) for line, place in shown]
        if hidden > 0:
            findings[-1] = replace(findings[-1], message=f"{findings[-1].message} (and on {hidden} further lines)")
        return findings

    check.__doc__ = look.__doc__
    return check


def program_of(deployment: Deployment) -> Program | None:
    """The traced program; None where nothing can be traced: the rule ``trace`` says why."""
    try:
        return deployment.program
    except Exception:  # noqa: BLE001 - whatever the model raises while it is traced
        return None


def require(deployment: Deployment, name: str) -> None:
    """Raise :class:`NotJudged` where a check before this one gave no answer."""
    result = deployment.results.get(name)
    if result is None:
        raise NotJudged(f"the check {name} was not run")
    if result.status not in (Status.PASSED, Status.FAILED):
        raise NotJudged(result.reason or f"the check {name} was skipped")


def repeated(name: str, message: str, hint: str) -> Callable[[Deployment], list[Finding]]:
    """A rule that fails where another check failed."""

    def check(deployment: Deployment) -> list[Finding]:
        """Repeat the failure of another check in a sentence, at its line."""
        require(deployment, name)
        result = deployment.results[name]
        if result.status is not Status.FAILED:
            return []
        found = next((finding for finding in result.findings if finding.line is not None), Finding(message=""))
        return [replace(found, message=f"{message}: see {name}", path=None, hint=hint, details={})]

    return check


def declared_at(deployment: Deployment) -> source.Line | None:
    """The line where the model's forward is declared."""
    code = getattr(inspect.unwrap(type(deployment.model).forward), "__code__", None)
    if code is None or source.is_foreign(code.co_filename):
        return None
    return source.Line(code.co_filename, code.co_firstlineno, code.co_name)
