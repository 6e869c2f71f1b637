"""Runs the gates in the process that runs the tests: a test's body is watched, and judged when it has passed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from ..errors import SpecError, SubjectError
from ..naming import default_id, slug
from ..reports import terminal
from ..result import GateFailed, GateResult, Outcome
from ..spec import GateSpec, parse_arguments, spec_of_layers
from ..targets.base import Targets
from . import handover
from .body import Body, is_skip, unittest_failure
from .configuration import Configuration
from .markers import GATES, GateNames, Request, requests
from .settings import Settings

__all__ = ["GATES_BY_ID", "Gatekeeper"]

GATES_BY_ID = pytest.StashKey[dict[str, str]]()
"""On the config: every gate that was collected in this process, with the node id of its test."""

_FOUND = pytest.StashKey[list[GateResult]]()
_DISCOVERED = pytest.StashKey[list[dict[str, str]]]()
_EXPLICIT = pytest.StashKey[bool]()


class Gatekeeper:
    """Runs the gates, in the process that runs the tests."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._names = GateNames()
        self._failed_inside: set[str] = set()
        self._targets = Targets()
        self._defaults = settings.defaults

    # Collection

    def prepare(self, items: Iterable[pytest.Item], *, fresh: bool = True) -> None:
        """Read the markers of every item, so that a bad one stops the run before any test has run.

        ``fresh`` asks the hooks for the targets, as collection does, when every conftest is there.

        Raises:
            pytest.UsageError: all bad markers at once, each with its test.
        """
        if fresh or not self._targets.by_name:
            try:
                self._ask_targets()
            except SpecError as error:
                raise pytest.UsageError(str(error)) from None
        problems: list[str] = []
        collected = self._config.stash.setdefault(GATES_BY_ID, {})
        for item in items:
            if not isinstance(item, pytest.Function):
                # A doctest, a linter's item: a module-level marker is not about them.
                continue
            try:
                item.stash[GATES] = self._requests(item)
            except SpecError as error:
                problems.append(f"{item.nodeid}: {error}")
                continue
            collected.update({request.id: item.nodeid for request in item.stash[GATES]})
        if problems:
            raise pytest.UsageError("\n".join(dict.fromkeys(problems)))

    def _ask_targets(self) -> None:
        """Ask the hooks for the targets, and read what the configuration says of their arguments."""
        self._targets = self._settings.targets(self._config)
        configuration, known = Configuration.of(self._config.pluginmanager), self._targets.arguments
        configuration.declare(self._config, known)
        self._defaults = configuration.defaults(self._config, known)

    def _requests(self, item: pytest.Item) -> tuple[Request, ...]:
        settings = self._settings
        return tuple(
            requests(
                item,
                known=self._targets.arguments,
                names=self._names,
                override=settings.override,
                defaults=self._defaults,
                ignore_bare=settings.ignore_bare,
            )
        )

    def pytest_sessionfinish(self) -> None:
        """Send to xdist's controller, which collects nothing itself, what this worker collected."""
        output = handover.worker_output(self._config)
        if output is not None:
            output[handover.COLLECTED] = json.dumps(self._config.stash.get(GATES_BY_ID, {}))

    # Running

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        asked = item.stash.get(GATES, ())
        if not asked and self._settings.discover and isinstance(item, pytest.Function):
            return (yield from self._discovering(item))
        if not asked:
            return (yield)
        item.stash.setdefault(_FOUND, [])
        self._failed_inside.discard(item.nodeid)
        body = Body()
        # A class that is no module is never called as one: watching for it finds nothing.
        classes = [request.spec.model for request in asked if inspect.isclass(request.spec.model)]
        try:
            with body.watching(item, classes):
                outcome = yield
        except BaseException as error:
            _not_run(item, asked, f"the test itself {'was skipped' if is_skip(error) else 'failed'}")
            raise
        reason = self._why_not_passed(item)
        if reason:
            _not_run(item, asked, reason)
        elif not item.stash.get(_EXPLICIT, False):
            self._run_gates(item, asked, body)
        return outcome

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notice a failed subtest: it is reported while the body still runs, and raises nothing there."""
        if report.when == "call" and report.failed:
            self._failed_inside.add(report.nodeid)

    def _why_not_passed(self, item: pytest.Item) -> str | None:
        """Why a test whose body raised nothing did not pass; None if it did."""
        return "a subtest failed" if item.nodeid in self._failed_inside else unittest_failure(item)

    def _run_gates(self, item: pytest.Item, asked: tuple[Request, ...], body: Body) -> None:
        """Run the gates of a test that has passed, and make it fail or xfail as they say."""
        found = item.stash[_FOUND]
        for request in asked:
            try:
                found.extend(self._settings.judged(result) for result in self._gate(item, request, body))
            except BaseException as error:
                # A fixture that skips, a timeout, an exit: the test ends so, and the report says why.
                found.append(_cut_off(item, request, error))
                raise
        failing = [result for result in found if result.failed]
        if failing:
            blocks = "\n\n".join(terminal.failure_block(result) for result in failing)
            text = f"{', '.join(dict.fromkeys(map(terminal.headline, failing)))}\n{blocks}"
            pytest.fail(handover.sendable(text), pytrace=False)
        known = [result for result in found if result.outcome is Outcome.XFAILED]
        if known:
            raise pytest.xfail.Exception(handover.sendable("; ".join(str(result.reason) for result in known)))

    def _gate(self, item: pytest.Item, request: Request, body: Body) -> Iterator[GateResult]:
        """The results of one request: one for each model that the test is about."""
        from .. import gate
        from .subjects import UnfitModel, subjects

        try:
            models = subjects(item, request.spec, body)
        except SubjectError as error:
            yield GateResult.judged(request.id, item.nodeid, gate.refused(str(error), request.spec))
            return
        taken: set[str] = set()
        for subject in models:
            name = request.id
            if len(models) > 1:
                name = _free_name(f"{name}-{slug(type(subject.model).__name__)}", taken)
            if isinstance(subject, UnfitModel):
                yield GateResult.judged(name, item.nodeid, gate.refused(subject.reason, request.spec))
            else:
                yield self._judged(item, subject, request.spec, name)

    def _judged(self, item: pytest.Item, subject: Any, spec: GateSpec, name: str) -> GateResult:
        from .. import gate

        root = str(self._config.rootpath)
        return gate.judge(subject, spec, id=name, nodeid=item.nodeid, root=root, targets=self._targets)

    def _discovering(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run an unmarked test, and note what the marker would make of it; the test's own outcome stands."""
        from .discovering import candidates

        body = Body()
        with body.watching(item, keep_result=False):
            outcome = yield
        if self._why_not_passed(item) or item.stash.get(_EXPLICIT, False):
            return outcome
        item.stash[_DISCOVERED] = candidates(
            body.calls,
            GateSpec.merge(self._settings.override, self._defaults),
            nodeid=item.nodeid,
            root=str(self._config.rootpath),
            targets=self._targets,
            # What the option asks for, the marker has to say; what the configuration says holds for it as well.
            name_target="target" in self._settings.override,
        )
        return outcome

    # Explicit gates

    def check(self, item: pytest.Item, model: Any, inputs: Any, arguments: Mapping[str, Any]) -> GateResult:
        """The gate of an explicit ``torchscript.check``; its result is reported like any other.

        Raises:
            SpecError: an impossible argument.
            GateFailed: the gate failed.
        """
        __tracebackhide__ = True
        item.stash[_EXPLICIT] = True
        found = item.stash.setdefault(_FOUND, [])
        spec, name = self._explicit(item, model, arguments)
        result = self._settings.judged(self._checked(item, model, inputs, spec, name))
        found.append(result)
        if result.outcome is Outcome.XFAILED:
            raise pytest.xfail.Exception(handover.sendable(str(result.reason)))
        if result.failed:
            raise GateFailed(handover.sendable(terminal.failure_block(result)), result)
        return result

    def _explicit(self, item: pytest.Item, model: Any, arguments: Mapping[str, Any]) -> tuple[GateSpec, str]:
        """The spec of an explicit gate, in which its own arguments win over the test's markers, and its name."""
        known = self._targets.arguments
        parsed = parse_arguments((), arguments, known)
        asked = item.stash.get(GATES, ())
        farther = asked[0].layers[1:] if asked else (self._defaults,)
        spec = spec_of_layers((self._settings.override, parsed, *farther), known)
        base = spec.id or (asked[0].id if asked else default_id(item.nodeid))
        taken = {result.id for result in item.stash[_FOUND]}
        return spec, base if base not in taken else _free_name(f"{base}-{slug(type(model).__name__)}", taken)

    def _checked(self, item: pytest.Item, model: Any, inputs: Any, spec: GateSpec, name: str) -> GateResult:
        from .. import gate

        try:
            call = None if inputs is None else gate.call_of(gate.check_model(model), inputs)
            return self._judged(item, gate.Subject(model=model, call=call), spec, name)
        except SubjectError as error:
            return GateResult.judged(name, item.nodeid, gate.refused(str(error), spec))

    # Reporting

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        asked = item.stash.get(GATES, ())
        stopped = report.when == "setup" and not report.passed
        if stopped:
            _not_run(item, asked, f"the test's setup {'skipped it' if report.skipped else 'failed'}")
        found: list[GateResult] = []
        if report.when == "call" or stopped:
            found, item.stash[_FOUND] = item.stash.get(_FOUND, []), []
        if report.skipped and hasattr(report, "wasxfail"):
            found = [replace(r, outcome=Outcome.XFAILED) if r.outcome is Outcome.FAILED else r for r in found]
        handover.attach(
            report,
            # Sent with the setup, so that they are known when the worker dies in the call.
            ids=[request.id for request in asked] if report.when == "setup" else [],
            gates=[result.to_json() for result in found],
            discovered=item.stash.get(_DISCOVERED, []) if report.when == "call" else [],
        )
        return report


