"""What is known of transformers models: limits, padding, the deployed call, the flag torchscript=True."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.subject.call import Call, bind
from pytest_torchscript.subject.families import Clones, family_of
from pytest_torchscript.subject.families import transformers as room
from pytest_torchscript.subject.state import ModelState

from .synthesis.architectures import build, transformers

IDS = torch.arange(1, 13).reshape(2, 6)


class Own(transformers.PreTrainedModel):  # type: ignore[misc, name-defined]
    """A model of the user's own on the library's base class."""

    config_class = transformers.PretrainedConfig

    def __init__(self) -> None:
        super().__init__(transformers.PretrainedConfig())
        self.linear = nn.Linear(4, 3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


class Open(Own):
    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        self.calls += 1
        return self.linear(x)


class Choosy(Own):
    """Takes keywords, and refuses one of them."""

    refusal: Callable[[], Exception] = staticmethod(lambda: TypeError("unexpected keyword argument 'return_dict'"))

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        self.calls += 1
        if "return_dict" in kwargs:
            raise self.refusal()
        return self.linear(x)


def deployed(model: nn.Module, *, try_it: bool = True, **inputs: Any) -> Call:
    call = bind(model, (), inputs or {"x": torch.ones(2, 4)})
    return family_of(model).as_deployed(model, call, ModelState(model).restore, try_it=try_it)


def test_transformers_models_are_known() -> None:
    """By their base class, not by having a config."""
    pretender: Any = nn.Linear(2, 2)
    pretender.config = transformers.BertConfig()
    assert family_of(build("BertModel")).library == "transformers"
    assert family_of(pretender).library == "torch"
    assert not family_of(build("BertModel")).owns(transformers.BertConfig())


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("RobertaForSequenceClassification", {"seq": 38, "decoder_seq": 38}),
        ("T5ForConditionalGeneration", {}),
    ],
)
def test_the_limits_are_those_of_the_positions(name: str, limits: dict[str, int]) -> None:
    """Encoder and decoder share one limit; without absolute positions there is none."""
    assert family_of(build(name)).limits(build(name)) == limits


def test_token_inputs_are_padded_with_the_padding_token_and_labels_with_what_losses_ignore() -> None:
    """By the end of the input's path; what is neither is not spoken of."""
    model = build("LlamaForCausalLM", pad_token_id=7)
    paths = ["input_ids", "decoder_input_ids", "pair.labels", "token_type_ids"]
    expected = {"input_ids": 7, "decoder_input_ids": 7, "pair.labels": -100}
    assert family_of(model).pad_values(model, paths) == expected
    without = build("LlamaForCausalLM", pad_token_id=None)
    assert family_of(without).pad_values(without, paths) == {"pair.labels": -100}


def test_the_config_fixes_the_size_of_images() -> None:
    """No other size is worth a probe."""
    assert family_of(build("ViTForImageClassification")).fixes_image_sizes(build("ViTForImageClassification"))


# The deployed call


def test_a_decoder_is_called_for_tuples_and_without_its_cache() -> None:
    """As the documentation says to trace it, through the call and not through the config."""
    model = build("LlamaForCausalLM")
    assert deployed(model, input_ids=IDS).constants == {"use_cache": False, "return_dict": False}
    assert model.config.use_cache


def test_the_empty_cache_of_a_first_step_is_none() -> None:
    """What ``generate`` hands to its first step was observed, and says nothing."""
    model = build("LlamaForCausalLM")
    call = deployed(model, input_ids=IDS, past_key_values=transformers.DynamicCache(), use_cache=True)
    assert call.constants == {"past_key_values": None, "use_cache": False, "return_dict": False}


def test_what_a_forward_does_not_take_is_not_given() -> None:
    """A model of one's own on the library's base class may know neither argument."""
    assert deployed(Own()).constants == {}
    assert deployed(Own(), try_it=False).constants == {}


