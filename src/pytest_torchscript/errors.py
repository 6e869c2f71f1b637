"""The few exceptions a user can meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .result import GateResult

__all__ = ["GateError", "GateFailed", "SpecError", "SubjectError"]


class GateError(Exception):
    """Base of every error this package raises on purpose."""


class SpecError(GateError):
    """A marker, a call or a configuration asks for something impossible. The message names the argument."""


class SubjectError(GateError):
    """No model, or no inputs, that could be judged. The message says what was looked for and what to do."""


class GateFailed(GateError, AssertionError):
    """A model did not pass its gate; raised by ``torchscript.check``.

    ``result`` is the whole :class:`~pytest_torchscript.result.GateResult`, so that a test can look further than the text.
    """

    def __init__(self, message: str, result: GateResult) -> None:
        super().__init__(message)
        self.result = result
