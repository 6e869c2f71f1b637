"""The check ``target`` with targets of all kinds: built and run, only built, linted, missing, raising, hanging."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import Deployment, Missing, NotJudged, Rule, SpecError, Target, Tolerance, Unsupported, gate
from pytest_torchscript.result import CellResult, CheckResult, Finding, Status, Verdict
from pytest_torchscript.source import Line
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.targets import Targets, built_in

from .acceptance import models
from .checks.alone import ROOT

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.linear(x)
        return {"hidden": hidden, "best": hidden.argmax(-1)}


class Counted(Head):
    """With a buffer for a target to meddle with."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))


class Same(Target):
    """Runs the trace itself: nothing is changed."""

    name = "same"

    def build(self, deployment: Deployment) -> Any:
        return deployment.module

    def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any] | None:
        return [artefact(*sample.values()) for sample in inputs]


def judged(
    target: Target,
    model: nn.Module | None = None,
    *,
    require_sdk: bool = False,
    timeout: float = 60.0,
    inputs: Any = (X,),
    **arguments: Any,
) -> CellResult:
    model = model or Head()
    targets = Targets(by_name={**built_in().by_name, target.name: target}, require_sdk=require_sdk, timeout=timeout)
    spec = GateSpec.merge(parse_arguments((), {"target": target.name, **arguments}, targets.arguments))
    subject = gate.Subject(model=model, call=gate.call_of(model, inputs))
    (cell,) = gate.judge(subject, spec, id="proof", root=str(ROOT), targets=targets).cells
    return cell


def check(target: Target, model: nn.Module | None = None, **options: Any) -> CheckResult:
    return judged(target, model, **options).check("target")


# Run and compared


def test_what_runs_is_compared_on_several_inputs() -> None:
    """The observed one and fresh ones; the proof says that it ran."""
    result = check(Same())
    assert (result.status, result.metrics["proof"]) == (Status.PASSED, "ran")
    assert result.metrics["compared"] == 4


def test_one_wrong_leaf_of_one_input_fails() -> None:
    """With leaf, amount and which input; the other leaves are not blamed."""

    class Third(Same):
        def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
            outputs = [artefact(*sample.values()) for sample in inputs]
            outputs[2]["hidden"][0, 0, 0] += 1
            return outputs

    result = check(Third())
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert finding.path == "hidden"
    assert finding.message.startswith("same gives another answer than eager (input 3 of 4): output 'hidden' by max abs 1 at")
    assert finding.details["sample"] == 3
    assert (finding.file, finding.where, finding.source) == (
        "tests/test_proof.py",
        "computed at",
        "hidden = self.linear(x)",
    )
    assert finding.hint


def test_a_leaf_that_is_always_wrong_is_told_once() -> None:
    """At the first input, which needs no number, with the amounts of that one."""

    class Growing(Same):
        def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
            outputs = (artefact(*sample.values()) for sample in inputs)
            return [{**output, "hidden": output["hidden"] + by} for by, output in enumerate(outputs, start=1)]

    (finding,) = check(Growing()).findings
    assert finding.message.startswith("same gives another answer than eager: output 'hidden' by max abs 1 at")
    assert finding.details["sample"] == 1
    assert finding.details["max_abs"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda output: {**output, "best": output["best"].int()}, "best"),
        (lambda output: {**output, "best": output["best"] + 1}, "best"),
        (lambda output: {"hidden": output["hidden"]}, "output"),
        (lambda output: tuple(output.values()), "output"),
        (lambda output: {**output, "hidden": output["hidden"][:1]}, "hidden"),
    ],
    ids=["dtype", "integers", "a lost leaf", "structure", "shape"],
)
def test_every_kind_of_difference_is_found(change: Any, path: str) -> None:
    """Not values alone."""

    class Changing(Same):
        def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
            return [change(artefact(*sample.values())) for sample in inputs]

    result = check(Changing())
    assert result.verdict is Verdict.TARGET_FAILURE
    assert [finding.path for finding in result.findings] == [path]


def test_too_few_outputs_are_told() -> None:
    """An input without an answer is not taken for right."""

    class Short(Same):
        def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
            return [artefact(*inputs[0].values())]

    assert check(Short()).findings[0].message == "same: run() gave 1 outputs for 4 inputs; one each is expected"


class Rough(Same):
    name = "rough"
    tolerance = {"float32": Tolerance(rtol=1e-2, atol=1e-2)}

    def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        outputs = [artefact(*sample.values()) for sample in inputs]
        return [{**output, "hidden": output["hidden"] + 5e-3} for output in outputs]


