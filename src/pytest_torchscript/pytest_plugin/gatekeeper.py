"""Runs the gates in the process that runs the tests: a test's body is watched, and judged when it has passed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import pytest

from ..errors import SpecError
from ..naming import default_id, slug
from ..reports import terminal
from ..result import GateFailed, GateResult, Outcome
from ..spec import GateSpec, parse_arguments, spec_of_layers
from ..targets.base import Targets
from . import failures, handover
from .body import BODY, Body, is_skip, unittest_error
from .configuration import Configuration
from .markers import GATES, MARKER, GateNames, Request, nodeid_of, requests
from .settings import Settings

__all__ = ["GATES_BY_ID", "Gatekeeper"]

GATES_BY_ID = pytest.StashKey[dict[str, str]]()
"""On the config: every gate that was collected in this process, with the node id of its test."""

_FOUND = pytest.StashKey[list[GateResult]]()
_REPORTED = pytest.StashKey[list[GateResult]]()
_DISCOVERED = pytest.StashKey[list[dict[str, str]]]()
_EXPLICIT = pytest.StashKey[bool]()


class Gatekeeper:
    """Runs the gates, in the process that runs the tests."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._names = GateNames()
        self._failed_inside: set[str] = set()
        self._progress = handover.Progress(config)
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
            collected.update(dict.fromkeys(_ids(item), item.nodeid))
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
        explicit = MARKER in getattr(item, "fixturenames", ())
        if not asked and self._settings.discover and isinstance(item, pytest.Function):
            return (yield from self._discovering(item))
        if not asked and not explicit:
            return (yield)
        item.stash.setdefault(_FOUND, [])
        self._failed_inside.discard(item.nodeid)
        body = Body()
        # A class that is no module is never called as one: watching for it finds nothing.
        classes = [request.spec.model for request in asked if inspect.isclass(request.spec.model)]
        try:
            with body.watching(item, classes, keep_result=bool(asked)):
                item.stash[BODY] = body
                try:
                    outcome = yield
                finally:
                    # The item outlives its test, and must not keep the models alive.
                    del item.stash[BODY]
        except BaseException as error:
            self._not_run(item, "the test itself", skipped=is_skip(error))
            raise
        if item.nodeid in self._failed_inside:
            self._not_run(item, "a subtest", skipped=False)
        elif (kept := unittest_error(item)) is not None:
            self._not_run(item, "the test itself", skipped=is_skip(kept))
        elif not item.stash.get(_EXPLICIT, False):
            self._run_gates(item, asked, body)
        return outcome

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notice a failed subtest: it is reported while the body still runs, and raises nothing there."""
        if report.when == "call" and report.failed:
            self._failed_inside.add(report.nodeid)

    def _not_run(self, item: pytest.Item, what: str, *, skipped: bool) -> None:
        """Note that the gates of a test were not run, unless an explicit one was; ``what`` failed, or skipped itself."""
        found, nodeid = item.stash.setdefault(_FOUND, []), nodeid_of(item)
        if found:
            return
        if skipped:
            ids, reason = [request.id for request in item.stash.get(GATES, ())], f"{what} was skipped"
            found += [GateResult(id=id, nodeid=nodeid, outcome=Outcome.SKIPPED, reason=reason) for id in ids]
        else:
            found += [self._settings.judged(GateResult.not_judged(id, nodeid, f"{what} failed")) for id in _ids(item)]

    def _run_gates(self, item: pytest.Item, asked: tuple[Request, ...], body: Body) -> None:
        """Run the gates of a test that has passed, and make it fail, xfail or skip as they say."""
        from .unjudged import cut_off

        found = item.stash[_FOUND]
        for request in asked:
            try:
                found.extend(self._settings.judged(result) for result in self._gate(item, request, body))
            except BaseException as error:
                # A fixture that skips, a timeout, an exit: the test ends so, and the report says why.
                found.append(self._settings.judged(cut_off(request, nodeid_of(item), error, self._progress.check)))
                raise
        failing = [result for result in found if result.failed]
        if failing:
            raise failures.GateFailure(failing)
        known = [result for result in found if result.outcome is Outcome.XFAILED]
        if known:
            raise pytest.xfail.Exception(handover.sendable("; ".join(str(result.reason) for result in known)))

    def _gate(self, item: pytest.Item, request: Request, body: Body) -> Iterator[GateResult]:
        """The results of one request: one for each model that the test is about."""
        from .subjects import UnfitModel, subjects
        from .unjudged import unfit

        models = subjects(item, request.spec, body)
        taken: set[str] = set()
        for subject in models:
            name = request.id
            if len(models) > 1:
                name = _free_name(f"{name}-{slug(type(subject.model).__name__)}", taken)
            if isinstance(subject, UnfitModel):
                yield unfit(subject, request.spec, name, nodeid_of(item), inherited=request.inherited)
            else:
                yield self._judged(item, subject, request.spec, name)

    def _judged(self, item: pytest.Item, subject: Any, spec: GateSpec, name: str) -> GateResult:
        from .. import gate

        self._progress("eager")
        result = gate.judge(
            subject,
            spec,
            id=name,
            nodeid=nodeid_of(item),
            root=str(self._config.rootpath),
            targets=self._targets,
            progress=self._progress,
        )
        self._progress("")
        return result

    def _discovering(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run an unmarked test, and note what the marker would make of it; the test's own outcome stands."""
        from .discovering import candidates

        body = Body()
        with body.watching(item, keep_result=False):
            outcome = yield
        if item.nodeid in self._failed_inside or unittest_error(item) or item.stash.get(_EXPLICIT, False):
            return outcome
        item.stash[_DISCOVERED] = candidates(
            body.calls,
            GateSpec.merge(self._settings.override, self._defaults),
            nodeid=nodeid_of(item),
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
        base = spec.id or _ids(item)[0]
        taken = {result.id for result in item.stash[_FOUND]}
        return spec, base if base not in taken else _free_name(f"{base}-{slug(type(model).__name__)}", taken)

    def _checked(self, item: pytest.Item, model: Any, inputs: Any, spec: GateSpec, name: str) -> GateResult:
        from .subjects import UnfitModel, explicit_subject
        from .unjudged import unfit

        body = item.stash.get(BODY, None)
        with body.suspended() if body else nullcontext():
            subject = explicit_subject(item, model, inputs, body)
            if isinstance(subject, UnfitModel):
                return unfit(subject, spec, name, nodeid_of(item), inherited=False)
            return self._judged(item, subject, spec, name)

    # Reporting

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        expected = report.skipped and hasattr(report, "wasxfail")
        if call.excinfo is not None and report.failed:
            failures.show(report, call.excinfo.value, self._config.rootpath)
        if report.when == "setup" and not report.passed:
            not_to_run = call.excinfo is not None and isinstance(call.excinfo.value, pytest.xfail.Exception)
            self._not_run(item, "the test's setup", skipped=report.skipped and (not_to_run or not expected))
        found = self._to_report(item, report)
        if expected:
            from .unjudged import as_expected

            found = list(map(as_expected, found))
        handover.attach(
            report,
            # Sent with the setup, so that they are known when the worker dies in the call.
            ids=_ids(item) if report.when == "setup" else [],
            gates=[result.to_json() for result in found],
            discovered=item.stash.get(_DISCOVERED, []) if report.when == "call" else [],
        )
        return report

    def _to_report(self, item: pytest.Item, report: pytest.TestReport) -> list[GateResult]:
        """The results that go with a report: those of the call, or what a failed setup or teardown makes of the gates."""
        if report.when == "teardown":
            reported, item.stash[_REPORTED] = item.stash.get(_REPORTED, []), []
            if not report.failed or not reported:
                return []
            from .unjudged import torn_down

            return [self._settings.judged(torn_down(r)) for r in reported if not r.failed]
        found: list[GateResult] = []
        if report.when == "call" or not report.passed:
            found, item.stash[_FOUND] = item.stash.get(_FOUND, []), []
        item.stash[_REPORTED] = found
        return found


def _ids(item: pytest.Item) -> list[str]:
    """The names of the gates that a test asks for, by markers or by the fixture, as far as they are known before it runs."""
    asked = item.stash.get(GATES, ())
    explicit = MARKER in getattr(item, "fixturenames", ())
    return [request.id for request in asked] or ([default_id(nodeid_of(item))] if explicit else [])


def _free_name(name: str, taken: set[str]) -> str:
    """``name``, or the first of ``name-2``, ``name-3``, … that is not taken; taken from now on."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}-{count}"
    taken.add(candidate)
    return candidate
