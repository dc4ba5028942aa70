"""docs/alerts.md, rendered from the rules so that it cannot fall behind them."""

from __future__ import annotations

from collections.abc import Iterable

from baton.observe.alerts import alert_groups, recording_groups
from baton.observe.alerts_self import SOURCE_DOWN, WATCHDOG
from baton.observe.rules import Alert, Group, Recording, Severity, duration
from baton.observe.settings import Settings

_HEAD = """\
# Alerts

Rendered by `baton render` from the rules; do not edit by hand.

- **critical** disturbs somebody now, **warning** somebody today, **info** nobody.
- **for** is how long a thing has to last. Ages are compared with each pool's own TTL and heartbeat
  interval, which the exporter serves as metrics: nothing has to be tuned for another TTL. They are
  ages at the last scrape, so that the pause between two scrapes is not taken for silence.
- Pages marked *outlives its series* go on firing for {keep} after their series are gone, which is
  longer than it takes `{source_down}` or `BatonExporterAbsent` to say why they are gone.
- `{source_down}` inhibits every alert that is read from the store, and a pool's larger trouble its
  smaller ones: see `alerts/alertmanager.yaml`.
- A planned rotation is silent: a session that stops by its own will owes no heartbeat.
- A lost worker is reported until it is back, until the exporter forgets it (`--retention`), or
  until its pool has as many live workers as `--expect` says. Give `--expect` where workers get a
  new name at each start.
- *Caused by* gives the ids of the scenarios whose faults are expected to raise the alert.
- Change budgets, thresholds, pools, job labels and links with `baton render --config FILE`.

Prometheus reads `alerts/baton-records.rules.yaml` and `alerts/baton-alerts.rules.yaml`;
`alerts/grafana-rules.yaml` is the same for those who have Grafana evaluate alerts instead.

## Start with these

{five}
"""

_TITLES = {
    "baton-fleet": "Workers and the fleet",
    "baton-leases": "Leases",
    "baton-takeovers": "Takeovers",
    "baton-tasks": "Tasks",
    "baton-continuity": "Continuity and the ledger",
    "baton-exporter": "The exporter itself",
}

_BUDGETS = """\
## Budgets of takeovers

A takeover lasts from the last sign of life of the old holder to the first node at the new one. It
is late if it takes longer than this; what is in between is rounded up to the next bucket of the
histogram.

| reason | budget |
|---|---|
| crashed | {crashed:g} s |
| heartbeat_lost | the pool's TTL and {lost:g} s |
| drained | {drained:g} s |
| progress_stalled, operator | none: a graph's own deadline, or a person's decision |
"""


def render_alerts_doc(settings: Settings) -> str:
    """The page, one table per group."""
    groups = alert_groups(settings)
    every = [rule for group in groups for rule in group.rules if isinstance(rule, Alert)]
    five = "\n".join(f"- {_link(alert)}: {alert.first_look}" for alert in every if alert.start_here)
    head = _HEAD.format(
        keep=duration(settings.keep_firing_seconds), source_down=SOURCE_DOWN, five=five
    )
    budgets = settings.budgets
    limits = _BUDGETS.format(
        crashed=budgets.crashed_seconds,
        lost=budgets.heartbeat_lost_beyond_ttl_seconds,
        drained=budgets.drained_seconds,
    )
    sections = (_section(group, settings) for group in groups)
    return "\n".join([head, *sections, limits, _recordings(recording_groups(settings))])


def _section(group: Group, settings: Settings) -> str:
    lines = [
        f"## {_TITLES[group.name]}",
        "",
        "| alert | severity | for | meaning | look first | caused by |",
        "|---|---|---|---|---|---|",
        *(_row(rule, settings) for rule in group.rules if isinstance(rule, Alert)),
        "",
    ]
    return "\n".join(lines)


def _row(alert: Alert, settings: Settings) -> str:
    survives = "<br>*outlives its series*" if alert.survives else ""
    severity = "always fires" if alert.name == WATCHDOG else _severity(alert.severity)
    cells = (
        _link(alert),
        severity + survives,
        duration(alert.holds_seconds(settings)),
        f"{_plain(alert.summary)} {_plain(alert.description)}",
        alert.first_look,
        ", ".join(alert.faults),
    )
    return f"| {' | '.join(cells)} |"


def _severity(severity: Severity) -> str:
    return f"**{severity}**" if severity is Severity.CRITICAL else str(severity)


def _link(alert: Alert) -> str:
    return f"[{alert.name}](runbook.md#{alert.anchor})"


def _plain(template: str) -> str:
    """A template with its places named and not filled."""
    for marked, plain in (("{{ $labels.", "*"), ("{{ $value", "*value"), (" }}", "*")):
        template = template.replace(marked, plain)
    for formatting in ("humanizeDuration", "humanizePercentage", "humanize"):
        template = template.replace(f" | {formatting}", "")
    return template


def _recordings(groups: Iterable[Group]) -> str:
    found = [rule for group in groups for rule in group.rules if isinstance(rule, Recording)]
    meanings = {rule.record: rule.meaning for rule in found}
    lines = [
        "## Recorded series",
        "",
        "| series | meaning |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in meanings.items()),
        "",
    ]
    return "\n".join(lines)
