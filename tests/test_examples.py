"""The examples that `make demo` does not run: as a user runs them, and broken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .acceptance.harness import Run, run_pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run_copy(folder: Path, name: str, change: Callable[[str], str] | None = None) -> Run:
    """An example's tests, run in a copy of it, for reports are written beside them; ``change`` is made to every file."""
    copy = folder / name
    shutil.copytree(EXAMPLES / name, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    for file in copy.glob("*.py") if change else ():
        file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    return run_pytest(copy, "--strict-markers", "-p", "no:cacheprovider")


@pytest.fixture(scope="module")
def neuron(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_copy(tmp_path_factory.mktemp("examples"), "neuron")


def test_what_fits_neuron_passes(neuron: Run) -> None:
    """The encoders and both wrappers of MarianMT; and the loop over the wrappers writes what generate() does."""
    assert set(neuron.outcomes.values()) == {"passed"}, neuron.text
    assert {"test_bert", "test_distilbert", "test_roberta", "test_encoder", "test_decoder"} < set(neuron.outcomes)
    assert "test_both_write_what_the_model_does" in neuron.outcomes


def test_what_fits_neuron_is_proved_at_the_lengths_it_is_compiled_for(neuron: Run) -> None:
    """Every gate is lint at most where the SDK is not, and padding to the compiled length is proved."""
    lengths: dict[str, list[int]] = {}
    for gate in neuron.report["gates"]:
        for cell in gate["cells"]:
            checks = {check["name"]: check for check in cell["checks"]}
            assert (cell["target"], cell["verdict"]) == ("neuron", "ok")
            assert checks["padding"]["status"] == checks["target"]["status"] == "passed"
            assert checks["target"]["metrics"]["proof"] in ("lint", "built", "ran")
            lengths.setdefault(gate["nodeid"].rpartition("::")[2], []).append(cell["seq_len"])
    assert lengths == {
        "test_bert": [128],
        "test_distilbert": [128],
        "test_roberta": [64, 128],
        "test_encoder": [32],
        "test_decoder": [32, 32],
    }


def forgetful(text: str) -> str:
    """The decoder without the mask that keeps the text's padding out."""
    return text.replace("encoder_attention_mask=attention_mask", "encoder_attention_mask=None")


def test_a_wrapper_that_forgets_the_mask_fails(tmp_path: Path) -> None:
    """The gate finds that padding reaches the answer, and the loop that it writes something else."""
    run = run_copy(tmp_path, "neuron", forgetful)
    failed = {name for name, outcome in run.outcomes.items() if outcome == "failed"}
    assert failed == {"test_decoder", "test_both_write_what_the_model_does"}, run.text
    (gate,) = (gate for gate in run.report["gates"] if gate["id"] == "marian-decoder-text")
    assert gate["cells"][0]["verdict"] == "PaddingUnsafe"


def test_every_example_is_explained() -> None:
    """With a heading of its own in the README."""
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    folders = [path.name for path in EXAMPLES.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))]
    assert len(folders) > 3
    assert [name for name in folders if f"## `{name}/`" not in text] == []
