"""A traced program, read: its operations, what they read and give, and the line of source that each comes from.

Other folders see :class:`Program`, :class:`Operation` and :class:`Value`, or ask one of the questions; ``nodes`` walks
torch's own graphs. Nodes die with their graph, and a ScriptModule makes its graph anew with each look: what is handed out
keeps it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import source
from ..nested import join
from . import private
from .nodes import constant_tensor, line_of, nodes_in, origin_of, returned_by

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


def _graph_of(program: Any) -> Any:
    """torch's graph of a ScriptModule, of a canonical graph of ours, or the graph itself."""
    if isinstance(program, torch.jit.ScriptModule):
        return program.inlined_graph
    return getattr(program, "owner", program)


# What the other folders see

# Operations that give a copy where the tensor is not contiguous.
_MAY_COPY = ("reshape", "contiguous", "flatten", "ravel")


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
    def is_contiguous(self) -> bool:
        """Whether a tensor was contiguous when traced; True where that is unknown."""
        if self.shape is None or self.strides is None:
            return True
        return torch.empty_strided(self.shape, self.strides, device="meta").is_contiguous()

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
    def computes(self) -> bool:
        """Whether it computes something, and is no constant, container or control flow."""
        return not self.kind.startswith("prim::")

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
        """By the operation's schema; nothing for an operation that is neither a tensor operation nor takes a list apart.

        Raises:
            Unavailable: this torch does not tell.
        """
        private.require("torch._C.parse_schema")
        if self.kind in ("prim::ListUnpack", "prim::TupleUnpack"):
            yield Effect(self.inputs[0], writes=False, shared_by=tuple(self.outputs))
            return
        text = self._raw.schema()
        if not text.startswith("aten::"):
            return
        schema = private.parse_schema(text)
        for argument, operand in zip(schema.arguments, self.inputs, strict=False):
            alias = argument.alias_info
            if alias is None:
                continue
            # A list of views carries no set of its own; its operand is marked (a -> *) instead.
            results = (
                value
                for result, value in zip(schema.returns, self.outputs, strict=False)
                if "*" in alias.after_set or (result.alias_info and alias.before_set & result.alias_info.before_set)
            )
            shared = tuple(value for value in results if self._shares(operand, value))
            yield Effect(operand, bool(alias.is_write), shared)

    def _shares(self, operand: Value, result: Value) -> bool:
        """Whether an operation that may copy gives a view: ``to`` of the same dtype, ``reshape`` of a contiguous tensor."""
        if None not in (result.dtype, operand.dtype) and result.dtype is not operand.dtype:
            # view_as_real is a view for all that.
            return self.name.startswith("view_as")
        return self.name not in _MAY_COPY or operand.is_contiguous


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
        self._paths = {value.name: path for path, value in self.inputs.items()}
        self.operations = [Operation(node, graph) for node in nodes_in(graph)]
        self.outputs = [Value(value, graph) for value in returned_by(graph)]

    def tensor(self, value: Value) -> torch.Tensor | None:
        """The tensor that a value is in every run: a constant, a parameter or a buffer."""
        if value.attribute is None:
            # Not `constant`, which is a number for a tensor that stands for one.
            return constant_tensor(value._raw.node())
        found: Any = functools.reduce(lambda owner, name: getattr(owner, name, None), value.attribute.split("."), self._module)
        return found if isinstance(found, torch.Tensor) else None

    def path(self, value: Value) -> str | None:
        """The path of the input that a value is; None for any other value."""
        return self._paths.get(value.name)

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
