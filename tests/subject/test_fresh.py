"""Other values of the same shapes and dtypes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_torchscript.subject.fresh import FreshValues
from pytest_torchscript.subject.inputs import (
    Dims,
    infer_dims,
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


# Fresh values


def fresh(inputs: Mapping[str, Any], **arguments: Any) -> dict[str, dict[str, Any]]:
    """The variants by their description."""
    values = FreshValues(**{"dims": infer_dims(inputs), **arguments})
    return dict(values.variants(inputs))


INPUTS: dict[str, Any] = {
    "x": torch.randn(2, 16, 4, generator=torch.Generator().manual_seed(1)),
    "ids": torch.randint(3, 9, (2, 16), generator=torch.Generator().manual_seed(1)),
    "flag": torch.tensor([[True, False]]),
    "z": torch.complex(torch.arange(4.0), -torch.arange(4.0)),
    "attention_mask": lengths_mask(16, 11, size=16),
}


def test_every_kind_of_input_varies() -> None:
    """Floats are redrawn, negated, shuffled and scaled, integers and booleans redrawn and set to extremes, masks varied."""
    names = " / ".join(fresh(INPUTS, mask="attention_mask"))
    for wanted in (
        "floats redrawn",
        "floats negated",
        "floats shuffled",
        "floats scaled by 1000",
        "floats made zero",
        "integers redrawn",
        "integers all at their greatest",
        "booleans inverted",
        "booleans all false",
        "mask without padding",
        "mask padded at the end",
        "mask padded at the start",
        "everything redrawn",
    ):
        assert wanted in names


def test_only_the_kinds_that_are_there_vary() -> None:
    """An input of floats alone has variants of floats alone."""
    assert all(name.startswith("floats ") for name in fresh({"x": INPUTS["x"]}))
    assert all(name.startswith("integers ") for name in fresh({"ids": INPUTS["ids"]}))
    assert all(name.startswith("booleans ") for name in fresh({"flag": INPUTS["flag"]}))


def test_fresh_values_keep_names_order_shapes_and_dtypes() -> None:
    """A variant is another input of the same program."""
    for name, variant in fresh(INPUTS, mask="attention_mask").items():
        assert list(variant) == list(INPUTS), name
        for path, tensor in variant.items():
            assert (tensor.shape, tensor.dtype) == (INPUTS[path].shape, INPUTS[path].dtype), (name, path)


def test_one_kind_varies_at_a_time() -> None:
    """Values the model refuses in one input do not hide another."""
    variants = fresh(INPUTS, mask="attention_mask")
    for name, variant in variants.items():
        changed = {path for path in INPUTS if not torch.equal(variant[path], INPUTS[path])}
        kind = name.split()[0]
        allowed = {
            "floats": {"x", "z"},
            "integers": {"ids"},
            "booleans": {"flag"},
            "mask": {"attention_mask"},
            "everything": {"x", "z", "ids", "flag"},
        }
        assert changed <= allowed[kind], name
    assert len(variants) > 15


def test_the_observed_inputs_are_not_written() -> None:
    """Variants are new tensors throughout."""
    before = {path: tensor.clone() for path, tensor in INPUTS.items()}
    for variant in fresh(INPUTS, mask="attention_mask").values():
        for tensor in variant.values():
            tensor.zero_()
    assert all(torch.equal(before[path], INPUTS[path]) for path in INPUTS)


def test_fresh_values_are_the_same_in_every_run() -> None:
    """A failing value can be looked at again; another seed draws others."""
    first, second = fresh(INPUTS), fresh(INPUTS)
    assert all(torch.equal(first[name][path], second[name][path]) for name in first for path in INPUTS)
    other = fresh(INPUTS, seed=1)
    assert not torch.equal(first["floats redrawn"]["x"], other["floats redrawn"]["x"])


def test_drawing_leaves_the_global_generators_alone() -> None:
    """The test's own random numbers stay what they were."""
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    values = FreshValues(dims=infer_dims(INPUTS))
    dict(values.variants(INPUTS))
    values.redrawn(INPUTS, seed=3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state


def test_redrawn_floats_have_the_observed_mean_and_spread() -> None:
    """Fresh pixels look like pixels, fresh embeddings like embeddings."""
    x = torch.randn(400, generator=torch.Generator().manual_seed(0)) * 3 + 100
    drawn = fresh({"x": x})["floats redrawn"]["x"]
    assert not torch.equal(drawn, x)
    assert abs(float(drawn.mean()) - 100) < 1
    assert 2 < float(drawn.std()) < 4


def test_a_constant_float_gets_some_spread() -> None:
    """All zeros are redrawn to something else, or they would prove nothing."""
    drawn = fresh({"x": torch.zeros(50)})["floats redrawn"]["x"]
    assert 0 < float(drawn.abs().max()) < 1


def test_what_is_not_finite_does_not_spread() -> None:
    """An additive mask of minus infinity does not turn every fresh value into NaN."""
    x = torch.tensor([0.0, 1.0, -float("inf"), float("nan")])
    assert bool(fresh({"x": x})["floats redrawn"]["x"].isfinite().all())
    assert bool(fresh({"x": torch.full((4,), -float("inf"))})["floats redrawn"]["x"].isfinite().all())


def test_complex_values_are_redrawn_in_both_parts() -> None:
    """Real and imaginary parts both vary."""
    drawn = fresh({"z": INPUTS["z"]})["floats redrawn"]["z"]
    assert not torch.equal(drawn.real, INPUTS["z"].real)
    assert not torch.equal(drawn.imag, INPUTS["z"].imag)


def test_shuffled_values_are_the_same_ones_elsewhere() -> None:
    """The observed values in another order are surely in the model's domain."""
    shuffled = fresh(INPUTS)["floats shuffled"]["x"]
    assert not torch.equal(shuffled, INPUTS["x"])
    assert torch.equal(shuffled.flatten().sort().values, INPUTS["x"].flatten().sort().values)


def test_integers_are_drawn_from_the_observed_range() -> None:
    """Without a vocabulary nothing is known of other ids; neighbours of what was seen are tried, for eager to refuse."""
    for name, variant in fresh({"ids": INPUTS["ids"]}).items():
        neighbours = "by 1" in name or "halved" in name
        low, high = (0 if "halved" in name else 2, 9) if neighbours else (3, 8)
        assert low <= int(variant["ids"].min()) <= int(variant["ids"].max()) <= high, name


def test_integers_use_the_vocabulary_where_it_is_known() -> None:
    """All ids of the embedding may come, the first and the last among them."""
    variants = fresh({"ids": INPUTS["ids"]}, ranges={"ids": (0, 100)})
    assert int(variants["integers all at their least"]["ids"].max()) == 0
    assert int(variants["integers all at their greatest"]["ids"].min()) == 99
    assert int(variants["integers redrawn"]["ids"].max()) > 9


def test_an_empty_integer_input_is_no_error() -> None:
    """An input without elements has a range all the same."""
    assert FreshValues(dims=Dims()).range_of("ids", torch.zeros(0, dtype=INT)) == (0, 1)
    assert fresh({"ids": torch.zeros(2, 0, dtype=INT), "x": torch.zeros(0)})


def test_booleans_are_inverted_and_set() -> None:
    """Each branch of a flag is taken."""
    variants = fresh({"flag": INPUTS["flag"]})
    assert variants["booleans inverted"]["flag"].tolist() == [[False, True]]
    assert variants["booleans all true"]["flag"].all()
    assert not variants["booleans all false"]["flag"].any()


@pytest.mark.parametrize("dtype", [INT, BOOL, FLOAT])
def test_fresh_masks_are_padding_masks(dtype: torch.dtype) -> None:
    """Nothing padded, padded at the end, padded at the start: no holes, and something kept in every row."""
    mask = lengths_mask(16, 11, size=16, dtype=dtype)
    masks = {
        name: variant["attention_mask"]
        for name, variant in fresh({"x": torch.zeros(2, 16, 4), "attention_mask": mask}, mask="attention_mask").items()
        if name.startswith("mask ")
    }
    assert masks["mask without padding"].all()
    for name, other in masks.items():
        assert other.dtype == dtype
        assert not torch.equal(other, mask), name
        assert is_padded_at_end(other.flip(1) if "start" in name else other), name
    assert not masks["mask padded at the end"].all()
    assert not masks["mask padded at the start"].all()


def test_rows_are_padded_to_different_lengths() -> None:
    """One length for all rows would not show that a row is looked at."""
    mask = torch.ones(3, 16, dtype=INT)
    padded = fresh({"x": torch.zeros(3, 16, 4), "attention_mask": mask}, mask="attention_mask")["mask padded at the end"]
    assert len(set(padded["attention_mask"].sum(1).tolist())) > 1


def test_a_mask_of_ones_has_no_variant_without_padding() -> None:
    """What is observed already is not tried again."""
    mask = torch.ones(2, 16, dtype=INT)
    names = fresh({"x": torch.zeros(2, 16, 4), "attention_mask": mask}, mask="attention_mask")
    assert "mask without padding" not in names
    assert "mask padded at the end" in names


def test_a_mask_without_axes_has_nothing_to_pad() -> None:
    """A flag that was named as the mask can only be set."""
    values = FreshValues(dims=Dims(), mask="keep")
    names = [name for name, _ in values.variants({"keep": torch.tensor(0)})]
    assert names == ["mask without padding"]


def test_a_mask_of_one_position_cannot_be_padded() -> None:
    """Padding the only position would leave a row of padding."""
    mask = torch.zeros(2, 1, dtype=INT)
    values = FreshValues(dims=Dims({"attention_mask": {0: B, 1: S}}), mask="attention_mask")
    names = [name for name, _ in values.variants({"attention_mask": mask})]
    assert names == ["mask without padding"]


def test_a_four_dimensional_mask_is_padded_along_its_sequence() -> None:
    """The axis is the one that the dims name, wherever it is."""
    mask = torch.ones(2, 1, 1, 16, dtype=BOOL)
    inputs = {"x": torch.zeros(2, 16, 4), "attention_mask": mask}
    padded = fresh(inputs, mask="attention_mask")["mask padded at the end"]["attention_mask"]
    assert padded.shape == (2, 1, 1, 16)
    assert is_padded_at_end(padded[:, 0, 0])
    assert not padded.all()


def test_an_inverted_mask_varies_in_its_own_sense() -> None:
    """Where True is padding, the end is True and something is False in every row."""
    mask = lengths_mask(16, 11, size=16, dtype=BOOL).logical_not()
    inputs = {"x": torch.zeros(2, 16, 4), "src_key_padding_mask": mask}
    variants = fresh(inputs, mask="src_key_padding_mask", inverted=True)
    assert not variants["mask without padding"]["src_key_padding_mask"].any()
    padded = variants["mask padded at the end"]["src_key_padding_mask"]
    assert padded.dtype == BOOL
    assert is_padded_at_end(~padded)


def test_scaling_touches_floats_alone() -> None:
    """Ids and the mask stay, even a mask of floats."""
    inputs = {"x": torch.ones(2, 4), "ids": torch.ones(2, 4, dtype=INT), "attention_mask": torch.ones(2, 4)}
    scaled = FreshValues(dims=infer_dims(inputs), mask="attention_mask").scaled(inputs, 5.0)
    assert torch.equal(scaled["x"], inputs["x"] * 5)
    assert torch.equal(scaled["ids"], inputs["ids"])
    assert torch.equal(scaled["attention_mask"], inputs["attention_mask"])


def test_redrawing_touches_everything_but_the_mask() -> None:
    """Another input for another question, with the same padding."""
    redrawn = FreshValues(dims=infer_dims(INPUTS), mask="attention_mask").redrawn(INPUTS, seed=5)
    same = {path for path in INPUTS if torch.equal(redrawn[path], INPUTS[path])}
    assert same <= {"attention_mask", "flag"}
    assert "attention_mask" in same


def test_redrawing_needs_no_values() -> None:
    """Inputs on the meta device have nothing to redraw."""
    redrawn = FreshValues(dims=Dims()).redrawn({"x": torch.zeros(2, device="meta")}, seed=1)
    assert redrawn["x"].is_meta
