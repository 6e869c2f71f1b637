"""Which models a test is about, and with which inputs. What the test offers comes as plain data: no pytest here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from ..errors import SubjectError
from .observe import ObservedCall, signature_of

__all__ = ["NOT_GIVEN", "NoModelError", "Offered", "example_inputs", "models", "observed_call"]

NOT_GIVEN: Final = object()
"""Stands for inputs that nothing gives; None would hide a fixture that gives None by mistake."""


class NoModelError(SubjectError):
    """A test offers no model, and its marker names none: no mistake where one marker stands for many tests."""


@dataclass(frozen=True, kw_only=True)
class Offered:
    """What a test that has passed offers: what its body returned and called, and its fixtures.

    ``calls_by_class`` are the calls of a class that the marker names, also those inside other modules. ``fixtures`` are
    the values that the test took, ``fixture`` gives any fixture's value by name. ``bypassed`` are the classes of
    models of which the body called ``forward`` alone, which is not observed; ``calls_forward`` says that its text does so.
    """

    returned: Any = None
    calls: Sequence[ObservedCall] = ()
    calls_by_class: Mapping[type, Sequence[ObservedCall]] = field(default_factory=dict)
    fixtures: Mapping[str, Any] = field(default_factory=dict)
    fixture: Callable[[str], Any] = field(default=lambda name: NOT_GIVEN)
    bypassed: Collection[type] = ()
    calls_forward: bool = False

    @property
    def advice(self) -> str:
        """What to do about a body that calls ``forward``; empty where it does not."""
        if not (self.bypassed or self.calls_forward):
            return ""
        called = " and ".join(f"{cls.__name__}.forward()" for cls in self.bypassed) or ".forward()"
        return f"; the test calls {called}, which is not observed: call the model itself, model(x)"


def models(wanted: Any, offered: Offered) -> tuple[list[Any], Any]:
    """The models to judge, and the inputs that the test returned with them, else ``NOT_GIVEN``.

    ``wanted`` is the marker's ``model``. The order of precedence is that of the contract: what the marker names, what the
    test returns, what its body called, the single module among its fixtures.

    Raises:
        NoModelError: the test offers no model; it says what was looked for.
        SubjectError: what the marker names gives none.
    """
    if wanted is not None:
        return _named(wanted, offered), NOT_GIVEN
    returned = offered.returned
    if _is_module(returned):
        return [returned], NOT_GIVEN
    if isinstance(returned, tuple) and len(returned) == 2 and _is_module(returned[0]):
        return [returned[0]], NOT_GIVEN if returned[1] is None else returned[1]
    if offered.calls:
        return [call.model for call in offered.calls], NOT_GIVEN
    return [_from_fixtures(offered)], NOT_GIVEN


def example_inputs(wanted: Any, offered: Offered) -> Any:
    """What the marker's ``inputs`` stands for: a fixture's value, what a factory makes, or the inputs themselves."""
    if wanted is None:
        return NOT_GIVEN
    if isinstance(wanted, str):
        return offered.fixture(wanted)
    if callable(wanted) and not isinstance(wanted, Mapping):
        return _made(wanted, "inputs")
    return wanted


def observed_call(model: torch.nn.Module, offered: Offered) -> ObservedCall | None:
    """The observed call that shows this model's inputs: one of the very object, else one of a model like it."""
    calls = [call for seen in (*offered.calls_by_class.values(), offered.calls) for call in seen]
    alike: list[Callable[[ObservedCall], bool]] = [
        lambda call: call.model is model,
        lambda call: signature_of(call.model) == signature_of(model),
        lambda call: type(call.model) is type(model),
    ]
    return next((call for test in alike for call in calls if test(call)), None)


def _named(wanted: Any, offered: Offered) -> list[Any]:
    """The models that the marker's ``model`` stands for."""
    if isinstance(wanted, str):
        model = offered.fixture(wanted)
        if not _is_module(model):
            raise SubjectError(
                f"model={wanted!r}: the fixture gives {type(model).__name__}, expected an nn.Module; "
                "name the fixture that builds the model"
            )
        return [model]
    if _is_module(wanted):
        return [wanted]
    if inspect.isclass(wanted) and issubclass(wanted, torch.nn.Module):
        return _instances(wanted, offered)
    # A class that is no module is a factory like any other.
    return [_made(wanted, "model")]


def _instances(cls: type, offered: Offered) -> list[Any]:
    """Instances of a class: those that the body called, else the one among the fixtures, else a new one."""
    called = offered.calls_by_class.get(cls, ())
    if called:
        return [call.model for call in called]
    taken = [value for value in offered.fixtures.values() if isinstance(value, cls)]
    if len(taken) == 1:
        return taken
    try:
        return [_made(cls, "model")]
    except SubjectError as error:
        raise NoModelError(
            f"no model to gate: the test calls no {cls.__name__}, takes none, and {error}{offered.advice}"
        ) from error


def _from_fixtures(offered: Offered) -> Any:
    modules = {name: value for name, value in offered.fixtures.items() if _is_module(value)}
    if len({id(module) for module in modules.values()}) == 1:
        return next(iter(modules.values()))
    among = f"its fixtures hold several ({', '.join(modules)})" if modules else "no fixture of the test is one"
    raise NoModelError(
        "no model to gate: the marker names none (model=), the test returns none, its body calls no nn.Module other "
        f"than losses, metrics and ScriptModules, and {among}; name it with model={offered.advice}"
    )


def _is_module(value: object) -> bool:
    return isinstance(value, torch.nn.Module)


def _made(factory: Any, argument: str) -> Any:
    try:
        return factory()
    except Exception as error:
        name = getattr(factory, "__name__", repr(factory))
        raise SubjectError(f"{argument}={name}: calling it without arguments raised {type(error).__name__}: {error}") from error
