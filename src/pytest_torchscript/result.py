"""What was found, as data: a gate has cells, a cell has checks, a check has findings.

Nothing here knows torch or pytest. :meth:`GateResult.to_json` gives the dictionaries of the JSON report (schema 1), the
source every other report is rendered from, and :meth:`GateResult.from_json` reads them back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

__all__ = ["SCHEMA", "CellResult", "CheckResult", "Finding", "GateResult", "Outcome", "Status", "Verdict"]

SCHEMA = 1


class Status(str, Enum):
    """How one check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Outcome(str, Enum):
    """How one gate ended."""

    PASSED = "passed"
    FAILED = "failed"
    XFAILED = "xfailed"
    SKIPPED = "skipped"
    CRASHED = "crashed"


class Verdict(str, Enum):
    """What a failing check says about the model; the failure ``type`` in every report."""

    EAGER_FAILURE = "EagerFailure"
    NON_DETERMINISTIC = "NonDeterministic"
    NON_FINITE = "NonFinite"
    UNTRACEABLE = "Untraceable"
    NOT_EQUIVALENT = "NotEquivalent"
    VALUE_SPECIALISED = "ValueSpecialised"
    SHAPE_SPECIALISED = "ShapeSpecialised"
    PADDING_UNSAFE = "PaddingUnsafe"
    NOT_SERIALISABLE = "NotSerialisable"
    WEIGHTS_CHANGED = "WeightsChanged"
    SIDE_EFFECT = "SideEffect"
    DEVICE_PINNED = "DevicePinned"
    TARGET_UNSUPPORTED = "TargetUnsupported"
    TARGET_FAILURE = "TargetFailure"
    CRASHED = "Crashed"
    UNAVAILABLE = "Unavailable"


_DEEPEST = 20
_MOST_OF_A_VALUE = 200


