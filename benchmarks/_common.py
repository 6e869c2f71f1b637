"""What the benchmarks share: models, the gate as a function call, and how numbers are printed."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from importlib import metadata

import torch
from transformers import BertConfig, BertModel
from transformers.utils import logging

from pytest_torchscript.gate import Subject, call_of, judge
from pytest_torchscript.result import GateResult
from pytest_torchscript.spec import GateSpec

Inputs = dict[str, torch.Tensor]

# torch.jit.trace looks at every attribute of a model, and one of them warns that it was looked at.
logging.set_verbosity_error()


def tiny_bert(layers: int = 12) -> BertModel:
    """BERT of the usual depth and almost no width: what a trace costs beyond the arithmetic."""
    config = BertConfig(hidden_size=32, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=64)
    return BertModel(config).eval()


def base_bert() -> BertModel:
    """BERT-base, 110 million parameters."""
    return BertModel(BertConfig()).eval()


def text(length: int) -> Inputs:
    """One text of ``length`` tokens with its padding mask."""
    return {
        "input_ids": torch.randint(1000, 20000, (1, length)),
        "attention_mask": torch.ones(1, length, dtype=torch.long),
    }


def gate(model: torch.nn.Module, inputs: object) -> GateResult:
    """One gate with the marker's defaults, as pytest would run it after a test."""
    return judge(Subject(model=model, call=call_of(model, inputs)), GateSpec(), id="benchmark")


def spread(values: Sequence[float], unit: str = "ms", scale: float = 1000.0) -> str:
    """``median (min-max) unit``."""
    low, middle, high = (scale * value for value in (min(values), statistics.median(values), max(values)))
    return f"{middle:.1f} ({low:.1f}-{high:.1f}) {unit}"


def setting(*packages: str) -> str:
    """The versions that the numbers belong to."""
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    return f"Python {platform.python_version()}, {versions}, {platform.system()} {platform.machine()}"
