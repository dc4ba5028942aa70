"""Paired, alternating measurements: base and candidate, twice in each round; minimum to minimum.

The machine is noisy. Two rules keep the figures honest: both sides are measured equally often, as
a minimum falls with each further try; and a run in which the two minima of a side differ by more
than ``NOISE_MAX`` is void, not a result: one try was lucky, on whichever side.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

#: How far a side may differ from itself before a run says nothing.
NOISE_MAX = 0.02

#: How many times the rounds that were asked for there are at most, while it is too noisy.
PATIENCE = 3

#: From here on a ratio is printed without decimals.
_WHOLE = 100


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        value: the measured ratio.
        bar: what it is held to.
        at_most: whether the bar is an upper bound.
        void: the run was too noisy to say.
        unit: ``x`` for a ratio, nothing for a count.
    """

    name: str
    value: float
    bar: float
    at_most: bool
    detail: str
    void: bool = False
    unit: str = "x"

    @property
    def holds(self) -> bool:
        """Whether the bar is met."""
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    @property
    def verdict(self) -> str:
        """The word in the last column."""
        return "VOID" if self.void else "ok" if self.holds else "MISSED"


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one measurement."""

    wall: float
    cpu: float


def say(what: str) -> None:
    """Tell whoever waits how far it has come."""
    print(f"  {what}", file=sys.stderr, flush=True)  # noqa: T201 - progress


def measure(work: Callable[[], None]) -> Cost:
    """Time one call, with the collector out of the way."""
    gc.collect()
    gc.disable()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return Cost(time.perf_counter() - wall, time.process_time() - cpu)
    finally:
        gc.enable()


@dataclass(slots=True)
class _Lowest:
    """The least that was measured; and the walls of all, as plain numbers the collector skips."""

    wall: float = math.inf
    cpu: float = math.inf
    walls: array[float] = field(default_factory=lambda: array("d"))

    def note(self, cost: Cost) -> None:
        self.wall, self.cpu = min(self.wall, cost.wall), min(self.cpu, cost.cpu)
        self.walls.append(cost.wall)


def _nothing() -> None:
    """Nothing is to be made ready."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Minimum against minimum over all rounds, and beside it the median against the median.

    Attributes:
        wall_noise: by how much the two minima of a side differ, of the side where it is more.
        cpu_noise: the same.
    """

    wall: float
    cpu: float
    base_wall: float
    base_cpu: float
    wall_noise: float
    cpu_noise: float
    wall_median: float


def paired(
    base: Callable[[], None],
    candidate: Callable[[], None],
    rounds: int,
    *,
    judged: Sequence[str] = ("wall",),
    before: tuple[Callable[[], None], Callable[[], None]] = (_nothing, _nothing),
) -> Paired:
    """Measure both, alternating, and each against itself.

    While a side differs from itself by too much to say anything there are more rounds of the same,
    up to ``PATIENCE`` times as many: what is looked at is the noise, and never the ratio.

    Args:
        base: what it is compared with.
        candidate: what is judged.
        rounds: how often; each round measures both twice.
        judged: what ratios are taken of: ``wall``, ``cpu``.
        before: what is done before each try of the one and of the other, and not measured.
    """
    bases, ours = (_Lowest(), _Lowest()), (_Lowest(), _Lowest())

    def noise(what: str) -> float:
        pairs = [sorted(getattr(one, what) for one in side) for side in (bases, ours)]
        return max(float(more / less - 1) for less, more in pairs)

    # What was there before is no garbage of theirs: to look through it each time takes longer than
    # they do, and empties the processor's caches.
    gc.collect()
    gc.freeze()
    try:
        parts = []
        for its_base, its_own in zip(bases, ours, strict=True):
            parts += [(its_base, base, before[0]), (its_own, candidate, before[1])]
        for index in range(rounds * PATIENCE):
            # The order turns round, so that neither side always comes after the other.
            for found, work, ready in parts if index % 2 else reversed(parts):
                ready()
                found.note(measure(work))
            if (index + 1) % rounds == 0 and max(map(noise, judged)) <= NOISE_MAX:
                break
    finally:
        gc.unfreeze()
    wall, cpu = min(one.wall for one in bases), min(one.cpu for one in bases)
    return Paired(
        wall=min(one.wall for one in ours) / wall,
        cpu=min(one.cpu for one in ours) / cpu,
        base_wall=wall,
        base_cpu=cpu,
        wall_noise=noise("wall"),
        cpu_noise=noise("cpu"),
        wall_median=median(ours[0].walls + ours[1].walls) / median(bases[0].walls + bases[1].walls),
    )


def table(figures: Sequence[Figure], days: Sequence[str] = ()) -> str:
    """The figures as people read them, in Markdown.

    Args:
        figures: a row each.
        days: when each was measured; without them there is no such column.
    """
    rows = [("what", "measured", "bar", "", "detail", *(("day",) if days else ()))]
    for index, figure in enumerate(figures):
        sign = "≤" if figure.at_most else "≥"
        unit = figure.unit
        measured = f"{figure.value:.3g}" if figure.value < _WHOLE else f"{figure.value:.0f}"
        bar = f"{sign} {figure.bar:g}{unit}"
        row = (figure.name, f"{measured}{unit}", bar, figure.verdict, figure.detail)
        rows.append((*row, *days[index : index + 1]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
