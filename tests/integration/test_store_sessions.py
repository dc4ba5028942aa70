"""Sessions carry leases: how they live, how they are lost, and that a loss is final."""

from __future__ import annotations

import pytest
from tests.support.house import SECOND, TTL_SECONDS, House, ManualClock

from baton.domain.words import Evidence, SessionState, TakeoverReason, TaskState
from baton.errors import LeaseLost
from baton.fleet.model import Claims, Loss

#: These hold for any store.
BOTH_STORES = True


def test_a_session_starts_idle_and_says_so(house: House, clock: ManualClock) -> None:
    """Its first heartbeat is part of its start, and its chain begins with it."""
    member = house.session("w-1")
    session = house.store.sessions.get(member.id)
    assert session is not None
    assert (session.state, session.beat) == (SessionState.IDLE, 1)
    assert session.beat_at == session.started_at == clock.now_us()
    (started,) = house.store.chain(f"session:{member.id}")
    assert (started.type, started.worker_id, started.at) == (
        "session_started",
        "w-1",
        clock.now_us(),
    )


def test_a_restarted_worker_is_a_new_session(house: House) -> None:
    """The name is the worker's; the session is not."""
    first, second = house.session("w-1"), house.session("w-1")
    assert first.id != second.id
    assert first.worker_id == second.worker_id


def test_a_heartbeat_renews_and_tells_store_time(house: House, clock: ManualClock) -> None:
    """One write for the whole worker."""
    member = house.session()
    clock.forward(3)
    beat = member.beat()
    assert (beat.accepted, beat.at_us) == (True, clock.now_us())
    session = house.store.sessions.get(member.id)
    assert session is not None
    assert (session.beat, session.beat_at) == (2, clock.now_us())


def test_heartbeats_are_not_events(house: House) -> None:
    """The ledger grows with what happens, not with time."""
    member = house.session()
    before = len(house.events())
    for _ in range(5):
        member.beat()
    assert len(house.events()) == before


def test_a_heartbeat_later_than_the_ttl_is_accepted(house: House, clock: ManualClock) -> None:
    """Nobody has said that the session is lost, so it is not."""
    member = house.session()
    clock.forward(10 * TTL_SECONDS)
    assert member.beat().accepted
    house.store.note_late(member.id, member.worker_id, 10 * TTL_SECONDS * SECOND)
    late = house.last(f"session:{member.id}")
    assert (late.type, late.data) == ("heartbeat_late", {"silence_us": 150 * SECOND})


def test_loss_is_final(house: House) -> None:
    """A lost session is neither renewed nor lost a second time nor stopped."""
    member = house.session()
    assert house.bury(member)
    assert not member.beat().accepted
    assert not house.bury(member, Evidence.FLOCK)
    assert member.stop() == []
    session = house.store.sessions.get(member.id)
    assert session is not None
    assert (session.state, session.evidence) == (SessionState.LOST, "pidfd")


def test_a_stopped_session_is_not_lost_afterwards(house: House) -> None:
    """The end it chose stands."""
    member = house.session()
    member.stop()
    assert not house.bury(member)
    assert not member.beat().accepted
    assert member.state is SessionState.STOPPED


def test_a_heartbeat_in_between_cancels_a_burial_for_silence(
    house: House, clock: ManualClock
) -> None:
    """Silence is judged on one heartbeat; a newer one wins."""
    member = house.session()
    clock.forward(TTL_SECONDS + 1)
    (seen,) = house.store.peers()[1]
    member.beat()
    assert not house.bury(member, Evidence.TTL, beat=seen.beat)
    assert member.state is SessionState.IDLE
    assert house.bury(member, Evidence.TTL, beat=seen.beat + 1)


def test_evidence_needs_no_heartbeat_to_compare(house: House) -> None:
    """A process that is gone is gone, however lately it was heard of."""
    member = house.session()
    member.beat()
    assert house.bury(member, Evidence.PIDFD)


