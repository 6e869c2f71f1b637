"""Graphs: making one, reading it, and the traced value of a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .declaring import private

__all__ = ["graph_by_tracing", "graph_under_way", "inline", "is_tracing", "parse_schema", "value_trace"]


def graph_by_tracing(function: Callable[..., Any], inputs: tuple[torch.Tensor, ...]) -> Any:
    """The graph of a function of tensors that returns tensors; whatever the function raises passes through."""
    graph, _ = torch._C._create_graph_by_tracing(function, inputs, lambda _: "", True, False)
    return graph


def _traced(function: Callable[[torch.Tensor], Any]) -> Any:
    return graph_by_tracing(function, (torch.ones(2, 3, device="cpu"),))


def _kinds(graph: Any) -> list[str]:
    return [node.kind() for node in graph.nodes()]


@private(
    "torch._C._create_graph_by_tracing",
    "compare the programs of two traces",
    "torch.jit.trace, which builds a class for each module: four times as dear, and never freed",
)
def _create_graph() -> bool:
    return _kinds(_traced(lambda x: x.relu())) == ["aten::relu"]


def inline(graph: Any) -> None:
    """Put the graphs of called functions in place of the calls, and drop what nothing reads."""
    torch._C._jit_pass_inline(graph)
    torch._C._jit_pass_dce(graph)


@private("torch._C._jit_pass_inline", "read the graphs of called functions", "inlined_graph, which a ScriptModule alone has")
def _inline() -> bool:
    graph = _traced(lambda x: x.relu())
    torch._C._jit_pass_inline(graph)
    return _kinds(graph) == ["aten::relu"]


@private("torch._C._jit_pass_dce", "leave out of a comparison what nothing reads", "none")
def _drop_dead_code() -> bool:
    graph = _traced(lambda x: (x.exp(), x.relu())[1])
    torch._C._jit_pass_dce(graph)
    return _kinds(graph) == ["aten::relu"]


@private("torch._C.Graph", "read a traced program: its operations, their operands and their source lines", "printed text")
def _read_graph() -> bool:
    graph = _traced(lambda x: x.reshape(3, 2) + 0.5)
    (returned,) = graph.outputs()
    node, kind = returned.node(), returned.type()
    operand, number, *_ = node.inputs()
    constant = number.node()
    return (
        isinstance(graph, torch._C.Graph)
        and next(iter(graph.inputs())).node().kind() == "prim::Param"
        and graph.return_node().kind() == "prim::Return"
        and [use.user.kind() for use in operand.uses()] == [node.kind()] == ["aten::add"]
        and (node.schema().partition(".")[0], list(node.blocks())) == ("aten::add", [])
        and __file__ in node.sourceRange()
        and returned.debugName() == next(iter(node.outputs())).debugName()
        and (kind.kind(), kind.dtype(), kind.dim()) == ("TensorType", torch.float32, 2)
        and (kind.sizes(), kind.strides()) == ([3, 2], [2, 1])
        and (constant.kind(), list(constant.attributeNames()), constant.kindOf("value")) == ("prim::Constant", ["value"], "t")
        and constant.t("value").item() == float(number.toIValue()) == 0.5
    )


def is_tracing() -> bool:
    """Whether torch traces in this thread: the public way, for the files that come before those that trace."""
    return bool(torch.jit.is_tracing())


def graph_under_way() -> Any:
    """The graph that torch records in this thread; None where it records none."""
    state = torch._C._get_tracing_state()
    return None if state is None else state.graph()


@private("torch._C._get_tracing_state", "read an operation that torch is going to refuse, before the graph is gone", "none")
def _find_graph() -> bool:
    seen: list[list[str]] = []

    def function(x: torch.Tensor) -> torch.Tensor:
        y = x.relu()
        seen.append(_kinds(graph_under_way()))
        return y

    _traced(function)
    return graph_under_way() is None and "aten::relu" in seen[0]


def value_trace(tensor: torch.Tensor) -> Any:
    """The value of the graph under way that a tensor stands for; a tensor that it does not know becomes a constant of it.

    An unknown tensor that requires grad must not be asked for: it can be no constant, and torch is left half-way.
    """
    return torch._C._get_value_trace(tensor)  # type: ignore[attr-defined]


@private("torch._C._get_value_trace", "tell what a number was computed from that left the graph", "none")
def _find_value() -> bool:
    seen: list[bool] = []

    def function(x: torch.Tensor) -> torch.Tensor:
        seen.append(value_trace(x).node().kind() == "prim::Param" and is_tracing())
        return x.relu()

    _traced(function)
    return seen == [True]


def parse_schema(text: str) -> Any:
    """The schema of an operation: its arguments and results, and which of them share memory."""
    return torch._C.parse_schema(text)


@private("torch._C.parse_schema", "tell which operations write into an input", "none", by="the neuron targets")
def _parse() -> bool:
    schema = parse_schema("aten::relu_(Tensor(a!) self) -> Tensor(a!)")
    (argument,), (result,) = schema.arguments, schema.returns
    info = argument.alias_info
    return bool(info.is_write and info.before_set & result.alias_info.before_set) and set(info.after_set) == {"a"}
