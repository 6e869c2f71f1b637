"""What a probe is, and what the probes of a dim say of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.probing.run import classify, probe

from ..checks.alone import cell_of


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["equal", "equal"], "dynamic"),
        (["raises", "raises"], "fixed"),
        (["equal", "raises"], "partial"),
        (["equal", "wrong", "raises"], "unsafe"),
        (["wrong"], "unsafe"),
        (["outside", "outside"], "untested"),
        (["outside", "equal"], "dynamic"),
        (["outside", "raises"], "fixed"),
        ([], "untested"),
    ],
)
def test_a_dim_is_classified_by_its_probes(kinds: list[str], expected: str) -> None:
    """What is outside the model's domain does not count."""
    assert classify(dict(enumerate(kinds))) == expected


@pytest.mark.parametrize(("size", "kind"), [(6, "equal"), (7, "wrong"), (8, "raises"), (9, "outside"), (10, "outside")])
def test_a_probe_has_one_of_four_kinds(size: int, kind: str) -> None:
    """Equal, silently wrong, a loud refusal, or outside the model's own domain, which is no failure."""

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] == 9:
                raise ValueError("never nine")
            return x * (float("nan") if x.shape[1] == 10 else 1)

    class Program(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] == 8:
                raise ValueError("not eight")
            return x * (2 if x.shape[1] == 7 else 1)

    cell = cell_of(Model(), (torch.ones(2, 6, 4),))
    found = probe(cell, Program(), {"x": torch.ones(2, size, 4)})
    assert found.kind == kind
    assert bool(found.mismatches) is (kind == "wrong")
    assert (found.error is not None) is (kind in ("raises", "outside"))


def test_eager_that_gives_two_answers_is_no_judge() -> None:
    """Where the model itself is random at other inputs, the trace is not blamed for it."""

    class Fitful(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + (torch.rand(4) if x.shape[1] == 9 else 0)

    cell = cell_of(Fitful(), (torch.ones(2, 6, 4),))
    assert probe(cell, nn.Identity(), {"x": torch.ones(2, 8, 4)}).kind == "equal"
    assert probe(cell, nn.Identity(), {"x": torch.ones(2, 9, 4)}).kind == "outside"
