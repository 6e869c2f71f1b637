"""The traced program, as the rules ask about it. Every touch of a torch graph by this target is in this file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import torch

from ... import source
from ...nested import join, tensors
from ...tracing import private
from ..deployment import Deployment

__all__ = ["Operation", "Program", "Value"]

# Operations that give a copy where the tensor is not contiguous.
_MAY_COPY = ("reshape", "contiguous", "flatten", "ravel")
_CONSTRUCTED = ("prim::TupleConstruct", "prim::ListConstruct", "prim::DictConstruct")


@dataclass(frozen=True)
class Value:
    """A value of the program; two are equal where torch gave them the same number."""

    number: str
    raw: Any = field(repr=False, compare=False)
    program: Program = field(repr=False, compare=False)

    @property
    def operation(self) -> Operation:
        """The operation that computes it."""
        return Operation(self.raw.node(), self.program)

    @property
    def users(self) -> list[Operation]:
        return [Operation(use.user, self.program) for use in self.raw.uses()]

    @property
    def type(self) -> str:
        """TorchScript's name of its type: ``TensorType``, ``IntType``, ``NoneType``."""
        return str(self.raw.type().kind())

    @property
    def constant(self) -> Any:
        """What the program holds in this place; None where it is computed."""
        return self.raw.toIValue()

    @property
    def path(self) -> str | None:
        """The path of the input that it is."""
        return self.program.paths.get(self)

    @property
    def attribute(self) -> tuple[str, ...]:
        """The path of the parameter or buffer that it is, in parts; empty for any other value."""
        names: list[str] = []
        node = self.raw.node()
        while node.kind() == "prim::GetAttr":
            names.insert(0, node.s("name"))
            node = next(node.inputs()).node()
        return tuple(names)

    @property
    def tensor(self) -> torch.Tensor | None:
        """The tensor that it is in every run: a constant, a parameter or a buffer."""
        node, found = self.raw.node(), None
        if self.attribute:
            found = reduce(lambda owner, name: getattr(owner, name, None), self.attribute, self.program.module)
        elif node.kind() == "prim::Constant" and "value" in node.attributeNames() and node.kindOf("value") == "t":
            # toIValue would make a Python number of a tensor without axes.
            found = node.t("value")
        return found if isinstance(found, torch.Tensor) else None

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype that it had when traced; None for what is no tensor, or unknown."""
        if self.type != "TensorType":
            return None
        known: torch.dtype | None = self.raw.type().dtype()
        if known is None and self.tensor is not None:
            return self.tensor.dtype
        return known

    @property
    def is_scalar(self) -> bool:
        """Whether it is a tensor without axes, as the numbers are that Python code computes with."""
        if self.type != "TensorType":
            return False
        return (self.raw.type().dim() if self.tensor is None else self.tensor.ndim) == 0

    @property
    def is_contiguous(self) -> bool:
        """Whether it was contiguous when traced; True where that is unknown."""
        sizes, strides = self.raw.type().sizes(), self.raw.type().strides()
        if sizes is None or strides is None:
            return True
        return torch.empty_strided(sizes, strides, device="meta").is_contiguous()

    @property
    def name(self) -> str | None:
        """What the user calls it: ``input 'x'``, ``weight 'head.scale'``; None for what is computed."""
        if self.path is not None:
            return f"input {self.path!r}"
        if self.attribute:
            return f"weight {'.'.join(self.attribute)!r}"
        return "a constant" if self.operation.kind == "prim::Constant" else None

    @property
    def comes_from_sizes(self) -> bool:
        """Whether it comes from sizes and constants alone, as a number does that Python computed."""
        seen: set[Value] = set()
        left = [self]
        while left:
            value = left.pop()
            if value in seen:
                continue
            seen.add(value)
            operation = value.operation
            if operation.kind in ("prim::Param", "prim::GetAttr"):
                return False
            if operation.kind != "aten::size":
                left += operation.inputs
        return True


@dataclass(frozen=True)
class Operation:
    """A node of the program."""

    raw: Any = field(repr=False)
    program: Program = field(repr=False)

    @property
    def kind(self) -> str:
        """``aten::topk``"""
        return str(self.raw.kind())

    @property
    def name(self) -> str:
        """Its name as users write it: ``nonzero``."""
        return self.kind.rpartition("::")[2].removeprefix("_")

    @property
    def computes(self) -> bool:
        """Whether it computes something, and is no constant, container or control flow."""
        return not self.kind.startswith("prim::")

    @property
    def line(self) -> source.Line | None:
        return source.innermost(source.parse_stack(self.raw.sourceRange()))

    @property
    def inputs(self) -> list[Value]:
        return [self.program.value(value) for value in self.raw.inputs()]

    @property
    def outputs(self) -> list[Value]:
        return [self.program.value(value) for value in self.raw.outputs()]

    def aliases(self) -> Iterator[tuple[Value, bool, list[Value]]]:
        """The operands that it writes or shares memory with: whether it writes, and the results that share."""
        if self.kind in ("prim::ListUnpack", "prim::TupleUnpack"):
            yield self.inputs[0], False, self.outputs
            return
        text = self.raw.schema()
        if not text.startswith("aten::"):
            return
        schema = private.parse_schema(text)
        for argument, value in zip(schema.arguments, self.inputs, strict=False):
            info = argument.alias_info
            if info is None:
                continue
            # A list of views carries no set of its own; its operand is marked (a -> *) instead.
            results = [
                output
                for result, output in zip(schema.returns, self.outputs, strict=False)
                if "*" in info.after_set or (result.alias_info is not None and info.before_set & result.alias_info.before_set)
            ]
            yield value, info.is_write, [output for output in results if self._shares(value, output)]

    def _shares(self, value: Value, output: Value) -> bool:
        """Whether an operation that may copy gives a view: ``to`` of the same dtype, ``reshape`` of a contiguous tensor."""
        if output.dtype not in (None, value.dtype):
            # view_as_real is a view for all that.
            return self.name.startswith("view_as")
        return self.name not in _MAY_COPY or value.is_contiguous


class Program:
    """The operations of the traced graph, blocks of control flow included, with its inputs by path."""

    def __init__(self, graph: Any, module: Any) -> None:
        # The graph owns the nodes and must outlive them.
        self.graph = graph
        self.module = module
        self.paths: dict[Value, str] = {}

    @classmethod
    def of(cls, deployment: Deployment) -> Program | None:
        """The program as traced; where ``torch.jit.trace`` refused, the graph alone, and None where there is no such."""
        if deployment.module is not None:
            program = cls(deployment.module.inlined_graph, deployment.module)
            leaves = zip(deployment.inputs, list(program.graph.inputs())[1:], strict=False)
            program.paths = {leaf: path for name, raw in leaves for path, leaf in _leaves(program.value(raw), name)}
            return program
        try:
            program = cls(deployment.graph.owner, None)
        except Exception:  # noqa: BLE001 - nothing can be traced: the rule `trace` says why
            return None
        paths = [path for path, _ in tensors(deployment.inputs)]
        program.paths = dict(zip(map(program.value, program.graph.inputs()), paths, strict=False))
        return program

    def value(self, raw: Any) -> Value:
        return Value(raw.debugName(), raw, self)

    @cached_property
    def operations(self) -> list[Operation]:
        return [Operation(node, self) for node in _nodes(self.graph)]

    @property
    def returned(self) -> list[Value]:
        """The output leaves, in order."""
        return [leaf for output in self.graph.outputs() for leaf in _returned(self.value(output))]


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _leaves(value: Value, path: str) -> Iterator[tuple[str, Value]]:
    """The leaves of an input that is a tuple, as far as the program takes it apart."""
    unpacking = [user for user in value.users if user.kind == "prim::TupleUnpack"]
    if not unpacking:
        yield path, value
    for operation in unpacking[:1]:
        for index, leaf in enumerate(operation.outputs):
            yield from _leaves(leaf, join(path, index))


def _returned(value: Value) -> Iterator[Value]:
    operation = value.operation
    if operation.kind not in _CONSTRUCTED:
        yield value
        return
    # A dict is constructed of its keys and values in turn.
    for entry in operation.inputs[1::2] if operation.kind == "prim::DictConstruct" else operation.inputs:
        yield from _returned(entry)
