"""The gate at work: a suite of healthy models, then a head whose trace is silently wrong. `make demo` runs this."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DEFECT = Path("examples/defect/test_head.py")
HEALTHY = Path("examples/healthy/test_models.py")
BAKED = "int(x.shape[1])"


def pytest_run(path: Path, report: Path) -> tuple[int, list[dict[str, Any]]]:
    """Run pytest on one folder, its output going where ours goes: the exit status, and the gates of the JSON report."""
    command = ["-m", "pytest", path.as_posix()]
    print(f"$ python {' '.join(command)}", flush=True)
    # The report is how this script knows what happened; a user who only reads the terminal leaves the option out.
    command += [f"--torchscript-json={report}", "--color", "yes" if sys.stdout.isatty() else "no"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    # On a busy machine torch's threads wait for each other for longer than models this small compute.
    environment.setdefault("OMP_NUM_THREADS", "1")
    # Options from the caller's shell would change what is shown.
    environment.pop("PYTEST_ADDOPTS", None)
    status = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False).returncode
    print(flush=True)
    try:
        return status, json.loads(report.read_text(encoding="utf-8"))["gates"]
    except FileNotFoundError:
        return status, []


def number_of(path: Path, text: str) -> int:
    """The 1-based number of the only line that holds ``text``."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if text in line]
    return number


def healthy_problems(status: int, gates: list[dict[str, Any]]) -> list[str]:
    """What is not as promised in the run of the healthy suite."""
    problems = [f"the healthy suite should pass, but pytest ended with {status}"] if status else []
    marked = (ROOT / HEALTHY).read_text(encoding="utf-8").count("@pytest.mark.torchscript")
    if len(gates) != marked:
        problems.append(f"{marked} tests of the healthy suite carry the marker, but {len(gates)} gates were reported")
    problems += [f"{gate['nodeid']} should pass, but: {gate['outcome']}" for gate in gates if gate["outcome"] != "passed"]
    return problems


def defect_problems(status: int, gates: list[dict[str, Any]]) -> list[str]:
    """What is not as promised in the run of the seeded defect."""
    problems = [f"one test should fail (pytest's status 1), but pytest ended with {status}"] if status != 1 else []
    if len(gates) != 1 or len(gates[0]["cells"]) != 1:
        return [*problems, f"the seeded defect should make one gate with one cell, but made {len(gates)}"]
    checks = {check["name"]: check for check in gates[0]["cells"][0]["checks"]}
    failed = {name: check["verdict"] for name, check in checks.items() if check["status"] == "failed"}
    if failed != {"shapes": "ShapeSpecialised"}:
        problems.append(f"only the check shapes should fail, as ShapeSpecialised, but these did: {failed}")
    problems += [
        f"the check {name} should pass: the defect is silent at the traced length"
        for name in ("trace", "equivalence", "values")
        if checks[name]["status"] != "passed"
    ]
    place = DEFECT.as_posix(), number_of(DEFECT, BAKED)
    named = [(finding["file"], finding["line"]) for finding in checks["shapes"]["findings"]]
    if place not in named:
        problems.append(f"the finding should name {place[0]}:{place[1]}, but names {named}")
    return problems


def main() -> int:
    """Run both suites, say what was shown; 1 if anything went otherwise than promised."""
    with tempfile.TemporaryDirectory() as folder:
        healthy = pytest_run(HEALTHY.parent, Path(folder, "healthy.json"))
        defect = pytest_run(DEFECT.parent, Path(folder, "defect.json"))
    problems = healthy_problems(*healthy) + defect_problems(*defect)
    if problems:
        print("The demo did not go as promised:", *problems, sep="\n  ", file=sys.stderr)
        return 1
    place = f"{DEFECT.as_posix()}:{number_of(DEFECT, BAKED)}"
    print(
        f"Shown: {len(healthy[1])} ordinary tests with one marker line each, all-MiniLM-L6-v2 with its real weights among\n"
        "their models: all right as TorchScript, at other lengths, batch sizes and values too. And one head\n"
        f"that passes its own test and traces, but is silently wrong at other lengths: caught, at {place}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
