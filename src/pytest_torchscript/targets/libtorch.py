"""The target ``libtorch``: a saved trace, loaded and run by a C++ program that has no Python in it.

The program, ``loader.cpp``, is compiled once for a torch, a compiler and a C library, and kept in the user's cache
directory. Whichever process needs it first compiles it; the others wait.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout

from .. import source
from ..diagnosis.hints import hint_for, root_cause
from ..errors import GateError
from .base import Missing, Unsupported

if TYPE_CHECKING:
    from .deployment import Deployment

__all__ = ["Artefact", "ProgramFailed", "build", "cache_folder", "missing", "run"]

_SOURCE = Path(__file__).with_name("loader.cpp")
_TORCH = Path(torch.__file__).resolve().parent
_COMPILERS = ("c++", "g++", "clang++")
# Newer headers of torch ask for the first, older compilers know the second alone.
_STANDARDS = ("c++20", "c++17")
_MOST_SAID = 1 << 20

_ERROR = re.compile(r"\berror\b|cannot find|not found|undefined reference", re.IGNORECASE)
_UNKNOWN_OP = re.compile(r"Unknown builtin op: (\w+::\w+)")
_UNKNOWN_CLASS = re.compile(r"Unknown type name '(__torch__\.torch\.classes\.[\w.]+)'")
_NOT_ASCII = re.compile(r"ill formed octal specifier")
_ORIGINAL = "Traceback of TorchScript, original code"

_failed: dict[tuple[Path, str], Exception] = {}
"""By cache directory and program: why it could not be made. A compiler that fails once is not asked again."""

_compiled: set[Path] = set()
"""The programs that this process has compiled itself."""


class ProgramFailed(GateError):
    """The C++ program ended with an error. The first line is the cause, the others are torch's stack of the source."""


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """The compiled program and the saved trace that it is to load."""

    program: Path
    file: Path
    cached: bool = False
    """Whether the program was compiled by another session."""


class _Deadline:
    """A moment in time, so far before the gate gives up on the target that the target still words what happened."""

    def __init__(self, timeout: float) -> None:
        self.seconds = timeout - min(1.0, timeout / 10)
        self._end = time.monotonic() + self.seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())


def missing() -> str | None:
    """What of a C++ compiler and torch's own headers is not there."""
    if sys.platform == "win32":
        return "the libtorch target is made for Linux and macOS"
    if not _is_file(_TORCH / "include" / "torch" / "csrc" / "jit" / "api" / "module.h"):
        return f"torch {torch.__version__} is installed without its C++ headers: install the wheel of PyPI or pytorch.org"
    if _compiler() is not None:
        return None
    if os.environ.get("CXX", "").strip():
        return f"the C++ compiler that CXX names, {os.environ['CXX']!r}, was not found: mend CXX, or unset it"
    return f"no C++ compiler was found ({', '.join(_COMPILERS)}): install one, or name one by the variable CXX"


def build(deployment: Deployment) -> Artefact:
    """The trace, saved, and the program that will run it.

    Raises:
        Unsupported: torch cannot save the trace.
        Missing: the compiler does not compile the program.
        TimeoutError: the compiler hangs.
    """
    deadline = _Deadline(deployment.timeout)
    file = deployment.directory / "model.pt"
    try:
        # Not by its path, which torch cannot decode everywhere.
        with file.open("wb") as saved:
            torch.jit.save(deployment.module, saved)
    except Exception as error:
        line = _line_of(deployment, "prim::PythonOp") or source.innermost(source.parse_stack(str(error)))
        hint = hint_for(str(error)) or "use torch operations only"
        # torch's advice, for a script, follows the cause.
        cause = root_cause(error).removeprefix("RuntimeError: ").partition(". Remove calls to Python functions")[0]
        raise Unsupported(f"the trace cannot be saved: {cause}", line=line, hint=hint) from error
    program = _program(deadline)
    return Artefact(program=program, file=file, cached=program not in _compiled)


