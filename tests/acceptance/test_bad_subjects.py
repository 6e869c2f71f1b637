"""Models and inputs that cannot be judged: one clear failure each, and the rest of the run goes on."""

from __future__ import annotations

import pytest

from .harness import PytestRuns, Run

SUITE = {
    "test_bad.py": """
        import pytest
        import torch
        from models import *

        @pytest.fixture
        def text():
            return "no model"

        @pytest.fixture
        def model_class():
            return Head

        @pytest.fixture
        def nothing():
            return None

        @pytest.fixture
        def head():
            return Head()

        @pytest.fixture
        def other():
            return OtherHead()

        @pytest.fixture
        def broken():
            raise RuntimeError("no disk")

        @pytest.fixture
        def absent():
            pytest.skip("the weights are not on this machine")

        @pytest.fixture
        def scripted():
            import warnings
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.jit.script(Head())

        @pytest.mark.torchscript(model="text")
        def test_fixture_of_another_type(): ...

        @pytest.mark.torchscript(model="model_class", inputs=(rows(),))
        def test_fixture_gives_a_class(): ...

        @pytest.mark.torchscript(model="scripted", inputs=(rows(),))
        def test_script_module(): ...

        @pytest.mark.torchscript(model="broken")
        def test_model_fixture_raises(): ...

        @pytest.mark.torchscript(model="head", inputs="broken")
        def test_inputs_fixture_raises(): ...

        @pytest.mark.torchscript(model="absent")
        def test_model_fixture_skips(): ...

        @pytest.mark.torchscript
        def test_no_model():
            assert 1 + 1 == 2

        @pytest.mark.torchscript
        def test_only_a_loss():
            nn.MSELoss()(rows(), rows())

        @pytest.mark.torchscript
        def test_two_fixtures(head, other):
            pass

        @pytest.mark.torchscript
        def test_no_inputs(head):
            pass

        @pytest.mark.torchscript(model=Head, inputs={"y": rows()})
        def test_inputs_of_another_name(): ...

        @pytest.mark.torchscript(model=Head, inputs=(rows(), rows(), rows()))
        def test_too_many_inputs(): ...

        @pytest.mark.torchscript(model=Encoder, inputs={"input_ids": tokens()["input_ids"]})
        def test_too_few_inputs(): ...

        @pytest.mark.torchscript(model=Scaler, inputs=(1.0, 2.0))
        def test_no_tensor(): ...

        @pytest.mark.torchscript(model="head", inputs="nothing")
        def test_inputs_fixture_of_none(): ...

        @pytest.mark.torchscript(model="head", inputs="text")
        def test_inputs_fixture_of_text(): ...

        @pytest.mark.torchscript(model=lambda: 3)
        def test_factory_of_another_type(): ...

        @pytest.mark.torchscript(model=lambda: 1 / 0)
        def test_factory_raises(): ...

        @pytest.mark.torchscript(model=Head, inputs=lambda: {}["key"])
        def test_inputs_factory_raises(): ...

        @pytest.mark.torchscript(model=lambda width: Head(width))
        def test_factory_wants_arguments(): ...

        class NeedsWidth(Head):
            def __init__(self, width):
                super().__init__(width)

        @pytest.mark.torchscript(model=NeedsWidth)
        def test_class_wants_arguments(): ...

        @pytest.mark.torchscript(model=Refuses, inputs=(rows(),))
        def test_forward_raises(): ...

        @pytest.mark.torchscript(model=Head, inputs=(rows(2, 5),))
        def test_inputs_of_another_width(): ...

        @pytest.mark.torchscript(model=Head, inputs=(torch.full((2, 8), float("nan")),))
        def test_nan_inputs(): ...

        @pytest.mark.torchscript(dims={"ids": {0: "batch"}})
        def test_dims_name_no_input():
            Encoder()(**tokens())

        @pytest.mark.torchscript(dims={"input_ids": {5: "seq"}})
        def test_dims_name_no_axis():
            Encoder()(**tokens())

        @pytest.mark.torchscript(mask="padding_mask")
        def test_mask_names_no_input():
            Encoder()(**tokens())

        @pytest.mark.torchscript(shapes={"frames": "dynamic"})
        def test_shapes_name_no_dim():
            Encoder()(**tokens())

        @pytest.mark.torchscript(seq_len=4)
        def test_seq_len_without_a_sequence():
            Scaler()(torch.ones(()))

        @pytest.mark.torchscript
        def test_zero_sized():
            Head()(torch.zeros(0, 8))

        @pytest.mark.torchscript(model=Head, inputs=(torch.zeros(2, 8, device="meta"),))
        def test_inputs_on_meta_alone(): ...

        class Exits(nn.Module):
            def forward(self, x):
                raise SystemExit(3)

        @pytest.mark.torchscript(model=Exits, inputs=(rows(),))
        def test_forward_exits(): ...

        class SkipsItself(nn.Module):
            def forward(self, x):
                pytest.skip("needs a GPU")

        @pytest.mark.torchscript(model=SkipsItself, inputs=(rows(),))
        def test_forward_skips(): ...

        class Recursive(nn.Module):
            def forward(self, x):
                return self.forward(x)

        @pytest.mark.torchscript(model=Recursive, inputs=(rows(),))
        def test_forward_recurses(): ...

        class Empty(nn.Module):
            def forward(self, x):
                return None

        @pytest.mark.torchscript
        def test_no_output():
            Empty()(rows())

        @pytest.mark.torchscript
        def test_last_and_healthy():
            Head()(rows())
    """
}


@pytest.fixture
def run(run_suite: PytestRuns, mode: tuple[str, ...]) -> Run:
    return run_suite(SUITE, *mode)


