"""C++ compilers for the tests of the target `libtorch`: the machine's own, and scripts that behave badly."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from pytest_torchscript.targets import libtorch

__all__ = ["NEEDS_COMPILER", "calls", "copying", "script", "shared_cache"]

NEEDS_COMPILER = pytest.mark.skipif(libtorch.missing() is not None, reason=f"not on this machine: {libtorch.missing()}")


def shared_cache(factory: pytest.TempPathFactory) -> Path:
    """One cache directory for all tests and all workers of a session, so that the program is really compiled once."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return folder / "cache"


def script(path: Path, text: str) -> Path:
    """An executable shell script. It counts its calls; see :func:`calls`."""
    path.write_text(f"#!/bin/sh\necho call >> {shlex.quote(f'{path}.calls')}\n{text}\n")
    path.chmod(0o755)
    return path


def calls(path: Path) -> int:
    """How often a script was called."""
    log = Path(f"{path}.calls")
    return len(log.read_text().splitlines()) if log.exists() else 0


def copying(path: Path, program: Path, before: str = "") -> Path:
    """A compiler that takes a moment and gives a program that was compiled before, whatever it is asked."""
    copy = f'while [ "$1" != "-o" ]; do shift; done\nsleep 0.2\ncp {shlex.quote(str(program))} "$2"'
    return script(path, f"{before}\n{copy}")
