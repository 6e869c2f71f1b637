"""Every remedy mends: its broken model is broken by plain torch, and is right with the remedy applied; the gate says so too."""

# nn.Module.__call__ and parts of torch are untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import copy
import importlib.util
import inspect
import io
import itertools
import math
import operator
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from pytest_torchscript import gate
from pytest_torchscript.diagnosis.remedies import REMEDIES, Remedy, hint_for, remedy_for
from pytest_torchscript.result import CellResult, CheckResult
from pytest_torchscript.source import Line
from pytest_torchscript.spec import GateSpec, parse_arguments
from pytest_torchscript.subject.call import bind
from pytest_torchscript.tracing.trace import TraceError, trace

from ..corpus import guilty_places
from . import remedy_corpus
from .remedy_corpus import EXAMPLES, Example
from .test_error_text import Bag, Leaking, Mixed, Texts, error_of

ROOT = Path(__file__).resolve().parents[2]
BY_KIND = {remedy.kind: remedy for remedy in REMEDIES}
# Remedies whose broken model cannot be written here, each with the test that meets it.
ELSEWHERE = {"flag-of-transformers": "tests/compat/test_remedy.py", "masks-by-vmap": "tests/compat/test_masks.py"}


@pytest.fixture(autouse=True)
def no_deprecations() -> Iterator[None]:
    """torch deprecates TorchScript; this file calls it itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# The models


def applied(text: str, remedy: Remedy) -> str:
    """Source text with the remedy's ``before`` replaced by its ``after``, at the indentation at which it stands."""
    text = re.sub(r"  # guilty$", "", text, flags=re.MULTILINE)
    first = remedy.before.splitlines()[0]
    indent = next((re.match(r"\s*", line).group() for line in text.splitlines() if first in line), "")  # type: ignore[union-attr]
    before, after = (f"\n{indent}".join(block.splitlines()) for block in (remedy.before, remedy.after))
    assert before in text, f"{remedy.before!r} is not in\n{text}"
    return text.replace(before, after)


def mended_class(example: Example, folder: Path) -> type[nn.Module]:
    """The class of the example with its remedy applied, from a file of its own: TorchScript reads sources."""
    remedy = BY_KIND[example.kind]
    text = Path(remedy_corpus.__file__).read_text(encoding="utf-8")
    sources = [inspect.getsource(part) for part in (example.model, *example.helpers)]
    changed = [part for part in sources if remedy.before.splitlines()[0] in part]
    assert changed, f"{example.kind}: no source holds {remedy.before!r}"
    for part in changed:
        text = text.replace(part, applied(part, remedy))
    name = f"mended_{example.kind.replace('-', '_')}"
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found = getattr(module, example.model.__name__)
    assert issubclass(found, nn.Module)
    return found


def built(cls: type[nn.Module], example: Example) -> nn.Module:
    torch.manual_seed(0)
    model = cls().eval()
    if example.used:
        model(*copy.deepcopy(example.inputs))
    return model


# Plain torch


def same(left: Any, right: Any) -> bool:
    pairs = list(itertools.zip_longest(pytree.tree_leaves(left), pytree.tree_leaves(right)))
    return all(
        isinstance(a, torch.Tensor)
        and isinstance(b, torch.Tensor)
        and a.shape == b.shape
        and a.dtype == b.dtype
        and (a.is_meta or torch.allclose(a, b, atol=1e-5))
        for a, b in pairs
    )


def judged_by_torch(model: nn.Module, example: Example) -> tuple[str, str]:
    """The verdict of plain torch on a model, ``ok`` or what is wrong first, and the text of the error if there was one."""
    with torch.no_grad():
        try:
            verdict = judged_in_eager(model, example)
        except Exception as error:  # noqa: BLE001 - the error is the verdict
            return "EagerFailure", str(error)
        if verdict != "ok":
            return verdict, ""
        try:
            program = torch.jit.trace(model, copy.deepcopy(example.inputs), check_trace=False)
        except Exception as error:  # noqa: BLE001 - the error is the verdict
            return "Untraceable", str(error)
        try:
            file = io.BytesIO()
            torch.jit.save(program, file)
            file.seek(0)
            program = torch.jit.load(file)
        except Exception as error:  # noqa: BLE001 - the error is the verdict
            return "NotSerialisable", str(error)
        if example.verdict == "DevicePinned":
            try:
                torch.jit.load(io.BytesIO(file.getvalue()), map_location="meta")(*(x.to("meta") for x in example.inputs))
            except Exception as error:  # noqa: BLE001 - the error is the verdict
                return "DevicePinned", str(error)
        return judged_against_eager(model, program, example)


