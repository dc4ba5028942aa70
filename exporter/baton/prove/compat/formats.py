"""What the formats of files know: those that Baton reads, by listening to its readers; the report.

A reader is heard while it reads a file that leads it everywhere. What it asks for is the format,
so that this cannot fall behind the reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import Any

from baton import content
from baton.domain.compat import Things, Value
from baton.domain.gate.policy import Criterion
from baton.domain.words import TakeoverReason
from baton.errors import BatonError
from baton.prove.gate import parse as policies
from baton.prove.scenarios import parse as scenarios
from baton.prove.scenarios.model import GRAPH_NAMES, ROLES, Fault, Timing, Worker
from baton.prove.scenarios.reader import Asked, listening

_NOTHING_MORE: Mapping[str, Value] = MappingProxyType({})

_SCENARIO = """\
id: everything
title: leads to every key
hypothesis: a scenario may say all this
topology:
  hosts: shared
  workers: [{name: w-1}, {name: w-2}]
  tasks: {chain: 1}
timing: {}
faults:
  - {name: kill, do: sigkill, at: step.begin, actor: w-1, task: chain-1, of: everything}
engines: {proc: {no: "because"}}
expect:
  lease: {every: [H1 D]}
  takeovers: {at_least: 0}
  refusals: {at_least: 0}
  duplicates: {at_least: 0}
  assertions: []
  must_fire: [kill]
  alerts: []
  silent: []
  quiet_tasks: []
  bounds: {takeover_seconds: {crashed: 1}}
"""

_CRITERION = "question: q, why: w, next: n, owner: o, must: '== 0'"
_POLICY = f"""\
version: {policies.FORMAT}
name: everything
parameters: {{a: 1}}
criteria:
  - {{id: COV-A, {_CRITERION}, query: up, samples: up, empty_is: 0, should: '== 0',
      enough: {{query: up, at_least: 1}}}}
  - {{id: COV-B, {_CRITERION}, check: catalogue, with: {{optional: []}}}}
  - {{id: COV-C, {_CRITERION}, check: assertions, with: {{assertions: []}}}}
  - {{id: COV-D, {_CRITERION}, check: agreement, with: {{metrics: []}}}}
  - {{id: COV-E, {_CRITERION}, check: evidence, with: {{file: a, at: /a, field: /b, wants: c}}}}
waivers:
  - {{criterion: COV-A, owner: o, reason: r, expires: 2030-01-01}}
"""

#: Words that only belong to the file that was read.
_OF_THE_FILE = re.compile(r"of (this|the) (scenario|policy|catalogue)|task")


def scenario_format() -> Things:
    """What a scenario may say."""
    asked, read = _heard(lambda: scenarios.parse("everything", _SCENARIO))
    words = (
        *(f"faults[] actor={role}" for role in ROLES),
        *(f"tasks={graph}" for graph in GRAPH_NAMES),
        *(f"takeover_seconds={reason}" for reason in TakeoverReason),
    )
    return {
        **read,
        **_of_tables(asked, {"timing": Timing, "faults[]": Fault, "workers[]": Worker}),
        **dict.fromkeys(words, _NOTHING_MORE),
    }


def policy_format() -> Things:
    """What a gate policy may say."""
    asked, read = _heard(lambda: policies.parse("everything", _POLICY))
    built_in: Things = {
        f"parameters {name}": {"required": False, "default": default}
        for name, default in policies.BUILT_IN.items()
        if name not in ("version", "contract")  # whose defaults are this very version's
    }
    format_: Things = {"version": {"reads": policies.FORMAT}}
    return {**read, **format_, **_of_tables(asked, {"criteria[]": Criterion}), **built_in}


def _heard(read: Callable[[], object]) -> tuple[Asked, Things]:
    """What a reader asks for, and whether it takes a file that says everything."""
    with listening() as asked:
        try:
            read()
            taken: Value = True
        except BatonError as error:
            taken = str(error)
    return asked, {"a file that says everything": {"is read": taken}}


def report_format() -> Things:
    """What report.json holds, from the schema that its tests hold it to."""
    text = (content.root() / "contract" / "report.schema.json").read_text(encoding="utf-8")
    return dict(_of_schema("report.json", json.loads(text)))


def _of_tables(asked: Asked, defaults: Mapping[str, type]) -> Things:
    found: dict[str, Mapping[str, Value]] = {}
    for (table, key), required in asked.keys.items():
        name = _plain(table)
        found.setdefault(name, _NOTHING_MORE)
        facts: dict[str, Value] = {"required": required}
        if name in defaults:
            facts |= _default(defaults[name], key)
        found[f"{name} {key}"] = facts
    for (key, word), what in asked.words.items():
        if not _OF_THE_FILE.search(what):
            found[f"{_plain(key)}={word}"] = _NOTHING_MORE
    return found


def _plain(name: str) -> str:
    """``faults[3]`` as ``faults[]``."""
    return re.sub(r"\[\d+\]", "[]", name)


def _default(kind: type, key: str) -> dict[str, Value]:
    for one in fields(kind):
        if one.name == key and one.default is not MISSING:
            plain = isinstance(one.default, str | int | float | None)
            return {"default": one.default} if plain else {}
    return {}


def _of_schema(path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Value]]]:
    """The places of a document, such as ``report.json tasks[].holder``."""
    yield from _words(path, node)
    for name, inner in node.get("properties", {}).items():
        below = f"{path}{'.' if ' ' in path else ' '}{name}"
        yield below, {"always": name in node.get("required", ()), "type": ", ".join(_types(inner))}
        yield from _of_schema(below, inner)
    for inner in node.get("anyOf", ()):
        yield from _of_schema(path, inner)
    if isinstance(node.get("items"), dict):
        yield from _of_schema(f"{path}[]", node["items"])
    for name, inner in node.get("$defs", {}).items():
        yield from _of_schema(f"<{name}>", inner)


def _words(path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Value]]]:
    words = node.get("enum", [node["const"]] if "const" in node else [])
    for word in words:
        yield f"{path}={'null' if word is None else word}", _NOTHING_MORE


def _types(node: Mapping[str, Any]) -> list[str]:
    said = node.get("type", [])
    types = {*([said] if isinstance(said, str) else said)}
    if "$ref" in node:
        types.add(f"<{node['$ref'].rpartition('/')[2]}>")
    for inner in node.get("anyOf", ()):
        types |= set(_types(inner))
    if isinstance(node.get("items"), dict):
        types |= {f"{inner}[]" for inner in _types(node["items"])} - {"array[]"}
    for value in node.get("enum", [node["const"]] if "const" in node else []):
        types.add({str: "string", bool: "boolean", int: "integer"}.get(type(value), "null"))
    return sorted(types)
