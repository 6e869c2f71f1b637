"""The rule about `dynamic_batch`."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from pytest_torchscript.result import Status

from .cases import (
    Doubled,
    X,
    by_rule,
    lint,
    outcomes,
)
from .corpus import BREAKING, DYNAMIC


def test_rows_that_cannot_be_tried_are_not_judged() -> None:
    """Models for so many rows only, one whose batch is not known, and one without a trace."""

    class Pairs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[0] != 2:
                raise ValueError("two rows, please")
            return x * 2

    class Single(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[0] != 1:
                raise ValueError("one row, please")
            return x * 2

    class Few(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[0] > 2:
                raise ValueError("two rows at most, please")
            return x * 2

    fixed: dict[str, object] = {"dims": {"x": {1: "seq"}}, "dynamic_batch": True}
    assert outcomes(Pairs(), X, dynamic_batch=True)["dynamic-batch"] == "eager refuses a single row"
    found = outcomes(Single(), X[:1], dynamic_batch=True, skip={"trace": "no"})
    assert found["dynamic-batch"] == "eager refuses a batch of 2"
    assert outcomes(Few(), X, dynamic_batch=True)["dynamic-batch"] == "eager refuses a batch of 3"
    assert outcomes(Doubled(), X, **fixed)["dynamic-batch"].startswith("no axis of the inputs is known to be the batch")
    single = outcomes(Doubled(), X[:1], **fixed, skip={"trace": "no"})
    assert single["dynamic-batch"].startswith("no axis of the inputs is known to be the batch")
    assert outcomes(Doubled(), X, dynamic_batch=True, skip={"trace": "no"})["dynamic-batch"] == "no trace was made"


def test_rows_that_depend_on_each_other_are_found_without_a_trace() -> None:
    """What cannot be judged takes nothing along that was found."""
    (case,) = (breaking.case for breaking in BREAKING if breaking.case.name == "centred_over_the_batch")
    assert lint(case.build(), *case.inputs(), **DYNAMIC, skip={"trace": "no"}).metrics["rules"]["dynamic-batch"] == "fail"


def test_a_batch_that_is_baked_in_is_found_where_no_single_row_can_be_tried() -> None:
    """One question about rows that has no answer leaves the other."""

    class PairsBaked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[0] < 2:
                raise ValueError("two rows at least, please")
            rows = int(x.shape[0])
            return x[:rows] * 2

    (finding,) = by_rule(lint(PairsBaked(), X, **DYNAMIC))["dynamic-batch"]
    assert "silently wrong for a batch of 3" in finding.message


def test_rows_that_depend_on_each_other_are_named_once() -> None:
    """That the program is wrong for another batch too would be the same fault again."""

    class CentredByNumber(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.sum(0) / int(x.shape[0])

    (finding,) = by_rule(lint(CentredByNumber(), X, **DYNAMIC))["dynamic-batch"]
    assert "depends on the other rows" in finding.message


@pytest.mark.parametrize("asked", [False, None])
def test_rows_may_depend_on_each_other_unless_a_dynamic_batch_is_asked_for(asked: bool | None) -> None:
    """The rule is about the argument."""
    (case,) = (breaking.case for breaking in BREAKING if breaking.case.name == "centred_over_the_batch")
    arguments = {} if asked is None else {"dynamic_batch": asked}
    assert lint(case.build(), *case.inputs(), **arguments).status is Status.PASSED
