"""What docs/targets.md shows is run: its suites give what is printed there, and its tables are those of the code."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_torchscript import Deployment, Target
from pytest_torchscript.targets import built_in
from pytest_torchscript.targets.base import DEFAULT_TIMEOUT, Proof
from pytest_torchscript.targets.neuron.rules import RULES

from .acceptance.harness import run_pytest, write_suite
from .targets.neuron import stand_ins

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = (DOCS / "targets.md").read_text(encoding="utf-8")


_PART = re.compile(r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code: the heading above it, its language, its text."""

    heading: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that a suite has it in."""
        name = re.match(r"# (\w+\.py)\n", self.text)
        return name[1] if name else None


def parsed(text: str) -> Iterator[Block]:
    heading = ""
    for part in _PART.finditer(text):
        if part["heading"] is not None:
            heading = part["heading"]
        else:
            yield Block(heading, part["language"], part["code"])


BLOCKS = list(parsed(TEXT))
SHOWN = [block for block in BLOCKS if block.text.startswith("$ ")]


def files(heading: str) -> dict[str, str]:
    """The files that are shown under a heading."""
    return {block.file: block.text for block in BLOCKS if block.heading == heading and block.file is not None}


def rows(header: str) -> list[list[str]]:
    """The cells of the table with this header, row by row."""
    _, _, after = TEXT.partition(f"{header}\n|---")
    assert after, f"no table {header!r}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in after.partition("\n\n")[0].splitlines()[1:]]


def code(cells: str) -> list[str]:
    """The names in backticks, without their parameters."""
    return [name.partition("(")[0] for name in re.findall(r"`([^`]+)`", cells)]


def plain(text: str) -> list[str]:
    """Lines without what differs from machine to machine: widths, seconds, the last digits of a number."""
    lines = (re.sub(r"[=_]{3,}", " ", re.sub(r"\d+\.\d+(e-?\d+)?", "#", line)).split() for line in text.splitlines())
    return [" ".join(words) for words in lines if words]


# Suites


@pytest.mark.parametrize("block", SHOWN, ids=[block.text.splitlines()[0].split()[-1] for block in SHOWN])
def test_what_is_printed_is_what_it_prints(tmp_path: Path, block: Block) -> None:
    """Each line that the document shows, in that order; lines may be left out, none may be made up."""
    command, _, shown = block.text.partition("\n")
    program, *arguments = command.removeprefix("$ ").split()
    assert program == "pytest"
    run = run_pytest(write_suite(tmp_path / "suite", files(block.heading)), *arguments, json=False)
    printed = iter(plain(run.text))
    for line in plain(shown):
        assert line in printed, f"not printed, or not in that place: {line}\n\n{run.text}"


def test_every_suite_is_shown_with_what_it_prints() -> None:
    """So that no file of the document goes without being run."""
    assert {block.heading for block in BLOCKS if block.file} == {block.heading for block in SHOWN}
    assert len(SHOWN) > 3


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["plain", "-n2"])
def test_the_target_of_the_documentation_judges_a_model(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Copied as it is: the gates used it, with its argument, in one process and in two."""
    run = run_pytest(write_suite(tmp_path / "suite", files("A target of your own")), *arguments)
    assert run.outcomes == {"test_scores": "passed", "test_scores_in_4_bits": "failed"}, run.text
    cells = {test: run.cell(test) for test in run.outcomes}
    assert {cell["target"] for cell in cells.values()} == {"rounded"}
    eight, four = (run.check(test, "target") for test in ("test_scores", "test_scores_in_4_bits"))
    assert (eight["metrics"]["proof"], eight["metrics"]["bytes"]) == ("ran", 608)
    assert (four["verdict"], four["metrics"]["bytes"]) == ("TargetFailure", 304)


def test_its_conftest_works_without_the_plugin(tmp_path: Path) -> None:
    """optionalhook is what does it: without that, pytest stops at a hook that it does not know."""
    suite = files("A target of your own")
    run = run_pytest(write_suite(tmp_path / "with", suite), "-p", "no:torchscript", json=False)
    assert run.outcomes == {"test_scores": "passed", "test_scores_in_4_bits": "passed"}, run.text
    bare = {**suite, "conftest.py": suite["conftest.py"].replace("@pytest.hookimpl(optionalhook=True)\n", "")}
    run = run_pytest(write_suite(tmp_path / "without", bare), "-p", "no:torchscript", json=False)
    assert "unknown hook 'pytest_torchscript_targets'" in run.text
    assert "`unknown hook 'pytest_torchscript_targets'`" in TEXT


