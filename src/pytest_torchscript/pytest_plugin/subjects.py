"""The subjects of a gate: the models that ``subject.choose`` picks from what pytest knows of a test, each with its call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from .. import gate
from ..errors import SubjectError
from ..spec import GateSpec
from ..subject import choose
from .body import Body
from .markers import has_fixture

__all__ = ["UnfitModel", "subjects"]

INPUTS_FIXTURE = "torchscript_inputs"


@dataclass(frozen=True)
class UnfitModel:
    """An observed model that cannot be judged, and why."""

    model: Any
    reason: str


def subjects(item: pytest.Item, spec: GateSpec, body: Body) -> list[gate.Subject | UnfitModel]:
    """The models to judge, each with its call, by the order of precedence of the contract.

    Raises:
        SubjectError: there is no model.
    """
    offered = choose.Offered(
        returned=body.returned,
        calls=body.calls,
        calls_by_class=body.calls_by_class,
        fixtures=getattr(item, "funcargs", {}),
        fixture=lambda name: item._request.getfixturevalue(name),  # type: ignore[attr-defined]
    )
    models, returned_inputs = choose.models(spec.model, offered)
    asked = choose.example_inputs(spec.inputs, offered)
    inputs = returned_inputs if asked is choose.NOT_GIVEN else asked
    found: list[gate.Subject | UnfitModel] = []
    for model in models:
        try:
            found.append(_subject(item, gate.check_model(model), inputs, offered))
        except SubjectError as error:
            found.append(UnfitModel(model, str(error)))
    # A part that takes no tensor, called beside the model, is not what the test is about.
    fit = [subject for subject in found if not isinstance(subject, UnfitModel)]
    return [*fit] if fit and spec.model is None else found


def _subject(item: pytest.Item, model: Any, inputs: Any, offered: choose.Offered) -> gate.Subject:
    """A model with its call; without one, inputs are synthesised."""
    call = None
    if inputs is not choose.NOT_GIVEN:
        call = gate.call_of(model, inputs)
    elif (seen := choose.observed_call(model, offered)) is not None:
        call = seen.bound_to(model)
    elif has_fixture(item, INPUTS_FIXTURE):
        call = gate.call_of(model, offered.fixture(INPUTS_FIXTURE))
    return gate.Subject(model=model, call=call)
