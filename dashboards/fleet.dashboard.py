"""Fleet overview: is everybody there, is anything waiting, does work get done?"""

from __future__ import annotations

from typing import Any

from baton.domain import catalogue as c
from baton.domain.words import LIVE_SESSION_STATES, Freshness, LeaseState, SessionState, TaskState
from baton.observe import charts
from baton.observe import panels as p
from baton.observe import promql as q
from baton.observe.boards import (
    FRESHNESS_LOOK,
    SESSION_LOOK,
    View,
    render,
    state_words,
)
from baton.observe.promql import Expr
from baton.observe.settings import Board, Settings
from baton.observe.terms import UNPLANNED


def board(settings: Settings) -> Any:
    """The board for these settings."""
    view = View(settings)
    return render(
        Board.FLEET,
        "Fleet overview",
        "Is everybody there, is anything waiting for somebody, and does work get done?",
        [_now(view), _workers(view), _work(view)],
        view,
    )


def _now(view: View) -> p.Row:
    limits = view.settings.thresholds
    takeovers = view.link_to(Board.TAKEOVERS, "Leases and takeovers")
    runs = view.link_to(Board.RUNS, "Tasks, runs and steps")
    return p.row(
        "Now",
        charts.stat(
            "Live workers",
            "Workers whose session lives and whose heartbeat is younger than their pool's TTL.",
            p.Query(q.aggregate("count", view.alive()), "live"),
            empty="0",
            size=(3, 4),
        ),
        charts.stat(
            "Live, of those expected",
            "The same, as a share of what `--expect` told the exporter. Pools that nobody "
            "expects anything of are left out.",
            p.Query(_share_of_expected(view), "live"),
            unit="percentunit",
            steps=charts.below(limits.fleet_min_ratio),
            empty="nothing expected",
            size=(3, 4),
        ),
        charts.stat(
            "Oldest heartbeat",
            "Of all sessions that live, in heartbeat intervals of their pool. A worker beats once "
            f"an interval; at {limits.heartbeat_stale_intervals:g} it counts as stale.",
            p.Query(q.largest(_overdue_intervals(view)), "intervals"),
            steps=charts.above(2, limits.heartbeat_stale_intervals),
            empty="no sessions",
            links=[view.link_to(Board.WORKER, "Worker drill-down")],
            size=(3, 4),
        ),
        charts.stat(
            "Expired leases",
            "Tasks whose holder is silent for longer than its TTL, or lost, and that no other "
            "session has claimed. They wait for a worker with a free slot.",
            p.Query(view.amount(c.LEASES, state=LeaseState.EXPIRED), "leases"),
            steps=charts.above(1),
            links=[takeovers],
            size=(3, 4),
        ),
        charts.stat(
            "Pending takeovers",
            "Unfinished runs whose holder is gone and that nobody has continued yet.",
            p.Query(view.amount(c.TAKEOVERS_PENDING), "runs"),
            steps=charts.above(1),
            links=[takeovers],
            size=(3, 4),
        ),
        charts.stat(
            "Unplanned takeovers",
            "Within five minutes: after a crash, after silence, or from a worker that was stuck. "
            "Each is a worker that left without saying so.",
            p.Query(view.count(c.TAKEOVERS, (), "5m", reason=UNPLANNED), "takeovers"),
            steps=charts.above(1, limits.takeover_storm),
            links=[takeovers],
            size=(3, 4),
            unit=charts.WHOLE,
        ),
        charts.stat(
            "Quarantined tasks",
            "Tasks that took several workers with them and were put aside. "
            "`baton tasks --troubled` names them; an operator decides.",
            p.Query(view.amount(c.TASKS, state=TaskState.QUARANTINED), "tasks"),
            steps=charts.above(1),
            links=[runs],
            size=(3, 4),
        ),
        charts.stat(
            "Store",
            "Whether the exporter can read the store. While it cannot, the panels about workers, "
            "leases and tasks are empty, and say nothing about the fleet.",
            p.Query(q.smallest(view.exporter.series(c.SOURCE_UP)), "store"),
            mappings=charts.words({0: ("unreadable", charts.RED), 1: ("readable", charts.GREEN)}),
            steps=charts.below(1),
            links=[view.link_to(Board.EXPORTER, "Exporter health")],
            size=(3, 4),
        ),
    )


def _share_of_expected(view: View) -> Expr:
    alive = q.aggregate("count", view.alive(), view.pool)
    nobody = view.expected() * 0
    return q.total(alive.where(nobody, on=view.pool).otherwise(nobody)) / q.total(view.expected())


