"""What a store does many times a second is found by an index, however long its history is.

Real calls are made on a store with a realistic number of rows, and the store is asked afterwards
what it read to answer them: SQLite for the plan of each statement that was run, PostgreSQL for
its own count of sequential scans, which sees into its functions too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from tests.support.house import House, on_sqlite

from baton.domain.words import Evidence
from baton.fleet.sqlite_sessions import SessionsFile
from baton.fleet.sqlite_store import SqliteStore
from baton.fleet.store import Store, new_id, open_store
from baton.observe.collector import StoreCollector

BOTH_STORES = True

FINISHED = 20_000
WAITING = 400
#: Held by sessions that are long gone from the tables of the living.
HELD = 400

#: These indexes have only what is active, so that reading them whole is reading what is there.
OF_THE_ACTIVE = ("baton_task_held", "baton_task_vacated", "session_live", "session_unsettled")
#: Grows with pools and graphs.
SMALL = ("baton_meta", "baton_task_count", "baton_witness", "witness", "holder", "meta")

_NUMBERS = "WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < {count}) "

_TASKS = """
INSERT INTO baton_task (task_id, pool, graph, state, epoch, session_id, worker_id, run_id,
    submitted_at, ready_at, claimed_at, ended_at, deadline_us)
SELECT '{state}-' || i, 'default', 'g', '{state}', 1, {session}, {session}, 'r', i, i, i, i,
    {deadline}
FROM i
"""

_EVENTS = """
INSERT INTO baton_event (seq, schema_version, chain, n, at, wall, type, task_id, run_id,
    worker_id, session_id, epoch, payload, prev, hash)
SELECT {first} + i, '1.0.0', 'task:{state}-' || i, 0, i, i, 'claimed', '{state}-' || i, 'r',
    'w', 's', 1, '{{}}', '', ''
FROM i
"""

_SESSIONS = """
INSERT INTO {table} (session_id, worker_id, pool, kind, state, interval_us, ttl_us, concurrency,
    graphs, version, host, pid, start_ticks, boot_id, pid_namespace, started_at, beat_at,
    ended_at, settled)
SELECT 'old-' || i, 'w-' || i, 'default', 'worker', 'stopped', 1, 1, 1, '[]', '', '', 1, 1, '',
    1, i, i, i, 1
