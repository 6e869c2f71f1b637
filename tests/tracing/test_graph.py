"""Graphs of two traces, laid side by side."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.subject.call import Call, bind
from pytest_torchscript.tracing.graph import Difference, Graph, Node, differences, graph_of
from pytest_torchscript.tracing.trace import quiet

from ..corpus import guilty_places


def x(batch: int = 2, length: int = 6) -> Tensor:
    return torch.randn(batch, length, 4, generator=torch.Generator().manual_seed(batch * 100 + length))


class Generic(nn.Module):
    """The same program at every size."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x).view(x.shape[0], x.shape[1], 2, 4).transpose(1, 2)
        return (h @ h.transpose(-1, -2) / 2.0).softmax(-1).sum(-1)


class Baked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.sum(1)
        return y / int(x.shape[1])  # guilty


class Pooled(nn.Module):
    """A constant that is 2 by chance beside one that is always 2."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        return y + int(x.shape[0])  # guilty


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 6:
            return x.mean(1)  # guilty
        return x.sum(1)  # guilty


class Looping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = x[:, 0]
        for step in range(1, x.shape[1]):
            total = total + x[:, step]  # guilty
        return total


class Table(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tensor(x.detach().numpy()[0])  # guilty


class Permuting(nn.Module):
    def __init__(self, swapped: bool) -> None:
        super().__init__()
        self.swapped = swapped

    def forward(self, x: Tensor) -> Tensor:
        a, b = x * 2, x * 3
        return b - a if self.swapped else a - b


def graph(model: nn.Module, *inputs: Tensor) -> Graph:
    return graph_of(model, bind(model, inputs, {}))


@dataclass
class Pair:
    """Two graphs of one model; a node lives as long as its graph."""

    left: Graph
    right: Graph

    @property
    def differences(self) -> list[Difference]:
        return differences(self.left, self.right)

    @property
    def only(self) -> Difference:
        (difference,) = self.differences
        return difference


def at_two_sizes(model: nn.Module, right: Tensor | None = None) -> Pair:
    call = bind(model, (x(),), {})
    return Pair(graph_of(model, call), graph_of(model, call, {"x": x(2, 9) if right is None else right}))


def place(node: Node | None) -> tuple[str, int]:
    assert node is not None
    line = node.line
    assert line is not None
    return line.file, line.line


@pytest.mark.parametrize("right", [x(2, 9), x(5, 6), x(1, 1), -x()], ids=["longer", "batch", "one", "values"])
def test_a_size_generic_model_has_one_graph(right: Tensor) -> None:
    """The same program for other sizes and values has no difference."""
    assert at_two_sizes(Generic(), right).differences == []


def test_a_baked_constant_is_the_difference() -> None:
    """Both values are known, and the line that uses the constant."""
    pair = at_two_sizes(Baked())
    assert pair.only.constants == ("tensor 6", "tensor 9")
    assert {place(pair.only.node)} == guilty_places((Baked,))


def test_an_equal_constant_elsewhere_is_not_mistaken() -> None:
    """A 2 that is a size is another use than a 2 that is always there, though torch keeps one node for both."""
    pair = at_two_sizes(Pooled(), x(3, 6))
    assert pair.only.constants == ("tensor 2", "tensor 3")
    assert {place(pair.only.node)} == guilty_places((Pooled,))


def test_a_branch_is_a_difference_in_structure() -> None:
    """Another operation at the same place has a line on either side, and no constants."""
    pair = at_two_sizes(Branching())
    difference = pair.only
    assert difference.constants is None
    assert {place(difference.left), place(difference.right)} == guilty_places((Branching,))


def test_an_unrolled_loop_goes_on_longer() -> None:
    """The shorter program ends where the longer one has another round."""
    pair = at_two_sizes(Looping())
    difference = pair.differences[-1]
    assert difference.constants is None
    assert {place(difference.right)} == guilty_places((Looping,))


def test_a_loop_of_the_same_length_is_the_same_program() -> None:
    """Unrolled over the sequence, the batch may vary."""
    assert at_two_sizes(Looping(), x(5, 6)).differences == []


def test_a_constant_tensor_is_compared_by_content() -> None:
    """Large constants are told apart by a digest, and not written out."""
    pair = at_two_sizes(Table(), x() + 1)
    assert pair.only.constants is not None
    left, right = pair.only.constants
    assert left != right
    assert "(6, 4)" in left
    assert len(left) < 60
    assert {place(pair.only.node)} == guilty_places((Table,))
    assert at_two_sizes(Table(), x()).differences == []


def test_the_order_of_operands_counts() -> None:
    """The same operations on other values are another program."""
    assert differences(graph(Permuting(False), x()), graph(Permuting(True), x()))
    assert not differences(graph(Permuting(False), x()), graph(Permuting(False), x()))


def test_what_is_returned_counts() -> None:
    """Two programs that compute the same and return another part of it differ in what they return alone."""

    class Selecting(nn.Module):
        def __init__(self, first: bool) -> None:
            super().__init__()
            self.first = first

        def forward(self, x: Tensor) -> Tensor:
            values, indices = x.max(1)
            return values if self.first else indices

    pair = Pair(graph(Selecting(True), x()), graph(Selecting(False), x()))
    assert [node.kind for node in pair.left.nodes] == [node.kind for node in pair.right.nodes]
    assert pair.only.node is not pair.left.nodes[0]


def test_constants_are_collected_up_to_the_first_other_structure() -> None:
    """Several baked sizes are several differences; after the programs have parted, nothing more can be said."""

    class Several(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n = int(x.shape[1])
            y = x * n + n - n
            if n > 6:
                y = y.relu()
            return y / n

    pair = at_two_sizes(Several())
    assert [difference.constants is None for difference in pair.differences] == [False, False, False, True]
    assert len(differences(pair.left, pair.right, most=2)) == 2


def test_the_graph_of_nested_inputs_and_outputs() -> None:
    """Containers are no obstacle on either side; constants of the call are bound."""

    class Nested(nn.Module):
        def forward(self, pair: tuple[Tensor, Tensor], scale: float, table: dict[str, Tensor]) -> Mapping[str, Any]:
            return {"sum": pair[0] + pair[1] * scale, "rest": (table["bias"], None, 3)}

    model = Nested()
    call = bind(model, ((x(), x()), 2.0), {"table": {"bias": x()}})
    found = graph_of(model, call)
    assert found.outputs["rest"][1:] == (None, 3)
    assert torch.equal(found.outputs["sum"], x() + x() * 2)
    assert not found.outputs["sum"].requires_grad
    assert differences(found, graph_of(model, call)) == []


def test_the_conversions_come_with_the_graph() -> None:
    """What left the graph while it was traced is told by the same run."""
    (conversion,) = graph(Baked(), x()).conversions
    assert (conversion.kind, conversion.value, conversion.origin) == ("int", 6, "size")


def test_an_error_passes_through_and_tracing_ends() -> None:
    """Whatever the forward raises is raised; torch is left in no half-open trace."""

    class Raising(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        graph(Raising(), x())
    assert torch._C._get_tracing_state() is None
    assert float(x().sum()) == float(x().sum())


def test_the_inputs_are_copied() -> None:
    """A forward that overwrites its input does not reach the caller's."""

    class Overwriting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2)

    inputs = x()
    graph(Overwriting(), inputs)
    assert torch.equal(inputs, x())


