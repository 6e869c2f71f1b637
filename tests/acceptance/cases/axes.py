"""Sizes that must change together, or lie elsewhere than at the usual place: the trace is silently wrong at others."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

# two axes of one input, or axes of two inputs, are one size


class Neighbours(nn.Module):
    """Mean of the neighbours' features: nodes (graphs, nodes, features), adjacency (graphs, nodes, nodes)."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(16, 4)

    def forward(self, nodes, adjacency):
        return adjacency @ self.mix(nodes) / int(nodes.shape[1])  # guilty


class PairBias(nn.Module):
    """Attention with a bias for each pair of positions: x (batch, length, width), bias (batch, length, length)."""

    def forward(self, x, bias):
        scores = x @ x.transpose(1, 2) / math.sqrt(x.shape[1]) + bias  # guilty
        return scores.softmax(-1) @ x


def neighbours(nodes=3):
    return torch.randn(2, nodes, 16), torch.rand(2, nodes, nodes)


def pair_bias(length=6):
    return torch.randn(2, length, 8), torch.randn(2, length, length)


@pytest.mark.torchscript(id="neighbours")
def test_neighbours():
    """Plain torch: traced with 3 nodes, the answer is wrong with 1, 2 and 5.
    Right: ShapeSpecialised at the line marked guilty: all axes that hold the size must change together."""
    Neighbours()(*neighbours())


@pytest.mark.torchscript(id="pair-bias")
def test_pair_bias():
    """Plain torch: traced at 6, wrong at 4 and at 11.
    Right: ShapeSpecialised at the line marked guilty."""
    PairBias()(*pair_bias())


class Squares(nn.Module):
    """Each channel is a square matrix, multiplied with itself: eager takes square images only."""

    def forward(self, image):
        return (image @ image).diagonal(dim1=2, dim2=3).sum(-1) / int(image.shape[3])  # guilty


@pytest.mark.torchscript(id="square-images")
def test_square_images():
    """Plain torch: traced at 12x12, wrong at 6x6 and at 24x24; images that are no squares are refused by eager.
    Right: ShapeSpecialised at the line marked guilty."""
    torch.manual_seed(0)
    Squares()(torch.randn(2, 3, 12, 12))


# sizes that must be multiples of a number


class Upsampled(nn.Module):
    """A network that takes multiples of 32 and says so, except while it is traced."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 32, 32)

    def forward(self, image):
        if not torch.jit.is_tracing() and (image.shape[-2] % 32 or image.shape[-1] % 32):
            raise ValueError("height and width must be multiples of 32")
        return F.interpolate(self.down(image), size=(int(image.shape[-2]), int(image.shape[-1])))  # guilty


class Frames(nn.Module):
    """Loudness of a sound in frames of 16 samples, sound (batch, channels, samples): eager takes whole frames only."""

    def forward(self, sound):
        batch, channels, samples = sound.shape
        frames = sound.reshape(batch, channels, -1, 16)
        return frames.square().sum(-1) / (int(samples) // 16)  # guilty


@pytest.mark.torchscript(id="multiples-of-32")
def test_multiples_of_32():
    """Plain torch: traced at 64x64, eager at 32x32 and 96x96 gives images of that size, the trace gives 64x64.
    Right: ShapeSpecialised at the line marked guilty: half, one and a half times and twice the size are worth a try."""
    Upsampled()(torch.rand(1, 3, 64, 64))


@pytest.mark.torchscript(id="whole-frames")
def test_whole_frames():
    """Plain torch: traced at 64 samples, wrong at 32 and at 96; lengths that are no multiple of 16 are refused by eager.
    Right: ShapeSpecialised at the line marked guilty."""
    Frames()(torch.randn(2, 4, 64))


# a dim that is called fixed, and answers wrongly at sizes that were not tried


class Blocks(nn.Module):
    """Sums in blocks of 8, x (batch, length, width)."""

    def forward(self, x):
        batch, length, width = x.shape
        if length % 8:
            x = F.pad(x, (0, 0, 0, 8 - int(length) % 8))
        return x.reshape(batch, int(x.shape[1]) // 8, -1, 8, width).sum(2)  # guilty


@pytest.mark.torchscript(id="blocks")
def test_blocks():
    """Plain torch: traced at 16, the trace raises at 1, 7, 8, 14, 15, 24 and 33, and answers wrongly at 32, 48 and 64.
    Right: ShapeSpecialised at the line marked guilty; a dim is fixed if multiples of the traced size raise too."""
    Blocks()(torch.randn(2, 16, 4))


@pytest.mark.torchscript(id="blocks-fixed", shapes={"seq": "fixed"})
def test_blocks_declared_fixed():
    """Plain torch: as above: at 32 there is an answer, and it is wrong.
    Right: ShapeSpecialised."""
    Blocks()(torch.randn(2, 16, 4))


# height and width that change together


class Patches(nn.Module):
    """Patches of 4x4 with a learned position each, resized for images of another size."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.position = nn.Parameter(torch.randn(1, 8, 4, 4))

    def forward(self, image):
        x = self.patch(image)
        height, width = x.shape[2:]
        position = self.position
        if (height, width) != (4, 4):  # guilty
            position = F.interpolate(position, size=(height, width), mode="bilinear")
        return (x.flatten(2) + position.flatten(2)).transpose(1, 2)


class Rows(nn.Module):
    """Columns of an image are averaged in equal shares of all pixels."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64))

    def forward(self, image):
        flat = image.flatten(2) * self.weight
        return flat.reshape(image.shape[0], image.shape[1], int(image.shape[2]), -1).mean(2)  # guilty


@pytest.mark.torchscript(id="same-area-positions")
def test_same_area_positions():
    """Plain torch: traced at 16x16, the trace raises at 8x8 and 32x32, and at 8x32 and 32x8 it is off by more than 1.
    Right: ShapeSpecialised at the line marked guilty: one axis halved with the other doubled is worth a try."""
    torch.manual_seed(0)
    Patches()(torch.randn(2, 3, 16, 16))


@pytest.mark.torchscript(id="same-area-rows")
def test_same_area_rows():
    """Plain torch: traced at 8x8, the trace gives another shape at 4x16 and at 16x4; eager takes 64 pixels only.
    Right: ShapeSpecialised at the line marked guilty."""
    Rows()(torch.randn(2, 3, 8, 8))


# a cache of keys and values as inputs


class Step(nn.Module):
    """One step of a decoder: input_ids (batch, 1), cached keys and values (batch, past, width)."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.key, self.value, self.query = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, input_ids, past_key, past_value):
        x = self.embed(input_ids)
        keys = torch.cat([past_key, self.key(x)], 1)
        values = torch.cat([past_value, self.value(x)], 1)
        scores = self.query(x) @ keys.transpose(1, 2) / int(past_key.shape[1])  # guilty
        return scores.softmax(-1) @ values, keys, values


def step(past=9):
    return torch.randint(0, 50, (2, 1)), torch.randn(2, past, 16), torch.randn(2, past, 16)


@pytest.mark.torchscript(id="cache-inputs")
def test_cache_inputs():
    """Plain torch: traced with 9 cached positions, off by more than 0.01 with 40 (and with every other number).
    Right: ShapeSpecialised at the line marked guilty, as with dims={"past_key": {1: "past"}, "past_value": {1: "past"}}."""
    torch.manual_seed(0)
    Step()(*step())
