"""Running what was traced, and what stays behind."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import gc
import io
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.diagnosis.lines import LineLog
from pytest_torchscript.subject.call import bind
from pytest_torchscript.tracing.execute import detached, in_own_thread, run
from pytest_torchscript.tracing.private import compilation_unit
from pytest_torchscript.tracing.saving import round_trip
from pytest_torchscript.tracing.trace import quiet, trace

X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("count", torch.zeros(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.count.add_(1)
        return self.linear(x), self.count


class Overwriting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)


def traced(model: nn.Module) -> Any:
    return trace(model.eval(), bind(model, (X,), {})).module


# Running


def test_outputs_are_copies() -> None:
    """An output that is a buffer does not change with the next run."""
    module = traced(Model())
    first = run(module, {"x": X})
    second = run(module, {"x": X})
    assert float(second[1][0]) == float(first[1][0]) + 1


def test_inputs_are_copied() -> None:
    """A program that overwrites its input does not reach the original."""
    module = traced(Overwriting())
    x = X.clone()
    assert torch.equal(run(module, {"x": x}), X * 2)
    assert torch.equal(x, X)


def test_outputs_carry_no_graph() -> None:
    """Results can be compared and kept without holding the autograd graph."""
    out, _ = run(traced(Model()), {"x": X})
    assert not out.requires_grad
    assert not detached(torch.ones(1, requires_grad=True) * 2).requires_grad


@pytest.mark.parametrize("profiled", [False, True])
def test_both_executors_give_the_same(profiled: bool) -> None:
    """Interpreted or optimised, the answer is the program's, and the executor's setting is as before."""
    before = torch._C._get_graph_executor_optimize()
    module = traced(Overwriting())
    for _ in range(3):
        assert torch.equal(run(module, {"x": X}, profiled=profiled), X * 2)
    assert torch._C._get_graph_executor_optimize() == before


def test_the_plain_executor_does_not_optimise() -> None:
    """A handful of probes is not worth a compilation: only a profiled run leaves an optimised graph."""
    module = traced(Overwriting())
    run(module, {"x": X})
    assert "profile" not in str(torch.jit.last_executed_optimized_graph())
    for _ in range(2):
        run(module, {"x": X}, profiled=True)
    assert torch._C._get_graph_executor_optimize()


def test_a_copy_keeps_the_structure() -> None:
    """Numbers and None in an output stay."""
    out = detached({"x": (X, None, 3)})
    assert out["x"][1:] == (None, 3)
    assert out["x"][0] is not X


# In a thread of its own


def test_another_thread_gives_the_answer() -> None:
    """What the function returns is returned, and it did not run in the caller's thread."""
    assert in_own_thread(threading.get_ident) != threading.get_ident()
    assert in_own_thread(lambda: None) is None


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_what_is_raised_there_is_raised_here(error: BaseException) -> None:
    """Whatever it is, with the lines that raised it."""

    def work() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        in_own_thread(work)
    assert caught.value is error
    assert [entry.name for entry in caught.traceback][-1] == "work"


@pytest.mark.parametrize("grad", [False, True])
def test_the_callers_grad_mode_holds_there(grad: bool) -> None:
    """It is a setting of the thread."""
    with torch.set_grad_enabled(grad):
        assert in_own_thread(torch.is_grad_enabled) is grad


def test_the_callers_function_modes_hold_there() -> None:
    """The default device is one: a model made for the meta device makes its tensors there."""
    with torch.device("meta"):
        assert in_own_thread(lambda: torch.zeros(1)).is_meta
    assert not in_own_thread(lambda: torch.zeros(1)).is_meta


def test_the_callers_autocast_holds_there() -> None:
    """A fixture may judge a whole suite in bfloat16: the trace is made as eager is run."""
    x = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert in_own_thread(lambda: (x @ x).dtype) == (x @ x).dtype == torch.bfloat16
    assert in_own_thread(lambda: (x @ x).dtype) == torch.float32


def test_the_callers_context_variables_hold_there() -> None:
    """A library that is configured by one is configured alike in eager and under the tracer."""
    setting = ContextVar("setting", default="none")
    token = setting.set("fused")
    try:
        assert in_own_thread(setting.get) == "fused"
    finally:
        setting.reset(token)


