"""What AWS publishes of models that Neuron cannot take, as rules for a machine without its SDK.

A deny-list: the only list of supported operators that counts is the compiler's own. Rules about operations look at the
traced graph, which holds dtypes and source lines and needs no weights; rules about values run the model itself.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from .. import source
from ..diagnosis.ops import OperationLog, first_difference
from ..nested import describe, join, map_tensors, tensors
from ..result import Finding, Status
from ..subject.inputs import BATCH, mapped
from ..tracing import private
from .base import FAIL, WARN, NotJudged, Rule
from .deployment import Deployment

__all__ = ["RULES"]

_MOST_LINES = 3
_INT32 = torch.iinfo(torch.int32)
_INTEGERS = {torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool}

_TRACE_API = "AWS Neuron documentation, torch_neuronx.trace"
_STATIC = "AWS Neuron compiler error NCC_EMOD025: dynamic shape is not supported"

_META = "meta weights"
_UNTRACED = "no trace was made"
_NO_BATCH = "no axis of the inputs is known to be the batch: declare dims="


def _unanswered(deployment: Deployment, name: str) -> str | None:
    """Why a check before this one gave no answer; None where it passed or failed."""
    result = deployment.results.get(name)
    if result is None:
        return f"the check {name} was not run"
    if result.status in (Status.PASSED, Status.FAILED):
        return None
    return result.reason or f"the check {name} was skipped"


# The traced program


class _Place(NamedTuple):
    """A node that breaks a rule, in words, and its remedy."""

    node: Any
    message: str
    hint: str


class _Program:
    """The nodes of the traced graph, and what is known of their values.

    ``inputs`` are the graph's values of the model's inputs by path; ``graph`` owns the nodes and must outlive them.
    """

    def __init__(self, graph: Any, inputs: Mapping[str, Any], module: Any) -> None:
        self.graph = graph
        self.nodes = list(_nodes(graph))
        self.inputs = dict(inputs)
        self._module = module

    @classmethod
    def of(cls, deployment: Deployment) -> _Program | None:
        """The program as traced; where ``torch.jit.trace`` refused, the graph alone, and None where there is no such."""
        module = deployment.module
        if module is not None:
            graph = module.inlined_graph
            values = dict(zip(deployment.inputs, list(graph.inputs())[1:], strict=False))
            return cls(graph, {path: leaf for name, value in values.items() for path, leaf in _unpacked(value, name)}, module)
        try:
            graph = deployment.graph.owner
        except Exception:  # noqa: BLE001 - nothing can be traced: the rule `trace` says why
            return None
        paths = [path for path, _ in tensors(deployment.inputs)]
        return cls(graph, dict(zip(paths, graph.inputs(), strict=False)), None)

    def tensor(self, value: Any) -> torch.Tensor | None:
        """The tensor that a value is in every run: a constant, a parameter or a buffer."""
        node = value.node()
        if node.kind() == "prim::Constant" and "value" in node.attributeNames() and node.kindOf("value") == "t":
            tensor: torch.Tensor = node.t("value")
            return tensor
        names = []
        while node.kind() == "prim::GetAttr":
            names.append(node.s("name"))
            node = next(iter(node.inputs())).node()
        if not names or self._module is None:
            return None
        found = self._module
        for name in reversed(names):
            found = getattr(found, name, None)
        return found if isinstance(found, torch.Tensor) else None

    def dtype(self, value: Any) -> torch.dtype | None:
        """The dtype that a value had when traced; None for what is no tensor, or unknown."""
        kind = value.type()
        if kind.kind() != "TensorType":
            return None
        known: torch.dtype | None = kind.dtype()
        if known is not None:
            return known
        tensor = self.tensor(value)
        return None if tensor is None else tensor.dtype

    def is_scalar(self, value: Any) -> bool:
        """Whether a tensor has no axes, as the numbers have that Python code computes with."""
        if value.type().kind() != "TensorType":
            return False
        tensor = self.tensor(value)
        return tensor.ndim == 0 if tensor is not None else value.type().dim() == 0

    def name(self, value: Any) -> str | None:
        """What the user calls a value: ``input 'x'``, ``weight 'head.scale'``; None for what is computed."""
        for path, entry in self.inputs.items():
            if entry.debugName() == value.debugName():
                return f"input {path!r}"
        node, names = value.node(), []
        while node.kind() == "prim::GetAttr":
            names.append(node.s("name"))
            node = next(iter(node.inputs())).node()
        if names:
            return f"weight {'.'.join(reversed(names))!r}"
        return "a constant" if node.kind() == "prim::Constant" else None


def _nodes(block: Any) -> Iterator[Any]:
    """Every node, those of branches and loops in scripted parts included."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _unpacked(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The leaves of an input that is a tuple, as far as the program takes it apart."""
    unpacking = [use.user for use in value.uses() if use.user.kind() == "prim::TupleUnpack"]
    if not unpacking:
        yield path, value
    for node in unpacking[:1]:
        for index, leaf in enumerate(node.outputs()):
            yield from _unpacked(leaf, join(path, index))


