#!/usr/bin/env python3
"""Verify the evidence packet that this file lies in: `python3 verify.py`, Python 3.11 or newer.

Made by `baton packet build`. Nothing in here is a second implementation: MODULES is the text of
the modules of Baton that judged in the first place (exporter/baton/domain), and what follows it is
the text of exporter/baton/prove/packet/standalone.py.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):
    sys.exit("verify.py needs Python 3.11 or newer; this is " + sys.version.split()[0])
# Nothing may be written into the packet, and nothing that was put into it may be imported.
sys.dont_write_bytecode = True
sys.path[:] = sys.path[1:]

MODULES = {
    "baton": '"""Only what verifies is in here."""',
    'baton.domain': r'''"""The pure band: no I/O, no clock, no randomness, standard library only."""
''',
    'baton.domain.catalogue': r'''"""The metric catalogue: every name, type, label and bucket that Baton speaks, written once.

Instruments, dashboards, alerts, gates, docs/metrics.md and the compatibility baseline derive
from these constants; nothing else spells a metric name. The conventions are those of
https://prometheus.io/docs/practices/naming/ and of OpenMetrics 1.0: base units last, counters
in ``_total``, points in time in ``_timestamp_seconds``.

A metric served by a worker carries no ``worker`` or ``pool`` label of its own: service discovery
attaches both to the target, and a label of the same name would be renamed ``exported_…``.
"""

from __future__ import annotations

from functools import partial

from baton.domain.metric import Known, Metric, MetricType, Source, Stability, every
from baton.domain.words import (
    EffectOutcome,
    EventType,
    Freshness,
    LeaseState,
    SessionState,
    TakeoverOutcome,
    TakeoverPhase,
    TakeoverReason,
    TaskState,
)

#: From a crash that the kernel reports within a millisecond to silence of many times the TTL.
TAKEOVER_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 600.0),
)
#: From a step of pure Python to an agent that works for an hour.
STEP_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0),
)
#: From a commit without fsync to a store that blocks for a whole default TTL.
STORE_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 15.0),
)

#: Lease states of tasks that some session holds.
HELD_LEASE_STATES = (LeaseState.ACTIVE, LeaseState.WARNING, LeaseState.EXPIRED)
#: What one renewal of a session came to.
RENEWAL_RESULTS = ("accepted", "refused", "failed")
#: How a run can end for now; ``quarantined`` ends it until an operator looks.
RUN_OUTCOMES = (
    TaskState.DONE,
    TaskState.FAILED,
    TaskState.INTERRUPTED,
    TaskState.QUARANTINED,
)

_LOSSES = (TakeoverReason.CRASHED, TakeoverReason.HEARTBEAT_LOST)
#: Why a run was left unfinished with its lease given back; a session that could not renew gives
#: itself up, and with it what it holds, as ``heartbeat_lost``.
_VACATED = (TakeoverReason.DRAINED, TakeoverReason.HEARTBEAT_LOST, TakeoverReason.OPERATOR)
#: How a lease ends that nobody takes. One that has expired is still its holder's to end, except
#: that a session which is lost cannot stop, and so releases nothing.
_ENDINGS_EXPIRED = (
    EventType.DONE,
    EventType.FAILED,
    EventType.INTERRUPTED,
    EventType.DRAINED,
    EventType.QUARANTINED,
    TakeoverReason.OPERATOR,
)
_ENDINGS = (*_ENDINGS_EXPIRED, EventType.RELEASED)
_TAKEN = (*_LOSSES, TakeoverReason.PROGRESS_STALLED)

#: ``(from, to, reason)`` of every transition of the lease on a task. A task that nobody holds
#: counts as released, also before its first claim. Taking a lease from its holder is two
#: transitions: the old lease ends as ``taken_over``, and the new one begins from there.
LEASE_TRANSITIONS: tuple[tuple[LeaseState, LeaseState, str], ...] = tuple(
    (before, after, str(reason))
    for before, after, reasons in (
        (LeaseState.RELEASED, LeaseState.ACTIVE, (EventType.CLAIMED, *_VACATED)),
        (LeaseState.ACTIVE, LeaseState.RELEASED, _ENDINGS),
        (LeaseState.ACTIVE, LeaseState.EXPIRED, _LOSSES),
        (LeaseState.ACTIVE, LeaseState.TAKEN_OVER, (TakeoverReason.PROGRESS_STALLED,)),
        (LeaseState.EXPIRED, LeaseState.RELEASED, _ENDINGS_EXPIRED),
        (LeaseState.EXPIRED, LeaseState.TAKEN_OVER, _TAKEN),
        (LeaseState.TAKEN_OVER, LeaseState.ACTIVE, _TAKEN),
    )
    for reason in reasons
)

_gauge = partial(Metric, type=MetricType.GAUGE)
_seconds = partial(Metric, type=MetricType.GAUGE, unit="seconds")
_counter = partial(Metric, type=MetricType.COUNTER)
_histogram = partial(Metric, type=MetricType.HISTOGRAM, unit="seconds")
_info = partial(Metric, type=MetricType.INFO)
_stateset = partial(Metric, type=MetricType.STATESET)

# --- session -------------------------------------------------------------------------------

WORKER_HEARTBEAT_TIMESTAMP = _seconds(
    name="langgraph_worker_heartbeat_timestamp_seconds",
    group="session",
    labels=("worker", "pool"),
    help="Unix time of the last accepted heartbeat: scrape time less its age by the store's clock.",
    blind_spot="A worker can beat and still do no work; compare the progress timestamp.",
)
WORKER_HEARTBEAT_AGE = _seconds(
    name="langgraph_worker_heartbeat_age_seconds",
    group="session",
    labels=("worker", "pool"),
    help="Time since the store accepted the last heartbeat of the worker's newest session.",
    blind_spot=f"Stands still between two scrapes; {WORKER_HEARTBEAT_TIMESTAMP.name} does not.",
)
WORKER_HEARTBEAT_FRESHNESS = _stateset(
    name="langgraph_worker_heartbeat_freshness",
    group="session",
    labels=("worker", "pool"),
    states=tuple(Freshness),
    help="Whether the last heartbeat is younger than two intervals, than the TTL, or older.",
    blind_spot="A stale session still holds its leases until another session declares it lost.",
    diagnostic="For timelines; alerts compute the age from the heartbeat timestamp.",
)
WORKER_STATE = _stateset(
    name="langgraph_worker_state",
    group="session",
    labels=("worker", "pool"),
    states=tuple(SessionState),
    help="What the worker's newest session is doing, as the store records it.",
    blind_spot="A dead worker keeps its last state until its session is declared lost.",
)
WORKER_INFO = _info(
    name="langgraph_worker_info",
    group="session",
    labels=("worker", "pool", "host", "kind", "version", "graphs"),
    help="What the newest session is: its host, kind of process, Baton version and graphs.",
    blind_spot="Always 1; joined to other series for its labels.",
)
WORKERS = _gauge(
    name="langgraph_workers",
    group="session",
    labels=("pool", "state"),
    known=every(state=SessionState),
    help="Workers by the state of their newest session.",
    blind_spot="A worker that never reached the store is not counted.",
)
WORKERS_EXPECTED = _gauge(
    name="langgraph_workers_expected",
    group="session",
    labels=("pool",),
    help="Workers that the operator said the pool should have.",
    blind_spot="Absent for a pool that no --expect names, and then nothing can be missed.",
)
WORKER_LEASES = _gauge(
    name="langgraph_worker_leases",
    group="session",
    labels=("worker", "pool"),
    help="Tasks that the worker's newest session holds.",
)
WORKER_SLOTS = _gauge(
    name="langgraph_worker_slots",
    group="session",
    labels=("worker", "pool"),
    help="Tasks that the worker's newest session can run at once.",
    diagnostic="A full pool shows as tasks that wait; see the oldest pending task.",
)
WORKER_PROGRESS_TIMESTAMP = _seconds(
    name="langgraph_worker_progress_timestamp_seconds",
    group="session",
    labels=("worker", "pool"),
    help="Unix time of the last durable write that the store accepted from the worker.",
    blind_spot="Grows old in an idle worker and inside one long node; read it beside the leases.",
)
HEARTBEAT_INTERVAL = _seconds(
    name="langgraph_heartbeat_interval_seconds",
    group="session",
    labels=("pool",),
    help="Longest heartbeat interval that a session of the pool was started with.",
)
LEASE_TTL = _seconds(
    name="langgraph_lease_ttl_seconds",
    group="session",
    labels=("pool",),
    help="Longest silence after which a session of the pool may be declared lost.",
)

# --- lease ---------------------------------------------------------------------------------

LEASES = _gauge(
    name="langgraph_leases",
    group="lease",
    labels=("pool", "state"),
    known=every(state=HELD_LEASE_STATES),
    help="Tasks that a session holds, by the state of the lease.",
    blind_spot="A lease has no clock of its own; its state follows its session's heartbeat.",
)
LEASE_EXPIRY_TIMESTAMP = _seconds(
    name="langgraph_lease_expiry_timestamp_seconds",
    group="lease",
    labels=("worker", "pool"),
    help="Unix time at which the worker's leases expire unless it renews; absent if it holds none.",
    blind_spot="An expired lease is still its holder's until another session claims the task.",
)
LEASE_OLDEST_EXPIRED_TIMESTAMP = _seconds(
    name="langgraph_lease_oldest_expired_timestamp_seconds",
    group="lease",
    labels=("pool",),
    help="Unix time at which the longest expired lease of the pool expired; absent if none is.",
    blind_spot="Leases in a runtime of one's own are not in it: no worker is to claim their tasks.",
)
LEASE_TRANSITIONS_TOTAL = _counter(
    name="langgraph_lease_transitions_total",
    group="lease",
    labels=("pool", "from", "to", "reason"),
    known=Known(labels=("from", "to", "reason"), rows=LEASE_TRANSITIONS),
    help="Transitions of leases that the ledger records; a takeover ends one and begins another.",
    blind_spot="Late heartbeats change no lease; see the heartbeat_late events.",
)
WRITES_REFUSED = _counter(
    name="langgraph_writes_refused_total",
    group="lease",
    labels=("pool",),
    help="Writes that the fence refused because another session had claimed the task.",
    blind_spot="A writer that died before its second transaction leaves no record of the refusal.",
)
LEASE_CONCURRENT_WRITERS = _gauge(
    name="langgraph_lease_concurrent_writers",
    group="lease",
    labels=("pool",),
    help="Most sessions whose writes were accepted on one task since its last claim; at most 1.",
    blind_spot="Sees writes through Baton only, not those made in the database by other means.",
)

# --- takeover ------------------------------------------------------------------------------

TAKEOVER_LATENCY = _histogram(
    name="langgraph_takeover_latency_seconds",
    group="takeover",
    labels=("pool", "reason"),
    known=every(reason=TakeoverReason),
    buckets=TAKEOVER_BUCKETS,
    exemplars=True,
    help="Last sign of life of the old holder until the first node may start at the new one.",
    blind_spot="An unfinished takeover is not in it; see the oldest pending one.",
)
TAKEOVER_PHASE = _histogram(
    name="langgraph_takeover_phase_seconds",
    group="takeover",
    labels=("pool", "phase", "reason"),
    known=every(phase=TakeoverPhase, reason=TakeoverReason),
    buckets=TAKEOVER_BUCKETS,
    exemplars=True,
    help="Time in each phase of a takeover: detect, claim, restore, progress.",
    blind_spot="The progress phase contains the time of the user's own nodes.",
)
TAKEOVERS = _counter(
    name="langgraph_takeovers_total",
    group="takeover",
    labels=("pool", "reason", "outcome"),
    known=every(reason=TakeoverReason, outcome=TakeoverOutcome),
    help="Takeovers that came to an outcome; an abandoned one lost its successor too.",
)
TAKEOVERS_PENDING = _gauge(
    name="langgraph_takeovers_pending",
    group="takeover",
    labels=("pool",),
    help="Unfinished runs whose holder is gone and which no session has continued yet.",
    blind_spot="Tasks leased by a runtime of one's own are not counted: no worker claims them.",
)
TAKEOVER_OLDEST_PENDING_TIMESTAMP = _seconds(
    name="langgraph_takeover_oldest_pending_timestamp_seconds",
    group="takeover",
    labels=("pool",),
    help="Unix time of the last sign of life behind the longest pending takeover; absent if none.",
    blind_spot="Appears once the loss is established; until then the heartbeat timestamp tells.",
)

# --- task, run, step -----------------------------------------------------------------------

TASKS = _gauge(
    name="langgraph_tasks",
    group="task",
    labels=("pool", "graph", "state"),
    known=every(state=TaskState),
    help="Tasks in the store by graph and state.",
)
RUNS = _counter(
    name="langgraph_runs_total",
    group="task",
    labels=("pool", "graph", "outcome"),
    known=every(outcome=RUN_OUTCOMES),
    help="Runs that ended, by how; a takeover continues a run and does not end it.",
)
STEPS = _counter(
    name="langgraph_steps_total",
    group="task",
    labels=("pool", "graph"),
    help="Super-steps that became durable.",
)
STEP_DURATION = _histogram(
    name="langgraph_step_duration_seconds",
    group="task",
    labels=("graph",),
    buckets=STEP_BUCKETS,
    help="Time between two durable super-steps of one run at one holder.",
    blind_spot="The first step after a claim has no predecessor and is not in it.",
    diagnostic="How long a step may take is the graph's own affair.",
)
NODE_DURATION = _histogram(
    name="langgraph_node_duration_seconds",
    group="task",
    labels=("graph", "node"),
    buckets=STEP_BUCKETS,
    source=Source.WORKER,
    help="Time that the body of a node ran, whether it returned or raised.",
    blind_spot="A body that was running when its worker died is not in it.",
    diagnostic="How long a node may take is the graph's own affair.",
)
CHECKPOINT_WRITE = _histogram(
    name="langgraph_checkpoint_write_seconds",
    group="task",
    buckets=STORE_BUCKETS,
    source=Source.WORKER,
    help="Time until a checkpoint was durable in the store, with its fence and its ledger event.",
    blind_spot="A write that never returned is not in it; see the progress timestamp.",
)
EFFECTS = _counter(
    name="langgraph_effects_total",
    group="task",
    labels=("pool", "outcome"),
    known=every(outcome=EffectOutcome),
    help="Calls of baton.once that ran and were recorded, or were answered from the record.",
    blind_spot="An effect whose worker died before the record is not in it, and runs again.",
    diagnostic="A deduplicated effect is the promise being kept.",
)
STEPS_REPLAYED = _counter(
    name="langgraph_steps_replayed_total",
    group="task",
    labels=("pool",),
    help="Super-steps whose nodes began again because a takeover interrupted them.",
    blind_spot="Counted per takeover of a run that was cut short, whether or not a node had begun.",
)
QUEUE_OLDEST_PENDING_TIMESTAMP = _seconds(
    name="langgraph_queue_oldest_pending_timestamp_seconds",
    group="task",
    labels=("pool",),
    help="Unix time since which the longest waiting pending task waits; absent if none waits.",
)

# --- continuity ----------------------------------------------------------------------------

CONTINUITY_VIOLATIONS = _counter(
    name="langgraph_continuity_violations_total",
    group="continuity",
    labels=("assertion",),
    help="Violations of a continuity assertion that the ledger proves; must stay 0.",
    blind_spot="An assertion that needs more than the ledger has no series here.",
)
DIAGNOSTICS_INVALID = _counter(
    name="langgraph_diagnostics_invalid_total",
    group="continuity",
    labels=("check",),
    help="Ledger events that failed a check: edited, missing, out of order or without their ids.",
    blind_spot="Whoever owns the store can rewrite all of it; export a seal to make that evident.",
)
EVENTS = _counter(
    name="langgraph_events_total",
    group="continuity",
    labels=("type",),
    known=every(type=EventType),
    help="Events in the ledger, with those that were pruned.",
)
LEDGER_TAIL_LAG = _seconds(
    name="langgraph_ledger_tail_lag_seconds",
    group="continuity",
    help="Age of the oldest committed event that the counters do not contain yet; 0 if none.",
    blind_spot="An event whose transaction is still open is not lagging: it is not there yet.",
)

# --- worker process ------------------------------------------------------------------------

HEARTBEAT_DURATION = _histogram(
    name="langgraph_heartbeat_duration_seconds",
    group="worker",
    labels=("result",),
    known=every(result=RENEWAL_RESULTS),
    buckets=STORE_BUCKETS,
    source=Source.WORKER,
    stability=Stability.EXPERIMENTAL,
    help="Time that a renewal of the session took, as the worker saw it.",
    blind_spot="A frozen or partitioned worker reports nothing; the heartbeat timestamp does.",
)

# --- self ----------------------------------------------------------------------------------

SOURCE_UP = _gauge(
    name="langgraph_source_up",
    group="self",
    help="Whether the exporter could read the store at this scrape.",
    blind_spot="While it is 0 the series about sessions, leases and tasks are withdrawn.",
)
COLLECTOR_SUCCESS = _gauge(
    name="langgraph_collector_success",
    group="self",
    labels=("collector",),
    help="Whether this part of the collection succeeded at this scrape.",
)
COLLECTOR_DURATION = _seconds(
    name="langgraph_collector_duration_seconds",
    group="self",
    labels=("collector",),
    help="Time that this part of the collection took at this scrape.",
    diagnostic="A slow collection shows as a slow or failed scrape.",
)
COLLECTOR_ERRORS = _counter(
    name="langgraph_collector_errors_total",
    group="self",
    labels=("collector",),
    help="Collections of this part that failed since the exporter started.",
    diagnostic=f"Alerts use {COLLECTOR_SUCCESS.name}, which tells the state now.",
)
BUILD_INFO = _info(
    name="langgraph_build_info",
    group="self",
    labels=("version", "contract", "python", "store"),
    help="Version of the exporter, its contract, its Python and the kind of store it reads.",
    diagnostic="Marks deployments on dashboards; always 1.",
)

#: Every constant above, in their order.
CATALOGUE: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)

_BY_NAME = {metric.name: metric for metric in CATALOGUE}


def by_name(name: str) -> Metric:
    """The metric of that name.

    Raises:
        KeyError: the catalogue has none.
    """
    return _BY_NAME[name]


def served_by(source: Source) -> tuple[Metric, ...]:
    """The part of the catalogue that ``source`` serves."""
    return tuple(metric for metric in CATALOGUE if metric.source is source)
''',
    'baton.domain.chains': r'''"""What a chain of the ledger has told so far: what its next event is judged against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from baton.domain.ledger import GENESIS, Event
from baton.domain.shapes import SHAPES
from baton.domain.transitions import session_after, task_after
from baton.domain.words import EventType, SessionState, TaskState

_E = EventType
_T = TaskState

#: What only the holder of a task writes, or what is written in its name as it gives the task back.
HOLDER_EVENTS = frozenset(
    {
        *(_E.RESUMED, _E.STEP, _E.EFFECT, _E.EFFECT_DEDUPLICATED, _E.RELEASED, _E.DRAINED),
        *(_E.INTERRUPTED, _E.DONE, _E.FAILED),
    }
)

#: The types by their names.
_BY_NAME: Mapping[str, EventType] = {type_.value: type_ for type_ in SHAPES}

#: A claim of a task in one of these begins a run; only external tasks are claimed so.
_OVER = frozenset({_T.DONE, _T.FAILED, _T.INTERRUPTED})

#: Worker, session and epoch of a claim.
Holder = tuple[str | None, str | None, int | None]


@dataclass(slots=True)
class ChainState:
    """The end of a chain, and what a reader knows at that point.

    Attributes:
        n: the place of the last event; -1 before the first.
        hash: its hash; ``GENESIS`` before the first.
        at: its store time.
        seq: its place in the tail.
        blind: events are missing, and no claim has said since how things stand.
        state: the state of the task or of the session.
        epoch: the highest epoch of the task.
        holder: the last claim.
        run_id: the task's run.
        external: the task runs in somebody's own runtime.
        vacated: the reason for which a pending task's run was left unfinished.
        steps: the last checkpoint by namespace.
    """

    n: int = -1
    hash: str = GENESIS
    at: int | None = None
    seq: int = 0
    blind: bool = False
    state: TaskState | SessionState | None = None
    epoch: int = 0
    holder: Holder | None = None
    run_id: str | None = None
    external: bool = False
    vacated: str | None = None
    steps: dict[str, str] = field(default_factory=dict)

    def behind_gap(self) -> ChainState:
        """What is still known where events are missing: how far time and epoch had come."""
        return ChainState(at=self.at, seq=self.seq, blind=True, epoch=self.epoch)

    def advance(self, event: Event, data: Mapping[str, Any]) -> None:
        """Take note of an event, whatever the checks have said of it.

        Args:
            event: the event that comes next, or one behind a gap.
            data: its payload.
        """
        if event.n != self.n + 1:
            self.blind = True
            self.state = self.holder = self.run_id = self.vacated = None
            self.steps = {}
        self.n, self.hash, self.at = event.n, event.hash, event.at
        self.seq = max(self.seq, event.seq)
        type_ = _BY_NAME.get(event.type)
        if type_ is None or type_ is _E.FAULT_INJECTED:
            return
        after = state_after(self, type_, data) or _likely(type_, data)
        if SHAPES[type_].chain == "task":
            self._advance_task(event, type_, data, after)
        self.state = after

    def _advance_task(
        self,
        event: Event,
        type_: EventType,
        data: Mapping[str, Any],
        after: TaskState | SessionState | None,
    ) -> None:
        if self.blind or self.run_id is None or begins_run(self, type_, data):
            self.run_id = event.run_id
        self.epoch = max(self.epoch, event.epoch or 0)
        if after is _T.PENDING and self.state is _T.ACTIVE:
            self.vacated = event.reason
        elif after is not _T.PENDING:
            self.vacated = None
        if type_ in (_E.SUBMITTED, _E.CLAIMED):
            self.external = data.get("external") is True
        if type_ is _E.CLAIMED:
            self.blind = False
            self.holder = (event.worker_id, event.session_id, event.epoch)
        elif type_ is _E.STEP:
            self._note_step(data.get("ns"), event.step_id)
        elif type_ is _E.DONE and not self.external:
            self.steps = {}

    def _note_step(self, ns: object, step_id: str | None) -> None:
        if ns == "" and len(self.steps) > 1:
            # What ran inside the step that is now durable never runs again.
            self.steps = {inner: last for inner, last in self.steps.items() if ":" not in inner}
        if isinstance(ns, str) and step_id:
            self.steps[ns] = step_id

    def to_list(self) -> list[Any]:
        """Plain values, in the order of the fields."""
        holder = None if self.holder is None else list(self.holder)
        told = [self.n, self.hash, self.at, self.seq, self.blind, self.state, self.epoch]
        return [*told, holder, self.run_id, self.external, self.vacated, dict(self.steps)]

    @classmethod
    def from_list(cls, values: list[Any]) -> ChainState:
        """Read back ``to_list``."""
        n, hash_, at, seq, blind, state, epoch, holder, run_id, external, vacated, steps = values
        return cls(
            n=n,
            hash=hash_,
            at=at,
            seq=seq,
            blind=blind,
            state=_state(state),
            epoch=epoch,
            holder=None if holder is None else (holder[0], holder[1], holder[2]),
            run_id=run_id,
            external=external,
            vacated=vacated,
            steps=dict(steps),
        )


def state_after(
    before: ChainState, type_: EventType, data: Mapping[str, Any]
) -> TaskState | SessionState | None:
    """The state of the task or session after an event; None where it is impossible."""
    state = before.state
    if SHAPES[type_].chain == "session":
        return None if isinstance(state, TaskState) else session_after(state, type_)
    if isinstance(state, SessionState):
        return None
    external = before.external or data.get("external") is True
    return task_after(state, type_, action=_action(data), external=external)


def begins_run(before: ChainState, type_: EventType, data: Mapping[str, Any]) -> bool:
    """Whether an event begins a new run of a task."""
    if type_ is _E.OPERATOR_ACTION:
        return _action(data) == "retry"
    return type_ is _E.RESUME_REQUESTED or (type_ is _E.CLAIMED and before.state in _OVER)


def raises_epoch(type_: EventType, data: Mapping[str, Any]) -> bool:
    """Whether an event comes with a new epoch."""
    if type_ is _E.OPERATOR_ACTION:
        return _action(data) != "retry"
    return type_ in (_E.CLAIMED, _E.QUARANTINED)


def _action(data: Mapping[str, Any]) -> str:
    action = data.get("action")
    return action if isinstance(action, str) else ""


def _likely(type_: EventType, data: Mapping[str, Any]) -> TaskState | SessionState | None:
    """The state after an event whose state before is not known, or cannot have been."""
    if SHAPES[type_].chain == "session":
        return next(filter(None, (session_after(state, type_) for state in SessionState)), None)
    action = _action(data)
    return next(filter(None, (task_after(state, type_, action=action) for state in _T)), None)


def _state(value: str | None) -> TaskState | SessionState | None:
    if value is None:
        return None
    return TaskState(value) if value in {*TaskState} else SessionState(value)
''',
    'baton.domain.checks': r'''"""What can be wrong with a ledger: one function per check, told apart by stable ids.

In the definitions below *e* is an event, *p* the event before it in its chain, as far as it was
read, and ``SHAPES`` is the schema. Each chain is judged by itself: the order of events of
different chains carries no meaning. After a gap nothing is known of what came before, so the
checks that need to know wait for the next claim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from itertools import pairwise
from typing import Any, NamedTuple

from baton.domain.chains import (
    HOLDER_EVENTS,
    ChainState,
    begins_run,
    raises_epoch,
    state_after,
)
from baton.domain.ledger import (
    SCHEMA_VERSION,
    Event,
    canonical_payload,
    odd_field,
    recomputed_hash,
    session_chain,
    task_chain,
)
from baton.domain.shapes import ANY, SHAPES, Shape
from baton.domain.words import EventType, TakeoverReason, TaskState

_E = EventType


class Seen(NamedTuple):
    """An event as a check sees it.

    Attributes:
        event: the event.
        before: what its chain has told so far.
        type: its type.
        shape: what an event of that type carries.
        data: its payload; empty where it is no JSON object.
    """

    event: Event
    before: ChainState
    type: EventType
    shape: Shape
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        id: its stable name, also the label of its metric.
        meaning: what a finding says, in one sentence.
        definition: what exactly is found.
    """

    id: str
    meaning: str
    definition: str


#: Every check by its id, in the order in which they are made.
CHECKS: dict[str, Check] = {}
#: The checks of an event's place in its chain, and whether it can be read; made on every event.
LINKS: dict[str, Callable[[Event, ChainState], str | None]] = {}
#: The checks of what an event says; not made if one of ``UNREADABLE`` has found something.
MEANINGS: dict[str, Callable[[Seen], str | None]] = {}
UNREADABLE = frozenset({"event_reordered", "schema_unknown", "type_unknown"})


@cache
def _needed(type_: EventType, *, with_reason: bool) -> frozenset[str]:
    shape = SHAPES[type_]
    return frozenset({*shape.payload, *(shape.with_reason if with_reason else ())})


@cache
def _timed(type_: EventType) -> tuple[str, ...]:
    shape = SHAPES[type_]
    keys = (*shape.payload, *shape.with_reason, *shape.further)
    return tuple(key for key in keys if key.endswith(("_us", "_at")))


@cache
def _lengths(type_: EventType) -> tuple[str, ...]:
    return tuple(key for key in _timed(type_) if key.endswith("_us"))


def _enter(meaning: str, find: Callable[..., Any]) -> str:
    name = find.__name__
    CHECKS[name] = Check(name, meaning, cleandoc(find.__doc__ or ""))
    return name


_Link = Callable[[Event, ChainState], str | None]
_Meaning = Callable[[Seen], str | None]


def _link(meaning: str) -> Callable[[_Link], _Link]:
    def register(find: _Link) -> _Link:
        LINKS[_enter(meaning, find)] = find
        return find

    return register


def _meaning(meaning: str) -> Callable[[_Meaning], _Meaning]:
    def register(find: _Meaning) -> _Meaning:
        MEANINGS[_enter(meaning, find)] = find
        return find

    return register


# The place of an event in its chain


@_link("A field is of a type that no event has: it was edited.")
def field_invalid(event: Event, _before: ChainState) -> str | None:
    """A field of *e* is neither text nor a whole number where it should be; no other check runs."""
    return odd_field(event)


@_link("Events are missing before this one.")
def event_missing(event: Event, before: ChainState) -> str | None:
    """``e.n > p.n + 1``, or ``e.n > 0`` where *e* is the first of its chain that was read."""
    if event.n <= before.n + 1:
        return None
    return f"{event.n - before.n - 1} missing before it"


@_link("The event is out of its order, or there twice.")
def event_reordered(event: Event, before: ChainState) -> str | None:
    """``e.n <= p.n``, or ``e.seq <= p.seq`` although ``e.n > p.n``; *e* is not judged further."""
    if event.n <= before.n:
        return f"it comes after number {before.n}"
    if 0 < event.seq <= before.seq:
        return f"its seq is not above {before.seq}, that of the event before it"
    return None


@_link("The event does not follow from the one before it: one of them was replaced.")
def chain_broken(event: Event, before: ChainState) -> str | None:
    """``e.n = p.n + 1`` and ``e.prev != p.hash``; for the first event, ``GENESIS`` is meant."""
    if event.n != before.n + 1 or event.prev == before.hash:
        return None
    return f"it follows {event.prev[:12]}, and the event before it is {before.hash[:12]}"


# Whether it can be read


@_link("The event was written by a version that this one does not know.")
def schema_unknown(event: Event, _before: ChainState) -> str | None:
    """``e.schema_version`` is not the one that this Baton writes; what *e* says is not judged."""
    if event.schema_version == SCHEMA_VERSION:
        return None
    return f"schema {event.schema_version}, and this Baton knows {SCHEMA_VERSION}"


@_link("The event is of a type that does not exist.")
def type_unknown(event: Event, _before: ChainState) -> str | None:
    """``e.type`` is no ``EventType``; what *e* says is not judged."""
    return None if event.type in SHAPES else f"type {event.type!r}"


@_link("The event was edited after it was written.")
def hash_mismatch(event: Event, _before: ChainState) -> str | None:
    """``e.hash`` is not SHA-256 over the netstrings of the fields of *e*, ``prev`` among them."""
    try:
        found = recomputed_hash(event)
    except ValueError:
        return "it cannot be encoded"
    return None if found == event.hash else f"its fields hash to {found[:12]}"


# What an event says


@_meaning("The payload cannot be read, or lacks a key.")
def payload_invalid(seen: Seen) -> str | None:
    """``e.payload`` is no JSON object in canonical form, or lacks a key that its shape has.

    Or a key that ends in ``_us`` or ``_at`` holds neither a whole number nor null.
    """
    try:
        # What is no JSON object reads as an empty one, which differs from it in this form.
        canonical = canonical_payload(seen.data) == seen.event.payload
    except (ValueError, RecursionError):
        canonical = False
    if not canonical:
        return "no JSON object in canonical form"
    needed = _needed(seen.type, with_reason=bool(seen.event.reason))
    if not needed <= seen.data.keys():
        return f"without {', '.join(sorted(needed - seen.data.keys()))}"
    for key in _timed(seen.type):
        value = seen.data.get(key)
        if value is not None and type(value) is not int:
            return f"no whole number in {key}"
    return None


@_meaning("A reason, outcome or action is none of the words of the house.")
def word_unknown(seen: Seen) -> str | None:
    """``e.reason``, or a value in ``e.payload``, is not among the words that its shape lists."""
    reason, reasons = seen.event.reason, seen.shape.reasons
    if reason not in reasons and not (reason and ANY[0] in reasons):
        return f"reason {reason!r}"
    for key, words in seen.shape.words.items():
        if key in seen.data and seen.data[key] not in words:
            return f"{key} {seen.data[key]!r}"
    return None


@_meaning("An id that correlates the event is missing.")
def correlation_missing(seen: Seen) -> str | None:
    """A field that the shape of *e* lists among its ids is null or empty."""
    event = seen.event
    missing = [name for name in seen.shape.ids if getattr(event, name) in (None, "")]
    return f"without {', '.join(missing)}" if missing else None


@_meaning("The ids of the event contradict its chain.")
def correlation_mismatch(seen: Seen) -> str | None:
    """``e.chain`` is not that of its task or session, or ``e.run_id`` is not that of its task.

    A new run id comes with ``submitted``, ``resume_requested``, an operator's retry, and the
    claim of a thread of somebody's own runtime that was over; with nothing else.
    """
    event, before, kind = seen.event, seen.before, seen.shape.chain
    if kind == "task":
        named = task_chain(event.task_id or "")
    else:
        named = session_chain(event.session_id or "") if kind == "session" else event.chain
    if event.chain != named:
        return f"its ids name the chain {named}"
    if kind != "task" or before.blind or before.run_id is None:
        return None
    if begins_run(before, seen.type, seen.data):
        return f"run {event.run_id} is not new" if event.run_id == before.run_id else None
    if event.run_id != before.run_id:
        return f"run {event.run_id}, and the task's run is {before.run_id}"
    return None


@_meaning("This cannot have happened after what came before.")
def impossible_order(seen: Seen) -> str | None:
    """``task_after`` or ``session_after`` refuses *e* in the state that its chain has told.

    A claim of a task that was held needs a reason, and not the operator's; any other claim has
    the reason for which the run was left unfinished, or none.
    """
    event, before = seen.event, seen.before
    if before.blind or seen.type is _E.FAULT_INJECTED:
        return None
    if state_after(before, seen.type, seen.data) is None:
        return f"after {before.state or 'nothing'}"
    if seen.type is not _E.CLAIMED:
        return None
    if before.state is TaskState.ACTIVE:
        wrong = event.reason in (None, TakeoverReason.OPERATOR)
        return f"taken from its holder for {event.reason or 'no reason'}" if wrong else None
    if event.reason != before.vacated:
        left = f"left for {before.vacated}" if before.vacated else "not left unfinished"
        return f"claimed for {event.reason or 'no reason'}, and it was {left}"
    return None


@_meaning("An epoch did not rise, or fell.")
def epoch_regressed(seen: Seen) -> str | None:
    """``e.epoch`` is below the highest epoch of its task, or the same where it has to rise.

    It rises with a claim, a quarantine, and an operator's action other than a retry.
    """
    epoch, highest = seen.event.epoch, seen.before.epoch
    if seen.shape.chain != "task" or epoch is None:
        return None
    if epoch < highest:
        return f"epoch {epoch} after {highest}"
    if epoch == highest and raises_epoch(seen.type, seen.data):
        return f"epoch {epoch} again"
    return None


@_meaning("The event is not the holder's.")
def holder_mismatch(seen: Seen) -> str | None:
    """What only a holder writes has another worker, session or epoch than the last claim.

    Or a takeover says that somebody else held the task before.
    """
    event, holder = seen.event, seen.before.holder
    if seen.before.blind or holder is None:
        return None
    if seen.type in HOLDER_EVENTS:
        found: tuple[Any, ...] = (event.worker_id, event.session_id, event.epoch)
    elif seen.type is _E.CLAIMED and event.reason is not None:
        keys = ("previous_worker", "previous_session", "previous_epoch")
        found = tuple(seen.data.get(key) for key in keys)
    else:
        return None
    if found == holder:
        return None
    return "{} ({}, epoch {}), and {} ({}, epoch {}) held it".format(*found, *holder)


@_meaning("Time runs backwards.")
def negative_time(seen: Seen) -> str | None:
    """``e.at < p.at``; or not ``last_sign_at <= lost_at <= e.at``; or a length below 0.

    Wall time may step, and is not judged.
    """
    event, data = seen.event, seen.data
    if seen.before.at is not None and event.at < seen.before.at:
        return f"{seen.before.at - event.at} us before the event before it"
    for key in _lengths(seen.type):
        value = data.get(key)
        if type(value) is int and value < 0:
            return f"{key} of {value}"
    if "lost_at" in data:
        passed = (data.get("last_sign_at"), data["lost_at"], event.at)
        for (earlier, later), phase in zip(pairwise(passed), ("detect", "claim"), strict=True):
            if type(earlier) is int and type(later) is int and earlier > later:
                return f"{phase} phase of {later - earlier} us"
    return None


@_meaning("The step does not continue the step before it: history was lost, or has forked.")
def step_discontinuous(seen: Seen) -> str | None:
    """``parent`` of a step is not the last checkpoint of its namespace that the ledger tells of.

    Threads of somebody's own runtime are not judged: it may go back to an earlier checkpoint.
    """
    ns = seen.data.get("ns")
    if seen.type is not _E.STEP or seen.before.external or not isinstance(ns, str):
        return None
    last, parent = seen.before.steps.get(ns), seen.data.get("parent")
    if last is None or parent == last:
        return None
    return f"it follows {parent or 'nothing'}, and the last step was {last}"


def seal_mismatch(told: ChainState | None, sealed: str) -> str:
    """A sealed hash is that of no event of its chain: the chain was rewritten, or cut short."""
    if told is None:
        return f"the chain is gone, and its hash was {sealed[:12]}"
    return (
        f"no event has the sealed hash {sealed[:12]}; the last of {told.n + 1} is {told.hash[:12]}"
    )


_enter("The ledger is not the one that was sealed.", seal_mismatch)
''',
    'baton.domain.compat': r'''"""What a version promises, as named facts, and what has become of them in another version.

A **surface** is a part of Baton that somebody builds on: its command line, its metrics. It promises
**things** by name, such as ``baton worker --ttl``, each with a few facts. A thing that is part of
another is named after it, with one space between: ``baton worker --ttl`` belongs to ``baton
worker``. Two facts mean more than that they are equal:

- ``required``: whoever uses the thing has to give it. It may cease to be required, never become so;
  and a new thing may not be required of those who already used what it belongs to.
- ``always``: whoever reads the thing can rely on its being there. It may become so, never cease.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

#: One fact's value: what JSON holds without nesting.
Value = str | int | float | bool | None
#: The things of a surface, each with its facts.
Things = Mapping[str, Mapping[str, Value]]
#: All surfaces, each with its things.
Surfaces = Mapping[str, Things]

_REQUIRED = "required"
_ALWAYS = "always"


class Kind(StrEnum):
    """How a thing differs from what was promised; only an addition keeps the promise."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as it was promised.

    Attributes:
        surface: where.
        thing: its name.
        kind: what became of it.
        detail: which fact was what and is what; empty where the kind says everything.
    """

    surface: str
    thing: str
    kind: Kind
    detail: str = ""

    @property
    def breaks(self) -> bool:
        """Whether somebody who built on it may be worse off."""
        return self.kind is not Kind.ADDED

    def __str__(self) -> str:
        more = f" ({self.detail})" if self.detail else ""
        return f"{self.kind}: {self.surface}: {self.thing}{more}"


def differences(promised: Surfaces, found: Surfaces) -> list[Difference]:
    """Everything that differs, surface by surface, in the order of the names.

    Args:
        promised: the baseline.
        found: what there is now.
    """
    return [
        one
        for surface in dict.fromkeys((*promised, *found))
        for one in _in_surface(surface, promised.get(surface, {}), found.get(surface, {}))
    ]


def holds(found: list[Difference]) -> bool:
    """Whether the promise is kept: nothing but additions."""
    return not any(one.breaks for one in found)


def _in_surface(surface: str, promised: Things, found: Things) -> Iterator[Difference]:
    for thing in sorted({*promised, *found}):
        if thing not in found:
            yield Difference(surface=surface, thing=thing, kind=Kind.REMOVED)
        elif thing not in promised:
            asks = found[thing].get(_REQUIRED) and thing.rpartition(" ")[0] in promised
            yield Difference(
                surface=surface,
                thing=thing,
                kind=Kind.CHANGED if asks else Kind.ADDED,
                detail="it is new, and has to be given" if asks else "",
            )
        else:
            for kind, detail in _in_thing(promised[thing], found[thing]):
                yield Difference(surface=surface, thing=thing, kind=kind, detail=detail)


def _in_thing(
    promised: Mapping[str, Value], found: Mapping[str, Value]
) -> Iterator[tuple[Kind, str]]:
    for name, was in promised.items():
        now = found.get(name)
        if name in found and now == was and isinstance(now, bool) == isinstance(was, bool):
            continue
        if name == _REQUIRED and was and name in found:
            yield Kind.ADDED, "it need not be given any more"
        elif name == _ALWAYS and not was and now:
            yield Kind.ADDED, "it is always there now"
        else:
            yield Kind.CHANGED, f"{name} was {_said(was)}, is {_said(now)}"


def _said(value: Value) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value)
''',
    'baton.domain.continuity': r'''"""Continuity: nothing lost, nothing done twice, nobody superseded, judged from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from baton.domain.continuity import bounds, contents, leases
