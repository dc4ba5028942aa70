"""Verification: a healthy ledger passes, and every check is shown to find what it is for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.support.script import Script, resealed, with_data
from tests.support.story import healthy_ledger

from baton.domain.checks import CHECKS, LINKS, MEANINGS, Check
from baton.domain.ledger import Event, canonical_payload, event_from_dict, recomputed_hash
from baton.domain.shapes import SHAPES
from baton.domain.verify import Finding, Verifier, chain_heads, verify
from baton.domain.words import EventType, TakeoverReason

E = EventType

Events = list[Event]


KEPT = Path(__file__).parents[1] / "data" / "compat-1.0.0" / "every-event.jsonl"


@cache
def _healthy() -> tuple[Event, ...]:
    return tuple(event_from_dict(json.loads(line)) for line in KEPT.read_text().splitlines())


def healthy() -> Events:
    """What the store of version 1.2.0 wrote of everything that can happen to it.

    What is kept and not what is written today: a store that is broken says nothing of checks.
    """
    return list(_healthy())


def names(findings: list[Finding]) -> set[str]:
    """The checks that found something."""
    return {finding.check for finding in findings}


# Healthy ledgers


def test_a_healthy_ledger_has_no_finding() -> None:
    """Claims, takeovers, drains, interrupts, operators, quarantine, foreign threads, restores."""
    assert [str(finding) for finding in verify(healthy())] == []
    assert [str(finding) for finding in verify(healthy_ledger())] == []


def test_the_healthy_ledger_tells_of_everything() -> None:
    """Otherwise that it passes would say little."""
    for events in (healthy(), healthy_ledger()):
        assert {event.type for event in events} == {*EventType} - {E.FAULT_INJECTED}
        claims = {event.reason for event in events if event.type == E.CLAIMED}
        assert claims == {None, *TakeoverReason}
        actions = {event.data["action"] for event in events if event.type == E.OPERATOR_ACTION}
        assert actions == {"retry", "release", "takeover", "cancel", "accept_restore"}


def test_a_ledger_may_be_read_chain_by_chain() -> None:
    """The order of two chains carries no meaning."""
    events = sorted(healthy(), key=lambda event: (event.chain, event.n))
    assert verify(events) == []


def test_an_exported_ledger_verifies_like_the_store() -> None:
    """Through JSON Lines and back."""
    lines = [json.dumps(event.to_dict()) for event in healthy()]
    assert verify([event_from_dict(json.loads(line)) for line in lines]) == []


def test_a_fault_of_a_trial_fits_into_any_chain() -> None:
    """It changes nothing of what the chain tells, and may even begin it."""
    script = Script()
    script.add("session:w-1-s1", E.FAULT_INJECTED, {"fault": "sigstop"})
    script.events.clear()
    script.session("w-1")
    script.submit("t-1")
    script.add("task:t-1", E.FAULT_INJECTED, {"fault": "sigkill"})
    script.claim("t-1", "w-1")
    script.add("session:w-1-s1", E.FAULT_INJECTED, {"fault": "sigkill"}, reason="why not")
    script.lost("w-1")
    assert verify(script.events) == []


# Planted faults

Plant = Callable[[Events], Events]


def index(events: Events, type_: str, *, last: bool = False, **fields: Any) -> int:
    """The place of the first event of a type with these fields, or of the last."""
    places = [
        place
        for place, event in enumerate(events)
        if event.type == type_
        and all(getattr(event, name) == value for name, value in fields.items())
    ]
    return places[-1] if last else places[0]


def edited(type_: str, *, last: bool = False, where: Any = None, **change: Any) -> Plant:
    """Change fields of one event, as a store with a bug would write it."""

    def plant(events: Events) -> Events:
        place = index(events, type_, last=last, **(where or {}))
        events[place] = replace(events[place], **change)
        return resealed(events)

    return plant


def told(type_: str, *, where: Any = None, **change: Any) -> Plant:
    """Change keys of one payload, as a store with a bug would write it."""

    def plant(events: Events) -> Events:
        place = index(events, type_, **(where or {}))
        events[place] = with_data(events[place], **change)
        return resealed(events)

    return plant


def renumbered(events: Events) -> Events:
    """Close the gaps that a removal left, and seal again: a thorough forger."""
    ends: dict[str, int] = {}
    found = []
    for event in events:
        ends[event.chain] = ends.get(event.chain, -1) + 1
        found.append(replace(event, n=ends[event.chain]))
    return resealed(found)


def never(type_: str, **fields: Any) -> Plant:
    """Leave an event out as if it had never been written."""

    def plant(events: Events) -> Events:
        del events[index(events, type_, **fields)]
        return renumbered(events)

    return plant


def twice(type_: str) -> Plant:
    """Write an event twice, the second time as its own successor."""

    def plant(events: Events) -> Events:
        place = index(events, type_)
        events.insert(place, events[place])
        return renumbered([replace(event, seq=seq) for seq, event in enumerate(events, 1)])

    return plant


def edited_in_place(**change: Any) -> Plant:
    """Change a stored row, and nothing else."""

    def plant(events: Events) -> Events:
        place = index(events, E.STEP)
        events[place] = replace(events[place], **change)
        return events

    return plant


def rehashed_in_place(events: Events) -> Events:
    """Change a stored row and its hash."""
    place = index(events, E.STEP)
    changed = replace(events[place], wall=1)
    events[place] = replace(changed, hash=recomputed_hash(changed))
    return events


def removed(type_: str) -> Plant:
    """Delete a stored row."""

    def plant(events: Events) -> Events:
        del events[index(events, type_)]
        return events

    return plant


def swapped(events: Events) -> Events:
    """Exchange two rows of one chain."""
    first, second = [place for place, event in enumerate(events) if event.chain == "task:t-loss"][
        5:7
    ]
    events[first], events[second] = events[second], events[first]
    return events


def seqs_swapped(events: Events) -> Events:
    """Exchange the places of two rows in the tail, which are not hashed."""
    chain = [place for place, event in enumerate(events) if event.chain == "task:t-loss"]
    first, second = chain[5:7]
    one, other = events[first], events[second]
    events[first], events[second] = (
        replace(one, seq=other.seq),
        replace(other, seq=one.seq),
    )
    return events


def one_place_for_two(events: Events) -> Events:
    """Two rows of a chain at the same place in the tail."""
    first, second = [place for place, event in enumerate(events) if event.chain == "task:t-loss"][
        5:7
    ]
    events[second] = replace(events[second], seq=events[first].seq)
    return events


def repeated(events: Events) -> Events:
    """A row that is there twice."""
    place = index(events, E.STEP)
    return [*events[:place], events[place], *events[place:]]


def chained_to_another(events: Events) -> Events:
    """The first event of a chain follows something."""
    place = index(events, E.SUBMITTED)
    changed = replace(events[place], prev="f" * 64)
    events[place] = replace(changed, hash=recomputed_hash(changed))
    for later in range(place + 1, len(events)):
        if events[later].chain == changed.chain:
            linked = replace(events[later], prev=events[place].hash)
            events[later] = replace(linked, hash=recomputed_hash(linked))
            place = later
    return events


def old_run_resumed(events: Events) -> Events:
    """An answer goes on with the run that waited for it."""
    place = index(events, E.INTERRUPTED, task_id="t-op")
    return edited(E.RESUME_REQUESTED, run_id=events[place].run_id)(events)


def cancel_without_an_epoch(events: Events) -> Events:
    """The holder of a cancelled task could go on writing."""
    (*_, last) = [
        event
        for event in events
        if event.type == E.OPERATOR_ACTION and event.data["action"] == "cancel"
    ]
    where = {"chain": last.chain, "n": last.n}
    return edited(E.OPERATOR_ACTION, where=where, epoch=(last.epoch or 0) - 1)(events)


def claim_where(**fields: Any) -> dict[str, Any]:
    """The claims of t-loss."""
    return {"task_id": "t-loss", **fields}


NEWER = {"schema_version": "2.0.0"}
CRASH = claim_where(reason="crashed")
DRAIN = claim_where(reason="drained")
ODD = [{"n": "2"}, {"epoch": b""}, {"at": 1.5}, {"payload": None}, {"chain": 7}, {"seq": True}]

#: Each check, what is planted, and all that is found then.
PLANTS: list[tuple[str, str, Plant, set[str]]] = [
    ("hash_mismatch", "a worker edited", edited_in_place(worker_id="w-9"), {"holder_mismatch"}),
    ("hash_mismatch", "a wall time edited", edited_in_place(wall=1), set()),
    ("hash_mismatch", "a hash edited", edited_in_place(hash="0" * 64), {"chain_broken"}),
    ("hash_mismatch", "text that is none", edited_in_place(reason="\ud800"), {"word_unknown"}),
    *(("field_invalid", str(odd), edited_in_place(**odd), {"event_missing"}) for odd in ODD),
    ("chain_broken", "a row and its hash edited", rehashed_in_place, set()),
    ("chain_broken", "a chain that begins elsewhere", chained_to_another, set()),
    ("event_missing", "a step deleted", removed(E.STEP), set()),
    ("event_missing", "a claim deleted", removed(E.CLAIMED), set()),
    ("event_missing", "a beginning deleted", removed(E.SUBMITTED), set()),
    ("event_missing", "a session's beginning deleted", removed(E.SESSION_STARTED), set()),
    ("event_reordered", "two rows exchanged", swapped, {"event_missing"}),
    ("event_reordered", "two places exchanged", seqs_swapped, set()),
    ("event_reordered", "one place for two", one_place_for_two, set()),
    ("event_reordered", "a row repeated", repeated, set()),
    ("schema_unknown", "a newer schema", edited(E.STEP, **NEWER), set()),
    ("type_unknown", "an unknown type", edited(E.EFFECT, type="eaten"), set()),
    ("payload_invalid", "no JSON", edited(E.DONE, payload="{"), set()),
    ("payload_invalid", "no object", edited(E.DONE, payload="[]"), set()),
    ("payload_invalid", "spaces", edited(E.DONE, payload='{"external": true}'), set()),
    ("payload_invalid", "no number", edited(E.DONE, payload='{"x":NaN}'), set()),
    ("payload_invalid", "a key missing", edited(E.EFFECT, payload="{}"), set()),
    ("payload_invalid", "text for a time", told(E.SESSION_LOST, lost_at="now"), set()),
    ("payload_invalid", "truth for a time", told(E.SESSION_LOST, silence_us=True), set()),
    ("word_unknown", "a reason", edited(E.RELEASED, reason="boredom"), {"impossible_order"}),
    ("word_unknown", "no reason", edited(E.SESSION_STOPPED, reason=None), set()),
    ("word_unknown", "a reason too many", edited(E.STEP, reason="crashed"), set()),
    ("word_unknown", "an outcome", told(E.RESUMED, outcome="abandoned"), set()),
    ("word_unknown", "evidence", told(E.CLAIMED, where=CRASH, evidence="rumour"), set()),
    ("correlation_mismatch", "another's task", edited(E.STEP, task_id="t-9"), set()),
    ("correlation_mismatch", "another's session", edited(E.SESSION_LOST, session_id="s"), set()),
    ("correlation_mismatch", "a takeover with a new run", edited(E.EFFECT, run_id="r-9"), set()),
    (
        "correlation_mismatch",
        "an old run resumed",
        old_run_resumed,
        set(),
    ),
    ("impossible_order", "no submission", never(E.SUBMITTED), set()),
    ("impossible_order", "no claim", never(E.CLAIMED), set()),
    ("impossible_order", "done twice", twice(E.DONE), set()),
    ("impossible_order", "lost twice", twice(E.SESSION_LOST), set()),
    ("impossible_order", "an answer nobody asked for", never(E.INTERRUPTED), set()),
    ("impossible_order", "a session without a start", never(E.SESSION_STARTED), set()),
    ("impossible_order", "a retry of what runs", never(E.FAILED), set()),
    (
        "impossible_order",
        "taken for no reason",
        edited(E.CLAIMED, where=CRASH, reason=None),
        set(),
    ),
    (
        "impossible_order",
        "taken by an operator's hand alone",
        edited(E.CLAIMED, where=CRASH, reason="operator"),
        set(),
    ),
    (
        "impossible_order",
        "left for one reason and taken for another",
        edited(E.CLAIMED, where=DRAIN, reason="crashed"),
        set(),
    ),
    (
        "epoch_regressed",
        "an epoch again",
        edited(E.CLAIMED, where=CRASH, epoch=1),
        {"holder_mismatch"},
    ),
    ("epoch_regressed", "an old epoch", edited(E.STEP, last=True, epoch=1), {"holder_mismatch"}),
    (
        "epoch_regressed",
        "a cancel that raises none",
        cancel_without_an_epoch,
        set(),
    ),
    ("holder_mismatch", "a zombie's step", edited(E.STEP, last=True, session_id="s-9"), set()),
    ("holder_mismatch", "another worker's step", edited(E.STEP, last=True, worker_id="w"), set()),
    (
        "holder_mismatch",
        "an epoch to come",
        edited(E.STEP, last=True, epoch=99),
        {"epoch_regressed"},
    ),
    (
        "holder_mismatch",
        "a takeover from somebody else",
        told(E.CLAIMED, where=CRASH, previous_worker="w-9"),
        set(),
    ),
    ("negative_time", "an event before the last", edited(E.DONE, at=1), set()),
    ("negative_time", "life after loss", told(E.CLAIMED, where=CRASH, last_sign_at=2**50), set()),
    ("negative_time", "loss after the claim", told(E.CLAIMED, where=CRASH, lost_at=2**50), set()),
    ("negative_time", "negative silence", told(E.SESSION_LOST, silence_us=-1), set()),
    ("negative_time", "a loss to come", told(E.SESSION_LOST, lost_at=2**50), set()),
    (
        "step_discontinuous",
        "a fork",
        told(E.STEP, where={"step_id": "t-loss-2"}, parent="x"),
        set(),
    ),
    (
        "step_discontinuous",
        "a run from the beginning",
        told(E.STEP, where={"step_id": "t-loss-2"}, parent=None),
        set(),
    ),
]


@pytest.mark.parametrize(
    ("check", "plant", "others"),
    [(check, plant, others) for check, _, plant, others in PLANTS],
    ids=[f"{check}: {name}" for check, name, _, _ in PLANTS],
)
def test_a_planted_fault_is_found_by_its_check(check: str, plant: Plant, others: set[str]) -> None:
    """By that check, and by no other that the fault does not concern."""
    assert names(verify(plant(healthy()))) == {check, *others}


def test_every_check_has_its_plants() -> None:
    """A check that cannot fail holds nothing; the two not above have tests of their own."""
    planted = {check for check, *_ in PLANTS}
    assert planted | {"correlation_missing", "seal_mismatch"} == set(CHECKS)
    assert [*LINKS, *MEANINGS, "seal_mismatch"] == list(CHECKS)


CORRELATED = [(type_, name) for type_, shape in SHAPES.items() for name in shape.ids]


@pytest.mark.parametrize(("type_", "name"), CORRELATED, ids=str)
def test_each_missing_id_is_found_by_name(type_: EventType, name: str) -> None:
    """For every type of event and every id that it has to carry; an empty one is missing too."""
    events = healthy()
    chain = events[index(events, type_)].chain
    events = [event for event in events if event.chain == chain]
    for value in (None,) if name == "epoch" else (None, ""):
        planted = edited(type_, **{name: value})(list(events))
        found = [each for each in verify(planted) if each.check == "correlation_missing"]
        assert [(each.type, each.detail) for each in found] == [(type_, f"without {name}")]


def test_each_missing_key_is_found_by_name() -> None:
    """For every type of event and every key of its payload; those of takeovers too."""
    checked = 0
    for event in healthy():
        shape = SHAPES[EventType(event.type)]
        wanted = [*shape.payload, *(shape.with_reason if event.reason else ())]
        for key in wanted if event.n < 3 else ():
            data = {name: value for name, value in event.data.items() if name != key}
            found = verify([replace(event, payload=canonical_payload(data))])
            details = [each.detail for each in found if each.check == "payload_invalid"]
            assert details == [f"without {key}"], (event.type, key)
            checked += 1
    assert checked > len(SHAPES)


# What a finding says


def test_a_finding_names_the_check_the_event_and_what_is_wrong() -> None:
    """One line for an operator, plain values for a machine."""
    events = healthy()
    place = index(events, E.STEP)
    events[place] = replace(events[place], wall=1)
    (found,) = verify(events)
    assert re.fullmatch(
        r"hash_mismatch: task:t-loss event 2 \(step\): its fields hash to [0-9a-f]{12}", str(found)
    )
    assert found.to_dict() == {
        "check": "hash_mismatch",
        "chain": "task:t-loss",
        "n": 2,
        "seq": events[place].seq,
        "type": "step",
        "detail": found.detail,
    }


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.id)
def test_every_check_is_documented(check: Check) -> None:
    """A stable id, a sentence for people, and a definition."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", check.id)
    assert re.fullmatch(r"[A-Z].*\.", check.meaning)
    assert len(check.definition) > 40
    assert "\n\n\n" not in check.definition


