"""The words of the house: every label value that metrics, ledger and documents share."""

from __future__ import annotations

from enum import StrEnum


class SessionState(StrEnum):
    """What one incarnation of a worker is doing."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    STOPPED = "stopped"
    LOST = "lost"


#: A session in one of these may hold leases; the other two are final.
LIVE_SESSION_STATES = (
    SessionState.STARTING,
    SessionState.IDLE,
    SessionState.BUSY,
    SessionState.DRAINING,
)


class Freshness(StrEnum):
    """How old a session's heartbeat is, derived from its own interval and TTL."""

    RUNNING = "running"
    WARNING = "warning"
    STALE = "stale"


class LeaseState(StrEnum):
    """The state of the lease on a task."""

    ACTIVE = "active"
    WARNING = "warning"
    EXPIRED = "expired"
    RELEASED = "released"
    TAKEN_OVER = "taken_over"


class TaskState(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    ACTIVE = "active"
    INTERRUPTED = "interrupted"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"


class TakeoverReason(StrEnum):
    """Why a run needed another session to continue it."""

    CRASHED = "crashed"
    HEARTBEAT_LOST = "heartbeat_lost"
    PROGRESS_STALLED = "progress_stalled"
    DRAINED = "drained"
    OPERATOR = "operator"


#: After one of these without a durable write since, the task itself is suspect.
FRUITLESS_REASONS = (
    TakeoverReason.CRASHED,
    TakeoverReason.HEARTBEAT_LOST,
    TakeoverReason.PROGRESS_STALLED,
)


class TakeoverOutcome(StrEnum):
    """What the successor found."""

    RESUMED = "resumed"
    RESTARTED = "restarted"
    COMPLETED = "completed"
    ABANDONED = "abandoned"


class TakeoverPhase(StrEnum):
    """The parts of a takeover, in the order in which they pass."""

    DETECT = "detect"
    CLAIM = "claim"
    RESTORE = "restore"
    PROGRESS = "progress"


class Evidence(StrEnum):
    """How the loss of a session was known."""

    FLOCK = "flock"
    PIDFD = "pidfd"
    CONNECTION = "connection"
    TTL = "ttl"


class EffectOutcome(StrEnum):
    """What became of one call of ``baton.once``."""

    RECORDED = "recorded"
    DEDUPLICATED = "deduplicated"


class EventType(StrEnum):
    """The events of the ledger: those on a task's chain first, then those on a session's."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    RESUMED = "resumed"
    STEP = "step"
    EFFECT = "effect"
    EFFECT_DEDUPLICATED = "effect_deduplicated"
    RELEASED = "released"
    DRAINED = "drained"
    INTERRUPTED = "interrupted"
    RESUME_REQUESTED = "resume_requested"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    OPERATOR_ACTION = "operator_action"
    SESSION_STARTED = "session_started"
    HEARTBEAT_LATE = "heartbeat_late"
    SESSION_DRAINING = "session_draining"
    SESSION_STOPPED = "session_stopped"
    SESSION_LOST = "session_lost"
    WRITE_REFUSED = "write_refused"
    FAULT_INJECTED = "fault_injected"


SESSION_EVENTS = (
    EventType.SESSION_STARTED,
    EventType.HEARTBEAT_LATE,
    EventType.SESSION_DRAINING,
    EventType.SESSION_STOPPED,
    EventType.SESSION_LOST,
    EventType.WRITE_REFUSED,
)
