"""CPU time of one gate against what a careful user writes by hand, of this checkout and of another one.

By hand: `torch.jit.trace` with its own check; and the usual recipe, which also saves, loads and compares.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
META = " meta"
"""How the names of models without weights end."""


# One process measures for one checkout


def plain(model: Any, inputs: Any, *, recipe: bool, meta: bool) -> None:
    """A trace by hand, under no_grad as the gate works; with `recipe` saved, loaded and compared as well."""
    import torch

    class ByPosition(torch.nn.Module):
        """The model with the outputs that torch.jit.trace takes; the gate asks for them itself."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: torch.Tensor) -> Any:
            asked = {"return_dict": False} if hasattr(model, "config") else {}
            return self.model(**dict(zip(inputs, values, strict=True)), **asked)

    values = tuple(inputs.values())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        wrapped = ByPosition().eval()
        traced = torch.jit.trace(wrapped, values, check_trace=not meta)
        if recipe:
            buffer = io.BytesIO()
            torch.jit.save(traced, buffer)
            buffer.seek(0)
            torch.testing.assert_close(torch.jit.load(buffer)(*values), wrapped(*values))


def gated(model: Any, inputs: Any, *, meta: bool) -> dict[str, Any]:
    """One gate with the marker's defaults: its verdict, and the seconds of each check."""
    from pytest_torchscript.gate import Subject, call_of, judge
    from pytest_torchscript.spec import GateSpec

    spec = GateSpec(weights="meta") if meta else GateSpec()
    result = judge(Subject(model=model, call=call_of(model, inputs)), spec, id="benchmark")
    (cell,) = result.cells
    shares = {check.name: check.seconds for check in cell.checks}
    return {"verdict": cell.verdict, "dims": dict(cell.dims), "seconds": result.seconds, "checks": shares}


@contextlib.contextmanager
def profiled(path: str | None) -> Iterator[None]:
    """With a path, write what cProfile saw in the block."""
    if path is None:
        yield
        return
    import cProfile

    with cProfile.Profile() as profile:
        yield
    profile.dump_stats(path)


def measure(name: str, way: str, profile: str | None) -> dict[str, Any]:
    """CPU seconds of one way to judge a model that was just made."""
    import torch
    from _models import LARGE, SUITE

    torch.manual_seed(0)
    model, inputs = {**LARGE, **SUITE}[name]()
    meta = name.endswith(META)
    gc.collect()
    started = time.process_time()
    with profiled(profile):
        found = gated(model, inputs, meta=meta) if way == "gate" else plain(model, inputs, recipe=way == "recipe", meta=meta)
    return {"cpu": time.process_time() - started, **(found or {})}


def serve() -> None:
    """Measure what each line of the standard input asks for."""
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(measure(**json.loads(line))), file=answers, flush=True)


# The process that asks them in turn


class Measured:
    """A process that measures with the package of one checkout."""

    def __init__(self, source: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, str(HERE / "gate_cost.py"), "--serve"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def __call__(self, name: str, way: str, profile: str | None = None) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"name": name, "way": way, "profile": profile}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"Not a measurement: the process ended at {name!r}, {way}")
        found: dict[str, Any] = json.loads(line)
        if way == "gate" and not found["verdict"].startswith("ok"):
            print(f"  note: the gate of {name} says {found['verdict']}")
        return found

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def spread(values: list[float]) -> str:
    """Median and range, in milliseconds or seconds."""
    unit, scale = ("ms", 1e3) if statistics.median(values) < 1 else ("s", 1.0)
    digits = 0 if unit == "ms" else 2
    low, middle, high = (f"{scale * value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} {unit} ({low}-{high})"


def times(found: list[dict[str, Any]]) -> list[float]:
    return [one["cpu"] for one in found]


def ratio(above: list[float], below: list[float]) -> str:
    pairs = [a / b for a, b in zip(above, below, strict=True)]
    return f"{statistics.median(above) / statistics.median(below):.2f} ({min(pairs):.2f}-{max(pairs):.2f})"


def each(name: str, ways: dict[str, Callable[[], dict[str, Any]]], pairs: int) -> dict[str, list[dict[str, Any]]]:
    """The measurements of one model, one way after the other in each round."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(pairs):
        for way, action in ways.items():
            found[way].append(action())
    print(f"{name:<22}", "  ".join(f"{way} {spread(times(rows))}" for way, rows in found.items()))
    for way in ("gate", "before"):
        for other in ("trace", "recipe"):
            if way in found and other in found:
                print(f"{'':<22} {way} / {other}: {ratio(times(found[way]), times(found[other]))}")
    return found


def ways_of(name: str, here: Measured, before: Measured | None, against: list[str]) -> dict[str, Callable[[], Any]]:
    ways: dict[str, Callable[[], Any]] = {way: lambda way=way: here(name, way) for way in against}  # type: ignore[misc]
    ways["gate"] = lambda: here(name, "gate")
    if before is not None:
        ways["before"] = lambda: before(name, "gate")
    return ways


def shares(rows: list[dict[str, Any]]) -> str:
    """The checks that take most, as shares of the gate by the clock."""
    names = rows[0]["checks"]
    total = statistics.median(row["seconds"] for row in rows)
    found = {name: statistics.median(row["checks"][name] for row in rows) / total for name in names}
    found["around the checks"] = 1 - sum(found.values())
    top = sorted(found.items(), key=lambda item: -item[1])[:6]
    return ", ".join(f"{name} {share:.0%}" for name, share in top)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="measured rounds of each model (default: %(default)s)")
    parser.add_argument("--against", type=Path, help="another checkout, whose gate is measured in turn with this one's")
    parser.add_argument("--only", default="", help="models whose names match this regular expression")
    parser.add_argument("--suite", action="store_true", help="the 30 small models instead of the large ones")
    parser.add_argument("--profile", metavar="FOLDER", help="write what cProfile saw of one gate of each model")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Ask both processes for every model, and print what they measured."""
    sys.path.insert(0, str(HERE))
    from _common import setting
    from _models import LARGE, SUITE

    here = Measured(SOURCE)
    before = Measured(arguments.against.resolve() / "src") if arguments.against else None
    print(f"{setting('torch', 'transformers')}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, one thread")
    against = ["recipe"] if arguments.suite else ["trace", "recipe"]
    for process in filter(None, (here, before)):
        process(next(iter(SUITE)), "recipe")  # torch's own first use
        process(next(iter(SUITE)), "gate")
    total: dict[str, list[float]] = {}
    for name in SUITE if arguments.suite else LARGE:
        if not re.search(arguments.only, name):
            continue
        chosen = ["trace"] if name.endswith(META) else against
        found = each(name, ways_of(name, here, before, chosen), arguments.pairs)
        print(f"{'':<22} {shares(found['gate'])}")
        for way, rows in found.items():
            total.setdefault(way, []).append(statistics.median(times(rows)))
        if arguments.profile:
            here(name, "gate", str(Path(arguments.profile, f"{name.replace(' ', '-')}.prof")))
    if arguments.suite:
        print(f"sum of the medians: {', '.join(f'{way} {sum(values):.2f} s' for way, values in total.items())}")
        for way in {"gate", "before"} & total.keys():
            print(f"  {way} / recipe {sum(total[way]) / sum(total['recipe']):.2f}", end="")
            print(f", of single models at most {max(a / b for a, b in zip(total[way], total['recipe'], strict=True)):.2f}")
    print(f"load at the end {os.getloadavg()[0]:.1f}")
    for process in filter(None, (here, before)):
        process.end()


if __name__ == "__main__":
    main()
