"""The exported program tried on other inputs: what it gives beside eager, and the sizes to try."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...nested import Mismatch, clone, map_tensors, tensors
from ..deployment import Deployment

__all__ = ["FAST_PATH_HINT", "Probe", "Program", "classify", "differs_by_fast_path", "give", "probe", "sizes_to_try"]

Program = Callable[..., Any]
"""An exported program: takes the inputs by position."""

FAST_PATH_HINT = (
    "let nothing depend on padded positions, and compare without the fast path: torch.backends.mha.set_fastpath_enabled(False) "
    "in the test or its conftest.py"
)


@dataclass(frozen=True)
class Probe:
    """A program and eager on the same inputs: ``equal``, ``wrong``, ``raises``, or ``outside`` where eager has no answer."""

    kind: str
    mismatches: tuple[Mismatch, ...] = ()
    error: BaseException | None = None


def give(program: Program, inputs: Mapping[str, Any]) -> Any:
    """The program's outputs for copies of the inputs; nothing that runs later changes them."""
    return map_tensors(lambda tensor: tensor.detach().clone(), program(*clone(dict(inputs)).values()))


def sizes_to_try(size: int, limit: int | None = None) -> list[int]:
    """Half, more than double, one, the next, and the double, which keeps what divides the size; none beyond ``limit``."""
    sizes = dict.fromkeys((max(size // 2, 1), 2 * size + 1, 1, size + 1, 2 * size))
    return [other for other in sizes if other != size and (limit is None or other <= limit)]


def classify(kinds: Mapping[int, str]) -> str:
    """The class of a dim, from the kind of every probe: dynamic, fixed, partial, unsafe or untested."""
    seen = set(kinds.values()) - {"outside"}
    if not seen:
        return "untested"
    if "wrong" in seen:
        return "unsafe"
    return {frozenset({"equal"}): "dynamic", frozenset({"raises"}): "fixed"}.get(frozenset(seen), "partial")


def probe(deployment: Deployment, program: Program, inputs: Mapping[str, Any]) -> Probe:
    """Give the same inputs to eager and to the program."""
    try:
        expected = deployment.eager(inputs)
    except Exception as error:  # noqa: BLE001 - eager refuses: outside the model's domain, whatever it raises
        if not deployment.without_weights:
            return Probe("outside", error=error)
        # Without weights eager often cannot run where the program can.
        expected = None
    if not all(_finite(leaf) for _, leaf in tensors(expected)):
        return Probe("outside")
    try:
        actual = give(program, inputs)
    except Exception as error:  # noqa: BLE001 - a loud refusal
        return Probe("raises", error=error)
    mismatches = () if expected is None else tuple(deployment.compare(actual, expected))
    if mismatches and deployment.compare(deployment.eager(inputs), expected):
        return Probe("outside")
    return Probe("wrong" if mismatches else "equal", mismatches)


def _finite(leaf: torch.Tensor) -> bool:
    if leaf.is_meta or leaf.is_quantized or leaf.layout != torch.strided or not leaf.is_floating_point():
        return True
    return bool((leaf.float() if leaf.itemsize == 1 else leaf).isfinite().all())


def differs_by_fast_path(deployment: Deployment, inputs: Mapping[str, Any], actual: Any) -> bool:
    """Whether outputs are not eager's, and would be without the fast path of torch's own encoder."""
    fast = torch.backends.mha.get_fastpath_enabled()
    if not fast or not any(isinstance(part, torch.nn.TransformerEncoderLayer) for part in deployment.model.modules()):
        return False
    try:
        if not deployment.compare(actual, deployment.eager(inputs)):
            return False
        torch.backends.mha.set_fastpath_enabled(False)
        return not deployment.compare(actual, deployment.eager(inputs))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
