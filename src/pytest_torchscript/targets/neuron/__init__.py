"""AWS Neuron: its own tools where they are installed (``sdk``), else the published rules (``rules``)."""

from .sdk import build, build_inf1, missing, missing_inf1, on_device, probe, run

__all__ = ["build", "build_inf1", "missing", "missing_inf1", "on_device", "probe", "run"]
