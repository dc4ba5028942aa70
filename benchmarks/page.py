"""docs/performance.md, and beside it the figures that it shows, kept from one run to the next.

Nobody has an afternoon of a quiet machine for all benchmarks at once, so each is kept with the day
and the machine it was measured on until it is measured again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.harness import Figure, table

_DOCS = Path(__file__).parents[1] / "docs"
PAGE = _DOCS / "performance.md"
FIGURES = _DOCS / "performance.json"

_HEAD = """# Performance

Written by `make bench ARGS=--write`, all of it or the benchmarks that are named. Every figure is a
ratio within one run: paired alternating measurements, minimum against minimum, void where a side
differs from itself by more than 2 %; rows with "base against base" are older, and were held to that
on the base's side alone. What instruments add is told by single steps: of thousands the
tenth least. The simulator's is the one count against an absolute bar: the best of several worlds. A
benchmark with a void figure is run again, so its rows may come from different attempts. A void
figure never takes the place of one that says something; a missed bar does.
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A figure with where it comes from.

    Attributes:
        benchmark: its name for ``python -m benchmarks``.
        day: when it was measured, such as 2026-01-31.
        machine: what it was measured on.
    """

    benchmark: str
    day: str
    machine: str
    figure: Figure


def read(path: Path) -> list[Kept]:
    """The figures that are kept in a file; none if it is not there."""
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Kept(**{**row, "figure": Figure(**row["figure"])}) for row in rows]


def merged(kept: Sequence[Kept], new: Sequence[Kept]) -> list[Kept]:
    """What is kept after a run.

    Args:
        kept: before it.
        new: every figure of the benchmarks that were run; of these, what was kept under another
            name is dropped.
    """
    before = {one.figure.name: one for one in kept}
    run = {one.benchmark for one in new}
    others = [one for one in kept if one.benchmark not in run]
    return others + [
        before[one.figure.name]
        if one.figure.void and one.figure.name in before and not before[one.figure.name].figure.void
        else one
        for one in new
    ]


def render(kept: Sequence[Kept], order: Sequence[str]) -> str:
    """The page.

    Args:
        kept: the figures.
        order: the names of all benchmarks, as they are shown.
    """
    rows = sorted(kept, key=lambda one: order.index(one.benchmark))
    parts = [_HEAD]
    for machine in dict.fromkeys(one.machine for one in rows):
        here = [one for one in rows if one.machine == machine]
        parts.append(f"{table([one.figure for one in here], [one.day for one in here])}\n")
        parts.append(f"Measured on {machine}.\n")
    return "\n".join(parts)


def write(kept: Sequence[Kept], order: Sequence[str]) -> None:
    """Keep the figures, and show them."""
    rows = sorted(kept, key=lambda one: order.index(one.benchmark))
    FIGURES.write_text(json.dumps([asdict(one) for one in rows], indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(rows, order), encoding="utf-8")
