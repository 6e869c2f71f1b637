"""The order of things: a spec and a subject become a result, and everything is as before."""

from __future__ import annotations

import random
import threading
import warnings
from collections import UserDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_torchscript import checks, gate
from pytest_torchscript.errors import SubjectError
from pytest_torchscript.result import CellResult, GateResult, Outcome, Status
from pytest_torchscript.spec import CHECKS, GateSpec, parse_arguments
from pytest_torchscript.subject.state import ModelState
from pytest_torchscript.targets import Target, Targets, built_in
from pytest_torchscript.tracing.trace import quiet

X = torch.randn(2, 16, 4, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.dropout(self.norm(x)))
        return out


class Baked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / int(x.shape[1])


class Selfish(nn.Module):
    """Changes everything it can reach."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("count", torch.zeros(1))
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.calls.append(1)
        self.last = x
        torch.manual_seed(0)
        random.seed(0)
        warnings.simplefilter("ignore")
        torch.set_default_dtype(torch.float64)
        out: Tensor = self.linear(x)
        torch.set_default_dtype(torch.float32)
        return out


def judged(model: Any, inputs: Any = (X,), **arguments: Any) -> GateResult:
    subject = gate.Subject(model=model, call=None if inputs is None else gate.call_of(model, inputs))
    spec = GateSpec.merge(parse_arguments((), arguments))
    return gate.judge(subject, spec, id="head", nodeid="tests/test_head.py::test_head")


def only(result: GateResult) -> CellResult:
    (cell,) = result.cells
    return cell


# The result


def test_a_healthy_model_passes() -> None:
    """The gate has the id and node id it was given, and one cell with every check in order."""
    result = judged(Head())
    assert (result.id, result.nodeid, result.outcome) == ("head", "tests/test_head.py::test_head", Outcome.PASSED)
    assert result.seconds > 0
    assert only(result).verdict == "ok"
    assert tuple(check.name for check in only(result).checks) == CHECKS
    assert only(result).dims == {"batch": "dynamic", "seq": "dynamic"}


def test_a_broken_model_fails() -> None:
    """Its verdict is that of the first failing check."""
    result = judged(Baked())
    assert (result.outcome, only(result).verdict) == (Outcome.FAILED, "ShapeSpecialised")


def test_all_failures_are_reported_not_the_first() -> None:
    """What does not require the failed check still runs."""

    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.sum(1) / int(x.shape[1])
            x.mul_(2)
            return y

    cell = only(judged(Twice()))
    assert [check.name for check in cell.checks if check.status is Status.FAILED] == ["shapes", "purity"]


# Cells


def test_there_is_a_cell_for_each_size() -> None:
    """Every batch with every length, the batch outermost, traced at just that size."""
    result = judged(Head(), batch_size=[1, 3], seq_len=[8, 5])
    assert [(cell.batch_size, cell.seq_len) for cell in result.cells] == [(1, 8), (1, 5), (3, 8), (3, 5)]
    traced = [cell.check("shapes").metrics["dims"]["seq"]["traced"] for cell in result.cells]
    assert traced == [8, 5, 8, 5]
    shapes = [cell.check("eager").metrics["outputs"]["output"] for cell in result.cells]
    assert shapes == ["float32 (1, 8, 3)", "float32 (1, 5, 3)", "float32 (3, 8, 3)", "float32 (3, 5, 3)"]


def test_a_cell_has_the_observed_sizes_where_none_are_asked_for() -> None:
    """A size that the inputs do not have is None."""
    assert (only(judged(Head())).batch_size, only(judged(Head())).seq_len) == (2, 16)
    flat = only(judged(Head(), (X[:, 0],)))
    assert (flat.batch_size, flat.seq_len) == (2, None)


def test_one_failing_cell_fails_the_gate() -> None:
    """A size that is right does not make up for one that is not."""

    class NotFive(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] == 5:
                raise ValueError("not five")
            return x

    result = judged(NotFive(), seq_len=[8, 5])
    assert [cell.verdict for cell in result.cells] == ["ok", "EagerFailure"]
    assert result.failed


def test_the_sequence_of_a_convolution_is_its_last_axis() -> None:
    """Which axis of a float input is time is tried out on the model."""
    cell = only(judged(nn.Conv1d(4, 6, 3, padding=1), (X.transpose(1, 2),), seq_len=9))
    assert (cell.verdict, cell.seq_len) == ("ok", 9)
    assert cell.check("eager").metrics["outputs"]["output"] == "float32 (2, 6, 9)"


def test_declared_dims_win() -> None:
    """What the marker says is not tried out."""
    cell = only(judged(Head(), dims={"x": {0: "rows"}}))
    assert (cell.dims, cell.batch_size, cell.seq_len) == ({"rows": "dynamic"}, None, None)


# Inputs


@pytest.mark.parametrize(
    "inputs", [X, (X,), [X], {"x": X}, UserDict({"x": X})], ids=["tensor", "tuple", "list", "dict", "mapping"]
)
def test_inputs_come_by_position_or_by_name(inputs: Any) -> None:
    """A tensor alone is the first argument."""
    call = gate.call_of(Head(), inputs)
    assert list(call.inputs) == ["x"]
    assert only(judged(Head(), inputs)).verdict == "ok"


def test_other_inputs_are_refused() -> None:
    """The error says what they may be."""
    with pytest.raises(SubjectError, match=r"the inputs of Head must be a tuple .* not int"):
        gate.call_of(Head(), 3)


@pytest.mark.parametrize(
    ("x", "arguments", "message"),
    [
        (X[:0], {}, "input 'x' has a zero-sized axis, shape (0, 16, 4)"),
        (X[0, 0, 0], {"seq_len": 8}, "seq_len=8 is asked for, but no axis of the inputs is known as 'seq' (x ())"),
        (X, {"dims": {"x": {1: "frames"}}, "batch_size": 4}, "batch_size=4 is asked for, but no axis"),
        (X, {"dims": {"y": {0: "batch"}}}, "dims names no input: 'y'; the inputs are 'x'"),
        (X, {"mask": "keep"}, "mask='keep' names no input; the inputs are 'x'"),
    ],
    ids=["empty", "no sequence", "no batch", "dims", "mask"],
)
def test_inputs_that_cannot_be_judged_fail_and_say_so(x: Tensor, arguments: dict[str, Any], message: str) -> None:
    """No exception: the gate fails, and every other check says why it did not run."""

    class Anything(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    result = judged(Anything(), (x,), **arguments)
    assert (result.outcome, only(result).verdict) == (Outcome.FAILED, "EagerFailure")
    assert message in only(result).check("eager").findings[0].message
    assert {check.reason for check in only(result).checks if check.name != "eager"} == {"eager failed"}


def test_a_lazy_module_is_told_to_be_called_first() -> None:
    """Its parameters have no shape before the first call."""
    result = judged(nn.LazyLinear(3))
    assert "'weight' of LazyLinear has no shape yet" in only(result).check("eager").findings[0].message


def test_a_refusal_has_a_cell_for_each_that_was_asked_for() -> None:
    """A report shows the same cells whether or not the subject was found."""
    spec = GateSpec.merge(parse_arguments((), {"batch_size": [1, 2], "seq_len": [8]}))
    cells = gate.refused("no model", spec, hint="name one")
    assert [(cell.batch_size, cell.seq_len, cell.verdict) for cell in cells] == [
        (1, 8, "EagerFailure"),
        (2, 8, "EagerFailure"),
    ]
    assert all(tuple(check.name for check in cell.checks) == CHECKS for cell in cells)
    (finding,) = cells[0].check("eager").findings
    assert (finding.message, finding.hint) == ("no model", "name one")


def test_cells_come_by_target_and_then_by_size() -> None:
    """As reports list them, although both targets are judged together at each size."""

    class Plain(Target):
        name = "plain"

    targets = Targets(by_name={**built_in().by_name, "plain": Plain()})
    arguments = {"target": ("torchscript", "plain"), "batch_size": (1, 2), "seq_len": (8, 4)}
    spec = GateSpec.merge(parse_arguments((), arguments, targets.arguments))
    model = Head()
    result = gate.judge(gate.Subject(model=model, call=gate.call_of(model, (X,))), spec, id="several", targets=targets)
    assert [(cell.target, cell.batch_size, cell.seq_len) for cell in result.cells] == [
        (target, batch, seq) for target in ("torchscript", "plain") for batch in (1, 2) for seq in (8, 4)
    ]


def test_what_the_marker_skips_keeps_its_reason() -> None:
    """Also where the target would skip it itself."""

    class Fixed(Target):
        name = "fixed"
        fixed_shapes = True

    targets = Targets(by_name={"fixed": Fixed()})
    model = Head()
    subject = gate.Subject(model=model, call=gate.call_of(model, (X,)))
    for skip, reason in (
        ({"shapes": "one size here"}, "one size here"),
        ({}, "fixed accepts the traced shape only: padding carries the proof"),
    ):
        spec = GateSpec.merge(parse_arguments((), {"target": "fixed", "skip": skip}, targets.arguments))
        (cell,) = gate.judge(subject, spec, id="fixed", targets=targets).cells
        assert cell.check("shapes").reason == reason


def test_a_refusal_has_the_remedy_of_its_symptom() -> None:
    """Unless whoever refuses knows a better one."""
    message = "BertModel.__init__() got an unexpected keyword argument 'torchscript'"
    (cell,) = gate.refused(message, GateSpec())
    assert "drop it" in str(cell.check("eager").findings[0].hint)
    (cell,) = gate.refused(message, GateSpec(), hint="look at the factory")
    assert cell.check("eager").findings[0].hint == "look at the factory"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_torchscript_already_is_refused() -> None:
    """There would be nothing to compare it with."""
    with quiet():
        traced = torch.jit.trace(Head().eval(), (X,))
    with pytest.raises(SubjectError, match=r"TorchScript already: give the nn\.Module"):
        gate.check_model(traced)
    with pytest.raises(SubjectError, match=r"must be an nn\.Module, not function"):
        gate.check_model(only)


def test_a_gate_in_which_nothing_ran_fails() -> None:
    """Skipped is not passed."""
    skip = {name: "no" for name in CHECKS if name != "padding"}
    result = judged(Head(), skip=skip)
    assert result.outcome is Outcome.FAILED
    assert "no check ran" in only(result).check("eager").findings[0].message
    assert tuple(check.name for check in only(result).checks) == CHECKS


# What an integer input may hold


def test_a_mask_that_marks_padding_is_read_so() -> None:
    """``src_key_padding_mask`` is True where nothing is: shorter inputs are padded with True."""

    class Encoder(nn.Module):
        def forward(self, x: Tensor, src_key_padding_mask: Tensor) -> Tensor:
            kept = (~src_key_padding_mask)[..., None].to(x.dtype)
            return (x * kept).sum(1) / kept.sum(1)

    inputs = {"x": X, "src_key_padding_mask": torch.arange(16)[None] >= torch.tensor([16, 11])[:, None]}
    cell = only(judged(Encoder(), inputs, mask="src_key_padding_mask"))
    assert cell.verdict == "ok"
    assert cell.check("padding").status is Status.PASSED


def test_ids_are_drawn_from_the_embedding_that_takes_them() -> None:
    """The vocabulary is seen in one run; no id beyond it is ever tried."""

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.types = nn.Embedding(30, 4), nn.Embedding(2, 4)

        def forward(self, ids: Tensor, kinds: Tensor) -> Tensor:
            out: Tensor = self.words(ids) + self.types(kinds)
            return out

    ids = torch.arange(12).reshape(2, 6)
    cell = only(judged(Tagger(), {"ids": ids, "kinds": ids % 2}))
    assert cell.verdict == "ok"
    assert cell.check("values").metrics["outside"] == 0


# Everything as before


def described(model: nn.Module) -> Any:
    state = {
        name: (id(tensor), tensor.tolist(), tensor.requires_grad) for name, tensor in model.state_dict(keep_vars=True).items()
    }
    modules = {
        name: (module.training, sorted(module.__dict__), len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in model.named_modules()
    }
    return state, modules


@pytest.mark.parametrize("build", [Head, Baked, Selfish], ids=["healthy", "broken", "selfish"])
def test_the_model_is_as_before(build: type[nn.Module]) -> None:
    """Modes of each part, parameters, buffers, attributes and hooks."""
    model = build()
    for index, module in enumerate(model.modules()):
        module.training = index % 2 == 0
    before = described(model)
    judged(model)
    assert described(model) == before


def test_a_model_that_overrides_train_is_put_back_by_it() -> None:
    """Some models do more than set a flag; whatever that is, it is undone the same way."""

    class Frozen(Head):
        fused = False

        def train(self, mode: bool = True) -> Frozen:
            super().train(mode)
            self.fused = not mode
            self.norm.training = False
            return self

    model = Frozen().train()
    judged(model)
    assert (model.training, model.norm.training, model.dropout.training, model.fused) == (True, False, True, False)


def test_the_process_is_as_before() -> None:
    """Random numbers, warning filters, default dtype and grad mode."""

    def process() -> Any:
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            list(warnings.filters),
            warnings.showwarning,
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            dict(vars(torch.Tensor)),
            nn.Module.__call__,
        )

    models = Selfish(), Baked()
    before = process()
    for model in models:
        judged(model)
    assert process() == before


def test_the_inputs_are_as_before() -> None:
    """Whatever a forward does to what it is given."""

    class Overwriting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.zero_()

    x = X.clone().requires_grad_()
    judged(Overwriting(), (x,))
    assert torch.equal(x, X)
    assert x.requires_grad
    assert x.grad is None


def test_a_frozen_parameter_stays_frozen() -> None:
    """``requires_grad`` is nobody's business but the user's."""
    model = Head()
    model.linear.weight.requires_grad_(False)
    judged(model)
    assert [parameter.requires_grad for parameter in model.linear.parameters()] == [False, True]


def test_the_model_can_be_trained_on() -> None:
    """A graph built before the gate can be used after it."""
    model = Head()
    loss = model(X).sum()
    judged(model)
    loss.backward()
    assert model.linear.weight.grad is not None


def test_a_model_is_put_back_when_a_check_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a bug of this package's own leaves no trace."""

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    model = Selfish()
    before = described(model)
    monkeypatch.setattr(type(checks.ALL[-1]), "judge", broken)
    result = judged(model)
    assert described(model) == before
    assert result.outcome is Outcome.FAILED
    assert "Selfish could not be judged: ZeroDivisionError" in only(result).check("eager").findings[0].message
    assert not ModelState(model).changed_attributes()


