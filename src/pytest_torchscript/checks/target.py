"""What the deployment target adds to the checks of the trace itself."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..result import CheckResult, Finding, Status, Verdict
from ..targets.base import FAIL, WARN, Missing, Proof, Target, Unsupported
from ..targets.deployment import Deployment
from ..tracing.execute import StillRunning, in_own_thread
from ..tracing.trace import quiet
from .base import META, Check, Context

__all__ = ["TargetCheck"]

_FOR_ALL = ("eager", "trace", "equivalence")
_TIMEOUT = "the target did not end in time"


@contextlib.contextmanager
def _unfused() -> Iterator[None]:
    """Attention as the products it is made of: torch's counter takes its fused kernels on the CPU for nothing."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


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


class TargetCheck(Check):
    """What the target adds: its artefact built, run and compared, or its rules; and the budget of operations."""

    name = "target"
    requires = frozenset({"eager"})
    numeric = False

    def run(self, context: Context) -> CheckResult:
        target = context.target
        adds = type(target).build is not Target.build or type(target).rules is not Target.rules
        counts = context.spec.max_flops is not None or len(context.spec.seq_len) > 1
        if not adds and not counts:
            return CheckResult.skipped(self.name, f"the {target.name} target adds nothing without max_flops")
        with _own_folder() as folder:
            metrics: dict[str, Any] = {}
            over = self._budget(context, metrics) if counts else None
            if not adds:
                result = CheckResult.passed(self.name)
            else:
                deployment = Deployment(context, directory=folder, timeout=context.targets.timeout)
                result = self._proved(context, target, deployment)
                metrics |= {**deployment.metrics, **result.metrics}
        if over is not None:
            findings = (over, *result.findings)
            return CheckResult.failed(self.name, result.verdict or Verdict.TARGET_FAILURE, *findings, **metrics)
        if result.status is Status.SKIPPED and metrics:
            # Something was measured: the figures count, and the reason still says what was not done.
            return CheckResult(name=self.name, status=Status.PASSED, reason=result.reason, metrics=metrics)
        return replace(result, metrics=metrics)

    # Cost

    @staticmethod
    def _budget(context: Context, metrics: dict[str, Any]) -> Finding | None:
        """Count one call: a finding when it is beyond the budget, or when it cannot be counted and there is one."""
        budget = context.spec.max_flops
        metrics |= {} if budget is None else {"max_flops": budget}
        counter = FlopCounterMode(display=False)
        with quiet(), _unfused(), counter:
            try:
                context.call.run(context.model)
            except Exception as error:  # noqa: BLE001 - on the meta device eager may refuse what tracing accepts
                return None if budget is None else context.failure(error)
            finally:
                context.restore()
        flops = counter.get_total_flops()
        metrics["flops"] = flops
        if budget is None or flops <= budget:
            return None
        by_module = counter.get_flop_counts()
        top = [name for name in by_module if name.count(".") == 1]
        dearest = max(top, key=lambda name: sum(by_module[name].values()), default=None)
        share = f"; most in {dearest} ({sum(by_module[dearest].values()):,})" if dearest else ""
        return context.finding(
            f"one call takes {flops:,} floating-point operations, {flops / budget:.2f} times the budget "
            f"of {budget:,.0f}{share}",
            hint="make the model cheaper at this size, or raise max_flops knowingly",
            details={"flops": flops, "max_flops": budget},
        )

    # Proof

    def _proved(self, context: Context, target: Target, deployment: Deployment) -> CheckResult:
        try:
            missing = self._bounded(context, "missing", target.missing)
            if not missing:
                return self._built(context, target, deployment)
        except Missing as error:
            missing = str(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a vendor's tool may raise anything, or end the process
            return self._stumbled(context, target, deployment, error)
        return self._without_tools(context, target, deployment, missing)

    def _built(self, context: Context, target: Target, deployment: Deployment) -> CheckResult:
        """The artefact made, run and compared; or why there is nothing to make it from."""
        if target.needs_trace:
            failed = [name for name in _FOR_ALL if context.statuses.get(name) is Status.FAILED]
            if failed:
                return CheckResult.skipped(self.name, f"{' and '.join(failed)} failed")
            if context.traced is None:
                return CheckResult.skipped(self.name, "no trace was made")
            if context.meta:
                return CheckResult.skipped(self.name, META)
        artefact = self._bounded(context, "build", lambda: target.build(deployment))
        findings: list[Finding] = []
        proof = Proof.BUILT
        if not context.meta:
            samples = self._bounded(context, "probe", lambda: list(target.probe(deployment)))
            outputs = self._bounded(context, "run", lambda: target.run(artefact, deployment, samples))
            context.restore()
            if outputs is not None:
                proof = Proof.RAN
                deployment.metrics["compared"] = len(samples)
                findings += self._differences(context, target, samples, list(outputs))
        metrics = {"proof": proof}
        findings = [*deployment.failures, *findings]
        if findings:
            return CheckResult.failed(self.name, Verdict.TARGET_FAILURE, *findings, *deployment.notes, **metrics)
        return CheckResult.passed(self.name, findings=tuple(deployment.notes), **metrics)

    @staticmethod
    def _differences(context: Context, target: Target, samples: list[Any], outputs: list[Any]) -> list[Finding]:
        """The leaves in which the artefact's outputs are not eager's, each at the first sample that shows it."""
        if len(outputs) != len(samples):
            message = f"{target.name}: run() gave {len(outputs)} outputs for {len(samples)} inputs; one each is expected"
            return [context.finding(message)]
        found: dict[str, Finding] = {}
        for index, (inputs, actual) in enumerate(zip(samples, outputs, strict=True)):
            for mismatch in context.compare(actual, context.eager(inputs), widened=target.tolerance):
                which = "" if index == 0 else f" (input {index + 1} of {len(samples)})"
                finding = context.finding(
                    f"{target.name} gives another answer than eager{which}: {mismatch.label} by {mismatch.text}",
                    path=mismatch.path,
                    details={**mismatch.details(), "sample": index + 1},
                )
                found.setdefault(mismatch.path, finding)
        return list(found.values())

    def _without_tools(self, context: Context, target: Target, deployment: Deployment, missing: str) -> CheckResult:
        """Lint where the target has rules, a skip where it has none; a failure where the tools are required."""
        required = context.targets.require_sdk
        if not target.rules and not required:
            return CheckResult.skipped(self.name, missing)
        failures, warnings, outcomes = self._linted(context, target, deployment) if target.rules else ([], [], {})
        metrics: dict[str, Any] = {"proof": Proof.LINT, "rules": outcomes} if target.rules else {}
        reason = f"lint: {missing}; the published rules were checked, nothing was compiled" if target.rules else missing
        if required:
            head = context.finding(
                f"{target.name} cannot be proved here, and --torchscript-require-sdk asks for it: {missing}",
                hint="install what is missing, or run without --torchscript-require-sdk",
            )
            result = CheckResult.failed(self.name, Verdict.TARGET_FAILURE, head, *failures, *warnings, **metrics)
        elif failures:
            result = CheckResult.failed(self.name, Verdict.TARGET_UNSUPPORTED, *failures, *warnings, **metrics)
        else:
            result = CheckResult.passed(self.name, findings=tuple(warnings), **metrics)
        return replace(result, reason=reason)

    def _linted(
        self, context: Context, target: Target, deployment: Deployment
    ) -> tuple[list[Finding], list[Finding], dict[str, str]]:
        failures: list[Finding] = []
        warnings: list[Finding] = []
        outcomes: dict[str, str] = {}
        for rule in target.rules:
            try:
                found = self._bounded(context, f"rule {rule.name}", lambda rule=rule: list(rule.check(deployment)))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - a rule that stumbles must not hide the others
                outcomes[rule.name] = "not judged"
                broken = context.failure(error)
                warnings.append(replace(broken, message=f"lint {rule.name}: could not be judged: {broken.message}"))
                continue
            finally:
                context.restore()
            outcomes[rule.name] = rule.severity if found else "ok"
            worded = [
                replace(
                    finding,
                    message=f"lint {rule.name}: {finding.message}",
                    details={**finding.details, "rule": rule.name, "severity": rule.severity, "source": rule.source},
                )
                for finding in found
            ]
            {FAIL: failures, WARN: warnings}[rule.severity].extend(worded)
        return failures, warnings, outcomes

    def _stumbled(self, context: Context, target: Target, deployment: Deployment, error: BaseException) -> CheckResult:
        """What a target raised, as a finding: its verdict, root cause, line and remedy."""
        context.restore()
        if isinstance(error, Unsupported):
            finding = context.finding(str(error), line=error.line, where="refused at", hint=error.hint)
            return CheckResult.failed(self.name, Verdict.TARGET_UNSUPPORTED, finding, *deployment.notes)
        failure = context.failure(error)
        own = error.args[1] if isinstance(error, TimeoutError) and error.args[:1] == (_TIMEOUT,) else None
        message = f"{own} did not end within {context.targets.timeout:g} seconds" if own else failure.message
        usual = f"unless the model is to blame, mend the target {target.name!r} or its tools"
        if isinstance(error, TimeoutError):
            usual = "look for what hangs, or raise torchscript_target_timeout in pytest's configuration"
        hint = getattr(error, "hint", None) or failure.hint or usual
        finding = replace(failure, message=f"{target.name}: {message}", hint=hint)
        if own:
            # The stack is that of whoever waited.
            finding = context.finding(finding.message, hint=hint)
        return CheckResult.failed(self.name, Verdict.TARGET_FAILURE, finding, *deployment.notes)

    @staticmethod
    def _bounded(context: Context, what: str, function: Callable[[], Any]) -> Any:
        """Call a target, for so long and no longer; what still runs then is left behind in its thread.

        Raises:
            TimeoutError: with ``_TIMEOUT`` and what was called.
        """
        try:
            with quiet():
                return in_own_thread(function, timeout=context.targets.timeout)
        except StillRunning:
            raise TimeoutError(_TIMEOUT, what) from None
