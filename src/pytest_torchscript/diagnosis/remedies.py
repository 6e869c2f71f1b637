"""Remedies as data: from what a failure shows to its cause and what to change, one sentence each.

The order of the table matters: the first remedy whose patterns all hold is given. A remedy without a verdict holds for
every failure but ``EagerFailure``: what the model itself refuses has nothing to do with a trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from .. import source
from ..tracing.conversions import Conversion
from .held import model_facts

__all__ = ["REMEDIES", "Remedy", "hint_for", "remedy_for"]

_EAGER = "EagerFailure"


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What one kind of failure means, and what mends it.

    ``verdicts`` are the verdicts it holds for. ``error``, ``line`` and ``fact`` are regular expressions for the text of the
    error, the guilty line or else its statement (with the names of the cached functions that it calls), and what the model
    shows, see :func:`~pytest_torchscript.diagnosis.held.model_facts`; ``conversions`` are the kinds of values that left the
    graph on that line. An empty one holds always. ``hint`` and ``cause`` may name a group of a pattern: ``{name}``.
    ``before`` and ``after`` are code, an example of the mend; ``source`` says where the kind was reported.
    """

    kind: str
    cause: str
    hint: str
    verdicts: tuple[str, ...] = ()
    error: str = ""
    line: str = ""
    fact: str = ""
    conversions: tuple[str, ...] = ()
    before: str = ""
    after: str = ""
    source: str = ""


# A function of Python, math or NumPy, by itself or by the module's name: not a method, and not torch's.
_PYTHON = r"(?<![\w.])(?P<name>(?:(?:math|np|numpy)\.)?{})\("
# An option of a torch function that is given something else than a constant.
_OPTION = (
    r"\b(?P<name>is_causal|keepdim|unbiased|ceil_mode|align_corners|count_include_pad|largest|descending)"
    r"\s*=\s*(?!True\b|False\b|None\b|self\.|[\d=])"
)
_SHAPES = ("ShapeSpecialised",)
_VALUES = ("ValueSpecialised",)

