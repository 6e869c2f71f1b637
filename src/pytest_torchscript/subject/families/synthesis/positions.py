"""Lengths: how many tokens a model can tell the positions of, and how many it is given."""

from __future__ import annotations

import itertools
import re
from typing import Final

import torch

from ....errors import SubjectError
from .configs import size
from .request import DEFAULT_SEQ_LEN, Request
from .sound import sound_of

__all__ = ["decoder_length", "longest", "refuse_too_long", "token_length"]

# `max_source_positions` is not among them: wherever it is found it counts frames of sound.
_LENGTH_NAMES: Final = ("max_position_embeddings", "max_target_positions", "max_seq_len")

# A table of learned or sinusoidal positions for tokens. Tables of other things have the same word in their names: boxes
# (x, y, h, w, row, column), object queries, relative distances and, in the image or audio half of a model, patches and
# frames.
_POSITION_TABLE: Final = re.compile(r"(?:^|_)(?:wpe|pos|positions?)(?:_|$)")
_OTHER_TABLE: Final = re.compile(r"^(?:x|y|h|w|row|col\w*|query|rel\w*|entity)_|(?:^|_)(?:2d|ids)(?:_|$)")
_OTHER_PART: Final = re.compile(r"vision|visual|image|pixel|patch|audio|speech|video|qformer")


def longest(request: Request) -> int | None:
    """The largest sequence length the config allows, in tokens; None where there is no limit or none is known.

    Both halves of an encoder-decoder count, since its decoder input is made as long as the encoder's. RoBERTa and its
    kin number positions from `padding_idx + 1`, so the usable length is that much less than `max_position_embeddings`.
    Relative positions (T5, BLOOM) set no limit; rotary ones have the length that the config gives, and run beyond it.
    """
    if not _sequence_is_tokens(request):
        return None
    declared = [length for config in _configs(request) if (length := _declared_length(config)) is not None]
    return min([*declared, *_position_tables(request).values()], default=None)


def token_length(request: Request) -> int:
    """The length of the token inputs: as asked, else the default or what the model allows if that is less."""
    if request.asked_seq_len is not None:
        return request.asked_seq_len
    return min(DEFAULT_SEQ_LEN, longest(request) or DEFAULT_SEQ_LEN)


def decoder_length(request: Request) -> int:
    """As long as the encoder's sequence, which for raw sound is its frames, not its samples."""
    sound = sound_of(request)
    if request.takes("input_ids") or sound is None or not sound.raw:
        return request.seq_len
    limits = [size for place in request.decoder if (size := _declared_length(place)) is not None]
    return min([sound.frames or DEFAULT_SEQ_LEN, *limits])


def refuse_too_long(request: Request) -> None:
    """Raise :class:`SubjectError` for a length beyond a table of absolute positions, where eager would fail."""
    asked, limit, tables = request.asked_seq_len, longest(request), _position_tables(request)
    if asked is None or limit is None or asked <= limit or not tables:
        return
    raise SubjectError(
        f"seq_len {asked} is more than the {limit} positions that {request.name} has "
        f"({min(tables, key=tables.__getitem__)}): ask for {limit} at most"
    )


def _sequence_is_tokens(request: Request) -> bool:
    """Whether it is tokens that `seq_len` counts, rather than samples of sound or nothing."""
    if request.takes("input_ids") or not request.takes("decoder_input_ids"):
        return request.takes("input_ids")
    sound = sound_of(request)
    return sound is None or not sound.raw


def _configs(request: Request) -> tuple[object, ...]:
    """The config of each half that reads tokens, innermost only."""
    halves = [request.text] * request.takes("input_ids") + [request.decoder] * request.takes("decoder_input_ids")
    return tuple({id(places[0]): places[0] for places in halves}.values())


def _declared_length(config: object) -> int | None:
    return min((length for name in _LENGTH_NAMES if (length := size((config,), name)) is not None), default=None)


def _position_tables(request: Request) -> dict[str, int]:
    """How many positions each table of absolute token positions in the model can serve, by its path."""
    tables = {}
    modules = dict(request.model.named_modules())
    for path, module in modules.items():
        # Fixed sinusoids (GPT-J, CTRL) are buffers, or were plain attributes; a table that grows is called `weights`.
        for name, value in itertools.chain(module.named_buffers(recurse=False), vars(module).items()):
            if isinstance(value, torch.Tensor) and value.ndim == 2 and value.is_floating_point():
                tables[f"{path}.{name}".lstrip(".")] = value.size(0)
        weight = getattr(module, "weight", None)
        # An embedding has a padding_idx, one that is not torch's own too (I-BERT's). FSMT's grows with its input.
        if isinstance(weight, torch.Tensor) and hasattr(module, "padding_idx") and not hasattr(module, "make_weight"):
            tables[path] = weight.size(0) - _first_position(module, owner=modules[path.rpartition(".")[0]])
    return {path: size for path, size in tables.items() if _is_position_table(request, path)}


def _is_position_table(request: Request, path: str) -> bool:
    leaf = path.rpartition(".")[2]
    if _OTHER_PART.search(path) or (not request.takes("input_ids") and "encoder" in path.split(".")):
        return False  # an encoder that is given no tokens counts patches or frames
    return bool(_POSITION_TABLE.search(leaf)) and not _OTHER_TABLE.search(leaf)


def _first_position(table: torch.nn.Module, owner: torch.nn.Module) -> int:
    """The row of the first token: RoBERTa and its kin count from `padding_idx + 1`, BART and OPT from an offset.

    The module that counts from the padding row keeps its number: LXMERT gives its table a padding row, and yet uses that
    for the first token.
    """
    padding, offset = getattr(table, "padding_idx", None), getattr(table, "offset", 0)
    if isinstance(padding, int):
        counts = hasattr(owner, "padding_idx") or type(table).forward is not torch.nn.Embedding.forward
        return padding + 1 if counts else 0
    return offset if isinstance(offset, int) else 0
