"""Stand-ins for AWS's SDKs, which this project's machines do not have: they trace on the CPU behind a shape guard.

They show that the adapter calls what the documentation says and words what comes back. They show nothing about a chip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest
import torch

__all__ = ["Compiled", "inf1", "inf2", "native", "placeholder"]


class Compiled(torch.nn.Module):
    """What a Neuron compiler makes: a program for exactly one shape and dtype of each input."""

    def __init__(self, model: Any, inputs: tuple[Any, ...]) -> None:
        super().__init__()
        self.program = torch.jit.trace(model, inputs, check_trace=False, strict=False)
        self.shapes = [(tensor.shape, tensor.dtype) for tensor in inputs]
        self.any_batch = False
        self.change: Callable[[Any], Any] = lambda output: output

    def forward(self, *inputs: torch.Tensor) -> Any:
        for index, (tensor, (shape, dtype)) in enumerate(zip(inputs, self.shapes, strict=True), start=1):
            free = int(self.any_batch)
            if tensor.shape[free:] != shape[free:] or tensor.dtype != dtype:
                raise RuntimeError(f"Incorrect tensor shape at input #{index}: received {tuple(tensor.shape)}")
        return self.change(self.program(*inputs))


class Calls(ModuleType):
    """A module that remembers how it was called."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any, dict[str, Any]]] = []


def inf2(
    *,
    unsupported: list[Mapping[str, Any]] | None = None,
    error: Exception | None = None,
    change: Callable[[Any], Any] | None = None,
) -> Calls:
    """A ``torch_neuronx`` that supports all but ``unsupported``, fails with ``error``, or changes the outputs."""
    sdk = Calls("torch_neuronx")

    def analyze(func: Any, example_inputs: Any) -> dict[str, Any]:
        sdk.calls.append(("analyze", example_inputs, {}))
        return {
            "support_percentage": "100.00%" if not unsupported else "90.00%",
            "supported_operators": {"aten": {}},
            "unsupported_operators": unsupported or [],
        }

    def trace(func: Any, example_inputs: Any, **options: Any) -> Compiled:
        sdk.calls.append(("trace", example_inputs, options))
        if error is not None:
            raise error
        compiled = Compiled(func, example_inputs)
        compiled.change = change or compiled.change
        return compiled

    def dynamic_batch(compiled: Compiled) -> Compiled:
        sdk.calls.append(("dynamic_batch", compiled, {}))
        compiled.any_batch = True
        return compiled

    sdk.analyze, sdk.trace, sdk.dynamic_batch = analyze, trace, dynamic_batch  # type: ignore[attr-defined]
    return sdk


def inf1(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """A ``torch_neuron``, which puts its functions into ``torch.neuron``."""
    sdk = Calls("torch_neuron")
    functions = Calls("torch.neuron")

    def trace(model: Any, *, example_inputs: Any, **options: Any) -> Compiled:
        sdk.calls.append(("trace", example_inputs, options))
        compiled = Compiled(model, example_inputs)
        compiled.any_batch = bool(options.get("dynamic_batch_size"))
        return compiled

    functions.trace = trace  # type: ignore[attr-defined]
    monkeypatch.setattr(torch, "neuron", functions, raising=False)
    return sdk


def native() -> Calls:
    """The native ``torch_neuronx``: the same name, and no ``trace``."""
    return Calls("torch_neuronx")


class placeholder:
    """PyPI's package of the same name: it is found, and importing it raises."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        from importlib.machinery import ModuleSpec

        return ModuleSpec(fullname, self) if fullname == self.name else None

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        raise ImportError("\n\n*** WRONG PACKAGE ***\nInstall it from the vendor's index.")
