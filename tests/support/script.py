"""Ledgers written by hand, as a store would write them, for whatever reads ledgers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from baton.domain.ledger import (
    GENESIS,
    Event,
    canonical_payload,
    event_from_row,
    recomputed_hash,
    seal,
    session_chain,
    task_chain,
)
from baton.domain.words import EventType, Evidence, TakeoverOutcome, TakeoverReason

_E = EventType
_R = TakeoverReason

MS = 1_000
SECOND = 1_000_000

#: Wall time runs an hour ahead of store time, so that the two cannot be mistaken.
WALL_AHEAD = 3_600 * SECOND


@dataclass
class Held:
    """What a script remembers of a task."""

    run_id: str
    pool: str
    graph: str
    external: bool
    epoch: int = 0
    worker: str | None = None
    session: str | None = None
    parent: dict[str, str] = field(default_factory=dict)
    vacated_at: int | None = None
    last: tuple[str | None, str | None, int] = (None, None, 0)


class Script:
    """Writes the events of a small fleet; each call is one event unless it says otherwise."""

    def __init__(self) -> None:
        """Begin with an empty ledger at a moment that no test depends on."""
        self.events: list[Event] = []
        self.at = 1_700_000_000 * SECOND
        self._tasks: dict[str, Held] = {}
        self._sessions: dict[str, str] = {}
        self._steps = 0

    def forward(self, microseconds: int) -> Script:
        """Let time pass."""
        self.at += microseconds
        return self

    def add(
        self, chain: str, type_: EventType, data: dict[str, Any] | None = None, **ids: Any
    ) -> Event:
        """Append any event."""
        before = [event for event in self.events if event.chain == chain]
        row = seal(
            chain=chain,
            n=len(before),
            at=self.at,
            wall=self.at + WALL_AHEAD,
            type=type_,
            prev=before[-1].hash if before else GENESIS,
            payload=canonical_payload(data or {}),
            **ids,
        )
        event = event_from_row((len(self.events) + 1, *row))
        self.events.append(event)
        return event

    # Sessions

    def session(self, worker: str, *, pool: str = "default") -> Event:
        """A worker begins a session, after which its name stands for that session."""
        session = f"{worker}-s{1 + sum(e.type == _E.SESSION_STARTED for e in self.events)}"
        self._sessions[worker] = session
        data = {
            "host": "host",
            "interval_us": 5 * SECOND,
            "kind": "worker",
            "pid": 7,
            "pool": pool,
            "ttl_us": 15 * SECOND,
            "version": "1.2.0",
        }
        return self._on_session(worker, _E.SESSION_STARTED, data)

    def lost(
        self, worker: str, evidence: Evidence = Evidence.PIDFD, *, detect_us: int = 0
    ) -> Event:
        """A session is declared lost now; its last sign of life lies ``detect_us`` back."""
        data = {
            "evidence": evidence.value,
            "last_sign_at": self.at - detect_us,
            "lost_at": self.at,
            "silence_us": detect_us,
        }
        return self._on_session(worker, _E.SESSION_LOST, data, reason=evidence.value)

    def late(self, worker: str, silence_us: int) -> Event:
        """A heartbeat comes late."""
        return self._on_session(worker, _E.HEARTBEAT_LATE, {"silence_us": silence_us})

    def draining(self, worker: str) -> Event:
        """A session takes nothing new."""
        return self._on_session(worker, _E.SESSION_DRAINING)

    def stopped(self, worker: str, reason: TakeoverReason = _R.DRAINED) -> list[Event]:
        """A session ends and releases what it holds: several events."""
        session = self._sessions[worker]
        held = [task for task, about in self._tasks.items() if about.session == session]
        events = [self._leave(task, _E.RELEASED, reason) for task in held]
        data = {"released": len(held)}
        return [*events, self._on_session(worker, _E.SESSION_STOPPED, data, reason=reason.value)]

    def refused(self, task: str, worker: str, epoch: int, *, pool: str = "default") -> Event:
        """A late write is refused."""
        data = {"pool": pool, "what": "write"}
        ids = {"task_id": task, "epoch": epoch, "reason": "superseded"}
        return self._on_session(worker, _E.WRITE_REFUSED, data, **ids)

    def _on_session(
        self, worker: str, type_: EventType, data: dict[str, Any] | None = None, **ids: Any
    ) -> Event:
        session = self._sessions[worker]
        return self.add(
            session_chain(session), type_, data, worker_id=worker, session_id=session, **ids
        )

    # Tasks

    def submit(
        self, task: str = "t-1", *, pool: str = "default", graph: str = "g", external: bool = False
    ) -> Event:
        """A task is accepted."""
        self._tasks[task] = about = Held(f"{task}-r1", pool, graph, external)
        data = {"external": external, "graph": graph, "input_digest": "d", "pool": pool}
        return self._on_task(task, _E.SUBMITTED, data, run_id=about.run_id)

    def claim(
        self,
        task: str,
        worker: str,
        reason: TakeoverReason | None = None,
        *,
        detect_us: int = 0,
        claim_us: int = 0,
        evidence: Evidence | None = None,
    ) -> Event:
        """A session claims a task now: ``claim_us`` after the loss, ``detect_us`` after life."""
        about = self._tasks[task]
        data: dict[str, Any] = {
            "deadline_us": None,
            "external": about.external,
            "fruitless": 0,
            "graph": about.graph,
            "pool": about.pool,
            "ready_at": self.at,
        }
        if reason is not None:
            held = (about.worker, about.session, about.epoch)
            worker_before, session_before, epoch_before = held if about.worker else about.last
            data |= {
                "evidence": evidence and evidence.value,
                "last_sign_at": self.at - claim_us - detect_us,
                "lost_at": self.at - claim_us,
                "previous_epoch": epoch_before,
                "previous_session": session_before,
                "previous_worker": worker_before,
                "silence_us": detect_us,
            }
        about.epoch += 1
        about.worker, about.session = worker, self._sessions[worker]
        return self._by_holder(task, _E.CLAIMED, data, reason=reason and reason.value)

    def take_over(
        self, task: str, lost: str, winner: str, evidence: Evidence = Evidence.PIDFD, **spans: int
    ) -> Event:
        """A session is lost and its task claimed at once: two events; the claim is returned."""
        reason = _R.HEARTBEAT_LOST if evidence is Evidence.TTL else _R.CRASHED
        self.lost(lost, evidence)
        return self.claim(task, winner, reason, evidence=evidence, **spans)

    def resumed(
        self, task: str = "t-1", outcome: TakeoverOutcome = TakeoverOutcome.RESUMED
    ) -> Event:
        """The state is loaded."""
        step_id = self._tasks[task].parent.get("", "")
        return self._by_holder(task, _E.RESUMED, {"outcome": outcome.value}, step_id=step_id)

    def step(self, task: str = "t-1", *, ns: str = "", number: int | None = None) -> Event:
        """A super-step is durable."""
        about = self._tasks[task]
        step_id = f"step-{self._steps:04d}-{task}"
        number = self._steps if number is None else number
        self._steps += 1
        data = {
            "digest": hashlib.sha256(step_id.encode()).hexdigest(),
            "ns": ns,
            "parent": about.parent.get(ns),
            "source": "input" if number < 0 else "loop",
            "step": number,
            "writes": 1,
        }
        about.parent[ns] = step_id
        return self._by_holder(task, _E.STEP, data, step_id=step_id)

    def effect(self, task: str = "t-1", *, again: bool = False) -> Event:
        """An effect is recorded, or answered from its record."""
        type_ = _E.EFFECT_DEDUPLICATED if again else _E.EFFECT
        step_id = self._tasks[task].parent.get("", "step-none")
        return self._by_holder(task, type_, {"effect_key": "key-1"}, step_id=step_id)

    def drained(self, task: str = "t-1") -> Event:
        """The holder leaves between two steps."""
        return self._leave(task, _E.DRAINED, _R.DRAINED)

    def done(self, task: str = "t-1") -> Event:
        """The run is finished."""
        return self._end(task, _E.DONE, {"state_digest": "d"})

    def interrupted(self, task: str = "t-1") -> Event:
        """The run waits for an answer."""
        return self._end(task, _E.INTERRUPTED, {})

    def failed(self, task: str = "t-1") -> Event:
        """The run ended in an error."""
        data = {"error_digest": "d", "error_type": "ValueError"}
        return self._end(task, _E.FAILED, data, reason="ValueError")

    def quarantined(self, task: str = "t-1", reason: TakeoverReason = _R.CRASHED) -> Event:
        """The task is put aside."""
        about = self._tasks[task]
        data = {
            "fruitless": 3,
            "previous_session": about.session,
            "previous_worker": about.worker,
        }
        about.epoch += 1
        self._let_go(about)
        ids = {"run_id": about.run_id, "epoch": about.epoch, "reason": reason.value}
        return self._on_task(task, _E.QUARANTINED, data, **ids)

    def answered(self, task: str = "t-1") -> Event:
        """The answer is stored."""
        return self._reopen(task, _E.RESUME_REQUESTED, {"value_digest": "d"})

    def operator(self, task: str, action: str) -> Event:
        """An operator acts."""
        about = self._tasks[task]
        if action == "retry":
            return self._reopen(task, _E.OPERATOR_ACTION, {"action": action})
        data: dict[str, Any] = {"action": action}
        holder = {}
        if action == "accept_restore":
            data |= {"witness_epoch": about.epoch, "witness_position": 9}
        elif action != "cancel":
            holder = {"worker_id": about.worker, "session_id": about.session}
        if about.session:
            about.last = (about.worker, about.session, about.epoch)
        about.epoch += 1
        self._let_go(about)
        ids = {"run_id": about.run_id, "epoch": about.epoch, "reason": "operator", **holder}
        return self._on_task(task, _E.OPERATOR_ACTION, data, **ids)

    def new_run(self, task: str) -> None:
        """The next claim begins a run, as one of a thread of somebody's own runtime may."""
        about = self._tasks[task]
        about.run_id = f"{about.run_id}+"

    def _reopen(self, task: str, type_: EventType, data: dict[str, Any]) -> Event:
        about = self._tasks[task]
        self.new_run(task)
        data |= {"graph": about.graph, "pool": about.pool}
        ids = {"run_id": about.run_id, "epoch": about.epoch, "reason": "operator"}
        return self._on_task(task, type_, data, **ids)

    def _leave(self, task: str, type_: EventType, reason: TakeoverReason) -> Event:
        about = self._tasks[task]
        event = self._by_holder(task, type_, {}, reason=reason.value)
        about.last = (about.worker, about.session, about.epoch)
        self._let_go(about)
        return event

    def _end(self, task: str, type_: EventType, data: dict[str, Any], **ids: Any) -> Event:
        event = self._by_holder(task, type_, data, **ids)
        self._let_go(self._tasks[task])
        return event

    @staticmethod
    def _let_go(about: Held) -> None:
        about.worker = about.session = None

    def _by_holder(self, task: str, type_: EventType, data: dict[str, Any], **ids: Any) -> Event:
        about = self._tasks[task]
        return self._on_task(
            task,
            type_,
            data,
            run_id=about.run_id,
            worker_id=about.worker,
            session_id=about.session,
            epoch=about.epoch,
            **ids,
        )

    def _on_task(self, task: str, type_: EventType, data: dict[str, Any], **ids: Any) -> Event:
        return self.add(task_chain(task), type_, data, task_id=task, **ids)


def resealed(events: Iterable[Event]) -> list[Event]:
    """The events with their hashes made to fit: what a forger would do after an edit."""
    heads: dict[str, str] = {}
    found = []
    for event in events:
        linked = replace(event, prev=heads.get(event.chain, GENESIS))
        fitting = replace(linked, hash=recomputed_hash(linked))
        heads[event.chain] = fitting.hash
        found.append(fitting)
    return found


def with_data(event: Event, **data: Any) -> Event:
    """The event with some keys of its payload changed, and not sealed again."""
    changed = {**json.loads(event.payload), **data}
    return replace(event, payload=canonical_payload(changed))
