"""A test body while it runs: what it returns, which models it calls, and whether it passed."""

from __future__ import annotations

import unittest
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pytest_torchscript.pytest_plugin.body import Body, calls_forward, is_skip, unittest_error


def item(function: Any, **attributes: Any) -> Any:
    return SimpleNamespace(obj=function, **attributes)


X = torch.ones(1, 2)


def test_calls_and_the_returned_value_are_kept() -> None:
    """pytest sees a test that returns None, as it should."""
    model = nn.Linear(2, 2)

    def function() -> str:
        model(X)
        return "returned"

    body, test = Body(), item(function)
    with body.watching(test):
        assert test.obj() is None
    assert body.returned == "returned"
    assert [call.model for call in body.calls] == [model]


def test_the_function_is_put_back() -> None:
    """Also after an exception; calls after the test are not observed."""

    def function() -> None:
        raise ValueError

    body, test = Body(), item(function)
    with pytest.raises(ValueError, match=r"^$"), body.watching(test):
        test.obj()
    assert test.obj is function
    nn.Linear(2, 2)(X)
    assert body.calls == []


def test_calls_of_a_class_inside_another_module_are_kept_apart() -> None:
    """The outermost calls do not show them."""
    outer = nn.Sequential(nn.Linear(2, 2))
    body = Body()
    with body.watching(item(None), [nn.Linear]):
        outer(X)
    assert [call.model for call in body.calls] == [outer]
    assert [call.model for call in body.calls_by_class[nn.Linear]] == [outer[0]]


def test_what_is_returned_can_be_left_to_pytest() -> None:
    """An unmarked test that returns a value warns as it does without the plugin."""

    def function() -> int:
        return 3

    body, test = Body(), item(function)
    with body.watching(test, keep_result=False):
        assert test.obj() == 3
    assert body.returned is None


def test_a_coroutine_function_is_left_alone() -> None:
    """A plugin that runs it looks at the function's kind."""

    async def function() -> None: ...

    body, test = Body(), item(function)
    with body.watching(test):
        assert test.obj is function


def test_both_kinds_of_skip_are_known() -> None:
    """A failure is none of them."""
    assert is_skip(pytest.skip.Exception("why"))
    assert is_skip(unittest.SkipTest("why"))
    assert not is_skip(AssertionError())


def test_a_failed_unittest_is_noticed() -> None:
    """pytest keeps its exceptions on the item, the last one says how it ended."""
    failed, skipped = SimpleNamespace(value=AssertionError()), SimpleNamespace(value=unittest.SkipTest())
    assert unittest_error(item(None)) is None
    assert unittest_error(item(None, _excinfo=[])) is None
    assert unittest_error(item(None, _excinfo=[skipped, failed])) is failed.value
    assert unittest_error(item(None, _excinfo=[skipped])) is skipped.value


def test_a_gate_inside_the_body_is_not_watched() -> None:
    """Its calls of a model are none of the test's, which are watched again afterwards."""
    first, second = nn.Linear(2, 2), nn.Linear(2, 3)
    body = Body()
    with body.watching(item(None)):
        with body.suspended():
            first(X)
        second(X)
    assert [call.model for call in body.calls] == [second]


def _forward(model: nn.Module) -> None:
    model.forward(X)


def _forward_in_a_comprehension(model: nn.Module) -> None:
    assert [model.forward(x) for x in (X,)]


def _defines_a_model() -> None:
    class Own(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input)

    Own(2, 2)(X)


def test_a_body_that_calls_forward_is_known() -> None:
    """A class of its own that has a ``forward`` is no such call."""

    def test(function: Any) -> Any:
        return SimpleNamespace(function=function)

    assert calls_forward(test(_forward))
    assert calls_forward(test(_forward_in_a_comprehension))
    assert not calls_forward(test(_defines_a_model))
    assert not calls_forward(item(None))


def test_a_model_whose_forward_alone_is_called_is_known() -> None:
    """Its parts are not what the test is about."""
    body, model = Body(), nn.Sequential(nn.Linear(2, 2))
    with body.watching(item(None)):
        model.forward(X)
        assert (body.calls, list(body.bypassed)) == ([], [nn.Sequential])
        model(X)
    assert [call.model for call in body.calls] == [model]
