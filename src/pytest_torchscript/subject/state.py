"""What a call may change and must not: the state of the model, and of the process around it."""

from __future__ import annotations

import collections
import contextlib
import copy
import operator
import os
import random
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch

from ..nested import identical
from ..tracing import private

__all__ = ["ModelState", "isolated"]

_CONTAINERS = (list, dict, set, collections.deque)


class _Saved:
    """One tensor: the object, what it held and the version it had."""

    __slots__ = ("content", "name", "requires_grad", "tensor", "version")

    def __init__(self, name: str, tensor: torch.Tensor) -> None:
        self.name = name
        self.tensor = tensor
        self.content = None if tensor.is_meta else tensor.detach().clone()
        self.version = private.version_of(tensor)
        self.requires_grad = tensor.requires_grad

    def changed(self, *, thorough: bool) -> bool:
        """Whether the content is another. Without ``thorough`` an unmoved version counter is believed."""
        if self.content is None or (private.version_of(self.tensor) == self.version and not thorough):
            return False
        return not identical(self.tensor, self.content)

    def restore(self) -> None:
        if self.content is not None:
            # `.data` has a version counter of its own: a graph the user built before the gate stays usable.
            with torch.no_grad():
                if self.tensor.shape != self.content.shape or self.tensor.dtype != self.content.dtype:
                    self.tensor.data = self.content.clone()
                else:
                    self.tensor.data.copy_(self.content)
        self.version = private.version_of(self.tensor)


def _vars(value: Any) -> dict[str, Any] | None:
    """The attributes of a plain helper object, a cache or a config; None for anything that is more, or less, than that."""
    cls = type(value)
    if isinstance(value, (type, torch.nn.Module, torch.Tensor, ModuleType)) or callable(value):
        return None
    if cls.__module__.partition(".")[0] in ("builtins", "torch", "numpy", "threading", "_thread", "logging", "collections"):
        return None
    attributes = getattr(value, "__dict__", None)
    return attributes if isinstance(attributes, dict) else None


def _containers(value: Any, depth: int = 3) -> Iterator[Any]:
    """The lists, dicts, sets and helper objects' attributes reachable from an attribute: what a call may write into."""
    if not depth or value is None or isinstance(value, (bool, int, float, str, bytes)):
        return
    if isinstance(value, _CONTAINERS):
        yield value
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _containers(entry, depth - 1)
    elif (attributes := _vars(value)) is not None:
        yield from _containers(attributes, depth)


