"""The `torchscript` fixture: gates and traces that a test asks for by itself."""

from __future__ import annotations

import pytest

from .harness import PytestRuns, Run

SUITE = {
    "test_check.py": """
        import pytest
        import torch
        import pytest_torchscript
        from models import *

        def test_result(torchscript):
            result = torchscript.check(Encoder(), tokens(), seq_len=(8, 16), id="the-encoder")
            assert isinstance(result, pytest_torchscript.GateResult)
            assert result.outcome == pytest_torchscript.Outcome.PASSED
            assert result.id == "the-encoder"
            assert [cell.seq_len for cell in result.cells] == [8, 16]
            assert result.cells[0].check("padding").status == pytest_torchscript.Status.PASSED

        def test_inputs(torchscript):
            assert torchscript.check(Head(), (rows(),)).cells[0].batch_size == 2
            assert torchscript.check(Head(), {"x": rows(3)}).cells[0].batch_size == 3
            assert torchscript.check(Head(), rows(4)).cells[0].batch_size == 4

        def test_raises(torchscript):
            with pytest.raises(pytest_torchscript.GateFailed, match="Untraceable") as caught:
                torchscript.check(NoneBeside(), (rows(),))
            result = caught.value.result
            assert result.outcome == pytest_torchscript.Outcome.FAILED
            assert result.cells[0].verdict == "Untraceable"
            assert isinstance(caught.value, AssertionError)

        def test_fails(torchscript):
            torchscript.check(NoneBeside(), (rows(),))

        def test_bad_argument(torchscript):
            with pytest.raises(pytest_torchscript.SpecError, match="seq_lne.*seq_len"):
                torchscript.check(Head(), (rows(),), seq_lne=3)
            with pytest.raises(pytest_torchscript.SpecError, match="batch_size"):
                torchscript.check(Head(), (rows(),), batch_size=0)

        def test_two_checks(torchscript):
            torchscript.check(Head(), (rows(),))
            torchscript.check(OtherHead(), (rows(),))
            torchscript.check(OtherHead(), (rows(),))

        @pytest.mark.torchscript(batch_size=5, id="marked")
        def test_explicit_call_comes_first(torchscript):
            NoneBeside()(rows())
            torchscript.check(Head(), (rows(),))

        @pytest.mark.torchscript
        def test_fixture_without_call(torchscript):
            NoneBeside()(rows())

        def test_body_fails_after_the_check(torchscript):
            torchscript.check(Head(), (rows(),))
            assert 1 == 2, "the body's own failure"

        def test_no_model(torchscript):
            with pytest.raises(pytest_torchscript.GateFailed, match="nn.Module"):
                torchscript.check("a text", (rows(),))

        def test_no_inputs(torchscript):
            with pytest.raises(pytest_torchscript.GateFailed, match="inputs"):
                torchscript.check(Head())

        @pytest.fixture
        def checked(torchscript):
            torchscript.check(Head(), (rows(),))

        def test_check_in_a_fixture(checked):
            pass
    """,
    "test_trace.py": """
        import pytest
        import torch
        import pytest_torchscript
        from models import *

        def test_trace(torchscript):
            model = Encoder().train()
            scripted = torchscript.trace(model, tokens())
            assert isinstance(scripted, torch.jit.ScriptModule)
            batch = tokens(3, 7)
            model.eval()
            torch.testing.assert_close(scripted(**batch), model(**batch))
            swapped = dict(reversed(batch.items()))
            torch.testing.assert_close(scripted(**swapped), model(**batch))

        @pytest.mark.filterwarnings("ignore:`torch.jit")
        def test_trace_is_the_test_s_own(torchscript, tmp_path):
            scripted = torchscript.trace(Head(), (rows(),))
            torch.jit.save(scripted, str(tmp_path / "head.pt"))
            loaded = torch.jit.load(str(tmp_path / "head.pt"))
            torch.testing.assert_close(loaded(rows(5)), scripted(rows(5)))

        def test_trace_binds_constants(torchscript):
            scripted = torchscript.trace(Scaler(), {"x": rows(), "scale": 3.0, "mode": "double"})
            torch.testing.assert_close(scripted(x=rows()), rows() * 6)

        def test_trace_restores_the_mode(torchscript):
            model = Regularised().train()
            model.dropout.eval()
            torchscript.trace(model, (rows(),))
            assert [module.training for module in model.modules()] == [True, True, True, False]

        def test_trace_refuses(torchscript):
            with pytest.raises(pytest_torchscript.GateError, match="NoneBeside is untraceable.*Only tensors"):
                torchscript.trace(NoneBeside(), (rows(),))

        def test_trace_refuses_script_modules(torchscript):
            scripted = torchscript.trace(Head(), (rows(),))
            with pytest.raises(pytest_torchscript.SubjectError, match="TorchScript already"):
                torchscript.trace(scripted, (rows(),))
    """,
}


