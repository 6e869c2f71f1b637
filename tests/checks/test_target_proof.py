"""The check ``target`` with targets of all kinds: built and run, only built, linted, missing, raising, hanging."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import Deployment, Missing, Rule, SpecError, Target, Tolerance, Unsupported, gate
from pytest_torchscript.result import CellResult, CheckResult, Finding, Status, Verdict
from pytest_torchscript.source import Line
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.targets import Targets, built_in

from ..acceptance import models
from .alone import ROOT

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.linear(x)
        return {"hidden": hidden, "best": hidden.argmax(-1)}


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


def test_a_target_may_fail_a_model_by_itself() -> None:
    """For what is no matter of outputs."""

    class Heavy(Built):
        def build(self, deployment: Deployment) -> Any:
            deployment.fail("the file is too large", details={"bytes": 12})

    result = check(Heavy())
    assert (result.verdict, result.findings[0].message) == (Verdict.TARGET_FAILURE, "the file is too large")


def test_a_model_that_a_target_cannot_take_is_unsupported() -> None:
    """With the line and the remedy that the target gives."""
    line = Line(str(Path(__file__)), 10, "forward")

    class Refusing(Built):
        def build(self, deployment: Deployment) -> Any:
            raise Unsupported("no such operation there", line=line, hint="use another")

    result = check(Refusing())
    (finding,) = result.findings
    assert result.verdict is Verdict.TARGET_UNSUPPORTED
    assert (finding.message, finding.file, finding.line) == (
        "no such operation there",
        "tests/checks/test_target_proof.py",
        10,
    )
    assert (finding.where, finding.hint) == ("refused at", "use another")


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


def test_values_that_the_trace_gets_wrong_are_not_tried() -> None:
    """The check `values` has told them; the target is judged by the observed input."""

    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    cell = judged(Same(), Branching())
    assert cell.verdict == "ValueSpecialised"
    assert (cell.check("target").status, cell.check("target").metrics["compared"]) == (Status.PASSED, 1)


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


def test_required_tools_make_lint_a_failure() -> None:
    """What the rules say is still told."""
    result = check(Linting(), require_sdk=True)
    assert result.verdict is Verdict.TARGET_FAILURE
    assert "asks for it: the compiler is not installed" in result.findings[0].message
    assert result.findings[1].message.startswith("lint slow")


def test_a_rule_that_stumbles_hides_no_other() -> None:
    """It is told as not judged."""

    def stumbling(deployment: Deployment) -> Iterable[Finding]:
        raise KeyError("no such node")

    class Stumbling(Linting):
        rules = (Rule(name="odd", severity="fail", source="nowhere", check=stumbling), *Linting.rules)

    result = check(Stumbling())
    assert result.metrics["rules"] == {"odd": "not judged", "no-zeros": "ok", "slow": "warn"}
    assert "lint odd: could not be judged: KeyError: 'no such node'" in result.findings[0].message


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
    assert finding.file == "tests/checks/test_target_proof.py"
    assert finding.hint


@pytest.mark.parametrize("method", ["missing", "build", "run"])
def test_a_target_that_hangs_is_bounded(method: str) -> None:
    """What was called and for how long is told; the gate goes on."""
    release = threading.Event()

    def hanging(self: Target, *_: Any) -> Any:
        release.wait(60)

    target = type("Hanging", (Same,), {method: hanging})()
    try:
        (finding,) = check(target, timeout=0.2).findings
    finally:
        release.set()
    assert finding.message == f"same: {method} did not end within 0.2 seconds"
    assert "torchscript_target_timeout" in str(finding.hint)


def test_an_exit_is_a_finding() -> None:
    """Vendors' tools call sys.exit."""

    class Leaving(Same):
        def build(self, deployment: Deployment) -> Any:
            raise SystemExit(2)

    assert check(Leaving()).findings[0].message == "same: SystemExit: 2"


def test_an_interrupt_is_the_users() -> None:
    """It ends the run."""

    class Interrupted(Same):
        def build(self, deployment: Deployment) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(Interrupted())


def test_what_a_target_does_to_the_model_is_undone() -> None:
    """And what it puts into the environment, the warnings it gives and the random numbers it draws."""

    class Careless(Same):
        def build(self, deployment: Deployment) -> Any:
            import os

            os.environ["VENDOR_CACHE"] = "somewhere"
            os.environ["HOME"] = "elsewhere"
            warnings.warn("this tool is deprecated", DeprecationWarning, stacklevel=1)
            torch.rand(5)
            with torch.no_grad():
                deployment.model.get_buffer("count").add_(1)
            return deployment.module

    class Counting(Head):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

    import os

    model = Counting()
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