DETAILS = [
    ("an old run resumed", "run r-9 is not new"),
    ("a takeover with a new run", "run r-9, and the task's run is r-9"),
    ("another's task", "its ids name the chain task:t-9"),
    ("no submission", "after nothing"),
    ("done twice", "after done"),
    ("taken for no reason", "taken from its holder for no reason"),
    ("taken by an operator's hand alone", "taken from its holder for operator"),
    (
        "left for one reason and taken for another",
        "claimed for crashed, and it was left for drained",
    ),
    ("an epoch again", "epoch 1 again"),
    ("an old epoch", "epoch 1 after E"),
    ("another worker's step", "w (s-9, epoch E), and w-successor (s-9, epoch E) held it"),
    ("a takeover from somebody else", "w-9 (s-9, epoch 1), and w-1 (s-9, epoch 1) held it"),
    ("an event before the last", "N us before the event before it"),
    ("loss after the claim", "claim phase of -N us"),
    ("life after loss", "detect phase of -N us"),
    ("negative silence", "silence_us of -1"),
    ("a fork", "it follows x, and the last step was t-loss-0"),
    ("a run from the beginning", "it follows nothing, and the last step was t-loss-0"),
    ("a beginning deleted", "1 missing before it"),
    ("a row repeated", "it comes after number 2"),
    ("a newer schema", "schema 2.0.0, and this Baton knows 1.0.0"),
    ("an unknown type", "type 'eaten'"),
    ("no JSON", "no JSON object in canonical form"),
    ("a key missing", "without effect_key"),
    ("text for a time", "no whole number in lost_at"),
    ("a reason", "reason 'boredom'"),
    ("an outcome", "outcome 'abandoned'"),
    ("text that is none", "it cannot be encoded"),
]


