"""Any text as one that can be shown: whatever a model, a test or a target put into it."""

from __future__ import annotations

import re

__all__ = ["one_line", "printable"]

_MOST_OF_A_MESSAGE = 1000

# Controls, directional overrides (which make text read otherwise than it is), lone surrogates, noncharacters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def one_line(text: str, most: int = _MOST_OF_A_MESSAGE) -> str:
    """Any text as one printable line of about ``most`` characters; what cannot be printed as ``\\x1b`` or ``\\ud800``."""
    # Of megabytes no more is looked at than could be shown.
    head = text[: 4 * most]
    line = " ".join(head.split())
    shown = printable(line[:most])
    return shown if len(line) <= most and len(head) == len(text) else f"{shown} … ({len(text):,} characters)"


def printable(text: str) -> str:
    """Text without what could steer a terminal or break a file: each such character as an escape that shows it."""
    return _UNPRINTABLE.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
