"""What the observed call did to its model, and what stood round it, decides the gate's verdict."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver, disable_observer

from pytest_torchscript import checks, gate
from pytest_torchscript.result import CellResult, Verdict
from pytest_torchscript.spec import GateSpec
from pytest_torchscript.subject.observe import Observer

from ..checks.alone import ROOT, cell, guilty, place


def observed(model: nn.Module, *inputs: Any, calls: int = 1, surroundings: Any = None) -> CellResult:
    """The only cell of the gate of a model that a test body has called, under ``surroundings``."""
    observer = Observer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with observer.watching():
            for _ in range(calls):
                if surroundings is None:
                    model(*inputs)
                else:
                    with surroundings:
                        model(*inputs)
        (seen,) = observer.calls
        subject = gate.Subject(model=model, call=seen.bound_to(model))
        (only,) = gate.judge(subject, GateSpec.merge(), id="observed", root=str(ROOT)).cells
    return only


def places(judged: CellResult) -> set[tuple[str, int]]:
    return {place(finding) for check in judged.checks if check.verdict for finding in check.findings if finding.file}


# Weights


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        with torch.no_grad():
            self.fc.weight.mul_(8)
        self.register_buffer("keep", (torch.rand(8, 8) > 0.5).float())


class Clamps(Linear):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.fc.weight.clamp_(-1, 1)  # guilty
        return self.fc(x)


class ClampsPastTheCounter(Linear):
    def forward(self, x: Tensor) -> Tensor:
        self.fc.weight.data.clamp_(-1, 1)  # guilty
        return self.fc(x)


class Prunes(Linear):
    keep: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.fc.weight.data = self.fc.weight.data * self.keep  # guilty
        return self.fc(x)


class Replaces(Linear):
    """A parameter in place of the parameter."""

    def forward(self, x: Tensor) -> Tensor:
        self.fc.weight = nn.Parameter(self.fc.weight.detach().clamp(-1, 1))  # guilty
        return self.fc(x)


class Rounds(Linear):
    """Weights on a grid, as quantisation by hand has them."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.fc.weight.copy_((self.fc.weight * 4).round() / 4)  # guilty
        return self.fc(x)


class ShortRows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 8, max_norm=1.0)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids).mean(1)  # guilty


class ShortBags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(50, 8, max_norm=1.0)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids)  # guilty


X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(0, 50, (2, 16), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("cls", [Clamps, ClampsPastTheCounter, Prunes, Rounds, Replaces])
def test_weights_that_the_observed_call_changed_fail(cls: type[nn.Module], training: bool) -> None:
    """A second call has nothing left to change; the first one did, at this line."""
    only = observed(cls().train(training), X)
    assert only.verdict == Verdict.WEIGHTS_CHANGED
    assert places(only) == guilty(cls)


@pytest.mark.parametrize("cls", [ShortRows, ShortBags])
def test_max_norm_is_named(cls: type[nn.Module]) -> None:
    """torch itself writes, because of an argument: it is named, with the line that looks the rows up."""
    only = observed(cls(), IDS)
    (finding,) = only.check("weights").findings
    assert only.verdict == Verdict.WEIGHTS_CHANGED
    assert f"max_norm=1 of {'Embedding' if cls is ShortRows else 'EmbeddingBag'} shortens the rows" in finding.message
    assert places(only) == guilty(cls)


class ShrinksLargeWeight(nn.Module):
    """70 MB, which is more than is copied."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 8_750_000), 1e-3))

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data[:, :8].mul_(0.5)
        return x @ self.weight[:, 8:16].T


def test_a_large_weight_that_keeps_new_values_is_told() -> None:
    """No copy was kept of it, so that it cannot be put back."""
    model = ShrinksLargeWeight()
    needed = {"eager", "trace", "roundtrip", "weights"}
    skip = {check.name: "not asked" for check in checks.ALL if check.name not in needed}
    (finding,) = cell(model, (X,), skip=skip).check("weights").findings
    assert finding.message.endswith("is called; it is too large to be copied, and keeps the new values")
    assert float(model.weight.detach()[0, 0]) < 1e-3


def test_a_large_weight_that_the_observed_call_changed_is_put_back() -> None:
    """It is known beforehand to be written."""
    model = ShrinksLargeWeight()
    observed(model, X)
    assert float(model.weight.detach()[0, 0]) == pytest.approx(5e-4)


class ClampsInTraining(Linear):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.fc.weight.clamp_(-1, 1)
        return self.fc(x)


class ClampsInRange(nn.Module):
    """An operation that writes what is there already."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        self.fc.weight.data.clamp_(-10, 10)
        return self.fc(x)


class MovesCodebook(nn.Module):
    """Vector quantisation: the codebook follows the inputs in train mode."""

    codebook: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.randn(4, 8))
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        nearest = torch.cdist(x, self.codebook).argmin(1)
        if self.training:
            with torch.no_grad():
                self.codebook.mul_(0.9).add_(x.mean(0), alpha=0.1)
        return self.codebook[nearest] * self.scale


