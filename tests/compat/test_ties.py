"""Tied weights of real models through the round trip: which, whether they stay tied, and what that saves."""

from __future__ import annotations

import functools
import io
import re
import warnings
import zipfile
from typing import Any

import pytest
import torch
from torch import nn

from pytest_torchscript.result import CheckResult, Status
from pytest_torchscript.subject.families import family_of

from ..checks.alone import alone
from .models import TIED, build, causal_mask, token_ids


def inputs_of(name: str, model: nn.Module) -> dict[str, Any]:
    if name in ("gpt2", "llama"):
        # transformers 4.57 cannot trace the mask that it would build itself.
        return {"input_ids": token_ids(), "attention_mask": causal_mask()}
    return dict(family_of(model).synthesise(model, batch_size=2))


@functools.cache
def weights_of(name: str, **config: Any) -> tuple[nn.Module, CheckResult]:
    """The model and what the check says of it; the same pair for every test that asks."""
    model = build(name, **config)
    return model, alone("weights", model, inputs_of(name, model))


def bytes_of(model: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


@pytest.mark.parametrize("name", TIED)
def test_ties_are_found_and_survive_the_round_trip(name: str) -> None:
    """All names of the word embedding, the bytes of one, and that the loaded program has one still."""
    names, size = TIED[name]
    _, result = weights_of(name)
    assert result.status is Status.PASSED
    (tie,) = (tie for tie in result.metrics["tied"] if set(tie["names"]) & set(names))
    assert tie == {"names": names, "bytes": size, "kept": True}
    assert result.metrics["cloned_bytes"] == 0
    note = next(finding for finding in result.findings if finding.path == names[0])
    assert note.message.endswith(
        f"are tied, and stay so through save and load: {size} bytes once, {size * len(names)} if they were not"
    )


@pytest.mark.parametrize("name", TIED)
def test_the_size_of_the_saved_parameters_is_told(name: str) -> None:
    """With the ties, it is the model's own, each parameter counted once; without, one more for each further name."""
    model, result = weights_of(name)
    assert result.metrics["parameter_bytes"] == bytes_of(model)
    spared = sum(tie["bytes"] * (len(tie["names"]) - 1) for tie in result.metrics["tied"])
    assert result.metrics["parameter_bytes_untied"] == bytes_of(model) + spared


def test_the_file_lacks_what_a_tie_is_said_to_spare() -> None:
    """A file with the tie holds one word embedding less than one without."""

    def saved(model: nn.Module) -> int:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(model, (token_ids(),), check_trace=False), buffer)
        # Its tensors alone: the code beside them has names that torch numbers across the process.
        entries = zipfile.ZipFile(buffer).infolist()
        return sum(entry.file_size for entry in entries if re.search(r"/data/\d+$", entry.filename))

    tied, apart = build("bert", return_dict=False), build("bert", return_dict=False)
    head: Any = apart.get_submodule("cls.predictions.decoder")
    head.weight = nn.Parameter(head.weight.detach().clone())
    _, size = TIED["bert"]
    assert saved(apart) - saved(tied) == size


def test_a_config_that_ties_nothing_has_nothing_to_tell() -> None:
    """Word embedding and head are two weights, equal or not."""
    names, _ = TIED["bert"]
    _, result = weights_of("bert", tie_word_embeddings=False)
    assert not [tie for tie in result.metrics["tied"] if set(tie["names"]) & set(names)]
