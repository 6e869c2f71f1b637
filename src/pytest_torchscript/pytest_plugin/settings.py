"""The options and the configuration of one run, read and checked before any test is collected."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import SpecError
from ..naming import DEFAULT_BASELINE
from ..result import GateResult
from ..spec import parse_arguments
from ..targets.base import DEFAULT_TIMEOUT, Targets
from .configuration import Configuration, targets_of

if TYPE_CHECKING:
    from ..baseline import Baseline

__all__ = ["SETTINGS", "Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options and configuration of one run.

    ``override`` are marker arguments that an option gives, ``defaults`` those of the configuration, as far as it is known
    before the tests are collected.
    """

    defaults: Mapping[str, Any]
    override: Mapping[str, Any]
    ignore_bare: bool
    json: Path | None
    junit: Path | None
    summary: Path | None
    baseline_path: Path
    baseline: Baseline | None
    update: bool
    discover: bool
    discover_write: str | None = None
    require_sdk: bool = False
    target_timeout: float = DEFAULT_TIMEOUT

    @classmethod
    def from_config(cls, config: pytest.Config) -> Settings:
        """Read and check everything.

        Raises:
            SpecError: an impossible value; it names the option.
        """
        configuration = Configuration.of(config.pluginmanager)
        configuration.declare_if_needed(config)
        # The first problem in this order is the one that is reported.
        defaults, override = configuration.defaults(config), _override(config)
        ignore_bare, update = _ignore_bare(config), _update(config)
        path, recorded = _baseline(config, update=update)
        discover_write = _conftest(config)
        return cls(
            defaults=defaults,
            override=override,
            ignore_bare=ignore_bare,
            json=_report(config, "--torchscript-json"),
            junit=_report(config, "--torchscript-junit"),
            summary=_summary(config),
            baseline_path=path,
            baseline=recorded,
            update=update,
            discover=bool(config.getoption("--torchscript-discover")) or discover_write is not None,
            discover_write=discover_write,
            require_sdk=bool(config.getoption("--torchscript-require-sdk")),
            target_timeout=_timeout(config),
        )

    def targets(self, config: pytest.Config) -> Targets:
        """The targets that all plugins and conftests loaded so far declare.

        Raises:
            SpecError: one cannot be used; it names the plugin.
        """
        return replace(targets_of(config), require_sdk=self.require_sdk, timeout=self.target_timeout)

    def judged(self, gate: GateResult) -> GateResult:
        """The gate against the baseline; while the baseline is updated, against what it will be."""
        recorded = self.baseline
        if recorded is None and not self.update:
            return gate
        from .. import baseline
        from ..baseline import Baseline

        if self.update:
            recorded = baseline.update(recorded or Baseline(path=self.baseline_path, entries={}), [gate])
        return baseline.judge(gate, recorded).apply(gate)


SETTINGS = pytest.StashKey[Settings]()
"""On the config: the settings of the run; absent where gates are switched off."""


def _override(config: pytest.Config) -> dict[str, Any]:
    effort, targets = config.getoption("--torchscript-effort"), config.getoption("--torchscript-target")
    given = {"effort": effort} if effort else {}
    if not targets:
        return given
    try:
        return given | parse_arguments((), {"target": list(dict.fromkeys(targets))}, targets_of(config).arguments)
    except SpecError as error:
        raise SpecError(f"--torchscript-target: {error}") from None


def _ignore_bare(config: pytest.Config) -> bool:
    bare = config.getini("torchscript_bare_marker")
    if bare not in ("gate", "ignore"):
        raise SpecError(f"configuration torchscript_bare_marker: must be 'gate' or 'ignore', not {bare!r}")
    return bool(bare == "ignore")


def _update(config: pytest.Config) -> bool:
    update = bool(config.getoption("--torchscript-update-baseline"))
    if update and os.environ.get("CI"):
        raise SpecError("--torchscript-update-baseline: refused in CI (CI is set): record locally, and commit the file")
    return update


def _timeout(config: pytest.Config) -> float:
    text = str(config.getini("torchscript_target_timeout") or "").strip()
    if not text:
        return DEFAULT_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise SpecError(f"configuration torchscript_target_timeout: must be a positive number of seconds, not {text!r}")
    # No thread can wait longer than this.
    return min(seconds, threading.TIMEOUT_MAX)


def _summary(config: pytest.Config) -> Path | None:
    asked, given = _report(config, "--torchscript-summary"), os.environ.get("GITHUB_STEP_SUMMARY")
    return Path(given) if asked is None and given else asked


def _conftest(config: pytest.Config) -> str | None:
    """Where the conftest of ``--torchscript-discover-write`` goes, ``-`` for the terminal; no file of the user is replaced."""
    option = "--torchscript-discover-write"
    written = _report(config, option) if config.getoption(option) != "-" else "-"
    # Only the process that writes it looks: in a worker that starts late it may be there already.
    if isinstance(written, Path) and written.exists() and not hasattr(config, "workerinput"):
        raise SpecError(f"{option}: {str(written)!r} exists already; name another file, or remove it first")
    return None if written is None else str(written)


def _report(config: pytest.Config, option: str) -> Path | None:
    """Where a report goes; checked before the run, which may be long."""
    written = config.getoption(option)
    if written is None:
        return None
    path = Path(config.invocation_params.dir, written)
    if not written or path.is_dir():
        raise SpecError(f"{option}: {written!r} is a directory; give the file to write")
    if not path.parent.is_dir():
        raise SpecError(f"{option}: the directory {str(path.parent)!r} does not exist; make it first")
    return path


def _baseline(config: pytest.Config, *, update: bool) -> tuple[Path, Baseline | None]:
    """The baseline's path, by option, configuration or default, and what it records."""
    option = config.getoption("--torchscript-baseline")
    configured = str(config.getini("torchscript_baseline") or "")
    if option is not None:
        path = Path(config.invocation_params.dir, option)
    else:
        path = config.rootpath / (configured or DEFAULT_BASELINE)
    if not os.path.lexists(path) and (option is None or update):
        # Most runs have no baseline, and need not load what reads one.
        return path, None
    from .. import baseline
    from ..baseline import Baseline

    try:
        recorded = Baseline.load(path)
    except (baseline.BaselineError, OSError) as error:
        raise SpecError(str(error)) from None
    if recorded is None and option is not None and not update:
        raise SpecError(f"--torchscript-baseline: {str(path)!r} does not exist; record it with --torchscript-update-baseline")
    return path, recorded
