"""``torch.export`` of the model that is traced, with the same dims: is it ready to leave TorchScript?

The exported program takes what the trace takes: the inputs by position, with the constants bound. torch decides for each dim
whether the program keeps it dynamic; the program is then tried at other sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...tracing import private
from ..deployment import Deployment
from .exporting import Run, exported
from .fast_path import FAST_PATH_HINT, differs_by_fast_path
from .judging import judge
from .recording import quiet
from .turn import alone

__all__ = ["build", "run"]


def build(deployment: Deployment) -> Run:
    """Export the model and try the program at other sizes and values.

    ``metrics`` get ``exportable``, ``export_dims`` (the class of each dim, as the check ``shapes`` has it), ``graph_nodes``
    and, where torch refuses, the kind of ``refusal``.

    Raises:
        Unsupported: torch.export refuses the model.
        Missing: an export that exceeded its time still runs in another thread.
        Unavailable: this torch lacks a private name that the target needs.
    """
    private.require(*private.EXPORT)
    with alone(deployment.timeout), quiet():
        deployment.metrics["exportable"] = False
        attempt = exported(deployment)
        try:
            deployment.metrics["exportable"] = True
            # A refusal of one dim is reported with that dim.
            deployment.metrics.pop("refusal", None)
            deployment.metrics["graph_nodes"] = len(attempt.program.graph.nodes)
            judge(deployment, attempt)
        finally:
            attempt.log.forget()
    return attempt.run


def run(artefact: Run, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
    """The exported program's outputs."""
    with quiet():
        outputs = [artefact(values) for values in inputs]
    if any(differs_by_fast_path(deployment, *pair) for pair in zip(inputs, outputs, strict=True)):
        deployment.fail(
            "the exported program differs from eager by the fast path of nn.TransformerEncoder alone, which torch.export "
            "does without: where padding is masked, eager writes zeros and the program what it computes there",
            hint=FAST_PATH_HINT,
        )
    return outputs
