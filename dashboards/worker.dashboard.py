"""Worker drill-down: does it beat, does it work, and how long until it loses its tasks?"""

from __future__ import annotations

from typing import Any

from baton.domain import catalogue as c
from baton.observe import charts
from baton.observe import panels as p
from baton.observe import promql as q
from baton.observe.boards import (
    FRESHNESS_LOOK,
    RATE,
    SESSION_LOOK,
    View,
    render,
    state_words,
)
from baton.observe.settings import Board, Settings


def board(settings: Settings) -> Any:
    """The board for these settings."""
    view = View(settings, "worker")
    return render(
        Board.WORKER,
        "Worker drill-down",
        "Does this worker beat, does it work, and how long until it loses its tasks?",
        [_chosen(view), _each(view), _inside(view)],
        view,
    )


def _chosen(view: View) -> p.Row:
    return p.row(
        "Chosen workers",
        charts.timeline(
            "State",
            "What the newest session of each worker is doing, as the store records it.",
            p.Query(view.coded(c.WORKER_STATE), "{{worker}}"),
            state_words(SESSION_LOOK),
            size=(12, 8),
        ),
        charts.timeline(
            "Heartbeat",
            "Running: younger than two intervals. Warning: younger than the TTL. Stale: older; "
            "another session may declare it lost, and claim what it holds.",
            p.Query(view.coded(c.WORKER_HEARTBEAT_FRESHNESS), "{{worker}}"),
            state_words(FRESHNESS_LOOK),
            size=(12, 8),
        ),
        charts.table(
            "Sessions",
            "The newest session of each worker: where it runs, what it is, what it would run.",
            charts.Column(
                expr=view.fact(c.WORKER_INFO, (*view.each, "host", "kind", "version", "graphs"))
            ),
            charts.Column(expr=view.now_in_state(c.WORKER_STATE)),
            labels={
                "worker": "Worker",
                "pool": "Pool",
                c.WORKER_STATE.name: "State",
                "host": "Host",
                "kind": "Kind",
                "version": "Version",
                "graphs": "Graphs",
                **{label: label.title() for label in view.fleet},
            },
            colours={
                c.WORKER_STATE.name: {state.value: look for state, look in SESSION_LOOK.items()}
            },
            links={"pool": view.link_to(Board.FLEET, "Open its pool", pool="${__value.raw}")},
            size=(24, 5),
        ),
    )


def _each(view: View) -> p.Row:
    limits = view.settings.thresholds
    # Each worker's own copy of what is known of its pool: an info series is always 1.
    info = view.fact(c.WORKER_INFO, view.each)
    stale = view.per_pool(info, "*", view.interval() * limits.heartbeat_stale_intervals)
    left = view.fact(c.LEASE_EXPIRY_TIMESTAMP, view.each) - q.now()
    return p.row(
        "$worker",
        charts.lines(
            "Age of the heartbeat",
            "A saw: it falls to 0 with each heartbeat. The dashed lines are where it counts as "
            "stale, and the TTL, after which the worker may be declared lost.",
            p.Query(q.largest(view.exporter.series(c.WORKER_HEARTBEAT_AGE), ("worker",)), "age"),
            p.Query(stale, "stale", limit=True),
            p.Query(view.per_pool(info, "*", view.ttl()), "TTL", limit=True),
            unit="s",
        ),
        charts.lines(
            "Time since progress",
            "Since the last durable write. It grows in an idle worker and inside one long node; "
            "with leases held and above the limit, the worker is stuck.",
            p.Query(view.age_seconds(c.WORKER_PROGRESS_TIMESTAMP, ("worker",)), "progress"),
            unit="s",
            steps=charts.above(limits.progress_stalled_seconds),
        ),
        charts.lines(
            "Leases and slots",
            "Tasks that it holds, of those that it can run at once.",
            p.Query(view.amount(c.WORKER_LEASES, ("worker",)), "leases"),
            p.Query(view.amount(c.WORKER_SLOTS, ("worker",)), "slots", limit=True),
            unit=charts.WHOLE,
        ),
        charts.lines(
            "Time left on its leases",
            "As a share of the TTL; nothing while it holds none. Below the limit it renews late: "
            "the store is slow, or the process does not get to run.",
            p.Query(
                q.smallest(view.per_pool(left, "/", view.ttl()), ("worker",)),
                "time left",
            ),
            unit="percentunit",
            steps=charts.below(limits.renewal_margin_ratio),
        ),
        charts.lines(
            "Heartbeats by result",
            "Each second, as the worker saw them. It says nothing while it is frozen or cut off; "
            "the age of its heartbeat does.",
            p.Query(view.rate(c.HEARTBEAT_DURATION, ("result",), "_count"), "{{result}}"),
            unit="ops",
            stacked=True,
        ),
        charts.lines(
            "Checkpoint writes",
            "Until a checkpoint was durable, with its fence and its event in the ledger. Slow "
            "writes in every worker are the store's; in one, its own.",
            p.Query(view.worker.quantile(0.5, c.CHECKPOINT_WRITE, RATE), "p50"),
            p.Query(view.worker.quantile(0.99, c.CHECKPOINT_WRITE, RATE), "p99"),
            unit="s",
            steps=charts.above(limits.checkpoint_write_seconds),
        ),
        repeat="worker",
    )


def _inside(view: View) -> p.Row:
    by_node = q.total(view.worker.increase(c.NODE_DURATION, RATE, "_bucket"), ("le",))
    return p.row(
        "Nodes of the chosen workers",
        charts.heatmap(
            "Time in a node",
            "How long the bodies of nodes ran, whether they returned or raised. The body that was "
            "running when its worker died is not in it.",
            p.Query(by_node, "{{le}}"),
            unit="s",
        ),
        charts.lines(
            "Time in a node, p95",
            "By graph and node: which one holds the worker up?",
            p.Query(
                view.worker.quantile(0.95, c.NODE_DURATION, RATE, ("graph", "node")),
                "{{graph}} {{node}}",
            ),
            unit="s",
            size=(12, 9),
        ),
    )


dashboard = board(Settings())
