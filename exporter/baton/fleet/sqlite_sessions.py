"""The sessions file: registration, heartbeats, loss. No method waits for the data file."""

from __future__ import annotations

import json
import sqlite3
import threading

from baton.domain.words import Evidence
from baton.fleet.clock import StoreClock
from baton.fleet.model import Beat, Loss, Session, SessionSpec
from baton.fleet.rows import session_of
from baton.fleet.sql import queries
from baton.fleet.sqlite_files import plain_errors
from baton.fleet.write import Write

_SQL = queries("sqlite_sessions.sql")


class SessionsFile:
    """Sessions in a file of their own, so that a heartbeat never waits for a data write."""

    def __init__(self, connection: sqlite3.Connection, clock: StoreClock, url: str) -> None:
        """Wrap an open sessions file.

        Args:
            connection: from ``open_sessions``, or in memory after ``prepare_sessions``.
            clock: the store's clock.
            url: for error messages.
        """
        connection.row_factory = sqlite3.Row
        self._connection = connection
        self._clock = clock
        self._url = url
        self._lock = threading.Lock()

    def _all(self, name: str, parameters: object = ()) -> list[sqlite3.Row]:
        with self._lock, plain_errors(self._url):
            return self._connection.execute(_SQL[name], parameters).fetchall()  # type: ignore[arg-type]

    def _changed(self, name: str, parameters: object) -> bool:
        with self._lock, plain_errors(self._url):
            return self._connection.execute(_SQL[name], parameters).rowcount > 0  # type: ignore[arg-type]

    def start(self, spec: SessionSpec, at: int | None = None) -> None:
        """Register a session.

        Args:
            spec: the session.
            at: when it started, in store time; now by default.
        """
        at = self._clock.now_us() if at is None else at
        self._changed(
            "insert_session",
            (
                spec.session_id,
                spec.worker_id,
                spec.pool,
                spec.kind,
                spec.interval_us,
                spec.ttl_us,
                spec.concurrency,
                json.dumps(spec.graphs),
                spec.version,
                spec.metrics_address,
                spec.host,
                spec.pid,
                spec.start_ticks,
                spec.boot_id,
                spec.pid_namespace,
                spec.lock_path,
                spec.lock_inode,
                at,
                at,
            ),
        )

    def heartbeat(self, session_id: str, *, position: int, epoch: int) -> Beat:
        """Renew a session, and with it every lease it holds.

        Args:
            session_id: the session that lives.
            position: the last ledger position this process has seen.
            epoch: the highest epoch this process has been given.
        """
        at = self._clock.now_us()
        # Begun and committed in one call into SQLite. Rows to fetch (RETURNING) would leave the
        # file locked until this thread has the interpreter again, and a node that keeps it busy
        # would hold up the heartbeats of the whole fleet.
        accepted = self._changed(
            "heartbeat",
            {"session": session_id, "at": at, "position": position, "epoch": epoch},
        )
        return Beat(accepted=accepted, at_us=at)

    def raise_witness(self, session_id: str, epoch: int) -> None:
        """Say, before an epoch is given out, that it will be."""
        self._changed("raise_witness", (epoch, session_id))

    def lose(self, loss: Loss) -> bool:
        """Declare a session lost; False when it is over already or has just shown life."""
        return self._changed(
            "lose",
            {
                "session": loss.session_id,
                "at": self._clock.now_us(),
                "evidence": Evidence(loss.evidence).value,
                "by": loss.by,
                "last_sign_at": loss.last_sign_at,
                "beat": loss.beat,
            },
        )

    def drain(self, session_id: str) -> bool:
        """Mark a session as taking nothing new."""
        return self._changed("drain", (session_id,))

    def stop(self, session_id: str) -> bool:
        """End a session by its own will."""
        return self._changed("stop", {"session": session_id, "at": self._clock.now_us()})

    def settle(self, session_id: str) -> None:
        """Nothing is left to claim from this session."""
        self._changed("settle", (session_id,))

    def may_claim(self, write: Write, session_id: str) -> bool:
        """Whether a session lives; the open transaction keeps out whoever would settle it."""
        del write
        own = self.get(session_id)
        return own is not None and own.live

    def at_rest(self, write: Write, session_id: str) -> bool:
        """The open transaction has waited for every other."""
        del write, session_id
        return True

    def get(self, session_id: str) -> Session | None:
        """One session, or None."""
        rows = self._all("session", (session_id,))
        return session_of(rows[0]) if rows else None

    def live(self, pool: str | None = None) -> list[Session]:
        """The sessions that may hold leases."""
        return [session_of(row) for row in self._all("live", {"pool": pool})]

    def unsettled(self) -> list[Session]:
        """The sessions that ended and may have left tasks behind."""
        return [session_of(row) for row in self._all("unsettled")]

    def recent(self, ended_since_us: int) -> list[Session]:
        """Every live session, and those that ended since a moment of store time."""
        return [session_of(row) for row in self._all("recent", (ended_since_us,))]

    def witness(self) -> tuple[int, int]:
        """The furthest position and the highest epoch anybody has seen."""
        position, epoch = self._all("witness")[0]
        return position or 0, epoch or 0

    def save_witness(self, store_id: str, position: int, epoch: int) -> None:
        """Remember a position and an epoch apart from any session."""
        self._changed("save_witness", {"store": store_id, "position": position, "epoch": epoch})

    def accept_restore(self, store_id: str, position: int) -> None:
        """Belong to this data file, and forget every position beyond its own."""
        self._changed("adopt", (store_id,))
        self._changed("reset_witness", {"position": position})
        self._changed("reset_positions", (position,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
