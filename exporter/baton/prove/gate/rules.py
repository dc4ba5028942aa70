"""The rules of a rule file, as the gate compares them with what a Prometheus has loaded."""

from __future__ import annotations

import yaml

from baton.domain.gate import facts
from baton.domain.gate.policy import seconds_of


def rules_in(text: bytes) -> list[facts.Rule]:
    """The rules of a rule file."""
    found: list[facts.Rule] = []
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            hold = seconds_of(rule["for"]) if "for" in rule else 0.0
            labels = tuple(sorted((rule.get("labels") or {}).items()))
            name = rule.get("alert") or rule["record"]
            found.append((group["name"], name, rule["expr"], hold, labels))
    return found
