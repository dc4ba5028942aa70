"""What can be wrong with a ledger: one function per check, told apart by stable ids.

In the definitions below *e* is an event, *p* the event before it in its chain, as far as it was
read, and ``SHAPES`` is the schema. Each chain is judged by itself: the order of events of
different chains carries no meaning. After a gap nothing is known of what came before, so the
checks that need to know wait for the next claim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from itertools import pairwise
from typing import Any, NamedTuple

from baton.domain.chains import (
    HOLDER_EVENTS,
    ChainState,
    begins_run,
    raises_epoch,
    state_after,
)
from baton.domain.ledger import (
    SCHEMA_VERSION,
    Event,
    canonical_payload,
    odd_field,
    recomputed_hash,
    session_chain,
    task_chain,
)
from baton.domain.shapes import ANY, SHAPES, Shape
from baton.domain.words import EventType, TakeoverReason, TaskState

_E = EventType


class Seen(NamedTuple):
    """An event as a check sees it.

    Attributes:
        event: the event.
        before: what its chain has told so far.
        type: its type.
        shape: what an event of that type carries.
        data: its payload; empty where it is no JSON object.
    """

    event: Event
    before: ChainState
    type: EventType
    shape: Shape
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        id: its stable name, also the label of its metric.
        meaning: what a finding says, in one sentence.
        definition: what exactly is found.
    """

    id: str
    meaning: str
    definition: str


#: Every check by its id, in the order in which they are made.
CHECKS: dict[str, Check] = {}
#: The checks of an event's place in its chain, and whether it can be read; made on every event.
LINKS: dict[str, Callable[[Event, ChainState], str | None]] = {}
#: The checks of what an event says; not made if one of ``UNREADABLE`` has found something.
MEANINGS: dict[str, Callable[[Seen], str | None]] = {}
UNREADABLE = frozenset({"event_reordered", "schema_unknown", "type_unknown"})


@cache
def _needed(type_: EventType, *, with_reason: bool) -> frozenset[str]:
    shape = SHAPES[type_]
    return frozenset({*shape.payload, *(shape.with_reason if with_reason else ())})


@cache
def _timed(type_: EventType) -> tuple[str, ...]:
    shape = SHAPES[type_]
    keys = (*shape.payload, *shape.with_reason, *shape.further)
    return tuple(key for key in keys if key.endswith(("_us", "_at")))


@cache
def _lengths(type_: EventType) -> tuple[str, ...]:
    return tuple(key for key in _timed(type_) if key.endswith("_us"))


def _enter(meaning: str, find: Callable[..., Any]) -> str:
    name = find.__name__
    CHECKS[name] = Check(name, meaning, cleandoc(find.__doc__ or ""))
    return name


_Link = Callable[[Event, ChainState], str | None]
_Meaning = Callable[[Seen], str | None]


def _link(meaning: str) -> Callable[[_Link], _Link]:
    def register(find: _Link) -> _Link:
        LINKS[_enter(meaning, find)] = find
        return find

    return register


def _meaning(meaning: str) -> Callable[[_Meaning], _Meaning]:
    def register(find: _Meaning) -> _Meaning:
        MEANINGS[_enter(meaning, find)] = find
        return find

    return register


# The place of an event in its chain


@_link("A field is of a type that no event has: it was edited.")
def field_invalid(event: Event, _before: ChainState) -> str | None:
    """A field of *e* is neither text nor a whole number where it should be; no other check runs."""
    return odd_field(event)


@_link("Events are missing before this one.")
def event_missing(event: Event, before: ChainState) -> str | None:
    """``e.n > p.n + 1``, or ``e.n > 0`` where *e* is the first of its chain that was read."""
    if event.n <= before.n + 1:
        return None
    return f"{event.n - before.n - 1} missing before it"


@_link("The event is out of its order, or there twice.")
def event_reordered(event: Event, before: ChainState) -> str | None:
    """``e.n <= p.n``, or ``e.seq <= p.seq`` although ``e.n > p.n``; *e* is not judged further."""
    if event.n <= before.n:
        return f"it comes after number {before.n}"
    if 0 < event.seq <= before.seq:
        return f"its seq is not above {before.seq}, that of the event before it"
    return None


