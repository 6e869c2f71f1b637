"""A traced program, read."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import source
from pytest_torchscript.errors import Unavailable
from pytest_torchscript.subject.call import bind
from pytest_torchscript.tracing import program
from pytest_torchscript.tracing.graph import Graph, graph_of
from pytest_torchscript.tracing.program import Program
from pytest_torchscript.tracing.trace import quiet, trace

from ..corpus import guilty_places

X = torch.ones(2, 6)


class Applied(nn.Module):
    """A model that is one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(torch.ones(6))
        self.register_buffer("table", torch.zeros(6))

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def traced(model: nn.Module, *inputs: Any) -> Any:
    return trace(model, bind(model, inputs or (X,), {})).module


def applied(function: Callable[..., Any], *inputs: Any) -> Any:
    return traced(Applied(function), *inputs)


def graph(function: Callable[..., Any], *inputs: Any) -> Graph:
    model = Applied(function)
    return graph_of(model, bind(model, inputs or (X,), {}))


def place(line: source.Line | None) -> tuple[str, int] | None:
    return (line.file, line.line) if line else None


# Outputs


class Several(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        first = x * 2
        second = x.exp()  # guilty
        return first, {"a": first + 1, "b": second}


def test_the_line_that_computes_an_output_is_known() -> None:
    """Leaves count in order, through tuples and dicts."""
    assert {place(program.produced_at(traced(Several()), 2, 3))} == guilty_places((Several,))
    assert place(program.produced_at(traced(Several()), 0, 3)) not in guilty_places((Several,))


@pytest.mark.parametrize("count", [2, 4])
def test_another_number_of_outputs_has_no_line(count: int) -> None:
    """Where the program and eager disagree on the structure, no leaf is the other's."""
    assert program.produced_at(traced(Several()), 0, count) is None


# Constants


class Writing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        counts = torch.tensor([1.0, 2.0])
        counts.view(-1).add_(1)  # guilty
        return x * counts.sum()


def test_a_write_into_a_constant_is_found() -> None:
    """Through a view as well; what is made anew in every run is none."""
    lines = list(program.writes_into_constants(traced(Writing())))
    assert {place(line) for line in lines} == guilty_places((Writing,))
    assert list(program.writes_into_constants(applied(lambda model, x: (x * 2).add_(1)))) == []


def test_an_operator_of_python_writes_nothing() -> None:
    """``aten::__and__`` ends in an underscore, and reads its operands only."""
    mask = torch.tensor([True] * 6)
    module = applied(lambda model, x: torch.where(mask.__and__(x > 0), x, x + 1))
    assert "aten::__and__" in [operation.kind for operation in program.operations(module)]
    assert list(program.writes_into_constants(module)) == []


class Held(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(int(x.shape[1]), dtype=x.dtype) * torch.tensor([1.0] * 6)  # guilty


@pytest.mark.parametrize("whole", [False, True], ids=["module", "graph"])
def test_the_tensors_that_a_program_holds_are_listed(whole: bool) -> None:
    """With shapes and lines, of a module and of a graph; a number is none."""
    read = graph_of(Held(), bind(Held(), (X,), {})) if whole else traced(Held())
    found = list(program.constants(read))
    assert [(constant.shape, constant.device) for constant in found] == [((6,), "cpu")]
    assert {place(found[0].line)} == guilty_places((Held,))
    assert list(program.constants(applied(lambda model, x: x * 2 + torch.tensor(0.5)))) == []


def test_weights_are_no_constants() -> None:
    """Parameters and buffers move with the module."""
    assert list(program.constants(applied(lambda model, x: x * model.scale + model.table))) == []


def test_constants_outlive_the_look_at_them() -> None:
    """torch frees the nodes with the graph that was made for one look: it is kept."""
    found = list(program.constants(traced(Held())))
    gc.collect()
    assert {place(constant.line) for constant in found} == guilty_places((Held,))


# Python and devices


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x * 2


class Pythonic(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _Doubled.apply(x)  # guilty


def test_a_python_operation_is_found() -> None:
    """No file can hold it."""
    assert {place(line) for line in program.python_operations(traced(Pythonic()))} == guilty_places((Pythonic,))
    assert list(program.python_operations(applied(lambda model, x: x * 2))) == []


class Pinned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.zeros(x.shape[1], device="cpu")  # guilty


def test_what_pins_a_program_to_a_device_is_found() -> None:
    """A constant, and an operation that is told a device, each with its line."""
    (pin,) = program.device_pins(traced(Pinned()))
    assert pin.text == "aten::zeros is told to use cpu"
    assert {place(pin.line)} == guilty_places((Pinned,))
    assert "a tensor constant of shape (6,) stays on cpu" in [pin.text for pin in program.device_pins(traced(Held()))]


def test_numbers_pin_nothing() -> None:
    """A tensor without axes joins tensors on any device."""
    assert list(program.device_pins(applied(lambda model, x: x + torch.tensor(0.5)))) == []


def test_a_line_is_looked_up_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch writes the whole stack out for each: a count of pins costs none."""
    asked: list[Any] = []
    monkeypatch.setattr(program, "line_of", lambda node: asked.append(node))
    pins = list(program.device_pins(traced(Pinned())))
    assert (len(pins), asked) == (1, [])
    assert pins[0].line is None
    assert len(asked) == 1


def test_parts_of_scripted_branches_are_read() -> None:
    """A scripted helper keeps its branches: their operations are part of the program."""
    with quiet():
        helper = torch.jit.script(_long_doubled)
    kinds = [operation.kind for operation in program.operations(applied(lambda model, x: helper(x)))]
    assert "prim::If" in kinds
    assert "aten::mul" in kinds[kinds.index("prim::If") :]


def _long_doubled(x: Tensor) -> Tensor:
    return x * 2 if x.size(1) > 4 else x


# Operations and values


def test_an_operation_is_known_by_name() -> None:
    """As torch has it, and as users write it."""
    found = [(o.kind, o.name) for o in program.operations(applied(lambda model, x: x.exp())) if o.kind != "prim::Constant"]
    assert found == [("aten::exp", "exp")]


def test_what_computes_is_told_from_what_only_holds_values() -> None:
    """Constants and containers compute nothing."""
    found = {o.kind: o.computes for o in program.operations(applied(lambda model, x: (x.add(1), x)))}
    assert found == {"prim::Constant": False, "aten::add": True, "prim::TupleConstruct": False}


@pytest.mark.parametrize("whole", [False, True], ids=["module", "graph"])
def test_values_are_known_by_where_they_come_from(whole: bool) -> None:
    """An input by its path, what was computed by its operation."""

    def function(model: Any, x: Tensor) -> Tensor:
        return (x + 1).exp()

    call = bind(Applied(function), (X,), {})
    read = Program(graph(function) if whole else applied(function), call.inputs)
    (path,) = read.inputs
    add, exp = (operation for operation in read.operations if operation.kind in ("aten::add", "aten::exp"))
    assert path == "inputs_0"
    assert add.inputs[0].name == read.inputs[path].name
    assert (read.path(add.inputs[0]), read.path(exp.inputs[0])) == (path, None)
    assert [reader.kind for reader in read.inputs[path].read_by] == ["aten::add"]
    assert read.inputs[path].made_by.kind == "prim::Param"
    assert [value.made_by.kind for value in exp.inputs] == ["aten::add"]
    assert [value.name for value in read.outputs] == [exp.outputs[0].name]


def test_a_weight_is_known_by_its_name() -> None:
    """Parameters and buffers, in submodules too, with the tensors that they are."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Applied(lambda model, x: x * model.scale)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    model = Deep()
    read = Program(traced(model), {"x": X})
    (product,) = (operation for operation in read.operations if operation.kind == "aten::mul")
    _, weight = product.inputs
    assert weight.attribute == "inner.scale"
    assert product.inputs[0].attribute is None
    tensor = read.tensor(weight)
    assert tensor is not None
    assert torch.equal(tensor, model.inner.scale)
    assert read.dtype(weight) is torch.float32
    assert not read.is_scalar(weight)


def test_a_value_has_the_type_that_it_had_when_traced() -> None:
    """Dtype, axes, sizes and strides of a tensor; nothing of what is none."""
    module = applied(lambda model, x: x.reshape(6, 2) + 0.5)
    read = Program(module, {"x": X})
    (output,) = read.outputs
    assert (output.dtype, output.ndim, output.shape, output.strides) == (torch.float32, 2, [6, 2], [2, 1])
    operands = output.made_by.inputs
    assert read.is_scalar(operands[1])
    assert operands[1].constant == 0.5
    number = read.tensor(operands[1])
    assert number is not None
    assert (number.item(), read.dtype(operands[1])) == (0.5, torch.float64)
    assert operands[2].constant == 1
    assert (operands[2].dtype, operands[2].ndim, operands[2].shape, operands[2].strides) == (None, None, None, None)
    assert operands[0].constant is None


def test_an_argument_that_was_left_out_is_none() -> None:
    """It is told from a value that is not known."""
    module = applied(lambda model, x: x.repeat_interleave(torch.ones(6, dtype=torch.int64), 1))
    (operation,) = (operation for operation in program.operations(module) if operation.name == "repeat_interleave")
    assert [value.is_none for value in operation.inputs] == [False, False, False, True]


def test_the_leaves_of_a_nested_input_have_paths() -> None:
    """A tuple among the inputs is taken apart as the program does."""
    pair = (X, X + 1)
    module = applied(lambda model, both, y: both[0] + both[1] * y, pair, X)
    read = Program(module, {"pair": pair, "y": X})
    assert list(read.inputs) == ["pair[0]", "pair[1]", "y"]
    (product,) = (operation for operation in read.operations if operation.kind == "aten::mul")
    assert [value.name for value in product.inputs] == [read.inputs["pair[1]"].name, read.inputs["y"].name]


@pytest.mark.parametrize(
    ("function", "writes", "shares"),
    [
        (lambda model, x: (x * 1).add_(2), True, True),
        (lambda model, x: (x * 1).view(-1), False, True),
        (lambda model, x: (x * 1).split(1), False, True),
    ],
    ids=["in place", "view", "list of views"],
)
def test_an_operation_says_what_it_does_to_memory(function: Any, writes: bool, shares: bool) -> None:
    """Which operand it writes into, and which results are views of it."""
    (operation,) = (o for o in program.operations(applied(function)) if o.name.removesuffix("_") in ("add", "view", "split"))
    effect = next(operation.effects())
    assert effect.operand.name == operation.inputs[0].name
    assert effect.writes is writes
    assert bool(effect.shared_by) is shares


@pytest.mark.parametrize(
    ("function", "name", "shares"),
    [
        (lambda model, x: x.reshape(-1), "reshape", True),
        (lambda model, x: x.T.reshape(-1), "reshape", False),
        (lambda model, x: x.T.contiguous(), "contiguous", False),
        (lambda model, x: x.to(torch.float64), "to", False),
        (lambda model, x: torch.view_as_complex(x.view(2, 3, 2)), "view_as_complex", True),
        (lambda model, x: model.table.reshape(-1) + x.sum(), "reshape", True),
    ],
    ids=["reshape", "reshape that copies", "contiguous that copies", "to another dtype", "complex view", "a weight"],
)
def test_an_operation_that_may_copy_shares_where_it_does_not(function: Any, name: str, shares: bool) -> None:
    """By the dtype and the strides that its operand had when traced."""
    (operation,) = (o for o in program.operations(applied(function)) if o.name == name)
    assert [bool(effect.shared_by) for effect in operation.effects()] == [shares]


def test_what_is_taken_out_of_a_list_shares_its_memory() -> None:
    """A view in a list of views stays one."""
    module = applied(lambda model, x: x.split(1)[0].add_(1))
    (unpack,) = (o for o in program.operations(module) if o.kind == "prim::ListUnpack")
    (effect,) = unpack.effects()
    assert (effect.operand.name, effect.writes) == (unpack.inputs[0].name, False)
    assert [value.name for value in effect.shared_by] == [value.name for value in unpack.outputs]


def test_an_operation_that_copies_shares_nothing() -> None:
    """Nor does a container."""
    module = applied(lambda model, x: (x.exp(), x.exp()))
    assert [list(operation.effects()) for operation in program.operations(module)] == [[]] * 3


def test_memory_is_not_judged_without_schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch does not tell, that is said by name."""
    operation = next(program.operations(applied(lambda model, x: x.exp())))
    monkeypatch.delattr(torch._C, "parse_schema")
    with pytest.raises(Unavailable, match=r"lacks torch\._C\.parse_schema, which the neuron targets need"):
        list(operation.effects())
