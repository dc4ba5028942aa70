"""Exporter health: does the exporter see the store, and is what it says whole and in time?"""

from __future__ import annotations

from typing import Any

from baton.domain import catalogue as c
from baton.observe import charts
from baton.observe import panels as p
from baton.observe import promql as q
from baton.observe.boards import View, render
from baton.observe.settings import Board, Settings


def board(settings: Settings) -> Any:
    """The board for these settings."""
    view = View(settings)
    return render(
        Board.EXPORTER,
        "Exporter health",
        "Does the exporter see the store, and is what it says whole and in time?",
        [_now(view), _collection(view), _scrapes(view)],
        view,
    )


def _now(view: View) -> p.Row:
    return p.row(
        "Now",
        charts.stat(
            "Store",
            "Whether each exporter could read the store at its last scrape.",
            p.Query(q.largest(view.exporter.series(c.SOURCE_UP), ("instance",)), "{{instance}}"),
            mappings=charts.words({0: ("unreadable", charts.RED), 1: ("readable", charts.GREEN)}),
            steps=charts.below(1),
            size=(6, 4),
        ),
        charts.stat(
            "Targets",
            "Exporters and workers that Prometheus scrapes, of those that it knows.",
            p.Query(q.total(view.target("up")), "up"),
            p.Query(q.aggregate("count", view.target("up")), "known"),
            size=(6, 4),
        ),
        charts.stat(
            "Ledger lag",
            "Age of the oldest committed event that the counters do not contain yet.",
            p.Query(
                q.largest(view.exporter.series(c.LEDGER_TAIL_LAG), ("instance",)), "{{instance}}"
            ),
            unit="s",
            steps=charts.above(view.settings.thresholds.ledger_lag_seconds),
            size=(6, 4),
        ),
        charts.stat(
            "Clock",
            "By how much the clocks of the exporter and of Prometheus differ, as a share of the "
            "TTL. Ages on these boards are wrong by as much; leases are not concerned.",
            p.Query(_skew(view), "of the TTL"),
            unit="percentunit",
            steps=charts.above(view.settings.thresholds.clock_skew_ratio),
            empty="no heartbeats",
            size=(6, 4),
        ),
        charts.table(
            "Builds",
            "What each exporter is, and what kind of store it reads.",
            charts.Column(
                expr=q.largest(
                    view.exporter.series(c.BUILD_INFO),
                    ("instance", "version", "contract", "python", "store"),
                )
            ),
            labels={
                "instance": "Exporter",
                "version": "Version",
                "contract": "Contract",
                "python": "Python",
                "store": "Store",
            },
            size=(24, 5),
        ),
    )


def _skew(view: View) -> q.Expr:
    off = q.largest(q.call("abs", view.exporter_clock()), view.pool)
    return q.largest(off / view.ttl())


def _collection(view: View) -> p.Row:
    by = ("instance", "collector")
    legend = "{{instance}} {{collector}}"
    succeeded = q.smallest(view.exporter.series(c.COLLECTOR_SUCCESS), by)
    return p.row(
        "Collection",
        charts.timeline(
            "Parts that succeed",
            "A part that fails costs its own series only; the log of the exporter says why.",
            p.Query(succeeded, legend),
            charts.words({0: ("failed", charts.RED), 1: ("succeeded", charts.GREEN)}),
            size=(12, 8),
        ),
        charts.lines(
            "Failures",
            "Of each part, in the interval of each bar.",
            p.Query(view.count(c.COLLECTOR_ERRORS, by), legend),
            unit="short",
            steps=charts.above(1),
            bars=True,
            stacked=True,
            size=(12, 8),
        ),
        charts.lines(
            "Time of each part",
            "At each scrape. It grows with workers and tasks in the store.",
            p.Query(q.largest(view.exporter.series(c.COLLECTOR_DURATION), by), legend),
            unit="s",
            size=(12, 8),
        ),
        charts.lines(
            "Events read",
            "Each second. The exporter reads the ledger once, however often it is scraped.",
            p.Query(view.rate(c.EVENTS, ()), "events"),
            unit="ops",
            size=(12, 8),
        ),
    )


def _scrapes(view: View) -> p.Row:
    return p.row(
        "Scrapes",
        charts.lines(
            "Time of a scrape",
            "As Prometheus measured it.",
            p.Query(
                q.largest(view.target("scrape_duration_seconds"), ("job", "instance")),
                "{{job}} {{instance}}",
            ),
            unit="s",
            size=(12, 8),
        ),
        charts.lines(
            "Samples of a scrape",
            "What each target serves. Ids of tasks, runs and steps are never labels, so it grows "
            "with workers, pools and graphs only.",
            p.Query(
                q.largest(view.target("scrape_samples_scraped"), ("job", "instance")),
                "{{job}} {{instance}}",
            ),
            unit="short",
            size=(12, 8),
        ),
    )


dashboard = board(Settings())
