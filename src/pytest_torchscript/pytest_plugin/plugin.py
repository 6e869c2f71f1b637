"""pytest's entry: options, configuration, registration. Loaded in every run, so neither torch nor transformers comes along."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

import pytest

from .. import targets
from ..errors import SpecError
from ..naming import DEFAULT_BASELINE
from ..spec import ARGUMENTS
from . import handover, hookspecs
from .configuration import Configuration
from .gatekeeper import Gatekeeper
from .markers import GATES, asks_for_a_gate
from .registry import BUILT_IN
from .results import Results
from .settings import SETTINGS, Settings

if TYPE_CHECKING:
    from .fixture import TorchScript

__all__ = ["torchscript"]


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks, and register the built-in targets through them."""
    pluginmanager.add_hookspecs(hookspecs)
    pluginmanager.register(targets, BUILT_IN)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the options of the command line, and those of the configuration."""
    group = parser.getgroup("torchscript", "gates on TorchScript traces")
    group.addoption(
        "--torchscript-target",
        action="append",
        default=[],
        metavar="NAME",
        help="judge every gate for this deployment target, whatever its marker says (repeatable)",
    )
    group.addoption(
        "--torchscript-effort",
        choices=("normal", "thorough"),
        default=None,
        help="how many probes every gate runs, whatever its marker says: those that the evidence asks for, or all of them",
    )
    for option, text in _PATHS.items():
        group.addoption(option, default=None, metavar="PATH", help=text)
    group.addoption(
        "--torchscript-discover-write",
        default=None,
        metavar="FILE",
        help="as --torchscript-discover, and write a conftest to FILE that marks what was found ('-' prints it)",
    )
    # A name of its own, since an option with an optional value would take a path that follows it for the value.
    group.addoption(
        "--torchscript-discover=write",
        dest="torchscript_discover_write",
        action="store_const",
        const="-",
        help="the same as --torchscript-discover-write=-",
    )
    for option, text in _SWITCHES.items():
        group.addoption(option, action="store_true", default=False, help=text)
    Configuration(parser).register(pluginmanager)


_PATHS: Mapping[str, str] = {
    "--torchscript-json": "write the results of all gates to PATH, as JSON (schema 1)",
    "--torchscript-junit": "write a JUnit report to PATH: a testcase per cell and check",
    "--torchscript-summary": "write a Markdown summary to PATH (default: $GITHUB_STEP_SUMMARY, where it is set)",
    "--torchscript-baseline": "judge the gates against the baseline at PATH "
    f"(default: {DEFAULT_BASELINE} at the root directory)",
}
_SWITCHES: Mapping[str, str] = {
    "--torchscript-discover": "observe unmarked tests and list which could carry the marker, and what the verdict would be",
    "--torchscript-update-baseline": "record the gates that run in the baseline; refused when CI is set",
    "--torchscript-require-sdk": "fail a gate whose target's tools (an SDK, a compiler) are missing, "
    "instead of checking its published rules",
    "--no-torchscript": "run the tests without their gates; markers are then not looked at",
}


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker, read the settings, and register what gathers the results."""
    config.addinivalue_line(
        "markers",
        f"torchscript(*, {', '.join(ARGUMENTS)}, and what a target declares): "
        "after the test has passed, trace its model and check the trace against eager.",
    )
    asked_for_help, off = config.getoption("help"), config.getoption("--no-torchscript")
    if asked_for_help or off:
        Configuration.of(config.pluginmanager).declare_quietly(config, always=asked_for_help)
    if off:
        return
    try:
        settings = Settings.from_config(config)
    except SpecError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[SETTINGS] = settings
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(config, settings), "torchscript-results")


def pytest_deselected(items: list[pytest.Item]) -> None:
    """In an xdist worker, remember that the run is filtered: the controller deselects nothing itself."""
    output = handover.worker_output(items[0].config) if items else None
    if output is not None:
        output[handover.FILTERED] = True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Read every marker, those of deselected tests included, once conftests have added theirs."""
    collected = list(items)
    yield
    if SETTINGS not in config.stash or not (config.stash[SETTINGS].discover or any(map(asks_for_a_gate, collected))):
        # No gate needs the targets, but pytest is about to look for unknown options.
        Configuration.of(config.pluginmanager).declare_quietly(config)
        return
    try:
        _gatekeeper(config).prepare(collected)
    except pytest.UsageError as error:
        output = handover.worker_output(config)
        if output is None:
            raise
        # An xdist worker that stops here takes the controller down with an internal error: it collects nothing
        # instead, and the controller says why.
        output[handover.USAGE_ERROR] = handover.sendable(str(error))
        items.clear()


def _gatekeeper(config: pytest.Config) -> Gatekeeper:
    keeper: object = config.pluginmanager.get_plugin("torchscript-gates")
    if keeper is None:
        keeper = Gatekeeper(config, config.stash[SETTINGS])
        config.pluginmanager.register(keeper, "torchscript-gates")
    assert isinstance(keeper, Gatekeeper)
    return keeper


@pytest.fixture
def torchscript(request: pytest.FixtureRequest) -> TorchScript:
    """Gates on request: ``torchscript.check(model, inputs, **marker_arguments)``, ``torchscript.trace(model, inputs)``."""
    if SETTINGS not in request.config.stash:
        pytest.skip("gates are switched off by --no-torchscript")
    from .fixture import TorchScript

    keeper = _gatekeeper(request.config)
    if GATES not in request.node.stash:
        keeper.prepare([request.node], fresh=False)
    return TorchScript(keeper, request.node)