REMEDIES: tuple[Remedy, ...] = (
    # The model itself refuses
    Remedy(
        kind="flag-of-transformers",
        verdicts=("", _EAGER, "Untraceable"),
        error=r"unexpected keyword argument 'torchscript'",
        cause="the flag torchscript= was given to a model of transformers",
        hint="the torchscript flag belongs to the config, and is gone in transformers 5: drop it",
        before="BertModel(config, torchscript=True)",
        after="BertModel(config)",
    ),
    Remedy(
        kind="index-beyond-an-axis",
        verdicts=(_EAGER,),
        error=r"index -?\d+ is out of bounds for dimension",
        line=r"(?<!shape)\[(?:[^\[\]]*,)?\s*-?\d+\s*[\],]",
        cause="an axis of the inputs is shorter than a number that it is indexed with",
        hint="an axis is shorter than the index at this line: give longer inputs, or another index",
        before="x[:, 99]",
        after="x[:, x.shape[1] - 1]",
    ),
    Remedy(
        kind="ids-beyond-a-table",
        verdicts=("", _EAGER, "ShapeSpecialised", "ValueSpecialised", "NotEquivalent", "PaddingUnsafe", "TargetFailure"),
        error=r"index.*out of (bounds|range)",
        cause="an id or a position is larger than the table that it is looked up in",
        hint="ids or positions go beyond a table: check vocabulary size and maximum length",
        before="torch.full_like(ids, 50)",
        after="torch.full_like(ids, 49)",
    ),
    Remedy(
        kind="inputs-do-not-fit",
        verdicts=(_EAGER,),
        error=r"must match the (existing )?size|size of tensor|shapes cannot be multiplied|shape '\[.*\]' is invalid"
        r"|Sizes of tensors must match|Expected size for"
        r"|to have \d+ channels|expected \d+ channels|[Gg]iven normalized_shape|size mismatch",
        cause="the sizes of the inputs are not those that the model was made for",
        hint="the inputs do not fit the model: compare their sizes with those of the weights or constants at this line",
        before="torch.ones(3)",
        after="torch.ones(x.shape[-1])",
    ),
    Remedy(
        kind="dtypes-do-not-fit",
        verdicts=(_EAGER,),
        error=r"(must|to) have the same dtype|expected scalar type|expected .*dtype.* but got",
        cause="the dtype of an input is not that of the weights",
        hint="the inputs do not fit the model: give them the dtype of the weights at this line",
        before="self.fc(x.double())",
        after="self.fc(x)",
    ),
    # The tracer refuses
    Remedy(
        kind="masks-by-vmap",
        error=r"unordered_map::at",
        cause="the tracer does not know torch.vmap",
        hint="masks are built with torch.vmap here: use transformers 5 or newer, or pass a ready 4-d attention mask",
        before="create_causal_mask(config, embeds, attention_mask)",
        after="mask_of_four_axes",
    ),
    Remedy(
        kind="lookup-under-vmap",
        error=r"Unsupported value kind: Tensor",
        line=r"vmap",
        cause="the tracer does not know torch.vmap",
        hint="torch.vmap does not trace: write the batch dimension out, as mask[:, positions] for a lookup",
        before="torch.vmap(lambda key: attention_mask[:, key], out_dims=1)(positions)",
        after="attention_mask[:, positions]",
    ),
    Remedy(
        kind="rounding-of-a-size",
        error=r"doesn't define __(round|trunc|floor|ceil)__",
        cause="while tracing, x.shape[i] is a tensor, which Python cannot round",
        hint="while tracing, x.shape[i] is a tensor, not an int: round with // and %",
        before="round(x.shape[1] * 0.5)",
        after="(x.shape[1] // 2)",
        source="pytorch/vision#7705",
    ),
    Remedy(
        kind="divmod-of-a-size",
        error=r"for divmod\(\)",
        cause="while tracing, x.shape[i] is a tensor, which divmod does not take",
        hint="while tracing, x.shape[i] is a tensor, not an int: use // and % instead of divmod",
        before="divmod(x.shape[1], 4)[1]",
        after="x.shape[1] % 4",
        source="pytorch/vision#7705",
    ),
    Remedy(
        kind="causal-by-size",
        error=r"argument 'is_causal'.* must be bool, not Tensor",
        cause="an option is fixed when the trace is made, and is_causal= depends on a size here",
        hint="an option that depends on a size cannot be traced: pass a mask instead of is_causal=, "
        "attn_mask=torch.ones(n, n).tril() > 0",
        before="is_causal=x.shape[1] > 1",
        after="attn_mask=torch.ones(x.shape[1], x.shape[1]).tril() > 0",
        source="pytorch/pytorch#115262",
    ),
    Remedy(
        kind="option-by-size",
        error=r"(?:argument '|got \([^)]*?)(?P<name>\w+)(?:'[^\n]* must be (?:bool|int|float|str|tuple of ints)\b"
        r"[^\n]*, not (?:tuple of )?Tensor|=Tensor.*?bool (?P=name)\b)",
        cause="an option is fixed when the trace is made, and {name}= depends on a size here",
        hint="an option that depends on a size cannot be traced: give {name}= a constant, or compute both and select "
        "with torch.where",
        before="x.std(1, unbiased=x.shape[1] > 8)",
        after="torch.where(torch.as_tensor(x.shape[1]) > 8, x.std(1, unbiased=True), x.std(1, unbiased=False))",
        source="pytorch/pytorch#108108",
    ),
    Remedy(
        kind="option-without-a-name",
        error=r"invalid combination of arguments - got",
        line=_OPTION,
        cause="an option is fixed when the trace is made, and {name}= depends on a size here",
        hint="an option that depends on a size cannot be traced: give {name}= a constant, or compute both and select "
        "with torch.where",
        before='F.interpolate(x, scale_factor=2.0, mode="linear", align_corners=x.shape[1] > 8)',
        after='torch.where(torch.as_tensor(x.shape[1]) > 8, F.interpolate(x, scale_factor=2.0, mode="linear", '
        'align_corners=True), F.interpolate(x, scale_factor=2.0, mode="linear", align_corners=False))',
        source="pytorch/pytorch#108108",
    ),
    Remedy(
        kind="dictionary-by-size",
        verdicts=("Untraceable",),
        error=r"^tensor\(\d+\)$",
        cause="while tracing, x.shape[i] is a tensor, and no key of a dictionary",
        hint="while tracing, x.shape[i] is a tensor, not an int: make the table a tensor and look it up with tensor operations",
        before="{7: 1.0, 16: 2.0, 33: 3.0}[x.shape[1]]",
        after="torch.tensor([1.0, 2.0, 3.0])[(torch.tensor([7, 16, 33]) == x.shape[1]).int().argmax()]",
    ),
    Remedy(
        kind="method-of-a-number",
        verdicts=("Untraceable",),
        error=r"'Tensor' object has no attribute '(?P<name>\w+)'",
        cause="while tracing, x.shape[i] is a tensor, which has no {name}",
        hint="while tracing, x.shape[i] is a tensor, not a number, and has no {name}: compute it with // and %, "
        "or with torch's functions",
        before="(x.shape[1] / 2).is_integer()",
        after="(x.shape[1] % 2 == 0)",
    ),
    Remedy(
        kind="scale-by-size",
        verdicts=("Untraceable",),
        error=r"upsample\w*\(\) received an invalid combination of arguments",
        line=r"scale_factor\s*=\s*(?![\d.]+\s*[,)])",
        cause="while tracing, x.shape[i] is a tensor, and scale_factor= takes numbers",
        hint="while tracing, x.shape[i] is a tensor, not a number: give size= instead of scale_factor=, as "
        "size=x.shape[2] * x.shape[1] // 8",
        before="scale_factor=x.shape[1] / 8",
        after="size=x.shape[2] * x.shape[1] // 8",
    ),
    Remedy(
        kind="function-of-numbers",
        verdicts=("Untraceable",),
        error=r"for \*\* or pow\(\)|Rational instances|got <class 'torch\.Tensor'>|from Tensor to \w+|component: Tensor"
        r"|list of \[(?:\w+, )*Tensor|, not (?:list of |tuple of )?Tensor\b|'Tensor' object cannot be interpreted",
        cause="while tracing, x.shape[i] is a tensor, and a function that takes Python numbers refuses it",
        hint="while tracing, x.shape[i] is a tensor, not a number, which the function at this line does not take: compute with "
        "// and %, or with torch's functions",
        before="pow(2, x.shape[1], 5)",
        after="(2 ** x.shape[1] % 5)",
    ),
    Remedy(
        kind="scripted-number",
        error=r"Tracer cannot set value trace for type (?P<name>\w+)",
        cause="only tensors pass between a traced and a scripted function, and this one takes or returns a {name}",
        hint="let the scripted function take and return tensors: no number, text or list of numbers passes between the two",
        before="def scale_of(x: Tensor) -> float:\n    return 4.0 / x.shape[1]",
        after="def scale_of(x: Tensor) -> Tensor:\n    return torch.tensor(4.0 / x.shape[1])",
        source="pytorch/pytorch#36596",
    ),
    Remedy(
        kind="kept-result",
        error=r"requires grad as a constant",
        fact=r"result kept in (?P<name>.+)",
        cause="a result of an earlier call, with its gradient, is kept in {name} and would become a constant of the trace",
        hint="a result of an earlier call is kept in {name}: pass it in as an input; as a buffer it would be silently wrong "
        "for other inputs",
        before="if self.template is None:\n    self.template = self.fc(template).mean(1, keepdim=True)\nkept = self.template",
        after="kept = self.fc(template).mean(1, keepdim=True)",
        source="pytorch/pytorch#73353",
    ),
    Remedy(
        kind="unregistered-parameter",
        error=r"requires grad as a constant",
        fact=r"parameter kept in (?P<name>.+)",
        cause="a parameter is kept in {name}, outside the registered modules",
        hint="a parameter lives outside the registered modules, in {name}: register it as nn.Parameter or buffer",
        before="self.scales = [torch.ones(8, requires_grad=True)]",
        after="self.scales = nn.ParameterList([nn.Parameter(torch.ones(8))])",
    ),
    Remedy(
        kind="unregistered-module",
        error=r"requires grad as a constant",
        fact=r"module kept in (?P<name>.+)",
        cause="a module with parameters is kept in {name}, where torch does not see it",
        hint="a module is kept in {name}, where torch does not see its parameters: keep modules in an nn.ModuleList or an "
        "nn.ModuleDict, or as an attribute of their own",
        before="self.blocks = [nn.Linear(8, 8), nn.Linear(8, 8)]",
        after="self.blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])",
    ),
    Remedy(
        kind="unknown-constant-with-gradient",
        error=r"requires grad as a constant",
        cause="a tensor that requires grad is neither an input nor a parameter of the model",
        hint="a tensor that requires grad is no parameter of the model: register it as nn.Parameter if it is a weight; "
        "pass it in as an input if it is the result of an earlier call",
        before="x * SCALE",
        after="x * self.scale",
    ),
    Remedy(
        kind="unknown-overload",
        error=r"We don't have an op for aten::(?P<name>\w+)",
        cause="TorchScript has no form of {name} for operands of these types: eager makes a number of a bool, a trace does not",
        hint="TorchScript has no {name} for operands of these types: give the value as a tensor or as a number of the tensor's "
        "type, 0 instead of False",
        before="scatter(-1, index, False)",
        after="scatter(-1, index, 0)",
        source="transformers, DeepSeek V3.2",
    ),
    Remedy(
        kind="dict-in-strict-trace",
        error=r"Encountering a dict",
        cause="torch.jit.trace refuses a dict in its strict mode",
        hint="return a tuple (return_dict=False for transformers), or trace with strict=False",
        before='return {"y": y}',
        after="return (y,)",
        source="pytorch/pytorch#89374",
    ),
    Remedy(
        kind="cache-in-output",
        error=r"(infer type of|value of type).*Cache",
        cause="the model returns a cache object, which is no tensor",
        hint="pass use_cache=False and return tuples: a Cache is no tensor",
        before='return {"y": y, "cache": DynamicCache()}',
        after="return (y,)",
    ),
    Remedy(
        kind="nested-dict-in-output",
        error=r"Only tensors, lists, tuples of tensors|cannot be understood by the tracer|Tracer cannot infer type of",
        line=r"^return\s*\{.*:\s*\{|^return\s*[\[(].*\{",
        cause="the output holds a dict inside another container",
        hint="return tensors only, in tuples, lists or one flat dict of tensors: take the inner dict apart",
        before='return {"out": {"y": y, "z": z}}',
        after="return y, z",
        source="pytorch/pytorch#89374",
    ),
    Remedy(
        kind="none-in-output",
        error=r"Only tensors, lists, tuples of tensors|cannot be understood by the tracer|Tracer cannot infer type of",
        line=r"^return\b.*\bNone\b",
        cause="the output holds a None",
        hint="return tensors only, in tuples, lists or one flat dict of tensors: leave the None out",
        before="return y, None",
        after="return (y,)",
    ),
    Remedy(
        kind="list-in-dict-output",
        error=r"can be a dictionary output",
        cause="the returned dict holds something else than tensors and tuples of tensors",
        hint="a dict that is returned may hold tensors and tuples of tensors only, under texts: make tuples of its lists, "
        "leave dicts, None and numbers out, or return a tuple",
        before='return {"out": [y, z]}',
        after="return y, z",
        source="pytorch/pytorch#89374",
    ),
    Remedy(
        kind="object-in-output",
        error=r"Only tensors, lists, tuples of tensors|cannot be understood by the tracer|Tracer cannot infer type of"
        r"|Dictionary inputs to traced functions",
        cause="the output holds something that is no tensor",
        hint="return tensors only, in tuples, lists or one flat dict of tensors: no None, number, text or object among them",
        before='return y, "text"',
        after="return (y,)",
    ),
    Remedy(
        kind="values-on-meta",
        error=r"Cannot copy out of meta tensor|item\(\) cannot be called on meta",
        cause="the forward asks for a value, and meta tensors have none",
        hint="the forward looks at values, which a trace bakes in: replace the Python branch by torch.where or masks",
        before="x * x.sum().item()",
        after="x * x.sum()",
    ),
    Remedy(
        kind="numpy-of-a-tensor",
        error=r"numpy\(\).*meta|can't convert.*numpy|Can't call numpy\(\) on",
        cause="NumPy takes the tensor out of the graph",
        hint="stay with tensors: NumPy leaves the graph",
        before="torch.from_numpy(np.exp(x.numpy()))",
        after="torch.exp(x)",
    ),
    Remedy(
        kind="functional-transform",
        error=r"torch_function mode|functorch|vmap|Cannot access data pointer of Tensor that doesn't have storage",
        cause="the tracer does not follow a functional transform of torch",
        hint="vmap and functional transforms do not trace: write the batch dimension, or the derivative, out",
        before="torch.func.grad(lambda row: (row * row).sum())(x)",
        after="x * 2",
    ),
    Remedy(
        kind="compiled-module",
        # Not "dynamo" alone: a stack may pass through torch/_dynamo for other reasons.
        error=r"dynamo-optimized|torch\.compile|optimize\(\) on",
        cause="torch.compile wraps the module",
        hint="trace the module before torch.compile wraps it",
        before='torch.compile(nn.Linear(8, 8), backend="eager")',
        after="nn.Linear(8, 8)",
    ),
    # The saved program
    Remedy(
        kind="python-autograd-function",
        error=r"Could not export Python function",
        cause="the trace calls a Python function, which no file can hold",
        hint="a Python autograd.Function cannot be saved: write it with differentiable torch operations",
        before="Double.apply(x)",
        after="x * 2",
    ),
    Remedy(
        kind="weights-written-in-forward",
        error=r"a leaf Variable that requires grad is being used in an in-place operation",
        cause="the forward writes its weights under no_grad, which a trace does not record",
        hint="compute the changed weight without writing it back, or use torch.nn.utils.parametrize",
        before="with torch.no_grad():\n    self.weight.clamp_(-0.1, 0.1)\n    weight = self.weight",
        after="weight = self.weight.clamp(-0.1, 0.1)",
        source="pytorch/pytorch#133678",
    ),
    Remedy(
        kind="size-in-view",
        error=r"shape '\[.*\]' is invalid",
        cause="a size of the traced input is a constant of the trace",
        hint="a size was baked into view or reshape: take it from x.shape, or use -1",
        before="x.reshape(int(x.shape[0]), 128)",
        after="x.reshape(x.shape[0], 128)",
    ),
    Remedy(
        kind="size-baked",
        error=r"must match the (existing )?size|size of tensor",
        cause="a size of the traced input is a constant of the trace",
        hint="a size was baked in: take it from x.shape inside the forward",
        before="torch.ones(int(x.shape[1]), 1)",
        after="torch.ones(x.shape[1], 1)",
    ),
    # Eager and trace differ on the traced input
    Remedy(
        kind="branch-on-tracing",
        verdicts=("NotEquivalent",),
        line=r"tracing|scripting|compiling|exporting|_get_tracing_state",
        cause="the forward asks whether it is traced, and does something else then",
        hint="let the forward do while tracing what it does in eager: no is_tracing() branch; "
        "keep its condition in the graph, or pad outside the model",
        before="(x if torch.jit.is_tracing() else x * 2)",
        after="(x * 2)",
    ),
    Remedy(
        kind="type-test-of-a-size",
        verdicts=("NotEquivalent", "ShapeSpecialised"),
        line=r"isinstance\(.*\bint\b|type\(.*\bint\b",
        cause="while tracing, x.shape[i] is a tensor, so that a test for int answers otherwise",
        hint="while tracing, x.shape[i] is a tensor, not an int: do the same for both",
        before="2.0 if isinstance(x.shape[1], int) else 3.0",
        after="2.0",
    ),
    # An answer that differs from call to call
    Remedy(
        kind="size-returned",
        verdicts=("NotEquivalent",),
        error=r"by structure .* instead of (?P<name>int|float|bool|complex)\b",
        cause="eager returns a Python number, which is a tensor while tracing",
        hint="the trace returns a tensor where eager returns a Python {name}: while tracing, x.shape[i] is a tensor; return "
        "tensors only, torch.as_tensor(n) for a size n",
        before="return y, x.shape[1]",
        after="return y, torch.as_tensor(x.shape[1])",
    ),
    Remedy(
        kind="lookup-by-size",
        verdicts=("NotEquivalent",),
        line=r"\.get\((?![\"'])|\bin\s*\{|\bif\b.*\bin\b",
        cause="while tracing, x.shape[i] is a tensor, which is found in no dictionary and no set",
        hint="while tracing, x.shape[i] is a tensor, which is found in no dictionary and no set: make the table a tensor and "
        "look it up with tensor operations",
        before="{7: 1.0, 16: 2.0}.get(x.shape[1], 3.0)",
        after="torch.tensor([3.0, 1.0, 2.0])[((torch.tensor([7, 16]) == x.shape[1]) * torch.tensor([1, 2])).sum()]",
    ),
    Remedy(
        kind="text-of-a-size",
        verdicts=("NotEquivalent", "ShapeSpecialised"),
        line=r"\b(?:str|repr|format)\(|[\"']\s*%|\b[fF][\"']",
        conversions=("text",),
        cause="the text of a size is made once, while tracing, when the size is a tensor",
        hint="while tracing, x.shape[i] is a tensor, whose text is another one and is made once: decide by tensor operations, "
        "not by text",
        before='2 if str(x.shape[1]).endswith("6") else 1',
        after="torch.where(torch.as_tensor(x.shape[1]) % 10 == 6, 2, 1)",
    ),
    Remedy(
        kind="dropout-always-on",
        verdicts=("NonDeterministic",),
        line=r"(?:F|functional|torch)\.\w*dropout\w*\(|dropout_p=",
        cause="a functional dropout drops in eval mode too, unless training= says otherwise",
        hint="a functional dropout is on in eval mode too: give it training=self.training, or use nn.Dropout",
        before="F.dropout(x, 0.5)",
        after="F.dropout(x, 0.5, training=self.training)",
    ),
    Remedy(
        kind="embedding-with-max-norm",
        verdicts=("WeightsChanged",),
        error=r"'(?P<module>[\w.]*?)\.?weight'",
        fact=r"max_norm in {module}$",
        cause="nn.Embedding with max_norm= rescales the rows that it looks up, in place, in every call",
        hint="nn.Embedding with max_norm= writes its weight in every call: renormalise it once before tracing, "
        "and set max_norm=None",
        before="nn.Embedding(50, 8, max_norm=1.0)",
        after="nn.Embedding.from_pretrained(torch.renorm(torch.randn(50, 8), 2, 0, 1.0))",
    ),
    Remedy(
        kind="weights-written",
        verdicts=("WeightsChanged",),
        cause="the forward writes its own weights",
        hint="compute the changed weight without writing it back, or do it once before tracing",
        before="self.weight.data.clamp_(-0.1, 0.1)\nweight = self.weight",
        after="weight = self.weight.clamp(-0.1, 0.1)",
        source="pytorch/pytorch#133678",
    ),
    Remedy(
        kind="input-written",
        verdicts=("SideEffect",),
        error=r"overwrites its input|adds .* to its input",
        cause="the forward writes into its input",
        hint="work on a copy of the input: clone(), or the operation without the trailing underscore",
        before="x.mul_(2)",
        after="x.mul(2)",
    ),
    Remedy(
        kind="buffer-written",
        verdicts=("SideEffect",),
        error=r"changes the (buffer|parameter)",
        cause="the forward writes the model's own state",
        hint="return the new state as an output, and take the old one as an input",
        before="self.seen += 1\nseen = self.seen",
        after="seen = self.seen + 1",
    ),
    Remedy(
        kind="state-kept",
        verdicts=("SideEffect",),
        cause="the answer depends on an earlier call",
        hint="keep no state between calls: return it, or compute it anew",
        before="if self.first is None:\n    self.first = x.mean()\nfirst = self.first",
        after="first = x.mean()",
    ),
    # A size became a number of Python
    Remedy(
        kind="cached-function",
        verdicts=_SHAPES,
        line=r"cached: (?P<name>\w+)",
        cause="a cached function is given a number, and its table for the traced size becomes a constant of the trace",
        hint="{name} is cached by a number, so that its table for the traced size becomes a constant of the trace: make the "
        "table in every call from x.shape",
        before="ramp(int(x.shape[1]))",
        after="(torch.arange(x.shape[1]) * 0.1)",
        source="transformers#28625",
    ),
    Remedy(
        kind="table-kept-in-an-attribute",
        verdicts=_SHAPES,
        line=r"self\.\w+(\[.*\])? is None|not in self\.\w+|hasattr\(self|self\.\w*cache"
        r"|len\(self\.[^()]*\)\s*[<>!=]|(?:[<>]|[<>!=]=)\s*len\(self\."
        r"|self\.[\w.]+(\[\S+\]|\(\S*\))? != |!= self\.\w+",
        cause="a table made for one size is kept in an attribute, and becomes a constant of the trace",
        hint="a table kept from one call to the next becomes a constant of the trace: make it in every call from x.shape",
        before="if self.table is None or self.table.shape[0] != x.shape[1]:\n    self.table = torch.arange(x.shape[1]) * 0.1",
        after="self.table = torch.arange(x.shape[1]) * 0.1",
        source="transformers#28625",
    ),
    Remedy(
        kind="ceil-of-a-size",
        verdicts=_SHAPES,
        line=_PYTHON.format("ceil"),
        cause="ceil() makes a Python number of the size",
        hint="{name} takes the size out of the graph: write (n + s - 1) // s for ceil(n / s), and (n * 3 + 3) // 4 "
        "for ceil(n * 0.75)",
        before="math.ceil(x.shape[1] / 4)",
        after="((x.shape[1] + 3) // 4)",
        source="huggingface/pytorch-image-models#943",
    ),
    Remedy(
        kind="floor-of-a-size",
        verdicts=_SHAPES,
        line=_PYTHON.format("floor"),
        cause="floor() makes a Python number of the size",
        hint="{name} takes the size out of the graph: write n // s for floor(n / s), and n * 3 // 4 for floor(n * 0.75)",
        before="math.floor(x.shape[1] / 4)",
        after="(x.shape[1] // 4)",
        source="facebookresearch/detectron2#1208",
    ),
    Remedy(
        kind="integer-root-of-a-size",
        verdicts=_SHAPES,
        line=_PYTHON.format("isqrt"),
        cause="isqrt() makes a Python number of the size",
        hint="{name} takes the size out of the graph: write torch.as_tensor(n).sqrt().long()",
        before="math.isqrt(x.shape[1])",
        after="torch.as_tensor(x.shape[1]).sqrt().long()",
    ),
    Remedy(
        kind="root-of-a-size",
        verdicts=_SHAPES,
        line=_PYTHON.format("sqrt"),
        cause="sqrt() of Python or NumPy makes a number of the size",
        hint="{name} takes the size out of the graph: write n ** 0.5",
        before="math.sqrt(x.shape[1])",
        after="x.shape[1] ** 0.5",
        source="facebookresearch/detectron2#1208",
    ),
    Remedy(
        kind="function-of-a-size",
        verdicts=_SHAPES,
        line=r"(?<![\w.])(?:math|np|numpy)\.(?P<name>(?!array|asarray)\w+)\(|(?<![\w.])(?P<other>log(?:2|10|1p)?|exp)\(",
        cause="a function of Python or NumPy makes a number of the size",
        hint="math and NumPy take the size out of the graph: use torch's function on torch.as_tensor(n), as "
        "torch.log(torch.as_tensor(n)) for math.log(n)",
        before="math.log(x.shape[1])",
        after="torch.log(torch.as_tensor(x.shape[1]))",
        source="facebookresearch/detectron2#1208",
    ),
    Remedy(
        kind="numpy-of-sizes",
        verdicts=_SHAPES,
        line=r"(?<![\w.])(?:np|numpy)\.(as)?array\(",
        cause="np.array makes numbers of the sizes",
        hint="np.array takes the sizes out of the graph: use torch.stack of single torch.as_tensor(n)",
        before="torch.from_numpy(np.array(x.shape[1:]))",
        after="torch.stack([torch.as_tensor(n) for n in x.shape[1:]])",
        source="biubug6/Pytorch_Retinaface#5",
    ),
    Remedy(
        kind="tensor-of-sizes",
        verdicts=_SHAPES,
        line=r"(?:torch\.tensor|torch\.as_tensor|torch\.asarray|torch\.\w*Tensor|new_tensor)\(\s*(?:data\s*=\s*)?"
        r"(?:[\[(]|list\(|tuple\(|range\(|[\w.]+\.(?:shape|size\(\))\s*[,)]|[\w.]+\.shape\[[-\d]*:)",
        cause="a list of sizes becomes one constant tensor",
        hint="torch.tensor([h, w]) of sizes becomes a constant: use torch.stack of single torch.as_tensor(n), "
        "or divide by each apart",
        before="torch.tensor([x.shape[1], x.shape[2]])",
        after="torch.stack([torch.as_tensor(x.shape[1]), torch.as_tensor(x.shape[2])])",
        source="ultralytics/ultralytics#26118",
    ),
    Remedy(
        kind="strides-of-the-example",
        verdicts=_SHAPES,
        line=r"as_strided\(",
        cause="as_strided bakes sizes and strides of the traced input",
        hint="as_strided bakes the strides of the traced input: use unfold",
        before="x.as_strided((x.shape[0], x.shape[1] // 2 - 1, 32), (x.stride(0), 16, 1))",
        after="x.unfold(1, 4, 2).transpose(2, 3).flatten(2)",
        source="pytorch/pytorch#62756",
    ),
    Remedy(
        kind="value-as-a-number",
        verdicts=_SHAPES,
        line=r"\.(?P<name>item|tolist|numpy)\(\)",
        cause="a tensor becomes a Python value, which the trace keeps as a constant",
        hint="{name}() takes the tensor out of the graph: compute with the tensor itself",
        before="torch.as_tensor(x.shape[1]).item()",
        after="torch.as_tensor(x.shape[1])",
    ),
    Remedy(
        kind="option-by-bool",
        verdicts=_SHAPES,
        line=_OPTION,
        cause="an option is fixed when the trace is made, and {name}= depends on a size here",
        hint="{name}= is fixed when the trace is made: give it a constant, pass a mask for is_causal=, or compute both and "
        "select with torch.where",
        before="x.std(1, unbiased=bool(x.shape[1] > 8))",
        after="torch.where(torch.as_tensor(x.shape[1]) > 8, x.std(1, unbiased=True), x.std(1, unbiased=False))",
        source="pytorch/pytorch#108108",
    ),
    Remedy(
        kind="number-of-each-size",
        verdicts=_SHAPES,
        line=r"\b(?P<name>int|float)\(.*\bfor\b.*\bin\s+(?:list\(|tuple\()?[\w.]+\.(?:shape\b|size\(\))(?!\[[^:\]]*\])",
        cause="each size becomes a Python number",
        hint="keep the sizes in the graph: take the entries of x.shape as they are, without {name}()",
        before="[int(n) for n in x.shape][1]",
        after="[n for n in x.shape][1]",
    ),
    Remedy(
        kind="loop-over-a-size",
        verdicts=_SHAPES,
        line=r"^(?:async )?for\b|^while\b|\bfor\b.*\bin\b",
        cause="a Python loop is unrolled for the traced size",
        hint="a loop over a size is unrolled: use a tensor operation over the whole axis, or put the loop into a function "
        "under @torch.jit.script that takes and returns tensors",
        before="def decay(x: Tensor) -> Tensor:",
        after="@torch.jit.script\ndef decay(x: Tensor) -> Tensor:",
        source="kmkurn/pytorch-crf#79",
    ),
    Remedy(
        kind="length-of-a-tensor",
        verdicts=_SHAPES,
        line=r"\blen\((?!self\.)",
        conversions=("len",),
        cause="len() makes a Python number of the size",
        hint="keep the size in the graph: x.shape[0] instead of len(x)",
        before="len(x)",
        after="x.shape[0]",
    ),
    Remedy(
        kind="part-of-a-size",
        verdicts=_SHAPES,
        line=r"\bint\((?:[^()]|\([^()]*\))*(?:\*\s*\d*\.\d|\d\.\d*\s*\*|(?<!/)/(?!/))",
        cause="int() makes a Python number of a part of the size",
        hint="int() takes the size out of the graph: write n // s for int(n / s), and n * 3 // 4 for int(n * 0.75)",
        before="int(x.shape[1] * 0.75)",
        after="(x.shape[1] * 3 // 4)",
    ),
    Remedy(
        kind="number-of-a-size",
        verdicts=_SHAPES,
        line=r"\b(?P<name>int|float)(?:\(|, ?[\w.]+\.(?:shape\b|size\())",
        cause="{name}() makes a Python number of the size",
        hint="keep the size in the graph: x.shape[i] or x.numel() without {name}()",
        before="int(x.shape[1])",
        after="x.shape[1]",
    ),
    Remedy(
        kind="smallest-or-largest-of-sizes",
        verdicts=_SHAPES,
        line=r"(?<![\w.])(max|min)\(",
        cause="max() or min() of Python decides for the traced size",
        hint="max() and min() of Python are decided for the traced size: use torch.as_tensor(n).clamp(min=…) or clamp(max=…)",
        before="max(x.shape[1], 20)",
        after="torch.as_tensor(x.shape[1]).clamp(min=20)",
    ),
    Remedy(
        kind="branch-on-a-size",
        verdicts=_SHAPES,
        line=r"^(el)?if\b|\bif\b.*\belse\b|^assert\b",
        cause="a Python branch on a size is decided for the traced size",
        hint="a branch on a size is decided for the traced size: compute both and select with torch.where, "
        "or pad to one size outside the model",
        before="(x * 2 if x.shape[1] > 20 else x)",
        after="torch.where(torch.as_tensor(x.shape[1]) > 20, x * 2, x)",
    ),
    # A value became a number of Python
    Remedy(
        kind="slice-by-a-value",
        verdicts=_VALUES,
        line=r"\[[^\]]*:\s*(?:int\(|[^\]]*\.item\(\))",
        conversions=("int", "number"),
        cause="the length of a slice is a Python number of the traced values",
        hint="the length of a slice is a number of the traced values: slice with a tensor, x[:, :n] with "
        "n = mask.sum(1).max().long(), without int() or item()",
        before="int(attention_mask.sum(1).max())",
        after="attention_mask.sum(1).max().long()",
    ),
    Remedy(
        kind="mask-of-ones",
        verdicts=_VALUES,
        line=r"(?<!int\()(?<!float\()(?<!len\()\b\w*mask\w*(\[.*\])?(\.bool\(\)|\.eq\(\S+\)| == \S+)?\.(all|any|min|sum)\(",
        conversions=("bool",),
        cause="the mask is left out where it is all ones, which is decided for the traced mask",
        hint="whether a mask of ones is left out is decided for the traced mask: apply the mask always, ones change nothing",
        before="(scores if attention_mask.all() else scores + bias)",
        after="(scores + bias)",
    ),
    Remedy(
        kind="item-of-a-value",
        verdicts=_VALUES,
        line=r"\.item\(\)",
        cause="item() makes a Python number of a value, which the trace keeps as a constant",
        hint="item() takes the value out of the graph: compute with the tensor itself",
        before="x.sum().item()",
        after="x.sum()",
    ),
    Remedy(
        kind="list-of-values",
        verdicts=_VALUES,
        line=r"\.tolist\(\)",
        cause="tolist() makes Python numbers of values, which the trace keeps as constants",
        hint="tolist() takes the values out of the graph: index, mask or gather with the tensor itself",
        before="torch.tensor(x[:, 0, 0].tolist())",
        after="x[:, 0, 0]",
    ),
    Remedy(
        kind="numpy-of-values",
        verdicts=_VALUES,
        line=r"\.numpy\(|(?<![\w.])(?:np|numpy)\.",
        cause="NumPy takes values out of the graph, and the trace keeps what it made of them",
        hint="NumPy leaves the graph: use torch's function of the same name",
        before="torch.from_numpy(np.exp(x.numpy()))",
        after="torch.exp(x)",
    ),
    Remedy(
        kind="data-of-a-tensor",
        verdicts=_VALUES,
        line=r"\.data\b",
        cause=".data gives a tensor that the trace does not follow",
        hint=".data takes the tensor out of the graph: use detach()",
        before="y.data.mean()",
        after="y.detach().mean()",
    ),
    Remedy(
        kind="branch-on-a-value",
        verdicts=_VALUES,
        line=r"^(el)?if\b|^while\b|\bif\b.*\belse\b|^assert\b",
        cause="a Python branch on a value is decided for the traced values",
        hint="a branch on a value is decided for the traced values: compute both and select with torch.where or masks",
        before="(x * 2 if x.sum() > 0 else x)",
        after="torch.where(x.sum() > 0, x * 2, x)",
    ),
    Remedy(
        kind="number-of-a-value",
        verdicts=_VALUES,
        line=r"\b(?P<name>int|float|bool|len)\(",
        conversions=("int", "float", "bool", "number"),
        cause="a value becomes a Python number, which the trace keeps as a constant",
        hint="{name}() takes the value out of the graph: compute with the tensor itself",
        before="float(x.sum())",
        after="x.sum()",
    ),
    Remedy(
        kind="device-of-the-trace",
        verdicts=("DevicePinned",),
        cause="the trace holds the device on which it was made",
        hint="register the tensor as a buffer, or create it on x.device",
        before='torch.ones(8, device="cpu")',
        after="torch.ones_like(x[0, 0])",
    ),
)


