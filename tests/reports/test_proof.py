"""How far a result reaches, in words and in every report."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from pytest_torchscript.reports import discover, junit, markdown, terminal
from pytest_torchscript.reports import json as json_report
from pytest_torchscript.reports.diff import diff
from pytest_torchscript.reports.document import Document
from pytest_torchscript.reports.notes import notes
from pytest_torchscript.reports.proof import alternatives, proof_of, verdict_with_proof, weaker
from pytest_torchscript.result import CellResult, CheckResult, Finding, GateResult, Outcome, Verdict

REASON = "lint: torch_neuronx is not installed; the published rules were checked, nothing was compiled"
WARNING = Finding(message="lint sort: sort is slow there", file="model.py", line=3, where="used at")
EAGER = CheckResult.passed("eager")
LINTED = replace(CheckResult.passed("target", findings=(WARNING,), proof="lint"), reason=REASON)
RAN = CheckResult.passed("target", proof="ran")
BUILT = CheckResult.passed("target", proof="built")
SKIPPED = CheckResult.skipped("target", "no C++ compiler")
BROKEN = Finding(message="lint fft: there is no fft", file="model.py", line=7, function="forward", hint="avoid it")
FAILED = replace(CheckResult.failed("target", Verdict.TARGET_UNSUPPORTED, BROKEN, proof="lint"), reason=REASON)


def cell(check: CheckResult, target: str = "neuron", *others: CheckResult) -> CellResult:
    program = "torch.export" if target == "export" else None
    return CellResult(target=target, batch_size=1, seq_len=8, checks=(EAGER, *others, check), program=program)


def gate(*cells: CellResult, id: str = "bert") -> GateResult:
    return GateResult.judged(id, "test_bert.py::test_bert", cells)


def document(*gates: GateResult) -> Document:
    return Document.of(gates, {"python": "3.11"})


# Words


@pytest.mark.parametrize(
    ("check", "target", "proof"),
    [
        (RAN, "libtorch", "ran"),
        (BUILT, "neuron", "built"),
        (LINTED, "neuron", "lint"),
        (SKIPPED, "libtorch", "not proved"),
        (FAILED, "neuron", "lint"),
        (SKIPPED, "torchscript", None),
        (CheckResult.failed("target", Verdict.TARGET_FAILURE), "libtorch", None),
        (CheckResult.passed("target", proof="notarised"), "libtorch", "not proved"),
        (CheckResult.passed("weights"), "libtorch", None),
    ],
)
def test_a_cell_says_how_far_its_target_was_proved(check: CheckResult, target: str, proof: str | None) -> None:
    """A skipped proof is none; the plain target has none of its own, and a failure is told as one.

    A kind of proof that this version does not know is none either.
    """
    assert proof_of(cell(check, target)) == proof


def test_what_fails_otherwise_is_told_as_that() -> None:
    """That the target was not reached is no news then."""
    broken = CheckResult.failed("equivalence", Verdict.NOT_EQUIVALENT)
    assert proof_of(cell(CheckResult.skipped("target", "equivalence failed"), "libtorch", broken)) is None


def test_a_verdict_is_followed_by_what_it_leaves_open() -> None:
    """Alone, or with the target's name where there are others."""
    assert verdict_with_proof(gate(cell(LINTED)), "ok") == "ok (lint)"
    assert verdict_with_proof(gate(cell(BUILT)), "ok") == "ok (built, not run)"
    assert verdict_with_proof(gate(cell(RAN, "libtorch")), "ok") == "ok"
    assert verdict_with_proof(gate(cell(SKIPPED, "torchscript"), cell(LINTED)), "ok") == "ok (neuron: lint)"
    several = gate(cell(SKIPPED, "torchscript"), cell(LINTED), cell(SKIPPED, "libtorch"))
    assert verdict_with_proof(several, "ok") == "ok (neuron: lint, libtorch: not proved)"


# Every report says lint