def test_a_loss_remembers_the_last_sign_of_life(house: House, clock: ManualClock) -> None:
    """What a watcher held counts if it is newer than the last heartbeat."""
    early, late = house.session("w-1"), house.session("w-2")
    heard_at = clock.now_us()
    clock.forward(4)
    for member, sign in ((early, heard_at - SECOND), (late, heard_at + 3 * SECOND)):
        loss = Loss(session_id=member.id, evidence=Evidence.FLOCK, last_sign_at=sign)
        assert house.store.bury(loss)
    found = [house.store.sessions.get(member.id) for member in (early, late)]
    signs = [(s.last_sign_at, s.silence_us, s.ended_at) for s in found if s is not None]
    assert signs == [
        (heard_at, 4 * SECOND, clock.now_us()),
        (heard_at + 3 * SECOND, 4 * SECOND, clock.now_us()),
    ]


def test_peers_are_the_sessions_that_may_hold_leases(house: House, clock: ManualClock) -> None:
    """Of one pool if asked, with the store's time to compare."""
    ours, other = house.session("w-1"), house.session("w-2", pool="gpu")
    gone, stopped = house.session("w-3"), house.session("w-4")
    house.bury(gone)
    stopped.stop()
    now, live = house.store.peers()
    assert now == clock.now_us()
    assert {session.spec.session_id for session in live} == {ours.id, other.id}
    assert [s.spec for s in house.store.peers("gpu")[1]] == [other.spec]


def test_a_session_is_read_back_as_it_registered(house: House) -> None:
    """Evidence of death is judged by what is in here."""
    member = house.session("w-1", kind="embedded", ttl_seconds=3)
    session = house.store.sessions.get(member.id)
    assert session is not None
    assert session.spec == member.spec
    assert house.store.sessions.get("nobody") is None


def test_session_lost_is_recorded_exactly_once(house: House, clock: ManualClock) -> None:
    """By whoever claims next, however many do."""
    lost, first, second = (house.session(f"w-{n}") for n in range(3))
    house.submit("t-1")
    house.submit("t-2")
    lost.claim(limit=1)
    clock.forward(TTL_SECONDS)
    house.bury(lost, Evidence.TTL)
    assert house.types(f"session:{lost.id}") == ["session_started"]
    for member in (first, second, first, second):
        member.claims()
    assert house.types(f"session:{lost.id}") == ["session_started", "session_lost"]
    event = house.last(f"session:{lost.id}")
    assert event.reason == "ttl"
    assert event.data == {
        "evidence": "ttl",
        "last_sign_at": clock.now_us() - TTL_SECONDS * SECOND,
        "lost_at": clock.now_us(),
        "silence_us": TTL_SECONDS * SECOND,
    }


def test_a_loss_without_tasks_is_recorded_too(house: House) -> None:
    """A claimant that finds nothing still tells of the loss."""
    lost, idle = house.session("w-1"), house.session("w-2")
    house.bury(lost)
    assert idle.claims() == Claims()
    assert house.types(f"session:{lost.id}") == ["session_started", "session_lost"]


def test_a_session_that_died_while_it_registered_leaves_no_chain(house: House) -> None:
    """It never said that it started, so the ledger has nobody to lose."""
    ghost = house.session("w-1")
    # As far as a worker gets that dies between the two files: a row, and no event.
    spec = type(ghost.spec)(
        session_id="ghost",
        worker_id="w-2",
        pool="default",
        kind="worker",
        interval_us=SECOND,
        ttl_us=SECOND,
    )
    house.store.sessions.start(spec)
    house.store.bury(Loss(session_id="ghost", evidence=Evidence.PIDFD))
    ghost.claims()
    assert house.store.chain("session:ghost") == []
    assert house.store.sessions.unsettled() == []


def test_crash_between_loss_and_claim_is_picked_up_by_the_next(house: House) -> None:
    """The undertaker died before it could claim; the loss it set is enough."""
    holder, undertaker, successor = (house.session(f"w-{n}") for n in range(3))
    house.submit()
    before = holder.claim()
    house.bury(holder)
    house.bury(undertaker)
    claim = successor.claim()
    assert claim.reason is TakeoverReason.CRASHED
    assert (claim.key.epoch, claim.previous_worker) == (before.key.epoch + 1, "w-0")
    for gone in (holder, undertaker):
        assert house.types(f"session:{gone.id}")[-1] == "session_lost"


