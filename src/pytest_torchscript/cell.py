"""One model at one size, ready to be judged. A check is given a :class:`Cell` and cannot change it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from . import source
from .diagnosis.error_text import root_cause, text_of
from .diagnosis.lines import LineLog, last_return
from .diagnosis.refused import refused_operation
from .diagnosis.remedies import remedy_for
from .nested import Mismatch, clone, compare, tensors
from .result import Finding, Verdict
from .spec import GateSpec, Tolerance
from .subject.call import Call
from .subject.fresh import FreshValues
from .subject.inputs import BATCH, Dims
from .subject.state import ModelState
from .survey import Survey
from .tracing import execute
from .tracing.graph import Graph, graph_of
from .tracing.trace import quiet

__all__ = ["Cell"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model at one size.

    ``model`` is in eval mode; ``call`` is its call at the traced size; ``dims`` says which axes may vary. ``mask`` is the path
    of the padding mask, ``mask_inverted`` whether True marks padding. ``state`` is the model's state before any check.
    ``survey`` is what two runs of the model showed. ``pad_values`` holds what pads an integer input, ``limits`` the largest
    size of a dim, each where it is known. ``meta`` says that the model has no weights, ``left_out`` which checks are not
    run. ``resized`` names each input axis that the marker's sizes changed, with the size that the example had. ``root`` is the
    directory to which files in findings are relative.
    """

    model: torch.nn.Module
    call: Call
    spec: GateSpec
    dims: Dims
    state: ModelState
    mask: str | None = None
    mask_inverted: bool = False
    survey: Survey = field(default_factory=Survey)
    limits: Mapping[str, int] = field(default_factory=dict)
    pad_values: Mapping[str, int] = field(default_factory=dict)
    meta: bool = False
    left_out: frozenset[str] = frozenset()
    resized: Mapping[tuple[str, int], int] = field(default_factory=dict)
    root: str | None = None

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs at the traced size, by name."""
        return self.call.inputs

    @functools.cached_property
    def fresh(self) -> FreshValues:
        """Other values of the same shapes and dtypes."""
        return FreshValues(dims=self.dims, mask=self.mask, inverted=self.mask_inverted, ranges=self.survey.ranges)

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
        """The canonical graph of the model at the traced inputs."""
        return self.graph_at(self.inputs)

    def graph_at(self, inputs: Mapping[str, Any]) -> Graph:
        """The canonical graph of the model at other inputs. An exception of the tracer is not caught."""
        with self.trying():
            return graph_of(self.model, self.call, inputs)

    # Running

    @contextlib.contextmanager
    def trying(self, *, thorough: bool = False) -> Iterator[None]:
        """Run the block without warnings, and put the model's state back afterwards."""
        with quiet():
            try:
                yield
            finally:
                self.restore(thorough=thorough)

    def restore(self, *, thorough: bool = False) -> None:
        """Put the model's state back, parameters aside.

        A forward that overwrites its parameters is judged with the new values; the check ``weights`` reports the write.
        """
        self.state.restore(thorough=thorough, parameters=False)

    def restore_all(self) -> None:
        """Put the whole state back, parameters too, by comparing values instead of version counters."""
        self.state.restore(thorough=True)

    def eager(self, inputs: Mapping[str, Any] | None = None, *, restore: bool = True) -> Any:
        """Run the model itself. Its exceptions are not caught. Its state is put back unless ``restore`` is False."""
        return self.eager_on(clone(dict(self.inputs if inputs is None else inputs)), restore=restore)

    def eager_on(self, given: Mapping[str, Any], *, restore: bool = True) -> Any:
        """As :meth:`eager`, on ``given`` itself, which the model may overwrite."""
        args, kwargs = self.call.arguments(given)
        with self.trying() if restore else quiet():
            return execute.detached(self.model(*args, **kwargs))

    def scripted(
        self, program: Any, inputs: Mapping[str, Any] | None = None, *, profiled: bool = False, restore: bool = True
    ) -> Any:
        """Run a traced program, or one with its signature. The model's state is put back unless ``restore`` is False."""
        chosen = self.inputs if inputs is None else inputs
        with self.trying() if restore else quiet():
            return execute.run(program, chosen, profiled=profiled, autocast=self._under_autocast(program))

    def _under_autocast(self, program: Any) -> bool:
        """Whether a program is run under the autocast of its call, if there is one, or without it, as C++ runs it.

        The casts are part of the program. Most programs are right either way. An LSTM and the fused attention need autocast,
        which casts inside them; a layer norm must run without, or it is cast a second time.
        """
        if not self.survey.outputs or not (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")):
            return True

        def right(*, autocast: bool) -> bool:
            try:
                return not self.compare(execute.run(program, self.inputs, autocast=autocast), self.survey.outputs[0])
            except Exception:  # noqa: BLE001 - a program that raises is not right this way
                return False

        return right(autocast=True) or not right(autocast=False)

    def compare(self, actual: Any, expected: Any, *, widened: Mapping[str, Tolerance] | None = None) -> list[Mismatch]:
        """The leaves that differ; ``widened`` holds by dtype, unless the marker gives a tolerance."""
        asked = self.spec.tolerance
        if widened and asked.rtol is None and asked.atol is None:
            return compare(actual, expected, widened)
        return compare(actual, expected, asked)

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

    def failure(
        self, error: BaseException, *, verdict: Verdict | None = None, path: str | None = None, where: str = "raised at"
    ) -> Finding:
        """A finding for an exception: its root cause, its line, its remedy."""
        text = text_of(error)
        line = source.innermost(source.traceback_frames(error.__traceback__)) or source.innermost(source.parse_stack(text))
        if line is None:
            # TorchScript has no form of an operation: the error has its name and no place.
            with self.trying():
                line = refused_operation(self.model, self.call, text)
        remedy = remedy_for(verdict=verdict or "", error_text=text, line=line, model=self.model)
        return self.finding(root_cause(error), line=line, where=where, path=path, hint=remedy.hint if remedy else None)

    def returned_at(self) -> source.Line | None:
        """The line by which the model's own forward returns."""
        log = LineLog()
        # Without a line the finding still holds: a forward that raises here has its verdict already.
        with self.trying(), contextlib.suppress(Exception):
            log.record(lambda: self.call.run(self.model))
        return last_return(self.model, log)
