"""Constants that pin the trace to one device."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import torch

from .. import source
from ..nested import compare, map_tensors
from ..result import CheckResult, Finding, Verdict
from ..spec import Tolerance
from ..tracing.conversions import origin_of
from ..tracing.execute import run
from ..tracing.trace import quiet
from .base import Check, Context

__all__ = ["Device"]

# Another device computes the same sums in another order; the widths of torch's own CPU-against-CUDA tests for float32.
_ACROSS_DEVICES = Tolerance(rtol=1e-3, atol=1e-4)
_MOST_NOTES = 5


class Device(Check):
    """No constant pins the trace to one device: a note on this machine, a real move where there is a GPU."""

    name = "device"
    requires = frozenset({"trace"})
    numeric = False

    def run(self, context: Context) -> CheckResult:
        lines: dict[tuple[Any, ...], tuple[str, source.Line | None]] = {}
        count = 0
        for text, node in _pinned(context.module.inlined_graph):
            count += 1
            line = source.innermost(source.parse_stack(node.sourceRange())) if len(lines) < _MOST_NOTES else None
            if len(lines) < _MOST_NOTES:
                lines.setdefault((text, line), (text, line))
        hint = context.advice(Verdict.DEVICE_PINNED)
        notes = tuple(context.finding(text, line=line, where="pinned at", hint=hint) for text, line in lines.values())
        if not context.meta and torch.cuda.is_available():
            try:
                error = self._move(context, "cuda")
            except torch.cuda.OutOfMemoryError:
                full = context.finding("the GPU has no room for this model: it was not moved")
                return CheckResult.passed(self.name, findings=(full, *notes), constants=count, moved=None)
            if error is not None:
                return CheckResult.failed(self.name, Verdict.DEVICE_PINNED, error, *notes, constants=count, moved="cuda")
            return CheckResult.passed(self.name, findings=notes, constants=count, moved="cuda")
        return CheckResult.passed(self.name, findings=notes, constants=count, moved=None)

    @staticmethod
    def _move(context: Context, device: str) -> Finding | None:
        """The saved trace, loaded onto a device and run there, against eager where the model is.

        Raises:
            torch.cuda.OutOfMemoryError: the device is full, which says nothing of the model.
        """
        with quiet(), torch.no_grad():
            try:
                buffer = io.BytesIO()
                torch.jit.save(context.module, buffer)
                buffer.seek(0)
                moved = torch.jit.load(buffer, map_location=device)
                inputs = map_tensors(lambda tensor: tensor.to(device), dict(context.inputs))
                actual = map_tensors(lambda tensor: tensor.cpu(), run(moved, inputs))
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever the other device says is the finding
                return context.failure(error)
            finally:
                context.restore()
        mismatches = compare(actual, context.expected, _ACROSS_DEVICES)
        if not mismatches:
            return None
        return context.finding(
            f"moved to {device}, {mismatches[0].label} differs: {mismatches[0].text}",
            path=mismatches[0].path,
            details=mismatches[0].details(),
        )


def _pinned(graph: Any) -> Iterator[tuple[str, Any]]:
    """``(text, node)`` for each tensor constant, and each device an operation is told to use, once per use."""
    for node in graph.nodes():
        if node.kind() != "prim::Constant" or "value" not in node.attributeNames():
            continue
        if node.kindOf("value") == "t":
            tensor = node.t("value")
            # A 0-d tensor constant is a number: it joins tensors on any device.
            if tensor.ndim:
                yield f"a tensor constant of shape {tuple(tensor.shape)} stays on {tensor.device}", node
        elif str(node.output().type()) == "Device":
            uses = node.output().uses()
            device = node.output().toIValue()
            if uses and not _is_number(next(iter(uses[0].user.inputs()))):
                yield f"{uses[0].user.kind()} is told to use {device}", uses[0].user


def _is_number(value: Any) -> bool:
    """Whether a traced value is a 0-d tensor constant, made by ``torch.tensor(0.5)``."""
    node = origin_of(value).node()
    return bool(
        node.kind() == "prim::Constant"
        and "value" in node.attributeNames()
        and node.kindOf("value") == "t"
        and not node.t("value").ndim
    )
