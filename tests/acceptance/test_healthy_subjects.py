"""Healthy models with unusual inputs, attributes and calls pass: nothing that is deployed copies or compares them."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ..checks.alone import cell
from ..subject.test_contents import ComparesToArrays, ForbidsReading, ForbidsWriting, KeysAsAttributes, OnlySlots


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


class Neighbours(nn.Module):
    """A graph layer: a sparse adjacency and features."""

    def forward(self, adjacency: Tensor, features: Tensor) -> Tensor:
        return (adjacency @ features).relu()


class Doubled(nn.Module):
    """The answer is as sparse, or as quantised, as the input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x)


class Dequantised(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.dequantize() * 2


class Padded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.nested.to_padded_tensor(x, 0.0)


class Stubborn:
    """Refuses every copy."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("no copies")

    __copy__ = __reduce_ex__ = __deepcopy__

    def __setstate__(self, state: Any) -> None:
        raise ValueError("no state")

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


class Holder(nn.Module):
    """Holds all kinds of objects that are not to be copied, compared or walked."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.settings = KeysAsAttributes(width=8)
        self.rows = ForbidsReading([1, 2])
        self.frozen = ForbidsWriting(a=[1])
        self.stubborn = {"inside": [Stubborn(), ComparesToArrays()], "slots": OnlySlots()}
        self.dataset = list(range(1_000_000))

    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("a model that is not copied")

    def forward(self, x: Tensor, options: Any = None) -> Tensor:
        return self.fc(x)


class Forwarding(nn.Module):
    """Unknown names are those of the wrapped model."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Joined(nn.Module):
    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        return torch.cat([x * 2, boxes], 0)


class Looked(nn.Module):
    """Rows of a table for ids of which there may be none."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)

    def forward(self, x: Tensor, ids: Tensor, kept: Tensor) -> Tensor:
        return torch.cat([x, self.table(ids) * kept[:, None]])


class Widened(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float() * 2


class Hooked(nn.Module):
    """What is given by name is seen by name: doubled before the forward, and added after it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_forward_pre_hook(lambda _, args, given: (args, {**given, "y": given["y"] * 2}), with_kwargs=True)
        self.register_forward_hook(lambda _, args, given, out: out + given["y"], with_kwargs=True)

    def forward(self, x: Tensor, y: Tensor, scale: float = 2.0) -> Tensor:
        return x * scale + y


class HookedByPosition(nn.Module):
    """A hook that sees the positional arguments alone, and there are as many as the caller gives so."""

    def __init__(self) -> None:
        super().__init__()
        self.register_forward_pre_hook(lambda _, args: tuple(2 * arg for arg in args))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x - y


X = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
EYE = torch.eye(4, 16)
SUBJECTS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "COO": (Product, lambda: EYE.to_sparse()),
    "CSR": (Product, lambda: EYE.to_sparse_csr()),
    "COO adjacency": (Neighbours, lambda: (torch.eye(5).to_sparse(), torch.randn(5, 3))),
    "CSR adjacency": (Neighbours, lambda: (torch.eye(5).to_sparse_csr(), torch.randn(5, 3))),
    "a sparse answer": (Doubled, lambda: EYE.to_sparse()),
    "quantised": (Dequantised, lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.quint8)),
    "a quantised answer": (Doubled, lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.quint8)),
    "quantised by channel": (
        Dequantised,
        lambda: torch.quantize_per_channel(X, torch.tensor([0.1, 0.2]), torch.tensor([0, 0]), 0, torch.quint8),
    ),
    "objects held": (Holder, lambda: X),
    "a dictionary of keys as attributes given": (Holder, lambda: (X, KeysAsAttributes(width=2))),
    "a list that forbids reading given": (Holder, lambda: (X, ForbidsReading([1]))),
    "an object that forbids copies given": (Holder, lambda: (X, Stubborn())),
    "no boxes": (Joined, lambda: (X, torch.empty(0, 8))),
    "no boxes, given first": (Joined, lambda: (torch.empty(0, 8), X)),
    "no ids": (Looked, lambda: (X, torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.bool))),
    "floats of eight bits": (Widened, lambda: X.to(torch.float8_e4m3fn)),
    "floats of eight bits with an infinity": (Widened, lambda: X.to(torch.float8_e5m2)),
    "hooks that take arguments by name": (Hooked, lambda: {"x": X, "y": X}),
    "hooks that take arguments by position": (HookedByPosition, lambda: {"x": X, "y": X}),
    "attributes of a wrapped model": (Forwarding, lambda: X),
}


@pytest.mark.parametrize(("model", "inputs"), SUBJECTS.values(), ids=SUBJECTS)
def test_it_passes(model: Callable[[], nn.Module], inputs: Callable[[], Any]) -> None:
    """What plain torch traces, saves and loads, right for other values and sizes, is no failure of any check."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = cell(model(), inputs())
    assert {check.name: check.findings for check in found.checks if check.verdict} == {}


def test_a_model_that_is_given_nothing_but_empty_inputs_is_refused() -> None:
    """A trace of no data shows nothing."""
    (finding,) = cell(Joined(), (X[:0], X[:0])).check("eager").findings
    assert re.search(r"'x' has a zero-sized axis, shape \(0, 8\), as every other input has: .* no data", finding.message)


def test_no_hook_is_left() -> None:
    """The one by which a trace hands the arguments over is gone with it."""
    model = Hooked()
    before = [*vars(model)["_forward_pre_hooks"].values()]
    assert cell(model, {"x": X, "y": X}).verdict == "ok"
    assert [*vars(model)["_forward_pre_hooks"].values()] == before


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_a_nested_input_is_judged(layout: torch.layout) -> None:
    """It has no axes to vary; torch itself refuses to save such a trace, or to make one."""
    parts = [torch.randn(3, 8), torch.randn(5, 8)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = cell(Padded(), (torch.nested.nested_tensor(parts, layout=layout),))
    assert found.check("eager").verdict is None
    assert "Crashed" not in {str(check.verdict) for check in found.checks}
    assert (found.batch_size, found.dims) == (None, {})


def test_values_that_cannot_be_redrawn_are_told() -> None:
    """A pass that tried no other values says so."""
    (note,) = cell(Product(), (EYE.to_sparse(),)).check("values").findings
    assert note.message == "sparse, nested and quantised inputs are not redrawn: no other values were tried"


def test_a_held_object_that_forbids_copies_is_shared_by_a_model_without_weights() -> None:
    """``weights="meta"`` copies the structure of a model; what cannot be copied is the model's own."""

    class Configured(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.settings = KeysAsAttributes(width=8)
            self.fc = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x)

    assert cell(Configured(), (X,), weights="meta").verdict == "ok"
