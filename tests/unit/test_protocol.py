"""The worker's protocol, event by event, on a clock that the tests move."""

from __future__ import annotations

import pytest

from baton.domain.words import Evidence, SessionState, TakeoverReason
from baton.errors import BadInput
from baton.fleet import messages as m
from baton.fleet.model import Beat, Claim, Claims, LeaseKey, Session, SessionSpec
from baton.fleet.protocol import WorkerProtocol

INTERVAL = 5.0
TTL = 15.0
MARGIN = TTL / 5


def config(**more: object) -> m.WorkerConfig:
    """A worker of two slots."""
    settings = {"worker_id": "w-1", "graphs": ("g",), "concurrency": 2, **more}
    return m.WorkerConfig(interval_seconds=INTERVAL, ttl_seconds=TTL, **settings)  # type: ignore[arg-type]


def beat(at: float, *, accepted: bool = True) -> Beat:
    """The store's answer at a moment of its own clock, which runs 1,000 s ahead of ours."""
    return Beat(accepted=accepted, at_us=round((1000 + at) * 1e6))


def claim(task_id: str, session_id: str = "s-1", *, alone: bool = False) -> Claim:
    """A lease just won."""
    return Claim(
        key=LeaseKey(task_id, 1, session_id),
        graph="g",
        run_id="r-1",
        claimed_at=0,
        input=None,
        resume=None,
        reason=None,
        alone=alone,
    )


def peer(session_id: str, beat_at: float) -> Session:
    """Another session, last heard of at a moment of our clock."""
    spec = SessionSpec(
        session_id=session_id,
        worker_id=f"w-{session_id}",
        pool="default",
        kind="worker",
        interval_us=round(INTERVAL * 1e6),
        ttl_us=round(TTL * 1e6),
    )
    at = round((1000 + beat_at) * 1e6)
    return Session(spec=spec, state=SessionState.IDLE, started_at=at, beat=7, beat_at=at)


def seen(now: float, *sessions: Session) -> m.PeersSeen:
    """A look at the peers."""
    return m.PeersSeen(round((1000 + now) * 1e6), sessions)


def opened(at: float = 0.0, **settings: object) -> WorkerProtocol:
    """A worker whose first session has just been registered."""
    worker = WorkerProtocol(config(**settings))
    assert worker.start() == [m.OpenSession()]
    worker.on(m.SessionOpened("s-1", beat(at), at), at)
    return worker


def kinds(commands: list[m.Command]) -> list[type]:
    """The commands apart from their timers."""
    return [type(command) for command in commands if not isinstance(command, m.SetTimer)]


def renew(worker: WorkerProtocol, at: float, store_at: float | None = None) -> list[m.Command]:
    """One heartbeat on time, answered at once."""
    assert m.SendBeat("s-1") in worker.on(m.Tick("beat"), at)
    return worker.on(m.BeatDone(beat(at if store_at is None else store_at), at), at)


def test_a_new_session_claims_at_once() -> None:
    """Nothing is waited for: the first look at the tasks comes with the first heartbeat."""
    worker = WorkerProtocol(config())
    commands = worker.on(m.SessionOpened("s-1", beat(0), 0.0), 0.0)
    assert m.TryClaim("s-1", 2, 0) in commands
    assert m.SetTimer("beat", INTERVAL) in commands


def test_one_heartbeat_is_in_flight_at_a_time() -> None:
    """A store that does not answer is not asked again and again."""
    worker = opened()
    assert m.SendBeat("s-1") in worker.on(m.Tick("beat"), 5.0)
    assert kinds(worker.on(m.Tick("beat"), 10.0)) == []


def test_leases_are_confirmed_from_when_the_heartbeat_was_sent() -> None:
    """The answer's way back does not lengthen the lease; the last part of the TTL is not used."""
    worker = opened()
    worker.on(m.Tick("beat"), 5.0)
    worker.on(m.BeatDone(beat(5.0), 5.0), 9.0)
    assert worker.confirmed_until == 5.0 + TTL - MARGIN


