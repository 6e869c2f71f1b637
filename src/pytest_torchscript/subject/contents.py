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

__all__ = ["Contents", "held_tensors", "parts", "same_objects"]

_BASES: tuple[Any, ...] = (collections.OrderedDict, dict, list, set, collections.deque)
_SCALARS = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_DEPTH = 3
# Of a longer container the length alone is kept: what is put into it is seen, not what is exchanged in it.
_MOST_ENTRIES = 20_000


class Contents:
    """The entries of one container as they are now."""

    __slots__ = ("_base", "_entries", "_length", "container")

    def __init__(self, container: Any) -> None:
        self.container = container
        self._base = _base(container)
        self._length = self._base.__len__(container)
        self._entries = self._now() if self._length <= _MOST_ENTRIES else None

    def entries(self) -> tuple[Any, ...]:
        """The entries that were there, of a dictionary in pairs; none of a long container."""
        return self._entries or ()

    def _now(self) -> tuple[Any, ...]:
        if issubclass(self._base, dict):
            return tuple(self._base.items(self.container))
        return tuple(self._base.__iter__(self.container))

    def changed(self) -> bool:
        """Whether it holds other objects."""
        if self._base.__len__(self.container) != self._length:
            return True
        if self._entries is None:
            return False
        now = self._now()
        if self._base is set:
            return {id(entry) for entry in now} != {id(entry) for entry in self._entries}
        if issubclass(self._base, dict):
            return not all(
                mine[0] is theirs[0] and mine[1] is theirs[1] for mine, theirs in zip(now, self._entries, strict=True)
            )
        return not all(map(operator.is_, now, self._entries))

    def restore(self) -> None:
        if not self.changed():
            return
        if self._entries is None:
            self._shorten()
            return
        self._base.clear(self.container)
        if issubclass(self._base, dict):
            for key, entry in self._entries:
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
    return next((base for base in _BASES if issubclass(cls, base)), None)


def same_objects(now: dict[str, Any], before: dict[str, Any]) -> bool:
    """The same objects under the same names in the same order; tensors do not compare by value."""
    return len(now) == len(before) and all(map(operator.is_, now.values(), before.values())) and list(now) == list(before)


def parts(value: Any) -> Iterator[Any]:
    """The tensors, containers and helper objects' attributes that an attribute holds: what a call may write into."""
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


def held_tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors that an attribute holds, itself or in containers."""
    return (part for part in parts(value) if isinstance(part, torch.Tensor))


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
