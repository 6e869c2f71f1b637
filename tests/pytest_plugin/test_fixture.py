"""The fixture: gates and traces on explicit request."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import GateError, SubjectError
from pytest_torchscript.pytest_plugin.fixture import TorchScript


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout()

    def forward(self, x: Tensor, scale: int = 2) -> Tensor:
        out: Tensor = self.dropout(x) * scale
        return out


class Raising(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no such layer")


def fixture() -> TorchScript:
    keeper: Any = None
    item: Any = None
    return TorchScript(keeper, item)


def test_a_trace_is_made_in_eval_mode() -> None:
    """By the forward's names, with constants bound; the model's mode is put back."""
    model, x = Net().train(), torch.ones(1, 2)
    module = fixture().trace(model, {"x": x, "scale": 3})
    assert torch.equal(module(x), x * 3)
    assert model.training
    assert model.dropout.training


def test_what_torch_refuses_is_told_with_its_line() -> None:
    """The root cause and where it is."""
    with pytest.raises(GateError, match=r"Raising is untraceable: .*no such layer \(.*test_fixture\.py:\d+\)"):
        fixture().trace(Raising(), torch.ones(1, 2))


def test_what_is_no_model_is_refused() -> None:
    """A ScriptModule is one already."""
    with pytest.raises(SubjectError, match=r"must be an nn\.Module, not int"):
        fixture().trace(3, torch.ones(1, 2))  # type: ignore[arg-type]
