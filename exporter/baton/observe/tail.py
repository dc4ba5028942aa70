"""The ledger as counters and histograms: read on from where the last scrape left off.

Where events were pruned, the counters begin with the fold that was stored for them, and the checks
with what was kept of each chain; everything that is still there is read.

Nothing is served of a ledger until it was read to its end once. Counters that began low and rose
to what they were before would look like everything happening again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from baton.domain import catalogue as c
from baton.domain.continuity import Watch
from baton.domain.folds import Fold
from baton.domain.ledger import Event
from baton.domain.series import FoldedHistogram
from baton.domain.verify import Verifier
from baton.domain.words import EventType
from baton.fleet.reading import PrunedSoFar
from baton.fleet.store import Store
from baton.observe.exposition import Exemplar, HistogramPoint, Point, Snapshot

#: Events in one page: few enough that a scrape which waits for a page does not notice.
PAGE_EVENTS = 500

#: A worker's own events that bring a run further, and the claim that begins its part of it.
#: Loading the state or recognising an old effect shows life, but is no progress.
_PROGRESS = frozenset(
    {
        EventType.CLAIMED,
        EventType.STEP,
        EventType.EFFECT,
        EventType.INTERRUPTED,
        EventType.DONE,
        EventType.FAILED,
    }
)


class LedgerTail:
    """A fold of one store's ledger, and the checks and assertions that its events pass or fail."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self._lock = threading.Lock()
        self._begin(Fold(), Verifier())

    def _begin(self, fold: Fold, verifier: Verifier) -> None:
        self._fold = fold
        self._verifier = verifier
        self._watch = Watch()
        self._position = 0
        self._last: Event | None = None
        self._progress_at: dict[str, int] = {}
        self._complete = False
        self._pruned = PrunedSoFar(0, 0, 0)

    def _begin_behind(self, store: Store, pruned: PrunedSoFar) -> None:
        self._begin(store.stored_fold(), Verifier(told=store.told))
        self._pruned = pruned

    @property
    def complete(self) -> bool:
        """Whether the ledger was read to its end at least once."""
        return self._complete

    def advance(self, store: Store) -> bool:
        """Read one page; returns whether there is more.

        Raises:
            BatonError: the store cannot be read.
        """
        with self._lock:
            if not self._continues(store):
                self._begin_behind(store, store.pruned())
            page = store.events(self._position, PAGE_EVENTS)
            # Asked after the page was read: what was removed before is not in it.
            pruned = store.pruned()
            if pruned != self._pruned and pruned.to > self._position:
                self._begin_behind(store, pruned)
                return True
            self._pruned = pruned
            for event in page:
                self._take(event)
            more = len(page) == PAGE_EVENTS
            self._complete = self._complete or not more
            return more

    def progress_at(self) -> dict[str, int]:
        """By worker, store time of its last progress; nothing before the ledger was read."""
        with self._lock:
            return dict(self._progress_at) if self._complete else {}

    def snapshot(
        self, store: Store, pools: Iterable[str], served: Iterable[tuple[str, str]]
    ) -> Snapshot:
        """Everything counted, and how far the counting lags behind.

        Args:
            store: the store that was read.
            pools: pools whose counts exist at 0 if nothing has happened in them.
            served: pools and graphs of which the same is true.

        Raises:
            BatonError: the store cannot be read.
        """
        with self._lock:
            lag = {c.LEDGER_TAIL_LAG: [Point((), self._lag_seconds(store))]}
            if not self._complete:
                return lag
            for pool in pools:
                self._fold.know(pool)
            for pool, graph in served:
                self._fold.know(pool, graph)
            return {**lag, **self._counted()}

    def _continues(self, store: Store) -> bool:
        """Whether the store's ledger still has the last event that was read from it."""
        if self._last is None:
            return True
        found = store.events(self._last.seq - 1, 1)
        return bool(found) and (found[0].seq, found[0].hash) == (self._last.seq, self._last.hash)

    def _take(self, event: Event) -> None:
        if event.seq > self._fold.position:
            self._fold.apply(event)
        self._watch.apply(event, self._verifier.apply(event))
        self._position = event.seq
        self._last = event
        if event.type in _PROGRESS and event.worker_id:
            self._progress_at[event.worker_id] = event.at

    def _lag_seconds(self, store: Store) -> float:
        waiting = store.events(self._position, 1)
        return max(0, store.clock.now_us() - waiting[0].at) / 1e6 if waiting else 0.0

    def _counted(self) -> Snapshot:
        fold = self._fold
        counters = {
            metric: [Point(labels, value) for labels, value in series.items()]
            for metric, series in fold.counters.items()
        }
        histograms = {
            metric: [Point(labels, _histogram(found)) for labels, found in series.items()]
            for metric, series in fold.histograms.items()
        }
        writers = fold.concurrent_writers()
        findings = self._verifier.counts
        return {
            **counters,
            **histograms,
            c.LEASE_CONCURRENT_WRITERS: [Point((pool,), most) for pool, most in writers.items()],
            c.CONTINUITY_VIOLATIONS: [
                Point((name,), tally.violations) for name, tally in self._watch.tallies.items()
            ],
            c.DIAGNOSTICS_INVALID: [Point((check,), n) for check, n in findings.items()],
        }


def _histogram(found: FoldedHistogram) -> HistogramPoint:
    exemplars = {
        place: Exemplar(exemplar.ids, exemplar.value, exemplar.wall_us / 1e6)
        for place, exemplar in found.exemplars.items()
    }
    return HistogramPoint(tuple(found.counts), found.sum, exemplars)
