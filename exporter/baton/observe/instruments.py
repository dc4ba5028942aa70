"""What only a worker can time: its nodes, its checkpoint writes, its renewals.

Everything about the state of sessions, leases, tasks and takeovers comes from the exporter, which
reads the store and can therefore speak for the dead. These instruments are for a worker that
serves its own ``/metrics`` (`baton worker --metrics`), or for the registry of an application.

An observation costs one bisection under one lock, a fraction of what a child of
``prometheus_client.Histogram`` costs, because a node of a few microseconds must not pay for
being watched. Observers are bound once, outside of the hot path.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from prometheus_client import core

from baton.domain.catalogue import (
    CHECKPOINT_WRITE,
    HEARTBEAT_DURATION,
    NODE_DURATION,
    RENEWAL_RESULTS,
)
from baton.domain.metric import Metric
from baton.fleet.driver import Hooks
from baton.observe.exposition import HistogramPoint, Point, Snapshot, families

Observer = Callable[[float], None]
"""Takes one duration in seconds; may be called from any thread."""


class WorkerInstruments:
    """The worker's side of the catalogue.

    Attributes:
        checkpoint_write: the observer of checkpoint writes.
        heartbeat: the observers of renewals, by ``RENEWAL_RESULTS``.
    """

    def __init__(self, registry: core.CollectorRegistry | None = None) -> None:
        """Start with every known series at 0.

        Args:
            registry: a registry of the application that should serve these metrics too.
        """
        self._lock = threading.Lock()
        self._series: dict[Metric, dict[tuple[str, ...], _Histogram]] = {}
        self.checkpoint_write: Observer = self._observer(CHECKPOINT_WRITE)
        self.heartbeat: Mapping[str, Observer] = {
            result: self._observer(HEARTBEAT_DURATION, result) for result in RENEWAL_RESULTS
        }
        if registry is not None:
            registry.register(self)

    def node(self, graph: str, node: str) -> Observer:
        """The observer of a node's duration; its series exists from here on.

        Args:
            graph: the name that the graph is served under.
            node: the node's name in the graph.
        """
        return self._observer(NODE_DURATION, graph, node)

    def snapshot(self) -> Snapshot:
        """Everything observed so far."""
        with self._lock:
            series = [(metric, list(children.items())) for metric, children in self._series.items()]
        return {
            metric: [Point(labels, child.point()) for labels, child in children]
            for metric, children in series
        }

    def collect(self) -> Iterable[core.Metric]:
        """The snapshot in the form that a prometheus-client registry asks for."""
        return families(self.snapshot())

    def _observer(self, metric: Metric, *labels: str) -> Observer:
        with self._lock:
            children = self._series.setdefault(metric, {})
            return children.setdefault(labels, _Histogram(metric.buckets)).observe


class _Histogram:
    """Counts by bucket and their sum, taken and read under one lock so that they agree."""

    __slots__ = ("_bounds", "_counts", "_lock", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def point(self) -> HistogramPoint:
        with self._lock:
            return HistogramPoint(tuple(self._counts), self._sum)


def hooks_of(instruments: WorkerInstruments) -> Hooks:
    """Tell the instruments what a worker measures.

    Args:
        instruments: its own.
    """
    observer = cache(instruments.node)
    return Hooks(
        on_beat=lambda result, seconds: instruments.heartbeat[result](seconds),
        on_node=lambda graph, node, seconds: observer(graph, node)(seconds),
        on_write=instruments.checkpoint_write,
    )
