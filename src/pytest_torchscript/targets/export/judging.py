"""What the exported program is worth: the class of each dim, and findings where it refuses inputs or is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...nested import tensors
from ...result import Status
from ..base import Unsupported
from ..deployment import Deployment
from ..tools import Probe, classify
from .exporting import Attempt
from .fast_path import FAST_PATH_HINT, differs_by_fast_path
from .recording import input_shapes
from .refusals import KEEP, reason_of

__all__ = ["judge"]

_MOST_FRESH = 3
_EQUAL_SIZES = re.compile(r"Guard failed: \S+\.size\(\)\[\d+\] == \S+\.size\(\)\[\d+\]$")

_UNROLLED = "torch.export unrolls nn.LSTM, nn.GRU and nn.RNN, a step for each position: export at the length that is deployed"
_ONE_DIM = "declare both axes as one dim in dims=, or write the forward so that it need not take them for equal"
_CONDITION = (
    "the program takes sizes for which its guards hold: write the forward without that condition, or deploy such sizes only"
)
_HIDDEN = "look for code that behaves otherwise while exporting, or that hides a size from the graph"
_NEVER_ONE = (
    "torch.export takes a dynamic size for never 1, and checks nothing: write the forward without a special case for 1, "
    "or let it refuse 1"
)


def judge(deployment: Deployment, attempt: Attempt) -> None:
    """Try the program at other sizes and values; findings and the classes of the dims go to the deployment."""
    if not deployment.without_weights and not _right_where_exported(deployment, attempt):
        # The comparison of the samples reports it; other sizes would only repeat it.
        deployment.metrics["export_dims"] = dict.fromkeys(attempt.sizes, "unsafe")
        return
    _other_values(deployment, attempt)
    probes = {dim: _probes_of(deployment, attempt, dim) for dim in attempt.sizes}
    classes = {dim: _class_of(deployment, attempt, dim, found) for dim, found in probes.items()}
    for dim, found in probes.items():
        _report(deployment, attempt, dim, classes[dim], found)
    able = {dim: _accepted(found) for dim, found in probes.items() if classes[dim] == "dynamic"}
    if len(able) > 1 and not deployment.failures:
        _together(deployment, attempt, able, classes)
    deployment.metrics["export_dims"] = classes


# Trying


def _right_where_exported(deployment: Deployment, attempt: Attempt) -> bool:
    """Whether the program is right for the traced inputs.

    Raises:
        Unsupported: it refuses them.
    """
    found = deployment.probe(attempt.run, deployment.inputs)
    if found.kind == "raises":
        deployment.metrics.update(exportable=False, refusal="does not run")
        raise Unsupported(
            f"the exported program refuses the very inputs of its export: {reason_of(found.error)}",
            hint="look for a buffer or an attribute that has another shape after the call than before",
        )
    return found.kind != "wrong"


def _other_values(deployment: Deployment, attempt: Attempt) -> None:
    """Try fresh values of the traced shape, where the gate's samples have none because the trace was not tried on any."""
    if deployment.without_weights or deployment.status("values") is Status.PASSED:
        return
    tried = 0
    for name, inputs in deployment.variants():
        found = deployment.probe(attempt.run, inputs)
        if found.kind == "wrong":
            message = f"the exported program is silently wrong for other values ({name})"
            _fail_wrong(deployment, attempt, message, found, inputs)
            return
        tried += found.kind == "equal"
        if tried == _MOST_FRESH:
            return


def _inputs(deployment: Deployment, attempt: Attempt, sizes: Mapping[str, int]) -> Mapping[str, Any]:
    """Inputs at other sizes; dims that are not named have the size of the export."""
    return deployment.resized({**attempt.sizes, **sizes})


def _probes_of(deployment: Deployment, attempt: Attempt, dim: str) -> dict[int, Probe]:
    sizes = deployment.sizes_around(dim, attempt.sizes[dim])
    return {size: deployment.probe(attempt.run, _inputs(deployment, attempt, {dim: size})) for size in sizes}


def _accepted(probes: Mapping[int, Probe]) -> int:
    """A size at which the program was right, larger than 1 where there is one."""
    return next((size for size, found in probes.items() if found.kind == "equal" and size > 1), 1)


def _class_of(deployment: Deployment, attempt: Attempt, dim: str, probes: Mapping[int, Probe]) -> str:
    """The class of a dim; ``fixed`` needs a refusal of a larger size, or the constant in the program."""
    found = classify({size: found.kind for size, found in probes.items()})
    if found != "fixed" or _is_static(deployment, attempt, dim):
        return found
    # Refusals of smaller sizes alone prove little: others may be outside the model's domain, and larger ones accepted.
    larger = any(size > attempt.sizes[dim] for size, found in probes.items() if found.kind == "raises")
    return "fixed" if larger else "partial"