def _without_figures(detail: str) -> str:
    """The store numbers its sessions and runs, and times and high epochs are its own affair."""
    for figure, stands in (
        (r"session-\d+", "s-9"),
        (r"id-\d+", "r-9"),
        (r"\d{4,}(?= us)", "N"),
        (r"(?<=epoch )1\d|(?<=after )1\d", "E"),
    ):
        detail = re.sub(figure, stands, detail)
    return detail


@pytest.mark.parametrize(("name", "detail"), DETAILS, ids=[name for name, _ in DETAILS])
def test_a_finding_says_what_was_found(name: str, detail: str) -> None:
    """So that an operator need not look it up."""
    ((check, plant),) = [(check, plant) for check, each, plant, _ in PLANTS if each == name]
    found = [each.detail for each in verify(plant(healthy())) if each.check == check]
    assert _without_figures(found[0]) == detail


# Gaps


@pytest.mark.parametrize("type_", sorted({*EventType} - {E.FAULT_INJECTED}))
@pytest.mark.parametrize("last", [False, True])
def test_one_deleted_row_is_one_missing_event_and_nothing_else(type_: str, *, last: bool) -> None:
    """Behind a gap nothing is held against what nobody knows."""
    events = healthy()
    gone = events.pop(index(events, type_, last=last))
    found = verify(events)
    at_end = not any(event.chain == gone.chain and event.n > gone.n for event in events)
    expected = [] if at_end else [("event_missing", gone.chain, "1 missing before it")]
    assert [(each.check, each.chain, each.detail) for each in found] == expected


