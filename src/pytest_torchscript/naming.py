"""Names in reports and records: stable from run to run, unique, and without dots. Standard library only."""

from __future__ import annotations

import re

__all__ = ["DEFAULT_BASELINE", "DEFAULT_TARGET", "cell_label", "cell_name", "cell_parts", "default_id", "slug"]

DEFAULT_BASELINE = "torchscript-baseline.json"
"""The baseline's name at the root directory."""

DEFAULT_TARGET = "torchscript"
"""The target of a marker that names none. The checks of the trace are its proof: it has no artefact of its own."""

_CELL = re.compile(r"(?P<target>.*?)(?:\[(?:b(?P<batch>\d+))?,?(?:s(?P<seq>\d+))?\])?", re.DOTALL)


def slug(text: str) -> str:
    """``text`` with every character that is no letter, digit, ``_`` or ``-`` as ``-``."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)


def default_id(nodeid: str) -> str:
    """The id of a gate without an ``id`` argument: its node id, made safe for dashboards."""
    return slug(nodeid)


def _sizes(batch_size: int | None, seq_len: int | None) -> list[str]:
    """The sizes that the inputs have: a size that they do not have is left out of every name."""
    return [f"{letter}{size}" for letter, size in (("b", batch_size), ("s", seq_len)) if size is not None]


def cell_name(target: str, batch_size: int | None, seq_len: int | None) -> str:
    """A cell as baselines and JUnit name it: ``torchscript[b2,s16]``."""
    sizes = _sizes(batch_size, seq_len)
    return f"{target}[{','.join(sizes)}]" if sizes else target


def cell_label(target: str, batch_size: int | None, seq_len: int | None) -> str:
    """A cell as a person reads it: ``torchscript b2 s16``; with an empty ``target``, its sizes alone."""
    return " ".join([*([target] if target else []), *_sizes(batch_size, seq_len)])


def cell_parts(name: str) -> tuple[str, str | None, str | None]:
    """The target, the batch size and the sequence length in what :func:`cell_name` gave."""
    match = _CELL.fullmatch(name)
    assert match is not None  # the target alone matches anything
    return match["target"], match["batch"], match["seq"]
