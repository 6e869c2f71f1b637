"""The target ``libtorch``: a saved trace, loaded and run by a C++ program that has no Python in it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...nested import map_with_path
from ..base import Missing, Unsupported
from ..deployment import Deployment
from . import compiler
from .compiler import cache_folder, first_error, missing
from .failures import ProgramFailed, activity, failure, not_saved
from .process import Deadline, execute, signal_name

__all__ = ["Artefact", "ProgramFailed", "Unsupported", "build", "cache_folder", "missing", "run"]


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """The compiled program and the saved trace that it is to load."""

    program: Path
    file: Path
    cached: bool = False
    """Whether the program was compiled by another session."""


def build(deployment: Deployment) -> Artefact:
    """The trace, saved, and the program that will run it.

    Raises:
        Unsupported: torch cannot save the trace.
        Missing: the compiler does not compile the program.
        TimeoutError: the compiler does not end.
    """
    deadline = Deadline(deployment.timeout)
    file = deployment.directory / "model.pt"
    try:
        # torch cannot decode every path, so that the file is written here.
        file.write_bytes(deployment.module.save_to_buffer())  # type: ignore[union-attr] # the target needs a trace
    except Exception as error:
        raise not_saved(deployment, error) from error
    program = compiler.program(deadline)
    return Artefact(program=program, file=file, cached=program not in compiler.attempts)


def run(artefact: Artefact, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The outputs for each of ``inputs``, all from one process.

    Raises:
        Unsupported: the trace needs an operation or a class that C++ does not know.
        ProgramFailed: C++ fails with the trace otherwise.
        Missing: the program does not even start.
        TimeoutError: it does not end.
    """
    deadline = Deadline(deployment.timeout)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=deployment.directory))
    with (folder / "inputs.pt").open("wb") as given:
        torch.save([map_with_path(_known, tuple(sample.values()), plain=True) for sample in inputs], given)
    try:
        code = _status(artefact.program, artefact.file, folder, deadline, count=len(inputs))
    except Missing:
        if not artefact.cached:
            raise
        # The cached file is damaged, or was made with other libraries than those that are here now.
        compiler.attempts.pop(artefact.program, None)
        code = _status(compiler.program(deadline), artefact.file, folder, deadline, count=len(inputs))
    step = _last_line(folder / "at")
    if code and step != "end":
        raise failure(deployment, code, _text_of(folder / "error"), activity(step, len(inputs)))
    if code:
        how = f"ended by {signal_name(-code)}" if code < 0 else f"status {code}"
        deployment.note(f"the C++ program gave all outputs, and then failed while it ended: {how}")
    return [_loaded(folder / f"{index}.pt") for index in range(len(inputs))]


def _status(program: Path, file: Path, folder: Path, deadline: Deadline, *, count: int) -> int:
    """Run the program to its end and return its status.

    Raises:
        Missing: it does not even start.
        TimeoutError: it does not end.
    """
    command = [str(program), str(file), str(folder / "inputs.pt"), str(folder), str(torch.get_num_threads())]
    environment = compiler.torch_environment()
    try:
        code, printed = execute(command, folder=folder, seconds=deadline.left, environment=environment)
    except subprocess.TimeoutExpired:
        what = f"the C++ program did not end within {deadline.seconds:g} seconds"
        raise TimeoutError(f"{what}; it was {activity(_last_line(folder / 'at'), count)}") from None
    except OSError as error:
        raise _discarded(program, str(error)) from error
    if not _last_line(folder / "at"):
        raise _discarded(program, first_error(printed) if code >= 0 else f"ended by {signal_name(-code)}")
    return code


def _discarded(program: Path, reason: str) -> Missing:
    """The error for a program that does not start; it is removed from the cache, so that the next session compiles it."""
    error = Missing(f"the compiled C++ program does not start: {reason}")
    compiler.attempts[program] = error
    with suppress(OSError):
        program.unlink()
    return error


def _known(_: str, leaf: Any) -> Any:
    """A leaf, as a class that C++ knows in a pickle."""
    if isinstance(leaf, torch.Tensor):
        return leaf.detach().as_subclass(torch.Tensor)
    return tuple(leaf) if isinstance(leaf, torch.Size) else leaf


def _loaded(file: Path) -> Any:
    with file.open("rb") as opened:
        return torch.jit.load(opened).value


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _last_line(path: Path) -> str:
    return _text_of(path).rpartition("\n")[2]
