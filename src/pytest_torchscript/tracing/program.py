"""A traced program, read: its operations, what they read and give, and the line of source that each comes from.

The other files of this folder walk torch's graphs by the functions here; all other folders see :class:`Program`,
:class:`Operation` and :class:`Value`, or ask one of the questions. Nodes die with their graph, and a ScriptModule makes its
graph anew with each look: what is handed out keeps it.
"""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import source
from ..nested import join
from . import private

__all__ = [
    "Constant",
    "Effect",
    "Operation",
    "Pin",
    "Program",
    "Value",
    "constants",
    "device_pins",
    "operations",
    "produced_at",
    "python_operations",
    "writes_into_constants",
]

# Torch's own graphs, for this folder


def nodes_in(block: Any) -> Iterator[Any]:
    """Every node in order, those of branches and loops in scripted parts included."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from nodes_in(inner)


def line_of(node: Any) -> source.Line | None:
    """The user's or library's line of a node. It is dear: torch writes the whole stack out."""
    return source.innermost(source.parse_stack(node.sourceRange()))


def constant_tensor(node: Any) -> torch.Tensor | None:
    """The tensor of a ``prim::Constant``."""
    if node.kind() != "prim::Constant" or "value" not in node.attributeNames() or node.kindOf("value") != "t":
        return None
    tensor: torch.Tensor = node.t("value")
    return tensor


def value_number(value: Any) -> int:
    """The number torch gave a traced value; it grows in the order of tracing. -1 for a value with a name."""
    name = value.debugName().rsplit(".", 1)[-1]
    return int(name) if name.isdigit() else -1


# Operations whose result is, or shares the memory of, their first argument.
_ALIASES = ("aten::lift_fresh", "aten::detach", "aten::alias", "aten::view", "aten::slice", "aten::select", "aten::to")


def origin_of(value: Any) -> Any:
    """The traced value that ``value`` is another name, or a view, of."""
    while value.node().kind() in _ALIASES:
        value = next(iter(value.node().inputs()))
    return value


# Operations whose result has a shape that values decide.
_SELECTIONS = re.compile(r"aten::(nonzero(_numpy)?|argwhere|masked_select|bincount|_?unique\w*)")
_MASKS = (torch.bool, torch.uint8)
_NEAR = 50


def _selects(node: Any) -> bool:
    inputs = list(node.inputs())
    if node.kind() in ("aten::index", "aten::_unsafe_index"):
        return any(
            index.type().kind() == "TensorType" and index.type().dtype() in _MASKS for index in inputs[1].node().inputs()
        )
    return bool(_SELECTIONS.fullmatch(node.kind())) or (node.kind() == "aten::where" and len(inputs) == 1)


def shaped_by_values(value: Any) -> bool:
    """Whether the shape of a traced tensor comes from values, as that of ``x.nonzero()`` does.

    The nearest operations are looked at: code reads the size of a selection soon after it has selected.
    """
    seen: set[str] = set()
    pending = collections.deque([value])
    while pending and len(seen) < _NEAR:
        value = pending.popleft()
        if value.debugName() not in seen:
            seen.add(value.debugName())
            if _selects(value.node()):
                return True
            pending.extend(value.node().inputs())
    return False


def returned_by(graph: Any) -> list[Any]:
    """The values of the output leaves, in order."""

    def leaves(value: Any) -> Iterator[Any]:
        node = value.node()
        kind, inputs = node.kind(), list(node.inputs())
        if kind not in ("prim::TupleConstruct", "prim::ListConstruct", "prim::DictConstruct"):
            yield value
            return
        for entry in inputs[1::2] if kind == "prim::DictConstruct" else inputs:
            yield from leaves(entry)

    return [leaf for output in graph.outputs() for leaf in leaves(output)]


def _graph_of(program: Any) -> Any:
    """torch's graph of a ScriptModule, of a canonical graph of ours, or the graph itself."""
    if isinstance(program, torch.jit.ScriptModule):
        return program.inlined_graph
    return getattr(program, "owner", program)


# What the other folders see


