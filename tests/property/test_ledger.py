"""Whatever happens to a store, its ledger holds; whatever happens to a ledger, it is found."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.house import SECOND, TTL_SECONDS, House, Member
from tests.support.script import resealed
from tests.support.story import VALUE, healthy_ledger, put

from baton.domain import catalogue as c
from baton.domain.continuity import LEDGER_ONLY, Outcome, Trial, judge
from baton.domain.folds import UNKNOWN, Fold
from baton.domain.ledger import (
    FIELDS,
    SCHEMA_VERSION,
    Event,
    canonical_payload,
    digest,
    event_from_dict,
    netstring,
    recomputed_hash,
)
from baton.domain.verify import Verifier, chain_heads, verify
from baton.domain.words import EventType, Evidence, TakeoverOutcome, TakeoverReason
from baton.errors import BadInput, IllegalTransition, LeaseHeld, LeaseLost
from baton.fleet.model import Claim
from baton.observe.timeline import timeline

VALUES = st.none() | st.text() | st.integers(min_value=-(2**63), max_value=2**63 - 1)


# Encoding


def decoded(encoded: bytes) -> list[str | None]:
    """Read netstrings back, by their lengths alone."""
    found: list[str | None] = []
    while encoded:
        length, _, rest = encoded.partition(b":") if encoded[:1] != b"-" else (b"", b"", b"")
        if not length:
            assert encoded[:2] == b"-,"
            found.append(None)
            encoded = encoded[2:]
            continue
        end = int(length)
        assert rest[end : end + 1] == b","
        found.append(rest[:end].decode())
        encoded = rest[end + 1 :]
    return found


@given(st.lists(VALUES))
def test_an_encoding_can_be_read_back(values: list[str | int | None]) -> None:
    """So that no two lists of fields share one, whatever the fields contain."""
    encoded = "".join(map(netstring, values)).encode()
    assert decoded(encoded) == [None if value is None else str(value) for value in values]


@given(st.lists(VALUES))
def test_the_quick_way_to_a_hash_is_the_plain_one(values: list[str | int | None]) -> None:
    """It counts bytes only where there is something to count."""
    plain = hashlib.sha256("".join(map(netstring, values)).encode()).hexdigest()
    assert digest(values) == plain


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON))
def test_equal_payloads_are_equal_bytes(data: dict[str, Any]) -> None:
    """In whatever order they were put together, and after a way through JSON."""
    text = canonical_payload(data)
    assert text.isascii()
    assert canonical_payload(dict(reversed(data.items()))) == text
    assert canonical_payload(json.loads(text)) == text


WHOLE = st.integers(min_value=0, max_value=2**53)
IDS = st.none() | st.text()


@given(
    st.fixed_dictionaries(
        {
            **dict.fromkeys(("chain", "type", "payload", "prev", "hash"), st.text()),
            **dict.fromkeys(("task_id", "run_id", "step_id", "worker_id", "session_id"), IDS),
            **dict.fromkeys(("n", "at", "wall", "seq"), WHOLE),
            "reason": IDS,
            "epoch": st.none() | WHOLE,
        }
    )
)
def test_any_event_survives_json(fields: dict[str, Any]) -> None:
    """And has the same hash afterwards."""
    event = Event(**fields)
    again = event_from_dict(json.loads(json.dumps(event.to_dict())))
    assert again == event
    assert recomputed_hash(again) == recomputed_hash(event)
    assert event.schema_version == SCHEMA_VERSION


# Whatever happens to a store


class Fate:
    """A fleet to which things happen in any order, with the holders of old leases still about."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self.house, self.clock = House.in_memory()
        self.members: dict[int, Member] = {}
        self.claims: list[tuple[Member, Claim]] = []

    def befall(self, what: str, who: int, which: int) -> None:
        """Let one thing happen; what the store refuses has not happened."""
        try:
            with suppress(IllegalTransition, LeaseHeld, BadInput):
                getattr(self, f"_{what}")(who, which)
        except LeaseLost as lost:
            for _, claim in self.claims:
                if (claim.task_id, claim.key.epoch) == (lost.task_id, lost.epoch):
                    self.house.store.refused(claim.key)

    def _member(self, who: int) -> Member:
        if who not in self.members:
            self.members[who] = self.house.session(f"w-{who}")
        return self.members[who]

    def _held(self, which: int) -> tuple[Member, Claim]:
        if not self.claims:
            raise BadInput(detail="nothing was ever claimed")
        return self.claims[-1 - which % len(self.claims)]

    def _forward(self, who: int, which: int) -> None:
        self.clock.forward((who + 1) * (which + 1) * 2)

    def _restart(self, who: int, which: int) -> None:
        del which
        self.members.pop(who, None)

    def _submit(self, who: int, which: int) -> None:
        del who
        self.house.submit(f"t-{which}")

    def _claim(self, who: int, which: int) -> None:
        member = self._member(who)
        won = member.claims(limit=which + 1, deadlines_seconds={"g": 20}, avoid_seconds=0).won
        self.claims += [(member, claim) for claim in won]

    def _lease(self, who: int, which: int) -> None:
        member = self._member(who)
        self.claims.append((member, member.lease(f"thread-{which}")))

    def _resumed(self, who: int, which: int) -> None:
        member, claim = self._held(which)
        outcome = (TakeoverOutcome.RESUMED, TakeoverOutcome.RESTARTED)[who % 2]
        self.house.store.resumed(claim, member.worker_id, outcome, "")

    def _step(self, who: int, which: int) -> None:
        member, claim = self._held(which)
        if who % 2:
            member.park(claim)
        put(self.house.store, claim, member.worker_id, ns="" if who < 3 else "sub:1")

    def _effect(self, who: int, which: int) -> None:
        member, claim = self._held(which)
        store, key = self.house.store, f"{claim.task_id}-{who}"
        if store.effect(claim, member.worker_id, key, "step") is None:
            store.record_effect(claim, member.worker_id, key, "step", VALUE)

    def _end(self, who: int, which: int) -> None:
        member, claim = self._held(which)
        end = (member.done, member.failed, member.interrupted, member.drained)[who % 4]
        end(claim)

    def _stop(self, who: int, which: int) -> None:
        reason = (TakeoverReason.DRAINED, TakeoverReason.HEARTBEAT_LOST)[which % 2]
        self._member(who).stop(reason)

    def _drain(self, who: int, which: int) -> None:
        del which
        self.house.store.drain_session(self._member(who).id, f"w-{who}")

    def _bury(self, who: int, which: int) -> None:
        self.house.bury(self._member(who), (*Evidence, Evidence.TTL)[which])

    def _beat(self, who: int, which: int) -> None:
        member = self._member(who)
        if member.beat().accepted and which:
            self.house.store.note_late(member.id, member.worker_id, which * SECOND)

    def _operate(self, who: int, which: int) -> None:
        task_id = f"t-{which}"
        if self.house.store.task_or_none(task_id) is None:
            return
        match who:
            case 0:
                self.house.store.retry(task_id)
            case 1:
                self.house.store.cancel(task_id)
            case 2:
                self.house.store.request_resume(task_id, VALUE, "digest")
            case _:
                self.house.store.take_away(task_id, ("release", "takeover")[which % 2])

    def _restore(self, who: int, which: int) -> None:
        if (who, which) == (0, 0):
            self.clock.forward(2 * TTL_SECONDS)
            self.house.store.accept_restore()


