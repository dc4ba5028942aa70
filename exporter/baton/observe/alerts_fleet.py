"""Alerts about workers, their heartbeats and the fleet as a whole."""

from __future__ import annotations

from baton.domain import catalogue as c
from baton.domain.words import EventType, SessionState, TaskState
from baton.observe import promql as q
from baton.observe.promql import Not
from baton.observe.rules import Alert, Group, Severity
from baton.observe.settings import Board
from baton.observe.terms import EXTERNAL_GRAPH, Terms

_DEATHS = ("K01", "K02", "K04", "K05", "K06", "Z01", "Z02", "P02")


def fleet_alerts(terms: Terms) -> Group:
    """Somebody is missing, or there and of no use."""
    return Group(
        name="baton-fleet",
        rules=(
            _heartbeat_stale(terms),
            _many_stale(terms),
            _below_expected(terms),
            _nobody(terms),
            _stalled(terms),
            _flapping(terms),
            _failing_renewals(terms),
            _rotation_stalled(terms),
            _versions(terms),
        ),
    )


def _heartbeat_stale(terms: Terms) -> Alert:
    return Alert(
        name="BatonWorkerHeartbeatStale",
        severity=Severity.WARNING,
        expr=terms.stale(),
        hold_seconds=60,
        summary="Worker {{ $labels.worker }} of pool {{ $labels.pool }} is silent.",
        description=(
            "Its last heartbeat was {{ $value | humanizeDuration }} ago. Others take over what it"
            " held; the pool is one worker short until it is back."
        ),
        first_look="Is its process there, and is it running, stopped or cut off from the store?",
        board=Board.WORKER,
        faults=_DEATHS,
        inhibited_by=("BatonFleetHeartbeatsStale", "BatonPoolWithoutWorkers"),
    )


def _many_stale(terms: Terms) -> Alert:
    thresholds = terms.settings.thresholds
    silent = q.aggregate("count", terms.stale(), terms.pool)
    known = q.aggregate("count", terms.fact(c.WORKER_HEARTBEAT_TIMESTAMP, terms.each), terms.pool)
    many = silent >= thresholds.heartbeats_stale_workers
    return Alert(
        name="BatonFleetHeartbeatsStale",
        severity=Severity.CRITICAL,
        expr=many.op(">", known * thresholds.heartbeats_stale_ratio, on=terms.pool),
        hold_seconds=60,
        survives=True,
        summary="{{ $value }} workers of pool {{ $labels.pool }} are silent.",
        description=(
            "So many at once have a cause in common: a host, the network, the store, a bad"
            " release. Those that are left take over, and may have no free slots for it."
        ),
        first_look="What do the silent ones share that the others do not: host, version, store?",
        board=Board.FLEET,
        faults=("S02", "H01"),
        inhibited_by=("BatonPoolWithoutWorkers",),
    )


def _below_expected(terms: Terms) -> Alert:
    wanted = (terms.expected() > 0) * terms.settings.thresholds.fleet_min_ratio
    return Alert(
        name="BatonFleetBelowExpected",
        severity=Severity.CRITICAL,
        expr=terms.live().op("<", wanted, on=terms.pool),
        hold_seconds=300,
        survives=True,
        summary="Pool {{ $labels.pool }} has only {{ $value }} live workers.",
        description=(
            "That is less than the exporter was told to expect (--expect). Work waits longer, and"
            " the next loss may find no successor."
        ),
        first_look="Which workers are lost or stopped, and does anything start them again?",
        board=Board.FLEET,
        faults=("K01", "S02"),
        start_here=True,
        inhibited_by=("BatonPoolWithoutWorkers",),
    )


def _nobody(terms: Terms) -> Alert:
    states = (TaskState.PENDING, TaskState.ACTIVE)
    tasks = q.largest(
        terms.exporter.series(c.TASKS, "", state=states, graph=Not(EXTERNAL_GRAPH)),
        (*terms.pool, "graph", "state"),
    )
    waiting = q.total(tasks, terms.pool) > 0
    return Alert(
        name="BatonPoolWithoutWorkers",
        severity=Severity.CRITICAL,
        expr=waiting.where(terms.live().equals(0), on=terms.pool),
        hold_seconds=300,
        survives=True,
        summary="Pool {{ $labels.pool }} has {{ $value }} unfinished tasks and no live worker.",
        description=(
            "Nothing goes on. A pool that is scaled to zero on purpose has no unfinished tasks."
        ),
        first_look="Are workers of this pool being started, and why do they end?",
        board=Board.FLEET,
        faults=("S02",),
    )


