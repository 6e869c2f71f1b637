"""torch's own encoder, which eager runs by a fast path and an exported program does not."""

# nn.Module.__call__ is untyped, so that nearly every forward would "return Any".
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import torch
from torch import Tensor, nn

from pytest_torchscript.result import Status, Verdict

from .cases import X, export


class Padded(nn.Module):
    """torch's own encoder; ``wrong`` makes the program wrong at every position."""

    def __init__(self, *, wrong: bool = False) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 1)
        self.wrong = wrong

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        y = self.encoder(x, src_key_padding_mask=padding)
        return y + 1 if self.wrong and torch.compiler.is_exporting() else y


PADDING = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])


def test_the_fast_path_of_torchs_encoder_is_named() -> None:
    """It writes zeros where padding is masked; compared without it, the program is right."""
    model = Padded().eval()
    result = export(model, (X, PADDING))
    assert result.verdict is Verdict.TARGET_FAILURE
    finding = result.findings[0]
    assert "by the fast path of nn.TransformerEncoder alone" in finding.message
    assert "set_fastpath_enabled(False)" in str(finding.hint)
    assert torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert export(model, (X, PADDING)).status is Status.PASSED
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_the_fast_path_excuses_nothing_else() -> None:
    """A program that is wrong at real positions too is just wrong."""
    result = export(Padded(wrong=True).eval(), (X, PADDING))
    assert result.verdict is Verdict.TARGET_FAILURE
    assert not [finding for finding in result.findings if "fast path" in finding.message]
