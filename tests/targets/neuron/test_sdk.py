"""The adapter to AWS's SDKs, against stand-ins for them; see ``stand_ins``."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import SpecError, gate
from pytest_torchscript.result import CellResult, Status, Verdict
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.targets import Missing, Targets, built_in, neuron

from . import stand_ins

ROOT = Path(__file__).resolve().parents[3]
X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.linear(x)
        return {"hidden": hidden, "best": hidden.argmax(-1)}


def cells(model: nn.Module, target: str = "neuron", **arguments: Any) -> tuple[CellResult, ...]:
    known = built_in()
    spec = GateSpec.merge(parse_arguments((), {"target": target, **arguments}, known.arguments))
    subject = gate.Subject(model=model, call=gate.call_of(model, (X,)))
    return gate.judge(subject, spec, id="neuron", root=str(ROOT), targets=known).cells


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a Neuron device, as far as the adapter looks."""
    monkeypatch.setattr(neuron.sdk, "_DEVICES", __file__)


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> stand_ins.Calls:
    made = stand_ins.inf2()
    monkeypatch.setitem(sys.modules, "torch_neuronx", made)
    return made


# Which SDK is here


def test_without_the_sdk_the_reason_says_so() -> None:
    """Neither package is here; both name their source."""
    assert str(neuron.missing()).startswith("torch_neuronx is not installed; it comes from AWS's own")
    assert str(neuron.missing_inf1()).startswith("torch_neuron is not installed; it comes from AWS's own")


@pytest.mark.parametrize("target", ["neuron", "neuron-inf1"])
def test_without_the_sdk_the_rules_are_checked(target: str) -> None:
    """Nobody who has not asked for the SDK is failed for it."""
    check = cells(Head(), target)[0].check("target")
    assert (check.status, check.metrics["proof"]) == (Status.PASSED, "lint")
    assert check.metrics["rules"]


@pytest.mark.parametrize(("name", "reason"), [("torch_neuronx", neuron.missing), ("torch_neuron", neuron.missing_inf1)])
def test_a_placeholder_is_recognised(monkeypatch: pytest.MonkeyPatch, name: str, reason: Any) -> None:
    """It can be found, so only importing it tells."""
    monkeypatch.setattr(sys, "meta_path", [stand_ins.placeholder(name), *sys.meta_path])
    assert importlib.util.find_spec(name) is not None
    assert f"the installed {name} is PyPI's placeholder" in str(reason())


def test_the_native_package_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the same name, and compiles in another way."""
    monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.native())
    assert "the native one, which compiles by torch.compile and has no trace" in str(neuron.missing())


def test_an_sdk_that_does_not_import_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises: a driver that is not there, a torch of another version."""

    class Broken(stand_ins.placeholder):
        def exec_module(self, module: Any) -> None:
            raise RuntimeError("libnrt.so: driver version mismatch")

    monkeypatch.setattr(sys, "meta_path", [Broken("torch_neuronx"), *sys.meta_path])
    assert neuron.missing() == "torch_neuronx cannot be imported: RuntimeError: libnrt.so: driver version mismatch"


def test_what_an_sdk_misses_is_not_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has installed it reads which part is not there."""

    class Partial(stand_ins.placeholder):
        def exec_module(self, module: Any) -> None:
            importlib.import_module("torch_xla_of_the_vendor")

    monkeypatch.setattr(sys, "meta_path", [Partial("torch_neuronx"), *sys.meta_path])
    assert str(neuron.missing()).startswith(
        "torch_neuronx cannot be imported: ModuleNotFoundError: No module named 'torch_xla_"
    )


def test_the_platform_is_named_while_the_sdk_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the environment as early as that."""
    seen: list[str | None] = []

    class Reading(stand_ins.placeholder):
        def exec_module(self, module: Any) -> None:
            seen.append(os.environ.get("NEURON_PLATFORM_TARGET_OVERRIDE"))
            raise ImportError("enough")

    monkeypatch.setattr(sys, "meta_path", [Reading("torch_neuronx"), *sys.meta_path])
    monkeypatch.delenv("NEURON_PLATFORM_TARGET_OVERRIDE", raising=False)
    neuron.missing()
    assert seen == ["inf2"]
    assert "NEURON_PLATFORM_TARGET_OVERRIDE" not in os.environ


