"""The line that a whole gate names, where the failure shows itself at another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import gate
from pytest_torchscript.result import CheckResult
from pytest_torchscript.spec import GateSpec

from ..corpus import guilty_places
from .elsewhere import Flags, exporting, exporting_by_another, exporting_by_branch

ROOT = Path(__file__).resolve().parents[2]


def failed(model: nn.Module, inputs: Any) -> list[CheckResult]:
    torch.manual_seed(0)
    subject = gate.Subject(model=model, call=gate.call_of(model, inputs))
    (cell,) = gate.judge(subject, GateSpec(), id="lines", root=str(ROOT)).cells
    return [check for check in cell.checks if check.verdict is not None]


def places(check: CheckResult) -> list[tuple[str | None, int | None]]:
    return [(finding.file, finding.line) for finding in check.findings if finding.line is not None]


def guilty(*sources: Any) -> list[tuple[str, int]]:
    return [(Path(file).relative_to(ROOT).as_posix(), line) for file, line in guilty_places(sources)]


X = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))


class Asks(nn.Module):
    """Leaves a step out while it is traced; a helper in another file says whether it is."""

    def __init__(self, helper: Callable[[], bool]) -> None:
        super().__init__()
        self.helper = helper

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        if not self.helper():  # guilty
            y = y + 1
        return y


@pytest.mark.parametrize(
    "helper", [exporting, exporting_by_another, exporting_by_branch, lambda: Flags().exporting, torch.jit.is_tracing]
)
def test_a_helper_that_asks_whether_it_is_traced_is_left_for_its_caller(helper: Callable[[], bool]) -> None:
    """The helper is right and is used by others; what its caller makes of the answer is the fault."""
    (check, *_) = failed(Asks(helper), (X,))
    assert check.verdict == "NotEquivalent"
    assert places(check)[0] == guilty(Asks)[0]


class KeepOthers(nn.Module):
    """A bool as the value of a scatter, which TorchScript does not know; the error comes after the forward has returned."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        others = torch.ones(x.shape, dtype=torch.bool)
        others = others.scatter(-1, index, False)  # guilty
        y = x.masked_fill(~others, 0.0)
        return y + 1


def test_an_operation_without_a_form_in_torchscript_is_named_itself() -> None:
    """Not the return, after which torch looks at it; and the message says which operation."""
    (check, *_) = failed(KeepOthers(), (torch.randn(2, 16), torch.randint(0, 16, (2, 4))))
    assert check.verdict == "Untraceable"
    assert places(check) == guilty(KeepOthers)
    assert "aten::scatter" in check.findings[0].message
    assert "INTERNAL ASSERT" not in check.findings[0].message


class Mixed(nn.Module):
    """Attention that heeds the mask, and a convolution that does not. Eager leaves a mask of ones out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1, groups=8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embed(input_ids)
        bias = None
        if torch.jit.is_tracing() or not attention_mask.all():
            bias = (1 - attention_mask[:, None, :]) * -1e4
        query = self.query(x)
        key, value = self.key(x), self.value(x)
        scores = query @ key.transpose(1, 2)
        if bias is not None:
            scores = scores + bias
        context = scores.softmax(-1) @ value
        mixed: Tensor = context + self.conv(value.transpose(1, 2)).transpose(1, 2)  # guilty
        return mixed


@pytest.mark.parametrize("rows", [1, 3])
def test_padding_names_the_operation_that_lets_it_in(rows: int) -> None:
    """Though the padded run calls operations that the unpadded one leaves out."""
    torch.manual_seed(0)
    inputs = {"input_ids": torch.randint(1, 50, (rows, 16)), "attention_mask": torch.ones(rows, 16, dtype=torch.long)}
    (check,) = failed(Mixed(), inputs)
    assert check.verdict == "PaddingUnsafe"
    assert places(check)[0] == guilty(Mixed)[0]


class Experts(nn.Module):
    """The number of rows that an expert gets is baked; nothing leaks from padding in eager."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.choose = nn.Linear(8, 2)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embed(input_ids) * attention_mask[..., None]
        flat = x.flatten(0, 1)
        which = self.choose(flat).argmax(-1)
        order = which.argsort(stable=True)
        sizes = torch.bincount(which, minlength=2).tolist()  # guilty
        parts = [expert(part) for expert, part in zip(self.experts, flat[order].split(sizes), strict=True)]
        y = torch.empty_like(flat).index_copy(0, order, torch.cat(parts))
        return y.view_as(x) * attention_mask[..., None]


def test_padding_names_no_line_where_eager_keeps_it_out() -> None:
    """The trace is another program then, and another check says why."""
    torch.manual_seed(0)
    inputs = {"input_ids": torch.randint(1, 50, (2, 16)), "attention_mask": torch.ones(2, 16, dtype=torch.long)}
    checks = {check.name: check for check in failed(Experts(), inputs)}
    assert places(checks["values"])[0] == guilty(Experts)[0]
    if "padding" in checks:
        assert places(checks["padding"]) in ([], guilty(Experts))
