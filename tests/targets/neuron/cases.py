"""Gates for the rules of Neuron, on machines without its SDK."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pytest_torchscript import gate
from pytest_torchscript.result import CellResult, CheckResult, Finding
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.targets import Neuron, Targets, built_in
from pytest_torchscript.targets.neuron.rules import RULES

from ...corpus.case import Case

ROOT = Path(__file__).resolve().parents[3]
SEVERITY = {rule.name: rule.severity for rule in RULES}


class WithoutSdk(Neuron):
    """The target as on a machine without its tools, whatever this one has."""

    def missing(self) -> str | None:
        return "torch_neuronx is not installed"


X = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))

TARGETS = Targets(by_name={"neuron": WithoutSdk()})


def judged(subject: gate.Subject, **arguments: object) -> CellResult:
    """The only cell of a gate for Neuron."""
    spec = GateSpec.merge(parse_arguments((), {"target": "neuron", **arguments}, built_in().arguments))
    (cell,) = gate.judge(subject, spec, id="neuron", root=str(ROOT), targets=TARGETS).cells
    return cell


def linted(case: Case) -> CheckResult:
    model = case.build()
    return judged(gate.Subject(model=model, call=gate.call_of(model, case.inputs())), **case.arguments).check("target")


def broken(result: CheckResult) -> tuple[Finding, ...]:
    """The places that break a rule, without the note of what was not judged."""
    return tuple(finding for finding in result.findings if "rule" in finding.details)


def unjudged(result: CheckResult) -> set[str]:
    return {rule for rule, outcome in result.metrics["rules"].items() if outcome == "not judged"}


def reasons(result: CheckResult) -> dict[str, str]:
    """Why rules could not be judged: at most one finding tells all of them."""
    notes = [finding.details["not_judged"] for finding in result.findings if "not_judged" in finding.details]
    assert len(notes) <= 1
    return dict(notes[0]) if notes else {}


def by_rule(result: CheckResult) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in broken(result):
        found.setdefault(str(finding.details["rule"]), []).append(finding)
    return found


def text(result: CheckResult) -> str:
    """What was found, for whoever reads a failure of this file."""
    return "\n".join(f"{finding.message} ({finding.file}:{finding.line})" for finding in result.findings)


def places(case: Case) -> set[tuple[str | None, int | None]]:
    return {(Path(file).relative_to(ROOT).as_posix(), line) for file, line in case.places}


def lint(model: nn.Module, *inputs: Tensor, **arguments: object) -> CheckResult:
    return judged(gate.Subject(model=model, call=gate.call_of(model, inputs)), **arguments).check("target")


class Doubled(nn.Module):
    """A model that breaks no rule."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def outcomes(model: nn.Module, *inputs: object, **arguments: object) -> dict[str, str]:
    """Every rule with its outcome; where that is none, with the reason."""
    result = judged(gate.Subject(model=model, call=gate.call_of(model, inputs)), **arguments).check("target")
    return {**result.metrics["rules"], **reasons(result)}
