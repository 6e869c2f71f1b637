"""An export leaves torch, the model and the process as they were."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from pytest_torchscript.result import Status, Verdict

from .cases import BranchesOnCount, BranchesOnSum, LongOnly, X, export


class Writes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.seen: list[Tensor] = []
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.linear(x)
        self.seen.append(self.last)
        return self.last


def test_the_model_is_as_before() -> None:
    """What the forward keeps while it is exported, fake tensors, does not stay."""
    model = Writes().train()
    attributes, state = dict(vars(model)), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert export(model, (X,)).status is Status.PASSED
    assert vars(model) == attributes
    assert (model.seen, model.last, model.training) == ([], None, True)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert "forward" not in vars(model)


@pytest.mark.parametrize(
    "model", [nn.Linear(4, 3), BranchesOnSum(), BranchesOnCount(), LongOnly()], ids=lambda m: type(m).__name__
)
def test_nothing_is_printed_logged_or_left_in_the_process(model: nn.Module, capfd: Any, caplog: Any) -> None:
    """Neither by an export that is refused nor by a program that refuses its inputs; torch is as it was."""
    import torch.export._trace
    import torch.fx.graph_module

    loggers = [logging.getLogger("torch.fx.experimental.symbolic_shapes"), logging.getLogger("torch"), logging.getLogger()]
    state = [(logger.level, list(logger.handlers), list(logger.filters)) for logger in loggers]
    located, rng, filters = ShapeEnv._get_sloc, torch.get_rng_state(), list(warnings.filters)
    sources = len(torch.fx.graph_module._loader.eval_cache)
    export(model, (X,))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert [(logger.level, list(logger.handlers), list(logger.filters)) for logger in loggers] == state
    assert ShapeEnv._get_sloc is located
    assert "print" not in vars(torch.export._trace)
    assert "print" not in vars(torch.fx.graph_module)
    assert len(torch.fx.graph_module._loader.eval_cache) == sources
    assert torch.equal(torch.get_rng_state(), rng)
    assert list(warnings.filters) == filters
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() is torch.float32


def test_a_users_compiled_function_is_not_compiled_again() -> None:
    """The compiler's caches are the user's."""
    compiled = []

    def backend(graph: torch.fx.GraphModule, _: list[Any]) -> Any:
        compiled.append(graph)
        return graph.forward

    function = torch.compile(lambda x: x * 2, backend=backend)
    function(X)
    export(nn.Linear(4, 3), (X,))
    function(X)
    assert len(compiled) == 1
    torch._dynamo.reset()


def test_nothing_is_exported_without_a_private_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is said by name: without it a line would be wrong, or the user's memory full."""

    monkeypatch.delattr("torch.fx.graph_module._loader")
    result = export(nn.Linear(4, 3), (X,))
    assert result.verdict is Verdict.UNAVAILABLE
    assert "lacks torch.fx.graph_module._loader, which the export target needs" in result.findings[0].message


def test_symbolic_sizes_are_let_go() -> None:
    """torch keeps an export's environment for good; its caches, most of it, are emptied."""
    import gc

    def environments() -> list[ShapeEnv]:
        gc.collect()
        # By class: isinstance asks, and wakes, whatever else lives in the process.
        return [entry for entry in gc.get_objects() if type(entry) is ShapeEnv]

    # Other tests, and whoever compiles in this process, have some of their own.
    others = environments()
    export(nn.Linear(4, 3), (X,))
    ours = [entry for entry in environments() if not any(entry is other for other in others)]
    assert not [environment for environment in ours if environment.fake_tensor_cache]
