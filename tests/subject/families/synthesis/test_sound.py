"""Sound: raw samples and spectrograms."""

from __future__ import annotations

import pytest
import torch

from pytest_torchscript.errors import SubjectError
from pytest_torchscript.subject.families.synthesis import synthesise

from .architectures import build, run


def test_sound_is_silent_where_it_is_padded() -> None:
    """Padded samples are zeros, as a feature extractor writes them, and only they."""
    inputs = synthesise(build("Wav2Vec2ForCTC"), batch_size=3)
    assert torch.equal(inputs["input_values"] == 0, inputs["attention_mask"] == 0)


def test_raw_sound_gives_sixteen_frames_by_default() -> None:
    """The default number of samples is the least that the convolutions turn into 16 frames."""
    model = build("HubertModel")
    samples = synthesise(model)["input_values"].shape[1]
    assert run(model, synthesise(model))[0].shape[1] == 16
    assert run(model, synthesise(model, seq_len=samples - 1))[0].shape[1] == 15


def test_seq_len_counts_samples_of_raw_sound() -> None:
    """For raw sound the sequence axis is time, in samples."""
    inputs = synthesise(build("Wav2Vec2ForCTC"), seq_len=333)
    assert {tensor.shape[1] for tensor in inputs.values()} == {333}


def test_sound_normalised_over_groups_has_no_mask() -> None:
    """Models like wav2vec2-base were trained without a mask and must not be given one."""
    assert list(synthesise(build("Wav2Vec2ForSequenceClassification"))) == ["input_values"]


def test_sound_too_short_for_the_convolutions_is_refused() -> None:
    """Fewer samples than one frame needs cannot be asked for; that many can."""
    model = build("HubertModel")
    assert run(model, synthesise(model, seq_len=20))[0].shape[1] == 1
    with pytest.raises(SubjectError, match=r"seq_len 19 is too short for HubertModel.* 20 at least"):
        synthesise(model, seq_len=19)


def test_whisper_gets_the_one_length_it_takes() -> None:
    """Whisper's spectrogram has a fixed length, whatever the decoder's is."""
    inputs = synthesise(build("WhisperForConditionalGeneration"), batch_size=2, seq_len=5)
    assert inputs["input_features"].shape == (2, 8, 60)
    assert inputs["decoder_input_ids"].shape == (2, 5)
