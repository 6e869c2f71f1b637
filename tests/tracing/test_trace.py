"""The one place that traces: what comes out, what torch says, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.subject.call import bind
from pytest_torchscript.tracing.trace import TorchScriptUnavailable, TraceError, quiet, trace

from ..corpus import guilty_places

X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Tensor:
        out: Tensor = self.linear(x) * scale
        return out if mask is None else out * mask


class Mapping(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"double": x * 2, "half": x / 2}


class Mixed(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x * 2, None


class Warning_(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        warnings.warn("the model's own", UserWarning, stacklevel=1)
        for _ in range(2):
            if x.sum() > 100:  # guilty
                return x
        return x * 2


class Raising(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise ValueError("not while tracing")  # guilty
        return x


class Crooked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(7, 7)  # guilty


def test_a_trace_is_a_script_module_with_the_inputs_names() -> None:
    """The program takes the inputs by their own names, and nothing else."""
    model = Plain()
    traced = trace(model, bind(model, (), {"mask": torch.ones(2, 2), "x": X}))
    assert isinstance(traced.module, torch.jit.ScriptModule)
    names = [value.debugName() for value in traced.module.graph.inputs()]
    assert [name for name in names if not name.startswith("self")] == ["x", "mask"]
    assert traced.strict
    assert traced.diagnostics == ()


def test_constants_are_bound() -> None:
    """A number among the arguments is part of the program."""
    model = Plain()
    module = trace(model, bind(model, (X,), {"scale": 3.0})).module
    assert torch.allclose(module(X), model(X, scale=3.0))


def test_the_trace_keeps_the_models_own_structure() -> None:
    """Parameters have the names that they have in the model: a state dict fits both."""
    model = Plain()
    module = trace(model, bind(model, (X,), {})).module
    assert list(module.state_dict()) == list(model.state_dict())


def test_a_mapping_is_traced_without_strictness() -> None:
    """torch refuses a dict otherwise, and says that this is the way; the result says so too."""
    model = Mapping()
    traced = trace(model, bind(model, (X,), {}))
    assert not traced.strict
    assert torch.equal(traced.module(X)["double"], X * 2)


def test_nothing_else_is_made_traceable() -> None:
    """A None among the outputs fails here as it would for a user of torch.jit.trace."""
    model = Mixed()
    with pytest.raises(TraceError, match="Only tensors"):
        trace(model, bind(model, (X,), {}))


def test_nested_inputs_are_traced() -> None:
    """Tuples and dicts of tensors are inputs as torch takes them."""

    class Nested(nn.Module):
        def forward(self, pair: tuple[Tensor, Tensor], table: dict[str, Tensor]) -> Tensor:
            return pair[0] + pair[1] * table["scale"]

    model = Nested()
    module = trace(model, bind(model, ((X, X),), {"table": {"scale": X}})).module
    assert torch.equal(module((X, X), {"scale": X}), X + X * X)


# Warnings


def test_the_tracers_warnings_are_diagnostics_with_their_line() -> None:
    """Evidence names the user's line; the same warning from the same line is kept once."""
    model = Warning_()
    (diagnostic,) = trace(model, bind(model, (X,), {})).diagnostics
    assert diagnostic.line is not None
    assert {(diagnostic.line.file, diagnostic.line.line)} == guilty_places((Warning_,))
    assert diagnostic.message.startswith("Converting a tensor to a Python boolean")
    assert "\n" not in diagnostic.message