@_link("The event does not follow from the one before it: one of them was replaced.")
def chain_broken(event: Event, before: ChainState) -> str | None:
    """``e.n = p.n + 1`` and ``e.prev != p.hash``; for the first event, ``GENESIS`` is meant."""
    if event.n != before.n + 1 or event.prev == before.hash:
        return None
    return f"it follows {event.prev[:12]}, and the event before it is {before.hash[:12]}"


# Whether it can be read


@_link("The event was written by a version that this one does not know.")
def schema_unknown(event: Event, _before: ChainState) -> str | None:
    """``e.schema_version`` is not the one that this Baton writes; what *e* says is not judged."""
    if event.schema_version == SCHEMA_VERSION:
        return None
    return f"schema {event.schema_version}, and this Baton knows {SCHEMA_VERSION}"


@_link("The event is of a type that does not exist.")
def type_unknown(event: Event, _before: ChainState) -> str | None:
    """``e.type`` is no ``EventType``; what *e* says is not judged."""
    return None if event.type in SHAPES else f"type {event.type!r}"


@_link("The event was edited after it was written.")
def hash_mismatch(event: Event, _before: ChainState) -> str | None:
    """``e.hash`` is not SHA-256 over the netstrings of the fields of *e*, ``prev`` among them."""
    try:
        found = recomputed_hash(event)
    except ValueError:
        return "it cannot be encoded"
    return None if found == event.hash else f"its fields hash to {found[:12]}"


# What an event says


@_meaning("The payload cannot be read, or lacks a key.")
def payload_invalid(seen: Seen) -> str | None:
    """``e.payload`` is no JSON object in canonical form, or lacks a key that its shape has.

    Or a key that ends in ``_us`` or ``_at`` holds neither a whole number nor null.
    """
    try:
        # What is no JSON object reads as an empty one, which differs from it in this form.
        canonical = canonical_payload(seen.data) == seen.event.payload
    except (ValueError, RecursionError):
        canonical = False
    if not canonical:
        return "no JSON object in canonical form"
    needed = _needed(seen.type, with_reason=bool(seen.event.reason))
    if not needed <= seen.data.keys():
        return f"without {', '.join(sorted(needed - seen.data.keys()))}"
    for key in _timed(seen.type):
        value = seen.data.get(key)
        if value is not None and type(value) is not int:
            return f"no whole number in {key}"
    return None


@_meaning("A reason, outcome or action is none of the words of the house.")
def word_unknown(seen: Seen) -> str | None:
    """``e.reason``, or a value in ``e.payload``, is not among the words that its shape lists."""
    reason, reasons = seen.event.reason, seen.shape.reasons
    if reason not in reasons and not (reason and ANY[0] in reasons):
        return f"reason {reason!r}"
    for key, words in seen.shape.words.items():
        if key in seen.data and seen.data[key] not in words:
            return f"{key} {seen.data[key]!r}"
    return None


@_meaning("An id that correlates the event is missing.")
def correlation_missing(seen: Seen) -> str | None:
    """A field that the shape of *e* lists among its ids is null or empty."""
    event = seen.event
    missing = [name for name in seen.shape.ids if getattr(event, name) in (None, "")]
    return f"without {', '.join(missing)}" if missing else None


@_meaning("The ids of the event contradict its chain.")
def correlation_mismatch(seen: Seen) -> str | None:
    """``e.chain`` is not that of its task or session, or ``e.run_id`` is not that of its task.

    A new run id comes with ``submitted``, ``resume_requested``, an operator's retry, and the
    claim of a thread of somebody's own runtime that was over; with nothing else.
    """
    event, before, kind = seen.event, seen.before, seen.shape.chain
    if kind == "task":
        named = task_chain(event.task_id or "")
    else:
        named = session_chain(event.session_id or "") if kind == "session" else event.chain
    if event.chain != named:
        return f"its ids name the chain {named}"
    if kind != "task" or before.blind or before.run_id is None:
        return None
    if begins_run(before, seen.type, seen.data):
        return f"run {event.run_id} is not new" if event.run_id == before.run_id else None
    if event.run_id != before.run_id:
        return f"run {event.run_id}, and the task's run is {before.run_id}"
    return None


