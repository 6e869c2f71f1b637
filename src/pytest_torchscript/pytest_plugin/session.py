"""The stateful pytest objects: one runs the gates where the tests run, one gathers and reports where the user looks."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
import os
import platform
import shutil
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .. import spec as specs
from ..errors import GateError, GateFailed, SpecError, SubjectError
from ..naming import DEFAULT_BASELINE, default_id, slug
from ..reports import discover, terminal
from ..reports import json as json_report
from ..reports.document import Document
from ..reports.proof import verdict_with_proof
from ..result import GateResult, Outcome
from ..spec import GateSpec, for_its_targets, nearest, parse_arguments, parse_option
from ..targets.base import DEFAULT_TIMEOUT, Targets
from .registry import collect, load_entry_points

if TYPE_CHECKING:
    from ..baseline import Baseline
    from ..gate import Subject
    from ..subject.observe import ObservedCall, Observer
    from ..targets.base import Target

__all__ = ["FILTERED", "GATES", "USAGE_ERROR", "Gatekeeper", "Request", "Results", "Settings", "sendable"]

MARKER = "torchscript"
_NOTHING = object()
USAGE_ERROR = "torchscript_usage_error"
_COLLECTED = "torchscript_collected"
FILTERED = "torchscript_filtered"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One gate that a test asks for."""

    spec: GateSpec
    id: str
    layers: tuple[Mapping[str, Any], ...]


