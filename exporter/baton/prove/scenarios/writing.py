"""A scenario as a file, such as the parser reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any

import yaml

from baton.domain.continuity.concluding import Range
from baton.prove.scenarios.model import ALWAYS, Bounds, Fault, Scenario, Timing, Worker

_NOT_WRITTEN = ("line",)


def text_of(scenario: Scenario) -> str:
    """The file; what is as it is by default is left out.

    Args:
        scenario: read back, it is the same but for its origin, its digest and its lines.
    """
    document = {
        "id": scenario.id,
        "title": scenario.title,
        "hypothesis": scenario.hypothesis,
        "tags": list(scenario.tags),
        "seed": scenario.seed,
        "stock": _plain(scenario.stock),
        "topology": {
            "workers": [_changed(worker, Worker(name="")) for worker in scenario.topology.workers],
            "tasks": dict(scenario.topology.tasks),
            "hosts": scenario.topology.hosts,
        },
        "timing": _changed(scenario.timing, Timing()),
        "faults": [
            _changed(fault, Fault(name="", do=fault.do)) | _kind(fault) for fault in scenario.faults
        ],
        "expect": _expect(scenario),
        "engines": {name: {"no": why} for name, why in scenario.refused_by.items()},
    }
    said = {key: value for key, value in document.items() if value not in (None, [], {})}
    return yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=100)


def _kind(fault: Fault) -> dict[str, Any]:
    return {"do": fault.do.value}


def _changed(one: Any, plain: Any) -> dict[str, Any]:
    """The fields that are not as they are by default."""
    return {
        each.name: _plain(getattr(one, each.name))
        for each in fields(one)
        if each.name not in _NOT_WRITTEN and getattr(one, each.name) != getattr(plain, each.name)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, Range):
        return {
            k: v
            for k, v in (("at_least", value.at_least), ("at_most", value.at_most))
            if v is not None
        }
    if isinstance(value, Bounds):
        return _changed(value, Bounds())
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _expect(scenario: Scenario) -> dict[str, Any]:
    expect = scenario.expect
    said = {
        each.name: _plain(getattr(expect, each.name))
        for each in fields(expect)
        if each.name not in ("assertions", "must_fire")
        and getattr(expect, each.name) not in ((), {}, Range(), Bounds())
    }
    said["assertions"] = [name for name in expect.assertions if name not in ALWAYS]
    said["must_fire"] = list(expect.must_fire)
    return said
