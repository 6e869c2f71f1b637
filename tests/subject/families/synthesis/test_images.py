"""Images of the size that the config says."""

from __future__ import annotations

from pytest_torchscript.subject.families.synthesis import synthesise

from .architectures import VIT, build, run


def test_images_of_an_oblong_size() -> None:
    """A config may give height and width apart."""
    model = build("ViTForImageClassification")
    model = type(model)(type(model.config)(**VIT | {"image_size": [16, 32], "num_channels": 1})).eval()
    inputs = synthesise(model)
    assert inputs["pixel_values"].shape == (1, 1, 16, 32)
    run(model, inputs)
