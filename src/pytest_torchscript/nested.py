"""Nested outputs as named leaves, and their comparison: all leaves, by path.

Finding the mismatches and wording them are separate (as in :mod:`torch.testing`): :func:`compare` returns data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .spec import Tolerance
from .tracing.private import default_tolerances

__all__ = ["Mismatch", "clone", "compare", "describe", "identical", "join", "leaves", "map_tensors", "same_mapping", "tensors"]

ROOT = "output"


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and not isinstance(value, torch.Size)


def join(path: str, key: object) -> str:
    """The path of an entry: ``pooled``, ``pooled[0]``, ``[1].scores``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a nested output with its path, in order; a lone tensor's path is ``output``."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from leaves(entry, join(path, key))
    elif _is_sequence(value):
        for index, entry in enumerate(value):
            yield from leaves(entry, join(path, index))
    else:
        yield path or ROOT, value


def tensors(value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The leaves that are tensors."""
    return ((path, leaf) for path, leaf in leaves(value) if isinstance(leaf, torch.Tensor))


def map_tensors(function: Any, value: Any) -> Any:
    """``value`` with every tensor replaced by ``function(tensor)``; containers are copied, other leaves shared."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, Mapping):
        entries = {key: map_tensors(function, entry) for key, entry in value.items()}
        return same_mapping(value, entries)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, entry) for entry in value))
    if _is_sequence(value):
        entries_list = [map_tensors(function, entry) for entry in value]
        return entries_list if isinstance(value, list) else tuple(entries_list)
    return value


def same_mapping(value: Mapping[Any, Any], entries: dict[Any, Any]) -> Any:
    """``entries`` as a mapping of ``value``'s class."""
    if type(value) is dict:
        return entries
    # A tokenizer's BatchEncoding or a ModelOutput is rebuilt as its own class where that works: forward may rely on it.
    try:
        return type(value)(entries)  # type: ignore[call-arg]
    except Exception:  # noqa: BLE001 - a mapping class with another constructor: a dict carries the same entries
        return entries