def _operation(node: Any) -> str:
    """The name of an operation as users write it: ``nonzero``."""
    name: str = node.kind().rpartition("::")[2]
    return name.removeprefix("_")


def _in_program(look: Callable[[_Program], Iterable[_Place]]) -> Callable[[Deployment], list[Finding]]:
    """A rule about the traced program: the first places that ``look`` finds, each line once."""

    def check(deployment: Deployment) -> list[Finding]:
        program = _Program.of(deployment)
        if program is None:
            raise NotJudged("nothing can be traced")
        by_line: dict[source.Line | None, _Place] = {}
        for place in look(program):
            by_line.setdefault(deployment.line_of(place.node), place)
        if len(by_line) > 1:
            by_line.pop(None, None)
        hidden = len(by_line) - _MOST_LINES
        shown = list(by_line.items())[:_MOST_LINES]
        findings = [deployment.finding(place.message, line=line, hint=place.hint) for line, place in shown]
        if hidden > 0:
            findings[-1] = replace(findings[-1], message=f"{findings[-1].message} (and on {hidden} further lines)")
        return findings

    check.__doc__ = look.__doc__
    return check


# Rules that repeat another check's failure


def _repeated(name: str, message: str, hint: str) -> Callable[[Deployment], list[Finding]]:
    def check(deployment: Deployment) -> list[Finding]:
        """Repeat the failure of another check in a sentence, at its line."""
        unanswered = _unanswered(deployment, name)
        if unanswered:
            raise NotJudged(unanswered)
        result = deployment.results[name]
        if result.status is not Status.FAILED:
            return []
        found = next((finding for finding in result.findings if finding.line is not None), None) or Finding(message="")
        return [replace(found, message=f"{message}: see {name}", path=None, hint=hint, details={})]

    return check


_trace = _repeated("trace", "torch.jit.trace fails, with which every route to Neuron begins", "mend what the check trace names")
_value_branch = _repeated(
    "values",
    "the program depends on the values it was traced with",
    "decide in the graph: torch.where, masks or tensor operations instead of Python values",
)
_padding = _repeated(
    "padding",
    "Neuron takes the traced shape only, and padding to it changes the answer",
    "let the mask keep padded positions out of every sum, mean, maximum, softmax and last position",
)


# Shapes

_ALL_POSITIONS = "keep every position and its mask: torch.where(mask, x, y) with three arguments, or a product with the mask"
_DATA_DEPENDENT: Mapping[str, tuple[str, str]] = {
    "nonzero": ("nonzero", _ALL_POSITIONS),
    "nonzero_numpy": ("nonzero", _ALL_POSITIONS),
    "argwhere": ("argwhere", _ALL_POSITIONS),
    "masked_select": ("masked_select", _ALL_POSITIONS),
    "_unique": ("unique", "leave unique to the code before or after the model"),
    "_unique2": ("unique", "leave unique to the code before or after the model"),
    "unique_dim": ("unique", "leave unique to the code before or after the model"),
    "unique_consecutive": ("unique_consecutive", "leave it to the code before or after the model"),
    "unique_dim_consecutive": ("unique_consecutive", "leave it to the code before or after the model"),
    "bincount": ("bincount", "count with one_hot(x, num_classes).sum(0), whose size is given"),
}


def _is_mask(program: _Program, value: Any) -> bool:
    return program.dtype(value) in (torch.bool, torch.uint8)


def _is_fixed(value: Any) -> bool:
    """Whether a value comes from sizes and constants alone, as a number does that Python computed."""
    seen: set[str] = set()
    left = [value]
    while left:
        value = left.pop()
        if value.debugName() in seen:
            continue
        seen.add(value.debugName())
        node = value.node()
        if node.kind() in ("prim::Param", "prim::GetAttr"):
            return False
        if node.kind() != "aten::size":
            left += node.inputs()
    return True


