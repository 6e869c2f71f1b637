"""Values that must be tried one by one, and a remark on sizes that would be none."""

import pytest
import torch
from torch import nn


class Graphs(nn.Module):
    """Sums of each graph's nodes: nodes (all, features), edges (2, all), graph (all,): which graph a node is of."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(8, 8)

    def forward(self, nodes, edges, graph):
        messages = torch.zeros_like(nodes).index_add(0, edges[1], nodes[edges[0]])
        count = int(graph.max()) + 1  # guilty
        return torch.zeros(count, 8).index_add(0, graph, self.mix(messages))


EDGES = torch.tensor([[0, 0, 0, 1, 2, 3], [1, 2, 3, 0, 0, 0]])


def graphs(graph=(0, 0, 0, 0)):
    return torch.randn(4, 8), EDGES, torch.tensor(graph)


@pytest.mark.torchscript(id="integers-one-by-one")
def test_integers_one_by_one():
    """Plain torch: traced with one graph, two graphs (0, 0, 1, 1) give eager (2, 8); the trace raises "index 1 is out of
    bounds".
    Right: ValueSpecialised at the line marked guilty, as without edges, or when traced with two graphs."""
    torch.manual_seed(0)
    Graphs()(*graphs())


class ByKind(nn.Module):
    """A matrix a kind, x (rows, 8), kind (rows,): rows are sorted by kind first if they are not."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 8, 8))

    def forward(self, x, kind):
        order = None
        if (kind[1:] < kind[:-1]).any():  # guilty
            order = kind.argsort(stable=True)
            x, kind = x[order], kind[order]
        counts = torch.bincount(kind, minlength=3)
        y = torch.einsum("ni,nij->nj", x, self.weight[torch.arange(3).repeat_interleave(counts)])
        if order is not None:
            y = torch.empty_like(y).index_copy(0, order, y)
        return y


@pytest.mark.torchscript(id="sorted-kinds")
def test_sorted_kinds():
    """Plain torch: traced with sorted kinds, right for sorted kinds at 1, 4, 7 and 12 rows; wrong for unsorted ones at any
    size.
    Right: ValueSpecialised alone: no size is baked. (dims: batch=dynamic for inputs on the traced side of the branch.)"""
    torch.manual_seed(0)
    ByKind()(torch.randn(3, 8), torch.tensor([0, 1, 2]))