def remedy_for(
    *,
    verdict: str = "",
    error_text: str = "",
    line: source.Line | None = None,
    conversions: Iterable[Conversion] = (),
    model: torch.nn.Module | None = None,
    table: Iterable[Remedy] = REMEDIES,
) -> Remedy | None:
    """The first remedy of ``table`` that fits a failure, its sentences filled in; None when nothing specific is known.

    ``verdict`` is empty where only an error is known. ``line`` is the guilty line, ``conversions`` are those of the trace, of
    which the ones on that line count, ``model`` is asked what it keeps.
    """
    kinds = {conversion.kind for conversion in conversions if line is not None and conversion.line == line}
    for remedies, text in _readings(tuple(table), line):
        for remedy in remedies:
            groups = _matched(remedy, error_text, text, model) if _holds(remedy, verdict, kinds) else None
            if groups is not None:
                return replace(remedy, cause=_filled(remedy.cause, groups), hint=_filled(remedy.hint, groups))
    return None


def _readings(table: tuple[Remedy, ...], line: source.Line | None) -> Iterator[tuple[tuple[Remedy, ...], str]]:
    """The texts to look into, each with the remedies that may be found by it.

    Of a statement of several lines the guilty line has the first word, for the remedies that ask for a line: another line
    of it may call a function that has nothing to do with the failure.
    """
    if line is None:
        yield table, ""
        return
    cached = [f"cached: {name}" for name in source.cached_functions(line)]
    if line.expression != line.text:
        yield tuple(remedy for remedy in table if remedy.line), "\n".join([line.text, *cached])
    yield table, "\n".join([line.expression, *cached])