def test_the_terminal_says_lint() -> None:
    """In the table for a pass, and in the block for a failure."""
    assert "  ok (lint)  " in terminal.table(document(gate(cell(LINTED))))[1][0]
    block = terminal.failure_block(gate(cell(FAILED))).splitlines()
    assert "  target: lint fft: there is no fft" in block
    assert (
        "    because    lint: torch_neuronx is not installed; the published rules were checked, nothing was compiled" in block
    )
    assert "  TargetUnsupported (lint)  " in terminal.table(document(gate(cell(FAILED))))[1][0]


def test_the_terminal_says_a_reason_once() -> None:
    """Where a finding ends with it already, as under --torchscript-require-sdk."""
    required = Finding(message=f"neuron cannot be proved here: {REASON}")
    failed = replace(CheckResult.failed("target", Verdict.TARGET_FAILURE, required), reason=REASON)
    assert "because" not in terminal.failure_block(gate(cell(failed)))


def test_the_json_says_lint() -> None:
    """As the kind of proof and as a reason, on a check that passed."""
    check = json.loads(json_report.render(document(gate(cell(LINTED)))))["gates"][0]["cells"][0]["checks"][1]
    assert (check["status"], check["metrics"]["proof"], check["reason"]) == ("passed", "lint", REASON)


def test_junit_says_lint() -> None:
    """A pass with an output that says what it leaves open; a failure with the reason in its body."""
    cases = {
        case.get("name"): case
        for case in ElementTree.fromstring(junit.render(document(gate(cell(LINTED)))).encode()).iter("testcase")
    }
    out = cases["neuron[b1,s8].target"].findtext("system-out") or ""
    assert out.startswith(REASON)
    assert "lint sort: sort is slow there" in out
    assert cases["neuron[b1,s8].eager"].find("system-out") is None
    (failure,) = ElementTree.fromstring(junit.render(document(gate(cell(FAILED)))).encode()).iter("failure")
    assert (failure.get("type"), failure.get("message")) == ("TargetUnsupported", "lint fft: there is no fft")
    assert REASON in (failure.text or "")


def test_junit_stays_xml_whatever_is_noted() -> None:
    """A vendor's tool colours its messages; XML takes no control characters."""
    coloured = replace(LINTED, findings=(replace(WARNING, message="\x1b[31mlint sort\x1b[0m: slow \x00"),))
    root = ElementTree.fromstring(junit.render(document(gate(cell(coloured)))).encode())
    assert any("lint sort" in (out.text or "") for out in root.iter("system-out"))


def test_the_summary_says_lint() -> None:
    """In the row of a model that passes, and below a failure."""
    assert "| ok (lint) |" in markdown.summary(document(gate(cell(LINTED))))
    assert "  - Because: lint: torch\\_neuronx is not installed" in markdown.summary(document(gate(cell(FAILED))))


def test_discover_takes_lint_for_a_pass() -> None:
    """What would pass today is counted, and no test is marked as failing for it."""
    entry = discover.Discovered(nodeid="test_a.py::test_a", model="Bert", verdict="ok (lint)", passes=True)
    assert discover.listing([entry])[-1] == ("1 tests could carry the marker; 1 would pass today", None)
    assert "# today" not in discover.conftest([entry])


# Less than before


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (RAN, LINTED, f"target was run, is lint now: {REASON}"),
        (BUILT, LINTED, f"target was built, not run, is lint now: {REASON}"),
        (RAN, SKIPPED, "target was run, is not proved now: no C++ compiler"),
        (LINTED, SKIPPED, "target was lint, is not proved now: no C++ compiler"),
        (RAN, BUILT, "target was run, is built, not run now"),
        (RAN, CheckResult.failed("target", Verdict.TARGET_FAILURE), None),
        (CheckResult.failed("target", Verdict.TARGET_FAILURE), LINTED, None),
        (LINTED, RAN, None),
        (LINTED, LINTED, None),
    ],
)
def test_a_weaker_proof_is_told(before: CheckResult, after: CheckResult, words: str | None) -> None:
    """A machine that lost its tools passes as before, and proves less."""
    assert weaker(cell(before), cell(after)) == words


def test_a_comparison_of_two_reports_tells_it() -> None:
    """Under what is no longer judged, once, and as no regression."""
    text, regressed = diff(document(gate(cell(RAN, "libtorch"))), document(gate(cell(SKIPPED, "libtorch"))))
    assert not regressed
    assert "### Proved by less" in text
    assert text.count("no C++ compiler") == 1


