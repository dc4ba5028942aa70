"""How many connections a worker takes, and what becomes of one for which there are none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.support.command import Command
from tests.support.house import House, assert_ledger_holds
from tests.support.runs import in_a_row, wait_until

import baton
from baton.domain.words import TaskState
from baton.errors import BadInput
from baton.fleet import postgres_pool
from baton.fleet.postgres_connect import pool_options
from baton.fleet.postgres_pool import HEADROOM
from baton.fleet.store import new_id, open_store

TASKS = 4

#: Never waited for.
TTL_SECONDS = 60.0

COUNT = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'baton'
"""


@pytest.fixture
def past(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection past the store, which does not count."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def connections(past: psycopg.Connection[Any]) -> int:
    """How many Baton has to this database."""
    row = past.execute(COUNT).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def working(
    url: str, past: psycopg.Connection[Any], nodes: dict[str, Callable[..., Any]]
) -> Iterator[baton.Fleet]:
    """A worker that runs a graph of these nodes on a few tasks, to their end."""
    done = "SELECT count(*) FROM baton_task WHERE state = 'done'"
    with baton.open(url) as client:
        for number in range(TASKS):
            client.submit("g", {"seen": []}, task_id=f"t-{number}")
    with baton.open(url, kind="worker", ttl_seconds=TTL_SECONDS) as fleet:
        worker = baton.Worker(fleet, {"g": in_a_row(**nodes)}, ttl_seconds=TTL_SECONDS)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            # Asked past the fleet, which would take a connection for it.
            wait_until(lambda: past.execute(done).fetchone() == (TASKS,), "the end")
            yield fleet
        finally:
            worker.drain()
            thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(("headroom", "most"), [(HEADROOM, 2), (100_000, 1)])
def test_a_worker_takes_two_connections_or_one_where_there_is_no_room(
    database: str,
    past: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    headroom: int,
    most: int,
) -> None:
    """In its runs and between them; what the server has to keep free decides."""
    monkeypatch.setattr(postgres_pool, "HEADROOM", headroom)
    found: list[int] = []

    def node(state: Any) -> Any:
        del state
        # What was closed a moment ago may still be counted.
        wait_until(lambda: connections(past) <= most, f"{most} connections at most")
        found.append(connections(past))
        return {"seen": ["here"]}

    with working(database, past, {"first": node, "second": node}) as fleet:
        assert connections(past) <= most
        events = fleet.store.events(0)
    assert len(found) == 2 * TASKS
    assert max(found) == most
    assert_ledger_holds(events)
    assert [e.type for e in events if e.task_id].count("step") == 4 * TASKS


@pytest.fixture
def of_few(database: str, past: psycopg.Connection[Any]) -> Iterator[Callable[[int], str]]:
    """The store's URL for a user who may have so many connections."""
    name = f"few_{past.info.dbname}"
    past.execute(
        f"CREATE ROLE {name} LOGIN PASSWORD 'few';"
        f" GRANT ALL ON ALL TABLES IN SCHEMA public TO {name};"
        f" GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}"
    )

    def url(limit: int) -> str:
        past.execute(f"ALTER ROLE {name} CONNECTION LIMIT {limit}")
        parts, about = urlsplit(database), conninfo_to_dict(database)
        place = (
            "" if str(about.get("host", "")).startswith("/") else parts.netloc.rpartition("@")[2]
        )
        return urlunsplit(parts._replace(netloc=f"{name}:few@{place}"))

    yield url
    past.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (name,)
    )
    past.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_worker_with_one_connection_does_all_of_its_work(
    of_few: Callable[[int], str], past: psycopg.Connection[Any]
) -> None:
    """A server that refuses the second one is no reason to stop."""
    with working(of_few(1), past, {"only": lambda state: {"seen": ["here"]}}) as fleet:  # noqa: ARG005
        assert fleet.task("t-0").state is TaskState.DONE


def test_a_worker_for_whom_there_is_none_says_so_in_one_line(
    of_few: Callable[[int], str], command: Command
) -> None:
    """It waits for a moment first; what it says names the mend."""
    words = ("worker", "--graph", "g=baton.prove.demo.review_graph:graph", "--ttl", "1")
    complaint = command(*words, "--store", of_few(0)).complaint
    assert "it has no connection left (too many connections for role" in complaint
    assert complaint.endswith(
        "start fewer workers, or raise its limit (docs/postgresql.md, Connections)"
    )


def test_a_heartbeat_waits_for_no_long_statement(
    database: str, past: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where data has to share the session's own connection."""
    monkeypatch.setattr(postgres_pool, "HEADROOM", 100_000)
    with closing(open_store(database, patience_seconds=TTL_SECONDS)) as store:
        evidence = store.evidence(lambda *_: None, lambda: None)
        evidence.hold(new_id())
        member = House(store, store.clock, new_id).session(ttl_seconds=TTL_SECONDS)
        past.execute("SELECT pg_advisory_lock(1)")
        ended = threading.Event()

        def long() -> None:
            with store.data.read() as cursor:
                cursor.execute("SELECT pg_advisory_lock(1), pg_advisory_unlock(1)")
            ended.set()

        thread = threading.Thread(target=long)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE objid = 1 AND NOT granted"
        wait_until(lambda: past.execute(waiting).fetchone() == (1,), "the long statement")
        wait_until(lambda: connections(past) == 1, "the only connection")
        assert member.beat().accepted
        assert not ended.is_set()
        past.execute("SELECT pg_advisory_unlock(1)")
        thread.join(20)
        assert ended.is_set()
        evidence.close()


def test_the_url_says_how_many() -> None:
    """Within bounds; the rest of it is left to libpq."""
    assert pool_options("postgresql://host/name") == ("postgresql://host/name", 2)
    assert pool_options("postgresql://host/name?connections=4") == ("postgresql://host/name", 4)
    url = "postgresql://host/name?options=-csearch_path%3Da&connections=8&sslmode=require"
    assert pool_options(url) == (url.replace("&connections=8", ""), 8)
    for wrong in ("1", "9", "many", "", "2&connections=3"):
        with pytest.raises(BadInput, match="in the store's URL is no number from 2 to 8"):
            pool_options(f"postgresql://host/name?connections={wrong}")
