"""Tiny models of many transformers architectures, and how to run them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

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