def test_gates_do_not_fill_torchs_registries() -> None:
    """Nothing grows from gate to gate."""

    def size() -> int:
        return sum(len(types) for types in torch.jit._recursive.concrete_type_store.type_store.values())

    before = size(), torch.jit._state._python_cu
    for _ in range(3):
        judged(Head())
    assert (size(), torch.jit._state._python_cu) == before


# Without weights


def test_a_model_is_judged_without_its_weights() -> None:
    """Structure alone; the model's own weights are not touched, let alone copied."""
    model = Head()
    before = described(model)
    cell = only(judged(model, weights="meta"))
    assert cell.verdict == "ok"
    assert cell.dims == {"batch": "dynamic", "seq": "dynamic"}
    assert {check.reason for check in cell.checks if check.name in ("eager", "equivalence", "roundtrip")} == {"meta weights"}
    assert described(model) == before


def test_a_model_on_the_meta_device_is_judged_there() -> None:
    """Whether or not the marker says so."""
    with torch.device("meta"):
        model = Head()
    cell = only(judged(model))
    assert (cell.verdict, cell.check("eager").reason) == ("ok", "meta weights")


def test_a_tensor_that_is_no_buffer_goes_along() -> None:
    """A plain attribute is a weight like any other where weights are left out."""

    class Anchored(Head):
        def __init__(self) -> None:
            super().__init__()
            self.anchors = torch.ones(3)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.anchors

    model = Anchored()
    assert only(judged(model)).verdict == "ok"
    assert only(judged(model, weights="meta")).verdict == "ok"
    assert not model.anchors.is_meta