#: What happens, as often as it is listed.
HAPPENINGS = (
    *("claim", "claim", "claim", "step", "step", "submit", "lease", "resumed", "effect", "end"),
    *("bury", "bury", "stop", "drain", "beat", "restart", "operate", "forward", "restore"),
)
FATES = st.lists(
    st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 3), st.integers(0, 3)),
    min_size=25,
    max_size=120,
)


def ledger_of(fate: list[tuple[str, int, int]]) -> list[Event]:
    """What the real store writes of it all."""
    found = Fate()
    try:
        for what, who, which in fate:
            found.befall(what, who, which)
        return found.house.events()
    finally:
        found.house.store.close()


def folded(events: list[Event], fold: Fold | None = None) -> Fold:
    """A fold of some events, begun or continued."""
    fold = fold or Fold()
    for event in events:
        fold.apply(event)
    return fold


thoroughly = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@thoroughly
@given(FATES)
def test_whatever_happens_the_ledger_verifies(fate: list[tuple[str, int, int]]) -> None:
    """No check finds anything in what the real store wrote."""
    assert [str(finding) for finding in verify(ledger_of(fate))] == []


@thoroughly
@given(FATES)
def test_whatever_happens_is_counted_as_the_catalogue_says(
    fate: list[tuple[str, int, int]],
) -> None:
    """Every series is one that the catalogue lists, and nothing is counted twice or not at all."""
    events = ledger_of(fate)
    fold = folded(events)
    for metric, series in fold.counters.items():
        for labels in series:
            known = tuple(labels[metric.labels.index(label)] for label in metric.known.labels)
            assert known in metric.known.rows, (metric.name, labels)
            assert UNKNOWN not in labels
    assert sum(fold.counters[c.EVENTS].values()) == len(events)
    assert max(fold.concurrent_writers().values(), default=0) <= 1
    taken = sum(event.type == EventType.CLAIMED and event.reason is not None for event in events)
    ended = sum(fold.counters[c.TAKEOVERS].values())
    assert ended + len(fold.open_takeovers()) == taken
    timed = sum(sum(each.counts) for each in fold.histograms[c.TAKEOVER_LATENCY].values())
    abandoned = sum(
        count
        for labels, count in fold.counters[c.TAKEOVERS].items()
        if labels[2] == TakeoverOutcome.ABANDONED
    )
    assert timed == ended - abandoned


