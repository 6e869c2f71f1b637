"""What AWS publishes of models that Neuron cannot take, as rules for a machine without its SDK.

This is a list of what is refused: only the compiler knows what it accepts. Rules about operations look at the traced graph,
which holds dtypes and source lines and needs no weights; rules about values run the model itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ...result import Finding
from ..base import FAIL, WARN, Rule
from ..deployment import Deployment
from .batch import dynamic_batch
from .calls import in_place_input, inputs, max_length, outputs, unused_input
from .dtypes import int64_range, values
from .lint import in_program, repeated
from .operations import INTEGERS, data_dependent, integer_scatter_reduce, operations
from .shapes import shape_varies

__all__ = ["RULES"]

_API = "AWS Neuron documentation, torch_neuronx.trace"
_STATIC = "AWS Neuron compiler error NCC_EMOD025: dynamic shape is not supported"

_PRODUCTS = (
    r"aten::(__matmul__|(linalg_)?matmul|mm|bmm|mv|v?dot|inner|einsum|tensordot|linear|addmm|addmv|addbmm|baddbmm"
    r"|linalg_multi_dot|linalg_vecdot|chain_matmul)"
)
_TRANSFORMS = r"aten::(fft_(?!(r?fftfreq|i?fftshift)$)|_fft_|i?stft).*"

_trace = repeated("trace", "torch.jit.trace fails, with which every route to Neuron begins", "mend what the check trace names")
_value_branch = repeated(
    "values",
    "the program depends on the values it was traced with",
    "decide in the graph: torch.where, masks or tensor operations instead of Python values",
)
_padding = repeated(
    "padding",
    "Neuron takes the traced shape only, and padding to it changes the answer",
    "let the mask keep padded positions out of every sum, mean, maximum, softmax and last position",
)
_integer_topk = operations("aten::topk", "topk of integers", "take topk of x.float(), and turn the values back", INTEGERS)
_fft = operations(
    _TRANSFORMS,
    "{} is a Fourier transform",
    "compute it before the model, or as a product with a fixed matrix of cosines and sines",
)
_triangular_solve = operations(
    "aten::(triangular_solve|linalg_solve_triangular)",
    "{} is not supported",
    "multiply with the inverse: torch.inverse(A) @ b",
)
_int64_matmul = operations(
    _PRODUCTS, "{} multiplies matrices of int64", "multiply floats, which are exact to 2**24", {torch.int64}
)
_sort = operations(
    "aten::(sort|argsort|msort|quantile|nanquantile)",
    "values are sorted, by {}",
    "use torch.topk of floats, which AWS names as the way round it",
)
# The tracer writes Python's floats as tensors of float64 without axes; they are not the model's.
_float64 = values(
    lambda program, value: program.dtype(value) is torch.float64 and not program.is_scalar(value),
    "float64, which the device does not compute in",
    "use float32",
)
_complex = values(
    lambda program, value: (dtype := program.dtype(value)) is not None and dtype.is_complex,
    "complex, which the device does not know",
    "carry real and imaginary part as two tensors",
)


def _rule(name: str, severity: str, check: Callable[[Deployment], Iterable[Finding]], published: str) -> Rule:
    return Rule(name=name, severity=severity, check=check, source=published)


RULES: tuple[Rule, ...] = (
    _rule("trace", FAIL, _trace, _API),
    _rule("data-dependent-shape", FAIL, in_program(data_dependent), f"{_STATIC}; aws-neuron-sdk issues 698, 717"),
    _rule("value-branch", FAIL, _value_branch, f"{_API}: no control flow that depends on values"),
    _rule("shape-varies", FAIL, shape_varies, _STATIC),
    _rule("padding", FAIL, _padding, f"{_API}: one shape, shorter inputs are padded to it"),
    _rule("max-length", FAIL, max_length, "AWS Neuron compiler error NCC_EVRF056: gather with indices out of bounds"),
    _rule("inputs", FAIL, inputs, f"{_API}: example_inputs"),
    _rule("outputs", FAIL, outputs, f"{_API}: what the traced function may return"),
    _rule("integer-topk", FAIL, in_program(_integer_topk), "AWS Neuron compiler error NCC_EVRF013"),
    _rule(
        "integer-scatter-reduce",
        FAIL,
        in_program(integer_scatter_reduce),
        "AWS Neuron compiler errors NCC_EVRF016, NCC_EVRF060",
    ),
    _rule("fft", FAIL, in_program(_fft), "AWS Neuron compiler error NCC_EVRF001: unsupported operator"),
    _rule("triangular-solve", FAIL, in_program(_triangular_solve), "AWS Neuron compiler errors NCC_EVRF001, NCC_EUOC002"),
    _rule("dynamic-batch", FAIL, dynamic_batch, "AWS Neuron documentation, torch_neuronx.dynamic_batch"),
    _rule("float64", WARN, in_program(_float64), "AWS Neuron documentation, data types"),
    _rule("complex", WARN, in_program(_complex), "AWS Neuron compiler error NCC_EVRF004"),
    _rule("int64-range", WARN, int64_range, "AWS Neuron compiler errors NCC_ESFH002, NCC_EVRF062"),
    _rule("int64-matmul", WARN, in_program(_int64_matmul), "AWS Neuron compiler error NCC_EVRF035"),
    _rule("sort", WARN, in_program(_sort), "aws-neuron-sdk issue 868"),
    _rule("unused-input", WARN, unused_input, "aws-neuron-sdk issue 906: unused input tensors are ignored"),
    _rule("in-place-input", WARN, in_program(in_place_input), f"{_API}: input_output_aliases"),
)
