"""What the gate does not find today: broken models of this corpus that it calls ok, or whose line it does not name first."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["KNOWN_MISSES"]

KNOWN_MISSES: Mapping[str, str] = {
    # Sizes
    "cache_chunk_mask4d": "the last axis of a mask follows from the past, and its axis before from the new tokens",
    "time_last_sqrt": "the last size taken as a float is held to be the width of attention",
    "tiled_above256": "an image on the other side of the threshold is too dear; the report says so",
    "pointers": "the inputs follow from each other by their values, not by their sizes",
    # Values
    "all_masked_additive": "no float is made minus infinity everywhere",
    "sums_to_one_traced": "no float is made to sum to one",
    "padding_side": "padding at the start is another deployment; a note says it",
    "step_above1000": "all integers are raised at once, and eager refuses the token ids",
    "zero_input": "the line of the norm is named, not that of the decision",
    # What is said of the sizes where the values are to blame
    "tokencount_branch": "twice the size holds the token twice as often: equal only where it does not occur",
    "parity_branch": "twice an odd sum is even",
    "maxcount_branch": "the number of what was selected is no decision that is watched",
    "emptysel_branch": "twice the selection has another length: equal only where nothing was selected",
    "kabsch_branch": "the determinant of a doubled matrix is zero but for rounding",
}
"""By the name of the case, why it is missed. A test fails when one of them is found: it is then taken out of here."""
