"""Results that the tests of both Markdown reports render."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_torchscript.reports.document import Document
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Verdict

FINDING = Finding(
    message="seq is silently wrong: traced at 16",
    file="src/head.py",
    line=41,
    function="forward",
    source="return x.sum(1) / int(x.shape[1])",
    where="baked at",
    hint="keep the size in the graph",
)
HOSTILE = (
    "a | b\\| ` `` <b>&amp; *x* _y_ [l](u) $m$ ~~s~~ \x1b[31m\x00 \ud800 \u202e \ufffe ü ☃ @someone #1\r\n\n# h\n| x |\n```\n"
)


def cell(*verdicts: str, finding: Finding = FINDING, seq: int = 16, dims: Mapping[str, str] | None = None) -> CellResult:
    """One cell: eager passes, padding is skipped, and a check fails for each verdict."""
    failed = [CheckResult.failed(f"check{i}" if i else "shapes", Verdict(v), finding) for i, v in enumerate(verdicts)]
    checks = (
        CheckResult.passed("eager"),
        *(failed or [CheckResult.passed("shapes")]),
        CheckResult.skipped("padding", "no mask"),
    )
    return CellResult(
        target="torchscript", batch_size=2, seq_len=seq, checks=checks, dims={"seq": "dynamic"} if dims is None else dims
    )


def gate(
    *cells: CellResult, id: str = "head", state: str | None = None, reason: str | None = None, **fields: Any
) -> GateResult:
    return replace(GateResult.judged(id, f"tests/test_{id}.py::test", cells), baseline=state, reason=reason, **fields)


def document(*gates: GateResult, stale: Sequence[str] = ()) -> Document:
    return Document.of(gates, {"python": "3.12"}, stale)


def size(text: str) -> int:
    return len(text.encode("utf-8"))


def columns(row: str) -> int:
    """How many cells GitHub sees in a table row: pipes that no backslash escapes."""
    return len(re.findall(r"(?:\\.|[^|\\])*\|", row)) - 1


def hostile_gate() -> GateResult:
    finding = Finding(message=HOSTILE, file=HOSTILE, line=1, function=HOSTILE, source=HOSTILE, where=HOSTILE, hint=HOSTILE)
    checks = (CheckResult.failed(HOSTILE, Verdict.SIDE_EFFECT, finding),)
    cells = (CellResult(target=HOSTILE, batch_size=None, seq_len=None, checks=checks, dims={HOSTILE: "unsafe"}),)
    return GateResult(id=HOSTILE, nodeid=HOSTILE, outcome=Outcome.FAILED, cells=cells, baseline="NEW", reason=HOSTILE)