@dataclass(kw_only=True)
class _Body:
    """What a test body did: what it returned, and the model calls that were observed."""

    returned: Any = None
    observer: Any = None
    narrowed: dict[type, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Unfit:
    """An observed model that cannot be judged, and why."""

    model: Any
    reason: str


GATES = pytest.StashKey[tuple[Request, ...]]()
COLLECTED = pytest.StashKey[dict[str, str]]()
_FOUND = pytest.StashKey[list[GateResult]]()
_DISCOVERED = pytest.StashKey[list[dict[str, str]]]()
_EXPLICIT = pytest.StashKey[bool]()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options and configuration of one run."""

    defaults: Mapping[str, Any]
    override: Mapping[str, Any]
    ignore_bare: bool
    json: Path | None
    junit: Path | None
    summary: Path | None
    baseline_path: Path
    baseline: Baseline | None
    update: bool
    discover: str | None
    require_sdk: bool = False
    target_timeout: float = DEFAULT_TIMEOUT

    def targets(self, config: pytest.Config) -> Targets:
        """The targets that all plugins and conftests loaded so far declare.

        Raises:
            SpecError: one cannot be used; it names the plugin.
        """
        by_name = targets_of(config)
        return Targets(by_name=by_name, require_sdk=self.require_sdk, timeout=self.target_timeout)

    @classmethod
    def from_config(cls, config: pytest.Config) -> Settings:
        """Read and check everything.

        Raises:
            SpecError: an impossible value; it names the option.
        """
        defaults: dict[str, Any] = {}
        for name in (*specs.OPTION_HELP, *OWN_ARGUMENTS):
            text = str(config.getini(f"torchscript_{name}") or "")
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            if lines:
                known = known_to(config) if name == "target" or name in OWN_ARGUMENTS else {}
                try:
                    defaults[name] = parse_option(name, lines, known)
                except SpecError as error:
                    raise SpecError(f"configuration torchscript_{name}: {error}") from None
        override: dict[str, Any] = {}
        targets = config.getoption("--torchscript-target")
        if targets:
            try:
                override = parse_arguments((), {"target": list(dict.fromkeys(targets))}, known_to(config))
            except SpecError as error:
                raise SpecError(f"--torchscript-target: {error}") from None
        bare = config.getini("torchscript_bare_marker")
        if bare not in ("gate", "ignore"):
            raise SpecError(f"configuration torchscript_bare_marker: must be 'gate' or 'ignore', not {bare!r}")
        update = bool(config.getoption("--torchscript-update-baseline"))
        if update and os.environ.get("CI"):
            raise SpecError("--torchscript-update-baseline: refused in CI (CI is set): record locally, and commit the file")
        path, recorded = _baseline(config, update=update)
        summary = _report(config, "--torchscript-summary")
        if summary is None and os.environ.get("GITHUB_STEP_SUMMARY"):
            summary = Path(os.environ["GITHUB_STEP_SUMMARY"])
        return cls(
            defaults=defaults,
            override=override,
            ignore_bare=bare == "ignore",
            json=_report(config, "--torchscript-json"),
            junit=_report(config, "--torchscript-junit"),
            summary=summary,
            baseline_path=path,
            baseline=recorded,
            update=update,
            discover=config.getoption("--torchscript-discover"),
            require_sdk=bool(config.getoption("--torchscript-require-sdk")),
            target_timeout=_timeout(config),
        )

    def judged(self, gate: GateResult) -> GateResult:
        """The gate against the baseline; while the baseline is updated, against what it will be."""
        recorded = self.baseline
        if recorded is None and not self.update:
            return gate
        from .. import baseline
        from ..baseline import Baseline

        if self.update:
            recorded = baseline.update(recorded or Baseline(path=self.baseline_path, entries={}), [gate])
        return baseline.judge(gate, recorded).apply(gate)


OWN_ARGUMENTS = {"dynamic_batch": "compile for any batch size (targets neuron and neuron-inf1): true or false"}
"""Arguments that built-in targets declare, with what the configuration's help says of them."""


def targets_of(config: pytest.Config) -> dict[str, Target]:
    """Every target by name: of plugins, conftests and installed packages.

    Raises:
        SpecError: one cannot be used; it names the plugin.
    """
    load_entry_points(config.pluginmanager)
    return collect(config.pluginmanager)


def known_to(config: pytest.Config) -> dict[str, Mapping[str, Any]]:
    """The targets' names, each with the marker arguments that it declares."""
    return Targets(by_name=targets_of(config)).arguments


def _timeout(config: pytest.Config) -> float:
    text = str(config.getini("torchscript_target_timeout") or "").strip()
    if not text:
        return DEFAULT_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise SpecError(f"configuration torchscript_target_timeout: must be a positive number of seconds, not {text!r}")
    # Longer than anybody waits, and more than a thread can be told to.
    return min(seconds, threading.TIMEOUT_MAX)


def _report(config: pytest.Config, option: str) -> Path | None:
    """Where a report goes; checked before the run, which may be long."""
    written = config.getoption(option)
    if written is None:
        return None
    path = Path(config.invocation_params.dir, written)
    if not written or path.is_dir():
        raise SpecError(f"{option}: {written!r} is a directory; give the file to write")
    if not path.parent.is_dir():
        raise SpecError(f"{option}: the directory {str(path.parent)!r} does not exist; make it first")
    return path


def _baseline(config: pytest.Config, *, update: bool) -> tuple[Path, Baseline | None]:
    """The baseline's path, by option, configuration or default, and what it records."""
    option = config.getoption("--torchscript-baseline")
    configured = str(config.getini("torchscript_baseline") or "")
    if option is not None:
        path = Path(config.invocation_params.dir, option)
    else:
        path = config.rootpath / (configured or DEFAULT_BASELINE)
    if not os.path.lexists(path) and (option is None or update):
        # Most runs have no baseline, and need not load what reads one.
        return path, None
    from .. import baseline
    from ..baseline import Baseline

    try:
        recorded = Baseline.load(path)
    except (baseline.BaselineError, OSError) as error:
        raise SpecError(str(error)) from None
    if recorded is None and option is not None and not update:
        raise SpecError(f"--torchscript-baseline: {str(path)!r} does not exist; record it with --torchscript-update-baseline")
    return path, recorded


class Gatekeeper:
    """Runs the gates, in the process that runs the tests."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._owners: dict[str, str] = {}
        self._failed_inside: set[str] = set()
        self._targets = Targets()

    # Collection

    def prepare(self, items: Iterable[pytest.Item], *, fresh: bool = True) -> None:
        """Read the markers of every item, so that a bad one stops the run before any test has run.

        ``fresh`` asks the hooks for the targets, as collection does, when every conftest is there.

        Raises:
            pytest.UsageError: all bad markers at once, each with its test.
        """
        problems: list[str] = []
        if fresh or not self._targets.by_name:
            try:
                self._targets = self._settings.targets(self._config)
            except SpecError as error:
                raise pytest.UsageError(str(error)) from None
        known = self._targets.arguments
        collected = self._config.stash.setdefault(COLLECTED, {})
        for item in items:
            if not isinstance(item, pytest.Function):
                # A doctest, a linter's item: a module-level marker is not about them.
                continue
            try:
                requests = tuple(self._requests(item, known))
            except SpecError as error:
                problems.append(f"{item.nodeid}: {error}")
                continue
            item.stash[GATES] = requests
            collected.update({request.id: item.nodeid for request in requests})
        if problems:
            raise pytest.UsageError("\n".join(dict.fromkeys(problems)))

    def _levels(self, item: pytest.Item) -> list[list[pytest.Mark]]:
        """The markers by level, nearest first: the parameter set's, the function's, the class's, the module's."""
        from_parameters = [id(mark) for mark in getattr(getattr(item, "callspec", None), "marks", ())]
        levels: dict[tuple[int, bool], list[pytest.Mark]] = {}
        for node, mark in item.iter_markers_with_node(MARKER):
            if self._settings.ignore_bare and not mark.args and not mark.kwargs:
                continue
            levels.setdefault((id(node), id(mark) not in from_parameters), []).append(mark)
        ordered = list(levels.items())
        # The parameter set's marks and the function's belong to one node; the former are nearer.
        ordered.sort(key=lambda entry: (entry[0][0] != id(item), entry[0][1] if entry[0][0] == id(item) else False))
        return [marks for _, marks in ordered]

    def _requests(self, item: pytest.Item, known: specs.Known) -> Iterator[Request]:
        levels = []
        for marks in self._levels(item):
            parsed = []
            for mark in marks:
                try:
                    parsed.append(parse_arguments(mark.args, mark.kwargs, known))
                except SpecError as error:
                    raise SpecError(f"@pytest.mark.torchscript: {error}") from None
            levels.append(parsed)
        if not levels:
            return
        nearest, *farther = levels
        shared = [layer for level in farther for layer in level]
        for index, layer in enumerate(nearest):
            layers = (self._settings.override, layer, *shared, self._settings.defaults)
            try:
                spec = for_its_targets(layers, known)
            except SpecError as error:
                raise SpecError(f"@pytest.mark.torchscript: {error}") from None
            for argument in ("model", "inputs"):
                name = getattr(spec, argument)
                if isinstance(name, str) and not self._has_fixture(item, name):
                    raise SpecError(
                        f"@pytest.mark.torchscript: {argument}={name!r} names no fixture that this test can use"
                        f"{self._nearest_fixture(item, name)}"
                    )
            yield Request(spec=spec, id=self._id(item, spec, layer, index), layers=layers)

    def _id(self, item: pytest.Item, spec: GateSpec, layer: Mapping[str, Any], index: int) -> str:
        """The gate's name: stable from run to run, and no other gate's."""
        if spec.id is None:
            name = default_id(item.nodeid) + (f"-{index + 1}" if index else "")
            if self._owners.setdefault(name, item.nodeid) != item.nodeid:
                # Node ids that differ only in characters an id cannot hold are told apart by a digest.
                name = f"{name}-{hashlib.sha256(item.nodeid.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
                self._owners[name] = item.nodeid
            return name
        parameters = getattr(getattr(item, "callspec", None), "id", "")
        marks = getattr(getattr(item, "callspec", None), "marks", ())
        own = any(mark.name == MARKER and mark.kwargs.get("id") == spec.id for mark in marks)
        # One marker over many parameter sets, or on a class, is many gates: the id alone would not tell them apart.
        name = spec.id
        if "id" not in layer or not self._on_function(item, spec.id):
            name = f"{name}-{slug(item.name)}"
        elif parameters and not own:
            name = f"{name}-{slug(parameters)}"
        owner = f"{item.nodeid}, marker {index + 1}"
        taken = self._owners.setdefault(name, owner)
        if taken != owner:
            raise SpecError(
                f"@pytest.mark.torchscript: id {name!r} is taken by {taken.partition(',')[0]}; ids are unique in every report"
            )
        return name

    @staticmethod
    def _on_function(item: pytest.Item, id: str) -> bool:
        """Whether a marker of the test itself, not of its class or module, gives this id."""
        return any(mark.name == MARKER and mark.kwargs.get("id") == id for mark in item.own_markers)

    @staticmethod
    def _nearest_fixture(item: pytest.Item, name: str) -> str:
        manager = item.session._fixturemanager
        # pytest has no public list of fixtures; the tables it keeps are keyed by name.
        tables = [table for attribute, table in vars(manager).items() if attribute.startswith("_arg2") and table]
        known = {str(known) for table in tables for known in table if Gatekeeper._has_fixture(item, str(known))}
        return nearest(name, sorted(known)) if known else ""

    @staticmethod
    def _has_fixture(item: pytest.Item, name: str) -> bool:
        manager = item.session._fixturemanager
        return bool(manager.getfixturedefs(name, item))

    # Running

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        requests = item.stash.get(GATES, ())
        if not requests and self._settings.discover and isinstance(item, pytest.Function):
            return (yield from self._discovering(item))
        if not requests:
            return (yield)
        found = item.stash.setdefault(_FOUND, [])
        self._failed_inside.discard(item.nodeid)
        body = _Body()
        try:
            with self._watched(item, requests, body):
                outcome = yield
            reason = _unittest_failure(item)
            if item.nodeid in self._failed_inside:
                reason = "a subtest failed"
        except BaseException as error:
            _not_run(item, requests, f"the test itself {'was skipped' if _is_skip(error) else 'failed'}")
            raise
        if reason:
            _not_run(item, requests, reason)
            return outcome
        if not item.stash.get(_EXPLICIT, False):
            for request in requests:
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
                pytest.fail(sendable(text), pytrace=False)
            known = [result for result in found if result.outcome is Outcome.XFAILED]
            if known:
                raise pytest.xfail.Exception(sendable("; ".join(str(result.reason) for result in known)))
        return outcome

    def pytest_sessionfinish(self) -> None:
        """Tell xdist's controller, which collects nothing itself, what this worker collected."""
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_COLLECTED] = json.dumps(self._config.stash.get(COLLECTED, {}))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notice a failed subtest: it is reported while the body still runs, and raises nothing there."""
        if report.when == "call" and report.failed:
            self._failed_inside.add(report.nodeid)

    def _watched(self, item: pytest.Item, requests: tuple[Request, ...], body: _Body, *, keep_result: bool = True) -> ExitStack:
        """Watch the module calls of the body, and catch what it returns."""
        from ..subject.observe import Observer

        stack = ExitStack()
        body.observer = stack.enter_context(Observer().watching())
        for request in requests:
            if inspect.isclass(request.spec.model):  # a class that is no module is never called as one
                observer = Observer(only=request.spec.model)
                body.narrowed[request.spec.model] = stack.enter_context(observer.watching())
        original = getattr(item, "obj", None)
        waits = inspect.iscoroutinefunction(original) or inspect.isasyncgenfunction(original)
        if keep_result and original is not None and not waits:

            @functools.wraps(original)
            def keeping(*args: Any, **kwargs: Any) -> None:
                # pytest and unittest warn of a test that returns a value; under the marker it names the model.
                body.returned = original(*args, **kwargs)

            item.obj = keeping  # type: ignore[attr-defined]
            stack.callback(setattr, item, "obj", original)
        return stack

    def _discovering(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run an unmarked test, and note what the marker would make of it; the test's own outcome stands."""
        from .. import gate

        body = _Body()
        with self._watched(item, (), body, keep_result=False):
            outcome = yield
        if _unittest_failure(item) or item.nodeid in self._failed_inside or item.stash.get(_EXPLICIT, False):
            return outcome
        spec = GateSpec.merge(self._settings.override, self._settings.defaults)
        # What the option asks for, the marker has to say; what the configuration says holds for it as well.
        wanted = spec.target[0] if len(spec.target) == 1 else list(spec.target)
        asked = f"(target={wanted!r})" if self._settings.override else ""
        candidates = []
        for call in body.observer.calls:
            try:
                subject = gate.Subject(model=gate.check_model(call.model), call=gate.bind(call.model, call.args, call.kwargs))
            except SubjectError:
                # A part without a tensor among its inputs carries no gate.
                continue
            result = gate.judge(
                subject, spec, id="discovered", nodeid=item.nodeid, root=str(self._config.rootpath), targets=self._targets
            )
            verdicts = dict.fromkeys(cell.verdict for cell in result.cells)
            words = ", ".join(v for v in verdicts if v != "ok") or "ok"
            candidates.append(
                {
                    "nodeid": item.nodeid,
                    "model": type(call.model).__name__,
                    "inputs": gate.described(subject),
                    "arguments": asked,
                    "verdict": words if words != "ok" else verdict_with_proof(result, words),
                }
            )
        item.stash[_DISCOVERED] = candidates
        return outcome

    def _gate(self, item: pytest.Item, request: Request, body: _Body) -> Iterator[GateResult]:
        from .. import gate

        root = str(self._config.rootpath)
        try:
            subjects = self._subjects(item, request.spec, body)
        except SubjectError as error:
            cells = gate.refused(str(error), request.spec)
            yield GateResult.judged(request.id, item.nodeid, cells)
            return
        taken: set[str] = set()
        for subject in subjects:
            name = request.id
            if len(subjects) > 1:
                name = _free(f"{name}-{slug(type(subject.model).__name__)}", taken)
            if isinstance(subject, Unfit):
                yield GateResult.judged(name, item.nodeid, gate.refused(subject.reason, request.spec))
                continue
            yield gate.judge(subject, request.spec, id=name, nodeid=item.nodeid, root=root, targets=self._targets)

    def check(self, item: pytest.Item, model: Any, inputs: Any, arguments: Mapping[str, Any]) -> GateResult:
        """The gate of an explicit ``torchscript.check``; its result is reported like any other.

        Raises:
            SpecError: an impossible argument.
            GateFailed: the gate failed.
        """
        __tracebackhide__ = True
        from .. import gate

        item.stash[_EXPLICIT] = True
        known = self._targets.arguments
        parsed = parse_arguments((), arguments, known)
        requests = item.stash.get(GATES, ())
        farther = requests[0].layers[1:] if requests else (self._settings.defaults,)
        spec = for_its_targets((self._settings.override, parsed, *farther), known)
        found = item.stash.setdefault(_FOUND, [])
        base = spec.id or (requests[0].id if requests else default_id(item.nodeid))
        taken = {result.id for result in found}
        name = base if base not in taken else _free(f"{base}-{slug(type(model).__name__)}", taken)
        root = str(self._config.rootpath)
        try:
            call = None if inputs is None else gate.call_of(gate.check_model(model), inputs)
            subject = gate.Subject(model=model, call=call)
            result = gate.judge(subject, spec, id=name, nodeid=item.nodeid, root=root, targets=self._targets)
        except SubjectError as error:
            result = GateResult.judged(name, item.nodeid, gate.refused(str(error), spec))
        result = self._settings.judged(result)
        found.append(result)
        if result.outcome is Outcome.XFAILED:
            raise pytest.xfail.Exception(sendable(str(result.reason)))
        if result.failed:
            raise GateFailed(sendable(terminal.failure_block(result)), result)
        return result

    # The subject

    def _subjects(self, item: pytest.Item, spec: GateSpec, body: _Body) -> list[Subject | Unfit]:
        """The models to judge, each with its call, by the order of precedence of the contract."""
        from .. import gate

        models, given = self._models(item, spec, body)
        asked = self._inputs(item, spec)
        subjects: list[Subject | Unfit] = []
        for model in models:
            try:
                subjects.append(self._subject(item, gate.check_model(model), body, asked, given))
            except SubjectError as error:
                subjects.append(Unfit(model, str(error)))
        # A part that takes no tensor, called beside the model, is not what the test is about.
        fit = [subject for subject in subjects if not isinstance(subject, Unfit)]
        return [*fit] if fit and spec.model is None else subjects

    def _subject(self, item: pytest.Item, model: Any, body: _Body, asked: Any, given: Any) -> Subject:
        """A model with its call, by the order of precedence of the contract; without one, inputs are synthesised."""
        from .. import gate

        call = None
        if asked is not _NOTHING or given is not None:
            call = gate.call_of(model, given if asked is _NOTHING else asked)
        elif (seen := self._observed(model, body)) is not None:
            call = gate.bind(model, seen.args, seen.kwargs)
        elif self._has_fixture(item, "torchscript_inputs"):
            call = gate.call_of(model, item._request.getfixturevalue("torchscript_inputs"))  # type: ignore[attr-defined]
        return gate.Subject(model=model, call=call)

    def _models(self, item: pytest.Item, spec: GateSpec, body: _Body) -> tuple[list[Any], Any]:
        from ..gate import is_module

        if isinstance(spec.model, str):
            model = item._request.getfixturevalue(spec.model)  # type: ignore[attr-defined]
            if not is_module(model):
                raise SubjectError(
                    f"model={spec.model!r}: the fixture gives {type(model).__name__}, expected an nn.Module; "
                    "name the fixture that builds the model"
                )
            return [model], None
        if is_module(spec.model):
            return [spec.model], None
        if inspect.isclass(spec.model):
            return self._of_class(item, spec.model, body), None
        if spec.model is not None:
            return [_made(spec.model, "model")], None
        returned = body.returned
        if is_module(returned):
            return [returned], None
        if isinstance(returned, tuple) and len(returned) == 2 and is_module(returned[0]):
            return [returned[0]], returned[1]
        if body.observer.calls:
            return [call.model for call in body.observer.calls], None
        return [self._from_fixtures(item)], None

    def _of_class(self, item: pytest.Item, cls: type, body: _Body) -> list[Any]:
        """Instances of a class: those the body called, else the one among the fixtures, else a new one."""
        from ..gate import is_module_class

        if not is_module_class(cls):
            # A class that is no module is a factory like any other.
            return [_made(cls, "model")]
        if body.narrowed[cls].calls:
            return [call.model for call in body.narrowed[cls].calls]
        fixtures = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, cls)]
        return [fixtures[0]] if len(fixtures) == 1 else [_made(cls, "model")]

    @staticmethod
    def _from_fixtures(item: pytest.Item) -> Any:
        from ..gate import is_module

        modules = {name: value for name, value in getattr(item, "funcargs", {}).items() if is_module(value)}
        if len({id(module) for module in modules.values()}) == 1:
            return next(iter(modules.values()))
        among = f"its fixtures hold several ({', '.join(modules)})" if modules else "no fixture of the test is one"
        raise SubjectError(
            "no model to gate: the marker names none (model=), the test returns none, its body calls no nn.Module other "
            f"than losses, metrics and ScriptModules, and {among}; name it with model="
        )

    @staticmethod
    def _observed(model: Any, body: _Body) -> ObservedCall | None:
        """The observed call that shows this model's inputs: of the very object, else of its like."""
        from ..subject.observe import signature_of

        observers: list[Observer] = [*body.narrowed.values(), body.observer]
        calls = [call for observer in observers for call in observer.calls]
        alike: list[Callable[[ObservedCall], bool]] = [
            lambda call: call.model is model,
            lambda call: signature_of(call.model) == signature_of(model),
            lambda call: type(call.model) is type(model),
        ]
        return next((call for test in alike for call in calls if test(call)), None)

    def _inputs(self, item: pytest.Item, spec: GateSpec) -> Any:
        """What ``inputs=`` stands for; ``_NOTHING`` without it, for a fixture may give None by mistake."""
        if spec.inputs is None:
            return _NOTHING
        if isinstance(spec.inputs, str):
            return item._request.getfixturevalue(spec.inputs)  # type: ignore[attr-defined]
        if callable(spec.inputs) and not isinstance(spec.inputs, Mapping):
            return _made(spec.inputs, "inputs")
        return spec.inputs

    # Reporting

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "setup":
            report.torchscript_ids = [request.id for request in item.stash.get(GATES, ())]  # type: ignore[attr-defined]
        if report.when == "setup" and not report.passed:
            _not_run(item, item.stash.get(GATES, ()), f"the test's setup {'skipped it' if report.skipped else 'failed'}")
        if report.when == "call" and item.stash.get(_DISCOVERED, []):
            report.torchscript_discovered = json.dumps(item.stash[_DISCOVERED])  # type: ignore[attr-defined]
        found = item.stash.get(_FOUND, [])
        if found and (report.when == "call" or (report.when == "setup" and not report.passed)):
            if report.skipped and hasattr(report, "wasxfail"):
                found = [replace(r, outcome=Outcome.XFAILED) if r.outcome is Outcome.FAILED else r for r in found]
            # Text, and ASCII: what execnet sends to xdist's controller must be plain, and a lone surrogate kills it.
            report.torchscript = json.dumps([result.to_json() for result in found])  # type: ignore[attr-defined]
            item.stash[_FOUND] = []
        return report


