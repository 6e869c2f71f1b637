"""What plain attributes of a model hold: containers, helper objects and tensors in them."""

from __future__ import annotations

import functools
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pytest_torchscript.subject.contents import Contents, held, is_empty, parts, same_objects


class KeysAsAttributes(dict[str, Any]):
    """Unknown names raise KeyError: ``copy.copy`` of it fails."""

    __getattr__ = dict.__getitem__


class ForbidsReading(list[Any]):
    def __iter__(self) -> Any:
        raise TypeError("not to be iterated")

    def __eq__(self, other: object) -> bool:
        raise ValueError("not to be compared")

    __hash__ = None  # type: ignore[assignment]


class ForbidsWriting(dict[str, Any]):
    def __setitem__(self, key: str, value: Any) -> None:
        raise TypeError("frozen")

    def clear(self) -> None:
        raise TypeError("frozen")


class ComparesToArrays:
    def __eq__(self, other: object) -> Any:
        return torch.ones(3) == 1

    def __hash__(self) -> int:
        return 1


class OnlySlots:
    __slots__ = ("held",)

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


class Helper:
    def __init__(self) -> None:
        self.keys = torch.ones(2)
        self.seen = [1]

    @property
    def broken(self) -> int:
        raise RuntimeError("no")


def held_tensors(value: Any) -> list[torch.Tensor]:
    return [part for part in parts(value) if isinstance(part, torch.Tensor)]


CHANGES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "a dict, an entry more": ({"a": 1}, lambda c: c.update(b=2)),
    "a dict, an entry less": ({"a": 1}, lambda c: c.pop("a")),
    "a dict, another value": ({"a": 1}, lambda c: c.update(a=2)),
    "a dict, another order": ({"a": 1, "b": 2}, lambda c: c.update(a=c.pop("a"))),
    "an ordered dict": (OrderedDict(a=1, b=2), lambda c: c.move_to_end("a")),
    "a default dict": (defaultdict(list), lambda c: c["new"]),
    "a counter": (Counter("aab"), lambda c: c.update("b")),
    "a list, longer": ([1], lambda c: c.append(2)),
    "a list, another entry": ([1, 2], lambda c: c.reverse()),
    "a set": ({1, 2}, lambda c: c.add(3)),
    "a deque": (deque([1, 2], maxlen=2), lambda c: c.append(3)),
    "a dict with keys as attributes": (KeysAsAttributes(width=1), lambda c: c.update(width=2)),
    "a list that forbids reading": (ForbidsReading([1]), lambda c: c.append(2)),
    "a dict that forbids writing": (ForbidsWriting(a=1), lambda c: dict.update(c, b=2)),
    "entries that compare to arrays": ([ComparesToArrays()], lambda c: c.append(ComparesToArrays())),
    "a set of such": ({ComparesToArrays()}, lambda c: c.clear()),
    "a long list": (list(range(30_000)), lambda c: c.append(1)),
    "a long dict": (dict.fromkeys(range(30_000)), lambda c: c.update(a=1)),
}


def read(container: Any) -> list[Any]:
    base = next(base for base in (OrderedDict, dict, list, set, deque) if isinstance(container, base))
    return list(base.items(container)) if isinstance(container, dict) else list(base.__iter__(container))


@pytest.mark.parametrize(("container", "change"), CHANGES.values(), ids=CHANGES)
def test_a_container_is_put_back(container: Any, change: Callable[[Any], Any]) -> None:
    """Whatever its class overrides, it holds the very objects that it held, in their order."""
    saved, before = Contents(container), list(map(id, read(container)))
    entries = read(container)
    assert not saved.changed()
    change(container)
    assert saved.changed()
    saved.restore()
    assert not saved.changed()
    assert len(read(container)) == len(before)
    assert all(
        mine is theirs or (mine[0] is theirs[0] and mine[1] is theirs[1])
        for mine, theirs in zip(read(container), entries, strict=True)
    )


