"""From catalogue values to the bytes of a scrape.

A snapshot maps metrics of the catalogue to points; names, types, labels and buckets come from
the catalogue alone, so a point that does not fit it is an error and never a series. The text is
written by prometheus-client, in the format that the scraper asks for: text 0.0.4, or OpenMetrics
1.0 with exemplars. Equal snapshots give equal bytes, whatever the order of their points.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import core
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from baton.domain.metric import Metric, MetricType

#: The ids that an exemplar may carry, the most telling one first.
EXEMPLAR_LABELS = ("task_id", "run_id", "trace_id")
#: Characters that the names and values of one exemplar may have together (OpenMetrics 1.0).
EXEMPLAR_CHARACTERS_MAX = 128

#: Two formats, whatever versions a scraper lists: the catalogue needs nothing newer.
_TEXT = choose_encoder("")
_OPENMETRICS = choose_encoder("application/openmetrics-text")


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation, by the ids of what was observed.

    Attributes:
        ids: values for some of ``EXEMPLAR_LABELS``; other keys are left out.
        value: the observed value, in the metric's unit.
        at_seconds: Unix time of the observation, or None.
    """

    ids: Mapping[str, str]
    value: float
    at_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class HistogramPoint:
    """The observations of one series.

    Attributes:
        counts: observations in each bucket by itself, not cumulated, ``+Inf`` last.
        sum: the sum of all observed values, in the metric's unit.
        exemplars: the exemplar of a bucket, by the bucket's place in ``counts``.
    """

    counts: tuple[int, ...]
    sum: float
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict)

    @classmethod
    def of(
        cls, metric: Metric, values: Iterable[float], exemplars: Iterable[Exemplar] = ()
    ) -> HistogramPoint:
        """Sort ``values`` into the buckets of ``metric``; of two exemplars the later one stays."""
        counts = [0] * (len(metric.buckets) + 1)
        total = 0.0
        for value in values:
            counts[bisect_left(metric.buckets, value)] += 1
            total += value
        placed = {bisect_left(metric.buckets, exemplar.value): exemplar for exemplar in exemplars}
        return cls(tuple(counts), total, placed)


@dataclass(frozen=True, slots=True)
class Point:
    """One series and its value.

    Attributes:
        labels: label values in the catalogue's order.
        value: a number; for a state set the state it is in; for a histogram its observations.
            An info is always 1.
    """

    labels: tuple[str, ...]
    value: float | str | HistogramPoint


Snapshot = Mapping[Metric, Iterable[Point]]
"""What one collection found. A metric without points is left out of the scrape."""


def zeros(metric: Metric, **given: Iterable[str]) -> list[Point]:
    """A point at 0 for every series of a count that is known from the start.

    Args:
        metric: a counter, gauge or histogram.
        given: values for the labels that the catalogue cannot know, such as ``pool``.
    """
    histogram = metric.type is MetricType.HISTOGRAM
    nothing = HistogramPoint.of(metric, ()) if histogram else 0.0
    return [Point(labels, nothing) for labels in metric.label_sets(**given)]


def content_type(accept: str) -> str:
    """The content type that answers an ``Accept`` header."""
    return _format(accept)[1]


def render(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
    """The body of a scrape and its content type.

    Args:
        snapshot: what was collected.
        accept: the scraper's ``Accept`` header.

    Raises:
        ValueError: a point does not fit its metric, or two points are the same series.
    """
    encode, kind = _format(accept)
    return encode(_Collected(list(families(snapshot)))), kind


def families(snapshot: Snapshot) -> Iterator[core.Metric]:
    """The snapshot as prometheus-client's metric families, sorted by name.

    Raises:
        ValueError: a point does not fit its metric, or two points are the same series.
    """
    for metric in sorted(snapshot, key=lambda metric: metric.name):
        points = sorted(snapshot[metric], key=lambda point: point.labels)
        if points:
            yield _family(metric, points)


class _Collected:
    """The one method that prometheus-client's encoders ask of a registry."""

    def __init__(self, collected: list[core.Metric]) -> None:
        self._collected = collected

    def collect(self) -> list[core.Metric]:
        return self._collected


def _format(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    try:
        chosen = choose_encoder(accept)[1]
    except TypeError:  # The client compares version numbers, and this one was a word.
        return _TEXT
    return _OPENMETRICS if chosen.startswith("application/openmetrics-text") else _TEXT


def _family(metric: Metric, points: list[Point]) -> core.Metric:
    family = _empty_family(metric)
    previous: tuple[str, ...] | None = None
    for point in points:
        if len(point.labels) != len(metric.labels):
            raise _misfit(metric, point, f"takes the labels {metric.labels}")
        if point.labels == previous:
            raise _misfit(metric, point, "has that series twice")
        _add(family, metric, point)
        previous = point.labels
    return family


def _empty_family(metric: Metric) -> core.Metric:
    name, about, labels = metric.name, metric.help, metric.labels
    match metric.type:
        case MetricType.GAUGE:
            return core.GaugeMetricFamily(name, about, labels=labels, unit=metric.unit)
        case MetricType.COUNTER:
            return core.CounterMetricFamily(name, about, labels=labels, unit=metric.unit)
        case MetricType.HISTOGRAM:
            return core.HistogramMetricFamily(name, about, labels=labels, unit=metric.unit)
        case MetricType.INFO:
            return core.InfoMetricFamily(name.removesuffix("_info"), about, labels=labels)
        case MetricType.STATESET:
            return core.StateSetMetricFamily(name, about, labels=labels)


def _add(family: core.Metric, metric: Metric, point: Point) -> None:
    match family, point.value:
        case core.GaugeMetricFamily() | core.CounterMetricFamily(), int() | float() as number:
            family.add_metric(point.labels, number)
        case core.InfoMetricFamily(), 1:
            family.add_metric(point.labels, {})
        case core.StateSetMetricFamily(), str(state) if state in metric.states:
            family.add_metric(point.labels, {each: each == state for each in metric.states})
        case core.HistogramMetricFamily(), HistogramPoint() as observed if (
            len(observed.counts) == len(metric.buckets) + 1
        ):
            family.add_metric(point.labels, list(_buckets(metric, observed)), observed.sum)
        case _:
            raise _misfit(metric, point, f"is of type {metric.type} and cannot be {point.value!r}")


def _buckets(
    metric: Metric, observed: HistogramPoint
) -> Iterator[tuple[str, float] | tuple[str, float, core.Exemplar]]:
    cumulated = 0
    for place, (bound, count) in enumerate(zip(metric.bounds, observed.counts, strict=True)):
        cumulated += count
        exemplar = observed.exemplars.get(place) if metric.exemplars else None
        ids = _exemplar_ids(exemplar.ids) if exemplar else {}
        if exemplar and ids:
            carried = core.Exemplar(ids, exemplar.value, exemplar.at_seconds)
            yield bound, cumulated, carried
        else:
            yield bound, cumulated


def _exemplar_ids(ids: Mapping[str, str]) -> dict[str, str]:
    """As many of the ids as fit, the most telling first. Half an id would name something else."""
    kept: dict[str, str] = {}
    room = EXEMPLAR_CHARACTERS_MAX
    for name in EXEMPLAR_LABELS:
        value = ids.get(name, "")
        if value and len(name) + len(value) <= room:
            kept[name] = value
            room -= len(name) + len(value)
    return kept


def _misfit(metric: Metric, point: Point, why: str) -> ValueError:
    return ValueError(f"metric {metric.name} {why}: {point.labels}")
