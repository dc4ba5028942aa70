"""Death by evidence on PostgreSQL: a session's connection ends, and the others know at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from tests.support.house import INTERVAL_SECONDS, SECOND, House, Member
from tests.support.postgres import PostgresServer
from tests.support.runs import in_a_row, says, wait_until

import baton
from baton.domain.ledger import task_chain
from baton.domain.words import Evidence, TaskState
from baton.fleet.model import Session
from baton.fleet.postgres_store import PostgresStore
from baton.fleet.postgres_watch import ConnectionEvidence
from baton.fleet.store import new_id, open_store

#: Never waited for: what happens sooner happened by evidence.
TTL_SECONDS = 60.0


@dataclass
class Seat:
    """One worker's part in the watch, and what it has heard."""

    house: House
    member: Member
    gone: list[tuple[str, Evidence, bool]] = field(default_factory=list)
    woken: threading.Event = field(default_factory=threading.Event)
    evidence: ConnectionEvidence = field(init=False)

    def __post_init__(self) -> None:
        """Hold the lock of the session."""
        assert isinstance(self.house.store, PostgresStore)
        self.evidence = self.house.store.evidence(
            lambda session_id, how, held, _: self.gone.append((session_id, how, held)),
            self.woken.set,
        )
        self.evidence.hold(self.member.id)

    @property
    def session(self) -> Session:
        """The session as the store has it."""
        found = self.house.store.sessions.get(self.member.id)
        assert found is not None
        return found

    def watch(self, *others: Seat) -> None:
        """Watch those."""
        for other in others:
            self.evidence.watch(other.session)

    def hears_of(self, other: Seat) -> bool:
        """Whether it was told that the other is gone, after it had been seen alive."""
        return (other.member.id, Evidence.CONNECTION, True) in self.gone


@pytest.fixture
def house(database: str) -> Iterator[House]:
    """A house on PostgreSQL, under the server's own clock."""
    with closing(open_store(database, patience_seconds=15.0)) as store:
        yield House(store, store.clock, new_id)


@pytest.fixture
def seat(house: House) -> Iterator[Callable[[], Seat]]:
    """Makes seats, which are given up in the end."""
    with ExitStack() as stack:

        def make() -> Seat:
            seat = Seat(house, house.session(ttl_seconds=TTL_SECONDS))
            stack.callback(seat.evidence.close)
            return seat

        yield make


def test_a_connection_that_ends_is_a_death(seat: Callable[[], Seat]) -> None:
    """Seen by the watcher, who had seen it alive."""
    watcher, victim = seat(), seat()
    watcher.watch(victim)
    victim.watch(watcher)
    wait_until(lambda: seen(watcher, victim) or seen(victim, watcher), "a look at the locks")
    victim.evidence.close()
    wait_until(lambda: watcher.hears_of(victim), "the death")
    assert victim.gone == []


def seen(watcher: Seat, other: Seat) -> bool:
    """Whether the watcher has seen the other's lock."""
    peer = watcher.evidence._peers.get(other.member.id)  # noqa: SLF001 - nobody else has to know
    return peer is not None and peer.seen


def test_the_watcher_itself_is_watched(seat: Callable[[], Seat]) -> None:
    """When it dies another is elected, who tells of it and of whoever comes after."""
    seats = [seat() for _ in range(3)]
    for one in seats:
        one.watch(*(other for other in seats if other is not one))
    for one in seats:
        wait_until(
            lambda one=one: all(seen(one, other) for other in seats if other is not one),  # type: ignore[misc]
            "all seen by all",
        )
    while len(seats) > 1:
        watcher = next(one for one in seats if one.evidence.elected)
        seats.remove(watcher)
        watcher.evidence.close()
        wait_until(lambda w=watcher: any(s.hears_of(w) for s in seats), "the watcher's death")  # type: ignore[misc]
        wait_until(lambda: any(one.evidence.elected for one in seats), "another watcher")
    assert sum(one.evidence.elected for one in seats) == 1


def test_nothing_that_lives_long_keeps_vacuum_from_its_work(
    seat: Callable[[], Seat], database: str
) -> None:
    """Connections are kept and transactions are not: the oldest snapshot moves on."""
    watcher, other = seat(), seat()
    watcher.watch(other)
    wait_until(lambda: seen(watcher, other), "a look at the locks")
    with psycopg.connect(database, autocommit=True) as apart, psycopg.connect(database) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1")
        mark = apart.execute("SELECT pg_current_xact_id()::text").fetchone()
        assert mark is not None

        def moved_on() -> bool:
            # A transaction of its own each time, so that there is something to move on to.
            apart.execute("SELECT pg_current_xact_id()")
            row = apart.execute(
                "SELECT bool_and(age(%s::xid) > age(backend_xmin)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
                mark,
            ).fetchone()
            assert row is not None
            return row[0] is not False

        # A transaction that stays open would be seen.
        assert not moved_on()
        old.rollback()
        wait_until(moved_on, "the last old snapshot")
    assert watcher.evidence.elected or other.evidence.elected


