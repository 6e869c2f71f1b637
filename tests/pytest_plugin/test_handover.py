"""What travels from a worker to xdist's controller."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_torchscript.pytest_plugin import handover


def report() -> Any:
    return SimpleNamespace()


def test_what_is_attached_arrives() -> None:
    """Under its own name; another name has nothing."""
    made = report()
    handover.attach(made, ids=["a", "b"], gates=[{"id": "a"}])
    assert handover.attached(made, "ids") == ["a", "b"]
    assert handover.attached(made, "gates") == [{"id": "a"}]
    assert handover.attached(made, "discovered") == []


def test_a_report_without_gates_stays_as_it_is() -> None:
    """Most tests of a suite have none."""
    made = report()
    handover.attach(made, ids=[], gates=[])
    assert vars(made) == {}
    assert handover.attached(made, "gates") == []


def test_only_plain_ascii_text_travels() -> None:
    """A lone surrogate in a name would end the connection to the controller."""
    made = report()
    handover.attach(made, ids=["test[\ud800-é]"])
    assert made.torchscript.isascii()
    assert handover.attached(made, "ids") == ["test[\ud800-é]"]


@pytest.mark.parametrize(("text", "sent"), [("plain é", "plain é"), ("\ud800", "\\ud800")])
def test_text_is_made_sendable(text: str, sent: str) -> None:
    """What UTF-8 cannot hold is escaped, the rest kept."""
    assert handover.sendable(text) == sent


def test_only_a_worker_has_an_output() -> None:
    """What is written into it reaches the controller."""
    output: dict[str, Any] = {}
    worker: Any = SimpleNamespace(workeroutput=output)
    alone: Any = SimpleNamespace()
    assert handover.worker_output(worker) is output
    assert handover.worker_output(alone) is None
