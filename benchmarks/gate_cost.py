"""CPU time of one gate, all checks on, against `torch.jit.trace` with its own check of the same model."""

from __future__ import annotations

import argparse
import gc
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from _common import Inputs, base_bert, gate, setting, spread, text, tiny_bert
from transformers import BertModel

from pytest_torchscript.result import GateResult

LENGTH = 128
WARM_UP = 2


class Tuples(torch.nn.Module):
    """The model with the outputs that torch.jit.trace takes; the gate asks for them itself."""

    def __init__(self, model: BertModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return self.model(input_ids, attention_mask, return_dict=False)


def plain_trace(model: BertModel, inputs: Inputs) -> None:
    """What a careful user writes by hand. Under no_grad, as the gate works."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.trace(Tuples(model).eval(), (inputs["input_ids"], inputs["attention_mask"]), check_trace=True)


def passing_gate(model: BertModel, inputs: Inputs) -> GateResult:
    """The gate, refused as a measurement if it did less than it should."""
    result = gate(model, inputs)
    (cell,) = result.cells
    idle = [check.name for check in cell.checks if check.status.value != "passed"]
    # The target has nothing to prove unless the marker sets a budget.
    if idle != ["target"]:
        raise SystemExit(f"Not a measurement: these checks did not pass: {idle}")
    return result


def cpu_seconds(action: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    started = time.process_time()
    outcome = action()
    return time.process_time() - started, outcome


def where_it_goes(results: list[GateResult]) -> list[tuple[str, float]]:
    """Median seconds of each check, and of what is around them: snapshots of the model, a survey run."""
    names = [check.name for check in results[0].cells[0].checks]
    rows = [(name, statistics.median(r.cells[0].check(name).seconds for r in results)) for name in names]
    around = statistics.median(r.seconds - sum(check.seconds for check in r.cells[0].checks) for r in results)
    return sorted([*rows, ("(around the checks)", around)], key=lambda row: -row[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", action="store_true", help="BERT-base instead of a BERT of hidden size 32")
    parser.add_argument("--pairs", type=int, default=9, help="measured pairs (default: %(default)s)")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, inputs = (base_bert() if arguments.base else tiny_bert()), text(LENGTH)
    gates, traces, results = [], [], []
    for pair in range(WARM_UP + arguments.pairs):
        traced, _ = cpu_seconds(lambda: plain_trace(model, inputs))
        gated, result = cpu_seconds(lambda: passing_gate(model, inputs))
        if pair >= WARM_UP:
            traces.append(traced)
            gates.append(gated)
            results.append(result)

    size = f"12 layers, hidden {model.config.hidden_size}, length {LENGTH}, batch 1, one thread"
    print(f"{setting('torch', 'transformers')}\nBERT, {size}; {len(gates)} pairs after {WARM_UP} to warm up\n")
    print(f"gate, all checks                    {spread(gates)} of CPU time: median (min-max)")
    print(f"torch.jit.trace(check_trace=True)   {spread(traces)}")
    ratios = [gated / traced for gated, traced in zip(gates, traces, strict=True)]
    print(f"ratio of the medians                {statistics.median(gates) / statistics.median(traces):.2f}", end="")
    print(f" (pair by pair {min(ratios):.2f}-{max(ratios):.2f})\n")
    print("where the gate's time goes (by the clock: on a busy machine the shares hold, the times do not)")
    table = where_it_goes(results)
    total = sum(seconds for _, seconds in table)
    for name, seconds in table:
        print(f"  {name:<20}{1000 * seconds:9.1f} ms{100 * seconds / total:6.1f} %")


if __name__ == "__main__":
    main()
