"""The store: one transaction per method, over the tables of SQLite or of PostgreSQL.

The loss of a session is set first; the epoch of a task is raised after, by whoever claims it. A
crash between the two is picked up by the next claimant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from baton.domain.words import EventType, TakeoverOutcome, TakeoverReason, TaskState
from baton.errors import BadInput, LeaseHeld, StoreError, TaskConflict
from baton.fleet import moves
from baton.fleet.claiming import Claiming
from baton.fleet.clock import StoreClock
from baton.fleet.model import (
    Beat,
    Claim,
    LeaseKey,
    Loss,
    Row,
    Session,
    SessionSpec,
    Task,
    Typed,
)
from baton.fleet.rows import task_of
from baton.fleet.tables import Data, Sessions
from baton.fleet.write import Write

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.base import SerializerProtocol

    from baton.fleet.evidence import OnGone
    from baton.fleet.saver import FencedSaver, Leases
    from baton.fleet.watching import Watching


class Store(Claiming, ABC):
    """Everything Baton keeps, behind one method per transaction.

    Attributes:
        serde: what values are written and read through; None for LangGraph's own serializer.
    """

    serde: SerializerProtocol | None = None

    def __init__(
        self,
        data: Data,
        sessions: Sessions,
        clock: StoreClock,
        *,
        url: str,
        store_id: str,
        new_id: Callable[[], str],
    ) -> None:
        """Put the tables together.

        Args:
            data: tasks, ledger and effects.
            sessions: the sessions.
            clock: the store's clock, the same as theirs.
            url: how the store was named.
            store_id: the store's own name.
            new_id: makes run ids; random in production, seeded under simulation.
        """
        super().__init__(data, sessions, clock, url=url, store_id=store_id)
        self._new_id = new_id
        self._met = set()

    @abstractmethod
    def saver(self, leases: Leases, *, auto_lease: bool = False) -> FencedSaver:
        """The fenced checkpointer over LangGraph's own tables in this store.

        Args:
            leases: who is told of refusals.
            auto_lease: lease unleased threads by itself, as conformance tests need it.
        """

    @abstractmethod
    def evidence(self, on_gone: OnGone, on_wake: Callable[[], None]) -> Watching:
        """What one worker knows of its peers' deaths without waiting for their silence.

        Args:
            on_gone: called once for each peer that is gone, from a thread of its own.
            on_wake: called when there may be something to claim, where the store can tell.
        """

    # Sessions

    def start_session(self, spec: SessionSpec) -> Beat:
        """Register a session and record that it started."""
        self.sessions.start(spec)
        with self.data.write() as write:
            write.append_session(
                spec.session_id,
                spec.worker_id,
                EventType.SESSION_STARTED,
                {
                    "host": spec.host,
                    "interval_us": spec.interval_us,
                    "kind": spec.kind,
                    "pid": spec.pid,
                    "pool": spec.pool,
                    "ttl_us": spec.ttl_us,
                    "version": spec.version,
                },
            )
        return self.heartbeat(spec.session_id)

    def heartbeat(self, session_id: str) -> Beat:
        """Renew a session; refused, and final, once it is lost or stopped."""
        return self.sessions.heartbeat(
            session_id, position=self.data.position, epoch=self._epoch_seen
        )

    def note_late(self, session_id: str, worker_id: str, silence_us: int) -> None:
        """Record a heartbeat that came later than the TTL and was still accepted."""
        with self.data.write() as write:
            write.append_session(
                session_id, worker_id, EventType.HEARTBEAT_LATE, {"silence_us": silence_us}
            )

    def bury(self, loss: Loss) -> bool:
        """Declare a session lost; its tasks are claimed by whoever comes first."""
        return self.sessions.lose(loss)

    def drain_session(self, session_id: str, worker_id: str) -> None:
        """Mark a session as taking nothing new."""
        if self.sessions.drain(session_id):
            with self.data.write() as write:
                write.append_session(session_id, worker_id, EventType.SESSION_DRAINING, {})

    def stop_session(
        self, session_id: str, worker_id: str, reason: TakeoverReason, *, cut_off: bool = False
    ) -> list[str]:
        """End a session by its own will and release what it still holds.

        Args:
            session_id: the session.
            worker_id: its worker.
            reason: ``drained`` for a planned end, ``heartbeat_lost`` when it could not renew.
            cut_off: that was for want of the store, so what it held is not suspect.

        Returns:
            The tasks that were released.
        """
        if not self.sessions.stop(session_id):
            return []
        with self.data.write() as write:
            held = write.held(session_id)
            for row in held:
                moves.vacate(write, row, EventType.RELEASED, reason, suspect=not cut_off)
            write.append_session(
                session_id,
                worker_id,
                EventType.SESSION_STOPPED,
                {"released": len(held)},
                reason=reason.value,
            )
        self.sessions.settle(session_id)
        self.sessions.save_witness(self.store_id, self.data.position, self._epoch_seen)
        return [row["task_id"] for row in held]

    # Tasks

    def submit(
        self,
        task_id: str,
        *,
        graph: str,
        pool: str,
        input_: Typed,
        input_digest: str,
    ) -> bool:
        """Accept a task; False when it was accepted before with the same input.

        Raises:
            TaskConflict: the id stands for another graph, pool or input.
        """
        run_id = self._new_id()
        with self.data.write() as write:
            values = (task_id, pool, graph, "pending", 0, run_id, *input_, input_digest)
            if not write.run("insert_task", (*values, write.at, write.at)):
                known = task_of(write.task(task_id))
                _same_task(known, graph=graph, pool=pool, input_digest=input_digest)
                return False
            write.append_task(
                task_id,
                None,
                EventType.SUBMITTED,
                {"external": False, "graph": graph, "input_digest": input_digest, "pool": pool},
                run_id=run_id,
            )
        return True

    def lease(self, task_id: str, *, session_id: str, worker_id: str, pool: str) -> Claim:
        """Lease a thread of somebody's own runtime; it becomes a task if it was none.

        Raises:
            LeaseHeld: a live session holds it.
            BadInput: it is a task that workers run.
        """
        holder = self._holder_to_replace(task_id)
        with self.data.write() as write:
            row = write.task(task_id) or self._adopt(write, task_id, pool)
            task = task_of(row)
            if not task.external:
                raise BadInput(detail=f"task {task_id!r} is run by workers; lease another thread")
            cause = None
            if task.state is TaskState.ACTIVE:
                if holder is None or holder.spec.session_id != task.session_id:
                    raise _held(task)
                moves.record_loss(write, holder)
            if task.state in (TaskState.ACTIVE, TaskState.PENDING):
                cause = moves.cause_of(write, row, task, holder)
            begins = task.state not in (TaskState.ACTIVE, TaskState.PENDING)
            self._epoch_seen = max(self._epoch_seen, task.epoch + 1)
            self.sessions.raise_witness(session_id, self._epoch_seen)
            grant = moves.Grant(task, cause, self._new_id() if begins else task.run_id)
            return moves.claim(write, session_id, worker_id, [grant])[0]

    def _holder_to_replace(self, task_id: str) -> Session | None:
        task = self.task_or_none(task_id)
        if task is None or task.session_id is None:
            return None
        holder = self._known(task.session_id)
        if holder.live:
            raise _held(task)
        return holder

    def _adopt(self, write: Write, task_id: str, pool: str) -> Row:
        run_id = self._new_id()
        values = (task_id, pool, "external", "pending", 1, run_id, None, None, None)
        if write.run("insert_task", (*values, write.at, write.at)):
            write.append_task(
                task_id,
                None,
                EventType.SUBMITTED,
                {"external": True, "graph": "external", "input_digest": None, "pool": pool},
                run_id=run_id,
            )
        row: Row = write.task(task_id)
        return row

    # A lease's own transactions; each raises LeaseLost when the fence refuses

    def resumed(self, claim: Claim, worker_id: str, outcome: TakeoverOutcome, step_id: str) -> None:
        """Record that the state is loaded and the first node may start."""
        with self.data.write() as write:
            head = write.fence(claim.key)
            data = {"outcome": outcome.value}
            self._append(write, claim, worker_id, head, EventType.RESUMED, data, step_id=step_id)

    def finish(
        self,
        claim: Claim,
        worker_id: str,
        type_: EventType,
        data: dict[str, Any],
        error: str | None = None,
    ) -> None:
        """End a run: ``done``, ``failed`` or ``interrupted``. The lease ends with it.

        Args:
            claim: the lease.
            worker_id: its worker.
            type_: how it ended.
            data: the event's payload, digests only.
            error: for people, kept with the task and not in the ledger.
        """
        with self.data.write() as write:
            head = write.fence(claim.key)
            state = TaskState(type_.value).value
            about = {"task": claim.task_id, "at": write.at}
            write.run("finish", {**about, "state": state, "error": error})
            reason = data.get("error_type")
            self._append(write, claim, worker_id, head, type_, data, reason=reason)

    def release(self, claim: Claim, type_: EventType, reason: TakeoverReason) -> None:
        """Give a lease back with the run unfinished: ``drained`` or ``released``."""
        with self.data.write() as write:
            write.fence(claim.key)
            moves.vacate(write, write.task(claim.task_id), type_, reason)

    def effect(self, claim: Claim, worker_id: str, effect_key: str, step_id: str) -> Typed | None:
        """The recorded result of an effect, if there is one; finding it is an event."""
        with self.data.write() as write:
            head = write.fence(claim.key)
            row = write.one("effect", (effect_key,))
            if row is None:
                return None
            data = {"effect_key": effect_key}
            type_ = EventType.EFFECT_DEDUPLICATED
            self._append(write, claim, worker_id, head, type_, data, step_id=step_id)
            return row["result_type"], row["result"]

    def record_effect(
        self, claim: Claim, worker_id: str, effect_key: str, step_id: str, result: Typed
    ) -> None:
        """Record an effect's result; the first one stands."""
        with self.data.write() as write:
            head = write.fence(claim.key)
            if write.one("effect", (effect_key,)) is not None:
                type_ = EventType.EFFECT_DEDUPLICATED
            else:
                type_ = EventType.EFFECT
                about = (effect_key, claim.task_id, claim.key.epoch, claim.key.session_id)
                write.run("insert_effect", (*about, write.at, *result))
            data = {"effect_key": effect_key}
            self._append(write, claim, worker_id, head, type_, data, step_id=step_id)

    @staticmethod
    def _append(
        write: Write,
        claim: Claim,
        worker_id: str,
        head: Any,
        type_: EventType,
        data: dict[str, Any],
        *,
        step_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        write.append_task(
            claim.task_id,
            head,
            type_,
            data,
            run_id=claim.run_id,
            step_id=step_id,
            worker_id=worker_id,
            session_id=claim.key.session_id,
            epoch=claim.key.epoch,
            reason=reason,
        )

    def refused(self, key: LeaseKey) -> None:
        """Record on the refused session's chain that a write of its was refused."""
        with self.data.write() as write:
            write.refuse(key)

    def close(self) -> None:
        """Make everything durable, remember how far it went, and close."""
        try:
            self.data.close()
            # Each heartbeat has said nearly as much, so that a store in trouble can do without.
            with suppress(StoreError):
                self.sessions.save_witness(self.store_id, self.data.position, self._epoch_seen)
        finally:
            self.sessions.close()


def _same_task(task: Task, *, graph: str, pool: str, input_digest: str) -> None:
    ours = {"graph": graph, "pool": pool, "input": input_digest}
    theirs = {"graph": task.graph, "pool": task.pool, "input": task.input_digest}
    for what, value in ours.items():
        if theirs[what] != value:
            raise TaskConflict(task_id=task.task_id, what=what)


def _held(task: Task) -> LeaseHeld:
    return LeaseHeld(
        task_id=task.task_id,
        worker_id=task.worker_id,
        session_id=task.session_id,
        epoch=task.epoch,
    )
