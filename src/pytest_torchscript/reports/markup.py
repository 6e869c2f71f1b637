"""Markdown that shows just the text that it is given, on pages of limited size.

Whatever a model or a test put into a name or a message stays text: it cannot open a table cell, a code span, HTML, a
mention or a link. Long texts are cut one by one, and a page that is still too long is cut by entries and says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .text import one_line

__all__ = ["MOST_OF_A_NAME", "Page", "code", "prose", "row", "table_head"]

_MOST_OF_A_MESSAGE = 1000
MOST_OF_A_NAME = 200
# Room for the line that says what was cut.
_NOTICE = 400

_SPECIAL = re.compile(r"[\\`*_\[\]<>|~#&$]")
# Mentions, issue numbers, mail addresses, and what GitHub makes a link by itself.
_REFERENCE = re.compile(r"[@#](?=\S)|(?:https?|ftp)(?=://)|www(?=\.)|(?:mailto|xmpp)(?=:)", re.IGNORECASE)


def prose(text: str, most: int = _MOST_OF_A_MESSAGE) -> str:
    """Text as Markdown that shows just that text, in a table as well; never at the beginning of a line."""
    escaped = _SPECIAL.sub(r"\\\g<0>", one_line(text, most))
    # An empty comment keeps GitHub from notifying whoever is called like a decorator, and from linking what is escaped.
    return _REFERENCE.sub(r"\g<0><!-- -->", escaped)


def code(text: str, most: int = MOST_OF_A_NAME) -> str:
    """Text as code, in a table as well."""
    line = one_line(text, most)
    # A code span cannot hold every text: backticks end it, and a pipe ends the table cell around it.
    return f"<code>{prose(text, most)}</code>" if "`" in line or "|" in line or not line else f"`{line}`"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "backslashreplace"))


def _fitting(blocks: Iterable[str], budget: int) -> tuple[list[str], int]:
    """The first blocks that fit into ``budget`` bytes, and how many are left."""
    kept: list[str] = []
    left = 0
    for block in blocks:
        size = _size(block) + 1
        if left or size > budget:
            left += 1
        else:
            budget -= size
            kept.append(block)
    return kept, left


class Page:
    """A heading and sections, each of a title and of blocks, within a number of bytes."""

    def __init__(self, heading: Sequence[str], limit: int) -> None:
        self._heading = "\n".join(heading)
        self._limit = limit
        self._room = limit - _size(self._heading) - _NOTICE
        self._parts: list[str] = []
        self._cut: list[str] = []

    def section(
        self, title: Sequence[str], blocks: Sequence[str], what: str, share: float = 1.0, *, fold: str | None = None
    ) -> None:
        """Add a section; it takes at most ``share`` of the room that is left. ``what`` the blocks are, in the plural.

        With ``fold``, it is folded, and those words are what is seen of it.
        """
        if not blocks:
            return
        if fold:
            title = [f"<details><summary>{prose(fold)}</summary>", "", *title]
        head = "\n".join(title)
        kept, left = _fitting(blocks, int(self._room * share) - _size(head) - 20)
        if left:
            self._cut.append(f"{left:,} of {len(blocks):,} {what}")
        if kept:
            part = "\n".join(["", head, *kept, *(["", "</details>"] if fold else []), ""])
            self._room -= _size(part)
            self._parts.append(part)

    def text(self) -> str:
        lines = [self._heading, ""]
        if self._cut:
            lines += [f"**Cut to stay below {self._limit // 1000:,} kB:** {'; '.join(self._cut)}. The JSON report has all.", ""]
        text = "\n".join(lines) + "".join(self._parts)
        # A limit so low that not even the heading fits is still one.
        return text.encode("utf-8", "backslashreplace")[: max(self._limit, 0)].decode("utf-8", "ignore")


def row(cells: Iterable[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def table_head(names: Sequence[str]) -> list[str]:
    """The lines above the rows of a table."""
    return [row(names), row(["---"] * len(names))]
