"""A policy and rules in plain values: what a gate read from YAML, for whoever has no YAML.

A packet keeps them beside the files that they were read from, so that the gate's decision can be
judged again with the standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import date
from types import MappingProxyType
from typing import Any

from baton.domain.gate.facts import Rule
from baton.domain.gate.policy import Criterion, Enough, Kind, Limit, Policy, Waiver


def policy_to_plain(policy: Policy) -> dict[str, Any]:
    """A policy as JSON takes it."""
    plain: dict[str, Any] = {
        name: getattr(policy, name)
        for name in (
            *("name", "window_seconds", "interval_seconds", "stale_seconds", "gap_seconds"),
            *("coverage_min", "slack_seconds", "runbook"),
        )
    }
    return {
        **plain,
        "criteria": [_criterion_to_plain(one) for one in policy.criteria],
        "waivers": [{**asdict(one), "expires": str(one.expires)} for one in policy.waivers],
        "parameters": dict(policy.parameters),
    }


def policy_from_plain(plain: Mapping[str, Any]) -> Policy:
    """The policy that ``policy_to_plain`` gave.

    Raises:
        ValueError, KeyError, TypeError: it is not as it was written.
    """
    return Policy(
        **{
            **plain,
            "criteria": tuple(_criterion(one) for one in plain["criteria"]),
            "waivers": tuple(
                Waiver(**{**one, "expires": date.fromisoformat(one["expires"])})
                for one in plain["waivers"]
            ),
            "parameters": MappingProxyType(dict(plain["parameters"])),
        }
    )


def rules_to_plain(rules: Iterable[Rule]) -> list[Any]:
    """Rules as JSON takes them."""
    return [[*rule[:4], [list(label) for label in rule[4]]] for rule in rules]


def rules_from_plain(plain: Iterable[Any]) -> list[Rule]:
    """The rules that ``rules_to_plain`` gave.

    Raises:
        ValueError, TypeError: they are not as they were written.
    """
    return [
        (group, name, query, float(hold), tuple((str(key), str(value)) for key, value in labels))
        for group, name, query, hold, labels in plain
    ]


def _criterion_to_plain(one: Criterion) -> dict[str, Any]:
    return {
        **asdict(replace(one, options={})),
        "kind": one.kind.value,
        "must": _exactly(one.must),
        "should": None if one.should is None else _exactly(one.should),
        "options": {name: list(values) for name, values in one.options.items()},
    }


def _exactly(limit: Limit) -> list[Any]:
    """A limit by its parts; its text is rounded."""
    return [limit.sign, limit.bound]


def _criterion(plain: Mapping[str, Any]) -> Criterion:
    enough, should = plain["enough"], plain["should"]
    return Criterion(
        **{
            **plain,
            "kind": Kind(plain["kind"]),
            "enough": None if enough is None else Enough(**enough),
            "must": Limit(*plain["must"]),
            "should": None if should is None else Limit(*should),
            "needs": tuple(plain["needs"]),
            "options": MappingProxyType(
                {name: tuple(values) for name, values in plain["options"].items()}
            ),
        }
    )
