"""Which model a gate judges and with which inputs."""

from __future__ import annotations

import pytest

from .harness import PytestRuns, Run

SUITE = {
    "conftest.py": """
        import asyncio
        import inspect
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_pyfunc_call(pyfuncitem):
            # What an async plugin does, at its simplest.
            if inspect.iscoroutinefunction(pyfuncitem.obj):
                names = pyfuncitem._fixtureinfo.argnames
                asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
                return True
    """,
    "test_observed.py": """
        import unittest
        import pytest
        import torch
        from models import *

        @pytest.mark.torchscript
        def test_function():
            assert Encoder()(**tokens()).shape == (2, 4)

        @pytest.mark.torchscript
        def test_outermost():
            nn.Sequential(Head(), nn.ReLU())(rows())

        @pytest.mark.torchscript
        def test_first_call_gives_the_inputs():
            model = Head()
            model(rows(3))
            model(rows(5))

        @pytest.mark.torchscript
        def test_inputs_written_to_after_the_call():
            x = rows()
            BranchesOnValues()(x.abs_())
            x.fill_(float("nan"))

        @pytest.mark.torchscript
        def test_losses_are_no_candidates():
            labels = torch.tensor([0, 1])
            ScaledLoss()(torch.randn(2, 4), labels)
            nn.CrossEntropyLoss()(Head()(rows()), labels)

        @pytest.fixture
        def scripted():
            import warnings
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.jit.trace(OtherHead(), rows()), torch.jit.script(OtherHead())

        @pytest.mark.torchscript
        def test_script_modules_are_no_candidates(scripted):
            for module in scripted:
                module(rows())
            Head()(rows(3))

        @pytest.mark.torchscript
        def test_several_models():
            Head()(rows())
            OtherHead()(rows())
            Head()(rows(4))

        @pytest.mark.torchscript
        def test_several_sizes_of_one_class():
            for width in (4, 8, 12):
                Head(width)(rows(2, width))

        @pytest.mark.torchscript(id="zoo")
        def test_one_of_several_is_broken():
            Head()(rows())
            NoneBeside()(rows())

        @pytest.mark.torchscript
        async def test_async():
            Head()(rows())

        @pytest.mark.torchscript
        def test_lazy_module():
            model = nn.Sequential(nn.LazyLinear(4), nn.ReLU())
            assert model(rows()).shape == (2, 4)

        @pytest.mark.torchscript
        def test_call_in_a_thread():
            import threading
            thread = threading.Thread(target=Head(), args=(rows(),))
            thread.start()
            thread.join()

        @pytest.mark.torchscript
        def test_call_expected_to_fail_first():
            model = Encoder()
            with pytest.raises(IndexError):
                model(**{**tokens(), "input_ids": torch.full((2, 16), 99)})
            model(**tokens())

        @pytest.mark.torchscript
        class TestPlainClass:
            def test_method(self):
                Head()(rows())

        class UnitTest(unittest.TestCase):
            def setUp(self):
                self.model = Head()

            @pytest.mark.torchscript
            def test_unittest(self):
                self.assertEqual(self.model(rows()).shape, (2, 4))

            @pytest.mark.torchscript
            def test_unittest_broken(self):
                NoneBeside()(rows())

            @pytest.mark.torchscript
            def test_unittest_returns_model(self):
                return OtherHead(), rows()

        class AsyncUnitTest(unittest.IsolatedAsyncioTestCase):
            @pytest.mark.torchscript
            async def test_unittest_async(self):
                Head()(rows())
    """,
    "test_named.py": """
        import pytest
        import torch
        from models import *

        @pytest.fixture
        def head():
            return Head()

        @pytest.fixture
        def other():
            return OtherHead()

        @pytest.fixture
        def three_rows():
            return rows(3)

        @pytest.fixture
        def named_rows():
            return {"x": rows(4)}

        @pytest.fixture
        def positional_rows():
            return (rows(5),)

        @pytest.mark.torchscript
        def test_returned_module():
            model = OtherHead()
            Head()(rows())
            model(rows(3))
            return model

        @pytest.mark.torchscript
        def test_returned_pair():
            Head()(rows())
            return OtherHead(), {"x": rows(6)}

        @pytest.mark.torchscript(model="head", inputs="three_rows")
        def test_fixture_names():
            OtherHead()(rows())

        @pytest.mark.torchscript(model="other")
        def test_fixture_name_narrows(head, other):
            head(rows())
            other(rows(7))

        @pytest.mark.torchscript(model="head", inputs="named_rows")
        def test_inputs_mapping_fixture():
            pass

        @pytest.mark.torchscript(model="head", inputs="positional_rows")
        def test_inputs_tuple_fixture():
            pass

        @pytest.mark.torchscript(model=Head(), inputs={"x": rows(4)})
        def test_instance_and_mapping():
            OtherHead()(rows())

        @pytest.mark.torchscript(model=lambda: OtherHead(), inputs=lambda: (rows(5),))
        def test_factories():
            Head()(rows())

        def build():
            return Head()

        @pytest.mark.torchscript(model=build)
        def test_factory_with_observed_inputs():
            Head()(rows(9))

        @pytest.mark.torchscript(model=OtherHead)
        def test_class_narrows():
            Head()(rows())
            OtherHead()(rows(3))

        @pytest.mark.torchscript(model=Head)
        def test_class_inside_another():
            Encoder()(**tokens(3))

        @pytest.mark.torchscript(model=nn.Linear)
        def test_class_of_torch_inside_another():
            Regularised().eval()(rows())

        @pytest.mark.torchscript(inputs=(rows(11),))
        def test_inputs_over_observed():
            Head()(rows())

        @pytest.mark.torchscript(model="head", inputs="three_rows")
        def test_model_over_returned():
            return NoneBeside(), rows(5)
    """,
    "test_fixtures.py": """
        import pytest
        from models import *

        @pytest.fixture
        def model():
            return Head()

        @pytest.fixture
        def torchscript_inputs():
            return {"x": rows(7)}

        @pytest.mark.torchscript
        def test_single_module_among_fixtures(model):
            assert model.linear.out_features == 4

        @pytest.mark.torchscript
        def test_observed_inputs_over_the_fixture(model):
            model(rows(3))

        @pytest.mark.torchscript(model="model")
        def test_named_model_with_the_fixture_s_inputs():
            pass
    """,
    "test_constants.py": """
        import pytest
        import torch
        from models import *

        @pytest.mark.torchscript
        def test_constants():
            Scaler()(rows(), 2.0, negate=True, bias=None, mode="double")

        @pytest.mark.torchscript
        def test_optional_tensor_by_keyword():
            Scaler()(rows(), bias=torch.ones(8))

        @pytest.mark.torchscript
        def test_keyword_order():
            Scaler()(bias=torch.ones(8), mode="double", x=rows())

        @pytest.mark.torchscript
        def test_nested():
            Pair()((rows(), rows()), more={"factor": rows()})

        @pytest.mark.torchscript
        def test_train_mode():
            model = Regularised()
            model.dropout.eval()
            model.train()
            model.norm.eval()
            model(rows(4))
            return model
    """,
    "test_body.py": """
        import unittest
        import pytest
        from models import *

        @pytest.mark.torchscript
        def test_fails():
            NoneBeside()(rows())
            assert 1 == 2, "the body's own failure"

        @pytest.mark.torchscript
        def test_skips():
            NoneBeside()(rows())
            pytest.skip("the body's own reason")

        @pytest.mark.torchscript
        def test_xfails():
            NoneBeside()(rows())
            pytest.xfail("the body's own reason")

        @pytest.mark.torchscript
        @pytest.mark.skip(reason="skipped by marker")
        def test_skipped_by_marker():
            pass

        @pytest.mark.torchscript
        @pytest.mark.xfail(reason="body fails", strict=True)
        def test_xfailed_by_marker():
            NoneBeside()(rows())
            assert False

        @pytest.mark.torchscript
        @pytest.mark.xfail(reason="not traceable yet", strict=True)
        def test_xfailed_gate():
            NoneBeside()(rows())

        @pytest.mark.torchscript
        @pytest.mark.xfail(reason="never run", run=False)
        def test_xfailed_and_not_run():
            NoneBeside()(rows())

        @pytest.mark.torchscript
        @pytest.mark.xfail(reason="passes by now", strict=False)
        def test_xpassed():
            Head()(rows())

        @pytest.fixture
        def broken():
            raise RuntimeError("no disk")

        @pytest.mark.torchscript
        def test_setup_fails(broken):
            pass

        @pytest.mark.torchscript
        def test_subtest_fails(subtests):
            NoneBeside()(rows())
            with subtests.test("one"):
                assert 1 == 2

        class UnitTest(unittest.TestCase):
            @pytest.mark.torchscript
            def test_unittest_fails(self):
                NoneBeside()(rows())
                self.assertEqual(1, 2, "the body's own failure")

            @pytest.mark.torchscript
            def test_unittest_skips(self):
                NoneBeside()(rows())
                self.skipTest("the body's own reason")

            @pytest.mark.torchscript
            @unittest.expectedFailure
            def test_unittest_expected_failure(self):
                NoneBeside()(rows())
                self.fail("as expected")

            @pytest.mark.torchscript
            def test_unittest_subtest_fails(self):
                NoneBeside()(rows())
                with self.subTest("one"):
                    self.fail("in a subtest")
    """,
}


