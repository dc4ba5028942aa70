"""One moment of the demo, as the screen shows it: plain values, already in the reader's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from baton.domain.takeovers import Takeover
from baton.domain.words import SessionState, TaskState
from baton.fleet.model import Session
from baton.prove.demo.view import Refusal, SessionView, TaskView, View

#: The super-steps of the review graph, by the last one that is durable.
_PARSED = 1
_REVIEWED = 2

#: How the screen calls what is wrong with a process, beyond what its session tells.
KILLED = "killed"
FROZEN = "frozen"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """One worker.

    Attributes:
        session: which of its sessions this is, counted from 1.
        state: its session's state, or ``killed`` or ``frozen`` where the demo knows better.
        age_seconds: of its last heartbeat; None once the session is over.
        holds: the tasks that it holds.
    """

    worker_id: str
    session: int
    pid: int
    state: str
    age_seconds: float | None
    ttl_seconds: float
    holds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task.

    Attributes:
        orphan: its holder is not alive, and nobody has taken it over yet.
        step: what is being done: ``parse``, ``review``, ``report``, or the state it ended in.
        done: functions reviewed, of ``of``.
    """

    name: str
    worker_id: str | None
    orphan: bool
    epoch: int
    step: str
    done: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything on the screen.

    Attributes:
        headline: what the demo does.
        act: what is being done to the fleet right now.
        waiting: what the demo waits for.
        answers: what Prometheus says: questions in words, with their answers.
        prometheus: its address, or why there is none.
    """

    headline: str
    elapsed_seconds: float
    act: str
    waiting: str
    workers: tuple[WorkerRow, ...] = ()
    tasks: tuple[TaskRow, ...] = ()
    takeovers: tuple[Takeover, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    answers: tuple[tuple[str, str], ...] = ()
    prometheus: str = ""


@dataclass(slots=True, kw_only=True)
class Scenery:
    """What the picture needs beside the ledger.

    Attributes:
        names: what to call each task.
        functions: how many functions each task reviews.
        afflicted: what the demo did to a session: ``killed`` or ``frozen``.
    """

    names: Mapping[str, str]
    functions: Mapping[str, int]
    afflicted: dict[str, str] = field(default_factory=dict)


def worker_rows(
    view: View, live: Iterable[Session], now_us: int, scenery: Scenery
) -> tuple[WorkerRow, ...]:
    """The newest session of each worker.

    Args:
        view: the ledger so far.
        live: the sessions that may hold leases.
        now_us: store time in microseconds.
        scenery: names, and what was done to whom.
    """
    beats = {session.spec.session_id: session for session in live}
    return tuple(
        _worker_row(view, session, beats.get(session.session_id), now_us, scenery)
        for session in view.newest()
    )


def _worker_row(
    view: View, session: SessionView, live: Session | None, now_us: int, scenery: Scenery
) -> WorkerRow:
    held = view.held_by(session.session_id)
    state = session.state.value
    if live is not None:
        state = live.state.value
        if live.state is SessionState.IDLE and held:
            state = SessionState.BUSY.value
    elif session.state is SessionState.STARTING:
        # The ledger learns of a loss with the first claim after it.
        state = SessionState.LOST.value
    if live is not None and session.session_id in scenery.afflicted:
        state = scenery.afflicted[session.session_id]
    return WorkerRow(
        worker_id=session.worker_id,
        session=session.number,
        pid=session.pid,
        state=state,
        age_seconds=None if live is None else max(0.0, (now_us - live.beat_at) / 1e6),
        ttl_seconds=session.ttl_us / 1e6,
        holds=tuple(scenery.names.get(task.task_id, task.task_id) for task in held),
    )


def task_rows(view: View, workers: Iterable[WorkerRow], scenery: Scenery) -> tuple[TaskRow, ...]:
    """Every task, in the order in which they were submitted."""
    gone = (SessionState.LOST.value, SessionState.STOPPED.value, KILLED, FROZEN)
    dead = {row.worker_id for row in workers if row.state in gone}
    return tuple(
        TaskRow(
            name=scenery.names.get(task.task_id, task.task_id),
            worker_id=task.worker_id,
            orphan=task.worker_id in dead,
            epoch=task.epoch,
            step=_step(task),
            done=len(task.keys),
            of=scenery.functions.get(task.task_id, 0),
        )
        for task in view.tasks.values()
    )


def _step(task: TaskView) -> str:
    if task.state is not TaskState.ACTIVE:
        return task.state.value
    step = -1 if task.step is None else task.step
    return "parse" if step < _PARSED else "review" if step < _REVIEWED else "report"
