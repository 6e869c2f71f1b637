"""The compiled program: who compiles it, where it is kept, what a compiler may do wrong."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from filelock import FileLock
from torch import nn

from pytest_torchscript.result import Status, Verdict
from pytest_torchscript.targets import libtorch
from pytest_torchscript.targets.libtorch import compiler as made_by

from ...checks.alone import ROOT
from .cases import X, built, deployment, is_gone, judged, until, use
from .compilers import NEEDS_COMPILER, calls, copying, script

# The program


@NEEDS_COMPILER
def test_the_program_needs_torch_and_no_python(program: Path) -> None:
    """Neither Python nor torch's bindings are linked; nor is a folder: environments with the same torch share the program."""
    reader = shutil.which("readelf")
    if reader is None:
        pytest.skip("readelf is not on this machine")
    section = subprocess.run([reader, "-d", str(program)], capture_output=True, text=True, check=True).stdout
    needed = [line.partition("[")[2].rstrip("]") for line in section.splitlines() if "(NEEDED)" in line]
    assert {"libtorch.so", "libtorch_cpu.so", "libc10.so"} <= set(needed)
    assert not [name for name in needed if "python" in name]
    assert "(RPATH)" not in section
    assert "(RUNPATH)" not in section


def test_the_source_is_in_the_wheel(tmp_path: Path) -> None:
    """What is compiled on the user's machine is installed there."""
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "pytest_torchscript/targets/libtorch/loader.cpp" in archive.namelist()


# Compilers


def test_without_a_compiler_the_check_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The reason says what was looked for and what to do."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = judged(nn.Linear(4, 4), (X,))
    assert result.status is Status.SKIPPED
    assert result.reason is not None
    assert result.reason.startswith("no C++ compiler was found (c++, g++, clang++): install one")


def test_without_a_compiler_a_gate_that_requires_it_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That is what --torchscript-require-sdk is for."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = judged(nn.Linear(4, 4), (X,), require_sdk=True)
    assert result.verdict is Verdict.TARGET_FAILURE
    assert "no C++ compiler was found" in result.findings[0].message


def test_a_compiler_that_cxx_names_in_vain_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other one is taken behind the user's back."""
    monkeypatch.setenv("CXX", "c++-of-tomorrow -O2")
    result = judged(nn.Linear(4, 4), (X,))
    assert result.status is Status.SKIPPED
    assert "'c++-of-tomorrow -O2'" in str(result.reason)