def test_crash_between_stop_and_release_is_picked_up_by_the_next(house: House) -> None:
    """The worker died in the middle of its own end, after the first of the two files."""
    holder, successor = house.session("w-1"), house.session("w-2")
    house.submit()
    holder.claim()
    assert house.store.sessions.stop(holder.id)
    assert house.state() is TaskState.ACTIVE
    assert successor.claim().reason is TakeoverReason.DRAINED


def test_stop_releases_what_is_held(house: House, clock: ManualClock) -> None:
    """A planned end: nobody waits for a TTL, and the run goes on with another."""
    leaving, staying = house.session("w-1"), house.session("w-2")
    for task_id in ("t-1", "t-2", "t-3"):
        house.submit(task_id)
        clock.forward(1)
    held = leaving.claims(limit=2).won
    assert leaving.stop() == ["t-1", "t-2"]
    assert house.types("task:t-1") == ["submitted", "claimed", "released"]
    stopped = house.last(f"session:{leaving.id}")
    assert (stopped.type, stopped.reason, stopped.data) == (
        "session_stopped",
        "drained",
        {"released": 2},
    )
    won = {claim.task_id: claim for claim in staying.claims(limit=3).won}
    assert set(won) == {"t-1", "t-2", "t-3"}
    for old in held:
        new = won[old.task_id]
        assert new.reason is TakeoverReason.DRAINED
        assert (new.run_id, new.previous_worker) == (old.run_id, "w-1")
        with pytest.raises(LeaseLost):
            leaving.put(old)
    assert won["t-3"].reason is None


def test_stop_may_say_that_it_could_not_renew(house: House) -> None:
    """A worker that doubts its own leases gives them up under that reason."""
    doubtful, other = house.session("w-1"), house.session("w-2")
    house.submit()
    doubtful.claim()
    doubtful.stop(TakeoverReason.HEARTBEAT_LOST)
    assert other.claim().reason is TakeoverReason.HEARTBEAT_LOST


def test_a_draining_session_says_so_once(house: House) -> None:
    """It keeps what it has; a second request changes nothing."""
    member = house.session()
    house.submit()
    claim = member.claim()
    house.store.drain_session(member.id, member.worker_id)
    house.store.drain_session(member.id, member.worker_id)
    assert member.state is SessionState.DRAINING
    assert house.types(f"session:{member.id}") == ["session_started", "session_draining"]
    assert member.beat().accepted
    member.put(claim)


def test_what_a_session_says_late_does_not_follow_its_recorded_loss(house: House) -> None:
    """Its remark waited for the write lock while others recorded its loss."""
    late, other = house.session("w-1"), house.session("w-2")
    house.bury(late)
    other.claims()
    house.store.note_late(late.id, late.worker_id, SECOND)
    assert house.types(f"session:{late.id}") == ["session_started", "session_lost"]


def test_a_lost_session_claims_nothing(house: House) -> None:
    """It learns that it is over by asking."""
    member = house.session()
    house.submit()
    house.bury(member)
    with pytest.raises(LeaseLost, match="stopped"):
        member.claims()
    assert house.state() is TaskState.PENDING


def test_a_claimant_lost_in_the_middle_of_its_claim_leaves_no_task_behind(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen between looking and taking, it was buried and settled before it went on."""
    frozen, other = house.session("w-1"), house.session("w-2")
    house.submit()
    look = house.store.sessions.raise_witness

    def freeze(session_id: str, epoch: int) -> None:
        look(session_id, epoch)
        if session_id == frozen.id:
            house.bury(frozen)
            other.claims(graphs=("another",))

    monkeypatch.setattr(house.store.sessions, "raise_witness", freeze)
    with pytest.raises(LeaseLost):
        frozen.claims()
    assert other.claim().task_id == "t-1"


def test_recent_sessions_outlive_their_end_for_as_long_as_asked(
    house: House, clock: ManualClock
) -> None:
    """A scrape speaks for the dead too."""
    live, lost = house.session("w-1"), house.session("w-2")
    house.bury(lost)
    ended_at = clock.now_us()
    clock.forward(60)
    recent = house.store.sessions.recent
    assert [s.spec.session_id for s in recent(ended_at)] == [live.id, lost.id]
    assert [s.spec.session_id for s in recent(ended_at + 1)] == [live.id]
