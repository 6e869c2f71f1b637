"""The marker's arguments: what is accepted, and what is said of what is not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from .harness import PytestRuns, Run

# (marker arguments, the argument that is named, words of the remedy)
BAD = [
    # Unknown and mistyped arguments
    ("seq_lne=128", "seq_lne", "seq_len"),
    ("batchsize=2", "batchsize", "batch_size"),
    ("max_flop=1e9", "max_flop", "max_flops"),
    ("input=(1,)", "input", "inputs"),
    ("dim={'x': {1: 'seq'}}", "dim", "dims"),
    ("seq_len=16, atoll=1e-3", "atoll", "atol"),
    ("completely_else=1", "completely_else", "seq_len"),
    # Positional arguments
    ("128", "keyword", "128"),
    ("lambda: None, 'text'", "keyword", "'text'"),
    # Sizes
    ("seq_len='128'", "seq_len", "int"),
    ("seq_len=16.0", "seq_len", "int"),
    ("seq_len=True", "seq_len", "int"),
    ("seq_len=None", "seq_len", "int"),
    ("seq_len=0", "seq_len", "at least 1"),
    ("seq_len=-4", "seq_len", "-4"),
    ("seq_len=[]", "seq_len", "empty"),
    ("seq_len=(16, 0)", "seq_len", "at least 1"),
    ("seq_len=(16, '32')", "seq_len", "'32'"),
    ("batch_size=0", "batch_size", "at least 1"),
    ("batch_size=()", "batch_size", "empty"),
    ("batch_size={}", "batch_size", "int"),
    # Names
    ("target='torchscrip'", "target", "'torchscript'"),
    ("target=['torchscript', 'nothing']", "target", "'nothing'"),
    ("target=[]", "target", "empty"),
    ("target=3", "target", "3"),
    ("shapes='dynamc'", "shapes", "'dynamic'"),
    ("shapes={'seq': 'fixd'}", "shapes", "'fixed'"),
    ("shapes={3: 'fixed'}", "shapes", "3"),
    ("shapes={}", "shapes", "empty"),
    ("shapes=['safe']", "shapes", "'safe'"),
    ("weights='metal'", "weights", "'meta'"),
    ("weights=None", "weights", "'real'"),
    # Model, inputs, dims, mask
    ("model=3", "model", "int"),
    ("model='no name'", "model", "'no name'"),
    ("model='encoder'", "model", "'encoder'"),
    ("inputs=3", "inputs", "int"),
    ("inputs=[1, 2]", "inputs", "list"),
    ("inputs=()", "inputs", "empty"),
    ("inputs={}", "inputs", "empty"),
    ("inputs='no_such_fixture'", "inputs", "'no_such_fixture'"),
    ("dims={'x': 'seq'}", "dims", "'seq'"),
    ("dims={'x': {'1': 'seq'}}", "dims", "'1'"),
    ("dims={'x': {1: 2}}", "dims", "2"),
    ("dims={}", "dims", "{}"),
    ("dims=[('x', 1)]", "dims", "'x'"),
    ("mask=3", "mask", "3"),
    ("mask=''", "mask", "''"),
    # Numbers
    ("rtol='1e-3'", "rtol", "'1e-3'"),
    ("rtol=float('nan')", "rtol", "nan"),
    ("rtol=-1e-3", "rtol", "negative"),
    ("rtol=True", "rtol", "True"),
    ("atol=float('inf')", "atol", "inf"),
    ("atol=float('nan')", "atol", "nan"),
    ("max_flops=0", "max_flops", "positive"),
    ("max_flops=-5", "max_flops", "-5"),
    ("max_flops=float('nan')", "max_flops", "nan"),
    ("max_flops='many'", "max_flops", "'many'"),
    # Skips owe a reason
    ("skip={'devce': 'no GPU'}", "skip", "'device'"),
    ("skip={'device': ''}", "skip", "reason"),
    ("skip={'device': '  '}", "skip", "reason"),
    ("skip={'device': None}", "skip", "reason"),
    ("skip=['device']", "skip", "reason"),
    ("skip='device'", "skip", "reason"),
    # Ids
    ("id='head.v2'", "id", "dot"),
    ("id=''", "id", "''"),
    ("id='größe'", "id", "'größe'"),
    ("id=7", "id", "7"),
]


def _suite(markers: list[str]) -> Mapping[str, str]:
    tests = [f"@pytest.mark.torchscript({marker})\ndef test_{number}(): pass\n" for number, marker in enumerate(markers)]
    return {"test_bad.py": "import pytest\n" + "".join(tests) + "def test_good(): print('the good test ran')\n"}


BAD_SUITE = _suite([marker for marker, _, _ in BAD])


@pytest.fixture
def bad(run_suite: PytestRuns) -> Run:
    return run_suite(BAD_SUITE, "-s")


@pytest.mark.parametrize("number", range(len(BAD)), ids=[marker for marker, _, _ in BAD])
def test_bad_marker_is_answered_with_test_argument_and_remedy(bad: Run, number: int) -> None:
    """A bad marker's line names the test, the argument, and the valid name or the value that was wrong."""
    _, argument, remedy = BAD[number]
    lines = [line for line in bad.text.splitlines() if f"test_bad.py::test_{number}:" in line]
    assert len(lines) == 1, bad.text
    said = lines[0].partition(f"test_{number}:")[2]
    assert argument in said
    assert remedy in said


