"""Which lines ran, and where two runs part."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.diagnosis.lines import LineLog, branch, first_line_where, last_return

from ..corpus import guilty_places


def log_of(function: Callable[[], Any]) -> LineLog:
    log = LineLog()
    log.record(function)
    return log


def decide(flag: bool) -> int:
    total = 1
    if flag:  # guilty
        total += 1
    return total


def count(rounds: int) -> int:
    total = 0
    for step in range(rounds):  # guilty
        total += step
    return total


def deeper(flag: bool) -> int:
    return decide(flag) + 1


def place(line: Any) -> tuple[str, int]:
    assert line is not None
    return line.file, line.line


# Two runs


def test_runs_of_the_same_lines_do_not_part() -> None:
    """No branch, no line."""
    assert branch(log_of(lambda: decide(True)), log_of(lambda: decide(True))) is None


def test_the_line_after_which_two_runs_part_is_the_branch() -> None:
    """It is the last line that both ran."""
    line = branch(log_of(lambda: decide(True)), log_of(lambda: decide(False)))
    assert {place(line)} == guilty_places((decide,))
    assert line is not None
    assert line.function == "decide"


def test_a_branch_is_found_in_a_called_function() -> None:
    """However deep it lies."""
    line = branch(log_of(lambda: deeper(False)), log_of(lambda: deeper(True)))
    assert {place(line)} == guilty_places((decide,))


def test_a_loop_that_goes_on_longer_parts_at_its_head() -> None:
    """One run leaves the loop where the other begins another round."""
    line = branch(log_of(lambda: count(2)), log_of(lambda: count(3)))
    assert {place(line)} == guilty_places((count,))


def test_a_run_that_stops_parts_at_its_last_line() -> None:
    """An exception ends one run where the other goes on."""

    def work(fail: bool) -> int:
        value = [1][1 if fail else 0]  # guilty
        return value + 1

    failing = LineLog()
    with pytest.raises(IndexError):
        failing.record(partial(work, True))
    assert {place(branch(failing, log_of(partial(work, False))))} == guilty_places((work,))


def test_runs_that_share_no_line_have_no_branch() -> None:
    """Without a common line there is none to name."""
    assert branch(log_of(partial(decide, True)), log_of(partial(count, 1))) is None
    assert branch(LineLog(), LineLog()) is None


# Helpers

TRACING = False


def tracing() -> bool:
    return TRACING


def exporting() -> bool:
    return tracing()


def exporting_by_branch() -> bool:
    if tracing():  # noqa: SIM103 - the branch is what the test is about
        return True
    return False


def asks(helper: Callable[[], bool]) -> int:
    total = 1
    if helper():  # guilty
        total += 1
    return total


def asks_early(helper: Callable[[], bool]) -> int:
    flag = helper()
    total = 1
    if flag:  # guilty
        total += 1
    return total


def asks_in_passing(helper: Callable[[], bool]) -> int:
    total = 1
    total += 2 if helper() else 3  # guilty
    return total


def asked_twice(monkeypatch: pytest.MonkeyPatch, work: Callable[[], int], *, asked_by_caller: bool) -> Any:
    """The branch between a run in eager and one in which the helpers say that it is traced."""
    plain = log_of(work)
    monkeypatch.setattr(sys.modules[__name__], "TRACING", True)
    return branch(plain, log_of(work), asked_by_caller=asked_by_caller)


@pytest.mark.parametrize("asked_by_caller", [False, True])
@pytest.mark.parametrize("helper", [tracing, exporting])
@pytest.mark.parametrize("caller", [asks, asks_early])
def test_a_helper_that_ran_alike_is_left_for_its_caller(
    monkeypatch: pytest.MonkeyPatch, caller: Any, helper: Any, asked_by_caller: bool
) -> None:
    """The lines of a question are the same in both runs; its answer is used in the function that asked."""
    line = asked_twice(monkeypatch, lambda: caller(helper), asked_by_caller=asked_by_caller)
    assert {place(line)} == guilty_places((caller,))


@pytest.mark.parametrize("caller", [asks, asks_early, asks_in_passing])
def test_a_helper_that_answers_by_a_branch_is_left_on_request(monkeypatch: pytest.MonkeyPatch, caller: Any) -> None:
    """The runs part in the helper, which gives a bool in both: the branch is that of its caller."""
    line = asked_twice(monkeypatch, lambda: caller(exporting_by_branch), asked_by_caller=True)
    assert {place(line)} == guilty_places((caller,))


def test_a_function_that_decides_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gives no bool is no question: its own branch is named, with and without the request."""
    line = asked_twice(monkeypatch, lambda: asks(tracing) + 1, asked_by_caller=True)
    assert {place(line)} == guilty_places((asks,))
    monkeypatch.setattr(sys.modules[__name__], "TRACING", False)
    line = asked_twice(monkeypatch, lambda: asks(exporting_by_branch), asked_by_caller=False)
    assert line is not None
    assert line.function == "exporting_by_branch"


