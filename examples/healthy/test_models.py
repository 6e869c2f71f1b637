"""Tests as people write them. The marker line is all that gates a model."""

from __future__ import annotations

import unittest

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    BatchEncoding,
    BertForSequenceClassification,
    BertModel,
    DistilBertForTokenClassification,
    GPT2LMHeadModel,
    MarianMTModel,
    RobertaForQuestionAnswering,
)


@pytest.mark.torchscript(seq_len=128)
def test_paraphrases_are_closer_than_unrelated_sentences(minilm: BertModel, sentences: BatchEncoding) -> None:
    with torch.no_grad():
        hidden = minilm(**sentences).last_hidden_state
    kept = sentences["attention_mask"].unsqueeze(-1)
    embeddings = F.normalize((hidden * kept).sum(1) / kept.sum(1), dim=-1)
    likeness = embeddings @ embeddings.T
    assert likeness[0, 1] > 0.5
    assert likeness[0, 2:].max() < 0.2


@pytest.mark.torchscript
def test_bert_classifies(bert: BertForSequenceClassification, text: dict[str, torch.Tensor]) -> None:
    logits = bert(**text).logits
    assert logits.shape == (2, 3)
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.torchscript
def test_distilbert_tags_each_token(distilbert: DistilBertForTokenClassification, text: dict[str, torch.Tensor]) -> None:
    assert distilbert(**text).logits.shape == (2, 12, 5)


@pytest.mark.torchscript
def test_roberta_ignores_padding(roberta: RobertaForQuestionAnswering, text: dict[str, torch.Tensor]) -> None:
    padded = roberta(**text).start_logits[1, :7]
    alone = roberta(text["input_ids"][1:, :7]).start_logits[0]
    torch.testing.assert_close(padded, alone)


@pytest.mark.torchscript
def test_gpt2_does_not_look_ahead(gpt2: GPT2LMHeadModel, text: dict[str, torch.Tensor]) -> None:
    tokens = text["input_ids"]
    logits = gpt2(tokens).logits
    tokens[:, 8:] = 3
    torch.testing.assert_close(gpt2(tokens).logits[:, :8], logits[:, :8])


@pytest.mark.torchscript
def test_marian_scores_a_translation(marian: MarianMTModel, text: dict[str, torch.Tensor]) -> None:
    target = torch.tensor([[1, 9, 8, 7, 6], [1, 5, 4, 3, 2]])
    logits = marian(**text, decoder_input_ids=target).logits
    assert logits.shape == (2, 5, 200)
    # The second output token sees the first two of the target, and the whole source.
    assert not torch.equal(logits[0, 1], logits[1, 1])


class Classifier(nn.Module):
    """A small convolutional network for RGB images of any size."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(16, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).flatten(1))


@pytest.mark.torchscript
def test_cnn_learns() -> None:
    model = Classifier()
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.torchscript
class TestTagger(unittest.TestCase):
    def setUp(self) -> None:
        self.rnn = nn.GRU(16, 24, batch_first=True, bidirectional=True)

    def test_output_covers_both_directions(self) -> None:
        output, last = self.rnn(torch.randn(2, 9, 16))
        self.assertEqual(output.shape, (2, 9, 48))  # noqa: PT009 - as suites built on unittest are written
        self.assertEqual(last.shape, (2, 2, 24))  # noqa: PT009
