"""What may follow what: the tables of tasks, sessions, heartbeats and leases."""

from __future__ import annotations

import itertools

import pytest

from baton.domain.transitions import (
    OPERATOR_ACTIONS,
    freshness,
    lease_state,
    session_after,
    task_after,
)
from baton.domain.words import (
    SESSION_EVENTS,
    EventType,
    Freshness,
    LeaseState,
    SessionState,
    TaskState,
)

E = EventType
T = TaskState
S = SessionState

#: Every move of a task that is possible, by the event; what is not listed is impossible.
TASK_MOVES = {
    E.SUBMITTED: {None: T.PENDING},
    E.CLAIMED: {T.PENDING: T.ACTIVE, T.ACTIVE: T.ACTIVE},
    E.RESUMED: {T.ACTIVE: T.ACTIVE},
    E.STEP: {T.ACTIVE: T.ACTIVE},
    E.EFFECT: {T.ACTIVE: T.ACTIVE},
    E.EFFECT_DEDUPLICATED: {T.ACTIVE: T.ACTIVE},
    E.RELEASED: {T.ACTIVE: T.PENDING},
    E.DRAINED: {T.ACTIVE: T.PENDING},
    E.INTERRUPTED: {T.ACTIVE: T.INTERRUPTED},
    E.RESUME_REQUESTED: {T.INTERRUPTED: T.PENDING},
    E.DONE: {T.ACTIVE: T.DONE},
    E.FAILED: {T.ACTIVE: T.FAILED},
    E.QUARANTINED: {T.ACTIVE: T.QUARANTINED, T.PENDING: T.QUARANTINED},
    E.OPERATOR_ACTION: {},
    E.FAULT_INJECTED: {state: state for state in T},
}

OPERATOR_MOVES = {
    "retry": {T.FAILED: T.PENDING, T.QUARANTINED: T.PENDING},
    "release": {T.ACTIVE: T.PENDING},
    "takeover": {T.ACTIVE: T.PENDING},
    "cancel": dict.fromkeys((T.PENDING, T.ACTIVE, T.INTERRUPTED, T.QUARANTINED), T.FAILED),
    "accept_restore": {state: T.PENDING if state is T.ACTIVE else state for state in T},
}

STATES = (None, *T)


@pytest.mark.parametrize("event", [event for event in E if event not in SESSION_EVENTS])
def test_moves_of_a_task(event: EventType) -> None:
    """Each state and event: the move of the table, or none."""
    moves = {state: after for state in STATES if (after := task_after(state, event))}
    assert moves == TASK_MOVES[event]


@pytest.mark.parametrize("event", SESSION_EVENTS)
def test_an_event_of_a_session_moves_no_task(event: EventType) -> None:
    """It belongs to another chain."""
    assert [task_after(state, event) for state in STATES] == [None] * len(STATES)


@pytest.mark.parametrize("action", [*OPERATOR_ACTIONS, "dance", None])
def test_moves_by_an_operator(action: str | None) -> None:
    """Each action in each state; an action that does not exist is never possible."""
    moves = {
        state: after
        for state in STATES
        if (after := task_after(state, E.OPERATOR_ACTION, action=action))
    }
    assert moves == OPERATOR_MOVES.get(action or "", {})


@pytest.mark.parametrize("event", list(E))
def test_a_foreign_thread_is_claimed_again_for_each_run(event: EventType) -> None:
    """It differs from a task of the fleet in that alone."""
    for state in STATES:
        ours = task_after(state, event, action="cancel")
        theirs = task_after(state, event, action="cancel", external=True)
        over = state in (T.DONE, T.FAILED, T.INTERRUPTED)
        reopened = event is E.CLAIMED and over
        assert theirs == (T.ACTIVE if reopened else ours)


LIVE = (S.IDLE, S.DRAINING)
SESSION_MOVES = {
    E.SESSION_STARTED: {None: S.IDLE},
    E.HEARTBEAT_LATE: {state: state for state in LIVE},
    E.SESSION_DRAINING: {S.IDLE: S.DRAINING},
    E.SESSION_STOPPED: dict.fromkeys(LIVE, S.STOPPED),
    E.SESSION_LOST: dict.fromkeys(LIVE, S.LOST),
    E.WRITE_REFUSED: {state: state for state in S},
    E.FAULT_INJECTED: {state: state for state in S},
}


@pytest.mark.parametrize("event", list(E))
def test_moves_of_a_session(event: EventType) -> None:
    """Loss and stop are final, and a refusal may come at any time after the start."""
    moves = {state: after for state in (None, *S) if (after := session_after(state, event))}
    assert moves == SESSION_MOVES.get(event, {})


@pytest.mark.parametrize(
    ("age_us", "expected"),
    [
        (0, Freshness.RUNNING),
        (9, Freshness.RUNNING),
        (10, Freshness.WARNING),
        (14, Freshness.WARNING),
        (15, Freshness.STALE),
        (99, Freshness.STALE),
    ],
)
def test_freshness_has_its_bounds_at_two_intervals_and_at_the_ttl(
    age_us: int, expected: Freshness
) -> None:
    """Each bound belongs to the worse side."""
    assert freshness(age_us, interval_us=5, ttl_us=15) is expected


def test_a_ttl_below_two_intervals_leaves_no_warning() -> None:
    """The TTL decides."""
    assert [freshness(age, interval_us=5, ttl_us=8) for age in (7, 8)] == [
        Freshness.RUNNING,
        Freshness.STALE,
    ]


def test_a_lease_is_as_fresh_as_the_session_that_carries_it() -> None:
    """Unless that session is over: then it has expired, however young the last heartbeat is."""
    expected = {
        Freshness.RUNNING: LeaseState.ACTIVE,
        Freshness.WARNING: LeaseState.WARNING,
        Freshness.STALE: LeaseState.EXPIRED,
    }
    for session, fresh in itertools.product(S, Freshness):
        over = session in (S.LOST, S.STOPPED)
        found = lease_state(session, fresh)
        assert found is (LeaseState.EXPIRED if over else expected[fresh])
