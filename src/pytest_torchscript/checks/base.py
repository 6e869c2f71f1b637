"""What a check is, and what it works with."""

from __future__ import annotations

import functools
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from .. import source
from ..diagnosis.cause import Cause, specialisation
from ..diagnosis.error_text import root_cause, text_of
from ..diagnosis.lines import LineLog, first_line_where, last_return
from ..diagnosis.remedies import remedy_for
from ..nested import Mismatch, compare, tensors
from ..result import CheckResult, Finding, Status, Verdict
from ..spec import GateSpec, Tolerance
from ..subject.call import Call
from ..subject.inputs import BATCH, Dims, FreshValues
from ..subject.state import ModelState
from ..targets import Target, Targets, built_in
from ..tracing import execute
from ..tracing.conversions import Conversion
from ..tracing.graph import Graph, graph_of
from ..tracing.trace import Traced, quiet

__all__ = ["META", "Check", "Context", "Probe"]

META = "meta weights"


@dataclass(frozen=True)
class Probe:
    """One other input: ``outside`` when eager itself refuses it, else ``equal``, ``raises`` or ``wrong``."""

    kind: str
    mismatches: tuple[Mismatch, ...] = ()
    error: BaseException | None = None


class Context:
    """One cell at work: the model, its inputs and what the checks so far have made.

    ``inputs`` are at the traced size; ``target`` is the one that is judged now. ``traced`` is set by the check ``trace``;
    ``expected`` (the eager outputs at ``inputs``) and ``random`` (eager differs from run to run in the same state) by
    ``eager``.
    """

    def __init__(
        self,
        *,
        model: torch.nn.Module,
        call: Call,
        spec: GateSpec,
        dims: Dims,
        mask: str | None,
        state: ModelState,
        ranges: Mapping[str, tuple[int, int]] | None = None,
        limits: Mapping[str, int] | None = None,
        pad_values: Mapping[str, int] | None = None,
        mask_inverted: bool = False,
        root: str | None = None,
        meta: bool = False,
        targets: Targets | None = None,
    ) -> None:
        self.model = model
        self.call = call
        self.spec = spec
        self.dims = dims
        self.mask = mask
        self.mask_inverted = mask_inverted
        self.state = state
        self.limits = limits or {}
        self.pad_values = pad_values or {}
        self.root = root
        self.meta = meta
        self.targets = targets or built_in()
        self.target: Target = self.targets.by_name[spec.target[0]]
        self.results: dict[str, CheckResult] = {}
        self.fresh = FreshValues(dims=dims, mask=mask, inverted=mask_inverted, ranges=ranges or {})
        self.expected: Any = None
        self.random = False
        self.traced: Traced | None = None
        self.loaded: Any = None
        self.statuses: dict[str, Status] = {}
        self.found_dims: dict[str, str] = {}

    @property
    def inputs(self) -> Mapping[str, Any]:
        return self.call.inputs

    @property
    def module(self) -> Any:
        assert self.traced is not None
        return self.traced.module

    def eager(self, inputs: Mapping[str, Any] | None = None, *, restore: bool = True) -> Any:
        """Run the model itself; whatever it raises passes through. Its state is put back unless ``restore`` is False."""
        with quiet():
            try:
                return execute.detached(self.call.run(self.model, inputs))
            finally:
                if restore:
                    # The first look is thorough: a model that writes where no counter moves is known from then on.
                    self.restore(thorough=self.expected is None)

    def scripted(self, inputs: Mapping[str, Any] | None = None, *, module: Any = None, profiled: bool = False) -> Any:
        """Run the traced program, or another ``module`` with its signature."""
        with quiet():
            try:
                chosen = self.inputs if inputs is None else inputs
                return execute.run(self.module if module is None else module, chosen, profiled=profiled)
            finally:
                self.restore()

    def restore(self, *, thorough: bool = False) -> None:
        """Put the model's state back, parameters aside.

        A forward that overwrites its parameters is judged with what it makes of them, until ``weights`` says so.
        """
        self.state.restore(thorough=thorough, parameters=False)

    def compare(self, actual: Any, expected: Any, *, widened: Mapping[str, Tolerance] | None = None) -> list[Mismatch]:
        """The leaves that differ; ``widened`` holds by dtype, unless the marker gives a tolerance."""
        asked = self.spec.tolerance
        if widened and asked.rtol is None and asked.atol is None:
            return compare(actual, expected, widened)
        return compare(actual, expected, asked)

    def probe(self, inputs: Mapping[str, Any]) -> Probe:
        """Give the same other inputs to eager and to the traced program."""
        try:
            expected = self.eager(inputs)
        except Exception as error:  # noqa: BLE001 - eager refuses: outside the model's domain, whatever it raises
            return Probe("outside", error=error)
        if not finite(expected):
            return Probe("outside", error=ArithmeticError("eager gives values that are not finite"))
        try:
            actual = self.scripted(inputs)
        except Exception as error:  # noqa: BLE001 - a loud refusal is what the contract calls `raises`
            return Probe("raises", error=error)
        mismatches = tuple(self.compare(actual, expected))
        if mismatches and self.compare(self.eager(inputs), expected):
            return Probe("outside", error=ArithmeticError("eager itself gives two answers"))
        return Probe("wrong" if mismatches else "equal", mismatches)

    @property
    def conversions(self) -> tuple[Conversion, ...]:
        """Where tensors became Python values while the model was traced."""
        return self.traced.conversions if self.traced is not None else ()

    @functools.cached_property
    def pads_at_start(self) -> bool:
        """Whether the observed mask drops a first position, as generation does."""
        if self.mask is None:
            return False
        mask = dict(tensors(self.inputs))[self.mask]
        axes = self.dims.axes.get(self.mask, {})
        axis = next((axis for axis, dim in axes.items() if dim != BATCH), mask.ndim - 1)
        first = mask.select(axis, 0).to(torch.bool)
        return bool(first.any()) if self.mask_inverted else not bool(first.all())

    @functools.cached_property
    def graph(self) -> Graph:
        """The graph of the model at the traced inputs."""
        with quiet():
            try:
                return graph_of(self.model, self.call)
            finally:
                self.restore()

    def causes(self, inputs: Mapping[str, Any]) -> list[Cause]:
        """The lines that make the trace wrong, or refusing, at ``inputs``."""
        with quiet():
            try:
                return specialisation(self.model, self.call, self.inputs, inputs, self.restore)
            finally:
                self.restore()

    # Findings

    def finding(
        self,
        message: str,
        *,
        line: source.Line | None = None,
        where: str | None = None,
        path: str | None = None,
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Finding:
        """A finding whose file is relative to the root directory and whose source text is read."""
        return Finding(
            message=message,
            path=path,
            file=source.relative(line.file, self.root) if line else None,
            line=line.line if line else None,
            function=line.function if line else None,
            source=line.text if line else None,
            where=(where or "at") if line else None,
            hint=hint,
            details=details or {},
        )

    def advice(self, verdict: Verdict, *, error: str = "", lines: Iterable[source.Line] = ()) -> str | None:
        """What the table of remedies says of a failure: by its error, or by the first line for which one is known."""
        for line in lines or (None,):
            remedy = remedy_for(verdict=verdict, error_text=error, line=line, conversions=self.conversions, model=self.model)
            if remedy is not None:
                return remedy.hint
        return None

    def caused(
        self, findings: Iterable[Finding], causes: list[Cause], *, hint: str, verdict: Verdict | None = None, also: str = ""
    ) -> tuple[Finding, ...]:
        """``findings`` with the first cause on the first of them, and one further finding for each other cause.

        ``hint`` holds where the table knows no remedy for ``verdict`` at these lines; ``also`` is said after either.
        """
        found = list(findings)
        if verdict is not None and causes:
            hint = self.advice(verdict, lines=[cause.line for cause in causes]) or hint
        hint += also
        if not causes:
            return (replace(found[0], hint=found[0].hint or hint), *found[1:])
        first, *others = causes
        head = self.finding(
            found[0].message,
            line=first.line,
            where=first.where,
            path=found[0].path,
            hint=found[0].hint or hint,
            details={**found[0].details, **({"cause": first.detail} if first.detail else {})},
        )
        others_found = [
            self.finding(cause.detail or "the same specialisation", line=cause.line, where=cause.where) for cause in others[:2]
        ]
        return (head, *found[1:], *others_found)

    def warned(self) -> list[Cause]:
        """The tracer's own warnings as causes: evidence where nothing better is known."""
        diagnostics = self.traced.diagnostics if self.traced else ()
        return [Cause(entry.line, "tracer warned at", entry.message) for entry in diagnostics if entry.line][:3]

    def returned_at(self) -> source.Line | None:
        """The line by which the model's own forward returns."""
        log = LineLog()
        with quiet():
            try:
                log.record(lambda: self.call.run(self.model))
            except Exception:  # noqa: BLE001, S110 - the line is a courtesy; the verdict stands without
                pass
            finally:
                self.restore()
        return last_return(self.model, log)

    def produced(self, path: str) -> list[Cause]:
        """The line that computed an output leaf, by the traced graph."""
        paths = [name for name, _ in tensors(self.expected)]
        graph = self.module.inlined_graph
        values = _output_values(graph)
        if path not in paths or len(values) != len(paths):
            return []
        line = source.innermost(source.parse_stack(values[paths.index(path)].node().sourceRange()))
        return [Cause(line, "computed at")] if line else []

    def stumbled(self, error: BaseException) -> Finding:
        """A finding for an error that is this package's own, or of a tensor kind that no check knows."""
        self.restore(thorough=True)
        lines = source.traceback_frames(error.__traceback__)
        place = f" ({os.path.basename(lines[0].file)}:{lines[0].line})" if lines else ""
        return self.finding(
            f"the check could not be carried out: {root_cause(error)}{place}",
            hint="skip it with a reason, skip={...}, and report the model to pytest-torchscript",
        )

    def failure(
        self, error: BaseException, *, verdict: Verdict | None = None, path: str | None = None, where: str = "raised at"
    ) -> Finding:
        """A finding for an exception: its root cause, its line, its remedy."""
        text = text_of(error)
        line = source.innermost(source.traceback_frames(error.__traceback__)) or source.innermost(source.parse_stack(text))
        remedy = remedy_for(verdict=verdict or "", error_text=text, line=line, model=self.model)
        return self.finding(root_cause(error), line=line, where=where, path=path, hint=remedy.hint if remedy else None)


def _output_values(graph: Any) -> list[Any]:
    """The values of the output leaves, in order; they live as long as ``graph``."""
    values: list[Any] = []

    def walk(value: Any) -> None:
        node = value.node()
        if node.kind() in ("prim::TupleConstruct", "prim::ListConstruct"):
            for entry in node.inputs():
                walk(entry)
        elif node.kind() == "prim::DictConstruct":
            for entry in list(node.inputs())[1::2]:
                walk(entry)
        else:
            values.append(value)

    for output in graph.outputs():
        walk(output)
    return values


def finite(output: Any) -> bool:
    """Whether every floating value of a nested output is finite."""
    return all(_finite(leaf) for _, leaf in tensors(output))


def _finite(leaf: torch.Tensor) -> bool:
    if leaf.is_meta or leaf.is_quantized or not (leaf.is_floating_point() or leaf.is_complex()):
        return True
    if leaf.layout != torch.strided:
        leaf = leaf.to_dense()
    if leaf.itemsize == 1:
        # No operation is written for 8-bit floats but the way out of them.
        leaf = leaf.float()
    return bool(leaf.isfinite().all())


class Check(ABC):
    """One question about a model. The class's docstring is its description.

    ``requires`` names the checks that must not have failed before; ``numeric`` checks cannot run on meta weights.
    """

    name: ClassVar[str]
    requires: ClassVar[frozenset[str]] = frozenset()
    numeric: ClassVar[bool] = True

    @abstractmethod
    def run(self, context: Context) -> CheckResult:
        """Judge the context's model. Must not raise for anything the model does."""

    def judge(self, context: Context) -> CheckResult:
        """Run, unless the marker skips this check, a requirement failed or the weights are meta; with the time it took."""
        reason = self._reason_to_skip(context)
        started = time.perf_counter()
        if reason:
            result = CheckResult.skipped(self.name, reason)
        else:
            try:
                result = self.run(context)
            except Exception as error:  # noqa: BLE001 - a check that stumbles over a model must not take the others along
                result = CheckResult.failed(self.name, Verdict.CRASHED, context.stumbled(error))
        result = replace(result, seconds=time.perf_counter() - started)
        context.statuses[self.name] = result.status
        context.results[self.name] = result
        return result

    def _reason_to_skip(self, context: Context) -> str | None:
        if self.name in context.spec.skip:
            return context.spec.skip[self.name]
        failed = sorted(name for name in self.requires if context.statuses.get(name) is Status.FAILED)
        if failed:
            return f"{' and '.join(failed)} failed"
        if context.meta and self.numeric:
            return META
        if "trace" in self.requires and context.traced is None:
            return "no trace was made"
        return None


_MOST_LINES = 4


def state_writes(context: Context) -> list[tuple[str, source.Line | None]]:
    """What one call of the model changes of itself, parameters and buffers first, the first few with their lines."""
    with quiet():
        try:
            context.call.run(context.model)
            names = [
                *context.state.changed_parameters(),
                *context.state.changed_buffers(),
                *context.state.changed_attributes(),
            ]
        finally:
            context.state.restore(thorough=True)
    lines = [written_at(context, name) for name in names[:_MOST_LINES]]
    return [*zip(names, lines, strict=False), *((name, None) for name in names[_MOST_LINES:])]


def written_at(context: Context, name: str) -> source.Line | None:
    """The line, in a call of the model, that changes one parameter, buffer or attribute."""
    with quiet():
        try:
            return first_line_where(lambda: context.call.run(context.model), lambda: context.state.differs(name))
        finally:
            context.state.restore(thorough=True)
