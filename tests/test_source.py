"""Whose line a failure came from."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch

import pytest_torchscript
from pytest_torchscript import source
from pytest_torchscript.source import Line

HERE = __file__
PACKAGE = Path(pytest_torchscript.__file__).parent


def site(path: str) -> str:
    """A path in some environment's site-packages."""
    return str(Path("/env/lib/python3.11/site-packages", path))


# Whose file


@pytest.mark.parametrize(
    "file",
    [
        "",
        "<string>",
        "<frozen importlib._bootstrap>",
        torch.__file__,
        torch.nn.functional.__file__,
        pytest.__file__,
        os.__file__,
        json.__file__,
        str(PACKAGE / "gate.py"),
        str(PACKAGE / "subject" / "call.py"),
        site("torch/nn/modules/module.py"),
        site("numpy/core/fromnumeric.py"),
        site("_pytest/python.py"),
        "C:\\env\\Lib\\site-packages\\torch\\nn\\functional.py",
    ],
)
def test_torch_pytest_the_standard_library_and_this_package_are_never_guilty(file: str) -> None:
    """Files through which every stack goes say nothing about the model."""
    assert source.is_foreign(file)


@pytest.mark.parametrize(
    "file",
    [HERE, site("transformers/models/bert/modeling_bert.py"), site("torchvision/ops/misc.py"), "/home/me/torch/model.py"],
)
def test_the_users_and_the_libraries_files_can_be_guilty(file: str) -> None:
    """The user's code and a model library's are where a model goes wrong, whatever their folders are called."""
    assert not source.is_foreign(file)


def test_a_library_in_the_environment_can_be_guilty() -> None:
    """Site-packages lies below the standard library's folder, and is not of it."""
    spec = importlib.util.find_spec("transformers")
    assert spec is not None
    assert spec.origin is not None
    assert not source.is_foreign(spec.origin)


# Lines


def test_a_line_reads_its_own_text() -> None:
    """The text is the source line without indentation; a file that is not there gives none."""
    assert Line(HERE, 1).text == '"""Whose line a failure came from."""'
    assert Line("/no/such/file.py", 3).text == ""


def test_frames_go_from_the_innermost_outwards() -> None:
    """The stack of a frame starts with the frame itself."""
    stack = list(source.frames(sys._getframe()))
    assert stack[0].file == HERE
    assert stack[0].function == "test_frames_go_from_the_innermost_outwards"
    assert len(stack) > 5


def thrower() -> None:
    raise ValueError("x")


def test_the_frames_of_a_traceback_start_where_it_was_raised() -> None:
    """The first line is that of the raise, the last that of the try."""
    with pytest.raises(ValueError, match="x") as caught:
        thrower()
    stack = source.traceback_frames(caught.tb)
    assert stack[0].function == "thrower"
    assert stack[0].text == 'raise ValueError("x")'
    assert stack[-1].function == "test_the_frames_of_a_traceback_start_where_it_was_raised"
    assert source.traceback_frames(None) == []


def test_torchs_own_stack_can_be_read() -> None:
    """The words of a graph's source range: file, line in parentheses, function."""
    text = "/a/model.py(41): forward\n/env/torch/nn/modules/module.py(1779): _call_impl\n"
    assert source.parse_stack(text) == [
        Line("/a/model.py", 41, "forward"),
        Line("/env/torch/nn/modules/module.py", 1779, "_call_impl"),
    ]


def test_a_python_traceback_in_a_message_can_be_read() -> None:
    """The words of a traceback: File, line, in."""
    text = 'RuntimeError: no\n  File "/a b/model.py", line 41, in forward\n    return x\n  File "/c.py", line 2, in <module>\n'
    assert source.parse_stack(text) == [Line("/a b/model.py", 41, "forward"), Line("/c.py", 2, "<module>")]


def test_text_without_a_stack_gives_no_lines() -> None:
    """An ordinary message is no stack."""
    assert source.parse_stack("shape '[2, 3]' is invalid (for input) of size 5") == []


# The innermost line


def test_the_innermost_line_is_the_first_that_is_not_foreign() -> None:
    """torch's frames are passed over, in the order from inside out."""
    stack = [Line(torch.__file__, 3, "f"), Line("/a/model.py", 41, "forward"), Line("/a/main.py", 5, "main")]
    assert source.innermost(stack) == Line("/a/model.py", 41, "forward")


def test_a_stack_of_foreign_lines_has_no_guilty_one() -> None:
    """Without a line of the user's or a library's there is nothing to name."""
    assert source.innermost([Line(torch.__file__, 3, "f"), Line("<string>", 1, "g")]) is None
    assert source.innermost([]) is None


def test_a_librarys_decorator_is_passed_over() -> None:
    """A wrapper around a forward is named only where nothing else is."""
    wrapper = Line(site("transformers/utils/generic.py"), 900, "wrapper")
    forward = Line(site("transformers/models/bert/modeling_bert.py"), 70, "forward")
    assert source.innermost([wrapper, forward]) == forward
    assert source.innermost([wrapper]) == wrapper


