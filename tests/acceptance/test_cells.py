"""Cells, checks and verdicts, and what is said of each failure."""

from __future__ import annotations

import pytest

from .harness import PytestRuns, Run, guilty_line

CHECKS = [
    "eager",
    "trace",
    "equivalence",
    "values",
    "shapes",
    "padding",
    "roundtrip",
    "weights",
    "purity",
    "device",
    "target",
]

# (test, model, failing checks with their verdicts)
BROKEN = [
    ("test_refuses", "Refuses", {"eager": "EagerFailure"}),
    ("test_jitter", "Jitter", {"eager": "NonDeterministic"}),
    ("test_log", "LogOfNegatives", {"eager": "NonFinite"}),
    ("test_none", "NoneBeside", {"trace": "Untraceable"}),
    ("test_unregistered", "Unregistered", {"trace": "Untraceable"}),
    ("test_other_while_tracing", "OtherWhileTracing", {"equivalence": "NotEquivalent"}),
    ("test_branch", "BranchesOnValues", {"values": "ValueSpecialised"}),
    ("test_baked", "BakedLength", {"shapes": "ShapeSpecialised"}),
    ("test_mask", "IgnoresMask", {"padding": "PaddingUnsafe"}),
    ("test_python_function", "PythonFunction", {"roundtrip": "NotSerialisable"}),
    ("test_normalises", "NormalisesInPlace", {"weights": "WeightsChanged"}),
    ("test_counts", "Counts", {"purity": "SideEffect"}),
    ("test_twice", "TwiceBroken", {"shapes": "ShapeSpecialised", "purity": "SideEffect"}),
    ("test_flops", "Head", {"target": "TargetFailure"}),
]

BROKEN_SUITE = {
    "test_broken.py": """
        import pytest
        from models import *

        @pytest.mark.torchscript(model=Refuses, inputs=(rows(),))
        def test_refuses(): ...

        @pytest.mark.torchscript
        def test_jitter():
            Jitter()(rows())

        @pytest.mark.torchscript
        def test_log():
            LogOfNegatives()(rows())

        @pytest.mark.torchscript
        def test_none():
            NoneBeside()(rows())

        @pytest.mark.torchscript
        def test_other_while_tracing():
            OtherWhileTracing()(rows())

        @pytest.mark.torchscript
        def test_branch():
            BranchesOnValues()(rows())

        @pytest.mark.torchscript
        def test_baked():
            BakedLength()(features())

        @pytest.mark.torchscript
        def test_mask():
            IgnoresMask()(**tokens())

        @pytest.mark.torchscript
        def test_python_function():
            PythonFunction()(rows())

        @pytest.mark.torchscript(model=NormalisesInPlace, inputs=(rows(),))
        def test_normalises(): ...

        @pytest.mark.torchscript
        def test_counts():
            Counts()(rows())

        @pytest.mark.torchscript
        def test_twice():
            TwiceBroken()(features())

        @pytest.mark.torchscript(max_flops=10)
        def test_flops():
            Head()(rows())

        @pytest.mark.torchscript
        def test_unregistered():
            Unregistered()(rows())
    """,
}

