"""Adopting just the lease, in a runtime that somebody already has."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command, interrupt
from tests.support.runs import in_a_row, says

import baton
from baton.domain.ledger import task_chain
from baton.domain.words import Evidence, TaskState
from baton.errors import BadInput, LeaseHeld, LeaseLost, LeaseRequired
from baton.fleet.model import Loss

#: These hold for any store.
BOTH_STORES = True


@pytest.fixture
def fleet(store_url: str) -> Iterator[baton.Fleet]:
    """An application's fleet."""
    with baton.open(store_url) as fleet:
        yield fleet


@pytest.fixture
def other(store_url: str) -> Iterator[baton.Fleet]:
    """Another application's fleet on the same store."""
    with baton.open(store_url) as fleet:
        yield fleet


def test_a_thread_runs_under_a_lease(fleet: baton.Fleet) -> None:
    """The README's three lines, and what the ledger says of them."""
    graph = fleet.attach(in_a_row(a=says("a")))
    with fleet.lease("thread-42") as lease:
        output = graph.invoke({"seen": []}, lease.config, durability="sync")
    assert output == {"seen": ["a"]}
    types = [event.type for event in fleet.store.chain(task_chain("thread-42"))]
    assert types == ["submitted", "claimed", "step", "step", "step", "done"]


def test_a_graph_compiled_by_hand_is_fenced_as_well(fleet: baton.Fleet) -> None:
    """The saver alone is enough for the fence."""
    graph = in_a_row(a=says("a")).compile(checkpointer=fleet.saver())
    with fleet.lease("thread-42") as lease:
        graph.invoke({"seen": []}, lease.config, durability="sync")
    assert fleet.task("thread-42").state is TaskState.DONE


def test_a_write_without_a_lease_is_refused(fleet: baton.Fleet) -> None:
    """Nothing is written; reading stays free."""
    graph = fleet.attach(in_a_row(a=says("a")))
    config = {"configurable": {"thread_id": "thread-42"}}
    with pytest.raises(LeaseRequired, match="no lease for thread 'thread-42'"):
        graph.invoke({"seen": []}, config, durability="sync")  # type: ignore[arg-type]
    assert graph.get_state(config).values == {}  # type: ignore[arg-type]


def test_one_holder_at_a_time(fleet: baton.Fleet, other: baton.Fleet) -> None:
    """The second hears who holds it; afterwards it gets it under a higher epoch."""
    with (
        fleet.lease("t") as lease,
        pytest.raises(LeaseHeld, match="task 't' is held by worker"),
        other.lease("t"),
    ):
        pytest.fail("two holders at once")
    with other.lease("t") as again:
        assert again.epoch == lease.epoch + 1


def test_the_next_run_of_a_thread_is_a_new_run(fleet: baton.Fleet) -> None:
    """A chat thread is leased for every turn."""
    with fleet.lease("t") as first:
        pass
    with fleet.lease("t") as second:
        pass
    assert first.claim.run_id != second.claim.run_id
    assert second.claim.reason is None


def test_a_body_that_raises_fails_the_run(fleet: baton.Fleet) -> None:
    """The error goes on to the caller and is kept with the task."""
    with pytest.raises(ValueError, match="by hand"), fleet.lease("t"):
        raise ValueError("by hand")
    task = fleet.task("t")
    assert (task.state, task.error) == (TaskState.FAILED, "ValueError: by hand")


def test_an_interrupt_leaves_the_thread_interrupted(fleet: baton.Fleet) -> None:
    """And the application answers it under its next lease."""
    graph = fleet.attach(in_a_row(ask=lambda _: {"seen": [interrupt("which?")]}))
    with fleet.lease("t") as lease:
        graph.invoke({"seen": []}, lease.config, durability="sync")
    assert fleet.task("t").state is TaskState.INTERRUPTED
    with fleet.lease("t") as lease:
        output = graph.invoke(Command(resume="this"), lease.config, durability="sync")
    assert output["seen"] == ["this"]
    assert fleet.task("t").state is TaskState.DONE


def test_a_drained_run_goes_on_under_the_next_lease(fleet: baton.Fleet) -> None:
    """An application that shuts down between two steps leaves a run, not a failure."""
    control = RunControl()

    def first(state: object) -> dict[str, list[str]]:
        del state
        control.request_drain("shutdown")
        return {"seen": ["first"]}

    graph = fleet.attach(in_a_row(first=first, second=says("second")))
    with pytest.raises(GraphDrained), fleet.lease("t") as before:
        graph.invoke({"seen": []}, before.config, durability="sync", control=control)
    with fleet.lease("t") as after:
        output = graph.invoke(None, after.config, durability="sync")
    assert output == {"seen": ["first", "second"]}
    assert after.claim.run_id == before.claim.run_id
    assert after.claim.reason == "drained"


def test_a_superseded_holder_is_told(fleet: baton.Fleet, other: baton.Fleet) -> None:
    """Its write is refused and recorded, its next node does not start, and the end says so."""
    started: list[str] = []

    def taken_over(state: object) -> dict[str, list[str]]:
        del state
        session = lease.claim.key.session_id
        assert other.store.bury(Loss(session_id=session, evidence=Evidence.PIDFD))
        with other.lease("t"):
            pass
        return {"seen": ["too late"]}

    graph = fleet.attach(in_a_row(taken_over=taken_over, never=lambda _: started.append("never")))
    with pytest.raises(LeaseLost, match="lease on task 't' at epoch 1 is lost"):  # noqa: SIM117 - the lease must end inside
        with fleet.lease("t") as lease:
            graph.invoke({"seen": []}, lease.config, durability="sync")
    assert started == []
    refusals = [e for e in fleet.store.events() if e.type == "write_refused"]
    assert [event.task_id for event in refusals] == ["t"]
    claims = [e for e in fleet.store.chain(task_chain("t")) if e.type == "claimed"]
    assert [event.reason for event in claims] == [None, "crashed"]


def test_a_workers_task_cannot_be_leased_by_hand(fleet: baton.Fleet) -> None:
    """Two ways to run one task would fight over it."""
    fleet.submit("g", {}, task_id="t")
    with pytest.raises(BadInput, match="task 't' is run by workers"), fleet.lease("t"):
        pytest.fail("leased")


def test_a_forked_child_is_told_to_open_its_own(fleet: baton.Fleet) -> None:
    """A fleet opened before a fork is the parent's: a prefork server opens one per process."""
    read_fd, write_fd = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with fleet.lease("t"):
                words = "leased"
        except BadInput as error:
            words = str(error)
        os.write(write_fd, words.encode())
        os._exit(0)
    os.close(write_fd)
    os.waitpid(child, 0)
    with open(read_fd, encoding="utf-8") as answer:  # noqa: PTH123 - a descriptor, not a path
        assert "opened before a fork; open it in each process" in answer.read()


def test_closing_ends_the_session_as_planned(store_url: str) -> None:
    """Nobody has to wait for a TTL after an application that shut down in order."""
    with baton.open(store_url) as fleet, fleet.lease("t"):
        pass
    with baton.open(store_url) as fleet:
        (session,) = fleet.store.sessions.recent(0)
        assert session.state == "stopped"
