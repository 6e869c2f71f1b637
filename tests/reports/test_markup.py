"""Text as Markdown that shows just that text."""

from __future__ import annotations

from pytest_torchscript.reports.markup import code, prose
from pytest_torchscript.reports.text import one_line


def test_a_text_becomes_one_printable_line() -> None:
    """What cannot be printed is shown as an escape, and line breaks as spaces."""
    assert one_line("a\r\n\tb\x00\x1b\ud800\u202e\ufffe ü☃ ") == "a b\\x00\\x1b\\ud800\\u202e\\ufffe ü☃"


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    """Megabytes cost no more than what is shown of them."""
    text = one_line("x" * 5_000_000)
    assert text == "x" * 1000 + " … (5,000,000 characters)"
    assert one_line(" " * 5_000_000 + "x") == " … (5,000,001 characters)"


def test_markdown_in_a_text_is_text() -> None:
    """Every sign that Markdown, GitHub's mathematics or HTML know is escaped; mentions and references are broken."""
    assert prose("a|b `c` <d> *e* _f_ [g] $h$ ~i~ \\ &lt; # j") == (
        "a\\|b \\`c\\` \\<d\\> \\*e\\* \\_f\\_ \\[g\\] \\$h\\$ \\~i\\~ \\\\ \\&lt; \\# j"
    )
    assert prose("@torch.jit #12") == "@<!-- -->torch.jit \\#<!-- -->12"
    assert prose("https://x.y/a_b www.x.y") == "https<!-- -->://x.y/a\\_b www<!-- -->.x.y"


def test_code_is_a_span_where_a_span_can_hold_it() -> None:
    """Backticks would end it, and pipes the table cell around it."""
    assert code("x[0] < 1") == "`x[0] < 1`"
    assert code("a | b") == "<code>a \\| b</code>"
    assert code("`") == "<code>\\`</code>"
    assert code("") == "<code></code>"
