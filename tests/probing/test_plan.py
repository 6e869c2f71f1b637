"""Which sizes are tried."""

from __future__ import annotations

import pytest

from pytest_torchscript.probing.plan import grid


@pytest.mark.parametrize(
    ("size", "limit", "sizes"),
    [
        (16, None, {7, 33, 1}),
        (2, None, {1, 5, 3}),
        (1, None, {3, 2}),
        (3, None, {7, 1, 4}),
        (4, None, {1, 9, 5}),
        (8, None, {3, 17, 1, 6}),
        (128, None, {63, 257, 1}),
        (15, None, {31, 1, 16}),
        (16, 20, {7, 19, 1}),
        (16, 17, {7, 17, 1}),
        (16, 16, {7, 1}),
        (2, 2, {1}),
        (1, 1, set()),
    ],
)
def test_the_grid_is_smaller_larger_one_and_odd(size: int, limit: int | None, sizes: set[int]) -> None:
    """Never the traced size, never zero, never beyond the limit."""
    found = grid(size, limit)
    assert sizes <= set(found)
    assert size not in found
    assert all(1 <= other <= (limit or other) for other in found)
    assert len(found) == len(set(found)) <= 5


@pytest.mark.parametrize("size", range(1, 200))
def test_the_grid_knows_both_parities(size: int) -> None:
    """A program for even sizes is found out at an odd one, and the other way round; one is no odd size like others."""
    found = grid(size)
    assert any(other % 2 != size % 2 for other in found if other > 1)
    assert max(found) > size
