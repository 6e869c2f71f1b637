"""The checks of a cell, one small class a file, in the order in which they run."""

from __future__ import annotations

from .base import Check, Evidence, Found
from .device import Device
from .eager import Eager
from .equivalence import Equivalence
from .padding import Padding
from .purity import Purity
from .roundtrip import RoundTrip
from .shapes import Shapes
from .trace import Trace
from .values import Values
from .weights import Weights

__all__ = ["ALL", "Check", "Evidence", "Found"]

ALL: tuple[Check, ...] = (
    Eager(),
    Trace(),
    Equivalence(),
    Values(),
    Shapes(),
    Padding(),
    RoundTrip(),
    Weights(),
    Purity(),
    Device(),
)