def test_no_gap_in_a_task_makes_another_finding() -> None:
    """Wherever it is: before a release, a restore, a claim of what was left."""
    chains: dict[str, Events] = {}
    for event in healthy():
        chains.setdefault(event.chain, []).append(event)
    for events in chains.values():
        for place in range(len(events) - 1):
            found = verify([*events[:place], *events[place + 1 :]])
            assert [each.check for each in found] == ["event_missing"], events[place]


def test_a_gap_does_not_hide_what_comes_after_the_next_claim() -> None:
    """A claim says how things stand, and from there everything is judged again."""
    events = healthy()
    del events[index(events, E.SUBMITTED)]
    place = index(events, E.STEP, last=True, task_id="t-loss")
    events[place] = replace(events[place], session_id="zombie")
    assert names(verify(resealed(events))) == {"event_missing", "holder_mismatch"}


# Seals


def cut(events: Events) -> Events:
    """Lose the end of the ledger."""
    return events[:-1]


def without_a_chain(events: Events) -> Events:
    """Lose a whole chain."""
    return [event for event in events if event.chain != "task:t-op"]


def rewritten(events: Events) -> Events:
    """Change an early event and make every hash fit."""
    place = index(events, E.STEP)
    events[place] = replace(events[place], wall=1)
    return resealed(events)


