"""Every model of the corpus gets the verdict it deserves, at the line that deserves it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_torchscript import gate
from pytest_torchscript.nested import compare, nan_free
from pytest_torchscript.result import GateResult
from pytest_torchscript.spec import GateSpec, parse_arguments

from .corpus import BROKEN, HEALTHY, KNOWN_MISSES, SIZES, UNSTABLE, VALUES, VARYING, Case, SizedCase

ROOT = Path(__file__).resolve().parent.parent


SEEDS = 8


def judged(case: Case, inputs: Any = None) -> GateResult:
    model = case.build()
    subject = gate.Subject(model=model, call=gate.call_of(model, case.inputs() if inputs is None else inputs))
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


def with_misses(cases: Iterable[Case]) -> list[Any]:
    """The cases as parameters, those that are known to be missed marked so: one that is found makes its test fail."""
    return [pytest.param(case, id=case.name, marks=_missed(case.name)) for case in cases]


def _missed(name: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.xfail(reason=KNOWN_MISSES[name], strict=True)] if name in KNOWN_MISSES else []


@pytest.mark.parametrize("case", [*HEALTHY, *VARYING], ids=str)
def test_a_healthy_model_passes(case: Case) -> None:
    """No false alarm: every cell is ok, and the dims are of the class that they have."""
    result = judged(case)
    assert [cell.verdict for cell in result.cells] == ["ok"] * len(result.cells), failures(result)
    assert_dims(case, result)


@pytest.mark.parametrize("case", with_misses([*BROKEN, *SIZES, *VALUES]))
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


def wrong_sizes(case: SizedCase) -> list[Any]:
    """The other sizes, or values, at which the trace of plain torch does not give what eager gives; not those eager refuses."""
    model = case.build().eval()
    wrong = []
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.jit.trace(model, **given(case.inputs(), "example_inputs", "example_kwarg_inputs"), check_trace=False)
        for sizes in case.others:
            inputs = case.inputs_at(sizes)
            arguments, keywords = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
            try:
                expected = model(*arguments, **keywords)
            except (RuntimeError, ValueError, AssertionError, IndexError):
                continue
            try:
                actual = program(*arguments, **keywords)
            except RuntimeError:
                wrong.append(sizes)
                continue
            if nan_free(expected) and list(compare(actual, expected)):
                wrong.append(sizes)
    return wrong


def given(inputs: Any, positional: str, keywords: str) -> dict[str, Any]:
    return {keywords: inputs} if isinstance(inputs, dict) else {positional: inputs}


@pytest.mark.parametrize("case", [*SIZES, *VALUES], ids=str)
def test_plain_torch_says_that_a_broken_model_is_broken(case: SizedCase) -> None:
    """The verdict is not the gate's opinion: the trace of plain torch is wrong, or refuses, at one of the other sizes."""
    assert wrong_sizes(case)


@pytest.mark.parametrize("case", VARYING, ids=str)
def test_plain_torch_says_that_a_healthy_model_is_healthy(case: SizedCase) -> None:
    """The trace of plain torch is right at all of the other sizes."""
    assert wrong_sizes(case) == []


@pytest.mark.parametrize("case", with_misses(UNSTABLE))
def test_the_findings_do_not_depend_on_the_values_of_an_unseeded_test(case: SizedCase) -> None:
    """Verdict, failed checks and dims are the same whatever the random inputs are: a baseline would flip otherwise."""
    found: dict[Any, list[int]] = {}
    for seed in range(SEEDS):
        (cell,) = judged(case, case.inputs_at(case.at, seed)).cells
        failed = tuple((check.name, check.verdict) for check in cell.checks if check.verdict is not None)
        found.setdefault((cell.verdict, failed, tuple(sorted(cell.dims.items()))), []).append(seed)
    assert len(found) == 1, found
    assert {verdict for verdict, _, _ in found} == {case.verdict}


def test_every_known_miss_is_a_case() -> None:
    """A reason without its case would be kept for ever."""
    assert set(KNOWN_MISSES) <= {case.name for case in (*SIZES, *VALUES, *UNSTABLE)}


def test_every_case_has_a_name_of_its_own() -> None:
    """A failure in the list above can be found."""
    names = [case.name for case in (*HEALTHY, *BROKEN, *SIZES, *VALUES, *VARYING, *UNSTABLE)]
    assert len(names) == len(set(names))
