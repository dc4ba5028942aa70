"""The acts of the demo: what is done to the fleet, in which order, and what is waited for.

Each act brings its own share of the tasks, so that there is work to disturb whatever the machine's
speed. Faults are timed by what a worker is doing, never by the clock.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from baton.domain.takeovers import Stage as TakeoverStage
from baton.domain.takeovers import Takeover
from baton.domain.words import SessionState, TakeoverOutcome, TakeoverReason, TaskState
from baton.errors import BatonError
from baton.fleet import sqlite_files
from baton.fleet.process import ProcessIdentity, flock_holders, is_stopped
from baton.prove.demo.cast import Process
from baton.prove.demo.picture import FROZEN, KILLED
from baton.prove.demo.sink import Sink
from baton.prove.demo.stage import NotStarted, Stage
from baton.prove.demo.verdict import Fault
from baton.prove.demo.view import SessionView, TaskView, task_name

ACTS = 3

#: The last durable step of a task whose functions are being reviewed.
_PARSED = 1
_START_SECONDS = 60.0
#: How long a frozen process may be seen to hold a lock before it is thawed again.
_LOCK_SECONDS = 0.25


@dataclass(slots=True)
class Story:
    """Three acts.

    Attributes:
        stage: where they are played.
        tasks: task ids and graph inputs, in the order in which they are submitted.
        sink: which must not be locked by a worker that is put to sleep.
        faults: what was done, in order.
    """

    stage: Stage
    tasks: Sequence[tuple[str, dict[str, str]]]
    sink: Sink
    faults: list[Fault] = field(default_factory=list)
    _submitted: int = 0
    _act: int = 0

    def play(self) -> bool:
        """Play all acts; returns whether every task came to an end.

        Raises:
            NotStarted: the fleet could not be started.
            Interrupted: somebody asked the demo to end.
        """
        self._curtain_up()
        for act in (self._kill, self._freeze, self._rotate):
            self._act += 1
            self._bring_work()
            act()
            self._fleet_is_whole()
        self._act += 1
        self._now("Every task runs to its end.")
        return self.stage.wait(self._all_ended, "waiting for the last tasks")

    # What the acts share

    def _curtain_up(self) -> None:
        stage = self.stage
        count = stage.settings.workers
        stage.announce(f"Starting an exporter, Prometheus and {count} workers.")
        for number in range(1, count + 1):
            stage.start_worker(f"w-{number}")
        stage.start_exporter()
        stage.start_prometheus()
        if not self._fleet_is_whole(from_the_start=True):
            late = [name for name in stage.workers if self._live_session(name) is None]
            raise NotStarted(
                name=late[0], detail="it has no session", log=stage.workers[late[0]].log
            )
        stage.await_scrapes()

    def _now(self, text: str) -> None:
        act = f"Act {self._act} of {ACTS}: " if self._act <= ACTS else ""
        self.stage.announce(f"{act}{text}")

    def _live_session(self, worker_id: str) -> SessionView | None:
        """The session of a worker's newest process, once it has one."""
        pid = self.stage.workers[worker_id].pid
        over = (SessionState.LOST, SessionState.STOPPED)
        found = [
            session
            for session in self.stage.view.sessions.values()
            if (session.worker_id, session.pid) == (worker_id, pid) and session.state not in over
        ]
        return found[-1] if found else None

    def _fleet_is_whole(self, *, from_the_start: bool = False) -> bool:
        stage = self.stage

        def whole() -> bool:
            for process in stage.workers.values():
                if from_the_start and process.exit_code is not None:
                    detail = f"exit code {process.exit_code}: {process.last_words()}"
                    raise NotStarted(name=process.name, detail=detail, log=process.log)
            return all(map(self._live_session, stage.workers))

        return stage.wait(whole, "waiting until every worker has a session", _START_SECONDS)

    def _bring_work(self) -> None:
        """Submit this act's share, each task once the one before it is claimed.

        Idle workers look for work at moments of their own, so that this spreads the tasks.
        """
        stage = self.stage
        until = len(self.tasks) * self._act // ACTS
        more = until - self._submitted
        self._now(f"{more} more {'task' if more == 1 else 'tasks'} for the fleet.")
        for task_id, value in self.tasks[self._submitted : until]:
            stage.fleet.submit("review", value, task_id=task_id, pool=stage.settings.pool)
            stage.wait(partial(self._claimed, task_id), "waiting for a claim")
        self._submitted = until

    def _claimed(self, task_id: str) -> bool:
        task = self.stage.view.tasks.get(task_id)
        return task is not None and task.state is not TaskState.PENDING

    def _all_ended(self) -> bool:
        tasks = self.stage.view.tasks.values()
        return all(task.state not in (TaskState.PENDING, TaskState.ACTIVE) for task in tasks)

    def _reviewing(self, session: SessionView) -> list[TaskView]:
        """The tasks whose reviewers have just published and have not returned yet."""
        fresh_us = self.stage.now_us() - round(self.stage.settings.pace_seconds * 1e6 / 2)
        return [
            task
            for task in self.stage.view.held_by(session.session_id)
            if task.step == _PARSED and (task.effect_at or 0) > fresh_us
        ]

    def _victim(self, fault: Fault) -> Process | None:
        """Wait for a worker in the middle of a review, the busiest if there are several.

        One that nothing was done to yet comes first, for as long as it may come to a review.
        """
        view = self.stage.view
        hits = [earlier.worker_id for earlier in self.faults]
        right: list[SessionView] = []

        def somebody() -> bool:
            found = map(self._live_session, self.stage.workers)
            live = [session for session in found if session is not None]
            least = min((hits.count(session.worker_id) for session in live), default=0)
            spared = [session for session in live if hits.count(session.worker_id) == least]
            held = [task for session in spared for task in view.held_by(session.session_id)]
            hopeful = any(task.step is None or task.step <= _PARSED for task in held)
            right[:] = filter(self._reviewing, spared if hopeful else live)
            return bool(right)

        if not self.stage.wait(somebody, "waiting for a worker in the middle of a review"):
            return None
        session = max(right, key=lambda one: len(self._reviewing(one)))
        fault.worker_id, fault.session_id = session.worker_id, session.session_id
        return self.stage.workers[session.worker_id]

    def _hit(self, fault: Fault, process: Process, number: signal.Signals) -> None:
        """Send the signal, and note what the session held when it was hit."""
        fault.at = self.stage.now_us()
        process.send(number)
        self.stage.read_ledger()
        fault.tasks = tuple(task.task_id for task in self.stage.view.held_by(fault.session_id))

    def _taken_over(self, fault: Fault) -> Callable[[], bool]:
        """Everything the session held has gone on elsewhere, or ended before it was lost."""

        def done() -> bool:
            view = self.stage.view
            taken = view.taken_from(fault.session_id)
            gone_on = all(map(_has_gone_on, taken))
            return bool(taken) and gone_on and not view.held_by(fault.session_id)

        return done

    # The acts

    def _kill(self) -> None:
        fault = Fault(reason=TakeoverReason.CRASHED, signal="SIGKILL")
        process = self._victim(fault)
        self.faults.append(fault)
        if process is None:
            return
        self.stage.scenery.afflicted[fault.session_id] = KILLED
        self._hit(fault, process, signal.SIGKILL)
        self._now(f"{fault.worker_id} is killed (SIGKILL) in the middle of {_names(fault.tasks)}.")
        self.stage.wait(self._taken_over(fault), "waiting until the others have gone on with them")
        self._now(f"{fault.worker_id} is started again, which makes a new session.")
        self.stage.start_worker(fault.worker_id)

    def _freeze(self) -> None:
        stage = self.stage
        fault = Fault(reason=TakeoverReason.HEARTBEAT_LOST, signal="SIGSTOP")
        process = self._asleep(fault)
        self.faults.append(fault)
        if process is None:
            return
        try:
            held = _names(fault.tasks)
            self._now(f"{fault.worker_id} is frozen (SIGSTOP) in the middle of {held}.")
            ttl = stage.settings.ttl_seconds
            words = f"waiting until its TTL of {ttl:g} s is over and the others have gone on"
            stage.wait(self._taken_over(fault), words)
        finally:
            stage.scenery.afflicted.pop(fault.session_id, None)
            process.send(signal.SIGCONT)
        self._now(f"{fault.worker_id} wakes up (SIGCONT) and goes on writing, as if nothing was.")
        stage.wait(lambda: self._refused(fault), "waiting until the fence has refused its write")

    def _refused(self, fault: Fault) -> bool:
        return any(one.session_id == fault.session_id for one in self.stage.view.refusals)

    def _asleep(self, fault: Fault) -> Process | None:
        """Put a worker to sleep in the middle of a review, and not while it holds a lock.

        A sleeper with the store's write lock would be killed by the others, and one with the
        sink's would keep everybody waiting; both are right, and neither is this act.
        """
        while (process := self._victim(fault)) is not None:
            self._hit(fault, process, signal.SIGSTOP)
            self.stage.scenery.afflicted[fault.session_id] = FROZEN
            if self._sleeps_well(process) and self._still_reviewing(fault):
                return process
            process.send(signal.SIGCONT)
            self.stage.scenery.afflicted.pop(fault.session_id)
            fault.at = None
        return None

    def _sleeps_well(self, process: Process) -> bool:
        identity = ProcessIdentity.of(process.pid)
        if identity is not None:
            self.stage.wait(
                lambda: is_stopped(identity) is not False, "waiting for it to stand still", 5.0
            )
        holders = _write_lock_holders(self.stage.settings.store_url)
        return process.pid not in holders and self.sink.is_free(_LOCK_SECONDS)

    def _still_reviewing(self, fault: Fault) -> bool:
        self.stage.read_ledger()
        held = self.stage.view.held_by(fault.session_id)
        return any(task.step == _PARSED and task.effect_at is not None for task in held)

    def _rotate(self) -> None:
        fault = Fault(reason=TakeoverReason.DRAINED, signal="SIGTERM")
        process = self._victim(fault)
        self.faults.append(fault)
        if process is None:
            return
        self._hit(fault, process, signal.SIGTERM)
        self._now(f"{fault.worker_id} is rotated: SIGTERM drains it, and a fresh one comes.")
        self.stage.wait(
            lambda: process.exit_code is not None and self._taken_over(fault)(),
            "waiting until it has handed over its tasks and left",
        )
        self.stage.start_worker(fault.worker_id)


def _has_gone_on(takeover: Takeover) -> bool:
    """Whether there is nothing more to see of a takeover."""
    over = takeover.stage in (TakeoverStage.PROGRESSED, TakeoverStage.ABANDONED)
    return over or takeover.outcome is TakeoverOutcome.COMPLETED


def _names(task_ids: Sequence[str]) -> str:
    names = [task_name(task_id) for task_id in task_ids]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _write_lock_holders(store_url: str) -> set[int]:
    """The processes that hold a SQLite store's write lock; none where that cannot be told."""
    try:
        path: Path = sqlite_files.parse_url(store_url).beside(".writers")
        return {identity.pid for identity, _ in flock_holders(path.stat())}
    except (BatonError, OSError):
        return set()
