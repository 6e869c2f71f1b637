"""The check ``purity``: what a call leaves behind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pytest_torchscript.result import Status, Verdict

from .alone import alone, cell, guilty, place

X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class OverwritesInput(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        x.mul_(2)  # guilty
        return y


class ClampsInput(nn.Module):
    """At the traced values, between 0 and 1, nothing changes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_(max=6) * 2  # guilty


class OverwritesLargeBatches(nn.Module):
    """Neither the version counter nor the values of the traced input say anything of it."""

    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        if x.shape[0] > 2:
            x.mul_(2)  # guilty
        return y


class CountsCalls(nn.Module):
    """A buffer that nothing depends on, but that is another one after every call."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1  # guilty
        return x * 2


class KeepsAttention(nn.Module):
    """Leaves a map for whoever wants to look at it; no answer depends on it."""

    def forward(self, x: Tensor) -> Tensor:
        self.attention = x.softmax(-1)
        return self.attention * 2


class CachesTable(nn.Module):
    """Keeps the table of the first length it meets."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = x.mean((0, 1))  # guilty
        return x + self.table


class CachesLength(nn.Module):
    """Once asked at one length, refuses the others."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.arange(float(x.shape[1]))  # guilty
        return x + self.table[:, None]


class FillsMapping(nn.Module):
    def forward(self, x: Tensor, cache: dict[str, Tensor]) -> Tensor:
        cache["last"] = x * 2  # guilty
        return x + cache["first"]


def test_a_pure_model_passes() -> None:
    """Nothing is written, nothing is told."""
    result = alone("purity", nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(6), nn.Dropout()), (X,))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics == {"attributes_written": []}


def test_an_overwritten_input_fails_at_its_line() -> None:
    """The caller's tensor is another one afterwards."""
    result = alone("purity", OverwritesInput(), (X,))
    assert result.verdict is Verdict.SIDE_EFFECT
    (finding,) = result.findings
    assert finding.message == "a call overwrites its input 'x'"
    assert (finding.path, finding.where, {place(finding)}) == ("x", "written at", guilty(OverwritesInput))
    assert "clone()" in str(finding.hint)


def test_an_input_that_is_overwritten_at_other_values_fails() -> None:
    """The values that show it come from the probes, or are tried for it where the model is seen to write in place."""
    in_range = torch.rand(2, 6, 4, generator=torch.Generator().manual_seed(1))
    model = ClampsInput()
    assert torch.equal(model(in_range.clone()), in_range * 2)
    for result in (alone("purity", model, (in_range,)), cell(model, (in_range,)).check("purity")):
        assert result.verdict is Verdict.SIDE_EFFECT
        (finding,) = result.findings
        assert finding.message == "a call overwrites its input 'x', at other values than the traced ones"
        assert {place(finding)} == guilty(ClampsInput)


def test_an_input_that_is_overwritten_at_another_size_fails() -> None:
    """A probe shows it; without one nothing is known of it."""
    (finding,) = cell(OverwritesLargeBatches(), (X,)).check("purity").findings
    assert finding.path == "x"
    assert {place(finding)} == guilty(OverwritesLargeBatches)
    assert alone("purity", OverwritesLargeBatches(), (X,)).status is Status.PASSED


def test_writing_in_place_what_is_there_already_is_no_failure() -> None:
    """A model that never changes its input passes, whatever the version counter says."""

    class AddsNothing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(1) * 2

    assert cell(AddsNothing(), (X,)).check("purity").status is Status.PASSED


def test_an_input_inside_a_container_is_looked_at() -> None:
    """By its path; a tensor that is added to the caller's mapping counts too."""
    result = alone("purity", FillsMapping(), {"x": X, "cache": {"first": X}})
    assert result.verdict is Verdict.SIDE_EFFECT
    (finding,) = result.findings
    assert finding.message == "a call adds 'cache.last' to its input"
    assert {place(finding)} == guilty(FillsMapping)