def _data_dependent(program: _Program) -> Iterator[_Place]:
    """Operations whose result has a shape that values decide."""
    for node in program.nodes:
        name = node.kind().removeprefix("aten::")
        inputs = list(node.inputs())
        if name in _DATA_DEPENDENT:
            called, hint = _DATA_DEPENDENT[name]
            yield _Place(node, f"the shape of what {called} gives depends on values", hint)
        elif name == "where" and len(inputs) == 1:
            yield _Place(node, "where with one argument gives a shape that depends on values", _ALL_POSITIONS)
        elif name in ("index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"):
            if any(_is_mask(program, index) for index in inputs[1].node().inputs()):
                writes = "put" in name
                hint = "write with masked_fill(mask, value) or torch.where(mask, values, x)" if writes else _ALL_POSITIONS
                yield _Place(node, "an index by a boolean mask becomes nonzero, whose shape depends on values", hint)
        elif name == "repeat_interleave":
            # (repeats, output_size), or (x, repeats, dim, output_size).
            repeats = inputs[0] if len(inputs) == 2 else inputs[1]
            free = inputs[-1].type().kind() == "NoneType"
            if free and not _is_fixed(repeats):
                hint = "give the number of repeats as an int, or repeat before the model"
                yield _Place(node, "repeat_interleave by values gives a shape that depends on them", hint)
        elif name == "one_hot" and inputs[1].toIValue() == -1:
            hint = "say how many: one_hot(x, num_classes)"
            yield _Place(node, "one_hot without num_classes gives a shape that depends on values", hint)


@dataclass(frozen=True)
class _Step:
    name: str
    shapes: tuple[tuple[int, ...], ...]


class _ShapeLog(TorchFunctionMode):
    """The shapes of every operation's results in one run; the line of the one at ``asked`` alone, for lines cost time."""

    def __init__(self, asked: int | None = None) -> None:
        super().__init__()
        self.steps: list[_Step] = []
        self.line: source.Line | None = None
        self._asked = asked

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", str(func))
        if name == "__get__":
            return result
        if len(self.steps) == self._asked:
            self.line = source.innermost(source.frames(inspect.currentframe()))
        found = tuple(tuple(leaf.shape) for _, leaf in tensors(result))
        self.steps.append(_Step(name, found))
        return result


def _shape_log(deployment: Deployment, inputs: Mapping[str, Any], asked: int | None = None) -> _ShapeLog | None:
    log = _ShapeLog(asked)
    try:
        with log:
            deployment.eager(inputs)
    except Exception:  # noqa: BLE001 - values that the model refuses say nothing of its shapes
        return None
    return log


def _other_values(deployment: Deployment) -> Iterator[Mapping[str, Any]]:
    """A few inputs of the traced shape that are unlike the observed one, masks included."""
    kinds = ("floats redrawn", "floats negated", "integers redrawn", "integers all at their least", "booleans inverted")
    for label, inputs in deployment.variants():
        if label in kinds or label.endswith(("mostly padding", "without padding")):
            yield inputs


def _shape_varies(deployment: Deployment) -> list[Finding]:
    """Operations whose result has another shape for another input of the same shape.

    Where the program depends on values as a whole, or the first such operation is one that always does, another rule says so.
    """
    if deployment.without_weights:
        raise NotJudged(_META)
    if deployment.status("values") is Status.FAILED:
        raise NotJudged("values failed")
    first = _shape_log(deployment, deployment.inputs)
    compared = 0
    for inputs in _other_values(deployment) if first else ():
        other = _shape_log(deployment, inputs)
        if first is None or other is None:
            continue
        compared += 1
        for index, (mine, theirs) in enumerate(zip(first.steps, other.steps, strict=False)):
            if mine.name != theirs.name:
                break
            if mine.shapes == theirs.shapes:
                continue
            again = _shape_log(deployment, deployment.inputs, index)
            line = again.line if again else None
            if _named_already(deployment, line):
                return []
            pair = next(((a, b) for a, b in zip(mine.shapes, theirs.shapes, strict=False) if a != b), None)
            shapes = f": {pair[0]} and {pair[1]}" if pair else ""
            # An operation without a line is not the model's: its results come from a scripted part, unseen until returned.
            gives = f"give {mine.name.strip('_')} two shapes" if line else "are answered in two shapes"
            hint = "compute at the full size and mask what is not wanted; no size may come from a value"
            return [deployment.finding(f"two inputs of the same shape {gives}{shapes}", line=line, hint=hint)]
    if not compared:
        raise NotJudged("the model takes no other values than these")
    return []


def _named_already(deployment: Deployment, line: source.Line | None) -> bool:
    """Whether an operation on this line, or somewhere in a scripted part, is one whose shape always depends on values."""
    program = _Program.of(deployment)
    if program is None:
        return False
    lines = {deployment.line_of(place.node) for place in _data_dependent(program)}
    if line is None:
        return bool(lines)
    return any(entry is not None and (entry.file, entry.line) == (line.file, line.line) for entry in lines)


