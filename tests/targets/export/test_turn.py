"""Exports that do not end, or run in another thread."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from pytest_torchscript.result import Status, Verdict

from .cases import X, export


class Waits(nn.Module):
    """Exports for as long as a function takes; otherwise doubles."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        super().__init__()
        self.wait = wait
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting() and threading.current_thread() is not threading.main_thread():
            self.wait()
        return x * 2


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_export_that_was_given_up_spoils_nothing() -> None:
    """While it runs, others are not proved rather than wrong; once it ends, torch and the model are as before."""
    # The first export of a process takes its time.
    export(nn.Linear(4, 3), (X,))
    located, called = ShapeEnv._get_sloc, nn.Module.__call__
    go_on = threading.Event()
    model = Waits(lambda: go_on.wait(20))
    steps = model.get_buffer("steps")
    try:
        result = export(model, (X,), timeout=0.5)
        assert result.verdict is Verdict.TARGET_FAILURE
        assert "did not end within 0.5 seconds" in result.findings[0].message
        later = export(nn.Linear(4, 3), (X,))
        assert (later.status, later.reason) == (Status.SKIPPED, "an earlier export is still running in this process")
        # The user goes on with the model.
        steps += 1
    finally:
        go_on.set()
    until(lambda: nn.Module.__call__ is called)
    assert export(nn.Linear(4, 3), (X,)).status is Status.PASSED
    assert ShapeEnv._get_sloc is located
    assert not torch.compiler.is_exporting()
    assert "forward" not in vars(model)
    assert model.get_buffer("steps") is steps
    assert steps.item() == 1
    assert torch.equal(model(x=X), X * 2)


def test_an_export_that_would_not_be_ended_is_asked_again() -> None:
    """A model that catches everything has taken the gate's word for an error of its own."""
    caught = []

    def wait() -> None:
        for _ in range(2):
            try:
                until(lambda: False)
            except SystemExit:
                caught.append(1)

    export(nn.Linear(4, 3), (X,))
    assert export(Waits(wait), (X,), timeout=0.5).verdict is Verdict.TARGET_FAILURE
    assert export(nn.Linear(4, 3), (X,)).status is Status.PASSED
    assert len(caught) == 2


def test_an_export_in_another_thread_is_waited_for() -> None:
    """As long as it is in its time."""
    started = threading.Event()
    order = []

    def wait() -> None:
        started.set()
        time.sleep(0.3)
        order.append("waited")

    thread = threading.Thread(target=lambda: order.append(export(Waits(wait), (X,)).status))
    thread.start()
    assert started.wait(20)
    assert export(nn.Linear(4, 3), (X,)).status is Status.PASSED
    assert order[:1] == ["waited"]
    thread.join()
    assert order[-1] is Status.PASSED
