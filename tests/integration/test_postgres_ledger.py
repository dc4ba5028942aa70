"""The ledger that PostgreSQL writes itself: its hashes, and a tail that skips nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.support.house import House, Member, assert_ledger_holds, write_row
from tests.support.postgres import house_on
from tests.support.runs import wait_until

from baton.domain.ledger import FIELDS, Event, task_chain
from baton.domain.words import EventType
from baton.fleet.model import Checkpoint
from baton.fleet.postgres_data import DataTables

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "unit" / "ledger_vectors.json").read_text(encoding="utf-8")
)

APPEND = "SELECT baton_append(%s, baton_now(), 0, 'submitted', 't', 'r', '', '', '', 0, '', '{}')"


@pytest.fixture
def house(database: str) -> Iterator[House]:
    """A house on PostgreSQL, under a clock that stands still."""
    with house_on(database) as (house, _):
        yield house


@pytest.fixture
def server(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection past the store."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@contextmanager
def writing(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A writer in the middle of its transaction, which it ends when the test says so."""
    with psycopg.connect(url) as connection:
        yield connection


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: vector["name"])
def test_an_event_is_hashed_as_agreed(
    server: psycopg.Connection[Any], vector: dict[str, Any]
) -> None:
    """Byte for byte what every other store makes of it."""
    values = [vector["fields"][name] for name in FIELDS]
    encoding = f"baton_encoding({', '.join(['%s'] * len(values))})"
    hashed = "encode(sha256(convert_to(e, 'UTF8')), 'hex')"
    query = f"SELECT e, {hashed} FROM (SELECT {encoding} AS e) AS encoded"  # noqa: S608
    found = server.execute(query, values).fetchone()
    assert found == (vector["encoded"], vector["hash"])


def test_the_hash_of_a_super_step_is_the_stores_own(house: House) -> None:
    """Computed on the server from what was sent, and recomputed here."""
    house.submit()
    member = house.session()
    claim = member.claim()
    for _ in range(3):
        member.put(claim)
    assert house.types("task:t-1") == ["submitted", "claimed", "step", "step", "step"]
    assert_ledger_holds(house.events())


def seqs(events: list[Event]) -> list[int]:
    """Their places in the tail."""
    return [event.seq for event in events]


def test_the_tail_waits_for_a_writer_that_commits_late(house: House, database: str) -> None:
    """Of two writers the one with the lower number commits last; a reader sees it all the same."""
    before = seqs(house.events())
    with writing(database) as slow, writing(database) as quick:
        slow.execute(APPEND, ("task:slow",))
        quick.execute(APPEND, ("task:quick",))
        quick.commit()
        assert [event.type for event in house.store.chain("task:quick")] == ["submitted"]
        assert seqs(house.events()) == before
        slow.commit()
    after = house.events()
    assert [event.chain for event in after[len(before) :]] == ["task:slow", "task:quick"]
    assert seqs(after) == sorted(seqs(after))


def test_the_tail_waits_for_a_super_step_that_commits_late(
    house: House, server: psycopg.Connection[Any], database: str
) -> None:
    """It has its number and waits for a row; whoever numbered later commits first."""
    house.submit()
    member = house.session()
    claim = member.claim()
    before = seqs(house.events())
    channels = (("c", "1", "msgpack", b"x"),)
    late = Checkpoint("", "late", None, 0, "loop", "", b"{}", b"{}", "digest", channels)
    about = (claim.key, claim.run_id, member.worker_id, late)
    step = threading.Thread(target=house.store.data.put, args=about)
    with writing(database) as other, writing(database) as quick:
        # Its channels are written last, after it has taken its number.
        other.execute(
            "INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)"
            " VALUES (%s, '', 'c', '1', 'msgpack', '')",
            (claim.task_id,),
        )
        step.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_until(lambda: server.execute(waiting).fetchone() == (1,), "a super-step that waits")
        quick.execute(APPEND, ("task:quick",))
        quick.commit()
        assert seqs(house.events()) == before
        other.rollback()
        step.join()
    after = house.events()
    assert [event.chain for event in after[len(before) :]] == ["task:t-1", "task:quick"]
    assert seqs(after) == sorted(seqs(after))


def test_a_writer_that_gives_up_holds_nobody(house: House, database: str) -> None:
    """Its number stays unused, and the tail goes on past it."""
    with writing(database) as slow, writing(database) as quick:
        slow.execute(APPEND, ("task:slow",))
        quick.execute(APPEND, ("task:quick",))
        quick.commit()
        slow.rollback()
    assert [event.chain for event in house.events()] == ["task:quick"]


