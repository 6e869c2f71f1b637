"""Names of gates in reports."""

from __future__ import annotations

import pytest

from pytest_torchscript.naming import default_id, slug
from pytest_torchscript.spec import parse_arguments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BERT_base-2", "BERT_base-2"),
        ("a.b/c::d[e f]", "a-b-c--d-e-f-"),
        ("größe", "gr--e"),
        ("a\n\x00\ud800b", "a---b"),
        ("", ""),
    ],
)
def test_a_slug_keeps_letters_digits_underscores_and_hyphens(text: str, expected: str) -> None:
    """Any other character becomes a hyphen, one for one."""
    assert slug(text) == expected


def test_the_default_id_is_the_node_id_without_dots() -> None:
    """A dot would make false packages in dashboards."""
    assert default_id("tests/test_head.py::TestHead::test_it[b2-s16]") == "tests-test_head-py--TestHead--test_it-b2-s16-"


def test_a_default_id_is_one_that_a_marker_may_give() -> None:
    """What the plugin makes up obeys its own rule."""
    name = default_id("tests/tëst.py::test[é.1]")
    assert parse_arguments((), {"id": name}) == {"id": name}