def test_what_cannot_be_copied_is_shared() -> None:
    """A lock or an open file is no weight, and no reason not to judge the structure."""

    class Locked(Head):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

        def forward(self, x: Tensor) -> Tensor:
            with self.lock:
                return super().forward(x)

    assert only(judged(Locked())).verdict == "ok"
    assert only(judged(Locked(), weights="meta")).verdict == "ok"


def test_a_tensor_made_in_the_forward_goes_along() -> None:
    """A model that runs on the CPU is not accused of mixing devices because its weights were left out."""

    class Causal(Head):
        def forward(self, x: Tensor) -> Tensor:
            mask = torch.full((x.shape[1], x.shape[1]), -1e4).triu(1)
            h = super().forward(x)
            return (h @ h.transpose(1, 2) + mask).softmax(-1)

    assert only(judged(Causal())).verdict == "ok"
    assert only(judged(Causal(), weights="meta")).verdict == "ok"


# transformers


def bert() -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=99,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    torch.manual_seed(0)
    return transformers.BertModel(config)


def test_a_transformers_model_needs_no_inputs() -> None:
    """They are made for each cell from its config, and nothing longer than the config allows is probed."""
    result = judged(bert(), None, batch_size=2, seq_len=16)
    cell = only(result)
    assert (cell.verdict, cell.batch_size, cell.seq_len) == ("ok", 2, 16)
    assert cell.check("padding").status is Status.PASSED
    assert max(map(int, cell.check("shapes").metrics["dims"]["seq"]["probes"])) <= 24


