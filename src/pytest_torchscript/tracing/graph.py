"""Graphs of two traces, compared node by node: the first difference is what Python baked in.

A graph-only trace is what the ONNX exporter of torch used: no script types are built, so it costs a quarter of
:func:`torch.jit.trace` and leaks nothing.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from .. import source
from ..subject.call import Call
from ..subject.outputs import clone, map_tensors, tensors
from .trace import quiet

__all__ = ["Conversion", "Difference", "Graph", "Node", "differences", "graph_of", "nodes_of"]


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
            line = source.innermost(source.parse_stack(raw.sourceRange()))
            uses = [use for value in raw.outputs() for use in value.uses()]
            if line is not None or not uses:
                return line
            raw = uses[0].user
        return None


@dataclass(frozen=True)
class Conversion:
    """A tensor that became a Python value while tracing: ``int(x.shape[1])``, ``if x.sum() > 0``, ``x.tolist()``.

    ``after`` is the number of the traced value that was converted, for ordering against the graph's nodes. ``origin`` is
    ``"size"`` or ``"value"``, by what it was computed from, None when from neither. ``thresholds`` are the constants it was
    compared with on the way, ``moduli`` those it was divided by: the numbers around which another branch may lie.
    """

    kind: str
    value: Any
    line: source.Line | None
    after: int
    origin: str | None = None
    thresholds: tuple[float, ...] = ()
    moduli: tuple[float, ...] = ()


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


def _value_number(value: Any) -> int:
    name = value.debugName().rsplit(".", 1)[-1]
    return int(name) if name.isdigit() else -1


def _constant(node: Any) -> str:
    """The value of a ``prim::Constant`` as text; a tensor's by shape and digest."""
    if "value" not in node.attributeNames():
        return "None"
    kind = node.kindOf("value")
    if kind == "t":
        tensor = node.t("value")
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
        return kind


def nodes_of(graph: Any) -> list[Node]:
    """The canonical nodes of an inlined ``torch._C.Graph``, blocks of control flow included."""
    numbers: dict[str, int | str] = {}

    def number(value: Any) -> int | str:
        return numbers.setdefault(value.debugName(), len(numbers))

    for value in graph.inputs():
        number(value)
    found: list[Node] = []

    def walk(block: Any) -> None:
        for node in block.nodes():
            outputs = list(node.outputs())
            if node.kind() == "prim::Constant":
                numbers[outputs[0].debugName()] = _constant(node)
                continue
            inputs = tuple(number(value) for value in node.inputs())
            for value in outputs:
                number(value)
            first = _value_number(outputs[0]) if outputs else -1
            found.append(Node(node.kind(), inputs, len(outputs), first, node))
            for inner in node.blocks():
                walk(inner)

    walk(graph)
    results = tuple(number(value) for value in graph.outputs())
    found.append(Node("prim::Return", results, 0, -1, graph.return_node()))
    return found


# What takes a value out of the graph, by the name of the method that Python calls.
_CONVERSIONS = {
    "__bool__": "bool",
    "__int__": "int",
    "__float__": "float",
    "__index__": "int",
    "__len__": "len",
    "__iter__": "iteration",
    "__array__": "numpy",
    "__contains__": "bool",
    "item": "number",
    "tolist": "list",
    "numpy": "numpy",
    "__complex__": "complex",
    "__format__": "text",
}


class _Conversions(TorchFunctionMode):
    """Notes every tensor that becomes a Python value."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Conversion] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        kind = _CONVERSIONS.get(name)
        if name == "__get__" and getattr(func, "__self__", None) is torch.Tensor.data:
            kind = "data"
        result = func(*args, **(kwargs or {}))
        if kind and args and isinstance(args[0], torch.Tensor):
            self._note(kind, args[0], result)
        return result

    def _note(self, kind: str, tensor: torch.Tensor, result: Any) -> None:
        value: Any = result
        if isinstance(value, torch.Tensor):
            value = "tensor"
        elif not isinstance(value, (bool, int, float, complex)):
            value = repr(value)[:80] if kind in ("list", "text") else type(value).__name__
        line = source.innermost(source.frames(sys._getframe(2)))
        after = -1
        origin: str | None = None
        thresholds: tuple[float, ...] = ()
        moduli: tuple[float, ...] = ()
        if torch._C._get_tracing_state() is not None and torch._C._is_tracing():
            traced = torch._C._get_value_trace(tensor)
            after = _value_number(traced)
            origin, thresholds, moduli = _origin(traced)
        self.found.append(Conversion(kind, value, line, after, origin, thresholds, moduli))


_COMPARISONS = {"aten::gt", "aten::ge", "aten::lt", "aten::le", "aten::eq", "aten::ne"}
_DIVISIONS = {"aten::remainder", "aten::fmod", "aten::floor_divide", "aten::div", "aten::mul"}


def _number_of(value: Any) -> float | None:
    node = value.node()
    if node.kind() != "prim::Constant" or "value" not in node.attributeNames():
        return None
    constant = value.toIValue()
    if isinstance(constant, torch.Tensor):
        if constant.numel() != 1 or constant.is_meta or constant.is_complex():
            return None
        constant = constant.item()
    return float(constant) if isinstance(constant, (int, float)) else None


def _origin(value: Any) -> tuple[str | None, tuple[float, ...], tuple[float, ...]]:
    """What a traced value was computed from, and the constants it met on the way."""
    thresholds: list[float] = []
    moduli: list[float] = []
    seen: set[str] = set()
    pending = [value]
    sized = valued = False
    while pending and len(seen) < 500:
        current = pending.pop()
        if current.debugName() in seen:
            continue
        seen.add(current.debugName())
        node = current.node()
        kind = node.kind()
        if kind == "aten::size":
            sized = True
            continue
        if kind == "prim::Param":
            valued = True
            continue
        inputs = list(node.inputs())
        if kind in _COMPARISONS or kind in _DIVISIONS:
            into = thresholds if kind in _COMPARISONS else moduli
            into.extend(number for number in map(_number_of, inputs[:2]) if number is not None)
        pending.extend(inputs)
    return ("value" if valued else "size" if sized else None), tuple(thresholds), tuple(moduli)


def graph_of(model: torch.nn.Module, call: Call, inputs: Mapping[str, Any] | None = None) -> Graph:
    """The canonical graph of ``model`` at ``inputs`` (default: the call's), with its conversions.

    Raises:
        Exception: whatever tracing raises.
    """
    chosen = clone(dict(call.inputs if inputs is None else inputs))
    paths = [path for path, _ in tensors(chosen)]
    flat = [tensor for _, tensor in tensors(chosen)]
    state = list({id(t): t for t in (*model.parameters(), *model.buffers())}.values())
    conversions = _Conversions()
    results: list[Any] = []

    def forward(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        remaining = iter(values[: len(paths)])
        rebuilt = map_tensors(lambda _: next(remaining), chosen)
        args, kwargs = call.arguments(rebuilt)
        with conversions:
            output = model(*args, **kwargs)
        results.append(output)
        found = [leaf for leaf in pytree.tree_leaves(_plain(output)) if isinstance(leaf, torch.Tensor)]
        return tuple(found)

    with quiet(), torch.no_grad():
        graph, _ = torch._C._create_graph_by_tracing(forward, tuple(flat + state), lambda _: "", True, False)
        torch._C._jit_pass_inline(graph)
        torch._C._jit_pass_dce(graph)
    return Graph(tuple(nodes_of(graph)), tuple(conversions.found), map_tensors(lambda t: t.detach(), results[0]), graph)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


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
