"""What the store is to do, without any store: a few records and the rules, in plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from baton.domain.transitions import OPERATOR_ACTIONS
from baton.domain.words import (
    FRUITLESS_REASONS,
    Evidence,
    SessionState,
    TakeoverReason,
    TaskState,
)
from baton.fleet.model import Claim, LeaseKey

FRUITLESS_MAX = 3

#: So many more that wait are looked at than are asked for: one that must be alone, or is put
#: aside, stands in nobody's way.
SPARES = 16


@dataclass
class ModelSession:
    """One incarnation of a worker."""

    session_id: str
    worker_id: str
    pool: str
    state: SessionState = SessionState.IDLE
    evidence: Evidence | None = None
    beat: int = 1
    beat_at: int = 0

    @property
    def live(self) -> bool:
        """Whether it may still hold leases."""
        return self.state not in (SessionState.LOST, SessionState.STOPPED)


@dataclass
class ModelTask:
    """One task; ``holder`` is the session that may write on it."""

    task_id: str
    pool: str
    graph: str
    ready_at: int
    external: bool = False
    state: TaskState = TaskState.PENDING
    epoch: int = 0
    holder: str | None = None
    runs: int = 1
    fruitless: int = 0
    deadline_us: int | None = None
    reason: TakeoverReason | None = None
    avoid: str | None = None
    resume: bool = False
    durable: bool = False
    work_at: int = 0
    claimed_at: int = 0

    def fruitless_after(self, reason: TakeoverReason | None) -> int:
        """How many takeovers in a row brought nothing, if it is taken over now."""
        return 0 if self.durable else self.fruitless + (reason in FRUITLESS_REASONS)


@dataclass
class Wanted:
    """What a session asks for in one round of claiming."""

    session: ModelSession
    graphs: tuple[str, ...]
    limit: int
    running: int
    deadline_us: int | None
    avoid_us: int


@dataclass
class Found:
    """What it gets: task and epoch, why, and whether a value waits; or that it is over itself."""

    won: list[tuple[str, int, TakeoverReason | None, bool, bool]] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    alone_waiting: bool = False
    refused: bool = False


@dataclass
class Model:
    """Sessions and tasks, in the order in which they came."""

    now: int
    sessions: dict[str, ModelSession] = field(default_factory=dict)
    tasks: dict[str, ModelTask] = field(default_factory=dict)

    def holds(self, key: LeaseKey) -> bool:
        """The fence: whether a write under this key is accepted."""
        task = self.tasks[key.task_id]
        return (
            task.state is TaskState.ACTIVE
            and task.epoch == key.epoch
            and task.holder == key.session_id
        )

    def held_by(self, session_id: str) -> list[ModelTask]:
        """The tasks that a session holds."""
        return [task for task in self.tasks.values() if task.holder == session_id]

    # Claiming

    def cause(self, task: ModelTask) -> tuple[TakeoverReason | None, int] | None:
        """Why a task may be claimed, and its count of fruitless takeovers; None if it may not."""
        if task.state is TaskState.PENDING:
            return (task.reason, task.fruitless if task.reason else 0)
        holder = self.sessions[task.holder or ""]
        reason = TakeoverReason.PROGRESS_STALLED
        if holder.state is SessionState.STOPPED:
            reason = TakeoverReason.DRAINED
        elif holder.state is SessionState.LOST:
            silent = holder.evidence is Evidence.TTL
            reason = TakeoverReason.HEARTBEAT_LOST if silent else TakeoverReason.CRASHED
        elif task.deadline_us is None or self.now - task.work_at <= task.deadline_us:
            return None
        return reason, task.fruitless_after(reason)

    def candidates(self, wanted: Wanted) -> list[ModelTask]:
        """What a claimant looks at: what was left behind, what is stuck, what waits longest."""
        ours = [
            task
            for task in self.tasks.values()
            if task.pool == wanted.session.pool
            and task.graph in wanted.graphs
            and not task.external
        ]
        ended = [session.session_id for session in self.sessions.values() if not session.live]
        left = [task for session_id in ended for task in ours if task.holder == session_id]
        others = [task for task in ours if task.holder not in (None, wanted.session.session_id)]
        open_to_us = [
            task
            for task in ours
            if task.state is TaskState.PENDING
            and (
                task.avoid != wanted.session.session_id
                or task.ready_at + wanted.avoid_us <= self.now
            )
        ]
        stuck: list[ModelTask] = []
        waiting: list[ModelTask] = []
        for graph in wanted.graphs:
            stuck += [t for t in others if t.graph == graph and self.old_enough(t)]
            of_graph = [task for task in open_to_us if task.graph == graph]
            of_graph.sort(key=lambda task: task.ready_at)
            waiting += of_graph[: wanted.limit + SPARES]
        return [*left, *stuck, *sorted(waiting, key=lambda task: task.ready_at)]

    def old_enough(self, task: ModelTask) -> bool:
        """Whether it may be stuck; who was lately claimed is not even looked at."""
        deadline_us = task.deadline_us
        return deadline_us is not None and task.claimed_at + deadline_us < self.now

    def claim(self, wanted: Wanted) -> Found:
        """One round of claiming."""
        found = Found()
        candidates = self.candidates(wanted)
        if candidates and not wanted.session.live:
            return Found(refused=True)
        touched: set[str] = set()
        for task in candidates:
            cause = None if task.task_id in touched else self.cause(task)
            if cause is None:
                continue
            reason, fruitless = cause
            if fruitless >= FRUITLESS_MAX:
                task.state, task.holder = TaskState.QUARANTINED, None
                task.epoch += 1
                task.fruitless = fruitless
                touched.add(task.task_id)
                found.quarantined.append(task.task_id)
            elif fruitless and (wanted.running or found.won):
                found.alone_waiting = True
            else:
                touched.add(task.task_id)
                self.give(task, wanted.session, fruitless, wanted.deadline_us)
                won = (task.task_id, task.epoch, reason, fruitless > 0, task.resume)
                found.won.append(won)
                if fruitless or len(found.won) >= wanted.limit:
                    break
        return found

    def give(
        self,
        task: ModelTask,
        session: ModelSession,
        fruitless: int = 0,
        deadline_us: int | None = None,
    ) -> None:
        """A new epoch for a new holder."""
        task.state, task.holder = TaskState.ACTIVE, session.session_id
        task.epoch += 1
        task.fruitless, task.deadline_us = fruitless, deadline_us
        task.reason, task.avoid = None, None
        task.durable, task.work_at = False, self.now
        task.claimed_at = self.now

    # Leaving

    def vacate(
        self,
        task: ModelTask,
        reason: TakeoverReason,
        avoid: str | None = None,
        *,
        suspect: bool = True,
    ) -> None:
        """The run is left unfinished; what left it says nothing of a task that is not suspect."""
        task.fruitless = task.fruitless_after(reason if suspect else None)
        task.state, task.holder, task.reason = TaskState.PENDING, None, reason
        task.avoid, task.ready_at = avoid, self.now

    def stop(
        self, session: ModelSession, reason: TakeoverReason, *, cut_off: bool = False
    ) -> list[str]:
        """A session ends by its own will."""
        if not session.live:
            return []
        session.state = SessionState.STOPPED
        held = self.held_by(session.session_id)
        for task in held:
            self.vacate(task, reason, suspect=not cut_off)
        return [task.task_id for task in held]

    def work(self, task_id: str) -> None:
        """Something durable was done."""
        task = self.tasks[task_id]
        task.durable, task.work_at = True, self.now

    # Operators

    def act(self, task: ModelTask, verb: str) -> bool:
        """What an operator does; False if it is not legal here."""
        if task.state not in legal_states(verb):
            return False
        match verb:
            case "resume" | "retry":
                task.state, task.ready_at, task.runs = TaskState.PENDING, self.now, task.runs + 1
                task.fruitless, task.reason, task.avoid = 0, None, None
                task.resume = verb == "resume"
            case "cancel":
                task.state, task.holder = TaskState.FAILED, None
                task.epoch += 1
            case _:
                keep_out = task.holder if verb == "takeover" else None
                self.vacate(task, TakeoverReason.OPERATOR, keep_out)
                task.epoch += 1
        return True

    def accept_restore(self, witness_epoch: int) -> None:
        """Nobody holds anything, and every epoch is above what was given out."""
        for task in self.tasks.values():
            task.epoch = max(task.epoch, witness_epoch) + 1
            if task.state is TaskState.ACTIVE:
                task.state, task.holder = TaskState.PENDING, None
                task.reason, task.ready_at = TakeoverReason.OPERATOR, self.now


def legal_states(verb: str) -> frozenset[TaskState]:
    """The states in which an operator may do this to a task."""
    return frozenset({TaskState.INTERRUPTED}) if verb == "resume" else OPERATOR_ACTIONS[verb][0]


def summary(claims: Iterable[Claim]) -> list[tuple[str, int, TakeoverReason | None, bool, bool]]:
    """Claims as the model tells of them."""
    return [(c.task_id, c.key.epoch, c.reason, c.alone, c.resume is not None) for c in claims]
