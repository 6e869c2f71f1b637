"""Masks: transformers 4.57 builds those of decoders with torch.vmap, which does not trace; transformers 5 does not."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from pytest_torchscript.result import CellResult, Finding, Status
from pytest_torchscript.subject.families import family_of

from ..checks.alone import NOT_ASKED, cell
from .models import build, causal_mask, from_5, token_ids, until_4

DECODERS = ("gpt2", "llama")
SIZED = {"shapes": NOT_ASKED, "padding": NOT_ASKED}


def inputs_of(model: nn.Module, *, mask: bool) -> dict[str, Any]:
    made = dict(family_of(model).synthesise(model, batch_size=2))
    return made if mask else {name: value for name, value in made.items() if "mask" not in name}


def trace_failure(found: CellResult) -> Finding:
    result = found.check("trace")
    assert result.status is Status.FAILED
    return result.findings[0]


@until_4
@pytest.mark.parametrize("mask", [True, False], ids=["mask", "no mask"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", DECODERS)
def test_masks_built_with_vmap_are_untraceable_and_the_remedy_is_named(name: str, attention: str, mask: bool) -> None:
    """Every decoder that leaves its mask to transformers 4.57, whatever its attention: torch's words, the line, what to do."""
    model = build(name, attention=attention)
    found = cell(model, inputs_of(model, mask=mask))
    assert found.verdict == "Untraceable"
    finding = trace_failure(found)
    assert finding.message == "RuntimeError: unordered_map::at"
    assert finding.file == "transformers/masking_utils.py"
    assert finding.line is not None
    assert finding.hint is not None
    assert "torch.vmap" in finding.hint
    assert "transformers 5 or newer" in finding.hint


@from_5
@pytest.mark.parametrize("mask", [True, False], ids=["mask", "no mask"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", DECODERS)
def test_the_same_decoders_pass(name: str, attention: str, mask: bool) -> None:
    """What the remedy promises: the same models, under transformers 5."""
    model = build(name, attention=attention)
    found = cell(model, inputs_of(model, mask=mask))
    assert found.verdict == "ok"
    assert found.dims == {"batch": "dynamic", "seq": "dynamic"}


@pytest.mark.parametrize("name", DECODERS)
def test_a_mask_made_without_vmap_passes(name: str) -> None:
    """The remedy for those who stay on 4.57: a causal mask of four axes, which transformers takes as it is."""
    inputs = {"input_ids": token_ids(), "attention_mask": causal_mask()}
    assert cell(build(name), inputs, skip=SIZED).verdict == "ok"


@pytest.mark.parametrize("mask", [True, False], ids=["mask", "no mask"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_encoders_pass_with_and_without_a_mask(attention: str, mask: bool) -> None:
    """BERT's masks are built without vmap in both versions: any size, any mask."""
    model = build("encoder", attention=attention)
    found = cell(model, inputs_of(model, mask=mask))
    assert found.verdict == "ok"
    assert found.dims == {"batch": "dynamic", "seq": "dynamic"}
    assert (found.check("padding").status is Status.PASSED) is mask


@pytest.mark.parametrize("name", ["t5", "marian", "bart"])
def test_encoder_decoders_pass(name: str) -> None:
    """So do models of two halves whose decoder builds its own causal mask."""
    model = build(name)
    assert cell(model, inputs_of(model, mask=True)).verdict == "ok"