def test_a_silent_peer_is_buried_after_two_heartbeats_of_ones_own() -> None:
    """One heartbeat is not enough to judge another by; two in a row are."""
    worker = opened()
    silent = peer("s-2", -20.0)
    assert m.Bury not in kinds(worker.on(seen(1.0, silent), 1.0))
    renew(worker, 5.0)
    buried = [c for c in worker.on(seen(5.1, silent), 5.1) if isinstance(c, m.Bury)]
    assert [(c.loss.session_id, c.loss.evidence, c.loss.beat) for c in buried] == [
        ("s-2", Evidence.TTL, 7)
    ]


def test_a_silent_peer_is_buried_once() -> None:
    """While a burial is under way it is not asked for again; a heartbeat may still cancel it."""
    worker = opened()
    renew(worker, 5.0)
    silent = peer("s-2", -20.0)
    assert m.Bury in kinds(worker.on(seen(5.1, silent), 5.1))
    assert m.Bury not in kinds(worker.on(seen(5.2, silent), 5.2))
    worker.on(m.Buried("s-2"), 5.3)
    assert m.Bury in kinds(worker.on(seen(5.4, silent), 5.4))


@pytest.mark.parametrize(
    ("sent_at", "store_at", "why"),
    [
        (60.0, 60.0, "we slept, and so perhaps did everybody else"),
        (5.0, 60.0, "the store's clock jumped ahead of ours"),
        (5.0, -60.0, "the store's clock fell behind ours"),
    ],
    ids=["undertaker", "ahead", "behind"],
)
def test_nobody_is_buried_because_somebody_slept(sent_at: float, store_at: float, why: str) -> None:
    """A gap or a step begins the count anew; the next heartbeat on time makes a pair again."""
    worker = opened()
    renew(worker, sent_at, store_at)
    silent = peer("s-2", -500.0)
    assert m.Bury not in kinds(worker.on(seen(store_at, silent), sent_at)), why
    renew(worker, sent_at + INTERVAL, store_at + INTERVAL)
    later = sent_at + INTERVAL
    assert m.Bury in kinds(worker.on(seen(store_at + INTERVAL, silent), later))


def test_a_failed_heartbeat_begins_the_count_anew() -> None:
    """After an outage of the store everybody looks silent, and nobody is."""
    worker = opened()
    renew(worker, 5.0)
    worker.on(m.Tick("beat"), 10.0)
    worker.on(m.CallFailed("beat", "locked"), 10.5)
    renew(worker, 11.5)
    assert m.Bury not in kinds(worker.on(seen(11.6, peer("s-2", -20.0)), 11.6))


def test_a_fresh_peer_is_watched_and_looked_at_again_when_it_expires() -> None:
    """A standby sleeps until the earliest expiry, or a second, whichever is sooner."""
    worker = opened()
    commands = worker.on(seen(1.0, peer("s-2", -13.5)), 1.0)
    assert [c.session.spec.session_id for c in commands if isinstance(c, m.Watch)] == ["s-2"]
    timers = {c.name: c.at for c in commands if isinstance(c, m.SetTimer)}
    assert timers["look"] == pytest.approx(1.0 + 0.5 + 0.001)


def test_one_is_not_ones_own_peer() -> None:
    """Our own session is never watched, whatever its age."""
    worker = opened()
    assert kinds(worker.on(seen(50.0, peer("s-1", -100.0)), 50.0)) == []


def test_the_kernels_word_needs_no_heartbeats() -> None:
    """Evidence of death buries at once, and what was left is claimed at once."""
    worker = opened()
    worker.on(m.ClaimDone(Claims(), 0), 0.0)
    worker.on(seen(0.1, peer("s-2", 0.0)), 0.1)
    commands = worker.on(m.PeerGone("s-2", Evidence.PIDFD, 1000_200_000), 0.2)
    (bury,) = [c for c in commands if isinstance(c, m.Bury)]
    assert (bury.loss.evidence, bury.loss.last_sign_at) == (Evidence.PIDFD, 1000_200_000)
    assert m.TryClaim in kinds(worker.on(m.Buried("s-2"), 0.3))


