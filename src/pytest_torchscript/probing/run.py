"""A probe: the same inputs given to eager and to a program, and how their outputs compare.

The program may be a trace, an exported program, a package or a C++ process: it takes inputs by name, and gives
outputs nested as the model's own are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..cell import Cell
from ..nested import Mismatch, nan_free

__all__ = ["Probe", "classify", "give", "probe"]

Run = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Probe:
    """One other input: ``outside`` when eager itself refuses it, else ``equal``, ``raises`` or ``wrong``."""

    kind: str
    mismatches: tuple[Mismatch, ...] = ()
    error: BaseException | None = None


def give(inputs: Mapping[str, Any], *, eager: Run, program: Run, compare: Callable[[Any, Any], Sequence[Mismatch]]) -> Probe:
    """Run eager and the program on ``inputs`` and compare their outputs by ``compare(actual, expected)``."""
    try:
        expected = eager(inputs)
    except Exception as error:  # noqa: BLE001 - an input that eager refuses is outside the model's domain
        return Probe("outside", error=error)
    if not nan_free(expected):
        return Probe("outside", error=ArithmeticError("eager gives NaN"))
    try:
        actual = program(inputs)
    except Exception as error:  # noqa: BLE001 - an error of the program is the outcome `raises`
        return Probe("raises", error=error)
    mismatches = tuple(compare(actual, expected))
    if mismatches and compare(eager(inputs), expected):
        return Probe("outside", error=ArithmeticError("eager itself gives two answers"))
    return Probe("wrong" if mismatches else "equal", mismatches)


def probe(cell: Cell, program: Any, inputs: Mapping[str, Any], *, eager: Run | None = None) -> Probe:
    """Give the same other inputs to eager and to a traced program; ``eager`` runs the model in a way of its own."""
    return give(inputs, eager=eager or cell.eager, program=functools.partial(cell.scripted, program), compare=cell.compare)


def classify(kinds: Mapping[int, str]) -> str:
    """The class of a dim, from the kind of every probe: dynamic, fixed, partial, unsafe or untested."""
    seen = set(kinds.values()) - {"outside"}
    if not seen:
        return "untested"
    if "wrong" in seen:
        return "unsafe"
    if seen == {"equal"}:
        return "dynamic"
    return "fixed" if seen == {"raises"} else "partial"
