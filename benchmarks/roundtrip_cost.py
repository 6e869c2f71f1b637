"""What the round trip costs: with every weight in the file, as `torch.jit.save` writes it, and with one element of each."""

from __future__ import annotations

import argparse
import ctypes
import gc
import io
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _common import Inputs, base_bert, setting, spread, text, tiny_bert

from pytest_torchscript.gate import bind
from pytest_torchscript.nested import compare, identical
from pytest_torchscript.tracing.execute import run
from pytest_torchscript.tracing.saving import light_round_trip
from pytest_torchscript.tracing.trace import trace

LENGTH = 128
WARM_UP = 1

Way = Callable[[Any], tuple[Any, int]]
"""From a traced program to the loaded one and the bytes of the file; stops where a tensor has changed."""


def whole(program: Any) -> tuple[Any, int]:
    """What a careful user writes by hand: save, load, and compare every tensor."""
    buffer = io.BytesIO()
    torch.jit.save(program, buffer)
    size = buffer.tell()
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    state = loaded.state_dict()
    if not all(identical(tensor, state[name]) for name, tensor in program.state_dict().items()):
        raise SystemExit("Not a measurement: a tensor has changed through save and load")
    return loaded, size


def light(program: Any) -> tuple[Any, int]:
    """What the gate does."""
    sizes, load = [], torch.jit.load

    def counted(buffer: io.BytesIO, **arguments: Any) -> Any:
        sizes.append(buffer.getbuffer().nbytes)
        return load(buffer, **arguments)

    torch.jit.load = counted  # type: ignore[assignment]
    try:
        loaded = light_round_trip(program)
    finally:
        torch.jit.load = load
    if not all(map(loaded.kept, loaded.saved)):
        raise SystemExit("Not a measurement: a tensor has changed through save and load")
    return loaded.program, sizes[0]


def status(entry: str) -> float:
    """MB of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry)) / 1e3


def measured(way: Way, program: Any, inputs: Inputs, expected: Any) -> tuple[float, float, float, int]:
    """CPU seconds of the file, CPU seconds of one run of what was loaded, MB at the peak above the start, bytes written."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the way before has freed is no room for this one
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, started = status("VmRSS"), time.process_time()
    loaded, size = way(program)
    filed, peak = time.process_time(), status("VmHWM") - before
    actual = run(loaded, inputs)
    ended = time.process_time()
    if compare(actual, expected):
        raise SystemExit("Not a measurement: the loaded program answers otherwise")
    return filed - started, ended - filed, peak, size


def compared(name: str, model: torch.nn.Module, pairs: int) -> None:
    inputs = text(LENGTH)
    model.config.return_dict = False  # type: ignore[union-attr]
    program = trace(model, bind(model, (), inputs)).module
    expected = run(program, inputs)
    rows: dict[Way, list[tuple[float, float, float, int]]] = {whole: [], light: []}
    for pair in range(WARM_UP + pairs):
        for way, found in rows.items():
            row = measured(way, program, inputs, expected)
            found += [row] * (pair >= WARM_UP)
    print(f"BERT, {name}, length {LENGTH}, batch 1, one thread; {pairs} pairs after {WARM_UP} to warm up")
    for way, found in rows.items():
        files, runs, peaks, sizes = zip(*found, strict=True)
        print(f"  {way.__name__:<6} save, load, compare {spread(files)}, one run {spread(runs)} of CPU time")
        print(f"         {max(peaks):.0f} MB at the peak above the start, {max(sizes) / 1e6:.1f} MB written")
    ratios = [first[0] / second[0] for first, second in zip(rows[whole], rows[light], strict=True)]
    medians = [statistics.median(row[0] for row in found) for found in rows.values()]
    print(f"  ratio of the medians, without the run: {medians[0] / medians[1]:.2f}", end="")
    print(f" (pair by pair {min(ratios):.2f}-{max(ratios):.2f})\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="measured pairs (default: %(default)s)")
    pairs = parser.parse_args().pairs

    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{setting('torch', 'transformers')}\n")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        compared("12 layers, hidden 32", tiny_bert().eval(), pairs)
        compared("BERT-base", base_bert().eval(), pairs)


if __name__ == "__main__":
    main()
