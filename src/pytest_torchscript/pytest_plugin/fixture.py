"""The ``torchscript`` fixture: gates and traces on explicit request."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .. import source
from ..diagnosis.error_text import root_cause
from ..errors import GateError
from ..gate import check_model
from ..prepare import call_of, in_eval_mode
from ..result import GateResult
from ..subject.families import family_of
from ..subject.state import isolated
from ..tracing.trace import TraceError, trace
from .gatekeeper import Gatekeeper

__all__ = ["TorchScript"]


class TorchScript:
    """What the fixture ``torchscript`` gives to a test."""

    def __init__(self, keeper: Gatekeeper, item: pytest.Item) -> None:
        self._keeper = keeper
        self._item = item

    def check(self, model: torch.nn.Module, inputs: Any = None, **arguments: Any) -> GateResult:
        """Gate ``model``, as the marker does after a test.

        ``inputs`` is a tuple (by position), a mapping (by name) or a tensor; without it they are synthesised for a
        transformers model. ``arguments`` are the marker's; they win over markers and configuration.

        Raises:
            GateFailed: the gate failed; the text is the report's, ``.result`` is the data.
            SpecError: an impossible argument.
        """
        __tracebackhide__ = True
        return self._keeper.check(self._item, model, inputs, arguments)

    def trace(self, model: torch.nn.Module, inputs: Any = None) -> torch.jit.ScriptModule:
        """The ScriptModule that the gate would judge: traced in eval mode, constants bound, inputs by their names.

        Raises:
            GateError: torch refuses; the root cause and the guilty line are in the text.
        """
        __tracebackhide__ = True
        model = check_model(model)
        family = family_of(model)
        call = call_of(model, family.synthesise(model) if inputs is None else inputs)
        with isolated(), in_eval_mode(model) as state:
            try:
                module = trace(model, family.as_deployed(model, call, state.restore)).module
            except TraceError as error:
                where = f" ({source.relative(error.line.file)}:{error.line.line})" if error.line else ""
                raise GateError(f"{type(model).__name__} is untraceable: {root_cause(error.cause)}{where}") from None
        assert isinstance(module, torch.jit.ScriptModule)
        return module
