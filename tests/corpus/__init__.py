"""Small models whose right verdict is known: healthy ones in the ways real code is written, and broken ones.

Every broken model is broken in one way, and its verdict is that of the first check to fail in the contract's order.
"""

from .broken import BROKEN
from .case import Case, SizedCase, guilty_places
from .healthy import HEALTHY
from .misses import KNOWN_MISSES
from .sizes import SIZES
from .unstable import UNSTABLE
from .values import VALUES
from .varying import VARYING

__all__ = [
    "BROKEN",
    "HEALTHY",
    "KNOWN_MISSES",
    "SIZES",
    "UNSTABLE",
    "VALUES",
    "VARYING",
    "Case",
    "SizedCase",
    "guilty_places",
]
