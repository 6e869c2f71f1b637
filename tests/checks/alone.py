"""One check alone on a small model, as the gate would run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from pytest_torchscript import checks, gate
from pytest_torchscript.checks import Check, Context
from pytest_torchscript.result import CellResult, CheckResult, Finding
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.subject.inputs import infer_dims, mask_name
from pytest_torchscript.subject.state import ModelState

from ..corpus import guilty_places

__all__ = ["ROOT", "alone", "cell", "check_named", "context_of", "guilty", "place"]

ROOT = Path(__file__).resolve().parents[2]
NOT_ASKED = "not what this test is about"


def check_named(name: str) -> Check:
    return next(check for check in checks.ALL if check.name == name)


def cell(model: nn.Module, inputs: Any, **arguments: Any) -> CellResult:
    """The only cell of a gate; ``arguments`` are the marker's."""
    subject = gate.Subject(model=model, call=gate.call_of(model, inputs))
    spec = GateSpec.merge(parse_arguments((), arguments))
    (only,) = gate.judge(subject, spec, id="alone", root=str(ROOT)).cells
    return only


def alone(name: str, model: nn.Module, inputs: Any, **arguments: Any) -> CheckResult:
    """The result of one check, with what it requires and nothing else run."""
    needed = _with_requirements(name)
    skip = {check.name: NOT_ASKED for check in checks.ALL if check.name not in needed}
    return cell(model, inputs, **arguments, skip=skip).check(name)


def _with_requirements(name: str) -> set[str]:
    needed = {"eager", name}
    for required in check_named(name).requires:
        needed |= _with_requirements(required)
    return needed


def context_of(model: nn.Module, inputs: Any, **arguments: Any) -> Context:
    """What a check is given, before any check has run."""
    model.eval()
    call = gate.call_of(model, inputs)
    spec = GateSpec.merge(parse_arguments((), arguments))
    return Context(
        model=model,
        call=call,
        spec=spec,
        dims=infer_dims(call.inputs),
        mask=mask_name(call.inputs, spec.mask),
        state=ModelState(model),
        root=str(ROOT),
        meta=spec.weights == "meta",
    )


def place(finding: Finding) -> tuple[str, int]:
    """Where a finding points to, as :func:`guilty` gives it."""
    assert finding.file is not None
    assert finding.line is not None
    return finding.file, finding.line


def guilty(*sources: Any) -> set[tuple[str, int]]:
    """The lines marked ``# guilty``, with files relative to the root as findings have them."""
    return {(Path(file).relative_to(ROOT).as_posix(), line) for file, line in guilty_places(sources)}
