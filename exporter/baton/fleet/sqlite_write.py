"""One open transaction on the data file: the fence, and the ends of the ledger's chains."""

from __future__ import annotations

import sqlite3
from typing import Any

from baton.domain.ledger import GENESIS, canonical_payload, seal, session_chain, task_chain
from baton.domain.transitions import session_after
from baton.domain.words import EventType, SessionState
from baton.errors import LeaseLost
from baton.fleet.model import LeaseKey
from baton.fleet.sql import queries

SQL = queries("sqlite_data.sql")
_FENCE = SQL["fence"]
_FENCE_ONLY = SQL["fence_only"]

#: The last event of a chain, its place and its hash; None where the chain has not begun.
Head = tuple[int, str] | None


#: The state of a session after the events that change it.
_TOLD = {
    EventType.SESSION_STARTED: SessionState.IDLE,
    EventType.SESSION_DRAINING: SessionState.DRAINING,
    EventType.SESSION_STOPPED: SessionState.STOPPED,
    EventType.SESSION_LOST: SessionState.LOST,
}


class Write:
    """One open transaction: the cursor, and the two times that everything in it carries."""

    __slots__ = ("at", "cursor", "seq", "wall")

    def __init__(self, cursor: sqlite3.Cursor, at: int, wall: int) -> None:
        """Take the cursor of a transaction that has just begun.

        Args:
            cursor: inside BEGIN IMMEDIATE.
            at: store time in microseconds.
            wall: wall time in microseconds.
        """
        self.cursor = cursor
        self.at = at
        self.wall = wall
        self.seq = 0

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
            raise LeaseLost(key.task_id, key.epoch)
        return None if row[0] is None else (row[0], row[1])

    def fence_only(self, key: LeaseKey) -> None:
        """``fence`` for a writer that knows the head of the chain already.

        Raises:
            LeaseLost: another epoch or another session holds the task.
        """
        if self.cursor.execute(_FENCE_ONLY, key).fetchone() is None:
            raise LeaseLost(key.task_id, key.epoch)

    def head(self, chain: str) -> Head:
        """The head of a chain, or None where it has not begun."""
        row = self.one("chain_head", (chain,))
        return None if row is None else (row[0], row[1])

    def append(
        self, chain: str, head: Head, type_: EventType, payload: str = "{}", **fields: Any
    ) -> None:
        """Append an event.

        Args:
            chain: the chain it belongs to.
            head: the chain's last event; None begins the chain.
            type_: what happened.
            payload: canonical JSON.
            fields: the correlation fields of ``ledger.seal``.
        """
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

    def append_task(
        self, task_id: str, head: Head, type_: EventType, data: dict[str, Any], **fields: Any
    ) -> None:
        """Append to a task's chain."""
        self.append(
            task_chain(task_id), head, type_, canonical_payload(data), task_id=task_id, **fields
        )

    def append_session(
        self, session_id: str, worker_id: str, type_: EventType, data: dict[str, Any], **more: Any
    ) -> None:
        """Append to a session's chain, unless that cannot follow what the chain has told.

        What a session says of itself may have waited for the write lock while others recorded
        its loss; and one that died before it could say that it started has no life to tell.
        """
        chain = session_chain(session_id)
        told = self.one("session_told", (chain,))
        if session_after(_TOLD[told[0]] if told else None, type_) is None:
            return
        self.append(
            chain,
            self.head(chain),
            type_,
            canonical_payload(data),
            session_id=session_id,
            worker_id=worker_id,
            **more,
        )

    def refuse(self, key: LeaseKey, what: str = "write") -> None:
        """Record on the refused session's chain that it was refused."""
        row = self.one("session_worker", (session_chain(key.session_id),))
        task = self.one("task", (key.task_id,))
        self.append_session(
            key.session_id,
            row[0] if row else "",
            EventType.WRITE_REFUSED,
            {"pool": task["pool"] if task else None, "what": what},
            task_id=key.task_id,
            epoch=key.epoch,
            reason="superseded",
        )
