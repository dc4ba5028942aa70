"""One open transaction on the data file of a SQLite store, which has one writer at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import islice
from typing import Any

from baton import errors
from baton.domain.ledger import GENESIS, seal, task_chain
from baton.domain.words import EventType
from baton.fleet.model import LeaseKey
from baton.fleet.sql import queries
from baton.fleet.write import Ends, Found, Head, Taken, TaskEvent, Write

SQL = queries("sqlite_data.sql")
_FENCE = SQL["fence"]
_FENCE_ONLY = SQL["fence_only"]


class SqliteWrite(Write):
    """A cursor inside BEGIN IMMEDIATE: whatever it reads stays as it is until the end."""

    __slots__ = ("cursor",)

    def __init__(self, cursor: sqlite3.Cursor, at: int, wall: int) -> None:
        """Take the cursor of a transaction that has just begun.

        Args:
            cursor: inside BEGIN IMMEDIATE.
            at: store time in microseconds.
            wall: wall time in microseconds.
        """
        super().__init__(at, wall)
        self.cursor = cursor

    def one(self, name: str, parameters: Any = ()) -> Any:
        """The first row of a named query, or None."""
        return self.cursor.execute(SQL[name], parameters).fetchone()

    def all(self, name: str, parameters: Any = ()) -> list[Any]:
        """All rows of a named query."""
        return self.cursor.execute(SQL[name], parameters).fetchall()

    def run(self, name: str, parameters: Any = ()) -> int:
        """Run a named statement; returns the number of rows it changed."""
        return self.cursor.execute(SQL[name], parameters).rowcount

    def fence(self, key: LeaseKey) -> Head:
        """The head of the task's chain, if the lease is still the task's own.

        Raises:
            LeaseLost: another epoch or another session holds the task.
        """
        row = self.cursor.execute(_FENCE, key).fetchone()
        if row is None:
            raise errors.LeaseLost(key.task_id, key.epoch)
        return None if row[0] is None else (row[0], row[1])

    def fence_only(self, key: LeaseKey) -> None:
        """``fence`` for a writer that knows the head of the chain already.

        Raises:
            LeaseLost: another epoch or another session holds the task.
        """
        if self.cursor.execute(_FENCE_ONLY, key).fetchone() is None:
            raise errors.LeaseLost(key.task_id, key.epoch)

    def task(self, task_id: str) -> Any:
        """A task's row; there is no other writer to change it."""
        return self.one("task", (task_id,))

    free_task = task

    def free_tasks(self, found: Sequence[Found], limit: int) -> list[Any]:
        """Of those that are still as they were found, the first ones."""
        rows = (self.one("task_as_found", one) for one in found)
        return list(islice((row for row in rows if row is not None), limit))

    def ends(self, task_ids: Sequence[str]) -> dict[str, Ends]:
        """The ends of the chains of tasks that were claimed at least once."""
        return {task_id: self._ends(task_chain(task_id)) for task_id in task_ids}

    def _ends(self, chain: str) -> Ends:
        work = self.one("last_work", (chain,))
        return Ends(self.one("chain_head", (chain,))["at"], work["type"], work["at"])

    def take(
        self, session_id: str, worker_id: str, tasks: Sequence[Taken]
    ) -> dict[str, Sequence[Any]]:
        """Give tasks to a session; returns their inputs and the values to resume with."""
        given = {}
        shared = {"session": session_id, "worker": worker_id, "at": self.at}
        for task in tasks:
            self.run("claim", shared | task._asdict())
            given[task.task_id] = self.one("given", (task.task_id,))
        return given

    def append_tasks(
        self, type_: EventType, session_id: str, worker_id: str, events: Sequence[TaskEvent]
    ) -> None:
        """Append one event to the chain of each task."""
        for event in events:
            chain = task_chain(event.task_id)
            self.append(
                chain,
                self.head(chain),
                type_,
                event.payload,
                task_id=event.task_id,
                run_id=event.run_id,
                epoch=event.epoch,
                reason=event.reason,
                session_id=session_id,
                worker_id=worker_id,
            )

    def held(self, session_id: str) -> list[Any]:
        """The rows of the tasks that a session holds."""
        return self.all("held", (session_id,))

    def head(self, chain: str) -> Head:
        """The head of a chain, or None where it has not begun."""
        row = self.one("chain_head", (chain,))
        return None if row is None else (row[0], row[1])

    def own_chain(self, chain: str) -> None:
        """There is no other writer to append to it."""

    def free_chain(self, chain: str) -> bool:
        """Whoever writes has everything to itself."""
        del chain
        return True

    def append(
        self, chain: str, head: Head, type_: EventType, payload: str = "{}", **fields: Any
    ) -> None:
        """Append an event; see ``Write.append``."""
        n, prev = (head[0] + 1, head[1]) if head else (0, GENESIS)
        row = seal(
            chain=chain,
            n=n,
            at=self.at,
            wall=self.wall,
            type=type_,
            prev=prev,
            payload=payload,
            **fields,
        )
        self.cursor.execute(SQL["insert_event"], row)
        self.seq = self.cursor.lastrowid or 0
