"""Records: what a field's type makes of a value, both ways, and where a wrong value stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest

from pytest_torchscript.record import Record, RecordError, jsonable, shown


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Leaf(Record):
    name: str
    size: int | None = None


@dataclass(frozen=True)
class Tree(Record):
    colour: Colour
    seconds: float
    leaves: tuple[Leaf, ...] = ()
    axes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise ValueError("a time is not negative")


TREE = Tree(Colour.RED, 0.5, (Leaf("a"), Leaf("b", 2)), {"x": {"0": 1}}, {"y": [1, None]})
DATA = {
    "colour": "red",
    "seconds": 0.5,
    "leaves": [{"name": "a", "size": None}, {"name": "b", "size": 2}],
    "axes": {"x": {"0": 1}},
    "rest": {"y": [1, None]},
}


def test_a_record_is_written_by_its_fields() -> None:
    """Records within records, enumerations, lists and mappings."""
    assert TREE.to_json() == DATA


def test_a_record_is_read_by_its_fields() -> None:
    """What was written is read as it was."""
    assert Tree.from_json(DATA) == TREE


def test_a_field_with_a_default_may_be_missing() -> None:
    """An earlier version did not have it."""
    assert Tree.from_json({"colour": "red", "seconds": 1}) == Tree(Colour.RED, 1)


def test_a_key_without_a_field_is_ignored() -> None:
    """A later version may have added it."""
    assert Leaf.from_json({"name": "a", "shape": "round"}) == Leaf("a")


@pytest.mark.parametrize(
    ("data", "place", "problem"),
    [
        (3, "", "must be an object, not 3"),
        ({"seconds": 1}, "", "has no 'colour'"),
        ({**DATA, "seconds": -1}, "", "a time is not negative"),
        ({**DATA, "seconds": True}, "seconds", "must be a number, not true"),
        ({**DATA, "colour": "blue"}, "colour", "'blue' is not a valid Colour"),
        ({**DATA, "leaves": {}}, "leaves", "must be a list, not {}"),
        ({**DATA, "leaves": [{}]}, "leaves[0]", "has no 'name'"),
        ({**DATA, "leaves": [3]}, "leaves[0]", "must be an object, not 3"),
        ({**DATA, "leaves": [{"name": "a", "size": "2"}]}, "leaves[0].size", 'must be a whole number or null, not "2"'),
        ({**DATA, "axes": {"x": {"0": "1"}}}, "axes.x.0", 'must be a whole number, not "1"'),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(data: Any, place: str, problem: str) -> None:
    """The keys that lead to it are the error's."""
    with pytest.raises(RecordError) as caught:
        Tree.from_json(data)
    assert (caught.value.place, caught.value.problem) == (place, problem)


def test_a_value_in_a_message_is_short() -> None:
    """Megabytes are no message."""
    assert shown("x" * 1000) == '"' + "x" * 79 + "…"


def test_values_that_json_lacks_become_text() -> None:
    """Whatever a target put there, and however deep."""
    deep: Any = []
    for _ in range(30):
        deep = [deep]
    assert jsonable({1: float("nan"), "s": {2, 1}, "o": Colour, "t": (1,)}) == {
        "1": "nan",
        "s": [1, 2],
        "o": "<enum 'Colour'>",
        "t": [1],
    }
    assert "…" in str(jsonable(deep))


def test_an_object_with_a_shape_is_a_number_or_a_description() -> None:
    """A 0-d array holds one value; of any other its shape is told."""

    class Array:
        def __init__(self, *shape: int) -> None:
            self.shape = shape

        def item(self) -> float:
            return 1.5

    assert jsonable(Array()) == 1.5
    assert jsonable(Array(2, 3)) == "Array (2, 3)"


def test_an_object_that_cannot_be_named_has_the_name_of_its_class() -> None:
    """Its own code may raise anything."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert jsonable(Broken()) == "<Broken>"