@pytest.fixture
def run(run_suite: PytestRuns) -> Run:
    return run_suite(SUITE, "-W", "error")


@pytest.mark.parametrize(
    "test",
    [
        "test_result",
        "test_inputs",
        "test_raises",
        "test_bad_argument",
        "test_two_checks",
        "test_no_model",
        "test_no_inputs",
        "test_trace",
        "test_trace_is_the_test_s_own",
        "test_trace_binds_constants",
        "test_trace_restores_the_mode",
        "test_trace_refuses",
        "test_trace_refuses_script_modules",
    ],
)
def test_fixture_does_what_the_contract_says(run: Run, test: str) -> None:
    """`check` gives a result or raises `GateFailed` with it, `trace` a ScriptModule; the test's own assertions tell."""
    assert run.outcomes[test] == "passed", run.messages.get(test)


def test_a_failing_check_fails_its_test_with_the_block(run: Run) -> None:
    """`GateFailed` that nobody catches shows the failure block."""
    assert run.outcomes["test_fails"] == "failed"
    assert "[torchscript b2]   FAILED  Untraceable" in run.messages["test_fails"]
    assert "models.py" in run.messages["test_fails"]


def test_a_failing_check_shows_the_test_s_line_and_no_plugin_s(run: Run) -> None:
    """The traceback ends at the user's call: no source of the plugin, and no tensors among its arguments."""
    message = run.messages["test_fails"]
    assert "torchscript.check(NoneBeside(), (rows(),))" in message
    assert "pytest_torchscript/" not in message.replace("\\", "/").partition("torchscript gate:")[2]
    assert "tensor(" not in message
    assert "def check(" not in message


def test_checks_are_gates_of_the_report(run: Run) -> None:
    """Each explicit check is a gate in the report, passed, failed, or failed and caught."""
    assert run.gate("test_result")["id"] == "the-encoder"
    assert run.gate("test_raises")["outcome"] == "failed"
    assert run.verdict("test_fails") == "Untraceable"
    assert run.gate("test_body_fails_after_the_check")["outcome"] == "passed"


def test_several_checks_of_one_test_have_ids_of_their_own(run: Run) -> None:
    """Several checks in one test are as many gates, with different ids."""
    gates = run.gates("test_two_checks")
    assert len(gates) == 3
    assert len({gate["id"] for gate in gates}) == 3


def test_an_explicit_call_comes_before_what_the_marker_would_gate(run: Run) -> None:
    """A test that calls `check` has that gate only, completed by its marker's arguments."""
    gate = run.gate("test_explicit_call_comes_first")
    assert (gate["id"], gate["outcome"]) == ("marked", "passed")
    assert gate["cells"][0]["batch_size"] == 5
    assert run.outcomes["test_explicit_call_comes_first"] == "passed"


def test_the_fixture_alone_does_not_switch_the_marker_off(run: Run) -> None:
    """A marked test that takes the fixture and does not call it is gated as any other."""
    assert run.outcomes["test_fixture_without_call"] == "failed"
    assert run.verdict("test_fixture_without_call") == "Untraceable"


def test_a_body_that_fails_after_a_check_fails_by_itself(run: Run) -> None:
    """The test's own failure stays its own."""
    assert run.outcomes["test_body_fails_after_the_check"] == "failed"
    assert "the body's own failure" in run.messages["test_body_fails_after_the_check"]


def test_a_check_in_a_fixture_is_reported_too(run: Run) -> None:
    """A gate that a fixture asks for while setting up is in the report like any other."""
    assert run.outcomes["test_check_in_a_fixture"] == "passed", run.messages.get("test_check_in_a_fixture")
    assert run.gate("test_check_in_a_fixture")["outcome"] == "passed"


def test_switched_off_fixture_skips(run_suite: PytestRuns) -> None:
    """Under `--no-torchscript` a test that asks for a gate is skipped, for that reason."""
    run = run_suite(SUITE, "--no-torchscript", "-k", "test_result")
    assert run.outcomes == {"test_result": "skipped"}
    assert "--no-torchscript" in run.messages["test_result"]
