"""Wall time that the plugin adds to the collection of a suite that hardly uses it, and whether it brings torch along."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

FILES = 10
TESTS_A_FILE = 20
WARM_UP = 2
OFF = ("-p", "no:torchscript")

PROBE = """\
import sys

def pytest_unconfigure():
    print("torch" if "torch" in sys.modules else "no torch", file=sys.__stderr__)
"""


def write_suite(folder: Path) -> None:
    """200 tests that do nothing, one in each file marked."""
    for number in range(FILES):
        tests = ["import pytest\n\n\n@pytest.mark.torchscript(seq_len=128)\ndef test_marked():\n    pass\n"]
        tests += [f"def test_{index}():\n    assert True\n" for index in range(TESTS_A_FILE - 1)]
        (folder / f"test_part_{number}.py").write_text("\n\n".join(tests), encoding="utf-8")
    # Without a configuration of its own the suite would take that of a folder above.
    (folder / "pytest.ini").write_text(
        "[pytest]\nnorecursedirs = bytecode\nmarkers = torchscript: known also without the plugin\n", encoding="utf-8"
    )
    (folder / "probe.py").write_text(PROBE, encoding="utf-8")


def children_cpu() -> float:
    """CPU seconds of all finished child processes: less noisy than the clock where others share the machine."""
    times = os.times()
    return times.children_user + times.children_system


class Collected(NamedTuple):
    """One run: seconds by the clock, seconds of CPU, and what it wrote to stderr."""

    wall: float
    cpu: float
    stderr: str


def collect(folder: Path, *options: str) -> Collected:
    """One ``pytest --collect-only -q`` in a fresh interpreter."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *options]
    # Compiled once, in the warm-up, as on any machine where the plugin is installed; not every time, as in a container
    # that forbids bytecode.
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    for name in ("PYTEST_ADDOPTS", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    started, spent = time.perf_counter(), children_cpu()
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds, cpu = time.perf_counter() - started, children_cpu() - spent
    if run.returncode or f"{FILES * TESTS_A_FILE} tests collected" not in run.stdout:
        raise SystemExit(f"Not a measurement: pytest ended with {run.returncode}\n{run.stdout[-2000:]}{run.stderr}")
    return Collected(seconds, cpu, run.stderr)


def line(label: str, seconds: list[float]) -> str:
    low, middle, high = (1000 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    quarters = statistics.quantiles(seconds, n=4)
    return (
        f"  {label:<22}{middle:8.1f} ms  (min-max {low:.1f}-{high:.1f}, "
        f"middle half {1000 * quarters[0]:.1f}-{1000 * quarters[2]:.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=21, help="measured pairs, at least 2 (default: %(default)s)")
    pairs = parser.parse_args().pairs

    with_plugin: list[Collected] = []
    without: list[Collected] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_suite(folder)
        for pair in range(WARM_UP + pairs):
            # Who goes first changes from pair to pair: the second finds warmer caches.
            if pair % 2:
                off, on = collect(folder, *OFF), collect(folder)
            else:
                on, off = collect(folder), collect(folder, *OFF)
            if pair >= WARM_UP:
                with_plugin.append(on)
                without.append(off)
        brought = collect(folder, "-p", "probe").stderr

    print(f"pytest --collect-only -q, {FILES * TESTS_A_FILE} tests, {FILES} of them marked; {pairs} pairs")
    for what, attribute in (("wall time", "wall"), ("CPU time", "cpu")):
        ons, offs = ([getattr(run, attribute) for run in runs] for runs in (with_plugin, without))
        print(f"\n{what}")
        print(line("with the plugin", ons))
        print(line(" ".join(OFF), offs))
        print(line("difference, by pair", [on - off for on, off in zip(ons, offs, strict=True)]))
    print(f"\nimported along with the plugin: {brought.strip()}")


if __name__ == "__main__":
    main()