# (test, verdict, words that the message must hold)
BAD = [
    ("test_fixture_of_another_type", "EagerFailure", ["'text'", "str", "nn.Module"]),
    ("test_fixture_gives_a_class", "EagerFailure", ["'model_class'", "nn.Module"]),
    ("test_script_module", "EagerFailure", ["TorchScript already"]),
    ("test_no_model", "NoModel", ["model=", "returns", "body", "fixture"]),
    ("test_only_a_loss", "NoModel", ["losses"]),
    ("test_two_fixtures", "NoModel", ["head", "other", "model="]),
    ("test_no_inputs", "NoInputs", ["inputs=", "torchscript_inputs"]),
    ("test_inputs_of_another_name", "EagerFailure", ["Head.forward(x)", "y"]),
    ("test_too_many_inputs", "EagerFailure", ["Head.forward(x)", "float32 (2, 8)"]),
    ("test_too_few_inputs", "EagerFailure", ["Encoder.forward(input_ids, attention_mask)", "attention_mask"]),
    ("test_no_tensor", "EagerFailure", ["no tensor"]),
    ("test_inputs_fixture_of_none", "EagerFailure", ["inputs", "NoneType"]),
    ("test_inputs_fixture_of_text", "EagerFailure", ["inputs", "str"]),
    ("test_factory_of_another_type", "EagerFailure", ["nn.Module", "int"]),
    ("test_factory_raises", "EagerFailure", ["model=", "ZeroDivisionError"]),
    ("test_inputs_factory_raises", "EagerFailure", ["inputs=", "KeyError"]),
    ("test_factory_wants_arguments", "EagerFailure", ["model=", "width"]),
    ("test_class_wants_arguments", "EagerFailure", ["model=NeedsWidth", "width"]),
    ("test_forward_raises", "EagerFailure", ["ValueError", "the vocabulary file is missing"]),
    ("test_inputs_of_another_width", "EagerFailure", ["RuntimeError", "8x4"]),
    ("test_nan_inputs", "NonFinite", ["NaN"]),
    ("test_dims_name_no_input", "EagerFailure", ["dims", "'ids'", "'input_ids'"]),
    ("test_dims_name_no_axis", "EagerFailure", ["dims", "'input_ids'", "5", "(2, 16)"]),
    ("test_mask_names_no_input", "EagerFailure", ["mask", "'padding_mask'", "'attention_mask'"]),
    ("test_shapes_name_no_dim", "ShapeSpecialised", ["frames", "seq"]),
    ("test_seq_len_without_a_sequence", "EagerFailure", ["seq_len=4", "dims="]),
    ("test_zero_sized", "EagerFailure", ["zero", "(0, 8)"]),
    ("test_inputs_on_meta_alone", "EagerFailure", ["meta"]),
    ("test_forward_recurses", "EagerFailure", ["RecursionError"]),
]


@pytest.mark.parametrize(("test", "verdict", "words"), BAD, ids=[test for test, _, _ in BAD])
def test_what_cannot_be_judged_is_one_clear_failure(run_suite: PytestRuns, test: str, verdict: str, words: list[str]) -> None:
    """The test fails by its gate, whose only failed check says what is wrong and names what it is about."""
    run = run_suite(SUITE)
    assert run.outcomes[test] == "failed", run.messages.get(test)
    if verdict in ("NoModel", "NoInputs"):
        gate = run.gate(test)
        assert (gate["outcome"], gate["verdict"], gate["cells"]) == ("error", verdict, [])
    else:
        assert run.verdict(test) == verdict
        failed = [check["name"] for check in run.cell(test)["checks"] if check["status"] == "failed"]
        assert len(failed) == 1
    for word in words:
        assert word in run.said(test)
        assert word in run.messages[test]
    assert run.messages[test].count("torchscript gate:") == 1
    assert "_pytest/" not in run.messages[test]


@pytest.mark.parametrize(
    ("test", "outcome", "of_the_gate", "says"),
    [
        ("test_model_fixture_raises", "failed", "error", "no disk"),
        ("test_inputs_fixture_raises", "failed", "error", "no disk"),
        ("test_model_fixture_skips", "skipped", "skipped", "the weights are not on this machine"),
        ("test_forward_skips", "skipped", "skipped", "needs a GPU"),
        ("test_forward_exits", "failed", "failed", "SystemExit"),
    ],
)
def test_a_gate_that_is_cut_off_is_in_the_report(
    run_suite: PytestRuns, test: str, outcome: str, of_the_gate: str, says: str
) -> None:
    """A fixture or forward that raises or skips under the gate ends the test so, and the gate is not silently absent."""
    run = run_suite(SUITE)
    assert run.outcomes[test] == outcome
    assert says in run.messages[test]
    assert run.gate(test)["outcome"] == of_the_gate


def test_a_model_without_output_fails(run_suite: PytestRuns) -> None:
    """A model that returns no tensor has nothing to deploy."""
    run = run_suite(SUITE)
    assert run.outcomes["test_no_output"] == "failed"
    assert run.verdict("test_no_output") == "Untraceable"


def test_the_rest_of_the_run_goes_on(run: Run) -> None:
    """Nothing that cannot be judged stops the run: every test has its outcome and every gate is in the report."""
    assert run.outcomes["test_last_and_healthy"] == "passed", run.messages
    assert len(run.outcomes) == len(BAD) + 7
    assert len(run.report["gates"]) == len(BAD) + 7
    assert "INTERNALERROR" not in run.text
    assert run.code == pytest.ExitCode.TESTS_FAILED