def test_all_bad_markers_of_a_run_are_told_in_one_usage_error(run_suite: PytestRuns, mode: tuple[str, ...]) -> None:
    """One run tells of every bad marker, once each, ends with the code of a usage error, and has run no test."""
    run = run_suite(BAD_SUITE, "-s", *mode)
    for number in range(len(BAD)):
        assert run.text.count(f"test_bad.py::test_{number}:") == 1, run.text
    assert run.code == pytest.ExitCode.USAGE_ERROR
    assert "INTERNALERROR" not in run.text
    assert "Traceback" not in run.text
    assert "the good test ran" not in run.text
    assert not run.outcomes


def test_mistyped_fixture_name_is_answered_with_the_nearest_fixture(run_suite: PytestRuns) -> None:
    """`model=` and `inputs=` that name no fixture are answered with the fixture that comes nearest."""
    run = run_suite(
        {
            "test_typo.py": """
                import pytest

                @pytest.fixture
                def encoder(): ...

                @pytest.fixture
                def token_batch(): ...

                @pytest.mark.torchscript(model="encodr")
                def test_model(): ...

                @pytest.mark.torchscript(inputs="tokens_batch")
                def test_inputs(): ...
            """
        }
    )
    assert run.code == pytest.ExitCode.USAGE_ERROR
    lines = run.text.splitlines()
    assert any("test_model" in line and "'encodr'" in line and "'encoder'" in line for line in lines), run.text
    assert any("test_inputs" in line and "'tokens_batch'" in line and "'token_batch'" in line for line in lines)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "@pytest.mark.torchscript(id='head')\ndef test_one(): ...\n",
            "@pytest.mark.torchscript(id='head')\ndef test_two(): ...\n",
        ),
        (
            "@pytest.mark.torchscript(id='head')\n",
            "@pytest.mark.torchscript(id='head', seq_len=4)\ndef test_one(): ...\n",
        ),
    ],
    ids=["two tests", "two markers of one test"],
)
def test_an_id_can_be_taken_once(run_suite: PytestRuns, first: str, second: str) -> None:
    """Two gates of one id are a usage error that names the id, since an id is unique in every report."""
    run = run_suite({"test_twice.py": f"import pytest\n{first}{second}"})
    assert run.code == pytest.ExitCode.USAGE_ERROR
    assert "'head'" in run.text
    assert "test_one" in run.text


