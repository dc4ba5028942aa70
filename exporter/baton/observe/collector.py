"""The exporter's collector: it asks the store at scrape time, and so speaks for the dead.

* Everything that comes from the store, counters included, is withdrawn while the store cannot be
  read: a value served from memory would say that all is as it was. What remains is what the
  exporter knows by itself: that the source is down, its own collections, its build, and the
  expected workers. Counters come back at the value they had, which is no reset.
* A part of the collection that fails of itself costs its own series only.
* A store that does not answer in time is down, and so is one that still has not answered the scrape
  before: a scrape has a deadline, and begins no second read beside one that hangs.
* Reading the ledger has a time budget in each scrape; what is left is the lag, and the next
  scrape goes on from there.
"""

from __future__ import annotations

import logging
import platform
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from baton.domain import catalogue as c
from baton.domain.metric import Metric
from baton.errors import BatonError
from baton.fleet.fleet import package_version
from baton.fleet.store import Store
from baton.observe import state
from baton.observe.exposition import Point, Snapshot
from baton.observe.patience import Patience
from baton.observe.source import StoreSource
from baton.observe.state import Look
from baton.observe.tail import LedgerTail

_log = logging.getLogger(__name__)

#: Version of what operators build on: names, types and labels of metrics, verbs, formats.
CONTRACT_VERSION = "1.0.0"

#: For how long a worker is shown after its last session has ended: longer than any alert waits.
RETENTION_SECONDS = 24 * 3600.0

#: How long one scrape reads the ledger at most; Prometheus waits for ten seconds by default.
BUDGET_SECONDS = 0.5

#: How long one scrape waits for the store at most, in seconds: half of what Prometheus waits.
DEADLINE_SECONDS = 5.0

_TURN_SECONDS = 0.001


class _Spent(NamedTuple):
    """How a part of a collection went."""

    seconds: float
    succeeded: bool


