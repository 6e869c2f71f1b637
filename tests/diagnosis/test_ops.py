"""Which operation first gave another result."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.diagnosis.ops import Operation, OperationLog, crop_to, first_difference, first_leak, first_non_finite

from ..corpus import guilty_places

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


def log_of(function: Callable[[], Any]) -> OperationLog:
    log = OperationLog()
    log.record(function)
    return log


def place(operation: Any) -> tuple[str, int]:
    assert operation is not None
    assert operation.line is not None
    return operation.line.file, operation.line.line


def noisy(x: Tensor) -> Tensor:
    y = x * 2
    z = y + torch.rand(4)  # guilty
    return z.relu()


def pooled(x: Tensor) -> Tensor:
    y = x * 2
    z = y.mean(1)  # guilty
    return z * 3


def dividing(x: Tensor) -> Tensor:
    y = x - x
    z = y / y.sum()  # guilty
    return z + 1


def exploding(x: Tensor) -> Tensor:
    y = x * 0 + 1e30
    return y * 1e30  # guilty


# Recording


def test_every_torch_call_of_the_users_code_is_recorded() -> None:
    """By name, in order, with the user's line and what it returned."""
    log = log_of(lambda: pooled(X))
    assert [operation.name for operation in log.operations] == ["mul", "mean", "mul"]
    assert torch.equal(log.operations[0].results[0], X * 2)
    assert place(log.operations[1]) in guilty_places((pooled,))


def test_results_are_copies() -> None:
    """A later write in place does not change what was recorded."""

    def work() -> Tensor:
        y = X * 1
        return y.zero_()

    log = log_of(work)
    assert torch.equal(log.operations[0].results[0], X)


def test_a_record_returns_the_answer_without_gradients() -> None:
    """The run is the model's own, under no_grad."""
    linear = nn.Linear(4, 2)
    log = OperationLog()
    result = log.record(lambda: linear(X))
    assert torch.equal(result, linear(X))
    assert not result.requires_grad


def test_operations_inside_torchs_modules_belong_to_the_line_that_called_them() -> None:
    """The user's line, not torch's."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x)  # guilty

    model = Model()
    assert {place(operation) for operation in log_of(lambda: model(X)).operations} == guilty_places((Model,))


# Two runs


def test_runs_with_the_same_results_do_not_differ() -> None:
    """No operation is blamed."""
    assert first_difference(log_of(lambda: pooled(X)), log_of(lambda: pooled(X))) is None


def test_the_first_operation_with_another_result_is_found() -> None:
    """A random draw is where it was drawn, not where it is seen."""
    operation = first_difference(log_of(lambda: noisy(X)), log_of(lambda: noisy(X)), slack=0.0)
    assert {place(operation)} == guilty_places((noisy,))


def test_rounding_is_no_difference() -> None:
    """Relative to the result's own magnitude, up to the slack."""
    near = log_of(lambda: (X * (1 + 1e-6)).relu())
    assert first_difference(log_of(lambda: (X * 1.0).relu()), near) is None
    assert first_difference(log_of(lambda: (X * 1.0).relu()), near, slack=0.0) is not None


def test_another_operation_is_a_difference() -> None:
    """Where the two runs call something else, the left one's is named."""
    operation = first_difference(log_of(lambda: X.relu()), log_of(lambda: X.tanh()))
    assert operation is not None
    assert operation.name == "relu"


def test_a_run_that_goes_on_longer_differs_where_the_other_ends() -> None:
    """The first operation that only one of them has."""
    short, long = log_of(lambda: X * 2), log_of(lambda: (X * 2).relu())
    for left, right in ((short, long), (long, short)):
        operation = first_difference(left, right)
        assert operation is not None
        assert operation.name == "relu"


