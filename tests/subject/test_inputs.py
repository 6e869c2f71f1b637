"""Example inputs: which axes vary, other sizes, fresh values, padding."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from pytest_torchscript.errors import SubjectError
from pytest_torchscript.subject.inputs import (
    Dims,
    declared_dims,
    infer_dims,
    is_binary,
    is_cache,
    mapped,
    mask_inverted,
    mask_name,
    other_sequence_axis,
    pad,
    resize,
    shorten,
    with_guessed_axes,
)

INT, BOOL, FLOAT = torch.int64, torch.bool, torch.float32
B, S, D = "batch", "seq", "decoder_seq"


def zeros(**shapes: tuple[Any, ...]) -> dict[str, Tensor]:
    """Inputs by name: a shape, whose last entry may be a dtype."""
    return {
        name: torch.zeros(shape[:-1], dtype=shape[-1]) if shape and isinstance(shape[-1], torch.dtype) else torch.zeros(shape)
        for name, shape in shapes.items()
    }


def lengths_mask(*lengths: int, size: int, dtype: torch.dtype = INT) -> Tensor:
    """A mask padded at the end."""
    return (torch.arange(size)[None] < torch.tensor(lengths)[:, None]).to(dtype)


def is_padded_at_end(mask: Tensor) -> bool:
    """Whether each row is ones, then zeros, with one at least."""
    row = mask.to(INT)
    return bool((row.diff(dim=-1) <= 0).all() and (row[..., 0] == 1).all())


# Which axes vary


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (zeros(x=(2, 8)), {"x": {0: B}}),
        (zeros(x=(2, 16, 8)), {"x": {0: B, 1: S}}),
        (zeros(x=(16, 16, 16)), {"x": {0: B, 1: S}}),
        (zeros(x=(2, 3, 32, 32)), {"x": {0: B}}),
        (zeros(x=(5,)), {"x": {0: B}}),
        (zeros(x=()), {}),
        (zeros(ids=(2, 16, INT)), {"ids": {0: B, 1: S}}),
        (zeros(ids=(3, 16, torch.int32)), {"ids": {0: B, 1: S}}),
        (zeros(x=(2, 16, 8), lengths=(2, INT)), {"x": {0: B, 1: S}, "lengths": {0: B}}),
        (zeros(lengths=(2, INT), x=(2, 16, 8)), {"lengths": {0: B}, "x": {0: B, 1: S}}),
        (
            zeros(input_ids=(2, 16, INT), attention_mask=(2, 16, INT), token_type_ids=(2, 16, INT)),
            {"input_ids": {0: B, 1: S}, "attention_mask": {0: B, 1: S}, "token_type_ids": {0: B, 1: S}},
        ),
        (
            zeros(attention_mask=(2, 16, INT), input_ids=(2, 16, INT)),
            {"attention_mask": {0: B, 1: S}, "input_ids": {0: B, 1: S}},
        ),
        (zeros(input_ids=(2, 16, INT), position_ids=(1, 16, INT)), {"input_ids": {0: B, 1: S}, "position_ids": {1: S}}),
        (zeros(inputs_embeds=(2, 16, 8)), {"inputs_embeds": {0: B, 1: S}}),
        (zeros(input_values=(2, 400)), {"input_values": {0: B, 1: S}}),
        (zeros(input_ids=(2, 16, INT), bbox=(2, 16, 4, INT)), {"input_ids": {0: B, 1: S}, "bbox": {0: B, 1: S}}),
        (
            zeros(input_ids=(2, 16, INT), attention_mask=(2, 1, 16, 16)),
            {"input_ids": {0: B, 1: S}, "attention_mask": {0: B, 2: S, 3: S}},
        ),
        (zeros(x=(2, 16, 8), mask=(2, 16, BOOL)), {"x": {0: B, 1: S}, "mask": {0: B, 1: S}}),
        (zeros(x=(2, 16, 8), mask=(2, 1, 1, 16, BOOL)), {"x": {0: B, 1: S}, "mask": {0: B, 3: S}}),
        (zeros(x=(2, 16, 8), attn_mask=(16, 16, BOOL)), {"x": {0: B, 1: S}, "attn_mask": {0: S, 1: S}}),
        (zeros(x=(2, 16, 8), other=(2, 9, 8)), {"x": {0: B, 1: S}, "other": {0: B}}),
        (
            zeros(input_ids=(2, 16, INT), decoder_input_ids=(2, 7, INT), decoder_attention_mask=(2, 7, INT)),
            {"input_ids": {0: B, 1: S}, "decoder_input_ids": {0: B, 1: D}, "decoder_attention_mask": {0: B, 1: D}},
        ),
        (
            zeros(input_ids=(2, 16, INT), decoder_input_ids=(2, 16, INT)),
            {"input_ids": {0: B, 1: S}, "decoder_input_ids": {0: B, 1: D}},
        ),
        (zeros(pixel_values=(2, 3, 32, 32)), {"pixel_values": {0: B}}),
        (
            zeros(pixel_values=(2, 3, 16, 16), input_ids=(2, 16, INT)),
            {"pixel_values": {0: B}, "input_ids": {0: B, 1: S}},
        ),
        (
            zeros(input_ids=(2, 16, INT), pixel_values=(2, 3, 16, 16), pixel_mask=(2, 16, 16, INT)),
            {"input_ids": {0: B, 1: S}, "pixel_values": {0: B}, "pixel_mask": {0: B}},
        ),
        (zeros(x=(2, 16, 8), scale=()), {"x": {0: B, 1: S}}),
        (zeros(x=(2, 16, 8), table=(100, 8)), {"x": {0: B, 1: S}}),
        ({"pair": (torch.zeros(2, 16, 8), torch.zeros(2))}, {"pair[0]": {0: B, 1: S}, "pair[1]": {0: B}}),
        ({"batch": {"ids": torch.zeros(2, 9, dtype=INT)}}, {"batch.ids": {0: B, 1: S}}),
    ],
    ids=lambda value: (
        "-".join(f"{k}{tuple(v.shape)}" for k, v in value.items() if isinstance(v, Tensor)) or "nested"
        if isinstance(value, dict) and value and not isinstance(next(iter(value.values())), dict)
        else ""
    ),
)
def test_dims_are_inferred_from_names_dtypes_and_sizes(inputs: Mapping[str, Any], expected: dict[str, dict[int, str]]) -> None:
    """Batch is axis 0, the sequence axis 1 of what looks like one, and any axis of a mask of that size."""
    assert {path: dict(axes) for path, axes in infer_dims(inputs).axes.items()} == expected


def test_an_empty_axis_is_no_dim() -> None:
    """It has no entry that could be repeated; the other axes of its input are as those of any."""
    inputs = zeros(boxes=(0, 4), x=(2, 16, 8), past=(2, 0, 8))
    assert infer_dims(inputs).axes == {"x": {0: B, 1: S}, "past": {0: B}}
    assert infer_dims(zeros(boxes=(0, 4))).axes == {}


def test_a_two_dimensional_float_is_a_sequence_where_one_was_asked_for() -> None:
    """``seq_len=`` says that there is one; without it the last axis of (batch, features) is no dim."""
    assert infer_dims(zeros(x=(2, 8)), seq_asked=True).axes == {"x": {0: B, 1: S}}


def test_a_better_candidate_keeps_the_sequence_that_was_asked_for() -> None:
    """With token ids there, a float of (batch, features) stays features."""
    inputs = zeros(features=(2, 8), input_ids=(2, 16, INT))
    assert infer_dims(inputs, seq_asked=True).axes == {"features": {0: B}, "input_ids": {0: B, 1: S}}


def test_sizes_come_in_the_order_batch_sequence_others() -> None:
    """The sizes are those of the inputs at hand, and their order is that of reports."""
    dims = Dims({"x": {1: "frames", 0: S, 2: B}})
    assert list(dims.sizes(zeros(x=(16, 9, 2))).items()) == [(B, 2), (S, 16), ("frames", 9)]


def test_dims_without_an_input_leave_the_others() -> None:
    """One input can be taken out."""
    assert Dims({"x": {0: B}, "y": {0: B}}).without("x") == Dims({"y": {0: B}})


@pytest.mark.parametrize(
    ("inputs", "convolves", "expected"),
    [
        (zeros(x=(2, 3, 32, 24)), False, {"x": {0: B, 2: "height", 3: "width"}}),
        (zeros(x=(2, 64, 32, 24)), False, {"x": {0: B}}),
        (zeros(x=(2, 64, 32, 24)), True, {"x": {0: B, 2: "height", 3: "width"}}),
        (zeros(x=(2, 3, 8, 32, 24)), True, {"x": {0: B, 2: "depth", 3: "height", 4: "width"}}),
        (zeros(x=(2, 400)), False, {"x": {0: B, 1: "time"}}),
        (zeros(x=(2, 400), y=(2, 300)), False, {"x": {0: B, 1: "time"}, "y": {0: B, 1: "time of y"}}),
        (zeros(x=(2, 3, 32, 24, torch.uint8)), True, {"x": {0: B}}),
        (zeros(x=(2, 3, 1, 24)), True, {"x": {0: B}}),
        (
            zeros(x=(2, 3, 32, 24), y=(2, 3, 16, 24)),
            True,
            {"x": {0: B, 2: "height", 3: "width"}, "y": {0: B, 2: "height of y", 3: "width"}},
        ),
        (zeros(x=(2, 16, 8), attn_mask=(2, 1, 16, 16)), True, {"x": {0: B, 1: S}, "attn_mask": {0: B, 2: S, 3: S}}),
    ],
    ids=["image", "channels", "convolved", "video", "signal", "two signals", "bytes", "a line", "two images", "mask"],
)
def test_the_height_and_width_of_an_image_are_dims_on_request(
    inputs: Mapping[str, Any], convolves: bool, expected: dict[str, dict[int, str]]
) -> None:
    """Floats of few channels, or of any where the model convolves; a size of its own has a name of its own."""
    dims = with_guessed_axes(inputs, infer_dims(inputs), convolves=convolves, signals=True)
    assert {path: dict(axes) for path, axes in dims.axes.items()} == expected


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (zeros(x=(2, 16, 8)), {"x": {0: B, 2: S}}),
        (zeros(x=(2, 16, 8), lengths=(2, INT)), {"x": {0: B, 2: S}, "lengths": {0: B}}),
        (zeros(inputs_embeds=(2, 16, 8)), None),
        (zeros(ids=(2, 16, INT)), None),
        (zeros(x=(2, 16, 8), mask=(2, 16, BOOL)), None),
        (zeros(x=(2, 16, 8), y=(2, 16, 9)), None),
        (zeros(x=(2, 8)), None),
    ],
    ids=["features", "lengths", "known by name", "ids", "mask", "two widths", "none"],
)
def test_time_may_be_the_last_axis_of_a_float(inputs: Mapping[str, Any], expected: dict[str, dict[int, str]] | None) -> None:
    """Convolutions over time have it so; what is known by name or by an integer input is not turned."""
    turned = other_sequence_axis(inputs, infer_dims(inputs))
    assert (None if turned is None else {path: dict(axes) for path, axes in turned.axes.items()}) == expected


# Declared dims


def test_declared_dims_are_taken_as_they_are() -> None:
    """Only the declared axes vary; a negative axis counts from the end."""
    inputs = zeros(x=(2, 16, 8), y=(2, 16))
    assert declared_dims(inputs, {"x": {0: B, -2: "frames"}}).axes == {"x": {0: B, 1: "frames"}}


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"z": {0: B}}, "dims names no input: 'z'; the inputs are 'x', 'y', 'none'"),
        ({"x": {3: S}}, r"dims\['x'\] names axis 3, but 'x' has shape \(2, 16, 8\)"),
        ({"x": {-4: S}}, r"dims\['x'\] names axis -4"),
        ({"x": {1: S}, "y": {1: S}}, "dims calls two sizes 'seq': 16 in 'x', 9 in 'y'"),
        ({"none": {0: B}}, r"dims\['none'\] names axis 0, which is empty in the shape \(0, 4\).*; give at least one"),
        ({"x": {0: S, 1: S}}, "dims calls two sizes 'seq': 2 in 'x', 16 in 'x'"),
    ],
)
def test_impossible_dims_are_refused(declared: Mapping[str, Mapping[int, str]], message: str) -> None:
    """An input or axis that is not there, or one dim with two sizes, is an error that shows the inputs."""
    with pytest.raises(SubjectError, match=message):
        declared_dims(zeros(x=(2, 16, 8), y=(2, 9), none=(0, 4)), declared)


# The mask


def test_the_mask_is_the_one_asked_for_or_the_attention_mask() -> None:
    """Without ``mask=`` only ``attention_mask`` is known as one."""
    inputs = zeros(x=(2, 16), attention_mask=(2, 16, INT), keep=(2, 16, BOOL))
    assert mask_name(inputs, "keep") == "keep"
    assert mask_name(inputs, None) == "attention_mask"
    assert mask_name(zeros(x=(2, 16), keep=(2, 16, BOOL)), None) is None


def test_a_mask_that_is_no_input_is_refused() -> None:
    """The error names the inputs there are."""
    with pytest.raises(SubjectError, match="mask='pad' names no input; the inputs are 'x', 'keep'"):
        mask_name(zeros(x=(2, 16), keep=(2, 16, BOOL)), "pad")


@pytest.mark.parametrize(
    ("path", "mask", "inverted"),
    [
        ("src_key_padding_mask", lengths_mask(3, 5, size=5, dtype=BOOL).logical_not(), True),
        ("attention_mask", lengths_mask(3, 5, size=5, dtype=BOOL), False),
        ("attention_mask", torch.zeros(2, 5, dtype=BOOL), True),
        ("attention_mask", lengths_mask(3, 5, size=5), False),
        ("padding_mask", lengths_mask(3, 5, size=5), False),
    ],
    ids=["key padding", "kept", "nothing true", "integers", "integers called padding"],
)
def test_a_boolean_padding_mask_marks_what_is_dropped(path: str, mask: Tensor, inverted: bool) -> None:
    """In torch's convention True is padding; in the tokenizers' 1 is content."""
    assert mask_inverted(path, mask) is inverted


@pytest.mark.parametrize(
    ("mask", "binary"),
    [
        (torch.tensor([True, False]), True),
        (torch.tensor([0, 1, 1]), True),
        (torch.tensor([0.0, 1.0]), True),
        (torch.tensor([0.0, -1e4]), False),
        (torch.tensor([0, 2]), False),
    ],
    ids=["booleans", "integers", "floats", "additive", "segments"],
)
def test_a_padding_mask_says_keep_or_drop(mask: Tensor, binary: bool) -> None:
    """An additive mask is an input like any other."""
    assert is_binary(mask) is binary


# Mapping


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


def test_mapping_reaches_every_tensor_and_keeps_the_containers() -> None:
    """Tuples, lists, dicts and named tuples stay what they are; each tensor has its path."""
    x = torch.ones(2)
    inputs: dict[str, Any] = {"a": x, "b": (x, [x]), "c": {"d": x}, "e": Pair(x, x), "f": 3}
    seen: list[str] = []

    def change(path: str, tensor: Tensor) -> Tensor:
        seen.append(path)
        return tensor + 1

    changed = mapped(inputs, change)
    assert seen == ["a", "b[0]", "b[1][0]", "c.d", "e[0]", "e[1]"]
    assert isinstance(changed["b"], tuple)
    assert isinstance(changed["b"][1], list)
    assert isinstance(changed["e"], Pair)
    assert torch.equal(changed["c"]["d"], x + 1)
    assert changed["f"] == 3
    assert torch.equal(inputs["a"], torch.ones(2))


# Other sizes


SEQ = Dims({"x": {0: B, 1: S}, "attention_mask": {0: B, 1: S}})


@pytest.mark.parametrize("dtype", [FLOAT, torch.float16, torch.bfloat16, INT, torch.uint8, BOOL, torch.complex64])
def test_inputs_grow_by_repeating_and_shrink_by_cropping(dtype: torch.dtype) -> None:
    """Whatever the dtype, what is there is used again from the start."""
    x = (torch.arange(6).reshape(2, 3) % 2 if dtype is BOOL else torch.arange(6).reshape(2, 3)).to(dtype)
    grown = resize({"x": x}, SEQ, {B: 3, S: 5})["x"]
    assert grown.dtype == dtype
    assert torch.equal(grown, x[[0, 1, 0]][:, [0, 1, 2, 0, 1]])
    assert torch.equal(resize({"x": x}, SEQ, {B: 1, S: 2})["x"], x[:1, :2])


def test_a_dim_not_named_keeps_its_size() -> None:
    """Only what is asked for changes, and inputs without dims never do."""
    inputs = {"x": torch.arange(6.0).reshape(2, 3), "table": torch.arange(3.0)}
    resized = resize(inputs, SEQ, {S: 1})
    assert resized["x"].shape == (2, 1)
    assert torch.equal(resized["table"], inputs["table"])


def test_every_axis_of_a_dim_is_resized() -> None:
    """A square mask stays square."""
    square = torch.ones(16, 16).tril()
    dims = Dims({"attn_mask": {0: S, 1: S}})
    assert torch.equal(resize({"attn_mask": square}, dims, {S: 7})["attn_mask"], torch.ones(7, 7).tril())
    assert resize({"attn_mask": square}, dims, {S: 33})["attn_mask"].shape == (33, 33)


def test_resized_inputs_share_nothing_with_the_observed_ones() -> None:
    """A probe may be overwritten; it carries no graph either."""
    x = torch.ones(2, 3, requires_grad=True)
    resized = resize({"x": x}, SEQ, {B: 2})["x"]
    resized.zero_()
    assert not resized.requires_grad
    assert torch.equal(x, torch.ones(2, 3))


@pytest.mark.parametrize("dtype", [INT, BOOL, FLOAT])
@pytest.mark.parametrize("size", [1, 2, 7, 15, 17, 33, 100])
def test_a_resized_padding_mask_is_a_padding_mask(size: int, dtype: torch.dtype) -> None:
    """A mask padded at the end has no holes at any size: repeated, it would."""
    mask = lengths_mask(16, 11, size=16, dtype=dtype)
    resized = resize({"attention_mask": mask}, SEQ, {S: size})["attention_mask"]
    assert resized.shape == (2, size)
    assert resized.dtype == dtype
    assert is_padded_at_end(resized)


@pytest.mark.parametrize("size", [3, 7, 33])
def test_a_resized_mask_padded_at_the_start_still_keeps_something(size: int) -> None:
    """Generation pads at the start: cropped from there, a row would be padding and nothing else."""
    mask = lengths_mask(16, 5, size=16).flip(1)
    resized = resize({"attention_mask": mask}, SEQ, {S: size})["attention_mask"]
    assert bool((resized.diff(dim=1) >= 0).all())
    assert bool(resized.any(1).all())


def test_the_rows_of_a_mask_are_repeated() -> None:
    """Along the batch a mask is like any other input: each row keeps its own length."""
    mask = lengths_mask(16, 11, size=16)
    resized = resize({"attention_mask": mask}, SEQ, {B: 3})["attention_mask"]
    assert resized.sum(1).tolist() == [16, 11, 16]


# Padding


def test_inputs_are_shortened_along_one_dim() -> None:
    """The first positions stay, along every axis of the dim, and nothing else changes."""
    inputs = {"x": torch.arange(32.0).reshape(2, 16), "bias": torch.ones(16)}
    short = shorten(inputs, SEQ, S, 3)
    assert torch.equal(short["x"], inputs["x"][:, :3])
    assert short["bias"].shape == (16,)
    short["x"].zero_()
    assert inputs["x"].sum() > 0


def test_inputs_padded_at_the_start_are_shortened_there() -> None:
    """The last positions stay, which are the ones that were kept."""
    x = torch.arange(32.0).reshape(2, 16)
    assert torch.equal(shorten({"x": x}, SEQ, S, 3, at_start=True)["x"], x[:, 13:])


def test_inputs_are_padded_at_the_end_with_their_own_value() -> None:
    """Ids get the padding id, the mask its own, others zero, each in its dtype."""
    inputs = {"input_ids": torch.ones(2, 3, dtype=INT), "x": torch.ones(2, 3, 4), "keep": torch.ones(2, 3, dtype=BOOL)}
    dims = Dims({"input_ids": {0: B, 1: S}, "x": {0: B, 1: S}, "keep": {0: B, 1: S}})
    padded = pad(inputs, dims, S, 5, {"input_ids": 9})
    assert padded["input_ids"].tolist() == [[1, 1, 1, 9, 9]] * 2
    assert padded["x"].shape == (2, 5, 4)
    assert padded["x"].sum() == 24
    assert padded["keep"].tolist() == [[True, True, True, False, False]] * 2
    assert [tensor.dtype for tensor in padded.values()] == [INT, FLOAT, BOOL]


def test_padding_fills_every_axis_of_the_dim() -> None:
    """A square mask grows in both directions."""
    dims = Dims({"attn_mask": {2: S, 3: S}})
    padded = pad({"attn_mask": torch.ones(2, 1, 3, 3)}, dims, S, 5, {})["attn_mask"]
    assert padded.shape == (2, 1, 5, 5)
    assert padded.sum() == 18


def test_what_is_long_enough_is_not_padded() -> None:
    """Padding never crops."""
    x = torch.ones(2, 5)
    assert torch.equal(pad({"x": x}, SEQ, S, 3, {})["x"], x)


# Sparse, nested and quantised tensors


def test_a_nested_tensor_has_no_dims() -> None:
    """It has no axis whose size could be another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])
    assert infer_dims({"x": nested}).axes == {}
    assert infer_dims({"x": nested, "y": torch.ones(2, 3)}).axes == {"y": {0: "batch"}}


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_a_sparse_tensor_is_resized_in_its_layout(layout: torch.layout) -> None:
    """Rows are repeated as in a dense one."""
    dense = torch.eye(3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resized = resize({"x": dense.to_sparse(layout=layout)}, Dims({"x": {0: "batch"}}), {"batch": 5})["x"]
    assert resized.layout == layout
    assert torch.equal(resized.to_dense(), dense[[0, 1, 2, 0, 1]])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *(("past_key_values[0][1]", True), ("layer_key", True), ("values", True), ("memory", True), ("cache.keys[1]", True)),
        *(("pixel_values", False), ("input_values", False), ("monkey", False), ("x", False)),
    ],
)
def test_a_cache_is_known_by_its_name(path: str, expected: bool) -> None:
    """Images and sound are called values by transformers too, and are no cache."""
    assert is_cache(path) is expected