def test_a_late_heartbeat_that_is_accepted_keeps_the_session() -> None:
    """A process that slept and was not buried goes on; the silence is put on record."""
    worker = opened()
    commands = renew(worker, 40.0)
    assert m.NoteLate("s-1", 40_000_000) in commands
    assert worker.session_id == "s-1"


def test_a_session_that_could_not_renew_is_given_up() -> None:
    """When the store answers again, the doubtful session stops and a new one starts."""
    worker = opened()
    worker.on(m.ClaimDone(Claims(won=(claim("t-1"),)), 1), 0.0)
    worker.on(m.Tick("beat"), 5.0)
    worker.on(m.CallFailed("beat", "locked"), 6.0)
    worker.on(m.Tick("beat"), 14.0)
    commands = worker.on(m.BeatDone(beat(14.0), 14.0), 14.0)
    assert m.LoseRuns("s-1", "expired") in commands
    assert m.StopSession("s-1", TakeoverReason.HEARTBEAT_LOST, cut_off=True) in commands
    assert worker.on(m.SessionStopped(), 14.1) == [m.OpenSession()]


def test_a_worker_that_stood_still_suspects_what_it_ran() -> None:
    """A node that starves its worker makes calls fail too; the store was not to blame."""
    worker = opened()
    worker.on(m.ClaimDone(Claims(won=(claim("t-1"),)), 1), 0.0)
    worker.on(m.Tick("beat"), 5.0)
    worker.on(m.CallFailed("beat", "no answer in time"), 40.0)
    commands = worker.on(m.BeatDone(beat(41.0), 41.0), 41.0)
    assert m.StopSession("s-1", TakeoverReason.HEARTBEAT_LOST, cut_off=False) in commands


def test_what_a_worker_stood_still_for_is_forgotten_once_it_renews() -> None:
    """An outage later is the store's own."""
    worker = opened()
    renew(worker, 40.0)
    worker.on(m.Tick("beat"), 45.0)
    worker.on(m.CallFailed("beat", "locked"), 46.0)
    worker.on(m.CallFailed("beat", "locked"), 52.0)
    commands = worker.on(m.BeatDone(beat(53.0), 53.0), 53.0)
    assert m.StopSession("s-1", TakeoverReason.HEARTBEAT_LOST, cut_off=True) in commands


def test_a_short_outage_keeps_the_session() -> None:
    """A failure within the confirmed time is only retried."""
    worker = opened()
    worker.on(m.Tick("beat"), 5.0)
    assert m.SetTimer("beat", 7.0) in worker.on(m.CallFailed("beat", "locked"), 6.0)
    renew(worker, 7.0)
    assert worker.session_id == "s-1"


def test_a_refused_heartbeat_begins_a_new_session() -> None:
    """Loss is final: what ran under the session is lost with it."""
    worker = opened()
    worker.on(m.Tick("beat"), 5.0)
    commands = worker.on(m.BeatDone(beat(5.0, accepted=False), 5.0), 5.0)
    assert commands == [m.LoseRuns("s-1", "lost"), m.OpenSession()]


def test_a_session_that_ends_at_once_is_not_replaced_at_once() -> None:
    """Whatever ends one session after another must not fill the ledger with them."""
    worker = opened()
    commands = worker.on(m.SessionOver(), 0.1)
    assert commands == [m.LoseRuns("s-1", "stopped"), m.SetTimer("open", 1.0)]
    assert worker.on(m.Tick("open"), 1.0) == [m.OpenSession()]


def test_slots_bound_the_claims() -> None:
    """A worker asks for what it has room for, runs it, and asks again when a slot is free."""
    worker = opened()
    won = Claims(won=(claim("t-1"), claim("t-2")))
    assert kinds(worker.on(m.ClaimDone(won, 0), 0.0)) == [m.StartRun, m.StartRun]
    assert kinds(worker.on(m.Tick("claim"), 1.0)) == []
    assert worker.on(m.RunEnded(claim("t-1").key), 2.0) == [m.TryClaim("s-1", 1, 1)]


def test_one_round_of_claiming_at_a_time() -> None:
    """Two rounds in flight could take more than there is room for."""
    worker = opened()
    assert worker.on(m.Tick("claim"), 1.0) == []


