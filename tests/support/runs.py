"""Graphs that run under leases taken by hand, on a store of a test's own."""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from tests.support.house import TTL_SECONDS, House, Member

from baton.fleet.fleet import Fleet
from baton.fleet.lease import Lease, LiveSession
from baton.fleet.saver import FencedSaver

#: For what should happen soon; never used up by a good run.
DEADLINE_SECONDS = 20.0

Graph = StateGraph[Any, Any, Any, Any]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, and fail in one line if it does not come true."""
    never, deadline = threading.Event(), time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {DEADLINE_SECONDS:g} s: {what}", pytrace=False)
        never.wait(0.002)


class State(TypedDict, total=False):
    """What the graphs of these tests carry."""

    seen: Annotated[list[str], operator.add]
    item: str


def says(name: str) -> Callable[[State], State]:
    """A node that says its name."""

    def node(state: State) -> State:
        del state
        return {"seen": [name]}

    return node


def in_a_row(**nodes: Callable[..., Any]) -> Graph:
    """A graph that runs its nodes one after another."""
    graph: Graph = StateGraph(State)
    before = START
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    graph.add_edge(before, END)
    return graph


def side_by_side(**nodes: Callable[..., Any]) -> Graph:
    """A graph that runs its nodes in one super-step, and one more after them."""
    graph: Graph = StateGraph(State)
    graph.add_node("after", says("after"))
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(START, name)
    graph.add_edge(list(nodes), "after")
    graph.add_edge("after", END)
    return graph


@dataclass
class Runs:
    """A house, and a fleet over its store, whose leases are taken by hand."""

    house: House
    fleet: Fleet
    _leases: list[Lease] = field(default_factory=list)

    @property
    def saver(self) -> FencedSaver:
        """The fenced checkpointer."""
        return self.fleet.saver()

    def lease(self, task_id: str = "t-1", *, worker_id: str = "w-1") -> Lease:
        """Claim a task, submitted if need be, for a new session that never doubts itself."""
        if self.house.store.task_or_none(task_id) is None:
            self.house.submit(task_id)
        member = self.house.session(worker_id)
        return self.hold(member)

    def hold(self, member: Member) -> Lease:
        """Claim the one task there is to claim."""
        session = LiveSession(member.id, member.worker_id)
        session.confirm(float("inf"))
        lease = Lease(self.house.store, member.claim(), session)
        lease.remember()
        self._leases.append(lease)
        return lease

    def supersede(self, lease: Lease) -> Lease:
        """Another worker takes the task over, unknown to the one that holds it."""
        self.house.bury(self.member(lease))
        return self.lease(lease.task_id, worker_id="successor")

    def member(self, lease: Lease) -> Member:
        """The session that carries a lease."""
        found = self.house.store.sessions.get(lease.claim.key.session_id)
        assert found is not None
        return Member(self.house.store, found.spec)

    def forget(self) -> None:
        """Leave nothing to the next test."""
        for lease in self._leases:
            lease.forget()


@contextmanager
def runs_on(house: House) -> Iterator[Runs]:
    """Runs on the store of a house."""
    runs = Runs(house, Fleet(house.store, kind="embedded", ttl_seconds=TTL_SECONDS))
    try:
        yield runs
    finally:
        runs.forget()
