"""Shorter inputs, padded to the traced length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..diagnosis.cause import Cause
from ..diagnosis.ops import OperationLog, crop_to, first_difference
from ..nested import Mismatch, compare, map_tensors, tensors
from ..result import CheckResult, Verdict
from ..spec import Tolerance
from ..subject.inputs import BATCH, mapped, pad, shorten
from ..tracing.trace import quiet
from .base import Check, Context, finite

__all__ = ["Padding"]

# Padded and unpadded are two computations: their matrix products are summed in another order. Ten times what one dtype's
# tolerance grants is above that rounding and, for the models measured, three orders of magnitude below a real leak.
_SLACK = 10.0


class Padding(Check):
    """With a mask: shorter inputs padded to the traced length give what eager gives for them unpadded."""

    name = "padding"
    requires = frozenset({"eager", "trace", "equivalence"})

    def run(self, context: Context) -> CheckResult:
        if context.mask is None and context.spec.mask is not None:
            return CheckResult.skipped(
                self.name, f"the mask {context.spec.mask!r} does not hold 0 and 1 alone: nothing says what is padding"
            )
        if context.mask is None:
            return CheckResult.skipped(self.name, "the inputs have no padding mask: name it with mask=")
        axes = context.dims.axes.get(context.mask, {})
        dim = next((name for name in axes.values() if name != BATCH), None)
        if dim is None:
            return CheckResult.skipped(self.name, f"no axis of the mask {context.mask!r} is known to be a sequence")
        size = context.dims.sizes(context.inputs)[dim]
        if size < 2:
            return CheckResult.skipped(self.name, f"{dim} is traced at {size}: nothing shorter to pad")
        tried: dict[int, str] = {}
        for short in dict.fromkeys((max(size // 2, 1), size - 1, min(2, size - 1))):
            shorter, padded = self._pair(context, dim, short, size)
            try:
                expected = context.eager(shorter)
            except Exception:  # noqa: BLE001 - eager refuses that length: nothing to compare with
                tried[short] = "outside"
                continue
            if not finite(expected):
                tried[short] = "outside"
                continue
            try:
                actual = context.scripted(padded)
            except Exception as error:  # noqa: BLE001 - the program refuses a padded input of its own size
                finding = context.failure(error)
                return CheckResult.failed(self.name, Verdict.PADDING_UNSAFE, finding, lengths=tried)
            mismatches = self._compare(context, actual, expected)
            tried[short] = "wrong" if mismatches else "equal"
            if mismatches:
                return self._failed(context, mismatches, dim, short, size, shorter, padded, tried)
        if "equal" not in tried.values():
            return CheckResult.skipped(self.name, f"eager refuses shorter inputs ({', '.join(map(str, tried))})")
        return CheckResult.passed(self.name, lengths={str(short): kind for short, kind in tried.items()}, traced=size)

    def _pair(self, context: Context, dim: str, short: int, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """``short`` positions, all valid, and the same padded to ``size`` on the side where the observed mask pads."""
        valid = 0 if context.mask_inverted else 1
        shorter = mapped(
            shorten(context.inputs, context.dims, dim, short, at_start=context.pads_at_start),
            lambda path, tensor: torch.full_like(tensor, valid) if path == context.mask else tensor,
        )
        fill: dict[str, int] = {**context.pad_values, str(context.mask): 1 - valid}
        return shorter, pad(shorter, context.dims, dim, size, fill, at_start=context.pads_at_start)

    def _compare(self, context: Context, actual: Any, expected: Any) -> list[Mismatch]:
        """The leaves that differ where the input was valid; padded positions of the output are not looked at."""
        shapes = {path: leaf.shape for path, leaf in tensors(expected)}
        order = iter([path for path, _ in tensors(actual)])

        def crop(tensor: torch.Tensor) -> torch.Tensor:
            shape = shapes.get(next(order))
            cropped = crop_to(tensor, shape, at_start=context.pads_at_start) if shape is not None else None
            return tensor if cropped is None else cropped

        cropped = map_tensors(crop, actual)
        strict = compare(cropped, expected, context.spec.tolerance)
        asked = context.spec.tolerance
        if not strict or asked.rtol is not None or asked.atol is not None:
            return strict
        return [m for m in strict if m.kind != "value"] + [
            m for m in compare(cropped, expected, _widened(cropped, expected)) if m.kind == "value"
        ]

    def _failed(
        self,
        context: Context,
        mismatches: list[Mismatch],
        dim: str,
        short: int,
        size: int,
        shorter: Mapping[str, Any],
        padded: Mapping[str, Any],
        tried: Mapping[int, str],
    ) -> CheckResult:
        findings = [
            context.finding(
                f"{dim} {short} padded to {size} changes {mismatch.label}: {mismatch.text}",
                path=mismatch.path,
                details={**mismatch.details(), "length": short, "traced": size},
            )
            for mismatch in mismatches
        ]
        causes = self._causes(context, shorter, padded)
        hint = f"let {context.mask} keep padded positions out of every sum, mean, maximum, softmax and last position"
        lengths = {str(length): kind for length, kind in tried.items()}
        return CheckResult.failed(
            self.name,
            Verdict.PADDING_UNSAFE,
            *context.caused(findings, causes or context.produced(mismatches[0].path), hint=hint),
            lengths=lengths,
            traced=size,
        )

    def _causes(self, context: Context, shorter: Mapping[str, Any], padded: Mapping[str, Any]) -> list[Cause]:
        """The first operation whose result at valid positions is another one once the input is padded."""
        logs = []
        for inputs in (shorter, padded):
            log = OperationLog()
            with quiet():
                try:
                    log.record(lambda inputs=inputs: context.call.run(context.model, inputs))  # type: ignore[misc]
                except Exception:  # noqa: BLE001 - no line to name then
                    return []
                finally:
                    context.restore()
            logs.append(log)
        operation = first_difference(logs[0], logs[1], crop=True, at_start=context.pads_at_start, slack=1e-3)
        return [Cause(operation.line, "leaks at", f"in {operation.name}")] if operation and operation.line else []


def _widened(actual: Any, expected: Any) -> Tolerance:
    """Ten times the widest default tolerance among the leaves that differ."""
    from ..tracing.private import default_tolerances

    pairs = [default_tolerances(leaf.dtype) for _, leaf in tensors(expected)]
    return Tolerance(rtol=_SLACK * max(rtol for rtol, _ in pairs), atol=_SLACK * max(atol for _, atol in pairs))