def test_a_session_that_lives_takes_its_lock_again(
    seat: Callable[[], Seat], postgres: PostgresServer
) -> None:
    """A restart of the server drops every lock, and nobody is buried for it."""
    first, second = seat(), seat()
    first.watch(second)
    second.watch(first)
    wait_until(lambda: seen(first, second) or seen(second, first), "a look at the locks")
    postgres.restart()
    watcher, other = first, second
    wait_until(lambda: first.evidence.elected or second.evidence.elected, "a watcher")
    if second.evidence.elected:
        watcher, other = second, first
    wait_until(lambda: seen(watcher, other), "the lock of the other, taken anew")
    assert first.gone == second.gone == []
    other.evidence.close()
    wait_until(lambda: watcher.hears_of(other), "a death after the restart")


def test_a_watcher_that_was_cut_off_buries_nobody_it_has_not_seen_since(
    house: House, seat: Callable[[], Seat], postgres: PostgresServer, database: str
) -> None:
    """What cut its own connection may have cut those of others: their silence decides."""
    watcher = seat()
    with ExitStack() as stack:
        proxy, url = stack.enter_context(postgres.proxy(database))
        far = stack.enter_context(closing(open_store(url, patience_seconds=1.0)))
        victim = Seat(House(far, far.clock, new_id), house.session(ttl_seconds=TTL_SECONDS))
        stack.callback(victim.evidence.close)
        watcher.watch(victim)
        wait_until(lambda: seen(watcher, victim), "a look at the locks")
        before = watcher.evidence._lookout  # noqa: SLF001 - nobody else has to know
        assert before is not None
        # All are cut off at once, the watcher a little earlier; the victim does not come back.
        stack.enter_context(proxy.away(cut=False))
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " ORDER BY pid <> %s",
                (watcher.evidence._anchor.connection.info.backend_pid,),  # noqa: SLF001
            )
        wait_until(
            lambda: watcher.evidence.elected and watcher.evidence._lookout is not before,  # noqa: SLF001
            "the watcher's return",
        )
        # Another comes and goes, which shows that the watcher looks.
        late = seat()
        watcher.watch(late)
        wait_until(lambda: seen(watcher, late), "a look at the locks")
        late.evidence.close()
        wait_until(lambda: late.member.id in heard(watcher), "a death that it may tell of")
        assert victim.member.id not in heard(watcher)


def heard(watcher: Seat) -> list[str]:
    """Whose death the watcher was told of."""
    return [session_id for session_id, _, _ in watcher.gone]


def test_a_session_that_was_never_seen_is_judged_if_nothing_was_restarted_since(
    seat: Callable[[], Seat], house: House
) -> None:
    """It took its lock before it registered; a watcher that comes later sees it without one."""
    ghost = house.session(ttl_seconds=TTL_SECONDS)
    watcher = seat()
    found = house.store.sessions.get(ghost.id)
    assert found is not None
    watcher.evidence.watch(found)
    wait_until(lambda: watcher.gone != [], "the ghost")
    # Nobody had held evidence of its life, so its last heartbeat stays its last sign of life.
    assert watcher.gone == [(ghost.id, Evidence.CONNECTION, False)]


def test_a_task_that_is_submitted_wakes_those_who_wait(
    seat: Callable[[], Seat], house: House
) -> None:
    """And so does one that is given back, and the loss of a session."""
    idle, holder = seat(), seat()
    for act in (
        house.submit,
        lambda: holder.member.drained(holder.member.claim()),
        lambda: house.bury(holder.member),
    ):
        idle.woken.clear()
        act()
        assert idle.woken.wait(20), act


WORKER = """
import sys, threading
import baton
from tests.support.runs import in_a_row, says
def stuck(state):
    print("stuck", flush=True)
    threading.Event().wait()
graph = in_a_row(first=says("first"), stuck=stuck)
with baton.open(sys.argv[1], kind="worker", ttl_seconds=60) as fleet:
    baton.Worker(fleet, {"g": graph}, worker_id="victim", ttl_seconds=60).run()
"""


def test_a_killed_worker_is_succeeded_at_once(database: str) -> None:
    """SIGKILL, and long before a TTL has passed its run goes on elsewhere."""
    root = Path(__file__).parents[2]
    graph = in_a_row(first=says("first"), stuck=says("second"))
    with baton.open(database, kind="worker", ttl_seconds=TTL_SECONDS) as fleet:
        fleet.submit("g", {"seen": []}, task_id="t-1")
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, database], cwd=root, stdout=subprocess.PIPE, text=True
        ) as victim:
            try:
                assert victim.stdout is not None
                assert victim.stdout.readline() == "stuck\n"
                worker = baton.Worker(
                    fleet, {"g": graph}, worker_id="heir", ttl_seconds=TTL_SECONDS, until_idle=True
                )
                heir = threading.Thread(target=worker.run)
                heir.start()
                wait_until(lambda: len(fleet.store.peers()[1]) == 2, "the heir's session")
            finally:
                victim.kill()
        heir.join(20)
        assert fleet.task("t-1").state is TaskState.DONE
        claims = [e for e in fleet.store.chain(task_chain("t-1")) if e.type == "claimed"]
        assert [(event.reason, event.worker_id) for event in claims] == [
            (None, "victim"),
            ("crashed", "heir"),
        ]
        about = claims[1].data
        assert about["evidence"] == "connection"
        assert about["silence_us"] < TTL_SECONDS * SECOND
    assert INTERVAL_SECONDS < TTL_SECONDS
