"""Small models with tied weights, the same under each major version of transformers, and which version is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

transformers = pytest.importorskip("transformers")

__all__ = ["MAJOR", "TIED", "build", "causal_mask", "from_5", "token_ids", "transformers", "until_4"]

MAJOR = int(transformers.__version__.partition(".")[0])

until_4 = pytest.mark.skipif(MAJOR > 4, reason="transformers 5 has no torchscript flag and builds masks without torch.vmap")
from_5 = pytest.mark.skipif(MAJOR < 5, reason="transformers 4 reads the torchscript flag and builds masks with torch.vmap")

VOCAB, WIDTH = 99, 16
BERT = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
GPT2 = {"vocab_size": VOCAB, "n_embd": WIDTH, "n_layer": 1, "n_head": 2, "n_positions": 40}
GPT2 |= {"pad_token_id": 0, "bos_token_id": 98, "eos_token_id": 98}
LLAMA = BERT | {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "tie_word_embeddings": True}
T5 = {"vocab_size": VOCAB, "d_model": WIDTH, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
BART = {
    "vocab_size": VOCAB,
    "d_model": WIDTH,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 40,
}

# The model class, its config class, and what makes it tiny.
CLASSES: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertForMaskedLM", "BertConfig", BERT),
    "encoder": ("BertModel", "BertConfig", BERT),
    "albert": ("AlbertForMaskedLM", "AlbertConfig", BERT | {"embedding_size": 8}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "llama": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "marian": ("MarianMTModel", "MarianConfig", BART | {"pad_token_id": 98, "decoder_start_token_id": 98}),
    "bart": ("BartForConditionalGeneration", "BartConfig", BART | {"pad_token_id": 1, "eos_token_id": 2}),
    "halves": ("BartModel", "BartConfig", BART | {"pad_token_id": 1, "eos_token_id": 2}),
}

# For each, the names of its word embedding, and the bytes of that.
TIED: Mapping[str, tuple[list[str], int]] = {
    "bert": (["bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"], VOCAB * WIDTH * 4),
    "albert": (["albert.embeddings.word_embeddings.weight", "predictions.decoder.weight"], VOCAB * 8 * 4),
    "gpt2": (["transformer.wte.weight", "lm_head.weight"], VOCAB * WIDTH * 4),
    "llama": (["model.embed_tokens.weight", "lm_head.weight"], VOCAB * WIDTH * 4),
    "t5": (
        ["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"],
        VOCAB * WIDTH * 4,
    ),
    "marian": (
        ["model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"],
        VOCAB * WIDTH * 4,
    ),
    "bart": (
        ["model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"],
        VOCAB * WIDTH * 4,
    ),
}


def build(name: str, *, attention: str | None = None, **config: Any) -> nn.Module:
    """The model of this name, in eval mode, with the same weights every time; ``config`` goes to its config's class."""
    model_class, config_class, sizes = CLASSES[name]
    made = getattr(transformers, config_class)(**(sizes | config))
    if attention is not None:
        made._attn_implementation = attention
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model: nn.Module = getattr(transformers, model_class)(made)
    return model.eval()


def token_ids(rows: int = 2, length: int = 12) -> Tensor:
    """Tokens, none of them special."""
    return torch.randint(3, VOCAB - 2, (rows, length), generator=torch.Generator().manual_seed(0))


def causal_mask(rows: int = 2, length: int = 12) -> Tensor:
    """A causal mask of four axes, ready to be added to the scores: transformers takes it as it is."""
    return torch.full((length, length), torch.finfo(torch.float32).min).triu(1).expand(rows, 1, length, length).clone()
