"""The subjects of a gate: the models of a test with their calls."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Suite


def said(gate: dict[str, Any]) -> str:
    """The verdict of a gate that was not judged, and its reason."""
    return f"{gate['verdict']}: {gate['reason']}"


FAST = "skip={'values': 'time', 'shapes': 'time'}"


def batch_of(gate: dict[str, Any]) -> int:
    return int(gate["cells"][0]["batch_size"])


def test_inputs_by_precedence(suite: Suite) -> None:
    """``inputs=``, what is returned, what was observed, the fixture ``torchscript_inputs``."""
    gates = suite(
        f"""
@pytest.fixture
def torchscript_inputs():
    return (torch.ones(5, 2),)

@pytest.fixture
def net():
    return Net()

@pytest.mark.torchscript(inputs=(torch.ones(2, 2),), {FAST})
def test_a_named(net):
    return net, (torch.ones(3, 2),)

@pytest.mark.torchscript({FAST})
def test_b_returned(net):
    net(torch.ones(4, 2))
    return net, (torch.ones(3, 2),)

@pytest.mark.torchscript(model="net", {FAST})
def test_c_observed(net):
    net(torch.ones(4, 2))

@pytest.mark.torchscript({FAST})
def test_d_fixture(net): ...
"""
    )
    assert [batch_of(gate) for gate in gates] == [2, 3, 4, 5], suite.text


def test_without_inputs_it_is_said(suite: Suite) -> None:
    """The model is no transformers model, for which inputs could be synthesised."""
    (gate,) = suite("@pytest.fixture\ndef net():\n    return Net()\n\n@pytest.mark.torchscript\ndef test_it(net): ...\n")
    assert gate["outcome"] == "error"
    assert said(gate).startswith("NoInputs: no inputs to gate Net with: the test does not call it, and inputs can only be made")
    assert ".forward()" not in said(gate)


PART = """
class Scale(nn.Module):
    def forward(self, factor):
        return factor * 2


@pytest.mark.torchscript({})
def test_it():
    Scale()(3)
    {}
"""


def test_a_part_without_a_tensor_is_left_out(suite: Suite) -> None:
    """Beside a model that can be judged it is not what the test is about."""
    (gate,) = suite(PART.format(FAST, "Net()(X)"))
    assert gate["outcome"] == "passed", suite.text


def test_alone_it_is_what_the_test_is_about(suite: Suite) -> None:
    """The gate fails and says why; so it does where the marker names its class."""
    (gate,) = suite(PART.format(FAST, ""))
    assert gate["outcome"] == "error"
    assert said(gate).startswith("NoInputs: ")
    assert "Scale" in said(gate)
    (gate,) = suite(PART.format(f"model=Scale, {FAST}", "Net()(X)"))
    assert gate["outcome"] == "error"


def test_no_model_is_a_verdict_of_its_own(suite: Suite) -> None:
    """It says where a model was looked for, and fails the test that carries the marker."""
    (gate,) = suite("@pytest.mark.torchscript\ndef test_it(): ...\n")
    assert (gate["outcome"], suite.outcomes) == ("error", {"failed": 1})
    assert said(gate).startswith("NoModel: no model to gate: the marker names none")
    assert ".forward()" not in said(gate)


INHERITED = """
@pytest.fixture
def net():
    return Net()

@pytest.fixture
def number():
    return 3

class Wide(Net):
    def __init__(self, width): ...

pytestmark = pytest.mark.torchscript({})

def test_no_model(): ...

def test_no_inputs(net): ...

def test_forward(net):
    net.forward(X)

def test_local_forward():
    Net().forward(X)

@pytest.mark.torchscript
def test_own(): ...

@pytest.mark.parametrize("x", [0, pytest.param(1, marks=pytest.mark.torchscript)])
def test_sets(x): ...
"""


def test_under_an_inherited_marker_nothing_to_judge_is_a_skip(suite: Suite) -> None:
    """With the reason in the report; a marker of the test or of its parameter set is an error."""
    gates = {gate["nodeid"].rpartition("::")[2]: gate for gate in suite(INHERITED.format(""))}
    assert {name: (gate["outcome"], gate["verdict"]) for name, gate in gates.items()} == {
        "test_no_model": ("skipped", "NoModel"),
        "test_no_inputs": ("skipped", "NoInputs"),
        "test_forward": ("skipped", "NoInputs"),
        "test_local_forward": ("skipped", "NoModel"),
        "test_own": ("error", "NoModel"),
        "test_sets[0]": ("skipped", "NoModel"),
        "test_sets[1]": ("error", "NoModel"),
    }
    assert suite.outcomes == {"passed": 5, "failed": 2}
    for name in ("test_forward", "test_local_forward"):
        assert gates[name]["reason"].endswith(
            "the test calls Net.forward(), which is not observed: call the model itself, model(x)"
        )


def test_a_marker_that_a_conftest_adds_is_inherited(suite: Suite, pytester: pytest.Pytester) -> None:
    """It stands for many tests."""
    pytester.makeconftest(
        "import pytest\ndef pytest_collection_modifyitems(items):\n"
        "    for item in items:\n        item.add_marker(pytest.mark.torchscript)\n"
    )
    (gate,) = suite("def test_it(): ...\n")
    assert (gate["outcome"], suite.outcomes) == ("skipped", {"passed": 1})


@pytest.mark.parametrize("given", ["model='number'", "inputs=lambda: 3", "model=lambda: 3", "model=lambda: 1 / 0"])
def test_what_a_marker_gives_wrongly_fails_under_any(suite: Suite, given: str) -> None:
    """A mistake in it would leave every test without its gate."""
    gates = {gate["nodeid"].rpartition("::")[2]: gate["outcome"] for gate in suite(INHERITED.format(given))}
    assert gates["test_no_inputs"] == "failed"


def test_a_class_that_a_test_does_not_use_is_no_mistake(suite: Suite) -> None:
    """One marker may name it for a module of which some tests use it."""
    gates = {
        gate["nodeid"].rpartition("::")[2]: gate
        for gate in suite(INHERITED.format("").replace("torchscript()", "torchscript(model=Wide)"))
    }
    assert (gates["test_no_model"]["outcome"], gates["test_no_model"]["verdict"]) == ("skipped", "NoModel")


def test_a_resized_axis_of_features_is_said(suite: Suite) -> None:
    """With what the gate did, and how to name the axes; where the axes are named so, the model passes."""
    marker = f"@pytest.mark.torchscript(seq_len=16, {FAST}, DIMS)\n"
    (gate,) = suite(marker.replace(", DIMS", "") + "def test_it():\n    Net()(torch.ones(3, 2))\n")
    (finding,) = gate["cells"][0]["checks"][0]["findings"]
    assert finding["message"].endswith("(the gate resized axis 1 of 'x' from 2 to 16, as seq_len=16 asks)")
    assert 'dims={"x": {0: "seq"}}' in finding["hint"]
    (gate,) = suite(marker.replace("DIMS", "dims={'x': {0: 'seq'}}") + "def test_it():\n    Net()(torch.ones(3, 2))\n")
    assert gate["outcome"] == "passed"
