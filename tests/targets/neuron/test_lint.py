"""How rules are judged and worded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import gate

from .cases import (
    SEVERITY,
    Doubled,
    X,
    broken,
    by_rule,
    judged,
    lint,
    linted,
    outcomes,
    text,
    unjudged,
)
from .corpus import BREAKING, KEEPING


class ManyTransforms(nn.Module):
    """Five lines that break one rule, one of them twice."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.fft.fft(torch.fft.ifft(x).real).real
        x = torch.fft.fft(x).real
        x = torch.fft.fft(x).real
        x = torch.fft.fft(x).real
        return torch.fft.fft(x).real


def test_a_rule_names_a_few_lines_each_once_and_counts_the_others() -> None:
    """A model full of them must not bury the rest of the report."""
    found = by_rule(lint(ManyTransforms(), X))["fft"]
    first = found[0].line
    assert first is not None
    assert [finding.line for finding in found] == [first, first + 1, first + 2]
    assert found[0].message == "lint fft: fft_ifft is a Fourier transform"
    assert found[2].message == "lint fft: fft_fft is a Fourier transform (and on 2 further lines)"


def test_a_rule_that_repeats_a_check_is_one_sentence_that_refers_to_it() -> None:
    """The check says the rest."""
    (model,) = (breaking.case for breaking in BREAKING if str(breaking.case) == "mean_over_padding")
    cell = judged(gate.Subject(model=model.build(), call=gate.call_of(model.build(), model.inputs())))
    (finding,) = broken(cell.check("target"))
    (origin,) = (entry for entry in cell.check("padding").findings if entry.line is not None)
    assert (
        finding.message == "lint padding: Neuron takes the traced shape only, and padding to it changes the answer: see padding"
    )
    assert (finding.file, finding.line, finding.function) == (origin.file, origin.line, origin.function)
    assert set(finding.details) == {"rule", "severity", "source"}


def test_an_input_is_called_by_its_name_and_a_weight_by_its_path() -> None:
    """What the user can look for in the code."""
    messages = {
        str(breaking.case): [finding.message for finding in broken(linted(breaking.case))]
        for breaking in BREAKING
        if str(breaking.case) in ("double_input", "double_buffer", "half_of_pair", "timestamps", "large_buffer")
    }
    assert messages == {
        "double_input": ["lint float64: input 'x' is float64, which the device does not compute in"],
        "double_buffer": ["lint float64: weight 'scale' is float64, which the device does not compute in"],
        "half_of_pair": ["lint unused-input: input 'pair[1]' is not used: Neuron ignores it"],
        "timestamps": ["lint int64-range: input 'times' holds 1700000060000, beyond int32"],
        "large_buffer": ["lint int64-range: weight 'table' holds 197568495616, beyond int32"],
    }


@pytest.mark.parametrize(
    ("skipped", "rules"),
    [
        ("trace", {"trace", "value-branch", "padding", "unused-input"}),
        ("values", {"value-branch"}),
        ("padding", {"padding"}),
        ("eager", {"outputs"}),
    ],
)
def test_a_rule_whose_check_was_skipped_is_not_judged(skipped: str, rules: set[str]) -> None:
    """It gives the check's own reason, and is no "ok"."""
    (case,) = (case for case in KEEPING if case.name == "masked_mean")
    model = case.build()
    subject = gate.Subject(model=model, call=gate.call_of(model, case.inputs()))
    result = judged(subject, skip={skipped: "not today"}).check("target")
    assert unjudged(result) == rules, text(result)
    assert "not today" in text(result) or skipped == "trace", text(result)


def test_a_rule_about_padding_is_not_judged_without_a_mask() -> None:
    """The reason is the check's, with its remedy."""
    assert outcomes(Doubled(), X) == {
        **dict.fromkeys(SEVERITY, "ok"),
        "padding": "the inputs have no padding mask: name it with mask=",
    }