def test_no_warning_reaches_the_user() -> None:
    """torch's deprecation of TorchScript and the model's own warnings do not fail a suite run with ``-W error``."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Warning_()
        trace(model, bind(model, (X,), {}))


def test_quiet_records_the_tracers_warnings_alone() -> None:
    """Others are silent."""
    with quiet() as recorder:
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        warnings.warn("Careful. With a second sentence.", torch.jit.TracerWarning, stacklevel=1)
    assert [diagnostic.message for diagnostic in recorder.found] == ["Careful."]


def test_quiet_puts_the_filters_and_the_printer_back() -> None:
    """Whatever shows warnings for the user shows them again afterwards."""
    before = list(warnings.filters), warnings.showwarning
    with quiet():
        assert warnings.showwarning is not before[1]
    with pytest.raises(ZeroDivisionError), quiet():
        raise ZeroDivisionError
    assert (list(warnings.filters), warnings.showwarning) == before


# Errors


@pytest.mark.parametrize("cls", [Raising, Crooked])
def test_a_refusal_carries_its_cause_and_the_guilty_line(cls: type[nn.Module]) -> None:
    """Whatever a forward raises while it is traced is found by its own line."""
    model = cls()
    with pytest.raises(TraceError) as caught:
        trace(model, bind(model, (X,), {}))
    error = caught.value
    assert isinstance(error.cause, (ValueError, RuntimeError))
    assert error.line is not None
    assert {(error.line.file, error.line.line)} == guilty_places((cls,))


def test_a_refusal_of_torchs_own_has_no_line_of_the_users() -> None:
    """torch refuses outputs after the forward has returned: no user's frame is left on the stack but the test's."""
    model = Mixed()
    with pytest.raises(TraceError) as caught:
        trace(model, bind(model, (X,), {}))
    assert caught.value.line is None


def test_the_model_is_as_before_after_a_refusal() -> None:
    """The bound forward does not stay behind."""
    model = Raising()
    with pytest.raises(TraceError):
        trace(model, bind(model, (X,), {}))
    assert "forward" not in model.__dict__
    assert torch.equal(model(X), X)
    assert torch._C._get_tracing_state() is None


def test_a_refusal_does_not_spoil_the_next_trace() -> None:
    """torch remembers the sizes that were read for an operation which then failed; a later trace must not meet them."""

    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(x.shape[0] + 1, x.shape[1] * 5, x.shape[0] - 1)

    for _ in range(5):
        failing, plain = Failing(), Plain()
        with pytest.raises(TraceError):
            trace(failing, bind(failing, (X,), {}))
        assert torch.equal(trace(plain, bind(plain, (X,), {})).module(X), plain(X))


def test_a_model_bound_to_its_thread_is_traced_in_it() -> None:
    """What a thread keeps to itself is not there in another one."""

    class Local(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.local = threading.local()
            self.local.scale = 3.0

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = x * self.local.scale
            return out

    model = Local()
    assert torch.equal(trace(model, bind(model, (X,), {})).module(X), X * 3)


def test_the_warnings_before_a_refusal_are_kept() -> None:
    """They often explain it."""

    class Both(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.sum() > 100:
                return x
            raise ValueError("no")

    model = Both()
    with pytest.raises(TraceError) as caught:
        trace(model, bind(model, (X,), {}))
    assert len(caught.value.diagnostics) == 1


# Availability


def test_a_switched_off_torchscript_is_said_so() -> None:
    """Under PYTORCH_JIT=0 torch.jit.trace returns the model itself: judging that would pass everything."""
    script = (
        "import torch\n"
        "from pytest_torchscript.subject.call import bind\n"
        "from pytest_torchscript.tracing.trace import TorchScriptUnavailable, trace\n"
        "model = torch.nn.Linear(2, 2)\n"
        "try:\n"
        "    trace(model, bind(model, (torch.ones(1, 2),), {}))\n"
        "except TorchScriptUnavailable as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env={"PYTORCH_JIT": "0"}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "TorchScript is switched off by PYTORCH_JIT=0; unset it to run the gate"


def test_a_torch_without_tracing_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later torch may have no torch.jit.trace; the message names what to use instead."""
    monkeypatch.delattr(torch.jit, "trace")
    model = Plain()
    with pytest.raises(TorchScriptUnavailable, match=r"has no torch\.jit\.trace; use torch\.export"):
        trace(model, bind(model, (X,), {}))


def test_what_is_no_script_module_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch whose trace gives something else is not usable."""

    def nothing(model: Any, *args: Any, **kwargs: Any) -> Any:
        return model

    monkeypatch.setattr(torch.jit, "trace", nothing)
    model = Plain()
    with pytest.raises(TorchScriptUnavailable, match="gave a Plain, not a ScriptModule"):
        trace(model, bind(model, (X,), {}))
