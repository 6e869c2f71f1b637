"""Where a gate's arguments come from: call, nearest marker, farther marker, configuration, default."""

from __future__ import annotations

import pytest

from .harness import PytestRuns, Run

SUITE = {
    "pytest.ini": """
        [pytest]
        torchscript_seq_len = 3 4
        torchscript_batch_size = 5
        torchscript_atol = 1e-2
        torchscript_rtol = 0
        torchscript_skip =
            device: configured, as all our servers are alike
            values: configured
    """,
    "test_configured.py": """
        import pytest
        from models import *

        @pytest.mark.torchscript
        def test_configuration_alone():
            Encoder()(**tokens())

        @pytest.mark.torchscript(seq_len=6)
        def test_marker_over_configuration():
            Encoder()(**tokens())

        @pytest.mark.torchscript(skip={"purity": "the marker's own"})
        def test_marker_replaces_a_mapping():
            Encoder()(**tokens())

        @pytest.mark.torchscript
        def test_configured_tolerance():
            OtherWhileTracing()(features())

        @pytest.mark.torchscript(atol=1e-5)
        def test_marker_s_tolerance():
            OtherWhileTracing()(features())

        def test_call_over_configuration(torchscript):
            torchscript.check(Encoder(), tokens(), seq_len=7)
    """,
    "test_levels.py": """
        import unittest
        import pytest
        from models import *

        pytestmark = [pytest.mark.torchscript(seq_len=5, batch_size=3, skip={"purity": "module"})]

        def test_module():
            Encoder()(**tokens())

        @pytest.mark.torchscript(seq_len=8)
        def test_function_over_module():
            Encoder()(**tokens())

        @pytest.mark.torchscript(seq_len=6, skip={"purity": "class"})
        class TestClass:
            def test_class_over_module(self):
                Encoder()(**tokens())

            @pytest.mark.torchscript(seq_len=7)
            def test_function_over_class(self):
                Encoder()(**tokens())

            @pytest.mark.torchscript
            def test_bare_function_in_class(self):
                Encoder()(**tokens())

            @pytest.mark.torchscript(seq_len=7, batch_size=1)
            def test_call_over_all(self, torchscript):
                torchscript.check(Encoder(), tokens(), seq_len=9)

            @pytest.mark.torchscript(seq_len=7)
            @pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.torchscript(seq_len=10))], ids=str)
            def test_parameter_over_function(self, n):
                Encoder()(**tokens())

        @pytest.mark.torchscript(seq_len=11)
        class Case(unittest.TestCase):
            def test_unittest_class_over_module(self):
                Encoder()(**tokens())
    """,
    "test_stacked.py": """
        import pytest
        from models import *

        @pytest.mark.torchscript(seq_len=8)
        @pytest.mark.torchscript(seq_len=12, id="longer")
        @pytest.mark.torchscript(seq_len=13, batch_size=1)
        def test_stacked():
            Encoder()(**tokens())

        @pytest.mark.torchscript(batch_size=1)
        class TestStackedFarther:
            @pytest.mark.torchscript(seq_len=8, id="near-one")
            @pytest.mark.torchscript(seq_len=12, id="near-two")
            def test_stacked_in_class(self):
                Encoder()(**tokens())
    """,
}


@pytest.fixture
def run(run_suite: PytestRuns) -> Run:
    return run_suite(SUITE)


def sizes(run: Run, test: str) -> list[tuple[int | None, int | None]]:
    """The (batch size, sequence length) of each cell of the only gate of a test."""
    return [(cell["batch_size"], cell["seq_len"]) for cell in run.gate(test)["cells"]]


def reasons(run: Run, test: str) -> dict[str, str]:
    """The reasons of the skipped checks in a test's first cell."""
    checks = run.gate(test)["cells"][0]["checks"]
    return {check["name"]: check["reason"] for check in checks if check["status"] == "skipped"}


def test_configuration_gives_what_no_marker_says(run: Run) -> None:
    """Under a bare marker every argument is the configured one."""
    assert sizes(run, "test_configuration_alone") == [(5, 3), (5, 4)]
    assert reasons(run, "test_configuration_alone")["device"] == "configured, as all our servers are alike"
    assert reasons(run, "test_configuration_alone")["values"] == "configured"


def test_marker_wins_over_configuration_argument_by_argument(run: Run) -> None:
    """What the marker says replaces the configured argument, and only that one."""
    assert sizes(run, "test_marker_over_configuration") == [(5, 6)]


def test_marker_replaces_a_configured_mapping_whole(run: Run) -> None:
    """`skip=` of the marker is the whole of `skip`: mappings are not merged."""
    found = reasons(run, "test_marker_replaces_a_mapping")
    assert found["purity"] == "the marker's own"
    assert "device" not in found
    assert "values" not in found