def judged_in_eager(model: nn.Module, example: Example) -> str:
    if any(leaf.is_meta for leaf in example.inputs):
        return "ok"
    inputs = copy.deepcopy(example.inputs)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = {name for name, _ in model.named_parameters()}
    first = copy.deepcopy(model(*inputs))
    if not same(inputs, example.inputs):
        return "SideEffect"
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    if changed:
        return "WeightsChanged" if set(changed) & parameters else "SideEffect"
    if not any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(first)):
        return "ok"
    again = model(*inputs)
    tensors = [[leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)] for output in (again, first)]
    if not same(*tensors):
        return "NonDeterministic"
    if example.verdict == "SideEffect":
        fresh = built(type(model), example)
        if any(not same(model(*other), fresh(*other)) for other in example.others):
            return "SideEffect"
    return "ok"


def judged_against_eager(model: nn.Module, program: Any, example: Example) -> tuple[str, str]:
    for inputs in (example.inputs, *example.others):
        expected = model(*copy.deepcopy(inputs))
        sizes = [tuple(tensor.shape) for tensor in inputs]
        other = "ValueSpecialised" if sizes == [tuple(t.shape) for t in example.inputs] else "ShapeSpecialised"
        verdict = "NotEquivalent" if inputs is example.inputs else other
        try:
            actual = program(*copy.deepcopy(inputs))
        except Exception as error:  # noqa: BLE001 - the error is the verdict
            return verdict, str(error)
        if not same(actual, expected):
            return verdict, ""
    return "ok", ""


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_broken_model_is_broken_by_plain_torch(example: Example) -> None:
    """The example is what its verdict says, whatever the gate thinks of it."""
    verdict, _ = judged_by_torch(built(example.model, example), example)
    assert verdict == example.verdict


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_remedy_mends_by_plain_torch(example: Example, tmp_path: Path) -> None:
    """With ``after`` in the place of ``before``, the model traces, is saved and loaded, and is right for other inputs too."""
    mended = built(mended_class(example, tmp_path), example)
    assert judged_by_torch(mended, example) == ("ok", "")
    if example.same:
        broken = built(example.model, example)
        with torch.no_grad():
            for inputs in (example.inputs, *example.others):
                if not any(tensor.is_meta for tensor in inputs):
                    assert same(mended(*copy.deepcopy(inputs)), broken(*copy.deepcopy(inputs)))


# The gate


def judged(model: nn.Module, example: Example) -> CellResult:
    subject = gate.Subject(model=model, call=gate.call_of(model, copy.deepcopy(example.inputs)))
    spec = GateSpec.merge(parse_arguments((), dict(example.arguments)))
    (cell,) = gate.judge(subject, spec, id=example.kind, root=str(ROOT)).cells
    return cell


def deciding(cell: CellResult, example: Example) -> CheckResult:
    """The check that failed first; for a pinned device, which is a note where there is no GPU, that check."""
    if example.verdict == "DevicePinned":
        return cell.check("device")
    return next(check for check in cell.checks if check.verdict is not None)


@pytest.mark.parametrize("example", [example for example in EXAMPLES if not example.by_error], ids=str)
def test_the_gate_names_verdict_line_and_remedy(example: Example) -> None:
    """The first failing check has the verdict, and its first finding the guilty line and the remedy's own sentence."""
    cell = judged(built(example.model, example), example)
    assert cell.verdict == (example.verdict if example.verdict != "DevicePinned" else "ok")
    finding = deciding(cell, example).findings[0]
    places = guilty_places((example.model, *example.helpers))
    allowed = {(Path(file).relative_to(ROOT).as_posix(), line) for file, line in places}
    assert (finding.file, finding.line) in allowed, f"{finding.message} ({finding.file}:{finding.line})"
    sentence = re.sub(r"\\\{\w+\\\}", r".+", re.escape(BY_KIND[example.kind].hint))
    assert re.match(sentence, str(finding.hint)), finding.hint


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_gate_passes_the_mended_model(example: Example, tmp_path: Path) -> None:
    """No check fails any more."""
    cell = judged(built(mended_class(example, tmp_path), example), example)
    failed = [(check.name, finding.message) for check in cell.checks if check.verdict for finding in check.findings]
    assert (cell.verdict, failed) == ("ok", [])