def run(artefact: Artefact, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The outputs for each of ``inputs``, all from one process.

    Raises:
        Unsupported: the trace needs an operation or a class that C++ does not know.
        ProgramFailed: anything else that C++ says of the trace.
        Missing: the program does not even start.
        TimeoutError: it does not end.
    """
    deadline = _Deadline(deployment.timeout)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=deployment.directory))
    given = folder / "inputs.pt"
    with given.open("wb") as opened:
        torch.save([tuple(_plain(value) for value in sample.values()) for sample in inputs], opened)
    try:
        code = _started(artefact.program, artefact.file, folder, deadline, count=len(inputs))
    except Missing:
        if not artefact.cached:
            raise
        # It is damaged, or the libraries are others than those it was made with.
        _failed.pop((artefact.program.parent, artefact.program.name), None)
        code = _started(_program(deadline), artefact.file, folder, deadline, count=len(inputs))
    at = _last_line(folder / "at")
    if code and at != "end":
        text = _text_of(folder / "error")
        _refuse(deployment, code, text, _doing(at, len(inputs)))
    if code:
        how = f"ended by {_signal(-code)}" if code < 0 else f"status {code}"
        deployment.note(f"the C++ program gave all outputs, and then stumbled while it ended: {how}")
    outputs = []
    for index in range(len(inputs)):
        with (folder / f"{index}.pt").open("rb") as opened:
            outputs.append(torch.jit.load(opened).value)
    return outputs


def _started(program: Path, file: Path, folder: Path, deadline: _Deadline, *, count: int) -> int:
    """Run the program to its end: its status.

    Raises:
        Missing: it does not even start.
        TimeoutError: it does not end.
    """
    command = [str(program), str(file), str(folder / "inputs.pt"), str(folder), str(torch.get_num_threads())]
    try:
        code, said = _execute(command, folder=folder, seconds=deadline.left, environment=_with_torch_libraries())
    except subprocess.TimeoutExpired:
        what = f"the C++ program did not end within {deadline.seconds:g} seconds"
        raise TimeoutError(f"{what}; it was {_doing(_last_line(folder / 'at'), count)}") from None
    except OSError as error:
        raise _useless(program, str(error)) from error
    if not _last_line(folder / "at"):
        raise _useless(program, _first_error(said) if code >= 0 else f"ended by {_signal(-code)}")
    return code


# The program


def cache_folder() -> Path | None:
    """Where compiled programs are kept; None where the user has no such place."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")
    return Path(base) / "pytest-torchscript" if os.path.isabs(base) else None


