"""What only PostgreSQL has: many writers at once, frozen transactions, a schema to open."""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import psycopg
import pytest
from tests.support.house import House, ManualClock, Member, assert_ledger_holds
from tests.support.postgres import PostgresServer, house_on, open_here
from tests.support.runs import wait_until

from baton.domain.words import TaskState
from baton.errors import BadInput, BatonError, StoreNewer, StoreUnreachable
from baton.fleet import points
from baton.fleet.model import Claims
from baton.fleet.points import Point
from baton.fleet.postgres_connect import Prepared, connect
from baton.fleet.postgres_store import SCHEMA
from baton.fleet.store import new_id, open_store

#: Short enough to be waited out; nothing here is lost by silence.
PATIENCE_SECONDS = 1.5


@pytest.fixture
def house_and_clock(database: str) -> Iterator[tuple[House, ManualClock]]:
    """A house on PostgreSQL, under a clock that stands still."""
    with house_on(database) as (house, clock):
        yield house, clock
        assert_ledger_holds(house.events())


@pytest.fixture
def past(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection past the store."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


# Opening


def test_a_store_is_made_in_the_schema_that_the_url_leads_to(postgres: PostgresServer) -> None:
    """And in no other; LangGraph's tables are beside Baton's."""
    with postgres.empty_database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA fleet")
        with_path = f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3Dfleet"
        with closing(open_store(with_path)) as store:
            first = store.store_id
            store.submit("t", graph="g", pool="p", input_=("json", b"1"), input_digest="d")
        with closing(open_store(with_path, create=False)) as store:
            assert store.store_id == first
            assert store.task("t").state is TaskState.PENDING
        with psycopg.connect(url) as connection:
            rows = connection.execute(
                "SELECT DISTINCT schemaname FROM pg_tables"
                " WHERE tablename LIKE 'baton%' OR tablename LIKE 'checkpoint%'"
            ).fetchall()
        assert rows == [("fleet",)]


def test_many_may_open_a_new_store_at_once(postgres: PostgresServer) -> None:
    """One of them makes it, the others find it made."""
    ids: list[str] = []

    def open_it(url: str) -> None:
        with closing(open_store(url)) as store:
            ids.append(store.store_id)

    with postgres.empty_database() as url:
        threads = [threading.Thread(target=open_it, args=(url,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_what_cannot_be_opened_says_why(postgres: PostgresServer, database: str) -> None:
    """In one line that names the thing and the mend, and never a password."""
    with postgres.empty_database() as url:
        with pytest.raises(StoreUnreachable, match=r"no Baton store; `baton store migrate` makes"):
            open_store(url, create=False)
        bare = f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3Dnowhere"
        with pytest.raises(StoreUnreachable, match="its search_path leads to no schema"):
            open_store(bare)
    with pytest.raises(StoreUnreachable) as unreachable:
        open_store("postgresql://me:secret@127.0.0.1:1/fleet")
    assert "secret" not in str(unreachable.value)
    assert "cannot open store postgresql://me:***@127.0.0.1:1/fleet" in str(unreachable.value)
    with pytest.raises(BadInput, match="store URL cannot be read"):
        open_store("postgresql://host/name?no_such_option=1")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE baton_meta SET value = '99' WHERE key = 'schema'")
        try:
            with pytest.raises(StoreNewer, match=f"has schema 99, this Baton knows up to {SCHEMA}"):
                open_store(database)
        finally:
            connection.execute(
                "UPDATE baton_meta SET value = %s WHERE key = 'schema'", (str(SCHEMA),)
            )


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker image of a SQLite fleet has no psycopg."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
        return real(name, *rest)

    for name in [name for name in sys.modules if name.startswith("baton.fleet.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInput, match=r"pip install 'langgraph-baton\[postgres\]'"):
        open_store("postgresql://host/name")


# Many writers


def test_a_claimant_passes_by_what_another_is_taking(house: House, database: str) -> None:
    """It does not wait for the other's transaction; it takes the next task."""
    house.submit("t-1")
    house.submit("t-2")
    member = house.session()
    with psycopg.connect(database) as other:
        other.execute("SELECT 1 FROM baton_task WHERE task_id = 't-1' FOR UPDATE")
        assert [claim.task_id for claim in member.claims(limit=2).won] == ["t-2"]
    assert [claim.task_id for claim in member.claims(limit=2).won] == ["t-1"]


def test_a_checkpoint_follows_the_writes_that_a_flush_took_right_before_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a reader would see a super-step whose own writes are yet to come."""
    data: Any = house.store.data
    member = house.session()
    house.submit()
    claim = member.claim()
    member.park(claim)
    order: list[str] = []
    taken, sent = threading.Event(), threading.Event()
    flusher = threading.Thread(target=data.flush)
    flushing, write = data._flushing, data._write  # noqa: SLF001 - the moment lies before the first

    class TakenByTheFlusherFirst:
        def __enter__(self) -> None:
            if threading.current_thread() is not flusher and not taken.is_set():
                flusher.start()
                assert taken.wait(10)
            flushing.acquire()

        def __exit__(self, *_: object) -> None:
            flushing.release()

    def write_late(*arguments: Any, **named: Any) -> None:
        taken.set()
        # Time enough for a checkpoint that does not wait.
        sent.wait(0.5)
        order.append("writes")
        write(*arguments, **named)

    def listen(point: Point, _: str) -> None:
        if point is Point.CKPT_WRITE:
            order.append("checkpoint")
            sent.set()

    monkeypatch.setattr(data, "_flushing", TakenByTheFlusherFirst())
    monkeypatch.setattr(data, "_write", write_late)
    monkeypatch.setattr(points, "listener", listen)
    member.put(claim)
    flusher.join(10)
    assert order == ["writes", "checkpoint"]


def test_a_heartbeat_waits_for_no_data_write(house: House, database: str) -> None:
    """Not even for one of its own session, with its task, its chain and its claim in hand."""
    house.submit()
    member = house.session()
    claim = member.claim()
    with house.store.data.write() as write:
        assert house.store.sessions.may_claim(write, member.id)
        write.fence(claim.key)
        write.own_chain(f"session:{member.id}")
        assert member.beat().accepted
    del database


def test_a_session_is_not_settled_while_it_still_claims(house: House) -> None:
    """Buried in the middle of its claim; what it then takes is not left behind."""
    house.submit()
    frozen, other = house.session("w-1"), house.session("w-2")
    with house.store.data.write() as write:
        assert house.store.sessions.may_claim(write, frozen.id)
        house.bury(frozen)
        assert other.claims(graphs=("another",)) == Claims()
        unsettled = house.store.sessions.unsettled()
        assert [session.spec.session_id for session in unsettled] == [frozen.id]
    assert other.claims(graphs=("another",)) == Claims()
    assert house.store.sessions.unsettled() == []


def test_a_holder_frozen_in_a_transaction_does_not_block_its_own_takeover(
    database: str, past: psycopg.Connection[Any]
) -> None:
    """The server ends what stands still, long before a TTL has passed."""
    with (
        closing(open_store(database, patience_seconds=PATIENCE_SECONDS)) as theirs,
        closing(open_store(database, patience_seconds=PATIENCE_SECONDS)) as ours,
    ):
        house = House(theirs, theirs.clock, new_id)
        house.submit()
        holder = house.session("w-1")
        claim = holder.claim()
        frozen = theirs.data.write()
        frozen.__enter__().fence(claim.key)
        successor = Member(ours, House(ours, ours.clock, new_id).session("w-2").spec)
        house_of_ours = House(ours, ours.clock, new_id)
        house_of_ours.bury(holder)
        assert successor.claims() == Claims()
        wait_until(lambda: successor.claims().won != (), "the end of the frozen transaction")
        with suppress(BatonError):
            frozen.__exit__(None, None, None)
        assert [event.epoch for event in ours.chain("task:t-1")] == [None, 1, 2]
        del past


def test_statements_and_locks_are_bounded(database: str) -> None:
    """All of it below the TTL, on the server and on this side."""
    with closing(open_store(database, patience_seconds=15.0)) as store, store.data.read() as cursor:
        names = ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout")
        found = [cursor.execute(f"SHOW {name}").fetchone()[0] for name in names]
    assert found == ["5s", "5s", "7500ms"]


# Details


def test_text_that_postgresql_cannot_keep_is_kept_readable(house: House) -> None:
    """Somebody's exception may have a NUL in its words."""
    house.submit()
    member = house.session()
    claim = member.claim()
    from baton.domain.words import EventType

    house.store.finish(claim, member.worker_id, EventType.FAILED, {}, "ValueError: a\x00b")
    assert house.store.task("t-1").error == "ValueError: a\N{REPLACEMENT CHARACTER}b"


def test_what_is_notified_under_a_prepared_statement_is_handed_on(
    database: str, past: psycopg.Connection[Any]
) -> None:
    """The library keeps it for whoever asks, and a worker that listens would not be woken."""
    told: list[str] = []
    statement = Prepared(b"baton_one", b"SELECT 1::int8", ())
    with closing(connect(database, database)) as connection:
        connection.add_notify_handler(lambda notify: told.append(notify.payload))
        connection.execute("LISTEN here")
        past.execute("SELECT pg_notify('here', 'news')")
        wait_until(lambda: bool(connection.ask_prepared(statement, []) and told), "the news")
    assert told == ["news"]


def test_counts_hold_under_many_writers(database: str) -> None:
    """Nobody waits for another to count, and nothing is counted twice."""
    with closing(open_here(database)) as store:
        house = House(store, store.clock, new_id)
        members = [house.session(f"w-{n}") for n in range(4)]
        for n in range(40):
            house.submit(f"t-{n}")

        def work(member: Member) -> None:
            while won := member.claims(limit=2).won:
                for claim in won:
                    member.put(claim)
                    member.done(claim)

        threads = [threading.Thread(target=work, args=(member,)) for member in members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.counts() == [("default", "g", "done", 40)]
        assert_ledger_holds(house.events())


# Many at once


def test_a_claim_passes_by_whoever_records_the_loss(
    house: House, past: psycopg.Connection[Any]
) -> None:
    """A loss wakes every claimant; they do not queue for the dead session's chain."""
    dead, heir = house.session("dead"), house.session("heir")
    house.submit()
    dead.claim()
    house.bury(dead)
    chain = f"session:{dead.id}"
    with past.transaction():
        past.execute("SELECT baton_own_chain(%s)", (chain,))
        assert heir.claim().task_id == "t-1"
        assert "session_lost" not in [e.type for e in house.events() if e.chain == chain]
    # It stays to be settled, so the next claimant sees to it.
    assert not heir.claims().won
    assert [e.type for e in house.events() if e.chain == chain][-1] == "session_lost"


def test_a_pool_lends_so_many_connections_and_no_more(
    house: House, past: psycopg.Connection[Any]
) -> None:
    """Who comes later waits; who has one already gets its second."""
    inside: list[int] = []
    go = threading.Event()

    def read() -> None:
        with house.store.data.read():
            inside.append(1)
            go.wait(20)
            with house.store.data.read():
                pass

    readers = [threading.Thread(target=read) for _ in range(12)]
    for reader in readers:
        reader.start()
    wait_until(lambda: len(inside) == 8, "eight readers at once")
    row = past.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'baton' AND query LIKE 'SELECT 1%'"
    ).fetchone()
    assert row == (8,)
    go.set()
    for reader in readers:
        reader.join(20)
    assert len(inside) == 12


# The server's clock


@pytest.mark.parametrize("how", ["lost", "given back", "stopped"])
def test_no_time_is_negative_after_the_servers_clock_stepped_back(
    house: House, clock: ManualClock, how: str
) -> None:
    """Store time is the server's clock: an hour back, whoever held a task is succeeded as ever."""
    house.submit()
    member = house.session("w-1")
    claim = member.claim()
    clock.forward(1)
    assert member.beat().accepted
    clock.forward(-3_600)
    if how == "lost":
        assert house.bury(member)
    elif how == "stopped":
        assert member.stop() == ["t-1"]
    else:
        member.drained(claim)
    after = house.session("w-2").claim()
    assert after.key.epoch == 2
    assert not member.beat().accepted or how == "given back"
    ((data, at),) = [
        (event.data, event.at) for event in house.store.chain("task:t-1") if event.epoch == 2
    ]
    assert data["silence_us"] == 0
    assert data["last_sign_at"] <= data["lost_at"] <= at
