"""Alerts about leases, takeovers and the tasks that depend on them."""

from __future__ import annotations

from collections.abc import Iterable

from baton.domain import catalogue as c
from baton.domain.words import TakeoverOutcome, TaskState
from baton.observe import promql as q
from baton.observe.promql import Expr
from baton.observe.rules import Alert, Group, Severity
from baton.observe.settings import Board
from baton.observe.terms import FAST_BURN, SLOW_BURN, UNPLANNED, Terms

#: One of a count in a window: an increase is extrapolated, so that one may show as a bit less.
_ONE = 0.5


def lease_alerts(terms: Terms) -> Group:
    """Leases run out, or two sessions write."""
    return Group(
        name="baton-leases",
        rules=(_unclaimed(terms), _margin(terms), _two_writers(terms), _refused(terms)),
    )


def takeover_alerts(terms: Terms) -> Group:
    """Takeovers do not happen, take too long, or happen too often."""
    return Group(
        name="baton-takeovers",
        rules=(
            _stuck(terms),
            _slow(terms),
            _repeated(terms),
            _storm(terms),
            _burn_fast(terms),
            _burn_slow(terms),
        ),
    )


def task_alerts(terms: Terms) -> Group:
    """Tasks wait, or were put aside."""
    return Group(
        name="baton-tasks",
        rules=(_queue(terms), _quarantined(terms), _slow_checkpoints(terms)),
    )


def _unclaimed(terms: Terms) -> Alert:
    since = terms.age(c.LEASE_OLDEST_EXPIRED_TIMESTAMP, terms.pool)
    limit = terms.ttl() * terms.settings.thresholds.lease_expired_ttls
    return Alert(
        name="BatonLeaseExpiredUnclaimed",
        severity=Severity.CRITICAL,
        expr=since.op(">", limit, on=terms.pool),
        hold_seconds=30,
        survives=True,
        summary="A lease of pool {{ $labels.pool }} expired and nobody has taken its task.",
        description=(
            "It expired {{ $value | humanizeDuration }} ago. A live worker with a free slot takes"
            " such a task within a heartbeat: either there is none, or none serves its graph."
        ),
        first_look="Does the pool have a live worker with a free slot for this graph?",
        board=Board.TAKEOVERS,
        faults=("K01", "Z01", "S02"),
        start_here=True,
        inhibited_by=("BatonPoolWithoutWorkers",),
    )


def _margin(terms: Terms) -> Alert:
    expiry = terms.exporter.series(c.LEASE_EXPIRY_TIMESTAMP)
    left = q.largest(q.age_at_scrape(expiry) * -1, terms.each)
    least = q.over("min_over_time", left, "5m", step="15s")
    limit = terms.ttl() * terms.settings.thresholds.renewal_margin_ratio
    late = least.op("<", limit, on=terms.pool, many=True)
    return Alert(
        name="BatonLeaseRenewalMarginLow",
        severity=Severity.WARNING,
        expr=late.where(terms.alive(), on=terms.each),
        hold_seconds=300,
        summary="Worker {{ $labels.worker }} renews its leases almost too late.",
        description=(
            "At times only {{ $value | humanizeDuration }} were left. It still lives and will be"
            " declared lost, while healthy, if this gets worse."
        ),
        first_look="Is its host out of processor time, or the store slow to write?",
        board=Board.TAKEOVERS,
        faults=("S01", "Z05", "P02"),
    )


def _two_writers(terms: Terms) -> Alert:
    return Alert(
        name="BatonConcurrentWriters",
        severity=Severity.CRITICAL,
        expr=terms.fact(c.LEASE_CONCURRENT_WRITERS, terms.pool) > 1,
        survives=True,
        summary="{{ $value }} sessions wrote on one task of pool {{ $labels.pool }} at once.",
        description=(
            "The fence let a superseded worker write. This must never happen; results of the task"
            " cannot be trusted until it is understood."
        ),
        first_look="Which task is it, and what did each of its writers write?",
        board=Board.CONTINUITY,
        start_here=True,
    )


