"""What each event of the ledger carries: the schema that writers keep and readers rely on.

One ``Shape`` per event type. ``baton.domain.checks`` holds events to it, and the diagnostics
model in ``specs/`` is rendered from it. Keys may be added to a payload; none is taken away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from baton.domain.transitions import OPERATOR_ACTIONS
from baton.domain.words import EventType, Evidence, TakeoverOutcome, TakeoverReason

_E = EventType
_R = TakeoverReason

#: Any text may stand as the reason.
ANY = ("*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What an event of one type carries.

    Attributes:
        chain: ``task`` or ``session``; ``any`` for what a trial puts into either.
        meaning: what happened, in one sentence.
        ids: the fields that correlate it, which are always there.
        reasons: what ``reason`` may be; None among them where it may be absent.
        payload: the keys that are always there and what they mean; those that end in ``_us`` or
            ``_at`` are whole microseconds.
        with_reason: keys that are always there if there is a reason.
        further: keys that are there in some cases, and in which.
        words: what the value of a key may be, where it is one of the words of the house.
    """

    chain: str
    meaning: str
    ids: tuple[str, ...] = ()
    reasons: tuple[str | None, ...] = (None,)
    payload: Mapping[str, str] = field(default_factory=dict)
    with_reason: Mapping[str, str] = field(default_factory=dict)
    further: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)


_RUN = ("task_id", "run_id")
_OPERATED = (*_RUN, "epoch")
_HELD = (*_RUN, "worker_id", "session_id", "epoch")
_STEP = (*_RUN, "step_id", "worker_id", "session_id", "epoch")
_SESSION = ("worker_id", "session_id")

_EVIDENCE = (None, *Evidence)
_FOUND = tuple(found for found in TakeoverOutcome if found is not TakeoverOutcome.ABANDONED)

_POOL = "the pool whose workers may run the task"
_GRAPH = "the name of its graph"
_EXTERNAL = "true: the task runs in somebody's own runtime"

#: What a takeover says of the holder before.
_PREVIOUS = {
    "evidence": "how the loss was known; null for silence of progress and for planned ends",
    "last_sign_at": "last sign of life of the holder before; of progress, if it was stuck",
    "lost_at": "when the loss was established, or the lease given back",
    "previous_epoch": "its epoch",
    "previous_session": "its session",
    "previous_worker": "its worker",
    "silence_us": "from its last heartbeat to the loss",
}

