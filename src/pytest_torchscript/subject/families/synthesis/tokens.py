"""Tokens, and what goes with each of them: masks, segments, boxes on the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import torch

from .configs import size, value
from .positions import decoder_length
from .request import MEDIA, Request, positions_of
from .sound import sound_of

__all__ = [
    "attention_mask",
    "bbox",
    "decoder_attention_mask",
    "decoder_input_ids",
    "decoder_input_values",
    "decoder_vocabulary",
    "input_ids",
    "placeholders",
    "token_type_ids",
    "vocabulary",
]

_SPECIAL_TOKEN: Final = re.compile(r"_token_(?:id|index)s?$")
_PLACEHOLDER_TOKEN: Final = re.compile(r"^(?:image|video|audio|speech)_token(?:_id|_index)?$")

_SHORTEST_PAIR: Final = 5


def input_ids(request: Request) -> torch.Tensor | None:
    """Random tokens of the vocabulary, each row ending as the model expects."""
    known = vocabulary(request)
    return None if known is None else _tokens(request, known, request.text, request.seq_len, _text_lengths(request))


def attention_mask(request: Request) -> torch.Tensor | None:
    """1 at the real tokens; of a model that takes no tokens, at the real part of its sound."""
    if request.takes("input_ids"):
        return request.mask(request.rows, request.seq_len) if vocabulary(request) is not None else None
    sound = sound_of(request)
    return request.mask((request.batch,), sound.length) if sound is not None and sound.masked else None


def token_type_ids(request: Request) -> torch.Tensor | None:
    """Two segments of the real tokens, as for a pair of sentences; padding is of the first, as tokenizers leave it."""
    types = size(request.text, "type_vocab_size")
    if not request.takes("input_ids") or types in (None, 1):
        return None
    ends = _text_lengths(request).unsqueeze(-1)
    positions = positions_of(request.seq_len)
    return ((positions > ends // 2) & (positions < ends)).long()


def bbox(request: Request) -> torch.Tensor | None:
    """A box on the page for each token; zeros for padding."""
    if not request.takes("input_ids"):
        return None
    limit = min(1000, (size(request.text, "max_2d_position_embeddings") or 1001) - 1)
    corners = request.integers(limit + 1, *request.rows, request.seq_len, 2, 2)
    boxes = corners.sort(dim=-2).values.flatten(-2)
    real = positions_of(request.seq_len) < _text_lengths(request).unsqueeze(-1)
    boxes = boxes * real.unsqueeze(-1)
    # BROS scales the box itself and UDOP clips it to the unit square: their processors divide by the page size first.
    if value(request.text, "bbox_scale") is not None or request.takes("visual_bbox"):
        return (boxes / limit).to(request.dtype)
    return boxes


def decoder_input_ids(request: Request) -> torch.Tensor | None:
    """Random tokens after the one that generation starts from."""
    known = decoder_vocabulary(request)
    if known is None:
        return None
    length = decoder_length(request)
    padded = request.takes("decoder_attention_mask")
    lengths = request.lengths(request.rows, length) if padded else torch.full(request.rows, length, device="cpu")
    ids = _tokens(request, known, request.decoder, length, lengths)
    start = value((request.config, *request.decoder), "decoder_start_token_id")
    if isinstance(start, int) and 0 <= start < known:
        ids[..., 0] = start
    return ids


def decoder_attention_mask(request: Request) -> torch.Tensor | None:
    """1 at the real part of what the decoder is given."""
    if request.takes("decoder_input_ids"):
        return request.mask(request.rows, decoder_length(request)) if decoder_vocabulary(request) is not None else None
    return request.mask((request.batch,), request.seq_len) if decoder_input_values(request) is not None else None


def decoder_input_values(request: Request) -> torch.Tensor | None:
    """A spectrogram for a decoder that speaks."""
    bins = size((request.config,), "num_mel_bins")
    return request.normal(request.batch, request.seq_len, bins) if bins is not None else None


def vocabulary(request: Request) -> int | None:
    """How many token ids `input_ids` may hold."""
    if not request.takes("input_ids") or _has_codebooks(request):
        return None
    # CANINE reads any Unicode code point and hashes it, so the bucket count is as good a range as any.
    return size(request.text, "src_vocab_size", "vocab_size", "num_hash_buckets") or _embedding_rows(request.model)


def decoder_vocabulary(request: Request) -> int | None:
    """How many token ids `decoder_input_ids` may hold; Marian may have a vocabulary for each language."""
    if not request.takes("decoder_input_ids") or _has_codebooks(request):
        return None
    shared = bool(value(request.decoder, "share_encoder_decoder_embeddings"))
    own = size(request.decoder, *(() if shared else ("decoder_vocab_size",)), "vocab_size")
    return own or vocabulary(request)


def placeholders(config: object) -> list[str]:
    """The entries of a config that name a token which stands in the text for a piece of an image or of sound."""
    return [name for name in vars(config) if _PLACEHOLDER_TOKEN.search(name)]


def _has_codebooks(request: Request) -> bool:
    """Whether tokens are codes of sound: several go to one position, and each model lays them out its own way."""
    return (size((*request.text, *request.decoder), "num_codebooks", "n_codebooks") or 1) > 1


def _embedding_rows(model: torch.nn.Module) -> int | None:
    try:
        table = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None
    return table.num_embeddings if isinstance(table, torch.nn.Embedding) else None


def _text_lengths(request: Request) -> torch.Tensor:
    """How much of each row of `input_ids` is real: all, for a model that has no mask to say so with."""
    if request.takes("attention_mask"):
        return request.lengths(request.rows, request.seq_len)
    return torch.full(request.rows, request.seq_len, device="cpu")


def _tokens(request: Request, vocabulary: int, places: Sequence[object], length: int, lengths: torch.Tensor) -> torch.Tensor:
    """Random tokens, none of them special but those that give a row its form, padded beyond `lengths`."""
    special = sorted(token for token in _special_tokens((request.config, *places)) if 0 <= token < vocabulary)
    if len(special) >= vocabulary:
        special = []
    ids = request.integers(vocabulary - len(special), *request.rows, length)
    for token in special:  # ascending: each step leaves a gap at one special id
        ids += ids >= token
    ends = lengths.unsqueeze(-1)
    eos = _token(places, "eos_token_id", vocabulary)
    pad = _token(places, "pad_token_id", vocabulary)
    sep = _token(places, "sep_token_id", vocabulary)
    if _ends_with_eos(request):
        if eos is not None and eos != pad:
            ids.scatter_(-1, ends - 1, eos)
    elif sep is not None and int(lengths.min()) >= _SHORTEST_PAIR:
        # A pair of sentences, `a </s> </s> b </s>`: Longformer's question answering refuses any other count.
        ids.scatter_(-1, torch.cat([ends // 2 - 1, ends // 2, ends - 1], dim=-1), sep)
    if pad is not None:
        ids.masked_fill_(positions_of(length) >= ends, pad)
    return ids


def _ends_with_eos(request: Request) -> bool:
    """Whether a sequence is expected to end with the eos token.

    BART-like classifiers pool at it and refuse a batch whose rows hold different numbers of it; CLIP-like text towers
    pool at the first one. For others it would be one more special token, and a decoder's prompt has none.
    """
    model_type = getattr(request.config, "model_type", "")
    return (
        bool(getattr(request.config, "is_encoder_decoder", False))
        or (request.takes("input_ids") and any(map(request.takes, MEDIA)))
        or str(model_type).endswith("_text_model")
    )


def _special_tokens(places: Sequence[object]) -> set[int]:
    found: set[int] = set()
    for config in places:
        for name, entry in vars(config).items():
            if _SPECIAL_TOKEN.search(name) or _PLACEHOLDER_TOKEN.search(name):
                entries = entry if isinstance(entry, list | tuple) else [entry]
                found.update(token for token in entries if isinstance(token, int))
    return found


def _token(places: Sequence[object], name: str, vocabulary: int) -> int | None:
    found = value(places, name)
    if isinstance(found, list | tuple):
        found = found[0] if found else None
    return found if isinstance(found, int) and 0 <= found < vocabulary else None