def _refused(terms: Terms) -> Alert:
    return Alert(
        name="BatonWritesRefused",
        severity=Severity.INFO,
        expr=terms.happened(c.WRITES_REFUSED, "10m", terms.pool) > 0,
        summary="The fence refused late writes in pool {{ $labels.pool }}.",
        description=(
            "A worker that had been superseded came back and tried to write. Nothing is wrong with"
            " the data: this is the fence at work. Often means pauses longer than the TTL."
        ),
        first_look="Which worker was silent, and for how long?",
        board=Board.TAKEOVERS,
        faults=("Z01", "Z02", "Z03", "P02"),
    )


def _stuck(terms: Terms) -> Alert:
    since = terms.age(c.TAKEOVER_OLDEST_PENDING_TIMESTAMP, terms.pool)
    budget = terms.ttl() + terms.settings.budgets.heartbeat_lost_beyond_ttl_seconds
    return Alert(
        name="BatonTakeoverStuck",
        severity=Severity.CRITICAL,
        expr=since.op(">", budget, on=terms.pool),
        hold_seconds=60,
        survives=True,
        summary="An unfinished run of pool {{ $labels.pool }} waits for a successor.",
        description=(
            "The last sign of life of its holder was {{ $value | humanizeDuration }} ago, its loss"
            " is established, and no session has continued it."
        ),
        first_look="Has any live worker of the pool a free slot, and does it serve this graph?",
        board=Board.TAKEOVERS,
        faults=("K06", "S02", "H01"),
        start_here=True,
        inhibited_by=("BatonPoolWithoutWorkers",),
    )


def _slow(terms: Terms) -> Alert:
    return Alert(
        name="BatonTakeoverSlow",
        severity=Severity.WARNING,
        expr=terms.over_budget("1h") > _ONE,
        summary="Takeovers in pool {{ $labels.pool }} took longer than their budget.",
        description=(
            "{{ $value | humanize }} within an hour. The phases tell which part was slow: noticing,"
            " claiming or restoring."
        ),
        first_look="Which phase took the time?",
        board=Board.TAKEOVERS,
        faults=("P02", "H01", "S02", "F01"),
        inhibited_by=("BatonTakeoverBudgetBurnFast",),
    )


def _repeated(terms: Terms) -> Alert:
    abandoned = terms.happened(
        c.TAKEOVERS, "30m", terms.pool, "reason", outcome=TakeoverOutcome.ABANDONED
    )
    return Alert(
        name="BatonTakeoverRepeated",
        severity=Severity.WARNING,
        expr=abandoned > _ONE,
        summary="In pool {{ $labels.pool }} successors were lost during their takeovers.",
        description=(
            "Whoever continued a run was lost too before its first node. The cause may be in the"
            " task itself; after a few such takeovers it is put aside."
        ),
        first_look="Is it the same task each time?",
        board=Board.TAKEOVERS,
        faults=("K06", "F01"),
    )


def _storm(terms: Terms) -> Alert:
    many = terms.happened(c.TAKEOVERS, "5m", terms.pool, "reason", "outcome", reason=UNPLANNED)
    return Alert(
        name="BatonTakeoverStorm",
        severity=Severity.WARNING,
        expr=many > terms.settings.thresholds.takeover_storm,
        summary="{{ $value | humanize }} unplanned takeovers in pool {{ $labels.pool }}.",
        description=(
            "All within five minutes. Many workers were lost at once, or believed to be: a host,"
            " the network, or a store that stood still for longer than the TTL."
        ),
        first_look="Were the workers really lost, or did the store stand still?",
        board=Board.TAKEOVERS,
        faults=("Z01", "S02", "H01"),
    )


def _burning(terms: Terms, rates: Iterable[tuple[float, str, str]]) -> Expr:
    """The share over budget, where both windows of a rate burn the error budget that fast."""
    allowed = 1 - terms.settings.thresholds.takeover_objective
    found = [_burns(terms, factor * allowed, long, short) for factor, long, short in rates]
    either = found[0].otherwise(found[1])
    enough = terms.judged("1d") > terms.settings.thresholds.takeovers_per_day
    return either.where(enough, on=terms.pool)


