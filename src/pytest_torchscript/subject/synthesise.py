"""Example inputs for a transformers model, made from its config and its forward signature.

Nothing here knows a model class. `RULES` has one small function for each forward argument that can be made, and each
reads the sizes it needs from the config, so a new architecture that keeps the usual argument and config names works
unseen.

transformers itself is never imported: a model of it can only exist where the user's process has already done so.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch

from pytest_torchscript.errors import SubjectError

__all__ = ["is_transformers_model", "max_length", "synthesise", "vocabulary_size"]

DEFAULT_SEQ_LEN: Final = 16
"""Long enough to hold padding, short enough to be quick; never 1, at which SDPA bakes `is_causal` into a trace."""

DEFAULT_IMAGE_SIZE: Final = 224
"""For convolutional models, which take any size and so name none: what nearly all image processors resize to."""

# Where each kind of input is described. Nested configs come first: what the outer one of several towers says belongs to
# none of them, and that of an encoder-decoder made of two whole models says nothing.
_TEXT_PARTS: Final = ("text_config", "text_encoder", "encoder")
_DECODER_PARTS: Final = ("decoder", "text_config", "decoder_config")
_VISION_PARTS: Final = ("vision_config", "image_config", "encoder", "backbone_config")
_AUDIO_PARTS: Final = ("audio_config", "speech_config", "audio_encoder", "encoder", "encoder_config")

# `max_source_positions` is not among them: wherever it is found it counts frames of sound.
_LENGTH_NAMES: Final = ("max_position_embeddings", "max_target_positions", "max_seq_len")

# A table of learned or sinusoidal positions for tokens. Tables of other things wear the same word: boxes (x, y, h, w,
# row, column), object queries, relative distances and, in the image or audio half of a model, patches and frames.
_POSITION_TABLE: Final = re.compile(r"(?:^|_)(?:wpe|pos|positions?)(?:_|$)")
_OTHER_TABLE: Final = re.compile(r"^(?:x|y|h|w|row|col\w*|query|rel\w*|entity)_|(?:^|_)(?:2d|ids)(?:_|$)")
_OTHER_PART: Final = re.compile(r"vision|visual|image|pixel|patch|audio|speech|video|qformer")

_SPECIAL_TOKEN: Final = re.compile(r"_token_(?:id|index)s?$")
_PLACEHOLDER_TOKEN: Final = re.compile(r"^(?:image|video|audio|speech)_token(?:_id|_index)?$")

_WAY_OUT: Final = "give inputs= or a torchscript_inputs fixture"

# Arguments that only a processor can fill, beside images that it has cut into patches or whose place it has marked.
_PROCESSOR_ARGUMENTS: Final = ("spatial_shapes", "pixel_position_ids", "tgt_sizes", "image_embeds_position_mask")

_MEDIA: Final = ("pixel_values", "pixel_values_videos", "input_values", "input_features")
_SUBJECT_MATTER: Final = ("input_ids", *_MEDIA)


def is_transformers_model(model: object) -> bool:
    """Whether `model` is a `transformers.PreTrainedModel`; False where transformers is not loaded."""
    # The class lives in `modeling_utils`; asking the lazy top module for it would import that, and much else, now.
    modeling_utils = sys.modules.get("transformers.modeling_utils")
    base = getattr(modeling_utils, "PreTrainedModel", None)
    return isinstance(base, type) and isinstance(model, base)


def vocabulary_size(model: torch.nn.Module) -> int | None:
    """How many token ids the model knows: every id in `[0, size)` is valid in each of its token inputs.

    Of two vocabularies (Marian may have one for each language) this is the smaller. None where the model takes no
    tokens, or is no transformers model.
    """
    if not is_transformers_model(model):
        return None
    facts = _Facts.of(model)
    return min((size for size in (facts.vocabulary, facts.decoder_vocabulary) if size), default=None)


def max_length(model: torch.nn.Module) -> int | None:
    """The largest sequence length the config allows, in tokens; None where there is no limit or none is known.

    Both halves of an encoder-decoder count, since its decoder input is made as long as the encoder's. RoBERTa and its
    kin number positions from `padding_idx + 1`, so the usable length is that much less than `max_position_embeddings`.
    Relative positions (T5, BLOOM) set no limit; rotary ones have the length that the config gives, and run beyond it.
    """
    if not is_transformers_model(model):
        return None
    return _longest(_Facts.of(model))


def synthesise(
    model: torch.nn.Module,
    *,
    batch_size: int | None = None,
    seq_len: int | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, torch.Tensor]:
    """Example inputs for a transformers model, by forward argument and in forward's order.

    Args:
        model: a `transformers.PreTrainedModel`, on any device, the meta device included. It is not called.
        batch_size: rows, 1 by default.
        seq_len: length of the token inputs, of the decoder's too, or, where the sequence is sound, of its time axis
            (samples or frames). By default 16, or what the config allows if that is less; for raw sound what gives 16
            frames, for spectrograms 64. Without meaning where no input has a free sequence axis (images,
            spectrograms of one fixed length).
        generator: the source of randomness. By default one with a fixed seed: the global one is never drawn from.

    Returns:
        Token inputs `(batch, seq)`, int64, on the device of the model's first floating-point parameter: `input_ids`,
        `attention_mask`, and where the model has them `token_type_ids`, `bbox` `(batch, seq, 4)` and the decoder's
        `decoder_input_ids` and `decoder_attention_mask`. Heads for multiple choice get two choices: `(batch, 2, seq)`.
        Float inputs also take that parameter's dtype: `pixel_values` `(batch, channels, height, width)`, or
        `(batch, frames, channels, height, width)` for video; `input_values` `(batch, samples)` or
        `(batch, frames, mel bins)`; `input_features` in the layout of the model.
        Each row but the first is really padded, at its end, with the padding token wherever the config names one.

    Raises:
        SubjectError: the model is not a transformers model; a forward argument that it needs cannot be made; `seq_len`
            is more than its absolute positions hold or less than its convolutions need; either size is less than 1.
    """
    name = type(model).__name__
    for label, size in (("batch_size", batch_size), ("seq_len", seq_len)):
        if size is not None and size < 1:
            raise SubjectError(f"{label} must be at least 1 to make inputs for {name}, not {size}")
    if not is_transformers_model(model):
        raise SubjectError(f"inputs can only be made for transformers models, which {name} is not: {_WAY_OUT}")
    facts = _Facts.of(model, batch_size=batch_size, seq_len=seq_len, generator=generator)
    _refuse_placeholders(facts)
    _refuse_too_long(facts)
    made = {argument: tensor for argument in facts.arguments if (tensor := facts.make(argument)) is not None}
    missing = [argument for argument in facts.needed if argument not in made]
    if missing or not any(argument in _SUBJECT_MATTER for argument in made):
        what = " and ".join(missing) or str(getattr(model, "main_input_name", "any input"))
        raise SubjectError(f"{what} of {name}.forward cannot be made from its {_kind(facts.config)}: {_WAY_OUT}")
    return {argument: tensor.to(facts.device) for argument, tensor in made.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Facts:
    """What the rules may ask: the model's config and signature, and the sizes that were asked for."""

    model: torch.nn.Module
    config: object
    parameters: Mapping[str, inspect.Parameter]
    batch: int
    asked_seq_len: int | None
    generator: torch.Generator

    @classmethod
    def of(
        cls,
        model: torch.nn.Module,
        *,
        batch_size: int | None = None,
        seq_len: int | None = None,
        generator: torch.Generator | None = None,
    ) -> _Facts:
        return cls(
            model=model,
            config=model.config,
            parameters=inspect.signature(model.forward).parameters,
            batch=batch_size or 1,
            asked_seq_len=seq_len,
            generator=generator if generator is not None else torch.Generator().manual_seed(0),
        )

    # ---- the signature

    @property
    def arguments(self) -> Iterator[str]:
        """Those that may be made, in forward's order."""
        return (name for name in self.parameters if name in RULES)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Those that must be made: without a default, or the one that the class names as its main input."""
        main = getattr(self.model, "main_input_name", None)
        return tuple(
            name
            for name, parameter in self.parameters.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            and (parameter.default is parameter.empty or (name == main and name in RULES))
        )

    def takes(self, name: str) -> bool:
        return name in self.parameters

    def make(self, name: str) -> torch.Tensor | None:
        return RULES[name](self)

    # ---- tokens

    @property
    def sequence_is_tokens(self) -> bool:
        """Whether it is tokens that `seq_len` counts, rather than samples of sound or nothing."""
        return self.takes("input_ids") or (self.takes("decoder_input_ids") and not (self.sound and self.sound.raw))

    @cached_property
    def sound(self) -> _Sound | None:
        return _sound(self)

    @cached_property
    def text(self) -> tuple[object, ...]:
        return _places(self.config, _TEXT_PARTS)

    @cached_property
    def decoder(self) -> tuple[object, ...]:
        return _places(self.config, _DECODER_PARTS)

    @cached_property
    def sequence_configs(self) -> tuple[object, ...]:
        """The config of each half that reads tokens, innermost only."""
        halves = [self.text] * self.takes("input_ids") + [self.decoder] * self.takes("decoder_input_ids")
        return tuple({id(places[0]): places[0] for places in halves}.values())

    @cached_property
    def vocabulary(self) -> int | None:
        if not self.takes("input_ids") or self.has_codebooks:
            return None
        # CANINE reads any Unicode code point and hashes it, so the bucket count is as good a range as any.
        return _size(self.text, "src_vocab_size", "vocab_size", "num_hash_buckets") or _embedding_rows(self.model)

    @cached_property
    def decoder_vocabulary(self) -> int | None:
        if not self.takes("decoder_input_ids") or self.has_codebooks:
            return None
        shared = bool(_value(self.decoder, "share_encoder_decoder_embeddings"))
        return _size(self.decoder, *(() if shared else ("decoder_vocab_size",)), "vocab_size") or self.vocabulary

    @property
    def has_codebooks(self) -> bool:
        """Whether tokens are codes of sound: several go to one position, and each model lays them out its own way."""
        return (_size((*self.text, *self.decoder), "num_codebooks", "n_codebooks") or 1) > 1

    @cached_property
    def seq_len(self) -> int:
        if self.asked_seq_len is not None:
            return self.asked_seq_len
        return min(DEFAULT_SEQ_LEN, _longest(self) or DEFAULT_SEQ_LEN)

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """The axes before the sequence. Only the class name tells a multiple-choice head from the others."""
        return (self.batch, 2) if type(self.model).__name__.endswith("ForMultipleChoice") else (self.batch,)

    # ---- drawing

    @cached_property
    def floats(self) -> tuple[torch.Tensor, ...]:
        tensors = itertools.chain(self.model.parameters(), self.model.buffers())
        # One-byte floats are storage for quantised weights; no model computes, or takes inputs, in them.
        return tuple(tensor for tensor in tensors if tensor.is_floating_point() and tensor.element_size() > 1)

    @property
    def dtype(self) -> torch.dtype:
        return self.floats[0].dtype if self.floats else torch.get_default_dtype()

    @property
    def device(self) -> torch.device:
        # Any of them on the meta device means all: wav2vec2's first parameter stays behind when it is built there.
        floats = sorted(self.floats, key=lambda tensor: not tensor.is_meta)
        return floats[0].device if floats else torch.get_default_device()

    # Everything is made on the CPU, by name and whatever the default device, and moved once, when all is done.

    def integers(self, below: int, *shape: int) -> torch.Tensor:
        return torch.randint(below, shape, generator=self.generator, device=self.generator.device).cpu()

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal values, which is what the processors' normalisation aims at, in the model's dtype."""
        # Drawn in float32 whatever the dtype, so that models of two dtypes see the same example.
        values = torch.randn(shape, generator=self.generator, device=self.generator.device, dtype=torch.float32)
        return values.to("cpu", self.dtype)

    def text_lengths(self) -> torch.Tensor:
        """How much of each row of `input_ids` is real: all, for a model that has no mask to say so with."""
        if self.takes("attention_mask"):
            return self.lengths(self.rows, self.seq_len)
        return torch.full(self.rows, self.seq_len, device="cpu")

    def lengths(self, rows: Sequence[int], length: int) -> torch.Tensor:
        """How much of each row is real: all of the first, less of those after it, at least one and about half."""
        step = max(1, length // 4)
        shortest = max(1, length // 2)
        real = [max(shortest, length - row * step) for row in range(math.prod(rows))]
        return torch.tensor(real, device="cpu").view(*rows)

    def mask(self, rows: Sequence[int], length: int) -> torch.Tensor:
        """1 at the real positions and 0 at the padding after them; int64, as tokenizers give it."""
        return (_positions(length) < self.lengths(rows, length).unsqueeze(-1)).long()


def _positions(length: int) -> torch.Tensor:
    return torch.arange(length, device="cpu")


# ---- the rules: one forward argument each; None where the model does not want it or the config does not say enough


def _input_ids(facts: _Facts) -> torch.Tensor | None:
    if facts.vocabulary is None:
        return None
    return _tokens(facts, facts.vocabulary, facts.text, facts.seq_len, facts.text_lengths())


def _attention_mask(facts: _Facts) -> torch.Tensor | None:
    if facts.takes("input_ids"):
        return facts.mask(facts.rows, facts.seq_len) if facts.vocabulary is not None else None
    return facts.mask((facts.batch,), facts.sound.length) if facts.sound is not None and facts.sound.masked else None


def _token_type_ids(facts: _Facts) -> torch.Tensor | None:
    types = _size(facts.text, "type_vocab_size")
    if not facts.takes("input_ids") or types in (None, 1):
        return None
    # Two segments of the real tokens, as for a pair of sentences; padding is of the first, as tokenizers leave it.
    ends = facts.text_lengths().unsqueeze(-1)
    positions = _positions(facts.seq_len)
    return ((positions > ends // 2) & (positions < ends)).long()


def _bbox(facts: _Facts) -> torch.Tensor | None:
    if not facts.takes("input_ids"):
        return None
    limit = min(1000, (_size(facts.text, "max_2d_position_embeddings") or 1001) - 1)
    corners = facts.integers(limit + 1, *facts.rows, facts.seq_len, 2, 2)
    boxes = corners.sort(dim=-2).values.flatten(-2)
    real = _positions(facts.seq_len) < facts.text_lengths().unsqueeze(-1)
    boxes = boxes * real.unsqueeze(-1)
    # BROS scales the box itself and UDOP clips it to the unit square: their processors divide by the page size first.
    if _value(facts.text, "bbox_scale") is not None or facts.takes("visual_bbox"):
        return (boxes / limit).to(facts.dtype)
    return boxes


def _visual_feats(facts: _Facts) -> torch.Tensor | None:
    features = _size((facts.config,), "visual_feat_dim")
    return facts.normal(facts.batch, _REGIONS, features) if features is not None else None


def _visual_pos(facts: _Facts) -> torch.Tensor | None:
    coordinates = _size((facts.config,), "visual_pos_dim")
    return facts.normal(facts.batch, _REGIONS, coordinates).sigmoid() if coordinates is not None else None


_REGIONS: Final = 4  # detected objects in an image of LXMERT; any number will do


def _decoder_input_ids(facts: _Facts) -> torch.Tensor | None:
    if facts.decoder_vocabulary is None:
        return None
    length = _decoder_length(facts)
    padded = facts.takes("decoder_attention_mask")
    lengths = facts.lengths(facts.rows, length) if padded else torch.full(facts.rows, length, device="cpu")
    ids = _tokens(facts, facts.decoder_vocabulary, facts.decoder, length, lengths)
    start = _value((facts.config, *facts.decoder), "decoder_start_token_id")
    if isinstance(start, int) and 0 <= start < facts.decoder_vocabulary:
        ids[..., 0] = start
    return ids


def _decoder_attention_mask(facts: _Facts) -> torch.Tensor | None:
    if facts.takes("decoder_input_ids"):
        return facts.mask(facts.rows, _decoder_length(facts)) if facts.decoder_vocabulary is not None else None
    return facts.mask((facts.batch,), facts.seq_len) if _decoder_input_values(facts) is not None else None


def _decoder_input_values(facts: _Facts) -> torch.Tensor | None:
    bins = _size((facts.config,), "num_mel_bins")
    return facts.normal(facts.batch, facts.seq_len, bins) if bins is not None else None


def _pixel_values(facts: _Facts) -> torch.Tensor | None:
    places = _places(facts.config, _VISION_PARTS)
    size = _image_size(places)
    if size is None:
        if "pixel_values" not in facts.needed:
            return None
        size = (DEFAULT_IMAGE_SIZE, DEFAULT_IMAGE_SIZE)
    channels = _size(places, "num_channels", "in_channels", "in_chans", "n_channels") or 3
    frames = _size(places, "num_frames")
    return facts.normal(facts.batch, *((frames,) if frames is not None else ()), channels, *size)


def _pixel_values_videos(facts: _Facts) -> torch.Tensor | None:
    places = _places(facts.config, _VISION_PARTS)
    size = _image_size(places)
    frames = _size(places, "frames_per_clip", "num_frames")
    if "pixel_values_videos" not in facts.needed or size is None or frames is None:
        return None
    channels = _size(places, "num_channels", "in_channels", "in_chans") or 3
    return facts.normal(facts.batch, frames, channels, *size)


def _input_values(facts: _Facts) -> torch.Tensor | None:
    return _sound_for(facts, "input_values")


def _input_features(facts: _Facts) -> torch.Tensor | None:
    return _sound_for(facts, "input_features")


RULES: Final[Mapping[str, Callable[[_Facts], torch.Tensor | None]]] = {
    "input_ids": _input_ids,
    "attention_mask": _attention_mask,
    "token_type_ids": _token_type_ids,
    "bbox": _bbox,
    "visual_feats": _visual_feats,
    "visual_pos": _visual_pos,
    "decoder_input_ids": _decoder_input_ids,
    "decoder_attention_mask": _decoder_attention_mask,
    "decoder_input_values": _decoder_input_values,
    "pixel_values": _pixel_values,
    "pixel_values_videos": _pixel_values_videos,
    "input_values": _input_values,
    "input_features": _input_features,
}


# ---- tokens


def _tokens(facts: _Facts, vocabulary: int, places: Sequence[object], length: int, lengths: torch.Tensor) -> torch.Tensor:
    """Random tokens, none of them special but those that give a row its form, padded beyond `lengths`."""
    special = sorted(token for token in _special_tokens((facts.config, *places)) if 0 <= token < vocabulary)
    if len(special) >= vocabulary:
        special = []
    ids = facts.integers(vocabulary - len(special), *facts.rows, length)
    for token in special:  # ascending: each step leaves a gap at one special id
        ids += ids >= token
    ends = lengths.unsqueeze(-1)
    eos = _token(places, "eos_token_id", vocabulary)
    pad = _token(places, "pad_token_id", vocabulary)
    sep = _token(places, "sep_token_id", vocabulary)
    if _ends_with_eos(facts):
        if eos is not None and eos != pad:
            ids.scatter_(-1, ends - 1, eos)
    elif sep is not None and int(lengths.min()) >= _SHORTEST_PAIR:
        # A pair of sentences, `a </s> </s> b </s>`: Longformer's question answering refuses any other count.
        ids.scatter_(-1, torch.cat([ends // 2 - 1, ends // 2, ends - 1], dim=-1), sep)
    if pad is not None:
        ids.masked_fill_(_positions(length) >= ends, pad)
    return ids


_SHORTEST_PAIR: Final = 5


def _ends_with_eos(facts: _Facts) -> bool:
    """Whether a sequence is expected to end with the eos token.

    BART-like classifiers pool at it and refuse a batch whose rows hold different numbers of it; CLIP-like text towers
    pool at the first one. For others it would be one more special token, and a decoder's prompt has none.
    """
    model_type = getattr(facts.config, "model_type", "")
    return (
        bool(getattr(facts.config, "is_encoder_decoder", False))
        or (facts.takes("input_ids") and any(facts.takes(media) for media in _MEDIA))
        or str(model_type).endswith("_text_model")
    )


def _special_tokens(places: Sequence[object]) -> set[int]:
    found: set[int] = set()
    for config in places:
        for name, value in vars(config).items():
            if _SPECIAL_TOKEN.search(name) or _PLACEHOLDER_TOKEN.search(name):
                values = value if isinstance(value, list | tuple) else [value]
                found.update(token for token in values if isinstance(token, int))
    return found


def _token(places: Sequence[object], name: str, vocabulary: int) -> int | None:
    value = _value(places, name)
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    return value if isinstance(value, int) and 0 <= value < vocabulary else None


def _refuse_placeholders(facts: _Facts) -> None:
    """Refuse models whose images or sound only their processor can cut up and place.

    It puts one placeholder token into the text for each feature, or says beside cut-out patches where they were. Most
    of these models would run on text alone, and a gate on that would pass without having seen half of the model.
    """
    media = [name for name in _MEDIA if facts.takes(name)]
    signs = [name for name in _PROCESSOR_ARGUMENTS if facts.takes(name)]
    if facts.takes("input_ids"):
        signs += [name for name in vars(facts.config) if _PLACEHOLDER_TOKEN.search(name)]
    if media and signs:
        what = f"{' and '.join(media)} of {type(facts.model).__name__}.forward"
        raise SubjectError(
            f"{what} cannot be made from its {_kind(facts.config)}, as only the model's processor knows what has to go "
            f"with them ({signs[0]}): {_WAY_OUT}"
        )


# ---- lengths


def _longest(facts: _Facts) -> int | None:
    if not facts.sequence_is_tokens:
        return None
    declared = [length for config in facts.sequence_configs if (length := _declared_length(config)) is not None]
    return min([*declared, *_position_tables(facts).values()], default=None)


def _declared_length(config: object) -> int | None:
    return min((size for name in _LENGTH_NAMES if (size := _size((config,), name)) is not None), default=None)


def _position_tables(facts: _Facts) -> dict[str, int]:
    """How many positions each table of absolute token positions in the model can serve, by its path."""
    tables = {}
    modules = dict(facts.model.named_modules())
    for path, module in modules.items():
        # Fixed sinusoids (GPT-J, CTRL) are buffers, or were plain attributes; a table that grows is called `weights`.
        for name, value in itertools.chain(module.named_buffers(recurse=False), vars(module).items()):
            if isinstance(value, torch.Tensor) and value.ndim == 2 and value.is_floating_point():
                tables[f"{path}.{name}".lstrip(".")] = value.size(0)
        weight = getattr(module, "weight", None)
        # An embedding has a padding_idx, one that is not torch's own too (I-BERT's). FSMT's grows with its input.
        if isinstance(weight, torch.Tensor) and hasattr(module, "padding_idx") and not hasattr(module, "make_weight"):
            tables[path] = weight.size(0) - _first_position(module, owner=modules[path.rpartition(".")[0]])
    return {path: size for path, size in tables.items() if _is_position_table(facts, path)}


def _is_position_table(facts: _Facts, path: str) -> bool:
    leaf = path.rpartition(".")[2]
    if _OTHER_PART.search(path) or (not facts.takes("input_ids") and "encoder" in path.split(".")):
        return False  # an encoder that is given no tokens counts patches or frames
    return bool(_POSITION_TABLE.search(leaf)) and not _OTHER_TABLE.search(leaf)


def _first_position(table: torch.nn.Module, owner: torch.nn.Module) -> int:
    """The row of the first token: RoBERTa and its kin count from `padding_idx + 1`, BART and OPT from an offset.

    Whoever counts from it keeps it: LXMERT gives its table a padding row, and yet uses that for the first token.
    """
    padding, offset = getattr(table, "padding_idx", None), getattr(table, "offset", 0)
    if isinstance(padding, int):
        counts = hasattr(owner, "padding_idx") or type(table).forward is not torch.nn.Embedding.forward
        return padding + 1 if counts else 0
    return offset if isinstance(offset, int) else 0


def _refuse_too_long(facts: _Facts) -> None:
    asked, longest, tables = facts.asked_seq_len, _longest(facts), _position_tables(facts)
    if asked is None or longest is None or asked <= longest or not tables:
        return
    raise SubjectError(
        f"seq_len {asked} is more than the {longest} positions that {type(facts.model).__name__} has "
        f"({min(tables, key=tables.__getitem__)}): ask for {longest} at most"
    )


# ---- sound


@dataclass(frozen=True, kw_only=True)
class _Sound:
    """One model's sound input: the argument, its axes after the batch axis, and which of those is time."""

    argument: str
    shape: tuple[int, ...]
    time: int = 0
    masked: bool = False
    raw: bool = False
    frames: int | None = None

    @property
    def length(self) -> int:
        return self.shape[self.time]


_HEARD: Final = ("input_values", "input_features")


def _sound(facts: _Facts) -> _Sound | None:
    places = _places(facts.config, _AUDIO_PARTS)
    if len(places) == 1 and facts.takes("input_ids") and not any(argument in facts.needed for argument in _HEARD):
        return None  # without a tower of its own the sound replaces the text (SeamlessM4T), it does not go with it
    for argument, names, describe in _SOUNDS:
        values = [_value(places, name) for name in names]
        if facts.takes(argument) and None not in values:
            return describe(facts, places, *values)
    return None


def _sound_for(facts: _Facts, argument: str) -> torch.Tensor | None:
    sound = facts.sound
    if sound is None or sound.argument != argument:
        return None
    values = facts.normal(facts.batch, *sound.shape)
    if sound.masked and not facts.takes("input_ids"):
        # Padding is silence: zeros, as the feature extractors write it.
        mask = facts.mask((facts.batch,), sound.length)
        values *= mask.view(facts.batch, sound.length, *(1 for _ in sound.shape[1:]))
    return values


def _waveform(facts: _Facts, places: Sequence[object], kernels: Sequence[int], strides: Sequence[int]) -> _Sound:
    def samples(frames: int) -> int:
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            frames = (frames - 1) * stride + kernel
        return frames

    def frames(samples: int) -> int:
        for kernel, stride in zip(kernels, strides, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    length = samples(DEFAULT_SEQ_LEN) if facts.asked_seq_len is None else facts.asked_seq_len
    if length < samples(1):
        raise SubjectError(
            f"seq_len {length} is too short for {type(facts.model).__name__}, whose convolutions need {samples(1)} "
            f"samples to give one frame: ask for {samples(1)} at least"
        )
    # Those normalised over groups were trained without a mask, and their processor gives none: `return_attention_mask`
    # in https://huggingface.co/docs/transformers/model_doc/wav2vec2
    masked = facts.takes("attention_mask") and _value(places, "feat_extract_norm") != "group"
    return _Sound(argument="input_values", shape=(length,), masked=masked, raw=True, frames=frames(length))


def _codec(facts: _Facts, places: Sequence[object], ratios: Sequence[int], _rate: int) -> _Sound:
    length = math.prod(ratios) * DEFAULT_SEQ_LEN if facts.asked_seq_len is None else facts.asked_seq_len
    return _Sound(argument="input_values", shape=(_size(places, "audio_channels") or 1, length), time=1, raw=True)


def _fixed_spectrogram(_facts: _Facts, _places: Sequence[object], length: int, bins: int, _stride: int) -> _Sound:
    return _Sound(argument="input_values", shape=(length, bins))


def _spectrogram_image(_facts: _Facts, _places: Sequence[object], side: int, bins: int) -> _Sound:
    # CLAP folds a long spectrogram into a square image of this side.
    return _Sound(argument="input_features", shape=(1, side * (side // bins), bins), time=1)


def _whisper_spectrogram(_facts: _Facts, _places: Sequence[object], positions: int, bins: int) -> _Sound:
    # The encoder has a position for each pair of frames, its second convolution having a stride of 2, and wants all.
    return _Sound(argument="input_features", shape=(bins, 2 * positions), time=1)


def _frames(facts: _Facts, _places: Sequence[object], *factors: int) -> _Sound:
    length = _DEFAULT_FRAMES if facts.asked_seq_len is None else facts.asked_seq_len
    return _Sound(argument="input_features", shape=(length, math.prod(factors)), masked=facts.takes("attention_mask"))


_DEFAULT_FRAMES: Final = 4 * DEFAULT_SEQ_LEN  # most encoders of frames first join four or so into one position

# The argument, the config entries that tell this layout from the others, and what makes it of them; the first wins.
_SOUNDS: Final[tuple[tuple[str, tuple[str, ...], Callable[..., _Sound]], ...]] = (
    ("input_values", ("conv_kernel", "conv_stride"), _waveform),
    ("input_values", ("upsampling_ratios", "sampling_rate"), _codec),
    ("input_values", ("max_length", "num_mel_bins", "time_stride"), _fixed_spectrogram),
    ("input_features", ("spec_size", "num_mel_bins"), _spectrogram_image),
    ("input_features", ("feature_projection_input_dim",), _frames),
    ("input_features", ("input_feat_per_channel", "input_channels"), _frames),
    ("input_features", ("max_source_positions", "num_mel_bins"), _whisper_spectrogram),
    ("input_features", ("num_mel_bins",), _frames),
)


def _decoder_length(facts: _Facts) -> int:
    """As long as the encoder's sequence, which for raw sound is its frames, not its samples."""
    if facts.takes("input_ids") or facts.sound is None or not facts.sound.raw:
        return facts.seq_len
    limits = [size for place in facts.decoder if (size := _declared_length(place)) is not None]
    return min([facts.sound.frames or DEFAULT_SEQ_LEN, *limits])


# ---- reading configs


def _places(config: object, parts: Sequence[str]) -> tuple[object, ...]:
    """The nested configs of these names, innermost meaning first, then the config itself."""
    nested = (getattr(config, part, None) for part in parts)
    return (*(place for place in nested if hasattr(place, "model_type")), config)


def _value(places: Sequence[object], name: str) -> Any:
    return next((value for place in places if (value := getattr(place, name, None)) is not None), None)


def _size(places: Sequence[object], *names: str) -> int | None:
    """The first of `names` that is a positive whole number; the place counts before the name."""
    for place, name in itertools.product(places, names):
        value = getattr(place, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _image_size(places: Sequence[object]) -> tuple[int, int] | None:
    for place, name in itertools.product(places, ("image_size", "crop_size", "input_size")):
        value = getattr(place, name, None)
        if isinstance(value, Mapping):
            value = (value.get("height"), value.get("width"))
        if isinstance(value, int):
            return value, value
        if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
            return value[0], value[1]
    return None


def _embedding_rows(model: torch.nn.Module) -> int | None:
    try:
        table = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None
    return table.num_embeddings if isinstance(table, torch.nn.Embedding) else None


def _kind(config: object) -> str:
    return type(config).__name__
