"""What the marker would make of a test that does not carry it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .. import gate
from ..errors import SubjectError
from ..reports.discover import Discovered
from ..reports.proof import verdict_with_proof
from ..result import GateResult
from ..spec import GateSpec
from ..subject.observe import ObservedCall
from ..targets.base import Targets

__all__ = ["candidates"]


def candidates(
    calls: Sequence[ObservedCall], spec: GateSpec, *, nodeid: str, root: str, targets: Targets, name_target: bool
) -> list[dict[str, Any]]:
    """An entry for each observed call that could carry a gate, with the verdict that it would get.

    ``name_target`` says that the marker has to name the targets of ``spec``, because only an option of this run does.
    """
    wanted = spec.target[0] if len(spec.target) == 1 else list(spec.target)
    arguments = f"(target={wanted!r})" if name_target else ""
    found = []
    for call in calls:
        try:
            subject = gate.Subject(model=gate.check_model(call.model), call=call.bound_to(call.model))
        except SubjectError:
            # A part without a tensor among its inputs carries no gate.
            continue
        result = gate.judge(subject, spec, id="discovered", nodeid=nodeid, root=root, targets=targets)
        entry = Discovered(
            nodeid=nodeid,
            model=type(call.model).__name__,
            verdict=_verdict(result),
            passes=not result.failed,
            seconds=result.seconds,
            place=_place(result),
            arguments=arguments,
        )
        found.append(asdict(entry))
    return found


def _place(result: GateResult) -> str:
    findings = (f for cell in result.cells for check in cell.checks if check.verdict for f in check.findings)
    return next((f"{finding.file}:{finding.line}" for finding in findings if finding.file and finding.line), "")


def _verdict(result: GateResult) -> str:
    verdicts = dict.fromkeys(cell.verdict for cell in result.cells)
    return ", ".join(verdict for verdict in verdicts if verdict != "ok") or verdict_with_proof(result, "ok")
