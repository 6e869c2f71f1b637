"""torch's own graphs, walked: nodes, what they hold and where they come from. For the files of this folder alone."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator
from typing import Any

import torch

from .. import source

__all__ = [
    "constant_tensor",
    "line_of",
    "nodes_in",
    "origin_of",
    "returned_by",
    "shaped_by_values",
    "value_number",
]


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
