"""What every rule is given: rows that are really padded, and the dtype and the device of the model."""

from __future__ import annotations

import pytest
import torch

from pytest_torchscript.subject.families.synthesis import synthesise

from .architectures import ARCHITECTURES, TOWERS, VOCAB, build, transformers


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "FNetModel"])
def test_masks_hide_real_padding(name: str) -> None:
    """Every row of a mask but the first ends in padding, and what is padded holds the padding token."""
    model = build(name)
    inputs = synthesise(model, batch_size=3)
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)  # RWKV's config has none
    for prefix in ("", "decoder_"):
        mask = inputs.get(f"{prefix}attention_mask")
        if mask is None:
            continue
        assert mask.dtype == torch.int64
        rows = mask.flatten(0, -2)
        assert rows[0].all()
        assert all(0 < row.sum() < row.numel() for row in rows[1:])
        assert (rows.diff() <= 0).all(), "padding is at the end"
        ids = inputs.get(f"{prefix}input_ids")
        if ids is not None and pad is not None and 0 <= pad < VOCAB:
            assert (ids[mask == 0] == pad).all()


def test_multiple_choice_has_two_choices() -> None:
    """A head for multiple choice gets a choice axis between batch and sequence, the second choice being shorter."""
    inputs = synthesise(build("BertForMultipleChoice"), batch_size=3, seq_len=8)
    assert {tuple(tensor.shape) for tensor in inputs.values()} == {(3, 2, 8)}
    assert inputs["attention_mask"][0].sum(-1).tolist() == [8, 6]


def test_dtype_follows_the_model() -> None:
    """Float inputs take the dtype of the model's parameters; token inputs stay int64."""
    model = transformers.CLIPModel(transformers.CLIPConfig(**TOWERS)).to(torch.bfloat16)
    inputs = synthesise(model)
    assert inputs["pixel_values"].dtype == torch.bfloat16
    assert inputs["input_ids"].dtype == inputs["attention_mask"].dtype == torch.int64
    assert torch.equal(inputs["pixel_values"], synthesise(build("CLIPModel"))["pixel_values"].bfloat16())


@pytest.mark.parametrize(
    "name", ["BertModel", "CLIPModel", "LayoutLMModel", "Wav2Vec2ForCTC", "WhisperForConditionalGeneration"]
)
def test_device_follows_the_model(name: str) -> None:
    """A model on the meta device gets inputs there, without being called."""
    config_name, settings = ARCHITECTURES[name]
    with torch.device("meta"):
        model = getattr(transformers, name)(getattr(transformers, config_name)(**settings))
        inputs = synthesise(model, batch_size=2)
    assert {tensor.device.type for tensor in inputs.values()} == {"meta"}
    assert {key: tensor.shape for key, tensor in inputs.items()} == {
        key: tensor.shape for key, tensor in synthesise(build(name), batch_size=2).items()
    }
