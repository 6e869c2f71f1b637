"""Saving and loading."""

from __future__ import annotations

from typing import Any

from .. import source
from ..diagnosis.cause import Cause
from ..nested import identical
from ..result import CheckResult, Finding, Verdict
from ..tracing.execute import round_trip
from ..tracing.trace import quiet
from .base import Check, Context

__all__ = ["RoundTrip"]


class RoundTrip(Check):
    """``torch.jit.save`` then ``torch.jit.load`` keeps outputs, parameters and buffers."""

    name = "roundtrip"
    requires = frozenset({"eager", "trace"})

    def run(self, context: Context) -> CheckResult:
        with quiet():
            try:
                loaded = round_trip(context.module)
            except Exception as error:  # noqa: BLE001 - torch refuses to save or to load: that is the finding
                return CheckResult.failed(self.name, Verdict.NOT_SERIALISABLE, self._refused(context, error))
        context.loaded = loaded
        findings = []
        # Not the file's size: torch numbers the classes it saves, across the process.
        size = sum(tensor.numel() * tensor.element_size() for tensor in context.module.state_dict().values())
        before, after = context.module.state_dict(), loaded.state_dict()
        for name in dict.fromkeys((*before, *after)):
            if name not in after or name not in before:
                where = "lost" if name not in after else "new"
                findings.append(context.finding(f"{name!r} is {where} after save and load", path=name))
            elif not identical(before[name], after[name]):
                findings.append(context.finding(f"{name!r} has other values after save and load", path=name))
        try:
            mine, theirs = context.scripted(profiled=True), self._loaded_output(context)
            if context.compare(theirs, mine):
                # The plain executor types a number times an integer tensor otherwise in a loaded program: deployments
                # run the default one, which costs more and is asked only then.
                theirs = context.scripted(module=loaded, profiled=True)
        except Exception as error:  # noqa: BLE001 - the loaded program fails where the traced one ran, or both fail
            findings.append(context.failure(error))
            return CheckResult.failed(self.name, Verdict.NOT_SERIALISABLE, *findings)
        if context.compare(theirs, mine) and context.compare(context.scripted(profiled=True), mine):
            # A program that draws gives another answer every time; that is not the file's doing.
            theirs = mine
        findings += [
            context.finding(
                f"{mismatch.label} changes through save and load: {mismatch.text}",
                path=mismatch.path,
                details=mismatch.details(),
            )
            for mismatch in context.compare(theirs, mine)
        ]
        if findings:
            return CheckResult.failed(self.name, Verdict.NOT_SERIALISABLE, *findings, bytes=size)
        return CheckResult.passed(self.name, bytes=size)

    @staticmethod
    def _loaded_output(context: Context) -> Any:
        """What the loaded program gives under the plain executor; None where it stumbles there."""
        try:
            return context.scripted(module=context.loaded)
        except Exception:  # noqa: BLE001 - the default executor has the last word
            return None

    def _refused(self, context: Context, error: Exception) -> Finding:
        finding = context.failure(error)
        if finding.line is None:
            causes = [Cause(line, "python operation at") for line in self._python_operations(context)]
            if not causes and (line := context.returned_at()) is not None:
                causes = [Cause(line, "in the program of")]
            return context.caused([finding], causes[:1], hint=finding.hint or "use torch operations only")[0]
        return finding

    @staticmethod
    def _python_operations(context: Context) -> list[source.Line]:
        """Lines whose operation is Python code, which no file can hold."""
        found = []
        graph = context.module.inlined_graph  # made anew by each look; its nodes die with it
        for node in graph.nodes():
            if node.kind() == "prim::PythonOp":
                line = source.innermost(source.parse_stack(node.sourceRange()))
                if line is not None:
                    found.append(line)
        return found
