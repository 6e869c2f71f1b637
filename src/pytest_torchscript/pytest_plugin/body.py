"""A test body while it runs: the models that it calls, what it returns, and whether it passed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import CodeType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..subject.observe import ObservedCall, Observer
    from ..subject.surroundings import Surroundings

__all__ = ["BODY", "Body", "calls_forward", "is_skip", "unittest_error"]


class Body:
    """What a test body did while it was watched: the value that it returned, and the model calls that were observed."""

    def __init__(self) -> None:
        self.returned: Any = None
        self.calls: list[ObservedCall] = []
        self.calls_by_class: dict[type, list[ObservedCall]] = {}
        self.surroundings: Surroundings | None = None
        self.bypassed: dict[type, None] = {}
        self._observers: list[Observer] = []
        self._watch = ExitStack()

    def watching(self, item: pytest.Item, classes: Iterable[type] = (), *, keep_result: bool = True) -> ExitStack:
        """Watch the module calls while the returned context is open; calls of ``classes`` also inside other modules.

        ``keep_result`` also keeps what the body returns, and lets pytest see None instead.
        """
        from ..subject.observe import Observer
        from ..subject.surroundings import Surroundings

        self.surroundings = Surroundings.now()
        outermost = Observer()
        by_class = {cls: Observer(only=cls) for cls in classes}
        self.calls, self.bypassed = outermost.calls, outermost.bypassed
        self.calls_by_class = {cls: observer.calls for cls, observer in by_class.items()}
        self._observers = [outermost, *by_class.values()]
        stack = ExitStack()
        self._start()
        stack.callback(self._watch.close)
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

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Watch nothing in the block: the calls of a gate inside the body are no calls of the test."""
        self._watch.close()
        try:
            yield
        finally:
            self._start()

    def _start(self) -> None:
        for observer in self._observers:
            self._watch.enter_context(observer.watching())


BODY = pytest.StashKey[Body]()
"""On an item: what its body does, while it runs."""


def calls_forward(item: pytest.Item) -> bool:
    """Whether the body of a test mentions an attribute ``forward``, outside of the classes and functions defined in it."""
    code = getattr(getattr(item, "function", None), "__code__", None)
    waiting = [code] if isinstance(code, CodeType) else []
    while waiting:
        looked_at = waiting.pop()
        if "forward" in looked_at.co_names:
            return True
        # Comprehensions and lambdas have a code of their own, named <listcomp>, <lambda>.
        waiting += [part for part in looked_at.co_consts if isinstance(part, CodeType) and part.co_name.startswith("<")]
    return False


def is_skip(error: BaseException) -> bool:
    """Whether a test ended by skipping itself, in pytest's way or in unittest's."""
    import unittest

    return isinstance(error, (pytest.skip.Exception, unittest.SkipTest))


def unittest_error(item: pytest.Item) -> BaseException | None:
    """What ended a ``unittest.TestCase`` test that did not pass: pytest keeps it on the item, and raises nothing."""
    errors = getattr(item, "_excinfo", None)
    return errors[-1].value if errors else None
