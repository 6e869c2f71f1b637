"""Which sizes are tried, in which order, and which of them together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pytest_torchscript.probing.plan import Price, about, alone, directed, grid, ladder, pairs, rounds, sizes_of
from pytest_torchscript.subject.inputs import Dims
from pytest_torchscript.tracing.conversions import Conversion

TRACED = {"batch": 2, "seq": 16}
DIMS = Dims({"x": {0: "batch", 1: "seq"}})
PRICE = Price(DIMS, {"x": torch.zeros(2, 16, 8)})


def size_taken(kind: str = "bool", **known: Any) -> Conversion:
    """A size of axis 1 of ``x`` that became a Python value."""
    return Conversion(**{"kind": kind, "value": True, "line": None, "after": 0, "origin": "size", "axes": (("x", 1),), **known})


@pytest.mark.parametrize(
    ("size", "limit", "sizes"),
    [
        (16, None, {7, 33, 1}),
        (2, None, {1, 5, 3}),
        (1, None, {3, 2}),
        (3, None, {7, 1, 4}),
        (4, None, {1, 9, 5}),
        (8, None, {3, 17, 1, 6}),
        (128, None, {63, 257, 1}),
        (15, None, {31, 1, 16}),
        (16, 20, {7, 19, 1}),
        (16, 17, {7, 17, 1}),
        (16, 16, {7, 1}),
        (2, 2, {1}),
        (1, 1, set()),
    ],
)
def test_the_grid_is_smaller_larger_one_and_odd(size: int, limit: int | None, sizes: set[int]) -> None:
    """Never the traced size, never zero, never beyond the limit."""
    found = grid(size, limit)
    assert sizes <= set(found)
    assert size not in found
    assert all(1 <= other <= (limit or other) for other in found)
    assert len(found) == len(set(found)) <= 5


@pytest.mark.parametrize("size", range(1, 200))
def test_the_grid_knows_both_parities(size: int) -> None:
    """A program for even sizes is found out at an odd one, and the other way round; one is no odd size like others."""
    found = grid(size)
    assert any(other % 2 != size % 2 for other in found if other > 1)
    assert max(found) > size


# The conversions that concern a dim


def test_a_conversion_concerns_the_dim_of_its_axes() -> None:
    """The size of axis 1 says nothing of the batch."""
    taken = [size_taken()]
    assert about(taken, DIMS, "seq") == taken
    assert about(taken, DIMS, "batch") == []


def test_a_conversion_of_unknown_axes_concerns_every_dim() -> None:
    """A size of something computed may be that of any axis."""
    taken = [size_taken(axes=())]
    assert about(taken, DIMS, "seq") == about(taken, DIMS, "batch") == taken


def test_an_axis_counted_from_the_end_may_be_any_axis() -> None:
    """The last axis of something that was computed is not the last axis of the input."""
    taken = [size_taken(axes=(("x", -1),))]
    assert about(taken, DIMS, "seq") == about(taken, DIMS, "batch") == taken


@pytest.mark.parametrize(
    "conversion",
    [size_taken(origin="value"), size_taken(origin=None), size_taken(inside_torch=True)],
    ids=["value", "none", "torch"],
)
def test_what_is_no_size_of_the_model_concerns_no_dim(conversion: Conversion) -> None:
    """Values are another matter, and torch's own tests of its arguments are none."""
    assert about([conversion], DIMS, "seq") == []


def test_a_number_taken_inside_torch_still_concerns_its_dim() -> None:
    """Only decisions inside torch are tests of arguments: a number may be baked."""
    taken = [size_taken("int", inside_torch=True)]
    assert about(taken, DIMS, "seq") == taken


# Sizes of one dim


