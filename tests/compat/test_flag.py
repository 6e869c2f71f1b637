"""The flag torchscript=True: honoured under transformers 4, told to be without effect under transformers 5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import gate
from pytest_torchscript.diagnosis.remedies import hint_for
from pytest_torchscript.result import CheckResult, Status
from pytest_torchscript.spec import GateSpec, parse_arguments

from ..checks.alone import ROOT, alone, cell
from .models import MAJOR, TIED, build, causal_mask, from_5, token_ids, transformers, until_4
from .test_ties import bytes_of, weights_of

# What the flag leaves of each model's ties: how many weights there are where one would do. T5, and Marian as it is
# built here, give one module to several places; BART has a module for each.
COPIES = {"bert": 2, "albert": 2, "gpt2": 2, "llama": 2, "t5": 2, "marian": 2, "bart": 4}


def about_flag(result: CheckResult) -> list[str]:
    return [finding.message for finding in result.findings if "torchscript=True" in finding.message]


@until_4
@pytest.mark.parametrize("name", COPIES)
def test_what_the_flag_cloned_is_told(name: str) -> None:
    """The names that the config ties, how many copies the flag made of them, the bytes of each, and the remedy."""
    names, size = TIED[name]
    model, result = weights_of(name, torchscript=True)
    assert result.status is Status.PASSED
    assert result.metrics["untied_by_flag"] == [{"names": names, "bytes": size, "copies": COPIES[name]}]
    (message,) = about_flag(result)
    more = size * (COPIES[name] - 1)
    assert message.startswith(", ".join(names[:-1]))
    assert message.endswith(f"{COPIES[name]} equal copies, {size} bytes each, {more} more than tied")
    note = next(finding for finding in result.findings if finding.message == message)
    assert note.hint is not None
    assert note.hint.startswith("drop the flag")
    assert bytes_of(model) == bytes_of(build(name)) + more


@until_4
@pytest.mark.parametrize("name", ["bert", "bart"])
def test_without_the_flag_nothing_is_told_of_it(name: str) -> None:
    """Ties that are kept are no clones."""
    _, result = weights_of(name)
    assert "untied_by_flag" not in result.metrics
    assert about_flag(result) == []


@until_4
@pytest.mark.parametrize(("name", "config"), [("encoder", {}), ("bert", {"tie_word_embeddings": False})])
def test_a_flag_with_nothing_to_clone_is_not_told(name: str, config: dict[str, Any]) -> None:
    """A model without a head, or whose config ties nothing, pays nothing."""
    result = alone("weights", build(name, torchscript=True, **config), {"input_ids": token_ids()})
    assert "untied_by_flag" not in result.metrics
    assert about_flag(result) == []


@until_4
def test_equal_weights_that_the_config_does_not_tie_are_not_the_flags_doing() -> None:
    """A checkpoint may hold the same values twice."""
    model: Any = build("bert", torchscript=True, tie_word_embeddings=False)
    with torch.no_grad():
        model.get_output_embeddings().weight.copy_(model.get_input_embeddings().weight)
    assert "untied_by_flag" not in alone("weights", model, {"input_ids": token_ids()}).metrics


@until_4
def test_weights_that_training_has_moved_apart_are_no_copies() -> None:
    """The flag untied them once; by now each is needed."""
    model: Any = build("bert", torchscript=True)
    with torch.no_grad():
        model.get_output_embeddings().weight.add_(0.1)
    assert "untied_by_flag" not in alone("weights", model, {"input_ids": token_ids()}).metrics


@until_4
def test_weights_of_one_value_are_no_copies_of_each_other() -> None:
    """A head's bias of zeros equals all other biases of its size."""
    names, _ = TIED["bert"]
    model = build("bert", torchscript=True, vocab_size=16)
    (entry,) = alone("weights", model, {"input_ids": token_ids() % 16}).metrics["untied_by_flag"]
    assert entry["names"] == names


@until_4
def test_a_model_that_declares_no_names_has_its_head_at_least() -> None:
    """A class of the user's own may leave out the list; transformers ties the head all the same."""
    names, _ = TIED["bert"]
    model: Any = build("bert", torchscript=True)
    model._tied_weights_keys = None
    (entry,) = alone("weights", model, {"input_ids": token_ids()}).metrics["untied_by_flag"]
    assert entry["names"] == names