SUITE = {
    "test_healthy.py": """
        import pytest
        import torch
        from models import *

        @pytest.mark.torchscript(seq_len=(4, 24), batch_size=(1, 3, 5))
        def test_product():
            Encoder()(**tokens())

        @pytest.mark.torchscript
        def test_as_observed():
            Encoder()(**tokens(3, 12))

        @pytest.mark.torchscript
        def test_without_sequence():
            Head()(rows())

        class Sees(nn.Module):
            def forward(self, input_ids, attention_mask):
                seen.append((input_ids.clone(), attention_mask.clone()))
                return input_ids * attention_mask

        seen = []
        BATCH = {
            "input_ids": torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]]),
            "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
        }

        @pytest.mark.torchscript(seq_len=6, batch_size=3)
        def test_grown():
            Sees()(**BATCH)
            seen.clear()

        def test_grown_inputs():
            ids, mask = seen[0]
            assert ids.tolist() == [[1, 2, 3, 4, 1, 2], [5, 6, 0, 0, 5, 6], [1, 2, 3, 4, 1, 2]]
            assert mask.shape == (3, 6)
            assert (mask[0] == 1).all()

        @pytest.mark.torchscript(seq_len=2, batch_size=1)
        def test_cropped():
            Sees()(**BATCH)
            seen.clear()

        def test_cropped_inputs():
            ids, mask = seen[0]
            assert ids.tolist() == [[1, 2]]
            assert mask.tolist() == [[1, 1]]

        @pytest.mark.torchscript(max_flops=10_000)
        def test_within_budget():
            Head()(rows())

        @pytest.mark.torchscript
        def test_tied():
            TiedLanguageModel()(tokens()["input_ids"])

        @pytest.mark.torchscript(skip={"eager": "slow here", "trace": "not today", "purity": "no", "device": "no"})
        def test_nothing_left():
            Head()(rows())

        @pytest.mark.torchscript(skip={"values": "decided by design"})
        def test_skipped_check():
            BranchesOnValues()(rows())
    """,
    "test_shapes.py": """
        import pytest
        import torch
        from models import *

        @pytest.mark.torchscript(dims={"x": {0: "batch", 1: "seq"}})
        def test_outside():
            OneLength()(features())

        @pytest.mark.torchscript(dims={"x": {0: "batch", 1: "seq"}})
        def test_loud_is_safe():
            LoudLength()(features())

        @pytest.mark.torchscript(shapes="dynamic", dims={"x": {1: "seq"}})
        def test_loud_is_not_dynamic():
            LoudLength()(features())

        @pytest.mark.torchscript(shapes={"seq": "fixed"})
        def test_loud_is_fixed():
            LoudLength()(features())

        @pytest.mark.torchscript(shapes={"seq": "fixed"})
        def test_dynamic_is_not_fixed():
            Encoder()(**tokens())

        @pytest.mark.torchscript(shapes={"seq": "dynamic", "batch": "dynamic"})
        def test_dynamic():
            Encoder()(**tokens())

        @pytest.mark.torchscript(dims={"x": {0: "batch", 1: "frames", 2: "width"}}, shapes={"frames": "safe"})
        def test_names_of_its_own():
            BakedLength()(features())

        @pytest.mark.torchscript(dims={"x": {0: "batch"}})
        def test_undeclared_axes_do_not_vary():
            BakedLength()(features())

        @pytest.mark.torchscript
        def test_unsafe():
            BakedLength()(features())
    """,
    "test_meta.py": """
        import pytest
        import torch
        from models import *

        @pytest.mark.torchscript(weights="meta", max_flops=10_000)
        def test_structure_only():
            Encoder()(**tokens())

        @pytest.mark.torchscript(inputs={"input_ids": torch.zeros(2, 16, dtype=torch.long)})
        def test_on_meta_already():
            with torch.device("meta"):
                model = TiedLanguageModel()
            return model

        @pytest.mark.torchscript(weights="meta")
        def test_structure_is_untraceable():
            NoneBeside()(rows())

        @pytest.mark.torchscript(weights="meta")
        def test_structure_bakes_a_size():
            BakedLength()(features())

        @pytest.mark.torchscript(weights="meta", max_flops=10)
        def test_structure_is_too_dear():
            Encoder()(**tokens())
    """,
}


@pytest.fixture
def run(run_suite: PytestRuns) -> Run:
    return run_suite(SUITE)


@pytest.fixture
def broken(run_suite: PytestRuns) -> Run:
    return run_suite(BROKEN_SUITE)


def failed_checks(run: Run, test: str) -> dict[str, str]:
    """The verdict of each check that failed in a test's only cell."""
    return {check["name"]: check["verdict"] for check in run.cell(test)["checks"] if check["status"] == "failed"}


