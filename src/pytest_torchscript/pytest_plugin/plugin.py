"""pytest's entry: options, configuration, registration. Loaded in every run, so neither torch nor transformers comes along."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from .. import spec, targets
from ..errors import SpecError
from . import handover, hookspecs
from .gatekeeper import Gatekeeper
from .markers import GATES, asks_for_a_gate
from .registry import BUILT_IN
from .results import Results
from .settings import OWN_ARGUMENTS, SETTINGS, Settings

if TYPE_CHECKING:
    from .fixture import TorchScript

__all__ = ["torchscript"]


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks, and register the built-in targets through them."""
    pluginmanager.add_hookspecs(hookspecs)
    pluginmanager.register(targets, BUILT_IN)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("torchscript", "gates on TorchScript traces")
    group.addoption(
        "--torchscript-target",
        action="append",
        default=[],
        metavar="NAME",
        help="judge every gate for this deployment target, whatever its marker says (repeatable)",
    )
    group.addoption(
        "--torchscript-json",
        default=None,
        metavar="PATH",
        help="write the results of all gates to PATH, as JSON (schema 1)",
    )
    group.addoption(
        "--torchscript-junit", default=None, metavar="PATH", help="write a JUnit report to PATH: a testcase per cell and check"
    )
    group.addoption(
        "--torchscript-summary",
        default=None,
        metavar="PATH",
        help="write a Markdown summary to PATH (default: $GITHUB_STEP_SUMMARY, where it is set)",
    )
    group.addoption(
        "--torchscript-baseline",
        default=None,
        metavar="PATH",
        help="judge the gates against the baseline at PATH (default: torchscript-baseline.json at the root directory)",
    )
    group.addoption(
        "--torchscript-update-baseline",
        action="store_true",
        default=False,
        help="record the gates that run in the baseline; refused when CI is set",
    )
    group.addoption(
        "--torchscript-discover",
        nargs="?",
        const="list",
        default=None,
        choices=("list", "write"),
        help="observe unmarked tests and list which could carry the marker, and what the verdict would be; "
        "'write' also prints a conftest that marks them",
    )
    group.addoption(
        "--torchscript-require-sdk",
        action="store_true",
        default=False,
        help="fail a gate whose target's tools (an SDK, a compiler) are missing, instead of checking its published rules",
    )
    group.addoption(
        "--no-torchscript",
        action="store_true",
        default=False,
        help="run the tests without their gates; markers are then not looked at",
    )
    for name, text in {**spec.OPTION_HELP, **OWN_ARGUMENTS}.items():
        parser.addini(f"torchscript_{name}", f"Default of the torchscript marker's argument {name}: {text}", type="string")
    parser.addini(
        "torchscript_target_timeout",
        "Seconds that one step of a target (compiling, running) may take (default: 600)",
        default="",
    )
    parser.addini("torchscript_baseline", "Path of the baseline, relative to the root directory", default="")
    parser.addini(
        "torchscript_bare_marker",
        "What @pytest.mark.torchscript without arguments means: gate (default), or ignore where it is a plain label",
        default="gate",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "torchscript(*, seq_len, batch_size, target, shapes, model, inputs, dims, mask, rtol, atol, skip, max_flops, weights, "
        "id, and what a target declares): after the test has passed, trace its model and check the trace against eager.",
    )
    if config.getoption("--no-torchscript"):
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
