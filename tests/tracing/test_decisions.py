"""The values by which a forward decides in eager mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pytest_torchscript.nested import identical
from pytest_torchscript.tracing.decisions import Decisions, same_way, watching_decisions


def decided(forward: Callable[[Tensor], object], x: Tensor) -> Decisions:
    with watching_decisions() as found:
        forward(x)
    return found


def one(x: Tensor) -> Tensor:
    return x * 2 if x.sum() > 0 else x


def both(x: Tensor) -> Tensor:
    return x * 2 if x[0] > 0 and x[1] > 0 else x


def each(x: Tensor) -> list[Tensor]:
    return [row * 2 if row > 0 else row for row in x]


def halved(x: Tensor) -> Tensor:
    while x.max() > 1:
        x = x / 2
    return x


@pytest.mark.parametrize(
    ("take", "value"),
    [
        (lambda x: bool(x.sum() > 0), "True"),
        (lambda x: int(x[0]), "2"),
        (lambda x: float(x[0]), "2.0"),
        (lambda x: x[0].item(), "2.0"),
        (lambda x: x.tolist(), "[2.0, 3.0]"),
        (lambda x: torch.equal(x, x), "True"),
    ],
    ids=["bool", "int", "float", "item", "tolist", "equal"],
)
def test_each_value_that_leaves_a_tensor_is_noted(take: Callable[[Tensor], object], value: str) -> None:
    """With the file and the line that took it."""
    found = decided(take, torch.tensor([2.0, 3.0]))
    assert [entry[2] for entry in found] == [value]
    assert found[0][0] == __file__
    assert found[0][1] == take.__code__.co_firstlineno


@pytest.mark.parametrize(
    ("forward", "known", "other", "expected"),
    [
        (one, [1.0, 2.0], [3.0, 4.0], True),
        (one, [1.0, 2.0], [-3.0, -4.0], False),
        (both, [1.0, 1.0], [1.0, -1.0], False),
        (both, [-1.0, 1.0], [-1.0, -1.0], True),
        (each, [1.0, -1.0], [-1.0, 1.0], False),
        (each, [1.0, -1.0], [2.0, -2.0], True),
        (halved, [4.0], [8.0], False),
        (halved, [4.0], [3.0], True),
    ],
)
def test_the_same_way_is_the_same_values_in_the_same_order(
    forward: Callable[[Tensor], object], known: list[float], other: list[float], expected: bool
) -> None:
    """A second question after the first, an order of rows and a number of rounds are part of the way."""
    assert same_way(decided(forward, torch.tensor(known)), decided(forward, torch.tensor(other))) is expected


def test_a_forward_that_decides_nothing_has_one_way() -> None:
    """Whatever its values are."""
    known = decided(lambda x: x * 2, torch.ones(2))
    assert known == []
    assert same_way(known, decided(lambda x: x * 2, torch.zeros(2)))


def test_what_the_gate_asks_of_tensors_is_no_decision() -> None:
    """A comparison of the package's own is not the model's."""
    assert decided(lambda x: identical(x, x.clone()), torch.ones(2)) == []


def test_tensors_are_as_before_afterwards() -> None:
    """Also after a forward that raises."""
    before = {name: vars(torch.Tensor).get(name) for name in ("__bool__", "item", "tolist", "__len__")}

    def raises(_: Tensor) -> None:
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        decided(raises, torch.ones(2))
    decided(one, torch.ones(2))
    assert {name: vars(torch.Tensor).get(name) for name in before} == before


def test_a_long_value_is_cut() -> None:
    """A list of a million numbers is not kept."""
    ((_, _, text),) = decided(lambda x: x.tolist(), torch.arange(1000.0))
    assert len(text) == 80
