"""What was scraped, by series and second, and its text in the notation of promtool's tests.

The notation is that of https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

_STALE = "stale"
_DATED = "_timestamp_seconds"

Key = tuple[tuple[str, str], ...]


class Tape:
    """Samples by series and second, from a first second that is 0."""

    def __init__(self) -> None:
        """Begin now."""
        self._began = time.time()
        self._series: dict[tuple[str, Key], dict[int, float]] = {}
        self.looked: list[int] = []

    def passed(self) -> float:
        """How many seconds have been recorded."""
        return time.time() - self._began

    def note(self, second: int, name: str, labels: dict[str, str], value: float) -> None:
        """One sample; what is a point in time is counted from the recording's start."""
        if name.endswith(_DATED):
            value -= self._began
        key = (name, tuple(sorted(labels.items())))
        self._series.setdefault(key, {})[second] = round(value, 2)

    def lines(
        self, wanted: Callable[[str, dict[str, str]], bool], *, every: int = 1, hold: int = 0
    ) -> Iterator[tuple[str, str]]:
        """Series and values as promtool writes them.

        Args:
            wanted: whether a series, by its name and labels, is.
            every: of so many seconds one is taken.
            hold: how often the last value is repeated where a series has not ended.
        """
        for (name, labels), found in sorted(self._series.items()):
            if wanted(name, dict(labels)):
                inside = ", ".join(f'{label}="{value}"' for label, value in labels)
                values = compressed(
                    found, self.looked, every=every, hold=hold, dates=name.endswith(_DATED)
                )
                yield f"{name}{{{inside}}}", values


def compressed(
    found: dict[int, float],
    looked: list[int],
    *,
    every: int = 1,
    hold: int = 0,
    dates: bool = False,
) -> str:
    """Values of each second in promtool's notation, runs folded.

    A series that ends is marked as stale, as Prometheus does when a scrape lacks it. In a second
    without a scrape, as the recorder was late, the value before is the value still; but a date has
    no sample there, as rules subtract it from the time of its sample.

    Args:
        found: values by their seconds.
        looked: the seconds with a scrape, from 0 on.
        every: of so many seconds one is taken.
        hold: how often the last value is repeated where the series has not ended.
        dates: whether the values are points in time.
    """
    scrapes = set(looked)
    values: list[str | None] = []
    value: str | None = None
    for second in range(looked[-1] + 1):
        ended = value in (None, _STALE)
        if second in scrapes:
            value = _number(found[second]) if second in found else None if ended else _STALE
        elif ended:
            value = None
        values.append(None if dates and second not in scrapes else value)
    values = [*values[::every], *([] if value in (None, _STALE) else [value] * hold)]
    runs = ((value, len(list(run))) for value, run in itertools.groupby(values))
    return " ".join(_run(value, length) for value, length in runs)


def _run(value: str | None, length: int) -> str:
    if value is None or value == _STALE:
        return " ".join(filter(None, (value, f"_x{length - bool(value)}" * (length > bool(value)))))
    return value if length == 1 else f"{value}x{length - 1}"


def _number(value: float) -> str:
    return f"{value:.12g}"