@pytest.mark.parametrize("example", [example for example in EXAMPLES if example.by_error], ids=str)
def test_a_remedy_is_found_by_the_error_alone(example: Example) -> None:
    """Where only torch's text is there, as of a program that failed elsewhere."""
    model = built(example.model, example)
    if example.kind == "weights-written-in-forward":
        file = io.BytesIO()
        torch.jit.save(torch.jit.trace(model, example.inputs, check_trace=False), file)
        file.seek(0)
        with pytest.raises(RuntimeError) as caught:
            torch.jit.load(file)(*example.inputs)
        text = str(caught.value)
    else:
        _, text = judged_by_torch(model, example)
    assert hint_for(text) == BY_KIND[example.kind].hint


# The table


def test_every_remedy_has_a_broken_model() -> None:
    """A remedy that nothing tests is a guess."""
    assert {example.kind for example in EXAMPLES} | set(ELSEWHERE) == set(BY_KIND)
    assert all((ROOT / test).exists() for test in ELSEWHERE.values())


def test_kinds_are_unique_and_sentences_are_single_lines() -> None:
    """A kind names one remedy; cause and hint fit into one line of the block, before and after are code that differs."""
    assert len(BY_KIND) == len(REMEDIES)
    for remedy in REMEDIES:
        assert "\n" not in remedy.cause + remedy.hint
        assert remedy.before.strip()
        assert remedy.before != remedy.after


# Looking a remedy up


def line_of(text: str, tmp_path: Path) -> Line:
    """A line of code that stands in a file of its own."""
    path = tmp_path / f"line_{abs(hash(text))}.py"
    path.write_text(f"def forward(self, x):\n    {text}\n", encoding="utf-8")
    return Line(str(path), 2, "forward")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("return x / np.sqrt(x.shape[1])", "root-of-a-size"),
        ("return x / sqrt(x.shape[1])", "root-of-a-size"),
        ("n = ceil(x.shape[1] / 4)", "ceil-of-a-size"),
        ("n = np.ceil(x.shape[1] / 4)", "ceil-of-a-size"),
        ("n = torch.ceil(x)", None),
        ("n = x.sqrt() / torch.sqrt(x)", None),
        ("n = np.prod(x.shape)", "function-of-a-size"),
        ("n = math.exp(-x.shape[1])", "function-of-a-size"),
        ("wh = x.new_tensor([x.shape[2], x.shape[1]])", "tensor-of-sizes"),
        ("wh = torch.FloatTensor([x.shape[2], x.shape[1]])", "tensor-of-sizes"),
        ("wh = torch.tensor(x.shape[-2:])", "tensor-of-sizes"),
        ("wh = torch.tensor(x.shape)", "tensor-of-sizes"),
        ("n = torch.tensor(x.shape[1])", None),
        ("wh = np.asarray(x.shape)", "numpy-of-sizes"),
        ("while n < x.shape[1]: n += 1", "loop-over-a-size"),
        ("y = [x[:, i] for i in range(x.shape[1])]", "loop-over-a-size"),
        ("n = len(x)", "length-of-a-tensor"),
        ("y = x.mean(1, keepdim=n > 1)", "option-by-bool"),
        ("y = x.mean(1, keepdim=True)", None),
        ("if n not in self.tables: pass", "table-kept-in-an-attribute"),
        ("if self.size != x.shape[1]: pass", "table-kept-in-an-attribute"),
        ("if x.shape[1] > self.limit: pass", "branch-on-a-size"),
        ("n = min(x.shape[1], 64)", "smallest-or-largest-of-sizes"),
        ("n = x.min(1)", None),
        ("n = math.isqrt(x.shape[1])", "integer-root-of-a-size"),
        ("wh = torch.tensor(data=[x.shape[1], 8])", "tensor-of-sizes"),
        ("wh = torch.asarray([x.shape[1], 8])", "tensor-of-sizes"),
        ("n = [int(v) for v in x.size()][1]", "number-of-each-size"),
        ("n = torch.stack([torch.tensor(int(v)) for v in x.shape[1:]])", "number-of-each-size"),
        ("y = [int(i) for i in range(x.shape[1])]", "loop-over-a-size"),
        ("y = sum(x[:, int(i)] for i in range(x.shape[1]))", "loop-over-a-size"),
        ("n = list(map(int, x.shape))[1]", "number-of-a-size"),
        ("n = int(x.shape[1] / 2)", "part-of-a-size"),
        ("n = int(0.5 * x.shape[1])", "part-of-a-size"),
        ("n = int(x.shape[1] // 2)", "number-of-a-size"),
        ("n = int(x.shape[1]) / 2", "number-of-a-size"),
        ("n = len(self.layers) * int(x.shape[1])", "number-of-a-size"),
        ("n = 2 if f'{x.shape[1]:03d}' == '016' else 1", "text-of-a-size"),
    ],
)
def test_a_line_that_bakes_a_size_is_known_by_its_text(text: str, kind: str | None, tmp_path: Path) -> None:
    """By the function that is called, by itself or from its module, and never by torch's own of that name."""
    remedy = remedy_for(verdict="ShapeSpecialised", line=line_of(text, tmp_path))
    assert (remedy.kind if remedy else None) == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("if not mask.all(): pass", "mask-of-ones"),
        ("if (attention_mask == 0).any(): pass", "mask-of-ones"),
        ("if (x == 0).any(): pass", "branch-on-a-value"),
        ("if attention_mask.bool().all(): pass", "mask-of-ones"),
        ("n = lengths.cpu().numpy()", "numpy-of-values"),
        ("while x.sum() > 1: pass", "branch-on-a-value"),
        ("assert x.min() > 0", "branch-on-a-value"),
        ("n = int(x.max())", "number-of-a-value"),
        ("y = x[:, : int(mask.sum(1).max())]", "slice-by-a-value"),
        ("n = int(mask.sum(1).max())", "number-of-a-value"),
        ("y = x[:, : lengths.max().item()]", "slice-by-a-value"),
        ("y = x.relu()", None),
    ],
)
def test_a_line_that_bakes_a_value_is_known_by_its_text(text: str, kind: str | None, tmp_path: Path) -> None:
    """By how the value leaves the graph."""
    remedy = remedy_for(verdict="ValueSpecialised", line=line_of(text, tmp_path))
    assert (remedy.kind if remedy else None) == kind


