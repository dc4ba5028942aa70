"""The contract: what was added is told, and what was changed or removed fails, by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.support.command import Command
from tools.freeze_contract import frozen

from baton import cli, content
from baton.cli import compat, gate, soak
from baton.domain.catalogue import CATALOGUE
from baton.domain.compat import Kind, Value, differences, holds
from baton.domain.gate.facts import evidence_holds
from baton.domain.gate.words import Decision
from baton.domain.ledger_schema import event_schema, payload_schema
from baton.domain.metric import Stability
from baton.domain.shapes import SHAPES
from baton.domain.words import EventType
from baton.prove.compat import baseline, facts, formats
from baton.prove.scenarios import parse as scenarios

ROOT = Path(__file__).parents[2]

#: Does something to the real sources of the contract.
Plant = Callable[[pytest.MonkeyPatch], None]

METRIC = next(metric for metric in CATALOGUE if metric.known.labels)
BUCKETED = next(metric for metric in CATALOGUE if metric.buckets)
CLAIMED = SHAPES[EventType.CLAIMED]


def put(target: Any, name: str, value: Any) -> Plant:
    """Put something else in a name's place."""
    return lambda patch: patch.setattr(target, name, value)


def catalogue(changed: Any, by: Any = None) -> Plant:
    """The catalogue with one metric replaced, or without it."""
    kept = [by if one is changed else one for one in CATALOGUE]
    return put(facts, "CATALOGUE", [one for one in kept if one is not None])


def claimed(**changes: Any) -> Plant:
    """The ledger with another shape of one event."""
    return put(facts, "SHAPES", {**SHAPES, EventType.CLAIMED: replace(CLAIMED, **changes)})


def without(mapping: Mapping[str, str], key: str) -> dict[str, str]:
    """A mapping without a key that it has."""
    return {name: value for name, value in mapping.items() if name != key}


def schema(change: Callable[[dict[str, Any]], object]) -> Plant:
    """The report's schema after a change."""
    found = json.loads((content.root() / "contract" / "report.schema.json").read_text())
    change(found)
    stand_in = SimpleNamespace(loads=lambda _: found)
    return put(formats, "json", stand_in)


def soaking(change: Callable[[Any], object]) -> Plant:
    """``baton soak`` after a change of its parser."""

    def add(verbs: Any) -> None:
        soak.add(verbs)
        change(verbs.choices["soak"])

    stand_in = SimpleNamespace(add=add, __name__=soak.__name__)
    return put(cli, "VERBS", [stand_in if verb is soak else verb for verb in cli.VERBS])


def option(**settings: Any) -> Plant:
    """``baton soak`` with one option more."""
    return soaking(lambda parser: parser.add_argument("--more", help="more.", **settings))


BROKEN: dict[str, tuple[Plant, str]] = {
    "a metric": (catalogue(METRIC), f"removed: metrics: {METRIC.name}"),
    "a label more, which splits every series": (
        catalogue(METRIC, replace(METRIC, labels=(*METRIC.labels, "host"))),
        f"changed: metrics: {METRIC.name} (labels was ",
    ),
    "a bucket": (
        catalogue(BUCKETED, replace(BUCKETED, buckets=BUCKETED.buckets[1:])),
        f"removed: metrics: {BUCKETED.name} le={BUCKETED.bounds[0]}",
    ),
    "a metric called experimental": (
        catalogue(METRIC, replace(METRIC, stability=Stability.EXPERIMENTAL)),
        f"removed: metrics: {METRIC.name}",
    ),
    "a verb": (
        put(cli, "VERBS", [verb for verb in cli.VERBS if verb is not soak]),
        "removed: command line: baton soak --cycles",
    ),
    "an option": (
        put(gate, "_add_access", lambda _: None),
        "removed: command line: baton gate --token-file",
    ),
    "a default": (
        soaking(lambda parser: parser.set_defaults(seed=2)),
        "changed: command line: baton soak --seed (default was nothing, is 2)",
    ),
    "a new option that has to be given": (
        option(required=True),
        "changed: command line: baton soak --more (it is new, and has to be given)",
    ),
    "a field of the ledger": (
        put(facts, "FIELDS", tuple(name for name in facts.FIELDS if name != "wall")),
        "changed: ledger: field wall (place in the hash was 4, is nothing)",
    ),
    "a key of a payload": (
        claimed(payload=without(CLAIMED.payload, "ready_at")),
        "removed: ledger: claimed payload.ready_at",
    ),
    "a key that may be missing now": (
        claimed(payload=without(CLAIMED.payload, "ready_at"), further={"ready_at": "at times"}),
        "changed: ledger: claimed payload.ready_at (always was yes, is no)",
    ),
    "the hash": (
        put(facts, "digest", lambda _: "0" * 64),
        "changed: ledger: hash (of known fields was 'dd3695",
    ),
    "an exit code": (
        put(facts, "GATE_EXIT_CODES", {**facts.GATE_EXIT_CODES, Decision.NO_GO: 5}),
        "changed: exit codes: gate: NO-GO (code was 1, is 5)",
    ),
    "an exit code that is gone": (
        put(facts, "GATE_EXIT_CODES", {Decision.GO: 0}),
        "removed: exit codes: gate: INCONCLUSIVE",
    ),
    "the code of a refusal": (
        put(facts.errors.StoreNewer, "exit_code", 3),
        "changed: exit codes: error: StoreNewer (code was 4, is 3)",
    ),
    "a word of the scenarios": (
        put(formats, "GRAPH_NAMES", formats.GRAPH_NAMES[1:]),
        f"removed: scenario: tasks={formats.GRAPH_NAMES[0]}",
    ),
    "a key of the policies": (
        put(formats.policies, "OPTIONS", dict.fromkeys(formats.policies.OPTIONS, ((), ()))),
        "changed: gate policy: a file that says everything (is read was yes, is ",
    ),
    "an engine of the scenarios": (
        put(scenarios, "ENGINES", ("sim",)),
        "removed: scenario: engines proc",
    ),
    "a place of the report": (
        schema(lambda found: found["properties"].pop("measures")),
        "removed: report: report.json measures",
    ),
    "a place of the report that may be missing now": (
        schema(lambda found: found["required"].remove("bounds")),
        "changed: report: report.json bounds (always was yes, is no)",
    ),
    "a place in the packet": (
        put(facts, "LAYOUT", facts.LAYOUT[1:]),
        f"removed: packet: {facts.LAYOUT[0].path}",
    ),
    "a method": (
        put(facts, "_METHODS", {"Fleet": ("attach",)}),
        "removed: python: baton.Fleet.submit",
    ),
}

