"""Reading a store: tasks, the ledger, and what a scrape needs."""

from __future__ import annotations

from baton.domain.ledger import Event, event_from_row
from baton.domain.words import TaskState
from baton.errors import UnknownTask
from baton.fleet.clock import StoreClock
from baton.fleet.model import Session, Task
from baton.fleet.rows import task_of
from baton.fleet.tables import Data, Sessions

#: How many events one read of the tail returns at most.
TAIL_PAGE = 2000


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