def _loose_tensors(value: Any, depth: int = 3) -> Iterator[torch.Tensor]:
    """The tensors a plain attribute holds, itself or in containers."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and isinstance(value, (list, tuple, dict, collections.deque)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _loose_tensors(entry, depth - 1)
    elif depth and value is not None and not isinstance(value, (bool, int, float, str)):
        attributes = _vars(value)
        if attributes is not None:
            yield from _loose_tensors(attributes, depth)


class ModelState:
    """A snapshot of a module and all below it: parameters, buffers, attributes, flags and hooks.

    :meth:`restore` puts everything back, in place, so that whoever holds the tensors sees them as before.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self._dicts: list[tuple[str, torch.nn.Module, dict[str, Any]]] = []
        self._copies: dict[int, tuple[Any, Any]] = {}
        self._loose: dict[int, _Saved] = {}
        self._generators: list[tuple[torch.Generator, torch.Tensor]] = []
        self._parameters = [_Saved(name, parameter) for name, parameter in model.named_parameters()]
        self._buffers = [_Saved(name, buffer) for name, buffer in model.named_buffers()]
        # A write through `.data` moves no version counter. Whoever finds one makes every later look thorough.
        self._sneaky = False
        known = {id(saved.tensor) for saved in (*self._parameters, *self._buffers)}
        for prefix, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                # Its state is C++'s: parameters and buffers, which are saved above.
                continue
            attributes = module.__dict__
            self._dicts.append((prefix, module, dict(attributes)))
            for name, value in attributes.items():
                if value is None or isinstance(value, (bool, int, float, str)):
                    continue
                found = [value] if name in private.REGISTRIES or (isinstance(value, dict) and not value) else _containers(value)
                for container in found:
                    if id(container) not in self._copies:
                        self._copies[id(container)] = container, copy.copy(container)
                if isinstance(value, torch.Generator):
                    self._generators.append((value, value.get_state()))
                if name not in private.REGISTRIES:
                    for tensor in _loose_tensors(value):
                        if id(tensor) not in known and id(tensor) not in self._loose:
                            self._loose[id(tensor)] = _Saved(f"{prefix}.{name}".lstrip("."), tensor)

    def changed_parameters(self) -> list[str]:
        """Names of the parameters whose values are no longer the saved ones."""
        return [saved.name for saved in self._parameters if saved.changed(thorough=True)]

    def changed_buffers(self) -> list[str]:
        """Names of the buffers whose values are no longer the saved ones, or which came or went."""
        changed = [saved.name for saved in self._buffers if saved.changed(thorough=True)]
        for prefix, module, attributes in self._dicts:
            before = self._copies[id(attributes[private.BUFFERS])][1]
            for name in {**before, **private.buffers_of(module)}:
                full = f"{prefix}.{name}".lstrip(".")
                if private.buffers_of(module).get(name, self) is not before.get(name, self) and full not in changed:
                    changed.append(full)
        return changed

    def changed_attributes(self) -> list[str]:
        """Names of the plain attributes that are other objects, or containers and tensors with other content."""
        changed = []
        for prefix, module, before in self._dicts:
            for name in {**before, **module.__dict__}:
                if name in private.REGISTRIES or name == "training":
                    continue
                value = module.__dict__.get(name, self)
                if value is not before.get(name, self) or self._content_changed(value):
                    changed.append(f"{prefix}.{name}".lstrip("."))
        return sorted(changed)

    def differs(self, name: str) -> bool:
        """Whether one parameter, buffer or plain attribute (``block.0.cache``) is no longer as saved."""
        for saved in (*self._parameters, *self._buffers):
            if saved.name == name and saved.changed(thorough=True):
                return True
        owner, _, attribute = name.rpartition(".")
        for prefix, module, before in self._dicts:
            if prefix == owner:
                if attribute in before or attribute in module.__dict__:
                    value = module.__dict__.get(attribute, self)
                    return value is not before.get(attribute, self) or self._content_changed(value)
                registry = self._copies[id(before[private.BUFFERS])][1]
                return private.buffers_of(module).get(attribute) is not registry.get(attribute)
        return False

    def _content_changed(self, value: Any) -> bool:
        for container in _containers(value):
            saved = self._copies.get(id(container))
            if saved is not None and _content_differs(container, saved[1]):
                return True
        return any(
            id(tensor) in self._loose and self._loose[id(tensor)].changed(thorough=True) for tensor in _loose_tensors(value)
        )

    def restore(self, *, thorough: bool = False, parameters: bool = True) -> None:
        """Put everything back. ``thorough`` looks at every value; otherwise tensors go by their version counters.

        Without ``parameters`` those keep what a call made of them.
        """
        for _, module, before in self._dicts:
            now = module.__dict__
            if not (_identical if thorough else _alike)(now, before):
                # The order of the attributes is kept too: some code iterates over them.
                now.clear()
                now.update(before)
        for original, content in self._copies.values():
            if (original or content) and _content_differs(original, content):
                original.clear()
                if isinstance(original, (list, collections.deque)):
                    original.extend(content)
                else:
                    original.update(content)
        for generator, drawn in self._generators:
            generator.set_state(drawn)
        for saved in (*(self._parameters if parameters else ()), *self._buffers, *self._loose.values()):
            if thorough or self._sneaky or private.version_of(saved.tensor) != saved.version:
                if saved.changed(thorough=True):
                    self._sneaky = self._sneaky or private.version_of(saved.tensor) == saved.version
                    saved.restore()
                saved.version = private.version_of(saved.tensor)
            if saved.tensor.requires_grad != saved.requires_grad and saved.tensor.is_leaf:
                saved.tensor.requires_grad_(saved.requires_grad)


def _alike(now: dict[Any, Any], before: dict[Any, Any]) -> bool:
    """A fast look: dicts compare by identity first, and only then by value, which tensors refuse."""
    try:
        return bool(now == before)
    except Exception:  # noqa: BLE001 - a comparison of two different objects that have none
        return False


def _identical(now: dict[Any, Any], before: dict[Any, Any]) -> bool:
    """The same objects under the same keys in the same order; tensors do not compare by value."""
    return len(now) == len(before) and all(map(operator.is_, now.values(), before.values())) and list(now) == list(before)


def _content_differs(now: Any, before: Any) -> bool:
    """Whether a container holds other objects than before."""
    if isinstance(now, dict):
        return not _identical(now, before)
    if isinstance(now, set):
        return bool(now != before)
    return len(now) != len(before) or not all(map(operator.is_, now, before))


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Run the block and leave the process as it was: RNG states, grad mode, dtype, warnings, executor settings."""
    numpy = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy is not None else None
    cpu_state = torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    dtype = torch.get_default_dtype()
    folder = os.getcwd()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with private.kept_executor(), warnings.catch_warnings(), torch.no_grad():
            yield
    finally:
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        if (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()) != (
            deterministic,
            warn_only,
        ):
            # Only then: the call imports a second's worth of torch's compiler.
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if os.getcwd() != folder:
            os.chdir(folder)
        torch.set_rng_state(cpu_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
        if numpy is not None:
            numpy.random.set_state(numpy_state)
        random.setstate(python_state)