def sizes(run: Run, test: str) -> list[tuple[int | None, int | None]]:
    """The (batch size, sequence length) of each cell of the only gate of a test."""
    return [(cell["batch_size"], cell["seq_len"]) for cell in run.gate(test)["cells"]]


# Cells


def test_a_gate_has_a_cell_for_each_batch_size_and_sequence_length(run: Run) -> None:
    """Cells are the product of target, batch size and sequence length, in this order, and each says its own."""
    assert sizes(run, "test_product") == [(1, 4), (1, 24), (3, 4), (3, 24), (5, 4), (5, 24)]
    cells = run.gate("test_product")["cells"]
    assert {cell["target"] for cell in cells} == {"torchscript"}
    assert {cell["verdict"] for cell in cells} == {"ok"}


def test_without_sizes_the_cell_is_as_observed(run: Run) -> None:
    """A gate that asks for no size has one cell, at the sizes of the observed call."""
    assert sizes(run, "test_as_observed") == [(3, 12)]


def test_a_model_without_sequence_has_none(run: Run) -> None:
    """`seq_len` is null where the inputs have no sequence axis."""
    assert sizes(run, "test_without_sequence") == [(2, None)]


@pytest.mark.parametrize("test", ["test_grown", "test_cropped"])
def test_inputs_are_resized_by_repeating_and_cropping(run: Run, test: str) -> None:
    """Other sizes are made of the observed values, repeated or cropped, along batch and sequence."""
    assert run.outcomes[f"{test}_inputs"] == "passed", run.messages.get(f"{test}_inputs")


# Checks


def test_checks_are_all_there_in_the_contract_s_order(run: Run, broken: Run) -> None:
    """Every cell of every gate holds each check once, in the order of the contract, failed and skipped ones too."""
    cells = [cell for gate in run.report["gates"] + broken.report["gates"] for cell in gate["cells"]]
    assert len(cells) > 30
    for cell in cells:
        assert [check["name"] for check in cell["checks"]] == CHECKS


def test_a_skipped_check_says_why(run: Run, broken: Run) -> None:
    """A check is passed, failed with a verdict, or skipped with a reason: never silently absent."""
    gates = run.report["gates"] + broken.report["gates"]
    checks = [check for gate in gates for cell in gate["cells"] for check in cell["checks"]]
    for check in checks:
        assert check["status"] in ("passed", "failed", "skipped")
        assert bool(check["reason"]) >= (check["status"] == "skipped")
        assert bool(check["verdict"]) == (check["status"] == "failed")


def test_checks_that_need_a_failed_one_are_skipped_for_it(broken: Run) -> None:
    """What cannot be judged after a failure is skipped, and the reason names the check that failed."""
    for name in ("trace", "equivalence", "values", "shapes", "roundtrip", "weights"):
        check = broken.check("test_refuses", name)
        assert check["status"] == "skipped"
        assert "eager" in check["reason"]
    for name in ("equivalence", "values", "shapes", "roundtrip", "weights"):
        check = broken.check("test_none", name)
        assert check["status"] == "skipped"
        assert "trace" in check["reason"]


def test_a_skipped_check_is_no_verdict(run: Run) -> None:
    """A check that the marker skips cannot fail the gate, though the model would fail it."""
    assert run.outcomes["test_skipped_check"] == "passed"
    check = run.check("test_skipped_check", "values")
    assert (check["status"], check["reason"]) == ("skipped", "decided by design")


def test_a_gate_in_which_no_check_ran_fails(run: Run) -> None:
    """Skipping so much that nothing is left to run is a failure, not a pass."""
    assert run.outcomes["test_nothing_left"] == "failed"
    assert run.verdict("test_nothing_left") != "ok"
    assert "no check ran" in run.said("test_nothing_left")


@pytest.mark.parametrize(("test", "model", "failures"), BROKEN, ids=[model for _, model, _ in BROKEN])
def test_each_breakage_has_its_verdict(broken: Run, test: str, model: str, failures: dict[str, str]) -> None:
    """A model that is broken in one way fails that check with that verdict, and its test fails."""
    assert broken.outcomes[test] == "failed", model
    assert broken.gate(test)["outcome"] == "failed"
    assert failed_checks(broken, test) == failures
    assert broken.verdict(test) == next(iter(failures.values()))


