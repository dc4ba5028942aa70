"""Named points in the life of a session and of a lease, at which a trial may step in.

Whoever drives a trial puts a listener here, from code inside the process on trial: it may note
that the point was reached, hold the thread, stop or end the process, or raise. Nothing else ever
sets it, no option and no environment variable, so in production a point costs one comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    """Where a process may be caught, in the order of a run."""

    #: Tasks were found, and the claiming transaction is about to begin.
    CLAIM_BEFORE = "claim.before"
    #: A claim is committed, and its run has not begun.
    CLAIM_AFTER = "claim.after"
    #: The state was read for a run that continues, and nothing was said of it yet.
    RESUME_LOAD = "resume.load"
    #: A node is about to start.
    STEP_BEGIN = "step.begin"
    #: An effect is not recorded, and is about to happen.
    EFFECT_BEFORE = "effect.before"
    #: It has happened, and its result is not recorded.
    EFFECT_AFTER = "effect.after"
    #: A node has ended well, and nothing it wrote was handed over.
    STEP_END = "step.end"
    #: A node's writes reach the saver.
    WRITES_BEFORE = "writes.before"
    #: They wait for their checkpoint; those that cannot wait are durable.
    WRITES_AFTER = "writes.after"
    #: A checkpoint is encoded, and its transaction has not begun.
    CKPT_BEFORE = "ckpt.before"
    #: Everything is written and nothing committed: the transaction and the write lock are held.
    CKPT_WRITE = "ckpt.write"
    #: The checkpoint is durable, and LangGraph does not know it.
    CKPT_AFTER_WRITE = "ckpt.after_write"
    #: The last checkpoint is durable, and the run is not recorded as done.
    DONE_BEFORE = "done.before"
    #: It is recorded as done, and the session does not know it.
    DONE_AFTER = "done.after"
    #: A lease, or a session with all its leases, is about to be given back.
    RELEASE_BEFORE = "release.before"
    #: A peer was seen to be silent or gone, and its loss is about to be declared.
    BURY_BEFORE = "bury.before"
    #: A heartbeat is about to be sent.
    HB_BEFORE = "hb.before"
    #: The store has renewed the session, and the worker does not know it.
    HB_AFTER_WRITE = "hb.after_write"


#: Told the point and whom it concerns: a task id, or a session id where a session is meant.
Listener = Callable[[Point, str], None]

#: Set by a trial from within its own process; None everywhere else.
listener: Listener | None = None


def reach(point: Point, about: str) -> None:
    """Say that a point is reached.

    Args:
        point: which one.
        about: the task, or the session for heartbeats, claims and the end of a session;
            for a loss, the session that declares it.
    """
    if listener is not None:
        listener(point, about)