def test_bad_marker_of_a_class_or_module_names_the_tests_it_is_on(run_suite: PytestRuns) -> None:
    """A marker on a module or a class is checked like one on a function, for every test below it."""
    run = run_suite(
        {
            "test_module.py": """
                import pytest
                pytestmark = pytest.mark.torchscript(seq_length=3)
                def test_one(): ...
            """,
            "test_class.py": """
                import pytest, unittest
                @pytest.mark.torchscript(shapes="dynamik")
                class TestPlain:
                    def test_two(self): ...
                @pytest.mark.torchscript(weights="none")
                class Case(unittest.TestCase):
                    def test_three(self): ...
            """,
            "test_parameters.py": """
                import pytest
                @pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.torchscript(batch_size=-2))])
                def test_four(n): ...
            """,
        }
    )
    assert run.code == pytest.ExitCode.USAGE_ERROR
    lines = run.text.splitlines()
    expected = [
        ("test_one", "seq_length", "seq_len"),
        ("test_two", "shapes", "'dynamic'"),
        ("test_three", "weights", "'meta'"),
        ("test_four[2]", "batch_size", "-2"),
    ]
    for words in expected:
        assert any(all(word in line for word in words) for line in lines), (words, run.text)
    assert "test_four[1]" not in run.text


GOOD_SUITE = {
    "test_good.py": """
        import pytest
        import torch
        from models import *

        @pytest.fixture
        def encoder():
            return Encoder()

        @pytest.fixture
        def batch():
            return tokens()

        @pytest.mark.torchscript(
            seq_len=(8, 16),
            batch_size=[1, 2],
            target="torchscript",
            shapes={"seq": "dynamic", "batch": "safe"},
            model="encoder",
            inputs="batch",
            dims={"input_ids": {0: "batch", 1: "seq"}, "attention_mask": {0: "batch", -1: "seq"}},
            mask="attention_mask",
            rtol=1e-4,
            atol=1e-5,
            skip={"device": "served on CPU only"},
            max_flops=1_000_000,
            weights="real",
            id="every_argument-1",
        )
        def test_every_argument(encoder, batch):
            encoder(**batch)

        @pytest.mark.torchscript(
            seq_len=[8], batch_size=(3,), target=["torchscript"], shapes="safe", rtol=0, atol=1, max_flops=10**9
        )
        def test_every_argument_otherwise(encoder, batch):
            encoder(**batch)

        @pytest.mark.torchscript
        def test_bare(encoder, batch):
            encoder(**batch)

        @pytest.mark.torchscript()
        def test_called_bare(encoder, batch):
            encoder(**batch)

        @pytest.mark.torchscript(inputs=(torch.zeros(2, 8),))
        def test_positions_by_name(request):
            Head()(x=torch.ones(3, 8))
    """
}


@pytest.fixture
def good(run_suite: PytestRuns) -> Run:
    return run_suite(GOOD_SUITE, "--strict-markers")


def test_every_argument_is_accepted(good: Run) -> None:
    """Every argument of the marker is accepted in each of the forms that the contract lists, under strict markers."""
    assert set(good.outcomes.values()) == {"passed"}, good.text
    assert good.code == 0


def test_id_is_the_gate_s_name(good: Run) -> None:
    """`id=` names the gate in the report."""
    assert good.gate("test_every_argument")["id"] == "every_argument-1"


def test_without_id_the_node_id_is_the_gate_s_name(good: Run) -> None:
    """Without `id=` the gate is called by its node id, every other character as `-`."""
    assert good.gate("test_bare")["id"] == "test_good-py--test_bare"


def test_skip_gives_its_reason(good: Run) -> None:
    """A check named in `skip=` does not run and is reported as skipped, with the reason that was given."""
    for cell in good.gate("test_every_argument")["cells"]:
        device = next(check for check in cell["checks"] if check["name"] == "device")
        assert (device["status"], device["reason"]) == ("skipped", "served on CPU only")


def test_default_ids_are_unique_and_stable(run_suite: PytestRuns) -> None:
    """Tests whose node ids differ only in characters that an id cannot hold have different ids, in every run the same."""
    suite = {
        "test_alike.py": """
            import pytest
            from models import *

            @pytest.mark.torchscript
            @pytest.mark.parametrize("size", ["a.b", "a-b", "a/b", "ä"])
            def test_size(size):
                Head()(rows())
        """
    }
    run = run_suite(suite)
    ids = {gate["nodeid"]: gate["id"] for gate in run.report["gates"]}
    assert len(ids) == 4
    assert len(set(ids.values())) == 4, ids
    for arguments in (("-n", "2"), ("-k", "a/b or a-b")):
        again = run_suite(suite, *arguments)
        assert {gate["nodeid"]: gate["id"] for gate in again.report["gates"]}.items() <= ids.items()