FROM i
"""


def _rows() -> Iterator[str]:
    first = 0
    for state, count in (("done", FINISHED), ("pending", WAITING), ("active", HELD)):
        held = state == "active"
        numbers = _NUMBERS.format(count=count)
        session = "'gone'" if held else "NULL"
        deadline = "10000000000000000" if held else "NULL"
        yield numbers + _TASKS.format(state=state, session=session, deadline=deadline)
        yield numbers + _EVENTS.format(first=first, state=state)
        first += count


def _fill(store: Store, *, analyzed: bool = True) -> None:
    """Give a store a history, and its planner the figures of it or none, as it has at first."""
    sessions = _NUMBERS.format(count=FINISHED // 4)
    if isinstance(store, SqliteStore):
        data = store.data.connection
        for statement in _rows():
            data.execute(statement)
        _sessions(store).execute(sessions + _SESSIONS.format(table="session"))
        if analyzed:
            data.execute("ANALYZE")
            _sessions(store).execute("ANALYZE")
        return
    with psycopg.connect(store.url, autocommit=True) as connection:
        # One transaction that counts 20,000 times in the same row would take minutes.
        connection.execute("ALTER TABLE baton_task DISABLE TRIGGER USER")
        for statement in _rows():
            connection.execute(statement.encode())
        connection.execute("ALTER TABLE baton_task ENABLE TRIGGER USER")
        connection.execute((sessions + _SESSIONS.format(table="baton_session")).encode())
        connection.execute("SELECT setval('baton_event_seq', (SELECT max(seq) FROM baton_event))")
        connection.execute("VACUUM ANALYZE" if analyzed else "VACUUM")


def _sessions(store: Store) -> sqlite3.Connection:
    assert isinstance(store.sessions, SessionsFile)
    return store.sessions._connection  # noqa: SLF001 - nobody else asks for its statements


def _work(house: House) -> None:
    """One of each thing that a fleet does all the time, a takeover included."""
    victim, heir = house.session("v"), house.session("h")
    deadlines = {"g": 1e10}
    held = victim.claims(limit=3, deadlines_seconds=deadlines).won
    assert len(held) == 3
    victim.park(held[0])
    for claim in held:
        victim.put(claim)
    heir.beat()
    assert house.bury(victim, Evidence.TTL)
    taken = heir.claims(limit=3, deadlines_seconds=deadlines).won
    assert {claim.task_id for claim in taken} == {claim.task_id for claim in held}
    heir.put(taken[0])
    heir.done(taken[0])
    heir.drained(taken[1])
    house.submit("new")
    heir.stop()


def _scrapes(house: House) -> None:
    """What is asked at each scrape; ledger pages included."""
    StoreCollector(house.store, budget_seconds=0.05).collect()


def _scans(url: str, act: Callable[[House], None]) -> list[str]:
    """What was read from end to end while something was done."""
    store = open_store(url)
    house = House(store, store.clock, new_id)
    # Whoever holds these must be there; a claimant otherwise looks for its chain.
    house.execute(
        "UPDATE baton_task SET session_id = ? WHERE state = 'active'", house.session("x").id
    )
    if not isinstance(store, SqliteStore):
        store.close()
        with _counted_scans(url) as found:
            store = open_store(url)
            act(House(store, store.clock, new_id))
            # Its connections say what they did when they end.
            store.close()
        return found
    statements: set[str] = set()
    connections = (store.data.connection, _sessions(store))
    for connection in connections:
        connection.set_trace_callback(statements.add)
    act(house)
    for connection in connections:
        connection.set_trace_callback(None)
    found = [scan for statement in statements for scan in _planned_scans(connections, statement)]
    assert len(statements) > 5
    store.close()
    return found


def _planned_scans(connections: tuple[sqlite3.Connection, ...], statement: str) -> Iterator[str]:
    if not statement.lstrip().startswith(("SELECT", "UPDATE", "INSERT", "DELETE", "WITH")):
        return
    for connection in connections:
        try:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        except sqlite3.OperationalError:
            continue  # It was run on the other file.
        for *_, detail in plan:
            whole = detail.startswith("SCAN ") and "CONSTANT ROW" not in detail
            harmless = any(f"INDEX {name}" in detail for name in OF_THE_ACTIVE)
            if whole and not harmless and not _small(connection, detail.split()[1], statement):
                yield f"{detail}: {statement}"


def _small(connection: sqlite3.Connection, name: str, statement: str) -> bool:
    """Whether a name in a plan is that of something small, or of what the statement has made."""
    alias = any(f"{table} AS {name}" in statement for table in SMALL)
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    return name in SMALL or alias or (known is None and f"baton_task AS {name}" not in statement)


@contextmanager
def _counted_scans(url: str) -> Iterator[list[str]]:
    found: list[str] = []
    before = _counts(url)
    yield found
    found += [name for name, scans in _counts(url).items() if scans > before[name]]


def _counts(url: str) -> dict[str, int]:
    big = ("baton_task", "baton_event", "baton_session", "baton_effect")
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY(%s)",
            (list(big),),
        ).fetchall()
    assert len(rows) == len(big)
    return dict(rows)


def test_what_a_fleet_does_all_the_time_scans_nothing(store_url: str) -> None:
    """Claims, steps, heartbeats, losses, takeovers and scrapes."""
    store = open_store(store_url)
    _fill(store)
    store.close()
    assert _scans(store_url, _work) == []
    assert _scans(store_url, _scrapes) == []


@on_sqlite
def test_nor_does_a_file_that_was_never_analyzed(store_url: str) -> None:
    """Nobody runs ANALYZE on a fleet's file; a server does it by itself."""
    store = open_store(store_url)
    _fill(store, analyzed=False)
    store.close()
    assert _scans(store_url, _work) == []
    assert _scans(store_url, _scrapes) == []


def test_a_scan_would_be_seen(store_url: str) -> None:
    """The same look at a question that no index answers."""
    store = open_store(store_url)
    _fill(store)
    store.close()

    def asks_for_worker(house: House) -> None:
        question = "SELECT count(*) FROM baton_task WHERE worker_id = ?"
        assert house.execute(question, "nobody")[0][0] == 0
        _work(house)

    (found,) = _scans(store_url, asks_for_worker)
    assert "baton_task" in found
