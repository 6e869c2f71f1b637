"""The few exceptions a user can meet."""

from __future__ import annotations

__all__ = ["GateError", "SpecError", "SubjectError", "Unavailable"]


class GateError(Exception):
    """Base of every error this package raises on purpose."""


class SpecError(GateError):
    """A marker, a call or a configuration asks for something impossible. The message names the argument."""


class SubjectError(GateError):
    """No model, or no inputs, that could be judged. The message says what was looked for and what to do."""


class Unavailable(GateError):
    """This torch has no usable TorchScript, or lacks a part that the gate needs: nothing can be said about the model.

    ``name`` is what is missing, as ``torch._C._foo``; ``version`` is torch's.
    """

    def __init__(self, message: str, *, name: str, version: str) -> None:
        super().__init__(message)
        self.name = name
        self.version = version