def test_a_statement_of_several_lines_is_read_whole(tmp_path: Path) -> None:
    """The guilty line may be any of them."""
    path = tmp_path / "several.py"
    path.write_text("def forward(self, x):\n    wh = torch.tensor(\n        [x.shape[1], 1]\n    )\n", encoding="utf-8")
    remedy = remedy_for(verdict="ShapeSpecialised", line=Line(str(path), 3, "forward"))
    assert remedy is not None
    assert remedy.kind == "tensor-of-sizes"


def in_a_sum(x: torch.Tensor) -> torch.Tensor:
    return torch.add(
        x.sum(1) * math.ceil(2.5),
        x.mean(1) / float(x.shape[1]),  # guilty
    )


def in_a_mapping(x: torch.Tensor) -> torch.Tensor:
    scales = {
        "root": lambda x: x / math.sqrt(8.0),
        "mean": lambda x: x / int(x.shape[1]),  # guilty
    }
    return scales["mean"](x)


def in_a_chain(x: torch.Tensor) -> torch.Tensor:
    return (
        x.sum(1)
        .div(int(x.shape[1]))  # guilty
        .mul(math.log(2.0))
        .std(0, unbiased=bool(x.ndim > 1))
    )


def under_no_known_name(x: torch.Tensor) -> torch.Tensor:
    return torch.add(
        x.sum(1) * math.ceil(2.5),
        x.mean(1) / operator.index(x.shape[1]),  # guilty
    )


