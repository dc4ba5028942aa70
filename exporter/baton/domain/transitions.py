"""What may follow what: tasks, sessions, the freshness of heartbeats and the state of leases."""

from __future__ import annotations

from collections.abc import Mapping

from baton.domain.words import EventType, Freshness, LeaseState, SessionState, TaskState

_E = EventType
_T = TaskState

#: What an operator may do to a task: the states it is legal in, and the state it leads to.
OPERATOR_ACTIONS: Mapping[str, tuple[frozenset[TaskState], TaskState | None]] = {
    "retry": (frozenset({_T.FAILED, _T.QUARANTINED}), _T.PENDING),
    "release": (frozenset({_T.ACTIVE}), _T.PENDING),
    "takeover": (frozenset({_T.ACTIVE}), _T.PENDING),
    "cancel": (frozenset({_T.PENDING, _T.ACTIVE, _T.INTERRUPTED, _T.QUARANTINED}), _T.FAILED),
    # A restore raises the epoch and leaves the task where it is, except that nobody holds it.
    "accept_restore": (frozenset(_T), None),
}

_TASK_MOVES: Mapping[EventType, tuple[frozenset[TaskState], TaskState]] = {
    _E.CLAIMED: (frozenset({_T.PENDING, _T.ACTIVE}), _T.ACTIVE),
    _E.RESUMED: (frozenset({_T.ACTIVE}), _T.ACTIVE),
    _E.STEP: (frozenset({_T.ACTIVE}), _T.ACTIVE),
    _E.EFFECT: (frozenset({_T.ACTIVE}), _T.ACTIVE),
    _E.EFFECT_DEDUPLICATED: (frozenset({_T.ACTIVE}), _T.ACTIVE),
    _E.RELEASED: (frozenset({_T.ACTIVE}), _T.PENDING),
    _E.DRAINED: (frozenset({_T.ACTIVE}), _T.PENDING),
    _E.INTERRUPTED: (frozenset({_T.ACTIVE}), _T.INTERRUPTED),
    _E.RESUME_REQUESTED: (frozenset({_T.INTERRUPTED}), _T.PENDING),
    _E.DONE: (frozenset({_T.ACTIVE}), _T.DONE),
    _E.FAILED: (frozenset({_T.ACTIVE}), _T.FAILED),
    _E.QUARANTINED: (frozenset({_T.ACTIVE, _T.PENDING}), _T.QUARANTINED),
}

#: A thread in somebody's own runtime is leased again for each of its runs.
_EXTERNAL_REOPEN = frozenset({_T.DONE, _T.FAILED, _T.INTERRUPTED})

_SESSION_MOVES: Mapping[EventType, frozenset[SessionState]] = {
    _E.HEARTBEAT_LATE: frozenset({SessionState.IDLE, SessionState.DRAINING}),
    _E.SESSION_DRAINING: frozenset({SessionState.IDLE}),
    _E.SESSION_STOPPED: frozenset({SessionState.IDLE, SessionState.DRAINING}),
    _E.SESSION_LOST: frozenset({SessionState.IDLE, SessionState.DRAINING}),
    # A superseded session may be refused at any time, also after it was lost.
    _E.WRITE_REFUSED: frozenset(SessionState),
}

_SESSION_TARGETS: Mapping[EventType, SessionState] = {
    _E.SESSION_DRAINING: SessionState.DRAINING,
    _E.SESSION_STOPPED: SessionState.STOPPED,
    _E.SESSION_LOST: SessionState.LOST,
}


def task_after(
    state: TaskState | None, event: EventType, *, action: str | None = None, external: bool = False
) -> TaskState | None:
    """The state of a task after an event, or None where the event is impossible.

    Args:
        state: the state before; None for a task that does not exist yet.
        event: what happened.
        action: the operator's action, for ``operator_action``.
        external: whether the task belongs to somebody's own runtime.
    """
    if event is _E.SUBMITTED:
        return _T.PENDING if state is None else None
    if event is _E.FAULT_INJECTED:
        return state
    if state is None:
        return None
    if event is _E.OPERATOR_ACTION:
        legal, after = OPERATOR_ACTIONS.get(action or "", (frozenset[TaskState](), None))
        if state not in legal:
            return None
        return after or (_T.PENDING if state is _T.ACTIVE else state)
    if event is _E.CLAIMED and external and state in _EXTERNAL_REOPEN:
        return _T.ACTIVE
    move = _TASK_MOVES.get(event)
    return move[1] if move is not None and state in move[0] else None


def session_after(state: SessionState | None, event: EventType) -> SessionState | None:
    """The state of a session after an event of its chain, or None where it is impossible."""
    if event is _E.SESSION_STARTED:
        return SessionState.IDLE if state is None else None
    if event is _E.FAULT_INJECTED:
        return state
    if state is None or state not in _SESSION_MOVES.get(event, ()):
        return None
    return _SESSION_TARGETS.get(event, state)


def freshness(age_us: int, *, interval_us: int, ttl_us: int) -> Freshness:
    """How old a heartbeat is by its own session's standards.

    Args:
        age_us: microseconds since the last heartbeat.
        interval_us: the session's heartbeat interval.
        ttl_us: the session's lease TTL.
    """
    if age_us >= ttl_us:
        return Freshness.STALE
    return Freshness.WARNING if age_us >= 2 * interval_us else Freshness.RUNNING


_LEASE_OF_FRESHNESS = {
    Freshness.RUNNING: LeaseState.ACTIVE,
    Freshness.WARNING: LeaseState.WARNING,
    Freshness.STALE: LeaseState.EXPIRED,
}


def lease_state(session: SessionState, fresh: Freshness) -> LeaseState:
    """The state of a held lease, which is that of the session that carries it."""
    if session in (SessionState.LOST, SessionState.STOPPED):
        return LeaseState.EXPIRED
    return _LEASE_OF_FRESHNESS[fresh]