def test_tolerance_comes_from_configuration_or_marker(run: Run) -> None:
    """A configured tolerance lets a small difference pass, and the marker's stricter one does not."""
    assert run.outcomes["test_configured_tolerance"] == "passed"
    assert run.outcomes["test_marker_s_tolerance"] == "failed"
    assert {cell["verdict"] for cell in run.gate("test_marker_s_tolerance")["cells"]} == {"NotEquivalent"}


def test_call_wins_over_configuration(run: Run) -> None:
    """What `torchscript.check` is given replaces the configured argument; the others are as configured."""
    assert sizes(run, "test_call_over_configuration") == [(5, 7)]


@pytest.mark.parametrize(
    ("test", "batch_size", "seq_len", "reason"),
    [
        ("test_module", 3, 5, "module"),
        ("test_function_over_module", 3, 8, "module"),
        ("test_class_over_module", 3, 6, "class"),
        ("test_function_over_class", 3, 7, "class"),
        ("test_bare_function_in_class", 3, 6, "class"),
        ("test_call_over_all", 1, 9, "class"),
        ("test_parameter_over_function[1]", 3, 7, "class"),
        ("test_parameter_over_function[2]", 3, 10, "class"),
        ("test_unittest_class_over_module", 3, 11, "module"),
    ],
)
def test_nearest_level_wins_argument_by_argument(run: Run, test: str, batch_size: int, seq_len: int, reason: str) -> None:
    """Call, parameter set, function, class and module are asked in this order, for each argument on its own."""
    assert sizes(run, test) == [(batch_size, seq_len)]
    assert reasons(run, test)["purity"] == reason


def test_stacked_markers_are_gates_of_their_own(run: Run) -> None:
    """Each of several markers on a function is a gate with its own id, arguments and cells."""
    gates = run.gates("test_stacked")
    assert len({gate["id"] for gate in gates}) == 3
    found = sorted((cell["seq_len"], cell["batch_size"]) for gate in gates for cell in gate["cells"])
    assert found == [(8, 5), (12, 5), (13, 1)]
    assert next(gate for gate in gates if gate["id"] == "longer")["cells"][0]["seq_len"] == 12


def test_stacked_markers_share_what_lies_farther(run: Run) -> None:
    """A marker on the class completes each of the markers stacked on its function, and is no gate of its own."""
    gates = {gate["id"]: gate["cells"] for gate in run.gates("test_stacked_in_class")}
    assert {name: (cells[0]["batch_size"], cells[0]["seq_len"]) for name, cells in gates.items()} == {
        "near-one": (1, 8),
        "near-two": (1, 12),
    }


PARAMETERS = {
    "test_parameters.py": """
        import pytest
        from models import *

        @pytest.mark.torchscript(id="by-function")
        @pytest.mark.parametrize("model", [Head, OtherHead])
        def test_one_marker(model):
            model()(rows())

        @pytest.mark.parametrize(
            "model",
            [
                Head,
                pytest.param(OtherHead, marks=pytest.mark.torchscript(id="by-parameter", batch_size=4)),
                pytest.param(Jitter, marks=pytest.mark.torchscript),
            ],
            ids=["unmarked", "marked", "broken"],
        )
        def test_marked_parameter(model):
            model()(rows())
    """
}


@pytest.fixture
def parameters(run_suite: PytestRuns) -> Run:
    return run_suite(PARAMETERS)


def test_one_marker_over_several_parameter_sets_is_several_gates(parameters: Run) -> None:
    """Each parameter set has a gate whose id begins with the marker's and tells the parameter."""
    ids = [gate["id"] for gate in parameters.report["gates"] if gate["nodeid"].startswith("test_parameters.py::test_one")]
    assert len(set(ids)) == 2
    assert all(name.startswith("by-function-") for name in ids)
    assert {name for name in ids if "OtherHead" in name or "model1" in name}


def test_a_marked_parameter_set_is_gated_alone(parameters: Run) -> None:
    """`pytest.param(marks=...)` gates that parameter set, with its own id as written, and none of the others."""
    assert parameters.gates("test_marked_parameter[unmarked]") == []
    gate = parameters.gate("test_marked_parameter[marked]")
    assert gate["id"] == "by-parameter"
    assert gate["cells"][0]["batch_size"] == 4
    assert parameters.verdict("test_marked_parameter[broken]") == "NonDeterministic"
    assert parameters.outcomes["test_marked_parameter[broken]"] == "failed"


def test_an_id_on_a_class_is_made_one_a_test(run_suite: PytestRuns) -> None:
    """Tests that share an id from their class or module have ids of their own, which begin with it."""
    run = run_suite(
        {
            "test_class.py": """
                import pytest
                from models import *

                @pytest.mark.torchscript(id="on-the-class")
                class TestAll:
                    def test_first(self):
                        Head()(rows())

                    def test_second(self):
                        Head()(rows())
            """
        }
    )
    ids = [run.gate(test)["id"] for test in ("test_first", "test_second")]
    assert len(set(ids)) == 2
    assert all(name.startswith("on-the-class-") for name in ids)