def test_a_target_widens_the_tolerance_for_its_own_outputs() -> None:
    """By dtype; the marker's own wins, and the checks of the trace stay as strict as they are."""

    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 5e-3 if torch.jit.is_tracing() else x

    assert judged(Rough()).verdict == "ok"
    assert judged(Rough(), rtol=1e-4, atol=1e-4).verdict == "TargetFailure"
    assert judged(Rough(), Wrong()).verdict == "NotEquivalent"


def test_outputs_may_come_one_by_one() -> None:
    """Any iterable is as good as a list."""

    class Lazy(Same):
        def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Any:
            return (artefact(*sample.values()) for sample in inputs)

    result = check(Lazy())
    assert (result.status, result.metrics["compared"]) == (Status.PASSED, 4)


def test_eager_is_asked_in_the_state_before_the_run() -> None:
    """What an artefact does to the model's buffers is not held against it."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    class Writing(Same):
        def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
            outputs = [artefact(*sample.values()) for sample in inputs]
            deployment.model.get_buffer("scale").mul_(2)
            return outputs

    assert check(Writing(), Scaled()).status is Status.PASSED


# Built, not run


class Built(Target):
    name = "built"

    def build(self, deployment: Deployment) -> Any:
        deployment.metrics["bytes"] = 12
        deployment.note("made for no machine in particular", hint="run it somewhere")
        return "artefact"


def test_what_cannot_be_run_is_built_and_says_so() -> None:
    """Notes and metrics of the target reach the report."""
    result = check(Built())
    assert (result.status, result.metrics) == (Status.PASSED, {"proof": "built", "bytes": 12})
    assert result.findings[0].message == "made for no machine in particular"


def test_a_target_cannot_claim_more_than_was_proved() -> None:
    """The kind of proof is the gate's to say."""

    class Boasting(Built):
        def build(self, deployment: Deployment) -> Any:
            deployment.metrics["proof"] = "ran"

    assert check(Boasting()).metrics["proof"] == "built"


def test_a_target_may_fail_a_model_by_itself() -> None:
    """For what is no matter of outputs; its notes stay beside it."""

    class Heavy(Built):
        def build(self, deployment: Deployment) -> Any:
            deployment.note("compressed already")
            deployment.fail("the file is too large", hint="use fewer layers", details={"bytes": 12})

    result = check(Heavy())
    assert result.verdict is Verdict.TARGET_FAILURE
    failure, note = result.findings
    assert (failure.message, failure.hint, failure.details) == ("the file is too large", "use fewer layers", {"bytes": 12})
    assert note.message == "compressed already"


def test_what_a_target_finds_comes_before_what_differs() -> None:
    """It may be the reason."""

    class Both(Rough):
        tolerance = {}

        def build(self, deployment: Deployment) -> Any:
            deployment.fail("the weights were rounded")
            return deployment.module

    assert [finding.path for finding in check(Both()).findings] == [None, "hidden"]


def test_a_model_that_a_target_cannot_take_is_unsupported() -> None:
    """With the line and the remedy that the target gives."""
    line = Line(str(Path(__file__)), 10, "forward")

    class Refusing(Built):
        def build(self, deployment: Deployment) -> Any:
            deployment.note("looked at already")
            raise Unsupported("no such operation there", line=line, hint="use another")

    result = check(Refusing())
    finding, note = result.findings
    assert note.message == "looked at already"
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    assert (finding.message, finding.file, finding.line) == (
        "no such operation there",
        "tests/test_proof.py",
        10,
    )
    assert (finding.where, finding.hint) == ("refused at", "use another")
    both = check(Refusing(), max_flops=1)
    assert both.verdict is Verdict.TARGET_UNSUPPORTED
    assert [entry.message[:8] for entry in both.findings] == ["one call", "no such ", "looked a"]


# What a target is given


