"""torch's refusals of a model, reduced to a cause, a line and a remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ... import source
from ..base import Unsupported
from ..deployment import Deployment
from ..tools import root_cause
from .recording import scripted_part

__all__ = ["KEEP", "reason_of", "refusal"]

_REFUSED = "torch.export refuses the model: "
KEEP = "keep the size in the graph: x.shape[i] without int(), len(), a Python loop or a comparison with a constant"
# A pattern of torch's error; the kind of refusal, its cause and its remedy. The first pattern that matches counts.
_KNOWN: tuple[tuple[str, str, str, str], ...] = (
    (
        r"Could not (guard on|extract).*Size-like symbols: (?!none)",
        "data-dependent size",
        "Python code depends on a size that the tensor's values decide (nonzero, a boolean index)",
        "keep the shape: torch.where or a mask instead of an index; or state what holds of the size by torch._check",
    ),
    (
        r"fake tensor in the exported program constant's list|FakeTensor.*(leak|constant)",
        "leaked tensor",
        "a tensor of the forward stays outside the graph: a gradient taken inside, .data, or an attribute that keeps it",
        "return the tensor instead of keeping it; leave gradients and writes through .data to the caller",
    ),
    (
        r"^SyntaxError",
        "name",
        "its code cannot be generated, most likely for a submodule, parameter or input whose name is a Python keyword",
        "rename it",
    ),
    (
        r"got FakeTensor",
        "tensor as a number",
        "a tensor's value becomes a Python number, on which torch.export cannot decide",
        "keep it a tensor; a size or a bound must come from x.shape or be a constant",
    ),
    (
        r"Could not (guard on|extract)|DataDependentOutput|data-dependent",
        "data-dependent branch",
        "a Python branch depends on the tensor's values",
        "replace the Python branch by torch.where or torch.cond",
    ),
    (
        r"\.numpy\(\) is not supported|can't convert.*numpy|__array__",
        "NumPy",
        "a tensor goes to NumPy, which leaves the graph",
        "stay with torch's operations, or wrap the NumPy code in torch.library.custom_op with a fake implementation",
    ),
    (
        r"Cannot access data pointer|data_ptr",
        "data pointer",
        "the forward reads a tensor's memory, and torch.export runs it on tensors that have none",
        "wrap the kernel in torch.library.custom_op with a fake implementation",
    ),
    (
        r"no fake impl|register_fake|does not have a fake|Unable to find .*fake|Operator does not support running with fake",
        "custom operator",
        "a custom operator has no fake implementation, which would tell torch.export its output's shape",
        "register one with torch.library.register_fake",
    ),
    (
        r"in output, which is not a known type|Unsupported output type|output.*not.*pytree",
        "output type",
        "the model returns an object that torch.export does not know",
        "return tensors in tuples, lists or dicts, or register the class by torch.export.register_dataclass",
    ),
    (
        r"Unsupported input type|Cannot associate shape .* to non-tensor type",
        "input type",
        "the model takes an object that torch.export does not know",
        "pass tensors in tuples, lists or dicts, or register the class by torch.utils._pytree.register_pytree_node",
    ),
    (
        r"Constraints? violated|specialized it to be a constant|must always be equal",
        "specialised size",
        "a size declared dynamic is a constant in the forward, or must equal another",
        KEEP,
    ),
    (
        r"\bSymInt\b(?!\[)|KeyError: 's\d+'",
        "size as a Python value",
        "a size must be a plain int for the forward (a key, a type test), which a dynamic one is not",
        KEEP,
    ),
)
_CLASS = r"<class '([^']+)'>"
# Kinds whose error names what is refused.
_NAMED: Mapping[str, str] = {"output type": _CLASS, "input type": _CLASS, "custom operator": r"CustomOpDef\(([^)]+)\)"}
_TO_NUMBER = re.compile(r"\.item\(|\.tolist\(|\b(int|float|bool)\(")
_ADVICE = re.compile(
    r"\s*(For more information|The error above occurred|If you would like|See https?:|If you're using|Caused by:).*", re.DOTALL
)


def refusal(deployment: Deployment, error: Exception) -> Unsupported:
    """torch's error, reduced to cause, line and remedy; ``metrics["refusal"]`` gets its kind."""
    text = f"{type(error).__name__}: {error}"
    line = source.innermost(source.traceback_frames(error.__traceback__)) or source.innermost(source.parse_stack(text))
    kind, cause, hint = _known(text, line) or _scripted(deployment) or _other(error)
    if kind == "output type":
        line = deployment.returned_at()
    deployment.metrics["refusal"] = kind
    return Unsupported(f"{_REFUSED}{cause}", line=line, hint=hint)


def _known(text: str, line: source.Line | None) -> tuple[str, str, str] | None:
    """The first row of the table that an error's text matches."""
    for pattern, kind, cause, hint in _KNOWN:
        if not re.search(pattern, text, re.DOTALL):
            continue
        if kind == "data-dependent branch" and line and _TO_NUMBER.search(line.text):
            return _known("got FakeTensor", line)
        named = re.search(_NAMED[kind], text) if kind in _NAMED else None
        return kind, f"{cause} ({named[1]})" if named else cause, hint
    return None


def _scripted(deployment: Deployment) -> tuple[str, str, str] | None:
    name = scripted_part(deployment.model)
    if name is None:
        return None
    what = f"{name!r} is a scripted module" if name else "the model is a scripted module"
    remedy = "put the plain nn.Module in its place: torch.jit.script belongs to the deployment, after the export"
    return "scripted module", f"{what}, which it does not take", remedy


def _other(error: Exception) -> tuple[str, str, str]:
    kind = type(error).__name__
    cause = _shortened(error)
    hint = "see torch.export.draft_export, which lists everything that stands in its way"
    return "other", cause if cause.startswith(kind) else f"{kind}: {cause}", hint


def _shortened(error: BaseException) -> str:
    """The cause in an error's text, without torch's advice."""
    return root_cause(_ADVICE.sub("", str(error)).strip() or type(error).__name__)


def reason_of(error: BaseException | None) -> str:
    """Why a program refuses inputs, or torch the model, in a few words."""
    if error is None:
        return "no reason given"
    if isinstance(error, Unsupported):
        return str(error).removeprefix(_REFUSED)
    return _shortened(error).removeprefix("AssertionError: ")