@_meaning("This cannot have happened after what came before.")
def impossible_order(seen: Seen) -> str | None:
    """``task_after`` or ``session_after`` refuses *e* in the state that its chain has told.

    A claim of a task that was held needs a reason, and not the operator's; any other claim has
    the reason for which the run was left unfinished, or none.
    """
    event, before = seen.event, seen.before
    if before.blind or seen.type is _E.FAULT_INJECTED:
        return None
    if state_after(before, seen.type, seen.data) is None:
        return f"after {before.state or 'nothing'}"
    if seen.type is not _E.CLAIMED:
        return None
    if before.state is TaskState.ACTIVE:
        wrong = event.reason in (None, TakeoverReason.OPERATOR)
        return f"taken from its holder for {event.reason or 'no reason'}" if wrong else None
    if event.reason != before.vacated:
        left = f"left for {before.vacated}" if before.vacated else "not left unfinished"
        return f"claimed for {event.reason or 'no reason'}, and it was {left}"
    return None


@_meaning("An epoch did not rise, or fell.")
def epoch_regressed(seen: Seen) -> str | None:
    """``e.epoch`` is below the highest epoch of its task, or the same where it has to rise.

    It rises with a claim, a quarantine, and an operator's action other than a retry.
    """
    epoch, highest = seen.event.epoch, seen.before.epoch
    if seen.shape.chain != "task" or epoch is None:
        return None
    if epoch < highest:
        return f"epoch {epoch} after {highest}"
    if epoch == highest and raises_epoch(seen.type, seen.data):
        return f"epoch {epoch} again"
    return None


@_meaning("The event is not the holder's.")
def holder_mismatch(seen: Seen) -> str | None:
    """What only a holder writes has another worker, session or epoch than the last claim.

    Or a takeover says that somebody else held the task before.
    """
    event, holder = seen.event, seen.before.holder
    if seen.before.blind or holder is None:
        return None
    if seen.type in HOLDER_EVENTS:
        found: tuple[Any, ...] = (event.worker_id, event.session_id, event.epoch)
    elif seen.type is _E.CLAIMED and event.reason is not None:
        keys = ("previous_worker", "previous_session", "previous_epoch")
        found = tuple(seen.data.get(key) for key in keys)
    else:
        return None
    if found == holder:
        return None
    return "{} ({}, epoch {}), and {} ({}, epoch {}) held it".format(*found, *holder)


@_meaning("Time runs backwards.")
def negative_time(seen: Seen) -> str | None:
    """``e.at < p.at``; or not ``last_sign_at <= lost_at <= e.at``; or a length below 0.

    Wall time may step, and is not judged.
    """
    event, data = seen.event, seen.data
    if seen.before.at is not None and event.at < seen.before.at:
        return f"{seen.before.at - event.at} us before the event before it"
    for key in _lengths(seen.type):
        value = data.get(key)
        if type(value) is int and value < 0:
            return f"{key} of {value}"
    if "lost_at" in data:
        passed = (data.get("last_sign_at"), data["lost_at"], event.at)
        for (earlier, later), phase in zip(pairwise(passed), ("detect", "claim"), strict=True):
            if type(earlier) is int and type(later) is int and earlier > later:
                return f"{phase} phase of {later - earlier} us"
    return None


@_meaning("The step does not continue the step before it: history was lost, or has forked.")
def step_discontinuous(seen: Seen) -> str | None:
    """``parent`` of a step is not the last checkpoint of its namespace that the ledger tells of.

    Threads of somebody's own runtime are not judged: it may go back to an earlier checkpoint.
    """
    ns = seen.data.get("ns")
    if seen.type is not _E.STEP or seen.before.external or not isinstance(ns, str):
        return None
    last, parent = seen.before.steps.get(ns), seen.data.get("parent")
    if last is None or parent == last:
        return None
    return f"it follows {parent or 'nothing'}, and the last step was {last}"


def seal_mismatch(told: ChainState | None, sealed: str) -> str:
    """A sealed hash is that of no event of its chain: the chain was rewritten, or cut short."""
    if told is None:
        return f"the chain is gone, and its hash was {sealed[:12]}"
    return (
        f"no event has the sealed hash {sealed[:12]}; the last of {told.n + 1} is {told.hash[:12]}"
    )


_enter("The ledger is not the one that was sealed.", seal_mismatch)
