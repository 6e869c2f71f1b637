"""The line of an operation that TorchScript has no form of."""

from __future__ import annotations

import re

import torch

from .. import source
from ..subject.call import Call
from ..tracing.refused import nodes_before_refusal

__all__ = ["refused_operation"]

# torch checks the operations once the forward has returned; its error names the operation and the types of its operands.
_NO_OVERLOAD = re.compile(r"We don't have an op for (?P<kind>[\w:]+) .*?Argument types: (?P<types>[^\n]*)")


def refused_operation(model: torch.nn.Module, call: Call, error_text: str) -> source.Line | None:
    """The line that calls the operation named in torch's error; None where the error is another one, or no line is known.

    The error may come from the trace, or from a program that was traced and refuses to run or to be loaded. Of several calls
    of the operation it is the first whose operands have the types that the error names; where none has them, of several none
    is named: a number may be recorded as a tensor.
    """
    match = _NO_OVERLOAD.search(error_text)
    if match is None:
        return None
    nodes = [node for node in nodes_before_refusal(model, call, match["kind"]) if node.line is not None]
    types = tuple(name for name in re.split(r",\s*", match["types"].strip()) if name)
    fitting = [node for node in nodes if node.types == types] or (nodes if len({node.line for node in nodes}) == 1 else [])
    return fitting[0].line if fitting else None