def _free_name(name: str, taken: set[str]) -> str:
    """``name``, or the first of ``name-2``, ``name-3``, … that is not taken; taken from now on."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}-{count}"
    taken.add(candidate)
    return candidate


def _cut_off(item: pytest.Item, request: Request, error: BaseException) -> GateResult:
    """The result of a gate that an exception ended."""
    from ..diagnosis.remedies import hint_for

    outcome = Outcome.SKIPPED if is_skip(error) else Outcome.FAILED
    if isinstance(error, pytest.fail.Exception) and str(error).startswith("Timeout"):
        outcome = Outcome.CRASHED
    hint = hint_for(str(error), verdict="EagerFailure") if outcome is Outcome.FAILED else None
    reason = f"the gate was cut off: {type(error).__name__}: {error}" + (f"; remedy: {hint}" if hint else "")
    return GateResult(id=request.id, nodeid=item.nodeid, outcome=outcome, reason=reason)


def _not_run(item: pytest.Item, asked: tuple[Request, ...], reason: str) -> None:
    """Note that the gates of a test were not run, unless an explicit one was."""
    found = item.stash.setdefault(_FOUND, [])
    if not found:
        found.extend(GateResult(id=request.id, nodeid=item.nodeid, outcome=Outcome.SKIPPED, reason=reason) for request in asked)
