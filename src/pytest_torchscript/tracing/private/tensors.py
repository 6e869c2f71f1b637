"""Tensors and modules: what they keep, and how they are called, compared and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .declaring import OBSERVER, is_ours, private

__all__ = [
    "BUFFERS",
    "PARAMETERS",
    "REGISTRIES",
    "buffers_of",
    "default_tolerances",
    "flop_counter",
    "has_hooks",
    "module_calls",
    "version_of",
]


def version_of(tensor: torch.Tensor) -> int:
    """How often a tensor was written into; -1 for one that was made under inference mode, which keeps no count."""
    return -1 if tensor.is_inference() else tensor._version


@private("torch.Tensor._version", "see which tensors a call writes into", "a comparison of all their values")
def _count_writes() -> bool:
    tensor = torch.zeros(1, device="cpu")
    before = version_of(tensor)
    tensor.add_(1)
    return version_of(tensor) == before + 1


PARAMETERS, BUFFERS = "_parameters", "_buffers"
REGISTRIES = (PARAMETERS, BUFFERS, "_modules")
"""The attributes in which a module keeps what belongs to it, by name; entries may be None."""


def buffers_of(module: torch.nn.Module) -> dict[str, torch.Tensor | None]:
    """A module's own buffers as it keeps them, None included, which ``named_buffers`` leaves out."""
    return module._buffers


def has_hooks(module: torch.nn.Module) -> bool:
    """Whether anything is called before or after a module's forward, with the arguments of that."""
    return bool(module._forward_pre_hooks or module._forward_hooks)


@private("torch.nn.Module._buffers", "see what a call registers", "named_buffers, without None", at="torch.nn.Module")
def _keep_registries() -> bool:
    module = torch.nn.Module()
    module.register_buffer("table", None)
    hooked = [has_hooks(module)]
    module.register_forward_pre_hook(lambda *_: None)
    hooked.append(has_hooks(module))
    return (
        hooked == [False, True]
        and all(isinstance(vars(module)[name], dict) for name in REGISTRIES)
        and buffers_of(module) == {"table": None}
    )


@contextmanager
def module_calls(replaced: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """While open, every call of a module goes to what ``replaced`` makes of torch's own ``(module, *args, **kwargs)``.

    ``__call__`` itself is left alone: a test may replace it until its teardown, and would put ours back then.
    """
    call = torch.nn.Module._call_impl
    torch.nn.Module._call_impl = replaced(call)  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.nn.Module._call_impl = call  # type: ignore[method-assign]


@private(
    "torch.nn.Module._call_impl",
    "see which models the test calls",
    "a global forward pre-hook, which does not see keyword arguments",
    by=OBSERVER,
)
def _see_calls() -> bool:
    seen: list[Any] = []

    def replaced(call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(module: Any, *args: Any, **kwargs: Any) -> Any:
            result = call(module, *args, **kwargs)
            if module is identity:
                seen.append((args, kwargs, result))
            return result

        return calling

    if is_ours(torch.nn.Module._call_impl):
        # The call below would be seen by the observer that is at work.
        return True
    identity = torch.nn.Identity()
    with module_calls(replaced):
        identity(1)
        identity(input=2)
    return seen == [((1,), {}, 1), ((), {"input": 2}, 2)]


def default_tolerances(dtype: torch.dtype) -> tuple[float, float]:
    """``(rtol, atol)`` of :func:`torch.testing.assert_close` for a dtype."""
    from torch.testing import _comparison

    return _comparison.default_tolerances(dtype)


@private("torch.testing._comparison.default_tolerances", "compare as torch.testing.assert_close does", "its table in words")
def _tolerances() -> bool:
    return [type(number) for number in default_tolerances(torch.float32)] == [float, float]


def flop_counter() -> Any:
    """torch's counter of floating-point operations, a context manager."""
    from torch.utils import flop_counter as counters

    return counters.FlopCounterMode(display=False)


@private("torch.utils.flop_counter.FlopCounterMode", "count operations", "none", by="a budget of operations (max_flops)")
def _count_flops() -> bool:
    with flop_counter() as counter:
        torch.ones(2, 3, device="cpu") @ torch.ones(3, 4, device="cpu")
    return (counter.get_total_flops(), sum(counter.get_flop_counts()["Global"].values())) == (48, 48)
