"""The line that a finding names, and the remedy that fits."""

import pytest
import torch
from torch import nn
from traced_helper import exporting


class KeepOthers(nn.Module):
    """Positions that were chosen are set to zero."""

    def forward(self, x, index):
        others = torch.ones(x.shape, dtype=torch.bool, device=x.device)
        others = others.scatter(-1, index, False)  # guilty
        y = x.masked_fill(~others, 0.0)
        return y + 1


@pytest.mark.torchscript(id="scatter-bool")
def test_scatter_bool():
    """Plain torch: torch.jit.trace raises "... aten::scatter ..." (no overload for a bool value); with 0 instead of False,
    or torch.tensor(False), it traces and is right.
    Right: Untraceable at the line marked guilty, "give the value as a tensor or as a number of the tensor's type"."""
    KeepOthers()(torch.randn(2, 16), torch.randint(0, 16, (2, 4)))


class Shortcut(nn.Module):
    """Leaves the mask away while it is traced; the question is asked in another module's helper."""

    def forward(self, x, attention_mask):
        scores = x @ x.transpose(1, 2)
        if not exporting():  # guilty
            scores = scores.masked_fill(attention_mask[:, None, :] == 0, -1e4)
        return scores.softmax(-1) @ x


@pytest.mark.torchscript(id="tracing-helper")
def test_tracing_helper():
    """Plain torch: the trace differs from eager on the traced input itself, wherever the mask has a zero.
    Right: NotEquivalent at the caller's line, marked guilty: the helper is right, and is used by others."""
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[1, 5:] = 0
    torch.manual_seed(0)
    Shortcut()(torch.randn(2, 8, 4), mask)


class Mixed(nn.Module):
    """Attention that heeds the mask, and a convolution that does not. A mask without zeros is left out, but for the trace."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1, groups=8)

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids)
        bias = None
        if torch.jit.is_tracing() or not attention_mask.all():
            bias = (1 - attention_mask[:, None, :]) * -1e4
        query = self.query(x)
        key, value = self.key(x), self.value(x)
        scores = query @ key.transpose(1, 2)
        if bias is not None:
            scores = scores + bias
        context = scores.softmax(-1) @ value
        return context + self.conv(value.transpose(1, 2)).transpose(1, 2)  # guilty


@pytest.mark.torchscript(id="padding-conv")
def test_padding_conv():
    """Plain torch: with hooks, the linear layers agree at valid positions (0.0); the first difference is the convolution's.
    Right: PaddingUnsafe at the line marked guilty."""
    torch.manual_seed(0)
    Mixed()(torch.randint(1, 50, (1, 16)), torch.ones(1, 16, dtype=torch.long))


class Experts(nn.Module):
    """The number of rows an expert gets is baked, by tolist(); nothing leaks from padding in eager."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.choose = nn.Linear(8, 2)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids) * attention_mask[..., None]
        flat = x.flatten(0, 1)
        which = self.choose(flat).argmax(-1)
        order = which.argsort(stable=True)
        sizes = torch.bincount(which, minlength=2).tolist()  # guilty
        parts = [expert(part) for expert, part in zip(self.experts, flat[order].split(sizes), strict=True)]
        y = torch.empty_like(flat).index_copy(0, order, torch.cat(parts))
        return y.view_as(x) * attention_mask[..., None]


@pytest.mark.torchscript(id="padding-after-values")
def test_padding_after_values():
    """Plain torch: eager alone gives the same at valid positions, padded or not (below 1e-5); the trace has the sizes baked.
    Right: ValueSpecialised alone, or PaddingUnsafe with the same line: where eager does not leak, no leak can be named."""
    torch.manual_seed(0)
    Experts()(torch.randint(1, 50, (2, 16)), torch.ones(2, 16, dtype=torch.long))
