"""What a target is given: one model at one size, its trace, and the means to try both. Loads no torch by itself."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import source
from ..result import CheckResult, Finding, Status

if TYPE_CHECKING:
    import torch

    from ..cell import Cell
    from ..checks import Evidence
    from ..diagnosis.ops import OperationLog
    from ..nested import Mismatch
    from ..probing.run import Probe
    from ..spec import Tolerance
    from ..subject.inputs import Dims
    from ..tracing.graph import Graph
    from ..tracing.program import Program
    from ..tracing.trace import Diagnostic

__all__ = ["Deployment"]

_MOST_FRESH = 3


class Deployment:
    """What a target can ask and try of one cell.

    ``notes`` are findings that a passing check shows, ``failures`` such as fail it (``TargetFailure``); ``metrics`` goes
    into the JSON report as it is. ``directory`` is empty at first and removed after the check.
    """

    def __init__(
        self,
        cell: Cell,
        evidence: Evidence,
        results: Mapping[str, CheckResult],
        tolerance: Mapping[str, Tolerance],
        *,
        directory: Path,
        timeout: float,
    ) -> None:
        from ..nested import clone

        self._cell = cell
        self._evidence = evidence
        self._results = dict(results)
        self._tolerance = tolerance
        self.directory = directory
        self.timeout = timeout
        # Copies, so that a target which writes into them changes nothing else.
        self._inputs: Mapping[str, Any] = clone(dict(cell.inputs))
        self._expected = clone(evidence.expected)
        self.notes: list[Finding] = []
        self.failures: list[Finding] = []
        self.metrics: dict[str, Any] = {}

    # What is deployed

    @property
    def model(self) -> torch.nn.Module:
        """The model under test, in eval mode and on its own device."""
        return self._cell.model

    @property
    def module(self) -> torch.jit.ScriptModule | None:
        """The traced program; None where tracing failed. It takes the inputs by position."""
        traced = self._evidence.traced
        return None if traced is None else traced.module

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs at the traced size, by name, in the order of the forward's parameters: tensors, or nested ones."""
        return self._inputs

    @property
    def constants(self) -> Mapping[str, Any]:
        """The arguments that hold no tensor; the trace has them bound."""
        return self._cell.call.constants

    @property
    def expected(self) -> Any:
        """Eager's outputs at ``inputs``; None without weights."""
        return self._expected

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The marker arguments that targets declare, as far as they were given; this target's own among them."""
        return self._cell.spec.options

    @property
    def dims(self) -> Mapping[str, Mapping[int, str]]:
        """Which axes of which inputs may vary: ``{"input_ids": {0: "batch", 1: "seq"}}``."""
        return self._dims.axes

    @property
    def sizes(self) -> Mapping[str, int]:
        """The traced size of each dim."""
        return self._dims.sizes(self._cell.inputs)

    @property
    def limits(self) -> Mapping[str, int]:
        """The largest size of a dim, where the model's config has one (``max_position_embeddings``)."""
        return self._cell.limits

    @property
    def mask(self) -> str | None:
        """The name of the padding mask among the inputs."""
        return self._cell.mask

    @property
    def without_weights(self) -> bool:
        """Whether the model is judged on the meta device: it has a structure and no values."""
        return self._cell.meta

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What the tracer warned of."""
        traced = self._evidence.traced
        return () if traced is None else traced.diagnostics

    @property
    def graph(self) -> Graph:
        """The canonical graph of the model at the traced size."""
        return self._cell.graph

    @functools.cached_property
    def program(self) -> Program:
        """The traced program, read: its operations and their values; the graph alone where ``torch.jit.trace`` refused.

        Whatever the model raises while its graph is made passes through.
        """
        from ..nested import tensors
        from ..tracing.program import Program

        if self.module is None:
            return Program(self.graph, dict(tensors(self.inputs)))
        return Program(self.module, self.inputs)

    @property
    def results(self) -> Mapping[str, CheckResult]:
        """The results of the checks before this one, by name."""
        return self._results

    @property
    def _dims(self) -> Dims:
        found = self._evidence.explored
        return self._cell.dims if found is None else found.dims

    def shape_rule(self, dim: str) -> str:
        """What the marker's ``shapes`` demands of a dim: ``safe``, ``dynamic`` or ``fixed``."""
        return self._cell.spec.shapes.rule(dim)

    # Trying it

    @contextlib.contextmanager
    def positional(self) -> Iterator[tuple[torch.nn.Module, tuple[Any, ...]]]:
        """The model as a callable of its inputs by position, constants bound, and copies of the inputs.

        This is what ``torch.jit.trace`` and the compilers behind it take. The model is put back afterwards.
        """
        with self._cell.call.as_forward(self.model) as inputs:
            try:
                yield self.model, inputs
            finally:
                self._cell.restore()

    @contextlib.contextmanager
    def bound(self, arrange: Callable[[tuple[Any, ...]], tuple[tuple[Any, ...], dict[str, Any]]]) -> Iterator[bool]:
        """While open, a ``__call__`` of the model's own gets what ``arrange`` makes of the values that it is called with.

        Yields whether the model has one: its forward then takes what that hands on, and must not be arranged again.
        """
        from ..subject.call import bound_call, own_call

        with bound_call(self.model, arrange):
            yield own_call(type(self.model)) is not None

    def arguments_of(self, inputs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """``(args, kwargs)`` of the model's own forward for ``inputs``."""
        args, kwargs = self._cell.call.arguments(inputs)
        return tuple(args), kwargs

    def samples(self) -> Iterator[Mapping[str, Any]]:
        """Inputs of the traced shape: the observed ones, and others where the trace is right for them."""
        from ..nested import clone

        yield clone(dict(self._cell.inputs))
        if self.without_weights or self.status("values") is not Status.PASSED:
            return
        # Floats, integers, masks: one of each kind before a second of any.
        kinds: dict[str, list[Mapping[str, Any]]] = {}
        for label, inputs in self.variants():
            kinds.setdefault(label.split()[0], []).append(inputs)
        turns = itertools.chain.from_iterable(itertools.zip_longest(*kinds.values()))
        right = (inputs for inputs in turns if inputs is not None and self._is_right(inputs))
        yield from itertools.islice(right, _MOST_FRESH)

    def _is_right(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the trace equals eager for these inputs, by the marker's tolerance."""
        from ..probing.run import probe

        return probe(self._cell, self._evidence.program, inputs).kind == "equal"

    def variants(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """``(description, inputs)`` of the traced shape with other values, which the model or its trace may refuse.

        Integers stay within the vocabulary where that is known; masks pad as the observed one does.
        """
        return self._cell.fresh.variants(self._cell.inputs)

    def resized(self, sizes: Mapping[str, int]) -> Mapping[str, Any]:
        """The inputs at other sizes: shortened, or repeated and redrawn."""
        from ..subject.inputs import resize

        inputs = resize(self._cell.inputs, self._dims, sizes, mask=self.mask)
        if self.without_weights or self.status("values") is not Status.PASSED:
            return inputs
        return self._cell.fresh.redrawn(inputs, seed=sum(sizes.values()))

    def eager(self, inputs: Mapping[str, Any]) -> Any:
        """The model's own outputs; its exceptions are not caught. Its state is put back."""
        return self._cell.eager(inputs)

    def traced(self, inputs: Mapping[str, Any]) -> Any:
        """The traced program's outputs, in this process."""
        return self._cell.scripted(self._evidence.program, inputs)

    def compare(self, actual: Any, expected: Any) -> list[Mismatch]:
        """The leaves in which two outputs differ, by the target's tolerance or the marker's; see ``nested``."""
        return self._cell.compare(actual, expected, widened=self._tolerance)

    def probe(self, program: Callable[[Mapping[str, Any]], Any], inputs: Mapping[str, Any]) -> Probe:
        """Give the same inputs to eager and to a program that takes them by name.

        Its ``kind`` is ``equal``, ``wrong``, ``raises`` where the program refuses them, or ``outside`` where eager has no
        answer. Without weights the program alone is asked where eager refuses.
        """
        from ..probing.run import give

        found = give(inputs, eager=self.eager, program=program, compare=self.compare)
        if found.kind == "outside" and self.without_weights:
            # On the meta device eager often cannot run where the program can.
            return give(inputs, eager=lambda _: None, program=program, compare=lambda *_: ())
        return found

    def sizes_around(self, dim: str, size: int) -> list[int]:
        """The sizes of a dim to try beside ``size``: those that the trace was tried at, and others around it."""
        from ..probing.plan import sizes_of

        explored = self._evidence.explored
        tried = () if explored is None else explored.probes.get(dim, ())
        around = sizes_of(dim, {dim: size}, (), limit=self.limits.get(dim), thorough=True)
        # Half of 1 is no size to ask for, unless the forward itself asks whether there is anything at all.
        return [other for other in dict.fromkeys((*tried, *filter(None, around))) if other != size]

    def operations(self, inputs: Mapping[str, Any]) -> OperationLog:
        """Every call into torch that the model makes, with its result and line; whatever it raises passes through."""
        from ..diagnosis.ops import OperationLog

        log = OperationLog()
        log.record(lambda: self.eager(inputs))
        return log

    def restore(self) -> None:
        """Put the model's state back after calls of its own forward."""
        self._cell.restore()

    def status(self, check: str) -> Status | None:
        """How a check before this one ended; None if it has not run."""
        result = self._results.get(check)
        return None if result is None else result.status

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
        """One observation; ``line`` is made relative to the root directory, and its text read."""
        return self._cell.finding(message, line=line, where=where, path=path, hint=hint, details=details)

    def note(self, message: str, **about: Any) -> None:
        """Add a finding that fails nothing; arguments as for :meth:`finding`."""
        self.notes.append(self.finding(message, **about))

    def fail(self, message: str, **about: Any) -> None:
        """Add a finding that fails the check with ``TargetFailure``; arguments as for :meth:`finding`."""
        self.failures.append(self.finding(message, **about))

    def returned_at(self) -> source.Line | None:
        """The line by which the model's own forward returns."""
        return self._cell.returned_at()

    def line_of(self, node: Any) -> source.Line | None:
        """The user's or library's line of a node of a TorchScript graph."""
        from ..tracing.nodes import line_of

        return line_of(node)
