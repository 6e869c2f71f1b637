"""Small models whose right verdict is known: healthy ones in the ways real code is written, and broken ones.

Every broken model is broken in one way, and its verdict is that of the first check to fail in the contract's order.
"""

from .broken import BROKEN
from .case import Case, guilty_places
from .healthy import HEALTHY

__all__ = ["BROKEN", "HEALTHY", "Case", "guilty_places"]
