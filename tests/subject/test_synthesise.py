"""Example inputs for transformers models: eager takes what is made, over many architectures; the rest is refused."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

from pytest_torchscript.errors import SubjectError
from pytest_torchscript.subject.synthesise import is_transformers_model, max_length, synthesise, vocabulary_size

transformers = pytest.importorskip("transformers")

VOCAB = 99
BERT = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
CANINE: dict[str, Any] = {name: size for name, size in BERT.items() if name != "vocab_size"}
CANINE |= {"num_hash_buckets": 64, "pad_token_id": 0}
ROBERTA = BERT | {"type_vocab_size": 1, "pad_token_id": 1}
LLAMA = BERT | {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
GPT2 = {"vocab_size": VOCAB, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 40, "pad_token_id": 0}
GPT2 |= {"bos_token_id": 98, "eos_token_id": 98}
GPT_NEO = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "attention_types": [[["global"], 1]]}
OPT = BERT | {"ffn_dim": 32, "word_embed_proj_dim": 16}
MPT = {"vocab_size": VOCAB, "d_model": 16, "n_layers": 1, "n_heads": 2, "expansion_ratio": 2, "max_seq_len": 40}
STATE = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 1}
T5 = {"vocab_size": VOCAB, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
BART = {
    "vocab_size": VOCAB,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 40,
}
FSMT: dict[str, Any] = {name: size for name, size in BART.items() if name != "vocab_size"}
FSMT |= {"langs": ["en", "de"], "src_vocab_size": VOCAB, "tgt_vocab_size": 80}
MARIAN = BART | {"pad_token_id": 98, "decoder_start_token_id": 98}
PROPHETNET = {"vocab_size": VOCAB, "hidden_size": 16, "num_encoder_layers": 1, "num_decoder_layers": 1}
PROPHETNET |= {"num_encoder_attention_heads": 2, "num_decoder_attention_heads": 2, "max_position_embeddings": 40}
PROPHETNET |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
VIT |= {"image_size": 32, "patch_size": 8}
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1], "layer_type": "basic"}
SEGFORMER = {"num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16]}
SEGFORMER |= {"patch_sizes": [7, 3], "strides": [4, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2]}
TOWER = BERT | {"projection_dim": 8, "pad_token_id": 1, "bos_token_id": 97, "eos_token_id": 98}
TOWERS = {"text_config": TOWER, "vision_config": VIT | {"projection_dim": 8}, "projection_dim": 8}
WAVE = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
WHISPER = BART | {"num_mel_bins": 8, "max_source_positions": 30, "max_target_positions": 24, "pad_token_id": 0}
WHISPER |= {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
SPEECH_TO_TEXT = BART | {"input_feat_per_channel": 8, "conv_channels": 16}
AST = VIT | {"max_length": 40, "num_mel_bins": 16}
LAYOUTLM = BERT | {"max_2d_position_embeddings": 64}
LAYOUTLM_V3 = LAYOUTLM | {"input_size": 32, "coordinate_size": 3, "shape_size": 2, "pad_token_id": 1}
UDOP = T5 | {"image_size": 32, "patch_size": 8, "max_2d_position_embeddings": 64}
CLAP_AUDIO = {"spec_size": 32, "num_mel_bins": 8, "patch_size": 4, "patch_stride": [4, 4], "window_size": 4}
CLAP_AUDIO |= {"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [2, 2], "projection_dim": 8}
CLAP_AUDIO |= {"hidden_size": 16, "aff_block_r": 2}
DAC = {"encoder_hidden_size": 8, "decoder_hidden_size": 16, "downsampling_ratios": [2, 4], "n_codebooks": 2}

# One line an architecture: the model class, its config class, and what makes it tiny.
ARCHITECTURES: Mapping[str, tuple[str, dict[str, Any]]] = {
    # encoders of text
    "BertModel": ("BertConfig", BERT),
    "BertForMaskedLM": ("BertConfig", BERT),
    "BertForSequenceClassification": ("BertConfig", BERT),
    "BertForQuestionAnswering": ("BertConfig", BERT),
    "BertForTokenClassification": ("BertConfig", BERT),
    "BertForMultipleChoice": ("BertConfig", BERT),
    "DistilBertModel": ("DistilBertConfig", {"vocab_size": VOCAB, "dim": 16, "n_layers": 1, "n_heads": 2}),
    "RobertaForSequenceClassification": ("RobertaConfig", ROBERTA),
    "XLMRobertaModel": ("XLMRobertaConfig", ROBERTA),
    "AlbertModel": ("AlbertConfig", BERT | {"embedding_size": 8}),
    "ElectraForPreTraining": ("ElectraConfig", BERT | {"embedding_size": 8}),
    "MPNetModel": ("MPNetConfig", BERT),
    "DebertaModel": ("DebertaConfig", BERT),
    "DebertaV2ForTokenClassification": ("DebertaV2Config", BERT | {"relative_attention": True}),
    "LongformerForQuestionAnswering": ("LongformerConfig", ROBERTA | {"attention_window": 8}),
    "BigBirdModel": ("BigBirdConfig", BERT),
    "FunnelModel": (
        "FunnelConfig",
        {"vocab_size": VOCAB, "block_sizes": [1, 1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32},
    ),
    "NystromformerModel": ("NystromformerConfig", BERT | {"num_landmarks": 4, "segment_means_seq_len": 4}),
    "FNetModel": ("FNetConfig", BERT),
    "CanineModel": ("CanineConfig", CANINE),
    "ModernBertModel": ("ModernBertConfig", BERT | {"pad_token_id": 0, "sep_token_id": 3, "cls_token_id": 2}),
    "EsmModel": ("EsmConfig", ROBERTA | {"mask_token_id": 4}),
    "IBertModel": ("IBertConfig", ROBERTA),
    "XLNetModel": ("XLNetConfig", {"vocab_size": VOCAB, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}),
    "XLMModel": ("XLMConfig", {"vocab_size": VOCAB, "emb_dim": 16, "n_layers": 1, "n_heads": 2}),
    # decoders of text
    "GPT2LMHeadModel": ("GPT2Config", GPT2),
    "GPT2ForSequenceClassification": ("GPT2Config", GPT2),
    "GPTNeoForCausalLM": ("GPTNeoConfig", BERT | GPT_NEO),
    "GPTNeoXForCausalLM": ("GPTNeoXConfig", BERT),
    "GPTJForCausalLM": ("GPTJConfig", GPT2 | {"rotary_dim": 4}),
    "CTRLLMHeadModel": ("CTRLConfig", GPT2 | {"dff": 32}),
    "OPTForCausalLM": ("OPTConfig", OPT),
    "LlamaForCausalLM": ("LlamaConfig", LLAMA),
    "LlamaForSequenceClassification": ("LlamaConfig", LLAMA),
    "MistralForCausalLM": ("MistralConfig", LLAMA),
    "MixtralForCausalLM": ("MixtralConfig", LLAMA | {"num_local_experts": 2}),
    "Qwen2ForCausalLM": ("Qwen2Config", LLAMA),
    "Qwen3ForCausalLM": ("Qwen3Config", LLAMA),
    "Gemma2ForCausalLM": ("Gemma2Config", LLAMA),
    "PhiForCausalLM": ("PhiConfig", LLAMA),
    "FalconForCausalLM": ("FalconConfig", BERT),
    "BloomForCausalLM": ("BloomConfig", {"vocab_size": VOCAB, "hidden_size": 16, "n_layer": 1, "n_head": 2}),
    "MptForCausalLM": ("MptConfig", MPT),
    "MambaForCausalLM": ("MambaConfig", STATE | {"state_size": 4}),
    "RwkvForCausalLM": ("RwkvConfig", STATE | {"num_hidden_layers": 2, "context_length": 40}),
    "XGLMForCausalLM": (
        "XGLMConfig",
        {"vocab_size": VOCAB, "d_model": 16, "num_layers": 1, "attention_heads": 2, "ffn_dim": 32},
    ),
    # encoder-decoders of text, and the encoders of them
    "T5ForConditionalGeneration": ("T5Config", T5),
    "T5ForSequenceClassification": ("T5Config", T5),
    "T5EncoderModel": ("T5Config", T5),
    "MT5ForConditionalGeneration": ("MT5Config", T5),
    "BartForConditionalGeneration": ("BartConfig", BART),
    "BartForSequenceClassification": ("BartConfig", BART),
    "MBartForConditionalGeneration": ("MBartConfig", BART),
    "MarianMTModel": ("MarianConfig", MARIAN),
    "PegasusForConditionalGeneration": ("PegasusConfig", BART),
    "M2M100ForConditionalGeneration": ("M2M100Config", BART),
    "BlenderbotForConditionalGeneration": ("BlenderbotConfig", BART),
    "FSMTForConditionalGeneration": ("FSMTConfig", FSMT),
    "ProphetNetModel": ("ProphetNetConfig", PROPHETNET),
    # images and video
    "ViTForImageClassification": ("ViTConfig", VIT),
    "DeiTModel": ("DeiTConfig", VIT),
    "BeitModel": ("BeitConfig", VIT),
    "Dinov2Model": ("Dinov2Config", VIT),
    "SwinModel": ("SwinConfig", SWIN),
    "ConvNextModel": ("ConvNextConfig", {"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2, "image_size": 32}),
    "ResNetForImageClassification": ("ResNetConfig", RESNET),
    "SegformerForSemanticSegmentation": ("SegformerConfig", SEGFORMER | {"decoder_hidden_size": 8}),
    "VideoMAEModel": ("VideoMAEConfig", VIT | {"num_frames": 4}),
    # text with images
    "CLIPModel": ("CLIPConfig", TOWERS),
    "CLIPTextModel": ("CLIPTextConfig", TOWER),
    "CLIPVisionModel": ("CLIPVisionConfig", VIT),
    "SiglipModel": ("SiglipConfig", {name: TOWERS[name] for name in ("text_config", "vision_config")}),
    "ChineseCLIPModel": ("ChineseCLIPConfig", TOWERS),
    "ViltModel": ("ViltConfig", BERT | VIT),
    "LxmertModel": (
        "LxmertConfig",
        BERT | {"l_layers": 1, "x_layers": 1, "r_layers": 1, "visual_feat_dim": 8},
    ),
    # sound
    "WhisperForConditionalGeneration": ("WhisperConfig", WHISPER),
    "WhisperForAudioClassification": ("WhisperConfig", WHISPER),
    "Wav2Vec2ForCTC": ("Wav2Vec2Config", WAVE | {"feat_extract_norm": "layer"}),
    "Wav2Vec2ForSequenceClassification": ("Wav2Vec2Config", WAVE),
    "HubertModel": ("HubertConfig", WAVE),
    "Wav2Vec2BertModel": (
        "Wav2Vec2BertConfig",
        VIT | {"feature_projection_input_dim": 8, "conv_depthwise_kernel_size": 3},
    ),
    "ASTForAudioClassification": ("ASTConfig", AST),
    "Speech2TextForConditionalGeneration": ("Speech2TextConfig", SPEECH_TO_TEXT),
    "ClapModel": ("ClapConfig", {"text_config": TOWER, "audio_config": CLAP_AUDIO, "projection_dim": 8}),
    "DacModel": ("DacConfig", DAC),
    # documents
    "LayoutLMModel": ("LayoutLMConfig", LAYOUTLM),
    "LayoutLMv3Model": ("LayoutLMv3Config", LAYOUTLM_V3),
    "BrosModel": ("BrosConfig", BERT | {"hidden_size": 64}),
    "UdopForConditionalGeneration": ("UdopConfig", UDOP),
}


@functools.cache
def build(name: str, **changes: Any) -> Any:
    config_name, settings = ARCHITECTURES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(transformers, name)(getattr(transformers, config_name)(**settings | changes)).eval()


def of_two_models(cls: str, encoder: str, decoder: str) -> Any:
    decoder_config = getattr(transformers, ARCHITECTURES[decoder][0])(**ARCHITECTURES[decoder][1])
    decoder_config.is_decoder = decoder_config.add_cross_attention = True
    kind = getattr(transformers, cls)
    return kind(config=kind.config_class.from_encoder_decoder_configs(build(encoder).config, decoder_config)).eval()


def run(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        return list(floats(model(**inputs)))


def floats(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from floats(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from floats(value)


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


def test_without_a_mask_nothing_is_padded() -> None:
    """A model that takes no attention mask cannot be told of padding, so it gets none."""
    model = build("FNetModel", pad_token_id=3)
    inputs = synthesise(model, batch_size=3)
    assert "attention_mask" not in inputs
    assert (inputs["input_ids"] != 3).all()


def test_sound_is_silent_where_it_is_padded() -> None:
    """Padded samples are zeros, as a feature extractor writes them, and only they."""
    inputs = synthesise(build("Wav2Vec2ForCTC"), batch_size=3)
    assert torch.equal(inputs["input_values"] == 0, inputs["attention_mask"] == 0)


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


def test_multiple_choice_has_two_choices() -> None:
    """A head for multiple choice gets a choice axis between batch and sequence, the second choice being shorter."""
    inputs = synthesise(build("BertForMultipleChoice"), batch_size=3, seq_len=8)
    assert {tuple(tensor.shape) for tensor in inputs.values()} == {(3, 2, 8)}
    assert inputs["attention_mask"][0].sum(-1).tolist() == [8, 6]


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


def test_raw_sound_gives_sixteen_frames_by_default() -> None:
    """The default number of samples is the least that the convolutions turn into 16 frames."""
    model = build("HubertModel")
    samples = synthesise(model)["input_values"].shape[1]
    assert run(model, synthesise(model))[0].shape[1] == 16
    assert run(model, synthesise(model, seq_len=samples - 1))[0].shape[1] == 15


def test_seq_len_counts_samples_of_raw_sound() -> None:
    """For raw sound the sequence axis is time, in samples."""
    inputs = synthesise(build("Wav2Vec2ForCTC"), seq_len=333)
    assert {tensor.shape[1] for tensor in inputs.values()} == {333}


def test_sound_normalised_over_groups_has_no_mask() -> None:
    """Models like wav2vec2-base were trained without a mask and must not be given one."""
    assert list(synthesise(build("Wav2Vec2ForSequenceClassification"))) == ["input_values"]


def test_sound_too_short_for_the_convolutions_is_refused() -> None:
    """Fewer samples than one frame needs cannot be asked for; that many can."""
    model = build("HubertModel")
    assert run(model, synthesise(model, seq_len=20))[0].shape[1] == 1
    with pytest.raises(SubjectError, match=r"seq_len 19 is too short for HubertModel.* 20 at least"):
        synthesise(model, seq_len=19)


def test_whisper_gets_the_one_length_it_takes() -> None:
    """Whisper's spectrogram has a fixed length, whatever the decoder's is."""
    inputs = synthesise(build("WhisperForConditionalGeneration"), batch_size=2, seq_len=5)
    assert inputs["input_features"].shape == (2, 8, 60)
    assert inputs["decoder_input_ids"].shape == (2, 5)


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


def test_length_one_can_be_asked_for() -> None:
    """One token is a valid, if unwise, request: it has no room for padding."""
    inputs = synthesise(build("BertModel"), batch_size=2, seq_len=1)
    assert inputs["attention_mask"].tolist() == [[1], [1]]


def test_the_default_length_is_what_the_config_allows_if_that_is_less() -> None:
    """Sixteen tokens, or fewer for a model with fewer positions."""
    assert synthesise(build("BertModel"))["input_ids"].shape == (1, 16)
    assert synthesise(build("BertModel", max_position_embeddings=9))["input_ids"].shape == (1, 9)
    assert synthesise(build("RobertaForSequenceClassification", max_position_embeddings=9))["input_ids"].shape == (1, 7)


def test_images_of_an_oblong_size() -> None:
    """A config may give height and width apart."""
    model = build("ViTForImageClassification")
    model = type(model)(type(model.config)(**VIT | {"image_size": [16, 32], "num_channels": 1})).eval()
    inputs = synthesise(model)
    assert inputs["pixel_values"].shape == (1, 1, 16, 32)
    run(model, inputs)


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
    monkeypatch.setattr("pytest_torchscript.subject.synthesise._refuse_too_long", lambda facts: None)
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
    assert vocabulary_size(build(name)) == expected


def test_plain_modules_have_no_vocabulary_and_no_length() -> None:
    """What is not a transformers model has nothing to read, which is no error."""
    assert vocabulary_size(torch.nn.Embedding(3, 4)) is None
    assert max_length(torch.nn.Embedding(3, 4)) is None


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
    assert vocabulary_size(model) == 7
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


def test_other_modules_are_refused() -> None:
    """Only a transformers model says what its inputs are."""
    with pytest.raises(SubjectError, match="which Linear is not: give inputs= or a torchscript_inputs fixture"):
        synthesise(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("size", ["batch_size", "seq_len"])
def test_impossible_sizes_are_refused(size: str) -> None:
    """A size below 1 is an error that names the argument."""
    with pytest.raises(SubjectError, match=f"{size} must be at least 1 .* BertModel, not 0"):
        synthesise(build("BertModel"), **{size: 0})  # type: ignore[arg-type]  # mypy mixes up the keyword types


def test_transformers_models_are_known() -> None:
    """By their base class, not by having a config."""
    pretender = torch.nn.Linear(2, 2)
    pretender.config = transformers.BertConfig()
    assert is_transformers_model(build("BertModel"))
    assert not is_transformers_model(pretender)
    assert not is_transformers_model(transformers.BertConfig())


def test_transformers_is_never_imported() -> None:
    """Asking about a plain module leaves transformers unloaded."""
    code = (
        "import sys, torch\n"
        "from pytest_torchscript.subject.synthesise import is_transformers_model, max_length\n"
        "assert not is_transformers_model(torch.nn.Linear(1, 1)) and max_length(torch.nn.Linear(1, 1)) is None\n"
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)}, timeout=60)
