"""The marker's arguments in pytest's configuration, those of every target included."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_torchscript import Argument, SpecError
from pytest_torchscript.pytest_plugin.configuration import Configuration
from pytest_torchscript.spec import ARGUMENTS

CONFTEST = """
    from pytest_torchscript import Argument, Target

    class Levelled(Target):
        name = "levelled"
        arguments = [Argument("level", lambda name, value: value, lambda name, lines: int(lines[0]))]

    def pytest_torchscript_targets():
        print("targets are asked")
        return Levelled()
"""


def same(name: str, value: Any) -> Any:
    return value


def declared(*arguments: Argument) -> dict[str, dict[str, Argument]]:
    return {"levelled": {argument.name: argument for argument in arguments}}


def configured(pytester: pytest.Pytester, *lines: str) -> tuple[pytest.Config, Configuration]:
    pytester.makeini("\n".join(["[pytest]", *lines]))
    config = pytester.parseconfig()
    return config, Configuration.of(config.pluginmanager)


def is_known(config: pytest.Config, name: str) -> bool:
    return name in config._parser._inidict


def test_the_markers_own_arguments_are_options(pytester: pytest.Pytester) -> None:
    """All but the id, which names one gate; those of targets are not, before they are asked for."""
    config, _ = configured(pytester)
    known = {name for name in (*ARGUMENTS, "dynamic_batch") if is_known(config, f"torchscript_{name}")}
    assert known == set(ARGUMENTS) - {"id"}


def test_targets_are_asked_only_if_an_option_is_unknown(pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    """Most runs need none of them."""
    pytester.makeconftest(CONFTEST)
    config, configuration = configured(pytester, "torchscript_seq_len = 8", "torchscript_baseline = b.json", "addopts = -q")
    configuration.declare_if_needed(config)
    assert "targets are asked" not in capsys.readouterr().out
    config, configuration = configured(pytester, "torchscript_level = 2")
    configuration.declare_if_needed(config)
    assert "targets are asked" in capsys.readouterr().out
    assert configuration.defaults(config) == {"level": 2}


def test_an_option_of_the_command_line_counts_too(pytester: pytest.Pytester) -> None:
    """``-o`` is configuration."""
    pytester.makeconftest(CONFTEST)
    config = pytester.parseconfig("-o", "torchscript_level=3")
    configuration = Configuration.of(config.pluginmanager)
    configuration.declare_if_needed(config)
    assert configuration.defaults(config) == {"level": 3}


def test_an_option_is_declared_once(pytester: pytest.Pytester) -> None:
    """However often the targets are asked."""
    config, configuration = configured(pytester, "torchscript_level = x")
    known = declared(Argument("level", same, help="how much"))
    configuration.declare(config, known)
    configuration.declare(config, known)
    assert configuration.defaults(config, known) == {"level": "x"}
    assert config._parser._inidict["torchscript_level"][0] == (
        "Default of the torchscript marker's argument level, of target levelled: how much"
    )


def test_an_argument_without_help_has_its_name(pytester: pytest.Pytester) -> None:
    """A mapping of names and checks gives no more."""
    config, configuration = configured(pytester)
    configuration.declare(config, declared(Argument("level", same)))
    assert config._parser._inidict["torchscript_level"][0] == (
        "Default of the torchscript marker's argument level, of target levelled"
    )


def test_an_argument_may_have_no_option(pytester: pytest.Pytester) -> None:
    """Because it says so, or because its name is another option already: that keeps its meaning."""
    config, configuration = configured(pytester, "torchscript_baseline = b.json")
    known = declared(Argument("level", same, None), Argument("baseline", same))
    configuration.declare(config, known)
    assert not is_known(config, "torchscript_level")
    assert configuration.defaults(config, known) == {}


def test_a_bad_value_names_its_option(pytester: pytest.Pytester) -> None:
    """A value of the marker's own, or of a target's argument."""
    config, configuration = configured(pytester, "torchscript_rtol = x")
    with pytest.raises(SpecError, match="configuration torchscript_rtol: rtol: 'x' is no number"):
        configuration.defaults(config)


def test_a_target_that_cannot_be_asked_is_an_error_where_it_matters(pytester: pytest.Pytester) -> None:
    """It is none where no gate needs it, nor for the help."""
    pytester.makeconftest("def pytest_torchscript_targets():\n    raise RuntimeError('no licence')\n")
    config, configuration = configured(pytester, "torchscript_level = 2")
    with pytest.raises(SpecError, match="raised RuntimeError: no licence"):
        configuration.declare_if_needed(config)
    configuration.declare_quietly(config)
    configuration.declare_quietly(config, always=True)
    assert not is_known(config, "torchscript_level")


def test_the_help_declares_all(pytester: pytest.Pytester) -> None:
    """Also what the configuration does not name."""
    config, configuration = configured(pytester)
    configuration.declare_quietly(config)
    assert not is_known(config, "torchscript_dynamic_batch")
    configuration.declare_quietly(config, always=True)
    assert is_known(config, "torchscript_dynamic_batch")
