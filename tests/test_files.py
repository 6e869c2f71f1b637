"""Files: whole or not at all, and errors with a place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pytest_torchscript.files import FileError, read_json, write_text


def problem(path: Path, content: str | bytes) -> str:
    """What is said of a file with this content, without its path."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(FileError) as caught:
        read_json(path)
    return str(caught.value).removeprefix(f"{path}: ")


# Writing


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """The new text stands alone, with the same bytes everywhere, and no temporary file stays."""
    path = tmp_path / "report.json"
    path.write_text("something longer than what follows", encoding="utf-8")
    write_text(path, "ü\n")
    assert path.read_bytes() == b"\xc3\xbc\n"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """Text that UTF-8 cannot hold stops the writing; the old file stays and no temporary one does."""
    path = tmp_path / "report.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_directory_is_not_replaced(tmp_path: Path) -> None:
    """Writing to a directory is an error of the system, and leaves nothing behind."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_text(folder, "text")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    """No directory is made that nobody asked for."""
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "missing" / "report.json", "text")
    assert os.listdir(tmp_path) == []


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    """The umask decides on the permissions, as for any file."""
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "report.json", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o644


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    """The temporary file's name is not longer than the file's own."""
    path = tmp_path / ("n" * 255)
    write_text(path, "text")
    assert path.read_text(encoding="utf-8") == "text"


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    """What the link leads to is replaced, not the link."""
    (tmp_path / "real.json").write_text("old", encoding="utf-8")
    link = tmp_path / "link.json"
    link.symlink_to("real.json")
    write_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real.json").read_text(encoding="utf-8") == "new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """``/dev/stdout`` and its like stay what they are."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "text")
        assert os.read(reader, 10) == b"text"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


# Reading


def test_a_value_and_its_places_are_read(tmp_path: Path) -> None:
    """Any part of a document can be named by line and column, whatever its strings hold."""
    path = tmp_path / "a.json"
    path.write_text('{"a, \\"{": [1, {"b": "x]\\\\"}],\n "c": {"d": true}}\n', encoding="utf-8")
    found = read_json(path)
    assert found.value == {'a, "{': [1, {"b": "x]\\"}], "c": {"d": True}}
    places = {
        (): "line 1, column 1",
        ('a, "{', 0): "line 1, column 13",
        ('a, "{', 1, "b"): "line 1, column 22",
        ("c",): "line 2, column 7",
        ("c", "d"): "line 2, column 13",
    }
    assert {keys: found.error("no", *keys) for keys in places} == {
        keys: f"{path}: {place}: no" for keys, place in places.items()
    }


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    """Some editors write one."""
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(path).value == [1]


def test_a_missing_file_is_the_callers_to_judge(tmp_path: Path) -> None:
    """To some it is an error, to others not."""
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "missing.json")


def test_a_directory_is_named_as_one(tmp_path: Path) -> None:
    """The message says what to give instead."""
    with pytest.raises(FileError, match="is a directory; give the file"):
        read_json(tmp_path)


def test_a_file_below_a_file_cannot_be_read(tmp_path: Path) -> None:
    """What the system says is passed on, with the path."""
    (tmp_path / "a").write_text("", encoding="utf-8")
    with pytest.raises(FileError, match=r"a.b\.json: cannot be read: "):
        read_json(tmp_path / "a" / "b.json")


def test_a_path_that_no_file_can_have_cannot_be_read() -> None:
    """A null character is refused before the system is asked."""
    with pytest.raises((FileError, FileNotFoundError)):
        read_json(Path("a\0b"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a": 1,\n "b" 2}', "line 2, column 6: not JSON: Expecting ':' delimiter"),
        ("", "line 1, column 1: the file is empty"),
        ('{"a": 1}\n}', "line 2, column 1: not JSON: Extra data"),
        (b'{"a":\n "\xff"}', "line 2, column 3: byte 0xff is not UTF-8"),
        ('{"a": 1,\n "\u00fc": NaN}', "line 2, column 7: not JSON: NaN is no finite number"),
        ('{"NaN": [1, -1e999]}', "line 1, column 13: not JSON: -1e999 is no finite number"),
        ("[" * 200_000, "line 1, column 1: cannot be read: nested too deeply"),
        ("9" * 5000, "line 1, column 1: cannot be read: Exceeds the limit"),
    ],
)
def test_broken_json_is_refused_with_its_place(tmp_path: Path, content: str | bytes, expected: str) -> None:
    """Line and column are those of the fault, in characters."""
    assert problem(tmp_path / "a.json", content).startswith(expected)


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD", "||||||| base", "=======", ">>>>>>> theirs"])
def test_a_merge_conflict_is_called_one(tmp_path: Path, marker: str) -> None:
    """A marker left over is not just a syntax error."""
    text = problem(tmp_path / "a.json", f'{{"a": 1,\n{marker}\n"b": 2}}\n')
    assert text == f"line 2, column 1: a merge conflict was not resolved here (marker {marker.split()[0]!r})"


def test_markers_inside_a_text_are_no_conflict(tmp_path: Path) -> None:
    """Only the beginning of a line counts, and no string can have one."""
    path = tmp_path / "a.json"
    path.write_text('{"a": "x\\n<<<<<<< HEAD"}', encoding="utf-8")
    assert read_json(path).value == {"a": "x\n<<<<<<< HEAD"}


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """JSON readers would silently take the last one."""
    text = problem(tmp_path / "a.json", '{"a": {"x": 1, "y": 2},\n "b": {"x": 1},\n  "a": 3}')
    assert text == "line 3, column 3: 'a' is there twice, first in line 1"
    nested = problem(tmp_path / "a.json", '[{"x": 1},\n {"x": {"y": 1, "\\u0079": 2}}]')
    assert nested == "line 2, column 17: 'y' is there twice, first in line 2"