@pytest.mark.parametrize("build", [neuron.build, neuron.build_inf1])
def test_an_sdk_that_is_gone_when_it_is_wanted_is_missing(build: Any) -> None:
    """Nothing is blamed on the model."""
    with pytest.raises(Missing, match="is not installed; it comes from AWS's own package index"):
        build(None)


def test_the_sdk_of_inferentia1_needs_its_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """They live in torch.neuron, which importing torch_neuron makes."""
    monkeypatch.setitem(sys.modules, "torch_neuron", stand_ins.Calls("torch_neuron"))
    assert neuron.missing_inf1() == "this torch_neuron has no torch.neuron.trace"


# Off the device


def test_off_the_device_it_is_compiled_and_not_run(sdk: stand_ins.Calls) -> None:
    """The compiler is told the platform, the result says that nothing was run."""
    (cell,) = cells(Head())
    target = cell.check("target")
    assert (cell.verdict, target.metrics["proof"], target.metrics["off_device"]) == ("ok", "built", True)
    assert [finding.message for finding in target.findings] == [
        "compiled, and not run: a program for Neuron gives its values on a Neuron device only"
    ]
    (_, inputs, options) = next(call for call in sdk.calls if call[0] == "trace")
    assert [tensor.shape for tensor in inputs] == [X.shape]
    assert (options["cpu_backend"], options["compiler_args"]) == (True, "--target inf2")
    assert Path(options["compiler_workdir"]).name == "neuron"
    assert "dynamic_batch" not in [name for name, _, _ in sdk.calls]
    assert target.metrics["support_percentage"] == "100.00%"


def test_the_platform_is_named_while_compiling_and_not_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK reads it from the environment, which is the user's."""
    made = stand_ins.inf2()
    seen: list[str | None] = []
    original = made.trace

    def trace(*args: Any, **options: Any) -> Any:
        seen.append(os.environ.get("NEURON_PLATFORM_TARGET_OVERRIDE"))
        return original(*args, **options)

    monkeypatch.setattr(made, "trace", trace, raising=False)
    monkeypatch.setitem(sys.modules, "torch_neuronx", made)
    monkeypatch.delenv("NEURON_PLATFORM_TARGET_OVERRIDE", raising=False)
    assert cells(Head())[0].verdict == "ok"
    assert seen == ["inf2"]
    assert "NEURON_PLATFORM_TARGET_OVERRIDE" not in os.environ


def test_a_platform_of_the_users_stands(sdk: stand_ins.Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who compiles for Trainium says so."""
    monkeypatch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", "trn1")
    assert cells(Head())[0].verdict == "ok"
    assert os.environ["NEURON_PLATFORM_TARGET_OVERRIDE"] == "trn1"
    assert next(options for name, _, options in sdk.calls if name == "trace")["compiler_args"] == "--target trn1"


# On the device


@pytest.mark.usefixtures("chip")
def test_on_the_device_the_outputs_are_compared(sdk: stand_ins.Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several inputs of the compiled shape; no platform is forced on the SDK."""
    seen: list[str | None] = []
    analyze = sdk.analyze

    def looking(*args: Any) -> Any:
        seen.append(os.environ.get("NEURON_PLATFORM_TARGET_OVERRIDE"))
        return analyze(*args)

    monkeypatch.setattr(sdk, "analyze", looking, raising=False)
    monkeypatch.delenv("NEURON_PLATFORM_TARGET_OVERRIDE", raising=False)
    (cell,) = cells(Head())
    target = cell.check("target")
    assert seen == [None]
    assert (cell.verdict, target.metrics["proof"], target.metrics["off_device"]) == ("ok", "ran", False)
    assert target.findings == ()
    assert target.metrics["compared"] > 1
    assert "cpu_backend" not in next(options for name, _, options in sdk.calls if name == "trace")


@pytest.mark.usefixtures("chip")
@pytest.mark.parametrize(("factor", "verdict"), [(1 + 2e-4, "ok"), (1.05, "TargetFailure")])
def test_neurons_own_tolerance_holds(monkeypatch: pytest.MonkeyPatch, factor: float, verdict: str) -> None:
    """1e-3 for float32: what a compiler for another chip rounds passes, what is wrong does not."""

    def change(output: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**output, "hidden": output["hidden"] * factor}

    monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.inf2(change=change))
    (cell,) = cells(Head())
    assert cell.verdict == verdict
    if verdict != "ok":
        (finding,) = cell.check("target").findings
        assert finding.path == "hidden"
        assert finding.message.startswith("neuron gives another answer than eager: output 'hidden' by max abs")


