"""The store stands still for longer than a TTL, and nobody is buried for it."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.continuity import Control, assert_continuous
from tests.chaos.harness import TTL_SECONDS, Fleet, OnTrial, wait_until

import baton
from baton.fleet.sqlite_sessions import SessionsFile

#: Longer than the TTL, and than the last heartbeat before it could have carried anybody.
STALL_SECONDS = 1.5 * TTL_SECONDS


@contextmanager
def blocked(path: Path) -> Iterator[None]:
    """Keep every writer out of a database file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def stalled(fleet: Fleet, suffix: str) -> tuple[float, float]:
    """Block a file of the store for a while; returns from when until when, monotonic."""
    with blocked(fleet.folder / f"fleet.db{suffix}"):
        since = time.monotonic()
        wait_until(lambda: time.monotonic() - since > STALL_SECONDS, "the stall is over")
        return since, time.monotonic()


def busy_workers(fleet: Fleet) -> tuple[dict[str, str], list[OnTrial]]:
    """Two workers with two tasks each, that will take them longer than a TTL."""
    tasks = {fleet.submit("pace-slow", f"t-{n}"): "pace-slow" for n in range(4)}
    workers = [fleet.start(name, graphs="pace", concurrency=2) for name in ("w-a", "w-b")]
    for worker in workers:
        wait_until(lambda w=worker: len(w.marks("claim.after")) == 2, f"{worker} has its tasks")  # type: ignore[misc]
        wait_until(lambda w=worker: len(w.marks("hb.after_write")) > 1, f"{worker} may bury")  # type: ignore[misc]
    return tasks, workers


def test_nobody_is_buried_for_a_stall_of_the_sessions(fleet: Fleet, control: Control) -> None:
    """No renewal gets through for two TTLs: workers fence themselves, and start anew after it."""
    tasks, workers = busy_workers(fleet)
    since, until = stalled(fleet, ".sessions")
    fleet.wait_done(*tasks)
    for worker in workers:
        first, *later = fleet.sessions(worker.spec.name)
        # It has doubted its own session and given it up; nobody else has ended it.
        assert first.state == "stopped"
        assert [session.state for session in later] == ["idle"]
        # No node was started between the end of what was surely ours and the end of the stall.
        sure = max(m.at for m in worker.marks("hb.after_write") if m.at < since) + TTL_SECONDS
        starts = [mark.at for mark in worker.marks("step.begin")]
        assert any(since < at < sure for at in starts), "nothing ran during the stall"
        assert [at for at in starts if sure < at < until] == []
    assert {e.type for e in fleet.all_events()} & {"session_lost", "write_refused"} == set()
    assert {reason for t in tasks for reason in fleet.takeovers(t)} == {"heartbeat_lost"}
    assert_continuous(fleet, control, tasks)


def test_nobody_is_buried_for_a_stall_of_the_data(fleet: Fleet, control: Control) -> None:
    """Checkpoints wait, heartbeats do not: everybody keeps what they have."""
    tasks, workers = busy_workers(fleet)
    since, until = stalled(fleet, "")
    fleet.wait_done(*tasks)
    for worker in workers:
        beats = [m.at for m in worker.marks("hb.after_write") if since < m.at < until]
        assert max(after - before for before, after in pairwise(beats)) < TTL_SECONDS
        assert [session.state for session in fleet.sessions(worker.spec.name)] == ["idle"]
    assert {reason for t in tasks for reason in fleet.takeovers(t)} == set()
    assert_continuous(fleet, control, tasks)


def test_a_dead_worker_is_found_after_the_stall(fleet: Fleet, control: Control) -> None:
    """A stall hides nothing for good: who died in it is taken over when it ends."""
    tasks, (victim, _) = busy_workers(fleet)
    with blocked(fleet.folder / "fleet.db.sessions"):
        since = time.monotonic()
        victim.signal(signal.SIGKILL)
        wait_until(lambda: time.monotonic() - since > STALL_SECONDS, "the stall is over")
    fleet.wait_done(*tasks)
    (lost,) = fleet.sessions("w-a")
    assert (lost.state, lost.evidence) == ("lost", "pidfd")
    assert [fleet.sessions("w-b")[0].state] == ["stopped"]
    assert_continuous(fleet, control, tasks)


def test_killed_while_it_registers(fleet: Fleet, control: Control) -> None:
    """A session that dies before it could record its start leaves no impossible trace."""
    task_id = fleet.submit("chain", "t-chain")
    fleet.standby("w-b", graphs="pace")
    with blocked(fleet.folder / "fleet.db"):
        newcomer = fleet.start("w-a")
        wait_until(lambda: len(fleet.sessions("w-a")) == 1, "it is registered")
        newcomer.signal(signal.SIGKILL)
        newcomer.wait_ended()
    wait_until(lambda: fleet.sessions("w-a")[0].state == "lost", "it is lost")
    fleet.start("w-c")
    fleet.wait_done(task_id)
    assert_continuous(fleet, control, {task_id: "chain"})


class Probed(sqlite3.Connection):
    """A connection that asks, after each statement, whether others may write meanwhile."""

    def execute(self, *call: Any) -> sqlite3.Cursor:
        """Run the statement, then try the lock from outside before its caller goes on."""
        cursor = super().execute(*call)
        path = super().execute("PRAGMA database_list").fetchone()[2]
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        return cursor


def test_a_renewal_is_over_before_its_thread_goes_on(fleet: Fleet) -> None:
    """The thread may have to wait for the interpreter, and the whole fleet with it, if not."""
    fleet.standby("w-b")
    (session,) = fleet.sessions("w-b")
    path = fleet.folder / "fleet.db.sessions"
    with closing(sqlite3.connect(path, isolation_level=None, factory=Probed)) as connection:
        sessions = SessionsFile(connection, fleet.store.clock, fleet.url)
        assert sessions.heartbeat(session.spec.session_id, position=0, epoch=0).accepted
        assert sessions.drain(session.spec.session_id)


@pytest.mark.parametrize("suffix", ["", ".sessions"], ids=["data", "sessions"])
def test_a_drain_ends_though_the_store_does_not_answer(
    fleet: Fleet, control: Control, suffix: str
) -> None:
    """SIGTERM is bounded by the drain timeout, whoever may hold the store's locks."""
    task_id = fleet.submit("pace-slow", "t-pace")
    leaving = fleet.start("w-a", graphs="pace", drain_timeout_seconds=0.5)
    wait_until(lambda: len(leaving.marks("ckpt.after_write")) > 5, "it is at work")
    with blocked(fleet.folder / f"fleet.db{suffix}"):
        leaving.signal(signal.SIGTERM)
        assert leaving.wait_ended() == 0
    fleet.start("w-b", graphs="pace")
    fleet.wait_done(task_id)
    # With its checkpoint it could still hand the task over; without, its end is what tells.
    assert fleet.takeovers(task_id) == ["drained" if suffix else "crashed"]
    assert_continuous(fleet, control, {task_id: "pace-slow"})


@pytest.mark.parametrize("suffix", ["", ".sessions"], ids=["data", "sessions"])
def test_a_store_closes_though_it_does_not_answer(fleet: Fleet, suffix: str) -> None:
    """What could still have been remembered is not worth an error at the end."""
    other = baton.open(fleet.url)
    with blocked(fleet.folder / f"fleet.db{suffix}"):
        other.close()