@thoroughly
@given(FATES, st.data())
def test_a_fold_and_a_verifier_may_stop_and_go_on_anywhere(
    fate: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    """Through JSON and back, with the same result as in one go."""
    events = ledger_of(fate)
    place = data.draw(st.integers(0, len(events)))
    before, after = events[:place], events[place:]
    stored = json.loads(json.dumps(folded(before).to_dict()))
    assert folded(after, Fold.from_dict(stored)).to_dict() == folded(events).to_dict()
    verifier = Verifier()
    for event in before:
        verifier.apply(event)
    verifier = Verifier.from_dict(json.loads(json.dumps(verifier.to_dict())))
    assert [finding for event in after for finding in verifier.apply(event)] == []


@settings(max_examples=40, deadline=None)
@given(FATES)
def test_whatever_happens_can_be_told(fate: list[tuple[str, int, int]]) -> None:
    """One row for each event, in words, and each task's own rows are a part of them."""
    events = ledger_of(fate)
    rows = timeline(events)
    assert len(rows) == len(events)
    for task in {event.task_id for event in events if event.task_id}:
        told = [(row.chain, row.n) for row in timeline(events, task=task)]
        assert set(told) >= {(e.chain, e.n) for e in events if e.chain == f"task:{task}"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FATES)
# A thread whose run is done may be leased again, and remembers the effects of that run.
@example([("lease", 2, 1), ("effect", 3, 0), ("end", 0, 0), ("lease", 0, 1), ("effect", 3, 0)])
def test_whatever_happens_no_assertion_fails(fate: list[tuple[str, int, int]]) -> None:
    """Of those that a ledger alone can show.

    L4 apart: here sessions are buried for a silence that never was, as no watcher would.
    """
    verdicts = judge(Trial(events=ledger_of(fate)), {*LEDGER_ONLY} - {"L4"})
    assert [verdict.text for verdict in verdicts if verdict.outcome is Outcome.FAIL] == []


# Whatever happens to a ledger


@cache
def _healthy() -> tuple[Event, ...]:
    return tuple(healthy_ledger())


PLACES = st.integers(0, len(_healthy()) - 1)


def _edited(event: Event, name: str) -> Event:
    value = getattr(event, name)
    changed: object = "x" if value is None else value + 1 if type(value) is int else value + "x"
    return replace(event, **{name: changed})


@settings(deadline=None)
@given(PLACES, st.sampled_from((*FIELDS, "hash")))
def test_any_edit_is_found(place: int, name: str) -> None:
    """Of any field of any event."""
    events = list(_healthy())
    events[place] = _edited(events[place], name)
    assert verify(events)


@settings(deadline=None)
@given(PLACES)
def test_any_removal_is_found(place: int) -> None:
    """At the end of a chain by the seal, anywhere else without it; once renumbered, by the seal."""
    events = list(_healthy())
    gone = events.pop(place)
    seal = chain_heads(_healthy())
    assert verify(events, seal)
    later = [event for event in events if event.chain == gone.chain and event.n > gone.n]
    assert bool(verify(events)) == bool(later)
    renumbered = [replace(event, n=event.n - (event in later)) for event in events]
    assert verify(resealed(renumbered), seal)


@settings(deadline=None)
@given(PLACES, PLACES)
def test_any_exchange_within_a_chain_is_found(one: int, other: int) -> None:
    """Between chains there is nothing to find: their order carries no meaning."""
    events = list(_healthy())
    events[one], events[other] = events[other], events[one]
    chain = [event for event in events if event.chain == _healthy()[one].chain]
    places = [event.n for event in chain]
    other_chain = [event.n for event in events if event.chain == _healthy()[other].chain]
    in_order = places == sorted(places) and other_chain == sorted(other_chain)
    assert bool(verify(events)) == (not in_order)


@settings(deadline=None, max_examples=60)
@given(PLACES, st.sampled_from(("dropped", "duplicated", "altered")), st.sampled_from(FIELDS))
def test_any_single_change_fails_an_assertion_that_names_it(
    place: int, what: str, name: str
) -> None:
    """Also a change at the end of a chain, which only the seal shows."""
    events = list(_healthy())
    event = events[place]
    changed = {"dropped": [], "duplicated": [event, event], "altered": [_edited(event, name)]}[what]
    events[place : place + 1] = changed
    trial = Trial(events=events, seal=chain_heads(_healthy()))
    failed = [verdict for verdict in judge(trial, LEDGER_ONLY) if verdict.outcome is Outcome.FAIL]
    shown = {line.rpartition("#")[0] for verdict in failed for line in verdict.witnesses}
    assert shown & {event.chain, *(one.chain for one in changed)}
