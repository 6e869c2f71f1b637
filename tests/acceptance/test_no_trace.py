"""Adding the marker changes nothing else: not the process, not the model, not a file, not the memory in use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .harness import REPORT, PytestRuns, Run

# `unchanged(model, ...)`, called at the end of a test's body, notes everything; after the gate all must be as noted.
CONFTEST = """
    import gc
    import logging
    import os
    import random
    import sys
    import tempfile
    import threading
    import warnings
    from pathlib import Path

    import numpy
    import pytest
    import torch

    HERE = Path(__file__).parent
    for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME"):
        (HERE / name).mkdir(exist_ok=True)
        os.environ[name] = str(HERE / name)
    tempfile.tempdir = None


    # While a body runs its calls are observed, so that this one is compared with what it was before any test.
    CALL = torch.nn.Module.__call__


    def profiling():
        before = torch._C._jit_set_profiling_executor(True)
        torch._C._jit_set_profiling_executor(before)
        return before


    def process():
        module = torch.nn.modules.module
        numpy_state = numpy.random.get_state()
        return {
            "torch RNG": torch.get_rng_state().numpy().tobytes(),
            "python RNG": random.getstate(),
            "numpy RNG": (numpy_state[1].tobytes(), *numpy_state[2:]),
            "grad mode": torch.is_grad_enabled(),
            "inference mode": torch.is_inference_mode_enabled(),
            "anomaly mode": torch.is_anomaly_enabled(),
            "autocast": torch.is_autocast_enabled("cpu"),
            "default dtype": torch.get_default_dtype(),
            "default device": torch.get_default_device(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
            "matmul precision": torch.get_float32_matmul_precision(),
            "attention fast path": torch.backends.mha.get_fastpath_enabled(),
            "threads of torch": torch.get_num_threads(),
            "executor": torch._C._get_graph_executor_optimize(),
            "profiling executor": profiling(),
            "tracing": torch._C._get_tracing_state(),
            "compilation unit": id(torch.jit._state._python_cu),
            "class store": id(torch.jit._recursive.concrete_type_store),
            "Module": sorted(vars(torch.nn.Module)),
            "global hooks": [
                list(getattr(module, name)) for name in sorted(vars(module)) if name.startswith("_global_") and "hooks" in name
            ],
            "torch.Tensor": sorted(vars(torch.Tensor)),
            "torch functions": [torch.jit.trace, torch.jit.save, torch.jit.load, torch.Tensor.__bool__, torch.Tensor.item],
            "warning filters": list(warnings.filters),
            "showwarning": warnings.showwarning,
            "trace function": sys.gettrace(),
            "profile function": sys.getprofile(),
            "recursion limit": sys.getrecursionlimit(),
            "garbage collector": gc.isenabled(),
            "threads": threading.active_count(),
            "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
            "directory": os.getcwd(),
            "files": sorted(str(path) for path in HERE.rglob("*")),
            "sys.path": list(sys.path),
            "streams": (sys.stdout, sys.stderr),
            "log levels": [logging.root.level, logging.getLogger("torch").level],
        }


    def bits(tensor):
        return None if tensor is None else tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


    def held(tensor):
        return None if tensor is None else {
            "object": id(tensor),
            "memory": tensor.data_ptr(),
            "bits": bits(tensor),
            "shape": tuple(tensor.shape),
            "requires_grad": tensor.requires_grad,
            "grad": (id(tensor.grad), bits(tensor.grad)) if tensor.is_leaf else None,
            "grad_fn": tensor.grad_fn,
        }


    def plain(value):
        if isinstance(value, torch.Tensor):
            return held(value)
        if isinstance(value, (list, tuple)):
            return [id(value), *map(plain, value)]
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        return value if isinstance(value, (bool, int, float, str, type(None))) else id(value)


    def state(model):
        found = {"classes": [(type(module), sorted(vars(type(module)))) for module in model.modules()]}
        for name, module in model.named_modules():
            found[name, "keys"] = list(module.__dict__)
            found[name, "training"] = module.training
            for key, value in module.__dict__.items():
                found[name, key] = plain(value)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            found["tensor", name] = held(tensor)
        return found


    def differences(before, after):
        return [name for name in {**before, **after} if before.get(name, "nothing") != after.get(name, "nothing")]


    @pytest.fixture
    def unchanged():
        notes = []

        def note(*models):
            notes.append((process(), [(model, state(model)) for model in models]))

        yield note
        (before, models), = notes
        assert torch.nn.Module.__call__ is CALL
        assert differences(before, process()) == []
        for model, noted in models:
            assert differences(noted, state(model)) == []
"""

SUITE = {
    "conftest.py": CONFTEST,
    "test_healthy.py": """
        import pytest
        import torch
        from models import *

        @pytest.mark.torchscript
        def test_plain(unchanged):
            model = Head()
            model(rows())
            unchanged(model)

        @pytest.mark.torchscript(seq_len=(8, 16), batch_size=(1, 2))
        def test_tokens(unchanged):
            model = Encoder()
            model(**tokens())
            unchanged(model)

        @pytest.mark.torchscript
        def test_train_mode_with_gradients(unchanged):
            model = Regularised().train()
            model.dropout.eval()
            model(rows(4)).sum().backward()
            model.linear.bias.requires_grad_(False)
            assert model.linear.weight.grad is not None
            unchanged(model)

        @pytest.mark.torchscript
        def test_graph_made_before_the_gate_is_usable():
            model = Regularised()
            loss.append((model, model(rows(4)).sum()))

        loss = []

        def test_graph_made_before_the_gate_is_used():
            (model, value), = loss
            value.backward()
            assert model.linear.weight.grad is not None

        @pytest.mark.torchscript
        def test_hooks(unchanged):
            model = Head()
            model.register_forward_hook(lambda module, args, output: output * 2)
            model.linear.register_forward_pre_hook(lambda module, args: None)
            model.register_state_dict_pre_hook(lambda *args: None)
            model(rows())
            unchanged(model)

        @pytest.mark.torchscript
        def test_tied(unchanged):
            model = TiedLanguageModel()
            model(tokens()["input_ids"])
            unchanged(model)
            assert model.output.weight is model.embedding.weight

        @pytest.mark.torchscript
        def test_attributes(unchanged):
            model = Remembers()
            model(rows())
            unchanged(model)

        @pytest.mark.torchscript
        def test_forward_of_its_own(unchanged):
            model = Head()
            model.forward = lambda x: model.linear(x) * 2
            model(rows())
            unchanged(model)

        @pytest.mark.torchscript
        def test_inputs_that_require_grad(unchanged):
            x = rows().requires_grad_()
            model = Head()
            model(x).sum().backward()
            unchanged(model)
            assert x.grad is not None

        # The public setter would import torch.compile's back end, which makes a folder and a variable of its own.
        @pytest.fixture
        def unusual():
            torch.set_default_dtype(torch.float64)
            torch._C._set_deterministic_algorithms(True, warn_only=True)
            torch._C._set_graph_executor_optimize(False)
            fastpath = torch.backends.mha.get_fastpath_enabled()
            torch.backends.mha.set_fastpath_enabled(False)
            with torch.autograd.set_grad_enabled(False), torch.device("cpu"):
                yield
            torch.backends.mha.set_fastpath_enabled(fastpath)
            torch._C._set_graph_executor_optimize(True)
            torch._C._set_deterministic_algorithms(False, warn_only=False)
            torch.set_default_dtype(torch.float32)

        @pytest.mark.torchscript
        def test_unusual_settings(unusual, unchanged):
            model = nn.Linear(8, 4)
            assert model.weight.dtype == torch.float64
            model(rows().double())
            unchanged(model)

        @pytest.mark.torchscript
        def test_trace_function(unchanged):
            import sys
            model = Head()
            model(rows())
            sys.settrace(following)
            unchanged(model)

        def following(frame, event, argument):
            return None

        def test_trace_function_after():
            import sys
            sys.settrace(None)

        def test_fixture(torchscript, unchanged):
            model = Regularised().train()
            unchanged(model)
            torchscript.check(model, (rows(),))
            torchscript.trace(model, (rows(),))

        def test_no_transformers():
            import sys
            assert "transformers" not in sys.modules
    """,
    "test_broken.py": """
        import random

        import numpy
        import pytest
        import torch
        from models import *

        class Gambles(nn.Module):
            def forward(self, x):
                return x * random.random() + numpy.random.rand() + torch.randn(())

        class Stateful(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("steps", torch.zeros(3))
                self.cache = {"last": None, "all": []}
                self.count = 0

            def forward(self, x):
                self.steps = self.steps + 1
                self.cache["last"] = x
                self.cache["all"].append(x)
                self.count += 1
                self.register_buffer("extra", torch.ones(1), persistent=False)
                return x * self.steps[0]

        class Meddles(nn.Module):
            def forward(self, x):
                torch.set_default_dtype(torch.float64)
                torch.set_grad_enabled(True)
                self.train()
                return x.double() + torch.rand(())

        class Stops(Refuses):
            def forward(self, x):
                self.train()
                self.half_done = True
                return super().forward(x)

        @pytest.mark.torchscript
        @pytest.mark.parametrize(
            "cls",
            [Jitter, LogOfNegatives, NoneBeside, OtherWhileTracing, BranchesOnValues, PythonFunction, NormalisesInPlace, Counts]
            + [Gambles, Stateful],
        )
        def test_rows(cls, unchanged):
            model = cls()
            model(rows())
            unchanged(model)
            # A reseeded model that fell silent would not be noticed: the body's call is no part of the gate.

        @pytest.mark.torchscript
        @pytest.mark.parametrize("cls", [BakedLength, TwiceBroken])
        def test_features(cls, unchanged):
            model = cls()
            model(features())
            unchanged(model)

        @pytest.mark.torchscript
        def test_mask(unchanged):
            model = IgnoresMask()
            model(**tokens())
            unchanged(model)

        @pytest.fixture
        def stops():
            return Stops()

        @pytest.mark.torchscript(model="stops", inputs=(rows(),))
        def test_refuses(stops, unchanged):
            unchanged(stops)

        @pytest.fixture
        def meddles():
            return Meddles()

        @pytest.mark.torchscript(model="meddles", inputs=(rows(),))
        def test_meddles(meddles, unchanged):
            unchanged(meddles)
    """,
    "test_unregistered.py": """
        import pytest
        from models import *

        @pytest.mark.torchscript
        def test_unregistered(unchanged):
            model = Unregistered()
            model(rows())
            unchanged(model)
    """,
    "test_own_scripts.py": """
        import io
        import warnings

        import pytest
        import torch
        from models import *

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = Encoder().eval()
            TRACED = torch.jit.trace(model, tuple(tokens().values()))
            SCRIPTED = torch.jit.script(Head())
            EXPECTED = TRACED(*tokens().values()), SCRIPTED(rows())

        @pytest.mark.torchscript
        @pytest.mark.parametrize("cls", [Encoder, Head])
        def test_gates_of_the_same_classes(cls):
            cls()(**tokens()) if cls is Encoder else cls()(rows())

        @pytest.mark.torchscript
        def test_gate_of_the_same_model():
            model(**tokens())

        @pytest.mark.filterwarnings("ignore:`torch.jit")
        def test_own_scripts_still_work():
            for module, arguments, expected in zip((TRACED, SCRIPTED), (tokens().values(), (rows(),)), EXPECTED):
                torch.testing.assert_close(module(*arguments), expected)
                buffer = io.BytesIO()
                torch.jit.save(module, buffer)
                buffer.seek(0)
                torch.testing.assert_close(torch.jit.load(buffer)(*arguments), expected)
            again = torch.jit.trace(model, tuple(tokens().values()))
            torch.testing.assert_close(again(*tokens().values()), EXPECTED[0])
            assert torch.jit.script(Head())(rows()).shape == (2, 4)
    """,
}


@pytest.fixture
def run(run_suite: PytestRuns) -> Run:
    return run_suite(SUITE, "-W", "error", "-p", "no:cacheprovider")


@pytest.mark.parametrize(
    "test",
    [
        "test_plain",
        "test_tokens",
        "test_train_mode_with_gradients",
        "test_hooks",
        "test_tied",
        "test_attributes",
        "test_forward_of_its_own",
        "test_inputs_that_require_grad",
        "test_unusual_settings",
        "test_trace_function",
        "test_fixture",
    ],
)
def test_a_passing_gate_leaves_no_trace(run: Run, test: str) -> None:
    """After the gate process and model are, bit by bit, as at the end of the test's body."""
    assert run.outcomes[test] == "passed", run.messages.get(test)
    assert run.gate(test)["outcome"] == "passed"


@pytest.mark.parametrize(
    "test",
    [
        *(f"test_rows[{name}]" for name in ("Jitter", "LogOfNegatives", "NoneBeside", "OtherWhileTracing")),
        *(f"test_rows[{name}]" for name in ("BranchesOnValues", "PythonFunction", "Counts", "Gambles", "Stateful")),
        "test_features[BakedLength]",
        "test_features[TwiceBroken]",
        "test_mask",
        "test_refuses",
        "test_meddles",
        "test_unregistered",
    ],
)
def test_a_failing_gate_leaves_no_trace(run: Run, test: str) -> None:
    """A gate that fails, whatever the model did to itself and to the process, puts everything back too."""
    assert run.outcomes[test] == "failed", run.messages.get(test)
    assert run.gate(test)["outcome"] == "failed"


def test_a_gate_without_weights_leaves_no_trace(run_suite: PytestRuns) -> None:
    """A gate on meta weights leaves model and process as they were, once torch has loaded what it needs for meta.

    That part of torch makes itself an empty cache folder, whoever uses it first.
    """
    suite = {
        "conftest.py": CONFTEST,
        "test_meta.py": """
            import copy
            import pytest
            from models import *

            @pytest.mark.torchscript(weights="meta")
            def test_meta(unchanged):
                model = Encoder()
                model(**tokens())
                copy.deepcopy(model).to("meta")(**{name: tensor.to("meta") for name, tensor in tokens().items()})
                unchanged(model)
        """,
    }
    run = run_suite(suite, "-W", "error")
    assert run.outcomes["test_meta"] == "passed", run.messages.get("test_meta")
    assert run.verdict("test_meta") == "ok"


def test_a_graph_made_before_the_gate_can_be_used_after_it(run: Run) -> None:
    """An autograd graph that the test built can still be run backwards."""
    for test in ("test_graph_made_before_the_gate_is_usable", "test_graph_made_before_the_gate_is_used"):
        assert run.outcomes[test] == "passed", run.messages.get(test)


def test_script_modules_of_the_user_s_own_stay_usable(run: Run) -> None:
    """What the user traced and scripted before the gates runs, saves, loads and can be traced again after them."""
    assert run.outcomes["test_own_scripts_still_work"] == "passed", run.messages.get("test_own_scripts_still_work")


def test_transformers_is_not_imported_for_other_models(run: Run) -> None:
    """Gating models of plain torch does not import transformers."""
    assert run.outcomes["test_no_transformers"] == "passed"


def test_warnings_as_errors_do_not_fail_for_torch_s_own(run: Run) -> None:
    """Under `-W error` no test fails for the deprecation of torch.jit, which the gate itself calls."""
    assert not [name for name, message in run.messages.items() if "DeprecationWarning" in message]
    assert not [name for name, message in run.messages.items() if "TracerWarning" in message]


def test_nothing_is_written_that_was_not_asked_for(run: Run) -> None:
    """The run leaves the report that was asked for, and no other file: not in the suite, home, cache or temporary folder."""
    found = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*")}
    assert found == {*SUITE, "models.py", "pytest.ini", REPORT, "TMPDIR", "HOME", "XDG_CACHE_HOME"}


NEIGHBOURS = {
    "test_neighbours.py": """
        import random

        import numpy
        import torch
        from models import *

        import pytest

        maybe = pytest.mark.torchscript

        def draw():
            return torch.rand(1).item(), random.random(), numpy.random.rand()

        def test_before():
            torch.manual_seed(1), random.seed(2), numpy.random.seed(3)

        @maybe
        def test_marked():
            Jitter()(rows())

        @maybe
        def test_marked_too():
            Head()(rows())

        def test_after():
            print("drew", draw())
            assert False
    """
}


def test_other_tests_draw_the_same_random_numbers(run_suite: PytestRuns) -> None:
    """What a test after the gates draws at random is what it draws without them."""
    gated, plain = run_suite(NEIGHBOURS), run_suite(NEIGHBOURS, "--no-torchscript")
    drew = [line for line in gated.output.splitlines() if line.startswith("drew")]
    assert drew
    assert drew == [line for line in plain.output.splitlines() if line.startswith("drew")]


def test_a_patched_call_is_put_back(run_suite: PytestRuns) -> None:
    """A test that replaces `nn.Module.__call__` until its teardown leaves torch's own there, under a gate too."""
    suite = {
        "test_patch.py": """
            import pytest
            from models import *

            CALL = nn.Module.__call__

            @pytest.mark.torchscript
            def test_patches(monkeypatch):
                original = nn.Module.__call__
                monkeypatch.setattr(nn.Module, "__call__", lambda self, *args, **kwargs: original(self, *args, **kwargs))
                Head()(rows())

            def test_after():
                assert nn.Module.__call__ is CALL
        """
    }
    run = run_suite(suite)
    assert run.outcomes == {"test_patches": "passed", "test_after": "passed"}, run.messages


HEAVY = """
    import sys

    def pytest_sessionfinish(session):
        heavy = {"torch", "transformers", "numpy"} & set(sys.modules)
        print("\\nimported:", sorted(heavy), "by", getattr(session.config, "workerinput", {}).get("workerid", "main"))
"""
LIGHT_SUITE = {
    "conftest.py": HEAVY,
    "test_marked.py": """
        import pytest

        @pytest.mark.torchscript(seq_len=8, model="model")
        class TestMarked:
            def test_marked(self): ...

        @pytest.fixture
        def model():
            import torch
            return torch.nn.Linear(8, 4)

        def test_fixture(torchscript): ...
        def test_plain(): ...
    """,
}


@pytest.mark.parametrize("arguments", [("--collect-only",), ("-k", "test_plain"), ("--no-torchscript", "-k", "marked")])
def test_runs_without_gates_import_no_torch(run_suite: PytestRuns, arguments: tuple[str, ...]) -> None:
    """Collecting marked tests, running others, or running them without gates imports neither torch nor transformers."""
    run = run_suite(LIGHT_SUITE, "-s", *arguments)
    assert run.code == 0, run.text
    assert "imported: [] by main" in run.text


def test_loading_the_plugin_imports_no_torch() -> None:
    """Importing the package and its plugin module imports neither torch nor transformers nor numpy."""
    code = (
        "import sys, pytest_torchscript, pytest_torchscript.pytest_plugin.plugin as plugin; "
        "print(plugin.__file__); print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""


def test_the_controller_of_xdist_imports_no_torch(run_suite: PytestRuns) -> None:
    """Over workers the process that gathers the results does so without torch."""
    suite = {"conftest.py": HEAVY, "test_gate.py": "from models import *\nimport pytest\n" + GATE}
    run = run_suite(suite, "-n", "2", "-s")
    assert run.gate("test_gate")["outcome"] == "passed"
    assert "imported: [] by main" in run.text


GATE = "@pytest.mark.torchscript\ndef test_gate():\n    Head()(rows())\n"

MEMORY = {
    "test_memory.py": """
        import gc
        import json
        import weakref
        from pathlib import Path

        import psutil
        import pytest
        import torch
        from models import *

        GATES = 300
        resident = {}
        alive = []

        class Broken(nn.Module):
            def __init__(self):
                super().__init__()
                self.encoder = two_layers()

            def forward(self, x):
                return self.encoder(x).sum(1) / int(x.shape[1]), None if len(x) % 2 else x

        def two_layers():
            layer = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)
            return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

        @pytest.mark.torchscript
        @pytest.mark.parametrize(
            "number", [pytest.param(n, marks=pytest.mark.xfail(strict=True)) if n % 10 == 3 else n for n in range(GATES)]
        )
        def test_gate(number):
            # One in ten fails: at shapes, or already at the trace.
            model = Broken() if number % 10 == 3 else two_layers()
            model(torch.randn(2 + number // 10 % 2, 8, 16))
            alive.append(weakref.ref(model))

        @pytest.fixture(autouse=True)
        def measured(request):
            yield
            if (number := len(alive)) in (60, 180, GATES):
                gc.collect()
                resident[number] = psutil.Process().memory_info().rss / 2**20

        def test_written():
            gc.collect()
            kept = sum(reference() is not None for reference in alive)
            Path(__file__).with_name("memory.json").write_text(json.dumps({"resident": resident, "kept": kept}))
    """
}


@pytest.fixture
def memory_run(run_suite: PytestRuns) -> Run:
    pytest.importorskip("psutil")
    return run_suite(MEMORY, "-s", "-p", "no:cacheprovider")


def _measured(run: Run) -> Any:
    return json.loads(Path(run.folder, "memory.json").read_text(encoding="utf-8"))


def test_memory_is_flat_from_gate_to_gate(memory_run: Run) -> None:
    """Between gate 60 and gate 300 of a 2-layer encoder, failing ones included, the process grows by less than 15 MB."""
    assert memory_run.code == 0, memory_run.text
    resident = _measured(memory_run)["resident"]
    assert resident["300"] - resident["60"] < 15, resident


def test_models_are_let_go(memory_run: Run) -> None:
    """After its test no model is kept, the last failing one aside, which pytest itself keeps for a debugger."""
    assert _measured(memory_run)["kept"] <= 1


def test_gates_print_nothing_by_themselves(memory_run: Run) -> None:
    """Between the headlines of a run there is nothing but pytest's own progress."""
    lines = memory_run.output.partition("collected 301 items")[2].partition("- generated xml file")[0].splitlines()
    progress = "".join(lines).replace("test_memory.py", "").strip("- ")
    assert set(progress) <= set(".x[]% 0123456789"), progress
    assert memory_run.errors == ""
