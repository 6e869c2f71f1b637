"""The operations of a trace that torch refuses after the forward has returned: torch gives no graph of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from .. import source
from ..subject.call import Call
from . import private
from .graph import graph_of

__all__ = ["RefusedNode", "nodes_before_refusal"]


@dataclass(frozen=True)
class RefusedNode:
    """One operation as it was recorded: its kind, the TorchScript types of its operands, the user's line."""

    kind: str
    types: tuple[str, ...]
    line: source.Line | None


class _Reading(torch.nn.Module):
    """The model, with its graph read at the end of the forward: once torch has refused the graph, it is gone."""

    def __init__(self, model: torch.nn.Module, kind: str, found: list[RefusedNode]) -> None:
        super().__init__()
        self.model = model
        self.kind = kind
        self.found = found

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.model(*args, **kwargs)
        graph = private.graph_under_way()
        self.found += [] if graph is None else [_read(node) for node in graph.nodes() if node.kind() == self.kind]
        return output


def _read(node: Any) -> RefusedNode:
    line = source.innermost(source.parse_stack(node.sourceRange()))
    return RefusedNode(node.kind(), tuple(_type(value.type()) for value in node.inputs()), line)


def _type(kind: Any) -> str:
    # While tracing, a tensor's type has its dtype and sizes too; torch's errors say ``Tensor``.
    return "Tensor" if kind.kind() == "TensorType" else str(kind.str())


def nodes_before_refusal(model: torch.nn.Module, call: Call, kind: str) -> list[RefusedNode]:
    """The operations of one kind, ``aten::scatter``, that the model records at the call's inputs, in their order."""
    found: list[RefusedNode] = []
    with contextlib.suppress(Exception):
        graph_of(_Reading(model, kind, found), call)
    return found
