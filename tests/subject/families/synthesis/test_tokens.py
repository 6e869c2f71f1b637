"""Tokens, and what goes with each of them."""

from __future__ import annotations

import pytest
import torch

from pytest_torchscript.subject.families.synthesis import synthesise
from pytest_torchscript.subject.families.synthesis.request import Request
from pytest_torchscript.subject.families.synthesis.tokens import decoder_vocabulary, vocabulary

from .architectures import LLAMA, VOCAB, build, run, transformers


def test_without_a_mask_nothing_is_padded() -> None:
    """A model that takes no attention mask cannot be told of padding, so it gets none."""
    model = build("FNetModel", pad_token_id=3)
    inputs = synthesise(model, batch_size=3)
    assert "attention_mask" not in inputs
    assert (inputs["input_ids"] != 3).all()


def test_special_tokens_are_avoided() -> None:
    """Drawn tokens reach both ends of the vocabulary and are none of the tokens the config calls special."""
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": [3, 5]}
    model = build("LlamaForCausalLM")
    model = type(model)(type(model.config)(**LLAMA | special | {"vocab_size": 12, "max_position_embeddings": 900}))
    ids = synthesise(model, seq_len=900)["input_ids"]
    assert set(ids.unique().tolist()) == set(range(12)) - {0, 2, 3, 5}


def test_a_vocabulary_of_special_tokens_alone_is_used() -> None:
    """Where every token is special there is nothing else to draw from."""
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**LLAMA | {"vocab_size": 3, "bos_token_id": 1, "eos_token_id": 2})
    )
    assert set(synthesise(model)["input_ids"].unique().tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("name", ["BartForSequenceClassification", "T5ForSequenceClassification", "CLIPModel"])
def test_each_row_ends_with_one_eos_where_the_model_pools_at_it(name: str) -> None:
    """Encoder-decoders and CLIP's text tower find the end of a sentence by its eos token."""
    model = build(name)
    inputs = synthesise(model, batch_size=3)
    ends = inputs["input_ids"] == model.config.get_text_config().eos_token_id
    assert torch.equal(ends.nonzero()[:, 1], inputs["attention_mask"].sum(-1) - 1)
    run(model, inputs)


def test_a_decoder_starts_with_its_start_token() -> None:
    """The first decoder token is the one that generation would start from."""
    assert (synthesise(build("MarianMTModel"), batch_size=2)["decoder_input_ids"][:, 0] == 98).all()


def test_segments_are_those_of_a_pair() -> None:
    """The real tokens are of two segments, the first one first; padding is of the first."""
    inputs = synthesise(build("BertModel"), batch_size=2)
    types, mask = inputs["token_type_ids"], inputs["attention_mask"]
    assert ((types * mask) == types).all()
    for row, length in zip(types, mask.sum(-1), strict=True):
        assert (row[:length].diff() >= 0).all()
        assert row.unique().tolist() == [0, 1]


def test_one_segment_needs_no_token_types() -> None:
    """A model that knows one segment only, like RoBERTa, is not given any."""
    assert list(synthesise(build("XLMRobertaModel"))) == ["input_ids", "attention_mask"]


@pytest.mark.parametrize(("name", "limit"), [("LayoutLMModel", 63), ("LayoutLMv3Model", 63), ("BrosModel", 1)])
def test_boxes_are_boxes(name: str, limit: int) -> None:
    """Corners are in order and on the page, whole numbers or, where the model scales them itself, parts of it."""
    inputs = synthesise(build(name), batch_size=2)
    boxes = inputs["bbox"]
    assert boxes.is_floating_point() == (limit == 1)
    assert (boxes[..., :2] <= boxes[..., 2:]).all()
    assert boxes.min() >= 0
    assert boxes.max() <= limit
    assert (boxes[inputs["attention_mask"] == 0] == 0).all()


def test_boxes_go_up_to_a_thousand() -> None:
    """With the usual table of 1024 box positions the coordinates are those of a page of 1000."""
    boxes = synthesise(build("LayoutLMModel", max_2d_position_embeddings=1024), seq_len=40)["bbox"]
    assert 900 < boxes.max() <= 1000


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BertModel", VOCAB),
        ("CLIPModel", VOCAB),
        ("T5ForConditionalGeneration", VOCAB),
        ("FSMTForConditionalGeneration", 80),
        ("WhisperForConditionalGeneration", VOCAB),
        ("CanineModel", 64),
        ("ViTForImageClassification", None),
        ("Wav2Vec2ForCTC", None),
    ],
)
def test_vocabulary_size(name: str, expected: int | None) -> None:
    """The ids valid in every token input; none for a model that takes no tokens, even if it gives some."""
    request = Request(model=build(name))
    sizes = [size for size in (vocabulary(request), decoder_vocabulary(request)) if size]
    assert min(sizes, default=None) == expected
