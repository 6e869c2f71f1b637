"""Running the gates of a test: after its body, if it passed."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Suite


def reasons(gates: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {gate["nodeid"].rpartition("::")[2]: (gate["outcome"], gate["reason"]) for gate in gates}


NOT_PASSED = """
import unittest


@pytest.mark.torchscript
def test_fails():
    Net()(X)
    raise AssertionError

@pytest.mark.torchscript
def test_skips():
    pytest.skip("why")

@pytest.fixture
def broken():
    raise RuntimeError

@pytest.mark.torchscript
def test_setup(broken): ...

@pytest.mark.torchscript
@pytest.mark.skip
def test_not_set_up(): ...

@pytest.mark.torchscript
class TestIt(unittest.TestCase):
    def test_unittest(self):
        Net()(X)
        self.fail()

    def test_unittest_skips(self):
        raise unittest.SkipTest("why")

    @unittest.expectedFailure
    def test_expected(self):
        self.fail()

@pytest.fixture
def gone():
    yield
    raise RuntimeError

@pytest.mark.torchscript(skip={'values': 'time', 'shapes': 'time'})
def test_teardown(gone):
    Net()(X)

@pytest.mark.torchscript
def test_subtest(subtests):
    with subtests.test():
        raise AssertionError

@pytest.mark.xfail
@pytest.mark.torchscript
def test_xfails(): raise AssertionError

@pytest.mark.xfail
@pytest.mark.torchscript
def test_setup_xfails(broken): ...

def test_explicit(torchscript): raise AssertionError
"""


def test_a_test_that_did_not_pass_is_not_judged(suite: Suite) -> None:
    """Each of its gates is an error, with the reason; what the user skips or expects to fail stays that."""
    gates = suite(NOT_PASSED)
    assert reasons(gates) == {
        "test_fails": ("error", "the test itself failed"),
        "test_skips": ("skipped", "the test itself was skipped"),
        "test_setup": ("error", "the test's setup failed"),
        "test_not_set_up": ("skipped", "the test's setup was skipped"),
        "test_unittest": ("error", "the test itself failed"),
        "test_unittest_skips": ("skipped", "the test itself was skipped"),
        "test_expected": ("skipped", "the test itself failed, as its xfail expects"),
        "test_teardown": ("error", "the test's teardown failed"),
        "test_subtest": ("error", "a subtest failed"),
        "test_xfails": ("skipped", "the test itself failed, as its xfail expects"),
        "test_setup_xfails": ("skipped", "the test's setup failed, as its xfail expects"),
        "test_explicit": ("error", "the test itself failed"),
    }
    assert {gate.get("verdict") for gate in gates if gate["outcome"] == "error"} == {"NotJudged"}
    assert [len(gate["cells"]) for gate in gates if "teardown" in gate["id"]] == [1]


def test_a_failing_gate_fails_its_test(suite: Suite) -> None:
    """With the headline and the block of each gate that failed, and no traceback of the plugin."""
    (gate,) = suite("@pytest.mark.torchscript(id='net')\ndef test_it():\n    Net()(X * torch.nan)\n")
    assert (gate["outcome"], suite.outcomes) == ("failed", {"failed": 1})
    assert "torchscript gate: test_it.py::test_it (net)" in suite.text
    assert "gatekeeper.py" not in suite.text


CUT_OFF = """
@pytest.fixture
def batch():
    {}

@pytest.mark.torchscript(inputs="batch")
def test_it():
    Net()(X)
"""


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ("pytest.skip('no data')", "skipped", "the gate was cut off: Skipped: no data"),
        ("raise LookupError('no data')", "error", "the gate was cut off: LookupError: no data"),
        ("pytest.fail('Timeout (>1.0s)')", "crashed", "the gate was cut off: Failed: Timeout (>1.0s)"),
    ],
    ids=["skip", "error", "timeout"],
)
def test_a_gate_that_is_cut_off_is_reported(suite: Suite, body: str, outcome: str, reason: str) -> None:
    """The test ends as the exception says."""
    (gate,) = suite(CUT_OFF.format(body))
    assert (gate["outcome"], gate["reason"]) == (outcome, reason)


def test_several_models_have_several_names(suite: Suite) -> None:
    """Their classes, and a number where the classes are one."""
    gates = suite(
        "@pytest.mark.torchscript(id='it', skip={'values': 'time', 'shapes': 'time'})\n"
        "def test_it():\n    Net()(X)\n    Other()(X)\n    Net(3)(torch.ones(1, 3))\n"
    )
    assert {gate["id"] for gate in gates} == {"it-Net", "it-Other", "it-Net-2"}
    assert {gate["outcome"] for gate in gates} == {"passed"}


def test_a_known_failure_is_an_xfail(suite: Suite, pytester: pytest.Pytester) -> None:
    """The test xfails as its gate does, with the reason of the baseline."""
    cell = '{"cells": {"torchscript": {"dims": {}, "verdict": "NonFinite"}}, "reason": "issue 12"}'
    (pytester.path / "torchscript-baseline.json").write_text(f'{{\n"gate:net": {cell},\n"schema": 1\n}}\n')
    (gate,) = suite("@pytest.mark.torchscript(id='net')\ndef test_it():\n    Net()(X * torch.nan)\n", "-rx")
    assert (gate["outcome"], gate["baseline"], suite.outcomes) == ("xfailed", "KNOWN", {"xfailed": 1})
    assert "issue 12" in suite.text


def test_an_xfailing_test_makes_its_failing_gate_an_xfail(suite: Suite) -> None:
    """pytest's own mark stands for both."""
    gates = suite(
        "@pytest.mark.xfail\n@pytest.mark.torchscript\ndef test_no_model(): ...\n"
        "@pytest.mark.xfail\n@pytest.mark.torchscript\ndef test_nan():\n    Net()(X * torch.nan)\n"
    )
    assert ([gate["outcome"] for gate in gates], suite.outcomes) == (["xfailed", "xfailed"], {"xfailed": 2})


