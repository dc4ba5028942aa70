"""Connections break and servers restart: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tests.support.house import House, assert_ledger_holds
from tests.support.postgres import PostgresServer
from tests.support.proxy import Proxy
from tests.support.runs import State, in_a_row, wait_until

import baton
from baton.domain.ledger import task_chain
from baton.domain.verify import verify
from baton.domain.words import TaskState
from baton.errors import CommitUnknown, ConnectionCut, StoreError, StoreRestored
from baton.fleet.model import Claims
from baton.fleet.store import new_id, open_store

#: Long enough for a busy machine, short enough to be waited out in a test.
PATIENCE_SECONDS = 3.0


@pytest.fixture
def through(postgres: PostgresServer, database: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy, and the URL of a fresh store through it."""
    with postgres.proxy(database) as (proxy, url):
        yield proxy, url


@pytest.fixture
def proxy(through: tuple[Proxy, str]) -> Proxy:
    """What stands between the house and its server."""
    return through[0]


@pytest.fixture
def house(through: tuple[Proxy, str]) -> Iterator[House]:
    """A house whose every word goes through the proxy."""
    store = open_store(through[1], patience_seconds=PATIENCE_SECONDS)
    house = House(store, store.clock, new_id)
    yield house
    assert_ledger_holds(house.events())
    store.close()


# A super-step


def test_a_super_step_whose_answer_is_lost_is_there_once(house: House, proxy: Proxy) -> None:
    """It is sent again, and recognised."""
    house.submit()
    member = house.session()
    claim = member.claim()
    member.put(claim)
    member.park(claim)
    lost = proxy.lose_answer(b"checkpoint")
    step_id = member.put(claim)
    if not lost.is_set():
        # The statement was prepared before, and its text is not sent any more.
        lost = proxy.lose_answer()
        step_id = member.put(claim)
    assert lost.is_set()
    steps = [event.step_id for event in house.store.chain("task:t-1") if event.type == "step"]
    assert steps.count(step_id) == 1
    assert len(steps) == len(set(steps))
    member.put(claim)


def test_a_super_step_whose_request_is_lost_is_sent_again(house: House, proxy: Proxy) -> None:
    """With the pending writes that it carries."""
    house.submit()
    member = house.session()
    claim = member.claim()
    lost = proxy.lose_request()
    member.park(claim)
    member.put(claim)
    assert lost.wait(PATIENCE_SECONDS)
    house.store.data.flush()
    assert house.pending_writes("t-1") == 1
    assert house.types("task:t-1") == ["submitted", "claimed", "step"]


def test_a_super_step_that_nobody_answers_is_sent_again(
    house: House, proxy: Proxy, database: str
) -> None:
    """A connection that swallows every answer is given up after a while."""
    house.submit()
    member = house.session()
    claim = member.claim()
    for _ in range(2):
        # The second is prepared in another way than the first, which has no step behind it.
        member.put(claim)
    thread = threading.Thread(target=member.put, args=(claim,))
    with proxy.silence(cut=False):
        thread.start()
        wait_until(lambda: len(types_on(database)) == 5, "the super-step on the server's side")
        alive = thread.is_alive()
    try:
        assert alive
        # Nothing but the client itself ends its connection.
        wait_until(lambda: not thread.is_alive(), "a connection that is given up")
    finally:
        proxy.cut()
        thread.join()
    assert house.types("task:t-1") == ["submitted", "claimed", "step", "step", "step"]