def test_a_writer_that_has_not_written_yet_holds_nobody(house: House, database: str) -> None:
    """However old its transaction is: its numbers are still to come."""
    with writing(database) as old, writing(database) as quick:
        old.execute("SELECT pg_current_xact_id()")
        quick.execute(APPEND, ("task:quick",))
        quick.commit()
        assert [event.chain for event in house.events()] == ["task:quick"]
        old.execute(APPEND, ("task:old",))
        old.commit()
    assert [event.chain for event in house.events()] == ["task:quick", "task:old"]


def test_a_tailer_misses_nothing_of_many_writers(house: House, database: str) -> None:
    """It reads on from where it was while six of them commit in whatever order."""
    writers, each = 6, 40

    def write(number: int) -> None:
        with psycopg.connect(database) as connection:
            for _ in range(each):
                connection.execute(APPEND, (f"task:{number}",))
                connection.execute(APPEND, (f"task:also-{number}",))
                connection.commit()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    found: list[Event] = []
    while True:
        writing_on = any(thread.is_alive() for thread in threads)
        page = house.store.events(found[-1].seq if found else 0)
        found += page
        if not page and not writing_on:
            break
    for thread in threads:
        thread.join()
    assert len(found) == writers * each * 2
    assert found == house.events()
    places: dict[str, int] = {}
    for event in found:
        assert event.n == places.get(event.chain, -1) + 1
        places[event.chain] = event.n


def test_two_writers_of_one_chain_queue(house: House) -> None:
    """Two super-steps of one lease at once are two events in a row."""
    house.submit()
    member = house.session()
    claim = member.claim()
    steps = [Member(house.store, member.spec) for _ in range(4)]
    for number, one in enumerate(steps):
        one._steps = lambda number=number: f"parallel-{number}"  # type: ignore[misc]  # noqa: SLF001
    threads = [threading.Thread(target=one.put, args=(claim,)) for one in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.types("task:t-1")[2:] == ["step"] * 4
    assert_ledger_holds(house.events())


def test_a_super_step_stands_behind_what_it_waited_for(
    house: House, server: psycopg.Connection[Any]
) -> None:
    """It was sent before its holder's effect was committed, and read the head before that."""
    house.submit()
    member = house.session()
    claim = member.claim()
    member.put(claim)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    step = threading.Thread(target=member.put, args=(claim,))
    with house.store.data.write() as write:
        head = write.fence(claim.key)
        step.start()
        wait_until(lambda: server.execute(waiting).fetchone() == (1,), "a super-step that waits")
        about = {"task_id": claim.task_id, "run_id": claim.run_id, "worker_id": member.worker_id}
        write.append(
            task_chain(claim.task_id),
            head,
            EventType.EFFECT,
            session_id=member.id,
            epoch=claim.key.epoch,
            **about,
        )
    step.join()
    assert house.types("task:t-1") == ["submitted", "claimed", "step", "effect", "step"]
    assert server.execute("SELECT count(*) FROM checkpoints").fetchone() == (2,)
    assert_ledger_holds(house.events())


def test_a_super_step_stands_behind_one_that_went_another_way(house: House) -> None:
    """Each connection remembers the end of the chain as it has seen it, and may be behind."""
    house.submit()
    member = house.session()
    claim = member.claim()
    data = house.store.data
    assert isinstance(data, DataTables)
    for _ in range(3):
        member.put(claim)
        with data._pool.connection():  # noqa: SLF001 - the next one has to go over another
            member.put(claim)
    assert house.types("task:t-1")[2:] == ["step"] * 6
    assert_ledger_holds(house.events())


def test_a_pending_write_that_is_there_already_stands(
    house: House, server: psycopg.Connection[Any]
) -> None:
    """The super-step that brings it once more is durable, and once."""
    house.submit()
    member = house.session()
    claim = member.claim()
    for blob in (b"first", b"second"):
        replace, row = write_row(claim.task_id)
        house.store.data.park(claim.key, [(replace, (*row[:-1], blob))])
        member.put(claim)
    assert house.types("task:t-1") == ["submitted", "claimed", "step", "step"]
    assert server.execute("SELECT blob FROM checkpoint_writes").fetchall() == [(b"first",)]
    assert server.execute("SELECT count(*) FROM checkpoints").fetchone() == (2,)
    assert_ledger_holds(house.events())