def _burns(terms: Terms, share: float, long: str, short: str) -> Expr:
    over_long = (terms.over_budget(long) / terms.judged(long)) > share
    over_short = (terms.over_budget(short) / terms.judged(short)) > share
    return over_long.where(over_short, on=terms.pool)


def _burn_fast(terms: Terms) -> Alert:
    return Alert(
        name="BatonTakeoverBudgetBurnFast",
        severity=Severity.CRITICAL,
        expr=_burning(terms, FAST_BURN),
        hold_seconds=120,
        summary="Takeovers in pool {{ $labels.pool }} are late so often that the month is lost.",
        description=(
            "{{ $value | humanizePercentage }} took longer than their budget. At this rate the"
            " month's objective is missed within days. Judged only where takeovers are many."
        ),
        first_look="Which phase takes the time since it began?",
        board=Board.TAKEOVERS,
        faults=("H01",),
    )


def _burn_slow(terms: Terms) -> Alert:
    return Alert(
        name="BatonTakeoverBudgetBurnSlow",
        severity=Severity.WARNING,
        expr=_burning(terms, SLOW_BURN),
        hold_seconds=3600,
        summary="Takeovers in pool {{ $labels.pool }} are late more often than the objective says.",
        description=(
            "{{ $value | humanizePercentage }} took longer than their budget over a day or more."
            " Judged only where takeovers are many."
        ),
        first_look="Since when, and what changed then: version, load, size of the states?",
        board=Board.TAKEOVERS,
        inhibited_by=("BatonTakeoverBudgetBurnFast",),
    )


def _queue(terms: Terms) -> Alert:
    waited = terms.age(c.QUEUE_OLDEST_PENDING_TIMESTAMP, terms.pool)
    return Alert(
        name="BatonQueueStalled",
        severity=Severity.WARNING,
        expr=waited > terms.settings.thresholds.queue_wait_seconds,
        hold_seconds=300,
        summary="A task of pool {{ $labels.pool }} waits for a worker.",
        description=(
            "It has waited for {{ $value | humanizeDuration }}. All slots are taken, or nobody"
            " serves its graph."
        ),
        first_look="Are the pool's slots full, or does no worker serve this graph?",
        board=Board.RUNS,
        faults=("S02",),
        inhibited_by=("BatonPoolWithoutWorkers",),
    )


def _quarantined(terms: Terms) -> Alert:
    by = (*terms.pool, "graph")
    return Alert(
        name="BatonTaskQuarantined",
        severity=Severity.WARNING,
        expr=terms.fact(c.TASKS, by, state=TaskState.QUARANTINED) > 0,
        summary="{{ $value }} tasks of graph {{ $labels.graph }} were put aside.",
        description=(
            "Each was taken over again and again, and not one durable write came of it: most"
            " likely it kills its workers. Nobody runs them until an operator decides."
        ),
        first_look="What does the task do just before its worker dies?",
        board=Board.RUNS,
        faults=("F01",),
    )


def _slow_checkpoints(terms: Terms) -> Alert:
    p99 = terms.worker.quantile(0.99, c.CHECKPOINT_WRITE, "5m", terms.pool)
    return Alert(
        name="BatonCheckpointSlow",
        severity=Severity.WARNING,
        expr=p99 > terms.settings.thresholds.checkpoint_write_seconds,
        hold_seconds=600,
        summary="Checkpoints of pool {{ $labels.pool }} are slow to become durable.",
        description=(
            "The slowest of a hundred takes {{ $value | humanizeDuration }}. Every step waits for"
            " it; longer than the TTL and heartbeats that share the store suffer too."
        ),
        first_look="Is the store's disk slow, or is one state very large?",
        board=Board.RUNS,
        faults=("P01",),
    )
