"""What a report is about: one task, one worker, a window of time, or the whole fleet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from baton.domain.ledger import Event, session_chain, task_chain

#: The payload keys that name a session, and a worker, that held the task before.
_SESSION_BEFORE, _WORKER_BEFORE = "previous_session", "previous_worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What was asked for; what is None does not narrow it.

    Attributes:
        task: a task id.
        worker: a worker id.
        since_us: wall time in microseconds since the Unix epoch, with ``until_us``.
    """

    task: str | None = None
    worker: str | None = None
    since_us: int | None = None
    until_us: int | None = None

    @property
    def kind(self) -> str:
        """The narrowest thing that was asked for."""
        if self.task is not None:
            return "task"
        if self.worker is not None:
            return "worker"
        return "fleet" if self.since_us is None and self.until_us is None else "window"

    def __str__(self) -> str:
        """What it is about, in words."""
        whose = {
            "task": f"task {self.task}",
            "worker": f"worker {self.worker}",
        }.get(self.kind, "the fleet")
        if self.task is not None and self.worker is not None:
            whose += f" and worker {self.worker}"
        since = "" if self.since_us is None else f" from {moment(self.since_us)}"
        return f"{whose}{since}" + (
            "" if self.until_us is None else f" until {moment(self.until_us)}"
        )

    def covers(self, event: Event) -> bool:
        """Whether an event lies in the window."""
        return (self.since_us is None or event.wall >= self.since_us) and (
            self.until_us is None or event.wall <= self.until_us
        )


def moment(wall_us: int) -> str:
    """A wall time as people and machines read it, in UTC; as a number where no calendar goes."""
    try:
        told = datetime.fromtimestamp(wall_us / 1e6, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{wall_us / 1e6:.3f} s"
    return told.replace("+00:00", "Z")


def chains_of(events: Sequence[Event], scope: Scope) -> frozenset[str]:
    """The chains that a report has to read, each of them whole.

    They are those of the tasks it is about, those of the sessions that held or lost them, and
    those of the worker or of the window itself.
    """
    if scope.kind == "fleet":
        return frozenset(event.chain for event in events)
    tasks = _tasks_of(events, scope)
    chains = {task_chain(task_id) for task_id in tasks}
    for event in events:
        if event.chain in chains:
            chains.update(map(session_chain, _sessions(event)))
        elif scope.task is None and event.chain.startswith("session:"):
            own = scope.worker in (None, event.worker_id)
            if own and scope.covers(event):
                chains.add(event.chain)
    return frozenset(chains)


def _tasks_of(events: Iterable[Event], scope: Scope) -> set[str]:
    held, within = set[str](), set[str]()
    for event in events:
        if event.task_id is None or scope.task not in (None, event.task_id):
            continue
        if scope.worker in (None, event.worker_id, event.data.get(_WORKER_BEFORE)):
            held.add(event.task_id)
        if scope.covers(event):
            within.add(event.task_id)
    return held & within


def _sessions(event: Event) -> set[str]:
    named = (event.session_id, event.data.get(_SESSION_BEFORE))
    return {session for session in named if isinstance(session, str)}
