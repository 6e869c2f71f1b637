"""Buckets: what padding wastes, and which lengths waste least."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pytest_torchscript import gate
from pytest_torchscript.cost import plan, with_buckets
from pytest_torchscript.result import CellResult, CheckResult, Finding
from pytest_torchscript.spec import GateSpec, parse_arguments

from .acceptance import models


def transformer(length: int) -> float:
    return 1000 * length + 3 * length * length


def waste(buckets: tuple[int, ...]) -> float:
    """By definition: every length once, each paid at its bucket."""
    lengths = range(1, buckets[-1] + 1)
    paid = sum(transformer(next(bucket for bucket in buckets if bucket >= length)) for length in lengths)
    return 1 - sum(map(transformer, lengths)) / paid


def test_the_waste_is_what_padding_costs() -> None:
    """As counted length by length, from the operations at the measured lengths alone."""
    made = plan({length: transformer(length) for length in (32, 64, 128)})
    assert made.buckets == (32, 64, 128)
    assert made.waste == pytest.approx(waste((32, 64, 128)))
    assert made.by_bucket[128] == pytest.approx(1 - sum(map(transformer, range(65, 129))) / (64 * transformer(128)))


@pytest.mark.parametrize("count", [2, 3])
def test_the_suggestion_is_the_best_of_its_size(count: int) -> None:
    """No other choice among the candidates wastes less."""
    lengths = (8, 16, 128)[-count:]
    made = plan({length: transformer(length) for length in lengths})
    candidates = range(16, 128, 16)
    best = min(waste((*chosen, 128)) for chosen in itertools.combinations(candidates, count - 1))
    assert len(made.suggested) == count
    assert made.suggested_waste == pytest.approx(best)
    assert waste(made.suggested) == pytest.approx(best)
    assert made.suggested_waste < made.waste


def test_operations_that_do_not_grow_as_a_transformers_do_are_taken_as_linear() -> None:
    """A curve that bends down would give negative operations somewhere."""
    made = plan({10: 100.0, 100: 500.0})
    linear = plan({10: 10.0, 100: 100.0})
    assert made.waste == pytest.approx(linear.waste)
    assert made.suggested == linear.suggested
    assert 0 <= made.suggested_waste <= made.waste < 1


def test_the_order_of_the_lengths_does_not_matter() -> None:
    """A marker may name the longest first."""
    lengths = (128, 32, 64)
    assert plan({length: transformer(length) for length in lengths}) == plan(
        {length: transformer(length) for length in sorted(lengths)}
    )


def test_long_lengths_have_no_more_candidates_than_short_ones() -> None:
    """A gate is not to spend its time on choosing between thousands."""
    (first, last) = plan({length: transformer(length) for length in (512, 8192)}).suggested
    assert (first % 128, last) == (0, 8192)


def test_short_lengths_get_candidates_too() -> None:
    """Below one step every length may be a bucket."""
    assert plan({4: 4.0, 8: 8.0}).suggested == (4, 8)


def cell(seq: int, flops: float | None, target: str = "torchscript", batch: int = 1) -> CellResult:
    metrics: dict[str, Any] = {} if flops is None else {"flops": flops}
    return CellResult(target=target, batch_size=batch, seq_len=seq, checks=(CheckResult.passed("target", **metrics),))


def test_the_plan_is_told_at_the_longest_length_of_each_target_and_batch() -> None:
    """Once, not in every cell."""
    cells = tuple(cell(seq, 10.0 * seq, target, batch) for target in ("a", "b") for batch in (1, 2) for seq in (8, 64))
    told = [entry.check("target") for entry in with_buckets(cells) if entry.check("target").findings]
    assert len(told) == 4
    assert all(check.metrics["buckets"] == [8, 64] for check in told)
    assert all(entry.check("target").findings == () for entry in with_buckets(cells) if entry.seq_len == 8)


def test_the_words_give_waste_and_a_better_choice() -> None:
    """In whole percents; a choice that saves nothing is not offered."""
    (_, longest) = with_buckets((cell(8, transformer(8)), cell(128, transformer(128))))
    (finding,) = longest.check("target").findings
    assert finding.message.startswith("padding to 8 and 128 wastes 5")
    assert "; 64 and 128 would waste 36" in finding.message
    assert finding.message.endswith("%")
    (_, best) = with_buckets((cell(64, 64.0), cell(128, 128.0)))
    assert "would waste" not in best.check("target").findings[0].message


def test_the_plan_stands_beside_what_the_target_said() -> None:
    """In the check `target` alone, with the figures rounded and the whole of them in the finding too."""
    said = Finding(message="compiled, and not run")
    cells = tuple(
        CellResult(
            target="neuron",
            batch_size=1,
            seq_len=seq,
            checks=(
                CheckResult.passed("eager", flops=1),
                CheckResult.passed("target", findings=(said,), flops=transformer(seq), proof="built"),
            ),
        )
        for seq in (8, 16, 128)
    )
    longest = with_buckets(cells)[-1]
    eager, check = longest.checks
    assert (eager.findings, eager.metrics) == ((), {"flops": 1})
    first, note = check.findings
    assert (first, note.message[:31]) == (said, "padding to 8, 16 and 128 wastes")
    made = plan({seq: transformer(seq) for seq in (8, 16, 128)})
    assert check.metrics == {
        "flops": transformer(128),
        "proof": "built",
        "buckets": [8, 16, 128],
        "padding_waste": {str(seq): round(made.by_bucket[seq], 4) for seq in (8, 16, 128)},
        "padding_waste_total": round(made.waste, 4),
        "suggested_buckets": list(made.suggested),
        "suggested_waste": round(made.suggested_waste, 4),
    }
    assert {name: check.metrics[name] for name in note.details} == note.details
    assert set(check.metrics) - set(note.details) == {"flops", "proof"}


@pytest.mark.parametrize("cells", [(cell(8, 10.0),), (cell(8, None), cell(16, None)), (cell(8, None), cell(16, 5.0))])
def test_without_two_measured_lengths_there_is_no_plan(cells: tuple[CellResult, ...]) -> None:
    """Nothing is made up."""
    assert with_buckets(cells) == cells


def test_a_gate_over_several_lengths_counts_and_plans() -> None:
    """By torch's own counter, at each length; with one length nothing is counted."""
    model = models.Encoder()
    subject = gate.Subject(model=model, call=gate.call_of(model, models.tokens(2, 8)))
    several = gate.judge(subject, GateSpec.merge(parse_arguments((), {"seq_len": (8, 16)})), id="several")
    short, long = (entry.check("target") for entry in several.cells)
    assert (short.status.value, long.status.value) == ("passed", "passed")
    assert 0 < short.metrics["flops"] <= long.metrics["flops"]
    assert long.metrics["buckets"] == [8, 16]
    one = gate.judge(subject, GateSpec.merge(parse_arguments((), {"seq_len": 8})), id="one")
    assert one.cells[0].check("target").status.value == "skipped"


def test_operations_steeper_than_attention_are_taken_as_attention() -> None:
    """Rounding at huge counts, or a constant below zero, must not make a quadratic cost a linear one."""
    steep = plan({length: 3.0 * length**2 - 1000 for length in (128, 512)})
    pure = plan({length: 3.0 * length**2 for length in (128, 512)})
    assert steep.waste == pytest.approx(pure.waste, abs=1e-3)