def _is_static(deployment: Deployment, attempt: Attempt, dim: str) -> bool:
    """Whether the program holds a dim as a constant wherever its inputs have it."""
    shapes = input_shapes(attempt.program)
    axes = [deployment.dims.get(path, {}) for path, _ in tensors(dict(attempt.inputs))]
    if len(shapes) != len(axes):
        return False
    sizes = [shape[axis] for shape, named in zip(shapes, axes, strict=True) for axis, name in named.items() if name == dim]
    return bool(sizes) and None not in sizes


def _together(deployment: Deployment, attempt: Attempt, sizes: Mapping[str, int], classes: dict[str, str]) -> None:
    """Try all dynamic dims at another size at once."""
    inputs = _inputs(deployment, attempt, sizes)
    found = deployment.probe(attempt.run, inputs)
    where = " and ".join(f"{dim} {size}" for dim, size in sizes.items())
    if found.kind == "wrong":
        classes.update(dict.fromkeys(sizes, "unsafe"))
        message = f"the exported program is silently wrong at {where} together"
        _fail_wrong(deployment, attempt, message, found, inputs, details=sizes)
    elif found.kind == "raises" and any(deployment.shape_rule(dim) == "dynamic" for dim in sizes):
        deployment.fail(
            f"the exported program refuses {where} together, though right at each alone: {reason_of(found.error)}",
            **_guard(attempt, found, inputs, "partial"),
        )


# Findings


def _report(deployment: Deployment, attempt: Attempt, dim: str, kind: str, probes: Mapping[int, Probe]) -> None:
    """Report what a dim's class means under the marker's rule for it."""
    kinds = {str(size): found.kind for size, found in sorted(probes.items())}
    details = {"dim": dim, "exported": attempt.sizes[dim], "probes": kinds}
    wrong = [size for size, found in probes.items() if found.kind == "wrong"]
    refused = [size for size, found in probes.items() if found.kind == "raises"]
    if wrong:
        _report_wrong(deployment, attempt, wrong, probes[wrong[0]], details)
    elif refused and deployment.shape_rule(dim) != "fixed":
        _report_refused(deployment, attempt, kind, refused, probes[refused[0]], details)
    elif kind == "untested" and deployment.shape_rule(dim) == "dynamic":
        tried = f"eager takes none of {_listed(probes)}" if probes else "its limit leaves no other size"
        deployment.note(
            f"{dim} is untested in the exported program, declared dynamic: exported at {attempt.sizes[dim]}, and {tried}",
            hint=f"give the test inputs at a size of {dim} that has others beside it, or declare it fixed",
            details=details,
        )


def _listed(sizes: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(sizes)))


def _report_wrong(deployment: Deployment, attempt: Attempt, sizes: list[int], found: Probe, details: Mapping[str, Any]) -> None:
    dim, first = details["dim"], sizes[0]
    also = f" (and at {_listed(sizes[1:])})" if len(sizes) > 1 else ""
    message = f"{dim} is silently wrong in the exported program: exported at {attempt.sizes[dim]}, off at {first}{also}"
    inputs = _inputs(deployment, attempt, {dim: first})
    _fail_wrong(deployment, attempt, message, found, inputs, details=details, hint=_NEVER_ONE if sizes == [1] else _HIDDEN)


def _report_refused(
    deployment: Deployment, attempt: Attempt, kind: str, sizes: list[int], found: Probe, details: Mapping[str, Any]
) -> None:
    dim = details["dim"]
    demanded = deployment.shape_rule(dim) == "dynamic"
    refusal = attempt.refused.get(dim)
    if refusal is None:
        about = _guard(attempt, found, _inputs(deployment, attempt, {dim: sizes[0]}), kind)
    else:
        about = {"line": refusal.line, "where": "specialised at", "hint": refusal.hint}
    (deployment.fail if demanded else deployment.note)(
        f"{dim} is {kind} in the exported program{', declared dynamic' if demanded else ''}: exported at "
        f"{attempt.sizes[dim]}, it refuses {_listed(sizes)}: {reason_of(refusal or found.error)}",
        details=details,
        **about,
    )


def _guard(attempt: Attempt, found: Probe, inputs: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The line of the guard that inputs break, and what to do about it."""
    line, unrolled = attempt.log.broken_at(inputs)
    hint = _CONDITION if kind == "partial" else KEEP
    if unrolled:
        hint = _UNROLLED
    elif _EQUAL_SIZES.match(reason_of(found.error)):
        hint = _ONE_DIM
    return {"line": line, "where": "specialised at", "hint": hint}


def _fail_wrong(
    deployment: Deployment,
    attempt: Attempt,
    message: str,
    found: Probe,
    inputs: Mapping[str, Any],
    *,
    details: Mapping[str, Any] | None = None,
    hint: str = _HIDDEN,
) -> None:
    mismatch = found.mismatches[0]
    by_fast_path = differs_by_fast_path(deployment, inputs, attempt.run(inputs))
    deployment.fail(
        f"{message}: {mismatch.label} by {mismatch.text}",
        path=mismatch.path,
        hint=FAST_PATH_HINT if by_fast_path else hint,
        details={**(details or {}), **mismatch.details()},
    )
