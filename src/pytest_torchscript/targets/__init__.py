"""The built-in deployment targets, declared. What they do is loaded when a gate asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from ..arguments import Argument
from ..errors import SpecError
from ..spec import Tolerance
from .base import Missing, NotJudged, Proof, Rule, Target, Targets, Unsupported
from .deployment import Deployment

__all__ = [
    "Deployment",
    "Missing",
    "NotJudged",
    "Proof",
    "Rule",
    "Target",
    "Targets",
    "Unsupported",
    "built_in",
    "pytest_torchscript_targets",
]

# AWS names no single figure: its testing helper takes 1e-5, optimum-neuron 1e-3 for the BERT family, and auto-casting to
# bfloat16 needs 1e-2.
_NEURON_TOLERANCE: Mapping[str, Tolerance] = {
    "float32": Tolerance(rtol=1e-3, atol=1e-3),
    "bfloat16": Tolerance(rtol=1e-2, atol=1e-2),
    "float16": Tolerance(rtol=1e-2, atol=1e-2),
}


def _flag(name: str, value: Any) -> bool:
    """A bool; or its text, as pytest's configuration gives it."""
    texts = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if isinstance(value, str) and value.strip().lower() in texts:
        return texts[value.strip().lower()]
    if not isinstance(value, bool):
        raise SpecError(f"{name} must be True or False, not {value!r}")
    return value


_DYNAMIC_BATCH = Argument("dynamic_batch", _flag, help="compile for any batch size: true or false")


class TorchScript(Target):
    """The trace itself: all other checks are its proof."""

    name = "torchscript"


class LibTorch(Target):
    """The saved file, loaded and run by a C++ program with no Python, gives the same outputs."""

    name = "libtorch"

    def missing(self) -> str | None:
        from . import libtorch

        return libtorch.missing()

    def build(self, deployment: Deployment) -> Any:
        from . import libtorch

        return libtorch.build(deployment)

    def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        from . import libtorch

        return libtorch.run(artefact, deployment, inputs)


class Neuron(Target):
    """AWS Inferentia2 and Trainium: ``torch_neuronx.trace`` where the SDK is, else the published rules."""

    name = "neuron"
    fixed_shapes = True
    tolerance = _NEURON_TOLERANCE
    arguments: ClassVar[Sequence[Argument]] = (_DYNAMIC_BATCH,)

    @property
    def rules(self) -> Sequence[Rule]:
        from .neuron import rules

        return rules.RULES

    def missing(self) -> str | None:
        from . import neuron

        return neuron.missing()

    def build(self, deployment: Deployment) -> Any:
        from . import neuron

        return neuron.build(deployment)

    def probe(self, deployment: Deployment) -> Iterable[Mapping[str, Any]]:
        from . import neuron

        return neuron.probe(deployment)

    def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any] | None:
        from . import neuron

        return neuron.run(artefact, deployment, inputs)


class NeuronInf1(Neuron):
    """AWS Inferentia1: ``torch.neuron.trace`` where the (archived) SDK is, else the published rules."""

    name = "neuron-inf1"

    def missing(self) -> str | None:
        from . import neuron

        return neuron.missing_inf1()

    def build(self, deployment: Deployment) -> Any:
        from . import neuron

        return neuron.build_inf1(deployment)


class Export(Target):
    """``torch.export`` of the same model with the same dims: is it ready to leave TorchScript?"""

    name = "export"
    program = "torch.export"
    needs_trace = False

    def build(self, deployment: Deployment) -> Any:
        from . import export

        return export.build(deployment)

    def run(self, artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any] | None:
        from . import export

        return export.run(artefact, deployment, inputs)


_BUILT_IN = (TorchScript(), LibTorch(), Neuron(), NeuronInf1(), Export())


def pytest_torchscript_targets() -> Sequence[Target]:
    """The built-in targets, by the hook that any other plugin implements."""
    return _BUILT_IN


def built_in() -> Targets:
    """The built-in targets, for a program that judges models without pytest."""
    return Targets(by_name={target.name: target for target in _BUILT_IN})