HEALTHY: dict[str, Callable[[], nn.Module]] = {
    "weights clamped in training": ClampsInTraining,
    "weights clamped in range": ClampsInRange,
    "a codebook moved in training": MovesCodebook,
    "batch norm": lambda: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout()),
    "batch norm without momentum": lambda: nn.Sequential(nn.BatchNorm1d(8, momentum=None)),
    "spectral norm": lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))),
    "spectral norm of old": lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(8, 8))),
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))),
    "weight norm of old": lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(8, 8))),
    "a lazy module": lambda: nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d()),
}


@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize("model", HEALTHY.values(), ids=HEALTHY)
def test_what_training_does_to_a_model_is_no_failure(model: Callable[[], nn.Module], calls: int) -> None:
    """A model is judged in eval mode; what it writes in train mode alone is made to be written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        made = model()
    only = observed(made, X, calls=calls)
    assert {check.name: check.findings for check in only.checks if check.verdict} == {}


def test_a_step_between_two_calls_is_no_failure() -> None:
    """What the test does to the weights outside the call is training."""
    model, observer = nn.Sequential(nn.Linear(8, 8)), Observer()
    with observer.watching():
        optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
        model(X).sum().backward()
        optimiser.step()
        model(X)
    assert observer.calls[0].effects is None


# Attributes and buffers


class KeepsTemplate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.template: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.template is None:
            self.template = x.mean(0)  # guilty
        return x * self.template


class KeepsNumber(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "scale"):
            self.scale = float(x.abs().max())  # guilty
        return x / self.scale


class KeepsInList(nn.Module):
    """Every call is noted; the first one counts."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.mean(0))  # guilty
        return x - self.seen[0]


class KeepsByShape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[Any, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        key = tuple(map(int, x.shape))
        if key not in self.cache:
            self.cache[key] = x.std(0)  # guilty
        return x * self.cache[key]


class KeepsInBuffer(nn.Module):
    """Statistics of the first batch, and a buffer that says that they are there."""

    mean: Tensor
    ready: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            self.mean.copy_(x.mean(0))  # guilty
            self.ready.fill_(True)
        return x - self.mean


class RegistersBuffer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "mean"):
            self.register_buffer("mean", x.mean(0))  # guilty
        return x - self.mean


class Initialises(nn.Module):
    """Weights from the first batch, as ActNorm has them."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(8))
        self.ready = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            self.bias.data.copy_(-x.mean(0))  # guilty
            self.ready = True
        return x + self.bias


class KeepsInHelper(nn.Module):
    class Memory:
        def __init__(self) -> None:
            self.first: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self.memory = self.Memory()
        self.count = 0
        self.map: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.map = x.softmax(-1)
        if self.memory.first is None:
            self.memory.first = x.mean(0)  # guilty
        return x * self.memory.first + self.map


class KeepsInCallable(nn.Module):
    class Normalise:
        mean: Tensor | None = None

        def __call__(self, x: Tensor) -> Tensor:
            if self.mean is None:
                self.mean = x.mean(0)  # guilty
            return x - self.mean

    def __init__(self) -> None:
        super().__init__()
        self.normalise = self.Normalise()

    def forward(self, x: Tensor) -> Tensor:
        return self.normalise(x)


class KeepsInArray(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = np.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.scale[0]:
            self.scale[0] = float(x.abs().max())  # guilty
        return x / float(self.scale[0])


class WarmsUp(nn.Module):
    """The first call is answered otherwise than the others."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1  # guilty
        return x * 2 if self.calls > 1 else x


