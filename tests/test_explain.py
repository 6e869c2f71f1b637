"""Causes, and the findings that name them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pytest_torchscript.diagnosis.cause import Cause
from pytest_torchscript.explain import caused, lines_of, produced, written_at
from pytest_torchscript.source import Line
from pytest_torchscript.tracing.trace import trace

from .checks.alone import ROOT, cell_of, guilty

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


class Counting(nn.Module):
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count.add_(1)  # guilty
        self.calls += 1
        return x * self.count


def test_the_line_that_computed_an_output_is_read_from_the_trace() -> None:
    """By the leaf's path, in tuples and in mappings; a leaf that is not there has none."""

    class Mapping(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            first = x * 2
            second = x * 3  # guilty
            return {"first": first, "second": second}

    cell = cell_of(Mapping(), (X,))
    expected, traced = cell.eager(), trace(cell.model, cell.call)
    (cause,) = produced(traced, expected, "second")
    assert {(str(cause.line.file).removeprefix(f"{ROOT}/"), cause.line.line)} == guilty(Mapping)
    assert produced(traced, expected, "third") == []


def test_causes_go_to_the_first_finding_and_after_the_last() -> None:
    """The first cause is the first finding's own line; the others follow as findings."""
    cell = cell_of(Plain(), (X,))
    findings = [cell.finding("one", details={"amount": 1}), cell.finding("two")]
    causes = [Cause(Line(__file__, line, "f"), "baked at", f"detail {line}") for line in (1, 2, 3, 4)]
    first, second, *others = caused(cell, findings, causes, hint="remedy")
    assert (first.message, first.line, first.hint) == ("one", 1, "remedy")
    assert first.details == {"amount": 1, "cause": "detail 1"}
    assert second == findings[1]
    assert [(finding.message, finding.line) for finding in others] == [("detail 2", 2), ("detail 3", 3)]


def test_without_a_cause_the_remedy_is_still_told() -> None:
    """A hint of the finding's own is kept."""
    cell = cell_of(Plain(), (X,))
    (plain,) = caused(cell, [cell.finding("one")], [], hint="remedy")
    (own,) = caused(cell, [cell.finding("one", hint="own")], [], hint="remedy")
    assert (plain.hint, own.hint, plain.line) == ("remedy", "own", None)


def test_the_writes_of_a_call_are_named_with_their_lines() -> None:
    """Buffers first, then attributes; afterwards the model is as before."""
    cell = cell_of(Counting(), (X,))
    (buffer, line), (attribute, _) = lines_of(cell, (*cell.survey.buffers, *cell.survey.attributes))
    assert (buffer, attribute) == ("count", "calls")
    assert line is not None
    assert {(str(line.file).removeprefix(f"{ROOT}/"), line.line)} == guilty(Counting)
    assert written_at(cell, "no such") is None
    assert float(cell.model.count) == 0  # type: ignore[arg-type]
    assert cell.model.__dict__["calls"] == 0
