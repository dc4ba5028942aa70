"""Leases and takeovers: who is about to lose a task, and how fast is it picked up?"""

from __future__ import annotations

from typing import Any

from baton.domain import catalogue as c
from baton.domain.words import TakeoverOutcome, TakeoverReason
from baton.observe import charts
from baton.observe import panels as p
from baton.observe import promql as q
from baton.observe.boards import RANGE, RATE, View, render
from baton.observe.settings import Board, Settings

_REASONS = {
    TakeoverReason.CRASHED: ("a crash", "The loss was proven: the process is gone."),
    TakeoverReason.HEARTBEAT_LOST: ("silence", "Only the heartbeat stopped, so the TTL passes."),
    TakeoverReason.DRAINED: ("a planned release", "The worker gave the task back by itself."),
}


def board(settings: Settings) -> Any:
    """The board for these settings."""
    view = View(settings)
    return render(
        Board.TAKEOVERS,
        "Leases and takeovers",
        "Who is about to lose a task, how fast is a lost one picked up, and was the fence needed?",
        [_leases(view), _takeovers(view), _latency(view), _safety(view)],
        view,
    )


def _leases(view: View) -> p.Row:
    limits = view.settings.thresholds
    left = view.fact(c.LEASE_EXPIRY_TIMESTAMP, view.each) - q.now()
    expired = view.age_seconds(c.LEASE_OLDEST_EXPIRED_TIMESTAMP, view.pool)
    return p.row(
        "Leases",
        charts.lines(
            "Leases by state",
            "Tasks that a session holds. Warning: its last heartbeat is older than two intervals. "
            "Expired: silent for longer than the TTL, or lost.",
            p.Query(view.amount(c.LEASES, ("state",)), "{{state}}"),
            stacked=True,
            unit=charts.WHOLE,
        ),
        charts.lines(
            "Least time left on a lease",
            "As a share of the pool's TTL, at the worker that is closest to losing its tasks. A "
            "healthy worker renews with two thirds left; below the limit it renews late.",
            p.Query(
                q.smallest(view.per_pool(left, "/", view.ttl()), ("pool",)),
                "{{pool}}",
            ),
            unit="percentunit",
            steps=charts.below(limits.renewal_margin_ratio),
        ),
        charts.lines(
            "Longest expired lease",
            "For how long, in TTLs of its pool; nothing where none is expired. Above the limit no "
            "session of the pool has a free slot, or none that has the graph is alive.",
            p.Query(view.per_pool(expired, "/", view.ttl()), "{{pool}}"),
            unit="short",
            steps=charts.above(limits.lease_expired_ttls),
        ),
        charts.lines(
            "Lease transitions",
            "As the ledger records them, in the interval of each bar. Taking a lease from its "
            "holder is two of them: expired to taken over, and from there to active.",
            p.Query(
                view.count(c.LEASE_TRANSITIONS_TOTAL, ("from", "to", "reason")),
                "{{from}} to {{to}}: {{reason}}",
            ),
            unit="short",
            bars=True,
            stacked=True,
        ),
        charts.lines(
            "Heartbeats by result",
            "Renewals each second as the workers saw them. Refused: the session was declared lost "
            "meanwhile. Failed: the store could not be reached.",
            p.Query(view.rate(c.HEARTBEAT_DURATION, ("result",), "_count"), "{{result}}"),
            unit="ops",
            stacked=True,
        ),
        charts.lines(
            "Time of a heartbeat",
            "The slowest of a hundred renewals, by pool, and the interval that each has to fit in.",
            p.Query(
                view.worker.quantile(0.99, c.HEARTBEAT_DURATION, RATE, ("pool",)),
                "p99 {{pool}}",
            ),
            p.Query(q.largest(view.interval(), ("pool",)), "interval {{pool}}", limit=True),
            unit="s",
        ),
    )


def _takeovers(view: View) -> p.Row:
    budgets = view.settings.budgets
    allowed = view.ttl() + budgets.heartbeat_lost_beyond_ttl_seconds
    return p.row(
        "Takeovers",
        charts.lines(
            "Takeovers by reason",
            "In the interval of each bar. Drained is planned; the others are somebody's loss.",
            p.Query(view.count(c.TAKEOVERS, ("reason",)), "{{reason}}"),
            unit="short",
            bars=True,
            stacked=True,
        ),
        charts.lines(
            "Takeovers by outcome",
            "What the successor found. Resumed: it went on from a checkpoint. Restarted: there "
            "was none. Completed: nothing was left to run. Abandoned: the successor was lost too.",
            p.Query(view.count(c.TAKEOVERS, ("outcome",)), "{{outcome}}"),
            unit="short",
            bars=True,
            stacked=True,
        ),
        charts.lines(
            "Longest pending takeover",
            "Since the last sign of life of the old holder. Latency cannot show a takeover that "
            "nobody makes; this does. The dashed line is the budget after silence.",
            p.Query(view.age_seconds(c.TAKEOVER_OLDEST_PENDING_TIMESTAMP, ("pool",)), "{{pool}}"),
            p.Query(q.largest(allowed, ("pool",)), "budget {{pool}}", limit=True),
            unit="s",
        ),
    )


