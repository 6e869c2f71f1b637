"""What a probe is, and what the probes of a dim say of it."""

from __future__ import annotations

import pytest

from pytest_torchscript.probing.run import classify


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["equal", "equal"], "dynamic"),
        (["raises", "raises"], "fixed"),
        (["equal", "raises"], "partial"),
        (["equal", "wrong", "raises"], "unsafe"),
        (["wrong"], "unsafe"),
        (["outside", "outside"], "untested"),
        (["outside", "equal"], "dynamic"),
        (["outside", "raises"], "fixed"),
        ([], "untested"),
    ],
)
def test_a_dim_is_classified_by_its_probes(kinds: list[str], expected: str) -> None:
    """What is outside the model's domain does not count."""
    assert classify(dict(enumerate(kinds))) == expected
