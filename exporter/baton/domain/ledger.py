"""Ledger events, their encoding and their hash chains.

A chain belongs to a task (``task:<id>``) or to a session (``session:<id>``). Each event carries
the hash of the one before it in its chain; the first carries ``GENESIS``.

The encoding is a run of netstrings (https://cr.yp.to/proto/netstrings.txt), one per field in
``FIELDS`` order, with ``-,`` for a field that is absent. It is unambiguous, needs no escaping,
and can be written in any store's own language, so that a hash computed inside PostgreSQL equals
one computed here; tests/unit/ledger_vectors.json holds the golden vectors both must meet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from json.encoder import encode_basestring_ascii as _quoted
from operator import attrgetter
from typing import Any

from baton.domain.words import EventType

SCHEMA_VERSION = "1.0.0"
GENESIS = "0" * 64

#: The hashed fields in their fixed order. ``seq`` is left out: it only orders the tail.
FIELDS = (
    "schema_version",
    "chain",
    "n",
    "at",
    "wall",
    "type",
    "task_id",
    "run_id",
    "step_id",
    "worker_id",
    "session_id",
    "epoch",
    "reason",
    "payload",
    "prev",
)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the ledger.

    Attributes:
        chain: the chain it belongs to.
        n: its dense position in the chain, from 0.
        at: store time, integer microseconds.
        wall: wall-clock time of the writer, integer microseconds since the Unix epoch.
        type: what happened.
        payload: canonical JSON text: digests and figures, never user values.
        prev: the hash of event ``n - 1``, or ``GENESIS``.
        hash: ``digest`` of the fields above.
        seq: the place in the store's tail; may have gaps, not hashed.
    """

    chain: str
    n: int
    at: int
    wall: int
    type: str
    task_id: str | None
    run_id: str | None
    step_id: str | None
    worker_id: str | None
    session_id: str | None
    epoch: int | None
    reason: str | None
    payload: str
    prev: str
    hash: str
    seq: int = 0
    schema_version: str = SCHEMA_VERSION

    @cached_property
    def data(self) -> dict[str, Any]:
        """The payload as a mapping; empty where it is none, so that a reader can go on.

        Decoded once, however many readers ask; nobody changes it.

        ``baton.domain.checks`` names an event whose payload cannot be read.
        """
        try:
            decoded = _decoded(self.payload)
        except (ValueError, RecursionError):
            return {}
        return decoded if isinstance(decoded, dict) else {}

    def to_dict(self) -> dict[str, Any]:
        """The event as plain values, fields in their fixed order, for JSON Lines."""
        fields = {name: getattr(self, name) for name in FIELDS}
        return {**fields, "hash": self.hash, "seq": self.seq}


def task_chain(task_id: str) -> str:
    """The chain of a task."""
    return f"task:{task_id}"


def session_chain(session_id: str) -> str:
    """The chain of a session."""
    return f"session:{session_id}"


