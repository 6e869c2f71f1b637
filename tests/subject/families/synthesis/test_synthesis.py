"""Example inputs for transformers models: eager takes what is made, over many architectures; the rest is refused."""

from __future__ import annotations

import inspect

import pytest
import torch

from pytest_torchscript.errors import SubjectError
from pytest_torchscript.subject.families.synthesis import synthesise
from pytest_torchscript.subject.families.synthesis.request import Request
from pytest_torchscript.subject.families.synthesis.tokens import vocabulary

from .architectures import ARCHITECTURES, LLAMA, VIT, VOCAB, build, of_two_models, run, transformers


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_eager_accepts_what_is_made(name: str, batch_size: int) -> None:
    """The model runs on its inputs at either batch size, and what it gives is finite and not all the same."""
    model = build(name)
    inputs = synthesise(model, batch_size=batch_size)
    assert {tensor.shape[0] for tensor in inputs.values()} == {batch_size}
    outputs = run(model, inputs)
    assert outputs
    assert all(tensor.isfinite().all() for tensor in outputs)
    assert any(tensor.numel() > 1 and tensor.std() > 0 for tensor in outputs)


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize(
    ("cls", "encoder", "decoder", "expected"),
    [
        ("EncoderDecoderModel", "BertModel", "BertModel", {"input_ids": (16,), "attention_mask": (16,)}),
        ("VisionEncoderDecoderModel", "ViTForImageClassification", "BertModel", {"pixel_values": (3, 32, 32)}),
        ("SpeechEncoderDecoderModel", "HubertModel", "BertModel", {"input_values": (170,)}),
    ],
)
def test_each_half_of_two_joined_models_gets_its_own_inputs(
    cls: str, encoder: str, decoder: str, expected: dict[str, tuple[int, ...]], batch_size: int
) -> None:
    """An encoder-decoder made of two whole models is read from their configs, its own holding no sizes."""
    model = of_two_models(cls, encoder, decoder)
    inputs = synthesise(model, batch_size=batch_size)
    expected = expected | {"decoder_input_ids": (16,), "decoder_attention_mask": (16,)}
    assert {name: tuple(tensor.shape[1:]) for name, tensor in inputs.items()} == expected
    assert all(tensor.isfinite().all() for tensor in run(model, inputs))


@pytest.mark.parametrize("name", ["BertModel", "BartForConditionalGeneration", "CLIPModel", "LayoutLMv3Model"])
def test_inputs_come_in_the_order_of_forward(name: str) -> None:
    """Arguments keep forward's order, so that they can be given by position."""
    model = build(name)
    order = list(inspect.signature(model.forward).parameters)
    made = list(synthesise(model))
    assert made == sorted(made, key=order.index)


@pytest.mark.parametrize("seq_len", [2, 3, 7, 16, 33])
@pytest.mark.parametrize("name", ["BertModel", "GPT2LMHeadModel", "T5ForConditionalGeneration", "BartModel", "CLIPModel"])
def test_the_asked_length_is_made(name: str, seq_len: int) -> None:
    """Encoder and decoder both get the sequence length that was asked for, and run."""
    if name == "BartModel":
        name = "BartForSequenceClassification"
    model = build(name)
    inputs = synthesise(model, batch_size=2, seq_len=seq_len)
    assert {inputs[key].shape[1] for key in inputs if key != "pixel_values"} == {seq_len}
    assert all(tensor.isfinite().all() for tensor in run(model, inputs))


def test_the_same_inputs_are_made_again() -> None:
    """Without a generator the inputs are always the same, and the global one is left alone."""
    model = build("CLIPModel")
    state = torch.get_rng_state()
    first, second = synthesise(model, batch_size=2), synthesise(model, batch_size=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_generator_decides() -> None:
    """Different seeds give different tokens and images; the mask depends on neither."""
    model = build("CLIPModel")
    first, second = (synthesise(model, batch_size=2, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    differing = {name for name in first if not torch.equal(first[name], second[name])}
    assert differing == {"input_ids", "pixel_values"}


class Unseen(transformers.PreTrainedModel):  # type: ignore[misc, name-defined]
    """A model of the user's own, with a config that names neither vocabulary nor length."""

    config_class = transformers.PretrainedConfig

    def __init__(self) -> None:
        super().__init__(transformers.PretrainedConfig())
        self.embedding = torch.nn.Embedding(7, 4)

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embedding

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        assert attention_mask is not None
        rows: torch.Tensor = self.embedding(input_ids)
        return rows * attention_mask.unsqueeze(-1)


class Demanding(Unseen):
    def forward(  # type: ignore[override]
        self, input_ids: torch.Tensor, prices: torch.Tensor, stock: torch.Tensor
    ) -> torch.Tensor:
        rows: torch.Tensor = self.embedding(input_ids)
        return rows + prices + stock


def test_a_model_never_seen_before() -> None:
    """A user's own model works by the names of its arguments; its embedding says how many tokens there are."""
    model = Unseen()
    inputs = synthesise(model, batch_size=2)
    assert list(inputs) == ["input_ids", "attention_mask"]
    assert vocabulary(Request(model=model)) == 7
    assert run(model, inputs)[0].shape == (2, 16, 4)


def test_unknown_required_arguments_are_named() -> None:
    """One sentence: which model, which arguments, and what to do."""
    with pytest.raises(SubjectError) as caught:
        synthesise(Demanding())
    assert str(caught.value) == (
        f"prices and stock of Demanding.forward cannot be made from its {transformers.PretrainedConfig.__name__}: "
        "give inputs= or a torchscript_inputs fixture"
    )


def test_an_unknown_main_input_is_named() -> None:
    """Time series are not made, and the message says so by the name of the argument."""
    config = transformers.PatchTSTConfig(d_model=8, num_attention_heads=2, num_hidden_layers=1, context_length=8)
    with pytest.raises(SubjectError, match=r"past_values of PatchTSTModel\.forward cannot be made"):
        synthesise(transformers.PatchTSTModel(config))


def test_an_optional_main_input_is_named() -> None:
    """Decoder inputs alone are no example: the main input is asked for, though forward gives it a default."""
    text = {"vocab_size": VOCAB, "hidden_size": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    vision = {"hidden_size": 16, "d_ff": 32, "d_kv": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Pix2StructConfig(text_config=text, vision_config=vision | {"patch_embed_hidden_size": 12})
    with pytest.raises(SubjectError, match=r"flattened_patches of Pix2StructForConditionalGeneration\.forward"):
        synthesise(transformers.Pix2StructForConditionalGeneration(config))


def test_images_among_the_text_are_left_to_the_processor() -> None:
    """How many placeholder tokens an image needs only its processor knows, and text alone would test half a model."""
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**LLAMA), vision_config=transformers.CLIPVisionConfig(**VIT)
    )
    with pytest.raises(SubjectError, match=r"pixel_values of LlavaModel.*image_token.*torchscript_inputs"):
        synthesise(transformers.LlavaModel(config))


@pytest.mark.parametrize("size", ["batch_size", "seq_len"])
def test_impossible_sizes_are_refused(size: str) -> None:
    """A size below 1 is an error that names the argument."""
    with pytest.raises(SubjectError, match=f"{size} must be at least 1 .* BertModel, not 0"):
        synthesise(build("BertModel"), **{size: 0})  # type: ignore[arg-type]  # mypy mixes up the keyword types
