"""``torch.export`` of the model that is traced, with the same dims: is it ready to leave TorchScript?

The exported program takes what the trace takes: the inputs by position, the constants bound. Each dim is left to torch to
keep or to specialise; what it kept is then tried at other sizes.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import linecache
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from .. import source
from ..diagnosis.hints import root_cause
from ..nested import Mismatch, clone, map_tensors, tensors
from ..subject.inputs import Dims
from ..tracing import private
from .base import Missing, Unsupported
from .deployment import Deployment

__all__ = ["Exported", "build", "run"]

_MOST_FRESH = 3
_KEEP = "keep the size in the graph: x.shape[i] without int(), len(), a Python loop or a comparison with a constant"
_UNROLLED = "torch.export unrolls nn.LSTM, nn.GRU and nn.RNN, a step for each position: export at the length that is deployed"
_ONE_DIM = "declare both axes as one dim in dims=, or write the forward so that it need not take them for equal"
_CONDITION = (
    "the program takes sizes for which its guards hold: write the forward without that condition, or deploy such sizes only"
)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported program, callable, and the sizes it was exported at."""

    module: Callable[..., Any]
    sizes: Mapping[str, int]


def build(deployment: Deployment) -> Exported:
    """Export the model and try the program at other sizes and values.

    ``metrics`` get ``exportable``, ``export_dims`` (the class of each dim, as the check ``shapes`` has it), ``graph_nodes``
    and, where torch refuses, the kind of ``refusal``.

    Raises:
        Unsupported: torch.export refuses the model.
        Missing: an export that was given up still runs in another thread.
    """
    private.require(*private.EXPORT)
    with _alone(deployment.timeout), _quietly():
        deployment.metrics["exportable"] = False
        attempt = _exported(deployment)
        try:
            deployment.metrics["exportable"] = True
            # What stood in the way of one dim only is said of that dim.
            deployment.metrics.pop("refusal", None)
            deployment.metrics["graph_nodes"] = len(attempt.program.graph.nodes)
            artefact = Exported(module=attempt.module, sizes=attempt.sizes)
            _judge(deployment, artefact, attempt)
        finally:
            attempt.log.forget()
    return artefact


