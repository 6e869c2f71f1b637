"""What a call may change and must not: the state of the model, and of the process around it."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import warnings
from collections.abc import Collection, Iterator
from typing import Any

import torch

from ..nested import identical
from ..tracing import private
from .contents import Contents, Held, held, is_empty, parts, same_objects

__all__ = ["ModelState", "isolated"]

_COPIED = 64 * 2**20
"""How many bytes of parameters are copied at most; see :class:`ModelState`."""


class _Saved:
    """One tensor: the object, its memory, and what it held: a copy, or a fingerprint that a copy would be dear for."""

    __slots__ = ("_content", "_fingerprint", "_memory", "lost", "name", "requires_grad", "tensor", "version")

    def __init__(self, name: str, tensor: torch.Tensor, *, copied: bool = True) -> None:
        self.name = name
        self.tensor = tensor
        self.version = private.version_of(tensor)
        self.requires_grad = tensor.requires_grad
        self.lost = False
        self._memory = tensor.detach()
        self._fingerprint = None if copied or tensor.is_meta else _fingerprint(tensor)
        self._content = None if tensor.is_meta or self._fingerprint is not None else tensor.detach().clone()

    def changed(self, now: torch.Tensor | None = None) -> bool:
        """Whether the content is another, or that of the tensor that is there ``now`` in its place."""
        tensor = self.tensor if now is None else now
        if self._fingerprint is not None:
            fingerprint = _fingerprint(tensor)
            return fingerprint is None or not identical(fingerprint, self._fingerprint)
        return self._content is not None and not identical(tensor, self._content)

    def restore(self) -> None:
        """Put the content back, in place. Of a tensor without a copy only memory that was exchanged can be put back."""
        # `.data` has a version counter of its own: a graph the user built before the gate stays usable.
        with torch.no_grad():
            if _place(self.tensor) != _place(self._memory):
                self.tensor.data = self._memory
            if self._content is not None:
                self.tensor.data.copy_(self._content)
        if self._fingerprint is not None and self.changed():
            self.lost, self._fingerprint = True, _fingerprint(self.tensor)
        self.version = private.version_of(self.tensor)


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Where in memory a tensor is, and how it is read there; a sparse one has no such place."""
    address = tensor.data_ptr() if tensor.layout == torch.strided and not tensor.is_nested else 0
    return address, tensor.shape, tensor.dtype


def _fingerprint(tensor: torch.Tensor) -> torch.Tensor | None:
    """Sums of the bits of a tensor, one for every 8192 bytes; None for one whose memory is no plain row of numbers.

    Reading 434 MB so takes 20 ms on one core, where a copy takes 600 ms or more. Values that change places within the
    same 8192 bytes are not seen.
    """
    try:
        words = tensor.detach().view(-1).view(torch.int64)
        whole = words.numel() // 1024 * 1024
        return torch.cat([words[:whole].view(-1, 1024).sum(1), words[whole:].sum().reshape(1)])
    except RuntimeError:
        return None


