"""One open transaction on a store's tables: named statements, the fence, the ends of the chains.

What a store does with tasks and sessions is written once, against this; each kind of store says
how its statements are run, how a lease is checked and how an event is appended.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from baton.domain.ledger import canonical_payload, session_chain, task_chain
from baton.domain.transitions import session_after
from baton.domain.words import EventType, SessionState
from baton.fleet.model import LeaseKey

#: The last event of a chain, its place and its hash; None where the chain has not begun.
Head = tuple[int, str] | None


#: The state of a session after the events that change it.
_TOLD = {
    EventType.SESSION_STARTED: SessionState.IDLE,
    EventType.SESSION_DRAINING: SessionState.DRAINING,
    EventType.SESSION_STOPPED: SessionState.STOPPED,
    EventType.SESSION_LOST: SessionState.LOST,
}


class Found(NamedTuple):
    """A task as a look from outside the transaction had it."""

    task_id: str
    epoch: int
    state: str


class Ends(NamedTuple):
    """The ends of a task's chain.

    Attributes:
        at: store time of the last event.
        work: the type of the last durable work, or of the claim if there was none since.
        work_at: its store time.
    """

    at: int
    work: str
    work_at: int


class Taken(NamedTuple):
    """What a claim makes of a task's row."""

    task_id: str
    run_id: str
    fruitless: int
    deadline_us: int | None


class TaskEvent(NamedTuple):
    """An event of a task's chain, and the fields that all events of a batch do not share."""

    task_id: str
    run_id: str
    epoch: int
    reason: str | None
    payload: str


class Write(ABC):
    """One open transaction, and the two times that everything in it carries.

    Attributes:
        at: store time in microseconds.
        wall: wall time of this process in microseconds.
        seq: the place in the tail of the last event that was appended.
        outcome: what the caller will answer with once this is committed, for a store whose
            answer to the commit may be lost on its way.
    """

    __slots__ = ("at", "outcome", "seq", "wall")

    def __init__(self, at: int, wall: int) -> None:
        """Take the times of a transaction that has just begun."""
        self.at = at
        self.wall = wall
        self.seq = 0
        self.outcome: object = None

    @abstractmethod
    def one(self, name: str, parameters: Any = ()) -> Any:
        """The first row of a named query, or None."""

    @abstractmethod
    def all(self, name: str, parameters: Any = ()) -> list[Any]:
        """All rows of a named query."""

    @abstractmethod
    def run(self, name: str, parameters: Any = ()) -> int:
        """Run a named statement; returns the number of rows it changed."""

    @abstractmethod
    def fence(self, key: LeaseKey) -> Head:
        """The head of the task's chain, if the lease is still the task's own.

        Raises:
            LeaseLost: another epoch or another session holds the task.
        """

    @abstractmethod
    def task(self, task_id: str) -> Any:
        """A task's row, which nobody else changes until this transaction ends; None if none."""

    @abstractmethod
    def free_task(self, task_id: str) -> Any:
        """``task``, but None as well while another transaction has it: for who need not wait."""

    @abstractmethod
    def free_tasks(self, found: Sequence[Found], limit: int) -> list[Any]:
        """Of those that are still as they were found, the first ones; inputs are left out.

        Args:
            found: in the order of preference.
            limit: how many at most; nobody else changes them until this transaction ends.
        """

    @abstractmethod
    def ends(self, task_ids: Sequence[str]) -> dict[str, Ends]:
        """The ends of the chains of tasks that were claimed at least once."""

    @abstractmethod
    def take(
        self, session_id: str, worker_id: str, tasks: Sequence[Taken]
    ) -> dict[str, Sequence[Any]]:
        """Give tasks to a session, each under a new epoch.

        Returns:
            By task, the input and the value to resume with, each as its type and its bytes.
        """

    @abstractmethod
    def append_tasks(
        self, type_: EventType, session_id: str, worker_id: str, events: Sequence[TaskEvent]
    ) -> None:
        """Append one event to the chain of each task."""

    @abstractmethod
    def held(self, session_id: str) -> list[Any]:
        """The rows of the tasks that a session holds, each of them as ``task`` gives it."""

    @abstractmethod
    def head(self, chain: str) -> Head:
        """The head of a chain; None where it has not begun, or ``append`` finds it by itself."""

    @abstractmethod
    def own_chain(self, chain: str) -> None:
        """Let nobody else append to a session's chain until this transaction ends."""

    @abstractmethod
    def free_chain(self, chain: str) -> bool:
        """``own_chain`` without waiting; returns whether the chain is ours now."""

    @abstractmethod
    def append(
        self, chain: str, head: Head, type_: EventType, payload: str = "{}", **fields: Any
    ) -> None:
        """Append an event.

        Args:
            chain: the chain it belongs to.
            head: the chain's last event; None begins the chain.
            type_: what happened.
            payload: canonical JSON.
            fields: the correlation fields of ``ledger.seal``.
        """

    def append_task(
        self, task_id: str, head: Head, type_: EventType, data: dict[str, Any], **fields: Any
    ) -> None:
        """Append to a task's chain."""
        self.append(
            task_chain(task_id), head, type_, canonical_payload(data), task_id=task_id, **fields
        )

    def append_session(
        self, session_id: str, worker_id: str, type_: EventType, data: dict[str, Any], **more: Any
    ) -> None:
        """Append to a session's chain, unless that cannot follow what the chain has told.

        What a session says of itself may have waited for the write lock while others recorded
        its loss; and one that died before it could say that it started has no life to tell.
        """
        chain = session_chain(session_id)
        self.own_chain(chain)
        told = self.one("session_told", (chain,))
        if session_after(_TOLD[told[0]] if told else None, type_) is None:
            return
        self.append(
            chain,
            self.head(chain),
            type_,
            canonical_payload(data),
            session_id=session_id,
            worker_id=worker_id,
            **more,
        )

    def refuse(self, key: LeaseKey, what: str = "write") -> None:
        """Record on the refused session's chain that it was refused."""
        row = self.one("session_worker", (session_chain(key.session_id),))
        task = self.one("task", (key.task_id,))
        self.append_session(
            key.session_id,
            row[0] if row else "",
            EventType.WRITE_REFUSED,
            {"pool": task["pool"] if task else None, "what": what},
            task_id=key.task_id,
            epoch=key.epoch,
            reason="superseded",
        )
