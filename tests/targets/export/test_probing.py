"""The sizes that `export` tries, and the class of a dim from what they show."""

from __future__ import annotations

import pytest

from pytest_torchscript.targets.export.probing import classify, sizes_to_try


@pytest.mark.parametrize(
    ("size", "limit", "sizes"),
    [(6, None, [3, 13, 1, 7, 12]), (1, None, [3, 2]), (2, None, [1, 5, 3, 4]), (6, 8, [3, 1, 7]), (2, 2, [1])],
)
def test_sizes_around_the_exported_one_are_tried(size: int, limit: int | None, sizes: list[int]) -> None:
    """None twice, not the exported size itself, none beyond the limit."""
    assert sizes_to_try(size, limit) == sizes


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        ({3: "equal", 13: "equal"}, "dynamic"),
        ({3: "raises", 13: "raises"}, "fixed"),
        ({3: "equal", 13: "raises"}, "partial"),
        ({3: "equal", 13: "raises", 1: "wrong"}, "unsafe"),
        ({3: "equal", 1: "outside"}, "dynamic"),
        ({3: "outside", 1: "outside"}, "untested"),
        ({}, "untested"),
    ],
)
def test_a_dim_is_classified_by_what_its_probes_show(kinds: dict[int, str], found: str) -> None:
    """A wrong answer outweighs all others; sizes that eager refuses do not count."""
    assert classify(kinds) == found
