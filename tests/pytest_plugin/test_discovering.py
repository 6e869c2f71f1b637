"""What the marker would make of a test that does not carry it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


LINE = next(number for number, line in enumerate(Path(__file__).read_text().splitlines(), 1) if "float(x.sum())" in line)


SKIP = dict.fromkeys(("shapes", "padding", "roundtrip", "weights", "purity", "device"), "time")


def found(*models: nn.Module, given: object = None, **options: object) -> list[dict[str, Any]]:
    calls = [ObservedCall(model, (torch.ones(1, 2) if given is None else given,), {}) for model in models]
    spec = GateSpec(skip=SKIP, **options)  # type: ignore[arg-type]
    name_target = "target" in options
    return candidates(calls, spec, nodeid="test_it.py::test_it", root=".", targets=built_in(), name_target=name_target)


def test_each_observed_model_is_an_entry() -> None:
    """With its inputs and the verdict that a gate would give."""
    good, bad = found(Net(2, 2), Baked())
    assert good.pop("seconds") > 0
    assert good == {
        "nodeid": "test_it.py::test_it",
        "model": "Net",
        "arguments": "",
        "verdict": "ok",
        "passes": True,
        "place": "",
    }
    assert (bad["model"], bad["verdict"], bad["passes"]) == ("Baked", "ValueSpecialised", False)
    assert bad["place"].endswith(f"test_discovering.py:{LINE}")


def test_a_call_without_a_tensor_could_carry_no_gate() -> None:
    """It is left out."""
    assert found(Net(2, 2), given=3) == []


def test_the_marker_has_to_name_what_only_an_option_names() -> None:
    """One target by its name, several as a list; the verdict says how far it was proved."""
    (one,) = found(Net(2, 2), target=("neuron",))
    assert (one["arguments"], one["verdict"], one["passes"]) == ("(target='neuron')", "ok (lint)", True)
    (several,) = found(Net(2, 2), target=("torchscript", "neuron"))
    assert several["arguments"] == "(target=['torchscript', 'neuron'])"