def test_a_comparison_tells_each_loss_once() -> None:
    """What else is skipped now stands beside it; a cell that fails now, or is new, has lost nothing silently."""
    trace, lost = CheckResult.passed("padding"), CheckResult.skipped("padding", "no mask")
    before = document(gate(cell(RAN, "libtorch", trace)))
    text, _ = diff(before, document(gate(cell(SKIPPED, "libtorch", lost), cell(LINTED))))
    told = text.partition("### No longer judged")[2]
    assert "target was run, is not proved now: no C++ compiler" in told
    assert "padding is skipped now: no mask" in told
    assert told.count("no C++ compiler") == 1
    failing = CheckResult.failed("padding", Verdict.TARGET_FAILURE, BROKEN)
    text, _ = diff(before, document(gate(cell(SKIPPED, "libtorch", failing))))
    assert "is not proved now" not in text
    text, _ = diff(before, document(gate(cell(FAILED, "libtorch"))))
    assert "is lint now" not in text


def test_what_is_gone_is_told_as_it_was() -> None:
    """With what it left open; a gate that was skipped was no pass."""
    text, _ = diff(document(gate(cell(LINTED))), document())
    assert "- `bert`: was ok (lint)" in text
    skipped = GateResult(id="bert", nodeid="test_bert.py::test_bert", outcome=Outcome.SKIPPED)
    text, _ = diff(document(skipped), document())
    assert "- `bert`: was skipped" in text


# What could leave TorchScript


EXPORTED = CheckResult.passed("target", proof="ran", export_dims={"batch": "dynamic", "seq": "fixed"})
REFUSED = CheckResult.failed("target", Verdict.TARGET_UNSUPPORTED, replace(BROKEN, message="export refuses a branch"))
TOLD = f"{BROKEN.message} ({BROKEN.file}:{BROKEN.line})"
UNTRACEABLE = CheckResult.failed("trace", Verdict.UNTRACEABLE, Finding(message="no"))


def test_the_table_sets_torchscript_beside_export() -> None:
    """Each way round: what traces and is not exported, and what is exported and does not trace."""
    first, second = alternatives(
        document(gate(cell(REFUSED, "export"), id="b-traces"), gate(cell(EXPORTED, "export", UNTRACEABLE), id="a-exports"))
    )
    assert (first.id, first.torchscript, first.verdict, first.dims) == (
        "a-exports",
        "Untraceable",
        "ok",
        "batch=dynamic seq=fixed",
    )
    assert (second.torchscript, second.verdict) == ("ok", "TargetUnsupported")
    assert (second.cell, second.why) == ("b1 s8", "export refuses a branch (model.py:7)")


@pytest.mark.parametrize(
    ("check", "export", "why"),
    [
        (CheckResult.skipped("target", "eager failed"), "not judged", "eager failed"),
        (CheckResult.passed("target", findings=(WARNING,)), "ok", ""),
        (CheckResult.failed("target", Verdict.TARGET_FAILURE), "TargetFailure", ""),
        (CheckResult.failed("target", Verdict.TARGET_FAILURE, Finding(message=" "), BROKEN), "TargetFailure", TOLD),
        (CheckResult.failed("target", Verdict.TARGET_FAILURE, replace(BROKEN, line=None)), "TargetFailure", BROKEN.message),
    ],
    ids=["skipped", "noted", "without findings", "blank", "without a line"],
)
def test_the_reason_is_that_of_the_refusal(check: CheckResult, export: str, why: str) -> None:
    """What is noted of a pass is none; without dims there is a dash."""
    (entry,) = alternatives(document(gate(cell(check, "export"))))
    assert (entry.torchscript, entry.verdict, entry.why, entry.dims) == ("ok", export, why, "-")


def test_other_targets_are_not_in_it() -> None:
    """It is about leaving, and stays away where nobody asked."""
    plain = gate(cell(RAN, "libtorch"), cell(LINTED))
    assert alternatives(document(plain)) == []
    assert terminal.alternatives_table(document(plain)) == []
    assert "leave TorchScript" not in markdown.summary(document(plain))


