"""The remedy for the flag that is gone reaches whoever meets the error in a gate."""

from __future__ import annotations

from pathlib import Path

from ..acceptance.harness import run_pytest, write_suite

SUITE = """
    import pytest
    from transformers import BertConfig, BertModel


    def made():
        config = BertConfig(
            vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
        return BertModel(config, torchscript=True)


    @pytest.fixture
    def bert():
        return made()


    @pytest.mark.torchscript(model=made)
    def test_factory(): ...


    @pytest.mark.torchscript(model="bert")
    def test_fixture(): ...
"""
REMEDY = "the torchscript flag belongs to the config, and is gone in transformers 5: drop it"


def test_the_remedy_reaches_the_user(tmp_path: Path) -> None:
    """From a factory as from a fixture that the marker names."""
    run = run_pytest(write_suite(tmp_path / "suite", {"test_flag.py": SUITE}), "-W", "ignore")
    assert set(run.outcomes.values()) <= {"failed", "error"}
    assert REMEDY in run.said("test_factory")
    assert REMEDY in run.said("test_fixture")