@pytest.mark.parametrize("forgery", [cut, without_a_chain, rewritten])
def test_what_only_a_seal_can_show(forgery: Plant) -> None:
    """Without it the forgery passes; with it, the chain is named."""
    forged = forgery(healthy())
    assert verify(forged) == []
    found = verify(forged, chain_heads(healthy()))
    assert names(found) == {"seal_mismatch"}
    assert len(found) == 1
    assert str(found[0]).startswith(f"seal_mismatch: {found[0].chain}: ")
    chain = [event for event in forged if event.chain == found[0].chain]
    assert chain == [] or f"the last of {len(chain)} is {chain[-1].hash[:12]}" in found[0].detail
    assert chain_heads(healthy())[found[0].chain][:12] in found[0].detail


def test_a_ledger_that_grew_keeps_its_seal() -> None:
    """Whatever was sealed is still there."""
    events = healthy()
    seal = chain_heads(events[:40])
    assert verify(events, seal) == []
    assert chain_heads(reversed(events)) == chain_heads(events)


# Going on


def test_a_verifier_goes_on_where_it_was_stored() -> None:
    """Through JSON and back after every event, as behind events that were pruned."""
    events = edited(E.STEP, last=True, session_id="s-9")(healthy())
    verifier, found = Verifier(), []
    for event in events:
        found += verifier.apply(event)
        verifier = Verifier.from_dict(json.loads(json.dumps(verifier.to_dict())))
    assert found == verify(events)
    assert verifier.counts["holder_mismatch"] == 1
    with pytest.raises(ValueError, match="a stored verifier has version 0, not 1"):
        Verifier.from_dict({**verifier.to_dict(), "version": 0})