def _latency(view: View) -> p.Row:
    by = (*view.fleet, "pool", "reason", "le")
    seen = q.largest(view.exporter.increase(c.TAKEOVER_LATENCY, RATE, "_bucket"), by)
    return p.row(
        "Takeover latency",
        charts.heatmap(
            "Latency of all takeovers",
            "From the last sign of life of the old holder until the first node may start at the "
            "new one. Diamonds are exemplars: they carry the task and the run.",
            p.Query(q.total(seen, ("le",)), "{{le}}"),
            unit="s",
        ),
        charts.gauges(
            "Mean time in each phase",
            "In the time shown. Detect: until the loss is established. Claim: until the new epoch "
            "is committed. Restore: until the first node may start. Progress: until the first new "
            "step is durable, with the time of the user's own nodes, so it has no budget.",
            p.Query(view.mean(c.TAKEOVER_PHASE, ("phase",), RANGE), "{{phase}}"),
            unit="s",
        ),
        *(_against_budget(view, reason) for reason in _REASONS),
        charts.lines(
            "Phases, p95",
            "The same phases over time: which of them grew?",
            p.Query(view.exporter.quantile(0.95, c.TAKEOVER_PHASE, RATE, ("phase",)), "{{phase}}"),
            unit="s",
            size=(24, 8),
        ),
    )


def _against_budget(view: View, reason: TakeoverReason) -> Any:
    cause, meaning = _REASONS[reason]
    fixed = view.settings.budgets.fixed().get(reason)
    quantiles = [
        p.Query(
            view.exporter.quantile(each, c.TAKEOVER_LATENCY, RATE, ("pool",), reason=reason),
            f"p{each * 100:g} {{{{pool}}}}",
        )
        for each in (0.5, 0.95)
    ]
    if fixed is None:
        beyond = view.settings.budgets.heartbeat_lost_beyond_ttl_seconds
        budget = q.largest(view.ttl() + beyond, ("pool",))
        quantiles.append(p.Query(budget, "budget {{pool}}", limit=True))
        said = f"The dashed line is the budget: the pool's TTL and {beyond:g} s."
    else:
        said = f"The dashed line is the budget: {fixed:g} s."
    return charts.lines(
        f"After {cause}",
        f"{meaning} {said} Nothing is shown where nothing was taken over.",
        *quantiles,
        unit="s",
        steps=() if fixed is None else charts.above(fixed),
    )


def _safety(view: View) -> p.Row:
    abandoned = view.count(c.TAKEOVERS, (), RANGE, outcome=TakeoverOutcome.ABANDONED)
    return p.row(
        "Safety",
        charts.stat(
            "Concurrent writers",
            "The most sessions whose writes were accepted on one task since its last claim. Two "
            "would mean that the fence let a superseded worker write.",
            p.Query(q.largest(view.exporter.series(c.LEASE_CONCURRENT_WRITERS)), "writers"),
            steps=charts.above(2),
        ),
        charts.stat(
            "Refused writes",
            "In the time shown: writes of workers that had been superseded and did not know. "
            "Each is the fence at work; many mean that workers are declared lost too early.",
            p.Query(view.count(c.WRITES_REFUSED, (), RANGE), "writes"),
            steps=charts.above(1),
            unit=charts.WHOLE,
        ),
        charts.stat(
            "Abandoned takeovers",
            "In the time shown: the successor was lost too, before it could start a node.",
            p.Query(abandoned, "takeovers"),
            steps=charts.above(1),
            unit=charts.WHOLE,
        ),
        charts.stat(
            "Repeated steps",
            "In the time shown: super-steps whose nodes began again because a takeover interrupted "
            "them. Their effects are recorded once by `baton.once`.",
            p.Query(view.count(c.STEPS_REPLAYED, (), RANGE), "steps"),
            unit=charts.WHOLE,
        ),
        charts.stat(
            "TTL",
            "The longest silence after which a session of the pool may be declared lost.",
            p.Query(q.largest(view.ttl(), ("pool",)), "{{pool}}"),
            unit="s",
        ),
        charts.stat(
            "Heartbeat interval",
            "The longest that a session of the pool was started with; a third of the TTL is usual.",
            p.Query(q.largest(view.interval(), ("pool",)), "{{pool}}"),
            unit="s",
        ),
    )


dashboard = board(Settings())
