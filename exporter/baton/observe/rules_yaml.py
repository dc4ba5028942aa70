"""The rules as files: for Prometheus, for Grafana's own alerting, and for Alertmanager.

Grafana's form is that of its file provisioning, flat, as its ``rules_types.go`` reads it;
grafanalib's is that of another interface (``grafana_alert``), so it is of no help here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from baton.observe.alerts import alert_groups, alerts, recording_groups
from baton.observe.alerts_self import SOURCE_DOWN, WATCHDOG
from baton.observe.rules import Alert, Group, Recording, Severity, duration
from baton.observe.settings import Settings

_HEAD = "# Rendered by `baton render`; do not edit by hand.\n"

_PROMETHEUS_HEAD = _HEAD + "# Every alert has its section in docs/runbook.md.\n"
_GRAFANA_HEAD = _HEAD + (
    "# For Grafana's own alerting, by file provisioning; a Prometheus that evaluates\n"
    "# baton-alerts.rules.yaml needs none of it. Prometheus has to evaluate\n"
    "# baton-records.rules.yaml in either case. The data source's uid is `prometheus`.\n"
)
_ALERTMANAGER_HEAD = _HEAD + (
    "# Names the routes and what inhibits what; put your own receivers in their places.\n"
)
#: How often Grafana evaluates; Prometheus has its own global interval.
_GRAFANA_INTERVAL = "30s"
#: How far back Grafana asks; the queries are instant ones.
_GRAFANA_RANGE_SECONDS = 600


class _Dumper(yaml.SafeDumper):
    """YAML with text of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def rule_files(settings: Settings) -> dict[str, str]:
    """The files of the ``alerts`` folder that are rendered, by their names.

    Raises:
        BadInput: the settings name an alert that does not exist.
    """
    return {
        "baton-records.rules.yaml": _prometheus(recording_groups(settings), settings),
        "baton-alerts.rules.yaml": _prometheus(alert_groups(settings), settings),
        "grafana-rules.yaml": _grafana(alert_groups(settings), settings),
        "alertmanager.yaml": _alertmanager(settings),
    }


def _document(head: str, value: Mapping[str, Any]) -> str:
    return head + yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _prometheus(groups: Iterable[Group], settings: Settings) -> str:
    rendered = [
        {
            "name": group.name,
            "rules": [
                _alert(rule, settings) if isinstance(rule, Alert) else _recording(rule)
                for rule in group.rules
            ],
        }
        for group in groups
    ]
    return _document(_PROMETHEUS_HEAD, {"groups": rendered})


def _alert(alert: Alert, settings: Settings) -> dict[str, Any]:
    hold, keep = alert.holds_seconds(settings), alert.keeps_seconds(settings)
    return {
        "alert": alert.name,
        "expr": alert.expr.text,
        **({"for": duration(hold)} if hold else {}),
        **({"keep_firing_for": duration(keep)} if keep else {}),
        "labels": {"severity": alert.severity.value},
        "annotations": alert.annotations(settings),
    }


def _recording(rule: Recording) -> dict[str, Any]:
    return {
        "record": rule.record,
        "expr": rule.expr.text,
        **({"labels": {name: str(value) for name, value in rule.labels}} if rule.labels else {}),
    }


def _grafana(groups: Iterable[Group], settings: Settings) -> str:
    rendered = [
        {
            "orgId": 1,
            "name": group.name,
            "folder": "Baton",
            "interval": _GRAFANA_INTERVAL,
            "rules": [
                _grafana_rule(rule, settings) for rule in group.rules if isinstance(rule, Alert)
            ],
        }
        for group in groups
    ]
    return _document(_GRAFANA_HEAD, {"apiVersion": 1, "groups": rendered})


def _grafana_rule(alert: Alert, settings: Settings) -> dict[str, Any]:
    """One rule: A asks Prometheus, and C holds for every series that A returns, also for a 0."""
    query = {
        "refId": "A",
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "expr": alert.expr.text,
        "instant": True,
        "range": False,
    }
    condition = {
        "refId": "C",
        "datasource": {"type": "__expr__", "uid": "__expr__"},
        "type": "math",
        "expression": "is_number($A)",
    }
    # In Grafana $value is a text of all values; the number is that of the query.
    annotations = {
        name: text.replace("$value", "$values.A.Value")
        for name, text in alert.annotations(settings).items()
    }
    return {
        "uid": alert.anchor,
        "title": alert.name,
        "condition": "C",
        "data": [_grafana_query("prometheus", query), _grafana_query("__expr__", condition)],
        "noDataState": "OK",
        "execErrState": "Error",
        "for": duration(alert.holds_seconds(settings)),
        "keepFiringFor": duration(alert.keeps_seconds(settings)),
        "annotations": annotations,
        "labels": {"severity": alert.severity.value},
        "isPaused": False,
    }


def _grafana_query(source: str, model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "refId": model["refId"],
        "relativeTimeRange": {"from": _GRAFANA_RANGE_SECONDS, "to": 0},
        "datasourceUid": source,
        "model": model,
    }


def _alertmanager(settings: Settings) -> str:
    """Routes by severity, and inhibition as the alerts say; the dead man's switch goes apart."""
    fleet = list(settings.by_fleet)
    document = {
        "route": {
            "receiver": "tickets",
            "group_by": ["alertname", *settings.by_pool],
            "group_wait": "10s",
            "group_interval": "1m",
            "repeat_interval": "4h",
            "routes": [
                {
                    "receiver": "dead-mans-switch",
                    "matchers": [f'alertname="{WATCHDOG}"'],
                    "group_wait": "0s",
                    "group_interval": "30s",
                    "repeat_interval": "1m",
                },
                {"receiver": "pages", "matchers": [f'severity="{Severity.CRITICAL}"']},
                {"receiver": "tickets", "matchers": [f'severity="{Severity.WARNING}"']},
                {"receiver": "log", "matchers": [f'severity="{Severity.INFO}"']},
            ],
        },
        "receivers": [{"name": name} for name in ("pages", "tickets", "log", "dead-mans-switch")],
        "inhibit_rules": [
            _inhibition(SOURCE_DOWN, [a.name for a in alerts(settings) if a.needs_source], fleet),
            *_inhibitions(settings),
        ],
    }
    return _document(_ALERTMANAGER_HEAD, document)


def _inhibitions(settings: Settings) -> list[dict[str, Any]]:
    """Who is inhibited by whom, in the order in which the alerts are written."""
    silenced: dict[str, list[str]] = {}
    for alert in alerts(settings):
        for source in alert.inhibited_by:
            silenced.setdefault(source, []).append(alert.name)
    return [
        _inhibition(source, targets, list(settings.by_pool)) for source, targets in silenced.items()
    ]


def _inhibition(source: str, targets: list[str], equal: list[str]) -> dict[str, Any]:
    return {
        "source_matchers": [f'alertname="{source}"'],
        "target_matchers": [f'alertname=~"{"|".join(targets)}"'],
        "equal": equal,
    }