def test_every_check_counts_from_the_start() -> None:
    """A metric begins at 0; a check that is not made has none."""
    verifier = Verifier()
    assert verifier.counts == dict.fromkeys([*LINKS, *MEANINGS], 0)
    sealed = Verifier({"task:gone": "0" * 64})
    assert set(sealed.counts) == set(CHECKS)
    for _ in range(2):
        assert names(sealed.finish()) == {"seal_mismatch"}
    assert sealed.counts["seal_mismatch"] == 1


def test_the_summary_says_how_far_it_can_be_trusted() -> None:
    """Nobody should take a clean ledger for one that cannot have been rewritten."""
    events = healthy()
    verifier = Verifier()
    for event in events:
        verifier.apply(event)
    chains = len({event.chain for event in events})
    assert Verifier().summary().startswith("no events in no chains, no findings; ")
    assert verifier.summary() == (
        f"{len(events)} events in {chains} chains, no findings; "
        "without a seal, a ledger rewritten as a whole would pass"
    )
    sealed = Verifier({"task:gone": "0" * 64})
    sealed.apply(replace(events[0], wall=1))
    sealed.finish()
    assert sealed.summary() == "1 event in 1 chain, 2 findings; held against a seal of 1 chain"


def test_what_is_over_is_remembered_briefly() -> None:
    """The end of a chain is needed for ever; the steps of a finished task are not."""
    script = Script()
    script.session("w-1")
    script.submit("t-1")
    script.claim("t-1", "w-1")
    for number in range(50):
        script.step(ns=f"sub:{number}")
        script.step()
    verifier = Verifier()
    for event in script.events:
        verifier.apply(event)
    steps = verifier.to_dict()["chains"]["task:t-1"][-1]
    assert list(steps) == [""]
    verifier.apply(script.done())
    assert verifier.to_dict()["chains"]["task:t-1"][-1] == {}


