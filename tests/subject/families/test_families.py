"""Which family a model belongs to, and what is known of a plain torch module."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.errors import SubjectError
from pytest_torchscript.subject import families
from pytest_torchscript.subject.call import bind
from pytest_torchscript.subject.families import Family, Flag, family_of
from pytest_torchscript.subject.state import ModelState


class Known(nn.Linear):
    """A model of a library that is made up."""


class Library(Family):
    """All that a second library's file has to hold."""

    library = "made-up"

    def owns(self, model: object) -> bool:
        return isinstance(model, Known)

    def synthesise(self, model: nn.Module, *, batch_size: int | None = None, seq_len: int | None = None) -> dict[str, Tensor]:
        return {"input": torch.zeros(batch_size or 1, 2)}

    def flag(self, model: nn.Module) -> Flag | None:
        return Flag(has_effect=True) if any(map(self.owns, model.modules())) else None


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    entry = Library()
    monkeypatch.setattr(families, "FAMILIES", (entry, *families.FAMILIES))
    return entry


def test_a_plain_module_has_no_limits_and_is_called_as_it_is() -> None:
    """What is known of no library holds for every torch module: nothing is adapted."""
    model = nn.Linear(2, 2)
    family = family_of(model)
    call = bind(model, (torch.ones(1, 2),), {})
    assert family.as_deployed(model, call, ModelState(model).restore) is call
    assert family.limits(model) == {}
    assert family.pad_values(model, ["input_ids", "labels"]) == {}
    assert not family.fixes_image_sizes(model)
    assert family.flag(model) is None


def test_inputs_of_other_modules_are_not_made() -> None:
    """Only a transformers model says what its inputs are, and the message says what to do."""
    model = nn.Linear(2, 2)
    with pytest.raises(SubjectError) as caught:
        family_of(model).synthesise(model)
    assert str(caught.value) == (
        "inputs can only be made for transformers models, which Linear is not: give inputs= or a torchscript_inputs fixture"
    )


def test_a_second_library_is_one_entry(library: Library) -> None:
    """An entry in the list is all that it takes: its models are known, and the message for others names it."""
    assert family_of(Known(2, 2)) is library
    assert family_of(Known(2, 2)).synthesise(Known(2, 2), batch_size=3)["input"].shape == (3, 2)
    with pytest.raises(SubjectError, match="can only be made for made-up and transformers models, which Linear is not"):
        family_of(nn.Linear(2, 2)).synthesise(nn.Linear(2, 2))


def test_a_family_that_makes_no_inputs_says_so() -> None:
    """The base class holds for what a library's own leaves out."""
    with pytest.raises(SubjectError, match="no inputs can be made for Linear: give inputs="):
        Family().synthesise(nn.Linear(2, 2))


def test_a_plain_module_may_hold_a_flagged_one(library: Library) -> None:
    """A wrapper that picks an output hides nothing of the model in it."""
    assert family_of(nn.Sequential(Known(2, 2))).flag(nn.Sequential(Known(2, 2))) == Flag(has_effect=True)
    assert family_of(nn.Sequential()).flag(nn.Sequential()) is None


def test_transformers_is_never_imported() -> None:
    """Asking about a plain module leaves transformers unloaded."""
    code = (
        "import sys, torch\n"
        "from pytest_torchscript.subject.families import family_of\n"
        "model = torch.nn.Linear(1, 1)\n"
        "assert family_of(model).limits(model) == {} and family_of(model).flag(model) is None\n"
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)}, timeout=60)
