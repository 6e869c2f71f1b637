"""Running another program for a limited time, and ending it with everything that it started."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Deadline", "execute", "signal_name"]

_MOST_BYTES = 1 << 20


class Deadline:
    """The moment at which a target has to give up: early enough to report it before the gate stops the target."""

    def __init__(self, timeout: float) -> None:
        self.seconds = timeout - min(1.0, timeout / 10)
        self._end = time.monotonic() + self.seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())


def execute(command: Sequence[str], *, folder: Path, seconds: float, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command in ``folder`` to its end, and return its status and what it printed.

    Raises:
        subprocess.TimeoutExpired: after so many seconds; the command and what it started are ended.
        OSError: it cannot be started.
    """
    # A file, for a pipe would stay open as long as a grandchild that survives.
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # An interrupt of the gate does not reach a process in a session of its own, which would outlive the run.
        end = functools.partial(_end, process)
        atexit.register(end)
        try:
            code = process.wait(seconds)
        finally:
            end()
            atexit.unregister(end)
        printed.seek(0)
        return code, printed.read(_MOST_BYTES).decode("utf-8", "replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, and those that it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11; ``signal 99`` where the number has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