@pytest.fixture
def run(run_suite: PytestRuns) -> Run:
    return run_suite(SUITE)


def batch(run: Run, test: str) -> int:
    """The batch size that the only cell of a test's gate was judged at."""
    size: int = run.cell(test)["batch_size"]
    return size


def verdicts(run: Run) -> dict[str, object]:
    """The outcome of each gate with the sizes and verdicts of its cells, by id."""
    return {
        gate["id"]: (
            gate["outcome"],
            [(cell["batch_size"], cell["seq_len"], cell["verdict"]) for cell in gate["cells"]],
        )
        for gate in run.report["gates"]
    }


@pytest.mark.parametrize(
    "test",
    ["test_function", "test_outermost", "test_method", "test_unittest", "test_unittest_async", "test_call_in_a_thread"],
)
def test_marker_alone_gates_what_the_body_calls(run: Run, test: str) -> None:
    """The model that the body called is gated, be the test a function, a method or a `unittest.TestCase`'s."""
    assert run.outcomes[test] == "passed", run.messages.get(test)
    assert run.gate(test)["outcome"] == "passed"
    assert run.verdict(test) == "ok"


def test_unittest_test_fails_with_its_gate(run: Run) -> None:
    """A failing gate fails a `unittest.TestCase` test, with the gate's message."""
    assert run.outcomes["test_unittest_broken"] == "failed"
    assert "Untraceable" in run.messages["test_unittest_broken"]


