"""The models and texts of the Neuron suite: random weights from small configurations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    MarianConfig,
    MarianMTModel,
    RobertaConfig,
    RobertaModel,
)
from translation import LENGTH, PaddedDecoder, PaddedEncoder, padded

VOCABULARY = 24
PAD = 1
END = 2


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


@pytest.fixture
def bert() -> BertModel:
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        pad_token_id=PAD,
    )
    return BertModel(config).eval()


@pytest.fixture
def distilbert() -> DistilBertModel:
    config = DistilBertConfig(vocab_size=VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=64, pad_token_id=PAD)
    return DistilBertModel(config).eval()


@pytest.fixture
def roberta() -> RobertaModel:
    # RoBERTa counts its positions from its padding token on: 130 of them take 128 tokens.
    config = RobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=130,
        type_vocab_size=1,
        pad_token_id=PAD,
    )
    return RobertaModel(config).eval()


@pytest.fixture
def marian() -> MarianMTModel:
    # Untied, and with larger weights than training begins with: such a model writes something, and ends.
    config = MarianConfig(
        vocab_size=VOCABULARY,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        init_std=0.15,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=PAD,
        forced_eos_token_id=None,
    )
    return MarianMTModel(config).eval()


@pytest.fixture
def encoder(marian: MarianMTModel) -> PaddedEncoder:
    return PaddedEncoder(marian).eval()


@pytest.fixture
def decoder(marian: MarianMTModel) -> PaddedDecoder:
    return PaddedDecoder(marian).eval()


@pytest.fixture
def text(marian: MarianMTModel) -> dict[str, Tensor]:
    """Four texts of 12, 7, 3 and 12 tokens, padded to the length of the compiled program."""
    input_ids = torch.randint(END + 1, VOCABULARY, (4, 12))
    attention_mask = torch.ones(4, 12, dtype=torch.long)
    attention_mask[1, 7:] = 0
    attention_mask[2, 3:] = 0
    input_ids, _ = padded(input_ids.masked_fill(attention_mask == 0, PAD), PAD)
    attention_mask, _ = padded(attention_mask, 0)
    assert input_ids.shape[1] == LENGTH
    return {"input_ids": input_ids, "attention_mask": attention_mask}
