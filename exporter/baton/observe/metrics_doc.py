"""docs/metrics.md, rendered from the catalogue so that it cannot fall behind it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from baton.domain.catalogue import CATALOGUE, SOURCE_UP
from baton.domain.metric import Metric, Source

_HEAD = f"""\
# Metrics

Rendered by `baton render` from the metric catalogue; do not edit by hand.

- **source**: the `exporter` reads the store at scrape time and speaks for the dead as well as
  for the living. A `worker` serves only what it alone can time, and only if it was started with
  `--metrics`; service discovery at `/sd/workers` attaches `worker` and `pool` to those targets.
- **stability**: a `stable` metric keeps its name, type and labels, and may gain label values.
  An `experimental` one may change in any release.
- Counts whose labels are known exist from the start at 0. A timestamp with nothing to date is
  absent. While `{SOURCE_UP.name}` is 0 the series read from the store are withdrawn.
- The ids of tasks, runs and steps are never labels. They are in the exemplars of the metrics
  marked so below (ask for OpenMetrics), in the ledger, and in `baton tasks --troubled`.
- Counts of what happened in the fleet are folds of the ledger: a restart of the exporter
  neither resets them nor counts anything twice.
- `info` and `stateset` are types of OpenMetrics; in a query both are gauges. A state set has one
  series per state, 1 for the state it is in, and its label is named as the metric.
"""

_TITLES = {
    "session": "Workers and their sessions",
    "lease": "Leases",
    "takeover": "Takeovers",
    "task": "Tasks, runs and steps",
    "continuity": "Continuity and the ledger",
    "worker": "Inside a worker",
    "self": "The exporter itself",
}


def render_metrics_doc() -> str:
    """The page, one table per group in the catalogue's order."""
    groups = groupby(CATALOGUE, key=lambda metric: metric.group)
    return "\n".join([_HEAD, *(_section(_TITLES[group], metrics) for group, metrics in groups)])


def _section(title: str, metrics: Iterable[Metric]) -> str:
    lines = [
        f"## {title}",
        "",
        "| metric | type | labels | source | stability | meaning | blind spot |",
        "|---|---|---|---|---|---|---|",
        *map(_row, metrics),
        "",
    ]
    return "\n".join(lines)


def _row(metric: Metric) -> str:
    kind = f"{metric.type} with exemplars" if metric.exemplars else str(metric.type)
    cells = (
        f"`{metric.name}`",
        kind,
        "<br>".join(_label(metric, label) for label in metric.series_labels),
        _served_by(metric),
        str(metric.stability),
        metric.help,
        " ".join(filter(None, (metric.blind_spot, metric.diagnostic and _diagnostic(metric)))),
    )
    return f"| {' | '.join(cells)} |"


def _label(metric: Metric, label: str) -> str:
    values: tuple[str, ...] = ()
    if label in metric.known.labels:
        values = metric.known.values(label)
    elif label == metric.name:
        values = metric.states
    return f"`{label}`" + (f": {', '.join(values)}" if values else "")


def _served_by(metric: Metric) -> str:
    return "**worker**" if metric.source is Source.WORKER else str(metric.source)


def _diagnostic(metric: Metric) -> str:
    return f"*No alert needs it: {metric.diagnostic[0].lower()}{metric.diagnostic[1:]}*"
