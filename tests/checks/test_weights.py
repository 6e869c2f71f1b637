"""The check ``weights``: tied parameters, and parameters that a call overwrites."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.checks import Evidence
from pytest_torchscript.result import Status, Verdict
from pytest_torchscript.tracing.saving import Loaded
from pytest_torchscript.tracing.trace import trace

from .alone import NOT_ASKED, alone, cell, cell_of, check_named, guilty, place

IDS = torch.randint(0, 50, (2, 6), generator=torch.Generator().manual_seed(0))
X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Tied(nn.Module):
    def __init__(self, tie: bool = True, words: int = 50) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 8)
        self.head = nn.Linear(8, words, bias=False)
        if tie:
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(self.embedding(ids))
        return out


class Halving(nn.Module):
    """Renormalises its weight in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.scale
        self.weight.data.div_(self.weight.data.norm())  # guilty
        return y @ self.weight


def test_weights_that_are_not_tied_are_nothing_to_tell() -> None:
    """No tie, no clone, no finding; the size of the parameters is the same with ties and without."""
    result = alone("weights", Tied(tie=False), (IDS,))
    assert (result.status, result.findings) == (Status.PASSED, ())
    size = 2 * 50 * 8 * 4
    expected = {"tied": [], "cloned_bytes": 0, "parameter_bytes": size, "parameter_bytes_untied": size}
    assert result.metrics == expected


def test_tied_weights_are_found_and_what_becomes_of_them() -> None:
    """Both names, the bytes, and that torch's own save and load keeps them one weight."""
    result = alone("weights", Tied(), (IDS,))
    assert result.status is Status.PASSED
    size = 50 * 8 * 4
    assert result.metrics == {
        "tied": [{"names": ["embedding.weight", "head.weight"], "bytes": size, "kept": True}],
        "cloned_bytes": 0,
        "parameter_bytes": size,
        "parameter_bytes_untied": 2 * size,
    }
    (note,) = result.findings
    assert note.message == (
        "embedding.weight and head.weight are tied, and stay so through save and load: 1600 bytes once, 3200 if they were not"
    )
    assert note.path == "embedding.weight"


@pytest.mark.parametrize("tie", [True, False])
def test_large_weights_are_told_like_small_ones(tie: bool) -> None:
    """Of which one number is written: their ties, and the bytes that they would take, are those of the weights."""
    size = 5000 * 8 * 4
    metrics = alone("weights", Tied(tie, words=5000), (IDS,)).metrics
    kept = [{"names": ["embedding.weight", "head.weight"], "bytes": size, "kept": True}] if tie else []
    once = size if tie else 2 * size
    assert metrics == {"tied": kept, "cloned_bytes": 0, "parameter_bytes": once, "parameter_bytes_untied": 2 * size}


class Thrice(nn.Module):
    """One storage under three names."""

    def __init__(self) -> None:
        super().__init__()
        base = torch.randn(8, 8)
        self.left, self.middle, self.right = nn.Parameter(base), nn.Parameter(base), nn.Parameter(base)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.left[:4] + x @ self.middle[:4] + x @ self.right[:4]


@pytest.mark.parametrize(
    ("kept", "text", "price"),
    [
        (True, "and stay so through save and load: 256 bytes once, 768 if they were not", 0),
        (False, "but cloned by save and load: 256 bytes once become 768, 512 more", 512),
    ],
)
def test_a_clone_is_told_with_its_price(kept: bool, text: str, price: int) -> None:
    """What the loaded program no longer shares costs memory: for each further name, the bytes of the parameter."""
    cell = cell_of(Thrice(), (X,))
    traced = trace(cell.model, cell.call)
    weights = traced.module.state_dict()

    state = weights if kept else {name: weight.clone() for name, weight in weights.items()}
    loaded = Loaded(program=traced.module, saved=weights, state=state)
    result = check_named("weights").judge(cell, Evidence(traced=traced, loaded=loaded), {}).result
    (tie,) = result.metrics["tied"]
    assert (tie["names"], tie["bytes"], tie["kept"]) == (["left", "middle", "right"], 256, kept)
    assert result.metrics["cloned_bytes"] == price
    assert result.metrics["parameter_bytes"] == 256 + price
    assert result.metrics["parameter_bytes_untied"] == 768
    (note,) = result.findings
    assert note.message == f"left, middle and right are tied, {text}"


@pytest.mark.parametrize("width", [4, 4000])
def test_parts_of_one_storage_are_not_tied(width: int) -> None:
    """Two slices of a fused weight are two parameters, and each has its bytes."""

    class Slices(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            base = torch.randn(8, width)
            self.top, self.bottom = nn.Parameter(base[:4]), nn.Parameter(base[4:])

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.top + x @ self.bottom

    metrics = alone("weights", Slices(), (X,)).metrics
    assert metrics["tied"] == []
    assert metrics["parameter_bytes"] == metrics["parameter_bytes_untied"] == 8 * width * 4


def test_an_overwritten_parameter_fails_at_its_line() -> None:
    """Which one, who overwrites it, where, and what to do instead."""
    result = alone("weights", Halving(), (X,), atol=1e9, rtol=1e9)
    assert result.verdict is Verdict.WEIGHTS_CHANGED
    (finding,) = result.findings
    assert finding.message == "parameter 'weight' is overwritten when the model is called"
    assert (finding.path, finding.where, {place(finding)}) == ("weight", "written at", guilty(Halving))
    assert finding.hint is not None


def test_the_parameters_are_back_after_the_gate() -> None:
    """Whatever a call made of them."""
    model = Halving()
    before = model.weight.detach().clone()
    address = model.weight.data_ptr()
    cell(model, (X,), atol=1e9, rtol=1e9)
    assert torch.equal(model.weight, before)
    assert model.weight.data_ptr() == address


def test_a_program_that_fails_is_no_crash() -> None:
    """Where the marker skips the checks that would have said so."""

    class Refusing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not torch.jit.is_tracing():
                return x
            calls = torch.tensor([0.0])
            calls.add_(1)
            out: Tensor = torch.jit.script(_check)(x, calls)
            return out

    skip = dict.fromkeys(("equivalence", "values", "shapes", "padding", "roundtrip"), NOT_ASKED)
    assert cell(Refusing(), (X,), skip=skip).check("weights").verdict is not Verdict.CRASHED


def _check(x: Tensor, calls: Tensor) -> Tensor:
    if bool(calls.sum() > 1.5):
        raise ValueError("too late")
    return x


def test_it_needs_a_loaded_program() -> None:
    """Without the round trip nothing can be said of clones."""
    found = cell(Tied(), (IDS,), skip={"roundtrip": NOT_ASKED})
    result = found.check("weights")
    assert result.status is Status.PASSED
    assert result.metrics["tied"][0]["kept"] is None
    assert "parameter_bytes" not in result.metrics
    assert result.findings == ()


def test_meta_weights_skip_it() -> None:
    """There is no storage to share."""
    assert cell(Tied(), (IDS,), weights="meta").check("weights").reason == "meta weights"


def test_a_parameter_that_it_names_is_not_named_by_purity() -> None:
    """One fault has one verdict; where the marker skips the check, purity says it."""
    model = Halving()
    judged = cell(model, (torch.ones(2, 4),))
    assert judged.check("weights").verdict is Verdict.WEIGHTS_CHANGED
    assert judged.check("purity").status is Status.PASSED
    left = cell(Halving(), (torch.ones(2, 4),), skip={"weights": NOT_ASKED})
    assert left.check("purity").verdict is Verdict.SIDE_EFFECT
