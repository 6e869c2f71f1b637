"""Nested outputs as named leaves, and their comparison."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict, UserDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from pytest_torchscript.nested import (
    Mismatch,
    clone,
    compare,
    describe,
    finite,
    identical,
    leaves,
    map_tensors,
    map_with_path,
    nan_free,
    numbers,
    tensors,
    walk,
)
from pytest_torchscript.spec import Tolerance

NAN, INF = math.nan, math.inf
EIGHT_BITS = torch.float8_e5m2

# torch 2.13 deprecates making quantised tensors; models still return them.
making_quantised = pytest.mark.filterwarnings("ignore:.*quantized tensor creation:UserWarning")


class Output(NamedTuple):
    logits: Tensor
    loss: Tensor | None


class NamedDict(UserDict[str, Any]):
    """A mapping class of its own, as a tokenizer's output is."""


class Awkward(NamedDict):
    """A mapping that cannot be made from a dict."""

    def __init__(self) -> None:
        super().__init__({"x": torch.ones(1)})


def t(*values: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def announced(make: Callable[[], Tensor]) -> Tensor:
    """A tensor of a kind that torch announces as experimental, once a process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def ragged(*parts: Tensor, jagged: bool = True) -> Tensor:
    """A nested tensor, in either of the two layouts that torch has for them."""
    layout = torch.jagged if jagged else torch.strided
    return announced(lambda: torch.nested.nested_tensor(list(parts), layout=layout))


def half_complex(tensor: Tensor) -> Tensor:
    return announced(lambda: tensor.to(torch.complex32))


def only(mismatches: list[Mismatch]) -> Mismatch:
    (mismatch,) = mismatches
    return mismatch


# Leaves


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        (t(1.0), ["output"]),
        ((t(1.0), t(2.0)), ["[0]", "[1]"]),
        ({"logits": t(1.0), "states": (t(1.0), t(2.0))}, ["logits", "states[0]", "states[1]"]),
        ([{"scores": t(1.0)}], ["[0].scores"]),
        ((t(1.0), None, 3), ["[0]", "[1]", "[2]"]),
        (Output(t(1.0), None), ["[0]", "[1]"]),
        (torch.Size([2, 3]), ["output"]),
        ({}, []),
    ],
    ids=["tensor", "tuple", "mapping", "nested", "others", "named tuple", "size", "empty"],
)
def test_every_leaf_has_a_path(value: Any, paths: list[str]) -> None:
    """Paths read like the code that would reach the leaf; a lone tensor is the output."""
    assert [path for path, _ in leaves(value)] == paths


def test_the_tensors_among_the_leaves() -> None:
    """None and numbers are leaves, but no tensors."""
    assert [path for path, _ in tensors((t(1.0), None, 3, {"x": t(2.0)}))] == ["[0]", "[3].x"]


def test_the_keys_that_lead_to_a_leaf() -> None:
    """They are given as they are, so that a reader can name the leaf in another notation."""
    assert list(walk({"pair": (1, [2])})) == [(("pair", 0), 1), (("pair", 1, 0), 2)]
    assert list(walk(3)) == [((), 3)]


def test_a_container_that_is_called_a_leaf_is_not_entered() -> None:
    """A reader may know containers that it takes as one value."""
    value = ({"x": 1}, [2])
    assert list(leaves(value, is_leaf=lambda entry: isinstance(entry, dict))) == [("[0]", {"x": 1}), ("[1][0]", 2)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.zeros(2, 16, dtype=torch.bfloat16), "bfloat16 (2, 16)"),
        (torch.zeros(()), "float32 ()"),
        (ragged(torch.zeros(2), torch.zeros(3)), "float32 nested, 2 parts"),
        (ragged(torch.zeros(2), torch.zeros(3), jagged=False), "float32 nested, 2 parts"),
        ({"a": 1, "b": 2}, "mapping with 'a', 'b'"),
        ((1, 2), "tuple of 2"),
        ([1], "list of 1"),
        (None, "NoneType"),
        (3, "int"),
    ],
)
def test_a_value_is_described_without_its_content(value: Any, text: str) -> None:
    """A message says what a value is, and never dumps it."""
    assert describe(value) == text


def test_the_description_of_a_large_mapping_is_short() -> None:
    """The first eight keys tell what it is."""
    assert describe({str(i): i for i in range(100)}) == "mapping with '0', '1', '2', '3', '4', '5', '6', '7'"


# Copies


def test_mapping_over_tensors_keeps_containers_of_every_kind() -> None:
    """Tuples, lists, dicts, named tuples and mapping classes are rebuilt as what they are; other leaves are shared."""
    marker = object()
    value = {
        "named": Output(t(1.0), None),
        "ordered": OrderedDict(x=t(1.0)),
        "own": NamedDict(x=t(1.0)),
        "list": [t(1.0), (t(1.0), marker)],
        "size": torch.Size([2]),
    }
    doubled = map_tensors(lambda tensor: tensor * 2, value)
    assert isinstance(doubled["named"], Output)
    assert isinstance(doubled["ordered"], OrderedDict)
    assert isinstance(doubled["own"], NamedDict)
    assert isinstance(doubled["list"][1], tuple)
    assert doubled["list"][1][1] is marker
    assert doubled["size"] == torch.Size([2])
    assert [float(tensor) for _, tensor in tensors(doubled)] == [2.0] * 5
    assert [float(tensor) for _, tensor in tensors(value)] == [1.0] * 5


def test_mapping_with_paths_visits_every_leaf() -> None:
    """The function is given what is no tensor too, with the path that `leaves` has for it."""
    value = {"pair": Output(t(1.0), None), "rest": [3, ()]}
    seen = map_with_path(lambda path, leaf: (path, leaf is None), value)
    assert seen == {"pair": (("pair[0]", False), ("pair[1]", True)), "rest": [("rest[0]", False), ()]}
    assert isinstance(seen["pair"], Output)
    assert map_with_path(lambda path, _: path, t(1.0)) == "output"
    assert map_with_path(lambda path, _: path, (t(1.0),), "x") == ("x[0]",)


def test_containers_can_be_made_plain() -> None:
    """Named tuples and mapping classes become what a reader without their classes knows."""
    value = {"named": Output(t(1.0), None), "own": NamedDict(x=[1])}
    made = map_with_path(lambda _, leaf: leaf, value, plain=True)
    assert type(made["named"]) is tuple
    assert made["own"] == {"x": [1]}
    assert type(made["own"]) is dict


def test_mapping_leaves_out_what_is_called_a_leaf() -> None:
    """The function gets the container whole."""
    value = ({"x": 1}, [2])
    assert map_with_path(lambda _, leaf: str(leaf), value, is_leaf=lambda entry: isinstance(entry, dict)) == (
        "{'x': 1}",
        ["2"],
    )


def test_a_mapping_that_cannot_be_rebuilt_becomes_a_dict() -> None:
    """A class with another constructor loses its class, not its entries."""
    assert clone(Awkward()) == {"x": torch.ones(1)}


def test_a_clone_shares_no_memory() -> None:
    """Neither aliases nor in-place writes reach the original."""
    base = torch.ones(2, 3)
    copied = clone((base, base.T))
    copied[0].zero_()
    assert base.sum() == 6
    assert copied[1].sum() == 6


def test_a_clone_keeps_the_gradient_flag_and_drops_the_graph() -> None:
    """A copy is a leaf, and requires grad where the original did."""
    x = torch.ones(2, requires_grad=True)
    copied = clone({"x": x, "y": x * 2, "z": torch.ones(1)})
    assert [tensor.requires_grad for tensor in copied.values()] == [True, True, False]
    assert all(tensor.is_leaf for tensor in copied.values())


# NaN and infinities

NO_NUMBERS = [
    torch.ones(2),
    (torch.tensor([1, 2]), None, torch.tensor(True)),
    3.0,
    torch.ones(2, device="meta"),
    torch.zeros(0),
    torch.eye(2).to_sparse(),
    torch.ones(2, dtype=EIGHT_BITS),
    torch.ones(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    ragged(torch.ones(2), torch.ones(3)),
]


def holding(number: float) -> list[Any]:
    """Nested values of every kind that hold one such number."""
    pair = t(1.0, number)
    return [
        {"a": (pair,)},
        torch.tensor(number),
        torch.complex(t(number), t(0.0)),
        torch.complex(t(0.0), t(number)),
        half_complex(torch.complex(t(0.0), t(number))),
        torch.complex(t(0.0), t(number)).to_sparse(),
        pair.to_sparse(),
        announced(lambda: pair.unsqueeze(0).to_sparse_csr()),
        pair.to(EIGHT_BITS),
        pair.to_mkldnn(),
        torch.sparse_coo_tensor(torch.tensor([[0, 0]]), pair, check_invariants=True),
        pair.to(torch.bfloat16),
        ragged(t(1.0), pair),
        ragged(t(1.0), pair, jagged=False),
    ]


@pytest.mark.parametrize("output", NO_NUMBERS)
def test_an_output_is_finite_when_all_its_numbers_are(output: object) -> None:
    """Integers, meta tensors and what is no tensor cannot be otherwise."""
    assert finite(output)
    assert nan_free(output)


@pytest.mark.parametrize("output", [*holding(NAN), t(1.0, NAN).to(torch.float8_e4m3fn)])
def test_a_nan_is_found_in_every_kind_of_tensor(output: object) -> None:
    """Complex, sparse, nested and 8-bit tensors hide none, whichever part of a number it is in."""
    assert not finite(output)
    assert not nan_free(output)


@pytest.mark.parametrize("output", holding(INF))
def test_an_infinity_is_not_finite_and_yet_no_nan(output: object) -> None:
    """A model may answer with one on purpose, as a sampler does for words that it forbids."""
    assert not finite(output)
    assert nan_free(output)


def test_the_numbers_of_a_nested_value_are_dense() -> None:
    """A reader can look for the place of a number without knowing every kind of tensor."""
    value = {"sparse": t(0.0, 3.0).to_sparse(), "ids": torch.tensor([1]), "rows": ragged(t(1.0), t(2.0, 3.0))}
    found = dict(numbers(value))
    assert {path: tensor.tolist() for path, tensor in found.items()} == {
        "sparse": [0.0, 3.0],
        "rows[0]": [1.0],
        "rows[1]": [2.0, 3.0],
    }
    assert {tensor.layout for tensor in found.values()} == {torch.strided}


@making_quantised
def test_quantised_outputs_are_finite() -> None:
    """They are integers with a scale."""
    assert finite(torch.quantize_per_tensor(t(1.0), 0.1, 0, torch.qint8))


# Identity


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (t(1.0, 2.0), t(1.0, 2.0), True),
        (t(1.0, 2.0), t(1.0, 2.0000002), False),
        (t(1.0, NAN), t(1.0, NAN), True),
        (t(1.0, NAN), t(1.0, 1.0), False),
        (t(INF), t(-INF), False),
        (t(1.0), t(1.0, dtype=torch.float64), False),
        (torch.zeros(2, 3), torch.zeros(3, 2), False),
        (t(1, 2, dtype=torch.int64), t(1, 3, dtype=torch.int64), False),
        (t(True, dtype=torch.bool), t(False, dtype=torch.bool), False),
        (torch.zeros(0), torch.zeros(0), True),
        (torch.complex(t(NAN), t(0.0)), torch.complex(t(NAN), t(0.0)), True),
        (torch.eye(3).to_sparse(), torch.eye(3).to_sparse(), True),
        (torch.eye(3).to_sparse(), (2 * torch.eye(3)).to_sparse(), False),
        (torch.eye(3).to_sparse(), torch.eye(3), False),
        (torch.eye(3), torch.eye(3).to_sparse(), False),
        (torch.complex(t(1.0), t(NAN)), torch.complex(t(2.0), t(NAN)), False),
        (t(1.0, NAN).to(EIGHT_BITS), t(1.0, NAN).to(EIGHT_BITS), True),
        (t(1.0).to(EIGHT_BITS), t(2.0).to(EIGHT_BITS), False),
        (ragged(t(1.0), t(1.0, NAN)), ragged(t(1.0), t(1.0, NAN)), True),
        (ragged(t(1.0), t(1.0, NAN)), ragged(t(1.0), t(2.0, NAN)), False),
        (ragged(t(1.0), t(1.0, 2.0)), ragged(t(1.0), t(1.0)), False),
        (ragged(t(1.0)), ragged(t(1.0), t(1.0)), False),
        (ragged(t(1.0)), ragged(t(1.0), jagged=False), False),
        (torch.zeros(2, device="meta"), torch.zeros(2, device="meta"), True),
        (torch.zeros(2, device="meta"), torch.zeros(3, device="meta"), False),
        (torch.tensor(1.0), torch.tensor(1.0), True),
    ],
)
def test_identical_tensors_hold_the_same_values(left: Tensor, right: Tensor, same: bool) -> None:
    """To the last bit, by dtype and shape; NaN is NaN."""
    assert identical(left, right) is same


@making_quantised
def test_quantised_tensors_are_identical_by_their_integers() -> None:
    """What is stored is compared, and the scale that gives it its meaning."""
    left = torch.quantize_per_tensor(t(1.0, 2.0), 0.1, 0, torch.qint8)
    right = torch.quantize_per_tensor(t(1.0, 2.1), 0.1, 0, torch.qint8)
    assert identical(left, left.clone())
    assert not identical(left, right)
    twice = torch.quantize_per_tensor(t(2.0, 4.0), 0.2, 0, torch.qint8)
    assert torch.equal(left.int_repr(), twice.int_repr())
    assert not identical(left, twice)


# Comparison


def test_equal_outputs_have_no_mismatch() -> None:
    """Structure, dtype, shape and values the same: nothing to say."""
    output = {"logits": t(1.0, NAN, INF), "states": (t(1, dtype=torch.int64), None, 3, "text", NAN)}
    assert compare(clone(output), output) == []


def test_the_worst_value_is_named_with_its_index_and_allowance() -> None:
    """A mismatch says where, how much, how much would be allowed, and how many values."""
    expected = torch.zeros(2, 4)
    expected[1, 2] = 100.0
    actual = expected.clone()
    actual[0, 1] += 0.5
    actual[1, 2] += 0.25
    mismatch = only(compare(actual, expected))
    assert (mismatch.kind, mismatch.path, mismatch.label) == ("value", "output", "the output")
    assert (mismatch.index, mismatch.amount, mismatch.differing, mismatch.total) == ((0, 1), 0.5, 2, 8)
    assert mismatch.allowed == pytest.approx(1e-5)
    assert mismatch.text == "max abs 0.5 at [0, 1], allowed 1e-05, 2 of 8 values; 0.5 instead of 0"


def test_the_allowance_grows_with_the_expected_value() -> None:
    """The tolerance is atol + rtol times what was expected at that place."""
    mismatch = only(compare(t(101.0), t(100.0), Tolerance(rtol=1e-3, atol=0.5)))
    assert mismatch.allowed == pytest.approx(0.6)
    assert compare(t(100.59), t(100.0), Tolerance(rtol=1e-3, atol=0.5)) == []


def test_a_value_within_the_tolerance_is_not_the_worst() -> None:
    """A large difference that is allowed does not stand for a small one that is not."""
    mismatch = only(compare(t(1e6 + 1, 0.5), t(1e6, 0.0)))
    assert mismatch.index == (1,)
    assert mismatch.differing == 1


def test_a_scalar_has_no_index_to_name() -> None:
    """``at []`` would say nothing."""
    mismatch = only(compare(torch.tensor(1.0), torch.tensor(2.0)))
    assert mismatch.index == ()
    assert mismatch.text == "max abs 1, allowed 1.3e-05, 1 of 1 values; 1 instead of 2"


def test_default_tolerances_go_by_dtype() -> None:
    """What passes for half precision fails for single, as in torch.testing."""
    assert compare(t(1.0005, dtype=torch.float16), t(1.0, dtype=torch.float16)) == []
    assert compare(t(1.0005), t(1.0))
    assert compare(t(1.000001, dtype=torch.float64), t(1.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("actual", "expected", "differs"),
    [
        (NAN, NAN, False),
        (NAN, 1.0, True),
        (1.0, NAN, True),
        (INF, INF, False),
        (INF, -INF, True),
        (INF, 1.0, True),
        (1.0, INF, True),
        (-0.0, 0.0, False),
    ],
)
def test_what_is_not_finite_equals_itself_alone(actual: float, expected: float, differs: bool) -> None:
    """NaN equals NaN, an infinity the same infinity, and neither anything else."""
    assert bool(compare(t(actual, 2.0), t(expected, 2.0))) is differs


def test_a_nan_that_should_be_a_number_is_the_worst_of_all() -> None:
    """It is further off than any number is, and its place is named."""
    mismatch = only(compare(t(5.0, NAN), t(0.0, 1.0)))
    assert (mismatch.index, mismatch.amount, mismatch.actual) == ((1,), INF, "nan")


def test_nothing_is_allowed_beside_an_infinity() -> None:
    """A tolerance that grows with the expected value would grant an infinite difference."""
    mismatch = only(compare(t(1.0, INF), t(INF, INF)))
    assert (mismatch.index, mismatch.amount, mismatch.allowed, mismatch.differing) == ((0,), INF, 0.0, 1)
    assert only(compare(t(1.0), t(NAN))).allowed == 0.0


def test_integers_are_exact() -> None:
    """Integers have no rounding to forgive, even beyond what a double can hold."""
    big = 2**53
    assert compare(t(big, dtype=torch.int64), t(big, dtype=torch.int64)) == []
    mismatch = only(compare(t(big + 1, dtype=torch.int64), t(big, dtype=torch.int64)))
    assert (mismatch.actual, mismatch.expected) == (str(big + 1), str(big))
    assert mismatch.allowed == 0


def test_an_asked_for_tolerance_holds_for_integers_too() -> None:
    """A quantised output may be asked to be right to one step."""
    assert compare(t(3, dtype=torch.int32), t(4, dtype=torch.int32), Tolerance(atol=1.0)) == []
    assert compare(t(2, dtype=torch.int32), t(4, dtype=torch.int32), Tolerance(atol=1.0))


def test_booleans_are_exact() -> None:
    """One bit that differs is a mismatch, in words of its own."""
    right, wrong = t(True, True, dtype=torch.bool), t(True, False, dtype=torch.bool)
    mismatch = only(compare(wrong, right))
    assert (mismatch.actual, mismatch.expected, mismatch.index) == ("False", "True", (1,))


def test_an_asked_for_tolerance_does_not_break_on_booleans() -> None:
    """``atol=`` is meant for numbers, and a model may return a mask beside them."""
    loose = Tolerance(rtol=1e-3, atol=1e-3)
    right, wrong = t(True, True, dtype=torch.bool), t(True, False, dtype=torch.bool)
    assert compare(right.clone(), right, loose) == []
    assert only(compare(wrong, right, loose)).kind == "value"


def test_complex_numbers_are_compared_by_distance() -> None:
    """A difference in the imaginary part alone counts."""
    left = torch.complex(t(1.0, 0.0), t(1.0, 0.0))
    right = torch.complex(t(1.0, 0.0), t(1.5, 0.0))
    mismatch = only(compare(left, right))
    assert (mismatch.index, mismatch.amount) == ((0,), 0.5)
    assert compare(left, left.clone()) == []


def test_half_precision_is_measured_without_rounding() -> None:
    """Differences are taken in double precision, where half precision would overflow."""
    left, right = t(60000.0, dtype=torch.float16), t(-60000.0, dtype=torch.float16)
    assert only(compare(left, right)).amount == pytest.approx(120000, rel=1e-3)


def test_empty_tensors_are_equal() -> None:
    """Nothing differs where nothing is."""
    assert compare(torch.zeros(0, 3), torch.zeros(0, 3)) == []


@making_quantised
def test_sparse_and_quantised_outputs_are_compared_by_value() -> None:
    """The layout does not hide a difference."""
    assert compare(torch.eye(3).to_sparse(), torch.eye(3).to_sparse()) == []
    assert only(compare((2 * torch.eye(3)).to_sparse(), torch.eye(3).to_sparse())).differing == 3
    left = torch.quantize_per_tensor(t(1.0, 2.0), 0.1, 0, torch.qint8)
    right = torch.quantize_per_tensor(t(1.0, 3.0), 0.1, 0, torch.qint8)
    assert compare(left, left.clone()) == []
    assert only(compare(left, right)).index == (1,)
    assert compare(left, right, {"float32": Tolerance(atol=1.5)}) == []


def test_another_layout_is_named() -> None:
    """What reads a sparse output cannot read a dense one, though the values are the same."""
    sparse = torch.eye(2).to_sparse()
    assert only(compare(torch.eye(2), sparse)).text == "layout strided instead of sparse_coo"
    assert only(compare(sparse, torch.eye(2))).text == "layout sparse_coo instead of strided"
    assert only(compare(torch.eye(2), ragged(t(1.0, 0.0), t(0.0, 1.0), jagged=False))).kind == "layout"


@pytest.mark.parametrize("jagged", [True, False])
def test_nested_tensors_are_compared_part_by_part(jagged: bool) -> None:
    """Two of them are equal by what they hold, and a difference is named with the part that it is in."""
    expected = {"rows": ragged(t(1.0), t(1.0, INF), jagged=jagged)}
    assert compare({"rows": ragged(t(1.0), t(1.0, INF), jagged=jagged)}, expected) == []
    mismatch = only(compare({"rows": ragged(t(1.0), t(3.0, INF), jagged=jagged)}, expected))
    assert (mismatch.path, mismatch.index, mismatch.amount) == ("rows[1]", (0,), 2.0)
    mismatch = only(compare({"rows": ragged(t(1.0), t(1.0), jagged=jagged)}, expected))
    assert (mismatch.path, mismatch.text) == ("rows[1]", "shape (1,) instead of (2,)")
    mismatch = only(compare({"rows": ragged(t(1.0), jagged=jagged)}, expected))
    assert (mismatch.path, mismatch.text) == ("rows", "shape float32 nested, 1 parts instead of float32 nested, 2 parts")


def test_small_dtypes_are_compared_by_value() -> None:
    """torch has no comparison of its own for 8-bit floats and half complex numbers."""
    left, right = t(1.0, NAN, INF, 2.0), t(1.0, NAN, INF, 4.0)
    for small in (lambda tensor: tensor.to(EIGHT_BITS), half_complex):
        assert compare(small(left), small(left)) == []
        assert only(compare(small(left), small(right))).index == (3,)


def test_meta_tensors_are_compared_by_dtype_and_shape() -> None:
    """There are no values to look at."""
    assert compare(torch.zeros(2, device="meta"), torch.zeros(2, device="meta")) == []
    assert compare(torch.zeros(2, device="meta"), torch.ones(2)) == []
    assert compare(torch.ones(2), torch.zeros(2, device="meta")) == []
    assert only(compare(torch.zeros(3, device="meta"), torch.zeros(2, device="meta"))).kind == "shape"


def test_another_dtype_is_named() -> None:
    """The dtype is compared before any value is."""
    mismatch = only(compare(t(1.0), t(1.0, dtype=torch.float64)))
    assert mismatch.text == "dtype float32 instead of float64"
    assert mismatch.details() == {"kind": "dtype", "actual": "float32", "expected": "float64"}


def test_another_shape_is_named() -> None:
    """Shapes do not broadcast."""
    assert only(compare(torch.zeros(1, 3), torch.zeros(2, 3))).text == "shape (1, 3) instead of (2, 3)"


@pytest.mark.parametrize(
    ("actual", "expected", "path", "text"),
    [
        ((t(1.0),), (t(1.0), t(2.0)), "output", "structure tuple of 1 instead of tuple of 2"),
        ({"a": t(1.0)}, {"b": t(1.0)}, "output", "structure mapping with 'a' instead of mapping with 'b'"),
        ((t(1.0), t(2.0)), (t(1.0), None), "[1]", "structure float32 (1,) instead of NoneType"),
        ((t(1.0), None), (t(1.0), t(2.0)), "[1]", "structure NoneType instead of float32 (1,)"),
        ({"x": (t(1.0),)}, {"x": t(1.0)}, "x", "structure tuple of 1 instead of float32 (1,)"),
        (t(1.0), (t(1.0),), "output", "structure float32 (1,) instead of tuple of 1"),
        ({"x": t(1.0)}, t(1.0), "output", "structure mapping with 'x' instead of float32 (1,)"),
        (t(1.0), {"x": t(1.0)}, "output", "structure float32 (1,) instead of mapping with 'x'"),
        ((t(1.0),), {"x": t(1.0)}, "output", "structure tuple of 1 instead of mapping with 'x'"),
        ({"x": t(1.0)}, (t(1.0),), "output", "structure mapping with 'x' instead of tuple of 1"),
        ({0: t(1.0)}, (t(1.0),), "output", "structure mapping with 0 instead of tuple of 1"),
        ((1,), (1.0,), "[0]", "structure int instead of float"),
        ((1,), (True,), "[0]", "structure int instead of bool"),
    ],
)
def test_another_structure_is_named_where_it_begins(actual: Any, expected: Any, path: str, text: str) -> None:
    """A missing or surplus leaf is reported once, at the container that holds it."""
    mismatch = only(compare(actual, expected))
    assert (mismatch.kind, mismatch.path, mismatch.text) == ("structure", path, text)


def test_containers_are_equal_by_content() -> None:
    """A trace hands out tuples and dicts for named tuples and outputs of a model library: that is no difference."""
    expected = NamedDict(out=Output(t(1.0), t(2.0)), rest=[t(3.0)])
    assert compare({"out": (t(1.0), t(2.0)), "rest": (t(3.0),)}, expected) == []


def test_the_keys_of_a_mapping_may_come_in_another_order() -> None:
    """Entries are matched by name."""
    assert compare({"a": t(1.0), "b": t(2.0)}, {"b": t(2.0), "a": t(1.0)}) == []


def test_constants_are_compared() -> None:
    """A number in the output is part of the answer."""
    mismatch = only(compare((t(1.0), 3), (t(1.0), 4)))
    assert (mismatch.path, mismatch.text) == ("[1]", "constant 3 instead of 4")
    same = (NAN, complex(NAN, 1), INF, "a", None)
    assert compare(same, same) == []
    assert only(compare((1j,), (2j,))).text == "constant 1j instead of 2j"
    assert only(compare((torch.float32,), (torch.float64,))).path == "[0]"


def test_all_leaves_that_differ_are_reported() -> None:
    """Not the first alone, and in the order of the expected output."""
    actual = {"a": t(1.0), "b": (t(1.0), t(2.0)), "c": t(0.0)}
    expected = {"a": t(2.0), "b": (t(1.0), t(3.0)), "c": t(0.0)}
    assert [mismatch.path for mismatch in compare(actual, expected)] == ["a", "b[1]"]


def test_the_figures_of_a_mismatch_are_data() -> None:
    """Reports take the numbers from there, not from the text."""
    details = only(compare({"x": t(1.0, 3.0)}, {"x": t(1.0, 2.0)})).details()
    allowed = details.pop("allowed")
    assert allowed == pytest.approx(1e-5 + 1.3e-6 * 2)
    assert details == {
        "kind": "value",
        "max_abs": 1.0,
        "index": [1],
        "differing": 1,
        "total": 2,
        "actual": "3",
        "expected": "2",
    }


def test_tensors_with_gradients_can_be_compared() -> None:
    """A graph on either side is no obstacle."""
    x = torch.ones(2, requires_grad=True)
    assert compare(x * 2, x * 2) == []
    assert compare(x * 2, x * 3)
