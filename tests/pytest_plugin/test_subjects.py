"""The subjects of a gate: the models of a test with their calls."""

from __future__ import annotations

from typing import Any

from .conftest import Suite


def said(gate: dict[str, Any]) -> str:
    """The messages of a gate's checks."""
    return "\n".join(finding["message"] for cell in gate["cells"] for check in cell["checks"] for finding in check["findings"])


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
    assert gate["outcome"] == "failed"
    assert "inputs" in said(gate)


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
    assert gate["outcome"] == "failed"
    assert "Scale" in said(gate)
    (gate,) = suite(PART.format(f"model=Scale, {FAST}", "Net()(X)"))
    assert gate["outcome"] == "failed"


def test_no_model_is_a_refused_gate(suite: Suite) -> None:
    """It says where a model was looked for."""
    (gate,) = suite("@pytest.mark.torchscript\ndef test_it(): ...\n")
    assert "no model to gate" in said(gate)
