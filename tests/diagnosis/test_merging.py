"""Findings that have one cause are told once."""

from __future__ import annotations

from pytest_torchscript.diagnosis.merging import merged_dims, without_repeats
from pytest_torchscript.result import Finding


def of_dim(dim: str, line: int | None, **probes: str) -> Finding:
    sizes = {size.removeprefix("at"): kind for size, kind in probes.items()}
    return Finding(
        message=f"{dim} is silently wrong: traced at 16",
        file="model.py" if line else None,
        line=line,
        hint=f'keep the size; declare shapes={{"{dim}": "fixed"}}',
        details={"dim": dim, "traced": 16, "probes": sizes},
    )


HEIGHT = of_dim("height", 7, at8="wrong", at33="equal")
WIDTH = of_dim("width", 7, at8="wrong", at33="wrong")


def test_dims_that_fail_by_one_line_are_one_finding() -> None:
    """Height and width have one cause: message, proposal and details name both."""
    (finding,) = merged_dims([[HEIGHT], [WIDTH, Finding(message="used at another line", file="model.py", line=9)]])
    assert finding.message == "height is silently wrong: traced at 16; width too by the same line, at 8, 33"
    assert finding.hint == 'keep the size; declare shapes={"height": "fixed", "width": "fixed"}'
    assert finding.details["also"]["width"]["probes"] == {"8": "wrong", "33": "wrong"}
    assert (finding.file, finding.line) == ("model.py", 7)


def test_a_third_dim_is_added_as_well() -> None:
    """As often as it takes; a dim that is refused says so."""
    (finding,) = merged_dims([[HEIGHT], [WIDTH], [of_dim("batch", 7, at1="raises")]])
    assert finding.message.endswith("width too by the same line, at 8, 33; batch too by the same line, refused at 1")
    assert set(finding.details["also"]) == {"width", "batch"}


def test_dims_with_causes_of_their_own_stay_apart() -> None:
    """Another line, or none, is another finding; the further findings of a dim stay with it."""
    other, nowhere, leaf = of_dim("width", 8), of_dim("depth", None), Finding(message="another output")
    groups = [[HEIGHT, leaf], [other], [nowhere], [of_dim("time", None)], []]
    assert merged_dims(groups) == [HEIGHT, leaf, other, nowhere, groups[3][0]]


def test_a_line_that_an_earlier_check_named_is_not_told_twice() -> None:
    """The first finding stays, without the remedy that is told already; a further one about that line goes."""
    value = Finding(message="wrong for other values", file="model.py", line=7, hint="use the tensor")
    used = Finding(message="used at", file="model.py", line=7)
    (finding,) = without_repeats([HEIGHT, used], [value])
    assert (finding.message, finding.line, finding.hint) == (HEIGHT.message, 7, None)


def test_what_was_not_said_before_stays() -> None:
    """Another line, another output of the same line, and a line without a remedy keep all they have."""
    leaf = Finding(message="another output", path="[1]", file="model.py", line=7)
    elsewhere = Finding(message="wrong", file="model.py", line=3, hint="other")
    assert without_repeats([HEIGHT, leaf], [elsewhere]) == [HEIGHT, leaf]
    assert without_repeats([HEIGHT, leaf], [Finding(message="wrong", file="model.py", line=7)]) == [HEIGHT, leaf]
