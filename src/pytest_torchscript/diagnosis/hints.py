"""Remedies, one line each, for the errors that torch, TorchScript and transformers give.

The table follows the symptoms users meet (collected for torch 2.13 and transformers 5.23); order matters, first match wins.
"""

from __future__ import annotations

import re

__all__ = ["hint_for", "root_cause", "text_of"]

_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"unordered_map::at",
        "masks are built with torch.vmap here: use transformers 5 or newer, or pass a ready 4-d attention mask",
    ),
    (
        r"requires grad as a constant",
        "a parameter lives outside the registered modules: register it as nn.Parameter or buffer",
    ),
    (r"Encountering a dict", "return a tuple (return_dict=False for transformers), or trace with strict=False"),
    (r"(infer type of|value of type).*Cache", "pass use_cache=False and return tuples: a Cache is no tensor"),
    (
        r"Only tensors, lists, tuples of tensors|cannot be understood by the tracer|Tracer cannot infer type of"
        r"|Dictionary inputs to traced functions",
        "return tensors only, in tuples, lists or one flat dict of tensors: no None, number, text or object among them",
    ),
    (
        r"Cannot copy out of meta tensor|item\(\) cannot be called on meta",
        "the forward looks at values, which a trace bakes in: replace the Python branch by torch.where or masks",
    ),
    (r"numpy\(\).*meta|can't convert.*numpy", "stay with tensors: NumPy leaves the graph"),
    (
        r"torch_function mode|functorch|vmap",
        "vmap and functional transforms do not trace: write the batch dimension out",
    ),
    # Not "dynamo" alone: a stack may pass through torch/_dynamo for other reasons.
    (r"dynamo-optimized|torch\.compile|optimize\(\) on", "trace the module before torch.compile wraps it"),
    (
        r"Could not export Python function",
        "a Python autograd.Function cannot be saved: write it with differentiable torch operations",
    ),
    (
        r"unexpected keyword argument 'torchscript'",
        "the torchscript flag belongs to the config, and is gone in transformers 5: drop it",
    ),
    (r"shape '\[.*\]' is invalid", "a size was baked into view or reshape: take it from x.shape, or use -1"),
    (r"index.*out of (bounds|range)", "ids or positions go beyond a table: check vocabulary size and maximum length"),
    (r"must match the (existing )?size|size of tensor", "a size was baked in: take it from x.shape inside the forward"),
)


def hint_for(message: str) -> str | None:
    """The remedy for an error's text, or None when nothing specific is known."""
    for pattern, hint in _HINTS:
        if re.search(pattern, message, re.DOTALL):
            return hint
    return None


_MOST = 240
_DUMP = re.compile(
    r"tensor\(|Parameter containing|(?<=output \d )\(|\[ \w*(Float|Double|Long|Int|Half|BFloat16|Bool)?Tensor|^\s*[-+\d.\[(]"
)
# Leading words torch adds around the cause in an error of the interpreter.
_INTERPRETER = re.compile(r"The following operation failed in the TorchScript interpreter")


def text_of(error: BaseException | str) -> str:
    """An error's own text; empty where it has none that can be had."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception whose own text raises still has a name
        return ""


def root_cause(error: BaseException | str) -> str:
    """The cause in an error's text, on one line, without stacks and without dumped tensors.

    torch prints whole weight matrices: the cause is in the first line, or in the last where TorchScript wraps it.
    """
    text = text_of(error).strip()
    kind = "" if isinstance(error, str) else type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return kind or "unknown error"
    if any(_INTERPRETER.search(line) for line in lines):
        errors = [line for line in lines if re.match(r"\w*(Error|Exception): ", line)]
        chosen = errors[-1] if errors else lines[-1]
        kind = ""
    elif "raised while" not in text and re.match(r"Tracer cannot infer type of", lines[0]):
        # The object itself follows, however long; the reason comes after it.
        reasons = [line.lstrip(":") for line in lines if line.startswith(":")]
        what = _DUMP.split(lines[0])[0].rstrip("( {[")
        chosen = what + (f": {reasons[0]}" if reasons else "")
    else:
        chosen = lines[0]
        cut = _DUMP.search(chosen)
        if cut and cut.start():
            chosen = chosen[: cut.start()].rstrip(" :,({[") + " …"
    if len(chosen) > _MOST:
        chosen = chosen[:_MOST].rstrip() + " …"
    return f"{kind}: {chosen}" if kind and not chosen.startswith(kind) else chosen
