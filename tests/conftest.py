"""What every test shares: pytester, one thread, and the marker of tests that start processes."""

from __future__ import annotations

import pytest
import torch

pytest_plugins = ["pytester"]

# The models are tiny: more threads only fight over the cores, with each other and with xdist's workers.
torch.set_num_threads(1)

_STARTERS = ("subprocess", "run_pytest", "run_copy")
"""Names by which a module has what starts processes; a fixture `run_suite` says the same of a test."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the marker `processes` to every test that may start a process, for `make test-fast` to leave out."""
    for item in items:
        module = getattr(item, "module", None)
        if "run_suite" in getattr(item, "fixturenames", ()) or any(hasattr(module, name) for name in _STARTERS):
            item.add_marker(pytest.mark.processes)
