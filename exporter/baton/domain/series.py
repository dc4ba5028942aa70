"""Counted series: the values of counters and histograms by their labels, and how to store them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from baton.domain.catalogue import by_name
from baton.domain.metric import Metric, MetricType

Labels = tuple[str, ...]


class FoldedExemplar(NamedTuple):
    """A case in point: its ids, the value in the metric's unit, and wall-clock microseconds."""

    ids: Mapping[str, str]
    value: float
    wall_us: int


@dataclass(slots=True)
class FoldedHistogram:
    """The observations of one series.

    Attributes:
        counts: observations in each bucket by itself, ``+Inf`` last.
        sum_us: all observations added up, in whole microseconds, so that no order matters.
        exemplars: the newest case in point of a bucket, by the bucket's place in ``counts``.
    """

    counts: list[int]
    sum_us: int = 0
    exemplars: dict[int, FoldedExemplar] = field(default_factory=dict)

    @property
    def sum(self) -> float:
        """All observations added up, in seconds."""
        return self.sum_us / 1e6


class Series:
    """The series of some counters and histograms.

    Attributes:
        counters: values by metric and label values.
        histograms: observations by metric and label values.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        """Begin with those series that need no label from outside, at 0.

        Args:
            metrics: counters, and histograms of seconds.
        """
        self.counters: dict[Metric, dict[Labels, float]] = {}
        self.histograms: dict[Metric, dict[Labels, FoldedHistogram]] = {}
        for metric in metrics:
            if metric.type is MetricType.HISTOGRAM:
                self.histograms[metric] = {}
            else:
                self.counters[metric] = {}
        self.begin({})

    def begin(self, given: Mapping[str, str]) -> None:
        """Let every series exist that the catalogue knows once some labels are given.

        Args:
            given: values of labels that the catalogue cannot know, such as ``pool``.
        """
        for metric in (*self.counters, *self.histograms):
            free = set(metric.labels) - set(metric.known.labels)
            if not free <= set(given):
                continue
            for labels in metric.label_sets(**{label: [given[label]] for label in free}):
                if metric in self.histograms:
                    self.histograms[metric].setdefault(labels, _empty(metric))
                else:
                    self.counters[metric].setdefault(labels, 0.0)

    def add(self, metric: Metric, *labels: str) -> None:
        """Count one."""
        series = self.counters[metric]
        series[labels] = series.get(labels, 0.0) + 1

    def observe(
        self,
        metric: Metric,
        labels: Labels,
        microseconds: int,
        *,
        ids: Mapping[str, str] | None = None,
        wall_us: int = 0,
    ) -> None:
        """Observe a length of time.

        Args:
            metric: a histogram of seconds.
            labels: its label values.
            microseconds: how long; less than nothing counts as nothing, because a sum that falls
                would read as a restart.
            ids: what was observed, where it may serve as an exemplar.
            wall_us: when, by the wall clock.
        """
        series = self.histograms[metric]
        found = series.get(labels)
        if found is None:
            found = series[labels] = _empty(metric)
        microseconds = max(microseconds, 0)
        place = bisect_left(_bounds_us(metric), microseconds)
        found.counts[place] += 1
        found.sum_us += microseconds
        if ids is not None:
            found.exemplars[place] = FoldedExemplar(ids, microseconds / 1e6, wall_us)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON, in a fixed order."""
        return {
            "counters": {
                metric.name: [[list(labels), value] for labels, value in sorted(series.items())]
                for metric, series in self.counters.items()
            },
            "histograms": {
                metric.name: [
                    [list(labels), *_histogram_row(series[labels])] for labels in sorted(series)
                ]
                for metric, series in self.histograms.items()
            },
        }

    def load(self, stored: Mapping[str, Any]) -> None:
        """Take over what ``to_dict`` gave.

        Raises:
            KeyError: it holds a metric that is not among these, or not in the catalogue.
            ValueError: a histogram has other buckets.
        """
        for name, rows in stored["counters"].items():
            self.counters[by_name(name)].update((tuple(labels), value) for labels, value in rows)
        for name, rows in stored["histograms"].items():
            metric = by_name(name)
            for labels, counts, sum_us, exemplars in rows:
                if len(counts) != len(metric.buckets) + 1:
                    raise ValueError(f"{name} was stored with other buckets")
                places = {place: FoldedExemplar(*exemplar) for place, *exemplar in exemplars}
                found = FoldedHistogram(list(counts), sum_us, places)
                self.histograms[metric][tuple(labels)] = found


def _histogram_row(found: FoldedHistogram) -> list[Any]:
    exemplars = [
        [place, dict(exemplar.ids), exemplar.value, exemplar.wall_us]
        for place, exemplar in sorted(found.exemplars.items())
    ]
    return [list(found.counts), found.sum_us, exemplars]


def _empty(metric: Metric) -> FoldedHistogram:
    return FoldedHistogram([0] * (len(metric.buckets) + 1))


@cache
def _bounds_us(metric: Metric) -> tuple[int, ...]:
    return tuple(round(bound * 1e6) for bound in metric.buckets)