def _jsonable(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON can hold it, whatever a target or a rule put there.

    NaN and infinity, which JSON does not have, become the texts a reader expects; a 0-d tensor or a NumPy number becomes a
    number, another object its kind and shape, or a short text.
    """
    if isinstance(value, (bool, type(None))):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if depth == _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {str(_jsonable(key)): _jsonable(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(entry, depth + 1) for entry in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_jsonable(entry, depth + 1) for entry in value), key=repr)
    return _other(value, depth)


def _other(value: Any, depth: int) -> Any:
    try:
        shape = getattr(value, "shape", None)
        if shape is not None and not tuple(shape):
            return _jsonable(value.item(), depth + 1)
        text = f"{type(value).__name__} {tuple(shape)}" if shape is not None else repr(value)
    except Exception:  # noqa: BLE001 - an object that cannot even be named
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MOST_OF_A_VALUE else text[:_MOST_OF_A_VALUE] + "…"


def _text(value: Any) -> str:
    """What a reader reads, of anything that somebody took for a text."""
    return value if isinstance(value, str) else str(_jsonable(value))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One observation, which can be followed to an output leaf and to a source line.

    ``path`` is an output leaf, an input, a parameter or a buffer; ``file`` is relative to the root directory where it lies
    below it; ``line`` is 1-based; ``function`` and ``source`` are the function's name and the text of that line;
    ``where`` says what the line is to the failure ("baked at", "branches at"); ``hint`` is the one-line remedy.
    ``details`` holds the figures behind the message (amount, allowance, index, size).
    """

    message: str
    path: str | None = None
    file: str | None = None
    line: int | None = None
    function: str | None = None
    source: str | None = None
    where: str | None = None
    hint: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", _text(self.message))
        for name in ("path", "file", "function", "source", "where", "hint"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                object.__setattr__(self, name, _text(value))
        if not isinstance(self.details, Mapping):
            object.__setattr__(self, "details", {"details": self.details})

    def to_json(self) -> dict[str, Any]:
        return {
            "message": self.message,
            "path": self.path,
            "file": self.file,
            "line": self.line,
            "function": self.function,
            "source": self.source,
            "where": self.where,
            "hint": self.hint,
            "details": _jsonable(self.details),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        return cls(**{"details": {}, **data})


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check in one cell. ``reason`` is owed by a skipped check; ``seconds`` is wall time."""

    name: str
    status: Status
    verdict: Verdict | None = None
    seconds: float = 0.0
    reason: str | None = None
    findings: tuple[Finding, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.status is Status.FAILED) != (self.verdict is not None):
            raise ValueError(f"check {self.name!r}: a verdict goes with a failure and with nothing else")
        if self.status is Status.SKIPPED and not self.reason:
            raise ValueError(f"check {self.name!r}: a skipped check owes a reason")

    @classmethod
    def passed(cls, name: str, *, findings: tuple[Finding, ...] = (), **metrics: Any) -> CheckResult:
        return cls(name=name, status=Status.PASSED, findings=findings, metrics=metrics)

    @classmethod
    def skipped(cls, name: str, reason: str) -> CheckResult:
        return cls(name=name, status=Status.SKIPPED, reason=reason)

    @classmethod
    def failed(cls, name: str, verdict: Verdict, *findings: Finding, **metrics: Any) -> CheckResult:
        return cls(name=name, status=Status.FAILED, verdict=verdict, findings=findings, metrics=metrics)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "status": self.status.value,
            "verdict": self.verdict.value if self.verdict else None,
            "seconds": round(self.seconds, 6),
            "reason": self.reason,
            "findings": [finding.to_json() for finding in self.findings],
            "metrics": _jsonable(self.metrics),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CheckResult:
        return cls(
            name=data["name"],
            status=Status(data["status"]),
            verdict=Verdict(data["verdict"]) if data["verdict"] else None,
            seconds=data["seconds"],
            reason=data["reason"],
            findings=tuple(Finding.from_json(entry) for entry in data["findings"]),
            metrics=data["metrics"],
        )


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """One (target, batch size, sequence length). A size is None where the inputs have no such axis."""

    target: str
    batch_size: int | None
    seq_len: int | None
    checks: tuple[CheckResult, ...]
    dims: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """``"ok"``, or the verdict of the first check that failed."""
        for check in self.checks:
            if check.verdict is not None:
                return check.verdict.value
        return "ok"

    @property
    def label(self) -> str:
        """``torchscript b2 s16``, as in the terminal."""
        sizes = [f"{letter}{size}" for letter, size in (("b", self.batch_size), ("s", self.seq_len)) if size is not None]
        return " ".join([self.target, *sizes])

    def check(self, name: str) -> CheckResult:
        """The result of the check called ``name``; KeyError if there is none."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "batch_size": self.batch_size,
            "seq_len": self.seq_len,
            "verdict": self.verdict,
            "dims": dict(self.dims),
            "checks": [check.to_json() for check in self.checks],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CellResult:
        return cls(
            target=data["target"],
            batch_size=data["batch_size"],
            seq_len=data["seq_len"],
            checks=tuple(CheckResult.from_json(entry) for entry in data["checks"]),
            dims=data["dims"],
        )


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """One model under one marker. ``reason`` says why a skipped gate did not run."""

    id: str
    nodeid: str
    outcome: Outcome
    cells: tuple[CellResult, ...] = ()
    baseline: str | None = None
    seconds: float = 0.0
    reason: str | None = None

    @classmethod
    def judged(cls, id: str, nodeid: str, cells: tuple[CellResult, ...], seconds: float = 0.0) -> GateResult:
        """The result whose outcome follows from its cells: one failing cell fails the gate."""
        failed = not cells or any(cell.verdict != "ok" for cell in cells)
        outcome = Outcome.FAILED if failed else Outcome.PASSED
        return cls(id=id, nodeid=nodeid, outcome=outcome, cells=cells, seconds=seconds)

    @property
    def failed(self) -> bool:
        return self.outcome in (Outcome.FAILED, Outcome.CRASHED)

    def renamed(self, id: str) -> GateResult:
        return replace(self, id=id)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "nodeid": self.nodeid,
            "outcome": self.outcome.value,
            "baseline": self.baseline,
            "seconds": round(self.seconds, 6),
            "reason": self.reason,
            "cells": [cell.to_json() for cell in self.cells],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GateResult:
        return cls(
            id=data["id"],
            nodeid=data["nodeid"],
            outcome=Outcome(data["outcome"]),
            cells=tuple(CellResult.from_json(entry) for entry in data["cells"]),
            baseline=data["baseline"],
            seconds=data["seconds"],
            reason=data.get("reason"),
        )
