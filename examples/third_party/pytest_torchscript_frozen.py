"""A deployment target for those who freeze their trace before they save it.

``torch.jit.freeze`` turns weights into constants and folds what it can, such as a batch normalisation into the
convolution before it. The frozen program computes in another order, is another file, and has no parameters left; the
target proves that it still gives eager's outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_torchscript import SpecError, Target, Tolerance

if TYPE_CHECKING:
    from pytest_torchscript import Deployment


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"{name} must be True or False, not {value!r}")
    return value


class Frozen(Target):
    """The trace frozen, saved, loaded again and run; ``fold=False`` leaves out what changes the numbers."""

    name = "frozen"
    # Folded weights are other numbers: the last bits of the outputs differ.
    tolerance: ClassVar = {"float32": Tolerance(rtol=1e-4, atol=1e-5)}
    arguments: ClassVar = {"fold": flag}

    def build(self, deployment: Deployment) -> Any:
        # The module is imported in every run of pytest that gates something, torch only where the target is used.
        import torch

        frozen = torch.jit.freeze(deployment.module, optimize_numerics=deployment.arguments.get("fold", True))
        file = deployment.directory / "frozen.pt"
        torch.jit.save(frozen, str(file))
        deployment.metrics["bytes"] = file.stat().st_size
        left = [name for name, _ in frozen.named_parameters()]
        if left:
            deployment.note(f"not frozen, since the program may write it: {', '.join(left)}")
        return torch.jit.load(str(file))

    def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        return [artefact(*sample.values()) for sample in inputs]


def pytest_torchscript_targets() -> Target:
    return Frozen()
