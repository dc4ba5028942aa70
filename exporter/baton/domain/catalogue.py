"""The metric catalogue: every name, type, label and bucket that Baton speaks, written once.

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
