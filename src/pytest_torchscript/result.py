"""What was found, as data: a gate has cells, a cell has checks, a check has findings.

Nothing here knows torch or pytest. Every class is a :class:`~pytest_torchscript.record.Record`: its fields are the keys of
the JSON report (schema 1), the source that every other report is rendered from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from .errors import GateError
from .naming import cell_label, cell_name
from .record import Record, jsonable

__all__ = [
    "DIMS",
    "DYNAMIC",
    "OK",
    "SCHEMA",
    "UNPROBED",
    "AxisResult",
    "CellResult",
    "CheckResult",
    "Finding",
    "GateFailed",
    "GateResult",
    "Outcome",
    "ProbeResult",
    "Status",
    "Verdict",
]

SCHEMA = 1

OK = "ok"
UNPROBED = "unprobed"
"""The verdict of a cell in which no check failed."""

DYNAMIC = "dynamic"
DIMS = (DYNAMIC, "fixed", "partial", "unsafe", "untested")
"""The classes of a dim."""


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
    ERROR = "error"
    """Nothing was judged, and should have been."""
    CRASHED = "crashed"


class Verdict(str, Enum):
    """What a failing check says about the model, or why there is nothing to say; the failure ``type`` in every report."""

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
    NO_MODEL = "NoModel"
    NO_INPUTS = "NoInputs"
    NOT_JUDGED = "NotJudged"
    """The test itself failed, before its model could be judged."""


def _text(value: Any) -> str:
    """What a reader reads, of anything that somebody took for a text."""
    return value if isinstance(value, str) else str(jsonable(value))


@dataclass(frozen=True, kw_only=True)
class Finding(Record):
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


@dataclass(frozen=True, kw_only=True)
class CheckResult(Record):
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


@dataclass(frozen=True, kw_only=True)
class AxisResult(Record):
    """What is known of one axis of an input.

    ``dim`` is the dim that it belongs to, None where it is none; ``state`` the class of that dim, or ``unprobed``; ``reason``
    says which sizes were tried, or why none was.
    """

    dim: str | None
    state: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ProbeResult(Record):
    """One probe: what it changed, why it was tried, what came of it, and the check that it served.

    ``outcome`` is ``equal``, ``raises``, ``wrong``, or ``outside`` where eager itself refuses the inputs.
    """

    changed: str
    why: str
    outcome: str
    check: str


@dataclass(frozen=True, kw_only=True)
class CellResult(Record):
    """One (target, batch size, sequence length). A size is None where the inputs have no such axis.

    ``axes`` holds, by input path and by the number of the axis as text, what is known of each axis of each tensor input.
    ``program`` names what the target makes in TorchScript's place ("torch.export"), None where it deploys the trace.
    """

    target: str
    batch_size: int | None
    seq_len: int | None
    checks: tuple[CheckResult, ...]
    dims: Mapping[str, str] = field(default_factory=dict)
    axes: Mapping[str, Mapping[str, AxisResult]] = field(default_factory=dict)
    probes: tuple[ProbeResult, ...] = ()
    program: str | None = None

    _left_out = ("program",)

    @property
    def failures(self) -> list[str]:
        """The verdict of each failing check, once, in the order of the checks."""
        return list(dict.fromkeys(check.verdict.value for check in self.checks if check.verdict is not None))

    @property
    def verdict(self) -> str:
        """``"ok"``, or the verdict of the first check that failed."""
        return next(iter(self.failures), OK)

    @property
    def unprobed(self) -> list[str]:
        """The axes that no probe changed, as ``x[2]``."""
        return [
            f"{path}[{axis}]" for path, axes in self.axes.items() for axis, known in axes.items() if known.state == UNPROBED
        ]

    @property
    def name(self) -> str:
        """``torchscript[b2,s16]``, as in JUnit and baselines."""
        return cell_name(self.target, self.batch_size, self.seq_len)

    @property
    def label(self) -> str:
        """``torchscript b2 s16``, as in the terminal."""
        return cell_label(self.target, self.batch_size, self.seq_len)

    @property
    def sizes(self) -> str:
        """``b2 s16``; empty where no size is known."""
        return cell_label("", self.batch_size, self.seq_len)

    def check(self, name: str) -> CheckResult:
        """The result of the check called ``name``; KeyError if there is none."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """The fields, and the verdict that follows from them, for readers that do not look at the checks."""
        return {**super().to_json(), "verdict": self.verdict}


# What ended before its cells were known. A crash that the baseline expects is a crash all the same.
_WITHOUT_CELLS: Mapping[Outcome, Verdict] = {
    Outcome.FAILED: Verdict.EAGER_FAILURE,
    Outcome.CRASHED: Verdict.CRASHED,
    Outcome.XFAILED: Verdict.CRASHED,
}


@dataclass(frozen=True, kw_only=True)
class GateResult(Record):
    """One model under one marker.

    ``verdict`` is set where nothing was judged, and says why (``NoModel``, ``NoInputs``, ``NotJudged``); a gate with cells
    has its verdicts there. ``reason`` says why a skipped gate did not run, or what the baseline has to say.
    """

    id: str
    nodeid: str
    outcome: Outcome
    cells: tuple[CellResult, ...] = ()
    baseline: str | None = None
    seconds: float = 0.0
    reason: str | None = None
    verdict: Verdict | None = None

    _left_out = ("verdict",)

    @classmethod
    def judged(cls, id: str, nodeid: str, cells: tuple[CellResult, ...], seconds: float = 0.0) -> GateResult:
        """The result whose outcome follows from its cells: one failing cell fails the gate."""
        failed = not cells or any(cell.verdict != OK for cell in cells)
        outcome = Outcome.FAILED if failed else Outcome.PASSED
        return cls(id=id, nodeid=nodeid, outcome=outcome, cells=cells, seconds=seconds)

    @classmethod
    def not_judged(cls, id: str, nodeid: str, reason: str, cells: tuple[CellResult, ...] = ()) -> GateResult:
        """The result of a gate whose test failed: its body, its setup or its teardown, as ``reason`` says.

        ``cells`` are those that were judged before a teardown failed.
        """
        return cls(id=id, nodeid=nodeid, outcome=Outcome.ERROR, cells=cells, reason=reason, verdict=Verdict.NOT_JUDGED)

    @classmethod
    def without_model(cls, id: str, nodeid: str, message: str, *, inherited: bool) -> GateResult:
        """The result of a gate that found no model; ``message`` says what was looked for.

        It is an error where the test itself carries the marker, since its author meant a model to be judged, and a skip
        where the marker is ``inherited`` from a class, a module or the configuration.
        """
        return cls._nothing_to_judge(id, nodeid, Verdict.NO_MODEL, message, inherited)

    @classmethod
    def without_inputs(cls, id: str, nodeid: str, message: str, *, inherited: bool) -> GateResult:
        """The result of a gate that has a model and no inputs for it, as :meth:`without_model`."""
        return cls._nothing_to_judge(id, nodeid, Verdict.NO_INPUTS, message, inherited)

    @classmethod
    def _nothing_to_judge(cls, id: str, nodeid: str, verdict: Verdict, message: str, inherited: bool) -> GateResult:
        outcome = Outcome.SKIPPED if inherited else Outcome.ERROR
        return cls(id=id, nodeid=nodeid, outcome=outcome, reason=message, verdict=verdict)

    @property
    def failed(self) -> bool:
        """Whether the gate fails its test or its run: whatever was not judged, and should have been, does too."""
        return self.outcome in (Outcome.FAILED, Outcome.ERROR, Outcome.CRASHED)

    @property
    def verdicts(self) -> list[str]:
        """Why the gate did not pass: the first verdict of each failing cell, each once, or that of the gate itself."""
        verdict = self.verdict or (None if self.cells else _WITHOUT_CELLS.get(self.outcome))
        if verdict is not None:
            return [verdict.value]
        return list(dict.fromkeys(cell.verdict for cell in self.cells if cell.verdict != OK))

    def renamed(self, id: str) -> GateResult:
        return replace(self, id=id)


class GateFailed(GateError, AssertionError):
    """A model did not pass its gate; raised by ``torchscript.check``.

    ``result`` is the whole :class:`GateResult`, so that a test can look further than the text.
    """

    def __init__(self, message: str, result: GateResult) -> None:
        super().__init__(message)
        self.result = result