SHAPES: Mapping[EventType, Shape] = {
    _E.SUBMITTED: Shape(
        chain="task",
        meaning="The task was accepted, and its first run begins.",
        ids=_RUN,
        payload={
            "external": _EXTERNAL,
            "graph": _GRAPH,
            "input_digest": "SHA-256 of the encoded input; null for an external task",
            "pool": _POOL,
        },
    ),
    _E.CLAIMED: Shape(
        chain="task",
        meaning="A session holds the task under a new epoch; with a reason, it is a takeover.",
        ids=_HELD,
        reasons=(None, *_R),
        payload={
            "deadline_us": "how long it may go without a durable write; null for no deadline",
            "external": _EXTERNAL,
            "fruitless": "takeovers in a row, with this one, that brought nothing durable",
            "graph": _GRAPH,
            "pool": _POOL,
            "ready_at": "since when the task waited",
        },
        with_reason=_PREVIOUS,
        words={"evidence": _EVIDENCE},
    ),
    _E.RESUMED: Shape(
        chain="task",
        meaning="The state is loaded, and the first node of a continued run may start.",
        ids=_HELD,
        payload={"outcome": "what the holder found"},
        words={"outcome": _FOUND},
    ),
    _E.STEP: Shape(
        chain="task",
        meaning="A super-step is durable, with what its nodes wrote.",
        ids=_STEP,
        payload={
            "digest": "SHA-256 of the encoded checkpoint",
            "ns": "its checkpoint namespace; empty for the graph itself",
            "parent": "the checkpoint before it in that namespace; null for the first",
            "source": "why LangGraph made it: input, loop, update or fork",
            "step": "LangGraph's number of the super-step; -1 is the input",
            "writes": "how many pending writes came with it",
        },
    ),
    _E.EFFECT: Shape(
        chain="task",
        meaning="An effect happened, and its result is recorded.",
        ids=_STEP,
        payload={"effect_key": "what its target may know it by"},
    ),
    _E.EFFECT_DEDUPLICATED: Shape(
        chain="task",
        meaning="An effect was not repeated: its recorded result stands.",
        ids=_STEP,
        payload={"effect_key": "what its target may know it by"},
    ),
    _E.RELEASED: Shape(
        chain="task",
        meaning="The holder's session ended, and the run waits for another.",
        ids=_HELD,
        reasons=(_R.DRAINED, _R.HEARTBEAT_LOST),
    ),
    _E.DRAINED: Shape(
        chain="task",
        meaning="The holder left the run between two super-steps, for another to continue.",
        ids=_HELD,
        reasons=(_R.DRAINED,),
    ),
    _E.INTERRUPTED: Shape(
        chain="task",
        meaning="The run waits for an answer, and nobody holds the task.",
        ids=_HELD,
        further={"external": f"{_EXTERNAL} (there only then)"},
    ),
    _E.RESUME_REQUESTED: Shape(
        chain="task",
        meaning="The answer is stored, and a new run begins.",
        ids=_OPERATED,
        reasons=(_R.OPERATOR,),
        payload={
            "graph": _GRAPH,
            "pool": _POOL,
            "value_digest": "SHA-256 of the encoded answer",
        },
    ),
    _E.DONE: Shape(
        chain="task",
        meaning="The run is finished.",
        ids=_HELD,
        further={
            "external": f"{_EXTERNAL} (there only then)",
            "state_digest": "SHA-256 of the encoded final state (not external)",
        },
    ),
    _E.FAILED: Shape(
        chain="task",
        meaning="The run ended in an error.",
        ids=_HELD,
        reasons=ANY,
        payload={"error_type": "the class of the error, also its reason"},
        further={
            "error_digest": "SHA-256 of the error's text",
            "external": f"{_EXTERNAL} (there only then)",
        },
    ),
    _E.QUARANTINED: Shape(
        chain="task",
        meaning="The task was put aside, because one takeover after another brought nothing.",
        ids=_OPERATED,
        reasons=(None, *_R),
        payload={
            "fruitless": "how many in a row",
            "previous_session": "the last holder's session",
            "previous_worker": "the last holder's worker",
        },
    ),
    _E.OPERATOR_ACTION: Shape(
        chain="task",
        meaning="An operator acted on the task.",
        ids=_OPERATED,
        reasons=(_R.OPERATOR,),
        payload={"action": "what was done"},
        further={
            "graph": f"{_GRAPH} (retry)",
            "pool": f"{_POOL} (retry)",
            "witness_epoch": "the highest epoch anybody had seen (accept_restore)",
            "witness_position": "how far anybody had seen the ledger go (accept_restore)",
        },
        words={"action": tuple(OPERATOR_ACTIONS)},
    ),
    _E.SESSION_STARTED: Shape(
        chain="session",
        meaning="A worker began a session.",
        ids=_SESSION,
        payload={
            "host": "the machine's name",
            "interval_us": "time between two heartbeats",
            "kind": "worker, or embedded for somebody's own runtime",
            "pid": "the process",
            "pool": "the worker's pool",
            "ttl_us": "silence after which others may declare it lost",
            "version": "the version of Baton",
        },
    ),
    _E.HEARTBEAT_LATE: Shape(
        chain="session",
        meaning="A heartbeat came later than the TTL and was accepted, as nobody had acted yet.",
        ids=_SESSION,
        payload={"silence_us": "since the heartbeat before"},
    ),
    _E.SESSION_DRAINING: Shape(
        chain="session", meaning="The session takes nothing new.", ids=_SESSION
    ),
    _E.SESSION_STOPPED: Shape(
        chain="session",
        meaning="The session ended by its own will.",
        ids=_SESSION,
        reasons=(_R.DRAINED, _R.HEARTBEAT_LOST),
        payload={"released": "how many tasks it still held and gave back"},
    ),
    _E.SESSION_LOST: Shape(
        chain="session",
        meaning="The session was declared lost, which is final.",
        ids=_SESSION,
        reasons=tuple(Evidence),
        payload={
            "evidence": "how the loss was known, also its reason",
            "last_sign_at": "its last sign of life",
            "lost_at": "when the loss was established; this record may come later",
            "silence_us": "from its last heartbeat to the loss",
        },
        words={"evidence": tuple(Evidence)},
    ),
    _E.WRITE_REFUSED: Shape(
        chain="session",
        meaning="The fence refused a write of this session on a task that is not its own any more.",
        ids=("task_id", "session_id", "epoch"),
        reasons=("superseded",),
        payload={
            "pool": _POOL,
            "what": "what was refused",
        },
    ),
    _E.FAULT_INJECTED: Shape(
        chain="any",
        meaning="A trial broke something on purpose.",
        reasons=(None, *ANY),
    ),
}
