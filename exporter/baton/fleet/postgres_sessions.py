"""The sessions of a PostgreSQL store: registration, heartbeats, loss.

Each call is one statement that waits for no data write, and where the process has a session none of
them waits for the disk: a crash of the server takes at most the last moments of it, and then
nobody may bury anybody before heartbeats have been seen again.
"""

from __future__ import annotations

import json
from typing import Any

from baton.domain.words import Evidence, SessionState
from baton.fleet.model import Beat, Loss, Session, SessionSpec
from baton.fleet.postgres_pool import Pool
from baton.fleet.postgres_write import PostgresWrite
from baton.fleet.rows import session_of
from baton.fleet.sql import queries
from baton.fleet.write import Write

_SQL = queries("postgres_sessions.sql")


def alive_on(connection: Any) -> list[str]:
    """The workers whose sessions have shown life within their TTL, as a connection sees them."""
    rows = connection.execute(_SQL["alive"], prepare=False).fetchall()
    return [row[0] for row in rows]


class SessionTable:
    """The sessions, over the anchor of this process's own session where it has one."""

    def __init__(self, pool: Pool) -> None:
        """Work through a pool.

        Args:
            pool: that of the data too.
        """
        self._pool = pool

    def _all(self, name: str, parameters: Any = ()) -> list[Any]:
        return self._pool.moment(
            lambda connection, _: connection.execute(_SQL[name], parameters).fetchall()
        )

    def _changed(self, name: str, parameters: Any) -> bool:
        return self._pool.moment(
            lambda connection, _: bool(connection.execute(_SQL[name], parameters).rowcount > 0)
        )

    def _becomes(self, state: SessionState, name: str, session_id: str) -> bool:
        def call(connection: Any, again: bool) -> bool:  # noqa: FBT001 - Pool.retry's signature
            if connection.execute(_SQL[name], (session_id,)).rowcount > 0:
                return True
            # The answer to the first try may have been lost, and not the try itself.
            row = connection.execute(_SQL["session"], (session_id,)).fetchone()
            return again and row is not None and row["state"] == state

        return self._pool.moment(call)

    def start(self, spec: SessionSpec, at: int | None = None) -> None:
        """Register a session.

        Args:
            spec: the session.
            at: when it started, in store time; now by default.
        """
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
            ),
        )

    def heartbeat(self, session_id: str, *, position: int, epoch: int) -> Beat:
        """Renew a session, and with it every lease it holds.

        Args:
            session_id: the session that lives.
            position: the last ledger position this process has seen.
            epoch: the highest epoch this process has been given.
        """
        ((accepted, at_us),) = self._all("heartbeat", (session_id, position, epoch))
        return Beat(accepted=accepted, at_us=at_us)

    def raise_witness(self, session_id: str, epoch: int) -> None:
        """Say, before an epoch is given out, that it will be."""
        self._changed("raise_witness", (epoch, session_id, epoch))

    def lose(self, loss: Loss) -> bool:
        """Declare a session lost; False when it is over already or has just shown life."""
        return self._changed(
            "lose",
            {
                "session": loss.session_id,
                "evidence": Evidence(loss.evidence).value,
                "by": loss.by,
                "last_sign_at": loss.last_sign_at,
                "beat": loss.beat,
            },
        )

    def drain(self, session_id: str) -> bool:
        """Mark a session as taking nothing new."""
        return self._becomes(SessionState.DRAINING, "drain", session_id)

    def stop(self, session_id: str) -> bool:
        """End a session by its own will."""
        return self._becomes(SessionState.STOPPED, "stop", session_id)

    def settle(self, session_id: str) -> None:
        """Nothing is left to claim from this session."""
        self._changed("settle", (session_id,))

    def may_claim(self, write: Write, session_id: str) -> bool:
        """Whether a session lives; it is ``at_rest`` only after this transaction has ended."""
        return self._found(write, "may_claim", session_id)

    def at_rest(self, write: Write, session_id: str) -> bool:
        """Whether an ended session is through with whatever it was still claiming."""
        return self._found(write, "at_rest", session_id)

    @staticmethod
    def _found(write: Write, name: str, session_id: str) -> bool:
        assert isinstance(write, PostgresWrite)
        return write.execute(_SQL[name], (session_id,)).fetchone() is not None

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
        """Forget every position beyond the store's own."""
        del store_id
        self._changed("reset_witness", (position,))
        self._changed("reset_positions", (position,))

    def close(self) -> None:
        """Close the connections, those of the data with them: nothing comes after this."""
        self._pool.close()
