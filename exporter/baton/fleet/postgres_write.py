"""One open transaction on a PostgreSQL store, which has many writers at a time.

What SQLite's one write lock gives for nothing is locked here by name: a task by its row, a
session's chain by an advisory lock, so that no heartbeat ever waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from baton import errors
from baton.domain.words import EventType
from baton.fleet.model import LeaseKey
from baton.fleet.postgres_connect import FenceRefused, plain_errors
from baton.fleet.sql import queries
from baton.fleet.write import Ends, Found, Head, Taken, TaskEvent, Write

SQL = queries("postgres_data.sql")


class PostgresWrite(Write):
    """A cursor inside a transaction at READ COMMITTED."""

    __slots__ = ("_url", "cursor", "xid")

    def __init__(self, cursor: Any, url: str, at: int, wall: int, xid: str) -> None:
        """Take the cursor of a transaction that has just begun.

        Args:
            cursor: inside the transaction.
            url: for error messages.
            at: store time in microseconds.
            wall: wall time of this process in microseconds.
            xid: the transaction's number, by which its outcome can be asked for.
        """
        super().__init__(at, wall)
        self.cursor = cursor
        self.xid = xid
        self._url = url

    def execute(self, statement: str, parameters: Any = ()) -> Any:
        """Run a statement; returns the cursor."""
        with plain_errors(self._url):
            return self.cursor.execute(statement, _storable(parameters))

    def one(self, name: str, parameters: Any = ()) -> Any:
        """The first row of a named query, or None."""
        return self.execute(SQL[name], parameters).fetchone()

    def all(self, name: str, parameters: Any = ()) -> list[Any]:
        """All rows of a named query."""
        found: list[Any] = self.execute(SQL[name], parameters).fetchall()
        return found

    def run(self, name: str, parameters: Any = ()) -> int:
        """Run a named statement; returns the number of rows it changed."""
        return int(self.execute(SQL[name], parameters).rowcount)

    def fence(self, key: LeaseKey) -> Head:
        """The head of the task's chain, if the lease is still the task's own.

        Raises:
            LeaseLost: another epoch or another session holds the task.
        """
        try:
            row = self.one("fence", key)
        except FenceRefused as refused:
            raise errors.LeaseLost(key.task_id, key.epoch) from refused
        self.at = max(self.at, row["at"])
        return None if row["n"] is None else (row["n"], row["hash"])

    def task(self, task_id: str) -> Any:
        """A task's row, locked until the end of this transaction; None if there is none."""
        row = self.one("task_locked", (task_id,))
        self._pass_time()
        return row

    def free_task(self, task_id: str) -> Any:
        """``task``, but None as well while another transaction has it."""
        return self.one("task_free", (task_id,))

    def free_tasks(self, found: Sequence[Found], limit: int) -> list[Any]:
        """Of those that are still as they were found, the first that nobody else is at."""
        tasks, epochs, states = _columns(found, Found)
        return self.all("tasks_free", (tasks, epochs, states, limit))

    def ends(self, task_ids: Sequence[str]) -> dict[str, Ends]:
        """The ends of the chains of tasks that were claimed at least once."""
        if not task_ids:
            return {}
        return {task_id: Ends(*ends) for task_id, *ends in self.all("ends", (list(task_ids),))}

    def take(
        self, session_id: str, worker_id: str, tasks: Sequence[Taken]
    ) -> dict[str, Sequence[Any]]:
        """Give tasks to a session; returns their inputs and the values to resume with."""
        values = (session_id, worker_id, self.at, *_columns(tasks, Taken))
        return {task_id: given for task_id, *given in self.all("take", values)}

    def append_tasks(
        self, type_: EventType, session_id: str, worker_id: str, events: Sequence[TaskEvent]
    ) -> None:
        """Append one event to the chain of each task."""
        shared = (self.at, self.wall, type_.value, worker_id, session_id)
        self.seq = int(self.one("append_tasks", (*shared, *_columns(events, TaskEvent)))[0])

    def held(self, session_id: str) -> list[Any]:
        """The rows of the tasks that a session holds, locked."""
        rows = self.all("held_locked", (session_id,))
        self._pass_time()
        return rows

    def _pass_time(self) -> None:
        # A lock may have been waited for, and what others wrote meanwhile was before us.
        self.at = max(self.at, int(self.one("store_time")[0]))

    def head(self, chain: str) -> Head:
        """Known only where an event is appended: ``baton_append`` reads it itself."""
        del chain
        return None

    def own_chain(self, chain: str) -> None:
        """Let nobody else append to a session's chain until this transaction ends."""
        self.execute(SQL["own_chain"], (chain,))
        self._pass_time()

    def free_chain(self, chain: str) -> bool:
        """``own_chain`` without waiting; returns whether the chain is ours now."""
        return bool(self.one("free_chain", (chain,))[0])

    def append(
        self, chain: str, head: Head, type_: EventType, payload: str = "{}", **fields: Any
    ) -> None:
        """Append an event behind the chain's head as this transaction finds it."""
        del head
        row = self.one(
            "append",
            (
                chain,
                self.at,
                self.wall,
                type_.value,
                fields.get("task_id"),
                fields.get("run_id"),
                fields.get("step_id"),
                fields.get("worker_id"),
                fields.get("session_id"),
                fields.get("epoch"),
                fields.get("reason"),
                payload,
            ),
        )
        self.seq = int(row[0])


def _columns(rows: Sequence[tuple[Any, ...]], of: type[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows of named tuples as one array for each of their fields."""
    return [[row[place] for row in rows] for place, _ in enumerate(of.__annotations__)]


def _storable(parameters: Any) -> Any:
    """PostgreSQL's text has no NUL; the text of somebody's exception may have one."""
    if isinstance(parameters, dict):
        return {name: _without_nul(value) for name, value in parameters.items()}
    return tuple(map(_without_nul, parameters))


def _without_nul(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_without_nul, value))
    return value.replace("\x00", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