def test_a_larger_result_is_compared_from_the_start_on_request() -> None:
    """A padded run against a short one: the leak is the first operation that mixes positions."""
    padded = torch.cat([X, torch.ones(2, 3, 4)], 1)
    short, long = log_of(lambda: pooled(X)), log_of(lambda: pooled(padded))
    assert {place(first_difference(short, long, crop=True))} == guilty_places((pooled,))
    first = first_difference(short, long)
    assert first is not None
    assert first.name == "mul"


def test_nan_in_both_runs_is_no_difference() -> None:
    """NaN equals NaN, and meta tensors have nothing to compare."""
    assert first_difference(log_of(lambda: dividing(X)), log_of(lambda: dividing(X))) is None
    meta = X.to("meta")
    assert first_difference(log_of(lambda: meta * 2), log_of(lambda: meta * 2)) is None


def test_integers_differ_exactly() -> None:
    """Slack is for rounding alone."""
    ints = torch.full((4,), 10**6)
    assert first_difference(log_of(lambda: ints + 1), log_of(lambda: ints + 2)) is not None


@pytest.mark.parametrize(
    ("shape", "cropped"),
    [((2, 6, 4), (2, 6, 4)), ((1, 3, 4), (1, 3, 4)), ((2, 7, 4), None), ((6, 4), None)],
)
def test_a_tensor_is_cropped_from_the_start(shape: tuple[int, ...], cropped: tuple[int, ...] | None) -> None:
    """A larger size or another rank cannot be cropped to."""
    result = crop_to(X, torch.Size(shape))
    assert (None if result is None else tuple(result.shape)) == cropped
    if result is not None:
        assert torch.equal(result, X[tuple(slice(size) for size in shape)])


# Not finite


def test_the_first_nan_is_found_where_it_arose() -> None:
    """Not where it ended up."""
    assert {place(first_non_finite(log_of(lambda: dividing(X)), nan=True))} == guilty_places((dividing,))


def test_the_first_infinity_is_found_where_it_arose() -> None:
    """An overflow is no NaN, and is looked for on its own."""
    log = log_of(lambda: exploding(X))
    assert {place(first_non_finite(log, nan=False))} == guilty_places((exploding,))
    assert first_non_finite(log, nan=True) is None


def test_a_finite_run_has_no_such_operation() -> None:
    """Integers cannot be infinite."""
    assert first_non_finite(log_of(lambda: torch.arange(3) + 1), nan=True) is None