def test_the_first_call_gives_the_inputs(run: Run) -> None:
    """Of several calls of one model the first one supplies the example inputs."""
    assert batch(run, "test_first_call_gives_the_inputs") == 3


def test_observed_inputs_are_copies(run: Run) -> None:
    """What the body does to its inputs after the call does not reach the gate."""
    assert run.verdict("test_inputs_written_to_after_the_call") == "ValueSpecialised"


def test_losses_are_not_gated(run: Run) -> None:
    """A loss that the body calls, torch's or the user's own, is no model under test."""
    assert run.outcomes["test_losses_are_no_candidates"] == "passed"
    assert run.gate("test_losses_are_no_candidates")["id"] == "test_observed-py--test_losses_are_no_candidates"


def test_script_modules_are_not_gated(run: Run) -> None:
    """A ScriptModule that the body calls is no model under test."""
    assert batch(run, "test_script_modules_are_no_candidates") == 3


def test_several_models_are_gated_each(run: Run) -> None:
    """Several different observed models are gates of their own, whose ids end with the class's name."""
    ids = [gate["id"] for gate in run.gates("test_several_models")]
    prefix = "test_observed-py--test_several_models"
    assert ids == [f"{prefix}-Head", f"{prefix}-OtherHead"]


def test_several_sizes_of_one_class_are_gated_each(run: Run) -> None:
    """Models of one class with other parameter shapes are different models, with different ids."""
    ids = {gate["id"] for gate in run.gates("test_several_sizes_of_one_class")}
    assert len(ids) == 3
    assert all("-Head" in name for name in ids)


