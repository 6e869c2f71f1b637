"""The subjects of a gate: the models that ``subject.choose`` picks from what pytest knows of a test, each with its call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from .. import gate
from ..errors import SubjectError
from ..result import Verdict
from ..spec import GateSpec
from ..subject import choose
from ..subject.call import Call
from ..subject.families import family_of
from ..subject.observe import signature_of
from ..subject.state import isolated
from ..subject.surroundings import Surroundings
from .body import Body, calls_forward
from .markers import has_fixture

__all__ = ["UnfitModel", "explicit_subject", "subjects"]

INPUTS_FIXTURE = "torchscript_inputs"


@dataclass(frozen=True)
class UnfitModel:
    """A model that cannot be judged, and why: ``verdict`` is ``NoModel`` or ``NoInputs``.

    ``mistake`` says that what the marker or a fixture gives is wrong, and not that the test offers nothing.
    """

    model: Any
    reason: str
    verdict: Verdict
    mistake: bool


def subjects(item: pytest.Item, spec: GateSpec, body: Body) -> list[gate.Subject | UnfitModel]:
    """The models to judge, each with its call, by the order of precedence of the contract."""
    offered = _offered(item, body)
    try:
        models, returned_inputs = choose.models(spec.model, offered)
        asked = choose.example_inputs(spec.inputs, offered)
    except SubjectError as error:
        return [UnfitModel(None, str(error), Verdict.NO_MODEL, mistake=not isinstance(error, choose.NoModelError))]
    inputs = returned_inputs if asked is choose.NOT_GIVEN else asked
    found = [_subject(item, model, inputs, offered) for model in models]
    # A part that takes no tensor, called beside the model, is not what the test is about.
    fit = [subject for subject in found if not isinstance(subject, UnfitModel)]
    return [*fit] if fit and spec.model is None else found


def explicit_subject(item: pytest.Item, model: Any, inputs: Any, body: Body | None) -> gate.Subject | UnfitModel:
    """The model of an explicit gate with its call: with ``inputs`` if given, else as the body called it before.

    What is known of the body's call holds for the gate in either case: what it wrote into the model, and the settings round
    it, unless the test changed them round the gate itself.
    """
    body = body or Body()
    alike = [call for call in body.calls if gate.is_module(model) and signature_of(call.model) == signature_of(model)]
    calls = [call for call in alike if call.model is model] or alike
    offered = replace(_offered(item, body), calls=calls, calls_by_class={})
    found = _subject(item, model, choose.NOT_GIVEN if inputs is None else inputs, offered)
    if not calls or isinstance(found, UnfitModel) or found.call is None:
        return found
    seen, own_settings = calls[0], Surroundings.now() != body.surroundings
    effects = seen.effects if seen.model is model else None
    call = replace(found.call, effects=effects, surroundings=None if own_settings else seen.surroundings)
    return replace(found, call=call)


def _offered(item: pytest.Item, body: Body) -> choose.Offered:
    return choose.Offered(
        returned=body.returned,
        calls=body.calls,
        calls_by_class=body.calls_by_class,
        fixtures=getattr(item, "funcargs", {}),
        fixture=lambda name: item._request.getfixturevalue(name),  # type: ignore[attr-defined]
        bypassed=body.bypassed,
        calls_forward=calls_forward(item),
    )


def _subject(item: pytest.Item, model: Any, inputs: Any, offered: choose.Offered) -> gate.Subject | UnfitModel:
    """A model with its call; without one, inputs are synthesised for each cell."""
    try:
        model = gate.check_model(model)
    except SubjectError as error:
        return UnfitModel(model, str(error), Verdict.NO_MODEL, mistake=True)
    given = inputs is not choose.NOT_GIVEN
    try:
        if not given and choose.observed_call(model, offered) is None and has_fixture(item, INPUTS_FIXTURE):
            inputs, given = offered.fixture(INPUTS_FIXTURE), True
        call = gate.call_of(model, inputs) if given else _observed(model, offered)
    except SubjectError as error:
        return UnfitModel(model, f"{error}{'' if given else offered.advice}", Verdict.NO_INPUTS, mistake=given)
    return gate.Subject(model=model, call=call)


def _observed(model: Any, offered: choose.Offered) -> Call | None:
    """The call that the test made; None where it made none, and inputs can be made.

    Raises:
        SubjectError: the call does not fit, or there is none and no inputs can be made.
    """
    seen = choose.observed_call(model, offered)
    if seen is not None:
        return seen.bound_to(model)
    with isolated():
        try:
            family_of(model).synthesise(model)
        except SubjectError as error:
            raise SubjectError(
                f"no inputs to gate {type(model).__name__} with: the test does not call it, and {error}"
            ) from None
        except Exception:  # noqa: BLE001, S110 - the gate meets it again, and says what it is
            pass
    return None
