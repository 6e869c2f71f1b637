"""The exported program at other sizes and values: classes of the dims, and findings."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true

from pytest_torchscript.result import Status, Verdict

from ...checks.alone import guilty, place
from .cases import LongOnly, X, export, floats


class ComparesSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[1] == 6 else x  # guilty


class CountsLength(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / float(int(x.shape[1]))  # guilty


class LoopsOverLength(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = x[:, 0] * 0
        for step in range(x.shape[1]):  # guilty
            total = total + x[:, step]
        return total


class AddsTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(floats(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 + self.table  # guilty


class TwoLengths(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y if x.shape[1] == y.shape[1] else x + y.sum(1, True)  # guilty


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (ComparesSize(), "fixed"),
        (CountsLength(), "fixed"),
        (LoopsOverLength(), "fixed"),
        (AddsTable(), "fixed"),
        (LongOnly(), "partial"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_specialised_dim_is_a_note_or_by_contract_a_failure(model: nn.Module, kind: str) -> None:
    """``safe`` takes a loud refusal, ``dynamic`` none; either way the line that did it is named, also inside an operation."""
    safe = export(model, (X,))
    assert safe.status is Status.PASSED
    assert safe.metrics["export_dims"] == {"batch": "dynamic", "seq": kind}
    dynamic = export(model, (X,), shapes={"seq": "dynamic"})
    assert dynamic.verdict is Verdict.TARGET_FAILURE
    for result in (safe, dynamic):
        (finding,) = result.findings
        assert finding.message.startswith(f"seq is {kind} in the exported program")
        assert "exported at 6, it refuses" in finding.message
        assert {place(finding)} == guilty(type(model))
        assert finding.where == "specialised at"
        assert finding.hint


def test_a_size_that_must_be_an_int_is_a_reason() -> None:
    """Tables by length are dictionaries, often."""

    class ByLength(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * {6: 2.0}.get(x.shape[1], 1.0)  # guilty

    (note,) = export(ByLength(), (X,)).findings
    assert "a size must be a plain int for the forward" in note.message
    assert {place(note)} == guilty(ByLength)


def test_a_guard_that_divides_by_a_size_is_no_obstacle() -> None:
    """At a size of 1 half of it is 0, and the guard itself cannot be reckoned."""

    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            half = x.shape[1] // 2
            return x * 2 if half and x.shape[1] % half == 0 else x

    result = export(Halves(), (X,))
    assert result.status is Status.PASSED, result.findings
    assert result.metrics["export_dims"]["seq"] == "partial"


def test_a_dim_declared_fixed_is_exported_static() -> None:
    """There is nothing to say of sizes that nobody wants."""
    result = export(nn.Linear(4, 3), (X,), shapes={"seq": "fixed"})
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "fixed"}


def test_two_dims_that_must_be_equal_are_said() -> None:
    """Both were declared, eager takes any two sizes, and the program keeps them equal."""
    dims = {"x": {1: "seq"}, "y": {1: "other"}}
    result = export(TwoLengths(), {"x": X, "y": X}, dims=dims, shapes="dynamic")
    assert result.verdict is Verdict.TARGET_FAILURE
    assert {place(finding) for finding in result.findings} == guilty(TwoLengths)
    assert "y.size()[1]" in result.findings[0].message
    assert "one dim in dims=" in str(result.findings[0].hint)
    # Either alone is: a symbol in the program, and yet without another size.
    assert result.metrics["export_dims"] == {"seq": "fixed", "other": "fixed"}


def test_an_answer_that_is_wrong_at_another_size_fails() -> None:
    """With the size, the leaf and the amount."""

    class Hides(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            # True in eager from 13 on; while exporting, no size is known well enough.
            return {"same": x, "scaled": x * 3 if statically_known_true(x.shape[1] >= 13) else x * 2}

    result = export(Hides(), (X,))
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert finding.message.startswith(
        "seq is silently wrong in the exported program: exported at 6, off at 13: output 'scaled' by max abs"
    )
    assert finding.path == "scaled"
    assert finding.details["probes"] == {"1": "equal", "3": "equal", "12": "equal", "13": "wrong"}
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "unsafe"}


def test_a_special_case_for_one_is_wrong_in_silence() -> None:
    """torch assumes that a dynamic size is never 1 and does not check it."""

    class OneRow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 3 if x.shape[0] == 1 else x * 2

    result = export(OneRow(), (X,))
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert "exported at 2, off at 1" in finding.message
    assert "never 1" in str(finding.hint)


def test_a_program_wrong_where_it_was_exported_is_said_once() -> None:
    """Other sizes and values would say the same."""

    class Exporting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 3 if torch.compiler.is_exporting() else x

    result = export(Exporting(), (X,))
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert "another answer than eager" in finding.message
    assert result.metrics["export_dims"] == {"batch": "unsafe", "seq": "unsafe"}


def test_two_dims_wrong_together_fail() -> None:
    """Each alone is right."""

    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 3 if statically_known_true((x.shape[0] - 2) * (x.shape[1] - 6) != 0) else x * 2

    result = export(Product(), (X,))
    assert result.verdict is Verdict.TARGET_FAILURE
    assert "together" in result.findings[0].message
    assert result.metrics["export_dims"] == {"batch": "unsafe", "seq": "unsafe"}


def test_a_size_that_eager_refuses_is_no_probe() -> None:
    """The model's domain is one size: nothing is known, and nothing is wrong."""

    class Strict(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch._assert(x.shape[1] == 6, "six steps")
            return x * 2

    result = export(Strict(), (X,), shapes="dynamic", dims={"x": {0: "batch", 1: "seq"}})
    assert result.status is Status.PASSED
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "untested"}