def test_a_forward_that_takes_keywords_is_asked_by_a_run() -> None:
    """Decorators take return_dict off the keywords, which no signature shows; the run leaves no trace in the model."""
    model = Open()
    assert deployed(model).constants == {"return_dict": False}
    assert model.calls == 0


def test_a_forward_that_refuses_return_dict_does_not_get_it() -> None:
    """Its own words tell; a run that fails for another reason leaves that to the checks."""
    assert deployed(Choosy()).constants == {}
    for error in (ValueError("return_dict has nothing to do with it"), TypeError("nor has this")):
        other = Choosy()
        other.refusal = lambda error=error: error
        assert deployed(other).constants == {"return_dict": False}


def test_without_a_run_keywords_are_believed() -> None:
    """A model without weights is not called."""
    model = Choosy()
    assert deployed(model, try_it=False).constants == {"return_dict": False}
    assert model.calls == 0


def test_a_cache_behind_keywords_is_known_from_the_config() -> None:
    """A forward that passes its keywords on takes use_cache where the config has it on."""
    model = Open()
    for use_cache, constants in ((True, {"use_cache": False}), (False, {})):
        model.config.use_cache = use_cache
        assert deployed(model).constants == {**constants, "return_dict": False}
    plain = Own()
    plain.config.use_cache = True
    assert deployed(plain).constants == {}


def test_a_cache_in_the_signature_is_switched_off_whatever_the_config_says() -> None:
    """The forward has a default of its own."""

    class Cached(Own):
        def forward(self, x: Tensor, use_cache: bool = True) -> Any:
            return self.linear(x)

    assert deployed(Cached()).constants == {"use_cache": False}


# The flag


def flagged(*, apart: bool = True) -> Any:
    """A masked language model with the flag on, untied as transformers 4 does it."""
    model = build.__wrapped__("BertForMaskedLM", torchscript=True)  # one of its own, to be changed
    weight = model.get_input_embeddings().weight
    model.get_output_embeddings().weight = nn.Parameter(weight.detach().clone()) if apart else weight
    return model


NAMES = ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight")
SIZE = 99 * 16 * 4


def test_without_the_flag_there_is_none() -> None:
    """Nor where it is off."""
    assert family_of(build("BertModel")).flag(build("BertModel")) is None
    off = build("BertModel", torchscript=False)
    assert family_of(off).flag(off) is None


def test_a_flag_that_the_library_ignores_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """From transformers 5 on it clones nothing, whatever copies a user has made."""
    monkeypatch.setattr(room, "_major", lambda: 5)
    flag = family_of(flagged()).flag(flagged())
    assert flag is not None
    assert (flag.has_effect, flag.clones) == (False, ())
    assert [note.message.partition(":")[0] for note in flag.notes] == [
        "config.torchscript=True has no effect in transformers 5"
    ]


@pytest.mark.parametrize("wrap", [False, True])
def test_what_the_flag_has_cloned(monkeypatch: pytest.MonkeyPatch, wrap: bool) -> None:
    """Names, bytes and copies, under the full names where the model is within another."""
    monkeypatch.setattr(room, "_major", lambda: 4)
    model = nn.Sequential(flagged()) if wrap else flagged()
    names = tuple(f"0.{name}" if wrap else name for name in NAMES)
    flag = family_of(model).flag(model)
    assert flag is not None
    assert flag.has_effect
    assert flag.clones == (Clones(names, bytes=SIZE, copies=2),)
    (note,) = flag.notes
    assert note.path == names[0]
    assert note.message == (
        f"{names[0]} and {names[1]} are tied by the config but cloned by its torchscript=True: 2 equal copies, "
        f"{SIZE} bytes each, {SIZE} more than tied"
    )


def test_a_flag_with_nothing_to_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is still tied, or was never, has no copies to speak of."""
    monkeypatch.setattr(room, "_major", lambda: 4)
    tied = flagged(apart=False)
    flag = family_of(tied).flag(tied)
    assert flag is not None
    assert (flag.has_effect, flag.clones, flag.notes) == (True, (), ())
