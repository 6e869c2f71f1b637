"""Reading configs: sizes and token ids, in nested configs first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

__all__ = ["kind", "places", "size", "value"]


def places(config: object, parts: Sequence[str]) -> tuple[object, ...]:
    """The nested configs of these names, innermost meaning first, then the config itself.

    What the outer config of several towers says belongs to none of them, and that of an encoder-decoder made of two whole
    models says nothing.
    """
    nested = (getattr(config, part, None) for part in parts)
    return (*(place for place in nested if hasattr(place, "model_type")), config)


def value(places: Sequence[object], name: str) -> Any:
    """The first value of this name that is not None."""
    return next((found for place in places if (found := getattr(place, name, None)) is not None), None)


def size(places: Sequence[object], *names: str) -> int | None:
    """The first of `names` that is a positive whole number; the place counts before the name."""
    for place, name in itertools.product(places, names):
        found = getattr(place, name, None)
        if isinstance(found, int) and not isinstance(found, bool) and found > 0:
            return found
    return None


def kind(config: object) -> str:
    """What a message calls a config."""
    return type(config).__name__
