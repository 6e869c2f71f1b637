"""What the observed call, or what stood round it, did: gone by the time the gate looks."""

import math

import pytest
import torch
from torch import nn


class Clamped(nn.Module):
    """Weights held in [-1, 1] in every call (pytorch/pytorch#133678): the second call finds nothing left to do."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 5)
        with torch.no_grad():
            self.fc.weight.mul_(8)

    def forward(self, x):
        with torch.no_grad():
            for p in self.fc.parameters():
                p.clamp_(-1, 1)  # guilty
        return self.fc(x)


@pytest.mark.torchscript(id="clamped-weights")
def test_clamped_weights():
    """Plain torch: the first call changes the weights by up to 1.5; the saved trace, called with gradients on (as C++ does by
    default), raises "a leaf Variable that requires grad is being used in an in-place operation".
    Right: WeightsChanged at the line marked guilty, as with model=Clamped, inputs=..."""
    torch.manual_seed(0)
    Clamped()(torch.randn(4, 10))


class Pruned(nn.Module):
    """The weight is multiplied with its mask in every call."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.register_buffer("keep", (torch.rand(8, 8) > 0.5).float())

    def forward(self, x):
        with torch.no_grad():
            self.fc.weight.mul_(self.keep)  # guilty
        return self.fc(x)


@pytest.mark.torchscript(id="pruned-weights")
def test_pruned_weights():
    """Plain torch: the first call sets about half of the 64 weights to zero; the saved trace raises with gradients on, as
    above.
    Right: WeightsChanged at the line marked guilty."""
    torch.manual_seed(0)
    Pruned()(torch.randn(4, 8))


class Tracker(nn.Module):
    """Compares images with the template of the first call (pytorch/pytorch#73353)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.template = None

    def forward(self, template, image):
        if self.template is None:
            self.template = self.conv(template).mean((2, 3)).detach()  # guilty
        return (self.conv(image) * self.template[..., None, None]).sum(1)


@pytest.mark.torchscript(id="kept-template")
def test_kept_template():
    """Plain torch: a fresh model with a new template differs from the trace, which never reads that input.
    Right: SideEffect at the line marked guilty, as with model=Tracker, inputs=..."""
    torch.manual_seed(0)
    Tracker()(torch.randn(2, 3, 6, 6), torch.randn(2, 3, 6, 6))


class FirstScale(nn.Module):
    """Inputs are divided by the largest of the first batch."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.scale = None

    def forward(self, x):
        if self.scale is None:
            self.scale = x.abs().max()  # guilty
        return self.fc(x / self.scale)


@pytest.mark.torchscript(id="first-scale")
def test_first_scale():
    """Plain torch: a fresh model on 10 * x gives what it gives on x; the trace made after the first call does not.
    Right: SideEffect at the line marked guilty."""
    torch.manual_seed(0)
    FirstScale()(torch.randn(4, 8))


class ShortRows(nn.Module):
    """torch's own max_norm shortens rows of the table in place, in the forward."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 8, max_norm=1.0)

    def forward(self, input_ids):
        return self.table(input_ids).mean(1)  # guilty


@pytest.mark.torchscript(id="max-norm")
def test_max_norm():
    """Plain torch: one call changes the rows that it looks up.
    Right: the line marked guilty, or the name of the module and of its argument max_norm."""
    torch.manual_seed(0)
    ShortRows()(torch.randint(0, 50, (2, 16)))


class HalfAware(nn.Module):
    """Another scaling where autocast made the product bfloat16 (pytorch/pytorch#84092)."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        y = self.fc(x)
        if y.dtype == torch.bfloat16:
            return (y.float() / math.sqrt(x.shape[1])).sum(1)  # guilty
        return (y / x.shape[1] ** 0.5).sum(1)


@pytest.mark.torchscript(id="autocast-round-the-call")
def test_autocast_round_the_call():
    """Plain torch, traced under the same autocast at 16: equal at 16, off by 0.3 or more at 7 and at 33.
    Right: ShapeSpecialised at the line marked guilty, as torchscript.check(...) inside the with says; or a note that
    autocast is left out."""
    torch.manual_seed(0)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        HalfAware()(torch.randn(2, 16, 8))


class Remembers(nn.Module):
    """The length of the call before decides."""

    def __init__(self):
        super().__init__()
        self.last = None

    def forward(self, x):
        n = int(x.shape[1])
        y = x * 2 if self.last is not None and self.last != n else x
        self.last = n  # guilty
        return y.mean(1)


X = (torch.ones(3, 8),)


@pytest.mark.torchscript(id="skip-shapes", model=Remembers, inputs=X, skip={"shapes": "sizes never vary"})
def test_skip_shapes():
    """Plain torch: fresh on ones(3, 9): 1.0; the same after one call on ones(3, 8): 2.0.
    Right: SideEffect: skipping one check switches off no other."""
