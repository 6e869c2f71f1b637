"""The base class of the checks, and the evidence that they hand on to each other."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from ..cell import Cell
from ..errors import Unavailable
from ..explain import not_carried_out
from ..probing.explored import Explored
from ..result import CheckResult, Finding, Status, Verdict
from ..tracing.conversions import Conversion
from ..tracing.trace import Traced

__all__ = ["META", "Check", "Evidence", "Found"]

META = "meta weights"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the checks so far have found out about a cell.

    From ``eager``: ``expected``, the outputs at the traced inputs, None before the model has run; ``random``, whether two runs
    from the same state differ; ``refused``, whether the model raised, so that there are no outputs. From ``trace``: ``traced``.
    From ``equivalence``: ``equal``, whether the trace gives ``expected`` as well, and ``trace_writes``, the parameters that a
    run of the program changes, None where none ran. From ``values``, or ``shapes`` where the marker skips it: ``explored``,
    what the probes found. From ``values``: ``value_lines``, the lines that make the trace wrong for other values, as
    ``(absolute file, line)``. From ``shapes``: ``dims``, the class of each dim. From ``roundtrip``: ``loaded``, the program
    after save and load. From ``weights``: ``overwritten``, the parameters that it found overwritten.
    """

    expected: Any = None
    random: bool = False
    refused: bool = False
    traced: Traced | None = None
    equal: bool = False
    trace_writes: tuple[str, ...] | None = None
    explored: Explored | None = None
    value_lines: frozenset[tuple[str, int]] = frozenset()
    dims: Mapping[str, str] = field(default_factory=dict)
    loaded: Any = None
    overwritten: frozenset[str] = frozenset()

    def only(self, names: Iterable[str]) -> Evidence:
        """This evidence with the named fields only; the others have their defaults."""
        return Evidence(**{name: getattr(self, name) for name in names})

    def without(self, names: Collection[str]) -> Evidence:
        """This evidence without the named fields."""
        return self.only(entry.name for entry in fields(self) if entry.name not in names)

    @property
    def conversions(self) -> tuple[Conversion, ...]:
        """Where tensors became Python values while the model was traced."""
        return self.traced.conversions if self.traced is not None else ()

    @property
    def program(self) -> Any:
        """The traced program of a cell whose trace succeeded."""
        assert self.traced is not None
        return self.traced.module


@dataclass(frozen=True)
class Found:
    """What one check returns: its result, and the evidence that it adds, by field of :class:`Evidence`."""

    result: CheckResult
    gives: Mapping[str, Any] = field(default_factory=dict)


class Check(ABC):
    """One question about a model. The class's docstring is its description.

    ``requires`` names the checks that must not have failed before. ``reads`` and ``gives`` name the fields of
    :class:`Evidence` that the check is given and that it may add. ``numeric`` checks cannot run on meta weights.
    """

    name: ClassVar[str]
    requires: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str]] = frozenset()
    numeric: ClassVar[bool] = True

    @abstractmethod
    def run(self, cell: Cell, evidence: Evidence) -> Found:
        """Judge the cell's model. Must not raise for anything the model does."""

    def judge(self, cell: Cell, evidence: Evidence, statuses: Mapping[str, Status], *, excuse: str | None = None) -> Found:
        """Run the check on the evidence that it reads, unless there is a reason to skip it. The result has the time it took.

        ``excuse`` is the reason why this check says nothing about any target of the gate.
        """
        started = time.perf_counter()
        found = self._found(cell, evidence, statuses, excuse)
        return replace(found, result=replace(found.result, seconds=time.perf_counter() - started))

    def _found(self, cell: Cell, evidence: Evidence, statuses: Mapping[str, Status], excuse: str | None) -> Found:
        reason = cell.spec.skip.get(self.name) or excuse or self._reason_to_skip(cell, evidence, statuses)
        if reason:
            return self.skipped(reason)
        try:
            found = self.run(cell, evidence.only(self.reads))
        except Unavailable as error:
            return self.failed(Verdict.UNAVAILABLE, cell.finding(str(error)))
        except Exception as error:  # noqa: BLE001 - an error inside one check must not end the others
            gives = {"refused": True} if "refused" in self.gives else {}
            return self.failed(Verdict.CRASHED, not_carried_out(cell, error), gives=gives)
        undeclared = found.gives.keys() - self.gives
        assert not undeclared, f"check {self.name!r} gives {sorted(undeclared)} and does not declare it"
        return found

    def _reason_to_skip(self, cell: Cell, evidence: Evidence, statuses: Mapping[str, Status]) -> str | None:
        failed = sorted(name for name in self.requires if statuses.get(name) is Status.FAILED)
        if failed:
            return f"{' and '.join(failed)} failed"
        if cell.meta and self.numeric:
            return META
        if "trace" in self.requires and evidence.traced is None:
            return "no trace was made"
        return None

    # What run() returns

    def passed(self, findings: Iterable[Finding] = (), *, gives: Mapping[str, Any] | None = None, **metrics: Any) -> Found:
        """The result of a check that passed; ``findings`` are notes."""
        return Found(CheckResult.passed(self.name, findings=tuple(findings), **metrics), gives or {})

    def skipped(self, reason: str) -> Found:
        """The result of a check that did not run, with the reason."""
        return Found(CheckResult.skipped(self.name, reason))

    def failed(self, verdict: Verdict, *findings: Finding, gives: Mapping[str, Any] | None = None, **metrics: Any) -> Found:
        """The result of a check that failed, with its verdict."""
        return Found(CheckResult.failed(self.name, verdict, *findings, **metrics), gives or {})
