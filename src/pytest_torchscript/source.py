"""Source lines: whose line a failure came from. Standard library only.

A stack goes through the user's code, a library such as transformers, and torch itself. The line worth naming is the
innermost one that is not torch's, not the standard library's and not this package's.
"""

from __future__ import annotations

import ast
import functools
import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

__all__ = ["Line", "cached_functions", "frames", "innermost", "is_foreign", "parse_stack", "relative", "traceback_frames"]

_HERE = os.path.dirname(os.path.abspath(__file__))
_STDLIB = tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")})
_SITE = re.compile(r"[\\/](site|dist)-packages[\\/]")
_FOREIGN = re.compile(r"[\\/](site|dist)-packages[\\/](torch|torchgen|functorch|numpy|scipy|pytest|_pytest|pluggy|xdist)[\\/]")
_TORCH_MODULES = re.compile(r"[\\/]torch[\\/]nn[\\/]modules[\\/]")
_STACK_LINE = re.compile(
    r"(?:^|\n)\s*(?:File \")?(?P<file>[^\n\"()]+?)"
    r"(?:(?:\((?P<l1>\d+)\)|\", line (?P<l2>\d+))(?:: |, in )(?P<fn>\S+)|\", line (?P<l3>\d+)(?=\n|$))"
)


@dataclass(frozen=True)
class Line:
    """One line of code: absolute file, 1-based line, function."""

    file: str
    line: int
    function: str = ""

    @property
    def text(self) -> str:
        """The line as written, stripped; empty when the file cannot be read."""
        return linecache.getline(self.file, self.line).strip()

    @property
    def statement(self) -> str:
        """The whole statement of the line, on one line, or the head of a compound one; else the text of the line alone."""
        return self._joined(())

    @property
    def expression(self) -> str:
        """The statement without the arguments, operands and entries of it that stand on other lines than this one."""
        found = self._found()
        return self._joined(tuple(_elsewhere(found[2], self.line)) if found else ())

    def _found(self) -> tuple[int, int, ast.AST] | None:
        found = [entry for entry in _statements(self.file) if entry[0] <= self.line <= entry[1]]
        return max(found, key=lambda entry: entry[:2], default=None)

    def _joined(self, left_out: Sequence[ast.expr]) -> str:
        first, last, _ = self._found() or (self.line, self.line, None)
        texts = (_without(linecache.getline(self.file, number), number, left_out) for number in range(first, last + 1))
        return " ".join(text for text in map(str.strip, texts) if text)


# A tree is large: few are kept.
@functools.lru_cache(maxsize=8)
def _statements(file: str) -> tuple[tuple[int, int, ast.AST], ...]:
    """The first and last line of each statement of a file, of a compound one without its body, and the statement."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return ()
    spans = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.stmt, ast.ExceptHandler)):
            body = getattr(node, "body", None)
            last = max(body[0].lineno - 1, node.lineno) if body else node.end_lineno or node.lineno
            spans.append((node.lineno, last, node))
    return tuple(spans)


def _elsewhere(node: ast.AST, line: int) -> Iterator[ast.expr]:
    """What a node holds on other lines than ``line``; nothing where the node, or the name of the called function, is there."""
    name = node.func.end_lineno if isinstance(node, ast.Call) else getattr(node, "lineno", None)
    if name == line:
        return
    for child in ast.iter_child_nodes(node):
        first, last = getattr(child, "lineno", line), getattr(child, "end_lineno", line)
        if first <= line <= last:
            yield from _elsewhere(child, line)
        elif isinstance(child, ast.expr) and not (isinstance(node, ast.Call) and child is node.func):
            yield child


def _without(text: str, number: int, left_out: Sequence[ast.expr]) -> str:
    """The text of one line with the expressions blanked out; their columns count bytes."""
    data = text.encode()
    for node in left_out:
        if node.lineno <= number <= (node.end_lineno or node.lineno):
            start = node.col_offset if number == node.lineno else 0
            end = node.end_col_offset if number == node.end_lineno and node.end_col_offset is not None else len(data)
            data = data[:start] + b" " * (end - start) + data[end:]
    return data.decode()


def cached_functions(line: Line) -> list[str]:
    """The functions under ``functools.cache`` or ``lru_cache`` that a line calls by a name of its module."""
    module = next((found for found in list(sys.modules.values()) if getattr(found, "__file__", None) == line.file), None)
    called = dict.fromkeys(re.findall(r"\b([A-Za-z_]\w*)\(", line.expression))
    return [name for name in called if hasattr(getattr(module, name, None), "cache_info")]


@functools.lru_cache(maxsize=4096)
def is_foreign(file: str) -> bool:
    """Whether a file is torch's, pytest's, the standard library's, generated or this package's: never the guilty one."""
    # What a saved program says of itself is a place in its archive, in code that torch wrote.
    if not file or file.startswith(("<", "code/__torch__")):
        return True
    absolute = os.path.abspath(file)
    if absolute.startswith(_HERE + os.sep) or _FOREIGN.search(absolute):
        return True
    # site-packages lies below the standard library's folder.
    return os.path.realpath(absolute).startswith(_STDLIB) and not _SITE.search(absolute)


def frames(frame: FrameType | None) -> Iterable[Line]:
    """The stack from ``frame`` outwards, innermost first."""
    while frame is not None:
        yield Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back


def traceback_frames(traceback: TracebackType | None) -> list[Line]:
    """The stack of a traceback, innermost first."""
    lines = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        lines.append(Line(code.co_filename, traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    return lines[::-1]


def parse_stack(text: str) -> list[Line]:
    """The lines of a stack in torch's words, ``file(41): forward`` or ``File "file", line 41, in forward``, as they come.

    A scripted function has no stack, but its place in the source, without a function: ``File "file", line 41``.
    """
    return [
        Line(match["file"].strip(), int(match["l1"] or match["l2"] or match["l3"]), match["fn"] or "")
        for match in _STACK_LINE.finditer(text)
    ]


# Wrappers around a forward that are never the cause: decorators of transformers and accelerate.
_WRAPPERS = ("wrapper", "wrapped", "wrapped_func", "inner", "new_forward")


def innermost(stack: Iterable[Line]) -> Line | None:
    """The innermost line of the user's or a library's code, between the failure and this package's call of the model.

    Where the model is made of torch's own modules alone, the innermost line of one of those.
    """
    wrapper = module = None
    inside = False
    for line in stack:
        if line.file.startswith(_HERE + os.sep):
            if inside:
                # What called the gate, a test or pytest, is not what the model does.
                break
            continue
        if is_foreign(line.file):
            # `warnings`, of the standard library, stands between a recorder of ours and the code that warned.
            inside = inside or bool(_FOREIGN.search(line.file))
            if module is None and _TORCH_MODULES.search(line.file) and not line.file.endswith("module.py"):
                module = line
            continue
        inside = True
        if line.function in _WRAPPERS and _SITE.search(line.file):
            wrapper = wrapper or line
            continue
        return line
    return wrapper or module


def relative(file: str, root: str | os.PathLike[str] | None = None) -> str:
    """``file`` relative to ``root`` where it lies below it, with forward slashes; an installed file from its package on."""
    if root is not None and not _SITE.search(file):
        try:
            return Path(os.path.abspath(file)).relative_to(os.path.abspath(root)).as_posix()
        except ValueError:
            pass
    return _SITE.split(file)[-1].replace("\\", "/")