def test_a_written_buffer_fails_at_its_line() -> None:
    """A deployed program would carry it from call to call."""
    result = alone("purity", CountsCalls(), (X,))
    assert result.verdict is Verdict.SIDE_EFFECT
    (finding,) = result.findings
    assert finding.message == "a call changes the buffer 'seen'"
    assert (finding.path, {place(finding)}) == ("seen", guilty(CountsCalls))


def test_an_attribute_that_nothing_depends_on_is_no_failure() -> None:
    """Many models keep an attention map; it is counted, not blamed."""
    result = alone("purity", KeepsAttention(), (X,))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.metrics["attributes_written"] == ["attention"]


def test_an_answer_that_depends_on_the_call_before_fails() -> None:
    """What is remembered, by how much the answer differs, and the line that keeps it."""
    result = alone("purity", CachesTable(), (X,))
    assert result.verdict is Verdict.SIDE_EFFECT
    (finding,) = result.findings
    assert finding.message.startswith("another input: the answer depends on the call before, the output by max abs ")
    assert "(kept in table)" in finding.message
    assert (finding.path, {place(finding)}) == ("table", guilty(CachesTable))


def test_a_call_that_is_refused_after_another_fails() -> None:
    """Accepted when asked first, refused when asked second."""
    result = alone("purity", CachesLength(), (X,))
    assert result.verdict is Verdict.SIDE_EFFECT
    (finding,) = result.findings
    assert "is refused after another call, though accepted before" in finding.message
    assert "seq 7" in finding.message
    assert {place(finding)} == guilty(CachesLength)


def test_a_random_model_is_not_accused_of_memory() -> None:
    """That answers differ is no sign of memory where they differ anyway."""

    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand(4)

    assert alone("purity", Noisy(), (X,)).status is Status.PASSED


def test_training_statistics_are_not_written_in_eval_mode() -> None:
    """The gate judges in eval mode, whatever the test left."""
    model = nn.BatchNorm1d(6)
    model.train()
    assert alone("purity", model, (X,)).status is Status.PASSED
    assert model.training
    assert model.running_mean is not None
    assert not model.running_mean.any()


def test_the_model_and_its_inputs_are_as_before() -> None:
    """The check itself leaves nothing behind."""
    model, x = CountsCalls(), X.clone()
    alone("purity", model, (x,))
    alone("purity", OverwritesInput(), (x,))
    assert float(model.seen) == 0
    assert torch.equal(x, X)


def test_a_constant_object_is_not_an_input() -> None:
    """A list of the caller's that holds no tensor is copied for each call, and not looked at."""

    class Appending(nn.Module):
        def forward(self, x: Tensor, notes: list[Any]) -> Tensor:
            notes.append(1)
            return x * len(notes)

    assert alone("purity", Appending(), {"x": X, "notes": []}).status is Status.PASSED


def test_a_failed_eager_skips_it() -> None:
    """What does not run leaves nothing behind."""

    class Raising(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no")

    result = cell(Raising(), (X,)).check("purity")
    assert result.status is Status.SKIPPED
    assert "eager" in str(result.reason)


def test_it_gives_a_true_reason_where_eager_was_skipped() -> None:
    """A check that the marker skips has not failed."""
    found = cell(nn.Linear(4, 2), (X,), skip={"eager": "slow"})
    result = found.check("purity")
    assert result.reason != "eager failed"


def test_meta_weights_skip_it() -> None:
    """There are no values to look at."""
    assert cell(nn.Linear(4, 2), (X,), weights="meta").check("purity").reason == "meta weights"


def test_skipping_shapes_does_not_weaken_it() -> None:
    """What one check looks at does not depend on whether another one runs."""

    class RemembersLength(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last: int | None = None

        def forward(self, x: Tensor) -> Tensor:
            length = int(x.shape[1])
            y = x * 2 if self.last is not None and self.last != length else x
            self.last = length  # guilty
            return y.mean(1)

    for skip in ({}, {"shapes": "sizes never vary"}):
        found = cell(RemembersLength(), (torch.ones(3, 8),), skip=skip).check("purity")
        assert found.verdict is Verdict.SIDE_EFFECT
        assert place(found.findings[0]) in guilty(RemembersLength)