@pytest.mark.usefixtures("chip")
def test_the_markers_tolerance_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for 1e-6 gets it."""
    change = lambda output: {**output, "hidden": output["hidden"] * (1 + 2e-4)}  # noqa: E731
    monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.inf2(change=change))
    assert cells(Head(), rtol=1e-6, atol=1e-7)[0].verdict == "TargetFailure"


@pytest.mark.usefixtures("chip")
def test_a_program_that_takes_any_shape_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixed shape is what makes padding a proof."""
    monkeypatch.setattr(stand_ins.Compiled, "forward", lambda self, *inputs: self.program(*inputs))
    monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.inf2())
    target = cells(Head())[0].check("target")
    assert target.verdict is Verdict.TARGET_FAILURE
    assert "was made for batch 2 and accepts 1 in silence" in target.findings[0].message


@pytest.mark.usefixtures("chip")
def test_a_dynamic_batch_is_compiled_and_tried(sdk: stand_ins.Calls) -> None:
    """With dynamic_batch another batch size is run too, and its acceptance is no failure."""
    (cell,) = cells(Head(), dynamic_batch=True)
    assert cell.verdict == "ok"
    assert "dynamic_batch" in [name for name, _, _ in sdk.calls]
    assert cells(Head())[0].check("target").metrics["compared"] == cell.check("target").metrics["compared"] - 1


@pytest.mark.usefixtures("chip")
def test_another_batch_is_run_where_it_is_dynamic(monkeypatch: pytest.MonkeyPatch) -> None:
    """An odd number of rows more than it was compiled for; whether the answers are right there is what counts."""
    sizes: list[int] = []

    def change(output: dict[str, Tensor]) -> dict[str, Tensor]:
        sizes.append(len(output["hidden"]))
        return {**output, "hidden": output["hidden"] + (1 if len(output["hidden"]) == 5 else 0)}

    monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.inf2(change=change))
    target = cells(Head(), dynamic_batch=True)[0].check("target")
    assert target.verdict is Verdict.TARGET_FAILURE
    assert set(sizes) == {2, 5}
    assert "(input 5 of 5): output 'hidden'" in target.findings[0].message


@pytest.mark.usefixtures("chip")
def test_a_model_without_a_batch_has_no_other(sdk: stand_ins.Calls) -> None:
    """Nothing is asked of it that it has no dim for."""
    (cell,) = cells(Head(), dynamic_batch=True, dims={"x": {1: "seq"}})
    assert cell.verdict == "ok"
    assert cell.check("target").metrics["compared"] == cells(Head())[0].check("target").metrics["compared"]


@pytest.mark.usefixtures("chip")
def test_no_dim_is_tried_without_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size of 1 has none below it; each other one is tried by itself."""
    seen: list[tuple[int, ...]] = []
    checked = stand_ins.Compiled.forward

    def forward(self: stand_ins.Compiled, *inputs: Tensor) -> Any:
        seen.append(tuple(inputs[0].shape))
        return checked(self, *inputs)

    monkeypatch.setattr(stand_ins.Compiled, "forward", forward)
    monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.inf2())
    assert cells(Head(), batch_size=1)[0].verdict == "ok"
    assert set(seen) == {(1, 6, 4), (1, 5, 4)}
    seen.clear()
    assert cells(Head(), seq_len=2)[0].verdict == "ok"
    assert set(seen) == {(2, 2, 4), (1, 2, 4), (2, 1, 4)}


@pytest.mark.usefixtures("chip")
def test_inferentia1_falls_back_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiler cannot take must not silently run on the CPU; its own timeout is set."""
    made = stand_ins.inf1(monkeypatch)
    monkeypatch.setitem(sys.modules, "torch_neuron", made)
    (cell,) = cells(Head(), "neuron-inf1", dynamic_batch=True)
    target = cell.check("target")
    assert (cell.verdict, target.metrics["proof"], target.metrics["off_device"]) == ("ok", "ran", False)
    assert target.findings == ()
    (_, _, options) = made.calls[0]
    assert (options["fallback"], options["dynamic_batch_size"], options["compiler_timeout"]) == (False, True, 600)
    assert Path(options["compiler_workdir"]).name == "neuron"
    cells(Head(), "neuron-inf1")
    assert made.calls[-1][2]["dynamic_batch_size"] is False