def _max_length(deployment: Deployment) -> Iterator[Finding]:
    """A traced length beyond what the model's config allows: its position tables end there."""
    if deployment.limits and not deployment.limits.keys() & deployment.sizes.keys():
        raise NotJudged("no axis of the inputs is known to be a sequence: declare dims=")
    for dim, limit in deployment.limits.items():
        size = deployment.sizes.get(dim)
        if size is not None and size > limit:
            yield deployment.finding(
                f"{dim} is traced at {size}, beyond the {limit} positions of the model's config",
                hint=f"trace at {limit} at most, and truncate longer inputs",
                details={"dim": dim, "size": size, "limit": limit},
            )


# Inputs and outputs


def _declared_at(deployment: Deployment) -> source.Line | None:
    """The line where the model's forward is declared."""
    code = getattr(inspect.unwrap(type(deployment.model).forward), "__code__", None)
    if code is None or source.is_foreign(code.co_filename):
        return None
    return source.Line(code.co_filename, code.co_firstlineno, code.co_name)


def _unlike(value: Any, path: str, *, mappings: bool) -> Iterator[tuple[str, Any]]:
    """What is neither a tensor nor a tuple or list (or, for outputs, a dict) of such."""
    if isinstance(value, torch.Tensor):
        return
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        for index, entry in enumerate(value):
            yield from _unlike(entry, join(path, index), mappings=mappings)
    elif mappings and isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _unlike(entry, join(path, key), mappings=mappings)
    else:
        yield path, value


def _inputs(deployment: Deployment) -> Iterator[Finding]:
    """Inputs other than tensors and nested tuples or lists of them."""
    line = _declared_at(deployment)
    unlike = [entry for name, value in deployment.inputs.items() for entry in _unlike(value, name, mappings=False)]
    for path, value in unlike[:_MOST_LINES]:
        yield deployment.finding(
            f"input {path!r} is a {describe(value)}; Neuron takes tensors, and nested tuples or lists of them",
            line=line,
            where="declared at",
            path=path,
            hint="take the tensors as arguments of their own, or wrap the model in a module that does",
        )


def _outputs(deployment: Deployment) -> Iterator[Finding]:
    """Outputs other than tensors and nested tuples, lists or dicts of them."""
    unanswered = _unanswered(deployment, "eager")
    if unanswered:
        raise NotJudged(unanswered)
    unlike = list(_unlike(deployment.expected, "", mappings=True))
    if not unlike:
        return
    line = deployment.returned_at()
    for path, value in unlike[:_MOST_LINES]:
        yield deployment.finding(
            f"{f'output {path!r}' if path else 'the output'} is a {describe(value)}; "
            "Neuron gives tensors, and nested tuples, lists or dicts of them",
            line=line,
            where="returned at",
            path=path or None,
            hint="return tensors alone: leave None out, and make a number a tensor in the graph",
        )


_SIZE_ONLY = ("aten::size", "aten::dim", "aten::numel", "prim::dtype", "prim::device")
_LIKE = ("_like", "aten::new_zeros", "aten::new_ones", "aten::new_full", "aten::new_empty")


def _unused_input(deployment: Deployment) -> Iterator[Finding]:
    """Inputs that no operation reads; Neuron ignores them, with a warning of its own."""
    # The graph of a model that cannot be traced lacks the outputs that stand in the way, and what computes them.
    program = _Program.of(deployment) if deployment.module is not None else None
    if program is None:
        raise NotJudged(_UNTRACED)
    unused: list[tuple[str, str]] = []
    for path, value in program.inputs.items():
        users = {use.user.kind() for use in value.uses()}
        if not users:
            unused.append((path, "is not used"))
        elif all(kind in _SIZE_ONLY or kind.endswith(_LIKE) for kind in users):
            unused.append((path, "is used for its shape alone, which is fixed"))
    for path, how in unused[:_MOST_LINES]:
        yield deployment.finding(
            f"input {path!r} {how}: Neuron ignores it",
            line=_declared_at(deployment),
            where="declared at",
            path=path,
            hint="leave it out of the deployed call",
        )


def _is_contiguous(value: Any) -> bool:
    sizes, strides = value.type().sizes(), value.type().strides()
    if sizes is None or strides is None:
        return True
    expected = 1
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _shares(program: _Program, node: Any, value: Any, output: Any) -> bool:
    """Whether an operation that may copy gives a view: ``to`` of the same dtype, ``reshape`` of a contiguous tensor."""
    if program.dtype(value) != program.dtype(output) and program.dtype(output) is not None:
        # view_as_real is a view for all that.
        return _operation(node).startswith("view_as")
    return _operation(node) not in ("reshape", "contiguous", "flatten", "ravel") or _is_contiguous(value)


_DROPOUTS = ("aten::dropout_", "aten::alpha_dropout_", "aten::feature_dropout_", "aten::feature_alpha_dropout_")


