"""A helper that the cases share."""

import torch


def exporting():
    return torch.jit.is_tracing()
