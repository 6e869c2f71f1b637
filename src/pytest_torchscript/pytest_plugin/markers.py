"""The markers of a test: which gates they ask for, with which arguments, and under which names in every report."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from ..errors import SpecError
from ..naming import default_id, slug
from ..spec import GateSpec, Known, parse_arguments, spec_of_layers

__all__ = ["GATES", "MARKER", "GateNames", "Request", "asks_for_a_gate", "has_fixture", "levels", "nodeid_of", "requests"]

MARKER = "torchscript"
_REPETITION = "__pytest_repeat_step_number"
"""The parameter by which pytest-repeat runs a test several times; its id, ``2-5``, ends the id of the parameter set."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One gate that a test asks for; ``layers`` are the arguments that ``spec`` was merged from, the nearest first.

    ``inherited`` says that the test itself does not carry the marker: its class or module does, or a conftest added it.
    """

    spec: GateSpec
    id: str
    inherited: bool
    layers: tuple[Mapping[str, Any], ...]


GATES = pytest.StashKey[tuple[Request, ...]]()


def asks_for_a_gate(item: pytest.Item) -> bool:
    """Whether a test carries the marker, or uses the fixture."""
    return item.get_closest_marker(MARKER) is not None or MARKER in getattr(item, "fixturenames", ())


def levels(item: pytest.Item, *, ignore_bare: bool = False) -> list[list[pytest.Mark]]:
    """The markers by level, the nearest first: those of the parameter set, the function, the class, the module.

    ``ignore_bare`` leaves out markers without arguments.
    """
    from_parameters = [id(mark) for mark in _parameter_marks(item)]
    by_level: dict[tuple[int, bool], list[pytest.Mark]] = {}
    for node, mark in item.iter_markers_with_node(MARKER):
        if not (ignore_bare and not mark.args and not mark.kwargs):
            by_level.setdefault((id(node), id(mark) not in from_parameters), []).append(mark)
    # The parameter set's marks and the function's belong to one node; the former are nearer.
    nearest_first = sorted(by_level, key=lambda level: (level[0] != id(item), level[1] and level[0] == id(item)))
    return [by_level[level] for level in nearest_first]


def requests(
    item: pytest.Item,
    *,
    known: Known,
    names: GateNames,
    override: Mapping[str, Any],
    defaults: Mapping[str, Any],
    ignore_bare: bool = False,
) -> Iterator[Request]:
    """The gates that the markers of a test ask for: one for each marker of the nearest level.

    ``override`` wins over every marker, every marker wins over ``defaults``.

    Raises:
        SpecError: an impossible argument, a fixture that is not there, an id that is taken.
    """
    try:
        marks_by_level = levels(item, ignore_bare=ignore_bare)
        parsed = [[parse_arguments(mark.args, mark.kwargs, known) for mark in marks] for marks in marks_by_level]
        farther = [layer for level in parsed[1:] for layer in level]
        own = _own_marks(item)
        for index, layer in enumerate(parsed[0] if parsed else ()):
            layers = (override, layer, *farther, defaults)
            spec = spec_of_layers(layers, known)
            _refuse_missing_fixtures(item, spec)
            name, inherited = names.name(item, spec, layer, index), id(marks_by_level[0][index]) not in own
            yield Request(spec=spec, id=name, inherited=inherited, layers=layers)
    except SpecError as error:
        raise SpecError(f"@pytest.mark.torchscript: {error}") from None


class GateNames:
    """Gives each gate its name: stable from run to run, and no other gate's."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def name(self, item: pytest.Item, spec: GateSpec, layer: Mapping[str, Any], index: int) -> str:
        """The name of the gate that marker number ``index`` of a test asks for, by its arguments in ``layer``.

        Raises:
            SpecError: another gate has this id.
        """
        if spec.id is None:
            return self._from_nodeid(item, index)
        name = spec.id
        parameters = _parameters(item)
        # One marker over many parameter sets, or on a class, is many gates: the id alone would not tell them apart.
        if "id" not in layer or not _gives_id(item.own_markers, spec.id):
            name = f"{name}-{slug(nodeid_of(item).rpartition('::')[2])}"
        elif parameters and not _gives_id(_parameter_marks(item), spec.id):
            name = f"{name}-{slug(parameters)}"
        owner = f"{nodeid_of(item)}, marker {index + 1}"
        taken = self._owners.setdefault(name, owner)
        if taken != owner:
            raise SpecError(f"id {name!r} is taken by {taken.partition(',')[0]}; ids are unique in every report")
        return name

    def _from_nodeid(self, item: pytest.Item, index: int) -> str:
        nodeid = nodeid_of(item)
        name = default_id(nodeid) + (f"-{index + 1}" if index else "")
        if self._owners.setdefault(name, nodeid) != nodeid:
            # Node ids that differ only in characters an id cannot hold are told apart by a digest.
            name = f"{name}-{hashlib.sha256(nodeid.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
            self._owners[name] = nodeid
        return name


def nodeid_of(item: pytest.Item) -> str:
    """The node id of a test; that of a repetition by pytest-repeat is the test's own, since it is the same gate."""
    given = getattr(getattr(item, "callspec", None), "id", "")
    own = _parameters(item)
    return item.nodeid if own == given else item.nodeid.removesuffix(f"[{given}]") + (f"[{own}]" if own else "")


def _parameters(item: pytest.Item) -> str:
    """The id of a test's parameter set, without the number of the repetition."""
    callspec = getattr(item, "callspec", None)
    given = str(getattr(callspec, "id", ""))
    return re.sub(r"(^|-)\d+-\d+$", "", given) if _REPETITION in getattr(callspec, "params", {}) else given


def _parameter_marks(item: pytest.Item) -> list[pytest.Mark]:
    return list(getattr(getattr(item, "callspec", None), "marks", ()))


def _own_marks(item: pytest.Item) -> set[int]:
    """The identities of the marks that are written on the test: on its function, or on its parameter set."""
    written = getattr(getattr(item, "obj", None), "pytestmark", [])
    marks = [*(written if isinstance(written, list) else [written]), *_parameter_marks(item)]
    return {id(getattr(mark, "mark", mark)) for mark in marks}


def _gives_id(marks: list[pytest.Mark], id: str) -> bool:
    return any(mark.name == MARKER and mark.kwargs.get("id") == id for mark in marks)


def _refuse_missing_fixtures(item: pytest.Item, spec: GateSpec) -> None:
    for argument in ("model", "inputs"):
        name = getattr(spec, argument)
        if isinstance(name, str) and not has_fixture(item, name):
            raise SpecError(f"{argument}={name!r} names no fixture that this test can use{_nearest_fixture(item, name)}")


def has_fixture(item: pytest.Item, name: str) -> bool:
    """Whether a test can use the fixture ``name``."""
    # pytest before 8.1 takes the node's id.
    node: Any = item if pytest.version_tuple >= (8, 1) else item.nodeid
    return bool(item.session._fixturemanager.getfixturedefs(name, node))


def _nearest_fixture(item: pytest.Item, name: str) -> str:
    # pytest has no public list of fixtures; the tables it keeps are keyed by name.
    attributes = vars(item.session._fixturemanager).items()
    tables = [table for attribute, table in attributes if attribute.startswith("_arg2") and table]
    known = {str(known) for table in tables for known in table if has_fixture(item, str(known))}
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    nearest = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.0)
    return f"; the nearest names are {', '.join(map(repr, nearest))}" if nearest else ""