ONE_TEST = """
    import pytest
    from models import *

    @pytest.mark.torchscript
    def test_it():
        Encoder()(**tokens())
"""

INI = """
    [pytest]
    torchscript_seq_len = 8 16
    torchscript_batch_size = 3
    torchscript_shapes =
        seq: dynamic
        batch: safe
    torchscript_max_flops = 1
    torchscript_dims =
        input_ids: 0=batch, 1=seq
        attention_mask: 0=batch, 1=seq
    torchscript_mask = attention_mask
    torchscript_target = torchscript
    torchscript_weights = real
    torchscript_model = encoder
    torchscript_inputs = batch
"""
OLDER_TOML = """
    [tool.pytest.ini_options]
    torchscript_seq_len = "8, 16"
    torchscript_batch_size = 3
    torchscript_shapes = "dynamic"
    torchscript_max_flops = 1.0
"""
TOML = """
    [tool.pytest]
    torchscript_seq_len = '''
        8
        16
    '''
    torchscript_batch_size = "3"
    torchscript_max_flops = "1e0"
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [("pytest.ini", INI), ("pyproject.toml", OLDER_TOML), ("pyproject.toml", TOML)],
    ids=["pytest.ini", "tool.pytest.ini_options", "tool.pytest"],
)
def test_configuration_is_read_from_each_of_pytest_s_files(run_suite: PytestRuns, name: str, text: str) -> None:
    """`torchscript_<argument>` works in an ini file and in both of pytest's tables of pyproject.toml."""
    if "[tool.pytest]" in text and int(pytest.__version__.partition(".")[0]) < 9:
        pytest.skip("pytest reads [tool.pytest] since version 9")
    fixtures = """
        import pytest
        from models import *

        @pytest.fixture
        def encoder():
            return Encoder()

        @pytest.fixture
        def batch():
            return tokens()
    """
    run = run_suite({name: text, "test_it.py": ONE_TEST, "conftest.py": fixtures})
    cells = run.gate("test_it")["cells"]
    assert [(cell["batch_size"], cell["seq_len"]) for cell in cells] == [(3, 8), (3, 16)], run.text
    assert {cell["verdict"] for cell in cells} == {"TargetFailure"}


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("torchscript_seq_len = 8 sixteen", "'sixteen'"),
        ("torchscript_seq_len = 0", "at least 1"),
        ("torchscript_target = torchscrip", "'torchscript'"),
        ("torchscript_shapes =\n  seq: fixd", "'fixed'"),
        ("torchscript_rtol = nan", "nan"),
        ("torchscript_skip = devce: no GPU", "'device'"),
        ("torchscript_dims = input_ids: one=seq", "'one'"),
        ("torchscript_weights = fake", "'meta'"),
        ("torchscript_model = no name", "no name"),
        ("torchscript_bare_marker = ignor", "'ignore'"),
    ],
)
def test_bad_configuration_names_its_option(run_suite: PytestRuns, option: str, says: str) -> None:
    """A configured value that is impossible is a usage error with the option's own name and what is wrong."""
    run = run_suite({"pytest.ini": f"[pytest]\n{option}\n", "test_it.py": "def test_it(): ..."}, "-p", "no:cacheprovider")
    assert run.code == pytest.ExitCode.USAGE_ERROR, run.text
    assert option.partition(" ")[0] in run.text
    assert says in run.text
    assert "Traceback" not in run.text


def test_mistyped_option_is_told_under_strict_config(run_suite: PytestRuns) -> None:
    """pytest's own `--strict-config` refuses an option that the plugin does not have."""
    files = {"pytest.ini": "[pytest]\ntorchscript_seq_lne = 8\n", "test_it.py": "def test_it(): ..."}
    run = run_suite(files, "--strict-config")
    assert run.code == pytest.ExitCode.USAGE_ERROR
    assert "torchscript_seq_lne" in run.text


BARE = {
    "test_labels.py": """
        import pytest
        from models import *

        pytestmark = pytest.mark.torchscript

        @pytest.mark.torchscript
        def test_label():
            NoneBeside()(rows())

        @pytest.mark.torchscript(seq_len=8)
        def test_gate():
            Encoder()(**tokens())
    """
}


def test_bare_marker_can_be_a_plain_label(run_suite: PytestRuns) -> None:
    """With `torchscript_bare_marker = ignore` a marker without arguments gates nothing, one with arguments does.

    Without it a bare marker gates: most gates of these tests are made by one.
    """
    run = run_suite({**BARE, "pytest.ini": "[pytest]\ntorchscript_bare_marker = ignore\n"})
    assert run.outcomes == {"test_label": "passed", "test_gate": "passed"}
    assert run.gates("test_label") == []
    assert run.gate("test_gate")["outcome"] == "passed"
