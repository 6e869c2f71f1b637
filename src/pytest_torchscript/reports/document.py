"""The one thing that every report is made of: the gates of a run, in what environment, and what is stale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..result import GateResult

__all__ = ["Document"]


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a report shows. :meth:`of` makes one; the order in which tests ran does not show in it.

    ``gates`` are the judged results, by id; each has its baseline state and, as ``reason``, what the baseline had to say of
    it. ``environment`` holds the versions of the run, ``stale`` what :func:`~pytest_torchscript.baseline.stale` found.
    """

    gates: tuple[GateResult, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    stale: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, gates: Iterable[GateResult], environment: Mapping[str, Any] | None = None, stale: Iterable[str] = ()
    ) -> Document:
        """A document of gates in any order."""
        return cls(
            gates=tuple(sorted(gates, key=lambda gate: (gate.id, gate.nodeid))),
            environment=dict(sorted((environment or {}).items())),
            stale=tuple(sorted(set(stale))),
        )
