"""Which tasks need somebody, why, and what that somebody can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from baton.domain.transitions import freshness
from baton.domain.words import Freshness, SessionState, TaskState
from baton.fleet.model import Session, Task
from baton.fleet.store import Store

#: What the store writes beside a task that an operator cancelled, which is no trouble.
CANCELLED = "cancelled by an operator"

#: The states in which a task can be in trouble, worst first.
_STATES = (TaskState.QUARANTINED, TaskState.FAILED, TaskState.ACTIVE, TaskState.PENDING)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One task in trouble.

    Attributes:
        what: what is wrong with it, in one sentence.
        since: store time at which that began, in microseconds.
        mend: what an operator can do.
    """

    task: Task
    what: str
    since: int
    mend: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {**self.task.to_dict(), "what": self.what, "since": self.since, "mend": self.mend}


@dataclass(frozen=True, slots=True)
class _Fleet:
    """What has to be known beside a task in order to judge it."""

    now_us: int
    live: Mapping[str, Session]
    ended: Callable[[str], Session | None]

    def serves(self, task: Task) -> bool:
        """Whether a live worker would take the task."""
        return any(
            session.spec.pool == task.pool and task.graph in session.spec.graphs
            for session in self.live.values()
        )


def troubles(store: Store, *, pool: str | None = None, limit: int = 1000) -> list[Trouble]:
    """The tasks in trouble, worst first.

    Args:
        store: the store.
        pool: only tasks of this pool.
        limit: how many tasks of each state are looked at, newest first.
    """
    now_us, live = store.peers()
    fleet = _Fleet(now_us, {s.spec.session_id: s for s in live}, store.sessions.get)
    return [
        trouble
        for state in _STATES
        for task in store.tasks(state=state, pool=pool, limit=limit)
        if (trouble := _trouble(task, fleet)) is not None
    ]


def trouble_of(store: Store, task: Task) -> Trouble | None:
    """What is wrong with a task; None if nothing is."""
    now_us, live = store.peers()
    by_id = {session.spec.session_id: session for session in live}
    return _trouble(task, _Fleet(now_us, by_id, store.sessions.get))


def _trouble(task: Task, fleet: _Fleet) -> Trouble | None:
    match task.state:
        case TaskState.QUARANTINED:
            what = f"{task.fruitless} takeovers in a row brought nothing"
            mend = "look at what its workers died of, then retry or cancel it"
            return Trouble(task, what, task.ended_at or task.ready_at, mend)
        case TaskState.FAILED if task.error != CANCELLED:
            what = task.error or "its graph raised"
            return Trouble(task, what, task.ended_at or task.ready_at, "mend the cause, then retry")
        case TaskState.ACTIVE:
            return _held(task, fleet)
        case TaskState.PENDING if not task.external:
            return _waiting(task, fleet)
    return None


def _held(task: Task, fleet: _Fleet) -> Trouble | None:
    holder = fleet.live.get(task.session_id or "")
    if holder is None:
        return _orphaned(task, fleet)
    spec = holder.spec
    age_us = fleet.now_us - holder.beat_at
    if freshness(age_us, interval_us=spec.interval_us, ttl_us=spec.ttl_us) is Freshness.STALE:
        what = f"worker {spec.worker_id} holds it and sends no heartbeat"
        return Trouble(task, what, holder.beat_at, "wait for a takeover, or look at that worker")
    if task.fruitless:
        what = f"runs alone after {_times(task.fruitless)} that brought nothing"
        return Trouble(task, what, task.claimed_at or task.ready_at, "watch it")
    return None


def _orphaned(task: Task, fleet: _Fleet) -> Trouble:
    ended = fleet.ended(task.session_id or "")
    since = task.claimed_at or task.ready_at
    if ended is not None:
        since = ended.last_sign_at or ended.beat_at
    lost = ended is None or ended.state is SessionState.LOST
    what = f"worker {task.worker_id} {'was lost' if lost else 'stopped'}, and nobody took it over"
    if task.external:
        return Trouble(task, what, since, "lease it again in the runtime that it belongs to")
    return Trouble(task, what, since, _help_wanted(task, fleet))


def _waiting(task: Task, fleet: _Fleet) -> Trouble | None:
    if task.vacated_reason is not None:
        what = f"its run was left unfinished ({task.vacated_reason}) and waits for a worker"
        return Trouble(task, what, task.ready_at, _help_wanted(task, fleet))
    if not fleet.serves(task):
        what = f"no live worker serves graph {task.graph} in pool {task.pool}"
        return Trouble(task, what, task.ready_at, _help_wanted(task, fleet))
    return None


def _help_wanted(task: Task, fleet: _Fleet) -> str:
    if fleet.serves(task):
        return "wait: a live worker can take it"
    return f"start a worker with --graph {task.graph}=… --pool {task.pool}"


def _times(takeovers: int) -> str:
    return f"{takeovers} takeover{'s' if takeovers > 1 else ''}"
