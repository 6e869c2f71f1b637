"""MarianMT for a device that takes one shape: an encoder and a decoder of fixed length, and the loop between them.

``generate()`` grows the decoder's input by a token a step, and keeps a cache that grows too. Neuron compiles one shape, so
both halves are wrapped: the text is padded to :data:`LENGTH`, what is translated so far as well, there is no cache, and of
each step only the scores of the last token are returned. The price is that every position is computed anew in every step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import MarianMTModel

LENGTH = 32


class PaddedEncoder(nn.Module):
    """The encoder of a MarianMT model, for texts padded to one length."""

    def __init__(self, model: MarianMTModel) -> None:
        super().__init__()
        self.encoder = model.get_encoder()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.encoder(input_ids, attention_mask=attention_mask, return_dict=False)[0]


class PaddedDecoder(nn.Module):
    """The decoder: the scores of the token that follows the last one that ``decoder_attention_mask`` keeps."""

    def __init__(self, model: MarianMTModel) -> None:
        super().__init__()
        self.decoder = model.get_decoder()
        self.head = model.get_output_embeddings()
        self.register_buffer("bias", model.final_logits_bias)

    def forward(
        self, decoder_input_ids: Tensor, decoder_attention_mask: Tensor, encoder_hidden_states: Tensor, attention_mask: Tensor
    ) -> Tensor:
        hidden = self.decoder(
            decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=attention_mask,
            use_cache=False,
            return_dict=False,
        )[0]
        # A product with the position's own mask: indexing by a tensor is what compilers for fixed shapes like least.
        positions = torch.arange(decoder_input_ids.shape[1], device=decoder_input_ids.device)
        last = positions == decoder_attention_mask.sum(1, keepdim=True) - 1
        return self.head((hidden * last.unsqueeze(-1)).sum(1)) + self.bias


def padded(tokens: Tensor, pad: int, length: int = LENGTH) -> tuple[Tensor, Tensor]:
    """``tokens`` filled up with ``pad`` to ``length``, and the mask that keeps the tokens."""
    if tokens.shape[1] > length:
        raise ValueError(f"{tokens.shape[1]} tokens do not fit into {length}: truncate the text, or compile a longer bucket")
    rest = length - tokens.shape[1]
    mask = nn.functional.pad(torch.ones_like(tokens), (0, rest))
    return nn.functional.pad(tokens, (0, rest), value=pad), mask


def translate(
    encoder: Callable[[Tensor, Tensor], Tensor],
    decoder: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    start: int,
    end: int,
    pad: int,
) -> Tensor:
    """Greedy translation by an encoder and a decoder of fixed shapes: modules, traces, or compiled programs.

    ``input_ids`` and ``attention_mask`` are padded to :data:`LENGTH`. As MarianMT's own generation, it never writes ``pad``
    before the end.
    """
    hidden = encoder(input_ids, attention_mask)
    written = input_ids.new_full((input_ids.shape[0], 1), start)
    ended = input_ids.new_zeros(input_ids.shape[0], dtype=torch.bool)
    while written.shape[1] < LENGTH and not ended.all():
        scores = decoder(*padded(written, pad), hidden, attention_mask)
        scores[:, pad] = -torch.inf
        token = scores.argmax(-1).masked_fill(ended, pad)
        ended |= token == end
        written = torch.cat([written, token[:, None]], dim=1)
    return written
