"""The C++ compiler and the program that it makes of ``loader.cpp``.

The program is compiled once for a torch, a compiler and a C library, and kept in the user's cache directory. The process
that needs it first compiles it; the others wait.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import platformdirs
import torch
from filelock import FileLock, Timeout

from ..base import Missing
from ..tools import root_cause
from .process import Deadline, execute, signal_name

__all__ = ["attempts", "cache_folder", "first_error", "missing", "name_of", "own_folder", "program", "torch_environment"]

_SOURCE = Path(__file__).with_name("loader.cpp")
_TORCH = Path(torch.__file__).resolve().parent
_COMPILERS = ("c++", "g++", "clang++")
# Newer headers of torch need the first; older compilers know the second only.
_STANDARDS = ("c++20", "c++17")
_ERROR = re.compile(r"\berror\b|cannot find|not found|undefined reference", re.IGNORECASE)

attempts: dict[Path, Exception | None] = {}
"""The programs that this process has tried to make: None, or why one cannot be used. A failure is not tried again."""


def missing() -> str | None:
    """Which of a C++ compiler and torch's headers is not there, as a sentence; None when both are."""
    if sys.platform == "win32":
        return "the libtorch target is made for Linux and macOS"
    if not _is_file(_TORCH / "include" / "torch" / "csrc" / "jit" / "api" / "module.h"):
        return f"torch {torch.__version__} is installed without its C++ headers: install the wheel of PyPI or pytorch.org"
    if _compiler() is not None:
        return None
    if os.environ.get("CXX", "").strip():
        return f"the C++ compiler that CXX names, {os.environ['CXX']!r}, was not found: mend CXX, or unset it"
    return f"no C++ compiler was found ({', '.join(_COMPILERS)}): install one, or name one by the variable CXX"


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


# Where programs are kept


def cache_folder() -> Path | None:
    """Where compiled programs are kept; None where the user has no such place."""
    try:
        folder = platformdirs.user_cache_path("pytest-torchscript", appauthor=False)
    except RuntimeError:
        # The user has no home directory.
        return None
    # Before platformdirs 4.12, such a user has a path below the working directory, as has one with a relative XDG_CACHE_HOME.
    return folder if folder.is_absolute() else None


@functools.cache
def own_folder() -> Path:
    """A folder for this process alone, for users whose cache directory cannot be written to."""
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
    """Whether files can be made and locked there; some network file systems have no locks."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="probe-", dir=folder) as probe, FileLock(Path(probe) / "lock", timeout=1):
            return True
    except (OSError, NotImplementedError):
        return False


def name_of(compiler: Sequence[str]) -> str:
    """A name for the program, made from everything that could make it another program."""
    stat = os.stat(compiler[0])
    parts = (
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
    return f"loader-{torch.__version__}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def program(deadline: Deadline) -> Path:
    """The compiled program: from the cache, else compiled now, by one of the processes that want it."""
    compiler = _compiler()
    if compiler is None:
        raise Missing("the C++ compiler is gone")
    name, folder = name_of(compiler), cache_folder()
    if folder is None or not (_is_file(folder / name) or _writable(folder)):
        folder = own_folder()
    path = folder / name
    error = attempts.get(path)
    if error is not None:
        raise type(error)(*error.args)
    if not _is_file(path):
        _compile_once(compiler, path, deadline)
    return path


def _compile_once(compiler: Sequence[str], path: Path, deadline: Deadline) -> None:
    """Compile the program unless another process does so meanwhile."""
    waited = False
    try:
        with FileLock(path.parent / f"{path.name}.lock", timeout=deadline.left):
            waited = deadline.left < deadline.seconds / 2
            if not _is_file(path):
                _compile(compiler, path, deadline)
                attempts[path] = None
    except Timeout:
        message = f"another process has been compiling the C++ program for {deadline.seconds:g} seconds, and is not done"
        raise TimeoutError(message) from None
    except (Missing, TimeoutError) as error:
        # After a long wait the compiler did not have enough time: it is tried again.
        if not waited or isinstance(error, Missing):
            attempts[path] = error
        raise


# Compiling


def _compile(compiler: Sequence[str], path: Path, deadline: Deadline) -> None:
    """Compile ``loader.cpp``; the file ``path`` appears when it is complete."""
    # This process holds the lock, so these folders belong to processes that were ended while they compiled.
    for left_over in path.parent.glob(f"{path.name}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as folder:
        made = Path(folder) / "loader"
        for standard in _STANDARDS:
            code, printed = _compiled([*compiler, f"-std={standard}", *_flags(), "-o", str(made)], Path(folder), deadline)
            if code == 0 and _is_file(made):
                os.replace(made, path)
                return
            if f"-std={standard}" not in printed:
                break
        reason = f"it was ended by {signal_name(-code)}" if code < 0 else first_error(printed)
        raise Missing(f"the C++ compiler {compiler[0]} does not compile a program with torch {torch.__version__}: {reason}")


def _compiled(command: Sequence[str], folder: Path, deadline: Deadline) -> tuple[int, str]:
    """Run the compiler, and return its status and what it printed."""
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    try:
        return execute(command, folder=folder, seconds=deadline.left, environment=environment)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"the C++ compiler {command[0]} did not end within {deadline.seconds:g} seconds") from None
    except OSError as error:
        raise Missing(f"the C++ compiler {command[0]} cannot be started: {error}") from error


def _flags() -> list[str]:
    """The arguments of the compiler, standard and output aside.

    ``torch.utils.cpp_extension`` knows the folders too, but imports setuptools for it, which may not be installed.
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


def torch_environment() -> dict[str, str]:
    """The environment in which the program finds this torch's libraries.

    The program itself holds no path, so that environments with the same torch share it.
    """
    variable = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
    paths = [str(_TORCH / "lib"), *filter(None, [os.environ.get(variable)])]
    return {**os.environ, variable: os.pathsep.join(paths)}


def first_error(printed: str) -> str:
    """The first line of a compiler's or a loader's output that says what is wrong."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return root_cause(next((line for line in lines if _ERROR.search(line)), lines[0] if lines else "it says nothing"))
