"""What a target is given, each part by itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from pytest_torchscript import Deployment, Target, Tolerance, gate
from pytest_torchscript.result import Status
from pytest_torchscript.source import Line
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.targets import Targets

from ..acceptance import models

T = TypeVar("T")
X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


def given(look: Callable[[Deployment], T], model: nn.Module, inputs: Any, *, tolerance: Any = None, **arguments: Any) -> T:
    """What ``look`` sees of the deployment that a target's build is called with."""
    seen: list[T] = []

    class Looking(Target):
        name = "looking"
        needs_trace = False

        def build(self, deployment: Deployment) -> Any:
            seen.append(look(deployment))

    target = Looking()
    vars(target).update({"tolerance": tolerance} if tolerance else {})
    targets = Targets(by_name={"looking": target}, timeout=45.0)
    spec = GateSpec.merge(parse_arguments((), {"target": "looking", **arguments}, targets.arguments))
    subject = gate.Subject(model=model, call=gate.call_of(model, inputs))
    result = gate.judge(subject, spec, id="given", targets=targets)
    assert seen, result
    return seen[0]


# What is deployed


def test_the_time_limit_is_the_sessions() -> None:
    """A compiler in a process of its own is given the same."""
    assert given(lambda deployment: deployment.timeout, Head(), (X,)) == 45.0


def test_arguments_without_a_tensor_are_constants() -> None:
    """They are no inputs, and reach the model's own forward as they were given."""

    class Scaled(Head):
        def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
            return super().forward(x) * factor

    def look(deployment: Deployment) -> Any:
        args, kwargs = deployment.arguments_of(deployment.inputs)
        with deployment.positional() as (model, inputs):
            same = torch.equal(model(*inputs), deployment.expected)
        direct = torch.equal(deployment.model(*args, **kwargs), deployment.expected)
        return dict(deployment.constants), type(args), kwargs, list(deployment.inputs), same, direct

    inputs = {"x": X, "factor": 2.0}
    constants, args, kwargs, names, same, direct = given(look, Scaled(), inputs)
    assert (constants, names) == ({"factor": 2.0}, ["x"])
    assert args is tuple
    assert kwargs["factor"] == 2.0
    assert (same, direct) == (True, True)


def test_what_eager_gives_is_there() -> None:
    """At the observed inputs, and asked anew at any others."""
    model = Head().eval()
    expected, other = given(lambda deployment: (deployment.expected, deployment.eager({"x": X * 2})), model, (X,))
    assert torch.equal(expected, model(X))
    assert torch.equal(other, model(X * 2))


def test_a_models_limits_and_mask_are_known() -> None:
    """By its config, and by the names of its inputs."""
    config = BertConfig(
        vocab_size=32,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=24,
    )
    ids = torch.randint(1, 32, (1, 6))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    skip = dict.fromkeys(("shapes", "values", "padding", "purity", "roundtrip", "weights", "device"), "not what this is about")
    limit, mask = given(lambda deployment: (deployment.limits["seq"], deployment.mask), BertModel(config), inputs, skip=skip)
    assert (limit, mask) == (24, "attention_mask")
    assert given(lambda deployment: deployment.mask, Head(), (X,)) is None


def test_what_the_tracer_warned_of_is_told() -> None:
    """With its line; nothing without a trace."""

    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 1e9 else x

    (warning,) = given(lambda deployment: deployment.warnings, Branching(), (X,))
    assert warning.line is not None
    assert warning.line.file == __file__
    assert given(lambda deployment: deployment.warnings, Branching(), (X,), skip={"trace": "no"}) == ()
    assert given(lambda deployment: deployment.module, Branching(), (X,), skip={"trace": "no"}) is None


def test_the_graph_is_that_of_the_model() -> None:
    """With its operations, whether or not a trace was made."""
    kinds = given(lambda deployment: str(deployment.graph), Head(), (X,), skip={"trace": "no"})
    assert "aten::linear" in kinds


