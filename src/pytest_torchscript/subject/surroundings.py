"""What stands round a call in the process: autocast, the default dtype and the default device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

__all__ = ["Surroundings"]

_KINDS = ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The settings of the process by which torch chose dtypes and devices in a call.

    ``autocast`` gives the dtype by device type, for those in which autocast was on.
    """

    autocast: Mapping[str, torch.dtype] = field(default_factory=dict)
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def now(cls) -> Surroundings:
        """The settings at this moment, in this thread."""
        autocast = {kind: torch.get_autocast_dtype(kind) for kind in _KINDS if torch.is_autocast_enabled(kind)}
        return cls(autocast=autocast, dtype=torch.get_default_dtype(), device=torch.get_default_device())

    def __str__(self) -> str:
        """What is unusual about them, in words; empty where nothing is."""
        words = [f"autocast to {_name(dtype)} on {kind}" for kind, dtype in self.autocast.items()]
        if self.dtype != torch.float32:
            words.append(f"default dtype {_name(self.dtype)}")
        if self.device.type != "cpu":
            words.append(f"default device {self.device}")
        return ", ".join(words)

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Run the block under these settings, and put back those that were there."""
        now = Surroundings.now()
        with contextlib.ExitStack() as stack:
            for kind in {**now.autocast, **self.autocast}:
                if now.autocast.get(kind) != self.autocast.get(kind):
                    # Its cache would hand a cast weight to the tracer, which knows the weight alone.
                    dtype = self.autocast.get(kind)
                    stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=dtype is not None, cache_enabled=False))
            if now.dtype != self.dtype:
                torch.set_default_dtype(self.dtype)
                stack.callback(torch.set_default_dtype, now.dtype)
            if now.device != self.device:
                stack.enter_context(self.device)
            yield


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
