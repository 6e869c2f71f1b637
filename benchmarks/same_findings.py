"""What two checkouts say of the same models: the JSON of the corpus and of the examples, times apart.

The models are those of this checkout; only the package that judges them changes. Prints what differs, and ends with 1 if
anything does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ("healthy", "defect", "neuron")
LOUD = ("verdict", "outcome", "status", "dims", "place")
"""The kinds of a difference that change what a user is told to do; the others are words, figures, and what was added."""


def judge_corpus(path: Path) -> None:
    """Judge every model of the corpus with the package that this process imports, and write the JSON."""
    sys.path.insert(0, str(ROOT))
    import torch

    from pytest_torchscript import gate
    from pytest_torchscript.spec import GateSpec, parse_arguments
    from tests.corpus import BROKEN, HEALTHY

    torch.set_num_threads(1)
    gates = []
    for case in (*HEALTHY, *BROKEN):
        torch.manual_seed(0)
        model = case.build()
        subject = gate.Subject(model=model, call=gate.call_of(model, case.inputs()))
        try:
            spec = GateSpec.merge(parse_arguments((), case.arguments))
        except Exception as error:  # noqa: BLE001 - an argument that the other checkout does not have
            gates.append({"id": f"corpus/{case.name}", "outcome": f"refused: {error}", "cells": []})
            continue
        found = gate.judge(subject, spec, id=f"corpus/{case.name}", root=str(ROOT))
        gates.append(found.to_json() if hasattr(found, "to_json") else found.to_dict())
    path.write_text(json.dumps({"gates": gates}), encoding="utf-8")


def plugin_of(checkout: Path) -> str:
    """The module of the plugin, which has not always had the same name; the installed one may be another's."""
    text = (checkout / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'pytest11\]\n\w+ = "([\w.]+)"', text)
    if found is None:
        raise SystemExit(f"{checkout / 'pyproject.toml'} names no plugin under pytest11")
    return found[1]


def reports(checkout: Path, folder: Path) -> dict[str, Any]:
    """The gates of the corpus and of the examples by id, as the package of ``checkout`` judges them."""
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = {**os.environ, **own, "PYTHONPATH": str(checkout / "src")}
    folder.mkdir()
    runs = {"corpus": [str(Path(__file__).resolve()), "--corpus", str(folder / "corpus.json")]}
    for name in EXAMPLES:
        options = ["-q", "-p", plugin_of(checkout), "-p", "no:cacheprovider", f"--torchscript-json={folder / name}.json"]
        runs[name] = ["-m", "pytest", str(ROOT / "examples" / name), *options]
    found = {}
    for name, command in runs.items():
        subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False, stdout=subprocess.DEVNULL)
        gates = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["gates"]
        found.update({gate["id"]: gate for gate in gates})
    return found


def differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, str, Any, Any]]:
    """The kind, the place, and both values of everything that is not the same, times and versions apart."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key != "seconds":
                yield from differences(f"{path}.{key}", old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and path.endswith((".checks", ".cells", ".findings")):
        names = [entry.get("name") for entry in max(old, new, key=len)]
        for index in range(max(len(old), len(new))):
            before, after = (side[index] if index < len(side) else None for side in (old, new))
            yield from differences(f"{path}[{names[index] or index}]", before, after)
    elif old != new:
        yield kind_of(path, old, new), path, old, new


def kind_of(path: str, old: Any, new: Any) -> str:
    """What differs: a verdict, a status, a dim, the place of a finding, the presence of a finding, words or figures."""
    last = path.rpartition(".")[2]
    if ".dims" in path:
        return "dims"
    if last in ("file", "line"):
        return "place"
    if last in ("verdict", "outcome", "status"):
        return last
    if ".findings[" in path:
        return "a finding more or less" if last.startswith("findings[") else f"finding's {last}"
    if ".metrics" in path:
        return "metrics"
    return "added" if old is None and last in ("axes", "probes") else last


def main() -> int:
    """Compare, print, and say whether all is the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="the other checkout")
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--all", action="store_true", help="print words and figures too, not only verdicts, dims and places")
    arguments = parser.parse_args()
    if arguments.corpus:
        judge_corpus(arguments.corpus)
        return 0
    if not arguments.against:
        parser.error("--against names the other checkout")
    with tempfile.TemporaryDirectory() as folder:
        old = reports(arguments.against.resolve(), Path(folder, "old"))
        new = reports(ROOT, Path(folder, "new"))
    found = [entry for name in sorted(old.keys() | new.keys()) for entry in differences(name, old.get(name), new.get(name))]
    for kind, path, before, after in found:
        if arguments.all or kind in LOUD:
            print(f"{kind}: {path}\n  - {json.dumps(before)[:300]}\n  + {json.dumps(after)[:300]}")
    print(
        f"{len(new)} gates;", ", ".join(f"{kind} {count}" for kind, count in Counter(kind for kind, *_ in found).most_common())
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