def test_the_program_is_read_once() -> None:
    """As it was traced, with its inputs by path; the graph alone without a trace. A target looks at it as often as it likes."""

    def look(deployment: Deployment) -> Any:
        kinds = [operation.kind for operation in deployment.program.operations if operation.computes]
        return kinds, list(deployment.program.inputs), deployment.program is deployment.program

    assert given(look, Head(), (X,)) == (["aten::linear"], ["x"], True)
    assert given(look, Head(), (X,), skip={"trace": "no"}) == (["aten::linear"], ["x"], True)


def test_a_program_that_cannot_be_made_says_why() -> None:
    """What the model raises while it is traced reaches the target."""

    class Refusing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if torch.jit.is_tracing():
                raise ValueError("not while tracing")
            return x

    def look(deployment: Deployment) -> Any:
        with pytest.raises(ValueError, match="not while tracing"):
            _ = deployment.program

    given(look, Refusing(), (X,))


def test_without_weights_there_are_shapes_alone() -> None:
    """No values to expect, and none to draw."""

    def look(deployment: Deployment) -> Any:
        inputs = deployment.resized({"seq": 9})["x"]
        return deployment.without_weights, deployment.expected, len(list(deployment.samples())), inputs.shape, inputs.is_meta

    assert given(look, Head(), (X,), weights="meta") == (True, None, 1, (2, 9, 4), True)


# Trying it


def test_calls_by_position_are_silent_and_leave_nothing() -> None:
    """Compilers call the model as often as they like."""

    class Counting(Head):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            warnings.warn("this model is deprecated", DeprecationWarning, stacklevel=1)
            self.get_buffer("count").add_(1)
            return super().forward(x)

    def look(deployment: Deployment) -> Any:
        with deployment.positional() as (model, inputs):
            model(*inputs)
            inside = deployment.model.get_buffer("count").item()
        after = deployment.model.get_buffer("count").item()
        deployment.model.get_buffer("count").add_(5)
        deployment.restore()
        return inside, after, deployment.model.get_buffer("count").item()

    assert given(look, Counting(), (X,)) == (1, 0, 0)


def test_inputs_of_each_kind_take_turns() -> None:
    """Tokens, mask, tokens: three besides the observed ones, of the same shape, and all that the trace is right for."""
    observed = models.tokens()

    def look(deployment: Deployment) -> Any:
        first, *others = deployment.samples()
        return first, others, [deployment.compare(deployment.traced(sample), deployment.eager(sample)) for sample in others]

    first, others, differences = given(look, models.Encoder(), observed)
    assert all(torch.equal(first[name], observed[name]) for name in observed)
    assert differences == [[], [], []]
    changed = [{name for name in observed if not torch.equal(sample[name], observed[name])} for sample in others]
    assert changed[:2] == [{"input_ids"}, {"attention_mask"}]


def test_inputs_that_the_model_refuses_are_no_samples() -> None:
    """What is outside its domain is asked of nobody, and the kinds that are left take their turns."""

    class Picky(nn.Module):
        def forward(self, x: Tensor, n: Tensor) -> Tensor:
            if not torch.jit.is_tracing() and not torch.equal(x, X):
                raise ValueError("these x only")
            return x * 2 + n

    inputs = {"x": X, "n": torch.arange(48).reshape(2, 6, 4)}
    first, *others = given(lambda deployment: list(deployment.samples()), Picky(), inputs)
    assert torch.equal(first["n"], inputs["n"])
    assert len(others) == 3
    assert all(torch.equal(sample["x"], X) and not torch.equal(sample["n"], inputs["n"]) for sample in others)


def test_a_mask_of_another_name_is_stretched_too() -> None:
    """Repeated, it would have a hole, which no tokenizer makes."""

    class Masked(nn.Module):
        def forward(self, x: Tensor, valid: Tensor) -> Tensor:
            return x * valid.unsqueeze(-1)

    valid = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    resized = given(lambda deployment: deployment.resized({"seq": 12}), Masked(), {"x": X, "valid": valid}, mask="valid")
    assert resized["valid"][0].tolist() == [1] * 8 + [0] * 4


