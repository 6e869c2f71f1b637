"""Findings that have one cause are told once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..result import Finding

__all__ = ["merged_dims", "without_repeats"]


def merged_dims(groups: Iterable[Sequence[Finding]]) -> list[Finding]:
    """The findings of several dims, a group each, with the dims that fail by one line as one finding.

    The first finding of a group has the line, and in its ``details`` the ``dim`` and its ``probes``, a kind for each size.
    A dim that fails by a line already named is added to that finding, and its other findings are left out.
    """
    found: list[list[Finding]] = []
    for group in groups:
        head = group[0] if group else None
        known = next((other for other in found if head and head.line is not None and _place(other[0]) == _place(head)), None)
        if known is not None and head is not None:
            known[0] = _with_dim(known[0], head)
        elif group:
            found.append(list(group))
    return [finding for group in found for finding in group]


def _place(finding: Finding) -> tuple[str | None, int | None]:
    return finding.file, finding.line


def _with_dim(finding: Finding, other: Finding) -> Finding:
    """A finding of one dim, with another dim that the same line is the cause of."""
    dim, probes = str(other.details.get("dim")), dict(other.details.get("probes", {}))
    wrong = [size for size, kind in probes.items() if kind == "wrong"]
    refused = [size for size, kind in probes.items() if kind == "raises"]
    at = f"at {', '.join(wrong)}" if wrong else f"refused at {', '.join(refused)}" if refused else "at other sizes"
    also = {**finding.details.get("also", {}), dim: {key: value for key, value in other.details.items() if key != "dim"}}
    return replace(
        finding,
        message=f"{finding.message}; {dim} too by the same line, {at}",
        hint=_declaring(finding.hint, dim),
        details={**finding.details, "also": also},
    )


def _declaring(hint: str | None, dim: str) -> str | None:
    """A hint that proposes to declare one dim fixed, for one dim more."""
    return hint.replace(': "fixed"}', f': "fixed", "{dim}": "fixed"}}') if hint else hint


def without_repeats(findings: Iterable[Finding], earlier: Iterable[Finding]) -> list[Finding]:
    """``findings`` of one check without what ``earlier`` ones of another check have said of the same line.

    The first finding stays, and refers to the other by its line; its remedy is left out where the line has one already.
    """
    told = {_place(finding): finding.hint for finding in earlier if finding.line is not None}
    kept: list[Finding] = []
    for index, finding in enumerate(findings):
        if _place(finding) not in told:
            kept.append(finding)
        elif not index or finding.path is not None:
            kept.append(replace(finding, hint=None) if told[_place(finding)] else finding)
    return kept
