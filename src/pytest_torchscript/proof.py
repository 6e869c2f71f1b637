"""The second stage: what the deployment target adds to the checks of the trace itself."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import source
from .cell import Cell
from .checks import Evidence
from .checks.base import META
from .cost import counted
from .diagnosis.cause import Cause
from .diagnosis.error_text import root_cause
from .errors import GateError, Unavailable
from .explain import not_carried_out, produced
from .nested import clone, tensors
from .result import CheckResult, Finding, Status, Verdict
from .targets.base import FAIL, Missing, NotJudged, Proof, Rule, Target, Targets, Unsupported
from .targets.deployment import Deployment
from .tracing.execute import StillRunning, in_own_thread
from .tracing.trace import quiet

__all__ = ["proved"]

_NAME = "target"
_FOR_ALL = ("eager", "trace", "equivalence")
_OURS = ("flops", "max_flops", "proved", "proof", "rules", "compared")
"""Metrics that the gate sets; a target cannot set them."""


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """An empty folder, gone afterwards; what torch's compiler keeps on disk goes beside it, and no variable stays.

    Merely counting operations makes torch import its compiler, which names its cache in the environment and creates it.
    """
    variables = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="torchscript-target-", ignore_cleanup_errors=True) as name:
        folder = Path(name, "artefact")
        folder.mkdir()
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(name, "inductor"))
        try:
            yield folder
        finally:
            for variable in os.environ.keys() - variables.keys():
                del os.environ[variable]
            os.environ.update(variables)


def proved(cell: Cell, evidence: Evidence, results: Mapping[str, CheckResult], target: Target, targets: Targets) -> CheckResult:
    """What ``target`` adds: its artefact built, run and compared, or its rules; and the budget of operations.

    ``results`` are those of the checks before, by name.
    """
    started = time.perf_counter()
    if _NAME in cell.spec.skip:
        result = CheckResult.skipped(_NAME, cell.spec.skip[_NAME])
    elif "eager" in results and results["eager"].status is Status.FAILED:
        result = CheckResult.skipped(_NAME, "eager failed")
    else:
        try:
            result = _Stage(cell, evidence, results, target, targets).result()
        except Unavailable as error:
            result = CheckResult.failed(_NAME, Verdict.UNAVAILABLE, cell.finding(str(error)))
        except Exception as error:  # noqa: BLE001 - an error inside one target must not end the others
            result = CheckResult.failed(_NAME, Verdict.CRASHED, not_carried_out(cell, error))
    return replace(result, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class _Stage:
    """One target's proof of one cell."""

    cell: Cell
    evidence: Evidence
    results: Mapping[str, CheckResult]
    target: Target
    targets: Targets

    def result(self) -> CheckResult:
        spec = self.cell.spec
        adds = any(_overrides(self.target, name) for name in ("build", "run", "rules", "missing"))
        counts = spec.max_flops is not None or len(spec.seq_len) > 1
        if not adds and not counts:
            return CheckResult.skipped(_NAME, f"the {self.target.name} target adds nothing without max_flops")
        with _own_folder() as folder:
            measured, over = counted(self.cell) if counts else ({}, None)
            result = self._proved(folder) if adds else CheckResult.passed(_NAME)
        # The gate's own metrics replace those of the target.
        metrics = {**result.metrics, **measured}
        if over is not None:
            if adds and result.status is not Status.FAILED:
                metrics["proved"] = result.status is Status.PASSED
            findings = (over, *result.findings)
            return CheckResult.failed(_NAME, result.verdict or Verdict.TARGET_FAILURE, *findings, **metrics)
        if result.status is Status.SKIPPED and metrics:
            # Something was measured, so the check passed; the reason still says what was not done.
            return CheckResult(name=_NAME, status=Status.PASSED, reason=result.reason, metrics=metrics)
        return replace(result, metrics=metrics)

    def _proved(self, folder: Path) -> CheckResult:
        """The result of the target's own work on the model; what that changes in the model is undone."""
        deployment = Deployment(
            self.cell, self.evidence, self.results, self.target.tolerance, directory=folder, timeout=self.targets.timeout
        )
        try:
            result = self._judged(deployment)
        finally:
            # Parameters too: a trace shares them with its model, and what is deployed may be rounded in place.
            self.cell.restore_all()
        given = {name: value for name, value in deployment.metrics.items() if name not in _OURS}
        return replace(result, metrics={**given, **result.metrics})

    def _judged(self, deployment: Deployment) -> CheckResult:
        try:
            missing = self._bounded("missing()", self.target.missing)
            if missing:
                return self._without_tools(deployment, str(missing))
            if not _overrides(self.target, "build") and not _overrides(self.target, "run"):
                if not self.target.rules:
                    return CheckResult.skipped(_NAME, f"the {self.target.name} target has nothing to build and no rules")
                return self._linted(deployment, "the target has rules and nothing to build")
            return self._built(deployment)
        except Missing as error:
            return self._without_tools(deployment, str(error))
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a vendor's tool may raise anything
            return self._raised(deployment, error)

    def _built(self, deployment: Deployment) -> CheckResult:
        """The result of making, running and comparing the artefact; or why there is nothing to make it from."""
        if self.target.needs_trace:
            failed = [name for name in _FOR_ALL if name in self.results and self.results[name].status is Status.FAILED]
            if failed:
                return CheckResult.skipped(_NAME, f"{' and '.join(failed)} failed")
            if self.evidence.traced is None:
                return CheckResult.skipped(_NAME, "no trace was made")
            if self.cell.meta:
                if not self.target.rules:
                    return CheckResult.skipped(_NAME, META)
                return self._linted(deployment, "without weights nothing can be compiled")
        runs = _overrides(self.target, "run") and not self.cell.meta
        # Eager runs before the target does, since the target may change the model.
        samples = self._bounded("probe()", lambda: list(self.target.probe(deployment))) if runs else []
        if runs and not samples:
            return self._failed(deployment, self.cell.finding(f"{self.target.name}: probe() gave no input to run"))
        expected = [self.cell.eager(sample) for sample in samples]
        artefact = self._bounded("build()", lambda: self.target.build(deployment))
        findings: list[Finding] = []
        proof = Proof.BUILT
        compared: dict[str, Any] = {}
        if runs:
            copies = [clone(dict(sample)) for sample in samples]
            outputs = self._bounded("run()", lambda: _listed(self.target.run(artefact, deployment, copies)))
            if outputs is not None:
                proof, compared = Proof.RAN, {"compared": len(samples)}
                findings = self._differences(expected, outputs)
        findings = [*_findings(deployment.failures), *findings]
        if findings:
            return self._failed(deployment, *findings, proof=proof, **compared)
        return CheckResult.passed(_NAME, findings=tuple(_findings(deployment.notes)), proof=proof, **compared)

    def _failed(self, deployment: Deployment, *findings: Finding, **metrics: Any) -> CheckResult:
        return CheckResult.failed(_NAME, Verdict.TARGET_FAILURE, *findings, *_findings(deployment.notes), **metrics)

    def _differences(self, expected: list[Any], outputs: list[Any]) -> list[Finding]:
        """The leaves in which the artefact's outputs are not eager's, each at the first sample that shows it."""
        if len(outputs) != len(expected):
            message = f"{self.target.name}: run() gave {len(outputs)} outputs for {len(expected)} inputs; one each is expected"
            return [self.cell.finding(message)]
        found: dict[str, Finding] = {}
        for index, (wanted, actual) in enumerate(zip(expected, outputs, strict=True)):
            which = "" if index == 0 else f" (input {index + 1} of {len(expected)})"
            for path, _ in (leaf for leaf in tensors(actual) if leaf[1].is_meta):
                message = f"{self.target.name} gives output {path!r} without values, on the meta device{which}"
                found.setdefault(path, self.cell.finding(message, path=path))
            for mismatch in self.cell.compare(actual, wanted, widened=self.target.tolerance):
                if mismatch.path in found:
                    continue
                # The artefact has no lines of source, so the finding names the model's line that computes the leaf.
                computed = self._produced(mismatch.path)
                found[mismatch.path] = self.cell.finding(
                    f"{self.target.name} gives another answer than eager{which}: {mismatch.label} by {mismatch.text}",
                    path=mismatch.path,
                    details={**mismatch.details(), "sample": index + 1},
                    line=computed[0].line if computed else None,
                    where=computed[0].where if computed else None,
                    hint=None if found else _OTHER_ANSWER,
                )
        return list(found.values())

    # Lint

    def _without_tools(self, deployment: Deployment, missing: str) -> CheckResult:
        """The result without tools: that of the rules where there are some, else a skip; a failure if tools are required."""
        missing = missing or "its tools are missing"
        if not self.targets.require_sdk:
            if not self.target.rules:
                return CheckResult.skipped(_NAME, missing)
            return self._linted(deployment, missing)
        head = self.cell.finding(
            f"{self.target.name} cannot be proved here, and --torchscript-require-sdk asks for it: {missing}",
            hint="install what is missing, or run without --torchscript-require-sdk",
        )
        if not self.target.rules:
            return CheckResult.failed(_NAME, Verdict.TARGET_FAILURE, head)
        linted = self._linted(deployment, missing)
        findings = (head, *linted.findings)
        return CheckResult.failed(_NAME, Verdict.TARGET_FAILURE, *findings, **linted.metrics)

    def _linted(self, deployment: Deployment, why: str) -> CheckResult:
        """The result of the rules, each judged by itself: failures, warnings, and what could not be judged."""
        failures: list[Finding] = []
        warnings: list[Finding] = []
        broken: list[Finding] = []
        unjudged: dict[str, list[str]] = {}
        outcomes: dict[str, str] = {}
        for rule in self._bounded("rules", lambda: list(self.target.rules)):
            found: list[Finding] = []
            outcome = None
            try:
                self._bounded(f"rule {rule.name}", lambda rule=rule, found=found: _gathered(rule, deployment, found))  # type: ignore[misc]
            except NotJudged as reason_given:
                outcome = "not judged"
                unjudged.setdefault(str(reason_given), []).append(rule.name)
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - an error in one rule must not hide the others
                outcome = "not judged"
                message = self._overdue(error) or self.cell.failure(error).message
                finding = self.cell.finding(f"lint {rule.name}: could not be judged: {message}", hint=_mend(self.target))
                # A rule that can fail the gate has not passed if it was not judged.
                (broken if rule.severity == FAIL else warnings).append(finding)
            finally:
                self.cell.restore()
            outcomes[rule.name] = rule.severity if found else outcome or "ok"
            worded = [
                replace(
                    finding,
                    message=f"lint {rule.name}: {finding.message}",
                    details={**finding.details, "rule": rule.name, "severity": rule.severity, "source": rule.source},
                )
                for finding in found
            ]
            (failures if rule.severity == FAIL else warnings).extend(worded)
        if unjudged:
            listed = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in unjudged.items())
            reasons = {name: reason for reason, names in unjudged.items() for name in names}
            warnings.append(self.cell.finding(f"not judged here: {listed}", details={"not_judged": reasons}))
        reason = f"lint: {why}; the published rules were checked, nothing was compiled"
        metrics = {"proof": Proof.LINT, "rules": outcomes}
        if failures or broken:
            verdict = Verdict.TARGET_UNSUPPORTED if failures else Verdict.TARGET_FAILURE
            result = CheckResult.failed(_NAME, verdict, *failures, *broken, *warnings, **metrics)
        else:
            result = CheckResult.passed(_NAME, findings=tuple(warnings), **metrics)
        return replace(result, reason=reason)

    # Errors of the target

    def _raised(self, deployment: Deployment, error: Exception) -> CheckResult:
        """The result for an error that a target raised: verdict, root cause, line and remedy."""
        self.cell.restore()
        if isinstance(error, Unsupported):
            line = error.line if isinstance(error.line, source.Line) else None
            finding = self.cell.finding(root_cause(str(error)), line=line, where="refused at", hint=error.hint)
            return CheckResult.failed(_NAME, Verdict.TARGET_UNSUPPORTED, finding, *_findings(deployment.notes))
        overdue = self._overdue(error)
        if overdue:
            # The stack is that of the waiting thread, which is no cause.
            return self._failed(deployment, self.cell.finding(f"{self.target.name}: {overdue}", hint=_HANGS))
        failure = self.cell.failure(error.original if isinstance(error, _Ended) else error)
        own = getattr(error, "hint", None)
        usual = _HANGS if isinstance(error, TimeoutError) else _mend(self.target)
        hint = own if isinstance(own, str) else failure.hint or usual
        # An error of this package is a whole sentence, so the name of its class is left out.
        said = failure.message.removeprefix(f"{type(error).__name__}: ") if isinstance(error, GateError) else failure.message
        return self._failed(deployment, replace(failure, message=f"{self.target.name}: {said}", hint=hint))

    def _produced(self, path: str) -> list[Cause]:
        """The model's own line that computes an output leaf."""
        if self.evidence.traced is None:
            return []
        causes = produced(self.evidence.traced, self.evidence.expected, path)
        return [cause for cause in causes if not source.is_foreign(cause.line.file)]

    def _overdue(self, error: Exception) -> str | None:
        """A sentence for a call that did not end in time; None for any other error."""
        if not isinstance(error, _Overdue):
            return None
        return f"{error.what} did not end within {self.targets.timeout:g} seconds"

    def _bounded(self, what: str, function: Callable[[], Any]) -> Any:
        """Call a target for a limited time. A call that has not ended by then is left running in its thread.

        Raises:
            _Overdue: the time is over.
            Missing: what was called skips, as ``pytest.importorskip`` does.
            _Ended: it tries to end the process, or raises something else that is no Exception.
        """

        def guarded() -> Any:
            try:
                return function()
            except Exception:
                raise
            except BaseException as error:
                # pytest's outcomes are no Exceptions either. A skip means that something is missing.
                if type(error).__name__ == "Skipped":
                    raise Missing(str(error)) from error
                raise _Ended(error) from error

        try:
            with quiet():
                return in_own_thread(guarded, timeout=self.targets.timeout)
        except StillRunning:
            raise _Overdue(what) from None