class ModelState:
    """A snapshot of a module and all below it: parameters, buffers, attributes, flags and hooks.

    :meth:`restore` puts everything back, in place, so that whoever holds the tensors sees them as before.

    Buffers and loose tensors are copied, and so are parameters, the small ones first, up to ``copied`` bytes together, and
    those that ``written`` names. Of other parameters a fingerprint is kept: that they change is seen, and cannot be undone;
    :attr:`lost` names them.
    """

    def __init__(self, model: torch.nn.Module, *, copied: int = _COPIED, written: Collection[str] = ()) -> None:
        self.model = model
        self.lost: tuple[str, ...] = ()
        self._dicts: dict[str, tuple[torch.nn.Module, dict[str, Any]]] = {}
        self._contents: dict[int, Held] = {}
        self._loose: dict[int, _Saved] = {}
        self._held: dict[tuple[str, str], list[Held | _Saved]] = {}
        copies = _to_copy(model, copied) | set(written)
        self._parameters = [_Saved(name, tensor, copied=name in copies) for name, tensor in model.named_parameters()]
        self._buffers = [_Saved(name, buffer) for name, buffer in model.named_buffers()]
        # A write through `.data` moves no version counter. Once one is found, every later look is thorough.
        self._writes_past_counters = False
        registered = {id(saved.tensor) for saved in (*self._parameters, *self._buffers)}
        for prefix, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                # Its state is C++'s: parameters and buffers, which are saved above.
                continue
            self._dicts[prefix] = module, dict(module.__dict__)
            for name, value in module.__dict__.items():
                if not isinstance(value, (bool, int, str, type(None))):
                    self._note(prefix, name, value, registered)

    def _note(self, prefix: str, name: str, value: Any, registered: set[int]) -> None:
        """Note what one attribute holds; of torch's registries the entries alone, for those are noted elsewhere."""
        noted: list[Held | _Saved] = []
        for part in (value,) if name in private.REGISTRIES or is_empty(value) else parts(value):
            if not isinstance(part, torch.Tensor):
                noted.append(self._contents.setdefault(id(part), held(part)))
            elif id(part) not in registered:
                if id(part) not in self._loose:
                    self._loose[id(part)] = _Saved(_joined(prefix, name), part)
                noted.append(self._loose[id(part)])
        if noted:
            self._held[prefix, name] = noted

    def changed_parameters(self) -> list[str]:
        """Names of the parameters whose values are no longer the saved ones, written in place or put in their place."""
        return [*(saved.name for saved in self._parameters if saved.changed()), *self._replaced()]

    def _replaced(self) -> list[str]:
        """Names of the parameters in whose place a call has put others, with other values."""
        saved = {id(saved.tensor): saved for saved in self._parameters}
        return [
            _joined(prefix, name)
            for prefix, (module, _) in self._dicts.items()
            for name, before in self._registered(prefix, private.PARAMETERS).items()
            for now in (vars(module)[private.PARAMETERS].get(name),)
            if not (now is before or now is None or before is None) and saved[id(before)].changed(now)
        ]

    def changed_buffers(self) -> list[str]:
        """Names of the buffers whose values are no longer the saved ones, or which came or went."""
        changed = [saved.name for saved in self._buffers if saved.changed()]
        for prefix, (module, _) in self._dicts.items():
            before = self._registered(prefix, private.BUFFERS)
            for name in {**before, **private.buffers_of(module)}:
                full = _joined(prefix, name)
                if private.buffers_of(module).get(name, self) is not before.get(name, self) and full not in changed:
                    changed.append(full)
        return changed

    def _registered(self, prefix: str, registry: str) -> dict[str, Any]:
        """The parameters or buffers that a module had."""
        contents = self._contents[id(self._dicts[prefix][1][registry])]
        return contents.mapping() if isinstance(contents, Contents) else {}

    def changed_attributes(self) -> list[str]:
        """Names of the plain attributes that are other objects, or containers and tensors with other content."""
        return sorted(
            _joined(prefix, name)
            for prefix, (module, before) in self._dicts.items()
            for name in {**before, **module.__dict__}
            if name not in (*private.REGISTRIES, "training") and self._attribute_differs(prefix, name)
        )

    def _attribute_differs(self, prefix: str, name: str) -> bool:
        module, before = self._dicts[prefix]
        if module.__dict__.get(name, self) is not before.get(name, self):
            return True
        return any(part.changed() for part in self._held.get((prefix, name), ()))

    def differs(self, name: str) -> bool:
        """Whether one parameter, buffer or plain attribute (``block.0.cache``) is no longer as saved."""
        for saved in (*self._parameters, *self._buffers):
            if saved.name == name and saved.changed():
                return True
        if name in self._replaced():
            return True
        prefix, _, attribute = name.rpartition(".")
        if prefix not in self._dicts:
            return False
        module, before = self._dicts[prefix]
        if attribute in before or attribute in module.__dict__:
            return self._attribute_differs(prefix, attribute)
        return private.buffers_of(module).get(attribute) is not self._registered(prefix, private.BUFFERS).get(attribute)

    def written(self, name: str) -> bool:
        """Whether a parameter has other values, or was written by an operation that moves its version counter."""
        written = (saved for saved in self._parameters if saved.name == name)
        return any(private.version_of(saved.tensor) != saved.version for saved in written) or self.differs(name)

    def held(self, name: str) -> Any:
        """The object that is a buffer or a plain attribute now; None where there is none."""
        prefix, _, attribute = name.rpartition(".")
        module, _ = self._dicts[prefix]
        return module.__dict__.get(attribute, private.buffers_of(module).get(attribute))

    def restore_one(self, name: str) -> None:
        """Put one buffer or plain attribute back, and what it holds; the rest stays."""
        prefix, _, attribute = name.rpartition(".")
        module, before = self._dicts[prefix]
        registry, values = module.__dict__, before
        if attribute not in before and attribute not in registry:
            registry, values = private.buffers_of(module), self._registered(prefix, private.BUFFERS)
        if attribute in values:
            registry[attribute] = values[attribute]
        else:
            registry.pop(attribute, None)
        for part in (*self._held.get((prefix, attribute), ()), *(saved for saved in self._buffers if saved.name == name)):
            part.restore()

    def restore(self, *, thorough: bool = False, parameters: bool = True) -> None:
        """Put everything back. ``thorough`` looks at every value; otherwise tensors go by their version counters.

        Without ``parameters`` those keep what a call made of them.
        """
        for module, before in self._dicts.values():
            now = module.__dict__
            if not same_objects(now, before):
                # The order of the attributes is kept too: some code iterates over them.
                now.clear()
                now.update(before)
        for contents in self._contents.values():
            contents.restore()
        for saved in (*(self._parameters if parameters else ()), *self._buffers, *self._loose.values()):
            self._restore(saved, thorough=thorough or self._writes_past_counters)

    def _restore(self, saved: _Saved, *, thorough: bool) -> None:
        if thorough or private.version_of(saved.tensor) != saved.version:
            if saved.changed():
                self._writes_past_counters = self._writes_past_counters or private.version_of(saved.tensor) == saved.version
                saved.restore()
                if saved.lost:
                    self.lost = tuple(dict.fromkeys((*self.lost, saved.name)))
            saved.version = private.version_of(saved.tensor)
        if saved.tensor.requires_grad != saved.requires_grad and saved.tensor.is_leaf:
            saved.tensor.requires_grad_(saved.requires_grad)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _to_copy(model: torch.nn.Module, most: int) -> set[str]:
    """Names of the smallest parameters that have ``most`` bytes together."""
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in model.named_parameters()}
    names, total = set(), 0
    for name in sorted(sizes, key=lambda name: sizes[name]):
        total += sizes[name]
        if total > most:
            break
        names.add(name)
    return names


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
