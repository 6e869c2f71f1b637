"""The marker's arguments in pytest's configuration: ``torchscript_<argument>``, for those of every target too.

pytest has to know an option's name when it has collected the tests: an unknown one is a warning, and an error under
``--strict-config``. A target may be declared by a conftest or an installed package, which most runs do not need. So the
targets are asked for their arguments only if the configuration has an option that is not known without them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import pytest

from ..arguments import Argument, Known
from ..errors import SpecError
from ..spec import ARGUMENTS, parse_option
from ..targets.base import Targets
from .registry import collect, load_entry_points

__all__ = ["Configuration", "targets_of"]

PREFIX = "torchscript_"
_NAME = "torchscript-configuration"

_OWN: Mapping[str, tuple[str, str]] = {
    "target_timeout": ("Seconds that one step of a target (compiling, running) may take (default: 600)", ""),
    "baseline": ("Path of the baseline, relative to the root directory", ""),
    "bare_marker": (
        "What @pytest.mark.torchscript without arguments means: gate (default), or ignore where it is a plain label",
        "gate",
    ),
}
"""The options that stand for no argument, with their help and default."""


def targets_of(config: pytest.Config) -> Targets:
    """Every target that plugins, conftests and installed packages declare so far.

    Raises:
        SpecError: one cannot be used; it names the plugin.
    """
    load_entry_points(config.pluginmanager)
    return Targets(by_name=collect(config.pluginmanager))


class Configuration:
    """Declares the options of the configuration to pytest, and reads those that stand for an argument."""

    def __init__(self, parser: pytest.Parser) -> None:
        self._parser = parser
        self._arguments = [argument.name for argument in ARGUMENTS.values() if argument.from_text is not None]
        for name in self._arguments:
            self._add(ARGUMENTS[name])
        for name, (help, default) in _OWN.items():
            parser.addini(PREFIX + name, help, default=default)

    @classmethod
    def of(cls, manager: pytest.PytestPluginManager) -> Configuration:
        """The one of this run."""
        found = manager.get_plugin(_NAME)
        assert isinstance(found, cls)
        return found

    def register(self, manager: pytest.PytestPluginManager) -> None:
        """Let :meth:`of` find it."""
        manager.register(self, _NAME)

    def declare(self, config: pytest.Config, known: Known) -> None:
        """Make the arguments of targets known to pytest, but for names that are an option already."""
        for target, declared in known.items():
            for argument in declared.values():
                if argument.from_text is not None and not _is_option(config, PREFIX + argument.name):
                    self._add(argument, f", of target {target}")
                    self._arguments.append(argument.name)

    def declare_if_needed(self, config: pytest.Config) -> None:
        """Ask the targets for their arguments where the configuration has an option that is not known yet.

        Raises:
            SpecError: a target cannot be used; it names the plugin.
        """
        if any(name.startswith(PREFIX) and not _is_option(config, name) for name in _configured(config)):
            self.declare(config, targets_of(config).arguments)

    def declare_quietly(self, config: pytest.Config, *, always: bool = False) -> None:
        """Declare the arguments of targets in a run that uses none of them: if an option needs it, or ``always``.

        A target that cannot be used is no error in such a run: its options stay unknown, and pytest says so.
        """
        with contextlib.suppress(SpecError):
            if always:
                self.declare(config, targets_of(config).arguments)
            else:
                self.declare_if_needed(config)

    def defaults(self, config: pytest.Config, known: Known | None = None) -> dict[str, Any]:
        """The arguments that the configuration gives, checked; ``known`` are the targets, which are asked for if not given.

        Raises:
            SpecError: an impossible value; it names the option.
        """
        defaults = {}
        for name in self._arguments:
            text = str(config.getini(PREFIX + name) or "")
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            if not lines:
                continue
            if known is None and (name == "target" or name not in ARGUMENTS):
                known = targets_of(config).arguments
            try:
                defaults[name] = parse_option(name, lines, known or {})
            except SpecError as error:
                raise SpecError(f"configuration {PREFIX}{name}: {error}") from None
        return defaults

    def _add(self, argument: Argument, whose: str = "") -> None:
        help = f"Default of the torchscript marker's argument {argument.name}{whose}: {argument.help}"
        self._parser.addini(PREFIX + argument.name, help.removesuffix(": "), type="string")


def _is_option(config: pytest.Config, name: str) -> bool:
    try:
        config.getini(name)
    except ValueError:
        return False
    except pytest.UsageError:
        # It is known, and has a value of another type.
        return True
    return True


def _configured(config: pytest.Config) -> set[str]:
    """The names of all options that the configuration or ``-o`` gives."""
    # pytest has no public list of them since version 9, which deprecates the mapping's name without an underscore.
    given = getattr(config, "_inicfg", None)
    overrides = config.getoption("override_ini", None) or []
    return {*(config.inicfg if given is None else given), *(text.partition("=")[0] for text in overrides)}
