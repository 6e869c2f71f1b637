"""The remedy that helps, where the verdict and the line are plain."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn


def x(length=16):
    torch.manual_seed(0)
    return torch.randn(2, length, 8)


# while tracing, x.shape[i] is a tensor: what needs a Python number refuses it


class Half(nn.Module):
    def forward(self, x):
        return x[:, : round(x.shape[1] * 0.5)].sum(1)  # guilty


class Whole(nn.Module):
    def forward(self, x):
        rest = divmod(x.shape[1], 4)[1]  # guilty
        return x[:, : x.shape[1] - rest].mean(1)


class Causal(nn.Module):
    """Causal where there is more than one position (pytorch/pytorch#115262)."""

    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, is_causal=x.shape[1] > 1)  # guilty


@pytest.mark.torchscript(id="round-of-a-size")
def test_round():
    """Plain torch: jit.trace raises "type Tensor doesn't define __round__ method" (as in pytorch/vision#7705).
    Right: "while tracing, x.shape[i] is a tensor: use // and %". (x[:, : x.shape[1] // 2] traces, and is right at 7 and 33.)"""
    Half()(x())


@pytest.mark.torchscript(id="divmod-of-a-size")
def test_divmod():
    """Plain torch: jit.trace raises "unsupported operand type(s) for divmod(): 'Tensor' and 'int'".
    Right: as above. (x.shape[1] % 4 traces, and is right at 7 and 33.)"""
    Whole()(x())


@pytest.mark.torchscript(id="bool-of-a-size")
def test_is_causal():
    """Plain torch: jit.trace raises "argument 'is_causal' must be bool, not Tensor".
    Right: "a bool or int argument that depends on a size cannot be traced: pass a mask". (A mask of torch.ones(...).tril()
    is right.)"""
    Causal()(x())


# a scripted helper that returns no tensor


@torch.jit.script
def next_multiple(n: int) -> int:
    return (n + 7) // 8 * 8


class ScriptedHelper(nn.Module):
    """pytorch/pytorch#36596"""

    def forward(self, x):
        return F.pad(x, (0, 0, 0, next_multiple(x.shape[1]) - x.shape[1])).mean(1)  # guilty


@pytest.mark.torchscript(id="scripted-helper")
def test_scripted_helper():
    """Plain torch: jit.trace raises "Tracer cannot set value trace for type Int".
    Right: "let the scripted function take and return tensors", after which it traces and is right at 7 and 33."""
    ScriptedHelper()(x())


# a remedy that makes a loud failure silent


class KeptFeatures(nn.Module):
    """Compares with the features of the first call (pytorch/pytorch#73353), gradients on."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.template = None

    def forward(self, template, x):
        if self.template is None:
            self.template = self.fc(template).mean(1, keepdim=True)
        return (self.fc(x) * self.template).sum(-1)  # guilty


@pytest.mark.torchscript(id="kept-with-gradients")
def test_kept_with_gradients():
    """Plain torch: after a first call jit.trace raises "Cannot insert a Tensor that requires grad as a constant".
    Right: "a result of an earlier call is kept in self.template"."""
    KeptFeatures()(x(), x())


# one remedy for all sizes that became numbers: "keep the size in the graph: x.shape[i] without int(), len() or a Python loop"


class Ceil(nn.Module):
    def forward(self, x):
        return F.pad(x, (0, 0, 0, math.ceil(x.shape[1] / 4) * 4 - x.shape[1])).sum(1) / math.ceil(x.shape[1] / 4)  # guilty


class Log(nn.Module):
    def forward(self, x):
        return x * math.log(x.shape[1] + 1)  # guilty


class Corners(nn.Module):
    def forward(self, x):
        return x[..., :2] / torch.tensor([x.shape[1], x.shape[2]])  # guilty


@pytest.mark.torchscript(id="ceil-of-a-size")
def test_ceil():
    """Plain torch: wrong at 7 and at 33.
    Right: names math.ceil: "(n + 3) // 4" (which traces and is right)."""
    Ceil()(x())


@pytest.mark.torchscript(id="log-of-a-size")
def test_log():
    """Plain torch: wrong at 7 and at 33.
    Right: names math.log: torch.log of a tensor (torch.as_tensor(n) of one size is kept in the graph)."""
    Log()(x())


@pytest.mark.torchscript(id="tensor-of-sizes")
def test_tensor_of_sizes():
    """Plain torch: wrong at 7 and at 33.
    Right: names torch.tensor: a list of sizes becomes a constant; torch.stack of single sizes does not."""
    Corners()(x())


# eager fails, and nothing was baked


class Mismatch(nn.Module):
    def forward(self, x):
        return x + torch.ones(3)  # guilty


@pytest.mark.torchscript(id="eager-size-mismatch", model=Mismatch, inputs=(torch.randn(2, 4),))
def test_eager_size_mismatch():
    """Plain torch: the model raises "size of tensor a (4) must match ..." in eager.
    Right: no such remedy: the inputs do not fit the model."""
