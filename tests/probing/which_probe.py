"""Which kind of probe does the corpus need? Leaves out one kind after the other and judges the broken models again.

Run ``python -m tests.probing.which_probe`` in the root of the repository; it takes some minutes and prints a table for
``docs/checks.md``. It is no test: a kind that no model needs is for a person to judge.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import torch

from pytest_torchscript import gate
from pytest_torchscript.probing import asking, axes, explore, plan, relations, values
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.subject.inputs import with_guessed_axes

from ..corpus import BROKEN, KNOWN_MISSES, SIZES, UNSTABLE, VALUES, Case

JOINT = {way.name: f"joint values: {way.name}" for way in values.JOINT}
PLACES = ("first", "last", "middle", "every")
LABELS: tuple[tuple[str, str], ...] = (
    (r"floats scaled around .*", "floats scaled around a threshold"),
    (r"floats moved to .*", "floats moved around a threshold"),
    (r"floats scaled by 1e5", "floats times 1e5"),
    (r".* alone scaled to .*", "one input alone scaled to a threshold"),
    (r".* alone negated and times 10", "one input alone negated and times 10"),
    (r"\S+ like \S+", "one input like another"),
    (r"integers without .*", "integers without a number"),
    (r".* (inverted|true|false)", r"booleans \1"),
    (r".* (without padding|padded at the end|mostly padding|padded at the start|all padding)", r"mask \1"),
    (r"integers holding \S+ at the (\w+) position", r"integers holding a number at the \1 position"),
    (r"\S+ holding \S+ at the (\w+) position", r"one input holding a number at the \1 position"),
)
WAYS = "|".join(sorted(values._WAYS, key=len, reverse=True))


def kind_of(label: str) -> str:
    """The kind of a single variant, by its label: names and numbers left out."""
    for pattern, kind in LABELS:
        if re.fullmatch(pattern, label):
            return "single values: " + re.sub(pattern, kind, label)
    if found := re.fullmatch(rf"(?!floats)(\S+) ({WAYS})", label):
        return f"single values: {'integers' if found[1] == 'integers' else 'one integer input'} {found[2]}"
    return f"single values: {label}"


@dataclass
class Plan:
    """The plan with one kind of probe left out; ``used`` are the kinds that a gate would have used."""

    without: str | None = None
    used: set[str] = field(default_factory=set)

    def keeps(self, kind: str) -> bool:
        self.used.add(kind)
        return kind != self.without

    def listed(self, kind: str, entries: Iterable[int]) -> list[int]:
        found = list(entries)
        return found if not found or self.keeps(kind) else []

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Until the end of the block the gate plans its probes without this kind."""
        with ExitStack() as stack:
            for owner, name, changed in self._changes():
                stack.enter_context(patch.object(owner, name, changed))
            yield

    def _changes(self) -> Iterator[tuple[Any, str, Any]]:
        yield from self._value_changes()
        yield from self._size_changes()
        yield from self._relation_changes()
        for name, kind in (
            ("_refused", "ladder of multiples"),
            ("_partners", "partners: an axis without a name beside a refused one"),
            ("_splits", "splits: two inputs of one length by chance"),
            ("_crossed", "crossed: two sizes that are compared"),
            ("_plain_values", "two joint values where no size could be tried"),
        ):
            yield explore._Explorer, name, self._method(kind, getattr(explore._Explorer, name))

    def _method(self, kind: str, original: Callable[..., None]) -> Callable[..., None]:
        return lambda *args: original(*args) if self.keeps(kind) else None

    def _value_changes(self) -> Iterator[tuple[Any, str, Any]]:
        kept = tuple(way for way in values.JOINT if self.keeps(JOINT[way.name]))
        yield values, "JOINT", kept
        telling = [way for way in kept if way.name != "zeros and least values"]
        yield values, "THAT_SHOW_SIZES", len(telling)
        single, candidates = values.single, asking.Asking._candidates

        def fewer(*args: Any) -> Iterator[values.Variant]:
            for label, inputs in single(*args):
                if self.keeps(kind_of(label)):
                    yield label, inputs

        def fewer_candidates(*args: Any) -> Iterator[tuple[str, Any, bool]]:
            for label, inputs, fresh in candidates(*args):
                kind = label if label in ("each entry repeated in place", "values redrawn") else "observed values repeated"
                if fresh and label != "values redrawn":
                    kind = "fresh values at other sizes"
                if self.keeps(f"at other sizes: {kind}"):
                    yield label, inputs, fresh

        yield values, "single", fewer
        yield asking.Asking, "_candidates", fewer_candidates

    def _size_changes(self) -> Iterator[tuple[Any, str, Any]]:
        larger, smaller, sizes_of, directed, around = plan._larger, plan._smaller, plan.sizes_of, plan.directed, plan._around
        yield plan, "_larger", lambda size, limit: larger(size, limit) if self.keeps("size: about the double") else size
        yield plan, "_smaller", lambda size: smaller(size) if self.keeps("size: about a half") else size

        def fewer(dim: str, *args: Any, **kwargs: Any) -> list[int]:
            kinds = {0: "size: 0, for a batch that is compared with 0", 1: "size: 1"}
            if kwargs.get("doubled"):
                return self.listed("size: twice, where the values fail", sizes_of(dim, *args, **kwargs))
            return [size for size in sizes_of(dim, *args, **kwargs) if size not in kinds or self.keeps(kinds[size])]

        def fewer_directed(dim: str, sizes: Any, conversions: Any, *, limit: int | None) -> list[int]:
            conversions = list(conversions)
            if any(len(c.axes) > 1 and c.thresholds for c in conversions) and not self.keeps("size: a share of a product"):
                conversions = [replace(c, axes=c.axes[:1]) for c in conversions]
            return directed(dim, sizes, conversions, limit=limit)

        def fewer_around(conversion: Any, size: int) -> list[float]:
            if conversion.thresholds and not self.keeps("size: around a threshold"):
                conversion = replace(conversion, thresholds=())
            if conversion.moduli and not self.keeps("size: multiples of a divisor"):
                conversion = replace(conversion, moduli=())
            return around(conversion, size)

        yield plan, "sizes_of", fewer
        yield plan, "directed", fewer_directed
        yield plan, "_around", fewer_around
        yield plan, "_FAR", 128 if self.keeps("size: 128, for a size that becomes a number") else 10**9
        rounds, pairs, alone = plan.rounds, plan.pairs, plan.alone

        def one_by_one(wanted: Any, traced: Any, price: Any) -> Iterator[dict[str, int]]:
            for sizes in rounds(wanted, traced, price):
                if len(sizes) == 1 or self.keeps("all dims at once"):
                    yield sizes
                else:
                    yield from ({dim: size} for dim, size in sizes.items())

        def fewer_alone(dim: str, size: int, traced: Any, price: Any) -> dict[str, int]:
            found = alone(dim, size, traced, price)
            return found if len(found) < 2 or self.keeps("a dear size with a batch of 1") else {}

        yield plan, "rounds", one_by_one
        yield plan, "alone", fewer_alone
        yield plan, "pairs", lambda *two: (pair for pair in pairs(*two) if self.keeps(f"pair: {pair[2]}"))

    def _relation_changes(self) -> Iterator[tuple[Any, str, Any]]:
        related, relation = relations.related, relations._relation
        kinds = {"other axes": "related: other axes of the same size", "lies": "related: the dim lies elsewhere"}

        def fewer(cell: Any, dims: Any, dim: str, guessed: set[str]) -> Iterator[relations.Related]:
            for found in related(cell, dims, dim, guessed):
                why = found.why.removeprefix(f"{dim} ")
                kind = next((kind for start, kind in kinds.items() if why.startswith(start)), "")
                if not kind or self.keeps(kind):
                    yield found

        def fewer_relations(dim: str, size: int, length: int) -> Any:
            found = relation(dim, size, length)
            if found is None:
                return None
            return found if self.keeps("related: " + ("a square" if found.power > 1 else "a size that is offset")) else None

        yield explore, "related", fewer
        yield relations, "_relation", fewer_relations
        read = axes._read_by_python

        def read_by_python(cell: Any, sized: Any) -> list[tuple[str, int]]:
            found = read(cell, [])
            more = [place for place in read(cell, sized) if place not in found]
            caches = found if not found or self.keeps("axes of caches") else []
            return [*(more if not more or self.keeps("axes whose size the forward reads") else []), *caches]

        guess = with_guessed_axes
        yield axes, "_read_by_python", read_by_python
        yield (
            axes,
            "with_guessed_axes",
            lambda inputs, dims, **kwargs: (
                guess(inputs, dims, **kwargs)
                if guess(inputs, dims, **kwargs) == dims or self.keeps("axes of images, volumes and signals")
                else dims
            ),
        )