def test_the_users_own_wrapper_is_not_passed_over() -> None:
    """Only libraries' decorators are known to be innocent."""
    mine = Line("/a/model.py", 3, "wrapper")
    assert source.innermost([mine, Line("/a/main.py", 5, "main")]) == mine


# Files in reports


@pytest.mark.parametrize(
    ("file", "root", "expected"),
    [
        ("/a/src/head.py", "/a", "src/head.py"),
        ("/a/src/../src/head.py", "/a", "src/head.py"),
        ("/b/head.py", "/a", "/b/head.py"),
        ("/ab/head.py", "/a", "/ab/head.py"),
        (site("transformers/x.py"), "/a", "transformers/x.py"),
        (site("a/site-packages/b/x.py"), None, "b/x.py"),
        ("/b/head.py", None, "/b/head.py"),
        ("C:\\env\\Lib\\site-packages\\timm\\x.py", None, "timm/x.py"),
    ],
)
def test_a_file_is_named_from_the_root_or_from_its_package(file: str, root: str | None, expected: str) -> None:
    """Below the root directory a path is relative to it; an installed file starts at its package; others stay whole."""
    assert source.relative(file, root) == expected


def test_a_relative_file_is_found_below_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file named relative to the working directory is that file."""
    monkeypatch.chdir(tmp_path)
    assert source.relative("head.py", tmp_path) == "head.py"


def test_a_scripted_function_has_a_place_without_a_function() -> None:
    """torch gives its file and line alone, followed by the source."""
    text = '  File "/home/me/model.py", line 11\n    def forward(x):\n        return x.nonzero()\n           ~ <--- HERE\n'
    assert source.parse_stack(text) == [Line("/home/me/model.py", 11)]


def test_a_place_in_a_saved_program_is_nobodys_line() -> None:
    """torch wrote that code, and there is no such file."""
    assert source.is_foreign("code/__torch__/tests/model.py")


# Statements


CODE = """
@cached
def forward(
    self,
    x,
):
    if (
        x.sum() > 0
    ):
        y = torch.tensor(
            [x.shape[1],
             1]
        )
    return y
"""


@pytest.mark.parametrize(
    ("line", "statement"),
    [
        (8, "if ( x.sum() > 0 ):"),
        (11, "y = torch.tensor( [x.shape[1], 1] )"),
        (13, "y = torch.tensor( [x.shape[1], 1] )"),
        (14, "return y"),
        (4, "def forward( self, x, ):"),
    ],
)
def test_a_statement_is_read_whole(tmp_path: Path, line: int, statement: str) -> None:
    """On one line, whichever of its lines is asked for; of a compound statement the head."""
    path = tmp_path / "code.py"
    path.write_text(CODE, encoding="utf-8")
    assert Line(str(path), line).statement == statement


@pytest.mark.parametrize(
    ("line", "expression"),
    [
        (2, "return torch.add( x.sum(1) * ceil(2.5), x.mean(1) / int( x.shape[1] ), )"),
        (3, "return torch.add( x.sum(1) * ceil(2.5),"),
        (4, "return torch.add(  x.mean(1) / int( x.shape[1] ), )"),
        (5, "return torch.add( / int( x.shape[1] ), )"),
    ],
)
def test_an_expression_leaves_out_what_stands_on_other_lines(tmp_path: Path, line: int, expression: str) -> None:
    """The functions that are called around a line stay; where one is called, so do its arguments."""
    path = tmp_path / "code.py"
    text = "def f(x):\n    return torch.add(\n        x.sum(1) * ceil(2.5),\n        x.mean(1) / int(\n"
    path.write_text(text + "            x.shape[1]\n        ),\n    )\n", encoding="utf-8")
    found = re.sub(r"[ ,)]+", " ", Line(str(path), line).expression)
    assert found == re.sub(r"[ ,)]+", " ", expression)


def test_a_file_that_cannot_be_parsed_has_lines_alone(tmp_path: Path) -> None:
    """A template, or a file of another Python, or none at all."""
    path = tmp_path / "code.py"
    path.write_text("if x\n  y = 1\n", encoding="utf-8")
    assert Line(str(path), 2).statement == "y = 1"
    assert Line(str(tmp_path / "gone.py"), 2).statement == ""


@functools.lru_cache
def table(length: int) -> int:
    return length


def uses(length: int) -> int:
    return table(length) + len(str(length))


def test_the_cached_functions_that_a_line_calls_are_known() -> None:
    """By the names of the line's own module; other functions are not looked at."""
    line = uses.__code__.co_firstlineno + 1
    assert source.cached_functions(Line(HERE, line)) == ["table"]
    assert source.cached_functions(Line(HERE, 1)) == []
    assert source.cached_functions(Line("/nowhere/at/all.py", 1)) == []
