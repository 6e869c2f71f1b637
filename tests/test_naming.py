"""Names of gates and cells in reports."""

from __future__ import annotations

import pytest

from pytest_torchscript.naming import cell_name, cell_parts, default_id, slug
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


CELLS = [
    ((2, 16), "torchscript[b2,s16]"),
    ((2, None), "torchscript[b2]"),
    ((None, 16), "torchscript[s16]"),
    ((None, None), "torchscript"),
]


@pytest.mark.parametrize(("sizes", "name"), CELLS)
def test_a_cell_is_named_by_its_target_and_sizes(sizes: tuple[int | None, int | None], name: str) -> None:
    """A size that the inputs do not have is left out, and empty brackets are too."""
    assert cell_name("torchscript", *sizes) == name


@pytest.mark.parametrize(("sizes", "name"), CELLS)
def test_the_parts_of_a_cell_are_read_from_its_name(sizes: tuple[int | None, int | None], name: str) -> None:
    """A baseline holds names alone, and is compared by target and sizes."""
    assert cell_parts(name) == ("torchscript", *(None if size is None else str(size) for size in sizes))


def test_a_name_of_another_form_is_a_target() -> None:
    """A person may have written it."""
    assert cell_parts("a[b]\n") == ("a[b]\n", None, None)