@pytest.mark.parametrize(
    ("conversions", "arguments", "expected"),
    [
        ([], {}, [33, 7]),
        ([], {"limit": 20}, [19, 7]),
        ([], {"doubled": True}, [32]),
        ([size_taken(thresholds=(32.0,))], {}, [33, 7, 1, 32, 31]),
        ([size_taken(moduli=(4.0,))], {}, [33, 7, 1, 20, 21]),
        ([size_taken("int")], {}, [33, 7, 1, 128]),
        ([size_taken("int")], {"doubled": True}, [32]),
        ([], {"thorough": True}, [7, 33, 1, 14, 32, 8]),
        ([size_taken("int")], {"thorough": True}, [7, 33, 1, 14, 32, 8, 128]),
    ],
)
def test_the_sizes_of_a_dim(conversions: list[Conversion], arguments: dict[str, Any], expected: list[int]) -> None:
    """Larger and smaller; one, and what the forward compares with, where it reads the size; twice where values fail."""
    assert sizes_of("seq", TRACED, conversions, **{"limit": None, **arguments}) == expected


def test_an_empty_batch_is_tried_where_the_forward_asks_for_it() -> None:
    """Nothing else shows what an empty input does; no other dim is ever zero."""
    empty = [size_taken(thresholds=(0.0,), axes=())]
    assert 0 in sizes_of("batch", TRACED, empty, limit=None)
    assert 0 not in sizes_of("batch", TRACED, [], limit=None)
    assert 0 not in sizes_of("seq", TRACED, empty, limit=None)


@pytest.mark.parametrize(
    ("dim", "conversion", "expected"),
    [
        ("seq", size_taken(thresholds=(1000.0,)), [1001, 1000, 999]),
        ("seq", size_taken(thresholds=(5.0,), moduli=(8.0,)), [6, 5, 4, 41, 40, 39]),
        ("seq", size_taken(thresholds=(1000.0,), axes=(("x", 0), ("x", 1))), [1001, 1000, 999, 501]),
        ("seq", size_taken(thresholds=(5000.0,)), []),
        ("batch", size_taken(thresholds=(100.0,)), []),
        ("batch", size_taken(thresholds=(32.0,)), [33, 32, 31]),
        ("batch", size_taken("int"), []),
        ("seq", size_taken(thresholds=(32.0,), inside_torch=True), []),
        ("seq", size_taken(thresholds=(40.0, 80.0, 120.0)), [41, 40, 39, 81, 80, 79]),
    ],
)
def test_sizes_lie_around_what_the_forward_compares_with(dim: str, conversion: Conversion, expected: list[int]) -> None:
    """On both sides of a threshold, at its share of a product, at most six, and never farther than is affordable."""
    assert directed(dim, TRACED, [conversion], limit=None) == expected


def test_no_size_lies_beyond_the_limit() -> None:
    """A table of 512 positions has no row 600."""
    assert directed("seq", TRACED, [size_taken(thresholds=(510.0, 600.0))], limit=512) == [511, 510, 509]


def test_the_distant_size_is_left_out_where_it_costs_too_much() -> None:
    """128 positions of a batch of 8 are more than a usual probe."""
    assert directed("seq", {"batch": 8, "seq": 16}, [size_taken("int")], limit=None) == []
    assert directed("seq", {"batch": 2, "seq": 64}, [size_taken("int")], limit=None) == []


@pytest.mark.parametrize(
    ("conversions", "limit", "expected"),
    [
        ([], None, [32, 8, 24, 64, 4, 48]),
        ([], 32, [32, 8, 24, 4]),
        ([size_taken(moduli=(4.0,))], None, [32, 8, 24, 64, 4, 48, 20, 12]),
        ([size_taken(moduli=(0.5, 2.5))], None, [32, 8, 24, 64, 4, 48]),
    ],
)
def test_the_ladder_has_multiples(conversions: list[Conversion], limit: int | None, expected: list[int]) -> None:
    """Multiples and whole shares of the traced size, and the neighbours by what the forward divides by."""
    assert ladder(16, conversions, limit) == expected