def test_the_memory_of_a_record_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit no more operations are kept, so that a large model is still judged."""
    monkeypatch.setattr("pytest_torchscript.diagnosis.ops._MOST_BYTES", 1)
    assert len(log_of(lambda: pooled(X)).operations) == 1


# Padding

ROWS, VALID, FULL, WIDTH = 2, 5, 8, 4
FEATURES = torch.randn(ROWS, VALID, WIDTH, generator=torch.Generator().manual_seed(1))
WEIGHT = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(2))


def padded_with(value: float, *, at_start: bool = False) -> Tensor:
    padding = torch.full((ROWS, FULL - VALID, WIDTH), value)
    return torch.cat([padding, FEATURES] if at_start else [FEATURES, padding], 1)


def mask_of(x: Tensor, *, at_start: bool = False) -> Tensor:
    mask = torch.ones(ROWS, x.shape[1])
    if x.shape[1] == FULL:
        mask[:, : FULL - VALID] = 1 - mask[:, : FULL - VALID] if at_start else 1
        mask[:, VALID:] = mask[:, VALID:] if at_start else 0
    return mask


def leak_of(function: Callable[[Tensor, Tensor], Tensor], *, at_start: bool = False) -> Operation | None:
    """The leak of a function of features and mask, between five positions and the same padded to eight."""
    long = padded_with(0.5, at_start=at_start)
    short_log = log_of(lambda: function(FEATURES, mask_of(FEATURES)))
    long_log = log_of(lambda: function(long, mask_of(long, at_start=at_start)))
    return first_leak(short_log, long_log, lengths=(VALID, FULL), at_start=at_start)


def attend(x: Tensor, mask: Tensor) -> Tensor:
    scores = x @ x.transpose(1, 2)
    if not bool(mask.all()):
        bias = (1 - mask[:, None, :]) * -1e9
        scores = scores + bias
    return scores.softmax(-1) @ x


def attend_then_pool(x: Tensor, mask: Tensor) -> Tensor:
    y = attend(x, mask)
    z = y.mean(1)  # guilty
    return z * 2


def rows_as_one_axis(x: Tensor, mask: Tensor) -> Tensor:
    y = x.reshape(-1, WIDTH) @ WEIGHT
    z = y.view(x.shape[0], x.shape[1], WIDTH) + 1
    return z * z.mean(1, keepdim=True)  # guilty


def positions_as_one_axis(x: Tensor, mask: Tensor) -> Tensor:
    y = x.transpose(0, 1).reshape(-1, WIDTH) @ WEIGHT
    z = y.view(x.shape[1], x.shape[0], WIDTH).transpose(0, 1)
    return z.cumsum(1).flip(1).cumsum(1)  # guilty


def distances(x: Tensor, mask: Tensor) -> Tensor:
    length = x.shape[1]
    far = torch.arange(length - 1, -length, -1)
    table = far.abs() * 0.1
    place = torch.arange(length)
    bias = table[place[:, None] - place[None, :] + length - 1]
    scores = x @ x.transpose(1, 2) - bias + (1 - mask[:, None, :]) * -1e9
    return scores.softmax(-1) @ x


def distances_then_pool(x: Tensor, mask: Tensor) -> Tensor:
    y = distances(x, mask)
    return y - y.mean(1, keepdim=True)  # guilty


def write_then_pool(x: Tensor, mask: Tensor) -> Tensor:
    y = x * 1
    y[:, 0] = x.sum(1)  # guilty
    return y


def test_a_leak_is_found_where_one_run_leaves_the_mask_out() -> None:
    """Operations that only the padded run calls are no leak, and those after them are compared all the same."""
    assert {place(leak_of(attend_then_pool))} == guilty_places((attend_then_pool,))


def test_what_keeps_padding_out_leaks_nowhere() -> None:
    """No line is named where both runs return the same at valid positions."""
    assert leak_of(attend) is None
    assert leak_of(distances) is None


@pytest.mark.parametrize("function", [rows_as_one_axis, positions_as_one_axis])
def test_rows_and_positions_on_one_axis_are_compared_position_by_position(function: Any) -> None:
    """A view as one axis, rows first or positions first, mixes no positions; the operation that does so is named."""
    assert {place(leak_of(function))} == guilty_places((function,))


def test_a_difference_that_goes_nowhere_is_no_leak() -> None:
    """A table of distances has other entries at its start for another length, and is read at other places."""
    assert {place(leak_of(distances_then_pool))} == guilty_places((distances_then_pool,))


def test_a_leak_by_writing_into_a_tensor_is_found() -> None:
    """An assignment to a part of a tensor is an operation too."""
    assert {place(leak_of(write_then_pool))} == guilty_places((write_then_pool,))


@pytest.mark.parametrize("function", [attend_then_pool, rows_as_one_axis])
def test_a_leak_of_padding_at_the_start_is_found(function: Any) -> None:
    """The valid positions are the last ones then."""
    assert {place(leak_of(function, at_start=True))} == guilty_places((function,))


def test_without_a_compared_output_the_first_difference_is_named() -> None:
    """A run that returns what no operation made still shows where the two runs differ."""
    logs = [log_of(lambda x=x: [pooled(x), None][1]) for x in (FEATURES, padded_with(0.5))]  # type: ignore[misc]
    assert {place(first_leak(*logs, lengths=(VALID, FULL)))} == guilty_places((pooled,))


def test_an_operation_knows_whose_results_it_was_given() -> None:
    """By number; the ends are the operations whose results the run returned."""
    log = log_of(lambda: (X * 2) + (X * 3))
    assert [operation.sources for operation in log.operations] == [(), (), (0, 1)]
    assert log.ends == (2,)
