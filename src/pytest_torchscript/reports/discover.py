"""What ``--torchscript-discover`` found: which unmarked tests could carry the marker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from .columns import Row, laid_out
from .terminal import WIDTH, Line

__all__ = ["Discovered", "conftest", "entries", "listing"]

# Columns by number with the widths that they keep when a terminal is narrow: the first gives way first.
_ROOM = ((4, 40), (1, 50), (4, 24), (0, 24), (1, 30), (2, 16), (4, 12), (0, 12), (1, 16))


@dataclass(frozen=True, kw_only=True)
class Discovered:
    """One model in one unmarked test, and what a gate would say of it.

    ``seconds`` is what the gate took, ``place`` the line of its failure (``src/head.py:41``); ``arguments`` are those that
    the marker has to have, with their parentheses.
    """

    nodeid: str
    model: str
    verdict: str
    passes: bool
    seconds: float = 0.0
    place: str = ""
    arguments: str = ""


def entries(found: Iterable[Mapping[str, Any]]) -> list[Discovered]:
    """What the processes that ran the tests found, in one order."""
    return sorted((Discovered(**entry) for entry in found), key=lambda entry: (entry.nodeid, entry.model))


def listing(found: Sequence[Discovered], width: int = WIDTH) -> list[Line]:
    """One table of at most ``width`` places, by model class; parameter sets that differ in nothing share a row."""
    if not found:
        return [("no unmarked test that passed called an nn.Module with a tensor: nothing to mark", None)]
    rows: list[Row] = [(("model", "test", "verdict", "seconds", "at"), None)]
    shown = ""
    for (model, test, verdict, place), alike in groupby(sorted(found, key=_row), _row):
        sets = list(alike)
        name = f"{test}[{len(sets)} sets]" if len(sets) > 1 else sets[0].nodeid
        seconds = f"{sum(entry.seconds for entry in sets):.2f}"
        rows.append(((model if model != shown else "", name, verdict, seconds, place or "-"), sets[0].passes))
        shown = model
    tests = {entry.nodeid for entry in found}
    good = tests - {entry.nodeid for entry in found if not entry.passes}
    summary = f"{len(tests)} tests could carry the marker; {len(good)} would pass today"
    return [*laid_out(rows, width, _ROOM, names=(0, 1, 4), numbers=3), (summary, None)]


def _row(entry: Discovered) -> tuple[str, str, str, str]:
    return entry.model, entry.nodeid.partition("[")[0], entry.verdict, entry.place


def conftest(found: Sequence[Discovered], *, bare: bool = True) -> str:
    """A conftest that marks these tests, each parameter set by itself; no test is edited.

    Without ``bare``, a marker without arguments would be a plain label: it then names its target.
    """
    verdicts: dict[str, list[str]] = {}
    for entry in found:
        verdicts.setdefault(entry.nodeid, []).extend([] if entry.passes else [entry.verdict])
    arguments = next((entry.arguments for entry in found), "") or ("" if bare else '(target="torchscript")')
    marked = []
    for nodeid, failing in verdicts.items():
        note = f"  # today: {', '.join(dict.fromkeys(failing))}" if failing else ""
        marked.append(f"    {nodeid!r},{note}")
    return "\n".join(
        [
            "import pytest",
            "",
            "# Found by pytest --torchscript-discover-write.",
            "GATED = {",
            *marked,
            "}",
            "",
            "",
            "def pytest_collection_modifyitems(items):",
            "    for item in items:",
            "        if item.nodeid in GATED:",
            f"            item.add_marker(pytest.mark.torchscript{arguments})",
            "",
        ]
    )