def test_tied_weights_are_reported(run: Run) -> None:
    """Tied weights are found and named, with what the round trip made of them and its price in bytes."""
    check = run.check("test_tied", "weights")
    assert check["status"] == "passed"
    said = run.said("test_tied")
    assert "embedding.weight" in said
    assert "output.weight" in said
    assert "bytes" in str(check["metrics"])


def test_a_budget_that_is_kept_passes_with_its_figures(run: Run) -> None:
    """Within `max_flops` the target check passes, and the report holds what was counted: 2 rows by 8 by 4, twice."""
    check = run.check("test_within_budget", "target")
    assert check["status"] == "passed"
    assert check["metrics"]["flops"] == 2 * 2 * 8 * 4


def test_a_budget_that_is_passed_fails_with_its_figures(broken: Run) -> None:
    """Above `max_flops` the target check fails and says both numbers."""
    said = broken.said("test_flops")
    assert "128" in said
    assert "10" in said


# Shapes


@pytest.mark.parametrize(
    ("test", "outcome", "dims"),
    [
        ("test_outside", "passed", {"batch": "dynamic", "seq": "untested"}),
        ("test_loud_is_safe", "passed", {"batch": "dynamic", "seq": "fixed"}),
        ("test_loud_is_not_dynamic", "failed", {"seq": "fixed"}),
        ("test_loud_is_fixed", "passed", {"batch": "dynamic", "seq": "fixed"}),
        ("test_dynamic_is_not_fixed", "failed", {"batch": "dynamic", "seq": "dynamic"}),
        ("test_dynamic", "passed", {"batch": "dynamic", "seq": "dynamic"}),
        ("test_names_of_its_own", "failed", {"batch": "dynamic", "frames": "unsafe", "width": "dynamic"}),
        ("test_undeclared_axes_do_not_vary", "passed", {"batch": "dynamic"}),
        ("test_unsafe", "failed", {"batch": "dynamic", "seq": "unsafe"}),
    ],
)
def test_dims_are_classified_and_held_against_the_contract(run: Run, test: str, outcome: str, dims: dict[str, str]) -> None:
    """Each dim is dynamic, fixed, partial, unsafe or untested, and fails only what `shapes=` demands of it."""
    assert run.cell(test)["dims"] == dims
    assert run.outcomes[test] == outcome


def test_a_size_that_eager_refuses_is_shown_as_such(run: Run) -> None:
    """A probe outside the model's own domain is no failure, and the check says that eager refused it."""
    check = run.check("test_outside", "shapes")
    assert check["status"] == "passed"
    assert any("eager" in finding["message"] and "seq" in finding["message"] for finding in check["findings"])


# Without weights


@pytest.mark.parametrize("test", ["test_structure_only", "test_on_meta_already"])
def test_structure_is_judged_without_weights(run: Run, test: str) -> None:
    """On meta weights trace and shapes are judged, and every numeric check is skipped for that reason."""
    assert run.outcomes[test] == "passed", run.messages.get(test)
    assert run.verdict(test) == "ok"
    for name in ("trace", "shapes"):
        assert run.check(test, name)["status"] == "passed", run.check(test, name)
    for name in ("eager", "equivalence", "values", "padding", "roundtrip", "weights"):
        check = run.check(test, name)
        assert (check["status"], check["reason"]) == ("skipped", "meta weights")


@pytest.mark.parametrize(
    ("test", "failures"),
    [
        ("test_structure_is_untraceable", {"trace": "Untraceable"}),
        ("test_structure_bakes_a_size", {"shapes": "ShapeSpecialised"}),
        ("test_structure_is_too_dear", {"target": "TargetFailure"}),
    ],
)
def test_a_broken_structure_fails_without_weights(run: Run, test: str, failures: dict[str, str]) -> None:
    """What is wrong with the structure is found on meta weights too."""
    assert run.outcomes[test] == "failed"
    assert failed_checks(run, test) == failures


