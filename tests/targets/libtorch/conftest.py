"""Cache directories for the tests of `libtorch`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .cases import built
from .compilers import shared_cache


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shared_cache(tmp_path_factory)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def program(cache: Path, tmp_path: Path) -> Path:
    """The program, really compiled."""
    return built(tmp_path / "real").program


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Path) -> Path:
    """An empty cache directory of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pytest-torchscript"