def test_meta_tensors_have_graphs() -> None:
    """Without weights the program is compared all the same."""
    with torch.device("meta"):
        model = Generic()
    call = Call(inputs={"x": x().to("meta")})
    assert differences(graph_of(model, call), graph_of(model, call, {"x": x(2, 9).to("meta")})) == []
    baked = Baked()
    assert differences(graph_of(baked, call), graph_of(baked, call, {"x": x(2, 9).to("meta")}))


def test_shared_parameters_are_one_value() -> None:
    """A model with tied weights has a graph."""
    model = Generic()
    model.other = nn.Linear(4, 8)
    model.other.weight = model.linear.weight
    assert differences(graph(model, x()), graph(model, x())) == []


def test_constants_of_the_meta_device_are_compared_by_shape() -> None:
    """A table that was made while tracing has no content there."""

    class Tabled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n = int(x.shape[1])
            return x + CONSTANTS[n]

    call = Call(inputs={"x": x().to("meta")})
    pair = Pair(graph_of(Tabled(), call), graph_of(Tabled(), call, {"x": x(2, 9).to("meta")}))
    assert pair.only.constants is not None
    assert "(6, 4)" in pair.only.constants[0]
    assert "(9, 4)" in pair.only.constants[1]


def test_the_blocks_of_compiled_control_flow_are_part_of_the_program() -> None:
    """A scripted helper keeps its branches: another branch inside is another program."""
    with quiet():
        double, triple = torch.jit.script(_double_long), torch.jit.script(_triple_long)

    class Calling(nn.Module):
        def __init__(self, helper: Any) -> None:
            super().__init__()
            self.helper = helper

        def forward(self, x: Tensor) -> Tensor:
            return self.helper(x)

    assert differences(graph(Calling(double), x()), graph(Calling(double), x(2, 9))) == []
    (difference,) = differences(graph(Calling(double), x()), graph(Calling(triple), x()))
    assert difference.constants == ("2", "3")


CONSTANTS = {n: torch.empty(n, 4, device="meta") for n in (6, 9)}


def _double_long(x: Tensor) -> Tensor:
    return x * 2 if x.size(1) > 6 else x


def _triple_long(x: Tensor) -> Tensor:
    return x * 3 if x.size(1) > 6 else x


def test_graphs_build_no_script_types() -> None:
    """Nothing is left in torch's registries, which never forget."""
    before = sum(len(types) for types in torch.jit._recursive.concrete_type_store.type_store.values())
    graph(Generic(), x())
    gc.collect()
    assert sum(len(types) for types in torch.jit._recursive.concrete_type_store.type_store.values()) == before
