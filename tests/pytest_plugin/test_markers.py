"""The markers of a test: their levels, the gates they ask for, and the names of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_torchscript import SpecError
from pytest_torchscript.pytest_plugin.markers import GateNames, Request, asks_for_a_gate, has_fixture, levels, requests

KNOWN: Mapping[str, Any] = {"torchscript": {}, "libtorch": {}}

LEVELS = """
    import pytest

    pytestmark = pytest.mark.torchscript(seq_len=4)

    @pytest.mark.torchscript(seq_len=3)
    class TestIt:
        @pytest.mark.torchscript
        @pytest.mark.torchscript(seq_len=2)
        @pytest.mark.parametrize("x", [pytest.param(0, marks=pytest.mark.torchscript(seq_len=1)), 1])
        def test_it(self, x): ...
"""


def asked(item: pytest.Item, names: GateNames | None = None, **options: Any) -> list[Request]:
    given = {"override": {}, "defaults": {}, **options}
    return list(requests(item, known=KNOWN, names=names or GateNames(), **given))


def refusal(item: pytest.Item, names: GateNames | None = None) -> str:
    with pytest.raises(SpecError) as caught:
        asked(item, names)
    return str(caught.value)


def sizes(found: list[list[pytest.Mark]]) -> list[list[Any]]:
    return [[mark.kwargs.get("seq_len") for mark in level] for level in found]


def test_levels_are_the_nearest_first(pytester: pytest.Pytester) -> None:
    """A parameter set's markers, the function's, the class's, the module's."""
    first, second = pytester.getitems(LEVELS)
    assert sizes(levels(first)) == [[1], [2, None], [3], [4]]
    assert sizes(levels(second)) == [[2, None], [3], [4]]


def test_bare_markers_can_be_left_out(pytester: pytest.Pytester) -> None:
    """Where a suite uses them as a plain label."""
    _, second = pytester.getitems(LEVELS)
    assert sizes(levels(second, ignore_bare=True)) == [[2], [3], [4]]


def test_each_marker_of_the_nearest_level_is_a_gate(pytester: pytest.Pytester) -> None:
    """Farther markers, the option and the configuration fill in, in this order."""
    _, item = pytester.getitems(LEVELS)
    first, second = asked(item, override={"target": ("libtorch",)}, defaults={"seq_len": (9,), "rtol": 0.5})
    assert (first.spec.seq_len, second.spec.seq_len) == ((2,), (3,))
    assert first.spec.target == ("libtorch",)
    assert first.spec.tolerance.rtol == 0.5
    assert [dict(layer) for layer in first.layers] == [
        {"target": ("libtorch",)},
        {"seq_len": (2,)},
        {"seq_len": (3,)},
        {"seq_len": (4,)},
        {"seq_len": (9,), "rtol": 0.5},
    ]


def test_a_test_without_a_marker_asks_for_nothing(pytester: pytest.Pytester) -> None:
    """Neither the option nor the configuration makes a gate."""
    item = pytester.getitem("def test_func(): ...")
    assert asked(item, override={"target": ("libtorch",)}, defaults={"seq_len": (9,)}) == []


def test_the_marker_and_the_fixture_ask_for_a_gate(pytester: pytest.Pytester) -> None:
    """Any other test needs no targets."""
    marked, fixture, plain = pytester.getitems(
        "import pytest\n@pytest.mark.torchscript\ndef test_a(): ...\ndef test_b(torchscript): ...\ndef test_c(): ...\n"
    )
    assert (asks_for_a_gate(marked), asks_for_a_gate(fixture), asks_for_a_gate(plain)) == (True, True, False)


def test_a_bad_argument_is_an_error_of_the_marker(pytester: pytest.Pytester) -> None:
    """Of one marker, or of several together."""
    item = pytester.getitem("import pytest\n@pytest.mark.torchscript(seq_lne=3)\ndef test_func(): ...")
    assert refusal(item) == "@pytest.mark.torchscript: unknown argument 'seq_lne'; did you mean 'seq_len'?"


@pytest.mark.parametrize("argument", ["model", "inputs"])
def test_a_fixture_must_be_there(pytester: pytest.Pytester, argument: str) -> None:
    """The nearest name among those that the test can use is suggested."""
    item = pytester.getitem(
        f"""
        import pytest

        @pytest.fixture
        def encoder(): ...

        @pytest.mark.torchscript({argument}="encodr")
        def test_func(): ...
        """
    )
    assert refusal(item) == (
        f"@pytest.mark.torchscript: {argument}='encodr' names no fixture that this test can use; did you mean 'encoder'?"
    )
    assert has_fixture(item, "encoder")
    assert not has_fixture(item, "encodr")


def test_three_near_fixtures_are_named(pytester: pytest.Pytester) -> None:
    """The nearest ones; where none is near, at least what there is."""
    item = pytester.getitem(
        """
        import pytest

        @pytest.fixture
        def bert_small(): ...

        @pytest.fixture
        def bert_large(): ...

        @pytest.fixture
        def bert_base(): ...

        @pytest.mark.torchscript(model="bert_sm")
        def test_func(): ...
        """
    )
    assert refusal(item).endswith("did you mean 'bert_small' or 'bert_base' or 'bert_large'?")
    item = pytester.getitem("import pytest\n@pytest.mark.torchscript(model='zzzzqqq')\ndef test_func(): ...\n")
    assert refusal(item).count("'") == 8


# Names

NAMED = """
    import pytest

    @pytest.mark.torchscript(id="one")
    @pytest.mark.torchscript(seq_len=8)
    def test_func(): ...

    @pytest.mark.torchscript(id="many")
    @pytest.mark.parametrize("x", [0, pytest.param(1, marks=pytest.mark.torchscript(id="own"))])
    def test_sets(x): ...

    @pytest.mark.torchscript(id="all")
    class TestIt:
        def test_a(self): ...
"""


def test_every_gate_has_a_name_of_its_own(pytester: pytest.Pytester) -> None:
    """The id, the node id without one, and what tells apart the gates of one marker."""
    names = GateNames()
    found = {item.name: [request.id for request in asked(item, names)] for item in pytester.getitems(NAMED)}
    module = "test_every_gate_has_a_name_of_its_own-py"
    assert found == {
        "test_func": [f"{module}--test_func", "one"],
        "test_sets[0]": ["many-0"],
        "test_sets[1]": ["own"],
        "test_a": ["all-test_a"],
    }


def test_an_id_belongs_to_one_test(pytester: pytest.Pytester) -> None:
    """The test that has it is named; reading one test again takes nothing from it."""
    first, second = pytester.getitems(
        """
        import pytest

        @pytest.mark.torchscript(id="one")
        def test_a(): ...

        @pytest.mark.torchscript(id="one")
        def test_b(): ...
        """
    )
    names = GateNames()
    assert asked(first, names)[0].id == asked(first, names)[0].id == "one"
    assert refusal(second, names) == (
        f"@pytest.mark.torchscript: id 'one' is taken by {first.nodeid}; ids are unique in every report"
    )


def test_node_ids_that_become_one_name_are_told_apart(pytester: pytest.Pytester) -> None:
    """By a digest, which is the same in every run."""
    first, second = pytester.getitems(
        """
        import pytest

        @pytest.mark.torchscript
        @pytest.mark.parametrize("x", ["a.b", "a/b"])
        def test_it(x): ...
        """
    )
    names = GateNames()
    one, two = asked(first, names)[0].id, asked(second, names)[0].id
    assert two.startswith(f"{one}-")
    assert len(two) == len(one) + 9