def test_a_line_log_goes_on_there() -> None:
    """Lines are traced by thread; a record of the caller's own is kept up, and the caller's tracer stays."""

    def work() -> int:
        return 1

    log = LineLog()
    before = sys.gettrace()
    assert log.record(lambda: in_own_thread(work)) == 1
    assert "work" in {function for _, _, function in log.events}
    assert sys.gettrace() is before


def test_torch_has_no_more_threads_there_than_here() -> None:
    """OpenMP counts by the thread that asks."""
    assert in_own_thread(torch.get_num_threads) == torch.get_num_threads()


# Compilation


def registries() -> tuple[Any, Any, Any, int]:
    state, recursive = torch.jit._state, torch.jit._recursive
    store = recursive.concrete_type_store
    return state._python_cu, recursive._python_cu, store, sum(len(types) for types in store.type_store.values())


def test_torchs_registries_are_untouched_by_a_trace() -> None:
    """No class of ours is left in the process-wide unit, where it would stay for ever."""
    before = registries()
    module = traced(Model())
    after = registries()
    assert all(mine is theirs for mine, theirs in zip(before[:3], after[:3], strict=True))
    assert after[3] == before[3]
    assert torch.jit._state._python_cu.get_class(module._c._type().qualified_name()) is None


def test_a_failed_trace_leaves_the_registries_as_they_were() -> None:
    """Also an error inside puts the process-wide unit back."""
    before = registries()
    with pytest.raises(ZeroDivisionError), compilation_unit():
        raise ZeroDivisionError
    assert registries() == before


def test_the_private_unit_is_used_inside() -> None:
    """What is compiled in the block is registered there."""
    with quiet(), compilation_unit() as unit:
        assert torch.jit._state._python_cu is unit
        module = torch.jit.trace(nn.Linear(3, 2), (X,), _compilation_unit=unit)
        assert unit.get_class(module._c._type().qualified_name()) is not None


def test_units_nest() -> None:
    """The inner block's end is not the outer one's."""
    with compilation_unit() as outer:
        with compilation_unit() as inner:
            assert inner is not outer
        assert torch.jit._state._python_cu is outer


def scripted_module() -> nn.Module:
    return torch.jit.script(nn.Linear(3, 2))


def traced_module() -> nn.Module:
    return torch.jit.trace(nn.Linear(3, 2), (X,))


@pytest.mark.parametrize("make", [scripted_module, traced_module])
def test_the_users_script_modules_stay_usable(make: Callable[[], nn.Module]) -> None:
    """A ScriptModule of the test runs, is saved, and is a part of other modules after our traces have come and gone."""
    with quiet():
        mine = make()
        expected = mine(X)
        for _ in range(3):
            traced(Model())
        gc.collect()
        assert torch.equal(mine(X), expected)
        torch.jit.save(mine, io.BytesIO())
        assert torch.equal(torch.jit.script(nn.Sequential(mine))(X), expected)


@pytest.mark.parametrize("make", [scripted_module, traced_module])
def test_a_model_with_a_script_module_inside_can_be_traced(make: Callable[[], nn.Module]) -> None:
    """A part compiled in the process-wide unit works in a program of the private one, saved and loaded too."""

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = make()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.part(x) + 1
            return out

    with quiet():
        model = Outer()
        expected = model(X)
        loaded = round_trip(traced(model))
        gc.collect()
        assert torch.equal(run(loaded, {"x": X}), expected.detach())
        assert torch.equal(model(X), expected)


def test_a_function_compiled_during_a_trace_outlives_it() -> None:
    """A forward that scripts a helper when first called keeps a working helper."""
    helpers: list[Any] = []

    class Lazy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not helpers:
                helpers.append(torch.jit.script(_double))
            out: Tensor = helpers[0](x)
            return out

    module = traced(Lazy())
    del module
    gc.collect()
    assert torch.equal(helpers[0](X), X * 2)


def _double(x: Tensor) -> Tensor:
    return x * 2


def test_a_trace_outlives_its_unit() -> None:
    """The program holds what it needs."""
    model = Model()
    module = traced(model)
    gc.collect()
    assert torch.allclose(run(module, {"x": X})[0], model.linear(X).detach())
