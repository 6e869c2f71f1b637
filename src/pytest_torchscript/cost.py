"""What a call costs: its operations compared with a budget, what padding to fixed lengths wastes, which lengths waste less."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from .cell import Cell
from .result import CellResult, CheckResult, Finding, Status
from .tracing import private

__all__ = ["Plan", "counted", "plan", "with_buckets"]

# Candidates for a bucket: multiples of this many positions, fewer where the longest is short.
_STEP = 16
_MOST_CANDIDATES = 64
# Other lengths are suggested only if they save at least this share of all operations.
_WORTH = 0.01


@contextlib.contextmanager
def _unfused() -> Iterator[None]:
    """Run attention as separate products, since torch's counter counts its fused CPU kernels as no operations."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def counted(cell: Cell) -> tuple[dict[str, Any], Finding | None]:
    """The operations of one call, and a finding where they exceed the budget, or cannot be counted and there is a budget."""
    budget = cell.spec.max_flops
    metrics: dict[str, Any] = {} if budget is None else {"max_flops": budget}
    private.require("torch.utils.flop_counter.FlopCounterMode")
    try:
        with cell.trying(), _unfused(), private.flop_counter() as counter:
            cell.call.run(cell.model)
    except Exception as error:  # noqa: BLE001 - on the meta device eager may refuse what tracing accepts
        return metrics, None if budget is None else cell.failure(error)
    flops = counter.get_total_flops()
    metrics["flops"] = flops
    if budget is None or flops <= budget:
        return metrics, None
    by_module = counter.get_flop_counts()
    top = [name for name in by_module if name.count(".") == 1]
    costliest = max(top, key=lambda name: sum(by_module[name].values()), default=None)
    share = f"; most in {costliest} ({sum(by_module[costliest].values()):,})" if costliest else ""
    finding = cell.finding(
        f"one call takes {flops:,} floating-point operations, {flops / budget:.2f} times the budget of {budget:,.0f}{share}",
        hint="make the model cheaper at this size, or raise max_flops knowingly",
        details={"flops": flops, "max_flops": budget},
    )
    return metrics, finding


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Buckets and what they waste, for inputs of every length up to the longest, each as likely as the other.

    ``waste`` is the share of all operations that goes into padding, between 0 and 1; ``by_bucket`` the same for the inputs
    that each bucket takes.
    """

    buckets: tuple[int, ...]
    waste: float
    by_bucket: Mapping[int, float]
    suggested: tuple[int, ...]
    suggested_waste: float


def plan(flops: Mapping[int, float]) -> Plan:
    """How much the measured lengths waste, and as many others that waste least.

    ``flops`` are floating-point operations of one call by its length, two lengths at least. In between they are taken from
    the curve through them: a transformer's operations are a sum of a linear (projections) and a quadratic part (attention).
    """
    lengths = sorted(flops)
    linear, quadratic = _curve(flops)

    def cost(length: int) -> float:
        return linear * length + quadratic * length * length

    longest = lengths[-1]
    needed = [0.0]
    for length in range(1, longest + 1):
        needed.append(needed[-1] + cost(length))

    def spent(buckets: Sequence[int]) -> float:
        return sum((high - low) * cost(high) for low, high in zip((0, *buckets), buckets, strict=False))

    by_bucket = {
        high: 1 - (needed[high] - needed[low]) / ((high - low) * cost(high))
        for low, high in zip((0, *lengths), lengths, strict=False)
    }
    suggested = _cheapest(len(lengths), longest, cost)
    total = needed[-1]
    return Plan(
        buckets=tuple(lengths),
        waste=1 - total / spent(lengths),
        by_bucket=by_bucket,
        suggested=suggested,
        suggested_waste=1 - total / spent(suggested),
    )


def _curve(flops: Mapping[int, float]) -> tuple[float, float]:
    """``(a, b)`` of ``a * length + b * length ** 2``, by least squares, neither below 0."""
    ss = sum(length**2 for length in flops)
    sq = sum(length**3 for length in flops)
    qq = sum(length**4 for length in flops)
    sy = sum(length * value for length, value in flops.items())
    qy = sum(length**2 * value for length, value in flops.items())
    determinant = ss * qq - sq * sq
    if determinant > 0:
        linear, quadratic = (sy * qq - qy * sq) / determinant, (ss * qy - sq * sy) / determinant
        if linear >= 0 and quadratic >= 0:
            return linear, quadratic
        if linear < 0:
            # Steeper than attention alone, so all operations are taken as quadratic.
            return 0.0, qy / qq
    return sy / ss, 0.0


def _cheapest(count: int, longest: int, cost: Callable[[int], float]) -> tuple[int, ...]:
    """``count`` buckets, the longest among them, that spend least; by dynamic programming over the candidates."""
    step = max(1, min(_STEP, longest // 8), -(-longest // _MOST_CANDIDATES))
    candidates = [*range(step, longest, step), longest]
    best: dict[int, tuple[float, tuple[int, ...]]] = {size: (size * cost(size), (size,)) for size in candidates}
    for _ in range(count - 1):
        best = {
            size: min(
                [(spent + (size - low) * cost(size), (*chosen, size)) for low, (spent, chosen) in best.items() if low < size]
                + [best[size]]
            )
            for size in candidates
        }
    return best[longest][1]


def with_buckets(cells: tuple[CellResult, ...]) -> tuple[CellResult, ...]:
    """The cells of a gate, with the plan of their lengths in the ``target`` check of each longest one."""
    groups: dict[tuple[str, int | None], dict[int, int]] = {}
    for index, cell in enumerate(cells):
        if cell.seq_len is not None and _flops(cell):
            groups.setdefault((cell.target, cell.batch_size), {})[cell.seq_len] = index
    found = list(cells)
    for indices in groups.values():
        if len(indices) < 2:
            continue
        made = plan({length: _flops(cells[index]) for length, index in indices.items()})
        longest = indices[max(indices)]
        found[longest] = _noted(cells[longest], made)
    return tuple(found)


def _flops(cell: CellResult) -> float:
    flops = next((check.metrics.get("flops", 0) for check in cell.checks if check.name == "target"), 0)
    return float(flops) if isinstance(flops, (int, float)) else 0.0


def _noted(cell: CellResult, made: Plan) -> CellResult:
    metrics = {
        "buckets": list(made.buckets),
        "padding_waste": {str(length): round(waste, 4) for length, waste in made.by_bucket.items()},
        "padding_waste_total": round(made.waste, 4),
        "suggested_buckets": list(made.suggested),
        "suggested_waste": round(made.suggested_waste, 4),
    }
    message = f"padding to {_listed(made.buckets)} wastes {made.waste:.0%} of the operations if every length is as likely"
    better = made.waste - made.suggested_waste >= _WORTH
    message += f"; {_listed(made.suggested)} would waste {made.suggested_waste:.0%}" if better else ""
    note = Finding(message=message, details=metrics)

    def extended(check: CheckResult) -> CheckResult:
        if check.name != "target" or check.status is Status.SKIPPED:
            return check
        # A note below a failure would look like its cause, so a failed check gets the metrics alone.
        notes = () if check.status is Status.FAILED else (note,)
        return replace(check, findings=(*check.findings, *notes), metrics={**check.metrics, **metrics})

    return replace(cell, checks=tuple(map(extended, cell.checks)))


def _listed(sizes: Sequence[int]) -> str:
    *most, last = map(str, sizes)
    return f"{', '.join(most)} and {last}" if most else last