def _free(name: str, taken: set[str]) -> str:
    """``name``, or the first of ``name-2``, ``name-3``, … that is not taken; taken from now on."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}-{count}"
    taken.add(candidate)
    return candidate


def _made(factory: Any, argument: str) -> Any:
    try:
        return factory()
    except Exception as error:
        name = getattr(factory, "__name__", repr(factory))
        raise SubjectError(f"{argument}={name}: calling it without arguments raised {type(error).__name__}: {error}") from error


def sendable(text: str) -> str:
    """Text that UTF-8 can hold: xdist sends it, files store it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _cut_off(item: pytest.Item, request: Request, error: BaseException) -> GateResult:
    from ..diagnosis.hints import hint_for

    outcome = Outcome.SKIPPED if _is_skip(error) else Outcome.FAILED
    if isinstance(error, pytest.fail.Exception) and str(error).startswith("Timeout"):
        outcome = Outcome.CRASHED
    hint = hint_for(str(error)) if outcome is Outcome.FAILED else None
    reason = f"the gate was cut off: {type(error).__name__}: {error}" + (f"; remedy: {hint}" if hint else "")
    return GateResult(id=request.id, nodeid=item.nodeid, outcome=outcome, reason=reason)


def _is_skip(error: BaseException) -> bool:
    import unittest

    return isinstance(error, (pytest.skip.Exception, unittest.SkipTest))


