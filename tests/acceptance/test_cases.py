"""Suites of small models that were once judged wrongly: verdict, line, remedy and dims are what plain torch says.

The models and what is true of each are in ``tests/acceptance/cases``; all of them run in one pytest process.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .harness import PytestRuns, Run

CASES = Path(__file__).with_name("cases")
SHAPE, VALUE, EFFECT, UNTRACEABLE = "ShapeSpecialised", "ValueSpecialised", "SideEffect", "Untraceable"
PLAIN, NUMBERS = "plain function of tensors", "without int(), len() or a Python loop"


@dataclass(frozen=True)
class Right:
    """What is right for a gate: its verdicts, each as good; the class whose guilty line is named; what is not said.

    ``says`` is a word that will do in place of the verdict or the line. ``passes`` are checks that must not fail.
    ``most`` is the number of sizes of a dim that are tried at most; batches beyond 16 are not tried.
    """

    file: str
    verdicts: tuple[str, ...]
    guilty: str | None = None
    says: str | None = None
    passes: tuple[str, ...] = ()
    unfit: str | None = None
    most: dict[str, int] = field(default_factory=dict)


def _sizes(guilty: str) -> Right:
    return Right("axes", (SHAPE,), guilty)


RIGHT = {
    "neighbours": _sizes("Neighbours"),
    "pair-bias": _sizes("PairBias"),
    "square-images": _sizes("Squares"),
    "multiples-of-32": _sizes("Upsampled"),
    "whole-frames": _sizes("Frames"),
    "blocks": _sizes("Blocks"),
    "blocks-fixed": _sizes("Blocks"),
    "same-area-positions": _sizes("Patches"),
    "same-area-rows": _sizes("Rows"),
    "cache-inputs": _sizes("Step"),
    "integers-one-by-one": Right("values", (VALUE,), "Graphs"),
    "sorted-kinds": Right("values", (VALUE,), "ByKind", passes=("shapes",)),
    "clamped-weights": Right("state", ("WeightsChanged", EFFECT), "Clamped"),
    "pruned-weights": Right("state", ("WeightsChanged", EFFECT), "Pruned"),
    "kept-template": Right("state", (EFFECT,), "Tracker"),
    "first-scale": Right("state", (EFFECT,), "FirstScale"),
    "max-norm": Right("state", ("WeightsChanged",), "ShortRows", says="max_norm"),
    "autocast-round-the-call": Right("state", (SHAPE,), "HalfAware", says="autocast"),
    "skip-shapes": Right("state", (EFFECT,), "Remembers"),
    "own-call": Right("false_alarms", ("ok",)),
    "own-call-inside": Right("false_alarms", ("ok",)),
    "sparse-input": Right("false_alarms", ("ok",)),
    "settings-dict": Right("false_alarms", ("ok",)),
    "scatter-bool": Right("lines", (UNTRACEABLE,), "KeepOthers", unfit=PLAIN),
    "tracing-helper": Right("lines", ("NotEquivalent",), "Shortcut"),
    "padding-conv": Right("lines", ("PaddingUnsafe",), "Mixed"),
    "padding-after-values": Right("lines", (VALUE,), "Experts"),
    "round-of-a-size": Right("remedies", (UNTRACEABLE,), "Half", unfit=PLAIN),
    "divmod-of-a-size": Right("remedies", (UNTRACEABLE,), "Whole", unfit=PLAIN),
    "bool-of-a-size": Right("remedies", (UNTRACEABLE,), "Causal", unfit=PLAIN),
    "scripted-helper": Right("remedies", (UNTRACEABLE,), "ScriptedHelper", unfit=PLAIN),
    "kept-with-gradients": Right("remedies", (UNTRACEABLE, EFFECT), "KeptFeatures", unfit="register it as nn.Parameter"),
    "ceil-of-a-size": Right("remedies", (SHAPE,), "Ceil", unfit=NUMBERS),
    "log-of-a-size": Right("remedies", (SHAPE,), "Log", unfit=NUMBERS),
    "tensor-of-sizes": Right("remedies", (SHAPE,), "Corners", unfit=NUMBERS),
    "eager-size-mismatch": Right("remedies", ("EagerFailure",), "Mismatch", unfit="a size was baked in"),
    **{f"branch-{seed}": Right("unstable", (VALUE,), "Branch") for seed in range(12)},
    "group-norm": Right("slow", ("ok",), most={"batch": 8}),
    "meta-large": Right("slow", ("ok",), most={"seq": 4, "batch": 3}),
}


@pytest.fixture(scope="module")
def judged(run_suite: PytestRuns) -> Run:
    """One run of all the cases."""
    suites = {f"test_{name}.py": text for name, text in texts().items() if name != "traced_helper"}
    run = run_suite({**suites, "traced_helper.py": texts()["traced_helper"]})
    assert run.report is not None, run.text
    return run


def texts() -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in CASES.glob("*.py") if path.stem != "__init__"}


def gate(run: Run, name: str) -> dict[str, Any]:
    (found,) = (gate for gate in run.report["gates"] if gate["id"] == name)
    assert isinstance(found, dict)
    return found


def findings(judged_gate: dict[str, Any], *, check: str | None = None) -> Iterator[dict[str, Any]]:
    for cell in judged_gate["cells"]:
        for entry in cell["checks"]:
            if entry["status"] == "failed" and check in (None, entry["name"]):
                yield from entry["findings"]


def said(judged_gate: dict[str, Any]) -> str:
    return json.dumps(judged_gate["cells"]).replace(judged_gate["id"], "")


def guilty_line(name: str) -> tuple[str, int]:
    """The file and the line of the statement marked ``# guilty`` in the class that the case names."""
    right = RIGHT[name]
    text = texts()[right.file]
    (cls,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == right.guilty)
    rows = text.splitlines()[: cls.end_lineno]
    (line,) = (number for number, row in enumerate(rows, 1) if number >= cls.lineno and row.endswith("# guilty"))
    return f"test_{right.file}.py", line