@until_4
def test_ties_other_than_the_heads_are_told() -> None:
    """An encoder and a decoder without a head: their embeddings were tied to the shared one."""
    (entry,) = weights_of("halves", torchscript=True)[1].metrics["untied_by_flag"]
    assert entry["names"] == ["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
    assert entry["copies"] == 3


@until_4
def test_a_flagged_model_within_another_is_told_by_its_full_names() -> None:
    """A wrapper that picks the logits, as deployments write it; what is in it twice is told once."""

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = build("bert", torchscript=True)

        def forward(self, input_ids: Tensor) -> Tensor:
            logits: Tensor = self.inner(input_ids)[0]
            return logits

    names, size = TIED["bert"]
    (entry,) = alone("weights", Logits(), {"input_ids": token_ids()}).metrics["untied_by_flag"]
    assert entry == {"names": [f"inner.{name}" for name in names], "bytes": size, "copies": 2}


@until_4
def test_the_flag_gives_tuples_and_the_gate_passes_them() -> None:
    """The tuples come by themselves; that the gate asks for them too is no conflict."""
    model = build("bert", torchscript=True)
    assert isinstance(model(token_ids()), tuple)
    found = cell(model, {"input_ids": token_ids()})
    assert found.verdict == "ok"
    assert found.dims == {"batch": "dynamic", "seq": "dynamic"}


@until_4
def test_a_model_that_gives_no_tuples_for_the_flag_gives_them_to_the_gate() -> None:
    """LLaMA's decorator reads return_dict alone: the flag clones its ties and changes nothing else."""
    model = build("llama", torchscript=True)
    inputs = {"input_ids": token_ids(), "attention_mask": causal_mask()}
    assert not isinstance(model(**inputs, use_cache=False), tuple)
    result = alone("trace", model, inputs)
    assert result.status is Status.PASSED


@from_5
@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_the_flag_is_without_effect_and_that_is_told(name: str) -> None:
    """The attribute stays on the config, nothing reads it, ties are kept: one note says to drop it."""
    names, size = TIED[name]
    model, result = weights_of(name, torchscript=True)
    assert {"names": names, "bytes": size, "kept": True} in result.metrics["tied"]
    assert "untied_by_flag" not in result.metrics
    assert bytes_of(model) == bytes_of(build(name))
    (message,) = about_flag(result)
    assert "has no effect in transformers 5" in message
    note = next(finding for finding in result.findings if finding.message == message)
    assert note.hint is not None
    assert note.hint.startswith("drop the flag")


@from_5
def test_a_copy_made_by_hand_is_not_the_flags_doing() -> None:
    """Whoever unties a model under transformers 5 did it themselves, whatever the config says."""
    model: Any = build("bert", torchscript=True)
    head = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone())
    result = alone("weights", model, {"input_ids": token_ids()})
    assert "untied_by_flag" not in result.metrics
    assert len(about_flag(result)) == 1


@from_5
def test_without_the_flag_there_is_no_such_note() -> None:
    """Nor for a flag that is off."""
    assert about_flag(weights_of("bert")[1]) == []
    assert about_flag(weights_of("bert", torchscript=False)[1]) == []


@from_5
def test_the_flag_to_from_pretrained_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    """The words of transformers 5 are those that the remedy is looked up by."""
    model: Any = build("encoder")
    model.save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="torchscript") as caught:
        transformers.BertModel.from_pretrained(tmp_path, torchscript=True)
    assert hint_for(str(caught.value)) == "the torchscript flag belongs to the config, and is gone in transformers 5: drop it"


def test_a_flag_that_was_saved_with_the_model_is_seen(tmp_path: Path) -> None:
    """A config.json may hold the flag: it clones under transformers 4, and is told of under transformers 5."""
    model: Any = build("bert")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"torchscript": True}), encoding="utf-8")
    loaded = transformers.BertForMaskedLM.from_pretrained(tmp_path).eval()
    assert len(about_flag(alone("weights", loaded, {"input_ids": token_ids()}))) == 1


def test_the_note_is_in_the_report() -> None:
    """With inputs made from the config, at the marker's sizes: the gate passes under both versions, and tells."""
    spec = GateSpec.merge(parse_arguments((), {"seq_len": 8, "batch_size": 2}))
    found = gate.judge(gate.Subject(model=build("bert", torchscript=True)), spec, id="masked", root=str(ROOT)).to_json()
    assert found["outcome"] == "passed"
    (judged,) = found["cells"]
    weights = next(check for check in judged["checks"] if check["name"] == "weights")
    assert len([finding for finding in weights["findings"] if "torchscript=True" in finding["message"]]) == 1
    assert ("untied_by_flag" in json.loads(json.dumps(weights["metrics"]))) is (MAJOR < 5)