def test_terminal_and_summary_show_it() -> None:
    """One row a model and size, with the cause of a refusal."""
    gates = [gate(cell(REFUSED, "export"), id="b-traces"), gate(cell(EXPORTED, "export"), id="a-exports")]
    head, *rows = terminal.alternatives_table(document(*gates))
    assert head[0].split() == ["model", "cell", "torchscript", "export", "dims", "why"]
    assert [good for _, good in rows] == [True, False]
    assert "export refuses a branch (model.py:7)" in rows[1][0]
    text = markdown.summary(document(*gates))
    assert "### What could leave TorchScript today" in text
    assert "| `a-exports` | b1 s8 | ok | ok | batch=dynamic seq=fixed | – |" in text


def test_its_last_column_is_text() -> None:
    """It begins below its title, ends where a line does, and a dash stands where there is nothing to say."""
    long = replace(BROKEN, message="a reason of many words " * 20)
    failed = CheckResult.failed("target", Verdict.TARGET_UNSUPPORTED, long)
    plain = CellResult(
        target="export",
        batch_size=None,
        seq_len=None,
        checks=(EAGER, CheckResult.skipped("target", "eager failed")),
        program="torch.export",
    )
    (head, _), (refused, red), (skipped, colour) = terminal.alternatives_table(
        document(gate(cell(failed, "export")), gate(plain, id="other"))
    )
    assert (red, colour) == (False, None)
    assert refused[head.index("why") :].startswith("a reason of many")
    assert len(refused[head.index("why") :]) <= 100
    assert refused.endswith(" words a reason of many words (model.py:7)")
    assert len(refused) <= terminal.WIDTH
    assert skipped[head.index("why") :] == "eager failed"
    assert skipped.split()[:3] == ["other", "-", "ok"]
    assert "| `other` | – | ok | not judged | - | eager failed |" in markdown.summary(document(gate(plain, id="other")))


# Notes of what passes


BUCKETS = Finding(message="padding to 8 and 64 wastes 51% of the operations")
TIED = Finding(message="a and b are tied, and stay so")


def test_notes_of_targets_are_read_in_the_terminal() -> None:
    """Where the run is looked at; what several cells say alike is said once, and not what a failing check says."""
    passing = CheckResult.passed("target", findings=(BUCKETS, WARNING), proof="lint")
    lines = terminal.notes_lines(document(gate(cell(passing), cell(passing, "neuron-inf1")), gate(cell(FAILED), id="other")))
    assert lines == [
        "note  bert [neuron b1 s8]: padding to 8 and 64 wastes 51% of the operations",
        "note  bert [neuron b1 s8]: lint sort: sort is slow there (model.py:3)",
    ]


def test_a_note_is_told_of_each_place_that_has_it() -> None:
    """Another model, another file or another line is another note; models come by their names."""
    placed = [WARNING, replace(WARNING, line=4), replace(WARNING, file="head.py"), WARNING]
    check = CheckResult.passed("target", findings=tuple(placed))
    other = CheckResult.passed(
        "target", findings=(WARNING, replace(WARNING, file=None), replace(WARNING, line=None, message="x"))
    )
    found = notes(document(gate(cell(check), id="b"), gate(cell(other), id="a")), ("target",))
    assert [(note.id, note.place) for note in found] == [
        ("a", "model.py:3"),
        ("a", ""),
        ("a", ""),
        ("b", "model.py:3"),
        ("b", "model.py:4"),
        ("b", "head.py:3"),
    ]


def test_what_weights_cost_is_left_to_the_reports() -> None:
    """The terminal shows what targets say."""
    weights = CheckResult.passed("weights", findings=(TIED,))
    assert terminal.notes_lines(document(gate(cell(RAN, "libtorch", weights)))) == []


def test_twelve_notes_are_not_too_many() -> None:
    """What is shown in full needs no count."""
    many = tuple(Finding(message=f"note {number}") for number in range(12))
    assert len(terminal.notes_lines(document(gate(cell(CheckResult.passed("target", findings=many)))))) == 12
    more = (*many, Finding(message="one more"))
    lines = terminal.notes_lines(document(gate(cell(CheckResult.passed("target", findings=more)))))
    assert (len(lines), lines[-1][:10]) == (13, "and 1 more")


