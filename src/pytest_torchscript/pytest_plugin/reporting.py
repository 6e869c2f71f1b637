"""Writes the reports of a run to their files, and shows in the terminal what the gates found."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from ..errors import GateError
from ..files import write_text
from ..reports import discover, terminal
from ..reports import json as json_report
from ..reports.document import Document
from ..result import GateResult
from .settings import Settings

__all__ = ["annotate", "environment", "show_discovered", "show_end", "show_gates", "write_reports"]


def environment() -> dict[str, Any]:
    """Versions that a reader of a report wants to know; nothing is imported for them."""
    return {
        "python": platform.python_version(),
        "torch": _version("torch"),
        "transformers": _version("transformers"),
        "pytest_torchscript": _version("pytest-torchscript"),
        "platform": sys.platform,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def write_reports(
    config: pytest.Config,
    settings: Settings,
    gates: Sequence[GateResult],
    *,
    stale: Sequence[str],
    discovered: Sequence[dict[str, Any]] = (),
) -> tuple[list[Path], list[str]]:
    """Write every file that was asked for; the files that were written, and a sentence for each that could not be."""
    document = Document.of(gates, environment(), stale)

    def write_baseline(path: Path) -> None:
        from .. import baseline
        from ..baseline import Baseline

        former = settings.baseline or Baseline(path=path, entries={})
        baseline.write(path, baseline.update(former, gates))

    def write_junit(path: Path) -> None:
        from ..reports import junit

        junit.write(path, document, _junit_family(config, junit.DEFAULT_FAMILY))

    def write_summary(path: Path) -> None:
        from ..reports import markdown

        markdown.write(path, document, root=config.rootpath)

    def write_conftest(path: Path) -> None:
        write_text(path, discover.conftest(discover.entries(discovered), bare=not settings.ignore_bare))

    conftest = Path(settings.discover_write) if discovered and settings.discover_write not in (None, "-") else None
    asked: list[tuple[str, Path | None, Callable[[Path], None]]] = [
        ("--torchscript-update-baseline", settings.baseline_path if settings.update and gates else None, write_baseline),
        ("--torchscript-json", settings.json, lambda path: json_report.write(path, document)),
        ("--torchscript-junit", settings.junit, write_junit),
        ("--torchscript-summary", settings.summary if gates or stale else None, write_summary),
        ("--torchscript-discover-write", conftest, write_conftest),
    ]
    written: list[Path] = []
    problems: list[str] = []
    for option, path, write in asked:
        if path is not None:
            problem = _why_not_written(path, write)
            if problem is None:
                written.append(path)
            else:
                problems.append(f"{option}: {problem}")
    return written, problems


def _why_not_written(path: Path, write: Callable[[Path], None]) -> str | None:
    """Write a file; None, or why it could not be written."""
    try:
        write(path)
    except OSError as error:
        return f"cannot write {str(path)!r}: {error.strerror or error}"
    except GateError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - one report that cannot be rendered must not take the others along
        return f"{path.name} could not be made: {type(error).__name__}: {error}"
    return None


def _junit_family(config: pytest.Config, default: str) -> str:
    """pytest's own setting, which says what its reports may hold; pytest may run without its JUnit plugin."""
    has_setting = config.pluginmanager.hasplugin("junitxml")
    return str(config.getini("junit_family")) if has_setting else default


def show_gates(reporter: pytest.TerminalReporter, gates: Sequence[GateResult], *, stale: Sequence[str], baseline: str) -> None:
    """What the gates found, and what is recorded in the file ``baseline`` and no longer gated, within the terminal's width."""
    document = Document.of(gates, stale=stale)
    width = shutil.get_terminal_size().columns
    for title, lines in terminal.sections(document, width, baseline=baseline):
        reporter.write_sep("=", title)
        for line, good in lines:
            reporter.write_line(line, **_colour(good))


def show_discovered(reporter: pytest.TerminalReporter, discovered: Sequence[dict[str, Any]], settings: Settings) -> None:
    """The unmarked tests that could carry the marker; a conftest that marks them is printed or written if asked for."""
    found = discover.entries(discovered)
    reporter.write_sep("=", "torchscript discover")
    for line, good in discover.listing(found, shutil.get_terminal_size().columns):
        reporter.write_line(line, **_colour(good))
    path = settings.discover_write
    if path is None or not found:
        return
    if path == "-":
        reporter.write_sep("-", "conftest.py")
        reporter.write_line(discover.conftest(found, bare=not settings.ignore_bare))
        reporter.write_sep("-", "end of conftest.py")
    if any(not entry.passes for entry in found):
        reporter.write_line("under that conftest, record what fails today: pytest --torchscript-update-baseline")


def show_end(reporter: pytest.TerminalReporter, *, problems: Sequence[str], written: Sequence[Path]) -> None:
    """What went wrong, and the files that were written."""
    for problem in problems:
        reporter.write_line(f"ERROR: {problem}", red=True)
    for path in written:
        reporter.write_line(f"torchscript gates written to {path}")


def annotate(
    reporter: pytest.TerminalReporter, gates: Sequence[GateResult], *, stale: Sequence[str], config: pytest.Config
) -> None:
    """On GitHub Actions, print the commands that annotate the lines of a pull request."""
    if os.environ.get("GITHUB_ACTIONS") != "true" or not (gates or stale):
        return
    from ..reports import github

    repository = Path(os.environ.get("GITHUB_WORKSPACE") or config.rootpath)
    locate = github.locator(config.rootpath, repository)
    annotated = any(
        distribution.metadata["Name"] == "pytest-github-actions-annotate-failures"
        for _, distribution in config.pluginmanager.list_plugin_distinfo()
    )
    for line in github.annotations(Document.of(gates, stale=stale), locate=locate, tests_annotated=annotated):
        reporter.write_line(line)


def _colour(good: bool | None) -> dict[str, bool]:
    return {} if good is None else {"green": True} if good else {"red": True}
