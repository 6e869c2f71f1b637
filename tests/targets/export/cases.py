"""Gates for the tests of `export`, and models that several of them use."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pytest_torchscript import checks, gate
from pytest_torchscript.result import CellResult, CheckResult
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.targets import built_in

from ...checks.alone import NOT_ASKED, ROOT


def floats(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).abs() + 0.1


X = floats(2, 6, 4)


def cell(model: nn.Module, inputs: Any, *, everything: bool = False, timeout: float = 600, **arguments: Any) -> CellResult:
    """The only cell of a gate for this target, with no check but ``eager`` and ``target`` unless ``everything`` is asked."""
    skip = {} if everything else {check.name: NOT_ASKED for check in checks.ALL if check.name not in ("eager", "target")}
    parsed = parse_arguments((), {**arguments, "target": "export", "skip": skip}, built_in().arguments)
    subject = gate.Subject(model=model, call=gate.call_of(model, inputs))
    targets = replace(built_in(), timeout=timeout)
    (only,) = gate.judge(subject, GateSpec.merge(parsed), id="export", root=str(ROOT), targets=targets).cells
    return only


def export(model: nn.Module, inputs: Any, **arguments: Any) -> CheckResult:
    return cell(model, inputs, **arguments).check("target")


class BranchesOnSum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # guilty
            return x * 2
        return x


class BranchesOnCount(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        kept = x[x > 0.5]
        if kept.shape[0] == 0:  # guilty
            return x.sum()
        return kept.sum()


class LongOnly(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[1] > 4 else x  # guilty