def clone(value: Any) -> Any:
    """A deep copy of the tensors in ``value``, so that neither aliasing nor in-place writes reach the original.

    A tensor that requires grad gives a leaf that requires grad, so that a model that looks at the flag sees the same.
    """

    def copy(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().clone().requires_grad_(tensor.requires_grad)

    return map_tensors(copy, value)


def identical(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors hold the same values, bit patterns of NaN aside; any layout, quantised or not."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    left, right = left.detach(), right.detach()
    if left.layout != torch.strided:
        left, right = left.to_dense(), right.to_dense()
    if left.is_quantized:
        left, right = left.int_repr(), right.int_repr()
    if torch.equal(left, right):
        return True
    if not (left.is_floating_point() or left.is_complex()):
        return False
    return bool(((left == right) | (left.isnan() & right.isnan())).all())


def describe(value: Any) -> str:
    """What a value is, without its content: ``float32 (2, 16, 8)``, ``tuple of 2``, ``NoneType``."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"mapping with {', '.join(map(repr, list(value)[:8]))}"
    if _is_sequence(value):
        return f"{'list' if isinstance(value, list) else 'tuple'} of {len(value)}"
    return type(value).__name__


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """One leaf that differs. ``kind`` is structure, dtype, shape or value; amounts are set for values only.

    ``index`` is that of the worst element, ``amount`` its absolute difference, ``allowed`` what the tolerance grants there.
    """

    path: str
    kind: str
    actual: str
    expected: str
    amount: float = math.nan
    allowed: float = math.nan
    index: tuple[int, ...] = ()
    differing: int = 0
    total: int = 0

    @property
    def label(self) -> str:
        return "the output" if self.path == ROOT else f"output {self.path!r}"

    @property
    def text(self) -> str:
        """The mismatch in words, without the leaf's name."""
        if self.kind == "value":
            # An index into a 0-d tensor is (), which says nothing.
            at = f" at {list(self.index)}" if self.index else ""
            return (
                f"max abs {self.amount:.3g}{at}, allowed {self.allowed:.2g}, "
                f"{self.differing} of {self.total} values; {self.actual} instead of {self.expected}"
            )
        return f"{self.kind} {self.actual} instead of {self.expected}"

    def details(self) -> dict[str, Any]:
        if self.kind != "value":
            return {"kind": self.kind, "actual": self.actual, "expected": self.expected}
        return {
            "kind": self.kind,
            "max_abs": self.amount,
            "allowed": self.allowed,
            "index": list(self.index),
            "differing": self.differing,
            "total": self.total,
            "actual": self.actual,
            "expected": self.expected,
        }


def compare(
    actual: Any, expected: Any, tolerance: Tolerance | Mapping[str, Tolerance] | None = None, path: str = ""
) -> list[Mismatch]:
    """All leaves in which ``actual`` differs from ``expected``; empty when they are the same.

    Mappings are compared by key, sequences by position: TorchScript knows neither a namedtuple nor a ModelOutput, and a
    deployed trace hands out a tuple or a dict for them. Tensors are compared by dtype, shape and value, with the
    tolerances of :func:`torch.testing.assert_close` unless ``tolerance`` says otherwise, for all dtypes or by the name of
    each (``"float32"``); NaN equals NaN.
    """
    tolerance = tolerance or Tolerance()
    name = path or ROOT
    if isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor):
        mismatch = _compare_tensors(actual, expected, tolerance, name)
        return [mismatch] if mismatch else []
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        if set(map(str, expected)) != set(map(str, actual)):
            return [_structure(name, actual, expected)]
        by_name = {str(key): entry for key, entry in actual.items()}
        return [
            mismatch
            for key, entry in expected.items()
            for mismatch in compare(by_name[str(key)], entry, tolerance, join(path, key))
        ]
    if _is_sequence(expected) and _is_sequence(actual):
        if len(expected) != len(actual):
            return [_structure(name, actual, expected)]
        return [
            mismatch
            for index, (mine, theirs) in enumerate(zip(actual, expected, strict=True))
            for mismatch in compare(mine, theirs, tolerance, join(path, index))
        ]
    alike = type(actual) is type(expected)
    if not alike or (isinstance(expected, (torch.Tensor, Mapping, list, tuple)) and not isinstance(expected, torch.Size)):
        return [_structure(name, actual, expected)]
    if (
        isinstance(expected, (int, float, str, bool, type(None), torch.Size))
        and actual != expected
        and not (isinstance(expected, float) and math.isnan(expected) and math.isnan(actual))
    ):
        return [Mismatch(path=name, kind="constant", actual=repr(actual)[:80], expected=repr(expected)[:80])]
    return []


def _structure(path: str, actual: Any, expected: Any) -> Mismatch:
    return Mismatch(path=path, kind="structure", actual=describe(actual), expected=describe(expected))


def _compare_tensors(
    actual: torch.Tensor, expected: torch.Tensor, tolerance: Tolerance | Mapping[str, Tolerance], path: str
) -> Mismatch | None:
    actual, expected = actual.detach(), expected.detach()
    if actual.dtype != expected.dtype:
        return Mismatch(path=path, kind="dtype", actual=_dtype(actual), expected=_dtype(expected))
    if actual.shape != expected.shape:
        return Mismatch(path=path, kind="shape", actual=str(tuple(actual.shape)), expected=str(tuple(expected.shape)))
    if expected.is_meta or actual.is_meta:
        return None
    if actual.is_quantized:
        actual, expected = actual.dequantize(), expected.dequantize()
    if actual.layout != torch.strided:
        actual, expected = actual.to_dense(), expected.to_dense()
    if torch.equal(actual, expected):
        return None
    if isinstance(tolerance, Mapping):
        tolerance = tolerance.get(_dtype(expected), Tolerance())
    rtol, atol = default_tolerances(expected.dtype)
    rtol = rtol if tolerance.rtol is None else tolerance.rtol
    atol = atol if tolerance.atol is None else tolerance.atol
    wide = torch.complex128 if expected.is_complex() else torch.float64
    if not expected.is_floating_point() and not expected.is_complex():
        # 64-bit integers do not fit a double; what differs by less than its rounding still differs.
        close = actual == expected if not (rtol or atol) else torch.isclose(actual, expected, rtol=rtol, atol=atol)
    else:
        close = torch.isclose(actual.to(wide), expected.to(wide), rtol=rtol, atol=atol, equal_nan=True)
    if bool(close.all()):
        return None
    wrong = ~close
    distance = (actual.to(wide) - expected.to(wide)).abs()
    distance = torch.where(distance.isnan(), torch.full_like(distance, math.inf), distance)
    worst = int(torch.where(wrong, distance, torch.full_like(distance, -1.0)).argmax())
    index: tuple[int, ...] = ()
    # torch.unravel_index would do, and imports two seconds of sympy for its argument checks.
    for size in reversed(expected.shape):
        worst, at = divmod(worst, size)
        index = (at, *index)
    reference = expected[index]
    return Mismatch(
        path=path,
        kind="value",
        actual=_number(actual[index]),
        expected=_number(reference),
        amount=float(distance[index]),
        allowed=atol + rtol * float(reference.to(wide).abs()),
        index=index,
        differing=int(wrong.sum()),
        total=expected.numel(),
    )


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _number(scalar: torch.Tensor) -> str:
    value = scalar.item()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
