"""Declaring a private name, and testing that it is there and does what is expected of it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from ...errors import Unavailable

__all__ = ["EXPORT", "GATE", "OBSERVER", "Name", "is_ours", "private", "verify"]

GATE, OBSERVER, EXPORT = "the gate", "the observer of a test", "the export target"


@dataclass(frozen=True, kw_only=True)
class Name:
    """A private name: who needs it to do what, the public way that it replaces, and the first torch it was seen in.

    ``test`` uses the name as the package does; it fails when it raises or gives False. ``at`` is where the name is looked
    up, if that is not the name itself.
    """

    name: str
    by: str
    purpose: str
    instead: str
    since: tuple[int, int]
    at: str
    test: Callable[[], bool]


def private(
    name: str, purpose: str, instead: str, *, by: str = GATE, since: tuple[int, int] = (2, 4), at: str = ""
) -> Callable[[Callable[[], bool]], Name]:
    """Declare a name by its test, which becomes the declaration."""
    return lambda test: Name(name=name, by=by, purpose=purpose, instead=instead, since=since, at=at or name, test=test)


def is_ours(method: Any) -> bool:
    """Whether a method of this package stands in the place of torch's own, which was tested before."""
    return str(getattr(method, "__module__", "")).partition(".")[0] == __name__.partition(".")[0]


def verify(entry: Name) -> None:
    """Test a name; one that was tested and is the same object is not tested again.

    Raises:
        Unavailable: it is missing, or behaves otherwise.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) >= entry.since:
        _tested(entry, id(_found(entry)))


def _found(entry: Name) -> Any:
    found: Any = torch
    try:
        for part in entry.at.split(".")[1:]:
            if isinstance(found, ModuleType) and not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)
    except (AttributeError, ImportError):
        raise _unavailable(entry, f"lacks {entry.name}") from None
    return found


# By identity: who breaks a name on purpose, or repairs it, has it tested again. A failure is not remembered.
@functools.lru_cache(maxsize=256)
def _tested(entry: Name, identity: int) -> None:
    # In a thread of its own: a trace that failed in this one may have left what the next one there dies of.
    with ThreadPoolExecutor(max_workers=1) as pool:
        try:
            reason = "" if pool.submit(entry.test).result() else "it gives something else"
        except Exception as error:  # noqa: BLE001 - whatever a changed name raises
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
    if reason:
        raise _unavailable(entry, f"has another {entry.name}", f" ({reason})")


def _unavailable(entry: Name, how: str, reason: str = "") -> Unavailable:
    return Unavailable(
        f"this torch ({torch.__version__}) {how}, which {entry.by} needs to {entry.purpose}{reason}: "
        "use another version of torch, and report this one to pytest-torchscript",
        name=entry.name,
        version=str(torch.__version__),
    )