def test_the_ladder_has_whole_sizes_only() -> None:
    """Half of seven is no size."""
    assert ladder(7, [], None) == [14, 28, 21]


def test_pairs_keep_the_shape_and_then_the_area() -> None:
    """Both doubled, both halved, and one halved where the other is doubled."""
    assert list(pairs(8, 6)) == [
        (16, 12, "both doubled"),
        (4, 3, "both halved"),
        (4, 12, "the same area"),
        (16, 3, "the same area"),
    ]
    assert list(pairs(7, 6)) == [(14, 12, "both doubled"), (14, 3, "the same area")]
    assert list(pairs(7, 5)) == [(14, 10, "both doubled")]


# What a probe costs


def test_a_probe_costs_the_positions_of_its_largest_input() -> None:
    """Axes without a dim do not count, and dims of different inputs are not multiplied."""
    price = Price(Dims({"x": {0: "batch", 1: "seq"}, "y": {1: "past"}}), {"x": torch.zeros(2, 16, 8), "y": torch.zeros(2, 9)})
    assert price.positions({}) == 32
    assert price.positions({"seq": 100}) == 200
    assert price.positions({"seq": 100, "past": 300}) == 300


@pytest.mark.parametrize(
    ("sizes", "affordable"),
    [
        ({"batch": 3, "seq": 200}, True),
        ({"batch": 3, "seq": 201}, False),
        ({"seq": 2048}, True),
        ({"seq": 2049}, False),
        ({"seq": 4096, "batch": 1}, True),
        ({"seq": 4097, "batch": 1}, False),
    ],
)
def test_one_dim_alone_may_cost_more(sizes: dict[str, int], affordable: bool) -> None:
    """600 positions of a joint probe, 4096 of one dim."""
    assert PRICE.affordable(sizes) is affordable


def test_a_large_traced_call_may_have_large_probes() -> None:
    """Six times the traced call is never too dear."""
    price = Price(DIMS, {"x": torch.zeros(10, 100, 8)})
    assert price.affordable({"batch": 20, "seq": 300})
    assert not price.affordable({"batch": 20, "seq": 301})


@pytest.mark.parametrize(("size", "expected"), [(33, {"seq": 33}), (3000, {"seq": 3000, "batch": 1}), (5000, {})])
def test_a_dear_size_goes_with_a_batch_of_one(size: int, expected: dict[str, int]) -> None:
    """What is too dear even so is left out, and said."""
    assert alone("seq", size, TRACED, PRICE) == expected


def test_without_a_batch_there_is_none_to_reduce() -> None:
    """A dim that is no batch is not named one."""
    price = Price(Dims({"x": {0: "seq"}}), {"x": torch.zeros(16, 8)})
    assert alone("seq", 5000, {"seq": 16}, price) == {}


# Rounds


def test_a_round_changes_every_dim() -> None:
    """As many probes as the longest list has sizes: not their sum, and not their product."""
    assert list(rounds({"batch": [5, 1], "seq": [33, 7, 1]}, TRACED, PRICE)) == [
        {"batch": 5, "seq": 33},
        {"batch": 1, "seq": 7},
        {"seq": 1},
    ]


def test_a_dear_size_is_tried_without_the_others() -> None:
    """A later and smaller size goes with those of the other dims."""
    assert list(rounds({"batch": [5], "seq": [2001, 49]}, TRACED, PRICE)) == [{"seq": 2001}, {"batch": 5, "seq": 49}]


def test_a_size_that_is_too_dear_comes_last_with_a_batch_of_one() -> None:
    """It is not forgotten, and not joined with others."""
    assert list(rounds({"batch": [5], "seq": [33, 3000]}, TRACED, PRICE)) == [
        {"batch": 5, "seq": 33},
        {"seq": 3000, "batch": 1},
    ]


def test_without_sizes_there_are_no_rounds() -> None:
    """Nothing to try is no probe."""
    assert list(rounds({"batch": [], "seq": []}, TRACED, PRICE)) == []
