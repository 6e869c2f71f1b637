"""The check ``padding``: shorter inputs, padded to the traced length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.result import Status, Verdict

from .alone import alone, cell, guilty, place

LENGTH = 16
X = torch.randn(2, LENGTH, 4, generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(LENGTH)[None] < torch.tensor([16, 11])[:, None]).long()
INPUTS = {"x": X * MASK[..., None], "attention_mask": MASK}


class MaskedMean(nn.Module):
    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        kept = attention_mask[..., None].to(x.dtype)
        return (x * kept).sum(1) / kept.sum(1)


class Biased(nn.Module):
    """Padded positions are zero no longer once a layer with a bias has seen them, and the mean counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        h = self.linear(x) * 1.0
        pooled = h.mean(1)  # guilty
        return h * attention_mask[..., None], pooled


class LastPosition(nn.Module):
    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return x[:, -1] + 0 * attention_mask.sum()  # guilty


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor, src_key_padding_mask: Tensor) -> Tensor:
        out: Tensor = self.attention(x, x, x, key_padding_mask=src_key_padding_mask, need_weights=False)[0]
        return out


class PerToken(nn.Module):
    """Answers position by position: what stands at padded positions is nobody's business."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.linear(x), attention_mask


class Padded(nn.Module):
    """Looks at ids alone, and knows its padding id."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 4, padding_idx=7)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        h: Tensor = self.embedding(input_ids)
        return h.sum(1) + 0 * attention_mask.sum()


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (MaskedMean(), INPUTS),
        (PerToken(), INPUTS),
        (Attention(), {"x": X, "src_key_padding_mask": MASK == 0}),
    ],
    ids=["pooling", "per token", "inverted mask"],
)
def test_a_model_that_minds_its_mask_passes(model: nn.Module, inputs: dict[str, Any]) -> None:
    """Half the positions, padded to the traced length, give what eager gives unpadded; a thorough run tries more lengths."""
    mask = next(name for name in inputs if "mask" in name)
    result = alone("padding", model, inputs, mask=mask)
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics == {"lengths": {"8": "equal"}, "traced": 16}
    thorough = alone("padding", model, inputs, mask=mask, effort="thorough")
    assert thorough.metrics == {"lengths": {"8": "equal", "15": "equal", "2": "equal"}, "traced": 16}


@pytest.mark.parametrize(("length", "lengths"), [(2, {"1"}), (3, {"1", "2"}), (4, {"2", "3"})])
def test_every_shorter_length_there_is_serves(length: int, lengths: set[str]) -> None:
    """Down to one position."""
    inputs = {"x": X[:, :length] + 1, "attention_mask": torch.ones(2, length, dtype=torch.int64)}
    assert set(alone("padding", MaskedMean(), inputs, effort="thorough").metrics["lengths"]) == lengths


def test_a_leak_fails_at_the_operation_that_mixes() -> None:
    """The length, the output, by how much, the line, the mask that should have kept it out."""
    result = alone("padding", Biased(), INPUTS)
    assert result.verdict is Verdict.PADDING_UNSAFE
    finding = result.findings[0]
    assert finding.message.startswith("seq 8 padded to 16 changes output '[1]': max abs ")
    assert (finding.where, {place(finding)}) == ("leaks at", guilty(Biased))
    assert (finding.path, finding.details["length"], finding.details["traced"]) == ("[1]", 8, 16)
    assert finding.details["cause"] == "in mean"
    assert "attention_mask" in str(finding.hint)
    assert result.metrics["lengths"] == {"8": "wrong"}


