"""The targets of a session: gathered from hooks, checked, and each known by its plugin."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest

from pytest_torchscript import Argument, SpecError, Target, targets
from pytest_torchscript.pytest_plugin import hookspecs, registry
from pytest_torchscript.targets import Targets


class Mobile(Target):
    name = "mobile"


class Other(Target):
    name = "mobile"


def manager(*plugins: Any) -> pluggy.PluginManager:
    """A plugin manager that takes hooks by their names, as pytest's does."""

    class ByName(pluggy.PluginManager):
        def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
            return {} if name.startswith("pytest_") else None

        def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
            return {} if name.startswith("pytest_") else None

    made = ByName("pytest")
    made.add_hookspecs(hookspecs)
    for plugin in plugins:
        made.register(plugin, getattr(plugin, "registered", None))
    return made


class Plugin:
    """An object with the hook, as a module is one."""

    def __init__(self, hook: Callable[[], Any], registered: str) -> None:
        self.registered = registered
        self.pytest_torchscript_targets = hook


def plugin(hook: Callable[[], Any], registered: str = "mine") -> Any:
    return Plugin(hook, registered)


def test_the_built_in_targets_come_by_the_same_hook() -> None:
    """Nothing but the registered module makes them known."""
    assert list(registry.collect(manager(targets))) == ["torchscript", "libtorch", "neuron", "neuron-inf1", "export"]
    assert registry.collect(manager()) == {}


def test_a_hook_may_give_one_or_several_or_none() -> None:
    """Whatever is easiest to write."""
    one = Mobile()
    assert registry.collect(manager(plugin(lambda: one))) == {"mobile": one}
    assert registry.collect(manager(plugin(lambda: [one]))) == {"mobile": one}
    assert registry.collect(manager(plugin(lambda: None))) == {}
    assert registry.collect(manager(plugin(lambda: (None, (one, None))))) == {"mobile": one}


def test_a_conftest_is_known_by_its_file() -> None:
    """Under which pytest registers it; a module of a package by the name that -p takes."""
    conftest, module = plugin(lambda: Mobile(), "/suite/conftest.py"), plugin(lambda: Other(), "vendor.targets")
    conftest.__file__, module.__file__ = "/suite/conftest.py", "/site/vendor/targets.py"
    with pytest.raises(SpecError, match=r"one of /suite/conftest\.py, one of plugin 'vendor\.targets'; rename"):
        registry.collect(manager(conftest, module))


def test_two_targets_of_one_name_name_both_plugins() -> None:
    """A built-in name is taken like any other."""
    with pytest.raises(SpecError, match="two targets are called 'mobile': one of plugin 'a', one of plugin 'b'; rename"):
        registry.collect(manager(plugin(lambda: Mobile(), "a"), plugin(lambda: Other(), "b")))

    class Neuron(Target):
        name = "neuron"

    with pytest.raises(SpecError, match="two targets are called 'neuron'"):
        registry.collect(manager(targets, plugin(lambda: Neuron())))


def test_one_object_given_twice_is_one_target() -> None:
    """A package and its conftest may both hand it out."""
    one = Mobile()
    assert registry.collect(manager(plugin(lambda: one, "a"), plugin(lambda: [one], "b"))) == {"mobile": one}


def test_a_hook_that_raises_is_told_with_its_plugin() -> None:
    """The others are not to blame."""

    def hook() -> Any:
        raise ImportError("no module named vendor")

    with pytest.raises(
        SpecError, match="pytest_torchscript_targets of plugin 'mine' raised ImportError: no module named vendor"
    ):
        registry.collect(manager(targets, plugin(hook)))


def any_value(name: str, value: Any) -> Any:
    return value


def declaring(*arguments: Argument, called: str = "declaring") -> Target:
    return type("Declaring", (Target,), {"name": called, "arguments": arguments})()


class Nameless(Target):
    pass


class Dotted(Target):
    name = "a.b"


class Taken(Target):
    name = "taken"
    arguments = {"seq_len": lambda name, value: value}


class Wordy(Target):
    name = "wordy"
    arguments = {"two words": lambda name, value: value}


class Numbered(Target):
    name = "numbered"
    arguments = {3: lambda name, value: value}  # type: ignore[dict-item]


class Unchecked(Target):
    name = "unchecked"
    arguments = {"fast": True}  # type: ignore[dict-item]


class Listed(Target):
    name = "listed"
    arguments = ["fast"]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Mobile, "must give pytest_torchscript.Target objects, not the class Mobile: return an instance"),
        ("mobile", "must give pytest_torchscript.Target objects, not str"),
        (Nameless(), "Nameless, must have a name of letters, digits, '_' and '-', not None"),
        (Dotted(), "must have a name of letters, digits, '_' and '-', not 'a.b'"),
        (Taken(), "argument 'seq_len' is the marker's own; give it another name"),
        (Wordy(), "an argument's name is a Python name, which 'two words' is not"),
        (Numbered(), "an argument's name is a Python name, which 3 is not"),
        (Unchecked(), "argument 'fast' needs a function that checks its value, not True"),
        (Listed(), "arguments must be pytest_torchscript.Argument objects, or map names to functions, not \\['fast'\\]"),
        (declaring(Argument("seq_len", any_value)), "argument 'seq_len' is the marker's own; give it another name"),
        (declaring(Argument("a b", any_value)), "an argument's name is a Python name, which 'a b' is not"),
        (declaring(Argument("fast", None)), "argument 'fast' needs a function that checks its value, not None"),  # type: ignore[arg-type]
        (
            declaring(Argument("fast", any_value, "yes")),  # type: ignore[arg-type]
            "argument 'fast' needs a function that reads its configuration, or None, not 'yes'",
        ),
        (declaring(Argument("fast", any_value), Argument("fast", any_value)), "argument 'fast' is declared twice"),
    ],
)
def test_what_is_no_target_is_told(given: Any, says: str) -> None:
    """With the plugin, and what was expected."""
    with pytest.raises(SpecError, match=says):
        registry.collect(manager(plugin(lambda: given)))


