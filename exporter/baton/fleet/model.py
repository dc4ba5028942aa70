"""What passes between the store and everybody else: frozen records, one per idea."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from baton.domain.words import Evidence, SessionState, TakeoverReason, TaskState
from baton.fleet.process import ProcessIdentity

#: Values as LangGraph's serializer leaves them: a type tag and bytes.
Typed = tuple[str, bytes]

#: A row of LangGraph's table of pending writes, and whether the last one stands (interrupts,
#: errors) and not the first.
ParkedWrite = tuple[bool, tuple[Any, ...]]


class Row(Protocol):
    """A row of a store's tables, by name or by place."""

    def __getitem__(self, key: int | str, /) -> Any:
        """One of its values."""


#: Where a lease travels in a LangGraph config. LangGraph copies plain values of ``configurable``
#: into the checkpoint's metadata, so each checkpoint is stamped with the epoch that wrote it.
EPOCH = "lease_epoch"
SESSION = "lease_session"
RUN = "baton_run"
WORKER = "baton_worker"


class LeaseKey(NamedTuple):
    """The fencing token: a write is accepted only while all three are the task's own."""

    task_id: str
    epoch: int
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """One incarnation of a worker, as it registers.

    Attributes:
        kind: ``worker`` for a process that only runs graphs, ``embedded`` for an application
            that leases tasks by itself and must never be killed by others.
        interval_us: microseconds between two heartbeats.
        ttl_us: microseconds of silence after which others may take its tasks.
    """

    session_id: str
    worker_id: str
    pool: str
    kind: str
    interval_us: int
    ttl_us: int
    concurrency: int = 1
    graphs: tuple[str, ...] = ()
    version: str = ""
    metrics_address: str | None = None
    host: str = ""
    pid: int = 0
    start_ticks: int = 0
    boot_id: str = ""
    pid_namespace: int = 0
    lock_path: str | None = None
    lock_inode: int | None = None

    @property
    def identity(self) -> ProcessIdentity:
        """The process that the session runs in."""
        return ProcessIdentity(
            self.pid, self.start_ticks, self.boot_id, self.pid_namespace, self.host
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session as the store knows it."""

    spec: SessionSpec
    state: SessionState
    started_at: int
    beat: int
    beat_at: int
    ended_at: int | None = None
    evidence: str | None = None
    last_sign_at: int | None = None
    silence_us: int | None = None
    leases: int = 0

    @property
    def live(self) -> bool:
        """Whether it may still hold leases."""
        return self.state not in (SessionState.LOST, SessionState.STOPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The store's answer to a heartbeat.

    Attributes:
        accepted: False when the session is lost or stopped; that is final.
        at_us: store time of the renewal.
    """

    accepted: bool
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The reasons to declare a session lost.

    Attributes:
        evidence: how it is known.
        beat: for silence, the heartbeat count the silence was judged on; a newer one wins.
        last_sign_at: store time of the last sign of life, where evidence of life was held;
            None lets the store take the last heartbeat.
        by: the session that says so.
    """

    session_id: str
    evidence: Evidence
    beat: int | None = None
    last_sign_at: int | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A lease just won.

    Attributes:
        reason: why a takeover was needed; None for a run that begins.
        resume: the value that an interrupt waits for, if one is stored.
        alone: the task is suspect and must have its worker to itself.
    """

    key: LeaseKey
    graph: str
    run_id: str
    claimed_at: int
    input: Typed | None
    resume: Typed | None
    reason: TakeoverReason | None
    previous_worker: str | None = None
    alone: bool = False

    @property
    def task_id(self) -> str:
        """The task that is leased."""
        return self.key.task_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The outcome of one round of claiming.

    Attributes:
        won: the leases won, at most as many as were asked for.
        quarantined: tasks that were put aside instead of being claimed.
        alone_waiting: a suspect task waits for a worker with nothing else to do.
        more: fewer than were asked for, because one transaction claims no more.
        holders: the sessions that held tasks when it began, none of them idle.
    """

    won: tuple[Claim, ...] = ()
    quarantined: tuple[str, ...] = ()
    alone_waiting: bool = False
    more: bool = False
    holders: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """What a session asks for in one round of claiming.

    Attributes:
        limit: how many leases at most.
        running: how many it holds already.
        deadlines_us: by graph, how long a task may go without a durable write.
        fruitless_max: takeovers in a row that brought nothing, after which a task is put aside.
        avoid_us: how long a task that an operator took away stays closed to its last holder.
    """

    session_id: str
    worker_id: str
    pool: str
    graphs: tuple[str, ...]
    limit: int
    running: int
    deadlines_us: dict[str, int] = field(default_factory=dict)
    fruitless_max: int = 3
    avoid_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as the store knows it."""

    task_id: str
    pool: str
    graph: str
    state: TaskState
    external: bool
    epoch: int
    session_id: str | None
    worker_id: str | None
    run_id: str
    input: Typed | None
    input_digest: str | None
    submitted_at: int
    ready_at: int
    claimed_at: int | None
    ended_at: int | None
    fruitless: int
    deadline_us: int | None
    vacated_reason: str | None
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``; the input itself stays in the store."""
        return {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("input", "vacated_reason")
        }


class Checkpoint(NamedTuple):
    """A super-step about to become durable, already encoded.

    A named tuple, because one is made for every super-step.

    Attributes:
        ns: the checkpoint namespace, empty for the graph itself.
        step: LangGraph's number of the super-step; -1 is the input.
        source: ``input``, ``loop``, ``update`` or ``fork``.
        digest: SHA-256 of the encoded checkpoint.
        channels: rows of the channels that a store keeps apart from their checkpoint.
    """

    ns: str
    checkpoint_id: str
    parent_id: str | None
    step: int
    source: str
    type: str
    blob: bytes
    metadata: bytes
    digest: str
    channels: tuple[tuple[Any, ...], ...] = ()