def run(artefact: Exported, deployment: Deployment, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
    """The exported program's outputs."""
    with _quietly():
        outputs = [_call(artefact, values) for values in inputs]
    for values, actual in zip(inputs, outputs, strict=True):
        if _only_fast_path(deployment, values, actual):
            deployment.fail(
                "the exported program differs from eager by the fast path of nn.TransformerEncoder alone, which torch.export "
                "does without: where padding is masked, eager writes zeros and the program what it computes there",
                hint=_FAST_PATH,
            )
            break
    return outputs


def _call(artefact: Exported, inputs: Mapping[str, Any]) -> Any:
    outputs = artefact.module(*clone(dict(inputs)).values())
    return map_tensors(lambda tensor: tensor.detach().clone(), outputs)


# One at a time

_PATIENCE = 1.0
"""Seconds that an export which is being ended is waited for."""


@dataclass(kw_only=True)
class _Turn:
    """An export under way, the thread it runs in, and when it is given up."""

    thread: threading.Thread
    until: float
    done: bool = False

    @property
    def runs(self) -> bool:
        return not self.done and self.thread.is_alive()

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    def end(self) -> None:
        """Make the thread raise at its next line of Python, as the gate did when it gave it up: that may have been caught."""
        if self.runs:
            number = ctypes.c_ulong(self.thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(SystemExit))


_turn: _Turn | None = None
_taking = threading.Lock()


@contextlib.contextmanager
def _alone(timeout: float) -> Iterator[None]:
    """While open, no other thread exports.

    While it exports, torch patches the class of all modules and keeps its state in the process: two at once corrupt both.

    Raises:
        Missing: another export still runs.
    """
    turn = _taken(timeout)
    try:
        yield
    finally:
        # Takes no lock: a thread that was given up may be interrupted here.
        turn.done = True


def _taken(timeout: float) -> _Turn:
    """The turn of this thread, once no other has one."""
    global _turn
    started = time.monotonic()
    while True:
        with _taking:
            other = _turn
            if other is None or not other.runs or other.thread is threading.current_thread():
                _turn = _Turn(thread=threading.current_thread(), until=started + timeout)
                return _turn
        if other.over:
            other.end()
        if time.monotonic() > min(max(other.until, started) + _PATIENCE, started + timeout / 2):
            raise Missing("an earlier export is still running in this process")
        other.thread.join(0.02)


def _given_up() -> bool:
    return _turn is not None and _turn.thread is threading.current_thread() and _turn.over


# Leaving no trace


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what torch says of this thread's exports off stderr, and its store of generated sources from growing.

    A refused export logs a warning and prints a graph; a program that refuses its inputs prints its code.
    """
    here = threading.get_ident()
    talkative = private.modules_of_export()
    loggers = [
        logger
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and name.partition(".")[0] == "torch"
    ]

    def elsewhere(_: logging.LogRecord) -> bool:
        return threading.get_ident() != here

    def say(*args: Any, **kwargs: Any) -> None:
        if threading.get_ident() != here:
            print(*args, **kwargs)

    sources = private.generated_sources()
    known = set(sources)
    for logger in loggers:
        logger.addFilter(elsewhere)
    for module in talkative:
        # Shadows the builtin in that module alone.
        vars(module)["print"] = say
    try:
        yield
    finally:
        for module in talkative:
            vars(module).pop("print", None)
        for logger in loggers:
            logger.removeFilter(elsewhere)
        for name in set(sources) - known:
            sources.pop(name, None)
            linecache.cache.pop(name, None)


_RNN = torch.nn.modules.rnn.__file__


class _GuardLog:
    """The line of the model at which each guard on a size was made.

    torch keeps the innermost frame of a guard, which is its own wherever an operation compares sizes. While open, every
    location that it takes down is given the stack's own line.
    """

    def __init__(self) -> None:
        self.environment: Any = None
        self._lines: dict[int, tuple[Any, source.Line | None, bool]] = {}

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        original = private.guard_location()
        if original is None:
            # torch before 2.6 keeps whole stacks itself.
            yield
            return
        here = threading.get_ident()

        def located(environment: Any, *args: Any, **kwargs: Any) -> Any:
            location = original(environment, *args, **kwargs)
            if threading.get_ident() == here:
                self.environment = environment
                # The location is kept beside its line, so that no other object gets its id.
                stack = list(source.frames(sys._getframe(1)))
                unrolled = any(frame.file == _RNN for frame in stack)
                self._lines[id(location)] = location, source.innermost(stack), unrolled
            return location

        private.set_guard_location(located)
        try:
            yield
        finally:
            private.set_guard_location(original)

    def line_of(self, guard: Any) -> source.Line | None:
        location = getattr(guard, "sloc", None)
        if location is not None:
            return self._lines.get(id(location), (None, None, False))[1]
        frames: list[Any] = getattr(getattr(guard, "stack", None), "summary", list)()
        return source.innermost(source.Line(frame.filename, frame.lineno or 0, frame.name) for frame in reversed(frames))

    def unrolls(self, guard: Any) -> bool:
        """Whether a guard was made inside torch's own recurrent layers."""
        location = getattr(guard, "sloc", None)
        return self._lines.get(id(location), (None, None, False))[2]

    def broken_at(self, shapes: Mapping[str, int]) -> tuple[source.Line | None, bool]:
        """The first guard that does not hold when the sizes are these, by torch's names: its line, and whether it unrolls."""
        environment = self.environment
        if environment is None:
            return None, False
        symbols = {}
        for symbol, sources in environment.var_to_sources.items():
            for entry in sources:
                name = entry.name() if callable(entry.name) else entry.name
                if name in shapes:
                    symbols[symbol] = shapes[name]
        for guard in environment.guards:
            if _broken(guard.expr, symbols) and (line := self.line_of(guard)) is not None:
                return line, self.unrolls(guard)
        return None, False

    def forget(self) -> None:
        """Let go of what torch would keep: operations on symbolic sizes, cached in a ring that nothing frees."""
        if self.environment is not None:
            getattr(self.environment, "fake_tensor_cache", {}).clear()
        self.environment = None
        self._lines.clear()


def _broken(expression: Any, sizes: Mapping[Any, int]) -> bool:
    try:
        return bool(expression.subs(sizes) == False)  # noqa: E712 - sympy's False is another object
    except ArithmeticError:
        # A size of 0 or less in between: torch divides by it.
        return False


# Exporting


@dataclass(kw_only=True)
class _Attempt:
    """A program, the inputs it was exported at, and the dims that torch refused to take as dynamic, each with its reason."""

    program: ExportedProgram
    module: Callable[..., Any]
    inputs: Mapping[str, Any]
    sizes: Mapping[str, int]
    log: _GuardLog
    refused: dict[str, Unsupported] = field(default_factory=dict)


def _exported(deployment: Deployment) -> _Attempt:
    """The program with as many dynamic dims as torch grants."""
    wanted = [dim for dim in deployment.sizes if deployment.shape_rule(dim) != "fixed"]
    inputs = _spread(deployment, wanted)
    attempt = _with_most_dims(deployment, inputs, wanted)
    if inputs is not deployment.inputs and not deployment.without_weights:
        artefact = Exported(module=attempt.module, sizes=attempt.sizes)
        if _compared(deployment, artefact, deployment.inputs).kind in ("wrong", "raises"):
            # torch takes a size that it kept for never 1. What cannot run the user's own call is not what would be deployed.
            attempt.log.forget()
            return _with_most_dims(deployment, deployment.inputs, wanted)
    return attempt


def _spread(deployment: Deployment, wanted: Sequence[str]) -> Mapping[str, Any]:
    """The traced inputs; where a dynamic dim has the size 1, which torch always specialises, a larger one eager accepts."""
    sizes = deployment.sizes
    ones = [dim for dim in wanted if sizes[dim] == 1 and deployment.limits.get(dim, 2) >= 2]
    if not ones:
        return deployment.inputs
    taken = set(sizes.values())
    larger: dict[str, int] = {}
    for dim in ones:
        # Two dims of one size could pass for the same.
        free = [size for size in (2, 3, 5, 7) if size not in taken and size <= deployment.limits.get(dim, size)]
        larger[dim] = free[0] if free else 2
        taken.add(larger[dim])
    inputs = deployment.resized(larger)
    if not deployment.without_weights:
        try:
            deployment.eager(inputs)
        except Exception:  # noqa: BLE001 - outside the model's domain
            return deployment.inputs
    return inputs


def _with_most_dims(deployment: Deployment, inputs: Mapping[str, Any], wanted: Sequence[str]) -> _Attempt:
    try:
        return _attempt(deployment, inputs, wanted)
    except Unsupported as error:
        if not wanted:
            raise
        refusal = error
    # What fails with every size static has nothing to do with sizes.
    static = _attempt(deployment, inputs, ())
    if len(wanted) > 1:
        for dim in wanted:
            with contextlib.suppress(Unsupported):
                attempt = _attempt(deployment, inputs, [other for other in wanted if other != dim])
                attempt.refused = {dim: refusal}
                static.log.forget()
                return attempt
    static.refused = dict.fromkeys(wanted, refusal)
    return static


def _attempt(deployment: Deployment, inputs: Mapping[str, Any], dynamic: Sequence[str]) -> _Attempt:
    log = _GuardLog()
    try:
        with _bound(deployment, inputs) as arguments, log.recording():
            shapes = _dynamic_shapes(deployment, inputs, arguments, dynamic)
            program = torch.export.export(deployment.model, arguments, dynamic_shapes=shapes, strict=False)
            # Not every program that is made can be used: its code is generated here.
            module = program.module()
    except Exception as error:  # noqa: BLE001 - torch.export raises whatever the model does among fake tensors
        log.forget()
        raise _refusal(deployment, error) from None
    return _Attempt(program=program, module=module, inputs=inputs, sizes=Dims(deployment.dims).sizes(inputs), log=log)


@contextlib.contextmanager
def _bound(deployment: Deployment, inputs: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """While open, the model's forward takes exactly the inputs, by position; yields copies of them.

    torch.export takes a call as it is, but neither dims for what a ``**kwargs`` swallows, as every transformers model does,
    nor constants that are no plain values (a dtype, a config).
    """
    model = deployment.model
    had, before, original = "forward" in model.__dict__, model.__dict__.get("forward"), model.forward
    names = list(inputs)

    # A function: torch.export asks it for its code.
    def forward(*values: Any) -> Any:
        args, kwargs = deployment.arguments_of(dict(zip(names, values, strict=True)))
        return original(*args, **kwargs)

    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    model.__dict__["forward"] = forward
    try:
        yield tuple(clone(dict(inputs)).values())
    finally:
        # Another export may have bound its own, once this one was given up.
        if model.__dict__.get("forward") is forward:
            if had:
                model.__dict__["forward"] = before
            else:
                del model.__dict__["forward"]
        # Whoever gave it up has done so, and may have gone on with the model.
        if not _given_up():
            deployment.restore()


def _dynamic_shapes(
    deployment: Deployment, inputs: Mapping[str, Any], arguments: tuple[Any, ...], dynamic: Sequence[str]
) -> tuple[Any, ...] | None:
    """The shapes in the form of the arguments: ``{axis: hint}`` for a tensor with a dynamic dim, None for others."""
    hints = {dim: _hint(dim, deployment.limits.get(dim)) for dim in dynamic}
    by_tensor: dict[int, dict[int, Any]] = {}
    for path, tensor in tensors(dict(zip(inputs, arguments, strict=True))):
        axes = {
            axis: hints[dim] for axis, dim in deployment.dims.get(path, {}).items() if dim in hints and tensor.shape[axis] > 1
        }
        if axes:
            by_tensor[id(tensor)] = axes
    if not by_tensor:
        return None
    shapes: tuple[Any, ...] = private.tree_map(lambda leaf: by_tensor.get(id(leaf)), arguments)
    return shapes


def _hint(dim: str, limit: int | None) -> Any:
    """What leaves a dim to torch: ``Dim.AUTO``; before torch 2.6, which brought it, a named dim, which must be dynamic."""
    auto = getattr(Dim, "AUTO", None)
    return auto if auto is not None else Dim(re.sub(r"\W", "_", dim), max=limit)


# Refusals

_REFUSED = "torch.export refuses the model: "
_AS_TENSOR = "keep it a tensor; a size or a bound must come from x.shape or be a constant"
_REFUSALS: tuple[tuple[str, str, str, str], ...] = (
    (
        r"Could not (guard on|extract).*Size-like symbols: (?!none)",
        "data-dependent size",
        "Python code depends on a size that the tensor's values decide (nonzero, a boolean index)",
        "keep the shape: torch.where or a mask instead of an index; or state what holds of the size by torch._check",
    ),
    (
        r"fake tensor in the exported program constant's list|FakeTensor.*(leak|constant)",
        "leaked tensor",
        "a tensor of the forward stays outside the graph: a gradient taken inside, .data, or an attribute that keeps it",
        "return the tensor instead of keeping it; leave gradients and writes through .data to the caller",
    ),
    (
        r"^SyntaxError",
        "name",
        "its code cannot be generated, most likely for a submodule, parameter or input whose name is a Python keyword",
        "rename it",
    ),
    (
        r"got FakeTensor",
        "tensor as a number",
        "a tensor's value becomes a Python number, on which torch.export cannot decide",
        _AS_TENSOR,
    ),
    (
        r"Could not (guard on|extract)|DataDependentOutput|data-dependent",
        "data-dependent branch",
        "a Python branch depends on the tensor's values",
        "replace the Python branch by torch.where or torch.cond",
    ),
    (
        r"\.numpy\(\) is not supported|can't convert.*numpy|__array__",
        "NumPy",
        "a tensor goes to NumPy, which leaves the graph",
        "stay with torch's operations, or wrap the NumPy code in torch.library.custom_op with a fake implementation",
    ),
    (
        r"Cannot access data pointer|data_ptr",
        "data pointer",
        "the forward reads a tensor's memory, and torch.export runs it on tensors that have none",
        "wrap the kernel in torch.library.custom_op with a fake implementation",
    ),
    (
        r"no fake impl|register_fake|does not have a fake|Unable to find .*fake|Operator does not support running with fake",
        "custom operator",
        "a custom operator has no fake implementation, which would tell torch.export its output's shape",
        "register one with torch.library.register_fake",
    ),
    (
        r"in output, which is not a known type|Unsupported output type|output.*not.*pytree",
        "output type",
        "the model returns an object that torch.export does not know",
        "return tensors in tuples, lists or dicts, or register the class by torch.export.register_dataclass",
    ),
    (
        r"Unsupported input type|Cannot associate shape .* to non-tensor type",
        "input type",
        "the model takes an object that torch.export does not know",
        "pass tensors in tuples, lists or dicts, or register the class by torch.utils._pytree.register_pytree_node",
    ),
    (
        r"Constraints? violated|specialized it to be a constant|must always be equal",
        "specialised size",
        "a size declared dynamic is a constant in the forward, or must equal another",
        _KEEP,
    ),
    (
        r"\bSymInt\b(?!\[)|KeyError: 's\d+'",
        "size as a Python value",
        "a size must be a plain int for the forward (a key, a type test), which a dynamic one is not",
        _KEEP,
    ),
)
_TO_NUMBER = re.compile(r"\.item\(|\.tolist\(|\b(int|float|bool)\(")
_ADVICE = re.compile(
    r"\s*(For more information|The error above occurred|If you would like|See https?:|If you're using|Caused by:).*", re.DOTALL
)
_TYPE = re.compile(r"<class '([^']+)'>")
_OPERATOR = re.compile(r"CustomOpDef\(([^)]+)\)")


def _refusal(deployment: Deployment, error: Exception) -> Unsupported:
    """torch's error, reduced to cause, line and remedy."""
    text = f"{type(error).__name__}: {error}"
    line = source.innermost(source.traceback_frames(error.__traceback__)) or source.innermost(source.parse_stack(text))
    for pattern, kind, cause, hint in _REFUSALS:
        if not re.search(pattern, text, re.DOTALL):
            continue
        if kind == "data-dependent branch" and line and _TO_NUMBER.search(line.text):
            kind, cause, hint = (
                "tensor as a number",
                "a tensor's value becomes a Python number, on which torch.export cannot decide",
                _AS_TENSOR,
            )
        named = _TYPE.search(text) if kind.endswith("type") else _OPERATOR.search(text)
        if kind in ("output type", "input type", "custom operator") and named:
            cause = f"{cause} ({named[1]})"
        if kind == "output type":
            line = deployment.returned_at()
        break
    else:
        scripted = next(
            (name for name, part in deployment.model.named_modules() if isinstance(part, torch.jit.ScriptModule)), None
        )
        if scripted is not None:
            deployment.metrics["refusal"] = "scripted module"
            what = f"{scripted!r} is a scripted module" if scripted else "the model is a scripted module"
            remedy = "put the plain nn.Module in its place: torch.jit.script belongs to the deployment, after the export"
            return Unsupported(f"{_REFUSED}{what}, which it does not take", line=line, hint=remedy)
        kind, hint = "other", "see torch.export.draft_export, which lists everything that stands in its way"
        cause = root_cause(_ADVICE.sub("", str(error)).strip() or type(error).__name__)
        if not cause.startswith(type(error).__name__):
            cause = f"{type(error).__name__}: {cause}"
    deployment.metrics["refusal"] = kind
    return Unsupported(f"{_REFUSED}{cause}", line=line, hint=hint)


# Judging


@dataclass
class _Probe:
    kind: str
    mismatches: Sequence[Mismatch] = ()
    error: Exception | None = None
    line: source.Line | None = None
    unrolled: bool = False
    fast_path: bool = False


def _judge(deployment: Deployment, artefact: Exported, attempt: _Attempt) -> None:
    """Try the program at other sizes and values; findings and the classes of the dims go to the deployment."""
    if not deployment.without_weights:
        first = _compared(deployment, artefact, deployment.inputs)
        if first.kind == "raises":
            deployment.metrics.update(exportable=False, refusal="does not run")
            raise Unsupported(
                f"the exported program refuses the very inputs of its export: {_reason(first)}",
                hint="look for a buffer or an attribute that has another shape after the call than before",
            )
        if first.kind == "wrong":
            # Wrong where it was exported: the comparison of the samples says so, and other sizes would say it again.
            deployment.metrics["export_dims"] = dict.fromkeys(attempt.sizes, "unsafe")
            return
    _other_values(deployment, artefact)
    classes: dict[str, str] = {}
    able: dict[str, int] = {}
    for dim, size in attempt.sizes.items():
        probes = {other: _probed(deployment, artefact, attempt, {dim: other}) for other in _others(size, deployment, dim)}
        classes[dim] = _class_of(probes, attempt.sizes[dim], static=_is_static(deployment, attempt, dim))
        if classes[dim] == "dynamic":
            equal = [other for other, probe in probes.items() if probe.kind == "equal"]
            able[dim] = next((other for other in equal if other > 1), 1)
        _say(deployment, attempt, dim, classes[dim], probes)
    if len(able) > 1 and not deployment.failures:
        probe = _probed(deployment, artefact, attempt, able)
        where = " and ".join(f"{dim} {size}" for dim, size in able.items())
        if probe.kind == "wrong":
            classes.update(dict.fromkeys(able, "unsafe"))
            _fail_wrong(deployment, f"the exported program is silently wrong at {where} together", probe, able)
        elif probe.kind == "raises" and any(deployment.shape_rule(dim) == "dynamic" for dim in able):
            deployment.fail(
                f"the exported program refuses {where} together, though right at each alone: {_reason(probe)}",
                line=probe.line,
                where="specialised at",
                hint=_remedy(probe, "partial"),
            )
    deployment.metrics["export_dims"] = classes


def _others(size: int, deployment: Deployment, dim: str) -> list[int]:
    """Smaller, larger, one, the next, and the double, which keeps what divides the size; within the limit."""
    limit = deployment.limits.get(dim)
    sizes = dict.fromkeys((max(size // 2, 1), 2 * size + 1, 1, size + 1, 2 * size))
    return [other for other in sizes if other != size and (limit is None or other <= limit)]


def _is_static(deployment: Deployment, attempt: _Attempt, dim: str) -> bool:
    """Whether the program holds a dim as a constant wherever its inputs have it."""
    shapes = [node.meta["val"].shape for node in attempt.program.graph.nodes if _is_input(attempt.program, node)]
    axes = [deployment.dims.get(path, {}) for path, _ in tensors(dict(attempt.inputs))]
    if len(shapes) != len(axes):
        return False
    sizes = [shape[axis] for shape, named in zip(shapes, axes, strict=True) for axis, name in named.items() if name == dim]
    # A dim left to torch stays a symbol, of which torch knows the number.
    return bool(sizes) and all(isinstance(size, int) or size.node.maybe_as_int() is not None for size in sizes)


def _is_input(program: ExportedProgram, node: torch.fx.Node) -> bool:
    return node.op == "placeholder" and node.name in program.graph_signature.user_inputs and hasattr(node.meta["val"], "shape")


def _class_of(probes: Mapping[int, _Probe], size: int, *, static: bool) -> str:
    kinds = {probe.kind for probe in probes.values()} - {"outside"}
    if not kinds:
        return "untested"
    if "wrong" in kinds:
        return "unsafe"
    if kinds == {"equal"}:
        return "dynamic"
    # Refusals of smaller sizes alone do not tell: others may be outside the model's domain, and larger ones accepted.
    larger = any(other > size for other, probe in probes.items() if probe.kind == "raises")
    return "fixed" if kinds == {"raises"} and (larger or static) else "partial"


def _probed(deployment: Deployment, artefact: Exported, attempt: _Attempt, sizes: Mapping[str, int]) -> _Probe:
    """The program and eager at other sizes. Sizes that are not named are those of the export."""
    inputs = deployment.resized({**attempt.sizes, **sizes})
    probe = _compared(deployment, artefact, inputs)
    if probe.kind == "raises":
        probe.line, probe.unrolled = attempt.log.broken_at(_shape_names(inputs))
    return probe


def _compared(deployment: Deployment, artefact: Exported, inputs: Mapping[str, Any]) -> _Probe:
    try:
        expected = deployment.eager(inputs)
    except Exception as error:  # noqa: BLE001 - eager refuses: outside the model's domain, whatever it raises
        if not deployment.without_weights:
            return _Probe("outside", error=error)
        # Without weights eager often cannot run where the program can.
        expected = None
    if expected is not None and not all(_finite(leaf) for _, leaf in tensors(expected)):
        return _Probe("outside")
    try:
        actual = _call(artefact, inputs)
    except Exception as error:  # noqa: BLE001 - a loud refusal
        return _Probe("raises", error=error)
    if expected is None:
        return _Probe("equal")
    mismatches = deployment.compare(actual, expected)
    if mismatches and deployment.compare(deployment.eager(inputs), expected):
        return _Probe("outside")
    if not mismatches:
        return _Probe("equal")
    return _Probe("wrong", mismatches, fast_path=_only_fast_path(deployment, inputs, actual))


def _only_fast_path(deployment: Deployment, inputs: Mapping[str, Any], actual: Any) -> bool:
    """Whether outputs are not eager's, and would be without the fast path of torch's own encoder."""
    fast = torch.backends.mha.get_fastpath_enabled()
    if not fast or not any(isinstance(part, torch.nn.TransformerEncoderLayer) for part in deployment.model.modules()):
        return False
    try:
        if not deployment.compare(actual, deployment.eager(inputs)):
            return False
        torch.backends.mha.set_fastpath_enabled(False)
        return not deployment.compare(actual, deployment.eager(inputs))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _finite(leaf: torch.Tensor) -> bool:
    if leaf.is_meta or leaf.is_quantized or leaf.layout != torch.strided or not leaf.is_floating_point():
        return True
    return bool((leaf.float() if leaf.itemsize == 1 else leaf).isfinite().all())


def _shape_names(inputs: Mapping[str, Any]) -> dict[str, int]:
    """Every size of the inputs by torch's name for it: ``L['pair'][0].size()[1]``."""
    found: dict[str, int] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, torch.Tensor):
            found.update({f"{name}.size()[{axis}]": size for axis, size in enumerate(value.shape)})
        elif isinstance(value, Mapping):
            for key, entry in value.items():
                walk(entry, f"{name}[{key!r}]")
        elif isinstance(value, (list, tuple)):
            for index, entry in enumerate(value):
                walk(entry, f"{name}[{index}]")

    walk(dict(inputs), "L")
    return found


def _other_values(deployment: Deployment, artefact: Exported) -> None:
    """Fresh values of the traced shape, where the gate's own choice of samples has none since the trace was not tried."""
    if deployment.without_weights or getattr(deployment.status("values"), "value", None) == "passed":
        return
    tried = 0
    for name, inputs in deployment.variants():
        probe = _compared(deployment, artefact, inputs)
        if probe.kind == "wrong":
            _fail_wrong(deployment, f"the exported program is silently wrong for other values ({name})", probe, {})
            return
        tried += probe.kind == "equal"
        if tried == _MOST_FRESH:
            return


# Findings


def _say(deployment: Deployment, attempt: _Attempt, dim: str, kind: str, probes: Mapping[int, _Probe]) -> None:
    """What a dim's class means under its rule."""
    rule = deployment.shape_rule(dim)
    size = attempt.sizes[dim]
    details = {"dim": dim, "exported": size, "probes": {str(other): probe.kind for other, probe in sorted(probes.items())}}
    wrong = {other: probe for other, probe in probes.items() if probe.kind == "wrong"}
    if wrong:
        other, probe = next(iter(wrong.items()))
        message = f"{dim} is silently wrong in the exported program: exported at {size}"
        also = f" (and at {', '.join(map(str, list(wrong)[1:]))})" if len(wrong) > 1 else ""
        _fail_wrong(
            deployment, f"{message}, off at {other}{also}", probe, details, _NEVER_ONE if list(wrong) == [1] else _HIDDEN
        )
        return
    refused = [other for other, probe in probes.items() if probe.kind == "raises"]
    if kind == "untested" and rule == "dynamic":
        tried = f"eager takes none of {', '.join(map(str, probes))}" if probes else "its limit leaves no other size"
        deployment.note(
            f"{dim} is untested in the exported program, declared dynamic: exported at {size}, and {tried}",
            hint=f"give the test inputs at a size of {dim} that has others beside it, or declare it fixed",
            details=details,
        )
    if not refused or rule == "fixed":
        return
    first = probes[refused[0]]
    refusal = attempt.refused.get(dim)
    reason = str(refusal).removeprefix(_REFUSED) if refusal else _reason(first)
    about: dict[str, Any] = {
        "line": refusal.line if refusal else first.line,
        "where": "specialised at",
        "hint": refusal.hint if refusal else _remedy(first, kind),
        "details": details,
    }
    asked = ", declared dynamic" if rule == "dynamic" else ""
    others = ", ".join(map(str, refused))
    message = f"{dim} is {kind} in the exported program{asked}: exported at {size}, it refuses {others}: {reason}"
    (deployment.fail if rule == "dynamic" else deployment.note)(message, **about)


_EQUAL_SIZES = re.compile(r"Guard failed: \S+\.size\(\)\[\d+\] == \S+\.size\(\)\[\d+\]$")


def _remedy(probe: _Probe, kind: str) -> str:
    """What to do about a refusal of another size."""
    if probe.unrolled:
        return _UNROLLED
    if _EQUAL_SIZES.match(_reason(probe)):
        return _ONE_DIM
    return _CONDITION if kind == "partial" else _KEEP


def _reason(probe: _Probe) -> str:
    if probe.error is None:
        return "no reason given"
    text = root_cause(_ADVICE.sub("", str(probe.error)).strip() or type(probe.error).__name__)
    return text.removeprefix("AssertionError: ")


_HIDDEN = "look for code that behaves otherwise while exporting, or that hides a size from the graph"
_FAST_PATH = (
    "let nothing depend on padded positions, and compare without the fast path: torch.backends.mha.set_fastpath_enabled(False) "
    "in the test or its conftest.py"
)
_NEVER_ONE = (
    "torch.export takes a dynamic size for never 1, and checks nothing: write the forward without a special case for 1, "
    "or let it refuse 1"
)


def _fail_wrong(deployment: Deployment, message: str, probe: _Probe, details: Mapping[str, Any], hint: str = _HIDDEN) -> None:
    mismatch = probe.mismatches[0]
    deployment.fail(
        f"{message}: {mismatch.label} by {mismatch.text}",
        path=mismatch.path,
        hint=_FAST_PATH if probe.fast_path else hint,
        details={**details, **mismatch.details()},
    )
