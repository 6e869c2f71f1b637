"""AWS Neuron's own tools: ``torch_neuronx`` for Inferentia2 and Trainium, ``torch_neuron`` for Inferentia1.

Written from the SDK's documentation (2.32 and 2.33) and tested against stand-in modules: none of it has run on a chip, or
against AWS's compiler. Off the device a program can be compiled and not run, which the result then says.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch

from ... import source
from ..base import Missing, Unsupported
from ..deployment import Deployment
from ..tools import root_cause

__all__ = ["build", "build_inf1", "missing", "missing_inf1", "on_device", "probe", "run"]

_PLATFORM = "NEURON_PLATFORM_TARGET_OVERRIDE"
_USUAL = "inf2"
_DEVICES = "/dev/neuron*"
_MOST_OPERATORS = 5
_OTHER_OPERATORS = "write it with operators that the Neuron compiler supports"
_INDEX = "it comes from AWS's own package index; the packages of that name on PyPI are placeholders"


def on_device() -> bool:
    """Whether this machine has a Neuron device."""
    return bool(glob.glob(_DEVICES))


@contextlib.contextmanager
def _platform_named() -> Iterator[None]:
    """Tell the SDK what to compile for where there is no chip, before it is imported; optimum-neuron does the same."""
    before = os.environ.get(_PLATFORM)
    if before is None and not on_device():
        os.environ[_PLATFORM] = _USUAL
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_PLATFORM, None)


# Which tools are here


def missing() -> str | None:
    """Why ``torch_neuronx.trace`` cannot be used; None if it can."""
    sdk = _imported("torch_neuronx")
    if isinstance(sdk, str):
        return sdk
    if not hasattr(sdk, "trace"):
        return (
            "this torch_neuronx is the native one, which compiles by torch.compile and has no trace; "
            "torch_neuronx.trace is in the one that builds on torch-xla"
        )
    return None


def missing_inf1() -> str | None:
    """Why ``torch.neuron.trace`` cannot be used; None if it can."""
    sdk = _imported("torch_neuron")
    if isinstance(sdk, str):
        return sdk
    if not hasattr(getattr(torch, "neuron", None), "trace"):
        return "this torch_neuron has no torch.neuron.trace"
    return None


def _imported(name: str) -> ModuleType | str:
    """The module, or why it cannot be imported. It has to be imported: a placeholder is found, and raises only then."""
    try:
        with _platform_named():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return f"{name} is not installed; {_INDEX}"
        return f"{name} cannot be imported: {root_cause(error)}"
    except Exception as error:  # noqa: BLE001 - a vendor's package may raise anything while it looks for its driver
        if "WRONG PACKAGE" in str(error):
            return f"the installed {name} is PyPI's placeholder, which cannot compile; install the SDK from AWS's own index"
        return f"{name} cannot be imported: {root_cause(error)}"


# Compiling


def build(deployment: Deployment) -> Any:
    """The program that ``torch_neuronx.trace`` compiles, with the inputs by position.

    Raises:
        Unsupported: the compiler refuses an operator; its line is named.
        RuntimeError: the compiler fails otherwise.
    """
    sdk = _required("torch_neuronx")
    platform = os.environ.get(_PLATFORM, _USUAL)
    options: dict[str, Any] = {} if on_device() else {"cpu_backend": True, "compiler_args": f"--target {platform}"}

    def trace(model: torch.nn.Module, inputs: tuple[Any, ...], folder: str) -> Any:
        compiled = sdk.trace(model, inputs, compiler_workdir=folder, **options)
        return sdk.dynamic_batch(compiled) if deployment.arguments.get("dynamic_batch") else compiled

    return _compiled(deployment, getattr(sdk, "analyze", None), trace)


def build_inf1(deployment: Deployment) -> Any:
    """The program that ``torch.neuron.trace`` compiles; what the compiler cannot take is refused, not left to the CPU.

    Raises:
        Unsupported: the compiler refuses an operator; its line is named.
        RuntimeError: the compiler fails otherwise.
    """
    _required("torch_neuron")
    neuron: Any = torch.neuron  # type: ignore[attr-defined]

    def trace(model: torch.nn.Module, inputs: tuple[Any, ...], folder: str) -> Any:
        return neuron.trace(
            model,
            example_inputs=inputs,
            compiler_workdir=folder,
            compiler_timeout=max(int(deployment.timeout), 1),
            fallback=False,
            dynamic_batch_size=bool(deployment.arguments.get("dynamic_batch")),
        )

    return _compiled(deployment, getattr(neuron, "analyze_model", None), trace)


def _compiled(deployment: Deployment, analyze: Any, trace: Callable[..., Any]) -> Any:
    """What ``trace`` makes of the model and its inputs by position."""
    deployment.metrics["off_device"] = not on_device()
    with deployment.positional() as (model, inputs), _platform_named():
        refused = _analysed(deployment, analyze, model, inputs)
        try:
            compiled = trace(model, inputs, str(deployment.directory / "neuron"))
        except Exception as error:
            if not refused:
                raise
            raise _refusal(error, refused) from error
    if not on_device():
        deployment.note("compiled, and not run: a program for Neuron gives its values on a Neuron device only")
    return compiled


def _required(name: str) -> ModuleType:
    sdk = _imported(name)
    if isinstance(sdk, str):
        raise Missing(sdk)
    return sdk


def _analysed(deployment: Deployment, analyze: Any, model: Any, inputs: tuple[Any, ...]) -> list[Mapping[str, Any]]:
    """The operators that the SDK says it does not support, as notes with their lines."""
    if analyze is None:
        return []
    try:
        found = analyze(model, inputs)
    except Exception as error:  # noqa: BLE001 - compiling decides; the analysis only adds lines
        deployment.note(f"the SDK could not analyse the model: {root_cause(error)}")
        return []
    if not isinstance(found, Mapping):
        return []
    if "support_percentage" in found:
        deployment.metrics["support_percentage"] = found["support_percentage"]
    refused = [entry for entry in found.get("unsupported_operators") or () if isinstance(entry, Mapping)]
    for entry in refused[:_MOST_OPERATORS]:
        deployment.note(
            f"the SDK does not support {entry.get('kind', 'an operator')} (fails at {entry.get('failureAt', 'unknown')})",
            line=_line(entry),
            where="used at",
            hint=_OTHER_OPERATORS,
        )
    return refused


def _line(entry: Mapping[str, Any]) -> source.Line | None:
    return source.innermost(source.parse_stack(str(entry.get("call", ""))))


def _refusal(error: Exception, refused: Sequence[Mapping[str, Any]]) -> Unsupported:
    """The compiler's failure, by the operators that the SDK does not support, with the line of the first."""
    kinds = dict.fromkeys(str(entry.get("kind", "an operator")) for entry in refused)
    return Unsupported(
        f"the Neuron compiler refuses the model ({root_cause(error)}); the SDK does not support {', '.join(kinds)}",
        line=_line(refused[0]),
        hint=_OTHER_OPERATORS,
    )


