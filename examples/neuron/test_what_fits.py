"""What runs on Neuron: encoders as they are, and a sequence-to-sequence model in two wrappers of fixed length."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import BertModel, DistilBertModel, MarianMTModel, RobertaModel
from translation import LENGTH, PaddedDecoder, PaddedEncoder, padded, translate

# The ids of the padding token and of the end of a text, as conftest.py configures the models.
PAD, END = 1, 2


@pytest.mark.torchscript(seq_len=128, target="neuron")
def test_bert(bert: BertModel, text: dict[str, Tensor]) -> None:
    assert bert(**text).last_hidden_state.shape == (4, LENGTH, 32)


@pytest.mark.torchscript(seq_len=128, target="neuron")
def test_distilbert(distilbert: DistilBertModel, text: dict[str, Tensor]) -> None:
    assert distilbert(**text).last_hidden_state.shape == (4, LENGTH, 32)


# Two lengths are two compiled programs: buckets, and the report says what padding to them costs.
@pytest.mark.torchscript(seq_len=[64, 128], target="neuron")
def test_roberta(roberta: RobertaModel, text: dict[str, Tensor]) -> None:
    assert roberta(**text).last_hidden_state.shape == (4, LENGTH, 32)


@pytest.mark.torchscript(seq_len=LENGTH, target="neuron")
def test_encoder(encoder: PaddedEncoder, text: dict[str, Tensor]) -> None:
    hidden = encoder(**text)
    alone = encoder(text["input_ids"][2:3, :3], text["attention_mask"][2:3, :3])
    torch.testing.assert_close(hidden[2:3, :3], alone)


# Two gates of one program: each mask keeps its own padding out of the answer.
@pytest.mark.torchscript(seq_len=LENGTH, target="neuron", id="marian-decoder-text")
@pytest.mark.torchscript(seq_len=LENGTH, target="neuron", id="marian-decoder-written", mask="decoder_attention_mask")
def test_decoder(decoder: PaddedDecoder, text: dict[str, Tensor]) -> None:
    written, kept = padded(torch.tensor([[PAD, 9, 8], [PAD, 5, 7], [PAD, 5, 7], [PAD, 4, 3]]), PAD)
    scores = decoder(written, kept, torch.randn(4, LENGTH, 32), text["attention_mask"])
    assert scores.shape == (4, 24)


@torch.no_grad()
def test_both_write_what_the_model_does(
    marian: MarianMTModel, encoder: PaddedEncoder, decoder: PaddedDecoder, text: dict[str, Tensor]
) -> None:
    own = marian.generate(**text, num_beams=1, do_sample=False, max_length=LENGTH, bad_words_ids=[[PAD]])
    assert len({tuple(tokens) for tokens in own.tolist()}) > 1
    assert torch.equal(translate(encoder, decoder, **text, start=PAD, end=END, pad=PAD), own)
