"""Which lines of user and library code ran, in order: where two runs part is the branch.

Used after a failure only. ``sys.settrace`` costs a multiple of the run, and is put back as it was found.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch

from .. import source

__all__ = ["LineLog", "branch", "first_line_where", "last_return"]

_MOST_EVENTS = 400_000


class LineLog:
    """The executed lines outside torch and the standard library: ``(file, line, function, depth)`` in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, str]] = []
        self.returns: list[tuple[str, int, str]] = []

    def record(self, function: Callable[[], Any]) -> Any:
        """Call ``function`` and record; its exception passes through, the lines up to it are kept."""
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            return function()
        finally:
            sys.settrace(before)

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        if source.is_foreign(frame.f_code.co_filename) or len(self.events) > _MOST_EVENTS:
            return None
        return self._line

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        entry = (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        if event == "line":
            self.events.append(entry)
        elif event == "return":
            self.returns.append(entry)
        return self._line


def branch(left: LineLog, right: LineLog) -> source.Line | None:
    """The line after which two runs first went different ways; None when they did not part."""
    for index, (mine, theirs) in enumerate(zip(left.events, right.events, strict=False)):
        if mine != theirs:
            return source.Line(*left.events[index - 1]) if index else None
    shorter = min(left.events, right.events, key=len)
    if len(left.events) != len(right.events) and shorter:
        return source.Line(*shorter[-1])
    return None


def last_return(model: torch.nn.Module, log: LineLog) -> source.Line | None:
    """The return line of the model's own forward in a recorded run."""
    code = getattr(inspect.unwrap(type(model).forward), "__code__", None)
    if code is None:
        return None
    own = [event for event in log.returns if event[0] == code.co_filename and event[2] == code.co_name]
    inside = [event for event in own if event[1] >= code.co_firstlineno]
    return source.Line(*inside[-1]) if inside else None


def first_line_where(function: Callable[[], Any], changed: Callable[[], bool]) -> source.Line | None:
    """The line after which ``changed()`` first holds while ``function()`` runs; None if it never does.

    The condition is looked at before every line outside torch: whatever made it true, a statement there or an operation
    it called, ran in the line before.
    """
    last: list[tuple[str, int, str]] = []
    found: list[tuple[str, int, str]] = []

    def look(frame: FrameType, event: str, _: Any) -> Any:
        if not found and last and changed():
            found.append(last[-1])
        if event == "line":
            last[:] = [(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)]
        return look

    def call(frame: FrameType, event: str, _: Any) -> Any:
        return None if found or source.is_foreign(frame.f_code.co_filename) else look

    before = sys.gettrace()
    sys.settrace(call)
    try:
        function()
    except Exception:  # noqa: BLE001, S110 - whoever asks knows that the run may fail
        pass
    finally:
        sys.settrace(before)
    if not found and last and changed():
        found.append(last[-1])
    return source.Line(*found[0]) if found else None
