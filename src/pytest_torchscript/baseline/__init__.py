"""The baseline: what each gate is known to give, so that only a model that becomes worse fails a build.

Of a cell it records the verdict of the first failing check; ``also`` holds those of further ones, so that a known failure
does not hide a new one. ``reason`` is for people. Standard library only; nothing here writes but :func:`write`.
"""

from .compare import Changes, compare
from .file import SCHEMA, UPDATE, Baseline, BaselineError, render, write
from .judge import Judgement, State, facts, judge, stale, update
from .records import CellRecord, Entry, cells_of

__all__ = [
    "SCHEMA",
    "UPDATE",
    "Baseline",
    "BaselineError",
    "CellRecord",
    "Changes",
    "Entry",
    "Judgement",
    "State",
    "cells_of",
    "compare",
    "facts",
    "judge",
    "render",
    "stale",
    "update",
    "write",
]