@pytest.mark.parametrize(("timeout", "given"), [(45.5, 45), (0.9, 1)])
def test_the_compiler_of_inferentia1_has_the_sessions_time(monkeypatch: pytest.MonkeyPatch, timeout: float, given: int) -> None:
    """In whole seconds, and never none at all, which would be without a limit."""
    made = stand_ins.inf1(monkeypatch)
    monkeypatch.setitem(sys.modules, "torch_neuron", made)
    known = built_in()
    spec = GateSpec.merge(parse_arguments((), {"target": "neuron-inf1"}, known.arguments))
    model = Head()
    subject = gate.Subject(model=model, call=gate.call_of(model, (X,)))
    gate.judge(subject, spec, id="short", targets=Targets(by_name=known.by_name, timeout=timeout))
    assert made.calls[0][2]["compiler_timeout"] == given


def test_inferentia1_off_the_device_is_compiled_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the other chips."""
    monkeypatch.setitem(sys.modules, "torch_neuron", stand_ins.inf1(monkeypatch))
    target = cells(Head(), "neuron-inf1")[0].check("target")
    assert (target.metrics["proof"], target.metrics["off_device"]) == ("built", True)
    assert [finding.message[:22] for finding in target.findings] == ["compiled, and not run:"]


def test_inferentia1_is_told_the_platform_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it compiles, and not after."""
    made = stand_ins.inf1(monkeypatch)
    monkeypatch.setitem(sys.modules, "torch_neuron", made)
    seen: list[str | None] = []
    functions: Any = torch.neuron  # type: ignore[attr-defined]
    monkeypatch.setattr(
        functions,
        "analyze_model",
        lambda *_: seen.append(os.environ.get("NEURON_PLATFORM_TARGET_OVERRIDE")),
        raising=False,
    )
    monkeypatch.delenv("NEURON_PLATFORM_TARGET_OVERRIDE", raising=False)
    assert cells(Head(), "neuron-inf1")[0].verdict == "ok"
    assert seen == ["inf2"]
    assert "NEURON_PLATFORM_TARGET_OVERRIDE" not in os.environ


# Its argument


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        *((value, True) for value in (True, "true", " Yes ", "ON", "1")),
        *((value, False) for value in (False, "false", "No", "off", "0")),
    ],
)
def test_dynamic_batch_is_a_bool_or_its_text(value: Any, flag: bool) -> None:
    """As a marker gives it, or the configuration."""
    assert parse_arguments((), {"dynamic_batch": value}, built_in().arguments) == {"dynamic_batch": flag}


@pytest.mark.parametrize("value", ["maybe", "", 1, 0, None, [True]])
def test_dynamic_batch_is_nothing_else(value: Any) -> None:
    """A number might be meant as a size."""
    with pytest.raises(SpecError, match="dynamic_batch must be True or False, not "):
        parse_arguments((), {"dynamic_batch": value}, built_in().arguments)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("chip")
def test_half_precision_has_a_wider_tolerance(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """1e-2: with values around 1, one step of bfloat16 more or less passes, a twentieth does not."""

    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(0.51, 0.99)

    for step, verdict in ((0.0125, "ok"), (0.05, "TargetFailure")):
        change = lambda output, step=step: output + step  # noqa: E731
        monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.inf2(change=change))
        model = Half()
        subject = gate.Subject(model=model, call=gate.call_of(model, (X.to(dtype),)))
        spec = GateSpec.merge({"target": ("neuron",)})
        (cell,) = gate.judge(subject, spec, id="half").cells
        assert cell.verdict == verdict


