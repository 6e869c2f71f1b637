"""The private names of torch: each is there, and a change of any one of them is noticed by name."""

from __future__ import annotations

import ast
import contextlib
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import pytest_torchscript
from pytest_torchscript import gate
from pytest_torchscript.errors import GateError, Unavailable
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.tracing import private

PACKAGE = Path(pytest_torchscript.__file__).resolve().parent
VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
NAMES = {entry.name: entry for entry in private.NAMES if entry.since <= VERSION}


def broken(*args: Any, **kwargs: Any) -> Any:
    raise TypeError("incompatible function arguments")


class Missing:
    """A descriptor that an attribute lookup does not find."""

    def __get__(self, *_: Any) -> Any:
        raise AttributeError("gone")


class Broken:
    """A descriptor that is found on the class and refuses any instance."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        raise TypeError("not any more")


def without_registries(module: Any, *_: Any) -> None:
    vars(module)["training"] = True


def delete(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Take a name out of torch."""
    private.require(name)  # loads what holds it
    if name == "torch.Tensor._version":
        monkeypatch.setattr(torch.Tensor, "_version", Missing(), raising=False)
    elif name == "torch.nn.Module._buffers":
        monkeypatch.setattr(torch.nn, "Module", type("Module", (), {"__init__": without_registries, "register_buffer": print}))
    else:
        monkeypatch.delattr(NAMES[name].at)


def change(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a name raise TypeError, as a function does whose signature is another."""
    private.require(name)
    if name == "torch.Tensor._version":
        monkeypatch.setattr(torch.Tensor, "_version", Broken(), raising=False)
    elif name == "torch.jit._state._enabled":
        monkeypatch.setattr(torch.jit._state, "_enabled", type("Proxy", (), {"enabled": broken}))
    elif name == "torch.jit.trace(_compilation_unit=)":
        monkeypatch.setattr(torch.jit, "trace", lambda func, example_inputs, check_trace=True, strict=True: None)
    else:
        monkeypatch.setattr(NAMES[name].at, broken)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_is_there_and_does_what_is_expected(name: str) -> None:
    """This torch has it: what fails here is what another version of torch has changed."""
    private.require(name)
    assert NAMES[name].test()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("breaks", [delete, change], ids=["deleted", "raising"])
def test_a_broken_name_is_named(
    monkeypatch: pytest.MonkeyPatch, breaks: Callable[[pytest.MonkeyPatch, str], None], name: str
) -> None:
    """The error carries the name and torch's version, says who needs it for what, and is one of this package's."""
    entry = NAMES[name]
    with monkeypatch.context() as patch:
        breaks(patch, name)
        with pytest.raises(Unavailable) as caught:
            private.require(name)
    error = caught.value
    assert isinstance(error, GateError)
    assert (error.name, error.version) == (name, torch.__version__)
    assert f"this torch ({torch.__version__}) " in str(error)
    assert f"{name}, which {entry.by} needs to {entry.purpose}" in str(error)
    private.require(name)


@pytest.mark.parametrize("name", private.GATE)
@pytest.mark.parametrize("breaks", [delete, change], ids=["deleted", "raising"])
def test_every_gate_asks_for_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, breaks: Callable[[pytest.MonkeyPatch, str], None], name: str
) -> None:
    """Without arguments all the gate's names are tested, again too after they were found to be right."""
    private.require()
    with monkeypatch.context() as patch:
        breaks(patch, name)
        with pytest.raises(Unavailable):
            private.require()
    private.require()


class Averaging(torch.nn.Module):
    """Silently wrong at another length."""

    def forward(self, x: torch.Tensor) -> Any:
        return x.sum(1) / int(x.shape[1])


# A gate puts the executor back around all that it does; without a Module class there is no model.
_WHILE_TRACING = [name for name in private.GATE if "executor" not in name and name != "torch.nn.Module._buffers"]


@pytest.mark.parametrize("weights", ["real", "meta"])
@pytest.mark.parametrize("name", _WHILE_TRACING)
@pytest.mark.parametrize("breaks", [delete, change], ids=["deleted", "raising"])
def test_no_model_is_judged_without_a_name(
    monkeypatch: pytest.MonkeyPatch, breaks: Callable[[pytest.MonkeyPatch, str], None], name: str, weights: str
) -> None:
    """Every cell is Unavailable: neither a verdict on the model, nor a pass."""
    model = Averaging()
    spec = GateSpec.merge(parse_arguments((), {"weights": weights}))
    subject = gate.Subject(model=model, call=gate.call_of(model, torch.ones(2, 6, 4)))
    with monkeypatch.context() as patch:
        breaks(patch, name)
        result = gate.judge(subject, spec, id="averaging")
    assert {cell.verdict for cell in result.cells} == {"Unavailable"}
    assert any(
        NAMES[name].at in finding.message for cell in result.cells for check in cell.checks for finding in check.findings
    )


def test_a_name_that_gives_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only an error counts: the answer is looked at."""
    monkeypatch.setattr(torch._C, "_get_graph_executor_optimize", lambda: 1)
    with pytest.raises(
        Unavailable, match=r"has another torch\._C\._get_graph_executor_optimize, .* \(it gives something else\)"
    ):
        private.require()


def test_the_message_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own words help whoever reports it."""
    monkeypatch.setattr(torch._C, "_create_graph_by_tracing", broken)
    with pytest.raises(Unavailable, match=r"\(TypeError: incompatible function arguments\): use another version of torch"):
        private.require()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in private.GATE])
