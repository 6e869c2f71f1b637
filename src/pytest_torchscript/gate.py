"""A spec and a subject become a :class:`~pytest_torchscript.result.GateResult`. No pytest here.

Two stages: every check once a size, and then the proof of every target once a size.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import torch

from . import checks
from .cell import Cell
from .checks import Evidence
from .cost import with_buckets
from .diagnosis.error_text import root_cause
from .diagnosis.remedies import hint_for
from .errors import SubjectError, Unavailable
from .nested import describe, tensors
from .prepare import call_of, prepared
from .proof import proved
from .result import CellResult, CheckResult, Finding, GateResult, Status, Verdict
from .spec import CHECKS, GateSpec
from .subject.call import Call, bind
from .subject.inputs import BATCH, SEQ
from .subject.state import isolated
from .targets import Target, Targets, built_in
from .tracing import private

__all__ = ["Subject", "bind", "call_of", "check_model", "described", "is_module", "judge", "refused"]


Progress = Callable[[str], None]


def _silent(check: str) -> None:
    """Tell nobody which check runs."""


_OTHER_TORCH = "run the gate with another version of torch; nothing is said about the model"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model under test and how to get its example call; without ``call``, inputs are synthesised for each cell."""

    model: torch.nn.Module
    call: Call | None = None


def described(subject: Subject) -> str:
    """The inputs of a subject in a few words: ``input_ids int64 (2, 7), attention_mask int64 (2, 7)``."""
    if subject.call is None:
        return "synthesised"
    return ", ".join(f"{path} {describe(tensor)}" for path, tensor in tensors(subject.call.inputs))


def is_module(value: object) -> TypeGuard[torch.nn.Module]:
    """Whether a value is an ``nn.Module``."""
    return isinstance(value, torch.nn.Module)


def check_model(model: Any) -> torch.nn.Module:
    """``model`` if it can be judged.

    Raises:
        SubjectError: no module, or one that is TorchScript already.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise SubjectError(
            f"the model is a {type(model).__name__}, TorchScript already: give the nn.Module it was made from, "
            "which is what the trace is compared with"
        )
    if not isinstance(model, torch.nn.Module):
        raise SubjectError(f"the model must be an nn.Module, not {type(model).__name__}")
    return model


def refused(
    message: str, spec: GateSpec, *, hint: str | None = None, verdict: Verdict = Verdict.EAGER_FAILURE
) -> tuple[CellResult, ...]:
    """The cells of a gate that cannot be judged: one failure that says so, the other checks skipped."""
    finding = Finding(message=message, hint=hint or hint_for(message, verdict="EagerFailure"))
    first, *others = CHECKS
    results = (
        CheckResult.failed(first, verdict, finding),
        *(CheckResult.skipped(name, f"{first} failed") for name in others),
    )
    return tuple(
        CellResult(target=target, batch_size=batch, seq_len=seq, checks=results)
        for target, batch, seq in itertools.product(spec.target, spec.batch_size or (None,), spec.seq_len or (None,))
    )


def judge(
    subject: Subject,
    spec: GateSpec,
    *,
    id: str,
    nodeid: str = "",
    root: str | None = None,
    targets: Targets | None = None,
    progress: Progress = _silent,
) -> GateResult:
    """Run every check in every cell. Leaves the process and the model as they were; see :func:`isolated`.

    ``targets`` are those the spec may name; by default the built-in ones. ``progress`` is given the name of each check before
    it runs, so that it is known where the process died.
    """
    started = time.perf_counter()
    targets = targets or built_in()
    try:
        model = check_model(subject.model)
        private.require()
        with isolated(), subject.call.surrounded() if subject.call else contextlib.nullcontext():
            sizes = itertools.product(spec.batch_size or (None,), spec.seq_len or (None,))
            by_size = [_cells(model, subject.call, spec, targets, batch, seq, root, progress) for batch, seq in sizes]
            # All sizes of one target after the other, as the contract lists them.
            cells = with_buckets(tuple(cell for of_target in zip(*by_size, strict=True) for cell in of_target))
    except SubjectError as error:
        cells = refused(str(error), spec)
    except Unavailable as error:
        cells = refused(str(error), spec, hint=_OTHER_TORCH, verdict=Verdict.UNAVAILABLE)
    except Exception as error:  # noqa: BLE001 - an error in judging one model must not end the run
        message = f"{type(subject.model).__name__} could not be judged: {root_cause(error)}"
        cells = refused(message, spec, hint="report the model to pytest-torchscript")
    return GateResult.judged(id, nodeid, cells, time.perf_counter() - started)


def _cells(
    model: torch.nn.Module,
    call: Call | None,
    spec: GateSpec,
    targets: Targets,
    batch: int | None,
    seq: int | None,
    root: str | None,
    progress: Progress,
) -> tuple[CellResult, ...]:
    """The cells of all targets at one size. The checks that do not depend on the target run once, for all of them."""
    wanted = [targets.by_name[name] for name in spec.target]
    excused = {name: reason for name, reason in wanted[0].excuses.items() if all(name in t.excuses for t in wanted)}
    with prepared(model, call, spec, batch=batch, seq=seq, root=root, left_out=excused) as cell:
        evidence, results = _checked(cell, excused, progress)
        sizes = cell.dims.sizes(cell.inputs)
        found = []
        for index, target in enumerate(wanted):
            known = evidence.without(_given_by(target.excuses))
            mine = [_for_target(result, target, cell.spec, first=index == 0) for result in results]
            progress(f"target {target.name}")
            last = proved(cell, evidence, {result.name: result for result in mine}, target, targets)
            found.append(
                CellResult(
                    target=target.name,
                    batch_size=sizes.get(BATCH, batch),
                    seq_len=sizes.get(SEQ, seq),
                    checks=_or_nothing_ran((*mine, last)),
                    dims=known.dims,
                    axes=known.explored.axes if known.explored else {},
                    probes=known.explored.records if known.explored else (),
                    program=target.program,
                )
            )
    return tuple(found)


def _checked(cell: Cell, excused: dict[str, str], progress: Progress) -> tuple[Evidence, list[CheckResult]]:
    """The results of every check that does not depend on the target, each run on the evidence of those before it."""
    evidence = Evidence()
    results: list[CheckResult] = []
    for check in checks.ALL:
        progress(check.name)
        statuses = {result.name: result.status for result in results}
        found = check.judge(cell, evidence, statuses, excuse=excused.get(check.name))
        evidence = replace(evidence, **found.gives)
        results.append(found.result)
    return evidence, results


def _for_target(result: CheckResult, target: Target, spec: GateSpec, *, first: bool) -> CheckResult:
    """A result as one target shows it: skipped if the check says nothing about it. The time counts for the first target."""
    if result.name in target.excuses and result.name not in spec.skip:
        return CheckResult.skipped(result.name, target.excuses[result.name])
    return result if first else replace(result, seconds=0.0)


def _given_by(names: Collection[str]) -> frozenset[str]:
    """The evidence that the named checks give."""
    return frozenset[str]().union(*(check.gives for check in checks.ALL if check.name in names))


def _or_nothing_ran(results: tuple[CheckResult, ...]) -> tuple[CheckResult, ...]:
    """The results, or a failure if every check is skipped: such a cell proves nothing."""
    if any(result.status is not Status.SKIPPED for result in results):
        return results
    first, *others = results
    finding = Finding(message="no check ran: every one is skipped", hint="shorten skip=")
    return (CheckResult.failed(first.name, Verdict.EAGER_FAILURE, finding), *others)
