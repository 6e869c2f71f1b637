"""Nested values: their leaves by path, copies, and the comparison of two of them.

A nested value is a tensor, or a mapping, list or tuple of nested values. Everything else in it (a number, None, a
``torch.Size``, an object) is a leaf beside the tensors. :func:`_entries` alone decides what a container is.

Finding the mismatches and wording them are separate (as in :mod:`torch.testing`): :func:`compare` returns data.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .spec import Tolerance
from .tracing.private import default_tolerances

__all__ = [
    "Mismatch",
    "clone",
    "compare",
    "dense",
    "describe",
    "finite",
    "identical",
    "join",
    "leaves",
    "map_tensors",
    "map_with_path",
    "nan_free",
    "numbers",
    "tensors",
    "walk",
]

ROOT = "output"

IsLeaf = Callable[[Any], bool]
"""Says of a value that it is not to be entered, though it may be a container."""


def join(path: str, key: object) -> str:
    """The path of an entry: ``pooled``, ``pooled[0]``, ``[1].scores``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def _entries(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """The entries of a container with their keys or positions; None for a leaf."""
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return enumerate(value)
    return None


def walk(value: Any, is_leaf: IsLeaf | None = None) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every leaf of a nested value, in order, with the keys and positions that lead to it."""
    entries = None if is_leaf is not None and is_leaf(value) else _entries(value)
    if entries is None:
        yield (), value
        return
    for key, entry in entries:
        for keys, leaf in walk(entry, is_leaf):
            yield (key, *keys), leaf


def leaves(value: Any, path: str = "", is_leaf: IsLeaf | None = None) -> Iterator[tuple[str, Any]]:
    """Every leaf of a nested value with its path, in order; the path of a lone leaf is ``output``."""
    for keys, leaf in walk(value, is_leaf):
        yield functools.reduce(join, keys, path) or ROOT, leaf


def tensors(value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The leaves that are tensors."""
    return ((path, leaf) for path, leaf in leaves(value) if isinstance(leaf, torch.Tensor))


def map_with_path(
    function: Callable[..., Any], value: Any, path: str = "", *, is_leaf: IsLeaf | None = None, plain: bool = False
) -> Any:
    """``value`` with every leaf replaced by ``function(path, leaf)``; containers are copied.

    Containers keep their class. With ``plain`` they become dicts, lists and tuples, which readers outside Python know.
    """
    entries = None if is_leaf is not None and is_leaf(value) else _entries(value)
    if entries is None:
        return function(path or ROOT, value)
    mapped = {key: map_with_path(function, entry, join(path, key), is_leaf=is_leaf, plain=plain) for key, entry in entries}
    return _rebuilt(value, mapped, plain=plain)


def _rebuilt(value: Any, entries: dict[Any, Any], *, plain: bool) -> Any:
    """A container like ``value`` with other entries."""
    if isinstance(value, Mapping):
        return entries if plain else _same_mapping(value, entries)
    if isinstance(value, list):
        return list(entries.values())
    if hasattr(value, "_fields") and not plain:
        return type(value)(*entries.values())
    return tuple(entries.values())


def _same_mapping(value: Mapping[Any, Any], entries: dict[Any, Any]) -> Any:
    """``entries`` as a mapping of ``value``'s class."""
    if type(value) is dict:
        return entries
    # A tokenizer's BatchEncoding or a ModelOutput is rebuilt as its own class where that works: forward may rely on it.
    try:
        return type(value)(entries)  # type: ignore[call-arg]
    except Exception:  # noqa: BLE001 - a mapping class with another constructor: a dict carries the same entries
        return entries


def map_tensors(function: Callable[..., Any], value: Any) -> Any:
    """``value`` with every tensor replaced by ``function(tensor)``; containers are copied, other leaves shared."""
    return map_with_path(lambda _, leaf: function(leaf) if isinstance(leaf, torch.Tensor) else leaf, value)


def clone(value: Any) -> Any:
    """A deep copy of the tensors in ``value``, so that neither aliasing nor in-place writes reach the original.

    A tensor that requires grad gives a leaf that requires grad, so that a model that looks at the flag sees the same.
    """
    return map_tensors(lambda tensor: tensor.detach().clone().requires_grad_(tensor.requires_grad), value)


# The values of tensors of every kind


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """The values of a tensor that is neither nested nor on the meta device, strided and in a dtype that can be computed with.

    A sparse layout becomes strided, a quantised tensor its real values, 8-bit floats float32, complex32 complex64.
    """
    tensor = tensor.detach()
    if tensor.is_quantized:
        return tensor.dequantize()
    if _dtype(tensor).startswith(("bits", "float4")):
        # torch cannot read these values one by one: their bytes stand for them.
        return tensor.view(torch.uint8)
    if tensor.is_floating_point() and tensor.itemsize == 1:
        # Hardly an operation is written for 8-bit floats but the conversion to others.
        tensor = tensor.float()
    if tensor.dtype == torch.complex32:
        tensor = tensor.to(torch.complex64)
    if tensor.layout == torch.strided:
        return tensor
    return tensor.to_dense() if tensor.is_mkldnn else _scattered(tensor)


def _scattered(sparse: torch.Tensor) -> torch.Tensor:
    # Not `to_dense()`: that multiplies by 1, which makes NaN of a complex infinity.
    entries = (sparse if sparse.layout == torch.sparse_coo else sparse.to_sparse()).coalesce()
    full = torch.zeros(entries.shape, dtype=entries.dtype, device=entries.device)
    full[tuple(entries.indices())] = entries.values()
    return full


def numbers(value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The floating-point and complex tensors of a nested value, dense; the parts of nested tensors one by one.

    Meta tensors hold no numbers, and integers and quantised tensors none that is not finite: they are left out.
    """
    for path, leaf in tensors(value):
        if leaf.is_meta or not (leaf.is_floating_point() or leaf.is_complex()):
            continue
        if leaf.is_nested:
            yield from ((join(path, index), dense(part)) for index, part in enumerate(leaf.unbind()))
        else:
            yield path, dense(leaf)


def finite(value: Any) -> bool:
    """Whether no tensor of a nested value holds NaN or an infinity."""
    return all(bool(tensor.isfinite().all()) for _, tensor in numbers(value))


def nan_free(value: Any) -> bool:
    """Whether no tensor of a nested value holds NaN; an infinity is allowed."""
    return not any(bool(tensor.isnan().any()) for _, tensor in numbers(value))


def identical(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors hold the same values; NaN is NaN. Of meta tensors, which hold none, dtype and shape count."""
    if not _same_kind(left, right):
        return False
    if left.is_nested:
        pairs = zip(left.unbind(), right.unbind(), strict=False)
        return left.size(0) == right.size(0) and all(identical(mine, theirs) for mine, theirs in pairs)
    if left.shape != right.shape:
        return False
    if left.is_meta or right.is_meta:
        return True
    left, right = (torch.view_as_real(each) if each.is_complex() else each for each in (dense(left), dense(right)))
    if torch.equal(left, right):
        return True
    return left.is_floating_point() and bool(((left == right) | (left.isnan() & right.isnan())).all())


def _same_kind(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether dtype and layout are the same."""
    return (left.dtype, left.layout, left.is_nested) == (right.dtype, right.layout, right.is_nested)


def describe(value: Any) -> str:
    """What a value is, without its content: ``float32 (2, 16, 8)``, ``tuple of 2``, ``NoneType``."""
    if isinstance(value, torch.Tensor):
        # The parts of a nested tensor differ in shape, and not every layout of it has a shape at all.
        return f"{_dtype(value)} " + (f"nested, {value.size(0)} parts" if value.is_nested else f"{tuple(value.shape)}")
    if isinstance(value, Mapping):
        return f"mapping with {', '.join(map(repr, list(value)[:8]))}"
    if _entries(value) is not None:
        return f"{'list' if isinstance(value, list) else 'tuple'} of {len(value)}"
    return type(value).__name__


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """One leaf that differs. ``kind`` is structure, constant, dtype, layout, shape or value; amounts are set for values only.

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
        found = {"kind": self.kind, "actual": self.actual, "expected": self.expected}
        if self.kind != "value":
            return found
        amounts = {"max_abs": self.amount, "allowed": self.allowed, "differing": self.differing, "total": self.total}
        return {**found, **amounts, "index": list(self.index)}


def compare(
    actual: Any, expected: Any, tolerance: Tolerance | Mapping[str, Tolerance] | None = None, path: str = ""
) -> list[Mismatch]:
    """All leaves in which ``actual`` differs from ``expected``; empty when they are the same.

    Mappings are compared by key, sequences by position: TorchScript knows neither a namedtuple nor a ModelOutput, and a
    deployed trace hands out a tuple or a dict for them. Tensors are compared by dtype, layout, shape and value, with the
    tolerances of :func:`torch.testing.assert_close` unless ``tolerance`` says otherwise, for all dtypes or by the name of
    each (``"float32"``); NaN equals NaN, an infinity the same infinity. A nested tensor is compared part by part.
    """
    tolerance = tolerance or Tolerance()
    name = path or ROOT
    if isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor):
        if expected.is_nested and _same_kind(actual, expected) and actual.size(0) == expected.size(0):
            return compare(actual.unbind(), expected.unbind(), tolerance, path)
        mismatch = _compare_tensors(actual, expected, tolerance, name)
        return [mismatch] if mismatch else []
    pairs = _pairs(actual, expected)
    if pairs is not None:
        return [mismatch for key, mine, theirs in pairs for mismatch in compare(mine, theirs, tolerance, join(path, key))]
    if type(actual) is not type(expected) or _entries(expected) is not None:
        return [Mismatch(path=name, kind="structure", actual=describe(actual), expected=describe(expected))]
    if isinstance(expected, _CONSTANTS) and actual != expected and not (_is_nan(actual) and _is_nan(expected)):
        return [Mismatch(path=name, kind="constant", actual=repr(actual)[:80], expected=repr(expected)[:80])]
    return []


_CONSTANTS = (bool, int, float, complex, str, bytes, type(None), torch.Size, torch.dtype, torch.device)


def _is_nan(value: Any) -> bool:
    # NaN alone, real or complex, differs from itself.
    return isinstance(value, (float, complex)) and value != value


def _pairs(actual: Any, expected: Any) -> list[tuple[Any, Any, Any]] | None:
    """The entries of two containers that have the same keys or the same length; None for others."""
    mine, theirs = _entries(actual), _entries(expected)
    if mine is None or theirs is None or isinstance(actual, Mapping) != isinstance(expected, Mapping):
        return None
    # TorchScript has dicts by text or by number; the entries are matched by what their keys read as.
    by_name = {str(key): entry for key, entry in mine}
    entries = list(theirs)
    if by_name.keys() != {str(key) for key, _ in entries}:
        return None
    return [(key, by_name[str(key)], entry) for key, entry in entries]


def _compare_tensors(
    actual: torch.Tensor, expected: torch.Tensor, tolerance: Tolerance | Mapping[str, Tolerance], path: str
) -> Mismatch | None:
    kind = _other_kind(actual, expected)
    if kind is not None:
        name, mine, theirs = kind
        return Mismatch(path=path, kind=name, actual=mine, expected=theirs)
    if actual.is_meta or expected.is_meta:
        return None
    dtype = torch.float32 if expected.is_quantized else expected.dtype
    actual, expected = dense(actual), dense(expected)
    if torch.equal(actual, expected):
        return None
    if isinstance(tolerance, Mapping):
        tolerance = tolerance.get(str(dtype).removeprefix("torch."), Tolerance())
    rtol, atol = default_tolerances(dtype)
    rtol = rtol if tolerance.rtol is None else tolerance.rtol
    atol = atol if tolerance.atol is None else tolerance.atol
    return _compare_values(actual, expected, rtol, atol, path)


def _other_kind(actual: torch.Tensor, expected: torch.Tensor) -> tuple[str, str, str] | None:
    """In what two tensors differ but for their values, and what each has there."""
    if actual.dtype != expected.dtype:
        return "dtype", _dtype(actual), _dtype(expected)
    if not _same_kind(actual, expected):
        return "layout", _layout(actual), _layout(expected)
    if expected.is_nested:
        return ("shape", describe(actual), describe(expected)) if actual.size(0) != expected.size(0) else None
    if actual.shape != expected.shape:
        return "shape", str(tuple(actual.shape)), str(tuple(expected.shape))
    return None


def _compare_values(actual: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float, path: str) -> Mismatch | None:
    """The worst of the values that differ by more than is allowed, of two strided tensors of one shape and dtype."""
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
    magnitude = float(reference.to(wide).abs())
    return Mismatch(
        path=path,
        kind="value",
        actual=_number(actual[index]),
        expected=_number(reference),
        amount=float(distance[index]),
        # Nothing but itself is close to an infinity or to NaN.
        allowed=atol + rtol * magnitude if math.isfinite(magnitude) else 0.0,
        index=index,
        differing=int(wrong.sum()),
        total=expected.numel(),
    )


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _layout(tensor: torch.Tensor) -> str:
    return f"{'nested ' if tensor.is_nested else ''}{str(tensor.layout).removeprefix('torch.')}"


def _number(scalar: torch.Tensor) -> str:
    value = scalar.item()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