def test_many_notes_are_counted() -> None:
    """A screen is a screen."""
    many = tuple(Finding(message=f"note {number}") for number in range(15))
    lines = terminal.notes_lines(document(gate(cell(CheckResult.passed("target", findings=many)))))
    assert len(lines) == 13
    assert lines[-1] == "and 3 more notes; the JSON report has all"


def test_the_summary_has_the_notes_of_targets_weights_and_device() -> None:
    """What ties cost, what pins the trace, what padding wastes; the tracer's warnings are no notes."""
    weights = CheckResult.passed("weights", findings=(TIED,))
    trace = CheckResult.passed("trace", findings=(Finding(message="a warning of the tracer"),))
    pinned = CheckResult.passed("device", findings=(Finding(message="a tensor stays on cpu", file="model.py", line=9),))
    target = CheckResult.passed("target", findings=(BUCKETS,))
    text = markdown.summary(document(gate(cell(target, "neuron", trace, weights, pinned))))
    assert "<summary>3 notes</summary>" in text
    assert "- `bert` `neuron b1 s8`: a and b are tied, and stay so" in text
    assert f"- `bert` `neuron b1 s8`: {BUCKETS.message}\n" in text
    assert "- `bert` `neuron b1 s8`: a tensor stays on cpu (`model.py:9`)" in text
    assert "a warning of the tracer" not in text
    assert "note" not in markdown.summary(document(gate(cell(RAN))))


def test_what_was_not_proved_is_a_note_with_its_reason() -> None:
    """Who has a broken compiler reads so, and not only in the JSON."""
    (line,) = terminal.notes_lines(document(gate(cell(SKIPPED, "libtorch"))))
    assert line == "note  bert [libtorch b1 s8]: not proved: no C++ compiler"
    assert "not proved: no C++ compiler" in markdown.summary(document(gate(cell(SKIPPED, "libtorch"))))
    assert terminal.notes_lines(document(gate(cell(SKIPPED, "torchscript")))) == []


def test_a_failure_is_not_softened_by_a_proof() -> None:
    """That a target was only built says nothing beside what failed; that the failure itself is lint does."""
    wrong = CheckResult.failed("values", Verdict.VALUE_SPECIALISED, BROKEN)
    assert verdict_with_proof(gate(cell(BUILT, "neuron", wrong)), "ValueSpecialised") == "ValueSpecialised"
    assert verdict_with_proof(gate(cell(FAILED)), "TargetUnsupported") == "TargetUnsupported (lint)"


def test_a_budget_is_no_matter_of_leaving() -> None:
    """The table says what torch.export made of the model; a program without weights was not run."""
    dear = CheckResult.failed("target", Verdict.TARGET_FAILURE, BUCKETS, proof="ran", proved=True, flops=2, max_flops=1)
    assert alternatives(document(gate(cell(dear, "export"))))[0].verdict == "ok"
    assert alternatives(document(gate(cell(BUILT, "export"))))[0].verdict == "ok (built, not run)"


def test_hostile_text_does_not_steer_the_terminal() -> None:
    """Escapes are shown, and of megabytes the beginning."""
    loud = Finding(message="\x1b[31mred\x00" + "x" * 10_000, file="a\x1b.py", line=1, function="f", source="\x1b[2J")
    block = terminal.failure_block(gate(cell(CheckResult.failed("target", Verdict.TARGET_FAILURE, loud))))
    assert "\x1b" not in block
    assert "\x00" not in block
    assert "\\x1b[31mred" in block
    assert len(block) < 4000


def test_of_several_cells_the_weakest_proof_counts() -> None:
    """In either order."""
    skipped, built = cell(SKIPPED, "neuron"), cell(BUILT, "neuron")
    assert verdict_with_proof(gate(skipped, built), "ok") == "ok (not proved)"
    assert verdict_with_proof(gate(built, skipped), "ok") == "ok (not proved)"
