"""Alerts about the record itself, and about what watches the fleet."""

from __future__ import annotations

from baton.domain import catalogue as c
from baton.observe import promql as q
from baton.observe.promql import TARGET_LABELS, Expr, Regex
from baton.observe.rules import Alert, Group, Severity
from baton.observe.settings import Board
from baton.observe.terms import Terms

#: Always fires; whoever receives it notices when it stops.
WATCHDOG = "BatonWatchdog"
SOURCE_DOWN = "BatonSourceDown"


def continuity_alerts(terms: Terms) -> Group:
    """The record contradicts a promise, or itself."""
    return Group(
        name="baton-continuity",
        rules=(_violated(terms), _invalid(terms), _lag(terms)),
    )


def exporter_alerts(terms: Terms) -> Group:
    """What would tell of all the others is blind."""
    return Group(
        name="baton-exporter",
        rules=(
            _source_down(terms),
            _exporter_down(terms),
            _collector_failing(terms),
            _vanished(terms),
            _clock_skew(terms),
            _watchdog(),
        ),
    )


def _violated(terms: Terms) -> Alert:
    # The count itself and not its increase: what was lost stays lost when the hour is over.
    return Alert(
        name="BatonContinuityViolated",
        severity=Severity.CRITICAL,
        expr=terms.fact(c.CONTINUITY_VIOLATIONS, (*terms.fleet, "assertion")) > 0,
        survives=True,
        summary="The ledger proves a violation of continuity: {{ $labels.assertion }}.",
        description=(
            "{{ $value }} times. A step was lost or applied twice, or a superseded worker's write"
            " was accepted. It stays until the ledger that proves it has been dealt with."
        ),
        first_look="Which task is it, and which events contradict each other?",
        board=Board.CONTINUITY,
    )


def _invalid(terms: Terms) -> Alert:
    return Alert(
        name="BatonLedgerInvalid",
        severity=Severity.CRITICAL,
        expr=terms.fact(c.DIAGNOSTICS_INVALID, (*terms.fleet, "check")) > 0,
        survives=True,
        summary="The ledger fails its check {{ $labels.check }}.",
        description=(
            "{{ $value }} events were edited, are missing, out of order or without their ids. What"
            " the metrics say of takeovers and steps is not to be trusted until it is explained."
        ),
        first_look="Which events are they, and who can write to the store?",
        board=Board.CONTINUITY,
        faults=("S05", "T04"),
    )


def _lag(terms: Terms) -> Alert:
    return Alert(
        name="BatonLedgerTailLag",
        severity=Severity.WARNING,
        expr=terms.fact(c.LEDGER_TAIL_LAG, terms.fleet)
        > terms.settings.thresholds.ledger_lag_seconds,
        hold_seconds=300,
        summary="The exporter's counts lag behind the ledger.",
        description=(
            "By {{ $value | humanizeDuration }}. Counts of steps, takeovers and refusals are"
            " late; states and ages are not."
        ),
        first_look="Has the exporter just been started, and has it too little processor time?",
        board=Board.EXPORTER,
    )


def _source_down(terms: Terms) -> Alert:
    return Alert(
        name=SOURCE_DOWN,
        severity=Severity.CRITICAL,
        expr=terms.fact(c.SOURCE_UP, terms.fleet).equals(0),
        hold_seconds=120,
        summary="The exporter cannot read the store.",
        description=(
            "Every series about workers, leases and tasks is withdrawn, so the alerts about them"
            " are blind. Workers that cannot reach the store either stop by themselves."
        ),
        first_look="Is the store there, and is it only the exporter that cannot reach it?",
        board=Board.EXPORTER,
        faults=("S01", "S02", "S05"),
        start_here=True,
    )


def _exporter_down(terms: Terms) -> Alert:
    job = Regex(terms.settings.exporter_job)
    up = q.recorded("up", (*TARGET_LABELS, *terms.fleet), job=job)
    # A target that fails keeps its labels; absent() has none left, but sees one that is gone.
    gone = q.total(up, terms.fleet).equals(0).otherwise(q.absent(up))
    return Alert(
        name="BatonExporterAbsent",
        severity=Severity.CRITICAL,
        expr=gone,
        hold_seconds=180,
        summary="No exporter of Baton can be scraped.",
        description=(
            "Nothing is known of the fleet, and no other alert about it can fire. The fleet itself"
            " does not need the exporter."
        ),
        first_look="Does the exporter run, and can Prometheus reach its address?",
        board=Board.EXPORTER,
    )


def _collector_failing(terms: Terms) -> Alert:
    by = (*terms.fleet, "collector")
    failing = q.smallest(terms.exporter.series(c.COLLECTOR_SUCCESS), by).equals(0)
    blind = terms.fact(c.SOURCE_UP, terms.fleet).equals(0)
    return Alert(
        name="BatonCollectorFailing",
        severity=Severity.WARNING,
        expr=failing.unless(blind, on=terms.fleet),
        hold_seconds=600,
        summary="The exporter's collection of {{ $labels.collector }} fails.",
        description=(
            "The store can be read, and still this part of the series is missing. It is an error"
            " in the exporter, which logs it once with its traceback."
        ),
        first_look="What does the exporter's log say?",
        board=Board.EXPORTER,
    )


def _vanished(terms: Terms) -> Alert:
    workers = terms.exporter.series(c.WORKERS)
    before = q.largest(q.over("last_over_time", workers, "1h"), terms.pool)
    readable = terms.fact(c.SOURCE_UP, terms.fleet).equals(1)
    gone = before.unless(q.largest(workers, terms.pool))
    return Alert(
        name="BatonPoolVanished",
        severity=Severity.WARNING,
        expr=gone.where(readable, on=terms.fleet),
        hold_seconds=300,
        summary="Nothing is known of pool {{ $labels.pool }} any more.",
        description=(
            "An hour ago it had workers or tasks, and the store can be read. The exporter reads"
            " another store now, or the pool's last task was removed. Ends by itself in an hour."
        ),
        first_look="Which store does the exporter read, and was it replaced?",
        board=Board.FLEET,
        faults=("S05",),
    )


def _clock_skew(terms: Terms) -> Alert:
    limit = terms.ttl() * terms.settings.thresholds.clock_skew_ratio
    return Alert(
        name="BatonClockSkew",
        severity=Severity.WARNING,
        expr=q.largest(q.call("abs", terms.exporter_clock()), terms.pool).op(
            ">", limit, on=terms.pool
        ),
        hold_seconds=300,
        summary="The clocks of the exporter and of Prometheus differ.",
        description=(
            "By {{ $value | humanizeDuration }}. Ages that alerts compute are wrong by as much."
            " Leases are not concerned: they are timed by the store's clock alone."
        ),
        first_look="Which of the two hosts has lost its time server?",
        board=Board.EXPORTER,
    )


def _watchdog() -> Alert:
    return Alert(
        name=WATCHDOG,
        severity=Severity.INFO,
        expr=Expr("vector(1)"),
        summary="Alerts arrive; this one always fires.",
        description="Whoever receives it should raise the alarm when it stops coming.",
        first_look="Nothing: look when it is missing.",
        board=Board.EXPORTER,
    )