# Installed packages


def entry(monkeypatch: pytest.MonkeyPatch, load: Callable[[], Any], name: str = "vendor") -> None:
    made = SimpleNamespace(name=name, value="vendor.targets", dist=SimpleNamespace(name="vendor-targets"), load=load)
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: [made] if group == "pytest_torchscript" else [])


def test_an_installed_package_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the targets are asked for."""
    module = plugin(lambda: Mobile())
    entry(monkeypatch, lambda: module)
    made = manager(targets)
    registry.load_entry_points(made)
    registry.load_entry_points(made)
    assert made.get_name(module) == "pytest_torchscript:vendor"
    assert "mobile" in registry.collect(made)


def test_two_packages_may_have_one_entry_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are asked, so that none is dropped in silence."""
    modules = {"first": plugin(lambda: Mobile()), "second": plugin(lambda: Other())}
    entries = [
        SimpleNamespace(name="mobile", value=name, dist=SimpleNamespace(name=name), load=lambda module=module: module)
        for name, module in modules.items()
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: entries)
    made = manager()
    registry.load_entry_points(made)
    registry.load_entry_points(made)
    with pytest.raises(SpecError, match=r"one of plugin 'pytest_torchscript:mobile', one of plugin '.*mobile of second'"):
        registry.collect(made)


def test_a_package_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it."""

    def load() -> Any:
        raise RuntimeError("built for another Python")

    entry(monkeypatch, load)
    with pytest.raises(
        SpecError,
        match=r"the targets of 'vendor-targets' cannot be loaded .*RuntimeError: built for another Python; "
        r"mend or uninstall it, or block it with -p no:pytest_torchscript:vendor",
    ):
        registry.load_entry_points(manager())


def test_a_package_without_metadata_is_named_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point made by hand has no distribution."""

    def load() -> Any:
        raise RuntimeError("no")

    made = SimpleNamespace(name="vendor", value="vendor.targets", dist=None, load=load)
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: [made])
    with pytest.raises(SpecError, match=r"the targets of 'vendor\.targets' cannot be loaded"):
        registry.load_entry_points(manager())


def test_a_blocked_package_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """By pytest's own -p no:NAME."""
    entry(monkeypatch, lambda: pytest.fail("loaded"))
    made = manager()
    made.set_blocked("pytest_torchscript:vendor")
    registry.load_entry_points(made)


def test_one_argument_of_two_targets_is_checked_alike() -> None:
    """Or nobody would know which of two checks a marker meets."""

    def both(first: Argument, second: Argument) -> dict[str, Target]:
        given = [declaring(first, called="a"), declaring(second, called="b")]
        return registry.collect(manager(plugin(lambda: given)))

    bits = Argument("bits", any_value)
    assert set(both(bits, Argument("bits", any_value, help="in words of its own"))) == {"a", "b"}
    with pytest.raises(SpecError, match="targets 'a' and 'b' both declare the argument 'bits', and check it differently"):
        both(bits, Argument("bits", lambda name, value: value))
    with pytest.raises(
        SpecError, match="both declare the argument 'bits', and read it differently; let them share the function"
    ):
        both(bits, Argument("bits", any_value, None))


def test_both_forms_of_a_declaration_are_one() -> None:
    """A mapping of names to checks, as targets were written before, means the same as arguments without more."""
    older = type("Older", (Target,), {"name": "older", "arguments": {"bits": any_value}})()
    found = registry.collect(manager(plugin(lambda: [older, declaring(Argument("bits", any_value))])))
    assert Targets(by_name=found).arguments["older"] == {"bits": Argument("bits", any_value)}


def test_two_of_one_plugin_are_told_as_such() -> None:
    """There is one file to look into."""
    with pytest.raises(SpecError, match="two targets are called 'mobile': both of plugin 'mine'; rename one of them"):
        registry.collect(manager(plugin(lambda: [Mobile(), Other()])))


class Raising(Target):
    @property
    def name(self) -> str:  # type: ignore[override]
        raise LookupError("no name yet")


def endless() -> list[Any]:
    given: list[Any] = []
    given.append(given)
    return given


def leaving() -> Any:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (leaving, "raised SystemExit: 3"),
        (lambda: pytest.skip("not here"), "raised Skipped: not here"),
        (lambda: Raising(), "raised LookupError: no name yet"),
        (endless, "raised RecursionError"),
    ],
    ids=["exit", "skip", "name", "endless"],
)
def test_whatever_a_hook_does_is_told_with_its_plugin(hook: Callable[[], Any], says: str) -> None:
    """One line instead of an internal error."""
    with pytest.raises(SpecError, match=f"of plugin 'mine' {says}"):
        registry.collect(manager(plugin(hook)))
