"""Do the findings depend on the random inputs of an unseeded test? Judges each model of the corpora with many inputs.

Run ``python -m tests.probing.repeats [REPEATS] [LIST ...]`` in the root of the repository; it takes some minutes. A model whose
verdict, failed checks or dims differ from run to run is printed with how often each was found.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Sequence

import torch

from pytest_torchscript import gate
from pytest_torchscript.spec import GateSpec, parse_arguments

from ..corpus import BROKEN, HEALTHY, SIZES, UNSTABLE, VALUES, VARYING, Case, SizedCase, case

LISTS: dict[str, Sequence[Case]] = {
    "broken": BROKEN,
    "healthy": HEALTHY,
    "sizes": SIZES,
    "values": VALUES,
    "varying": VARYING,
    "unstable": UNSTABLE,
}

Findings = tuple[tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]], ...]


def findings(tried: Case, seed: int) -> Findings:
    """Verdict, failed checks and dims of each cell, for inputs of another seed."""
    if isinstance(tried, SizedCase):
        inputs = tried.inputs_at(tried.at, seed)
    else:
        for supply in (case.random_floats, case.random_ints):
            assert supply.__kwdefaults__ is not None
            supply.__kwdefaults__["seed"] = seed
        inputs = tried.inputs()
    model = tried.build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subject = gate.Subject(model=model, call=gate.call_of(model, inputs))
        result = gate.judge(subject, GateSpec.merge(parse_arguments((), tried.arguments)), id=tried.name)
    return tuple(
        (cell.verdict, tuple(check.name for check in cell.checks if check.verdict), tuple(sorted(cell.dims.items())))
        for cell in result.cells
    )


def main() -> None:
    """Print what flips, and how much does."""
    torch.set_num_threads(1)
    repeats = int(sys.argv[1]) if sys.argv[1:] else 20
    for name in sys.argv[2:] or LISTS:
        verdicts = others = 0
        for tried in LISTS[name]:
            found = Counter(findings(tried, seed) for seed in range(1000, 1000 + repeats))
            verdicts += len({tuple(verdict for verdict, _, _ in cells) for cells in found}) > 1
            others += len(found) > 1
            if len(found) > 1:
                print(name, tried.name, *(f"\n    {count}: {cells}" for cells, count in found.most_common()), flush=True)
        print(
            f"{name}: {len(LISTS[name])} models, {repeats} inputs each: {verdicts} verdicts and {others} findings flip",
            flush=True,
        )


if __name__ == "__main__":
    main()
