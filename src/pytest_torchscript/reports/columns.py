"""Tables of text: columns below each other, within a number of characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

from .text import printable

__all__ = ["Row", "laid_out", "shortened", "shortened_in_the_middle"]

Row = tuple[Sequence[str], "bool | None"]
"""The cells of a row, and whether it is a good one (None: neither)."""

_GAP = "  "
_MARK = "…"


def _width(text: str) -> int:
    """How many places of a terminal a text takes: Chinese signs take two, combining ones none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    return len(text) + wide - sum(unicodedata.combining(sign) > 0 for sign in text)


def _head(text: str, most: int) -> str:
    """The longest beginning that takes at most ``most`` places."""
    cut = text[: max(most, 0)]
    while cut and _width(cut) > most:
        cut = cut[:-1]
    return cut


def shortened(text: str, most: int) -> str:
    """A text of at most ``most`` places; what is left out, at its end, is a ``…``."""
    return text if _width(text) <= most else _head(text, most - 1).rstrip() + _MARK


def shortened_in_the_middle(text: str, most: int) -> str:
    """As :func:`shortened`, for names: they often begin alike, so that more of the end is kept than of the beginning."""
    if _width(text) <= most:
        return text
    head = _head(text, (most - 1) // 3)
    tail = _head(text[::-1], most - 1 - _width(head))[::-1]
    return f"{head}{_MARK}{tail}"


def laid_out(
    rows: Sequence[Row],
    width: int,
    room: Sequence[tuple[int, int]],
    *,
    names: Collection[int] = (0,),
    numbers: int | None = None,
) -> list[tuple[str, bool | None]]:
    """The rows as lines of at most ``width`` places.

    Where they are wider, columns give way in the order of ``room``: each entry is a column and the least width that it
    then keeps. Only where nothing more can give way is a line longer.

    Args:
        rows: all of one length; the first is the headline.
        width: the places of the terminal.
        room: columns and their least widths, in the order in which they give way; a column may come several times.
        names: the columns of names and of what ends with a place: they are shortened in the middle.
        numbers: the column that is set to the right.
    """
    shown = [([printable(cell) for cell in cells], good) for cells, good in rows]
    widths = [max(_width(cells[column]) for cells, _ in shown) for column in range(len(shown[0][0]))]
    for column, least in room:
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
        widths[column] -= max(0, min(excess, widths[column] - least))
    lines = []
    for cells, good in shown:
        texts = []
        for column, (cell, most) in enumerate(zip(cells, widths, strict=True)):
            text = shortened_in_the_middle(cell, most) if column in names else shortened(cell, most)
            space = " " * (most - _width(text))
            texts.append(space + text if column == numbers else text + space)
        lines.append((_GAP.join(texts).rstrip(), good))
    return lines