def test_one_broken_model_among_several_fails_the_test(run: Run) -> None:
    """Every observed model is judged, and the test fails with the block of the broken one only."""
    verdicts = {gate["id"]: gate["cells"][0]["verdict"] for gate in run.gates("test_one_of_several_is_broken")}
    assert verdicts == {"zoo-Head": "ok", "zoo-NoneBeside": "Untraceable"}
    assert run.outcomes["test_one_of_several_is_broken"] == "failed"
    assert "zoo-NoneBeside" in run.messages["test_one_of_several_is_broken"]
    assert "zoo-Head" not in run.messages["test_one_of_several_is_broken"]


def test_async_tests_are_gated(run: Run) -> None:
    """A coroutine test, run by whatever plugin does so, has its model observed and gated."""
    assert run.outcomes["test_async"] == "passed"
    assert run.verdict("test_async") == "ok"


def test_lazy_modules_can_be_observed(run: Run) -> None:
    """A model whose parameters have no shape before its first call runs as without the marker, and is gated."""
    assert run.outcomes["test_lazy_module"] == "passed", run.messages["test_lazy_module"]
    assert run.verdict("test_lazy_module") == "ok"


def test_a_call_that_raised_gives_no_inputs(run: Run) -> None:
    """A call that the body expected to fail is no example of the model's inputs: the next one is."""
    assert run.outcomes["test_call_expected_to_fail_first"] == "passed", run.messages["test_call_expected_to_fail_first"]


@pytest.mark.parametrize(
    ("test", "batch_size"),
    [
        ("test_returned_module", 3),
        ("test_returned_pair", 6),
        ("test_unittest_returns_model", 2),
        ("test_fixture_names", 3),
        ("test_fixture_name_narrows", 7),
        ("test_inputs_mapping_fixture", 4),
        ("test_inputs_tuple_fixture", 5),
        ("test_instance_and_mapping", 4),
        ("test_factories", 5),
        ("test_factory_with_observed_inputs", 9),
        ("test_class_narrows", 3),
        ("test_class_inside_another", 3),
        ("test_class_of_torch_inside_another", 2),
        ("test_inputs_over_observed", 11),
        ("test_model_over_returned", 3),
        ("test_single_module_among_fixtures", 7),
        ("test_observed_inputs_over_the_fixture", 3),
        ("test_named_model_with_the_fixture_s_inputs", 7),
    ],
)
def test_model_and_inputs_come_from_the_first_source_there_is(run: Run, test: str, batch_size: int) -> None:
    """One model is gated, and the batch size tells that its inputs came from where the contract says."""
    assert run.outcomes[test] == "passed", run.messages.get(test)
    assert batch(run, test) == batch_size


def test_returning_a_model_draws_no_warning(run: Run) -> None:
    """pytest's warning of tests that return a value is not given under the marker."""
    assert "PytestReturnNotNoneWarning" not in run.text
    assert "should return None" not in run.text
    assert "DeprecationWarning: It is deprecated to return a value" not in run.text


@pytest.mark.parametrize("test", ["test_constants", "test_optional_tensor_by_keyword", "test_keyword_order", "test_nested"])
def test_inputs_keep_names_order_and_nesting_and_constants_are_bound(run: Run, test: str) -> None:
    """Arguments without a tensor are constants of the trace; tensors keep their names, order and nesting."""
    assert run.outcomes[test] == "passed", run.messages.get(test)
    assert run.verdict(test) == "ok"


def test_a_model_in_train_mode_is_judged_in_eval_mode(run: Run) -> None:
    """Dropout and batch norm in train mode do not make a model random: the gate judges it in eval mode."""
    assert run.outcomes["test_train_mode"] == "passed", run.messages.get("test_train_mode")
    assert run.check("test_train_mode", "eager")["status"] == "passed"


