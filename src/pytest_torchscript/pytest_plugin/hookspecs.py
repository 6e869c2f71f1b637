"""The hooks, for conftests and installed plugins. Built-in targets are registered through the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..targets.base import Target

__all__ = ["pytest_torchscript_targets"]


def pytest_torchscript_targets() -> Target | Sequence[Target] | None:
    """Return the deployment targets that a marker's ``target=`` may name: one, or several.

    In a ``conftest.py`` at the root of the tests, or in a module that an installed package names under the entry-point
    group ``pytest_torchscript``. A target that traces in half precision, for one::

        import torch

        from pytest_torchscript import Target, Tolerance


        class HalfPrecision(Target):
            name = "half"
            tolerance = {"float32": Tolerance(rtol=1e-2, atol=1e-2)}

            def build(self, deployment):
                with deployment.positional() as (model, inputs):
                    return torch.jit.trace(model, inputs, check_trace=False)

            def run(self, artefact, deployment, inputs):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    return [artefact(*sample.values()).float() for sample in inputs]


        def pytest_torchscript_targets():
            return HalfPrecision()

    Two targets of one name, built-ins included, are an error that names both.
    """
