"""What stands round a call in the process: autocast, the default dtype and the default device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from pytest_torchscript.subject.surroundings import Surroundings


@contextlib.contextmanager
def unusual() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def test_usual_surroundings_are_nothing_to_tell() -> None:
    """A process in which nothing was set."""
    now = Surroundings.now()
    assert (now.autocast, now.dtype, now.device.type) == ({}, torch.float32, "cpu")
    assert str(now) == ""


def test_they_are_as_they_were_at_the_call() -> None:
    """What is set afterwards is not theirs."""
    with unusual():
        seen = Surroundings.now()
    assert (seen.autocast, seen.dtype, seen.device) == ({"cpu": torch.bfloat16}, torch.float64, torch.device("meta"))
    assert str(seen) == "autocast to bfloat16 on cpu, default dtype float64, default device meta"


def test_they_can_be_made_again_and_are_put_back() -> None:
    """Inside the block all is as it was then, afterwards as it was before, also where the block fails."""
    before = Surroundings.now()
    with unusual():
        seen = Surroundings.now()

    def look() -> None:
        assert Surroundings.now() == seen
        assert not torch.is_autocast_cache_enabled()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), seen.again():
        look()
    assert Surroundings.now() == before


def test_usual_surroundings_are_made_amid_unusual_ones() -> None:
    """A call outside autocast is one inside it too."""
    usual = Surroundings.now()
    with unusual(), usual.again():
        assert Surroundings.now() == usual


def test_their_like_changes_nothing() -> None:
    """Where all is as it was, autocast keeps its cache, and no mode is added."""
    with torch.autocast("cpu", dtype=torch.bfloat16), Surroundings.now().again():
        assert torch.is_autocast_cache_enabled()
