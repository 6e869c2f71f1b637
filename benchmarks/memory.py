"""Resident memory of one process over hundreds of gates: a suite must not grow from gate to gate."""

from __future__ import annotations

import argparse
import gc
import time
import warnings

import psutil
import torch
from _common import gate, setting, text, tiny_bert

LAYERS = 4
LENGTH = 16
EVERY = 50


class BakedLength(torch.nn.Module):
    """A defect: looking for its cause takes other code, which must not leak either."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1) / int(x.shape[1])


def healthy_gate() -> None:
    result = gate(tiny_bert(LAYERS), text(LENGTH))
    if result.failed:
        raise SystemExit(f"Not a measurement: the healthy model failed: {result.cells[0].verdict}")


def failing_gate() -> None:
    result = gate(BakedLength(), torch.randn(2, LENGTH, 8))
    if result.cells[0].verdict != "ShapeSpecialised":
        raise SystemExit(f"Not a measurement: the defect got the verdict {result.cells[0].verdict}")


def plain_trace() -> None:
    """What the gate is compared with: a trace, and nothing else."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model = tiny_bert(LAYERS)
        model.config.return_dict = False
        torch.jit.trace(model, tuple(text(LENGTH).values()), check_trace=False)


def resident() -> float:
    """MB of the process, garbage collected."""
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=300, help="how many (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="plain torch.jit.trace instead, for comparison: it leaks")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    what = "plain traces" if arguments.plain else "gates, every tenth of them failing"
    print(setting("torch", "transformers"))
    print(f"{arguments.gates} {what}; BERT of {LAYERS} layers, hidden 32, a new one each time\n")
    started = time.perf_counter()
    measured = {0: resident()}
    for number in range(1, arguments.gates + 1):
        if arguments.plain:
            plain_trace()
        elif number % 10 == 0:
            failing_gate()
        else:
            healthy_gate()
        # The first of all loads code and fills caches, for good.
        if number == 1 or number % EVERY == 0 or number == arguments.gates:
            measured[number] = resident()
            print(f"after {number:4}   {measured[number]:8.1f} MB   {measured[number] - measured[0]:+8.1f} MB", flush=True)
    half = min(measured, key=lambda number: abs(2 * number - arguments.gates))
    if half < arguments.gates:
        each = (measured[arguments.gates] - measured[half]) / (arguments.gates - half)
        print(f"\n{1000 * each:+.1f} kB each from the {half}th on; {time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
