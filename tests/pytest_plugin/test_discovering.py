"""What the marker would make of a test that does not carry it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pytest_torchscript.pytest_plugin.discovering import candidates
from pytest_torchscript.spec import GateSpec
from pytest_torchscript.subject.observe import ObservedCall
from pytest_torchscript.targets import built_in


class Net(nn.Linear):
    pass


class Baked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(x.sum())


SKIP = dict.fromkeys(("shapes", "padding", "roundtrip", "weights", "purity", "device"), "time")


def found(*models: nn.Module, given: object = None, **options: object) -> list[dict[str, str]]:
    calls = [ObservedCall(model, (torch.ones(1, 2) if given is None else given,), {}) for model in models]
    spec = GateSpec(skip=SKIP, **options)  # type: ignore[arg-type]
    name_target = "target" in options
    return candidates(calls, spec, nodeid="test_it.py::test_it", root=".", targets=built_in(), name_target=name_target)


def test_each_observed_model_is_an_entry() -> None:
    """With its inputs and the verdict that a gate would give."""
    good, bad = found(Net(2, 2), Baked())
    assert good == {
        "nodeid": "test_it.py::test_it",
        "model": "Net",
        "inputs": "input float32 (1, 2)",
        "arguments": "",
        "verdict": "ok",
    }
    assert (bad["model"], bad["verdict"]) == ("Baked", "ValueSpecialised")


def test_a_call_without_a_tensor_could_carry_no_gate() -> None:
    """It is left out."""
    assert found(Net(2, 2), given=3) == []


def test_the_marker_has_to_name_what_only_an_option_names() -> None:
    """One target by its name, several as a list; the verdict says how far it was proved."""
    (one,) = found(Net(2, 2), target=("neuron",))
    assert (one["arguments"], one["verdict"]) == ("(target='neuron')", "ok (lint)")
    (several,) = found(Net(2, 2), target=("torchscript", "neuron"))
    assert several["arguments"] == "(target=['torchscript', 'neuron'])"