def test_a_dim_that_nothing_could_try_is_noted_where_it_is_declared_dynamic() -> None:
    """It passes on what was tried, and says what was not."""

    class Strict(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch._assert(x.shape[1] == 6, "six steps")
            return x * 2

    dims = {"x": {0: "batch", 1: "seq"}}
    (note,) = export(Strict(), (X,), dims=dims, shapes="dynamic").findings
    assert note.message == (
        "seq is untested in the exported program, declared dynamic: exported at 6, and eager takes none of 1, 3, 12, 13"
    )
    assert export(Strict(), (X,), dims=dims).findings == ()


class Strides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, ::2] + x[:, 1::2] if x.shape[1] % 2 == 0 else x[:, ::2]


class Windows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        windows = x.view(x.shape[0], x.shape[1] // 8, 8, 4)
        return (windows @ windows.mT @ windows).view(x.shape)


@pytest.mark.parametrize(
    ("model", "size", "kind"),
    [(Strides(), 6, "partial"), (Windows(), 16, "partial"), (Windows(), 24, "dynamic")],
    ids=["strides", "two windows", "three windows"],
)
def test_a_size_that_must_be_divisible_is_tried_at_its_double(model: nn.Module, size: int, kind: str) -> None:
    """Neither is a dim fixed that takes others, nor is it untested where there is one to try."""
    result = export(model, (floats(2, size, 4),))
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": kind}
    for note in result.findings:
        assert "deploy such sizes only" in str(note.hint)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN], ids=lambda kind: kind.__name__)
def test_torchs_recurrent_layers_are_said_to_be_unrolled(kind: type[nn.Module]) -> None:
    """The model can keep no size in the graph where torch itself loops over it."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = kind(4, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0]  # guilty

    result = export(Recurrent(), (X,))
    assert result.metrics["export_dims"] == {"batch": "dynamic", "seq": "fixed"}
    (note,) = result.findings
    assert "unrolls nn.LSTM" in str(note.hint)
    assert {place(note)} == guilty(Recurrent)


@pytest.mark.parametrize(("value", "kind"), [(float("nan"), "dynamic"), (float("inf"), "unsafe")])
def test_a_size_at_which_eager_gives_nan_is_no_probe(value: float, kind: str) -> None:
    """NaN is no answer to compare with; an infinity is one, and the program must give it too."""

    class Overflows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 0 + value if statically_known_true(x.shape[1] >= 12) else x

    result = export(Overflows(), (X,))
    assert result.metrics["export_dims"]["seq"] == kind
    assert result.status is (Status.PASSED if kind == "dynamic" else Status.FAILED)


def test_tolerance_is_the_markers() -> None:
    """What is off by a hundredth passes where that is allowed."""

    class Drifts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 1.01 if statically_known_true(x.shape[1] >= 13) else x

    assert export(Drifts(), (X,)).verdict is Verdict.TARGET_FAILURE
    assert export(Drifts(), (X,), rtol=0.1, atol=0.0).status is Status.PASSED


def test_other_values_are_compared_where_the_trace_was_not() -> None:
    """An untraceable model's program is tried on more than the observed values."""

    class Exporting(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            return (x.abs() if torch.compiler.is_exporting() else x), None

    result = export(Exporting(), (X,))
    assert result.verdict is Verdict.TARGET_FAILURE
    assert "silently wrong for other values" in result.findings[0].message