def test_target_rules_hold_without_weights(run: Run) -> None:
    """The budget of operations is counted on meta weights."""
    assert run.check("test_structure_only", "target")["status"] == "passed"


# What a failure says


@pytest.mark.parametrize(
    ("test", "model", "failures"),
    [entry for entry in BROKEN if "Head" not in entry],
    ids=[model for _, model, _ in BROKEN if model != "Head"],
)
def test_a_failure_block_says_what_where_and_what_to_do(broken: Run, test: str, model: str, failures: dict[str, str]) -> None:
    """The test's message has headline, checks, cause, the user's line with its text, remedy and command, in few lines."""
    block = broken.messages[test].partition("torchscript gate: ")[2]
    lines = block.splitlines()
    cell = broken.cell(test)
    sizes = "".join(f" {letter}{cell[name]}" for letter, name in (("b", "batch_size"), ("s", "seq_len")) if cell[name])
    headline = f"test_broken.py::{test}  [torchscript{sizes}]   FAILED  {cell['verdict']}"
    assert lines[0] == headline
    marks = {"passed": "✓", "failed": "✗", "skipped": "–"}
    assert lines[1].split() == [word for check in cell["checks"] for word in (check["name"], marks[check["status"]])]
    for name in failures:
        assert any(line.startswith(f"  {name}: ") for line in lines[2:])
    if "# guilty" in _source(model):
        number = guilty_line(model)
        line = next(line for line in lines if f"models.py:{number}" in line)
        assert _text(number) in line
        assert " in forward" in line
    if test != "test_refuses":
        assert any(line.split()[:1] == ["remedy"] for line in lines)
    assert any(line.split() == ["reproduce", "pytest", f"test_broken.py::{test}"] for line in lines)
    assert len(lines) < 40
    assert "tensor(" not in block
    assert "Parameter containing" not in block


def _source(model: str) -> str:
    from .harness import MODELS

    return MODELS.partition(f"\nclass {model}(")[2].partition("\nclass ")[0]


def _text(number: int) -> str:
    from .harness import MODELS

    return MODELS.splitlines()[number - 1].strip()


def test_a_wrong_output_is_named_with_amount_and_tolerance(broken: Run) -> None:
    """A silently wrong shape names output, sizes, largest difference, its index and what was allowed."""
    said = broken.said("test_baked")
    for words in ("'pooled'", "16", "max abs", "allowed", "["):
        assert words in said


def test_all_failures_of_a_cell_are_told_at_once(broken: Run) -> None:
    """Two checks that fail are two parts of the same message, each with its own line of code."""
    message = broken.messages["test_twice"]
    assert "  shapes: " in message
    assert "  purity: " in message
    assert "self.calls += 1" in message
    assert "return x.sum(1) / int(x.shape[1])" in message


def test_no_failure_message_dumps_tensors(broken: Run) -> None:
    """A parameter of 32,000 numbers that torch would print whole takes no room in the terminal or the report."""
    assert broken.said("test_unregistered").count("\n") < 40
    assert len(broken.said("test_unregistered")) < 4000
    assert broken.messages["test_unregistered"].count("\n") < 80
    assert broken.text.count("e-01") < 20


def test_every_finding_of_a_failure_can_be_followed_to_its_line(broken: Run) -> None:
    """The report holds file, line, function and source text of the guilty line, beside the message."""
    for test, model, failures in BROKEN:
        if "# guilty" not in _source(model):
            continue
        number = guilty_line(model)
        findings = broken.check(test, next(iter(failures)))["findings"]
        places = [(finding["file"], finding["line"]) for finding in findings]
        assert ("models.py", number) in places, (test, places)


def test_the_reproduce_command_reproduces(broken: Run, run_suite: PytestRuns) -> None:
    """Running the command of the block again fails that one test in the same way."""
    again = run_suite(BROKEN_SUITE, "test_broken.py::test_none")
    assert again.outcomes == {"test_none": "failed"}
    assert again.verdict("test_none") == broken.verdict("test_none")