def test_a_gate_does_not_ask_for_what_one_feature_needs(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A model can be gated although a target cannot."""
    delete(monkeypatch, name)
    private.require()


def test_a_name_is_not_asked_for_before_the_torch_that_brought_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an older torch is known to do without, nothing is missing."""
    name = "torch.fx.experimental.symbolic_shapes.ShapeEnv._get_sloc"
    if name in NAMES:
        delete(monkeypatch, name)
    monkeypatch.setattr(torch, "__version__", "2.5.1")
    private.require(name)
    assert private.guard_location() is None


def test_a_name_is_tested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every gate asks; what was found to be right costs nothing again."""
    private.require()
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor.submit", broken)
    private.require()


def test_the_tests_leave_torch_as_it_was() -> None:
    """Neither modes, nor switches, nor a trace under way are left."""

    def state() -> tuple[Any, ...]:
        switches = torch._C._get_graph_executor_optimize(), torch.overrides._get_current_function_mode_stack()
        return (
            *switches,
            torch.nn.Module._call_impl,
            torch.jit._state._python_cu,
            private.is_tracing(),
            torch.get_rng_state().sum(),
        )

    before = state()
    for entry in NAMES.values():
        assert entry.test()
    assert state() == before


@pytest.mark.parametrize("entry", private.NAMES, ids=lambda entry: entry.name)
def test_every_name_is_declared_in_full(entry: private.Name) -> None:
    """The reason, the public way that it replaces, and a version that this package supports."""
    assert entry.name.startswith("torch.")
    assert entry.purpose
    assert entry.instead
    assert entry.since >= (2, 4)


# Nobody else uses one

_HABITS = {part for name in NAMES for part in name.split(".")[-1:] if part.startswith("_")} | {*private.REGISTRIES, "_c"}


def chain(node: ast.AST) -> str:
    """``a.b.c`` of an attribute chain; empty for anything else."""
    return ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Name)) else ""


def is_private(part: str) -> bool:
    return part.startswith("_") and not part.endswith("__")


def private_names(code: str) -> Iterator[str]:
    """Private names of torch in a file: imported, in a chain from one of torch's names, by text, or by habit on any object."""
    tree = ast.parse(code)
    of_torch = {"torch": "torch"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "torch":
                    of_torch[alias.asname or "torch"] = alias.name if alias.asname else "torch"
                    yield from [alias.name] * any(map(is_private, alias.name.split(".")))
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] == "torch":
            for alias in node.names:
                name = of_torch[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield from [name] * any(map(is_private, name.split(".")))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, *parts = chain(node).split(".")
            if root in of_torch and is_private(node.attr):
                yield ".".join([of_torch[root], *parts])
            elif node.attr in _HABITS and root != "self":
                yield chain(node) or node.attr
        elif isinstance(node, ast.Call) and chain(node.func) in {"getattr", "setattr", "hasattr", "delattr", "vars"}:
            texts = [arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            rooted = bool(node.args) and ast.unparse(node.args[0]).replace("(", ".").split(".")[0] in of_torch
            yield from (text for text in texts if (rooted and is_private(text)) or text in _HABITS)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value in _HABITS:
            yield str(node.slice.value)


@pytest.mark.parametrize("name", sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")))
def test_no_other_file_uses_a_private_name(name: str) -> None:
    """All that torch may change without notice is in one folder."""
    if not name.startswith("tracing/private/"):
        assert list(private_names((PACKAGE / name).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch._C._is_tracing()",
        "import torch as t\nt._C.parse_schema('')",
        "import torch._dynamo",
        "from torch import _C",
        "from torch.utils import _pytree as pytree",
        "from torch.testing._comparison import default_tolerances",
        "from torch.fx import GraphModule\nGraphModule._foo",
        "import torch\nx = getattr(torch.fx, '_loader', None)",
        "def look(tensor):\n    return tensor._version",
        "def look(module):\n    return module.thing._c",
        "def look(module):\n    return vars(module)['_buffers']",
        "def f():\n    if True:\n        import torch.export._trace",
    ],
)
def test_a_planted_use_is_seen(code: str) -> None:
    """The law is kept by a test that can fail."""
    assert list(private_names(code))


def test_public_names_are_no_private_ones() -> None:
    """Dunders, own attributes and modules of this package do not count."""
    code = textwrap.dedent(
        """
        import torch
        from .tracing import _own

        class A:
            def f(self, x):
                self._version = torch.__version__
                return torch.nn.Module.__call__(self._c, x), x._own, torch.utils.data
        """
    )
    assert list(private_names(code)) == []


@pytest.mark.parametrize("path", sorted((PACKAGE / "tracing/private").glob("*.py")), ids=lambda path: path.name)
def test_the_private_names_stand_at_the_beginning(path: Path) -> None:
    """Every other folder may use them: of this package they know the errors alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level > 1}
    assert known <= {"errors"}


# What the small functions do


def test_a_torchscript_that_is_missing_is_unavailable_too() -> None:
    """Whatever stands in the way of every model is one kind of error."""
    from pytest_torchscript.tracing.trace import TorchScriptUnavailable

    with pytest.raises(Unavailable, match="none"):
        raise TorchScriptUnavailable("none")


def test_the_executor_is_put_back() -> None:
    """Also after a failure inside."""
    before = torch._C._get_graph_executor_optimize()
    with contextlib.suppress(ZeroDivisionError), private.kept_executor():
        torch._C._set_graph_executor_optimize(not before)
        raise ZeroDivisionError
    assert torch._C._get_graph_executor_optimize() is before


def test_called_functions_are_inlined() -> None:
    """A graph with a call of a scripted function holds that function's operations afterwards."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        helper = torch.jit.script(_double)
        graph = private.graph_by_tracing(lambda x: helper(x), (torch.ones(2),))
    private.inline(graph)
    assert [node.kind() for node in graph.nodes() if node.kind() != "prim::Constant"] == ["aten::mul"]


def _double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def test_a_version_counts_writes() -> None:
    """A tensor made under inference mode has none."""
    tensor = torch.zeros(2)
    before = private.version_of(tensor)
    tensor.add_(1)
    assert private.version_of(tensor) == before + 1
    with torch.inference_mode():
        assert private.version_of(torch.zeros(2)) == -1


def test_tolerances_are_those_of_assert_close() -> None:
    """As torch documents them."""
    assert private.default_tolerances(torch.float32) == (1.3e-6, 1e-5)
    assert private.default_tolerances(torch.int64) == (0.0, 0.0)
