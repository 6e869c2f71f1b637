"""Every model of the corpus gets the verdict it deserves, at the line that deserves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_torchscript import gate
from pytest_torchscript.result import GateResult
from pytest_torchscript.spec import GateSpec, parse_arguments

from .corpus import BROKEN, HEALTHY, Case

ROOT = Path(__file__).resolve().parent.parent


def judged(case: Case) -> GateResult:
    model = case.build()
    subject = gate.Subject(model=model, call=gate.call_of(model, case.inputs()))
    spec = GateSpec.merge(parse_arguments((), case.arguments))
    return gate.judge(subject, spec, id=case.name, root=str(ROOT))


def failures(result: GateResult) -> str:
    """What failed, for whoever reads a failure of this file."""
    lines = [f"{result.id}:"]
    for cell in result.cells:
        lines += [
            f"  [{cell.label}] {check.name} {check.verdict}: {finding.message} ({finding.file}:{finding.line})"
            for check in cell.checks
            if check.verdict is not None
            for finding in check.findings
        ]
    return "\n".join(lines)


def assert_dims(case: Case, result: GateResult) -> None:
    for cell in result.cells:
        found = {dim: cell.dims.get(dim) for dim in case.dims or {}}
        assert found == dict(case.dims or {}), failures(result)


@pytest.mark.parametrize("case", HEALTHY, ids=str)
def test_a_healthy_model_passes(case: Case) -> None:
    """No false alarm: every cell is ok, and the dims are of the class that they have."""
    result = judged(case)
    assert [cell.verdict for cell in result.cells] == ["ok"] * len(result.cells), failures(result)
    assert_dims(case, result)


@pytest.mark.parametrize("case", BROKEN, ids=str)
def test_a_broken_model_gets_its_verdict_and_its_line(case: Case) -> None:
    """No miss: the first failing check has the verdict, and the first line it names is a guilty one."""
    result = judged(case)
    assert [cell.verdict for cell in result.cells] == [case.verdict] * len(result.cells), failures(result)
    assert_dims(case, result)
    if not case.places:
        return
    allowed = {(Path(file).relative_to(ROOT).as_posix(), line) for file, line in case.places}
    for cell in result.cells:
        failed = next(check for check in cell.checks if check.verdict is not None)
        named = [(finding.file, finding.line) for finding in failed.findings if finding.line is not None]
        assert named, f"no line is named; expected one of {sorted(allowed)}\n{failures(result)}"
        assert named[0] in allowed, f"{named[0]} is none of {sorted(allowed)}\n{failures(result)}"


def test_every_case_has_a_name_of_its_own() -> None:
    """A failure in the list above can be found."""
    names = [case.name for case in (*HEALTHY, *BROKEN)]
    assert len(names) == len(set(names))
