"""What a corpus case is: a small model, its inputs, and what a truthful gate says about it.

A guilty statement carries the trailing comment ``# guilty``. Several lines may carry it where each is a fair answer to
"where does it go wrong": the line on which a size leaves the graph, and the line on which the constant is used.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "BATCH",
    "BATCH_SEQ",
    "SEQ_UNSAFE",
    "Case",
    "SizedCase",
    "case_of",
    "floats",
    "guilty_places",
    "into",
    "keys_values",
    "length_scale",
    "masked_floats",
    "named",
    "normal",
    "random_floats",
    "random_ints",
    "scripted",
    "seeded",
    "token_ids",
    "token_ids_below",
    "tokens",
    "two_full",
]

Inputs = tuple[Any, ...] | dict[str, Any]
Source = type[nn.Module] | Callable[..., Any]

BATCH = {"batch": "dynamic"}
BATCH_SEQ = {"batch": "dynamic", "seq": "dynamic"}
SEQ_UNSAFE = {"batch": "dynamic", "seq": "unsafe"}

_GUILTY = re.compile(r"#\s*guilty\b")


@dataclass(frozen=True, eq=False)
class Case:
    """One model of the corpus.

    ``verdict`` is the verdict of the first check that fails in the contract's order, or None for a healthy model.
    ``arguments`` are marker arguments. ``dims`` names the dim classes that are beyond doubt; it need not be complete.
    ``sources`` are the classes and functions in which ``# guilty`` is looked for.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    verdict: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    dims: Mapping[str, str] | None = None
    sources: tuple[Source, ...] = ()

    @property
    def places(self) -> frozenset[tuple[str, int]]:
        """The guilty lines as (file, line number from 1); empty where no line is to blame."""
        return guilty_places(self.sources)

    @property
    def lines(self) -> tuple[int, ...]:
        """The guilty line numbers alone, sorted."""
        return tuple(sorted({line for _, line in self.places}))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False, kw_only=True)
class SizedCase(Case):
    """A case whose inputs are made for given sizes, or values: those ``at`` which it is traced, and ``others``.

    Plain torch decides: the trace of a broken model disagrees with eager at one of the others, that of a healthy model at none.
    """

    make: Callable[..., Inputs]
    at: tuple[Any, ...]
    others: tuple[tuple[Any, ...], ...] = ()

    def inputs_at(self, sizes: tuple[Any, ...], seed: int = 0) -> Inputs:
        """The inputs for sizes; the global RNG is as it was afterwards."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make(*sizes)


def into(cases: list[SizedCase]) -> Callable[..., Callable[[type[nn.Module]], type[nn.Module]]]:
    """Return a decorator that adds a class to ``cases``.

    It is given ``(verdict, make, at, *others)`` for a broken model, and ``(make, at, *others)`` for a healthy one.
    """

    def declare(*declared: Any, arguments: Mapping[str, Any] | None = None) -> Callable[[type[nn.Module]], type[nn.Module]]:
        verdict = declared[0] if isinstance(declared[0], str) else None
        make, at, *others = declared if verdict is None else declared[1:]

        def register(cls: type[nn.Module]) -> type[nn.Module]:
            case = SizedCase(
                name=name_of(cls),
                build=seeded(cls),
                inputs=lambda: case.inputs_at(at),
                verdict=verdict,
                arguments=dict(arguments or {}),
                sources=(cls,),
                make=make,
                at=at,
                others=tuple(others),
            )
            cases.append(case)
            return cls

        return register

    return declare


def name_of(cls: type[nn.Module]) -> str:
    """The name of a class in snake case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


@cache
def guilty_places(sources: tuple[Source, ...]) -> frozenset[tuple[str, int]]:
    """Return (file, line number from 1) for each line marked ``# guilty`` in the given classes and functions."""
    places: set[tuple[str, int]] = set()
    for source in sources:
        for function in _functions(source):
            file = inspect.getsourcefile(function)
            assert file is not None, source
            text, first = inspect.getsourcelines(function)
            places |= {(file, first + offset) for offset, line in enumerate(text) if _GUILTY.search(line)}
    return frozenset(places)


def _functions(source: Any) -> Iterator[Callable[..., Any]]:
    # Not getsourcelines of the class itself: before Python 3.13 that parses the whole file for each class.
    if not inspect.isclass(source):
        yield source
        return
    for member in vars(source).values():
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if inspect.isclass(function) or inspect.isfunction(function):
            yield from _functions(function)