def test_a_deployment_shows_the_model_at_one_size() -> None:
    """Model, trace, inputs, dims, arguments and the results so far; a folder that is gone afterwards."""
    seen: dict[str, Any] = {}

    class Looking(Built):
        arguments = {"level": lambda name, value: value}

        def build(self, deployment: Deployment) -> Any:
            (deployment.directory / "file").write_text("kept for a while")
            seen.update(
                folder=deployment.directory,
                model=deployment.model,
                module=type(deployment.module),
                inputs=list(deployment.inputs),
                sizes=dict(deployment.sizes),
                dims=deployment.dims,
                arguments=dict(deployment.arguments),
                rule=deployment.shape_rule("seq"),
                status=deployment.status("trace"),
                results=list(deployment.results),
                other=deployment.resized({"seq": 9})["x"].shape,
                same=deployment.compare(deployment.traced(deployment.inputs), deployment.eager(deployment.inputs)),
                call=deployment.arguments_of(deployment.inputs)[0][0].shape,
                training=deployment.model.training,
                meta=deployment.without_weights,
            )
            with deployment.positional() as (model, inputs):
                seen["positional"] = model(*inputs)["hidden"].shape

    model = Head()
    assert judged(Looking(), model, level=3, shapes={"seq": "dynamic"}).verdict == "ok"
    assert not seen.pop("folder").exists()
    assert seen.pop("model") is model
    assert seen.pop("results") == [
        "eager", "trace", "equivalence", "values", "shapes", "padding", "roundtrip", "weights", "purity", "device"
    ]  # fmt: skip
    assert issubclass(seen.pop("module"), torch.jit.ScriptModule)
    assert seen == {
        "inputs": ["x"],
        "sizes": {"batch": 2, "seq": 6},
        "dims": {"x": {0: "batch", 1: "seq"}},
        "arguments": {"level": 3},
        "rule": "dynamic",
        "status": Status.PASSED,
        "other": (2, 9, 4),
        "same": [],
        "call": (2, 6, 4),
        "training": False,
        "meta": False,
        "positional": (2, 6, 3),
    }


def test_the_folder_of_a_target_is_empty() -> None:
    """What torch's compiler keeps on disk while operations are counted goes beside it, and is gone as well."""
    seen: dict[str, Any] = {}

    class Looking(Built):
        def build(self, deployment: Deployment) -> Any:
            seen["folder"], seen["files"] = deployment.directory, list(deployment.directory.iterdir())
            seen["cache"] = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])

    assert check(Looking(), max_flops=1e9).status is Status.PASSED
    assert seen["files"] == []
    assert seen["cache"].parent == seen["folder"].parent
    assert not seen["folder"].parent.exists()