def _writes(node: Any, values: list[Any]) -> bool:
    """Whether an operation in place changes anything: dropout outside of training does not."""
    return node.kind() not in _DROPOUTS or values[2].toIValue() is not False


def _in_place_input(program: _Program) -> Iterator[_Place]:
    """Writes into an input, or into a view of one."""
    private.require("torch._C.parse_schema")
    shared = {value.debugName(): path for path, value in program.inputs.items()}
    for node in program.nodes:
        values = list(node.inputs())
        if not any(value.debugName() in shared for value in values):
            continue
        if node.kind() in ("prim::ListUnpack", "prim::TupleUnpack"):
            shared.update({output.debugName(): shared[values[0].debugName()] for output in node.outputs()})
            continue
        text = node.schema()
        if not text.startswith("aten::"):
            continue
        schema = private.parse_schema(text)
        for argument, value in zip(schema.arguments, values, strict=False):
            path = shared.get(value.debugName())
            if path is None or argument.alias_info is None:
                continue
            if argument.alias_info.is_write and _writes(node, values):
                message = f"{_operation(node)} writes into the input {path!r}, which stays as it was on the device"
                yield _Place(node, message, "work on a copy: clone(), or the operation without the trailing underscore")
            for result, output in zip(schema.returns, node.outputs(), strict=False):
                same = result.alias_info is not None and argument.alias_info.before_set & result.alias_info.before_set
                # A list of views carries no set of its own; its operand is marked (a -> *) instead.
                if (same or "*" in argument.alias_info.after_set) and _shares(program, node, value, output):
                    shared[output.debugName()] = path


# Operations


def _of_integers(program: _Program, node: Any) -> bool:
    """Whether the first result is of integers or booleans."""
    return program.dtype(next(iter(node.outputs()))) in _INTEGERS


def _integer_topk(program: _Program) -> Iterator[_Place]:
    """``topk`` of integers."""
    for node in program.nodes:
        if node.kind() == "aten::topk" and _of_integers(program, node):
            yield _Place(node, "topk of integers", "take topk of x.float(), and turn the values back")


def _combining(node: Any) -> str | None:
    """What a scatter is called that combines what meets in one place; None for any other operation."""
    name = _operation(node).removesuffix("_")
    inputs = list(node.inputs())
    if not node.kind().startswith("aten::"):
        return None
    if name in ("scatter_reduce", "scatter_add", "index_add", "index_reduce"):
        return name
    if name == "scatter" and len(inputs) == 5:
        return "scatter with reduce="
    if name in ("index_put", "index_put_impl") and inputs[3].toIValue() is True:
        return "index_put with accumulate=True"
    return None


def _integer_scatter_reduce(program: _Program) -> Iterator[_Place]:
    """Scatters that combine integers or booleans: with a reduction, added, or accumulated."""
    for node in program.nodes:
        called = _combining(node)
        if called and _of_integers(program, node):
            yield _Place(node, f"{called} combines integers or booleans", "scatter floats: x.float(), source.float()")


_NO_TRANSFORM = ("aten::fft_fftfreq", "aten::fft_rfftfreq", "aten::fft_fftshift", "aten::fft_ifftshift")


def _fft(program: _Program) -> Iterator[_Place]:
    """Fourier transforms."""
    for node in program.nodes:
        kind = node.kind()
        if kind.startswith(("aten::fft_", "aten::_fft_", "aten::stft", "aten::istft")) and kind not in _NO_TRANSFORM:
            hint = "compute it before the model, or as a product with a fixed matrix of cosines and sines"
            yield _Place(node, f"{_operation(node)} is a Fourier transform", hint)


def _triangular_solve(program: _Program) -> Iterator[_Place]:
    """Solving of triangular systems."""
    for node in program.nodes:
        if node.kind() in ("aten::triangular_solve", "aten::linalg_solve_triangular"):
            yield _Place(node, f"{_operation(node)} is not supported", "multiply with the inverse: torch.inverse(A) @ b")


_SORTS = ("aten::sort", "aten::argsort", "aten::msort", "aten::quantile", "aten::nanquantile")


def _sort(program: _Program) -> Iterator[_Place]:
    """Sorting, also inside ``quantile``."""
    for node in program.nodes:
        if node.kind() in _SORTS:
            yield _Place(
                node,
                f"values are sorted, by {_operation(node)}",
                "use torch.topk of floats, which AWS names as the way round it",
            )


_PRODUCT = re.compile(
    r"aten::(__matmul__|(linalg_)?matmul|mm|bmm|mv|v?dot|inner|einsum|tensordot|linear|addmm|addmv|addbmm|baddbmm"
    r"|linalg_multi_dot|linalg_vecdot|chain_matmul)"
)