_HANGS = "look for what hangs, or raise torchscript_target_timeout in pytest's configuration"
_OTHER_ANSWER = "compare the operations of what was deployed with eager's; rtol= and atol= of the marker set another tolerance"


def _mend(target: Target) -> str:
    return f"mend the target {target.name!r} or its tools, if the model is not the cause"


class _Overdue(Exception):
    """A call of a target that did not end in time; ``what`` was called."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class _Ended(Exception):
    """A target tried to end the process, or raised an outcome of pytest: ``original``."""

    def __init__(self, original: BaseException) -> None:
        super().__init__(str(original))
        self.original = original


def _overrides(target: Target, name: str) -> bool:
    return getattr(type(target), name) is not getattr(Target, name)


def _findings(given: list[Any]) -> list[Finding]:
    """What a target has put into a list of findings; a text becomes the message of one."""
    return [entry if isinstance(entry, Finding) else Finding(message=entry) for entry in given]


def _listed(outputs: Any) -> list[Any] | None:
    # A generator runs while it is listed, so it is listed within the limited time.
    return None if outputs is None else list(outputs)


def _gathered(rule: Rule, deployment: Deployment, found: list[Finding]) -> None:
    """Add each finding of a rule at once, so that an error that it raises later does not lose them."""
    for finding in rule.check(deployment):
        if not isinstance(finding, Finding):
            raise TypeError(f"a rule yields findings (deployment.finding), not {type(finding).__name__}")
        found.append(finding)
