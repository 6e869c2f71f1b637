"""A traced program, read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .. import source
from .conversions import origin_of

__all__ = ["Pin", "device_pins", "produced_at", "python_operations", "writes_into_constants"]


def _line(node: Any) -> source.Line | None:
    return source.innermost(source.parse_stack(node.sourceRange()))


def produced_at(module: Any, index: int, count: int) -> source.Line | None:
    """The line that computed output leaf ``index`` of ``count``."""
    graph = module.inlined_graph
    values: list[Any] = []

    def walk(value: Any) -> None:
        node = value.node()
        if node.kind() in ("prim::TupleConstruct", "prim::ListConstruct"):
            for entry in node.inputs():
                walk(entry)
        elif node.kind() == "prim::DictConstruct":
            for entry in list(node.inputs())[1::2]:
                walk(entry)
        else:
            values.append(value)

    for output in graph.outputs():
        walk(output)
    return _line(values[index].node()) if len(values) == count else None


def writes_into_constants(module: Any) -> Iterator[source.Line]:
    """Lines that write into a constant."""
    graph = module.inlined_graph
    for node in graph.nodes():
        if node.kind().endswith("_") and origin_of(next(iter(node.inputs()))).node().kind() == "prim::Constant":
            line = _line(node)
            if line is not None:
                yield line


def python_operations(module: Any) -> Iterator[source.Line]:
    """Lines of Python operations."""
    graph = module.inlined_graph
    for node in graph.nodes():
        if node.kind() == "prim::PythonOp" and (line := _line(node)) is not None:
            yield line


@dataclass(frozen=True)
class Pin:
    """What pins a trace to a device."""

    text: str
    node: Any
    graph: Any

    @property
    def line(self) -> source.Line | None:
        return _line(self.node)


def device_pins(module: Any) -> Iterator[Pin]:
    """Constants that pin the trace."""
    graph = module.inlined_graph
    for node in graph.nodes():
        if node.kind() != "prim::Constant" or "value" not in node.attributeNames():
            continue
        if node.kindOf("value") == "t":
            tensor = node.t("value")
            if tensor.ndim:
                yield Pin(f"a tensor constant of shape {tuple(tensor.shape)} stays on {tensor.device}", node, graph)
        elif str(node.output().type()) == "Device":
            uses = node.output().uses()
            device = node.output().toIValue()
            if uses and not _is_number(next(iter(uses[0].user.inputs()))):
                yield Pin(f"{uses[0].user.kind()} is told to use {device}", uses[0].user, graph)


def _is_number(value: Any) -> bool:
    node = origin_of(value).node()
    return bool(
        node.kind() == "prim::Constant"
        and "value" in node.attributeNames()
        and node.kindOf("value") == "t"
        and not node.t("value").ndim
    )
