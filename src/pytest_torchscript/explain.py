"""Why a cell fails: causes with their lines, and the findings that name them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import source
from .cell import Cell
from .diagnosis.cause import Cause, specialisation
from .diagnosis.error_text import root_cause
from .diagnosis.lines import first_line_where
from .diagnosis.remedies import remedy_for
from .nested import tensors
from .result import Finding, Verdict
from .tracing.conversions import Conversion
from .tracing.program import produced_at
from .tracing.trace import Traced, quiet

__all__ = ["COMPUTED", "advice", "caused", "causes_at", "lines_of", "not_carried_out", "produced", "warned", "written_at"]

COMPUTED = "computed at"
"""How a cause names a line that only computed what differs; the reason may be elsewhere."""

_MOST_CAUSES = 3
_MOST_LINES = 4


def advice(
    cell: Cell,
    verdict: Verdict,
    *,
    error: str = "",
    lines: Iterable[source.Line] = (),
    conversions: Sequence[Conversion] = (),
) -> str | None:
    """The hint of the table of remedies for a failure: by its error, or by the first line for which a remedy is known."""
    for line in lines or (None,):
        remedy = remedy_for(verdict=verdict, error_text=error, line=line, conversions=conversions, model=cell.model)
        if remedy is not None:
            return remedy.hint
    return None


def caused(
    cell: Cell,
    findings: Iterable[Finding],
    causes: list[Cause],
    *,
    hint: str,
    verdict: Verdict | None = None,
    conversions: Sequence[Conversion] = (),
    also: str = "",
) -> tuple[Finding, ...]:
    """``findings`` with the first cause on the first of them, and one further finding for each other cause.

    ``hint`` is given where the table of remedies has none for ``verdict`` at these lines; ``also`` is put behind either.
    """
    found = list(findings)
    if verdict is not None and causes:
        # Only the message says that a number became a tensor; for the other verdicts the line says more than the message.
        error = found[0].message if verdict is Verdict.NOT_EQUIVALENT else ""
        lines = [cause.line for cause in causes]
        hint = advice(cell, verdict, error=error, lines=lines, conversions=conversions) or hint
    hint += also
    if not causes:
        return (replace(found[0], hint=found[0].hint or hint), *found[1:])
    first, *others = causes
    head = cell.finding(
        found[0].message,
        line=first.line,
        where=first.where,
        path=found[0].path,
        hint=found[0].hint or hint,
        details={**found[0].details, **({"cause": first.detail} if first.detail else {})},
    )
    more = [cell.finding(cause.sentence, line=cause.line, where=cause.where) for cause in others[: _MOST_CAUSES - 1]]
    return (head, *found[1:], *more)


def causes_at(cell: Cell, inputs: Mapping[str, Any]) -> list[Cause]:
    """The lines that make the trace wrong at ``inputs``, or make it refuse them."""
    with cell.trying():
        return specialisation(cell.model, cell.call, cell.inputs, inputs, cell.restore)


def warned(traced: Traced | None) -> list[Cause]:
    """The tracer's own warnings as causes, for a failure without another one."""
    diagnostics = traced.diagnostics if traced else ()
    return [Cause(entry.line, "tracer warned at", entry.message) for entry in diagnostics if entry.line][:_MOST_CAUSES]


def produced(traced: Traced, outputs: Any, path: str) -> list[Cause]:
    """The line that computed the output leaf at ``path``, by the traced graph; ``outputs`` are eager's."""
    paths = [name for name, _ in tensors(outputs)]
    if path not in paths:
        return []
    line = produced_at(traced.module, paths.index(path), len(paths))
    return [Cause(line, COMPUTED)] if line else []


def not_carried_out(cell: Cell, error: BaseException) -> Finding:
    """A finding for an error inside this package, as for a kind of tensor that no check supports."""
    cell.restore(thorough=True)
    lines = source.traceback_frames(error.__traceback__)
    place = f" ({os.path.basename(lines[0].file)}:{lines[0].line})" if lines else ""
    return cell.finding(
        f"the check could not be carried out: {root_cause(error)}{place}",
        hint="skip it with a reason, skip={...}, and report the model to pytest-torchscript",
    )


def lines_of(cell: Cell, names: Sequence[str]) -> list[tuple[str, source.Line | None]]:
    """Parameters, buffers or attributes that a call changes, the first few with their lines."""
    lines = [written_at(cell, name) for name in names[:_MOST_LINES]]
    return [*zip(names, lines, strict=False), *((name, None) for name in names[_MOST_LINES:])]


def written_at(cell: Cell, name: str) -> source.Line | None:
    """The line, in a call of the model, that changes one parameter, buffer or attribute."""
    with quiet():
        try:
            return first_line_where(lambda: cell.call.run(cell.model), lambda: cell.state.differs(name))
        finally:
            cell.restore_all()
