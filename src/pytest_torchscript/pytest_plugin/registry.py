"""The targets of a session, gathered from the hooks. Neither torch nor a target's tools are loaded for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

import pluggy

from ..arguments import Argument, by_name
from ..errors import SpecError
from ..spec import ARGUMENTS
from ..targets.base import Target

__all__ = ["BUILT_IN", "GROUP", "collect", "load_entry_points"]

GROUP = "pytest_torchscript"
HOOK = "pytest_torchscript_targets"
BUILT_IN = "torchscript-targets"
"""The name under which the built-in targets are registered."""


def load_entry_points(manager: pluggy.PluginManager) -> None:
    """Register what installed packages name under :data:`GROUP`; one that is registered already is left as it is.

    Raises:
        SpecError: one cannot be loaded; it names the package.
    """
    for entry in metadata.entry_points(group=GROUP):
        name = f"{GROUP}:{entry.name}"
        if manager.is_blocked(name):
            continue
        package = entry.dist.name if entry.dist is not None else entry.value
        try:
            plugin = entry.load()
            if plugin not in manager.get_plugins():
                # Two packages may use one entry name; whether their targets have one name too is checked by `collect`.
                manager.register(plugin, f"{name} of {package}" if manager.has_plugin(name) else name)
        except KeyboardInterrupt:
            raise
        except (
            BaseException
        ) as error:  # a package that skips or exits while it is imported must not end the run without an explanation
            raise SpecError(
                f"the targets of {package!r} cannot be loaded (entry point {entry.name!r} = {entry.value!r}): "
                f"{type(error).__name__}: {error}; mend or uninstall it, or block it with -p no:{name}"
            ) from error


def collect(manager: pluggy.PluginManager) -> dict[str, Target]:
    """Every target by name, the built-in ones first.

    Raises:
        SpecError: a hook raises, gives something that is no target, or a name that is taken; it names the plugin.
    """
    caller = getattr(manager.hook, HOOK)
    plugins = [implementation.plugin for implementation in caller.get_hookimpls()]
    found: dict[str, Target] = {}
    owners: dict[str, str] = {}
    for plugin in plugins:
        owner = _described(manager, plugin)
        alone = manager.subset_hook_caller(HOOK, [other for other in plugins if other is not plugin])
        try:
            given = list(_flat(alone()))
            for target in given:
                _check(target, owner)
        except (SpecError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a hook that skips or exits must not end the run without an explanation
            raise SpecError(f"{HOOK} of {owner} raised {type(error).__name__}: {error}") from error
        for target in given:
            if target.name in found and found[target.name] is not target:
                first = owners[target.name]
                whose = f"both of {owner}" if first == owner else f"one of {first}, one of {owner}"
                raise SpecError(f"two targets are called {target.name!r}: {whose}; rename one of them")
            found[target.name] = target
            owners[target.name] = owner
    _refuse_clashes(found)
    return found


def _refuse_clashes(found: Mapping[str, Target]) -> None:
    """Refuse an argument that two targets check or read by different functions; sharing one is allowed."""
    declared: dict[str, tuple[str, Argument]] = {}
    for name, target in found.items():
        for argument in by_name(target.arguments).values():
            other, theirs = declared.setdefault(argument.name, (name, argument))
            for function, verb in (("check", "check"), ("from_text", "read")):
                if getattr(theirs, function) != getattr(argument, function):
                    raise SpecError(
                        f"targets {other!r} and {name!r} both declare the argument {argument.name!r}, and {verb} it "
                        "differently; let them share the function, or rename one"
                    )


def _flat(given: Any) -> Iterable[Any]:
    if isinstance(given, (list, tuple)):
        for entry in given:
            yield from _flat(entry)
    elif given is not None:
        yield given


def _check(target: Any, owner: str) -> None:
    if not isinstance(target, Target):
        what = f"the class {target.__name__}: return an instance" if isinstance(target, type) else type(target).__name__
        raise SpecError(f"{HOOK} of {owner} must give pytest_torchscript.Target objects, not {what}")
    name = getattr(target, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise SpecError(
            f"a target of {owner}, {type(target).__name__}, must have a name of letters, digits, '_' and '-', not {name!r}"
        )
    problem = _problem_of(target.arguments)
    if problem:
        raise SpecError(f"target {name!r} of {owner}: {problem}")


def _problem_of(declared: Any) -> str | None:
    """Why these cannot be the arguments of a target; None if they can."""
    if not isinstance(declared, Mapping):
        if not isinstance(declared, (list, tuple)) or not all(isinstance(argument, Argument) for argument in declared):
            return f"arguments must be pytest_torchscript.Argument objects, or map names to functions, not {declared!r}"
        names = [argument.name for argument in declared]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            return f"argument {twice!r} is declared twice"
    for argument in by_name(declared).values():
        name = argument.name
        if not (isinstance(name, str) and name.isidentifier()):
            return f"an argument's name is a Python name, which {name!r} is not"
        if name in ARGUMENTS:
            return f"argument {name!r} is the marker's own; give it another name"
        if not callable(argument.check):
            return f"argument {name!r} needs a function that checks its value, not {argument.check!r}"
        if not (argument.from_text is None or callable(argument.from_text)):
            return f"argument {name!r} needs a function that reads its configuration, or None, not {argument.from_text!r}"
    return None


def _described(manager: pluggy.PluginManager, plugin: Any) -> str:
    """A plugin as its user knows it: the conftest's file, else the registered name."""
    file = getattr(plugin, "__file__", None)
    name = manager.get_name(plugin) or type(plugin).__name__
    if name == BUILT_IN:
        return "pytest-torchscript itself"
    return f"{file}" if file and name == file else f"plugin {name!r}"