def test_a_folder_that_cannot_be_removed_fails_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A compiler that was left behind still writes into it."""
    removed = os.rmdir

    def busy(path: Any, **options: Any) -> None:
        if str(path).startswith(str(tmp_path)):
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        removed(path, **options)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", busy)
        assert check(Built()).status is Status.PASSED
    (left,) = tmp_path.iterdir()
    shutil.rmtree(left)


def test_values_that_the_trace_gets_wrong_are_not_tried() -> None:
    """The check `values` has told them; the target is judged by the observed input."""

    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    cell = judged(Same(), Branching())
    assert cell.verdict == "ValueSpecialised"
    assert (cell.check("target").status, cell.check("target").metrics["compared"]) == (Status.PASSED, 1)


def test_a_trace_that_is_wrong_is_nothing_to_build_from() -> None:
    """Nor is one that the marker asks not to make."""

    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if torch.jit.is_tracing() else x

    result = check(Built(), Wrong())
    assert (result.status, result.reason) == (Status.SKIPPED, "equivalence failed")
    result = check(Built(), skip={"trace": "another test makes it"})
    assert (result.status, result.reason) == (Status.SKIPPED, "no trace was made")


@pytest.mark.parametrize("needs", [True, False])
def test_a_trace_that_failed_is_nothing_to_build_from(needs: bool) -> None:
    """Unless the target starts from the model itself."""

    class Untraceable(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return x, None

    class From(Built):
        needs_trace = needs

    result = check(From(), Untraceable())
    if needs:
        assert (result.status, result.reason) == (Status.SKIPPED, "trace failed")
    else:
        assert result.status is Status.PASSED


def test_without_weights_nothing_is_built_from_a_trace() -> None:
    """And what is built from the model is not run."""

    class FromModel(Same):
        needs_trace = False

    assert check(Same(), weights="meta").reason == "meta weights"
    assert check(FromModel(), weights="meta").metrics["proof"] == "built"


# Missing tools


class Absent(Same):
    def missing(self) -> str | None:
        return "the compiler is not installed"


def test_missing_tools_skip_a_target_without_rules() -> None:
    """With the reason, and no failure."""
    cell = judged(Absent())
    assert (cell.verdict, cell.check("target").reason) == ("ok", "the compiler is not installed")


def test_missing_tools_fail_where_they_are_required() -> None:
    """With what to do."""
    result = check(Absent(), require_sdk=True)
    assert result.verdict is Verdict.TARGET_FAILURE
    (finding,) = result.findings
    assert finding.message == (
        "same cannot be proved here, and --torchscript-require-sdk asks for it: the compiler is not installed"
    )
    assert finding.hint
    assert (result.reason, result.metrics) == (None, {})


@pytest.mark.parametrize("required", [False, True])
def test_tools_that_turn_out_not_to_work_are_missing(required: bool) -> None:
    """A compiler that fails for any program is none."""

    class Broken(Same):
        def build(self, deployment: Deployment) -> Any:
            raise Missing("the compiler cannot compile")

    result = check(Broken(), require_sdk=required)
    assert result.status is (Status.FAILED if required else Status.SKIPPED)


# Lint


def no_zeros(deployment: Deployment) -> Iterable[Finding]:
    if bool((deployment.inputs["x"] == 0).any()):
        yield deployment.finding("zeros are not supported", hint="avoid zero")


def slow(deployment: Deployment) -> Iterable[Finding]:
    yield deployment.finding("anything is slow there")


class Linting(Same):
    name = "linting"
    rules = (
        Rule(name="no-zeros", severity="fail", source="the vendor's manual, page 3", check=no_zeros),
        Rule(name="slow", severity="warn", source="measured", check=slow),
    )

    def missing(self) -> str | None:
        return "the compiler is not installed"


LINT = "lint: the compiler is not installed; the published rules were checked, nothing was compiled"


def test_rules_are_checked_where_the_tools_are_missing() -> None:
    """A warning passes, and everything says lint."""
    result = check(Linting())
    assert (result.status, result.reason) == (Status.PASSED, LINT)
    assert result.metrics == {"proof": "lint", "rules": {"no-zeros": "ok", "slow": "warn"}}
    (finding,) = result.findings
    assert finding.message == "lint slow: anything is slow there"
    assert finding.details == {"rule": "slow", "severity": "warn", "source": "measured"}


def test_a_broken_rule_is_unsupported() -> None:
    """Failures before warnings, each with its rule and where that comes from."""
    result = check(Linting(), inputs=(torch.zeros(2, 6, 4),))
    assert (result.verdict, result.reason) == (Verdict.TARGET_UNSUPPORTED, LINT)
    first, second = result.findings
    assert (first.message, first.hint) == ("lint no-zeros: zeros are not supported", "avoid zero")
    assert first.details["source"] == "the vendor's manual, page 3"
    assert second.message.startswith("lint slow")


def test_rules_are_enough_for_a_target() -> None:
    """One that nothing here can build for has its rules to go by."""

    class Published(Target):
        name = "published"
        rules = Linting.rules
        missing = Linting.missing

    assert check(Published()).metrics == {"proof": "lint", "rules": {"no-zeros": "ok", "slow": "warn"}}


def test_required_tools_make_lint_a_failure() -> None:
    """What the rules say is still told."""
    result = check(Linting(), require_sdk=True, inputs=(torch.zeros(2, 6, 4),))
    assert result.verdict is Verdict.TARGET_FAILURE
    head, *others = result.findings
    assert "asks for it: the compiler is not installed" in head.message
    assert [finding.message.split(":")[0] for finding in others] == ["lint no-zeros", "lint slow"]


def test_a_rule_that_stumbles_hides_no_other() -> None:
    """It is told as not judged."""

    def stumbling(deployment: Deployment) -> Iterable[Finding]:
        raise KeyError("no such node")

    class Stumbling(Linting):
        rules = (Rule(name="odd", severity="fail", source="nowhere", check=stumbling), *Linting.rules)

    result = check(Stumbling())
    assert result.metrics["rules"] == {"odd": "not judged", "no-zeros": "ok", "slow": "warn"}
    assert "lint odd: could not be judged: KeyError: 'no such node'" in result.findings[0].message


@pytest.mark.parametrize("error", [ValueError, RuntimeError, AssertionError])
def test_a_rule_may_stumble_over_anything(error: type[Exception]) -> None:
    """What would fail the gate and was not judged has not passed."""

    def stumbling(deployment: Deployment) -> Iterable[Finding]:
        raise error("unforeseen")

    class Stumbling(Linting):
        rules = (Rule(name="odd", severity="fail", source="nowhere", check=stumbling),)

    result = check(Stumbling())
    assert (result.verdict, result.metrics["rules"]) == (Verdict.TARGET_FAILURE, {"odd": "not judged"})


def test_a_rule_that_hangs_is_bounded() -> None:
    """It is not judged, and the gate goes on."""
    release = threading.Event()

    def hanging(deployment: Deployment) -> Iterable[Finding]:
        release.wait(60)
        return ()

    class Hanging(Linting):
        rules = (Rule(name="odd", severity="fail", source="nowhere", check=hanging), *Linting.rules)

    try:
        result = check(Hanging(), timeout=0.5)
    finally:
        release.set()
    assert result.metrics["rules"]["odd"] == "not judged"
    assert "lint odd: could not be judged" in result.findings[0].message


def test_each_rule_finds_the_model_as_it_was() -> None:
    """And what it tells of a finding is kept beside its own name."""

    def counting(deployment: Deployment) -> Iterable[Finding]:
        count = deployment.model.get_buffer("count").add_(1).item()
        yield deployment.finding(f"seen {count:g} times", details={"count": count})

    class Counting(Linting):
        rules = tuple(Rule(name=name, severity="warn", source="", check=counting) for name in ("first", "second"))

    findings = check(Counting(), Counted()).findings
    assert [finding.message for finding in findings] == ["lint first: seen 1 times", "lint second: seen 1 times"]
    assert findings[0].details == {"count": 1, "rule": "first", "severity": "warn", "source": ""}


def test_a_severity_is_one_of_two() -> None:
    """A slip is told where the rule is written."""
    with pytest.raises(ValueError, match="rule 'x': severity must be 'fail' or 'warn', not 'error'"):
        Rule(name="x", severity="error", source="", check=slow)


def test_with_the_tools_the_rules_are_not_asked() -> None:
    """The compiler decides."""

    class Here(Linting):
        def missing(self) -> str | None:
            return None

    result = check(Here())
    assert (result.metrics["proof"], result.findings) == ("ran", ())


# A target that misbehaves


@pytest.mark.parametrize("method", ["missing", "build", "run", "probe"])
def test_a_target_that_raises_is_one_finding(method: str) -> None:
    """Named, with the root cause and the line, whichever of its methods it is."""

    def raising(self: Target, *_: Any) -> Any:
        raise LookupError("the vendor's table is empty")

    target = type("Raising", (Same,), {method: raising})()
    cell = judged(target)
    result = cell.check("target")
    assert (cell.verdict, result.verdict) == ("TargetFailure", Verdict.TARGET_FAILURE)
    (finding,) = result.findings
    assert finding.message == "same: LookupError: the vendor's table is empty"
    assert finding.file == "tests/test_proof.py"
    assert finding.hint


@pytest.mark.parametrize("method", ["missing", "build", "run", "probe"])
def test_a_target_that_hangs_is_bounded(method: str) -> None:
    """What was called and for how long is told; the gate goes on."""
    release = threading.Event()

    def hanging(self: Target, *_: Any) -> Any:
        release.wait(60)

    target = type("Hanging", (Same,), {method: hanging})()
    try:
        (finding,) = check(target, timeout=0.5).findings
    finally:
        release.set()
    assert finding.message == f"same: {method}() did not end within 0.5 seconds"
    assert "torchscript_target_timeout" in str(finding.hint)
    # The only stack is that of whoever waited.
    assert (finding.file, finding.line) == (None, None)


def test_a_target_may_time_out_by_itself() -> None:
    """With its own words and line; how long it waited is not ours to say."""

    class Waiting(Same):
        def build(self, deployment: Deployment) -> Any:
            deployment.note("asked the licence server")
            raise TimeoutError("the licence server does not answer")

    finding, note = check(Waiting()).findings
    assert finding.message == "same: TimeoutError: the licence server does not answer"
    assert finding.file == "tests/test_proof.py"
    assert "torchscript_target_timeout" in str(finding.hint)
    assert note.message == "asked the licence server"


def test_the_remedy_is_the_best_that_is_known() -> None:
    """The error's own, else that of its symptom, else to look at the target."""

    class Worded(RuntimeError):
        hint = "renew the licence"

    def raising(error: Exception) -> str | None:
        class Raising(Same):
            def build(self, deployment: Deployment) -> Any:
                raise error

        return check(Raising()).findings[0].hint

    assert raising(Worded("size of tensor a must match the size of tensor b")) == "renew the licence"
    assert "a size was baked in" in str(raising(RuntimeError("size of tensor a must match the size of tensor b")))
    assert raising(RuntimeError("no")) == "mend the target 'same' or its tools, if the model is not the cause"


