"""Which lines of user and library code ran, in order: the line at which two runs go different ways is the branch.

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


_Event = tuple[Any, ...]


class LineLog:
    """The executed lines outside torch and the standard library, in order.

    ``events`` holds ``(file, line, function)`` for each line that ran, ``returns`` the same for each return. With ``steps``,
    ``events`` holds each step of a line, with its place in the line's code: ``a if b else c`` parts within a line. A call of a
    function has a number, counted from 0: ``calls`` holds, for each event, the number of the call that it belongs to,
    ``callers`` the number of the call that made it (-1 for none), ``answers`` what kind of value it returned.
    """

    def __init__(self, *, steps: bool = False) -> None:
        self.steps = steps
        self.events: list[_Event] = []
        self.returns: list[_Event] = []
        self.calls: list[int] = []
        self.callers: list[int] = []
        self.answers: dict[int, type] = {}
        self._running: list[int] = []

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
        self.callers.append(self._running[-1] if self._running else -1)
        self._running.append(len(self.callers) - 1)
        frame.f_trace_opcodes = self.steps
        return self._line

    def _line(self, frame: FrameType, event: str, value: Any) -> Any:
        entry = (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        if event == ("opcode" if self.steps else "line") and self._running:
            self.events.append((*entry, frame.f_lasti) if self.steps else entry)
            self.calls.append(self._running[-1])
        elif event == "return":
            self.returns.append(entry)
            if self._running:
                self.answers[self._running.pop()] = type(value)
        return self._line

    def lines_of(self, call: int) -> list[_Event]:
        """The lines that one call ran itself, without those of the calls that it made."""
        return [event for event, number in zip(self.events, self.calls, strict=True) if number == call]

    def chain(self, call: int) -> list[int]:
        """A call and those that it was made from, the innermost first."""
        found = []
        while call >= 0:
            found.append(call)
            call = self.callers[call]
        return found


def branch(left: LineLog, right: LineLog, *, asked_by_caller: bool = False) -> source.Line | None:
    """The line after which two runs first went different ways; None when they did not part, or share no line.

    A function that ran alike in both is left for the line that called it. With ``asked_by_caller``, so is a function that
    answers the two runs with a bool: ``def exporting(): …`` is no fault, but what its caller makes of the answer may be.
    """
    index = _first_other(left.events, right.events)
    if not index:
        return None
    if index >= min(len(left.events), len(right.events)):
        # One of the runs ended there.
        return source.Line(*left.events[index - 1][:3])
    call = _parted_in(left, right, index)
    line = _last_line(left, call, index)
    while asked_by_caller and left.answers.get(call) is right.answers.get(call) is bool and left.callers[call] >= 0:
        call = left.callers[call]
        mine, theirs = left.lines_of(call), right.lines_of(call)
        parted = _first_other(mine, theirs)
        line = source.Line(*mine[parted - 1][:3]) if parted else _last_line(left, call, index)
    return line


def _first_other(left: list[_Event], right: list[_Event]) -> int | None:
    """The index of the first event that is not the same in both; None when there is none."""
    for index, (mine, theirs) in enumerate(zip(left, right, strict=False)):
        if mine != theirs:
            return index
    return None if len(left) == len(right) else min(len(left), len(right))


def _parted_in(left: LineLog, right: LineLog, index: int) -> int:
    """The call in which two runs part at event ``index``: the innermost one that both were in and one has not left."""
    known = set(left.calls[:index])
    inside = [[call for call in log.chain(log.calls[index]) if call in known] for log in (left, right)]
    deepest = max(inside, key=len)
    return deepest[0] if deepest else left.calls[index - 1]


def _last_line(log: LineLog, call: int, index: int) -> source.Line:
    """The last line that a call ran before event ``index``."""
    last = next(number for number in range(index - 1, -1, -1) if log.calls[number] == call)
    return source.Line(*log.events[last][:3])


def last_return(model: torch.nn.Module, log: LineLog) -> source.Line | None:
    """The line by which the model's own forward returned in a recorded run; None where it did not, or is not Python."""
    code = getattr(inspect.unwrap(type(model).forward), "__code__", None)
    if code is None:
        return None
    own = [event for event in log.returns if event[0] == code.co_filename and event[2] == code.co_name]
    inside = [event for event in own if event[1] >= code.co_firstlineno]
    return source.Line(*inside[-1]) if inside else None


def first_line_where(function: Callable[[], Any], changed: Callable[[], bool]) -> source.Line | None:
    """The line after which ``changed()`` first holds while ``function()`` runs; None if it never does.

    The condition is looked at before every line outside torch. What made it true, a statement or an operation that it
    called, ran in the line before.
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
    except Exception:  # noqa: BLE001, S110 - the run may fail; what it changed before counts
        pass
    finally:
        sys.settrace(before)
    if not found and last and changed():
        found.append(last[-1])
    return source.Line(*found[0]) if found else None
