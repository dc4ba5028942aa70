"""Honest numbers: bounds of probabilities, intervals of medians, slopes that hold for outliers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

_CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)

#: Below this many values no interval of a median holds 95 % of the time.
_INTERVAL_MIN = 6

#: Slopes are worked out between so many points at most.
POINTS_MAX = 200


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval that holds the truth 95 % of the time; None where none does."""

    estimate: float
    low: float | None
    high: float | None


def failure_bound(failures: int, cycles: int) -> float:
    """The upper 95 % bound on the probability that a cycle fails.

    One-sided and exact for no failure at all (the rule of three is its approximation), Wilson's
    otherwise. It holds for cycles that are drawn independently.

    Args:
        failures: how many failed.
        cycles: out of how many; at least one.
    """
    if failures == 0:
        return float(1 - (1 - _CONFIDENCE) ** (1 / cycles))
    z = NormalDist().inv_cdf(_CONFIDENCE)
    share = failures / cycles
    centre = share + z * z / (2 * cycles)
    spread = z * math.sqrt(share * (1 - share) / cycles + z * z / (4 * cycles * cycles))
    return min(1.0, (centre + spread) / (1 + z * z / cycles))


def median_interval(values: Sequence[float]) -> Interval:
    """The median, and the order statistics that hold the true one 95 % of the time.

    Args:
        values: at least one, drawn independently.
    """
    ordered, count = sorted(values), len(values)
    if count < _INTERVAL_MIN:
        return Interval(median(ordered), None, None)
    reach = _Z * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - reach))
    high = min(count - 1, math.ceil(count / 2 + reach))
    return Interval(median(ordered), ordered[low], ordered[high])


def slope(values: Sequence[float], apart: float = 1.0) -> Interval:
    """Theil and Sen's slope: the median of all slopes between two points, with its interval.

    Args:
        values: one after another, evenly spaced.
        apart: how far; the slope is per unit of this.
    """
    count = len(values)
    if count < _INTERVAL_MIN:
        return Interval(0.0, None, None)
    slopes = sorted(
        (values[j] - values[i]) / ((j - i) * apart)
        for i in range(count)
        for j in range(i + 1, count)
    )
    # The variance of Kendall's S without ties, which is never less than with them.
    spread = _Z * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(0, round((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, round((len(slopes) + spread) / 2))
    return Interval(median(slopes), slopes[low], slopes[high])


def thinned(values: Sequence[float]) -> tuple[list[float], int]:
    """At most ``POINTS_MAX`` of them, evenly spaced, and how far apart they are."""
    apart = max(1, -(-len(values) // POINTS_MAX))
    return list(values[::apart]), apart
