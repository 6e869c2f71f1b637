"""What a deployment target is. Standard library only: a target is declared in every run, and used in few.

A target has a name and up to three things: :meth:`Target.build` makes what is deployed, :meth:`Target.run` runs that on
inputs, and :attr:`Target.rules` are checked where it cannot be built. The gate decides what is called,
bounds it in time, compares outputs leaf by leaf and words the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ..arguments import Argument, by_name
from ..errors import GateError
from ..spec import Tolerance

if TYPE_CHECKING:
    from .. import source
    from ..result import Finding
    from .deployment import Deployment

__all__ = ["DEFAULT_TIMEOUT", "FAIL", "WARN", "Missing", "NotJudged", "Proof", "Rule", "Target", "Targets", "Unsupported"]

FAIL, WARN = "fail", "warn"
DEFAULT_TIMEOUT = 600.0
"""Seconds that one call of a target may take."""


class Missing(GateError):
    """Raised by a target whose tools turn out not to work on this machine (a compiler that fails for any program)."""


class NotJudged(GateError):
    """Raised by a rule that does not apply, with the reason ("the model has no mask"): reports then say "not judged"."""


class Unsupported(GateError):
    """Raised by a target that cannot take this model: the verdict is ``TargetUnsupported``.

    ``line`` is the guilty one, ``hint`` the one-line remedy.
    """

    def __init__(self, message: str, *, line: source.Line | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.hint = hint


class Proof:
    """How much a passed ``target`` check proves; ``metrics["proof"]`` in the JSON report."""

    RAN = "ran"
    """What is deployed was made and run, and gave eager's outputs."""
    BUILT = "built"
    """It was made, and cannot be run on this machine."""
    LINT = "lint"
    """The tools are missing: published rules were checked, and nothing was made."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One published rule of a target, for machines without its tools.

    ``severity`` is ``"fail"`` or ``"warn"``; ``source`` says where the rule comes from. ``check`` yields a finding
    (:meth:`.Deployment.finding`) for each place that breaks the rule, and raises :class:`NotJudged` where it cannot tell.
    """

    name: str
    severity: str
    source: str
    check: Callable[[Deployment], Iterable[Finding]]

    def __post_init__(self) -> None:
        if self.severity not in (FAIL, WARN):
            raise ValueError(f"rule {self.name!r}: severity must be {FAIL!r} or {WARN!r}, not {self.severity!r}")


class Target:
    """A deployment target. Subclass it, give it a name, and return an instance from ``pytest_torchscript_targets``.

    An instance lives as long as the test session, so what one call stores on it is there in the next.
    """

    name: ClassVar[str]
    """What a marker's ``target=`` says: letters, digits, ``_`` and ``-``."""

    program: ClassVar[str | None] = None
    """What the target makes in TorchScript's place ("torch.export"); None where it deploys the trace. Reports then set the
    target's verdict beside TorchScript's, with the dims in ``metrics["<name>_dims"]``."""

    needs_trace: ClassVar[bool] = True
    """Whether :meth:`build` starts from the traced program. If so, it is not called where tracing failed, or where the trace
    is not equal to eager at its own inputs, or without weights."""

    fixed_shapes: ClassVar[bool] = False
    """Whether the target rejects every other shape at run time. The check ``shapes`` is skipped then: ``padding`` carries
    the proof."""

    tolerance: ClassVar[Mapping[str, Tolerance]] = {}
    """Tolerances for the outputs of :meth:`run`, by dtype (``"float32"``). A marker's ``rtol`` and ``atol`` win; a dtype
    that is not named has :func:`torch.testing.assert_close`'s."""

    arguments: ClassVar[Sequence[Argument] | Mapping[str, Callable[[str, Any], Any]]] = ()
    """Marker arguments of the target's own, each an :class:`pytest_torchscript.Argument`; or a mapping of their names to
    functions of name and value that return the value to use, or raise :class:`pytest_torchscript.SpecError`."""

    @property
    def excuses(self) -> Mapping[str, str]:
        """Checks that say nothing about this target, each with the reason."""
        return {"shapes": f"{self.name} accepts the traced shape only: padding carries the proof"} if self.fixed_shapes else {}

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules to check where :meth:`missing` gives a reason, or where nothing can be built."""
        return ()

    def missing(self) -> str | None:
        """What the target needs and this machine does not have, as a sentence; None when all is there."""
        return None

    def build(self, deployment: Deployment) -> Any:
        """Make what is deployed (a compiled program, a file) and return it; it is handed to :meth:`run`.

        Raises:
            Unsupported: the target cannot take this model.
            Missing: the tools do not work on this machine after all.
            Exception: anything else is a ``TargetFailure``, worded by its root cause.
        """
        return None

    def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any] | None:
        """Run the artefact on each of ``inputs`` (by name, in the order of the forward's parameters).

        Returns the outputs, nested as the model's own; None where this machine cannot run it.
        """
        return None

    def probe(self, deployment: Deployment) -> Iterable[Mapping[str, Any]]:
        """The inputs that :meth:`run` is tried on; the gate's own choice unless overridden."""
        return deployment.samples()


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The targets of a session and how they are judged.

    ``require_sdk`` makes a missing tool a failure instead of lint or a skip; ``timeout`` bounds each call of a target, in
    seconds.
    """

    by_name: Mapping[str, Target] = field(default_factory=dict)
    require_sdk: bool = False
    timeout: float = DEFAULT_TIMEOUT

    @property
    def arguments(self) -> dict[str, Mapping[str, Argument]]:
        """The marker arguments that each target declares, by its name."""
        return {name: by_name(target.arguments) for name, target in self.by_name.items()}
