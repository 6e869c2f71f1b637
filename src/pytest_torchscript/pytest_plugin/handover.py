"""What the process that runs the tests hands to the process that reports them: text on reports, and at a worker's end."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

__all__ = ["COLLECTED", "FILTERED", "PROGRESS", "USAGE_ERROR", "Progress", "attach", "attached", "sendable", "worker_output"]

USAGE_ERROR = "torchscript_usage_error"
"""Why a worker collects nothing."""

COLLECTED = "torchscript_collected"
"""The gates that a worker collected, as JSON: the id of each with the test it belongs to."""

FILTERED = "torchscript_filtered"
"""Whether a worker deselected tests."""


PROGRESS = "torchscript_progress"
"""Among what a worker is given: the file in which it notes the check that is under way."""


class Progress:
    """The check that is under way. In an xdist worker it is noted in a file too, which outlives the process."""

    def __init__(self, config: pytest.Config) -> None:
        self._file: str | None = getattr(config, "workerinput", {}).get(PROGRESS)
        self.check = ""

    def __call__(self, check: str) -> None:
        self.check = check
        if self._file is not None:
            with suppress(OSError):
                Path(self._file).write_text(check, encoding="utf-8")


def worker_output(config: pytest.Config) -> dict[str, Any] | None:
    """What an xdist worker sends to the controller at its end; None in any other process."""
    output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    return output


def attach(report: pytest.TestReport, **data: Any) -> None:
    """Let ``data`` travel on a report, as far as there is any.

    It is text, and ASCII: what execnet sends to xdist's controller must be plain, and a lone surrogate ends the connection.
    """
    given = {name: value for name, value in data.items() if value}
    if given:
        report.torchscript = json.dumps(given)  # type: ignore[attr-defined]


def attached(report: pytest.TestReport, name: str) -> list[Any]:
    """What :func:`attach` put on a report under ``name``."""
    found: list[Any] = json.loads(getattr(report, "torchscript", "{}")).get(name, [])
    return found


def sendable(text: str) -> str:
    """Text that UTF-8 can hold: xdist sends it, and files store it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