ADDED: dict[str, tuple[Plant, str]] = {
    "a metric": (
        put(facts, "CATALOGUE", [*CATALOGUE, replace(BUCKETED, name="langgraph_more_seconds")]),
        "added: metrics: langgraph_more_seconds",
    ),
    "an option": (option(default=1), "added: command line: baton soak --more"),
    "a key of a payload": (
        claimed(payload={**CLAIMED.payload, "more": "more"}),
        "added: ledger: claimed payload.more",
    ),
    "a key that is always there now": (
        claimed(payload={**CLAIMED.payload, "evidence": "as before"}, with_reason={
            key: text for key, text in CLAIMED.with_reason.items() if key != "evidence"
        }),
        "added: ledger: claimed payload.evidence (it is always there now)",
    ),
    "an exit code": (
        lambda patch: patch.setattr(compat, "EXIT_MORE", 7, raising=False),
        "added: exit codes: compat: more",
    ),
    "a word of the scenarios": (
        put(formats, "GRAPH_NAMES", (*formats.GRAPH_NAMES, "more")),
        "added: scenario: tasks=more",
    ),
    "a place of the report": (
        schema(lambda found: found["properties"].update(more={"type": "string"})),
        "added: report: report.json more",
    ),
}  # fmt: skip


def test_this_version_keeps_the_promise(command: Command) -> None:
    """Nothing that the baseline promises was changed or removed."""
    said = command("compat", "--check")
    assert said.code == 0, said.out
    assert "the promise is kept" in said.out or "as it was promised" in said.out


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_taken_away_fails_by_name(
    what: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is planted in the real source, and the check exits 1 and names it."""
    plant, line = BROKEN[what]
    plant(monkeypatch)
    said = command("compat", "--check", "--surface", line.split(": ")[1])
    assert said.code == 1
    assert any(each.startswith(line) for each in said.out.splitlines()), said.out
    assert said.out.splitlines()[-1].startswith("FAIL: ")
    assert "the promise is broken" in said.out


@pytest.mark.parametrize("what", ADDED)
def test_what_is_added_passes_and_is_told(
    what: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each addition exits 0 and is named."""
    plant, line = ADDED[what]
    plant(monkeypatch)
    said = command("compat", "--check", "--surface", line.split(": ")[1])
    assert said.code == 0, said.out
    assert line in said.out.splitlines()
    assert "the promise is kept" in said.out


THING: dict[str, Value] = {"required": True, "default": 1}


@pytest.mark.parametrize(
    ("was", "now", "kind"),
    [
        (THING, {**THING, "required": False}, Kind.ADDED),
        ({**THING, "required": False}, THING, Kind.CHANGED),
        (THING, {**THING, "default": True}, Kind.CHANGED),
        (THING, {**THING, "default": 1.0}, None),
        (THING, {**THING, "more": 1}, None),
        (THING, {"required": True}, Kind.CHANGED),
        ({"always": False}, {"always": True}, Kind.ADDED),
        ({"always": True}, {"always": False}, Kind.CHANGED),
        ({"always": True}, {}, Kind.CHANGED),
    ],
)
def test_facts_are_compared_for_who_builds_on_them(
    was: dict[str, Value], now: dict[str, Value], kind: Kind | None
) -> None:
    """What may be given less often, and what may be relied on more often, is no harm."""
    found = differences({"s": {"t": was}}, {"s": {"t": now}})
    assert [one.kind for one in found] == ([] if kind is None else [kind])
    assert holds(found) == (kind is not Kind.CHANGED)


def test_a_whole_surface_that_is_gone_is_told() -> None:
    """Thing by thing; and a new verb may well require something."""
    gone = differences({"s": {"a": {}, "a b": {}}}, {})
    assert [str(one) for one in gone] == ["removed: s: a", "removed: s: a b"]
    assert holds(differences({"s": {}}, {"s": {"v": {}, "v --x": {"required": True}}}))


def test_the_gate_reads_the_result(command: Command, tmp_path: Path) -> None:
    """As evidence of a criterion: at /judgement, and thing by thing."""
    out = tmp_path / "evidence" / "compat.json"
    assert command("compat", "--check", "--out", str(out)).code == 0
    document = json.loads(out.read_text())
    assert evidence_holds(document, "/judgement", "", "PASS", 1).value == 0
    assert evidence_holds(document, "/surfaces", "/removed", "0", 8).value == 0
    broken = {**document, "judgement": "FAIL"}
    assert evidence_holds(broken, "/judgement", "", "PASS", 1).value == 1


def test_what_stands_is_shown(command: Command) -> None:
    """All surfaces with how much they promise, one of them in full, and both for machines."""
    assert "metrics" in command("compat").out
    assert METRIC.name in command("compat", "--surface", "metrics").out
    shown = json.loads(command("compat", "--surface", "exit codes", "--json").out)
    assert shown["surfaces"]["exit codes"]["gate: NO-GO"] == {"code": 1}
    checked = json.loads(command("compat", "--check", "--json", "--surface", "ledger").out)
    assert [each["surface"] for each in checked["surfaces"]] == ["ledger"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--surface", "metric"), "no surface 'metric'; there are command line, exit codes"),
        (("--out", "x"), "--out keeps the result of a comparison; add --check"),
        (("--baseline", "gone.json"), "cannot read baseline gone.json: No such file"),
        (("--baseline", "README.md"), "README.md is no baseline; contract/ has one"),
    ],
)
def test_what_cannot_be_compared_is_told(
    words: tuple[str, ...],
    complaint: str,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one line, with exit 4."""
    monkeypatch.chdir(ROOT)
    assert command("compat", *words).complaint.startswith(complaint)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"contract": "2.0.0", "surfaces": {"s": {"t": {}}}}', "is of contract '2.0.0'"),
        ('{"contract": "1.0.0", "surfaces": {}}', "is no baseline"),
        ('{"contract": "1.0.0", "surfaces": {"s": {"t": 1}}}', "is no baseline"),
        ('{"contract": "1.0.0", "surfaces": []}', "is no baseline"),
        ("[]", "is no baseline"),
    ],
)
def test_a_baseline_that_is_none_is_refused(
    text: str, complaint: str, command: Command, tmp_path: Path
) -> None:
    """An empty one, too: nothing would be broken by anything."""
    path = tmp_path / "b.json"
    path.write_text(text)
    assert complaint in command("compat", "--check", "--baseline", str(path)).complaint


def test_freezing_adds_and_never_takes_away() -> None:
    """What is written is everything there is, unless something was broken."""
    now = {"s": {"a": {"x": 1}, "b": {}}}
    assert frozen({"s": {"a": {"x": 1}}}, now) == now
    with pytest.raises(ValueError, match="removed: s: c"):
        frozen({"s": {"c": {}}}, now)


def test_the_file_is_as_it_is_written() -> None:
    """One thing a line, in order, so that a diff shows what is promised anew."""
    path = baseline.default_path()
    assert baseline.text_of(baseline.load(path)) == path.read_text(encoding="utf-8")


def test_the_schema_takes_a_real_ledger() -> None:
    """Each event of a recorded ledger, with its payload; and none that lacks what is promised."""
    takes = Draft202012Validator(event_schema())
    payloads = {
        type_: Draft202012Validator(payload_schema(shape)) for type_, shape in SHAPES.items()
    }
    text = (ROOT / "docs" / "samples" / "ledger.jsonl").read_text()
    events = list(map(json.loads, text.splitlines()))
    for event in {(event["type"], event["reason"]): event for event in events}.values():
        takes.validate(event)
        payloads[EventType(event["type"])].validate(json.loads(event["payload"]))
    claim = next(event for event in events if event["type"] == "claimed")
    assert not takes.is_valid({**claim, "epoch": None})
    assert not takes.is_valid({**claim, "reason": "bored"})
    assert not takes.is_valid({name: value for name, value in claim.items() if name != "hash"})
    assert takes.is_valid({**claim, "type": "of a later version", "more": 1})
