"""One export at a time: while it exports, torch patches the class of all modules and keeps its state in the process."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..base import Missing

__all__ = ["alone", "out_of_time"]

_PATIENCE = 1.0
"""Seconds to wait for an export that was told to end."""


@dataclass(kw_only=True)
class _Turn:
    """An export under way, the thread it runs in, and the moment at which the gate stops waiting for it."""

    thread: threading.Thread
    until: float
    done: bool = False

    @property
    def runs(self) -> bool:
        return not self.done and self.thread.is_alive()

    @property
    def overdue(self) -> bool:
        return time.monotonic() > self.until

    def end(self) -> None:
        """Raise SystemExit in the thread, as the gate did before; the model may have caught that one."""
        if self.runs:
            number = ctypes.c_ulong(self.thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(SystemExit))


_turn: _Turn | None = None
_taking = threading.Lock()


@contextlib.contextmanager
def alone(timeout: float) -> Iterator[None]:
    """While open, no other thread exports.

    Raises:
        Missing: another export still runs.
    """
    turn = _taken(timeout)
    try:
        yield
    finally:
        # Takes no lock: an overdue thread may be interrupted here.
        turn.done = True


def _taken(timeout: float) -> _Turn:
    """The turn of this thread, once no other thread has one."""
    global _turn
    started = time.monotonic()
    while True:
        with _taking:
            other = _turn
            if other is None or not other.runs or other.thread is threading.current_thread():
                _turn = _Turn(thread=threading.current_thread(), until=started + timeout)
                return _turn
        if other.overdue:
            other.end()
        if time.monotonic() > min(max(other.until, started) + _PATIENCE, started + timeout / 2):
            raise Missing("an earlier export is still running in this process")
        other.thread.join(0.02)


def out_of_time() -> bool:
    """Whether the gate has stopped waiting for this thread's export."""
    return _turn is not None and _turn.thread is threading.current_thread() and _turn.overdue
