"""What ``--torchscript-discover`` found: which unmarked tests could carry the marker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["conftest", "listing"]

_LINE = "@pytest.mark.torchscript"


def _sorted(found: Iterable[Mapping[str, str]]) -> list[Mapping[str, str]]:
    return sorted(found, key=lambda entry: (entry["nodeid"], entry["model"]))


def _passes(verdict: str) -> bool:
    # "ok (lint)" is one as well.
    return verdict.partition(" ")[0] == "ok"


def listing(found: Iterable[Mapping[str, str]]) -> list[str]:
    """A block a test: the model, its inputs, the verdict it would get, and the line to add."""
    entries = _sorted(found)
    if not entries:
        return ["no unmarked test that passed called an nn.Module with a tensor: nothing to mark"]
    lines = []
    for entry in entries:
        lines.append(f"{entry['nodeid']}")
        lines.append(f"    model    {entry['model']}({entry['inputs']})")
        lines.append(f"    verdict  {entry['verdict']}")
        lines.append(f"    add      {_LINE}{entry.get('arguments', '')}")
    tests = {entry["nodeid"] for entry in entries}
    good = tests - {entry["nodeid"] for entry in entries if not _passes(entry["verdict"])}
    lines.append(f"{len(tests)} tests could carry the marker; {len(good)} would pass today")
    return lines


def conftest(found: Iterable[Mapping[str, str]]) -> str:
    """A conftest that marks these tests, to be put at the root directory; no test is edited."""
    found = _sorted(found)
    verdicts: dict[str, list[str]] = {}
    for entry in found:
        # One entry for all parameter sets of a test.
        verdicts.setdefault(entry["nodeid"].partition("[")[0], []).append(entry["verdict"])
    arguments = next((entry.get("arguments", "") for entry in found), "")
    entries = []
    for nodeid, seen in verdicts.items():
        failing = dict.fromkeys(verdict for verdict in seen if not _passes(verdict))
        note = f"  # today: {', '.join(failing)}" if failing else ""
        entries.append(f"    {nodeid!r},{note}")
    return "\n".join(
        [
            "import pytest",
            "",
            "GATED = {",
            *entries,
            "}",
            "",
            "",
            "def pytest_collection_modifyitems(items):",
            "    for item in items:",
            '        if item.nodeid.partition("[")[0] in GATED:',
            f"            item.add_marker(pytest.mark.torchscript{arguments})",
        ]
    )