def _int64_matmul(program: _Program) -> Iterator[_Place]:
    """Matrix products of int64."""
    for node in program.nodes:
        if _PRODUCT.fullmatch(node.kind()) and program.dtype(next(iter(node.outputs()))) is torch.int64:
            yield _Place(node, f"{_operation(node)} multiplies matrices of int64", "multiply floats, which are exact to 2**24")


# Dtypes


def _begins(program: _Program, matches: Callable[[Any], bool], called: str, hint: str) -> Iterator[_Place]:
    """Where values of a kind come into the program: operations that read such an input or weight, or first give one."""
    for node in program.nodes:
        if node.kind().startswith("prim::"):
            continue
        inputs = [value for value in node.inputs() if matches(value)]
        named = next((name for value in inputs if (name := program.name(value))), None)
        if named is not None:
            yield _Place(node, f"{named} is {called}", hint)
        elif not inputs and any(matches(value) for value in node.outputs()):
            yield _Place(node, f"{_operation(node)} gives a result that is {called}", hint)


def _float64(program: _Program) -> Iterator[_Place]:
    """Values of float64. Those without axes are how the tracer writes Python's floats, and are not meant."""

    def matches(value: Any) -> bool:
        return program.dtype(value) is torch.float64 and not program.is_scalar(value)

    return _begins(program, matches, "float64, which the device does not compute in", "use float32")


def _complex(program: _Program) -> Iterator[_Place]:
    """Complex values."""

    def matches(value: Any) -> bool:
        dtype = program.dtype(value)
        return dtype is not None and dtype.is_complex

    return _begins(program, matches, "complex, which the device does not know", "carry real and imaginary part as two tensors")


def _beyond(value: int | float) -> bool:
    return not _INT32.min <= value <= _INT32.max


def _largest(tensor: torch.Tensor) -> int | None:
    """The value of an int64 tensor that is farthest beyond int32."""
    if tensor.dtype is not torch.int64 or tensor.is_meta or tensor.layout != torch.strided or not tensor.numel():
        return None
    value = max(int(tensor.max()), int(tensor.min()), key=abs)
    return value if _beyond(value) else None


def _unread(program: _Program, value: Any, given: Mapping[str, torch.Tensor]) -> bool:
    """Whether a value of int64 is an input or a weight of which the numbers are not known."""
    if program.dtype(value) is not torch.int64:
        return False
    for path, entry in program.inputs.items():
        if entry.debugName() == value.debugName():
            return path not in given or given[path].is_meta
    tensor = program.tensor(value)
    return tensor.is_meta if tensor is not None else value.node().kind() in ("prim::Param", "prim::GetAttr")


def _int64_range(deployment: Deployment) -> Iterator[Finding]:
    """Values of int64 that 32 bits do not hold, among inputs, constants, weights and outputs."""
    inputs = {path: value for path, tensor in tensors(deployment.inputs) if (value := _largest(tensor)) is not None}
    outputs = {path: value for path, tensor in tensors(deployment.expected) if (value := _largest(tensor)) is not None}

    def look(program: _Program) -> Iterator[_Place]:
        hint = "keep integers within 32 bits: the compiler converts int64 to int32"
        for node in program.nodes:
            if node.kind().startswith("prim::"):
                continue
            values = list(node.inputs())
            of_int64 = any(program.dtype(value) is torch.int64 for value in [*values, *node.outputs()])
            for value in values:
                held = _held(program, value, inputs) if of_int64 and node.kind() != "aten::slice" else None
                if held is not None:
                    yield _Place(node, f"{program.name(value) or 'a constant'} holds {held}, beyond int32", hint)
        for path, value in zip((p for p, _ in tensors(deployment.expected)), _returned(program.graph), strict=False):
            if path in outputs:
                yield _Place(value.node(), f"output {path!r} holds {outputs[path]}, beyond int32", hint)

    yield from _in_program(look)(deployment)
    program = _Program.of(deployment)
    if program is None:
        return
    given = dict(tensors(deployment.inputs))
    read = [value for node in program.nodes if not node.kind().startswith("prim::") for value in node.inputs()]
    if any(_unread(program, value, given) for value in read):
        raise NotJudged(_META if deployment.without_weights else _UNTRACED)
    unanswered = _unanswered(deployment, "eager")
    if unanswered and any(program.dtype(value) is torch.int64 for value in _returned(program.graph)):
        raise NotJudged(unanswered)


def _held(program: _Program, value: Any, inputs: Mapping[str, int]) -> int | None:
    """What an operand of an operation holds beyond int32, where that is known before it runs."""
    for path, held in inputs.items():
        if path in program.inputs and program.inputs[path].debugName() == value.debugName():
            return held
    if value.type().kind() in ("IntType", "NumberType"):
        number = value.toIValue()
        return number if isinstance(number, int) and _beyond(number) else None
    tensor = program.tensor(value)
    return None if tensor is None else _largest(tensor)