def test_a_target_that_raises_leaves_the_model_to_the_next() -> None:
    """As it was, whatever it had done until then."""
    seen: list[float] = []

    class Meddling(Built):
        name = "meddling"

        def build(self, deployment: Deployment) -> Any:
            deployment.model.get_buffer("count").add_(1)
            raise RuntimeError("no")

    class Looking(Built):
        def build(self, deployment: Deployment) -> Any:
            seen.append(deployment.model.get_buffer("count").item())

    both = Targets(by_name={target.name: target for target in (Meddling(), Looking())})
    spec = GateSpec.merge(parse_arguments((), {"target": ("meddling", "built")}, both.arguments))
    model = Counted()
    subject = gate.Subject(model=model, call=gate.call_of(model, (X,)))
    result = gate.judge(subject, spec, id="both", targets=both)
    assert [cell.verdict for cell in result.cells] == ["TargetFailure", "ok"]
    assert seen == [0]


def test_an_exit_is_a_finding() -> None:
    """Vendors' tools call sys.exit."""

    class Leaving(Same):
        def build(self, deployment: Deployment) -> Any:
            raise SystemExit(2)

    assert check(Leaving()).findings[0].message == "same: SystemExit: 2"


def test_what_is_no_exception_is_a_finding_too() -> None:
    """In the target's thread no key is pressed: an interrupt there is the target's, like an outcome of pytest's."""

    class Interrupted(Same):
        def build(self, deployment: Deployment) -> Any:
            raise KeyboardInterrupt

    class Failing(Same):
        def build(self, deployment: Deployment) -> Any:
            pytest.fail("no licence")

    assert check(Interrupted()).findings[0].message == "same: KeyboardInterrupt"
    assert check(Failing()).findings[0].message == "same: Failed: no licence"