@dataclass(frozen=True, eq=False)
class Value:
    """What an operation reads or gives. Two are the same value of a program if they have the same ``name``."""

    _raw: Any = field(repr=False)
    _graph: Any = field(repr=False)

    @property
    def name(self) -> str:
        return str(self._raw.debugName())

    @property
    def made_by(self) -> Operation:
        """The operation that gives it: ``prim::Param`` for an input, ``prim::GetAttr`` for a weight."""
        return Operation(self._raw.node(), self._graph)

    @property
    def read_by(self) -> list[Operation]:
        return [Operation(use.user, self._graph) for use in self._raw.uses()]

    @property
    def is_none(self) -> bool:
        return bool(self._raw.type().kind() == "NoneType")

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype that a tensor had when traced; None for what is no tensor, or unknown."""
        dtype: torch.dtype | None = self._typed("dtype")
        return dtype

    @property
    def ndim(self) -> int | None:
        """The number of axes of a tensor when traced; None as for ``dtype``."""
        ndim: int | None = self._typed("dim")
        return ndim

    @property
    def shape(self) -> list[int] | None:
        """The sizes of a tensor when traced; None as for ``dtype``."""
        shape: list[int] | None = self._typed("sizes")
        return shape

    @property
    def strides(self) -> list[int] | None:
        """The strides of a tensor when traced; None as for ``dtype``."""
        strides: list[int] | None = self._typed("strides")
        return strides

    def _typed(self, what: str) -> Any:
        kind = self._raw.type()
        return getattr(kind, what)() if kind.kind() == "TensorType" else None

    @property
    def constant(self) -> Any:
        """The number, text, list or tensor that it is in every run; None for what is computed or given."""
        return self._raw.toIValue()

    @property
    def attribute(self) -> str | None:
        """The name of a parameter or buffer in the module, as ``head.scale``; None for anything else."""
        names, node = [], self._raw.node()
        while node.kind() == "prim::GetAttr":
            names.append(node.s("name"))
            node = next(iter(node.inputs())).node()
        return ".".join(reversed(names)) or None


@dataclass(frozen=True)
class Effect:
    """What an operation does to the memory of an operand: whether it writes into it, and which results may share it."""

    operand: Value
    writes: bool
    shared_by: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Operation:
    """One node of a program, as ``aten::add``."""

    _raw: Any = field(repr=False)
    _graph: Any = field(repr=False)

    @property
    def kind(self) -> str:
        return str(self._raw.kind())

    @property
    def name(self) -> str:
        """As users write it: ``nonzero``."""
        return self.kind.rpartition("::")[2].removeprefix("_")

    @property
    def inputs(self) -> list[Value]:
        return [Value(value, self._graph) for value in self._raw.inputs()]

    @property
    def outputs(self) -> list[Value]:
        return [Value(value, self._graph) for value in self._raw.outputs()]

    @property
    def line(self) -> source.Line | None:
        """The user's or library's line. It is dear: torch writes the whole stack out."""
        return line_of(self._raw)

    def effects(self) -> Iterator[Effect]:
        """By the operation's schema; nothing for an operation that is no tensor operation.

        Raises:
            Unavailable: this torch does not tell.
        """
        private.require("torch._C.parse_schema")
        text = self._raw.schema()
        if not text.startswith("aten::"):
            return
        schema = private.parse_schema(text)
        for argument, operand in zip(schema.arguments, self.inputs, strict=False):
            alias = argument.alias_info
            if alias is None:
                continue
            # A list of views carries no set of its own; its operand is marked (a -> *) instead.
            shared = tuple(
                value
                for result, value in zip(schema.returns, self.outputs, strict=False)
                if "*" in alias.after_set or (result.alias_info and alias.before_set & result.alias_info.before_set)
            )
            yield Effect(operand, bool(alias.is_write), shared)


class Program:
    """The operations of a traced program, and what is known of their values.

    ``inputs`` are the values of the model's inputs by path, ``outputs`` those of the output leaves in order.
    """

    def __init__(self, program: Any, paths: Mapping[str, Any]) -> None:
        """Read a ScriptModule, or a canonical graph of ours, of a model that takes the inputs ``paths``, nested as they are."""
        self._module = program if isinstance(program, torch.jit.ScriptModule) else None
        graph = _graph_of(program)
        given = [Value(value, graph) for value in graph.inputs()]
        # A module is the first input of its own graph; a graph of ours takes the tensors one by one.
        named = zip(paths, given[1:] if self._module is not None else given, strict=False)
        self.inputs = {path: leaf for name, value in named for path, leaf in _unpacked(value, name)}
        self.operations = [Operation(node, graph) for node in nodes_in(graph)]
        self.outputs = [Value(value, graph) for value in returned_by(graph)]

    def tensor(self, value: Value) -> torch.Tensor | None:
        """The tensor that a value is in every run: a constant, a parameter or a buffer."""
        found = self._module if value.attribute else value.constant
        for name in (value.attribute or "").split(".") if value.attribute else ():
            found = getattr(found, name, None)
        return found if isinstance(found, torch.Tensor) else None

    def dtype(self, value: Value) -> torch.dtype | None:
        """The dtype that a value has; None for what is no tensor, or unknown."""
        if value.dtype is not None:
            return value.dtype
        tensor = self.tensor(value)
        return None if tensor is None else tensor.dtype

    def is_scalar(self, value: Value) -> bool:
        """Whether a tensor has no axes, as the numbers have that Python code computes with."""
        tensor = self.tensor(value)
        return (tensor.ndim if tensor is not None else value.ndim) == 0


def _unpacked(value: Value, path: str) -> Iterator[tuple[str, Value]]:
    """The leaves of an input that is a tuple, as far as the program takes it apart."""
    unpacking = [reader for reader in value.read_by if reader.kind == "prim::TupleUnpack"]
    if not unpacking:
        yield path, value
    for operation in unpacking[:1]:
        for index, leaf in enumerate(operation.outputs):
            yield from _unpacked(leaf, join(path, index))


# Questions


def operations(program: Any) -> Iterator[Operation]:
    """Every operation of a ScriptModule or a graph, in order, those of branches and loops included."""
    graph = _graph_of(program)
    return (Operation(node, graph) for node in nodes_in(graph))


def produced_at(module: Any, index: int, count: int) -> source.Line | None:
    """The line that computes the output leaf ``index`` of ``count``; None where the program has another number of leaves."""
    graph = _graph_of(module)
    values = returned_by(graph)
    return line_of(values[index].node()) if len(values) == count else None


def writes_into_constants(module: Any) -> Iterator[source.Line]:
    """Where the program writes into one of its own constants: made once while tracing, changed by every run."""
    graph = _graph_of(module)
    for node in nodes_in(graph):
        kind = node.kind()
        # Operators of Python end in two underscores, aten::__and__, and write nowhere.
        if not kind.endswith("_") or kind.endswith("__"):
            continue
        if origin_of(next(iter(node.inputs()))).node().kind() == "prim::Constant" and (line := line_of(node)) is not None:
            yield line


def python_operations(module: Any) -> Iterator[source.Line]:
    """Lines whose operation is Python code, which no file can hold."""
    lines = (operation.line for operation in operations(module) if operation.kind == "prim::PythonOp")
    return (line for line in lines if line is not None)


@dataclass(frozen=True)
class _Placed:
    _raw: Any = field(repr=False, compare=False)
    _graph: Any = field(repr=False, compare=False)

    @functools.cached_property
    def line(self) -> source.Line | None:
        """Where it comes from; looked up when asked for, which is dear."""
        return line_of(self._raw)


@dataclass(frozen=True)
class Constant(_Placed):
    """A tensor with axes that the program holds: what was made while tracing, and is no parameter or buffer."""

    shape: tuple[int, ...]
    device: str


@dataclass(frozen=True)
class Pin(_Placed):
    """What ties a program to a device, in words."""

    text: str


def constants(program: Any) -> Iterator[Constant]:
    """The tensor constants of a ScriptModule or a graph. One without axes is a number, and is left out."""
    graph = _graph_of(program)
    for node in nodes_in(graph):
        tensor = constant_tensor(node)
        if tensor is not None and tensor.ndim:
            yield Constant(node, graph, tuple(tensor.shape), str(tensor.device))


def device_pins(module: Any) -> Iterator[Pin]:
    """Each tensor constant, and each device that an operation is told to use, once per use."""
    graph = _graph_of(module)
    for node in nodes_in(graph):
        tensor = constant_tensor(node)
        if tensor is not None and tensor.ndim:
            yield Pin(node, graph, f"a tensor constant of shape {tuple(tensor.shape)} stays on {tensor.device}")
        elif node.kind() == "prim::Constant" and str(node.output().type()) == "Device" and node.output().uses():
            user = node.output().uses()[0].user
            made_from = constant_tensor(origin_of(next(iter(user.inputs()))).node())
            # torch.tensor(0.5) is told to use a device too, and is a number: it joins tensors on any device.
            if made_from is None or made_from.ndim:
                yield Pin(user, graph, f"{user.kind()} is told to use {node.output().toIValue()}")
