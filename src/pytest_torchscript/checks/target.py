"""What the deployment target adds to the checks of the trace itself."""

from __future__ import annotations

from torch.utils.flop_counter import FlopCounterMode

from ..result import CheckResult, Verdict
from ..tracing.trace import quiet
from .base import Check, Context

__all__ = ["Target"]


class Target(Check):
    """What the target adds: for ``torchscript``, the budget of floating-point operations, if the marker gives one."""

    name = "target"
    requires = frozenset({"eager"})
    numeric = False

    def run(self, context: Context) -> CheckResult:
        budget = context.spec.max_flops
        if budget is None:
            return CheckResult.skipped(self.name, "the torchscript target adds nothing without max_flops")
        counter = FlopCounterMode(display=False)
        with quiet(), counter:
            try:
                context.call.run(context.model)
            except Exception as error:  # noqa: BLE001 - on the meta device eager may refuse what tracing accepts
                return CheckResult.failed(self.name, Verdict.TARGET_FAILURE, context.failure(error), max_flops=budget)
            finally:
                context.restore()
        flops = counter.get_total_flops()
        if flops <= budget:
            return CheckResult.passed(self.name, flops=flops, max_flops=budget)
        by_module = counter.get_flop_counts()
        top = [name for name in by_module if name.count(".") == 1]
        dearest = max(top, key=lambda name: sum(by_module[name].values()), default=None)
        share = f"; most in {dearest} ({sum(by_module[dearest].values()):,})" if dearest else ""
        finding = context.finding(
            f"one call takes {flops:,} floating-point operations, {flops / budget:.2f} times the budget "
            f"of {budget:,.0f}{share}",
            hint="make the model cheaper at this size, or raise max_flops knowingly",
            details={"flops": flops, "max_flops": budget},
        )
        return CheckResult.failed(self.name, Verdict.TARGET_FAILURE, finding, flops=flops, max_flops=budget)