@pytest.mark.parametrize("required", [False, True])
def test_a_skip_says_that_the_tools_are_missing(required: bool) -> None:
    """importorskip in a target is a natural line; it must not skip the gate, whose other verdicts stand."""

    class Skipping(Same):
        def build(self, deployment: Deployment) -> Any:
            pytest.importorskip("no_such_sdk")

    cell = judged(Skipping(), Branching(), require_sdk=required)
    assert cell.verdict == "ValueSpecialised"
    result = cell.check("target")
    assert result.status is (Status.FAILED if required else Status.SKIPPED)
    assert "no_such_sdk" in (result.findings[0].message if required else str(result.reason))


def test_weights_that_a_target_changes_are_put_back() -> None:
    """A trace shares them with its model: rounding them in place is found, and reaches neither model nor next target."""

    class Halving(Same):
        name = "halving"

        def build(self, deployment: Deployment) -> Any:
            with torch.no_grad():
                for weight in deployment.module.parameters():
                    weight.mul_(0.5)
            return deployment.module

    model = Head()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    class Next(Same):
        def build(self, deployment: Deployment) -> Any:
            # Halved model and halved trace would agree.
            if not torch.equal(deployment.model.get_parameter("linear.weight"), before["linear.weight"]):
                deployment.fail("the weights are another target's")
            return deployment.module

    targets = Targets(by_name={**built_in().by_name, "halving": Halving(), "same": Next()})
    spec = GateSpec.merge(parse_arguments((), {"target": ("halving", "same")}, targets.arguments))
    subject = gate.Subject(model=model, call=gate.call_of(model, (X,)))
    first, second = gate.judge(subject, spec, id="weights", root=str(ROOT), targets=targets).cells
    assert (first.verdict, second.verdict) == ("TargetFailure", "ok")
    assert first.check("target").findings[0].path == "hidden"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("where", ["build", "run"])
def test_inputs_that_a_target_changes_are_its_own(where: str) -> None:
    """It is judged by what it was given."""

    def zero(deployment: Deployment, samples: Sequence[Mapping[str, Any]]) -> None:
        for sample in samples:
            sample["x"].zero_()

    class Zeroing(Same):
        def build(self, deployment: Deployment) -> Any:
            if where == "build":
                zero(deployment, [deployment.inputs])
            return deployment.module

        def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any] | None:
            outputs = super().run(artefact, deployment, inputs)
            if where == "run":
                zero(deployment, inputs)
            return outputs

    mine = X.clone()
    assert judged(Zeroing(), inputs=(mine,)).verdict == "ok"
    assert torch.equal(mine, X)