class Smooths(nn.Module):
    """A running mean that every call makes anew, in eval mode too."""

    mean: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.mean = x.mean(0) if self.mean is None else 0.9 * self.mean + 0.1 * x.mean(0)  # guilty
        return x - self.mean


class ReadsLastInput(nn.Module):
    """As the token shift of a recurrent model does."""

    last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        last, self.last = self.last, x  # guilty
        return x if last is None else x + last


KEEPING = [
    KeepsTemplate,
    KeepsNumber,
    KeepsInList,
    KeepsInBuffer,
    RegistersBuffer,
    KeepsInHelper,
    KeepsInCallable,
    KeepsInArray,
]
ANEW = [WarmsUp, Smooths, ReadsLastInput]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("cls", [*KEEPING, *ANEW])
def test_what_the_observed_call_left_and_the_answer_depends_on_fails(cls: type[nn.Module], training: bool) -> None:
    """The model answers as one that was called before, and its trace does so for ever."""
    only = observed(cls().train(training), X)
    assert only.check("purity").verdict is Verdict.SIDE_EFFECT
    assert places(only) == guilty(cls)


def test_what_is_kept_for_a_shape_fails() -> None:
    """Another input of the same shape is answered with what the first one left."""
    only = observed(KeepsByShape(), X)
    assert {place(finding) for finding in only.check("purity").findings} == guilty(KeepsByShape)


def test_weights_that_the_first_call_sets_fail() -> None:
    """The values are those of the batch that the test happened to give."""
    only = observed(Initialises(), X)
    assert only.verdict == Verdict.WEIGHTS_CHANGED
    assert guilty(Initialises) <= places(only)


def test_what_is_kept_is_named_alone() -> None:
    """Of several attributes that a call writes, the one that explains the answer."""
    (finding,) = observed(KeepsInHelper(), X).check("purity").findings
    assert finding.path == "memory"
    assert "the answer depends on the first call of the model" in finding.message


class FillsWorkspace(nn.Module):
    """What is written is read again in the same call; a deployed program carries it all the same."""

    keys: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        self.keys[: len(x)] = x * 2  # guilty
        return x + self.keys[: len(x)]


class ObservesRange(nn.Module):
    """Fake quantisation whose observer was never switched off."""

    def __init__(self) -> None:
        super().__init__()
        self.quantise = FakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8)

    def forward(self, x: Tensor) -> Tensor:
        return self.quantise(x)


def test_a_range_that_is_observed_in_eval_mode_fails() -> None:
    """Every call moves the scale by which the next one rounds."""
    check = observed(ObservesRange(), X).check("purity")
    assert check.verdict is Verdict.SIDE_EFFECT
    assert "quantise.scale" in {finding.path for finding in check.findings}
    fixed = ObservesRange().apply(disable_observer)
    assert observed(fixed, X).verdict == "ok"