@pytest.mark.parametrize(
    ("test", "outcome", "says"),
    [
        ("test_fails", "failed", "the body's own failure"),
        ("test_skips", "skipped", "the body's own reason"),
        ("test_xfails", "xfailed", "the body's own reason"),
        ("test_skipped_by_marker", "skipped", "skipped by marker"),
        ("test_xfailed_by_marker", "xfailed", "body fails"),
        ("test_xfailed_and_not_run", "xfailed", "never run"),
        ("test_setup_fails", "error", "no disk"),
        ("test_unittest_fails", "failed", "the body's own failure"),
        ("test_unittest_skips", "skipped", "the body's own reason"),
        ("test_unittest_expected_failure", "xfailed", ""),
    ],
)
def test_a_gate_runs_only_after_a_body_that_passed(run: Run, test: str, outcome: str, says: str) -> None:
    """Where the body did not pass the test keeps its own outcome and text; a gate that should have been judged is an error."""
    assert run.outcomes[test] == outcome
    assert says in run.messages[test]
    assert "Untraceable" not in run.messages[test]
    gate = run.gate(test)
    should_be_judged = outcome in ("failed", "error")
    assert (gate["outcome"], gate["cells"]) == ("error" if should_be_judged else "skipped", [])
    assert gate.get("verdict") == ("NotJudged" if should_be_judged else None)
    assert gate["reason"]


@pytest.mark.parametrize("test", ["test_subtest_fails", "test_unittest_subtest_fails"])
def test_a_failed_subtest_is_a_body_that_did_not_pass(run: Run, test: str) -> None:
    """A test that fails in a subtest keeps that failure, and its gate is not judged."""
    if int(pytest.__version__.partition(".")[0]) < 9:
        pytest.skip("pytest knows subtests since version 9")
    assert run.outcomes[test] == "failed"
    assert (run.gate(test)["outcome"], run.gate(test)["verdict"]) == ("error", "NotJudged")
    assert "Untraceable" not in run.messages[test]


def test_a_failing_gate_of_an_xfailed_test_is_xfailed(run: Run) -> None:
    """Under an xfail marker a failing gate is the expected failure, strict or not."""
    assert run.outcomes["test_xfailed_gate"] == "xfailed"
    gate = run.gate("test_xfailed_gate")
    assert gate["outcome"] == "xfailed"
    assert gate["cells"][0]["verdict"] == "Untraceable"


def test_a_passing_gate_of_an_xfailed_test_has_passed(run: Run) -> None:
    """Under an xfail marker a gate that passes has passed."""
    assert run.gate("test_xpassed")["outcome"] == "passed"


def test_the_same_subjects_are_found_over_workers(run: Run, run_suite: PytestRuns) -> None:
    """Over two workers of xdist every test, gate and cell ends as in one process."""
    other = run_suite(SUITE, "-n", "2")
    assert dict(other.outcomes) == dict(run.outcomes)
    assert verdicts(other) == verdicts(run)


UNRUNNABLE = {
    "test_async.py": """
        import pytest
        from models import *

        @pytest.mark.torchscript
        async def test_async_without_plugin():
            Head()(rows())

        @pytest.mark.torchscript
        async def test_async_generator():
            Head()(rows())
            yield

        @pytest.mark.torchscript
        def test_beside():
            Head()(rows())
    """,
    "test_generator.py": """
        import pytest
        from models import *

        @pytest.mark.torchscript
        def test_generator():
            Head()(rows())
            yield
    """,
}


def test_tests_that_pytest_cannot_run_end_as_unmarked_ones_do(run_suite: PytestRuns) -> None:
    """Coroutine tests without a plugin to run them, and generators, end as without a gate, and the run goes on."""
    run = run_suite(UNRUNNABLE, "--continue-on-collection-errors")
    plain = run_suite(UNRUNNABLE, "--continue-on-collection-errors", "--no-torchscript")
    assert run.outcomes == plain.outcomes
    assert "INTERNALERROR" not in run.text
    # pytest before 8.4 skips what it cannot run.
    as_the_test = {"failed": "error", "skipped": "skipped"}[plain.outcomes["test_async_without_plugin"]]
    assert run.gate("test_async_without_plugin")["outcome"] == as_the_test
    assert run.gate("test_beside")["outcome"] == "passed"