def test_a_suspect_task_has_its_worker_to_itself() -> None:
    """While it runs nothing else is claimed."""
    worker = opened()
    worker.on(m.ClaimDone(Claims(won=(claim("t-1", alone=True),)), 0), 0.0)
    assert kinds(worker.on(m.Tick("claim"), 1.0)) == []
    assert m.TryClaim in kinds(worker.on(m.RunEnded(claim("t-1").key), 2.0))


def test_a_worker_empties_itself_for_a_suspect_task_that_waits() -> None:
    """Nothing new is claimed until it can run alone."""
    worker = opened()
    worker.on(m.ClaimDone(Claims(won=(claim("t-1"),), alone_waiting=True), 0), 0.0)
    assert kinds(worker.on(m.Tick("claim"), 1.0)) == []
    assert worker.on(m.RunEnded(claim("t-1").key), 2.0) == [m.TryClaim("s-1", 2, 0)]


def test_a_drain_waits_for_the_runs_and_then_stops_the_session() -> None:
    """Runs are asked to stop at their next super-step; the end is a planned release."""
    worker = opened()
    worker.on(m.ClaimDone(Claims(won=(claim("t-1"),)), 0), 0.0)
    commands = worker.on(m.DrainRequested(), 1.0)
    assert kinds(commands) == [m.DrainSession, m.DrainRuns]
    commands = worker.on(m.RunEnded(claim("t-1").key), 2.0)
    assert m.StopSession("s-1", TakeoverReason.DRAINED) in commands
    assert worker.on(m.SessionStopped(), 2.1) == [m.Exit()]


def test_a_drain_is_bounded() -> None:
    """When the time is up the session stops, whatever still runs."""
    worker = opened(drain_timeout_seconds=30.0)
    worker.on(m.ClaimDone(Claims(won=(claim("t-1"),)), 0), 0.0)
    assert m.SetTimer("drain", 31.0) in worker.on(m.DrainRequested(), 1.0)
    commands = worker.on(m.Tick("drain"), 31.0)
    assert m.LoseRuns("s-1", "stopped") in commands
    assert m.StopSession("s-1", TakeoverReason.DRAINED) in commands


def test_an_idle_worker_drains_at_once() -> None:
    """There is nothing to wait for."""
    worker = opened()
    worker.on(m.ClaimDone(Claims(), 0), 0.0)
    assert m.StopSession in kinds(worker.on(m.DrainRequested(), 1.0))


def test_a_worker_that_is_lost_while_it_drains_lets_its_runs_be_refused() -> None:
    """They learn of it at their next write; only then does the process end, or when time is up."""
    worker = opened(drain_timeout_seconds=30.0)
    worker.on(m.ClaimDone(Claims(won=(claim("t-1"),)), 0), 0.0)
    worker.on(m.DrainRequested(), 1.0)
    worker.on(m.Tick("beat"), 5.0)
    refused = m.BeatDone(beat(5.0, accepted=False), 5.0)
    assert worker.on(refused, 5.0) == [m.LoseRuns("s-1", "lost")]
    assert worker.on(m.Tick("drain"), 31.0) == [m.Exit()]
    assert worker.on(m.RunEnded(claim("t-1").key), 5.1) == [m.Exit()]


def test_what_is_won_while_draining_is_not_started() -> None:
    """The end of the session hands it over."""
    worker = opened()
    assert m.StopSession not in kinds(worker.on(m.DrainRequested(), 0.5))
    commands = worker.on(m.ClaimDone(Claims(won=(claim("t-1"),)), 0), 0.6)
    assert kinds(commands) == [m.LoseRuns, m.StopSession]


def test_a_store_that_stays_away_does_not_hold_up_a_drain() -> None:
    """Beyond the drain's bound the worker exits; its silence tells the others."""
    worker = opened(drain_timeout_seconds=10.0)
    worker.on(m.ClaimDone(Claims(), 0), 0.0)
    worker.on(m.DrainRequested(), 1.0)
    assert m.SetTimer("stop", 6.0) in worker.on(m.CallFailed("stop", "locked"), 5.0)
    assert m.StopSession in kinds(worker.on(m.Tick("stop"), 6.0))
    assert worker.on(m.CallFailed("stop", "locked"), 12.0) == [m.Exit()]