class NeedsTraining(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.scale = 2.0
        return x * self.scale  # guilty


@pytest.mark.parametrize("cls", [FillsWorkspace, NeedsTraining])
def test_a_model_that_the_observed_call_made_fit_fails(cls: type[nn.Module]) -> None:
    """A buffer that holds this input's values already, an attribute that only train mode sets."""
    only = observed(cls(), X)
    assert only.check("purity").verdict is Verdict.SIDE_EFFECT
    assert {place(finding) for finding in only.check("purity").findings} == guilty(cls)


class KeepsMap(nn.Module):
    """Overwritten in every call, for whoever wants to look."""

    attention: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.attention = x.softmax(-1)
        return self.attention @ x.T


class BuildsTable(nn.Module):
    """Positions up to the longest input so far."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None or len(self.table) < x.shape[1]:
            self.table = torch.arange(float(x.shape[1] + 8)).sin()
        return x + self.table[: x.shape[1]]


class BuildsTableByShape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        width = int(x.shape[1])
        if width not in self.tables:
            self.tables[width] = torch.ones(width).cumsum(0)
        return x + self.tables[width]


class RegistersTable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "table"):
            self.register_buffer("table", torch.linspace(0, 1, x.shape[-1]), persistent=False)
        return x * self.table


class BuildsLayer(nn.Module):
    """A layer with random weights, of the width of the first input."""

    def __init__(self) -> None:
        super().__init__()
        self.fc: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.fc is None:
            self.fc = nn.Linear(x.shape[1], 4)
        return self.fc(x)


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls, self.log = 0, [""]

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.log.append(str(x.shape))
        self.started = True
        return x * 2


@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize("cls", [KeepsMap, BuildsTable, BuildsTableByShape, RegistersTable, BuildsLayer, Counts])
def test_what_no_answer_depends_on_is_no_failure(cls: type[nn.Module], calls: int) -> None:
    """A map for whoever looks, a table of positions, a layer made in the first call, a counter."""
    only = observed(cls(), X, calls=calls)
    # A table for one length is one length for a trace: that is another check's business.
    assert {check.name: check.findings for check in only.checks if check.verdict and check.name != "shapes"} == {}


def test_the_model_is_left_as_the_test_left_it() -> None:
    """The state before the call is gone back to for a look, and no longer."""
    model = KeepsTemplate()
    clamping = Clamps()
    observed(model, X)
    observed(clamping, X)
    assert model.template is not None
    assert torch.equal(model.template, X.mean(0))
    assert model.training
    assert float(clamping.fc.weight.detach().abs().max()) == 1


class Scratches(nn.Module):
    """Writes into whatever a model may hold beside tensors."""

    class Scale:
        calls = 0

        def __call__(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * 2

    def __init__(self) -> None:
        super().__init__()
        self.scale = self.Scale()
        self.calls = np.zeros(1)
        self.generators = {"python": random.Random(1), "numpy": np.random.default_rng(1)}

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        for generator in self.generators.values():
            generator.random()
        return self.scale(x)


def test_what_a_model_holds_beside_tensors_is_left_as_the_test_left_it() -> None:
    """The attributes of a helper that is called, the numbers of an array, the states of generators."""
    judged, called = Scratches(), Scratches()
    called(X)
    assert observed(judged, X).verdict == "ok"
    assert (judged.scale.calls, judged.calls.tolist()) == (1, [1])
    drawn = [[generator.random() for generator in model.generators.values()] for model in (judged, called)]
    assert drawn[0] == drawn[1]


def test_effects_are_those_of_one_object() -> None:
    """Another model of the kind, named by the marker, was not called."""
    observer = Observer()
    with observer.watching():
        Clamps()(X)
    (seen,) = observer.calls
    other = Clamps()
    assert seen.bound_to(seen.model).effects is seen.effects is not None
    assert seen.bound_to(other).effects is None


# Surroundings


class HalfAware(nn.Module):
    """Takes the length as a number where autocast made the product bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if y.dtype == torch.bfloat16:
            return (y.float() / float(x.shape[1])).sum(1)  # guilty
        return (y / x.shape[1]).sum(1)


class DoubleAware(nn.Module):
    """The same where the default dtype is double."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * torch.ones(8)
        if y.dtype == torch.float64:
            return (y / float(x.shape[1])).sum(1)  # guilty
        return (y / x.shape[1]).sum(1)


class default_dtype:
    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __enter__(self) -> None:
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *_: object) -> None:
        torch.set_default_dtype(self.before)


FEATURES = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("cls", "surroundings"),
    [(HalfAware, torch.autocast("cpu", dtype=torch.bfloat16)), (DoubleAware, default_dtype(torch.float64))],
    ids=["autocast", "default dtype"],
)
def test_the_model_is_judged_in_the_surroundings_of_its_call(cls: type[nn.Module], surroundings: Any) -> None:
    """What the model does under autocast, or another default dtype, is what the test was about."""
    before = torch.get_default_dtype(), torch.is_autocast_enabled("cpu")
    assert observed(cls(), FEATURES).verdict == "ok"
    only = observed(cls(), FEATURES, surroundings=surroundings)
    assert only.verdict == Verdict.SHAPE_SPECIALISED
    assert places(only) == guilty(cls)
    assert (torch.get_default_dtype(), torch.is_autocast_enabled("cpu")) == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "model",
    [
        lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)),
        lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)),
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        lambda: nn.Sequential(nn.Conv1d(16, 4, 1), nn.BatchNorm1d(4), nn.Softmax(-1)),
    ],
    ids=["linear", "layer norm", "attention", "convolution"],
)
def test_a_healthy_model_under_autocast_passes(model: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    """Half precision is no failure, whether the casts are in the program or made by autocast inside an operation."""
    assert observed(model().eval(), FEATURES, surroundings=torch.autocast("cpu", dtype=dtype)).verdict == "ok"