def test_other_sizes_come_with_other_values() -> None:
    """Repeating the observed ones would hide what depends on the position; the mask stays one."""

    def look(deployment: Deployment) -> Any:
        return deployment.resized({"seq": 16}), deployment.resized({"seq": 16}), deployment.resized({"seq": 5})

    observed = models.tokens(2, 8)
    first, again, short = given(look, models.Encoder(), observed)
    assert first["input_ids"].shape == (2, 16)
    assert short["input_ids"].shape == (2, 5)
    assert not torch.equal(first["input_ids"], torch.cat([observed["input_ids"]] * 2, dim=1))
    assert torch.equal(first["input_ids"], again["input_ids"])
    assert set(first["attention_mask"].unique().tolist()) <= {0, 1}


def test_values_are_kept_at_other_sizes_where_the_trace_holds_for_them_alone() -> None:
    """The check `values` has told the others."""

    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    resized = given(lambda deployment: deployment.resized({"seq": 3})["x"], Branching(), (X,))
    assert torch.equal(resized, X[:, :3])


def test_outputs_are_compared_by_the_targets_tolerance() -> None:
    """Unless the marker gives one."""

    def look(deployment: Deployment) -> int:
        return len(deployment.compare(deployment.expected + 5e-3, deployment.expected))

    rough = {"float32": Tolerance(rtol=1e-2, atol=1e-2)}
    assert given(look, Head(), (X,)) == 1
    assert given(look, Head(), (X,), tolerance=rough) == 0
    assert given(look, Head(), (X,), tolerance=rough, atol=1e-6) == 1


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        (lambda inputs: inputs["x"] * 2, "equal"),
        (lambda inputs: inputs["x"] * 2.005, "equal"),
        (lambda inputs: inputs["x"] * 3, "wrong"),
        (lambda inputs: inputs["y"], "raises"),
    ],
    ids=["equal", "within the tolerance", "wrong", "raises"],
)
def test_a_program_is_tried_beside_eager(program: Any, kind: str) -> None:
    """On any inputs, by the target's tolerance."""

    class Doubling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch._assert(x.shape[1] < 9, "short inputs only")
            return x * 2

    def look(deployment: Deployment) -> Any:
        return [deployment.probe(program, inputs).kind for inputs in (deployment.inputs, {"x": torch.ones(1, 9, 4)})]

    rough = {"float32": Tolerance(rtol=1e-2, atol=1e-2)}
    assert given(look, Doubling(), (X,), tolerance=rough) == [kind, "outside"]


@pytest.mark.parametrize(("given_back", "kind"), [("x", "equal"), ("y", "raises")])
def test_without_weights_a_program_is_tried_alone_where_eager_refuses(given_back: str, kind: str) -> None:
    """On the meta device eager has no values to decide by."""

    class Deciding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    def look(deployment: Deployment) -> str:
        return deployment.probe(lambda inputs: inputs[given_back], deployment.inputs).kind

    assert given(look, Deciding(), (X,), weights="meta") == kind


