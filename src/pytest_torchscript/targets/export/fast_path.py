"""The fast path of torch's own encoder, which eager takes and an exported program does without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..deployment import Deployment

__all__ = ["FAST_PATH_HINT", "differs_by_fast_path"]

FAST_PATH_HINT = (
    "let nothing depend on padded positions, and compare without the fast path: torch.backends.mha.set_fastpath_enabled(False) "
    "in the test or its conftest.py"
)


def differs_by_fast_path(deployment: Deployment, inputs: Mapping[str, Any], actual: Any) -> bool:
    """Whether outputs are not eager's, and would be without the fast path of torch's own encoder."""
    fast = torch.backends.mha.get_fastpath_enabled()
    if not fast or not any(isinstance(part, torch.nn.TransformerEncoderLayer) for part in deployment.model.modules()):
        return False
    try:
        if not deployment.compare(actual, deployment.eager(inputs)):
            return False
        torch.backends.mha.set_fastpath_enabled(False)
        return not deployment.compare(actual, deployment.eager(inputs))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
