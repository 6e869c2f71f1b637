"""The published rules of Neuron, on machines without its SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import gate
from pytest_torchscript.result import Status, Verdict
from pytest_torchscript.targets.neuron.rules import RULES

from ...corpus.case import Case
from .cases import (
    SEVERITY,
    X,
    broken,
    by_rule,
    judged,
    lint,
    linted,
    outcomes,
    places,
    reasons,
    text,
    unjudged,
)
from .corpus import BREAKING, KEEPING, Breaking


@pytest.mark.parametrize("breaking", BREAKING, ids=str)
def test_a_model_that_breaks_a_rule_is_named_with_its_line(breaking: Breaking) -> None:
    """The rule is named, at every guilty line and no other; a warning leaves the check passed, and no other rule fails."""
    result = linted(breaking.case)
    found = by_rule(result)
    assert breaking.rule in found, text(result)
    named = {(finding.file, finding.line) for finding in found[breaking.rule]}
    assert named == (places(breaking.case) or {(None, None)}), text(result)
    assert all(finding.hint for finding in broken(result)), text(result)
    failing = {rule for rule in found if SEVERITY[rule] == "fail"}
    if SEVERITY[breaking.rule] == "warn":
        assert (result.status, failing) == (Status.PASSED, set()), text(result)
        assert set(found) == {breaking.rule}, text(result)
    else:
        assert result.verdict is Verdict.TARGET_UNSUPPORTED
        assert failing == {breaking.rule, *breaking.also}, text(result)
        # A spectrum is complex, and says so.
        assert set(found) - failing <= ({"complex"} if breaking.rule == "fft" else set()), text(result)


@pytest.mark.parametrize("case", KEEPING, ids=str)
def test_a_model_that_keeps_the_rules_passes_without_a_warning(case: Case) -> None:
    """No false alarm, and every rule was judged but that of a mask where there is none."""
    result = linted(case)
    assert result.status is Status.PASSED, text(result)
    assert broken(result) == (), text(result)
    unmasked = {} if "attention_mask" in case.inputs() else {"padding": "not judged"}
    assert result.metrics["rules"] == {**dict.fromkeys(SEVERITY, "ok"), **unmasked}, text(result)


def test_the_rules_are_those_that_are_published() -> None:
    """Names and severities are read by dashboards; each rule says where it comes from, and what it looks for."""
    names = {severity: {rule.name for rule in RULES if rule.severity == severity} for severity in ("fail", "warn")}
    assert names["fail"] == {
        *("trace", "data-dependent-shape", "value-branch", "shape-varies", "padding", "max-length", "inputs", "outputs"),
        *("integer-topk", "integer-scatter-reduce", "fft", "triangular-solve", "dynamic-batch"),
    }
    assert names["warn"] == {"float64", "complex", "int64-range", "int64-matmul", "sort", "unused-input", "in-place-input"}
    assert len(SEVERITY) == len(RULES)
    assert all("AWS Neuron" in rule.source or "aws-neuron-sdk" in rule.source for rule in RULES)
    assert all(rule.check.__doc__ for rule in RULES)


def test_every_rule_is_broken_by_a_model_of_the_corpus_or_below() -> None:
    """A rule that nothing breaks is not tested."""
    assert set(SEVERITY) - {breaking.rule for breaking in BREAKING} == {"max-length"}


# What a finding says


# Where less is known


@pytest.mark.parametrize("how", [{"weights": "meta"}, {"skip": {"trace": "no"}}, {"skip": {"eager": "no"}}], ids=str)
def test_the_program_is_judged_without_weights_and_without_other_checks(how: dict[str, object]) -> None:
    """dtypes and lines are in the graph."""

    class TwoRules(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.rfft(x).real + x.long().topk(4).values[..., :4]

    found = by_rule(lint(TwoRules(), X[..., :6], **how))
    assert set(found) == {"fft", "integer-topk", "complex"}
    assert all(finding.line is not None for findings in found.values() for finding in findings)


@pytest.mark.parametrize("rule", ["padding", "value-branch", "shape-varies", "dynamic-batch"])
def test_rules_about_values_are_not_judged_without_weights(rule: str) -> None:
    """There are no values to judge, which is no "ok"."""
    cases = [breaking.case for breaking in BREAKING if breaking.rule == rule and breaking.case.name in WITHOUT_VALUES]
    assert cases
    for case in cases:
        model = case.build()
        cell = judged(gate.Subject(model=model, call=gate.call_of(model, case.inputs())), **case.arguments, weights="meta")
        assert cell.check("target").metrics["rules"][rule] == "not judged", text(cell.check("target"))
        # A branch on values cannot be traced on the meta device, which the check values says first.
        reason = "trace failed" if rule == "value-branch" else "meta weights"
        assert reasons(cell.check("target"))[rule] == reason


WITHOUT_VALUES = {
    *("mean_over_padding", "last_position", "sign_branch", "scaled_by_its_largest"),
    *("cut_to_longest", "cut_to_the_mask", "centred_over_the_batch", "one_number"),
}


def test_a_model_that_cannot_be_traced_at_all_is_judged_by_what_remains() -> None:
    """No rule stumbles; the trace and what eager shows are named."""

    class Converted(nn.Module):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            raise_in_a_trace = batch["x"].sum()
            if torch.jit.is_tracing():
                raise TypeError("no trace")
            return batch["x"] * raise_in_a_trace

    model = Converted()
    result = judged(gate.Subject(model=model, call=gate.call_of(model, {"batch": {"x": X}}))).check("target")
    assert set(by_rule(result)) == {"trace", "inputs"}
    assert unjudged(result) == {*ABOUT_THE_PROGRAM, "unused-input", "value-branch", "padding"}, text(result)
    assert reasons(result)["fft"] == "nothing can be traced"


ABOUT_THE_PROGRAM = {
    *("data-dependent-shape", "integer-topk", "integer-scatter-reduce", "fft", "triangular-solve"),
    *("float64", "complex", "int64-range", "int64-matmul", "sort", "in-place-input"),
}


def test_the_lint_leaves_the_model_and_the_random_state_alone() -> None:
    """Rules run the model many times; nothing of that stays."""

    class Counting(nn.Module):
        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.dropout(x)

    model = Counting().train()
    random = torch.get_rng_state()
    given = X.clone()
    assert lint(model, given, dynamic_batch=True).metrics["rules"]["dynamic-batch"] == "ok"
    assert (model.calls.item(), model.training, model.dropout.training) == (0, True, True)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(given, X)


# transformers

TEXT = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
IMAGE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
IMAGE |= {"image_size": 32, "patch_size": 8}
SOUND = {**TEXT, "conv_dim": (8, 8), "conv_kernel": (4, 2), "conv_stride": (2, 2), "num_feat_extract_layers": 2}
SOUND |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
DISTILBERT = {"vocab_size": 64, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64}
SPECTROGRAM = {"patch_size": 8, "max_length": 32, "num_mel_bins": 16, "frequency_stride": 8, "time_stride": 8}
WHISPER = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "num_mel_bins": 8}
WHISPER |= {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "max_source_positions": 16}
WHISPER |= {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}

FIT: dict[str, dict[str, Any]] = {
    # Text
    "Bert": TEXT,
    "DistilBert": DISTILBERT,
    "Roberta": TEXT,
    "Albert": {**TEXT, "embedding_size": 8},
    "Electra": {**TEXT, "embedding_size": 8},
    "MPNet": TEXT,
    "DebertaV2": {**TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "XLMRoberta": TEXT,
    "Camembert": TEXT,
    # Images
    "ViT": IMAGE,
    "DeiT": IMAGE,
    "Beit": IMAGE,
    "Dinov2": IMAGE,
    "ConvNext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 32},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "Swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "image_size": 32, "patch_size": 4},
    # Sound
    "Wav2Vec2": SOUND,
    "Hubert": SOUND,
    "WavLM": SOUND,
    "AST": {**{name: size for name, size in IMAGE.items() if name != "image_size"}, **SPECTROGRAM},
}


def made(name: str, config: Mapping[str, Any], model: str = "Model") -> nn.Module:
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built: nn.Module = getattr(transformers, f"{name}{model}")(getattr(transformers, f"{name}Config")(**config))
    return built


@pytest.mark.parametrize("name", FIT)
def test_an_encoder_of_transformers_passes_without_a_warning(name: str) -> None:
    """Text at two lengths, images and sound: the whole cell is ok."""
    sizes = {"seq_len": 16} if "max_position_embeddings" in FIT[name] and FIT[name] is not SOUND else {}
    cell = judged(gate.Subject(model=made(name, FIT[name])), batch_size=2, **sizes)
    result = cell.check("target")
    assert (cell.verdict, broken(result)) == ("ok", ()), text(result)
    assert unjudged(result) <= {"padding"}, text(result)
    assert (result.status, result.metrics["proof"]) == (Status.PASSED, "lint")


def test_the_encoder_of_whisper_passes() -> None:
    """Taken out of the whole, as it is deployed."""
    encoder = made("Whisper", WHISPER).get_encoder()
    cell = judged(gate.Subject(model=encoder), batch_size=2)
    assert (cell.verdict, broken(cell.check("target"))) == ("ok", ())


def test_an_encoder_passes_with_a_dynamic_batch_and_without_weights() -> None:
    """Rows are independent of each other; the structure alone breaks no rule either."""
    subject = gate.Subject(model=made("Bert", TEXT))
    assert judged(subject, seq_len=16, batch_size=2, dynamic_batch=True).verdict == "ok"
    assert judged(subject, seq_len=16, batch_size=2, weights="meta").verdict == "ok"


def test_fourier_mixing_and_writes_by_a_mask_are_named_in_transformers() -> None:
    """FNet is made of transforms; Wav2Vec2 with a mask clears padded frames through a boolean index."""
    small = {name: TEXT[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size")}
    fnet = judged(gate.Subject(model=made("FNet", small)), seq_len=16).check("target")
    assert {(finding.file, finding.details["rule"]) for finding in broken(fnet)} == {
        ("transformers/models/fnet/modeling_fnet.py", "fft"),
        ("transformers/models/fnet/modeling_fnet.py", "complex"),
    }
    sound = judged(gate.Subject(model=made("Wav2Vec2", {**SOUND, "feat_extract_norm": "layer"}))).check("target")
    (finding,) = broken(sound)
    assert finding.details["rule"] == "data-dependent-shape"
    assert finding.source == "hidden_states[~expand_attention_mask] = 0"


@pytest.mark.parametrize(("length", "passes"), [(8, True), (9, False)])
def test_no_length_beyond_the_config_is_traced(length: int, passes: bool) -> None:
    """Rotary positions run on beyond what the model was trained for; eager does not mind."""
    config = {**TEXT, "max_position_embeddings": 8, "num_key_value_heads": 2}
    model = made("Llama", config)
    ids = torch.arange(length)[None] + 3
    result = judged(gate.Subject(model=model, call=gate.call_of(model, {"input_ids": ids}))).check("target")
    assert (result.status is Status.PASSED) == passes, text(result)
    if not passes:
        (finding,) = broken(result)
        assert finding.message == "lint max-length: seq is traced at 9, beyond the 8 positions of the model's config"
        assert {name: finding.details[name] for name in ("dim", "size", "limit")} == {"dim": "seq", "size": 9, "limit": 8}


def test_a_length_is_not_judged_where_no_axis_is_known_to_be_one() -> None:
    """The config has a limit, and nothing to hold against it."""
    model = made("Llama", {**TEXT, "max_position_embeddings": 8, "num_key_value_heads": 2})
    found = outcomes(model, torch.arange(9)[None] + 3, dims={"input_ids": {0: "batch"}})
    assert found["max-length"].startswith("no axis of the inputs is known to be a sequence")
