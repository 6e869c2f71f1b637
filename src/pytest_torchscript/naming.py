"""Names of gates in reports: stable from run to run, unique, and without dots. Standard library only."""

from __future__ import annotations

import re

__all__ = ["DEFAULT_BASELINE", "default_id", "slug"]

DEFAULT_BASELINE = "torchscript-baseline.json"
"""The baseline's name at the root directory."""


def slug(text: str) -> str:
    """``text`` with every character that is no letter, digit, ``_`` or ``-`` as ``-``."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)


def default_id(nodeid: str) -> str:
    """The id of a gate without an ``id`` argument: its node id, made safe for dashboards."""
    return slug(nodeid)
