"""The cause in an error's text, in one line: no stack, no dumped tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["root_cause", "text_of"]

_MOST = 240
_CONTAINERS: Mapping[str, str] = {"(": "a tuple", "[": "a list", "{": "a dict or a set"}
_DUMP = re.compile(
    r"tensor\(|Parameter containing|(?<=output \d )\(|\[ \w*(Float|Double|Long|Int|Half|BFloat16|Bool)?Tensor|^\s*[-+\d.\[(]"
)
# torch's own file, and the request to report a bug, stand in front of what is wrong.
_INTERNAL = re.compile(r"^\S+ INTERNAL ASSERT FAILED at \S+, please report a bug to PyTorch\. (?=\S)")
# torch prints the whole output, however long, between its number and the reason.
_OUTPUT = re.compile(r"(?P<which>output \d+) \(.*(?P<reason>cannot be understood by the tracer, [^\n]*)\Z", re.DOTALL)
# Leading words torch adds around the cause in an error of the interpreter.
_INTERPRETER = re.compile(r"The following operation failed in the TorchScript interpreter")


# What stands before a value that is left out: the name of an argument, brackets and separators.
_UNFINISHED = re.compile(r"(?:[(,]\s*\w+=|[\s:,({\[])+$")


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
    text = _INTERNAL.sub("", text_of(error).strip())
    kind = "" if isinstance(error, str) else type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return kind or "unknown error"
    if any(_INTERPRETER.search(line) for line in lines):
        errors = [line for line in lines if re.match(r"\w*(Error|Exception): ", line)]
        chosen = errors[-1] if errors else lines[-1]
        kind = ""
    elif (match := _OUTPUT.match(text)) is not None:
        chosen = f"{match['which']} … {match['reason']}"
    elif "raised while" not in text and re.match(r"Tracer cannot infer type of", lines[0]):
        # The object itself follows, however long; the reason comes after it.
        reasons = [line.lstrip(":") for line in lines if line.startswith(":")]
        chosen = f"Tracer cannot infer type of {_named(lines[0])}" + (f": {reasons[0]}" if reasons else "")
    else:
        chosen = lines[0]
        cut = _DUMP.search(chosen)
        if cut and cut.start():
            chosen = _UNFINISHED.sub("", chosen[: cut.start()]) + " …"
    if len(chosen) > _MOST:
        chosen = (chosen[:_MOST].rpartition(" ")[0] or chosen[:_MOST]).rstrip(" ,:") + " …"
    return f"{kind}: {chosen}" if kind and not chosen.startswith(kind) else chosen


def _named(line: str) -> str:
    """What the tracer cannot type, without its contents: the name of its class, or the kind of container."""
    what = line.removeprefix("Tracer cannot infer type of ").strip()
    if what[:1] in _CONTAINERS:
        return _CONTAINERS[what[0]]
    return _UNFINISHED.sub("", re.split(r"[(\[{]", what)[0]) or "an output"
