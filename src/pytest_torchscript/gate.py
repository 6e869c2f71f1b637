"""The order of things: a spec and a subject become a :class:`~pytest_torchscript.result.GateResult`. No pytest here."""

from __future__ import annotations

import contextlib
import copy
import inspect
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import torch
from torch.nn.parameter import is_lazy

from . import checks
from .checks.base import Context
from .diagnosis.hints import hint_for, root_cause
from .errors import SubjectError
from .nested import describe, map_tensors, tensors
from .result import CellResult, CheckResult, Finding, GateResult, Status, Verdict
from .spec import GateSpec
from .subject.call import Call, bind
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
from .subject.state import ModelState, isolated
from .subject.synthesise import is_transformers_model, max_length, synthesise
from .targets import Target, Targets, built_in
from .targets.cost import with_buckets
from .tracing.trace import quiet

__all__ = ["Subject", "as_deployed", "bind", "call_of", "check_model", "judge", "refused"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model under test and how to get its example call; without ``call``, inputs are synthesised for each cell."""

    model: torch.nn.Module
    call: Call | None = None


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


def described(subject: Subject) -> str:
    """The inputs of a subject in a few words: ``input_ids int64 (2, 7), attention_mask int64 (2, 7)``."""
    if subject.call is None:
        return "synthesised"
    return ", ".join(f"{path} {describe(tensor)}" for path, tensor in tensors(subject.call.inputs))


def is_module(value: object) -> TypeGuard[torch.nn.Module]:
    """Whether a value is an ``nn.Module``."""
    return isinstance(value, torch.nn.Module)


def is_module_class(cls: type) -> bool:
    """Whether a class makes an ``nn.Module``."""
    return issubclass(cls, torch.nn.Module)


def check_model(model: Any) -> torch.nn.Module:
    """``model`` if it can be judged.

    Raises:
        SubjectError: no module, or one that is TorchScript already.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise SubjectError(
            f"the model is a {type(model).__name__}, TorchScript already: give the nn.Module it was made from, "
            "which is what the trace is compared with"
        )
    if not isinstance(model, torch.nn.Module):
        raise SubjectError(f"the model must be an nn.Module, not {type(model).__name__}")
    return model


def refused(message: str, spec: GateSpec, *, hint: str | None = None) -> tuple[CellResult, ...]:
    """The cells of a gate that has no model or no inputs: one failure that says so, the other checks skipped."""
    finding = Finding(message=message, hint=hint or hint_for(message))
    failed = CheckResult.failed("eager", Verdict.EAGER_FAILURE, finding)
    others = tuple(CheckResult.skipped(check.name, "eager failed") for check in checks.ALL if check.name != "eager")
    return tuple(
        CellResult(target=target, batch_size=batch, seq_len=seq, checks=(failed, *others))
        for target, batch, seq in itertools.product(spec.target, spec.batch_size or (None,), spec.seq_len or (None,))
    )


def judge(
    subject: Subject,
    spec: GateSpec,
    *,
    id: str,
    nodeid: str = "",
    root: str | None = None,
    targets: Targets | None = None,
) -> GateResult:
    """Run every check in every cell. Leaves the process and the model as they were; see :func:`isolated`.

    ``targets`` are those the spec may name; by default the built-in ones.
    """
    started = time.perf_counter()
    targets = targets or built_in()
    try:
        model = check_model(subject.model)
        with isolated(), subject.call.surrounded() if subject.call else contextlib.nullcontext():
            sizes = itertools.product(spec.batch_size or (None,), spec.seq_len or (None,))
            by_size = [_cells(model, subject.call, spec, targets, batch, seq, root) for batch, seq in sizes]
            # All sizes of one target after the other, as the contract lists them.
            cells = with_buckets(tuple(cell for of_target in zip(*by_size, strict=True) for cell in of_target))
    except SubjectError as error:
        cells = refused(str(error), spec)
    except Exception as error:  # noqa: BLE001 - one model that nobody foresaw must not end the run
        message = f"{type(subject.model).__name__} could not be judged: {root_cause(error)}"
        cells = refused(message, spec, hint="report the model to pytest-torchscript")
    return GateResult.judged(id, nodeid, cells, time.perf_counter() - started)


def _cells(
    model: torch.nn.Module,
    call: Call | None,
    spec: GateSpec,
    targets: Targets,
    batch: int | None,
    seq: int | None,
    root: str | None,
) -> tuple[CellResult, ...]:
    """The cells of all targets at one size. What does not depend on the target is judged once, for the first of them."""
    meta = spec.weights == "meta" or any(parameter.is_meta for parameter in model.parameters())
    if call is None:
        call = call_of(model, synthesise(model, batch_size=batch, seq_len=seq))
    refuse_empty(call)
    if meta:
        model, call = _without_weights(model, call)
    for name, parameter in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(parameter):
            raise SubjectError(
                f"{name!r} of {type(model).__name__} has no shape yet (a lazy module): call the model once first"
            )
    training = model.training
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    state = ModelState(model, written=call.effects.parameters if call.effects else ())
    try:
        dims = _dims(model, call, spec, state, seq_asked=seq is not None, try_it=not meta)
        call = _sized(call, dims, batch, seq, spec.mask)
        call, survey = _surveyed(model, call, state, meta=meta)
        mask = mask_name(call.inputs, spec.mask)
        context = Context(
            model=model,
            call=call,
            spec=spec,
            dims=dims,
            mask=mask if mask is None or meta or is_binary(call.tensors()[mask]) else None,
            mask_inverted=mask is not None and not meta and mask_inverted(mask, call.tensors()[mask]),
            state=state,
            ranges=survey.ranges,
            pad_values=survey.pad_values,
            limits=_limits(model),
            root=root,
            meta=meta,
            targets=targets,
        )
        # Without weights, what the forward makes anew must not come with any either.
        with torch.device("meta") if meta else contextlib.nullcontext():
            results = _judged(context, [targets.by_name[name] for name in spec.target])
    finally:
        state.restore(thorough=True)
        put_back_in_mode(model, training, flags)
    sizes = dims.sizes(call.inputs)
    return tuple(
        CellResult(
            target=name,
            batch_size=sizes.get(BATCH, batch),
            seq_len=sizes.get(SEQ, seq),
            checks=found,
            dims={} if targets.by_name[name].fixed_shapes else context.found_dims,
        )
        for name, found in zip(spec.target, results, strict=True)
    )


def _judged(context: Context, wanted: list[Target]) -> list[tuple[CheckResult, ...]]:
    """The results of every check, for each target in turn."""
    rows: list[list[CheckResult]] = [[] for _ in wanted]
    for check in checks.ALL:
        shared: CheckResult | None = None
        for target, row in zip(wanted, rows, strict=True):
            context.target = target
            if check.name == "shapes" and target.fixed_shapes and check.name not in context.spec.skip:
                reason = f"{target.name} accepts the traced shape only: padding carries the proof"
                row.append(CheckResult.skipped(check.name, reason))
            elif check.name == "target":
                row.append(check.judge(context))
            elif shared is None:
                shared = check.judge(context)
                row.append(shared)
            else:
                # Found once, shown in each cell; the time was spent once too.
                row.append(replace(shared, seconds=0.0))
    return [_or_nothing_ran(tuple(row)) for row in rows]


def _or_nothing_ran(results: tuple[CheckResult, ...]) -> tuple[CheckResult, ...]:
    """A cell in which every check is skipped proves nothing, and fails."""
    if any(result.status is not Status.SKIPPED for result in results):
        return results
    finding = Finding(message="no check ran: every one is skipped", hint="shorten skip=")
    return (CheckResult.failed("eager", Verdict.EAGER_FAILURE, finding), *results[1:])


def put_back_in_mode(model: torch.nn.Module, training: bool, flags: list[tuple[torch.nn.Module, bool]]) -> None:
    """Undo ``model.eval()``: through ``train()``, which some models give more to do, and then flag by flag."""
    if training:
        model.train()
    for module, flag in flags:
        if module.training != flag:
            module.training = flag


def refuse_empty(call: Call) -> None:
    """Raise :class:`SubjectError` for an input without elements: a trace of no data shows nothing."""
    for path, tensor in tensors(call.inputs):
        if not tensor.is_nested and 0 in tensor.shape:
            raise SubjectError(
                f"input {path!r} has a zero-sized axis, shape {tuple(tensor.shape)}: a trace of no data shows nothing; "
                "give at least one element"
            )


def _dims(model: torch.nn.Module, call: Call, spec: GateSpec, state: ModelState, *, seq_asked: bool, try_it: bool) -> Dims:
    """The dims as declared, else as inferred; whether a float input is (batch, time, features) or (…, time) is tried out."""
    if spec.dims:
        return declared_dims(call.inputs, spec.dims)
    dims = infer_dims(call.inputs, seq_asked=seq_asked)
    turned = other_sequence_axis(call.inputs, dims) if try_it else None
    if turned is None or _accepts(model, call, dims, state) or not _accepts(model, call, turned, state):
        return dims
    return turned


def _accepts(model: torch.nn.Module, call: Call, dims: Dims, state: ModelState) -> bool:
    """Whether eager takes a sequence that is one longer."""
    size = dims.sizes(call.inputs)[SEQ]
    with quiet():
        try:
            call.run(model, resize(call.inputs, dims, {SEQ: size + 1}))
        except Exception:  # noqa: BLE001 - whatever the model says of it, it is a no
            return False
        finally:
            state.restore()
    return True


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


def _limits(model: torch.nn.Module) -> dict[str, int]:
    if not is_transformers_model(model):
        return {}
    longest = max_length(model)
    return {SEQ: longest, "decoder_seq": longest} if longest else {}


@dataclass
class _Survey:
    """What one eager run tells of the inputs: the range of each integer input, and what pads it."""

    ranges: dict[str, tuple[int, int]] = field(default_factory=dict)
    pad_values: dict[str, int] = field(default_factory=dict)


def _surveyed(model: torch.nn.Module, call: Call, state: ModelState, *, meta: bool) -> tuple[Call, _Survey]:
    """The call as it is deployed, and a survey of one run of it. A run that fails leaves the verdict to ``eager``."""
    call = as_deployed(model, call, state, try_it=not meta)
    survey = _Survey()
    if meta:
        return call, survey
    by_path = {
        path: tensor
        for path, tensor in call.tensors().items()
        if not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    }
    if not by_path or not any(isinstance(module, torch.nn.Embedding) for module in model.modules()):
        return call, survey

    def look(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        for path, tensor in by_path.items():
            if path not in survey.ranges and args and isinstance(args[0], torch.Tensor):
                looked = args[0]
                if looked.shape == tensor.shape and torch.equal(looked, tensor.to(looked.dtype)):
                    survey.ranges[path] = (0, module.num_embeddings)  # type: ignore[assignment]
                    if module.padding_idx is not None:
                        survey.pad_values[path] = int(module.padding_idx)  # type: ignore[arg-type]

    embeddings = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    handles = [module.register_forward_pre_hook(look) for module in embeddings]
    with quiet():
        try:
            call.run(model)
        except Exception:  # noqa: BLE001, S110 - the check `eager` says what is wrong
            pass
        finally:
            for handle in handles:
                handle.remove()
            state.restore()
    pad = getattr(getattr(model, "config", None), "pad_token_id", None)
    if isinstance(pad, int) and is_transformers_model(model):
        survey.pad_values.update({path: pad for path in by_path if path.endswith("input_ids")})
    if is_transformers_model(model):
        # The index that transformers' losses ignore.
        survey.pad_values.update({path: -100 for path in by_path if path.endswith("labels")})
    return call, survey


def as_deployed(model: torch.nn.Module, call: Call, state: ModelState, *, try_it: bool = True) -> Call:
    """A transformers model's call as its documentation says to trace it: tuples, and no cache; other calls as is."""
    if not is_transformers_model(model):
        return call
    parameters = inspect.signature(model.forward).parameters
    takes_more = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    if "use_cache" in parameters or (takes_more and getattr(getattr(model, "config", None), "use_cache", False)):
        call = call.with_constants(use_cache=False)
        cache = call.constants.get("past_key_values")
        if cache is not None and getattr(cache, "get_seq_length", lambda: 1)() == 0:
            # What generate() hands to its first step: without use_cache an empty cache is none.
            call = call.with_constants(past_key_values=None)
    tuples = call.with_constants(return_dict=False)
    if "return_dict" in parameters or not try_it:
        return tuples if "return_dict" in parameters or takes_more else call
    # Since 5.x decorators take return_dict off the keywords, unseen by the signature: a run tells.
    with quiet():
        try:
            tuples.run(model)
        except TypeError as error:
            return call if "return_dict" in str(error) else tuples
        except Exception:  # noqa: BLE001 - the check `eager` says what is wrong
            return tuples
        finally:
            state.restore()
    return tuples


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
            elif name not in ("_parameters", "_buffers", "_modules") and not isinstance(value, torch.nn.Module):
                try:
                    copy.deepcopy(value, dict(memo))
                except Exception:  # noqa: BLE001 - a lock, a file: the copy shares it
                    memo[id(value)] = value
    on_meta: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor.detach().to("meta")  # noqa: E731
    return copy.deepcopy(model, memo), call.with_inputs(map_tensors(on_meta, dict(call.inputs)))
