"""Columns within a width: what gives way first, and how texts are shortened."""

from __future__ import annotations

import pytest

from pytest_torchscript.reports.columns import Row, laid_out, shortened, shortened_in_the_middle

ROWS: list[Row] = [(("name", "why", "n"), None), (("tests-test_bert", "a long reason for it", "10"), True)]


def test_a_table_that_fits_is_as_wide_as_its_texts() -> None:
    """The column of numbers is set to the right."""
    assert laid_out(ROWS, 80, [(1, 5)], numbers=2) == [
        ("name             why                    n", None),
        ("tests-test_bert  a long reason for it  10", True),
    ]


def test_columns_give_way_in_the_order_that_is_asked_for() -> None:
    """One to its least width, then the next; then the first again, if it comes again."""
    assert laid_out(ROWS, 34, [(1, 8), (0, 8)])[1][0] == "tests-test_bert  a long reaso…  10"
    assert laid_out(ROWS, 25, [(1, 8), (0, 8)])[1][0] == "tes…st_bert  a long…   10"
    assert laid_out(ROWS, 20, [(1, 8), (0, 8), (1, 6)])[1][0] == "te…_bert  a lon…  10"


def test_where_nothing_can_give_way_the_line_is_longer() -> None:
    """No text is lost without need."""
    assert laid_out(ROWS, 10, [])[1][0] == "tests-test_bert  a long reason for it  10"


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("ab cd", 4, "ab…"), ("数模型", 5, "数模…"), ("abc", 0, "…"), ("", 0, "")],
)
def test_a_text_is_shortened_at_its_end(text: str, most: int, expected: str) -> None:
    """By places of the terminal, of which Chinese signs take two."""
    assert shortened(text, most) == expected


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [("abcdefghij", 10, "abcdefghij"), ("abcdefghij", 7, "ab…ghij"), ("数模型数模型", 6, "…模型"), ("abc", 1, "…")],
)
def test_a_name_is_shortened_in_the_middle(text: str, most: int, expected: str) -> None:
    """More of its end is kept."""
    assert shortened_in_the_middle(text, most) == expected
