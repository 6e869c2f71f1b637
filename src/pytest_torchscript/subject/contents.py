"""What plain attributes of a model hold: containers, helper objects, and tensors, NumPy arrays and random generators in them.

A container is read and put back by the methods of Python's own classes, past those that its class overrides: a dictionary
whose ``__getattr__`` raises KeyError, or a list that forbids iteration, is a container like any other. Nothing is copied
but the references, and the numbers of small arrays.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import operator
import random
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch

__all__ = ["Contents", "Held", "held", "is_empty", "parts", "same_objects"]

_BASES: tuple[Any, ...] = (collections.OrderedDict, dict, list, set, collections.deque)
_SCALARS = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_DEPTH = 3
# Of a longer container the length alone is kept: what is put into it is seen, not what is exchanged in it.
_MOST_ENTRIES = 20_000
# A larger array is no scratch space but data, and every probe would compare it.
_MOST_BYTES = 2**20


class Contents:
    """The entries of one container as they are now."""

    __slots__ = ("_base", "_entries", "_keys", "_length", "container")

    def __init__(self, container: Any) -> None:
        self.container = container
        self._base = _base(container)
        self._length = self._base.__len__(container)
        self._keys: tuple[Any, ...] = ()
        self._entries: tuple[Any, ...] | None = None
        if self._length <= _MOST_ENTRIES:
            self._keys, self._entries = self._now()

    def mapping(self) -> dict[Any, Any]:
        """What a dictionary held."""
        return dict(zip(self._keys, self._entries or (), strict=True))

    def _now(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The keys of a dictionary, none of others, and the entries."""
        if not self._length:
            return (), ()
        if issubclass(self._base, dict):
            return tuple(self._base.keys(self.container)), tuple(self._base.values(self.container))
        return (), tuple(self._base.__iter__(self.container))

    def changed(self) -> bool:
        """Whether it holds other objects."""
        if self._base.__len__(self.container) != self._length:
            return True
        if not self._entries:
            return False
        keys, now = self._now()
        if self._base is set:
            return set(map(id, now)) != set(map(id, self._entries))
        return not (all(map(operator.is_, now, self._entries)) and all(map(operator.is_, keys, self._keys)))

    def restore(self) -> None:
        if not self.changed():
            return
        if self._entries is None:
            self._shorten()
            return
        self._base.clear(self.container)
        if issubclass(self._base, dict):
            for key, entry in zip(self._keys, self._entries, strict=True):
                self._base.__setitem__(self.container, key, entry)
        elif self._base is set:
            set.update(self.container, self._entries)
        else:
            self._base.extend(self.container, self._entries)

    def _shorten(self) -> None:
        """Take away what was put at the end of a long container; a set has no end."""
        last = "popitem" if issubclass(self._base, dict) else "pop"
        while self._base is not set and self._base.__len__(self.container) > self._length:
            getattr(self._base, last)(self.container)


class _Array:
    """The numbers of one NumPy array as they are now."""

    __slots__ = ("_array", "_bytes")

    def __init__(self, array: Any) -> None:
        self._array = array
        self._bytes = array.tobytes()

    def changed(self) -> bool:
        """Whether it holds other numbers."""
        return bool(self._array.tobytes() != self._bytes)

    def restore(self) -> None:
        if self.changed():
            # One that was resized, or made read-only, stays as it is.
            with contextlib.suppress(ValueError):
                before = sys.modules["numpy"].frombuffer(self._bytes, self._array.dtype)
                self._array[...] = before.reshape(self._array.shape)


class _Generator:
    """The state of one random generator; that numbers were drawn from it is no change of the model in itself."""

    __slots__ = ("restore",)

    def __init__(self, generator: Any) -> None:
        try:
            self.restore = _setting_back(generator)
        except Exception:  # noqa: BLE001 - that of the operating system has no state, nor has many a class of a user's own
            self.restore = lambda: None

    def changed(self) -> bool:
        return False