def _matched(remedy: Remedy, error_text: str, line_text: str, model: torch.nn.Module | None) -> dict[str, str] | None:
    """The groups of a remedy's patterns; None where one of them does not match. A fact may name a group of the others."""
    groups: dict[str, str] = {}
    for pattern, text in ((remedy.error, error_text), (remedy.line, line_text)):
        match = re.search(pattern, text, re.DOTALL)
        if match is None:
            return None
        groups |= match.groupdict("")
    if remedy.fact:
        pattern = _filled(remedy.fact, {name: re.escape(value) for name, value in groups.items()})
        facts = model_facts(model) if model is not None else ()
        match = next((match for fact in facts if (match := re.search(pattern, fact))), None)
        if match is None:
            return None
        groups |= match.groupdict("")
    return groups


def _holds(remedy: Remedy, verdict: str, kinds: set[str]) -> bool:
    """Whether a remedy is one for the verdict and for what left the graph; without a verdict only an error can tell."""
    if remedy.conversions and kinds and not kinds & set(remedy.conversions):
        return False
    return verdict in remedy.verdicts if remedy.verdicts else verdict != _EAGER


def _filled(sentence: str, groups: dict[str, str]) -> str:
    """A sentence with the groups of the patterns put in; its other braces are code and stay."""
    for name, value in groups.items():
        sentence = sentence.replace("{" + name + "}", value)
    return sentence


def hint_for(message: str, *, verdict: str = "", model: torch.nn.Module | None = None) -> str | None:
    """The remedy for an error's text, or None when nothing specific is known."""
    remedy = remedy_for(error_text=message, verdict=verdict, model=model)
    return remedy.hint if remedy else None