def test_an_explicit_check_takes_the_place_of_the_marker(suite: Suite) -> None:
    """A second one of the same test has a name of its own."""
    gates = suite(
        "@pytest.mark.torchscript(id='it', skip={'values': 'time', 'shapes': 'time'}, rtol=0.5)\n"
        "def test_it(torchscript):\n"
        "    torchscript.check(Net(), (X,))\n    torchscript.check(Other(), (X,))\n    torchscript.check(Other(), (X,))\n"
    )
    assert [gate["id"] for gate in gates] == ["it", "it-Other", "it-Other-2"]
    skipped = [check["name"] for check in gates[1]["cells"][0]["checks"] if check["reason"] == "time"]
    assert skipped == ["values", "shapes"]


def test_an_explicit_check_raises_its_failure(suite: Suite) -> None:
    """The test may look at it, and goes on."""
    (gate,) = suite(
        "def test_it(torchscript):\n    from pytest_torchscript import GateFailed\n"
        "    with pytest.raises(GateFailed, match='must be an nn.Module, not int'):\n        torchscript.check(3, (X,))\n"
    )
    assert (gate["outcome"], suite.outcomes) == ("failed", {"passed": 1})


def test_an_explicit_check_uses_the_call_of_the_body(suite: Suite) -> None:
    """Its inputs, unless others are given, the settings round it and what it wrote into the model."""
    gates = suite(
        "class Keeps(Net):\n    kept = None\n\n    def forward(self, x):\n"
        "        self.kept = x.clone() if self.kept is None else self.kept\n        return self.linear(x) - self.kept\n\n"
        "def test_inputs(torchscript):\n    net = Net()\n    net(torch.ones(3, 2))\n    torchscript.check(net)\n\n"
        "def test_settings(torchscript):\n    net = Net()\n    with torch.autocast('cpu', torch.bfloat16):\n        net(X)\n"
        "    torchscript.check(net)\n    torchscript.check(net, X)\n\n"
        "def test_effects(torchscript):\n    net = Keeps()\n    net(X)\n    torchscript.check(net, (X,))\n\n"
        "def test_own_settings(torchscript):\n    net = Net()\n    net(X)\n    with torch.autocast('cpu', torch.bfloat16):\n"
        "        torchscript.check(net, X)\n"
    )
    cells = {gate["id"].removeprefix("test_it-py--"): gate["cells"][0] for gate in gates}

    def dtype(id: str) -> str:
        return next(str(check["metrics"]["outputs"]["output"]) for check in cells[id]["checks"] if check["name"] == "eager")

    assert cells["test_inputs"]["batch_size"] == 3, suite.text
    assert "bfloat16" in dtype("test_settings")
    assert "bfloat16" in dtype("test_settings-Net")
    assert "bfloat16" in dtype("test_own_settings")
    assert cells["test_effects"]["verdict"] == "SideEffect"


def test_all_bad_markers_are_told_at_once(suite: Suite, pytester: pytest.Pytester) -> None:
    """Each with its test, before any test runs."""
    pytester.makepyfile(
        "import pytest\n@pytest.mark.torchscript(seq_len=0)\ndef test_a(): ...\n"
        "@pytest.mark.torchscript(rtol=-1)\ndef test_b(): ...\n"
    )
    run = pytester.runpytest_inprocess()
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(
        ["*::test_a: @pytest.mark.torchscript: seq_len must*", "*::test_b: @pytest.mark.torchscript: rtol*"]
    )


def test_what_is_no_test_function_has_no_gate(suite: Suite) -> None:
    """A doctest in a marked module."""
    assert (
        suite(
            'pytestmark = pytest.mark.torchscript\n\ndef function():\n    """\n    >>> 1\n    1\n    """\n', "--doctest-modules"
        )
        == []
    )