# One gate after another


def test_a_failed_trace_does_not_reach_the_next_one(run_suite: PytestRuns) -> None:
    """After a model that torch refuses midway through an operation, healthy ones trace as ever, the user's own too.

    torch keeps the sizes it has read for the next operation in a place of the thread (`ArgumentStash`). An operation that
    fails leaves them there, and the next trace dies of them: by an internal assertion, or by a segmentation fault.
    """
    run = run_suite(
        {
            "test_sequence.py": """
                import warnings
                import pytest
                import torch
                from models import *

                class Viewed(Unregistered):
                    def forward(self, x):
                        return x * self.tables[0].view(int(x.shape[0]) * 0 + x.shape[1], -1).sum()

                pytestmark = pytest.mark.filterwarnings("ignore")

                def own_trace():
                    torch.jit.trace(Encoder().eval(), tuple(tokens(1, 4).values()))
                    torch.jit.trace(lambda x: x.view(x.shape[0], -1), features())

                @pytest.mark.torchscript
                @pytest.mark.parametrize("model", [Unregistered, Viewed])
                def test_refused(model):
                    model()(rows())

                def test_own_trace_after():
                    own_trace()

                @pytest.mark.torchscript
                def test_refused_again():
                    Unregistered()(rows())

                @pytest.mark.torchscript(seq_len=(4, 24), batch_size=(1, 3))
                def test_healthy_after():
                    Encoder()(**tokens())
            """
        }
    )
    assert run.outcomes == {
        "test_refused[Unregistered]": "failed",
        "test_refused[Viewed]": "failed",
        "test_own_trace_after": "passed",
        "test_refused_again": "failed",
        "test_healthy_after": "passed",
    }, run.text
    assert {cell["verdict"] for cell in run.gate("test_healthy_after")["cells"]} == {"ok"}


SETTINGS = {
    "test_settings.py": """
        import contextvars
        import threading

        import pytest
        import torch
        from models import *

        factor = contextvars.ContextVar("factor")
        local = threading.local()

        class FromContext(nn.Module):
            def forward(self, x):
                return x * factor.get()

        class FromThread(nn.Module):
            def forward(self, x):
                return x * local.factor

        class MakesTensors(nn.Module):
            def forward(self, x):
                return x + torch.ones(8) + torch.arange(8).to(x.device)

        @pytest.fixture
        def autocast():
            with torch.autocast("cpu", dtype=torch.bfloat16):
                yield

        @pytest.fixture
        def inference():
            with torch.inference_mode():
                yield

        @pytest.fixture
        def default_device():
            torch.set_default_device("cpu")
            yield
            torch.set_default_device(None)

        @pytest.fixture
        def values():
            token = factor.set(3.0)
            local.factor = 3.0
            yield
            factor.reset(token)

        @pytest.mark.torchscript
        def test_autocast(autocast):
            assert Head()(rows()).dtype == torch.bfloat16

        @pytest.mark.torchscript
        def test_inference(inference):
            Head()(rows())

        @pytest.mark.torchscript
        def test_default_device(default_device):
            MakesTensors()(rows())

        @pytest.mark.torchscript
        def test_context_variable(values):
            FromContext()(rows())

        @pytest.mark.torchscript
        def test_value_of_the_thread(values):
            FromThread()(rows())
    """
}


@pytest.mark.parametrize(
    "test",
    ["test_autocast", "test_inference", "test_default_device", "test_context_variable", "test_value_of_the_thread"],
)
def test_a_gate_judges_under_the_settings_of_its_test(run_suite: PytestRuns, test: str) -> None:
    """Autocast, a default device, inference mode, context variables and values of the thread hold for trace and eager."""
    run = run_suite(SETTINGS)
    assert run.outcomes[test] == "passed", run.messages[test]
    assert run.verdict(test) == "ok"
