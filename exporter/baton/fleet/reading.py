"""Reading a store: tasks, the ledger, and what a scrape needs."""

from __future__ import annotations

import json
from typing import NamedTuple

from baton.domain.chains import ChainState
from baton.domain.folds import Fold
from baton.domain.ledger import Event, event_from_row
from baton.domain.words import TaskState
from baton.errors import UnknownTask
from baton.fleet.clock import StoreClock
from baton.fleet.model import Session, Task
from baton.fleet.rows import task_of
from baton.fleet.tables import Data, Sessions

#: How many events one read of the tail returns at most.
TAIL_PAGE = 2000


class PrunedSoFar(NamedTuple):
    """What was removed from a ledger.

    Attributes:
        to: the furthest place of the tail at which an event was removed; 0 if none was.
        chains: how many chains have only their head left.
        events: how many events were removed.
    """

    to: int
    chains: int
    events: int


class Reading:
    """The tables of a store, and every question that changes nothing."""

    def __init__(
        self,
        data: Data,
        sessions: Sessions,
        clock: StoreClock,
        *,
        url: str,
        store_id: str,
    ) -> None:
        """Put the tables together.

        Args:
            data: tasks, ledger and effects.
            sessions: the sessions.
            clock: the store's clock, the same as theirs.
            url: how the store was named.
            store_id: the store's own name.
        """
        self.data = data
        self.sessions = sessions
        self.clock = clock
        self.url = url
        self.store_id = store_id
        self._epoch_seen = 0

    def peers(self, pool: str | None = None) -> tuple[int, list[Session]]:
        """Store time, and the sessions that may hold leases."""
        return self.clock.now_us(), self.sessions.live(pool)

    def task_or_none(self, task_id: str) -> Task | None:
        """One task, or None."""
        rows = self.data.rows("task", (task_id,))
        return task_of(rows[0]) if rows else None

    def task(self, task_id: str) -> Task:
        """One task.

        Raises:
            UnknownTask: there is no such task.
        """
        found = self.task_or_none(task_id)
        if found is None:
            raise UnknownTask(task_id=task_id)
        return found

    def tasks(
        self, *, state: TaskState | None = None, pool: str | None = None, limit: int = 1000
    ) -> list[Task]:
        """Tasks, newest first."""
        wanted = {"state": state.value if state else None, "pool": pool, "limit": limit}
        return [task_of(row) for row in self.data.rows("tasks", wanted)]

    def events(self, after_seq: int = 0, limit: int = TAIL_PAGE) -> list[Event]:
        """The tail: events in an order that nothing is ever inserted into behind a reader."""
        return [event_from_row(tuple(row)) for row in self.data.tail(after_seq, limit)]

    def chain(self, chain: str) -> list[Event]:
        """One chain from its beginning."""
        return [event_from_row(tuple(row)) for row in self.data.rows("chain", (chain,))]

    def counts(self) -> list[tuple[str, str, str, int]]:
        """Tasks by pool, graph and state."""
        return [tuple(row) for row in self.data.rows("counts")]

    def leases(self) -> list[tuple[str, str, int, bool]]:
        """Session, pool, held tasks, and whether they are somebody else's runtime's."""
        return [(row[0], row[1], row[2], bool(row[3])) for row in self.data.rows("leases")]

    def oldest_pending(self) -> list[tuple[str, int]]:
        """By pool, since when its oldest pending task waits."""
        return [(row[0], row[1]) for row in self.data.rows("oldest_pending")]

    def vacated(self) -> list[tuple[str, int, int]]:
        """By pool, how many unfinished runs wait for somebody, and since when."""
        return [tuple(row) for row in self.data.rows("vacated")]

    # What was pruned

    def pruned(self) -> PrunedSoFar:
        """How far and how much of the ledger was pruned."""
        rows = self.data.rows("pruned")
        return PrunedSoFar(*rows[0]) if rows else PrunedSoFar(0, 0, 0)

    def told(self, chain: str) -> ChainState | None:
        """What the pruned events of a chain told, right before the head that was left."""
        rows = self.data.rows("told", (chain,))
        return ChainState.from_list(json.loads(rows[0][0])) if rows else None

    def stored_fold(self) -> Fold:
        """The counters as of the last time that anything was pruned; empty if nothing was.

        Raises:
            ValueError: it was stored by another version.
        """
        rows = self.data.rows("stored_fold")
        return Fold.from_dict(json.loads(rows[0][0])) if rows else Fold()