def test_an_exchange_in_a_long_container_is_not_looked_for() -> None:
    """Of more than 20,000 entries the number is kept."""
    container = list(range(30_000))
    saved = Contents(container)
    container[0] = 7
    assert not saved.changed()


def test_a_long_set_is_left_as_it_is() -> None:
    """It has no end from which what came last could be taken."""
    container = set(range(30_000))
    saved = Contents(container)
    container.add(-1)
    saved.restore()
    assert len(container) == 30_001


def test_tensors_are_found_where_a_call_may_write_them() -> None:
    """In tuples, lists, dictionaries, helper objects and the attributes of a dictionary's own class."""
    a, b, c, d, e = (torch.ones(1) for _ in range(5))
    holder = KeysAsAttributes(inner={"b": b})
    object.__setattr__(holder, "own", c)
    helper = Helper()
    helper.keys = d
    found = [*held_tensors((a, [helper])), *held_tensors([holder]), *held_tensors(e)]
    assert {id(tensor) for tensor in found} == {id(tensor) for tensor in (a, b, c, d, e)}


def test_a_helper_that_can_be_called_is_looked_into() -> None:
    """It keeps what it likes, as one that cannot be called does."""

    class Called(Helper):
        def __call__(self) -> None: ...

    helper = Called()
    assert held_tensors([helper]) == [helper.keys]


@pytest.mark.parametrize("dtype", ["f4", "i8", "?", "U3", "M8[s]", "f4,i2"])
def test_an_array_is_put_back(dtype: str) -> None:
    """In place, bit by bit: NaN is NaN."""
    array = np.zeros((2, 3), dtype)
    (part,) = parts(array)
    saved = held(part)
    assert not saved.changed()
    array[1, 2] = np.ones((), dtype)
    assert saved.changed()
    saved.restore()
    assert array.tobytes() == np.zeros((2, 3), dtype).tobytes()


def test_arrays_that_no_call_writes_are_left_alone() -> None:
    """Read-only ones, large ones, and those that hold objects."""
    fixed = np.zeros(2)
    fixed.flags.writeable = False
    assert [*parts(fixed), *parts(np.zeros(2**20)), *parts(np.array([None]))] == []


def test_an_array_that_was_resized_stays_so() -> None:
    """Its memory is another."""
    array = np.zeros(4)
    saved = held(array)
    array.resize(2, refcheck=False)
    saved.restore()
    assert array.shape == (2,)


def test_what_cannot_be_looked_into_holds_nothing() -> None:
    """Modules are looked at by themselves; classes, functions and objects without a dictionary are no containers."""
    bound, partial = Helper().__init__, functools.partial(read, [0])  # type: ignore[misc]
    for value in (OnlySlots(), torch.nn.Linear(1, 1), torch, int, len, read, bound, partial, 1.5, None):
        assert list(parts(value)) == []


def test_a_long_container_is_not_walked() -> None:
    """What a dataset of a million entries holds is not the model's state."""
    tensor = torch.ones(1)
    assert held_tensors([tensor] * 30_000) == []
    assert len(list(parts([[0] * 10_000 for _ in range(10_000)]))) < 5


def test_a_container_that_holds_itself_ends() -> None:
    """A cycle is no endless walk."""
    value: list[Any] = []
    value.append(value)
    assert next(iter(parts(value))) is value


def test_the_same_objects_are_so_in_order() -> None:
    """Equal is not enough, nor is another order."""
    one, other = [1], [1]
    assert same_objects({"a": one, "b": other}, {"a": one, "b": other})
    assert not same_objects({"a": one}, {"a": other})
    assert not same_objects({"a": one, "b": one}, {"b": one, "a": one})
    assert not same_objects({"a": one}, {})


def test_an_empty_container_is_one_of_pythons_own() -> None:
    """One with a class of its own may hold attributes."""
    assert all(map(is_empty, ({}, [], set(), OrderedDict(), deque())))
    assert not any(map(is_empty, ({"a": 1}, [0], KeysAsAttributes(), 0, "", None)))
