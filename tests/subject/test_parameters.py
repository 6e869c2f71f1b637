"""Which names of parameters stand for one weight."""

from __future__ import annotations

import torch
from torch import nn

from pytest_torchscript.subject.parameters import by_place, byte_size, place


def test_names_of_one_weight_are_one_group() -> None:
    """Shared parameters and two views of one storage alike; equal values in two storages are two weights."""
    weight = nn.Parameter(torch.ones(2, 3))
    named = [("a", weight), ("b", weight), ("view", weight.detach()), ("copy", weight.detach().clone())]
    assert by_place(named) == [["a", "b", "view"], ["copy"]]


def test_parts_of_one_storage_are_not_one_weight() -> None:
    """A flattened model keeps all its parameters in one buffer."""
    flat = torch.zeros(6)
    assert by_place([("a", flat[:3]), ("b", flat[3:]), ("all", flat)]) == [["a"], ["b"], ["all"]]


def test_empty_parameters_are_in_no_group() -> None:
    """They have no storage to share."""
    assert by_place([("a", torch.zeros(0)), ("b", torch.zeros(0))]) == []


def test_meta_tensors_are_one_weight_only_where_they_are_one_object() -> None:
    """None of them has a storage of its own."""
    left, right = torch.zeros(2, device="meta"), torch.zeros(2, device="meta")
    assert place(left) == place(left)
    assert place(left) != place(right)


def test_the_size_in_bytes_goes_by_dtype() -> None:
    """Half precision takes half of it."""
    assert (byte_size(torch.zeros(2, 3)), byte_size(torch.zeros(2, 3, dtype=torch.float16))) == (24, 12)
