"""Every alert and recording rule, in groups."""

from __future__ import annotations

from baton.errors import BadInput
from baton.observe.alerts_fleet import fleet_alerts
from baton.observe.alerts_self import continuity_alerts, exporter_alerts
from baton.observe.alerts_takeover import lease_alerts, takeover_alerts, task_alerts
from baton.observe.rules import Alert, Group
from baton.observe.settings import Settings
from baton.observe.terms import Terms


def alert_groups(settings: Settings) -> tuple[Group, ...]:
    """The alerts, by what they speak of.

    Raises:
        BadInput: the settings name an alert that does not exist.
    """
    terms = Terms(settings)
    groups = (
        fleet_alerts(terms),
        lease_alerts(terms),
        takeover_alerts(terms),
        task_alerts(terms),
        continuity_alerts(terms),
        exporter_alerts(terms),
    )
    known = [rule.name for group in groups for rule in group.rules if isinstance(rule, Alert)]
    if odd := sorted(set(settings.hold_seconds) - set(known)):
        said = f"hold_seconds names {', '.join(odd)}; alerts are {', '.join(sorted(known))}"
        raise BadInput(detail=said)
    return groups


def recording_groups(settings: Settings) -> tuple[Group, ...]:
    """The recording rules, which alerts and dashboards build on."""
    return Terms(settings).recordings()


def alerts(settings: Settings) -> tuple[Alert, ...]:
    """The alerts alone, in order."""
    return tuple(
        rule for group in alert_groups(settings) for rule in group.rules if isinstance(rule, Alert)
    )