def test_doctests_are_not_gated(run_suite: PytestRuns) -> None:
    """A marker on a module is for its tests: the doctests that pytest finds there run as without it."""
    suite = {
        "test_documented.py": """
            import pytest
            from models import *

            pytestmark = pytest.mark.torchscript

            def double(x):
                '''
                >>> double(2)
                4
                '''
                return 2 * x

            def test_head():
                Head()(rows())
        """
    }
    run = run_suite(suite, "--doctest-modules")
    assert run.outcomes == {"test_documented.double": "passed", "test_head": "passed"}, run.messages
    assert len(run.report["gates"]) == 1


TRANSFORMERS = {
    "test_bert.py": """
        import pytest
        from models import *
        from transformers import BertConfig, BertForSequenceClassification, T5Config, T5ForConditionalGeneration

        CONFIG = BertConfig(
            vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=32,
        )

        @pytest.fixture
        def bert():
            return BertForSequenceClassification(CONFIG)

        @pytest.mark.torchscript(batch_size=2, seq_len=(8, 16))
        def test_synthesised(bert):
            assert bert.config.num_labels == 2

        @pytest.mark.torchscript(model="bert")
        def test_observed(bert):
            before = bert.config.to_dict()
            assert bert(**tokens(3)).logits.shape == (3, 2)
            yield_config.append((bert, before))

        yield_config = []

        def test_config_is_not_edited():
            (bert, before), = yield_config
            assert bert.config.to_dict() == before
            assert bert(**tokens()).logits is not None

        @pytest.mark.torchscript(seq_len=64)
        def test_too_long(bert):
            pass

        def test_fixture(bert, torchscript):
            result = torchscript.check(bert, seq_len=8)
            assert result.outcome.value == "passed"
            scripted = torchscript.trace(bert)
            names = [argument.name for argument in scripted.forward.schema.arguments]
            assert names == ["self", "input_ids", "attention_mask", "token_type_ids"]
            assert isinstance(scripted(**tokens(), token_type_ids=tokens()["attention_mask"]), tuple)

        @pytest.fixture
        def t5():
            return T5ForConditionalGeneration(
                T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
            )

        @pytest.mark.torchscript
        def test_encoder_decoder(t5):
            pass
    """
}


@pytest.fixture
def transformers_run(run_suite: PytestRuns) -> Run:
    pytest.importorskip("transformers")
    return run_suite(TRANSFORMERS, "-p", "no:cacheprovider")


def test_inputs_of_transformers_models_are_synthesised(transformers_run: Run) -> None:
    """A transformers model that no call shows gets inputs made from its config, at each size asked for."""
    assert transformers_run.outcomes["test_synthesised"] == "passed", transformers_run.messages.get("test_synthesised")
    cells = transformers_run.gate("test_synthesised")["cells"]
    assert [(cell["batch_size"], cell["seq_len"]) for cell in cells] == [(2, 8), (2, 16)]
    assert all(check["status"] == "passed" for cell in cells for check in cell["checks"] if check["name"] == "padding")


def test_encoder_decoders_are_synthesised_too(transformers_run: Run) -> None:
    """An encoder-decoder gets inputs for both halves, and is traced without its cache."""
    assert transformers_run.outcomes["test_encoder_decoder"] == "passed", transformers_run.messages.get("test_encoder_decoder")


def test_transformers_models_are_traced_as_documented(transformers_run: Run) -> None:
    """A call that returns a ModelOutput is traced with `return_dict=False`, and the config is never edited."""
    assert transformers_run.outcomes["test_observed"] == "passed", transformers_run.messages.get("test_observed")
    assert transformers_run.verdict("test_observed") == "ok"
    assert transformers_run.outcomes["test_config_is_not_edited"] == "passed"


def test_sizes_that_the_config_forbids_are_one_clear_failure(transformers_run: Run) -> None:
    """A sequence longer than the position table fails the gate with both numbers, before anything is traced."""
    assert transformers_run.outcomes["test_too_long"] == "failed"
    assert "64" in transformers_run.said("test_too_long")
    assert "32" in transformers_run.said("test_too_long")


def test_fixture_synthesises_too(transformers_run: Run) -> None:
    """`check` and `trace` make a transformers model's inputs when they are given none; what is traced returns tuples."""
    assert transformers_run.outcomes["test_fixture"] == "passed", transformers_run.messages.get("test_fixture")