@pytest.mark.parametrize("require_sdk", [False, True])
def test_a_broken_compiler_is_quoted_and_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, require_sdk: bool) -> None:
    """The first error of all it says; the second gate does not wait for it again."""
    said = "echo 'In file included from loader.cpp:1:' >&2; echo 'a.h:3:1: error: who am I' >&2; echo 'b.h: error: later' >&2"
    compiler = script(tmp_path / "broken", f"{said}; exit 1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    use(monkeypatch, compiler)
    for _ in range(2):
        result = judged(nn.Linear(4, 4), (X,), require_sdk=require_sdk)
        text = result.findings[0].message if require_sdk else str(result.reason)
        assert result.status is (Status.FAILED if require_sdk else Status.SKIPPED)
        assert text.endswith("a.h:3:1: error: who am I")
        assert str(compiler) in text
    assert calls(compiler) == 1


def test_a_compiler_that_hangs_is_ended_with_all_it_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One clear finding in bounded time, and the next gate does not hang at all."""
    compiler = script(tmp_path / "hanging", f"sleep 60 & echo $! > {tmp_path}/child; wait")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    use(monkeypatch, compiler)
    for _ in range(2):
        started = time.monotonic()
        result = judged(nn.Linear(4, 4), (X,), timeout=1)
        assert time.monotonic() - started < 20
        assert result.verdict is Verdict.TARGET_FAILURE
        (finding,) = result.findings
        assert finding.message.endswith(f"the C++ compiler {compiler} did not end within 0.9 seconds")
    assert calls(compiler) == 1
    assert is_gone(int((tmp_path / "child").read_text()))
    assert not list((tmp_path / "cache" / "pytest-torchscript").glob("*-*/"))


@NEEDS_COMPILER
def test_several_at_once_compile_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path) -> None:
    """The others wait, and take what the first has made."""
    compiler = copying(tmp_path / "copying", program)
    use(monkeypatch, compiler)
    given = [deployment(tmp_path / str(number)) for number in range(3)]
    found: list[Path] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        threads = [threading.Thread(target=lambda one=one: found.append(libtorch.build(one).program)) for one in given]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert found[0].parent == own_cache
    assert calls(compiler) == 1


@NEEDS_COMPILER
def test_who_waits_for_another_process_does_so_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path
) -> None:
    """It says what it waited for, and may try again."""
    compiler = copying(tmp_path / "copying", program)
    use(monkeypatch, compiler)
    first = built(tmp_path / "first").program
    first.unlink()
    said = pytest.raises(TimeoutError, match=r"another process has been compiling the C\+\+ program for 0\.27 seconds")
    with FileLock(f"{first}.lock"), said:
        built(tmp_path / "second", timeout=0.3)
    assert built(tmp_path / "third").program.is_file()


@NEEDS_COMPILER
def test_a_compiler_that_had_little_time_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path
) -> None:
    """Most of it went by in waiting for another process: the next gate does not take that for a compiler that hangs."""
    slow = f"if [ ! -e {tmp_path}/second ]; then touch {tmp_path}/second; sleep 60; fi"
    compiler = copying(tmp_path / "slow", program, before=slow)
    use(monkeypatch, compiler)
    name = made_by.name_of([str(compiler)])
    own_cache.mkdir(parents=True)
    lock = FileLock(own_cache / f"{name}.lock", thread_local=False)
    lock.acquire()
    timer = threading.Timer(1.1, lock.release)
    timer.start()
    with pytest.raises(TimeoutError, match="slow did not end within"):
        built(tmp_path / "first", timeout=2)
    timer.join()
    assert built(tmp_path / "second_build").program.is_file()
    assert calls(compiler) == 2


@NEEDS_COMPILER
def test_a_compile_that_was_cut_off_leaves_nothing_to_be_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path
) -> None:
    """A process killed while the program is half written: the next one makes it anew, and clears up."""
    half = f'while [ "$1" != "-o" ]; do shift; done\necho half > "$2"; echo $$ > {tmp_path}/compiler; exec sleep 60'
    compiler = copying(tmp_path / "cutting", program, before=f"if [ ! -e {tmp_path}/compiler ]; then {half}; fi")
    use(monkeypatch, compiler)
    build = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.targets.libtorch.cases import built
built(Path({str(tmp_path / "killed")!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", build])
    try:
        until(lambda: (tmp_path / "compiler").exists() and (tmp_path / "compiler").read_text().endswith("\n"))
    finally:
        process.kill()
        process.wait()
    os.kill(int((tmp_path / "compiler").read_text()), signal.SIGKILL)
    assert [path.read_text() for path in own_cache.glob("*/loader")] == ["half\n"]
    made = built(tmp_path / "again").program
    assert made.read_bytes() == program.read_bytes()
    assert sorted(path.name for path in own_cache.iterdir()) == [made.name, f"{made.name}.lock"]
    assert calls(compiler) == 2


@NEEDS_COMPILER
def test_a_compiler_of_an_older_standard_is_asked_for_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path
) -> None:
    """C++17, where C++20 is not known."""
    refuse = "g++: error: unrecognized command-line option '-std=c++20'; did you mean '-std=c++2a'?"
    compiler = copying(tmp_path / "old", program, before=f'[ "$1" = -std=c++17 ] || {{ echo "{refuse}" >&2; exit 1; }}')
    use(monkeypatch, compiler)
    assert built(tmp_path / "out").program.read_bytes() == program.read_bytes()
    assert calls(compiler) == 2


@NEEDS_COMPILER
def test_another_compiler_makes_another_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, own_cache: Path
) -> None:
    """The name in the cache says what made it; arguments in CXX count."""
    compiler = copying(tmp_path / "copying", program)
    found = set()
    for command in (compiler, f"{compiler} -m64", compiler):
        use(monkeypatch, command)
        found.add(built(tmp_path / "out").program)
    assert len(found) == 2
    assert calls(compiler) == 2


def close(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make a folder one that only its owner may look into, for root too."""
    folder.mkdir()
    stat, mkdir = Path.stat, Path.mkdir

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def refuses(path: Path, *args: Any, **kwargs: Any) -> Any:
            if folder in path.parents:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *args, **kwargs)

        return refuses

    def is_file(path: Path) -> bool:
        # As Python asks before 3.14; later ones swallow the error themselves.
        return (path.stat().st_mode & 0o170000) == 0o100000 if folder in path.parents else original(path)

    original = Path.is_file
    monkeypatch.setattr(Path, "stat", refusing(stat))
    monkeypatch.setattr(Path, "mkdir", refusing(mkdir))
    monkeypatch.setattr(Path, "is_file", is_file)


def test_a_cache_folder_below_the_working_directory_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """platformdirs before 4.12 gives one where the user has no home, and nothing is to appear where the tests run."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *names, **options: Path("~/.cache/pytest-torchscript"))
    assert libtorch.cache_folder() is None


@NEEDS_COMPILER
@pytest.mark.parametrize("place", ["a file", "no home", "another user's"])
def test_without_a_cache_directory_the_program_is_kept_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Path, place: str
) -> None:
    """For this process alone; nothing appears where the tests run."""
    if place == "a file":
        (tmp_path / "taken").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    elif place == "another user's":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "closed"))
        close(monkeypatch, tmp_path / "closed")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        assert libtorch.cache_folder() is None
    compiler = copying(tmp_path / "copying", program)
    use(monkeypatch, compiler)
    monkeypatch.chdir(tmp_path)
    made = {built(tmp_path / "out").program for _ in range(2)}
    assert len(made) == 1
    assert calls(compiler) == 1
    assert made.pop().is_relative_to(made_by.own_folder())
    assert not (tmp_path / "relative").exists()
    assert not (tmp_path / "~").exists()
