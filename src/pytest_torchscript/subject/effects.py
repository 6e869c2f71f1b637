"""What one call did to its model: which parameters, buffers and attributes it left changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch.nn.parameter import is_lazy

from .state import ModelState

__all__ = ["CallEffects", "effects_of"]

_COPIED = 4 * 2**20
# Of more, a fingerprint is kept: that they changed is known then, and the values are gone.


@dataclass(frozen=True, kw_only=True)
class CallEffects:
    """Names of what holds other values, or is another object, after a call than before it.

    Statistics that torch's own modules keep in train mode are not counted: they are made to change. ``before`` is the state
    of the model before the call, for :meth:`undone`; ``training`` is the mode that the model was in.
    """

    parameters: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    training: bool = False
    before: ModelState = field(repr=False, compare=False)

    @contextlib.contextmanager
    def undone(self) -> Iterator[ModelState]:
        """The model as it was before the call, in eval mode, while the block runs; as it is now afterwards.

        Large parameters stay as they are: ``before.lost`` names those that the call has changed.
        """
        model = self.before.model
        now = ModelState(model, written=self.parameters)
        try:
            self.undo()
            yield self.before
        finally:
            now.restore(thorough=True)

    def undo(self) -> None:
        """Put the model into its state before the call, in eval mode."""
        self.before.restore(thorough=True)
        for module in self.before.model.modules():
            module.training = False


@contextlib.contextmanager
def effects_of(model: torch.nn.Module) -> Iterator[list[CallEffects]]:
    """Note what the block does to a model: the list holds it afterwards, if that is anything.

    Never raises for what a model holds: a state that cannot be read (fake tensors, tensors inside a transform) is not noted.
    """
    found: list[CallEffects] = []
    before = None
    with contextlib.suppress(Exception):
        # A lazy module takes its shapes in its first call, by design.
        if not any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
            before = ModelState(model, copied=_COPIED)
    yield found
    if before is None:
        return
    with contextlib.suppress(Exception):
        parameters, attributes = before.changed_parameters(), before.changed_attributes()
        buffers = [name for name in before.changed_buffers() if not _is_statistic(model, name)]
        if parameters or buffers or attributes:
            effects = CallEffects(
                parameters=tuple(parameters),
                buffers=tuple(buffers),
                attributes=tuple(attributes),
                training=model.training,
                before=before,
            )
            found.append(effects)


def _is_statistic(model: torch.nn.Module, name: str) -> bool:
    """Whether a buffer is what a module of torch's own keeps while it is trained: a running mean, a direction.

    The ranges that quantisation observes are not: they follow the inputs in eval mode too, until the observer is switched off.
    """
    owner = model.get_submodule(name.rpartition(".")[0])
    package = type(owner).__module__.split(".")
    return owner.training and package[0] == "torch" and package[:2] != ["torch", "ao"]
