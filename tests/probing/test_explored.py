"""What the probes of a dim say of it, in one word and in a sentence."""

from __future__ import annotations

import pytest

from pytest_torchscript.probing.explored import Explored, Factor, state_of, tried, worded
from pytest_torchscript.probing.run import Probe
from pytest_torchscript.result import AxisResult


def probes(**kinds: str) -> dict[int, Probe]:
    """``probes(at7="equal")``."""
    return {int(size.removeprefix("at")): Probe(kind) for size, kind in kinds.items()}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (probes(at7="equal", at33="equal"), "dynamic"),
        (probes(at7="raises"), "fixed"),
        (probes(at1="equal", at7="raises"), "partial"),
        (probes(at7="wrong", at33="equal"), "unsafe"),
        (probes(at7="outside"), "untested"),
        (probes(at1="equal", at7="outside"), "untested"),
        (probes(at1="equal"), "dynamic"),
        (probes(at1="equal", at7="outside", at33="equal"), "dynamic"),
        (probes(at1="wrong", at7="outside"), "unsafe"),
        ({}, "untested"),
    ],
)
def test_the_class_of_a_dim(found: dict[int, Probe], expected: str) -> None:
    """A size of one alone says nothing where eager takes no other: it is broadcast."""
    assert state_of("seq", found, ()) == expected


@pytest.mark.parametrize(
    ("kind", "dim", "expected"), [("wrong", "seq", "unsafe"), ("raises", "seq", "dynamic"), ("wrong", "past", "dynamic")]
)
def test_sizes_that_are_wrong_together_only(kind: str, dim: str, expected: str) -> None:
    """A dim that is right alone is unsafe where it is silently wrong with another one."""
    factor = Factor("seq 7, batch 3", {}, Probe(kind), {dim: 7, "batch": 3})
    assert state_of("seq", probes(at7="equal"), [factor]) == expected


def test_only_sizes_that_were_tried_are_told() -> None:
    """By outcome, in the order of the sizes."""
    found = probes(at33="equal", at7="equal", at1="outside", at9="wrong", at8="raises")
    assert tried(16, found) == "eager refused 1; right at 7, 33; the trace refuses 8; wrong at 9"
    assert tried(16, {}) == "no size other than 16 was tried"


def test_sizes_in_words() -> None:
    """As they are told in a finding."""
    assert worded({"batch": 5, "seq": 33}) == "batch 5, seq 33"


def test_a_dim_that_is_left_to_its_values_is_untested() -> None:
    """What the same line makes wrong for values is no matter of sizes."""
    axes = {
        "x": {"0": AxisResult(dim="batch", state="dynamic", reason="r"), "1": AxisResult(dim="seq", state="unsafe", reason="r")}
    }
    found = Explored(
        sizes={"seq": 16, "batch": 2}, probes={"seq": probes(at7="wrong"), "batch": probes(at3="equal")}, axes=axes
    )
    assert (found.state("seq"), found.kinds("seq"), found.reason("seq")) == ("unsafe", {7: "wrong"}, "wrong at 7")
    left = found.undecided({"seq": "decided by values"})
    assert (left.state("seq"), left.state("batch")) == ("untested", "dynamic")
    assert left.axes["x"]["1"] == AxisResult(dim="seq", state="untested", reason="decided by values")
    assert left.axes["x"]["0"] == axes["x"]["0"]
