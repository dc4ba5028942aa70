"""A store in memory under a clock that stands still, and sessions that act on it by hand."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from baton.domain.ledger import GENESIS, Event, recomputed_hash
from baton.domain.transitions import session_after, task_after
from baton.domain.words import EventType, Evidence, SessionState, TakeoverReason, TaskState
from baton.fleet.clock import StoreClock
from baton.fleet.model import (
    Beat,
    Checkpoint,
    Claim,
    ClaimRequest,
    Claims,
    LeaseKey,
    Loss,
    ParkedWrite,
    SessionSpec,
)
from baton.fleet.sqlite_sessions import SessionsFile
from baton.fleet.sqlite_store import SqliteStore
from baton.fleet.store import Store, memory_store

SECOND = 1_000_000

INTERVAL_SECONDS = 5
TTL_SECONDS = 15

#: For a test that looks into the files of a SQLite store, in a module about both kinds.
on_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


class ManualClock:
    """Store time that moves when a test says so; wall time runs an hour ahead of it."""

    def __init__(self) -> None:
        """Begin at a moment that no test depends on."""
        self._now_us = 1_000 * SECOND

    def now_us(self) -> int:
        """Store time in microseconds."""
        return self._now_us

    def wall_us(self) -> int:
        """Wall time in microseconds."""
        return self._now_us + 3_600 * SECOND

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self._now_us += round(seconds * SECOND)


def numbered(prefix: str) -> Callable[[], str]:
    """Make ids that are the same on every run."""
    numbers = itertools.count(1)
    return lambda: f"{prefix}-{next(numbers)}"


def write_row(task_id: str, channel: str = "value", *, step_id: str = "s-0") -> ParkedWrite:
    """A pending write as the saver hands it over."""
    return False, (task_id, "", step_id, "call-1", "", 0, channel, "null", b"")


@dataclass
class Member:
    """One session of one worker, acting by hand."""

    store: Store
    spec: SessionSpec
    _steps: Callable[[], str] = field(default_factory=lambda: numbered("s"))

    @property
    def id(self) -> str:
        """The session's id."""
        return self.spec.session_id

    @property
    def worker_id(self) -> str:
        """The worker's id."""
        return self.spec.worker_id

    @property
    def state(self) -> SessionState:
        """Its state as the store has it."""
        found = self.store.sessions.get(self.id)
        assert found is not None
        return found.state

    def beat(self) -> Beat:
        """Renew it."""
        return self.store.heartbeat(self.id)

    def request(
        self,
        *,
        limit: int = 1,
        running: int = 0,
        graphs: Iterable[str] = ("g",),
        deadlines_seconds: dict[str, float] | None = None,
        fruitless_max: int = 3,
        avoid_seconds: float = TTL_SECONDS,
    ) -> ClaimRequest:
        """A request of this session."""
        deadlines = deadlines_seconds or {}
        return ClaimRequest(
            session_id=self.id,
            worker_id=self.worker_id,
            pool=self.spec.pool,
            graphs=tuple(graphs),
            limit=limit,
            running=running,
            deadlines_us={graph: round(s * SECOND) for graph, s in deadlines.items()},
            fruitless_max=fruitless_max,
            avoid_us=round(avoid_seconds * SECOND),
        )

    def claims(self, **wanted: object) -> Claims:
        """One round of claiming; see ``request`` for what may be wanted."""
        return self.store.claim(self.request(**wanted))  # type: ignore[arg-type]

    def claim(self, **wanted: object) -> Claim:
        """Claim one task, which has to be there."""
        (won,) = self.claims(**wanted).won
        return won

    def lease(self, task_id: str) -> Claim:
        """Lease a thread of somebody's own runtime."""
        return self.store.lease(
            task_id, session_id=self.id, worker_id=self.worker_id, pool=self.spec.pool
        )

    def put(self, claim: Claim, *, step: int = 0) -> str:
        """Make a super-step durable; returns its id."""
        step_id = self._step()
        blob = json.dumps(step_id).encode()
        self.store.data.put(
            claim.key,
            claim.run_id,
            self.worker_id,
            Checkpoint(
                ns="",
                checkpoint_id=step_id,
                parent_id=None,
                step=step,
                source="loop",
                type="null",
                blob=blob,
                metadata=b"{}",
                digest=hashlib.sha256(blob).hexdigest(),
            ),
        )
        return step_id

    def park(self, claim: Claim) -> None:
        """Leave a pending write to whatever comes next."""
        self.store.data.park(claim.key, [write_row(claim.task_id, step_id=self._step())])

    def _step(self) -> str:
        return f"{self.id}-{self._steps()}"

    def done(self, claim: Claim) -> None:
        """End the run well."""
        self.store.finish(claim, self.worker_id, EventType.DONE, {})

    def failed(self, claim: Claim) -> None:
        """End the run badly."""
        data = {"error_type": "ValueError"}
        self.store.finish(claim, self.worker_id, EventType.FAILED, data, "ValueError: no")

    def interrupted(self, claim: Claim) -> None:
        """Leave the run waiting for an answer."""
        self.store.finish(claim, self.worker_id, EventType.INTERRUPTED, {})

    def drained(self, claim: Claim) -> None:
        """Give the lease back with the run unfinished."""
        self.store.release(claim, EventType.DRAINED, TakeoverReason.DRAINED)

    def stop(
        self, reason: TakeoverReason = TakeoverReason.DRAINED, *, cut_off: bool = False
    ) -> list[str]:
        """End the session by its own will."""
        return self.store.stop_session(self.id, self.worker_id, reason, cut_off=cut_off)