from baton.domain.continuity.lease_words import lease_words
from baton.domain.continuity.model import Outcome, Trial, Verdict
from baton.domain.continuity.reading import Reading
from baton.domain.continuity.registry import FOUND, NEEDS, Assertion, judged
from baton.domain.continuity.watch import LEDGER_ONLY, Watch

_ORDER = (
    *(f"C{number}" for number in range(1, 15)),
    *(f"L{number}" for number in range(1, 5)),
    *(f"V{number}" for number in range(1, 4)),
)

#: The modules that enter assertions by being imported.
_GROUPS = (contents, leases, bounds)

#: Every assertion by its id, in the order in which they are judged and told.
ASSERTIONS: Mapping[str, Assertion] = {name: FOUND[name] for name in _ORDER}

_WORST_FIRST = (Outcome.FAIL, Outcome.UNKNOWN, Outcome.PASS)


def judge(trial: Trial, ids: Iterable[str] | None = None) -> tuple[Verdict, ...]:
    """Hold a trial against the assertions.

    Args:
        trial: everything that is known of it.
        ids: the assertions to judge; None for all.

    Returns:
        A verdict for each, in the order of ``ASSERTIONS``.

    Raises:
        ValueError: an id is none.
    """
    wanted = set(ASSERTIONS if ids is None else ids)
    if odd := sorted(wanted - ASSERTIONS.keys()):
        raise ValueError(f"no assertion is called {odd[0]}")
    reading = Reading(trial)
    return tuple(judged(found, reading) for name, found in ASSERTIONS.items() if name in wanted)


def merge(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of some outcomes; unknown if there are none."""
    found = set(outcomes)
    return next((outcome for outcome in _WORST_FIRST if outcome in found), Outcome.UNKNOWN)


__all__ = [
    "ASSERTIONS",
    "LEDGER_ONLY",
    "NEEDS",
    "Assertion",
    "Outcome",
    "Trial",
    "Verdict",
    "Watch",
    "judge",
    "lease_words",
    "merge",
]
''',
    'baton.domain.continuity.bounds': r'''"""How fast and how calm (L1 to L4), and whether the trial shows anything at all (V1 to V3).

Where one of V1 to V3 fails, it is not the fleet that failed: the trial is inconclusive.
"""

from __future__ import annotations

from collections import deque

from baton.domain.continuity.reading import Reading
from baton.domain.continuity.registry import FOUND, assertion, judged
from baton.domain.continuity.tally import NotJudgedError, Tally, line_of
from baton.domain.words import EventType

_E = EventType
_SECOND_US = 1_000_000


@assertion("L1", "Everything comes to an end", "Is every task over soon after the trouble ended?")
def progress(reading: Reading) -> Tally:
    """L1: everything comes to an end.

    Each accepted task (each submitted one, where nobody says) is done, failed, put aside or
    waits for an answer; no later than ``converge_within_us`` after ``healed_at_us``, if given.
    """
    trial, expected = reading.trial, reading.trial.expected
    timed = expected.healed_at_us is not None and expected.converge_within_us is not None
    if trial.accepted is None and not timed:
        raise NotJudgedError("the accepted tasks, or a moment by which they have to be over")
    until = (expected.healed_at_us or 0) + (expected.converge_within_us or 0) if timed else None
    tally = Tally()
    for task_id in sorted(reading.words if trial.accepted is None else trial.accepted):
        settled_at = reading.settled_at(task_id)
        wrong = None
        if settled_at is None:
            wrong = f"{task_id} came to no end"
        elif until is not None and settled_at > until:
            wrong = f"{task_id} was over {settled_at - until} us too late"
        tally.check(wrong, reading.last_line(task_id))
    return tally


@assertion("L2", "Takeovers are quick", "Did any takeover take longer than it may?")
def takeovers_bounded(reading: Reading) -> Tally:
    """L2: takeovers are quick.

    For each restored takeover whose reason has a bound: detect + claim + restore <= the bound
    of its reason, in store time.
    """
    bounds = reading.trial.expected.takeover_max_us
    if bounds is None:
        raise NotJudgedError("bounds for takeovers")
    tally = Tally()
    for takeover in reading.takeovers:
        bound, took = bounds.get(takeover.reason), takeover.latency_us
        if bound is not None and took is not None:
            wrong = f"{takeover.task_id} took {took} us, and {bound} us is the most"
            tally.check(wrong if took > bound else None, reading.claim_line(takeover))
    return tally


@assertion("L3", "No stampede", "Were there too many claims or conflicts at once?")
def calm(reading: Reading) -> Tally:
    """L3: no stampede.

    In no second of store time, (t - 1 s, t] for the time t of any claim, are there more claims
    than the cap; and no more refused writes in all than the most expected.
    """
    expected = reading.trial.expected
    cap, most = expected.claims_per_second_max, expected.conflicts_max
    if cap is None and most is None:
        raise NotJudgedError("a cap for claims or conflicts")
    tally, window = Tally(), deque[tuple[int, str]]()
    events = reading.trial.events
    if cap is not None:
        claims = [(e.at, line_of(e)) for e in events if e.type == _E.CLAIMED]
        for at, line in sorted(claims):
            window.append((at, line))
            while window[0][0] <= at - _SECOND_US:
                window.popleft()
            wrong = f"{len(window)} claims in a second, and {cap} is the most"
            full = len(window) > cap
            tally.check(wrong if full else None, *((x for _, x in window) if full else (line,)))
    if most is not None:
        refused = [line_of(event) for event in events if event.type == _E.WRITE_REFUSED]
        wrong = f"{len(refused)} refused writes, and {most} is the most"
        if events:
            tally.check(wrong if len(refused) > most else None, *refused)
    return tally


@assertion("L4", "Nobody is taken who lives", "Was a task taken although its holder renewed?")
def no_false_takeover(reading: Reading) -> Tally:
    """L4: nobody is taken who lives.

    Each session lost by silence was silent for its TTL; no task that has to stay quiet is taken
    over; and there are as many takeovers of each reason as are expected.
    """
    tally, expected = reading.of_ledger("L4"), reading.trial.expected
    taken: dict[str, list[str]] = {}
    by_reason: dict[str, list[str]] = {}
    for takeover in reading.takeovers:
        line = reading.claim_line(takeover)
        taken.setdefault(takeover.task_id, []).append(line)
        by_reason.setdefault(takeover.reason, []).append(line)
    for task_id in expected.quiet:
        lines = taken.get(task_id)
        if task_id in reading.tasks:
            wrong = f"{task_id} was taken over" if lines else None
            tally.check(wrong, *(lines or [reading.last_line(task_id)]))
    if expected.takeovers is not None and reading.trial.events:
        due = expected.takeovers
        for reason in sorted({*due, *by_reason}):
            lines, wanted = by_reason.get(reason, []), due.get(reason, 0)
            wrong = f"{len(lines)} takeovers for {reason}, and {wanted} are expected"
            shown = lines or [line_of(reading.trial.events[-1])]
            tally.check(wrong if len(lines) != wanted else None, *shown)
    return tally


@assertion("V1", "The fault happened", "Was every fault that had to happen seen to?", "faults")
def fault_fired(reading: Reading) -> Tally:
    """V1: the fault happened.

    Each fault that must fire fired at least once, and an effect of it was observed from outside,
    such as the signal that waitpid tells of.
    """
    tally = Tally()
    lines: dict[object, list[str]] = {}
    for event in reading.trial.events:
        if event.type == _E.FAULT_INJECTED:
            lines.setdefault(event.data.get("fault"), []).append(line_of(event))
    for fault in reading.trial.faults or ():
        if fault.must_fire:
            wrong = None
            if not fault.fired:
                wrong = f"{fault.name} never fired"
            elif not fault.observed:
                wrong = f"{fault.name} fired, and nothing was seen of it"
            tally.check(wrong, *lines.get(fault.name, ()))
    return tally


@assertion("V2", "The checkers can fail", "Was each assertion seen to fail?", "mutants_killed")
def oracle_alive(reading: Reading) -> Tally:
    """V2: the checkers can fail.

    For each assertion that the scenario requires (each of C1 to C14 and L1 to L4, where it names
    none), a planted bug was seen to fail it in this build.
    """
    tally = Tally()
    required = reading.trial.expected.assertions or tuple(sorted(FOUND))
    for name in required:
        if not name.startswith("V"):
            alive = name in (reading.trial.mutants_killed or ())
            tally.check(None if alive else f"no planted bug was seen to fail {name}")
    return tally


@assertion("V3", "Something was checked", "Did every required assertion have anything to check?")
def non_empty(reading: Reading) -> Tally:
    """V3: something was checked.

    For each assertion that the scenario requires (C10, where it names none): it was judged, and
    more than 0 things were held against it.
    """
    tally = Tally()
    for name in reading.trial.expected.assertions or ("C10",):
        if name == "V3":
            continue
        verdict = judged(FOUND[name], reading)
        empty = not verdict.judged or not verdict.checked
        wrong = f"{name} had nothing to check ({verdict.text})" if empty else None
        tally.check(wrong, *verdict.witnesses[:1])
    return tally
''',
    'baton.domain.continuity.concluding': r'''"""What a performed scenario shows: its assertions, its expectations, one verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from baton.domain.continuity import judge
from baton.domain.continuity.model import Outcome, Trial, Verdict
from baton.domain.words import EventType


class Judgement(StrEnum):
    """What came of a scenario, the best first."""

    PASS = "PASS"  # noqa: S105 - a verdict, and no password
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"
    ERROR = "ERROR"


#: What the command ends with.
EXIT_CODES = {
    Judgement.PASS: 0,
    Judgement.FAIL: 1,
    Judgement.INCONCLUSIVE: 2,
    Judgement.ERROR: 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One expectation of a scenario, held against what happened.

    Attributes:
        name: what was expected to be so.
        met: whether it was; None where this engine does not tell.
        text: what was found.
    """

    name: str
    met: bool | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What was tried beside the performance: nothing that it left can tell of it.

    Attributes:
        finding: what it came to.
        otherwise: what becomes of a performance that passed, if it is not met.
    """

    finding: Finding
    otherwise: Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one scenario.

    Attributes:
        verdicts: of all assertions, or where only those asked for are judged, of those.
        asked: the assertions that it asks for.
        findings: of the performance.
        beside: what was tried beside it.
    """

    judgement: Judgement
    reason: str
    verdicts: tuple[Verdict, ...] = ()
    asked: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    beside: tuple[Beside, ...] = ()

    @property
    def expectations(self) -> tuple[Finding, ...]:
        """Everything that was expected, of the performance and beside it."""
        return (*self.findings, *(one.finding for one in self.beside))


def with_beside(result: Result, one: Beside) -> Result:
    """A result that also tells of something that was tried beside the performance."""
    found = replace(result, beside=(*result.beside, one))
    if one.finding.met is False and result.judgement is Judgement.PASS:
        reason = f"{one.finding.name}: {one.finding.text}"
        return replace(found, judgement=one.otherwise, reason=reason)
    return found


def worst(judgements: Iterable[Judgement]) -> Judgement:
    """The worst of several; INCONCLUSIVE if there are none."""
    order = list(Judgement)
    return max(judgements, key=order.index, default=Judgement.INCONCLUSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """How many of something are expected; None leaves an end open."""

    at_least: int = 0
    at_most: int | None = None

    def __contains__(self, count: int) -> bool:
        return self.at_least <= count and (self.at_most is None or count <= self.at_most)

    def __str__(self) -> str:
        if self.at_most is None:
            return f"{self.at_least} or more"
        return (
            str(self.at_least)
            if self.at_least == self.at_most
            else f"{self.at_least} to {self.at_most}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a scenario holds against what happened.

    Attributes:
        assertions: what must pass.
        takeovers: how many claims continue a run that another session left unfinished.
        refusals: how many writes the fence refuses.
        duplicates: how often an effect is recognised as recorded already.
        alerts: alerts that must fire.
        silent: alerts that must not.
    """

    assertions: tuple[str, ...]
    takeovers: Range = field(default_factory=Range)
    refusals: Range = field(default_factory=Range)
    duplicates: Range = field(default_factory=Range)
    alerts: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


def conclude(
    wanted: Wanted,
    trial: Trial,
    *,
    fired: Mapping[str, str] | None,
    unwatched: str = "",
    asked_only: bool = False,
) -> Result:
    """Judge a performance.

    Args:
        wanted: what the scenario asks for.
        trial: what it left behind.
        fired: the alerts that fired, and when; None where nothing evaluated them.
        unwatched: why nothing evaluated them although something had to; then what asks for an
            alert, or for its silence, cannot pass.
        asked_only: judge by the assertions that are asked for, and by no others.
    """
    verdicts = judge(trial, wanted.assertions if asked_only else None)
    findings = tuple(_findings(wanted, trial, fired, unwatched))
    judgement, reason = _verdict(wanted.assertions, verdicts, findings)
    if judgement is Judgement.PASS and unwatched:
        for finding in findings:
            if finding.met is None:
                judgement, reason = Judgement.INCONCLUSIVE, f"{finding.name}: {finding.text}"
                break
    return Result(
        judgement=judgement,
        reason=reason,
        verdicts=verdicts,
        asked=wanted.assertions,
        findings=findings,
    )


def _verdict(
    asked: Iterable[str], verdicts: Iterable[Verdict], findings: Iterable[Finding]
) -> tuple[Judgement, str]:
    wanted = [verdict for verdict in verdicts if verdict.assertion in set(asked)]
    broken = [verdict for verdict in wanted if verdict.outcome is Outcome.FAIL]
    for verdict in broken:
        # Where one of V1 to V3 fails it is not the fleet that failed: nothing was shown.
        if not verdict.assertion.startswith("V"):
            return Judgement.FAIL, f"{verdict.assertion}: {verdict.text}"
    for verdict in broken:
        return Judgement.INCONCLUSIVE, f"{verdict.assertion}: {verdict.text}"
    for finding in findings:
        if finding.met is False:
            return Judgement.FAIL, f"{finding.name}: {finding.text}"
    for verdict in wanted:
        if verdict.outcome is Outcome.UNKNOWN:
            return Judgement.INCONCLUSIVE, f"{verdict.assertion}: {verdict.text}"
    return Judgement.PASS, ""


def _findings(
    wanted: Wanted, trial: Trial, fired: Mapping[str, str] | None, unwatched: str
) -> Iterator[Finding]:
    events = trial.events
    takeovers = sum(event.type == EventType.CLAIMED and bool(event.reason) for event in events)
    refusals = sum(event.type == EventType.WRITE_REFUSED for event in events)
    duplicates = sum(event.type == EventType.EFFECT_DEDUPLICATED for event in events)
    yield _counted("takeovers", wanted.takeovers, takeovers)
    yield _counted("refused writes", wanted.refusals, refusals)
    yield _counted("recognised effects", wanted.duplicates, duplicates)
    nobody = f"not evaluated: {unwatched}" if unwatched else "not evaluated by this engine"
    for name in wanted.alerts:
        met = None if fired is None else name in fired
        yield Finding(name=f"alert {name}", met=met, text=_seen(fired, name, nobody))
    for name in wanted.silent:
        met = None if fired is None else name not in fired
        yield Finding(name=f"silence of {name}", met=met, text=_seen(fired, name, nobody))


def _counted(name: str, wanted: Range, found: int) -> Finding:
    return Finding(name=name, met=found in wanted, text=f"{found}, and {wanted} expected")


def _seen(fired: Mapping[str, str] | None, name: str, nobody: str) -> str:
    return nobody if fired is None else fired.get(name, "was silent")
''',
    'baton.domain.continuity.contents': r'''"""What a fleet did with its tasks: nothing lost, nothing twice (C1, C2, C4, C7, C8, C11)."""

from __future__ import annotations

from collections import Counter

from baton.domain.continuity.model import CheckpointFact, TraceKind
from baton.domain.continuity.portable import effects_of, steps_of
from baton.domain.continuity.reading import Reading
from baton.domain.continuity.registry import assertion
from baton.domain.continuity.tally import Tally, line_of, trace_line
from baton.domain.ledger import Event, task_chain
from baton.domain.words import EventType

_E = EventType


@assertion("C1", "No step lost", "Did every task take every step it should?", "control")
def no_step_lost(reading: Reading) -> Tally:
    """C1: no step lost.

    For each task of the control run that is done: its super-steps are those of the control run
    as sets, and their numbers have no gap; its effects have the control run's super-steps.
    """
    tally, control = Tally(), reading.trial.control
    for task_id, wanted in () if control is None else control.each():
        if not reading.done(task_id):
            continue
        events = reading.tasks[task_id]
        steps, effects = set(steps_of(events)), Counter(effects_of(events))
        wrong = None
        if odd := steps ^ set(wanted.steps):
            wrong = f"{task_id}: step {min(odd)} is {'there' if min(odd) in steps else 'missing'}"
        elif len(steps) != max(steps) - min(steps) + 1 if steps else False:
            wrong = f"{task_id}: its steps have a gap"
        elif effects != (due := Counter(wanted.effects)):
            off = min((effects - due) or (due - effects))
            wrong = f"{task_id}: {effects[off]} effects in step {off}, and {due[off]} are due"
        tally.check(wrong, reading.last_line(task_id))
    return tally


@assertion("C2", "Effects are unique", "Was any effect recorded or accepted twice?")
def effects_unique(reading: Reading) -> Tally:
    """C2: effects are unique.

    For each task and key k there is at most one ``effect`` with k, and each
    ``effect_deduplicated`` follows the ``effect`` of its key. With a control run, each done task
    has as many effects as there. With the effects' target, it holds each key once, every
    recorded key, and for a done task no other. With a trace, no effect is tried under a later
    epoch than the one that its record has: who finds a record uses it. key = H(task, namespace,
    LangGraph's task, ordinal), never what a model said.
    """
    tally = reading.of_ledger("C2")
    control, sink = reading.trial.control, reading.trial.sink
    for task_id, wanted in () if control is None else control.each():
        if reading.done(task_id):
            found, due = len(effects_of(reading.tasks[task_id])), len(wanted.effects)
            wrong = f"{task_id}: {found} effects, and {due} are due" if found != due else None
            tally.check(wrong, reading.last_line(task_id))
    _tried_again(reading, tally)
    if sink is None:
        return tally
    held = Counter(entry.key for entry in sink)
    lines = {
        event.data["effect_key"]: line_of(event)
        for event in reading.trial.events
        if event.type == _E.EFFECT and "effect_key" in event.data
    }
    owners = {entry.key: entry.task_id for entry in sink}
    for key in sorted({*held, *lines}):
        wrong = f"{key[:12]} is {held[key]} times at its target" if held[key] != 1 else None
        if key not in lines and reading.done(owners[key]):
            wrong = f"{key[:12]} is at its target, and the task ended without a record of it"
        tally.check(wrong, lines.get(key) or reading.last_line(owners[key]))
    return tally


def _tried_again(reading: Reading, tally: Tally) -> None:
    """The effects that somebody tried although their result was recorded under an earlier epoch."""
    recorded = {
        event.data["effect_key"]: event.epoch
        for event in reading.trial.events
        if event.type == _E.EFFECT and "effect_key" in event.data
    }
    for index, line in enumerate(reading.trial.trace or ()):
        epoch = recorded.get(line.effect_key or "")
        if line.kind is TraceKind.EFFECT_ATTEMPT and epoch is not None and line.epoch is not None:
            wrong = f"{(line.effect_key or '')[:12]} is tried again, and epoch {epoch} recorded it"
            tally.check(wrong if line.epoch > epoch else None, trace_line(index))


@assertion("C4", "History is one line", "Has the history of a task a fork or a hole?")
def history_linear(reading: Reading) -> Tally:
    """C4: history is one line.

    Each step's parent is the last step of its namespace before it: so parent is injective,
    there is one root, and each parent precedes its child. With LangGraph's tables: every step's
    checkpoint is there with the event's digest (where the store keeps the bytes) and parent, no
    two have the same parent, one has none, and none is there that no event tells of.
    """
    tally = reading.of_ledger("C4")
    if reading.trial.checkpoints is None:
        return tally
    stored: dict[tuple[str, str], CheckpointFact] = {
        (fact.task_id, fact.step_id): fact for fact in reading.trial.checkpoints
    }
    told: set[tuple[str, str]] = set()
    for event in reading.trial.events:
        if event.type == _E.STEP and event.task_id and event.step_id:
            told.add((event.task_id, event.step_id))
            fact = stored.get((event.task_id, event.step_id))
            tally.check(_stored_wrong(event, fact), line_of(event))
    parents = Counter((f.task_id, f.ns, f.parent_id) for f in stored.values())
    for key, fact in sorted(stored.items()):
        if key not in told:
            wrong = f"checkpoint {fact.step_id} is in no event"
            tally.check(wrong, reading.last_line(fact.task_id))
        elif parents[fact.task_id, fact.ns, fact.parent_id] > 1:
            wrong = f"checkpoint {fact.step_id} shares its parent {fact.parent_id}"
            tally.check(wrong, reading.last_line(fact.task_id))
    return tally


def _stored_wrong(event: Event, fact: CheckpointFact | None) -> str | None:
    if fact is None:
        return f"checkpoint {event.step_id} is not stored"
    data = event.data
    if fact.digest is not None and fact.digest != data.get("digest"):
        return f"checkpoint {event.step_id} is stored with another digest"
    if fact.parent_id != data.get("parent"):
        return f"checkpoint {event.step_id} is stored behind {fact.parent_id}"
    return None


@assertion(
    "C7", "Same final state", "Did every task come to the same result?", "control", "results"
)
def final_state_equal(reading: Reading) -> Tally:
    """C7: same final state.

    For each task of the control run that is done: the digest of its final state is that of the
    control run, both under the declared projection, which leaves out ids and times.
    """
    tally, trial = Tally(), reading.trial
    for task_id, wanted in () if trial.control is None else trial.control.each():
        if reading.done(task_id):
            found = (trial.results or {}).get(task_id)
            wrong = None
            if found != wanted.state_digest:
                state = f"digest {found[:12]}" if found else "no state"
                wrong = f"{task_id}: {state}, and {wanted.state_digest[:12]} undisturbed"
            tally.check(wrong, reading.last_line(task_id))
    return tally


@assertion("C8", "Acceptance lasts", "Is any task gone that was accepted?", "accepted")
def acceptance_durable(reading: Reading) -> Tally:
    """C8: acceptance lasts.

    Each task whose acceptance was confirmed is in the ledger, from ``submitted`` on, and by the
    end of the trial is done, failed by a durable record, put aside, or waits for an answer.
    """
    tally = Tally()
    for task_id in sorted(reading.trial.accepted or ()):
        events = reading.tasks.get(task_id, [])
        wrong = None
        if not any(event.type == _E.SUBMITTED for event in events):
            wrong = f"{task_id} was accepted and is not in the ledger"
        elif reading.settled_at(task_id) is None:
            wrong = f"{task_id} was accepted and came to no end"
        tally.check(wrong, reading.last_line(task_id))
    return tally


@assertion("C11", "Replay gives the same", "Does a step that is run again agree?", "replays")
def replay_consistent(reading: Reading) -> Tally:
    """C11: replay gives the same.

    Each replayed super-step, run from the checkpoint before it with the recorded inputs that no
    rule determines, came to the recorded digest in each of at least two replays.
    """
    tally = Tally()
    lines = {
        (event.task_id, event.step_id): line_of(event)
        for event in reading.trial.events
        if event.type == _E.STEP
    }
    for fact in reading.trial.replays or ():
        place = f"{fact.task_id} step {fact.step}"
        wrong = None
        if len(fact.replayed) < 2:  # noqa: PLR2004 - one replay cannot disagree with another
            wrong = f"{place} was replayed {len(fact.replayed)} times, and twice is the least"
        elif {*fact.replayed} != {fact.recorded}:
            odd = next(found for found in fact.replayed if found != fact.recorded)
            wrong = f"{place} came to {odd[:12]}, and {fact.recorded[:12]} is recorded"
        line = lines.get((fact.task_id, fact.step_id))
        if line is None:
            wrong = wrong or f"{place} is in no event"
        tally.check(wrong, line or f"{task_chain(fact.task_id)}#0")
    return tally
''',
    'baton.domain.continuity.kept': r'''"""A trial in plain values: kept beside its ledger and its trace, and read again to be judged.

Everything that the assertions may look at is in ``trial.json``, but for the events and the trace,
which have files of their own; so whoever has the three comes to the same verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from baton.domain.continuity.concluding import Beside, Finding, Judgement, Range, Wanted
from baton.domain.continuity.model import (
    CheckpointFact,
    Control,
    ControlTask,
    Expected,
    FaultFact,
    ReplayFact,
    SinkEntry,
    TraceKind,
    TraceLine,
    Trial,
)
from baton.domain.ledger import Event


def facts_of(
    trial: Trial,
    wanted: Wanted,
    *,
    fired: Mapping[str, str] | None,
    unwatched: str = "",
    asked_only: bool = False,
    beside: Iterable[Beside] = (),
) -> dict[str, Any]:
    """Everything that is judged, but for the events and the trace.

    Args:
        trial: what a performance left behind.
        wanted: what the scenario holds against it.
        fired: as ``conclude`` takes it.
        unwatched: as ``conclude`` takes it.
        asked_only: as ``conclude`` takes it.
        beside: what was tried beside it.
    """
    counters = trial.counters
    return {
        "complete": trial.complete,
        "seal": None if trial.seal is None else dict(trial.seal),
        "accepted": None if trial.accepted is None else sorted(trial.accepted),
        "control": None if trial.control is None else asdict(trial.control),
        "results": None if trial.results is None else dict(trial.results),
        "checkpoints": _rows(trial.checkpoints),
        "replays": _rows(trial.replays),
        "traced": trial.trace is not None,
        "sink": _rows(trial.sink),
        "faults": _rows(trial.faults),
        "counters": None
        if counters is None
        else [
            [name, [list(pair) for pair in labels], value]
            for (name, labels), value in sorted(counters.items())
        ],
        "expected": asdict(trial.expected),
        "mutants_killed": None if trial.mutants_killed is None else sorted(trial.mutants_killed),
        "wanted": asdict(wanted),
        "fired": None if fired is None else dict(fired),
        "unwatched": unwatched,
        "asked_only": asked_only,
        "beside": [asdict(one) for one in beside],
    }


def trial_of(
    facts: Mapping[str, Any], events: Sequence[Event], trace: Iterable[Mapping[str, Any]]
) -> Trial:
    """The trial that was kept.

    Args:
        facts: from ``facts_of``, also after it was JSON.
        events: the ledger, in the order of its tail.
        trace: the lines of the workers' trace.

    Raises:
        ValueError, KeyError, TypeError: it is not as it was written.
    """
    counters, expected = facts["counters"], dict(facts["expected"])
    for name in ("quiet", "assertions"):
        expected[name] = tuple(expected[name])
    return Trial(
        events=events,
        complete=facts["complete"],
        seal=facts["seal"],
        accepted=_set(facts["accepted"]),
        control=_control(facts["control"]),
        results=facts["results"],
        checkpoints=_many(CheckpointFact, facts["checkpoints"]),
        replays=_many(ReplayFact, facts["replays"], "replayed"),
        trace=tuple(_line(one) for one in trace) if facts["traced"] else None,
        sink=_many(SinkEntry, facts["sink"]),
        faults=_many(FaultFact, facts["faults"], "observed"),
        counters=None
        if counters is None
        else {
            (name, tuple((label, value) for label, value in labels)): count
            for name, labels, count in counters
        },
        expected=Expected(**expected),
        mutants_killed=_set(facts["mutants_killed"]),
    )


def wanted_in(facts: Mapping[str, Any]) -> Wanted:
    """What the scenario holds against it.

    Raises:
        KeyError, TypeError: it is not as it was written.
    """
    kept = facts["wanted"]
    return Wanted(
        assertions=tuple(kept["assertions"]),
        takeovers=Range(**kept["takeovers"]),
        refusals=Range(**kept["refusals"]),
        duplicates=Range(**kept["duplicates"]),
        alerts=tuple(kept["alerts"]),
        silent=tuple(kept["silent"]),
    )


def beside_in(facts: Mapping[str, Any]) -> tuple[Beside, ...]:
    """What was tried beside it; nothing in what was kept before anything was.

    Raises:
        ValueError, KeyError, TypeError: it is not as it was written.
    """
    return tuple(
        Beside(finding=Finding(**one["finding"]), otherwise=Judgement(one["otherwise"]))
        for one in facts.get("beside", ())
    )


def _rows(facts: Iterable[Any] | None) -> list[dict[str, Any]] | None:
    return None if facts is None else [asdict(one) for one in facts]


def _many(kind: Any, rows: Iterable[Mapping[str, Any]] | None, *lists: str) -> Any:
    if rows is None:
        return None
    return tuple(kind(**{**row, **{name: tuple(row[name]) for name in lists}}) for row in rows)


def _set(names: Iterable[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _control(kept: Mapping[str, Any] | None) -> Control | None:
    if kept is None:
        return None
    tasks = {
        task_id: ControlTask(
            steps=tuple(one["steps"]),
            effects=tuple(one["effects"]),
            state_digest=one["state_digest"],
        )
        for task_id, one in kept["tasks"].items()
    }
    return Control(tasks=tasks, projection=tuple(kept["projection"]))


def _line(row: Mapping[str, Any]) -> TraceLine:
    return TraceLine(**{**row, "kind": TraceKind(row["kind"])})
''',
    'baton.domain.continuity.lease_words': r'''"""The history of a lease as a word, and what of a run can be compared with another run."""

from __future__ import annotations

from collections.abc import Iterable

from baton.domain.ledger import Event
from baton.domain.words import EventType, TakeoverReason

_E = EventType

_LETTERS: dict[str, str] = {
    _E.RELEASED: "F",
    _E.DRAINED: "F",
    _E.INTERRUPTED: "I",
    _E.DONE: "D",
    _E.FAILED: "E",
    _E.QUARANTINED: "Q",
}
_LOST = frozenset(
    {TakeoverReason.CRASHED, TakeoverReason.HEARTBEAT_LOST, TakeoverReason.PROGRESS_STALLED}
)


def lease_words(events: Iterable[Event]) -> dict[str, str]:
    """The lease word of each task, read off its chain alone.

    ``H2``: a session holds it under epoch 2; ``X``: its holder was lost (crashed, silent or
    stalled), which shows once somebody acts on it; ``F``: it was given back unfinished, or an
    operator took it; ``I``: it waits for an answer; ``Q``: it was put aside; ``D``: done; ``E``:
    failed or cancelled. A task that nobody ever claimed has an empty word.

    Args:
        events: a ledger, each chain in its order.
    """
    words: dict[str, list[str]] = {}
    for event in events:
        if event.type == _E.SUBMITTED or (event.task_id and event.type == _E.CLAIMED):
            words.setdefault(event.task_id or "", [])
        word = words.get(event.task_id or "")
        if word is not None and event.chain == f"task:{event.task_id}":
            word += _letters(event, held=bool(word) and word[-1].startswith("H"))
    return {task_id: " ".join(word) for task_id, word in words.items()}


def _letters(event: Event, *, held: bool) -> list[str]:
    if event.type == _E.CLAIMED:
        left = ["X" if event.reason in _LOST else "F"] if held else []
        return [*left, f"H{event.epoch}"]
    if event.type == _E.QUARANTINED:
        return ["X", "Q"] if held else ["Q"]
    if event.type == _E.OPERATOR_ACTION:
        action = event.data.get("action")
        if action == "cancel":
            return ["E"]
        return ["F"] if held and action != "retry" else []
    letter = _LETTERS.get(event.type)
    return [letter] if letter else []
''',
    'baton.domain.continuity.leases': r'''"""Who held what: fenced, exclusive, in order, in time (C3, C5, C6, C9, C10, C12, C13, C14)."""

from __future__ import annotations

from dataclasses import dataclass

from baton.domain.continuity.model import SeriesKey, TraceKind, TraceLine
from baton.domain.continuity.reading import Reading
from baton.domain.continuity.registry import assertion
from baton.domain.continuity.tally import Tally, line_of, trace_line
from baton.domain.folds import FOLDED
from baton.domain.words import EventType

_K = TraceKind


@assertion("C3", "No zombie writes", "Was a write accepted from a holder who had been replaced?")
def no_zombie_write(reading: Reading) -> Tally:
    """C3: no zombie writes.

    For each accepted write x on a task (``resumed``, ``step``, ``effect``,
    ``effect_deduplicated``): the task is held, epoch(x) is its highest epoch so far, and worker
    and session of x are those of the claim that came with it.
    """
    return reading.of_ledger("C3")


@assertion("C5", "One holder at a time", "Did two sessions ever hold the same task?")
def exclusive(reading: Reading) -> Tally:
    """C5: one holder at a time.

    The intervals [claim, min(loss, release, next claim)) of a task are disjoint in store time:
    each claim finds the task free, or names the holder before and comes no earlier than that
    holder's loss, as the claim tells it and as the lost session's own chain tells it.
    """
    return reading.of_ledger("C5")


@assertion("C6", "Epochs only grow", "Was a fencing token ever used twice?")
def epochs_grow(reading: Reading) -> Tally:
    """C6: epochs only grow.

    Per task, each claim, quarantine and operator's action other than a retry has a higher epoch
    than everything before it, after a restore too; no other event has a lower one. With a trace,
    no two sessions begin a node of a task under one epoch, whatever a restore made of the ledger.
    """
    tally, first = reading.of_ledger("C6"), dict[tuple[str | None, int | None], str | None]()
    for index, line in enumerate(reading.trial.trace or ()):
        if line.kind is _K.ATTEMPT:
            by = first.setdefault((line.task_id, line.epoch), line.session_id)
            wrong = (
                f"{line.session_id} works under epoch {line.epoch} of {line.task_id}, as {by} did"
            )
            tally.check(wrong if by != line.session_id else None, trace_line(index))
    return tally


@assertion("C9", "Legal lease history", "Did tasks and sessions only do what they may?")
def legal_history(reading: Reading) -> Tally:
    """C9: legal lease history.

    The events of each task's and each session's chain are a word of the declared automaton
    (``task_after``, ``session_after``); where a lease word is expected, the task's is that one.
    """
    tally = reading.of_ledger("C9")
    for task_id, wanted in sorted((reading.trial.expected.lease or {}).items()):
        found = reading.words.get(task_id)
        wrong = None
        if found != wanted:
            wrong = f"{task_id} reads {found or 'nothing'}, and {wanted} is expected"
        tally.check(wrong, reading.last_line(task_id))
    return tally


@assertion("C10", "The ledger is whole", "Is the record complete, in order and unedited?")
def ledger_whole(reading: Reading) -> Tally:
    """C10: the ledger is whole.

    Each chain begins at 0, is dense, and each event's ``prev`` and ``hash`` fit; every event
    can be read, has its ids and its words, and time does not run back; each sealed head is the
    hash of an event of its chain.
    """
    return reading.of_ledger("C10")


@assertion("C12", "Nobody gives back for another", "Did a stale holder release or renew a lease?")
def no_foreign_release(reading: Reading) -> Tally:
    """C12: nobody gives back for another.

    Each accepted release (``released``, ``drained``, ``interrupted``, ``done``, ``failed``) has
    the task's highest epoch and the worker and session of its claim; each accepted renewal or stop
    (``heartbeat_late``, ``session_stopped``) is of a session that was neither lost nor stopped.
    With a trace, no heartbeat is acknowledged to a session after its end, in store time.
    """
    tally, ended = reading.of_ledger("C12"), dict[str | None, int]()
    for event in reading.trial.events:
        if event.type in (EventType.SESSION_LOST, EventType.SESSION_STOPPED):
            lost_at = event.data.get("lost_at")
            ended[event.session_id] = lost_at if type(lost_at) is int else event.at
    for index, line in enumerate(reading.trial.trace or ()):
        if line.kind is _K.BEAT_ACKED and line.store_us is not None:
            late_us = line.store_us - ended.get(line.session_id, line.store_us)
            wrong = f"{line.session_id} was renewed {late_us} us after its end"
            tally.check(wrong if late_us > 0 else None, trace_line(index))
    return tally


@dataclass(slots=True)
class _Session:
    """What its trace tells of a session: its lease's term, and until when it was confirmed."""

    ttl_us: int | None = None
    margin_us: int = 0
    sent_us: int | None = None
    until_us: int | None = None
    over: bool = False


@assertion(
    "C13", "Doubt stops work", "Did a worker start a node when its lease was in doubt?", "trace"
)
def self_fenced(reading: Reading) -> Tally:
    """C13: doubt stops work.

    Each ``attempt`` of a session begins before sent + TTL - margin, by the worker's monotonic
    clock, where sent is when its last confirmed renewal was sent (or its session opened), and
    none begins once the session is over.
    """
    tally, sessions = Tally(), dict[tuple[str, str | None], _Session]()
    for index, line in enumerate(reading.trial.trace or ()):
        session = sessions.setdefault((line.worker_id, line.session_id), _Session())
        if line.kind is _K.ATTEMPT:
            tally.check(_doubtful(session, line), trace_line(index))
        else:
            _follow(session, line)
    return tally


def _follow(session: _Session, line: TraceLine) -> None:
    if line.kind is _K.SESSION_OPENED:
        session.ttl_us, session.margin_us = line.ttl_us, line.margin_us or 0
        opened = None if line.ttl_us is None else line.at_us + line.ttl_us
        session.until_us = line.confirmed_until_us or opened
    elif line.kind is _K.SESSION_OVER:
        session.over = True
    elif line.kind is _K.BEAT_SENT:
        session.sent_us = line.at_us
    elif line.kind is _K.BEAT_ACKED and session.sent_us is not None and session.ttl_us is not None:
        session.until_us, session.sent_us = session.sent_us + session.ttl_us, None
    elif line.kind is _K.BEAT_FAILED:
        session.sent_us = None


def _doubtful(session: _Session, line: TraceLine) -> str | None:
    who = f"{line.worker_id} began {line.node or 'a node'}"
    if session.over:
        return f"{who} after its session was over"
    if session.until_us is None:
        return f"{who} in a session that was never confirmed"
    late_us = line.at_us - (session.until_us - session.margin_us)
    return f"{who} {late_us} us after its deadline" if late_us >= 0 else None


@assertion("C14", "Metrics agree", "Do the metrics say what the ledger says?", "counters")
def metrics_agree(reading: Reading) -> Tally:
    """C14: metrics agree.

    Each counter that is folded from the ledger was served with exactly the ledger's count, by
    series; a count that is not 0 was served, and none was served that the ledger does not have.
    """
    tally, served = Tally(), reading.trial.counters or {}
    counted = reading.fold.counters
    for metric, types in FOLDED.items():
        if metric.buckets:
            continue
        due: dict[SeriesKey, float] = {}
        for labels, count in counted.get(metric, {}).items():
            pairs = tuple(sorted(zip(metric.labels, labels, strict=True)))
            due[metric.name, pairs] = count
        mine = {key: value for key, value in served.items() if key[0] == metric.name}
        lines = [line_of(event) for event in reading.trial.events if event.type in types][-3:]
        for key in sorted({*due, *mine}):
            name = f"{key[0]}{dict(key[1])}"
            found, wanted = mine.get(key, 0), due.get(key, 0)
            wrong = f"{name} is {found:g}, and the ledger has {wanted:g}"
            if found or wanted:
                tally.check(wrong if found != wanted else None, *lines)
    return tally
''',
    'baton.domain.continuity.model': r'''"""What a continuity assertion may look at, and what it may say.

A ``Trial`` is everything that is known of one run of a fleet: its ledger, and beside it whatever
a scenario supplies. What is not known is None, and an assertion that needs it is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from baton.domain.ledger import Event

#: A series as it was served: its name, and its labels in the order of their names.
SeriesKey = tuple[str, tuple[tuple[str, str], ...]]


class Outcome(StrEnum):
    """What came of judging one assertion."""

    PASS = "pass"  # noqa: S105 - a verdict, and no password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of judging one assertion, and the lines that show it.

    Attributes:
        assertion: its id, a key of ``ASSERTIONS``.
        outcome: nothing that was not checked passes.
        checked: how many things were held against the assertion.
        violations: how many of them broke it.
        text: one sentence for people.
        witnesses: ledger lines as ``CHAIN#N`` and trace lines as ``trace:LINE``, at most
            ``WITNESSES_MAX``; those that break it, or some of those that were checked.
        judged: false if an input was missing, or the judging itself went wrong.
    """

    assertion: str
    outcome: Outcome
    checked: int
    text: str
    violations: int = 0
    witnesses: tuple[str, ...] = ()
    judged: bool = True


#: More lines than this nobody reads.
WITNESSES_MAX = 20


class TraceKind(StrEnum):
    """What a worker writes into its trace."""

    SESSION_OPENED = "session_opened"
    SESSION_OVER = "session_over"
    BEAT_SENT = "beat_sent"
    BEAT_ACKED = "beat_acked"
    BEAT_FAILED = "beat_failed"
    RUN_BEGAN = "run_began"
    RUN_ENDED = "run_ended"
    ATTEMPT = "attempt"
    EFFECT_ATTEMPT = "effect_attempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceLine:
    """One line of a worker's trace: an attempt or a renewal as the worker saw it.

    Attributes:
        kind: what it was; an ``attempt`` is a node that begins.
        at_us: the worker's monotonic clock, whole microseconds.
        confirmed_until_us: until when the leases were surely its own, by the same clock; None
            while no renewal was confirmed.
        effect_key: the key of the effect that is tried, on ``effect_attempt``, if it is known.
        store_us: the store's own time of the renewal, on ``beat_acked``, if it is known.
        ttl_us: the session's TTL, on ``session_opened``.
        margin_us: the last part of it in which no node may begin, on ``session_opened``.
    """

    kind: TraceKind
    at_us: int
    worker_id: str
    session_id: str | None = None
    task_id: str | None = None
    epoch: int | None = None
    step: str | None = None
    node: str | None = None
    effect_key: str | None = None
    store_us: int | None = None
    confirmed_until_us: int | None = None
    ttl_us: int | None = None
    margin_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlTask:
    """What an undisturbed run of one task did.

    Attributes:
        steps: the numbers of its super-steps, in their order; ``portable.steps_of`` counts them.
        effects: the super-step of each effect, sorted, one entry for each;
            ``portable.effects_of`` counts them.
        state_digest: of its final state under the declared projection.
    """

    steps: tuple[int, ...]
    effects: tuple[str, ...]
    state_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What the same inputs lead to when nothing is disturbed.

    Attributes:
        tasks: by task id.
        projection: what the state digests leave out, in words; empty if nothing.
    """

    tasks: Mapping[str, ControlTask]
    projection: tuple[str, ...] = ()

    def each(self) -> list[tuple[str, ControlTask]]:
        """The tasks in the order of their ids, which is also theirs after they were JSON."""
        return sorted(self.tasks.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFact:
    """A checkpoint as it lies in LangGraph's own table.

    Attributes:
        step: LangGraph's number of the super-step.
        digest: SHA-256 of the stored checkpoint, as the step's event gives it; None where the
            store does not keep the bytes of which it is the digest.
        ns: its checkpoint namespace; empty for the graph itself.
    """

    task_id: str
    step_id: str
    parent_id: str | None
    step: int
    digest: str | None
    ns: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFact:
    """A super-step that was run again from the checkpoint before it, with recorded inputs.

    Attributes:
        recorded: the digest of the recorded state, under the declared projection.
        replayed: the digests of the state that each replay came to; two or more.
    """

    task_id: str
    step_id: str
    parent_id: str
    step: int
    recorded: str
    replayed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkEntry:
    """An effect as its target holds it.

    Attributes:
        key: the effect key that the target was given.
        value_digest: of what it holds under that key.
        attempts: how often somebody tried; the target accepted the first.
    """

    key: str
    task_id: str
    value_digest: str
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultFact:
    """A fault that a scenario planned, and what was seen of it.

    Attributes:
        name: tells the faults of a trial apart.
        must_fire: whether the trial shows nothing unless it happened.
        fired: how often it happened.
        observed: what was seen of it, such as ``waitpid: signal 9``.
    """

    name: str
    must_fire: bool
    fired: int
    observed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a scenario expects; None where it expects nothing in particular.

    Attributes:
        lease: the lease word of a task, as ``lease_words`` gives it, such as ``H1 X H2 F``.
        takeovers: how many takeovers there are by reason; reasons left out have none.
        quiet: tasks that nobody may take over.
        assertions: the ids that the scenario requires.
        takeover_max_us: the longest takeover (detect, claim and restore) by reason.
        claims_per_second_max: most claims in any second of store time, over all workers.
        conflicts_max: most refused writes.
        healed_at_us: store time from which nothing is disturbed any more.
        converge_within_us: how long after that every accepted task is over.
    """

    lease: Mapping[str, str] | None = None
    takeovers: Mapping[str, int] | None = None
    quiet: tuple[str, ...] = ()
    assertions: tuple[str, ...] = ()
    takeover_max_us: Mapping[str, int] | None = None
    claims_per_second_max: int | None = None
    conflicts_max: int | None = None
    healed_at_us: int | None = None
    converge_within_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Everything that the assertions may look at.

    Attributes:
        events: the ledger, in the order of its tail.
        complete: whether it was read to its end.
        seal: chain heads that were exported elsewhere.
        accepted: the tasks whose acceptance was confirmed to whoever submitted them.
        control: an undisturbed run of the same inputs.
        results: digests of the final states by task, under the control's projection.
        checkpoints: what lies in LangGraph's tables.
        replays: super-steps that were run again.
        trace: what the workers wrote of their attempts and renewals, each worker's in its order.
        sink: what the target of the effects holds.
        faults: what was to be broken, and what was.
        counters: what the exporter served at the end.
        expected: what the scenario expects.
        mutants_killed: the assertions that a planted bug was seen to fail, in this build.
    """

    events: Sequence[Event]
    complete: bool = True
    seal: Mapping[str, str] | None = None
    accepted: frozenset[str] | None = None
    control: Control | None = None
    results: Mapping[str, str] | None = None
    checkpoints: Sequence[CheckpointFact] | None = None
    replays: Sequence[ReplayFact] | None = None
    trace: Sequence[TraceLine] | None = None
    sink: Sequence[SinkEntry] | None = None
    faults: Sequence[FaultFact] | None = None
    counters: Mapping[SeriesKey, float] | None = None
    expected: Expected = field(default_factory=Expected)
    mutants_killed: frozenset[str] | None = None
''',
    'baton.domain.continuity.portable': r'''"""What of a task's history is the same in every run of the same input: numbers, never ids."""

from __future__ import annotations

from collections.abc import Iterable

from baton.domain.ledger import Event
from baton.domain.words import EventType


def steps_of(events: Iterable[Event]) -> tuple[int, ...]:
    """The numbers of a task's own super-steps, in their order; subgraphs are within them.

    Args:
        events: the events of one task.
    """
    steps = (event.data for event in events if event.type == EventType.STEP)
    return tuple(data["step"] for data in steps if data.get("ns") == "" and "step" in data)


def effects_of(events: Iterable[Event]) -> tuple[str, ...]:
    """The super-step of each recorded effect, sorted, one entry for each.

    A super-step is written ``3``, or ``sub:0`` inside a subgraph; ``?`` if no step tells of it.

    Args:
        events: the events of one task.
    """
    places: dict[str, str] = {}
    effects: list[str] = []
    for event in events:
        if event.type == EventType.STEP and event.step_id:
            data = event.data
            names = [part.partition(":")[0] for part in str(data.get("ns", "")).split("|")]
            places[event.step_id] = ":".join([*filter(None, names), str(data.get("step"))])
        elif event.type == EventType.EFFECT:
            effects.append(event.step_id or "")
    return tuple(sorted(places.get(step_id, "?") for step_id in effects))
''',
    'baton.domain.continuity.reading': r'''"""A trial with what follows from its ledger, worked out once and only if somebody asks."""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property

from baton.domain.continuity.lease_words import lease_words
from baton.domain.continuity.model import Trial, Verdict
from baton.domain.continuity.tally import Tally
from baton.domain.continuity.watch import Watch
from baton.domain.folds import Fold
from baton.domain.ledger import Event, task_chain
from baton.domain.takeovers import Takeover, TakeoverTracker
from baton.domain.verify import Verifier
from baton.domain.words import EventType, TaskState

_E = EventType

#: What a task may have come to at the end: it is over, was put aside, or waits for an answer.
_SETTLED = ("D", "E", "Q", "I")


class Reading:
    """What the assertions read."""

    def __init__(self, trial: Trial) -> None:
        """Read a trial; nothing is worked out yet."""
        self.trial = trial
        #: What was judged already.
        self.verdicts: dict[str, Verdict] = {}

    def of_ledger(self, assertion: str) -> Tally:
        """What the ledger alone says of an assertion, to go on counting."""
        return deepcopy(self.watch.tallies[assertion])

    @cached_property
    def watch(self) -> Watch:
        """What the ledger alone proves or breaks."""
        verifier, watch = Verifier(self.trial.seal), Watch()
        for event in self.trial.events:
            watch.apply(event, verifier.apply(event))
        watch.finish(verifier.finish())
        return watch

    @cached_property
    def tasks(self) -> dict[str, list[Event]]:
        """The events of each task's chain."""
        found: dict[str, list[Event]] = {}
        for event in self.trial.events:
            if event.task_id is not None and event.chain == task_chain(event.task_id):
                found.setdefault(event.task_id, []).append(event)
        return found

    @cached_property
    def words(self) -> dict[str, str]:
        """The lease word of each task."""
        return lease_words(self.trial.events)

    @cached_property
    def fold(self) -> Fold:
        """The counters that follow from the ledger."""
        fold = Fold()
        for event in self.trial.events:
            fold.apply(event)
        return fold

    @cached_property
    def takeovers(self) -> list[Takeover]:
        """Each takeover as far as it came."""
        tracker, found = TakeoverTracker(), dict[tuple[str, int], Takeover]()
        for event in self.trial.events:
            for reached in tracker.apply(event):
                found[reached.task_id, reached.epoch] = reached
        return list(found.values())

    def claim_line(self, takeover: Takeover) -> str:
        """The ledger line of the claim that began a takeover."""
        for event in self.tasks.get(takeover.task_id, ()):
            if event.type == _E.CLAIMED and event.epoch == takeover.epoch:
                return f"{event.chain}#{event.n}"
        return f"{task_chain(takeover.task_id)}#0"

    def last_line(self, task_id: str) -> str:
        """The last ledger line of a task; its first place if the ledger does not know it."""
        events = self.tasks.get(task_id)
        return f"{task_chain(task_id)}#{events[-1].n if events else 0}"

    def done(self, task_id: str) -> bool:
        """Whether the ledger tells that the task is done."""
        return any(event.type == TaskState.DONE for event in self.tasks.get(task_id, ()))

    def settled_at(self, task_id: str) -> int | None:
        """Store time since which a task is over, put aside or waits for an answer; or None."""
        word = self.words.get(task_id, "")
        if not word.endswith(_SETTLED):
            return None
        return self.tasks[task_id][-1].at
''',
    'baton.domain.continuity.registry': r'''"""The assertions by their ids, and how one is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc

from baton.domain.continuity.model import Outcome, Verdict
from baton.domain.continuity.reading import Reading
from baton.domain.continuity.tally import NotJudgedError, Tally

#: What an assertion may need, and what it is called where it is not there.
NEEDS = {
    "ledger": "the ledger",
    "accepted": "the tasks whose acceptance was confirmed",
    "control": "an undisturbed control run",
    "results": "the final states",
    "replays": "super-steps that were run again",
    "trace": "the workers' trace",
    "faults": "the faults that were planned",
    "counters": "the counters as they were served",
    "expected": "what a scenario expects",
    "mutants_killed": "the planted bugs that were caught in this build",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One assertion.

    Attributes:
        id: its stable name, also the label of its metric.
        title: what it is called.
        question: what it answers, in plain words.
        needs: what it cannot be judged without, keys of ``NEEDS``.
        definition: what exactly must hold.
        hold: holds a reading against it.
    """

    id: str
    title: str
    question: str
    needs: tuple[str, ...]
    definition: str
    hold: Callable[[Reading], Tally]

    @property
    def ledger_only(self) -> bool:
        """Whether a ledger is enough to judge it."""
        return self.needs == ("ledger",)


#: Every assertion by its id; ``baton.domain.continuity`` puts them into their order.
FOUND: dict[str, Assertion] = {}


def assertion(
    id_: str, title: str, question: str, *needs: str
) -> Callable[[Callable[[Reading], Tally]], Callable[[Reading], Tally]]:
    """Enter a function as an assertion; its docstring, behind the first line, is the definition.

    Args:
        id_: its id.
        title: what it is called.
        question: what it answers, in plain words.
        needs: what it needs beside the ledger.
    """

    def register(hold: Callable[[Reading], Tally]) -> Callable[[Reading], Tally]:
        _, _, definition = cleandoc(hold.__doc__ or "").partition("\n\n")
        FOUND[id_] = Assertion(
            id=id_,
            title=title,
            question=question,
            needs=("ledger", *needs),
            definition=" ".join(definition.split()),
            hold=hold,
        )
        return hold

    return register


def judged(found: Assertion, reading: Reading) -> Verdict:
    """The verdict on one assertion: unknown where an input is missing or the judging fails."""
    if found.id not in reading.verdicts:
        reading.verdicts[found.id] = _judge(found, reading)
    return reading.verdicts[found.id]


def _judge(found: Assertion, reading: Reading) -> Verdict:
    trial = reading.trial
    lacking = [NEEDS[n] for n in found.needs if n != "ledger" and getattr(trial, n) is None]
    if lacking:
        return _unjudged(found, f"not judged without {' and '.join(lacking)}")
    try:
        return found.hold(reading).verdict(found.id, complete=trial.complete)
    except NotJudgedError as missing:
        return _unjudged(found, f"not judged without {missing}")
    except Exception as error:  # noqa: BLE001 - whatever a checker fails of, it has not passed
        return _unjudged(found, f"the judging failed: {type(error).__name__}: {error}")


def _unjudged(found: Assertion, text: str) -> Verdict:
    return Verdict(assertion=found.id, outcome=Outcome.UNKNOWN, checked=0, text=text, judged=False)
''',
    'baton.domain.continuity.tally': r'''"""Counting what was held against an assertion, and keeping the lines that show it."""

from __future__ import annotations

from dataclasses import dataclass, field

from baton.domain.continuity.model import WITNESSES_MAX, Outcome, Verdict
from baton.domain.ledger import Event

#: So many of the lines that held are shown where none broke the assertion.
_SHOWN = 3


class NotJudgedError(Exception):
    """An input that the assertion needs is not there; the text says which."""


def line_of(event: Event) -> str:
    """How a verdict names a line of the ledger."""
    return f"{event.chain}#{event.n}"


def trace_line(index: int) -> str:
    """How a verdict names a line of the trace; ``index`` counts from 0, lines from 1."""
    return f"trace:{index + 1}"


@dataclass(slots=True)
class Tally:
    """What came of holding one thing after another against an assertion.

    Attributes:
        checked: how many things were held against it.
        violations: how many broke it.
        first: what the first of them broke, for people.
        broken: the lines that show them.
        held: some of the lines that were checked and held.
    """

    checked: int = 0
    violations: int = 0
    first: str = ""
    broken: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)

    def check(self, wrong: str | None, *witnesses: str) -> None:
        """Note one thing that was checked.

        Args:
            wrong: what is wrong with it; None if nothing is.
            witnesses: the lines that show it.
        """
        self.checked += 1
        if wrong is not None:
            self.violate(wrong, *witnesses)
            return
        for witness in witnesses[: _SHOWN - len(self.held)] if len(self.held) < _SHOWN else ():
            self.held.append(witness)

    def violate(self, wrong: str, *witnesses: str) -> None:
        """Note a violation by something that was counted as checked already."""
        self.violations += 1
        self.first = self.first or wrong
        for witness in witnesses:
            if len(self.broken) < WITNESSES_MAX and witness not in self.broken:
                self.broken.append(witness)

    def verdict(self, assertion: str, *, complete: bool) -> Verdict:
        """The verdict; a history that was not read to its end passes nothing.

        Args:
            assertion: its id.
            complete: whether the history was read to its end.
        """
        outcome, text = Outcome.PASS, f"{self.checked} checked, none broke it"
        if self.violations:
            outcome = Outcome.FAIL
            text = f"{self.violations} of {self.checked} broke it, the first: {self.first}"
        elif not self.checked:
            outcome, text = Outcome.UNKNOWN, "nothing to check"
        elif not complete:
            outcome, text = Outcome.UNKNOWN, f"{text}; the ledger was not read to its end"
        return Verdict(
            assertion=assertion,
            outcome=outcome,
            checked=self.checked,
            violations=self.violations,
            text=text,
            witnesses=tuple(self.broken if self.violations else self.held),
        )
''',
    'baton.domain.continuity.watch': r'''"""What the ledger alone proves or breaks, one event at a time: at bounded cost for each.

The checks of ``baton.domain.checks`` find what is wrong with an event; here each finding is laid
to the assertion that it breaks, and what spans several chains or events is added.
"""

from __future__ import annotations

from collections.abc import Iterable

from baton.domain.continuity.tally import Tally, line_of
from baton.domain.ledger import Event
from baton.domain.verify import Finding
from baton.domain.words import SESSION_EVENTS, EventType, Evidence, TakeoverReason

_E = EventType

#: The assertions that need the ledger and nothing else.
LEDGER_ONLY = ("C2", "C3", "C4", "C5", "C6", "C9", "C10", "C12", "L4")

#: What a holder writes of its work.
WRITES = frozenset({_E.RESUMED, _E.STEP, _E.EFFECT, _E.EFFECT_DEDUPLICATED})
#: How a holder gives a task back, whatever the task has come to.
ENDS = frozenset({_E.RELEASED, _E.DRAINED, _E.INTERRUPTED, _E.DONE, _E.FAILED})
_RENEWALS = frozenset({_E.HEARTBEAT_LATE, _E.SESSION_STOPPED})
_EFFECTS = frozenset({_E.EFFECT, _E.EFFECT_DEDUPLICATED})
_LOSSES = frozenset({TakeoverReason.CRASHED, TakeoverReason.HEARTBEAT_LOST})

#: Checks that find somebody to be no holder.
_FOREIGN = frozenset({"holder_mismatch", "epoch_regressed", "impossible_order"})


def _checked_by(type_: str) -> Iterable[str]:
    """The assertions that an event of a type is held against."""
    yield "C10"
    if type_ in {*EventType} - {_E.FAULT_INJECTED}:
        yield "C9"
    if type_ in WRITES:
        yield "C3"
    if type_ in ENDS or type_ in _RENEWALS:
        yield "C12"
    if type_ == _E.STEP:
        yield "C4"
    if type_ == _E.CLAIMED:
        yield "C5"
    if type_ in {*EventType} - {*SESSION_EVENTS, _E.SUBMITTED, _E.FAULT_INJECTED}:
        yield "C6"


_CHECKED_BY = {type_.value: tuple(_checked_by(type_.value)) for type_ in EventType}


def _broken_by(check: str, type_: str) -> set[str]:
    """The assertions that a finding breaks; what no other owns is the ledger's integrity."""
    broken = set()
    if check in _FOREIGN:
        broken |= {"C3"} if type_ in WRITES else set()
        broken |= {"C12"} if type_ in ENDS or type_ in _RENEWALS else set()
    if type_ == _E.CLAIMED and check in _FOREIGN | {"negative_time"}:
        broken.add("C5")
    owner = {"epoch_regressed": "C6", "impossible_order": "C9", "step_discontinuous": "C4"}
    broken |= {owner[check]} if check in owner else set()
    return broken or {"C10"}


class Watch:
    """Follows a ledger, with the findings that a ``Verifier`` has of each event.

    It remembers the effect keys of tasks that are not done, and what became of each session.

    Attributes:
        tallies: by assertion, those of ``LEDGER_ONLY``.
    """

    def __init__(self) -> None:
        """Begin before the first event."""
        self.tallies = {name: Tally() for name in LEDGER_ONLY}
        self._keys: dict[str, dict[str, str]] = {}
        self._cut: set[str] = set()
        self._ttl_us: dict[str, int] = {}
        self._ended_at: dict[str, tuple[int, str]] = {}
        self._waiting: dict[str, list[tuple[int, str]]] = {}

    def apply(self, event: Event, findings: Iterable[Finding]) -> None:
        """Take the next event, and what a verifier found wrong with it."""
        found, wrong = tuple(findings), dict[str, str]()
        for finding in found:
            for name in _broken_by(finding.check, event.type):
                wrong.setdefault(name, str(finding))
        line = line_of(event)
        for name in _CHECKED_BY.get(event.type, ("C10",)):
            self.tallies[name].check(wrong.pop(name, None), line)
        for name, detail in wrong.items():
            self.tallies[name].check(detail, line)
        if any(finding.check == "event_missing" for finding in found):
            # What came before is not known: an effect may have been recorded there.
            self._cut.add(event.chain)
        self._note(event, line)

    def finish(self, findings: Iterable[Finding]) -> None:
        """Take what a verifier could only find at the end: a seal that is not met."""
        for finding in findings:
            self.tallies["C10"].check(str(finding), f"{finding.chain}#{max(finding.n, 0)}")

    def _note(self, event: Event, line: str) -> None:
        if event.type in _EFFECTS:
            self._effect(event, line)
        elif event.type == _E.DONE:
            # Nothing is written after it, or it breaks C3, until a thread is leased again.
            self._keys.pop(event.chain, None)
            self._cut.discard(event.chain)
        elif event.type == _E.CLAIMED:
            self._claimed(event, line)
        elif event.type == _E.SESSION_STARTED:
            ttl_us = event.data.get("ttl_us")
            if type(ttl_us) is int and event.session_id:
                self._ttl_us[event.session_id] = ttl_us
        elif event.type in (_E.SESSION_LOST, _E.SESSION_STOPPED):
            self._session_over(event, line)

    def _effect(self, event: Event, line: str) -> None:
        key = event.data.get("effect_key")
        if not isinstance(key, str):
            return
        known = self._keys.setdefault(event.chain, {})
        first, again = known.get(key), event.type == _E.EFFECT_DEDUPLICATED
        if again:
            lost = first is None and event.chain not in self._cut
            wrong = f"{key[:12]} is answered from a record that is not there" if lost else None
            self.tallies["C2"].check(wrong, line)
        elif first is None:
            self.tallies["C2"].check(None, line)
            known[key] = line
        else:
            self.tallies["C2"].check(f"{key[:12]} is recorded twice", first, line)

    def _claimed(self, event: Event, line: str) -> None:
        anew = event.reason is None and event.n > 1 and event.chain not in self._keys
        if anew and event.data.get("external"):
            # What an earlier run of the thread recorded was forgotten with its end.
            self._cut.add(event.chain)
        before = event.data.get("previous_session")
        if event.reason not in _LOSSES or not isinstance(before, str):
            return
        ended = self._ended_at.get(before)
        if ended is None:
            # The record of a loss may come behind that of the claim.
            self._waiting.setdefault(before, []).append((event.at, line))
        elif ended[0] > event.at:
            detail = f"{line} was claimed before its holder was lost"
            self.tallies["C5"].violate(detail, line, ended[1])

    def _session_over(self, event: Event, line: str) -> None:
        session, data = event.session_id or "", event.data
        lost_at = data.get("lost_at") if event.type == _E.SESSION_LOST else None
        ended_at = lost_at if type(lost_at) is int else event.at
        self._ended_at[session] = (ended_at, line)
        for at, claim in self._waiting.pop(session, ()):
            if ended_at > at:
                detail = f"{claim} was claimed before its holder was lost"
                self.tallies["C5"].violate(detail, claim, line)
        ttl_us, silence_us = self._ttl_us.pop(session, None), data.get("silence_us")
        by_silence = event.type == _E.SESSION_LOST and data.get("evidence") == Evidence.TTL
        if by_silence and ttl_us is not None and type(silence_us) is int:
            early = f"{session} was silent for {silence_us} us of a TTL of {ttl_us} us"
            self.tallies["L4"].check(early if silence_us < ttl_us else None, line)
''',
    'baton.domain.figures': r'''"""Honest numbers: bounds of probabilities, intervals of medians, slopes that hold for outliers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

_CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)

#: Below this many values no interval of a median holds 95 % of the time.
_INTERVAL_MIN = 6

#: Slopes are worked out between so many points at most.
POINTS_MAX = 200


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval that holds the truth 95 % of the time; None where none does."""

    estimate: float
    low: float | None
    high: float | None


def failure_bound(failures: int, cycles: int) -> float:
    """The upper 95 % bound on the probability that a cycle fails.

    One-sided and exact for no failure at all (the rule of three is its approximation), Wilson's
    otherwise. It holds for cycles that are drawn independently.

    Args:
        failures: how many failed.
        cycles: out of how many; at least one.
    """
    if failures == 0:
        return float(1 - (1 - _CONFIDENCE) ** (1 / cycles))
    z = NormalDist().inv_cdf(_CONFIDENCE)
    share = failures / cycles
    centre = share + z * z / (2 * cycles)
    spread = z * math.sqrt(share * (1 - share) / cycles + z * z / (4 * cycles * cycles))
    return min(1.0, (centre + spread) / (1 + z * z / cycles))


def median_interval(values: Sequence[float]) -> Interval:
    """The median, and the order statistics that hold the true one 95 % of the time.

    Args:
        values: at least one, drawn independently.
    """
    ordered, count = sorted(values), len(values)
    if count < _INTERVAL_MIN:
        return Interval(median(ordered), None, None)
    reach = _Z * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - reach))
    high = min(count - 1, math.ceil(count / 2 + reach))
    return Interval(median(ordered), ordered[low], ordered[high])