@pytest.mark.parametrize("name", RIGHT)
def test_the_verdict_is_the_right_one(judged: Run, name: str) -> None:
    """Each case has the verdict that plain torch gives it, or says the one word that will do."""
    found = gate(judged, name)
    right = RIGHT[name]
    verdicts = {cell["verdict"] for cell in found["cells"]}
    assert verdicts <= set(right.verdicts) or (right.says is not None and right.says in said(found)), said(found)


@pytest.mark.parametrize("name", [name for name, right in RIGHT.items() if right.guilty])
def test_a_finding_names_the_guilty_line(judged: Run, name: str) -> None:
    """The line that is to blame is among those that the findings name, unless the word that will do is said."""
    found, right = gate(judged, name), RIGHT[name]
    named = {(Path(finding["file"]).name, finding["line"]) for finding in findings(found) if finding.get("file")}
    assert guilty_line(name) in named or (right.says is not None and right.says in said(found)), said(found)


@pytest.mark.parametrize("name", [name for name, right in RIGHT.items() if right.unfit])
def test_a_remedy_that_does_not_fit_is_not_given(judged: Run, name: str) -> None:
    """No hint says what does not help, or harms."""
    hints = [finding.get("hint") or "" for finding in findings(gate(judged, name))]
    assert not [hint for hint in hints if str(RIGHT[name].unfit) in hint]


@pytest.mark.parametrize("name", [name for name, right in RIGHT.items() if right.passes])
def test_a_check_that_has_nothing_to_say_does_not_fail(judged: Run, name: str) -> None:
    """A branch on values is no matter of sizes."""
    assert [check for check in RIGHT[name].passes if list(findings(gate(judged, name), check=check))] == []


@pytest.mark.parametrize("name", [name for name, right in RIGHT.items() if right.most])
def test_few_sizes_are_tried(judged: Run, name: str) -> None:
    """No size is tried that tells nothing new, and no batch is tried that is dear."""
    for cell in gate(judged, name)["cells"]:
        dims = next(check["metrics"]["dims"] for check in cell["checks"] if check["name"] == "shapes")
        for dim, most in RIGHT[name].most.items():
            assert len(dims[dim]["probes"]) <= most, dims
        assert max(map(int, dims["batch"]["probes"])) <= 16, dims


def test_padding_names_no_line_where_eager_does_not_leak(judged: Run) -> None:
    """Where the values were baked, padding has no line of its own."""
    named = {
        (Path(f["file"]).name, f["line"]) for f in findings(gate(judged, "padding-after-values"), check="padding") if f["file"]
    }
    assert named <= {guilty_line("padding-after-values")}


def test_the_findings_are_the_same_for_every_seed(judged: Run) -> None:
    """Verdict, failed checks and dims do not depend on the values that an unseeded test happens to draw."""
    found = {
        json.dumps(
            [
                [cell["verdict"], cell["dims"], sorted(c["name"] for c in cell["checks"] if c["status"] == "failed")]
                for cell in cells
            ]
        )
        for cells in (gate(judged, f"branch-{seed}")["cells"] for seed in range(12))
    }
    assert len(found) == 1, found


def test_every_case_was_judged(judged: Run) -> None:
    """A case that is not collected any more would pass unseen."""
    assert {gate["id"] for gate in judged.report["gates"]} == set(RIGHT)