@dataclass
class House:
    """A store and the means to act on it."""

    store: Store
    clock: StoreClock
    _sessions: Callable[[], str] = field(default_factory=lambda: numbered("session"))

    @classmethod
    def in_memory(cls) -> tuple[House, ManualClock]:
        """A fresh store in memory."""
        clock = ManualClock()
        return cls(memory_store(clock, numbered("id")), clock), clock

    def session(
        self,
        worker_id: str = "w-1",
        *,
        pool: str = "default",
        kind: str = "worker",
        ttl_seconds: float = TTL_SECONDS,
    ) -> Member:
        """Start a session."""
        spec = SessionSpec(
            session_id=self._sessions(),
            worker_id=worker_id,
            pool=pool,
            kind=kind,
            interval_us=round(ttl_seconds * SECOND / 3),
            ttl_us=round(ttl_seconds * SECOND),
        )
        self.store.start_session(spec)
        return Member(self.store, spec)

    def submit(
        self, task_id: str = "t-1", *, graph: str = "g", pool: str = "default", value: bytes = b"1"
    ) -> str:
        """Accept a task."""
        digest = hashlib.sha256(value).hexdigest()
        self.store.submit(
            task_id, graph=graph, pool=pool, input_=("json", value), input_digest=digest
        )
        return task_id

    def bury(
        self, member: Member, evidence: Evidence = Evidence.PIDFD, *, beat: int | None = None
    ) -> bool:
        """Declare a session lost."""
        return self.store.bury(Loss(session_id=member.id, evidence=evidence, beat=beat))

    def lose_row(self, member: Member) -> None:
        """Forget a session without a word, as a power cut may."""
        sessions = self.store.sessions
        if isinstance(sessions, SessionsFile):
            connection = sessions._connection  # noqa: SLF001 - nobody else does that
            connection.execute("DELETE FROM session WHERE session_id = ?", (member.id,))
        else:
            self.execute("DELETE FROM baton_session WHERE session_id = ?", member.id)

    def state(self, task_id: str = "t-1") -> TaskState:
        """The state of a task."""
        return self.store.task(task_id).state

    def types(self, chain: str) -> list[str]:
        """The types of a chain's events in their order."""
        return [event.type for event in self.store.chain(chain)]

    def last(self, chain: str) -> Event:
        """The last event of a chain."""
        return self.store.chain(chain)[-1]

    def events(self) -> list[Event]:
        """The whole ledger."""
        found: list[Event] = []
        while page := self.store.events(found[-1].seq if found else 0):
            found += page
        return found

    def pending_writes(self, task_id: str) -> int:
        """How many of a task's pending writes are durable."""
        table = "writes" if isinstance(self.store, SqliteStore) else "checkpoint_writes"
        rows = self.execute(f"SELECT * FROM {table} WHERE thread_id = ?", task_id)  # noqa: S608
        return len(rows)

    def execute(self, statement: str, *values: object) -> list[Any]:
        """Do to the data what no method does.

        Args:
            statement: with SQLite's placeholders.
            values: for the placeholders.
        """
        if not isinstance(self.store, SqliteStore):
            statement = statement.replace("?", "%s")
        with self.store.data.read() as cursor:
            found = cursor.execute(statement, values)
            return list(found.fetchall()) if found.description else []


def key_of(claim: Claim, *, epoch: int | None = None, session_id: str | None = None) -> LeaseKey:
    """A claim's key, or one that differs from it."""
    return LeaseKey(claim.task_id, epoch or claim.key.epoch, session_id or claim.key.session_id)


def assert_ledger_holds(events: Iterable[Event]) -> None:
    """Every chain is dense, linked and truly hashed, and what it tells can have happened."""
    chains: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        chains[event.chain].append(event)
    for chain, found in chains.items():
        assert [event.n for event in found] == list(range(len(found))), chain
        links = [GENESIS, *(event.hash for event in found)]
        assert [event.prev for event in found] == links[:-1], chain
        assert [recomputed_hash(event) for event in found] == links[1:], chain
        if chain.startswith("task:"):
            _assert_possible_task(found)
        else:
            _assert_possible_session(found)


def _assert_possible_task(events: list[Event]) -> None:
    state: TaskState | None = None
    external = bool(events[0].data.get("external"))
    epoch = 0
    for event in events:
        action = event.data.get("action")
        before, state = (
            state,
            task_after(state, EventType(event.type), action=action, external=external),
        )
        assert state is not None, f"{event.type} after {before} on {event.chain}"
        assert (event.epoch or 0) >= epoch, f"{event.chain} goes back to epoch {event.epoch}"
        epoch = event.epoch or epoch


def _assert_possible_session(events: list[Event]) -> None:
    state: SessionState | None = None
    for event in events:
        before, state = state, session_after(state, EventType(event.type))
        assert state is not None, f"{event.type} after {before} on {event.chain}"
