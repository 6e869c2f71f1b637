"""What torch.export prints and keeps, and where it takes down the conditions on sizes: no public name tells."""

from __future__ import annotations

import contextlib
import linecache
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.export import ExportedProgram

from ... import source
from ...nested import walk
from ...tracing import private

__all__ = ["GuardLog", "input_shapes", "quiet", "scripted_part"]

_RECURRENT = torch.nn.modules.rnn.__file__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's output about this thread's exports off stderr, and its store of generated sources from growing.

    A refused export logs a warning and prints a graph; a program that refuses its inputs prints its code.
    """
    here = threading.get_ident()
    # Before the loggers are listed: each of these modules creates one when it is imported.
    printing = private.modules_of_export()
    known = logging.root.manager.loggerDict.items()
    loggers = [entry for name, entry in known if isinstance(entry, logging.Logger) and name.partition(".")[0] == "torch"]

    def from_elsewhere(_: logging.LogRecord) -> bool:
        return threading.get_ident() != here

    def print_elsewhere(*args: Any, **kwargs: Any) -> None:
        if threading.get_ident() != here:
            print(*args, **kwargs)

    sources = private.generated_sources()
    before = set(sources)
    for logger in loggers:
        logger.addFilter(from_elsewhere)
    for module in printing:
        # This hides the builtin in that module alone.
        vars(module)["print"] = print_elsewhere
    try:
        yield
    finally:
        for module in printing:
            vars(module).pop("print", None)
        for logger in loggers:
            logger.removeFilter(from_elsewhere)
        for name in set(sources) - before:
            sources.pop(name, None)
            linecache.cache.pop(name, None)


class GuardLog:
    """The line of the model at which each guard on a size was made.

    torch keeps the innermost frame of a guard, which lies in torch itself wherever an operation compares sizes. While the log
    records, it notes the model's line for every location that torch takes down.
    """

    def __init__(self) -> None:
        self._environment: Any = None
        # Each location is kept beside its line, so that no other object gets its id.
        self._lines: dict[int, tuple[Any, source.Line | None, bool]] = {}

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        original = private.guard_location()
        if original is None:
            # torch before 2.6 keeps whole stacks itself.
            yield
            return
        here = threading.get_ident()

        def located(environment: Any, *args: Any, **kwargs: Any) -> Any:
            location = original(environment, *args, **kwargs)
            if threading.get_ident() == here:
                self._environment = environment
                stack = list(source.frames(sys._getframe(1)))
                unrolled = any(frame.file == _RECURRENT for frame in stack)
                self._lines[id(location)] = location, source.innermost(stack), unrolled
            return location

        private.set_guard_location(located)
        try:
            yield
        finally:
            private.set_guard_location(original)

    def broken_at(self, inputs: Mapping[str, Any]) -> tuple[source.Line | None, bool]:
        """The line of the first guard that these inputs break, and whether it lies in torch's recurrent layers."""
        if self._environment is None:
            return None, False
        given = dict(_sizes(inputs))
        named = private.symbols_of_sizes(self._environment).items()
        sizes = {symbol: given[name] for symbol, names in named for name in names if name in given}
        for guard in private.guards_on_sizes(self._environment):
            line, unrolled = self._line_of(guard)
            if line is not None and _is_broken(guard.expression, sizes):
                return line, unrolled
        return None, False

    def _line_of(self, guard: private.SizeGuard) -> tuple[source.Line | None, bool]:
        """The model's line of a guard, and whether it was made inside torch's recurrent layers."""
        if guard.location is not None:
            return self._lines.get(id(guard.location), (None, None, False))[1:]
        lines = (source.Line(frame.filename, frame.lineno or 0, frame.name) for frame in reversed(guard.frames()))
        return source.innermost(lines), False

    def forget(self) -> None:
        """Drop the recorded lines, and the cache of symbolic operations that torch would keep for good."""
        if self._environment is not None:
            private.forget_symbolic_operations(self._environment)
        self._environment = None
        self._lines.clear()


def _sizes(inputs: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every size of the inputs with torch's name for it: ``L['pair'][0].size()[1]``."""
    for keys, leaf in walk(dict(inputs)):
        if isinstance(leaf, torch.Tensor):
            name = "L" + "".join(f"[{key!r}]" for key in keys)
            yield from ((f"{name}.size()[{axis}]", size) for axis, size in enumerate(leaf.shape))


def _is_broken(expression: Any, sizes: Mapping[Any, int]) -> bool:
    try:
        return bool(expression.subs(sizes) == False)  # noqa: E712 - sympy's False is another object
    except ArithmeticError:
        # An intermediate size is 0 or less, and torch divides by it.
        return False


def input_shapes(program: ExportedProgram) -> list[tuple[int | None, ...]]:
    """The shapes of the program's tensor inputs, in order: the number where a size is constant, None where it is dynamic."""
    wanted = set(program.graph_signature.user_inputs)
    nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in wanted]
    return [tuple(map(_constant, node.meta["val"].shape)) for node in nodes if hasattr(node.meta["val"], "shape")]


def _constant(size: Any) -> int | None:
    # A dim that was left to torch stays a symbol, of which torch knows the number.
    return size if isinstance(size, int) else size.node.maybe_as_int()


def scripted_part(model: torch.nn.Module) -> str | None:
    """The name of the first part of a model that is a scripted module, empty for the model itself; None without one."""
    return next((name for name, part in model.named_modules() if isinstance(part, torch.jit.ScriptModule)), None)