@functools.cache
def _own_folder() -> Path:
    """A place for this process alone, where the user's is not to be written to."""
    folder = tempfile.mkdtemp(prefix="pytest-torchscript-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _is_file(path: Path) -> bool:
    """Whether there is a file, as far as this user may look; before Python 3.14 a closed folder raises."""
    try:
        return path.is_file()
    except OSError:
        return False


def _writable(folder: Path) -> bool:
    """Whether files can be made and locked there; some network file systems lock none."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="probe-", dir=folder) as probe, FileLock(Path(probe) / "lock", timeout=1):
            return True
    except (OSError, NotImplementedError):
        return False


def _compiler() -> list[str] | None:
    """The command of the C++ compiler, its arguments included; None where there is none."""
    named = os.environ.get("CXX", "").strip()
    try:
        candidates = [shlex.split(named)] if named else [[name] for name in _COMPILERS]
    except ValueError:
        candidates = [[named]]
    for name, *arguments in candidates:
        found = shutil.which(name)
        if found:
            return [os.path.abspath(found), *arguments]
    return None


def _name(compiler: Sequence[str]) -> str:
    """A name for the program: another one for whatever could make it another program."""
    stat = os.stat(compiler[0])
    facts = (
        _SOURCE.read_bytes(),
        torch.__version__,
        torch.version.git_version,
        torch.compiled_with_cxx11_abi(),
        compiler,
        os.path.realpath(compiler[0]),
        (stat.st_size, stat.st_mtime_ns),
        platform.machine(),
        platform.libc_ver(),
    )
    return f"loader-{torch.__version__}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"


def _program(deadline: _Deadline) -> Path:
    """The compiled program: from the cache, else compiled now, by one process of those that want it."""
    compiler = _compiler()
    if compiler is None:
        raise Missing("the C++ compiler is gone")
    name, folder = _name(compiler), cache_folder()
    if folder is None or not (_is_file(folder / name) or _writable(folder)):
        folder = _own_folder()
    program = folder / name
    if (folder, name) in _failed:
        error = _failed[folder, name]
        raise type(error)(*error.args)
    if _is_file(program):
        return program
    waited = False
    try:
        with FileLock(folder / f"{name}.lock", timeout=deadline.left):
            waited = deadline.left < deadline.seconds / 2
            if not _is_file(program):
                _compile(compiler, program, deadline)
    except Timeout:
        message = f"another process has been compiling the C++ program for {deadline.seconds:g} seconds, and is not done"
        raise TimeoutError(message) from None
    except (Missing, TimeoutError) as error:
        # After a long wait the compiler had no fair chance.
        if not waited or isinstance(error, Missing):
            _failed[folder, name] = error
        raise
    return program


def _compile(compiler: Sequence[str], program: Path, deadline: _Deadline) -> None:
    """Compile ``loader.cpp``; ``program`` is there once it is complete, and not before."""
    # The lock is ours: what lies here is of a process that was ended midway.
    for left_over in program.parent.glob(f"{program.name}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{program.name}-", dir=program.parent, ignore_cleanup_errors=True) as folder:
        made = Path(folder) / "loader"
        environment = {**os.environ, "LC_ALL": "C", "TMPDIR": folder}
        for standard in _STANDARDS:
            command = [*compiler, f"-std={standard}", *_flags(), "-o", str(made)]
            try:
                code, said = _execute(command, folder=Path(folder), seconds=deadline.left, environment=environment)
            except subprocess.TimeoutExpired:
                message = f"the C++ compiler {compiler[0]} did not end within {deadline.seconds:g} seconds"
                raise TimeoutError(message) from None
            except OSError as error:
                raise Missing(f"the C++ compiler {compiler[0]} cannot be started: {error}") from error
            if code == 0 and _is_file(made):
                os.replace(made, program)
                _compiled.add(program)
                return
            if f"-std={standard}" not in said:
                break
        reason = f"it was ended by {_signal(-code)}" if code < 0 else _first_error(said)
        raise Missing(f"the C++ compiler {compiler[0]} does not compile a program with torch {torch.__version__}: {reason}")


def _flags() -> list[str]:
    """The arguments of the compiler, standard and output aside.

    ``torch.utils.cpp_extension`` knows the folders too, and imports setuptools for it, which need not be there.
    """
    include = _TORCH / "include"
    linker = [] if sys.platform == "darwin" else ["-Wl,--no-as-needed,--allow-shlib-undefined"]
    return [
        "-w",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        f"-I{include}",
        f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}",
        str(_SOURCE),
        f"-L{_TORCH / 'lib'}",
        *linker,
        "-ltorch",
        "-ltorch_cpu",
        "-lc10",
    ]


def _with_torch_libraries() -> dict[str, str]:
    """The environment in which the program finds this torch's libraries.

    The program holds no path of its own: environments with the same torch share it.
    """
    variable = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
    paths = [str(_TORCH / "lib"), *filter(None, [os.environ.get(variable)])]
    return {**os.environ, variable: os.pathsep.join(paths)}


def _execute(command: Sequence[str], *, folder: Path, seconds: float, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command in ``folder`` to its end: its status and what it printed.

    Raises:
        subprocess.TimeoutExpired: after so many seconds; the command and what it started are ended.
        OSError: it cannot be started.
    """
    # Not a pipe: a grandchild that survives would keep it open.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # Also where the gate is interrupted: in a session of its own it would not hear of that, and outlive the run.
        end = functools.partial(_end, process)
        atexit.register(end)
        try:
            code = process.wait(seconds)
        finally:
            end()
            atexit.unregister(end)
        said.seek(0)
        return code, said.read(_MOST_SAID).decode("utf-8", "replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, and those that it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# What is handed over, and what comes back


def _plain(value: Any) -> Any:
    """``value`` in containers and tensors of the classes that a pickle has names for in C++ too."""
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        entries = [_plain(entry) for entry in value]
        return entries if isinstance(value, list) else tuple(entries)
    return value


def _doing(at: str, count: int) -> str:
    """What the program did last, after "was": its own word for it is the last line of the file ``at``."""
    if at.startswith("input "):
        return f"running input {at.removeprefix('input ')} of {count}"
    doing = {"load": "loading the saved trace", "inputs": "reading the inputs", "end": "about to end"}
    return doing.get(at, "starting")


def _refuse(deployment: Deployment, code: int, text: str, doing: str) -> None:
    """Raise what a program that failed has to say."""
    if code < 0:
        raise ProgramFailed(f"the C++ program was ended by {_signal(-code)} while {doing}")
    unknown = _UNKNOWN_OP.search(text)
    if unknown:
        raise Unsupported(
            f"C++ knows no operation {unknown[1]!r}: Python code registers it, or a library that the program does not link",
            line=_line_of(deployment, unknown[1]),
            hint="write it with aten operations, or deploy with the library that registers it (the gate links torch alone)",
        )
    unknown = _UNKNOWN_CLASS.search(text)
    if unknown:
        name = unknown[1].removeprefix("__torch__.")
        raise Unsupported(
            f"C++ knows no class {name!r}: a library that the program does not link registers it",
            hint="deploy with the library that registers it (the gate links torch alone), or keep to tensors",
        )
    if _NOT_ASCII.search(text):
        raise Unsupported(
            "the saved trace cannot be loaded, in Python neither: see the check roundtrip",
            hint="give parameters, buffers and submodules names in ASCII letters",
        )
    cause = root_cause(text).removeprefix("RuntimeError: ")
    stack = text.partition(_ORIGINAL)[2].partition("\n")[2]
    raise ProgramFailed(f"C++ fails while {doing}: {cause}\n{stack}".rstrip())


def _useless(program: Path, reason: str) -> Missing:
    """For a program that does not start: remembered, and taken out of the cache to be compiled anew."""
    error = Missing(f"the compiled C++ program does not start: {reason}")
    _failed[program.parent, program.name] = error
    with contextlib.suppress(OSError):
        program.unlink()
    return error


def _line_of(deployment: Deployment, kind: str) -> source.Line | None:
    """The source line of the first node of a kind, in the program or in a block of it."""
    graph = deployment.module.inlined_graph if deployment.module is not None else None
    blocks: list[Any] = [] if graph is None else [graph]
    while blocks:
        for node in blocks.pop().nodes():
            if node.kind() == kind:
                return deployment.line_of(node)
            blocks += node.blocks()
    return None


def _first_error(said: str) -> str:
    """The first line of a compiler's or a loader's output that says what is wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return root_cause(next((line for line in lines if _ERROR.search(line)), lines[0] if lines else "it says nothing"))


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _last_line(path: Path) -> str:
    return _text_of(path).rpartition("\n")[2]
