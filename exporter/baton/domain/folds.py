"""Counters and histograms as a fold of the ledger.

A fold takes events one by one and holds everything that the exporter counts: an exporter that
starts again folds the ledger again, or goes on from a stored fold, and neither forgets nor counts
twice. Where the events are split makes no difference.

What it remembers is bounded by the tasks that are waiting or held, not by the length of the
ledger. It believes what it reads: whether that can be believed is for ``baton.domain.verify``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from baton.domain import catalogue as c
from baton.domain.ledger import Event
from baton.domain.metric import Metric
from baton.domain.series import FoldedHistogram, Labels, Series
from baton.domain.takeovers import Stage, Takeover, TakeoverTracker
from baton.domain.words import (
    EffectOutcome,
    EventType,
    Evidence,
    LeaseState,
    TakeoverOutcome,
    TakeoverPhase,
    TakeoverReason,
    TaskState,
)

_E = EventType
_L = LeaseState
_R = TakeoverReason

#: What a new holder writes about its work: it restores the takeover of a foreign thread.
_WORK = (_E.STEP, _E.EFFECT, _E.EFFECT_DEDUPLICATED, _E.INTERRUPTED)
#: What ends a lease: it abandons a takeover that was not restored.
_ENDS = (_E.RELEASED, _E.DRAINED, _E.FAILED, _E.QUARANTINED, _E.OPERATOR_ACTION)

#: The metrics that a fold fills, and the events that may change each.
FOLDED: Mapping[Metric, tuple[EventType, ...]] = {
    c.LEASE_TRANSITIONS_TOTAL: (
        *(_E.CLAIMED, *_ENDS, _E.INTERRUPTED, _E.DONE),
        _E.SESSION_LOST,
    ),
    c.WRITES_REFUSED: (_E.WRITE_REFUSED,),
    c.TAKEOVER_LATENCY: (_E.RESUMED, *_WORK, _E.DONE),
    c.TAKEOVER_PHASE: (_E.RESUMED, *_WORK, _E.DONE),
    c.TAKEOVERS: (_E.CLAIMED, _E.RESUMED, *_WORK, _E.DONE, *_ENDS),
    c.RUNS: (_E.DONE, _E.FAILED, _E.INTERRUPTED, _E.QUARANTINED, _E.OPERATOR_ACTION),
    c.STEPS: (_E.STEP,),
    c.STEP_DURATION: (_E.STEP,),
    c.EFFECTS: (_E.EFFECT, _E.EFFECT_DEDUPLICATED),
    c.STEPS_REPLAYED: (_E.RESUMED, *_WORK),
    c.EVENTS: tuple(EventType),
}

#: The label value where an event does not tell, which no healthy ledger has.
UNKNOWN = "unknown"

#: The version of ``Fold.to_dict``.
VERSION = 1

#: Reasons for which a lease is taken from its holder.
_TAKEN = frozenset({_R.CRASHED, _R.HEARTBEAT_LOST, _R.PROGRESS_STALLED})
#: The phases that are known once a takeover has reached a stage.
_PHASES_KNOWN_AT = {
    Stage.RESTORED: (TakeoverPhase.DETECT, TakeoverPhase.CLAIM, TakeoverPhase.RESTORE),
    Stage.PROGRESSED: (TakeoverPhase.PROGRESS,),
}


@dataclass(slots=True)
class _Task:
    """What has to be remembered of a task that is waiting or held.

    Attributes:
        session: the holder since the last claim.
        wrote: whether the holder has written since.
        others: sessions other than the holder that have, which the fence is there to prevent.
        step_at: store time of the last step since the claim.
        at_boundary: the last holder left between two steps, so that nothing runs again.
        replays: the step in which the last holder was interrupted runs again.
    """

    pool: str
    graph: str
    lease: LeaseState = _L.RELEASED
    session: str = ""
    wrote: bool = False
    others: set[str] = field(default_factory=set)
    step_at: int | None = None
    at_boundary: bool = False
    replays: bool = False

    @property
    def writers(self) -> int:
        """Sessions whose writes were accepted since the last claim."""
        return self.wrote + len(self.others)


class Fold:
    """All counters and histograms that follow from the ledger.

    Attributes:
        position: the highest ``seq`` that was applied.
    """

    def __init__(self) -> None:
        """Begin before the first event."""
        self.position = 0
        self._series = Series(FOLDED)
        self._pools: dict[str, set[str]] = {}
        self._tasks: dict[str, _Task] = {}
        self._held: dict[str, set[str]] = {}
        self._doubled: dict[str, tuple[str, int]] = {}
        self._takeovers = TakeoverTracker()
        self._on: Mapping[str, Callable[[Event], object]] = {
            _E.SUBMITTED: self._submitted,
            _E.CLAIMED: self._claimed,
            _E.RESUMED: self._wrote,
            _E.STEP: self._step,
            _E.EFFECT: self._effect,
            _E.EFFECT_DEDUPLICATED: self._effect,
            _E.RELEASED: self._vacated,
            _E.DRAINED: self._vacated,
            _E.INTERRUPTED: self._ended,
            _E.RESUME_REQUESTED: self._submitted,
            _E.DONE: self._ended,
            _E.FAILED: self._ended,
            _E.QUARANTINED: self._ended,
            _E.OPERATOR_ACTION: self._operator_action,
            _E.SESSION_STARTED: self._session_started,
            _E.SESSION_LOST: self._session_lost,
            _E.WRITE_REFUSED: self._write_refused,
        }

    @property
    def counters(self) -> dict[Metric, dict[Labels, float]]:
        """Values by metric and label values."""
        return self._series.counters

    @property
    def histograms(self) -> dict[Metric, dict[Labels, FoldedHistogram]]:
        """Observations by metric and label values."""
        return self._series.histograms

    def apply(self, event: Event) -> None:
        """Take the next event."""
        self.position = max(self.position, event.seq)
        self._series.add(c.EVENTS, event.type)
        for takeover in self._takeovers.apply(event):
            self._takeover(takeover, event)
        handler = self._on.get(event.type)
        if handler is not None:
            handler(event)

    def know(self, pool: str, graph: str | None = None) -> None:
        """Let the counts of a pool, or of a graph in it, exist at 0 before anything happens."""
        if pool not in self._pools:
            self._pools[pool] = set()
            self._series.begin({"pool": pool})
        if graph is not None and graph not in self._pools[pool]:
            self._pools[pool].add(graph)
            self._series.begin({"pool": pool, "graph": graph})

    def open_takeovers(self) -> list[Takeover]:
        """The takeovers that were claimed and have come to no outcome yet, oldest first."""
        return self._takeovers.open()

    def concurrent_writers(self) -> dict[str, int]:
        """By pool, the most sessions whose writes were accepted on one task since its last claim.

        More than one is what the fence exists to prevent; it stands until the task's next claim,
        also when the task is over.
        """
        most = dict.fromkeys(self._pools, 0)
        for task in self._tasks.values():
            if task.wrote and not most.get(task.pool):
                most[task.pool] = 1
        for pool, writers in self._doubled.values():
            most[pool] = max(most.get(pool, 0), writers)
        return most

    # Events

    def _submitted(self, event: Event) -> None:
        self._open(event)

    def _claimed(self, event: Event) -> None:
        task_id = event.task_id or ""
        task = self._task_of(event)
        if task.pool == UNKNOWN:
            task = self._open(event)
        self._change_hands(task, task_id, event.reason)
        self._doubled.pop(task_id, None)
        task.session = event.session_id or ""
        task.wrote, task.others, task.step_at = False, set(), None
        task.replays = event.reason is not None and not task.at_boundary
        task.at_boundary = False
        self._held.setdefault(task.session, set()).add(task_id)

    def _change_hands(self, task: _Task, task_id: str, reason: str | None) -> None:
        """Count the transitions of a claim, from whatever state the lease is in."""
        if task.lease is not _L.RELEASED and reason in _TAKEN:
            if task.lease is _L.ACTIVE and reason != _R.PROGRESS_STALLED:
                # The record of the loss may come behind that of the claim.
                self._move(task, _L.EXPIRED, reason)
            self._move(task, _L.TAKEN_OVER, reason)
        elif task.lease is not _L.RELEASED:
            # The holder had stopped, and died before it released this task.
            self._move(task, _L.RELEASED, reason or _E.RELEASED)
        self._let_go(task, task_id)
        self._move(task, _L.ACTIVE, reason or _E.CLAIMED)

    def _wrote(self, event: Event) -> _Task:
        task_id = event.task_id or ""
        task = self._task_of(event)
        if (event.session_id or "") == task.session:
            task.wrote = True
        else:
            task.others.add(event.session_id or "")
        if task.others:
            self._doubled[task_id] = (task.pool, task.writers)
        return task

    def _step(self, event: Event) -> None:
        task = self._wrote(event)
        self._series.add(c.STEPS, task.pool, task.graph)
        if task.step_at is not None:
            self._series.observe(c.STEP_DURATION, (task.graph,), event.at - task.step_at)
        task.step_at = event.at

    def _effect(self, event: Event) -> None:
        task = self._wrote(event)
        recorded = event.type == _E.EFFECT
        outcome = EffectOutcome.RECORDED if recorded else EffectOutcome.DEDUPLICATED
        self._series.add(c.EFFECTS, task.pool, outcome)

    def _vacated(self, event: Event) -> None:
        task_id = event.task_id or ""
        task = self._tasks.get(task_id)
        if task is not None:
            task.at_boundary = event.type == _E.DRAINED
            self._release(task, task_id, event.type)

    def _ended(self, event: Event) -> None:
        task_id = event.task_id or ""
        # It is the claimant that puts a task aside, and that is not a write of a holder.
        task = (self._task_of if event.type == _E.QUARANTINED else self._wrote)(event)
        self._over(task, task_id, event.type, event.type)

    def _operator_action(self, event: Event) -> None:
        action = event.data.get("action")
        if action == "retry":
            self._submitted(event)
            return
        task_id = event.task_id or ""
        task = self._tasks.get(task_id)
        if task is None:
            return
        if action == "cancel":
            self._over(task, task_id, _R.OPERATOR, TaskState.FAILED)
        else:
            self._release(task, task_id, _R.OPERATOR)

    def _session_started(self, event: Event) -> None:
        self.know(_label(event.data.get("pool")))

    def _session_lost(self, event: Event) -> None:
        silent = event.reason == Evidence.TTL
        reason = _R.HEARTBEAT_LOST if silent else _R.CRASHED
        for task_id in self._held.pop(event.session_id or "", ()):
            self._move(self._tasks[task_id], _L.EXPIRED, reason)

    def _write_refused(self, event: Event) -> None:
        pool = _label(event.data.get("pool"))
        self.know(pool)
        self._series.add(c.WRITES_REFUSED, pool)

    def _takeover(self, takeover: Takeover, event: Event) -> None:
        """Count a takeover that reached a stage by this event."""
        labels = (takeover.pool or UNKNOWN, takeover.reason)
        stage = takeover.stage
        if takeover.outcome is not None and stage is not Stage.PROGRESSED:
            self._series.add(c.TAKEOVERS, *labels, takeover.outcome)
        for phase in _PHASES_KNOWN_AT.get(stage, ()):
            phased = (labels[0], phase, labels[1])
            self._observe(c.TAKEOVER_PHASE, phased, takeover.phase_us(phase), event)
        if stage is Stage.RESTORED:
            self._observe(c.TAKEOVER_LATENCY, labels, takeover.latency_us, event)
            task = self._tasks.get(takeover.task_id)
            if takeover.outcome is not TakeoverOutcome.COMPLETED and task and task.replays:
                self._series.add(c.STEPS_REPLAYED, labels[0])

    def _observe(
        self, metric: Metric, labels: Labels, microseconds: int | None, event: Event
    ) -> None:
        if microseconds is not None:
            ids = {"task_id": event.task_id or "", "run_id": event.run_id or ""}
            self._series.observe(metric, labels, microseconds, ids=ids, wall_us=event.wall)

    # Tasks and leases

    def _task_of(self, event: Event) -> _Task:
        """The task of an event; opened if this is the first that is heard of it."""
        task = self._tasks.get(event.task_id or "")
        return self._open(event) if task is None else task

    def _open(self, event: Event) -> _Task:
        """Remember a task from here on; it may have been over, or never heard of."""
        task_id, data = event.task_id or "", event.data
        if task_id in self._tasks:
            self._let_go(self._tasks[task_id], task_id)
        task = self._tasks[task_id] = _Task(_label(data.get("pool")), _label(data.get("graph")))
        self.know(task.pool, task.graph)
        return task

    def _over(self, task: _Task, task_id: str, reason: str, outcome: str) -> None:
        """End a task's run, and forget the task until it is opened again."""
        self._release(task, task_id, reason)
        self._series.add(c.RUNS, task.pool, task.graph, outcome)
        del self._tasks[task_id]

    def _release(self, task: _Task, task_id: str, reason: str) -> None:
        if task.lease is not _L.RELEASED:
            self._move(task, _L.RELEASED, reason)
            self._let_go(task, task_id)

    def _let_go(self, task: _Task, task_id: str) -> None:
        held = self._held.get(task.session, set())
        held.discard(task_id)
        if not held:
            self._held.pop(task.session, None)

    def _move(self, task: _Task, after: LeaseState, reason: str) -> None:
        self._series.add(c.LEASE_TRANSITIONS_TOTAL, task.pool, task.lease, after, reason)
        task.lease = after

    # Storing

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values for JSON; equal folds give equal values."""
        return {
            "version": VERSION,
            "position": self.position,
            **self._series.to_dict(),
            "pools": {pool: sorted(graphs) for pool, graphs in self._pools.items()},
            "tasks": {
                task_id: {**asdict(task), "others": sorted(task.others)}
                for task_id, task in self._tasks.items()
            },
            "doubled": {task_id: list(found) for task_id, found in self._doubled.items()},
            "takeovers": self._takeovers.to_dict(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Fold:
        """Go on where ``to_dict`` left off.

        Raises:
            KeyError, ValueError: it is no stored fold, or one of another version.
        """
        if stored["version"] != VERSION:
            raise ValueError(f"a stored fold has version {stored['version']}, not {VERSION}")
        fold = cls()
        fold.position = stored["position"]
        fold._series.load(stored)
        fold._pools = {pool: set(graphs) for pool, graphs in stored["pools"].items()}
        fold._takeovers = TakeoverTracker.from_dict(stored["takeovers"])
        fold._doubled = {task: (pool, count) for task, (pool, count) in stored["doubled"].items()}
        for task_id, values in stored["tasks"].items():
            lease, others = _L(values["lease"]), set(values["others"])
            task = fold._tasks[task_id] = _Task(**{**values, "lease": lease, "others": others})
            if lease is _L.ACTIVE:
                fold._held.setdefault(task.session, set()).add(task_id)
        return fold


def _label(value: Any) -> str:
    return value if isinstance(value, str) and value else UNKNOWN
