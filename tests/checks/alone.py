"""One check alone on a small model, as the gate would run it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from pytest_torchscript import checks, gate
from pytest_torchscript.cell import Cell
from pytest_torchscript.checks import Check, Evidence
from pytest_torchscript.prepare import call_of, prepared
from pytest_torchscript.result import CellResult, CheckResult, Finding, Status
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.subject.inputs import infer_dims, mask_name
from pytest_torchscript.subject.state import ModelState, isolated
from pytest_torchscript.survey import Survey, surveyed

from ..corpus import guilty_places

__all__ = ["NOT_ASKED", "ROOT", "alone", "cell", "cell_of", "check_named", "guilty", "judged", "place", "statuses"]

ROOT = Path(__file__).resolve().parents[2]
NOT_ASKED = "not what this test is about"


def check_named(name: str) -> Check:
    return next(check for check in checks.ALL if check.name == name)


def cell(model: nn.Module, inputs: Any, **arguments: Any) -> CellResult:
    """The only cell of a gate; ``arguments`` are the marker's."""
    subject = gate.Subject(model=model, call=call_of(model, inputs))
    (only,) = gate.judge(subject, spec_of(arguments), id="alone", root=str(ROOT)).cells
    return only


def spec_of(arguments: dict[str, Any]) -> GateSpec:
    return GateSpec.merge(parse_arguments((), arguments))


def alone(name: str, model: nn.Module, inputs: Any, **arguments: Any) -> CheckResult:
    """The result of one check; what it requires runs before it, and nothing else."""
    with (
        isolated(),
        prepared(model, call_of(model, inputs), spec_of(arguments), batch=None, seq=None, root=str(ROOT)) as prepared_cell,
    ):
        results, _ = judged(prepared_cell, *_with_requirements(name))
    return results[name]


def judged(at: Cell, *names: str) -> tuple[dict[str, CheckResult], Evidence]:
    """The results of the named checks, in the order of the gate, and the evidence that they give."""
    evidence, results = Evidence(), dict[str, CheckResult]()
    for check in checks.ALL:
        if check.name in names:
            found = check.judge(at, evidence, statuses(results))
            evidence = replace(evidence, **found.gives)
            results[check.name] = found.result
    return results, evidence


def statuses(results: dict[str, CheckResult]) -> dict[str, Status]:
    return {name: result.status for name, result in results.items()}


def _with_requirements(name: str) -> set[str]:
    needed = {"eager", name}
    for required in check_named(name).requires:
        needed |= _with_requirements(required)
    return needed


def cell_of(model: nn.Module, inputs: Any, **arguments: Any) -> Cell:
    """What a check is given."""
    model.eval()
    call = call_of(model, inputs)
    spec = spec_of(arguments)
    state, meta = ModelState(model), spec.weights == "meta"
    return Cell(
        model=model,
        call=call,
        spec=spec,
        dims=infer_dims(call.inputs),
        mask=mask_name(call.inputs, spec.mask),
        state=state,
        survey=Survey() if meta else surveyed(model, call, state),
        root=str(ROOT),
        meta=meta,
    )


def place(finding: Finding) -> tuple[str, int]:
    """Where a finding points to, as :func:`guilty` gives it."""
    assert finding.file is not None
    assert finding.line is not None
    return finding.file, finding.line


def guilty(*sources: Any) -> set[tuple[str, int]]:
    """The lines marked ``# guilty``, with files relative to the root as findings have them."""
    return {(Path(file).relative_to(ROOT).as_posix(), line) for file, line in guilty_places(sources)}
