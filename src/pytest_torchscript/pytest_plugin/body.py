"""A test body while it runs: the models that it calls, what it returns, and whether it passed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..subject.observe import ObservedCall

__all__ = ["Body", "is_skip", "unittest_failure"]


class Body:
    """What a test body did while it was watched: the value that it returned, and the model calls that were observed."""

    def __init__(self) -> None:
        self.returned: Any = None
        self.calls: list[ObservedCall] = []
        self.calls_by_class: dict[type, list[ObservedCall]] = {}

    def watching(self, item: pytest.Item, classes: Iterable[type] = (), *, keep_result: bool = True) -> ExitStack:
        """Watch the module calls while the returned context is open; calls of ``classes`` also inside other modules.

        ``keep_result`` also keeps what the body returns, and lets pytest see None instead.
        """
        from ..subject.observe import Observer

        stack = ExitStack()
        self.calls = stack.enter_context(Observer().watching()).calls
        for cls in classes:
            self.calls_by_class[cls] = stack.enter_context(Observer(only=cls).watching()).calls
        original = getattr(item, "obj", None)
        waits = inspect.iscoroutinefunction(original) or inspect.isasyncgenfunction(original)
        if keep_result and original is not None and not waits:

            @functools.wraps(original)
            def keeping(*args: Any, **kwargs: Any) -> None:
                # pytest and unittest warn of a test that returns a value; under the marker it names the model.
                self.returned = original(*args, **kwargs)

            item.obj = keeping  # type: ignore[attr-defined]
            stack.callback(setattr, item, "obj", original)
        return stack


def is_skip(error: BaseException) -> bool:
    """Whether a test ended by skipping itself, in pytest's way or in unittest's."""
    import unittest

    return isinstance(error, (pytest.skip.Exception, unittest.SkipTest))


def unittest_failure(item: pytest.Item) -> str | None:
    """Why a ``unittest.TestCase`` test did not pass: pytest keeps its failures on the item, and raises none."""
    failures = getattr(item, "_excinfo", None)
    if not failures:
        return None
    return f"the test itself {'was skipped' if is_skip(failures[-1].value) else 'failed'}"