def chooses(flag: bool) -> int:
    total = 1
    total += 2 if flag else 3  # guilty
    return total


def test_a_branch_within_a_line_is_found_by_steps() -> None:
    """The lines are the same in both runs; what the line did is not."""
    logs = {steps: [LineLog(steps=steps), LineLog(steps=steps)] for steps in (False, True)}
    for pair in logs.values():
        for log, flag in zip(pair, (True, False), strict=True):
            log.record(partial(chooses, flag))
    assert branch(*logs[False]) is None
    assert {place(branch(*logs[True]))} == guilty_places((chooses,))


# Recording


def test_a_record_returns_what_the_function_returns() -> None:
    """Watching changes no answer."""
    assert LineLog().record(lambda: decide(True)) == 2


def test_torchs_own_lines_are_not_recorded() -> None:
    """Only the user's and the libraries' code is looked at."""
    linear = nn.Linear(3, 2)
    log = log_of(lambda: linear(torch.ones(1, 3)))
    assert {file for file, _, _ in log.events} == {__file__}


def test_a_tracer_that_was_there_comes_back() -> None:
    """A debugger or a coverage tool goes on afterwards, also after an exception."""

    def tracer(frame: Any, event: str, argument: Any) -> Any:
        return None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        LineLog().record(lambda: decide(True))
        assert sys.gettrace() is tracer
        with pytest.raises(ZeroDivisionError):
            LineLog().record(lambda: 1 // 0)
        assert sys.gettrace() is tracer
        first_line_where(lambda: decide(True), lambda: False)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)


# The return of a forward


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def helper(self, x: Tensor) -> Tensor:
        return x + 1

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 1:
            return x
        return self.helper(self.inner(x))  # guilty


def test_the_return_of_a_models_forward_is_found() -> None:
    """The one that ran, and not that of a helper."""
    model = Model()
    line = last_return(model, log_of(lambda: model(torch.ones(1, 3))))
    assert {place(line)} == guilty_places((Model,))


def test_a_forward_that_did_not_run_has_no_return() -> None:
    """An empty record gives no line, and torch's own modules have none of the user's."""
    assert last_return(Model(), LineLog()) is None
    linear = nn.Linear(3, 2)
    assert last_return(linear, log_of(lambda: linear(torch.ones(1, 3)))) is None


def test_a_forward_without_code_has_no_return() -> None:
    """A callable object, a compiled function: there is no line to name."""

    class Compiled(nn.Module):
        forward = max

    assert last_return(Compiled(), log_of(lambda: decide(True))) is None


# The line that changed something


def test_the_line_after_which_a_condition_holds() -> None:
    """A statement that writes is found by what it wrote."""
    store: dict[str, int] = {}

    def work() -> None:
        store.clear()
        store["a"] = 1  # guilty
        store["b"] = 2

    assert {place(first_line_where(work, lambda: "a" in store))} == guilty_places((work,))


def test_a_change_by_the_last_statement_is_found() -> None:
    """Also where no line follows it."""
    store: list[int] = []

    def work() -> None:
        store.append(1)  # guilty

    assert {place(first_line_where(work, lambda: bool(store)))} == guilty_places((work,))


def test_a_change_inside_torch_is_the_line_that_called_it() -> None:
    """An in-place operation belongs to the user's statement."""
    x = torch.zeros(2)

    def work(x: Tensor) -> Tensor:
        y = x + 1
        x.add_(y)  # guilty
        return x

    assert {place(first_line_where(lambda: work(x), lambda: bool(x.any())))} == guilty_places((work,))


def test_a_change_in_a_helper_is_found_there() -> None:
    """The innermost statement is the guilty one, not the call."""
    store: list[int] = []

    def helper() -> int:
        store.append(1)  # guilty
        return 1

    def work() -> int:
        value = helper()
        return value + 1

    assert {place(first_line_where(work, lambda: bool(store)))} == guilty_places((helper,))


def test_what_never_changes_has_no_line() -> None:
    """Nothing is blamed."""
    assert first_line_where(lambda: decide(True), lambda: False) is None


def test_a_run_that_fails_still_shows_what_it_changed() -> None:
    """The exception is swallowed: whoever asks knows that the run may fail."""
    store: list[int] = []

    def work() -> None:
        store.append(1)  # guilty
        raise ValueError("no")

    assert {place(first_line_where(work, lambda: bool(store)))} == guilty_places((work,))


def test_this_file_is_what_is_recorded() -> None:
    """Events carry file, line and function as Python knows them."""
    first = log_of(lambda: decide(True)).events[-1]
    lines, start = inspect.getsourcelines(decide)
    assert first == (__file__, start + len(lines) - 1, "decide")
