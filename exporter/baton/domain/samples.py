"""Few measurements, told honestly: what so many values can show, and nothing beyond it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

#: Up to so many values are all shown; a reader sees more in them than in any figure about them.
ALL_SHOWN = 19
#: From so many values on there is an interval for the median that holds 95 times in 100.
INTERVAL_LEAST = 6
#: From so many values on the greatest lies above the 95th percentile 95 times in 100: below it,
#: a 95th percentile says more than was measured.
P95_LEAST = 59

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What some values show. All are in the unit of the values.

    Attributes:
        n: how many there are.
        values: all of them, sorted; None if there are more than ``ALL_SHOWN``.
        least: the least.
        middle: their median.
        greatest: the greatest.
        middle_between: where the median of everything like them lies, 95 times in 100; None for
            fewer than ``INTERVAL_LEAST``.
        p95: their 95th percentile; None for fewer than ``P95_LEAST``.
    """

    n: int
    values: tuple[int, ...] | None
    least: int
    middle: float
    greatest: int
    middle_between: tuple[int, int] | None
    p95: int | None


def sample(values: Iterable[int]) -> Sample | None:
    """What the values show; None if there are none."""
    found = sorted(values)
    if not found:
        return None
    n = len(found)
    return Sample(
        n=n,
        values=tuple(found) if n <= ALL_SHOWN else None,
        least=found[0],
        middle=median(found),
        greatest=found[-1],
        middle_between=_around_the_middle(found) if n >= INTERVAL_LEAST else None,
        p95=found[math.ceil(0.95 * n) - 1] if n >= P95_LEAST else None,
    )


def highest_rate(n: int) -> float:
    """The highest rate of failures that no failure in ``n`` independent tries leaves likely.

    A higher rate would have shown itself 95 times in 100; the rule of three (3 / n), exactly.

    Raises:
        ValueError: nothing was tried, which shows nothing.
    """
    if n < 1:
        raise ValueError("no tries show nothing")
    return float(1 - (1 - _CONFIDENCE) ** (1 / n))


def _around_the_middle(found: list[int]) -> tuple[int, int]:
    """The narrowest pair of values, equally far from both ends, that covers often enough."""
    n, outside, place = len(found), 0.0, 0
    # Each of both ends is passed by the true median as often as a fair coin falls so unevenly.
    while True:
        outside += math.comb(n, place) / 2**n
        if 2 * outside > 1 - _CONFIDENCE:
            return found[max(place - 1, 0)], found[n - max(place, 1)]
        place += 1
