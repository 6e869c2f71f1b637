"""``python -m pytest_torchscript``: ``merge`` makes one report of several, ``diff`` compares two for a pull request."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from .baseline import Baseline, stale
from .errors import GateError
from .files import is_special, write_text
from .reports import json as json_report
from .reports import markdown, terminal
from .reports.diff import diff
from .reports.document import Document
from .reports.merge import merge

__all__ = ["main"]

_REGRESSED = 1
_BAD_INPUT = 2


class _Refused(GateError):
    """What was asked for cannot be done; nothing was written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: 0 if all is well, 1 if a gate failed or regressed, 2 with one line on stderr for bad input."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A report may hold what the terminal cannot show.
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except GateError as error:
        print(f"pytest_torchscript {options.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return _BAD_INPUT
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pytest_torchscript", description="Reports of torchscript gates.")
    parser.add_argument("--version", action="version", version=f"pytest-torchscript {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    merging = commands.add_parser(
        "merge",
        help="make one report of the JSON reports of several machines",
        description="Make one report of several. Exits with 1 if a gate failed, 2 if the reports do not fit together.",
    )
    merging.add_argument("shards", nargs="+", type=Path, metavar="SHARD.json", help="a report of --torchscript-json")
    merging.add_argument("--output", required=True, type=Path, metavar="OUT.json", help="the report of all gates")
    merging.add_argument("--summary", type=Path, metavar="PATH", help="a summary in Markdown ($GITHUB_STEP_SUMMARY)")
    merging.add_argument("--junit", type=Path, metavar="PATH", help="the same as JUnit XML")
    merging.add_argument(
        "--junit-family",
        default="xunit2",
        metavar="NAME",
        help="as pytest's junit_family: xunit1 and legacy give a failing testcase its file and line (default: %(default)s)",
    )
    merging.add_argument(
        "--baseline",
        type=Path,
        metavar="PATH",
        help="the shards are the whole suite: what this baseline records and none of them gates is stale, a failure",
    )
    merging.set_defaults(run=_merge)

    comparing = commands.add_parser(
        "diff",
        help="what became worse, better, new or gone between two JSON reports, in Markdown",
        description="Compare two reports. Exits with 1 if a model became worse, or a new one fails.",
    )
    comparing.add_argument("old", type=Path, metavar="OLD.json", help="the report of the main branch")
    comparing.add_argument("new", type=Path, metavar="NEW.json", help="the report of the pull request")
    comparing.add_argument("--output", type=Path, metavar="PATH", help="the file to write (default: the terminal)")
    comparing.set_defaults(run=_diff)
    return parser


def _version() -> str:
    try:
        return metadata.version("pytest-torchscript")
    except metadata.PackageNotFoundError:
        return "of unknown version: it is not installed"


def _merge(options: argparse.Namespace) -> int:
    junit = _junit(options.junit_family) if options.junit else None
    document = merge([(str(path), json_report.read(path)) for path in options.shards])
    if options.baseline:
        document = replace(document, stale=tuple(_stale(options.baseline, document)))
    writes: list[tuple[str, Path, Callable[[Path], None]]] = [
        ("--output", options.output, lambda path: json_report.write(path, document)),
    ]
    if options.summary:
        writes.append(("--summary", options.summary, lambda path: markdown.write(path, document)))
    if junit is not None:
        writes.append(("--junit", options.junit, lambda path: junit(path, document)))
    _write(writes)
    width = shutil.get_terminal_size((terminal.WIDTH, 24)).columns
    record = str(options.baseline or "the baseline")
    for title, lines in terminal.sections(document, width, baseline=record):
        print(title, *(line for line, _ in lines), sep="\n")
    failing = sum(gate.failed for gate in document.gates)
    print(f"{len(document.gates)} gates of {len(options.shards)} reports, {failing} failing, written to {options.output}")
    return _REGRESSED if failing or document.stale else 0


def _stale(path: Path, document: Document) -> list[str]:
    baseline = Baseline.load(path)
    if baseline is None:
        raise _Refused(f"--baseline: {path}: there is no such file")
    return stale(baseline, [gate.id for gate in document.gates], document.gates)


def _diff(options: argparse.Namespace) -> int:
    text, regressed = diff(json_report.read(options.old), json_report.read(options.new))
    if options.output:
        _write([("--output", options.output, lambda path: write_text(path, text))])
    else:
        print(text, end="")
    return _REGRESSED if regressed else 0


def _junit(family: str) -> Callable[[Path, Document], None]:
    try:
        module = importlib.import_module(".reports.junit", __package__)
        importlib.import_module("junit_xml")
    except ImportError as error:
        raise _Refused(f"--junit: {error}") from None
    module.checked_family(family)
    return lambda path, document: module.write(path, document, family)


def _write(writes: Sequence[tuple[str, Path, Callable[[Path], None]]]) -> None:
    """Write all files, or none if it can be known before that one cannot be written."""
    taken: dict[str, str] = {}
    for option, path, _ in writes:
        if path.is_dir():
            raise _Refused(f"{option}: {path}: is a directory; give the file to write")
        if is_special(path):
            continue
        if not path.absolute().parent.is_dir():
            raise _Refused(f"{option}: {path}: the directory {str(path.parent)!r} does not exist; make it first")
        if not os.access(path.absolute().parent, os.W_OK):
            raise _Refused(f"{option}: {path}: the directory {str(path.parent)!r} cannot be written to")
        other = taken.setdefault(os.path.realpath(path), option)
        if other != option:
            raise _Refused(f"{option}: {path}: is the file of {other} too")
    for option, path, write in writes:
        try:
            write(path)
        except OSError as error:
            raise _Refused(f"{option}: {path}: cannot be written: {error.strerror or error}") from None


if __name__ == "__main__":
    sys.exit(main())
