"""The ``torchscript`` fixture: gates and traces on explicit request."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .. import source
from ..diagnosis.hints import root_cause
from ..errors import GateError
from ..gate import as_deployed, call_of, check_model, put_back_in_mode
from ..result import GateResult
from ..subject.state import ModelState, isolated
from ..subject.synthesise import synthesise
from ..tracing.trace import TorchScriptUnavailable, TraceError, trace
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
        call = call_of(model, synthesise(model) if inputs is None else inputs)
        training = model.training
        flags = [(module, module.training) for module in model.modules()]
        with isolated():
            model.eval()
            state = ModelState(model)
            try:
                module = trace(model, as_deployed(model, call, state)).module
            except TraceError as error:
                where = f" ({source.relative(error.line.file)}:{error.line.line})" if error.line else ""
                raise GateError(f"{type(model).__name__} is untraceable: {root_cause(error.cause)}{where}") from None
            except TorchScriptUnavailable as error:
                raise GateError(str(error)) from None
            finally:
                state.restore(thorough=True)
                put_back_in_mode(model, training, flags)
        assert isinstance(module, torch.jit.ScriptModule)
        return module
