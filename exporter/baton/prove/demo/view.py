"""What the ledger says of the demo's fleet so far: who holds what, and who took over from whom."""

from __future__ import annotations

from dataclasses import dataclass, field

from baton.domain.ledger import Event
from baton.domain.takeovers import Takeover, TakeoverTracker
from baton.domain.words import EffectOutcome, EventType, SessionState, TaskState

_ENDS = {
    EventType.DONE: TaskState.DONE,
    EventType.FAILED: TaskState.FAILED,
    EventType.INTERRUPTED: TaskState.INTERRUPTED,
    EventType.QUARANTINED: TaskState.QUARANTINED,
    EventType.RELEASED: TaskState.PENDING,
    EventType.DRAINED: TaskState.PENDING,
}


@dataclass(slots=True, kw_only=True)
class TaskView:
    """One task.

    Attributes:
        step: the last durable super-step, as LangGraph counts: -1 is the input.
        keys: of the effects that are recorded.
        effect_at: store time in microseconds of the holder's last effect since its last step.
    """

    task_id: str
    state: TaskState = TaskState.PENDING
    worker_id: str | None = None
    session_id: str | None = None
    epoch: int = 0
    step: int | None = None
    keys: set[str] = field(default_factory=set)
    effect_at: int | None = None


@dataclass(slots=True, kw_only=True)
class SessionView:
    """One session, as far as the ledger tells.

    Attributes:
        number: which of its worker's sessions it is, counted from 1.
    """

    session_id: str
    worker_id: str
    number: int
    pid: int
    ttl_us: int
    state: SessionState = SessionState.STARTING


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A write that the fence refused.

    Attributes:
        epoch: what the writer believed in.
        holder: the worker that took the task over, and may have ended it by now.
        held_epoch: its epoch.
    """

    task_id: str
    worker_id: str
    session_id: str
    epoch: int
    holder: str
    held_epoch: int


class View:
    """The ledger of one pool, read from its beginning."""

    def __init__(self, pool: str) -> None:
        """Know nothing yet.

        Args:
            pool: tasks and sessions of other pools are passed over.
        """
        self.pool = pool
        self.tasks: dict[str, TaskView] = {}
        self.sessions: dict[str, SessionView] = {}
        self.refusals: list[Refusal] = []
        self.effects = dict.fromkeys(EffectOutcome, 0)
        self.events: list[Event] = []
        self._tracker = TakeoverTracker()
        self._takeovers: dict[tuple[str, int], Takeover] = {}

    @property
    def takeovers(self) -> list[Takeover]:
        """Every takeover so far, in the order of their claims."""
        return list(self._takeovers.values())

    def take(self, event: Event) -> list[Takeover] | None:
        """Take in one event.

        Returns:
            The takeovers that reached a stage by it; None when it is another pool's.
        """
        reached: list[Takeover] = []
        begins = event.type in (EventType.SESSION_STARTED, EventType.SUBMITTED)
        if begins and event.data["pool"] == self.pool:
            self._begin(event)
        elif event.chain.startswith("task:") and event.task_id in self.tasks:
            reached = self._on_task(event, self.tasks[event.task_id])
        elif event.chain.startswith("session:") and event.session_id in self.sessions:
            self._on_session(event, self.sessions[event.session_id])
        else:
            return None
        self.events.append(event)
        return reached

    def newest(self) -> list[SessionView]:
        """The newest session of each worker, by worker."""
        newest = {session.worker_id: session for session in self.sessions.values()}
        return [newest[worker_id] for worker_id in sorted(newest)]

    def held_by(self, session_id: str) -> list[TaskView]:
        """The tasks that a session holds."""
        return [task for task in self.tasks.values() if task.session_id == session_id]

    def taken_from(self, session_id: str) -> list[Takeover]:
        """The takeovers of what a session left unfinished."""
        return [one for one in self.takeovers if one.from_session == session_id]

    def takeover(self, task_id: str, epoch: int) -> Takeover | None:
        """The takeover that gave a task this epoch."""
        return self._takeovers.get((task_id, epoch))

    def _begin(self, event: Event) -> None:
        if event.type == EventType.SUBMITTED:
            self.tasks[str(event.task_id)] = TaskView(task_id=str(event.task_id))
            return
        worker_id = str(event.worker_id)
        before = [one for one in self.sessions.values() if one.worker_id == worker_id]
        self.sessions[str(event.session_id)] = SessionView(
            session_id=str(event.session_id),
            worker_id=worker_id,
            number=len(before) + 1,
            pid=event.data["pid"],
            ttl_us=event.data["ttl_us"],
        )

    def _on_session(self, event: Event, session: SessionView) -> None:
        match event.type:
            case EventType.SESSION_DRAINING:
                session.state = SessionState.DRAINING
            case EventType.SESSION_STOPPED:
                session.state = SessionState.STOPPED
            case EventType.SESSION_LOST:
                session.state = SessionState.LOST
            case EventType.WRITE_REFUSED:
                self._refused(event, session)

    def _refused(self, event: Event, session: SessionView) -> None:
        task_id = str(event.task_id)
        held_epoch = self.tasks[task_id].epoch if task_id in self.tasks else 0
        takeover = self.takeover(task_id, held_epoch)
        self.refusals.append(
            Refusal(
                task_id=task_id,
                worker_id=session.worker_id,
                session_id=session.session_id,
                epoch=event.epoch or 0,
                holder=takeover.to_worker if takeover else "somebody",
                held_epoch=held_epoch,
            )
        )

    def _on_task(self, event: Event, task: TaskView) -> list[Takeover]:
        reached = self._tracker.apply(event)
        self._takeovers |= {(one.task_id, one.epoch): one for one in reached}
        match event.type:
            case EventType.CLAIMED:
                task.state = TaskState.ACTIVE
                task.worker_id, task.session_id = event.worker_id, event.session_id
                task.epoch = event.epoch or 0
                task.effect_at = None
            case EventType.STEP:
                task.step = event.data["step"]
                task.effect_at = None
            case EventType.EFFECT | EventType.EFFECT_DEDUPLICATED:
                recorded = event.type == EventType.EFFECT
                outcome = EffectOutcome.RECORDED if recorded else EffectOutcome.DEDUPLICATED
                self.effects[outcome] += 1
                task.keys.add(event.data["effect_key"])
                task.effect_at = event.at
        if (end := _ENDS.get(EventType(event.type))) is not None:
            task.state = end
            task.worker_id = task.session_id = None
        return reached


def task_name(task_id: str) -> str:
    """What a task is called on the screen: its id without the pool that may stand before it."""
    return task_id.rpartition(":")[2]