def made_once(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """What ``encoder.encode`` does, without making its C encoder anew for every call."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    separators = (encoder.key_separator, encoder.item_separator)
    switches = (encoder.sort_keys, encoder.skipkeys, encoder.allow_nan)
    encode = make(None, encoder.default, _quoted, None, *separators, *switches)
    return lambda value: "".join(encode(value, 0))


_canonical = made_once(json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False))


_scan = json.JSONDecoder().raw_decode


def _decoded(payload: str) -> Any:
    """``json.loads``, at half its cost for what has nothing around it, as canonical JSON has."""
    if payload[:1] != "{":
        return json.loads(payload)
    decoded, end = _scan(payload)
    return decoded if end == len(payload) else json.loads(payload)


def canonical_payload(fields: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces, ASCII only, so that equal payloads are equal bytes."""
    return _canonical(fields)


def netstring(value: str | int | None) -> str:
    """One field, length first (in bytes of UTF-8); an absent field is ``-,``."""
    if value is None:
        return "-,"
    text = value if type(value) is str else str(value)
    length = len(text) if text.isascii() else len(text.encode())
    return f"{length}:{text},"


def digest(values: Iterable[str | int | None]) -> str:
    """The SHA-256 of ``values`` as netstrings, in hexadecimal.

    Args:
        values: the fields of an event in ``FIELDS`` order.
    """
    texts = [None if value is None else str(value) for value in values]
    encoded = "".join(["-," if text is None else f"{len(text)}:{text}," for text in texts])
    if not encoded.isascii():
        # A length counts bytes: only now is it worth the while to count them one by one.
        encoded = "".join(map(netstring, texts))
    return hashlib.sha256(encoded.encode()).hexdigest()


def seal(  # noqa: PLR0913 - one argument per field of the record
    *,
    chain: str,
    n: int,
    at: int,
    wall: int,
    type: EventType,  # noqa: A002 - the field's published name
    prev: str,
    payload: str,
    task_id: str | None = None,
    run_id: str | None = None,
    step_id: str | None = None,
    worker_id: str | None = None,
    session_id: str | None = None,
    epoch: int | None = None,
    reason: str | None = None,
) -> tuple[str | int | None, ...]:
    """The stored row of an event: its hashed fields in order, then its hash.

    A tuple and not an ``Event``, because this runs once per super-step.
    """
    return seal_row(
        chain,
        n,
        at,
        wall,
        type.value,
        task_id,
        run_id,
        step_id,
        worker_id,
        session_id,
        epoch,
        reason,
        payload,
        prev,
    )


def seal_row(*fields: str | int | None) -> tuple[str | int | None, ...]:
    """``seal`` with the fields after ``schema_version`` given in ``FIELDS`` order."""
    row = (SCHEMA_VERSION, *fields)
    return (*row, digest(row))


class StepSealer:
    """``seal`` for the steps of one lease: what never changes is encoded once.

    A step is sealed for every super-step of every run, so this path is worth a class.
    """

    __slots__ = ("_after", "_before", "_fixed", "_middle")

    def __init__(
        self, task_id: str, run_id: str, worker_id: str, session_id: str, epoch: int
    ) -> None:
        """Encode the fields that all steps of a lease share.

        Args:
            task_id: the task.
            run_id: its run.
            worker_id: the holder's worker.
            session_id: the holder.
            epoch: the lease's epoch.
        """
        chain, type_ = task_chain(task_id), EventType.STEP.value
        self._fixed = (chain, type_, task_id, run_id, worker_id, session_id, epoch)
        self._before = netstring(SCHEMA_VERSION) + netstring(chain)
        self._middle = netstring(type_) + netstring(task_id) + netstring(run_id)
        self._after = netstring(worker_id) + netstring(session_id) + netstring(epoch) + "-,"

    def seal(
        self, n: int, at: int, wall: int, step_id: str, payload: str, prev: str
    ) -> tuple[str | int | None, ...]:
        """The stored row of a step; the same as ``seal`` makes.

        Args:
            n: its place in the chain.
            at: store time in microseconds.
            wall: wall time in microseconds.
            step_id: the checkpoint.
            payload: from ``step_payload``.
            prev: the hash of the event before.
        """
        encoded = (
            f"{self._before}{netstring(n)}{netstring(at)}{netstring(wall)}{self._middle}"
            f"{netstring(step_id)}{self._after}{netstring(payload)}{netstring(prev)}"
        )
        chain, type_, task_id, run_id, worker_id, session_id, epoch = self._fixed
        return (
            SCHEMA_VERSION,
            chain,
            n,
            at,
            wall,
            type_,
            task_id,
            run_id,
            step_id,
            worker_id,
            session_id,
            epoch,
            None,
            payload,
            prev,
            hashlib.sha256(encoded.encode()).hexdigest(),
        )


def step_payload(
    digest_: str, ns: str, parent: str | None, source: str, step: int, writes: int
) -> str:
    """``canonical_payload`` of a step event, at a tenth of its cost.

    Args:
        digest_: SHA-256 of the encoded checkpoint.
        ns: the checkpoint namespace.
        parent: the checkpoint before it.
        source: why LangGraph made it.
        step: LangGraph's number of the super-step.
        writes: how many pending writes came with it.
    """
    parent_json = "null" if parent is None else _quoted(parent)
    return (
        f'{{"digest":"{digest_}","ns":{_quoted(ns)},"parent":{parent_json},'
        f'"source":{_quoted(source)},"step":{step},"writes":{writes}}}'
    )


_ROW = ("seq", *FIELDS, "hash")


def event_from_row(row: tuple[Any, ...]) -> Event:
    """Read back ``(seq, *seal(...))``."""
    # Not by ``Event(...)``, which sets the fields of a frozen class one by one: whole ledgers are
    # read through here.
    event = object.__new__(Event)
    event.__dict__.update(zip(_ROW, row, strict=True))
    return event


#: The type of each field of a written event, and those that may be absent.
_TYPES: Mapping[str, type] = {
    **dict.fromkeys((*FIELDS, "hash"), str),
    **dict.fromkeys(("n", "at", "wall", "epoch", "seq"), int),
}
_MAY_LACK = frozenset(
    {"task_id", "run_id", "step_id", "worker_id", "session_id", "epoch", "reason"}
)
_all_fields = attrgetter(*_TYPES)

#: The types of all fields as most events have them: looked up at once, and not one by one.
_PLAIN = frozenset(
    tuple(type(None) if name in lacking else wanted for name, wanted in _TYPES.items())
    for count in range(len(_MAY_LACK) + 1)
    for lacking in map(frozenset, combinations(sorted(_MAY_LACK), count))
)


def odd_field(fields: Mapping[str, Any] | Event) -> str | None:
    """What is wrong with the first field that is of a type which no event has; None if none is.

    Args:
        fields: an event, or plain values by name.
    """
    if isinstance(fields, Event) and tuple(map(type, _all_fields(fields))) in _PLAIN:
        return None
    for name, wanted in _TYPES.items():
        value = getattr(fields, name) if isinstance(fields, Event) else fields[name]
        # A truth value is a whole number to Python and to nobody else.
        if type(value) is not wanted and not (value is None and name in _MAY_LACK):
            return f"{name} is {value!r}, and not {wanted.__name__}"
    return None


def event_from_dict(fields: Mapping[str, Any]) -> Event:
    """Read back ``Event.to_dict``, for instance a line of an exported ledger.

    Args:
        fields: plain values by name; names that are not known are left out.

    Raises:
        ValueError: a field is not there or is of the wrong type.
    """
    if lacking := [name for name in _TYPES if name not in fields]:
        raise ValueError(f"an event lacks {', '.join(lacking)}")
    if odd := odd_field(fields):
        raise ValueError(f"an event's {odd}")
    return Event(**{name: fields[name] for name in _TYPES})


_hashed_fields = attrgetter(*FIELDS)


def recomputed_hash(event: Event) -> str:
    """The hash that ``event`` ought to carry."""
    return digest(_hashed_fields(event))