def _setting_back(generator: Any) -> Callable[[], object]:
    """What gives a generator of torch's, Python's or NumPy's the state that it has now."""
    if isinstance(generator, random.Random):
        return functools.partial(generator.setstate, generator.getstate())
    if hasattr(generator, "get_state"):
        return functools.partial(generator.set_state, generator.get_state())
    bits = getattr(generator, "bit_generator", generator)
    return functools.partial(setattr, bits, "state", bits.state)


Held = Contents | _Array | _Generator


def held(part: Any) -> Held:
    """What a part other than a tensor holds now, to compare it with later and to put it back."""
    if _base(part) is not None:
        return Contents(part)
    return _Generator(part) if issubclass(type(part), _generators()) else _Array(part)


def _generators() -> tuple[type, ...]:
    """The classes of random generators; NumPy's if it is loaded."""
    numpy = sys.modules.get("numpy")
    names = ("Generator", "BitGenerator", "RandomState") if numpy else ()
    return (torch.Generator, random.Random, *(getattr(numpy.random, name) for name in names))  # type: ignore[union-attr]


def _is_small_array(value: Any) -> bool:
    """Whether a value is a NumPy array of numbers, or text, that a call may write into and that can be copied."""
    numpy = sys.modules.get("numpy")
    return (
        numpy is not None
        and issubclass(type(value), numpy.ndarray)
        and value.flags.writeable
        and not value.dtype.hasobject
        and value.nbytes <= _MOST_BYTES
    )


def _base(value: Any) -> Any:
    """Which of Python's own containers a value is; None for anything else."""
    cls = type(value)
    return cls if cls in _BASES else next((base for base in _BASES if issubclass(cls, base)), None)


def is_empty(value: Any) -> bool:
    """Whether a value is an empty container of no class but Python's own, as most attributes of a module are."""
    return type(value) in _BASES and not value


def same_objects(now: dict[str, Any], before: dict[str, Any]) -> bool:
    """The same objects under the same names in the same order; tensors do not compare by value."""
    return len(now) == len(before) and all(map(operator.is_, now.values(), before.values())) and list(now) == list(before)


def parts(value: Any) -> Iterator[Any]:
    """What an attribute holds and a call may write into: tensors, arrays, generators, containers, attributes of helpers."""
    if isinstance(value, _SCALARS):
        return
    whole = (torch.Tensor, *_generators())
    waiting = collections.deque([(value, _DEPTH)])
    seen = 0
    while waiting and seen <= _MOST_ENTRIES:
        value, depth = waiting.popleft()
        base = _base(value)
        if issubclass(type(value), whole) or _is_small_array(value):
            yield value
        if base is not None and depth:
            yield value
        if not depth:
            continue
        inner: list[Any] = []
        if base is not None and base.__len__(value) <= _MOST_ENTRIES:
            inner = list(base.values(value) if issubclass(base, dict) else base.__iter__(value))
        elif issubclass(type(value), tuple):
            inner = list(tuple.__iter__(value))
        attributes = _attributes(value)
        if attributes is not None:
            # The attributes of a helper are as deep as the helper.
            waiting.append((attributes, depth))
        seen += len(inner)
        waiting.extend((entry, depth - 1) for entry in inner if not isinstance(entry, _SCALARS))


def _attributes(value: Any) -> dict[str, Any] | None:
    """The attributes of a plain helper object, a cache or a config; None for anything that is more, or less, than that."""
    cls = type(value)
    if issubclass(cls, (type, torch.nn.Module, torch.Tensor, ModuleType)):
        return None
    if str(cls.__module__).partition(".")[0] in _WITHOUT_ATTRIBUTES:
        return None
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except Exception:  # noqa: BLE001 - slots, or a property that raises: nothing that can be looked at
        return None
    return attributes if type(attributes) is dict else None


_WITHOUT_ATTRIBUTES = ("builtins", "torch", "numpy", "threading", "_thread", "logging", "collections", "functools", "random")