def test_until_idle_waits_for_what_others_still_run() -> None:
    """A standby may be needed as long as anything is outstanding."""
    worker = opened(until_idle=True)
    assert m.StopSession not in kinds(worker.on(m.ClaimDone(Claims(), 3), 0.0))
    worker.on(m.Tick("claim"), 1.0)
    assert m.StopSession in kinds(worker.on(m.ClaimDone(Claims(), 0), 1.0))


def test_trouble_with_the_store_during_a_run_puts_the_session_in_doubt() -> None:
    """The lease may still be ours in the store; only a new session makes that sure."""
    worker = opened()
    worker.on(m.ClaimDone(Claims(won=(claim("t-1"),)), 0), 0.0)
    worker.on(m.RunEnded(claim("t-1").key, store_trouble=True), 1.0)
    commands = renew(worker, 5.0)
    assert m.StopSession("s-1", TakeoverReason.HEARTBEAT_LOST, cut_off=True) in commands


def test_a_run_whose_end_cannot_be_recorded_is_suspect() -> None:
    """That is not for want of the store, and would be the same in the next worker."""
    worker = opened()
    worker.on(m.ClaimDone(Claims(won=(claim("t-1"),)), 0), 0.0)
    worker.on(m.RunEnded(claim("t-1").key, store_trouble=True, suspect=True), 1.0)
    commands = renew(worker, 5.0)
    assert m.StopSession("s-1", TakeoverReason.HEARTBEAT_LOST, cut_off=False) in commands


def test_a_session_that_cannot_be_opened_is_tried_again() -> None:
    """The store may come back."""
    worker = WorkerProtocol(config())
    assert worker.on(m.CallFailed("open", "no store"), 0.0) == [m.SetTimer("open", 1.0)]
    assert worker.on(m.Tick("open"), 1.0) == [m.OpenSession()]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"interval_seconds": 8.0}, "--heartbeat 8 must be above 0 and at most half of --ttl 15"),
        ({"interval_seconds": 0.0}, "--heartbeat 0 must be above 0"),
        ({"concurrency": 0}, "--concurrency 0"),
        ({"deadlines_seconds": {"x": 1.0}}, "progress deadline for 'x'"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], words: str) -> None:
    """One line that names the setting."""
    values = {"worker_id": "w", "graphs": ("g",), "interval_seconds": INTERVAL, **settings}
    with pytest.raises(BadInput, match=words):
        m.WorkerConfig(ttl_seconds=TTL, **values)  # type: ignore[arg-type]


def test_a_session_in_doubt_claims_nothing() -> None:
    """What it won it would give back, as a takeover that brought nothing."""
    worker = opened(concurrency=1)
    worker.on(m.ClaimDone(Claims(won=(claim("t-1"),)), 0), 0.1)
    commands = worker.on(m.RunEnded(claim("t-1").key, store_trouble=True), 1.0)
    assert m.TryClaim not in kinds(commands)
    assert kinds(worker.on(m.Tick("claim"), 1.2)) == []
    assert m.StopSession in kinds(renew(worker, INTERVAL))
    worker.on(m.SessionStopped(), 5.1)
    commands = worker.on(m.SessionOpened("s-2", beat(5.2), 5.2), 5.2)
    assert m.TryClaim("s-2", 1, 0) in commands


def test_who_cannot_renew_claims_again_once_it_can() -> None:
    """A heartbeat that failed keeps it from claiming until one is answered, and no longer."""
    worker = opened(concurrency=1)
    worker.on(m.ClaimDone(Claims(), 0), 0.1)
    assert m.SendBeat("s-1") in worker.on(m.Tick("beat"), INTERVAL)
    worker.on(m.CallFailed("beat", "locked"), INTERVAL)
    assert kinds(worker.on(m.Tick("claim"), 5.2)) == []
    assert m.TryClaim("s-1", 1, 0) in renew(worker, 6.0)
    worker.on(m.ClaimDone(Claims(), 0), 6.1)
    # Nothing failed since, so its own timer is what lets it claim.
    assert m.TryClaim not in kinds(renew(worker, 11.0))
