"""Graphs of two traces, compared node by node: the first difference is what Python baked in.

A graph-only trace is what the ONNX exporter of torch used: no script types are built, so it costs a quarter of
:func:`torch.jit.trace` and leaks nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import source
from ..nested import clone, map_tensors, tensors
from ..subject.call import Call
from . import private
from .conversions import Conversion, watching
from .execute import in_own_thread
from .nodes import constant_tensor, line_of, nodes_in, value_number
from .trace import quiet

__all__ = ["Difference", "Graph", "Node", "differences", "graph_of", "nodes_of"]


@dataclass(frozen=True)
class Node:
    """One operation in canonical form.

    ``inputs`` holds, for each operand, the number of the value (by first appearance) or the text of a constant. Constants
    are no nodes of their own: torch pools equal ones, so that a baked 2 may be the same node as any other 2.
    """

    kind: str
    inputs: tuple[int | str, ...]
    outputs: int
    first_value: int
    # torch writes the whole stack of a node out on request; only the guilty node is asked.
    raw: Any = field(repr=False, compare=False)

    def same(self, other: Node) -> bool:
        return (self.kind, self.inputs, self.outputs) == (other.kind, other.inputs, other.outputs)

    @property
    def line(self) -> source.Line | None:
        """The user's or library's line; for a list of operands, which has none, that of the operation it is for."""
        raw = self.raw
        for _ in range(4):
            line = line_of(raw)
            uses = [use for value in raw.outputs() for use in value.uses()]
            if line is not None or not uses:
                return line
            raw = uses[0].user
        return None


@dataclass(frozen=True)
class Graph:
    """A canonical graph with the conversions that happened while it was traced."""

    nodes: tuple[Node, ...]
    conversions: tuple[Conversion, ...] = ()
    outputs: Any = None
    # The nodes belong to torch's graph and must not outlive it.
    owner: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Difference:
    """The nodes at which two graphs part: an operand that is another constant, or another structure."""

    index: int
    left: Node | None
    right: Node | None

    @property
    def constants(self) -> tuple[str, str] | None:
        """The two constants, if the nodes differ in constants alone."""
        left, right = self.left, self.right
        if left is None or right is None or (left.kind, left.outputs) != (right.kind, right.outputs):
            return None
        if len(left.inputs) != len(right.inputs):
            return None
        pairs = [(a, b) for a, b in zip(left.inputs, right.inputs, strict=True) if a != b]
        if not pairs or not all(isinstance(a, str) and isinstance(b, str) for a, b in pairs):
            return None
        return str(pairs[0][0]), str(pairs[0][1])

    @property
    def node(self) -> Node:
        node = self.left or self.right
        assert node is not None
        return node


def _constant(node: Any) -> str:
    """The value of a ``prim::Constant`` as text; a tensor's by shape and digest."""
    if "value" not in node.attributeNames():
        return "None"
    tensor = constant_tensor(node)
    if tensor is not None:
        if tensor.is_meta:
            return f"tensor {tensor.dtype} {tuple(tensor.shape)}"
        if tensor.numel() == 1:
            return f"tensor {tensor.item()!r}"
        digest = hashlib.sha256(repr((tensor.dtype, tuple(tensor.shape))).encode())
        if not tensor.is_quantized and tensor.layout == torch.strided:
            contiguous = tensor.detach().cpu().contiguous()
            digest.update(contiguous.reshape(-1).view(torch.uint8).numpy().tobytes() if contiguous.numel() else b"")
        return f"tensor of shape {tuple(tensor.shape)} #{digest.hexdigest()[:8]}"
    try:
        return repr(node.output().toIValue())
    except RuntimeError:
        return str(node.kindOf("value"))


def nodes_of(graph: Any) -> list[Node]:
    """The canonical nodes of an inlined ``torch._C.Graph``, blocks of control flow included."""
    numbers: dict[str, int | str] = {}

    def number(value: Any) -> int | str:
        return numbers.setdefault(value.debugName(), len(numbers))

    for value in graph.inputs():
        number(value)
    found: list[Node] = []
    for node in nodes_in(graph):
        outputs = list(node.outputs())
        if node.kind() == "prim::Constant":
            numbers[outputs[0].debugName()] = _constant(node)
            continue
        inputs = tuple(number(value) for value in node.inputs())
        for value in outputs:
            number(value)
        first = value_number(outputs[0]) if outputs else -1
        found.append(Node(node.kind(), inputs, len(outputs), first, node))
    results = tuple(number(value) for value in graph.outputs())
    found.append(Node("prim::Return", results, 0, -1, graph.return_node()))
    return found


def graph_of(model: torch.nn.Module, call: Call, inputs: Mapping[str, Any] | None = None) -> Graph:
    """The canonical graph of ``model`` at ``inputs`` (default: the call's), with its conversions.

    Raises:
        Exception: whatever tracing raises.
    """
    chosen = clone(dict(call.inputs if inputs is None else inputs))
    paths = [path for path, _ in tensors(chosen)]
    flat = [tensor for _, tensor in tensors(chosen)]
    state = list({id(t): t for t in (*model.parameters(), *model.buffers())}.values())
    results: list[Any] = []

    def forward(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        remaining = iter(values[: len(paths)])
        rebuilt = map_tensors(lambda _: next(remaining), chosen)
        args, kwargs = call.arguments(rebuilt)
        output = model(*args, **kwargs)
        results.append(output)
        return tuple(tensor for _, tensor in tensors(output))

    with quiet(), watching() as conversions, torch.no_grad():
        graph = in_own_thread(lambda: private.graph_by_tracing(forward, tuple(flat + state)))
        private.inline(graph)
    return Graph(tuple(nodes_of(graph)), tuple(conversions), map_tensors(lambda t: t.detach(), results[0]), graph)


def differences(left: Graph, right: Graph, most: int = 4) -> list[Difference]:
    """The operands that are other constants, up to and including the first difference in structure, at most ``most``."""
    return list(_differences(left.nodes, right.nodes, most))


def _differences(left: tuple[Node, ...], right: tuple[Node, ...], most: int) -> Iterator[Difference]:
    count = 0
    for index in range(max(len(left), len(right))):
        mine = left[index] if index < len(left) else None
        theirs = right[index] if index < len(right) else None
        if mine is not None and theirs is not None and mine.same(theirs):
            continue
        difference = Difference(index, mine, theirs)
        yield difference
        count += 1
        if count == most or difference.constants is None:
            return
