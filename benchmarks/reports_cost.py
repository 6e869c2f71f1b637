"""Time and size of every report on synthetic results: most gates pass, some fail, some hold text made to break a report."""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_torchscript import baseline as baselines
from pytest_torchscript.reports import github, markdown, terminal
from pytest_torchscript.reports import json as json_report
from pytest_torchscript.reports.document import Document
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Verdict

CHECKS = ("eager", "trace", "equivalence", "values", "shapes", "padding", "roundtrip", "weights", "purity", "device", "target")
ENVIRONMENT = {"python": "3.12.3", "torch": "2.13.0", "transformers": None, "pytest_torchscript": "0.1.0", "platform": "linux"}
HOSTILE = "a | b ` <script> ]]> \x1b[31m \x00 \ud800 \ufffe @someone #1\r\n::error::no %0A\n```\n"
MEGABYTES = 5_000_000
TRIES = 3
ALLOWED_SECONDS = 2.0


def cell(verdict: Verdict | None, message: str, batch: int) -> CellResult:
    """All checks of one cell; with a verdict, `shapes` fails and `padding`, which needs it no more, is skipped."""
    evidence = Finding(
        message="the tracer warned", file="src/model.py", line=7, source="if x.shape[0] > 1:", where="tracer warned at"
    )
    finding = Finding(
        message=message,
        path="pooled",
        file="src/model.py",
        line=41,
        function="forward",
        source="return x.sum(1) / int(x.shape[1])",
        where="baked at",
        hint="keep the size in the graph",
        details={"max_abs": 0.81, "allowed": 1e-5, "index": [0, 3]},
    )
    results = []
    for name in CHECKS:
        if name == "shapes" and verdict is not None:
            results.append(CheckResult.failed(name, verdict, finding, dims={"seq": {"traced": 16}}))
        elif name in ("padding", "target"):
            results.append(CheckResult.skipped(name, "nothing to prove"))
        else:
            results.append(replace(CheckResult.passed(name, findings=(evidence,) if name == "trace" else ()), seconds=0.01))
    dims = {"batch": "dynamic", "seq": "unsafe" if verdict else "dynamic"}
    return CellResult(target="torchscript", batch_size=batch, seq_len=16, checks=tuple(results), dims=dims)


def gates(count: int, *, failing: bool) -> list[GateResult]:
    """One in ten fails if ``failing``, one in a hundred with hostile text, two of them with megabytes of it."""
    found = []
    for number in range(count):
        hostile = failing and number % 100 == 1
        verdict = Verdict.SHAPE_SPECIALISED if failing and (number % 10 == 0 or hostile) else None
        message = "seq is silently wrong: traced at 16, output 'pooled' is off at 7"
        if hostile:
            message = HOSTILE * (MEGABYTES // len(HOSTILE) if number in (1, 101) else 3)
        name = f"tests-test_{number:04}-ü-{HOSTILE}" if hostile else f"tests-test_models-py--test_{number:04}"
        cells = tuple(cell(verdict, message, batch) for batch in (1, 8))
        found.append(GateResult.judged(name, f"tests/test_models.py::test_{number:04}", cells, 0.25))
    return found


def fastest(action: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of the fastest try: what other programs do meanwhile does not count."""
    seconds, outcome = float("inf"), None
    for _ in range(TRIES):
        started = time.process_time()
        outcome = action()
        seconds = min(seconds, time.process_time() - started)
    return seconds, outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=1000, help="how many (default: %(default)s)")
    arguments = parser.parse_args()

    was = baselines.update(baselines.Baseline(), gates(arguments.gates, failing=False))
    now = gates(arguments.gates, failing=True)

    rows: list[tuple[str, float, int]] = []

    def measure(name: str, action: Callable[[], Any], text: Callable[[Any], str] = str) -> Any:
        seconds, outcome = fastest(action)
        rows.append((name, seconds, len(text(outcome).encode("utf-8", "backslashreplace"))))
        return outcome

    judged = [baselines.judge(gate, was).apply(gate) for gate in now]
    document = Document.of(judged, ENVIRONMENT, ["tests-gone"])
    measure("judge", lambda: [baselines.judge(gate, was).apply(gate) for gate in now], lambda _: "")
    measure("json", lambda: json_report.render(Document.of(judged, ENVIRONMENT)))
    summary = measure("markdown", lambda: markdown.summary(document))
    measure("terminal", lambda: terminal.sections(document, 100), lambda found: str([lines for _, lines in found]))
    measure("github", lambda: github.annotations(document), "\n".join)
    measure("baseline", lambda: baselines.render(baselines.update(was, now)))
    try:
        junit = importlib.import_module("pytest_torchscript.reports.junit")
        importlib.import_module("junit_xml")
    except ImportError:
        print("junit: not installed, left out")
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "junit.xml")
            measure("junit", lambda: junit.write(path, document), lambda _: path.read_text(encoding="utf-8"))

    print(f"{arguments.gates} gates of 2 cells and {len(CHECKS)} checks, fastest of {TRIES} tries")
    for name, seconds, size in rows:
        print(f"{name:<10} {seconds * 1000:8.0f} ms  {size:>12,} bytes" if size else f"{name:<10} {seconds * 1000:8.0f} ms")
    total = sum(seconds for _, seconds, _ in rows)
    print(f"{'together':<10} {total * 1000:8.0f} ms  (allowed: {ALLOWED_SECONDS * 1000:.0f} ms for 1000 gates)")
    size = len(summary.encode())
    if arguments.gates <= 1000 and total > ALLOWED_SECONDS:
        raise SystemExit(f"The reports take {total:.1f} s")
    if size >= markdown.SUMMARY_LIMIT:
        raise SystemExit(f"The summary has {size} bytes, {markdown.SUMMARY_LIMIT} are allowed")


if __name__ == "__main__":
    main()