def _unittest_failure(item: pytest.Item) -> str | None:
    """Why a ``unittest.TestCase`` test did not pass: pytest keeps its failures on the item and raises none."""
    failures = getattr(item, "_excinfo", None)
    if not failures:
        return None
    return f"the test itself {'was skipped' if _is_skip(failures[-1].value) else 'failed'}"


def _not_run(item: pytest.Item, requests: tuple[Request, ...], reason: str) -> None:
    found = item.stash.setdefault(_FOUND, [])
    if not found:
        found.extend(
            GateResult(id=request.id, nodeid=item.nodeid, outcome=Outcome.SKIPPED, reason=reason) for request in requests
        )


def environment() -> dict[str, Any]:
    """Versions that a reader of a report wants to know; nothing is imported for them."""

    def version(package: str) -> str | None:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return None

    return {
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "pytest_torchscript": version("pytest-torchscript"),
        "platform": sys.platform,
    }


class Results:
    """Gathers what the gates found and reports it: in the only process, or in xdist's controller."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._gates: dict[tuple[str, str], GateResult] = {}
        self._problems: list[str] = []
        self._crashed: dict[str, str] = {}
        self._collected: dict[str, str] = {}
        self._filtered = False
        self._stale: list[str] = []
        self._discovered: list[dict[str, str]] = []
        self._written: list[Path] = []

    # Gathering

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for data in json.loads(getattr(report, "torchscript", "[]")):
            result = GateResult.from_json(data)
            # A test that is run again replaces what it found before.
            self._gates[result.nodeid, result.id] = result
        # Told with the setup, so that it is known when the worker dies in the call.
        self._collected.update(dict.fromkeys(getattr(report, "torchscript_ids", ()), report.nodeid))
        self._discovered += json.loads(getattr(report, "torchscript_discovered", "[]"))
        if str(report.when) == "???" and report.failed:
            # xdist's word for a test in which the worker died.
            self._crashed[report.nodeid] = str(report.longrepr)

    def pytest_deselected(self) -> None:
        self._filtered = True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        # A module that cannot be collected, or skips itself, is kept from running: its gates are not lost.
        self._filtered = self._filtered or not report.passed

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take over what an xdist worker could not say itself."""
        output = getattr(node, "workeroutput", None) or {}
        problem = output.get(USAGE_ERROR)
        # Every worker has the same to say.
        if problem and not self._problems:
            self._problems.append(problem)
        self._collected.update(json.loads(output.get(_COLLECTED, "{}")))
        self._filtered = self._filtered or bool(output.get(FILTERED))

    # Reporting

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._config.option.collectonly:
            return
        here = self._config.stash.get(COLLECTED, None)
        self._collected.update(here or {})
        if not self._problems:
            self._add_crashed()
            self._find_stale(session)
            self._write_all()
        if self._problems:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif self._stale and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _add_crashed(self) -> None:
        """A gate for each that a dead worker could not report."""
        done = {nodeid for nodeid, _ in self._gates}
        for id, nodeid in self._collected.items():
            if nodeid in self._crashed and nodeid not in done:
                reason = self._crashed[nodeid].splitlines()[0]
                gate = GateResult(id=id, nodeid=nodeid, outcome=Outcome.CRASHED, reason=reason)
                self._gates[nodeid, id] = self._settings.judged(gate)

    def _find_stale(self, session: pytest.Session) -> None:
        recorded = self._settings.baseline
        if recorded is None or self._settings.update or not self._is_complete(session):
            return
        from .. import baseline

        self._stale = baseline.stale(recorded, self._collected, self._gates.values())

    def _is_complete(self, session: pytest.Session) -> bool:
        """Whether every test was to run, and none was kept from it: what a run leaves out is not lost."""
        option = self._config.option
        chosen = option.keyword or option.markexpr or self._settings.override
        chosen = chosen or any(getattr(option, name, None) for name in ("deselect", "ignore", "ignore_glob"))
        stopped = session.shouldstop or session.shouldfail or session.exitstatus not in (0, 1, 5)
        named = self._config.args_source is not pytest.Config.ArgsSource.TESTPATHS and any(
            Path(self._config.invocation_params.dir, arg).resolve() != self._config.rootpath.resolve()
            for arg in self._config.args
        )
        return not (self._filtered or chosen or stopped or named or getattr(option, "lf", False))

    def _write_all(self) -> None:
        gates = list(self._gates.values())
        document = Document.of(gates, environment(), self._stale)
        settings = self._settings
        if settings.update and gates:
            from .. import baseline
            from ..baseline import Baseline

            former = settings.baseline or Baseline(path=settings.baseline_path, entries={})
            self._write(
                "--torchscript-update-baseline",
                settings.baseline_path,
                lambda path: baseline.write(path, baseline.update(former, gates)),
            )
        self._write("--torchscript-json", settings.json, lambda path: json_report.write(path, document))
        self._write("--torchscript-junit", settings.junit, lambda path: _junit().write(path, document, self._junit_family()))
        root = self._config.rootpath
        if gates or self._stale:
            self._write(
                "--torchscript-summary",
                settings.summary,
                lambda path: _markdown().write(path, document, root=root),
            )

    def _junit_family(self) -> str:
        """pytest's own setting, which says what its reports may hold; pytest may run without its JUnit plugin."""
        has_setting = self._config.pluginmanager.hasplugin("junitxml")
        return str(self._config.getini("junit_family")) if has_setting else str(_junit().DEFAULT_FAMILY)

    def _write(self, option: str, path: Path | None, write: Callable[[Path], None]) -> None:
        if path is None:
            return
        try:
            write(path)
        except OSError as error:
            self._problems.append(f"{option}: cannot write {str(path)!r}: {error.strerror or error}")
        except GateError as error:
            self._problems.append(f"{option}: {error}")
        except Exception as error:  # noqa: BLE001 - one report that cannot be rendered must not take the others along
            self._problems.append(f"{option}: {path.name} could not be made: {type(error).__name__}: {error}")
        else:
            self._written.append(path)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        gates = list(self._gates.values())
        document = Document.of(gates, stale=self._stale)
        width, record = shutil.get_terminal_size().columns, self._settings.baseline_path.name
        for title, lines in terminal.sections(document, width, baseline=record):
            terminalreporter.write_sep("=", title)
            for line, good in lines:
                terminalreporter.write_line(line, **_colour(good))
        if self._settings.discover:
            terminalreporter.write_sep("=", "torchscript discover")
            for line in discover.listing(self._discovered):
                terminalreporter.write_line(line)
            if self._settings.discover == "write" and self._discovered:
                terminalreporter.write_sep("-", "conftest.py")
                terminalreporter.write_line(discover.conftest(self._discovered))
        for problem in self._problems:
            terminalreporter.write_line(f"ERROR: {problem}", red=True)
        for path in self._written:
            terminalreporter.write_line(f"torchscript gates written to {path}")
        if os.environ.get("GITHUB_ACTIONS") == "true" and (gates or self._stale):
            from ..reports import github

            repository = Path(os.environ.get("GITHUB_WORKSPACE") or self._config.rootpath)
            locate = github.locator(self._config.rootpath, repository)
            told = any(
                distribution.metadata["Name"] == "pytest-github-actions-annotate-failures"
                for _, distribution in self._config.pluginmanager.list_plugin_distinfo()
            )
            for line in github.annotations(document, locate=locate, tests_annotated=told):
                terminalreporter.write_line(line)


def _colour(good: bool | None) -> dict[str, bool]:
    return {} if good is None else {"green": True} if good else {"red": True}


def _junit() -> Any:
    from ..reports import junit

    return junit


def _markdown() -> Any:
    from ..reports import markdown

    return markdown