def _returned(graph: Any) -> Iterator[Any]:
    """The values of the output leaves, in order."""

    def walk(value: Any) -> Iterator[Any]:
        node = value.node()
        if node.kind() in ("prim::TupleConstruct", "prim::ListConstruct"):
            for entry in node.inputs():
                yield from walk(entry)
        elif node.kind() == "prim::DictConstruct":
            for entry in list(node.inputs())[1::2]:
                yield from walk(entry)
        else:
            yield value

    for output in graph.outputs():
        yield from walk(output)


# Dynamic batch


def _dynamic_batch(deployment: Deployment) -> Iterator[Finding]:
    """What stands against ``dynamic_batch``: Neuron cuts the inputs along dim 0, and joins the outputs there."""
    if not deployment.arguments.get("dynamic_batch"):
        return
    sizes = {path: tensor.shape[0] if tensor.ndim else None for path, tensor in tensors(deployment.inputs)}
    if len(set(sizes.values())) > 1 or None in sizes.values():
        text = ", ".join(f"{path} {'has none' if size is None else size}" for path, size in sizes.items())
        yield deployment.finding(
            f"the inputs disagree on dim 0, along which dynamic_batch cuts them: {text}",
            line=_declared_at(deployment),
            where="declared at",
            hint="give every input the batch as its first axis, or leave dynamic_batch out",
        )
        return
    if deployment.without_weights:
        raise NotJudged(_META)
    unjudged = None
    for look in (_dependent_rows, _other_batch):
        try:
            findings = look(deployment)
        except NotJudged as reason:
            unjudged = unjudged or reason
            continue
        yield from findings
        if findings:
            return
    if unjudged is not None:
        raise unjudged