def test_outputs_without_values_are_no_answer() -> None:
    """The meta device gives shapes alone."""

    class Empty(Same):
        def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any] | None:
            return [{name: value.to("meta") for name, value in artefact(*s.values()).items()} for s in inputs]

    result = check(Empty())
    assert result.verdict is Verdict.TARGET_FAILURE
    assert result.findings[0].message == "same gives output 'hidden' without values, on the meta device"


def test_nothing_to_run_is_no_proof() -> None:
    """A target that probes nothing shows nothing."""

    class Idle(Same):
        def probe(self, deployment: Deployment) -> Iterable[Mapping[str, Any]]:
            return []

    assert check(Idle()).findings[0].message == "same: probe() gave no input to run"


def test_rules_alone_are_lint() -> None:
    """Nothing was built, so nothing says that it was."""

    class RulesOnly(Target):
        name = "book"
        rules = Linting.rules

    result = check(RulesOnly(), inputs=(torch.zeros(2, 6, 4),))
    assert (result.verdict, result.metrics["proof"]) == (Verdict.TARGET_UNSUPPORTED, "lint")
    assert result.reason == (
        "lint: the target has rules and nothing to build; the published rules were checked, nothing was compiled"
    )


def test_running_alone_is_run() -> None:
    """Who needs no artefact leaves build() out."""

    class RunsOnly(Target):
        name = "runs"

        def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any] | None:
            return [deployment.traced(sample) for sample in inputs]

    assert check(RunsOnly()).metrics["proof"] == "ran"


@pytest.mark.parametrize("required", [False, True])
def test_a_target_that_only_misses_something_says_so(required: bool) -> None:
    """And fails where its tools are required."""

    class Missed(Target):
        name = "missed"

        def missing(self) -> str | None:
            return "the compiler is not installed"

    result = check(Missed(), require_sdk=required)
    assert result.status is (Status.FAILED if required else Status.SKIPPED)


def test_without_weights_the_rules_are_checked_although_the_tools_are_there() -> None:
    """The structure is all there is to judge."""

    class Here(Linting):
        def missing(self) -> str | None:
            return None

    class Slow(Here):
        rules = (Linting.rules[1],)

    result = check(Slow(), weights="meta")
    assert (result.metrics["proof"], result.metrics["rules"]) == ("lint", {"slow": "warn"})
    assert "without weights nothing can be compiled" in str(result.reason)


def test_a_generator_of_outputs_is_bounded() -> None:
    """It computes while it is listed."""
    release = threading.Event()

    class Lazy(Same):
        def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Any:
            release.wait(60)
            yield from ()

    try:
        (finding,) = check(Lazy(), timeout=0.5).findings
    finally:
        release.set()
    assert finding.message == "same: run() did not end within 0.5 seconds"


def test_figures_of_a_target_do_not_replace_the_gates() -> None:
    """flops, proof and the like are what the gate says they are."""

    class Boasting(Built):
        def build(self, deployment: Deployment) -> Any:
            deployment.metrics.update(flops="few", proof="ran", compared=99, bytes=12)

    assert check(Boasting()).metrics == {"proof": "built", "bytes": 12}
    assert check(Boasting(), max_flops=1e9).metrics["flops"] == 288


@pytest.mark.parametrize("given", [None, "three", [3]], ids=str)
def test_a_rule_that_yields_no_findings_is_told(given: Any) -> None:
    """With its name; what it found before is kept."""

    def odd(deployment: Deployment) -> Iterable[Any]:
        yield deployment.finding("a good one")
        yield given

    class Odd(Linting):
        rules = (Rule(name="odd", severity="fail", source="nowhere", check=odd), *Linting.rules)

    result = check(Odd())
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    assert result.metrics["rules"] == {"odd": "fail", "no-zeros": "ok", "slow": "warn"}
    assert result.findings[0].message == "lint odd: a good one"
    assert "lint odd: could not be judged: TypeError: a rule yields findings" in result.findings[1].message


def test_a_rule_that_cannot_tell_is_not_ok() -> None:
    """It says why; all such rules make one note, and fail nothing."""

    def blind(deployment: Deployment) -> Iterable[Finding]:
        raise NotJudged("the model has no mask")

    class Blind(Linting):
        rules = (
            Rule(name="padding", severity="fail", source="nowhere", check=blind),
            Rule(name="masks", severity="warn", source="nowhere", check=blind),
        )

    result = check(Blind())
    assert (result.status, set(result.metrics["rules"].values())) == (Status.PASSED, {"not judged"})
    (note,) = result.findings
    assert note.message == "not judged here: padding, masks (the model has no mask)"