# The path to Neuron


@pytest.mark.filterwarnings("ignore")
def test_the_path_to_neuron_is_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps run one after the other, on stand-ins, and the bucketed program gives what the model gives unpadded."""
    from transformers import BertConfig, BertModel

    monkeypatch.setitem(sys.modules, "torch_neuronx", stand_ins.inf2())
    monkeypatch.setitem(sys.modules, "torch_neuron", stand_ins.inf1(monkeypatch))
    torch.manual_seed(0)
    config = BertConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    names: dict[str, Any] = {"model": BertModel(config).eval()}
    steps = [block.text for block in BLOCKS if block.heading == "From torch.jit.trace to torch.neuron.trace"]
    assert len(steps) > 5
    with torch.no_grad():
        for step in steps:
            exec(compile(step, "targets.md", "exec"), names)
        for length in (50, 64, 100):
            ids = torch.randint(1, 64, (1, length))
            hidden = names["encode"](ids)[0]
            assert hidden.shape[1] == (64 if length <= 64 else 128)
            torch.testing.assert_close(hidden[:, :length], names["model"](ids).last_hidden_state, rtol=1e-4, atol=1e-5)
        rows = torch.randint(1, 64, (3, 128))
        assert names["compiled"](rows, torch.ones_like(rows))[0].shape == (3, 128, 16)


# Tables


def test_the_rules_are_those_that_are_checked() -> None:
    """Name, severity and source, in their order; each is explained."""
    table = rows("| rule | severity | finds | source |")
    shown = [(code(name)[0], severity, source) for name, severity, _, source in table]
    assert shown == [(rule.name, rule.severity, rule.source) for rule in RULES]
    assert all(len(finds) > 10 for _, _, finds, _ in table)


def test_the_targets_are_those_that_are_built_in() -> None:
    """In the order in which they are declared."""
    assert [code(name)[0] for name, *_ in rows("| target | proves | needs |")] == list(built_in().by_name)


def test_the_tolerances_are_those_of_the_targets() -> None:
    """As numbers that the targets hold."""
    first, others = rows("| target | float32 | bfloat16, float16 |")
    own = {name: target.tolerance for name, target in built_in().by_name.items() if target.tolerance}
    assert code(first[0]) == list(own)
    for tolerance in own.values():
        shown = {"float32": first[1], "bfloat16": first[2], "float16": first[2]}
        assert {dtype: (float(text), float(text)) for dtype, text in shown.items()} == {
            dtype: (entry.rtol, entry.atol) for dtype, entry in tolerance.items()
        }
    assert others[0] == "the others"


def test_the_words_of_the_reports_are_theirs() -> None:
    """The proof in the metrics, and what the verdict says of it."""
    table = rows('| verdict | `metrics["proof"]` | means |')
    assert [proof for _, proof, _ in table] == [f"`{Proof.RAN}`", f"`{Proof.BUILT}`", f"`{Proof.LINT}`", "none"]
    assert f" {DEFAULT_TIMEOUT:.0f} seconds" in TEXT


def public(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_")}


def test_all_that_a_target_declares_is_told() -> None:
    """No more, no less."""
    _, _, after = TEXT.partition("What a target declares:\n")
    table = re.findall(r"^\| `(\w+)", after.partition("What it is given")[0], re.MULTILINE)
    assert set(table) == public(Target) | {"name"}


def test_all_that_a_target_is_given_is_told() -> None:
    """No more, no less."""
    _, _, after = TEXT.partition("What it is given as `deployment`:\n")
    cells = re.findall(r"^\| ([^|]*`[^|]*) \|", after.partition("\n\nA step")[0], re.MULTILINE)
    names = [name for cell in cells for name in code(cell)]
    assigned = {
        node.attr
        for node in ast.walk(ast.parse(Path(sys.modules[Deployment.__module__].__file__ or "").read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and not node.attr.startswith("_")
    }
    assert set(names) == public(Deployment) | assigned


def test_what_is_linked_is_there() -> None:
    """Files beside the document, and headings in it."""
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)]+)\)", prose)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert len(links) > 3
    for link in links:
        path, _, anchor = link.partition("#")
        assert not path or (DOCS / path).exists(), link
        assert not anchor or anchor in anchors, link
