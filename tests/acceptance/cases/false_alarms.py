"""Healthy models that are written in an unusual way."""

import pytest
import torch
from torch import nn


class Scaled(nn.Module):
    """A module with a __call__ of its own that hands arguments on by name, as torch_geometric's aggregations do."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x, scale=None):
        return self.fc(x) * scale

    def __call__(self, x, scale=None):
        return super().__call__(x, scale=scale)


@pytest.mark.torchscript(id="own-call")
def test_own_call():
    """Plain torch: torch.jit.trace(model, (x, scale)) works and equals eager for other batch sizes and values.
    Right: ok."""
    Scaled()(torch.randn(2, 4), torch.randn(2, 1))


class Pairs(nn.Module):
    """The same where the model is a part of another."""

    def __init__(self):
        super().__init__()
        self.scaled = Scaled()

    def forward(self, x, scale):
        return self.scaled(x, scale=scale).relu()


@pytest.mark.torchscript(id="own-call-inside")
def test_own_call_inside():
    """Plain torch: traces, and equals eager.
    Right: ok. (The healthy neighbour of the one above.)"""
    Pairs()(torch.randn(2, 4), torch.randn(2, 1))


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 3))

    def forward(self, x):
        return x @ self.weight


@pytest.mark.torchscript(id="sparse-input")
def test_sparse_input():
    """Plain torch: traced with a sparse x, equals eager for other values and other numbers of rows.
    Right: ok, or values skipped with the reason that sparse inputs are not redrawn."""
    Product()(torch.eye(4, 16).to_sparse())


class Settings(dict):
    """A dictionary whose keys are attributes: unknown names raise KeyError, not AttributeError."""

    __getattr__ = dict.__getitem__


class Configured(nn.Module):
    def __init__(self, settings):
        super().__init__()
        self.settings = settings
        self.settings.width = 8
        self.fc = nn.Linear(settings.width, 8)

    def forward(self, x):
        return self.fc(x)


@pytest.mark.torchscript(id="settings-dict")
def test_settings_dict():
    """Plain torch: traces, saves and loads, equals eager at other sizes. copy.deepcopy(model) raises KeyError: '__deepcopy__'.
    Right: ok (or the check that needs a copy skipped, saying so): nothing that is deployed copies the model."""
    Configured(Settings(depth=1))(torch.randn(2, 8))