def case_of(
    cls: type[nn.Module],
    inputs: Callable[[], Inputs],
    verdict: str | None = None,
    *,
    helpers: Sequence[Source] = (),
    arguments: Mapping[str, Any] | None = None,
    dims: Mapping[str, str] | None = None,
) -> Case:
    """Return the case of a model class that needs no constructor arguments, named after the class in snake case."""
    return Case(
        name=name_of(cls),
        build=seeded(cls),
        inputs=inputs,
        verdict=verdict,
        arguments=dict(arguments or {}),
        dims=dims,
        sources=(cls, *helpers),
    )


def seeded(factory: Callable[[], nn.Module], seed: int = 7) -> Callable[[], nn.Module]:
    """Return a builder with the same weights at every call, which leaves the global RNG as it was.

    All-zero parameters and untouched batch norm statistics get values: zeros would make comparisons vacuous.
    """

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            model = factory()
            for parameter in model.parameters():
                if parameter.is_floating_point() and not parameter.any():
                    parameter.uniform_(-0.5, 0.5)
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                    module.running_mean.uniform_(-0.5, 0.5)
                    assert module.running_var is not None
                    module.running_var.uniform_(0.5, 1.5)
        return model

    return build


def random_floats(*shape: int, seed: int = 11, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return standard normal values, the same at every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def random_ints(low: int, high: int, *shape: int, seed: int = 11) -> Tensor:
    """Return int64 values in [low, high), the same at every call."""
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int) -> Tensor:
    """Return standard normal values of the global RNG, for the inputs of a :class:`SizedCase`."""
    return torch.randn(shape)


def token_ids_below(*shape: int, below: int = 50) -> Tensor:
    """Return token ids from 1, of the global RNG."""
    return torch.randint(1, below, shape)


def keys_values(batch: int, heads: int, past: int, width: int) -> tuple[Tensor, Tensor]:
    """Return cached keys and values."""
    return normal(batch, heads, past, width), normal(batch, heads, past, width)


def two_full(first: float, second: float) -> tuple[Tensor, Tensor]:
    """Return two inputs, each of one value."""
    return torch.full((2, 4), float(first)), torch.full((2, 4), float(second))


def floats(*shape: int, dtype: torch.dtype = torch.float32) -> Callable[[], Inputs]:
    """Return a supplier of one positional float tensor."""
    return lambda: (random_floats(*shape, dtype=dtype),)


def token_ids(vocabulary: int = 24) -> Callable[[], Inputs]:
    """Return a supplier of token ids alone, batch 2 and length 16; id 0 is left to padding."""
    return lambda: {"input_ids": random_ints(1, vocabulary, 2, 16)}


def _mask(lengths: Sequence[int], longest: int) -> Tensor:
    return (torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]).long()


def tokens(lengths: Sequence[int] = (16, 11), vocabulary: int = 24) -> Callable[[], Inputs]:
    """Return a supplier of ``input_ids`` padded on the right with 0 and their ``attention_mask`` (int64)."""

    def supply() -> Inputs:
        mask = _mask(lengths, 16)
        return {"input_ids": random_ints(1, vocabulary, len(lengths), 16) * mask, "attention_mask": mask}

    return supply


def masked_floats(lengths: Sequence[int] = (16, 11), width: int = 8) -> Callable[[], Inputs]:
    """Return a supplier of features ``x`` padded on the right with zeros and their ``attention_mask`` (int64)."""

    def supply() -> Inputs:
        mask = _mask(lengths, 16)
        return {"x": random_floats(len(lengths), 16, width) * mask[:, :, None], "attention_mask": mask}

    return supply


def named(**suppliers: Callable[[], Any]) -> Callable[[], Inputs]:
    """Return a supplier of keyword inputs, each made by its own function."""
    return lambda: {name: supply() for name, supply in suppliers.items()}


@cache
def scripted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a helper with ``torch.jit.script`` when first called, so that importing the corpus warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        compiled: Callable[..., Any] = torch.jit.script(function)
    return compiled


def length_scale(x: Tensor) -> float:
    """Return 4 / length, as a shared utilities module would: innocent in eager, a constant under the tracer."""
    return 4.0 / int(x.shape[1])  # guilty
