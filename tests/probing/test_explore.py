"""How many forwards the probes of healthy models cost, and how what disagrees is taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import gate
from pytest_torchscript.probing.explore import explored
from pytest_torchscript.probing.explored import Explored
from pytest_torchscript.spec import GateSpec
from pytest_torchscript.tracing import execute
from pytest_torchscript.tracing.trace import trace

from ..checks.alone import cell_of


def found(model: nn.Module, inputs: Any, **arguments: Any) -> Explored:
    cell = cell_of(model, inputs, **arguments)
    return explored(cell, trace(cell.model, cell.call))


# What a healthy model costs


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.norm(self.conv(x)).relu().mean((2, 3)))
        return y


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lstm(x)[0]
        return y


def bert() -> tuple[nn.Module, Any]:
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=100)
    mask = torch.ones(2, 16, dtype=torch.long)
    mask[1, 11:] = 0
    return BertModel(config), {"input_ids": torch.randint(1, 100, (2, 16)), "attention_mask": mask}


def gpt2() -> tuple[nn.Module, Any]:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=100, bos_token_id=1, eos_token_id=1)
    return GPT2LMHeadModel(config), {"input_ids": torch.randint(1, 100, (2, 16))}


@contextmanager
def counted(model: nn.Module) -> Iterator[dict[str, int]]:
    """Count how often the model runs, traces included, and how often a program does."""
    counts = {"eager": 0, "traced": 0}
    forward, run = type(model).forward, execute.run

    def eager(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        counts["eager"] += self is model
        return forward(self, *args, **kwargs)

    def traced(*args: Any, **kwargs: Any) -> Any:
        counts["traced"] += 1
        return run(*args, **kwargs)

    with patch.object(type(model), "forward", eager), patch.object(execute, "run", traced):
        yield counts


@pytest.mark.parametrize(
    ("build", "eager", "traced"),
    [
        (bert, 12, 12),
        (lambda: (Convolutional(), (torch.randn(1, 3, 32, 32),)), 6, 6),
        (gpt2, 9, 9),
        (lambda: (Recurrent(), (torch.randn(2, 10, 8),)), 6, 6),
    ],
    ids=["bert with mask", "convolutions", "gpt-2", "lstm"],
)
def test_a_healthy_model_costs_few_forwards(build: Callable[[], tuple[nn.Module, Any]], eager: int, traced: int) -> None:
    """All checks of a gate together, traces included: a joint probe says of all dims and values what many single ones would."""
    torch.manual_seed(0)
    model, inputs = build()
    model.eval()
    subject = gate.Subject(model=model, call=gate.call_of(model, inputs))
    with counted(model) as counts:
        (cell,) = gate.judge(subject, GateSpec.merge(), id="counted").cells
    assert cell.verdict == "ok"
    assert 0 < counts["eager"] <= eager
    assert 0 < counts["traced"] <= traced


# How probes are put together, and taken apart


class Model(nn.Module):
    """A sum over the length, and what the sizes do beside it."""

    def __init__(self, what: str = "") -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        _, length, width = x.shape
        if self.what == "length":
            return x.sum(1) / int(length)
        if self.what == "both":
            # Refused for another length alone, wrong with another batch.
            return x.reshape(-1, int(length), width).amax(1).sum(0)
        return x.cumsum(1)


def test_all_dims_of_a_healthy_model_change_together() -> None:
    """Two probes say that the batch and the length may be larger and smaller."""
    result = found(Model(), (torch.randn(2, 6, 4),))
    assert [record.changed.split(";")[0] for record in result.records] == ["seq 13, batch 5", "seq 1, batch 1"] or len(
        result.records
    ) == 2
    assert {dim: result.state(dim) for dim in result.sizes} == {"batch": "dynamic", "seq": "dynamic"}
    assert (result.failing, result.together) == ((), ())


def test_what_disagrees_together_is_taken_apart() -> None:
    """The batch is not blamed for the length."""
    result = found(Model("length"), (torch.randn(2, 6, 4),))
    assert {dim: result.state(dim) for dim in result.sizes} == {"batch": "dynamic", "seq": "unsafe"}
    assert ("seq", 13) in result.inputs
    assert result.inputs["seq", 13]["x"].shape == (2, 13, 4)


def test_what_is_wrong_only_together_is_not_forgotten() -> None:
    """Each size alone is right or refused loudly; both at once are silently wrong."""
    result = found(Model("both"), (torch.randn(2, 5, 4),))
    assert result.together
    assert all(factor.probe.kind == "wrong" and set(factor.sizes) == {"batch", "seq"} for factor in result.together)
    assert result.state("seq") == "unsafe"


def test_sizes_are_left_out_where_the_check_is() -> None:
    """Values are tried all the same."""
    model, inputs = Model("length").eval(), (torch.randn(2, 6, 4),)
    cell = cell_of(model, inputs)
    result = explored(replace(cell, left_out=frozenset({"shapes"})), trace(cell.model, cell.call))
    assert all(not probes for probes in result.probes.values())
    assert result.equal == 2


def test_every_axis_and_every_probe_is_in_the_result() -> None:
    """No probe without its record, no axis without its entry."""
    result = found(Model("length"), (torch.randn(2, 6, 4),))
    assert set(result.axes["x"]) == {"0", "1", "2"}
    assert result.axes["x"]["1"].state == "unsafe"
    assert {record.check for record in result.records} == {"shapes"}
    assert len(result.records) >= sum(len(probes) for probes in result.probes.values())
