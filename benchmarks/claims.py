"""What a claim costs among a million tasks beside ten thousand.

The tasks are made by SQL in the store's own tables: half of them done, as a store looks that has
been at work for long, and half of them waiting. No commit waits for the disk: that is no longer
in a large store than in a small one, and its moods would hide what the size costs.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg

from baton.fleet.fleet import Fleet
from baton.fleet.fleet import open as open_fleet
from baton.fleet.model import ClaimRequest, SessionSpec
from baton.prove.local_postgres import local_postgres
from benchmarks.harness import NOISE_MAX, Figure, paired, say

SMALL, LARGE = 10_000, 1_000_000
BAR = 1.3

#: Of so many tasks one waits, and the rest is done.
_WAITING = 2

#: Of one measurement; all of them together must not take all that wait of the smaller store.
_CLAIMS = 5

#: In a URL of a PostgreSQL store.
_NO_WAIT = "options=-csynchronous_commit%3Doff"

_COLUMNS = (
    "task_id, pool, graph, state, external, epoch, session_id, worker_id, run_id, input_type,"
    " input, input_digest, submitted_at, ready_at, ended_at"
)
_VALUES = (
    "'{state}-' || i, 'default', 'g', '{state}', 0, {epoch}, {holder}, {holder}, 'run-' || i,"
    " 'null', {blob}, '', i, i, {ended}"
)
_SQLITE = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
INSERT INTO baton_task ({columns}) SELECT {values} FROM n
"""
_POSTGRES = """
INSERT INTO baton_task ({columns}) SELECT {values} FROM generate_series(1, {count}) AS i
"""


def _statements(template: str, blob: str, counts: dict[str, int], sessions: int) -> list[str]:
    return [
        template.format(
            columns=_COLUMNS,
            count=count,
            values=_VALUES.format(
                state=state,
                blob=blob,
                epoch=0 if state == "pending" else 1,
                holder=f"'worker-' || (i % {sessions})" if state == "active" else "NULL",
                ended="i" if state == "done" else "NULL",
            ),
        )
        for state, count in counts.items()
        if count
    ]


def fill(url: str, *, sessions: int = 1, **counts: int) -> None:
    """Put tasks into a store.

    Args:
        url: the store, which is there already.
        sessions: over how many of them, ``worker-0`` and on, the active ones are spread.
        counts: how many tasks of each state.
    """
    if url.startswith("sqlite:"):
        path = url.removeprefix("sqlite:///").partition("?")[0]
        with closing(sqlite3.connect(path)) as file, file:
            for statement in _statements(_SQLITE, "x''", counts, sessions):
                file.execute(statement)
        return
    with psycopg.connect(url, autocommit=True) as connection:
        # A million changes of one row in one transaction are not what the counts are made for.
        connection.execute("ALTER TABLE baton_task DISABLE TRIGGER baton_task_inserted")
        for statement in _statements(_POSTGRES, "''::bytea", counts, sessions):
            connection.execute(statement.encode())
        connection.execute("ALTER TABLE baton_task ENABLE TRIGGER baton_task_inserted")
        connection.execute(
            "INSERT INTO baton_task_count SELECT pool, graph, state, 0, count(*) FROM baton_task"
            " GROUP BY pool, graph, state"
        )
        connection.execute("VACUUM ANALYZE baton_task, baton_task_count")


@contextmanager
def postgres_databases(names: tuple[str, ...]) -> Iterator[list[str]]:
    """The URLs of databases of these names on one server."""
    with local_postgres() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            for name in names:
                connection.execute(f"CREATE DATABASE {name}".encode())
        yield [url.replace("/postgres?", f"/{name}?") for name in names]


def _fill(fleet: Fleet, count: int) -> None:
    fill(fleet.store.url, pending=count // _WAITING, done=count - count // _WAITING)


def _claims(fleet: Fleet, name: str) -> Callable[[], None]:
    """Claim one task after another, by a session of its own."""
    store = fleet.store
    store.start_session(
        SessionSpec(
            session_id=name,
            worker_id=name,
            pool="default",
            kind="worker",
            interval_us=5_000_000,
            ttl_us=600_000_000,
        )
    )
    request = ClaimRequest(
        session_id=name, worker_id=name, pool="default", graphs=("g",), limit=1, running=0
    )

    def run() -> None:
        for _ in range(_CLAIMS):
            assert len(store.claim(request).won) == 1

    return run


def _figure(kind: str, small: Fleet, large: Fleet, rounds: int) -> Figure:
    base, candidate = _claims(small, "small"), _claims(large, "large")
    base()
    candidate()
    result = paired(base, candidate, rounds)
    return Figure(
        f"{kind}: claim at {LARGE:,} tasks / at {SMALL:,}",
        result.wall,
        BAR,
        at_most=True,
        detail=f"{result.base_wall / _CLAIMS * 1e6:.0f} µs a claim, each against itself "
        f"{result.wall_noise:.1%}",
        void=result.wall_noise > NOISE_MAX,
    )


def figures(rounds: int) -> list[Figure]:
    """Claims one by one, on both stores."""
    found = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="baton-bench-")))
        fleets = []
        for count in (SMALL, LARGE):
            say(f"SQLite: {count:,} tasks")
            fleets.append(
                stack.enter_context(open_fleet(f"sqlite:///{folder}/{count}.db?synchronous=off"))
            )
            _fill(fleets[-1], count)
        found.append(_figure("SQLite", fleets[0], fleets[1], rounds))
    with ExitStack() as stack:
        urls = stack.enter_context(postgres_databases(("small", "large")))
        fleets = []
        for count, url in zip((SMALL, LARGE), urls, strict=True):
            say(f"PostgreSQL: {count:,} tasks")
            fleets.append(stack.enter_context(open_fleet(f"{url}&{_NO_WAIT}")))
            _fill(fleets[-1], count)
        found.append(_figure("PostgreSQL", fleets[0], fleets[1], rounds))
    return found
