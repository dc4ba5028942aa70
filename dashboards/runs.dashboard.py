"""Tasks, runs and steps: what waits, what ends how, and what takes how long?"""

from __future__ import annotations

from typing import Any

from baton.domain import catalogue as c
from baton.domain.words import TaskState
from baton.observe import charts
from baton.observe import panels as p
from baton.observe import promql as q
from baton.observe.boards import RANGE, RATE, View, render
from baton.observe.settings import Board, Settings

_TASK_COLOURS = {TaskState.FAILED: charts.RED, TaskState.QUARANTINED: charts.RED}


def board(settings: Settings) -> Any:
    """The board for these settings."""
    view = View(settings, "graph")
    return render(
        Board.RUNS,
        "Tasks, runs and steps",
        "What waits, what ends how, and what takes how long?",
        [_tasks(view), _steps(view), _effects(view)],
        view,
    )


def _tasks(view: View) -> p.Row:
    waits = view.settings.thresholds.queue_wait_seconds
    return p.row(
        "Tasks and runs",
        *(
            charts.stat(
                state.title(),
                why,
                p.Query(view.amount(c.TASKS, state=state), state.value),
                steps=charts.above(1) if state in _TASK_COLOURS else charts.plain(),
            )
            for state, why in {
                TaskState.PENDING: "Tasks that wait for a worker.",
                TaskState.ACTIVE: "Tasks that a session holds.",
                TaskState.INTERRUPTED: "Tasks that wait for an answer: `baton tasks resume`.",
                TaskState.DONE: "Tasks whose last run ended well.",
                TaskState.FAILED: "Tasks whose last run raised: `baton tasks retry`.",
                TaskState.QUARANTINED: "Tasks put aside because workers died of them: "
                "`baton tasks --troubled` names them.",
            }.items()
        ),
        charts.lines(
            "Tasks by state",
            "Of the chosen graphs.",
            p.Query(view.amount(c.TASKS, ("state",)), "{{state}}"),
            stacked=True,
            unit=charts.WHOLE,
        ),
        charts.lines(
            "Runs ended",
            "By how they ended, in the interval of each bar. A takeover continues a run and does "
            "not end it.",
            p.Query(view.count(c.RUNS, ("outcome",)), "{{outcome}}"),
            unit="short",
            bars=True,
            stacked=True,
        ),
        charts.lines(
            "Longest wait for a worker",
            "Age of the longest waiting pending task of each pool; nothing where no task waits.",
            p.Query(view.age_seconds(c.QUEUE_OLDEST_PENDING_TIMESTAMP, ("pool",)), "{{pool}}"),
            unit="s",
            steps=charts.above(waits),
        ),
        charts.gauges(
            "Tasks by graph",
            "Tasks of each graph that are not done.",
            p.Query(view.amount(c.TASKS, ("graph",), state=_UNFINISHED), "{{graph}}"),
            unit="short",
            size=(12, 6),
        ),
        charts.gauges(
            "Runs that failed or were put aside",
            "In the time shown, by graph.",
            p.Query(
                view.count(
                    c.RUNS, ("graph",), RANGE, outcome=(TaskState.FAILED, TaskState.QUARANTINED)
                ),
                "{{graph}}",
            ),
            unit="short",
            steps=charts.above(1),
            size=(12, 6),
        ),
    )


_UNFINISHED = tuple(state for state in TaskState if state is not TaskState.DONE)


def _steps(view: View) -> p.Row:
    limit = view.settings.thresholds.checkpoint_write_seconds
    by = (*view.fleet, "graph", "le")
    seen = q.largest(view.exporter.increase(c.STEP_DURATION, RATE, "_bucket"), by)
    return p.row(
        "Steps",
        charts.lines(
            "Durable steps",
            "Super-steps that became durable each second, by graph.",
            p.Query(view.rate(c.STEPS, ("graph",)), "{{graph}}"),
            unit="ops",
            stacked=True,
        ),
        charts.lines(
            "Time of a step, p95",
            "Between two durable super-steps of one run at one holder, by graph. The first step "
            "after a claim has no predecessor and is not in it.",
            p.Query(view.exporter.quantile(0.95, c.STEP_DURATION, RATE, ("graph",)), "{{graph}}"),
            unit="s",
        ),
        charts.lines(
            "Time of a node, p95",
            "As the workers saw it, by graph and node.",
            p.Query(
                view.worker.quantile(0.95, c.NODE_DURATION, RATE, ("graph", "node")),
                "{{graph}} {{node}}",
            ),
            unit="s",
        ),
        charts.heatmap(
            "Time of a step",
            "All chosen graphs together.",
            p.Query(q.total(seen, ("le",)), "{{le}}"),
            unit="s",
        ),
        charts.lines(
            "Checkpoint writes",
            "Until a checkpoint was durable, with its fence and its event in the ledger, over all "
            "workers. Above the limit the store is the bottleneck.",
            p.Query(view.worker.quantile(0.5, c.CHECKPOINT_WRITE, RATE), "p50"),
            p.Query(view.worker.quantile(0.99, c.CHECKPOINT_WRITE, RATE), "p99"),
            unit="s",
            steps=charts.above(limit),
            size=(12, 9),
        ),
    )


def _effects(view: View) -> p.Row:
    return p.row(
        "Repeated work and effects",
        charts.lines(
            "Steps begun again",
            "Super-steps whose nodes began again because a takeover interrupted them, by pool, in "
            "the interval of each bar.",
            p.Query(view.count(c.STEPS_REPLAYED, ("pool",)), "{{pool}}"),
            unit="short",
            bars=True,
            stacked=True,
            size=(12, 8),
        ),
        charts.lines(
            "Effects",
            "Calls of `baton.once`, in the interval of each bar. Deduplicated ones were answered "
            "from the record: that is the promise being kept.",
            p.Query(view.count(c.EFFECTS, ("outcome",)), "{{outcome}}"),
            unit="short",
            bars=True,
            stacked=True,
            size=(12, 8),
        ),
    )


dashboard = board(Settings())