def _row(inputs: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    return mapped(inputs, lambda _, tensor: tensor[index : index + 1].clone())


def _dependent_rows(deployment: Deployment) -> list[Finding]:
    """A row that alone gives another answer than in its batch."""
    hint = "let each row be computed from itself alone, or leave dynamic_batch out"
    inputs = deployment.inputs
    if next(tensor for _, tensor in tensors(inputs)).shape[0] == 1:
        if BATCH not in deployment.sizes:
            raise NotJudged(_NO_BATCH)
        inputs = deployment.resized({BATCH: 2})
    size = next(tensor for _, tensor in tensors(inputs)).shape[0]
    try:
        together = deployment.eager(inputs)
    except Exception:  # noqa: BLE001 - a batch of two is outside the model's domain: nothing to compare
        raise NotJudged(f"eager refuses a batch of {size}") from None
    for path, tensor in tensors(together):
        if not tensor.ndim or tensor.shape[0] != size:
            message = f"output {path!r} has shape {tuple(tensor.shape)}: dim 0 is not the batch of {size}"
            line, where = _differs_at(deployment, inputs, 0, path)
            return [deployment.finding(message, line=line, where=where, path=path, hint=hint)]
    for index in (0, size - 1):
        try:
            alone = deployment.eager(_row(inputs, index))
        except Exception:  # noqa: BLE001 - one row is outside the model's domain: nothing to compare
            raise NotJudged("eager refuses a single row") from None
        rows = map_tensors(lambda tensor, at=index: tensor[at : at + 1], together)
        for mismatch in deployment.compare(alone, rows):
            message = f"the answer for a row depends on the other rows of its batch: {mismatch.label} by {mismatch.text}"
            line, where = _differs_at(deployment, inputs, index, mismatch.path)
            details = mismatch.details()
            return [deployment.finding(message, line=line, where=where, path=mismatch.path, hint=hint, details=details)]
    return []


def _differs_at(
    deployment: Deployment, inputs: Mapping[str, Any], index: int, path: str
) -> tuple[source.Line | None, str | None]:
    """The first operation that gives a row something else alone than in its batch; failing that, what computes ``path``."""
    logs = []
    for chosen in (_row(inputs, index), inputs):
        log = OperationLog()
        try:
            log.record(lambda chosen=chosen: deployment.eager(chosen))  # type: ignore[misc]
        except Exception:  # noqa: BLE001 - no operations to compare then
            break
        logs.append(log)
    if len(logs) == 2:
        alone, together = logs
        differing = first_difference(alone, together, crop=True, at_start=index > 0, slack=1e-3)
        for mine, theirs in zip(alone.operations, together.operations, strict=False):
            if mine is differing:
                break
            if any(_rows_meet(*pair) for pair in zip(mine.results, theirs.results, strict=False)):
                differing = mine
                break
        if differing is not None and differing.line is not None:
            return differing.line, None
    return _computed_at(deployment, path), "computed at"


def _rows_meet(alone: torch.Tensor, together: torch.Tensor) -> bool:
    """Whether a result grows with the batch along two axes: rows against rows. Cropped to one row, it looks the same."""
    return alone.ndim == together.ndim and sum(a != b for a, b in zip(alone.shape, together.shape, strict=True)) > 1


def _computed_at(deployment: Deployment, path: str) -> source.Line | None:
    """The line of the operation in the program that gives an output."""
    program = _Program.of(deployment)
    paths = [name for name, _ in tensors(deployment.expected)]
    values = list(_returned(program.graph)) if program else []
    if path not in paths or len(values) != len(paths):
        return None
    return deployment.line_of(values[paths.index(path)].node())


def _other_batch(deployment: Deployment) -> list[Finding]:
    """A program that is silently wrong for another number of rows."""
    if deployment.module is None:
        raise NotJudged(_UNTRACED)
    if BATCH not in deployment.sizes:
        raise NotJudged(_NO_BATCH)
    size = deployment.sizes[BATCH] + 1
    inputs = deployment.resized({BATCH: size})
    try:
        expected = deployment.eager(inputs)
    except Exception:  # noqa: BLE001 - that batch is outside the model's domain: nothing to compare
        raise NotJudged(f"eager refuses a batch of {size}") from None
    try:
        mismatches = deployment.compare(deployment.traced(inputs), expected)
    except Exception:  # noqa: BLE001 - a loud refusal is no wrong answer
        return []
    for mismatch in mismatches:
        return [
            deployment.finding(
                f"the program is silently wrong for a batch of {size}: {mismatch.label} by {mismatch.text}",
                line=next((warning.line for warning in deployment.warnings if warning.line), None),
                where="tracer warned at",
                path=mismatch.path,
                hint="keep the batch in the graph: x.shape[0] without int()",
                details=mismatch.details(),
            )
        ]
    return []


def _rule(name: str, severity: str, check: Callable[[Deployment], Iterable[Finding]], published: str) -> Rule:
    return Rule(name=name, severity=severity, check=check, source=published)


RULES: tuple[Rule, ...] = (
    _rule("trace", FAIL, _trace, _TRACE_API),
    _rule("data-dependent-shape", FAIL, _in_program(_data_dependent), f"{_STATIC}; aws-neuron-sdk issues 698, 717"),
    _rule("value-branch", FAIL, _value_branch, f"{_TRACE_API}: no control flow that depends on values"),
    _rule("shape-varies", FAIL, _shape_varies, _STATIC),
    _rule("padding", FAIL, _padding, f"{_TRACE_API}: one shape, shorter inputs are padded to it"),
    _rule("max-length", FAIL, _max_length, "AWS Neuron compiler error NCC_EVRF056: gather with indices out of bounds"),
    _rule("inputs", FAIL, _inputs, f"{_TRACE_API}: example_inputs"),
    _rule("outputs", FAIL, _outputs, f"{_TRACE_API}: what the traced function may return"),
    _rule("integer-topk", FAIL, _in_program(_integer_topk), "AWS Neuron compiler error NCC_EVRF013"),
    _rule(
        "integer-scatter-reduce",
        FAIL,
        _in_program(_integer_scatter_reduce),
        "AWS Neuron compiler errors NCC_EVRF016, NCC_EVRF060",
    ),
    _rule("fft", FAIL, _in_program(_fft), "AWS Neuron compiler error NCC_EVRF001: unsupported operator"),
    _rule("triangular-solve", FAIL, _in_program(_triangular_solve), "AWS Neuron compiler errors NCC_EVRF001, NCC_EUOC002"),
    _rule("dynamic-batch", FAIL, _dynamic_batch, "AWS Neuron documentation, torch_neuronx.dynamic_batch"),
    _rule("float64", WARN, _in_program(_float64), "AWS Neuron documentation, data types"),
    _rule("complex", WARN, _in_program(_complex), "AWS Neuron compiler error NCC_EVRF004"),
    _rule("int64-range", WARN, _int64_range, "AWS Neuron compiler errors NCC_ESFH002, NCC_EVRF062"),
    _rule("int64-matmul", WARN, _in_program(_int64_matmul), "AWS Neuron compiler error NCC_EVRF035"),
    _rule("sort", WARN, _in_program(_sort), "aws-neuron-sdk issue 868"),
    _rule("unused-input", WARN, _unused_input, "aws-neuron-sdk issue 906: unused input tensors are ignored"),
    _rule("in-place-input", WARN, _in_program(_in_place_input), f"{_TRACE_API}: input_output_aliases"),
)
