"""Helpers as a shared utilities module has them: they only ask whether the model is traced."""

import torch

__all__ = ["Flags", "exporting", "exporting_by_another", "exporting_by_branch"]


def exporting() -> bool:
    return bool(torch.jit.is_tracing())


def exporting_by_another() -> bool:
    return exporting()


def exporting_by_branch() -> bool:
    if torch.jit.is_tracing():  # noqa: SIM103 - a helper of this form is what the tests are about
        return True
    return False


class Flags:
    @property
    def exporting(self) -> bool:
        return bool(torch.jit.is_tracing())
