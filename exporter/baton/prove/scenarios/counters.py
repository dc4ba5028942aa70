"""What an exporter serves of a trial's ledger, to be held against the ledger itself."""

from __future__ import annotations

from baton.domain.continuity.model import SeriesKey
from baton.domain.folds import FOLDED
from baton.fleet.store import Store
from baton.observe.tail import LedgerTail


def counters_of(store: Store) -> dict[SeriesKey, float]:
    """The counters of an exporter that has read a store to its end.

    Args:
        store: a store in which nobody works any more.
    """
    tail = LedgerTail()
    while tail.advance(store):
        pass
    return {
        (metric.name, tuple(sorted(zip(metric.labels, point.labels, strict=True)))): point.value
        for metric, points in tail.snapshot(store, (), ()).items()
        for point in points
        if metric in FOLDED and isinstance(point.value, int | float)
    }