def test_sizes_that_the_trace_was_tried_at_come_first() -> None:
    """Then others around the one given, within the limit; what was not tried does not change them."""

    class Compares(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.shape[1] > 9 else x

    def look(deployment: Deployment) -> Any:
        tried = deployment.results["shapes"].metrics.get("dims", {}).get("seq", {}).get("probes", ())
        return set(map(int, tried)), deployment.sizes_around("seq", 6), deployment.sizes_around("seq", 13)

    tried, sizes, others = given(look, Compares(), (X,))
    assert {9, 10} <= tried
    assert set(sizes[: len(tried)]) == tried
    assert {1, 3, 12, 13} <= set(sizes)
    assert 6 not in sizes
    assert 13 not in others
    assert len(set(sizes)) == len(sizes)
    _, alone, _ = given(look, Compares(), (X,), skip={"shapes": "no", "values": "no"})
    assert sorted(alone) == [1, 3, 12, 13]


def test_the_calls_of_the_model_into_torch_are_listed() -> None:
    """In order, with the model's line of each."""
    log = given(lambda deployment: deployment.operations(deployment.inputs), Head(), (X,))
    (operation,) = (operation for operation in log.operations if operation.name == "linear")
    assert operation.results[0].shape == (2, 6, 3)
    assert operation.line is not None
    assert operation.line.text == "out: Tensor = self.linear(x)"


def test_a_call_of_the_models_own_is_arranged_once() -> None:
    """It gets its arguments; what it hands on to the forward is its own matter."""

    class Handing(Head):
        def __call__(self, x: Tensor, factor: Tensor) -> Any:
            return super().__call__(x * factor)

    def look(deployment: Deployment) -> Any:
        two, linear = torch.tensor(2.0), deployment.model.get_submodule("linear")
        with deployment.bound(lambda values: ((values[0], two), {})) as own:
            output = deployment.model(X)
        return own, torch.equal(output, linear(X)), torch.equal(output, linear(X * 2))

    assert given(look, Handing(), (X, torch.tensor(3.0))) == (True, False, True)
    assert given(look, Head(), (X,)) == (False, True, False)


# Findings


@pytest.mark.parametrize("kind", ["finding", "note", "fail"])
def test_a_finding_has_all_that_is_known_of_it(kind: str) -> None:
    """Whether it is returned, noted or fails the check."""
    line = Line(__file__, 3, "forward")

    def look(deployment: Deployment) -> Any:
        about: dict[str, Any] = {"line": line, "where": "used at", "path": "logits", "hint": "try", "details": {"size": 3}}
        found = getattr(deployment, kind)("a message", **about)
        return found, deployment.notes, deployment.failures

    returned, notes, failures = given(look, Head(), (X,))
    (finding,) = {"finding": [returned], "note": notes, "fail": failures}[kind]
    assert (len(notes), len(failures)) == (int(kind == "note"), int(kind == "fail"))
    assert (finding.message, finding.line, finding.where, finding.path) == ("a message", 3, "used at", "logits")
    assert (finding.hint, finding.details) == ("try", {"size": 3})


def test_a_node_of_the_trace_has_its_line() -> None:
    """The user's own, not torch's."""

    class Sorting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sort(-1).values

    def look(deployment: Deployment) -> Any:
        assert deployment.module is not None
        node = next(node for node in deployment.module.inlined_graph.nodes() if node.kind() == "aten::sort")
        unknown = SimpleNamespace(sourceRange=lambda: "")
        return deployment.line_of(node), deployment.line_of(unknown)

    line, nothing = given(look, Sorting(), (X,))
    assert (line.file, line.line) == (__file__, Sorting.forward.__code__.co_firstlineno + 1)
    assert nothing is None


def test_earlier_checks_are_known_by_name() -> None:
    """And this one is not among them yet."""

    def look(deployment: Deployment) -> Any:
        return deployment.status("trace"), deployment.status("padding"), deployment.status("target"), list(deployment.results)

    trace, padding, own, names = given(look, Head(), (X,))
    assert (trace, padding, own) == (Status.PASSED, Status.SKIPPED, None)
    assert "target" not in names


def test_variants_stay_within_the_vocabulary() -> None:
    """As the gate's own: other tokens, and masks, of the traced shape."""
    tokens = models.tokens()
    observed = {**tokens, "input_ids": tokens["input_ids"].clamp(max=5)}

    def look(deployment: Deployment) -> Any:
        return list(deployment.variants())

    found = given(look, models.Encoder(), observed)
    assert {"integers redrawn", "mask mostly padding"} <= {label for label, _ in found}
    assert all(inputs["input_ids"].shape == observed["input_ids"].shape for _, inputs in found)
    assert all(int(inputs["input_ids"].max()) < 24 for _, inputs in found)
    assert max(int(inputs["input_ids"].max()) for _, inputs in found) > 5


def test_the_line_by_which_the_model_returns_is_known() -> None:
    """For what is wrong with an output as a whole."""
    line = given(lambda deployment: deployment.returned_at(), Head(), (X,))
    assert line.function == "forward"
    assert line.text.startswith("return ")
