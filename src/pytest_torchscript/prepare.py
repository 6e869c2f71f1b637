"""From a model, a call and a spec to a :class:`~pytest_torchscript.cell.Cell`: the call at its size, its dims, its mask."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from .cell import Cell
from .errors import SubjectError
from .nested import map_tensors, tensors
from .spec import GateSpec
from .subject.call import Call, bind
from .subject.families import family_of
from .subject.inputs import (
    BATCH,
    SEQ,
    Dims,
    declared_dims,
    infer_dims,
    is_binary,
    mask_inverted,
    mask_name,
    other_sequence_axis,
    resize,
)
from .subject.state import ModelState
from .survey import Survey, integers, surveyed
from .tracing import private
from .tracing.trace import quiet

__all__ = ["call_of", "in_eval_mode", "prepared"]


def call_of(model: torch.nn.Module, inputs: Any) -> Call:
    """The call that ``inputs`` stand for: a mapping by keyword, a tuple by position, a tensor alone.

    Raises:
        SubjectError: something else, or inputs that do not fit the forward.
    """
    if isinstance(inputs, torch.Tensor):
        return bind(model, (inputs,), {})
    if isinstance(inputs, Mapping):
        return bind(model, (), {str(name): value for name, value in inputs.items()})
    if isinstance(inputs, (tuple, list)):
        return bind(model, tuple(inputs), {})
    raise SubjectError(
        f"the inputs of {type(model).__name__} must be a tuple (by position), a mapping (by name) or a tensor, "
        f"not {type(inputs).__name__}"
    )


@contextlib.contextmanager
def prepared(
    model: torch.nn.Module,
    call: Call | None,
    spec: GateSpec,
    *,
    batch: int | None,
    seq: int | None,
    root: str | None,
    left_out: Collection[str] = (),
) -> Iterator[Cell]:
    """The cell of ``model`` at one size, for the block; afterwards the model is as it was. Without a call, one is synthesised.

    ``left_out`` names the checks that say nothing about any target of the gate.

    Raises:
        SubjectError: the model or its inputs cannot be judged at this size.
    """
    meta = spec.weights == "meta" or any(parameter.is_meta for parameter in model.parameters())
    if call is None:
        call = call_of(model, family_of(model).synthesise(model, batch_size=batch, seq_len=seq))
    _refuse_empty(call)
    if meta:
        model, call = _without_weights(model, call)
    _refuse_lazy(model)
    # Without weights, the tensors that the forward creates must be on the meta device too.
    device = torch.device("meta") if meta else contextlib.nullcontext()
    with in_eval_mode(model, written=call.effects.parameters if call.effects else ()) as state, device:
        family = family_of(model)
        dims = _dims(model, call, spec, state, seq_asked=seq is not None, try_it=not meta)
        given, call = call, _sized(call, dims, batch, seq, spec.mask)
        resized = _resized(given, call)
        call = family.as_deployed(model, call, state.restore, try_it=not meta)
        survey = Survey() if meta else surveyed(model, call, state)
        mask = mask_name(call.inputs, spec.mask)
        tensor = None if mask is None or meta else call.tensors()[mask]
        yield Cell(
            model=model,
            call=call,
            spec=spec,
            dims=dims,
            state=state,
            mask=mask if tensor is None or is_binary(tensor) else None,
            mask_inverted=mask is not None and tensor is not None and mask_inverted(mask, tensor),
            survey=survey,
            limits=family.limits(model),
            pad_values={**survey.pad_values, **family.pad_values(model, integers(call))},
            meta=meta,
            left_out=frozenset((*left_out, *spec.skip)),
            resized=resized,
            root=root,
        )


@contextlib.contextmanager
def in_eval_mode(model: torch.nn.Module, *, written: Collection[str] = ()) -> Iterator[ModelState]:
    """The model in eval mode, and its state before the block; afterwards state and mode are as they were.

    ``written`` names parameters that calls are known to change: they are copied, however large they are.
    """
    training = model.training
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    state = ModelState(model, written=written)
    try:
        yield state
    finally:
        state.restore(thorough=True)
        # `train()` first, since some models override it, and then the flag of each module.
        if training:
            model.train()
        for module, flag in flags:
            if module.training != flag:
                module.training = flag


def _refuse_empty(call: Call) -> None:
    """A model may have no boxes to look at, or no past yet; one that has nothing at all computes nothing."""
    empty = {path: tensor for path, tensor in tensors(call.inputs) if not tensor.is_nested and 0 in tensor.shape}
    if len(empty) == len(call.tensors()):
        path, tensor = next(iter(empty.items()))
        also = ", as every other input has" if len(empty) > 1 else ""
        raise SubjectError(
            f"input {path!r} has a zero-sized axis, shape {tuple(tensor.shape)}{also}: a trace of no data shows nothing; "
            "give at least one element"
        )


def _refuse_lazy(model: torch.nn.Module) -> None:
    for name, parameter in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(parameter):
            raise SubjectError(
                f"{name!r} of {type(model).__name__} has no shape yet (a lazy module): call the model once first"
            )


def _dims(model: torch.nn.Module, call: Call, spec: GateSpec, state: ModelState, *, seq_asked: bool, try_it: bool) -> Dims:
    """The dims as declared, else as inferred. Eager is asked whether a float input is (batch, time, features) or (…, time)."""
    if spec.dims:
        return declared_dims(call.inputs, spec.dims)
    dims = infer_dims(call.inputs, seq_asked=seq_asked)
    turned = other_sequence_axis(call.inputs, dims) if try_it else None
    if turned is None or _accepts(model, call, dims, state) or not _accepts(model, call, turned, state):
        return dims
    return turned


def _accepts(model: torch.nn.Module, call: Call, dims: Dims, state: ModelState) -> bool:
    """Whether eager takes a sequence that is one longer, or twice as long: some models take multiples only."""
    size = dims.sizes(call.inputs)[SEQ]
    for other in (size + 1, 2 * size):
        with quiet():
            try:
                call.run(model, resize(call.inputs, dims, {SEQ: other}))
                return True
            except Exception:  # noqa: BLE001, S112 - any error means that the model refuses the size
                continue
            finally:
                state.restore()
    return False


def _sized(call: Call, dims: Dims, batch: int | None, seq: int | None, mask: str | None = None) -> Call:
    """The call at the cell's sizes."""
    sizes = dims.sizes(call.inputs)
    wanted = {}
    for argument, dim, size in (("batch_size", BATCH, batch), ("seq_len", SEQ, seq)):
        if size is None:
            continue
        if dim not in sizes:
            shapes = ", ".join(f"{path} {tuple(tensor.shape)}" for path, tensor in tensors(call.inputs))
            raise SubjectError(
                f"{argument}={size} is asked for, but no axis of the inputs is known as {dim!r} ({shapes}): "
                f'declare it, like dims={{"{next(iter(call.tensors()))}": {{1: "{dim}"}}}}'
            )
        wanted[dim] = size
    return call.with_inputs(resize(call.inputs, dims, wanted, mask=mask))


def _resized(given: Call, call: Call) -> dict[tuple[str, int], int]:
    """The axes whose size is another one than in the example, by input and number, with the size there."""
    was, now = given.tensors(), call.tensors()
    plain = [path for path in was if path in now and not was[path].is_nested]
    return {(path, axis): size for path in plain for axis, size in enumerate(was[path].shape) if now[path].shape[axis] != size}


def _without_weights(model: torch.nn.Module, call: Call) -> tuple[torch.nn.Module, Call]:
    """The same structure with every parameter and buffer on the meta device; no weight is copied on the way."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = torch.nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor):
                memo.setdefault(id(value), value.detach().to("meta"))
            elif name not in private.REGISTRIES and not isinstance(value, torch.nn.Module):
                try:
                    copy.deepcopy(value, dict(memo))
                except Exception:  # noqa: BLE001 - a lock, a file: the copy shares it
                    memo[id(value)] = value
    on_meta: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor.detach().to("meta")  # noqa: E731
    return copy.deepcopy(model, memo), call.with_inputs(map_tensors(on_meta, dict(call.inputs)))