def test_a_foreign_thread_may_go_back() -> None:
    """Its runtime may continue from an earlier checkpoint, or delete them all."""
    script = Script()
    script.session("w-1")
    script.submit("t-1", external=True)
    script.claim("t-1", "w-1")
    for _ in range(3):
        script.step()
    script.events[-1] = with_data(script.events[-1], parent=None)
    assert verify(resealed(script.events)) == []


@pytest.mark.parametrize("name", ["run_id", "worker_id", "session_id", "epoch"])
def test_one_odd_event_is_one_finding(name: str) -> None:
    """What it claims is not believed of the events behind it; a lower epoch is found twice."""
    events = healthy()
    place = index(events, E.EFFECT, task_id="t-loss", epoch=3)
    odd = replace(events[place], **{name: 2 if name == "epoch" else "odd"})
    events[place] = odd
    found = verify(resealed(events))
    expected = {"epoch_regressed", "holder_mismatch"} if name == "epoch" else None
    assert names(found) == expected or len(found) == 1
    assert {(each.chain, each.n) for each in found} == {(odd.chain, odd.n)}


def test_only_a_foreign_thread_is_claimed_after_its_end() -> None:
    """And with a new run; a task of the fleet is over until an operator says otherwise."""
    for external, expected in ((True, set[str]()), (False, {"impossible_order"})):
        script = Script()
        script.session("w-1")
        script.submit("t-1", external=external)
        script.claim("t-1", "w-1")
        script.done()
        script.new_run("t-1")
        script.claim("t-1", "w-1")
        assert names(verify(script.events)) == expected


def test_parallel_subgraphs_are_followed_side_by_side() -> None:
    """A step of one does not make the other forgotten."""
    script = Script()
    script.session("w-1")
    script.submit("t-1")
    script.claim("t-1", "w-1")
    script.step()
    for ns in ("left:1", "right:1", "left:1", "right:1"):
        script.step(ns=ns)
    script.events[-2] = with_data(script.events[-2], parent="x")
    found = verify(resealed(script.events))
    assert [(each.check, each.n) for each in found] == [("step_discontinuous", 5)]


@pytest.mark.parametrize(
    ("chain", "type_", "ids"),
    [
        ("task:t-1", E.SESSION_DRAINING, {"worker_id": "w-1", "session_id": "w-1-s1"}),
        ("session:w-1-s1", E.SUBMITTED, {"task_id": "t-2", "run_id": "r"}),
    ],
)
def test_an_event_on_the_wrong_kind_of_chain(chain: str, type_: E, ids: dict[str, str]) -> None:
    """Its ids contradict the chain, and it cannot have happened there."""
    script = Script()
    script.session("w-1")
    script.submit("t-1")
    about = {"external": False, "graph": "g", "input_digest": "d", "pool": "p"}
    script.add(chain, type_, about if type_ is E.SUBMITTED else {}, **ids)
    assert names(verify(script.events)) == {"correlation_mismatch", "impossible_order"}


def test_a_session_of_a_restored_store_may_be_refused() -> None:
    """What came before the copy is gone with its chain, and that is found."""
    script = Script()
    script.session("w-1")
    script.events.clear()
    script.refused("t-1", "w-1", 3)
    assert names(verify(script.events)) == {"impossible_order"}