class MaskIsAllOnes(nn.Module):
    """A branch on the mask: right for every mask in eager, and in the trace for the observed one alone."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        if bool(attention_mask.all()):
            return x.mean(1)
        kept = attention_mask[..., None].to(x.dtype)
        return (x * kept).sum(1) / kept.sum(1)


def test_padding_that_is_other_values_is_left_to_values() -> None:
    """Eager keeps padding out; the trace does not, by the branch that ``values`` names."""
    inputs = {"x": X, "attention_mask": torch.ones(2, LENGTH, dtype=torch.long)}
    judged = cell(MaskIsAllOnes(), inputs)
    assert judged.check("values").verdict is Verdict.VALUE_SPECIALISED
    assert judged.check("padding").status is Status.SKIPPED
    assert alone("padding", MaskIsAllOnes(), inputs).verdict is Verdict.PADDING_UNSAFE


def test_a_model_that_chooses_is_padded_by_more_lengths() -> None:
    """Where the greatest value is asked for, one length may be right by chance."""
    assert len(alone("padding", MaskedMean(), INPUTS).metrics["lengths"]) == 1

    class Choosing(nn.Module):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            filled = x.masked_fill(attention_mask[..., None] == 0, float("-inf"))
            return filled.amax(1)

    assert len(alone("padding", Choosing(), INPUTS).metrics["lengths"]) == 3


def test_the_last_position_is_padding() -> None:
    """The classic of pooling."""
    result = alone("padding", LastPosition(), INPUTS)
    assert result.verdict is Verdict.PADDING_UNSAFE
    assert {place(result.findings[0])} == guilty(LastPosition)


def test_ids_are_padded_with_the_models_own_padding_id() -> None:
    """An embedding that knows its padding row is padded with that row, not with zero."""
    ids = torch.randint(8, 20, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": torch.ones(2, LENGTH, dtype=torch.int64)}
    assert alone("padding", Padded(), inputs).status is Status.PASSED


@pytest.mark.parametrize("inverted", [False, True], ids=["kept", "dropped"])
def test_padding_goes_where_the_observed_mask_has_it(inverted: bool) -> None:
    """A decoder that pads at the start may read the last position, and one that pads at the end may not."""

    class Last(nn.Module):
        def forward(self, x: Tensor, key_padding_mask: Tensor) -> Tensor:
            return x[:, -1] + 0 * key_padding_mask.sum()

    ending = (MASK == 0) if inverted else (MASK == 1)
    left, right = {"x": X, "key_padding_mask": ending.flip(1)}, {"x": X, "key_padding_mask": ending}
    if not inverted:
        left, right = ({**inputs, "key_padding_mask": inputs["key_padding_mask"].long()} for inputs in (left, right))
    assert alone("padding", Last(), left, mask="key_padding_mask").status is Status.PASSED
    assert alone("padding", Last(), right, mask="key_padding_mask").verdict is Verdict.PADDING_UNSAFE


def test_rounding_is_forgiven_and_a_leak_is_not() -> None:
    """Sums of other lengths round otherwise, up to ten times the tolerance of the dtype."""

    class Off(nn.Module):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.by = by

        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            return x * 0 + 1 + self.by * (1 - attention_mask).sum(1)[:, None, None] / x.shape[1]

    ones = {"x": X, "attention_mask": torch.ones(2, LENGTH, dtype=torch.int64)}
    assert alone("padding", Off(2e-5), ones).status is Status.PASSED
    assert alone("padding", Off(1e-2), ones).verdict is Verdict.PADDING_UNSAFE


def test_a_tolerance_of_the_marker_is_not_widened() -> None:
    """Who asks for a figure gets that figure."""

    class Off(nn.Module):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            return x * 0 + 1 + 3e-5 * (1 - attention_mask).sum(1)[:, None, None] / x.shape[1]

    ones = {"x": X, "attention_mask": torch.ones(2, LENGTH, dtype=torch.int64)}
    assert alone("padding", Off(), ones).status is Status.PASSED
    assert alone("padding", Off(), ones, rtol=0.0, atol=1e-6).verdict is Verdict.PADDING_UNSAFE


def test_a_dim_of_integers_is_compared_exactly() -> None:
    """A count that includes the padding is wrong by one, and no rounding."""

    class Counting(nn.Module):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            return (torch.ones_like(attention_mask) * 1).sum(1)

    assert alone("padding", Counting(), INPUTS).verdict is Verdict.PADDING_UNSAFE


def test_eager_decides_which_lengths_count() -> None:
    """A length that eager refuses is left out and shown; the others are compared."""

    class NeverEight(nn.Module):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            if not torch.jit.is_tracing() and x.shape[1] == 8:
                raise ValueError("never eight")
            return (x * attention_mask[..., None]).sum(1)

    result = alone("padding", NeverEight(), INPUTS)
    assert result.status is Status.PASSED
    assert result.metrics["lengths"] == {"8": "outside", "15": "equal"}


def test_a_length_at_which_eager_gives_nan_is_left_out() -> None:
    """There is no number to compare with."""

    class Inverse(nn.Module):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            return (x * attention_mask[..., None]).sum(1) + 0 * ((attention_mask.sum(1) - 15) / (attention_mask.sum(1) - 15))[
                :, None
            ]

    ones = {"x": X, "attention_mask": torch.ones(2, LENGTH, dtype=torch.int64)}
    result = alone("padding", Inverse(), ones, effort="thorough")
    assert result.status is Status.PASSED
    assert result.metrics["lengths"]["15"] == "outside"


def test_a_program_that_refuses_padding_fails() -> None:
    """At its own length it must take what the mask says is shorter."""

    class Exact(nn.Module):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            kept = int(attention_mask.sum())
            return x[attention_mask.bool()].reshape(kept, 4).sum(0)

    result = alone("padding", Exact(), INPUTS)
    assert result.verdict is Verdict.PADDING_UNSAFE
    assert "is invalid for input of size" in result.findings[0].message


# Skipped


def test_without_a_mask_there_is_nothing_to_check() -> None:
    """The reason says how to name one."""
    result = alone("padding", nn.Linear(4, 2), (X,))
    assert (result.status, result.reason) == (Status.SKIPPED, "the inputs have no padding mask: name it with mask=")


def test_a_mask_by_another_name_is_named_by_the_marker() -> None:
    """``mask=`` makes any input the mask."""

    class Kept(nn.Module):
        def forward(self, x: Tensor, keep: Tensor) -> Tensor:
            return x.sum(1) / x.shape[1] + 0 * keep.sum()

    inputs = {"x": X + 1, "keep": torch.ones(2, LENGTH, dtype=torch.int64)}
    assert alone("padding", Kept(), inputs).status is Status.SKIPPED
    assert alone("padding", Kept(), inputs, mask="keep").verdict is Verdict.PADDING_UNSAFE


def test_a_mask_that_is_no_padding_mask_is_skipped_in_its_own_words() -> None:
    """An additive mask that was named is not told to be named."""
    additive = {"x": X, "attention_mask": torch.zeros(2, 1, 1, LENGTH) - 1e4 * (MASK == 0)[:, None, None]}

    class Softmax(nn.Module):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            scores = x.sum(-1)[:, None, None] + attention_mask
            return scores.softmax(-1)

    result = alone("padding", Softmax(), additive, mask="attention_mask")
    assert result.status is Status.SKIPPED
    assert "name it with mask=" not in str(result.reason)


def test_a_mask_without_a_sequence_is_skipped() -> None:
    """Its reason says which mask."""

    class Gate(nn.Module):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            return x * attention_mask[:, None, None]

    result = alone("padding", Gate(), {"x": X, "attention_mask": torch.ones(2, dtype=torch.int64)})
    assert (result.status, result.reason) == (
        Status.SKIPPED,
        "no axis of the mask 'attention_mask' is known to be a sequence",
    )


def test_one_position_cannot_be_shortened() -> None:
    """There is nothing to pad."""
    inputs = {"x": X[:, :1], "attention_mask": MASK[:, :1]}
    assert alone("padding", MaskedMean(), inputs).reason == "seq is traced at 1: nothing shorter to pad"


def test_a_model_of_one_length_is_skipped_with_what_was_tried() -> None:
    """Where eager takes no shorter input, nothing can be compared."""

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(LENGTH, 2)

        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            out: Tensor = self.linear((x * attention_mask[..., None]).transpose(1, 2))
            return out

    assert alone("padding", Fixed(), INPUTS).reason == "eager refuses shorter inputs (8, 15, 2)"


def test_a_failed_equivalence_skips_it() -> None:
    """A trace that is wrong unpadded is not padded."""

    class Tracing(nn.Module):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            return x * (2 if torch.jit.is_tracing() else 3) * attention_mask[..., None]

    assert alone("padding", Tracing(), INPUTS).reason == "equivalence failed"


def test_meta_weights_skip_it() -> None:
    """There are no numbers to compare."""
    assert cell(MaskedMean(), INPUTS, weights="meta").check("padding").reason == "meta weights"