def slope(values: Sequence[float], apart: float = 1.0) -> Interval:
    """Theil and Sen's slope: the median of all slopes between two points, with its interval.

    Args:
        values: one after another, evenly spaced.
        apart: how far; the slope is per unit of this.
    """
    count = len(values)
    if count < _INTERVAL_MIN:
        return Interval(0.0, None, None)
    slopes = sorted(
        (values[j] - values[i]) / ((j - i) * apart)
        for i in range(count)
        for j in range(i + 1, count)
    )
    # The variance of Kendall's S without ties, which is never less than with them.
    spread = _Z * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(0, round((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, round((len(slopes) + spread) / 2))
    return Interval(median(slopes), slopes[low], slopes[high])


def thinned(values: Sequence[float]) -> tuple[list[float], int]:
    """At most ``POINTS_MAX`` of them, evenly spaced, and how far apart they are."""
    apart = max(1, -(-len(values) // POINTS_MAX))
    return list(values[::apart]), apart
''',
    'baton.domain.folds': r'''"""Counters and histograms as a fold of the ledger.

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
''',
    'baton.domain.gate': r'''"""The release gate's judgement, pure: what a policy asks, what an answer is worth, what follows."""
''',
    'baton.domain.gate.answers': r'''"""What an HTTP answer of Prometheus is worth, before anybody looks at a value.

The shape is that of https://prometheus.io/docs/prometheus/latest/querying/api/. Everything that
is not exactly so raises ``Doubt`` with a code of its own.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from baton.domain.gate.words import Doubt, Reason

#: A value as Prometheus prints it; Python's own ``float`` takes more than that.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SPECIAL = {"NaN": math.nan, "+Inf": math.inf, "Inf": math.inf, "-Inf": -math.inf}

#: Answers are printed in milliseconds.
_TICK_SECONDS = 0.0011

_OK = 200
_CODES = {
    401: Reason.UNAUTHORIZED,
    403: Reason.UNAUTHORIZED,
    404: Reason.NOT_FOUND,
    429: Reason.BUSY,
}
_REDIRECTS = range(300, 400)
_CLIENT_ERRORS = range(400, 500)
_SERVER_ERRORS = range(500, 600)
_ERRORS = {"bad_data": Reason.QUERY_REFUSED, "timeout": Reason.QUERY_TIMEOUT}
_SHOWN = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for one request, as it is kept.

    Attributes:
        failure: why nothing came; None where something did.
        detail: about the failure.
        status: the HTTP status.
        content_type: what the body calls itself.
        body: the bytes.
    """

    failure: Reason | None = None
    detail: str = ""
    status: int = 0
    content_type: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Point:
    """One series of an instant answer."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Track:
    """One series with its raw samples: times in Unix seconds, and values."""

    labels: Mapping[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


def data_of(answer: Answer) -> Any:
    """The ``data`` of an answer.

    Raises:
        Doubt: it is no answer, or one with warnings.
    """
    if answer.failure is not None:
        raise Doubt(answer.failure, answer.detail)
    body = _json(answer) if answer.status == _OK else _error(answer)
    if not isinstance(body, dict) or "status" not in body:
        raise Doubt(Reason.WRONG_SHAPE, f"no status in {_shown(answer.body)}")
    if body["status"] != "success":
        _api_error(body)
    if "data" not in body:
        raise Doubt(Reason.WRONG_SHAPE, f"no data in {_shown(answer.body)}")
    if warnings := body.get("warnings"):
        raise Doubt(Reason.PARTIAL, _cut(f"{warnings}"))
    return body["data"]


def vector_of(answer: Answer, at: float) -> list[Point]:
    """The series of an instant query, each with one value at the time that was asked about.

    Raises:
        Doubt: it is no such answer; a value may still be NaN or infinite.
    """
    return [_point(one, at) for one in _result(data_of(answer), "vector")]


def matrix_of(answer: Answer, at: float, window_seconds: float) -> list[Track]:
    """The raw samples of a range selector that ends at a time.

    Raises:
        Doubt: it is no such answer, or its samples are out of order or out of the window.
    """
    return [_track(one, at - window_seconds, at) for one in _result(data_of(answer), "matrix")]


def _json(answer: Answer) -> Any:
    text = answer.body.lstrip()
    if not text:
        raise Doubt(Reason.EMPTY_BODY, "an empty body")
    if text.startswith(b"<"):
        raise Doubt(Reason.HTML, _shown(text))
    try:
        return _DECODER.decode(text.decode(json.detect_encoding(text), "surrogatepass"))
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
        reason = Reason.TRUNCATED if cut else Reason.NOT_JSON
        raise Doubt(reason, f"{error.msg} at byte {error.pos} of {len(text)}") from error
    except (ValueError, RecursionError) as error:
        raise Doubt(Reason.NOT_JSON, _cut(str(error))) from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


#: ``json.loads`` would build one for each answer.
_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _error(answer: Answer) -> Any:
    """The body of an answer whose HTTP status says that it is none, if Prometheus wrote it."""
    if answer.status in _REDIRECTS:
        raise Doubt(Reason.REDIRECT, f"HTTP {answer.status} {answer.detail}".strip())
    if answer.status in _CODES:
        raise Doubt(_CODES[answer.status], f"HTTP {answer.status}")
    try:
        body = _json(answer)
    except Doubt:
        body = None
    if isinstance(body, dict) and body.get("status") == "error":
        return body
    said = f"HTTP {answer.status} {_shown(answer.body)}".strip()
    if answer.status in _CLIENT_ERRORS:
        raise Doubt(Reason.HTTP_CLIENT, said)
    if answer.status in _SERVER_ERRORS:
        raise Doubt(Reason.HTTP_SERVER, said)
    raise Doubt(Reason.WRONG_SHAPE, said)


def _api_error(body: Mapping[str, Any]) -> NoReturn:
    kind = body.get("errorType")
    reason = _ERRORS.get(kind, Reason.API_ERROR) if isinstance(kind, str) else Reason.API_ERROR
    raise Doubt(reason, _cut(f"{kind}: {body.get('error')}"))


def _result(data: Any, wanted: str) -> Sequence[Any]:
    if not isinstance(data, dict) or "resultType" not in data:
        raise Doubt(Reason.WRONG_SHAPE, "the data has no resultType")
    if data["resultType"] != wanted:
        raise Doubt(Reason.WRONG_TYPE, f"a {data['resultType']} and no {wanted}")
    result = data.get("result")
    if not isinstance(result, list):
        raise Doubt(Reason.WRONG_SHAPE, "the result is no list")
    seen: set[tuple[tuple[str, str], ...]] = set()
    for one in result:
        labels = tuple(sorted(_labels(one).items()))
        if labels in seen:
            raise Doubt(Reason.DUPLICATE_SERIES, _cut(f"twice: {dict(labels)}"))
        seen.add(labels)
    return result


def _labels(one: Any) -> Mapping[str, str]:
    labels = one.get("metric") if isinstance(one, dict) else None
    if not isinstance(labels, dict) or not all(isinstance(v, str) for v in labels.values()):
        raise Doubt(Reason.WRONG_SHAPE, "a series without labels")
    return labels


def _point(one: Any, at: float) -> Point:
    if "histogram" in one:
        raise Doubt(Reason.WRONG_TYPE, "a native histogram and no number")
    when, value = _sample(one.get("value"))
    if when > at + _TICK_SECONDS:
        raise Doubt(Reason.FUTURE, f"a value {when - at:.3f} s later than asked about")
    if abs(when - at) > _TICK_SECONDS:
        raise Doubt(Reason.WRONG_TIME, f"a value of {when:.3f}, asked about {at:.3f}")
    return Point(_labels(one), value)


def _track(one: Any, begin: float, end: float) -> Track:
    if "histograms" in one:
        raise Doubt(Reason.WRONG_TYPE, "native histograms and no numbers")
    rows = one.get("values")
    if not isinstance(rows, list) or not rows:
        raise Doubt(Reason.WRONG_SHAPE, "a series without samples")
    samples = [_sample(row) for row in rows]
    times = tuple(when for when, _ in samples)
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise Doubt(Reason.DISORDERED, "a sample is not later than the one before it")
    if times[-1] > end + _TICK_SECONDS:
        raise Doubt(Reason.FUTURE, f"a sample {times[-1] - end:.3f} s later than asked about")
    if times[0] < begin - _TICK_SECONDS:
        raise Doubt(Reason.WRONG_TIME, f"a sample {begin - times[0]:.3f} s before the window")
    return Track(_labels(one), times, tuple(value for _, value in samples))


def _sample(row: Any) -> tuple[float, float]:
    match row:
        case [int() | float() as when, str() as text] if not isinstance(when, bool):
            return float(when), number_of(text)
    raise Doubt(Reason.WRONG_SHAPE, "a sample that is no pair of a time and a text")


def number_of(text: str) -> float:
    """A value as Prometheus prints it; NaN and infinities are values too.

    Raises:
        Doubt: it is none.
    """
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _NUMBER.fullmatch(text) is None:
        raise Doubt(Reason.BAD_VALUE, _cut(f"{text!r} is no number"))
    return float(text)


def finite(values: Iterable[float]) -> None:
    """Refuse what is no finite number.

    Raises:
        Doubt: there is one.
    """
    for value in values:
        if math.isnan(value):
            raise Doubt(Reason.NOT_A_NUMBER, "the value is NaN")
        if math.isinf(value):
            raise Doubt(Reason.INFINITE, f"the value is {value}")


def _shown(body: bytes) -> str:
    return _cut(" ".join(body[:_SHOWN].decode(errors="replace").split()))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
''',
    'baton.domain.gate.bench': r'''"""A decision from what was kept: each criterion judged, what rests on what, the gate's own test."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, cached_property
from typing import Any

from baton.domain.gate import facts
from baton.domain.gate.answers import Answer, data_of, matrix_of, vector_of
from baton.domain.gate.judging import Measured, Result, compared, doubted, judge_query, settle
from baton.domain.gate.plan import CANARIES, Ask, asks_of, counts, query
from baton.domain.gate.policy import FROM_LEDGER, SELF_TEST, Criterion, Kind, Policy
from baton.domain.gate.selftest import flaws
from baton.domain.gate.words import Decision, Doubt, Reason, decide
from baton.domain.ledger import Event

#: The name of the kept ledger.
LEDGER = "ledger.jsonl.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that a decision rests on, read and ready to be judged.

    Attributes:
        at: the one time that everything was asked about, Unix seconds.
        version: of Baton, that asked.
        prometheus: the server's address.
        policy_sha256: of the policy's file.
        store: about the ledger; None where no store was given.
        answers: what came back, by what was asked.
        places: the file of each answer, by what was asked.
        digests: SHA-256 of every kept file by its name.
        rules: reads the rules of the repository.
        evidence: results of scenarios and soaks, by the name of their file.
        ledger: reads the ledger, in the order of its tail; raises ValueError where it is none.
    """

    at: float
    version: str
    prometheus: str
    policy: Policy
    policy_sha256: str
    store: Mapping[str, Any] | None
    answers: Mapping[Ask, Answer]
    places: Mapping[Ask, str]
    digests: Mapping[str, str]
    rules: Callable[[], Sequence[facts.Rule]]
    evidence: Mapping[str, bytes]
    ledger: Callable[[], list[Event]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where what a result rests on is kept."""

    role: str
    file: str
    sha256: str
    pointer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a gate comes to.

    Attributes:
        results: the gate's own test, then every criterion in order.
        references: by the id of a result.
    """

    decision: Decision
    results: tuple[Result, ...]
    references: Mapping[str, tuple[Reference, ...]]


def judge(case: Case) -> Verdict:
    """Judge what was kept."""
    bench = _Bench(case)
    own = bench.self_test()
    results = (own, *settle(case.policy, case.at, bench.judge))
    by_id = {one.id: one for one in results}
    return Verdict(
        decision=decide(one.status for one in results),
        results=results,
        references={
            SELF_TEST: tuple(
                bench.reference("query", query(one.query, case.at)) for one, _ in CANARIES
            ),
            **{
                criterion.id: bench.references(criterion, by_id[criterion.id])
                for criterion in case.policy.criteria
            },
        },
    )


class _Bench:
    """Judges one criterion after another from the same material."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.policy = case.policy
        self._tracks_of = cache(matrix_of)
        self._asks = {
            criterion.id: asks_of(criterion, case.policy, case.at)
            for criterion in case.policy.criteria
        }
        self._kinds: Mapping[Kind, Callable[[Criterion], Measured]] = {
            Kind.CATALOGUE: self._catalogue,
            Kind.RULES: self._rules,
            Kind.LEDGER: lambda _: facts.ledger_verified(self._events),
            Kind.ASSERTIONS: lambda one: facts.continuity(self._events, one.options["assertions"]),
            Kind.REFUSALS: lambda _: facts.refusals_explained(self._events),
            Kind.AGREEMENT: self._agreement,
            Kind.EVIDENCE: self._evidence,
        }

    def judge(self, criterion: Criterion) -> Result:
        """One criterion by itself; what the judging itself falls over is no pass either."""
        try:
            if criterion.kind is Kind.QUERY:
                return judge_query(
                    criterion,
                    self.policy,
                    self.case.at,
                    self._answers(criterion),
                    counts=counts(criterion),
                    tracks_of=self._tracks_of,
                )
            if criterion.kind in FROM_LEDGER:
                self._need_ledger()
            return compared(criterion, self._kinds[criterion.kind](criterion))
        except Doubt as doubt:
            return doubted(criterion, doubt)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here is no pass
            said = f"the judging failed: {type(error).__name__}: {error}"
            return doubted(criterion, Doubt(Reason.GATE_BROKEN, said))

    def self_test(self) -> Result:
        """Whether what is known to be wrong is seen, in this run and with this server."""
        subject = replace(CANARIES[0][0], id=SELF_TEST)
        wrong = flaws()
        for canary, expected in CANARIES:
            answer = self.case.answers[query(canary.query, self.case.at)]
            found = judge_query(canary, self.policy, self.case.at, {"query": answer}, counts=False)
            if found.reason is expected:
                continue
            if found.reason not in (Reason.OK, Reason.THRESHOLD):
                return doubted(subject, Doubt(found.reason, found.detail))
            # The server makes up an answer, and then anything may pass.
            wrong.append(f"{canary.query} gives {found.reason} and not {expected}")
        if wrong:
            return doubted(subject, Doubt(Reason.GATE_BROKEN, "; ".join(wrong)))
        said = "everything that is wrong on purpose is seen"
        return compared(subject, Measured(value=0, text=said, checked=len(CANARIES)))

    # Kinds

    def _answers(self, criterion: Criterion) -> Mapping[str, Answer]:
        return {role: self.case.answers[ask] for role, ask in self._asks[criterion.id].items()}

    def _catalogue(self, criterion: Criterion) -> Measured:
        points = vector_of(self._answers(criterion)["query"], self.case.at)
        return facts.catalogue_served(points, criterion.options.get("optional", ()))

    def _rules(self, criterion: Criterion) -> Measured:
        data = data_of(self._answers(criterion)["rules"])
        return facts.rules_loaded(
            _dated(data), self.case.rules(), self.case.at, self.policy.stale_seconds
        )

    def _agreement(self, criterion: Criterion) -> Measured:
        window = self.policy.stale_seconds
        tracks = matrix_of(self._answers(criterion)["counts"], self.case.at, window)
        return facts.metrics_agree(
            tracks, criterion.options["metrics"], self._events, self.policy.slack_seconds
        )

    def _evidence(self, criterion: Criterion) -> Measured:
        name = criterion.option("file")
        data = self.case.evidence.get(name)
        if data is None:
            raise Doubt(Reason.NO_EVIDENCE, f"no {name} in the evidence")
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Doubt(Reason.EVIDENCE_UNREADABLE, f"{name} is no JSON: {error}") from error
        return facts.evidence_holds(
            document,
            criterion.option("at"),
            criterion.option("field"),
            criterion.option("wants"),
            int(criterion.option("at_least", "1")),
        )

    # The ledger

    def _need_ledger(self) -> None:
        store = self.case.store
        if store is None:
            raise Doubt(Reason.NO_STORE, "continuity is judged from the ledger")
        if store["pruned_chains"] and not store["archived"]:
            raise Doubt(Reason.PRUNED, f"{store['pruned_chains']} finished tasks were pruned")
        try:
            _ = self._events
        except ValueError as error:
            raise Doubt(Reason.NOT_JUDGED, f"the kept ledger is none: {error}") from error

    @cached_property
    def _events(self) -> list[Event]:
        return self.case.ledger()

    # References

    def reference(self, role: str, ask: Any, pointer: str = "/data/result") -> Reference:
        """Where an answer is kept."""
        return self._file(role, self.case.places[ask], pointer)

    def _file(self, role: str, name: str, pointer: str) -> Reference:
        digest = self.case.digests[name]
        return Reference(role=role, file=f"raw/{name}", sha256=digest, pointer=pointer)

    def references(self, criterion: Criterion, result: Result) -> tuple[Reference, ...]:
        """Everything that a result rests on."""
        pointers = result.measured.pointers if result.measured else {}
        found = [
            self.reference(role, ask, pointers.get(role, "/data"))
            for role, ask in self._asks[criterion.id].items()
        ]
        if criterion.kind in FROM_LEDGER and LEDGER in self.case.digests:
            found.append(self._file("ledger", LEDGER, ""))
        name = f"evidence/{criterion.option('file')}"
        if criterion.kind is Kind.EVIDENCE and name in self.case.digests:
            found.append(self._file("evidence", name, pointers.get("evidence", "")))
        return tuple(found)


def _dated(data: Any) -> Any:
    """The rules as Prometheus tells them, with the time of each one's last evaluation."""
    groups = data.get("groups") if isinstance(data, dict) else None
    for group in groups if isinstance(groups, list) else ():
        rules = group.get("rules") if isinstance(group, dict) else None
        for rule in rules if isinstance(rules, list) else ():
            if isinstance(rule, dict):
                rule["evaluated_at"] = _unix(rule.get("lastEvaluation"))
    return data


def _unix(text: Any) -> float | None:
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return when.timestamp() if when.tzinfo is not None and when.year > 1 else None
''',
    'baton.domain.gate.facts': r'''"""What is judged from more than a query: catalogue, rules, ledger, agreement, evidence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from baton.domain.catalogue import CATALOGUE, by_name
from baton.domain.continuity import ASSERTIONS, Outcome, Trial, judge
from baton.domain.folds import Fold
from baton.domain.gate.answers import Point, Track, finite
from baton.domain.gate.judging import Measured
from baton.domain.gate.words import Doubt, Reason
from baton.domain.ledger import Event
from baton.domain.metric import Metric, Source
from baton.domain.verify import verify
from baton.domain.words import EventType

_MICRO = 1e6
_NAMED = 3
_NAME = "__name__"
#: Prometheus writes the empty list of labels that everybody else leaves out.
_GROUPED = re.compile(r"(group_(?:left|right))(?!\()")


# The catalogue


def catalogue_served(points: Sequence[Point], optional: Iterable[str]) -> Measured:
    """How many metrics of the exporter are not served.

    Args:
        points: one series for each name, labelled with it.
        optional: metrics that may be absent for a good reason.

    Raises:
        Doubt: nothing is served at all.
    """
    if not points:
        raise Doubt(Reason.NO_DATA, "no metric of the catalogue has a series")
    served = {point.labels.get(_NAME) for point in points}
    wanted = [
        metric
        for metric in CATALOGUE
        if metric.source is Source.EXPORTER and metric.name not in set(optional)
    ]
    missing = [metric.name for metric in wanted if not served & set(metric.sample_names)]
    return Measured(
        value=len(missing),
        text=_some("missing", missing) if missing else f"{len(wanted)} metrics are there",
        checked=len(wanted),
        broken=Reason.MISSING_METRIC,
        pointers={"query": "/data/result"},
    )


# The rules

#: A rule of a file: its group, its name, its expression, its ``for``, its labels.
Rule = tuple[str, str, str, float, tuple[tuple[str, str], ...]]


def rules_loaded(data: Any, wanted: Sequence[Rule], at: float, stale_seconds: float) -> Measured:
    """How many rules of the repository are not loaded as they are, or cannot be evaluated.

    Args:
        data: what Prometheus says of its rules.
        wanted: the rules of the repository.
        at: the time of the gate, Unix seconds.
        stale_seconds: how long ago a rule may have been evaluated.

    Raises:
        Doubt: the answer is none, or rules were not evaluated yet.
    """
    loaded = list(_loaded(data))
    have = {(group, name, text) for group, name, text, *_ in (one[0] for one in loaded)}
    whole = {_plain(one[0]) for one in loaded}
    names = {(rule[0], rule[1]) for rule, _ in loaded}
    absent = [rule for rule in wanted if (rule[0], rule[1]) not in names]
    differ = [rule for rule in wanted if rule not in absent and _plain(rule) not in whole]
    known = {(rule[0], rule[1]) for rule in wanted}
    own = [(rule, about) for rule, about in loaded if (rule[0], rule[1]) in known]
    failing = [rule for rule, about in own if about.get("health") == "err"]
    pointers = {"rules": "/data/groups"}
    for reason, found in (
        (Reason.RULES_NOT_LOADED, absent),
        (Reason.RULES_DIFFER, differ),
        (Reason.RULES_FAILING, failing),
    ):
        if found:
            return Measured(
                value=len(found),
                text=_some(str(reason), list(dict.fromkeys(rule[1] for rule in found))),
                checked=len(wanted),
                broken=reason,
                pointers=pointers,
            )
    if not have:
        raise Doubt(Reason.NOT_JUDGED, "the repository has no rules to compare with")
    late = [rule[1] for rule, about in own if _age(about, at) > stale_seconds]
    if late:
        raise Doubt(Reason.RULES_NOT_EVALUATED, _some("not lately", late))
    return Measured(
        value=0, text=f"{len(wanted)} rules are loaded", checked=len(wanted), pointers=pointers
    )


def _loaded(data: Any) -> Iterable[tuple[Rule, Mapping[str, Any]]]:
    groups = data.get("groups") if isinstance(data, dict) else None
    if not isinstance(groups, list):
        raise Doubt(Reason.WRONG_SHAPE, "the rules have no groups")
    for group in groups:
        try:
            for rule in group["rules"]:
                labels = dict(rule.get("labels") or {})
                key = tuple(sorted((str(name), str(value)) for name, value in labels.items()))
                hold = float(rule.get("duration") or 0.0)
                yield (group["name"], rule["name"], str(rule["query"]), hold, key), rule
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Doubt(Reason.WRONG_SHAPE, f"a rule that is none: {error}") from error


def _plain(rule: Rule) -> Rule:
    """As whoever wrote it and Prometheus, which prints its own form of it, both write it."""
    group, name, query, hold, labels = rule
    return group, name, _GROUPED.sub(r"\1()", "".join(query.split())), hold, labels


def _age(about: Mapping[str, Any], at: float) -> float:
    evaluated = about.get("evaluated_at")
    if about.get("health") == "unknown" or not isinstance(evaluated, float):
        return float("inf")
    return at - evaluated


# The ledger


def ledger_verified(events: Sequence[Event]) -> Measured:
    """How many things are wrong with the ledger itself.

    Raises:
        Doubt: it is empty.
    """
    if not events:
        raise Doubt(Reason.NOT_JUDGED, "the ledger is empty")
    found = verify(events)
    return Measured(
        value=len(found),
        text=_some("found", [str(one) for one in found]) if found else f"{len(events)} events hold",
        checked=len(events),
        broken=Reason.LEDGER_DAMAGED,
    )


def continuity(events: Sequence[Event], names: Sequence[str]) -> Measured:
    """How often the ledger breaks some assertions.

    Raises:
        Doubt: none of them had anything to check, or one cannot be judged by a ledger.
    """
    verdicts = judge(Trial(events=events), names)
    for verdict in verdicts:
        if not verdict.judged:
            raise Doubt(Reason.NOT_JUDGED, f"{verdict.assertion}: {verdict.text}")
    checked = sum(verdict.checked for verdict in verdicts)
    if not checked:
        raise Doubt(Reason.NOT_JUDGED, f"nothing to check for {', '.join(names)}")
    said = [
        f"{verdict.assertion} ({ASSERTIONS[verdict.assertion].title}): {verdict.text}"
        + (f" [{', '.join(verdict.witnesses[:_NAMED])}]" if verdict.violations else "")
        for verdict in verdicts
    ]
    broken = [text for text, v in zip(said, verdicts, strict=True) if v.outcome is Outcome.FAIL]
    return Measured(
        value=sum(verdict.violations for verdict in verdicts),
        text="; ".join(broken or said),
        checked=checked,
        broken=Reason.CONTINUITY_BROKEN,
    )


def refusals_explained(events: Sequence[Event]) -> Measured:
    """How many writes were refused though the ledger knows of no later claim of the task.

    Raises:
        Doubt: the ledger is empty.
    """
    if not events:
        raise Doubt(Reason.NOT_JUDGED, "the ledger is empty")
    over: dict[str, int] = {}
    for event in events:
        if event.task_id is not None and event.type in _SUPERSEDES:
            # A lease that was given back is over at its own epoch, one that was taken at the next.
            epoch = (event.epoch or 0) + (event.type != EventType.CLAIMED)
            over[event.task_id] = max(over.get(event.task_id, 0), epoch)
    refused = [event for event in events if event.type == EventType.WRITE_REFUSED]
    odd = [
        f"{event.chain}#{event.n}"
        for event in refused
        if over.get(event.task_id or "", 0) <= (event.epoch or 0)
    ]
    said = f"{len(refused)} refused, each explained"
    return Measured(
        value=len(odd),
        text=_some("without a successor", odd) if odd else said,
        checked=len(refused),
        broken=Reason.REFUSAL_UNEXPLAINED,
    )


#: After these a former holder's write is rightly refused.
_SUPERSEDES = frozenset(
    {
        *(EventType.CLAIMED, EventType.RELEASED, EventType.DRAINED, EventType.DONE),
        *(EventType.FAILED, EventType.INTERRUPTED, EventType.QUARANTINED),
        EventType.OPERATOR_ACTION,
    }
)


def metrics_agree(
    tracks: Sequence[Track], metrics: Sequence[str], events: Sequence[Event], slack_seconds: float
) -> Measured:
    """How many counts of the exporter are not those of the ledger at the time of the sample.

    What was written within the slack around the scrape may be in it or not.

    Args:
        tracks: the series of the counts, with their newest samples.
        metrics: the names that are compared.
        events: the whole ledger.
        slack_seconds: how far the clocks may be apart.

    Raises:
        Doubt: there is nothing to compare.
    """
    if not tracks:
        raise Doubt(Reason.NO_DATA, "no count of the exporter has a series")
    finite(track.values[-1] for track in tracks)
    newest = [track.times[-1] for track in tracks]
    least = _folded(events, min(newest) - slack_seconds)
    most = _folded(events, max(newest) + slack_seconds)
    served: dict[tuple[str, tuple[str, ...]], float] = {}
    for track in tracks:
        metric = by_name(track.labels.get(_NAME, ""))
        key = (metric.name, tuple(track.labels.get(label, "") for label in metric.labels))
        served[key] = max(served.get(key, 0.0), track.values[-1])
    wrong, compared = [], 0
    for metric in map(by_name, metrics):
        keys = {labels for name, labels in served if name == metric.name}
        for labels in sorted(keys | {*_counts(least, metric)}):
            low, high = (_counts(fold, metric).get(labels, 0.0) for fold in (least, most))
            value = served.get((metric.name, labels))
            compared += 1
            if value is None and low > 0:
                wrong.append(f"{_series(metric, labels)} is not served, and the ledger has {low:g}")
            elif value is not None and not low <= value <= high:
                bounds = f"{low:g}" if low == high else f"{low:g} to {high:g}"
                wrong.append(f"{_series(metric, labels)} is {value:g}, the ledger has {bounds}")
    return Measured(
        value=len(wrong),
        text="; ".join(wrong[:_NAMED]) if wrong else f"{compared} counts agree",
        checked=compared,
        broken=Reason.METRIC_MISMATCH,
        pointers={"counts": "/data/result"},
    )


def _folded(events: Iterable[Event], until: float) -> Fold:
    fold = Fold()
    for event in events:
        if event.wall <= until * _MICRO:
            fold.apply(event)
    return fold


def _counts(fold: Fold, metric: Metric) -> Mapping[tuple[str, ...], float]:
    return fold.counters.get(metric, {})


def _series(metric: Metric, labels: Sequence[str]) -> str:
    inside = ", ".join(f'{n}="{v}"' for n, v in zip(metric.labels, labels, strict=True))
    return f"{metric.name}{{{inside}}}"


# Evidence


def evidence_holds(document: Any, place: str, field: str, wants: str, at_least: int) -> Measured:
    """How many members of a list in a document are not as they have to be.

    Args:
        document: the JSON.
        place: pointer to a list, or to one value; then ``field`` is empty.
        field: pointer within each member.
        wants: the text that has to stand there.
        at_least: how many members there must be.

    Raises:
        Doubt: it is not there, or there are too few.
    """
    found = pointed(document, place)
    members = found if isinstance(found, list) else [found]
    said = [str(pointed(member, field)) for member in members]
    wrong = [f"{place}/{n}{field} is {text}" for n, text in enumerate(said) if text != wants]
    if not wrong and len(members) < at_least:
        raise Doubt(Reason.LOW_SAMPLES, f"{len(members)} of {at_least}")
    return Measured(
        value=len(wrong),
        text=_some("not as wanted", wrong) if wrong else f"{len(members)} are {wants}",
        checked=len(members),
        broken=Reason.EVIDENCE_FAILED,
        pointers={"evidence": f"{place}/{said.index(next(t for t in said if t != wants))}{field}"}
        if wrong and isinstance(found, list)
        else {"evidence": place},
    )


def pointed(document: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) points to.

    Raises:
        Doubt: nothing is there.
    """
    found = document
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise Doubt(Reason.EVIDENCE_UNREADABLE, f"nothing at {pointer}") from error
    return found


def _some(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what}: {', '.join(names[:_NAMED])}{more}"
''',
    'baton.domain.gate.judging': r'''"""From answers to results: doubt first, then the limit, then what rests on what, then waivers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from types import MappingProxyType

from baton.domain.gate.answers import Answer, Point, Track, finite, matrix_of, vector_of
from baton.domain.gate.policy import Criterion, Policy, in_order
from baton.domain.gate.words import Doubt, Reason, Status

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How well raw samples cover the window, by the worst of their series; times in seconds.

    Attributes:
        series: how many there are.
        found: samples of the series that has fewest.
        expected: samples that the window should have.
        newest_age: how old the newest sample is, of the series where it is oldest.
        begins_late: how long after the window its first sample is.
        gap: the longest time between two samples.
        resets: how often a value fell back.
    """

    series: int
    found: int
    expected: int
    newest_age: float
    begins_late: float
    gap: float
    resets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a criterion came to, before its limits.

    Attributes:
        value: what is compared.
        text: it in words.
        labels: the series that it is of.
        checked: how many things were looked at.
        broken: the code where the limit is not kept.
        pointers: where in each input it is, as JSON pointers by what the input is for.
        coverage: of the raw samples.
    """

    value: float
    text: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    checked: int = 0
    broken: Reason = Reason.THRESHOLD
    pointers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    coverage: Coverage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one criterion.

    Attributes:
        measured: what there was to compare; None where doubt came first.
        coverage: of the raw samples, also where they were doubted.
        notes: what else a reader should know.
    """

    id: str
    status: Status
    reason: Reason
    detail: str
    next_action: str
    measured: Measured | None = None
    coverage: Coverage | None = None
    margin: float | None = None
    notes: tuple[str, ...] = ()


def survey(tracks: Sequence[Track], policy: Policy, at: float) -> Coverage:
    """How well samples cover the policy's window.

    Raises:
        Doubt: there is no series at all.
    """
    if not tracks:
        raise Doubt(Reason.NO_DATA, "no series has a sample in the window")
    begin = at - policy.window_seconds
    return Coverage(
        series=len(tracks),
        found=min(len(track.times) for track in tracks),
        expected=max(1, int(policy.window_seconds / policy.interval_seconds)),
        newest_age=max(at - track.times[-1] for track in tracks),
        begins_late=max(track.times[0] - begin for track in tracks),
        gap=max(_gap(track.times) for track in tracks),
        resets=max(_falls(track.values) for track in tracks),
    )


def _gap(times: Sequence[float]) -> float:
    return max((b - a for a, b in itertools.pairwise(times)), default=0.0)


def _falls(values: Sequence[float]) -> int:
    return sum(b < a for a, b in itertools.pairwise(values))


def trust(found: Coverage, policy: Policy, resets_max: int | None) -> None:
    """Refuse samples that do not cover the window.

    Args:
        found: from ``survey``.
        policy: says what is enough.
        resets_max: how often the values may fall; None where they are no count.

    Raises:
        Doubt: they do not.
    """
    if found.newest_age > policy.stale_seconds:
        said = f"the newest sample is {found.newest_age:.1f} s old, over {policy.stale_seconds:g} s"
        raise Doubt(Reason.STALE, said)
    if found.begins_late > policy.gap_seconds:
        said = f"samples begin {found.begins_late:.1f} s after the window does"
        raise Doubt(Reason.SHORT_WINDOW, said)
    if found.gap > policy.gap_seconds:
        said = f"{found.gap:.1f} s without a sample, over {policy.gap_seconds:g} s"
        raise Doubt(Reason.GAP, said)
    if found.found < policy.coverage_min * found.expected:
        raise Doubt(Reason.LOW_COVERAGE, f"{found.found} samples of {found.expected}")
    if resets_max is not None and found.resets > resets_max:
        raise Doubt(Reason.RESET, f"a count fell back {found.resets} times")


def judge_query(
    criterion: Criterion,
    policy: Policy,
    at: float,
    answers: Mapping[str, Answer],
    *,
    counts: bool,
    tracks_of: Callable[[Answer, float, float], Sequence[Track]] = matrix_of,
) -> Result:
    """Judge a criterion that is a query.

    Args:
        criterion: what is asked.
        policy: what samples have to be like.
        at: the time that everything was asked about, Unix seconds.
        answers: by what they are for: ``query``, ``samples``, ``enough``.
        counts: whether the samples are those of a count, which may not fall.
        tracks_of: ``matrix_of``, or what remembers its results: many criteria rest on the same
            samples.
    """
    coverage: Coverage | None = None
    try:
        if criterion.samples:
            tracks = tracks_of(answers["samples"], at, policy.window_seconds)
            coverage = survey(tracks, policy, at)
            finite(value for track in tracks for value in track.values)
            trust(coverage, policy, criterion.resets_max if counts else None)
        if criterion.enough is not None:
            _enough(criterion.enough.at_least, vector_of(answers["enough"], at))
        measured = _measure(criterion, vector_of(answers["query"], at))
    except Doubt as doubt:
        return doubted(criterion, doubt, coverage)
    return compared(criterion, replace(measured, coverage=coverage))


def _enough(at_least: float, points: Sequence[Point]) -> None:
    if not points:
        raise Doubt(Reason.NO_DATA, "nothing says how often it happened")
    if len(points) > 1:
        raise Doubt(Reason.MULTI_SERIES, f"{len(points)} series say how often it happened")
    finite(point.value for point in points)
    if points[0].value < at_least:
        raise Doubt(Reason.LOW_SAMPLES, f"it happened {points[0].value:g} times of {at_least:g}")


def _measure(criterion: Criterion, points: Sequence[Point]) -> Measured:
    if not points:
        if criterion.empty_is is None:
            raise Doubt(Reason.NO_DATA, "the query has no series")
        return Measured(value=criterion.empty_is, text="no series, which is that value")
    if len(points) > 1 and not criterion.each:
        raise Doubt(Reason.MULTI_SERIES, f"{len(points)} series, and one was expected")
    if len(points) < criterion.series_min:
        raise Doubt(Reason.MISSING_SERIES, f"{len(points)} series of {criterion.series_min}")
    finite(point.value for point in points)
    place, worst = min(
        enumerate(points), key=lambda one: (criterion.must.margin(one[1].value), one[0])
    )
    return Measured(
        value=worst.value,
        text=f"the worst of {len(points)}" if len(points) > 1 else "",
        labels=dict(sorted(worst.labels.items())),
        checked=len(points),
        pointers={"query": f"/data/result/{place}/value/1"},
    )


def doubted(criterion: Criterion, doubt: Doubt, coverage: Coverage | None = None) -> Result:
    """The result of a criterion that could not be measured."""
    return Result(
        id=criterion.id,
        status=doubt.reason.status,
        reason=doubt.reason,
        detail=doubt.detail,
        next_action=doubt.reason.next_action or criterion.next_action,
        coverage=coverage,
    )


def compared(criterion: Criterion, measured: Measured) -> Result:
    """The result of a criterion that was measured."""
    limit = criterion.must
    reason, said = Reason.OK, f"{measured.value:g} {limit}"
    if not limit.holds(measured.value):
        reason, said = measured.broken, f"{measured.value:g} is not {limit}"
    elif criterion.should is not None and not criterion.should.holds(measured.value):
        limit = criterion.should
        reason, said = Reason.SOFT_LIMIT, f"{measured.value:g} should be {limit}"
    return Result(
        id=criterion.id,
        status=reason.status,
        reason=reason,
        detail="; ".join(filter(None, (said, measured.text))),
        next_action="" if reason is Reason.OK else criterion.next_action,
        measured=measured,
        coverage=measured.coverage,
        margin=criterion.must.margin(measured.value),
    )


def settle(policy: Policy, at: float, judge: Callable[[Criterion], Result]) -> list[Result]:
    """Judge every criterion in order; what rests on what does not hold is blocked.

    Args:
        policy: the criteria and the waivers.
        at: the time that everything was asked about; its day decides whether a waiver stands.
        judge: judges one criterion by itself.
    """
    today = datetime.fromtimestamp(at, UTC).date()
    found: dict[str, Result] = {}
    for criterion in in_order(policy.criteria):
        found[criterion.id] = _blocked(criterion, found) or _waived(
            policy, criterion, judge(criterion), today
        )
    return list(found.values())


def _blocked(criterion: Criterion, found: Mapping[str, Result]) -> Result | None:
    bad = [name for name in criterion.needs if not found[name].status.good]
    if not bad:
        return None
    return doubted(criterion, Doubt(Reason.BLOCKED, f"needs {', '.join(bad)}"))


def _waived(policy: Policy, criterion: Criterion, result: Result, today: date) -> Result:
    """A waiver covers what fails, never what is unknown."""
    waiver = policy.waiver(criterion.id)
    if waiver is None:
        return result
    said = f"{waiver.owner} answers for it until {waiver.expires}: {waiver.reason}"
    if result.status is not Status.FAIL:
        note = f"a waiver stands ready, and covers only what fails ({said})"
        return replace(result, notes=(*result.notes, note))
    if today > waiver.expires:
        note = f"the waiver of {waiver.owner} expired on {waiver.expires}"
        return replace(result, notes=(*result.notes, note))
    return replace(
        result,
        status=Status.WAIVED,
        reason=Reason.WAIVER,
        detail=f"{result.detail} ({result.reason})",
        notes=(*result.notes, said),
    )
''',
    'baton.domain.gate.plan': r'''"""What a policy asks of Prometheus: each question once, in one order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from baton.domain.catalogue import CATALOGUE
from baton.domain.gate.policy import Criterion, Kind, Limit, Policy, in_order
from baton.domain.gate.words import Reason
from baton.domain.metric import MetricType


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a path of the API, and its parameters in order."""

    path: str
    parameters: tuple[tuple[str, str], ...] = ()


_QUERY = "/api/v1/query"
_RULES = "/api/v1/rules"

#: The metrics whose samples may not fall: counts, and what histograms count.
_COUNTS = frozenset(
    name
    for metric in CATALOGUE
    if metric.type in (MetricType.COUNTER, MetricType.HISTOGRAM)
    for name in metric.sample_names
)


def _canary(id_: str, query: str) -> Criterion:
    return Criterion(
        id=id_,
        question="Does the gate see what is wrong?",
        why="",
        next_action="",
        kind=Kind.QUERY,
        query=query,
        must=Limit("==", 0.0),
    )


#: Questions whose answers are known, and the code that each has to lead to.
CANARIES: tuple[tuple[Criterion, Reason], ...] = (
    (_canary("absent", "baton_gate_canary_that_nobody_serves"), Reason.NO_DATA),
    (_canary("nan", "vector(0) / vector(0)"), Reason.NOT_A_NUMBER),
    (_canary("breach", "vector(1)"), Reason.THRESHOLD),
)


def query(text: str, at: float) -> Ask:
    """An instant query about the gate's one time."""
    return Ask(_QUERY, (("query", text), ("time", f"{at:.3f}")))


def counts(criterion: Criterion) -> bool:
    """Whether the samples that a criterion rests on are those of a count."""
    return criterion.samples.partition("{")[0].strip() in _COUNTS


def asks_of(criterion: Criterion, policy: Policy, at: float) -> Mapping[str, Ask]:
    """What one criterion asks, by what it is for."""
    exporter = policy.parameters["exporter_job"]
    match criterion.kind:
        case Kind.QUERY:
            found = {"query": query(criterion.query, at)}
            if criterion.samples:
                window = policy.parameters["window"]
                found["samples"] = query(f"{criterion.samples}[{window}]", at)
            if criterion.enough is not None:
                found["enough"] = query(criterion.enough.query, at)
            return found
        case Kind.CATALOGUE:
            text = f'count by (__name__) ({{__name__=~"langgraph_.+", job=~"{exporter}"}})'
            return {"query": query(text, at)}
        case Kind.AGREEMENT:
            names = "|".join(criterion.options["metrics"])
            text = f'{{__name__=~"{names}", job=~"{exporter}"}}'
            return {"counts": query(f"{text}[{policy.parameters['stale_after']}]", at)}
        case Kind.RULES:
            return {"rules": Ask(_RULES)}
    return {}


def plan(policy: Policy, at: float) -> list[Ask]:
    """Everything to ask, each once."""
    canaries = [query(criterion.query, at) for criterion, _ in CANARIES]
    own = [
        ask
        for criterion in in_order(policy.criteria)
        for ask in asks_of(criterion, policy, at).values()
    ]
    return list(dict.fromkeys((*canaries, *own)))
''',
    'baton.domain.gate.policy': r'''"""What a policy says: criteria in order, what they need, and what somebody answers for."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from types import MappingProxyType

#: What a criterion's id begins with: what it is about.
FAMILIES = ("COMP", "CONT", "COV", "FRESH", "LAT")

ID = re.compile(rf"(?:{'|'.join(FAMILIES)})-[A-Z0-9]+(?:-[A-Z0-9]+)*")

#: The row of the gate's own test among the results.
SELF_TEST = "GATE-SELF-TEST"

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
}
_LIMIT = re.compile(r"(<=|<|>=|>|==)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?:\d+(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+)(ms|s|m|h|d)")


class Kind(StrEnum):
    """How a criterion comes by its value."""

    QUERY = "query"
    CATALOGUE = "catalogue"
    RULES = "rules"
    LEDGER = "ledger"
    ASSERTIONS = "assertions"
    REFUSALS = "refusals"
    AGREEMENT = "agreement"
    EVIDENCE = "evidence"


#: Kinds that are judged from the store's ledger.
FROM_LEDGER = frozenset({Kind.LEDGER, Kind.ASSERTIONS, Kind.REFUSALS, Kind.AGREEMENT})


@dataclass(frozen=True, slots=True)
class Limit:
    """A comparison with a number, such as ``<= 0.5``."""

    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read it.

        Raises:
            ValueError: it is no comparison.
        """
        found = _LIMIT.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no comparison such as '<= 0.5' or '== 0'")
        return cls(found[1], float(found[2]))

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a value keeps it; one that is no number keeps none."""
        return _OPERATORS[self.sign](value, self.bound)

    def margin(self, value: float) -> float:
        """How far a value is on the right side; below 0 it is on the wrong one."""
        if self.sign in ("<=", "<"):
            return self.bound - value
        if self.sign in (">=", ">"):
            return value - self.bound
        return -abs(value - self.bound)


@dataclass(frozen=True, slots=True)
class Enough:
    """What must have happened before a value means anything."""

    query: str
    at_least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One criterion.

    Attributes:
        id: its name, also its section of docs/gate.md.
        question: what it answers, in plain words.
        why: what is at stake.
        next_action: what to do where it fails.
        kind: how it comes by its value.
        query: PromQL, for a query.
        samples: the selector whose raw samples have to cover the window before the value counts.
        each: every series is compared, and not just one expected.
        series_min: the least number of series.
        empty_is: what an empty answer means; None where it means nothing.
        enough: what must have happened.
        must: what fails where it does not hold.
        should: what is a reservation where it does not hold; None for nothing.
        unit: of the value.
        resets_max: how often a count in ``samples`` may fall back.
        needs: ids of criteria that it rests on.
        owner: who answers for it.
        waivable: whether a waiver may cover it.
        options: what its kind needs besides, by name.
    """

    id: str
    question: str
    why: str
    next_action: str
    kind: Kind
    query: str = ""
    samples: str = ""
    each: bool = False
    series_min: int = 1
    empty_is: float | None = None
    enough: Enough | None = None
    must: Limit
    should: Limit | None = None
    unit: str = ""
    resets_max: int = 0
    needs: tuple[str, ...] = ()
    owner: str = ""
    waivable: bool = True
    options: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def anchor(self) -> str:
        """Its section."""
        return self.id.lower()

    def option(self, name: str, default: str = "") -> str:
        """An option that has one value."""
        return self.options.get(name, (default,))[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """Somebody answers for a criterion that fails, up to and including a day."""

    criterion: str
    owner: str
    reason: str
    expires: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy.

    Attributes:
        name: what it is called.
        window_seconds: how far back the gate looks.
        interval_seconds: how far apart samples are.
        stale_seconds: how old the newest sample may be.
        gap_seconds: how far apart two samples may be.
        coverage_min: the part of the expected samples that has to be there.
        slack_seconds: how far the ledger's clock and Prometheus's may be apart.
        runbook: the page with a section for each criterion.
        criteria: in the order of the file.
        waivers: what somebody answers for.
        parameters: everything that queries may name as ``$name``.
    """

    name: str
    window_seconds: float
    interval_seconds: float
    stale_seconds: float
    gap_seconds: float
    coverage_min: float
    slack_seconds: float
    runbook: str
    criteria: tuple[Criterion, ...]
    waivers: tuple[Waiver, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def waiver(self, criterion: str) -> Waiver | None:
        """The waiver of a criterion."""
        return next((one for one in self.waivers if one.criterion == criterion), None)


def seconds_of(text: str) -> float:
    """A duration as Prometheus writes it, such as ``15m`` or ``1h30m``, in seconds.

    Raises:
        ValueError: it is none, or no time at all.
    """
    if _DURATION.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no duration such as 90s, 15m or 1h30m")
    total = sum(int(count) * _UNITS[unit] for count, unit in _DURATION_PART.findall(text))
    if total <= 0:
        raise ValueError(f"{text!r} is no time at all")
    return total


def in_order(criteria: Iterable[Criterion]) -> tuple[Criterion, ...]:
    """Criteria after those that they need, otherwise in the order in which they are given.

    Raises:
        ValueError: one needs what is not there, or in the end itself.
    """
    by_id = {one.id: one for one in criteria}
    done: dict[str, Criterion] = {}

    def visit(one: Criterion, path: tuple[str, ...]) -> None:
        if one.id in done:
            return
        if one.id in path:
            raise ValueError(f"{' needs '.join((*path, one.id))}")
        for name in one.needs:
            if name not in by_id:
                raise ValueError(f"{one.id} needs {name}, which is no criterion")
            visit(by_id[name], (*path, one.id))
        done[one.id] = one

    for one in by_id.values():
        visit(one, ())
    return tuple(done.values())
''',
    'baton.domain.gate.portable': r'''"""A policy and rules in plain values: what a gate read from YAML, for whoever has no YAML.

A packet keeps them beside the files that they were read from, so that the gate's decision can be
judged again with the standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import date
from types import MappingProxyType
from typing import Any

from baton.domain.gate.facts import Rule
from baton.domain.gate.policy import Criterion, Enough, Kind, Limit, Policy, Waiver


def policy_to_plain(policy: Policy) -> dict[str, Any]:
    """A policy as JSON takes it."""
    plain: dict[str, Any] = {
        name: getattr(policy, name)
        for name in (
            *("name", "window_seconds", "interval_seconds", "stale_seconds", "gap_seconds"),
            *("coverage_min", "slack_seconds", "runbook"),
        )
    }
    return {
        **plain,
        "criteria": [_criterion_to_plain(one) for one in policy.criteria],
        "waivers": [{**asdict(one), "expires": str(one.expires)} for one in policy.waivers],
        "parameters": dict(policy.parameters),
    }


def policy_from_plain(plain: Mapping[str, Any]) -> Policy:
    """The policy that ``policy_to_plain`` gave.

    Raises:
        ValueError, KeyError, TypeError: it is not as it was written.
    """
    return Policy(
        **{
            **plain,
            "criteria": tuple(_criterion(one) for one in plain["criteria"]),
            "waivers": tuple(
                Waiver(**{**one, "expires": date.fromisoformat(one["expires"])})
                for one in plain["waivers"]
            ),
            "parameters": MappingProxyType(dict(plain["parameters"])),
        }
    )


def rules_to_plain(rules: Iterable[Rule]) -> list[Any]:
    """Rules as JSON takes them."""
    return [[*rule[:4], [list(label) for label in rule[4]]] for rule in rules]


def rules_from_plain(plain: Iterable[Any]) -> list[Rule]:
    """The rules that ``rules_to_plain`` gave.

    Raises:
        ValueError, TypeError: they are not as they were written.
    """
    return [
        (group, name, query, float(hold), tuple((str(key), str(value)) for key, value in labels))
        for group, name, query, hold, labels in plain
    ]


def _criterion_to_plain(one: Criterion) -> dict[str, Any]:
    return {
        **asdict(replace(one, options={})),
        "kind": one.kind.value,
        "must": _exactly(one.must),
        "should": None if one.should is None else _exactly(one.should),
        "options": {name: list(values) for name, values in one.options.items()},
    }


def _exactly(limit: Limit) -> list[Any]:
    """A limit by its parts; its text is rounded."""
    return [limit.sign, limit.bound]


def _criterion(plain: Mapping[str, Any]) -> Criterion:
    enough, should = plain["enough"], plain["should"]
    return Criterion(
        **{
            **plain,
            "kind": Kind(plain["kind"]),
            "enough": None if enough is None else Enough(**enough),
            "must": Limit(*plain["must"]),
            "should": None if should is None else Limit(*should),
            "needs": tuple(plain["needs"]),
            "options": MappingProxyType(
                {name: tuple(values) for name, values in plain["options"].items()}
            ),
        }
    )
''',
    'baton.domain.gate.selftest': r'''"""What the gate has to see in answers that are wrong on purpose; tried anew in every run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from baton.domain.gate.answers import Answer
from baton.domain.gate.judging import Result, judge_query, settle
from baton.domain.gate.policy import Criterion, Enough, Kind, Limit, Policy
from baton.domain.gate.words import Decision, Reason, Status, decide

_AT = 1_000.0
_SUBJECT = Criterion(
    id="COV-SUBJECT",
    question="?",
    why="",
    next_action="",
    kind=Kind.QUERY,
    query="q",
    samples="s",
    enough=Enough("e", 1.0),
    must=Limit("==", 0.0),
)
_POLICY = Policy(
    name="self-test",
    window_seconds=60.0,
    interval_seconds=15.0,
    stale_seconds=20.0,
    gap_seconds=20.0,
    coverage_min=0.9,
    slack_seconds=1.0,
    runbook="",
    criteria=(_SUBJECT,),
)
_GOOD = ((945.0, "0"), (960.0, "1"), (975.0, "2"), (990.0, "3"))


def _answer(kind: str, *rows: dict[str, object], **more: object) -> Answer:
    data = {"resultType": kind, "result": list(rows)}
    body = {"status": "success", "data": data, **more}
    return Answer(status=200, content_type="application/json", body=json.dumps(body).encode())


def _value(text: str, name: str = "a", at: float = _AT) -> dict[str, object]:
    return {"metric": {"n": name}, "value": [at, text]}


def _samples(rows: Sequence[tuple[float, str]]) -> Answer:
    return _answer("matrix", {"metric": {"n": "a"}, "values": [list(row) for row in rows]})


def _cases() -> Iterator[tuple[Reason, Answer, Answer, Answer]]:
    """What has to be seen in the answers to the query, its samples and its enough."""
    zero, good, one = (
        _answer("vector", _value("0")),
        _samples(_GOOD),
        _answer("vector", _value("1")),
    )
    yield Reason.OK, zero, good, one
    yield Reason.THRESHOLD, one, good, one
    yield Reason.NO_DATA, _answer("vector"), good, one
    yield Reason.NOT_A_NUMBER, _answer("vector", _value("NaN")), good, one
    yield Reason.INFINITE, _answer("vector", _value("+Inf")), good, one
    yield Reason.MULTI_SERIES, _answer("vector", _value("0"), _value("0", "b")), good, one
    yield Reason.DUPLICATE_SERIES, _answer("vector", _value("0"), _value("0")), good, one
    yield Reason.WRONG_TIME, _answer("vector", _value("0", at=900.0)), good, one
    yield Reason.PARTIAL, _answer("vector", _value("0"), warnings=["half"]), good, one
    yield Reason.WRONG_TYPE, _samples(_GOOD), good, one
    yield Reason.STALE, zero, _samples(_GOOD[:2]), one
    yield Reason.SHORT_WINDOW, zero, _samples(_GOOD[2:]), one
    yield Reason.GAP, zero, _samples((_GOOD[0], _GOOD[3])), one
    yield Reason.RESET, zero, _samples((*_GOOD[:3], (990.0, "0"))), one
    yield Reason.LOW_SAMPLES, zero, good, zero
    yield Reason.HTTP_SERVER, Answer(status=500, body=b"no"), good, one
    yield Reason.TIMEOUT, Answer(failure=Reason.TIMEOUT), good, one


def flaws() -> list[str]:
    """What the gate does not see as it must, in words; empty if it sees everything."""
    found = []
    for expected, query, samples, enough in _cases():
        answers = {"query": query, "samples": samples, "enough": enough}
        result = judge_query(_SUBJECT, _POLICY, _AT, answers, counts=True)
        if result.reason is not expected:
            found.append(f"{expected} is taken for {result.reason}")
        if (decide([result.status]) is Decision.GO) != (expected is Reason.OK):
            found.append(f"{expected} decides wrongly")
    return found + _flaws_of_deciding()


def _flaws_of_deciding() -> list[str]:
    found = []
    if decide(()) is not Decision.ERROR:
        found.append("nothing at all decides")
    found += [
        f"{status} is outvoted"
        for status in Status
        if decide([Status.PASS, status]) is Decision.GO and status is not Status.PASS
    ]
    broken = Result(
        id=_SUBJECT.id, status=Status.FAIL, reason=Reason.THRESHOLD, detail="", next_action=""
    )
    (result,) = settle(_POLICY, _AT, lambda _: broken)
    if result.status is not Status.FAIL:
        found.append("a failure without a waiver is waived")
    return found
''',
    'baton.domain.gate.telling': r'''"""What a gate says: decision.json, DECISION.md and junit.xml.

Everything is made from the verdict and the case alone; nothing tells how long it took, where it
ran or when it was replayed, so that whoever judges again comes to the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from baton.domain.gate.bench import Case, Verdict
from baton.domain.gate.judging import Result
from baton.domain.gate.policy import SELF_TEST, Criterion
from baton.domain.gate.words import EXIT_CODES, MEANINGS, Decision, Status

FORMAT = "1.0.0"

_SELF_QUESTION = "Does the gate itself see what is wrong?"

_SAYS: Mapping[Decision, str] = {
    Decision.GO: "Every criterion was measured and holds.",
    Decision.RESERVATIONS: "Nothing fails that nobody answers for; read the reservations.",
    Decision.INCONCLUSIVE: "Something could not be judged; that is no yes.",
    Decision.NO_GO: "A criterion was measured and does not hold.",
    Decision.ERROR: "The gate could not ask, or cannot be trusted.",
}


def files(verdict: Verdict, case: Case) -> dict[str, bytes]:
    """What is said, by the names of the files."""
    document = decision(verdict, case)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return {
        "decision.json": text.encode(),
        "DECISION.md": markdown(document).encode(),
        "junit.xml": junit(document).encode(),
    }


def decision(verdict: Verdict, case: Case) -> dict[str, Any]:
    """The decision and everything behind it, in plain values."""
    policy = case.policy
    by_id = {one.id: one for one in policy.criteria}
    counts = {
        status.value: sum(one.status is status for one in verdict.results) for status in Status
    }
    return {
        "format": FORMAT,
        "decision": verdict.decision.value,
        "exit_code": EXIT_CODES[verdict.decision],
        "says": _SAYS[verdict.decision],
        "at": case.at,
        "at_text": moment(case.at),
        "window_seconds": policy.window_seconds,
        "policy": {"name": policy.name, "sha256": case.policy_sha256},
        "parameters": dict(sorted(policy.parameters.items())),
        "prometheus": case.prometheus,
        "store": case.store,
        "baton": case.version,
        "counts": counts,
        "criteria": [_told(one, by_id.get(one.id), verdict, case) for one in verdict.results],
    }


def moment(at: float) -> str:
    """A time as people and machines read it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _told(
    result: Result, criterion: Criterion | None, verdict: Verdict, case: Case
) -> dict[str, Any]:
    measured, coverage = result.measured, result.coverage
    return {
        "id": result.id,
        "question": criterion.question if criterion else _SELF_QUESTION,
        "status": result.status.value,
        "reason": result.reason.value,
        "meaning": MEANINGS[result.reason].text,
        "detail": result.detail,
        "next_action": result.next_action,
        "notes": list(result.notes),
        "check": criterion.kind.value if criterion else "self-test",
        "query": (criterion.query or None) if criterion else None,
        "time": case.at,
        "window_seconds": case.policy.window_seconds if criterion else None,
        "value": measured.value if measured else None,
        "unit": criterion.unit if criterion else "",
        "must": str(criterion.must) if criterion else None,
        "should": str(criterion.should) if criterion and criterion.should else None,
        "margin": result.margin,
        "labels": dict(measured.labels) if measured else {},
        "checked": measured.checked if measured else 0,
        "samples": None
        if coverage is None
        else {
            "series": coverage.series,
            "found": coverage.found,
            "expected": coverage.expected,
            "newest_age_seconds": round(coverage.newest_age, 3),
            "longest_gap_seconds": round(coverage.gap, 3),
            "begins_late_seconds": round(max(0.0, coverage.begins_late), 3),
            "resets": coverage.resets,
        },
        "needs": list(criterion.needs) if criterion else [],
        "owner": criterion.owner if criterion else "Baton maintainers",
        "evidence": [
            {"for": one.role, "file": one.file, "sha256": one.sha256, "pointer": one.pointer}
            for one in verdict.references[result.id]
        ],
        "runbook": f"{case.policy.runbook}#{criterion.anchor if criterion else _self()}",
    }


def _self() -> str:
    return SELF_TEST.lower()


# Markdown


def markdown(document: Mapping[str, Any]) -> str:
    """The decision as a page, fit for the summary of a CI job."""
    return "\n".join(_page(document)) + "\n"


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    rows = document["criteria"]
    yield f"# {document['decision']}"
    yield ""
    yield f"{document['says']} Policy {document['policy']['name']}, asked about"
    yield f"{document['at_text']} and the {document['window_seconds']:g} s before it."
    yield ""
    yield ", ".join(f"{count} {name}" for name, count in document["counts"].items() if count)
    bad = [row for row in _worst(rows) if row["status"] != Status.PASS]
    if bad:
        yield ""
        yield "## What stands against it"
    for row in bad:
        yield ""
        yield f"### {row['id']}: {row['status']} ({row['reason']})"
        yield ""
        yield f"{row['question']} {_cell(row['detail'])}"
        yield ""
        yield f"- Means: {row['meaning']}."
        if row["next_action"]:
            yield f"- Next: {row['next_action']}"
        yield from (f"- Note: {_cell(note)}" for note in row["notes"])
        yield f"- Owner: {row['owner']}. Runbook: {row['runbook']}"
        yield from (
            f"- Evidence: `{one['file']}` at `{one['pointer'] or '/'}`, SHA-256 `{one['sha256']}`"
            for one in row["evidence"]
        )
    yield ""
    yield "## All criteria"
    yield ""
    yield "| criterion | status | reason | value | must | margin | samples | question |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        cells = (
            *(row["id"], row["status"], row["reason"], valued(row), row["must"] or "-"),
            *(_number(row["margin"]), sampled(row), row["question"]),
        )
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _worst(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -Status(row["status"]).rank)


def valued(row: Mapping[str, Any]) -> str:
    """A value with its unit."""
    if row["value"] is None:
        return "-"
    return f"{_number(row['value'])} {row['unit']}".strip()


def sampled(row: Mapping[str, Any]) -> str:
    """How many samples there were of those that there should be, or how much was looked at."""
    samples = row["samples"]
    if samples is not None:
        return f"{samples['found']}/{samples['expected']}"
    return str(row["checked"]) if row["checked"] else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


# JUnit


def junit(document: Mapping[str, Any]) -> str:
    """The decision as a test report; what is unknown is an error, and nothing is ever skipped."""
    rows = document["criteria"]
    failures = sum(row["status"] == Status.FAIL for row in rows)
    errors = sum(row["status"] in (Status.ERROR, Status.INCONCLUSIVE) for row in rows)
    counts = f'tests="{len(rows)}" failures="{failures}" errors="{errors}" skipped="0"'
    head = f"<testsuite name={quoteattr('gate ' + document['policy']['name'])} {counts}"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites>{head} timestamp={quoteattr(document['at_text'])}>",
        *(_case(row) for row in rows),
        "</testsuite></testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _case(row: Mapping[str, Any]) -> str:
    head = f"<testcase classname={quoteattr(row['check'])} name={quoteattr(row['id'])}>"
    said = f"{row['question']} {row['detail']}. {row['next_action']} {row['runbook']}"
    element = {
        Status.FAIL: "failure",
        Status.INCONCLUSIVE: "error",
        Status.ERROR: "error",
    }.get(Status(row["status"]), "system-out")
    about = ""
    if element != "system-out":
        message = quoteattr(_printable(f"{row['status']} {row['reason']}: {row['detail']}"))
        about = f" message={message} type={quoteattr(row['reason'])}"
    return f"{head}<{element}{about}>{escape(_printable(said))}</{element}></testcase>"


def _printable(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
''',
    'baton.domain.gate.words': r'''"""The words of a gate: statuses, reason codes, decisions, and the exit codes of a decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What came of one criterion, the best first; the worst of all decides."""

    PASS = "PASS"  # noqa: S105 - a verdict, and no password
    WAIVED = "WAIVED"
    WARN = "WARN"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"
    ERROR = "ERROR"

    @property
    def rank(self) -> int:
        """Its place: the higher, the worse."""
        return _RANKS[self]

    @property
    def good(self) -> bool:
        """Whether a release may go on in spite of it."""
        return self.rank < Status.INCONCLUSIVE.rank


_RANKS = {status: rank for rank, status in enumerate(Status)}


class Decision(StrEnum):
    """What a release job is told."""

    GO = "GO"
    RESERVATIONS = "GO with reservations"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_GO = "NO-GO"
    ERROR = "ERROR"


#: What the command ends with.
EXIT_CODES: Mapping[Decision, int] = {
    Decision.GO: 0,
    Decision.RESERVATIONS: 0,
    Decision.NO_GO: 1,
    Decision.INCONCLUSIVE: 2,
    Decision.ERROR: 3,
}

_DECISIONS: Mapping[Status, Decision] = {
    Status.PASS: Decision.GO,
    Status.WAIVED: Decision.RESERVATIONS,
    Status.WARN: Decision.RESERVATIONS,
    Status.INCONCLUSIVE: Decision.INCONCLUSIVE,
    Status.FAIL: Decision.NO_GO,
    Status.ERROR: Decision.ERROR,
}


def decide(statuses: Iterable[Status]) -> Decision:
    """The worst wins; of nothing at all nothing follows but that the gate is wrong."""
    return _DECISIONS[max(statuses, key=lambda status: status.rank, default=Status.ERROR)]


class Reason(StrEnum):
    """Why a criterion has its status: each way to be wrong has a code of its own."""

    OK = "OK"
    WAIVER = "WAIVER"
    SOFT_LIMIT = "SOFT_LIMIT"
    # Unknown: the data does not say
    NO_DATA = "NO_DATA"
    MISSING_SERIES = "MISSING_SERIES"
    MULTI_SERIES = "MULTI_SERIES"
    DUPLICATE_SERIES = "DUPLICATE_SERIES"
    NOT_A_NUMBER = "NOT_A_NUMBER"
    INFINITE = "INFINITE"
    STALE = "STALE"
    FUTURE = "FUTURE"
    WRONG_TIME = "WRONG_TIME"
    DISORDERED = "DISORDERED"
    SHORT_WINDOW = "SHORT_WINDOW"
    GAP = "GAP"
    LOW_COVERAGE = "LOW_COVERAGE"
    RESET = "RESET"
    LOW_SAMPLES = "LOW_SAMPLES"
    PARTIAL = "PARTIAL"
    BLOCKED = "BLOCKED"
    NO_STORE = "NO_STORE"
    PRUNED = "PRUNED"
    NOT_JUDGED = "NOT_JUDGED"
    RULES_NOT_EVALUATED = "RULES_NOT_EVALUATED"
    NO_EVIDENCE = "NO_EVIDENCE"
    EVIDENCE_UNREADABLE = "EVIDENCE_UNREADABLE"
    # Broken
    THRESHOLD = "THRESHOLD"
    MISSING_METRIC = "MISSING_METRIC"
    RULES_NOT_LOADED = "RULES_NOT_LOADED"
    RULES_DIFFER = "RULES_DIFFER"
    RULES_FAILING = "RULES_FAILING"
    LEDGER_DAMAGED = "LEDGER_DAMAGED"
    CONTINUITY_BROKEN = "CONTINUITY_BROKEN"
    REFUSAL_UNEXPLAINED = "REFUSAL_UNEXPLAINED"
    METRIC_MISMATCH = "METRIC_MISMATCH"
    EVIDENCE_FAILED = "EVIDENCE_FAILED"
    # The answer is none
    UNREACHABLE = "UNREACHABLE"
    TIMEOUT = "TIMEOUT"
    TOO_SLOW = "TOO_SLOW"
    CUT_OFF = "CUT_OFF"
    TLS = "TLS"
    REDIRECT = "REDIRECT"
    UNAUTHORIZED = "UNAUTHORIZED"
    NOT_FOUND = "NOT_FOUND"
    BUSY = "BUSY"
    HTTP_CLIENT = "HTTP_CLIENT"
    HTTP_SERVER = "HTTP_SERVER"
    TOO_LARGE = "TOO_LARGE"
    EMPTY_BODY = "EMPTY_BODY"
    HTML = "HTML"
    NOT_JSON = "NOT_JSON"
    TRUNCATED = "TRUNCATED"
    WRONG_SHAPE = "WRONG_SHAPE"
    WRONG_TYPE = "WRONG_TYPE"
    BAD_VALUE = "BAD_VALUE"
    QUERY_REFUSED = "QUERY_REFUSED"
    QUERY_TIMEOUT = "QUERY_TIMEOUT"
    API_ERROR = "API_ERROR"
    GATE_BROKEN = "GATE_BROKEN"

    @property
    def status(self) -> Status:
        """The status that it gives."""
        return MEANINGS[self].status

    @property
    def next_action(self) -> str:
        """What to do about it."""
        return MEANINGS[self].next_action


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reason code means.

    Attributes:
        status: what it gives.
        text: in plain words.
        next_action: what to do about it; empty where the criterion itself says.
    """

    status: Status
    text: str
    next_action: str = ""


_SERIES = "Look at the series in Prometheus; mend the exporter, the scrape or the query."
_WAIT = "Wait until the window holds nothing but whole data, then run the gate again."
_SERVER = "Look at the Prometheus server and at what stands between it and the gate."
_STORE = "Give --store with the fleet's store."
_EVIDENCE = "Make the evidence anew and give its folder with --evidence."

_UNKNOWN = Status.INCONCLUSIVE
#: Every code, with what it means.
MEANINGS: Mapping[Reason, Meaning] = {
    Reason.OK: Meaning(Status.PASS, "it was measured, and holds"),
    Reason.WAIVER: Meaning(Status.WAIVED, "it does not hold, and somebody answers for that"),
    Reason.SOFT_LIMIT: Meaning(Status.WARN, "it holds, and is not as it should be"),
    Reason.NO_DATA: Meaning(_UNKNOWN, "there is no such series", _SERIES),
    Reason.MISSING_SERIES: Meaning(_UNKNOWN, "fewer series than there must be", _SERIES),
    Reason.MULTI_SERIES: Meaning(_UNKNOWN, "several series where one was expected", _SERIES),
    Reason.DUPLICATE_SERIES: Meaning(_UNKNOWN, "one series comes twice in an answer", _SERVER),
    Reason.NOT_A_NUMBER: Meaning(_UNKNOWN, "the value is NaN", _SERIES),
    Reason.INFINITE: Meaning(_UNKNOWN, "the value is infinite", _SERIES),
    Reason.STALE: Meaning(_UNKNOWN, "the newest sample is too old", _SERIES),
    Reason.FUTURE: Meaning(_UNKNOWN, "a sample is later than the time asked about", _SERVER),
    Reason.WRONG_TIME: Meaning(_UNKNOWN, "the answer is about another time", _SERVER),
    Reason.DISORDERED: Meaning(_UNKNOWN, "samples are not in the order of time", _SERVER),
    Reason.SHORT_WINDOW: Meaning(_UNKNOWN, "the data begins after the window does", _WAIT),
    Reason.GAP: Meaning(_UNKNOWN, "the window has a hole", _WAIT),
    Reason.LOW_COVERAGE: Meaning(_UNKNOWN, "the window has too few samples", _WAIT),
    Reason.RESET: Meaning(_UNKNOWN, "a count fell back within the window", _SERIES),
    Reason.LOW_SAMPLES: Meaning(
        _UNKNOWN, "too little happened to judge by", "Exercise the fleet, then run the gate again."
    ),
    Reason.PARTIAL: Meaning(_UNKNOWN, "the answer came with warnings", _SERVER),
    Reason.BLOCKED: Meaning(
        _UNKNOWN, "what it rests on does not hold", "Mend the criterion that it needs."
    ),
    Reason.NO_STORE: Meaning(_UNKNOWN, "no store was given", _STORE),
    Reason.PRUNED: Meaning(
        _UNKNOWN, "a part of the ledger is in archives", "Give --archive with the archives."
    ),
    Reason.NOT_JUDGED: Meaning(_UNKNOWN, "the ledger has nothing to check", _STORE),
    Reason.RULES_NOT_EVALUATED: Meaning(_UNKNOWN, "rules were not evaluated lately", _WAIT),
    Reason.NO_EVIDENCE: Meaning(_UNKNOWN, "the evidence is not there", _EVIDENCE),
    Reason.EVIDENCE_UNREADABLE: Meaning(_UNKNOWN, "the evidence cannot be read", _EVIDENCE),
    Reason.THRESHOLD: Meaning(Status.FAIL, "the value is beyond its limit"),
    Reason.MISSING_METRIC: Meaning(Status.FAIL, "the exporter does not serve what it must"),
    Reason.RULES_NOT_LOADED: Meaning(Status.FAIL, "rules of the repository are not loaded"),
    Reason.RULES_DIFFER: Meaning(Status.FAIL, "a loaded rule is not the repository's"),
    Reason.RULES_FAILING: Meaning(Status.FAIL, "Prometheus cannot evaluate a rule"),
    Reason.LEDGER_DAMAGED: Meaning(Status.FAIL, "the ledger does not hold"),
    Reason.CONTINUITY_BROKEN: Meaning(Status.FAIL, "the ledger shows a breach of continuity"),
    Reason.REFUSAL_UNEXPLAINED: Meaning(
        Status.FAIL, "a write was refused that nobody had superseded"
    ),
    Reason.METRIC_MISMATCH: Meaning(Status.FAIL, "the metrics say something else than the ledger"),
    Reason.EVIDENCE_FAILED: Meaning(Status.FAIL, "the evidence shows a failure"),
    Reason.UNREACHABLE: Meaning(Status.ERROR, "no connection to Prometheus", _SERVER),
    Reason.TIMEOUT: Meaning(Status.ERROR, "Prometheus does not answer in time", _SERVER),
    Reason.TOO_SLOW: Meaning(Status.ERROR, "the answer trickles in too slowly", _SERVER),
    Reason.CUT_OFF: Meaning(Status.ERROR, "the connection ended within the answer", _SERVER),
    Reason.TLS: Meaning(
        Status.ERROR, "the server's certificate is not to be trusted", "Give --ca-file, or mend it."
    ),
    Reason.REDIRECT: Meaning(
        Status.ERROR, "the server points elsewhere", "Give the address that it points to."
    ),
    Reason.UNAUTHORIZED: Meaning(
        Status.ERROR, "the server wants other credentials", "Give --token-file or --basic-file."
    ),
    Reason.NOT_FOUND: Meaning(
        Status.ERROR, "the server has no such interface", "Is this the address of a Prometheus?"
    ),
    Reason.BUSY: Meaning(Status.ERROR, "the server refuses more requests", _SERVER),
    Reason.HTTP_CLIENT: Meaning(Status.ERROR, "the server refuses the request", _SERVER),
    Reason.HTTP_SERVER: Meaning(Status.ERROR, "the server has failed", _SERVER),
    Reason.TOO_LARGE: Meaning(
        Status.ERROR, "the answer is larger than is read", "Narrow the query, or the window."
    ),
    Reason.EMPTY_BODY: Meaning(Status.ERROR, "the answer is empty", _SERVER),
    Reason.HTML: Meaning(Status.ERROR, "the answer is a web page", _SERVER),
    Reason.NOT_JSON: Meaning(Status.ERROR, "the answer is no JSON", _SERVER),
    Reason.TRUNCATED: Meaning(Status.ERROR, "the answer is cut off", _SERVER),
    Reason.WRONG_SHAPE: Meaning(Status.ERROR, "the answer is none of Prometheus's", _SERVER),
    Reason.WRONG_TYPE: Meaning(Status.ERROR, "the answer has another type", _SERVER),
    Reason.BAD_VALUE: Meaning(Status.ERROR, "a value is no number at all", _SERVER),
    Reason.QUERY_REFUSED: Meaning(
        Status.ERROR, "Prometheus does not understand the query", "Mend the query in the policy."
    ),
    Reason.QUERY_TIMEOUT: Meaning(Status.ERROR, "Prometheus gave the query up", _SERVER),
    Reason.API_ERROR: Meaning(Status.ERROR, "Prometheus answers with an error", _SERVER),
    Reason.GATE_BROKEN: Meaning(
        Status.ERROR, "the gate itself does not see what is wrong", "Report it; trust no decision."
    ),
}


class Doubt(Exception):
    """Something is not as it has to be before a value may be believed."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Say why.

        Args:
            reason: the code.
            detail: what was found.
        """
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
''',
    'baton.domain.ledger': r'''"""Ledger events, their encoding and their hash chains.

A chain belongs to a task (``task:<id>``) or to a session (``session:<id>``). Each event carries
the hash of the one before it in its chain; the first carries ``GENESIS``.

The encoding is a run of netstrings (https://cr.yp.to/proto/netstrings.txt), one per field in
``FIELDS`` order, with ``-,`` for a field that is absent. It is unambiguous, needs no escaping,
and can be written in any store's own language, so that a hash computed inside PostgreSQL equals
one computed here; tests/unit/ledger_vectors.json holds the golden vectors both must meet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from json.encoder import encode_basestring_ascii as _quoted
from operator import attrgetter
from typing import Any

from baton.domain.words import EventType

SCHEMA_VERSION = "1.0.0"
GENESIS = "0" * 64

#: The hashed fields in their fixed order. ``seq`` is left out: it only orders the tail.
FIELDS = (
    "schema_version",
    "chain",
    "n",
    "at",
    "wall",
    "type",
    "task_id",
    "run_id",
    "step_id",
    "worker_id",
    "session_id",
    "epoch",
    "reason",
    "payload",
    "prev",
)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the ledger.

    Attributes:
        chain: the chain it belongs to.
        n: its dense position in the chain, from 0.
        at: store time, integer microseconds.
        wall: wall-clock time of the writer, integer microseconds since the Unix epoch.
        type: what happened.
        payload: canonical JSON text: digests and figures, never user values.
        prev: the hash of event ``n - 1``, or ``GENESIS``.
        hash: ``digest`` of the fields above.
        seq: the place in the store's tail; may have gaps, not hashed.
    """

    chain: str
    n: int
    at: int
    wall: int
    type: str
    task_id: str | None
    run_id: str | None
    step_id: str | None
    worker_id: str | None
    session_id: str | None
    epoch: int | None
    reason: str | None
    payload: str
    prev: str
    hash: str
    seq: int = 0
    schema_version: str = SCHEMA_VERSION

    @cached_property
    def data(self) -> dict[str, Any]:
        """The payload as a mapping; empty where it is none, so that a reader can go on.

        Decoded once, however many readers ask; nobody changes it.

        ``baton.domain.checks`` names an event whose payload cannot be read.
        """
        try:
            decoded = _decoded(self.payload)
        except (ValueError, RecursionError):
            return {}
        return decoded if isinstance(decoded, dict) else {}

    def to_dict(self) -> dict[str, Any]:
        """The event as plain values, fields in their fixed order, for JSON Lines."""
        fields = {name: getattr(self, name) for name in FIELDS}
        return {**fields, "hash": self.hash, "seq": self.seq}


def task_chain(task_id: str) -> str:
    """The chain of a task."""
    return f"task:{task_id}"


def session_chain(session_id: str) -> str:
    """The chain of a session."""
    return f"session:{session_id}"


def made_once(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """What ``encoder.encode`` does, without making its C encoder anew for every call."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    separators = (encoder.key_separator, encoder.item_separator)
    switches = (encoder.sort_keys, encoder.skipkeys, encoder.allow_nan)
    encode = make(None, encoder.default, _quoted, None, *separators, *switches)
    return lambda value: "".join(encode(value, 0))


_canonical = made_once(json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False))


_scan = json.JSONDecoder().raw_decode


def _decoded(payload: str) -> Any:
    """``json.loads``, at half its cost for what has nothing around it, as canonical JSON has."""
    if payload[:1] != "{":
        return json.loads(payload)
    decoded, end = _scan(payload)
    return decoded if end == len(payload) else json.loads(payload)


def canonical_payload(fields: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces, ASCII only, so that equal payloads are equal bytes."""
    return _canonical(fields)


def netstring(value: str | int | None) -> str:
    """One field, length first (in bytes of UTF-8); an absent field is ``-,``."""
    if value is None:
        return "-,"
    text = value if type(value) is str else str(value)
    length = len(text) if text.isascii() else len(text.encode())
    return f"{length}:{text},"


def digest(values: Iterable[str | int | None]) -> str:
    """The SHA-256 of ``values`` as netstrings, in hexadecimal.

    Args:
        values: the fields of an event in ``FIELDS`` order.
    """
    texts = [None if value is None else str(value) for value in values]
    encoded = "".join(["-," if text is None else f"{len(text)}:{text}," for text in texts])
    if not encoded.isascii():
        # A length counts bytes: only now is it worth the while to count them one by one.
        encoded = "".join(map(netstring, texts))
    return hashlib.sha256(encoded.encode()).hexdigest()


def seal(  # noqa: PLR0913 - one argument per field of the record
    *,
    chain: str,
    n: int,
    at: int,
    wall: int,
    type: EventType,  # noqa: A002 - the field's published name
    prev: str,
    payload: str,
    task_id: str | None = None,
    run_id: str | None = None,
    step_id: str | None = None,
    worker_id: str | None = None,
    session_id: str | None = None,
    epoch: int | None = None,
    reason: str | None = None,
) -> tuple[str | int | None, ...]:
    """The stored row of an event: its hashed fields in order, then its hash.

    A tuple and not an ``Event``, because this runs once per super-step.
    """
    return seal_row(
        chain,
        n,
        at,
        wall,
        type.value,
        task_id,
        run_id,
        step_id,
        worker_id,
        session_id,
        epoch,
        reason,
        payload,
        prev,
    )


def seal_row(*fields: str | int | None) -> tuple[str | int | None, ...]:
    """``seal`` with the fields after ``schema_version`` given in ``FIELDS`` order."""
    row = (SCHEMA_VERSION, *fields)
    return (*row, digest(row))


class StepSealer:
    """``seal`` for the steps of one lease: what never changes is encoded once.

    A step is sealed for every super-step of every run, so this path is worth a class.
    """

    __slots__ = ("_after", "_before", "_fixed", "_middle")

    def __init__(
        self, task_id: str, run_id: str, worker_id: str, session_id: str, epoch: int
    ) -> None:
        """Encode the fields that all steps of a lease share.

        Args:
            task_id: the task.
            run_id: its run.
            worker_id: the holder's worker.
            session_id: the holder.
            epoch: the lease's epoch.
        """
        chain, type_ = task_chain(task_id), EventType.STEP.value
        self._fixed = (chain, type_, task_id, run_id, worker_id, session_id, epoch)
        self._before = netstring(SCHEMA_VERSION) + netstring(chain)
        self._middle = netstring(type_) + netstring(task_id) + netstring(run_id)
        self._after = netstring(worker_id) + netstring(session_id) + netstring(epoch) + "-,"

    def seal(
        self, n: int, at: int, wall: int, step_id: str, payload: str, prev: str
    ) -> tuple[str | int | None, ...]:
        """The stored row of a step; the same as ``seal`` makes.

        Args:
            n: its place in the chain.
            at: store time in microseconds.
            wall: wall time in microseconds.
            step_id: the checkpoint.
            payload: from ``step_payload``.
            prev: the hash of the event before.
        """
        encoded = (
            f"{self._before}{netstring(n)}{netstring(at)}{netstring(wall)}{self._middle}"
            f"{netstring(step_id)}{self._after}{netstring(payload)}{netstring(prev)}"
        )
        chain, type_, task_id, run_id, worker_id, session_id, epoch = self._fixed
        return (
            SCHEMA_VERSION,
            chain,
            n,
            at,
            wall,
            type_,
            task_id,
            run_id,
            step_id,
            worker_id,
            session_id,
            epoch,
            None,
            payload,
            prev,
            hashlib.sha256(encoded.encode()).hexdigest(),
        )


def step_payload(
    digest_: str, ns: str, parent: str | None, source: str, step: int, writes: int
) -> str:
    """``canonical_payload`` of a step event, at a tenth of its cost.

    Args:
        digest_: SHA-256 of the encoded checkpoint.
        ns: the checkpoint namespace.
        parent: the checkpoint before it.
        source: why LangGraph made it.
        step: LangGraph's number of the super-step.
        writes: how many pending writes came with it.
    """
    parent_json = "null" if parent is None else _quoted(parent)
    return (
        f'{{"digest":"{digest_}","ns":{_quoted(ns)},"parent":{parent_json},'
        f'"source":{_quoted(source)},"step":{step},"writes":{writes}}}'
    )


_ROW = ("seq", *FIELDS, "hash")


def event_from_row(row: tuple[Any, ...]) -> Event:
    """Read back ``(seq, *seal(...))``."""
    # Not by ``Event(...)``, which sets the fields of a frozen class one by one: whole ledgers are
    # read through here.
    event = object.__new__(Event)
    event.__dict__.update(zip(_ROW, row, strict=True))
    return event


#: The type of each field of a written event, and those that may be absent.
_TYPES: Mapping[str, type] = {
    **dict.fromkeys((*FIELDS, "hash"), str),
    **dict.fromkeys(("n", "at", "wall", "epoch", "seq"), int),
}
_MAY_LACK = frozenset(
    {"task_id", "run_id", "step_id", "worker_id", "session_id", "epoch", "reason"}
)
_all_fields = attrgetter(*_TYPES)

#: The types of all fields as most events have them: looked up at once, and not one by one.
_PLAIN = frozenset(
    tuple(type(None) if name in lacking else wanted for name, wanted in _TYPES.items())
    for count in range(len(_MAY_LACK) + 1)
    for lacking in map(frozenset, combinations(sorted(_MAY_LACK), count))
)


def odd_field(fields: Mapping[str, Any] | Event) -> str | None:
    """What is wrong with the first field that is of a type which no event has; None if none is.

    Args:
        fields: an event, or plain values by name.
    """
    if isinstance(fields, Event) and tuple(map(type, _all_fields(fields))) in _PLAIN:
        return None
    for name, wanted in _TYPES.items():
        value = getattr(fields, name) if isinstance(fields, Event) else fields[name]
        # A truth value is a whole number to Python and to nobody else.
        if type(value) is not wanted and not (value is None and name in _MAY_LACK):
            return f"{name} is {value!r}, and not {wanted.__name__}"
    return None


def event_from_dict(fields: Mapping[str, Any]) -> Event:
    """Read back ``Event.to_dict``, for instance a line of an exported ledger.

    Args:
        fields: plain values by name; names that are not known are left out.

    Raises:
        ValueError: a field is not there or is of the wrong type.
    """
    if lacking := [name for name in _TYPES if name not in fields]:
        raise ValueError(f"an event lacks {', '.join(lacking)}")
    if odd := odd_field(fields):
        raise ValueError(f"an event's {odd}")
    return Event(**{name: fields[name] for name in _TYPES})


_hashed_fields = attrgetter(*FIELDS)


def recomputed_hash(event: Event) -> str:
    """The hash that ``event`` ought to carry."""
    return digest(_hashed_fields(event))
''',
    'baton.domain.ledger_schema': r'''"""JSON Schema of one event of the ledger, made from the shapes that writers keep.

It takes every ledger that a version of this contract wrote or will write: an event of a type that
is not known yet, or with keys that are not known yet, is right too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from baton.domain.ledger import FIELDS, SCHEMA_VERSION
from baton.domain.shapes import ANY, SHAPES, Shape

_HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_ID = {"type": ["string", "null"]}
_WHOLE = {"type": "integer", "minimum": 0}

#: What each field is, whatever the event.
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "schema_version": {"const": SCHEMA_VERSION},
    "chain": {"type": "string", "pattern": "^(task|session):"},
    "n": {**_WHOLE, "description": "dense position in its chain"},
    "at": {"type": "integer", "description": "store time in microseconds"},
    "wall": {"type": "integer", "description": "microseconds since the Unix epoch"},
    "type": {"type": "string"},
    "task_id": _ID,
    "run_id": _ID,
    "step_id": _ID,
    "worker_id": _ID,
    "session_id": _ID,
    "epoch": {"type": ["integer", "null"], "minimum": 1},
    "reason": _ID,
    "payload": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "canonical JSON: sorted keys, no spaces, ASCII",
    },
    "prev": {**_HASH, "description": "the hash before in the chain; zeros for the first"},
    "hash": {**_HASH, "description": "SHA-256 over the fields before, as netstrings in this order"},
    "seq": {**_WHOLE, "description": "place in the store's tail; may have gaps, is not hashed"},
}


def event_schema() -> dict[str, Any]:
    """The schema of an event as `baton ledger export` writes it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of the ledger, one line of `baton ledger export`",
        "description": "Types, keys and fields may be added; none is taken away.",
        "type": "object",
        "required": [*FIELDS, "hash", "seq"],
        "properties": dict(_FIELDS),
        "allOf": [
            {"if": _is(type_.value), "then": _then(shape)} for type_, shape in SHAPES.items()
        ],
    }


def render_ledger_schema() -> str:
    """The file."""
    return json.dumps(event_schema(), indent=1) + "\n"


def payload_schema(shape: Shape) -> dict[str, Any]:
    """The schema of a payload, once it is decoded."""
    meanings = {**shape.payload, **shape.with_reason, **shape.further}
    return {
        "type": "object",
        "required": list(shape.payload),
        "properties": {
            key: {
                "description": text,
                **({"enum": list(shape.words[key])} if key in shape.words else {}),
            }
            for key, text in meanings.items()
        },
    }


def _is(type_: str) -> dict[str, Any]:
    return {"properties": {"type": {"const": type_}}, "required": ["type"]}


def _then(shape: Shape) -> dict[str, Any]:
    properties: dict[str, Any] = {
        name: {"type": "integer" if name == "epoch" else "string"} for name in shape.ids
    }
    if not set(ANY) & set(shape.reasons):
        properties["reason"] = {
            "enum": [None if one is None else str(one) for one in shape.reasons]
        }
    if shape.chain != "any":
        properties["chain"] = {"pattern": f"^{shape.chain}:"}
    properties["payload"] = {"contentSchema": payload_schema(shape)}
    return {"description": shape.meaning, "properties": properties}
''',
    'baton.domain.metric': r'''"""What a metric is: one frozen description that every other part is derived from."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

#: Labels whose values nobody bounds. They live in exemplars, in logs and in the ledger.
UNBOUNDED_LABELS = frozenset({"task", "run", "step", "thread", "session", "trace", "epoch"})

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class MetricType(StrEnum):
    """The types of OpenMetrics 1.0 that the catalogue uses."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"
    STATESET = "stateset"


class Source(StrEnum):
    """Who serves a metric. Exactly one does, so that nothing is counted twice."""

    EXPORTER = "exporter"
    WORKER = "worker"


class Stability(StrEnum):
    """What a reader may build on: stable metrics only ever gain, experimental ones may change."""

    STABLE = "stable"
    EXPERIMENTAL = "experimental"


@dataclass(frozen=True, slots=True)
class Known:
    """The label values that are known before anything happens.

    Attributes:
        labels: the labels whose values are known.
        rows: every combination of their values that can occur, in the order of ``labels``.
    """

    labels: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ((),)

    def values(self, label: str) -> tuple[str, ...]:
        """The values that ``label`` can take, in the order in which they were listed."""
        column = self.labels.index(label)
        return tuple(dict.fromkeys(row[column] for row in self.rows))


def every(**values: Iterable[str]) -> Known:
    """All combinations of the given values, e.g. ``every(reason=TakeoverReason)``."""
    rows = itertools.product(*([str(value) for value in column] for column in values.values()))
    return Known(labels=tuple(values), rows=tuple(rows))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One metric of the catalogue. Two metrics are equal only if they are the same constant.

    Attributes:
        name: as it is written in a query, with the unit last and counters in ``_total``.
        type: its OpenMetrics type.
        group: the part of the fleet it speaks of; orders the documentation.
        help: what a value means, in one sentence.
        unit: the base unit that the name ends in, or nothing for counts and states.
        labels: label names in the order in which label values are given.
        known: the label values that exist from the start, so that a count begins at 0.
        states: the states of a state set.
        buckets: the upper bounds of a histogram, in ``unit``; ``+Inf`` is implied.
        source: who serves it.
        stability: whether a reader may build on it.
        blind_spot: what it cannot see, and what to look at instead.
        diagnostic: why no alert or gate needs it; empty for a metric that one may use.
        exemplars: whether its buckets carry the ids of a case in point.
    """

    name: str
    type: MetricType
    group: str
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    known: Known = Known()
    states: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    source: Source = Source.EXPORTER
    stability: Stability = Stability.STABLE
    blind_spot: str = ""
    diagnostic: str = ""
    exemplars: bool = False

    def __post_init__(self) -> None:
        """Refuse a description that Prometheus, OpenMetrics or the house rules would refuse."""
        checks = (self._broken_name(), self._broken_labels(), self._broken_type())
        for broken in filter(None, checks):
            raise ValueError(f"metric {self.name}: {broken}")

    @property
    def series_labels(self) -> tuple[str, ...]:
        """The labels that its samples carry beside the target's own."""
        if self.type is MetricType.STATESET:
            return (*self.labels, self.name)
        return self.labels

    @property
    def sample_names(self) -> tuple[str, ...]:
        """The names that a query can ask for: a histogram's samples have suffixes of their own."""
        if self.type is MetricType.HISTOGRAM:
            return tuple(self.name + suffix for suffix in ("_bucket", "_count", "_sum"))
        return (self.name,)

    @property
    def bounds(self) -> tuple[str, ...]:
        """The values of a histogram's ``le`` label, as they are written in a query."""
        return (*(repr(float(bound)) for bound in self.buckets), "+Inf") if self.buckets else ()

    def label_sets(self, **given: Iterable[str]) -> list[tuple[str, ...]]:
        """Every label tuple that is known from the start, in the order of ``labels``.

        Args:
            given: values for the labels that the catalogue cannot know, such as ``pool``.

        Raises:
            ValueError: ``given`` does not name exactly the labels that are not in ``known``.
        """
        if odd := set(self.labels) ^ {*self.known.labels, *given}:
            raise ValueError(f"metric {self.name}: unknown or missing labels {sorted(odd)}")
        names = (*given, *self.known.labels)
        order = [names.index(label) for label in self.labels]
        return [
            tuple((*outer, *inner)[place] for place in order)
            for outer in itertools.product(*given.values())
            for inner in self.known.rows
        ]

    def _broken_name(self) -> str | None:
        ends_right = {
            MetricType.COUNTER: self.name.endswith("_total"),
            MetricType.INFO: self.name.endswith("_info"),
        }
        if not _NAME.fullmatch(self.name):
            return "a name is lower case words joined by one underscore"
        if not ends_right.get(self.type, not self.name.endswith(("_total", "_info"))):
            return "_total ends counters and _info ends infos, and nothing else"
        if self.unit and not self.name.removesuffix("_total").endswith("_" + self.unit):
            return f"the unit {self.unit} comes last in the name"
        return None

    def _broken_labels(self) -> str | None:
        if len(set(self.labels)) != len(self.labels) or not all(map(_NAME.fullmatch, self.labels)):
            return "labels are distinct, lower case words"
        ids = [name for name in self.labels if name in UNBOUNDED_LABELS or name.endswith("_id")]
        if ids:
            return f"an id is never a label: {ids}"
        if not set(self.known.labels) <= set(self.labels):
            return "values are known for labels that it does not have"
        return None

    def _broken_type(self) -> str | None:
        if bool(self.buckets) != (self.type is MetricType.HISTOGRAM):
            return "histograms have buckets, and nothing else has"
        if list(self.buckets) != sorted(set(self.buckets)):
            return "buckets rise"
        if bool(self.states) != (self.type is MetricType.STATESET):
            return "state sets have states, and nothing else has"
        if self.exemplars and not self.buckets:
            return "exemplars sit on the buckets of a histogram"
        return None
''',
    'baton.domain.packet': r'''"""The evidence packet, pure: what lies where, what is whole, and every verdict judged again."""
''',
    'baton.domain.packet.check': r'''"""Whether a packet is whole, and everything that it says follows from the evidence in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from baton.domain.packet.derive import derived
from baton.domain.packet.layout import DECISION, RELEASE, SIGNATURE
from baton.domain.packet.manifest import Problem, problems

#: What whoever verifies may still want to know, where the standard library cannot tell it.
POLICY_UNREAD = (
    "gate-inputs.json: whether it is what gate/raw/policy.yaml and gate/raw/rules say, as the"
    " standard library reads no YAML; `baton packet verify` compares them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of verifying a packet.

    Attributes:
        problems: everything that is not as it has to be; empty if it is whole and follows.
        decision: what its evidence leads to, in this verification.
        criteria: how many criteria were judged again.
        not_recomputed: what was taken at its word, in words.
        signed_by: whom the packet names as its signer; empty if nobody.
    """

    problems: tuple[Problem, ...]
    decision: str
    criteria: int
    not_recomputed: tuple[str, ...]
    signed_by: str = ""


def check(files: Mapping[str, bytes]) -> Checked:
    """Verify a packet.

    Args:
        files: everything in its folder, by name.
    """
    found = list(problems(files))
    try:
        again = derived(files)
        decision = json.loads(again[DECISION])
    except Exception as error:  # noqa: BLE001 - damaged evidence may be wrong in any way
        said = f"nothing can be derived from the evidence: {type(error).__name__}: {error}"
        found.append(Problem(DECISION, said))
        return Checked(problems=tuple(found), decision="", criteria=0, not_recomputed=())
    found += _differing(files, again)
    found += _unsigned(files)
    not_again = list(decision["not_recomputed"])
    return Checked(
        problems=tuple(found),
        decision=decision["decision"],
        criteria=sum(decision["counts"].values()) - len(not_again),
        not_recomputed=(*_words(files, not_again),),
        signed_by=_signer(files),
    )


def _differing(files: Mapping[str, bytes], again: Mapping[str, bytes]) -> Iterator[Problem]:
    for name, data in again.items():
        if name in files and files[name] != data:
            yield Problem(name, "is not what the evidence leads to")


def _words(files: Mapping[str, bytes], rows: list[str]) -> Iterator[str]:
    if rows:
        yield f"{', '.join(rows)}: what was run elsewhere, taken at its word"
    if any(name.startswith("gate/") for name in files):
        yield POLICY_UNREAD


def _signer(files: Mapping[str, bytes]) -> str:
    try:
        return str(json.loads(files[RELEASE]).get("signed_by") or "")
    except (KeyError, ValueError, AttributeError):
        return ""


def _unsigned(files: Mapping[str, bytes]) -> Iterator[Problem]:
    signer = _signer(files)
    if signer and SIGNATURE not in files:
        yield Problem(SIGNATURE, f"is missing: the packet says that {signer} signed it")
    if not signer and SIGNATURE in files:
        yield Problem(SIGNATURE, "was added: the packet does not say that anybody signed it")
''',
    'baton.domain.packet.derive': r'''"""What follows from the evidence of a packet: criteria, decision, risks, rollback and the page.

All of it is a function of the evidence alone, so that the same evidence gives the same bytes, and a
verifier that makes it again can compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baton.domain.gate.words import EXIT_CODES, Decision, Status, decide
from baton.domain.packet import fleets, stages, trials
from baton.domain.packet.layout import (
    CRITERIA,
    DECISION,
    FORMAT,
    LOG,
    README,
    RELEASE,
    RISKS,
    ROLLBACK,
    Origin,
    entry_of,
)
from baton.domain.packet.manifest import document_of
from baton.domain.packet.page import page
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.risks import risks_of
from baton.domain.packet.rollback import rollback_of
from baton.domain.packet.rows import Row

_SAYS = {
    Decision.GO: "Everything that a release must show was run, judged, and holds.",
    Decision.RESERVATIONS: "Nothing fails that nobody answers for; read the reservations.",
    Decision.INCONCLUSIVE: "Something could not be judged; that is no yes.",
    Decision.NO_GO: "Something was judged and does not hold.",
    Decision.ERROR: "Something failed before it could be judged, or is not what it was.",
}


def derived(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The derived files of a packet.

    Args:
        files: of a packet; only evidence is read.
    """
    evidence = Evidence({name: data for name, data in files.items() if _is_evidence(name)})
    rows = rows_of(evidence)
    plain = [row.to_plain() for row in rows]
    risks = [risk.to_plain() for risk in risks_of(evidence, rows)]
    rollback = rollback_of(evidence)
    decision = _decision(evidence, rows)
    return {
        DECISION: document_of(decision),
        CRITERIA: document_of(plain),
        RISKS: document_of(risks),
        ROLLBACK: document_of(rollback),
        README: page(decision, plain, risks, rollback).encode(),
    }


def rows_of(evidence: Evidence) -> list[Row]:
    """Every criterion, in the one order that packets have."""
    return [
        *stages.rows(evidence),
        *trials.scenario_rows(evidence),
        trials.soak_row(evidence),
        trials.kill_matrix_row(evidence),
        *fleets.ledger_rows(evidence),
        fleets.report_row(evidence),
        *fleets.gate_rows(evidence, why_none=_why_no_gate(evidence)),
    ]


def _is_evidence(name: str) -> bool:
    entry = entry_of(name)
    return entry is not None and entry.origin is Origin.EVIDENCE


def _why_no_gate(evidence: Evidence) -> str:
    try:
        entries = evidence.lines(LOG)
    except Unreadable:
        return ""
    told = [one for one in entries if isinstance(one, dict) and one.get("stage") == "gate"]
    return str(told[0].get("why") or "") if told else ""


def _decision(evidence: Evidence, rows: list[Row]) -> dict[str, Any]:
    try:
        release = evidence.json(RELEASE)
    except Unreadable:
        release = {}
    verdict = decide(row.status for row in rows)
    against = sorted(
        (row for row in rows if row.status is not Status.PASS), key=lambda row: -row.status.rank
    )
    return {
        "format": FORMAT,
        "decision": verdict.value,
        "exit_code": EXIT_CODES[verdict],
        "says": _SAYS[verdict],
        "release": release,
        "counts": {s.value: sum(row.status is s for row in rows) for s in Status},
        "against": [
            {"id": row.id, "status": row.status.value, "reason": row.why, "detail": row.detail}
            for row in against
        ],
        "not_recomputed": [row.id for row in rows if not row.recomputed],
    }
''',
    'baton.domain.packet.fleets': r'''"""The gate, the ledger and the report of a packet, each judged again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from baton.domain.continuity import ASSERTIONS, Outcome, Trial, judge
from baton.domain.gate import telling
from baton.domain.gate.answers import Answer
from baton.domain.gate.bench import LEDGER as KEPT_LEDGER
from baton.domain.gate.bench import Case, Verdict
from baton.domain.gate.bench import judge as judge_gate
from baton.domain.gate.plan import Ask
from baton.domain.gate.portable import policy_from_plain, rules_from_plain
from baton.domain.gate.words import Reason, Status
from baton.domain.ledger import Event
from baton.domain.packet.layout import GATE, GATE_INPUTS, LEDGER, REPORT, SEAL
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.rows import Row, Why
from baton.domain.packet.trials import unread
from baton.domain.verify import verify

_EVIDENCE = "evidence/"
_POLICY = "policy.yaml"
_NAMED = 3


def case_of(evidence: Evidence) -> Case:
    """The gate's case as it was kept.

    Raises:
        Unreadable: something of it is missing or is not as it was written.
    """
    index, inputs = evidence.json(f"{GATE}/raw/index.json"), evidence.json(GATE_INPUTS)
    raw = f"{GATE}/raw/"
    try:
        digests = {str(name): str(digest) for name, digest in index["sha256"].items()}
        for name, digest in digests.items():
            if evidence.pointer(f"{raw}{name}")["sha256"] != digest:
                raise Unreadable(f"{raw}{name}", "is not what the gate's index names")
        asks = {_ask(one): one for one in index["answers"]}
        return Case(
            at=float(index["at"]),
            version=index["baton"],
            prometheus=index["prometheus"],
            policy=policy_from_plain(inputs["policy"]),
            policy_sha256=digests[_POLICY],
            store=index["store"],
            answers={ask: _answer(evidence, one) for ask, one in asks.items()},
            places={ask: one["file"] for ask, one in asks.items()},
            digests=digests,
            rules=partial(rules_from_plain, inputs["rules"]),
            evidence={
                name.removeprefix(_EVIDENCE): evidence.data(f"{raw}{name}")
                for name in digests
                if name.startswith(_EVIDENCE)
            },
            ledger=partial(_gate_ledger, evidence),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(GATE_INPUTS, f"is not what a gate kept: {error!r}") from error


def _ask(one: Mapping[str, Any]) -> Ask:
    return Ask(one["path"], tuple((str(name), str(value)) for name, value in one["parameters"]))


def _answer(evidence: Evidence, one: Mapping[str, Any]) -> Answer:
    return Answer(
        failure=None if one["failure"] is None else Reason(one["failure"]),
        detail=one["detail"],
        status=one["status"],
        content_type=one["content_type"],
        body=evidence.files[f"{GATE}/raw/{one['file']}"],
    )


def _gate_ledger(evidence: Evidence) -> list[Event]:
    try:
        return evidence.events(f"{GATE}/raw/{KEPT_LEDGER}")
    except Unreadable as error:
        raise ValueError(str(error)) from error


def gate_rows(evidence: Evidence, *, why_none: str = "") -> Iterator[Row]:
    """A row for each criterion of the gate, judged again, and one for what it left.

    Args:
        evidence: of the packet.
        why_none: why there is no gate, if somebody knows.
    """
    question = "Was the fleet judged by the gate, and does its decision follow from its answers?"
    try:
        case = case_of(evidence)
    except Unreadable as error:
        row = unread("GATE", question, error)
        yield row if not (why_none and error.missing) else _without(row, why_none)
        return
    verdict = judge_gate(case)
    different = [
        name
        for name, data in telling.files(verdict, case).items()
        if evidence.files.get(f"{GATE}/{name}") != data
    ]
    yield Row(
        id="GATE",
        question=question,
        status=Status.FAIL if different else Status.PASS,
        why=Why.DIFFERS if different else Why.OK,
        detail=f"{', '.join(different)} is not what the answers lead to"
        if different
        else f"{len(verdict.results)} criteria, judged again to the same bytes",
        evidence=[evidence.pointer(f"{GATE}/decision.json", "/decision")],
        next_action="Trust the packet's own criteria, and ask who changed it." if different else "",
    )
    yield from _criteria(evidence, case, verdict)


def _without(row: Row, why: str) -> Row:
    return Row(
        id=row.id,
        question=row.question,
        status=row.status,
        why=row.why,
        detail=f"no gate was asked: {why}",
        next_action="Mend that, and run `make release-check` again.",
    )


def _criteria(evidence: Evidence, case: Case, verdict: Verdict) -> Iterator[Row]:
    document = telling.decision(verdict, case)
    for number, row in enumerate(document["criteria"]):
        pointers = [evidence.pointer(f"{GATE}/decision.json", f"/criteria/{number}")]
        pointers += [
            evidence.pointer(f"{GATE}/{one['file']}", one["pointer"]) for one in row["evidence"]
        ]
        yield Row(
            id=row["id"],
            question=row["question"],
            status=Status(row["status"]),
            why=row["reason"],
            detail=row["detail"],
            evidence=pointers,
            next_action=row["next_action"],
            owner=row["owner"],
        )


# The ledger and the report


def ledger_rows(evidence: Evidence) -> Iterator[Row]:
    """The chains of the ledger, what it proves of continuity, and whether the gate saw the same."""
    chains = "Is the fleet's ledger whole: every chain dense, linked and truly hashed?"
    holds = "Does the fleet's ledger show that nothing was lost or done twice?"
    try:
        events, seal = evidence.events(LEDGER), _seal(evidence)
    except Unreadable as error:
        yield unread("LEDGER", chains, error)
        yield unread("CONTINUITY", holds, error)
        return
    pointers = [evidence.pointer(LEDGER)]
    if seal is not None:
        pointers.append(evidence.pointer(SEAL, "/chains"))
    found = verify(events, seal)
    apart = _apart(evidence, events)
    status = Status.FAIL if found or apart else Status.PASS
    said = "; ".join(str(one) for one in found[:_NAMED]) or apart
    yield Row(
        id="LEDGER",
        question=chains,
        status=status if events else Status.INCONCLUSIVE,
        why=(Why.BROKEN if found or apart else Why.OK) if events else Why.NOT_SHOWN,
        detail=said or f"{len(events)} events in {len({one.chain for one in events})} chains hold",
        evidence=pointers,
        next_action="Compare it with a seal or an archive." if found or apart else "",
    )
    yield _continuity(events, seal, holds, pointers)


def _continuity(
    events: list[Event],
    seal: Mapping[str, str] | None,
    question: str,
    pointers: list[dict[str, str]],
) -> Row:
    names = [name for name in ASSERTIONS if not name.startswith("V")]
    verdicts = judge(Trial(events=events, seal=seal), names)
    broken = [one for one in verdicts if one.outcome is Outcome.FAIL]
    checked = [one for one in verdicts if one.checked and one.judged]
    others = ", ".join(one.assertion for one in verdicts if not one.judged)
    status, why = Status.PASS, Why.OK
    said = f"{', '.join(one.assertion for one in checked)} hold"
    if broken:
        status, why = Status.FAIL, Why.BROKEN
        said = "; ".join(f"{one.assertion}: {one.text}" for one in broken[:_NAMED])
    elif not checked:
        status, why, said = Status.INCONCLUSIVE, Why.NOT_SHOWN, "there was nothing to check"
    if others:
        said = f"{said}; {others} need more than a ledger, and are judged by the scenarios"
    return Row(
        id="CONTINUITY",
        question=question,
        status=status,
        why=why,
        detail=said,
        evidence=pointers,
        next_action="Follow docs/runbook.md for the tasks that are named." if broken else "",
    )


def _seal(evidence: Evidence) -> Mapping[str, str] | None:
    if SEAL not in evidence:
        return None
    try:
        return {str(chain): str(head) for chain, head in evidence.json(SEAL)["chains"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreadable(SEAL, f"is no seal: {error!r}") from error


def _apart(evidence: Evidence, events: list[Event]) -> str:
    """Whether the gate judged another ledger than this one."""
    path = f"{GATE}/raw/{KEPT_LEDGER}"
    if path not in evidence:
        return ""
    known = {(one.chain, one.n): one.hash for one in events}
    for one in evidence.events(path):
        if known.get((one.chain, one.n)) != one.hash:
            return f"the gate judged another ledger: {one.chain} event {one.n} is not the same"
    return ""


_VERDICTS = {
    0: (Status.PASS, Why.OK, "nothing was lost or done twice, as far as a ledger tells"),
    1: (Status.FAIL, Why.BROKEN, "it tells of something lost, done twice or altered"),
    2: (Status.INCONCLUSIVE, Why.NOT_SHOWN, "it cannot say whether anything was lost"),
}


def report_row(evidence: Evidence) -> Row:
    """What the recovery report says; each line that it rests on is held against the ledger."""
    question = "Does the recovery report say that nothing was lost, on lines that are there?"
    path = f"{REPORT}/report.json.gz"
    try:
        report = evidence.json(path)
        known = {(one.chain, one.n): one.hash for one in evidence.events(LEDGER)}
        status, why, said = _VERDICTS[report["exit_code"]]
        lines = [(one["chain"], one["n"], one["hash"]) for one in report["lines"]]
    except Unreadable as error:
        return unread("REPORT", question, error)
    except (KeyError, TypeError) as error:
        return unread("REPORT", question, Unreadable(path, f"is no report: {error!r}"))
    strange = [f"{chain} event {n}" for chain, n, hash_ in lines if known.get((chain, n)) != hash_]
    if strange:
        status, why = Status.FAIL, Why.DIFFERS
        said = f"it rests on lines that the ledger does not have: {', '.join(strange[:_NAMED])}"
    return Row(
        id="REPORT",
        question=question,
        status=status,
        why=why,
        detail=f"{said} ({len(lines)} lines of the ledger)",
        recomputed=False,
        evidence=[evidence.pointer(path, "/exit_code")],
        next_action="" if status is Status.PASS else "Read report/REPORT.md.",
    )
''',
    'baton.domain.packet.layout': r'''"""What lies where in an evidence packet: the one place that says so.

The layout is a part of the frozen contract (``baton compat``): entries may be added, and none may
be renamed, moved or given another meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

#: Of the layout; it grows with entries that are added.
FORMAT = "1.0.0"


class Origin(StrEnum):
    """Where an entry comes from, which says what a verifier can do about it."""

    EVIDENCE = "evidence"  # taken as it was left, and judged again
    DERIVED = "derived"  # follows from the evidence, and is made again to the same bytes
    SEAL = "seal"  # holds the packet together


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One kind of file.

    Attributes:
        path: its place; ``*`` stands for one name, ``**`` for any number of them.
        origin: where it comes from.
        needed: a packet without it is none.
        about: what it is.
    """

    path: str
    origin: Origin
    needed: bool = False
    about: str

    def covers(self, name: str) -> bool:
        """Whether a file has its place here."""
        parts = (
            ".+" if part == "**" else re.escape(part).replace(r"\*", "[^/]+")
            for part in self.path.split("/")
        )
        return re.fullmatch("/".join(parts), name) is not None


README = "README.md"
DECISION = "decision.json"
CRITERIA = "criteria.json"
RISKS = "risks.json"
ROLLBACK = "rollback.json"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
VERIFIER = "verify.py"
RELEASE = "release.json"
LOG = "log.jsonl"
GATE = "gate"
GATE_INPUTS = "gate-inputs.json"
SCENARIOS = "scenarios"
SCENARIOS_PROC = "scenarios-proc"
SOAK = "soak"
KILL_MATRIX = "kill-matrix.json"
REPORT = "report"
COMPAT = "compat.json"
LEDGER = "ledger.jsonl.gz"
SEAL = "seal.json"

_E, _D, _S = Origin.EVIDENCE, Origin.DERIVED, Origin.SEAL

LAYOUT: tuple[Entry, ...] = (
    Entry(path=README, origin=_D, needed=True, about="the decision and its reasons, for people"),
    Entry(path=DECISION, origin=_D, needed=True, about="the decision, for machines"),
    Entry(path=CRITERIA, origin=_D, needed=True, about="every criterion, with evidence pointers"),
    Entry(path=RISKS, origin=_D, needed=True, about="what remains open, generated from evidence"),
    Entry(path=ROLLBACK, origin=_D, needed=True, about="how to go back, and until when"),
    Entry(path=MANIFEST, origin=_S, needed=True, about="SHA-256 and size of every other file"),
    Entry(path=SIGNATURE, origin=_S, about="an SSH signature of the manifest"),
    Entry(path=VERIFIER, origin=_S, needed=True, about="checks all of it with plain Python"),
    Entry(path=RELEASE, origin=_E, needed=True, about="what was released, and made with what"),
    Entry(path=LOG, origin=_E, about="the verification log, an entry for each stage"),
    Entry(path="logs/*.txt", origin=_E, about="what each stage printed"),
    Entry(path=f"{GATE}/**", origin=_E, about="what `baton gate --out` left, to be replayed"),
    Entry(path=GATE_INPUTS, origin=_E, about="the gate's policy and rules, read from their YAML"),
    Entry(path=f"{SCENARIOS}/**", origin=_E, about="scenarios in virtual time"),
    Entry(path=f"{SCENARIOS_PROC}/**", origin=_E, about="scenarios with real processes"),
    Entry(path=f"{SOAK}/**", origin=_E, about="what `baton soak` left"),
    Entry(path=KILL_MATRIX, origin=_E, about="planted bugs, and what caught them"),
    Entry(path=f"{REPORT}/*", origin=_E, about="the recovery report of the fleet"),
    Entry(path=COMPAT, origin=_E, about="what `baton compat --check --json` said"),
    Entry(path=LEDGER, origin=_E, about="the fleet's ledger, exported, to its end"),
    Entry(path=SEAL, origin=_E, about="the heads of the ledger's chains, as exported with it"),
)


def entry_of(name: str) -> Entry | None:
    """The entry under which a file has its place; None where it has none."""
    return next((entry for entry in LAYOUT if entry.covers(name)), None)
''',
    'baton.domain.packet.manifest': r'''"""The manifest: every file of a packet with its size and SHA-256, and one root over all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from baton.domain.packet.layout import FORMAT, LAYOUT, MANIFEST, SIGNATURE, entry_of

#: Files that the manifest does not name: itself, and what is made over it.
_OUTSIDE = frozenset({MANIFEST, SIGNATURE})


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a file that is not as it has to be."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def document_of(value: Any) -> bytes:
    """A JSON document in the one form that packets use."""
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    return f"{text}\n".encode()


def root_of(digests: Mapping[str, str]) -> str:
    """The root of a Merkle tree as RFC 6962 makes it, over the files in the order of their names.

    Args:
        digests: SHA-256 in hex by name.
    """
    leaves = [
        hashlib.sha256(b"\x00" + f"{digests[name]} {name}".encode()).digest()
        for name in sorted(digests)
    ]
    return _root(leaves).hex()


def _root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + _root(leaves[:half]) + _root(leaves[half:])).digest()


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """The manifest of files, by their names."""
    named = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
        if name not in _OUTSIDE
    }
    root = root_of({name: str(one["sha256"]) for name, one in named.items()})
    return document_of({"files": named, "format": FORMAT, "root": root})


def problems(files: Mapping[str, bytes]) -> Iterator[Problem]:
    """What is not as the manifest says: each file that was changed, removed or added.

    Args:
        files: everything in the folder, by name.
    """
    if MANIFEST not in files:
        yield Problem(MANIFEST, "is missing; without it nothing here can be told from anything")
        return
    try:
        manifest = json.loads(files[MANIFEST])
        named = {str(name): (int(f["bytes"]), str(f["sha256"])) for name, f in _named(manifest)}
        root, whole = manifest["root"], document_of(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        yield Problem(MANIFEST, f"was changed: it is no manifest ({error})")
        return
    if manifest.get("format") != FORMAT:
        yield Problem(MANIFEST, f"has format {manifest.get('format')!r}; this reads {FORMAT!r}")
    if whole != files[MANIFEST] or root != root_of({n: sha for n, (_, sha) in named.items()}):
        yield Problem(MANIFEST, "was changed: it is not as it was written, or its root is another")
    yield from _differences(files, named)


def _named(manifest: Any) -> Iterator[tuple[str, Any]]:
    yield from manifest["files"].items()


def _differences(
    files: Mapping[str, bytes], named: Mapping[str, tuple[int, str]]
) -> Iterator[Problem]:
    for name in sorted({*files, *named} - _OUTSIDE):
        if name not in named:
            yield Problem(name, "was added: the manifest does not name it")
        elif name not in files:
            yield Problem(name, "is missing: the manifest names it")
        elif hashlib.sha256(files[name]).hexdigest() != named[name][1]:
            said = (
                f"{len(files[name])} bytes" if len(files[name]) != named[name][0] else "its bytes"
            )
            yield Problem(name, f"was changed: {said}, and the manifest says otherwise")
        elif entry_of(name) is None:
            yield Problem(name, "has no place in a packet of this format")
    for entry in LAYOUT:
        if entry.needed and entry.path not in {*files, *named}:
            yield Problem(entry.path, f"is missing: {entry.about}")
''',
    'baton.domain.packet.page': r'''"""The front page of a packet: the decision first, fit for somebody who was not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from baton.domain.gate.words import Status
from baton.domain.packet.layout import LAYOUT

_Plain = Mapping[str, Any]

_HOW = """\
## Check it yourself

```sh
python3 verify.py      # Python 3.11 or newer, nothing else; `baton packet verify DIR` does the same
```

It compares every file with `manifest.json`, verifies the chains of the ledgers, judges each
scenario, the soak, the kill matrix and every criterion of the gate again from what they left, and
makes this page again. It names each file that was changed, removed or added, each verdict that does
not follow from its evidence, and what it could not judge again."""


def page(
    decision: _Plain, criteria: Sequence[_Plain], risks: Sequence[_Plain], rollback: _Plain
) -> str:
    """The page, in Markdown.

    Args:
        decision: of ``decision.json``.
        criteria: of ``criteria.json``.
        risks: of ``risks.json``.
        rollback: of ``rollback.json``.
    """
    parts = (_head(decision), _against(criteria), (_HOW,), _risks(risks), _back(rollback))
    lines = [line for part in parts for line in (*part, "")]
    return "\n".join([*lines, *_all(criteria), "", *_contents()]) + "\n"


def _head(decision: _Plain) -> Iterator[str]:
    release = decision["release"]
    version, commit = release.get("version") or "unknown", release.get("commit")
    yield f"# {decision['decision']}: Baton {version}"
    yield ""
    yield f"**{decision['says']}**"
    yield ""
    yield "Decided by rule, not by hand: the worst of all criteria below decides, and what could"
    yield "not be measured is never a yes."
    yield ""
    clean = "a clean tree" if release.get("tree_clean") else "a tree with changes"
    signed = release.get("signed_by")
    facts = (
        ("released", f"Baton {version}, contract {release.get('contract') or 'unknown'}"),
        ("source", f"commit `{commit}`, {clean}" if commit else "unknown"),
        ("checked", f"{release.get('began') or 'unknown'} to {release.get('ended') or 'unknown'}"),
        ("with", _with(release)),
        ("signed", f"by {signed}" if signed else "**UNSIGNED**: hashes show integrity, not who"),
        ("criteria", ", ".join(f"{n} {name}" for name, n in decision["counts"].items() if n)),
    )
    yield "| what | |"
    yield "|---|---|"
    yield from (f"| {name} | {_cell(value)} |" for name, value in facts)


def _with(release: _Plain) -> str:
    packages = release.get("packages") or {}
    found = [f"{name} {value}" for name, value in sorted(packages.items()) if value]
    return ", ".join([*filter(None, (release.get("python"), release.get("platform"))), *found])


def _against(criteria: Sequence[_Plain]) -> Iterator[str]:
    yield "## What stands against it"
    yield ""
    bad = [row for row in criteria if row["status"] != Status.PASS]
    if not bad:
        yield "Nothing: every criterion was judged and holds."
    for row in sorted(bad, key=lambda one: -Status(one["status"]).rank):
        yield f"- **{row['id']}** {row['status']} ({row['reason']}): {_cell(row['detail'])}"
        if row["next_action"]:
            yield f"  Next: {_cell(row['next_action'])} Owner: {row['owner']}."


def _risks(risks: Sequence[_Plain]) -> Iterator[str]:
    yield "## Residual risks"
    yield ""
    yield "Generated from the evidence; each goes away only with its fact."
    yield ""
    yield "| risk | what | trigger | mitigation | owner |"
    yield "|---|---|---|---|---|"
    for one in risks:
        cells = (one["id"], one["text"], one["trigger"], one["mitigation"], one["owner"])
        yield f"| {' | '.join(map(_cell, cells))} |"


def _back(rollback: _Plain) -> Iterator[str]:
    yield "## Rollback"
    yield ""
    yield f"Previous version: {rollback['previous'] or 'none'}."
    yield ""
    yield from (f"{n}. {step}" for n, step in enumerate(rollback["steps"], 1))
    yield ""
    schemas = ", ".join(f"{name} {n}" for name, n in sorted(rollback["schema"]["versions"].items()))
    yield f"- Schema: {rollback['schema']['text']} Versions here: {schemas or 'unknown'}."
    yield f"- Epochs: {rollback['epochs']}"
    yield f"- Checkpoints: {rollback['checkpoints']}"
    yield f"- Point of no return: {rollback['point_of_no_return']}"
    yield f"- Last drill: {rollback['drill']['text']}"


def _all(criteria: Sequence[_Plain]) -> Iterator[str]:
    yield "## All criteria"
    yield ""
    yield "| criterion | status | question | found | judged again | evidence |"
    yield "|---|---|---|---|---|---|"
    for row in criteria:
        first = row["evidence"][0] if row["evidence"] else None
        place = f"[{first['path']}]({first['path']}) {first['pointer']}" if first else "none"
        again = "yes" if row["recomputed"] else "no"
        cells = (row["id"], row["status"], row["question"], row["detail"], again, place)
        yield f"| {' | '.join(map(_cell, cells))} |"


def _contents() -> Iterator[str]:
    yield "## What is in here"
    yield ""
    yield "| file | what it is |"
    yield "|---|---|"
    yield from (f"| `{entry.path}` | {entry.about} |" for entry in LAYOUT)


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
''',
    'baton.domain.packet.reading': r'''"""Reading the evidence of a packet: documents, lines and ledgers, each with where it lies."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

from baton.domain.ledger import Event, event_from_dict

#: Read to the end only up to this size, so that a small file cannot fill the memory.
_INFLATED_BYTES_MAX = 512 * 1024 * 1024
_SUFFIX = ".gz"


class Unreadable(Exception):
    """A piece of evidence is not there, or is not what it has to be."""

    def __init__(self, path: str, text: str, *, missing: bool = False) -> None:
        """Say which.

        Args:
            path: the file.
            text: what is the matter.
            missing: it is not there at all.
        """
        super().__init__(f"{path}: {text}")
        self.path, self.text, self.missing = path, text, missing


class Evidence:
    """The files of a packet that were taken as they were left."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Read nothing yet.

        Args:
            files: bytes by name.
        """
        self.files = files
        #: What was worked out already, by whatever names it.
        self.memo: dict[str, Any] = {}

    def __contains__(self, path: str) -> bool:
        return path in self.files

    def below(self, folder: str) -> list[str]:
        """The names of the files in a folder and in its folders, sorted."""
        return sorted(name for name in self.files if name.startswith(f"{folder}/"))

    def data(self, path: str) -> bytes:
        """The bytes of a file, unpacked where it is packed.

        Raises:
            Unreadable: it is not there, or cannot be unpacked.
        """
        if path not in self.files:
            raise Unreadable(path, "is not there", missing=True)
        packed = self.files[path]
        if not path.endswith(_SUFFIX):
            return packed
        try:
            size = int.from_bytes(packed[-4:], "little")
            if size > _INFLATED_BYTES_MAX:
                raise Unreadable(path, f"unpacks to {size} bytes, more than is read")
            return gzip.decompress(packed)
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable(path, f"cannot be unpacked: {error}") from error

    def json(self, path: str) -> Any:
        """A document.

        Raises:
            Unreadable: there is none.
        """
        try:
            return json.loads(self.data(path))
        except (ValueError, RecursionError) as error:
            raise Unreadable(path, f"is no JSON: {error}") from error

    def lines(self, path: str) -> list[Any]:
        """The documents of a file of JSON Lines.

        Raises:
            Unreadable: one of them is none.
        """
        found = []
        for number, line in enumerate(self.data(path).splitlines(), 1):
            try:
                found.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise Unreadable(path, f"line {number} is no JSON: {error}") from error
        return found

    def events(self, path: str) -> list[Event]:
        """The events of a ledger.

        Raises:
            Unreadable: a line is no event.
        """
        try:
            return [event_from_dict(one) for one in self.lines(path)]
        except (ValueError, TypeError, AttributeError) as error:
            raise Unreadable(path, f"is no ledger: {error}") from error

    def pointer(self, path: str, pointer: str = "") -> dict[str, str]:
        """Where something is: a file, its SHA-256, and a JSON pointer or a place within it."""
        digest = hashlib.sha256(self.files[path]).hexdigest() if path in self.files else ""
        return {"path": path, "pointer": pointer, "sha256": digest}
''',
    'baton.domain.packet.risks': r'''"""What remains open though everything else holds: generated from the evidence, each with an owner.

Nothing here is written by hand. A risk comes of a fact that the packet itself contains, names it,
and goes away only with the fact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from baton.domain.figures import failure_bound
from baton.domain.gate.words import Status
from baton.domain.packet.layout import (
    GATE_INPUTS,
    KILL_MATRIX,
    LEDGER,
    LOG,
    RELEASE,
    SCENARIOS,
    SCENARIOS_PROC,
    SEAL,
    SOAK,
)
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.rows import OWNER, Row
from baton.domain.packet.trials import Shown, shown
from baton.domain.takeovers import Takeover, TakeoverTracker

#: From so many values on, a 95th percentile can be bounded by the largest of them.
_P95_MIN = 59
_FLEET_OWNER = "fleet owner"
_ENGINES = {SCENARIOS: "sim", SCENARIOS_PROC: "proc"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """One thing that the evidence leaves open.

    Attributes:
        id: its name, the same as long as the fact is.
        kind: what sort of fact it comes of.
        text: the fact.
        trigger: what would make it matter.
        mitigation: what is done about it meanwhile.
        evidence: where the fact is, from ``Evidence.pointer``.
    """

    id: str
    kind: str
    text: str
    trigger: str
    mitigation: str
    owner: str = OWNER
    evidence: Sequence[dict[str, str]] = ()

    def to_plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "evidence": list(self.evidence)}


def risks_of(evidence: Evidence, rows: Iterable[Row]) -> list[Risk]:
    """Every risk that the evidence shows, the gravest kinds first.

    Args:
        evidence: of the packet.
        rows: its criteria.
    """
    makers = (
        _of_rows(evidence, rows),
        _unsigned(evidence),
        _survivors(evidence),
        _engines(evidence),
        _left_out(evidence),
        _refusals_and_faults(evidence),
        _soak(evidence),
        _waivers(evidence),
        _small_numbers(evidence),
        _unsealed(evidence),
        _words(evidence, rows),
    )
    return [risk for found in makers for risk in found]


def _of_rows(evidence: Evidence, rows: Iterable[Row]) -> Iterator[Risk]:
    del evidence
    for row in rows:
        if row.status in (Status.WAIVED, Status.WARN):
            yield Risk(
                id=f"RESERVATION-{row.id}",
                kind="reservation",
                text=f"{row.id} is {row.status}: {row.detail}",
                trigger="It gets worse, or the waiver ends.",
                mitigation=row.next_action or "Read what the gate says of it.",
                owner=row.owner,
                evidence=row.evidence,
            )


def _unsigned(evidence: Evidence) -> Iterator[Risk]:
    release = _json(evidence, RELEASE)
    if not release.get("signed_by"):
        yield Risk(
            id="UNSIGNED",
            kind="unsigned",
            text="The packet is unsigned: hashes show that it is whole, not who made it. Whoever"
            " can write all of its files can make another one that verifies.",
            trigger="Somebody who has to trust it did not get it from somebody they trust.",
            mitigation="Compare the manifest's root with one that came another way, or build it"
            " with `baton packet build --sign KEY`.",
            evidence=[evidence.pointer(RELEASE, "/signed_by")],
        )
    if release.get("tree_clean") is not True or not release.get("commit"):
        yield Risk(
            id="UNKNOWN-SOURCE",
            kind="unknown source",
            text="Nothing says that the tree was exactly one commit when this was made.",
            trigger="Somebody has to build the same again.",
            mitigation="Run `make release-check` on a clean checkout.",
            evidence=[evidence.pointer(RELEASE, "/tree_clean")],
        )


def _survivors(evidence: Evidence) -> Iterator[Risk]:
    matrix = _json(evidence, KILL_MATRIX)
    same = matrix.get("same") or {}
    for bug, caught in sorted((matrix.get("bugs") or {}).items()):
        if not caught:
            reason = same.get(bug)
            yield Risk(
                id=f"SURVIVOR-{bug}",
                kind="surviving planted bug",
                text=f"No scenario catches the planted bug {bug}"
                + (f", which is said to change nothing: {reason}." if reason else "."),
                trigger="What makes it harmless is changed; the fence, for most of them.",
                mitigation="`make lint` fails when it is caught and said to be harmless, or the"
                " other way round; read the argument at each change of the store.",
                evidence=[evidence.pointer(KILL_MATRIX, f"/bugs/{bug}")],
            )


def _engines(evidence: Evidence) -> Iterator[Risk]:
    for folder, engine in _ENGINES.items():
        if f"{folder}/summary.json" not in evidence:
            yield Risk(
                id=f"ENGINE-{engine}",
                kind="engine not tested",
                text=f"No scenario was performed by the engine {engine}.",
                trigger="A release is decided on by this packet.",
                mitigation=f"`baton scenario run --engine {engine}`; see STAGE rows for why not.",
                evidence=[evidence.pointer(LOG)],
            )
    environment = _json(evidence, f"{SCENARIOS_PROC}/environment.json")
    if environment and environment.get("store", "sqlite") != "postgresql":
        yield Risk(
            id="STORE-postgresql",
            kind="engine not tested",
            text="Real processes were tried on SQLite only; PostgreSQL has its tests, and none of"
            " this packet's scenarios.",
            trigger="A fleet over several hosts, which is what PostgreSQL is for.",
            mitigation="`baton scenario run --engine proc --store postgresql` before it is used.",
            evidence=[evidence.pointer(f"{SCENARIOS_PROC}/environment.json")],
        )


def _left_out(evidence: Evidence) -> Iterator[Risk]:
    by_engine = {folder: {one.id for one in _shown(evidence, folder)} for folder in _ENGINES}
    every = set().union(*by_engine.values())
    for folder, engine in _ENGINES.items():
        missing = sorted(every - by_engine[folder])
        if by_engine[folder] and missing:
            yield Risk(
                id=f"LEFT-OUT-{engine}",
                kind="engine not tested",
                text=f"{len(missing)} scenarios were not tried by {engine}: {', '.join(missing)}.",
                trigger="What they show differs between virtual time and a real machine.",
                mitigation=f"`baton scenario run --engine {engine}` tries all of them.",
                evidence=[evidence.pointer(f"{folder}/summary.json", "/scenarios")],
            )


def _refusals_and_faults(evidence: Evidence) -> Iterator[Risk]:
    for folder, engine in _ENGINES.items():
        for one in _shown(evidence, folder):
            if one.refused:
                yield Risk(
                    id=f"REFUSED-{engine}-{one.id}",
                    kind="engine not tested",
                    text=f"{one.id} was not performed by {engine}: {one.reason}",
                    trigger="What it shows differs between virtual time and a real machine.",
                    mitigation="It passes on the other engine; drill it by hand (docs/runbook.md).",
                    evidence=[evidence.pointer(one.path, "/reason")],
                )
            for name in one.unfired:
                yield Risk(
                    id=f"UNFIRED-{engine}-{one.id}-{name}",
                    kind="fault not fired",
                    text=f"The fault {name!r} of {one.id} was not seen to happen on {engine}.",
                    trigger="What it would have broken is broken for the first time in production.",
                    mitigation="The scenario does not rest on it (`must_fire`), or it would not"
                    " have passed.",
                    evidence=[evidence.pointer(f"{folder}/{one.id}/trial.json.gz", "/faults")],
                )


def _soak(evidence: Evidence) -> Iterator[Risk]:
    soak = _json(evidence, f"{SOAK}/soak.json")
    if not soak:
        return
    pointer = [evidence.pointer(f"{SOAK}/soak.json", "/counts")]
    counts = soak.get("counts") or {}
    planned, fired = counts.get("faults_planned", 0), counts.get("faults_fired", 0)
    if fired < planned:
        yield Risk(
            id="SOAK-UNFIRED",
            kind="fault not fired",
            text=f"The soak planned {planned} faults and {fired} fired; the others waited for a"
            " moment that did not come before their fleet was done.",
            trigger="The moments that did not come are the ones that matter.",
            mitigation="Directed scenarios have to see each of their faults happen.",
            evidence=pointer,
        )
    bound = soak.get("failure_probability_of_a_cycle_at_most")
    if isinstance(bound, float):
        yield Risk(
            id="SOAK-BOUND",
            kind="small numbers",
            text=f"The soak's {counts.get('cycles')} cycles bound the probability that one fails"
            f" only by {bound:.2g}, at 95 %, and in virtual time ({soak.get('engine')}).",
            trigger="A fleet lives through more takeovers than the soak did.",
            mitigation="`make soak` goes on for an hour; longer is better.",
            evidence=pointer,
        )


def _waivers(evidence: Evidence) -> Iterator[Risk]:
    policy = _json(evidence, GATE_INPUTS).get("policy") or {}
    for number, one in enumerate(policy.get("waivers") or ()):
        yield Risk(
            id=f"WAIVER-{one['criterion']}",
            kind="waiver",
            text=f"{one['owner']} answers for {one['criterion']} until {one['expires']}:"
            f" {one['reason']}",
            trigger=f"It fails, or it is later than {one['expires']}.",
            mitigation="Mend what it covers before it ends.",
            owner=one["owner"],
            evidence=[evidence.pointer(GATE_INPUTS, f"/policy/waivers/{number}")],
        )


def _small_numbers(evidence: Evidence) -> Iterator[Risk]:
    for folder, engine in _ENGINES.items():
        found = [one for one in _shown(evidence, folder) if not one.refused]
        if found:
            bound = failure_bound(0, len(found))
            yield Risk(
                id=f"FEW-SCENARIOS-{engine}",
                kind="small numbers",
                text=f"{len(found)} scenarios on {engine}, each once: even if all pass, were they"
                f" drawn at random, up to {bound:.0%} of such could fail (95 %). They are chosen"
                " by hand, so even that is no bound.",
                trigger="A failure that no scenario names.",
                mitigation="`baton scenario run --swarm`, and the soak, draw others at random.",
                evidence=[evidence.pointer(f"{folder}/summary.json", "/scenarios")],
            )
    counts = Counter(
        one.reason.value for one in takeovers_of(evidence) if one.restored_at is not None
    )
    few = {reason: n for reason, n in sorted(counts.items()) if n < _P95_MIN}
    if few:
        said = ", ".join(f"{n} {reason}" for reason, n in few.items())
        yield Risk(
            id="FEW-TAKEOVERS",
            kind="small numbers",
            text=f"The fleet's ledger has few takeovers ({said}): their longest is a maximum and"
            f" no percentile, for which {_P95_MIN} are needed.",
            trigger="A takeover in production is slower than any that was seen here.",
            mitigation="The alert BatonTakeoverSlow measures each one; `make bench` has more.",
            owner=_FLEET_OWNER,
            evidence=[evidence.pointer(LEDGER)],
        )


def _unsealed(evidence: Evidence) -> Iterator[Risk]:
    text = "The ledger has no seal: whoever owns its store could have written another one."
    if SEAL in evidence:
        text = "The ledger's seal was made by whoever made the packet, and lies beside it."
    if LEDGER in evidence:
        yield Risk(
            id="SEAL",
            kind="unsigned",
            text=text,
            trigger="Somebody doubts whoever runs the store.",
            mitigation="Keep `baton ledger export --seal` out of reach of the store's owner.",
            owner=_FLEET_OWNER,
            evidence=[evidence.pointer(SEAL if SEAL in evidence else LEDGER)],
        )


def _words(evidence: Evidence, rows: Iterable[Row]) -> Iterator[Risk]:
    taken = [row.id for row in rows if not row.recomputed]
    if taken:
        yield Risk(
            id="TAKEN-AT-THEIR-WORD",
            kind="not recomputed",
            text="A verifier cannot judge these again, only see what they printed:"
            f" {', '.join(taken)}.",
            trigger="The machine that ran them was not what it seems.",
            mitigation="Run `make release-check` on a checkout of the same commit.",
            evidence=[evidence.pointer(LOG)],
        )


def takeovers_of(evidence: Evidence) -> list[Takeover]:
    """The takeovers in the fleet's ledger, each as far as it came."""
    try:
        events = evidence.events(LEDGER)
    except Unreadable:
        return []
    tracker, found = TakeoverTracker(), dict[tuple[str, int], Takeover]()
    for event in events:
        for reached in tracker.apply(event):
            found[reached.task_id, reached.epoch] = reached
    return list(found.values())


def _shown(evidence: Evidence, folder: str) -> list[Shown]:
    try:
        return shown(evidence, folder)
    except Unreadable:
        return []  # a criterion says so


def _json(evidence: Evidence, path: str) -> Mapping[str, Any]:
    try:
        found = evidence.json(path)
    except Unreadable:
        return {}  # a criterion says so
    return found if isinstance(found, dict) else {}
''',
    'baton.domain.packet.rollback': r'''"""How to go back from a release: to what, with which commands, and until when it is safe."""

from __future__ import annotations

from typing import Any

from baton.domain.packet.layout import LEDGER, RELEASE
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.risks import takeovers_of
from baton.domain.words import TakeoverReason

_MICRO = 1e6


def rollback_of(evidence: Evidence) -> dict[str, Any]:
    """What a person has to know before going back.

    Args:
        evidence: of the packet; the release names the version before and the stores' schemas.
    """
    try:
        release = evidence.json(RELEASE)
    except Unreadable:
        release = {}
    previous = release.get("previous")
    return {
        "version": release.get("version"),
        "previous": previous,
        "steps": _steps(previous),
        "schema": {
            "versions": release.get("schemas") or {},
            "text": "A Baton opens only stores whose schema it knows, and refuses a newer one aloud"
            " (exit 4) instead of guessing. Migrations so far only add: a store that this version"
            " opened keeps every table and column of before.",
        },
        "epochs": "An epoch only grows, whatever version claims. Workers of two versions may serve"
        " one store at the same time as long as both open it: the fence compares epoch and session"
        " and never a version. Never delete or lower an epoch to go back.",
        "checkpoints": "Checkpoints lie in LangGraph's own tables, readable by its stock savers. A"
        " run that goes on without Baton has no fence: stop every worker first.",
        "point_of_no_return": "The first `baton store migrate` to a newer schema, or the first"
        " worker of a newer version that opens the store: from then on a version that does not know"
        " that schema is refused. Copy the store before; a copy that is put back is refused until"
        " `baton store accept-restore`, and what was durable after the copy is lost.",
        "drill": _drill(evidence),
    }


def _steps(previous: Any) -> list[str]:
    if not previous:
        return [
            "There is no earlier release: going back means to run without Baton.",
            "kill -TERM every worker: each drains, and its tasks are released at a super-step.",
            "baton tasks list --store URL  # until nothing is active",
            "Run the graphs with LangGraph's stock saver on the same database; each goes on.",
        ]
    return [
        "Roll one worker at a time; each drains on SIGTERM and its tasks go on elsewhere at once.",
        f"pip install 'langgraph-baton=={previous}'",
        "Start the worker again with the same --worker-id; it is a new session.",
        "baton gate --prometheus URL --store URL --out DIR  # before the next pool",
    ]


def _drill(evidence: Evidence) -> dict[str, Any]:
    """The planned takeovers of the fleet's ledger: going back is a rotation like any other."""
    planned = [
        one
        for one in takeovers_of(evidence)
        if one.reason is TakeoverReason.DRAINED and one.restored_at is not None
    ]
    if not planned:
        return {
            "text": "No rotation was drilled in this packet's fleet.",
            "takeovers": 0,
            "longest_seconds": None,
            "evidence": [],
        }
    longest = max(
        ((one.restored_at or 0) - one.last_sign_at) / _MICRO
        for one in planned
        if one.last_sign_at is not None
    )
    return {
        "text": f"{len(planned)} tasks were handed on by a worker that was asked to end; the"
        f" longest took {longest:.3f} s from its release to the first node elsewhere.",
        "takeovers": len(planned),
        "longest_seconds": round(longest, 6),
        "evidence": [
            evidence.pointer(LEDGER, f"task:{one.task_id} epoch {one.epoch}") for one in planned
        ],
    }
''',
    'baton.domain.packet.rows': r'''"""One criterion of a packet, whatever it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from baton.domain.gate.words import Status

#: Who answers for what nobody else is named for.
OWNER = "Baton maintainers"


class Why(StrEnum):
    """Why a criterion of a packet has its status; those of the gate keep the gate's own codes."""

    OK = "OK"
    NO_EVIDENCE = "NO_EVIDENCE"
    UNREADABLE = "UNREADABLE"
    NOT_RUN = "NOT_RUN"
    STAGE_FAILED = "STAGE_FAILED"
    STAGE_INCONCLUSIVE = "STAGE_INCONCLUSIVE"
    STAGE_ERROR = "STAGE_ERROR"
    INTERRUPTED = "INTERRUPTED"
    BROKEN = "BROKEN"
    NOT_SHOWN = "NOT_SHOWN"
    DIFFERS = "DIFFERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One criterion.

    Attributes:
        id: its name.
        question: what it answers, in plain words.
        detail: what was found.
        recomputed: whether a verifier judges it again; what is not is taken at its word.
        evidence: where what it rests on lies, from ``Evidence.pointer``.
        next_action: what to do where it does not hold.
    """

    id: str
    question: str
    status: Status
    why: str
    detail: str
    recomputed: bool = True
    evidence: Sequence[dict[str, str]] = ()
    next_action: str = ""
    owner: str = OWNER

    def to_plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "id": self.id,
            "question": self.question,
            "status": self.status.value,
            "reason": str(self.why),
            "detail": self.detail,
            "recomputed": self.recomputed,
            "evidence": list(self.evidence),
            "next_action": self.next_action,
            "owner": self.owner,
        }
''',
    'baton.domain.packet.stages': r'''"""The verification log: what was run, in which order, and what each stage came to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from baton.domain.gate.words import Status
from baton.domain.packet.layout import LOG, RELEASE
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.rows import Row, Why

#: What exit codes mean where a stage's command gives verdicts: Baton's own do.
_VERDICTS = {0: Status.PASS, 1: Status.FAIL, 2: Status.INCONCLUSIVE}

_REASONS = {
    Status.PASS: Why.OK,
    Status.FAIL: Why.STAGE_FAILED,
    Status.INCONCLUSIVE: Why.STAGE_INCONCLUSIVE,
    Status.ERROR: Why.STAGE_ERROR,
}


def status_of(exit_code: int | None, codes: str, *, judged: bool = False) -> Status:
    """What an exit code says of a stage.

    Args:
        exit_code: None where it was not run to its end.
        codes: ``verdict`` where 1 is a failure, 2 unknown and the rest an error; ``plain`` where
            everything but 0 is a failure.
        judged: its evidence is judged on its own, and it only has to have come to a verdict.
    """
    if exit_code is None:
        return Status.INCONCLUSIVE
    if codes != "verdict":
        return Status.PASS if exit_code == 0 else Status.FAIL
    found = _VERDICTS.get(exit_code, Status.ERROR)
    return Status.PASS if judged and found is not Status.ERROR else found


def rows(evidence: Evidence) -> Iterator[Row]:
    """A row for each stage that was planned, and for each that was run without a plan."""
    try:
        entries = {str(one["stage"]): (n, one) for n, one in enumerate(evidence.lines(LOG))}
        planned = [str(name) for name in evidence.json(RELEASE).get("stages", ())]
    except Unreadable as error:
        yield _no_log(error.path, error.text, missing=error.missing)
        return
    except (KeyError, TypeError, AttributeError) as error:
        yield _no_log(LOG, f"is not as it is written: {error!r}", missing=False)
        return
    for name in dict.fromkeys((*planned, *entries)):
        yield _row(evidence, name, *entries[name]) if name in entries else _not_run(name)


def order_kept(entries: Sequence[Mapping[str, Any]], planned: Sequence[str]) -> bool:
    """Whether stages were run in the order in which they were planned."""
    known = [str(one["stage"]) for one in entries if one["stage"] in planned]
    return known == [name for name in planned if name in known]


def _row(evidence: Evidence, name: str, number: int, entry: Mapping[str, Any]) -> Row:
    pointers = [evidence.pointer(LOG, f"/{number}")]
    try:
        output, digest = entry["output"], entry["output_sha256"]
        judged = list(entry.get("judged_by", ()))
        status = status_of(entry["exit_code"], entry["codes"], judged=bool(judged))
        said, seconds = entry["why"], entry["seconds"]
    except (KeyError, TypeError) as error:
        return _broken(name, f"its entry lacks {error}", pointers)
    if output is not None:
        pointers.append(evidence.pointer(output))
        if output not in evidence:
            return _broken(name, f"{output} is not there", pointers)
        if hashlib.sha256(evidence.data(output)).hexdigest() != digest:
            return _broken(name, f"{output} is not what the log says it printed", pointers)
    detail = said or f"exit code {entry['exit_code']} after {seconds:.1f} s"
    if judged and status is Status.PASS:
        detail = f"{detail}; what it left is judged by {', '.join(judged)}"
    return Row(
        id=f"STAGE-{name.upper()}",
        question=str(entry.get("question") or f"Did the stage {name} pass?"),
        status=status,
        why=Why.NOT_RUN if entry["exit_code"] is None else _REASONS[status],
        detail=detail,
        recomputed=False,
        evidence=pointers,
        next_action="" if status is Status.PASS else str(entry.get("next") or ""),
    )


def _broken(name: str, text: str, pointers: Sequence[dict[str, str]]) -> Row:
    return Row(
        id=f"STAGE-{name.upper()}",
        question=f"Did the stage {name} pass?",
        status=Status.ERROR,
        why=Why.BROKEN,
        detail=text,
        evidence=pointers,
        next_action="Run the release check again.",
    )


def _not_run(name: str) -> Row:
    return Row(
        id=f"STAGE-{name.upper()}",
        question=f"Did the stage {name} pass?",
        status=Status.INCONCLUSIVE,
        why=Why.INTERRUPTED,
        detail="it was planned, and the log ends before it",
        recomputed=False,
        next_action="Go on with `make release-check`, which resumes what was interrupted.",
    )


def _no_log(path: str, text: str, *, missing: bool) -> Row:
    return Row(
        id="STAGES",
        question="Was everything run that a release check runs?",
        status=Status.INCONCLUSIVE if missing else Status.ERROR,
        why=Why.NO_EVIDENCE if missing else Why.UNREADABLE,
        detail=f"{path} {text}",
        recomputed=False,
        next_action="Build the packet from what `make release-check` left.",
    )
''',
    'baton.domain.packet.trials': r'''"""Scenarios, soak and kill matrix of a packet, each judged again from what it left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from baton.domain.continuity import judge
from baton.domain.continuity.concluding import Judgement, Result, conclude, with_beside
from baton.domain.continuity.kept import beside_in, trial_of, wanted_in
from baton.domain.continuity.model import Outcome, Trial
from baton.domain.figures import failure_bound
from baton.domain.gate.words import Status
from baton.domain.ledger import GENESIS, event_from_dict
from baton.domain.packet.layout import KILL_MATRIX, SCENARIOS, SCENARIOS_PROC, SOAK
from baton.domain.packet.reading import Evidence, Unreadable
from baton.domain.packet.rows import Row, Why
from baton.domain.soaks import counts_of, head_after, judgement_of

#: How the reason of a scenario begins that an engine cannot perform.
REFUSED = "refused: "

_STATUSES = {
    Judgement.PASS: Status.PASS,
    Judgement.FAIL: Status.FAIL,
    Judgement.INCONCLUSIVE: Status.INCONCLUSIVE,
    Judgement.ERROR: Status.ERROR,
}
_NAMED = 4
_SHOWN = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One scenario as a packet has it.

    Attributes:
        refused: the engine said that it cannot perform it, and why.
        unfired: faults that nobody saw happen.
        differs: what was kept is not what its evidence leads to.
    """

    id: str
    path: str
    judgement: Judgement
    reason: str
    refused: bool = False
    unfired: tuple[str, ...] = ()
    differs: str = ""


def shown(evidence: Evidence, folder: str) -> list[Shown]:
    """Every scenario of a folder, judged again.

    Raises:
        Unreadable: the folder has no summary, or one that cannot be read.
    """
    if folder not in evidence.memo:
        evidence.memo[folder] = _all_shown(evidence, folder)
    found: list[Shown] = evidence.memo[folder]
    return found


def _all_shown(evidence: Evidence, folder: str) -> list[Shown]:
    summary = evidence.json(f"{folder}/summary.json")
    try:
        return [_again(evidence, folder, one) for one in summary["scenarios"]]
    except (KeyError, TypeError) as error:
        raise Unreadable(f"{folder}/summary.json", f"lacks {error}") from error


def _again(evidence: Evidence, folder: str, told: Mapping[str, Any]) -> Shown:
    place = f"{folder}/{told['id']}"
    kept = Judgement(told["judgement"])
    path = f"{place}/result.json.gz"
    if path not in evidence:
        return Shown(id=told["id"], path=path, judgement=kept, reason="", differs="has no result")
    if f"{place}/trial.json.gz" not in evidence:
        # Nothing was performed, and so it cannot have passed.
        refused = str(told["reason"]).startswith(REFUSED)
        said = "passed, and left no trial" if kept is Judgement.PASS else ""
        return Shown(
            id=told["id"],
            path=path,
            judgement=kept,
            reason=told["reason"],
            refused=refused and kept is Judgement.INCONCLUSIVE,
            differs=said,
        )
    result, facts = _judged(evidence, place)
    return Shown(
        id=told["id"],
        path=path,
        judgement=result.judgement,
        reason=result.reason,
        unfired=tuple(one["name"] for one in facts["faults"] or () if not one["fired"]),
        differs=_apart(evidence, place, told, result),
    )


def _judged(evidence: Evidence, place: str) -> tuple[Result, Mapping[str, Any]]:
    facts = evidence.json(f"{place}/trial.json.gz")
    try:
        trial = trial_of(
            facts,
            [event_from_dict(one) for one in evidence.lines(f"{place}/ledger.jsonl.gz")],
            evidence.lines(f"{place}/trace.jsonl.gz"),
        )
        result = conclude(
            wanted_in(facts),
            trial,
            fired=facts["fired"],
            unwatched=facts["unwatched"],
            asked_only=facts["asked_only"],
        )
        for one in beside_in(facts):
            result = with_beside(result, one)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"{place}/trial.json.gz", f"is no trial: {error}") from error
    return result, facts


def _apart(evidence: Evidence, place: str, told: Mapping[str, Any], result: Result) -> str:
    """Where what was kept is not what the evidence leads to."""
    kept = evidence.json(f"{place}/result.json.gz")
    if (kept["judgement"], kept["reason"]) != (result.judgement.value, result.reason):
        return f"kept as {kept['judgement']}, and its evidence says {result.judgement}"
    again = [
        {**asdict(one), "outcome": one.outcome.value, "asked": one.assertion in result.asked}
        for one in result.verdicts
    ]
    if json.loads(json.dumps(again)) != kept["assertions"]:
        return "the verdicts of its assertions are not those of its evidence"
    if [asdict(one) for one in result.expectations] != kept["expectations"]:
        return "its expectations are not what its evidence shows"
    if told["judgement"] != kept["judgement"] or told["evidence_digest"] != _digest(
        evidence, place
    ):
        return "the summary tells of other evidence"
    return ""


def _digest(evidence: Evidence, place: str) -> str:
    """The digest that the summary gives, over the files as they were before they were packed."""
    whole = hashlib.sha256()
    names = {name.removesuffix(".gz"): name for name in evidence.below(place)}
    for plain in sorted(names):
        digest = hashlib.sha256(evidence.data(names[plain])).hexdigest()
        whole.update(f"{plain.rpartition('/')[2]}\0{digest}\n".encode())
    return whole.hexdigest()


# Rows


def scenario_rows(evidence: Evidence) -> Iterator[Row]:
    """A row for each engine."""
    for folder, id_, engine in (
        (SCENARIOS, "SCENARIOS-SIM", "in virtual time"),
        (SCENARIOS_PROC, "SCENARIOS-PROC", "with real processes and signals"),
    ):
        question = f"Did every chaos scenario pass {engine}?"
        action = f"Replay what did not pass; the command is in the summary of {folder}."
        path = f"{folder}/summary.json"
        try:
            found = shown(evidence, folder)
            passed = {one.id for one in shown(evidence, SCENARIOS) if _fine(one)}
        except Unreadable as error:
            yield unread(id_, question, error)
            continue
        status, why, detail = _of_scenarios(found, passed)
        worst = [one.path for one in found if not _fine(one)]
        yield Row(
            id=id_,
            question=question,
            status=status,
            why=why,
            detail=detail,
            evidence=[evidence.pointer(path, "/scenarios"), *map(evidence.pointer, worst)],
            next_action="" if status is Status.PASS else action,
        )


def _fine(one: Shown) -> bool:
    return one.judgement is Judgement.PASS and not one.differs


def _of_scenarios(found: list[Shown], passed: set[str]) -> tuple[Status, Why, str]:
    """The worst of some scenarios; what an engine refuses has to pass on the other."""
    if differing := [one for one in found if one.differs]:
        said = "; ".join(f"{one.id}: {one.differs}" for one in differing[:_NAMED])
        return Status.FAIL, Why.DIFFERS, said
    performed = [one for one in found if not one.refused]
    refused = [one for one in found if one.refused]
    bad = [one for one in performed if one.judgement is not Judgement.PASS]
    if bad:
        order = list(Judgement)
        worst = max((one.judgement for one in bad), key=order.index)
        why = Why.NOT_SHOWN if worst is Judgement.INCONCLUSIVE else Why.BROKEN
        said = "; ".join(f"{one.id} {one.judgement}: {one.reason}"[:_SHOWN] for one in bad[:_NAMED])
        return _STATUSES[worst], why, f"{len(bad)} of {len(performed)} did not pass: {said}"
    if not performed:
        return Status.INCONCLUSIVE, Why.NOT_SHOWN, "nothing was performed"
    if alone := [one.id for one in refused if one.id not in passed]:
        said = f"{', '.join(alone)} refused here, and not passed on any other engine"
        return Status.INCONCLUSIVE, Why.NOT_SHOWN, said
    more = f"; {len(refused)} that it cannot perform pass in virtual time" if refused else ""
    return Status.PASS, Why.OK, f"{len(performed)} performed, all pass{more}"


def soak_row(evidence: Evidence) -> Row:
    """What the soak comes to, counted and chained again."""
    question = "Did the soak pass, and were its faults seen to happen?"
    try:
        soak = evidence.json(f"{SOAK}/soak.json")
        lines = evidence.data(f"{SOAK}/cycles.jsonl.gz").decode().splitlines()
        counts = counts_of(json.loads(line) for line in lines)
        head = GENESIS
        for line in lines:
            head = head_after(head, line)
        told, bound = dict(soak["counts"]), soak["failure_probability_of_a_cycle_at_most"]
        kept = Judgement(soak["judgement"])
        told["simulated_us"] = counts["simulated_us"]
    except Unreadable as error:
        return unread("SOAK", question, error)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return unread("SOAK", question, Unreadable(f"{SOAK}/soak.json", f"is no soak: {error}"))
    found = judgement_of(counts)
    failed = counts["failed"] + counts["errors"]
    right = failure_bound(failed, counts["cycles"]) if counts["cycles"] else None
    said = (
        f"{counts['cycles']} cycles, {counts['takeovers']} takeovers, {counts['faults_fired']} of"
        f" {counts['faults_planned']} faults fired, {counts['violations']} violations"
    )
    status, why = _STATUSES[found], Why.OK
    if head != soak.get("final_digest") or told != counts or kept is not found or bound != right:
        status, why = Status.FAIL, Why.DIFFERS
        said = f"soak.json is not what its cycles lead to; they say {found}, {said}"
    elif found is not Judgement.PASS:
        why = Why.NOT_SHOWN if found is Judgement.INCONCLUSIVE else Why.BROKEN
        if not counts["faults_fired"]:
            said = f"no fault was seen to happen, so nothing was shown: {said}"
    return Row(
        id="SOAK",
        question=question,
        status=status,
        why=why,
        detail=said,
        evidence=[
            evidence.pointer(f"{SOAK}/soak.json", "/judgement"),
            evidence.pointer(f"{SOAK}/cycles.jsonl.gz"),
        ],
        next_action="" if status is Status.PASS else "Look at soak/not-passed, and soak again.",
    )


def kill_matrix_row(evidence: Evidence) -> Row:
    """Whether every assertion was seen to fail, and every planted bug was caught."""
    question = "Can the checkers fail: is every planted bug caught, by every assertion one?"
    try:
        matrix = evidence.json(KILL_MATRIX)
        bugs, same, harness = matrix["bugs"], matrix["same"], set(matrix["harness"])
        killed = frozenset(
            name
            for bug, caught in bugs.items()
            if bug not in harness
            for names in caught.values()
            for name in names
        )
        escaped = sorted(bug for bug, caught in bugs.items() if not caught and bug not in same)
        odd = sorted(bug for bug, caught in bugs.items() if caught and bug in same)
    except Unreadable as error:
        return unread("KILL-MATRIX", question, error)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return unread("KILL-MATRIX", question, Unreadable(KILL_MATRIX, f"is none: {error!r}"))
    (verdict,) = judge(Trial(events=(), mutants_killed=killed), ["V2"])
    status, why = Status.PASS, Why.OK
    said = f"{len(bugs)} planted bugs, {len(same)} of them without effect; {verdict.text}"
    if escaped or odd or verdict.outcome is not Outcome.PASS:
        status, why = Status.FAIL, Why.BROKEN
        if escaped or odd:
            said = f"nothing caught {', '.join(escaped)}" if escaped else f"{odd[0]} has an effect"
    return Row(
        id="KILL-MATRIX",
        question=question,
        status=status,
        why=why,
        detail=said,
        evidence=[evidence.pointer(KILL_MATRIX, "/bugs")],
        next_action="" if status is Status.PASS else "Write the scenario or check that is missing.",
    )


def unread(id_: str, question: str, error: Unreadable) -> Row:
    """The row of a criterion whose evidence is not there or cannot be read."""
    return Row(
        id=id_,
        question=question,
        status=Status.INCONCLUSIVE if error.missing else Status.ERROR,
        why=Why.NO_EVIDENCE if error.missing else Why.UNREADABLE,
        detail=f"{error.path} {error.text}",
        next_action="Run `make release-check` to its end, and build the packet from what it left.",
    )
''',
    'baton.domain.samples': r'''"""Few measurements, told honestly: what so many values can show, and nothing beyond it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

#: Up to so many values are all shown; a reader sees more in them than in any figure about them.
ALL_SHOWN = 19
#: From so many values on there is an interval for the median that holds 95 times in 100.
INTERVAL_LEAST = 6
#: From so many values on the greatest lies above the 95th percentile 95 times in 100: below it,
#: a 95th percentile says more than was measured.
P95_LEAST = 59

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What some values show. All are in the unit of the values.

    Attributes:
        n: how many there are.
        values: all of them, sorted; None if there are more than ``ALL_SHOWN``.
        least: the least.
        middle: their median.
        greatest: the greatest.
        middle_between: where the median of everything like them lies, 95 times in 100; None for
            fewer than ``INTERVAL_LEAST``.
        p95: their 95th percentile; None for fewer than ``P95_LEAST``.
    """

    n: int
    values: tuple[int, ...] | None
    least: int
    middle: float
    greatest: int
    middle_between: tuple[int, int] | None
    p95: int | None


def sample(values: Iterable[int]) -> Sample | None:
    """What the values show; None if there are none."""
    found = sorted(values)
    if not found:
        return None
    n = len(found)
    return Sample(
        n=n,
        values=tuple(found) if n <= ALL_SHOWN else None,
        least=found[0],
        middle=median(found),
        greatest=found[-1],
        middle_between=_around_the_middle(found) if n >= INTERVAL_LEAST else None,
        p95=found[math.ceil(0.95 * n) - 1] if n >= P95_LEAST else None,
    )


def highest_rate(n: int) -> float:
    """The highest rate of failures that no failure in ``n`` independent tries leaves likely.

    A higher rate would have shown itself 95 times in 100; the rule of three (3 / n), exactly.

    Raises:
        ValueError: nothing was tried, which shows nothing.
    """
    if n < 1:
        raise ValueError("no tries show nothing")
    return float(1 - (1 - _CONFIDENCE) ** (1 / n))


def _around_the_middle(found: list[int]) -> tuple[int, int]:
    """The narrowest pair of values, equally far from both ends, that covers often enough."""
    n, outside, place = len(found), 0.0, 0
    # Each of both ends is passed by the true median as often as a fair coin falls so unevenly.
    while True:
        outside += math.comb(n, place) / 2**n
        if 2 * outside > 1 - _CONFIDENCE:
            return found[max(place - 1, 0)], found[n - max(place, 1)]
        place += 1
''',
    'baton.domain.series': r'''"""Counted series: the values of counters and histograms by their labels, and how to store them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from baton.domain.catalogue import by_name
from baton.domain.metric import Metric, MetricType

Labels = tuple[str, ...]


class FoldedExemplar(NamedTuple):
    """A case in point: its ids, the value in the metric's unit, and wall-clock microseconds."""

    ids: Mapping[str, str]
    value: float
    wall_us: int


@dataclass(slots=True)
class FoldedHistogram:
    """The observations of one series.

    Attributes:
        counts: observations in each bucket by itself, ``+Inf`` last.
        sum_us: all observations added up, in whole microseconds, so that no order matters.
        exemplars: the newest case in point of a bucket, by the bucket's place in ``counts``.
    """

    counts: list[int]
    sum_us: int = 0
    exemplars: dict[int, FoldedExemplar] = field(default_factory=dict)

    @property
    def sum(self) -> float:
        """All observations added up, in seconds."""
        return self.sum_us / 1e6


class Series:
    """The series of some counters and histograms.

    Attributes:
        counters: values by metric and label values.
        histograms: observations by metric and label values.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        """Begin with those series that need no label from outside, at 0.

        Args:
            metrics: counters, and histograms of seconds.
        """
        self.counters: dict[Metric, dict[Labels, float]] = {}
        self.histograms: dict[Metric, dict[Labels, FoldedHistogram]] = {}
        for metric in metrics:
            if metric.type is MetricType.HISTOGRAM:
                self.histograms[metric] = {}
            else:
                self.counters[metric] = {}
        self.begin({})

    def begin(self, given: Mapping[str, str]) -> None:
        """Let every series exist that the catalogue knows once some labels are given.

        Args:
            given: values of labels that the catalogue cannot know, such as ``pool``.
        """
        for metric in (*self.counters, *self.histograms):
            free = set(metric.labels) - set(metric.known.labels)
            if not free <= set(given):
                continue
            for labels in metric.label_sets(**{label: [given[label]] for label in free}):
                if metric in self.histograms:
                    self.histograms[metric].setdefault(labels, _empty(metric))
                else:
                    self.counters[metric].setdefault(labels, 0.0)

    def add(self, metric: Metric, *labels: str) -> None:
        """Count one."""
        series = self.counters[metric]
        series[labels] = series.get(labels, 0.0) + 1

    def observe(
        self,
        metric: Metric,
        labels: Labels,
        microseconds: int,
        *,
        ids: Mapping[str, str] | None = None,
        wall_us: int = 0,
    ) -> None:
        """Observe a length of time.

        Args:
            metric: a histogram of seconds.
            labels: its label values.
            microseconds: how long; less than nothing counts as nothing, because a sum that falls
                would read as a restart.
            ids: what was observed, where it may serve as an exemplar.
            wall_us: when, by the wall clock.
        """
        series = self.histograms[metric]
        found = series.get(labels)
        if found is None:
            found = series[labels] = _empty(metric)
        microseconds = max(microseconds, 0)
        place = bisect_left(_bounds_us(metric), microseconds)
        found.counts[place] += 1
        found.sum_us += microseconds
        if ids is not None:
            found.exemplars[place] = FoldedExemplar(ids, microseconds / 1e6, wall_us)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON, in a fixed order."""
        return {
            "counters": {
                metric.name: [[list(labels), value] for labels, value in sorted(series.items())]
                for metric, series in self.counters.items()
            },
            "histograms": {
                metric.name: [
                    [list(labels), *_histogram_row(series[labels])] for labels in sorted(series)
                ]
                for metric, series in self.histograms.items()
            },
        }

    def load(self, stored: Mapping[str, Any]) -> None:
        """Take over what ``to_dict`` gave.

        Raises:
            KeyError: it holds a metric that is not among these, or not in the catalogue.
            ValueError: a histogram has other buckets.
        """
        for name, rows in stored["counters"].items():
            self.counters[by_name(name)].update((tuple(labels), value) for labels, value in rows)
        for name, rows in stored["histograms"].items():
            metric = by_name(name)
            for labels, counts, sum_us, exemplars in rows:
                if len(counts) != len(metric.buckets) + 1:
                    raise ValueError(f"{name} was stored with other buckets")
                places = {place: FoldedExemplar(*exemplar) for place, *exemplar in exemplars}
                found = FoldedHistogram(list(counts), sum_us, places)
                self.histograms[metric][tuple(labels)] = found


def _histogram_row(found: FoldedHistogram) -> list[Any]:
    exemplars = [
        [place, dict(exemplar.ids), exemplar.value, exemplar.wall_us]
        for place, exemplar in sorted(found.exemplars.items())
    ]
    return [list(found.counts), found.sum_us, exemplars]


def _empty(metric: Metric) -> FoldedHistogram:
    return FoldedHistogram([0] * (len(metric.buckets) + 1))


@cache
def _bounds_us(metric: Metric) -> tuple[int, ...]:
    return tuple(round(bound * 1e6) for bound in metric.buckets)
''',
    'baton.domain.shapes': r'''"""What each event of the ledger carries: the schema that writers keep and readers rely on.

One ``Shape`` per event type. ``baton.domain.checks`` holds events to it, and the diagnostics
model in ``specs/`` is rendered from it. Keys may be added to a payload; none is taken away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from baton.domain.transitions import OPERATOR_ACTIONS
from baton.domain.words import EventType, Evidence, TakeoverOutcome, TakeoverReason

_E = EventType
_R = TakeoverReason

#: Any text may stand as the reason.
ANY = ("*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What an event of one type carries.

    Attributes:
        chain: ``task`` or ``session``; ``any`` for what a trial puts into either.
        meaning: what happened, in one sentence.
        ids: the fields that correlate it, which are always there.
        reasons: what ``reason`` may be; None among them where it may be absent.
        payload: the keys that are always there and what they mean; those that end in ``_us`` or
            ``_at`` are whole microseconds.
        with_reason: keys that are always there if there is a reason.
        further: keys that are there in some cases, and in which.
        words: what the value of a key may be, where it is one of the words of the house.
    """

    chain: str
    meaning: str
    ids: tuple[str, ...] = ()
    reasons: tuple[str | None, ...] = (None,)
    payload: Mapping[str, str] = field(default_factory=dict)
    with_reason: Mapping[str, str] = field(default_factory=dict)
    further: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)


_RUN = ("task_id", "run_id")
_OPERATED = (*_RUN, "epoch")
_HELD = (*_RUN, "worker_id", "session_id", "epoch")
_STEP = (*_RUN, "step_id", "worker_id", "session_id", "epoch")
_SESSION = ("worker_id", "session_id")

_EVIDENCE = (None, *Evidence)
_FOUND = tuple(found for found in TakeoverOutcome if found is not TakeoverOutcome.ABANDONED)

_POOL = "the pool whose workers may run the task"
_GRAPH = "the name of its graph"
_EXTERNAL = "true: the task runs in somebody's own runtime"

#: What a takeover says of the holder before.
_PREVIOUS = {
    "evidence": "how the loss was known; null for silence of progress and for planned ends",
    "last_sign_at": "last sign of life of the holder before; of progress, if it was stuck",
    "lost_at": "when the loss was established, or the lease given back",
    "previous_epoch": "its epoch",
    "previous_session": "its session",
    "previous_worker": "its worker",
    "silence_us": "from its last heartbeat to the loss",
}

SHAPES: Mapping[EventType, Shape] = {
    _E.SUBMITTED: Shape(
        chain="task",
        meaning="The task was accepted, and its first run begins.",
        ids=_RUN,
        payload={
            "external": _EXTERNAL,
            "graph": _GRAPH,
            "input_digest": "SHA-256 of the encoded input; null for an external task",
            "pool": _POOL,
        },
    ),
    _E.CLAIMED: Shape(
        chain="task",
        meaning="A session holds the task under a new epoch; with a reason, it is a takeover.",
        ids=_HELD,
        reasons=(None, *_R),
        payload={
            "deadline_us": "how long it may go without a durable write; null for no deadline",
            "external": _EXTERNAL,
            "fruitless": "takeovers in a row, with this one, that brought nothing durable",
            "graph": _GRAPH,
            "pool": _POOL,
            "ready_at": "since when the task waited",
        },
        with_reason=_PREVIOUS,
        words={"evidence": _EVIDENCE},
    ),
    _E.RESUMED: Shape(
        chain="task",
        meaning="The state is loaded, and the first node of a continued run may start.",
        ids=_HELD,
        payload={"outcome": "what the holder found"},
        words={"outcome": _FOUND},
    ),
    _E.STEP: Shape(
        chain="task",
        meaning="A super-step is durable, with what its nodes wrote.",
        ids=_STEP,
        payload={
            "digest": "SHA-256 of the encoded checkpoint",
            "ns": "its checkpoint namespace; empty for the graph itself",
            "parent": "the checkpoint before it in that namespace; null for the first",
            "source": "why LangGraph made it: input, loop, update or fork",
            "step": "LangGraph's number of the super-step; -1 is the input",
            "writes": "how many pending writes came with it",
        },
    ),
    _E.EFFECT: Shape(
        chain="task",
        meaning="An effect happened, and its result is recorded.",
        ids=_STEP,
        payload={"effect_key": "what its target may know it by"},
    ),
    _E.EFFECT_DEDUPLICATED: Shape(
        chain="task",
        meaning="An effect was not repeated: its recorded result stands.",
        ids=_STEP,
        payload={"effect_key": "what its target may know it by"},
    ),
    _E.RELEASED: Shape(
        chain="task",
        meaning="The holder's session ended, and the run waits for another.",
        ids=_HELD,
        reasons=(_R.DRAINED, _R.HEARTBEAT_LOST),
    ),
    _E.DRAINED: Shape(
        chain="task",
        meaning="The holder left the run between two super-steps, for another to continue.",
        ids=_HELD,
        reasons=(_R.DRAINED,),
    ),
    _E.INTERRUPTED: Shape(
        chain="task",
        meaning="The run waits for an answer, and nobody holds the task.",
        ids=_HELD,
        further={"external": f"{_EXTERNAL} (there only then)"},
    ),
    _E.RESUME_REQUESTED: Shape(
        chain="task",
        meaning="The answer is stored, and a new run begins.",
        ids=_OPERATED,
        reasons=(_R.OPERATOR,),
        payload={
            "graph": _GRAPH,
            "pool": _POOL,
            "value_digest": "SHA-256 of the encoded answer",
        },
    ),
    _E.DONE: Shape(
        chain="task",
        meaning="The run is finished.",
        ids=_HELD,
        further={
            "external": f"{_EXTERNAL} (there only then)",
            "state_digest": "SHA-256 of the encoded final state (not external)",
        },
    ),
    _E.FAILED: Shape(
        chain="task",
        meaning="The run ended in an error.",
        ids=_HELD,
        reasons=ANY,
        payload={"error_type": "the class of the error, also its reason"},
        further={
            "error_digest": "SHA-256 of the error's text",
            "external": f"{_EXTERNAL} (there only then)",
        },
    ),
    _E.QUARANTINED: Shape(
        chain="task",
        meaning="The task was put aside, because one takeover after another brought nothing.",
        ids=_OPERATED,
        reasons=(None, *_R),
        payload={
            "fruitless": "how many in a row",
            "previous_session": "the last holder's session",
            "previous_worker": "the last holder's worker",
        },
    ),
    _E.OPERATOR_ACTION: Shape(
        chain="task",
        meaning="An operator acted on the task.",
        ids=_OPERATED,
        reasons=(_R.OPERATOR,),
        payload={"action": "what was done"},
        further={
            "graph": f"{_GRAPH} (retry)",
            "pool": f"{_POOL} (retry)",
            "witness_epoch": "the highest epoch anybody had seen (accept_restore)",
            "witness_position": "how far anybody had seen the ledger go (accept_restore)",
        },
        words={"action": tuple(OPERATOR_ACTIONS)},
    ),
    _E.SESSION_STARTED: Shape(
        chain="session",
        meaning="A worker began a session.",
        ids=_SESSION,
        payload={
            "host": "the machine's name",
            "interval_us": "time between two heartbeats",
            "kind": "worker, or embedded for somebody's own runtime",
            "pid": "the process",
            "pool": "the worker's pool",
            "ttl_us": "silence after which others may declare it lost",
            "version": "the version of Baton",
        },
    ),
    _E.HEARTBEAT_LATE: Shape(
        chain="session",
        meaning="A heartbeat came later than the TTL and was accepted, as nobody had acted yet.",
        ids=_SESSION,
        payload={"silence_us": "since the heartbeat before"},
    ),
    _E.SESSION_DRAINING: Shape(
        chain="session", meaning="The session takes nothing new.", ids=_SESSION
    ),
    _E.SESSION_STOPPED: Shape(
        chain="session",
        meaning="The session ended by its own will.",
        ids=_SESSION,
        reasons=(_R.DRAINED, _R.HEARTBEAT_LOST),
        payload={"released": "how many tasks it still held and gave back"},
    ),
    _E.SESSION_LOST: Shape(
        chain="session",
        meaning="The session was declared lost, which is final.",
        ids=_SESSION,
        reasons=tuple(Evidence),
        payload={
            "evidence": "how the loss was known, also its reason",
            "last_sign_at": "its last sign of life",
            "lost_at": "when the loss was established; this record may come later",
            "silence_us": "from its last heartbeat to the loss",
        },
        words={"evidence": tuple(Evidence)},
    ),
    _E.WRITE_REFUSED: Shape(
        chain="session",
        meaning="The fence refused a write of this session on a task that is not its own any more.",
        ids=("task_id", "session_id", "epoch"),
        reasons=("superseded",),
        payload={
            "pool": _POOL,
            "what": "what was refused",
        },
    ),
    _E.FAULT_INJECTED: Shape(
        chain="any",
        meaning="A trial broke something on purpose.",
        reasons=(None, *ANY),
    ),
}
''',
    'baton.domain.soaks': r'''"""What a soak comes to, from what it counted: one judgement, one digest over all of its cycles."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from baton.domain.continuity.concluding import Judgement

#: What a soak counts.
COUNTED = (
    "cycles",
    "passed",
    "failed",
    "inconclusive",
    "errors",
    "tasks",
    "takeovers",
    "quarantined",
    "kills",
    "freezes",
    "drains",
    "events",
    "faults_planned",
    "faults_fired",
    "violations",
    "simulated_us",
    "repeated",
    "differing",
)


def judgement_of(counts: Mapping[str, int]) -> Judgement:
    """What came of a soak as a whole: the worst of its cycles."""
    if counts["errors"]:
        return Judgement.ERROR
    if counts["failed"] or counts["differing"]:
        return Judgement.FAIL
    nothing = not counts["cycles"] or not counts["takeovers"] or not counts["faults_fired"]
    return Judgement.INCONCLUSIVE if counts["inconclusive"] or nothing else Judgement.PASS


def head_after(before: str, line: str) -> str:
    """The digest of all cycles up to one.

    Args:
        before: the digest of those before it.
        line: its record, as it is written.
    """
    return hashlib.sha256(f"{before}\n{line}".encode()).hexdigest()


def counts_of(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """What some cycles counted, all together."""
    found = dict.fromkeys(COUNTED, 0)
    for record in records:
        for name in COUNTED:
            found[name] += record.get(name, 0)
    return found
''',
    'baton.domain.takeovers': r'''"""Takeovers, put together from the ledger as their stages become known.

A takeover is a claim that continues a run which another session left unfinished. It passes
through the stages of ``Stage``, each once, in the store's time:

* **claimed**: the new epoch is committed; the event says who was lost, since when, and why;
* **restored**: the graph's state is loaded and its first node may start (``resumed``). A runtime
  of somebody's own (an external task) has no way to say so: there a takeover counts as restored
  at the first event that its new holder writes about its work, which is the first step as a
  rule, so that its restore phase contains that step's nodes;
* **progressed**: the first new step or effect is durable;
* **abandoned**: the lease ended, and nothing shows that the state was ever loaded.

An outcome ``completed`` (nothing was left to run) has no progress to wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from baton.domain.ledger import Event
from baton.domain.words import EventType, TakeoverOutcome, TakeoverPhase, TakeoverReason

_E = EventType


class Stage(StrEnum):
    """How far a takeover has come, in the order in which the stages pass."""

    CLAIMED = "claimed"
    RESTORED = "restored"
    PROGRESSED = "progressed"
    ABANDONED = "abandoned"


#: The fields of ``Takeover`` between which each phase lies.
PHASES: Mapping[TakeoverPhase, tuple[str, str]] = {
    TakeoverPhase.DETECT: ("last_sign_at", "lost_at"),
    TakeoverPhase.CLAIM: ("lost_at", "claimed_at"),
    TakeoverPhase.RESTORE: ("claimed_at", "restored_at"),
    TakeoverPhase.PROGRESS: ("restored_at", "progress_at"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """One takeover as far as it is known. Times are store time in microseconds.

    Attributes:
        external: the task runs in somebody's own runtime.
        from_worker: who held the task before, with ``from_session`` and ``from_epoch``.
        to_worker: who holds it now, with ``to_session`` and ``epoch``.
        last_sign_at: the last sign of life of the old holder; of progress, if it was stuck.
        lost_at: the loss was established.
        claimed_at: the new epoch was committed.
        restored_at: the first node may start.
        progress_at: the first new step or effect was durable.
        outcome: what the successor found; None until then.
        evidence: how the loss was known, where there was one.
        silence_us: from the last heartbeat to the loss.
    """

    task_id: str
    run_id: str
    pool: str
    graph: str
    external: bool
    reason: TakeoverReason
    from_worker: str | None
    from_session: str | None
    from_epoch: int | None
    to_worker: str
    to_session: str
    epoch: int
    last_sign_at: int | None
    lost_at: int | None
    claimed_at: int
    restored_at: int | None = None
    progress_at: int | None = None
    outcome: TakeoverOutcome | None = None
    evidence: str | None = None
    silence_us: int | None = None

    @property
    def stage(self) -> Stage:
        """How far it has come."""
        if self.outcome is TakeoverOutcome.ABANDONED:
            return Stage.ABANDONED
        if self.progress_at is not None:
            return Stage.PROGRESSED
        return Stage.CLAIMED if self.outcome is None else Stage.RESTORED

    def phase_us(self, phase: TakeoverPhase) -> int | None:
        """Microseconds that a phase took; None while that is not known."""
        start, end = PHASES[phase]
        return _between(getattr(self, start), getattr(self, end))

    @property
    def latency_us(self) -> int | None:
        """Microseconds of detect, claim and restore together; None while that is not known."""
        return _between(self.last_sign_at, self.restored_at)

    @property
    def detect_seconds(self) -> float | None:
        """Last sign of life until the loss was established."""
        return _seconds(self.phase_us(TakeoverPhase.DETECT))

    @property
    def claim_seconds(self) -> float | None:
        """Loss until the new epoch was committed."""
        return _seconds(self.phase_us(TakeoverPhase.CLAIM))

    @property
    def restore_seconds(self) -> float | None:
        """New epoch until the first node may start."""
        return _seconds(self.phase_us(TakeoverPhase.RESTORE))

    @property
    def progress_seconds(self) -> float | None:
        """First node until the first new step or effect was durable; contains the user's nodes."""
        return _seconds(self.phase_us(TakeoverPhase.PROGRESS))

    @property
    def latency_seconds(self) -> float | None:
        """Detect, claim and restore together: the takeover latency."""
        return _seconds(self.latency_us)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the fields, the stage, and each phase in seconds."""
        derived: dict[str, Any] = {
            f"{phase}_seconds": _seconds(self.phase_us(phase)) for phase in TakeoverPhase
        }
        stage = {"latency_seconds": self.latency_seconds, "stage": self.stage.value}
        return {**asdict(self), **derived, **stage}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Takeover:
        """Read back ``to_dict``; what is derived is derived again.

        Raises:
            KeyError: a field is not there.
            ValueError: a reason or an outcome is none.
        """
        read = {field.name: values[field.name] for field in fields(cls)}
        read["reason"] = TakeoverReason(read["reason"])
        read["outcome"] = read["outcome"] and TakeoverOutcome(read["outcome"])
        return cls(**read)


#: What a new holder writes about its work. Any of it shows that the state was loaded.
_WORK = frozenset({_E.STEP, _E.EFFECT, _E.EFFECT_DEDUPLICATED, _E.INTERRUPTED, _E.DONE})
_PROGRESS = frozenset({_E.STEP, _E.EFFECT})
_FOUND = {str(found): found for found in TakeoverOutcome if found != TakeoverOutcome.ABANDONED}
_ENDS = frozenset(
    {
        *(_E.CLAIMED, _E.RELEASED, _E.DRAINED, _E.INTERRUPTED, _E.DONE, _E.FAILED),
        *(_E.QUARANTINED, _E.OPERATOR_ACTION),
    }
)


class TakeoverTracker:
    """Follows the takeovers of a ledger, one event at a time.

    Its state is bounded by the number of takeovers under way: one is followed from its claim
    until its first progress or the end of its lease.
    """

    def __init__(self) -> None:
        """Begin with no takeover under way."""
        self._followed: dict[str, Takeover] = {}

    def apply(self, event: Event) -> list[Takeover]:
        """Take the next event; returns the takeovers that reached a new stage by it, in order."""
        type_ = event.type
        followed = self._followed.get(event.task_id or "")
        if followed is None and type_ != _E.CLAIMED:
            return []
        reached: list[Takeover] = []
        if followed is not None:
            reached = self._advance(followed, event)
            if type_ in _ENDS:
                self._followed.pop(followed.task_id, None)
        if type_ == _E.CLAIMED and (opened := _opened(event)) is not None:
            self._followed[opened.task_id] = opened
            reached.append(opened)
        return reached

    def open(self) -> list[Takeover]:
        """The takeovers that were claimed and have come to no outcome yet, oldest first."""
        return [found for found in self._followed.values() if found.outcome is None]

    def to_dict(self) -> list[dict[str, Any]]:
        """The takeovers under way, to go on with later."""
        return [followed.to_dict() for followed in self._followed.values()]

    @classmethod
    def from_dict(cls, stored: list[dict[str, Any]]) -> TakeoverTracker:
        """Go on where ``to_dict`` left off."""
        tracker = cls()
        for values in stored:
            followed = Takeover.from_dict(values)
            tracker._followed[followed.task_id] = followed
        return tracker

    def _advance(self, now: Takeover, event: Event) -> list[Takeover]:
        type_ = event.type
        # Only the new holder's own work counts; a write that the fence let slip does not.
        own = event.epoch == now.epoch
        reached: list[Takeover] = []
        if now.outcome is None:
            outcome = _outcome(event) if own else None
            if outcome is None and type_ in _ENDS:
                return [replace(now, outcome=TakeoverOutcome.ABANDONED)]
            if outcome is None:
                return []
            now = replace(now, outcome=outcome, restored_at=event.at)
            reached.append(now)
        if own and type_ in _PROGRESS:
            reached.append(replace(now, progress_at=event.at))
        if reached:
            self._followed[now.task_id] = now
        if now.outcome is TakeoverOutcome.COMPLETED or (own and type_ in _PROGRESS):
            del self._followed[now.task_id]
        return reached


def _outcome(event: Event) -> TakeoverOutcome | None:
    """What an event of the new holder says about its takeover; None if it does not tell."""
    if event.type == _E.RESUMED:
        return _FOUND.get(_text(event.data, "outcome") or "", TakeoverOutcome.RESUMED)
    if event.type == _E.DONE:
        return TakeoverOutcome.COMPLETED
    return TakeoverOutcome.RESUMED if event.type in _WORK else None


def _opened(event: Event) -> Takeover | None:
    """The takeover that a claim begins; None for a claim that begins a run."""
    try:
        reason = TakeoverReason(event.reason or "")
    except ValueError:
        return None
    data = event.data
    return Takeover(
        task_id=event.task_id or "",
        run_id=event.run_id or "",
        pool=_text(data, "pool") or "",
        graph=_text(data, "graph") or "",
        external=data.get("external") is True,
        reason=reason,
        from_worker=_text(data, "previous_worker"),
        from_session=_text(data, "previous_session"),
        from_epoch=_whole(data, "previous_epoch"),
        to_worker=event.worker_id or "",
        to_session=event.session_id or "",
        epoch=event.epoch or 0,
        last_sign_at=_whole(data, "last_sign_at"),
        lost_at=_whole(data, "lost_at"),
        claimed_at=event.at,
        evidence=_text(data, "evidence"),
        silence_us=_whole(data, "silence_us"),
    )


def _whole(data: Mapping[str, Any], key: str) -> int | None:
    value = data.get(key)
    return value if type(value) is int else None


def _text(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    return value if isinstance(value, str) else None


def _between(start: int | None, end: int | None) -> int | None:
    return None if start is None or end is None else end - start


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1e6
''',
    'baton.domain.transitions': r'''"""What may follow what: tasks, sessions, the freshness of heartbeats and the state of leases."""

from __future__ import annotations

from collections.abc import Mapping

from baton.domain.words import EventType, Freshness, LeaseState, SessionState, TaskState

_E = EventType
_T = TaskState

#: What an operator may do to a task: the states it is legal in, and the state it leads to.
OPERATOR_ACTIONS: Mapping[str, tuple[frozenset[TaskState], TaskState | None]] = {
    "retry": (frozenset({_T.FAILED, _T.QUARANTINED}), _T.PENDING),
    "release": (frozenset({_T.ACTIVE}), _T.PENDING),
    "takeover": (frozenset({_T.ACTIVE}), _T.PENDING),
    "cancel": (frozenset({_T.PENDING, _T.ACTIVE, _T.INTERRUPTED, _T.QUARANTINED}), _T.FAILED),
    # A restore raises the epoch and leaves the task where it is, except that nobody holds it.
    "accept_restore": (frozenset(_T), None),
}

_TASK_MOVES: Mapping[EventType, tuple[frozenset[TaskState], TaskState]] = {
    _E.CLAIMED: (frozenset({_T.PENDING, _T.ACTIVE}), _T.ACTIVE),
    _E.RESUMED: (frozenset({_T.ACTIVE}), _T.ACTIVE),
    _E.STEP: (frozenset({_T.ACTIVE}), _T.ACTIVE),
    _E.EFFECT: (frozenset({_T.ACTIVE}), _T.ACTIVE),
    _E.EFFECT_DEDUPLICATED: (frozenset({_T.ACTIVE}), _T.ACTIVE),
    _E.RELEASED: (frozenset({_T.ACTIVE}), _T.PENDING),
    _E.DRAINED: (frozenset({_T.ACTIVE}), _T.PENDING),
    _E.INTERRUPTED: (frozenset({_T.ACTIVE}), _T.INTERRUPTED),
    _E.RESUME_REQUESTED: (frozenset({_T.INTERRUPTED}), _T.PENDING),
    _E.DONE: (frozenset({_T.ACTIVE}), _T.DONE),
    _E.FAILED: (frozenset({_T.ACTIVE}), _T.FAILED),
    _E.QUARANTINED: (frozenset({_T.ACTIVE, _T.PENDING}), _T.QUARANTINED),
}

#: A thread in somebody's own runtime is leased again for each of its runs.
_EXTERNAL_REOPEN = frozenset({_T.DONE, _T.FAILED, _T.INTERRUPTED})

_SESSION_MOVES: Mapping[EventType, frozenset[SessionState]] = {
    _E.HEARTBEAT_LATE: frozenset({SessionState.IDLE, SessionState.DRAINING}),
    _E.SESSION_DRAINING: frozenset({SessionState.IDLE}),
    _E.SESSION_STOPPED: frozenset({SessionState.IDLE, SessionState.DRAINING}),
    _E.SESSION_LOST: frozenset({SessionState.IDLE, SessionState.DRAINING}),
    # A superseded session may be refused at any time, also after it was lost.
    _E.WRITE_REFUSED: frozenset(SessionState),
}

_SESSION_TARGETS: Mapping[EventType, SessionState] = {
    _E.SESSION_DRAINING: SessionState.DRAINING,
    _E.SESSION_STOPPED: SessionState.STOPPED,
    _E.SESSION_LOST: SessionState.LOST,
}


def task_after(
    state: TaskState | None, event: EventType, *, action: str | None = None, external: bool = False
) -> TaskState | None:
    """The state of a task after an event, or None where the event is impossible.

    Args:
        state: the state before; None for a task that does not exist yet.
        event: what happened.
        action: the operator's action, for ``operator_action``.
        external: whether the task belongs to somebody's own runtime.
    """
    if event is _E.SUBMITTED:
        return _T.PENDING if state is None else None
    if event is _E.FAULT_INJECTED:
        return state
    if state is None:
        return None
    if event is _E.OPERATOR_ACTION:
        legal, after = OPERATOR_ACTIONS.get(action or "", (frozenset[TaskState](), None))
        if state not in legal:
            return None
        return after or (_T.PENDING if state is _T.ACTIVE else state)
    if event is _E.CLAIMED and external and state in _EXTERNAL_REOPEN:
        return _T.ACTIVE
    move = _TASK_MOVES.get(event)
    return move[1] if move is not None and state in move[0] else None


def session_after(state: SessionState | None, event: EventType) -> SessionState | None:
    """The state of a session after an event of its chain, or None where it is impossible."""
    if event is _E.SESSION_STARTED:
        return SessionState.IDLE if state is None else None
    if event is _E.FAULT_INJECTED:
        return state
    if state is None or state not in _SESSION_MOVES.get(event, ()):
        return None
    return _SESSION_TARGETS.get(event, state)


def freshness(age_us: int, *, interval_us: int, ttl_us: int) -> Freshness:
    """How old a heartbeat is by its own session's standards.

    Args:
        age_us: microseconds since the last heartbeat.
        interval_us: the session's heartbeat interval.
        ttl_us: the session's lease TTL.
    """
    if age_us >= ttl_us:
        return Freshness.STALE
    return Freshness.WARNING if age_us >= 2 * interval_us else Freshness.RUNNING


_LEASE_OF_FRESHNESS = {
    Freshness.RUNNING: LeaseState.ACTIVE,
    Freshness.WARNING: LeaseState.WARNING,
    Freshness.STALE: LeaseState.EXPIRED,
}


def lease_state(session: SessionState, fresh: Freshness) -> LeaseState:
    """The state of a held lease, which is that of the session that carries it."""
    if session in (SessionState.LOST, SessionState.STOPPED):
        return LeaseState.EXPIRED
    return _LEASE_OF_FRESHNESS[fresh]
''',
    'baton.domain.verify': r'''"""Verifying a ledger: edited, missing and reordered events, missing ids, impossible orders.

What the checks are, is in ``baton.domain.checks``. A ledger that its owner rewrote as a whole,
hashes and all, passes them; only a seal, the chain heads as they were exported elsewhere, makes
that evident. ``Verifier.summary`` says whether there was one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from baton.domain.chains import ChainState
from baton.domain.checks import (
    CHECKS,
    LINKS,
    MEANINGS,
    UNREADABLE,
    Seen,
    field_invalid,
    seal_mismatch,
)
from baton.domain.ledger import Event
from baton.domain.shapes import SHAPES

#: The version of ``Verifier.to_dict``.
VERSION = 1

#: What a type's name stands for, without a search among the types for every event.
_KNOWN = {type_.value: (type_, shape) for type_, shape in SHAPES.items()}

#: Chain heads that were exported elsewhere: the hash of the last event by chain.
Seal = Mapping[str, str]

#: What the pruned events of a chain told; None for a chain that is whole.
Told = Callable[[str], ChainState | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: the id of the check, a key of ``CHECKS``.
        chain: the chain it was found in.
        n: the place of the event in its chain; -1 for a chain as a whole.
        seq: its place in the tail.
        type: its type.
        detail: what was found, for people.
    """

    check: str
    chain: str
    n: int
    seq: int
    type: str
    detail: str

    def __str__(self) -> str:
        """One line that names the check, the event and what is wrong with it."""
        place = self.chain if self.n < 0 else f"{self.chain} event {self.n} ({self.type})"
        return f"{self.check}: {place}: {self.detail}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return asdict(self)


class Verifier:
    """Judges a ledger event by event, in the order of the tail or chain by chain.

    Attributes:
        events: how many events were judged.
        counts: findings by the id of their check; every check that is made is there from the
            start, at 0.
    """

    def __init__(self, seal: Seal | None = None, told: Told = lambda chain: None) -> None:  # noqa: ARG005
        """Begin before the first event.

        Args:
            seal: chain heads that were exported elsewhere, if there are any.
            told: asked for a chain that does not begin with its first event.
        """
        self._told = told
        self.events = 0
        self.counts = dict.fromkeys((*LINKS, *MEANINGS), 0)
        self._chains: dict[str, ChainState] = {}
        self._seal = None if seal is None else dict(seal)
        self._unsealed = dict(seal or {})
        if seal is not None:
            self.counts[seal_mismatch.__name__] = 0

    def apply(self, event: Event) -> list[Finding]:
        """Judge the next event."""
        self.events += 1
        before = self._chains.get(event.chain)
        if before is None:
            pruned = self._told(event.chain) if event.n else None
            before = self._chains[event.chain] = pruned or ChainState()
        wrong: dict[str, str] = {}
        for name, place in LINKS.items():
            if (detail := place(event, before)) is not None:
                wrong[name] = detail
                if place is field_invalid:
                    return [self._finding(name, event, detail)]
        data = event.data
        if not (wrong and UNREADABLE & wrong.keys()):
            known = before if event.n == before.n + 1 else before.behind_gap()
            seen = Seen(event, known, *_KNOWN[event.type], data)
            for name, find in MEANINGS.items():
                if (detail := find(seen)) is not None:
                    wrong[name] = detail
        if event.n > before.n:
            before.advance(event, data)
        if self._unsealed.get(event.chain) == event.hash:
            del self._unsealed[event.chain]
        return [self._finding(name, event, detail) for name, detail in wrong.items()]

    def finish(self) -> list[Finding]:
        """Judge what can only be judged at the end: the seal."""
        name = seal_mismatch.__name__
        findings = []
        for chain, sealed in self._unsealed.items():
            detail = seal_mismatch(self._chains.get(chain), sealed)
            findings.append(Finding(check=name, chain=chain, n=-1, seq=0, type="", detail=detail))
        if self._seal is not None:
            self.counts[name] = len(findings)
        return findings

    def state_of(self, chain: str) -> ChainState:
        """What a chain has told so far.

        Raises:
            KeyError: nothing yet.
        """
        return self._chains[chain]

    def summary(self) -> str:
        """What was judged and how far it can be trusted, in one line."""
        counts = ((self.events, "event"), (len(self._chains), "chain"))
        judged = " in ".join(_counted(count, what) for count, what in counts)
        found = _counted(sum(self.counts.values()), "finding")
        if self._seal is None:
            return f"{judged}, {found}; without a seal, a ledger rewritten as a whole would pass"
        return f"{judged}, {found}; held against a seal of {_counted(len(self._seal), 'chain')}"

    def _finding(self, check: str, event: Event, detail: str) -> Finding:
        self.counts[check] += 1
        return Finding(
            check=check,
            chain=event.chain,
            n=event.n,
            seq=event.seq,
            type=event.type,
            detail=detail,
        )

    def to_dict(self) -> dict[str, Any]:
        """Where it stands, as plain values for JSON, to go on with later; a seal is not kept."""
        return {
            "version": VERSION,
            "events": self.events,
            "counts": dict(self.counts),
            "chains": {chain: told.to_list() for chain, told in self._chains.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], seal: Seal | None = None) -> Verifier:
        """Go on where ``to_dict`` left off, for instance behind events that were pruned.

        Raises:
            KeyError, ValueError: it is no stored verifier, or one of another version.
        """
        if stored["version"] != VERSION:
            raise ValueError(f"a stored verifier has version {stored['version']}, not {VERSION}")
        verifier = cls(seal)
        verifier.events = stored["events"]
        verifier.counts |= stored["counts"]
        for chain, told in stored["chains"].items():
            verifier._chains[chain] = ChainState.from_list(told)
        return verifier


def verify(events: Iterable[Event], seal: Seal | None = None) -> list[Finding]:
    """Everything that is wrong with a ledger; nothing for a healthy one.

    Args:
        events: the ledger, in the order of its tail or chain by chain.
        seal: chain heads that were exported elsewhere, if there are any.
    """
    verifier = Verifier(seal)
    findings = [finding for event in events for finding in verifier.apply(event)]
    return findings + verifier.finish()


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def chain_heads(events: Iterable[Event]) -> dict[str, str]:
    """The hash of the last event of each chain: a seal, once it is kept elsewhere."""
    heads: dict[str, Event] = {}
    for event in events:
        last = heads.get(event.chain)
        if last is None or event.n > last.n:
            heads[event.chain] = event
    return {chain: event.hash for chain, event in sorted(heads.items())}


__all__ = ["CHECKS", "Finding", "Seal", "Verifier", "chain_heads", "verify"]
''',
    'baton.domain.words': r'''"""The words of the house: every label value that metrics, ledger and documents share."""

from __future__ import annotations

from enum import StrEnum


class SessionState(StrEnum):
    """What one incarnation of a worker is doing."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    STOPPED = "stopped"
    LOST = "lost"


#: A session in one of these may hold leases; the other two are final.
LIVE_SESSION_STATES = (
    SessionState.STARTING,
    SessionState.IDLE,
    SessionState.BUSY,
    SessionState.DRAINING,
)


class Freshness(StrEnum):
    """How old a session's heartbeat is, derived from its own interval and TTL."""

    RUNNING = "running"
    WARNING = "warning"
    STALE = "stale"


class LeaseState(StrEnum):
    """The state of the lease on a task."""

    ACTIVE = "active"
    WARNING = "warning"
    EXPIRED = "expired"
    RELEASED = "released"
    TAKEN_OVER = "taken_over"


class TaskState(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    ACTIVE = "active"
    INTERRUPTED = "interrupted"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"


class TakeoverReason(StrEnum):
    """Why a run needed another session to continue it."""

    CRASHED = "crashed"
    HEARTBEAT_LOST = "heartbeat_lost"
    PROGRESS_STALLED = "progress_stalled"
    DRAINED = "drained"
    OPERATOR = "operator"


#: After one of these without a durable write since, the task itself is suspect.
FRUITLESS_REASONS = (
    TakeoverReason.CRASHED,
    TakeoverReason.HEARTBEAT_LOST,
    TakeoverReason.PROGRESS_STALLED,
)


class TakeoverOutcome(StrEnum):
    """What the successor found."""

    RESUMED = "resumed"
    RESTARTED = "restarted"
    COMPLETED = "completed"
    ABANDONED = "abandoned"


class TakeoverPhase(StrEnum):
    """The parts of a takeover, in the order in which they pass."""

    DETECT = "detect"
    CLAIM = "claim"
    RESTORE = "restore"
    PROGRESS = "progress"


class Evidence(StrEnum):
    """How the loss of a session was known."""

    FLOCK = "flock"
    PIDFD = "pidfd"
    CONNECTION = "connection"
    TTL = "ttl"


class EffectOutcome(StrEnum):
    """What became of one call of ``baton.once``."""

    RECORDED = "recorded"
    DEDUPLICATED = "deduplicated"


class EventType(StrEnum):
    """The events of the ledger: those on a task's chain first, then those on a session's."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    RESUMED = "resumed"
    STEP = "step"
    EFFECT = "effect"
    EFFECT_DEDUPLICATED = "effect_deduplicated"
    RELEASED = "released"
    DRAINED = "drained"
    INTERRUPTED = "interrupted"
    RESUME_REQUESTED = "resume_requested"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    OPERATOR_ACTION = "operator_action"
    SESSION_STARTED = "session_started"
    HEARTBEAT_LATE = "heartbeat_late"
    SESSION_DRAINING = "session_draining"
    SESSION_STOPPED = "session_stopped"
    SESSION_LOST = "session_lost"
    WRITE_REFUSED = "write_refused"
    FAULT_INJECTED = "fault_injected"


SESSION_EVENTS = (
    EventType.SESSION_STARTED,
    EventType.HEARTBEAT_LATE,
    EventType.SESSION_DRAINING,
    EventType.SESSION_STOPPED,
    EventType.SESSION_LOST,
    EventType.WRITE_REFUSED,
)
''',
}

"""How a packet is verified where nothing but Python is at hand.

The text of this module is the second half of a packet's ``verify.py``; the first half is the
domain band's own modules, as text. So nothing of Baton is imported here before ``serve`` was
called, and whoever has Baton installed runs the same code by ``baton packet verify``.
"""


import argparse
import importlib.abc
import importlib.util
import json
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baton.domain.packet.check import Checked

EXIT_WHOLE = 0
EXIT_PROBLEMS = 1
EXIT_USAGE = 4

#: What signatures are over; a key that signs other things says so by this.
NAMESPACE = "baton-packet"
_SIGNATURE_SECONDS = 20.0


class Bundle(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules from their text, before anybody else is asked for them."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        """Take the text of each module by its name."""
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module comes from; None for those of others."""
        del path, target
        if fullname not in self._modules:
            return None
        package = any(name.startswith(f"{fullname}.") for name in self._modules)
        return importlib.util.spec_from_loader(fullname, self, is_package=package)

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's text."""
        text = self._modules[module.__name__]
        exec(compile(text, f"verify.py: {module.__name__}", "exec"), module.__dict__)  # noqa: S102 - its own text, which the manifest names


def serve(modules: Mapping[str, str]) -> None:
    """Let the bundled modules be imported, and no others of their names."""
    sys.meta_path.insert(0, Bundle(modules))


def read_folder(folder: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Every file of a folder by its name, and what is no plain file, with why.

    Raises:
        OSError: something cannot be read.
    """
    files: dict[str, bytes] = {}
    odd: dict[str, str] = {}
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            files[name] = path.read_bytes()
        else:
            odd[name] = "was added: it is no plain file"
    return files, odd


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def signature_says(files: Mapping[str, bytes], signer: str, signers: Path | None) -> str:
    """What a signature is worth, in words; empty where it is good.

    Args:
        files: of the packet.
        signer: whom it names.
        signers: an OpenSSH ``allowed_signers`` file; None where nobody gave one.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        return "the signature was NOT CHECKED: there is no ssh-keygen"
    with tempfile.TemporaryDirectory(prefix="baton-verify-") as place:
        signature = Path(place) / "signature"
        signature.write_bytes(files["manifest.json.sig"])
        mode = ["check-novalidate"]
        if signers is not None:
            mode = ["verify", "-f", str(signers), "-I", signer]
        done = subprocess.run(
            [program, "-Y", *mode, "-n", NAMESPACE, "-s", str(signature)],
            input=files["manifest.json"],
            capture_output=True,
            timeout=_SIGNATURE_SECONDS,
            check=False,
        )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        return f"the signature does NOT HOLD: {said}"
    if signers is None:
        return f"the signature holds; that it is of {signer} was NOT CHECKED: give --signers FILE"
    return ""


def told(checked: Checked, odd: Mapping[str, str], signature: str, root: str) -> dict[str, Any]:
    """What came of a verification, in plain values."""
    problems = [{"path": one.path, "text": one.text} for one in checked.problems]
    problems += [{"path": name, "text": text} for name, text in sorted(odd.items())]
    if "NOT HOLD" in signature:
        problems.append({"path": "manifest.json.sig", "text": signature})
    return {
        "verified": not problems,
        "decision": checked.decision,
        "root": root,
        "criteria_judged_again": checked.criteria,
        "problems": problems,
        "not_judged_again": list(checked.not_recomputed),
        "signed_by": checked.signed_by or None,
        "signature": signature,
    }


def verified(folder: Path, signers: Path | None) -> dict[str, Any]:
    """Verify a packet.

    Args:
        folder: the packet.
        signers: an OpenSSH ``allowed_signers`` file; None for none.

    Raises:
        OSError: it cannot be read.
    """
    from baton.domain.packet.check import check

    files, odd = read_folder(folder)
    checked = check(files)
    signature = ""
    if checked.signed_by and "manifest.json.sig" in files:
        signature = signature_says(files, checked.signed_by, signers)
    return told(checked, odd, signature, _root(files))


def _root(files: Mapping[str, bytes]) -> str:
    try:
        return str(json.loads(files["manifest.json"])["root"])
    except (KeyError, ValueError, TypeError):
        return ""


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """What came of a verification, for people."""
    for one in found["problems"]:
        yield f"PROBLEM {one['path']}: {one['text']}"
    for text in found["not_judged_again"]:
        yield f"NOT JUDGED AGAIN {text}"
    if not found["signed_by"]:
        yield "UNSIGNED: this shows that the packet is whole, not who made it"
    elif found["signature"]:
        yield f"SIGNATURE {found['signature']}"
    else:
        yield f"SIGNED by {found['signed_by']}"
    if found["verified"]:
        yield (
            f"VERIFIED: {found['decision']}, and {found['criteria_judged_again']} criteria judged"
            f" again lead to it; root {found['root']}"
        )
    else:
        yield f"NOT VERIFIED: {len(found['problems'])} problems; believe nothing that it says"


def main(argv: Sequence[str], folder: Path) -> int:
    """Verify the packet that this lies in, or another one.

    Args:
        argv: the words after the program's name.
        folder: where the program lies.

    Returns:
        0 if it is whole and follows from its evidence, 1 if not, 4 if there is none to read.
    """
    parser = argparse.ArgumentParser(prog="verify.py", description="Verify an evidence packet.")
    parser.add_argument("folder", nargs="?", type=Path, default=folder, help="default: this one")
    parser.add_argument("--signers", type=Path, help="an OpenSSH allowed_signers file")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    args = parser.parse_args(argv)
    try:
        found = verified(args.folder, args.signers)
    except OSError as error:
        sys.stderr.write(f"verify.py: cannot read {error.filename}: {error.strerror}\n")
        return EXIT_USAGE
    text = json.dumps(found, indent=1) if args.json else "\n".join(lines_of(found))
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return EXIT_WHOLE if found["verified"] else EXIT_PROBLEMS

if __name__ == "__main__":
    serve(MODULES)
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent))