class StoreCollector:
    """Collects everything that the exporter serves, once per scrape."""

    def __init__(
        self,
        store: Store | StoreSource,
        expect: Mapping[str, int] | None = None,
        *,
        retention_seconds: float = RETENTION_SECONDS,
        budget_seconds: float = BUDGET_SECONDS,
        deadline_seconds: float = DEADLINE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Collect from a store; nothing is read yet.

        Args:
            store: an open store, or a source that opens it again whenever it came back.
            expect: how many workers each pool should have.
            retention_seconds: how long a worker is shown after its last session has ended.
            budget_seconds: how long one scrape reads the ledger at most.
            deadline_seconds: how long one scrape waits for the store at most.
            monotonic: measures the parts and the budget, in seconds.
        """
        self._source = store
        self._expect = dict(expect or {})
        self._retention_us = round(retention_seconds * 1e6)
        self._budget_seconds = budget_seconds
        self._monotonic = monotonic
        self._patience = Patience(deadline_seconds)
        self._tail = LedgerTail()
        self._errors = Counter[str]()
        self._down = False
        self._failing: set[str] = set()
        self._parts: Mapping[str, Callable[[Look], Snapshot]] = {
            "sessions": state.sessions,
            "leases": state.leases,
            "tasks": state.tasks,
            "ledger": self._ledger,
        }

    def collect(self) -> Snapshot:
        """The values of one scrape."""
        try:
            found, spent = self._patience.call(self._read)
        except (BatonError, OSError) as error:
            self._went_down(str(error))
            found, spent = {}, {}
        else:
            self._came_up()
        succeeded = {name for name in spent if spent[name].succeeded}
        for name in self._parts:
            self._errors[name] += name not in succeeded
        took = {name: part.seconds for name, part in spent.items()}
        return {**found, **self._about_itself(succeeded, took)}

    def _read(self) -> tuple[dict[Metric, list[Point]], dict[str, _Spent]]:
        """Everything that comes from the store, and how each part of it went.

        Raises:
            BatonError, OSError: the store cannot be read; it is opened anew before it is again.
        """
        found: dict[Metric, list[Point]] = {}
        spent: dict[str, _Spent] = {}
        try:
            look = self._look()
            for name in self._parts:
                began = self._monotonic()
                points = self._part(name, look)
                for metric, values in (points or {}).items():
                    found[metric] = list(values)
                spent[name] = _Spent(self._monotonic() - began, points is not None)
        except (BatonError, OSError):
            # Here, and not where the deadline is kept: closing a store that hangs hangs too.
            if isinstance(self._source, StoreSource):
                self._source.doubt()
            raise
        return found, spent

    def catch_up(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Read the ledger to its end, however long that takes, unless the store goes away.

        Args:
            stop: asked between two pages.
        """
        try:
            store = self._store()
            while self._tail.advance(store) and not stop():
                # A lock is not fair, and a scrape may be waiting for its turn.
                time.sleep(_TURN_SECONDS)
        except (BatonError, OSError) as error:
            _log.debug("the ledger cannot be read: %s", error)

    def ready(self) -> bool:
        """Whether a scrape would be whole: the ledger was read, and the store is there."""
        try:
            self._patience.call(self._store)
        except (BatonError, OSError):
            return False
        return self._tail.complete

    def targets(self) -> list[dict[str, Any]]:
        """The live workers that serve metrics of their own, for service discovery.

        Raises:
            BatonError, OSError: the store cannot be read; a scraper then keeps the targets it has.
        """
        return self._patience.call(self._targets)

    def _targets(self) -> list[dict[str, Any]]:
        look = self._look()
        return [
            {
                "targets": [session.spec.metrics_address],
                "labels": {"worker": session.spec.worker_id, "pool": session.spec.pool},
            }
            for session in look.workers
            if session.live and session.spec.metrics_address
        ]

    def _store(self) -> Store:
        return self._source.store() if isinstance(self._source, StoreSource) else self._source

    def _look(self) -> Look:
        return Look(self._store(), expected=self._expect, retention_us=self._retention_us)

    def _part(self, name: str, look: Look) -> Snapshot | None:
        """One part of the collection; None if it failed of itself.

        Raises:
            BatonError, OSError: the store cannot be read.
        """
        try:
            points = self._parts[name](look)
        except (BatonError, OSError):
            raise
        except Exception:  # noqa: BLE001 - whatever a part fails of, the others are still served
            if name not in self._failing:
                self._failing.add(name)
                _log.exception("collector %s fails; it is logged again once it works", name)
            return None
        if name in self._failing:
            self._failing.discard(name)
            _log.warning("collector %s works again", name)
        return points

    def _ledger(self, look: Look) -> Snapshot:
        """What the ledger counts, as far as it can be read in time."""
        until = self._monotonic() + self._budget_seconds
        while self._tail.advance(look.store) and self._monotonic() < until:
            pass
        return {
            **self._tail.snapshot(look.store, look.pools, look.served),
            c.WORKER_PROGRESS_TIMESTAMP: self._progress(look),
        }

    def _progress(self, look: Look) -> list[Point]:
        progress_at = self._tail.progress_at()
        return [
            Point((spec.worker_id, spec.pool), look.moment.past_unix_seconds(at))
            for session in look.workers
            if (at := progress_at.get((spec := session.spec).worker_id)) is not None
        ]

    def _went_down(self, why: str) -> None:
        if not self._down:
            self._down = True
            _log.warning("the store cannot be read, its series are withdrawn: %s", why)

    def _came_up(self) -> None:
        if self._down:
            self._down = False
            _log.warning("the store can be read again")

    def _about_itself(self, succeeded: Collection[str], spent: Mapping[str, float]) -> Snapshot:
        kind = self._source.url.partition(":")[0]
        build = (package_version(), CONTRACT_VERSION, platform.python_version(), kind)
        return {
            c.BUILD_INFO: [Point(build, 1)],
            c.SOURCE_UP: [Point((), 0 if self._down else 1)],
            c.COLLECTOR_SUCCESS: [Point((name,), name in succeeded) for name in self._parts],
            c.COLLECTOR_DURATION: [Point((name,), spent.get(name, 0.0)) for name in self._parts],
            c.COLLECTOR_ERRORS: [Point((name,), self._errors[name]) for name in self._parts],
            c.WORKERS_EXPECTED: [Point((pool,), n) for pool, n in self._expect.items()],
        }