def types_on(url: str) -> list[str]:
    """The types of the task's events, past the proxy."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT type FROM baton_event WHERE task_id = 't-1' ORDER BY n")
        return [row[0] for row in rows]


# A claim


def test_a_claim_whose_answer_is_lost_is_won(house: House, proxy: Proxy) -> None:
    """The server is asked what became of it."""
    house.submit()
    member = house.session()
    lost = proxy.lose_answer(b"COMMIT")
    claim = member.claim()
    assert lost.is_set()
    assert house.types("task:t-1") == ["submitted", "claimed"]
    member.put(claim)


def test_a_claim_whose_end_never_arrives_is_not_won(house: House, proxy: Proxy) -> None:
    """The task waits, and the next round has it."""
    house.submit()
    member = house.session()
    lost = proxy.lose_request(b"COMMIT")
    with pytest.raises(ConnectionCut):
        member.claims()
    assert lost.is_set()
    assert house.state() is TaskState.PENDING
    assert member.claim().key.epoch == 1


def test_a_claim_that_nobody_can_tell_of_is_handed_over_later(house: House, proxy: Proxy) -> None:
    """The server stays away for longer than anybody waits; the task is not forgotten."""
    house.submit()
    member = house.session()
    lost = proxy.lose_answer(b"COMMIT")
    done = threading.Event()
    raised: list[BaseException] = []

    def claim() -> None:
        try:
            member.claims()
        except StoreError as error:
            raised.append(error)
        done.set()

    thread = threading.Thread(target=claim)
    thread.start()
    assert lost.wait(PATIENCE_SECONDS)
    with proxy.away():
        assert done.wait(3 * PATIENCE_SECONDS)
    thread.join()
    if not raised:
        pytest.fail("the server was asked before it was gone", pytrace=False)
    assert isinstance(raised[0], CommitUnknown)
    won = member.claims().won
    assert [claim.key.epoch for claim in won] == [1]
    member.put(won[0])
    assert member.claims() == Claims()


# A heartbeat, and what else a session says


@pytest.mark.parametrize("trap", ["lose_answer", "lose_request"])
def test_a_heartbeat_survives_its_connection(house: House, proxy: Proxy, trap: str) -> None:
    """It is sent again; twice is as good as once."""
    member = house.session()
    lost = getattr(proxy, trap)()
    assert member.beat().accepted
    assert lost.is_set()


def test_a_session_that_ends_over_a_broken_line_still_says_so(house: House, proxy: Proxy) -> None:
    """Its first try took effect; its tasks are released none the less."""
    house.submit()
    member = house.session()
    member.claim()
    member.beat()
    lost = proxy.lose_answer()
    assert member.stop() == ["t-1"]
    assert lost.is_set()
    assert house.types(f"session:{member.id}") == ["session_started", "session_stopped"]
    assert house.state() is TaskState.PENDING


@pytest.mark.parametrize("how", ["done", "failed", "drained"])
def test_a_run_ends_once_over_a_broken_line(house: House, proxy: Proxy, how: str) -> None:
    """Whether the break comes at the commit or before."""
    for task_id, trap in (("t-1", "lose_answer"), ("t-2", "lose_request")):
        house.submit(task_id)
        member = house.session()
        claim = member.claim()
        assert claim.task_id == task_id
        lost = getattr(proxy, trap)(b"COMMIT")
        getattr(member, how)(claim)
        assert lost.is_set()
        ended = "drained" if how == "drained" else how
        assert house.types(f"task:{task_id}") == ["submitted", "claimed", ended]
        house.store.data.rows("position")
        if how == "drained":
            house.store.cancel(task_id)


def test_a_task_whose_acceptance_is_lost_may_be_submitted_again(house: House, proxy: Proxy) -> None:
    """It is one task."""
    lost = proxy.lose_answer(b"COMMIT")
    house.submit()
    assert lost.is_set()
    house.submit()
    assert house.types("task:t-1") == ["submitted"]


# The whole worker


def steps_of(fleet: baton.Fleet, task_id: str) -> list[str | None]:
    """The super-steps of a task, as the ledger has them."""
    return [e.step_id for e in fleet.store.chain(task_chain(task_id)) if e.type == "step"]


def assert_nothing_lost_or_doubled(fleet: baton.Fleet, tasks: int, graph: Any, nodes: int) -> None:
    """Each task is done, its steps are a line, and the ledger verifies."""
    events: list[Any] = []
    while page := fleet.store.events(events[-1].seq if events else 0):
        events += page
    assert_ledger_holds(events)
    assert verify(events) == []
    for number in range(tasks):
        task_id = f"t-{number}"
        assert fleet.task(task_id).state is TaskState.DONE
        config = {"configurable": {"thread_id": task_id}}
        history = list(fleet.attach(graph).get_state_history(config))  # type: ignore[arg-type]
        assert [one.metadata["step"] for one in history] == list(range(nodes, -2, -1))  # type: ignore[index]
        assert len(set(steps_of(fleet, task_id))) == len(steps_of(fleet, task_id)) == nodes + 2
        said = history[0].values["seen"]
        assert Counter(said) == {f"n{n}": 1 for n in range(nodes)}


@pytest.mark.parametrize("fault", ["restart", "cut", "away"])
def test_workers_live_through_it(
    postgres: PostgresServer, through: tuple[Proxy, str], fault: str
) -> None:
    """In the middle of their runs; they reconnect, and finish what they had begun."""
    proxy, url = through
    nodes, tasks = 6, 4
    at_work, proceed = threading.Semaphore(0), threading.Event()

    def node(name: str) -> Any:
        def body(state: State) -> State:
            del state
            at_work.release()
            proceed.wait(0.05)
            return {"seen": [name]}

        return body

    graph = in_a_row(**{f"n{n}": node(f"n{n}") for n in range(nodes)})
    with baton.open(url, kind="worker", ttl_seconds=PATIENCE_SECONDS) as fleet:
        for number in range(tasks):
            fleet.submit("g", {"seen": []}, task_id=f"t-{number}")
        workers = [
            baton.Worker(
                fleet,
                {"g": graph},
                worker_id=f"w-{number}",
                concurrency=2,
                ttl_seconds=PATIENCE_SECONDS,
                poll_seconds=0.05,
                until_idle=True,
            )
            for number in range(2)
        ]
        threads = [threading.Thread(target=worker.run) for worker in workers]
        for thread in threads:
            thread.start()
        for _ in range(5):
            assert at_work.acquire(timeout=20)
        if fault == "restart":
            postgres.restart()
        elif fault == "cut":
            proxy.cut()
        else:
            with proxy.away():
                threading.Event().wait(PATIENCE_SECONDS / 4)
        proceed.set()
        for thread in threads:
            thread.join(50)
            assert not thread.is_alive()
        assert_nothing_lost_or_doubled(fleet, tasks, graph, nodes)


def test_an_older_copy_is_refused_by_whoever_has_seen_more(
    house: House, proxy: Proxy, database: str
) -> None:
    """A failover to a standby that lacks the last commits, or a restore under living workers."""
    house.submit("t-1")
    house.submit("t-2")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT * FROM baton_event WHERE task_id = 't-2'")
        connection.execute("DELETE FROM baton_event WHERE task_id = 't-2'")
        proxy.cut()
        with pytest.raises(StoreRestored, match=r"its ledger ends at 1, and 2 has been seen"):
            house.store.task("t-1")
        connection.execute("INSERT INTO baton_event SELECT * FROM kept; DROP TABLE kept")
    assert house.store.task("t-1").task_id == "t-1"