def test_anything_that_a_target_tells_reaches_the_reports() -> None:
    """Numbers, tensors and objects where a text or a figure is expected."""

    class Telling(Built):
        def build(self, deployment: Deployment) -> Any:
            deployment.note(3, details={"tensor": torch.ones(3), "one": torch.tensor(2.5)})  # type: ignore[arg-type]
            deployment.notes.append("a text")  # type: ignore[arg-type]
            deployment.metrics.update(path=Path("file"), kinds={1, 2}, nan=float("nan"), number=torch.tensor(7), raw=b"x")

    result = check(Telling())
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert [finding["message"] for finding in data["findings"]] == ["3", "a text"]
    assert data["findings"][0]["details"] == {"tensor": "Tensor (3,)", "one": 2.5}
    assert {name: data["metrics"][name] for name in ("kinds", "nan", "number", "raw")} == {
        "kinds": [1, 2],
        "nan": "nan",
        "number": 7,
        "raw": "b'x'",
    }


def test_an_error_without_a_text_is_still_an_error() -> None:
    """Its own str() may raise."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    class Raising(Same):
        def build(self, deployment: Deployment) -> Any:
            raise Mute

    assert check(Raising()).findings[0].message == "same: Mute"


def test_what_a_target_does_to_the_model_is_undone() -> None:
    """And what it puts into the environment, the warnings it gives and the random numbers it draws."""

    class Careless(Same):
        def build(self, deployment: Deployment) -> Any:
            os.environ["VENDOR_CACHE"] = "somewhere"
            os.environ["HOME"] = "elsewhere"
            warnings.warn("this tool is deprecated", DeprecationWarning, stacklevel=1)
            torch.rand(5)
            with torch.no_grad():
                deployment.model.get_buffer("count").add_(1)
            return deployment.module

    model = Counted()
    home, drawn = os.environ.get("HOME"), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert judged(Careless(), model).verdict == "ok"
    assert "VENDOR_CACHE" not in os.environ
    assert os.environ.get("HOME") == home
    assert torch.equal(torch.get_rng_state(), drawn)
    assert model.count.item() == 0


def test_a_budget_counts_beside_the_targets_own_proof() -> None:
    """Both are told in one check."""
    result = check(Built(), max_flops=1)
    assert result.verdict is Verdict.TARGET_FAILURE
    assert [finding.message.split(",")[0] for finding in result.findings] == [
        "one call takes 288 floating-point operations",
        "made for no machine in particular",
    ]
    assert result.metrics["proof"] == "built"


def test_counting_leaves_the_state_to_the_target() -> None:
    """What a forward writes into its buffers while operations are counted is undone before anything is built."""
    seen: list[float] = []

    class Writing(Counted):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            self.get_buffer("count").add_(1)
            return super().forward(x)

    class Looking(Built):
        needs_trace = False

        def build(self, deployment: Deployment) -> Any:
            seen.append(deployment.model.get_buffer("count").item())

    check(Looking(), Writing(), max_flops=1e9)
    assert seen == [0]


def test_a_skipped_proof_with_figures_keeps_its_reason() -> None:
    """The figures are a result, and why nothing was proved still stands there."""
    result = check(Absent(), max_flops=1e9)
    assert (result.status, result.reason, result.metrics["flops"]) == (Status.PASSED, "the compiler is not installed", 288)


def test_an_argument_of_a_target_is_its_own() -> None:
    """What it refuses is refused before anything runs."""

    def positive(name: str, value: Any) -> int:
        if value < 1:
            raise SpecError(f"{name} must be at least 1, not {value}")
        return int(value)

    class Tiled(Same):
        arguments = {"tile": positive}

    with pytest.raises(SpecError, match="tile must be at least 1, not 0"):
        judged(Tiled(), tile=0)


def test_samples_are_of_every_kind() -> None:
    """Other tokens and another mask are among them, not three times other tokens."""
    seen: list[Mapping[str, Any]] = []

    class Keeping(Same):
        def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any] | None:
            seen.extend(inputs)
            return super().run(artefact, deployment, inputs)

    observed = models.tokens()
    assert judged(Keeping(), models.Encoder(), inputs=observed).verdict == "ok"
    assert len(seen) == 4
    assert any(not torch.equal(sample["input_ids"], observed["input_ids"]) for sample in seen)
    assert any(not torch.equal(sample["attention_mask"], observed["attention_mask"]) for sample in seen)