def _stalled(terms: Terms) -> Alert:
    progress = terms.age(c.WORKER_PROGRESS_TIMESTAMP, terms.each)
    holding = terms.fact(c.WORKER_LEASES, terms.each) > 0
    stalled = progress > terms.settings.thresholds.progress_stalled_seconds
    return Alert(
        name="BatonWorkerStalled",
        severity=Severity.WARNING,
        expr=stalled.where(holding, on=terms.each).where(terms.fresh(), on=terms.each),
        hold_seconds=300,
        summary="Worker {{ $labels.worker }} is alive, holds tasks and gets nothing done.",
        description=(
            "Its last durable write was {{ $value | humanizeDuration }} ago, while its heartbeat"
            " is fresh. A node hangs, or runs for longer than the settings allow."
        ),
        first_look="Which node of which task is it in, and what does that node wait for?",
        board=Board.WORKER,
        faults=("Z06", "P01"),
    )


def _flapping(terms: Terms) -> Alert:
    lost = terms.happened(c.EVENTS, "30m", terms.fleet, type=EventType.SESSION_LOST)
    often = lost > terms.settings.thresholds.flapping_losses
    workers = q.total(terms.live(), terms.fleet)
    return Alert(
        name="BatonWorkerFlapping",
        severity=Severity.WARNING,
        expr=often.op(">", workers, on=terms.fleet),
        summary="Workers die and return: {{ $value | humanize }} sessions lost in half an hour.",
        description=(
            "That is more than one for each live worker. Every loss costs a takeover and the steps"
            " that it repeats; a task that kills its workers is put aside after a few."
        ),
        first_look="Do the losses share a worker, or follow one task from worker to worker?",
        board=Board.FLEET,
        faults=("F01",),
    )


def _failing_renewals(terms: Terms) -> Alert:
    failed = terms.worker.increase(c.HEARTBEAT_DURATION, "5m", "_count", result="failed")
    return Alert(
        name="BatonHeartbeatsFailing",
        severity=Severity.WARNING,
        expr=q.largest(failed, terms.each) > 0,
        hold_seconds=120,
        summary="Worker {{ $labels.worker }} cannot renew its session.",
        description=(
            "Renewals have failed for minutes. A worker that cannot renew starts no node in the"
            " last part of its TTL and gives its session up when the store answers again."
        ),
        first_look="Can this worker's host reach the store, and is the store slow or locked?",
        board=Board.WORKER,
        faults=("S01", "S02", "S04"),
    )


def _rotation_stalled(terms: Terms) -> Alert:
    draining = q.largest(terms.exporter.state(c.WORKER_STATE, SessionState.DRAINING), terms.each)
    return Alert(
        name="BatonRotationStalled",
        severity=Severity.WARNING,
        expr=draining.equals(1).where(terms.fresh(), on=terms.each),
        hold_seconds=900,
        summary="Worker {{ $labels.worker }} has been draining for a quarter of an hour.",
        description=(
            "A drain waits for the running super-steps, at most for --drain-timeout. The rotation"
            " behind it waits too."
        ),
        first_look="Which super-step is it waiting for?",
        board=Board.WORKER,
        faults=("R02",),
    )


def _versions(terms: Terms) -> Alert:
    info = q.largest(terms.exporter.series(c.WORKER_INFO), (*terms.each, "version"))
    running = info.where(terms.alive(), on=terms.each)
    versions = q.aggregate("group", running, (*terms.pool, "version"))
    return Alert(
        name="BatonVersionSkew",
        severity=Severity.INFO,
        expr=q.aggregate("count", versions, terms.pool) > 1,
        hold_seconds=3600,
        summary="Pool {{ $labels.pool }} has run {{ $value }} versions of Baton for an hour.",
        description="A rotation that is under way looks like this, and one that was left halfway.",
        first_look="Which workers still run the older version?",
        board=Board.FLEET,
        faults=("R03",),
    )