class Function(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (in_a_sum, "without float()"),
        (in_a_mapping, "without int()"),
        (in_a_chain, "without int()"),
        (under_no_known_name, "make no Python number of it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_another_line_of_a_statement_has_no_say(function: Callable[[torch.Tensor], torch.Tensor], words: str) -> None:
    """The remedy is that of the guilty line, whatever the other lines of the statement call."""
    cell = judged(Function(function), replace(EXAMPLES[0], inputs=(remedy_corpus.features(),)))
    finding = next(check for check in cell.checks if check.verdict is not None).findings[0]
    assert cell.verdict == "ShapeSpecialised"
    (place,) = guilty_places((function,))
    assert finding.line == place[1]
    assert words in str(finding.hint)
    assert "math." not in str(finding.hint)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / x.shape[1].bit_length(),
        lambda x: x * (x.shape[1] / 3).__floor__(),
        lambda x: x * float(Fraction(x.shape[1], 3)),
        lambda x: x * torch.sym_max(x.shape[1], 4),
        lambda x: x * float(Decimal(x.shape[1])),
    ],
)
def test_a_size_that_a_function_refuses_is_named_as_a_tensor(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Of a method of numbers, and of a function that takes numbers only, the remedy says what x.shape[i] is."""
    cell = judged(Function(function), replace(EXAMPLES[0], inputs=(remedy_corpus.features(),)))
    assert cell.verdict == "Untraceable"
    assert str(cell.check("trace").findings[0].hint).startswith("while tracing, x.shape[i] is a tensor, not a number")


@pytest.mark.parametrize(
    ("verdict", "text", "words"),
    [
        ("ShapeSpecialised", "return x / np.sqrt(x.shape[1])", "np.sqrt takes the size out of the graph"),
        ("ShapeSpecialised", "return x / float(x.numel())", "x.numel() without float()"),
        ("ShapeSpecialised", "n = torch.as_tensor(x.shape[1]).tolist()", "tolist() takes the tensor out of the graph"),
        ("ValueSpecialised", "return x * float(x.std())", "float() takes the value out of the graph"),
    ],
)
def test_a_function_is_named_as_it_is_written(verdict: str, text: str, words: str, tmp_path: Path) -> None:
    """NumPy's root is not called math's, and no function is named that is not there."""
    remedy = remedy_for(verdict=verdict, line=line_of(text, tmp_path))
    assert remedy is not None
    assert words in remedy.hint
    assert not re.search(r"math\.|int\(\)|len\(\)|item\(\)", remedy.hint)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda x: x[:, : math.floor(x.shape[1] * 0.75)].sum(1), lambda x: x[:, : x.shape[1] * 3 // 4].sum(1)),
        (lambda x: x.sum(1) * math.ceil(x.shape[1] * 0.75), lambda x: x.sum(1) * ((x.shape[1] * 3 + 3) // 4)),
        (lambda x: x / float(x.numel()), lambda x: x / x.numel()),
        (lambda x: x / list(map(int, x.shape))[1], lambda x: x / list(x.shape)[1]),
        (
            lambda x: x[..., :2] / torch.stack([torch.tensor(int(n)) for n in x.shape[1:]]),
            lambda x: x[..., :2] / torch.stack([torch.tensor(n) for n in x.shape[1:]]),
        ),
    ],
)
def test_what_a_remedy_says_beside_its_example_mends_too(before: Any, after: Any) -> None:
    """By plain torch, at the traced length and at others: the one is wrong, the other is right."""
    example = Example("", nn.Module, (remedy_corpus.features(),), remedy_corpus.SIZES, "ShapeSpecialised")
    assert judged_by_torch(Function(before), example)[0] == "ShapeSpecialised"
    assert judged_by_torch(Function(after), example) == ("ok", "")
    for inputs in (example.inputs, *example.others):
        assert same(before(*inputs), after(*inputs))


def test_a_dict_that_is_returned_may_hold_tuples_but_no_lists() -> None:
    """Where torch traces with ``strict=False``, as the gate does for a dict."""
    x = remedy_corpus.features()
    with pytest.raises(RuntimeError) as caught:
        torch.jit.trace(lambda x: {"out": [x * 2, x]}, (x,), check_trace=False, strict=False)
    assert hint_for(str(caught.value)) == BY_KIND["list-in-dict-output"].hint
    program = torch.jit.trace(lambda x: {"out": (x * 2, x)}, (x,), check_trace=False, strict=False)
    assert same(program(x)["out"], (x * 2, x))


def test_an_eager_failure_never_gets_advice_about_traces() -> None:
    """What the model itself refuses was not baked."""
    for remedy in REMEDIES:
        if "EagerFailure" in remedy.verdicts:
            assert not re.search(r"trac|baked|x\.shape", remedy.hint + remedy.cause)


@pytest.mark.parametrize(
    "message",
    [
        "The size of tensor a (4) must match the size of tensor b (3) at non-singleton dimension 1",
        "mat1 and mat2 shapes cannot be multiplied (2x9 and 8x4)",
        "shape '[2, 192]' is invalid for input of size 640",
    ],
)
def test_an_eager_failure_by_sizes_blames_the_inputs(message: str) -> None:
    """The same text means another thing when a program made by a trace says it."""
    assert "inputs do not fit" in str(hint_for(message, verdict="EagerFailure"))
    assert "inputs do not fit" not in str(hint_for(message))


def test_a_result_that_is_kept_is_named(tmp_path: Path) -> None:
    """With the attribute that holds it, at whatever depth; never as a parameter to register."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(8, 8)
            self.body.memory = {"first": [self.body(torch.ones(8))]}  # type: ignore[assignment]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) + self.body.memory["first"][0]  # type: ignore[index,operator]

    model = Deep()
    with pytest.raises(TraceError) as caught:
        trace(model, bind(model, (torch.ones(2, 8),), {}))
    remedy = remedy_for(verdict="Untraceable", error_text=str(caught.value), model=model)
    assert remedy is not None
    assert remedy.kind == "kept-result"
    assert "a result of an earlier call is kept in body.memory['first'][0]" in remedy.hint
    assert "nn.Parameter" not in remedy.hint


def test_another_table_may_come_first() -> None:
    """Somebody else's remedies are given in front of these, or alone."""
    own = Remedy(kind="flux", error=r"flux of (?P<name>\w+)", cause="no flux", hint="refill {name}", before="a", after="b")
    remedy = remedy_for(error_text="the flux of seven is empty", table=(own, *REMEDIES))
    assert remedy is not None
    assert (remedy.kind, remedy.hint) == ("flux", "refill seven")


def test_what_is_unknown_has_no_remedy(tmp_path: Path) -> None:
    """Nothing is better than a wrong guess."""
    assert remedy_for(error_text="the flux compensator is empty") is None
    assert remedy_for(verdict="ShapeSpecialised", line=line_of("y = x.relu()", tmp_path)) is None
    assert remedy_for(verdict="Untraceable") is None


# Looking a remedy up by an error's text


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Encountering a dict at the output of the tracer", "return a tuple"),
        ("Tracer cannot infer type of DynamicCache", "use_cache=False"),
        ("Type 'Tuple[Tensor, NoneType]' cannot be understood by the tracer", "return tensors only"),
        ("Cannot insert a Tensor that requires grad as a constant", "register it as nn.Parameter"),
        ("Could not export Python function call 'Double'", "autograd.Function cannot be saved"),
        ("shape '[2, 192]' is invalid for input of size 640", "take it from x.shape"),
        ("index out of range in self", "vocabulary size and maximum length"),
        ("The size of tensor a (5) must match the size of tensor b (3)", "take it from x.shape"),
        ("Tensor.item() cannot be called on meta tensors", "torch.where or masks"),
        ("unordered_map::at", "vmap"),
        ("__init__() got an unexpected keyword argument 'torchscript'", "gone in transformers 5"),
    ],
)
def test_a_known_symptom_has_a_remedy(message: str, words: str) -> None:
    """One line that says what to change."""
    hint = hint_for(message)
    assert hint is not None
    assert words in hint
    assert "\n" not in hint


@pytest.mark.parametrize("cls", [Leaking, Mixed, Texts, Bag])
def test_the_errors_of_this_torch_are_known(cls: Callable[[], nn.Module]) -> None:
    """The table follows what the installed torch says, word for word."""
    assert hint_for(str(error_of(cls(), torch.ones(2, 64)))) is not None


def test_an_unknown_symptom_has_no_remedy() -> None:
    """Nothing is better than a wrong guess."""
    assert hint_for("the flux compensator is empty") is None


def test_a_stack_through_torchs_compiler_is_not_its_doing() -> None:
    """Once it is loaded, torch's own functions pass through it; a module that it wraps is told as such."""
    stack = "index out of range in self\n/site-packages/torch/_dynamo/eval_frame.py(1200): _fn\nmodel.py(3): forward"
    assert "vocabulary" in str(hint_for(stack))
    fx = "Detected that you are using FX to torch.jit.trace a dynamo-optimized function. This is not supported."
    assert "before torch.compile wraps it" in str(hint_for(fx))