Outcome = tuple[tuple[str, tuple[str, ...]], ...]


def judged(case: Case, plan_: Plan) -> Outcome:
    """The verdict of each cell, and the checks that fail."""
    with plan_.applied(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = case.build()
        subject = gate.Subject(model=model, call=gate.call_of(model, case.inputs()))
        result = gate.judge(subject, GateSpec.merge(parse_arguments((), case.arguments)), id=case.name)
    return tuple((cell.verdict, tuple(check.name for check in cell.checks if check.verdict)) for cell in result.cells)


def main() -> None:
    """Judge all models with the whole plan, then those that use a kind without it; print what is lost."""
    torch.set_num_threads(1)
    cases = [case for case in (*BROKEN, *SIZES, *VALUES, *UNSTABLE) if case.verdict in ("ShapeSpecialised", "ValueSpecialised")]
    cases = [case for case in cases if case.name not in KNOWN_MISSES]
    whole: dict[str, Outcome] = {}
    users: dict[str, list[Case]] = {}
    for case in cases:
        everything = Plan()
        whole[case.name] = judged(case, everything)
        for kind in everything.used:
            users.setdefault(kind, []).append(case)
    print(
        f"{len(cases)} broken models.\n\n| Left out | Used by | Let through | Told otherwise |\n|---|---|---|---|", flush=True
    )
    for kind in sorted(kind for kind in users if not sys.argv[1:] or any(kind.startswith(start) for start in sys.argv[1:])):
        outcomes = {case.name: judged(case, Plan(kind)) for case in users[kind]}
        lost = [name for name, found in outcomes.items() if {v for v, _ in found} != {v for v, _ in whole[name]}]
        other = [name for name, found in outcomes.items() if found != whole[name] and name not in lost]
        print(f"| {kind} | {len(users[kind])} | {_some(lost)} | {_some(other)} |", flush=True)


def _some(names: list[str]) -> str:
    return f"{len(names)}: {', '.join(names[:3])}" if names else "none"


if __name__ == "__main__":
    main()
