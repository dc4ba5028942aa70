"""How soon a dead watcher is replaced, on PostgreSQL: the promise is a second.

One of several workers looks many times a second at whose lock is gone. It is killed with SIGKILL,
time and again, and the time runs until another one holds the watcher's lock.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from contextlib import ExitStack

import psycopg

from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from baton.fleet.postgres_store import PostgresStore
from baton.fleet.postgres_watch import session_key, watcher_key
from baton.prove.local_postgres import local_postgres
from benchmarks.harness import Figure, say
from benchmarks.takeover import wait_for, worker

WORKERS = 8
PROMISED_SECONDS = 1.0

_HOLDERS = """
SELECT classid::bigint << 32 | objid::bigint, pid FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class _Watch:
    """A look at the locks from outside."""

    def __init__(self, fleet: Fleet, connection: psycopg.Connection[tuple[int, int]]) -> None:
        assert isinstance(fleet.store, PostgresStore)
        self._store = fleet.store
        self._connection = connection
        self._key = watcher_key(fleet.store.store_id)

    def holders(self) -> dict[int, int]:
        """The server's process that holds each lock, by its key."""
        return dict(self._connection.execute(_HOLDERS).fetchall())

    def watcher(self) -> int | None:
        """The server's process that serves the elected watcher."""
        return self.holders().get(self._key)

    def process(self) -> int | None:
        """The process of the elected watcher itself: it is where its session's lock is."""
        held = self.holders()
        for session in self._store.sessions.live():
            if held.get(session_key(session.spec.session_id)) == held.get(self._key, -1):
                return session.spec.pid
        return None

    def living(self) -> int:
        """How many sessions hold their lock."""
        held = self.holders()
        return sum(
            session_key(session.spec.session_id) in held for session in self._store.sessions.live()
        )


def _replaced(watch: _Watch) -> float:
    """Kill the watcher; returns the seconds until there is another one."""
    wait_for("a watcher", lambda: watch.process() is not None)
    before, pid = watch.watcher(), watch.process()
    assert pid is not None
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    while watch.watcher() in (None, before):
        if time.perf_counter() - began > 60 * PROMISED_SECONDS:
            raise TimeoutError("another watcher")
    return time.perf_counter() - began


def figures(kills: int) -> list[Figure]:
    """Kill the watcher time and again; what counts is the longest time without one.

    Args:
        kills: how often.
    """
    seconds = []
    with ExitStack() as stack:
        url = stack.enter_context(local_postgres())
        watch = _Watch(
            stack.enter_context(open_fleet(url)),
            stack.enter_context(psycopg.connect(url, autocommit=True)),
        )
        for number in range(WORKERS):
            stack.enter_context(worker(url, f"worker-{number}"))
        for kill in range(kills):
            wait_for(f"{WORKERS} workers", lambda: watch.living() == WORKERS)
            say(f"kill {kill + 1} of {kills}")
            seconds.append(_replaced(watch))
            stack.enter_context(worker(url, f"worker-{WORKERS + kill}"))
    longest = max(seconds)
    return [
        Figure(
            "PostgreSQL: a second / the time until a dead watcher is replaced",
            PROMISED_SECONDS / longest,
            1.0,
            at_most=False,
            detail=f"median {statistics.median(seconds) * 1e3:.0f} ms, max {longest * 1e3:.0f} ms "
            f"of {kills}; {WORKERS} workers",
        )
    ]