# Failures


def test_a_compiler_failure_is_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's own words, reduced to their cause."""
    error = RuntimeError("neuronx-cc failed with 70\n" + "log line\n" * 1000)
    monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.inf2(error=error))
    target = cells(Head())[0].check("target")
    assert target.verdict is Verdict.TARGET_FAILURE
    (finding,) = target.findings
    assert finding.message == "neuron: RuntimeError: neuronx-cc failed with 70"
    assert finding.hint


def test_an_unsupported_operator_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the SDK's analysis says becomes a finding at the user's line."""
    line = Head.forward.__code__.co_firstlineno + 2
    call = f"{__file__}({line}): forward\n/site-packages/torch/nn/modules/module.py(1): _call_impl\n"
    unsupported = [{"kind": "aten::argmax", "failureAt": "neuronx-cc", "call": call, "opGraph": "graph()"}]
    monkeypatch.setitem(
        sys.modules, "torch_neuronx", stand_ins.inf2(unsupported=unsupported, error=RuntimeError("neuronx-cc failed with 70"))
    )
    target = cells(Head())[0].check("target")
    assert target.verdict is Verdict.TARGET_UNSUPPORTED
    first, note = target.findings
    assert "refuses the model (RuntimeError: neuronx-cc failed with 70); the SDK does not support aten::argmax" in first.message
    assert (first.file, first.line) == ("tests/targets/neuron/test_sdk.py", line)
    assert first.hint == "write it with operators that the Neuron compiler supports"
    assert note.message == "the SDK does not support aten::argmax (fails at neuronx-cc)"
    assert (note.file, note.line, note.where) == ("tests/targets/neuron/test_sdk.py", line, "used at")


def test_inferentia1_names_the_operator_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the analysis of its own SDK, and each kind once."""
    made = stand_ins.inf1(monkeypatch)
    monkeypatch.setitem(sys.modules, "torch_neuron", made)
    unsupported = [{"kind": "aten::argmax"}, {"kind": "aten::argmax"}, {"kind": "aten::sort"}]

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("neuron-cc failed")

    functions: Any = torch.neuron  # type: ignore[attr-defined]
    monkeypatch.setattr(functions, "analyze_model", lambda *_: {"unsupported_operators": unsupported}, raising=False)
    monkeypatch.setattr(functions, "trace", fail, raising=False)
    target = cells(Head(), "neuron-inf1")[0].check("target")
    assert target.verdict is Verdict.TARGET_UNSUPPORTED
    assert target.findings[0].message.endswith("the SDK does not support aten::argmax, aten::sort")


def test_an_operator_that_compiles_all_the_same_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler decides, not its analysis."""
    unsupported = [{"kind": "aten::argmax", "failureAt": "Lowering to HLO", "call": "", "opGraph": ""}]
    monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.inf2(unsupported=unsupported))
    (cell,) = cells(Head())
    assert cell.verdict == "ok"
    assert "aten::argmax" in cell.check("target").findings[0].message


def test_an_analysis_that_fails_is_a_note(sdk: stand_ins.Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a courtesy."""

    def analyze(*_: Any) -> Any:
        raise RuntimeError("no HLO")

    monkeypatch.setattr(sdk, "analyze", analyze, raising=False)
    (cell,) = cells(Head())
    assert cell.verdict == "ok"
    assert cell.check("target").findings[0].message == "the SDK could not analyse the model: RuntimeError: no HLO"