def test_a_transformers_model_is_traced_as_tuples_without_editing_its_config() -> None:
    """As its documentation says to deploy it."""
    model = bert()
    before = model.config.to_dict()
    outputs = only(judged(model, None, seq_len=8)).check("eager").metrics["outputs"]
    assert list(outputs) == ["[0]", "[1]"]
    assert model.config.to_dict() == before


def llama() -> Any:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=99,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=32,
            max_position_embeddings=24,
            pad_token_id=0,
        )
    )


def test_a_decoder_is_traced_without_its_cache() -> None:
    """A cache is no tensor: the logits are the only output."""
    ids = torch.arange(1, 13).reshape(2, 6)
    cell = only(judged(llama(), {"input_ids": ids}))
    assert cell.verdict == "ok"
    assert list(cell.check("eager").metrics["outputs"]) == ["[0]"]


def test_what_a_forward_does_not_take_is_not_given() -> None:
    """A model of one's own on the library's base class may know neither argument."""
    transformers = pytest.importorskip("transformers")

    class Own(transformers.PreTrainedModel):  # type: ignore[misc, name-defined]
        config_class = transformers.PretrainedConfig

        def __init__(self) -> None:
            super().__init__(transformers.PretrainedConfig())
            self.linear = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.linear(x)
            return out

    model = Own()
    assert only(judged(model)).verdict == "ok"


def test_other_models_are_called_as_they_are() -> None:
    """Nothing is adapted: a mapping stays a mapping."""

    class Mapping(nn.Module):
        def forward(self, x: Tensor, return_dict: bool = True) -> Any:
            return {"out": x * 2} if return_dict else x

    cell = only(judged(Mapping()))
    assert list(cell.check("eager").metrics["outputs"]) == ["out"]
    assert cell.check("trace").metrics["strict"] is False


def test_a_model_without_inputs_that_cannot_be_made_fails() -> None:
    """Synthesis knows transformers models alone, and says so."""
    result = judged(Head(), None)
    assert result.outcome is Outcome.FAILED
    assert only(result).check("eager").findings[0].message
