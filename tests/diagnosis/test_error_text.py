"""The cause in an error's text."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript.diagnosis.error_text import root_cause
from pytest_torchscript.subject.call import bind
from pytest_torchscript.tracing.trace import TraceError, trace

LONGEST = 300


class Unregistered:
    """Weights that torch.nn.Module does not see."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.randn(64, 64))


class Bag(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return {"logits": x, "cache": [Unregistered() for _ in range(50)]}


class Leaking(nn.Module):
    """A parameter outside the registered modules, which the tracer dumps in full."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = (Unregistered(),)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.hidden[0].weight


class Mixed(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return x, None, torch.randn(40, 40)


class Texts(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return {"x": x, "all": {"nested": torch.randn(9, 9), "name": "text"}}


class Telling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError(f"bad weights {torch.randn(100, 100)}")


def error_of(model: nn.Module, x: Tensor) -> BaseException:
    with pytest.raises(TraceError) as caught:
        trace(model, bind(model, (x,), {}))
    return caught.value.cause


def interpreter_error(x: Tensor) -> BaseException:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(2, int(x.shape[1]) * 64)

    model = Fixed()
    module = trace(model, bind(model, (torch.ones(2, 3, 64),), {})).module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError) as caught:
            module(x)
    return caught.value


# The cause


@pytest.mark.parametrize("cls", [Leaking, Bag, Mixed, Texts, Telling])
def test_no_error_of_torch_dumps_a_tensor(cls: Callable[[], nn.Module]) -> None:
    """The tracer prints whole weight matrices; the cause is one line without a single number of them."""
    cause = root_cause(error_of(cls(), torch.ones(2, 64)))
    assert len(cause) <= LONGEST
    assert "\n" not in cause
    assert "tensor(" not in cause
    assert "Parameter containing" not in cause
    assert "[[" not in cause
    assert len(cause) > 15


def test_the_cause_of_the_interpreter_is_its_last_error() -> None:
    """TorchScript wraps the error in stacks of its own: what the operation said is the cause."""
    cause = root_cause(interpreter_error(torch.ones(2, 5, 64)))
    assert cause == "RuntimeError: shape '[2, 192]' is invalid for input of size 640"


def test_the_type_of_an_error_leads() -> None:
    """An exception is named with its class, a text is not."""
    assert root_cause(ValueError("no such width")) == "ValueError: no such width"
    assert root_cause("no such width") == "no such width"
    assert root_cause(KeyError("pooled")) == "KeyError: 'pooled'"


def test_a_type_that_the_text_names_is_not_named_twice() -> None:
    """``RuntimeError: RuntimeError: …`` would be noise."""
    assert root_cause(RuntimeError("RuntimeError: twice")) == "RuntimeError: twice"


@pytest.mark.parametrize(("error", "cause"), [(ValueError(), "ValueError"), ("", "unknown error"), ("\n  \n", "unknown error")])
def test_an_error_without_words_has_its_type(error: BaseException | str, cause: str) -> None:
    """Something is always said."""
    assert root_cause(error) == cause


def test_the_first_line_of_an_ordinary_error_is_the_cause() -> None:
    """What follows are explanations and stacks."""
    text = "mat1 and mat2 shapes cannot be multiplied (2x9 and 8x4)\n  File x.py, line 3\nmore"
    assert root_cause(RuntimeError(text)) == "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x9 and 8x4)"


def test_a_short_error_that_begins_with_a_number_is_kept() -> None:
    """Not everything that starts with a digit is a dump."""
    assert root_cause(ValueError("3 heads do not divide 64")) == "ValueError: 3 heads do not divide 64"


def test_a_long_cause_is_cut() -> None:
    """A block in the terminal is no place for a page."""
    cause = root_cause(RuntimeError("word " * 1000))
    assert len(cause) <= LONGEST
    assert cause.endswith("…")


def test_an_object_the_tracer_cannot_type_keeps_its_reason() -> None:
    """The object's own text is left out, the reason after it is kept."""
    values = ", ".join(["tensor([1., 2., 3.])"] * 100)
    text = f"Tracer cannot infer type of ({values})\n:Only tensors and (possibly nested) tuples of tensors are supported"
    cause = root_cause(RuntimeError(text))
    assert "Tracer cannot infer type of" in cause
    assert "Only tensors" in cause
    assert "tensor([" not in cause


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Tracer cannot infer type of Dc(a=tensor([[1., 2.],\n [3., 4.]]), b=3)\n:Only tensors", "Dc: Only tensors"),
        ("Tracer cannot infer type of ({'a': tensor([1.])}, 2)\n:Only tensors", "a tuple: Only tensors"),
        ("Tracer cannot infer type of [tensor([1.]), 'a']\n:List inputs", "a list: List inputs"),
        ("Tracer cannot infer type of {tensor([1.])}\n:Only tensors", "a dict or a set: Only tensors"),
        ("Tracer cannot infer type of DynamicCache", "DynamicCache"),
    ],
)
def test_what_the_tracer_cannot_type_is_named(text: str, cause: str) -> None:
    """By its class or the kind of container: what it holds is left out, and no word is cut."""
    assert root_cause(text) == f"Tracer cannot infer type of {cause}"


def test_a_text_is_cut_between_words() -> None:
    """Neither a long text nor an argument before a dumped tensor ends in half a name."""
    assert root_cause("a word " * 100).removesuffix(" …").split()[-1] in ("a", "word")
    assert root_cause("no rule for Pair(first=tensor([1., 2.]))") == "no rule for Pair …"
    assert root_cause("x" * 1000) == "x" * 240 + " …"


def test_an_error_that_is_no_utf8_is_still_an_error() -> None:
    """Lone surrogates and control characters pass through unharmed."""
    assert root_cause(ValueError("bad \ud800 name")) == "ValueError: bad \ud800 name"


def test_the_reason_after_a_dumped_output_is_kept() -> None:
    """torch prints a whole dictionary before it says what it may not hold."""
    dumped = "output 1 ({a: {b: (1,.,.) = \n 0.1 0.2\n[ CPUFloatType{1,2} ], }, }) of traced region with type Dict did not"
    text = f"{dumped} match; cannot be understood by the tracer, only outputs matching dict[str, Tensor] can be an output"
    cause = root_cause(RuntimeError(text))
    assert cause == (
        "RuntimeError: output 1 … cannot be understood by the tracer, only outputs matching dict[str, Tensor] can be an output"
    )


def test_torchs_own_file_is_no_part_of_the_cause() -> None:
    """What is wrong comes first, not where in torch an assertion stands, nor whom to report a bug to."""
    text = (
        '0 INTERNAL ASSERT FAILED at "/torch/csrc/jit/ir/alias_analysis.cpp":623, please report a bug to PyTorch. '
        "We don't have an op for aten::scatter but it isn't a special case.  Argument types: Tensor, int\n\nCandidates:\n\tone"
    )
    cause = root_cause(RuntimeError(text))
    assert cause.startswith("RuntimeError: We don't have an op for aten::scatter")
    assert "Candidates" not in cause
