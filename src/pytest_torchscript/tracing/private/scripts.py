"""Script modules: who made their parts, and a copy of one that holds other tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from .declaring import private

__all__ = ["is_one_trace", "with_tensors"]


def is_one_trace(program: Any) -> bool:
    """Whether one trace made every part of a program; a part that was scripted or traced before is the user's own object."""
    return all(type(part) is torch.jit._trace.TracedModule for name, part in program.named_modules() if name)


@private("torch.jit._trace.TracedModule", "leave a script module of the user's inside a model as it is", "none")
def _tell_parts() -> bool:
    return isinstance(torch.jit._trace.TracedModule, type) and issubclass(torch.jit._trace.TracedModule, torch.jit.ScriptModule)


def with_tensors(program: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """A copy of a traced program, which can be saved, with other tensors under the given names.

    Code, constants and all other tensors are shared with ``program``, which is not changed, for a moment either: its
    parameters are those of the user's model. It must be the work of one trace: a part under two names would become two.
    """
    copies: dict[str, Any] = {}
    for path, part in program.named_modules():
        copies[path] = copy.copy(part._c)
        if path:
            owner, _, name = path.rpartition(".")
            copies[owner].setattr(name, copies[path])
    for path, tensor in tensors.items():
        owner, _, name = path.rpartition(".")
        copies[owner].setattr(name, tensor)
    return copies[""]


_STOOD_IN = "save a program without the bytes of its large weights"


def _copied() -> bool:
    kind: Any = torch._C.ScriptModule
    part = kind("__torch__.Part", torch.jit.CompilationUnit(), True)
    part._register_attribute("weight", torch._C.TensorType.get(), torch.ones(2, device="cpu"))
    copied = copy.copy(part)
    copied.setattr("weight", torch.zeros(3, device="cpu"))
    return isinstance(copied, kind) and [len(each.getattr("weight")) for each in (part, copied)] == [2, 3]


_copy = private("torch._C.ScriptModule.__copy__", _STOOD_IN, "copy.copy of a ScriptModule, dear for many parts")(_copied)
_set = private("torch._C.ScriptObject.setattr", _STOOD_IN, "setattr of a ScriptModule, which the copy is not")(_copied)
