"""How many tokens a model can tell the positions of, and how many it is given."""

from __future__ import annotations

import pytest

from pytest_torchscript.errors import SubjectError
from pytest_torchscript.subject.families.synthesis import max_length, synthesise

from .architectures import build, of_two_models, run


def test_length_one_can_be_asked_for() -> None:
    """One token is a valid, if unwise, request: it has no room for padding."""
    inputs = synthesise(build("BertModel"), batch_size=2, seq_len=1)
    assert inputs["attention_mask"].tolist() == [[1], [1]]


def test_the_default_length_is_what_the_config_allows_if_that_is_less() -> None:
    """Sixteen tokens, or fewer for a model with fewer positions."""
    assert synthesise(build("BertModel"))["input_ids"].shape == (1, 16)
    assert synthesise(build("BertModel", max_position_embeddings=9))["input_ids"].shape == (1, 9)
    assert synthesise(build("RobertaForSequenceClassification", max_position_embeddings=9))["input_ids"].shape == (1, 7)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BertModel", 40),
        ("DistilBertModel", 512),
        ("RobertaForSequenceClassification", 38),
        ("LongformerForQuestionAnswering", 38),
        ("IBertModel", 38),
        ("GPT2LMHeadModel", 40),
        ("GPTJForCausalLM", 40),
        ("OPTForCausalLM", 40),
        ("BartForConditionalGeneration", 40),
        ("MarianMTModel", 40),
        ("FSMTForConditionalGeneration", 40),
        ("LxmertModel", 40),
        ("LlamaForCausalLM", 40),
        ("MptForCausalLM", 40),
        ("CLIPModel", 40),
        ("LayoutLMv3Model", 38),
        ("WhisperForConditionalGeneration", 24),
        ("WhisperForAudioClassification", None),
        ("T5ForConditionalGeneration", None),
        ("BloomForCausalLM", None),
        ("XLNetModel", None),
        ("MambaForCausalLM", None),
        ("HubertModel", None),
        ("ViTForImageClassification", None),
    ],
)
def test_max_length(name: str, expected: int | None) -> None:
    """The config's limit, less the positions that a table keeps for padding; none for relative positions or images."""
    assert max_length(build(name)) == expected


def test_max_length_of_two_joined_models_is_that_of_the_shorter() -> None:
    """Encoder and decoder get the same length, so the shorter limit counts; samples of sound have none."""
    assert max_length(of_two_models("EncoderDecoderModel", "DistilBertModel", "BertModel")) == 40
    assert max_length(of_two_models("VisionEncoderDecoderModel", "ViTForImageClassification", "BertModel")) == 40
    assert max_length(of_two_models("SpeechEncoderDecoderModel", "HubertModel", "BertModel")) is None


@pytest.mark.parametrize(
    "name",
    [
        "BertModel",
        "RobertaForSequenceClassification",
        "EsmModel",
        "IBertModel",
        "NystromformerModel",
        "GPT2LMHeadModel",
        "GPTJForCausalLM",
        "CTRLLMHeadModel",
        "OPTForCausalLM",
        "BartForConditionalGeneration",
        "MarianMTModel",
        "CLIPModel",
        "LayoutLMv3Model",
        "LxmertModel",
        "WhisperForConditionalGeneration",
    ],
)
def test_longer_than_the_positions_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its limit the model runs; one more is refused, with the limit, and eager would indeed have failed."""
    model = build(name)
    longest = max_length(model)
    assert longest is not None
    run(model, synthesise(model, seq_len=longest))
    with pytest.raises(SubjectError, match=f"seq_len {longest + 1} is more than the {longest} positions .*{longest}"):
        synthesise(model, seq_len=longest + 1)
    monkeypatch.setattr("pytest_torchscript.subject.families.synthesis.refuse_too_long", lambda request: None)
    with pytest.raises((IndexError, RuntimeError, ValueError)):
        run(model, synthesise(model, seq_len=longest + 1))


@pytest.mark.parametrize(
    "name",
    [
        "LlamaForCausalLM",
        "T5ForConditionalGeneration",
        "BloomForCausalLM",
        "MambaForCausalLM",
        "FSMTForConditionalGeneration",
    ],
)
def test_longer_is_not_refused_without_absolute_positions(name: str) -> None:
    """Rotary and relative positions, states and tables that grow run beyond what the config says."""
    model = build(name)
    inputs = synthesise(model, seq_len=50)
    assert inputs["input_ids"].shape == (1, 50)
    assert all(tensor.isfinite().all() for tensor in run(model, inputs))
