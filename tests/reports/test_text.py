"""Any text as one that can be shown."""

from __future__ import annotations

from pytest_torchscript.reports.text import one_line, printable


def test_a_text_becomes_one_short_printable_line() -> None:
    """Lines are joined, escapes shown, and a long one says how long it was."""
    assert one_line("a\n  b\x1b\ud800") == "a b\\x1b\\ud800"
    assert one_line("x" * 50, 10) == "xxxxxxxxxx … (50 characters)"
    assert printable("a\tb") == "a\\x09b"
