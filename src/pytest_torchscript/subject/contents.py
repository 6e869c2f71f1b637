"""What plain attributes of a model hold: containers, helper objects and tensors in them.

A container is read and put back by the methods of Python's own classes, past those that its class overrides: a dictionary
whose ``__getattr__`` raises KeyError, or a list that forbids iteration, is a container like any other. Nothing is copied
but the references.
"""

from __future__ import annotations

import collections
import operator
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch

__all__ = ["Contents", "is_empty", "parts", "same_objects"]

_BASES: tuple[Any, ...] = (collections.OrderedDict, dict, list, set, collections.deque)
_SCALARS = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_DEPTH = 3
# Of a longer container the length alone is kept: what is put into it is seen, not what is exchanged in it.
_MOST_ENTRIES = 20_000


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
    """The tensors, containers and helper objects' attributes that an attribute holds: what a call may write into."""
    if isinstance(value, _SCALARS):
        return
    waiting = collections.deque([(value, _DEPTH)])
    seen = 0
    while waiting and seen <= _MOST_ENTRIES:
        value, depth = waiting.popleft()
        base = _base(value)
        if isinstance(value, torch.Tensor):
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
    if issubclass(cls, (type, torch.nn.Module, torch.Tensor, ModuleType)) or callable(value):
        return None
    if str(cls.__module__).partition(".")[0] in _WITHOUT_ATTRIBUTES:
        return None
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except Exception:  # noqa: BLE001 - slots, or a property that raises: nothing that can be looked at
        return None
    return attributes if type(attributes) is dict else None


_WITHOUT_ATTRIBUTES = ("builtins", "torch", "numpy", "threading", "_thread", "logging", "collections")