# Running


def probe(deployment: Deployment) -> Iterator[Mapping[str, Any]]:
    """The gate's own inputs, and another batch size where the program is to take any."""
    yield from deployment.samples()
    batch = deployment.sizes.get("batch")
    if batch is not None and deployment.arguments.get("dynamic_batch"):
        yield deployment.resized({"batch": 2 * batch + 1})


def run(artefact: Any, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any] | None:
    """The outputs on the device; None without one, for a program compiled elsewhere must not be run for its values."""
    if not on_device():
        return None
    outputs = [artefact(*sample.values()) for sample in inputs]
    _try_other_shapes(artefact, deployment)
    return outputs


def _try_other_shapes(artefact: Any, deployment: Deployment) -> None:
    """Fail if the compiled program takes a shape that it was not made for: it must be an error, not an answer."""
    free = {"batch"} if deployment.arguments.get("dynamic_batch") else set()
    for dim, size in deployment.sizes.items():
        if dim in free or size < 2:
            continue
        try:
            artefact(*deployment.resized({dim: size - 1}).values())
        except Exception:  # noqa: BLE001, S112 - "Incorrect tensor shape": the loud refusal that the contract asks for
            continue
        deployment.fail(
            f"the compiled program was made for {dim} {size} and accepts {size - 1} in silence",
            hint="compile one program for each size, or pad every input to the compiled size",
        )
