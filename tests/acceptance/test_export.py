"""``target="export"`` as a user runs it: what could leave TorchScript today."""

from __future__ import annotations

import pytest

from .harness import PytestRuns, Run

SUITE = {
    "test_export.py": """
        import pytest
        from models import *

        class Branches(nn.Module):
            def forward(self, x):
                if x.sum() > 0:
                    return x * 2
                return x

        class CountsLength(nn.Module):
            def forward(self, x):
                return x.sum(1) / float(int(x.shape[1]))

        @pytest.mark.torchscript(target="export", shapes="dynamic")
        def test_encoder():
            Encoder()(**tokens())

        @pytest.mark.torchscript(target=("torchscript", "export"))
        def test_both():
            Head()(rows())

        @pytest.mark.torchscript(target="export")
        def test_untraceable():
            NoneBeside()(rows())

        @pytest.mark.torchscript(target="export", skip={"values": "known to branch"})
        def test_branch():
            Branches()(rows())

        @pytest.mark.torchscript(target="export", shapes={"seq": "dynamic"}, skip={"shapes": "known of the trace"})
        def test_counts():
            CountsLength()(features())

        @pytest.mark.torchscript(target="export", weights="meta")
        def test_structure():
            Encoder()(**tokens())
    """,
}


@pytest.fixture(scope="module")
def run(run_suite: PytestRuns, mode: tuple[str, ...]) -> Run:
    # Nothing that torch.export warns of may reach a suite that takes warnings for errors.
    return run_suite(SUITE, "-W", "error", *mode)


def test_a_model_that_exports_passes(run: Run) -> None:
    """With the class of each dim for the table."""
    assert run.outcomes["test_encoder"] == "passed", run.text
    metrics = run.check("test_encoder", "target")["metrics"]
    assert metrics["export_dims"] == {"batch": "dynamic", "seq": "dynamic"}
    assert (metrics["exportable"], metrics["proof"]) == (True, "ran")
    # More than the observed values were compared.
    assert metrics["compared"] > 1


def test_it_stands_beside_other_targets(run: Run) -> None:
    """A cell each."""
    (gate,) = run.gates("test_both")
    assert [(cell["target"], cell["verdict"]) for cell in gate["cells"]] == [("torchscript", "ok"), ("export", "ok")]


def test_an_untraceable_model_may_export(run: Run) -> None:
    """The gate fails for the trace; the target says that torch.export would do."""
    assert run.outcomes["test_untraceable"] == "failed"
    assert run.check("test_untraceable", "trace")["verdict"] == "Untraceable"
    assert run.check("test_untraceable", "target")["status"] == "passed"


def test_a_refusal_has_cause_line_and_remedy(run: Run) -> None:
    """In the message that pytest shows, without torch's stacks."""
    assert run.verdict("test_branch") == "TargetUnsupported"
    message = run.messages["test_branch"]
    assert "torch.export refuses the model: a Python branch depends on the tensor's values" in message
    assert "if x.sum() > 0:" in message
    assert "torch.where" in message
    assert "GuardOnDataDependent" not in run.text
    assert "TORCH_LOGS" not in run.text


def test_a_size_that_became_a_constant_is_named(run: Run) -> None:
    """It was declared dynamic."""
    assert run.verdict("test_counts") == "TargetFailure"
    (finding,) = run.check("test_counts", "target")["findings"]
    assert finding["message"].startswith("seq is fixed in the exported program, declared dynamic: exported at 16, it refuses")
    assert (finding["file"], finding["source"]) == ("test_export.py", "return x.sum(1) / float(int(x.shape[1]))")


def test_structure_is_exported_without_weights(run: Run) -> None:
    """Built, and not run."""
    assert run.outcomes["test_structure"] == "passed", run.text
    assert run.check("test_structure", "target")["metrics"]["proof"] == "built"


def test_nothing_is_written_to_stderr(run: Run) -> None:
    """Neither torch's log nor its graphs."""
    assert run.errors == ""
    assert "def forward(self, arg0_1" not in run.text