@pytest.mark.parametrize(
    "found",
    [
        None,
        "100%",
        {},
        {"unsupported_operators": None},
        {"unsupported_operators": ["aten::argmax"]},
    ],
)
def test_an_analysis_of_another_form_says_nothing(sdk: stand_ins.Calls, monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    """Another version of the SDK may answer in another way."""
    monkeypatch.setattr(sdk, "analyze", lambda *_: found, raising=False)
    (cell,) = cells(Head())
    assert cell.verdict == "ok"
    assert [finding.message[:22] for finding in cell.check("target").findings] == ["compiled, and not run:"]
    assert "support_percentage" not in cell.check("target").metrics


def test_an_sdk_without_analysis_compiles(sdk: stand_ins.Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler decides alone."""
    monkeypatch.delattr(sdk, "analyze")
    (cell,) = cells(Head())
    assert cell.verdict == "ok"
    assert [finding.message[:22] for finding in cell.check("target").findings] == ["compiled, and not run:"]


def test_five_unsupported_operators_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about each."""
    unsupported = [{"kind": f"aten::op{number}", "failureAt": "neuronx-cc", "call": ""} for number in range(8)]
    monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.inf2(unsupported=unsupported))
    *notes, _ = cells(Head())[0].check("target").findings
    assert [note.message.split()[5] for note in notes] == [f"aten::op{number}" for number in range(5)]
    assert {note.hint for note in notes} == {"write it with operators that the Neuron compiler supports"}


def test_an_sdk_that_ends_the_process_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor's tool may call sys.exit; the run goes on."""
    monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.inf2(error=SystemExit(3)))  # type: ignore[arg-type]
    target = cells(Head())[0].check("target")
    assert (target.verdict, target.findings[0].message) == (Verdict.TARGET_FAILURE, "neuron: SystemExit: 3")


def test_a_compiler_that_hangs_is_bounded(sdk: stand_ins.Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear finding, within the time that the configuration gives."""
    import threading

    release = threading.Event()
    monkeypatch.setattr(sdk, "trace", lambda *_, **__: release.wait(60), raising=False)
    known = built_in()
    spec = GateSpec.merge(parse_arguments((), {"target": "neuron"}, known.arguments))
    model = Head()
    subject = gate.Subject(model=model, call=gate.call_of(model, (X,)))
    targets = Targets(by_name=known.by_name, timeout=0.3)
    try:
        result = gate.judge(subject, spec, id="hang", root=str(ROOT), targets=targets)
    finally:
        release.set()
    target = result.cells[0].check("target")
    assert target.verdict is Verdict.TARGET_FAILURE
    assert target.findings[0].message == "neuron: build() did not end within 0.3 seconds"
    assert result.seconds < 30


def test_the_model_is_as_it_was(sdk: stand_ins.Calls) -> None:
    """The forward that the compiler saw was bound for it alone."""
    model = Head()
    cells(model)
    assert "forward" not in vars(model)


# Fixed shapes


def test_other_shapes_are_not_probed(sdk: stand_ins.Calls) -> None:
    """The program refuses them, so that what a trace would answer there is of no interest."""

    class Baked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1) / int(x.shape[1])

    (cell,) = cells(Baked())
    assert cell.verdict == "ok"
    shapes = cell.check("shapes")
    assert (shapes.status, shapes.reason) == (
        Status.SKIPPED,
        "neuron accepts the traced shape only: padding carries the proof",
    )
    assert cell.dims == {}


def test_another_target_of_the_same_gate_probes_them(sdk: stand_ins.Calls) -> None:
    """Each cell by the rules of its target; what both share is judged once."""
    first, second = cells(Head(), ("neuron", "torchscript"))  # type: ignore[arg-type]
    assert (first.check("shapes").status, second.check("shapes").status) == (Status.SKIPPED, Status.PASSED)
    assert (first.dims, second.dims) == ({}, {"batch": "dynamic", "seq": "dynamic"})
    assert first.check("trace").seconds > 0
    assert second.check("trace").seconds == 0


def test_each_length_is_a_program_of_its_own(sdk: stand_ins.Calls) -> None:
    """Several lengths are buckets: each is compiled, and the plan says what padding to them wastes."""
    short, long = cells(Head(), seq_len=(4, 8))
    assert [inputs[0].shape[1] for name, inputs, _ in sdk.calls if name == "trace"] == [4, 8]
    assert (short.verdict, long.verdict) == ("ok", "ok")
    assert long.check("target").metrics["buckets"] == [4, 8]
