"""Continuity and gate: was anything lost or done twice, and does enough data say so?"""

from __future__ import annotations

from typing import Any

from baton.domain import catalogue as c
from baton.domain.words import TakeoverReason
from baton.observe import charts
from baton.observe import panels as p
from baton.observe import promql as q
from baton.observe.boards import RANGE, View, render
from baton.observe.promql import Expr
from baton.observe.settings import Board, Settings


def board(settings: Settings) -> Any:
    """The board for these settings."""
    view = View(settings)
    return render(
        Board.CONTINUITY,
        "Continuity and gate",
        "Was anything lost or done twice, and is there enough data to say so?",
        [_coverage(view), _continuity(view), _objective(view), _ledger(view)],
        view,
    )


def _coverage(view: View) -> p.Row:
    return p.row(
        "Coverage: can the rest be believed?",
        charts.stat(
            "Scrapes that succeeded",
            "Share of the time shown, at the worst target. What was not scraped was not seen, and "
            "counts neither for nor against the fleet.",
            p.Query(q.smallest(q.over("avg_over_time", view.target("up"), RANGE)), "worst target"),
            unit="percentunit",
            steps=charts.below(0.95, 1),
        ),
        charts.stat(
            "Store readable",
            "Share of the time shown in which the exporter could read the store.",
            p.Query(
                q.smallest(q.over("avg_over_time", view.exporter.series(c.SOURCE_UP), RANGE)),
                "readable",
            ),
            unit="percentunit",
            steps=charts.below(0.95, 1),
        ),
        charts.stat(
            "Scrapes of the exporter",
            "In the time shown: how many looks at the store everything below rests on.",
            p.Query(
                q.smallest(q.over("count_over_time", view.exporter.series(c.SOURCE_UP), RANGE)),
                "scrapes",
            ),
        ),
        charts.stat(
            "Ledger lag",
            "Age of the oldest event that the counters do not contain yet.",
            p.Query(q.largest(view.exporter.series(c.LEDGER_TAIL_LAG)), "lag"),
            unit="s",
            steps=charts.above(view.settings.thresholds.ledger_lag_seconds),
        ),
        charts.stat(
            "Takeovers seen",
            "In the time shown, with an outcome. A fleet that lost nobody has proved nothing "
            "about losing somebody.",
            p.Query(view.count(c.TAKEOVERS, (), RANGE), "takeovers"),
            steps=charts.below(1),
            unit=charts.WHOLE,
        ),
        charts.stat(
            "Steps seen",
            "In the time shown: super-steps that became durable.",
            p.Query(view.count(c.STEPS, (), RANGE), "steps"),
            steps=charts.below(1),
            unit=charts.WHOLE,
        ),
    )


def _continuity(view: View) -> p.Row:
    return p.row(
        "Continuity: was anything lost or done twice?",
        charts.stat(
            "Violations",
            "Continuity assertions that the ledger disproves, in the time shown. Must stay 0. A "
            "series exists only for an assertion that was judged; where none was, this says so.",
            p.Query(view.count(c.CONTINUITY_VIOLATIONS, ("assertion",), RANGE), "{{assertion}}"),
            steps=charts.above(1),
            empty="not judged",
            size=(6, 8),
            unit=charts.WHOLE,
        ),
        charts.gauges(
            "Ledger findings",
            "Events that failed a check, in the time shown: edited, missing, out of order, or "
            "without their ids. `baton ledger verify` names each.",
            p.Query(view.count(c.DIAGNOSTICS_INVALID, ("check",), RANGE), "{{check}}"),
            unit="short",
            steps=charts.above(1),
            size=(10, 8),
        ),
        charts.lines(
            "Concurrent writers",
            "The most sessions whose writes were accepted on one task since its last claim; 1 is "
            "right, 2 is a broken fence.",
            p.Query(
                q.largest(view.exporter.series(c.LEASE_CONCURRENT_WRITERS), ("pool",)), "{{pool}}"
            ),
            steps=charts.above(2),
            unit=charts.WHOLE,
        ),
    )


def _objective(view: View) -> p.Row:
    objective = view.settings.thresholds.takeover_objective
    fixed = view.settings.budgets.fixed()
    return p.row(
        "Takeovers against their budget",
        *(
            charts.stat(
                f"Within {seconds:g} s, {reason}",
                f"Share of the {reason} takeovers of the time shown that kept their budget, by "
                "pool. Where nothing was taken over there is nothing to judge.",
                p.Query(_kept(view, reason, seconds), "{{pool}}"),
                unit="percentunit",
                steps=charts.below(objective),
                empty="none to judge",
                size=(6, 8),
            )
            for reason, seconds in fixed.items()
        ),
        charts.lines(
            "Latency after silence",
            "Mean of the heartbeat_lost takeovers. Their budget is the pool's TTL and "
            f"{view.settings.budgets.heartbeat_lost_beyond_ttl_seconds:g} s: the dashed line.",
            p.Query(
                view.mean(
                    c.TAKEOVER_LATENCY, ("pool",), RANGE, reason=TakeoverReason.HEARTBEAT_LOST
                ),
                "{{pool}}",
            ),
            p.Query(
                q.largest(
                    view.ttl() + view.settings.budgets.heartbeat_lost_beyond_ttl_seconds,
                    ("pool",),
                ),
                "budget {{pool}}",
                limit=True,
            ),
            unit="s",
            size=(12, 8),
        ),
    )


def _kept(view: View, reason: TakeoverReason, seconds: float) -> Expr:
    """The share of takeovers that took no longer than their budget."""
    latency = c.TAKEOVER_LATENCY
    within = view.exporter.increase(
        latency, RANGE, "_bucket", reason=reason, le=repr(float(seconds))
    )
    every = view.exporter.increase(latency, RANGE, "_count", reason=reason)
    return q.total(within, ("pool",)) / q.total(every, ("pool",))


def _ledger(view: View) -> p.Row:
    return p.row(
        "Ledger",
        charts.lines(
            "Events",
            "Each second, by type. Heartbeats are no events, so an idle fleet writes nothing.",
            p.Query(view.rate(c.EVENTS, ("type",)), "{{type}}"),
            unit="ops",
            stacked=True,
            size=(16, 8),
        ),
        charts.lines(
            "Lag of the counters",
            "Behind the ledger. Above the limit everything that is counted is late.",
            p.Query(
                q.largest(view.exporter.series(c.LEDGER_TAIL_LAG), ("instance",)), "{{instance}}"
            ),
            unit="s",
            steps=charts.above(view.settings.thresholds.ledger_lag_seconds),
        ),
    )


dashboard = board(Settings())
