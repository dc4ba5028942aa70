"""The page of the benchmarks keeps what was measured until it is measured again."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.harness import Figure
from benchmarks.page import FIGURES, PAGE, Kept, merged, read, render

ORDER = ("first", "second")


def kept(benchmark: str, name: str, value: float = 1.0, *, void: bool = False) -> Kept:
    """A figure with a bar of 2."""
    figure = Figure(name, value, 2.0, at_most=True, detail="", void=void)
    return Kept(benchmark, "2026-01-31", "a machine", figure)


OLD = kept("first", "a")
OTHER = kept("second", "z")


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (kept("first", "a", 1.5), kept("first", "a", 1.5)),
        (kept("first", "a", 3.0), kept("first", "a", 3.0)),
        (kept("first", "a", void=True), OLD),
        (kept("first", "b", void=True), kept("first", "b", void=True)),
    ],
    ids=["a better one", "a missed bar", "void", "void and new"],
)
def test_a_figure_is_replaced_unless_by_one_that_says_nothing(new: Kept, expected: Kept) -> None:
    """Those of other benchmarks stay, and what a benchmark no longer has goes."""
    assert merged([OLD, OTHER], [new]) == [OTHER, expected]


def test_machines_are_kept_apart() -> None:
    """Each with its own table, in the order of the benchmarks."""
    elsewhere = Kept("first", "2026-02-01", "another machine", OLD.figure)
    page = render([OTHER, OLD, elsewhere], ORDER)
    assert page.index("| a ") < page.index("| z ") < page.index("Measured on a machine.")
    assert page.index("Measured on a machine.") < page.index("Measured on another machine.")


def test_the_page_shows_what_is_kept() -> None:
    """Nobody has edited it by hand."""
    found = read(FIGURES)
    assert found
    assert PAGE.read_text(encoding="utf-8") == render(found, [one.benchmark for one in found])


def test_nothing_is_kept_before_the_first_run(tmp_path: Path) -> None:
    """And that is no error."""
    assert read(tmp_path / "performance.json") == []
