"""What a baseline knows of a gate, and what a result would record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..result import DYNAMIC, OK, GateResult

__all__ = ["UNKNOWN", "CellRecord", "Entry", "cells_of"]

UNKNOWN = "*"
"""The cell of a gate that ended before its cells were known; as a target it stands for any."""


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """One cell: the verdict of the first failing check or ``ok``, the verdicts of further ones, the class of each dim."""

    verdict: str = OK
    also: tuple[str, ...] = ()
    dims: Mapping[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> frozenset[str]:
        return frozenset() if self.verdict == OK else frozenset((self.verdict, *self.also))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One gate: its cells by name, and why it fails; ``reason`` is empty until somebody says."""

    cells: Mapping[str, CellRecord]
    reason: str | None = None

    @property
    def failures(self) -> frozenset[str]:
        """The verdicts of all failing checks of all cells."""
        return frozenset(verdict for cell in self.cells.values() for verdict in cell.failures)


def cells_of(gate: GateResult) -> dict[str, CellRecord]:
    """What a baseline would record of a gate that ran, by cell name; of a gate that ended before its cells, one ``*``."""
    if not gate.cells:
        return {UNKNOWN: CellRecord(verdict=next(iter(gate.verdicts), OK))}
    cells: dict[str, CellRecord] = {}
    for cell in gate.cells:
        also = tuple(sorted(cell.failures[1:]))
        record = CellRecord(verdict=cell.verdict, also=also, dims=dict(sorted(cell.dims.items())))
        cells[cell.name] = _together(cells[cell.name], record) if cell.name in cells else record
    return cells


def _together(one: CellRecord, other: CellRecord) -> CellRecord:
    """Two cells of one name: both sets of failures, and a dim is dynamic only if it is so in both."""
    failures = one.failures | other.failures
    verdict = next((record.verdict for record in (one, other) if record.failures), OK)
    dims = {**one.dims, **{dim: kind for dim, kind in other.dims.items() if one.dims.get(dim, DYNAMIC) == DYNAMIC}}
    return CellRecord(verdict=verdict, also=tuple(sorted(failures - {verdict})), dims=dims)
