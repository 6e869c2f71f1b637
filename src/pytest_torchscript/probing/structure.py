"""Probes without weights: is the program of a trace made at other sizes the same one?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cell import Cell
from ..nested import compare
from ..result import ProbeResult
from ..subject.inputs import resize
from ..tracing.graph import differences
from ..tracing.trace import Traced
from .axes import accounted, probed_dims
from .explored import Explored, Factor, tried
from .plan import grid
from .run import Probe, classify

__all__ = ["explored_structure"]

_MOST_SIZES = 3


def explored_structure(cell: Cell, traced: Traced) -> Explored:
    """Probe one other size of each dim, then all of them together; further sizes where it does not trace at the first."""
    dims = probed_dims(cell, traced.conversions)
    sizes = dims.sizes(cell.inputs)
    probes: dict[str, dict[int, Probe]] = {dim: {} for dim in sizes}
    inputs: dict[tuple[str, int], Mapping[str, Any]] = {}
    records: list[ProbeResult] = []

    def ask(changed: Mapping[str, int], why: str) -> tuple[Probe, Mapping[str, Any]]:
        given = resize(cell.inputs, dims, changed, mask=cell.mask)
        found = _probe(cell, traced, given)
        words = ", ".join(f"{dim} {size}" for dim, size in changed.items())
        records.append(ProbeResult(changed=words, why=why, outcome=found.kind, check="shapes"))
        return found, given

    for dim, size in sizes.items():
        # A trace made at size 1 is often another program (a broadcast, a causal flag), so 1 is tried only without another size.
        wanted = [other for other in grid(size, cell.limits.get(dim)) if other > 1] or grid(size, cell.limits.get(dim))[:1]
        for other in wanted[:_MOST_SIZES]:
            probes[dim][other], inputs[dim, other] = ask({dim: other}, "no weights: one other size tells the program")
            if probes[dim][other].kind != "outside":
                break
    together = _together(sizes, probes, ask)
    states = {dim: classify({size: found.kind for size, found in probes[dim].items()}) for dim in sizes}
    reasons = {dim: tried(sizes[dim], probes[dim]) for dim in sizes}
    return Explored(
        dims=dims,
        sizes=sizes,
        probes=probes,
        inputs=inputs,
        together=together,
        axes=accounted(cell, dims, states, reasons),
        records=tuple(records),
    )


def _together(sizes: Mapping[str, int], probes: Mapping[str, Mapping[int, Probe]], ask: Any) -> tuple[Factor, ...]:
    """Probe all dims at once that are equal alone; a factor where they disagree together."""
    changed = {dim: size for dim in sizes for size, found in list(probes[dim].items())[-1:] if found.kind == "equal"}
    if len(changed) < 2:
        return ()
    found, given = ask(changed, "all dims at once")
    if found.kind not in ("wrong", "raises"):
        return ()
    return (Factor(", ".join(f"{dim} {size}" for dim, size in changed.items()), given, found, changed),)


def _probe(cell: Cell, traced: Traced, inputs: Mapping[str, Any]) -> Probe:
    """Compare the traced program with a trace made at ``inputs``: its outputs' shapes, and the program itself."""
    try:
        there = cell.graph_at(inputs)
    except Exception as error:  # noqa: BLE001 - inputs at which the model does not trace are outside its domain
        return Probe("outside", error=error)
    try:
        actual = cell.scripted(traced.module, inputs)
    except Exception as error:  # noqa: BLE001 - an error of the program is the outcome `raises`
        return Probe("raises", error=error)
    mismatches = tuple(compare(actual, there.outputs))
    return Probe("wrong" if mismatches or differences(cell.graph, there) else "equal", mismatches)
