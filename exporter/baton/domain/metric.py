"""What a metric is: one frozen description that every other part is derived from."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

#: Labels whose values nobody bounds. They live in exemplars, in logs and in the ledger.
UNBOUNDED_LABELS = frozenset({"task", "run", "step", "thread", "session", "trace", "epoch"})

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class MetricType(StrEnum):
    """The types of OpenMetrics 1.0 that the catalogue uses."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"
    STATESET = "stateset"


class Source(StrEnum):
    """Who serves a metric. Exactly one does, so that nothing is counted twice."""

    EXPORTER = "exporter"
    WORKER = "worker"


class Stability(StrEnum):
    """What a reader may build on: stable metrics only ever gain, experimental ones may change."""

    STABLE = "stable"
    EXPERIMENTAL = "experimental"


@dataclass(frozen=True, slots=True)
class Known:
    """The label values that are known before anything happens.

    Attributes:
        labels: the labels whose values are known.
        rows: every combination of their values that can occur, in the order of ``labels``.
    """

    labels: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ((),)

    def values(self, label: str) -> tuple[str, ...]:
        """The values that ``label`` can take, in the order in which they were listed."""
        column = self.labels.index(label)
        return tuple(dict.fromkeys(row[column] for row in self.rows))


def every(**values: Iterable[str]) -> Known:
    """All combinations of the given values, e.g. ``every(reason=TakeoverReason)``."""
    rows = itertools.product(*([str(value) for value in column] for column in values.values()))
    return Known(labels=tuple(values), rows=tuple(rows))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One metric of the catalogue. Two metrics are equal only if they are the same constant.

    Attributes:
        name: as it is written in a query, with the unit last and counters in ``_total``.
        type: its OpenMetrics type.
        group: the part of the fleet it speaks of; orders the documentation.
        help: what a value means, in one sentence.
        unit: the base unit that the name ends in, or nothing for counts and states.
        labels: label names in the order in which label values are given.
        known: the label values that exist from the start, so that a count begins at 0.
        states: the states of a state set.
        buckets: the upper bounds of a histogram, in ``unit``; ``+Inf`` is implied.
        source: who serves it.
        stability: whether a reader may build on it.
        blind_spot: what it cannot see, and what to look at instead.
        diagnostic: why no alert or gate needs it; empty for a metric that one may use.
        exemplars: whether its buckets carry the ids of a case in point.
    """

    name: str
    type: MetricType
    group: str
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    known: Known = Known()
    states: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    source: Source = Source.EXPORTER
    stability: Stability = Stability.STABLE
    blind_spot: str = ""
    diagnostic: str = ""
    exemplars: bool = False

    def __post_init__(self) -> None:
        """Refuse a description that Prometheus, OpenMetrics or the house rules would refuse."""
        checks = (self._broken_name(), self._broken_labels(), self._broken_type())
        for broken in filter(None, checks):
            raise ValueError(f"metric {self.name}: {broken}")

    @property
    def series_labels(self) -> tuple[str, ...]:
        """The labels that its samples carry beside the target's own."""
        if self.type is MetricType.STATESET:
            return (*self.labels, self.name)
        return self.labels

    @property
    def sample_names(self) -> tuple[str, ...]:
        """The names that a query can ask for: a histogram's samples have suffixes of their own."""
        if self.type is MetricType.HISTOGRAM:
            return tuple(self.name + suffix for suffix in ("_bucket", "_count", "_sum"))
        return (self.name,)

    @property
    def bounds(self) -> tuple[str, ...]:
        """The values of a histogram's ``le`` label, as they are written in a query."""
        return (*(repr(float(bound)) for bound in self.buckets), "+Inf") if self.buckets else ()

    def label_sets(self, **given: Iterable[str]) -> list[tuple[str, ...]]:
        """Every label tuple that is known from the start, in the order of ``labels``.

        Args:
            given: values for the labels that the catalogue cannot know, such as ``pool``.

        Raises:
            ValueError: ``given`` does not name exactly the labels that are not in ``known``.
        """
        if odd := set(self.labels) ^ {*self.known.labels, *given}:
            raise ValueError(f"metric {self.name}: unknown or missing labels {sorted(odd)}")
        names = (*given, *self.known.labels)
        order = [names.index(label) for label in self.labels]
        return [
            tuple((*outer, *inner)[place] for place in order)
            for outer in itertools.product(*given.values())
            for inner in self.known.rows
        ]

    def _broken_name(self) -> str | None:
        ends_right = {
            MetricType.COUNTER: self.name.endswith("_total"),
            MetricType.INFO: self.name.endswith("_info"),
        }
        if not _NAME.fullmatch(self.name):
            return "a name is lower case words joined by one underscore"
        if not ends_right.get(self.type, not self.name.endswith(("_total", "_info"))):
            return "_total ends counters and _info ends infos, and nothing else"
        if self.unit and not self.name.removesuffix("_total").endswith("_" + self.unit):
            return f"the unit {self.unit} comes last in the name"
        return None

    def _broken_labels(self) -> str | None:
        if len(set(self.labels)) != len(self.labels) or not all(map(_NAME.fullmatch, self.labels)):
            return "labels are distinct, lower case words"
        ids = [name for name in self.labels if name in UNBOUNDED_LABELS or name.endswith("_id")]
        if ids:
            return f"an id is never a label: {ids}"
        if not set(self.known.labels) <= set(self.labels):
            return "values are known for labels that it does not have"
        return None

    def _broken_type(self) -> str | None:
        if bool(self.buckets) != (self.type is MetricType.HISTOGRAM):
            return "histograms have buckets, and nothing else has"
        if list(self.buckets) != sorted(set(self.buckets)):
            return "buckets rise"
        if bool(self.states) != (self.type is MetricType.STATESET):
            return "state sets have states, and nothing else has"
        if self.exemplars and not self.buckets:
            return "exemplars sit on the buckets of a histogram"
        return None