def _overdue_intervals(view: View) -> Expr:
    """The age of each live session's heartbeat, in intervals."""
    state = view.exporter.state(c.WORKER_STATE, *LIVE_SESSION_STATES)
    live = q.largest(state, view.each).equals(1)
    return view.per_pool(view.heartbeat_age(), "/", view.interval()).where(live, on=view.each)


def _workers(view: View) -> p.Row:
    drill_down = view.link_to(Board.WORKER, "Open this worker", worker="${__value.raw}")
    limits = view.settings.thresholds
    return p.row(
        "Workers",
        charts.timeline(
            "State of each worker",
            "What the newest session of each worker is doing, as the store records it. A worker "
            "that died keeps its last state until its loss is established, then it is lost.",
            p.Query(view.coded(c.WORKER_STATE), "{{pool}} {{worker}}"),
            state_words(SESSION_LOOK),
        ),
        charts.table(
            "Workers",
            "Each worker by its newest session. A click on its name opens its drill-down. Progress "
            "is the last durable write: it grows old in an idle worker, and in a stuck one.",
            charts.Column(expr=view.now_in_state(c.WORKER_STATE)),
            charts.Column(expr=view.now_in_state(c.WORKER_HEARTBEAT_FRESHNESS)),
            charts.Column(
                expr=view.per_pool(view.heartbeat_age(), "/", view.interval()),
                heading="Heartbeat, intervals",
                steps=charts.above(2, limits.heartbeat_stale_intervals),
            ),
            charts.Column(expr=view.heartbeat_age(), heading="Heartbeat", unit="s"),
            charts.Column(
                expr=view.age_seconds(c.WORKER_PROGRESS_TIMESTAMP, view.each),
                heading="Progress",
                unit="s",
            ),
            charts.Column(expr=view.fact(c.WORKER_LEASES, view.each), heading="Leases"),
            charts.Column(expr=view.fact(c.WORKER_SLOTS, view.each), heading="Slots"),
            charts.Column(expr=view.fact(c.WORKER_INFO, (*view.each, "host", "kind", "version"))),
            labels={
                "worker": "Worker",
                "pool": "Pool",
                c.WORKER_STATE.name: "State",
                c.WORKER_HEARTBEAT_FRESHNESS.name: "Freshness",
                "host": "Host",
                "kind": "Kind",
                "version": "Version",
                **{label: label.title() for label in view.fleet},
            },
            colours={
                c.WORKER_STATE.name: {state.value: SESSION_LOOK[state] for state in SessionState},
                c.WORKER_HEARTBEAT_FRESHNESS.name: {
                    fresh.value: FRESHNESS_LOOK[fresh] for fresh in Freshness
                },
            },
            links={"worker": drill_down},
        ),
        charts.lines(
            "Workers by state",
            "How many workers are in which state. The dashed line is what `--expect` asks for.",
            p.Query(view.amount(c.WORKERS, ("state",)), "{{state}}"),
            p.Query(q.total(view.expected()), "expected", limit=True),
            unit=charts.WHOLE,
            size=(24, 8),
        ),
    )


def _work(view: View) -> p.Row:
    waits = view.settings.thresholds.queue_wait_seconds
    return p.row(
        "Work",
        charts.lines(
            "Tasks by state",
            "Tasks in the store. Pending tasks wait for a worker, interrupted ones for an answer.",
            p.Query(view.amount(c.TASKS, ("state",)), "{{state}}"),
            stacked=True,
            unit=charts.WHOLE,
            size=(6, 8),
        ),
        charts.lines(
            "Runs ended",
            "By how they ended, in the interval that each bar stands for.",
            p.Query(view.count(c.RUNS, ("outcome",)), "{{outcome}}"),
            unit="short",
            bars=True,
            stacked=True,
            size=(6, 8),
        ),
        charts.lines(
            "Durable steps",
            "Super-steps that became durable each second, by graph.",
            p.Query(view.rate(c.STEPS, ("graph",)), "{{graph}}"),
            unit="ops",
            stacked=True,
            size=(6, 8),
        ),
        charts.lines(
            "Longest wait for a worker",
            "Age of the longest waiting pending task of each pool; nothing where no task waits. "
            "Above the limit the pool has too few slots, or none of its workers has the graph.",
            p.Query(view.age_seconds(c.QUEUE_OLDEST_PENDING_TIMESTAMP, ("pool",)), "{{pool}}"),
            unit="s",
            steps=charts.above(waits),
            size=(6, 8),
        ),
    )


dashboard = board(Settings())
